/*
 * hash.h: hashes of bytes and integers, and checksums. XXH3 and its final mix.
 *
 * libxxhash is used as a header (XXH_INLINE_ALL): no library is needed at run
 * time, and hashing a short string of known length is a few instructions.
 * Include this from .c files that hash, not from other headers: it is large.
 *
 * Invariants: XXH3's results are fixed since xxhash 0.8.0 and do not depend on
 * the processor or its byte order, so checksums may go to disk; a test holds
 * them to published values. Hashes for tables in memory promise nothing across
 * versions.
 *
 * Concurrency, failure: pure functions.
 */
#ifndef HF_BASE_HASH_H
#define HF_BASE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>

#if XXH_VERSION_NUMBER < 800
#error "xxhash 0.8.0 or newer is needed: XXH3 was not final before"
#endif

static inline uint64_t hf_hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

/*
 * Murmur3's finaliser over the seeded value: a bijection, so different integers
 * never collide, and every input bit reaches every output bit.
 */
static inline uint64_t hf_hash_u64(uint64_t x, uint64_t seed)
{
    x ^= seed;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53u;
    x ^= x >> 33;
    return x;
}

/*
 * A checksum says that these bytes are what was written *for this place*: the
 * seed is what the place is known by, such as its offset.
 */
static inline uint64_t hf_checksum64(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

static inline uint32_t hf_checksum32(const void *bytes, size_t size, uint64_t seed)
{
    return (uint32_t)hf_checksum64(bytes, size, seed);
}

#endif
