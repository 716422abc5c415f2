/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A place for a new connection. Over its buckets in turn:
 * 1. an empty slot, the preferred one first;
 * 2. one with nothing left to report (ONCE, DONE, CLOSED): the preferred one if that was 2 units ago, because its line
 *    is at hand, else the oldest;
 * 3. in the first two buckets, one that is LIVING, what it holds being reported first: of an interface that has more than
 *    its share if the newcomer's has not, or of the newcomer's own interface if it was idle for a while.
 * So a flood of single packets goes round in its own slots, and idle connections of others are never touched by it.
 */
#ifndef WEBB_MAKE_H
#define WEBB_MAKE_H

#include "add.h"

const volatile __u32 evictable_after = 250; /* ticks that a connection of the newcomer's own interface has to be idle */

#define AT_HAND_AGE 2 /* units */
#define CLOSED_IDLE 8 /* units that a closed connection has to be quiet */

/* Writes the entry in a slot that was CLAIMED and has no LIVING lane. */
static __always_inline void make(struct sighting *s, struct webb_totals *t, struct bucket *bucket, __u32 place, __u64 claimed)
{
	__u64 *word = (__u64 *)slot_word(bucket, place);
	struct entry *entry = slot_entry(bucket, place);
	__u32 generation = (generation_of(claimed) + 1) & (GENERATIONS - 1);
	__u64 lane = (__u64)generation << LANE_GENERATION_AT;
	__u32 seen = l7_seen(s, opened_by(s)), stamp = stamp_at(s->tick), now = reported_at(s->tick), due;
	struct webb_record *r = s->packet.family ? reserve(t, s) : 0;
	struct details *d;

	if (has_early_details(s))
		details_early(s, place);
	/* As if reported an interval ago: the first packet of each lane that is none yet is an event. */
	due = (now - t->report_interval) & 0xffff;
	entry->hash = s->hash;
	entry->seen = seen | seen_at(s->tick);
	*(volatile __u64 *)entry_lane(entry, !s->sender) = lane;
	if (r) {
		entry->both_reported = s->sender ? now << 16 | due : due << 16 | now;
		*(volatile __u64 *)entry_lane(entry, s->sender) = lane | window_of(s) | (__u64)s->bits << LANE_FLAGS_AT;
		__sync_lock_test_and_set(word, word_of(s->hash, generation, stamp, STATE_ONCE + s->sender));
		fill_own(r, WEBB_KIND_NEW, s, seen, s->bits, 0);
		submit_own(t, r, 1, s->bytes);
		return;
	}
	if (s->packet.family)
		t->lost_records++;
	else
		due = now;
	entry->both_reported = due << 16 | due;
	d = details_at(place);
	if (d && !has_early_details(s))
		details_of(s, d);
	l7_note(s, slot_note(bucket, place), seen);
	slot_note(bucket, place)->owner = owner_of(s);
	/* Exchanges: on machines that reorder stores the hash must be there first. */
	__sync_lock_test_and_set(entry_lane(entry, !s->sender), lane | LANE_LIVING);
	__sync_lock_test_and_set(entry_lane(entry, s->sender), lane | window_of(s) | LANE_LIVING | LANE_PACKET | s->bytes);
	__sync_lock_test_and_set(word, word_of(s->hash, generation, stamp, STATE_LIVING));
}

/* Gives a slot to the packet's connection, if it is still free to be given. */
__noinline int take(struct sighting *s, __u32 place, __u32 living_too)
{
	struct webb_totals *t;
	struct bucket *bucket = bucket_at(place >> 3);
	struct entry *entry;
	__u64 *word, was, claimed, victim;
	__u32 state;

	if (!s || !bucket)
		return AGAIN;
	t = totals_of(s->hook);
	if (!t)
		return COUNTED;
	word = (__u64 *)slot_word(bucket, place);
	entry = slot_entry(bucket, place);
	was = *(volatile __u64 *)word;
	state = state_of(was);
	if (state == STATE_CLAIMED || (state == STATE_LIVING && !living_too))
		return AGAIN;
	if (state != STATE_EMPTY && !age_of(was, s->tick))
		return AGAIN;
	claimed = word_of(s->hash, generation_of(was), 0, STATE_CLAIMED);
	if (__sync_val_compare_and_swap(word, was, claimed) != was)
		return AGAIN;
	victim = entry->hash;
	if (state == STATE_LIVING || state == STATE_CLOSED) {
		/* A CLOSED connection with recent packets keeps its slot. */
		int active = state == STATE_CLOSED && !living_too &&
			     idle_ticks(s->tick, entry->seen) < CLOSED_IDLE << stamp_shift;

		if (active || !close_lanes(place, entry)) {
			__sync_lock_test_and_set(word, was);
			return AGAIN;
		}
	}
	if (state == STATE_LIVING)
		t->evicted_entries++;
	else if (state != STATE_EMPTY)
		t->released_entries++;
	if (state != STATE_EMPTY) {
		report_end(place, WEBB_EVENT_INTERRUPTED, state);
		count_elsewhere(t->buckets, victim, place >> 3, -1);
	}
	count_elsewhere(t->buckets, s->hash, place >> 3, 1);
	make(s, t, bucket, place, claimed);
	return COUNTED;
}

/* 1 + the slot of this bucket that is free or has nothing pending; 0 if there is none. */
static __always_inline int choose_free(const struct sighting *s, struct bucket *bucket)
{
	__u32 preferred = preferred_slot(s->hash), empty = 0, oldest = 0, oldest_age = 0, i;

	for (i = 0; i < SLOTS; i++) {
		__u64 word = *(volatile __u64 *)&bucket->word[i];
		__u32 state = state_of(word), age;

		if (state == STATE_EMPTY) {
			if (!empty || i == preferred)
				empty = 1 + i;
			continue;
		}
		if (state == STATE_CLAIMED || state == STATE_LIVING)
			continue;
		age = age_of(word, s->tick);
		if (i == preferred && age > AT_HAND_AGE)
			age = STAMPS;
		if (age > oldest_age) {
			oldest_age = age;
			oldest = 1 + i;
		}
	}
	return empty ? empty : oldest;
}

/* 1 + the slot of this bucket that is evicted for the new connection; 0 if there is none. */
static __always_inline int choose_living(const struct sighting *s, struct bucket *bucket, __u32 table_share, __u32 mine)
{
	__u32 own = s->ifindex & OWNER_SHARE, chosen = 0, longest = 0, i;

	for (i = 0; i < SLOTS; i++) {
		__u64 word = *(volatile __u64 *)&bucket->word[i];
		__u32 owner, idle;
		struct share *share;

		if (state_of(word) != STATE_LIVING || !age_of(word, s->tick))
			continue;
		owner = slot_note(bucket, i)->owner & OWNER_SHARE;
		idle = idle_ticks(s->tick, slot_entry(bucket, i)->seen);
		if (owner == own) {
			if (idle < evictable_after)
				continue;
		} else {
			share = share_of(owner);
			if (!table_share || mine > table_share || !share || share->living <= table_share)
				continue;
		}
		if (idle >= longest) {
			longest = idle;
			chosen = 1 + i;
		}
	}
	return chosen;
}

__noinline int find_free(struct sighting *s, __u32 number)
{
	struct bucket *bucket = bucket_at(number);

	return s && bucket ? choose_free(s, bucket) : 0;
}

__noinline int find_living(struct sighting *s, __u32 number)
{
	struct bucket *bucket = bucket_at(number);
	struct balance *balance = the_balance();
	struct share *share;

	if (!s || !bucket || !balance)
		return 0;
	share = share_of(s->ifindex);
	return share ? choose_living(s, bucket, balance->table_share, share->living) : 0;
}

/* Makes the entry of a packet that has none. */
__noinline int create(struct sighting *s)
{
	struct webb_totals *t;
	__u32 choice;

	if (!s)
		return COUNTED;
	t = totals_of(s->hook);
	if (!t)
		return COUNTED;
	for (choice = 0; choice < CHOICES + 2; choice++) {
		__u32 living = choice >= CHOICES;
		__u32 number = bucket_number(t->buckets, s->hash, living ? choice - CHOICES : choice);
		int slot = living ? find_living(s, number) : find_free(s, number);

		if (slot > 0 && take(s, PLACE(number, slot - 1), living) == COUNTED)
			return COUNTED;
	}
	return NO_ROOM;
}

#endif
