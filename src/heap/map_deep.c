/*
 * map_deep.c: maps within maps: hf_type_map, and how equality, hash and drop do without recursion.
 *
 * Maps may be values of maps that are values of maps, 200,000 levels deep. The trie's functions, each level of a
 * recursion, take some hundred bytes of C stack; and threads with 64 KiB of it are not rare.
 *
 * Drop (hf_map_drop). The first hf_map_drop on a thread's stack frees maps from a list until it is empty. One that is
 * called in the meantime, by the `drop` of a value, only puts its map on the list. The list is threaded through the
 * handles, so this cannot fail.
 *
 * Equality (hf_map_equal). Two maps are equal if this and that and that is equal: so where values are maps, that they
 * are can be taken for granted, and the pair noted down, to be looked at when the C stack is empty again. If all pairs
 * turn out equal, so are the maps.
 *
 *      {1: A, 2: B} == {1: C, 2: D}     shape and keys are equal; to do: A == C, B == D
 *
 * So it is with keys, except that which of several keys an entry belongs with is a question that needs an answer at
 * once. It only comes up among keys of one and the same hash. Such a guess is never wrong when everything turns out to
 * be equal: keys in a map are distinct, so two of them cannot both be equal to a third. So if not all is equal, and
 * there were guesses, the whole is done again, with keys compared on the spot, recursively.
 *
 * Hash (hf_map_hash). The hash of a map needs the hashes of those in it. It recurses down to a fixed depth; the map
 * met there is put on a list, and what was begun is given up; when that map, and what it needs, has a hash, which its
 * handle remembers, the work is begun anew. Nodes remember their digests, so at most one path is done twice, and
 * each time the list grows, the next attempt gets that many levels further.
 *
 * Concurrency: the list of maps to free is the thread's own. The rest is on the caller's stack. Operands are alive, and
 * do not change, because the caller holds counts of them.
 *
 * Failure: HF_NOMEM when a list cannot grow, or what foreign code returned; nothing has changed then, except that
 * hashes may have been remembered.
 */
#include "heap/map_impl.h"

#include "base/hash.h"
#include "base/memory.h"

enum {
    HF_MAP_HASH_DEPTH = 16,   /* levels hashed by recursion; each takes 0.3 to 2 KiB of stack */
    HF_MAP_EQUAL_DEPTH = 200, /* levels of keys within keys of one hash */
};

/* -- drop -- */

typedef struct hf_map_burial {
    hf_map *first; /* maps without a count, to be freed */
    bool under_way;
} hf_map_burial;

/* initial-exec: no function call to find it; the few bytes are there also if the library is loaded late. */
static _Thread_local hf_map_burial hf_map_buried __attribute__((tls_model("initial-exec")));

static int hf_map_bury(hf_map *map)
{
    hf_map_burial *buried = &hf_map_buried;
    int status = 0;
    map->next = buried->first;
    buried->first = map;
    if (buried->under_way)
        return 0;
    const struct hf_map_ops *ops = hf_map_ops_now();
    buried->under_way = true;
    while ((map = buried->first) != NULL) {
        buried->first = map->next;
        int dropped = ops->drop(map->type, map->root);
        if (status == 0)
            status = dropped;
        hf_free(map);
    }
    buried->under_way = false;
    return status;
}

int hf_map_drop(hf_map *map)
{
    if (map == NULL || !hf_count_drop(&map->count))
        return 0;
    return hf_map_bury(map);
}

/* -- equality -- */

static int hf_map_todo_add(hf_map_todo *todo, const hf_map *a, const hf_map *b)
{
    if (todo->count == todo->room) {
        size_t room = todo->room == 0 ? 64 : 2 * todo->room;
        struct hf_map_todo_pair *pairs = hf_realloc(todo->pairs, room * sizeof *pairs);
        if (pairs == NULL)
            return HF_NOMEM;
        todo->pairs = pairs;
        todo->room = room;
    }
    todo->pairs[todo->count++] = (struct hf_map_todo_pair){a, b};
    return 1;
}

/* What can be told of two maps at a glance: 1 or 0 if they are (not) equal, -1 if that is not clear. */
static int hf_map_glance(const hf_map *a, const hf_map *b)
{
    if (a == b)
        return 1;
    if (a->size != b->size || !hf_map_same_types(a, b))
        return 0;
    if (a->root == b->root)
        return 1;
    uint64_t hash_a = atomic_load_explicit(&a->hash, memory_order_relaxed);
    uint64_t hash_b = atomic_load_explicit(&b->hash, memory_order_relaxed);
    return hash_a != 0 && hash_b != 0 && hash_a != hash_b ? 0 : -1;
}

int hf_map_todo_value(hf_map_todo *todo, const hf_map *a, const hf_map *b)
{
    int equal = hf_map_glance(a, b);
    return equal >= 0 ? equal : hf_map_todo_add(todo, a, b);
}

static int hf_map_equal_to_depth(const hf_map *a, const hf_map *b, unsigned depth);

/* Keys have hashes, known in most cases: different keys are told apart by them here. */
int hf_map_todo_key(hf_map_todo *todo, const hf_map *a, const hf_map *b)
{
    uint64_t hash_a = 0, hash_b = 0;
    int equal = hf_map_glance(a, b);
    if (equal >= 0)
        return equal;
    int status = hf_map_hash(a, &hash_a);
    if (status == 0)
        status = hf_map_hash(b, &hash_b);
    if (status < 0)
        return status;
    if (hash_a != hash_b)
        return 0;
    if (todo->exact_keys)
        return todo->depth == HF_MAP_EQUAL_DEPTH ? HF_LIMIT : hf_map_equal_to_depth(a, b, todo->depth + 1);
    todo->guessed_keys = true;
    return hf_map_todo_add(todo, a, b);
}

/* Compares two maps, and all that this leads to. */
static int hf_map_equal_all(const hf_map *a, const hf_map *b, hf_map_todo *todo)
{
    const struct hf_map_ops *ops = hf_map_ops_now();
    todo->count = 0;
    for (;;) {
        int equal = hf_map_glance(a, b);
        if (equal < 0)
            equal = ops->equal(a, b, todo);
        if (equal <= 0 || todo->count == 0)
            return equal;
        todo->count--;
        a = todo->pairs[todo->count].a;
        b = todo->pairs[todo->count].b;
    }
}

static int hf_map_equal_to_depth(const hf_map *a, const hf_map *b, unsigned depth)
{
    hf_map_todo todo = {.depth = depth};
    int equal = hf_map_equal_all(a, b, &todo);
    if (equal == 0 && todo.guessed_keys) {
        todo.exact_keys = true;
        equal = hf_map_equal_all(a, b, &todo);
    }
    hf_free(todo.pairs);
    return equal;
}

int hf_map_equal(const hf_map *a, const hf_map *b)
{
    return hf_map_equal_to_depth(a, b, 0);
}

/* -- hash -- */

static int hf_map_hash_add(hf_map_hashing *hashing, const hf_map *map)
{
    if (hashing->count == hashing->room) {
        size_t room = hashing->room == 0 ? 64 : 2 * hashing->room;
        const hf_map **pending = hf_realloc(hashing->pending, room * sizeof *pending);
        if (pending == NULL)
            return HF_NOMEM;
        hashing->pending = pending;
        hashing->room = room;
    }
    hashing->pending[hashing->count++] = map;
    return 0;
}

int hf_map_hash_within(hf_map_hashing *hashing, const hf_map *map, uint64_t *out)
{
    *out = atomic_load_explicit(&map->hash, memory_order_relaxed);
    if (*out != 0)
        return 0;
    if (!hf_type_can_hash(map->type->value))
        return HF_INVALID;
    if (hashing->depth == HF_MAP_HASH_DEPTH) {
        int status = hf_map_hash_add(hashing, map);
        hashing->put_off = status == 0;
        return status < 0 ? status : HF_LIMIT;
    }
    uint64_t digest;
    hashing->depth++;
    int status = hf_map_ops_now()->digest(map, hashing, &digest);
    hashing->depth--;
    if (status < 0)
        return status;
    *out = hf_hash_u64(digest, map->size);
    if (*out == 0)
        *out = 1;
    /* The map is constant to everybody but who changes it in place, and then nobody else can see it. */
    atomic_store_explicit(&((hf_map *)(uintptr_t)map)->hash, *out, memory_order_relaxed);
    return 0;
}

int hf_map_hash(const hf_map *map, uint64_t *out)
{
    hf_map_hashing hashing = {0};
    uint64_t hash;
    int status;
    for (;;) {
        const hf_map *next = hashing.count > 0 ? hashing.pending[hashing.count - 1] : map;
        status = hf_map_hash_within(&hashing, next, &hash);
        if (hashing.put_off) {
            hashing.put_off = false;
            continue;
        }
        if (status < 0 || hashing.count == 0)
            break;
        hashing.count--;
    }
    hf_free(hashing.pending);
    if (status == 0)
        *out = hash;
    return status;
}

/* -- hf_type_map -- */

int hf_map_type_hash(const hf_type *type, hf_value value, uint64_t *out)
{
    return value.ptr == NULL ? HF_INVALID : hf_map_hash(value.ptr, out);
}

int hf_map_type_equal(const hf_type *type, hf_value a, hf_value b)
{
    return hf_map_equal(a.ptr, b.ptr);
}

static int hf_map_type_keep(const hf_type *type, hf_value *value)
{
    return hf_map_keep(value->ptr) == NULL ? HF_INVALID : 0;
}

static int hf_map_type_drop(const hf_type *type, hf_value value)
{
    return hf_map_drop(value.ptr);
}

const hf_type hf_type_map = {
    .name = "map",
    .hash = hf_map_type_hash,
    .equal = hf_map_type_equal,
    .keep = hf_map_type_keep,
    .drop = hf_map_type_drop,
};
