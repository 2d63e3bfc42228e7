/* trie_node.h - the layout of a trie node, and the arithmetic on its two bitmaps.
 *
 * The trie is a CHAMP (compressed hash-array mapped prefix tree; Steindorfer and Vinju, "Optimizing
 * Hash-Array Mapped Tries for Fast and Lean Immutable JVM Collections", OOPSLA 2015). A key's 64-bit
 * hash is read five bits at a time, least significant first; at each level the five bits name one of 32
 * slots of a node. A slot is empty, or holds one entry (a key and what belongs to it), or one child (the
 * node for all the keys that agree on the bits read so far). Nothing is stored for an empty slot:
 *
 *      slot          0   1   2   3   4   5  ..  31
 *                        a       n       b       m          a, b: entries      n, m: children
 *      entry_map     0   1   0   0   0   1  ..  0
 *      child_map     0   0   0   1   0   0  ..  1
 *
 *      +--------+-----------+-----------+---------+---------+--------+--------+
 *      | header | entry_map | child_map | entry a | entry b | link n | link m |
 *      +--------+-----------+-----------+---------+---------+--------+--------+
 *                                         slots[] ->  entries first, then links, each in slot order
 *
 * The place of slot s among the entries is the number of bits set in entry_map below bit s; likewise
 * for the links. A slot is never in both maps, which leaves the overlapping pairs free to mean
 * something else:
 *
 * Collision node. Thirteen levels use up 64 bits (twelve of five, one of four). Keys that agree on all
 * of them are kept together, in no particular order, in a node below the thirteenth level. Such a node
 * has entry_map == child_map == the number of its entries, which is never zero.
 *
 * What an entry is, what a link is and what the header holds is the business of whoever instantiates
 * trie_algo.h; this file only knows the bitmaps. It is included by every instantiation and has no
 * state.
 */
#ifndef HF_TRIE_NODE_H
#define HF_TRIE_NODE_H

#include "base/bits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    HF_TRIE_BITS = 5,                                        /* bits of hash read per level */
    HF_TRIE_FANOUT = 1 << HF_TRIE_BITS,                      /* slots of a node */
    HF_TRIE_LEVELS = (64 + HF_TRIE_BITS - 1) / HF_TRIE_BITS, /* levels with slots; then collisions */
    HF_TRIE_HEIGHT = HF_TRIE_LEVELS + 1,                     /* nodes on the longest path */
};

/* So many entries a collision node may have: their number is in the maps. More is HF_LIMIT. */
#define HF_TRIE_COLLISION_MAX UINT32_MAX

/* The two bitmaps of a node; see the head of this file. */
typedef struct hf_trie_maps {
    uint32_t entry_map;
    uint32_t child_map;
} hf_trie_maps;

_Static_assert(sizeof(hf_trie_maps) == 8, "the maps are one word of a node");

/* Compiles to one instruction where the CPU level of this build has it (see base/cpu.h). */
static inline unsigned hf_trie_popcount(uint32_t bits)
{
    return hf_popcount32(bits);
}

static inline unsigned hf_trie_lowest(uint32_t bits)
{
    return hf_ctz32(bits);
}

/* The slot, as a bit, that `hash` has in a node `depth` levels below the root. */
static inline uint32_t hf_trie_slot(uint64_t hash, unsigned depth)
{
    return (uint32_t)1 << ((hash >> (HF_TRIE_BITS * depth)) & (HF_TRIE_FANOUT - 1));
}

/* How many of the slots in `map` come before `slot`: its place in the packed array. */
static inline unsigned hf_trie_index(uint32_t map, uint32_t slot)
{
    return hf_trie_popcount(map & (slot - 1));
}

static inline bool hf_trie_is_collision(hf_trie_maps maps)
{
    return (maps.entry_map & maps.child_map) != 0;
}

static inline hf_trie_maps hf_trie_collision_maps(uint32_t count)
{
    return (hf_trie_maps){count, count};
}

static inline uint32_t hf_trie_entry_count(hf_trie_maps maps)
{
    return hf_trie_is_collision(maps) ? maps.entry_map : hf_trie_popcount(maps.entry_map);
}

static inline uint32_t hf_trie_child_count(hf_trie_maps maps)
{
    return hf_trie_is_collision(maps) ? 0 : hf_trie_popcount(maps.child_map);
}

/* Copies slots. By memmove, though they never overlap: of a memcpy of whole words gcc makes `rep movsq`, which takes
 * longer to get going than a node takes to copy. */
static inline void hf_trie_copy(void *to, const void *from, size_t size)
{
    memmove(to, from, size);
}

static inline bool hf_trie_same_maps(hf_trie_maps a, hf_trie_maps b)
{
    return a.entry_map == b.entry_map && a.child_map == b.child_map;
}

/* True of a node that holds one entry and nothing else; below the root its parent holds the entry. */
static inline bool hf_trie_is_lone_entry(hf_trie_maps maps)
{
    return hf_trie_entry_count(maps) == 1 && hf_trie_child_count(maps) == 0;
}

/* True of a node that holds one child and nothing else: a link of a chain of shared hash bits. */
static inline bool hf_trie_is_lone_child(hf_trie_maps maps)
{
    return maps.entry_map == 0 && hf_trie_popcount(maps.child_map) == 1;
}

#endif
