/*
 * word.h: a value as one 64-bit word: itself, if it is short enough, or where it is.
 *
 *       63                                                     8 7    4 3    0
 *      +------------------------------------------------------------+--------+
 *      |                            payload, 60 bits                |  tag   |
 *      +------------------------------------------------------------+--------+
 *
 *      tag                payload
 *      0   none           0: no value; memory that was never written looks so. Nothing else is valid
 *      1   int            the number, signed: -2^59 to 2^59 - 1
 *      2   constant       0 None, 1 False, 2 True
 *      3   str            bits 4-7: how many bytes, 0 to 7; then the bytes (UTF-8), the first in bits 8-15;
 *                         0 behind the last one
 *      4   bytes          likewise
 *      5   reference      to an encoded value; the region says what its 60 bits are
 *      6   object         a reference of a store's: to what has an identity (reserved)
 *      7 .. 15            reserved
 *
 * Invariants. A value that fits into a word is never behind a reference, so two words without references are one
 * value if and only if they are equal. As keys they are not: 1 and True are one key and two words.
 *
 * A word is a number; on disk and in shared memory it is stored with its lowest byte first.
 *
 * Concurrency: pure functions. Failure: a word from outside may be anything: hf_word_check before it is unpacked.
 */
#ifndef HF_VALUE_WORD_H
#define HF_VALUE_WORD_H

#include "base/assert.h"
#include "value/codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t hf_word;

typedef enum hf_word_tag {
    HF_WORD_TAG_NONE = 0,
    HF_WORD_TAG_INT = 1,
    HF_WORD_TAG_CONSTANT = 2,
    HF_WORD_TAG_STR = 3,
    HF_WORD_TAG_BYTES = 4,
    HF_WORD_TAG_REFERENCE = 5,
    HF_WORD_TAG_OBJECT = 6,
} hf_word_tag;

enum { HF_WORD_TAG_BITS = 4, HF_WORD_SHORT_MAX = 7, HF_WORD_SHORT_SHIFT = 8 };

#define HF_WORD_INT_MAX ((INT64_C(1) << 59) - 1)
#define HF_WORD_INT_MIN (-HF_WORD_INT_MAX - 1)
#define HF_WORD_REFERENCE_MAX ((UINT64_C(1) << 60) - 1)

#define HF_WORD_EMPTY ((hf_word)0)
#define HF_WORD_NONE ((hf_word)HF_WORD_TAG_CONSTANT)
#define HF_WORD_FALSE ((hf_word)(UINT64_C(1) << 4 | HF_WORD_TAG_CONSTANT))
#define HF_WORD_TRUE ((hf_word)(UINT64_C(2) << 4 | HF_WORD_TAG_CONSTANT))

_Static_assert(sizeof(hf_word) == 8, "a word on disk");
_Static_assert(HF_WORD_TAG_OBJECT < 1 << HF_WORD_TAG_BITS, "tags fit");
_Static_assert(HF_WORD_SHORT_SHIFT + 8 * HF_WORD_SHORT_MAX == 64, "short strings fill the word");
_Static_assert(HF_WORD_SHORT_MAX < 1 << (HF_WORD_SHORT_SHIFT - HF_WORD_TAG_BITS), "and so does their length");

static inline hf_word_tag hf_word_tag_of(hf_word word)
{
    return (hf_word_tag)(word & ((1u << HF_WORD_TAG_BITS) - 1));
}

static inline uint64_t hf_word_payload(hf_word word)
{
    return word >> HF_WORD_TAG_BITS;
}

/* The value is elsewhere. */
static inline bool hf_word_is_reference(hf_word word)
{
    return hf_word_tag_of(word) == HF_WORD_TAG_REFERENCE;
}

/* -- packing -- */

static inline hf_word hf_word_bool(bool truth)
{
    return truth ? HF_WORD_TRUE : HF_WORD_FALSE;
}

/* Whether it fits; *out only then. */
static inline bool hf_word_pack_int(int64_t number, hf_word *out)
{
    if (number < HF_WORD_INT_MIN || number > HF_WORD_INT_MAX)
        return false;
    *out = (uint64_t)number << HF_WORD_TAG_BITS | HF_WORD_TAG_INT;
    return true;
}

/* `tag` is STR or BYTES; a str must be text (utf8.h). Whether it fits; *out only then. */
static inline bool hf_word_pack_short(hf_word_tag tag, const void *bytes, size_t size, hf_word *out)
{
    HF_ASSERT(tag == HF_WORD_TAG_STR || tag == HF_WORD_TAG_BYTES);
    if (size > HF_WORD_SHORT_MAX)
        return false;
    hf_word word = (hf_word)size << HF_WORD_TAG_BITS | tag;
    for (size_t i = 0; i < size; i++)
        word |= (hf_word)((const uint8_t *)bytes)[i] << (HF_WORD_SHORT_SHIFT + 8 * i);
    *out = word;
    return true;
}

/* `where` is at most HF_WORD_REFERENCE_MAX. */
static inline hf_word hf_word_reference(uint64_t where)
{
    HF_ASSERT(where <= HF_WORD_REFERENCE_MAX);
    return where << HF_WORD_TAG_BITS | HF_WORD_TAG_REFERENCE;
}

/* -- unpacking; the tag has been looked at -- */

static inline int64_t hf_word_int(hf_word word)
{
    HF_ASSERT(hf_word_tag_of(word) == HF_WORD_TAG_INT);
    return (int64_t)(word & ~(UINT64_C(15))) / 16;
}

static inline bool hf_word_truth(hf_word word)
{
    HF_ASSERT(word == HF_WORD_TRUE || word == HF_WORD_FALSE);
    return word == HF_WORD_TRUE;
}

/* The bytes of a short str or bytes, into room for HF_WORD_SHORT_MAX; returns how many. */
static inline size_t hf_word_short(hf_word word, uint8_t *bytes)
{
    size_t size = hf_word_payload(word) & HF_WORD_SHORT_MAX;
    HF_ASSERT((hf_word_payload(word) & 15) == size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(word >> (HF_WORD_SHORT_SHIFT + 8 * i));
    return size;
}

static inline uint64_t hf_word_where(hf_word word)
{
    HF_ASSERT(hf_word_is_reference(word));
    return hf_word_payload(word);
}

/* -- words and encoded values -- */

/* 0 if this is a word that packing makes (any reference is), HF_CORRUPT if not; HF_WORD_EMPTY is none. */
int hf_word_check(hf_word word);

/* 1 and a word, if the whole encoded value fits into one; 0 if it has to be elsewhere; HF_CORRUPT. */
int hf_word_from_encoded(const void *bytes, size_t size, hf_word *out);

/* Appends the encoding of a word that is its value; HF_CORRUPT for any other. */
int hf_word_write(hf_word word, hf_value_writer *writer);

#endif
