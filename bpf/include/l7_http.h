/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Detects the HTTP version of a connection, if it has one. */
#ifndef WEBB_L7_HTTP_H
#define WEBB_L7_HTTP_H

/*
 * Handles a segment of a connection of HTTP, or of an unknown protocol. Returns 1 if it has frames of HTTP/2 to
 * follow. The caller does that: one call within another less, since all of them share 512 bytes of stack.
 */
__noinline int l7_http(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment)
{
	struct webb_l7_totals *t = l7_counts();
	struct bucket *bucket;
	struct details *d;
	struct note *note;
	__u32 size, flags = 0;
	__u64 word = 0;
	int begins;

	if (!s || !segment || !t)
		return 0;
	bucket = bucket_at(segment->place >> 3);
	d = details_at(segment->place);
	if (!bucket || !d)
		return 0;
	note = slot_note(bucket, segment->place);
	size = segment->payload < 8 ? segment->payload : 8;
	if (!is_size(&size, 8) || bpf_skb_load_bytes(skb, segment->at, &word, size))
		return 0;
	begins = l7_begins_as(word, size);
	if (note->l7 == L7_LOOKING) {
		t->looked++;
		if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE) {
			note->l7_notes = 0;
			note->l7 = L7_HTTP1;
			t->found[WEBB_MESSAGE_HTTP1 - WEBB_MESSAGE_HTTP1]++;
			flags = WEBB_MESSAGE_FIRST;
		} else if (begins == BEGINS_HTTP2) {
			t->found[WEBB_MESSAGE_HTTP2 - WEBB_MESSAGE_HTTP1]++;
		} else if (slot_entry(bucket, segment->place)->seen & SEEN_GUESSED && l7_is_frame(skb, segment)) {
			/* Joined late: both directions are found by their next frames. */
			t->found[WEBB_MESSAGE_HTTP2 - WEBB_MESSAGE_HTTP1]++;
			note->l7_notes = 0;
			note->l7 = L7_HTTP2;
		} else if (begins == BEGINS_TLS || note->l7_notes <= 1) {
			t->none++;
			l7_leave(s, bucket, segment->place);
		} else {
			note->l7_notes--;
		}
	}
	if (note->l7 == L7_HTTP2)
		return 1;
	if (begins == BEGINS_HTTP2 && note->l7 != L7_NONE) {
		/* At once, or behind an upgrade. */
		l7_preface(skb, s, segment, note, d);
		return segment->payload > L7_PREFACE;
	}
	if (note->l7 == L7_HTTP1)
		l7_http1(skb, s, segment, bucket, d, begins, flags);
	return 0;
}

#endif
