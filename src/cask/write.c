/*
 * write.c: putting, deleting, and a file after another.
 *
 *      hf_write_begin    lock; may this process write? is there room in the active file (else roll), in the tail (else
 *                        a larger one)?
 *      hf_write_append   one pwrite of what was made for the file's end
 *      hf_write_entry    { hash, place } to the active tail; not visible yet
 *      hf_write_end      visible: at once, or when it is on the disk (sync.c); unlock
 *
 * What can fail comes before the append, and the append is whole or has not been: so after a failure nothing has
 * changed but sequence numbers that nobody uses. They are used up because a part of what failed may lie behind the
 * end of the log after a power cut (log.h, A2).
 *
 * Rolling: the active file is cut to its records, before any reader in another process is sent past them (he maps
 * the file, and what is cut away under a mapping kills); a new one is made and published. The old one is flushed and
 * gets its hint later (sync.c).
 *
 * Concurrency: the mutex orders writers. A record of more than ROOM bytes is made in memory of its own, fetched
 * before. Failure: cask.h.
 */
#include "cask/cask.h"
#include "cask/sabotage.h"

enum {
    ROOM = 64 << 10,
    AHEAD = 1 << 20, /* zeros that are written ahead where every record is synced: log.h */
    TRIES = 50,      /* of the mutex, for who does not want to wait */
    BACKLOG = 4,     /* so many checkpoints' worth in the active tail, and writers wait */
};

int hf_cask_expiry(const hf_cask *cask, int64_t ttl, int64_t now, int64_t *out)
{
    if (ttl < HF_CASK_FOR_EVER)
        return HF_INVALID;
    if (ttl == 0)
        ttl = cask->how.ttl;
    if (ttl <= 0)
        *out = INT64_MAX;
    else if (__builtin_add_overflow(now, ttl, out) || *out == INT64_MAX)
        *out = INT64_MAX - 1;
    return 0;
}

hf_log_salt hf_write_salt(const hf_cask *cask)
{
    return cask->active->writer.file->salt;
}

uint64_t hf_write_synced(const hf_cask *cask)
{
    return atomic_load_explicit(&cask->active->writer.synced, memory_order_relaxed);
}

/* -- files -- */

int hf_write_files(hf_cask *cask, uint32_t without, hf_log_file *with)
{
    hf_index *now = hf_index_now(cask), *index;
    hf_log_set *logs;
    int status = hf_log_set_change(now->logs, without, with, &logs);

    if (status < 0)
        return status;
    status = hf_index_new(logs, now->active, now->active_facts, now->frozen, now->frozen_facts, now->base, &index);
    hf_log_set_drop(logs);
    if (status == 0)
        hf_index_publish(cask, index);
    return status;
}

static void segment_discard(hf_cask *cask, hf_segment *segment)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_name(segment->writer.file->number, HF_LOG_SUFFIX, name);
    hf_os_unlinkat(cask->folder, name, 0);
    hf_log_writer_close(&segment->writer);
    hf_free(segment);
}

/* A new file for so many bytes of records. */
static int segment_new(hf_cask *cask, uint64_t bytes, hf_segment **out)
{
    uint64_t most = HF_CASK_DATA_AT + bytes;
    uint64_t step = cask->how.sync == HF_CASK_SYNC_PUT ? AHEAD : 0;

    if (most > HF_CASK_FILE_MAX || cask->next_number >= HF_CASK_FILES)
        return HF_LIMIT;
    most = most < cask->how.max_file_size ? cask->how.max_file_size : most;
    hf_segment *segment = hf_alloc(sizeof *segment);
    if (segment == NULL)
        return HF_NOMEM;
    segment->next = NULL;
    segment->flushed = false;
    int status = hf_log_create(cask->folder, cask->id, cask->next_number, HF_LOG_WRITTEN, hf_cask_now(cask),
                               cask->logged, most, step, &segment->writer);
    if (status < 0) {
        hf_free(segment);
        return status;
    }
    *out = segment;
    return 0;
}

static int roll(hf_cask *cask, uint64_t bytes)
{
    hf_segment *segment = NULL;
    hf_note *note;
    int status = cask->active == NULL ? 0 : hf_log_cut(&cask->active->writer);

    if (status == 0)
        status = segment_new(cask, bytes, &segment);
    if (status < 0)
        return status;
    status = hf_notes_add(&cask->notes, cask->next_number, HF_LOG_WRITTEN, &note);
    if (status == 0) {
        status = hf_write_files(cask, 0, segment->writer.file);
        if (status < 0)
            hf_notes_remove(&cask->notes, cask->next_number);
    }
    if (status < 0) {
        segment_discard(cask, segment);
        return status;
    }
    if (cask->active != NULL) {
        cask->written += cask->active->writer.total;
        cask->active->writer.total = 0;
        cask->active->flushed &= HF_CASK_FAULT(resumed_flushed); /* one that was resumed was, when it was */
        *cask->sealed_end = cask->active;
        cask->sealed_end = &cask->active->next;
    }
    cask->active = segment;
    cask->next_number++;
    cask->folder_dirty = true;
    cask->appended = hf_position(segment->writer.file->number, HF_CASK_DATA_AT);
    if (cask->has_thread)
        pthread_cond_signal(&cask->work);
    return 0;
}

/* Does the active file have room for so much? Only a file's first record may make it longer than it should be. */
static bool fits(const hf_cask *cask, uint64_t bytes)
{
    if (cask->active == NULL)
        return false;
    uint64_t end = cask->active->writer.end + bytes;
    return end <= cask->active->writer.file->mapped &&
           (end <= cask->how.max_file_size || cask->active->writer.end == HF_CASK_DATA_AT);
}

/* -- the tail -- */

int hf_write_room(hf_cask *cask, uint32_t entries)
{
    hf_index *now = hf_index_now(cask), *index;
    hf_tail *tail;

    if (now->active->room - now->active->filled >= entries)
        return 0;
    int status = hf_tail_grow(now->active, entries, &tail);
    if (status < 0)
        return status;
    status = hf_index_new(now->logs, tail, now->active_facts, now->frozen, now->frozen_facts, now->base, &index);
    hf_tail_drop(tail);
    if (status == 0)
        hf_index_publish(cask, index);
    return status;
}

void hf_write_entry(hf_cask *cask, uint64_t hash, const hf_record_in *record, uint64_t at, uint64_t size)
{
    hf_index *index = hf_index_now(cask);
    uint32_t number = cask->active->writer.file->number;
    bool deleted = (record->flags & HF_RECORD_KIND) == HF_RECORD_DELETE;
    hf_note *note = hf_notes_find(&cask->notes, number);

    if (record->expires != INT64_MAX)
        atomic_fetch_add_explicit(&index->active_facts->expiring, 1, memory_order_relaxed);
    if ((record->flags & HF_RECORD_KIND) != HF_RECORD_CLOCK)
        hf_tail_append(index->active, hash, hf_cask_place(number, at, size, deleted));
    hf_note_record(note, record, size);
    if (record->time > atomic_load_explicit(&cask->stamp, memory_order_relaxed))
        atomic_store_explicit(&cask->stamp, record->time, memory_order_relaxed);
}

void hf_write_moved(hf_cask *cask, uint64_t hash, uint64_t place, bool expires)
{
    hf_index *index = hf_index_now(cask);

    if (expires)
        atomic_fetch_add_explicit(&index->active_facts->expiring, 1, memory_order_relaxed);
    hf_tail_append(index->active, hash, place);
    cask->since_fold += sizeof(struct hf_log_record);
    /* What is not durable yet shows when it is. */
    if (index->active->filled == hf_tail_visible(index->active) + 1)
        hf_tail_show(index->active);
}

/* -- one write -- */

static int may_write(const hf_cask *cask)
{
    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    return cask->writable ? 0 : HF_DENIED;
}

static void wait_for_change(hf_cask *cask)
{
    cask->waiting++;
    pthread_cond_wait(&cask->changed, &cask->mutex);
    cask->waiting--;
}

/* Is there so much that is not in the keydir that it has to get there first? */
static bool is_backed_up(const hf_cask *cask)
{
    const hf_index *index = hf_index_now((hf_cask *)(uintptr_t)cask);

    return index->frozen != NULL &&
           (cask->since_fold / BACKLOG >= cask->fold_at || index->active->filled / BACKLOG >= cask->fold_entries);
}

/* With the mutex: until it is this thread's turn to append. */
static int await_turn(hf_cask *cask, bool wait)
{
    while (cask->broken == 0) {
        if (!cask->freezing && !is_backed_up(cask))
            return 0;
        if (!wait)
            return HF_TIMEOUT;
        if (cask->freezing) {
            wait_for_change(cask);
        } else if (cask->fold_failed < 0 && !cask->folding) {
            /* It is for who waits to try once more, and to be told. */
            pthread_mutex_unlock(&cask->mutex);
            int status = hf_checkpoint(cask);
            pthread_mutex_lock(&cask->mutex);
            if (status < 0)
                return status;
        } else {
            pthread_cond_signal(&cask->work);
            wait_for_change(cask);
        }
    }
    return HF_BROKEN;
}

/* Others have the mutex for a moment only. HF_TIMEOUT. */
static int lock_soon(hf_cask *cask)
{
    for (int i = 0; i < TRIES; i++)
        if (pthread_mutex_trylock(&cask->mutex) == 0)
            return 0;
    return HF_TIMEOUT;
}

static int begin(hf_cask *cask, uint64_t bytes, uint32_t entries, bool wait)
{
    int status = may_write(cask);

    if (status < 0)
        return status;
    if (wait)
        pthread_mutex_lock(&cask->mutex);
    else if ((status = lock_soon(cask)) < 0)
        return status;
    status =
        __builtin_expect(cask->freezing || cask->broken != 0 || is_backed_up(cask), 0) ? await_turn(cask, wait) : 0;
    if (status == 0 && !fits(cask, bytes))
        status = roll(cask, bytes);
    if (status == 0)
        status = hf_write_room(cask, entries);
    if (status < 0)
        pthread_mutex_unlock(&cask->mutex);
    return status;
}

int hf_write_begin(hf_cask *cask, uint64_t bytes, uint32_t entries)
{
    return begin(cask, bytes, entries, true);
}

void hf_write_undo(hf_cask *cask)
{
    pthread_mutex_unlock(&cask->mutex);
}

int hf_write_append(hf_cask *cask, const void *bytes, uint64_t size, uint32_t records)
{
    hf_log_writer *writer = &cask->active->writer;
    int status = hf_log_append(writer, bytes, size);

    cask->sequence += records;
    if (status < 0)
        return status;
    cask->logged = cask->sequence;
    atomic_store_explicit(&writer->file->end, writer->end, memory_order_release);
    cask->appended = hf_position(writer->file->number, writer->end);
    cask->since_fold += size;
    return 0;
}

void hf_write_show(hf_cask *cask, uint32_t visible, uint64_t end, uint64_t sequence)
{
    atomic_store_explicit(&hf_index_now(cask)->active->visible, visible, memory_order_release);
    atomic_store_explicit(&cask->page->sequence, sequence, memory_order_relaxed);
    atomic_store_explicit(&cask->page->end, end, memory_order_release);
}

/* The first that has to be flushed some day. */
static void note_unsynced(hf_cask *cask)
{
    struct timespec time;

    if (cask->how.sync != HF_CASK_SYNC_INTERVAL || cask->unsynced_since != 0)
        return;
    cask->unsynced_since = 1;
    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) == 0)
        cask->unsynced_since = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
    pthread_cond_signal(&cask->work);
}

int hf_write_end(hf_cask *cask)
{
    int status = 0;

    if (cask->how.sync != HF_CASK_SYNC_PUT) {
        hf_write_show(cask, hf_index_now(cask)->active->filled, cask->appended, cask->sequence);
        note_unsynced(cask);
    }
    if (hf_checkpoint_is_due(cask) && cask->has_thread)
        pthread_cond_signal(&cask->work);
    if (cask->replaced != NULL)
        hf_index_reclaim(cask);
    if (cask->how.sync == HF_CASK_SYNC_PUT)
        status = hf_sync_put(cask, cask->appended);
    else
        pthread_mutex_unlock(&cask->mutex);
    if (__builtin_expect(!cask->has_thread, 0))
        hf_thread_inline(cask);
    return status;
}

/* -- single records -- */

/* Memory to make a record in: the cask's, if it is large enough, else its own, to be freed. */
static int room_for(hf_cask *cask, uint64_t size, unsigned char **own)
{
    *own = NULL;
    if (size <= ROOM)
        return 0;
    *own = hf_alloc(size);
    return *own == NULL ? HF_NOMEM : 0;
}

/* With the mutex, which it gives back: the record as it is made for the end of the log. */
static int write_one(hf_cask *cask, hf_record_in *record, uint64_t hash, uint64_t size, unsigned char *own)
{
    unsigned char *to = own != NULL ? own : cask->room;
    uint64_t at = hf_write_at(cask);

    record->sequence = cask->sequence + 1;
    hf_record_write(record, hf_write_salt(cask), at, hf_write_synced(cask), to);
    int status = hf_write_append(cask, to, size, 1);
    if (status < 0) {
        hf_write_undo(cask);
        return status;
    }
    hf_write_entry(cask, hash, record, at, size);
    return hf_write_end(cask);
}

/* With the mutex: the newest record of the key, for one who sees what is not visible yet. 1: it has a value; 0; *sequence of
 * that, else 0. */
static int newest(hf_cask *cask, const hf_cask_key *key, uint64_t *sequence)
{
    const hf_index *index = hf_index_now(cask);
    hf_probe probe = {.key = key};
    uint64_t place;
    int status = hf_index_find(cask, index, index->active->filled, NULL, &probe, &place);

    *sequence = 0;
    if (status <= 0 || (place & HF_PLACE_DELETED) != 0 || hf_cask_has_expired(cask, probe.record.in.expires))
        return status < 0 ? status : 0;
    *sequence = probe.record.in.sequence;
    return 1;
}

/* With the mutex, which it gives back: nothing is to be done, as things are; that is to be durable too where all is. */
static int write_nothing(hf_cask *cask)
{
    int status = cask->how.sync == HF_CASK_SYNC_PUT ? hf_sync_upto(cask, cask->appended) : 0;

    hf_write_undo(cask);
    return status;
}

/* 1; 0: the terms say no. `is_delete`: nothing is written where the key has no value. */
static int write_record(hf_cask *cask, const hf_cask_key *key, hf_record_in *record, int64_t ttl,
                        const hf_cask_terms *terms)
{
    bool is_delete = (record->flags & HF_RECORD_KIND) == HF_RECORD_DELETE;
    uint64_t sequence;
    unsigned char *own = NULL;
    int64_t size = hf_record_size_in(record);
    int yes = 1, status = size < 0 ? (int)size : room_for(cask, (uint64_t)size, &own);

    if (status < 0)
        return status;
    status = begin(cask, (uint64_t)size, 1, !terms->at_once);
    if (status < 0)
        goto done;
    if (is_delete || terms->only_if) {
        yes = newest(cask, key, &sequence);
        if (yes >= 0)
            yes = (yes > 0 || !is_delete) && (!terms->only_if || sequence == terms->sequence);
    }
    if (yes > 0) {
        record->time = hf_cask_now(cask);
        status = is_delete ? 0 : hf_cask_expiry(cask, ttl, record->time, &record->expires);
        HF_ASSERT(status == 0);
        status = write_one(cask, record, key->hash, (uint64_t)size, own);
    } else if (yes == 0) {
        status = write_nothing(cask);
    } else {
        hf_write_undo(cask);
        status = yes;
    }
done:
    hf_free(own);
    return status < 0 ? status : yes;
}

int hf_cask_put_on(hf_cask *cask, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl,
                   hf_cask_terms terms)
{
    hf_record_in record = {
        .flags = HF_RECORD_PUT,
        .key = key->canonical,
        .given = key->given,
        .head = head,
        .value = value,
    };
    int status = hf_cask_expiry(cask, ttl, 0, &record.expires);

    return status < 0 ? status : write_record(cask, key, &record, ttl, &terms);
}

int hf_cask_delete_on(hf_cask *cask, const hf_cask_key *key, hf_cask_terms terms)
{
    hf_record_in record = {.flags = HF_RECORD_DELETE, .expires = INT64_MAX, .key = key->canonical};
    hf_record_out found;
    hf_cask_hold hold;
    uint64_t place;
    int status = may_write(cask);

    if (status < 0)
        return status;
    status = hf_cask_find(cask, key, false, &hold, &found, &place);
    hf_cask_release(&hold);
    return status <= 0 ? status : write_record(cask, key, &record, 0, &terms);
}

int hf_cask_put_encoded(hf_cask *cask, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl)
{
    int status = hf_cask_put_on(cask, key, head, value, ttl, (hf_cask_terms){.at_once = false});

    return status < 0 ? status : 0;
}

int hf_cask_delete_encoded(hf_cask *cask, const hf_cask_key *key)
{
    return hf_cask_delete_on(cask, key, (hf_cask_terms){.at_once = false});
}

int hf_write_clock(hf_cask *cask)
{
    hf_record_in record = {.flags = HF_RECORD_CLOCK, .expires = INT64_MAX};
    uint64_t told = atomic_load(&cask->page->clock);
    int64_t size = hf_record_size_in(&record);

    if (told <= (uint64_t)atomic_load_explicit(&cask->stamp, memory_order_relaxed))
        return 0;
    int status = hf_write_begin(cask, (uint64_t)size, 0);
    if (status < 0)
        return status;
    record.time = hf_cask_now(cask);
    return write_one(cask, &record, 0, (uint64_t)size, NULL);
}
