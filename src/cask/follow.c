/*
 * follow.c: reading a cask that another process writes.
 *
 *      writer    page.end ------------------------------------------------v
 *                log     [ ............ | ......................... | .... ]
 *                keydir  version T stands for all before P(T)
 *      reader    index: base = T, tail = records from P(T) to where it has read, `end`
 *
 *      a look-up   pin the newest version; is it `base`, and is page.end where the tail ends? --yes--> look
 *                                                                                   |--no---> follow: read what is
 *                                                                                   new, look again
 *
 * The tail is this process's own, made of the log. It goes with exactly one version of the keydir: with a newer one,
 * entries of the tail that are older than what that has would hide it.
 *
 * A version is pinned while files are looked for, and then the manifest is read: what the version refers to is there
 * (a merge removes a file only when no version that refers to it can be seen).
 *
 * Where no page can be believed, nobody has written in this boot, or a writer is there and its page was taken away.
 * If there is none, the reader finds out for itself what there is, as recovery does, and looks at the page again
 * when a writer sets it up (where there is none at all: when the keydir has a newer version). One that had to
 * make a keydir of its own, and one whose keydir a writer has made anew, take the writer's when that has set the page up.
 *
 * Concurrency: with the mutex; threads that look up go by the index that is published. Failure: the reader stays
 * with the index that it has.
 */
#include "cask/cask.h"

#include <sys/mman.h>

struct hf_follow {
    _Atomic bool credible;        /* cask->page is the writer's */
    _Atomic uint64_t incarnation; /* of a page that was not, when it was last looked at (cask->watched) */
    bool alone;                   /* the keydir is this process's own */
    _Atomic uint64_t seen;        /* incarnation of the page, when the keydir was last known to be the folder's */
    uint64_t inode;               /* of the keydir; 0: it may be another */
    bool renewed;                 /* the index is still of the keydir before */
    hf_region **retired; /* keydirs that were replaced: somebody may look at them as long as the cask is open */
    size_t retired_count, retired_room;
    uint64_t generation; /* of the manifest that the files were opened by */
    uint64_t last;       /* sequence number */
};

static uint64_t position_of(uint64_t place)
{
    return place & (((uint64_t)HF_CASK_FILES << HF_CASK_AT_BITS) - 1);
}

static int64_t highest_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool hf_follow_is_behind(const hf_cask *cask, const hf_index *index)
{
    const struct hf_follow *follow = cask->follow;

    uint64_t incarnation = atomic_load_explicit(&cask->page->incarnation, memory_order_relaxed);
    if (__builtin_expect(incarnation != atomic_load_explicit(&follow->seen, memory_order_relaxed), 0) &&
        incarnation % 2 == 0)
        return true;
    if (__builtin_expect(!atomic_load_explicit(&follow->credible, memory_order_acquire), 0))
        return cask->watched != NULL && atomic_load(&cask->watched->incarnation) != atomic_load(&follow->incarnation);
    return atomic_load_explicit(&cask->page->end, memory_order_acquire) >
           atomic_load_explicit(&index->end, memory_order_relaxed);
}

/* -- files -- */

static int replace_in(hf_log_set **set, hf_log_file *file)
{
    hf_log_set *changed;
    int status = hf_log_set_change(*set, 0, file, &changed);

    if (status < 0)
        return status;
    hf_log_set_drop(*set);
    *set = changed;
    return 0;
}

/* Opens a file of which `need` bytes are wanted, and adds it, unless it is none that counts. `listed`: a merged one
 * does. */
static int open_into(hf_cask *cask, hf_log_set **set, uint32_t number, uint64_t need, bool listed)
{
    hf_log_file *file;
    uint64_t map = need > cask->how.max_file_size ? 2 * need : cask->how.max_file_size;
    int status = hf_log_open(cask->folder, cask->id, number, map, &file);

    if (status == HF_ABSENT || (status == HF_CORRUPT && !listed))
        return 0;
    if (status == HF_CORRUPT)
        status = hf_log_open_damaged(cask->folder, cask->id, number, HF_LOG_WRITTEN, map, &file);
    if (status < 0)
        return status;
    if (listed || file->kind == HF_LOG_WRITTEN)
        status = replace_in(set, file);
    hf_log_drop(file);
    return status;
}

/* What is mapped already, or else opened. */
static int take_into(hf_cask *cask, const hf_log_set *old, hf_log_set **set, uint32_t number, bool listed)
{
    hf_log_file *file = old == NULL ? NULL : hf_log_set_find(old, number);

    return file != NULL ? replace_in(set, file) : open_into(cask, set, number, 0, listed);
}

/* All files that count, by the manifest as it is now. */
static int open_listed(hf_cask *cask, const hf_log_set *old, uint64_t end, hf_log_set **out)
{
    uint64_t generation = atomic_load(&cask->page->generation);
    hf_manifest manifest = {0};
    int status = hf_manifest_read(cask->folder, &manifest);

    for (uint32_t i = 0; status == 0 && i < manifest.head.count; i++)
        status = take_into(cask, old, out, manifest.files[i].number, true);
    for (uint64_t n = manifest.head.next; status == 0 && n <= hf_place_file(end); n++)
        if (*out == NULL || hf_log_set_find(*out, (uint32_t)n) == NULL)
            status = take_into(cask, old, out, (uint32_t)n, false);
    hf_manifest_clear(&manifest);
    if (status == 0 && *out == NULL)
        status = hf_log_set_change(NULL, 0, NULL, out);
    if (status == 0)
        cask->follow->generation = generation;
    return status;
}

/* The files that the log has gone on to since, and the one it was in, which may be sealed by now. */
static int open_newer(hf_cask *cask, uint64_t from, uint64_t end, hf_log_set **set)
{
    int status = 0;

    for (uint32_t n = hf_place_file(from); status == 0 && n <= hf_place_file(end); n++) {
        const hf_log_file *file = n == 0 ? NULL : hf_log_set_find(*set, n);
        uint64_t need = n == hf_place_file(end) ? hf_place_offset(end) : 0;
        bool grown = file != NULL && file->kind == HF_LOG_WRITTEN && (need == 0 || need > file->mapped);
        if (n > 0 && (file == NULL || grown))
            status = open_into(cask, set, n, need, file != NULL);
    }
    /* The version may lead as far, whatever is left for the tail. */
    hf_log_file *last = status == 0 ? hf_log_set_find(*set, hf_place_file(end)) : NULL;
    if (last != NULL && hf_place_offset(end) > last->mapped)
        return HF_CORRUPT;
    if (last != NULL && atomic_load(&last->end) < hf_place_offset(end))
        atomic_store(&last->end, hf_place_offset(end));
    return status;
}

static int open_files(hf_cask *cask, const hf_index *old, uint64_t from, uint64_t end, hf_log_set **out)
{
    int status = 0;

    if (old != NULL && cask->follow->generation == atomic_load(&cask->page->generation)) {
        hf_log_set_keep(old->logs);
        *out = old->logs;
    } else {
        status = open_listed(cask, old == NULL ? NULL : old->logs, end, out);
    }
    return status < 0 ? status : open_newer(cask, from, end, out);
}

/* -- the tail -- */

/* Records from .. to of the log. Damage is passed over: the places that are in there are not known to the index. */
static int read_log(hf_cask *cask, hf_replay *replay, uint64_t from, uint64_t to)
{
    hf_record_out record;
    int status = 0;

    for (uint32_t n = hf_place_file(from); status == 0 && n <= hf_place_file(to); n++) {
        hf_log_file *file = n == 0 ? NULL : hf_log_set_find(replay->logs, n);
        if (file == NULL || file->kind != HF_LOG_WRITTEN)
            continue;
        uint64_t at = n == hf_place_file(from) ? hf_place_offset(from) : HF_CASK_DATA_AT;
        uint64_t limit = n == hf_place_file(to) ? hf_place_offset(to) : atomic_load(&file->end);
        while (status == 0 && at < limit) {
            status = hf_replay_log(replay, file, at, limit, &at);
            if (status < 0 || at >= limit)
                break;
            status = hf_replay_settle(replay);
            uint64_t lost = at;
            at = hf_record_resync(file->bytes, limit, at, file->salt, &record) > 0 ? record.at : limit;
            if (at < limit && record.in.sequence <= replay->last)
                replay->last = record.in.sequence - 1;
            cask->lost_bytes += at - lost;
        }
    }
    return status;
}

/* What the old tail has that the keydir does not have yet. */
static int copy_newer(hf_replay *replay, const hf_index *old, uint64_t position)
{
    uint32_t count = hf_tail_visible(old->active);
    int status = 0;

    if (atomic_load(&old->active_facts->expiring) > 0)
        atomic_store(&replay->facts->expiring, 1);
    for (uint32_t i = 0; status == 0 && i < count; i++)
        if (position_of(old->active->entries[i].place) >= position)
            status = hf_replay_entry(replay, old->active->entries[i].hash, old->active->entries[i].place);
    return status;
}

/* The tail that goes with a version, up to `end`. */
static int make_tail(hf_cask *cask, const hf_index *old, uint64_t base, uint64_t position, uint64_t end,
                     hf_replay *replay)
{
    bool go_on = old != NULL && atomic_load(&old->end) <= end;
    uint64_t from = position;
    int status = 0;

    if (go_on && old->base == base) {
        replay->tail = old->active;
        replay->facts = old->active_facts;
        hf_tail_keep(replay->tail);
        atomic_fetch_add(&replay->facts->count, 1);
        from = atomic_load(&old->end);
    } else {
        uint64_t last = replay->last;
        status = hf_replay_begin(replay, cask, replay->logs, NULL, 0);
        if (status < 0)
            return status;
        if (go_on && position <= atomic_load(&old->end)) {
            replay->last = last;
            status = copy_newer(replay, old, position);
            from = atomic_load(&old->end);
        }
    }
    if (status == 0 && from < end)
        status = read_log(cask, replay, from, end);
    int ended = hf_replay_end(replay);
    return status < 0 ? status : ended;
}

/* With the mutex, and the newest version pinned. */
static int bring_up(hf_cask *cask, const hf_view *view)
{
    hf_index *shown = hf_index_now(cask), *old = cask->follow->renewed ? NULL : shown, *index;
    uint64_t end = atomic_load_explicit(&cask->page->end, memory_order_acquire), base = hf_view_txid(view);
    struct hf_keydir_meta meta;
    hf_log_set *logs = NULL;
    hf_replay replay = {0};
    int status = hf_keydir_meta_get(view, &meta);

    if (status == 0 || (status > 0 && (meta.id[0] != cask->id[0] || meta.id[1] != cask->id[1])))
        status = HF_CORRUPT;
    if (status < 0)
        return status;
    if (end < meta.position)
        end = meta.position;
    /* What was shown is there for good. */
    if (shown != NULL && end < atomic_load(&shown->end))
        end = atomic_load(&shown->end);
    if (old != NULL && old->base == base && atomic_load(&old->end) == end)
        return 0;
    /* The version may lead to files that the log has gone through since this was last done. */
    uint64_t from = old != NULL ? atomic_load(&old->end) : meta.position;
    status = open_files(cask, old, from, end, &logs);
    replay = (hf_replay){.cask = cask, .logs = logs, .last = cask->follow->last};
    if (status == 0)
        status = make_tail(cask, old, base, meta.position, end, &replay);
    if (status == 0)
        status = hf_index_new(logs, replay.tail, replay.facts, NULL, NULL, base, &index);
    if (status == 0) {
        atomic_store(&index->end, end);
        cask->follow->renewed = false;
        cask->follow->last = replay.last;
        int64_t clock = highest_of(replay.clock, (int64_t)meta.clock);
        atomic_store(&cask->stamp, highest_of(clock, atomic_load(&cask->stamp)));
        hf_index_publish(cask, index);
    }
    hf_replay_clear(&replay);
    hf_log_set_drop(logs);
    return status;
}

/* Which file `keydir` is now; 0: there is none. */
static uint64_t inode_of_keydir(const hf_cask *cask)
{
    struct stat found;

    return hf_os_fstatat(cask->folder, "keydir", &found, 0) < 0 ? 0 : (uint64_t)found.st_ino;
}

/* Has another writer set the page up since the keydir was looked at? */
static bool is_renewed(const hf_cask *cask)
{
    uint64_t incarnation = atomic_load(&cask->page->incarnation);

    return incarnation != atomic_load(&cask->follow->seen) && incarnation % 2 == 0;
}

/* With the mutex, and a page that is the writer's: a writer may have made the keydir anew; then it is that one from now on. */
static int take_keydir(hf_cask *cask)
{
    struct hf_follow *follow = cask->follow;
    uint64_t incarnation = atomic_load(&cask->page->incarnation), inode;
    hf_region *keydir;

    if (!is_renewed(cask))
        return 0;
    inode = inode_of_keydir(cask);
    if (inode == 0 || (inode == follow->inode && !follow->alone)) {
        atomic_store(&follow->seen, incarnation);
        return 0;
    }
    hf_region **retired =
        hf_grown(follow->retired, &follow->retired_room, follow->retired_count + 1, sizeof *retired);
    if (retired == NULL)
        return HF_NOMEM;
    follow->retired = retired;
    int status = hf_keydir_open(cask->path, true, &keydir);
    if (status < 0)
        return status;
    retired[follow->retired_count++] = cask->keydir;
    atomic_store_explicit(&cask->keydir, keydir, memory_order_release);
    follow->inode = inode;
    follow->alone = false;
    follow->renewed = true;
    atomic_store(&follow->credible, true);
    atomic_store(&follow->seen, incarnation);
    return 0;
}

/* With the mutex. Is there a writer by now, with a page? 1, 0. */
static int look_for_page(hf_cask *cask)
{
    struct hf_follow *follow = cask->follow;

    if (follow->credible || follow->alone)
        return follow->credible || is_renewed(cask);
    if (cask->watched != NULL)
        atomic_store(&follow->incarnation, atomic_load(&cask->watched->incarnation));
    int attached = hf_cask_page_attach(cask);
    if (attached > 0)
        atomic_store(&follow->credible, true);
    return attached;
}

int hf_follow(hf_cask *cask)
{
    hf_view view;

    pthread_mutex_lock(&cask->mutex);
    int credible = look_for_page(cask), status = credible > 0 ? take_keydir(cask) : credible;
    if (status == 0)
        status = hf_view_pin(cask->keydir, &view);
    if (status == 0) {
        if (credible > 0)
            status = bring_up(cask, &view);
        else if (hf_view_txid(&view) != hf_index_now(cask)->base)
            status = HF_BUSY; /* somebody writes, whose page was taken away */
        hf_view_unpin(&view);
    }
    pthread_mutex_unlock(&cask->mutex);
    return status;
}

/* -- opening -- */

/* As nobody writes: what there is, as recovery finds it. */
static int find_out(hf_cask *cask, bool credible)
{
    int quiet = hf_cask_is_quiet(cask->folder);

    if (quiet <= 0)
        return quiet < 0 ? quiet : HF_BUSY;
    if (cask->keydir != NULL) {
        hf_region_close(cask->keydir);
        cask->keydir = NULL;
    }
    return hf_recover(cask, credible);
}

int hf_follow_open(hf_cask *cask)
{
    cask->follow = hf_alloc(sizeof *cask->follow);
    if (cask->follow == NULL)
        return HF_NOMEM;
    *cask->follow = (struct hf_follow){0};
    int attached = hf_cask_page_attach(cask);
    if (attached < 0)
        return attached;
    if (attached == 0) {
        if (cask->watched != NULL)
            atomic_store(&cask->follow->incarnation, atomic_load(&cask->watched->incarnation));
        return find_out(cask, false);
    }
    atomic_store(&cask->follow->seen, atomic_load(&cask->page->incarnation));
    cask->follow->inode = inode_of_keydir(cask);
    hf_region *keydir;
    int status = hf_keydir_open(cask->path, true, &keydir);
    if (status == 0) {
        atomic_store(&cask->keydir, keydir);
        atomic_store(&cask->follow->credible, true);
        status = hf_follow(cask);
    }
    if (status != HF_CORRUPT && status != HF_ABSENT && status != HF_NOT_REGION && status != HF_FORMAT)
        return status;
    /* The keydir is of no use. */
    atomic_store(&cask->follow->credible, false);
    cask->follow->alone = true;
    return find_out(cask, true);
}

void hf_follow_close(hf_cask *cask)
{
    for (size_t i = 0; cask->follow != NULL && i < cask->follow->retired_count; i++)
        hf_region_close(cask->follow->retired[i]);
    if (cask->follow != NULL)
        hf_free(cask->follow->retired);
    hf_free(cask->follow);
    cask->follow = NULL;
}
