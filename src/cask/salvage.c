/*
 * salvage.c: of a cask that may be damaged anyhow, another one, of all that is whole.
 *
 *      FROM  0000000003.log ... *.log     every record that is whole
 *                |  by hash: the one with the highest sequence number of each key
 *                v
 *      table     { hash, sequence, place }                   24 bytes a key, in a hash table half full at least
 *                |  in the order of the log; not what was deleted, or has expired
 *                v
 *      TO        a new cask, by ordinary puts
 *
 * Nothing is believed but records, which say themselves whose they are: cask and file are in their checksums. The
 * cask's id is in the manifest, in the head of every log file, and in every hint: one of them is enough.
 *
 * Which files. Where the manifest can be read, those that count by it (format.h, F5), so that a file that a merge
 * had removed, and of which the name has come back, does not bring back what was deleted. Without it, all of them.
 *
 * What is lost is told: bytes of a file in which there is no record, and what is left of a batch whose end is not
 * there, at the end of the log.
 *
 * Expiry is by the latest of the system's clock and all that the cask says of its own, which the new one goes on
 * from.
 *
 * Concurrency: FROM is locked against writers. Failure: what was made of TO is removed. HF_ABSENT, HF_BUSY;
 * HF_NOT_CASK: nothing says which cask it is; HF_EXISTS: TO is there; what puts may say; what `report` has returned.
 */
#include "cask/cask.h"

#include "base/hash.h"

#include <stdlib.h>

typedef struct newest {
    uint64_t hash;
    uint64_t sequence; /* 0: free */
    uint64_t place;
} newest;

typedef struct salvaging {
    int folder;
    uint64_t id[2];
    bool has_manifest;
    hf_manifest manifest;
    hf_log_file **files; /* by number */
    size_t count, files_room;
    newest *table;
    uint64_t mask, used; /* of the table: slots - 1; keys in it */
    uint64_t *batch;     /* places of a batch that is not whole yet */
    size_t batch_count, batch_room;
    int64_t clock;
    hf_cask_report report;
    void *arg;
    uint64_t done, of;
} salvaging;

/* -- telling -- */

static int lost(salvaging *s, const char *what, uint32_t file, uint64_t at, uint64_t size)
{
    hf_cask_fault fault = {.what = what, .file = file, .at = at, .size = size};

    return s->report == NULL ? 0 : s->report(s->arg, &fault, s->done, s->of);
}

static int progress(salvaging *s, uint64_t bytes)
{
    enum { STEP = 1 << 20 };
    uint64_t before = s->done / STEP;

    s->done += bytes;
    return s->report == NULL || s->done / STEP == before ? 0 : s->report(s->arg, NULL, s->done, s->of);
}

/* -- whose is it? -- */

/* The id in the head of a log file, or of a hint: where the magic is right, and the checksum. 1, 0. */
static int id_of(int folder, const char *name, bool hint, uint64_t id[2])
{
    struct hf_log_head log;
    struct hf_hint_head hinted;
    int fd;

    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return 0;
    void *to = hint ? (void *)&hinted : (void *)&log;
    size_t size = hint ? sizeof hinted : sizeof log;
    int64_t got = hf_os_pread_all(fd, to, size, 0);
    hf_os_close(fd);
    if (got < (int64_t)size)
        return 0;
    bool right =
        hint ? hinted.magic == HF_CASK_HINT_MAGIC &&
                   hinted.checksum ==
                       hf_checksum64(&hinted, offsetof(struct hf_hint_head, checksum), HF_CASK_HINT_MAGIC)
             : log.magic == HF_CASK_LOG_MAGIC &&
                   log.checksum == hf_checksum64(&log, offsetof(struct hf_log_head, checksum), HF_CASK_LOG_MAGIC);
    if (right)
        memcpy(id, hint ? hinted.id : log.id, 2 * sizeof *id);
    return right;
}

/* 1; 0: nothing in the folder says. */
static int find_id(salvaging *s, const char *path)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;
    int result, found = 0;

    if (s->has_manifest) {
        memcpy(s->id, s->manifest.head.id, sizeof s->id);
        return 1;
    }
    result = hf_os_opendir(path, &dir);
    if (result < 0)
        return hf_os_file_status(result);
    while (found == 0 && (result = hf_os_readdir(dir, name)) > 0) {
        if (hf_log_name_number(name, HF_LOG_SUFFIX) != 0)
            found = id_of(s->folder, name, false, s->id);
        else if (hf_log_name_number(name, HF_HINT_SUFFIX) != 0)
            found = id_of(s->folder, name, true, s->id);
    }
    hf_os_closedir(dir);
    return found == 0 && result < 0 ? hf_os_file_status(result) : found;
}

/* -- which files -- */

static bool counts(const salvaging *s, const hf_log_file *file, bool beheaded)
{
    if (!s->has_manifest || hf_manifest_find(&s->manifest, file->number) != NULL)
        return true;
    return file->number >= s->manifest.head.next && (beheaded || file->kind == HF_LOG_WRITTEN);
}

static int open_log(salvaging *s, uint32_t number)
{
    hf_log_file *file;
    int status = hf_log_open(s->folder, s->id, number, 0, &file);
    bool beheaded = status == HF_CORRUPT || status == HF_NOT_CASK || status == HF_FORMAT;

    if (beheaded)
        status = hf_log_open_damaged(s->folder, s->id, number, HF_LOG_WRITTEN, 0, &file);
    if (status == HF_NOMEM)
        return status;
    if (status < 0)
        return lost(s, "a log file cannot be read", number, 0, 0);
    if (!counts(s, file, beheaded)) {
        hf_log_drop(file);
        return 0;
    }
    if (beheaded)
        status = lost(s, "the head of a log file is damaged", number, 0, HF_CASK_DATA_AT);
    hf_log_file **files =
        status == 0 ? hf_grown(s->files, &s->files_room, s->count + 1, sizeof(hf_log_file *)) : NULL;
    if (files == NULL) {
        hf_log_drop(file);
        return status != 0 ? status : HF_NOMEM;
    }
    s->files = files;
    files[s->count++] = file;
    s->of += 2 * atomic_load(&file->end);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const hf_log_file *const *x = a, *const *y = b;

    return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

static int open_logs(salvaging *s, const char *path)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;
    int status = 0, result = hf_os_opendir(path, &dir);

    if (result < 0)
        return hf_os_file_status(result);
    while (status == 0 && (result = hf_os_readdir(dir, name)) > 0) {
        uint32_t number = hf_log_name_number(name, HF_LOG_SUFFIX);
        status = number != 0 ? open_log(s, number) : 0;
    }
    hf_os_closedir(dir);
    if (status == 0 && result < 0)
        status = hf_os_file_status(result);
    if (s->count > 0)
        qsort(s->files, s->count, sizeof(hf_log_file *), by_number);
    return status;
}

static hf_log_file *find_file(const salvaging *s, uint32_t number)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->files[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return s->files[low];
}

static int listed_are_there(salvaging *s)
{
    int status = 0;

    for (uint32_t i = 0; status == 0 && s->has_manifest && i < s->manifest.head.count; i++) {
        const struct hf_listed *listed = &s->manifest.files[i];
        bool there = false;
        for (size_t k = 0; !there && k < s->count; k++)
            there = s->files[k]->number == listed->number;
        if (!there && listed->state == HF_LISTED)
            status = lost(s, "a log file is not there", listed->number, 0, listed->size);
    }
    return status;
}

/* -- the newest of each key -- */

static bool record_at(const salvaging *s, uint64_t place, hf_record_out *out)
{
    const hf_log_file *file = find_file(s, hf_place_file(place));

    return hf_record_look(file->bytes, atomic_load(&file->end), hf_place_offset(place), file->salt, out) > 0;
}

static void insert(newest *table, uint64_t mask, const newest *entry)
{
    uint64_t i = entry->hash & mask;

    while (table[i].sequence != 0)
        i = (i + 1) & mask;
    table[i] = *entry;
}

static int grow(salvaging *s)
{
    uint64_t slots = s->table == NULL ? 1024 : 2 * (s->mask + 1);
    newest *table = hf_alloc(slots * sizeof *table);

    if (table == NULL)
        return HF_NOMEM;
    memset(table, 0, slots * sizeof *table);
    for (uint64_t i = 0; s->table != NULL && i <= s->mask; i++)
        if (s->table[i].sequence != 0)
            insert(table, slots - 1, &s->table[i]);
    hf_free(s->table);
    s->table = table;
    s->mask = slots - 1;
    return 0;
}

static bool has_key(const salvaging *s, const newest *entry, const hf_record_out *record)
{
    hf_record_out other;

    return record_at(s, entry->place, &other) && other.in.key.size == record->in.key.size &&
           memcmp(other.in.key.bytes, record->in.key.bytes, record->in.key.size) == 0;
}

static int remember(salvaging *s, uint64_t place)
{
    hf_record_out record;

    if (s->table == NULL || s->used >= (s->mask + 1) / 8 * 7) {
        int status = grow(s);
        if (status < 0)
            return status;
    }
    if (!record_at(s, place, &record))
        return 0; /* it was whole a moment ago */
    newest entry = {
        .hash = hf_canonical_hash_bytes(record.in.key.bytes, record.in.key.size, s->id[0]),
        .sequence = record.in.sequence,
        .place = place,
    };
    uint64_t i = entry.hash & s->mask;
    for (; s->table[i].sequence != 0; i = (i + 1) & s->mask)
        if (s->table[i].hash == entry.hash && has_key(s, &s->table[i], &record)) {
            if (s->table[i].sequence < entry.sequence)
                s->table[i] = entry;
            return 0;
        }
    s->table[i] = entry;
    s->used++;
    return 0;
}

static int settle(salvaging *s)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->batch_count; i++)
        status = remember(s, s->batch[i]);
    s->batch_count = 0;
    return status;
}

static int take(salvaging *s, const hf_log_file *file, const hf_record_out *record)
{
    unsigned kind = record->in.flags & HF_RECORD_KIND;
    uint64_t place = hf_cask_place(file->number, record->at, record->size, kind == HF_RECORD_DELETE);

    s->clock = record->in.time > s->clock ? record->in.time : s->clock;
    if (kind == HF_RECORD_CLOCK)
        return 0;
    if ((record->in.flags & HF_RECORD_MORE) == 0) {
        int status = settle(s);
        return status < 0 ? status : remember(s, place);
    }
    uint64_t *batch = hf_grown(s->batch, &s->batch_room, s->batch_count + 1, sizeof *batch);
    if (batch == NULL)
        return HF_NOMEM;
    s->batch = batch;
    batch[s->batch_count++] = place;
    return 0;
}

/* At the end of the log: a batch of which the end never got there. Elsewhere it was whole, and something of it is
   damaged. */
static int end_of_file(salvaging *s, const hf_log_file *file, bool last)
{
    if (s->batch_count == 0 || !last)
        return settle(s);
    uint64_t at = hf_place_offset(s->batch[0]);
    s->batch_count = 0;
    return lost(s, "a batch that was not whole", file->number, at, atomic_load(&file->end) - at);
}

static bool is_zero(const hf_log_file *file, uint64_t at, uint64_t end)
{
    while (at < end && file->bytes[at] == 0)
        at++;
    return at == end;
}

static int read_log(salvaging *s, const hf_log_file *file, bool last)
{
    uint64_t end = atomic_load(&file->end), sequence = 0;
    int status = 0;

    for (uint64_t at = HF_CASK_DATA_AT; status == 0 && at < end;) {
        hf_record_out record;
        uint64_t from = at;
        bool whole = hf_record_read(file->bytes, end, at, file->salt, &record) > 0;
        bool follows = whole && (s->batch_count == 0 || record.in.sequence == sequence + 1);
        if (!whole) {
            int found = hf_record_resync(file->bytes, end, at, file->salt, &record);
            at = found > 0 ? record.at : end;
            if (found > 0)
                status = settle(s);
            if (status == 0 && !(found <= 0 && is_zero(file, from, end)))
                status = lost(s, "bytes of a log file are damaged", file->number, from, at - from);
        } else {
            status = follows ? 0 : settle(s);
            if (status == 0)
                status = take(s, file, &record);
            sequence = record.in.sequence;
            at += record.size;
        }
        if (status == 0)
            status = progress(s, at - from);
    }
    return status != 0 ? status : end_of_file(s, file, last);
}

static int read_logs(salvaging *s)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < s->count; i++)
        status = read_log(s, s->files[i], i + 1 == s->count);
    return status;
}

/* -- the new cask -- */

static int put(hf_cask *to, const hf_record_out *record)
{
    const hf_record_in *in = &record->in;
    int64_t ttl = in->expires == INT64_MAX ? HF_CASK_FOR_EVER : in->expires - hf_cask_now(to);
    hf_cask_key key = {
        .canonical = in->key,
        .given = in->given,
        .hash = hf_canonical_hash_bytes(in->key.bytes, in->key.size, to->seed),
    };

    return ttl == 0 || ttl < HF_CASK_FOR_EVER ? 0
                                              : hf_cask_put_encoded(to, &key, hf_span_of(NULL, 0), in->value, ttl);
}

static bool is_newest(const salvaging *s, uint64_t place, const hf_record_out *record)
{
    uint64_t hash = hf_canonical_hash_bytes(record->in.key.bytes, record->in.key.size, s->id[0]);

    for (uint64_t i = hash & s->mask; s->table[i].sequence != 0; i = (i + 1) & s->mask)
        if (s->table[i].place == place)
            return true;
    return false;
}

static int put_log(salvaging *s, const hf_log_file *file, hf_cask *to)
{
    uint64_t end = atomic_load(&file->end);
    hf_record_out record;
    int status = 0;

    for (uint64_t at = HF_CASK_DATA_AT; status == 0 && at < end;) {
        uint64_t from = at;
        bool whole = hf_record_read(file->bytes, end, at, file->salt, &record) > 0 ||
                     hf_record_resync(file->bytes, end, at, file->salt, &record) > 0;
        at = whole ? record.at + record.size : end;
        if (whole && (record.in.flags & HF_RECORD_KIND) == HF_RECORD_PUT && record.in.expires > s->clock &&
            is_newest(s, hf_cask_place(file->number, record.at, record.size, false), &record))
            status = put(to, &record);
        if (status == 0)
            status = progress(s, at - from);
    }
    return status;
}

/* What was made of it, after a failure. */
static void remove_cask(const char *path)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;
    int fd;

    HF_OS_RETRY(fd, hf_os_open(path, O_RDONLY | O_DIRECTORY, 0));
    if (fd < 0)
        return;
    if (hf_os_opendir(path, &dir) == 0) {
        while (hf_os_readdir(dir, name) > 0)
            hf_os_unlinkat(fd, name, 0);
        hf_os_closedir(dir);
    }
    hf_os_close(fd);
    hf_os_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

static int write_cask(salvaging *s, const char *path)
{
    hf_cask_options options = {.mode = HF_CASK_CREATE};
    hf_cask *to;
    int status = hf_cask_open(path, &options, &to);

    if (status < 0)
        return status;
    atomic_store(&to->stamp, s->clock);
    if (atomic_load(&to->page->clock) < (uint64_t)s->clock)
        atomic_store(&to->page->clock, (uint64_t)s->clock);
    for (size_t i = 0; status == 0 && s->table != NULL && i < s->count; i++)
        status = put_log(s, s->files[i], to);
    int closed = hf_cask_close(to);
    status = status != 0 ? status : closed;
    if (status != 0)
        remove_cask(path);
    return status;
}

/* -- all of it -- */

static void set_clock(salvaging *s)
{
    struct timespec time;

    if (s->has_manifest && s->manifest.head.clock <= (uint64_t)HF_CASK_TIME_MAX)
        s->clock = (int64_t)s->manifest.head.clock;
    if (hf_os_clock_gettime(CLOCK_REALTIME, &time) < 0)
        return;
    int64_t now = (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
    s->clock = now > s->clock ? now : s->clock;
    s->clock = s->clock > HF_CASK_TIME_MAX ? HF_CASK_TIME_MAX : s->clock;
}

static int salvage(salvaging *s, const char *from, const char *to)
{
    int status = hf_manifest_read(s->folder, &s->manifest);

    if (status == HF_NOMEM)
        return status;
    s->has_manifest = status == 0;
    status = status == 0 ? 0 : lost(s, "the manifest is damaged, or is not there", 0, 0, 0);
    if (status != 0)
        return status;
    int found = find_id(s, from);
    if (found <= 0)
        return found < 0 ? found : HF_NOT_CASK;
    set_clock(s);
    status = open_logs(s, from);
    if (status == 0)
        status = listed_are_there(s);
    if (status == 0)
        status = read_logs(s);
    if (status == 0)
        status = write_cask(s, to);
    if (status == 0 && s->report != NULL)
        status = s->report(s->arg, NULL, s->of, s->of);
    return status;
}

static int is_free(const char *path)
{
    struct stat found;
    int result = hf_os_fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW);

    return result == 0 ? HF_EXISTS : result == -ENOENT ? 0 : hf_os_file_status(result);
}

int hf_cask_salvage(const char *from, const char *to, hf_cask_report report, void *arg)
{
    salvaging s = {.folder = -1, .report = report, .arg = arg};
    int status = is_free(to);

    if (status == 0)
        status = hf_cask_folder_open(from, HF_CASK_READ, &s.folder);
    if (status < 0)
        return status;
    status = hf_cask_folder_lock(s.folder);
    if (status == 0)
        status = salvage(&s, from, to);
    for (size_t i = 0; i < s.count; i++)
        hf_log_drop(s.files[i]);
    hf_free(s.files);
    hf_free(s.table);
    hf_free(s.batch);
    hf_manifest_clear(&s.manifest);
    hf_os_close(s.folder);
    return status;
}
