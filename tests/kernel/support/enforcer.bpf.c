// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What network plugins do by tc, in miniature: one drops IPv4 by its source and its port, one takes packets into a pod
 * past its interface. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Numbers, as one writes them; 0 for any. Tests set them before they load the program. */
const volatile __u32 denied_source = 0;
const volatile __u16 denied_port = 0;

/* What becomes of all others: by default the next program has its say. */
const volatile __s32 others = TC_ACT_UNSPEC;

SEC("classifier")
int enforce(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	struct udphdr *ports = (void *)(ip + 1); /* TCP has them in the same place */

	if ((void *)(ports + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return others;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return others;
	if ((denied_source && bpf_ntohl(ip->saddr) != denied_source) || (denied_port && bpf_ntohs(ports->dest) != denied_port))
		return others;
	return TC_ACT_SHOT;
}

/* The pod: its IPv4 address, its MAC, and the index of its interface on the node. */
const volatile __u32 pod = 0;
const volatile __u8 pod_mac[ETH_ALEN] = {};
const volatile __u32 pod_interface = 0;

SEC("classifier")
int redirect(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	__u8 mac[ETH_ALEN];

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || bpf_ntohl(ip->daddr) != pod)
		return TC_ACT_UNSPEC;
	for (int at = 0; at < ETH_ALEN; at++)
		mac[at] = pod_mac[at];
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), mac, sizeof(mac), 0))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(pod_interface, 0);
}
