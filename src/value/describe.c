/*
 * describe.c: a value as text, for messages.
 *
 * For people: it looks like Python's repr where that is short, and is cut where it is not. Nothing reads it back. It
 * must work on whatever bytes there are, since damaged ones are what it is most wanted for; so it shows what the
 * reader gives out, and stops where the reader or the room does.
 *
 * Failure: none; see hf_value_describe in codec.h.
 */
#include "value/codec.h"

#include "value/calendar.h"
#include "value/format.h"
#include "value/utf8.h"

#include <holdfast/status.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct sink {
    hf_value_reader in;
    char *out;
    size_t size; /* of `out`, at least 1 */
    size_t used;
    bool full; /* something was left out */
} sink;

static void say_bytes(sink *s, const char *text, size_t size)
{
    size_t left = s->size - 1 - s->used;
    if (size > left) {
        s->full = true;
        size = left;
    }
    if (size > 0)
        memcpy(s->out + s->used, text, size);
    s->used += size;
}

static void say(sink *s, const char *text)
{
    say_bytes(s, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void say_format(sink *s, const char *format, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    HF_ASSERT(size >= 0 && (size_t)size < sizeof text);
    say_bytes(s, text, (size_t)size);
}

/* -- text and bytes -- */

static void say_quoted_byte(sink *s, unsigned byte)
{
    if (byte == '\'' || byte == '\\')
        say_format(s, "\\%c", (int)byte);
    else if (byte >= 0x20 && byte < 0x7f)
        say_format(s, "%c", (int)byte);
    else if (byte == '\n')
        say(s, "\\n");
    else
        say_format(s, "\\x%02x", byte);
}

static uint32_t code_point(const uint8_t *at, size_t size)
{
    uint32_t code = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++)
        code = code << 6 | (at[i] & 0x3f);
    return code;
}

static void say_text(sink *s, hf_span text)
{
    say(s, "'");
    for (size_t at = 0, size; at < text.size && !s->full; at += size) {
        size = hf_utf8_next(text.bytes + at, text.size - at);
        uint32_t code = code_point(text.bytes + at, size);
        if (code < 0x80)
            say_quoted_byte(s, code);
        else if (code < 0x100)
            say_format(s, "\\x%02" PRIx32, code);
        else
            say_format(s, code < 0x10000 ? "\\u%04" PRIx32 : "\\U%08" PRIx32, code);
    }
    say(s, "'");
}

static void say_bytes_quoted(sink *s, hf_span bytes)
{
    say(s, "b'");
    for (size_t i = 0; i < bytes.size && !s->full; i++)
        say_quoted_byte(s, bytes.bytes[i]);
    say(s, "'");
}

/* Names of modules, classes and members: text without its quotes. */
static void say_name(sink *s, hf_span name)
{
    for (size_t i = 0; i < name.size && !s->full; i++)
        say_format(s, "%c", name.bytes[i] > 0x20 && name.bytes[i] < 0x7f ? name.bytes[i] : '?');
}

/* -- numbers -- */

static void say_int(sink *s, hf_span integer)
{
    int64_t number;
    if (hf_span_int64(integer, &number))
        say_format(s, "%" PRId64, number);
    else
        say_format(s, "<%s int of %zu bytes>", hf_int_is_negative(integer) ? "negative" : "positive", integer.size);
}

/* The shortest digits that give the same number again. */
static void say_double(sink *s, uint64_t bits)
{
    char text[40];
    double real = hf_double_of_bits(bits);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, real);
        if (strtod(text, NULL) == real)
            break;
    }
    for (char *at = text; *at != '\0'; at++)
        if (*at == ',') /* the locale's point */
            *at = '.';
    bool plain = strspn(text, "-0123456789") == strlen(text);
    say(s, text);
    say(s, plain ? ".0" : "");
}

static void say_decimal(sink *s, const hf_value_decimal *decimal)
{
    static const char *const kinds[] = {"", "Infinity", "NaN", "sNaN"};
    say_format(s, "Decimal('%s%s", decimal->negative ? "-" : "", kinds[decimal->kind]);
    for (size_t i = 0; i < decimal->pairs.size && !s->full; i++) {
        unsigned pair = decimal->pairs.bytes[i];
        say_format(s, i == 0 ? "%u" : "%02u", pair);
    }
    if (decimal->kind == HF_DECIMAL_FINITE && decimal->pairs.size == 0)
        say(s, "0");
    if (decimal->kind == HF_DECIMAL_FINITE && decimal->exponent != 0)
        say_format(s, "E%+" PRId64, decimal->exponent);
    say(s, "')");
}

static void say_uuid(sink *s, const hf_value_uuid *uuid)
{
    say(s, "UUID('");
    for (unsigned i = 0; i < sizeof uuid->bytes; i++)
        say_format(s, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid->bytes[i]);
    say(s, "')");
}

/* -- date and time -- */

static void say_date(sink *s, int32_t ordinal)
{
    hf_date date = hf_date_of_ordinal(ordinal);
    say_format(s, "%04d-%02d-%02d", date.year, date.month, date.day);
}

/* h:mm:ss and, where they are not 0, microseconds. */
static void say_clock(sink *s, int64_t us)
{
    int64_t seconds = us / HF_SECOND_US;
    say_format(s, "%02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60));
    if (us % HF_SECOND_US != 0)
        say_format(s, ".%06d", (int)(us % HF_SECOND_US));
}

static void say_offset(sink *s, int64_t us)
{
    say(s, us < 0 ? "-" : "+");
    say_clock(s, us < 0 ? -us : us);
}

static void say_moment(sink *s, hf_value_kind kind, const hf_value_moment *moment)
{
    say_format(s, "%s(", hf_value_kind_name(kind));
    if (kind == HF_VALUE_DATETIME) {
        say_date(s, (int32_t)(moment->us / HF_DAY_US) + 1);
        say(s, " ");
    }
    if (kind != HF_VALUE_TIMEZONE)
        say_clock(s, moment->us % HF_DAY_US);
    if (moment->zone == HF_ZONE_FIXED || moment->has_offset)
        say_offset(s, moment->offset_us);
    if (moment->zone == HF_ZONE_NAMED || moment->has_name) {
        say(s, " ");
        say_name(s, moment->name);
    }
    say(s, moment->fold ? " fold=1" : "");
}

static void say_delta(sink *s, hf_value_delta delta)
{
    say_format(s, "timedelta(%" PRId32 " days", delta.days);
    if (delta.seconds != 0 || delta.us != 0) {
        say(s, " ");
        say_clock(s, delta.seconds * HF_SECOND_US + delta.us);
    }
    say(s, ")");
}

/* -- values -- */

static void say_value(sink *s);

/* What is in an open value, with commas, and its END. */
static void say_inside(sink *s, uint64_t count, const char *close)
{
    hf_value_item end;
    for (uint64_t i = 0; i < count && !s->full; i++) {
        say(s, i > 0 ? ", " : "");
        say_value(s);
    }
    if (!s->full && hf_value_read(&s->in, &end) == 0)
        say(s, close);
}

static void say_member(sink *s, const hf_value_member *member)
{
    say_name(s, member->module);
    say(s, ".");
    say_name(s, member->class_name);
    say(s, member->by_number ? "(" : ".");
    if (member->by_number)
        say_int(s, member->member);
    else
        say_name(s, member->member);
    say(s, member->by_number ? ")" : "");
    if (member->has_base) {
        say(s, "<");
        say_inside(s, 1, ">");
    }
}

static void say_damage(sink *s, const char *reason)
{
    say_format(s, "<damaged at byte %zu: %s>", s->in.at, reason);
}

/* A dict's pairs, and its END. */
static void say_pairs(sink *s, uint64_t count)
{
    hf_value_item end;
    say(s, "{");
    for (uint64_t i = 0; i < count && !s->full; i++) {
        say(s, i > 0 ? ", " : "");
        say_value(s);
        if (s->full)
            return;
        say(s, ": ");
        say_value(s);
    }
    if (!s->full && hf_value_read(&s->in, &end) == 0)
        say(s, "}");
}

/* What holds others. */
static void say_container(sink *s, const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_TUPLE:
        say(s, "(");
        say_inside(s, item->count, item->count == 1 ? ",)" : ")");
        return;
    case HF_VALUE_FROZENSET:
        say(s, "frozenset({");
        say_inside(s, item->count, "})");
        return;
    case HF_VALUE_LIST:
        say(s, "[");
        say_inside(s, item->count, "]");
        return;
    case HF_VALUE_SET:
        say(s, item->count == 0 ? "set(" : "{");
        say_inside(s, item->count, item->count == 0 ? ")" : "}");
        return;
    default:
        say_pairs(s, item->count);
    }
}

/* The types of Python's library, and what is not ours to understand. */
static void say_other(sink *s, const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
    case HF_VALUE_TIMEZONE:
        say_moment(s, item->kind, &item->moment);
        if (item->kind != HF_VALUE_TIMEZONE && item->moment.zone == HF_ZONE_OTHER) {
            say(s, " ");
            say_inside(s, 1, "");
        }
        say(s, ")");
        return;
    case HF_VALUE_DATE:
        say(s, "date(");
        say_date(s, item->ordinal);
        say(s, ")");
        return;
    case HF_VALUE_TIMEDELTA:
        say_delta(s, item->delta);
        return;
    case HF_VALUE_ZONE:
        say(s, "ZoneInfo(");
        say_text(s, item->span);
        say(s, ")");
        return;
    case HF_VALUE_DECIMAL:
        say_decimal(s, &item->decimal);
        return;
    case HF_VALUE_FRACTION:
        say(s, "Fraction(");
        say_int(s, item->fraction.numerator);
        say(s, ", ");
        say_int(s, item->fraction.denominator);
        say(s, ")");
        return;
    case HF_VALUE_UUID:
        say_uuid(s, &item->uuid);
        return;
    case HF_VALUE_ENUM:
        say_member(s, &item->member);
        return;
    case HF_VALUE_OBJECT:
        say(s, "<object of codec ");
        say_text(s, item->span);
        say(s, ": ");
        say_inside(s, 1, ">");
        return;
    default:
        say_format(s, "<pickle of %zu bytes>", item->span.size);
    }
}

static void say_value(sink *s)
{
    hf_value_item item;
    if (hf_value_read(&s->in, &item) < 0) {
        say_damage(s, s->in.reason);
        s->full = true; /* there is no more to be said */
        return;
    }
    switch (item.kind) {
    case HF_VALUE_NONE:
        say(s, "None");
        return;
    case HF_VALUE_BOOL:
        say(s, item.truth ? "True" : "False");
        return;
    case HF_VALUE_INT:
        say_int(s, item.span);
        return;
    case HF_VALUE_FLOAT:
        say_double(s, item.bits[0]);
        return;
    case HF_VALUE_COMPLEX:
        say(s, "complex(");
        say_double(s, item.bits[0]);
        say(s, ", ");
        say_double(s, item.bits[1]);
        say(s, ")");
        return;
    case HF_VALUE_STR:
        say_text(s, item.span);
        return;
    case HF_VALUE_BYTES:
        say_bytes_quoted(s, item.span);
        return;
    case HF_VALUE_BYTEARRAY:
        say(s, "bytearray(");
        say_bytes_quoted(s, item.span);
        say(s, ")");
        return;
    case HF_VALUE_TUPLE:
    case HF_VALUE_FROZENSET:
    case HF_VALUE_LIST:
    case HF_VALUE_DICT:
    case HF_VALUE_SET:
        say_container(s, &item);
        return;
    default:
        say_other(s, &item);
    }
}

void hf_value_describe(const void *bytes, size_t count, char *out, size_t size)
{
    sink s;
    HF_ASSERT_CHEAP(size >= 4);
    hf_value_reader_init(&s.in, bytes, count);
    s.out = out;
    s.size = size;
    s.used = 0;
    s.full = false;
    say_value(&s);
    if (!s.full && !hf_value_reader_at_end(&s.in))
        say_damage(&s, "bytes behind the value");
    out[s.used] = '\0';
    if (s.used == size - 1 && s.full)
        memcpy(out + size - 4, "...", 4);
}
