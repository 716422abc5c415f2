// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Entries to tracepoints, for an agent that hands over to the next one. The kernel can replace the program of an
 * interface's link, but not that of a tracepoint's. So what is attached to the tracepoint, and stays, is an entry that
 * calls the program in its slot, and replacing the program is one store: each event is seen by one of the two.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ENTRY(entry, point, slot)                              \
	struct {                                               \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);         \
		__uint(max_entries, 1);                        \
		__type(key, __u32);                            \
		__type(value, __u32);                          \
	} slot SEC(".maps");                                   \
                                                               \
	SEC("tp_btf/" point) int entry(__u64 *arguments)       \
	{                                                      \
		bpf_tail_call(arguments, &slot, 0);            \
		return 0;                                      \
	}

ENTRY(webb_at_drop, "kfree_skb", drop_slot)
ENTRY(webb_at_sending, "net_dev_start_xmit", sending_slot)
ENTRY(webb_at_sent, "net_dev_xmit", sent_slot)
