/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keyed hash of a connection. Pods choose addresses and ports, so neither its bucket nor its hash may follow from
 * them: every word is added to a secret before it is multiplied (multilinear hashing, Lemire and Kaser). For any two
 * different inputs, whatever was chosen, the upper 32 bits of a sum are equal for about one in 2^32 of the seeds, and
 * there are two sums with seeds of their own. So 64 equal bits identify a connection, and its key is not compared.
 *
 * mix() is a bijection: different sums stay different, but lose what is regular in them. Ports that are counted up would
 * else be buckets that are counted up.
 */
#ifndef WEBB_HASH_H
#define WEBB_HASH_H

#include "abi.h"

/* Five words of 32 bits each. */
struct identity {
	__u64 a;
	__u64 b;
	__u64 ports;
	__u64 ifindex;
	__u64 form; /* protocol | form << 8 | family << 16 */
};

static __always_inline __u64 weighted_sum(const __u64 *seeds, const struct identity *i)
{
	return (seeds[0] + i->a) * (seeds[1] + i->b) + (seeds[2] + i->ports) * (seeds[3] + i->ifindex) +
	       seeds[4] * i->form;
}

static __always_inline __u64 mix(__u64 sum)
{
	sum ^= sum >> 32;
	sum *= 0xff51afd7ed558ccdULL;
	sum ^= sum >> 29;
	sum *= 0xc4ceb9fe1a85ec53ULL;
	return sum ^ sum >> 32;
}

static __always_inline __u64 upper_halves(__u64 one, __u64 other)
{
	return one >> 32 << 32 | other >> 32;
}

static __always_inline __u64 hash_of(const struct webb_totals *row, const struct identity *i)
{
	return mix(upper_halves(weighted_sum(row->seeds, i), weighted_sum(row->more_seeds, i)));
}

static __always_inline __u64 address_sum(const __u64 *seeds, __u64 a_hi, __u64 a_lo, __u64 b_hi, __u64 b_lo)
{
	return (seeds[0] + (__u32)a_hi) * (seeds[1] + (a_hi >> 32)) + (seeds[2] + (__u32)a_lo) * (seeds[3] + (a_lo >> 32)) +
	       (seeds[4] + (__u32)b_hi) * (seeds[5] + (b_hi >> 32)) + (seeds[6] + (__u32)b_lo) * (seeds[7] + (b_lo >> 32));
}

/* Both IPv6 addresses as the two words that IPv4 addresses are by themselves. */
static __always_inline void hash_addresses(const struct webb_totals *row, __u64 a_hi, __u64 a_lo, __u64 b_hi, __u64 b_lo,
					   struct identity *i)
{
	i->a = address_sum(row->address_seeds, a_hi, a_lo, b_hi, b_lo) >> 32;
	i->b = address_sum(row->address_seeds + WEBB_ADDRESS_SEEDS, a_hi, a_lo, b_hi, b_lo) >> 32;
}

#endif
