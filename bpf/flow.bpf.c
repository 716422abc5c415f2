// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Watches the packets of an interface: as programs of its hooks, or where include/device.h says so as it sends them. Each is counted in the connection table (include/table.h); a record goes to
 * the ring only when there is news: a connection, a flag seen for the first time, a report interval over, ICMP.
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
		/* What is checked and what is added must be one register: older verifiers do not know that two are equal. */
		barrier_var(offset);
		if (offset > COPIED - 64 || offset + size > c->copied)
			return 0;
		return c->data + offset;
	}
	at = c->data + offset;
	return at + size <= c->end ? at : 0;
}

/* Asked last: the answer lies in a cache line that nothing else of ours touches. A copy does not have it. */
static __attribute__((always_inline)) inline int any_length(const struct cursor *c)
{
	return c->is_copy || c->skb->gso_size != 0;
}

#include "include/parse.h"
#include "include/table.h"
#include "include/record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Settings; user space writes them before the program is loaded, so each is a constant to the verifier. */
const volatile __u8 every_packet = 0;           /* aggregation none */
const volatile __u32 report_interval = 1250;    /* ticks */
const volatile __u64 flow_ring_bytes = 8 << 20; /* must be the size of flow_events */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} flow_events SEC(".maps");

#include "include/find.h"

#define TCX_NEXT (-1)
#define PULLED 192 /* Ethernet, two tags, IPv6, a few extension headers, TCP */

/* Chunks that SCTP sends while nothing but data and its acknowledgement happens: no news. */
#define SCTP_QUIET (1U << 0 | 1U << 3 | 1U << 4 | 1U << 5)

static __always_inline __u32 news_bits(const struct packet *p)
{
	if (likely(p->protocol == PROTOCOL_TCP || p->protocol != PROTOCOL_SCTP))
		return p->tcp_flags;
	if (p->flags & WEBB_FLAG_NO_L4 || p->icmp_type > 31)
		return 0;
	return (1U << p->icmp_type) & ~SCTP_QUIET;
}

static __always_inline int is_icmp(const struct packet *p)
{
	return (p->protocol == PROTOCOL_ICMP || p->protocol == PROTOCOL_ICMPV6) && !(p->flags & WEBB_FLAG_NO_L4);
}

static __always_inline struct lane *lane_at(struct connection *c, __u32 lane)
{
	/* The compiler knows the bounds, but verifiers before Linux 6.2 need to see the mask. */
	barrier_var(lane);
	return &c->lanes[lane & (LANES - 1)];
}

static __always_inline struct lane *lane_of(struct connection *c, const struct sighting *s)
{
	return lane_at(c, (s->sender_is_b ? LANE_OF_B : 0) | (s->hook & LANE_OF_EGRESS));
}

/* WEBB_FLAG_* of a packet or a delta. The pod's side sends on ingress of its veth, the node on egress of its device. */
static __always_inline __u8 direction_flags(const struct connection *c, int sender_is_b, __u32 hook)
{
	int reply = c->opener != sender_is_b;
	int from_local = hook == WEBB_HOOK_FROM_POD || hook == WEBB_HOOK_TO_NETWORK;

	return (reply ? WEBB_FLAG_REPLY : 0) | (from_local != reply ? WEBB_FLAG_EGRESS : 0) |
	       (c->guessed ? WEBB_FLAG_GUESSED : 0);
}

/* Where a program runs: the coarse clock is not for programs that trace the kernel. */
#define AT_HOOK 0
#define IN_TRACING 1

static __always_inline __u64 time_now(int where)
{
	return where == IN_TRACING ? bpf_ktime_get_ns() : bpf_ktime_get_coarse_ns();
}

/*
 * WEBB_FLAG_ONE_SIDED of a packet: TCP acknowledges only what was received. A connection that was picked up midway shows
 * no SYN of the pod's, and says nothing.
 */
static __always_inline __u8 one_sided(struct connection *c, const struct sighting *s, const struct lane *lane)
{
	if (s->hook != WEBB_HOOK_FROM_POD || s->packet.protocol != PROTOCOL_TCP)
		return 0;
	if ((lane->flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
		return 0;
	return lane_at(c, LANE_OF_EGRESS | (s->sender_is_b ? 0 : LANE_OF_B))->flags ? 0 : WEBB_FLAG_ONE_SIDED;
}

/*
 * Reports a lane. The delta is taken only when the record has its place in the ring, so a full ring costs the event,
 * never the bytes: they stay pending, but for a lane that is about to overflow.
 */
static __always_inline int report_lane(struct sighting *s, struct connection *c, __u8 kind, int where)
{
	struct webb_totals *t;
	struct webb_record *r;
	struct lane *lane;
	__u64 delta;
	__u32 hook;

	if (!s || !c)
		return 0;
	/* A key on our own stack: verifiers before Linux 6.2 take none that lies in an argument. */
	hook = s->hook;
	t = bpf_map_lookup_elem(&totals, &hook);
	if (!t)
		return 0;
	lane = lane_of(c, s);
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r) {
		t->lost_records++;
		if (lane->pending & PENDING_NEARLY_FULL) {
			delta = __sync_lock_test_and_set(&lane->pending, 0);
			t->lost_packets += delta >> PENDING_BYTES_BITS;
			t->lost_bytes += delta & PENDING_BYTES_MASK;
		}
		return 0;
	}
	delta = __sync_lock_test_and_set(&lane->pending, 0);
	fill(r, kind, time_now(where), s->key.ifindex, &s->packet);
	r->hook = s->hook;
	r->flags |= direction_flags(c, s->sender_is_b, s->hook) | one_sided(c, s, lane);
	r->packets = delta >> PENDING_BYTES_BITS;
	r->bytes = delta & PENDING_BYTES_MASK;
	t->reported_packets += delta >> PENDING_BYTES_BITS;
	t->reported_bytes += delta & PENDING_BYTES_MASK;
	t->records++;
	lane->reported = s->now;
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, t->records));
	return 0;
}

__noinline int report(struct sighting *s, struct connection *c, __u8 kind)
{
	return report_lane(s, c, kind, AT_HOOK);
}

__noinline int report_sent(struct sighting *s, struct connection *c, __u8 kind)
{
	return report_lane(s, c, kind, IN_TRACING);
}

/* A packet that met an entry while it was being deleted: a record of its own, or counted as lost. */
static __always_inline int report_one(struct sighting *s, int where)
{
	struct connection nobody = {};
	struct webb_totals *t;
	struct webb_record *r;
	__u32 hook;

	if (!s)
		return 0;
	hook = s->hook;
	t = bpf_map_lookup_elem(&totals, &hook);
	if (!t)
		return 0;
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r) {
		t->lost_records++;
		t->lost_packets++;
		t->lost_bytes += s->bytes;
		return 0;
	}
	nobody.opener = s->sender_is_b == sender_started(&s->packet, &nobody.guessed);
	fill(r, s->packet.family ? WEBB_KIND_PACKET : WEBB_KIND_FLUSH, time_now(where), s->key.ifindex, &s->packet);
	r->hook = s->hook;
	r->flags |= direction_flags(&nobody, s->sender_is_b, s->hook);
	r->packets = 1;
	r->bytes = s->bytes;
	t->reported_packets++;
	t->reported_bytes += s->bytes;
	t->records++;
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, t->records));
	return 0;
}

__noinline int report_alone(struct sighting *s)
{
	return report_one(s, AT_HOOK);
}

__noinline int report_sent_alone(struct sighting *s)
{
	return report_one(s, IN_TRACING);
}

/* A SYN on a connection that has ended: the ports are used again, so all begins anew but what is pending. */
__noinline int begin_anew(struct sighting *s, struct connection *c)
{
	int i;

	if (!s || !c)
		return 0;
	for (i = 0; i < LANES; i++) {
		c->lanes[i].flags = 0;
		c->lanes[i].reported = s->now - report_interval;
	}
	c->opener = s->sender_is_b;
	c->guessed = 0;
	return 0;
}

static __always_inline int has_ended(const struct connection *c)
{
	__u32 from_a = c->lanes[0].flags | c->lanes[LANE_OF_EGRESS].flags;
	__u32 from_b = c->lanes[LANE_OF_B].flags | c->lanes[LANE_OF_B | LANE_OF_EGRESS].flags;

	return (from_a | from_b) & TCP_RST || from_a & from_b & TCP_FIN;
}

/* What kind of record the packet asks for; 0 for none. */
static __always_inline __u8 news(struct sighting *s, struct connection *c, struct lane *lane)
{
	__u32 known;
	int news = 0;

	if (s->bits & ~lane->flags)
		news = s->bits & ~__sync_fetch_and_or(&lane->flags, s->bits);
	if (unlikely(every_packet || is_icmp(&s->packet)))
		return WEBB_KIND_PACKET;
	if (unlikely(news))
		return WEBB_KIND_FLAGS;
	known = lane->reported;
	/* Of two CPUs that find the interval over at once, one reports. */
	if (unlikely((__s32)(s->now - known) >= (__s32)report_interval) &&
	    __sync_val_compare_and_swap(&lane->reported, known, s->now) == known)
		return WEBB_KIND_INTERVAL;
	return 0;
}

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

static __always_inline void begin(struct sighting *s, __u32 hook, __u32 bytes)
{
	s->hook = hook;
	s->bytes = bytes;
	s->outcome = FOUND;
	s->pad0 = s->pad1 = 0;
	s->packet.pad0 = s->packet.pad1 = 0;
}

static __always_inline void unparsed(struct webb_totals *t, const struct sighting *s, int why)
{
	why = (why - 1) & (WEBB_UNPARSED_REASONS - 1);
	t->unparsed_packets[why]++;
	t->unparsed_bytes[why] += s->bytes;
}

/* Counts a packet that was begun and parsed; `s` has its interface as well. */
static __always_inline void count(struct webb_totals *t, struct sighting *s, int where)
{
	struct connection *c;
	struct lane *lane;
	__u64 pending;
	__u8 kind = 0;

	s->key.role = s->hook & ~LANE_OF_EGRESS;
	s->sender_is_b = canonical(&s->packet, &s->key);
	s->bits = news_bits(&s->packet);
	s->hash = hash(&s->key);
	s->now = tick_now();

	c = find(s);
	if (unlikely(!c)) {
		c = find_or_create(s);
		if (!c) {
			if (s->outcome == ALONE) {
				where == IN_TRACING ? report_sent_alone(s) : report_alone(s);
			} else {
				t->untracked_packets++;
				t->untracked_bytes += s->bytes;
			}
			return;
		}
		if (s->outcome == CREATED && s->packet.family)
			kind = WEBB_KIND_NEW;
	}

	c->seen = s->now;
	lane = lane_of(c, s);
	pending = __sync_fetch_and_add(&lane->pending, PENDING_ONE_PACKET | s->bytes);
	if (unlikely((s->bits & (TCP_SYN | TCP_ACK)) == TCP_SYN) && s->packet.protocol == PROTOCOL_TCP && has_ended(c)) {
		begin_anew(s, c);
		kind = WEBB_KIND_NEW;
	}
	if (likely(s->packet.family)) {
		__u8 asked = news(s, c, lane);

		if (!kind)
			kind = asked;
	}
	if (unlikely(pending & PENDING_NEARLY_FULL) && !kind)
		kind = WEBB_KIND_FLUSH;
	if (unlikely(kind))
		where == IN_TRACING ? report_sent(s, c, kind) : report(s, c, kind);
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

static __always_inline int observe(struct __sk_buff *skb, const __u32 hook)
{
	struct sighting s;
	struct webb_totals *t;
	int why;

	begin(&s, hook, skb->len);
	t = bpf_map_lookup_elem(&totals, &s.hook);
	if (!t)
		return TCX_NEXT;
	t->seen_packets++;
	t->seen_bytes += s.bytes;
	why = parse_skb(skb, s.bytes, &s.packet);
	s.key.ifindex = skb->ifindex;
	if (unlikely(why))
		unparsed(t, &s, why);
	else
		count(t, &s, AT_HOOK);
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

/* As webb_to_pod, at an interface with something special about it (include/port.h). */
SEC("classifier")
int webb_to_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, hook = WEBB_HOOK_TO_POD;
	struct webb_port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct webb_totals *t;
	struct packet p;

	if (port && port->flags & WEBB_PORT_AT_DEVICE) {
		/* Counted when it is sent; what reads it there can only see what is in the linear part. */
		p.pad0 = p.pad1 = 0;
		parse_skb(skb, skb->len, &p);
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

#include "include/sweep.h"
