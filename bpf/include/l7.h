/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layer 7: selects the segments that user space reads, and sends them. A record is a header and the first bytes of a
 * segment's payload. They have a ring of their own, so a flood of them costs no other record.
 *
 * Bytes are read by helper: what pods send lies in page fragments. Nothing here changes the packet.
 */
#ifndef WEBB_L7_H
#define WEBB_L7_H

#include "find.h"

#define L7_MOST 4096        /* bytes of a record's payload */
#define L7_CONTINUATIONS 15 /* what the segments that continue a head may cost: as much as a nibble holds */
#define L7_COST 4           /* of a segment; of a small one it is 1 */
#define L7_SMALL 64         /* bytes of a small segment */
#define L7_CONTINUED 512    /* bytes of a response from which on its rest is a body, most often */
#define L7_TCP_RECORDS 4    /* of a segment of DNS over TCP */
#define L7_TCP_BUDGET 65536 /* bytes of DNS over TCP that one sender may send; a zone transfer sends more */

/* Settings; user space writes them before the program is loaded. */
const volatile __u32 l7_request_bytes = 2048;
const volatile __u32 l7_response_bytes = 1024;
const volatile __u64 l7_ring_bytes = 4 << 20; /* must be the size of l7_events */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} l7_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct webb_l7_totals);
} l7_totals SEC(".maps");

/* A segment, or what is left of it. */
struct l7_segment {
	__u32 at;      /* offset of its payload */
	__u32 payload; /* bytes of it */
	__u32 sequence;
	__u32 acknowledgement;
	__u32 begin;
	__u32 place; /* of the connection's entry; unused for UDP */
	__u32 prefix_size; /* bytes of the segment before that go before its payload: 8 at most */
	__u32 pad0;
	__u64 prefix; /* these, the first lowest */
};

/* The beginning of an HTTP/2 frame's head that was split between two segments. */
struct l7_split {
	__u64 bytes; /* the first lowest */
	__u32 sequence;
	__u32 size;
};

/*
 * A record while it is put together, and what the stack has no room for. Programs of one CPU do not nest: both hooks run
 * with softirqs off.
 */
struct l7_buffer {
	struct webb_message message;
	__u8 payload[L7_MOST + 8];
	struct l7_segment segment;
	struct l7_segment part;
	struct l7_split split;
	__u8 head[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct l7_buffer);
} l7_buffers SEC(".maps");

static __always_inline struct webb_l7_totals *l7_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&l7_totals, &zero);
}

static __always_inline struct l7_buffer *l7_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&l7_buffers, &zero);
}

/*
 * True if a size is 1 to `most`, so that verifiers know it of the register that is passed to a helper: older ones do not
 * learn from `!= 0`, nor that two registers are equal.
 */
static __always_inline int is_size(__u32 *size, __u32 most)
{
	__u32 last = *size - 1;

	barrier_var(last);
	if (last >= most)
		return 0;
	last++;
	barrier_var(last);
	*size = last;
	return 1;
}

/*
 * Sends the first `most` bytes of a segment, and its prefix before them. Returns how many bytes were wanted, with the
 * prefix: sent, lost or unread.
 */
__noinline int l7_send(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment, __u32 most, __u32 kind_flags)
{
	__u32 captured, protocol = ((kind_flags & 0xff) - WEBB_MESSAGE_HTTP1) & (WEBB_MESSAGE_PROTOCOLS - 1);
	__u8 flags = kind_flags >> 8;
	struct l7_buffer *buffer;
	struct webb_l7_totals *t = l7_counts();
	struct webb_message *message;
	const struct packet *p;
	__u64 *address, wake;
	__u32 prefix;

	if (!s || !segment || !t)
		return 0;
	buffer = l7_scratch();
	if (!buffer)
		return 0;
	p = &s->packet;
	captured = segment->payload < most ? segment->payload : most;
	if (!is_size(&captured, L7_MOST))
		return 0;
	t->wanted[protocol]++;
	prefix = segment->prefix_size;
	barrier_var(prefix);
	if (prefix > 8)
		return 0;
	*(__u64 *)buffer->payload = segment->prefix;
	if (bpf_skb_load_bytes(skb, segment->at, buffer->payload + prefix, captured)) {
		t->unread[protocol]++;
		return captured + prefix;
	}
	if (captured < segment->payload)
		flags |= WEBB_MESSAGE_CUT;
	captured += prefix;
	message = &buffer->message;
	message->version = WEBB_ABI_VERSION;
	message->kind = kind_flags;
	message->captured = captured;
	message->ifindex = s->ifindex;
	message->time_ns = bpf_ktime_get_ns();
	address = (__u64 *)message->source;
	address[0] = p->source_hi;
	address[1] = p->source_lo;
	address[2] = p->destination_hi;
	address[3] = p->destination_lo;
	message->source_port = p->source_port;
	message->destination_port = p->destination_port;
	message->sequence = segment->sequence;
	message->acknowledgement = segment->acknowledgement;
	message->payload = segment->payload + prefix;
	message->begin = segment->begin;
	message->family = p->family;
	message->protocol = p->protocol;
	message->hook = s->hook;
	message->flags = flags;
	wake = wakeup(&l7_events, l7_ring_bytes, t->sent[0] + t->sent[1] + t->sent[2] + t->sent[3]);
	if (bpf_ringbuf_output(&l7_events, buffer, sizeof(*message) + captured, wake)) {
		t->lost[protocol]++;
		return captured;
	}
	t->sent[protocol]++;
	t->sent_bytes[protocol] += captured;
	if (flags & WEBB_MESSAGE_CUT)
		t->cut[protocol]++;
	return captured;
}

#define KIND(kind, flags) ((kind) | (__u32)(flags) << 8)

static __always_inline int is_multicast(__u64 hi, __u64 lo, __u8 family)
{
	return family == 4 ? (lo >> 32 & 0xf0) == 0xe0 : (hi & 0xff) == 0xff;
}

/* A datagram: all of it, if it is DNS at a side that is wanted. */
static __always_inline void l7_datagram(struct __sk_buff *skb, struct sighting *s)
{
	struct packet *p = &s->packet;
	int to = is_port_of(l7_dns_ports, p->destination_port), from = is_port_of(l7_dns_ports, p->source_port);
	int from_pod = s->hook == WEBB_HOOK_FROM_POD;
	struct l7_segment segment = {};
	__u32 sides = 0;

	/* A query that leaves the pod, and an answer that reaches it, are the client's side. */
	if (to)
		sides |= from_pod ? WEBB_L7_DNS_CLIENT : WEBB_L7_DNS_SERVER;
	if (from)
		sides |= from_pod ? WEBB_L7_DNS_SERVER : WEBB_L7_DNS_CLIENT;
	if (!(l7_wanted() & sides) || is_multicast(p->source_hi, p->source_lo, p->family) ||
	    is_multicast(p->destination_hi, p->destination_lo, p->family))
		return;
	segment.at = p->l4_at + sizeof(struct udp_header);
	if (p->l4_end <= segment.at)
		return;
	segment.payload = p->l4_end - segment.at;
	l7_send(skb, s, &segment, L7_MOST, KIND(WEBB_MESSAGE_DNS, 0));
}

/* Stops parsing the entry's connection. */
static __always_inline void l7_leave(struct sighting *s, struct bucket *bucket, __u32 place)
{
	struct entry *entry = slot_entry(bucket, place);
	__u32 seen = *(volatile __u32 *)&entry->seen;

	slot_note(bucket, place)->l7 = L7_NONE;
	if (*(volatile __u64 *)&entry->hash == s->hash)
		__sync_val_compare_and_swap(&entry->seen, seen, seen & ~SEEN_L7);
}

#include "l7_http1.h"
#include "l7_http2.h"
#include "l7_http.h"

/* DNS over TCP: each byte, in records that follow one another. */
static __always_inline void l7_dns_tcp(struct __sk_buff *skb, struct sighting *s, struct l7_segment *segment,
				       struct bucket *bucket, struct details *d)
{
	struct note *note = slot_note(bucket, segment->place);
	__u32 *bytes = &d->l7_next[s->sender & 1], i, flags = 0;
	struct webb_l7_totals *t = l7_counts();

	if (!t)
		return;
	if (!note->l7_notes) {
		t->found[WEBB_MESSAGE_DNS_TCP - WEBB_MESSAGE_HTTP1]++;
		flags = WEBB_MESSAGE_FIRST;
		note->l7_notes = 1;
	}
	*bytes += segment->payload;
	if (*bytes > L7_TCP_BUDGET) {
		t->budget++;
		l7_leave(s, bucket, segment->place);
		return;
	}
#pragma unroll
	for (i = 0; i < L7_TCP_RECORDS; i++) {
		__u32 sent = segment->payload ? l7_send(skb, s, segment, L7_MOST, KIND(WEBB_MESSAGE_DNS_TCP, flags)) : 0;

		segment->at += sent;
		segment->sequence += sent;
		segment->begin += sent;
		segment->payload -= sent;
		flags = 0;
	}
}

/* From ONCE or DONE to LIVING: only then has an entry a note and details. */
__noinline int l7_raise(struct sighting *s, __u32 place)
{
	struct bucket *bucket = bucket_at(place >> 3);
	__u64 was;

	if (!s || !bucket)
		return 0;
	was = *slot_word(bucket, place);
	if (state_of(was) < STATE_ONCE || !is_fingerprint(was, s->hash))
		return 0;
	return state_of(was) >= STATE_LIVING || raise(s, bucket, place, was);
}

/* A segment of a TCP connection. */
static __always_inline void l7_tcp(struct __sk_buff *skb, struct sighting *s)
{
	struct packet *p = &s->packet;
	struct l7_buffer *scratch = l7_scratch();
	struct l7_segment *segment;
	struct tcp_header *tcp;
	struct bucket *bucket;
	struct webb_l7_totals *t;
	struct details *d;
	__u32 wanted;
	int place;
	__u8 state;

	if (!scratch || p->tcp_flags & TCP_SYN)
		return;
	tcp = (struct tcp_header *)scratch->payload;
	if (bpf_skb_load_bytes(skb, p->l4_at, tcp, sizeof(*tcp)))
		return;
	segment = &scratch->segment;
	segment->prefix_size = 0;
	segment->at = p->l4_at + (tcp->data_offset >> 4) * 4;
	segment->payload = p->l4_end > segment->at ? p->l4_end - segment->at : 0;
	segment->sequence = segment->begin = bpf_ntohl(tcp->sequence);
	segment->acknowledgement = bpf_ntohl(tcp->acknowledgement);
	wanted = l7_wanted();
	place = find_place(s);
	if (place < 0 || (segment->payload && !l7_raise(s, place))) {
		t = l7_counts();
		if (t && segment->payload &&
		    (is_port_of(l7_dns_ports, p->source_port) || is_port_of(l7_dns_ports, p->destination_port)))
			t->untracked++;
		return;
	}
	segment->place = place;
	bucket = bucket_at(segment->place >> 3);
	d = details_at(segment->place);
	if (!bucket || !d || !(slot_entry(bucket, place)->seen & SEEN_L7) || state_of(*slot_word(bucket, place)) < STATE_LIVING)
		return;
	state = slot_note(bucket, segment->place)->l7;
	if (!segment->payload) {
		/* The end of the handshake has the first sequence of both streams. */
		if (state == L7_LOOKING && !(slot_entry(bucket, place)->seen & SEEN_GUESSED) && !d->l7_next[0] &&
		    !d->l7_next[1] && !(p->tcp_flags & (TCP_FIN | TCP_RST))) {
			d->l7_next[s->sender & 1] = segment->sequence;
			d->l7_next[!s->sender] = segment->acknowledgement;
		}
		return;
	}
	if (state == L7_DNS_TCP) {
		if (wanted & (WEBB_L7_DNS_CLIENT | WEBB_L7_DNS_SERVER))
			l7_dns_tcp(skb, s, segment, bucket, d);
	} else if (wanted & (WEBB_L7_HTTP_CLIENT | WEBB_L7_HTTP_SERVER)) {
		if (l7_http(skb, s, segment))
			l7_http2(skb, s, segment);
	}
}

/* Looks at a packet that was counted. */
__noinline int l7_look(struct __sk_buff *skb, struct sighting *s)
{
	if (!s || !s->packet.l4_at)
		return 0;
	if (s->packet.protocol == PROTOCOL_UDP)
		l7_datagram(skb, s);
	else if (s->packet.protocol == PROTOCOL_TCP)
		l7_tcp(skb, s);
	return 0;
}

#endif
