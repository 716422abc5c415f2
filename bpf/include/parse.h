/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to a struct packet: the same rules for packets on an interface and for packets that the kernel drops.
 *
 * The includer says how bytes are reached: it defines `struct cursor` and
 *     static __always_inline const void *header(const struct cursor *c, __u32 offset, __u32 size);
 * which returns null where the bytes are not there. Offsets are bounded by construction (see the masks), as the
 * verifier asks. And
 *     static __always_inline int any_length(const struct cursor *c);
 * which says whether an IP length of 0 is right, since the packet is larger than the field can say (BIG TCP).
 *
 * Each function returns 0, or 1 + the enum webb_unparsed that says why not.
 */
#ifndef WEBB_PARSE_H
#define WEBB_PARSE_H

#include "abi.h"
#include "wire.h"

#define EXTENSIONS 8 /* IPv6 extension headers that are followed */
#define UNPARSED(why) (1 + WEBB_UNPARSED_##why)

#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the mapped prefix below is written for little endian");
#define MAPPED_PREFIX 0xffff0000ULL /* bytes 8 to 11 of ::ffff:a.b.c.d */

/* Parsed headers of a packet. Addresses are two words of wire bytes each, IPv4 as ::ffff:a.b.c.d. */
struct packet {
	__u64 source_hi;
	__u64 source_lo;
	__u64 destination_hi;
	__u64 destination_lo;
	__u16 source_port; /* host order; ICMP echo: the id, in both */
	__u16 destination_port;
	__u8 family;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 flags; /* WEBB_FLAG_FRAGMENT, WEBB_FLAG_NO_L4 */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 echo; /* ICMP echo, request or reply */
	__u8 zero_window; /* TCP, with WEBB_QUALITY: the sender's receive window is closed */
	__u32 payload;    /* the same: bytes. Without it these two are padding, and written: the verifier reads all */
#if defined(WEBB_QUALITY) || defined(WEBB_SEQUENCE)
	__be32 sequence; /* ICMP, with WEBB_QUALITY: offset of its header, in host order */
#endif
#ifdef WEBB_QUALITY
	__be32 acknowledgement;
#endif
#ifdef WEBB_L7
	__u32 l4_at;  /* offset of the TCP or UDP header; 0 without one that is read */
	__u32 l4_end; /* offset of the IP packet's end */
#endif
};

/* Keeps where layer 4 lies, for layer 7. */
static __always_inline void keep_l4(struct packet *p, __u32 at, __u32 end)
{
#ifdef WEBB_L7
	p->l4_at = at;
	p->l4_end = end;
#endif
}

/* Keeps what connection quality, and the drop of a SYN, read of a TCP header. */
static __always_inline void keep_tcp(struct packet *p, const struct tcp_header *tcp, __u32 payload)
{
#ifdef WEBB_QUALITY
	p->zero_window = !tcp->window && !(tcp->flags & (TCP_SYN | TCP_RST));
	p->payload = payload;
	p->acknowledgement = tcp->acknowledgement;
#endif
#if defined(WEBB_QUALITY) || defined(WEBB_SEQUENCE)
	p->sequence = tcp->sequence;
#endif
}

/* Frames that are not IP: one anonymous connection per interface. */
static __always_inline void not_ip(struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	p->flags = WEBB_FLAG_NO_L4;
}

/* True for the protocols with a layer 4 that is read. */
static __always_inline int has_l4(__u8 family, __u8 protocol)
{
	return family && (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_ICMP ||
			  protocol == PROTOCOL_ICMPV6 || protocol == PROTOCOL_SCTP);
}

static __always_inline int parse_icmp(const struct cursor *c, __u32 at, __u32 end, __u8 protocol, struct packet *p)
{
	const struct icmp_echo *icmp;
	const struct icmp_header *head;

	head = header(c, at, sizeof(*head));
	if (!head || at + sizeof(*head) > end)
		return UNPARSED(TRUNCATED_L4);
	p->icmp_type = head->type;
	p->icmp_code = head->code;
#ifdef WEBB_QUALITY
	p->sequence = at;
#endif
	if (protocol == PROTOCOL_ICMP)
		p->echo = head->type == ICMP_ECHO_REQUEST || head->type == ICMP_ECHO_REPLY;
	else
		p->echo = head->type == ICMPV6_ECHO_REQUEST || head->type == ICMPV6_ECHO_REPLY;
	/* Every ICMPv4 message has 8 bytes; of the ICMPv6 messages only the echo's further ones are read. */
	if (protocol == PROTOCOL_ICMP || p->echo) {
		icmp = header(c, at, sizeof(*icmp));
		if (!icmp || at + sizeof(*icmp) > end)
			return UNPARSED(TRUNCATED_L4);
		if (p->echo)
			p->source_port = p->destination_port = bpf_ntohs(icmp->id);
	}
	return 0;
}

/* Parses layer 4 at the offset `at`; `end` is the IP packet's end by its header. */
static __always_inline int parse_l4(const struct cursor *c, __u32 at, __u32 end, __u8 protocol, struct packet *p)
{
	p->protocol = protocol;
	p->source_port = p->destination_port = 0;
	p->tcp_flags = p->flags = p->icmp_type = p->icmp_code = p->echo = 0;

	if (protocol == PROTOCOL_TCP) {
		const struct tcp_header *tcp = header(c, at, sizeof(*tcp));
		__u32 length;

		if (!tcp || at + sizeof(*tcp) > end)
			return UNPARSED(TRUNCATED_L4);
		length = (tcp->data_offset >> 4) * 4;
		if (length < sizeof(*tcp) || at + length > end)
			return UNPARSED(BAD_L4_HEADER);
		p->source_port = bpf_ntohs(tcp->source);
		p->destination_port = bpf_ntohs(tcp->destination);
		p->tcp_flags = tcp->flags;
		keep_tcp(p, tcp, end - at - length);
		keep_l4(p, at, end);
		return 0;
	}
	if (protocol == PROTOCOL_UDP) {
		const struct udp_header *udp = header(c, at, sizeof(*udp));

		if (!udp || at + sizeof(*udp) > end)
			return UNPARSED(TRUNCATED_L4);
		p->source_port = bpf_ntohs(udp->source);
		p->destination_port = bpf_ntohs(udp->destination);
		keep_l4(p, at, end);
		return 0;
	}
	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		return parse_icmp(c, at, end, protocol, p);
	if (protocol == PROTOCOL_SCTP) {
		const struct sctp_header *sctp = header(c, at, sizeof(*sctp));

		if (!sctp || at + sizeof(*sctp) > end)
			return UNPARSED(TRUNCATED_L4);
		p->source_port = bpf_ntohs(sctp->source);
		p->destination_port = bpf_ntohs(sctp->destination);
		p->icmp_type = sctp->chunk_type;
		return 0;
	}
	p->flags = WEBB_FLAG_NO_L4;
	return 0;
}

/* A fragment, the first one too, has no layer 4: so does Hubble's parser, and only the first could have one. */
static __always_inline int fragment(__u8 protocol, struct packet *p)
{
	p->protocol = protocol;
	p->source_port = p->destination_port = 0;
	p->tcp_flags = p->icmp_type = p->icmp_code = p->echo = 0;
	p->flags = WEBB_FLAG_FRAGMENT | WEBB_FLAG_NO_L4;
	return 0;
}

static __always_inline int parse_ipv4(const struct cursor *c, __u32 at, __u32 frame_end,
				      struct packet *p)
{
	const struct ipv4_header *ip = header(c, at, sizeof(*ip));
	__u32 length, size, end;

	if (!ip)
		return UNPARSED(TRUNCATED_L3);
	size = (ip->version_ihl & 0x0f) * 4;
	length = bpf_ntohs(ip->total_length);
	end = at + length;
	if (unlikely(length == 0 && any_length(c)))
		end = frame_end;
	if (ip->version_ihl >> 4 != 4 || size < sizeof(*ip) || at + size > end || end > frame_end)
		return UNPARSED(BAD_IP_HEADER);
	p->family = 4;
	p->source_hi = p->destination_hi = 0;
	p->source_lo = (__u64)ip->source << 32 | MAPPED_PREFIX;
	p->destination_lo = (__u64)ip->destination << 32 | MAPPED_PREFIX;
	if (unlikely(ip->fragment & bpf_htons(0x3fff)))
		return fragment(ip->protocol, p);
	return parse_l4(c, at + size, end, ip->protocol, p);
}

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_DESTINATION ||
	       protocol == PROTOCOL_AH || protocol == PROTOCOL_FRAGMENT;
}

static __always_inline int parse_ipv6(const struct cursor *c, __u32 at, __u32 frame_end,
				      struct packet *p)
{
	const struct ipv6_header *ip = header(c, at, sizeof(*ip));
	const struct ipv6_extension *extension;
	__u32 length, end, size, i;
	__u8 next;

	if (!ip)
		return UNPARSED(TRUNCATED_L3);
	length = bpf_ntohs(ip->payload_length);
	end = at + sizeof(*ip) + length;
	if (unlikely(length == 0 && any_length(c)))
		end = frame_end;
	if ((ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) || end > frame_end)
		return UNPARSED(BAD_IP_HEADER);
	p->family = 6;
	p->source_hi = (__u64)ip->source[1] << 32 | ip->source[0];
	p->source_lo = (__u64)ip->source[3] << 32 | ip->source[2];
	p->destination_hi = (__u64)ip->destination[1] << 32 | ip->destination[0];
	p->destination_lo = (__u64)ip->destination[3] << 32 | ip->destination[2];
	next = ip->next_header;
	at += sizeof(*ip);
	for (i = 0; i < EXTENSIONS && is_extension(next); i++) {
		/* All have 8 bytes at least, and their first two mean the same in each. */
		extension = header(c, at, sizeof(*extension));
		if (!extension || at + 8 > end)
			return UNPARSED(TRUNCATED_L3);
		if (next == PROTOCOL_FRAGMENT)
			return fragment(extension->next_header, p);
		size = next == PROTOCOL_AH ? (extension->length + 2) * 4 : (extension->length + 1) * 8;
		next = extension->next_header;
		at += size;
		if (at > end)
			return UNPARSED(BAD_IP_HEADER);
	}
	if (unlikely(is_extension(next)))
		return UNPARSED(EXTENSION_DEPTH);
	return parse_l4(c, at, end, next, p);
}

/* `type` is the EtherType in wire order. */
static __always_inline int parse_network(const struct cursor *c, __u32 at, __u32 frame_end, __be16 type,
					 struct packet *p)
{
	if (likely(type == ETHERTYPE_IPV4))
		return parse_ipv4(c, at, frame_end, p);
	if (type == ETHERTYPE_IPV6)
		return parse_ipv6(c, at, frame_end, p);
	not_ip(p);
	return 0;
}

static __always_inline int parse_ethernet(const struct cursor *c, __u32 frame_end, struct packet *p)
{
	const struct ethernet_header *ethernet = header(c, 0, sizeof(*ethernet));
	__u32 at = sizeof(*ethernet);
	__be16 type;

	if (!ethernet)
		return UNPARSED(TRUNCATED_L2);
	type = ethernet->type;
	if (unlikely(type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ)) {
		const struct vlan_tag *tag = header(c, at, sizeof(*tag));

		if (!tag)
			return UNPARSED(TRUNCATED_L2);
		type = tag->type;
		at += sizeof(*tag);
		if (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ) {
			tag = header(c, at, sizeof(*tag));
			if (!tag)
				return UNPARSED(TRUNCATED_L2);
			type = tag->type;
			at += sizeof(*tag);
			if (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ)
				return UNPARSED(VLAN_DEPTH);
		}
	}
	return parse_network(c, at, frame_end, type, p);
}

#endif
