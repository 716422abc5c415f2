/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sweep: walks the whole table, reports what waits too long, and ends what is over (the rules of ending are in
 * table.h).
 *
 * User space runs it about once a second by BPF_PROG_TEST_RUN. It is a raw tracepoint program that is never attached,
 * because that kind runs with softirqs enabled: a classifier would hold up the CPU's packets for the whole walk. So
 * packets of the same CPU may interrupt it, and it adds to the totals atomically where they need not.
 */
#ifndef WEBB_SWEEP_H
#define WEBB_SWEEP_H

#include "record.h"
#include "table.h"

/* Settings, in ticks. */
const volatile __u32 tcp_timeout = 900000;      /* 1 h */
const volatile __u32 closed_timeout = 2500;     /* 10 s, after FIN both ways or RST */
const volatile __u32 half_open_timeout = 15000; /* 60 s */
const volatile __u32 other_timeout = 15000;     /* 60 s */
const volatile __u32 evictable_after = 250;     /* 1 s: under pressure nothing younger is given up */

/* Slots; from 3/4 of them on, the sweep makes room, down to 5/8. Buckets seldom overflow before. */
#define CAPACITY ((bucket_mask + 1) * SLOTS)

#define SWEEP_FLUSH_ALL 1 /* mode: report all that is pending, however young */

/* Idle times in powers of two ticks, to find the oldest entries without sorting. */
#define IDLE_CLASSES 32

struct sweeping {
	struct webb_swept found;
	__u64 now_ns;
	__u32 idle[IDLE_CLASSES];
	__u32 now;
	__u32 number;      /* of this sweep, as a state */
	__u32 mode;
	__u32 pressure;    /* the last sweep left the table nearly full */
	__u32 evict_after; /* idle ticks from which entries are given up */
	__u32 zero;
};

/* The sweep's own notes; `swept` gets a copy only when it has finished. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeping);
} sweeping SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct webb_swept);
} swept SEC(".maps");

struct sweep_context {
	struct sweeping *sweep;
};

static __always_inline __u32 hook_of_lane(const struct connection_key *key, __u32 lane)
{
	return (key->role & LANE_OF_B) | (lane & LANE_OF_EGRESS);
}

/* The packet that a delta of this lane stands for. */
static __always_inline void packet_of_lane(const struct connection_key *key, __u32 lane, struct packet *p)
{
	int from_b = lane & LANE_OF_B;

	__builtin_memset(p, 0, sizeof(*p));
	p->source_hi = from_b ? key->b_hi : key->a_hi;
	p->source_lo = from_b ? key->b_lo : key->a_lo;
	p->destination_hi = from_b ? key->a_hi : key->b_hi;
	p->destination_lo = from_b ? key->a_lo : key->b_lo;
	p->source_port = from_b ? key->b_port : key->a_port;
	p->destination_port = from_b ? key->a_port : key->b_port;
	p->family = key->family;
	p->protocol = key->protocol;
	if (key->fragment_or_error & WEBB_FLAG_FRAGMENT)
		p->flags = WEBB_FLAG_FRAGMENT | WEBB_FLAG_NO_L4;
	else if (!has_l4(key->family, key->protocol))
		p->flags = WEBB_FLAG_NO_L4;
}

#define FLUSHED 0
#define RING_FULL 1

/* Reports what is pending in one lane. */
__noinline int flush_lane(struct sweeping *sweep, struct connection *c, __u32 index)
{
	const struct connection_key *key;
	struct webb_totals *t;
	struct webb_record *r;
	struct lane *lane;
	struct packet p;
	__u64 delta;
	__u32 hook;

	if (!sweep || !c)
		return RING_FULL;
	key = &c->key;
	lane = &c->lanes[index & (LANES - 1)];
	hook = hook_of_lane(key, index);
	t = bpf_map_lookup_elem(&totals, &hook);
	if (!t)
		return RING_FULL;
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r)
		return RING_FULL;
	packet_of_lane(key, index, &p);
	delta = __sync_lock_test_and_set(&lane->pending, 0);
	fill(r, WEBB_KIND_FLUSH, sweep->now_ns, key->ifindex, &p);
	r->hook = hook;
	r->flags |= direction_flags(c, !!(index & LANE_OF_B), hook);
	r->packets = delta >> PENDING_BYTES_BITS;
	r->bytes = delta & PENDING_BYTES_MASK;
	__sync_fetch_and_add(&t->reported_packets, delta >> PENDING_BYTES_BITS);
	__sync_fetch_and_add(&t->reported_bytes, delta & PENDING_BYTES_MASK);
	__sync_fetch_and_add(&t->records, 1);
	/* Otherwise left alone: the interval is between events, and a flush is none. */
	if (!key->family)
		lane->reported = sweep->now;
	sweep->found.flushed++;
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, sweep->found.flushed));
	return FLUSHED;
}

/* Gives up what is pending in one lane: the table is nearly full and the ring is, too. */
__noinline int give_up_lane(struct connection *c, __u32 index)
{
	struct webb_totals *t;
	__u64 delta;
	__u32 hook;

	if (!c)
		return 0;
	hook = hook_of_lane(&c->key, index);
	t = bpf_map_lookup_elem(&totals, &hook);
	if (!t)
		return 0;
	delta = __sync_lock_test_and_set(&c->lanes[index & (LANES - 1)].pending, 0);
	__sync_fetch_and_add(&t->evicted_packets, delta >> PENDING_BYTES_BITS);
	__sync_fetch_and_add(&t->evicted_bytes, delta & PENDING_BYTES_MASK);
	return 0;
}

#define FLUSH_OLD 0     /* what waits for a report interval or longer */
#define FLUSH_EVERYTHING 1
#define FLUSH_OR_GIVE_UP 2

/* Empties the lanes as `how` says. Returns how many still hold something that should have gone. */
static __always_inline int flush(struct sweeping *sweep, struct connection *c, int how)
{
	int left = 0;
	__u32 i;

	for (i = 0; i < LANES; i++) {
		if (!*(volatile __u64 *)&c->lanes[i].pending)
			continue;
		if (how == FLUSH_OLD && ticks_since(sweep->now, c->lanes[i].reported) < report_interval)
			continue;
		if (flush_lane(sweep, c, i) == FLUSHED)
			continue;
		if (how == FLUSH_OR_GIVE_UP)
			give_up_lane(c, i);
		else
			left++;
	}
	return left;
}

static __always_inline __u32 timeout_of(const struct connection *c)
{
	const struct connection_key *key = &c->key;
	__u32 from_opener, from_other;

	if (key->protocol == PROTOCOL_SCTP) {
		__u32 all = c->lanes[0].flags | c->lanes[1].flags | c->lanes[2].flags | c->lanes[3].flags;

		return all & (1U << SCTP_ABORT | 1U << SCTP_SHUTDOWN_COMPLETE) ? closed_timeout : other_timeout;
	}
	if (key->protocol != PROTOCOL_TCP || key->fragment_or_error)
		return other_timeout;
	if (has_ended(c))
		return closed_timeout;
	from_opener = c->lanes[0].flags | c->lanes[LANE_OF_EGRESS].flags;
	from_other = c->lanes[LANE_OF_B].flags | c->lanes[LANE_OF_B | LANE_OF_EGRESS].flags;
	if (c->opener) {
		__u32 swap = from_opener;

		from_opener = from_other;
		from_other = swap;
	}
	return from_opener == TCP_SYN && !from_other ? half_open_timeout : tcp_timeout;
}

static __always_inline __u32 idle_class(__u32 idle)
{
	__u32 class = 0;

	if (idle >> 16) {
		class += 16;
		idle >>= 16;
	}
	if (idle >> 8) {
		class += 8;
		idle >>= 8;
	}
	if (idle >> 4) {
		class += 4;
		idle >>= 4;
	}
	if (idle >> 2) {
		class += 2;
		idle >>= 2;
	}
	return (class + (idle >> 1)) & (IDLE_CLASSES - 1);
}

/* Under which conditions entries go: see table.h. Returns 1 if the slot is free now. */
__noinline int end_marked(struct sweeping *sweep, struct bucket *bucket, __u32 index, __u64 lived)
{
	struct connection *c;

	if (!sweep || !bucket)
		return 0;
	c = slot(bucket, index);
	if (flush(sweep, c, sweep->pressure ? FLUSH_OR_GIVE_UP : FLUSH_EVERYTHING))
		return 0;
	if (__sync_val_compare_and_swap(&bucket->life[index & (SLOTS - 1)], lived, 0) != lived)
		return 0;
	sweep->found.deleted++;
	return 1;
}

__noinline int sweep_slot(struct sweeping *sweep, struct bucket *bucket, __u32 index)
{
	struct connection *c;
	__u32 idle, hook, i;
	__u64 lived;

	if (!sweep || !bucket)
		return 0;
	lived = *(volatile __u64 *)&bucket->life[index & (SLOTS - 1)];
	c = slot(bucket, index);
	if (!lived || state_of(lived) == STATE_CLAIMED)
		return 0;
	if (state_of(lived) == STATE_ALIVE) {
		idle = ticks_since(sweep->now, c->seen);
		if (idle >= timeout_of(c)) {
			/* What the ring had no room for can wait, and the entry with it. */
			if (!flush(sweep, c, FLUSH_EVERYTHING))
				__sync_val_compare_and_swap(&bucket->life[index & (SLOTS - 1)], lived,
							    life(lived, sweep->number));
		} else {
			flush(sweep, c, sweep->mode & SWEEP_FLUSH_ALL ? FLUSH_EVERYTHING : FLUSH_OLD);
			sweep->idle[idle_class(idle)]++;
		}
	} else if (state_of(lived) != sweep->number && end_marked(sweep, bucket, index, lived)) {
		return 0;
	}
	sweep->found.entries++;
	for (i = 0; i < LANES; i++) {
		__u64 pending = *(volatile __u64 *)&c->lanes[i].pending;

		hook = hook_of_lane(&c->key, i) & 3;
		sweep->found.pending_packets[hook] += pending >> PENDING_BYTES_BITS;
		sweep->found.pending_bytes[hook] += pending & PENDING_BYTES_MASK;
	}
	return 0;
}

static long sweep_bucket(void *map, const __u32 *number, struct bucket *bucket, struct sweep_context *context)
{
	__u32 i;

	for (i = 0; i < SLOTS; i++)
		if (*(volatile __u64 *)&bucket->life[i])
			sweep_slot(context->sweep, bucket, i);
	return 0;
}

/*
 * Under pressure, a second walk: the entries that were idle longest are marked. What they hold is reported, or given
 * up, when the next sweep ends them.
 */
static long evict_bucket(void *map, const __u32 *number, struct bucket *bucket, struct sweep_context *context)
{
	struct sweeping *sweep = context->sweep;
	__u32 i;

	for (i = 0; i < SLOTS; i++) {
		__u64 lived = *(volatile __u64 *)&bucket->life[i];

		if (!lived || state_of(lived) != STATE_ALIVE ||
		    ticks_since(sweep->now, slot(bucket, i)->seen) < sweep->evict_after)
			continue;
		if (__sync_val_compare_and_swap(&bucket->life[i], lived, life(lived, sweep->number)) == lived)
			sweep->found.evicted_entries++;
	}
	return 0;
}

/* From which idle time on entries must go, so that enough of the table becomes free. */
static __always_inline void choose_victims(struct sweeping *sweep)
{
	__u32 wanted = sweep->found.entries - CAPACITY / 8 * 5;
	__u32 class = IDLE_CLASSES - 1, found = 0, i;

	for (i = 0; i < IDLE_CLASSES; i++) {
		class = IDLE_CLASSES - 1 - i;
		found += sweep->idle[class & (IDLE_CLASSES - 1)];
		if (found >= wanted)
			break;
	}
	sweep->evict_after = class ? 1U << (class & (IDLE_CLASSES - 1)) : 0;
	if (sweep->evict_after < evictable_after)
		sweep->evict_after = evictable_after;
}

/* args: mode, number of the sweep. */
SEC("raw_tp/webb_sweep")
int webb_sweep(struct bpf_raw_tracepoint_args *arguments)
{
	struct sweep_context context;
	struct webb_swept *result;
	struct sweeping *sweep;
	__u32 zero = 0, i;

	sweep = bpf_map_lookup_elem(&sweeping, &zero);
	result = bpf_map_lookup_elem(&swept, &zero);
	if (!sweep || !result)
		return 1;
	sweep->mode = arguments->args[0];
	sweep->number = STATE_MARKED + arguments->args[1];
	/* The coarse clock is not for programs of this type. */
	sweep->now_ns = bpf_ktime_get_ns();
	sweep->now = tick_now();
	sweep->found.entries = 0;
	for (i = 0; i < WEBB_HOOKS; i++)
		sweep->found.pending_packets[i] = sweep->found.pending_bytes[i] = 0;
	for (i = 0; i < IDLE_CLASSES; i++)
		sweep->idle[i] = 0;

	context.sweep = sweep;
	bpf_for_each_map_elem(&connections, sweep_bucket, &context, 0);
	sweep->pressure = sweep->found.entries > CAPACITY / 4 * 3;
	if (sweep->pressure) {
		choose_victims(sweep);
		bpf_for_each_map_elem(&connections, evict_bucket, &context, 0);
	}
	*result = sweep->found;
	return 0;
}

#endif
