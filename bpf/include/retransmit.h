/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Segments of TCP that a pod's socket sends again, or one of the node. The kernel says so, in whatever network namespace
 * the socket is, and only then does this cost anything. The count is that of TcpRetransSegs: of segments, a SYN-ACK's
 * among them. An attempt that the kernel gives up, without a route or with the first copy still in a queue, is none.
 *
 * A pod's namespace has an interface whose other end is in the agent's (pair.h). Others may have sockets with any address,
 * a pod's too, so theirs do not count.
 *
 * A socket knows the ports, and not who has opened the connection: for data the opener is guessed from them.
 *
 * Over a budget per CPU and second there are no records; every segment is counted (struct webb_retransmits).
 */
#ifndef WEBB_RETRANSMIT_H
#define WEBB_RETRANSMIT_H

#include "device.h"
#include "pair.h"
#include "quality.h"

const volatile __u32 retransmit_budget = 0; /* records per second and CPU */
const volatile __u8 node_retransmits = 0;      /* those of sockets in the agent's network namespace too */

#define RETRANSMIT_SYN 0
#define RETRANSMIT_SYN_ACK 1
#define RETRANSMIT_DATA 2

#define STATE_SYN_SENT 2 /* struct sock_common's skc_state */
#define STATE_SYN_RECEIVED 3
#define FAMILY_INET6 10

struct retransmit_budget {
	__u64 second; /* in which `used` was used */
	__u64 used;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct webb_retransmits);
} retransmits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct retransmit_budget);
} retransmit_budgets SEC(".maps");

/* Adds to one of a kind's counts. A softirq may interrupt the program on its CPU. */
static __always_inline void count_segments(__u64 *counts, __u32 type, __u32 segments)
{
	barrier_var(type);
	if (type < WEBB_RETRANSMITS)
		__sync_fetch_and_add(&counts[type], segments);
}

static __always_inline int within_retransmit_budget(__u64 now)
{
	__u32 zero = 0;
	struct retransmit_budget *budget = bpf_map_lookup_elem(&retransmit_budgets, &zero);
	__u64 second = now / 1000000000;

	if (!budget)
		return 0;
	if (budget->second != second) {
		budget->second = second;
		budget->used = 0;
	}
	return __sync_fetch_and_add(&budget->used, 1) < retransmit_budget;
}

/* Fills a record's addresses from those of a socket; an IPv4 address of an IPv6 socket is one of IPv4. */
static __always_inline void fill_socket(struct webb_record *r, const struct sock_common *sk)
{
	__u32 *source = (__u32 *)r->source, *destination = (__u32 *)r->destination;
	__u32 i;

	r->family = 4;
	if (sk->skc_family != FAMILY_INET6) {
		source[0] = source[1] = destination[0] = destination[1] = 0;
		source[2] = destination[2] = bpf_htonl(0xffff);
		source[3] = sk->skc_rcv_saddr;
		destination[3] = sk->skc_daddr;
		return;
	}
#pragma unroll
	for (i = 0; i < 4; i++) {
		source[i] = sk->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
		destination[i] = sk->skc_v6_daddr.in6_u.u6_addr32[i];
	}
	if (destination[0] || destination[1] || destination[2] != bpf_htonl(0xffff))
		r->family = 6;
}

/* WEBB_FLAG_* of what the socket's side sends: an opener sends SYNs, an acceptor SYN-ACKs. */
static __always_inline __u8 flags_of(__u32 type, __u16 source_port, __u16 destination_port)
{
	int reply = type == RETRANSMIT_SYN_ACK;

	if (type == RETRANSMIT_DATA)
		reply = source_port < 1024 && destination_port >= 1024;
	return (reply ? WEBB_FLAG_REPLY : WEBB_FLAG_EGRESS) | (type == RETRANSMIT_DATA ? WEBB_FLAG_GUESSED : 0);
}

static __always_inline int retransmitted(const struct sock_common *sk, __u32 type, __u32 segments)
{
	__u32 zero = 0, of_node = sk->skc_net.net->ns.inum == host_netns, ifindex = 0;
	struct webb_retransmits *counts;
	struct webb_record *r;
	struct webb_totals *t;
	__u64 now;

	if (of_node ? !node_retransmits : !(ifindex = other_end_of((__u64)BPF_CORE_READ(sk, skc_net.net))))
		return 0;
	counts = bpf_map_lookup_elem(&retransmits, &zero);
	t = totals_of(of_node ? WEBB_HOOK_TO_NETWORK : WEBB_HOOK_FROM_POD);
	if (!counts || !t)
		return 0;
	segments = segments ? segments : 1;
	count_segments(counts->seen, type, segments);
	now = bpf_ktime_get_ns();
	if (!within_retransmit_budget(now)) {
		count_segments(counts->suppressed, type, segments);
		return 0;
	}
	r = bpf_ringbuf_reserve(&flow_events, sizeof(*r), 0);
	if (!r) {
		count_segments(counts->lost, type, segments);
		lose_event(t, WEBB_EVENT_RETRANSMIT_SYN + type);
		return 0;
	}
	fill_socket(r, sk);
	r->version = WEBB_ABI_VERSION;
	r->kind = WEBB_KIND_EVENT;
	r->length = sizeof(*r);
	r->ifindex = ifindex;
	r->time_ns = now;
	r->source_port = sk->skc_num;
	r->destination_port = bpf_ntohs(sk->skc_dport);
	r->protocol = PROTOCOL_TCP;
	r->tcp_flags = r->icmp_type = r->icmp_code = 0;
	r->flags = flags_of(type, r->source_port, r->destination_port);
	r->hook = of_node ? WEBB_HOOK_TO_NETWORK : WEBB_HOOK_FROM_POD;
	r->event = WEBB_EVENT_RETRANSMIT_SYN + type;
	r->packets = 0;
	r->bytes = 0;
	r->reason = 0;
	r->value = segments;
	count_segments(counts->sent, type, segments);
	__sync_fetch_and_add(&t->records, 1);
	bpf_ringbuf_submit(r, wakeup(&flow_events, flow_ring_bytes, t->records));
	return 0;
}

/* Later kernels see attempts that fail here too, with an error as the third argument. */
static __always_inline int has_failed(__u64 *arguments)
{
	return bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) && (int)arguments[2];
}

SEC("tp_btf/tcp_retransmit_skb")
int webb_retransmit(__u64 *arguments)
{
	const struct sock *sk = (const struct sock *)arguments[0];
	const struct sk_buff *skb = (const struct sk_buff *)arguments[1];
	const struct tcp_skb_cb *cb = (const struct tcp_skb_cb *)skb->cb;
	__u8 state = sk->__sk_common.skc_state;
	__u16 segments = 0;

	if (has_failed(arguments))
		return 0;
	bpf_probe_read_kernel(&segments, sizeof(segments), &cb->tcp_gso_segs);
	return retransmitted(&sk->__sk_common,
			     state == STATE_SYN_SENT     ? RETRANSMIT_SYN :
			     state == STATE_SYN_RECEIVED ? RETRANSMIT_SYN_ACK :
							   RETRANSMIT_DATA,
			     segments);
}

SEC("tp_btf/tcp_retransmit_synack")
int webb_retransmit_synack(__u64 *arguments)
{
	const struct request_sock *request = (const struct request_sock *)arguments[1];

	return retransmitted(&request->__req_common, RETRANSMIT_SYN_ACK, 1);
}

#endif
