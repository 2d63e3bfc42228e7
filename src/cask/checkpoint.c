/*
 * checkpoint.c: from the tail to the keydir.
 *
 *      freeze     active | frozen -       ->   a new active | frozen = what was active           writers go on
 *      flush      the log, up to where `frozen` reaches                                           C4
 *      fold       entries of `frozen`, in the order of the trie -> one transaction, with meta and notes; durable
 *      publish    active | frozen -  , base = that version
 *
 * In the order of the trie: neighbours in it change together, each node once. Entries are sorted by the first 20
 * bits of their hash as the trie takes them, five at a time, lowest first; the sort is stable, so records of one key
 * stay in their order, and each replaces the one before it.
 *
 * What a place was replaced is dead: its file's note says so, in the same transaction. To know that two places are
 * the same key's, both records are looked at, which is done only where all 64 bits of the hash are equal. Where one
 * of them is damaged they are taken for the same key: that is wrong once in 2^64, and otherwise heals what is
 * damaged.
 *
 * Of a keydir in memory the same is done in small steps, so that it never has two copies of much of its trie.
 *
 * Concurrency: the duty `folding`. Failure: the transaction is aborted, `frozen` stays what it is and is folded by
 * the next checkpoint.
 */
#include "cask/cask.h"
#include "cask/sabotage.h"

/* -- when -- */

enum {
    ENTRY = 24, /* bytes of a key in the keydir */
    RECORD = 96,
    LEAST_ROOM = 1 << 14,
    MEMORY_LEAST = 1024,
    MEMORY_MOST = 65536,
    MEMORY_PART = 128,
};

#define LEAST (UINT64_C(16) << 20)
#define MOST (UINT64_C(512) << 20)

void hf_checkpoint_plan(hf_cask *cask, uint64_t keys)
{
    uint64_t bytes = 2 * ENTRY * keys, entries = keys / MEMORY_PART;

    cask->fold_at = bytes < LEAST ? LEAST : bytes > MOST ? MOST : bytes;
    if (cask->how.checkpoint > 0)
        cask->fold_at = cask->how.checkpoint;
    cask->fold_entries = HF_TAIL_MOST / 8;
    if (cask->how.keydir_in_memory)
        cask->fold_entries = (uint32_t)(entries < MEMORY_LEAST  ? MEMORY_LEAST
                                        : entries > MEMORY_MOST ? MEMORY_MOST
                                                                : entries);
}

uint32_t hf_checkpoint_room(const hf_cask *cask)
{
    uint64_t room = cask->fold_at / RECORD;

    if (cask->how.keydir_in_memory)
        return 2 * cask->fold_entries;
    return (uint32_t)(room < LEAST_ROOM ? LEAST_ROOM : room > HF_TAIL_MOST / 8 ? HF_TAIL_MOST / 8 : room);
}

bool hf_checkpoint_is_due(const hf_cask *cask)
{
    const hf_index *index = hf_index_now((hf_cask *)(uintptr_t)cask);

    if (cask->folding || (cask->fold_failed < 0 && cask->since_fold < cask->fold_retry))
        return false;
    return cask->since_fold >= cask->fold_at || index->active->filled >= cask->fold_entries;
}

/* -- folding -- */

/* The first 20 bits of a hash as the trie takes them. */
static uint32_t order_of(uint64_t hash)
{
    return (uint32_t)((hash & 31) << 15 | (hash >> 5 & 31) << 10 | (hash >> 10 & 31) << 5 | (hash >> 15 & 31));
}

/* Numbers of the entries, sorted: by the low ten bits of their order, then, stably, by the high ten. `order` has
 * room for 2 x count. */
static void sort(const hf_tail *tail, uint32_t count, uint32_t *order)
{
    enum { BITS = 10, BINS = 1 << BITS };
    uint32_t *from = order + count, *to = order;

    for (uint32_t i = 0; i < count; i++)
        from[i] = i;
    for (unsigned pass = 0; pass < 2; pass++) {
        uint32_t bins[BINS + 1] = {0};
        /* The second pass ends in the first half. */
        to = pass == 0 ? order : order + count;
        from = pass == 0 ? order + count : order;
        for (uint32_t i = 0; i < count; i++)
            bins[(order_of(tail->entries[i].hash) >> (BITS * pass) & (BINS - 1)) + 1]++;
        for (unsigned b = 0; b < BINS; b++)
            bins[b + 1] += bins[b];
        for (uint32_t i = 0; i < count; i++) {
            uint32_t entry = from[i];
            to[bins[order_of(tail->entries[entry].hash) >> (BITS * pass) & (BINS - 1)]++] = entry;
        }
    }
    memcpy(order, to, count * sizeof *order);
}

/* An entry that is folded, and what it may replace. */
typedef struct folding {
    const hf_log_set *logs;
    uint64_t place;
    bool own_known, own_whole, old_whole;
    hf_record_out own, old;
} folding;

/* Without its body's checksum; false: it is damaged, or not there. */
static bool look(const hf_log_set *logs, uint64_t place, hf_record_out *out)
{
    const hf_log_file *file = hf_log_set_find(logs, hf_place_file(place));

    return file != NULL && hf_record_look(file->bytes, atomic_load_explicit(&file->end, memory_order_acquire),
                                          hf_place_offset(place), file->salt, out) > 0;
}

static bool own_of(folding *f)
{
    if (!f->own_known) {
        f->own_known = true;
        f->own_whole = look(f->logs, f->place, &f->own);
    }
    return f->own_whole;
}

static int is_of_same_key(void *arg, uint64_t place)
{
    folding *f = arg;

    f->old_whole = look(f->logs, place, &f->old);
    if (!f->old_whole || !own_of(f))
        return 1;
    return f->own.in.key.size == f->old.in.key.size &&
           memcmp(f->own.in.key.bytes, f->old.in.key.bytes, f->own.in.key.size) == 0;
}

/* What this place led to no longer counts. */
static void bury(const folding *f, hf_notes *notes, uint64_t place, uint64_t *expiring)
{
    hf_note *note = hf_notes_find(notes, hf_place_file(place));
    uint64_t units = place >> HF_PLACE_SIZE_SHIFT & HF_PLACE_SIZE_MAX;

    if (note != NULL) {
        note->died_keys++;
        note->died_bytes += f->old_whole ? f->old.size : units * HF_CASK_SIZE_UNIT;
        note->changed = true;
    }
    if (f->old_whole && f->old.in.expires != INT64_MAX && *expiring > 0)
        --*expiring;
}

static int fold_entry(hf_txn *txn, folding *f, uint64_t hash, bool expires, hf_notes *notes, uint64_t *expiring)
{
    uint64_t old = 0;
    int status;

    f->own_known = f->old_whole = false;
    if ((f->place & HF_PLACE_DELETED) != 0) {
        status = hf_keydir_unset(txn, hash, is_of_same_key, f, &old);
        if (status > 0)
            bury(f, notes, old, expiring);
        return status < 0 ? status : 0;
    }
    status = hf_keydir_set(txn, hash, f->place, is_of_same_key, f, &old);
    if (status == 0)
        bury(f, notes, old, expiring);
    if (status >= 0 && expires && own_of(f) && f->own.in.expires != INT64_MAX)
        ++*expiring;
    return status < 0 ? status : 0;
}

static int fold_notes(hf_txn *txn, hf_notes *notes)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < notes->count; i++) {
        hf_note *note = &notes->note[i];
        struct hf_keydir_note now = note->now;
        now.dead_keys += note->died_keys;
        now.dead_bytes += note->died_bytes;
        if (note->gone)
            status = hf_keydir_note_unset(txn, note->number);
        else if (note->changed)
            status = hf_keydir_note_set(txn, note->number, &now);
    }
    return status;
}

static void forget_dead(hf_notes *notes)
{
    for (size_t i = 0; i < notes->count; i++)
        notes->note[i].died_keys = notes->note[i].died_bytes = 0;
}

static int fold_in(hf_txn *txn, const hf_log_set *logs, const hf_tail *tail, const uint32_t *order, uint32_t count,
                   bool expires, struct hf_keydir_meta *meta, hf_notes *notes)
{
    enum { FAR = 8 };
    folding f = {.logs = logs};
    int status = 0;

    for (uint32_t i = 0; status == 0 && i < count; i++) {
        const hf_tail_entry *entry = &tail->entries[order[i]];
        if (i + FAR < count)
            __builtin_prefetch(&tail->entries[order[i + FAR]]);
        f.place = entry->place;
        status = fold_entry(txn, &f, entry->hash, expires, notes, &meta->expiring);
    }
    if (status == 0)
        status = fold_notes(txn, notes);
    return status < 0 ? status : hf_keydir_meta_set(txn, meta);
}

int hf_fold(hf_cask *cask, const hf_log_set *logs, const hf_tail *tail, uint32_t count, bool expires,
            struct hf_keydir_meta *meta, hf_notes *notes, uint64_t *txid)
{
    struct hf_keydir_meta now = *meta;
    uint32_t *order = hf_alloc((2 * (size_t)count + 1) * sizeof *order);
    hf_txn *txn;

    if (order == NULL)
        return HF_NOMEM;
    sort(tail, count, order);
    int status = hf_txn_begin(cask->keydir, -1, &txn);
    if (status == 0) {
        uint64_t made = hf_txn_txid(txn);
        status = fold_in(txn, logs, tail, order, count, expires, &now, notes);
        if (status == 0)
            status = hf_txn_commit(txn);
        if (status == 0)
            *txid = made;
        else
            hf_txn_abort(txn);
    }
    hf_free(order);
    if (status == 0)
        *meta = now;
    else
        forget_dead(notes);
    return status;
}

/* -- checkpoints -- */

static void wait_for_change(hf_cask *cask)
{
    cask->waiting++;
    pthread_cond_wait(&cask->changed, &cask->mutex);
    cask->waiting--;
}

/* With the mutex: all that was appended is visible, and nobody appends. */
static int drain(hf_cask *cask)
{
    int status = 0;

    cask->freezing = true;
    while (status == 0 && cask->durable < cask->appended && cask->how.sync == HF_CASK_SYNC_PUT)
        status = hf_sync_upto(cask, cask->appended);
    cask->freezing = false;
    if (cask->waiting > 0)
        pthread_cond_broadcast(&cask->changed);
    if (status == 0)
        hf_write_show(cask, hf_index_now(cask)->active->filled, cask->appended, cask->sequence);
    return status;
}

/* With the mutex and the duty: what is active becomes frozen. */
static int freeze(hf_cask *cask, hf_tail *tail, hf_facts *facts)
{
    hf_index *index;
    hf_notes notes;
    int status = drain(cask);

    if (status < 0)
        return status;
    hf_index *now = hf_index_now(cask);
    status = hf_notes_copy(&cask->notes, &notes);
    if (status < 0)
        return status;
    status = hf_index_new(now->logs, tail, facts, now->active, now->active_facts, now->base, &index);
    if (status < 0) {
        hf_notes_clear(&notes);
        return status;
    }
    cask->frozen_notes = notes;
    cask->frozen_end = cask->appended;
    cask->frozen_sequence = cask->sequence;
    cask->frozen_generation = cask->settled;
    cask->frozen_clock = (uint64_t)atomic_load_explicit(&cask->stamp, memory_order_relaxed);
    cask->since_fold = 0;
    for (size_t i = 0; i < cask->notes.count; i++)
        cask->notes.note[i].changed = false;
    hf_index_publish(cask, index);
    return 0;
}

/* With the mutex and the duty. 1: there is something frozen now; 0: there is nothing to be done. */
static int freeze_if_needed(hf_cask *cask)
{
    hf_tail *tail;
    hf_facts *facts;

    if (hf_index_now(cask)->frozen != NULL)
        return 1;
    /* Nothing was put, and nothing that the log has is missing from the meta. */
    if (hf_index_now(cask)->active->filled == 0 && cask->meta.position == cask->appended &&
        cask->meta.generation == cask->settled)
        return 0;
    uint32_t room = hf_checkpoint_room(cask);
    pthread_mutex_unlock(&cask->mutex);
    int status = hf_tail_new(room, &tail);
    if (status == 0) {
        status = hf_facts_new(&facts);
        if (status < 0)
            hf_tail_drop(tail);
    }
    pthread_mutex_lock(&cask->mutex);
    if (status < 0)
        return status;
    status = freeze(cask, tail, facts);
    hf_tail_drop(tail);
    hf_facts_drop(facts);
    return status < 0 ? status : 1;
}

/* With the mutex and the duty: what was folded is dead for the notes as they are by now, too. */
static void settle_notes(hf_cask *cask)
{
    for (size_t i = 0; i < cask->frozen_notes.count; i++) {
        const hf_note *folded = &cask->frozen_notes.note[i];
        hf_note *note = hf_notes_find(&cask->notes, folded->number);
        if (note == NULL)
            continue;
        note->now.dead_keys += folded->died_keys;
        note->now.dead_bytes += folded->died_bytes;
        if (folded->gone)
            hf_notes_remove(&cask->notes, folded->number);
    }
    hf_notes_clear(&cask->frozen_notes);
}

/* With the mutex and the duty, which are given back meanwhile: what is frozen goes to the keydir. */
static int fold_frozen(hf_cask *cask)
{
    struct hf_keydir_meta meta = cask->meta;
    uint64_t txid = 0;
    bool volatile_one = cask->how.keydir_in_memory || HF_CASK_FAULT(keydir_early);
    int status = volatile_one ? 0 : hf_sync_upto(cask, cask->frozen_end);

    if (status < 0)
        return status;
    /* Once it is committed, nothing can fail. */
    hf_index *after = hf_alloc(sizeof *after), *index;
    if (after == NULL)
        return HF_NOMEM;
    meta.position = cask->frozen_end;
    meta.sequence = cask->frozen_sequence;
    meta.clock = cask->frozen_clock;
    meta.generation = cask->frozen_generation;
    index = hf_index_now(cask);
    hf_index_keep(index);
    pthread_mutex_unlock(&cask->mutex);
    status = hf_fold(cask, index->logs, index->frozen, hf_tail_visible(index->frozen),
                     atomic_load(&index->frozen_facts->expiring) > 0, &meta, &cask->frozen_notes, &txid);
    hf_index_drop(index);
    pthread_mutex_lock(&cask->mutex);
    if (status < 0) {
        hf_free(after);
        return status;
    }
    const hf_index *now = hf_index_now(cask);
    hf_index_init(after, now->logs, now->active, now->active_facts, NULL, NULL, txid);
    cask->meta = meta;
    settle_notes(cask);
    hf_index_publish(cask, after);
    return 0;
}

int hf_checkpoint(hf_cask *cask)
{
    hf_view view;

    pthread_mutex_lock(&cask->mutex);
    while (cask->folding)
        wait_for_change(cask);
    cask->folding = true;
    int status = cask->broken != 0 ? HF_BROKEN : freeze_if_needed(cask);
    if (status > 0)
        status = fold_frozen(cask);
    cask->folding = false;
    cask->fold_failed = status;
    cask->fold_retry = cask->since_fold + cask->fold_at / 4;
    if (status == 0 && hf_view_pin(cask->keydir, &view) == 0) {
        hf_checkpoint_plan(cask, hf_keydir_count(&view));
        hf_view_unpin(&view);
    }
    pthread_cond_broadcast(&cask->changed);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}
