/*
 * file_make.c: makes a region in a file.
 *
 *      FILE.new-<random>    all of it is written, flushed and closed under this name; meanwhile its byte MAKER is locked
 *           |
 *           v  renamed, unless the name is taken; then the folder is flushed
 *      FILE                 superblock, first root, a clean mark
 *
 * So there is no FILE, or a whole one, whenever the maker is killed or the power goes.
 *
 * What a maker who was killed has left is swept away: by the next maker, and by a writer who opens FILE and finds nobody
 * else there. A name is FILE's (as much of it as leaves room for the rest), ".new-" and 16 hexadecimal digits; what has it is only removed if it is a plain file of
 * ours, begins like a region or with zeros or not at all, and nobody has a lock on it. The sweeper then has that.
 *
 *      maker       makes the file (it must be new)        sweeper     opens it
 *                  locks MAKER: -EAGAIN, another name                 locks MAKER and all other places of locks
 *                  has it a name yet? no: another name                removes the name
 *
 * If the maker has its lock, no sweeper gets one. If a sweeper was first, the maker finds that out: by the lock, or where
 * the sweeper is done, by the name that is gone.
 *
 * Concurrency: two makers have two files, and one of them gets the name. Failure: the file is removed. A sweep that fails
 * leaves what it cannot see to, and says nothing.
 */
#include "region/file.h"
#include "region/place.h"

#include <stdio.h>

static const char infix[] = ".new-";

/* Of FILE's name goes into the other one what leaves room for the rest; and no name is longer than one that leaves room for
 * that of its lock file. */
enum {
    DIGITS = 16,
    LONGEST = HF_OS_NAME_SIZE - 1 - (int)(sizeof "-lock" - 1),
    STEM = LONGEST - (int)(sizeof infix - 1) - DIGITS,
};

/* Without the folders that lead to it. */
static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

static size_t stem_of(const char *name)
{
    size_t size = strlen(name);

    return size < STEM ? size : STEM;
}

/* Superblock, the first root, a clean mark. */
static int fill_pages(char *pages, const uint64_t *seed, unsigned place_trees)
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
        .id = {random[0], random[1]},
        .seed = seed != NULL ? *seed : random[2],
        .record_size = sizeof(struct hf_root),
        .heap_at = HF_FILE_HEAP_AT,
    };
    hf_super_set_trees(super, place_trees);
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
    clean->checksum = hf_clean_checksum(clean);
    return 0;
}

static int write_new(int fd, const uint64_t *seed, unsigned place_trees)
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
        status = most < SIZE ? hf_region_status(-EFBIG) : fill_pages(pages, seed, place_trees);
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

/* -- other names -- */

/* From this byte on, so many (0: all there are). 0, or -errno: -EAGAIN where somebody else has one of them. */
static int lock_from(int fd, int64_t at, int64_t count)
{
    struct flock how = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = count};
    int result;

    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_SETLK, &how));
    return result == -EACCES ? -EAGAIN : result;
}

/* A file of this name, which must be new, with its lock: 0, -EAGAIN: a sweeper was there first; or -errno. */
static int make_locked(const char *name, int *out)
{
    struct stat found;
    int fd, result;

    HF_OS_RETRY(fd, hf_os_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return fd;
    result = lock_from(fd, HF_CONTROL_LOCK_MAKER, 1);
    if (result == 0)
        result = hf_os_fstat(fd, &found);
    if (result == 0 && found.st_nlink > 0) {
        *out = fd;
        return 0;
    }
    if (result < 0 && result != -EAGAIN)
        hf_os_unlink(name);
    hf_os_close(fd);
    return result < 0 ? result : -EAGAIN;
}

int hf_making_begin(const char *path, const uint64_t *seed, unsigned place_trees, struct hf_making *out)
{
    enum { TRIES = 8 };
    uint64_t random;
    size_t size = strlen(path) + sizeof infix + DIGITS;
    char *name;
    const char *file = name_in(path);
    int result = -EAGAIN, fd = -1, keep = (int)((size_t)(file - path) + stem_of(file));

    if (strlen(file) > LONGEST)
        return HF_INVALID;
    name = hf_alloc(size);
    if (name == NULL)
        return HF_NOMEM;
    hf_file_sweep(path);
    for (int tries = 0; tries < TRIES && result == -EAGAIN; tries++) {
        result = hf_os_getrandom_all(&random, sizeof random);
        if (result == 0) {
            snprintf(name, size, "%.*s%s%0*llx", keep, path, infix, DIGITS, (unsigned long long)random);
            result = make_locked(name, &fd);
        }
    }
    if (result != 0) {
        hf_free(name);
        return result == -EAGAIN ? HF_BUSY : hf_region_status(result);
    }
    *out = (struct hf_making){.name = name, .fd = fd};
    int status = hf_place_refuse_network(fd);
    if (status == 0)
        status = write_new(fd, seed, place_trees);
    if (status != 0)
        hf_making_end(out, false);
    return status;
}

void hf_making_end(struct hf_making *making, bool named)
{
    if (!named)
        hf_os_unlink(making->name);
    hf_os_close(making->fd);
    hf_free(making->name);
    making->name = NULL;
}

int hf_file_make_behind(const char *path, unsigned place_trees)
{
    char own[sizeof "/proc/self/fd/" + 12 + HF_OS_NAME_SIZE];
    struct hf_place place;
    int status = hf_place_vacant(path, &place);

    if (status < 0)
        return status;
    snprintf(own, sizeof own, "/proc/self/fd/%d/%s", place.dir, place.name);
    status = hf_file_make(own, NULL, place_trees);
    hf_os_close(place.dir);
    return status;
}

int hf_file_make(const char *path, const uint64_t *seed, unsigned place_trees)
{
    struct hf_making making = {.fd = -1};
    int status = hf_making_begin(path, seed, place_trees, &making);

    if (status != 0)
        return status;
    status = hf_file_name(making.name, path);
    hf_making_end(&making, status == 0);
    return status;
}

/* -- sweeping -- */

/* Is this FILE's name with what makes another one of it? */
static bool is_other(const char *name, const char *file)
{
    size_t size = stem_of(file);

    return strncmp(name, file, size) == 0 && strncmp(name + size, infix, sizeof infix - 1) == 0 &&
           strlen(name) == size + sizeof infix - 1 + DIGITS &&
           strspn(name + size + sizeof infix - 1, "0123456789abcdef") == DIGITS;
}

/* Is this what a maker has left? Then it is locked. */
static bool is_left(int fd)
{
    struct stat found;
    uint64_t magic = 0;

    if (hf_os_fstat(fd, &found) < 0 || !S_ISREG(found.st_mode) || found.st_uid != hf_os_geteuid() ||
        hf_os_pread_all(fd, &magic, sizeof magic, 0) < 0 || (magic != 0 && magic != HF_FILE_MAGIC))
        return false;
    return lock_from(fd, HF_REGION_LOCK_CREATE, 0) == 0;
}

/* A lock file first: without its file it would never be found again. */
static void remove_left(const char *name, char *lock, size_t size)
{
    int fd;

    HF_OS_RETRY(fd, hf_os_open(name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return;
    if (is_left(fd)) {
        snprintf(lock, size, "%s-lock", name);
        hf_os_unlink(lock);
        hf_os_unlink(name);
    }
    hf_os_close(fd);
}

void hf_file_sweep(const char *path)
{
    const char *file = name_in(path);
    size_t folder = (size_t)(file - path), size = folder + 2 * (size_t)HF_OS_NAME_SIZE;
    char found[HF_OS_NAME_SIZE];
    char *name = hf_alloc(size), *lock = hf_alloc(size); /* the folder, then what is in it; its lock file */
    struct hf_os_dir *dir;

    if (name == NULL || lock == NULL)
        goto done;
    snprintf(name, size, "%.*s", (int)folder, path);
    if (hf_os_opendir(folder == 0 ? "." : name, &dir) < 0)
        goto done;
    while (hf_os_readdir(dir, found) == 1)
        if (is_other(found, file)) {
            snprintf(name + folder, size - folder, "%s", found);
            remove_left(name, lock, size);
        }
    hf_os_closedir(dir);
done:
    hf_free(name);
    hf_free(lock);
}
