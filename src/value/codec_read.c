/*
 * codec_read.c: the reader.
 *
 * An item is parsed with a cursor of its own, checked against the values that are open, and only then is the reader
 * moved behind it: so a reader that failed stands where it stood.
 *
 *      bytes   [ .... | tag ............ | .... ]
 *                     ^ reader->at       ^ cursor, becomes reader->at
 *
 * Where a value inside a set or frozenset has been read whole, its bytes are compared with those of the member before it.
 *
 * What reads a piece returns false for damage, with the reason in the cursor; so damage never looks like another
 * failure.
 */
#include "value/codec.h"

#include "value/format.h"
#include "value/utf8.h"

#include <holdfast/status.h>

typedef struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    const char *reason;
} cursor;

static bool damaged(cursor *c, const char *reason)
{
    c->reason = reason;
    return false;
}

/* -- pieces -- */

static bool take(cursor *c, uint64_t size, const uint8_t **out)
{
    if (size > (uint64_t)(c->end - c->at))
        return damaged(c, "the bytes end within a value");
    *out = c->at;
    c->at += size;
    return true;
}

static bool take_span(cursor *c, uint64_t size, hf_span *out)
{
    const uint8_t *bytes;
    if (!take(c, size, &bytes))
        return false;
    *out = hf_span_of(bytes, (size_t)size);
    return true;
}

static bool take_byte(cursor *c, unsigned *out)
{
    const uint8_t *byte;
    if (!take(c, 1, &byte))
        return false;
    *out = *byte;
    return true;
}

static bool take_number(cursor *c, size_t size, uint64_t *out)
{
    const uint8_t *bytes;
    if (!take(c, size, &bytes))
        return false;
    *out = hf_load_le(bytes, size);
    return true;
}

static bool take_signed(cursor *c, size_t size, int64_t *out)
{
    const uint8_t *bytes;
    if (!take(c, size, &bytes))
        return false;
    *out = hf_load_le_signed(bytes, size);
    return true;
}

static bool take_varint(cursor *c, uint64_t *out)
{
    uint64_t number = 0;
    unsigned byte, shift = 0;
    do {
        if (!take_byte(c, &byte))
            return false;
        if (shift == 63 && byte > 1)
            return damaged(c, "a number of more than 64 bits");
        number |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (byte == 0 && shift > 7)
        return damaged(c, "a number that is not in its shortest form");
    *out = number;
    return true;
}

/* What hf_put_counted has put, behind its tag. */
static bool take_count(cursor *c, unsigned found, unsigned tag, unsigned tag_long, uint64_t *out)
{
    HF_ASSERT(found >= tag && found <= tag_long);
    if (found < tag_long) {
        *out = found - tag;
        return true;
    }
    if (!take_varint(c, out))
        return false;
    if (*out < tag_long - tag)
        return damaged(c, "a length that is not in its shortest form");
    return true;
}

/* -- pieces with a tag -- */

static bool take_text_behind(cursor *c, unsigned tag, hf_span *out)
{
    uint64_t size;
    if (!take_count(c, tag, HF_TAG_STR, HF_TAG_STR_LONG, &size) || !take_span(c, size, out))
        return false;
    if (!hf_utf8_is_text(out->bytes, out->size))
        return damaged(c, "a str that is not UTF-8");
    return true;
}

static bool is_text(unsigned tag)
{
    return tag >= HF_TAG_STR && tag <= HF_TAG_STR_LONG;
}

static bool take_text(cursor *c, hf_span *out)
{
    unsigned tag;
    if (!take_byte(c, &tag))
        return false;
    if (!is_text(tag))
        return damaged(c, "a str is missing");
    return take_text_behind(c, tag, out);
}

static bool take_int_behind(cursor *c, unsigned tag, hf_span *out)
{
    uint64_t size;
    if (!take_count(c, tag, HF_TAG_INT, HF_TAG_INT_LONG, &size) || !take_span(c, size, out))
        return false;
    if (hf_int_size(*out) != out->size)
        return damaged(c, "an int that is not in its shortest form");
    return true;
}

static bool is_int(unsigned tag)
{
    return tag >= HF_TAG_INT && tag <= HF_TAG_INT_LONG;
}

static bool take_int(cursor *c, hf_span *out)
{
    unsigned tag;
    if (!take_byte(c, &tag))
        return false;
    if (!is_int(tag))
        return damaged(c, "an int is missing");
    return take_int_behind(c, tag, out);
}

/* -- items, behind their tags -- */

static bool take_sized(cursor *c, hf_span *out)
{
    uint64_t size;
    return take_varint(c, &size) && take_span(c, size, out);
}

/* Every value takes a byte, so a count beyond the bytes is damage, and nobody makes room for it. */
static bool check_count(cursor *c, uint64_t count)
{
    if (count > (uint64_t)(c->end - c->at))
        return damaged(c, "more values than there are bytes");
    return true;
}

static bool take_date(cursor *c, hf_value_item *item)
{
    uint64_t ordinal;
    if (!take_number(c, HF_DATE_BYTES, &ordinal))
        return false;
    if (!hf_ordinal_fits((int64_t)ordinal))
        return damaged(c, "a date out of range");
    item->ordinal = (int32_t)ordinal;
    return true;
}

/* Offset and name of a datetime.timezone. */
static bool take_fixed_zone(cursor *c, hf_value_moment *moment)
{
    unsigned tag;
    if (!take_signed(c, HF_OFFSET_BYTES, &moment->offset_us) || !take_byte(c, &tag))
        return false;
    moment->zone = HF_ZONE_FIXED;
    moment->has_name = tag != HF_TAG_NONE;
    if (!moment->has_name)
        return true;
    if (!is_text(tag))
        return damaged(c, "a time zone whose name is no str");
    return take_text_behind(c, tag, &moment->name);
}

static bool take_timezone(cursor *c, hf_value_item *item)
{
    item->moment = (hf_value_moment){0};
    if (!take_fixed_zone(c, &item->moment))
        return false;
    if (!hf_moment_fits(HF_VALUE_TIMEZONE, &item->moment))
        return damaged(c, "a time zone out of range");
    return true;
}

static bool take_moment(cursor *c, hf_value_item *item)
{
    hf_value_moment moment = {0};
    unsigned form;
    uint64_t us;
    size_t size = item->kind == HF_VALUE_TIME ? HF_TIME_BYTES : HF_DATETIME_BYTES;
    if (!take_byte(c, &form) || !take_number(c, size, &us))
        return false;
    if ((form & ~(unsigned)HF_FORM_ALL) != 0 || us > INT64_MAX)
        return damaged(c, "a time of an unknown form");
    moment.us = (int64_t)us;
    moment.zone = form & HF_FORM_ZONE;
    moment.fold = (form & HF_FORM_FOLD) != 0;
    moment.fold_matters = (form & HF_FORM_FOLD_MATTERS) != 0;
    if (form & HF_FORM_OFFSET) {
        if (moment.zone != HF_ZONE_NAMED && moment.zone != HF_ZONE_OTHER)
            return damaged(c, "a time of an unknown form");
        moment.has_offset = true;
        if (!take_signed(c, HF_OFFSET_BYTES, &moment.offset_us))
            return false;
    }
    if (moment.zone == HF_ZONE_FIXED && !take_fixed_zone(c, &moment))
        return false;
    if (moment.zone == HF_ZONE_NAMED && !take_text(c, &moment.name))
        return false;
    if (!hf_moment_fits(item->kind, &moment))
        return damaged(c, "a time out of range");
    item->moment = moment;
    return true;
}

static bool take_delta(cursor *c, hf_value_item *item)
{
    int64_t days;
    uint64_t seconds, us;
    if (!take_signed(c, HF_DELTA_DAYS_BYTES, &days) || !take_number(c, HF_DELTA_PART_BYTES, &seconds) ||
        !take_number(c, HF_DELTA_PART_BYTES, &us))
        return false;
    item->delta = (hf_value_delta){(int32_t)days, (int32_t)seconds, (int32_t)us};
    if (!hf_delta_fits(item->delta))
        return damaged(c, "a timedelta out of range");
    return true;
}

static bool take_decimal(cursor *c, hf_value_item *item)
{
    hf_value_decimal decimal = {{NULL, 0}, 0, HF_DECIMAL_FINITE, false};
    unsigned form;
    uint64_t exponent = 0;
    if (!take_byte(c, &form))
        return false;
    if ((form & ~(unsigned)HF_DECIMAL_ALL) != 0)
        return damaged(c, "a Decimal of an unknown form");
    decimal.kind = form & HF_DECIMAL_KIND;
    decimal.negative = (form & HF_DECIMAL_NEGATIVE) != 0;
    if (decimal.kind == HF_DECIMAL_FINITE && !take_varint(c, &exponent))
        return false;
    decimal.exponent = hf_unzigzag(exponent);
    if (decimal.kind != HF_DECIMAL_INFINITE && !take_sized(c, &decimal.pairs))
        return false;
    if (!hf_decimal_fits(&decimal))
        return damaged(c, "a Decimal with wrong digits");
    item->decimal = decimal;
    return true;
}

static bool take_fraction(cursor *c, hf_value_item *item)
{
    if (!take_int(c, &item->fraction.numerator) || !take_int(c, &item->fraction.denominator))
        return false;
    if (!hf_int_is_positive(item->fraction.denominator))
        return damaged(c, "a Fraction whose denominator is not positive");
    return true;
}

static bool take_uuid(cursor *c, unsigned tag, hf_value_item *item)
{
    const uint8_t *bytes;
    if (!take(c, HF_UUID_BYTES, &bytes))
        return false;
    memcpy(item->uuid.bytes, bytes, HF_UUID_BYTES);
    item->uuid.safety = (uint8_t)(tag - HF_TAG_UUID);
    return true;
}

static bool take_member(cursor *c, unsigned tag, hf_value_item *item)
{
    hf_value_member member = {.has_base = tag == HF_TAG_ENUM_BASE};
    unsigned inner;
    if (!take_text(c, &member.module) || !take_text(c, &member.class_name) || !take_byte(c, &inner))
        return false;
    member.by_number = is_int(inner);
    if (!member.by_number && !is_text(inner))
        return damaged(c, "an Enum's member with neither name nor number");
    if (!(member.by_number ? take_int_behind : take_text_behind)(c, inner, &member.member))
        return false;
    item->member = member;
    return true;
}

/* The kind of a tag from 0x01 to 0x20 that is not an int's; END for none. */
static hf_value_kind kind_of_tag(unsigned tag)
{
    static const uint8_t kinds[] = {
        [0] = HF_VALUE_END,
        [HF_TAG_NONE] = HF_VALUE_NONE,
        [HF_TAG_FALSE] = HF_VALUE_BOOL,
        [HF_TAG_TRUE] = HF_VALUE_BOOL,
        [HF_TAG_FLOAT] = HF_VALUE_FLOAT,
        [HF_TAG_COMPLEX] = HF_VALUE_COMPLEX,
        [HF_TAG_BYTEARRAY] = HF_VALUE_BYTEARRAY,
        [HF_TAG_FROZENSET] = HF_VALUE_FROZENSET,
        [HF_TAG_DATE] = HF_VALUE_DATE,
        [HF_TAG_TIME] = HF_VALUE_TIME,
        [HF_TAG_DATETIME] = HF_VALUE_DATETIME,
        [HF_TAG_TIMEDELTA] = HF_VALUE_TIMEDELTA,
        [HF_TAG_TIMEZONE] = HF_VALUE_TIMEZONE,
        [HF_TAG_ZONE] = HF_VALUE_ZONE,
        [HF_TAG_DECIMAL] = HF_VALUE_DECIMAL,
        [HF_TAG_FRACTION] = HF_VALUE_FRACTION,
        [HF_TAG_UUID] = HF_VALUE_UUID,
        [HF_TAG_UUID + HF_UUID_SAFE] = HF_VALUE_UUID,
        [HF_TAG_UUID_UNSAFE] = HF_VALUE_UUID,
        [HF_TAG_ENUM] = HF_VALUE_ENUM,
        [HF_TAG_ENUM_BASE] = HF_VALUE_ENUM,
        [HF_TAG_OBJECT] = HF_VALUE_OBJECT,
        [HF_TAG_PICKLE] = HF_VALUE_PICKLE,
    };
    return tag < sizeof kinds ? (hf_value_kind)kinds[tag] : HF_VALUE_END;
}

/* The items that have a tag to themselves. */
static bool take_single(cursor *c, unsigned tag, hf_value_item *item)
{
    item->kind = kind_of_tag(tag);
    switch (item->kind) {
    case HF_VALUE_NONE:
        return true;
    case HF_VALUE_BOOL:
        item->truth = tag == HF_TAG_TRUE;
        return true;
    case HF_VALUE_FLOAT:
        return take_number(c, 8, &item->bits[0]);
    case HF_VALUE_COMPLEX:
        return take_number(c, 8, &item->bits[0]) && take_number(c, 8, &item->bits[1]);
    case HF_VALUE_BYTEARRAY:
    case HF_VALUE_PICKLE:
        return take_sized(c, &item->span);
    case HF_VALUE_FROZENSET:
        return take_varint(c, &item->count) && check_count(c, item->count);
    case HF_VALUE_DATE:
        return take_date(c, item);
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
        return take_moment(c, item);
    case HF_VALUE_TIMEDELTA:
        return take_delta(c, item);
    case HF_VALUE_TIMEZONE:
        return take_timezone(c, item);
    case HF_VALUE_ZONE:
    case HF_VALUE_OBJECT:
        return take_text(c, &item->span);
    case HF_VALUE_DECIMAL:
        return take_decimal(c, item);
    case HF_VALUE_FRACTION:
        return take_fraction(c, item);
    case HF_VALUE_UUID:
        return take_uuid(c, tag, item);
    case HF_VALUE_ENUM:
        return take_member(c, tag, item);
    default:
        return damaged(c, "an unknown tag");
    }
}

/* The plain containers. */
static bool take_container(cursor *c, unsigned tag, hf_value_item *item)
{
    if (tag <= HF_TAG_LIST_LONG) {
        item->kind = HF_VALUE_LIST;
        return take_count(c, tag, HF_TAG_LIST, HF_TAG_LIST_LONG, &item->count) && check_count(c, item->count);
    }
    if (tag >= HF_TAG_SET) {
        item->kind = HF_VALUE_SET;
        return take_count(c, tag, HF_TAG_SET, HF_TAG_SET_LONG, &item->count) && check_count(c, item->count);
    }
    item->kind = HF_VALUE_DICT;
    if (!take_count(c, tag, HF_TAG_DICT, HF_TAG_DICT_LONG, &item->count))
        return false;
    return check_count(c, item->count > HF_PAIRS_MAX ? UINT64_MAX : 2 * item->count);
}

static bool take_item(cursor *c, hf_value_item *item)
{
    unsigned tag;
    uint64_t size;
    if (!take_byte(c, &tag))
        return false;
    if (is_int(tag)) {
        item->kind = HF_VALUE_INT;
        return take_int_behind(c, tag, &item->span);
    }
    if (is_text(tag)) {
        item->kind = HF_VALUE_STR;
        return take_text_behind(c, tag, &item->span);
    }
    if (tag >= HF_TAG_BYTES && tag <= HF_TAG_BYTES_LONG) {
        item->kind = HF_VALUE_BYTES;
        return take_count(c, tag, HF_TAG_BYTES, HF_TAG_BYTES_LONG, &size) && take_span(c, size, &item->span);
    }
    if (tag >= HF_TAG_TUPLE && tag <= HF_TAG_TUPLE_LONG) {
        item->kind = HF_VALUE_TUPLE;
        return take_count(c, tag, HF_TAG_TUPLE, HF_TAG_TUPLE_LONG, &item->count) && check_count(c, item->count);
    }
    if (tag >= HF_TAG_LIST && tag <= HF_TAG_SET_LONG)
        return take_container(c, tag, item);
    return take_single(c, tag, item);
}

/* -- values that are open -- */

static hf_value_frame *top(hf_value_reader *reader)
{
    return reader->depth == 0 ? NULL : &reader->frames[reader->depth - 1];
}

static int fail(hf_value_reader *reader, const char *reason)
{
    reader->reason = reason;
    return HF_CORRUPT;
}

/* A value that `frame` holds ends at `end`: may it stand there? (What is before the first one has no bytes.) */
static bool in_order(const hf_value_reader *reader, const hf_value_frame *frame, size_t end)
{
    if (!hf_kind_is_sorted(frame->kind))
        return true;
    size_t before = frame->start - frame->previous, size = end - frame->start;
    int order = memcmp(reader->bytes + frame->previous, reader->bytes + frame->start, before < size ? before : size);
    return order < 0 || (order == 0 && before <= size);
}

/* It ends there. */
static void pass(hf_value_frame *frame, size_t end)
{
    frame->previous = frame->start;
    frame->start = end;
    frame->left--;
}

static int read_end(hf_value_reader *reader, hf_value_item *item)
{
    hf_value_frame *outer = reader->depth < 2 ? NULL : &reader->frames[reader->depth - 2];
    if (outer != NULL) {
        if (!in_order(reader, outer, reader->at))
            return fail(reader, "a set out of order");
        pass(outer, reader->at);
    }
    reader->depth--;
    item->kind = HF_VALUE_END;
    return 0;
}

int hf_value_read(hf_value_reader *reader, hf_value_item *item)
{
    hf_value_frame *frame = top(reader);
    if (frame != NULL && frame->left == 0)
        return read_end(reader, item);

    if (reader->at == reader->size)
        return fail(reader, "the bytes end before a value");
    cursor c = {.at = reader->bytes + reader->at, .end = reader->bytes + reader->size};
    hf_value_item found;
    uint64_t count;
    if (!take_item(&c, &found))
        return fail(reader, c.reason);
    size_t end = (size_t)(c.at - reader->bytes);
    if (frame != NULL && !hf_item_fits_in(frame->kind, found.kind))
        return fail(reader, "a tzinfo that is neither an object nor a pickle");

    if (hf_item_opens(&found, &count)) {
        if (reader->depth == HF_VALUE_DEPTH_MAX)
            return fail(reader, "values nested too deep");
        reader->frames[reader->depth++] =
            (hf_value_frame){.kind = found.kind, .count = count, .left = count, .start = end, .previous = end};
    } else if (frame != NULL) {
        if (!in_order(reader, frame, end))
            return fail(reader, "a set out of order");
        pass(frame, end);
    }
    reader->at = end;
    *item = found;
    return 0;
}

int hf_value_take(const void *bytes, size_t size, hf_value_item *item, size_t *taken, const char **reason)
{
    const uint8_t *start = bytes;
    cursor c = {.at = start, .end = start + size};
    hf_value_item found;
    if (size == 0) {
        *reason = "the bytes end before a value";
        return HF_CORRUPT;
    }
    if (!take_item(&c, &found)) {
        *reason = c.reason;
        return HF_CORRUPT;
    }
    *taken = (size_t)(c.at - start);
    *item = found;
    return 0;
}

int hf_value_skip(hf_value_reader *reader)
{
    hf_value_item item;
    unsigned depth = reader->depth;
    size_t at = reader->at;
    if (depth > 0 && top(reader)->left == 0)
        return HF_INVALID;
    do {
        int status = hf_value_read(reader, &item);
        if (status < 0) {
            /* The values that were open before see a member when it is whole, so they are as they were. */
            reader->at = at;
            reader->depth = depth;
            return status;
        }
    } while (reader->depth > depth);
    return 0;
}

int hf_value_check(const void *bytes, size_t size, const char **reason)
{
    hf_value_reader reader;
    hf_value_reader_init(&reader, bytes, size);
    int status = hf_value_skip(&reader);
    if (status == 0 && !hf_value_reader_at_end(&reader))
        status = fail(&reader, "bytes behind the value");
    if (status < 0 && reason != NULL)
        *reason = reader.reason;
    return status;
}

bool hf_span_int64(hf_span integer, int64_t *out)
{
    size_t size = hf_int_size(integer);
    if (size > 8)
        return false;
    *out = hf_load_le_signed(integer.bytes, size);
    return true;
}
