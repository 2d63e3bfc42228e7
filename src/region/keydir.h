/*
 * keydir.h: trees of a region whose entries are places: where, in something else that keeps them, keys are.
 *
 *      entry = [ hash of a key, all 64 bits | place ]          place ----> a record of that key, in a log of the caller's
 *
 * For who has keys and values elsewhere, and wants to know where: 16 bytes an entry, and no block for it. A place is any
 * 64-bit number that is the caller's; two keys never have one. Keys are not in the region, so nothing is read to split a
 * node, and two keys with one hash are told apart by asking the caller, who looks at his record.
 *
 * Which trees of a region are of this kind is said when it is created (hf_region_options.place_trees), and true as long
 * as it exists. All else is as for other trees: versions, snapshots, savepoints, hf_txn_clear, hf_view_count, and so on.
 * hf_view_diff compares entries, and tells of each that is in one version only: the key has the hash and no bytes, the
 * span is the place; of a key whose place is another one it tells twice. A call that is for trees of the other kind:
 * HF_INVALID.
 *
 * Concurrency and failure as in region.h. Whoever removes what places lead to asks hf_region_oldest_pin first.
 */
#ifndef HF_REGION_KEYDIR_H
#define HF_REGION_KEYDIR_H

#include "region/region.h"

typedef struct hf_place_entry {
    uint64_t hash;
    uint64_t place;
} hf_place_entry;

/* Is the record at `place` that of the key that is meant? 1, 0 or a failure, which the caller of the operation gets. Asked
 * only where all 64 bits of the hash are equal. Must not call the region. */
typedef int (*hf_place_match)(void *arg, uint64_t place);

/* The trees that are of this kind, as bits. */
unsigned hf_region_place_trees(const hf_region *region);

/* 1 and the place of the key that has this hash and that `match` knows; 0, what `match` failed with, HF_CORRUPT, HF_LOST,
 * HF_INVALID. */
int hf_view_find_place(const hf_view *view, unsigned tree, uint64_t hash, hf_place_match match, void *arg,
                       uint64_t *place);
int hf_txn_find_place(hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg, uint64_t *place);

/* 1 the key is new; 0 it was there, *old (if that is not NULL) being its place before. Where the place is what it was,
 * nothing changes. */
int hf_txn_set_place(hf_txn *txn, unsigned tree, uint64_t hash, uint64_t place, hf_place_match match, void *arg,
                     uint64_t *old);

/* 1 and its place, 0: it was not there. */
int hf_txn_unset_place(hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg, uint64_t *old);

/* As hf_region_cursor_next, of a cursor over such a tree: in the order of the trie. */
int hf_region_cursor_next_place(hf_region_cursor *cursor, hf_place_entry *out);

#endif
