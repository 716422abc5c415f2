/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The few kernel structs and fields that we read, relocated by the running kernel's BTF (CO-RE). Only names matter
 * here: order, offsets and sizes of structs are the kernel's.
 */
#ifndef WEBB_KERNEL_H
#define WEBB_KERNEL_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct list_head {
	struct list_head *next;
};

struct net {
	struct ns_common ns;
	struct list_head dev_base_head;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct rtnl_link_ops {
	const char *kind;
};

struct net_device {
	unsigned int flags;
	int ifindex;
	possible_net_t nd_net;
	struct list_head dev_list;
	const struct rtnl_link_ops *rtnl_link_ops;
};

/* What a tracepoint records: its fields say which arguments it has. */
struct trace_event_raw_tcp_retransmit_skb {
	int err;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
};

struct request_sock {
	struct sock_common __req_common;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	__be16 protocol;
	__u16 network_header;
	__u16 mac_header;
	__u32 tail; /* sk_buff_data_t, an offset on 64-bit kernels */
	unsigned char *head;
	unsigned char *data;
	char cb[48];
};

/* What TCP keeps in `cb` of an skb. */
struct tcp_skb_cb {
	__u16 tcp_gso_segs;
};

#pragma clang attribute pop

#define IFF_LOOPBACK 0x8

#endif
