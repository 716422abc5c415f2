/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Interfaces with something special about them: ports of a bridge, and those where others handle a packet behind our
 * program. User space finds them and gives them programs of their own, so that all other interfaces pay nothing.
 *
 * A bridge that does not know where a MAC is sends the frame to all its ports. Such a frame is no pod's traffic but
 * its addressee's, and is counted as flooded elsewhere. Multicast frames are for every port.
 *
 * Which MACs a port has: that of the pod's own interface, which user space asks for, and those that the pod sends from.
 * The second is a claim, and a pod may send from another's MAC. So a claim on the MAC of another port's interface is
 * none; one that two ports make proves neither; and one that is not renewed expires, as in the bridge itself.
 */
#ifndef WEBB_PORT_H
#define WEBB_PORT_H

#include "abi.h"
#include "parse.h"
#include "table.h"

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

/* Lifetime of a claim that is not renewed, in ticks: 5 min, as of a MAC in a bridge's table. */
const volatile __u32 claim_life = 75000;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct webb_claimed);
	__type(value, struct webb_claim);
} claims SEC(".maps");

static __always_inline int is_fresh(__u32 then, __u32 now)
{
	return ticks_since(now, then) < claim_life;
}

/* One more MAC is claimed. False if those are too many. */
static __always_inline int may_claim(struct webb_port *port, __u32 now)
{
	if (!is_fresh(port->window, now)) {
		port->window = now;
		port->learned = 0;
	}
	if (port->learned <= WEBB_PORT_MACS)
		port->learned++;
	return port->learned <= WEBB_PORT_MACS;
}

/* A pod has sent from a MAC. What is known of that already is looked at anew now and then. */
static __always_inline void learn_mac(struct webb_port *port, __u32 ifindex, __u64 mac)
{
	struct webb_claimed key = { .mac = mac, .bridge = port->bridge };
	__u32 now = tick_now(), own = mac == port->own;
	struct webb_claim claimed = { .ifindex = ifindex, .own = own, .renewed = now, .contested = now - claim_life };
	struct webb_claim *claim;

	if (mac & MAC_OF_MANY || !mac)
		return;
	if (likely(mac == port->last && ticks_since(now, port->renewed) < claim_life / 8))
		return;
	port->last = mac;
	port->renewed = now;
	claim = bpf_map_lookup_elem(&claims, &key);
	if (!claim) {
		if (own || may_claim(port, now))
			bpf_map_update_elem(&claims, &key, &claimed, BPF_NOEXIST);
	} else if (claim->ifindex == ifindex) {
		claim->renewed = now;
	} else if (own || (!claim->own && !is_fresh(claim->renewed, now))) {
		*claim = claimed;
	} else {
		claim->contested = now;
	}
}

/* True if the MACs of the pod are known. */
static __always_inline int is_known(const struct webb_port *port, __u32 now)
{
	if (port->learned > WEBB_PORT_MACS && is_fresh(port->window, now))
		return 0;
	return port->own || (port->last && is_fresh(port->renewed, now));
}

/* True for a frame that reaches the pod only because its bridge does not know better. */
static __always_inline int is_flooded(const struct webb_port *port, __u32 ifindex, __u64 mac)
{
	struct webb_claimed key = { .mac = mac, .bridge = port->bridge };
	struct webb_claim *claim;
	__u32 now;

	if (!(port->flags & WEBB_PORT_BRIDGED) || mac & MAC_OF_MANY || mac == port->own)
		return 0;
	now = tick_now();
	claim = bpf_map_lookup_elem(&claims, &key);
	if (!claim || !(claim->own || is_fresh(claim->renewed, now)))
		return is_known(port, now);
	return claim->ifindex != ifindex || is_fresh(claim->contested, now);
}

#endif
