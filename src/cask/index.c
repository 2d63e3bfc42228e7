/*
 * index.c: looking up. cask.h has the picture.
 *
 *      hf_cask_find    enter epoch -> index -> hf_index_find -> the record, in the mapped log, good until released
 *
 *      hf_index_find   active (below `visible`)  --hash equal--> is it the key's record? --yes--> that decides
 *                      frozen                            "
 *                      keydir                            "
 *
 * Every candidate's header and key are looked at in the log: two keys may have one hash, and a place may be damaged.
 * What decides is verified before it is given out, its body too where that is asked for.
 *
 * A file that the index does not have: the keydir is ahead of the index (C1), which has been replaced meanwhile:
 * look again. In a process that reads, the keydir's version is compared first (C6).
 *
 * Concurrency: anything may be looked up by any thread at any time; publishing is with the mutex. Failure:
 * HF_CORRUPT, and the bytes are counted; HF_NOMEM.
 */
#include "cask/cask.h"

hf_cask_key hf_cask_key_of(const hf_cask *cask, const hf_canonical *form, hf_span encoded)
{
    bool own = form->bytes == encoded.bytes ||
               (form->size == encoded.size && memcmp(form->bytes, encoded.bytes, form->size) == 0);

    return (hf_cask_key){
        .canonical = hf_span_of(form->bytes, form->size),
        .given = own ? hf_span_of(NULL, 0) : encoded,
        .hash = hf_canonical_hash(form, cask->seed),
    };
}

/* -- indexes -- */

int hf_facts_new(hf_facts **out)
{
    hf_facts *facts = hf_alloc(sizeof *facts);

    if (facts == NULL)
        return HF_NOMEM;
    atomic_init(&facts->count, 1);
    atomic_init(&facts->expiring, 0);
    facts->resolved = 0;
    facts->keys = 0;
    *out = facts;
    return 0;
}

void hf_facts_drop(hf_facts *facts)
{
    if (facts != NULL && atomic_fetch_sub_explicit(&facts->count, 1, memory_order_acq_rel) == 1)
        hf_free(facts);
}

static hf_facts *keep_facts(hf_facts *facts)
{
    if (facts != NULL)
        atomic_fetch_add_explicit(&facts->count, 1, memory_order_relaxed);
    return facts;
}

int hf_index_new(hf_log_set *logs, hf_tail *active, hf_facts *active_facts, hf_tail *frozen, hf_facts *frozen_facts,
                 uint64_t base, hf_index **out)
{
    hf_index *index = hf_alloc(sizeof *index);

    if (index == NULL)
        return HF_NOMEM;
    hf_index_init(index, logs, active, active_facts, frozen, frozen_facts, base);
    *out = index;
    return 0;
}

void hf_index_init(hf_index *index, hf_log_set *logs, hf_tail *active, hf_facts *active_facts, hf_tail *frozen,
                   hf_facts *frozen_facts, uint64_t base)
{
    *index = (hf_index){
        .logs = logs,
        .active = active,
        .frozen = frozen,
        .active_facts = keep_facts(active_facts),
        .frozen_facts = keep_facts(frozen_facts),
        .base = base,
    };
    atomic_init(&index->count, 1);
    hf_log_set_keep(logs);
    hf_tail_keep(active);
    if (frozen != NULL)
        hf_tail_keep(frozen);
}

void hf_index_drop(hf_index *index)
{
    if (index == NULL || atomic_fetch_sub_explicit(&index->count, 1, memory_order_acq_rel) > 1)
        return;
    hf_log_set_drop(index->logs);
    hf_tail_drop(index->active);
    hf_tail_drop(index->frozen);
    hf_facts_drop(index->active_facts);
    hf_facts_drop(index->frozen_facts);
    hf_free(index);
}

void hf_index_reclaim(hf_cask *cask)
{
    while (cask->replaced != NULL && hf_epoch_passed(&cask->epoch, cask->replaced->tag)) {
        hf_index *index = cask->replaced;
        cask->replaced = index->next;
        hf_index_drop(index);
    }
    if (cask->replaced == NULL)
        cask->replaced_end = &cask->replaced;
}

void hf_index_publish(hf_cask *cask, hf_index *index)
{
    index->keydir = cask->keydir;
    hf_index *old = atomic_exchange(&cask->index, index);

    if (old == NULL)
        return;
    old->tag = hf_epoch_tag(&cask->epoch);
    old->next = NULL;
    *cask->replaced_end = old;
    cask->replaced_end = &old->next;
    hf_index_reclaim(cask);
}

/* -- looking up -- */

static bool is_same(const hf_span *a, const hf_span *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static int matches(void *arg, uint64_t place)
{
    hf_probe *probe = arg;
    const hf_log_file *file = hf_log_set_find(probe->logs, hf_place_file(place));

    if (__builtin_expect(file == NULL, 0)) {
        probe->missing = true;
        return HF_CORRUPT;
    }
    uint64_t end = atomic_load_explicit(&file->end, memory_order_acquire);
    uint64_t at = hf_place_offset(place);
    int status = probe->whole ? hf_record_read(file->bytes, end, at, file->salt, &probe->record)
                              : hf_record_look(file->bytes, end, at, file->salt, &probe->record);
    if (__builtin_expect(status <= 0, 0))
        return HF_CORRUPT;
    return is_same(&probe->record.in.key, &probe->key->canonical);
}

/* In a tail, of which the first `below` entries count. */
static int find_in_tail(const hf_tail *tail, uint32_t below, hf_probe *probe, uint64_t *place)
{
    while ((below = hf_tail_find(tail, probe->key->hash, below)) != HF_TAIL_NONE) {
        int status = matches(probe, tail->entries[below].place);
        if (status == 0)
            continue;
        if (status > 0)
            *place = tail->entries[below].place;
        return status;
    }
    return 0;
}

static int find_in_keydir(hf_cask *cask, const hf_view *view, hf_probe *probe, uint64_t *place)
{
    hf_view newest;

    if (view != NULL)
        return hf_keydir_find(view, probe->key->hash, matches, probe, place);
    int status = hf_view_pin(cask->keydir, &newest);
    if (status < 0)
        return status;
    status = hf_keydir_find(&newest, probe->key->hash, matches, probe, place);
    hf_view_unpin(&newest);
    return status;
}

int hf_index_find(hf_cask *cask, const hf_index *index, uint32_t below, const hf_view *view, hf_probe *probe,
                  uint64_t *place)
{
    int status = 0;

    probe->logs = index->logs;
    probe->missing = false;
    if (index->frozen != NULL)
        hf_tail_prefetch(index->frozen, probe->key->hash);
    if (below > 0)
        status = find_in_tail(index->active, below, probe, place);
    if (status == 0 && index->frozen != NULL)
        status = find_in_tail(index->frozen, atomic_load_explicit(&index->frozen->visible, memory_order_relaxed),
                              probe, place);
    if (status == 0)
        status = find_in_keydir(cask, view, probe, place);
    return status;
}

static void count_damage(hf_cask *cask, const hf_probe *probe)
{
    /* What is damaged may not say how long it is. */
    atomic_fetch_add_explicit(&cask->damaged, sizeof(struct hf_log_record), memory_order_relaxed);
}

/* A process that reads: with the version that the index is for, or not at all: then *again. `fresh`: the index was
 * brought up to date after the call began; then it does not matter that the writer has gone on. */
static int find_following(hf_cask *cask, const hf_index *index, bool fresh, hf_probe *probe, uint64_t *place,
                          bool *again)
{
    hf_view view;
    int status = hf_view_pin(index->keydir, &view);

    if (status < 0)
        return status;
    *again = hf_view_txid(&view) != index->base || (!fresh && hf_follow_is_behind(cask, index));
    if (!*again) {
        uint32_t below = atomic_load_explicit(&index->active->visible, memory_order_acquire);
        status = hf_index_find(cask, index, below, &view, probe, place);
    }
    hf_view_unpin(&view);
    return status;
}

/* One try: *again where the index was too old for what was found. */
static int find_once(hf_cask *cask, const hf_index *index, bool fresh, hf_probe *probe, uint64_t *place, bool *again)
{
    int status;

    *again = false;
    if (!cask->writable) {
        status = find_following(cask, index, fresh, probe, place, again);
    } else {
        hf_tail_prefetch(index->active, probe->key->hash);
        uint32_t below = atomic_load_explicit(&index->active->visible, memory_order_acquire);
        status = hf_index_find(cask, index, below, NULL, probe, place);
    }
    if (status < 0 && probe->missing && hf_index_now(cask) != index)
        *again = true;
    return status;
}

int hf_cask_find(hf_cask *cask, const hf_cask_key *key, bool whole, hf_cask_hold *hold, hf_record_out *record,
                 uint64_t *place)
{
    hf_probe probe = {.key = key, .whole = whole};
    bool again, fresh = false;
    int status;

    hold->place = NULL;
    if (__builtin_expect(atomic_load_explicit(&cask->lost, memory_order_relaxed), 0))
        return HF_LOST;
    for (;;) {
        hold->place = hf_epoch_enter(&cask->epoch);
        status = find_once(cask, hf_index_now(cask), fresh, &probe, place, &again);
        if (__builtin_expect(!again, 1))
            break;
        hf_cask_release(hold);
        if (!cask->writable && (status = hf_follow(cask)) < 0)
            return status;
        fresh = true;
    }
    if (status == HF_CORRUPT)
        count_damage(cask, &probe);
    if (status <= 0)
        return status;
    if ((*place & HF_PLACE_DELETED) != 0 || hf_cask_has_expired(cask, probe.record.in.expires))
        return 0;
    *record = probe.record;
    return 1;
}

void hf_cask_info_of(uint64_t place, const hf_record_out *record, hf_cask_info *out)
{
    *out = (hf_cask_info){
        .sequence = record->in.sequence,
        .inserted = record->in.time,
        .expires = record->in.expires,
        .file = hf_place_file(place),
        .offset = record->at,
        .size = record->size,
        .value_size = record->in.value.size,
    };
}
