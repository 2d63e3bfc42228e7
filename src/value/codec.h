/*
 * codec.h: values as bytes, the same in every home: shared memory, a store's file, a cask's log.
 *
 * An encoded value is a tag byte and what the tag says follows. It says itself where it ends:
 *
 *      12 39 30                        12345             tag 0x10 + 2: an int of 2 bytes
 *      43 'a' 'b' 'c'                  'abc'             tag 0x40 + 3: a str of 3 bytes
 *      a2 [11 01] [41 'x']             (1, 'x')          tag 0xa0 + 2: a tuple of 2 values
 *      c1 [41 'x'] [11 01]             {'x': 1}          tag 0xc0 + 1: a dict of 1 pair
 *
 * format.h has the tags, docs/format/value.md every layout to the byte. Reading and writing are the same row of
 * items, so that what was read can be written as it is. A value that holds others is an item, then theirs, then an
 * END:
 *
 *      (1, ('x',))                     TUPLE 2 | INT 1 | TUPLE 1 | STR 'x' | END | END
 *
 * The writer appends items to a buffer. The reader gives them out one at a time; the bytes that an item points to are
 * those that are read. Neither calls itself: the values that are open are a stack of fixed depth in both.
 *
 * Invariants.
 *   1. One value, one encoding: numbers and lengths have their shortest form, bits without a meaning are 0, the
 *      members of a set or frozenset are in the order of their encodings; a dict's pairs are in the dict's own. What
 *      can be read, written again, gives the same bytes.
 *   2. Each type comes back exactly: all bits of a float, a Decimal's exponent, a fold, a surrogate in a str.
 *   3. Reading never goes behind the given bytes, takes no memory, and takes time in proportion to the bytes (times
 *      the depth, where sets are nested).
 *
 * What the codec does not know: which str is the name of a class, whether a fraction is in lowest terms (the
 * canonical form reduces it), what a time zone says, which keys of a dict or members of a set are equal, or can be
 * there at all. It stores what it is told.
 *
 * Concurrency: none; a reader or a writer is one thread's. Failure: HF_CORRUPT for bytes that are no encoding, with
 * a reason in the reader; HF_INVALID for an item that is no value; HF_LIMIT for values nested more than
 * HF_VALUE_DEPTH_MAX deep or longer than the writer's limit; HF_NOMEM. After each the reader or writer is as it was.
 */
#ifndef HF_VALUE_CODEC_H
#define HF_VALUE_CODEC_H

#include "base/span.h"
#include "value/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How many values may be open at a time: what is inside the innermost of so many tuples is no container. */
#define HF_VALUE_DEPTH_MAX 200

/* The kinds of items, and what they are called in messages. */
#define HF_VALUE_KINDS(X)     \
    X(NONE, "None")           \
    X(BOOL, "bool")           \
    X(INT, "int")             \
    X(FLOAT, "float")         \
    X(COMPLEX, "complex")     \
    X(STR, "str")             \
    X(BYTES, "bytes")         \
    X(BYTEARRAY, "bytearray") \
    X(TUPLE, "tuple")         \
    X(FROZENSET, "frozenset") \
    X(LIST, "list")           \
    X(DICT, "dict")           \
    X(SET, "set")             \
    X(DATE, "date")           \
    X(TIME, "time")           \
    X(DATETIME, "datetime")   \
    X(TIMEDELTA, "timedelta") \
    X(TIMEZONE, "timezone")   \
    X(ZONE, "ZoneInfo")       \
    X(DECIMAL, "Decimal")     \
    X(FRACTION, "Fraction")   \
    X(UUID, "UUID")           \
    X(ENUM, "Enum")           \
    X(OBJECT, "object")       \
    X(PICKLE, "pickle")       \
    X(END, "end")

typedef enum hf_value_kind {
#define HF_VALUE_KIND(name, text) HF_VALUE_##name,
    HF_VALUE_KINDS(HF_VALUE_KIND)
#undef HF_VALUE_KIND
        HF_VALUE_KIND_COUNT,
} hf_value_kind;

const char *hf_value_kind_name(hf_value_kind kind);

/*
 * What kind of tzinfo a time or datetime has.
 *
 *   NAIVE  none
 *   FIXED  datetime.timezone: an offset, and perhaps a name
 *   NAMED  zoneinfo.ZoneInfo: its key
 *   OTHER  any other: a value of its own, an OBJECT or PICKLE, follows as another item
 */
typedef enum hf_zone_kind { HF_ZONE_NAIVE, HF_ZONE_FIXED, HF_ZONE_NAMED, HF_ZONE_OTHER } hf_zone_kind;

/*
 * A time, a datetime or (`us` and `fold` unused, zone FIXED) a timezone.
 *
 * `offset_us` is the distance from UTC: a FIXED zone's own, always there; of NAMED and OTHER what utcoffset() says,
 * `has_offset` false where it says None. It is stored although the zone could be asked again, because this code
 * cannot ask it, and because keys must not move when the time zone database changes.
 *
 * `fold_matters`: utcoffset() would say something else with the other fold (the hour that comes twice when clocks are
 * set back, or the one that is left out). For Python such a datetime equals none in another zone. Only of a datetime
 * that has an offset and a NAMED or OTHER zone.
 */
typedef struct hf_value_moment {
    int64_t us; /* of the day; or since 0001-01-01T00:00, local */
    int64_t offset_us;
    hf_span name; /* FIXED: the name, if has_name; NAMED: the key */
    uint8_t zone; /* hf_zone_kind */
    bool fold;
    bool has_offset;
    bool fold_matters;
    bool has_name;
} hf_value_moment;

/* As Python normalises it: 0 <= seconds < 86,400 and 0 <= us < 1,000,000, whatever the sign. */
typedef struct hf_value_delta {
    int32_t days, seconds, us;
} hf_value_delta;

typedef enum hf_decimal_kind {
    HF_DECIMAL_FINITE,
    HF_DECIMAL_INFINITE,
    HF_DECIMAL_NAN,
    HF_DECIMAL_SNAN,
} hf_decimal_kind;

/*
 * (-1)^negative x digits x 10^exponent. `pairs` are the decimal digits, two a byte (0 to 99), the highest first, the
 * first byte not 0: no bytes are the digits 0. A NaN's digits are its payload; an infinity has none, and only a
 * finite one has an exponent.
 */
typedef struct hf_value_decimal {
    hf_span pairs;
    int64_t exponent;
    uint8_t kind; /* hf_decimal_kind */
    bool negative;
} hf_value_decimal;

/* Both as INT's; the denominator is at least 1. In lowest terms, as Python keeps it, which is not checked. */
typedef struct hf_value_fraction {
    hf_span numerator, denominator;
} hf_value_fraction;

/* UUID.is_safe: whether its making was safe against other processes. No part of its equality. */
typedef enum hf_uuid_safety { HF_UUID_UNKNOWN, HF_UUID_SAFE, HF_UUID_UNSAFE } hf_uuid_safety;

typedef struct hf_value_uuid {
    uint8_t bytes[16]; /* highest first, as UUID.bytes */
    uint8_t safety;    /* hf_uuid_safety */
} hf_value_uuid;

/*
 * A member of an Enum: its class, and which one it is: by name, or (members of a Flag, whose combinations have no
 * lasting name) by number.
 *
 * `has_base`: the class also derives from a type of plain values (IntEnum, StrEnum, IntFlag, class E(str, Enum)) and
 * so its members equal those. The value that this one equals follows as another item, then END. Not for a plain
 * Enum or Flag, which equal only themselves.
 */
typedef struct hf_value_member {
    hf_span module, class_name; /* __module__ and __qualname__, UTF-8 */
    hf_span member;             /* the name, UTF-8; or the number, as INT's */
    bool by_number;
    bool has_base;
} hf_value_member;

typedef struct hf_value_item {
    hf_value_kind kind;
    union {
        bool truth;                 /* BOOL */
        uint64_t bits[2];           /* FLOAT: [0], as in the memory of a double; COMPLEX: real, imaginary */
        hf_span span;               /* INT: two's complement, lowest byte first, no bytes are 0; STR: UTF-8 (utf8.h);
                                      BYTES, BYTEARRAY, PICKLE; ZONE: its key; OBJECT: the name of its codec */
        uint64_t count;             /* TUPLE, FROZENSET, LIST, SET: how many values follow, then END;
                                      DICT: how many pairs, a key and its value each, then END */
        int32_t ordinal;            /* DATE: see calendar.h */
        hf_value_moment moment;     /* TIME, DATETIME, TIMEZONE. With a zone OTHER: a value follows, then END */
        hf_value_delta delta;       /* TIMEDELTA */
        hf_value_decimal decimal;   /* DECIMAL */
        hf_value_fraction fraction; /* FRACTION */
        hf_value_uuid uuid;         /* UUID */
        hf_value_member member;     /* ENUM. With has_base: a value follows, then END */
                                    /* OBJECT: a value follows, its payload, then END */
    };
} hf_value_item;

/* A value that is open: some of what it holds has been read or written. */
typedef struct hf_value_frame {
    hf_value_kind kind;
    uint64_t count;  /* how many values it holds */
    uint64_t left;   /* how many of them are still to come */
    size_t start;    /* reader: where the member begins that comes next; writer: where the first one begins */
    size_t previous; /* reader: where the member before it began */
} hf_value_frame;

/* -- reading -- */

typedef struct hf_value_reader {
    const uint8_t *bytes;
    size_t size;
    size_t at; /* where the next item begins */
    unsigned depth;
    const char *reason; /* of the last failure, constant text; or NULL */
    hf_value_frame frames[HF_VALUE_DEPTH_MAX];
} hf_value_reader;

static inline void hf_value_reader_init(hf_value_reader *reader, const void *bytes, size_t size)
{
    reader->bytes = bytes;
    reader->size = size;
    reader->at = 0;
    reader->depth = 0;
    reader->reason = NULL;
}

/* All bytes are read and no value is open. */
static inline bool hf_value_reader_at_end(const hf_value_reader *reader)
{
    return reader->at == reader->size && reader->depth == 0;
}

/*
 * The next item. Where no value is open, any number of values may follow each other. What *item points to is in the
 * reader's bytes. 0, or HF_CORRUPT.
 */
int hf_value_read(hf_value_reader *reader, hf_value_item *item);

/* Reads the next value with all it holds. HF_INVALID where an END is next; HF_CORRUPT, and nothing is read then. */
int hf_value_skip(hf_value_reader *reader);

/*
 * The item that the bytes begin with, never an END, and how many bytes it takes, for a caller who keeps account of
 * open values himself: their depth, the order of a set's members, what a tzinfo may be. 0, or HF_CORRUPT and why.
 */
int hf_value_take(const void *bytes, size_t size, hf_value_item *item, size_t *taken, const char **reason);

/* 0 if the bytes are one value and nothing else, else HF_CORRUPT and why, in *reason unless that is NULL. */
int hf_value_check(const void *bytes, size_t size, const char **reason);

/* An INT's number, if it fits into 64 bits. */
bool hf_span_int64(hf_span integer, int64_t *out);

static inline double hf_double_of_bits(uint64_t bits)
{
    double real;
    memcpy(&real, &bits, sizeof real);
    return real;
}

static inline uint64_t hf_bits_of_double(double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

/* -- writing -- */

typedef struct hf_value_writer {
    hf_buffer out;
    unsigned depth;
    hf_value_frame frames[HF_VALUE_DEPTH_MAX];
} hf_value_writer;

/* Begins in the caller's storage (see buffer.h) and never gets longer than `limit`. */
static inline void hf_value_writer_init(hf_value_writer *writer, void *storage, size_t capacity, size_t limit)
{
    hf_buffer_init(&writer->out, storage, capacity, limit);
    writer->depth = 0;
}

static inline void hf_value_writer_clear(hf_value_writer *writer)
{
    hf_buffer_clear(&writer->out);
}

/* No value is open: writer->out has whole values. */
static inline bool hf_value_writer_is_whole(const hf_value_writer *writer)
{
    return writer->depth == 0;
}

/*
 * Appends an item. An int need not be in its shortest form; everything else must be as described above. An END where
 * the open value lacks some of what it was said to hold is HF_INVALID, and so is a value that it has no place for.
 */
int hf_value_write(hf_value_writer *writer, const hf_value_item *item);

/*
 * Appends an item, never an END, to a buffer, for a caller who keeps account of open values himself. As
 * hf_value_write, but for what only open values can tell.
 */
int hf_value_put(hf_buffer *out, const hf_value_item *item);

int hf_value_write_int64(hf_value_writer *writer, int64_t number);

static inline int hf_value_write_none(hf_value_writer *writer)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_NONE});
}

static inline int hf_value_write_bool(hf_value_writer *writer, bool truth)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_BOOL, .truth = truth});
}

static inline int hf_value_write_double(hf_value_writer *writer, double real)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_FLOAT, .bits = {hf_bits_of_double(real)}});
}

static inline int hf_value_write_str(hf_value_writer *writer, const void *utf8, size_t size)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_STR, .span = {utf8, size}});
}

static inline int hf_value_write_bytes(hf_value_writer *writer, const void *bytes, size_t size)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_BYTES, .span = {bytes, size}});
}

static inline int hf_value_write_tuple(hf_value_writer *writer, uint64_t count)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_TUPLE, .count = count});
}

static inline int hf_value_write_frozenset(hf_value_writer *writer, uint64_t count)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_FROZENSET, .count = count});
}

static inline int hf_value_write_end(hf_value_writer *writer)
{
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_END});
}

/* -- Decimals' digits -- */

/*
 * Packs decimal digits ('0' to '9', the highest first, leading zeros allowed) into pairs, which has (count + 1) / 2
 * bytes of room. Returns how many it took.
 */
size_t hf_decimal_pack(const char *digits, size_t count, uint8_t *pairs);

/* How many digits; of no bytes, 0. */
static inline size_t hf_decimal_digits(hf_span pairs)
{
    return pairs.size == 0 ? 0 : 2 * pairs.size - (pairs.bytes[0] < 10);
}

/* The digits, without a NUL, into room for hf_decimal_digits of them. */
void hf_decimal_unpack(hf_span pairs, char *digits);

/* -- describing -- */

/*
 * A short text for messages and for debugging, much as Python would show the value; ASCII, ends with a NUL, cut with
 * "..." where `size` (at least 4) is too short. Whatever the bytes are: of damaged ones it shows what can be read and
 * says where and why it stopped.
 */
void hf_value_describe(const void *bytes, size_t count, char *out, size_t size);

#endif
