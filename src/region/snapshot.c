/*
 * snapshot.c: versions that are held for long: by a process, or under a name.
 *
 *      snapshots    s1  s2  s3      s4 ...         any number
 *                     \  |  /        |
 *      pins            [t 70]      [t 74] ...      a slot each: one for every version that is held
 *
 * A snapshot pins the newest version like any view (slots.c), in a slot that is kept for snapshots, so that the slots of
 * views stay few and free. Where this process has a pin of that version already, the snapshot shares it: that one was
 * there first, so no scan has missed it, and the new one goes again.
 *
 * A kept snapshot is an entry of a table that the commit record refers to, with a version's txid and roots. It pins that
 * version by being there (recycle.c). A reader of one pins the version that has the table, then the kept version itself,
 * then makes sure that the newest version still keeps it: whoever forgets it after that scans after that, and
 * sees the pin.
 *
 * Concurrency: under the region's mutex. Failure: HF_NOMEM, HF_SLOTS, HF_ABSENT; nothing is pinned then.
 */
#include "region/impl.h"

/* How many idle slots a process keeps for its next snapshots. With those that no snapshot takes, who has looked at many
 * versions, or still does, leaves others some to read with. */
enum { IDLE_MOST = 64 };

static void give_back(hf_region *region, uint32_t slot)
{
    hf_slots_own_mark(region, slot, false);
    hf_slots_release(region, region->control_fd, slot);
}

/* A slot for a pin of a snapshot. */
static int idle_slot(hf_region *region, struct hf_slot **out)
{
    uint32_t slot;

    if (region->idle_count > 0) {
        *out = &region->slots[region->idle[--region->idle_count]];
        return 0;
    }
    int status = hf_slots_claim(region, region->control_fd, &slot);
    if (status < 0)
        return status;
    if (slot >= HF_REGION_SLOTS_MAX - HF_REGION_SLOTS_VIEWS) {
        give_back(region, slot);
        return HF_SLOTS;
    }
    hf_slots_own_mark(region, slot, true);
    *out = &region->slots[slot];
    return 0;
}

static void idle_again(hf_region *region, struct hf_slot *slot)
{
    uint32_t number = (uint32_t)(slot - region->slots);

    atomic_store(&slot->pin, 0);
    if (region->idle_count < IDLE_MOST)
        region->idle[region->idle_count++] = number;
    else
        give_back(region, number);
}

/* Makes a pin of this version in `slot` the snapshots' own; or, where there is one already, counts that once more. The
 * slot is the pin's then, or idle. With the mutex. */
static int share_pin(hf_region *region, uint64_t txid, struct hf_slot *slot, struct hf_shared_pin **out)
{
    struct hf_shared_pin *pin, *next, *previous = NULL;

    /* The newest are first, and the newest is what is asked for. */
    for (pin = region->pins; pin != NULL && pin->txid > txid; pin = pin->next)
        ;
    if (pin != NULL && pin->txid == txid && pin->slot != NULL) {
        idle_again(region, slot);
        pin->count++;
        *out = pin;
        return 0;
    }
    pin = hf_alloc(sizeof *pin);
    if (pin == NULL) {
        idle_again(region, slot);
        return HF_NOMEM;
    }
    *pin = (struct hf_shared_pin){.slot = slot, .txid = txid, .count = 1};
    for (next = region->pins; next != NULL && next->txid > txid; next = next->next)
        previous = next;
    pin->next = next;
    pin->previous = previous;
    if (next != NULL)
        next->previous = pin;
    *(previous != NULL ? &previous->next : &region->pins) = pin;
    *out = pin;
    return 0;
}

/* A pin of the newest version. With the mutex. */
static int pin_newest(hf_region *region, struct hf_version *version, struct hf_shared_pin **out)
{
    struct hf_shared_pin *first = region->pins;
    struct hf_slot *slot;
    int status = 0;

    if (first != NULL && first->slot != NULL)
        status = hf_slots_same(region, first->slot, first->txid, version);
    if (status > 0) {
        first->count++;
        *out = first;
        return 0;
    }
    if (status == 0)
        status = idle_slot(region, &slot);
    if (status < 0)
        return status;
    status = hf_slots_pin(region, slot, version);
    if (status < 0) {
        idle_again(region, slot);
        return status;
    }
    return share_pin(region, version->txid, slot, out);
}

/* A pin of an older version, which something else protects. With the mutex. */
static int pin_older(hf_region *region, uint64_t txid, struct hf_shared_pin **out)
{
    struct hf_slot *slot;
    int status = idle_slot(region, &slot);

    if (status < 0)
        return status;
    atomic_exchange(&slot->pin, HF_PIN_NARROW | txid);
    return share_pin(region, txid, slot, out);
}

static void unshare_pin(hf_region *region, struct hf_shared_pin *pin)
{
    if (--pin->count > 0)
        return;
    *(pin->previous != NULL ? &pin->previous->next : &region->pins) = pin->next;
    if (pin->next != NULL)
        pin->next->previous = pin->previous;
    if (pin->slot != NULL)
        idle_again(region, pin->slot);
    hf_free(pin);
}

static void link_snapshot(hf_region *region, hf_snapshot *snapshot)
{
    snapshot->previous = NULL;
    snapshot->next = region->snapshots;
    if (snapshot->next != NULL)
        snapshot->next->previous = snapshot;
    region->snapshots = snapshot;
}

/* Sees to it that snapshots cannot take the last slot from this process's views. */
static int views_slot(hf_region *region)
{
    hf_view view;

    if (__builtin_expect(atomic_load_explicit(&region->own_count, memory_order_relaxed) > 0, 1))
        return 0;
    int status = hf_view_pin(region, &view);
    if (status == 0)
        hf_view_unpin(&view);
    return status;
}

int hf_snapshot_begin(hf_region *region, hf_snapshot **out)
{
    hf_snapshot *snapshot = hf_alloc(sizeof *snapshot);

    if (snapshot == NULL)
        return HF_NOMEM;
    int status = views_slot(region);
    if (status < 0)
        goto fail;
    snapshot->view = (hf_view){.region = region, .generation = region->generation};
    if (__builtin_expect(region->control_fd < 0, 0))
        hf_file_follow(region);
    pthread_mutex_lock(&region->mutex);
    status = pin_newest(region, &snapshot->view.version, &snapshot->pin);
    if (status == 0)
        link_snapshot(region, snapshot);
    pthread_mutex_unlock(&region->mutex);
    if (status < 0)
        goto fail;
    *out = snapshot;
    return 0;

fail:
    hf_free(snapshot);
    return status;
}

const hf_view *hf_snapshot_view(const hf_snapshot *snapshot)
{
    return &snapshot->view;
}

void hf_snapshot_end(hf_snapshot *snapshot)
{
    hf_region *region = snapshot->view.region;

    pthread_mutex_lock(&region->mutex);
    if (snapshot->previous != NULL)
        snapshot->previous->next = snapshot->next;
    else
        region->snapshots = snapshot->next;
    if (snapshot->next != NULL)
        snapshot->next->previous = snapshot->previous;
    unshare_pin(region, snapshot->pin);
    pthread_mutex_unlock(&region->mutex);
    hf_free(snapshot);
}

/* -- kept snapshots -- */

int hf_kept_table_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out)
{
    return region->home->kept_at(region, version, out);
}

const struct hf_kept *hf_kept_find(const struct hf_kept_table *table, const char *name)
{
    for (uint64_t i = 0; table != NULL && i < table->count; i++)
        if (strncmp(table->kept[i].name, name, HF_REGION_NAME_SIZE) == 0)
            return &table->kept[i];
    return NULL;
}

/* Looks the name up in the newest version, pinned as *view. */
static int find_kept(hf_region *region, const char *name, hf_view *view, struct hf_kept *out)
{
    const struct hf_kept_table *table;
    int status = hf_view_pin(region, view);

    if (status < 0)
        return status;
    status = hf_kept_table_at(region, &view->version, &table);
    const struct hf_kept *kept = status < 0 ? NULL : hf_kept_find(table, name);
    if (kept != NULL) {
        *out = *kept;
        return 0;
    }
    hf_view_unpin(view);
    return status < 0 ? status : HF_ABSENT;
}

int hf_snapshot_begin_kept(hf_region *region, const char *name, hf_snapshot **out)
{
    hf_view view, again;
    struct hf_kept kept, still;
    hf_snapshot *snapshot = hf_alloc(sizeof *snapshot);

    if (snapshot == NULL)
        return HF_NOMEM;
    int status = find_kept(region, name, &view, &kept);
    if (status < 0)
        goto fail;
    if (kept.txid > view.version.txid) {
        hf_view_unpin(&view);
        status = HF_CORRUPT;
        goto fail;
    }
    snapshot->view = view;
    snapshot->view.slot = NULL;
    snapshot->view.version.txid = kept.txid;
    snapshot->view.version.kept = 0;
    memcpy(snapshot->view.version.trees, kept.trees, sizeof kept.trees);
    pthread_mutex_lock(&region->mutex);
    status = pin_older(region, kept.txid, &snapshot->pin);
    if (status == 0)
        link_snapshot(region, snapshot);
    pthread_mutex_unlock(&region->mutex);
    hf_view_unpin(&view);
    if (status < 0)
        goto fail;
    status = find_kept(region, name, &again, &still);
    if (status == 0)
        hf_view_unpin(&again);
    /* Forgotten meanwhile; perhaps there is a new one of the name. */
    if (status == 0 && still.txid != kept.txid)
        status = HF_ABSENT;
    if (status < 0) {
        hf_snapshot_end(snapshot);
        return status;
    }
    *out = snapshot;
    return 0;

fail:
    hf_free(snapshot);
    return status;
}
