/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Headers as they lie on the wire, and the numbers that name them. Multi-byte fields are big endian. Bit fields are
 * kept as whole bytes, so that nothing depends on how a compiler lays them out.
 */
#ifndef WEBB_WIRE_H
#define WEBB_WIRE_H

#include <bpf/bpf_endian.h>
#include <linux/types.h>

#define ETHERTYPE_IPV4 bpf_htons(0x0800)
#define ETHERTYPE_IPV6 bpf_htons(0x86dd)
#define ETHERTYPE_VLAN bpf_htons(0x8100)
#define ETHERTYPE_QINQ bpf_htons(0x88a8)

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_SCTP 132

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMPV6_PACKET_TOO_BIG 2

#define SCTP_INIT 1
#define SCTP_INIT_ACK 2
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN 7
#define SCTP_SHUTDOWN_ACK 8
#define SCTP_ERROR 9
#define SCTP_COOKIE_ECHO 10
#define SCTP_COOKIE_ACK 11
#define SCTP_SHUTDOWN_COMPLETE 14

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
};

struct vlan_tag {
	__be16 control;
	__be16 type;
};

struct ipv4_header {
	__u8 version_ihl;
	__u8 service;
	__be16 total_length;
	__be16 id;
	__be16 fragment; /* 0x2000: more fragments; 0x1fff: offset */
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_class_label;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4]; /* words, since a packet is only 2-byte aligned for sure and the kernel's checks know 4 */
	__be32 destination[4];
};

struct ipv6_extension {
	__u8 next_header;
	__u8 length; /* in 8 bytes, less the first 8; in 4 bytes, less 2, for AH */
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset; /* upper 4 bits, in 4 bytes */
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
};

struct icmp_echo {
	struct icmp_header icmp;
	__be16 id;
	__be16 sequence;
};

struct sctp_header {
	__be16 source;
	__be16 destination;
	__be32 verification;
	__be32 checksum;
	__u8 chunk_type; /* of the first chunk; a packet without one is not SCTP */
	__u8 chunk_flags;
	__be16 chunk_length;
};

#endif
