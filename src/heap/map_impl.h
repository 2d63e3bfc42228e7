/*
 * map_impl.h: what the files of the heap map know of each other.
 *
 *      map.c         the public functions: handles, versions, iterators, transients
 *      map_deep.c    maps within maps: equality, hash and drop without recursion; hf_type_map
 *      map_policy.h  the node, and the policies of the trie template
 *      map_trie.c    the trie, in a table of functions (hf_map_ops); compiled once for each CPU level
 *
 *      hf_map (a handle, one a version)           hf_map_node (map_policy.h), shared between versions
 *      +-------+------+------+------+------+      +-------+------+--------+----------------------+
 *      | count | hash | root | size | type |      | count | maps | digest | entries...  links... |
 *      +-------+------+--|---+------+------+      +-------+------+--------+----------------------+
 *                        |                            ^                                   |
 *                        +----------------------------+                                   +--> ...
 *
 * Invariants
 *   - root is NULL just if size is 0.
 *   - A handle is changed only while the caller's count of it is the only one; so is a node, and then only while that
 *     is true of the handle and of all nodes above it as well.
 *   - hash is 0 or the hash of the contents; different threads may store it, and store the same.
 *
 * Concurrency: see map.h. Nothing here is locked; what is shared is constant, or atomic.
 *
 * Failure: the functions of hf_map_ops give negative statuses and have then changed nothing, unless it is a
 * drop that failed. Drops are the last thing an operation does, so their failures are collected on the side (each
 * `dropped` below), and whoever called decides what that means.
 */
#ifndef HF_HEAP_MAP_IMPL_H
#define HF_HEAP_MAP_IMPL_H

#include "base/cpu.h"
#include "heap/count.h"

#include <holdfast/map.h>

typedef struct hf_map_node hf_map_node;

struct hf_map {
    hf_count count;
    _Atomic uint64_t hash; /* of the contents; 0: not known */
    hf_map_node *root;
    union {
        size_t size;
        hf_map *next; /* once it has no count left: the next one to free */
    };
    const hf_map_type *type;
};

/* An edit of a root, and what it came to. */
typedef struct hf_map_edit {
    const hf_map_type *type;
    hf_map_node *root; /* in: the operand's; out: the new version's, with a count for the caller, or NULL */
    /* The caller gives up its count of the operand if it is changed: what only that count holds is changed in place. */
    bool mine;
    const hf_count *owner; /* the count of the handle that holds the operand, if it can have others; or NULL */

    bool changed; /* otherwise root is as it was */
    /* Something is left of the operand, with counts: once the new version is in place, call `settle`. */
    bool leftover;
    hf_map_node *old_root;
    bool has_old_pair;
    hf_pair old_pair;
} hf_map_edit;

/* Pairs of maps that are still to be compared, all of which must be equal: see map_deep.c. */
typedef struct hf_map_todo {
    struct hf_map_todo_pair {
        const hf_map *a, *b;
    } * pairs;
    size_t count, room;
    unsigned depth;    /* of recursion */
    bool exact_keys;   /* keys are compared on the spot */
    bool guessed_keys; /* some keys were taken to be equal, and are among the pairs */
} hf_map_todo;

/* Maps that are to be hashed before the ones that hold them: see map_deep.c. */
typedef struct hf_map_hashing {
    const hf_map **pending;
    size_t count, room;
    unsigned depth; /* of recursion */
    bool put_off;   /* the failure was none: the last of `pending` comes first */
} hf_map_hashing;

typedef enum hf_map_algebra {
    HF_MAP_UNION,
    HF_MAP_INTERSECTION,
    HF_MAP_DIFFERENCE,
    HF_MAP_SYMMETRIC_DIFFERENCE,
} hf_map_algebra;

/* The result of an operation on several maps: a root with a count for the caller, and its size. */
typedef struct hf_map_result {
    hf_map_node *root;
    size_t size;
    int dropped; /* the first failure of a drop, or 0 */
} hf_map_result;

struct trie_cursor;

/* All fail with a negative status; `drop` and `settle` have done their work then as well. */
struct hf_map_ops {
    int (*get)(const hf_map_type *type, hf_map_node *root, hf_value key, hf_value *out);
    int (*put)(hf_map_edit *edit, hf_value key, hf_value value); /* 1: the key is new */
    int (*remove)(hf_map_edit *edit, hf_value key);              /* 1: the key was there */
    int (*settle)(hf_map_edit *edit);
    int (*build)(const hf_map_type *type, const hf_pair *pairs, size_t count, hf_map_result *out);
    int (*drop)(const hf_map_type *type, hf_map_node *root);

    int (*combine)(hf_map_algebra op, const hf_map *left, const hf_map *right, hf_map_resolver *resolve, void *user,
                   hf_map_result *out);
    int (*merge3)(const hf_map *base, const hf_map *mine, const hf_map *theirs, hf_map_resolver3 *resolve, void *user,
                  hf_map_result *out);
    int (*diff)(const hf_map *before, const hf_map *after, hf_map_on_change *on_change, void *user);
    int (*equal)(const hf_map *a, const hf_map *b, hf_map_todo *todo);
    int (*digest)(const hf_map *map, hf_map_hashing *hashing, uint64_t *out);

    void (*begin)(const hf_map *map, struct trie_cursor *cursor);
    bool (*climb)(const hf_map_type *type, struct trie_cursor *cursor);

    int (*check)(const hf_map *map, const char **fault);
    int (*measure)(const hf_map *const *maps, size_t count, hf_map_stats *out);
};

HF_CPU_DECLARE(struct hf_map_ops, hf_map_ops);

/* The table for this processor. */
static inline const struct hf_map_ops *hf_map_ops_now(void)
{
    return HF_CPU_SELECT(hf_map_ops);
}

/* A handle for `root`, whose count it takes over (on failure it is still the caller's). HF_NOMEM. */
int hf_map_handle_new(const hf_map_type *type, hf_map_node *root, size_t size, hf_map **out);

/* Whether the type's hash goes with its equality: of equal values that differ in their bits, the bits are no hash. */
static inline bool hf_type_can_hash(const hf_type *type)
{
    return type->hash != NULL || type->equal == NULL;
}

static inline bool hf_map_same_types(const hf_map *a, const hf_map *b)
{
    return a->type == b->type || (a->type->key == b->type->key && a->type->value == b->type->value);
}

/* -- map_deep.c -- */

/* The `equal` and `hash` of hf_type_map, by which the trie knows that values are maps. */
int hf_map_type_equal(const hf_type *type, hf_value a, hf_value b);
int hf_map_type_hash(const hf_type *type, hf_value value, uint64_t *out);

/* Whether two maps are equal as values (as keys) of maps that are being compared: 0, or a failure, or 1, which may mean
 * that it will be found out later. */
int hf_map_todo_value(hf_map_todo *todo, const hf_map *a, const hf_map *b);
int hf_map_todo_key(hf_map_todo *todo, const hf_map *a, const hf_map *b);

/* The hash of a map within maps that are being hashed. */
int hf_map_hash_within(hf_map_hashing *hashing, const hf_map *map, uint64_t *out);

#endif
