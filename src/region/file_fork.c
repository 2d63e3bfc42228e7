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

/*
 * A child that was forked while this region was being opened, by another thread, has the descriptions that it was opened
 * with, and would keep their locks alive when this process is dead. So they are exchanged for others, which no child has:
 * the registry's lock is held, without which nobody forks. What the others hold is locked first, then the old ones are let
 * go, explicitly. Where none can be had, the old ones have to do.
 */
void hf_file_own_descriptions(hf_region *region)
{
    struct hf_control *control = &region->file->control;
    int fd = hf_file_reopen(region), slots;

    if (fd >= 0) {
        hf_control_let_go(region->fd);
        hf_os_close(region->fd);
        region->fd = fd;
    }
    /* No slot is claimed yet, so nothing is locked there. */
    slots = region->control_fd >= 0 ? hf_region_reopen(region->control_fd) : -1;
    if (slots >= 0) {
        hf_os_close(region->control_fd);
        region->control_fd = control->fd = slots;
    }
}

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
