/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection table: what is known of a connection at one interface, and what has not been reported of it yet.
 *
 * Counting is one atomic add to a lane's `pending`; reporting takes it by one atomic exchange. So whatever CPUs do at
 * once, each packet is either still pending or in exactly one record.
 *
 * How an entry ends without losing an add
 * ---------------------------------------
 * `life` holds a state and the identity of the connection. The states are ALIVE, n (marked by sweep number n) and GONE:
 *
 *     ALIVE --sweep n--> n --sweep m > n--> GONE --> deleted, the element is free for another connection
 *       ^               |
 *       +---a packet----+      each arrow is one compare-and-exchange of `life`
 *
 * 1. A program adds to an entry only after it read ALIVE there in this very run. User space lets an RCU grace period
 *    pass between two sweeps, and every program runs within one RCU reader section. So when sweep m looks at an entry
 *    in state n, every program that read ALIVE before sweep n has ended and its add is visible.
 * 2. Sweep m reports what is pending and then moves n to GONE. If that succeeds, the state was n all the time since
 *    sweep n: n is written by that sweep alone, and a reviving packet would have left ALIVE. So nobody has read ALIVE
 *    since, nobody will add, and nothing is pending. Only then the entry is deleted. A delta that does not fit into
 *    the ring keeps the entry in state n for another sweep.
 * 3. Elements are preallocated and used again at once, so a program that looked the entry up just before the deletion
 *    may hold an element that is another connection's by the time it reads `life`. The identity in the same word,
 *    a mix of the key, tells them apart; the program then handles its packet outside the table.
 */
#ifndef WEBB_TABLE_H
#define WEBB_TABLE_H

#include "abi.h"
#include "parse.h"

/*
 * Time in the table is in ticks of 2^20 ns, 1.05 ms: differences of 32-bit ticks are right for 52 days, and no
 * timeout is longer.
 */
#define TICK_SHIFT 20

#define PENDING_BYTES_BITS 40
#define PENDING_ONE_PACKET (1ULL << PENDING_BYTES_BITS)
#define PENDING_BYTES_MASK (PENDING_ONE_PACKET - 1)
/* Half of what either field can hold: a lane that gets here is reported at once, whatever the aggregation. */
#define PENDING_NEARLY_FULL (1ULL << 63 | 1ULL << (PENDING_BYTES_BITS - 1))

/* Both ends in an order that does not depend on the direction, and where the connection was seen. */
struct connection_key {
	__u64 a_hi;
	__u64 a_lo;
	__u64 b_hi;
	__u64 b_lo;
	__u16 a_port; /* ICMP echo: the id, in both; other ICMP: the type, in both */
	__u16 b_port;
	__u32 ifindex;
	__u8 protocol;
	__u8 family;
	__u8 role; /* the ingress hook of this kind of interface: WEBB_HOOK_FROM_POD or WEBB_HOOK_FROM_NETWORK */
	__u8 fragment_or_error; /* keeps fragments and ICMP errors apart from what they look like */
	__u32 zero;
};

/*
 * One direction of the connection at one hook. The two are not the same: a hairpinned packet leaves and enters by the
 * same interface, so a connection has four lanes, of which two are used as a rule.
 */
struct lane {
	__u64 pending;  /* packets << 40 | bytes */
	__u32 reported; /* tick of the last record */
	__u32 flags;    /* TCP flags seen; SCTP: 1 << chunk type, for control chunks */
};

#define LANES 4
#define LANE_OF_B 2      /* sent by b */
#define LANE_OF_EGRESS 1 /* seen on egress of the interface */

struct connection {
	__u64 life;  /* identity << 32 | state */
	__u32 seen;  /* tick of the last packet */
	__u8 opener; /* 0: a, 1: b */
	__u8 guessed;
	__u16 zero;
	struct lane lanes[LANES];
};

#define STATE_ALIVE 0U
#define STATE_GONE 0xffffffffU

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct connection_key);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEBB_HOOKS);
	__type(key, __u32);
	__type(value, struct webb_totals);
} totals SEC(".maps");

/* Ticks since `then`; 0 if another CPU's clock was ahead. */
static __always_inline __u32 ticks_since(__u32 now, __u32 then)
{
	__u32 passed = now - then;

	return (__s32)passed < 0 ? 0 : passed;
}

/* 32 bits that two different keys share by chance only. Not a hash against an adversary; it needs none (see 3). */
static __always_inline __u32 identity(const struct connection_key *key)
{
	__u64 mixed = key->a_lo * 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ key->b_lo ^ (key->a_hi + key->b_hi)) * 0xbf58476d1ce4e5b9ULL;
	mixed ^= ((__u64)key->ifindex << 32 | (__u32)key->a_port << 16 | key->b_port) * 0x94d049bb133111ebULL;
	return mixed >> 32 ^ ((__u32)key->protocol << 24) ^ ((__u32)key->role << 16);
}

static __always_inline __u64 life(__u32 identity, __u32 state)
{
	return (__u64)identity << 32 | state;
}

static __always_inline __u32 state_of(__u64 life)
{
	return life;
}

/* Fills `key` for `p`; true if the sender is b. */
static __always_inline int canonical(const struct packet *p, struct connection_key *key)
{
	__u16 source_port = p->source_port, destination_port = p->destination_port;
	int sender_is_b;

	key->protocol = p->protocol;
	key->family = p->family;
	key->fragment_or_error = p->flags & WEBB_FLAG_FRAGMENT;
	key->zero = 0;
	if (unlikely(p->protocol == PROTOCOL_ICMP || p->protocol == PROTOCOL_ICMPV6) && !p->flags && !p->echo) {
		source_port = destination_port = p->icmp_type;
		key->fragment_or_error = 1;
	}
	if (p->source_lo != p->destination_lo)
		sender_is_b = p->source_lo > p->destination_lo;
	else if (p->source_hi != p->destination_hi)
		sender_is_b = p->source_hi > p->destination_hi;
	else
		sender_is_b = source_port > destination_port;
	if (sender_is_b) {
		key->a_hi = p->destination_hi;
		key->a_lo = p->destination_lo;
		key->b_hi = p->source_hi;
		key->b_lo = p->source_lo;
		key->a_port = destination_port;
		key->b_port = source_port;
	} else {
		key->a_hi = p->source_hi;
		key->a_lo = p->source_lo;
		key->b_hi = p->destination_hi;
		key->b_lo = p->destination_lo;
		key->a_port = source_port;
		key->b_port = destination_port;
	}
	return sender_is_b;
}

#endif
