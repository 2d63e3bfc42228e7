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
 * Invariants
 *   - Nobody touches a page that was not fallocated. So a full file system is an error of the process that wants to
 *     grow, before it has changed anything, and never a SIGBUS.
 *   - A file never shrinks. (A stranger who truncates it kills all who use it; only the owner can.)
 *   - `size` is what this process last saw: at most what the file has, and what is reserved.
 *
 * Concurrency: only a holder of the writer's lock grows. Readers look at the file's size when a version reaches beyond
 * what they know.
 *
 * Failure: HF_NOSPACE where the file system, the limit of a file's size or the memory is exhausted; HF_LIMIT where this
 * process did not reserve enough. Either leaves everything as it was.
 */
#include "region/file.h"

#include <sys/mman.h>

enum {
    FIRST_STEP = 128 << 10,
    LARGEST_STEP = 256 << 10, /* some 2,000 small records: what is not needed of it is memory gone */
};

#define DEFAULT_RESERVE (UINT64_C(64) << 30)
#define LEAST_RESERVE (HF_REGION_HEAP_AT + (UINT64_C(1) << 20))

static uint64_t round_up(uint64_t size)
{
    return (size + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
}

/* What is behind the reserved range is not there for this process. */
static void note_size(hf_region *region, uint64_t size)
{
    atomic_store_explicit(&region->size, size < region->reserved ? size : region->reserved, memory_order_relaxed);
}

int hf_pages_map(hf_region *region, uint64_t wanted, uint64_t size)
{
    uint64_t least = size > LEAST_RESERVE ? round_up(size) : LEAST_RESERVE;
    uint64_t reserve = round_up(wanted == 0 ? DEFAULT_RESERVE : wanted);
    void *base;
    int result;

    if (reserve < least)
        reserve = least;
    /* RLIMIT_AS, or a small machine: take what there is. */
    for (;;) {
        result = hf_os_mmap(NULL, reserve, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, region->fd, 0, &base);
        if (result != -ENOMEM || reserve == least)
            break;
        reserve = reserve / 2 > least ? round_up(reserve / 2) : least;
    }
    if (result == -ENOMEM)
        return HF_LIMIT;
    if (result < 0)
        return hf_region_status(result);
    region->base = base;
    region->reserved = region->mapped = reserve;
    note_size(region, size);
    return 0;
}

int hf_pages_unmap(hf_region *region)
{
    int result = hf_os_munmap(region->base - region->below, region->below + region->mapped);

    return result < 0 ? hf_region_status(result) : 0;
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

int hf_pages_seen_slowly(hf_region *region, uint64_t top)
{
    uint64_t size = 0;

    if (top < region->heap_at || top > HF_CELL_OFFSET)
        return HF_CORRUPT;
    int status = look(region, &size);
    if (status < 0)
        return status;
    if (top + HF_REGION_PAGE > size)
        return HF_CORRUPT;
    if (region->file != NULL)
        hf_verify_room(region->file, top);
    return top + HF_REGION_PAGE > region->reserved ? HF_LIMIT : 0;
}

/* Makes the file `size` bytes long. */
static int stretch(hf_region *region, uint64_t old, uint64_t size)
{
    int result = hf_os_fallocate(region->fd, 0, (off_t)old, (off_t)(size - old));

    if (result == 0)
        note_size(region, size);
    return result;
}

int hf_pages_grow(hf_region *region, uint64_t top)
{
    uint64_t size = atomic_load_explicit(&region->size, memory_order_relaxed), need = round_up(top) + HF_REGION_PAGE;
    int result = 0;

    if (need <= size)
        return 0;
    if (need > region->reserved || need > HF_CELL_OFFSET)
        return HF_LIMIT;
    /* Another process may have made it longer, and then died or not needed it. */
    int status = look(region, &size);
    if (status < 0 || need <= size)
        return status;

    /* As much again as there is, up to a limit: few calls, little waste. */
    uint64_t step = size - HF_REGION_HEAP_AT;
    step = step < FIRST_STEP ? FIRST_STEP : step > LARGEST_STEP ? LARGEST_STEP : step;
    uint64_t size_wanted = round_up(size + step);
    if (size_wanted > region->reserved)
        size_wanted = region->reserved;
    if (size_wanted > need) {
        result = stretch(region, size, size_wanted);
        if (result == 0)
            return 0;
    }
    /* There is not so much, or a signal came: just what is needed, then. */
    HF_OS_RETRY(result, stretch(region, size, need));
    return result < 0 ? hf_region_status(result) : 0;
}
