/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interface of the agent's network namespace that leads to another namespace: the other end of a pair, veth or netkit.
 * Both kinds of device keep the address of their other end first in the part of the device that is their own.
 */
#ifndef WEBB_PAIR_H
#define WEBB_PAIR_H

#include <bpf/bpf_core_read.h>

#include "device.h"

#define NAMESPACE_DEVICES 8 /* of a namespace that are looked at: lo is one, and a kernel may add some for tunnels */
#define DEVICE_ALIGNMENT 32 /* of a device's own part behind struct net_device */

#define KIND_VETH 0x68746576ULL       /* "veth", the first byte lowest */
#define KIND_NETKIT 0x74696b74656eULL /* "netkit" */

static __always_inline __u64 pointer_at(__u64 address)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (const void *)address);
	return value;
}

/* True if the device is one end of a pair. */
static __always_inline int is_paired(const struct net_device *device)
{
	const struct rtnl_link_ops *ops = BPF_CORE_READ(device, rtnl_link_ops);
	__u64 kind = 0;

	if (!ops)
		return 0;
	bpf_probe_read_kernel_str(&kind, sizeof(kind), BPF_CORE_READ(ops, kind));
	return kind == KIND_VETH || kind == KIND_NETKIT;
}

/* Index of an interface in the agent's namespace whose other end is in this one; 0 if there is none. */
__noinline int other_end_of(__u64 net)
{
	const __u64 own = (bpf_core_type_size(struct net_device) + DEVICE_ALIGNMENT - 1) & -DEVICE_ALIGNMENT;
	const __u64 head = net + bpf_core_field_offset(struct net, dev_base_head);
	__u64 at = head;
	__u32 i;

	for (i = 0; i < NAMESPACE_DEVICES; i++) {
		const struct net_device *device, *other;

		at = pointer_at(at);
		if (!at || at == head)
			break;
		device = (const void *)(at - bpf_core_field_offset(struct net_device, dev_list));
		if (!is_paired(device))
			continue;
		other = (const void *)pointer_at((__u64)device + own);
		if (other && BPF_CORE_READ(other, nd_net.net, ns.inum) == host_netns)
			return BPF_CORE_READ(other, ifindex);
	}
	return 0;
}

#endif
