/*
 * tail.h: where the records are that the keydir does not have yet: an index in memory that is only ever appended to.
 *
 *      buckets          [ . | 7 | . | 5 | ... ]               the newest entry of each, by hash
 *                             |       |
 *      entries   0 1 2 3 4 5<-+-------+ 6 7                   { hash, place, the entry before it in the same bucket }
 *                  ^     |        ^     |
 *                  +-----+        +-----+
 *                                          ^ visible: entries from here on are not there yet, for those who look now
 *
 * Whoever remembers how many entries there were sees the tail as it was then, for ever, at no cost: a snapshot is a tail and a number. A batch becomes visible when
 * the number moves, in one store.
 *
 * Entries say where the newest record of a key is, a deletion too (HF_PLACE_DELETED). Two keys may have one hash: who looks tells them apart.
 *
 * Concurrency: one thread appends, any number look, without locks. A tail that is full is copied to one twice as large; the old
 * one lives as long as somebody has a count of it. Failure: HF_NOMEM; then nothing has changed.
 */
#ifndef HF_CASK_TAIL_H
#define HF_CASK_TAIL_H

#include "cask/format.h"

#define HF_TAIL_NONE UINT32_MAX

typedef struct hf_tail_entry {
    uint64_t hash;
    uint64_t place;
} hf_tail_entry;

typedef struct hf_tail {
    _Atomic unsigned count; /* of owners */
    uint32_t room;          /* entries that there is memory for */
    uint32_t mask;          /* of buckets */
    uint32_t filled;        /* entries; of who appends */
    _Atomic uint32_t visible;
    hf_tail_entry *entries;
    uint32_t *before;          /* of each entry, the one before it in its bucket, or HF_TAIL_NONE */
    _Atomic uint32_t *buckets; /* the newest of each, or HF_TAIL_NONE */
} hf_tail;

int hf_tail_new(uint32_t room, hf_tail **out);
void hf_tail_keep(hf_tail *tail);
void hf_tail_drop(hf_tail *tail); /* NULL too */

/* Another one with all that this has and room for `more`. */
int hf_tail_grow(const hf_tail *tail, uint32_t more, hf_tail **out);

/* There must be room (filled < room). Not visible until hf_tail_show. */
void hf_tail_append(hf_tail *tail, uint64_t hash, uint64_t place);
static inline void hf_tail_show(hf_tail *tail)
{
    atomic_store_explicit(&tail->visible, tail->filled, memory_order_release);
}

/* The newest entry before `below` with that hash, or HF_TAIL_NONE: begin with below = visible; then with what was found, for the one before it. */
uint32_t hf_tail_find(const hf_tail *tail, uint64_t hash, uint32_t below);

static inline void hf_tail_prefetch(const hf_tail *tail, uint64_t hash)
{
    __builtin_prefetch((const void *)&tail->buckets[hash & tail->mask]);
}

uint64_t hf_tail_bytes(const hf_tail *tail);

#endif
