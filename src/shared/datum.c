/*
 * datum.c: the public functions: datums to encoded values, a call to one change, and back.
 *
 *      hf_datum ---encode---> bytes in a hf_buffer that begins on the stack ---> shared.h
 *      hf_datum <--decode---- bytes in the map, or copied to the caller's room
 *
 * Concurrency, failure: as shared.h says. What is encoded here is cleared on every way out.
 */
#include "shared/shared.h"

#include "base/memory.h"
#include "value/format.h"
#include "value/utf8.h"

enum { ENCODED_ROOM = 192 };

typedef struct encoding {
    hf_buffer buffer;
    uint8_t room[ENCODED_ROOM];
} encoding;

static hf_span span_of(const encoding *value)
{
    return hf_span_of(value->buffer.bytes, value->buffer.size);
}

static void encoded_clear(encoding *value)
{
    hf_buffer_clear(&value->buffer);
}

/* What a value that has no tag of its own for its length may take in front of its bytes. */
static int put_bytes(hf_buffer *out, unsigned tag, unsigned tag_long, const hf_datum *datum)
{
    int status = hf_buffer_reserve(out, HF_VALUE_HEAD_SIMPLE + datum->size);

    if (status < 0)
        return status;
    hf_put_counted(out, tag, tag_long, datum->size);
    hf_buffer_put(out, datum->data, datum->size);
    return 0;
}

static int put_other(hf_buffer *out, const hf_datum *datum)
{
    if (hf_value_check(datum->data, datum->size, NULL) < 0)
        return HF_INVALID;
    int status = hf_buffer_reserve(out, datum->size);
    if (status == 0)
        hf_buffer_put(out, datum->data, datum->size);
    return status;
}

/* A double is a tag and its bits. */
static void put_double(hf_buffer *out, double real)
{
    hf_buffer_put_byte(out, HF_TAG_FLOAT);
    hf_put_le(out, hf_bits_of_double(real), sizeof real);
}

/* To be cleared if this succeeds. */
static int encode(const hf_datum *datum, encoding *value)
{
    hf_buffer *out = &value->buffer;
    int status = 0;

    if (datum->kind >= HF_DATUM_STR && datum->size > UINT32_MAX - HF_VALUE_HEAD_SIMPLE)
        return HF_LIMIT;
    hf_buffer_init(out, value->room, sizeof value->room, UINT32_MAX);
    switch (datum->kind) {
    case HF_DATUM_NONE:
        hf_buffer_put_byte(out, HF_TAG_NONE);
        break;
    case HF_DATUM_BOOL:
        hf_buffer_put_byte(out, datum->truth ? HF_TAG_TRUE : HF_TAG_FALSE);
        break;
    case HF_DATUM_INT:
        hf_put_int64(out, datum->integer);
        break;
    case HF_DATUM_FLOAT:
        put_double(out, datum->real);
        break;
    case HF_DATUM_STR:
        status = hf_utf8_is_text(datum->data, datum->size) ? put_bytes(out, HF_TAG_STR, HF_TAG_STR_LONG, datum)
                                                           : HF_INVALID;
        break;
    case HF_DATUM_BYTES:
        status = put_bytes(out, HF_TAG_BYTES, HF_TAG_BYTES_LONG, datum);
        break;
    case HF_DATUM_OTHER:
        status = put_other(out, datum);
        break;
    default:
        status = HF_INVALID;
    }
    if (status < 0)
        encoded_clear(value);
    return status;
}

/* Ints, bytes of fewer than 128 and doubles: what a look at the first bytes tells. 0: it is something else, or damaged. */
static int decode_plain(hf_span bytes, hf_datum *out)
{
    enum { VARINT_MORE = 0x80 };
    const uint8_t *at = bytes.bytes;
    size_t rest = bytes.size - 1;

    if (bytes.size == 0)
        return 0;
    unsigned tag = *at;
    if (tag >= HF_TAG_BYTES && tag < HF_TAG_BYTES_LONG && rest == tag - HF_TAG_BYTES)
        *out = hf_datum_bytes(at + 1, rest);
    else if (tag == HF_TAG_BYTES_LONG && rest > HF_TAG_BYTES_LONG - HF_TAG_BYTES && at[1] < VARINT_MORE &&
             rest - 1 == at[1])
        *out = hf_datum_bytes(at + 2, rest - 1);
    else if (tag >= HF_TAG_INT && tag < HF_TAG_INT_LONG && rest == tag - HF_TAG_INT &&
             hf_int_size(hf_span_of(at + 1, rest)) == rest)
        *out = hf_datum_int(hf_load_le_signed(at + 1, rest));
    else if (tag == HF_TAG_FLOAT && rest == sizeof(double))
        *out = hf_datum_float(hf_double_of_bits(hf_load_le(at + 1, rest)));
    else
        return 0;
    return 1;
}

/* Of bytes from the map: they may be anything. What *out points to is in them. */
static int decode(hf_span bytes, hf_datum *out)
{
    hf_value_reader reader;
    hf_value_item item;

    if (decode_plain(bytes, out))
        return 0;
    hf_value_reader_init(&reader, bytes.bytes, bytes.size);
    int status = hf_value_read(&reader, &item);
    if (status < 0)
        return status;
    hf_datum datum = {.kind = HF_DATUM_OTHER, .data = bytes.bytes, .size = bytes.size};
    bool whole = hf_value_reader_at_end(&reader);
    if (whole && item.kind == HF_VALUE_NONE)
        datum = hf_datum_none();
    else if (whole && item.kind == HF_VALUE_BOOL)
        datum = hf_datum_bool(item.truth);
    else if (whole && item.kind == HF_VALUE_FLOAT)
        datum = hf_datum_float(hf_double_of_bits(item.bits[0]));
    else if (whole && item.kind == HF_VALUE_STR)
        datum = hf_datum_text((const char *)item.span.bytes, item.span.size);
    else if (whole && item.kind == HF_VALUE_BYTES)
        datum = hf_datum_bytes(item.span.bytes, item.span.size);
    else if (whole && item.kind == HF_VALUE_INT && hf_span_int64(item.span, &datum.integer))
        datum = hf_datum_int(datum.integer);
    else
        status = hf_value_check(bytes.bytes, bytes.size, NULL);
    if (status < 0)
        return status;
    *out = datum;
    return 0;
}

/* A key, and the encoding that it stands on. */
typedef struct datum_key {
    encoding encoded;
    hf_shared_key key;
} datum_key;

/* What is encoded in one way only, and equal to nothing of another kind. */
static bool is_own_form(hf_datum_kind kind)
{
    return kind == HF_DATUM_STR || kind == HF_DATUM_BYTES || kind == HF_DATUM_INT || kind == HF_DATUM_NONE;
}

static int key_init(datum_key *out, uint64_t seed, const hf_datum *datum)
{
    int status = encode(datum, &out->encoded);

    if (status < 0)
        return status;
    if (is_own_form(datum->kind)) {
        hf_shared_key_own(&out->key, seed, span_of(&out->encoded));
        return 0;
    }
    status = hf_shared_key_init(&out->key, seed, span_of(&out->encoded), NULL);
    if (status < 0)
        encoded_clear(&out->encoded);
    return status;
}

static void key_clear(datum_key *out)
{
    hf_shared_key_clear(&out->key);
    encoded_clear(&out->encoded);
}

/* -- looking up -- */

void hf_shared_room_clear(hf_shared_room *room)
{
    hf_free(room->bytes);
    *room = (hf_shared_room){0};
}

/* A copy of the bytes in the room, which is made larger where it has to be. */
static int copy_to(hf_shared_room *room, hf_span *bytes)
{
    if (bytes->size > room->size) {
        size_t size = bytes->size < 64 ? 64 : bytes->size;
        void *larger = hf_realloc(room->bytes, size);
        if (larger == NULL)
            return HF_NOMEM;
        *room = (hf_shared_room){larger, size};
    }
    if (bytes->size > 0)
        memcpy(room->bytes, bytes->bytes, bytes->size);
    bytes->bytes = room->bytes;
    return 0;
}

int hf_shared_get(hf_shared *map, const hf_datum *datum, hf_shared_room *room, hf_datum *value)
{
    hf_shared_hold hold;
    hf_span bytes;
    datum_key key;
    int copied = 0, status = (room == NULL) != (value == NULL) ? HF_INVALID : key_init(&key, map->seed, datum);

    if (status < 0)
        return status;
    int found = hf_shared_find(map, &key.key.key, &hold, &bytes);
    if (found > 0 && value != NULL)
        copied = copy_to(room, &bytes);
    hf_shared_release(&hold);
    key_clear(&key);
    if (copied == 0 && found > 0 && value != NULL)
        copied = decode(bytes, value);
    return copied < 0 ? copied : found;
}

int hf_shared_count(hf_shared *map, uint64_t *out)
{
    return hf_shared_size(map, out);
}

/* -- changing -- */

int hf_shared_set(hf_shared *map, const hf_datum *datum, const hf_datum *value)
{
    hf_shared_write write;
    encoding encoded;
    datum_key key;
    int status = key_init(&key, map->seed, datum);

    if (status < 0)
        return status;
    status = encode(value, &encoded);
    if (status == 0) {
        status = hf_shared_write_begin(map, map->timeout, &write);
        if (status == 0)
            status = hf_shared_write_end(&write, hf_shared_write_put(&write, &key.key, span_of(&encoded)));
        encoded_clear(&encoded);
    }
    key_clear(&key);
    return status;
}

int hf_shared_delete(hf_shared *map, const hf_datum *datum)
{
    hf_shared_write write;
    datum_key key;
    int status = key_init(&key, map->seed, datum);

    if (status < 0)
        return status;
    status = hf_shared_write_begin(map, map->timeout, &write);
    if (status == 0)
        status = hf_shared_write_end(&write, hf_shared_write_remove(&write, &key.key.key));
    key_clear(&key);
    return status;
}

int hf_shared_incr(hf_shared *map, const hf_datum *datum, int64_t by, int64_t *out)
{
    hf_shared_write write;
    int64_t sum = 0;
    datum_key key;
    int status = key_init(&key, map->seed, datum);

    if (status < 0)
        return status;
    status = hf_shared_write_begin(map, map->timeout, &write);
    if (status == 0)
        status = hf_shared_write_end(&write, hf_shared_write_incr(&write, &key.key, by, &sum));
    key_clear(&key);
    if (status == 0 && out != NULL)
        *out = sum;
    return status;
}

/* NULL stands for no value: no bytes. */
static int encode_some(const hf_datum *datum, encoding *value)
{
    if (datum != NULL)
        return encode(datum, value);
    hf_buffer_init(&value->buffer, value->room, sizeof value->room, UINT32_MAX);
    return 0;
}

int hf_shared_compare_and_set(hf_shared *map, const hf_datum *datum, const hf_datum *old, const hf_datum *now)
{
    hf_shared_write write;
    encoding was, is;
    datum_key key;
    int status = key_init(&key, map->seed, datum);

    if (status < 0)
        return status;
    status = encode_some(old, &was);
    if (status < 0)
        goto done;
    status = encode_some(now, &is);
    if (status == 0) {
        status = hf_shared_write_begin(map, map->timeout, &write);
        if (status == 0)
            status =
                hf_shared_write_end(&write, hf_shared_write_exchange(&write, &key.key, span_of(&was), span_of(&is)));
        encoded_clear(&is);
    }
    encoded_clear(&was);
done:
    key_clear(&key);
    return status;
}

int hf_shared_clear(hf_shared *map)
{
    hf_shared_write write;
    int status = hf_shared_write_begin(map, map->timeout, &write);

    return status < 0 ? status : hf_shared_write_end(&write, hf_shared_write_clear(&write));
}

/* -- snapshots -- */

int hf_shared_snapshot_begin(hf_shared *map, hf_shared_snapshot **out)
{
    hf_shared_snapshot *snapshot = hf_alloc(sizeof *snapshot);

    if (snapshot == NULL)
        return HF_NOMEM;
    int status = hf_snapshot_begin(map->region, &snapshot->pinned);
    if (status < 0) {
        hf_free(snapshot);
        return status;
    }
    snapshot->seed = map->seed;
    *out = snapshot;
    return 0;
}

void hf_shared_snapshot_end(hf_shared_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    hf_snapshot_end(snapshot->pinned);
    hf_free(snapshot);
}

uint64_t hf_shared_snapshot_count(const hf_shared_snapshot *snapshot)
{
    return hf_view_count(hf_snapshot_view(snapshot->pinned), HF_SHARED_ENTRIES);
}

int hf_shared_snapshot_get(const hf_shared_snapshot *snapshot, const hf_datum *datum, hf_datum *value)
{
    hf_span bytes;
    datum_key key;
    int status = key_init(&key, snapshot->seed, datum);

    if (status < 0)
        return status;
    status = hf_view_get(hf_snapshot_view(snapshot->pinned), HF_SHARED_ENTRIES, &key.key.key, &bytes);
    key_clear(&key);
    if (status <= 0 || value == NULL)
        return status;
    int decoded = decode(bytes, value);
    return decoded < 0 ? decoded : status;
}

int hf_shared_snapshot_walk(const hf_shared_snapshot *snapshot, hf_shared_visit visit, void *arg)
{
    hf_shared_walk walk;
    hf_span key_bytes, value_bytes;
    hf_datum key, value;
    int status = hf_shared_walk_begin(&walk, NULL, hf_snapshot_view(snapshot->pinned));

    while (status == 0) {
        status = hf_shared_walk_next(&walk, &key_bytes, &value_bytes);
        if (status <= 0)
            break;
        status = decode(key_bytes, &key);
        if (status == 0)
            status = decode(value_bytes, &value);
        if (status == 0)
            status = visit(arg, &key, &value);
    }
    return status;
}

typedef struct diff_walk {
    const hf_view *from, *to;
    hf_shared_differ differ;
    void *arg;
    int ended; /* what `differ` ended it with, which may be positive */
} diff_walk;

static int differs(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    diff_walk *walk = arg;
    hf_datum name, was, is;
    hf_span given;
    int status = hf_shared_key_given(from != NULL ? walk->from : walk->to, key, &given);

    if (status == 0)
        status = decode(given, &name);
    if (status == 0 && from != NULL)
        status = decode(*from, &was);
    if (status == 0 && to != NULL)
        status = decode(*to, &is);
    if (status < 0)
        return status;
    walk->ended = walk->differ(walk->arg, &name, from != NULL ? &was : NULL, to != NULL ? &is : NULL);
    return walk->ended == 0 ? 0 : HF_FOREIGN;
}

int hf_shared_snapshot_diff(const hf_shared_snapshot *from, const hf_shared_snapshot *to, hf_shared_differ differ,
                            void *arg)
{
    diff_walk walk = {hf_snapshot_view(from->pinned), hf_snapshot_view(to->pinned), differ, arg, 0};
    int status = hf_view_diff(walk.from, walk.to, HF_SHARED_ENTRIES, differs, &walk);

    return walk.ended != 0 ? walk.ended : status;
}

/* -- looking after -- */

int hf_shared_check(hf_shared *map, const char **what)
{
    hf_region_fault fault = {NULL, 0};
    int status = hf_region_check(map->region, map->timeout, &fault);

    if (status == 0)
        status = hf_shared_check_trees(map, &fault.what);
    if (what != NULL)
        *what = status == HF_CORRUPT ? fault.what : NULL;
    return status;
}

int hf_shared_stats_get(hf_shared *map, hf_shared_stats *out)
{
    hf_region_stats stats;
    int status = hf_region_stats_get(map->region, &stats);

    if (status < 0)
        return status;
    *out = (hf_shared_stats){
        .count = stats.counts[HF_SHARED_ENTRIES],
        .version = stats.txid,
        .size = stats.size,
        .used = stats.used,
        .max_size = stats.limit,
        .readers = stats.slots_owned,
        .writers_died = stats.owner_died,
        .readers_died = stats.adopted,
    };
    return 0;
}
