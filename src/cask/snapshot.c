/*
 * snapshot.c: the cask as it was: looking up, walking, counting.
 *
 *      hf_cask_snapshot = index (counted) + so many entries of its active tail + a version of the keydir (pinned)
 *
 *      the pinned version is index->base             active[:visible], then frozen, then the version
 *      or the next one, which has frozen in it       active[:visible], then the version                          (C1)
 *
 * Nothing is copied: the tail is only appended to, the log only appended to, the version pinned. The set of log
 * files is the index's, so a file that a merge has removed stays mapped.
 *
 * Counting. Keys = those of the version + what the tails add to it. What an entry adds is known once its key was
 * looked up in what was there before: hf_facts remembers how far that was done. It does not depend on whether
 * `frozen` was folded meanwhile.
 *
 * Concurrency: a snapshot may be read by several threads. Failure: HF_CORRUPT, HF_NOMEM, HF_SLOTS; nothing is held
 * then.
 */
#include "cask/cask.h"

/* -- begin and end -- */

/* 1; 0: the index was replaced meanwhile, or does not go with the version. */
static int try_begin(hf_cask *cask, hf_cask_snapshot *snapshot)
{
    hf_epoch_place place = hf_epoch_enter(&cask->epoch);
    hf_index *index = hf_index_now(cask);

    hf_index_keep(index);
    hf_epoch_leave(place);
    uint32_t visible = atomic_load_explicit(&index->active->visible, memory_order_acquire);
    int status = hf_snapshot_begin(index->keydir, &snapshot->pinned);
    if (status < 0) {
        hf_index_drop(index);
        return status;
    }
    bool fits = cask->writable ? hf_index_now(cask) == index
                               : hf_view_txid(hf_snapshot_view(snapshot->pinned)) == index->base;
    if (!fits) {
        hf_snapshot_end(snapshot->pinned);
        hf_index_drop(index);
        return 0;
    }
    snapshot->index = index;
    snapshot->visible = visible;
    return 1;
}

static bool may_expire(const hf_cask_snapshot *snapshot)
{
    const hf_index *index = snapshot->index;
    struct hf_keydir_meta meta;

    if (atomic_load_explicit(&index->active_facts->expiring, memory_order_relaxed) > 0 ||
        (index->frozen_facts != NULL &&
         atomic_load_explicit(&index->frozen_facts->expiring, memory_order_relaxed) > 0))
        return true;
    return hf_keydir_meta_get(hf_snapshot_view(snapshot->pinned), &meta) != 1 || meta.expiring > 0;
}

int hf_cask_snapshot_begin(hf_cask *cask, hf_cask_snapshot **out)
{
    int status = 0;

    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    hf_cask_snapshot *snapshot = hf_alloc(sizeof *snapshot);
    if (snapshot == NULL)
        return HF_NOMEM;
    *snapshot = (hf_cask_snapshot){.cask = cask};
    while (status == 0) {
        if (!cask->writable)
            status = hf_follow(cask);
        if (status == 0)
            status = try_begin(cask, snapshot);
    }
    if (status < 0) {
        hf_free(snapshot);
        return status;
    }
    atomic_fetch_add(&cask->snapshots, 1);
    *out = snapshot;
    return 0;
}

void hf_cask_snapshot_end(hf_cask_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    hf_snapshot_end(snapshot->pinned);
    hf_index_drop(snapshot->index);
    atomic_fetch_sub(&snapshot->cask->snapshots, 1);
    hf_free(snapshot);
}

/* Does the frozen tail say anything that the version does not have? */
static const hf_tail *frozen_of(const hf_cask_snapshot *snapshot)
{
    const hf_index *index = snapshot->index;

    return hf_view_txid(hf_snapshot_view(snapshot->pinned)) == index->base ? index->frozen : NULL;
}

static bool is_lost(const hf_cask_snapshot *snapshot)
{
    return atomic_load_explicit(&snapshot->cask->lost, memory_order_relaxed);
}

int hf_cask_snapshot_find(hf_cask_snapshot *snapshot, const hf_cask_key *key, bool whole, hf_record_out *record,
                          uint64_t *place)
{
    hf_probe probe = {.key = key, .whole = whole};

    if (is_lost(snapshot))
        return HF_LOST;
    int status = hf_index_find(snapshot->cask, snapshot->index, snapshot->visible, hf_snapshot_view(snapshot->pinned),
                               &probe, place);
    if (status <= 0)
        return status;
    if ((*place & HF_PLACE_DELETED) != 0 || hf_cask_has_expired(snapshot->cask, probe.record.in.expires))
        return 0;
    *record = probe.record;
    return 1;
}

/* -- records of places -- */

/* Of a place that an index leads to. */
static int record_of(const hf_log_set *logs, uint64_t place, bool whole, hf_record_out *out)
{
    const hf_log_file *file = hf_log_set_find(logs, hf_place_file(place));

    if (file == NULL)
        return HF_CORRUPT;
    uint64_t end = atomic_load_explicit(&file->end, memory_order_acquire), at = hf_place_offset(place);
    int status = whole ? hf_record_read(file->bytes, end, at, file->salt, out)
                       : hf_record_look(file->bytes, end, at, file->salt, out);
    return status > 0 ? 0 : HF_CORRUPT;
}

static bool has_key(const hf_record_out *record, const hf_span *key)
{
    return record->in.key.size == key->size && memcmp(record->in.key.bytes, key->bytes, key->size) == 0;
}

/* Is there an entry of this key in a tail, below `below`, and not before `above`? 1, 0, HF_CORRUPT. */
static int is_in_tail(const hf_log_set *logs, const hf_tail *tail, uint32_t below, uint32_t above, uint64_t hash,
                      const hf_span *key, uint64_t *place)
{
    hf_record_out record;

    while ((below = hf_tail_find(tail, hash, below)) != HF_TAIL_NONE && below >= above) {
        *place = tail->entries[below].place;
        int status = record_of(logs, *place, false, &record);
        if (status < 0)
            return status;
        if (has_key(&record, key))
            return 1;
    }
    return 0;
}

/* -- walking -- */

enum { WALK_ACTIVE, WALK_FROZEN, WALK_KEYDIR, WALK_END };

void hf_cask_walk_begin(hf_cask_walk *walk, hf_cask_snapshot *snapshot, bool whole)
{
    walk->snapshot = snapshot;
    walk->whole = whole;
    walk->stage = WALK_ACTIVE;
    walk->at = 0;
}

/* Is an entry with this record hidden by a later one? `above`: of the tail in which it is itself, the entries behind
 * it. */
static int is_hidden(const hf_cask_walk *walk, unsigned stage, uint32_t above, uint64_t hash, const hf_span *key)
{
    const hf_cask_snapshot *snapshot = walk->snapshot;
    const hf_log_set *logs = snapshot->index->logs;
    const hf_tail *frozen = frozen_of(snapshot);
    uint64_t place;
    int hidden = 0;

    if (snapshot->visible > 0)
        hidden = is_in_tail(logs, snapshot->index->active, snapshot->visible, stage == WALK_ACTIVE ? above : 0, hash,
                            key, &place);
    if (hidden == 0 && stage > WALK_ACTIVE && frozen != NULL)
        hidden = is_in_tail(logs, frozen, atomic_load_explicit(&frozen->visible, memory_order_relaxed),
                            stage == WALK_FROZEN ? above : 0, hash, key, &place);
    return hidden;
}

/* 1: the entry counts, and *record is its record; 0. */
static int consider(const hf_cask_walk *walk, uint32_t above, uint64_t hash, uint64_t place, hf_record_out *record)
{
    const hf_cask_snapshot *snapshot = walk->snapshot;

    if ((place & HF_PLACE_DELETED) != 0)
        return 0;
    int status = record_of(snapshot->index->logs, place, walk->whole, record);
    if (status < 0)
        return status;
    status = is_hidden(walk, walk->stage, above, hash, &record->in.key);
    if (status != 0)
        return status < 0 ? status : 0;
    return !hf_cask_has_expired(snapshot->cask, record->in.expires);
}

static int next_of_tail(hf_cask_walk *walk, const hf_tail *tail, uint32_t count, hf_record_out *record,
                        uint64_t *place)
{
    while (walk->at < count) {
        const hf_tail_entry *entry = &tail->entries[walk->at++];
        int status = consider(walk, walk->at, entry->hash, entry->place, record);
        *place = entry->place;
        if (status != 0)
            return status;
    }
    return 0;
}

static int next_of_keydir(hf_cask_walk *walk, hf_record_out *record, uint64_t *place)
{
    uint64_t hash;

    for (;;) {
        int status = hf_keydir_walk_next(&walk->cursor, &hash, place);
        if (status <= 0)
            return status;
        status = consider(walk, 0, hash, *place, record);
        if (status != 0)
            return status;
    }
}

int hf_cask_walk_next(hf_cask_walk *walk, hf_record_out *record, uint64_t *place)
{
    const hf_cask_snapshot *snapshot = walk->snapshot;
    const hf_tail *frozen = frozen_of(snapshot);
    int status = is_lost(snapshot) ? HF_LOST : 0;

    while (status == 0 && walk->stage < WALK_END) {
        if (walk->stage == WALK_ACTIVE)
            status = next_of_tail(walk, snapshot->index->active, snapshot->visible, record, place);
        else if (walk->stage == WALK_KEYDIR)
            status = next_of_keydir(walk, record, place);
        else if (frozen != NULL)
            status = next_of_tail(walk, frozen, atomic_load_explicit(&frozen->visible, memory_order_relaxed), record,
                                  place);
        if (status != 0)
            return status;
        walk->stage++;
        walk->at = 0;
        if (walk->stage == WALK_KEYDIR)
            status = hf_keydir_walk_begin(&walk->cursor, hf_snapshot_view(snapshot->pinned));
    }
    return status;
}

/* -- counting -- */

/* Is the key there, for one who sees `below` entries of `tail`, and what was before it? 1, 0. */
static int was_there(const hf_cask_snapshot *snapshot, const hf_tail *tail, uint32_t below, uint64_t hash,
                     const hf_span *key)
{
    const hf_log_set *logs = snapshot->index->logs;
    const hf_tail *frozen = frozen_of(snapshot);
    uint64_t place;
    int found = below > 0 ? is_in_tail(logs, tail, below, 0, hash, key, &place) : 0;

    if (found == 0 && tail != frozen && frozen != NULL)
        found = is_in_tail(logs, frozen, atomic_load_explicit(&frozen->visible, memory_order_relaxed), 0, hash, key,
                           &place);
    if (found != 0)
        return found < 0 ? found : (place & HF_PLACE_DELETED) == 0;
    hf_cask_key of = {.canonical = *key, .hash = hash};
    hf_probe probe = {.key = &of, .logs = logs};
    hf_index bare = {.logs = snapshot->index->logs};
    return hf_index_find(snapshot->cask, &bare, 0, hf_snapshot_view(snapshot->pinned), &probe, &place);
}

/* What the entries from .. to of a tail add to the keys there were before. */
static int resolve(const hf_cask_snapshot *snapshot, const hf_tail *tail, uint32_t from, uint32_t to, int64_t *keys)
{
    hf_record_out record;

    for (uint32_t i = from; i < to; i++) {
        const hf_tail_entry *entry = &tail->entries[i];
        int status = record_of(snapshot->index->logs, entry->place, false, &record);
        if (status == 0)
            status = was_there(snapshot, tail, i, entry->hash, &record.in.key);
        if (status < 0)
            return status;
        *keys += ((entry->place & HF_PLACE_DELETED) == 0) - status;
    }
    return 0;
}

static int count_tail(const hf_cask_snapshot *snapshot, const hf_tail *tail, hf_facts *facts, uint32_t upto,
                      uint64_t *keys)
{
    hf_cask *cask = snapshot->cask;
    int64_t more = 0;
    uint32_t from = 0;
    int status = 0;

    pthread_mutex_lock(&cask->counting);
    if (facts->resolved <= upto) {
        from = facts->resolved;
        more = facts->keys;
    }
    status = resolve(snapshot, tail, from, upto, &more);
    if (status == 0 && facts->resolved <= upto) {
        facts->resolved = upto;
        facts->keys = more;
    }
    pthread_mutex_unlock(&cask->counting);
    if (status == 0)
        *keys += (uint64_t)more;
    return status;
}

static int count_by_walking(hf_cask_snapshot *snapshot, uint64_t *out)
{
    hf_record_out record;
    hf_cask_walk walk;
    uint64_t place, count = 0;
    int status;

    hf_cask_walk_begin(&walk, snapshot, false);
    while ((status = hf_cask_walk_next(&walk, &record, &place)) > 0)
        count++;
    if (status == 0)
        *out = count;
    return status;
}

int hf_cask_snapshot_count(hf_cask_snapshot *snapshot, uint64_t *out)
{
    const hf_index *index = snapshot->index;
    const hf_tail *frozen = frozen_of(snapshot);
    int status = 0;

    if (is_lost(snapshot))
        return HF_LOST;
    if (may_expire(snapshot))
        return count_by_walking(snapshot, out);
    uint64_t count = atomic_load_explicit(&snapshot->counted, memory_order_relaxed);
    if (count == 0) {
        count = hf_keydir_count(hf_snapshot_view(snapshot->pinned)) + 1;
        if (frozen != NULL)
            status = count_tail(snapshot, frozen, index->frozen_facts,
                                atomic_load_explicit(&frozen->visible, memory_order_relaxed), &count);
        if (status == 0)
            status = count_tail(snapshot, index->active, index->active_facts, snapshot->visible, &count);
        if (status < 0)
            return status;
        atomic_store_explicit(&snapshot->counted, count, memory_order_relaxed);
    }
    *out = count - 1;
    return 0;
}
