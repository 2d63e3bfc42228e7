/*
 * recover.c: opening: which files count, what they hold, and what a crash has left.
 *
 *      MANIFEST + the folder's names ---> files that count (format.h, F5)
 *      keydir's meta: position  --------> 0000000005.log     0000000006.log     0000000007.log
 *                                              [..............|...................|........~~~
 *                                              ^ what follows goes to the tail             ^ not whole
 *
 * Without a keydir that can be believed the position is the beginning of all. Merged files have old sequence
 * numbers: then the records of all that the manifest lists are sorted by them first.
 *
 * Where a record is not whole, that is damage, or the end that a power cut has left. It is damage, nothing is cut,
 * and what is lost is counted, if
 *      the keydir stands for more; or the page says that it was synced, or, in this boot, written;
 *      or a record behind it, in this file, says that it was synced when that was written (F4);
 *      or a record in a later file says that anything in that was synced: flushes go from file to file (sync.c).
 * Else the log ends here, and what is behind goes: the rest of the file, and later files, which were begun and never
 * synced. So what survives is a beginning of what was written, a batch whole or not at all. A file that was cut
 * short between two records is known by the next one's head, which says what number the last record before it had.
 *
 * What the page cache has may not be what the disk has, if a flush has failed since. Unless this boot's page says
 * that none did, what is not known to be synced is written once more, as it is, and flushed.
 *
 * Of a merge that was interrupted once the manifest had its output, output and victims are both here, and it does
 * not matter which of the two copies of a record a key leads to. cask->settled says what the keydir knows of;
 * merge_settle.c goes on from there (merge.h, G3).
 *
 * The output of a merge that was interrupted before is not listed. Where not even its head got to the disk it does
 * not say that it is one; but the file that was begun after it then goes on where the one before it ends.
 *
 * In a process that reads nothing is changed; it goes by what it finds.
 *
 * Concurrency: one thread, before anybody else sees the cask; with the writer's lock, if it writes. Failure: all is
 * as it was, but for leftovers that were removed.
 */
#include "cask/cask.h"
#include "cask/sabotage.h"

#include <stdlib.h>

typedef struct found {
    uint32_t number;
    hf_log_file *file;
    uint64_t size; /* of the file */
    uint64_t end;  /* of its records */
    bool listed;
    bool hinted;   /* there is a hint that is right: it is sealed for good */
    bool beheaded; /* its head is damaged, or was never there */
} found;

typedef struct recovery {
    hf_cask *cask;
    bool credible; /* the page is */
    bool rebuild;
    found *files; /* by number */
    size_t count, room;
    hf_log_set *logs;
    hf_notes notes;
    hf_replay replay;
} recovery;

/* -- the folder -- */

static int add_found(recovery *r, uint32_t number)
{
    found *files = hf_grown(r->files, &r->room, r->count + 1, sizeof *files);

    if (files == NULL)
        return HF_NOMEM;
    r->files = files;
    files[r->count++] = (found){.number = number};
    return 0;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t size = strlen(name), end = strlen(suffix);

    return size >= end && strcmp(name + size - end, suffix) == 0;
}

static int remove_name(hf_cask *cask, const char *name)
{
    if (!cask->writable)
        return 0;
    int result = hf_os_unlinkat(cask->folder, name, 0);
    cask->folder_dirty = true;
    return result < 0 && result != -ENOENT ? hf_os_file_status(result) : 0;
}

static int remove_file(hf_cask *cask, uint32_t number)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_name(number, HF_HINT_SUFFIX, name);
    int status = remove_name(cask, name);
    hf_log_name(number, HF_LOG_SUFFIX, name);
    return status < 0 ? status : remove_name(cask, name);
}

/* What a crash has left half-written, and can only be that. */
static int sweep(hf_cask *cask, const char *name)
{
    char hint[HF_OS_NAME_SIZE];

    if (strcmp(name, HF_MANIFEST_NEW) == 0)
        return remove_name(cask, name);
    if (!ends_with(name, HF_NEW_SUFFIX))
        return 0;
    size_t size = strlen(name) - strlen(HF_NEW_SUFFIX);
    memcpy(hint, name, size);
    hint[size] = '\0';
    return hf_log_name_number(hint, HF_HINT_SUFFIX) != 0 ? remove_name(cask, name) : 0;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const found *)a)->number, y = ((const found *)b)->number;

    return x < y ? -1 : x > y;
}

static int list_folder(recovery *r)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;
    int result = hf_os_opendir(r->cask->path, &dir), status = 0;

    if (result < 0)
        return hf_os_file_status(result);
    while (status == 0 && (result = hf_os_readdir(dir, name)) > 0) {
        uint32_t number = hf_log_name_number(name, HF_LOG_SUFFIX);
        status = number != 0 ? add_found(r, number) : sweep(r->cask, name);
    }
    hf_os_closedir(dir);
    if (status == 0 && result < 0)
        status = hf_os_file_status(result);
    if (r->count > 0)
        qsort(r->files, r->count, sizeof *r->files, by_number);
    return status;
}

/* Opens one that may count. 1: it does; 0: it is a leftover. */
static int open_found(recovery *r, found *f)
{
    hf_cask *cask = r->cask;
    const struct hf_listed *listed = hf_manifest_find(&cask->manifest, f->number);

    if (listed == NULL && f->number < cask->manifest.head.next)
        return 0;
    f->listed = listed != NULL;
    /* One that may be written to is mapped as far as it may get. */
    uint64_t map = f->listed || !cask->writable ? 0 : cask->how.max_file_size;
    int status = hf_log_open(cask->folder, cask->id, f->number, map, &f->file);
    if (status == HF_CORRUPT || status == HF_NOT_CASK) {
        f->beheaded = true;
        status = hf_log_open_damaged(cask->folder, cask->id, f->number, HF_LOG_WRITTEN, map, &f->file);
        if (status == 0 && f->listed)
            cask->lost_bytes += HF_CASK_DATA_AT;
    }
    if (status < 0)
        return status;
    f->size = f->end = atomic_load(&f->file->end);
    if (f->listed || f->file->kind == HF_LOG_WRITTEN)
        return 1;
    hf_log_drop(f->file);
    f->file = NULL;
    return 0;
}

/* Keeps those that count; the others go, if we may. */
static int open_files(recovery *r)
{
    size_t kept = 0;
    int status = 0;

    for (size_t i = 0; i < r->count; i++) {
        found f = r->files[i];
        int counts = status < 0 ? 0 : open_found(r, &f);
        if (counts > 0)
            r->files[kept++] = f;
        else if (counts < 0)
            status = counts;
        else if (status == 0)
            status = remove_file(r->cask, f.number);
    }
    r->count = kept;
    return status;
}

/* -- the keydir -- */

static found *find_file(const recovery *r, uint32_t number)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->files[i].number == number)
            return &r->files[i];
    return NULL;
}

/* Can it be that the keydir stands for this much of this log? */
static bool is_sane(const recovery *r, const struct hf_keydir_meta *meta)
{
    const hf_cask *cask = r->cask;

    if (meta->id[0] != cask->id[0] || meta->id[1] != cask->id[1] || meta->generation > cask->manifest.head.generation)
        return false;
    if (meta->position == 0)
        return false;
    const found *f = find_file(r, hf_place_file(meta->position));
    uint64_t at = hf_place_offset(meta->position);
    /* The file may have been merged away since: then it is all in. */
    return f == NULL ? hf_place_file(meta->position) < cask->next_number : at <= f->size;
}

static int add_note(void *arg, uint32_t number, const struct hf_keydir_note *note)
{
    recovery *r = arg;
    const found *f = find_file(r, number);
    hf_note *added;
    int status = hf_notes_add(&r->notes, number, f != NULL ? f->file->kind : HF_LOG_WRITTEN, &added);

    if (status == 0) {
        added->now = *note;
        added->changed = false;
        added->gone = f == NULL;
    }
    return status;
}

/* 1: the keydir is good for something, and meta and notes are read; 0. */
static int read_keydir(recovery *r)
{
    hf_view view;
    int status = hf_view_pin(r->cask->keydir, &view);

    if (status < 0)
        return status;
    status = hf_keydir_meta_get(&view, &r->cask->meta);
    if (status > 0 && !is_sane(r, &r->cask->meta))
        status = 0;
    if (status > 0) {
        status = hf_keydir_notes_each(&view, add_note, r);
        status = status < 0 ? status : 1;
    }
    hf_view_unpin(&view);
    return status == HF_CORRUPT ? 0 : status;
}

static bool can_be_made_again(int status)
{
    return status == HF_CORRUPT || status == HF_NOT_REGION || status == HF_FORMAT || status == HF_ABSENT;
}

static int open_keydir_again(hf_cask *cask)
{
    int status = 0;

    if (cask->keydir != NULL) {
        hf_region_close(cask->keydir);
        cask->keydir = NULL;
    }
    hf_region *keydir = NULL;
    if (cask->how.keydir_in_memory || !cask->writable) {
        status = hf_keydir_open_memory(&keydir);
    } else {
        status = hf_keydir_remove(cask->path);
        if (status == 0)
            status = hf_keydir_open(cask->path, false, &keydir);
    }
    cask->keydir = keydir;
    return status;
}

static int open_keydir(recovery *r)
{
    hf_cask *cask = r->cask;
    int status, good = 0;

    if (cask->how.keydir_in_memory) {
        /* One in a file would not know what is merged from now on. */
        status = hf_keydir_remove(cask->path);
    } else {
        hf_region *keydir = NULL;
        status = hf_keydir_open(cask->path, !cask->writable, &keydir);
        cask->keydir = keydir;
        if (status == 0)
            good = read_keydir(r);
        else if (can_be_made_again(status))
            status = 0;
        if (good < 0)
            status = good;
    }
    if (status < 0 || good > 0)
        return status;
    r->rebuild = true;
    cask->meta = (struct hf_keydir_meta){.id = {cask->id[0], cask->id[1]}};
    hf_notes_clear(&r->notes);
    return open_keydir_again(cask);
}

/* -- the end of the log -- */

static bool is_written(const found *f)
{
    return f->file->kind == HF_LOG_WRITTEN;
}

/* Does a record of this file, at `at` or behind, say that more than `above` of it was synced? */
static bool says_synced(const found *f, uint64_t at, uint64_t above)
{
    hf_record_out record;

    while (hf_record_resync(f->file->bytes, f->size, at, f->file->salt, &record) > 0) {
        if (record.synced > above)
            return true;
        at = record.at + record.size;
    }
    return false;
}

/* Is it known that the log was whole up to here, and behind? */
static bool was_synced(const recovery *r, size_t i, uint64_t at)
{
    const hf_cask *cask = r->cask;
    const found *f = &r->files[i];
    uint64_t position = hf_position(f->number, at);

    if (f->listed || (!r->rebuild && cask->meta.position > position))
        return true;
    if (r->credible && (atomic_load(&cask->page->synced) > position || atomic_load(&cask->page->end) > position))
        return true;
    if (says_synced(f, at, at))
        return true;
    for (size_t k = i + 1; k < r->count; k++)
        if (!r->files[k].listed && is_written(&r->files[k]) &&
            says_synced(&r->files[k], HF_CASK_DATA_AT, HF_CASK_DATA_AT))
            return true;
    return false;
}

/* The last byte from `at` on that is not zero: what is behind it; `at`: there is none. */
static uint64_t last_of(const found *f, uint64_t at)
{
    uint64_t end = f->size;

    while (end > at && f->file->bytes[end - 1] == 0)
        end--;
    return end > at ? end : at;
}

/* The log ends before file i: what was begun later was never synced, and goes. */
static int drop_from(recovery *r, size_t i)
{
    size_t kept = i;
    int status = 0;

    for (size_t k = i; k < r->count; k++) {
        found later = r->files[k];
        if (later.listed) {
            r->files[kept++] = later;
            continue;
        }
        r->cask->cut += last_of(&later, HF_CASK_DATA_AT) - HF_CASK_DATA_AT;
        if (status == 0)
            status = remove_file(r->cask, later.number);
        hf_notes_remove(&r->notes, later.number);
        hf_log_drop(later.file);
    }
    r->count = kept;
    return status;
}

/* Damage: from `at` to the next whole record, *next, or the end. */
static int pass_damage(recovery *r, const found *f, uint64_t at, uint64_t *next)
{
    hf_record_out record;
    int whole = hf_record_resync(f->file->bytes, f->size, at, f->file->salt, &record);

    *next = whole > 0 ? record.at : f->size;
    r->cask->lost_bytes += *next - at;
    /* It is whole, whatever its number is. */
    if (whole > 0 && record.in.sequence <= r->replay.last)
        r->replay.last = record.in.sequence - 1;
    return hf_replay_settle(&r->replay);
}

/* Records of a file from `at` on, up to f->end. 1: the log ends there. */
static int replay_file(recovery *r, size_t i, uint64_t at)
{
    found *f = &r->files[i];

    for (f->end = at;;) {
        int status = hf_replay_log(&r->replay, f->file, f->end, f->size, &f->end);
        if (status < 0 || f->end == f->size)
            return status;
        bool synced = was_synced(r, i, f->end);
        /* Zeros were written ahead; the next file says whether it follows. */
        if (!synced && last_of(f, f->end) == f->end)
            return 0;
        if (!synced)
            return 1;
        status = pass_damage(r, f, f->end, &f->end);
        if (status < 0 || f->end >= f->size)
            return status;
    }
}

/* What the hint says, if there is one that is right: 1. */
static int replay_hint(recovery *r, const found *f, uint64_t at)
{
    hf_hint hint;
    int status = hf_hint_open(r->cask->folder, r->cask->id, f->number, f->size, &hint);

    if (status < 0)
        return status == HF_NOMEM ? status : 0;
    status = hf_replay_hint(&r->replay, &hint, at);
    hf_hint_close(&hint);
    return status < 0 ? status : 1;
}

/* A file without a head: was it to become a merge's? Then the log goes on behind it as though it were not there. */
static bool is_left_by_merge(const recovery *r, size_t i)
{
    if (!r->files[i].beheaded || r->files[i].listed)
        return false;
    for (size_t k = i + 1; k < r->count; k++)
        if (!r->files[k].listed && is_written(&r->files[k]) && !r->files[k].beheaded)
            return r->replay.last > 0 && r->files[k].file->after == r->replay.last;
    return false;
}

/* The records of files from `first` on, of that from `from` on. */
static int replay_in_order(recovery *r, uint32_t first, uint64_t from)
{
    const hf_note *note = hf_notes_find(&r->notes, first);
    bool chained = false; /* it is not known that the file before this one ended where it does */

    r->replay.last = note != NULL ? note->now.last : 0;
    for (size_t i = 0; i < r->count; i++) {
        found *f = &r->files[i];
        if (!is_written(f) || f->number < first)
            continue;
        if (is_left_by_merge(r, i)) {
            f->end = HF_CASK_DATA_AT;
            f->hinted = true; /* it is not gone on with, and is merged away some day */
            continue;
        }
        bool follows = !f->beheaded && (!chained || f->file->after == r->replay.last);
        if (!follows && !f->listed) {
            if (!was_synced(r, i, HF_CASK_DATA_AT))
                return drop_from(r, i);
            r->cask->lost_bytes += sizeof(struct hf_log_record);
        }
        uint64_t at = f->number == first && from > HF_CASK_DATA_AT ? from : HF_CASK_DATA_AT;
        int hinted = at < f->size ? replay_hint(r, f, at) : 0;
        if (hinted < 0)
            return hinted;
        f->hinted = hinted > 0;
        chained = !f->listed && !f->hinted;
        if (at >= f->size || f->hinted)
            continue;
        int ended = replay_file(r, i, at);
        if (ended < 0)
            return ended;
        if (ended > 0) {
            r->cask->cut += last_of(f, f->end) - f->end;
            return drop_from(r, i + 1);
        }
    }
    return 0;
}

/* -- in the order of sequence numbers -- */

typedef struct gathered {
    struct hf_hint_entry *entries;
    size_t count, room;
} gathered;

static int gather(gathered *g, const struct hf_hint_entry *entries, uint64_t count)
{
    if (count == 0)
        return 0;
    struct hf_hint_entry *larger = hf_grown(g->entries, &g->room, g->count + count, sizeof *larger);
    if (larger == NULL)
        return HF_NOMEM;
    memcpy(larger + g->count, entries, count * sizeof *entries);
    g->entries = larger;
    g->count += count;
    return 0;
}

static int count_lost(void *arg, uint64_t at, uint64_t size)
{
    recovery *r = arg;

    r->cask->lost_bytes += size;
    return 0;
}

/* Notes and clock, as of a whole hint, and its entries. */
static int gather_hint(recovery *r, gathered *g, const struct hf_hint_head *head, const struct hf_hint_entry *entries,
                       const found *f)
{
    hf_note *note = hf_notes_find(&r->notes, f->number);

    if ((int64_t)head->clock > r->replay.clock)
        r->replay.clock = (int64_t)head->clock;
    if (head->soonest != UINT64_MAX)
        atomic_fetch_add(&r->replay.facts->expiring, 1);
    for (uint64_t i = 0; i < head->count; i++)
        if ((entries[i].place & HF_PLACE_DELETED) != 0) {
            note->now.dead_keys++;
            note->now.dead_bytes += (entries[i].place >> HF_PLACE_SIZE_SHIFT & HF_PLACE_SIZE_MAX) * HF_CASK_SIZE_UNIT;
        }
    note->now.keys = head->count;
    note->now.bytes = f->size - HF_CASK_DATA_AT;
    note->now.soonest = head->soonest;
    if (head->first <= head->last) {
        note->now.first = head->first;
        note->now.last = head->last;
    }
    return gather(g, entries, head->count);
}

static int gather_file(recovery *r, gathered *g, found *f)
{
    hf_hint_maker maker;
    hf_hint hint;
    int status = hf_hint_open(r->cask->folder, r->cask->id, f->number, f->size, &hint);

    f->hinted = status == 0;
    if (status == HF_NOMEM)
        return status;
    if (status == 0) {
        status = gather_hint(r, g, hint.head, hint.entries, f);
        hf_hint_close(&hint);
        return status;
    }
    status = hf_hint_from_log(f->file, r->cask->id, r->cask->seed, count_lost, r, &maker);
    if (status < 0)
        return status;
    status = gather_hint(r, g, &maker.head, maker.entries, f);
    hf_hint_maker_clear(&maker);
    return status;
}

static int by_sequence(const void *a, const void *b)
{
    const struct hf_hint_entry *x = a, *y = b;

    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static bool is_victim(const recovery *r, uint64_t place)
{
    const struct hf_listed *listed = hf_manifest_find(&r->cask->manifest, hf_place_file(place));

    return listed != NULL && listed->state == HF_LISTED_VICTIM;
}

/* All that the manifest lists. Two records with one number are copies: that in the file that stays is the one. */
static int replay_listed(recovery *r)
{
    gathered g = {0};
    int status = 0;

    for (size_t i = 0; status == 0 && i < r->count; i++)
        if (r->files[i].listed)
            status = gather_file(r, &g, &r->files[i]);
    if (status == 0 && g.count > 0)
        qsort(g.entries, g.count, sizeof *g.entries, by_sequence);
    for (size_t i = 0; status == 0 && i < g.count; i++) {
        bool copied = i + 1 < g.count && g.entries[i + 1].sequence == g.entries[i].sequence;
        if (copied && is_victim(r, g.entries[i + 1].place)) {
            struct hf_hint_entry entry = g.entries[i];
            g.entries[i] = g.entries[i + 1];
            g.entries[i + 1] = entry;
        }
        if (!copied)
            status = hf_replay_entry(&r->replay, g.entries[i].hash, g.entries[i].place);
    }
    hf_free(g.entries);
    return status;
}

static bool has_merged(const recovery *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->files[i].file->kind == HF_LOG_MERGED)
            return true;
    return false;
}

/* -- all of it -- */

static int prepare(recovery *r)
{
    hf_cask *cask = r->cask;
    hf_note *note;
    int status = 0;

    for (size_t i = 0; status == 0 && i < r->count; i++) {
        hf_log_set *set;
        status = hf_log_set_change(r->logs, 0, r->files[i].file, &set);
        if (status == 0) {
            hf_log_set_drop(r->logs);
            r->logs = set;
            status = hf_notes_add(&r->notes, r->files[i].number, r->files[i].file->kind, &note);
        }
    }
    if (status == 0 && r->logs == NULL)
        status = hf_log_set_change(NULL, 0, NULL, &r->logs);
    if (status < 0)
        return status;
    enum { MEMORY_ENTRIES = 1 << 20, FILE_ENTRIES = 1 << 22 };
    hf_checkpoint_plan(cask, 0);
    return hf_replay_begin(&r->replay, cask, r->logs, &r->notes,
                           cask->how.keydir_in_memory ? MEMORY_ENTRIES
                           : r->rebuild               ? FILE_ENTRIES
                                                      : 0);
}

static int replay_all(recovery *r)
{
    const struct hf_keydir_meta *meta = &r->cask->meta;
    uint32_t first = 0;

    if (!r->rebuild)
        return replay_in_order(r, hf_place_file(meta->position), hf_place_offset(meta->position));
    if (has_merged(r)) {
        int status = replay_listed(r);
        if (status < 0)
            return status;
        for (size_t i = 0; i < r->count; i++)
            if (r->files[i].listed && r->files[i].number >= first)
                first = is_written(&r->files[i]) ? r->files[i].number + 1 : first;
    }
    return replay_in_order(r, first, 0);
}

/* Up to which byte of a file it is known that all is on the disk. */
static uint64_t synced_of(const recovery *r, const found *f)
{
    const hf_cask *cask = r->cask;
    uint64_t position = r->rebuild ? 0 : cask->meta.position;

    if (r->credible && atomic_load(&cask->page->synced) > position)
        position = atomic_load(&cask->page->synced);
    if (hf_place_file(position) != f->number)
        return hf_place_file(position) > f->number ? f->end : 0;
    return hf_place_offset(position) < f->end ? hf_place_offset(position) : f->end;
}

/* What may be in the page cache only, though that takes it to be on the disk. */
static int write_again(hf_log_writer *writer, uint64_t from)
{
    enum { PART = 1 << 20 };
    uint64_t end = writer->end;

    for (uint64_t at = from; at < end; at += PART) {
        uint64_t part = end - at < PART ? end - at : PART;
        int result = hf_os_pwrite_all(writer->fd, writer->file->bytes + at, part, (off_t)at);
        if (result < 0)
            return hf_os_file_status(result);
    }
    return hf_log_flush(writer, end);
}

/* A file that was not listed: it goes on, or waits to be sealed. */
static int resume(recovery *r, const found *f, hf_segment **out)
{
    hf_cask *cask = r->cask;
    bool sure = r->credible && atomic_load(&cask->page->broken) == 0;
    uint64_t synced = synced_of(r, f), step = cask->how.sync == HF_CASK_SYNC_PUT ? 1 << 20 : 0;
    hf_segment *segment = hf_alloc(sizeof *segment);

    if (segment == NULL)
        return HF_NOMEM;
    segment->next = NULL;
    int status = hf_log_resume(cask->folder, f->file, f->end, synced, step, &segment->writer);
    if (status < 0) {
        hf_free(segment);
        return status;
    }
    /* Though all of its records are on the disk, its length need not be: it may have been cut since. */
    uint64_t from = synced < f->end || f->end == HF_CASK_DATA_AT ? synced : f->end - HF_CASK_ALIGN;
    atomic_store(&segment->writer.synced, 0);
    status = sure ? hf_log_flush(&segment->writer, f->end) : write_again(&segment->writer, from);
    if (status < 0) {
        hf_log_writer_close(&segment->writer);
        hf_free(segment);
        return status;
    }
    segment->flushed = atomic_load(&segment->writer.synced) >= f->end;
    *out = segment;
    return 0;
}

/* One that is there is of what the file was before: it would not be believed, but taken for damage by who checks. */
static void forget_hint(hf_cask *cask, uint32_t number)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_name(number, HF_HINT_SUFFIX, name);
    if (hf_os_unlinkat(cask->folder, name, 0) == 0)
        cask->folder_dirty = true;
}

/* The files that this process writes: the last one of the log, and those that are not sealed for good. */
static int resume_files(recovery *r)
{
    hf_cask *cask = r->cask;
    const found *last = NULL;
    int status = 0;

    for (size_t i = 0; i < r->count; i++)
        if (!r->files[i].listed && is_written(&r->files[i]))
            last = &r->files[i];
    for (size_t i = 0; status == 0 && i < r->count; i++) {
        const found *f = &r->files[i];
        hf_segment *segment;
        atomic_store(&f->file->end, f->end);
        if (!cask->writable || f->listed || f->hinted || f->size < f->end)
            continue;
        forget_hint(cask, f->number);
        status = resume(r, f, &segment);
        if (status < 0)
            break;
        if (f == last && !f->beheaded) {
            cask->active = segment;
        } else if (synced_of(r, f) >= f->end) {
            hf_log_writer_close(&segment->writer);
            hf_free(segment);
        } else {
            *cask->sealed_end = segment;
            cask->sealed_end = &segment->next;
        }
    }
    return status;
}

static uint64_t highest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Where the log has got to: numbers, clock, positions. */
static void set_position(recovery *r)
{
    hf_cask *cask = r->cask;
    const struct hf_cask_manifest *head = &cask->manifest.head;
    uint64_t clock = highest(head->clock, highest(cask->meta.clock, (uint64_t)r->replay.clock));

    cask->logged = r->replay.last;
    cask->sequence = highest(r->replay.last, highest(head->sequence, cask->meta.sequence));
    if (r->credible && atomic_load(&cask->page->sequence) > cask->sequence)
        cask->sequence = atomic_load(&cask->page->sequence);
    if (HF_CASK_FAULT(sequence_again))
        cask->sequence = 0;
    atomic_store(&cask->stamp, (int64_t)(clock > (uint64_t)HF_CASK_TIME_MAX ? (uint64_t)HF_CASK_TIME_MAX : clock));
    cask->appended = highest(r->rebuild ? 0 : cask->meta.position, hf_position(1, 0));
    for (size_t i = 0; i < r->count; i++)
        if (is_written(&r->files[i]))
            cask->appended = highest(cask->appended, hf_position(r->files[i].number, r->files[i].end));
    cask->durable = r->rebuild ? 0 : cask->meta.position;
    if (r->credible)
        cask->durable = highest(cask->durable, atomic_load(&cask->page->synced));
    if (cask->durable > cask->appended)
        cask->durable = cask->appended;
    /* Of a keydir that was made again it is not known what it leads to. */
    cask->settled = r->rebuild ? 0 : cask->meta.generation;
}

/* Of files that drop_from has removed there is nothing to be known: a manifest would list them. */
static int forget_dropped(recovery *r)
{
    for (size_t i = r->notes.count; i-- > 0;) {
        uint32_t number = r->notes.note[i].number;
        hf_log_set *set;
        if (r->notes.note[i].gone || find_file(r, number) != NULL)
            continue;
        int status = hf_log_set_change(r->logs, number, NULL, &set);
        if (status < 0)
            return status;
        hf_log_set_drop(r->logs);
        r->logs = set;
        hf_notes_remove(&r->notes, number);
    }
    return 0;
}

static int make_index(recovery *r)
{
    hf_cask *cask = r->cask;
    hf_index *index;
    hf_view view;

    int status = hf_replay_end(&r->replay);
    if (status == 0)
        status = forget_dropped(r);
    if (status == 0)
        status = hf_view_pin(cask->keydir, &view);
    if (status < 0)
        return status;
    uint64_t keys = hf_keydir_count(&view);
    status = hf_index_new(r->logs, r->replay.tail, r->replay.facts, NULL, NULL, hf_view_txid(&view), &index);
    hf_view_unpin(&view);
    if (status < 0)
        return status;
    atomic_store(&index->end, cask->appended);
    cask->recovered = r->replay.bytes > 0 || cask->cut > 0 || cask->lost_bytes > 0;
    cask->since_fold = r->replay.bytes;
    cask->notes = r->notes;
    r->notes = (hf_notes){0};
    hf_checkpoint_plan(cask, keys + r->replay.tail->filled);
    hf_index_publish(cask, index);
    return 0;
}

static void clear(recovery *r)
{
    hf_replay_clear(&r->replay);
    hf_notes_clear(&r->notes);
    hf_log_set_drop(r->logs);
    for (size_t i = 0; i < r->count; i++)
        hf_log_drop(r->files[i].file);
    hf_free(r->files);
}

/* No number of a file is used again. */
static uint32_t next_of(const recovery *r)
{
    const hf_manifest *manifest = &r->cask->manifest;
    uint64_t next = manifest->head.next;

    for (size_t i = 0; i < r->count; i++)
        next = highest(next, r->files[i].number + 1u);
    for (uint32_t i = 0; i < manifest->head.count; i++)
        next = highest(next, manifest->files[i].number + 1u);
    return (uint32_t)(next < HF_CASK_FILES ? next : HF_CASK_FILES);
}

/* Others can read at once: until there is a checkpoint, from the log's beginning, if its records are in order; else
 * there is one now. */
static int let_read(recovery *r)
{
    hf_cask *cask = r->cask;
    hf_notes none = {0};
    uint64_t txid;

    if (!r->rebuild || cask->how.keydir_in_memory || !cask->writable)
        return 0;
    return hf_fold(cask, r->logs, r->replay.tail, 0, false, &cask->meta, &none, &txid);
}

int hf_recover(hf_cask *cask, bool credible)
{
    recovery r = {.cask = cask, .credible = credible};
    int status = list_folder(&r);

    cask->next_number = next_of(&r);
    if (status == 0)
        status = open_files(&r);
    else
        r.count = 0;
    if (status == 0)
        status = open_keydir(&r);
    if (status == 0)
        status = prepare(&r);
    if (status == 0)
        status = replay_all(&r);
    if (status == 0)
        status = resume_files(&r);
    /* What was taken away stays away. */
    if (status == 0 && cask->writable && cask->folder_dirty) {
        status = hf_cask_folder_sync(cask);
        cask->folder_dirty = status < 0;
    }
    if (status == 0) {
        set_position(&r);
        status = let_read(&r);
    }
    if (status == 0) {
        cask->unordered = r.rebuild && has_merged(&r);
        status = make_index(&r);
    }
    clear(&r);
    return status;
}
