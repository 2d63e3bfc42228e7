/*
 * page.c: the folder, the lock that keeps a second writer out, and the page by which the writer tells readers how
 * far the log goes.
 *
 *      writer    flock(folder, EX)                               readers    map `page`
 *                page: incarnation odd, all of it, even          `end` newer than what they have: follow.c
 *                put: log, ... then page.end
 *
 * The lock is on the folder itself: nothing can be removed to get around it, and it goes with the process, however
 * that ends. It is on an open file description, so in a child of a fork it would live on: the child closes it
 * (open.c).
 *
 * The page is believed only if this boot's writers made it for this cask, and if it is the file that they made: it
 * has boot id, device and inode in it. Then what it says is true, also after the death of the writer: what was put
 * is in the page cache. It is never synced.
 *
 * The clock: the system's, but never before anything that was seen: a record's stamp, or the moment at which
 * somebody was told that something had expired (page.clock, moved by whoever tells).
 *
 * Concurrency: opening and closing is one thread's; the clock is anybody's. Failure: what was opened is closed.
 */
#include "cask/cask.h"
#include "cask/sabotage.h"

#include "region/place.h"

#include <sys/file.h>
#include <sys/mman.h>

static const char page_name[] = "page", new_name[] = "page.new";

/* -- the folder -- */

/* The folder that this one is in, durable: the name of a new folder is in there. One that we may not read is left to who made it. */
int hf_cask_parent_sync(const char *path)
{
    size_t size = strlen(path);
    int fd, result;

    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    char *parent = hf_alloc(size + 2);
    if (parent == NULL)
        return HF_NOMEM;
    memcpy(parent, size > 0 ? path : ".", size > 0 ? size : 1);
    parent[size > 0 ? size : 1] = '\0';
    HF_OS_RETRY(fd, hf_os_open(parent, O_RDONLY | O_DIRECTORY, 0));
    hf_free(parent);
    if (fd < 0)
        return fd == -EACCES ? 0 : hf_os_file_status(fd);
    result = hf_os_fsync(fd);
    hf_os_close(fd);
    return result < 0 ? hf_os_file_status(result) : 0;
}

int hf_cask_folder_open(const char *path, hf_cask_mode mode, int *folder)
{
    int fd, result, status;

    HF_OS_RETRY(fd, hf_os_open(path, O_RDONLY | O_DIRECTORY, 0));
    if (fd == -ENOENT && mode != HF_CASK_READ) {
        result = hf_os_mkdir(path, 0700);
        if (result < 0 && result != -EEXIST)
            return hf_os_file_status(result);
        HF_OS_RETRY(fd, hf_os_open(path, O_RDONLY | O_DIRECTORY, 0));
    }
    if (fd < 0)
        return fd == -ENOTDIR ? HF_NOT_CASK : hf_os_file_status(fd);
    status = hf_place_refuse_network(fd);
    if (status < 0) {
        hf_os_close(fd);
        return status;
    }
    *folder = fd;
    return 0;
}

/* A reader that asks whether anybody writes has the lock for a moment: so try again. */
int hf_cask_folder_lock(int folder)
{
    enum { TRIES = 10, NAP = 2 * 1000 * 1000 };
    int result = 0;

    for (int i = 0; i < TRIES; i++) {
        HF_OS_RETRY(result, hf_os_flock(folder, LOCK_EX | LOCK_NB));
        if (result != -EWOULDBLOCK)
            break;
        if (i + 1 < TRIES)
            hf_os_sleep(NAP);
    }
    return result == -EWOULDBLOCK ? HF_BUSY : result < 0 ? hf_os_file_status(result) : 0;
}

int hf_cask_is_quiet(int folder)
{
    int result;

    HF_OS_RETRY(result, hf_os_flock(folder, LOCK_SH | LOCK_NB));
    if (result == -EWOULDBLOCK)
        return 0;
    if (result < 0)
        return hf_os_file_status(result);
    hf_os_flock(folder, LOCK_UN);
    return 1;
}

int hf_cask_folder_sync(hf_cask *cask)
{
    int result = hf_os_fsync(cask->folder);

    return result < 0 ? hf_os_file_status(result) : 0;
}

/* -- the page -- */

/* All zero: there is none to be had, and no page is believed. */
static int read_boot(unsigned char boot[16])
{
    char text[36];
    unsigned digits = 0;
    int fd;

    memset(boot, 0, 16);
    HF_OS_RETRY(fd, hf_os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0));
    if (fd == -ENOENT || fd == -EACCES)
        return 0;
    if (fd < 0)
        return hf_os_file_status(fd);
    int64_t got = hf_os_pread_all(fd, text, sizeof text, 0);
    hf_os_close(fd);
    if (got < 0)
        return hf_os_file_status((int)got);
    for (int64_t i = 0; i < got && digits < 32; i++) {
        unsigned char c = (unsigned char)text[i];
        unsigned value = c >= '0' && c <= '9' ? c - 48u : c >= 'a' && c <= 'f' ? c - 97u + 10u : 16u;
        if (value < 16) {
            boot[digits / 2] = (unsigned char)(boot[digits / 2] << 4 | value);
            digits++;
        }
    }
    return 0;
}

static bool is_nothing(const unsigned char boot[16])
{
    static const unsigned char nothing[16];

    return memcmp(boot, nothing, sizeof nothing) == 0;
}

/* Made in this boot, for this cask, in this file: then its clock is true, whatever else. */
static bool is_ours(const hf_cask *cask, const struct hf_cask_page *page, const struct stat *found,
                    const unsigned char boot[16])
{
    return page->magic == HF_CASK_PAGE_MAGIC && page->format == HF_CASK_FORMAT && page->id[0] == cask->id[0] &&
           page->id[1] == cask->id[1] && !is_nothing(boot) && memcmp(page->boot, boot, sizeof page->boot) == 0 &&
           page->device == found->st_dev && page->inode == found->st_ino;
}

static bool is_credible(const hf_cask *cask, const struct hf_cask_page *page, const struct stat *found,
                        const unsigned char boot[16])
{
    uint64_t incarnation = atomic_load(&page->incarnation);

    return is_ours(cask, page, found, boot) && incarnation != 0 && incarnation % 2 == 0;
}

/* One that nobody believes yet, but for the clock. */
static void init_page(const hf_cask *cask, struct hf_cask_page *page, const struct stat *found,
                      const unsigned char boot[16], uint64_t incarnation, uint64_t clock)
{
    memset(page, 0, sizeof *page);
    atomic_store(&page->incarnation, incarnation | 1);
    atomic_store(&page->clock, clock);
    memcpy(page->boot, boot, sizeof page->boot);
    page->id[0] = cask->id[0];
    page->id[1] = cask->id[1];
    page->device = found->st_dev;
    page->inode = found->st_ino;
    page->format = HF_CASK_FORMAT;
    page->magic = HF_CASK_PAGE_MAGIC;
}

/* Maps what is open, if it is long enough: 1; 0: it is not. */
static int map_page(int fd, const struct stat *found, bool writable, struct hf_cask_page **out)
{
    void *mapped;

    if (found->st_size < HF_CASK_PAGE_SIZE)
        return 0;
    int result = hf_os_mmap(NULL, HF_CASK_PAGE_SIZE, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0,
                            &mapped);
    if (result < 0)
        return hf_os_status(result);
    *out = mapped;
    return 1;
}

/* Opens the page's file, which is to be a plain one of ours. HF_ABSENT also where it is another's. */
static int open_page(int folder, int flags, struct stat *found)
{
    int fd, result;

    HF_OS_RETRY(fd, hf_os_openat(folder, page_name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
    if (fd < 0)
        return fd == -ELOOP || fd == -ENXIO || fd == -EISDIR ? HF_ABSENT : hf_os_file_status(fd);
    HF_OS_RETRY(result, hf_os_fstat(fd, found));
    if (result == 0 && S_ISREG(found->st_mode) && found->st_nlink == 1)
        return fd;
    hf_os_close(fd);
    return result < 0 ? hf_os_file_status(result) : HF_ABSENT;
}

/* All of its bytes, so that a store to it never finds the disk full. */
static int fill_page(int fd, struct stat *found)
{
    static const unsigned char zeros[HF_CASK_PAGE_SIZE];
    int result = hf_os_pwrite_all(fd, zeros, sizeof zeros, 0);

    if (result == 0)
        result = hf_os_fstat(fd, found);
    return result < 0 ? hf_os_file_status(result) : 0;
}

int hf_cask_page_open(hf_cask *cask, bool *credible)
{
    struct hf_cask_page *page = NULL;
    unsigned char boot[16];
    struct stat found;
    int fd = HF_ABSENT, status = read_boot(boot);

    if (status < 0)
        return status;
    fd = open_page(cask->folder, O_RDWR | O_CREAT, &found);
    if (fd == HF_ABSENT) {
        hf_os_unlinkat(cask->folder, page_name, 0);
        fd = open_page(cask->folder, O_RDWR | O_CREAT | O_EXCL, &found);
    }
    if (fd < 0)
        return fd;
    if (found.st_size < HF_CASK_PAGE_SIZE)
        status = fill_page(fd, &found);
    if (status == 0)
        status = map_page(fd, &found, true, &page);
    hf_os_close(fd);
    if (status <= 0 || page == NULL)
        return status < 0 ? status : HF_IO;
    cask->page = page;
    cask->page_writable = true;
    *credible = is_credible(cask, page, &found, boot);
    if (!*credible) {
        uint64_t incarnation = page->magic == HF_CASK_PAGE_MAGIC ? atomic_load(&page->incarnation) : 0;
        uint64_t clock = is_ours(cask, page, &found, boot) ? atomic_load(&page->clock) : 0;
        init_page(cask, page, &found, boot, incarnation, clock);
    }
    return 0;
}

/* The file is another one from now on: readers that have the old one see nothing of what is written now. */
static int hide(hf_cask *cask, int fd, struct stat *found)
{
    uint64_t clock = atomic_load(&cask->page->clock);
    struct hf_cask_page *page = NULL;
    unsigned char boot[16];
    int status = read_boot(boot);

    if (status == 0)
        status = fill_page(fd, found);
    if (status == 0)
        status = map_page(fd, found, true, &page);
    if (status <= 0 || page == NULL)
        return status < 0 ? status : HF_IO;
    init_page(cask, page, found, boot, 0, clock);
    int result = hf_os_renameat2(cask->folder, new_name, cask->folder, page_name, 0);
    if (result < 0) {
        hf_os_munmap(page, HF_CASK_PAGE_SIZE);
        return hf_os_file_status(result);
    }
    hf_os_munmap(cask->page, HF_CASK_PAGE_SIZE);
    cask->page = page;
    return 0;
}

int hf_cask_page_hide(hf_cask *cask)
{
    struct stat found;
    int fd, status;

    hf_os_unlinkat(cask->folder, new_name, 0); /* what a crash has left */
    HF_OS_RETRY(fd, hf_os_openat(cask->folder, new_name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    status = hide(cask, fd, &found);
    hf_os_close(fd);
    if (status < 0)
        hf_os_unlinkat(cask->folder, new_name, 0);
    return status;
}

void hf_cask_page_begin(hf_cask *cask)
{
    struct hf_cask_page *page = cask->page;
    uint64_t incarnation = atomic_load(&page->incarnation) | 1;

    atomic_store(&page->incarnation, incarnation);
    page->magic = HF_CASK_PAGE_MAGIC;
    page->format = HF_CASK_FORMAT;
    atomic_store(&page->broken, 0);
    atomic_store(&page->synced, cask->durable);
    atomic_store(&page->sequence, cask->sequence);
    atomic_store(&page->generation, cask->manifest.head.generation);
    if (atomic_load(&page->clock) < cask->manifest.head.clock)
        atomic_store(&page->clock, cask->manifest.head.clock);
    atomic_store(&page->end, cask->appended);
    /* Where the keydir is in memory it stays odd: no reader is to go by it. */
    atomic_store(&page->incarnation, incarnation + !cask->how.keydir_in_memory);
}

int hf_cask_page_attach(hf_cask *cask)
{
    struct hf_cask_page *page = NULL;
    unsigned char boot[16];
    struct stat found;
    bool writable = true;
    int status = read_boot(boot);

    if (status < 0)
        return status;
    int fd = open_page(cask->folder, O_RDWR, &found);
    if (fd == HF_DENIED || fd == HF_READ_ONLY) {
        writable = false;
        fd = open_page(cask->folder, O_RDONLY, &found);
    }
    if (fd < 0)
        return fd == HF_ABSENT || fd == HF_DENIED ? 0 : fd;
    status = map_page(fd, &found, writable, &page);
    hf_os_close(fd);
    if (status <= 0 || page == NULL)
        return status;
    if (!is_credible(cask, page, &found, boot)) {
        if (cask->watched == NULL)
            cask->watched = page;
        else
            hf_os_munmap(page, HF_CASK_PAGE_SIZE);
        return 0;
    }
    cask->page = page;
    cask->page_writable = writable;
    return 1;
}

void hf_cask_page_close(hf_cask *cask)
{
    if (cask->page != NULL && cask->page != cask->own_page)
        hf_os_munmap(cask->page, HF_CASK_PAGE_SIZE);
    cask->page = NULL;
    if (cask->watched != NULL)
        hf_os_munmap(cask->watched, HF_CASK_PAGE_SIZE);
    cask->watched = NULL;
    hf_free(cask->own_page);
    cask->own_page = NULL;
}

/* -- the clock -- */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t hf_cask_now(hf_cask *cask)
{
    struct timespec time;
    int64_t now = atomic_load_explicit(&cask->stamp, memory_order_relaxed);

    if (HF_CASK_FAULT(raw_clock))
        now = 0;
    else if (cask->page != NULL)
        now = later(now, (int64_t)atomic_load_explicit(&cask->page->clock, memory_order_relaxed));
    if (hf_os_clock_gettime(CLOCK_REALTIME, &time) == 0)
        now = later(now, (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000);
    return now < 0 ? 0 : now > HF_CASK_TIME_MAX ? HF_CASK_TIME_MAX : now;
}

bool hf_cask_has_expired(hf_cask *cask, int64_t expires)
{
    if (expires == INT64_MAX)
        return false;
    int64_t now = hf_cask_now(cask);
    if (now < expires)
        return false;
    if (cask->page != NULL && cask->page_writable) {
        uint64_t told = atomic_load(&cask->page->clock);
        while (told < (uint64_t)now && !atomic_compare_exchange_weak(&cask->page->clock, &told, (uint64_t)now))
            ;
    } else {
        int64_t told = atomic_load(&cask->stamp);
        while (told < now && !atomic_compare_exchange_weak(&cask->stamp, &told, now))
            ;
    }
    return true;
}
