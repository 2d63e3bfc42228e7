/* trie_algo.h - the algorithms of the persistent hash trie, written once for every memory it lives in.
 *
 * Read trie_node.h first: it draws a node. This file and the parts it includes are a template. A .c file
 * that wants a trie defines the types and policies listed below, all of them static, and then includes
 * this file, once. (One instantiation a translation unit: no name needs mangling. See
 * docs/adr/0001-one-instantiation-per-file.md.) Nothing here allocates, counts, compares or hashes by
 * itself, and nothing tests which policy it was compiled with.
 *
 * How a version comes about. `put` walks down to the key's slot and remembers the nodes it passed. Then,
 * from the bottom up, it builds a copy of each of them that differs in one slot. The old root still
 * reaches the old nodes; everything off the path is shared:
 *
 *        old root --> [ . . . ]        [ . . . ] <-- new root
 *                      / |  \          / |  \
 *                     /  |   \________/__|   \
 *                    /   |___________/   |    \
 *                  [A]  [B] <-------/   [B']   \--> [C]        (C is shared as well)
 *
 * Invariants
 *  I1  Canonical. The same contents have the same shape, whatever the history: a node below the root
 *      holds at least two entries, counting those below it; a child that comes down to one entry is
 *      dissolved into its parent; a trie without entries is TRIE_NONE. Hence two tries are equal just
 *      when they are equal node by node, and a comparison stops at every node they share.
 *  I2  An entry sits in the slot that its hash names at that depth. The hash itself is not stored.
 *  I3  A sealed node changes only where `trie_ours` holds of it and of every node above it, with no foreign code
 *      between the asking and the change (but trie_fresh where the node's slots move to the new one: see
 *      trie_shell_free).
 *  I4  Foreign code (a key's hash or equality, a value's equality, a keep or a drop that the user
 *      wrote, an allocation that may collect garbage) never runs between `trie_fresh` and `trie_seal`.
 *  I5  An operation that fails has changed nothing that its caller can see, and holds nothing.
 *  I6  Every link reached through an operand stays good, and its node what it was, while the operation runs,
 *      because the caller holds the operand. Where that is only true as long as foreign code behaves (a
 *      transient), the caller locks the operand out for the duration. The address of a node does not last
 *      as long: see trie_at.
 *
 * Order of work. Each operation first does everything that runs foreign code or may fail, holding counts
 * on what it found; then builds; then, when the new state is whole, hands back what is to be dropped (struct
 * trie_trash), for the caller to drop once it has published the new root.
 *
 * What the instantiating file defines
 *
 *   types       trie_ctx       whatever the policies need: a thread state, a descriptor, a transaction
 *               trie_link      how a node refers to another; compared with ==; TRIE_NONE refers to nothing
 *               trie_entry     what a slot holds; copied bit by bit
 *               trie_key       a key as the search takes it
 *               trie_node      struct with members `hf_trie_maps maps` and `uint64_t slots[]`
 *   reading     trie_at        the address of a node. Good until the next trie_fresh or foreign code, not longer: the
 *                              memory may move there. A policy that is given an entry of a node has read what it
 *                              needs of it before it runs foreign code
 *               trie_key_of, trie_hash, trie_same_key, trie_same_value        of an entry; all but the first may fail
 *               trie_identical(a, b)      key and value are the very same, without running foreign code
 *               trie_unchanged(s, e)      putting e over s (whose key is equal) would change nothing
 *   building    trie_fresh     a node with room for these maps, slots not yet written; may fail, may run foreign code
 *               trie_seal      all slots are written: from now on anybody may look
 *               trie_shell_free           gives back a node whose slots have moved elsewhere. It was ours, or never
 *                              published; where trie_fresh runs foreign code that can get at nodes, this bears it
 *               trie_replace(s, e, out)   the entry with the key of s and the value of e, counted
 *               trie_swap_values(a, b)    two entries exchange their values
 *   counting    trie_keep_link, trie_drop_link, trie_keep_entries, trie_drop_entries
 *                              (a drop runs foreign code, except of a link that is counted elsewhere too; keeping an
 *                              entry may, and may fail; of one that is in a node it never alters the bits)
 *   editing     trie_ours      this node may be changed in place, if all above it may
 *               trie_touch     this node or one below it was changed in place: forget what was derived from it
 *               trie_superseded, trie_superseded_entry   in a version that the caller gives up, a copy has taken
 *                              this node's place, or the entry is gone; a memory without counts collects them here
 *   traits      trie_traits_of, trie_traits_for: what a node, and an entry, asks of the memory of a node that holds
 *               it, as bits. A node gets the union of its source's and its new contents': nothing is rescanned
 *   digest      trie_digest_entry, trie_digest_load, trie_digest_save: see trie_compare.h
 *   prefetch    trie_prefetch(ctx, link), trie_prefetch_entry(entry): hints
 *
 * Failures are negative numbers (status codes) and travel up unchanged. `depth` is the number of levels above a
 * node: the root's is 0, a collision node's is HF_TRIE_LEVELS.
 *
 * Threads: an operation touches only its operands and what it makes. Whether operands may be shared is the
 * policies' affair. Recursion is bounded by HF_TRIE_HEIGHT everywhere.
 */
#ifndef HF_TRIE_ALGO_H
#define HF_TRIE_ALGO_H

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "holdfast/status.h"
#include "trie/trie_read.h"

#include "trie/trie_compare.h"
#include "trie/trie_edit.h"
#include "trie/trie_build.h"
#include "trie/trie_algebra.h"
#include "trie/trie_merge3.h"
#include "trie/trie_check.h"

#endif
