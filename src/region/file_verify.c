/*
 * file_verify.c: is a block of the file the one that was linked to, as it was written?
 *
 *      a link  [ 24 bits of the checksum | place ]         a block  [ head | checksum, place | ... ]
 *
 * A block is looked at whole when a process first touches it, as (place, birth); what was found right is noted in a table
 * of this process's own, in which other blocks may take its place: then it is looked at again. The 24 bits are compared
 * each time.
 *
 *      verified[place / 2 mod size] = place, 24 bits of the birth
 *
 * (Blocks are 32 bytes at least, so each has an entry of its own in a table as large as the file. A block that takes the
 * place of another one 2^24 transactions younger to the very number would be taken for it; it still has to match its
 * link, its own place and its kind.)
 *
 * Concurrency: the table's entries are atomics; what two threads note at once is true either way. Failure: HF_CORRUPT.
 */
#include "region/file.h"
#include "region/runs.h"

#include <sys/mman.h>

enum { LEAST_ROOM = 1 << 16, MOST_ROOM = 1 << 26 };

int hf_verify_map(struct hf_file_home *file)
{
    uint64_t room = MOST_ROOM, fair = hf_pages_fair(room * sizeof *file->verified, 8, true);
    void *table = NULL;
    int result;

    while (room > LEAST_ROOM && room * sizeof *file->verified > fair)
        room /= 2;

    for (;;) {
        result = hf_os_mmap(NULL, room * sizeof *file->verified, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &table);
        if (result != -ENOMEM || room == LEAST_ROOM)
            break;
        room /= 2;
    }
    if (result < 0)
        return result == -ENOMEM ? HF_LIMIT : hf_region_status(result);
    file->verified = table;
    file->verified_room = room;
    atomic_store(&file->verified_mask, LEAST_ROOM - 1);
    return 0;
}

void hf_verify_unmap(struct hf_file_home *file)
{
    if (file->verified != NULL)
        hf_os_munmap(file->verified, file->verified_room * sizeof *file->verified);
    file->verified = NULL;
}

void hf_verify_room(struct hf_file_home *file, uint64_t top)
{
    uint64_t mask = atomic_load_explicit(&file->verified_mask, memory_order_relaxed);

    while (mask + 1 < file->verified_room && mask + 1 < top / (UINT64_C(2) * HF_UNIT))
        mask = 2 * mask + 1;
    atomic_store_explicit(&file->verified_mask, mask, memory_order_relaxed);
}

/* Of all but the bits that it goes to. */
static uint32_t checksum_of(const struct hf_file_table *block, uint64_t size)
{
    enum { BEFORE = offsetof(struct hf_file_table, count) };
    uint64_t body = hf_checksum64((const char *)block + BEFORE, size - BEFORE, 0);

    return (uint32_t)hf_hash_u64(body ^ block->head, (uint32_t)block->mark);
}

void hf_block_seal(void *staged, uint64_t size, uint64_t units)
{
    struct hf_file_table *block = staged;

    memset((char *)staged + size, 0, hf_units(size) * HF_UNIT - size);
    block->head = (block->head & ~(uint64_t)HF_HEAD_EPOCH_MAX) | units >> 32;
    block->mark = (uint32_t)units;
    block->mark |= (uint64_t)checksum_of(block, size) << 32;
}

/* A node of the file has no link that would lead to what a transaction has staged, which is trusted, or to the nursery. */
static bool has_link_out(const struct hf_file_home *file, uint64_t units, const struct hf_file_node *node,
                         uint64_t size)
{
    uint64_t count;

    if (hf_head_kind(node->head) != HF_KIND_NODE)
        return false;
    const uint64_t *links = hf_file_node_links(node, size, &count);
    for (uint64_t i = 0; i < count; i++)
        if (hf_link_units(links[i]) >= file->stage.at && !(hf_is_in_nursery(units) && hf_is_in_nursery(links[i])))
            return true;
    return false;
}

bool hf_block_is_linked(const hf_region *region, uint64_t link)
{
    uint64_t units = hf_link_units(link);
    const struct hf_file_table *block = hf_unit_at(region, units);

    return (block->head & 0xff) == units >> 32 && (uint32_t)block->mark == (uint32_t)units &&
           (block->mark ^ link) >> 40 == 0;
}

/* Is it of a version that is still to come? A transaction would take it for its own, and change it where it is. (A table
 * never is changed; that of kept snapshots is looked at by the commit that wrote it.) */
static bool is_to_come(const hf_region *region, uint64_t head)
{
    return hf_head_txid(head) > atomic_load(&region->lock->published) + (hf_head_kind(head) == HF_KIND_TABLE);
}

int hf_block_verify(const hf_region *region, uint64_t link, uint64_t size)
{
    uint64_t units = hf_link_units(link);
    const struct hf_file_table *block = hf_unit_at(region, units);

    if (!hf_block_is_linked(region, link) || block->mark >> 32 != checksum_of(block, size) ||
        is_to_come(region, block->head) ||
        has_link_out(region->file, units, (const struct hf_file_node *)(const void *)block, size))
        return HF_CORRUPT;
    hf_set_verified(region->file, units, block->head);
    return 0;
}

/* -- a record -- */

static bool is_within(uint64_t units, uint64_t count, uint64_t top)
{
    return units >= HF_FILE_HEAP_AT / HF_UNIT && units < top && count <= top - units;
}

bool hf_record_is_sound(const struct hf_version *version, const struct hf_file_state *state,
                        const struct hf_nursery *nursery)
{
    uint64_t top = version->top / HF_UNIT, spilled = state->spill_count;

    if (version->top % HF_REGION_PAGE != 0 || version->top < HF_FILE_HEAP_AT || top >= HF_FILE_UNITS)
        return false;
    if (nursery != NULL && !hf_nursery_is_sound(nursery))
        return false;
    for (unsigned i = 0; i <= HF_REGION_TREES + 1; i++) {
        uint64_t link = i < HF_REGION_TREES    ? version->trees[i].root
                        : i == HF_REGION_TREES ? state->space.root
                                               : version->kept;
        bool nursed = nursery != NULL && i < HF_REGION_TREES && hf_is_in_nursery(link) && hf_nursery_is_used(nursery);
        if (link != 0 && !nursed && !is_within(hf_link_units(link), 1, top))
            return false;
    }
    if (state->open_count > HF_FILE_OPEN || state->recent_count > HF_FILE_RECENT)
        return false;
    for (uint32_t i = 0; i < state->open_count; i++)
        if (state->open[i].page >= top / HF_PAGE_UNITS || state->open[i].page < HF_FILE_HEAP_AT / HF_REGION_PAGE)
            return false;
    if (!hf_runs_are_sound(&state->runs) || state->pages_at % HF_PAGE_UNITS != 0 ||
        state->pages_at > state->pages_end ||
        (state->pages_at != state->pages_end && !is_within(state->pages_at, state->pages_end - state->pages_at, top)))
        return false;
    if (state->manifest_units > 0 && !is_within(state->manifest, state->manifest_units, top))
        return false;
    return spilled == 0 ||
           (spilled <= top && is_within(state->spill, hf_units(spilled * sizeof(struct hf_file_cell)), top));
}
