/*
 * slots.c: reader slots: who may use one, and how a version is pinned with it.
 *
 *      a slot is  claimed by a process (it holds a lock on the slot's byte of the file, through the description it has
 *                 mapped), then used by one of its threads at a time: from `pin` 0 to something and back
 *
 *      reader                                        writer
 *      1  load published = t0                        a  publish f: exchange of `published`
 *      2  CAS pin: 0 -> OPEN t0                      b  scan: load each pin
 *      3  load published = t                         c  reuse what was unlinked in f or before and no pin has
 *      4  read record t
 *      5  load published = p: p - t < 63, or back to 3
 *      6  CAS pin: OPEN t0 -> NARROW t, or back to 1
 *
 * Why the version t is whole and stays so. All of 1 to 3, 5, 6, a and b are sequentially consistent. Let a writer publish
 * some f > t. Since 3 read t, which was the newest, it came before a; so did 2; so b, after a, finds the pin: OPEN t0
 * with t0 <= t, which protects t and all that follow, or NARROW t. Blocks of t are unlinked in some f > t; so whoever
 * could reuse one has scanned after a and has seen the pin. The scan of an earlier version does not matter: what it lets
 * go was unlinked before, so t does not have it. And the record: place t mod 64 of the ring is written again only after
 * t + 63 was published. 5 comes after the reads of 4 (they acquire), so if it finds p < t + 63, then 4 read the record t.
 * (Reading the record after 5 instead got a wrong record 42 times in 20 million.)
 *
 * In short. Where the thread has taken in the record of the newest version before, 2 puts NARROW t, and 3 looks whether t
 * is still the newest. If so, what is said above of OPEN t0 and 3 is true of NARROW t, and there is nothing left to do;
 * if not, the pin goes, and all begins at 1.
 *
 * A writer may take away an open pin that has become old (CAS to REVOKED): between 2 and 6 the reader has touched
 * nothing but the ring, 6 fails, and it begins again. So a reader that is stopped for a week holds one version at most.
 * REVOKED is not 0: nobody else may use the slot until its reader has seen it, or its CAS could succeed on the pin of
 * another.
 *
 * A pin of a version is only ever put where it stays. To copy it from one slot to another and then take the first away
 * is not safe: a scan under way may have passed the one before and come to the other after. So a snapshot pins the newest
 * version in its own slot, by the steps above; and fork, which has to copy, says so in `moved` (recycle.c).
 *
 * Liveness. The lock on a slot's byte belongs to an open file description: it is gone when the process is, whatever
 * becomes of its pid. Whoever gets that lock has the slot: so claiming adopts, and a slot is never tested through the
 * description that holds it, because this process skips its own (`owned`).
 *
 * Slots grow by a page at a time: the page is fallocated, which does no harm twice, and then counted by CAS.
 *
 * Concurrency: hf_view_pin takes no lock unless it needs another slot. Claims of one process are under its mutex, those
 * of several are settled by the lock of the byte.
 * Failure: HF_SLOTS where all 16,384 are taken; HF_NOSPACE where a page of them cannot be had.
 */
#include "region/file.h"

#include <unistd.h>

/* The slot that this thread used last, the serial of its region, and a version of that (txid NONE: none yet). */
static _Thread_local __attribute__((tls_model("initial-exec"))) struct {
    uint64_t serial;
    struct hf_slot *slot;
    struct hf_version version;
} last;

#define NONE UINT64_MAX

/* -- claiming -- */

int hf_slots_lock(int fd, uint32_t slot, bool lock)
{
    struct flock how = {
        .l_type = lock ? F_WRLCK : F_UNLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(HF_REGION_LOCK_SLOTS + slot),
        .l_len = 1,
    };
    int result;

    /* A reader that may not write has slots of its own, which nobody sees. */
    if (fd < 0)
        return 0;
    HF_OS_RETRY(result, hf_os_lock(fd, F_OFD_SETLK, &how));
    return result;
}

static bool is_owned(const hf_region *region, uint32_t slot)
{
    return region->owned[slot / 8] >> slot % 8 & 1;
}

void hf_slots_own_mark(hf_region *region, uint32_t slot, bool owned)
{
    if (owned)
        region->owned[slot / 8] |= (unsigned char)(1u << slot % 8);
    else
        region->owned[slot / 8] &= (unsigned char)~(1u << slot % 8);
}

/* Has this process slots of its own, which nobody sees? (If not, it may still have no descriptor: after a fork.) */
static bool is_alone(const hf_region *region)
{
    return region->file != NULL && region->file->alone != NULL;
}

/* How many slots there are. */
static uint32_t slot_count(const hf_region *region)
{
    uint32_t count = atomic_load(&region->lock->slots);

    return count > HF_REGION_SLOTS_MAX ? HF_REGION_SLOTS_MAX : count;
}

/* Another page of slots. */
static int grow(hf_region *region, uint32_t count)
{
    int result = 0;

    if (count + HF_REGION_SLOTS_STEP > HF_REGION_SLOTS_MAX || region->control_fd < 0)
        return HF_SLOTS;
    off_t at = (off_t)(region->slots_at + count * sizeof(struct hf_slot));
    /* A lock file has been given all its pages, on file systems too that know nothing of this call. */
    if (region->file == NULL)
        HF_OS_RETRY(result, hf_os_fallocate(region->control_fd, 0, at, HF_REGION_PAGE));
    if (result < 0)
        return hf_region_status(result);
    atomic_compare_exchange_strong(&region->lock->slots, &count, count + HF_REGION_SLOTS_STEP);
    return 0;
}

/* Tries for a slot from `from` on: among those that have no owner, or those that have. 1: got it. */
static int claim_among(hf_region *region, int fd, uint32_t from, uint32_t count, bool with_owner, uint32_t *out)
{
    for (uint32_t i = from; i < count; i++) {
        struct hf_slot *slot = &region->slots[i];
        if (is_owned(region, i) || (atomic_load(&slot->owner) != 0) != with_owner)
            continue;
        int result = hf_slots_lock(fd, i, true);
        if (result == -EAGAIN || result == -EACCES)
            continue;
        if (result < 0)
            return hf_region_status(result);
        /* (A child of a reader without slots finds its parent's; the lock area it may not write to.) */
        if (atomic_load(&slot->owner) != 0 && fd >= 0)
            atomic_fetch_add_explicit(&region->lock->adopted, 1, memory_order_relaxed);
        atomic_store(&slot->pin, 0);
        atomic_store(&slot->retries, 0);
        atomic_store(&slot->owner, (uint64_t)region->pid);
        *out = i;
        return 1;
    }
    return 0;
}

int hf_slots_claim(hf_region *region, int fd, uint32_t *out)
{
    uint32_t from = 0;

    /* Without a lock, a slot would be anybody's. */
    if (fd < 0 && !is_alone(region))
        return HF_LOST;
    for (;;) {
        uint32_t count = slot_count(region);
        int got = claim_among(region, fd, from, count, false, out);
        if (got == 0)
            got = claim_among(region, fd, from, count, true, out);
        if (got != 0)
            return got < 0 ? got : 0;
        /* Slots may have been added meanwhile; then those are next. */
        int status = slot_count(region) > count ? 0 : grow(region, count);
        if (status < 0)
            return status;
        from = count;
    }
}

void hf_slots_release(hf_region *region, int fd, uint32_t slot)
{
    atomic_store(&region->slots[slot].pin, 0);
    atomic_store(&region->slots[slot].owner, 0);
    hf_slots_lock(fd, slot, false);
}

uint32_t hf_slots_adopt(hf_region *region)
{
    uint32_t adopted = 0, count = slot_count(region);

    /* After a fork that had no descriptors, nobody can be told from the dead. */
    if (region->control_fd < 0)
        return 0;
    pthread_mutex_lock(&region->mutex);
    for (uint32_t i = 0; i < count; i++) {
        if (is_owned(region, i) || atomic_load(&region->slots[i].pin) == 0)
            continue;
        if (hf_slots_lock(region->control_fd, i, true) < 0)
            continue;
        hf_slots_release(region, region->control_fd, i);
        adopted++;
    }
    pthread_mutex_unlock(&region->mutex);
    atomic_fetch_add_explicit(&region->lock->adopted, adopted, memory_order_relaxed);
    return adopted;
}

/* -- pinning -- */

/* One of this process's slots that no thread uses, with the pin put in it; NULL where all are in use. */
static struct hf_slot *own_slot(hf_region *region, uint64_t pin)
{
    uint32_t count = atomic_load_explicit(&region->own_count, memory_order_acquire);

    for (uint32_t i = 0; i < count; i++) {
        uint64_t idle = 0;
        if (atomic_load_explicit(&region->own[i]->pin, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&region->own[i]->pin, &idle, pin))
            return region->own[i];
    }
    return NULL;
}

/* A slot with the pin put in it. */
static int take_slot(hf_region *region, uint64_t pin, struct hf_slot **out)
{
    uint32_t claimed = 0;
    int status = 0;

    *out = own_slot(region, pin);
    if (*out == NULL) {
        pthread_mutex_lock(&region->mutex);
        *out = own_slot(region, pin);
        uint32_t count = atomic_load_explicit(&region->own_count, memory_order_relaxed);
        if (*out == NULL && count == HF_REGION_SLOTS_MAX)
            status = HF_SLOTS;
        else if (*out == NULL)
            status = hf_slots_claim(region, region->control_fd, &claimed);
        if (*out == NULL && status == 0) {
            hf_slots_own_mark(region, claimed, true);
            *out = &region->slots[claimed];
            atomic_store(&(*out)->pin, pin);
            region->own[count] = *out;
            atomic_store_explicit(&region->own_count, count + 1, memory_order_release);
        }
        pthread_mutex_unlock(&region->mutex);
    }
    if (status == 0) {
        last.serial = region->serial;
        last.version.txid = NONE; /* that was of another region, or in another slot */
        last.slot = *out;
    }
    return status;
}

/* Steps 3 to 5: the newest version, whole. */
static uint64_t read_version(hf_region *region, struct hf_slot *slot, struct hf_version *out)
{
    for (;;) {
        uint64_t txid = atomic_load(&region->lock->published);
        const struct hf_record_seen *seen = hf_region_seen(region, txid);
        uint64_t written = atomic_load_explicit(&seen->txid, memory_order_acquire);
        out->top = atomic_load_explicit(&seen->top, memory_order_acquire);
        for (int i = 0; i < HF_REGION_TREES; i++) {
            out->trees[i].root = atomic_load_explicit(&seen->trees[i].root, memory_order_acquire);
            out->trees[i].count = atomic_load_explicit(&seen->trees[i].count, memory_order_acquire);
        }
        out->kept = atomic_load_explicit(&seen->kept, memory_order_acquire);
        uint64_t later = atomic_load(&region->lock->published);
        if (__builtin_expect(later - txid < HF_REGION_RING - 1 || HF_SABOTAGE(no_reread), 1)) {
            /* Another record in its place is damage: a number that is none tells the caller. */
            out->txid = written == txid ? txid : UINT64_MAX;
            return txid;
        }
        atomic_fetch_add_explicit(&slot->retries, 1, memory_order_relaxed);
    }
}

/* Steps 3 to 6: narrows the open pin of this slot to the newest version, and that is it. false: it was revoked, and the
 * slot has no pin any more. */
static inline bool narrow(hf_region *region, struct hf_slot *slot, uint64_t open, struct hf_version *out)
{
    uint64_t txid = read_version(region, slot, out), expected = open;

    if (__builtin_expect(atomic_compare_exchange_strong(&slot->pin, &expected, HF_PIN_NARROW | (txid & HF_TXID_MAX)),
                         1))
        return true;
    atomic_store(&slot->pin, 0);
    atomic_fetch_add_explicit(&slot->retries, 1, memory_order_relaxed);
    return false;
}

static inline uint64_t open_pin(hf_region *region)
{
    /* Of a version that never was. */
    if (HF_SABOTAGE(pin_late))
        return HF_PIN_NARROW;
    return HF_PIN_OPEN | (atomic_load(&region->lock->published) & HF_TXID_MAX);
}

/* Whether this process can read the version that it has pinned. */
static inline int is_readable(hf_region *region, const struct hf_version *version)
{
    return version->txid > HF_TXID_MAX ? HF_CORRUPT : hf_pages_seen(region, version->top);
}

int hf_slots_pin(hf_region *region, struct hf_slot *slot, struct hf_version *out)
{
    uint64_t open;

    do {
        open = open_pin(region);
        atomic_exchange(&slot->pin, open);
    } while (!narrow(region, slot, open, out));
    int status = is_readable(region, out);
    if (status < 0)
        atomic_store(&slot->pin, 0);
    return status;
}

int hf_slots_same(hf_region *region, struct hf_slot *slot, uint64_t txid, struct hf_version *out)
{
    if (read_version(region, slot, out) != txid)
        return 0;
    int status = is_readable(region, out);
    return status < 0 ? status : 1;
}

/* A pin where nothing was published since this thread's last one: NARROW at once. False: it was, or the
 * slot is in use. */
static inline bool pin_again(hf_region *region, hf_view *out)
{
    uint64_t idle = 0, txid = atomic_load(&region->lock->published);
    struct hf_slot *slot = last.slot;

    if (last.serial != region->serial || last.version.txid != txid || txid > HF_TXID_MAX ||
        !atomic_compare_exchange_strong(&slot->pin, &idle, HF_PIN_NARROW | txid))
        return false;
    if (__builtin_expect(atomic_load(&region->lock->published) != txid, 0)) {
        atomic_store(&slot->pin, 0);
        return false;
    }
    out->region = region;
    out->slot = slot;
    out->generation = region->generation;
    out->version = last.version;
    return true;
}

/* All of them go straight into *out: to copy what was just stored word by word would cost more than the pin does. */
__attribute__((noinline)) static int pin_slowly(hf_region *region, hf_view *out)
{
    struct hf_slot *slot;

    if (__builtin_expect(region->control_fd < 0, 0))
        hf_file_follow(region);
    for (;;) {
        uint64_t idle = 0, open = open_pin(region);
        slot = last.slot;
        if (__builtin_expect(last.serial != region->serial, 0) ||
            __builtin_expect(!atomic_compare_exchange_strong(&slot->pin, &idle, open), 0)) {
            int status = take_slot(region, open, &slot);
            if (status < 0)
                return status;
        }
        if (narrow(region, slot, open, &out->version))
            break;
    }
    int status = is_readable(region, &out->version);
    if (__builtin_expect(status < 0, 0)) {
        atomic_store_explicit(&slot->pin, 0, memory_order_release);
        return status;
    }
    out->region = region;
    out->version.used = out->version.parked = 0; /* only writers ask */
    out->slot = slot;
    out->generation = region->generation;
    last.version = out->version;
    /* Who has to ask for what is newest does not go by what it found last. */
    if (__builtin_expect(region->control_fd < 0, 0))
        last.version.txid = NONE;
    return 0;
}

int hf_view_pin(hf_region *region, hf_view *out)
{
    return __builtin_expect(pin_again(region, out), 1) ? 0 : pin_slowly(region, out);
}

void hf_view_unpin(hf_view *view)
{
    if (__builtin_expect(view->generation == view->region->generation, 1))
        atomic_store_explicit(&view->slot->pin, 0, memory_order_release);
    view->slot = NULL;
}
