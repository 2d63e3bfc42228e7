/*
 * buffer.c: how a buffer grows: by half, so that appending costs a constant amount a byte.
 */
#include "value/buffer.h"

#include "base/memory.h"

#include <holdfast/status.h>

int hf_buffer_grow(hf_buffer *buffer, size_t more)
{
    if (more > SIZE_MAX / 2 - buffer->size)
        return HF_NOMEM;
    size_t least = buffer->size + more, capacity = buffer->capacity + buffer->capacity / 2;
    if (capacity < least || capacity > SIZE_MAX / 2)
        capacity = least;
    if (capacity < 64)
        capacity = 64;

    bool moving = buffer->bytes == buffer->given;
    uint8_t *bytes = hf_realloc(moving ? NULL : buffer->bytes, capacity);
    if (bytes == NULL)
        return HF_NOMEM;
    if (moving && buffer->size > 0)
        memcpy(bytes, buffer->bytes, buffer->size);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return 0;
}

void hf_buffer_clear(hf_buffer *buffer)
{
    if (buffer->bytes != buffer->given)
        hf_free(buffer->bytes);
    buffer->bytes = buffer->given = NULL;
    buffer->size = buffer->capacity = 0;
}
