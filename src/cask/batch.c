/*
 * batch.c: several changes that become one append.
 *
 *      ops      [ hash, sizes, expiry | hash, sizes, expiry | ... ]
 *      bytes    [ key given value | key | ... ]                          what was put, until it is committed
 *
 *      commit   lock -> records of all, made for the end of the log: PUT MORE | DELETE MORE | ... | PUT
 *               -> one append -> entries -> visible
 *
 * Nothing is encoded before: a record says where it lies and what its number is. What is made is kept in the batch's
 * own memory, so that the next commit finds it there.
 *
 * Concurrency: a batch is one thread's. Failure: HF_NOMEM, HF_LIMIT, what a put may say; the batch is as it was.
 */
#include "cask/cask.h"

typedef struct op {
    uint64_t hash;
    int64_t ttl;
    uint64_t at; /* in hf_cask_batch.bytes */
    uint32_t key, given, value;
    uint32_t flags; /* a kind */
} op;

struct hf_cask_batch {
    hf_cask *cask;
    op *ops;
    size_t count, ops_room;
    unsigned char *bytes;
    size_t used, bytes_room;
    unsigned char *made; /* records */
    size_t made_room;
    uint64_t size; /* of the records */
};

hf_cask *hf_cask_batch_of(const hf_cask_batch *batch)
{
    return batch->cask;
}

int hf_cask_batch_begin(hf_cask *cask, hf_cask_batch **out)
{
    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    if (!cask->writable)
        return HF_DENIED;
    hf_cask_batch *batch = hf_alloc(sizeof *batch);
    if (batch == NULL)
        return HF_NOMEM;
    *batch = (hf_cask_batch){.cask = cask};
    atomic_fetch_add(&cask->batches, 1);
    *out = batch;
    return 0;
}

void hf_cask_batch_end(hf_cask_batch *batch)
{
    if (batch == NULL)
        return;
    atomic_fetch_sub(&batch->cask->batches, 1);
    hf_free(batch->ops);
    hf_free(batch->bytes);
    hf_free(batch->made);
    hf_free(batch);
}

static unsigned char *append(unsigned char *to, hf_span from)
{
    if (from.size > 0)
        memcpy(to, from.bytes, from.size);
    return to + from.size;
}

/* The operation that the record will be of. */
static int add(hf_cask_batch *batch, const hf_record_in *record, uint64_t hash, int64_t ttl)
{
    uint64_t value = record->head.size + record->value.size;
    uint64_t needed = record->key.size + record->given.size + value;
    int64_t size = hf_record_size_in(record);

    if (size < 0)
        return (int)size;
    if (batch->size + (uint64_t)size > HF_CASK_FILE_MAX - HF_CASK_DATA_AT || batch->count >= UINT32_MAX / 2)
        return HF_LIMIT;
    op *ops = hf_grown(batch->ops, &batch->ops_room, batch->count + 1, sizeof *ops);
    if (ops == NULL)
        return HF_NOMEM;
    batch->ops = ops;
    unsigned char *bytes = hf_grown(batch->bytes, &batch->bytes_room, batch->used + needed + 1, 1);
    if (bytes == NULL)
        return HF_NOMEM;
    batch->bytes = bytes;
    ops[batch->count++] = (op){
        .hash = hash,
        .ttl = ttl,
        .at = batch->used,
        .key = (uint32_t)record->key.size,
        .given = (uint32_t)record->given.size,
        .value = (uint32_t)value,
        .flags = record->flags,
    };
    append(append(append(append(bytes + batch->used, record->key), record->given), record->head), record->value);
    batch->used += needed;
    batch->size += (uint64_t)size;
    return 0;
}

int hf_cask_batch_put_encoded(hf_cask_batch *batch, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl)
{
    hf_record_in record = {
        .flags = HF_RECORD_PUT,
        .key = key->canonical,
        .given = key->given,
        .head = head,
        .value = value,
    };
    int status = hf_cask_expiry(batch->cask, ttl, 0, &record.expires);

    return status < 0 ? status : add(batch, &record, key->hash, ttl);
}

int hf_cask_batch_delete_encoded(hf_cask_batch *batch, const hf_cask_key *key)
{
    hf_record_in record = {.flags = HF_RECORD_DELETE, .expires = INT64_MAX, .key = key->canonical};

    return add(batch, &record, key->hash, 0);
}

/* The record of an operation, as of now. */
static hf_record_in record_of(const hf_cask_batch *batch, size_t i, int64_t now)
{
    const op *o = &batch->ops[i];
    const unsigned char *bytes = batch->bytes + o->at;
    hf_record_in record = {
        .flags = o->flags | (i + 1 < batch->count ? HF_RECORD_MORE : 0),
        .sequence = batch->cask->sequence + 1 + i,
        .time = now,
        .expires = INT64_MAX,
        .key = hf_span_of(bytes, o->key),
        .given = hf_span_of(bytes + o->key, o->given),
        .value = hf_span_of(bytes + o->key + o->given, o->value),
    };

    if (o->flags == HF_RECORD_PUT)
        hf_cask_expiry(batch->cask, o->ttl, now, &record.expires);
    return record;
}

/* Asks for what the appends to the tail, after the i-th, will look at: each would wait for memory twice. */
static void look_ahead(const hf_cask_batch *batch, size_t i)
{
    enum { BUCKET = 24, LINK = 12 };
    const hf_tail *tail = hf_index_now(batch->cask)->active;

    if (i + BUCKET < batch->count)
        hf_tail_prefetch(tail, batch->ops[i + BUCKET].hash);
    if (i + LINK < batch->count)
        hf_tail_prefetch_link(tail, batch->ops[i + LINK].hash);
}

/* With the mutex. Makes the records, appends them, tells of each. */
static int write_all(hf_cask_batch *batch)
{
    hf_cask *cask = batch->cask;
    hf_log_salt salt = hf_write_salt(cask);
    int64_t now = hf_cask_now(cask);
    uint64_t begin = hf_write_at(cask), at = begin, synced = hf_write_synced(cask), first = cask->sequence;

    for (size_t i = 0; i < batch->count; i++) {
        hf_record_in record = record_of(batch, i, now);
        at += hf_record_write(&record, salt, at, synced, batch->made + (at - begin));
    }
    HF_ASSERT(at - begin == batch->size);
    int status = hf_write_append(cask, batch->made, batch->size, (uint32_t)batch->count);
    if (status < 0)
        return status;
    at = begin;
    for (size_t i = 0; i < batch->count; i++) {
        hf_record_in record = record_of(batch, i, now);
        look_ahead(batch, i);
        record.sequence = first + 1 + i;
        uint64_t size = (uint64_t)hf_record_size_in(&record);
        hf_write_entry(cask, batch->ops[i].hash, &record, at, size);
        at += size;
    }
    return 0;
}

int hf_cask_batch_commit(hf_cask_batch *batch)
{
    if (batch->count == 0)
        return atomic_load_explicit(&batch->cask->lost, memory_order_relaxed) ? HF_LOST : 0;
    unsigned char *made = hf_grown(batch->made, &batch->made_room, batch->size, 1);
    if (made == NULL)
        return HF_NOMEM;
    batch->made = made;
    int status = hf_write_begin(batch->cask, batch->size, (uint32_t)batch->count);
    if (status < 0)
        return status;
    status = write_all(batch);
    if (status < 0) {
        hf_write_undo(batch->cask);
        return status;
    }
    status = hf_write_end(batch->cask);
    if (status < 0)
        return status;
    batch->count = batch->used = 0;
    batch->size = 0;
    return 0;
}
