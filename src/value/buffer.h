/*
 * buffer.h: bytes that are appended to, in the caller's storage first and in a block of their own when that is full.
 *
 *      [ written ........ | free ....... ]          bytes, the block
 *      0                 size         capacity      size <= limit
 *
 * Most values are short, and a look-up must not allocate: so a buffer begins in storage of the caller's, usually on
 * the stack, and asks for memory only when a value outgrows it.
 *
 * Invariants: size <= capacity; size <= limit after every append that succeeded; `bytes` is `given` or a block of
 * ours.
 *
 * Concurrency: none, a buffer is one thread's. A buffer that is still in its caller's storage must not be copied to
 * another place together with that storage: `bytes` would point to the old one.
 *
 * Failure: HF_NOMEM, and HF_LIMIT for more than `limit` bytes; nothing has changed then.
 */
#ifndef HF_VALUE_BUFFER_H
#define HF_VALUE_BUFFER_H

#include "base/assert.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct hf_buffer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t limit;
    uint8_t *given; /* the caller's storage, or NULL */
} hf_buffer;

/* `storage` may be NULL if `capacity` is 0. Costs nothing and cannot fail. */
static inline void hf_buffer_init(hf_buffer *buffer, void *storage, size_t capacity, size_t limit)
{
    *buffer = (hf_buffer){.bytes = storage, .capacity = capacity, .limit = limit, .given = storage};
}

/* Frees what is the buffer's own. It must not be used again before an init. */
void hf_buffer_clear(hf_buffer *buffer);

/* The slow path of hf_buffer_reserve. */
int hf_buffer_grow(hf_buffer *buffer, size_t more);

/*
 * Makes room for `more` bytes. Says nothing about the limit: the caller asks for what an append takes at most, and
 * the limit holds for what it took.
 */
static inline int hf_buffer_reserve(hf_buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->size)
        return 0;
    return hf_buffer_grow(buffer, more);
}

/* These two append to room that was reserved. */
static inline void hf_buffer_put(hf_buffer *buffer, const void *bytes, size_t size)
{
    HF_ASSERT(size <= buffer->capacity - buffer->size);
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

static inline void hf_buffer_put_byte(hf_buffer *buffer, unsigned byte)
{
    HF_ASSERT(buffer->size < buffer->capacity && byte <= 0xff);
    buffer->bytes[buffer->size++] = (uint8_t)byte;
}

#endif
