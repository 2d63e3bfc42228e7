/*
 * map_hash.c: the hash of a Map: that of frozenset(m.items()).
 *
 * frozenset takes the XOR of its elements' hashes, each shuffled, then mixes in their number. The nodes of the trie
 * remember the XOR of what is below them (trie_digest), so a new version of a hashed map costs one path.
 *
 * Maps nest in maps without limit, and a hash that called itself for each level would overflow the C stack. So the
 * Maps inside are digested first, innermost first, with a stack of our own; when a Map's turn comes, the hash of
 * each Map in it is a look-up. (Levels of other containers in between recurse, and are counted by CPython.)
 */
#include "trie.h"

typedef struct hash_frame {
    Map *map; /* owned */
    bool opened;
} hash_frame;

/* Maps to be digested. A Map is pushed, pushes those inside it and stays below them; it is digested when it
 * comes up for the second time. */
typedef struct hash_stack {
    hash_frame *frames;
    size_t count;
    size_t room;
} hash_stack;

static int hash_stack_push(hash_stack *stack, Map *map)
{
    if (stack->count == stack->room) {
        size_t room = stack->room ? 2 * stack->room : 16;
        hash_frame *frames = PyMem_Realloc(stack->frames, room * sizeof *frames);
        if (frames == NULL)
            return HF_NOMEM;
        stack->frames = frames;
        stack->room = room;
    }
    stack->frames[stack->count++] = (struct hash_frame){(Map *)Py_NewRef(map), false};
    return 0;
}

/* Whether hashing this object could lead back here: a Map, not yet digested, that may hold Maps. */
static bool is_undigested_map(core_state *state, PyObject *object)
{
    if (!Map_Check(state, object))
        return false;
    Map *map = (Map *)object;
    if (map->root == NULL)
        return map->count > 0; /* pending: it will be seen */
    return map->root->digest == 0 && Py_IS_TYPE((PyObject *)map->root, state->tracked_node_type);
}

/* Pushes the Maps in the part of a trie that is not digested. */
static int hash_stack_open(core_state *state, hash_stack *stack, trie_link link)
{
    if (link->digest != 0 || !Py_IS_TYPE((PyObject *)link, state->tracked_node_type))
        return 0;
    const trie_entry *entries = trie_entries(link);
    uint32_t count = hf_trie_entry_count(link->maps);
    for (uint32_t i = 0; i < count; i++) {
        int status = 0;
        if (is_undigested_map(state, entries[i].key))
            status = hash_stack_push(stack, (Map *)entries[i].key);
        if (status == 0 && is_undigested_map(state, entries[i].value))
            status = hash_stack_push(stack, (Map *)entries[i].value);
        if (status < 0)
            return status;
    }
    count = hf_trie_child_count(link->maps);
    for (uint32_t i = 0; i < count; i++) {
        int status = hash_stack_open(state, stack, trie_links(link)[i]);
        if (status < 0)
            return status;
    }
    return 0;
}

static int hash_stack_run(core_state *state, hash_stack *stack)
{
    trie_ctx ctx = {.state = state};
    while (stack->count > 0) {
        hash_frame *top = &stack->frames[stack->count - 1];
        Map *map = top->map;
        trie_link root;
        int status;
        if (hfpy_map_root(map, &root) < 0)
            return HF_FOREIGN;
        if (root->digest == 0 && !top->opened) {
            top->opened = true;
            status = hash_stack_open(state, stack, root);
        } else {
            uint64_t digest;
            stack->count--;
            status = hfpy_trie_digest(&ctx, root, &digest);
            Py_DECREF(map);
        }
        if (status < 0)
            return status;
    }
    return 0;
}

/* The last steps of frozenset's hash: mixes in the number of elements and disperses. */
static Py_hash_t frozenset_finish(uint64_t digest, Py_ssize_t count)
{
    uint64_t hash = digest ^ ((uint64_t)count + 1) * 1927868237u;
    hash ^= (hash >> 11) ^ (hash >> 25);
    hash = hash * 69069u + 907133923u;
    return hash == (uint64_t)-1 ? 590923713 : (Py_hash_t)hash;
}

Py_hash_t hfpy_map_hash(PyObject *self)
{
    core_state *state = hfpy_state(self);
    Map *map = (Map *)self;
    trie_ctx ctx = {.state = state};
    trie_link root;
    uint64_t digest;
    int status = 0;

    if (is_undigested_map(state, self)) {
        hash_stack stack = {NULL, 0, 0};
        if (Py_EnterRecursiveCall(" while hashing a Map"))
            return -1;
        status = hash_stack_push(&stack, map);
        if (status == 0)
            status = hash_stack_run(state, &stack);
        while (stack.count > 0)
            Py_DECREF(stack.frames[--stack.count].map);
        PyMem_Free(stack.frames);
        Py_LeaveRecursiveCall();
    }
    if (status == 0 && hfpy_map_root(map, &root) < 0)
        return -1;
    if (status == 0)
        status = hfpy_trie_digest(&ctx, root, &digest);
    return status < 0 ? hfpy_raise(status) : frozenset_finish(digest, map->count);
}
