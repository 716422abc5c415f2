/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writing records to a ring, and waking its reader no more often than is useful. */
#ifndef WEBB_RECORD_H
#define WEBB_RECORD_H

#include "abi.h"
#include "parse.h"

/* Never read: it puts the struct into the object's BTF, where tests/abi_btf.rs compares it. */
struct webb_record *const volatile webb_record_type = 0;

/* Number of records that a CPU writes between two checks of the ring's fill; a power of two. */
#define LOOK_EVERY 32

/*
 * The reader looks into the ring every 20 ms by itself. It is woken only when a quarter of the ring is filled, and a
 * CPU looks only at each 32nd of its records (`written`): asking costs as much as a third of writing.
 * The reader has not caught up then, so the kernel's own adaptive wake-up would stay silent: it is forced.
 */
static __always_inline __u64 wakeup(void *ring, __u64 ring_bytes, __u64 written)
{
	if (likely(written & (LOOK_EVERY - 1)))
		return BPF_RB_NO_WAKEUP;
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > ring_bytes / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Fills all of `r` but the hook, the deltas, the reason and the event. */
static __always_inline void fill(struct webb_record *r, __u8 kind, __u64 time_ns, __u32 ifindex, const struct packet *p)
{
	__u64 *address = (__u64 *)r->source;

	r->version = WEBB_ABI_VERSION;
	r->kind = kind;
	r->length = sizeof(*r);
	r->ifindex = ifindex;
	r->time_ns = time_ns;
	address[0] = p->source_hi;
	address[1] = p->source_lo;
	address[2] = p->destination_hi;
	address[3] = p->destination_lo;
	if (p->protocol == PROTOCOL_ICMP || p->protocol == PROTOCOL_ICMPV6) {
		r->source_port = r->destination_port = 0;
	} else {
		r->source_port = p->source_port;
		r->destination_port = p->destination_port;
	}
	r->family = p->family;
	r->protocol = p->protocol;
	r->tcp_flags = p->tcp_flags;
	r->flags = p->flags;
	r->icmp_type = p->icmp_type;
	r->icmp_code = p->icmp_code;
	r->event = 0;
	r->reason = 0;
	r->value = 0;
}

#endif
