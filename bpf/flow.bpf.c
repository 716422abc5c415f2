// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Watches the packets of an interface: as programs of its hooks, or where include/device.h says so as it sends them.
 * Each is counted in the connection table (include/table.h); a record goes to the ring only on a change of state: a
 * connection, a flag seen for the first time, a report interval over, ICMP. Compiled with WEBB_L7, DNS and HTTP go to a
 * ring of their own (include/l7.h).
 * Traffic is never touched: every path returns TCX_NEXT, which clsact reads as TC_ACT_UNSPEC.
 *
 * The ledger: every packet is added to `seen` of its hook first, and then to exactly one of unparsed, untracked, lost,
 * reported, flooded (include/port.h), or the pending delta of a lane, which later becomes reported or evicted.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "include/abi.h"

#define COPIED 256 /* bytes of a copy; the last 64 are never a header's first */

/* A packet under direct access, or a copy of how it begins. `is_copy` is a constant wherever this is used. */
struct cursor {
	const void *data;
	const void *end;
	struct __sk_buff *skb;
	__u32 copied;
	int is_copy;
};

/* Direct packet access: offsets are at most 64 + 8 * 2,048, well within what the verifier allows. */
static __attribute__((always_inline)) inline const void *header(const struct cursor *c, __u32 offset, __u32 size)
{
	const void *at;

	if (c->is_copy) {
		/* The checked register must be the added one: older verifiers do not track that two are equal. */
		barrier_var(offset);
		if (offset > COPIED - 64 || offset + size > c->copied)
			return 0;
		return c->data + offset;
	}
	at = c->data + offset;
	return at + size <= c->end ? at : 0;
}

/* Checked last: the field lies in a cache line that nothing else of ours touches. A copy does not have it. */
static __attribute__((always_inline)) inline int any_length(const struct cursor *c)
{
	return c->is_copy || c->skb->gso_size != 0;
}

#include "include/parse.h"
#include "include/record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Settings; user space writes them before the program is loaded, so each is a constant to the verifier. */
const volatile __u8 every_packet = 0;           /* aggregation none */
const volatile __u64 flow_ring_bytes = 8 << 20; /* must be the size of flow_events */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} flow_events SEC(".maps");

#include "include/sweep.h"

#ifdef WEBB_L7
#include "include/l7.h"
#endif

#ifdef WEBB_QUALITY
#include "include/quote.h"
#endif

#define TCX_NEXT (-1)
#define PULLED 192 /* Ethernet, two tags, IPv6, a few extension headers, TCP */

static __always_inline int parse_linear(struct __sk_buff *skb, struct packet *p)
{
	struct cursor c = { .data = (void *)(long)skb->data, .end = (void *)(long)skb->data_end, .skb = skb };

	return parse_ethernet(&c, skb->len, p);
}

/* Headers that are not in the linear part are brought there, once. */
__noinline int parse_pulled(struct __sk_buff *skb, struct packet *p)
{
	__u32 length;

	if (!p)
		return 0;
	length = skb->len;
	if (bpf_skb_pull_data(skb, length < PULLED ? length : PULLED))
		return UNPARSED(TRUNCATED_L2);
	return parse_linear(skb, p);
}

static __always_inline int is_truncated(int why)
{
	return why == UNPARSED(TRUNCATED_L2) || why == UNPARSED(TRUNCATED_L3) || why == UNPARSED(TRUNCATED_L4);
}

static __always_inline int parse_skb(struct __sk_buff *skb, __u32 length, struct packet *p)
{
	int why;

	why = parse_linear(skb, p);
	if (unlikely(is_truncated(why)) && skb->data_end - skb->data < length) {
		__builtin_memset(p, 0, sizeof(*p));
		why = parse_pulled(skb, p);
	}
	return why;
}

static __always_inline void unparsed(struct webb_totals *t, const struct sighting *s, int why)
{
	why = (why - 1) & (WEBB_UNPARSED_REASONS - 1);
	t->unparsed_packets[why]++;
	t->unparsed_bytes[why] += s->bytes;
}

/* Counts fragments, and messages that a packet was too large: never packets that read_plain() takes. */
static __always_inline void count_odd(struct webb_totals *t, const struct packet *p)
{
	if (unlikely(p->flags & WEBB_FLAG_FRAGMENT))
		t->fragments++;
	else if (unlikely(p->protocol == PROTOCOL_ICMP && p->icmp_type == ICMP_UNREACHABLE &&
			  p->icmp_code == ICMP_FRAGMENTATION_NEEDED))
		t->mtu_errors++;
	else if (unlikely(p->protocol == PROTOCOL_ICMPV6 && p->icmp_type == ICMPV6_PACKET_TOO_BIG))
		t->mtu_errors++;
}

/*
 * Most packets by far: TCP and UDP over IPv4 without options, tags and fragments, with lengths that fit, in the linear
 * part. 1 if this is one, and is read. Its instructions are few and lie together, which is half of the gain.
 */
static __always_inline int read_plain(struct __sk_buff *skb, struct sighting *s)
{
	const void *data = (const void *)(long)skb->data, *end = (const void *)(long)skb->data_end;
	const struct ethernet_header *ethernet = data;
	const struct ipv4_header *ip = data + sizeof(*ethernet);
	const struct tcp_header *tcp = (const void *)(ip + 1);
	const struct udp_header *udp = (const void *)(ip + 1);
	struct packet *p = &s->packet;
	__u32 length, at_least;

	if (unlikely((const void *)(udp + 1) > end) || unlikely(ethernet->type != ETHERTYPE_IPV4) ||
	    unlikely(ip->version_ihl != 0x45) || unlikely(ip->fragment & bpf_htons(0x3fff)))
		return 0;
	length = bpf_ntohs(ip->total_length);
	p->protocol = ip->protocol;
	if (p->protocol == PROTOCOL_TCP) {
		if (unlikely((const void *)(tcp + 1) > end) || unlikely(tcp->data_offset < 5 << 4))
			return 0;
		at_least = sizeof(*ip) + (tcp->data_offset >> 4) * 4;
		p->tcp_flags = tcp->flags;
	} else {
		if (unlikely(p->protocol != PROTOCOL_UDP))
			return 0;
		at_least = sizeof(*ip) + sizeof(*udp);
		p->tcp_flags = 0;
	}
	if (unlikely(length < at_least) || unlikely(sizeof(*ethernet) + length > s->bytes))
		return 0;
	p->family = 4;
	p->source_hi = p->destination_hi = 0;
	p->source_lo = (__u64)ip->source << 32 | MAPPED_PREFIX;
	p->destination_lo = (__u64)ip->destination << 32 | MAPPED_PREFIX;
	p->source_port = bpf_ntohs(udp->source);
	p->destination_port = bpf_ntohs(udp->destination);
	p->flags = p->icmp_type = p->icmp_code = p->echo = p->zero_window = 0;
	p->payload = 0;
#ifdef WEBB_QUALITY
	p->sequence = p->acknowledgement = 0;
	if (p->protocol == PROTOCOL_TCP)
		keep_tcp(p, tcp, length - at_least);
#endif
	keep_l4(p, sizeof(*ethernet) + sizeof(*ip), sizeof(*ethernet) + length);
	return 1;
}

/* The result of identify() for such a packet, in fewer steps. */
static __always_inline void identify_plain(struct sighting *s, const struct webb_totals *row)
{
	const struct packet *p = &s->packet;
	__u64 source = p->source_lo >> 32, destination = p->destination_lo >> 32;
	struct identity i;

	s->sender = source != destination ? source > destination : p->source_port > p->destination_port;
	s->form = (s->hook & ~1U ? FORM_NETWORK : 0) | (s->sender ^ (s->hook & 1));
	s->bits = p->tcp_flags;
	s->asked = every_packet ? WEBB_KIND_PACKET : 0;
	i.a = s->sender ? destination : source;
	i.b = s->sender ? source : destination;
	i.ports = s->sender ? (__u32)p->destination_port << 16 | p->source_port :
			      (__u32)p->source_port << 16 | p->destination_port;
	i.ifindex = s->ifindex;
	i.form = p->protocol | s->form << 8 | 4 << 16;
	s->hash = hash_of(row, &i);
}

/* All other packets. Returns the reason for which one cannot be parsed, or 0. */
__noinline int read_any(struct __sk_buff *skb, struct sighting *s)
{
	struct webb_totals *t;
	int why;

	if (!s)
		return 0;
	t = totals_of(s->hook);
	if (!t)
		return 0;
	why = parse_skb(skb, s->bytes, &s->packet);
	if (!why)
		identify(s, t, every_packet);
	return why;
}

static __always_inline int observe(struct __sk_buff *skb, const __u32 hook)
{
	struct sighting s;
	struct webb_totals *t = totals_of(hook);
	int why, quiet;

	if (!t)
		return TCX_NEXT;
	s.hook = hook;
	s.bytes = skb->len;
	s.ifindex = skb->ifindex;
	s.tick = tick_now();
#ifdef WEBB_QUALITY
	s.value = s.look = 0;
#endif
	t->seen_packets++;
	t->seen_bytes += s.bytes;
	if (likely(read_plain(skb, &s))) {
		identify_plain(&s, t);
	} else {
		__builtin_memset(&s.packet, 0, sizeof(s.packet));
		s.hash = s.bits = s.sender = s.form = s.asked = 0;
		why = read_any(skb, &s);
		if (unlikely(why)) {
			unparsed(t, &s, why);
			return TCX_NEXT;
		}
		count_odd(t, &s.packet);
	}
	quiet = count_quietly(t, &s);
	if (!quiet)
		count_with_care(&s);
#ifdef WEBB_L7
	/* A packet that changes the state may be the end of a handshake. */
	if (hook <= WEBB_HOOK_TO_POD && (!quiet || unlikely(quiet == QUIET_L7)))
		l7_look(skb, &s);
#endif
#ifdef WEBB_QUALITY
	if (unlikely(s.look))
		look_at_sample(&s);
	else if (hook <= WEBB_HOOK_TO_POD && !quiet && unlikely(is_icmp_error(&s)))
		look_at_quote(skb, &s);
#endif
	return TCX_NEXT;
}

SEC("classifier")
int webb_from_pod(struct __sk_buff *skb)
{
	return observe(skb, WEBB_HOOK_FROM_POD);
}

SEC("classifier")
int webb_to_pod(struct __sk_buff *skb)
{
	return observe(skb, WEBB_HOOK_TO_POD);
}

SEC("classifier")
int webb_from_net(struct __sk_buff *skb)
{
	return observe(skb, WEBB_HOOK_FROM_NETWORK);
}

SEC("classifier")
int webb_to_net(struct __sk_buff *skb)
{
	return observe(skb, WEBB_HOOK_TO_NETWORK);
}

#include "include/device.h"
#ifdef WEBB_QUALITY
#include "include/retransmit.h"
#endif

/* The source or destination MAC of a packet; 0 if it has none. */
static __always_inline __u64 mac_at(struct __sk_buff *skb, __u32 offset)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;

	return data + sizeof(struct ethernet_header) <= end ? mac_number(data + offset) : 0;
}

/* As webb_from_pod, at a port of a bridge. */
SEC("classifier")
int webb_from_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct webb_port *port = bpf_map_lookup_elem(&ports, &ifindex);

	if (port)
		learn_mac(port, ifindex, mac_at(skb, __builtin_offsetof(struct ethernet_header, source)));
	return observe(skb, WEBB_HOOK_FROM_POD);
}

/* As webb_to_pod, at an interface with special properties (include/port.h). */
SEC("classifier")
int webb_to_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, hook = WEBB_HOOK_TO_POD;
	struct webb_port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct webb_totals *t;
	struct sighting s;

	if (port && port->flags & WEBB_PORT_AT_DEVICE) {
		/* Counted when it is sent; the reader there sees only the linear part. */
		__builtin_memset(&s, 0, sizeof(s));
		s.hook = hook;
		s.bytes = skb->len;
#ifdef WEBB_L7
		s.ifindex = ifindex;
		s.tick = tick_now();
		if (!read_any(skb, &s))
			l7_look(skb, &s);
#else
		read_any(skb, &s);
#endif
		return TCX_NEXT;
	}
	if (port && is_flooded(port, ifindex, mac_at(skb, 0))) {
		t = bpf_map_lookup_elem(&totals, &hook);
		if (t) {
			t->seen_packets++;
			t->seen_bytes += skb->len;
			t->flooded_packets++;
			t->flooded_bytes += skb->len;
		}
		return TCX_NEXT;
	}
	return observe(skb, WEBB_HOOK_TO_POD);
}
