/*
 * map.h: the persistent map. A map never changes: `with` and `without` give a new map and leave the old one as it
 * was. The two share all but a few nodes, so a version costs O(log n) time and memory, and any number of versions can
 * be kept.
 *
 *      hf_map *m, *next;
 *      hf_map_new(&types, &m);                                   m     {}
 *      hf_map_with(m, HF_STRING("a"), hf_value_int(1), &next);   next  {a: 1}    m is still {}
 *
 * Inside it is a CHAMP trie (Steindorfer and Vinju, "Optimizing Hash-Array Mapped Tries for Fast and Lean Immutable
 * JVM Collections", OOPSLA 2015): 32-way, over all 64 bits of a key's hash, canonical, so that equal maps have equal
 * shapes. Structural operations (equality, diff, merge ...) work node by node and stop where the operands share a
 * node: they cost what differs, not what is stored.
 *
 * What holds for every function below, unless it says otherwise
 *
 *   Arguments   A map argument is a valid map that the caller holds a count of. Maps are never NULL, except where it
 *               is said. Keys and values are borrowed for the call. Two maps given to one function have the same types
 *               (the same hf_type pointers), else HF_INVALID.
 *   Results     A map put in *out has one count, the caller's, who gives it back with hf_map_drop. Where a result
 *               equals an operand because nothing had to change, it is that operand: the same pointer, with one
 *               more count.
 *   Failure     The result is negative: HF_NOMEM, HF_LIMIT for 2^32 or more keys of one hash, or what a function of a
 *               type (hash, equal, keep, drop) or a callback returned. Nothing has changed then, *out included,
 *               and nothing is lost.
 *   Threads     Maps may be used by any number of threads at once, also the same one: they do not change, and their
 *               counts are atomic. (While a process has one thread only, glibc says so and counting takes no atomic
 *               instructions.) A count belongs to no thread. Iterators and transients are used by one thread
 *               at a time.
 *   Re-entry    Functions of types and callbacks may call the library, also with the maps they are called for, as
 *               long as they do not drop or consume counts that are not their own.
 *   Order       The order of iteration is that of the hashes: stable for equal contents in one process, and
 *               otherwise to be treated as arbitrary.
 *
 * In the costs, n is the size of a map and O(log n) has the base 32, so that it is 4 for a million entries, and
 * never more than 13 (then a list: see `hash` in value.h); calls to the types' functions are counted extra.
 */
#ifndef HOLDFAST_MAP_H
#define HOLDFAST_MAP_H

#include <holdfast/api.h>
#include <holdfast/status.h>
#include <holdfast/value.h>

#include <stddef.h>
#include <stdint.h>

HF_BEGIN_DECLS

typedef struct hf_map hf_map;

/* The types of a map's keys and values. Used where it is: it must stay as long as there are maps of it. */
typedef struct hf_map_type {
    const hf_type *key;
    const hf_type *value;
} hf_map_type;

typedef struct hf_pair {
    hf_value key;
    hf_value value;
} hf_pair;

/*
 * Maps as keys or values of maps: the word's `ptr` is a hf_map, never NULL (HF_INVALID when it is stored). One type
 * for all: each map knows its own types, which need a hash where the map is hashed (as a key is). Keeping counts it.
 * Equality is hf_map_equal, the hash hf_map_hash. Nesting may be 200,000 levels deep and more: none of keep, drop,
 * equality and hash needs more C stack for it (with one exception, see hf_map_equal).
 */
extern HF_API const hf_type hf_type_map;

/* -- life ---------------------------------------------------------------------------------------------------- */

/*
 * An empty map. Fails with HF_NOMEM, and with HF_INVALID if a type is missing, has no name, or has just one of keep
 * and drop, or the keys' type has an equality and no hash to go with it. O(1), one allocation.
 */
HF_API HF_MUST_CHECK int hf_map_new(const hf_map_type *type, hf_map **out);

/*
 * A map of `count` pairs, built at once, several times faster than one after another: the hashes are sorted by
 * radix, and each node is made once, at its final size. Of pairs with equal keys the first one's key is stored with
 * the last one's value. `pairs` may be NULL if count is 0. HF_INVALID as hf_map_new. O(n) time, and 24 to 48 bytes a
 * pair while it runs. Hashes each key once; compares only keys of equal hashes.
 */
HF_API HF_MUST_CHECK int hf_map_from_pairs(const hf_map_type *type, const hf_pair *pairs, size_t count, hf_map **out);

/* Takes one more count, and returns the map. NULL gives NULL. Cannot fail. O(1). */
HF_API hf_map *hf_map_keep(const hf_map *map);

/*
 * Gives back one count; the last one frees the map, and drops the keys and values that no other version has. NULL is
 * nothing to drop. O(1), or what is freed, once it is freed.
 *
 * Returns 0, or the first failure of a type's `drop`. The map is gone then as well, and everything else was dropped.
 * So it is with every function here: where it gave up keys or values and a drop failed, its work is done
 * nevertheless if it says "consumes" or changes something in place, and undone otherwise; and the status is the
 * drop's. Let a drop that can fail do so with a number of its own, to be told from a failure of the edit.
 *
 * Called from within a `drop`, it puts the freeing off until the outermost hf_map_drop of the thread goes on: then
 * nothing is lost either, and a chain of maps of any length is freed without recursion.
 */
HF_API int hf_map_drop(hf_map *map);

/* The number of keys. Cannot fail. O(1). */
HF_API size_t hf_map_size(const hf_map *map);

/* The types the map was created with. Cannot fail. O(1). */
HF_API const hf_map_type *hf_map_types(const hf_map *map);

/* -- looking up ---------------------------------------------------------------------------------------------- */

/*
 * Looks a key up: 1, and its value in *out (NULL: it is not wanted), borrowed from the map; 0 if it is not there,
 * and *out is as it was. O(log n), one hash, at most one comparison unless hashes collide.
 */
HF_API HF_MUST_CHECK int hf_map_get(const hf_map *map, hf_value key, hf_value *out);

/* Whether the key is there: 1 or 0. Otherwise as hf_map_get. */
HF_API HF_MUST_CHECK int hf_map_contains(const hf_map *map, hf_value key);

/* -- new versions -------------------------------------------------------------------------------------------- */

/*
 * A map in which `key` has `value`, and all else is as in `map`. Returns 1 if the key is new, 0 if it was there: then
 * the stored key stays, and its value is replaced. If it had that very value (by its bits) *out is `map` itself, with
 * one more count. O(log n): copies the nodes on the way to the key.
 */
HF_API HF_MUST_CHECK int hf_map_with(const hf_map *map, hf_value key, hf_value value, hf_map **out);

/* A map without the key: 1 if it was there; 0 if not, then *out is `map` itself, with one more count. O(log n). */
HF_API HF_MUST_CHECK int hf_map_without(const hf_map *map, hf_value key, hf_map **out);

/*
 * The same, but consumes the operand: the caller's count of *map is given up, and *map is the new version, with a
 * count for the caller. Where that count was the last one, nobody can see the old version any more, so it is changed
 * in place: no new map is made, and no node is copied that is not shared with other versions. The result is then most
 * likely the same pointer. Otherwise it does what hf_map_with and hf_map_drop do.
 *
 * After a failure *map is as it was and still the caller's; except where the drop of something replaced or removed
 * failed: then *map is the new version. While it runs, the functions of the types may read and keep *map, but
 * must not consume it. O(log n).
 */
HF_API HF_MUST_CHECK int hf_map_with_take(hf_map **map, hf_value key, hf_value value);
HF_API HF_MUST_CHECK int hf_map_without_take(hf_map **map, hf_value key);

/* -- two maps ------------------------------------------------------------------------------------------------ */

/* What becomes of a key that both sides have. */
typedef enum hf_choice {
    HF_CHOOSE_LEFT = 0,  /* the left (my) value; of merge3, where it is absent: no such key */
    HF_CHOOSE_RIGHT = 1, /* the right (their) value; likewise */
    HF_CHOOSE_NEW = 2,   /* *made, whose count, taken by the callback, the map takes over */
    HF_CHOOSE_NONE = 3,  /* no such key in the result */
    HF_CHOOSE_OPEN = 4,  /* merge3 only: leave it open, and go on to find the other conflicts; see there */
} hf_choice;

/* Settles a key of a union: a hf_choice, or a failure. All values are borrowed. `user` is what the caller passed. */
typedef int hf_map_resolver(void *user, hf_value key, hf_value left, hf_value right, hf_value *made);

/*
 * The union: every key of either. For one that both have, `resolve` says what becomes of it, or, if that is NULL, the
 * right value wins; the stored key is the left one. With a resolver, keys in what the operands share are put to
 * it as well, so the whole of both is visited; without one shared nodes are not entered. HF_INVALID for a choice
 * that is none.
 *
 * Costs the nodes in which they differ: O(changes * log n) for versions of one map, and O(the smaller one) for a
 * small map and a large one built apart; with a resolver O(both). Compares keys that share a slot; hashes those that
 * turn out to differ, or meet a node.
 */
HF_API HF_MUST_CHECK int hf_map_merge(const hf_map *left, const hf_map *right, hf_map_resolver *resolve, void *user,
                                      hf_map **out);

/*
 * The keys of left that right has too (intersection) or has not (difference), with left's values; the keys that just
 * one of them has (symmetric difference). Values are not compared. Costs what hf_map_merge does without a resolver.
 */
HF_API HF_MUST_CHECK int hf_map_intersection(const hf_map *left, const hf_map *right, hf_map **out);
HF_API HF_MUST_CHECK int hf_map_difference(const hf_map *left, const hf_map *right, hf_map **out);
HF_API HF_MUST_CHECK int hf_map_symmetric_difference(const hf_map *left, const hf_map *right, hf_map **out);

/*
 * Settles a conflict of a three-way merge: a hf_choice or a failure. NULL stands for an absent key; at most one of
 * `mine` and `theirs` is NULL, since two sides that both removed a key agree. All is borrowed.
 */
typedef int hf_map_resolver3(void *user, hf_value key, const hf_value *base, const hf_value *mine,
                             const hf_value *theirs, hf_value *made);

/*
 * The three-way merge: base with the changes that lead to mine and those that lead to theirs. Where both changed a key,
 * and not alike (values are compared with the value type's `equal`), that is a conflict, for `resolve` to settle.
 * Without it, or where it leaves one open (HF_CHOOSE_OPEN), the merge fails with HF_CONFLICT: at the first conflict
 * when `resolve` is NULL, else after all of them were put to it. So a resolver that notes the keys and answers
 * HF_CHOOSE_OPEN lists the conflicts. HF_INVALID for a choice that is none.
 *
 * Costs the nodes in which the three differ.
 */
HF_API HF_MUST_CHECK int hf_map_merge3(const hf_map *base, const hf_map *mine, const hf_map *theirs,
                                       hf_map_resolver3 *resolve, void *user, hf_map **out);

/*
 * Is told of one change. `before` or `after` is NULL where the key is absent; all is borrowed from the two maps. 0: go
 * on; 1: that is enough; or a failure.
 */
typedef int hf_map_on_change(void *user, hf_value key, const hf_value *before, const hf_value *after);

/*
 * Calls `on_change` for each key whose value is not the same in both (by the value type's `equal`): the changes that
 * turn `before` into `after`, in no particular order. Returns 0, 1 if on_change had enough, or a failure (what was
 * reported up to then stays reported). Costs the nodes in which they differ.
 */
HF_API HF_MUST_CHECK int hf_map_diff(const hf_map *before, const hf_map *after, hf_map_on_change *on_change,
                                     void *user);

/*
 * Whether both have equal keys with equal values: 1 or 0. Maps of different types are not equal. Costs the nodes that
 * they do not share, and stops at the first difference in shape.
 *
 * Maps within maps: values, and keys, that are maps are compared later from a list, not by recursion (HF_NOMEM if
 * there is no room for it). The exception is keys that are different maps with one and the same 64-bit hash: to tell
 * them apart it recurses, and beyond 200 levels of such keys within such keys it fails with HF_LIMIT.
 */
HF_API HF_MUST_CHECK int hf_map_equal(const hf_map *a, const hf_map *b);

/*
 * A hash of the contents: equal maps have equal hashes. It depends on the types' hashes, so it may differ between
 * processes. HF_INVALID if the values' type has an equality and no hash to go with it (here or in a map within).
 *
 * Each node remembers its part and each map the whole, so that O(n) the first time is O(1) the next, and O(log n) for
 * a version of a map that was hashed before. Maps within maps are hashed without recursion.
 */
HF_API HF_MUST_CHECK int hf_map_hash(const hf_map *map, uint64_t *out);

/* -- iterating ----------------------------------------------------------------------------------------------- */

/* An iterator, to be embedded; the members are the library's. About 280 bytes. */
typedef struct hf_map_iter {
    hf_map *map;
    uint64_t state[34];
} hf_map_iter;

/*
 * Starts before the first entry. The iterator takes a count of the map, so the map may be dropped meanwhile. It is
 * ended with hf_map_iter_clear. Must not be copied or moved while in use. Cannot fail. O(log n).
 */
HF_API void hf_map_iter_init(hf_map_iter *iter, const hf_map *map);

/*
 * 1, and the next key and value in *key and *value (either may be NULL: not wanted), borrowed until the iterator is
 * cleared; 0 at the end, and from then on, and of a cleared iterator. Cannot fail. O(1) on average.
 */
HF_API int hf_map_iter_next(hf_map_iter *iter, hf_value *key, hf_value *value);

/* Drops the iterator's count; once more does nothing. Returns what hf_map_drop does. */
HF_API int hf_map_iter_clear(hf_map_iter *iter);

/* -- transients ---------------------------------------------------------------------------------------------- */

/*
 * A transient is a map that changes, for many edits in a row. It starts as a copy of a map, which costs O(1)
 * since it shares everything, copies a node the first time that it changes it and changes it in place after that; and
 * `persist` makes a map of it, in O(1) again. The map that it came from never changes. (The idea is Clojure's; the proof
 * of ownership here are the counts, not an owner's mark in the nodes.)
 *
 * Used by one thread at a time. While an operation on it runs, the functions of the types cannot use it: every
 * function below returns HF_BUSY then. After persist, every function but free returns HF_INVALID.
 */
typedef struct hf_map_transient hf_map_transient;

/* A transient with the contents of the map, of which it keeps a count as long as it is unchanged. Ended with
 * hf_map_transient_free. HF_NOMEM. O(1), one allocation. */
HF_API HF_MUST_CHECK int hf_map_transient_new(const hf_map *map, hf_map_transient **out);

/* Ends it, persisted or not; NULL is nothing to end. Returns as hf_map_drop; HF_BUSY from within an operation on it,
 * and it is not freed then. */
HF_API int hf_map_transient_free(hf_map_transient *transient);

/* 1 if the key is new, 0 if it was there; then its value is replaced. After a failure (but see hf_map_drop) the
 * transient is as it was. O(log n). */
HF_API HF_MUST_CHECK int hf_map_transient_put(hf_map_transient *transient, hf_value key, hf_value value);

/* 1 if the key was there, 0 if not. Otherwise as put. */
HF_API HF_MUST_CHECK int hf_map_transient_remove(hf_map_transient *transient, hf_value key);

/* As hf_map_get; what is in *out is borrowed until the next change of the transient. O(log n). */
HF_API HF_MUST_CHECK int hf_map_transient_get(hf_map_transient *transient, hf_value key, hf_value *out);

/* The number of keys in *out, and 0. O(1). */
HF_API HF_MUST_CHECK int hf_map_transient_size(const hf_map_transient *transient, size_t *out);

/* The contents as a map; the transient is finished. If nothing was changed it is the map it began with. HF_NOMEM, and
 * then the transient can still be used. O(1), at most one allocation. */
HF_API HF_MUST_CHECK int hf_map_transient_persist(hf_map_transient *transient, hf_map **out);

/* -- looking inside ------------------------------------------------------------------------------------------ */

/*
 * Verifies every invariant of the trie: canonical shape, each key in its place and only once, the size. 0;
 * or HF_CORRUPT, and what is wrong in *fault (a constant string; NULL: not wanted), which means a defect of the
 * library, or of a type whose hash or equality changed; or a failure of a type. For tests: O(n), hashes every
 * key, compares within collisions.
 */
HF_API HF_MUST_CHECK int hf_map_check(const hf_map *map, const char **fault);

typedef struct hf_map_stats {
    size_t nodes; /* of the tries, every shared one counted once */
    size_t bytes; /* of the maps and these nodes, as asked of the allocator; without keys and values */
} hf_map_stats;

/*
 * What `count` maps cost together. Maps that are values or keys of these are not entered. A map that is given
 * twice is counted once. HF_NOMEM. O(all their nodes) time, and about 16 bytes a node while it runs.
 */
HF_API HF_MUST_CHECK int hf_map_measure(const hf_map *const *maps, size_t count, hf_map_stats *out);

HF_END_DECLS

#endif
