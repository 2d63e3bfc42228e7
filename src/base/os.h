/*
 * os.h: every call to the operating system that can fail or be observed from
 * outside, through one table.
 *
 *     hf_os_pwrite(fd, ...)          what the core calls
 *        |  fault plan: fail the n-th, or transfer half        (fault.h)
 *        v
 *     hf_os_now->pwrite(fd, ...)     the table: hf_os_native, or a test's double
 *        |
 *        v
 *     pwrite(2)
 *
 * One list, HF_OS_LIST, makes the table, its native implementation, the wrappers
 * and the fault sites, so a call cannot be in one and missing in another. Memory
 * (memory.h) and threads are not here: their failures are not the disk's.
 *
 * Results: 0 or more is success (a descriptor, a count), negative is -errno. That
 * is *not* an hf_status. Where it leaves a layer, hf_os_status turns it into one.
 *
 * EINTR is an answer like another: a caller who waits for a lock wants to see
 * it. The helpers at the end repeat such calls, and HF_OS_RETRY does for others.
 *
 * Concurrency: the functions are as thread-safe as the system's. hf_os_replace
 * may be called while no other thread is in one (a test, before its threads).
 *
 * Failure model: a call fails as the system says and then has done nothing, with
 * these exceptions. A failed close or closedir has released what it was given,
 * as on Linux, also when the failure is injected. A failed pwrite_all may have
 * written a part. After a failed fsync or fdatasync nothing is known about what
 * was written before; never try again.
 *
 * Linux only: open file description locks and renameat2 have no portable names.
 */
#ifndef HF_BASE_OS_H
#define HF_BASE_OS_H

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <time.h>

_Static_assert(sizeof(off_t) == 8, "files of more than 2 GiB need a 64-bit off_t");

struct hf_os_dir;

/* A name in a directory, with its final NUL. */
#define HF_OS_NAME_SIZE 256

/*
 * X(kind, result, name, (parameters), (arguments))
 *
 * kind says what a fault does:
 *   CALL      it fails and is not made
 *   RELEASE   it is made, and then reported as failed: a descriptor is closed
 *             whatever close says
 *   TRANSFER  as CALL, or it is made for half of the bytes; there are parameters
 *             called `buffer` and `size`
 *   SURE      nothing, it cannot fail
 *
 * The native implementation is the C library's function of the same name, except
 * for those of HF_OS_LIST_OWN, which os.c writes out:
 *   open      always with O_CLOEXEC, as every descriptor of the core; also openat
 *   mmap      the address goes to *out
 *   lock      fcntl with F_OFD_SETLK, F_OFD_SETLKW or F_OFD_GETLK
 *   mount     a number for what the file is mounted by, that no other mount has in this boot, ever; -ENOSYS where
 *             the kernel has none (Linux before 6.8)
 *   opendir   the stream goes to *out
 *   readdir   1 and the next name in `name` (HF_OS_NAME_SIZE bytes), without
 *             "." and ".."; 0 at the end
 */
/* By hand: the formatter takes some of the stars for multiplications. */
// clang-format off
#define HF_OS_LIST_SAME(X)                                                                                    \
    X(RELEASE, int, close, (int fd), (fd))                                                                    \
    X(TRANSFER, ssize_t, pread, (int fd, void *buffer, size_t size, off_t at), (fd, buffer, size, at))        \
    X(TRANSFER, ssize_t, pwrite, (int fd, const void *buffer, size_t size, off_t at), (fd, buffer, size, at)) \
    X(CALL, int, ftruncate, (int fd, off_t length), (fd, length))                                             \
    X(CALL, int, fchmod, (int fd, mode_t mode), (fd, mode))                                                   \
    X(CALL, int, fsync, (int fd), (fd))                                                                       \
    X(CALL, int, fdatasync, (int fd), (fd))                                                                   \
    X(CALL, int, fstat, (int fd, struct stat *out), (fd, out))                                                \
    X(CALL, int, fstatat, (int dir, const char *path, struct stat *out, int flags), (dir, path, out, flags))  \
    X(CALL, int, fstatfs, (int fd, struct statfs *out), (fd, out))                                            \
    X(CALL, int, munmap, (void *address, size_t length), (address, length))                                   \
    X(CALL, int, madvise, (void *address, size_t length, int advice), (address, length, advice))              \
    X(CALL, int, rename, (const char *from, const char *to), (from, to))                                      \
    X(CALL, int, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),     \
      (from_dir, from, to_dir, to, flags))                                                                    \
    X(CALL, int, link, (const char *from, const char *to), (from, to))                                        \
    X(CALL, int, linkat, (int from_dir, const char *from, int to_dir, const char *to, int flags),             \
      (from_dir, from, to_dir, to, flags))                                                                    \
    X(CALL, int, unlink, (const char *path), (path))                                                          \
    X(CALL, int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))                        \
    X(CALL, ssize_t, readlinkat, (int dir, const char *path, char *buffer, size_t size),                      \
      (dir, path, buffer, size))                                                                              \
    X(CALL, int, mkdir, (const char *path, mode_t mode), (path, mode))                                        \
    X(CALL, int, flock, (int fd, int operation), (fd, operation))                                             \
    X(CALL, int, shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode))                   \
    X(CALL, int, shm_unlink, (const char *name), (name))                                                      \
    X(TRANSFER, ssize_t, getrandom, (void *buffer, size_t size, unsigned flags), (buffer, size, flags))       \
    X(CALL, int, clock_gettime, (clockid_t clock, struct timespec *out), (clock, out))                        \
    X(CALL, int, nanosleep, (const struct timespec *wanted, struct timespec *left), (wanted, left))           \
    X(CALL, int, getrlimit, (int resource, struct rlimit *out), (resource, out))                              \
    X(SURE, pid_t, getpid, (void), ())                                                                        \
    X(SURE, uid_t, geteuid, (void), ())

#define HF_OS_LIST_OWN(X)                                                                                       \
    X(CALL, int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))                         \
    X(CALL, int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))         \
    X(CALL, int, mmap, (void *address, size_t length, int protection, int flags, int fd, off_t at, void **out), \
      (address, length, protection, flags, fd, at, out))                                                        \
    X(CALL, int, lock, (int fd, int command, struct flock *lock), (fd, command, lock))                          \
    X(CALL, int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length))                 \
    X(CALL, int, mount, (int fd, uint64_t *out), (fd, out))                                                     \
    X(CALL, int, opendir, (const char *path, struct hf_os_dir **out), (path, out))                              \
    X(CALL, int, readdir, (struct hf_os_dir *dir, char *name), (dir, name))                                    \
    X(RELEASE, int, closedir, (struct hf_os_dir *dir), (dir))

// clang-format on

#define HF_OS_LIST(X) HF_OS_LIST_SAME(X) HF_OS_LIST_OWN(X)

/* The fault site of each call, HF_OS_SITE_<name>. */
enum hf_os_site {
    HF_OS_SITE_BEFORE_FIRST_ = HF_FAULT_FIRST_OS - 1,
#define HF_OS_ROW(kind, result, name, parameters, arguments) HF_OS_SITE_##name,
    HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW
        HF_OS_SITES_END,
};

_Static_assert((int)HF_OS_SITES_END <= (int)HF_FAULT_SITES, "fault.h has too few sites");

/* The table. A test's double fills in every member. */
struct hf_os {
#define HF_OS_ROW(kind, result, name, parameters, arguments) result(*name) parameters;
    HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW
};

/* The real thing, for a double to fall back on. */
extern const struct hf_os hf_os_native;

/* From now on use this table, which must stay; NULL: the native one. The old one. */
const struct hf_os *hf_os_replace(const struct hf_os *table);

/* hf_os_open, hf_os_close, ... : what the core calls. */
#define HF_OS_ROW(kind, result, name, parameters, arguments) result hf_os_##name parameters;
HF_OS_LIST(HF_OS_ROW)
#undef HF_OS_ROW

/* "pwrite" for HF_OS_SITE_pwrite, "alloc" for HF_FAULT_ALLOC; NULL for no site. */
const char *hf_os_site_name(unsigned site);

/*
 * The status for a result of this table: the result itself when it is 0 or more,
 * HF_NOMEM for -ENOMEM, HF_IO for any other errno. That errno is then what
 * hf_os_errno gives in this thread until the next one, for the message.
 */
int hf_os_status(int result);
int hf_os_errno(void);

/*
 * The same for a call that was given a name, or asked for space: HF_ABSENT, HF_EXISTS, HF_DENIED, HF_READ_ONLY,
 * HF_NOSPACE and HF_INVALID (a name that is too long) are what these mean there.
 */
int hf_os_file_status(int result);

/* Repeat while a signal interrupts. `result` is a variable. */
#define HF_OS_RETRY(result, call) \
    do                            \
        (result) = (call);        \
    while ((result) == -EINTR)

/*
 * Read until `size` bytes are there or the file ends: how many. On failure,
 * -errno, and what is in the buffer is not defined.
 */
int64_t hf_os_pread_all(int fd, void *buffer, size_t size, off_t at);

/* Write all: 0, or -errno and any part may have been written. */
int hf_os_pwrite_all(int fd, const void *buffer, size_t size, off_t at);

/* Fill the buffer with random bytes of the system: 0 or -errno. */
int hf_os_getrandom_all(void *buffer, size_t size);

/*
 * The most bytes that a file may have for this process: RLIMIT_FSIZE. Who writes past it is killed by SIGXFSZ, so it is to be
 * asked first, and to be said -EFBIG. 0 or -errno.
 */
int hf_os_size_limit(uint64_t *out);

/* Sleep at least so long, signals or not: 0 or -errno. */
int hf_os_sleep(int64_t nanoseconds);

#endif
