/*
 * canonical.c: see canonical.h.
 *
 * A value's form is appended to a buffer while the value is read; inside it the functions call themselves, as deep as
 * the reader allows (HF_VALUE_DEPTH_MAX). The members of a frozenset are appended in the order they come in, then
 * sorted, then copied to their places behind the head, which says how many are left:
 *
 *      out  [ before | member | member | member ]
 *      out  [ before | 07 count | sorted members ]
 */
#include "value/canonical.h"

#include "base/hash.h"
#include "base/memory.h"
#include "value/codec.h"
#include "value/format.h"
#include "value/members.h"
#include "value/number.h"
#include "value/utf8.h"

#include <holdfast/status.h>

typedef struct canon {
    hf_value_reader in;
    hf_buffer out;
    const char *reason;
} canon;

static int put_value(canon *c);

static int bad_type(canon *c, const char *why)
{
    c->reason = why;
    return HF_BAD_TYPE;
}

static int read_item(canon *c, hf_value_item *item)
{
    int status = hf_value_read(&c->in, item);
    if (status < 0)
        c->reason = c->in.reason;
    return status;
}

/* The END of what was opened. */
static int read_end(canon *c)
{
    hf_value_item end;
    int status = read_item(c, &end);
    HF_ASSERT(status < 0 || end.kind == HF_VALUE_END);
    return status;
}

/* The bytes from `at` on, as they were read. */
static int put_as_it_is(canon *c, size_t at)
{
    size_t size = c->in.at - at;
    int status = hf_buffer_reserve(&c->out, size);
    if (status == 0)
        hf_buffer_put(&c->out, c->in.bytes + at, size);
    return status;
}

static int put_bool(canon *c, bool truth)
{
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_SIMPLE);
    if (status == 0)
        hf_put_int64(&c->out, truth);
    return status;
}

/* -- date and time -- */

/* Reads the tzinfo of a kind of its own, whose offset is all that counts. */
static int skip_zone(canon *c)
{
    int status = hf_value_skip(&c->in);
    if (status < 0)
        c->reason = c->in.reason;
    return status < 0 ? status : read_end(c);
}

static bool is_aware(const hf_value_moment *moment)
{
    return moment->zone == HF_ZONE_FIXED || (moment->zone != HF_ZONE_NAIVE && moment->has_offset);
}

static int put_datetime(canon *c, const hf_value_moment *moment)
{
    bool named = moment->zone == HF_ZONE_NAMED, wall = moment->fold_matters;
    if (wall && !named)
        return bad_type(c, "a datetime of an hour that clocks repeat or leave out cannot be a key, unless its tzinfo "
                           "is a ZoneInfo");
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_MAX + (wall ? moment->name.size : 0));
    if (status < 0)
        return status;
    if (wall) {
        hf_buffer_put_byte(&c->out, HF_TAG_WALL);
        hf_put_le(&c->out, (uint64_t)moment->us, HF_DATETIME_BYTES);
        hf_put_text(&c->out, moment->name);
    } else if (is_aware(moment)) {
        hf_buffer_put_byte(&c->out, HF_TAG_INSTANT);
        hf_put_le(&c->out, (uint64_t)(moment->us - moment->offset_us), HF_DATETIME_BYTES);
    } else {
        hf_buffer_put_byte(&c->out, HF_TAG_DATETIME);
        hf_buffer_put_byte(&c->out, HF_ZONE_NAIVE);
        hf_put_le(&c->out, (uint64_t)moment->us, HF_DATETIME_BYTES);
    }
    return moment->zone == HF_ZONE_OTHER ? skip_zone(c) : 0;
}

/*
 * Two aware times are one key for a dict if their differences from UTC are equal, since that is what is hashed, and
 * if they are when the microseconds of the offsets are left out, since that is what is compared. Hence those, too.
 */
static int put_time(canon *c, const hf_value_moment *moment)
{
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_MAX);
    if (status < 0)
        return status;
    if (is_aware(moment)) {
        int64_t part = moment->offset_us % HF_SECOND_US;
        hf_buffer_put_byte(&c->out, HF_TAG_TIME_UTC);
        hf_put_le(&c->out, (uint64_t)(moment->us - moment->offset_us), HF_TIME_BYTES);
        hf_put_le(&c->out, (uint64_t)(part < 0 ? part + HF_SECOND_US : part), HF_DELTA_PART_BYTES);
    } else {
        hf_buffer_put_byte(&c->out, HF_TAG_TIME);
        hf_buffer_put_byte(&c->out, HF_ZONE_NAIVE);
        hf_put_le(&c->out, (uint64_t)moment->us, HF_TIME_BYTES);
    }
    return moment->zone == HF_ZONE_OTHER ? skip_zone(c) : 0;
}

static int put_timezone(canon *c, const hf_value_moment *moment)
{
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_SIMPLE);
    if (status < 0)
        return status;
    hf_buffer_put_byte(&c->out, HF_TAG_TIMEZONE);
    hf_put_le(&c->out, (uint64_t)moment->offset_us, HF_OFFSET_BYTES);
    hf_buffer_put_byte(&c->out, HF_TAG_NONE);
    return 0;
}

static int put_uuid(canon *c, const hf_value_uuid *uuid)
{
    int status = hf_buffer_reserve(&c->out, 1 + HF_UUID_BYTES);
    if (status < 0)
        return status;
    hf_buffer_put_byte(&c->out, HF_TAG_UUID);
    hf_buffer_put(&c->out, uuid->bytes, HF_UUID_BYTES);
    return 0;
}

/* -- values with others in them -- */

static int put_tuple(canon *c, uint64_t count)
{
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_SIMPLE);
    if (status < 0)
        return status;
    hf_put_counted(&c->out, HF_TAG_TUPLE, HF_TAG_TUPLE_LONG, count);
    for (; count > 0; count--) {
        status = put_value(c);
        if (status < 0)
            return status;
    }
    return read_end(c);
}

/* Puts the members, which are what the buffer has from `start` on, in order behind their head, each once. */
static int put_sorted(canon *c, size_t start, hf_member *members, size_t count)
{
    size_t size = c->out.size - start;
    uint8_t *sorted = size == 0 ? NULL : hf_alloc(size);
    if (size > 0 && sorted == NULL)
        return HF_NOMEM;
    int status = hf_buffer_reserve(&c->out, HF_VALUE_HEAD_SIMPLE);
    if (status == 0) {
        hf_members_sort(c->out.bytes, members, count);
        count = hf_members_unique(c->out.bytes, members, count);
        size = hf_members_gather(c->out.bytes, members, count, sorted);
        c->out.size = start;
        hf_buffer_put_byte(&c->out, HF_TAG_FROZENSET);
        hf_put_varint(&c->out, count);
        hf_buffer_put(&c->out, sorted, size);
    }
    hf_free(sorted);
    return status;
}

/* `count` is no more than the bytes that are left (codec_read.c), so what is allocated is in proportion to them. */
static int put_frozenset(canon *c, uint64_t count)
{
    size_t start = c->out.size, i;
    if (count > SIZE_MAX / sizeof(hf_member))
        return HF_NOMEM;
    hf_member *members = count == 0 ? NULL : hf_alloc((size_t)count * sizeof *members);
    if (count > 0 && members == NULL)
        return HF_NOMEM;
    int status = 0;
    for (i = 0; i < count && status == 0; i++) {
        members[i].at = c->out.size;
        status = put_value(c);
        members[i].size = c->out.size - members[i].at;
    }
    if (status == 0)
        status = read_end(c);
    if (status == 0)
        status = put_sorted(c, start, members, (size_t)count);
    hf_free(members);
    return status;
}

static int put_member(canon *c, const hf_value_member *member, size_t at)
{
    if (!member->has_base)
        return put_as_it_is(c, at);
    int status = put_value(c);
    return status < 0 ? status : read_end(c);
}

static int put_value(canon *c)
{
    hf_value_item item;
    size_t at = c->in.at;
    int status = read_item(c, &item);
    if (status < 0)
        return status;
    switch (item.kind) {
    case HF_VALUE_NONE:
    case HF_VALUE_INT:
    case HF_VALUE_STR:
    case HF_VALUE_BYTES:
    case HF_VALUE_DATE:
    case HF_VALUE_TIMEDELTA:
    case HF_VALUE_ZONE:
        return put_as_it_is(c, at);
    case HF_VALUE_BOOL:
        return put_bool(c, item.truth);
    case HF_VALUE_FLOAT:
        return hf_number_put_double(hf_double_of_bits(item.bits[0]), &c->out, &c->reason);
    case HF_VALUE_COMPLEX:
        return hf_number_put_complex(hf_double_of_bits(item.bits[0]), hf_double_of_bits(item.bits[1]), &c->out,
                                     &c->reason);
    case HF_VALUE_DECIMAL:
        return hf_number_put_decimal(&item.decimal, &c->out, &c->reason);
    case HF_VALUE_FRACTION:
        return hf_number_put_fraction(item.fraction, &c->out, &c->reason);
    case HF_VALUE_TUPLE:
        return put_tuple(c, item.count);
    case HF_VALUE_FROZENSET:
        return put_frozenset(c, item.count);
    case HF_VALUE_TIME:
        return put_time(c, &item.moment);
    case HF_VALUE_DATETIME:
        return put_datetime(c, &item.moment);
    case HF_VALUE_TIMEZONE:
        return put_timezone(c, &item.moment);
    case HF_VALUE_UUID:
        return put_uuid(c, &item.uuid);
    case HF_VALUE_ENUM:
        return put_member(c, &item.member, at);
    case HF_VALUE_BYTEARRAY:
        return bad_type(c, "a bytearray cannot be a key: it can change");
    case HF_VALUE_LIST:
        return bad_type(c, "a list cannot be a key: it can change");
    case HF_VALUE_DICT:
        return bad_type(c, "a dict cannot be a key: it can change");
    case HF_VALUE_SET:
        return bad_type(c, "a set cannot be a key: it can change");
    case HF_VALUE_PICKLE:
        return bad_type(c, "a pickle cannot be a key: equal objects may have different ones");
    default:
        return bad_type(c, "an object of a codec cannot be a key: only its codec knows when two are equal");
    }
}

/* -- keys -- */

/* The bytes are one int, str, bytes or None: their own form. What is damaged is not, and finds its reason later. */
static bool is_own_form(const uint8_t *bytes, size_t size)
{
    unsigned tag = size == 0 ? 0 : bytes[0];
    if (tag >= HF_TAG_STR && tag < HF_TAG_STR_LONG)
        return size - 1 == tag - HF_TAG_STR && hf_utf8_is_text(bytes + 1, size - 1);
    if (tag >= HF_TAG_INT && tag < HF_TAG_INT_LONG)
        return size - 1 == tag - HF_TAG_INT && hf_int_size(hf_span_of(bytes + 1, size - 1)) == size - 1;
    if (tag >= HF_TAG_BYTES && tag < HF_TAG_BYTES_LONG)
        return size - 1 == tag - HF_TAG_BYTES;
    if (tag == HF_TAG_NONE)
        return size == 1;
    return (tag == HF_TAG_STR_LONG || tag == HF_TAG_BYTES_LONG || tag == HF_TAG_INT_LONG) &&
           hf_value_check(bytes, size, NULL) == 0;
}

static int fail(int status, const char *why, const char **reason)
{
    if (reason != NULL)
        *reason = why;
    return status;
}

static void begin(hf_canonical *key)
{
    hf_buffer_init(&key->made, key->room, sizeof key->room, SIZE_MAX);
}

/* The key is what the buffer has. */
static void finish(hf_canonical *key)
{
    key->bytes = key->made.bytes;
    key->size = key->made.size;
}

__attribute__((noinline)) static int make(hf_canonical *key, const void *encoded, size_t size, const char **reason)
{
    canon c;
    c.reason = "out of memory";
    hf_value_reader_init(&c.in, encoded, size);
    hf_buffer_init(&c.out, key->room, sizeof key->room, SIZE_MAX);
    int status = put_value(&c);
    if (status == 0 && !hf_value_reader_at_end(&c.in)) {
        status = HF_CORRUPT;
        c.reason = "bytes behind the value";
    }
    if (status < 0) {
        hf_buffer_clear(&c.out);
        return fail(status, c.reason, reason);
    }
    key->made = c.out;
    finish(key);
    return 0;
}

int hf_canonical_init(hf_canonical *key, const void *encoded, size_t size, const char **reason)
{
    if (!is_own_form(encoded, size))
        return make(key, encoded, size, reason);
    begin(key);
    key->bytes = encoded;
    key->size = size;
    return 0;
}

void hf_canonical_init_int64(hf_canonical *key, int64_t number)
{
    begin(key);
    hf_put_int64(&key->made, number);
    finish(key);
}

int hf_canonical_init_str(hf_canonical *key, const void *utf8, size_t size, const char **reason)
{
    if (!hf_utf8_is_text(utf8, size))
        return fail(HF_INVALID, "a str that is not UTF-8", reason);
    begin(key);
    int status = hf_buffer_reserve(&key->made, HF_VALUE_HEAD_SIMPLE + size);
    if (status < 0)
        return fail(status, "out of memory", reason);
    hf_put_text(&key->made, hf_span_of(utf8, size));
    finish(key);
    return 0;
}

void hf_canonical_clear(hf_canonical *key)
{
    hf_buffer_clear(&key->made);
}

uint64_t hf_canonical_hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    return hf_hash_bytes(bytes, size, seed);
}

uint64_t hf_canonical_hash(const hf_canonical *key, uint64_t seed)
{
    return hf_hash_bytes(key->bytes, key->size, seed);
}
