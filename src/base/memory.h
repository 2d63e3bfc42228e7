/*
 * memory.h: every allocation of the core, through one hook.
 *
 *     hf_alloc --- no hook set --> malloc
 *         \------- hook ---------> fault plan: fail this one?
 *                                  then the caller's allocator, or malloc
 *
 * The trie calls these some ten million times a second, so without a hook they
 * are the test of one word and a jump to malloc, inlined.
 *
 * Invariants: `size` is never 0 (malloc's answer to that is not portable).
 * Whether a block came from malloc or from the caller's allocator is not
 * recorded: the public hf_allocator_set says when it may be called.
 *
 * Concurrency: as malloc. Failure: NULL, and for hf_realloc the old block is
 * then as it was. hf_free cannot fail and takes NULL.
 */
#ifndef HF_BASE_MEMORY_H
#define HF_BASE_MEMORY_H

#include <holdfast/memory.h>

#include "base/assert.h"
#include "base/fault.h"

#include <stddef.h>
#include <stdlib.h>

/* The way through the hook; not called directly. */
void *hf_alloc_hooked(size_t size);
void *hf_realloc_hooked(void *block, size_t size);
void hf_free_hooked(void *block);

__attribute__((warn_unused_result, alloc_size(1))) static inline void *hf_alloc(size_t size)
{
    HF_ASSERT(size > 0);
    if (hf_hooks_any(~0u))
        return hf_alloc_hooked(size);
    return malloc(size);
}

/* `block` may be NULL: then this is hf_alloc. */
__attribute__((warn_unused_result, alloc_size(2))) static inline void *hf_realloc(void *block, size_t size)
{
    HF_ASSERT(size > 0);
    if (hf_hooks_any(~0u))
        return hf_realloc_hooked(block, size);
    return realloc(block, size);
}

/*
 * An array with room for `needed` elements: the one it is, or one at least twice as long, and *room says how long. NULL
 * where there is no memory: then `array` and *room are as they were. Appending one by one costs a constant each.
 */
__attribute__((warn_unused_result)) static inline void *hf_grown(void *array, size_t *room, size_t needed,
                                                                 size_t element)
{
    size_t longer = *room == 0 ? 64 : *room;

    HF_ASSERT(needed > 0);
    if (needed <= *room)
        return array;
    while (longer < needed || longer == *room)
        longer *= 2;
    array = hf_realloc(array, longer * element);
    if (array != NULL)
        *room = longer;
    return array;
}

static inline void hf_free(void *block)
{
    if (hf_hooks_any(HF_HOOK_ALLOCATOR))
        hf_free_hooked(block);
    else
        free(block);
}

#endif
