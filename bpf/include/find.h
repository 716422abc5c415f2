/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Looks up the entry of a packet in the connection table. The rules are in table.h. */
#ifndef WEBB_FIND_H
#define WEBB_FIND_H

#include "make.h"

#define QUIET 1    /* a packet was counted */
#define QUIET_L7 2 /* the same, and layer 7 has something to look for */

/* Adds a packet to the lane of an entry if it changes no state. QUIET or QUIET_L7; 0 if it must be looked at. */
static __always_inline int add_quietly(const struct webb_totals *t, struct sighting *s, struct entry *entry,
				       __u32 number, __u32 slot)
{
	__u64 *lane = entry_lane(entry, s->sender), was = read_lane(lane), known;
	__u32 seen;

	if (*(volatile __u64 *)&entry->hash != s->hash)
		return 0;
	known = LANE_LIVING | (__u64)s->bits << LANE_FLAGS_AT;
#ifdef WEBB_QUALITY
	known |= window_of(s);
	if (unlikely((was & (known | LANE_ZERO_WINDOW)) != known || was & LANE_NEARLY_FULL))
		return 0;
#else
	if (unlikely((was & known) != known || was & LANE_NEARLY_FULL))
		return 0;
#endif
	if (unlikely((__u16)(reported_at(s->tick) - *entry_reported(entry, s->sender)) >= t->report_interval))
		return 0;
	seen = *(volatile __u32 *)&entry->seen;
	if (unlikely(__sync_val_compare_and_swap(lane, was, was + LANE_PACKET + s->bytes) != was))
		return 0;
	/* By exchange: the opener is in the same word, and the entry may be another's by now. */
	if ((seen ^ seen_at(s->tick)) & SEEN_TIME)
		__sync_val_compare_and_swap(&entry->seen, seen, (seen & ~SEEN_TIME) | seen_at(s->tick));
#ifdef WEBB_QUALITY
	if (unlikely(seen & (SEEN_ARMED | SEEN_SAMPLE)) && concerns_sample(s, seen))
		s->look = 1 + PLACE(number, slot);
#endif
#ifdef WEBB_L7
	return seen & SEEN_L7 ? QUIET_L7 : QUIET;
#else
	return QUIET;
#endif
}

/* The case that must be fast: a packet that changes no state, and its entry in its first bucket. */
static __always_inline int count_quietly(const struct webb_totals *t, struct sighting *s)
{
	struct bucket *bucket;
	struct entry *entry;
	__u32 number, slot, i;

	/* Only these flags can mean that a connection ends or begins; a record that is always due sets `asked`. */
	if (unlikely(s->asked || s->bits & (TCP_SYN | TCP_FIN | TCP_RST)))
		return 0;
	number = bucket_number(t->buckets, s->hash, 0);
	bucket = bucket_at(number);
	if (!bucket)
		return 0;
	slot = preferred_slot(s->hash);
	entry = slot_entry(bucket, slot);
	if (likely(*(volatile __u64 *)&entry->hash == s->hash))
		return add_quietly(t, s, entry, number, slot);
	for (i = 0; i < SLOTS; i++)
		if (is_fingerprint(*(volatile __u64 *)&bucket->word[i], s->hash))
			break;
	return i < SLOTS ? add_quietly(t, s, slot_entry(bucket, i), number, i) : 0;
}

#define NO_PLACE (-1)
#define CLAIMED_PLACE (-2)

/* The place of the connection's entry, in whatever state it is; NO_PLACE; CLAIMED_PLACE if one just becomes it. */
__noinline int find_place(struct sighting *s)
{
	struct webb_totals *t;
	struct bucket *bucket;
	__u32 choice, number, i;

	if (!s)
		return NO_PLACE;
	t = totals_of(s->hook);
	if (!t)
		return NO_PLACE;
	for (choice = 0; choice < CHOICES; choice++) {
		number = bucket_number(t->buckets, s->hash, choice);
		bucket = bucket_at(number);
		if (!bucket)
			break;
		for (i = 0; i < SLOTS; i++) {
			__u64 word = *(volatile __u64 *)&bucket->word[i];

			if (!is_fingerprint(word, s->hash) || state_of(word) == STATE_EMPTY)
				continue;
			if (state_of(word) == STATE_CLAIMED)
				return CLAIMED_PLACE;
			if (*(volatile __u64 *)&slot_entry(bucket, i)->hash == s->hash)
				return PLACE(number, i);
		}
		if (!choice && !*(volatile __u32 *)&bucket->elsewhere)
			break;
	}
	return NO_PLACE;
}

/* A packet at the entry of its connection, or at what was that a moment ago. */
__noinline int meet(struct sighting *s, __u32 place)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct entry *entry;
	__u64 was;
	__u32 state;
	int anew;

	if (!s || !bucket)
		return AGAIN;
	was = *slot_word(bucket, place);
	entry = slot_entry(bucket, place);
	state = state_of(was);
	if (!is_fingerprint(was, s->hash) || state == STATE_EMPTY || *(volatile __u64 *)&entry->hash != s->hash)
		return AGAIN;
	if (state == STATE_CLAIMED)
		return BUSY;
	anew = begins(s) && entry_has_ended(entry);
	if (!anew && state == STATE_ONCE + !s->sender) {
		int result = answer(s, bucket, place, was);

		if (result != NO_ROOM)
			return result;
	}
	if (state != STATE_LIVING && state != STATE_CLOSED) {
		if (!raise(s, bucket, place, was))
			return AGAIN;
		was = *slot_word(bucket, place);
	}
	if (anew && begin_anew(s, bucket, place, was))
		s->asked = WEBB_KIND_NEW;
	return add(s, place);
}

/* All that count_quietly() does not. */
__noinline int count_with_care(struct sighting *s)
{
	__u32 attempt;
	int place, result = BUSY;

	if (!s)
		return 0;
	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		place = find_place(s);
		if (place == CLAIMED_PLACE)
			break;
		result = place == NO_PLACE ? create(s) : meet(s, place);
		if (result == COUNTED)
			return 0;
		if (result != AGAIN)
			break;
	}
	report_alone(s, result == NO_ROOM);
	return 0;
}

#endif
