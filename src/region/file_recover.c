/*
 * file_recover.c: finds the newest version that is whole.
 *
 *      the newest root that is whole, with all that it says was written; see docs/recovery.md
 *
 *                      newest root verifies       it does not, the other does        neither does
 *      clean mark      open                       HF_CORRUPT                          HF_CORRUPT
 *      no mark         open, written once more    step back: remove the newer one,    HF_CORRUPT
 *                                                 flush, say so
 *
 * Why what recovery finds is written once more, and flushed: it may be in the page cache only, left there by somebody
 * who died before the flush, or whose flush failed.
 *
 * Numbers of versions that were lost are not used again: what recovery finds is published as the next multiple of
 * 2^24. The first commit after it, or the close, is durable at any level: until a root has the new number, the next
 * recovery would begin at the same multiple. Why that is enough: docs/adr/0005.
 *
 * Concurrency: a writer holds OPENERS and PRESENCE exclusively, so nobody else writes. A reader without a lock file may
 * be beside writers, who write a slot again while it looks: so roots and mark are copied first, and what is verified is
 * the copy, which is what is then gone by. Failure: the region is to be given up; FILE can be recovered again.
 */
#include "region/file.h"

static const char zeros[HF_REGION_PAGE];

uint64_t hf_clean_checksum(const struct hf_clean *clean)
{
    return hf_checksum64(clean, offsetof(struct hf_clean, checksum), HF_FILE_CLEAN_MAGIC);
}

/* -- roots -- */

static const struct hf_root *root_in(const hf_region *region, unsigned slot)
{
    return hf_region_at(region, HF_FILE_ROOT_AT + slot * HF_REGION_PAGE);
}

const struct hf_root *hf_root_of(const hf_region *region, const struct hf_file_state *state)
{
    return root_in(region, (unsigned)((state->flushes - 1) % HF_FILE_SLOTS));
}

bool hf_root_is_ours(const hf_region *region, const struct hf_root *root)
{
    const struct hf_superblock *super = hf_region_super(region);

    return root->magic == HF_FILE_ROOT_MAGIC && root->checksum == hf_root_checksum(root) &&
           root->id[0] == super->id[0] && root->id[1] == super->id[1];
}

static bool is_marked(const hf_region *region, const struct hf_clean *clean)
{
    const struct hf_superblock *super = hf_region_super(region);

    return clean->magic == HF_FILE_CLEAN_MAGIC && clean->checksum == hf_clean_checksum(clean) &&
           clean->id[0] == super->id[0] && clean->id[1] == super->id[1];
}

struct found {
    _Alignas(struct hf_root) char pages[HF_FILE_SLOTS]
                                       [HF_REGION_PAGE]; /* the slots, as they were when they were looked at */
    int slot;
    bool clean;
    bool passed_over; /* the other slot has what is newer, or may be */
    bool doubtful;    /* or nothing; but on the disk there may be what is newer, if a flush failed */
};

static const struct hf_root *root_of(const struct found *found)
{
    return (const struct hf_root *)(const void *)found->pages[found->slot];
}

/* The newest root that is whole. HF_CORRUPT: there is none, or the file is marked as clean, with another one. */
static int choose(const hf_region *region, struct found *out)
{
    const struct hf_root *roots[HF_FILE_SLOTS];
    struct hf_clean clean;
    bool valid[HF_FILE_SLOTS];
    int status = HF_CORRUPT;

    memcpy(&clean, hf_region_at(region, HF_FILE_CLEAN_AT), sizeof clean);
    out->slot = -1;
    out->clean = is_marked(region, &clean);
    out->passed_over = out->doubtful = false;
    for (unsigned i = 0; i < HF_FILE_SLOTS; i++) {
        memcpy(out->pages[i], root_in(region, i), HF_REGION_PAGE);
        roots[i] = (const struct hf_root *)(const void *)out->pages[i];
    }
    /* In its own slot: else the next one would be written over it. */
    for (unsigned i = 0; i < HF_FILE_SLOTS; i++)
        valid[i] = hf_root_is_ours(region, roots[i]) && (roots[i]->state.flushes - 1) % HF_FILE_SLOTS == i;
    int newest = valid[1] && (!valid[0] || roots[1]->version.txid > roots[0]->version.txid);
    for (int tries = 0; tries < 2 && status == HF_CORRUPT; tries++) {
        int slot = tries == 0 ? newest : !newest;
        const struct hf_root *root = roots[slot], *other = roots[!slot];
        /* Nothing is newer than what the mark is of: it goes before anything is written. */
        if (out->clean &&
            (tries > 0 || !valid[slot] || root->version.txid != clean.txid || root->checksum != clean.root_checksum))
            return HF_CORRUPT;
        if (!valid[slot])
            continue;
        status = hf_root_verify(region, root);
        out->slot = slot;
        out->doubtful = !valid[!slot] || other->version.txid > root->version.txid;
        out->passed_over = out->doubtful && memcmp(other, zeros, HF_REGION_PAGE) != 0;
    }
    return status;
}

/* Writes once more what a root says was written, and the root. */
static int write_again(hf_region *region, const struct found *found)
{
    const struct hf_root *root = root_of(found);
    uint64_t here = root->pieces < HF_ROOT_PIECES ? root->pieces : HF_ROOT_PIECES, more = root->pieces - here;
    const struct hf_manifest_entry *entries = hf_unit_at(region, root->state.manifest);
    int result = 0;

    for (uint64_t i = 0; result == 0 && i < root->pieces; i++) {
        uint64_t piece = i < here ? root->manifest[i].piece : entries[i - here].piece;
        result = hf_os_pwrite_all(region->fd, hf_unit_at(region, hf_link_units(piece)), (piece >> 40) * HF_UNIT,
                                  (off_t)(hf_link_units(piece) * HF_UNIT));
    }
    if (result == 0 && more > 0)
        result =
            hf_os_pwrite_all(region->fd, entries, more * sizeof *entries, (off_t)(root->state.manifest * HF_UNIT));
    if (result == 0)
        result = hf_os_pwrite_all(region->fd, root, HF_REGION_PAGE,
                                  (off_t)(HF_FILE_ROOT_AT + (uint64_t)found->slot * HF_REGION_PAGE));
    return result < 0 ? hf_region_status(result) : 0;
}

/* The file's length may not be on the disk either, if a flush failed: to write its end again makes it due. Where no more can
 * be written so far up, `top` is further down. */
static int write_end_again(hf_region *region)
{
    struct stat found;
    int result = hf_os_fstat(region->fd, &found);

    if (result < 0 || (uint64_t)found.st_size > region->reserved ||
        hf_file_may_write(region, (uint64_t)found.st_size) < 0)
        return result;
    return hf_os_pwrite_all(region->fd, region->base + found.st_size - 1, 1, found.st_size - 1);
}

/* Makes sure of what was found, and that nothing else can be found later. What can be read may not be what is on the disk,
 * if a flush failed: so what is zero already is written as well, the mark's place too. */
static int settle_on(hf_region *region, const struct found *found)
{
    int status = hf_file_may_write(region, root_of(found)->version.top), result;

    if (status < 0)
        return status;
    result = write_end_again(region);
    if (result == 0)
        result = hf_os_pwrite_all(region->fd, zeros, sizeof(struct hf_clean), HF_FILE_CLEAN_AT);
    /* Not both at once: a power cut in the middle must leave one of them. */
    if (result == 0 && found->doubtful && !HF_SABOTAGE(no_invalidate)) {
        uint64_t other = HF_FILE_ROOT_AT + (uint64_t)!found->slot * HF_REGION_PAGE;
        result = hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)other);
        if (result == 0)
            result = hf_os_fdatasync(region->fd);
    }
    if (result < 0)
        return hf_region_status(result);
    status = write_again(region, found);
    if (status < 0)
        return status;
    /* The file's end too, which is behind every top: its size may be that of a flush that failed. */
    result =
        hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)(atomic_load(&region->size) - HF_REGION_PAGE));
    if (result == 0)
        result = hf_os_fdatasync(region->fd);
    return result < 0 ? hf_region_status(result) : hf_file_flush_folder(region->file->path);
}

/* -- what it comes to -- */

/* Publishes what recovery has found as the first version of a lock file of zeros. */
static int publish_found(hf_region *region, const struct found *found)
{
    const struct hf_root *root = root_of(found);
    struct hf_version version = root->version;
    struct hf_file_state state = root->state;
    uint64_t step = UINT64_C(1) << HF_FILE_STEP_BITS;

    if (!found->clean)
        version.txid = (version.txid / step + 1) * step;
    if (version.txid > HF_TXID_MAX)
        return HF_LIMIT;
    /* The same contents, so this one is durable as well. */
    state.durable = version.txid;
    int status = hf_lock_init(region->lock);
    if (status < 0)
        return status;
    atomic_store(&region->lock->slots, HF_REGION_SLOTS_STEP);
    atomic_store(&region->file->shared->durable, version.txid);
    atomic_store(&region->file->shared->root_checksum, root->checksum);
    atomic_store(&region->file->shared->clean, found->clean);
    atomic_store(&region->file->shared->renumbered, !found->clean);
    atomic_store(&region->file->shared->recovered, !found->clean);
    atomic_store(&region->file->shared->stepped_back, !found->clean && found->passed_over);
    hf_file_publish(region, &version, &state, &(struct hf_nursery){0});
    return 0;
}

/* Who may not write looks beside those who do: at a root that is being written, or is of a file that has grown since. So
 * it looks again, until it finds what is whole, or the same for a while. */
static int choose_beside_writers(hf_region *region, struct found *out)
{
    enum { LOOKS = 20, NAP = 2 * 1000 * 1000 };
    int status = choose(region, out);

    for (int i = 0; i < LOOKS && region->file->read_only && (status == HF_CORRUPT || out->doubtful); i++) {
        struct stat now;
        int writers = hf_control_writers(region->fd);
        if (writers <= 0)
            return writers < 0 ? writers : status;
        int result = hf_os_sleep(NAP);
        if (result == 0)
            result = hf_os_fstat(region->fd, &now);
        if (result != 0)
            return hf_region_status(result);
        atomic_store(&region->size,
                     (uint64_t)now.st_size < region->reserved ? (uint64_t)now.st_size : region->reserved);
        status = choose(region, out);
    }
    return status;
}

int hf_file_recover(hf_region *region)
{
    struct found found;
    int status = choose_beside_writers(region, &found);

    if (status == 0 && !found.clean && !region->file->read_only)
        status = settle_on(region, &found);
    /* Whoever made it may have died, or failed, before its name was durable. */
    else if (status == 0 && !region->file->read_only)
        status = hf_file_flush_folder(region->file->path);
    return status == 0 ? publish_found(region, &found) : status;
}

/* Others may commit meanwhile: the slot is written over for the version after next, when the next is published already;
 * so it is asked again then. */
bool hf_file_agrees(hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published), before;
    bool whole;

    do {
        const struct hf_file_commit *record =
            (const struct hf_file_commit *)(const void *)hf_region_seen(region, published);
        const struct hf_root *root = hf_root_of(region, &record->state);

        before = published;
        whole = published != 0 && record->seen.txid == published && record->txid_again == published &&
                hf_root_is_ours(region, root) && root->state.flushes == record->state.flushes &&
                hf_pages_seen(region, record->seen.top) == 0;
        published = atomic_load(&region->lock->published);
    } while (!whole && published != before);
    return whole;
}

/* And is it the very root? FILE may have been written over by a copy of itself, while nobody had it open. */
static bool is_same(const hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record =
        (const struct hf_file_commit *)(const void *)hf_region_seen(region, published);
    const struct hf_root *root = hf_root_of(region, &record->state);

    return root->checksum == atomic_load(&region->file->shared->root_checksum);
}

/*
 * It was left in this boot, but the file system may have come and gone, and its device with it, without what was in the page
 * cache: then either of the two files is as old as the last time that the system wrote it back. So a root that the lock file
 * knows nothing of (or that was handed to the disk: its writer died, and may have said that it is durable) means recovery,
 * and so does any block that is not there of a version that is not durable. So does a clean mark that the lock file does not
 * know of, since the next writer would not clear it; and a lock that is held: its owner is dead, and was not when the system
 * wrote that back.
 */
int hf_file_is_credible(hf_region *region)
{
    const struct hf_clean *clean = hf_region_at(region, HF_FILE_CLEAN_AT);

    if (atomic_load(&region->file->shared->broken) != 0 || !hf_file_agrees(region))
        return 0;
    if (region->file->control.writable && !hf_lock_can_be_had(region))
        return 0;
    if (HF_SABOTAGE(lock_believed))
        return 1;
    if (!is_same(region) || (is_marked(region, clean) && atomic_load(&region->file->shared->clean) == 0))
        return 0;
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record =
        (const struct hf_file_commit *)(const void *)hf_region_seen(region, published);
    const struct hf_root *other = root_in(region, (unsigned)(record->state.flushes % HF_FILE_SLOTS));
    struct hf_version version;

    if (hf_root_is_ours(region, other) && other->version.txid > published)
        return 0;
    hf_record_version(&record->seen, &version);
    /* The mount that the lock file was made by is there still, and with it all that was in the page cache. */
    if (region->file->control.mounted)
        return hf_record_is_sound(&version, &record->state, &record->nursery);
    int status = hf_version_verify(region, &version, &record->state, &record->nursery);
    return status == HF_CORRUPT ? 0 : status < 0 ? status : 1;
}
