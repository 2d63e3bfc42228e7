/*
 * span.h: bytes that are somebody else's: where they are and how many.
 *
 * Whoever gives a span says how long it is good for. Concurrency, failure: a plain pair of words.
 */
#ifndef HF_BASE_SPAN_H
#define HF_BASE_SPAN_H

#include <stddef.h>
#include <stdint.h>

/* `bytes` may be NULL if size is 0. */
typedef struct hf_span {
    const uint8_t *bytes;
    size_t size;
} hf_span;

static inline hf_span hf_span_of(const void *bytes, size_t size)
{
    return (hf_span){bytes, size};
}

#endif
