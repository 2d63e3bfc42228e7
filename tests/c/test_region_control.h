/*
 * test_region_control.h: a folder with a FILE, and openers of its lock file. Two in one process are as strange to
 * each other as two processes, since all locks belong to open file descriptions.
 */
#ifndef HF_TEST_REGION_CONTROL_H
#define HF_TEST_REGION_CONTROL_H

#include "region/control.h"

#include "base/fault.h"
#include "base/os.h"

#include <holdfast/status.h>

#include "test_child.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = HF_REGION_SLOTS_AT + HF_REGION_PAGE, SECOND = 1000 * 1000 * 1000 };

#define ok(status) assert_int_equal((status), 0)

static char folder[64], file[128], lock_file[128];

static inline void write_file(const char *path, const void *bytes, size_t size, mode_t mode)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static inline int a_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/hf-control-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(lock_file, sizeof lock_file, "%s/file-lock", folder);
    write_file(file, "a region", 8, 0600);
    return 0;
}

static inline int no_folder(void **state)
{
    hf_fault_disarm();
    hf_os_replace(NULL);
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(listing), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (listing != NULL)
        closedir(listing);
    return rmdir(folder);
}

typedef struct opener {
    int fd;
    struct hf_control control;
} opener;

static inline int try_path(opener *o, const char *path, int flags, bool read_only, int64_t timeout)
{
    memset(o, 0x55, sizeof *o);
    o->fd = open(path, flags | O_CLOEXEC);
    if (o->fd < 0)
        return HF_IO;
    int status = hf_control_open(o->fd, path, SIZE, read_only, timeout, &o->control);
    if (status < 0)
        close(o->fd);
    return status;
}

static inline int try_open(opener *o)
{
    return try_path(o, file, O_RDWR, false, 0);
}

static inline int try_read(opener *o)
{
    return try_path(o, file, O_RDONLY, true, 0);
}

static inline void close_opener(opener *o)
{
    hf_control_close(&o->control);
    close(o->fd);
}

static inline void abandon(opener *o)
{
    hf_control_abandon(o->fd, &o->control);
    close(o->fd);
}

/* Opens as a writer, which must find this. */
static inline void open_as(opener *o, enum hf_control_state state)
{
    ok(try_open(o));
    assert_int_equal(o->control.state, state);
    assert_true(o->control.writable && o->control.base != NULL && o->control.fd >= 0);
    assert_int_equal(o->control.exclusive, state != HF_CONTROL_JOINED);
    assert_true(o->control.length >= SIZE && o->control.size >= HF_REGION_HEAP_AT);
}

static inline void open_ready(opener *o, enum hf_control_state state)
{
    open_as(o, state);
    ok(hf_control_ready(o->fd, &o->control));
}

/* What the next opener finds, who then goes. */
static inline void expect_next(enum hf_control_state state)
{
    opener next;
    open_as(&next, state);
    abandon(&next);
}

static inline unsigned *word(const opener *o)
{
    return (unsigned *)(void *)(o->control.base + HF_REGION_LOCK_AT);
}

static inline bool is_zero(const opener *o)
{
    for (size_t i = HF_REGION_PAGE; i < SIZE; i++)
        if (o->control.base[i] != 0)
            return false;
    return true;
}

#endif
