/*
 * tail.c: see tail.h.
 */
#include "cask/tail.h"

#include "base/assert.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <string.h>
#include <sys/mman.h>

enum { FAR_BITS = 27, LINE = 64 };

_Static_assert(HF_TAIL_MOST == UINT32_C(1) << FAR_BITS, "a far link has so many bits");
_Static_assert(sizeof(hf_tail_entry) == 16 && sizeof(hf_tail_link) == 8, "memory a record");

/* -- memory -- */

static uint64_t lines(uint64_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

/* A power of two, from 3/4 of `room` to 3/2 of it. */
static uint32_t buckets_for(uint32_t room)
{
    uint32_t buckets = 16;

    while (buckets < room - room / 4)
        buckets *= 2;
    return buckets;
}

int hf_tail_new(uint32_t room, hf_tail **out)
{
    uint32_t buckets = buckets_for(room);
    hf_tail *tail;
    void *memory;

    room = room == 0 ? 1 : room;
    if (room > HF_TAIL_MOST)
        return HF_LIMIT;
    uint64_t entries_at = lines(sizeof *tail), links_at = entries_at + lines(room * sizeof *tail->entries),
             buckets_at = links_at + lines(room * sizeof *tail->links),
             size = buckets_at + buckets * sizeof *tail->buckets;
    int result =
        hf_os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &memory);
    if (result < 0)
        return hf_os_status(result);
    /* It is all zeros: so are the buckets of a new one, and the counters. */
    tail = memory;
    tail->room = room;
    tail->mask = buckets - 1;
    tail->entries = (void *)((char *)memory + entries_at);
    tail->links = (void *)((char *)memory + links_at);
    tail->buckets = (void *)((char *)memory + buckets_at);
    tail->mapped = size;
    atomic_init(&tail->count, 1);
    *out = tail;
    return 0;
}

void hf_tail_keep(hf_tail *tail)
{
    atomic_fetch_add_explicit(&tail->count, 1, memory_order_relaxed);
}

void hf_tail_drop(hf_tail *tail)
{
    if (tail != NULL && atomic_fetch_sub_explicit(&tail->count, 1, memory_order_acq_rel) == 1)
        hf_os_munmap(tail, tail->mapped);
}

/* Of the buckets a page for each entry, as long as there are pages. */
uint64_t hf_tail_bytes(const hf_tail *tail)
{
    uint64_t visible = hf_tail_visible(tail), buckets = ((uint64_t)tail->mask + 1) * sizeof *tail->buckets,
             touched = visible * 4096;

    return sizeof *tail + visible * (sizeof *tail->entries + sizeof *tail->links) +
           (touched < buckets ? touched : buckets);
}

/* -- links -- */

static uint32_t far_of(hf_tail_link link)
{
    return link.far & (HF_TAIL_MOST - 1);
}

static uint32_t rank_of(hf_tail_link link)
{
    return link.far >> FAR_BITS;
}

/*
 * Of entry i, before which there is `before` in its bucket: where the two last stretches are of one length, one over
 * both and one step more; else a step.
 */
static hf_tail_link link_of(const hf_tail *tail, uint32_t i, uint32_t before)
{
    if (before == HF_TAIL_NONE)
        return (hf_tail_link){HF_TAIL_NONE, i};
    hf_tail_link last = tail->links[before], previous = tail->links[far_of(last)];
    if (rank_of(last) == rank_of(previous))
        return (hf_tail_link){before, (rank_of(last) + 1) << FAR_BITS | far_of(previous)};
    return (hf_tail_link){before, UINT32_C(1) << FAR_BITS | before};
}

/* The bit of a hash in the upper half of a bucket. */
static uint64_t bit_of(uint64_t hash)
{
    return UINT64_C(1) << (32 + (hash >> 59));
}

/* HF_TAIL_NONE is what 0 gives. */
static uint32_t newest(uint64_t bucket)
{
    return (uint32_t)bucket - 1;
}

/* -- entries -- */

void hf_tail_append(hf_tail *tail, uint64_t hash, uint64_t place)
{
    _Atomic uint64_t *bucket = &tail->buckets[hash & tail->mask];
    uint64_t old = atomic_load_explicit(bucket, memory_order_relaxed);
    uint32_t i = tail->filled;

    HF_ASSERT_CHEAP(i < tail->room);
    tail->entries[i] = (hf_tail_entry){hash, place};
    tail->links[i] = link_of(tail, i, newest(old));
    atomic_store_explicit(bucket, (old >> 32 << 32) | bit_of(hash) | (i + 1), memory_order_release);
    tail->filled = i + 1;
}

void hf_tail_prefetch_link(const hf_tail *tail, uint64_t hash)
{
    uint32_t i = newest(atomic_load_explicit(&tail->buckets[hash & tail->mask], memory_order_relaxed));

    if (i != HF_TAIL_NONE)
        __builtin_prefetch(&tail->links[i]);
}

uint32_t hf_tail_find(const hf_tail *tail, uint64_t hash, uint32_t below)
{
    uint64_t bucket = atomic_load_explicit(&tail->buckets[hash & tail->mask], memory_order_acquire);
    uint32_t i = newest(bucket);

    if ((bucket & bit_of(hash)) == 0)
        return HF_TAIL_NONE;
    while (i >= below) {
        hf_tail_link link = tail->links[i];
        if (link.before == HF_TAIL_NONE)
            return HF_TAIL_NONE;
        i = far_of(link) >= below ? far_of(link) : link.before;
    }
    while (i != HF_TAIL_NONE && tail->entries[i].hash != hash)
        i = tail->links[i].before;
    return i;
}

int hf_tail_grow(const hf_tail *tail, uint32_t more, hf_tail **out)
{
    uint64_t least = (uint64_t)tail->filled + more, room = 2 * (uint64_t)tail->room;
    hf_tail *larger;
    int status;

    if (least > HF_TAIL_MOST)
        return HF_LIMIT;
    room = room > HF_TAIL_MOST ? HF_TAIL_MOST : room;
    status = hf_tail_new((uint32_t)(room < least ? least : room), &larger);
    if (status < 0)
        return status;
    for (uint32_t i = 0; i < tail->filled; i++)
        hf_tail_append(larger, tail->entries[i].hash, tail->entries[i].place);
    atomic_store_explicit(&larger->visible, hf_tail_visible(tail), memory_order_release);
    *out = larger;
    return 0;
}
