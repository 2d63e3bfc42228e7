/*
 * merge_copy.c: what counts in the victims, to the output.
 *
 *      record of a victim, and where the index says that its key's newest record is
 *
 *      any             one with a higher number, or a copy    left out
 *      PUT             here                                   copied, to be moved
 *      PUT, expired    here; it may hide something            copied as a DELETE, to be moved
 *                      here; it hides nothing                 left out; its key is to be removed
 *      PUT             nowhere: deleted, or expired           left out
 *      DELETE          here or nowhere; it may hide something copied
 *                      here or nowhere; it hides nothing      left out
 *      CLOCK                                                  left out: the manifest has the clock
 *
 * It may hide something if another file that stays may have an older record of the key: unless all of that file's
 * records are younger, or the filter of its hint says no.
 *
 * Records go to a buffer, from there to the file in parts, and these are flushed in steps, so that the last flush
 * is short and puts that want to be durable beside it do not wait for all of it.
 *
 * A victim that is not the first, and does not fit after all (deletions were more than was thought), is taken back
 * out of the output. So is one that is damaged: it stays as it is (G6).
 *
 * Concurrency: the duty `merging`; no lock while anything is read or written. Failure: HF_CORRUPT: no victim is
 * left; HF_NOMEM, HF_NOSPACE, HF_IO, HF_LIMIT, HF_BROKEN: the merge is to be dropped.
 */
#include "cask/merge.h"
#include "cask/sabotage.h"

enum {
    STEP = 256 << 10, /* bytes that are read in one step, */
    PART = 256 << 10, /* written at once, */
    FLUSH = 4 << 20,  /* flushed at once */
    ROOM = 512 << 10,
};

/* -- where a key's newest record is -- */

static int find(hf_cask *cask, const hf_index *index, uint32_t below, hf_probe *probe, uint64_t *place, bool *again)
{
    int status = hf_index_find(cask, index, below, NULL, probe, place);

    *again = status < 0 && probe->missing && hf_index_now(cask) != index;
    return status;
}

int hf_merge_newest(hf_cask *cask, const hf_cask_key *key, bool all, hf_record_out *record, uint64_t *place)
{
    hf_probe probe = {.key = key};
    bool again;
    int status;

    do {
        hf_epoch_place inside = hf_epoch_enter(&cask->epoch);
        const hf_index *index = hf_index_now(cask);
        uint32_t below = all ? index->active->filled : hf_tail_visible(index->active);
        status = find(cask, index, below, &probe, place, &again);
        hf_epoch_leave(inside);
    } while (again);
    /* Who has the duty keeps the files that matter mapped; of others only numbers are looked at. */
    if (status > 0)
        *record = probe.record;
    return status;
}

/* -- older records elsewhere -- */

static int note_other(struct hf_merge *m, const hf_note *note)
{
    hf_merge_other *others = hf_grown(m->others, &m->others_room, m->others_count + 1, sizeof *others);

    if (others == NULL)
        return HF_NOMEM;
    m->others = others;
    others[m->others_count++] = (hf_merge_other){.number = note->number, .first = note->now.first};
    return 0;
}

/* With the mutex: all files that there are. Those to come have younger records only. */
static int note_others(hf_cask *cask, struct hf_merge *m)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < cask->notes.count; i++)
        if (!cask->notes.note[i].gone)
            status = note_other(m, &cask->notes.note[i]);
    return status;
}

static bool goes_with_it(const struct hf_merge *m, uint32_t number)
{
    for (size_t i = 0; i <= m->at; i++)
        if (m->victims[i]->number == number)
            return true;
    return false;
}

static int open_hint(hf_cask *cask, hf_merge_other *other)
{
    hf_epoch_place inside = hf_epoch_enter(&cask->epoch);
    const hf_log_file *file = hf_log_set_find(hf_index_now(cask)->logs, other->number);
    uint64_t size = file == NULL ? 0 : atomic_load(&file->end);

    hf_epoch_leave(inside);
    int status = hf_hint_open(cask->folder, cask->id, other->number, size, &other->hint);
    other->asked = status == 0 ? 1 : -1;
    return status == HF_NOMEM ? status : 0;
}

/* 1: a file that stays may have an older record of a key with this hash; 0. */
static int hides_something(hf_cask *cask, struct hf_merge *m, uint64_t hash, uint64_t sequence)
{
    for (size_t i = 0; i < m->others_count; i++) {
        hf_merge_other *other = &m->others[i];
        if (other->first >= sequence || goes_with_it(m, other->number))
            continue;
        int status = other->asked == 0 ? open_hint(cask, other) : 0;
        if (status < 0)
            return status;
        if (other->asked < 0 || hf_hint_may_have(&other->hint, hash))
            return 1;
    }
    return 0;
}

/* -- the output -- */

static int open_output(hf_cask *cask, struct hf_merge *m)
{
    uint64_t most = cask->how.max_file_size, longest = atomic_load(&m->victims[0]->end);

    pthread_mutex_lock(&cask->mutex);
    m->number = cask->next_number;
    if (m->number < HF_CASK_FILES)
        cask->next_number++;
    pthread_mutex_unlock(&cask->mutex);
    if (m->number >= HF_CASK_FILES)
        return HF_LIMIT;
    int status = hf_log_create(cask->folder, cask->id, m->number, HF_LOG_MERGED, hf_cask_now(cask), 0,
                               longest > most ? longest : most, 0, &m->output);
    if (status < 0)
        return status;
    m->has_output = true;
    /* Its head, so that after a power cut it is known for what it is. */
    status = hf_log_flush(&m->output, m->output.end);
    hf_hint_maker_init(&m->maker, cask->id, m->number);
    m->begin = HF_CASK_DATA_AT;
    m->begin_head = m->maker.head;
    return status;
}

static int write_part(hf_cask *cask, struct hf_merge *m)
{
    if (m->used == 0)
        return 0;
    int status = hf_log_append(&m->output, m->buffer, m->used);
    if (status < 0)
        return status;
    m->used = 0;
    if (m->output.end - atomic_load_explicit(&m->output.synced, memory_order_relaxed) < FLUSH)
        return 0;
    return hf_log_flush(&m->output, m->output.end);
}

static uint64_t end_of(const struct hf_merge *m)
{
    return m->has_output ? m->output.end + m->used : HF_CASK_DATA_AT;
}

/* Room for a record behind what the buffer has. */
static int make_room(hf_cask *cask, struct hf_merge *m, uint64_t size)
{
    int status = m->used > 0 && m->used + size > PART ? write_part(cask, m) : 0;

    if (status < 0)
        return status;
    unsigned char *buffer = hf_grown(m->buffer, &m->room, size > ROOM ? m->used + size : ROOM, 1);
    if (buffer == NULL)
        return HF_NOMEM;
    m->buffer = buffer;
    return 0;
}

/* Copies a record, or, of one that has expired, what hides older ones. 1: it does not fit; 0. */
static int copy(hf_cask *cask, struct hf_merge *m, const hf_record_out *record, uint64_t hash, bool expired)
{
    hf_record_in deletion = {
        .flags = HF_RECORD_DELETE,
        .sequence = record->in.sequence,
        .time = record->in.time,
        .expires = INT64_MAX,
        .key = record->in.key,
    };
    int status = m->has_output ? 0 : open_output(cask, m);

    if (status < 0)
        return status;
    uint64_t size = expired ? (uint64_t)hf_record_size_in(&deletion) : record->size;
    if (m->at > 0 && end_of(m) + size > cask->how.max_file_size)
        return 1;
    status = make_room(cask, m, size);
    if (status < 0)
        return status;
    uint64_t at = end_of(m), synced = atomic_load_explicit(&m->output.synced, memory_order_relaxed);
    hf_log_salt salt = m->output.file->salt;
    hf_record_out made = {.in = expired ? deletion : record->in, .at = at, .size = size};
    if (expired)
        hf_record_write(&deletion, salt, at, synced, m->buffer + m->used);
    else
        hf_record_copy(record, salt, at, synced, m->buffer + m->used);
    status = hf_hint_maker_add(&m->maker, hash, &made);
    m->used += status == 0 ? size : 0;
    return status;
}

/* -- one record -- */

static int leave_out_expired(struct hf_merge *m, uint64_t hash, uint64_t place)
{
    hf_merge_gone *gone = hf_grown(m->gone, &m->gone_room, m->gone_count + 1, sizeof *gone);

    if (gone == NULL)
        return HF_NOMEM;
    m->gone = gone;
    gone[m->gone_count++] = (hf_merge_gone){.hash = hash, .place = place | HF_PLACE_DELETED};
    return 0;
}

/* A deletion, or what has expired. As consider. */
static int consider_dead(hf_cask *cask, struct hf_merge *m, const hf_record_out *record, uint64_t hash,
                         uint64_t place, bool expired)
{
    int hides = HF_CASK_FAULT(tombstone_soon) ? 0 : hides_something(cask, m, hash, record->in.sequence);

    if (hides != 0)
        return hides < 0 ? hides : copy(cask, m, record, hash, expired);
    return expired ? leave_out_expired(m, hash, place) : 0;
}

/* 0; 1: the victim does not fit; HF_CORRUPT: what the index says cannot be. */
static int consider(hf_cask *cask, struct hf_merge *m, const hf_record_out *record)
{
    unsigned kind = record->in.flags & HF_RECORD_KIND;
    const hf_log_file *victim = m->victims[m->at];
    hf_cask_key key = {.canonical = record->in.key};
    hf_record_out newest;
    uint64_t place = 0;

    if (kind == HF_RECORD_CLOCK)
        return 0;
    key.hash = hf_canonical_hash_bytes(record->in.key.bytes, record->in.key.size, cask->seed);
    int found = hf_merge_newest(cask, &key, false, &newest, &place);
    if (found < 0)
        return found;
    if (found == 0)
        return kind == HF_RECORD_DELETE ? consider_dead(cask, m, record, key.hash, 0, false) : 0;
    if (hf_place_file(place) != victim->number || hf_place_offset(place) != record->at)
        return newest.in.sequence >= record->in.sequence ? 0 : HF_CORRUPT;
    if (kind == HF_RECORD_DELETE)
        return consider_dead(cask, m, record, key.hash, place, false);
    if (hf_cask_has_expired(cask, record->in.expires))
        return consider_dead(cask, m, record, key.hash, place, true);
    return copy(cask, m, record, key.hash, false);
}

/* -- victims -- */

int hf_merge_prepare(hf_cask *cask, struct hf_merge *m)
{
    m->at = 0;
    m->read = HF_CASK_DATA_AT;
    pthread_mutex_lock(&cask->mutex);
    /* What is in a sealed file is visible from here on, also where records are only once they are durable. */
    int status = cask->how.sync == HF_CASK_SYNC_PUT ? hf_sync_upto(cask, cask->appended) : 0;
    if (status == 0)
        status = note_others(cask, m);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

/* What is in the output from this victim comes out, and it and those behind it are no victims. */
static int take_back(struct hf_merge *m)
{
    int status = 0;

    while (m->count > m->at)
        hf_log_drop(m->victims[--m->count]);
    m->gone_count = m->begin_gone;
    if (!m->has_output)
        return 0;
    m->maker.head = m->begin_head;
    if (m->begin >= m->output.end) {
        m->used = m->begin - m->output.end;
    } else {
        m->used = 0;
        m->output.end = m->begin;
        status = hf_log_cut(&m->output);
    }
    return status;
}

static void end_victim(struct hf_merge *m)
{
    m->total += m->read - HF_CASK_DATA_AT;
    m->at++;
    m->read = HF_CASK_DATA_AT;
    m->begin = end_of(m);
    m->begin_gone = m->gone_count;
    if (m->has_output)
        m->begin_head = m->maker.head;
}

/* It stays, and is not looked at again. */
static int refuse(hf_cask *cask, struct hf_merge *m, uint64_t bytes)
{
    hf_merge_age *age = hf_merge_age_of(m, m->victims[m->at]->number);

    if (age == NULL)
        return HF_NOMEM;
    age->damaged = m->refused = true;
    atomic_fetch_add_explicit(&cask->damaged, bytes, memory_order_relaxed);
    int status = take_back(m);
    return status == 0 && m->count == 0 ? HF_CORRUPT : status;
}

int hf_merge_copy(hf_cask *cask, struct hf_merge *m)
{
    hf_record_out record;

    if (m->at == m->count)
        return write_part(cask, m);
    const hf_log_file *victim = m->victims[m->at];
    uint64_t end = atomic_load(&victim->end), until = m->read + STEP;
    while (m->read < end && m->read < until) {
        if (hf_record_read(victim->bytes, end, m->read, victim->salt, &record) <= 0) {
            int status = refuse(cask, m, sizeof(uint64_t));
            return status < 0 ? status : 1;
        }
        int status = consider(cask, m, &record);
        if (status != 0) {
            status = status == HF_CORRUPT ? refuse(cask, m, 0) : status > 0 ? take_back(m) : status;
            return status < 0 ? status : 1;
        }
        m->read += record.size;
    }
    /* A file of which only the name was left has not even a head. */
    if (m->read >= end)
        end_victim(m);
    return 1;
}
