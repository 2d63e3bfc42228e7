/* trie_read.h - part of trie_algo.h: look-up and iteration.
 *
 * All of it is `static inline` and needs only the reading policies (see trie_algo.h), so a file that wants fast
 * look-ups where it uses them may include just this, with the instantiation's policies, and leave the rest to the
 * file that includes trie_algo.h.
 */
#ifndef HF_TRIE_READ_H
#define HF_TRIE_READ_H

#include "trie/trie_types.h"

_Static_assert(sizeof(trie_entry) % sizeof(uint64_t) == 0, "entries keep the links behind them aligned");
_Static_assert(sizeof(trie_link) == sizeof(uint64_t), "a link is one word");

static inline trie_entry *trie_entries(trie_node *node)
{
    return (trie_entry *)(void *)node->slots;
}

/* The links of a node that has slots (of a collision node: where they would be; there are none). */
static inline trie_link *trie_links(trie_node *node)
{
    return (trie_link *)(void *)(trie_entries(node) + hf_trie_entry_count(node->maps));
}

/* The same where the node is known to be no collision node: one test less on the way down. */
static inline trie_link *trie_slot_links(trie_node *node)
{
    return (trie_link *)(void *)(trie_entries(node) + hf_trie_popcount(node->maps.entry_map));
}

/* The bytes that the slots of a node with these maps take up, behind its header. */
static inline size_t trie_slots_size(hf_trie_maps maps)
{
    return hf_trie_entry_count(maps) * sizeof(trie_entry) + hf_trie_child_count(maps) * sizeof(trie_link);
}

/* Finds the key in a collision node: 1 and its index, 0, or a failure. Runs foreign code. HF_CORRUPT where a node with
 * slots is so far down, in memory that may be damaged: what its map would be as a number says nothing of its length. */
static inline int trie_find_in_collision(trie_ctx *ctx, trie_link link, trie_key key, uint32_t *index)
{
    uint32_t count = trie_at(ctx, link)->maps.entry_map;
    if (!hf_trie_is_collision(trie_at(ctx, link)->maps))
        return HF_CORRUPT;
    for (uint32_t i = 0; i < count; i++) {
        int same = trie_same_key(ctx, &trie_entries(trie_at(ctx, link))[i], key);
        if (same != 0) {
            *index = i;
            return same;
        }
    }
    *index = count;
    return 0;
}

/* On the way down to a child at `depth`. Its maps say which of its slots is wanted, and that one is mostly in another
 * cache line: so all of the lines are asked for at once, where the node is likely to be far away. */
static inline void trie_prefetch_child(trie_ctx *ctx, trie_link link, unsigned depth)
{
    enum { LINE = 64, LINES = 5 /* of a node whose slots are all filled, about half with entries */ };
    if (depth < 2)
        return;
    const char *node = (const char *)trie_at(ctx, link);
    for (int i = 1; i < LINES; i++)
        __builtin_prefetch(node + (ptrdiff_t)i * LINE);
}

/* Looks `key` up in the (sub)trie at `link`, whose depth is `depth`. Returns 1 and a copy of the entry, not
 * counted: it is good as long as the node is; 0 when there is none; or a failure. Runs foreign code. Costs at
 * most one comparison outside collision nodes. */
static inline int trie_find(trie_ctx *ctx, trie_link link, unsigned depth, uint64_t hash, trie_key key,
                            trie_entry *out)
{
    if (link == TRIE_NONE)
        return 0;
    uint32_t index;
    for (; depth < HF_TRIE_LEVELS; depth++) {
        trie_node *node = trie_at(ctx, link);
        uint32_t slot = hf_trie_slot(hash, depth);
        if (node->maps.child_map & slot) {
            link = trie_slot_links(node)[hf_trie_index(node->maps.child_map, slot)];
            trie_prefetch_child(ctx, link, depth + 1);
            continue;
        }
        if (!(node->maps.entry_map & slot))
            return 0;
        *out = trie_entries(node)[hf_trie_index(node->maps.entry_map, slot)];
        return trie_same_key(ctx, out, key);
    }
    int found = trie_find_in_collision(ctx, link, key, &index);
    if (found > 0)
        *out = trie_entries(trie_at(ctx, link))[index];
    return found;
}

/* Iteration. A cursor visits a node's entries, then its children in turn, and so needs one step of memory a level.
 *
 * The tries worth waiting for do not fit the cache, and the order of the walk is the order of the hashes: each
 * node, and each key and value it refers to, is a miss. So the cursor looks ahead: on its way to a child it asks
 * for the node of one further on, and for the entries of one in between, whose node has arrived by then. Where the
 * trie is small that is a waste of a tenth of the time. */
enum {
    TRIE_NODES_AHEAD = 4,
    TRIE_ENTRIES_AHEAD = 2,
    TRIE_SMALL = 4096, /* up to about so many entries, all is in the cache anyway */
};

typedef struct trie_step {
    trie_link link;
    uint32_t next; /* the child to go to next */
    uint32_t children;
} trie_step;

typedef struct trie_cursor {
    trie_link link;  /* the node whose entries are being visited, or TRIE_NONE at the end */
    uint32_t next;   /* the entry to come next */
    uint32_t count;  /* of its entries */
    uint32_t height; /* steps in use: the nodes with children above and including `link` */
    bool looks_ahead;
    trie_step steps[HF_TRIE_HEIGHT];
} trie_cursor;

static inline void trie_prefetch_entries(trie_ctx *ctx, trie_link link)
{
    trie_node *node = trie_at(ctx, link);
    uint32_t count = hf_trie_entry_count(node->maps);
    for (uint32_t i = 0; i < count; i++)
        trie_prefetch_entry(ctx, &trie_entries(node)[i]);
}

static inline void trie_cursor_enter(trie_ctx *ctx, trie_cursor *cursor, trie_link link)
{
    trie_node *node = trie_at(ctx, link);
    cursor->link = link;
    cursor->next = 0;
    cursor->count = hf_trie_entry_count(node->maps);
    uint32_t children = hf_trie_child_count(node->maps);
    /* There is always room, unless what is read is damaged: a memory that others write may promise less. */
    if (children == 0 || cursor->height == HF_TRIE_HEIGHT)
        return;
    cursor->steps[cursor->height++] = (trie_step){.link = link, .children = children};
    if (cursor->looks_ahead) {
        for (uint32_t i = 0; i < TRIE_NODES_AHEAD && i < children; i++)
            trie_prefetch(ctx, trie_links(node)[i]);
    }
}

/* Starts at the first entry of a trie with `count` entries (SIZE_MAX where that is not known). Borrows the trie: it must
 * outlive the cursor. There is nothing to clear. */
static inline void trie_cursor_begin(trie_ctx *ctx, trie_cursor *cursor, trie_link root, size_t count)
{
    *cursor = (trie_cursor){.link = TRIE_NONE, .looks_ahead = count > TRIE_SMALL};
    if (root != TRIE_NONE)
        trie_cursor_enter(ctx, cursor, root);
}

/* Moves to the next node that has entries; false at the end. */
static inline bool trie_cursor_climb(trie_ctx *ctx, trie_cursor *cursor)
{
    while (cursor->height > 0) {
        trie_step *step = &cursor->steps[cursor->height - 1];
        if (step->next == step->children) {
            cursor->height--;
            continue;
        }
        const trie_link *links = trie_links(trie_at(ctx, step->link));
        uint32_t i = step->next++;
        if (cursor->looks_ahead) {
            if (i + TRIE_NODES_AHEAD < step->children)
                trie_prefetch(ctx, links[i + TRIE_NODES_AHEAD]);
            for (uint32_t j = i == 0 ? 0 : i + TRIE_ENTRIES_AHEAD; j <= i + TRIE_ENTRIES_AHEAD && j < step->children;
                 j++)
                trie_prefetch_entries(ctx, links[j]);
        }
        trie_cursor_enter(ctx, cursor, links[i]);
        if (cursor->count > 0)
            return true;
    }
    cursor->link = TRIE_NONE;
    cursor->next = cursor->count = 0;
    return false;
}

/* The next entry, or NULL at the end (and from then on). Points into the node. Amortized constant time. */
static inline const trie_entry *trie_cursor_next(trie_ctx *ctx, trie_cursor *cursor)
{
    if (cursor->next == cursor->count && !trie_cursor_climb(ctx, cursor))
        return NULL;
    return &trie_entries(trie_at(ctx, cursor->link))[cursor->next++];
}

#endif
