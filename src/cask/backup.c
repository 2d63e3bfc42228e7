/*
 * backup.c: a copy of a cask in another folder, as of one moment.
 *
 *      FOLDER                                    PATH.new-1f00c2b5, which becomes PATH when all is durable
 *        0000000003.log, .hint   sealed   ------ hard link; a copy where there can be none
 *        0000000004.log          being written - copy of its records up to that moment
 *        MANIFEST                                one of its own, which lists all these as sealed
 *        keydir, page                            none: the keydir is made from the hints when the copy is opened
 *
 * The moment is a position in the log: that up to which it is durable when the writer is asked, or up to which a
 * reader's index reaches. A position never parts a batch. Victims of a merge are left out: all that counts in them
 * is in its output, which the manifest lists; but a reader, whose index may not have the output yet, takes the
 * victims that its version of the keydir needs.
 *
 * Invariants
 *  B1  PATH is not there, or is a whole cask, durable with all its files and their names.
 *  B2  A hard link is of a file that never changes (F2): both casks may be written to afterwards. What the copy's
 *      manifest lists is sealed, so who opens it to write begins a file of its own; and nothing is cut or written
 *      in a sealed one.
 *  B3  What is linked has been flushed: it is flushed here once more by its descriptor, where this process is not
 *      the one that wrote it.
 *
 * Of a process that reads: it has the version pinned that its index is for, so a merge removes no file that this
 * needs; what it meets of a file that goes meanwhile is a victim, which it does not need. Where it has no right to
 * link a file (EPERM: a file of somebody else), it is copied.
 *
 * A crash leaves at most a folder PATH.new-..., which nobody takes for a cask's copy.
 *
 * Concurrency: writers go on; merges wait for the end of it. Failure: what was made is removed. HF_EXISTS; HF_BUSY:
 * hf_cask_merge is at it; HF_BROKEN, HF_NOSPACE, HF_DENIED, HF_READ_ONLY, HF_ABSENT: where PATH is to be.
 */
#include "cask/cask.h"

#include <stdio.h>
#include <sys/file.h>

enum { PART = 1 << 20 };

typedef struct backing {
    hf_cask *cask;
    hf_index *index; /* of the moment; counted */
    uint64_t end;    /* the moment */
    uint64_t known;  /* victims of this generation, and before, are not needed */
    hf_manifest from, manifest;
    char *name; /* of the new folder, until it gets its own */
    int folder;
    bool made;
} backing;

/* -- folders -- */

static int name_new(backing *b, const char *path)
{
    uint32_t random;
    size_t size = strlen(path) + 16;
    int result = hf_os_getrandom_all(&random, sizeof random);

    if (result < 0)
        return hf_os_status(result);
    b->name = hf_alloc(size);
    if (b->name == NULL)
        return HF_NOMEM;
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    snprintf(b->name, size, "%.*s.new-%08x", (int)end, path, random);
    return 0;
}

static int is_free(const char *path)
{
    struct stat found;
    int result = hf_os_fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW);

    if (result == 0)
        return HF_EXISTS;
    return result == -ENOENT ? 0 : hf_os_file_status(result);
}

static int make_folder(backing *b)
{
    int result = hf_os_mkdir(b->name, 0700);

    if (result < 0)
        return hf_os_file_status(result);
    b->made = true;
    HF_OS_RETRY(b->folder, hf_os_open(b->name, O_RDONLY | O_DIRECTORY, 0));
    return b->folder < 0 ? hf_os_file_status(b->folder) : 0;
}

/* What a failure leaves, as far as it can be removed. */
static void remove_folder(backing *b)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;

    if (b->folder >= 0 && hf_os_opendir(b->name, &dir) == 0) {
        while (hf_os_readdir(dir, name) > 0)
            hf_os_unlinkat(b->folder, name, 0);
        hf_os_closedir(dir);
    }
    hf_os_unlinkat(AT_FDCWD, b->name, AT_REMOVEDIR);
}

/* The folder that PATH is in. */
static int sync_parent(const char *path)
{
    size_t size = strlen(path);
    int fd, result;

    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    char *parent = hf_alloc(size + 2);
    if (parent == NULL)
        return HF_NOMEM;
    memcpy(parent, size > 0 ? path : ".", size > 0 ? size : 1);
    parent[size > 0 ? size : 1] = '\0';
    HF_OS_RETRY(fd, hf_os_open(parent, O_RDONLY | O_DIRECTORY, 0));
    hf_free(parent);
    if (fd < 0)
        return hf_os_file_status(fd);
    result = hf_os_fsync(fd);
    hf_os_close(fd);
    return result < 0 ? hf_os_file_status(result) : 0;
}

/* Where the file system has no way to leave alone what is there already, it was looked for before. */
static int put_in_place(const backing *b, const char *path)
{
    enum { NOREPLACE = 1 };
    int result = hf_os_renameat2(AT_FDCWD, b->name, AT_FDCWD, path, NOREPLACE);

    if (result == -EINVAL || result == -ENOSYS) {
        int status = is_free(path);
        if (status < 0)
            return status;
        result = hf_os_renameat2(AT_FDCWD, b->name, AT_FDCWD, path, 0);
    }
    return result < 0 ? hf_os_file_status(result == -ENOTEMPTY ? -EEXIST : result) : 0;
}

/* -- files -- */

static int copy_bytes(const backing *b, const char *name, const unsigned char *bytes, uint64_t size)
{
    uint64_t limit;
    int fd, result = hf_os_size_limit(&limit);

    if (result == 0 && size > limit)
        result = -EFBIG;
    if (result < 0)
        return hf_os_file_status(result);
    HF_OS_RETRY(fd, hf_os_openat(b->folder, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    for (uint64_t at = 0; result == 0 && at < size; at += PART)
        result = hf_os_pwrite_all(fd, bytes + at, size - at < PART ? size - at : PART, (off_t)at);
    if (result == 0)
        result = hf_os_fdatasync(fd);
    int closed = hf_os_close(fd);
    result = result < 0 ? result : closed;
    return result < 0 ? hf_os_file_status(result) : 0;
}

static bool can_be_copied(int result)
{
    return result == -EXDEV || result == -EPERM || result == -EMLINK || result == -EOPNOTSUPP || result == -EACCES;
}

/* Flushes what another process has written. */
static int flush_linked(const backing *b, const char *name)
{
    int fd, result;

    if (b->cask->writable)
        return 0;
    HF_OS_RETRY(fd, hf_os_openat(b->folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return hf_os_file_status(fd);
    result = hf_os_fdatasync(fd);
    hf_os_close(fd);
    return result < 0 ? hf_os_file_status(result) : 0;
}

static int link_log(const backing *b, const hf_log_file *file, uint64_t size)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_name(file->number, HF_LOG_SUFFIX, name);
    int result = hf_os_linkat(b->cask->folder, name, b->folder, name, 0);
    if (result == 0)
        return flush_linked(b, name);
    return can_be_copied(result) ? copy_bytes(b, name, file->bytes, size) : hf_os_file_status(result);
}

/* A hint that cannot be had is none. */
static int link_hint(const backing *b, uint32_t number)
{
    char name[HF_LOG_NAME_SIZE];

    hf_log_name(number, HF_HINT_SUFFIX, name);
    int result = hf_os_linkat(b->cask->folder, name, b->folder, name, 0);
    return result == 0 ? flush_linked(b, name) : 0;
}

static int list(backing *b, const hf_log_file *file, uint64_t size)
{
    const struct hf_listed *known = hf_manifest_find(&b->from, file->number);
    struct hf_listed listed = {.number = file->number, .state = HF_LISTED, .size = size};

    /* The first above the last: it is not known. */
    listed.first = known != NULL ? known->first : 1;
    listed.last = known != NULL ? known->last : 0;
    return hf_manifest_add(&b->manifest, &listed);
}

static int take_file(backing *b, const hf_log_file *file)
{
    const struct hf_listed *listed = hf_manifest_find(&b->from, file->number);
    uint32_t last = hf_place_file(b->end);
    bool written = file->kind == HF_LOG_WRITTEN;
    uint64_t size = written && file->number == last ? hf_place_offset(b->end) : atomic_load(&file->end);
    char name[HF_LOG_NAME_SIZE];

    if ((listed != NULL && listed->state == HF_LISTED_VICTIM && listed->generation <= b->known) ||
        (listed == NULL && !written) || (listed == NULL && file->number < b->from.head.next) ||
        (written && file->number > last) || size <= HF_CASK_DATA_AT)
        return 0;
    int status;
    if (written && file->number == last && listed == NULL) {
        hf_log_name(file->number, HF_LOG_SUFFIX, name);
        status = copy_bytes(b, name, file->bytes, size);
    } else {
        status = link_log(b, file, size);
        if (status == 0)
            status = link_hint(b, file->number);
    }
    return status == 0 ? list(b, file, size) : status;
}

static int take_files(backing *b)
{
    const hf_log_set *logs = b->index->logs;
    int status = 0;

    for (uint32_t i = 0; status == 0 && i <= logs->mask; i++)
        if (logs->slot[i] != NULL)
            status = take_file(b, logs->slot[i]);
    return status;
}

/* Every file that the manifest says counts is to be there. (A reader's index may be older than the manifest.) */
static int all_are_there(const backing *b)
{
    for (uint32_t i = 0; b->cask->writable && i < b->from.head.count; i++)
        if (b->from.files[i].state == HF_LISTED && b->from.files[i].size > HF_CASK_DATA_AT &&
            hf_manifest_find(&b->manifest, b->from.files[i].number) == NULL)
            return HF_CORRUPT;
    return 0;
}

static int write_manifest(backing *b)
{
    struct hf_cask_manifest *head = &b->manifest.head;
    hf_cask *cask = b->cask;
    uint64_t sequence = atomic_load(&cask->page->sequence), clock = (uint64_t)hf_cask_now(cask);
    uint32_t count = head->count;

    *head = b->from.head;
    head->count = count;
    head->next = hf_place_file(b->end) + 1;
    for (uint32_t i = 0; i < count; i++)
        if (b->manifest.files[i].number >= head->next)
            head->next = b->manifest.files[i].number + 1;
    head->sequence = sequence > head->sequence ? sequence : head->sequence;
    head->clock = clock > head->clock ? clock : head->clock;
    return hf_manifest_replace(b->folder, &b->manifest, NULL);
}

/* -- the moment -- */

/* In the writer's process: all that was put is durable, and that is the moment. */
static int now_durable(backing *b)
{
    hf_cask *cask = b->cask;

    pthread_mutex_lock(&cask->mutex);
    b->end = cask->appended;
    int status = hf_sync_upto(cask, b->end);
    b->known = UINT64_MAX;
    b->index = hf_index_now(cask);
    hf_index_keep(b->index);
    if (status == 0)
        status = hf_manifest_copy(&cask->manifest, &b->from);
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

/* Of a reader, with its version pinned. Where nobody writes, what it has found there is all. */
static int now_read(backing *b, const hf_cask_snapshot *snapshot)
{
    b->index = snapshot->index;
    hf_index_keep(b->index);
    b->end = atomic_load(&b->index->end);
    if (b->end == 0)
        b->end = b->cask->appended;
    struct hf_keydir_meta meta;
    int status = hf_keydir_meta_get(hf_snapshot_view(snapshot->pinned), &meta);
    if (status < 0)
        return status;
    b->known = status > 0 ? meta.generation : 0;
    return hf_manifest_read(b->cask->folder, &b->from);
}

static int make(backing *b, const char *path)
{
    int status = name_new(b, path);

    if (status == 0)
        status = make_folder(b);
    if (status == 0)
        status = take_files(b);
    if (status == 0)
        status = all_are_there(b);
    if (status == 0)
        status = write_manifest(b);
    if (status == 0)
        status = put_in_place(b, path);
    if (status < 0 && b->made)
        remove_folder(b);
    return status == 0 ? sync_parent(path) : status;
}

static void clear(backing *b)
{
    if (b->folder >= 0)
        hf_os_close(b->folder);
    hf_index_drop(b->index);
    hf_manifest_clear(&b->from);
    hf_manifest_clear(&b->manifest);
    hf_free(b->name);
}

int hf_cask_backup(hf_cask *cask, const char *path)
{
    backing b = {.cask = cask, .folder = -1};
    hf_cask_snapshot *snapshot = NULL;
    int status = atomic_load_explicit(&cask->lost, memory_order_relaxed) ? HF_LOST : is_free(path);

    if (status < 0)
        return status;
    status = cask->writable ? hf_merge_hold(cask) : hf_cask_snapshot_begin(cask, &snapshot);
    if (status < 0)
        return status;
    status = cask->writable ? now_durable(&b) : now_read(&b, snapshot);
    if (status == 0)
        status = make(&b, path);
    clear(&b);
    if (cask->writable)
        hf_merge_release(cask);
    else
        hf_cask_snapshot_end(snapshot);
    return status;
}
