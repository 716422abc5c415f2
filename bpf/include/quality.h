/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection quality: what became of an attempt to connect, how long the handshake, a round trip and the connection took,
 * and closed receive windows (enum webb_event). Compiled without WEBB_QUALITY nothing of it is left.
 *
 * Its state lies in bytes that an entry has anyway: struct details' `quality`, `begin` and `sample`, a bit of each lane and
 * two of `seen`. A packet of an established connection reads none of the details. So that an attempt without an answer
 * can be reported, TCP's details are written with the first packet, and not with the second as those of other protocols.
 *
 * `quality` is changed by atomic or: the first to set a bit reports what it stands for, so each event comes once.
 *
 * A round trip is measured once after the handshake and once in each report interval, for the side behind the interface
 * (on a node's device, the node). Then the entry is ARMED; its next segment with more than a byte of data is noted, and
 * the acknowledgement of all of it ends the sample. Data below the noted number is a retransmission, which says nothing
 * (Karn's rule). A segment of one byte may be a keep-alive, and is not measured. What was sent again before the noted
 * segment, and is that segment, cannot be known without a look at each packet: such a sample counts from the repetition.
 */
#ifndef WEBB_QUALITY_H
#define WEBB_QUALITY_H

#include "lanes.h"

#ifdef WEBB_QUALITY

#define QUALITY_SYN 0x01      /* the first SYN was seen, so `begin` is known */
#define QUALITY_RESENT 0x02   /* the SYN was sent again */
#define QUALITY_OUTCOME 0x04  /* the attempt's outcome is known and reported */
#define QUALITY_ACCEPTED 0x08 /* it was accepted, and `begin` is in milliseconds */
#define QUALITY_ENDED 0x10    /* the end is reported */
#define QUALITY_FIN_A 0x20    /* FIN of sender a; of b it is twice that */

#define SAMPLE_LIFE 10000000   /* microseconds in which a segment must be acknowledged */
#define ATTEMPT_LIFE 180000000 /* the same, in which another SYN of the same ports is the same attempt */

#define SWEEP_LIST_OPEN 4 /* mode of a sweep: report each open connection, WEBB_EVENT_OPEN */

#define EVENT_LOST 0x100 /* beside an event: there is no room for it */

/* LANE_ZERO_WINDOW if the packet says so. */
static __always_inline __u64 window_of(const struct sighting *s)
{
	return (__u64)s->packet.zero_window << LANE_ZERO_WINDOW_AT;
}

/* Sets bits of `quality`. Returns those that were set. */
static __always_inline __u32 mark(struct details *d, __u32 bits)
{
	return __sync_fetch_and_or((__u32 *)&d->protocol, bits << 24) >> 24;
}

static __always_inline __u32 microseconds_now(void)
{
	return bpf_ktime_get_ns() / 1000;
}

/* Milliseconds since the first SYN. */
static __always_inline __u32 age_of_connection(const struct details *d)
{
	if (!(d->quality & QUALITY_ACCEPTED))
		return WEBB_VALUE_UNKNOWN;
	return (__u32)(bpf_ktime_get_ns() / 1000000) - d->begin;
}

/* True if the details of the packet's connection are written with its first packet. */
static __always_inline int has_early_details(const struct sighting *s)
{
	return s->packet.protocol == PROTOCOL_TCP || s->packet.protocol == PROTOCOL_SCTP;
}

/* An attempt that nothing has come of, and that its opener does not take for accepted. */
static __always_inline int is_unanswered(const struct details *d, __u8 of_opener)
{
	return (d->quality & (QUALITY_SYN | QUALITY_OUTCOME)) == QUALITY_SYN && !(of_opener & TCP_ACK);
}

/* Accepted; or picked up midway, and both sides have acknowledged something. */
static __always_inline int is_established(const struct details *d, __u8 from_one, __u8 from_other)
{
	if (d->quality & QUALITY_SYN)
		return !!(d->quality & QUALITY_ACCEPTED);
	return !!(from_one & from_other & TCP_ACK);
}

static __always_inline void lose_event(struct webb_totals *t, __u32 event)
{
	/* The mask comes right before its use: Linux 6.1 does not follow it further. */
	barrier_var(event);
	if (event < WEBB_EVENTS)
		__sync_fetch_and_add(&t->lost_events[event], 1);
}

/* Writes a record of an event alone. REPORTED or RING_FULL; NOTHING if there is no such place. */
__noinline int write_event(__u32 place, __u32 lane, __u32 event, __u32 value)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct details *d = details_at(place);
	struct webb_totals *t;
	struct webb_record *r;
	__u32 hook;

	if (!bucket || !d)
		return NOTHING;
	hook = hook_of_lane(d, lane & 1);
	t = totals_of(hook);
	if (!t)
		return NOTHING;
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r)
		return RING_FULL;
	fill_delta(r, d, lane & 1, slot_entry(bucket, place)->seen, hook);
	r->kind = WEBB_KIND_EVENT;
	r->event = event;
	r->value = value;
	r->packets = 0;
	r->bytes = 0;
	__sync_fetch_and_add(&t->records, 1);
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, t->records));
	return REPORTED;
}

/* Writes the event of a packet, or counts it as lost if it is EVENT_LOST or its interface may have no record now. */
__noinline int report_event(__u32 place, __u32 lane, __u32 event, __u32 value)
{
	struct details *d = details_at(place);
	struct webb_totals *t;

	if (!d)
		return NOTHING;
	t = totals_of(hook_of_lane(d, lane & 1));
	if (!t)
		return NOTHING;
	if (!(event & EVENT_LOST) && may_write(t, d->ifindex, tick_now()) &&
	    write_event(place, lane, event, value) == REPORTED)
		return REPORTED;
	lose_event(t, event & ~EVENT_LOST);
	return RING_FULL;
}

/*
 * Reports what the end of an entry is: an attempt timed out, or the connection's end for `why`. Where the ring is full an
 * interrupted one is lost; others keep their entry. The caller has CLAIMED the slot, or reports OPEN, which is no end;
 * `state` is the slot's before that.
 */
__noinline int report_end(__u32 place, __u32 why, __u32 state)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct details *d = details_at(place);
	__u32 event, value = 0, lane;
	struct webb_totals *t;
	struct entry *entry;
	__u8 of_a, of_b;

	if (!bucket || !d)
		return NOTHING;
	entry = slot_entry(bucket, place);
	of_a = lane_flags(*(volatile __u64 *)&entry->lane[0]);
	of_b = lane_flags(*(volatile __u64 *)&entry->lane[1]);
	/* One packet, or one each way, of a protocol without flags has the details of another connection. */
	if (d->protocol != PROTOCOL_TCP || (state < STATE_LIVING && !(of_a | of_b)))
		return NOTHING;
	lane = !!(entry->seen & SEEN_OPENER_B);
	if (is_unanswered(d, lane ? of_b : of_a)) {
		if (why == WEBB_EVENT_OPEN)
			return NOTHING;
		event = WEBB_EVENT_TIMED_OUT;
	} else {
		if (d->quality & QUALITY_ENDED || !is_established(d, of_a, of_b))
			return NOTHING;
		event = why;
		value = age_of_connection(d);
	}
	if (write_event(place, lane, event, value) == REPORTED) {
		if (why != WEBB_EVENT_OPEN)
			mark(d, event == WEBB_EVENT_TIMED_OUT ? QUALITY_OUTCOME : QUALITY_ENDED);
		return REPORTED;
	}
	t = totals_of(hook_of_lane(d, lane));
	if (t && why != WEBB_EVENT_IDLE)
		lose_event(t, event);
	return RING_FULL;
}

static __always_inline void list_open(__u32 mode, __u32 place, __u32 state)
{
	if (mode & SWEEP_LIST_OPEN && state >= STATE_DONE)
		report_end(place, WEBB_EVENT_OPEN, state);
}

/* Begins an attempt at its first SYN. */
static __always_inline void quality_begin(const struct sighting *s, struct details *d)
{
	if (s->packet.protocol != PROTOCOL_TCP || !begins(s))
		return;
	d->begin = microseconds_now();
	d->sample = s->packet.sequence;
	d->quality = QUALITY_SYN;
}

/* Writes the details of a connection with its first packet. */
__noinline int details_early(struct sighting *s, __u32 place)
{
	struct details *d = details_at(place);

	if (!s || !d)
		return 0;
	details_of(s, d);
	if (s->bits & TCP_FIN)
		d->quality = s->sender ? 2 * QUALITY_FIN_A : QUALITY_FIN_A;
	quality_begin(s, d);
	return 0;
}

/* A SYN on an entry that has ended: of the same attempt if that was not answered, else the next one begins. */
__noinline int quality_anew(struct sighting *s, __u32 place)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct details *d = details_at(place);
	struct entry *entry;
	__u32 begin, opener;

	if (!s || !bucket || !d || s->packet.protocol != PROTOCOL_TCP)
		return 0;
	entry = slot_entry(bucket, place);
	opener = !!(entry->seen & SEEN_OPENER_B);
	begin = d->begin;
	if (opener == s->sender && is_unanswered(d, lane_flags(*(volatile __u64 *)entry_lane(entry, opener))) &&
	    microseconds_now() - begin < ATTEMPT_LIFE) {
		d->sample = s->packet.sequence;
		d->quality = QUALITY_SYN | QUALITY_RESENT;
		return 0;
	}
	report_end(place, WEBB_EVENT_INTERRUPTED, STATE_LIVING);
	quality_begin(s, d);
	return 0;
}

/* Takes the outcome of an attempt: 1 for one caller. */
static __always_inline int take_outcome(struct details *d)
{
	if ((d->quality & (QUALITY_SYN | QUALITY_OUTCOME)) != QUALITY_SYN)
		return 0;
	return !(mark(d, QUALITY_OUTCOME) & QUALITY_OUTCOME);
}

static __always_inline __u32 accepted(struct sighting *s, struct details *d)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 passed = (__u32)(now / 1000) - d->begin;

	s->value = (passed & ~WEBB_VALUE_RESENT) | (d->quality & QUALITY_RESENT ? WEBB_VALUE_RESENT : 0);
	d->begin = (__u32)(now / 1000000) - passed / 1000;
	d->sample = 0;
	mark(d, QUALITY_ACCEPTED);
	return WEBB_EVENT_ACCEPTED;
}

/*
 * The event of a packet that was added to its entry, with its value in `value`; 0: none. `flags` are those of its lane
 * before it, and of the other lane << 8.
 */
__noinline int quality_of(struct sighting *s, __u32 place, __u32 flags)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct details *d;
	int by_opener, established;
	__u32 fin, bits;

	if (!s)
		return 0;
	bits = s->bits;
	s->value = 0;
	if (s->packet.protocol != PROTOCOL_TCP || !(bits & (TCP_SYN | TCP_FIN | TCP_RST)))
		return 0;
	d = details_at(place);
	if (!bucket || !d)
		return 0;
	by_opener = !!(slot_entry(bucket, place)->seen & SEEN_OPENER_B) == s->sender;
	if (begins(s)) {
		if (by_opener && s->asked != WEBB_KIND_NEW && d->quality & QUALITY_SYN && !(d->quality & QUALITY_OUTCOME))
			mark(d, QUALITY_RESENT);
		return 0;
	}
	established = is_established(d, flags, flags >> 8);
	if (bits & TCP_RST) {
		if (!by_opener && take_outcome(d))
			return WEBB_EVENT_REFUSED;
		if (!established || mark(d, QUALITY_ENDED) & QUALITY_ENDED)
			return 0;
		s->value = age_of_connection(d);
		return by_opener ? WEBB_EVENT_RESET_BY_OPENER : WEBB_EVENT_RESET_BY_ACCEPTOR;
	}
	if (bits & TCP_SYN)
		return !by_opener && take_outcome(d) ? accepted(s, d) : 0;
	fin = s->sender ? 2 * QUALITY_FIN_A : QUALITY_FIN_A;
	if (!(mark(d, fin) & (fin ^ 3 * QUALITY_FIN_A)) || !is_established(d, flags | bits, flags >> 8) ||
	    mark(d, QUALITY_ENDED) & QUALITY_ENDED)
		return 0;
	s->value = age_of_connection(d);
	return WEBB_EVENT_CLOSED;
}

/* True for a hook where the side behind the interface sends. */
static __always_inline int is_local(__u32 hook)
{
	return hook == WEBB_HOOK_FROM_POD || hook == WEBB_HOOK_TO_NETWORK;
}

static __always_inline int is_tcp_of_local(const struct sighting *s)
{
	return s->packet.protocol == PROTOCOL_TCP && is_local(s->hook);
}

/* True if the packet may begin or end the sample that `seen` is about. */
static __always_inline int concerns_sample(const struct sighting *s, __u32 seen)
{
	if (is_local(s->hook))
		return s->packet.payload && (seen & SEEN_SAMPLE || s->packet.payload > 1);
	return seen & SEEN_SAMPLE && s->packet.tcp_flags & TCP_ACK;
}

/* Has the next data of the local sender measured. One sample at a time; it ends after SAMPLE_LIFE at the latest. */
__noinline int arm_sample(__u32 place)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct details *d = details_at(place);
	struct entry *entry;
	__u32 seen;

	if (!bucket || !d)
		return 0;
	entry = slot_entry(bucket, place);
	seen = *(volatile __u32 *)&entry->seen;
	if (seen & SEEN_ARMED)
		return 0;
	if (seen & SEEN_SAMPLE) {
		if (microseconds_now() - (__u32)d->sample <= SAMPLE_LIFE)
			return 0;
		__sync_fetch_and_and(&entry->seen, ~SEEN_SAMPLE);
	}
	__sync_fetch_and_or(&entry->seen, SEEN_ARMED);
	return 0;
}

/* Begins the sample of an entry with a packet, ends it, or throws it away. */
__noinline int look_at_sample(struct sighting *s)
{
	struct bucket *bucket;
	struct details *d;
	struct entry *entry;
	__u32 place, seen, passed;

	if (!s || s->packet.tcp_flags & (TCP_SYN | TCP_RST))
		return 0;
	place = s->look - 1;
	bucket = bucket_at(place >> 3);
	d = details_at(place);
	if (!bucket || !d)
		return 0;
	entry = slot_entry(bucket, place);
	if (*(volatile __u64 *)&entry->hash != s->hash)
		return 0;
	seen = *(volatile __u32 *)&entry->seen;
	if (is_local(s->hook)) {
		__u32 sequence = bpf_ntohl(s->packet.sequence);

		if (seen & SEEN_SAMPLE) {
			if ((__s32)(sequence - (__u32)(d->sample >> 32)) < 0)
				__sync_fetch_and_and(&entry->seen, ~SEEN_SAMPLE);
		} else if (seen & SEEN_ARMED && s->packet.payload > 1) {
			d->sample = (__u64)(sequence + s->packet.payload) << 32 | microseconds_now();
			__sync_val_compare_and_swap(&entry->seen, seen, (seen & ~SEEN_ARMED) | SEEN_SAMPLE);
		}
		return 0;
	}
	if (!(seen & SEEN_SAMPLE) || (__s32)(bpf_ntohl(s->packet.acknowledgement) - (__u32)(d->sample >> 32)) < 0)
		return 0;
	passed = microseconds_now() - (__u32)d->sample;
	if (__sync_fetch_and_and(&entry->seen, ~SEEN_SAMPLE) & SEEN_SAMPLE && passed <= SAMPLE_LIFE)
		report_event(place, !s->sender, WEBB_EVENT_SAMPLE, passed);
	return 0;
}

#else

#define window_of(s) 0
#define has_early_details(s) 0
#define details_early(s, place)
#define quality_anew(s, place)
#define report_end(place, why, state) NOTHING
#define list_open(mode, place, state)

#endif
#endif
