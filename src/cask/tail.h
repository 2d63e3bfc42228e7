/*
 * tail.h: where the records are that the keydir does not have yet: an index in memory that is only ever appended to.
 *
 *      buckets          [ . | 7 | . | 5 | ... ]               the newest entry of each, by hash
 *                             |       |
 *      entries   0 1 2 3 4 5<-+-------+ 6 7                   { hash, place }
 *      links       ^     |        ^     |                     { the entry before it in its bucket, one far before it
 *                  } +-----+        +-----+
 *                                          ^ visible: entries from here on are not there yet, for those who look now
 *
 * Whoever remembers how many entries there were sees the tail as it was then, for ever, at no cost: a snapshot is a
 * tail and a number. A batch becomes visible when the number moves, in one store.
 *
 * Entries say where the newest record of a key is, a deletion too (HF_PLACE_DELETED). Two keys may have one hash: who
 * looks tells them apart.
 *
 * A bucket is one word: in the lower half the number of its newest entry and one (0: it has none), in the upper half
 * a bit for each hash that is in it, one of 32. So who looks for what is not there seldom touches an entry. The far
 * link is for those who look at a tail as it was: it leads over 2^k - 1 entries of the bucket, for a k that links
 * carry, as in the counting of skew binary numbers (Myers 1983), so the newest entry before n is found in logarithmic
 * time even where one key was put a hundred thousand times since.
 *
 * Why it needs no lock. Entry i and link i are written once, by the thread that appends (whoever holds the cask's
 * lock: the lock orders them), before
 *      (a) bucket = i + 1 is stored, release,             and all these before
 *      (b) visible = n, n > i, is stored, release.
 * A reader loads visible, acquire, then the bucket, acquire.
 *      What it sees is whole: a bucket that says i + 1 was stored by (a), so entry i and link i were written before
 *      it was read. The links lead to smaller numbers, which the same thread, or one before it, had written and
 *      stored earlier: all that can be reached from i happened before (a). It misses nothing: an entry i < visible
 *      was put into its bucket by (a) before (b), so before the load of the bucket, which gives this or a later value
 *      of it, from which i is reached, since a later value leads to it. It sees nothing too early: entries from
 *      `below` on are passed over.
 * That holds as well for a reader who remembers `below` from before, if its memory was handed to it in an orderly
 * way.
 *
 * Invariants
 *  T1  i < filled: entry i is in the chain of bucket hash % buckets, which descends, and has all such entries.
 *  T2  The far link of entry i leads to one of its chain, not after `before`; its rank k says how far: 2^k - 1
 *      entries.
 *
 * Memory is one mapping, and what is never used of it is never touched: a tail may be made as large as it may get.
 * One that is full nevertheless is copied to a larger one; the old one lives as long as somebody has a count of it.
 *
 * Concurrency: as above. Failure: HF_NOMEM, HF_LIMIT (more than HF_TAIL_MOST); then nothing has changed.
 */
#ifndef HF_CASK_TAIL_H
#define HF_CASK_TAIL_H

#include "cask/format.h"

#define HF_TAIL_NONE UINT32_MAX
#define HF_TAIL_MOST (UINT32_C(1) << 27) /* entries */

typedef struct hf_tail_entry {
    uint64_t hash;
    uint64_t place;
} hf_tail_entry;

typedef struct hf_tail_link {
    uint32_t before; /* the entry before it in its bucket, or HF_TAIL_NONE */
    uint32_t far;    /* [ rank: 5 | entry: 27 ]; where `before` is none, nothing */
} hf_tail_link;

typedef struct hf_tail {
    uint32_t room;          /* entries that there is memory for */
    uint32_t mask;          /* of buckets */
    hf_tail_entry *entries; /* constant from 0 to visible - 1, for who folds it */
    hf_tail_link *links;
    _Atomic uint64_t *buckets;
    uint64_t mapped;
    _Atomic unsigned count; /* of owners */
    /* What changes with each append has a line of its own. */
    _Alignas(64) _Atomic uint32_t visible;
    uint32_t filled; /* entries; of who appends */
} hf_tail;

/* With room for so many entries; 0: as for 1. */
int hf_tail_new(uint32_t room, hf_tail **out);
void hf_tail_keep(hf_tail *tail);
void hf_tail_drop(hf_tail *tail); /* NULL too */

/*
 * Another one with all that this has, as much of it visible, and room for `more`: twice this one's room, if that is
 * enough and not too much. By who appends.
 */
int hf_tail_grow(const hf_tail *tail, uint32_t more, hf_tail **out);

/* There must be room (filled < room). Not visible until hf_tail_show. */
void hf_tail_append(hf_tail *tail, uint64_t hash, uint64_t place);

static inline void hf_tail_show(hf_tail *tail)
{
    atomic_store_explicit(&tail->visible, tail->filled, memory_order_release);
}

/* What a look-up now begins with. */
static inline uint32_t hf_tail_visible(const hf_tail *tail)
{
    return atomic_load_explicit(&tail->visible, memory_order_acquire);
}

/*
 * The newest entry before `below` with that hash, or HF_TAIL_NONE: begin with what is visible; then with what was
 * found, for the one before it.
 */
uint32_t hf_tail_find(const hf_tail *tail, uint64_t hash, uint32_t below);

static inline void hf_tail_prefetch(const hf_tail *tail, uint64_t hash)
{
    __builtin_prefetch(&tail->buckets[hash & tail->mask]);
}

/* For an append soon: what that looks at first, and, a little later, what it looks at then. */
void hf_tail_prefetch_link(const hf_tail *tail, uint64_t hash);

/* Memory that it has touched, about. */
uint64_t hf_tail_bytes(const hf_tail *tail);

#endif
