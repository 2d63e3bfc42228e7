/*
 * check.c: is all of a cask what it should be?
 *
 *      MANIFEST  --- lists ---> 0000000003.log --- each record, read --- is as its hint says, filter too
 *                                    ^     |
 *         "here is the newest"       |     | "whose newest am I?"
 *                                    |     v
 *                               keydir, tails --- each entry, followed;   notes: counted again
 *
 * Looked at is a snapshot, and of the log what was visible when it was taken. The files are read twice: once to
 * verify them, and to learn what was deleted; then each record's key is looked up:
 *
 *      the index has a newer record of it, or this one, or a copy (the same number)        right
 *      the index has an older one                                                         wrong
 *      the index has none, and a newer deletion was read, or a merge has just left it out  right
 *
 * Concurrency: writers go on; merges wait for the end of it. Failure: HF_CORRUPT, and `report` was told what;
 * HF_BUSY: hf_cask_merge is at it; HF_NOMEM, HF_IO; or what `report` has returned.
 */
#include "cask/cask.h"

#include <stdlib.h>

typedef struct deletion {
    uint64_t hash, sequence;
} deletion;

/* What was found in one file. */
typedef struct looked {
    hf_log_file *file; /* the snapshot's */
    uint64_t end;
    bool sealed, damaged;
    bool victim;                                     /* or in no manifest any more, and only still mapped */
    uint64_t keys, bytes, first, last, dead, clocks; /* of its records; dead: deletions too */
    uint64_t live;                                   /* entries of the keydir that lead to it */
} looked;

typedef struct checking {
    hf_cask *cask;
    hf_cask_snapshot *snapshot;
    const hf_log_set *logs;
    hf_manifest manifest;
    hf_cask_report report;
    void *arg;
    bool wrong;
    uint64_t done, of;
    looked *files; /* by number */
    size_t count;
    deletion *deleted;
    size_t deleted_count, deleted_room;
} checking;

/* -- telling -- */

static int fault(checking *c, const char *what, uint32_t file, uint64_t at, uint64_t size)
{
    hf_cask_fault found = {.what = what, .file = file, .at = at, .size = size};

    c->wrong = true;
    return c->report == NULL ? 0 : c->report(c->arg, &found, c->done, c->of);
}

static int progress(checking *c, uint64_t bytes)
{
    enum { STEP = 1 << 20 };
    uint64_t before = c->done / STEP;

    c->done += bytes;
    return c->report == NULL || c->done / STEP == before ? 0 : c->report(c->arg, NULL, c->done, c->of);
}

/* -- which files -- */

static looked *find_file(const checking *c, uint32_t number)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->files[i].file->number == number)
            return &c->files[i];
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const looked *)a)->file->number, y = ((const looked *)b)->file->number;

    return x < y ? -1 : x > y;
}

/* Of a file that is being written, what is before `end`, a position, counts. */
static int list_files(checking *c, uint64_t end)
{
    c->files = hf_alloc((c->logs->files + 1) * sizeof *c->files);
    if (c->files == NULL)
        return HF_NOMEM;
    for (uint32_t i = 0; i <= c->logs->mask; i++) {
        hf_log_file *file = c->logs->slot[i];
        if (file == NULL)
            continue;
        const struct hf_listed *listed = hf_manifest_find(&c->manifest, file->number);
        bool last = file->kind == HF_LOG_WRITTEN && file->number == hf_place_file(end);
        if (file->kind == HF_LOG_WRITTEN && file->number > hf_place_file(end))
            continue;
        looked *l = &c->files[c->count++];
        *l = (looked){
            .file = file,
            .end = last ? hf_place_offset(end) : atomic_load(&file->end),
            .sealed = !last,
            .victim = listed != NULL ? listed->state == HF_LISTED_VICTIM : file->number < c->manifest.head.next,
            .first = UINT64_MAX,
        };
        c->of += 2 * l->end;
    }
    if (c->count > 0)
        qsort(c->files, c->count, sizeof *c->files, by_number);
    return 0;
}

static int check_manifest(checking *c)
{
    int status = hf_manifest_read(c->cask->folder, &c->manifest);

    if (status == HF_CORRUPT || status == HF_NOT_CASK || status == HF_ABSENT || status == HF_FORMAT)
        return fault(c, "the manifest is damaged, or is not there", 0, 0, 0);
    return status;
}

/* Of a file that is not there: 1, the manifest of now lists it too; 0: a merge has taken it away meanwhile, which it
 * may do once no
 * manifest lists it. */
static int is_listed_still(const checking *c, uint32_t number)
{
    hf_manifest now;
    int status = hf_manifest_read(c->cask->folder, &now);

    if (status < 0)
        return status;
    status = hf_manifest_find(&now, number) != NULL;
    hf_manifest_clear(&now);
    return status;
}

static int check_listed(checking *c)
{
    char name[HF_LOG_NAME_SIZE];
    struct stat found;
    int status = 0;

    for (uint32_t i = 0; status == 0 && i < c->manifest.head.count; i++) {
        const struct hf_listed *listed = &c->manifest.files[i];
        hf_log_name(listed->number, HF_LOG_SUFFIX, name);
        int result = hf_os_fstatat(c->cask->folder, name, &found, 0);
        if (result < 0 && result != -ENOENT)
            return hf_os_file_status(result);
        if (result < 0 && (status = is_listed_still(c, listed->number)) > 0)
            status = fault(c, "a log file that the manifest lists is not there", listed->number, 0, listed->size);
        else if ((uint64_t)found.st_size != listed->size)
            status = fault(c, "a log file is not as long as the manifest says", listed->number,
                           (uint64_t)found.st_size < listed->size ? (uint64_t)found.st_size : listed->size,
                           (uint64_t)found.st_size < listed->size ? listed->size - (uint64_t)found.st_size
                                                                  : (uint64_t)found.st_size - listed->size);
    }
    return status;
}

/* -- records, and what their hint says -- */

static int note_deletion(checking *c, uint64_t hash, uint64_t sequence)
{
    deletion *deleted = hf_grown(c->deleted, &c->deleted_room, c->deleted_count + 1, sizeof *deleted);

    if (deleted == NULL)
        return HF_NOMEM;
    c->deleted = deleted;
    deleted[c->deleted_count++] = (deletion){hash, sequence};
    return 0;
}

static uint64_t hash_of(const checking *c, const hf_record_out *record)
{
    return hf_canonical_hash_bytes(record->in.key.bytes, record->in.key.size, c->cask->seed);
}

/* The next entry of the hint is to be this record's. */
static int check_entry(checking *c, const hf_hint *hint, uint64_t *next, uint32_t number, uint64_t hash,
                       const hf_record_out *record)
{
    bool deleted = (record->in.flags & HF_RECORD_KIND) == HF_RECORD_DELETE;
    uint64_t i = (*next)++;

    if (i >= hint->head->count || hint->entries[i].hash != hash || hint->entries[i].sequence != record->in.sequence ||
        hint->entries[i].place != hf_cask_place(number, record->at, record->size, deleted))
        return fault(c, "a hint does not say what a record says", number, record->at, record->size);
    if (!hf_hint_may_have(hint, hash))
        return fault(c, "a hint's filter does not have a record", number, record->at, record->size);
    return 0;
}

static void count_record(looked *l, const hf_record_out *record)
{
    unsigned kind = record->in.flags & HF_RECORD_KIND;

    l->keys++;
    l->bytes += record->size;
    l->dead += kind != HF_RECORD_PUT;
    l->clocks += kind == HF_RECORD_CLOCK;
    l->first = record->in.sequence < l->first ? record->in.sequence : l->first;
    l->last = record->in.sequence > l->last ? record->in.sequence : l->last;
}

static int check_record(checking *c, looked *l, const hf_record_out *record, const hf_hint *hint, uint64_t *next)
{
    unsigned kind = record->in.flags & HF_RECORD_KIND;
    uint32_t number = l->file->number;
    uint64_t hash = kind == HF_RECORD_CLOCK ? 0 : hash_of(c, record);
    int status = 0;

    if (l->file->kind == HF_LOG_WRITTEN && l->keys > 0 && record->in.sequence <= l->last)
        status = fault(c, "records are not in the order of their numbers", number, record->at, record->size);
    count_record(l, record);
    if (status == 0 && kind == HF_RECORD_DELETE)
        status = note_deletion(c, hash, record->in.sequence);
    if (status == 0 && hint != NULL && kind != HF_RECORD_CLOCK && !l->damaged)
        status = check_entry(c, hint, next, number, hash, record);
    return status;
}

static int read_file(checking *c, looked *l, const hf_hint *hint)
{
    const hf_log_file *file = l->file;
    uint64_t next = 0;
    int status = 0;

    for (uint64_t at = HF_CASK_DATA_AT; status == 0 && at < l->end;) {
        hf_record_out record;
        uint64_t from = at;
        if (hf_record_read(file->bytes, l->end, at, file->salt, &record) > 0) {
            status = check_record(c, l, &record, hint, &next);
            at += record.size;
        } else {
            int whole = hf_record_resync(file->bytes, l->end, at, file->salt, &record);
            at = whole > 0 ? record.at : l->end;
            l->damaged = true;
            status = fault(c, "bytes of a log file are damaged", file->number, from, at - from);
        }
        if (status == 0)
            status = progress(c, at - from);
    }
    if (status == 0 && hint != NULL && !l->damaged &&
        (next != hint->head->count || (l->keys > 0 && hint->head->first != l->first) ||
         (l->keys > 0 && hint->head->last != l->last)))
        status = fault(c, "a hint has records that the log file does not have", file->number, 0, 0);
    return status;
}

static int check_file(checking *c, looked *l)
{
    hf_hint hint = {.mapped = NULL};
    int status = l->sealed ? hf_hint_open(c->cask->folder, c->cask->id, l->file->number, l->end, &hint) : HF_ABSENT;

    if (status == HF_NOMEM || status == HF_IO)
        return status;
    bool hinted = status == 0;
    status = status == HF_CORRUPT ? fault(c, "a hint is damaged", l->file->number, 0, 0) : 0;
    if (status == 0)
        status = read_file(c, l, hinted ? &hint : NULL);
    hf_hint_close(&hint);
    return status;
}

/* -- whose newest is it? -- */

static int by_hash(const void *a, const void *b)
{
    const deletion *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Was there a deletion of a key with this hash, later than `sequence`? */
static bool was_deleted(const checking *c, uint64_t hash, uint64_t sequence)
{
    size_t low = 0, high = c->deleted_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const deletion *d = &c->deleted[middle];
        if (d->hash < hash || (d->hash == hash && d->sequence <= sequence))
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->deleted_count && c->deleted[low].hash == hash;
}

static int look_up(checking *c, const looked *l, const hf_record_out *record)
{
    const hf_cask_snapshot *snapshot = c->snapshot;
    hf_cask_key key = {.canonical = record->in.key, .hash = hash_of(c, record)};
    hf_probe probe = {.key = &key};
    uint64_t place;
    int found = hf_index_find(c->cask, snapshot->index, snapshot->visible, hf_snapshot_view(snapshot->pinned), &probe,
                              &place);
    bool put = (record->in.flags & HF_RECORD_KIND) == HF_RECORD_PUT;

    if (found < 0)
        return found == HF_CORRUPT ? 0 : found; /* it is told of where the index is walked */
    if (found > 0 && probe.record.in.sequence < record->in.sequence)
        return fault(c, put ? "the index leads to an older record" : "the index leads to a record that was deleted",
                     l->file->number, record->at, record->size);
    if (found == 0 && put && !l->victim && !was_deleted(c, key.hash, record->in.sequence))
        return fault(c, "the index has no record of the key", l->file->number, record->at, record->size);
    return 0;
}

static int look_up_file(checking *c, const looked *l)
{
    const hf_log_file *file = l->file;
    hf_record_out record;
    int status = 0;

    for (uint64_t at = HF_CASK_DATA_AT; status == 0 && at < l->end;) {
        uint64_t from = at;
        bool whole = hf_record_read(file->bytes, l->end, at, file->salt, &record) > 0 ||
                     hf_record_resync(file->bytes, l->end, at, file->salt, &record) > 0;
        at = whole ? record.at + record.size : l->end;
        if (whole && (record.in.flags & HF_RECORD_KIND) != HF_RECORD_CLOCK)
            status = look_up(c, l, &record);
        if (status == 0)
            status = progress(c, at - from);
    }
    return status;
}

/* -- where does the index lead? -- */

static int check_place(checking *c, uint64_t hash, uint64_t place, bool tail)
{
    uint32_t number = hf_place_file(place);
    uint64_t at = hf_place_offset(place), units = place >> HF_PLACE_SIZE_SHIFT & HF_PLACE_SIZE_MAX;
    const hf_log_file *file = hf_log_set_find(c->logs, number);
    hf_record_out record;

    if (file == NULL)
        return fault(c, "the index leads to a log file that is not there", number, at, 0);
    if (hf_record_look(file->bytes, atomic_load(&file->end), at, file->salt, &record) <= 0)
        return fault(c, "the index leads to a record that is damaged", number, at, units * HF_CASK_SIZE_UNIT);
    bool put = (record.in.flags & HF_RECORD_KIND) == HF_RECORD_PUT, deleted = (place & HF_PLACE_DELETED) != 0;
    if (hash_of(c, &record) != hash || hf_place_units(record.size) != units || (!put && !deleted) ||
        (deleted && !tail))
        return fault(c, "the index leads to another record", number, at, record.size);
    return 0;
}

static int walk_tail(checking *c, const hf_tail *tail, uint32_t visible)
{
    int status = 0;

    for (uint32_t i = 0; status == 0 && i < visible; i++)
        status = check_place(c, tail->entries[i].hash, tail->entries[i].place, true);
    return status;
}

static int walk_keydir(checking *c)
{
    hf_region_cursor cursor;
    uint64_t hash, place;
    int status = hf_keydir_walk_begin(&cursor, hf_snapshot_view(c->snapshot->pinned));

    while (status == 0 && (status = hf_keydir_walk_next(&cursor, &hash, &place)) > 0) {
        looked *l = find_file(c, hf_place_file(place));
        if (l != NULL)
            l->live++;
        status = check_place(c, hash, place, false);
    }
    return status == HF_CORRUPT ? fault(c, "the keydir is damaged", 0, 0, 0) : status;
}

static int walk_index(checking *c)
{
    const hf_index *index = c->snapshot->index;
    int status = walk_tail(c, index->active, c->snapshot->visible);

    if (status == 0 && index->frozen != NULL)
        status = walk_tail(c, index->frozen, hf_tail_visible(index->frozen));
    return status == 0 ? walk_keydir(c) : status;
}

/* -- notes -- */

typedef struct noting {
    checking *c;
    uint64_t position;
    int stopped; /* what `report` has returned */
} noting;

/* Deletions may count as dead or not, and clocks not at all, as a hint has none; all other records that no key
   leads to are to. */
static int check_note(void *arg, uint32_t number, const struct hf_keydir_note *note)
{
    noting *n = arg;
    const looked *l = find_file(n->c, number);

    if (l == NULL || l->damaged || (l->file->kind == HF_LOG_WRITTEN && number >= hf_place_file(n->position)))
        return 0;
    bool right = note->keys <= l->keys && note->keys + l->clocks >= l->keys && note->bytes == l->bytes &&
                 note->dead_keys <= note->keys && note->keys - note->dead_keys >= l->live &&
                 note->keys - note->dead_keys <= l->live + l->dead &&
                 (l->keys == 0 || (note->first == l->first && note->last == l->last));
    n->stopped = right ? 0 : fault(n->c, "what is noted of a log file is wrong", number, 0, 0);
    return n->stopped;
}

static int check_notes(checking *c)
{
    const hf_view *view = hf_snapshot_view(c->snapshot->pinned);
    struct hf_keydir_meta meta;
    noting n = {.c = c};
    int status = hf_keydir_meta_get(view, &meta);

    if (status == 0)
        return 0; /* it was never written */
    if (status > 0) {
        n.position = meta.position;
        status = hf_keydir_notes_each(view, check_note, &n);
    }
    if (n.stopped != 0)
        return n.stopped;
    return status == HF_CORRUPT ? fault(c, "the keydir is damaged", 0, 0, 0) : status;
}

static int check_region(checking *c)
{
    hf_region_fault found = {.what = NULL};
    int status = hf_region_check(c->cask->keydir, -1, &found);

    /* A flush of it has failed: what it has is looked at all the same, where the index is walked. */
    if (status == HF_BROKEN)
        return 0;
    if (status == HF_CORRUPT)
        return fault(c, found.what != NULL ? found.what : "the keydir is damaged", 0, found.at, 0);
    return status;
}

/* -- all of it -- */

static int check_all(checking *c, uint64_t end)
{
    int status = check_manifest(c);

    if (status == 0)
        status = list_files(c, end);
    if (status == 0)
        status = check_listed(c);
    for (size_t i = 0; status == 0 && i < c->count; i++)
        status = check_file(c, &c->files[i]);
    if (c->deleted_count > 0)
        qsort(c->deleted, c->deleted_count, sizeof *c->deleted, by_hash);
    for (size_t i = 0; status == 0 && i < c->count; i++)
        status = look_up_file(c, &c->files[i]);
    if (status == 0)
        status = walk_index(c);
    if (status == 0)
        status = check_notes(c);
    if (status == 0 && c->report != NULL)
        status = c->report(c->arg, NULL, c->of, c->of);
    return status;
}

/* Of a snapshot: up to where the log was visible when it was taken, at least. */
static int check_snapshot(checking *c)
{
    hf_cask *cask = c->cask;
    uint64_t end = cask->writable ? atomic_load_explicit(&cask->page->end, memory_order_acquire) : 0;
    int status = hf_cask_snapshot_begin(cask, &c->snapshot);

    if (status < 0)
        return status;
    c->logs = c->snapshot->index->logs;
    if (!cask->writable)
        end = atomic_load(&c->snapshot->index->end);
    status = check_all(c, end == 0 ? UINT64_MAX & ~HF_PLACE_DELETED : end);
    hf_cask_snapshot_end(c->snapshot);
    hf_manifest_clear(&c->manifest);
    hf_free(c->files);
    hf_free(c->deleted);
    return status;
}

int hf_cask_check(hf_cask *cask, hf_cask_report report, void *arg)
{
    checking c = {.cask = cask, .report = report, .arg = arg};
    bool held = false;
    int status = 0;

    if (atomic_load_explicit(&cask->lost, memory_order_relaxed))
        return HF_LOST;
    if (cask->writable) {
        status = hf_merge_hold(cask);
        held = status == 0;
        if (status < 0 && status != HF_BROKEN)
            return status;
    }
    status = check_region(&c);
    if (status == 0)
        status = check_snapshot(&c);
    if (held)
        hf_merge_release(cask);
    return status != 0 ? status : c.wrong ? HF_CORRUPT : 0;
}
