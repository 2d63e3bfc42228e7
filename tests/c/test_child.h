/*
 * test_child.h: what tests do in a child: file systems of its own, limits, another user, deaths.
 */
#ifndef HF_TEST_CHILD_H
#define HF_TEST_CHILD_H

#include "cm.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* cmocka's failures cannot leave the child, but an exit status can. */
#define must(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

/* In a child: cmocka's handlers would go on with the parent's tests. */
static inline void its_own_death(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < LENGTH(signals); i++)
        signal(signals[i], SIG_DFL);
}

static inline int exit_status_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* 77: what it needs cannot be had here. */
static inline void in_a_child(void (*run)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        its_own_death();
        run();
        _exit(0);
    }
    int status = exit_status_of(child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A mount namespace that ends with this process. */
static inline void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        _exit(77);
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
