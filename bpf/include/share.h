/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits the share of each interface in the table and in the ring. All of both may be used by one as long as no other
 * needs it. Only when little is left does a share count: then an interface that has less than its share goes before one
 * that has more, so a pod that floods loses its own events and entries, and no other pod's.
 */
#ifndef WEBB_SHARE_H
#define WEBB_SHARE_H

#include "record.h"
#include "table.h"

#define SHARES 1024 /* a power of two; interfaces beyond it share with one another */
#define WINDOW_SHIFT 6 /* ticks of a window in which records are counted: 256 ms at 250 Hz */

struct share {
	__u32 window;  /* that `records` is of */
	__u32 records; /* wanted in this window, half of those of the one before, and so on. Counted without atomics */
	__u32 living;  /* entries of the interface that are LIVING or CLOSED, by the last sweep of each part */
	__u32 parts[WEBB_PARTS];
	__u32 pad0;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARES);
	__type(key, __u32);
	__type(value, struct share);
} shares SEC(".maps");

/* Figures that the sweep computes for all programs (map `balance`, ARRAY of one). */
struct balance {
	__u64 base_ns; /* CLOCK_MONOTONIC at tick 0 */
	__u32 table_share; /* LIVING entries from which an interface has more than its share; 0: there is room for all */
	__u32 ring_share; /* records of a window, the same; where the ring is tight */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct balance);
} balances SEC(".maps");

static __always_inline struct balance *the_balance(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&balances, &zero);
}

static __always_inline struct share *share_of(__u32 ifindex)
{
	__u32 number = ifindex & (SHARES - 1);

	return bpf_map_lookup_elem(&shares, &number);
}

/* CLOCK_MONOTONIC at a tick. A call for the coarse clock costs as much as half of writing a record. */
static __always_inline __u64 time_at(__u64 tick)
{
	struct balance *balance = the_balance();

	return balance ? balance->base_ns + tick * tick_ns : 0;
}

/*
 * The interface may have a record. Where the ring is more than three quarters full, what is left of it is for those that
 * have not wanted more than their share of late.
 */
static __always_inline int may_write(struct webb_totals *t, __u32 ifindex, __u64 tick)
{
	struct share *share = share_of(ifindex);
	__u32 window = tick >> WINDOW_SHIFT, passed;
	struct balance *balance;

	if (!share)
		return 0;
	passed = window - share->window;
	if (passed) {
		share->window = window;
		share->records = passed > 31 ? 0 : share->records >> passed;
	}
	share->records++;
	if (unlikely(t->ring_is_tight)) {
		t->ring_is_tight = bpf_ringbuf_query(&flow_events, BPF_RB_AVAIL_DATA) > flow_ring_bytes / 4 * 3;
		balance = the_balance();
		if (t->ring_is_tight && balance && share->records > balance->ring_share)
			return 0;
	}
	return 1;
}

/* Submits a record of the flow ring and counts it. */
static __always_inline void submit(struct webb_totals *t, struct webb_record *r)
{
	__u64 filled;

	if (likely(++t->records & (LOOK_EVERY - 1))) {
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
		return;
	}
	filled = bpf_ringbuf_query(&flow_events, BPF_RB_AVAIL_DATA);
	if (filled > flow_ring_bytes / 4 * 3)
		t->ring_is_tight = 1;
	bpf_ringbuf_submit(r, filled > flow_ring_bytes / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

#endif
