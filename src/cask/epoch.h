/*
 * epoch.h: when may memory go that readers look at without a lock?
 *
 *      reader                                     who replaces
 *      1  load tick = t                           a  exchange the pointer; what it was is tagged with tick
 *      2  add 1 to count[t mod 2] of its stripe   b  all counts of (tick - 1) mod 2 zero?  then tick := tick + 1
 *      3  load tick; not t: undo, back to 1       c  free what is tagged tick - 2 or before
 *      4  load the pointer, use what it leads to
 *      5  subtract 1
 *
 * Why it is safe. 2, 3, a and b are sequentially consistent. A reader that got past 3 at tick t has added to count[t
 * mod 2] before the tick became t + 1. So whoever would make it t + 2 finds that count, and does not: while a reader
 * is inside, the tick moves by one at most. What was tagged g is freed when the tick is g + 2: readers who came in
 * at g or before are gone by then. One who came in later read a tick that was written after the pointer was
 * exchanged, and so loads the new one.
 *
 * A count may be above zero for a moment because of a reader who will fail at 3; then the tick moves a little later.
 *
 * Stripes: a cache line each; a thread has one, and may share it. A read costs two read-modify-writes on a line of
 * its own, about 10 ns.
 *
 * Concurrency: enter and leave by any thread, advance by one at a time. Nobody waits for anybody: who never leaves
 * keeps memory from being freed, no more. Failure: none.
 */
#ifndef HF_CASK_EPOCH_H
#define HF_CASK_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { HF_EPOCH_STRIPES = 64 };

/* So long that counts of two stripes are never in one line of 64 bytes, wherever the first is. */
struct hf_epoch_stripe {
    _Atomic uint64_t count[2];
    uint64_t pad[6];
};

_Static_assert(sizeof(struct hf_epoch_stripe) == 64, "a cache line");

typedef struct hf_epoch {
    _Atomic uint64_t tick;
    uint64_t pad[7];
    struct hf_epoch_stripe stripes[HF_EPOCH_STRIPES];
} hf_epoch;

/* What is entered: to be left, once. */
typedef _Atomic uint64_t *hf_epoch_place;

unsigned hf_epoch_stripe_new(void);

extern _Thread_local
    __attribute__((tls_model("initial-exec"), visibility("hidden"))) unsigned hf_epoch_mine; /* + 1 */

static inline hf_epoch_place hf_epoch_enter(hf_epoch *epoch)
{
    unsigned mine = hf_epoch_mine;

    if (__builtin_expect(mine == 0, 0))
        mine = hf_epoch_stripe_new();
    struct hf_epoch_stripe *stripe = &epoch->stripes[mine - 1];
    for (;;) {
        uint64_t tick = atomic_load_explicit(&epoch->tick, memory_order_relaxed);
        atomic_fetch_add(&stripe->count[tick % 2], 1);
        if (__builtin_expect(atomic_load(&epoch->tick) == tick, 1))
            return &stripe->count[tick % 2];
        atomic_fetch_sub(&stripe->count[tick % 2], 1);
    }
}

static inline void hf_epoch_leave(hf_epoch_place place)
{
    atomic_fetch_sub_explicit(place, 1, memory_order_release);
}

/* The tag for what was just replaced. */
static inline uint64_t hf_epoch_tag(hf_epoch *epoch)
{
    return atomic_load(&epoch->tick);
}

/* Tries to move the tick, and says whether what has this tag may be freed. */
bool hf_epoch_passed(hf_epoch *epoch, uint64_t tag);

#endif
