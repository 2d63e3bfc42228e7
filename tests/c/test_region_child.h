/*
 * test_region_child.h: what tests of regions do in a child beyond test_child.h: a small file system, limits.
 */
#ifndef HF_TEST_REGION_CHILD_H
#define HF_TEST_REGION_CHILD_H

#include "test_child.h"
#include "test_region_support.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* A tmpfs of its own, in a mount namespace that ends with this process. Where that is not allowed, the test is skipped. */
static inline void small_tmpfs(char *path, const char *size)
{
    own_mounts();
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

#endif
