/*
 * copy.c: all versions of a region, written anew: online backup, and compaction.
 *
 *      kept "a" (txid 10)   kept "b" (txid 40)   newest
 *           |                    |                  |
 *           v                    v                  v
 *        all of it   ---->  what is other  ---->  what is other       each in transactions of a few MiB, then `keep`
 *
 * So kept versions share in the copy what they share here, and nothing is in the copy that no version has: no free pieces,
 * no pages that are half full. The source is read by way of snapshots: writers go on, and the copy is of one moment.
 *
 * A backup is written under another name, closed, and gets its name last. To compact a file is to put its backup in its
 * place, while nobody has it open.
 *
 * Concurrency: as for snapshots; the target is the caller's alone. Failure: what was begun is removed again.
 */
#include "region/file.h"
#include "region/place.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH_BYTES = 4 << 20 };

/* The versions of the source, oldest first; the newest has no name. */
struct versions {
    struct {
        char name[HF_REGION_NAME_SIZE];
        uint64_t txid;
        hf_snapshot *snapshot;
    } version[HF_REGION_KEPT_MAX + 1];
    size_t count;
};

struct copy {
    hf_region *to;
    hf_txn *txn;
    uint64_t bytes; /* put since it began */
};

static int by_txid(const void *a, const void *b)
{
    const struct hf_kept *left = a, *right = b;

    return (left->txid > right->txid) - (left->txid < right->txid);
}

static void end_versions(struct versions *versions)
{
    for (size_t i = 0; i < versions->count; i++)
        hf_snapshot_end(versions->version[i].snapshot);
}

/* Pins them all. One that is forgotten meanwhile is not there. */
static int begin_versions(hf_region *from, struct versions *out)
{
    struct hf_kept kept[HF_REGION_KEPT_MAX];
    const struct hf_kept_table *table = NULL;
    hf_snapshot *newest;
    size_t count = 0;
    int status = hf_snapshot_begin(from, &newest);

    out->count = 0;
    if (status < 0)
        return status;
    status = hf_kept_table_at(from, &hf_snapshot_view(newest)->version, &table);
    if (status == 0 && table != NULL) {
        count = table->count;
        memcpy(kept, table->kept, count * sizeof *kept);
        qsort(kept, count, sizeof *kept, by_txid);
    }
    for (size_t i = 0; status == 0 && i < count; i++) {
        hf_snapshot *snapshot;
        status = hf_snapshot_begin_kept(from, kept[i].name, &snapshot);
        if (status == 0) {
            memcpy(out->version[out->count].name, kept[i].name, sizeof kept[i].name);
            out->version[out->count].txid = kept[i].txid;
            out->version[out->count++].snapshot = snapshot;
        }
        status = status == HF_ABSENT ? 0 : status;
    }
    out->version[out->count].name[0] = '\0';
    out->version[out->count++].snapshot = newest;
    if (status < 0)
        end_versions(out);
    return status;
}

/* Commits what has come together, if it is enough. */
static int next_batch(struct copy *copy, uint64_t bytes)
{
    copy->bytes += bytes;
    if (copy->bytes < BATCH_BYTES)
        return 0;
    copy->bytes = 0;
    int status = hf_txn_commit(copy->txn);
    if (status < 0) {
        hf_txn_abort(copy->txn);
        copy->txn = NULL;
        return status;
    }
    status = hf_txn_begin(copy->to, -1, &copy->txn);
    if (status < 0)
        copy->txn = NULL;
    return status;
}

/* Puts what a version has and the one before has not, or has otherwise. */
static int put_all(struct copy *copy, const hf_view *view, const hf_view *before, unsigned tree)
{
    hf_region_cursor cursor;
    hf_key key;
    hf_span value, was;
    int status = hf_region_cursor_begin(&cursor, view, tree), more = 0;

    while (status == 0 && (more = hf_region_cursor_next(&cursor, &key, &value)) > 0) {
        int found = before == NULL ? 0 : hf_view_get(before, tree, &key, &was);
        if (found > 0 && was.size == value.size && (was.size == 0 || memcmp(was.bytes, value.bytes, was.size) == 0))
            continue;
        status = found < 0 ? found : hf_txn_put(copy->txn, tree, &key, value.bytes, value.size);
        if (status >= 0)
            status = next_batch(copy, key.size + value.size + 64);
    }
    return status < 0 ? status : more;
}

static int remove_all(struct copy *copy, const hf_view *view, const hf_view *before, unsigned tree)
{
    hf_region_cursor cursor;
    hf_key key;
    int status = hf_region_cursor_begin(&cursor, before, tree), more = 0;

    while (status == 0 && (more = hf_region_cursor_next(&cursor, &key, NULL)) > 0) {
        int found = hf_view_get(view, tree, &key, NULL);
        if (found == 0)
            found = hf_txn_remove(copy->txn, tree, &key);
        status = found < 0 ? found : next_batch(copy, 64);
    }
    return status < 0 ? status : more;
}

/* The same of entries that are places. An entry is what it says: one of the same hash and another place is another one. */
static int is_place(void *arg, uint64_t place)
{
    return place == *(const uint64_t *)arg;
}

static int set_all(struct copy *copy, const hf_view *view, const hf_view *before, unsigned tree)
{
    hf_region_cursor cursor;
    hf_place_entry entry;
    uint64_t was;
    int status = hf_region_cursor_begin(&cursor, view, tree), more = 0;

    while (status == 0 && (more = hf_region_cursor_next_place(&cursor, &entry)) > 0) {
        int found = before == NULL ? 0 : hf_view_find_place(before, tree, entry.hash, is_place, &entry.place, &was);
        if (found > 0)
            continue;
        if (found == 0)
            found = hf_txn_set_place(copy->txn, tree, entry.hash, entry.place, is_place, &entry.place, NULL);
        status = found < 0 ? found : next_batch(copy, 2 * sizeof entry);
    }
    return status < 0 ? status : more;
}

static int unset_all(struct copy *copy, const hf_view *view, const hf_view *before, unsigned tree)
{
    hf_region_cursor cursor;
    hf_place_entry entry;
    uint64_t place;
    int status = hf_region_cursor_begin(&cursor, before, tree), more = 0;

    while (status == 0 && (more = hf_region_cursor_next_place(&cursor, &entry)) > 0) {
        int found = hf_view_find_place(view, tree, entry.hash, is_place, &entry.place, &place);
        if (found == 0)
            found = hf_txn_unset_place(copy->txn, tree, entry.hash, is_place, &entry.place, NULL);
        status = found < 0 ? found : next_batch(copy, 2 * sizeof entry);
    }
    return status < 0 ? status : more;
}

static int copy_version(struct copy *copy, const hf_view *view, const hf_view *before, const char *name)
{
    int status = hf_txn_begin(copy->to, -1, &copy->txn);

    if (status < 0)
        return status;
    for (unsigned tree = 0; status == 0 && tree < HF_REGION_TREES; tree++) {
        bool places = hf_has_places(view->region, tree);
        status = (places ? set_all : put_all)(copy, view, before, tree);
        if (status == 0 && before != NULL)
            status = (places ? unset_all : remove_all)(copy, view, before, tree);
    }
    if (status == 0 && name[0] != '\0')
        status = hf_txn_keep(copy->txn, name);
    if (status == 0)
        status = hf_txn_commit(copy->txn);
    if (status < 0 && copy->txn != NULL)
        hf_txn_abort(copy->txn);
    return status;
}

int hf_region_copy(hf_region *from, hf_region *to)
{
    struct versions versions;
    struct copy copy = {.to = to};
    hf_view view;
    bool alike = hf_region_seed(from) == hf_region_seed(to) && from->place_trees == to->place_trees;
    int status = alike ? hf_view_pin(to, &view) : HF_INVALID;

    if (status < 0)
        return status;
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++)
        status = hf_view_count(&view, tree) != 0 ? HF_EXISTS : status;
    hf_view_unpin(&view);
    if (status == 0)
        status = begin_versions(from, &versions);
    if (status < 0)
        return status;
    for (size_t i = 0; status == 0 && i < versions.count; i++)
        status = copy_version(&copy, hf_snapshot_view(versions.version[i].snapshot),
                              i == 0 ? NULL : hf_snapshot_view(versions.version[i - 1].snapshot),
                              versions.version[i].name);
    end_versions(&versions);
    return status;
}

/* -- files -- */

/* The name of a lock file beside it goes; that there is none is no failure. */
static int remove_lock(const char *path)
{
    size_t size = strlen(path) + sizeof "-lock";
    char *lock = hf_alloc(size);

    if (lock == NULL)
        return HF_NOMEM;
    snprintf(lock, size, "%s-lock", path);
    int result = hf_os_unlink(lock);
    hf_free(lock);
    return result < 0 && result != -ENOENT ? hf_region_status(result) : 0;
}

/* Writes a copy under another name than `path`: whole, durable and closed, or not there. */
static int write_copy(hf_region *from, const char *path, struct hf_making *making)
{
    const hf_region_options options = {
        .mode = HF_REGION_ATTACH, .timeout = -1, .level = HF_REGION_OFF, .reserve = from->reserved};
    uint64_t seed = hf_region_seed(from);
    hf_region *to;
    int status = hf_making_begin(path, &seed, from->place_trees, making);

    if (status < 0)
        return status;
    status = hf_region_open_file(making->name, &options, &to);
    if (status == 0) {
        status = hf_region_copy(from, to);
        int closed = hf_region_close(to);
        status = status < 0 ? status : closed;
    }
    int removed = remove_lock(making->name);
    status = status < 0 ? status : removed;
    if (status < 0)
        hf_making_end(making, false);
    return status;
}

int hf_region_backup(hf_region *region, const char *path)
{
    struct hf_making making;
    int status = write_copy(region, path, &making);

    if (status < 0)
        return status;
    status = hf_file_name(making.name, path);
    hf_making_end(&making, status == 0);
    return status;
}

/* Writes the copy beside the file itself, and gives it that one's name. */
static int replace_named(hf_region *region, const char *path)
{
    struct hf_making making;
    int status = write_copy(region, path, &making);

    if (status < 0)
        return status;
    int result = hf_os_rename(making.name, path);
    hf_making_end(&making, result == 0);
    return result < 0 ? hf_region_status(result) : hf_file_flush_folder(path);
}

/* With the file open, and nobody else there. Where the path is a symbolic link, what it leads to is replaced, not the link:
 * whoever opens the file by its own name must find the new one. Of several names only one could be given to the new one. */
static int replace(hf_region *region, const char *path)
{
    char own[sizeof "/proc/self/fd/" + 12 + HF_OS_NAME_SIZE];
    struct hf_place place;
    struct stat found;
    int result = hf_os_fstat(region->fd, &found);

    if (result < 0)
        return hf_region_status(result);
    if (found.st_nlink != 1)
        return HF_DENIED;
    int status = hf_place_find(path, &found, "", &place);
    if (status < 0)
        return status;
    snprintf(own, sizeof own, "/proc/self/fd/%d/%s", place.dir, place.name);
    status = replace_named(region, own);
    hf_os_close(place.dir);
    return status;
}

int hf_region_compact(const char *path, int64_t timeout)
{
    const hf_region_options options = {.mode = HF_REGION_ATTACH, .timeout = timeout};
    hf_region *region;
    int status = hf_region_open_file(path, &options, &region);

    if (status < 0)
        return status;
    struct hf_control *control = &region->file->control;
    status = hf_control_alone(region->fd, control, timeout);
    if (status == 1) {
        status = replace(region, path);
        int others = hf_control_not_alone(region->fd, control);
        status = status < 0 ? status : others;
    } else if (status == 0) {
        status = HF_BUSY;
    }
    int closed = hf_region_close(region);
    return status < 0 ? status : closed;
}
