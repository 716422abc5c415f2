/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a packet to its entry in the connection table: found, revived or made. The rules are in table.h.
 */
#ifndef WEBB_FIND_H
#define WEBB_FIND_H

#include "table.h"

/* One packet on its way through the functions below. */
struct sighting {
	struct packet packet;
	struct connection_key key;
	__u64 hash;
	__u32 hook;
	__u32 now;      /* ticks */
	__u32 bytes;
	__u32 bits;     /* what `lane.flags` would learn from it */
	__u8 sender_is_b;
	__u8 outcome; /* of find_or_create() */
	__u16 pad0;
	__u32 pad1;
};

_Static_assert(sizeof(struct sighting) == 128, "every byte of a sighting is a field, and is written");

/*
 * The functions without `static` below are checked by the verifier once, by their types, and not again for each way
 * that leads to them. That makes loading four times as fast and keeps us far from its limit; the price is that they
 * must look at pointers that are never null, and cannot return any.
 */

/* Who started a connection that begins, for us, with this packet: 1 if its sender did. */
static __always_inline int sender_started(const struct packet *p, __u8 *guessed)
{
	*guessed = 0;
	if (p->flags & WEBB_FLAG_NO_L4)
		return 1;
	switch (p->protocol) {
	case PROTOCOL_TCP:
		if (p->tcp_flags & TCP_SYN)
			return !(p->tcp_flags & TCP_ACK);
		*guessed = 1;
		break;
	case PROTOCOL_SCTP:
		if (p->icmp_type == SCTP_INIT || p->icmp_type == SCTP_INIT_ACK)
			return p->icmp_type == SCTP_INIT;
		*guessed = 1;
		break;
	case PROTOCOL_ICMP:
		return !(p->echo && p->icmp_type == ICMP_ECHO_REPLY);
	case PROTOCOL_ICMPV6:
		return !(p->echo && p->icmp_type == ICMPV6_ECHO_REPLY);
	}
	/* A well-known port is the server's; two of a kind say nothing, and then the first to speak has started. */
	return !(p->source_port < 1024 && p->destination_port >= 1024);
}

#define FOUND 0
#define CREATED 1
#define NO_ROOM 2 /* its buckets are full */
#define ALONE 3   /* the entry is just being made or ended */

static __always_inline struct connection *slot(struct bucket *bucket, __u32 index)
{
	return &bucket->connections[index & (SLOTS - 1)];
}

/* The entry in its first bucket, if it is alive: the case that must be fast. */
static __always_inline struct connection *find(const struct sighting *s)
{
	__u64 alive = life(s->hash, STATE_ALIVE);
	__u32 index = bucket_number(s->hash, 0), i;
	struct bucket *bucket = bpf_map_lookup_elem(&connections, &index);
	struct connection *c;

	if (!bucket)
		return 0;
#pragma unroll
	for (i = 0; i < SLOTS; i++)
		if (*(volatile __u64 *)&bucket->life[i] == alive)
			break;
	if (unlikely(i == SLOTS))
		return 0;
	c = slot(bucket, i);
	return likely(same_key(&c->key, &s->key)) ? c : 0;
}

/*
 * 1 + the slot of the entry in this bucket, in whatever state it is. 0 if there is none, or the packet cannot use it:
 * then `outcome` is ALONE.
 */
__noinline int find_in(struct sighting *s, struct bucket *bucket)
{
	__u64 alive;
	__u32 i;

	if (!s || !bucket)
		return 0;
	alive = life(s->hash, STATE_ALIVE);
	for (i = 0; i < SLOTS; i++) {
		__u64 lived = *(volatile __u64 *)&bucket->life[i], was;

		if (lived >> 32 != alive >> 32 || !lived)
			continue;
		if (state_of(lived) == STATE_CLAIMED) {
			s->outcome = ALONE;
			return 0;
		}
		if (!same_key(&slot(bucket, i)->key, &s->key))
			continue;
		if (lived != alive) {
			/* Marked by a sweep: alive again, unless it is too late. */
			was = __sync_val_compare_and_swap(&bucket->life[i], lived, alive);
			if (was != lived && was != alive) {
				s->outcome = ALONE;
				return 0;
			}
		}
		return 1 + i;
	}
	return 0;
}

/* Makes the entry in this bucket; returns as above. */
__noinline int create_in(struct sighting *s, struct bucket *bucket)
{
	struct connection *c;
	__u64 was;
	__u32 i, l;

	if (!s || !bucket)
		return 0;
	for (i = 0; i < SLOTS; i++) {
		if (*(volatile __u64 *)&bucket->life[i])
			continue;
		was = __sync_val_compare_and_swap(&bucket->life[i], 0, life(s->hash, STATE_CLAIMED));
		if (was && was >> 32 == s->hash >> 32) {
			/* Most likely the same connection, on another CPU. */
			s->outcome = ALONE;
			return 0;
		}
		if (was)
			continue;
		c = slot(bucket, i);
		c->key = s->key;
		c->seen = s->now;
		c->opener = sender_started(&s->packet, &c->guessed) ? s->sender_is_b : !s->sender_is_b;
		/* As if reported an interval ago: the first packet of each other lane is reported. */
		for (l = 0; l < LANES; l++) {
			c->lanes[l].reported = s->now - report_interval;
			c->lanes[l].flags = 0;
		}
		/* An exchange also is the barrier that shows the key before the state. */
		__sync_lock_test_and_set(&bucket->life[i], life(s->hash, STATE_ALIVE));
		s->outcome = CREATED;
		return 1 + i;
	}
	return 0;
}

/* All that find() does not know. Null if the packet has no entry; `outcome` says why. */
static __always_inline struct connection *find_or_create(struct sighting *s)
{
	struct bucket *bucket;
	__u32 index, i;
	int at;

	for (i = 0; i < 2 * CHOICES; i++) {
		index = bucket_number(s->hash, i & (CHOICES - 1));
		bucket = bpf_map_lookup_elem(&connections, &index);
		if (!bucket)
			break;
		at = i < CHOICES ? find_in(s, bucket) : create_in(s, bucket);
		if (at)
			return slot(bucket, at - 1);
		if (s->outcome != FOUND)
			return 0;
	}
	s->outcome = NO_ROOM;
	return 0;
}

#endif
