/*
 * os.c: the native table, the wrappers with their fault sites, and the helpers.
 * See os.h.
 */
#include "base/os.h"

#include "base/assert.h"

#include <holdfast/status.h>

#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

_Static_assert(HF_OS_NAME_SIZE > NAME_MAX, "a name does not fit");

/* The native table: C library functions, with -errno instead of errno. */

#define HF_OS_NATIVE_CALL(result, name, parameters, arguments) \
    static result hf_native_##name parameters                  \
    {                                                          \
        result done = name arguments;                          \
                                                               \
        return done < 0 ? (result)-errno : done;               \
    }
#define HF_OS_NATIVE_RELEASE HF_OS_NATIVE_CALL
#define HF_OS_NATIVE_TRANSFER HF_OS_NATIVE_CALL
#define HF_OS_NATIVE_SURE(result, name, parameters, arguments) \
    static result hf_native_##name parameters                  \
    {                                                          \
        return name arguments;                                 \
    }
#define HF_OS_ROW(kind, result, name, parameters, arguments) HF_OS_NATIVE_##kind(result, name, parameters, arguments)
HF_OS_LIST_SAME(HF_OS_ROW)
#undef HF_OS_ROW

static int hf_native_open(const char *path, int flags, mode_t mode)
{
    int fd = open(path, flags | O_CLOEXEC, mode);

    return fd < 0 ? -errno : fd;
}

static int hf_native_openat(int dir, const char *path, int flags, mode_t mode)
{
    int fd = openat(dir, path, flags | O_CLOEXEC, mode);

    return fd < 0 ? -errno : fd;
}

static int hf_native_mmap(void *address, size_t length, int protection, int flags, int fd, off_t at, void **out)
{
    void *mapped = mmap(address, length, protection, flags, fd, at);

    if (mapped == MAP_FAILED)
        return -errno;
    *out = mapped;
    return 0;
}

static int hf_native_lock(int fd, int command, struct flock *lock)
{
    HF_ASSERT(command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK);
    /* The kernel takes 0 only: with an open file description lock no process owns it. */
    lock->l_pid = 0;
    return fcntl(fd, command, lock) < 0 ? -errno : 0;
}

/* A file that would outgrow RLIMIT_FSIZE is EFBIG: the system would send SIGXFSZ first, which kills. */
static int hf_native_fallocate(int fd, int mode, off_t at, off_t length)
{
    struct rlimit limit;
    struct stat found;

    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (rlim_t)at + (rlim_t)length > limit.rlim_cur && (mode & FALLOC_FL_KEEP_SIZE) == 0 && fstat(fd, &found) == 0 &&
        at + length > found.st_size)
        return -EFBIG;
    return fallocate(fd, mode, at, length) < 0 ? -errno : 0;
}

static int hf_native_opendir(const char *path, struct hf_os_dir **out)
{
    DIR *dir = opendir(path);

    if (dir == NULL)
        return -errno;
    *out = (struct hf_os_dir *)dir;
    return 0;
}

/* The C library's header may be older than the kernel: both names are of Linux 6.8. */
static int hf_native_mount(int fd, uint64_t *out)
{
    enum { MNT_ID_UNIQUE = 0x4000 };
    struct statx found;

    if (statx(fd, "", AT_EMPTY_PATH, MNT_ID_UNIQUE, &found) < 0)
        return -errno;
    if ((found.stx_mask & MNT_ID_UNIQUE) == 0)
        return -ENOSYS;
    memcpy(out, (const char *)&found + 0x90, sizeof *out);
    return 0;
}

static int hf_native_readdir(struct hf_os_dir *dir, char *name)
{
    for (;;) {
        errno = 0; /* NULL means the end, unless errno says otherwise */
        struct dirent *entry = readdir((DIR *)dir);

        if (entry == NULL)
            return -errno;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;

        size_t size = strlen(entry->d_name) + 1;

        /* NAME_MAX counts bytes, but some file systems count characters. */
        if (size > HF_OS_NAME_SIZE)
            return -ENAMETOOLONG;
        memcpy(name, entry->d_name, size);
        return 1;
    }
}

static int hf_native_closedir(struct hf_os_dir *dir)
{
    return closedir((DIR *)dir) < 0 ? -errno : 0;
}

const struct hf_os hf_os_native = {
#define HF_OS_ROW(kind, result, name, parameters, arguments) .name = hf_native_##name,
    HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW
};

static _Atomic(const struct hf_os *) hf_os_now = &hf_os_native;

static const struct hf_os *hf_os_table(void)
{
    return atomic_load_explicit(&hf_os_now, memory_order_acquire);
}

const struct hf_os *hf_os_replace(const struct hf_os *table)
{
    return atomic_exchange(&hf_os_now, table != NULL ? table : &hf_os_native);
}

/* The wrappers: what a fault does at each kind of call. */

#define HF_OS_WRAP_CALL(result, name, parameters, arguments) \
    result hf_os_##name parameters                           \
    {                                                        \
        struct hf_fault how;                                 \
                                                             \
        if (hf_fault_hit(HF_OS_SITE_##name, 0, &how))        \
            return -how.error;                               \
        return hf_os_table()->name arguments;                \
    }
#define HF_OS_WRAP_RELEASE(result, name, parameters, arguments) \
    result hf_os_##name parameters                              \
    {                                                           \
        struct hf_fault how;                                    \
        bool hit = hf_fault_hit(HF_OS_SITE_##name, 0, &how);    \
        result done = hf_os_table()->name arguments;            \
                                                                \
        return hit ? -how.error : done;                         \
    }
#define HF_OS_WRAP_TRANSFER(result, name, parameters, arguments) \
    result hf_os_##name parameters                               \
    {                                                            \
        struct hf_fault how;                                     \
                                                                 \
        if (hf_fault_hit(HF_OS_SITE_##name, size, &how)) {       \
            if (!how.shorten)                                    \
                return -how.error;                               \
            size /= 2;                                           \
        }                                                        \
        return hf_os_table()->name arguments;                    \
    }
#define HF_OS_WRAP_SURE(result, name, parameters, arguments) \
    result hf_os_##name parameters                           \
    {                                                        \
        return hf_os_table()->name arguments;                \
    }
#define HF_OS_ROW(kind, result, name, parameters, arguments) HF_OS_WRAP_##kind(result, name, parameters, arguments)
HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW

const char *hf_os_site_name(unsigned site)
{
    static const char *const names[HF_OS_SITES_END] = {[HF_FAULT_ALLOC] = "alloc",
#define HF_OS_ROW(kind, result, name, parameters, arguments) [HF_OS_SITE_##name] = #name,
                                                       HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW
    };

    return site < HF_OS_SITES_END ? names[site] : NULL;
}

/* Statuses. */

static _Thread_local int hf_os_errno_last;

int hf_os_status(int result)
{
    if (result >= 0)
        return result;
    hf_os_errno_last = -result;
    return result == -ENOMEM ? HF_NOMEM : HF_IO;
}

int hf_os_file_status(int result)
{
    switch (result) {
    case -ENOSPC:
    case -EDQUOT:
    case -EFBIG:
        hf_os_status(result); /* for hf_os_errno */
        return HF_NOSPACE;
    case -ENOENT:
        return HF_ABSENT;
    case -EEXIST:
        return HF_EXISTS;
    case -ENAMETOOLONG:
        return HF_INVALID;
    case -EACCES:
    case -EPERM:
        return HF_DENIED;
    case -EROFS:
        return HF_READ_ONLY;
    default:
        return hf_os_status(result);
    }
}

int hf_os_errno(void)
{
    return hf_os_errno_last;
}

/* Helpers. */

int64_t hf_os_pread_all(int fd, void *buffer, size_t size, off_t at)
{
    size_t done = 0;

    HF_ASSERT(size <= INT64_MAX);
    while (done < size) {
        ssize_t got = hf_os_pread(fd, (char *)buffer + done, size - done, at + (off_t)done);

        if (got == -EINTR)
            continue;
        if (got < 0)
            return got;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

int hf_os_pwrite_all(int fd, const void *buffer, size_t size, off_t at)
{
    size_t done = 0;

    while (done < size) {
        ssize_t put = hf_os_pwrite(fd, (const char *)buffer + done, size - done, at + (off_t)done);

        if (put == -EINTR)
            continue;
        if (put < 0)
            return (int)put;
        /* Never seen of a regular file; to try for ever is no answer. */
        if (put == 0)
            return -EIO;
        done += (size_t)put;
    }
    return 0;
}

int hf_os_getrandom_all(void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = hf_os_getrandom((char *)buffer + done, size - done, 0);

        if (got == -EINTR)
            continue;
        if (got < 0)
            return (int)got;
        if (got == 0)
            return -EIO;
        done += (size_t)got;
    }
    return 0;
}

int hf_os_size_limit(uint64_t *out)
{
    struct rlimit limit;
    int result = hf_os_getrlimit(RLIMIT_FSIZE, &limit);

    if (result == 0)
        *out = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    return result;
}

int hf_os_sleep(int64_t nanoseconds)
{
    struct timespec left = {
        .tv_sec = (time_t)(nanoseconds / 1000000000),
        .tv_nsec = (long)(nanoseconds % 1000000000),
    };
    int result;

    do {
        struct timespec wanted = left;

        result = hf_os_nanosleep(&wanted, &left);
    } while (result == -EINTR);
    return result;
}
