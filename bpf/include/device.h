/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets as a device sends them, for interfaces where others can still drop, hold back, change or split a packet
 * after our egress program has seen it: programs behind ours, and queues. There the count is taken as the last thing
 * before the pod, and what does not get there is neither traffic nor forwarded.
 *
 * The kernel shows a packet just before it is handed to the driver, and the driver's answer just after, when the packet
 * belongs to another owner already. So its headers are copied at the first point and counted at the second. Both run
 * on one CPU with softirqs disabled and nothing of ours in between, so a note for each CPU is enough.
 *
 * Both points are passed by every packet of the machine, so they are attached only while such an interface exists.
 */
#ifndef WEBB_DEVICE_H
#define WEBB_DEVICE_H

#include "kernel.h"
#include "port.h"

const volatile __u32 host_netns = 0; /* inode of the agent's network namespace */

/* The driver's answers that mean that the packet is on its way; all others mean dropped, or that it comes again. */
#define NETDEV_TX_OK 0
#define NET_XMIT_CN 2

struct sending {
	__u64 skb; /* address of the packet; 0: none */
	__u32 length;
	__u32 copied;
	__u8 bytes[COPIED];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sending);
} sending SEC(".maps");

SEC("tp_btf/net_dev_start_xmit")
int webb_sending(__u64 *arguments)
{
	const struct sk_buff *skb = (const struct sk_buff *)arguments[0];
	const struct net_device *device = (const struct net_device *)arguments[1];
	__u32 zero = 0, ifindex, copied;
	struct sending *note;
	struct webb_port *port;

	if (device->nd_net.net->ns.inum != host_netns)
		return 0;
	ifindex = device->ifindex;
	port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port || !(port->flags & WEBB_PORT_AT_DEVICE))
		return 0;
	note = bpf_map_lookup_elem(&sending, &zero);
	if (!note)
		return 0;
	note->length = skb->len;
	copied = skb->len - skb->data_len;
	if (copied > COPIED)
		copied = COPIED;
	/* The check again, for the register that is passed: older verifiers do not track that two are equal. */
	barrier_var(copied);
	if (copied > COPIED)
		return 0;
	if (bpf_probe_read_kernel(note->bytes, copied, skb->data))
		copied = 0;
	note->copied = copied;
	note->skb = (__u64)skb;
	return 0;
}

/* Reads the packet of the note. Returns the reason for which it cannot be parsed, or 0. */
__noinline int read_copy(struct sighting *s)
{
	struct cursor c = { .is_copy = 1 };
	struct webb_totals *t;
	struct sending *note;
	__u32 zero = 0;
	int why;

	if (!s)
		return 0;
	note = bpf_map_lookup_elem(&sending, &zero);
	t = totals_of(s->hook);
	if (!note || !t)
		return 0;
	c.data = note->bytes;
	c.copied = note->copied;
	why = parse_ethernet(&c, s->bytes, &s->packet);
	if (!why)
		identify(s, t, every_packet);
	return why;
}

SEC("tp_btf/net_dev_xmit")
int webb_sent(__u64 *arguments)
{
	const struct net_device *device = (const struct net_device *)arguments[2];
	__u32 zero = 0, answer = arguments[1], ifindex;
	struct webb_totals *t;
	struct sending *note;
	struct webb_port *port;
	struct sighting s;
	int why;

	note = bpf_map_lookup_elem(&sending, &zero);
	if (!note || !note->skb || note->skb != arguments[0])
		return 0;
	note->skb = 0;
	if (answer != NETDEV_TX_OK && answer != NET_XMIT_CN)
		return 0;
	__builtin_memset(&s, 0, sizeof(s));
	s.hook = WEBB_HOOK_TO_POD;
	s.bytes = note->length;
	s.tick = tick_now();
	t = totals_of(WEBB_HOOK_TO_POD);
	if (!t)
		return 0;
	ifindex = device->ifindex;
	s.ifindex = ifindex;
	port = bpf_map_lookup_elem(&ports, &ifindex);
	t->seen_packets++;
	t->seen_bytes += s.bytes;
	if (port && is_flooded(port, ifindex, mac_number(note->bytes))) {
		t->flooded_packets++;
		t->flooded_bytes += s.bytes;
		return 0;
	}
	why = read_copy(&s);
	if (why) {
		unparsed(t, &s, why);
		return 0;
	}
	count_odd(t, &s.packet);
	if (!count_quietly(t, &s))
		count_with_care(&s);
#ifdef WEBB_QUALITY
	if (s.look)
		look_at_sample(&s);
#endif
	return 0;
}

#endif
