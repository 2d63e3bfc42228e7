/*
 * memory.h: whose memory the library uses. By default malloc's.
 *
 * Concurrency: hf_allocator_set changes a setting of the whole process. Call it
 * before any other function of the library and while no other thread can be in
 * one: memory that one allocator gave is never given back to another. The
 * functions themselves are called from every thread that uses the library, at
 * the same time, with no lock held by the library.
 */
#ifndef HOLDFAST_MEMORY_H
#define HOLDFAST_MEMORY_H

#include <holdfast/api.h>

#include <stddef.h>

HF_BEGIN_DECLS

/*
 * The contracts are those of malloc, realloc and free: NULL means that there is
 * no memory, `alloc` and `realloc` give addresses aligned for every type and are
 * never asked for 0 bytes, a `realloc` that fails leaves the old block as it
 * was. `free` is never called with NULL and must not fail. None of them may
 * call back into the library: they run in the middle of edits.
 */
typedef struct hf_allocator {
    void *(*alloc)(void *user, size_t size);
    void *(*realloc)(void *user, void *block, size_t size);
    void (*free)(void *user, void *block);
    void *user;
} hf_allocator;

/*
 * Use this allocator, which is copied, from now on; NULL: malloc again.
 * HF_INVALID when a function is missing, and nothing has changed then.
 */
HF_API HF_MUST_CHECK int hf_allocator_set(const hf_allocator *allocator);

HF_END_DECLS

#endif
