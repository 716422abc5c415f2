/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection table: what is known of a connection at one interface, and what has not been reported of it yet.
 *
 * It is a hash table of our own in an ARRAY map, whose lookup the kernel compiles to a few instructions; its hash map
 * costs 40 to 50 ns more per packet (a call, jhash, a lock-free list, memcmp), which is half of all that we spend.
 * A connection may sit in any of the eight slots of four buckets. If all 32 are taken it is not tracked, and counted:
 * one in 1,600 new ones when three quarters of the table are taken, which is when the sweep begins to make room. 94 of
 * 100 sit in their first bucket even then. The eight words that say who sits where fill one cache line.
 *
 * Counting is one atomic add to a lane's `pending`; reporting takes it by one atomic exchange. So whatever CPUs do at
 * once, each packet is either still pending or in exactly one record.
 *
 * How an entry ends without losing an add
 * ---------------------------------------
 * The word `life` of a slot holds the hash of its connection and a state:
 *
 *     EMPTY --a packet--> CLAIMED --the same program--> ALIVE --sweep n--> n --sweep m > n--> EMPTY
 *                                                         ^                |
 *                                                         +---a packet-----+
 *
 * Each arrow is one compare-and-exchange, so of two CPUs one wins and the other sees that it has not.
 * 1. A program adds to a slot only after it read ALIVE with its own hash there, in this very run, and found its key.
 *    User space lets an RCU grace period pass between two sweeps, and a program runs within one RCU reader section.
 *    So when sweep m looks at a slot in state n, every program that read ALIVE before sweep n has ended and its add
 *    is visible.
 * 2. Sweep m reports what is pending and then moves n to EMPTY. If that succeeds, the state was n all the time since
 *    sweep n: numbers are never used again, and a packet that revives the entry leaves ALIVE. So nobody has read
 *    ALIVE since, nobody will add, and nothing is pending: the slot is free. A delta that does not fit into the ring
 *    keeps the slot in state n for another sweep.
 * 3. For the same reason a slot that a program has seen ALIVE cannot become another connection's while it runs: its
 *    key is stable, so comparing it after the state is enough.
 * 4. A packet that meets its own hash CLAIMED, or loses the race to revive an entry, neither waits nor adds: it is
 *    reported by itself, or counted as lost.
 * Two CPUs may give one connection two slots: making an entry passes over slots that are taken, whatever is in them.
 * Both count, one of them goes idle and is swept: nothing is lost, at worst NEW is reported twice.
 */
#ifndef WEBB_TABLE_H
#define WEBB_TABLE_H

#include "abi.h"
#include "parse.h"

/*
 * Time in the table is in ticks, the kernel's jiffies: reading them is one instruction, where the coarse clock is a
 * call of 20 ns. User space knows how long a tick is. Differences of 32-bit ticks are right for weeks.
 */

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
	struct connection_key key;
	__u32 seen;  /* tick of the last packet */
	__u8 opener; /* 0: a, 1: b */
	__u8 guessed;
	__u16 pad0;
	__u64 pad1; /* so that the lanes begin a cache line */
	struct lane lanes[LANES];
};

#define SLOTS 8
#define CHOICES 4 /* buckets that a connection may sit in */

struct bucket {
	__u64 life[SLOTS]; /* 0: empty; else hash << 32 | state */
	struct connection connections[SLOTS];
};

_Static_assert(sizeof(struct connection) == 128 && __builtin_offsetof(struct bucket, connections) == 64,
	       "a packet touches three cache lines: the words of the bucket, the key, the lanes");

#define STATE_ALIVE 1U
#define STATE_CLAIMED 2U
#define STATE_MARKED 3U /* by the first sweep; 4 by the second, and so on */

/* Settings; user space writes them before the program is loaded. */
const volatile __u32 bucket_mask = 8191; /* number of buckets, a power of two, less one */
const volatile __u64 hash_seed = 0;      /* pods choose addresses and ports, so they should not know the buckets */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* only then it starts at a page */
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct bucket);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEBB_HOOKS);
	__type(key, __u32);
	__type(value, struct webb_totals);
} totals SEC(".maps");

static __always_inline __u32 tick_now(void)
{
	return bpf_jiffies64();
}

/* Ticks since `then`; 0 if another CPU's clock was ahead. */
static __always_inline __u32 ticks_since(__u32 now, __u32 then)
{
	__u32 passed = now - then;

	return (__s32)passed < 0 ? 0 : passed;
}

/* The upper half tells connections in a bucket apart, the lower chooses the buckets. */
static __always_inline __u64 hash(const struct connection_key *key)
{
	__u64 mixed = (key->a_lo ^ key->a_hi * 0xd6e8feb86659fd93ULL ^ hash_seed) * 0x9e3779b97f4a7c15ULL;

	mixed ^= (key->b_lo ^ key->b_hi * 0xc2b2ae3d27d4eb4fULL) * 0xbf58476d1ce4e5b9ULL;
	mixed ^= (((__u64)key->a_port << 48 | (__u64)key->b_port << 32 | key->ifindex) + key->protocol) *
		 0x94d049bb133111ebULL;
	/* Addresses and ports differ in few bits, and those not in the lowest: both rounds are needed. */
	mixed ^= mixed >> 32;
	mixed *= 0xff51afd7ed558ccdULL;
	mixed ^= mixed >> 32;
	mixed *= 0xc4ceb9fe1a85ec53ULL;
	return mixed ^ mixed >> 32;
}

static __always_inline __u64 life(__u64 hash, __u32 state)
{
	return (hash >> 32) << 32 | state;
}

/* The buckets where a connection may sit, in the order of trying. */
static __always_inline __u32 bucket_number(__u64 hash, __u32 choice)
{
	return ((__u32)hash + choice * ((__u32)hash >> 20 | 1)) & bucket_mask;
}

static __always_inline int same_key(const struct connection_key *one, const struct connection_key *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]));
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
