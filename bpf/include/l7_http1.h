/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP/1: which segments may hold a head. Those that begin as one are sent, and up to four that follow one whose end was
 * not seen, or fifteen small ones. Whether they are what they look like is for user space to find out; a body costs eight
 * bytes of looking.
 */
#ifndef WEBB_L7_HTTP1_H
#define WEBB_L7_HTTP1_H

/* Type of a segment by its first bytes. */
#define BEGINS_NOTHING 0
#define BEGINS_REQUEST 1
#define BEGINS_RESPONSE 2
#define BEGINS_HTTP2 3
#define BEGINS_TLS 4

#define TEXT_HTTP1 0x002e312f50545448ULL /* "HTTP/1." as eight bytes, the first lowest */
#define TEXT_PRI 0x5448202a20495250ULL   /* "PRI * HT" */
#define END_OF_HEAD 0x0a0d0a0d           /* CR LF CR LF */

/*
 * `word` has the first `size` bytes (1 to 8), the first lowest, and zeros behind them. A method is upper-case letters, or
 * other ones if they are followed by the beginning of a path: any text of a body begins with a word and a space.
 */
static __always_inline int l7_begins_as(__u64 word, __u32 size)
{
	__u64 mask = size >= 7 ? 0x00ffffffffffffffULL : (1ULL << (size * 8)) - 1;
	__u32 i, odd = 0;

	if ((word & mask) == (TEXT_HTTP1 & mask))
		return BEGINS_RESPONSE;
	if (word == TEXT_PRI)
		return BEGINS_HTTP2;
	if ((word & 0xffff) == 0x0a0d)
		return BEGINS_REQUEST;
	if ((word & 0xffff) == 0x0316)
		return BEGINS_TLS;
#pragma unroll
	for (i = 0; i < 8; i++) {
		__u8 letter = word >> (i * 8);

		if (i >= size)
			break;
		if (letter == ' ') {
			if (odd && (i == 7 || (__u8)(word >> (i * 8 + 8)) != '/'))
				return BEGINS_NOTHING;
			return i >= 3 ? BEGINS_REQUEST : BEGINS_NOTHING;
		}
		if ((letter < 'A' || letter > 'Z') && letter != '-') {
			if ((letter < 'a' || letter > 'z') && (letter < '0' || letter > '9') && letter != '_')
				return BEGINS_NOTHING;
			odd = 1;
		}
	}
	return odd ? BEGINS_NOTHING : BEGINS_REQUEST;
}

/* What continuations of a head may still cost, by sender: a nibble of the notes. */
static __always_inline __u32 wanted_of(const struct note *note, __u32 sender)
{
	return note->l7_notes >> (sender ? 4 : 0) & 15;
}

static __always_inline void set_wanted(struct note *note, __u32 sender, __u32 wanted)
{
	__u32 shift = sender ? 4 : 0;

	note->l7_notes = (note->l7_notes & ~(15 << shift)) | wanted << shift;
}

/* A segment of an HTTP/1 connection. */
static __always_inline void l7_http1(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment,
				     struct bucket *bucket, struct details *d, int begins, __u32 flags)
{
	struct note *note = slot_note(bucket, segment->place);
	__u32 sender = s->sender & 1, wanted = wanted_of(note, sender), last = 0, sent, most, cost;
	__u32 *next = &d->l7_next[sender], end = segment->sequence + segment->payload;
	int is_response = begins == BEGINS_RESPONSE;

	most = is_response ? l7_response_bytes : l7_request_bytes;
	if (begins == BEGINS_REQUEST || is_response) {
		/* A repeat of bytes before an unfinished head changes nothing. */
		int is_repeat = wanted && (__s32)(segment->sequence - *next) < 0;

		if (!wanted && *next && (__s32)(segment->sequence - *next) >= 0)
			segment->begin = *next;
		sent = l7_send(skb, s, segment, most, KIND(WEBB_MESSAGE_HTTP1, flags));
		if (is_repeat)
			return;
		wanted = 0;
		if (sent == segment->payload && (!is_response || segment->payload < L7_CONTINUED))
			wanted = L7_CONTINUATIONS;
	} else {
		if (!wanted || segment->sequence != *next)
			return;
		sent = l7_send(skb, s, segment, most, KIND(WEBB_MESSAGE_HTTP1, WEBB_MESSAGE_CONTINUES));
		cost = segment->payload > L7_SMALL ? L7_COST : 1;
		wanted = wanted > cost ? wanted - cost : 0;
	}
	if (wanted && segment->payload >= 4 && !bpf_skb_load_bytes(skb, segment->at + segment->payload - 4, &last, 4) &&
	    last == END_OF_HEAD)
		wanted = 0;
	*next = wanted ? end : 0;
	set_wanted(note, sender, wanted);
}

#endif
