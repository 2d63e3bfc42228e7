/*
 * support.h: what all parts of the laboratory use: memory that does not run out, and
 * numbers that come from a seed.
 *
 * Not hf_alloc: the laboratory makes allocations of the code under test fail, and must
 * not be hit itself. Where the system has no memory left, it ends the process.
 *
 * Concurrency: as malloc; a hf_random belongs to one thread.
 */
#ifndef HF_CRASH_SUPPORT_H
#define HF_CRASH_SUPPORT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Say what the laboratory itself could not do, and stop with status 2: no verdict was reached. */
#define HF_LAB_REQUIRE(condition)                                                                                   \
    do                                                                                                              \
        if (!(condition)) {                                                                                         \
            fprintf(stderr, "crash laboratory: %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            _Exit(2);                                                                                               \
        }                                                                                                           \
    while (0)

/* `size` zero bytes; a size of 0 is as 1. */
static inline void *hf_lab_zeroed(size_t size)
{
    void *block = calloc(1, size > 0 ? size : 1);

    HF_LAB_REQUIRE(block != NULL);
    return block;
}

static inline void *hf_lab_resized(void *block, size_t size)
{
    block = realloc(block, size > 0 ? size : 1);
    HF_LAB_REQUIRE(block != NULL);
    return block;
}

static inline void *hf_lab_copied(const void *bytes, size_t size)
{
    void *copy = hf_lab_zeroed(size);

    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

/* Room for one more element in a growing array, whose capacity is doubled. */
#define HF_LAB_ROOM(array, count, capacity)                                   \
    do                                                                        \
        if ((count) == (capacity)) {                                          \
            (capacity) = (capacity) > 0 ? 2 * (capacity) : 8;                 \
            (array) = hf_lab_resized((array), (capacity) * sizeof(*(array))); \
        }                                                                     \
    while (0)

/* splitmix64: any seed will do, and neighbouring seeds give unrelated streams. */
struct hf_random {
    uint64_t at;
};

static inline uint64_t hf_random_next(struct hf_random *random)
{
    uint64_t x = random->at += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 0 .. below - 1; the bias of the remainder is of no matter here. */
static inline uint64_t hf_random_below(struct hf_random *random, uint64_t below)
{
    return below > 0 ? hf_random_next(random) % below : 0;
}

/* True in `one` of `of` cases. */
static inline bool hf_random_chance(struct hf_random *random, uint64_t one, uint64_t of)
{
    return hf_random_below(random, of) < one;
}

static inline void hf_random_fill(struct hf_random *random, void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)hf_random_next(random);
}

/* A seed for part `which` of what has this seed. */
static inline uint64_t hf_seed_of(uint64_t seed, uint64_t which)
{
    struct hf_random random = {seed ^ (which + 1) * 0xd1342543de82ef95u};

    return hf_random_next(&random);
}

#endif
