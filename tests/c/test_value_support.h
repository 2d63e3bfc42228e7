/*
 * test_value_support.h: what the tests of values share: a notation for values, random values, and a model of them.
 *
 * Notation. A value as text, so that tables of values can be read:
 *
 *      N T F                  None, True, False
 *      i-12 f1.5 c1,-0.5      int, float, complex
 *      sabc b00ff a00         str, bytes (hex), bytearray (hex)
 *      (i1 sx) {i1 i2}        tuple, frozenset
 *      [i1 sx] S{i1 i2}       list, set
 *      <sx i1 sy i2>          dict: a key, its value, a key ..
 *      d-1.50E+3 dNaN7        Decimal, as Python's constructor takes it; dInfinity dsNaN
 *      r1/3                   Fraction, not reduced
 *      D739000                date, its ordinal
 *      t3600000000            time, its microsecond; then perhaps a zone
 *      m0                     datetime, its microsecond; then perhaps a zone
 *      x-1,86399,999999       timedelta
 *      z+3600000000           timezone, and any zone with it; ZEurope/Rome   a ZoneInfo
 *      u0123456789abcdef0123456789abcdef   UUID; us.. and un.. for safe and not
 *      eM.C.A eM.C#3          Enum by name, by number; eM.C.A=i1 with what it equals
 *      oname:i1 p00           an object of a codec, a pickle (hex)
 *
 *      zones    +us  +us=NAME            a timezone
 *               @key  @key+us  @key!us  a ZoneInfo: no offset; an offset; one that depends on the fold
 *               %:p00  %+us:p00  %!us:p00  any other tzinfo: a value follows
 *               ~ behind the zone       fold is 1
 *
 * Words end at a blank, at ) } ] > , : = ~ and at the end.
 *
 * Model. A random value is a tree of items in an arena. It is written, read into another tree, and the trees
 * compared.
 */
#ifndef HF_TEST_VALUE_SUPPORT_H
#define HF_TEST_VALUE_SUPPORT_H

#include "cm.h"

#include "base/fault.h"
#include "value/calendar.h"
#include "value/canonical.h"
#include "value/codec.h"
#include "value/format.h"

#include <holdfast/status.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ok(call) assert_int_equal((call), 0)

/* TORTURE=1: so many times as long. */
static inline uint64_t rounds(uint64_t quick)
{
    const char *torture = getenv("TORTURE");
    return torture != NULL && *torture != '\0' && strcmp(torture, "0") != 0 ? 100 * quick : quick;
}

/* -- random numbers -- */

typedef struct random_source {
    uint64_t state;
} random_source;

static inline uint64_t random_next(random_source *random)
{
    uint64_t x = random->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t random_below(random_source *random, uint64_t limit)
{
    return random_next(random) % limit;
}

/* -- memory for what a test makes: forgotten at once -- */

static uint8_t arena[1 << 22];
static size_t arena_used;

static inline void *arena_take(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    assert_true(size <= sizeof arena - arena_used);
    arena_used += size;
    return arena + arena_used - size;
}

/* -- the notation -- */

typedef struct notation {
    const char *at;
    hf_value_writer *writer;
} notation;

static inline void put_value(notation *n);

static inline hf_span take_word(notation *n)
{
    size_t size = strcspn(n->at, " )}]>,:=~#!@+%");
    hf_span word = hf_span_of(n->at, size);
    n->at += size;
    return word;
}

static inline int64_t take_integer(notation *n)
{
    char *end;
    int64_t number = strtoll(n->at, &end, 10);
    assert_true(end != n->at);
    n->at = end;
    return number;
}

static inline bool take_char(notation *n, char wanted)
{
    if (*n->at != wanted)
        return false;
    n->at++;
    return true;
}

static inline hf_span take_hex(notation *n)
{
    hf_span word = take_word(n);
    uint8_t *bytes = arena_take(word.size / 2 + 1);
    for (size_t i = 0; i + 1 < word.size; i += 2) {
        char digits[] = {(char)word.bytes[i], (char)word.bytes[i + 1], 0};
        bytes[i / 2] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return hf_span_of(bytes, word.size / 2);
}

static inline void put_item(notation *n, const hf_value_item *item)
{
    ok(hf_value_write(n->writer, item));
}

static inline hf_span int_span(int64_t number)
{
    uint8_t *bytes = arena_take(8);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)number >> (8 * i));
    return hf_span_of(bytes, 8);
}

static inline void put_decimal(notation *n)
{
    hf_value_decimal decimal = {.negative = take_char(n, '-')};
    char *digits = arena_take(strlen(n->at) + 1);
    size_t count = 0;
    int64_t behind = 0;
    if (strncmp(n->at, "Infinity", 8) == 0) {
        decimal.kind = HF_DECIMAL_INFINITE;
        n->at += 8;
    } else if (strncmp(n->at, "NaN", 3) == 0) {
        decimal.kind = HF_DECIMAL_NAN;
        n->at += 3;
    } else if (strncmp(n->at, "sNaN", 4) == 0) {
        decimal.kind = HF_DECIMAL_SNAN;
        n->at += 4;
    }
    for (bool point = false; (*n->at >= '0' && *n->at <= '9') || *n->at == '.'; n->at++) {
        behind += point && *n->at != '.';
        point |= *n->at == '.';
        if (*n->at != '.')
            digits[count++] = *n->at;
    }
    if (take_char(n, 'E'))
        decimal.exponent = take_integer(n);
    decimal.exponent -= behind;
    uint8_t *pairs = arena_take(count / 2 + 1);
    decimal.pairs = hf_span_of(pairs, hf_decimal_pack(digits, count, pairs));
    put_item(n, &(hf_value_item){.kind = HF_VALUE_DECIMAL, .decimal = decimal});
}

static inline void put_zone(notation *n, hf_value_moment *moment)
{
    if (take_char(n, '+')) {
        moment->zone = HF_ZONE_FIXED;
        moment->offset_us = take_integer(n);
        moment->has_name = take_char(n, '=');
        if (moment->has_name)
            moment->name = take_word(n);
        return;
    }
    if (take_char(n, '@')) {
        moment->zone = HF_ZONE_NAMED;
        moment->name = take_word(n);
    } else if (take_char(n, '%')) {
        moment->zone = HF_ZONE_OTHER;
    } else {
        return;
    }
    moment->fold_matters = take_char(n, '!');
    moment->has_offset = moment->fold_matters || take_char(n, '+');
    if (moment->has_offset)
        moment->offset_us = take_integer(n);
}

static inline void put_moment(notation *n, hf_value_kind kind)
{
    hf_value_moment moment = {0};
    if (kind != HF_VALUE_TIMEZONE)
        moment.us = take_integer(n);
    put_zone(n, &moment);
    moment.fold = take_char(n, '~');
    put_item(n, &(hf_value_item){.kind = kind, .moment = moment});
    if (moment.zone == HF_ZONE_OTHER) {
        assert_true(take_char(n, ':'));
        put_value(n);
        ok(hf_value_write_end(n->writer));
    }
}

static inline void put_enum(notation *n)
{
    hf_value_member member = {0};
    const char *dot = strchr(n->at, '.');
    member.module = hf_span_of(n->at, (size_t)(dot - n->at));
    n->at = dot + 1;
    hf_span rest = take_word(n);
    if (take_char(n, '#')) {
        member.class_name = rest;
        member.by_number = true;
        member.member = int_span(take_integer(n));
    } else {
        dot = memchr(rest.bytes, '.', rest.size);
        member.class_name = hf_span_of(rest.bytes, (size_t)((const uint8_t *)dot - rest.bytes));
        member.member = hf_span_of(dot + 1, rest.size - member.class_name.size - 1);
    }
    member.has_base = take_char(n, '=');
    put_item(n, &(hf_value_item){.kind = HF_VALUE_ENUM, .member = member});
    if (member.has_base) {
        put_value(n);
        ok(hf_value_write_end(n->writer));
    }
}

static inline void put_uuid(notation *n)
{
    hf_value_item item = {.kind = HF_VALUE_UUID};
    item.uuid.safety = take_char(n, 's') ? HF_UUID_SAFE : take_char(n, 'n') ? HF_UUID_UNSAFE : HF_UUID_UNKNOWN;
    hf_span bytes = take_hex(n);
    assert_int_equal(bytes.size, 16);
    memcpy(item.uuid.bytes, bytes.bytes, 16);
    put_item(n, &item);
}

static inline void put_members(notation *n, hf_value_kind kind, char close)
{
    /* Count them with a writer that is thrown away. */
    hf_value_writer counter;
    notation trial = {.at = n->at, .writer = &counter};
    uint64_t count = 0;
    hf_value_writer_init(&counter, NULL, 0, SIZE_MAX);
    for (; *trial.at != close; count++) {
        put_value(&trial);
        while (take_char(&trial, ' '))
            ;
    }
    hf_value_writer_clear(&counter);

    put_item(n, &(hf_value_item){.kind = kind, .count = kind == HF_VALUE_DICT ? count / 2 : count});
    while (!take_char(n, close)) {
        put_value(n);
        while (take_char(n, ' '))
            ;
    }
    ok(hf_value_write_end(n->writer));
}

static inline double take_double(notation *n)
{
    char *end;
    double real = strtod(n->at, &end);
    assert_true(end != n->at);
    n->at = end;
    return real;
}

static inline void put_number(notation *n, char letter)
{
    hf_value_item item = {.kind = HF_VALUE_FRACTION};
    switch (letter) {
    case 'i':
        ok(hf_value_write_int64(n->writer, take_integer(n)));
        return;
    case 'f':
        ok(hf_value_write_double(n->writer, take_double(n)));
        return;
    case 'c':
        item.kind = HF_VALUE_COMPLEX;
        item.bits[0] = hf_bits_of_double(take_double(n));
        assert_true(take_char(n, ','));
        item.bits[1] = hf_bits_of_double(take_double(n));
        break;
    default:
        item.fraction.numerator = int_span(take_integer(n));
        assert_true(take_char(n, '/'));
        item.fraction.denominator = int_span(take_integer(n));
    }
    put_item(n, &item);
}

static inline void put_delta(notation *n)
{
    hf_value_item item = {.kind = HF_VALUE_TIMEDELTA};
    item.delta.days = (int32_t)take_integer(n);
    assert_true(take_char(n, ','));
    item.delta.seconds = (int32_t)take_integer(n);
    assert_true(take_char(n, ','));
    item.delta.us = (int32_t)take_integer(n);
    put_item(n, &item);
}

static inline void put_value(notation *n)
{
    static const char letters[] = "sbaZp";
    static const hf_value_kind kinds[] = {HF_VALUE_STR, HF_VALUE_BYTES, HF_VALUE_BYTEARRAY, HF_VALUE_ZONE,
                                          HF_VALUE_PICKLE};
    char letter = *n->at++;
    assert_int_not_equal(letter, '\0');
    const char *found = strchr(letters, letter);
    if (found != NULL) {
        hf_span span = letter == 's' || letter == 'Z' ? take_word(n) : take_hex(n);
        put_item(n, &(hf_value_item){.kind = kinds[found - letters], .span = span});
        return;
    }
    switch (letter) {
    case 'N':
        ok(hf_value_write_none(n->writer));
        return;
    case 'T':
    case 'F':
        ok(hf_value_write_bool(n->writer, letter == 'T'));
        return;
    case '(':
        put_members(n, HF_VALUE_TUPLE, ')');
        return;
    case '{':
        put_members(n, HF_VALUE_FROZENSET, '}');
        return;
    case '[':
        put_members(n, HF_VALUE_LIST, ']');
        return;
    case '<':
        put_members(n, HF_VALUE_DICT, '>');
        return;
    case 'S':
        assert_true(take_char(n, '{'));
        put_members(n, HF_VALUE_SET, '}');
        return;
    case 'd':
        put_decimal(n);
        return;
    case 'D':
        put_item(n, &(hf_value_item){.kind = HF_VALUE_DATE, .ordinal = (int32_t)take_integer(n)});
        return;
    case 't':
    case 'm':
    case 'z':
        put_moment(n, letter == 't' ? HF_VALUE_TIME : letter == 'm' ? HF_VALUE_DATETIME : HF_VALUE_TIMEZONE);
        return;
    case 'x':
        put_delta(n);
        return;
    case 'u':
        put_uuid(n);
        return;
    case 'e':
        put_enum(n);
        return;
    case 'o':
        put_item(n, &(hf_value_item){.kind = HF_VALUE_OBJECT, .span = take_word(n)});
        assert_true(take_char(n, ':'));
        put_value(n);
        ok(hf_value_write_end(n->writer));
        return;
    default:
        put_number(n, letter);
    }
}

/* The encoding of a value in the notation, in the arena. */
static inline hf_span encoded(const char *text)
{
    hf_value_writer writer;
    notation n = {.at = text, .writer = &writer};
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    put_value(&n);
    if (*n.at != '\0')
        fail_msg("not understood: %s", n.at);
    assert_true(hf_value_writer_is_whole(&writer));
    uint8_t *bytes = arena_take(writer.out.size);
    memcpy(bytes, writer.out.bytes, writer.out.size);
    hf_span span = hf_span_of(bytes, writer.out.size);
    hf_value_writer_clear(&writer);
    return span;
}

static inline bool same_bytes(hf_span a, hf_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

/* -- the model -- */

typedef struct node {
    hf_value_item item;
    size_t count;
    struct node **children;
} node;

static inline hf_span random_bytes(random_source *random, size_t size)
{
    uint8_t *bytes = arena_take(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_next(random);
    return hf_span_of(bytes, size);
}

/* Lengths on both sides of where a layout changes, and now and then a long one. */
static inline size_t random_size(random_source *random)
{
    static const uint8_t edges[] = {0, 1, 2, 7, 8, 9, 14, 15, 30, 31, 62, 63, 64, 127, 128};
    switch (random_below(random, 8)) {
    case 0:
        return edges[random_below(random, sizeof edges)];
    case 1:
        return random_below(random, 40);
    default:
        return random_below(random, 6);
    }
}

static inline size_t put_code_point(uint8_t *at, uint32_t code)
{
    if (code < 0x80) {
        at[0] = (uint8_t)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; code >>= 6)
        at[i] = (uint8_t)(0x80 | (code & 0x3f));
    at[0] = (uint8_t)(0xf00 >> size | code);
    return size;
}

static inline hf_span random_text(random_source *random)
{
    static const uint32_t limits[] = {0x80, 0x80, 0x80, 0x800, 0x10000, 0x110000};
    size_t size = random_size(random), used = 0;
    uint8_t *bytes = arena_take(size + 4);
    while (used < size) {
        uint32_t code = (uint32_t)random_below(random, limits[random_below(random, LENGTH(limits))]);
        if (random_below(random, 20) == 0)
            code = 0xd800 + (uint32_t)random_below(random, 0x800); /* a surrogate */
        used += put_code_point(bytes + used, code);
    }
    return hf_span_of(bytes, used);
}

/* In its shortest form; often next to a power of two. */
static inline hf_span random_int(random_source *random)
{
    size_t size = 1 + random_size(random);
    hf_span span = random_bytes(random, size);
    uint8_t *bytes = arena_take(size);
    memcpy(bytes, span.bytes, size);
    if (random_below(random, 2)) {
        memset(bytes, random_below(random, 2) ? 0xff : 0, size);
        bytes[size - 1] = (uint8_t)(1u << random_below(random, 8));
        bytes[0] ^= (uint8_t)random_below(random, 2);
    }
    return hf_span_of(bytes, hf_int_size(hf_span_of(bytes, size)));
}

static inline hf_span random_positive(random_source *random)
{
    hf_span found;
    do
        found = random_int(random);
    while (!hf_int_is_positive(found));
    return found;
}

static inline hf_value_decimal random_decimal(random_source *random)
{
    hf_value_decimal decimal = {.negative = random_below(random, 2)};
    static const int64_t exponents[] = {0, -2, 1, -1, 63, -64, 64, 6144, INT64_MAX, INT64_MIN};
    if (random_below(random, 4) == 0)
        decimal.kind = (uint8_t)random_below(random, 4);
    if (decimal.kind == HF_DECIMAL_FINITE)
        decimal.exponent = exponents[random_below(random, LENGTH(exponents))];
    if (decimal.kind != HF_DECIMAL_INFINITE) {
        size_t size = random_size(random);
        char *digits = arena_take(size + 1);
        uint8_t *pairs = arena_take(size + 1);
        for (size_t i = 0; i < size; i++)
            digits[i] = (char)('0' + random_below(random, 10));
        decimal.pairs = hf_span_of(pairs, hf_decimal_pack(digits, size, pairs));
    }
    return decimal;
}

static inline hf_value_moment random_moment(random_source *random, hf_value_kind kind)
{
    uint64_t days = kind == HF_VALUE_DATETIME ? HF_ORDINAL_MAX : 1;
    hf_value_moment moment = {.us = (int64_t)random_below(random, days * HF_DAY_US)};
    moment.zone = (uint8_t)(kind == HF_VALUE_TIMEZONE ? HF_ZONE_FIXED : random_below(random, 4));
    if (kind == HF_VALUE_TIMEZONE)
        moment.us = 0;
    else
        moment.fold = random_below(random, 2);
    bool asked = moment.zone == HF_ZONE_NAMED || moment.zone == HF_ZONE_OTHER;
    if (asked) {
        moment.has_offset = random_below(random, 4) > 0;
        moment.fold_matters = kind == HF_VALUE_DATETIME && moment.has_offset && random_below(random, 3) == 0;
    }
    if (moment.zone == HF_ZONE_FIXED || moment.has_offset)
        moment.offset_us = (int64_t)random_below(random, 2 * HF_DAY_US - 1) - HF_DAY_US + 1;
    if (moment.zone == HF_ZONE_FIXED)
        moment.has_name = random_below(random, 2);
    if (moment.zone == HF_ZONE_NAMED || moment.has_name)
        moment.name = random_text(random);
    return moment;
}

static inline void random_item(random_source *random, hf_value_item *item)
{
    static const uint64_t doubles[] = {0,
                                       1,
                                       UINT64_C(1) << 63,
                                       UINT64_C(0x7ff0000000000000),
                                       UINT64_C(0x7ff0000000000001),
                                       UINT64_C(0xfff8dead00000000)};
    switch (item->kind) {
    case HF_VALUE_BOOL:
        item->truth = random_below(random, 2);
        break;
    case HF_VALUE_INT:
        item->span = random_int(random);
        break;
    case HF_VALUE_FLOAT:
    case HF_VALUE_COMPLEX:
        for (int i = 0; i < 2; i++)
            item->bits[i] =
                random_below(random, 2) ? random_next(random) : doubles[random_below(random, LENGTH(doubles))];
        break;
    case HF_VALUE_STR:
    case HF_VALUE_ZONE:
    case HF_VALUE_OBJECT:
        item->span = random_text(random);
        break;
    case HF_VALUE_BYTES:
    case HF_VALUE_BYTEARRAY:
    case HF_VALUE_PICKLE:
        item->span = random_bytes(random, random_size(random));
        break;
    case HF_VALUE_TUPLE:
    case HF_VALUE_FROZENSET:
    case HF_VALUE_LIST:
    case HF_VALUE_DICT:
    case HF_VALUE_SET:
        item->count = random_below(random, random_below(random, 10) ? 5 : 20);
        break;
    case HF_VALUE_DATE:
        item->ordinal = 1 + (int32_t)random_below(random, HF_ORDINAL_MAX);
        break;
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
    case HF_VALUE_TIMEZONE:
        item->moment = random_moment(random, item->kind);
        break;
    case HF_VALUE_TIMEDELTA:
        item->delta.days = (int32_t)random_below(random, 2 * HF_DELTA_DAYS_MAX + 1) - HF_DELTA_DAYS_MAX;
        item->delta.seconds = (int32_t)random_below(random, 86400);
        item->delta.us = (int32_t)random_below(random, 1000000);
        break;
    case HF_VALUE_DECIMAL:
        item->decimal = random_decimal(random);
        break;
    case HF_VALUE_FRACTION:
        item->fraction = (hf_value_fraction){random_int(random), random_positive(random)};
        break;
    case HF_VALUE_UUID:
        memcpy(item->uuid.bytes, random_bytes(random, 16).bytes, 16);
        item->uuid.safety = (uint8_t)random_below(random, 3);
        break;
    case HF_VALUE_ENUM:
        item->member = (hf_value_member){.module = random_text(random), .class_name = random_text(random)};
        item->member.by_number = random_below(random, 2);
        item->member.has_base = random_below(random, 2);
        item->member.member = item->member.by_number ? random_int(random) : random_text(random);
        break;
    default:
        break;
    }
}

static inline node *node_new(const hf_value_item *item, size_t count)
{
    node *made = arena_take(sizeof *made);
    *made = (node){.item = *item, .count = count};
    if (count > 0)
        made->children = arena_take(count * sizeof(node *));
    return made;
}

/* A random value, nested at most so deep. `only`: of this kind, or END for any. */
static inline node *random_value(random_source *random, unsigned depth, hf_value_kind only)
{
    hf_value_item item = {.kind = only};
    uint64_t count;
    do {
        if (only == HF_VALUE_END)
            item.kind = (hf_value_kind)random_below(random, HF_VALUE_END);
        random_item(random, &item);
    } while (depth == 0 && only == HF_VALUE_END && hf_item_opens(&item, &count));
    node *made = node_new(&item, hf_item_opens(&item, &count) ? (size_t)count : 0);
    bool zone = item.kind == HF_VALUE_TIME || item.kind == HF_VALUE_DATETIME;
    for (size_t i = 0; i < made->count; i++)
        made->children[i] = random_value(random, depth == 0 ? 0 : depth - 1, zone ? HF_VALUE_PICKLE : HF_VALUE_END);
    return made;
}

static inline int write_node(hf_value_writer *writer, const node *tree)
{
    uint64_t count;
    int status = hf_value_write(writer, &tree->item);
    for (size_t i = 0; status == 0 && i < tree->count; i++)
        status = write_node(writer, tree->children[i]);
    if (status == 0 && hf_item_opens(&tree->item, &count))
        status = hf_value_write_end(writer);
    return status;
}

/* The encoding of a tree, in the arena. */
static inline hf_span encode_node(const node *tree)
{
    hf_value_writer writer;
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    ok(write_node(&writer, tree));
    assert_true(hf_value_writer_is_whole(&writer));
    uint8_t *bytes = arena_take(writer.out.size);
    memcpy(bytes, writer.out.bytes, writer.out.size);
    hf_span span = hf_span_of(bytes, writer.out.size);
    hf_value_writer_clear(&writer);
    return span;
}

#endif
