/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sweep: walks a part of the table, reports what waits too long, and ends what is over (the rules of ending are in
 * table.h).
 *
 * User space runs it by BPF_PROG_TEST_RUN, some buckets at a time, and balances the interfaces' shares after each part.
 * Both are raw tracepoint programs that are never attached, because that kind runs with softirqs enabled: a classifier
 * would hold up the CPU's packets. So packets of the same CPU may interrupt it.
 */
#ifndef WEBB_SWEEP_H
#define WEBB_SWEEP_H

#include "find.h"

/* Settings, in ticks. */
const volatile __u32 tcp_timeout = 900000;      /* 1 h */
const volatile __u32 closed_timeout = 2500;     /* 10 s, after FIN both ways or RST */
const volatile __u32 half_open_timeout = 15000; /* 60 s */
const volatile __u32 other_timeout = 15000;     /* 60 s */
/* In units of the stamp: one packet, or one each way. Newcomers take such a slot long before, if they need it. */
const volatile __u32 once_timeout = 1875; /* 60 s */

#define SWEEP_AT_ONCE 512 /* buckets of one run */

#define SWEEP_FLUSH_ALL 1 /* mode: report all that is pending, however young */
#define SWEEP_BEGINS 2    /* mode: the first run of a part */
/* And SWEEP_LIST_OPEN (quality.h), which is 4. */

struct sweeping {
	struct webb_swept found;
	__u64 tick;
	__u32 mode;
	__u32 part;
	__u32 buckets;
	__u32 zero;
};

/* The sweep's own notes; `swept` gets a copy at the end of a part. */
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

/* Windows of rows that user space has sent since the maps were made; only it reads and writes this. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} windows SEC(".maps");

static __always_inline struct sweeping *the_sweep(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sweeping, &zero);
}

static __always_inline __u32 timeout_of(const struct entry *entry, __u32 owner)
{
	int by_b = !!(entry->seen & SEEN_OPENER_B);
	__u8 of_a = lane_flags(entry->lane[0]), of_b = lane_flags(entry->lane[1]), of_opener = by_b ? of_b : of_a;

	if (has_ended(of_a, of_b))
		return closed_timeout;
	if (!(owner & OWNER_TCP))
		return other_timeout;
	/* A SYN may offer ECN. Without any flag the ring was full when the first packet came, and there was none since. */
	of_opener &= ~(TCP_ECE | TCP_CWR);
	return (of_opener == TCP_SYN || !of_opener) && !(by_b ? of_a : of_b) ? half_open_timeout : tcp_timeout;
}

/* Counts what one lane holds, and reports it if that is due. */
static __always_inline void sweep_lane(struct sweeping *sweep, struct bucket *bucket, __u32 place, __u32 lane, __u32 interval)
{
	struct entry *entry = slot_entry(bucket, place);
	__u16 *reported = entry_reported(entry, lane);
	__u16 passed = reported_at(sweep->tick) - *reported;
	struct details *d;
	__u64 left;
	__u32 hook;

	left = read_lane(entry_lane(entry, lane)) & LANE_PENDING;
	if (!left) {
		/* Before the count of ticks goes round, an interval that is long over would look like one that is not. */
		if (passed > 0x8000)
			*reported = reported_at(sweep->tick) - interval;
		return;
	}
	if (passed >= interval || sweep->mode & SWEEP_FLUSH_ALL) {
		if (report_lane(place, lane, 0) == REPORTED)
			sweep->found.flushed++;
		left = read_lane(entry_lane(entry, lane)) & LANE_PENDING;
	}
	d = left ? details_at(place) : 0;
	if (!d)
		return;
	hook = hook_of_lane(d, lane) & 3;
	sweep->found.pending_packets[hook] += left / LANE_PACKET;
	sweep->found.pending_bytes[hook] += left & LANE_BYTES;
}

/*
 * The class of an entry, WEBB_CLASS_*. Before an entry is LIVING its flags tell TCP from the rest: there a first chunk of
 * SCTP that opens or ends passes for TCP.
 */
static __always_inline __u32 class_of(const struct entry *entry, int is_tcp)
{
	return (is_tcp ? WEBB_CLASS_TCP : 0) | (entry->seen & SEEN_IPV6 ? WEBB_CLASS_IPV6 : 0);
}

/* Counts an entry in its class. The mask comes right before its use: Linux 6.1 does not follow it further. */
static __always_inline void count_class(__u64 counts[WEBB_CLASSES], __u32 class)
{
	barrier_var(class);
	counts[class & (WEBB_CLASSES - 1)]++;
}

/* Ends an entry that is LIVING or CLOSED and idle. Returns 1 if the slot is free now. */
static __always_inline int end_idle(struct sweeping *sweep, struct bucket *bucket, __u32 place, __u64 was)
{
	__u64 *word = (__u64 *)slot_word(bucket, place), hash;
	struct entry *entry = slot_entry(bucket, place);
	__u32 seen = *(volatile __u32 *)&entry->seen;

	if (__sync_val_compare_and_swap(word, was, with_state(was, STATE_CLAIMED)) != was)
		return 0;
	hash = entry->hash;
	if (*(volatile __u32 *)&entry->seen != seen || !close_lanes(place, entry)) {
		__sync_lock_test_and_set(word, was);
		return 0;
	}
	if (report_end(place, WEBB_EVENT_IDLE, state_of(was)) == RING_FULL) {
		reopen_lane(entry, 0);
		reopen_lane(entry, 1);
		__sync_lock_test_and_set(word, was);
		return 0;
	}
	__sync_lock_test_and_set(word, with_state(was, STATE_EMPTY));
	count_elsewhere(sweep->buckets, hash, place >> 3, -1);
	sweep->found.deleted++;
	return 1;
}

__noinline int sweep_living(__u32 place)
{
	struct bucket *bucket = bucket_at(place >> 3);
	struct sweeping *sweep = the_sweep();
	struct webb_totals *t = totals_of(0);
	struct entry *entry;
	struct share *share;
	__u64 was;
	__u32 owner, class;

	if (!bucket || !sweep || !t)
		return 0;
	was = *slot_word(bucket, place);
	entry = slot_entry(bucket, place);
	owner = slot_note(bucket, place)->owner;
	if (state_of(was) != STATE_LIVING && state_of(was) != STATE_CLOSED)
		return 0;
	class = class_of(entry, owner & OWNER_TCP);
	if (age_of(was, sweep->tick) && idle_ticks(sweep->tick, entry->seen) >= timeout_of(entry, owner) &&
	    end_idle(sweep, bucket, place, was)) {
		if (!(owner & OWNER_NOT_IP))
			count_class(sweep->found.ended, class);
		return 0;
	}
	if (!(owner & OWNER_NOT_IP))
		count_class(sweep->found.alive, class);
	list_open(sweep->mode, place, state_of(was));
	sweep_lane(sweep, bucket, place, 0, t->report_interval);
	sweep_lane(sweep, bucket, place, 1, t->report_interval);
	sweep->found.entries++;
	share = share_of(owner & OWNER_SHARE);
	if (share)
		share->parts[sweep->part & (WEBB_PARTS - 1)]++;
	return 0;
}

/* Ends an entry that is ONCE or DONE. Returns 1 if the slot is free now. */
static __always_inline int end_once(struct bucket *bucket, __u32 place, __u64 was)
{
#ifdef WEBB_QUALITY
	__u64 *word = (__u64 *)slot_word(bucket, place);

	if (__sync_val_compare_and_swap(word, was, with_state(was, STATE_CLAIMED)) != was)
		return 0;
	was = with_state(was, report_end(place, WEBB_EVENT_IDLE, state_of(was)) == RING_FULL ? state_of(was) : STATE_EMPTY);
	__sync_lock_test_and_set(word, was);
	return state_of(was) == STATE_EMPTY;
#else
	return __sync_val_compare_and_swap(&bucket->word[place & 7], was, with_state(was, STATE_EMPTY)) == was;
#endif
}

__noinline int sweep_bucket(__u32 number)
{
	struct bucket *bucket = bucket_at(number);
	struct sweeping *sweep = the_sweep();
	__u32 i;

	if (!bucket || !sweep)
		return 0;
	for (i = 0; i < SLOTS; i++) {
		__u64 was = *(volatile __u64 *)&bucket->word[i], hash;
		__u32 state = state_of(was), age = age_of(was, sweep->tick), class;
		struct entry *entry;

		if (state == STATE_EMPTY)
			continue;
		if (state == STATE_LIVING || state == STATE_CLOSED) {
			sweep_living(PLACE(number, i));
			continue;
		}
		entry = slot_entry(bucket, i);
		class = class_of(entry, lane_flags(entry->lane[0] | entry->lane[1]));
		if (state != STATE_CLAIMED && age && age >= once_timeout) {
			hash = *(volatile __u64 *)&entry->hash;
			if (end_once(bucket, PLACE(number, i), was)) {
				count_elsewhere(sweep->buckets, hash, number, -1);
				sweep->found.deleted++;
				count_class(sweep->found.ended, class);
				continue;
			}
		}
		list_open(sweep->mode, PLACE(number, i), state);
		sweep->found.entries++;
		count_class(sweep->found.alive, class);
	}
	return 0;
}

/* args: first bucket, number of buckets (SWEEP_AT_ONCE at most), mode, part. */
SEC("raw_tp/webb_sweep")
int webb_sweep(struct bpf_raw_tracepoint_args *arguments)
{
	__u32 first = arguments->args[0], count = arguments->args[1], i;
	struct sweeping *sweep = the_sweep();
	struct webb_totals *t = totals_of(0);

	if (!sweep || !t)
		return 1;
	sweep->mode = arguments->args[2];
	sweep->part = arguments->args[3];
	sweep->tick = tick_now();
	sweep->buckets = t->buckets;
	if (sweep->mode & SWEEP_BEGINS) {
		sweep->found.entries = 0;
		for (i = 0; i < WEBB_HOOKS; i++)
			sweep->found.pending_packets[i] = sweep->found.pending_bytes[i] = 0;
		for (i = 0; i < WEBB_CLASSES; i++)
			sweep->found.alive[i] = sweep->found.ended[i] = 0;
	}
	for (i = 0; i < SWEEP_AT_ONCE; i++) {
		if (i >= count)
			break;
		sweep_bucket(first + i);
	}
	return 0;
}

/* The tick's time, a tick early so that it is never ahead. Kept as long as it is right: times must not go back. */
static __always_inline void set_clock(struct balance *balance)
{
	__u64 base_ns = bpf_ktime_get_ns() - (tick_now() + 1) * tick_ns, off = base_ns - balance->base_ns;

	if ((__s64)off > (__s64)(2 * tick_ns) || (__s64)off < -(__s64)(2 * tick_ns))
		balance->base_ns = base_ns;
}

/* Adds up what one interface has, for the part that comes `next` to be counted anew. Returns it << 1 | is it active. */
__noinline int sum_share(__u32 number, __u32 next, __u32 window)
{
	struct share *share = share_of(number);
	__u32 living;

	if (!share)
		return 0;
	living = share->parts[0] + share->parts[1] + share->parts[2] + share->parts[3];
	share->living = living;
	share->parts[next & (WEBB_PARTS - 1)] = 0;
	return living << 1 | (living || (share->records && window - share->window < 16));
}

/* Ends a part: adds up what each interface has, and says what its share is. args: none. */
SEC("raw_tp/webb_balance")
int webb_balance(struct bpf_raw_tracepoint_args *arguments)
{
	__u32 zero = 0, living = 0, active = 0, slots, window, i, sum;
	struct sweeping *sweep = the_sweep();
	struct balance *balance = the_balance();
	struct webb_totals *t = totals_of(0);
	struct webb_swept *result = bpf_map_lookup_elem(&swept, &zero);

	if (!sweep || !balance || !t || !result)
		return 1;
	set_clock(balance);
	window = tick_now() >> WINDOW_SHIFT;
	for (i = 0; i < SHARES; i++) {
		sum = sum_share(i, sweep->part + 1, window);
		living += sum >> 1;
		active += sum & 1;
	}
	active = active ? active : 1;
	slots = t->buckets * SLOTS;
	balance->ring_share = flow_ring_bytes / 4 / (sizeof(struct webb_record) + 8) / active + 1;
	balance->table_share = living > slots / 4 * 3 ? slots / active + 1 : 0;
	*result = sweep->found;
	return 0;
}

#endif
