/*
 * merge_settle.c: from the victims to the output, in an order that a crash can interrupt anywhere.
 *
 *      commit    output: cut, flushed -> hint: written, flushed -> folder synced -> log synced as far as it goes
 *                -> output in the index -> MANIFEST: output listed, victims VICTIM; durable
 *      move      64 keys at a time, with the mutex: does the key lead to the record that was copied? then { hash,
 *                new place } to the tail
 *                keys of what had expired and was left out: { hash, deleted } to the tail
 *      sweep     after a crash only: the victims are read once more for such keys, since nobody remembers them
 *      settle    cask->settled = that manifest's generation -> checkpoint: the keydir has it
 *      leave     no pinned version older? -> MANIFEST without the victims, durable -> they are removed -> folder
 *                synced
 *
 * Up to the manifest all can be taken back. From then on a step that fails is done again later (merge.c), and the
 * cask is right meanwhile (G3).
 *
 * Concurrency: merge.h. Failure: HF_NOMEM, HF_NOSPACE, HF_IO; HF_BROKEN: a flush has failed, and the cask is broken.
 */
#include "cask/merge.h"

enum { MOVES = 64, HOLDS = 16, SWEEP = 64 << 10 };

/* -- commit -- */

static int broken(hf_cask *cask)
{
    pthread_mutex_lock(&cask->mutex);
    int status = hf_sync_broken(cask, HF_BROKEN);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

static int sync_folder(hf_cask *cask)
{
    return hf_cask_folder_sync(cask) < 0 ? broken(cask) : 0;
}

/* The output and its hint are on the disk. */
static int seal_output(hf_cask *cask, struct hf_merge *m)
{
    uint64_t bytes = 0;
    int status = hf_log_seal(&m->output);

    if (status == HF_BROKEN)
        return broken(cask);
    if (status < 0)
        return status;
    atomic_store(&m->output.file->end, m->output.end);
    status = hf_hint_write(cask->folder, &m->maker, m->output.end, &bytes);
    if (status == 0)
        status = sync_folder(cask);
    pthread_mutex_lock(&cask->mutex);
    cask->written += m->output.total + bytes;
    pthread_mutex_unlock(&cask->mutex);
    m->output.total = 0;
    return status;
}

/* A deletion counts here, since it was needed; merge_choose.c says why. */
static void fill_note(const struct hf_merge *m, hf_note *note)
{
    const struct hf_hint_head *head = &m->maker.head;

    note->now = (struct hf_keydir_note){
        .keys = head->count,
        .bytes = m->output.end - HF_CASK_DATA_AT,
        .first = head->first,
        .last = head->last,
        .soonest = head->soonest,
    };
    note->changed = true;
}

/* With the mutex. */
static int publish_output(hf_cask *cask, struct hf_merge *m)
{
    hf_note *note;
    int status = hf_notes_add(&cask->notes, m->number, HF_LOG_MERGED, &note);

    if (status < 0)
        return status;
    fill_note(m, note);
    status = hf_write_files(cask, 0, m->output.file);
    if (status < 0)
        hf_notes_remove(&cask->notes, m->number);
    return status;
}

/* With the mutex: nothing leads to it. Where there is no memory its mapping stays a while. */
static void retract_output(hf_cask *cask, struct hf_merge *m)
{
    hf_notes_remove(&cask->notes, m->number);
    if (hf_write_files(cask, m->number, NULL) < 0)
        return;
}

/* With the mutex: the first file that is not sealed for good; all before it are to be listed. */
static uint64_t first_unsealed(const hf_cask *cask)
{
    uint64_t first = cask->next_number;

    if (cask->active != NULL)
        first = cask->active->writer.file->number;
    if (cask->sealed != NULL && cask->sealed->writer.file->number < first)
        first = cask->sealed->writer.file->number;
    return first;
}

static struct hf_listed listing(const hf_log_file *file, const hf_note *note, uint64_t generation)
{
    return (struct hf_listed){
        .number = file->number,
        .state = HF_LISTED,
        .size = atomic_load(&file->end),
        .first = note->now.first,
        .last = note->now.last,
        .generation = generation,
    };
}

/* With the mutex. */
static int list_sealed(hf_cask *cask, hf_manifest *manifest)
{
    const hf_log_set *logs = hf_index_now(cask)->logs;
    uint64_t first = first_unsealed(cask);
    int status = 0;

    for (size_t i = 0; status == 0 && i < cask->notes.count; i++) {
        const hf_note *note = &cask->notes.note[i];
        const hf_log_file *file = hf_log_set_find(logs, note->number);
        if (note->gone || file == NULL || file->kind != HF_LOG_WRITTEN || note->number >= first ||
            hf_manifest_find(manifest, note->number) != NULL)
            continue;
        struct hf_listed listed = listing(file, note, manifest->head.generation + 1);
        status = hf_manifest_add(manifest, &listed);
    }
    if (status == 0 && first > manifest->head.next)
        manifest->head.next = first;
    return status;
}

static uint64_t highest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* With the mutex: what every new manifest says. */
static int begin_manifest(hf_cask *cask, hf_manifest *out)
{
    int status = hf_manifest_copy(&cask->manifest, out);

    if (status < 0)
        return status;
    out->head.clock = highest(out->head.clock, (uint64_t)hf_cask_now(cask));
    status = list_sealed(cask, out);
    if (status < 0)
        hf_manifest_clear(out);
    return status;
}

/* With the mutex: output and victims. */
static int edit_manifest(hf_cask *cask, struct hf_merge *m, hf_manifest *manifest)
{
    uint64_t generation = manifest->head.generation + 1;

    for (size_t i = 0; i < m->count; i++) {
        struct hf_listed *victim = hf_manifest_find(manifest, m->victims[i]->number);
        if (victim == NULL)
            return HF_CORRUPT;
        victim->state = HF_LISTED_VICTIM;
        victim->generation = generation;
        if (victim->first <= victim->last)
            manifest->head.sequence = highest(manifest->head.sequence, victim->last);
    }
    if (!m->has_output)
        return 0;
    struct hf_listed listed = listing(m->output.file, hf_notes_find(&cask->notes, m->number), generation);
    return hf_manifest_add(manifest, &listed);
}

/* Without the mutex: makes it the cask's, durably; it is cleared if that fails. */
static int replace_manifest(hf_cask *cask, hf_manifest *manifest)
{
    uint64_t bytes = 0;
    int status = hf_manifest_replace(cask->folder, manifest, &bytes);

    if (status == HF_BROKEN)
        broken(cask);
    if (status < 0) {
        hf_manifest_clear(manifest);
        return status;
    }
    pthread_mutex_lock(&cask->mutex);
    hf_manifest_clear(&cask->manifest);
    cask->manifest = *manifest;
    cask->written += bytes;
    atomic_store(&cask->page->generation, manifest->head.generation);
    pthread_mutex_unlock(&cask->mutex);
    return 0;
}

/* What is to go is remembered before anything is certain: then nothing can fail. */
static int room_for_leaving(struct hf_merge *m)
{
    hf_merge_leaving *leaving =
        hf_grown(m->leaving, &m->leaving_room, m->leaving_count + m->count + 1, sizeof *leaving);

    if (leaving == NULL)
        return HF_NOMEM;
    m->leaving = leaving;
    return 0;
}

static int list_output(hf_cask *cask, struct hf_merge *m)
{
    hf_manifest manifest = {.files = NULL};

    pthread_mutex_lock(&cask->mutex);
    /* What made records not count is to be as durable as their going (G1). */
    int status = hf_sync_upto(cask, cask->appended);
    if (status == 0 && m->has_output)
        status = publish_output(cask, m);
    if (status < 0) {
        pthread_mutex_unlock(&cask->mutex);
        return status;
    }
    status = begin_manifest(cask, &manifest);
    if (status == 0) {
        status = edit_manifest(cask, m, &manifest);
        if (status < 0)
            hf_manifest_clear(&manifest);
    }
    pthread_mutex_unlock(&cask->mutex);
    if (status == 0) {
        status = replace_manifest(cask, &manifest);
        m->uncertain = status == HF_BROKEN;
    }
    if (status < 0 && m->has_output) {
        pthread_mutex_lock(&cask->mutex);
        retract_output(cask, m);
        pthread_mutex_unlock(&cask->mutex);
    }
    return status;
}

int hf_merge_commit(hf_cask *cask, struct hf_merge *m)
{
    int status = room_for_leaving(m);

    if (status == 0 && m->has_output)
        status = seal_output(cask, m);
    if (status == 0)
        status = list_output(cask, m);
    if (status < 0 && m->uncertain && m->has_output) {
        /* Perhaps the manifest has it: it stays, and the next who opens the cask sees. */
        hf_log_writer_close(&m->output);
        m->has_output = false;
    }
    if (status < 0)
        return status;
    m->generation = cask->manifest.head.generation;
    for (size_t i = 0; i < m->count; i++)
        m->leaving[m->leaving_count++] =
            (hf_merge_leaving){.number = m->victims[i]->number, .generation = m->generation};
    if (m->has_output) {
        m->file = m->output.file;
        hf_log_keep(m->file);
        hf_log_writer_close(&m->output);
        m->has_output = false;
    }
    m->moved = 0;
    return 0;
}

/* -- move -- */

static bool is_victim(const struct hf_merge *m, uint32_t number)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->victims[i]->number == number)
            return true;
    return false;
}

/* With the mutex: it is in the output, and nothing leads to it. */
static void note_dead(hf_cask *cask, const struct hf_merge *m, const hf_record_out *record)
{
    hf_note *note = hf_notes_find(&cask->notes, m->file->number);

    if (note == NULL)
        return;
    note->now.dead_keys++;
    note->now.dead_bytes += record->size;
    note->changed = true;
}

static int is_the_place(void *arg, uint64_t place)
{
    return place == *(const uint64_t *)arg;
}

static bool tail_leads_to(const hf_tail *tail, uint64_t hash, uint64_t place)
{
    uint32_t at = tail == NULL ? HF_TAIL_NONE : hf_tail_find(tail, hash, tail->filled);

    while (at != HF_TAIL_NONE && tail->entries[at].place != place)
        at = hf_tail_find(tail, hash, at);
    return at != HF_TAIL_NONE;
}

/* With the mutex: does anything lead to that place, be it hidden by something newer? Then the fold that takes it away counts it as dead. 1, 0. */
static int is_led_to(hf_cask *cask, uint64_t hash, uint64_t place)
{
    const hf_index *index = hf_index_now(cask);
    uint64_t found;
    hf_view view;

    if (tail_leads_to(index->active, hash, place) || tail_leads_to(index->frozen, hash, place))
        return 1;
    int status = hf_view_pin(cask->keydir, &view);
    if (status < 0)
        return status;
    status = hf_keydir_find(&view, hash, is_the_place, &place, &found);
    hf_view_unpin(&view);
    return status;
}

/* With the mutex, and room in the tail. */
static int move_entry(hf_cask *cask, struct hf_merge *m, const struct hf_hint_entry *entry)
{
    hf_record_out copied, newest;
    uint64_t place = 0;

    if (hf_record_look(m->file->bytes, atomic_load(&m->file->end), hf_place_offset(entry->place), m->file->salt,
                       &copied) <= 0)
        return HF_CORRUPT;
    hf_cask_key key = {.canonical = copied.in.key, .hash = entry->hash};
    int found = hf_merge_newest(cask, &key, true, &newest, &place);
    if (found < 0)
        return found;
    if (found > 0 && is_victim(m, hf_place_file(place)) && newest.in.sequence == entry->sequence) {
        hf_write_moved(cask, entry->hash, entry->place, copied.in.expires != INT64_MAX);
        return 0;
    }
    if ((entry->place & HF_PLACE_DELETED) != 0 || (found > 0 && hf_place_file(place) == m->file->number))
        return 0;
    /* After a crash (total is 0) it may have been moved before. */
    found = m->total == 0 ? is_led_to(cask, entry->hash, entry->place) : 0;
    if (found == 0)
        note_dead(cask, m, &copied);
    return found < 0 ? found : 0;
}

/* With the mutex, and room in the tail: a key that still leads to an expired record of a victim leads nowhere from
   now on. */
static int bury(hf_cask *cask, struct hf_merge *m, const hf_log_file *victim, uint64_t hash, uint64_t place)
{
    hf_record_out expired, newest;
    uint64_t found_at = 0;

    if (hf_record_look(victim->bytes, atomic_load(&victim->end), hf_place_offset(place), victim->salt, &expired) <= 0)
        return HF_CORRUPT;
    hf_cask_key key = {.canonical = expired.in.key, .hash = hash};
    int found = hf_merge_newest(cask, &key, true, &newest, &found_at);
    if (found <= 0)
        return found;
    if (hf_place_file(found_at) != victim->number || newest.at != expired.at || (found_at & HF_PLACE_DELETED) != 0)
        return 0;
    if (!hf_cask_has_expired(cask, newest.in.expires))
        return HF_CORRUPT;
    hf_write_moved(cask, hash, place | HF_PLACE_DELETED, false);
    return 0;
}

static int bury_gone(hf_cask *cask, struct hf_merge *m, const hf_merge_gone *gone)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->victims[i]->number == hf_place_file(gone->place))
            return bury(cask, m, m->victims[i], gone->hash, gone->place);
    return 0;
}

/* With the mutex: a few of them. */
static int move_some(hf_cask *cask, struct hf_merge *m)
{
    uint64_t entries = m->file != NULL ? m->maker.head.count : 0, all = entries + m->gone_count;
    uint64_t until = m->moved + MOVES < all ? m->moved + MOVES : all;
    int status = cask->broken != 0 ? HF_BROKEN : hf_write_room(cask, MOVES);

    while (status == 0 && m->moved < until) {
        status = m->moved < entries ? move_entry(cask, m, &m->maker.entries[m->moved])
                                    : bury_gone(cask, m, &m->gone[m->moved - entries]);
        if (status == 0)
            m->moved++;
    }
    return status < 0 ? status : m->moved < all;
}

int hf_merge_move(hf_cask *cask, struct hf_merge *m)
{
    int more = 1;

    for (unsigned i = 0; more > 0 && i < HOLDS; i++) {
        pthread_mutex_lock(&cask->mutex);
        more = move_some(cask, m);
        pthread_mutex_unlock(&cask->mutex);
    }
    return more;
}

/* -- sweep -- */

/* With the mutex, and room in the tail. */
static int sweep_record(hf_cask *cask, struct hf_merge *m, const hf_record_out *record)
{
    const hf_log_file *victim = m->victims[m->at];
    uint64_t hash = hf_canonical_hash_bytes(record->in.key.bytes, record->in.key.size, cask->seed);

    if ((record->in.flags & HF_RECORD_KIND) != HF_RECORD_PUT)
        return 0;
    return bury(cask, m, victim, hash, hf_cask_place(victim->number, record->at, record->size, false));
}

int hf_merge_sweep(hf_cask *cask, struct hf_merge *m)
{
    int status = 0;

    if (m->at == m->count)
        return 0;
    const hf_log_file *victim = m->victims[m->at];
    uint64_t end = atomic_load(&victim->end);
    pthread_mutex_lock(&cask->mutex);
    for (unsigned i = 0; status == 0 && i < MOVES && m->read < end; i++) {
        hf_record_out record;
        status = hf_write_room(cask, 1);
        if (status == 0 && hf_record_look(victim->bytes, end, m->read, victim->salt, &record) <= 0)
            status = HF_CORRUPT;
        if (status == 0)
            status = sweep_record(cask, m, &record);
        if (status == 0)
            m->read += record.size;
    }
    pthread_mutex_unlock(&cask->mutex);
    if (status == 0 && m->read >= end) {
        m->at++;
        m->read = HF_CASK_DATA_AT;
    }
    return status < 0 ? status : 1;
}

/* -- settle -- */

int hf_merge_settle(hf_cask *cask, struct hf_merge *m)
{
    pthread_mutex_lock(&cask->mutex);
    cask->settled = highest(cask->settled, m->generation);
    while (cask->meta.generation < m->generation) {
        pthread_mutex_unlock(&cask->mutex);
        int status = hf_checkpoint(cask);
        if (status < 0)
            return status;
        pthread_mutex_lock(&cask->mutex);
    }
    uint64_t txid = hf_index_now(cask)->base;
    for (size_t i = 0; i < m->leaving_count; i++)
        if (m->leaving[i].txid == 0 && m->leaving[i].generation <= m->generation)
            m->leaving[i].txid = txid;
    pthread_mutex_unlock(&cask->mutex);
    return 0;
}

/* -- leave -- */

static bool may_leave(const hf_merge_leaving *leaving, uint64_t oldest)
{
    return leaving->txid != 0 && oldest >= leaving->txid;
}

/* With the mutex: is there one that may leave, and a manifest without all of those? */
static int manifest_without(hf_cask *cask, const struct hf_merge *m, uint64_t oldest, hf_manifest *out)
{
    bool any = false;

    for (size_t i = 0; i < m->leaving_count; i++)
        any |= !m->leaving[i].unlisted && may_leave(&m->leaving[i], oldest);
    if (!any)
        return 0;
    int status = begin_manifest(cask, out);
    if (status < 0)
        return status;
    for (size_t i = 0; i < m->leaving_count; i++)
        if (may_leave(&m->leaving[i], oldest))
            hf_manifest_remove(out, m->leaving[i].number);
    return 1;
}

static void remove_files(hf_cask *cask, uint32_t number)
{
    char name[HF_LOG_NAME_SIZE];

    /* What cannot be removed is a leftover now, and goes when the cask is opened. */
    hf_log_name(number, HF_HINT_SUFFIX, name);
    hf_os_unlinkat(cask->folder, name, 0);
    hf_log_name(number, HF_LOG_SUFFIX, name);
    hf_os_unlinkat(cask->folder, name, 0);
}

/* With the mutex: out of the index; what is left of them is their mapping, for who looks at an older one. */
static int retire(hf_cask *cask, struct hf_merge *m)
{
    size_t kept = 0;
    int status = 0;

    for (size_t i = 0; i < m->leaving_count; i++) {
        hf_merge_leaving leaving = m->leaving[i];
        int gone = leaving.unlisted && status == 0 ? hf_write_files(cask, leaving.number, NULL) : 1;
        if (gone == 0) {
            hf_note *note = hf_notes_find(&cask->notes, leaving.number);
            if (note != NULL)
                note->gone = note->changed = true;
            continue;
        }
        status = gone < 0 ? gone : status;
        m->leaving[kept++] = leaving;
    }
    m->leaving_count = kept;
    return status;
}

int hf_merge_leave(hf_cask *cask, struct hf_merge *m)
{
    hf_manifest manifest = {.files = NULL};
    uint64_t oldest = 0;

    if (m->leaving_count == 0)
        return 0;
    int status = hf_region_oldest_pin(cask->keydir, &oldest);
    if (status < 0)
        return status;
    pthread_mutex_lock(&cask->mutex);
    status = retire(cask, m);
    int leave = status < 0 ? status : manifest_without(cask, m, oldest, &manifest);
    pthread_mutex_unlock(&cask->mutex);
    if (leave <= 0)
        return leave;
    status = replace_manifest(cask, &manifest);
    if (status < 0)
        return status;
    for (size_t i = 0; i < m->leaving_count; i++)
        if (may_leave(&m->leaving[i], oldest)) {
            m->leaving[i].unlisted = true;
            remove_files(cask, m->leaving[i].number);
        }
    status = sync_folder(cask);
    pthread_mutex_lock(&cask->mutex);
    int retired = retire(cask, m);
    pthread_mutex_unlock(&cask->mutex);
    return status < 0 ? status : retired < 0 ? retired : 1;
}

/* -- after a crash -- */

/* With the mutex: the keydir may not have a note of it yet. */
static void note_resumed(hf_cask *cask, const struct hf_merge *m, const hf_log_file *file)
{
    hf_note *note = hf_notes_find(&cask->notes, file->number);

    if (note == NULL || note->now.keys > 0)
        return;
    note->now.keys = m->maker.head.count;
    note->now.bytes = atomic_load(&file->end) - HF_CASK_DATA_AT;
    note->now.first = m->maker.head.first;
    note->now.last = m->maker.head.last;
    note->now.soonest = m->maker.head.soonest;
    note->changed = true;
}

/* With the mutex: a victim that the keydir may still lead to is read again; its output too. */
static int resume_file(hf_cask *cask, struct hf_merge *m, const struct hf_listed *listed)
{
    hf_log_file *file = hf_log_set_find(hf_index_now(cask)->logs, listed->number);

    if (listed->state == HF_LISTED_VICTIM) {
        if (file != NULL && m->count < HF_MERGE_VICTIMS) {
            hf_log_keep(file);
            m->victims[m->count++] = file;
        }
        return 0;
    }
    if (file == NULL || file->kind != HF_LOG_MERGED || m->file != NULL)
        return 0;
    int status = hf_hint_from_log(file, cask->id, cask->seed, NULL, NULL, &m->maker);
    if (status < 0)
        return status;
    hf_log_keep(file);
    m->file = file;
    /* Which of its records are dead is found out anew. */
    hf_note *note = hf_notes_find(&cask->notes, listed->number);
    if (note != NULL) {
        note->now.dead_keys = note->now.dead_bytes = 0;
        note->changed = true;
    }
    note_resumed(cask, m, file);
    return 0;
}

/* With the mutex: which of them the keydir does not lead to, is known by the generation that it has. */
static int remember(hf_cask *cask, struct hf_merge *m)
{
    uint64_t base = hf_index_now(cask)->base;

    for (uint32_t i = 0; i < cask->manifest.head.count; i++) {
        const struct hf_listed *listed = &cask->manifest.files[i];
        if (listed->state != HF_LISTED_VICTIM)
            continue;
        hf_merge_leaving *leaving = hf_grown(m->leaving, &m->leaving_room, m->leaving_count + 1, sizeof *leaving);
        if (leaving == NULL)
            return HF_NOMEM;
        m->leaving = leaving;
        leaving[m->leaving_count++] = (hf_merge_leaving){
            .number = listed->number,
            .generation = listed->generation,
            .txid = listed->generation <= cask->settled ? base : 0,
        };
    }
    return 0;
}

int hf_merge_remember(hf_cask *cask, struct hf_merge *m)
{
    pthread_mutex_lock(&cask->mutex);
    int status = remember(cask, m);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

int hf_merge_resume(hf_cask *cask, struct hf_merge *m)
{
    uint64_t generation = UINT64_MAX;
    int status = 0;

    for (size_t i = 0; i < m->leaving_count; i++)
        if (m->leaving[i].txid == 0 && m->leaving[i].generation < generation)
            generation = m->leaving[i].generation;
    pthread_mutex_lock(&cask->mutex);
    for (uint32_t i = 0; status == 0 && i < cask->manifest.head.count; i++)
        if (cask->manifest.files[i].generation == generation)
            status = resume_file(cask, m, &cask->manifest.files[i]);
    pthread_mutex_unlock(&cask->mutex);
    if (status < 0)
        return status;
    m->generation = generation;
    m->moved = 0;
    m->at = 0;
    m->read = HF_CASK_DATA_AT;
    m->stage = MERGE_MOVE;
    return 0;
}
