/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Taking out of a lane what is pending in it, without a packet of its own: by the sweep, and where an entry ends. Both
 * may be interrupted by packets of the same CPU, so they add to the totals atomically.
 */
#ifndef WEBB_LANES_H
#define WEBB_LANES_H

#include "share.h"
#include "sighting.h"

#define NOTHING 0  /* was pending */
#define REPORTED 1
#define RING_FULL 2
#define RACED 3    /* a packet came */

static __always_inline __u32 hook_of_lane(const struct details *d, __u32 lane)
{
	return (d->form & FORM_NETWORK ? WEBB_HOOK_FROM_NETWORK : WEBB_HOOK_FROM_POD) |
	       ((lane ^ d->form) & FORM_PARITY);
}

/* Fills all of `r` but the deltas with what a delta of this lane stands for. Not by a packet: the stack has no room for it. */
static __always_inline void fill_delta(struct webb_record *r, const struct details *d, __u32 lane, __u32 seen, __u32 hook)
{
	__u64 *address = (__u64 *)r->source;
	int is_icmp = d->protocol == PROTOCOL_ICMP || d->protocol == PROTOCOL_ICMPV6;

	r->version = WEBB_ABI_VERSION;
	r->kind = WEBB_KIND_FLUSH;
	r->length = sizeof(*r);
	r->ifindex = d->ifindex;
	r->time_ns = time_at(tick_now());
	address[0] = lane ? d->b[0] : d->a[0];
	address[1] = lane ? d->b[1] : d->a[1];
	address[2] = lane ? d->a[0] : d->b[0];
	address[3] = lane ? d->a[1] : d->b[1];
	r->source_port = is_icmp ? 0 : lane ? d->b_port : d->a_port;
	r->destination_port = is_icmp ? 0 : lane ? d->a_port : d->b_port;
	r->family = d->family;
	r->protocol = d->protocol;
	r->tcp_flags = r->icmp_type = r->icmp_code = r->event = 0;
	r->flags = direction_flags(seen, lane, hook);
	if (d->form & FORM_FRAGMENT)
		r->flags |= WEBB_FLAG_FRAGMENT | WEBB_FLAG_NO_L4;
	else if (!has_l4(d->family, d->protocol))
		r->flags |= WEBB_FLAG_NO_L4;
	r->hook = hook;
	r->reason = r->value = 0;
}

/* Reports what a lane holds; with `close`, no packet is added to it from then on. Closed lanes hold nothing. */
__noinline int report_lane(__u32 place, __u32 lane, __u32 close)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct webb_totals *t;
	struct webb_record *r;
	struct details *d;
	struct entry *entry;
	__u64 *word, was, next;
	__u32 hook, seen;

	if (!bucket)
		return NOTHING;
	entry = slot_entry(bucket, place);
	word = entry_lane(entry, lane);
	was = read_lane(word);
	if (!(was & LANE_LIVING))
		return NOTHING;
	next = was & ~LANE_PENDING;
	if (close)
		next &= ~LANE_LIVING;
	if (!(was & LANE_PENDING))
		return !close || __sync_val_compare_and_swap(word, was, next) == was ? NOTHING : RACED;
	d = details_at(place);
	if (!d)
		return NOTHING;
	hook = hook_of_lane(d, lane & 1);
	t = totals_of(hook);
	if (!t)
		return NOTHING;
	seen = entry->seen;
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r)
		return RING_FULL;
	fill_delta(r, d, lane & 1, seen, hook);
	r->packets = (was & LANE_PENDING) / LANE_PACKET;
	r->bytes = was & LANE_BYTES;
	if (__sync_val_compare_and_swap(word, was, next) != was) {
		bpf_ringbuf_discard(r, 0);
		return RACED;
	}
	__sync_fetch_and_add(&t->reported_packets, (was & LANE_PENDING) / LANE_PACKET);
	__sync_fetch_and_add(&t->reported_bytes, was & LANE_BYTES);
	__sync_fetch_and_add(&t->records, 1);
	/* Otherwise left alone: the interval is between events, and this is none. */
	if (!d->family)
		*entry_reported(entry, lane) = reported_at(tick_now());
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, t->records));
	return REPORTED;
}

/* Opens a lane again. Only the program that has CLAIMED the slot changes a closed one. */
static __always_inline void reopen_lane(struct entry *entry, __u32 lane)
{
	__sync_fetch_and_or(entry_lane(entry, lane), LANE_LIVING);
}

/*
 * Ends both lanes of a slot that the caller has CLAIMED, what they hold being reported. Returns 1 if that succeeded; else
 * both are as they were.
 */
static __always_inline int close_lanes(__u32 place, struct entry *entry)
{
	if (report_lane(place, 0, 1) > REPORTED)
		return 0;
	if (report_lane(place, 1, 1) <= REPORTED)
		return 1;
	reopen_lane(entry, 0);
	return 0;
}

#endif
