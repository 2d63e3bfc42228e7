/*
 * test_shared_support.h: maps in shared memory for tests, keys in all their forms, and values of all kinds.
 *
 *      keys      number -> several datums that are one key: form 0 is the one that is its own canonical form where there is
 *                one. The first are chosen, the others are many
 *      values    number -> a datum: which kind and how long is in the number
 *
 * The names are of this process and removed when a test ends, whichever way.
 */
#ifndef HF_TEST_SHARED_SUPPORT_H
#define HF_TEST_SHARED_SUPPORT_H

#include "cm.h"

#include "base/fault.h"
#include "shared/shared.h"
#include "value/codec.h"

#include <holdfast/status.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ok(status) assert_int_equal((status), 0)
#define yes(status) assert_int_equal((status), 1)
#define says(status, expected) assert_int_equal((status), (expected))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 8 };
#else
enum { SLOW = 1 };
#endif

static inline uint64_t rounds(uint64_t quick)
{
    const char *torture = getenv("TORTURE");
    return torture != NULL && *torture != '\0' && strcmp(torture, "0") != 0 ? 100 * quick : quick / SLOW;
}

typedef struct random_source {
    uint64_t state;
} random_source;

static inline uint64_t random_next(random_source *random)
{
    uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline unsigned random_below(random_source *random, unsigned below)
{
    return (unsigned)(random_next(random) % below);
}

/* -- maps -- */

static char the_name[64];

static inline const char *new_name(void)
{
    static unsigned count;
    snprintf(the_name, sizeof the_name, "hf-test-shared-%d-%u", (int)getpid(), count++);
    return the_name;
}

static inline int name_end(void **state)
{
    hf_fault_disarm();
    if (the_name[0] != '\0')
        hf_shared_unlink(the_name);
    the_name[0] = '\0';
    return 0;
}

#define shared_test(test)                                 \
    {                                                     \
#test, test, NULL, name_end, (void *)(uintptr_t)0 \
    }

/* A map under a new name, which waits for nothing. */
static inline hf_shared *map_of_size(uint64_t max_size)
{
    const hf_shared_options options = {.mode = HF_SHARED_CREATE, .max_size = max_size};
    hf_shared *map;
    ok(hf_shared_open(new_name(), &options, &map));
    return map;
}

static inline hf_shared *map_new(void)
{
    return map_of_size(0);
}

static inline hf_shared *map_again(void)
{
    const hf_shared_options options = {.mode = HF_SHARED_ATTACH};
    hf_shared *map;
    ok(hf_shared_open(the_name, &options, &map));
    return map;
}

static inline void map_check(hf_shared *map)
{
    const char *what;
    int status = hf_shared_check(map, &what);
    if (status < 0)
        fail_msg("hf_shared_check: %s: %s", hf_status_name(status), what);
}

/* -- encodings: what C has no type for -- */

static inline hf_datum other(hf_value_writer *writer)
{
    assert_true(hf_value_writer_is_whole(writer));
    return (hf_datum){.kind = HF_DATUM_OTHER, .data = writer->out.bytes, .size = writer->out.size};
}

static inline bool datum_is(const hf_datum *a, const hf_datum *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case HF_DATUM_NONE:
        return true;
    case HF_DATUM_BOOL:
        return a->truth == b->truth;
    case HF_DATUM_INT:
        return a->integer == b->integer;
    case HF_DATUM_FLOAT:
        return memcmp(&a->real, &b->real, sizeof a->real) == 0; /* a nan is itself here, and -0.0 is not 0.0 */
    default:
        return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
    }
}

/* -- keys -- */

enum { CHOSEN = 15, FORMS = 5, KEYS = 80 };

typedef struct key_text {
    uint8_t bytes[2100];
} key_text;

/* (number, 'a'), the number in several forms, or nested once more. */
static inline hf_datum tuple_of(unsigned form, bool nested, key_text *text)
{
    hf_value_writer writer;
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    ok(hf_value_write_tuple(&writer, 2));
    if (nested)
        ok(hf_value_write_tuple(&writer, 1));
    if (form % 3 == 0)
        ok(hf_value_write_int64(&writer, 1));
    else if (form % 3 == 1)
        ok(hf_value_write_double(&writer, 1.0));
    else
        ok(hf_value_write_bool(&writer, true));
    if (nested)
        ok(hf_value_write_end(&writer));
    ok(hf_value_write_str(&writer, "a", 1));
    ok(hf_value_write_end(&writer));
    return other(&writer);
}

/* 2**70: an int of 9 bytes, a float; a Decimal, 1180591620717411303424. */
static inline hf_datum big(unsigned form, key_text *text)
{
    static const uint8_t bytes[] = {0, 0, 0, 0, 0, 0, 0, 0, 64};
    static const char digits[] = "1180591620717411303424";
    uint8_t pairs[16];
    hf_value_writer writer;
    hf_value_item item = {.kind = HF_VALUE_INT, .span = {bytes, sizeof bytes}};
    if (form % 3 == 1)
        return hf_datum_float(0x1p70);
    if (form % 3 == 2) {
        item = (hf_value_item){.kind = HF_VALUE_DECIMAL};
        item.decimal.pairs = hf_span_of(pairs, hf_decimal_pack(digits, sizeof digits - 1, pairs));
    }
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    ok(hf_value_write(&writer, &item));
    return other(&writer);
}

/* 1/2: a float, a Fraction. */
static inline hf_datum half(unsigned form, key_text *text)
{
    static const uint8_t one = 1, two = 2;
    hf_value_writer writer;
    hf_value_item item = {.kind = HF_VALUE_FRACTION, .fraction = {{&one, 1}, {&two, 1}}};
    if (form % 2 == 0)
        return hf_datum_float(0.5);
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    ok(hf_value_write(&writer, &item));
    return other(&writer);
}

/* A Decimal: of the same value with other zeros behind it. */
static inline hf_datum decimal(unsigned form, key_text *text)
{
    uint8_t pairs[4];
    char digits[] = "1500";
    size_t zeros = form % 3;
    hf_value_writer writer;
    hf_value_item item = {.kind = HF_VALUE_DECIMAL, .decimal = {.exponent = -1 - (int64_t)zeros}};
    item.decimal.pairs = hf_span_of(pairs, hf_decimal_pack(digits, 2 + zeros, pairs));
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    ok(hf_value_write(&writer, &item));
    return other(&writer);
}

static inline hf_datum zero_or_one(unsigned number, unsigned form)
{
    if (form % 5 == 0)
        return hf_datum_int(number);
    if (form % 5 == 1)
        return hf_datum_float(number);
    if (form % 5 == 2 && number == 0)
        return hf_datum_float(-0.0);
    return hf_datum_bool(number == 1);
}

static inline hf_datum chosen_key(unsigned number, unsigned form, key_text *text)
{
    switch (number) {
    case 0:
    case 1:
        return zero_or_one(number, form);
    case 2:
    case 3:
        return tuple_of(form, number == 3, text);
    case 4:
        return big(form, text);
    case 5:
        return half(form, text);
    case 6:
        return decimal(form, text);
    case 7:
        return hf_datum_none();
    case 8:
        return hf_datum_str("");
    case 9:
        return hf_datum_bytes(NULL, 0);
    case 10:
        return form % 2 == 0 ? hf_datum_int(INT64_MIN) : hf_datum_float(-0x1p63);
    case 11:
        return hf_datum_int(INT64_MAX); /* no double is equal to it */
    case 12:
        memset(text->bytes, 'k', 2000);
        return hf_datum_text((const char *)text->bytes, 2000);
    case 13:
        memset(text->bytes, 'k', 2000);
        return hf_datum_bytes(text->bytes, 2000);
    default:
        return hf_datum_float(HUGE_VAL);
    }
}

/* What it points to is in `text`, or constant. */
static inline hf_datum key_of(unsigned number, unsigned form, key_text *text)
{
    if (number < CHOSEN)
        return chosen_key(number, form, text);
    int size = snprintf((char *)text->bytes, sizeof text->bytes, "key %u%.*s", number, (int)(number % 23),
                        "----------------------");
    switch (number % 4) {
    case 0:
        return hf_datum_text((const char *)text->bytes, (size_t)size);
    case 1:
        return hf_datum_bytes(text->bytes, (size_t)size);
    case 2:
        return form % 2 == 0 ? hf_datum_int(-(int64_t)number) : hf_datum_float(-(double)number);
    default:
        return hf_datum_float(number + 0.25);
    }
}

/* -- values -- */

enum { VALUES = 400, LONGEST = 1 << 20 };

typedef struct value_text {
    uint8_t bytes[LONGEST + 16];
} value_text;

/* Bytes of any length up to a MiB, mostly few; of a seed. */
static inline size_t value_size(unsigned number)
{
    return number % 101 == 100 ? LONGEST - number : number % 31 == 30 ? 3000 + number * 50 : number % 90;
}

static inline hf_datum other_value(unsigned number, value_text *text)
{
    static const uint8_t pickle[] = {0x80, 4, 'N', '.'};
    static const uint8_t large[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const hf_value_item items[] = {
        {.kind = HF_VALUE_COMPLEX, .bits = {number, number}},
        {.kind = HF_VALUE_INT, .span = {large, sizeof large}},
        {.kind = HF_VALUE_PICKLE, .span = {pickle, sizeof pickle}},
        {.kind = HF_VALUE_BYTEARRAY, .span = {large, number % sizeof large}},
        {.kind = HF_VALUE_DATE, .ordinal = 1 + (int32_t)number},
    };
    hf_value_writer writer;
    hf_value_writer_init(&writer, text->bytes, sizeof text->bytes, sizeof text->bytes);
    ok(hf_value_write_tuple(&writer, 2));
    ok(hf_value_write_int64(&writer, number));
    ok(hf_value_write(&writer, &items[number / 8 % LENGTH(items)]));
    ok(hf_value_write_end(&writer));
    return other(&writer);
}

static inline hf_datum value_of(unsigned number, value_text *text)
{
    size_t size = value_size(number);
    switch (number % 8) {
    case 0:
        return number % 3 == 0 ? hf_datum_none() : hf_datum_bool(number % 2 == 0);
    case 1:
        return hf_datum_int((int64_t)number * (number % 3 == 0 ? 1 : -1000000007));
    case 2:
        return hf_datum_float(number % 3 == 0 ? NAN : number * 0.1);
    case 3:
        return other_value(number, text);
    case 4:
        for (size_t i = 0; i < size; i++)
            text->bytes[i] = (uint8_t)('a' + (number + i) % 26);
        return hf_datum_text((const char *)text->bytes, size);
    default:
        for (size_t i = 0; i < size; i++)
            text->bytes[i] = (uint8_t)(number * 31 + i * 13);
        return hf_datum_bytes(text->bytes, size);
    }
}

#endif
