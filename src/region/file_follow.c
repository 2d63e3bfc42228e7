/*
 * file_follow.c: a reader that does not use FILE's lock file: it may not write there, or there is none.
 *
 *      FILE-lock, mapped for reading        of this process alone, in place of a lock file
 *      +-----------+------+                 +-----------+------+-------+
 *      | lock area | ring | --- copied ---> | lock area | ring | slots |
 *      +-----------+------+                 +-----------+------+-------+
 *      or what recovery finds in FILE                    all threads of this process pin here, as in a lock file
 *
 * Before each pin of the newest version the reader looks whether there is a newer one, and copies its record. While it may
 * only look at a lock file, that costs a system call: is it still FILE's? Nobody keeps the last writer from retiring it,
 * since the reader has no share of PRESENCE, nor the next writer from making another one.
 *
 *      FILE-lock            retired, or its name is gone           then
 *      is FILE's            no                                     its newest version
 *      is not               no writer has FILE open                the same: who retired it had published all there was
 *                           somebody has                           the one that the name leads to, if they hold its mark
 *                                                                  (control.h, C2); else the old one, which may be theirs
 *
 * What the reader has pinned stays whole meanwhile, whichever lock file it is known from: READERS is held all the time,
 * so no writer uses anything again.
 *
 * Numbers only grow. (Beside writers whose lock file it cannot look at, a reader may have recovered FILE for itself, and
 * counts from another number: if it finds their lock file later, it stays with its version until theirs has a higher one.)
 *
 * Concurrency: under the region's mutex, by any thread that pins. What threads pin is published in their own ring, where
 * nothing is scanned or used again. Failure: the reader stays with the version that it has.
 */
#include "region/file.h"

#include <sys/mman.h>

enum { RECORD_WORDS = sizeof(struct hf_file_commit) / sizeof(uint64_t) };

_Static_assert(sizeof(struct hf_file_commit) % sizeof(uint64_t) == 0, "copied word by word");

/* Copies the newest record of a lock file: as a reader does it that pins (slots.c, 3 to 5). False: it is none. */
static bool read_newest(const char *base, struct hf_file_commit *out)
{
    const struct hf_lock_area *lock = (const void *)(base + HF_REGION_LOCK_AT);
    uint64_t words[RECORD_WORDS], txid;

    do {
        txid = atomic_load(&lock->published);
        const uint64_t *record =
            (const void *)(base + HF_REGION_RING_AT + txid % HF_REGION_RING * HF_FILE_RECORD_SIZE);
        for (size_t i = 0; i < RECORD_WORDS; i++)
            words[i] = __atomic_load_n(&record[i], __ATOMIC_ACQUIRE);
    } while (atomic_load(&lock->published) - txid >= HF_REGION_RING - 1);
    memcpy(out, words, sizeof *out);
    return txid != 0 && txid <= HF_TXID_MAX && out->seen.txid == txid && out->txid_again == txid;
}

/* What stats tell. */
static void copy_counters(hf_region *region, const char *base)
{
    const struct hf_lock_area *lock = (const void *)(base + HF_REGION_LOCK_AT);
    const struct hf_file_control *theirs = (const void *)(base + HF_FILE_CONTROL_AT);
    struct hf_file_control *shared = region->file->shared;

    atomic_store(&region->lock->owner_died, atomic_load(&lock->owner_died));
    atomic_store(&region->lock->adopted, atomic_load(&lock->adopted));
    atomic_store(&region->lock->revoked, atomic_load(&lock->revoked));
    atomic_store(&shared->durable, atomic_load(&theirs->durable));
    atomic_store(&shared->broken, atomic_load(&theirs->broken));
    atomic_store(&shared->stepped_back, atomic_load(&theirs->stepped_back));
    atomic_store(&shared->recovered, atomic_load(&theirs->recovered));
}

static void follow(hf_region *region)
{
    const char *base = region->file->control.base;
    struct hf_file_commit record;
    struct hf_version version;

    if (base == NULL)
        return;
    copy_counters(region, base);
    const struct hf_lock_area *theirs = (const void *)(base + HF_REGION_LOCK_AT);
    uint64_t ours = atomic_load(&region->lock->published);
    if (atomic_load(&theirs->published) <= ours || !read_newest(base, &record) || record.seen.txid <= ours)
        return;
    hf_record_version(&record.seen, &version);
    if (!hf_record_is_sound(&version, &record.state, &record.nursery))
        return;
    /* Where that is of another lock file than the one that is mapped, it waits for a version that is in FILE alone. */
    if (hf_nursery_is_used(&record.nursery) && !hf_nursery_follow(region, record.seen.txid))
        return;
    hf_file_publish(region, &version, &record.state, &record.nursery);
}

/* Another lock file where there is one by now. It is only asked for where somebody has FILE open who may have made it. */
static void look_again(hf_region *region)
{
    struct hf_control *control = &region->file->control;
    const char *base = control->base;
    uint64_t mark = control->mark;

    if (control->base != NULL && hf_control_current(control) != 0)
        return;
    if (hf_control_writers(region->fd) == 1)
        hf_control_look_again(region->fd, region->file->path, HF_FILE_CONTROL_SIZE, control);
    if (control->mark != mark || control->base != base)
        hf_nursery_changed(region);
}

void hf_file_follow(hf_region *region)
{
    if (region->file == NULL || region->file->alone == NULL)
        return;
    pthread_mutex_lock(&region->mutex);
    /* First all that there was where it looked before: if that was retired, its last version is in FILE alone. */
    follow(region);
    look_again(region);
    follow(region);
    pthread_mutex_unlock(&region->mutex);
}

int hf_file_stand_alone(hf_region *region)
{
    const struct hf_control *control = &region->file->control;
    void *base;
    int status, result = hf_os_mmap(NULL, HF_FILE_CONTROL_SIZE, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &base);

    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    region->file->alone = base;
    region->control_fd = -1;
    if (control->base != NULL) {
        hf_file_place_control(region, control->base);
        if (!hf_file_agrees(region))
            return HF_CORRUPT;
    }
    hf_file_place_control(region, base);
    if (control->base == NULL) {
        status = hf_file_recover(region);
    } else {
        status = hf_lock_init(region->lock);
        if (status == 0)
            follow(region);
        if (status == 0 && atomic_load(&region->lock->published) == 0)
            status = HF_CORRUPT;
    }
    /* There is room for all, and nobody who grows them. */
    atomic_store(&region->lock->slots, HF_REGION_SLOTS_MAX);
    return status;
}
