/*
 * bits.h: counting bits, for bitmaps.
 *
 * In a file compiled for the CPU level popcnt (see cpu.h) these are single
 * instructions. On plain x86-64 the compiler's own way to count is a call into
 * libgcc, twice as slow as the additions below.
 *
 * Concurrency, failure: pure functions.
 */
#ifndef HF_BASE_BITS_H
#define HF_BASE_BITS_H

#include "base/assert.h"

#include <stdint.h>

#if defined(__x86_64__) && !defined(__POPCNT__)
#define HF_BITS_BY_HAND 1
#else
#define HF_BITS_BY_HAND 0
#endif

/* Sum within pairs, nibbles, bytes; the multiplication sums the bytes. */
static inline unsigned hf_popcount32_by_hand(uint32_t x)
{
    x = x - ((x >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return (x * 0x01010101u) >> 24;
}

static inline unsigned hf_popcount64_by_hand(uint64_t x)
{
    x = x - ((x >> 1) & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((x * 0x0101010101010101u) >> 56);
}

static inline unsigned hf_popcount32(uint32_t x)
{
#if HF_BITS_BY_HAND
    return hf_popcount32_by_hand(x);
#else
    return (unsigned)__builtin_popcount(x);
#endif
}

static inline unsigned hf_popcount64(uint64_t x)
{
#if HF_BITS_BY_HAND
    return hf_popcount64_by_hand(x);
#else
    return (unsigned)__builtin_popcountll(x);
#endif
}

/* The number of the lowest set bit; x is not 0. */
static inline unsigned hf_ctz32(uint32_t x)
{
    HF_ASSERT(x != 0);
    return (unsigned)__builtin_ctz(x);
}

static inline unsigned hf_ctz64(uint64_t x)
{
    HF_ASSERT(x != 0);
    return (unsigned)__builtin_ctzll(x);
}

/* The number of the highest set bit, so floor(log2(x)); x is not 0. */
static inline unsigned hf_log2_32(uint32_t x)
{
    HF_ASSERT(x != 0);
    return 31u - (unsigned)__builtin_clz(x);
}

static inline unsigned hf_log2_64(uint64_t x)
{
    HF_ASSERT(x != 0);
    return 63u - (unsigned)__builtin_clzll(x);
}

#endif
