/*
 * fork.c: what a fork means for a region.
 *
 * A child shares its parent's open file descriptions, and so its locks: while either lives, the parent's slots look
 * alive. So the child gets a description and slots of its own, before it exists:
 *
 *      prepare    open the segment again (by way of /proc/self/fd: its name may be gone), claim through that
 *                 description a twin of each slot that a snapshot uses, with the same pin
 *      parent     close that description: the child still has it
 *      child      close the inherited one, whose locks stay with the parent; snapshots move to the twins; what other
 *                 threads were doing is not the child's: views, and a transaction under way, are gone
 *
 * The parent's own pin of the same version is there while a twin is made; but a scan of the slots may pass by both, by
 * the twin before it is made and by the parent's after it has gone. So prepare counts in `moved`, and that scan begins
 * again (recycle.c).
 *
 * Where the twins cannot be had (no descriptors, no slots), fork goes on without: the child's snapshots answer HF_LOST.
 *
 * Concurrency: from prepare to parent or child this thread holds the registry's lock and every region's mutex. Failure:
 * as said. A child of vfork or posix_spawn runs no handlers and uses no regions; its descriptors close at exec.
 */
#include "region/impl.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* Twins for the pins of one region. On failure there are none. */
static int make_twins(hf_region *region, int fd)
{
    for (struct hf_shared_pin *pin = region->pins; pin != NULL; pin = pin->next) {
        uint32_t slot;
        if (pin->slot == NULL)
            continue; /* lost in an earlier fork: nothing protects that version */
        int status = hf_slots_claim(region, fd, &slot);
        if (status < 0)
            return status;
        /* Marked, or the next search would take the dead for it and get its lock once more. */
        hf_slots_own_mark(region, slot, true);
        pin->twin = &region->slots[slot];
        atomic_exchange(&pin->twin->pin, HF_PIN_NARROW | pin->txid);
    }
    if (region->pins != NULL)
        atomic_fetch_add(&region->lock->moved, 1);
    return 0;
}

/* The twins are not this process's. */
static void unmark_twins(hf_region *region)
{
    for (struct hf_shared_pin *pin = region->pins; pin != NULL; pin = pin->next)
        if (pin->twin != NULL)
            hf_slots_own_mark(region, (uint32_t)(pin->twin - region->slots), false);
}

int hf_region_reopen(int old)
{
    char path[32];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", old);
    HF_OS_RETRY(fd, hf_os_open(path, O_RDWR, 0));
    return fd;
}

static void close_twins(hf_region *region)
{
    if (region->twin_fd >= 0)
        hf_os_close(region->twin_fd);
    if (region->twin_file_fd >= 0)
        hf_os_close(region->twin_file_fd);
    region->twin_fd = region->twin_file_fd = -1;
}

/* Another description for the locks of slots. That of a segment also says that it is open. */
static int control_again(const hf_region *region)
{
    return region->file == NULL ? hf_region_reopen_present(region->control_fd) : hf_region_reopen(region->control_fd);
}

/* Descriptions of the child's own, and twins of the pins. */
static bool open_twins(hf_region *region)
{
    region->twin_file_fd = region->file != NULL ? hf_file_reopen(region) : -1;
    if (region->file != NULL && region->twin_file_fd < 0)
        return false;
    if (region->control_fd < 0)
        return true;
    region->twin_fd = control_again(region);
    return region->twin_fd >= 0 && make_twins(region, region->twin_fd) == 0;
}

static void prepare(void)
{
    hf_region_registry_lock();
    for (hf_region *region = hf_region_registry; region != NULL; region = region->next) {
        pthread_mutex_lock(&region->mutex);
        for (struct hf_shared_pin *pin = region->pins; pin != NULL; pin = pin->next)
            pin->twin = NULL;
        if (open_twins(region))
            continue;
        /* Their locks go with them, and the slots are as good as dead. */
        unmark_twins(region);
        close_twins(region);
    }
}

static void parent(void)
{
    for (hf_region *region = hf_region_registry; region != NULL; region = region->next) {
        close_twins(region);
        unmark_twins(region);
        pthread_mutex_unlock(&region->mutex);
    }
    hf_region_registry_unlock();
}

/* Makes the region that this process inherited its own. */
static void inherit(hf_region *region)
{
    bool kept = region->twin_fd >= 0, shared = region->control_fd >= 0;

    if (shared) {
        bool same = region->fd == region->control_fd;
        int fd = kept ? region->twin_fd : control_again(region);
        hf_os_close(region->control_fd);
        region->control_fd = fd;
        if (same)
            region->fd = fd;
    }
    if (region->file != NULL)
        hf_file_inherit(region, region->twin_file_fd);
    region->twin_fd = region->twin_file_fd = -1;
    region->pid = hf_os_getpid();
    region->generation++;
    region->serial = hf_region_serial_next();
    atomic_store(&region->own_count, 0);
    memset(region->owned, 0, sizeof region->owned);
    region->idle_count = 0;
    for (struct hf_shared_pin *pin = region->pins; pin != NULL; pin = pin->next) {
        /* Slots that nobody sees are in memory that the child has a copy of. */
        if (shared)
            pin->slot = kept ? pin->twin : NULL;
        pin->twin = NULL;
        if (pin->slot != NULL) {
            hf_slots_own_mark(region, (uint32_t)(pin->slot - region->slots), true);
            atomic_store(&pin->slot->owner, (uint64_t)region->pid);
        }
    }
    for (hf_snapshot *snapshot = region->snapshots; snapshot != NULL; snapshot = snapshot->next)
        if (snapshot->pin->slot != NULL)
            snapshot->view.generation = region->generation;
    hf_txn_forget_all(region);
}

static void child(void)
{
    for (hf_region *region = hf_region_registry; region != NULL; region = region->next) {
        inherit(region);
        pthread_mutex_unlock(&region->mutex);
    }
    hf_region_registry_unlock();
}

static void watch(void)
{
    pthread_atfork(prepare, parent, child);
}

void hf_fork_watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch);
}
