/*
 * memory.c: the slow path of memory.h, and hf_allocator_set.
 *
 * The allocator is a plain variable: hf_allocator_set may only be called while
 * no other thread is in the library, so whatever made that so also orders the
 * accesses.
 */
#include "base/memory.h"

#include <holdfast/status.h>

static hf_allocator hf_allocator_now;

int hf_allocator_set(const hf_allocator *allocator)
{
    if (allocator == NULL) {
        atomic_fetch_and(&hf_hooks, ~HF_HOOK_ALLOCATOR);
        return 0;
    }
    if (allocator->alloc == NULL || allocator->realloc == NULL || allocator->free == NULL)
        return HF_INVALID;
    hf_allocator_now = *allocator;
    atomic_fetch_or(&hf_hooks, HF_HOOK_ALLOCATOR);
    return 0;
}

void *hf_alloc_hooked(size_t size)
{
    struct hf_fault how;

    if (hf_fault_hit(HF_FAULT_ALLOC, 0, &how))
        return NULL;
    if (hf_hooks_any(HF_HOOK_ALLOCATOR))
        return hf_allocator_now.alloc(hf_allocator_now.user, size);
    return malloc(size);
}

void *hf_realloc_hooked(void *block, size_t size)
{
    struct hf_fault how;

    if (hf_fault_hit(HF_FAULT_ALLOC, 0, &how))
        return NULL;
    if (!hf_hooks_any(HF_HOOK_ALLOCATOR))
        return realloc(block, size);
    if (block == NULL)
        return hf_allocator_now.alloc(hf_allocator_now.user, size);
    return hf_allocator_now.realloc(hf_allocator_now.user, block, size);
}

void hf_free_hooked(void *block)
{
    if (block != NULL)
        hf_allocator_now.free(hf_allocator_now.user, block);
}
