/*
 * file_open.c: opens a region in a file.
 *
 *      make       where there is none, and there may be one: file_make.c
 *      open       FILE: ours, a plain file, a superblock that we know
 *                 its lock file (control.c): others are there        join them
 *                                            left in this boot       believe it, if FILE agrees
 *                                            nothing to go by        recover: file_recover.c
 *
 * A reader without a lock file, or one that it may not write to, has a lock area, a ring and slots of its own that nobody
 * sees (file_follow.c); its lock on FILE says that it is there (control.h, READERS), and while it is nothing is written
 * over.
 *
 * Concurrency: OPENERS is held until the region is as it should be. Failure: everything is given back.
 */
#include "region/file.h"
#include "region/place.h"

#include <stdio.h>
#include <sys/mman.h>

#define DEFAULT_RESERVE (UINT64_C(64) << 30)
#define DEFAULT_STAGE (UINT64_C(16) << 30)
#define LEAST_STAGE (UINT64_C(16) << 20)
#define MOST_RESERVE (UINT64_C(4) << 40)

/* -- mapping -- */

/* FILE for reading, the staging area behind it, and before it a place for the nursery. */
static int map_file(hf_region *region, int fd, uint64_t wanted, uint64_t size)
{
    struct hf_stage *stage = &region->file->stage;
    uint64_t least = size + UINT64_C(2) * HF_REGION_PAGE, room = hf_pages_fair(DEFAULT_STAGE, 8, true);
    uint64_t reserve = wanted == 0 ? hf_pages_fair(DEFAULT_RESERVE, 4, false) : wanted;
    void *base, *part;
    int result;

    /* What lies further up has the places of the nursery. */
    if (least > MOST_RESERVE)
        return HF_LIMIT;
    reserve = reserve < MOST_RESERVE ? reserve : MOST_RESERVE;
    room = region->file->read_only ? HF_REGION_PAGE : room < LEAST_STAGE ? LEAST_STAGE : room;
    least = (least + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
    reserve = reserve < least ? least : (reserve + HF_REGION_PAGE - 1) / HF_REGION_PAGE * HF_REGION_PAGE;
    /* RLIMIT_AS, or a small machine: take what there is. */
    for (;;) {
        result = hf_os_mmap(NULL, HF_NURSERY_BYTES + reserve + room, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &base);
        if (result != -ENOMEM || (reserve == least && room <= LEAST_STAGE))
            break;
        reserve = reserve / 2 > least ? reserve / 2 / HF_REGION_PAGE * HF_REGION_PAGE : least;
        if (room > LEAST_STAGE)
            room = room / 2 > LEAST_STAGE ? room / 2 / HF_REGION_PAGE * HF_REGION_PAGE : LEAST_STAGE;
    }
    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    region->mapping = base;
    region->base = region->mapping + HF_NURSERY_BYTES;
    region->mapped = HF_NURSERY_BYTES + reserve + room;
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

/* -- the lock file -- */

void hf_file_place_control(hf_region *region, char *base)
{
    region->lock = (struct hf_lock_area *)(void *)(base + HF_REGION_LOCK_AT);
    region->ring = base + HF_REGION_RING_AT;
    region->record_size = HF_FILE_RECORD_SIZE;
    region->slots_at = HF_FILE_CONTROL_SLOTS_AT;
    region->slots = (struct hf_slot *)(void *)(base + HF_FILE_CONTROL_SLOTS_AT);
    region->file->shared = (struct hf_file_control *)(void *)(base + HF_FILE_CONTROL_AT);
    region->file->log = (uint64_t *)(void *)(base + HF_FILE_CONTROL_LOG_AT);
}

static int attach(hf_region *region, const char *path)
{
    struct hf_control *control = &region->file->control;
    int credible = 0, status = hf_nursery_map(region);

    if (status < 0)
        return status;
    if (control->exclusive)
        hf_file_sweep(path);
    if (control->base != NULL)
        hf_file_place_control(region, control->base);
    if (control->state == HF_CONTROL_TRUSTED)
        credible = hf_file_is_credible(region);
    if (credible < 0)
        return credible;
    if (control->state == HF_CONTROL_TRUSTED && credible == 0) {
        status = hf_control_afresh(region->fd, path, HF_FILE_CONTROL_SIZE, control);
        if (status == 0)
            status = hf_nursery_map(region);
        if (status < 0)
            return status;
    }
    if (!control->writable)
        return hf_file_stand_alone(region);
    region->control_fd = control->fd;
    hf_file_place_control(region, control->base);
    if (control->state == HF_CONTROL_JOINED)
        return atomic_load(&region->file->shared->broken) != 0 ? HF_BROKEN : hf_file_agrees(region) ? 0 : HF_CORRUPT;
    return credible ? 0 : hf_file_recover(region);
}

/* -- opening -- */

static int check_super(const struct hf_superblock *super, unsigned *place_trees)
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
    return hf_super_trees(super, place_trees);
}

/* Whose is it, and what? */
static int check_file(int fd, bool read_only, struct stat *found, unsigned *place_trees)
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
    int status = check_super(&super, place_trees);
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
    file->patience = options->patience != 0 ? options->patience : INT64_C(10000000000);
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
    region->place_ops = HF_CPU_SELECT(hf_file_place_ops);
    region->heap_at = HF_FILE_HEAP_AT;
    region->control_fd = -1;
    return hf_verify_map(file);
}

void hf_file_free(hf_region *region)
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
    unsigned place_trees = 0;
    int status = check_file(fd, options->read_only, &found, &place_trees);

    if (status == 0)
        status = hf_region_new(fd, &found, &region);
    if (status != 0)
        goto fail;
    region->place_trees = place_trees;
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
        hf_file_free(region);
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
    if (path[0] == '\0' || (options->read_only && options->mode == HF_REGION_CREATE) ||
        (options->mode != HF_REGION_ATTACH && options->place_trees >> HF_REGION_TREES != 0))
        return HF_INVALID;
    for (int tries = 0;; tries++) {
        fd = open_named(path, options->read_only);
        if (fd >= 0 && options->mode == HF_REGION_CREATE && made != 0) {
            hf_os_close(fd);
            return HF_EXISTS;
        }
        if (fd != -ENOENT || options->mode == HF_REGION_ATTACH || options->read_only || tries == 8)
            break;
        made = hf_file_make(path, NULL, options->place_trees);
        /* Something is there, and cannot be opened: somebody makes it just now, or it is a link that leads nowhere. */
        if (made == HF_EXISTS && options->mode == HF_REGION_EITHER && tries > 0)
            made = hf_file_make_behind(path, options->place_trees);
        if (made < 0 && made != HF_EXISTS)
            return made;
    }
    if (fd == -ENOENT && options->mode == HF_REGION_CREATE && made == HF_EXISTS)
        return HF_EXISTS;
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
