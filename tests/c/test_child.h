/*
 * test_child.h: what tests do in a child: file systems of its own, limits, another user.
 */
#ifndef HF_TEST_CHILD_H
#define HF_TEST_CHILD_H

#include "cm.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: cmocka's handlers would go on with the parent's tests. */
static inline void its_own_death(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < LENGTH(signals); i++)
        signal(signals[i], SIG_DFL);
}

static inline void in_a_child(void (*run)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        its_own_death();
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* cmocka's failures cannot leave the child, but an exit status can. */
#define must(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

/* A tmpfs of its own, in a mount namespace that ends with this process. Where that is not allowed, the test is skipped. */
static inline void small_tmpfs(char *path, const char *size)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        _exit(77);
    must(mkdtemp(path) != NULL);
    if (mount("tmpfs", path, "tmpfs", 0, size) < 0) {
        rmdir(path);
        _exit(77);
    }
}

static inline void small_tmpfs_end(const char *path)
{
    umount2(path, MNT_DETACH);
    rmdir(path);
}

static inline int count_descriptors(void)
{
    int count = 0;
    DIR *listing = opendir("/proc/self/fd");
    while (listing != NULL && readdir(listing) != NULL)
        count++;
    if (listing != NULL)
        closedir(listing);
    return count;
}

#endif
