/* trie_types.h - part of trie_algo.h: what the operations take and give.
 *
 * Apart from the operations, so that a file which only calls them (through functions that the instantiating file
 * exports) need not include them. The parts named below say what each is for.
 */
#ifndef HF_TRIE_TYPES_H
#define HF_TRIE_TYPES_H

#include "trie/trie_node.h"

/* -- trie_edit.h -- */

/* What an edit leaves to be dropped. Dropping runs foreign code, so the caller does it, with
 * trie_trash_drop, when the new root is in its place. */
typedef struct trie_trash {
    trie_link link;
    trie_entry entry;
    bool has_entry;
} trie_trash;

typedef enum trie_put_mode {
    TRIE_PUT_VALUE, /* a key that is there already stays, its value is replaced (as dict does) */
    TRIE_PUT_ENTRY, /* the whole entry is replaced */
} trie_put_mode;

enum {
    TRIE_SAME = 0, /* nothing changed */
    TRIE_ADDED = 1,
    TRIE_REPLACED = 2,
};

/* One change to one node: at most one entry and one link go out, at most one of each comes in, at one place in
 * either packed array. Every edit of the trie is one of these:
 *
 *      put        entry in                   (the slot was vacant)
 *                 entry out, entry in        (the key was there)
 *                 entry out, child in        (two keys in one slot: a child for both)
 *      remove     entry out
 *                 child out, entry in        (the child came down to one entry)
 *
 * What comes in brings its count with it. */
typedef struct trie_change {
    hf_trie_maps maps; /* of the node as it will be */
    uint32_t entry_at;
    uint32_t child_at;
    bool entry_out, entry_in;
    bool child_out, child_in;
    unsigned traits; /* of what comes in */
    trie_entry entry;
    trie_link child;
} trie_change;

/* An edit that has been worked out and not been made: see trie_prepare.h. */
typedef struct trie_edit {
    uint64_t hash;
    unsigned depth; /* of the node that changes */
    trie_change change;
} trie_edit;

/* -- trie_build.h -- */

typedef struct trie_item {
    uint64_t hash;
    trie_entry entry;
} trie_item;

typedef struct trie_builder {
    trie_ctx *ctx;
    bool distinct;     /* the caller vouches that no two keys are equal */
    size_t added;      /* entries in the trie */
    trie_entry *spare; /* what came in twice: one key and one value of each such pair, for the caller to drop */
    size_t spare_count;
    size_t spare_room;
} trie_builder;

/* -- trie_algebra.h -- */

typedef enum trie_side { TRIE_LEFT, TRIE_RIGHT, TRIE_NEITHER } trie_side;

/* What becomes of a key that both operands have. */
typedef enum trie_verdict {
    TRIE_TAKE_LEFT,  /* the left entry */
    TRIE_TAKE_RIGHT, /* the right entry */
    TRIE_TAKE_NEW,   /* an entry that the callback made and counted */
    TRIE_TAKE_NONE,  /* no entry */
} trie_verdict;

typedef enum trie_shared {
    TRIE_SHARED_TAKE,  /* a node that both operands have is in the result as it is */
    TRIE_SHARED_OMIT,  /* ... is not in the result */
    TRIE_SHARED_ENTER, /* ... is treated like any other: every key in both is put to `both` */
} trie_shared;

typedef struct trie_algebra {
    bool keep[2]; /* are keys of just the left (right) operand in the result? */
    trie_shared shared;
    bool counted; /* is `delta` wanted? */
    /* The entries that a callback is given are copies, good until it returns; what they refer to is the operands'.
     *
     * Settles a key that both operands have; a verdict or a failure. Runs foreign code. */
    int (*both)(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made);
    /* Is told of each entry whose key is on one side only; 0 or a failure. May be NULL. */
    int (*one)(trie_ctx *ctx, void *arg, trie_side side, const trie_entry *entry);
} trie_algebra;

/* -- trie_merge3.h -- */

/* What becomes of a conflict. */
typedef enum trie_resolution {
    TRIE_RESOLVE_MINE,   /* my entry, or its absence */
    TRIE_RESOLVE_THEIRS, /* theirs */
    TRIE_RESOLVE_NEW,    /* the entry that the callback made and counted */
    TRIE_RESOLVE_NONE,   /* no entry */
} trie_resolution;

/* Settles a conflict: a resolution or a failure. NULL stands for a key that a side does not have; never all
 * three. Runs foreign code. */
typedef int trie_resolver(trie_ctx *ctx, void *arg, const trie_entry *base, const trie_entry *mine,
                          const trie_entry *theirs, trie_entry *made);

#endif
