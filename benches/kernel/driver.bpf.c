// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the bench of the kernel side measures with: a program that does nothing, which is the unit; the least that any
 * counter by connection can do, which is the floor; and the driver, which writes the next connection into the packet and
 * calls the program under test.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NEXT (-1)
#define LINES 65536 /* of 64 bytes: 4 MB */
#define SOURCE 28   /* lower half of the IPv4 source, behind Ethernet */
#define PORT 34     /* UDP's source port */

struct line {
	__u64 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* only then it starts at a page */
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

/* 0: packets so far. 1: how many connections; 0: each packet is a new one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} drive SEC(".maps");

SEC("classifier")
int empty(struct __sk_buff *skb)
{
	return NEXT;
}

/* One line for each connection, scattered as a hash scatters them, and one atomic add. No parsing, no hash, no check. */
SEC("classifier")
int floor_of_all(struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data, *end = (const void *)(long)skb->data_end;
	struct line *line;
	__u32 at;

	if (data + PORT + 2 > end)
		return NEXT;
	at = (*(const __u16 *)(data + SOURCE) * 65599U + *(const __u16 *)(data + PORT)) * 2654435761U >> 16;
	line = bpf_map_lookup_elem(&lines, &at);
	if (line)
		__sync_fetch_and_add(&line->words[0], skb->len);
	return NEXT;
}

SEC("classifier")
int driver(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 zero = 0, one = 1, number;
	__u64 *sent = bpf_map_lookup_elem(&drive, &zero), *connections = bpf_map_lookup_elem(&drive, &one);

	if (!sent || !connections || data + PORT + 2 > end)
		return NEXT;
	number = (*sent)++;
	if (*connections)
		number = number * 2654435761U % (__u32)*connections;
	*(volatile __u16 *)(data + SOURCE) = number >> 14;
	*(volatile __u16 *)(data + PORT) = 0x4000 | (number & 0x3fff);
	bpf_tail_call(skb, &target, 0);
	return NEXT;
}
