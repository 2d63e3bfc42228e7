/*
 * replay.c: from records of the log, or of a hint, to entries of a tail.
 *
 *      record --- MORE? --yes--> batch [ entry entry ...          not in the tail before the batch is whole
 *                   |                        |
 *                   no <---------------------+ its last record
 *                   v
 *                  tail, or, where that has got long, folded into the keydir
 *
 * What is read is verified, header and body. Sequence numbers ascend: a record that is whole but whose number does
 * not, or that should be the next of a batch and is not, was left behind by an append that failed (log.h, A2), and
 * is where the log ends.
 *
 * Concurrency: one thread's. Failure: HF_NOMEM, what a fold may say.
 */
#include "cask/cask.h"
#include "cask/sabotage.h"

int hf_replay_begin(hf_replay *replay, hf_cask *cask, hf_log_set *logs, hf_notes *notes, uint32_t fold_at)
{
    *replay = (hf_replay){.cask = cask, .logs = logs, .notes = notes, .fold_at = fold_at};
    int status = hf_tail_new(hf_checkpoint_room(cask), &replay->tail);

    if (status == 0)
        status = hf_facts_new(&replay->facts);
    if (status < 0)
        hf_replay_clear(replay);
    return status;
}

void hf_replay_clear(hf_replay *replay)
{
    hf_tail_drop(replay->tail);
    hf_facts_drop(replay->facts);
    hf_free(replay->batch);
    replay->tail = NULL;
    replay->facts = NULL;
    replay->batch = NULL;
}

/* What the tail has goes to the keydir; it stands for no position of the log then, so that after a crash all of this
 * is done again. */
static int fold(hf_replay *replay)
{
    hf_cask *cask = replay->cask;
    struct hf_keydir_meta meta = cask->meta;
    hf_notes none = {0};
    hf_tail *tail;
    uint64_t txid;

    hf_tail_show(replay->tail);
    int status =
        hf_fold(cask, replay->logs, replay->tail, replay->tail->filled, atomic_load(&replay->facts->expiring) > 0,
                &meta, replay->notes != NULL ? replay->notes : &none, &txid);
    if (status == 0)
        status = hf_tail_new(hf_checkpoint_room(cask), &tail);
    if (status < 0)
        return status;
    for (size_t i = 0; replay->notes != NULL && i < replay->notes->count; i++) {
        hf_note *note = &replay->notes->note[i];
        note->now.dead_keys += note->died_keys;
        note->now.dead_bytes += note->died_bytes;
        note->died_keys = note->died_bytes = 0;
    }
    cask->meta = meta;
    hf_tail_drop(replay->tail);
    replay->tail = tail;
    atomic_store(&replay->facts->expiring, 0);
    return 0;
}

static int append(hf_replay *replay, uint64_t hash, uint64_t place)
{
    int status = 0;

    if (replay->fold_at > 0 && replay->tail->filled >= replay->fold_at)
        status = fold(replay);
    if (status == 0 && replay->tail->filled == replay->tail->room) {
        hf_tail *tail;
        status = hf_tail_grow(replay->tail, 1, &tail);
        if (status == 0) {
            hf_tail_drop(replay->tail);
            replay->tail = tail;
        }
    }
    if (status == 0)
        hf_tail_append(replay->tail, hash, place);
    return status;
}

int hf_replay_entry(hf_replay *replay, uint64_t hash, uint64_t place)
{
    hf_replayed *oldest = &replay->ahead[replay->ahead_count % HF_REPLAY_AHEAD];
    int status = replay->ahead_count < HF_REPLAY_AHEAD ? 0 : append(replay, oldest->hash, oldest->place);

    *oldest = (hf_replayed){hash, place};
    replay->ahead_count++;
    /* So that it stays below 2^32, and goes on where it is. */
    if (replay->ahead_count >= 3 * HF_REPLAY_AHEAD)
        replay->ahead_count -= HF_REPLAY_AHEAD;
    hf_tail_prefetch(replay->tail, hash);
    return status;
}

int hf_replay_end(hf_replay *replay)
{
    unsigned count = replay->ahead_count < HF_REPLAY_AHEAD ? replay->ahead_count : HF_REPLAY_AHEAD;
    int status = 0;

    for (unsigned i = replay->ahead_count - count; status == 0 && i < replay->ahead_count; i++) {
        const hf_replayed *entry = &replay->ahead[i % HF_REPLAY_AHEAD];
        status = append(replay, entry->hash, entry->place);
    }
    replay->ahead_count = 0;
    hf_tail_show(replay->tail);
    return status;
}

int hf_replay_settle(hf_replay *replay)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < replay->batch_count; i++)
        status = hf_replay_entry(replay, replay->batch[i].hash, replay->batch[i].place);
    replay->batch_count = 0;
    return status;
}

/* A record that is whole and in its turn. */
static int take(hf_replay *replay, const hf_log_file *file, const hf_record_out *record)
{
    unsigned kind = record->in.flags & HF_RECORD_KIND;
    hf_replayed entry = {
        .hash = hf_canonical_hash_bytes(record->in.key.bytes, record->in.key.size, replay->cask->seed),
        .place = hf_cask_place(file->number, record->at, record->size, kind == HF_RECORD_DELETE),
    };

    replay->last = record->in.sequence;
    if (record->in.time > replay->clock)
        replay->clock = record->in.time;
    replay->bytes += record->size;
    if (record->in.expires != INT64_MAX)
        atomic_fetch_add_explicit(&replay->facts->expiring, 1, memory_order_relaxed);
    if ((record->in.flags & HF_RECORD_MORE) != 0 && !HF_CASK_FAULT(batch_half)) {
        hf_replayed *batch =
            hf_grown(replay->batch, &replay->batch_room, replay->batch_count + 1, sizeof *replay->batch);
        if (batch == NULL)
            return HF_NOMEM;
        replay->batch = batch;
        batch[replay->batch_count++] = entry;
        return 0;
    }
    int status = hf_replay_settle(replay);
    return status < 0 || kind == HF_RECORD_CLOCK ? status : hf_replay_entry(replay, entry.hash, entry.place);
}

/* The notes of records from .. to of a file, which count. */
static void note_records(hf_replay *replay, const hf_log_file *file, uint64_t from, uint64_t to)
{
    hf_note *note = replay->notes == NULL ? NULL : hf_notes_find(replay->notes, file->number);
    hf_record_out record;

    for (; note != NULL && from < to; from += record.size) {
        if (hf_record_look(file->bytes, to, from, file->salt, &record) <= 0)
            return;
        hf_note_record(note, &record.in, record.size);
    }
}

int hf_replay_log(hf_replay *replay, const hf_log_file *file, uint64_t from, uint64_t end, uint64_t *stopped)
{
    hf_note *note = replay->notes == NULL ? NULL : hf_notes_find(replay->notes, file->number);
    uint64_t at = from, counted = from, before = replay->last, last = replay->last;
    hf_record_out record;
    int status = 0;

    replay->batch_count = 0;
    while (status == 0 && hf_record_read(file->bytes, end, at, file->salt, &record) > 0) {
        bool in_turn = replay->batch_count > 0 ? record.in.sequence == last + 1 : record.in.sequence > last;
        if (!in_turn)
            break;
        status = take(replay, file, &record);
        last = record.in.sequence;
        at += record.size;
        if (replay->batch_count > 0)
            continue;
        if (note != NULL && counted + record.size == at)
            hf_note_record(note, &record.in, record.size);
        else
            note_records(replay, file, counted, at);
        counted = at;
        before = last;
    }
    /* A batch that is not whole has no last number. */
    replay->last = before;
    *stopped = counted;
    return status;
}

int hf_replay_hint(hf_replay *replay, const hf_hint *hint, uint64_t from)
{
    uint32_t number = (uint32_t)hint->head->number;
    hf_note *note = replay->notes == NULL ? NULL : hf_notes_find(replay->notes, number);
    int status = 0;

    if (hint->head->soonest != UINT64_MAX)
        atomic_fetch_add_explicit(&replay->facts->expiring, 1, memory_order_relaxed);
    for (uint64_t i = 0; status == 0 && i < hint->head->count; i++) {
        const struct hf_hint_entry *entry = &hint->entries[i];
        if (hf_place_offset(entry->place) < from)
            continue;
        status = hf_replay_entry(replay, entry->hash, entry->place);
        if (note == NULL)
            continue;
        bool dead = (entry->place & HF_PLACE_DELETED) != 0;
        note->now.keys++;
        note->now.dead_keys += dead;
        note->now.dead_bytes +=
            dead ? (entry->place >> HF_PLACE_SIZE_SHIFT & HF_PLACE_SIZE_MAX) * HF_CASK_SIZE_UNIT : 0;
    }
    if (note != NULL) {
        note->now.bytes += hint->head->log_size - from;
        note->now.first = hint->head->first < note->now.first ? hint->head->first : note->now.first;
        note->now.last = hint->head->first <= hint->head->last && hint->head->last > note->now.last ? hint->head->last
                                                                                                    : note->now.last;
        note->now.soonest = hint->head->soonest < note->now.soonest ? hint->head->soonest : note->now.soonest;
        note->changed = true;
    }
    replay->bytes += hint->head->log_size - from;
    if (hint->head->first <= hint->head->last && hint->head->last > replay->last)
        replay->last = hint->head->last;
    if ((int64_t)hint->head->clock > replay->clock)
        replay->clock = (int64_t)hint->head->clock;
    return status;
}
