/*
 * keydir.c: the trie of places in shared memory (keydir.h).
 *
 *      entry      [ hash | place ]
 *
 * A place is the caller's, and not looked at.
 */
#include "region/trie_ctx.h"

typedef struct trie_entry {
    uint64_t hash;
    uint64_t place;
} trie_entry;

#include "region/trie_shared.h"

static int region_find(const hf_region *region, const struct hf_version *version, unsigned tree, uint64_t hash,
                       hf_place_match match, void *arg, uint64_t *place);

/* region_find for what is not unusual (trie_shared.h). */
static int quick_find(const hf_region *region, const struct hf_version *version, unsigned tree, uint64_t hash,
                      hf_place_match match, void *arg, uint64_t *place)
{
    trie_entry entry;
    int found = quick_find_entry(region, version, tree, hash, &entry);
    if (__builtin_expect(found < 0, 0))
        return region_find(region, version, tree, hash, match, arg, place);
    if (found == 0 || entry.hash != hash)
        return 0;
    found = match(arg, entry.place);
    if (found > 0)
        *place = entry.place;
    return found > 0 ? 1 : found;
}

#define HF_REGION_FIND quick_find
#define HF_REGION_OPS hf_region_place_ops
#include "region/trie_places.h"
