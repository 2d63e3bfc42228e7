/*
 * open.c: opening, closing, and what a fork means.
 *
 *      folder -> lock -> MANIFEST (made where there is nothing) -> page -> recover.c -> thread
 *
 * A folder is a cask if it has a MANIFEST. One that has anything else, and no MANIFEST, is somebody else's.
 *
 * Forks. The child has copies of everything and must touch nothing: its casks are lost, and its descriptors of the
 * folder are closed, since the lock would live on in them. The mutexes of all casks are held over the fork, so what
 * the child frees is in order.
 *
 * Concurrency: opening and closing of one cask is one thread's; the registry has a lock. Failure: what was opened is
 * closed again; a close goes on, and says what failed first.
 */
#include "cask/cask.h"

enum { ROOM = 64 << 10 };

/* -- the registry -- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static hf_cask *registry;

static void before_fork(void)
{
    pthread_mutex_lock(&registry_lock);
    for (hf_cask *cask = registry; cask != NULL; cask = cask->next)
        pthread_mutex_lock(&cask->mutex);
}

static void in_parent(void)
{
    for (hf_cask *cask = registry; cask != NULL; cask = cask->next)
        pthread_mutex_unlock(&cask->mutex);
    pthread_mutex_unlock(&registry_lock);
}

static void in_child(void)
{
    for (hf_cask *cask = registry; cask != NULL; cask = cask->next) {
        atomic_store(&cask->lost, true);
        cask->has_thread = false;
        hf_os_close(cask->folder);
        cask->folder = -1;
        pthread_mutex_unlock(&cask->mutex);
    }
    pthread_mutex_unlock(&registry_lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* After a region was opened: handlers of forks that were registered last go first, as locks are taken. */
static void enroll(hf_cask *cask)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&registry_lock);
    cask->next = registry;
    cask->previous = NULL;
    if (registry != NULL)
        registry->previous = cask;
    registry = cask;
    pthread_mutex_unlock(&registry_lock);
}

static void dismiss(hf_cask *cask)
{
    pthread_mutex_lock(&registry_lock);
    if (cask->previous != NULL)
        cask->previous->next = cask->next;
    else
        registry = cask->next;
    if (cask->next != NULL)
        cask->next->previous = cask->previous;
    pthread_mutex_unlock(&registry_lock);
}

/* -- options -- */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static int options_of(const hf_cask_options *options, hf_cask_options *out)
{
    enum { SECOND = 1000 * 1000 * 1000 };
    hf_cask_options how = options != NULL ? *options : (hf_cask_options){0};

    how.max_file_size = or_default(how.max_file_size, UINT64_C(64) << 20);
    if ((unsigned)how.mode > HF_CASK_READ || (unsigned)how.sync > HF_CASK_SYNC_INTERVAL || how.interval < 0 ||
        how.max_file_size < 4096 || how.max_file_size > UINT64_C(8) << 30 || how.ttl < HF_CASK_FOR_EVER ||
        (how.keydir_in_memory && how.mode == HF_CASK_READ))
        return HF_INVALID;
    if (how.max_file_size > HF_CASK_FILE_MAX)
        how.max_file_size = HF_CASK_FILE_MAX;
    if (how.interval == 0)
        how.interval = SECOND;
    if (how.ttl == HF_CASK_FOR_EVER)
        how.ttl = 0;
    hf_cask_merging *merging = &how.merging;
    merging->fragmentation_trigger = or_default(merging->fragmentation_trigger, 60);
    merging->dead_bytes_trigger = or_default(merging->dead_bytes_trigger, how.max_file_size / 2);
    merging->fragmentation_threshold = or_default(merging->fragmentation_threshold, 40);
    merging->dead_bytes_threshold = or_default(merging->dead_bytes_threshold, how.max_file_size / 4);
    merging->small_file_threshold = or_default(merging->small_file_threshold, how.max_file_size / 8);
    *out = how;
    return 0;
}

/* -- the handle -- */

static int init_locks(hf_cask *cask)
{
    pthread_condattr_t monotonic;

    int result = pthread_mutex_init(&cask->mutex, NULL);
    if (result == 0)
        result = pthread_mutex_init(&cask->counting, NULL);
    if (result == 0)
        result = pthread_cond_init(&cask->changed, NULL);
    if (result == 0)
        result = pthread_condattr_init(&monotonic);
    if (result != 0)
        return hf_os_status(-result);
    result = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (result == 0)
        result = pthread_cond_init(&cask->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return result != 0 ? hf_os_status(-result) : 0;
}

static void free_segments(hf_segment *segment)
{
    while (segment != NULL) {
        hf_segment *next = segment->next;
        hf_log_writer_close(&segment->writer);
        hf_free(segment);
        segment = next;
    }
}

/* All that a cask has, the region first; nothing is written but what the region has to write. */
static int let_go(hf_cask *cask)
{
    int status = 0;

    hf_follow_close(cask);
    hf_merge_end(cask);
    free_segments(cask->active);
    free_segments(cask->sealed);
    hf_index_drop(atomic_exchange(&cask->index, NULL));
    while (cask->replaced != NULL) {
        hf_index *index = cask->replaced;
        cask->replaced = index->next;
        hf_index_drop(index);
    }
    if (cask->keydir != NULL)
        status = hf_region_close(cask->keydir);
    hf_cask_page_close(cask);
    if (cask->folder >= 0)
        hf_os_close(cask->folder);
    hf_manifest_clear(&cask->manifest);
    hf_notes_clear(&cask->notes);
    hf_notes_clear(&cask->frozen_notes);
    /* In a forked child they may have waiters, or an owner, that are not there; to destroy a condition waits for those. */
    if (!atomic_load(&cask->lost)) {
        pthread_mutex_destroy(&cask->mutex);
        pthread_mutex_destroy(&cask->counting);
        pthread_cond_destroy(&cask->changed);
        pthread_cond_destroy(&cask->work);
    }
    hf_free(cask->room);
    hf_free(cask->path);
    hf_free(cask);
    return status;
}

static int handle_new(const char *path, const hf_cask_options *options, hf_cask **out)
{
    hf_cask_options how;
    int status = options_of(options, &how);

    if (status < 0)
        return status;
    hf_cask *cask = hf_alloc(sizeof *cask);
    if (cask == NULL)
        return HF_NOMEM;
    memset(cask, 0, sizeof *cask);
    cask->folder = -1;
    cask->how = how;
    cask->writable = how.mode != HF_CASK_READ;
    cask->sealed_end = &cask->sealed;
    cask->replaced_end = &cask->replaced;
    status = init_locks(cask);
    cask->path = hf_alloc(strlen(path) + 1);
    cask->room = hf_alloc(ROOM);
    if (status == 0 && (cask->path == NULL || cask->room == NULL))
        status = HF_NOMEM;
    if (status < 0) {
        let_go(cask);
        return status;
    }
    memcpy(cask->path, path, strlen(path) + 1);
    *out = cask;
    return 0;
}

/* -- a new cask -- */

/* Is there nothing in the folder but what an interrupted beginning has left? 1, 0. */
static int is_vacant(const char *path)
{
    char name[HF_OS_NAME_SIZE];
    struct hf_os_dir *dir;
    int result = hf_os_opendir(path, &dir), vacant = 1;

    if (result < 0)
        return hf_os_file_status(result);
    while (vacant > 0 && (result = hf_os_readdir(dir, name)) > 0)
        vacant = strcmp(name, HF_MANIFEST_NEW) == 0 || strcmp(name, "page") == 0 || strcmp(name, "page.new") == 0;
    hf_os_closedir(dir);
    return result < 0 ? hf_os_file_status(result) : vacant;
}

static int make_manifest(hf_cask *cask)
{
    struct hf_cask_manifest *head = &cask->manifest.head;
    uint64_t random[3];
    int result = hf_os_getrandom_all(random, sizeof random);

    if (result < 0)
        return hf_os_status(result);
    *head = (struct hf_cask_manifest){.id = {random[0], random[1]}, .seed = random[2], .next = 1};
    return hf_manifest_replace(cask->folder, &cask->manifest, &cask->written);
}

static int open_manifest(hf_cask *cask)
{
    int status = hf_manifest_read(cask->folder, &cask->manifest);

    if (status == HF_ABSENT) {
        int vacant = is_vacant(cask->path);
        if (vacant <= 0)
            return vacant < 0 ? vacant : HF_NOT_CASK;
        if (!cask->writable)
            return HF_ABSENT;
        /* Whoever made the folder may not have come so far. */
        status = hf_cask_parent_sync(cask->path);
        if (status == 0)
            status = make_manifest(cask);
    } else if (status == 0 && cask->how.mode == HF_CASK_CREATE) {
        status = HF_EXISTS;
    }
    if (status < 0)
        return status;
    cask->id[0] = cask->manifest.head.id[0];
    cask->id[1] = cask->manifest.head.id[1];
    cask->seed = cask->manifest.head.seed;
    return 0;
}

/* -- opening -- */

static int own_page(hf_cask *cask)
{
    cask->own_page = hf_alloc(sizeof *cask->own_page);
    if (cask->own_page == NULL)
        return HF_NOMEM;
    memset(cask->own_page, 0, sizeof *cask->own_page);
    cask->page = cask->own_page;
    cask->page_writable = true;
    return 0;
}

/* Where nobody else may look the page is another one that nobody believes: it keeps the clock, should this process die. */
static int open_page(hf_cask *cask, bool *credible)
{
    int status = hf_cask_page_open(cask, credible);

    if (status < 0 || !cask->how.keydir_in_memory)
        return status;
    *credible = false;
    return hf_cask_page_hide(cask);
}

static int open_to_write(hf_cask *cask)
{
    bool credible = false;
    int status = open_page(cask, &credible);

    /* The manifest may be that of a process which died before it was durable: nothing is made before it is. */
    if (status == 0 && !credible)
        status = hf_cask_folder_sync(cask);
    if (status == 0)
        status = hf_recover(cask, credible);
    if (status == 0 && cask->unordered && !cask->how.keydir_in_memory)
        status = hf_checkpoint(cask);
    if (status == 0) {
        hf_cask_page_begin(cask);
        status = hf_merge_begin(cask);
    }
    if (status == 0) {
        enroll(cask);
        status = hf_thread_start(cask);
        if (status < 0)
            dismiss(cask);
    }
    return status;
}

static int open_to_read(hf_cask *cask)
{
    int status = own_page(cask);

    if (status == 0)
        status = hf_follow_open(cask);
    if (status == 0)
        enroll(cask);
    return status;
}

int hf_cask_open(const char *path, const hf_cask_options *options, hf_cask **out)
{
    hf_cask *cask = NULL;
    int status = handle_new(path, options, &cask);

    if (status < 0)
        return status;
    status = hf_cask_folder_open(path, cask->how.mode, &cask->folder);
    if (status == 0 && cask->writable)
        status = hf_cask_folder_lock(cask->folder);
    if (status == 0)
        status = open_manifest(cask);
    if (status == 0)
        status = cask->writable ? open_to_write(cask) : open_to_read(cask);
    if (status < 0) {
        let_go(cask);
        return status;
    }
    *out = cask;
    return 0;
}

/* -- closing -- */

static int first_of(int status, int next)
{
    return status < 0 ? status : next < 0 ? next : 0;
}

/* What is sealed, for the manifest: 1: there was something that it does not have. */
static int add_sealed(const hf_cask *cask, hf_manifest *manifest)
{
    const hf_log_set *logs = hf_index_now((hf_cask *)(uintptr_t)cask)->logs;
    uint32_t active = cask->active == NULL ? 0 : cask->active->writer.file->number;
    int added = 0;

    for (size_t i = 0; i < cask->notes.count; i++) {
        const hf_note *note = &cask->notes.note[i];
        const hf_log_file *file = hf_log_set_find(logs, note->number);
        if (file == NULL || file->kind != HF_LOG_WRITTEN || note->number == active || note->gone ||
            hf_manifest_find(manifest, note->number) != NULL)
            continue;
        struct hf_listed listed = {
            .number = note->number,
            .state = HF_LISTED,
            .size = atomic_load(&file->end),
            .first = note->now.first,
            .last = note->now.last,
            .generation = manifest->head.generation + 1,
        };
        int status = hf_manifest_add(manifest, &listed);
        if (status < 0)
            return status;
        added = 1;
    }
    return added;
}

/* The manifest says how long the files are that were sealed since it was written: then what is wrong in one is
 * damage, whatever else was lost. Nobody else is in the cask any more. */
static int list_sealed(hf_cask *cask)
{
    hf_manifest manifest;
    uint64_t bytes = 0;
    int status = hf_manifest_copy(&cask->manifest, &manifest);

    if (status == 0)
        status = add_sealed(cask, &manifest);
    if (status > 0) {
        manifest.head.sequence = manifest.head.sequence > cask->sequence ? manifest.head.sequence : cask->sequence;
        status = hf_manifest_replace(cask->folder, &manifest, &bytes);
        if (status == 0) {
            hf_manifest_clear(&cask->manifest);
            cask->manifest = manifest;
            cask->written += bytes;
            atomic_store(&cask->page->generation, manifest.head.generation);
            return 0;
        }
    }
    hf_manifest_clear(&manifest);
    return status;
}

/* All that there is to be done before nobody writes any more. */
static int finish(hf_cask *cask)
{
    int sealed = 0, status = cask->broken != 0 ? HF_BROKEN : hf_write_clock(cask);

    if (status < 0)
        return status;
    pthread_mutex_lock(&cask->mutex);
    if (cask->active != NULL)
        status = hf_log_cut(&cask->active->writer);
    status = first_of(status, hf_sync_upto(cask, cask->appended));
    pthread_mutex_unlock(&cask->mutex);
    while (status == 0 && (sealed = hf_sync_seal(cask)) > 0)
        ;
    status = first_of(status, sealed);
    if (status == 0 && !cask->how.keydir_in_memory)
        status = hf_checkpoint(cask);
    if (status == 0 && cask->folder_dirty)
        status = hf_cask_folder_sync(cask);
    return status < 0 ? status : list_sealed(cask);
}

int hf_cask_close(hf_cask *cask)
{
    int status = 0;

    if (cask == NULL)
        return 0;
    if (atomic_load(&cask->snapshots) > 0 || atomic_load(&cask->batches) > 0)
        return HF_BUSY;
    dismiss(cask);
    if (!atomic_load(&cask->lost) && cask->writable) {
        hf_thread_stop(cask);
        hf_merge_stop(cask);
        status = finish(cask);
        hf_merge_stop(cask);
    }
    return first_of(status, let_go(cask));
}

const char *hf_cask_path(const hf_cask *cask)
{
    return cask->path;
}
