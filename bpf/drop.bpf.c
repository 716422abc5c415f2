// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Watches the packets that the kernel drops, with its reason (skb:kfree_skb, from 5.17 on). Each drop in the agent's
 * network namespace is one record; over a budget per CPU and second it is counted as suppressed, by its reason,
 * so that a flood of drops neither fills the ring nor costs the CPU that is under attack. The last quarter of the budget
 * is for interfaces that have not used their share of it, so one that floods does not hide the drops of others.
 *
 * Drops inside a pod's own namespace are the pod's business and not seen. Nor is a drop that interrupts another on
 * the same CPU: the kernel skips the nested run, and counts it among the program's recursion misses.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "include/abi.h"
#include "include/kernel.h"

#define COPIED 256 /* bytes from the network header on; the last 64 are never a header's first */

struct cursor {
	const __u8 *data;
	__u32 length;
};

static __attribute__((always_inline)) inline const void *header(const struct cursor *c, __u32 offset, __u32 size)
{
	/* The checked register must be the added one: older verifiers do not track that two are equal. */
	barrier_var(offset);
	if (offset > COPIED - 64 || offset + size > c->length)
		return 0;
	return c->data + offset;
}

static __attribute__((always_inline)) inline int any_length(const struct cursor *c)
{
	return 1;
}

#define WEBB_SEQUENCE
#include "include/parse.h"
#include "include/record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 host_netns = 0;            /* inode of the agent's network namespace */
const volatile __u32 drop_budget = 10000;       /* records per second and CPU */
const volatile __u64 drop_ring_bytes = 1 << 20; /* must be the size of drop_events */

/* Reasons, a bit each, that mean dropped on the way out of an interface behind its egress hook. */
const volatile __u64 stopped_reasons[4] = {};

#define REASON_NOT_DROPPED 0
#define REASON_CONSUMED 1

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} drop_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct webb_totals);
} drop_totals SEC(".maps");

/* Interfaces with packets counted when the device sends them: the only ones where `stopped` has a meaning. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} at_device SEC(".maps");

struct scratch {
	__u64 second; /* the budget's */
	__u64 used;
	__u64 active;     /* interfaces with drops in this second */
	__u64 was_active; /* in the one before */
	__u8 bytes[COPIED];
};

#define SHARES 256 /* a power of two; interfaces beyond it share with one another */

struct drop_share {
	__u64 second; /* in which `used` was used */
	__u64 used;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHARES);
	__type(key, __u32);
	__type(value, struct drop_share);
} drop_shares SEC(".maps");

/* Suppressed drops by reason; the last row is for all reasons from there on, the subsystems' reasons. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEBB_SUPPRESSED_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} suppressed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} drop_scratch SEC(".maps");

/*
 * Pointers are followed as they are: in a program of this type the verifier knows their types, and a read through one
 * that is null or stale gives 0. (A packet that waits in a UDP socket has something else in the place of `dev`.)
 */
static __always_inline int is_ours(const struct sk_buff *skb, __u32 *ifindex)
{
	const struct net_device *device = skb->dev;
	const struct sock *sk;

	*ifindex = 0;
	if (device && device->nd_net.net->ns.inum == host_netns) {
		*ifindex = device->ifindex;
		return !(device->flags & IFF_LOOPBACK);
	}
	sk = skb->sk;
	return !device && sk && sk->__sk_common.skc_net.net->ns.inum == host_netns;
}

static __always_inline int parse_dropped(const struct sk_buff *skb, struct scratch *scratch, struct packet *p)
{
	const unsigned char *head = skb->head;
	__u32 start = skb->network_header, tail = skb->tail, length;
	struct cursor c = { .data = scratch->bytes };

	if (!start || start == 0xffff || start >= tail)
		return UNPARSED(NO_HEADER);
	length = tail - start;
	if (length > COPIED)
		length = COPIED;
	/* The check again, for the register that is passed: see header(). */
	barrier_var(length);
	if (length > COPIED)
		return UNPARSED(NO_HEADER);
	c.length = length;
	if (bpf_probe_read_kernel(scratch->bytes, length, head + start))
		return UNPARSED(NO_HEADER);
	return parse_network(&c, 0, tail - start + skb->data_len, skb->protocol, p);
}

/* The frame as far as it is known: what `len` counts, and the headers before it that were stripped on the way. */
static __always_inline __u32 frame_bytes(const struct sk_buff *skb)
{
	__u32 length = skb->len, mac = skb->mac_header;
	__u32 network = skb->network_header;
	__u64 at = skb->data - skb->head;

	if (mac != 0xffff && mac < at)
		return length + (at - mac);
	return network && network != 0xffff && network < at ? length + (at - network) : length;
}

/* True for a packet that our egress program has seen and the device has not sent. */
static __always_inline int is_stopped(__u32 reason, __u32 ifindex)
{
	__u32 word = reason >> 6;

	if (word > 3)
		return 0;
	/* Older verifiers need to see the mask that the compiler finds superfluous. */
	barrier_var(word);
	if (!(stopped_reasons[word & 3] >> (reason & 63) & 1))
		return 0;
	return bpf_map_lookup_elem(&at_device, &ifindex) != 0;
}

static __always_inline int within_budget(struct scratch *scratch, __u32 ifindex, __u64 now)
{
	__u32 number = ifindex & (SHARES - 1), last = drop_budget / 4;
	struct drop_share *share = bpf_map_lookup_elem(&drop_shares, &number);
	__u64 second = now / 1000000000, active;

	if (!share)
		return 0;
	if (scratch->second != second) {
		scratch->was_active = scratch->second + 1 == second ? scratch->active : 0;
		scratch->second = second;
		scratch->used = scratch->active = 0;
	}
	if (share->second != second) {
		share->second = second;
		share->used = 0;
		scratch->active++;
	}
	if (scratch->used >= drop_budget)
		return 0;
	active = scratch->active > scratch->was_active ? scratch->active : scratch->was_active;
	if (scratch->used >= drop_budget - last && active && share->used > last / active)
		return 0;
	scratch->used++;
	share->used++;
	return 1;
}

/* Counts a drop over the budget. */
static __always_inline void suppress(struct webb_totals *t, __u32 reason, __u32 bytes)
{
	__u32 row = reason < WEBB_SUPPRESSED_REASONS ? reason : WEBB_SUPPRESSED_REASONS - 1;
	__u64 *count = bpf_map_lookup_elem(&suppressed, &row);

	t->suppressed_packets++;
	t->suppressed_bytes += bytes;
	if (count)
		(*count)++;
}

SEC("tp_btf/kfree_skb")
int webb_drop(__u64 *arguments)
{
	const struct sk_buff *skb = (const struct sk_buff *)arguments[0];
	__u32 reason = arguments[2], zero = 0, ifindex, bytes;
	struct webb_record *r;
	struct webb_totals *t;
	struct scratch *scratch;
	struct packet p;
	__u64 now;
	int why;

	if (reason == REASON_NOT_DROPPED || reason == REASON_CONSUMED || !is_ours(skb, &ifindex))
		return 0;
	t = bpf_map_lookup_elem(&drop_totals, &zero);
	scratch = bpf_map_lookup_elem(&drop_scratch, &zero);
	if (!t || !scratch)
		return 0;
	bytes = frame_bytes(skb);
	t->seen_packets++;
	t->seen_bytes += bytes;
	if (is_stopped(reason, ifindex)) {
		t->stopped_packets++;
		t->stopped_bytes += bytes;
	}

	now = bpf_ktime_get_ns();
	if (!within_budget(scratch, ifindex, now)) {
		suppress(t, reason, bytes);
		return 0;
	}
	p.sequence = 0;
	why = parse_dropped(skb, scratch, &p);
	if (why) {
		why = (why - 1) & (WEBB_UNPARSED_REASONS - 1);
		t->unparsed_packets[why]++;
		t->unparsed_bytes[why] += bytes;
		return 0;
	}
	r = bpf_ringbuf_reserve(&drop_events, sizeof(*r), 0);
	if (!r) {
		t->lost_records++;
		t->lost_packets++;
		t->lost_bytes += bytes;
		return 0;
	}
	fill(r, WEBB_KIND_DROP, now, ifindex, &p);
	r->hook = WEBB_HOOK_DROP;
	r->packets = 1;
	r->bytes = bytes;
	r->reason = reason;
	r->value = p.protocol == PROTOCOL_TCP ? bpf_ntohl(p.sequence) : 0;
	t->reported_packets++;
	t->reported_bytes += bytes;
	t->records++;
	bpf_ringbuf_submit(r, wakeup(&drop_events, drop_ring_bytes, t->records));
	return 0;
}
