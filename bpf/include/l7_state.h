/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * State of layer 7 for a connection, and its initialisation. Compiled without WEBB_L7 nothing of it is left.
 *
 * struct note's `l7` is the state. `l7_notes` and struct details' `l7_next[sender]` mean:
 *
 *     state     l7_notes                                        l7_next[sender]
 *     NONE      -                                               -
 *     LOOKING   payloads that are looked at before giving up    sequence of the stream's first byte; 0: not known
 *     HTTP1     two nibbles by sender: what continuations       where the continuation begins; as above while none is
 *               may still cost                                  wanted and no record was sent
 *     HTTP2     two nibbles by sender: L7_KNOWN, L7_CAPTURE      where the next frame begins
 *     DNS_TCP   0, or 1 by sender once a record was sent        bytes of payload so far
 *
 * They are written without atomics: two CPUs on both directions of a connection at once may lose one another's nibble.
 * That costs a continuation or a resynchronisation, and no count. DNS over UDP has no state.
 */
#ifndef WEBB_L7_STATE_H
#define WEBB_L7_STATE_H

#include "sighting.h"

#define L7_NONE 0
#define L7_LOOKING 1
#define L7_HTTP1 WEBB_MESSAGE_HTTP1
#define L7_HTTP2 WEBB_MESSAGE_HTTP2
#define L7_DNS WEBB_MESSAGE_DNS
#define L7_DNS_TCP WEBB_MESSAGE_DNS_TCP

#ifdef WEBB_L7

#define L7_LOOKS 4             /* payloads that are searched for a connection's protocol */
#define L7_LOOKS_MIDWAY 255    /* the same of one that was picked up midway */
#define L7_PORTS 8

/* Settings; user space writes them before the program is loaded. Unused places are 0. */
const volatile __u16 l7_dns_ports[L7_PORTS] = { 53 };
const volatile __u16 l7_http_ports[L7_PORTS] = {}; /* of servers; the first is 0: all */
const volatile __u16 l7_http_ignored[L7_PORTS] = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} l7_switch SEC(".maps");

static __always_inline __u32 l7_wanted(void)
{
	__u32 zero = 0, *wanted = bpf_map_lookup_elem(&l7_switch, &zero);

	return wanted ? *wanted : 0;
}

static __always_inline int is_port_of(const volatile __u16 *ports, __u16 port)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < L7_PORTS; i++)
		if (port && ports[i] == port)
			return 1;
	return 0;
}

/* True if the pod behind the interface has opened the connection. */
static __always_inline int pod_opened(const struct sighting *s, __u32 seen)
{
	int by_sender = !!(seen & SEEN_OPENER_B) == s->sender;

	return by_sender == (s->hook == WEBB_HOOK_FROM_POD);
}

/* The state in which a packet's connection begins. */
static __always_inline __u8 l7_initial(const struct sighting *s, __u32 seen)
{
	const struct packet *p = &s->packet;
	int by_sender = !!(seen & SEEN_OPENER_B) == s->sender, guessed = !!(seen & SEEN_GUESSED), opened;
	__u16 server = by_sender ? p->destination_port : p->source_port;
	__u32 wanted = l7_wanted();

	if (s->hook > WEBB_HOOK_TO_POD || p->flags & WEBB_FLAG_NO_L4)
		return L7_NONE;
	if (p->protocol == PROTOCOL_UDP)
		return is_port_of(l7_dns_ports, p->source_port) || is_port_of(l7_dns_ports, p->destination_port) ? L7_DNS :
														  L7_NONE;
	if (p->protocol != PROTOCOL_TCP)
		return L7_NONE;
	/* A side that is not wanted costs nothing later. Nothing is wanted until user space has said what: then all is kept. */
	opened = pod_opened(s, seen);
	if (is_port_of(l7_dns_ports, p->source_port) || is_port_of(l7_dns_ports, p->destination_port)) {
		wanted &= WEBB_L7_DNS_CLIENT | WEBB_L7_DNS_SERVER;
		if (wanted && !guessed && !(wanted & (opened ? WEBB_L7_DNS_CLIENT : WEBB_L7_DNS_SERVER)))
			return L7_NONE;
		return L7_DNS_TCP;
	}
	if (l7_http_ports[0] && !is_port_of(l7_http_ports, server))
		return L7_NONE;
	if (is_port_of(l7_http_ignored, server))
		return L7_NONE;
	wanted &= WEBB_L7_HTTP_CLIENT | WEBB_L7_HTTP_SERVER;
	if (wanted && !guessed && !(wanted & (opened ? WEBB_L7_HTTP_CLIENT : WEBB_L7_HTTP_SERVER)))
		return L7_NONE;
	return L7_LOOKING;
}

__noinline int l7_begins(struct sighting *s, __u32 seen)
{
	return s ? l7_initial(s, seen) : L7_NONE;
}

/* The bits of `seen` of a connection that begins, for us, with this packet. */
static __always_inline __u32 l7_seen(const struct sighting *s, __u32 seen)
{
	return l7_begins((struct sighting *)s, seen) ? seen | SEEN_L7 : seen;
}

/* Initialises the note of an entry; its details are new. */
static __always_inline void l7_note(const struct sighting *s, struct note *note, __u32 seen)
{
	note->l7 = seen & SEEN_L7 ? l7_begins((struct sighting *)s, seen) : L7_NONE;
	note->l7_notes = note->l7 == L7_LOOKING ? (seen & SEEN_GUESSED ? L7_LOOKS_MIDWAY : L7_LOOKS) : 0;
}

/* Resets the note of an entry with a new connection on the same ports. */
static __always_inline void l7_anew(const struct sighting *s, struct note *note, __u32 place, __u32 seen)
{
	struct details *d = details_at(place);

	l7_note(s, note, seen);
	if (d)
		d->l7_next[0] = d->l7_next[1] = 0;
}

#else

#define l7_seen(s, seen) (seen)
#define l7_note(s, note, seen)
#define l7_anew(s, note, place, seen)

#endif
#endif
