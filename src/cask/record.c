/*
 * record.c: see record.h; format.h has the bytes, drawn.
 *
 * In struct parts are the numbers that a header and the first bytes of a body give. hf_record_write fills a header
 * from them, hf_record_look takes them from one; what is between them and the spans is in body_parts alone.
 */
#include "cask/record.h"

#include "base/assert.h"
#include "base/hash.h"

#include <holdfast/status.h>

#include <string.h>

enum {
    HEAD = sizeof(struct hf_log_record),
    FLAGS_AT = 16, /* in a stamp */
    TIME_AT = 22,
    FLAGS = 63,
};

_Static_assert(64 - TIME_AT == HF_CASK_TIME_BITS && TIME_AT - FLAGS_AT == 6, "a stamp");
_Static_assert(HF_CASK_FILE_MAX / HF_CASK_ALIGN <= UINT32_MAX, "hf_log_record.synced has 32 bits");

static uint64_t padded(uint64_t size)
{
    return (size + HF_CASK_ALIGN - 1) & ~(uint64_t)(HF_CASK_ALIGN - 1);
}

hf_log_salt hf_log_salt_of(const uint64_t id[2], uint32_t number)
{
    uint64_t words[3] = {id[0], id[1], number};

    return (hf_log_salt){hf_checksum64(words, sizeof words, HF_CASK_LOG_MAGIC),
                         hf_checksum64(words, 2 * sizeof *words, HF_CASK_LOG_MAGIC)};
}

static uint32_t head_checksum(const struct hf_log_record *head, hf_log_salt salt, uint64_t at)
{
    return hf_checksum32(&head->body_checksum, HEAD - offsetof(struct hf_log_record, body_checksum), salt.head + at);
}

static uint32_t body_checksum(const unsigned char *body, uint64_t size, hf_log_salt salt, uint64_t sequence)
{
    return hf_checksum32(body, size, salt.body + sequence);
}

static void head_seal(struct hf_log_record *head, hf_log_salt salt, uint64_t at, uint64_t synced)
{
    HF_ASSERT(at % HF_CASK_ALIGN == 0 && synced <= at && at <= HF_CASK_FILE_MAX);
    head->synced = (uint32_t)(synced / HF_CASK_ALIGN);
    head->head_checksum = head_checksum(head, salt, at);
}

/* -- writing -- */

static bool is_long(const hf_record_in *record)
{
    return record->key.size >= HF_KEY_SIZE_LONG;
}

/* Without padding. */
static uint64_t body_size(const hf_record_in *record)
{
    return (record->expires != INT64_MAX ? 8u : 0u) + (is_long(record) ? 4u : 0u) +
           (record->given.size > 0 ? 4u : 0u) + record->key.size + record->given.size + record->head.size +
           record->value.size;
}

int64_t hf_record_size_in(const hf_record_in *record)
{
    if (record->key.size >= HF_CASK_KEY_MAX || record->given.size >= HF_CASK_KEY_MAX ||
        record->head.size + record->value.size > UINT32_MAX || record->time < 0 || record->time > HF_CASK_TIME_MAX ||
        record->expires < 0)
        return HF_LIMIT;
    return (int64_t)(HEAD + padded(body_size(record)));
}

static unsigned char *put(unsigned char *to, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(to, bytes, size);
    return to + size;
}

uint64_t hf_record_write(const hf_record_in *record, hf_log_salt salt, uint64_t at, uint64_t synced,
                         unsigned char *out)
{
    unsigned flags = record->flags & (HF_RECORD_KIND | HF_RECORD_MORE);
    uint32_t key_size = (uint32_t)record->key.size, given_size = (uint32_t)record->given.size;
    uint64_t size = body_size(record);
    unsigned char *body = out + HEAD, *to = body;
    struct hf_log_record head;

    HF_ASSERT(hf_record_size_in(record) > 0 && record->sequence > 0 && (flags & HF_RECORD_KIND) != 0);
    HF_ASSERT((flags & HF_RECORD_KIND) != HF_RECORD_DELETE || size == record->key.size + (is_long(record) ? 4 : 0));
    HF_ASSERT((flags & HF_RECORD_KIND) != HF_RECORD_CLOCK || size == 0);
    /* The last word first: what the body does not fill of it is padding. */
    if (size > 0)
        memset(body + padded(size) - HF_CASK_ALIGN, 0, HF_CASK_ALIGN);
    if (record->expires != INT64_MAX) {
        flags |= HF_RECORD_EXPIRES;
        to = put(to, &record->expires, sizeof record->expires);
    }
    if (is_long(record))
        to = put(to, &key_size, sizeof key_size);
    if (given_size > 0) {
        flags |= HF_RECORD_GIVEN;
        to = put(to, &given_size, sizeof given_size);
    }
    to = put(to, record->key.bytes, record->key.size);
    to = put(to, record->given.bytes, record->given.size);
    to = put(to, record->head.bytes, record->head.size);
    put(to, record->value.bytes, record->value.size);
    head.sequence = record->sequence;
    head.stamp = (uint64_t)record->time << TIME_AT | (uint64_t)flags << FLAGS_AT |
                 (is_long(record) ? HF_KEY_SIZE_LONG : key_size);
    head.value_size = (uint32_t)(record->head.size + record->value.size);
    head.body_checksum = body_checksum(body, size, salt, record->sequence);
    head_seal(&head, salt, at, synced);
    memcpy(out, &head, HEAD);
    return HEAD + padded(size);
}

uint64_t hf_record_copy(const hf_record_out *record, hf_log_salt salt, uint64_t at, uint64_t synced,
                        unsigned char *out)
{
    struct hf_log_record head;

    memcpy(&head, record->bytes, HEAD);
    head.stamp &= ~((uint64_t)HF_RECORD_MORE << FLAGS_AT);
    head_seal(&head, salt, at, synced);
    memcpy(out, &head, HEAD);
    memcpy(out + HEAD, record->bytes + HEAD, record->size - HEAD);
    return record->size;
}

/* -- reading -- */

/* Takes an integer from a body of which `*left` bytes remain. */
static bool take(const unsigned char **from, uint64_t *left, void *to, size_t size)
{
    if (*left < size)
        return false;
    memcpy(to, *from, size);
    *from += size;
    *left -= size;
    return true;
}

static hf_span take_span(const unsigned char **from, size_t size)
{
    hf_span span = hf_span_of(*from, size);

    *from += size;
    return span;
}

/*
 * What a header that is right, and behind it a body of which `left` bytes are in the file, say. *size: of the body.
 * False: hf_record_write makes no such record. Apart from the flags, which a header's checksum covers, all of this is
 * of the body, which nobody has verified yet: it may be anything.
 */
static bool body_parts(const struct hf_log_record *head, const unsigned char *body, uint64_t left, hf_record_in *in,
                       uint64_t *size)
{
    const unsigned char *from = body;
    unsigned flags = (unsigned)(head->stamp >> FLAGS_AT) & FLAGS, kind = flags & HF_RECORD_KIND;
    uint32_t key_size = (uint32_t)head->stamp & HF_KEY_SIZE_LONG, given_size = 0;

    in->flags = flags;
    in->sequence = head->sequence;
    in->time = (int64_t)(head->stamp >> TIME_AT);
    in->expires = INT64_MAX;
    if (kind == 0 || flags > (HF_RECORD_KIND | HF_RECORD_EXPIRES | HF_RECORD_GIVEN | HF_RECORD_MORE) ||
        head->sequence == 0)
        return false;
    if (kind != HF_RECORD_PUT && ((flags & (HF_RECORD_EXPIRES | HF_RECORD_GIVEN)) != 0 || head->value_size > 0))
        return false;
    if (kind == HF_RECORD_CLOCK && key_size > 0)
        return false;
    if ((flags & HF_RECORD_EXPIRES) != 0 &&
        (!take(&from, &left, &in->expires, sizeof in->expires) || in->expires < 0 || in->expires == INT64_MAX))
        return false;
    if (key_size == HF_KEY_SIZE_LONG && (!take(&from, &left, &key_size, sizeof key_size) ||
                                         key_size < HF_KEY_SIZE_LONG || key_size >= HF_CASK_KEY_MAX))
        return false;
    if ((flags & HF_RECORD_GIVEN) != 0 &&
        (!take(&from, &left, &given_size, sizeof given_size) || given_size == 0 || given_size >= HF_CASK_KEY_MAX))
        return false;
    if ((uint64_t)key_size + given_size + head->value_size > left)
        return false;
    in->key = take_span(&from, key_size);
    in->given = take_span(&from, given_size);
    in->head = hf_span_of(NULL, 0);
    in->value = take_span(&from, head->value_size);
    *size = (uint64_t)(from - body);
    return true;
}

static bool is_zero(const unsigned char *bytes, uint64_t size)
{
    unsigned char any = 0;

    for (uint64_t i = 0; i < size; i++)
        any |= bytes[i];
    return any == 0;
}

/* 1, 0 or HF_CORRUPT as hf_record_look; *body: its body's size. */
static inline int look(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt,
                       struct hf_log_record *head, hf_record_out *out, uint64_t *body)
{
    if (at % HF_CASK_ALIGN != 0 || at < HF_CASK_DATA_AT || at > end)
        return HF_CORRUPT;
    if (end - at < HEAD)
        return is_zero(file + at, end - at) ? 0 : HF_CORRUPT;
    memcpy(head, file + at, HEAD);
    if (head->head_checksum != head_checksum(head, salt, at))
        return is_zero(file + at, HEAD) ? 0 : HF_CORRUPT;
    out->at = at;
    out->bytes = file + at;
    out->synced = (uint64_t)head->synced * HF_CASK_ALIGN;
    if (out->synced > at || !body_parts(head, file + at + HEAD, end - at - HEAD, &out->in, body) ||
        padded(*body) > end - at - HEAD)
        return HF_CORRUPT;
    out->size = HEAD + padded(*body);
    return 1;
}

int hf_record_look(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out)
{
    struct hf_log_record head;
    uint64_t body;

    return look(file, end, at, salt, &head, out, &body);
}

/* Is a body that is all there right, and is what is behind it up to a multiple of 8 zero? */
static inline bool body_is_right(const struct hf_log_record *head, const unsigned char *body, uint64_t size,
                                 hf_log_salt salt)
{
    for (uint64_t i = size; i < padded(size); i++)
        if (body[i] != 0)
            return false;
    return head->body_checksum == body_checksum(body, size, salt, head->sequence);
}

int hf_record_read(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out)
{
    struct hf_log_record head;
    uint64_t body;
    int found = look(file, end, at, salt, &head, out, &body);

    if (found > 0 && !body_is_right(&head, out->bytes + HEAD, body, salt))
        return HF_CORRUPT;
    return found;
}

/* May a header begin here, `at` bytes into a file of which `rest` bytes follow? A few loads, no hash. */
static inline bool may_begin(const unsigned char *bytes, uint64_t at, uint64_t rest)
{
    uint64_t sequence, stamp;
    uint32_t value_size, synced;

    memcpy(&sequence, bytes + offsetof(struct hf_log_record, sequence), sizeof sequence);
    if (sequence == 0)
        return false;
    memcpy(&synced, bytes + offsetof(struct hf_log_record, synced), sizeof synced);
    memcpy(&value_size, bytes + offsetof(struct hf_log_record, value_size), sizeof value_size);
    if ((uint64_t)synced * HF_CASK_ALIGN > at || HEAD + (uint64_t)value_size > rest)
        return false;
    memcpy(&stamp, bytes + offsetof(struct hf_log_record, stamp), sizeof stamp);
    return (stamp >> FLAGS_AT & HF_RECORD_KIND) != 0;
}

int hf_record_resync(const unsigned char *file, uint64_t end, uint64_t at, hf_log_salt salt, hf_record_out *out)
{
    if (at > end)
        return 0;
    at = at < HF_CASK_DATA_AT ? (uint64_t)HF_CASK_DATA_AT : padded(at);
    while (at < end && end - at >= HEAD) {
        struct hf_log_record head;
        uint64_t body, step = HF_CASK_ALIGN;

        if (may_begin(file + at, at, end - at) && look(file, end, at, salt, &head, out, &body) > 0) {
            if (body_is_right(&head, file + at + HEAD, body, salt))
                return 1;
            step = out->size;
        }
        at += step;
    }
    return 0;
}
