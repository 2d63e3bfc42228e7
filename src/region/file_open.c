/*
 * file_open.c: create, recover and close a region in a file.
 *
 *      create     under another name, whole, flushed; then it gets its name, unless that is taken; the folder is flushed
 *      open       FILE: ours, a plain file, a superblock that we know
 *                 its lock file (control.c): others are there        join them
 *                                            left in this boot       believe it, if FILE agrees
 *                                            nothing to go by        recover
 *      recover    the newest root that is whole, with all that it says was written; see docs/recovery.md
 *      close      flush; the last writer flushes a clean mark
 *
 *                      newest root verifies       it does not, the other does        neither does
 *      clean mark      open                       HF_CORRUPT                          HF_CORRUPT
 *      no mark         open, written once more    step back: remove the newer one,    HF_CORRUPT
 *                                                 flush, say so
 *
 * Why what recovery finds is written once more, and flushed: it may be in the page cache only, left there by somebody who
 * died before the flush, or whose flush failed.
 *
 * Numbers of versions that were lost are not used again: what recovery finds is published as the next multiple of 2^24.
 * The first commit after it, or the close, is durable at any level: until a root has the new number, the next recovery
 * would begin at the same multiple. Why that is enough: docs/adr/0005.
 *
 * A reader without a lock file, or one that it may not write to, has slots of its own that nobody sees; its lock on FILE
 * says that it is there (control.h, READERS), and while it is nothing is written over.
 *
 * Concurrency: OPENERS is held until the region is as it should be. Failure: everything is given back.
 */
#include "region/file.h"
#include "region/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_RESERVE (UINT64_C(64) << 30)
#define DEFAULT_STAGE (UINT64_C(16) << 30)
#define MOST_RESERVE (UINT64_C(4) << 40)
#define LEAVE INT64_C(2000000000)
#define LEAST_STAGE (UINT64_C(16) << 20)

static const char zeros[HF_REGION_PAGE];

/* -- creating -- */

static uint64_t clean_checksum(const struct hf_clean *clean)
{
    return hf_checksum64(clean, offsetof(struct hf_clean, checksum), HF_FILE_CLEAN_MAGIC);
}

/* Superblock, the first root, a clean mark. */
static int fill_pages(char *pages, const uint64_t *seed)
{
    struct hf_superblock *super = (struct hf_superblock *)(void *)pages;
    struct hf_root *root = (struct hf_root *)(void *)(pages + HF_FILE_ROOT_AT);
    struct hf_clean *clean = (struct hf_clean *)(void *)(pages + HF_FILE_CLEAN_AT);
    uint64_t random[3];
    int result = hf_os_getrandom_all(random, sizeof random);

    if (result < 0)
        return hf_region_status(result);
    *super = (struct hf_superblock){
        .magic = HF_FILE_MAGIC,
        .endian = HF_REGION_ENDIAN,
        .format = HF_FILE_FORMAT,
        .page_size = HF_REGION_PAGE,
        .compatible = HF_FILE_COMPATIBLE,
        .incompatible = HF_FILE_INCOMPATIBLE,
        .id = {random[0], random[1]},
        .seed = seed != NULL ? *seed : random[2],
        .record_size = sizeof(struct hf_root),
        .heap_at = HF_FILE_HEAP_AT,
    };
    super->checksum = hf_super_checksum(super);
    *root = (struct hf_root){.magic = HF_FILE_ROOT_MAGIC, .id = {random[0], random[1]}};
    root->version = (struct hf_version){.txid = 1, .top = HF_FILE_HEAP_AT};
    root->state.durable = 1;
    root->state.flushes = 1;
    root->checksum = hf_root_checksum(root);
    *clean = (struct hf_clean){
        .magic = HF_FILE_CLEAN_MAGIC,
        .id = {random[0], random[1]},
        .txid = 1,
        .root_checksum = root->checksum,
    };
    clean->checksum = clean_checksum(clean);
    return 0;
}

static int write_new(int fd, const uint64_t *seed)
{
    enum { SIZE = HF_FILE_HEAP_AT + HF_REGION_PAGE };
    char *pages = hf_alloc(SIZE);
    uint64_t most;
    int status;

    if (pages == NULL)
        return HF_NOMEM;
    memset(pages, 0, SIZE);
    status = hf_file_limit(&most);
    if (status == 0)
        status = most < SIZE ? hf_region_status(-EFBIG) : fill_pages(pages, seed);
    if (status == 0) {
        int result = hf_os_pwrite_all(fd, pages, SIZE, 0);
        if (result == 0)
            result = hf_os_fsync(fd);
        status = result < 0 ? hf_region_status(result) : 0;
    }
    hf_free(pages);
    return status;
}

/* Flushes the folder that a path is in. */
int hf_file_flush_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = hf_alloc(size + 1);
    int fd, result;

    if (folder == NULL)
        return HF_NOMEM;
    memcpy(folder, slash == NULL ? "." : path, size);
    folder[size] = '\0';
    HF_OS_RETRY(fd, hf_os_open(folder, O_RDONLY | O_DIRECTORY, 0));
    hf_free(folder);
    if (fd < 0)
        return hf_region_status(fd);
    result = hf_os_fsync(fd);
    hf_os_close(fd);
    return result < 0 ? hf_region_status(result) : 0;
}

/* Gives the new file its name, if nothing has it: 0, -EEXIST or another errno. */
static int give_name(const char *from, const char *to)
{
    int result = hf_os_renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);

    if (result != -EINVAL && result != -ENOSYS)
        return result;
    /* A file system that cannot. */
    result = hf_os_link(from, to);
    return result < 0 ? result : hf_os_unlink(from);
}

int hf_file_name(const char *from, const char *to)
{
    int result = give_name(from, to);

    return result < 0 ? hf_region_status(result) : hf_file_flush_folder(to);
}

int hf_file_make(const char *path, const uint64_t *seed)
{
    uint64_t random;
    size_t size = strlen(path) + 32;
    char *other;
    int result = hf_os_getrandom_all(&random, sizeof random), fd, status;

    if (result < 0)
        return hf_region_status(result);
    other = hf_alloc(size);
    if (other == NULL)
        return HF_NOMEM;
    snprintf(other, size, "%s.new-%016llx", path, (unsigned long long)random);
    HF_OS_RETRY(fd, hf_os_open(other, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0) {
        status = hf_region_status(fd);
        goto done;
    }
    status = hf_place_refuse_network(fd);
    if (status == 0)
        status = write_new(fd, seed);
    hf_os_close(fd);
    if (status == 0)
        status = hf_file_name(other, path);
    if (status < 0)
        hf_os_unlink(other);
done:
    hf_free(other);
    return status;
}

/* -- mapping -- */

/* FILE for reading, the staging area behind it, and before it a place for the nursery. */
static int map_file(hf_region *region, int fd, uint64_t wanted, uint64_t size)
{
    struct hf_stage *stage = &region->file->stage;
    uint64_t least = size + 2 * HF_REGION_PAGE, room = region->file->read_only ? HF_REGION_PAGE : DEFAULT_STAGE;
    uint64_t reserve = wanted == 0 ? DEFAULT_RESERVE : wanted;
    void *base, *part;
    int result;

    /* What lies further up has the places of the nursery. */
    if (least > MOST_RESERVE)
        return HF_LIMIT;
    reserve = reserve < MOST_RESERVE ? reserve : MOST_RESERVE;

    least = (least + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
    reserve = reserve < least ? least : (reserve + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
    /* RLIMIT_AS, or a small machine: take what there is. */
    for (;;) {
        result = hf_os_mmap(NULL, HF_NURSERY_BYTES + reserve + room, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &base);
        if (result != -ENOMEM || (reserve == least && room <= LEAST_STAGE))
            break;
        reserve = reserve / 2 > least ? reserve / 2 / HF_REGION_PAGE * HF_REGION_PAGE : least;
        room = room / 2 > LEAST_STAGE ? room / 2 : LEAST_STAGE;
    }
    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    region->below = HF_NURSERY_BYTES;
    region->base = (char *)base + HF_NURSERY_BYTES;
    region->mapped = reserve + room;
    result = hf_os_mmap(region->base, reserve, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0, &part);
    if (result == 0)
        result = hf_os_mmap(region->base + reserve, room, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0, &part);
    if (result < 0) {
        hf_pages_unmap(region);
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    }
    region->reserved = reserve;
    stage->at = reserve / HF_UNIT;
    stage->limit = room / HF_UNIT;
    atomic_store(&region->size, size);
    return 0;
}

/* A mapping keeps its description, and the locks on that, in a child for as long as the child has the mapping. So what is
 * mapped is another description than the one that has the locks. */
static int map_other(hf_region *region, uint64_t wanted, uint64_t size)
{
    char path[32];
    int fd, status;

    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    HF_OS_RETRY(fd, hf_os_open(path, O_RDONLY, 0));
    if (fd < 0)
        return hf_region_status(fd);
    status = map_file(region, fd, wanted, size);
    hf_os_close(fd);
    return status;
}

/* -- roots -- */

static const struct hf_root *root_in(const hf_region *region, unsigned slot)
{
    return hf_region_at(region, HF_FILE_ROOT_AT + slot * HF_REGION_PAGE);
}

/* Is this page a root of this file, whatever it says of the heap? */
static bool is_root(const hf_region *region, const struct hf_root *root)
{
    const struct hf_superblock *super = hf_region_super(region);

    return root->magic == HF_FILE_ROOT_MAGIC && root->checksum == hf_root_checksum(root) &&
           root->id[0] == super->id[0] && root->id[1] == super->id[1];
}

static bool is_marked(const hf_region *region, const struct hf_clean **out)
{
    const struct hf_clean *clean = hf_region_at(region, HF_FILE_CLEAN_AT);
    const struct hf_superblock *super = hf_region_super(region);

    *out = clean;
    return clean->magic == HF_FILE_CLEAN_MAGIC && clean->checksum == clean_checksum(clean) &&
           clean->id[0] == super->id[0] && clean->id[1] == super->id[1];
}

struct found {
    int slot;
    bool clean;
    bool passed_over; /* the other slot has what is newer, or may be */
    bool doubtful;    /* or nothing; but on the disk there may be what is newer, if a flush failed */
};

/* The newest root that is whole. HF_CORRUPT: there is none, or the file is marked as clean, with another one. */
static int choose(const hf_region *region, struct found *out)
{
    const struct hf_clean *clean;
    bool valid[HF_FILE_SLOTS];
    int status = HF_CORRUPT;

    *out = (struct found){.slot = -1, .clean = is_marked(region, &clean)};
    /* In its own slot: else the next one would be written over it. */
    for (unsigned i = 0; i < HF_FILE_SLOTS; i++)
        valid[i] =
            is_root(region, root_in(region, i)) && (root_in(region, i)->state.flushes - 1) % HF_FILE_SLOTS == i;
    int newest = valid[1] && (!valid[0] || root_in(region, 1)->version.txid > root_in(region, 0)->version.txid);
    for (int tries = 0; tries < 2 && status == HF_CORRUPT; tries++) {
        int slot = tries == 0 ? newest : !newest;
        const struct hf_root *root = root_in(region, (unsigned)slot), *other = root_in(region, (unsigned)!slot);
        /* Nothing is newer than what the mark is of: it goes before anything is written. */
        if (out->clean && (tries > 0 || !valid[slot] || root->version.txid != clean->txid ||
                           root->checksum != clean->root_checksum))
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
static int write_again(hf_region *region, const struct hf_root *root)
{
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
        result = hf_os_pwrite_all(region->fd, root, HF_REGION_PAGE, (off_t)((const char *)root - region->base));
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
    uint64_t other = HF_FILE_ROOT_AT + (uint64_t)!found->slot * HF_REGION_PAGE;
    int status = hf_file_may_write(region, root_in(region, (unsigned)found->slot)->version.top), result;

    if (status < 0)
        return status;
    result = write_end_again(region);
    if (result == 0)
        result = hf_os_pwrite_all(region->fd, zeros, sizeof(struct hf_clean), HF_FILE_CLEAN_AT);
    /* Not both at once: a power cut in the middle must leave one of them. */
    if (result == 0 && found->doubtful && !HF_SABOTAGE(no_invalidate)) {
        result = hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)other);
        if (result == 0)
            result = hf_os_fdatasync(region->fd);
    }
    if (result < 0)
        return hf_region_status(result);
    status = write_again(region, root_in(region, (unsigned)found->slot));
    if (status < 0)
        return status;
    /* The file's end too, which is behind every top: its size may be that of a flush that failed. */
    result =
        hf_os_pwrite_all(region->fd, zeros, HF_REGION_PAGE, (off_t)(atomic_load(&region->size) - HF_REGION_PAGE));
    if (result == 0)
        result = hf_os_fdatasync(region->fd);
    return result < 0 ? hf_region_status(result) : hf_file_flush_folder(region->file->path);
}

/* -- the lock file -- */

/* Where what is shared between processes is, for this one. */
static void place_control(hf_region *region, char *base)
{
    region->lock = (struct hf_lock_area *)(void *)(base + HF_REGION_LOCK_AT);
    region->ring = base + HF_REGION_RING_AT;
    region->record_size = HF_FILE_RECORD_SIZE;
    region->slots_at = HF_FILE_CONTROL_SLOTS_AT;
    region->slots = (struct hf_slot *)(void *)(base + HF_FILE_CONTROL_SLOTS_AT);
    region->file->shared = (struct hf_file_control *)(void *)(base + HF_FILE_CONTROL_AT);
    region->file->log = (uint64_t *)(void *)(base + HF_FILE_CONTROL_LOG_AT);
}

/* Publishes what recovery has found as the first version of a lock file of zeros. */
static int publish_found(hf_region *region, const struct found *found)
{
    const struct hf_root *root = root_in(region, (unsigned)found->slot);
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
        int result = hf_control_writers(region->fd);
        if (result == 1)
            result = hf_os_sleep(NAP);
        else if (result == 0)
            break;
        if (result == 0)
            result = hf_os_fstat(region->fd, &now);
        if (result < 0)
            return hf_region_status(result);
        atomic_store(&region->size,
                     (uint64_t)now.st_size < region->reserved ? (uint64_t)now.st_size : region->reserved);
        status = choose(region, out);
    }
    return status;
}

static int recover(hf_region *region)
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

/* Does FILE have the root of which the lock file says that it is the last durable one? Others may commit meanwhile: the
 * slot is written over for the version after next, when the next is published already; so it is asked again then. */
static bool agrees(hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published), before;
    bool whole;

    do {
        const struct hf_file_commit *record =
            (const struct hf_file_commit *)(const void *)hf_region_seen(region, published);
        const struct hf_root *root = root_in(region, (unsigned)((record->state.flushes - 1) % HF_FILE_SLOTS));

        before = published;
        whole = published != 0 && record->seen.txid == published && record->txid_again == published &&
                is_root(region, root) && root->state.flushes == record->state.flushes &&
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
    const struct hf_root *root = root_in(region, (unsigned)((record->state.flushes - 1) % HF_FILE_SLOTS));

    return root->checksum == atomic_load(&region->file->shared->root_checksum);
}

/* Instead of a lock file, or of one that may only be looked at. */
static int map_alone(hf_region *region, const struct hf_control *control)
{
    void *base;
    int result = hf_os_mmap(NULL, HF_FILE_CONTROL_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &base);

    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    region->file->alone = base;
    region->control_fd = -1;
    place_control(region, control->base != NULL ? control->base : base);
    if (control->base == NULL)
        return recover(region);
    region->slots = (struct hf_slot *)(void *)((char *)base + HF_FILE_CONTROL_SLOTS_AT);
    return agrees(region) ? 0 : HF_CORRUPT;
}

static int attach(hf_region *region, const char *path)
{
    struct hf_control *control = &region->file->control;
    int status;

    if (!control->writable)
        return map_alone(region, control);
    region->control_fd = control->fd;
    place_control(region, control->base);
    if (control->state == HF_CONTROL_JOINED)
        return atomic_load(&region->file->shared->broken) != 0 ? HF_BROKEN : agrees(region) ? 0 : HF_CORRUPT;
    if (control->state == HF_CONTROL_TRUSTED && atomic_load(&region->file->shared->broken) == 0 && agrees(region) &&
        is_same(region))
        return 0;
    if (control->state == HF_CONTROL_TRUSTED) {
        status = hf_control_afresh(region->fd, path, HF_FILE_CONTROL_SIZE, control);
        if (status < 0)
            return status;
        if (!control->writable)
            return map_alone(region, control);
        region->control_fd = control->fd;
        place_control(region, control->base);
    }
    return recover(region);
}

/* -- opening -- */

static int check_super(const struct hf_superblock *super)
{
    if (super->magic != HF_FILE_MAGIC)
        return super->magic == __builtin_bswap64(HF_FILE_MAGIC) ? HF_FORMAT : HF_NOT_REGION;
    if (super->endian != HF_REGION_ENDIAN || super->format != HF_FILE_FORMAT ||
        (super->incompatible & ~HF_FILE_INCOMPATIBLE) != 0)
        return HF_FORMAT;
    if (super->checksum != hf_super_checksum(super))
        return HF_CORRUPT;
    if (super->page_size != HF_REGION_PAGE || super->record_size != sizeof(struct hf_root) ||
        super->heap_at != HF_FILE_HEAP_AT)
        return HF_FORMAT;
    return 0;
}

/* Whose is it, and what? */
static int check_file(int fd, bool read_only, struct stat *found)
{
    struct hf_superblock super = {0};
    int result = hf_os_fstat(fd, found);

    if (result < 0)
        return hf_region_status(result);
    if (!S_ISREG(found->st_mode))
        return HF_NOT_REGION;
    if (found->st_uid != hf_os_geteuid() && !read_only)
        return HF_DENIED;
    int64_t got = hf_os_pread_all(fd, &super, sizeof super, 0);
    if (got < 0)
        return hf_region_status((int)got);
    int status = check_super(&super);
    if (status == 0 && found->st_size < HF_FILE_HEAP_AT + HF_REGION_PAGE)
        status = HF_CORRUPT;
    return status;
}

static int new_file(hf_region *region, const char *path, const hf_region_options *options)
{
    struct hf_file_home *file = hf_alloc(sizeof *file);
    size_t size = strlen(path) + 1;

    if (file == NULL)
        return HF_NOMEM;
    memset(file, 0, sizeof *file);
    file->control.fd = -1;
    file->level = options->level;
    file->interval = options->interval > 0 ? options->interval : INT64_C(1000000000);
    file->read_only = options->read_only;
    file->nursery_most = options->nursery == HF_REGION_STRAIGHT ? 0
                         : options->nursery == 0                ? HF_NURSERY_SEGMENT
                                                                : options->nursery / HF_UNIT;
    file->path = hf_alloc(size);
    file->placer = hf_alloc(sizeof *file->placer);
    if (file->path == NULL || file->placer == NULL) {
        hf_free(file->path);
        hf_free(file->placer);
        hf_free(file);
        return HF_NOMEM;
    }
    memcpy(file->path, path, size);
    memset(file->placer, 0, sizeof *file->placer);
    region->file = file;
    region->home = &hf_home_file;
    region->ops = HF_CPU_SELECT(hf_file_trie_ops);
    region->heap_at = HF_FILE_HEAP_AT;
    region->control_fd = -1;
    return hf_verify_map(file);
}

static void free_file(hf_region *region)
{
    struct hf_file_home *file = region->file;

    if (file == NULL)
        return;
    hf_verify_unmap(file);
    if (file->alone != NULL)
        hf_os_munmap(file->alone, HF_FILE_CONTROL_SIZE);
    hf_placer_free(file->placer);
    hf_free(file->stage.freed);
    hf_free(file->path);
    hf_free(file);
    region->file = NULL;
}

/* With FILE open, and its lock file: OPENERS is held. */
static int open_locked(hf_region *region, const char *path, const hf_region_options *options)
{
    struct stat found;
    /* It may have grown while we waited. */
    int result = hf_os_fstat(region->fd, &found), status;

    if (result < 0)
        return hf_region_status(result);
    status = map_other(region, options->reserve, (uint64_t)found.st_size);
    if (status < 0)
        return status;
    status = attach(region, path);
    if (status == 0)
        status = hf_nursery_map(region);
    if (status == 0)
        status = hf_control_ready(region->fd, &region->file->control);
    if (status < 0) {
        hf_pages_unmap(region);
        return status;
    }
    uint64_t published = atomic_load(&region->lock->published);
    hf_verify_room(region->file, hf_region_seen(region, published)->top);
    return 0;
}

/* Takes over the descriptor. */
static int open_description(int fd, const char *path, const hf_region_options *options, hf_region **out)
{
    hf_region *region = NULL;
    struct stat found;
    int status = check_file(fd, options->read_only, &found);

    if (status == 0)
        status = hf_region_new(fd, &found, &region);
    if (status < 0)
        goto fail;
    status = new_file(region, path, options);
    if (status == 0)
        status = hf_control_open(fd, path, HF_FILE_CONTROL_SIZE, options->read_only, options->timeout,
                                 &region->file->control);
    if (status < 0)
        goto fail;
    status = open_locked(region, path, options);
    if (status < 0) {
        hf_control_abandon(fd, &region->file->control);
        goto fail;
    }
    hf_region_link(region);
    *out = region;
    return 0;

fail:
    if (region != NULL) {
        free_file(region);
        hf_region_free(region);
    }
    hf_os_close(fd);
    return status;
}

/* Without O_NONBLOCK a pipe of that name would be waited for. */
static int open_named(const char *path, bool read_only)
{
    int fd;

    HF_OS_RETRY(fd, hf_os_open(path, (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY, 0));
    return fd;
}

/* A folder, or a socket, is as little a region as another file. */
static int open_status(int error)
{
    return error == -EISDIR || error == -ENXIO ? HF_NOT_REGION : hf_region_status(error);
}

int hf_region_open_file(const char *path, const hf_region_options *options, hf_region **out)
{
    static const hf_region_options by_default = {.mode = HF_REGION_ATTACH, .timeout = INT64_C(1000000000)};
    int fd, made = HF_EXISTS;

    if (options == NULL)
        options = &by_default;
    if (path[0] == '\0' || (options->read_only && options->mode == HF_REGION_CREATE))
        return HF_INVALID;
    for (int tries = 0;; tries++) {
        fd = open_named(path, options->read_only);
        if (fd >= 0 && options->mode == HF_REGION_CREATE && made != 0) {
            hf_os_close(fd);
            return HF_EXISTS;
        }
        if (fd != -ENOENT || options->mode == HF_REGION_ATTACH || options->read_only || tries == 8)
            break;
        made = hf_file_make(path, NULL);
        if (made < 0 && made != HF_EXISTS)
            return made;
    }
    if (fd < 0)
        return open_status(fd);
    int status = open_description(fd, path, options, out);
    /* Another one may have taken its place, compacted, while this one was waited for. */
    for (int tries = 0; status == HF_ABSENT && tries < 8; tries++) {
        fd = open_named(path, options->read_only);
        if (fd < 0)
            return open_status(fd);
        status = open_description(fd, path, options, out);
    }
    return status;
}

/* -- closing -- */

static int write_mark(hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record = (const struct hf_file_commit *)(void *)hf_region_seen(region, published);
    const struct hf_root *root = root_in(region, (unsigned)((record->state.flushes - 1) % HF_FILE_SLOTS));
    struct hf_clean clean = {
        .magic = HF_FILE_CLEAN_MAGIC, .txid = root->version.txid, .root_checksum = root->checksum};

    if (!is_root(region, root) || record->state.durable != published)
        return HF_CORRUPT;
    memcpy(clean.id, root->id, sizeof clean.id);
    clean.checksum = clean_checksum(&clean);
    /* Before, since a write or a flush that fails, or a death, may have left the mark there all the same: F4. */
    atomic_store(&region->file->shared->clean, 1);
    int result = hf_os_pwrite_all(region->fd, &clean, sizeof clean, HF_FILE_CLEAN_AT);
    return result < 0 ? hf_region_status(result) : hf_file_sync(region);
}

int hf_file_finish(hf_region *region)
{
    struct hf_file_home *file = region->file;

    if (file->read_only || !file->control.writable)
        return 0;
    if (atomic_load(&file->shared->broken) != 0)
        return HF_BROKEN;
    int status = hf_file_flush(region, -1);
    /* This thread has a transaction, through another region of the same file. That one is not the last to write, then:
     * what it closes later flushes. */
    if (status < 0 && status != HF_BUSY)
        return status;
    /* Who opens it is not waited for long: without a mark it is only opened more slowly. */
    int last = hf_control_leave(region->fd, &file->control, LEAVE);
    if (last <= 0)
        return last == HF_TIMEOUT ? 0 : last;
    /* Somebody may have died since then, with commits that were not durable. */
    status = hf_file_flush(region, -1);
    if (status == 0 && atomic_load(&file->shared->clean) == 0)
        status = write_mark(region);
    if (status == 0)
        status = hf_control_retire(region->fd, &file->control);
    return status < 0 ? status : 0;
}

/* If there is none to be had, the next commit sees to it. */
void hf_file_resume(hf_region *region)
{
    const struct hf_file_home *file = region->file;

    if (file->level == HF_REGION_INTERVAL && !file->read_only &&
        atomic_load(&file->shared->durable) < atomic_load(&region->lock->published))
        hf_flusher_want(region);
}

void hf_file_stop(hf_region *region)
{
    hf_flusher_stop(region);
}

void hf_file_close(hf_region *region)
{
    /* Its locks too: they would stay with the description if a mapping of it did. */
    hf_control_abandon(region->fd, &region->file->control);
    free_file(region);
}

/* -- a fork -- */

int hf_file_reopen(hf_region *region)
{
    char path[32];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    HF_OS_RETRY(fd, hf_os_open(path, region->file->read_only ? O_RDONLY : O_RDWR, 0));
    if (fd >= 0 && hf_control_join_again(fd, &region->file->control) < 0) {
        hf_os_close(fd);
        fd = -1;
    }
    return fd;
}

void hf_file_inherit(hf_region *region, int fd)
{
    struct hf_stage *stage = &region->file->stage;

    if (fd < 0)
        fd = hf_file_reopen(region);
    hf_os_close(region->fd);
    region->fd = fd;
    /* The same, where that is another one now, or none could be had. */
    if (region->file->control.writable)
        region->file->control.fd = region->control_fd;
    hf_flusher_forget(region);
    /* Another thread may have been in the middle of making room in it. */
    if (atomic_load(&region->txn.owner) != hf_thread_self()) {
        stage->freed = NULL;
        stage->freed_count = stage->freed_room = 0;
        memset(region->file->placer, 0, sizeof *region->file->placer);
    }
}

/* -- the table of kept snapshots -- */

int hf_file_kept_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out)
{
    uint64_t link = version->kept, units = hf_link_units(link), top = version->top / HF_UNIT;
    const struct hf_kept_table *table = hf_unit_at(region, units);
    const struct hf_stage *stage = &region->file->stage;

    *out = NULL;
    if (link == 0)
        return 0;
    bool staged = units >= stage->at && units < stage->at + stage->top;
    if (!staged && (units < HF_FILE_HEAP_AT / HF_UNIT || units >= top))
        return HF_CORRUPT;
    if (hf_head_kind(table->head) != HF_KIND_TABLE || table->count > HF_REGION_KEPT_MAX)
        return HF_CORRUPT;
    uint64_t size = hf_kept_table_size(table->count);
    if (!staged && (hf_units(size) > top - units || hf_block_verify(region, link, size) < 0))
        return HF_CORRUPT;
    *out = table;
    return 0;
}

int hf_file_kept_durable(const hf_txn *txn, const struct hf_kept_table **out)
{
    const struct hf_root *root = root_in(txn->region, (unsigned)((txn->state.file.flushes - 1) % HF_FILE_SLOTS));
    struct hf_version version = {.top = txn->state.version.top, .kept = root->version.kept};

    *out = NULL;
    return is_root(txn->region, root) ? hf_file_kept_at(txn->region, &version, out) : HF_CORRUPT;
}

static int table_new(hf_txn *txn, uint64_t size, uint64_t *link, void **out)
{
    int status = hf_stage_alloc(txn, size, link);

    if (status == 0)
        *out = hf_unit_at(txn->region, *link);
    return status;
}

const struct hf_home hf_home_file = {
    .load = hf_file_load,
    .prepare = hf_stage_prepare,
    .undo = hf_stage_undo,
    .settle = hf_stage_settle,
    .mark = hf_stage_mark,
    .rollback = hf_stage_rollback,
    .commit = hf_file_commit,
    .forget = hf_stage_forget,
    .table_new = table_new,
    .table_free = hf_stage_free,
    .kept_at = hf_file_kept_at,
    .flush = hf_file_flush,
    .check = hf_file_check,
    .stats = hf_file_stats,
};
