/*
 * status.c: what there is to tell of a cask.
 *
 * In the writer's process the notes are those in memory: all that was appended, what is dead as of the last
 * checkpoint. A process that reads takes them from the keydir, so they are as of then.
 *
 * Concurrency: with the mutex for a moment, to copy. Failure: HF_NOMEM, HF_LOST, what counting may say.
 */
#include "cask/cask.h"

static int add_note(void *arg, uint32_t number, const struct hf_keydir_note *note)
{
    hf_note *added;
    int status = hf_notes_add(arg, number, HF_LOG_WRITTEN, &added);

    if (status == 0)
        added->now = *note;
    return status;
}

/* With the mutex. */
static int copy_notes(hf_cask *cask, hf_notes *out)
{
    hf_view view;

    if (cask->writable)
        return hf_notes_copy(&cask->notes, out);
    int status = hf_view_pin(cask->keydir, &view);
    if (status < 0)
        return status;
    status = hf_keydir_notes_each(&view, add_note, out);
    hf_view_unpin(&view);
    return status;
}

static hf_cask_file file_of(const hf_cask *cask, const hf_log_set *logs, const hf_note *note, uint32_t active)
{
    const hf_log_file *file = hf_log_set_find(logs, note->number);
    uint64_t keys = note->now.keys, dead = note->now.dead_keys < keys ? note->now.dead_keys : keys;
    uint64_t bytes = note->now.bytes, dead_bytes = note->now.dead_bytes < bytes ? note->now.dead_bytes : bytes;

    return (hf_cask_file){
        .number = note->number,
        .active = note->number == active,
        .merged = file != NULL && file->kind == HF_LOG_MERGED,
        .keys = keys,
        .dead_keys = dead,
        .bytes = bytes,
        .dead_bytes = dead_bytes,
        .fragmentation = keys == 0 ? 0 : (unsigned)(dead * 100 / keys),
    };
}

/* With the mutex. */
static void fill(hf_cask *cask, hf_cask_status *out, uint32_t *active)
{
    const hf_index *index = hf_index_now(cask);
    uint64_t durable = atomic_load(&cask->page->synced);

    *active = hf_place_file(atomic_load(&cask->page->end));
    out->sequence = atomic_load(&cask->page->sequence);
    out->synced = durable >= atomic_load(&cask->page->end) ? out->sequence : 0;
    out->tail_bytes = hf_tail_bytes(index->active) + (index->frozen != NULL ? hf_tail_bytes(index->frozen) : 0);
    out->written = cask->written + (cask->active != NULL ? cask->active->writer.total : 0);
    out->merged = cask->merged;
    out->recovered = cask->recovered;
    out->cut = cask->cut;
    out->lost = cask->lost_bytes + atomic_load(&cask->damaged);
    out->broken = cask->broken != 0 || atomic_load(&cask->page->broken) != 0;
}

static int visit_files(const hf_cask *cask, const hf_log_set *logs, const hf_notes *notes, uint32_t active,
                       hf_cask_status *out, int (*visit)(void *arg, const hf_cask_file *file), void *arg)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < notes->count; i++) {
        if (notes->note[i].gone)
            continue;
        hf_cask_file file = file_of(cask, logs, &notes->note[i], active);
        out->files++;
        out->bytes += file.bytes;
        out->dead_bytes += file.dead_bytes;
        if (visit != NULL)
            status = visit(arg, &file);
    }
    return status;
}

int hf_cask_status_get(hf_cask *cask, hf_cask_status *out, int (*visit)(void *arg, const hf_cask_file *file),
                       void *arg)
{
    hf_cask_status status = {0};
    hf_region_stats stats;
    hf_notes notes = {0};
    uint32_t active;
    int done = hf_cask_count(cask, &status.keys);

    if (done == 0)
        done = hf_region_stats_get(cask->keydir, &stats);
    if (done < 0)
        return done;
    status.keydir_bytes = stats.size;
    status.written_keydir = stats.written;
    pthread_mutex_lock(&cask->mutex);
    done = copy_notes(cask, &notes);
    fill(cask, &status, &active);
    hf_index *index = hf_index_now(cask);
    hf_index_keep(index);
    pthread_mutex_unlock(&cask->mutex);
    if (done == 0)
        done = visit_files(cask, index->logs, &notes, active, &status, visit, arg);
    hf_index_drop(index);
    hf_notes_clear(&notes);
    if (done >= 0)
        *out = status;
    return done;
}
