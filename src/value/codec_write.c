/*
 * codec_write.c: the writer.
 *
 * An item is checked first, then room is made for all it can take, then it is put; so putting cannot fail, and a call
 * that fails has put nothing. The one item that takes more is the END of a set or frozenset, whose members are put in order
 * then: they are sorted in memory of their own and copied back at the end of it.
 */
#include "value/codec.h"

#include "base/memory.h"
#include "value/format.h"
#include "value/members.h"
#include "value/utf8.h"

#include <holdfast/status.h>

const char *hf_value_kind_name(hf_value_kind kind)
{
    static const char *const names[] = {
#define HF_VALUE_KIND_NAME(name, text) [HF_VALUE_##name] = (text),
        HF_VALUE_KINDS(HF_VALUE_KIND_NAME)
#undef HF_VALUE_KIND_NAME
    };
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "nothing";
}

/* -- is it a value? -- */

static bool is_text(hf_span text)
{
    return hf_utf8_is_text(text.bytes, text.size);
}

static bool has_zone_name(const hf_value_moment *moment)
{
    return moment->zone == HF_ZONE_NAMED || (moment->zone == HF_ZONE_FIXED && moment->has_name);
}

static bool is_moment(hf_value_kind kind, const hf_value_moment *moment)
{
    return hf_moment_fits(kind, moment) && (!has_zone_name(moment) || is_text(moment->name));
}

static bool is_fraction(hf_value_fraction fraction)
{
    hf_span denominator = hf_span_of(fraction.denominator.bytes, hf_int_size(fraction.denominator));
    return hf_int_is_positive(denominator);
}

static bool is_member(const hf_value_member *member)
{
    return is_text(member->module) && is_text(member->class_name) && (member->by_number || is_text(member->member));
}

static bool is_value(const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_STR:
    case HF_VALUE_ZONE:
    case HF_VALUE_OBJECT:
        return is_text(item->span);
    case HF_VALUE_DATE:
        return hf_ordinal_fits(item->ordinal);
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
    case HF_VALUE_TIMEZONE:
        return is_moment(item->kind, &item->moment);
    case HF_VALUE_TIMEDELTA:
        return hf_delta_fits(item->delta);
    case HF_VALUE_DECIMAL:
        return hf_decimal_fits(&item->decimal);
    case HF_VALUE_FRACTION:
        return is_fraction(item->fraction);
    case HF_VALUE_UUID:
        return item->uuid.safety <= HF_UUID_UNSAFE;
    case HF_VALUE_ENUM:
        return is_member(&item->member);
    case HF_VALUE_DICT:
        return item->count <= HF_PAIRS_MAX;
    default:
        return (unsigned)item->kind < HF_VALUE_END;
    }
}

/* -- how long can it be? -- */

/* The bytes that an item brings along; no sum of three spans that are in memory overflows. */
static size_t spans_of(const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_INT:
    case HF_VALUE_STR:
    case HF_VALUE_BYTES:
    case HF_VALUE_BYTEARRAY:
    case HF_VALUE_ZONE:
    case HF_VALUE_OBJECT:
    case HF_VALUE_PICKLE:
        return item->span.size;
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
    case HF_VALUE_TIMEZONE:
        return has_zone_name(&item->moment) ? item->moment.name.size : 0;
    case HF_VALUE_DECIMAL:
        return item->decimal.pairs.size;
    case HF_VALUE_FRACTION:
        return item->fraction.numerator.size + item->fraction.denominator.size;
    case HF_VALUE_ENUM:
        return item->member.module.size + item->member.class_name.size + item->member.member.size;
    default:
        return 0;
    }
}

/* What is in front of and between them, at most. */
static size_t head_of(const hf_value_item *item)
{
    return item->kind <= HF_VALUE_SET ? HF_VALUE_HEAD_SIMPLE : HF_VALUE_HEAD_MAX;
}

/* -- putting -- */

static void put_sized(hf_buffer *out, unsigned tag, hf_span bytes)
{
    hf_buffer_put_byte(out, tag);
    hf_put_varint(out, bytes.size);
    hf_buffer_put(out, bytes.bytes, bytes.size);
}

/* Offset and name of a datetime.timezone. */
static void put_fixed_zone(hf_buffer *out, const hf_value_moment *moment)
{
    hf_put_le(out, (uint64_t)moment->offset_us, HF_OFFSET_BYTES);
    if (moment->has_name)
        hf_put_text(out, moment->name);
    else
        hf_buffer_put_byte(out, HF_TAG_NONE);
}

static void put_moment(hf_buffer *out, hf_value_kind kind, const hf_value_moment *moment)
{
    bool offset = moment->has_offset && (moment->zone == HF_ZONE_NAMED || moment->zone == HF_ZONE_OTHER);
    unsigned form = moment->zone;
    form |= moment->fold ? HF_FORM_FOLD : 0;
    form |= offset ? HF_FORM_OFFSET : 0;
    form |= moment->fold_matters ? HF_FORM_FOLD_MATTERS : 0;

    hf_buffer_put_byte(out, kind == HF_VALUE_TIME ? HF_TAG_TIME : HF_TAG_DATETIME);
    hf_buffer_put_byte(out, form);
    hf_put_le(out, (uint64_t)moment->us, kind == HF_VALUE_TIME ? HF_TIME_BYTES : HF_DATETIME_BYTES);
    if (offset)
        hf_put_le(out, (uint64_t)moment->offset_us, HF_OFFSET_BYTES);
    if (moment->zone == HF_ZONE_FIXED)
        put_fixed_zone(out, moment);
    if (moment->zone == HF_ZONE_NAMED)
        hf_put_text(out, moment->name);
}

static void put_delta(hf_buffer *out, hf_value_delta delta)
{
    hf_buffer_put_byte(out, HF_TAG_TIMEDELTA);
    hf_put_le(out, (uint32_t)delta.days, HF_DELTA_DAYS_BYTES);
    hf_put_le(out, (uint32_t)delta.seconds, HF_DELTA_PART_BYTES);
    hf_put_le(out, (uint32_t)delta.us, HF_DELTA_PART_BYTES);
}

static void put_decimal(hf_buffer *out, const hf_value_decimal *decimal)
{
    hf_buffer_put_byte(out, HF_TAG_DECIMAL);
    hf_buffer_put_byte(out, decimal->kind | (decimal->negative ? HF_DECIMAL_NEGATIVE : 0u));
    if (decimal->kind == HF_DECIMAL_FINITE)
        hf_put_varint(out, hf_zigzag(decimal->exponent));
    if (decimal->kind != HF_DECIMAL_INFINITE) {
        hf_put_varint(out, decimal->pairs.size);
        hf_buffer_put(out, decimal->pairs.bytes, decimal->pairs.size);
    }
}

static void put_member(hf_buffer *out, const hf_value_member *member)
{
    hf_buffer_put_byte(out, member->has_base ? HF_TAG_ENUM_BASE : HF_TAG_ENUM);
    hf_put_text(out, member->module);
    hf_put_text(out, member->class_name);
    (member->by_number ? hf_put_int : hf_put_text)(out, member->member);
}

/* The types of Python's library, and what is not ours to understand. */
static void put_other(hf_buffer *out, const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_DATE:
        hf_buffer_put_byte(out, HF_TAG_DATE);
        hf_put_le(out, (uint32_t)item->ordinal, HF_DATE_BYTES);
        return;
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
        put_moment(out, item->kind, &item->moment);
        return;
    case HF_VALUE_TIMEDELTA:
        put_delta(out, item->delta);
        return;
    case HF_VALUE_TIMEZONE:
        hf_buffer_put_byte(out, HF_TAG_TIMEZONE);
        put_fixed_zone(out, &item->moment);
        return;
    case HF_VALUE_DECIMAL:
        put_decimal(out, &item->decimal);
        return;
    case HF_VALUE_FRACTION:
        hf_buffer_put_byte(out, HF_TAG_FRACTION);
        hf_put_int(out, item->fraction.numerator);
        hf_put_int(out, item->fraction.denominator);
        return;
    case HF_VALUE_UUID:
        hf_buffer_put_byte(out, HF_TAG_UUID + item->uuid.safety);
        hf_buffer_put(out, item->uuid.bytes, HF_UUID_BYTES);
        return;
    case HF_VALUE_ENUM:
        put_member(out, &item->member);
        return;
    case HF_VALUE_ZONE:
    case HF_VALUE_OBJECT:
        hf_buffer_put_byte(out, item->kind == HF_VALUE_ZONE ? HF_TAG_ZONE : HF_TAG_OBJECT);
        hf_put_text(out, item->span);
        return;
    default:
        HF_ASSERT_CHEAP(item->kind == HF_VALUE_PICKLE);
        put_sized(out, HF_TAG_PICKLE, item->span);
    }
}

static void put_item(hf_buffer *out, const hf_value_item *item)
{
    switch (item->kind) {
    case HF_VALUE_NONE:
        hf_buffer_put_byte(out, HF_TAG_NONE);
        return;
    case HF_VALUE_BOOL:
        hf_buffer_put_byte(out, item->truth ? HF_TAG_TRUE : HF_TAG_FALSE);
        return;
    case HF_VALUE_INT:
        hf_put_int(out, item->span);
        return;
    case HF_VALUE_FLOAT:
    case HF_VALUE_COMPLEX:
        hf_buffer_put_byte(out, item->kind == HF_VALUE_FLOAT ? HF_TAG_FLOAT : HF_TAG_COMPLEX);
        hf_put_le(out, item->bits[0], 8);
        if (item->kind == HF_VALUE_COMPLEX)
            hf_put_le(out, item->bits[1], 8);
        return;
    case HF_VALUE_STR:
        hf_put_text(out, item->span);
        return;
    case HF_VALUE_BYTES:
        hf_put_counted(out, HF_TAG_BYTES, HF_TAG_BYTES_LONG, item->span.size);
        hf_buffer_put(out, item->span.bytes, item->span.size);
        return;
    case HF_VALUE_BYTEARRAY:
        put_sized(out, HF_TAG_BYTEARRAY, item->span);
        return;
    case HF_VALUE_TUPLE:
        hf_put_counted(out, HF_TAG_TUPLE, HF_TAG_TUPLE_LONG, item->count);
        return;
    case HF_VALUE_FROZENSET:
        hf_buffer_put_byte(out, HF_TAG_FROZENSET);
        hf_put_varint(out, item->count);
        return;
    case HF_VALUE_LIST:
        hf_put_counted(out, HF_TAG_LIST, HF_TAG_LIST_LONG, item->count);
        return;
    case HF_VALUE_DICT:
        hf_put_counted(out, HF_TAG_DICT, HF_TAG_DICT_LONG, item->count);
        return;
    case HF_VALUE_SET:
        hf_put_counted(out, HF_TAG_SET, HF_TAG_SET_LONG, item->count);
        return;
    default:
        put_other(out, item);
    }
}

/* -- values that are open -- */

/* Finds the members among the bytes, which this writer has put there. */
static void find_members(const uint8_t *bytes, size_t size, hf_member *members, size_t count)
{
    hf_value_reader reader;
    hf_value_reader_init(&reader, bytes, size);
    for (size_t i = 0; i < count; i++) {
        members[i].at = reader.at;
        int status = hf_value_skip(&reader);
        HF_ASSERT_CHEAP(status == 0);
        members[i].size = reader.at - members[i].at;
    }
    HF_ASSERT_CHEAP(hf_value_reader_at_end(&reader));
}

/* Puts the members of a set or frozenset in order. */
static int sort_members(uint8_t *bytes, size_t size, size_t count)
{
    if (count < 2)
        return 0;
    if (count > SIZE_MAX / sizeof(hf_member) - size)
        return HF_NOMEM;
    hf_member *members = hf_alloc(count * sizeof *members + size);
    if (members == NULL)
        return HF_NOMEM;
    uint8_t *sorted = (uint8_t *)(members + count);
    find_members(bytes, size, members, count);
    hf_members_sort(bytes, members, count);
    size_t gathered = hf_members_gather(bytes, members, count, sorted);
    HF_ASSERT_CHEAP(gathered == size);
    memcpy(bytes, sorted, size);
    hf_free(members);
    return 0;
}

static int write_end(hf_value_writer *writer)
{
    if (writer->depth == 0)
        return HF_INVALID;
    const hf_value_frame *frame = &writer->frames[writer->depth - 1];
    hf_buffer *out = &writer->out;
    if (frame->left > 0)
        return HF_INVALID;
    if (hf_kind_is_sorted(frame->kind)) {
        int status = sort_members(out->bytes + frame->start, out->size - frame->start, (size_t)frame->count);
        if (status < 0)
            return status;
    }
    writer->depth--;
    if (writer->depth > 0)
        writer->frames[writer->depth - 1].left--;
    return 0;
}

int hf_value_put(hf_buffer *out, const hf_value_item *item)
{
    if (!is_value(item))
        return HF_INVALID;
    /* No need to make room for what is too long even without its head. */
    size_t before = out->size, spans = spans_of(item);
    if (spans > out->limit - before)
        return HF_LIMIT;
    int status = hf_buffer_reserve(out, head_of(item) + spans);
    if (status < 0)
        return status;
    put_item(out, item);
    if (out->size > out->limit) {
        out->size = before;
        return HF_LIMIT;
    }
    return 0;
}

int hf_value_write(hf_value_writer *writer, const hf_value_item *item)
{
    uint64_t count;
    if (item->kind == HF_VALUE_END)
        return write_end(writer);
    hf_value_frame *frame = writer->depth == 0 ? NULL : &writer->frames[writer->depth - 1];
    if (frame != NULL && (frame->left == 0 || !hf_item_fits_in(frame->kind, item->kind)))
        return HF_INVALID;
    bool opens = hf_item_opens(item, &count);
    if (opens && writer->depth == HF_VALUE_DEPTH_MAX)
        return HF_LIMIT;

    int status = hf_value_put(&writer->out, item);
    if (status < 0)
        return status;
    if (opens)
        writer->frames[writer->depth++] =
            (hf_value_frame){.kind = item->kind, .count = count, .left = count, .start = writer->out.size};
    else if (frame != NULL)
        frame->left--;
    return 0;
}

int hf_value_write_int64(hf_value_writer *writer, int64_t number)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((uint64_t)number >> (8 * i));
    return hf_value_write(writer, &(hf_value_item){.kind = HF_VALUE_INT, .span = {bytes, sizeof bytes}});
}

/* -- Decimals' digits -- */

size_t hf_decimal_pack(const char *digits, size_t count, uint8_t *pairs)
{
    while (count > 0 && *digits == '0') {
        digits++;
        count--;
    }
    size_t size = 0;
    if (count % 2 == 1) {
        pairs[size++] = (uint8_t)(*digits++ - '0');
        count--;
    }
    for (; count > 0; count -= 2, digits += 2)
        pairs[size++] = (uint8_t)((digits[0] - '0') * 10 + (digits[1] - '0'));
    return size;
}

void hf_decimal_unpack(hf_span pairs, char *digits)
{
    for (size_t i = 0; i < pairs.size; i++) {
        unsigned pair = pairs.bytes[i];
        if (i > 0 || pair >= 10)
            *digits++ = (char)('0' + pair / 10);
        *digits++ = (char)('0' + pair % 10);
    }
}
