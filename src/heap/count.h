/*
 * count.h: reference counts.
 *
 * A count of 1 that the caller holds proves that nobody else can reach the object: whoever wants another count has
 * to have one already. That is what editing in place rests on (see map_policy.h).
 *
 * A locked instruction costs ten times a plain one. While a process has one thread, glibc (2.32 and later) says so in
 * __libc_single_threaded, and plain loads and stores do; libstdc++'s shared_ptr does the same. It becomes false before
 * a second thread starts, and becoming one synchronizes, so no count is ever changed both ways at once. Plain
 * here means without a lock prefix: the accesses are still atomic ones to the compiler and to ThreadSanitizer.
 *
 * Counts have 64 bits, so they cannot overflow.
 *
 * Concurrency: all of it may be called from any thread. Giving up a count is a release, and finding that it was, or
 * is, the last one an acquire: what other threads did with the object happened before it is changed or freed.
 * Failure: none.
 */
#ifndef HF_HEAP_COUNT_H
#define HF_HEAP_COUNT_H

#include "base/assert.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __has_include
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define HF_ONE_THREAD __builtin_expect(__libc_single_threaded, 1)
#endif
#endif
#ifndef HF_ONE_THREAD
#define HF_ONE_THREAD 0
#endif

typedef struct hf_count {
    _Atomic uint64_t now;
} hf_count;

static inline void hf_count_init(hf_count *count)
{
    atomic_init(&count->now, 1);
}

static inline uint64_t hf_count_read(const hf_count *count)
{
    return atomic_load_explicit(&count->now, memory_order_acquire);
}

/* Whether the caller's count is the only one. */
static inline bool hf_count_is_one(const hf_count *count)
{
    return hf_count_read(count) == 1;
}

static inline void hf_count_keep(hf_count *count)
{
    HF_ASSERT(hf_count_read(count) > 0);
    if (HF_ONE_THREAD) {
        uint64_t now = atomic_load_explicit(&count->now, memory_order_relaxed);
        atomic_store_explicit(&count->now, now + 1, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&count->now, 1, memory_order_relaxed);
    }
}

/* True if it was the last: the object is now the caller's to free. */
static inline bool hf_count_drop(hf_count *count)
{
    HF_ASSERT(hf_count_read(count) > 0);
    if (HF_ONE_THREAD) {
        uint64_t now = atomic_load_explicit(&count->now, memory_order_relaxed) - 1;
        atomic_store_explicit(&count->now, now, memory_order_relaxed);
        return now == 0;
    }
    /* Nobody else can take or give up a count of an object that only the caller has. */
    if (hf_count_is_one(count)) {
        atomic_store_explicit(&count->now, 0, memory_order_relaxed);
        return true;
    }
    return atomic_fetch_sub_explicit(&count->now, 1, memory_order_acq_rel) == 1;
}

#endif
