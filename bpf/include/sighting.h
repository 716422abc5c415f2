/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One packet on its way through the functions of find.h, make.h and add.h.
 *
 * The functions there without `static` are checked by the verifier once, by their types, and not again for each way that
 * leads to them. That makes loading faster and keeps us far from its limit. The price is that they cannot return
 * pointers, and look at arguments that are never null. A map's key has to lie on their own stack: verifiers before Linux
 * 6.2 take none that lies in an argument. So they are given places of the table, as numbers.
 */
#ifndef WEBB_SIGHTING_H
#define WEBB_SIGHTING_H

#include "hash.h"
#include "table.h"

struct sighting {
	struct packet packet;
	__u64 hash;
	__u64 tick;
	__u32 hook;
	__u32 ifindex;
	__u32 bytes;
	__u8 bits;   /* flags that it adds to those of its lane */
	__u8 sender; /* 0: a, 1: b */
	__u8 form;   /* FORM_* */
	__u8 asked;  /* the kind of record that is due for it alone; 0: none */
#ifdef WEBB_QUALITY
	__u32 value; /* of the event that quality_of() returns */
	__u32 look;  /* 1 + the place of its entry, where it may begin or end a sample; 0: it does not */
#endif
};

#ifdef WEBB_QUALITY
#define SIGHTING_BYTES 40
#else
#define SIGHTING_BYTES 32
#endif
_Static_assert(sizeof(struct sighting) == SIGHTING_BYTES + sizeof(struct packet),
	       "every byte of a sighting is a field, and is written");

/* Outcome for the packet. */
#define COUNTED 1
#define AGAIN 2 /* the entry has changed meanwhile */
#define BUSY 3  /* it met an entry that is just being changed */
#define NO_ROOM 4

/* Number of attempts after which a program gives up, and the packet is a record of its own. */
#define ATTEMPTS 4

static __always_inline struct webb_totals *totals_of(__u32 hook)
{
	return bpf_map_lookup_elem(&totals, &hook);
}

/* SCTP's control chunks as the TCP flags that mean the same, so that all else is one. Other chunks change no state. */
static __always_inline __u8 sctp_bits(__u8 chunk)
{
	switch (chunk) {
	case SCTP_INIT:
		return TCP_SYN;
	case SCTP_INIT_ACK:
		return TCP_SYN | TCP_ACK;
	case SCTP_ABORT:
		return TCP_RST;
	case SCTP_SHUTDOWN:
		return TCP_FIN;
	case SCTP_SHUTDOWN_ACK:
		return TCP_FIN | 0x08;
	case SCTP_ERROR:
		return 0x20;
	case SCTP_COOKIE_ECHO:
		return 0x40;
	case SCTP_COOKIE_ACK:
		return 0x80;
	case SCTP_SHUTDOWN_COMPLETE:
		return TCP_RST | 0x08;
	}
	return 0;
}

/* True for the first packet of a connection, where the protocol marks it. */
static __always_inline int begins(const struct sighting *s)
{
	return (s->bits & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* The opener of a connection that begins, for us, with this packet: 1 if its sender did. */
static __always_inline int sender_started(const struct packet *p, int *guessed)
{
	*guessed = 0;
	if (p->flags & WEBB_FLAG_NO_L4)
		return 1;
	switch (p->protocol) {
	case PROTOCOL_TCP:
		if (p->tcp_flags & TCP_SYN)
			return !(p->tcp_flags & TCP_ACK);
		*guessed = 1;
		break;
	case PROTOCOL_SCTP:
		if (p->icmp_type == SCTP_INIT || p->icmp_type == SCTP_INIT_ACK)
			return p->icmp_type == SCTP_INIT;
		*guessed = 1;
		break;
	case PROTOCOL_ICMP:
		return !(p->echo && p->icmp_type == ICMP_ECHO_REPLY);
	case PROTOCOL_ICMPV6:
		return !(p->echo && p->icmp_type == ICMPV6_ECHO_REPLY);
	}
	/* A well-known port is the server's; two of a kind say nothing, and then the first to speak has started. */
	return !(p->source_port < 1024 && p->destination_port >= 1024);
}

/* The bits of `seen` for a connection that begins, for us, with this packet. */
static __always_inline __u32 opened_by(const struct sighting *s)
{
	int guessed, started = sender_started(&s->packet, &guessed);

	return (s->sender == started ? SEEN_OPENER_B : 0) | (guessed ? SEEN_GUESSED : 0) |
	       (s->packet.family == 6 ? SEEN_IPV6 : 0);
}

/* struct note's `owner` for the packet's connection. */
static __always_inline __u16 owner_of(const struct sighting *s)
{
	return (s->ifindex & OWNER_SHARE) | (s->packet.protocol == PROTOCOL_TCP && s->bits ? OWNER_TCP : 0) |
	       (s->packet.family ? 0 : OWNER_NOT_IP);
}

/* WEBB_FLAG_* of a packet or a delta. The pod's side sends on ingress of its veth, the node on egress of its device. */
static __always_inline __u8 direction_flags(__u32 seen, __u32 sender, __u32 hook)
{
	int reply = !!(seen & SEEN_OPENER_B) != sender;
	int from_local = hook == WEBB_HOOK_FROM_POD || hook == WEBB_HOOK_TO_NETWORK;

	return (reply ? WEBB_FLAG_REPLY : 0) | (from_local != reply ? WEBB_FLAG_EGRESS : 0) |
	       (seen & SEEN_GUESSED ? WEBB_FLAG_GUESSED : 0);
}

/*
 * WEBB_FLAG_ONE_SIDED of a packet: TCP acknowledges only what was received. A connection that was picked up midway shows
 * no SYN of the pod's, and says nothing.
 */
static __always_inline __u8 one_sided(const struct sighting *s, __u8 own, __u8 other)
{
	if (s->hook != WEBB_HOOK_FROM_POD || s->packet.protocol != PROTOCOL_TCP)
		return 0;
	if ((own & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
		return 0;
	return other ? 0 : WEBB_FLAG_ONE_SIDED;
}

/* Both addresses in the order of the table; the sender's is b if `from_b`. */
static __always_inline void details_of(const struct sighting *s, struct details *d)
{
	const struct packet *p = &s->packet;
	int from_b = s->sender;
	__u16 source_port = p->source_port, destination_port = p->destination_port;

	if (s->form & FORM_ERROR)
		source_port = destination_port = p->icmp_type;
	d->a[0] = from_b ? p->destination_hi : p->source_hi;
	d->a[1] = from_b ? p->destination_lo : p->source_lo;
	d->b[0] = from_b ? p->source_hi : p->destination_hi;
	d->b[1] = from_b ? p->source_lo : p->destination_lo;
	d->a_port = from_b ? destination_port : source_port;
	d->b_port = from_b ? source_port : destination_port;
	d->ifindex = s->ifindex;
	d->protocol = p->protocol;
	d->form = s->form;
	d->family = p->family;
	d->quality = 0;
	d->begin = 0;
	d->sample = 0;
	d->l7_next[0] = d->l7_next[1] = 0;
}

/* Derives a packet's sender, its flags, the record that is due, and its connection's identity. */
static __always_inline void identify(struct sighting *s, const struct webb_totals *row, int every_packet)
{
	const struct packet *p = &s->packet;
	__u16 source_port = p->source_port, destination_port = p->destination_port;
	int is_icmp = (p->protocol == PROTOCOL_ICMP || p->protocol == PROTOCOL_ICMPV6) && !(p->flags & WEBB_FLAG_NO_L4);
	struct identity i;

	s->form = s->hook & ~1U ? FORM_NETWORK : 0;
	if (p->flags & WEBB_FLAG_FRAGMENT)
		s->form |= FORM_FRAGMENT;
	if (is_icmp && !p->echo) {
		source_port = destination_port = p->icmp_type;
		s->form |= FORM_ERROR;
	}
	if (p->source_lo != p->destination_lo)
		s->sender = p->source_lo > p->destination_lo;
	else if (p->source_hi != p->destination_hi)
		s->sender = p->source_hi > p->destination_hi;
	else
		s->sender = source_port > destination_port;
	s->form |= s->sender ^ (s->hook & 1);
	s->asked = p->family && (every_packet || is_icmp) ? WEBB_KIND_PACKET : 0;
	s->bits = p->flags & WEBB_FLAG_NO_L4 ? 0 : p->protocol == PROTOCOL_SCTP ? sctp_bits(p->icmp_type) : p->tcp_flags;
	i.ports = s->sender ? (__u32)destination_port << 16 | source_port : (__u32)source_port << 16 | destination_port;
	i.ifindex = s->ifindex;
	i.form = p->protocol | s->form << 8 | p->family << 16;
	if (p->family == 6) {
		hash_addresses(row, s->sender ? p->destination_hi : p->source_hi, s->sender ? p->destination_lo : p->source_lo,
			       s->sender ? p->source_hi : p->destination_hi, s->sender ? p->source_lo : p->destination_lo, &i);
	} else {
		i.a = (s->sender ? p->destination_lo : p->source_lo) >> 32;
		i.b = (s->sender ? p->source_lo : p->destination_lo) >> 32;
	}
	s->hash = hash_of(row, &i);
}

#endif
