/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors that quote the SYN of an attempt to connect: the attempt is unreachable. Only at pods, and only attempts
 * without an answer: an error that anyone on the way has made up ends no connection. It must quote the SYN's sequence
 * number as well, so it takes one who has seen the SYN.
 *
 * Quotes are followed through IPv4 options, and not through extension headers of IPv6.
 */
#ifndef WEBB_QUOTE_H
#define WEBB_QUOTE_H

#include "find.h"

#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4

#define ICMP_HEAD 8 /* bytes before the quote, in both families */

/* True for an error after which the sender of the quoted SYN gives up. That a packet is too large is none. */
static __always_inline int is_icmp_error(const struct sighting *s)
{
	const struct packet *p = &s->packet;

	if (p->flags & WEBB_FLAG_NO_L4)
		return 0;
	if (p->protocol == PROTOCOL_ICMP)
		return (p->icmp_type == ICMP_UNREACHABLE && p->icmp_code != ICMP_FRAGMENTATION_NEEDED) ||
		       p->icmp_type == ICMP_TIME_EXCEEDED || p->icmp_type == ICMP_PARAMETER_PROBLEM;
	return p->protocol == PROTOCOL_ICMPV6 &&
	       (p->icmp_type == ICMPV6_UNREACHABLE || p->icmp_type == ICMPV6_TIME_EXCEEDED ||
		p->icmp_type == ICMPV6_PARAMETER_PROBLEM);
}

/* Reads the addresses of a quote into the packet. Returns the offset of its TCP header; 0: it has none. */
static __always_inline __u32 read_quoted_ip(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	struct ipv6_header ip6;
	struct ipv4_header ip4;

	if (p->family == 4) {
		if (bpf_skb_load_bytes(skb, at, &ip4, sizeof(ip4)) || ip4.version_ihl >> 4 != 4 ||
		    (ip4.version_ihl & 0x0f) < 5 || ip4.protocol != PROTOCOL_TCP || ip4.fragment & bpf_htons(0x1fff))
			return 0;
		p->source_lo = (__u64)ip4.source << 32 | MAPPED_PREFIX;
		p->destination_lo = (__u64)ip4.destination << 32 | MAPPED_PREFIX;
		return at + (ip4.version_ihl & 0x0f) * 4;
	}
	if (bpf_skb_load_bytes(skb, at, &ip6, sizeof(ip6)) || ip6.next_header != PROTOCOL_TCP)
		return 0;
	p->source_hi = (__u64)ip6.source[1] << 32 | ip6.source[0];
	p->source_lo = (__u64)ip6.source[3] << 32 | ip6.source[2];
	p->destination_hi = (__u64)ip6.destination[1] << 32 | ip6.destination[0];
	p->destination_lo = (__u64)ip6.destination[3] << 32 | ip6.destination[2];
	return at + sizeof(ip6);
}

/* The first bytes of a TCP header, which every quote has. */
struct quoted_tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
};

/* Turns an ICMP error that was counted into the packet that it quotes, which went the other way. Returns 1 if it is one. */
__noinline int read_quote(struct __sk_buff *skb, struct sighting *s)
{
	struct packet *p;
	struct webb_totals *t;
	struct quoted_tcp tcp;
	__u32 at;

	if (!s)
		return 0;
	p = &s->packet;
	at = read_quoted_ip(skb, p->sequence + ICMP_HEAD, p);
	if (!at || bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return 0;
	p->protocol = PROTOCOL_TCP;
	p->source_port = bpf_ntohs(tcp.source);
	p->destination_port = bpf_ntohs(tcp.destination);
	p->sequence = tcp.sequence;
	p->tcp_flags = p->icmp_type = 0;
	s->hook ^= 1;
	t = totals_of(s->hook);
	if (!t)
		return 0;
	identify(s, t, 0);
	return 1;
}

/* Ends the attempt that an ICMP error quotes. */
__noinline int look_at_quote(struct __sk_buff *skb, struct sighting *s)
{
	struct bucket *bucket;
	struct details *d;
	__u32 code;
	int place;

	if (!s)
		return 0;
	code = s->packet.icmp_code;
	if (!read_quote(skb, s))
		return 0;
	place = find_place(s);
	if (place < 0)
		return 0;
	bucket = bucket_at(place >> 3);
	d = details_at(place);
	if (!bucket || !d || d->protocol != PROTOCOL_TCP || d->ifindex != s->ifindex ||
	    !!(slot_entry(bucket, place)->seen & SEEN_OPENER_B) != s->sender || (__u32)d->sample != s->packet.sequence ||
	    !take_outcome(d))
		return 0;
	report_event(place, s->sender, WEBB_EVENT_UNREACHABLE, code);
	return 0;
}

#endif
