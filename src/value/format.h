/*
 * format.h: the bytes of encoded values: tags, lengths, numbers; and what makes an item a value.
 *
 * docs/format/value.md describes the layouts; what is here is what reader, writer and canonical form share.
 *
 *      00         no value: memory that was never written, a sector that was lost
 *      01 .. 0f   one type each
 *      10 .. 19   int: 0 to 8 bytes; longer
 *      1a .. 20   one type each
 *      21 .. 2f   free
 *      30 .. 32   canonical forms that are no values (canonical.h)
 *      33 .. 3f   free
 *      40 .. 7f   str of 0 to 62 bytes; longer
 *      80 .. 9f   bytes, 0 to 30; longer
 *      a0 .. af   tuple of 0 to 14 values; longer
 *      b0 .. bf   list, likewise
 *      c0 .. cf   dict of 0 to 14 pairs; longer
 *      d0 .. df   set of 0 to 14 members; longer
 *      e0 .. ff   free
 *
 * Numbers are little-endian. A length is a varint: 7 bits a byte, the lowest first, the top bit set in all bytes but
 * the last, no last byte 0 (but for the number 0), 10 bytes at most.
 *
 * Concurrency: pure functions. Failure: only hf_put_* with room that was reserved.
 */
#ifndef HF_VALUE_FORMAT_H
#define HF_VALUE_FORMAT_H

#include "base/bits.h"
#include "value/buffer.h"
#include "value/calendar.h"
#include "value/codec.h"

enum {
    HF_TAG_NONE = 0x01,
    HF_TAG_FALSE = 0x02,
    HF_TAG_TRUE = 0x03,
    HF_TAG_FLOAT = 0x04,
    HF_TAG_COMPLEX = 0x05,
    HF_TAG_BYTEARRAY = 0x06,
    HF_TAG_FROZENSET = 0x07,
    HF_TAG_DATE = 0x08,
    HF_TAG_TIME = 0x09,
    HF_TAG_DATETIME = 0x0a,
    HF_TAG_TIMEDELTA = 0x0b,
    HF_TAG_TIMEZONE = 0x0c,
    HF_TAG_ZONE = 0x0d,
    HF_TAG_DECIMAL = 0x0e,
    HF_TAG_FRACTION = 0x0f,
    HF_TAG_INT = 0x10, /* + number of bytes */
    HF_TAG_INT_LONG = 0x19,
    HF_TAG_UUID = 0x1a, /* + hf_uuid_safety */
    HF_TAG_UUID_UNSAFE = 0x1c,
    HF_TAG_ENUM = 0x1d,
    HF_TAG_ENUM_BASE = 0x1e,
    HF_TAG_OBJECT = 0x1f,
    HF_TAG_PICKLE = 0x20,
    HF_TAG_INSTANT = 0x30,  /* canonical: an aware datetime */
    HF_TAG_WALL = 0x31,     /* canonical: a datetime whose fold matters */
    HF_TAG_TIME_UTC = 0x32, /* canonical: an aware time */
    HF_TAG_STR = 0x40,      /* + number of bytes, .. */
    HF_TAG_STR_LONG = 0x7f, /* .. or all of these many, a varint behind it */
    HF_TAG_BYTES = 0x80,    /* likewise */
    HF_TAG_BYTES_LONG = 0x9f,
    HF_TAG_TUPLE = 0xa0, /* likewise, + number of values */
    HF_TAG_TUPLE_LONG = 0xaf,
    HF_TAG_LIST = 0xb0,
    HF_TAG_LIST_LONG = 0xbf,
    HF_TAG_DICT = 0xc0, /* + number of pairs */
    HF_TAG_DICT_LONG = 0xcf,
    HF_TAG_SET = 0xd0,
    HF_TAG_SET_LONG = 0xdf,
};

_Static_assert(HF_TAG_INT + 9 == HF_TAG_INT_LONG, "an int of at most 8 bytes has its length in the tag");

/* The byte behind HF_TAG_TIME and HF_TAG_DATETIME. */
enum {
    HF_FORM_ZONE = 0x03, /* hf_zone_kind */
    HF_FORM_FOLD = 0x04,
    HF_FORM_OFFSET = 0x08, /* of NAMED and OTHER */
    HF_FORM_FOLD_MATTERS = 0x10,
    HF_FORM_ALL = 0x1f,
};

_Static_assert(HF_ZONE_NAIVE == 0 && HF_ZONE_FIXED == 1 && HF_ZONE_NAMED == 2 && HF_ZONE_OTHER == 3,
               "two bits on disk");

/* The byte behind HF_TAG_DECIMAL. */
enum {
    HF_DECIMAL_KIND = 0x03, /* hf_decimal_kind */
    HF_DECIMAL_NEGATIVE = 0x04,
    HF_DECIMAL_ALL = 0x07,
};

_Static_assert(HF_DECIMAL_FINITE == 0 && HF_DECIMAL_INFINITE == 1 && HF_DECIMAL_NAN == 2 && HF_DECIMAL_SNAN == 3,
               "two bits on disk");

_Static_assert(HF_TAG_UUID + HF_UUID_UNSAFE == HF_TAG_UUID_UNSAFE && HF_UUID_UNKNOWN == 0 && HF_UUID_SAFE == 1,
               "three tags on disk");

/* Bytes of numbers of a fixed size. */
enum {
    HF_DATE_BYTES = 3,
    HF_TIME_BYTES = 5,
    HF_DATETIME_BYTES = 8,
    HF_OFFSET_BYTES = 5,
    HF_DELTA_DAYS_BYTES = 4,
    HF_DELTA_PART_BYTES = 3,
    HF_UUID_BYTES = 16,
};

_Static_assert(HF_ORDINAL_MAX < 1 << 24, "HF_DATE_BYTES");
_Static_assert(HF_DAY_US < INT64_C(1) << 38, "HF_TIME_BYTES, and with a sign twice as much in HF_OFFSET_BYTES");
_Static_assert(sizeof(((hf_value_uuid *)0)->bytes) == HF_UUID_BYTES, "as it is on disk");
_Static_assert(sizeof(double) == 8, "IEEE 754 binary64");

/*
 * What an item takes at most without the spans in it: three tags with lengths; tag, form, number and offset. Up to
 * sets in the list of kinds: a tag with a length, or with two doubles.
 */
enum { HF_VALUE_HEAD_MAX = 64, HF_VALUE_HEAD_SIMPLE = 17 };

/* -- limits of what is a value -- */

#define HF_DELTA_DAYS_MAX 999999999

/* Pairs of a dict, whose values are twice as many. */
#define HF_PAIRS_MAX (UINT64_MAX / 2)

static inline bool hf_offset_fits(int64_t us)
{
    return us > -HF_DAY_US && us < HF_DAY_US;
}

static inline bool hf_ordinal_fits(int64_t ordinal)
{
    return ordinal >= 1 && ordinal <= HF_ORDINAL_MAX;
}

static inline bool hf_delta_fits(hf_value_delta delta)
{
    return delta.days >= -HF_DELTA_DAYS_MAX && delta.days <= HF_DELTA_DAYS_MAX && delta.seconds >= 0 &&
           delta.seconds < 86400 && delta.us >= 0 && delta.us < HF_SECOND_US;
}

/* Of a TIME, a DATETIME or a TIMEZONE; its name is not looked at. */
static inline bool hf_moment_fits(hf_value_kind kind, const hf_value_moment *moment)
{
    int64_t end = kind == HF_VALUE_DATETIME ? HF_ORDINAL_MAX * HF_DAY_US : HF_DAY_US;
    bool asked = moment->zone == HF_ZONE_NAMED || moment->zone == HF_ZONE_OTHER;
    if (moment->zone > HF_ZONE_OTHER || moment->us < 0 || moment->us >= end)
        return false;
    if (kind == HF_VALUE_TIMEZONE && moment->zone != HF_ZONE_FIXED)
        return false;
    if (moment->zone == HF_ZONE_FIXED && !hf_offset_fits(moment->offset_us))
        return false;
    if (asked && moment->has_offset && !hf_offset_fits(moment->offset_us))
        return false;
    if (moment->fold_matters)
        return kind == HF_VALUE_DATETIME && asked && moment->has_offset;
    return true;
}

/* Digits two a byte, the first byte not 0; an infinity has none. */
static inline bool hf_decimal_fits(const hf_value_decimal *decimal)
{
    hf_span pairs = decimal->pairs;
    if (decimal->kind > HF_DECIMAL_SNAN || (decimal->kind == HF_DECIMAL_INFINITE && pairs.size > 0))
        return false;
    if (decimal->kind != HF_DECIMAL_FINITE && decimal->exponent != 0)
        return false;
    if (pairs.size > 0 && pairs.bytes[0] == 0)
        return false;
    for (size_t i = 0; i < pairs.size; i++)
        if (pairs.bytes[i] > 99)
            return false;
    return true;
}

/* The shortest two's complement form is the first so many of the bytes. */
static inline size_t hf_int_size(hf_span integer)
{
    size_t size = integer.size;
    const uint8_t *bytes = integer.bytes;
    while (size > 1) {
        unsigned sign = bytes[size - 2] & 0x80 ? 0xff : 0;
        if (bytes[size - 1] != sign)
            return size;
        size--;
    }
    return size == 1 && bytes[0] == 0 ? 0 : size;
}

static inline bool hf_int_is_negative(hf_span integer)
{
    return integer.size > 0 && (integer.bytes[integer.size - 1] & 0x80) != 0;
}

/* Greater than 0; of an int in its shortest form. */
static inline bool hf_int_is_positive(hf_span integer)
{
    return integer.size > 0 && !hf_int_is_negative(integer);
}

/* Whether values follow the item before the END that it has then. *count: how many. */
static inline bool hf_item_opens(const hf_value_item *item, uint64_t *count)
{
    *count = 1;
    switch (item->kind) {
    case HF_VALUE_TUPLE:
    case HF_VALUE_FROZENSET:
    case HF_VALUE_LIST:
    case HF_VALUE_SET:
        *count = item->count;
        return true;
    case HF_VALUE_DICT:
        *count = 2 * item->count;
        return true;
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
        return item->moment.zone == HF_ZONE_OTHER;
    case HF_VALUE_ENUM:
        return item->member.has_base;
    case HF_VALUE_OBJECT:
        return true;
    default:
        return false;
    }
}

/* Its members are in the order of their encodings. */
static inline bool hf_kind_is_sorted(hf_value_kind kind)
{
    return kind == HF_VALUE_FROZENSET || kind == HF_VALUE_SET;
}

/* May this be in that? A tzinfo is an object or a pickle; everything else may be anything. */
static inline bool hf_item_fits_in(hf_value_kind outer, hf_value_kind inner)
{
    if (outer == HF_VALUE_TIME || outer == HF_VALUE_DATETIME)
        return inner == HF_VALUE_OBJECT || inner == HF_VALUE_PICKLE;
    return true;
}

/* -- numbers -- */

static inline uint64_t hf_load_le(const uint8_t *bytes, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number |= (uint64_t)bytes[i] << (8 * i);
    return number;
}

static inline int64_t hf_load_le_signed(const uint8_t *bytes, size_t size)
{
    uint64_t number = hf_load_le(bytes, size);
    if (size > 0 && size < 8 && (bytes[size - 1] & 0x80) != 0)
        number |= ~UINT64_C(0) << (8 * size);
    return (int64_t)number;
}

static inline void hf_put_le(hf_buffer *out, uint64_t number, size_t size)
{
    HF_ASSERT(size <= out->capacity - out->size);
    for (size_t i = 0; i < size; i++)
        out->bytes[out->size + i] = (uint8_t)(number >> (8 * i));
    out->size += size;
}

static inline void hf_put_varint(hf_buffer *out, uint64_t number)
{
    while (number >= 0x80) {
        hf_buffer_put_byte(out, 0x80 | (number & 0x7f));
        number >>= 7;
    }
    hf_buffer_put_byte(out, (unsigned)number);
}

/* Signed numbers in varints: 0, -1, 1, -2, 2, ... */
static inline uint64_t hf_zigzag(int64_t number)
{
    return ((uint64_t)number << 1) ^ (number < 0 ? UINT64_MAX : 0);
}

static inline int64_t hf_unzigzag(uint64_t number)
{
    return (int64_t)((number >> 1) ^ (number & 1 ? UINT64_MAX : 0));
}

/* A tag with a length in it, or behind it. */
static inline void hf_put_counted(hf_buffer *out, unsigned tag, unsigned tag_long, uint64_t count)
{
    if (count < tag_long - tag) {
        hf_buffer_put_byte(out, tag + (unsigned)count);
    } else {
        hf_buffer_put_byte(out, tag_long);
        hf_put_varint(out, count);
    }
}

static inline void hf_put_text(hf_buffer *out, hf_span text)
{
    hf_put_counted(out, HF_TAG_STR, HF_TAG_STR_LONG, text.size);
    hf_buffer_put(out, text.bytes, text.size);
}

/* In its shortest form. */
static inline void hf_put_int(hf_buffer *out, hf_span integer)
{
    size_t size = hf_int_size(integer);
    hf_put_counted(out, HF_TAG_INT, HF_TAG_INT_LONG, size);
    hf_buffer_put(out, integer.bytes, size);
}

static inline void hf_put_int64(hf_buffer *out, int64_t number)
{
    /* The bits but the sign; -1 has none, and takes a byte. */
    uint64_t bits = (uint64_t)(number < 0 ? ~number : number);
    unsigned size = number == 0 ? 0 : bits == 0 ? 1 : (hf_log2_64(bits) + 1) / 8 + 1;
    hf_buffer_put_byte(out, HF_TAG_INT + size);
    hf_put_le(out, (uint64_t)number, size);
}

#endif
