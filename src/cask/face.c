/*
 * face.c: the public functions that take keys and values as C has them: bytes.
 *
 *      key    bytes ---> tag, size, bytes: the encoding of a bytes object (value/format.h), on the stack if short
 *      value  bytes ---> tag and size in front, the bytes themselves copied once, to the record
 *      back   an encoding of bytes ---> the bytes in it; of anything else ---> as it is
 *
 * So what C puts, Python sees as bytes, and the other way round.
 *
 * Concurrency, failure: holdfast/cask.h.
 */
#include "cask/cask.h"

#include "value/format.h"

enum { KEY_ROOM = 256, HEAD_ROOM = 12 };

typedef struct face_key {
    hf_cask_key key;
    unsigned char *own; /* or NULL */
    unsigned char room[KEY_ROOM];
} face_key;

/* The tag of so many bytes, and how many they are: its size. */
static size_t put_head(unsigned char out[HEAD_ROOM], size_t size)
{
    hf_buffer head;

    hf_buffer_init(&head, out, HEAD_ROOM, HEAD_ROOM);
    hf_put_counted(&head, HF_TAG_BYTES, HF_TAG_BYTES_LONG, size);
    return head.size;
}

static int key_init(const hf_cask *cask, const void *bytes, size_t size, face_key *out)
{
    unsigned char *to = out->room;

    out->own = NULL;
    if (size >= HF_CASK_KEY_MAX - HEAD_ROOM)
        return HF_LIMIT;
    if (size > KEY_ROOM - HEAD_ROOM) {
        to = out->own = hf_alloc(size + HEAD_ROOM);
        if (to == NULL)
            return HF_NOMEM;
    }
    size_t head = put_head(to, size);
    if (size > 0)
        memcpy(to + head, bytes, size);
    out->key = (hf_cask_key){
        .canonical = hf_span_of(to, head + size),
        .hash = hf_canonical_hash_bytes(to, head + size, cask->seed),
    };
    return 0;
}

static void key_clear(face_key *key)
{
    hf_free(key->own);
}

/* The bytes that are encoded here, or, where it is something else, the encoding. */
static hf_span plain(hf_span encoded)
{
    size_t head = 1, size = 0;

    if (encoded.size == 0)
        return encoded;
    unsigned tag = encoded.bytes[0];
    if (tag < HF_TAG_BYTES || tag > HF_TAG_BYTES_LONG)
        return encoded;
    if (tag < HF_TAG_BYTES_LONG)
        size = tag - HF_TAG_BYTES;
    for (unsigned shift = 0; tag == HF_TAG_BYTES_LONG; shift += 7) {
        if (head >= encoded.size || shift > 63)
            return encoded;
        unsigned char byte = encoded.bytes[head++];
        size |= (size_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return size == encoded.size - head ? hf_span_of(encoded.bytes + head, size) : encoded;
}

/* -- single steps -- */

int hf_cask_put(hf_cask *cask, const void *key, size_t key_size, const void *value, size_t value_size, int64_t ttl)
{
    unsigned char head[HEAD_ROOM];
    face_key k;
    int status = key_init(cask, key, key_size, &k);

    if (status < 0)
        return status;
    hf_span front = hf_span_of(head, put_head(head, value_size));
    status = hf_cask_put_encoded(cask, &k.key, front, hf_span_of(value, value_size), ttl);
    key_clear(&k);
    return status;
}

int hf_cask_delete(hf_cask *cask, const void *key, size_t key_size)
{
    face_key k;
    int status = key_init(cask, key, key_size, &k);

    if (status < 0)
        return status;
    status = hf_cask_delete_encoded(cask, &k.key);
    key_clear(&k);
    return status;
}

void hf_cask_room_clear(hf_cask_room *room)
{
    hf_free(room->bytes);
    *room = (hf_cask_room){0};
}

static int copy_to(hf_cask_room *room, hf_span bytes)
{
    if (bytes.size > room->size || room->bytes == NULL) {
        size_t size = bytes.size < 64 ? 64 : bytes.size;
        void *larger = hf_realloc(room->bytes, size);
        if (larger == NULL)
            return HF_NOMEM;
        *room = (hf_cask_room){larger, size};
    }
    if (bytes.size > 0)
        memcpy(room->bytes, bytes.bytes, bytes.size);
    return 0;
}

int hf_cask_get(hf_cask *cask, const void *key, size_t key_size, hf_cask_room *room, const void **value,
                size_t *value_size)
{
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;
    face_key k;
    int copied = 0, status = (room == NULL) != (value == NULL) ? HF_INVALID : key_init(cask, key, key_size, &k);

    if (status < 0)
        return status;
    status = hf_cask_find(cask, &k.key, room != NULL, &hold, &record, &place);
    if (status > 0) {
        hf_span bytes = plain(record.in.value);
        copied = room != NULL ? copy_to(room, bytes) : 0;
        if (copied == 0 && value != NULL)
            *value = room->bytes;
        if (copied == 0 && value_size != NULL)
            *value_size = bytes.size;
    }
    hf_cask_release(&hold);
    key_clear(&k);
    return copied < 0 ? copied : status;
}

int hf_cask_info_get(hf_cask *cask, const void *key, size_t key_size, hf_cask_info *out)
{
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;
    face_key k;
    int status = key_init(cask, key, key_size, &k);

    if (status < 0)
        return status;
    status = hf_cask_find(cask, &k.key, false, &hold, &record, &place);
    if (status > 0) {
        hf_cask_info_of(place, &record, out);
        out->value_size = plain(record.in.value).size;
    }
    hf_cask_release(&hold);
    key_clear(&k);
    return status;
}

int hf_cask_count(hf_cask *cask, uint64_t *out)
{
    hf_cask_snapshot *snapshot;
    int status = hf_cask_snapshot_begin(cask, &snapshot);

    if (status < 0)
        return status;
    status = hf_cask_snapshot_count(snapshot, out);
    hf_cask_snapshot_end(snapshot);
    return status;
}

int hf_cask_sync_now(hf_cask *cask)
{
    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    if (!cask->writable)
        return HF_DENIED;
    int status = hf_write_clock(cask);
    if (status < 0)
        return status;
    pthread_mutex_lock(&cask->mutex);
    status = cask->broken != 0 ? HF_BROKEN : hf_sync_upto(cask, cask->appended);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

/* -- batches -- */

int hf_cask_batch_put(hf_cask_batch *batch, const void *key, size_t key_size, const void *value, size_t value_size,
                      int64_t ttl)
{
    unsigned char head[HEAD_ROOM];
    face_key k;
    int status = key_init(hf_cask_batch_of(batch), key, key_size, &k);

    if (status < 0)
        return status;
    hf_span front = hf_span_of(head, put_head(head, value_size));
    status = hf_cask_batch_put_encoded(batch, &k.key, front, hf_span_of(value, value_size), ttl);
    key_clear(&k);
    return status;
}

int hf_cask_batch_delete(hf_cask_batch *batch, const void *key, size_t key_size)
{
    face_key k;
    int status = key_init(hf_cask_batch_of(batch), key, key_size, &k);

    if (status < 0)
        return status;
    status = hf_cask_batch_delete_encoded(batch, &k.key);
    key_clear(&k);
    return status;
}

/* -- snapshots -- */

int hf_cask_snapshot_get(hf_cask_snapshot *snapshot, const void *key, size_t key_size, const void **value,
                         size_t *value_size)
{
    hf_record_out record;
    uint64_t place;
    face_key k;
    int status = key_init(snapshot->cask, key, key_size, &k);

    if (status < 0)
        return status;
    status = hf_cask_snapshot_find(snapshot, &k.key, value != NULL, &record, &place);
    key_clear(&k);
    if (status <= 0)
        return status;
    hf_span bytes = plain(record.in.value);
    if (value != NULL)
        *value = bytes.bytes;
    if (value_size != NULL)
        *value_size = bytes.size;
    return 1;
}

int hf_cask_snapshot_walk(hf_cask_snapshot *snapshot, hf_cask_visit visit, void *arg)
{
    hf_record_out record;
    hf_cask_walk walk;
    uint64_t place;
    int status;

    hf_cask_walk_begin(&walk, snapshot, true);
    while ((status = hf_cask_walk_next(&walk, &record, &place)) > 0) {
        hf_span key = plain(hf_cask_given(&record)), value = plain(record.in.value);
        hf_cask_info info;
        hf_cask_info_of(place, &record, &info);
        info.value_size = value.size;
        status = visit(arg, key.bytes, key.size, value.bytes, value.size, &info);
        if (status != 0)
            return status;
    }
    return status;
}

int hf_cask_fold(hf_cask *cask, hf_cask_visit visit, void *arg)
{
    hf_cask_snapshot *snapshot;
    int status = hf_cask_snapshot_begin(cask, &snapshot);

    if (status < 0)
        return status;
    status = hf_cask_snapshot_walk(snapshot, visit, arg);
    hf_cask_snapshot_end(snapshot);
    return status;
}
