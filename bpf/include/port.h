/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Interfaces with something special about them: ports of a bridge, and those where others handle a packet behind our
 * program. User space finds them and gives them programs of their own, so that all other interfaces pay nothing.
 *
 * A bridge that does not know where a MAC is sends the frame to all its ports. Such a frame is nobody's traffic but
 * its addressee's. So the MACs of each pod are learned from what it sends (user space adds that of its own interface);
 * a frame for one other MAC is counted as flooded. Frames for many are for everybody.
 */
#ifndef WEBB_PORT_H
#define WEBB_PORT_H

#include "abi.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct webb_port);
} ports SEC(".maps");

/* A MAC as a number, its first wire byte lowest. In words of 2 bytes, which is how a packet is aligned for sure. */
static __always_inline __u64 mac_number(const __u8 *mac)
{
	const __u16 *word = (const __u16 *)mac;

	return (__u64)word[0] | (__u64)word[1] << 16 | (__u64)word[2] << 32;
}

#define MAC_OF_MANY 1 /* multicast and broadcast */

static __always_inline void learn_mac(struct webb_port *port, __u64 mac)
{
	__u64 known;
	__u32 i;

	if (mac & MAC_OF_MANY || !mac)
		return;
#pragma unroll
	for (i = 0; i < WEBB_PORT_MACS; i++) {
		known = *(volatile __u64 *)&port->macs[i];
		if (known == mac)
			return;
		if (known)
			continue;
		known = __sync_val_compare_and_swap(&port->macs[i], 0, mac);
		if (!known || known == mac)
			return;
	}
	if (!(port->flags & WEBB_PORT_MANY))
		port->flags |= WEBB_PORT_MANY;
}

/* True for a frame that reaches the pod only because its bridge does not know better. */
static __always_inline int is_flooded(const struct webb_port *port, __u64 mac)
{
	__u32 i;

	if (!(port->flags & WEBB_PORT_BRIDGED) || port->flags & WEBB_PORT_MANY || mac & MAC_OF_MANY || !port->macs[0])
		return 0;
#pragma unroll
	for (i = 0; i < WEBB_PORT_MACS; i++)
		if (port->macs[i] == mac)
			return 0;
	return 1;
}

#endif
