/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Adds a packet to the entry of its connection. The rules are in table.h. */
#ifndef WEBB_ADD_H
#define WEBB_ADD_H

#include "l7_state.h"
#include "quality.h"

static __always_inline void fill_own(struct webb_record *r, __u8 kind, const struct sighting *s, __u32 seen, __u8 own,
				     __u8 other)
{
	fill(r, kind, time_at(s->tick), s->ifindex, &s->packet);
	r->hook = s->hook;
	r->flags |= direction_flags(seen, s->sender, s->hook) | one_sided(s, own, other);
}

static __always_inline void submit_own(struct webb_totals *t, struct webb_record *r, __u32 packets, __u64 bytes)
{
	r->packets = packets;
	r->bytes = bytes;
	t->reported_packets += packets;
	t->reported_bytes += bytes;
	submit(t, r);
}

static __always_inline struct webb_record *reserve(struct webb_totals *t, const struct sighting *s)
{
	if (!may_write(t, s->ifindex, s->tick))
		return 0;
	return bpf_ringbuf_reserve(&flow_events, sizeof(struct webb_record), 0);
}

/* A packet that has no place in the table: a record of its own. */
__noinline int report_alone(struct sighting *s, __u32 no_room)
{
	struct webb_totals *t;
	struct webb_record *r;
	__u8 kind;

	if (!s)
		return COUNTED;
	t = totals_of(s->hook);
	if (!t)
		return COUNTED;
	r = reserve(t, s);
	if (!r) {
		t->lost_records++;
		if (no_room) {
			t->untracked_packets++;
			t->untracked_bytes += s->bytes;
		} else {
			t->lost_packets++;
			t->lost_bytes += s->bytes;
		}
		return COUNTED;
	}
	kind = begins(s) ? WEBB_KIND_NEW : WEBB_KIND_PACKET;
	fill_own(r, s->packet.family ? kind : WEBB_KIND_FLUSH, s, opened_by(s), 0, 0);
	t->alone_records++;
	submit_own(t, r, 1, s->bytes);
	return COUNTED;
}

/* A lane that can hold no more while the ring is full: its pending counts, and this packet, are counted as lost. */
static __always_inline int lose(struct webb_totals *t, __u64 *lane, __u64 was, __u32 bytes)
{
	if (__sync_val_compare_and_swap(lane, was, was & ~LANE_PENDING) != was)
		return 0;
	t->lost_packets += (was & LANE_PENDING) / LANE_PACKET + 1;
	t->lost_bytes += (was & LANE_BYTES) + bytes;
	return 1;
}

static __always_inline int has_space(__u64 lane, __u32 bytes)
{
	return (lane & LANE_PENDING) / LANE_PACKET < LANE_MOST_PACKETS && (lane & LANE_BYTES) + bytes <= LANE_BYTES;
}

/* Marks an entry as CLOSED at the packet that ends its connection, so that its slot is reused first. */
static __always_inline void mark_closed(struct bucket *bucket, __u32 place, const struct sighting *s)
{
	volatile __u64 *word = slot_word(bucket, place);
	__u64 was = *word;

	if (state_of(was) == STATE_LIVING && is_fingerprint(was, s->hash))
		__sync_val_compare_and_swap((__u64 *)word, was,
					    word_of(was, generation_of(was), stamp_at(s->tick), STATE_CLOSED));
}

/* Adds a packet to an entry that is LIVING or CLOSED, and reports it where it changes the state. */
__noinline int add(struct sighting *s, __u32 place)
{
	struct webb_totals *t;
	struct bucket *bucket = bucket_at(place >> 3);
	struct entry *entry;
	__u64 *lane, was, next;
	__u32 seen, known, interval = 0, attempt;
	__u8 own, other, kind;
#ifdef WEBB_QUALITY
	__u32 event, closed;
#endif

	if (!s || !bucket)
		return AGAIN;
	t = totals_of(s->hook);
	if (!t)
		return COUNTED;
	entry = slot_entry(bucket, place);
	lane = entry_lane(entry, s->sender);
	for (attempt = 0; attempt < 2 * ATTEMPTS; attempt++) {
		struct webb_record *r = 0;

		was = read_lane(lane);
		if (!(was & LANE_LIVING) || *(volatile __u64 *)&entry->hash != s->hash)
			return AGAIN;
		seen = *(volatile __u32 *)&entry->seen;
		own = lane_flags(was);
		other = lane_flags(*(volatile __u64 *)entry_lane(entry, !s->sender));
		known = *(volatile __u32 *)&entry->both_reported;
		kind = s->asked;
		if (s->packet.family && !kind) {
			/* Of two CPUs that find the interval over at once, one reports. */
			__u32 shift = s->sender ? 16 : 0, now = reported_at(s->tick);
			__u32 passed = (now - (known >> shift)) & 0xffff;

			if (s->bits & ~own) {
				kind = WEBB_KIND_FLAGS;
			} else if (!interval && passed >= t->report_interval) {
				if (__sync_val_compare_and_swap(&entry->both_reported, known,
								(known & ~(0xffffU << shift)) | now << shift) != known)
					continue;
				interval = 1;
			}
			if (!kind && interval)
				kind = WEBB_KIND_INTERVAL;
		}
		if (!kind && was & LANE_NEARLY_FULL)
			kind = WEBB_KIND_FLUSH;
		if (kind)
			r = reserve(t, s);
		if (r) {
			own |= s->bits;
			next = (was & ~LANE_PENDING) | (__u64)own << LANE_FLAGS_AT;
		} else if (has_space(was, s->bytes)) {
			next = was + LANE_PACKET + s->bytes;
		} else {
			if (!lose(t, lane, was, s->bytes))
				continue;
			t->lost_records++;
			return COUNTED;
		}
#ifdef WEBB_QUALITY
		next = (next & ~LANE_ZERO_WINDOW) | window_of(s);
#endif
		if (__sync_val_compare_and_swap(lane, was, next) != was) {
			if (r)
				bpf_ringbuf_discard(r, 0);
			continue;
		}
#ifdef WEBB_QUALITY
		event = quality_of(s, place, lane_flags(was) | other << 8);
		closed = s->packet.zero_window && lane_flags(was) && !(was & LANE_ZERO_WINDOW);
#endif
		if (r) {
			fill_own(r, kind, s, seen, own, other);
#ifdef WEBB_QUALITY
			r->event = event ? event : closed ? WEBB_EVENT_ZERO_WINDOW : 0;
			r->value = event ? s->value : 0;
#endif
			submit_own(t, r, (was & LANE_PENDING) / LANE_PACKET + 1, (was & LANE_BYTES) + s->bytes);
			/* A full lane is no event: the interval goes on. */
			if (kind != WEBB_KIND_FLUSH || !s->packet.family)
				*entry_reported(entry, s->sender) = reported_at(s->tick);
			if (unlikely(s->bits & (TCP_FIN | TCP_RST)) && has_ended(own, other))
				mark_closed(bucket, place, s);
		} else if (kind) {
			t->lost_records++;
		}
		if ((seen ^ seen_at(s->tick)) & SEEN_TIME)
			__sync_val_compare_and_swap(&entry->seen, seen, (seen & ~SEEN_TIME) | seen_at(s->tick));
#ifdef WEBB_QUALITY
		if (event && !r)
			report_event(place, s->sender, kind ? EVENT_LOST | event : event, s->value);
		if (closed && (event || !r))
			report_event(place, s->sender,
				     kind && !r ? EVENT_LOST | WEBB_EVENT_ZERO_WINDOW : WEBB_EVENT_ZERO_WINDOW, 0);
		if (seen & (SEEN_ARMED | SEEN_SAMPLE) && concerns_sample(s, seen))
			s->look = 1 + place;
		if (event == WEBB_EVENT_ACCEPTED || (r && kind == WEBB_KIND_INTERVAL && is_tcp_of_local(s)))
			arm_sample(place);
#endif
		return COUNTED;
	}
	return BUSY;
}

/* The other sender's first packet, where each of both has sent one: reported, and nothing is left pending. */
static __always_inline int answer(struct sighting *s, struct bucket *bucket, __u32 place, __u64 was)
{
	__u64 *word = (__u64 *)slot_word(bucket, place), *lane;
	struct entry *entry = slot_entry(bucket, place);
	struct webb_totals *t = totals_of(s->hook);
	struct webb_record *r;
	__u32 seen;
	__u8 kind, other;

	if (!t)
		return COUNTED;
	r = reserve(t, s);
	if (!r)
		return NO_ROOM;
	seen = entry->seen;
	lane = entry_lane(entry, s->sender);
	other = lane_flags(*(volatile __u64 *)entry_lane(entry, !s->sender));
	if (s->bits) {
		if (__sync_val_compare_and_swap(word, was, with_state(was, STATE_CLAIMED)) != was) {
			bpf_ringbuf_discard(r, 0);
			return AGAIN;
		}
		*(volatile __u64 *)lane |= window_of(s) | (__u64)s->bits << LANE_FLAGS_AT;
		__sync_lock_test_and_set(word, word_of(was, generation_of(was), stamp_at(s->tick), STATE_DONE));
	} else if (__sync_val_compare_and_swap(word, was,
					       word_of(was, generation_of(was), stamp_at(s->tick), STATE_DONE)) != was) {
		bpf_ringbuf_discard(r, 0);
		return AGAIN;
	}
	kind = s->asked ? s->asked : s->bits ? WEBB_KIND_FLAGS : WEBB_KIND_INTERVAL;
	fill_own(r, kind, s, seen, s->bits, other);
#ifdef WEBB_QUALITY
	r->event = quality_of(s, place, other << 8);
	r->value = s->value;
	if (r->event == WEBB_EVENT_ACCEPTED)
		arm_sample(place);
#endif
	submit_own(t, r, 1, s->bytes);
	*entry_reported(entry, s->sender) = reported_at(s->tick);
	return COUNTED;
}

/* From ONCE or DONE to LIVING, so that packets can be added. Returns 1 if it is that now. */
static __always_inline int raise(const struct sighting *s, struct bucket *bucket, __u32 place, __u64 was)
{
	__u64 *word = (__u64 *)slot_word(bucket, place);
	struct entry *entry = slot_entry(bucket, place);
	struct details *d = details_at(place);

	if (!d || __sync_val_compare_and_swap(word, was, with_state(was, STATE_CLAIMED)) != was)
		return 0;
	if (!has_early_details(s))
		details_of(s, d);
	l7_note(s, slot_note(bucket, place), entry->seen);
	slot_note(bucket, place)->owner = owner_of(s);
	entry->seen = (entry->seen & ~SEEN_TIME) | seen_at(s->tick);
	*(volatile __u64 *)&entry->lane[0] |= LANE_LIVING;
	*(volatile __u64 *)&entry->lane[1] |= LANE_LIVING;
	__sync_lock_test_and_set(word, word_of(was, generation_of(was), stamp_at(s->tick), STATE_LIVING));
	return 1;
}

/*
 * A SYN on a connection that has ended: the ports are used again, so all begins anew but what is pending. Returns 1 if the
 * entry, which is LIVING or CLOSED, was reset.
 */
static __always_inline int begin_anew(struct sighting *s, struct bucket *bucket, __u32 place, __u64 was)
{
	__u64 *word = (__u64 *)slot_word(bucket, place);
	struct entry *entry = slot_entry(bucket, place);
	struct webb_totals *t = totals_of(s->hook);
	__u32 due, seen;

	if (!t || (state_of(was) != STATE_LIVING && state_of(was) != STATE_CLOSED))
		return 0;
	if (__sync_val_compare_and_swap(word, was, with_state(was, STATE_CLAIMED)) != was)
		return 0;
	due = (reported_at(s->tick) - t->report_interval) & 0xffff;
	quality_anew(s, place);
	__sync_fetch_and_and(&entry->lane[0], ~(0xffULL << LANE_FLAGS_AT));
	__sync_fetch_and_and(&entry->lane[1], ~(0xffULL << LANE_FLAGS_AT));
	*(volatile __u32 *)&entry->both_reported = due << 16 | due;
	seen = l7_seen(s, opened_by(s));
	*(volatile __u32 *)&entry->seen = seen | seen_at(s->tick);
	l7_anew(s, slot_note(bucket, place), place, seen);
	__sync_lock_test_and_set(word, word_of(was, generation_of(was), stamp_at(s->tick), STATE_LIVING));
	return 1;
}

#endif
