/*
 * open.c: create, attach and close a region; the registry of those that this process has open.
 *
 *      open the segment (O_CREAT where it may be made, mode 0600)
 *      is it ours?  a plain file, owned by us, still with a name ------> HF_DENIED, HF_NOT_REGION
 *      lock the byte for creators, waiting as long as allowed ---------> HF_TIMEOUT
 *      no magic?    make it afresh, if we may; the magic comes last ---> HF_NOT_REGION
 *      check the superblock; map -------------------------------------> HF_FORMAT, HF_CORRUPT, HF_LIMIT
 *      unlock
 *
 * A creator that dies half-way leaves a segment without magic; the next who may create makes it afresh.
 *
 * Two descriptions: the segment is mapped, the creators' lock is taken and other processes are given it through one; the
 * locks of the slots are on another. A mapping holds its description, in children too, so locks on the first would not
 * end with the process.
 *
 * Concurrency: the registry has a lock of its own (docs/locking.md). Failure: what was opened is closed again; a segment
 * that this call made is removed if it could not be finished, unless somebody else has finished it meanwhile or is about to.
 */
#include "region/impl.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
struct hf_region *hf_region_registry;

void hf_region_registry_lock(void)
{
    pthread_mutex_lock(&registry_mutex);
}

void hf_region_registry_unlock(void)
{
    pthread_mutex_unlock(&registry_mutex);
}

uint64_t hf_region_serial_next(void)
{
    static _Atomic uint64_t next;

    return atomic_fetch_add(&next, 1) + 1;
}

int hf_region_status(int error)
{
    return hf_os_file_status(error);
}

/* -- the creators' lock -- */

enum { NAP = 1000 * 1000, LATEST = 1000 * 1000 * 1000 };

/* Takes the lock, or waits for who has it. */
static int lock_creation(int fd, int64_t timeout)
{
    for (int64_t waited = 0;; waited += NAP) {
        struct flock how = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_CREATE, .l_len = 1};
        int result;

        HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_SETLK, &how));
        if (result != -EAGAIN && result != -EACCES)
            return result < 0 ? hf_region_status(result) : 0;
        if (timeout >= 0 && waited >= timeout)
            return HF_TIMEOUT;
        result = hf_os_sleep(NAP);
        if (result < 0)
            return hf_region_status(result);
    }
}

/* A creator has made the name and not yet taken the lock, or was killed just then: nothing is there, not even a length.
 * Whoever only wants to attach gives it a moment. */
static int await_creator(int fd, int64_t timeout, struct stat *found)
{
    int64_t most = timeout < 0 || timeout > LATEST ? LATEST : timeout;
    int result = 0;

    for (int64_t waited = 0; result == 0 && found->st_size == 0 && found->st_nlink > 0 && waited < most;
         waited += NAP) {
        result = hf_os_sleep(NAP);
        if (result == 0)
            result = hf_os_fstat(fd, found);
    }
    return result < 0 ? hf_region_status(result) : 0;
}

static void unlock_creation(int fd)
{
    struct flock how = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_CREATE, .l_len = 1};

    hf_os_lock(fd, F_OFD_SETLK, &how);
}

/* -- making -- */

uint64_t hf_super_checksum(const struct hf_superblock *super)
{
    return hf_checksum64(super, offsetof(struct hf_superblock, checksum), HF_REGION_MAGIC);
}

int hf_super_trees(const struct hf_superblock *super, unsigned *place_trees)
{
    bool any = (super->incompatible & HF_REGION_PLACES) != 0;

    *place_trees = any ? (unsigned)super->place_trees : 0;
    return !any || (super->place_trees != 0 && super->place_trees >> HF_REGION_TREES == 0) ? 0 : HF_FORMAT;
}

void hf_super_set_trees(struct hf_superblock *super, unsigned place_trees)
{
    super->place_trees = place_trees;
    super->incompatible = place_trees != 0 ? HF_REGION_PLACES : 0;
}

static int make_super(const hf_region_options *options, struct hf_superblock *out)
{
    uint64_t random[3];
    struct timespec now;
    int result = hf_os_getrandom_all(random, sizeof random);

    if (result == 0)
        result = hf_os_clock_gettime(CLOCK_REALTIME, &now);
    if (result < 0)
        return hf_region_status(result);
    *out = (struct hf_superblock){
        .magic = HF_REGION_MAGIC,
        .endian = HF_REGION_ENDIAN,
        .format = HF_REGION_FORMAT,
        .page_size = HF_REGION_PAGE,
        .compatible = HF_REGION_COMPATIBLE,
        .id = {random[0], random[1]},
        .seed = random[2],
        .mutex_size = sizeof(pthread_mutex_t),
        .record_size = HF_REGION_RECORD_SIZE,
        .ring_at = HF_REGION_RING_AT,
        .slots_at = HF_REGION_SLOTS_AT,
        .heap_at = HF_REGION_HEAP_AT,
        .limit = options->limit,
        .created = now.tv_sec,
    };
    hf_super_set_trees(out, options->place_trees);
    out->checksum = hf_super_checksum(out);
    return 0;
}

/* Fills in a region without versions but the first, which is empty. The segment is mapped, and ours alone. */
static int fill(hf_region *region, const hf_region_options *options)
{
    struct hf_superblock super = {0};
    int status = make_super(options, &super);

    if (status < 0)
        return status;
    struct hf_lock_area *lock = hf_region_at(region, HF_REGION_LOCK_AT);
    memset(lock, 0, sizeof *lock);
    status = hf_lock_init(lock);
    if (status < 0)
        return status;
    memset(region->base + HF_REGION_RING_AT, 0, (size_t)HF_REGION_RING * HF_REGION_RECORD_SIZE);
    memset(region->base + HF_REGION_SLOTS_AT, 0, HF_REGION_PAGE);
    atomic_store(&lock->slots, HF_REGION_SLOTS_STEP);
    struct hf_commit *first = hf_region_commit(region, 1);
    atomic_store(&first->seen.txid, 1);
    atomic_store(&first->seen.top, HF_REGION_HEAP_AT);
    first->txid_again = 1;
    atomic_store(&lock->published, 1);
    /* The magic last: until then it is nothing. */
    struct hf_superblock *at = hf_region_super(region);
    uint64_t magic = super.magic;
    super.magic = 0;
    *at = super;
    __atomic_store_n(&at->magic, magic, __ATOMIC_RELEASE);
    return 0;
}

/* Gives the segment the length, and the pages, that an empty region has. */
static int provide_pages(int fd, uint64_t limit)
{
    int result;

    if (limit > 0 && limit < HF_REGION_HEAP_AT + HF_REGION_PAGE)
        return HF_NOSPACE;
    HF_OS_RETRY(result, hf_os_fallocate(fd, 0, 0, HF_REGION_SLOTS_AT + HF_REGION_PAGE));
    if (result == 0)
        HF_OS_RETRY(result, hf_os_fallocate(fd, 0, HF_REGION_HEAP_AT, HF_REGION_PAGE));
    return result < 0 ? hf_region_status(result) : 0;
}

/* -- attaching -- */

static int check_super(const struct hf_superblock *super)
{
    if (super->magic == __builtin_bswap64(HF_REGION_MAGIC))
        return HF_FORMAT;
    if (super->magic != HF_REGION_MAGIC)
        return HF_NOT_REGION;
    if (super->endian != HF_REGION_ENDIAN || super->format != HF_REGION_FORMAT ||
        (super->incompatible & ~HF_REGION_INCOMPATIBLE) != 0)
        return HF_FORMAT;
    if (super->checksum != hf_super_checksum(super))
        return HF_CORRUPT;
    if (super->page_size != HF_REGION_PAGE || super->mutex_size != sizeof(pthread_mutex_t) ||
        super->record_size != HF_REGION_RECORD_SIZE || super->ring_at != HF_REGION_RING_AT ||
        super->slots_at != HF_REGION_SLOTS_AT || super->heap_at != HF_REGION_HEAP_AT)
        return HF_FORMAT;
    unsigned place_trees;
    return hf_super_trees(super, &place_trees);
}

/* Whose is it, and what? */
static int check_file(int fd, bool any_owner, struct stat *found)
{
    int result = hf_os_fstat(fd, found);

    if (result < 0)
        return hf_region_status(result);
    if (!S_ISREG(found->st_mode))
        return HF_NOT_REGION;
    return any_owner || found->st_uid == hf_os_geteuid() ? 0 : HF_DENIED;
}

/* Reads the magic: *blank if there is none. */
static int read_super(int fd, struct hf_superblock *super, bool *blank)
{
    memset(super, 0, sizeof *super);
    int64_t got = hf_os_pread_all(fd, super, sizeof *super, 0);

    if (got < 0)
        return hf_region_status((int)got);
    /* Of a creator who died there are zeros, or nothing. */
    *blank = super->magic == 0;
    return 0;
}

/*
 * Whether a segment without magic is what a creator left who died: another program's bytes may begin with zeros too, and are
 * not to be written over. Until the magic is there nothing is but the superblock, the lock area and the first record.
 */
static int look_at_blank(int fd, const struct hf_superblock *super, bool *ours)
{
    const uint64_t enough = HF_REGION_HEAP_AT + (UINT64_C(1) << 20);
    unsigned char page[HF_REGION_PAGE];

    *ours = false;
    for (uint64_t at = 0; at < enough; at += sizeof page) {
        bool super_too = at == 0 && super->endian == HF_REGION_ENDIAN && super->heap_at == HF_REGION_HEAP_AT;
        int64_t got = hf_os_pread_all(fd, page, sizeof page, (off_t)at);

        if (got < 0)
            return hf_region_status((int)got);
        if (got == 0)
            break;
        if (at == HF_REGION_LOCK_AT || at == HF_REGION_RING_AT)
            continue;
        for (int64_t i = super_too ? (int64_t)sizeof *super : 0; i < got; i++)
            if (page[i] != 0)
                return 0;
    }
    *ours = true;
    return 0;
}

/* Says, through this description, that the segment is open. */
static int be_present(int fd)
{
    struct flock how = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_PRESENT, .l_len = 1};
    int result;

    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_SETLK, &how));
    return result;
}

int hf_region_reopen_present(int old)
{
    int fd = hf_region_reopen(old);
    int result = fd < 0 ? fd : be_present(fd);

    if (result >= 0)
        return fd;
    if (fd >= 0)
        hf_os_close(fd);
    return result;
}

/* With a description for the locks that nothing else keeps alive. The mapping holds the one that it was made with, in
 * children too; a process that was handed hf_region_fd has that one; and one that was open before nobody could fork any
 * more, a child may have. Where another cannot be had, the first has to do: pins of a dead process may then outlive it. */
void hf_region_link(hf_region *region)
{
    hf_fork_watch();
    hf_region_registry_lock();
    if (region->file != NULL) {
        hf_file_own_descriptions(region);
    } else {
        int fd = hf_region_reopen_present(region->fd);
        region->control_fd = fd >= 0 ? fd : region->fd;
    }
    region->next = hf_region_registry;
    hf_region_registry = region;
    hf_region_registry_unlock();
}

void hf_region_free(hf_region *region)
{
    hf_free(region->own);
    hf_free(region->idle);
    hf_free(region->txn.scan.lists);
    pthread_mutex_destroy(&region->mutex);
    hf_free(region);
}

/* A region of this process, with nothing mapped yet. */
int hf_region_new(int fd, const struct stat *found, hf_region **out)
{
    hf_region *region = hf_alloc(sizeof *region);

    if (region == NULL)
        return HF_NOMEM;
    memset(region, 0, sizeof *region);
    pthread_mutex_init(&region->mutex, NULL);
    region->own = hf_alloc(HF_REGION_SLOTS_MAX * sizeof(struct hf_slot *));
    region->idle = hf_alloc(HF_REGION_SLOTS_MAX * sizeof *region->idle);
    region->txn.scan.lists = hf_alloc((size_t)2 * HF_SCAN_PINS * sizeof(uint64_t));
    if (region->own == NULL || region->idle == NULL || region->txn.scan.lists == NULL) {
        hf_region_free(region);
        return HF_NOMEM;
    }
    region->fd = fd;
    region->twin_fd = region->twin_file_fd = -1;
    region->limit = UINT64_MAX;
    region->pid = hf_os_getpid();
    region->dev = found->st_dev;
    region->ino = found->st_ino;
    region->serial = hf_region_serial_next();
    region->ops = HF_CPU_SELECT(hf_region_trie_ops);
    region->place_ops = HF_CPU_SELECT(hf_region_place_ops);
    region->txn.region = region;
    hf_scan_forget(&region->txn.scan);
    *out = region;
    return 0;
}

/* How far the segment may grow. */
static void set_limit(hf_region *region, uint64_t limit)
{
    region->limit = limit == 0 ? UINT64_MAX : limit / HF_REGION_PAGE * HF_REGION_PAGE;
}

/* Provides memory that will be needed, if it can be had; no more than there may be. */
static int provide_room(hf_region *region, uint64_t room)
{
    uint64_t most = region->limit < region->reserved ? region->limit : region->reserved;
    uint64_t left = most - HF_REGION_HEAP_AT - HF_REGION_PAGE;

    int status = hf_pages_grow(region, HF_REGION_HEAP_AT + (room < left ? room : left));
    return status == HF_NOSPACE || status == HF_LIMIT ? 0 : status;
}

/* What a creator left who died has the permissions that it got as far as giving it. The new one's are those asked for. */
static int grant_anew(int fd, unsigned now, unsigned permissions)
{
    unsigned wanted = permissions != 0 ? permissions & 0777 : 0600;
    int result = (now & 0777) == wanted ? 0 : hf_os_fchmod(fd, wanted);

    return result < 0 ? hf_region_status(result) : 0;
}

/* Makes or checks the segment, whose creators' lock is held, and maps it. */
static int begin_region(int fd, const hf_region_options *options, hf_region **out)
{
    struct hf_superblock super;
    struct stat found;
    hf_region *region = NULL;
    bool blank = true, ours = true;
    int status = read_super(fd, &super, &blank);

    if (status == 0 && blank)
        status = look_at_blank(fd, &super, &ours);
    if (status == 0 && blank && (options->mode == HF_REGION_ATTACH || !ours))
        status = options->mode == HF_REGION_CREATE ? HF_EXISTS : HF_NOT_REGION;
    else if (status == 0 && !blank && options->mode == HF_REGION_CREATE)
        status = HF_EXISTS;
    else if (status == 0)
        status = blank ? provide_pages(fd, options->limit) : check_super(&super);
    if (status == 0)
        status = check_file(fd, options->any_owner, &found);
    if (status == 0 && blank)
        status = grant_anew(fd, (unsigned)found.st_mode, options->permissions);
    if (status == 0 && found.st_size < HF_REGION_HEAP_AT + HF_REGION_PAGE)
        status = HF_CORRUPT;
    if (status == 0)
        status = hf_region_new(fd, &found, &region);
    if (status != 0)
        return status;
    status = hf_pages_map(region, options->reserve, (uint64_t)found.st_size);
    if (status < 0)
        goto fail;
    region->home = &hf_home_shared;
    region->heap_at = HF_REGION_HEAP_AT;
    region->lock = hf_region_at(region, HF_REGION_LOCK_AT);
    region->slots_at = HF_REGION_SLOTS_AT;
    region->slots = hf_region_at(region, HF_REGION_SLOTS_AT);
    region->ring = hf_region_at(region, HF_REGION_RING_AT);
    region->record_size = HF_REGION_RECORD_SIZE;
    set_limit(region, blank ? options->limit : super.limit);
    if (blank && options->room > 0)
        status = provide_room(region, options->room);
    if (status == 0 && blank)
        status = fill(region, options);
    if (status == 0)
        status = hf_pages_begin(region, blank);
    if (status == 0)
        status = hf_super_trees(hf_region_super(region), &region->place_trees);
    if (status < 0) {
        hf_pages_unmap(region);
        goto fail;
    }
    hf_region_link(region);
    *out = region;
    return 0;

fail:
    hf_region_free(region);
    return status;
}

static const hf_region_options attach = {.mode = HF_REGION_ATTACH, .timeout = INT64_C(1000000000)};

/* Removes the name of a segment that this call made and could not finish, unless somebody else has or is about to, which
 * only the creators' lock tells. */
static void remove_blank(int fd, const char *name, bool locked)
{
    struct hf_superblock super;
    struct stat found;
    bool blank = false;

    if (!locked && lock_creation(fd, 0) < 0)
        return;
    if (read_super(fd, &super, &blank) == 0 && blank && hf_os_fstat(fd, &found) == 0 && found.st_nlink > 0)
        hf_os_shm_unlink(name);
    unlock_creation(fd);
}

/* Makes a region of a descriptor of its own, which it takes over; on failure it is closed. `made`: this call has made the
 * segment of that name. *gone: the segment lost its name while this waited, so it is not the one that was asked for. */
static int open_description(int fd, const hf_region_options *options, const char *name, bool made, bool *gone,
                            hf_region **out)
{
    struct stat found;
    int status = check_file(fd, options->any_owner, &found);
    bool locked = false;

    if (status == 0 && options->mode == HF_REGION_ATTACH)
        status = await_creator(fd, options->timeout, &found);
    if (status == 0)
        status = lock_creation(fd, options->timeout);
    if (status == 0) {
        locked = true;
        status = check_file(fd, options->any_owner, &found);
    }
    *gone = status == 0 && name != NULL && found.st_nlink == 0;
    if (status == 0 && !*gone) {
        status = begin_region(fd, options, out);
        if (status == 0) {
            unlock_creation(fd);
            return 0;
        }
    }
    if (status < 0 && made)
        remove_blank(fd, name, locked);
    hf_os_close(fd);
    return status;
}

/* Sets the permissions of a segment just made, which the umask has had its say on; or removes it. */
static int grant(int fd, const char *name, unsigned permissions)
{
    int result = hf_os_fchmod(fd, permissions & 0777);

    if (result == 0)
        return 0;
    remove_blank(fd, name, false);
    hf_os_close(fd);
    return hf_region_status(result);
}

/* Why what has the name could not be opened: a folder, a link, a socket and the like are no regions. */
static int named_status(int error)
{
    if (error == -ELOOP || error == -ENXIO || error == -ENODEV || error == -EISDIR || error == -EINVAL)
        return HF_NOT_REGION;
    return hf_region_status(error);
}

/* For a look: a FIFO without a writer would let it wait for ever. */
static int open_to_look(const char *name)
{
    int fd;

    HF_OS_RETRY(fd, hf_os_shm_open(name, O_RDONLY | O_NONBLOCK, 0));
    return fd;
}

int hf_region_open(const char *name, const hf_region_options *options, hf_region **out)
{
    if (options == NULL)
        options = &attach;
    if (name[0] != '/' || name[1] == '\0' || strchr(name + 1, '/') != NULL || strlen(name) >= HF_OS_NAME_SIZE)
        return HF_INVALID;
    if (options->mode != HF_REGION_ATTACH && options->place_trees >> HF_REGION_TREES != 0)
        return HF_INVALID;
    for (;;) {
        bool gone = false, made = false;
        int fd = -ENOENT, status = 0;

        if (options->mode != HF_REGION_ATTACH) {
            HF_OS_RETRY(fd, hf_os_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
            made = fd >= 0;
            if (made && options->permissions != 0)
                status = grant(fd, name, options->permissions);
            if (status < 0)
                return status;
        }
        /* It is there already. Somebody may have died making it, so CREATE looks as well. */
        if (fd == -EEXIST || options->mode == HF_REGION_ATTACH)
            HF_OS_RETRY(fd, hf_os_shm_open(name, O_RDWR, 0600));
        if (fd == -ENOENT && options->mode != HF_REGION_ATTACH)
            continue; /* and now it is gone again */
        if (fd < 0)
            return named_status(fd);
        status = open_description(fd, options, name, made, &gone, out);
        if (status < 0 || !gone)
            return status;
    }
}

/* 1 if somebody has the lock of those who have it open. */
static int ask_present(int fd)
{
    struct flock how = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HF_REGION_LOCK_PRESENT, .l_len = 1};
    int result;

    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_GETLK, &how));
    return result < 0 ? hf_region_status(result) : how.l_type != F_UNLCK;
}

/* All but whether it is open. */
static int read_info(int fd, hf_region_info *out)
{
    struct hf_superblock super;
    struct stat found;
    bool blank;
    int status = check_file(fd, true, &found);

    if (status == 0)
        status = read_super(fd, &super, &blank);
    if (status == 0 && super.magic != HF_REGION_MAGIC)
        status = HF_NOT_REGION;
    if (status < 0)
        return status;
    *out = (hf_region_info){
        .size = (uint64_t)found.st_blocks * 512,
        .owner = found.st_uid,
        .permissions = found.st_mode & 07777,
        .created = super.created,
    };
    return 0;
}

int hf_region_look(const char *name, hf_region_info *out)
{
    hf_region_info info;
    int fd = open_to_look(name);

    if (fd < 0)
        return named_status(fd);
    int status = read_info(fd, &info);
    int open = status < 0 ? status : ask_present(fd);
    hf_os_close(fd);
    if (open < 0)
        return open;
    info.is_open = open > 0;
    *out = info;
    return 0;
}

void hf_region_inode(const hf_region *region, uint64_t out[2])
{
    out[0] = region->dev;
    out[1] = region->ino;
}

int hf_region_unlink_inode(const char *name, const uint64_t inode[2])
{
    struct stat found;
    int fd = open_to_look(name);

    if (fd < 0)
        return named_status(fd) == HF_NOT_REGION ? HF_ABSENT : hf_region_status(fd);
    int result = hf_os_fstat(fd, &found);
    hf_os_close(fd);
    if (result < 0)
        return hf_region_status(result);
    return found.st_dev == inode[0] && found.st_ino == inode[1] ? hf_region_unlink(name) : HF_ABSENT;
}

int hf_region_open_fd(int fd, const hf_region_options *options, hf_region **out)
{
    bool gone = false;

    if (options == NULL)
        options = &attach;
    if (options->mode != HF_REGION_ATTACH && options->place_trees >> HF_REGION_TREES != 0)
        return HF_INVALID;
    /* A description of our own: the creators' lock is on it. */
    int own = hf_region_reopen(fd);
    if (own < 0)
        return hf_region_status(own);
    return open_description(own, options, NULL, false, &gone, out);
}

int hf_region_close(hf_region *region)
{
    hf_region **link = &hf_region_registry;
    hf_txn *left;
    bool busy;

    if (region->file != NULL)
        hf_file_stop(region);
    /* The transaction of a thread that has ended goes with the lock, if that can be had. */
    if (atomic_load(&region->txn.active) && hf_txn_begin(region, 0, &left) == 0)
        hf_txn_abort(left);
    hf_region_registry_lock();
    pthread_mutex_lock(&region->mutex);
    busy = region->snapshots != NULL || atomic_load(&region->txn.active);
    while (!busy && *link != region)
        link = &(*link)->next;
    if (!busy)
        *link = region->next;
    pthread_mutex_unlock(&region->mutex);
    hf_region_registry_unlock();
    if (busy && region->file != NULL)
        hf_file_resume(region);
    if (busy)
        return HF_BUSY;
    int status = region->file != NULL ? hf_file_finish(region) : 0;
    for (uint32_t i = 0; i < HF_REGION_SLOTS_MAX; i++)
        if (region->owned[i / 8] >> i % 8 & 1)
            hf_slots_release(region, region->control_fd, i);
    /* Nothing can be done about failures here, and nothing is lost by them. */
    hf_pages_unmap(region);
    if (region->file != NULL)
        hf_file_close(region);
    else if (region->control_fd >= 0 && region->control_fd != region->fd)
        hf_os_close(region->control_fd);
    if (region->fd >= 0)
        hf_os_close(region->fd);
    hf_region_free(region);
    return status;
}

/* 0 if this is a segment, of any version, or what a creator left of one. */
static int check_kind(int fd)
{
    struct hf_superblock super;
    struct stat found;
    bool blank = false, ours = true;
    int status = check_file(fd, true, &found);

    if (status == 0)
        status = read_super(fd, &super, &blank);
    if (status == 0 && blank)
        status = look_at_blank(fd, &super, &ours);
    if (status < 0)
        return status;
    bool any = blank || super.magic == HF_REGION_MAGIC || super.magic == __builtin_bswap64(HF_REGION_MAGIC);
    return any && ours ? 0 : HF_NOT_REGION;
}

int hf_region_unlink_segment(const char *name)
{
    int fd = open_to_look(name), status = fd < 0 ? named_status(fd) : check_kind(fd);

    if (fd >= 0)
        hf_os_close(fd);
    /* One that we may not look at may still be ours to remove. */
    return status < 0 && status != HF_DENIED ? status : hf_region_unlink(name);
}

int hf_region_unlink(const char *name)
{
    int result = hf_os_shm_unlink(name);

    return result < 0 ? hf_region_status(result) : 0;
}

int hf_region_flush(hf_region *region, int64_t timeout)
{
    return region->home->flush(region, timeout);
}

uint64_t hf_region_seed(const hf_region *region)
{
    return hf_region_super(region)->seed;
}

unsigned hf_region_place_trees(const hf_region *region)
{
    return region->place_trees;
}

void hf_region_id(const hf_region *region, uint64_t out[2])
{
    memcpy(out, hf_region_super(region)->id, sizeof hf_region_super(region)->id);
}

int hf_region_fd(const hf_region *region)
{
    return region->fd;
}
