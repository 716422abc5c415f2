/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP/2: user space needs every header block of a direction in order, and no body. So frame heads are followed from one
 * to the next, and of those frames that user space reads all bytes are sent, in one record or several. Where the place of
 * the next head is not known any more (loss, reordering), a segment that begins with a plausible head is taken up again.
 */
#ifndef WEBB_L7_HTTP2_H
#define WEBB_L7_HTTP2_H

#define L7_KNOWN 1   /* l7_next is where the next frame begins */
#define L7_CAPTURE 2 /* the frame before it is being sent */
#define L7_SPLIT 4   /* its head began in the segment before */
#define L7_GAP 8     /* bytes were passed over since the last record */

#define L7_PREFACE 24
#define L7_FRAME_HEAD 9
#define L7_FRAMES 512          /* of a segment */
#define L7_LONGEST (1U << 20)  /* a frame that is longer is none */
#define L7_WHOLE (1U << 14)    /* of a frame that is longer only the beginning is read */
#define L7_FRAME_RECORDS 5     /* of a frame and segment; they hold one of L7_WHOLE */

#define FRAME_DATA 0
#define FRAME_HEADERS 1
#define FRAME_PRIORITY 2
#define FRAME_RST_STREAM 3
#define FRAME_SETTINGS 4
#define FRAME_PUSH_PROMISE 5
#define FRAME_PING 6
#define FRAME_GOAWAY 7
#define FRAME_WINDOW_UPDATE 8
#define FRAME_CONTINUATION 9

/* The beginnings of heads that were split between two segments. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* place << 1 | sender */
	__type(value, struct l7_split);
} l7_splits SEC(".maps");

/* Fields of a frame's head, from its first eight bytes, the first lowest. */
static __always_inline __u32 frame_length(__u64 head)
{
	return (head & 0xff) << 16 | (head >> 8 & 0xff) << 8 | (head >> 16 & 0xff);
}

static __always_inline __u8 frame_type(__u64 head)
{
	return head >> 24;
}

/* False if these nine bytes are no head of a frame. */
static __always_inline int is_plausible(__u64 head, __u8 ninth)
{
	__u32 length = frame_length(head), stream = !!(head >> 40 | ninth);
	__u8 flags = head >> 32;

	if (length > L7_LONGEST || head >> 40 & 0x80)
		return 0;
	switch (frame_type(head)) {
	case FRAME_DATA:
		return stream && !(flags & ~0x09);
	case FRAME_HEADERS:
		return stream && length && !(flags & ~0x2d);
	case FRAME_PRIORITY:
		return stream && length == 5;
	case FRAME_RST_STREAM:
		return stream && length == 4;
	case FRAME_SETTINGS:
		return !stream && !(length % 6) && !(flags & ~0x01);
	case FRAME_PUSH_PROMISE:
		return ninth & 1 && !(flags & ~0x0c);
	case FRAME_PING:
		return !stream && length == 8;
	case FRAME_GOAWAY:
		return !stream && length >= 8;
	case FRAME_WINDOW_UPDATE:
		return length == 4;
	case FRAME_CONTINUATION:
		return stream && !(flags & ~0x04);
	}
	return 0;
}

/* Loads a head; 0 if there is none. */
static __always_inline int l7_load_head(struct __sk_buff *skb, __u32 at, struct l7_buffer *scratch)
{
	return !bpf_skb_load_bytes(skb, at, scratch->head, L7_FRAME_HEAD) &&
	       is_plausible(*(__u64 *)scratch->head, scratch->head[8]);
}

/* True if a segment begins with a frame that ends in it, and another one or nothing is behind that. */
__noinline int l7_is_frame(struct __sk_buff *skb, struct l7_segment *segment)
{
	struct l7_buffer *scratch = l7_scratch();
	__u32 size;

	if (!segment || !scratch || segment->payload < L7_FRAME_HEAD || !l7_load_head(skb, segment->at, scratch))
		return 0;
	size = L7_FRAME_HEAD + frame_length(*(__u64 *)scratch->head);
	if (size >= segment->payload)
		return size == segment->payload;
	return segment->payload - size >= L7_FRAME_HEAD && l7_load_head(skb, segment->at + size, scratch);
}

static __always_inline int is_sent(__u8 type)
{
	return type == FRAME_HEADERS || type == FRAME_RST_STREAM || type == FRAME_PUSH_PROMISE || type == FRAME_CONTINUATION;
}

/* Sends a part of a frame, in records that follow one another. */
static __always_inline void l7_send_part(struct __sk_buff *skb, struct sighting *s, struct l7_segment *part, __u32 flags)
{
	__u32 i, sent;

#pragma unroll
	for (i = 0; i < L7_FRAME_RECORDS; i++) {
		if (!part->payload)
			break;
		sent = l7_send(skb, s, part, L7_MOST, KIND(WEBB_MESSAGE_HTTP2, flags));
		part->sequence += sent;
		part->begin = part->sequence;
		sent -= part->prefix_size;
		part->prefix_size = 0;
		part->at += sent;
		part->payload -= sent;
		flags = WEBB_MESSAGE_CONTINUES;
	}
}

/* Begins to follow a connection at its client's preface. */
static __always_inline void l7_preface(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment,
				       struct note *note, struct details *d)
{
	__u32 sender = s->sender & 1;

	note->l7 = L7_HTTP2;
	note->l7_notes = 0;
	set_wanted(note, sender, L7_KNOWN);
	set_wanted(note, !sender, L7_KNOWN);
	d->l7_next[sender] = segment->sequence + L7_PREFACE;
	/* The first byte that the client has not acknowledged comes next. */
	d->l7_next[!sender] = segment->acknowledgement;
	l7_send(skb, s, segment, L7_PREFACE, KIND(WEBB_MESSAGE_HTTP2, WEBB_MESSAGE_FIRST));
}

/*
 * One frame at `offset` of a segment. Returns where the next one begins, counted from the segment's begin; 0 if the place
 * is lost; -1 if its head goes on in the next segment. `bits` are updated in the note.
 */
__noinline int l7_frame(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment, __u32 offset)
{
	struct l7_buffer *scratch = l7_scratch();
	struct bucket *bucket;
	struct l7_segment *part;
	struct l7_split *split;
	struct note *note;
	__u32 bits, left, here, size, sender;
	__u64 key;

	if (!s || !segment || !scratch)
		return 0;
	bucket = bucket_at(segment->place >> 3);
	if (!bucket || offset >= segment->payload)
		return 0;
	note = slot_note(bucket, segment->place);
	sender = s->sender & 1;
	bits = wanted_of(note, sender);
	part = &scratch->part;
	split = &scratch->split;
	left = segment->payload - offset;
	here = L7_FRAME_HEAD - split->size;
	if (left < here) {
		here = left;
		if (split->size || !is_size(&here, 8) || bpf_skb_load_bytes(skb, segment->at + offset, scratch->head, here))
			return 0;
		split->bytes = *(__u64 *)scratch->head;
		split->size = here;
		split->sequence = segment->sequence + offset;
		key = (__u64)segment->place << 1 | sender;
		bpf_map_update_elem(&l7_splits, &key, split, BPF_ANY);
		set_wanted(note, sender, bits | L7_SPLIT);
		return -1;
	}
	if (split->size) {
		/* The rest of a head, behind the bytes that were kept. */
		__u32 at = split->size;

		barrier_var(at);
		if (at > 8 || !is_size(&here, 8))
			return 0;
		*(__u64 *)scratch->head = split->bytes;
		if (bpf_skb_load_bytes(skb, segment->at + offset, scratch->head + at, here))
			return 0;
	} else if (bpf_skb_load_bytes(skb, segment->at + offset, scratch->head, L7_FRAME_HEAD)) {
		return 0;
	}
	if (!is_plausible(*(__u64 *)scratch->head, scratch->head[8]))
		return 0;
	size = L7_FRAME_HEAD + frame_length(*(__u64 *)scratch->head) - split->size;
	if (is_sent(frame_type(*(__u64 *)scratch->head))) {
		part->at = segment->at + offset;
		part->prefix = split->bytes;
		part->prefix_size = split->size;
		part->sequence = part->begin = segment->sequence + offset - split->size;
		part->acknowledgement = segment->acknowledgement;
		part->payload = size < left ? size : left;
		bits = size > left && size <= L7_FRAME_HEAD + L7_WHOLE ? bits | L7_CAPTURE : bits;
		l7_send_part(skb, s, part, bits & L7_GAP ? WEBB_MESSAGE_GAP : 0);
		set_wanted(note, sender, bits & ~L7_GAP);
	}
	split->size = split->bytes = 0;
	return offset + size;
}

/* Offset of the first head of a segment, from the segment's begin; -1 if there is nothing more to do with it. */
__noinline int l7_place(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment)
{
	struct webb_l7_totals *t = l7_counts();
	struct l7_buffer *scratch = l7_scratch();
	struct l7_split *kept;
	struct bucket *bucket;
	struct details *d;
	struct note *note;
	__u32 sender, bits, offset;
	__u64 key;

	if (!s || !segment || !t || !scratch)
		return -1;
	bucket = bucket_at(segment->place >> 3);
	d = details_at(segment->place);
	if (!bucket || !d)
		return -1;
	note = slot_note(bucket, segment->place);
	sender = s->sender & 1;
	bits = wanted_of(note, sender);
	offset = d->l7_next[sender] - segment->sequence;
	scratch->split.size = scratch->split.bytes = 0;
	if (bits & L7_SPLIT) {
		key = (__u64)segment->place << 1 | sender;
		kept = bpf_map_lookup_elem(&l7_splits, &key);
		if (kept && kept->sequence + kept->size == segment->sequence) {
			scratch->split = *kept;
			offset = 0;
			bits &= ~L7_SPLIT;
		} else if (kept && (__s32)(segment->sequence - kept->sequence - kept->size) < 0) {
			/* A repeat of what came before. */
			return -1;
		} else {
			bits = 0;
		}
	} else if ((__s32)offset < 0) {
		bits = 0;
	}
	if (!(bits & L7_KNOWN)) {
		set_wanted(note, sender, 0);
		if (!l7_is_frame(skb, segment))
			return -1;
		t->resync++;
		set_wanted(note, sender, L7_KNOWN | L7_GAP);
		return 0;
	}
	if (bits & L7_CAPTURE) {
		scratch->part = *segment;
		scratch->part.payload = offset < segment->payload ? offset : segment->payload;
		l7_send_part(skb, s, &scratch->part, WEBB_MESSAGE_CONTINUES);
		if (offset <= segment->payload)
			bits &= ~L7_CAPTURE;
	}
	set_wanted(note, sender, bits);
	return offset >= segment->payload ? -1 : offset;
}

/* Follows the frames of a segment. */
__noinline int l7_http2(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment)
{
	struct webb_l7_totals *t = l7_counts();
	struct bucket *bucket;
	struct details *d;
	int offset, next, i;

	if (!s || !segment || !t)
		return 0;
	bucket = bucket_at(segment->place >> 3);
	d = details_at(segment->place);
	if (!bucket || !d)
		return 0;
	offset = l7_place(skb, s, segment);
	if (offset < 0)
		return 0;
	next = offset;
	for (i = 0; i < L7_FRAMES; i++) {
		next = l7_frame(skb, s, segment, offset);
		if (next <= 0)
			break;
		offset = next;
		if (offset >= segment->payload)
			break;
	}
	if (i == L7_FRAMES) {
		t->frames++;
		next = 0;
	}
	d->l7_next[s->sender & 1] = segment->sequence + offset;
	if (!next)
		set_wanted(slot_note(bucket, segment->place), s->sender & 1, 0);
	return 0;
}

#endif
