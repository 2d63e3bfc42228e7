/*
 * txn.c: transactions: the one writer, from begin to publication.
 *
 *      begin      take the lock; copy the published record into hf_txn.state (if this process did not write it)
 *      changes    to the copy, and to memory that no version has
 *      savepoint  the copy is copied; blocks made before it are not changed any more
 *      commit     write the copy to the next place of the ring; exchange `published`; give up the lock
 *      abort      forget the copy; give up the lock
 *
 * Invariants
 *  T1  Between begin and commit nothing is written that the published record counts (layout.h, L1). So abort, the
 *      death of the writer and a roll-back need nothing but to forget.
 *  T2  What is made in a transaction carries its txid. An aborted transaction's txid is used again: what it made
 *      is in no version.
 *  T3  The record is whole before it is published, and its place in the ring is that of a record 64 versions older,
 *      which no reader may still be taking in (slots.c).
 *
 * Concurrency: hf_txn is guarded by the writer's lock. Every function first makes sure that it is called by the thread
 * that began the transaction.
 *
 * Failure: a change that fails is undone (hf_heap_undo, or from a copy of the state). A commit that fails leaves the
 * transaction as it was.
 */
#include "region/impl.h"

static bool is_mine(const hf_txn *txn)
{
    /* Acquired, so that the owner is the one who said so, not the one before. */
    return atomic_load_explicit(&txn->active, memory_order_acquire) &&
           atomic_load_explicit(&txn->owner, memory_order_relaxed) == hf_thread_self();
}

void hf_record_version(const struct hf_record_seen *record, struct hf_version *out)
{
    out->txid = record->txid;
    out->top = record->top;
    for (int i = 0; i < HF_REGION_TREES; i++)
        out->trees[i] = (struct hf_tree){record->trees[i].root, record->trees[i].count};
    out->kept = record->kept;
    out->used = record->used;
    out->parked = record->parked;
}

void hf_record_fill(struct hf_record_seen *record, const struct hf_version *version)
{
    atomic_store_explicit(&record->txid, version->txid, memory_order_release);
    atomic_store_explicit(&record->top, version->top, memory_order_release);
    for (int i = 0; i < HF_REGION_TREES; i++) {
        atomic_store_explicit(&record->trees[i].root, version->trees[i].root, memory_order_release);
        atomic_store_explicit(&record->trees[i].count, version->trees[i].count, memory_order_release);
    }
    atomic_store_explicit(&record->kept, version->kept, memory_order_release);
    atomic_store_explicit(&record->used, version->used, memory_order_release);
    atomic_store_explicit(&record->parked, version->parked, memory_order_release);
}

/* After a commit that failed, all but to abort is over. */
static bool may_go_on(const hf_txn *txn)
{
    return is_mine(txn) && txn->doomed == 0 && txn->spoiled == 0;
}

void hf_txn_spoil(hf_txn *txn, int status)
{
    if (may_go_on(txn))
        txn->spoiled = status;
}

hf_txn *hf_txn_mine(hf_region *region)
{
    return is_mine(&region->txn) ? &region->txn : NULL;
}

uint64_t hf_txn_txid(const hf_txn *txn)
{
    return txn->state.version.txid;
}

unsigned hf_txn_level(const hf_txn *txn)
{
    return txn->level;
}

/* Ends the savepoints within this level. */
static void drop_to(hf_txn *txn, unsigned level)
{
    for (; txn->level > level; txn->level--) {
        struct hf_savepoint *savepoint = txn->savepoint;
        txn->savepoint = savepoint->outer;
        hf_free(savepoint);
    }
}

/* Forgets what was under way. */
static void forget(hf_txn *txn)
{
    drop_to(txn, 0);
    txn->changes++;
    txn->region->home->forget(txn);
    atomic_store(&txn->active, false);
}

/* Ends a transaction, one way or the other. */
static void end(hf_txn *txn)
{
    forget(txn);
    hf_lock_release(txn->region);
}

int hf_txn_begin(hf_region *region, int64_t timeout, hf_txn **out)
{
    hf_txn *txn = &region->txn;
    int status = region->file != NULL ? hf_file_admit(region) : 0;

    if (status == 0)
        status = hf_lock_acquire(region, timeout);
    if (status < 0)
        return status;
    /* A thread of this process that ended in the middle of a transaction has left one; the lock is ours by its death. */
    if (atomic_load(&txn->active)) {
        txn->loaded = HF_SABOTAGE(no_rollback) ? txn->state.version.txid - 1 : 0;
        forget(txn);
    }
    uint64_t published = atomic_load(&region->lock->published);
    if (txn->loaded != published || (region->file != NULL && hf_file_is_disturbed(region, published))) {
        txn->loaded = 0;
        status = region->home->load(txn, published);
    }
    if (status == 0)
        status = hf_pages_seen(region, txn->state.version.top);
    if (status == 0 && published == HF_TXID_MAX)
        status = HF_LIMIT;
    if (status < 0) {
        hf_lock_release(region);
        return status;
    }
    txn->loaded = 0;
    txn->state.version.txid = published + 1;
    txn->changed = txn->puts = false;
    txn->reserve = 0;
    txn->epoch = 0;
    txn->doomed = txn->spoiled = 0;
    atomic_store_explicit(&txn->owner, hf_thread_self(), memory_order_relaxed);
    atomic_store(&txn->active, true);
    *out = txn;
    return 0;
}

int hf_txn_abort(hf_txn *txn)
{
    if (!is_mine(txn))
        return HF_INVALID;
    end(txn);
    return 0;
}

void hf_kept_fill(hf_txn *txn, struct hf_kept_table *table)
{
    const struct hf_version *version = &txn->state.version;

    for (uint64_t i = 0; i < table->count; i++)
        if (table->kept[i].txid == version->txid)
            memcpy(table->kept[i].trees, version->trees, sizeof version->trees);
}

int hf_txn_commit(hf_txn *txn)
{
    if (!is_mine(txn))
        return HF_INVALID;
    if (txn->spoiled < 0)
        return txn->spoiled;
    if (!txn->changed) {
        end(txn);
        return 0;
    }
    int status = txn->doomed;
    if (status == 0)
        status = txn->region->home->commit(txn);
    if (status < 0)
        return status;
    txn->loaded = txn->state.version.txid;
    end(txn);
    return 0;
}

void hf_txn_forget_all(hf_region *region)
{
    hf_txn *txn = &region->txn;

    /* Another thread may have been in the middle of anything. Its savepoints are left: some memory is lost, but none is
     * freed that was half unlinked. */
    if (atomic_load(&txn->owner) != hf_thread_self()) {
        txn->savepoint = NULL;
        txn->level = 0;
    }
    forget(txn);
    txn->loaded = 0;
    hf_scan_forget(&txn->scan);
}

/* -- changes -- */

/* Can this be done to this tree now, the entries of which are to be places, or records? */
static bool may_use(const hf_txn *txn, unsigned tree, bool places)
{
    return may_go_on(txn) && tree < HF_REGION_TREES && hf_has_places(txn->region, tree) == places;
}

int hf_txn_get(hf_txn *txn, unsigned tree, const hf_key *key, hf_span *value)
{
    if (!may_use(txn, tree, false))
        return HF_INVALID;
    return txn->region->ops->txn_get(txn, tree, key, value);
}

int hf_txn_find_place(hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg, uint64_t *place)
{
    if (!may_use(txn, tree, true))
        return HF_INVALID;
    return txn->region->place_ops->txn_find(txn, tree, hash, match, arg, place);
}

/* After a change: undo it if it failed. */
static int settle(hf_txn *txn, int status)
{
    txn->reserve = 0;
    if (status < 0)
        txn->region->home->undo(txn);
    return status;
}

/* Before something is put. */
static int begin_put(hf_txn *txn)
{
    txn->made_count = 0;
    txn->changes++;
    txn->puts = true;
    txn->reserve = HF_RESERVE;
    return hf_txn_prepare(txn);
}

int hf_txn_put(hf_txn *txn, unsigned tree, const hf_key *key, const void *value, size_t size)
{
    if (!may_use(txn, tree, false))
        return HF_INVALID;
    if (key->size > UINT32_MAX || size > UINT32_MAX)
        return HF_LIMIT;
    int status = begin_put(txn);
    if (status == 0)
        status = txn->region->ops->put(txn, tree, key, value, size);
    return settle(txn, status);
}

int hf_txn_set_place(hf_txn *txn, unsigned tree, uint64_t hash, uint64_t place, hf_place_match match, void *arg,
                     uint64_t *old)
{
    if (!may_use(txn, tree, true))
        return HF_INVALID;
    int status = begin_put(txn);
    if (status == 0)
        status = txn->region->place_ops->set(txn, tree, hash, place, match, arg, old);
    return settle(txn, status);
}

int hf_txn_remove(hf_txn *txn, unsigned tree, const hf_key *key)
{
    if (!may_use(txn, tree, false))
        return HF_INVALID;
    txn->changes++;
    int status = hf_txn_prepare(txn);
    if (status < 0)
        return status;
    return settle(txn, txn->region->ops->remove(txn, tree, key));
}

int hf_txn_unset_place(hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg, uint64_t *old)
{
    if (!may_use(txn, tree, true))
        return HF_INVALID;
    txn->changes++;
    int status = hf_txn_prepare(txn);
    if (status < 0)
        return status;
    return settle(txn, txn->region->place_ops->unset(txn, tree, hash, match, arg, old));
}

int hf_txn_clear(hf_txn *txn, unsigned tree)
{
    if (!may_go_on(txn) || tree >= HF_REGION_TREES)
        return HF_INVALID;
    /* The nodes of the free runs are changed in place: what a savepoint does not, a copy of the state would lose. */
    unsigned level;
    int status = hf_txn_savepoint(txn, &level);
    if (status < 0)
        return status;
    txn->changes++;
    status = hf_tree_ops(txn->region, hf_has_places(txn->region, tree))->clear(txn, tree);
    if (status < 0)
        hf_txn_rollback(txn, level);
    hf_txn_release(txn, level);
    return status;
}

int hf_txn_count(hf_txn *txn, unsigned tree, uint64_t *out)
{
    if (!may_go_on(txn) || tree >= HF_REGION_TREES)
        return HF_INVALID;
    *out = txn->state.version.trees[tree].count;
    return 0;
}

/* -- savepoints -- */

int hf_txn_savepoint(hf_txn *txn, unsigned *level)
{
    if (!may_go_on(txn))
        return HF_INVALID;
    if (txn->epoch == HF_HEAD_EPOCH_MAX)
        return HF_LIMIT;
    struct hf_savepoint *savepoint = hf_alloc(sizeof *savepoint);
    if (savepoint == NULL)
        return HF_NOMEM;
    /* A block in the cache was made before the savepoint: to use it now would be to change what comes back. */
    int status = txn->region->home->settle(txn);
    if (status < 0) {
        hf_free(savepoint);
        return status;
    }
    txn->region->home->mark(txn, &savepoint->mark);
    savepoint->outer = txn->savepoint;
    savepoint->state = txn->state;
    savepoint->epoch = ++txn->epoch;
    txn->savepoint = savepoint;
    *level = ++txn->level;
    return 0;
}

int hf_txn_rollback(hf_txn *txn, unsigned level)
{
    /* What is spoiled is as it was again: since then there was no new savepoint. */
    if (!is_mine(txn) || txn->doomed < 0 || level == 0 || level > txn->level)
        return HF_INVALID;
    txn->spoiled = 0;
    txn->changes++;
    drop_to(txn, level);
    txn->state = txn->savepoint->state;
    txn->region->home->rollback(txn, &txn->savepoint->mark);
    return 0;
}

int hf_txn_release(hf_txn *txn, unsigned level)
{
    if (!may_go_on(txn) || level == 0 || level > txn->level)
        return HF_INVALID;
    drop_to(txn, level - 1);
    return 0;
}

/* -- kept snapshots -- */

/* Puts a table of `count` in the place of *old: the caller fills it in. */
static int new_table(hf_txn *txn, const struct hf_kept_table *old, uint64_t count, struct hf_kept_table **out)
{
    const struct hf_home *home = txn->region->home;
    uint64_t at = 0, was = txn->state.version.kept;

    if (count > 0) {
        void *bytes;
        int status = home->table_new(txn, hf_kept_table_size(count), &at, &bytes);
        if (status < 0)
            return status;
        *out = bytes;
        (*out)->head = hf_txn_head(txn, HF_KIND_TABLE);
        (*out)->count = count;
    }
    if (old != NULL)
        home->table_free(txn, was, hf_kept_table_size(old->count), old->head);
    txn->state.version.kept = at;
    txn->changed = true;
    return 0;
}

static int kept_now(hf_txn *txn, const char *name, const struct hf_kept_table **table, const struct hf_kept **found)
{
    if (!may_go_on(txn) || name[0] == '\0' || strlen(name) >= HF_REGION_NAME_SIZE)
        return HF_INVALID;
    int status = hf_kept_table_at(txn->region, &txn->state.version, table);
    if (status == 0)
        status = hf_txn_prepare(txn);
    if (status == 0)
        *found = hf_kept_find(*table, name);
    return status;
}

int hf_txn_keep(hf_txn *txn, const char *name)
{
    const struct hf_kept_table *old = NULL;
    const struct hf_kept *found = NULL;
    struct hf_kept_table *table = NULL;
    int status = kept_now(txn, name, &old, &found);

    if (status < 0)
        return status;
    uint64_t count = old == NULL ? 0 : old->count;
    if (found != NULL)
        return HF_EXISTS;
    if (count >= HF_REGION_KEPT_MAX)
        return HF_LIMIT;
    status = new_table(txn, old, count + 1, &table);
    if (status < 0)
        return status;
    if (old != NULL)
        memcpy(table->kept, old->kept, count * sizeof(struct hf_kept));
    table->kept[count] = (struct hf_kept){.txid = txn->state.version.txid};
    memcpy(table->kept[count].name, name, strlen(name));
    return 0;
}

int hf_txn_forget(hf_txn *txn, const char *name)
{
    const struct hf_kept_table *old = NULL;
    const struct hf_kept *found = NULL;
    struct hf_kept_table *table = NULL;
    int status = kept_now(txn, name, &old, &found);

    if (status < 0)
        return status;
    if (found == NULL)
        return HF_ABSENT;
    size_t at = (size_t)(found - old->kept), count = old->count;
    status = new_table(txn, old, count - 1, &table);
    if (status < 0 || count == 1)
        return status;
    memcpy(table->kept, old->kept, at * sizeof(struct hf_kept));
    memcpy(table->kept + at, old->kept + at + 1, (count - at - 1) * sizeof(struct hf_kept));
    return 0;
}
