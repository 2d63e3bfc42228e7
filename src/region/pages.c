/*
 * pages.c: the page manager of shared memory: how a region is mapped, and how it grows.
 *
 *      base            size (of the file)                       reserved
 *      |===============|........................................|
 *       fallocated      mapped, and not there: never touched
 *
 * The mapping is made once and is longer than the file, so that a file which grew, by whoever's hand, is seen at the
 * same address without a system call.
 *
 * Huge pages. A look-up among a million keys misses the processor's table of pages as often as its caches. So the mapping
 * begins where a huge page may, and where the segment has grown by one, the writer asks the kernel to put it in the place
 * of 512 small ones. That takes it from half a millisecond to several each 2 MiB, so it does so once in many commits, lest
 * who loads much at once waits for it; readers find out by themselves. The pages are
 * all there already, so the segment takes no more memory by it; where they may have been given back (hf_region_trim), it is
 * not asked. Where the kernel does not know how, or will not, it just does not happen: then it is asked less and less often.
 *
 * Invariants
 *   - Nobody touches a page that was not fallocated. So a full file system is an error of the process that wants to
 *     grow, before it has changed anything, and never a SIGBUS.
 *   - A file never shrinks. (A stranger who truncates it kills all who use it; only the owner can.)
 *   - `size` is what this process last saw: at most what the file has, and what is reserved.
 *
 * How long the segment is. Whoever makes it longer says so in the lock area, before it publishes a version that reaches so
 * far. A reader who meets a version beyond what it knows looks there, and needs no system call. The word is sealed with
 * the region's seed: pages in the low 36 bits, a checksum of them above. Where the seal does not fit, or the version
 * reaches further still, the kernel is asked (fstat); so it is at every look where the segment was shorter than the word
 * says when this process opened it. What remains: a word that was forged, seal and all, leads readers to pages that are
 * not there (SIGBUS); whoever can do that may write to the segment, and so may as well truncate it under them.
 *
 * Concurrency: only a holder of the writer's lock grows.
 *
 * Failure: HF_NOSPACE where the file system, the limit of a file's size or the memory is exhausted; HF_LIMIT where this
 * process did not reserve enough. Either leaves everything as it was.
 */
#include "region/file.h"

#include "base/hash.h"

#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
    LEAST_STEP = 128 << 10,
    LARGEST_STEP = 1 << 20,
    STEPS = 128, /* in what there is: what is not needed of one is memory gone */
    HUGE_DOUBLINGS = 10,
};

#define DEFAULT_RESERVE (UINT64_C(64) << 30)
#define LEAST_RESERVE (HF_REGION_HEAP_AT + (UINT64_C(1) << 20))
#define HUGE HF_HUGE_PAGE
#define NEVER UINT64_MAX

static uint64_t round_up(uint64_t size)
{
    return (size + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
}

uint64_t hf_pages_fair(uint64_t wanted, uint64_t part, bool private)
{
    const int resources[] = {RLIMIT_AS, RLIMIT_DATA};
    struct rlimit limit;

    for (int i = 0; i < (private ? 2 : 1); i++)
        if (hf_os_getrlimit(resources[i], &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
            limit.rlim_cur / part < wanted)
            wanted = limit.rlim_cur / part / HF_REGION_PAGE * HF_REGION_PAGE;
    return wanted;
}

/* What is behind the reserved range is not there for this process. */
static void note_size(hf_region *region, uint64_t size)
{
    atomic_store_explicit(&region->size, size < region->reserved ? size : region->reserved, memory_order_relaxed);
}

/* Maps `reserve` bytes where a huge page may begin. So much is taken first, and the rest of that stays as it is: nothing. */
static int map_aligned(hf_region *region, uint64_t reserve)
{
    void *taken, *base;
    int result =
        hf_os_mmap(NULL, reserve + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &taken);

    if (result < 0)
        return result;
    region->mapping = taken;
    region->mapped = reserve + HUGE;
    base = region->mapping + (HUGE - (uintptr_t)taken % HUGE) % HUGE;
    result = hf_os_mmap(base, reserve, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, region->fd, 0,
                        &base);
    if (result < 0)
        hf_os_munmap(taken, region->mapped);
    region->base = base;
    return result;
}

int hf_pages_map(hf_region *region, uint64_t wanted, uint64_t size)
{
    uint64_t least = size > LEAST_RESERVE ? round_up(size) : LEAST_RESERVE;
    uint64_t reserve = round_up(wanted == 0 ? hf_pages_fair(DEFAULT_RESERVE, 4, false) : wanted);
    int result;

    if (reserve < least)
        reserve = least;
    /* RLIMIT_AS, or a small machine: take what there is. */
    for (;;) {
        result = map_aligned(region, reserve);
        if (result != -ENOMEM || reserve == least)
            break;
        reserve = reserve / 2 > least ? round_up(reserve / 2) : least;
    }
    if (result == -ENOMEM)
        return HF_LIMIT;
    if (result < 0)
        return hf_region_status(result);
    region->reserved = reserve;
    note_size(region, size);
    return 0;
}

int hf_pages_unmap(hf_region *region)
{
    int result = hf_os_munmap(region->mapping, region->mapped);

    return result < 0 ? hf_region_status(result) : 0;
}

#define PROVIDED_BITS 36

/* The word that says that the segment has so many pages. */
static uint64_t sealed(const hf_region *region, uint64_t pages)
{
    return pages | hf_hash_u64(pages, hf_region_seed(region)) >> PROVIDED_BITS << PROVIDED_BITS;
}

static void tell(hf_region *region, uint64_t size)
{
    atomic_store_explicit(&region->lock->provided, sealed(region, size / HF_REGION_PAGE), memory_order_release);
}

/* How long the segment is, as was told; 0: that is not known. */
static uint64_t told(const hf_region *region)
{
    uint64_t word = atomic_load_explicit(&region->lock->provided, memory_order_acquire);
    uint64_t pages = word & ((UINT64_C(1) << PROVIDED_BITS) - 1);

    return word == sealed(region, pages) ? pages * HF_REGION_PAGE : 0;
}

/* How long the file is by now. */
static int look(hf_region *region, uint64_t *out)
{
    struct stat found;
    int result = hf_os_fstat(region->fd, &found);

    if (result < 0)
        return hf_region_status(result);
    *out = (uint64_t)found.st_size;
    note_size(region, *out);
    return 0;
}

int hf_pages_begin(hf_region *region, bool made)
{
    uint64_t size = atomic_load_explicit(&region->size, memory_order_relaxed), was_told;

    if (made)
        tell(region, size);
    /* It grows: so look at the word first. */
    was_told = told(region);
    int status = was_told > size ? look(region, &size) : 0;
    region->is_told = was_told <= size;
    return status;
}

int hf_pages_seen_slowly(hf_region *region, uint64_t top)
{
    uint64_t size = 0;

    if (top < region->heap_at || top > HF_CELL_OFFSET)
        return HF_CORRUPT;
    if (region->is_told)
        size = told(region);
    if (top + HF_REGION_PAGE <= size) {
        note_size(region, size);
    } else {
        int status = look(region, &size);
        if (status < 0)
            return status;
        if (top + HF_REGION_PAGE > size)
            return HF_CORRUPT;
    }
    if (region->file != NULL)
        hf_verify_room(region->file, top);
    return top + HF_REGION_PAGE > region->reserved ? HF_LIMIT : 0;
}

/* The first huge page would have to take in the slots' place, which is not there (layout.h). It is none of the caller's
 * business whether it went well. */
void hf_pages_collapse(hf_region *region)
{
    uint64_t at = region->huge_next;

    region->huge_wait = 0;
    region->huge_next += HUGE;
    /* What was given back would be taken again; and where all of it was, that looks as if there were no huge pages. */
    if (at < region->txn.state.heap.holes)
        return;
    if (region->huge_pause > 0) {
        region->huge_pause -= region->huge_pause < NEVER;
        return;
    }
    int result = hf_os_madvise(region->base + at, HUGE, MADV_COLLAPSE);
    if (result == -EINVAL)
        region->huge_pause = NEVER;
    else if (result < 0)
        region->huge_pause = UINT64_C(1) << (region->huge_failed += region->huge_failed < HUGE_DOUBLINGS);
    else
        region->huge_failed = 0;
}

/* Makes the file `size` bytes long. */
static int stretch(hf_region *region, uint64_t old, uint64_t size)
{
    int result = hf_os_fallocate(region->fd, 0, (off_t)old, (off_t)(size - old));

    if (result < 0)
        return result;
    note_size(region, size);
    tell(region, size);
    if (region->huge_next == 0)
        region->huge_next = old / HUGE * HUGE > HUGE ? old / HUGE * HUGE : HUGE;
    return 0;
}

int hf_pages_grow(hf_region *region, uint64_t top)
{
    uint64_t size = atomic_load_explicit(&region->size, memory_order_relaxed), need = round_up(top) + HF_REGION_PAGE;
    int result = 0;

    if (need <= size)
        return 0;
    if (need > region->reserved || need > HF_CELL_OFFSET)
        return HF_LIMIT;
    if (need > region->limit)
        return HF_NOSPACE;
    /* Another process may have made it longer, and then died or not needed it. */
    int status = look(region, &size);
    if (status == 0)
        tell(region, size / HF_REGION_PAGE * HF_REGION_PAGE);
    if (status < 0 || need <= size)
        return status;

    /* In proportion, within limits: few calls, little waste. */
    uint64_t step = size / STEPS;
    step = step < LEAST_STEP ? LEAST_STEP : step > LARGEST_STEP ? LARGEST_STEP : step;
    uint64_t size_wanted = round_up(size + step);
    if (size_wanted > region->reserved)
        size_wanted = region->reserved;
    if (size_wanted > region->limit)
        size_wanted = region->limit;
    if (size_wanted > need) {
        result = stretch(region, size, size_wanted);
        if (result == 0)
            return 0;
    }
    /* There is not so much, or a signal came: just what is needed, then. */
    HF_OS_RETRY(result, stretch(region, size, need));
    return result < 0 ? hf_region_status(result) : 0;
}
