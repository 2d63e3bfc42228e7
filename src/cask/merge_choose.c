/*
 * merge_choose.c: which files are worth merging.
 *
 *      sealed files     3: 70% dead    4: 10%    5: small    6: 45%    7: all expired
 *                          trigger                             threshold
 *                          `---------------------- + 5 + 6 + 7, as long as what counts in them fits one file
 *
 * As in Riak's Bitcask: a trigger (any one file) begins, thresholds say which others go with it. The one with the
 * greatest part dead is taken in any case; others join it, by the same measure, while what counts in all of them
 * together fits one log file, so that the output is one.
 *
 * What is dead is as of the last checkpoint. Deletions count as dead in a file that was written, since most need
 * not be copied; in one that was merged they do not: they were needed, and a merge of that file alone would find
 * them needed again. So each merge has something to gain, and merging ends.
 *
 * Whether all of a file has expired is found by reading its records, once, and not before the first of them has.
 *
 * Concurrency: reads without the mutex, chooses with it. Failure: HF_NOMEM; nothing is chosen then.
 */
#include "cask/merge.h"

hf_merge_age *hf_merge_age_of(struct hf_merge *m, uint32_t number)
{
    for (size_t i = 0; i < m->ages_count; i++)
        if (m->ages[i].number == number)
            return &m->ages[i];
    hf_merge_age *ages = hf_grown(m->ages, &m->ages_room, m->ages_count + 1, sizeof *ages);
    if (ages == NULL)
        return NULL;
    m->ages = ages;
    ages[m->ages_count] = (hf_merge_age){.number = number};
    return &ages[m->ages_count++];
}

static const hf_merge_age *known_age(const struct hf_merge *m, uint32_t number)
{
    for (size_t i = 0; i < m->ages_count; i++)
        if (m->ages[i].number == number)
            return &m->ages[i];
    return NULL;
}

bool hf_merge_is_sealed(const hf_cask *cask, uint32_t number)
{
    if (cask->active != NULL && cask->active->writer.file->number == number)
        return false;
    for (const hf_segment *segment = cask->sealed; segment != NULL; segment = segment->next)
        if (segment->writer.file->number == number)
            return false;
    return true;
}

/* With the mutex: could it be a victim at all? */
static bool may_go(hf_cask *cask, const struct hf_merge *m, const hf_note *note, uint64_t upto)
{
    const hf_merge_age *age = known_age(m, note->number);
    const struct hf_listed *listed = hf_manifest_find(&cask->manifest, note->number);

    return !note->gone && note->number < upto && (age == NULL || !age->damaged) &&
           (listed == NULL || listed->state == HF_LISTED) && hf_merge_is_sealed(cask, note->number) &&
           hf_log_set_find(hf_index_now(cask)->logs, note->number) != NULL;
}

/* -- what a file is worth -- */

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t dead_bytes(const hf_note *note)
{
    return at_most(note->now.dead_bytes, note->now.bytes);
}

static unsigned fragmentation(const hf_note *note)
{
    return note->now.keys == 0 ? 100
                               : (unsigned)(at_most(note->now.dead_keys, note->now.keys) * 100 / note->now.keys);
}

static bool reaches(uint64_t value, uint64_t bound)
{
    return bound != HF_CASK_NEVER && value >= bound;
}

static bool may_have_expired(const hf_cask *cask, const hf_note *note, int64_t now)
{
    uint64_t grace = cask->how.merging.expiry_grace;

    return grace != HF_CASK_NEVER && note->now.soonest != UINT64_MAX && note->now.soonest <= (uint64_t)now &&
           (uint64_t)now - note->now.soonest >= grace;
}

static bool has_expired(const hf_cask *cask, const struct hf_merge *m, const hf_note *note, int64_t now)
{
    const hf_merge_age *age = known_age(m, note->number);

    return may_have_expired(cask, note, now) && age != NULL && age->dated && age->latest <= now &&
           (uint64_t)(now - age->latest) >= cask->how.merging.expiry_grace;
}

static bool is_trigger(const hf_cask *cask, const struct hf_merge *m, const hf_note *note, int64_t now)
{
    const hf_cask_merging *how = &cask->how.merging;

    if (note->now.keys == 0 || has_expired(cask, m, note, now))
        return true;
    return note->now.dead_keys > 0 && (reaches(fragmentation(note), how->fragmentation_trigger) ||
                                       reaches(dead_bytes(note), how->dead_bytes_trigger));
}

static bool may_join(const hf_cask *cask, const struct hf_merge *m, const hf_note *note, int64_t now)
{
    const hf_cask_merging *how = &cask->how.merging;

    if (is_trigger(cask, m, note, now) ||
        (how->small_file_threshold != HF_CASK_NEVER && note->now.bytes < how->small_file_threshold))
        return true;
    return note->now.dead_keys > 0 && (reaches(fragmentation(note), how->fragmentation_threshold) ||
                                       reaches(dead_bytes(note), how->dead_bytes_threshold));
}

/* -- when its last record expires -- */

/* With the mutex: one that has to be read first to know; counted. */
static hf_log_file *undated(hf_cask *cask, const struct hf_merge *m, uint64_t upto, int64_t now)
{
    for (size_t i = 0; i < cask->notes.count; i++) {
        const hf_note *note = &cask->notes.note[i];
        const hf_merge_age *age = known_age(m, note->number);
        if (!may_go(cask, m, note, upto) || !may_have_expired(cask, note, now) || (age != NULL && age->dated))
            continue;
        hf_log_file *file = hf_log_set_find(hf_index_now(cask)->logs, note->number);
        hf_log_keep(file);
        return file;
    }
    return NULL;
}

static int date(struct hf_merge *m, const hf_log_file *file)
{
    hf_merge_age *age = hf_merge_age_of(m, file->number);
    uint64_t end = atomic_load(&file->end), at = HF_CASK_DATA_AT;
    hf_record_out record;

    if (age == NULL)
        return HF_NOMEM;
    age->latest = 0;
    while (at < end && age->latest < INT64_MAX) {
        if (hf_record_look(file->bytes, end, at, file->salt, &record) <= 0) {
            age->latest = INT64_MAX;
            break;
        }
        if ((record.in.flags & HF_RECORD_KIND) == HF_RECORD_PUT && record.in.expires > age->latest)
            age->latest = record.in.expires;
        at += record.size;
    }
    age->dated = true;
    return 0;
}

static int date_all(hf_cask *cask, struct hf_merge *m, uint64_t upto, int64_t now)
{
    int status = 0;

    while (status == 0) {
        pthread_mutex_lock(&cask->mutex);
        hf_log_file *file = undated(cask, m, upto, now);
        pthread_mutex_unlock(&cask->mutex);
        if (file == NULL)
            return 0;
        status = date(m, file);
        hf_log_drop(file);
    }
    return status;
}

/* -- choosing -- */

static bool is_chosen(const struct hf_merge *m, uint32_t number)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->victims[i]->number == number)
            return true;
    return false;
}

/* With the mutex. In the order of numbers. */
static void take(hf_cask *cask, struct hf_merge *m, const hf_note *note)
{
    hf_log_file *file = hf_log_set_find(hf_index_now(cask)->logs, note->number);
    size_t at = m->count++;

    for (; at > 0 && m->victims[at - 1]->number > file->number; at--)
        m->victims[at] = m->victims[at - 1];
    hf_log_keep(file);
    m->victims[at] = file;
}

/* With the mutex: the one of which most is dead, or NULL. `first`: it is to begin the merge; else it is to fit in
   `room`. */
static const hf_note *best(hf_cask *cask, const struct hf_merge *m, uint64_t upto, int64_t now, bool first,
                           uint64_t room)
{
    const hf_note *chosen = NULL;

    for (size_t i = 0; i < cask->notes.count; i++) {
        const hf_note *note = &cask->notes.note[i];
        if (!may_go(cask, m, note, upto) || is_chosen(m, note->number))
            continue;
        if (first ? !is_trigger(cask, m, note, now)
                  : !may_join(cask, m, note, now) || note->now.bytes - dead_bytes(note) > room)
            continue;
        if (chosen == NULL || fragmentation(note) > fragmentation(chosen))
            chosen = note;
    }
    return chosen;
}

int hf_merge_choose(hf_cask *cask, struct hf_merge *m, uint64_t upto, bool keep)
{
    uint64_t room = cask->how.max_file_size - HF_CASK_DATA_AT;
    int64_t now = hf_cask_now(cask);
    int status = date_all(cask, m, upto, now);

    if (status < 0)
        return status;
    pthread_mutex_lock(&cask->mutex);
    const hf_note *note = best(cask, m, upto, now, true, 0);
    int found = note != NULL;
    size_t most = m->limit > 0 && m->limit < HF_MERGE_VICTIMS ? m->limit : HF_MERGE_VICTIMS;
    while (keep && note != NULL && m->count < most) {
        uint64_t counts = note->now.bytes - dead_bytes(note);
        take(cask, m, note);
        room -= at_most(room, counts);
        note = best(cask, m, upto, now, false, room);
    }
    pthread_mutex_unlock(&cask->mutex);
    return found;
}
