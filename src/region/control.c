/*
 * control.c: opening and closing the lock file of a region in a file. See control.h.
 *
 *      lock OPENERS, waiting as long as allowed ---------------------------------> HF_TIMEOUT
 *      is FILE still what the path leads to? ------------------------------------> HF_ABSENT
 *
 *      a writer                                    a reader
 *      try PRESENCE, exclusively, all of it        can FILE-lock be believed?
 *       |                                           |-- no: READERS; go by FILE
 *       |-- got it: can FILE-lock be believed?      |-- yes, and be written: its byte of PRESENCE
 *       |     yes: TRUSTED    no: make it: FRESH    '-- yes, but not be written: READERS; look at it
 *       '-- others are there: is it theirs?
 *             yes: JOINED, its byte of PRESENCE   no -----------------------------> HF_BUSY
 *
 *      ready: the flag in page 0, PRESENCE shared, OPENERS given back
 *
 * To make FILE-lock is to take its name from what is there and to make a file of that name that must be new. Nobody
 * comes between, for OPENERS is held; who dies between leaves no file, or one without the flag, and both mean: make
 * it.
 */
#include "region/control.h"

#include "region/file_layout.h"

#include "region/impl.h"
#include "region/place.h"

#include "base/hash.h"

#include <sys/mman.h>

enum { NAP = 1000 * 1000 };

static const char suffix[] = "-lock";

/* -- locks -- */

/* 0, -EAGAIN where somebody else is in the way, or -errno. */
static int set_lock(int fd, short type, int64_t at, int64_t count)
{
    struct flock how = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = count};
    int result;

    if (count == 0)
        return 0;
    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_SETLK, &how));
    return result == -EACCES ? -EAGAIN : result;
}

/* 1 where another description has any lock there; 0, or a status. */
static int is_locked(int fd, int64_t at, int64_t count)
{
    struct flock how = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = count};
    int result;

    if (count == 0)
        return 0;
    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_GETLK, &how));
    return result < 0 ? hf_region_status(result) : how.l_type != F_UNLCK;
}

/* A status for set_lock's result where nobody can be in the way. */
static int lock_status(int result)
{
    if (result == -EAGAIN)
        return HF_BUSY;
    return result == -EBADF ? HF_INVALID : result < 0 ? hf_region_status(result) : 0;
}

static int now(int64_t *out)
{
    struct timespec time;
    int result = hf_os_clock_gettime(CLOCK_MONOTONIC, &time);

    if (result < 0)
        return hf_region_status(result);
    *out = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    return 0;
}

static int lock_openers(int fd, short type, int64_t timeout)
{
    int64_t start = 0, time = 0;
    int result = set_lock(fd, type, HF_CONTROL_LOCK_OPENERS, 1);

    if (result != -EAGAIN)
        return lock_status(result);
    int status = now(&start);
    for (time = start; status == 0;) {
        int64_t left = timeout - (time - start);
        if (timeout >= 0 && left <= 0)
            return HF_TIMEOUT;
        result = hf_os_sleep(timeout < 0 || left > NAP ? NAP : left);
        if (result < 0)
            return hf_region_status(result);
        result = set_lock(fd, type, HF_CONTROL_LOCK_OPENERS, 1);
        if (result != -EAGAIN)
            return lock_status(result);
        status = now(&time);
    }
    return status;
}

static int unlock_openers(int fd)
{
    return lock_status(set_lock(fd, F_UNLCK, HF_CONTROL_LOCK_OPENERS, 1));
}

static int lock_all_presence(int fd, short type)
{
    return set_lock(fd, type, HF_CONTROL_LOCK_PRESENCE, HF_CONTROL_LOCK_PRESENCES);
}

static int lock_mark(int fd, short type, uint64_t mark)
{
    return set_lock(fd, type, HF_CONTROL_LOCK_PRESENCE + (int64_t)mark, 1);
}

/* Does somebody else hold the byte of this lock file; or the byte of any other one? */
static int is_mark_locked(int fd, uint64_t mark)
{
    return is_locked(fd, HF_CONTROL_LOCK_PRESENCE + (int64_t)mark, 1);
}

static int is_another_mark_locked(int fd, uint64_t mark)
{
    int64_t below = (int64_t)mark, at = HF_CONTROL_LOCK_PRESENCE;
    int locked = is_locked(fd, at, below);

    return locked != 0 ? locked : is_locked(fd, at + below + 1, HF_CONTROL_LOCK_PRESENCES - below - 1);
}

/* All that a description may hold. What cannot be given back goes when the description does. */
static void unlock_all(int fd)
{
    lock_all_presence(fd, F_UNLCK);
    set_lock(fd, F_UNLCK, HF_CONTROL_LOCK_WRITERS, 1);
    set_lock(fd, F_UNLCK, HF_CONTROL_LOCK_READERS, 1);
    unlock_openers(fd);
}

void hf_control_let_go(int fd)
{
    unlock_all(fd);
}

/* -- page 0 -- */

/* What an opening knows. */
struct opening {
    int fd;
    struct stat file;
    struct hf_place place;
    char boot[HF_CONTROL_BOOT_SIZE]; /* all zero: there is none to be had */
    uint64_t mount;                  /* 0: not known */
    uint64_t size;
    struct hf_control control;
};

static uint64_t page_checksum(const struct hf_control_page *page)
{
    return hf_checksum64(page, offsetof(struct hf_control_page, checksum), HF_CONTROL_MAGIC);
}

static struct hf_control_page *page_of(const struct hf_control *control)
{
    return (struct hf_control_page *)control->base;
}

/* Where there is no /proc there is no boot id, and what was left is not believed. */
static int read_boot(char boot[HF_CONTROL_BOOT_SIZE])
{
    int fd;

    memset(boot, 0, HF_CONTROL_BOOT_SIZE);
    HF_OS_RETRY(fd, hf_os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0));
    if (fd == -ENOENT || fd == -EACCES)
        return 0;
    if (fd < 0)
        return hf_region_status(fd);
    int64_t got = hf_os_pread_all(fd, boot, HF_CONTROL_BOOT_SIZE - 1, 0);
    hf_os_close(fd);
    return got < 0 ? hf_region_status((int)got) : 0;
}

/* An older kernel has no such numbers, and what confines a program may keep it from asking. */
static int read_mount(int fd, uint64_t *out)
{
    int result;

    HF_OS_RETRY(result, hf_os_mount(fd, out));
    if (result == -ENOSYS || result == -EINVAL || result == -EPERM || result == -EACCES) {
        *out = 0;
        return 0;
    }
    return result;
}

static struct hf_control_page make_page(const struct opening *o, const struct stat *own, uint64_t mark)
{
    struct hf_control_page page = {
        .magic = HF_CONTROL_MAGIC,
        .endian = HF_REGION_ENDIAN,
        .format = HF_CONTROL_FORMAT,
        .region_format = HF_REGION_FORMAT,
        .mutex_size = sizeof(pthread_mutex_t),
        .record_size = HF_FILE_RECORD_SIZE,
        .file_dev = o->file.st_dev,
        .file_ino = o->file.st_ino,
        .own_dev = own->st_dev,
        .own_ino = own->st_ino,
        .mark = mark,
        .mount = o->mount,
    };

    memcpy(page.boot, o->boot, sizeof page.boot);
    page.checksum = page_checksum(&page);
    return page;
}

/* Whether FILE-lock is one for this FILE, made and set up by a program like this: 1, 0; HF_FORMAT: by another one. */
static int is_whole(const struct opening *o, const struct stat *own, const struct hf_control_page *page)
{
    if (page->magic != HF_CONTROL_MAGIC && page->magic != __builtin_bswap64(HF_CONTROL_MAGIC))
        return 0;
    if (page->magic != HF_CONTROL_MAGIC || page->endian != HF_REGION_ENDIAN || page->format != HF_CONTROL_FORMAT ||
        page->region_format != HF_REGION_FORMAT || page->mutex_size != sizeof(pthread_mutex_t) ||
        page->record_size != HF_FILE_RECORD_SIZE)
        return HF_FORMAT;
    return page->checksum == page_checksum(page) && page->file_dev == o->file.st_dev &&
           page->file_ino == o->file.st_ino && page->own_dev == own->st_dev && page->own_ino == own->st_ino &&
           page->mark < (uint64_t)HF_CONTROL_LOCK_PRESENCES && page->initialised == 1 &&
           (uint64_t)own->st_size >= o->size;
}

static bool is_of_this_boot(const struct opening *o, const struct hf_control_page *page)
{
    return o->boot[0] != '\0' && memcmp(o->boot, page->boot, sizeof page->boot) == 0;
}

/* -- FILE-lock itself -- */

static int open_status(int error)
{
    switch (error) {
    case -ELOOP:
    case -EISDIR:
    case -ENXIO:
    case -ENODEV:
        return HF_NOT_REGION;
    case -EROFS:
        hf_os_status(error); /* for hf_os_errno */
        return HF_DENIED;
    default:
        return hf_region_status(error);
    }
}

/* Opens what is there: a plain file that is ours alone. */
static int open_lock_file(const struct hf_place *place, int flags, int *out, struct stat *own)
{
    int fd, result;

    /* Without O_NONBLOCK a pipe of that name would be waited for. */
    HF_OS_RETRY(fd, hf_os_openat(place->dir, place->name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return open_status(fd);
    HF_OS_RETRY(result, hf_os_fstat(fd, own));
    int status = 0;
    if (result < 0)
        status = hf_region_status(result);
    else if (!S_ISREG(own->st_mode))
        status = HF_NOT_REGION;
    else if (own->st_nlink == 0)
        status = HF_ABSENT;
    else if (own->st_uid != hf_os_geteuid() || own->st_nlink != 1 || (own->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        status = HF_DENIED;
    if (status < 0) {
        hf_os_close(fd);
        return status;
    }
    *out = fd;
    return 0;
}

/* A second description of the lock file that is open. HF_BUSY where its name leads elsewhere by now. */
static int open_again(const struct opening *o)
{
    struct stat own, again;
    int flags = (o->control.writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd, result;

    HF_OS_RETRY(fd, hf_os_openat(o->place.dir, o->place.name, flags, 0));
    if (fd == -ENOENT || fd == -ELOOP)
        return HF_BUSY;
    if (fd < 0)
        return open_status(fd);
    HF_OS_RETRY(result, hf_os_fstat(o->control.fd, &own));
    if (result == 0)
        HF_OS_RETRY(result, hf_os_fstat(fd, &again));
    if (result == 0 && own.st_dev == again.st_dev && own.st_ino == again.st_ino)
        return fd;
    hf_os_close(fd);
    return result < 0 ? hf_region_status(result) : HF_BUSY;
}

/*
 * Maps the lock file that is open. All slots there can be have their place; what is not there yet is not touched. A
 * mapping holds the description that it was made with, in the children of a fork too, and on control.fd are the locks
 * of slots, which must end with the process: so it gets one of its own.
 */
static int map(struct opening *o, uint64_t length)
{
    uint64_t size = length > HF_REGION_HEAP_AT ? length : HF_REGION_HEAP_AT;
    int protection = o->control.writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base;
    int fd = open_again(o), result;

    if (fd < 0)
        return fd;
    HF_OS_RETRY(result, hf_os_mmap(NULL, size, protection, MAP_SHARED, fd, 0, &base));
    hf_os_close(fd);
    if (result == -ENOMEM)
        return HF_LIMIT;
    if (result < 0)
        return hf_region_status(result);
    o->control.base = base;
    o->control.size = size;
    o->control.length = length;
    return 0;
}

void hf_control_close(struct hf_control *control)
{
    /* Nothing can be done about failures here, and nothing is lost by them. */
    if (control->base != NULL)
        hf_os_munmap(control->base, control->size);
    if (control->fd >= 0)
        hf_os_close(control->fd);
    control->base = NULL;
    control->fd = -1;
}

/* Gives the new lock file its bytes, all zero. */
static int provide(int fd, uint64_t size)
{
    static const char zeros[HF_REGION_PAGE];
    int result;

    HF_OS_RETRY(result, hf_os_fallocate(fd, 0, 0, (off_t)size));
    if (result != -EOPNOTSUPP)
        return result < 0 ? hf_region_status(result) : 0;
    for (uint64_t at = 0; at < size; at += sizeof zeros) {
        size_t part = size - at < sizeof zeros ? (size_t)(size - at) : sizeof zeros;
        result = hf_os_pwrite_all(fd, zeros, part, (off_t)at);
        if (result < 0)
            return hf_region_status(result);
    }
    return 0;
}

/* Fills and maps the new lock file. */
static int fill(struct opening *o)
{
    struct stat own;
    uint64_t mark = 0;
    int result;

    HF_OS_RETRY(result, hf_os_fstat(o->control.fd, &own));
    if (result == 0)
        result = hf_os_getrandom_all(&mark, sizeof mark);
    if (result < 0)
        return hf_region_status(result);
    int status = provide(o->control.fd, o->size);
    if (status < 0)
        return status;
    o->control.mark = mark % (uint64_t)HF_CONTROL_LOCK_PRESENCES;
    struct hf_control_page page = make_page(o, &own, o->control.mark);
    result = hf_os_pwrite_all(o->control.fd, &page, sizeof page, 0);
    return result < 0 ? hf_region_status(result) : map(o, o->size);
}

/* Takes the name from what has it, and makes a new file of that name. */
static int create(const struct hf_place *place)
{
    int result = -EEXIST;

    /* Again, where somebody puts something there between the two. */
    for (int tries = 0; tries < 10 && result == -EEXIST; tries++) {
        HF_OS_RETRY(result, hf_os_unlinkat(place->dir, place->name, 0));
        if (result < 0 && result != -ENOENT)
            break;
        HF_OS_RETRY(result, hf_os_openat(place->dir, place->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    }
    return result == -EEXIST ? HF_BUSY : result < 0 ? open_status(result) : result;
}

/* Makes FILE-lock. PRESENCE is held exclusively. */
static int make(struct opening *o)
{
    int fd = create(&o->place);

    if (fd < 0)
        return fd;
    o->control.fd = fd;
    o->control.state = HF_CONTROL_FRESH;
    o->control.writable = true;
    int status = fill(o);
    if (status < 0) {
        hf_control_close(&o->control);
        hf_os_unlinkat(o->place.dir, o->place.name, 0); /* lest it take space; without it all is the same */
    }
    return status;
}

/* Opens FILE-lock and reads what it says: 1 and it is whole, or 0: it is there, and is not; or a status. */
static int look(struct opening *o, int flags, struct hf_control_page *page, struct stat *own)
{
    int status = open_lock_file(&o->place, flags, &o->control.fd, own);

    if (status < 0)
        return status;
    memset(page, 0, sizeof *page);
    int64_t got = hf_os_pread_all(o->control.fd, page, sizeof *page, 0);
    return got < 0 ? hf_region_status((int)got) : is_whole(o, own, page);
}

/* Is the mount of both files the one that FILE-lock was made by? */
static int look_at_mounts(struct opening *o, const struct hf_control_page *page)
{
    uint64_t own;
    int result = read_mount(o->control.fd, &own);

    if (result < 0)
        return hf_region_status(result);
    o->control.mounted = own != 0 && own == o->mount && own == page->mount;
    return 0;
}

/* -- a writer -- */

/* PRESENCE is held exclusively. */
static int start(struct opening *o)
{
    struct hf_control_page page;
    struct stat own = {0};
    int whole = look(o, O_RDWR, &page, &own);

    if (whole == 1 && is_of_this_boot(o, &page)) {
        o->control.mark = page.mark;
        o->control.state = HF_CONTROL_TRUSTED;
        o->control.writable = true;
        int status = look_at_mounts(o, &page);
        return status < 0 ? status : map(o, (uint64_t)own.st_size);
    }
    hf_control_close(&o->control);
    /* What is not a lock file of ours, but of a name like it, is left alone. */
    return whole >= 0 || whole == HF_ABSENT || whole == HF_FORMAT ? make(o) : whole;
}

/* Others are there. 1: they are not, after all. */
static int join(struct opening *o)
{
    struct hf_control_page page;
    struct stat own = {0};
    int whole = look(o, O_RDWR, &page, &own);
    int theirs = whole == 1 ? is_mark_locked(o->fd, page.mark) : 0;

    if (theirs < 0)
        return theirs;
    if (theirs == 1) {
        o->control.mark = page.mark;
        o->control.state = HF_CONTROL_JOINED;
        o->control.writable = true;
        int status = lock_status(lock_mark(o->fd, F_RDLCK, page.mark));
        return status < 0 ? status : map(o, (uint64_t)own.st_size);
    }
    hf_control_close(&o->control);
    int there = is_locked(o->fd, HF_CONTROL_LOCK_PRESENCE, HF_CONTROL_LOCK_PRESENCES);
    if (there <= 0)
        return there < 0 ? there : 1;
    return whole >= 0 || whole == HF_ABSENT ? HF_BUSY : whole;
}

static int open_writer(struct opening *o)
{
    int status = lock_status(set_lock(o->fd, F_RDLCK, HF_CONTROL_LOCK_WRITERS, 1));

    o->control.writer = true;
    while (status >= 0) {
        int result = lock_all_presence(o->fd, F_WRLCK);
        if (result == 0) {
            o->control.exclusive = true;
            return start(o);
        }
        if (result != -EAGAIN)
            return lock_status(result);
        status = join(o);
        if (status == 0)
            return 0;
    }
    return status;
}

/* -- a reader -- */

/* Whether FILE-lock, which is whole, is the one in use, or nobody uses any and it is of this boot. */
static int is_believed(struct opening *o, const struct hf_control_page *page)
{
    int another = is_another_mark_locked(o->fd, page->mark);
    int shared = another == 0 ? is_mark_locked(o->fd, page->mark) : 0;

    if (another < 0 || shared < 0)
        return another < 0 ? another : shared;
    o->control.state = shared ? HF_CONTROL_JOINED : HF_CONTROL_TRUSTED;
    return !another && (shared || is_of_this_boot(o, page));
}

/* Uses FILE-lock, or looks at it: 1; 0: that is not to be. */
static int use(struct opening *o, const struct hf_control_page *page, const struct stat *own)
{
    int status = 0;

    /* First the lock, then the look at who else is there: of two readers with two lock files one sees the other. */
    if (o->control.writable)
        status = lock_status(lock_mark(o->fd, F_RDLCK, page->mark));
    if (status == 0)
        status = is_believed(o, page);
    if (status <= 0) {
        lock_all_presence(o->fd, F_UNLCK);
        return status;
    }
    o->control.mark = page->mark;
    status = map(o, (uint64_t)own->st_size);
    if (status == 0)
        status = look_at_mounts(o, page);
    return status < 0 ? status : 1;
}

static int open_reader(struct opening *o)
{
    struct hf_control_page page;
    struct stat own = {0};
    int whole = look(o, O_RDWR, &page, &own);

    o->control.writable = whole >= 0;
    if (whole == HF_DENIED)
        whole = look(o, O_RDONLY, &page, &own);
    int used = whole == 1 ? use(o, &page, &own) : whole;
    if (used == 0 || used == HF_ABSENT || used == HF_DENIED || used == HF_NOT_REGION || used == HF_FORMAT ||
        used == HF_BUSY) {
        hf_control_close(&o->control);
        lock_all_presence(o->fd, F_UNLCK);
        o->control.state = HF_CONTROL_FRESH;
        o->control.writable = false;
        used = 0;
    }
    if (used >= 0 && !o->control.writable)
        used = lock_status(set_lock(o->fd, F_RDLCK, HF_CONTROL_LOCK_READERS, 1));
    return used < 0 ? used : 0;
}

/* -- opening -- */

/* Looks at FILE and finds its folder. */
static int begin(struct opening *o, const char *path)
{
    int result, status = read_boot(o->boot);

    if (status < 0)
        return status;
    HF_OS_RETRY(result, hf_os_fstat(o->fd, &o->file));
    if (result == 0)
        result = read_mount(o->fd, &o->mount);
    return result < 0 ? hf_region_status(result) : hf_place_find(path, &o->file, suffix, &o->place);
}

int hf_control_open(int fd, const char *path, uint64_t size, bool read_only, int64_t timeout, struct hf_control *out)
{
    struct opening o = {.fd = fd, .size = size, .control = {.fd = -1}};
    int status = hf_place_refuse_network(fd);

    if (status < 0)
        return status;
    status = lock_openers(fd, read_only ? F_RDLCK : F_WRLCK, timeout);
    if (status < 0)
        return status;
    status = begin(&o, path);
    if (status == 0) {
        status = read_only ? open_reader(&o) : open_writer(&o);
        hf_os_close(o.place.dir);
    }
    if (status < 0) {
        hf_control_close(&o.control);
        unlock_all(fd);
        return status;
    }
    *out = o.control;
    return 0;
}

/* A reader goes by FILE alone. */
static int look_away(int fd, struct hf_control *control)
{
    int status = lock_status(set_lock(fd, F_RDLCK, HF_CONTROL_LOCK_READERS, 1));

    if (status < 0)
        return status;
    hf_control_close(control);
    lock_all_presence(fd, F_UNLCK);
    control->state = HF_CONTROL_FRESH;
    control->writable = false;
    return 0;
}

int hf_control_look_again(int fd, const char *path, uint64_t size, struct hf_control *control)
{
    struct opening o = {.fd = fd, .size = size, .control = {.fd = -1}};
    struct hf_control_page page;
    struct stat own = {0};
    int status = lock_openers(fd, F_RDLCK, 0);

    if (status < 0)
        return status == HF_TIMEOUT ? 0 : status;
    status = begin(&o, path);
    if (status == 0) {
        int whole = look(&o, O_RDONLY, &page, &own);
        status = whole == 1 ? is_believed(&o, &page) : 0;
        if (status == 1 && o.control.state == HF_CONTROL_JOINED) {
            o.control.mark = page.mark;
            int mapped = map(&o, (uint64_t)own.st_size);
            status = mapped < 0 ? mapped : 1;
        } else if (status == 1) {
            status = 0;
        }
        hf_os_close(o.place.dir);
    }
    unlock_openers(fd);
    hf_control_close(status == 1 ? control : &o.control);
    if (status == 1)
        *control = o.control;
    return status;
}

int hf_control_afresh(int fd, const char *path, uint64_t size, struct hf_control *control)
{
    struct opening o = {.fd = fd, .size = size, .control = *control};

    if (!control->writer)
        return look_away(fd, control);
    HF_ASSERT(control->exclusive);
    atomic_store(&page_of(control)->initialised, 0);
    control->state = HF_CONTROL_FRESH; /* for hf_control_abandon */
    o.control.fd = -1;
    o.control.base = NULL;
    int status = begin(&o, path);
    if (status < 0)
        return status;
    status = make(&o);
    hf_os_close(o.place.dir);
    if (status < 0)
        return status;
    hf_control_close(control);
    *control = o.control;
    return 0;
}

/* PRESENCE shared, where it is exclusive, and OPENERS given back. */
static int share(int fd, struct hf_control *control)
{
    if (control->exclusive) {
        int64_t at = HF_CONTROL_LOCK_PRESENCE, below = (int64_t)control->mark;
        int result = lock_mark(fd, F_RDLCK, control->mark);
        if (result == 0)
            result = set_lock(fd, F_UNLCK, at, below);
        if (result == 0)
            result = set_lock(fd, F_UNLCK, at + below + 1, HF_CONTROL_LOCK_PRESENCES - below - 1);
        if (result < 0)
            return lock_status(result);
        control->exclusive = false;
    }
    return unlock_openers(fd);
}

int hf_control_ready(int fd, struct hf_control *control)
{
    if (control->exclusive)
        atomic_store(&page_of(control)->initialised, 1);
    return share(fd, control);
}

void hf_control_abandon(int fd, struct hf_control *control)
{
    /* If ready failed when PRESENCE was no longer exclusive, others may be there: then it is theirs. */
    if (control->exclusive && control->state == HF_CONTROL_FRESH)
        atomic_store(&page_of(control)->initialised, 0);
    hf_control_close(control);
    unlock_all(fd);
}

/* -- who else is there -- */

int hf_control_alone(int fd, struct hf_control *control, int64_t timeout)
{
    int status = lock_openers(fd, F_WRLCK, timeout);

    if (status < 0)
        return status;
    int result = lock_all_presence(fd, F_WRLCK);
    control->exclusive = result == 0;
    if (result == 0)
        return 1;
    status = unlock_openers(fd);
    return result == -EAGAIN ? status : lock_status(result);
}

int hf_control_not_alone(int fd, struct hf_control *control)
{
    return share(fd, control);
}

int hf_control_leave(int fd, struct hf_control *control, int64_t timeout)
{
    if (!control->writer)
        return 0;
    int status = lock_openers(fd, F_WRLCK, timeout);
    if (status < 0)
        return status;
    int result = set_lock(fd, F_WRLCK, HF_CONTROL_LOCK_WRITERS, 1);
    if (result == 0)
        return 1;
    /* Before OPENERS is given back: who asks next does not take this one for a writer who stays. */
    int left = lock_status(set_lock(fd, F_UNLCK, HF_CONTROL_LOCK_WRITERS, 1));
    status = unlock_openers(fd);
    if (result != -EAGAIN)
        return lock_status(result);
    return left < 0 ? left : status;
}

int hf_control_retire(int fd, struct hf_control *control)
{
    int result = lock_all_presence(fd, F_WRLCK);

    if (result == -EAGAIN)
        return 0;
    if (result < 0)
        return lock_status(result);
    control->exclusive = true;
    atomic_store(&page_of(control)->initialised, 0);
    return 1;
}

int hf_control_readers(int fd)
{
    return is_locked(fd, HF_CONTROL_LOCK_READERS, 1);
}

int hf_control_writers(int fd)
{
    return is_locked(fd, HF_CONTROL_LOCK_WRITERS, 1);
}

int hf_control_hold(int fd, int64_t timeout)
{
    int status = lock_openers(fd, F_RDLCK, timeout);

    if (status < 0)
        return status;
    int writers = hf_control_writers(fd);
    if (writers == 0)
        return 1;
    status = unlock_openers(fd);
    return writers < 0 ? writers : status;
}

int hf_control_current(const struct hf_control *control)
{
    struct stat own;
    int result;

    if (control->base == NULL)
        return 0;
    HF_OS_RETRY(result, hf_os_fstat(control->fd, &own));
    if (result < 0)
        return hf_region_status(result);
    return own.st_nlink > 0 && atomic_load(&page_of(control)->initialised) == 1;
}

int hf_control_join_again(int fd, const struct hf_control *control)
{
    int result =
        control->writable ? lock_mark(fd, F_RDLCK, control->mark) : set_lock(fd, F_RDLCK, HF_CONTROL_LOCK_READERS, 1);

    if (result == 0 && control->writer)
        result = set_lock(fd, F_RDLCK, HF_CONTROL_LOCK_WRITERS, 1);
    return lock_status(result);
}
