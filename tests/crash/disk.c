/*
 * disk.c: see disk.h. The scratch folder and loading come first, then the table.
 */
#include "disk.h"

#include "stores.h"

#include "base/os.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static const char boot_id_path[] = "/proc/sys/kernel/random/boot_id";

/* Who is who in the folder, by inode of the state. */
struct real {
    dev_t dev;
    ino_t ino; /* 0: it is not there */
};

struct hf_disk {
    char scratch[256], root[272];
    struct hf_state *start, *state;
    struct hf_trace trace;
    struct hf_stores *stores; /* NULL: nobody wants to know */
    struct real *real;
    uint32_t reals;
    uint64_t boot;
    uint64_t mount;
    bool forget;
    uint64_t fail_flush;
    int fail_error;
    bool flush_failed;
    uint64_t end_thread;
    bool thread_ended;
    bool *open; /* by descriptor */
    size_t opens;
    unsigned streams;
    pthread_mutex_t mutex;
};

static struct hf_disk *disk_now;

/* -- the scratch folder -- */

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    return remove(path);
}

/* What hf_scratch_make has made, and which process. */
enum { SCRATCHES = 64 };
static char scratches[SCRATCHES][256];
static pid_t scratch_owner[SCRATCHES];

void hf_scratch_remove_all(void)
{
    for (size_t i = 0; i < SCRATCHES; i++)
        if (scratch_owner[i] == getpid())
            hf_scratch_remove(scratches[i]);
}

void hf_scratch_remove(const char *path)
{
    for (size_t i = 0; i < SCRATCHES; i++)
        if (scratch_owner[i] == getpid() && strcmp(scratches[i], path) == 0)
            scratch_owner[i] = 0;
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void hf_scratch_make(const char *parent, char *path, size_t size)
{
    if (parent == NULL)
        parent = getenv("HOLDFAST_CRASH_DIR");
    if (parent == NULL)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, size, "%s/holdfast-crash-XXXXXX", parent);
    HF_LAB_REQUIRE(mkdtemp(path) != NULL);
    for (size_t i = 0; i < SCRATCHES; i++)
        if (scratch_owner[i] == 0) {
            snprintf(scratches[i], sizeof(scratches[i]), "%s", path);
            scratch_owner[i] = getpid();
            break;
        }
}

static const char *pool_path(const struct hf_disk *disk, uint32_t inode, char *path, size_t size)
{
    snprintf(path, size, "%s/pool/%u", disk->scratch, inode);
    return path;
}

static void real_set(struct hf_disk *disk, uint32_t inode, const struct stat *info)
{
    if (inode >= disk->reals) {
        disk->real = hf_lab_resized(disk->real, (inode + 1) * sizeof(*disk->real));
        memset(disk->real + disk->reals, 0, (inode + 1 - disk->reals) * sizeof(*disk->real));
        disk->reals = inode + 1;
    }
    disk->real[inode] = info != NULL ? (struct real){info->st_dev, info->st_ino} : (struct real){0};
}

static uint32_t real_find(const struct hf_disk *disk, const struct stat *info)
{
    for (uint32_t inode = 1; inode < disk->reals; inode++)
        if (disk->real[inode].ino == info->st_ino && disk->real[inode].ino != 0 &&
            disk->real[inode].dev == info->st_dev)
            return inode;
    return HF_NO_INODE;
}

/* The state of a file that is nowhere. */
static const struct hf_file no_file;

static const struct hf_file *file_of(const struct hf_state *state, uint32_t inode)
{
    return inode < state->inodes ? &state->files[inode] : &no_file;
}

static struct hf_block *now_of(const struct hf_file *file, size_t block)
{
    return block < file->blocks ? file->now[block] : NULL;
}

/* Make the pool's file what `want` says, where it is what `have` says. */
static void load_file(struct hf_disk *disk, uint32_t inode, const struct hf_file *have, const struct hf_file *want)
{
    static const uint8_t zeros[HF_BLOCK];
    const bool all = disk->forget || have->mapped || !have->used;
    const size_t blocks = (size_t)((want->size + HF_BLOCK - 1) / HF_BLOCK);
    char path[320];
    struct stat info;
    int fd =
        open(pool_path(disk, inode, path, sizeof(path)), O_RDWR | O_CREAT | O_CLOEXEC | (all ? O_TRUNC : 0), 0600);

    HF_LAB_REQUIRE(fd >= 0);
    for (size_t b = 0; b < blocks; b++) {
        const struct hf_block *block = now_of(want, b);

        if (block == (all ? NULL : now_of(have, b)))
            continue;
        HF_LAB_REQUIRE(pwrite(fd, block != NULL ? block->bytes : zeros, HF_BLOCK, (off_t)b * HF_BLOCK) == HF_BLOCK);
    }
    if (all || have->size != want->size || want->size % HF_BLOCK != 0)
        HF_LAB_REQUIRE(ftruncate(fd, (off_t)want->size) == 0);
    if (all || have->mode != want->mode)
        HF_LAB_REQUIRE(fchmod(fd, want->mode) == 0);
    HF_LAB_REQUIRE(fstat(fd, &info) == 0);
    real_set(disk, inode, &info);
    close(fd);
}

static void load_files(struct hf_disk *disk, const struct hf_state *state)
{
    const uint32_t most = state->inodes > disk->state->inodes ? state->inodes : disk->state->inodes;
    char path[320];

    for (uint32_t inode = HF_ROOT_INODE + 1; inode < most; inode++) {
        const struct hf_file *have = file_of(disk->state, inode), *want = file_of(state, inode);

        if (want->used && !want->is_dir) {
            load_file(disk, inode, have->is_dir ? &no_file : have, want);
        } else if (have->used && !have->is_dir) {
            unlink(pool_path(disk, inode, path, sizeof(path)));
            real_set(disk, inode, NULL);
        }
    }
}

static void load_folder(struct hf_disk *disk, const struct hf_state *state, uint32_t dir, const char *path)
{
    for (size_t i = 0; i < state->now.count; i++) {
        const struct hf_name *name = &state->now.name[i];
        char inner[1024], pool[320];
        struct stat info;

        if (name->dir != dir)
            continue;
        HF_LAB_REQUIRE(snprintf(inner, sizeof(inner), "%s/%s", path, name->name) < (int)sizeof(inner));
        if (!state->files[name->inode].is_dir) {
            HF_LAB_REQUIRE(link(pool_path(disk, name->inode, pool, sizeof(pool)), inner) == 0);
            continue;
        }
        HF_LAB_REQUIRE(mkdir(inner, state->files[name->inode].mode | 0700) == 0 && stat(inner, &info) == 0);
        real_set(disk, name->inode, &info);
        load_folder(disk, state, name->inode, inner);
    }
}

static void load_names(struct hf_disk *disk, const struct hf_state *state)
{
    struct stat info;

    for (uint32_t inode = HF_ROOT_INODE; inode < disk->state->inodes; inode++)
        if (disk->state->files[inode].is_dir)
            real_set(disk, inode, NULL);
    hf_scratch_remove(disk->root);
    HF_LAB_REQUIRE(mkdir(disk->root, 0700) == 0 && stat(disk->root, &info) == 0);
    real_set(disk, HF_ROOT_INODE, &info);
    load_folder(disk, state, HF_ROOT_INODE, disk->root);
}

unsigned hf_disk_load(struct hf_disk *disk, const struct hf_state *state, bool power)
{
    unsigned left = hf_disk_open_count(disk);

    for (size_t fd = 0; fd < disk->opens; fd++)
        if (disk->open[fd]) {
            close((int)fd);
            disk->open[fd] = false;
        }
    disk->streams = 0;
    load_files(disk, state);
    if (disk->forget || !hf_names_equal(&disk->state->now, &state->now))
        load_names(disk, state);
    disk->forget = false;
    hf_trace_clear(&disk->trace);
    if (disk->stores != NULL)
        hf_disk_watch(disk);
    hf_state_free(disk->start);
    hf_state_free(disk->state);
    disk->start = hf_state_clone(state);
    disk->state = hf_state_clone(state);
    /* No two mounts have one number, whatever the disk; and one goes with its page cache. */
    static _Atomic uint64_t mounts;
    if (power)
        disk->mount = ++mounts;
    if (power)
        disk->boot++;
    disk->fail_flush = 0;
    disk->flush_failed = false;
    return left;
}

struct hf_disk *hf_disk_new(const char *parent)
{
    struct hf_disk *disk = hf_lab_zeroed(sizeof(*disk));
    char pool[320];
    pthread_mutexattr_t recursive;

    hf_scratch_make(parent, disk->scratch, sizeof(disk->scratch));
    snprintf(disk->root, sizeof(disk->root), "%s/root", disk->scratch);
    snprintf(pool, sizeof(pool), "%s/pool", disk->scratch);
    HF_LAB_REQUIRE(mkdir(pool, 0700) == 0);
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&disk->mutex, &recursive);
    pthread_mutexattr_destroy(&recursive);
    disk->state = hf_state_new();
    disk->forget = true;

    struct hf_state *empty = hf_state_new();

    hf_disk_load(disk, empty, true);
    hf_state_free(empty);
    return disk;
}

void hf_disk_free(struct hf_disk *disk)
{
    if (disk == NULL)
        return;
    if (disk_now == disk)
        hf_disk_use(NULL);
    hf_scratch_remove(disk->scratch);
    hf_trace_clear(&disk->trace);
    hf_stores_free(disk->stores);
    hf_state_free(disk->start);
    hf_state_free(disk->state);
    free(disk->real);
    free(disk->open);
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

const char *hf_disk_root(const struct hf_disk *disk)
{
    return disk->root;
}

const struct hf_trace *hf_disk_trace(const struct hf_disk *disk)
{
    return &disk->trace;
}

const struct hf_state *hf_disk_start(const struct hf_disk *disk)
{
    return disk->start;
}

const struct hf_state *hf_disk_state(const struct hf_disk *disk)
{
    return disk->state;
}

unsigned hf_disk_open_count(const struct hf_disk *disk)
{
    unsigned count = disk->streams;

    for (size_t fd = 0; fd < disk->opens; fd++)
        count += disk->open[fd];
    return count;
}

void hf_disk_end_thread(struct hf_disk *disk, uint64_t n)
{
    disk->end_thread = n;
    disk->thread_ended = false;
}

bool hf_disk_thread_ended(const struct hf_disk *disk)
{
    return disk->thread_ended;
}

void hf_disk_fail_flush(struct hf_disk *disk, uint64_t n, int error)
{
    disk->fail_flush = n;
    disk->fail_error = error;
    disk->flush_failed = false;
}

bool hf_disk_flush_failed(const struct hf_disk *disk)
{
    return disk->flush_failed;
}

void hf_disk_watch(struct hf_disk *disk)
{
    hf_stores_free(disk->stores);
    disk->stores = hf_stores_new();
}

const struct hf_stores *hf_disk_stores(const struct hf_disk *disk)
{
    return disk->stores;
}

void hf_disk_forget(struct hf_disk *disk)
{
    disk->forget = true;
}

/* -- recording -- */

static void lock(void)
{
    pthread_mutex_lock(&disk_now->mutex);
}

static void unlock(void)
{
    pthread_mutex_unlock(&disk_now->mutex);
}

/* Before a call that is to be the thread's last, and not made. Nothing is held here. */
static void end_thread_if_due(void)
{
    bool due;

    lock();
    due = disk_now->end_thread > 0 && --disk_now->end_thread == 0;
    disk_now->thread_ended |= due;
    unlock();
    if (due)
        pthread_exit(NULL);
}

/* What was stored up to now, through mappings. */
static void look_at_stores(struct hf_disk *disk)
{
    char path[320];

    for (uint32_t inode = 0; disk->stores != NULL && inode < disk->state->inodes; inode++)
        if (disk->state->files[inode].used && disk->state->files[inode].mapped)
            hf_stores_look(disk->stores, inode, pool_path(disk, inode, path, sizeof(path)), disk->trace.count);
}

static void record(struct hf_disk *disk, const struct hf_op *op)
{
    hf_state_apply(disk->state, op);
    hf_trace_add(&disk->trace, op);
}

void hf_disk_mark(struct hf_disk *disk, int mark, uint64_t digest)
{
    pthread_mutex_lock(&disk->mutex);
    look_at_stores(disk);
    record(disk, &(struct hf_op){.kind = HF_OP_MARK, .mark = mark, .digest = digest});
    pthread_mutex_unlock(&disk->mutex);
}

/* The inode of a descriptor, HF_NO_INODE where it is not on this disk. */
static uint32_t inode_of_fd(int fd)
{
    struct stat info;

    return fstat(fd, &info) == 0 ? real_find(disk_now, &info) : HF_NO_INODE;
}

/* A new file or folder that stands where `info` says. */
static uint32_t record_inode(const struct stat *info)
{
    const uint32_t inode = disk_now->state->inodes;

    record(disk_now,
           &(struct hf_op){
               .kind = HF_OP_INODE, .inode = inode, .is_dir = S_ISDIR(info->st_mode), .mode = info->st_mode & 07777});
    real_set(disk_now, inode, info);
    return inode;
}

/* A name as the state knows it: false where its folder is not on this disk. */
static bool locate(int dir, const char *path, struct hf_name *out)
{
    char copy[4096], *slash;
    struct stat info;

    if (strlen(path) >= sizeof(copy))
        return false;
    strcpy(copy, path);
    slash = strrchr(copy, '/');
    if (strlen(slash != NULL ? slash + 1 : copy) >= sizeof(out->name))
        return false;
    strcpy(out->name, slash != NULL ? slash + 1 : copy);
    if (slash != NULL)
        slash[slash == copy] = 0; /* the root keeps its slash */
    if (fstatat(dir, slash != NULL ? copy : ".", &info, 0) != 0)
        return false;
    out->dir = real_find(disk_now, &info);
    out->inode = hf_names_find(&disk_now->state->now, out->dir, out->name);
    return out->dir != HF_NO_INODE;
}

static void record_names(const struct hf_name *first, const struct hf_name *second)
{
    struct hf_name_change *change = hf_lab_zeroed(sizeof(*change));

    change->set[change->count++] = *first;
    if (second != NULL)
        change->set[change->count++] = *second;
    record(disk_now, &(struct hf_op){.kind = HF_OP_NAMES, .names = change});
}

static void record_name(const struct hf_name *name, uint32_t inode)
{
    struct hf_name set = *name;

    set.inode = inode;
    record_names(&set, NULL);
}

static void note_open(int fd, bool is_open)
{
    struct hf_disk *disk = disk_now;

    while ((size_t)fd >= disk->opens) {
        const size_t more = disk->opens > 0 ? 2 * disk->opens : 64;

        disk->open = hf_lab_resized(disk->open, more * sizeof(*disk->open));
        memset(disk->open + disk->opens, 0, (more - disk->opens) * sizeof(*disk->open));
        disk->opens = more;
    }
    disk->open[fd] = is_open;
}

static int refuse(const char *what)
{
    fprintf(stderr, "crash laboratory: the simulated disk does not model %s\n", what);
    return -EOPNOTSUPP;
}

/* -- the table: files -- */

static int boot_id_open(void)
{
    char text[64], path[320];
    int fd;

    snprintf(path, sizeof(path), "%s/boot_id", disk_now->scratch);
    snprintf(text, sizeof(text), "%08x-0000-4000-8000-%012llx\n", (unsigned)getpid(),
             (unsigned long long)disk_now->boot);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    HF_LAB_REQUIRE(fd >= 0 && pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
    return fd;
}

/* A file without a name, which linkat can still give it one, in the pool. */
static int unnamed_open(int flags, mode_t mode)
{
    char path[320];
    struct stat info;
    uint32_t inode = disk_now->state->inodes;
    int fd = open(pool_path(disk_now, inode, path, sizeof(path)), (flags & O_ACCMODE) | O_CREAT | O_EXCL | O_CLOEXEC,
                  mode);

    HF_LAB_REQUIRE(fd >= 0 && fstat(fd, &info) == 0);
    record_inode(&info);
    note_open(fd, true);
    return fd;
}

static int record_open(int fd, int flags, const struct hf_name *name, bool was_there)
{
    struct stat info;
    char path[320], proc[64];
    uint32_t inode;

    HF_LAB_REQUIRE(fstat(fd, &info) == 0);
    inode = real_find(disk_now, &info);
    if (inode == HF_NO_INODE && !was_there && name != NULL && (flags & O_CREAT) != 0) {
        inode = record_inode(&info);
        record_name(name, inode);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        HF_LAB_REQUIRE(
            linkat(AT_FDCWD, proc, AT_FDCWD, pool_path(disk_now, inode, path, sizeof(path)), AT_SYMLINK_FOLLOW) == 0);
    } else if (inode != HF_NO_INODE && (flags & O_TRUNC) != 0 && disk_now->state->files[inode].size > 0) {
        record(disk_now, &(struct hf_op){.kind = HF_OP_SIZE, .inode = inode});
    }
    if (inode != HF_NO_INODE)
        note_open(fd, true);
    return fd;
}

static int open_locked(int dir, const char *path, int flags, mode_t mode)
{
    struct hf_name name;
    struct stat info;
    bool here, was_there;
    int fd;

    if (strcmp(path, boot_id_path) == 0)
        return boot_id_open();
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        if (fstatat(dir, path, &info, 0) == 0 && real_find(disk_now, &info) != HF_NO_INODE)
            return unnamed_open(flags, mode);
        return hf_os_native.openat(dir, path, flags, mode);
    }
    here = locate(dir, path, &name);
    if (here && (flags & (O_SYNC | O_DSYNC | O_APPEND)) != 0)
        return refuse("O_SYNC, O_DSYNC and O_APPEND");
    was_there = fstatat(dir, path, &info, 0) == 0;
    fd = hf_os_native.openat(dir, path, flags, mode);
    return fd < 0 ? fd : record_open(fd, flags, here ? &name : NULL, was_there);
}

static int disk_openat(int dir, const char *path, int flags, mode_t mode)
{
    int fd;

    lock();
    fd = open_locked(dir, path, flags, mode);
    unlock();
    return fd;
}

static int disk_open(const char *path, int flags, mode_t mode)
{
    return disk_openat(AT_FDCWD, path, flags, mode);
}

static int disk_close(int fd)
{
    int done;

    lock();
    if (fd >= 0 && (size_t)fd < disk_now->opens)
        note_open(fd, false);
    done = hf_os_native.close(fd);
    unlock();
    return done;
}

static ssize_t disk_pwrite(int fd, const void *buffer, size_t size, off_t at)
{
    ssize_t done;
    uint32_t inode;

    end_thread_if_due();
    lock();
    look_at_stores(disk_now);
    done = hf_os_native.pwrite(fd, buffer, size, at);
    inode = done > 0 ? inode_of_fd(fd) : HF_NO_INODE;
    if (inode != HF_NO_INODE)
        record(disk_now, &(struct hf_op){.kind = HF_OP_WRITE,
                                         .inode = inode,
                                         .at = (uint64_t)at,
                                         .size = (uint64_t)done,
                                         .bytes = hf_lab_copied(buffer, (size_t)done)});
    unlock();
    return done;
}

static int disk_ftruncate(int fd, off_t length)
{
    int done;
    uint32_t inode;

    end_thread_if_due();
    lock();
    done = hf_os_native.ftruncate(fd, length);
    inode = done == 0 ? inode_of_fd(fd) : HF_NO_INODE;
    if (inode != HF_NO_INODE)
        record(disk_now, &(struct hf_op){.kind = HF_OP_SIZE, .inode = inode, .size = (uint64_t)length});
    unlock();
    return done;
}

static int fallocate_locked(int fd, int mode, off_t at, off_t length)
{
    const uint32_t inode = inode_of_fd(fd);
    const uint64_t end = (uint64_t)at + (uint64_t)length;
    int done;

    if (inode != HF_NO_INODE && (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
        return refuse("ranges that are collapsed or inserted");
    done = hf_os_native.fallocate(fd, mode, at, length);
    if (done < 0 || inode == HF_NO_INODE)
        return done;

    const uint64_t size = disk_now->state->files[inode].size;

    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0 && (uint64_t)at < size)
        record(disk_now, &(struct hf_op){.kind = HF_OP_ZERO,
                                         .inode = inode,
                                         .at = (uint64_t)at,
                                         .size = (end < size ? end : size) - (uint64_t)at});
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && end > size)
        record(disk_now, &(struct hf_op){.kind = HF_OP_SIZE, .inode = inode, .size = end});
    return done;
}

static int disk_fallocate(int fd, int mode, off_t at, off_t length)
{
    int done;

    lock();
    done = fallocate_locked(fd, mode, at, length);
    unlock();
    return done;
}

static int flush_locked(int fd)
{
    struct hf_disk *disk = disk_now;
    struct stat info;
    uint32_t inode;
    int error = 0;

    if (fstat(fd, &info) != 0)
        return -errno;
    inode = real_find(disk, &info);
    if (inode == HF_NO_INODE)
        return 0; /* a test waits for no disk */
    if (disk->fail_flush > 0 && --disk->fail_flush == 0) {
        error = disk->fail_error;
        disk->flush_failed = true;
    }
    record(disk, &(struct hf_op){.kind = error != 0 ? HF_OP_SYNC_FAILED : HF_OP_SYNC, .inode = inode});
    return -error;
}

/* No file system that is asked for the size of a file loses it: fdatasync is fsync, as far as we can see. */
static int disk_flush(int fd)
{
    int done;

    end_thread_if_due();
    lock();
    look_at_stores(disk_now);
    done = flush_locked(fd);
    unlock();
    return done;
}

static int disk_mmap(void *address, size_t length, int protection, int flags, int fd, off_t at, void **out)
{
    int done;
    uint32_t inode;

    lock();
    done = hf_os_native.mmap(address, length, protection, flags, fd, at, out);
    inode = done == 0 && fd >= 0 && (flags & MAP_ANONYMOUS) == 0 ? inode_of_fd(fd) : HF_NO_INODE;
    if (inode != HF_NO_INODE && (protection & PROT_WRITE) != 0 && (flags & MAP_TYPE) != MAP_PRIVATE &&
        !disk_now->state->files[inode].mapped)
        record(disk_now, &(struct hf_op){.kind = HF_OP_MAPPED, .inode = inode});
    unlock();
    return done;
}

/* The link in the pool is not the program's. */
static int without_pool(int done, struct stat *out)
{
    if (done == 0 && !S_ISDIR(out->st_mode) && real_find(disk_now, out) != HF_NO_INODE)
        out->st_nlink--;
    return done;
}

static int disk_fstat(int fd, struct stat *out)
{
    int done;

    lock();
    done = without_pool(hf_os_native.fstat(fd, out), out);
    unlock();
    return done;
}

static int disk_fstatat(int dir, const char *path, struct stat *out, int flags)
{
    int done;

    lock();
    done = without_pool(hf_os_native.fstatat(dir, path, out, flags), out);
    unlock();
    return done;
}

/* -- the table: names -- */

static int rename_locked(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    struct hf_name source, target;
    const bool from_here = locate(from_dir, from, &source), to_here = locate(to_dir, to, &target);
    const int done = hf_os_native.renameat2(from_dir, from, to_dir, to, flags);
    uint32_t moved;

    if (done < 0 || (!from_here && !to_here))
        return done;
    HF_LAB_REQUIRE(from_here && to_here); /* another file system: the system has said EXDEV */
    moved = source.inode;
    /* Two names of one file: rename does nothing. */
    if (moved == target.inode && (flags & RENAME_EXCHANGE) == 0)
        return done;
    source.inode = (flags & RENAME_EXCHANGE) != 0 ? target.inode : HF_NO_INODE;
    target.inode = moved;
    record_names(&source, &target);
    return done;
}

static int disk_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    int done;

    lock();
    done = rename_locked(from_dir, from, to_dir, to, flags);
    unlock();
    return done;
}

static int disk_rename(const char *from, const char *to)
{
    return disk_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int linkat_locked(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    struct hf_name target;
    const bool here = locate(to_dir, to, &target);
    const int done = hf_os_native.linkat(from_dir, from, to_dir, to, flags);
    struct stat info;

    if (done < 0 || !here)
        return done;
    /* The source may be a descriptor: see what has got the name. */
    HF_LAB_REQUIRE(fstatat(to_dir, to, &info, AT_SYMLINK_NOFOLLOW) == 0);
    target.inode = real_find(disk_now, &info);
    HF_LAB_REQUIRE(target.inode != HF_NO_INODE); /* a file from elsewhere, whose bytes are not known */
    record_name(&target, target.inode);
    return done;
}

static int disk_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    int done;

    lock();
    done = linkat_locked(from_dir, from, to_dir, to, flags);
    unlock();
    return done;
}

static int disk_link(const char *from, const char *to)
{
    return disk_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int unlinkat_locked(int dir, const char *path, int flags)
{
    struct hf_name name;
    const bool here = locate(dir, path, &name);
    const int done = hf_os_native.unlinkat(dir, path, flags);

    if (done < 0 || !here || name.inode == HF_NO_INODE)
        return done;
    record_name(&name, HF_NO_INODE);
    if ((flags & AT_REMOVEDIR) != 0)
        real_set(disk_now, name.inode, NULL); /* its number may be given to another */
    return done;
}

static int disk_unlinkat(int dir, const char *path, int flags)
{
    int done;

    lock();
    done = unlinkat_locked(dir, path, flags);
    unlock();
    return done;
}

static int disk_unlink(const char *path)
{
    return disk_unlinkat(AT_FDCWD, path, 0);
}

static int disk_mkdir(const char *path, mode_t mode)
{
    struct hf_name name;
    struct stat info;
    int done;
    bool here;

    lock();
    here = locate(AT_FDCWD, path, &name);
    done = hf_os_native.mkdir(path, mode);
    if (done == 0 && here) {
        HF_LAB_REQUIRE(stat(path, &info) == 0);
        record_name(&name, record_inode(&info));
    }
    unlock();
    return done;
}

static int disk_opendir(const char *path, struct hf_os_dir **out)
{
    struct stat info;
    int done;

    lock();
    done = hf_os_native.opendir(path, out);
    if (done == 0 && stat(path, &info) == 0 && real_find(disk_now, &info) != HF_NO_INODE)
        disk_now->streams++;
    unlock();
    return done;
}

static int disk_closedir(struct hf_os_dir *dir)
{
    int done;

    lock();
    if (inode_of_fd(dirfd((DIR *)dir)) != HF_NO_INODE)
        disk_now->streams--;
    done = hf_os_native.closedir(dir);
    unlock();
    return done;
}

static int disk_mount(int fd, uint64_t *out)
{
    lock();
    *out = disk_now->mount;
    unlock();
    return 0;
}

struct hf_disk *hf_disk_use(struct hf_disk *disk)
{
    static struct hf_os table;
    struct hf_disk *before = disk_now;

    table = hf_os_native;
    table.open = disk_open;
    table.openat = disk_openat;
    table.close = disk_close;
    table.pwrite = disk_pwrite;
    table.ftruncate = disk_ftruncate;
    table.fallocate = disk_fallocate;
    table.fsync = disk_flush;
    table.fdatasync = disk_flush;
    table.mmap = disk_mmap;
    table.fstat = disk_fstat;
    table.fstatat = disk_fstatat;
    table.rename = disk_rename;
    table.renameat2 = disk_renameat2;
    table.link = disk_link;
    table.linkat = disk_linkat;
    table.unlink = disk_unlink;
    table.unlinkat = disk_unlinkat;
    table.mkdir = disk_mkdir;
    table.opendir = disk_opendir;
    table.closedir = disk_closedir;
    table.mount = disk_mount;
    disk_now = disk;
    hf_os_replace(disk != NULL ? &table : NULL);
    return before;
}
