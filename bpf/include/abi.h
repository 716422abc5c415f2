/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The only structs that the eBPF programs and the Rust side (crates/flow/src/abi.rs) share. Padding is explicit, every size and
 * offset that Rust relies on is asserted here and there, and a test compares both with the object's BTF.
 * Raise WEBB_ABI_VERSION with any change.
 */
#ifndef WEBB_ABI_H
#define WEBB_ABI_H

#define WEBB_ABI_VERSION 6

/* Hook that a packet was seen at. The order is that of the rows of the totals maps. */
enum webb_hook {
	WEBB_HOOK_FROM_POD = 0,     /* host side of a pod's veth, ingress: Hubble's to-stack */
	WEBB_HOOK_TO_POD = 1,       /* host side of a pod's veth, egress: Hubble's to-endpoint */
	WEBB_HOOK_FROM_NETWORK = 2, /* a node's own device, ingress */
	WEBB_HOOK_TO_NETWORK = 3,   /* a node's own device, egress */
	WEBB_HOOK_DROP = 4,         /* skb:kfree_skb */
	WEBB_HOOKS = 5,
};

/* Reason for which a record was written. */
enum webb_kind {
	WEBB_KIND_NEW = 1,      /* first packet of a connection */
	WEBB_KIND_FLAGS = 2,    /* a TCP flag (or SCTP control chunk) seen for the first time in this direction */
	WEBB_KIND_INTERVAL = 3, /* report_interval has passed since the last record of this direction */
	WEBB_KIND_PACKET = 4,   /* aggregation none, or a packet that is always reported (ICMP) */
	WEBB_KIND_FLUSH = 5,    /* deltas without an event: sweep, close, shutdown, frames that are not IP */
	WEBB_KIND_DROP = 6,     /* the kernel dropped the packet for `reason` */
	WEBB_KIND_EVENT = 7,    /* an event alone; deltas may ride on it */
};

/*
 * Events of a TCP connection, where connection quality is compiled in (WEBB_QUALITY). They ride on the record of the packet
 * that causes them; where there is none, or it has an event already, on a record of WEBB_KIND_EVENT. Each comes once for a
 * connection and interface, but for samples, retransmissions, windows and listings.
 */
enum webb_event {
	WEBB_EVENT_NONE = 0,
	/* An attempt's outcome. */
	WEBB_EVENT_ACCEPTED = 1,    /* SYN-ACK. value: us since the first SYN; WEBB_VALUE_RESENT: the SYN was sent again */
	WEBB_EVENT_REFUSED = 2,     /* RST of the acceptor, which had not accepted */
	WEBB_EVENT_TIMED_OUT = 3,   /* its entry ended without an answer; record of the opener's lane */
	WEBB_EVENT_UNREACHABLE = 4, /* an ICMP error quotes the SYN; record of the opener's lane. value: ICMP code */
	WEBB_EVENT_DROPPED = 5,     /* not written by the kernel: user space finds the drop's record */
	/* The end of an accepted connection. value: ms since the first SYN, or WEBB_VALUE_UNKNOWN */
	WEBB_EVENT_CLOSED = 6,      /* FIN of both sides */
	WEBB_EVENT_RESET_BY_OPENER = 7,
	WEBB_EVENT_RESET_BY_ACCEPTOR = 8,
	WEBB_EVENT_IDLE = 9,        /* the sweep removed its entry */
	WEBB_EVENT_INTERRUPTED = 10, /* its entry was needed for another connection */
	WEBB_EVENT_SAMPLE = 11,     /* value: us from a segment to its acknowledgement; source: the local sender */
	/* From the socket of a local sender, `ifindex` 0. value: segments */
	WEBB_EVENT_RETRANSMIT_SYN = 12,
	WEBB_EVENT_RETRANSMIT_SYN_ACK = 13,
	WEBB_EVENT_RETRANSMIT_DATA = 14,
	WEBB_EVENT_ZERO_WINDOW = 15, /* the record's sender closed its receive window */
	WEBB_EVENT_OPEN = 16,       /* an open connection, listed by a sweep. value: as at the end */
	WEBB_EVENTS = 17,
};

#define WEBB_VALUE_RESENT 0x80000000U
#define WEBB_VALUE_UNKNOWN 0xffffffffU

/* Bits of webb_record.flags. */
#define WEBB_FLAG_REPLY 0x01    /* sent by the side that did not start the connection */
#define WEBB_FLAG_EGRESS 0x02   /* the pod (or node) behind this interface started the connection */
#define WEBB_FLAG_FRAGMENT 0x04 /* a fragment of an IP packet: no layer 4 */
#define WEBB_FLAG_NO_L4 0x08    /* no layer 4 that we read: fragment, ESP, GRE, not IP */
#define WEBB_FLAG_GUESSED 0x10  /* picked up midway: the opener was guessed from the ports */
#define WEBB_FLAG_ONE_SIDED 0x20 /* the pod acknowledges, and nothing was seen to reach it by this interface */

/* Reason for which a packet could not be parsed; the index into webb_totals.unparsed_*. */
enum webb_unparsed {
	WEBB_UNPARSED_TRUNCATED_L2 = 0,
	WEBB_UNPARSED_TRUNCATED_L3 = 1,
	WEBB_UNPARSED_TRUNCATED_L4 = 2,
	WEBB_UNPARSED_BAD_IP_HEADER = 3,  /* version, header length or total length lies */
	WEBB_UNPARSED_BAD_L4_HEADER = 4,  /* TCP data offset lies */
	WEBB_UNPARSED_EXTENSION_DEPTH = 5, /* more IPv6 extension headers than we follow */
	WEBB_UNPARSED_VLAN_DEPTH = 6,      /* more VLAN tags than we follow */
	WEBB_UNPARSED_NO_HEADER = 7,       /* a dropped skb without a network header */
	WEBB_UNPARSED_REASONS = 8,
};

/* One observation in a ring. 80 bytes, host byte order but for the addresses. */
struct webb_record {
	__u8 version;        /* WEBB_ABI_VERSION */
	__u8 kind;           /* enum webb_kind */
	__u16 length;        /* sizeof(struct webb_record) */
	__u32 ifindex;       /* interface it was seen on; 0 when unknown */
	__u64 time_ns;       /* CLOCK_MONOTONIC, to two ticks of the kernel, never ahead of it */
	__u8 source[16];     /* IPv4 as ::ffff:a.b.c.d; all zero when not IP */
	__u8 destination[16];
	__u16 source_port;   /* 0 without ports */
	__u16 destination_port;
	__u8 family;         /* 4, 6, or 0 when not IP */
	__u8 protocol;       /* IP protocol number */
	__u8 tcp_flags;      /* of this packet: FIN SYN RST PSH ACK URG ECE CWR from bit 0 */
	__u8 flags;          /* WEBB_FLAG_* */
	__u8 hook;           /* enum webb_hook */
	__u8 icmp_type;      /* ICMP type; first chunk type for SCTP */
	__u8 icmp_code;
	__u8 event;          /* enum webb_event */
	__u32 packets;       /* since the last record of this connection and direction */
	__u64 bytes;
	__u32 reason;        /* WEBB_KIND_DROP: the running kernel's enum skb_drop_reason */
	__u32 value;         /* of the event; WEBB_KIND_DROP of TCP: the packet's sequence number */
};

#define WEBB_SEEDS 5          /* of each of the two sums of the hash (hash.h) */
#define WEBB_ADDRESS_SEEDS 8  /* of each of the two sums over IPv6 addresses */

/*
 * Exact per-CPU totals, one row a hook (map `totals`, PERCPU_ARRAY). All are counts since the map was made, but for the
 * constants, which user space writes before a program is attached. The first eight words are all that a packet of a known
 * connection needs beside its entry in the table.
 */
struct webb_totals {
	__u64 seen_packets;
	__u64 seen_bytes;
	__u64 seeds[WEBB_SEEDS];  /* constants */
	__u32 report_interval;    /* constant; ticks / REPORTED_TICKS */
	__u32 buckets;            /* constant; of the connection table */
	__u64 more_seeds[WEBB_SEEDS]; /* constants */
	__u64 records;            /* records written */
	__u64 reported_packets;   /* carried by records that are in the ring */
	__u64 reported_bytes;
	__u64 ring_is_tight;      /* not 0: the ring was more than three quarters full when last looked at */
	__u64 released_entries;   /* connections without pending counts that made room for another */
	__u64 evicted_entries;    /* connections with pending counts, which were reported first */
	__u64 alone_records;      /* of packets that found no place in the table; among `records` */
	__u64 lost_records;       /* records that found the ring full */
	__u64 lost_packets;       /* found the ring full and no lane to wait in */
	__u64 lost_bytes;
	__u64 untracked_packets;  /* neither the connection table nor the ring had room */
	__u64 untracked_bytes;
	__u64 suppressed_packets; /* drops over the per-CPU budget */
	__u64 suppressed_bytes;
	__u64 flooded_packets;    /* a bridge sent them to all ports, for a MAC that the pod does not have */
	__u64 flooded_bytes;
	__u64 stopped_packets;    /* dropped at the interface itself, behind our program */
	__u64 stopped_bytes;
	__u64 fragments;          /* packets that are a fragment of an IP packet; in other counts as well */
	__u64 mtu_errors;         /* ICMP messages that a packet was too large; the same */
	__u64 address_seeds[2 * WEBB_ADDRESS_SEEDS]; /* constants */
	__u64 unparsed_packets[WEBB_UNPARSED_REASONS];
	__u64 unparsed_bytes[WEBB_UNPARSED_REASONS];
	__u64 lost_events[WEBB_EVENTS]; /* found the ring full, by enum webb_event */
};

#define WEBB_RETRANSMITS 3 /* types of retransmissions: SYN, SYN-ACK, data */

/* Per-CPU totals of retransmitted segments (map `retransmits`, PERCPU_ARRAY of one); seen = sent + suppressed + lost. */
struct webb_retransmits {
	__u64 seen[WEBB_RETRANSMITS];
	__u64 sent[WEBB_RETRANSMITS];       /* carried by records that are in the ring */
	__u64 suppressed[WEBB_RETRANSMITS]; /* over the per-CPU budget */
	__u64 lost[WEBB_RETRANSMITS];       /* found the ring full */
};

#define WEBB_PARTS 4 /* in which the table is swept */

/* Classes of connections: bits of the index into webb_swept.alive and ended. Frames that are not IP are in none. */
#define WEBB_CLASS_TCP 1
#define WEBB_CLASS_IPV6 2
#define WEBB_CLASSES 4

/* Totals of a sweep of a part of the connection table (map `swept`, ARRAY of one). */
struct webb_swept {
	__u64 pending_packets[WEBB_HOOKS]; /* in the table, not yet reported */
	__u64 pending_bytes[WEBB_HOOKS];
	__u64 entries;
	__u64 deleted; /* entries removed by sweeps since start */
	__u64 flushed; /* records written by sweeps since start */
	__u64 alive[WEBB_CLASSES]; /* of `entries`, by class */
	__u64 ended[WEBB_CLASSES]; /* removed by this sweep, by class */
};

#define WEBB_SUPPRESSED_REASONS 256 /* rows of the map `suppressed` */

/* Most new MACs that a port can claim within a claim's lifetime; beyond, unclaimed MACs count as its own. */
#define WEBB_PORT_MACS 4

/* Bits of webb_port.flags. */
#define WEBB_PORT_BRIDGED 0x01   /* a port of a bridge, which may flood */
#define WEBB_PORT_AT_DEVICE 0x02 /* others may drop behind our program: packets count when the device sends them */

/* Special properties of a pod's interface (map `ports`, HASH by interface index). Most interfaces have no entry. */
struct webb_port {
	__u32 flags;
	__u32 bridge;  /* the index of its bridge; claims are made at one bridge */
	__u64 own;     /* the MAC of the pod's own interface, the first wire byte lowest; 0: not known */
	__u64 last;    /* the MAC that the pod sent from last; 0: none yet */
	__u32 renewed; /* tick at which that was noted last */
	__u32 window;  /* tick since which `learned` counts */
	__u32 learned; /* MACs claimed since, beside its own */
	__u32 pad0;
};

/* A MAC at a bridge (map `claims`, LRU_HASH to webb_claim). */
struct webb_claimed {
	__u64 mac;
	__u32 bridge;
	__u32 pad0;
};

/* The port that holds the MAC. */
struct webb_claim {
	__u32 ifindex;
	__u32 own;       /* 1: it is the MAC of the pod's own interface, which user space has read */
	__u32 renewed;   /* tick at which the pod was last seen to send from it */
	__u32 contested; /* tick at which another port was last seen to send from it; long ago if never */
};

/* Types of layer-7 records: `kind` of struct webb_message. */
enum webb_message_kind {
	WEBB_MESSAGE_HTTP1 = 2,   /* a segment of HTTP/1 that looks like a head, or continues one */
	WEBB_MESSAGE_HTTP2 = 3,   /* a frame of HTTP/2, or the continuation of one */
	WEBB_MESSAGE_DNS = 4,     /* a DNS message over UDP */
	WEBB_MESSAGE_DNS_TCP = 5, /* bytes of a DNS connection over TCP */
};

#define WEBB_MESSAGE_PROTOCOLS 4 /* of them; rows of the totals begin with HTTP/1 */

/* Bits of webb_message.flags. */
#define WEBB_MESSAGE_CONTINUES 0x01 /* the bytes follow those of the sender's record before */
#define WEBB_MESSAGE_CUT 0x02       /* the segment has more bytes than were captured */
#define WEBB_MESSAGE_FIRST 0x04     /* the connection's first record */
#define WEBB_MESSAGE_GAP 0x08       /* bytes before these were not seen */

/* The header of a layer-7 record; `captured` bytes of payload follow. Host byte order but for the addresses. */
struct webb_message {
	__u8 version;  /* WEBB_ABI_VERSION */
	__u8 kind;     /* enum webb_message_kind */
	__u16 captured;
	__u32 ifindex;
	__u64 time_ns; /* CLOCK_MONOTONIC, exact */
	__u8 source[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u32 sequence;        /* TCP: of the first captured byte */
	__u32 acknowledgement; /* TCP: of the segment */
	__u32 payload;         /* bytes from the first captured one to the segment's end */
	__u32 begin;           /* the sender's first record: the stream's first sequence, if that is known; else `sequence` */
	__u8 family;
	__u8 protocol;
	__u8 hook;
	__u8 flags; /* WEBB_MESSAGE_* */
};

/* Bits of the map `l7_switch` (ARRAY of one word): the sides and protocols that user space reads now. */
#define WEBB_L7_DNS_CLIENT 0x01  /* DNS at the client's interface */
#define WEBB_L7_DNS_SERVER 0x02  /* at the server's */
#define WEBB_L7_HTTP_CLIENT 0x04
#define WEBB_L7_HTTP_SERVER 0x08

/* Per-CPU totals of layer 7 (map `l7_totals`, PERCPU_ARRAY of one); wanted = sent + lost + unread, by protocol. */
struct webb_l7_totals {
	__u64 wanted[WEBB_MESSAGE_PROTOCOLS];
	__u64 sent[WEBB_MESSAGE_PROTOCOLS];
	__u64 sent_bytes[WEBB_MESSAGE_PROTOCOLS]; /* of payload */
	__u64 lost[WEBB_MESSAGE_PROTOCOLS];       /* found the ring full */
	__u64 unread[WEBB_MESSAGE_PROTOCOLS];     /* bytes of the packet could not be read */
	__u64 cut[WEBB_MESSAGE_PROTOCOLS];        /* of those sent: the segment had more bytes */
	__u64 looked;    /* segments of connections with a protocol not known yet */
	__u64 found[WEBB_MESSAGE_PROTOCOLS];      /* connections with a recognised protocol */
	__u64 none;      /* connections of protocols that are not read */
	__u64 untracked; /* DNS segments over TCP of a connection without an entry in the table */
	__u64 budget;    /* DNS connections over TCP that sent more than is read */
	__u64 frames;    /* HTTP/2 segments with more frames than are followed */
	__u64 resync;    /* HTTP/2 directions taken up again behind a gap */
};

_Static_assert(sizeof(struct webb_message) == 72, "webb_message is 72 bytes");
_Static_assert(__builtin_offsetof(struct webb_message, source_port) == 48, "source_port at 48");
_Static_assert(__builtin_offsetof(struct webb_message, flags) == 71, "flags at 71");
_Static_assert(sizeof(struct webb_l7_totals) == 8 * (7 * WEBB_MESSAGE_PROTOCOLS + 6), "webb_l7_totals has no holes");
_Static_assert(sizeof(struct webb_record) == 80, "webb_record is 80 bytes");
_Static_assert(__builtin_offsetof(struct webb_record, source) == 16, "source at 16");
_Static_assert(__builtin_offsetof(struct webb_record, source_port) == 48, "source_port at 48");
_Static_assert(__builtin_offsetof(struct webb_record, packets) == 60, "packets at 60");
_Static_assert(__builtin_offsetof(struct webb_record, bytes) == 64, "bytes at 64");
_Static_assert(__builtin_offsetof(struct webb_record, reason) == 72, "reason at 72");
_Static_assert(__builtin_offsetof(struct webb_totals, more_seeds) == 64, "a known connection needs one line");
_Static_assert(sizeof(struct webb_totals) == 8 * (49 + 2 * WEBB_UNPARSED_REASONS + WEBB_EVENTS),
	       "webb_totals has no holes");
_Static_assert(sizeof(struct webb_retransmits) == 4 * 8 * WEBB_RETRANSMITS, "webb_retransmits has no holes");
_Static_assert(sizeof(struct webb_swept) == 2 * 8 * WEBB_HOOKS + 3 * 8 + 2 * 8 * WEBB_CLASSES, "webb_swept has no holes");
_Static_assert(sizeof(struct webb_port) == 40, "webb_port has no holes");
_Static_assert(sizeof(struct webb_claimed) == 16, "webb_claimed has no holes");
_Static_assert(sizeof(struct webb_claim) == 16, "webb_claim has no holes");

#endif
