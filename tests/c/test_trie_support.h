/*
 * test_trie_support.h: the trie template in the most unfriendly memory that it promises to work in.
 *
 * An arena of offsets. Each allocation, and each call of foreign code, moves the whole arena to another address and
 * fills the old one with rubbish, so that any address kept across one is found out (by AddressSanitizer, or by the
 * rubbish). There are no counts: keep and drop are foreign code that does nothing else. A node may be changed in
 * place if it was made since the last savepoint. What is no longer needed is told by trie_superseded,
 * trie_superseded_entry and trie_shell_free; each block must be told of once, or be reachable. Nodes have traits, so
 * a node cannot take in what its memory is not fit for.
 *
 * The including file defines the entry: `trie_entry`, and the functions below that are declared and not defined here.
 * Then it includes trie_algo.h and test_trie_program.h.
 *
 *      block:   [ node or record ]   in allocation order; states: LIVE -> SUPERSEDED or FREED, never back
 *      blocks[] says where each is; the arena itself has no headers
 */
#ifndef HF_TEST_TRIE_SUPPORT_H
#define HF_TEST_TRIE_SUPPORT_H

#include "test_common.h"
#include "trie/trie_node.h"

#include <holdfast/status.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define RUBBISH 0xdbdbdbdbdbdbdbdbu

enum { KEYS = 64, FAILED = -1234, BLOCKS = 1 << 16 };

typedef enum block_state { LIVE, SUPERSEDED, FREED } block_state;

typedef struct arena_block {
    uint64_t offset;
    size_t size;
    block_state state;
    bool is_node;
    unsigned marks; /* by a walk: how often it was reached */
} arena_block;

typedef struct arena {
    char *base; /* one of the two memories */
    size_t used;
    uint64_t savepoint; /* blocks at and behind this offset are ours */
    unsigned open;      /* nodes between fresh and seal */
    arena_block blocks[BLOCKS];
    size_t block_count;
    uint64_t allocations, fail_allocation; /* 0: never */
    uint64_t foreign_calls, fail_foreign;
    uint64_t calls_to_move; /* counts the calls of foreign code, for where not all of them move it */
    bool still;             /* it does not move */
    uint64_t looks;         /* at nodes: calls of trie_at */
    uint64_t values_compared;
} arena;

static arena the;

/* The arena is in one of two memories, and moves to the other. */
enum { MEMORY = 8 << 20 };

static _Alignas(16) char memories[2][MEMORY];

static void arena_reset(void)
{
    ASAN_UNPOISON_MEMORY_REGION(memories, sizeof memories);
    memset(&the, 0, sizeof the);
    the.base = memories[0];
    the.used = 64; /* so that 0 refers to nothing */
    the.savepoint = the.used;
}

/* Moves everything to the other memory, unless it is to be still, and makes room for `size` bytes more. */
static void arena_move(size_t size)
{
    if (the.still) {
        ASAN_UNPOISON_MEMORY_REGION(the.base + the.used, size);
        memset(the.base + the.used, 0xdb, size);
        return;
    }
    char *old = the.base;
    the.base = memories[old == memories[0]];
    ASAN_UNPOISON_MEMORY_REGION(the.base, the.used + size);
    memcpy(the.base, old, the.used);
    memset(the.base + the.used, 0xdb, size);
    memset(old, 0xdb, the.used);
    ASAN_POISON_MEMORY_REGION(old, the.used);
}

/* Moves everything, and appends a block. */
static int arena_alloc(size_t size, bool is_node, uint64_t *offset)
{
    assert_int_equal(the.open, 0);
    if (++the.allocations == the.fail_allocation)
        return HF_NOMEM;
    assert_true(the.block_count < BLOCKS && the.used + size <= MEMORY);
    arena_move(size);
    *offset = the.used;
    the.blocks[the.block_count++] = (arena_block){.offset = the.used, .size = size, .is_node = is_node};
    the.used += size;
    return 0;
}

/* The block that begins at `offset`. */
static arena_block *arena_find(uint64_t offset)
{
    size_t low = 0, high = the.block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (the.blocks[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    assert_true(low < the.block_count && the.blocks[low].offset == offset);
    return &the.blocks[low];
}

/* A block ends; it may do so once. A freed one is gone at once. */
static void arena_end(uint64_t offset, block_state state)
{
    arena_block *ended = arena_find(offset);
    assert_int_equal(ended->state, LIVE);
    ended->state = state;
    if (state == FREED)
        memset(the.base + offset, 0xdb, ended->size);
}

/* -- the types and policies that all entries share -- */

typedef uint64_t trie_link;
#define TRIE_NONE ((trie_link)0)

typedef struct trie_node {
    uint64_t digest;
    uint64_t traits;
    hf_trie_maps maps;
    uint64_t slots[];
} trie_node;

typedef uint64_t trie_key;

typedef struct trie_ctx {
    int unused;
} trie_ctx;

static hash_mode the_mode;

static uint64_t hash_of(uint64_t key)
{
    return hash_in_mode(the_mode, key);
}

static inline trie_node *trie_at(trie_ctx *ctx, trie_link link)
{
    assert_true(link != TRIE_NONE && link < the.used);
    the.looks++;
    return (trie_node *)(void *)(the.base + link);
}

/* Foreign code runs here: never while a node is being written (I4). It allocates for itself, so the arena moves;
 * where that takes long, at every few calls. */
static void foreign_that_cannot_fail(void)
{
    assert_int_equal(the.open, 0);
    if (the.used < 16384 || ++the.calls_to_move % 8 == 0)
        arena_move(0);
}

/* The same, and it may fail. Whoever calls it has read before what he needs of an entry that he was given. */
static int foreign(void)
{
    foreign_that_cannot_fail();
    return ++the.foreign_calls == the.fail_foreign ? FAILED : 0;
}

/* What an entry asks of its node, for its key and for its value: kinds of memory that it must be of. */
static inline unsigned traits_of_entry(uint64_t key, uint64_t value)
{
    return (key % 7 == 0 ? 1u : key % 11 == 0 ? 2u : 0u) | (value == 3 ? 4u : 0u);
}

#endif
