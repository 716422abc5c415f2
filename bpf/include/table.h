/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection table: the state of a connection at one interface, and its counts that are not reported yet.
 *
 * The cost is memory, not instructions: each line of 64 bytes that is not in the CPU's cache. So a bucket is one line
 * of words, the states of its seven slots, and seven entries of 32 bytes. A packet of a known connection reads the
 * entry in the slot that its hash prefers, one line, and adds itself by one compare-and-exchange. The rest of what is
 * known of a connection is in `details`, written once a second packet has come, and read where it is reported.
 *
 * An entry has two lanes, one for each sender. The direction at the interface needs none of its own: `sender XOR egress`
 * is the same for both directions of a connection, so it is part of what identifies it (bit PARITY). A packet that leaves
 * and enters by one interface belongs to two entries.
 *
 * Entry and packet are one if all 64 bits of the keyed hash are (hash.h says why that is enough).
 *
 * States of a slot
 * ----------------
 *     EMPTY    free
 *     CLAIMED  being changed by one program
 *     ONCE     one packet of sender a (ONCE_A) or b (ONCE_B), reported when it came
 *     DONE     one packet of each sender, both reported
 *     LIVING   anything more, or a packet that the ring had no room for
 *     CLOSED   was LIVING, and has ended
 *
 * Why no packet is lost
 * ---------------------
 * 1. A program that changes a slot first moves its word to CLAIMED, by compare-and-exchange: one wins. Only the winner
 *    writes the hash, the details and the generation, and leaves CLAIMED by an exchange, last.
 * 2. A packet is added to a lane by compare-and-exchange of the whole lane, and only to a lane with the bit LIVING. It
 *    reads the lane before the hash. The exchange succeeds only if the lane has not changed since, generation included,
 *    so the hash that was read is the one that belongs to it.
 * 3. What a lane holds is taken out by compare-and-exchange too, into a record that has its place in the ring already. So
 *    it comes out once; and a flag that a packet shows for the first time is set in that same step, so of two CPUs one
 *    reports it, and if the ring is full it stays unknown and is reported later.
 * 4. Before a slot that is LIVING or CLOSED becomes another connection's, both lanes lose the bit LIVING by exchanges from
 *    values with nothing pending. If one fails a packet has just come, and all is put back.
 * 5. ONCE and DONE hold nothing pending and their lanes are not LIVING: they end by one exchange of the word. A packet
 *    that has to be added raises the slot to LIVING first.
 * 6. A slot is given to another connection at most once in a unit of the stamp, some 32 ms, so a generation comes back
 *    after half a minute at the earliest. A program runs within one RCU reader section; one that stood still between two
 *    of its instructions for so long would be reported by the kernel as a stall.
 * 7. No program waits. A packet that meets CLAIMED, or loses too many exchanges, becomes a record of its own.
 * Two CPUs may give one connection two slots. Both count: NEW is reported twice, no packet is.
 */
#ifndef WEBB_TABLE_H
#define WEBB_TABLE_H

#include "abi.h"
#include "parse.h"

#define SLOTS 7
#define CHOICES 4 /* buckets that a connection may sit in */

struct entry {
	__u64 lane[2]; /* by sender */
	__u64 hash;
	__u32 seen; /* SEEN_*: when the last packet came, which end opened */
	union {
		__u16 reported[2]; /* ticks / REPORTED_TICKS of the last event of each lane */
		__u32 both_reported;
	};
};

/* Four bytes for each slot, in the same line as two of the entries. */
struct note {
	__u8 l7;       /* L7_*: the connection's protocol */
	__u8 l7_notes; /* its meaning is in l7_state.h */
	__u16 owner;   /* OWNER_* */
};

struct bucket {
	__u64 word[SLOTS];
	__u32 elsewhere; /* connections with this as their first bucket that sit in another */
	__u32 pad0;
	struct entry entries[SLOTS];
	struct note notes[SLOTS];
	__u32 pad1;
};

/* One line for each slot, which only reporting and a few events touch. */
struct details {
	__u64 a[2]; /* addresses in an order that does not depend on the direction */
	__u64 b[2];
	__u16 a_port; /* ICMP echo: the id, in both; other ICMP: the type, in both */
	__u16 b_port;
	__u32 ifindex;
	__u8 protocol;
	__u8 form;
	__u8 family;
	__u8 quality;     /* QUALITY_*; this and the next two: quality.h */
	__u32 begin;      /* time of the first SYN: microseconds until the attempt is accepted, then milliseconds */
	__u64 sample;     /* of an attempt, the SYN's sequence; then outstanding acknowledgement << 32 | its time */
	__u32 l7_next[2]; /* by sender; its meaning is in l7_state.h */
};

_Static_assert(sizeof(struct entry) == 32, "two entries a line");
_Static_assert(__builtin_offsetof(struct bucket, entries) == 64, "the words are one line");
_Static_assert(__builtin_offsetof(struct bucket, notes) == 288, "the notes are beside the seventh entry");
_Static_assert(sizeof(struct bucket) == 320, "a bucket is five lines");
_Static_assert(sizeof(struct details) == 64, "details are one line");
_Static_assert(__builtin_offsetof(struct details, quality) == 43, "quality is the upper byte of a word");

/* struct details' `form`: what keeps apart what would look the same. */
#define FORM_PARITY 1   /* sender XOR egress */
#define FORM_NETWORK 2  /* seen at a node's own device */
#define FORM_FRAGMENT 4
#define FORM_ERROR 8    /* ICMP that is no echo */

/* struct entry's `lane`: generation 10 bits, LIVING 1, ZERO_WINDOW 1, flags 8, packets 14, bytes 30. */
#define LANE_GENERATION_AT 54
#define LANE_LIVING (1ULL << 53)
#define LANE_ZERO_WINDOW_AT 52
#define LANE_ZERO_WINDOW (1ULL << LANE_ZERO_WINDOW_AT) /* quality.h: the sender's receive window is closed */
#define LANE_FLAGS_AT 44
#define LANE_PACKET (1ULL << 30)
#define LANE_BYTES (LANE_PACKET - 1)
#define LANE_PENDING ((1ULL << LANE_FLAGS_AT) - 1)
/* Half of what either count can hold: a lane that gets here is reported at once, whatever the aggregation. */
#define LANE_NEARLY_FULL (1ULL << 43 | 1ULL << 29)
#define LANE_MOST_PACKETS ((1U << 14) - 1)

/* struct entry's `seen`: ticks / 4 in 28 bits, 26 with WEBB_QUALITY. Differences are right for days. */
#define SEEN_SHIFT 2
#ifdef WEBB_QUALITY
#define SEEN_TIME ((1U << 26) - 1)
#define SEEN_ARMED (1U << 26)  /* the next data of the local sender is a sample */
#define SEEN_SAMPLE (1U << 27) /* its acknowledgement is waited for */
#else
#define SEEN_TIME ((1U << 28) - 1)
#endif
#define SEEN_OPENER_B (1U << 28) /* b has opened */
#define SEEN_GUESSED (1U << 29)  /* picked up midway */
#define SEEN_L7 (1U << 30)       /* layer 7 has something to look for */
#define SEEN_IPV6 (1U << 31)

#define REPORTED_SHIFT 3
#define REPORTED_TICKS (1 << REPORTED_SHIFT)

/* struct note's `owner`. */
#define OWNER_SHARE 1023 /* the interface's row in `shares` */
#define OWNER_TCP 1024   /* has the timeouts of TCP */
#define OWNER_NOT_IP 2048

/* A word: fingerprint 39 bits, those of the hash; generation 10; stamp 12, units since whenever; state 3. */
#define FINGERPRINT_AT 25
#define GENERATION_AT 15
#define GENERATIONS 1024
#define STAMP_AT 3
#define STAMPS 4096

#define STATE_EMPTY 0
#define STATE_CLAIMED 1
#define STATE_ONCE 2 /* + sender */
#define STATE_ONCE_B 3
#define STATE_DONE 4
#define STATE_LIVING 5
#define STATE_CLOSED 6

/* A slot of the table as a number: bucket << 3 | slot. */
#define PLACE(bucket, slot) ((bucket) << 3 | (slot))

/* Settings; user space writes them before the program is loaded. */
const volatile __u32 stamp_shift = 3; /* ticks of a unit of the stamp, some 32 ms: a power of two */
const volatile __u64 tick_ns = 4000000;

/* Arrays with elements of whole lines; only a map that can be mmapped starts at a page. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 9363);
	__type(key, __u32);
	__type(value, struct bucket);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 9363 * SLOTS);
	__type(key, __u32);
	__type(value, struct details);
} connection_details SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEBB_HOOKS);
	__type(key, __u32);
	__type(value, struct webb_totals);
} totals SEC(".maps");

/*
 * Time in the table is in ticks, the kernel's jiffies: reading them is one instruction, where the coarse clock is a
 * call of 20 ns. User space knows how long a tick is.
 */
static __always_inline __u64 tick_now(void)
{
	return bpf_jiffies64();
}

/* Ticks of 32 bits since `then`; 0 if another CPU's clock was ahead. */
static __always_inline __u32 ticks_since(__u32 now, __u32 then)
{
	__u32 passed = now - then;

	return (__s32)passed < 0 ? 0 : passed;
}

static __always_inline __u32 stamp_at(__u64 tick)
{
	return (tick >> stamp_shift) & (STAMPS - 1);
}

static __always_inline __u16 reported_at(__u64 tick)
{
	return tick >> REPORTED_SHIFT;
}

static __always_inline __u32 seen_at(__u64 tick)
{
	return (tick >> SEEN_SHIFT) & SEEN_TIME;
}

/* Ticks since `seen`; 0 if another CPU's clock was ahead. */
static __always_inline __u32 idle_ticks(__u64 tick, __u32 seen)
{
	__u32 passed = (seen_at(tick) - seen) & SEEN_TIME;

	return passed > SEEN_TIME / 2 ? 0 : passed << SEEN_SHIFT;
}

static __always_inline __u64 word_of(__u64 hash, __u32 generation, __u32 stamp, __u32 state)
{
	return hash >> FINGERPRINT_AT << FINGERPRINT_AT | (__u64)generation << GENERATION_AT | stamp << STAMP_AT | state;
}

static __always_inline __u32 state_of(__u64 word)
{
	return word & 7;
}

static __always_inline __u64 with_state(__u64 word, __u32 state)
{
	return (word & ~7ULL) | state;
}

static __always_inline __u32 generation_of(__u64 word)
{
	return word >> GENERATION_AT & (GENERATIONS - 1);
}

/* Units of the stamp since the slot got its stamp. */
static __always_inline __u32 age_of(__u64 word, __u64 tick)
{
	return (stamp_at(tick) - (word >> STAMP_AT)) & (STAMPS - 1);
}

static __always_inline int is_fingerprint(__u64 word, __u64 hash)
{
	return !((word ^ hash) >> FINGERPRINT_AT);
}

/* The buckets where a connection may sit, in the order of trying. */
static __always_inline __u32 bucket_number(__u32 buckets, __u64 hash, __u32 choice)
{
	__u32 low = (__u32)hash + choice * ((__u32)(hash >> 32) | 1);

	return (__u64)low * buckets >> 32;
}

/* The slot that is looked at first, from bits that do not choose the bucket. */
static __always_inline __u32 preferred_slot(__u64 hash)
{
	return (hash & 0xffff) * SLOTS >> 16;
}

/* The verifier sees masks where the compiler would rely on what it knows; an eighth slot would end with the bucket. */
static __always_inline volatile __u64 *slot_word(struct bucket *bucket, __u32 slot)
{
	barrier_var(slot);
	return (__u64 *)bucket + (slot & 7);
}

static __always_inline struct entry *slot_entry(struct bucket *bucket, __u32 slot)
{
	barrier_var(slot);
	return (void *)bucket + __builtin_offsetof(struct bucket, entries) + (slot & 7) * sizeof(struct entry);
}

static __always_inline struct note *slot_note(struct bucket *bucket, __u32 slot)
{
	barrier_var(slot);
	return (void *)bucket + __builtin_offsetof(struct bucket, notes) + (slot & 7) * sizeof(struct note);
}

static __always_inline __u64 *entry_lane(struct entry *entry, __u32 lane)
{
	barrier_var(lane);
	return &entry->lane[lane & 1];
}

static __always_inline __u16 *entry_reported(struct entry *entry, __u32 lane)
{
	barrier_var(lane);
	return &entry->reported[lane & 1];
}

static __always_inline struct bucket *bucket_at(__u32 number)
{
	return bpf_map_lookup_elem(&connections, &number);
}

static __always_inline struct details *details_at(__u32 place)
{
	__u32 number = (place >> 3) * SLOTS + (place & 7);

	return bpf_map_lookup_elem(&connection_details, &number);
}

/* Reads a lane before all that follows. Loads of x86 keep their order; elsewhere an atomic does it. */
static __always_inline __u64 read_lane(__u64 *lane)
{
#ifdef __TARGET_ARCH_x86
	return *(volatile __u64 *)lane;
#else
	return __sync_fetch_and_or(lane, 0);
#endif
}

static __always_inline __u8 lane_flags(__u64 lane)
{
	return lane >> LANE_FLAGS_AT;
}

/* True once the flags of both senders say that the connection is over. */
static __always_inline int has_ended(__u8 from_one, __u8 from_other)
{
	return (from_one | from_other) & TCP_RST || from_one & from_other & TCP_FIN;
}

static __always_inline int entry_has_ended(const struct entry *entry)
{
	return has_ended(lane_flags(entry->lane[0]), lane_flags(entry->lane[1]));
}

/* Changes the number of connections with this as their first bucket that sit in another. */
static __always_inline void count_elsewhere(__u32 buckets, __u64 hash, __u32 sits_in, int change)
{
	__u32 first = bucket_number(buckets, hash, 0);
	struct bucket *bucket;

	if (likely(first == sits_in))
		return;
	bucket = bucket_at(first);
	if (bucket)
		__sync_fetch_and_add(&bucket->elsewhere, change);
}

#endif
