/*
 * file_fork.c: what a fork means for a region in a file.
 *
 * The locks on FILE belong to a description, which parent and child would share. So the child gets another one, which
 * takes the same locks while the parent's still has them (docs/locking.md).
 *
 * Concurrency: before the fork under the registry's lock; after it the child has one thread. Failure: the child has no
 * description of FILE, and what it does with the region fails.
 */
#include "region/file.h"

#include <stdio.h>

int hf_file_reopen(hf_region *region)
{
    char path[32];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", region->fd);
    HF_OS_RETRY(fd, hf_os_open(path, region->file->read_only ? O_RDONLY : O_RDWR, 0));
    if (fd >= 0 && hf_control_join_again(fd, &region->file->control) < 0) {
        hf_os_close(fd);
        fd = -1;
    }
    return fd;
}

void hf_file_inherit(hf_region *region, int fd)
{
    struct hf_stage *stage = &region->file->stage;

    if (fd < 0)
        fd = hf_file_reopen(region);
    hf_os_close(region->fd);
    region->fd = fd;
    /* The same, where that is another one now, or none could be had. */
    if (region->file->control.writable)
        region->file->control.fd = region->control_fd;
    hf_flusher_forget(region);
    /* Another thread may have been in the middle of making room in it. */
    if (atomic_load(&region->txn.owner) != hf_thread_self()) {
        stage->freed = NULL;
        stage->freed_count = stage->freed_room = 0;
        memset(region->file->placer, 0, sizeof *region->file->placer);
    }
}
