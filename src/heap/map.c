/*
 * map.c: the persistent map's public functions: handles, versions, iterators, transients.
 *
 * What a function does to the trie is in map_trie.c; here are the handles. An edit is one of
 *
 *      with            root --put--> new root, in a new handle
 *      with_take       the same; but where the handle's count is the last one, the new root goes into that handle
 *      transient_put   the new root goes into the transient
 *
 * Failure: an edit either fails before anything has changed, or, where dropping what it left over fails, after
 * everything is in its place; the comments of map.h say which it is.
 */
#include "heap/map_policy.h"

#include "base/memory.h"
#include "trie/trie_read.h"

#include <string.h>

_Static_assert(sizeof(trie_cursor) <= sizeof(((hf_map_iter *)0)->state), "an iterator has room for the cursor");

/* -- life -- */

static hf_map *hf_map_mutable(const hf_map *map)
{
    return (hf_map *)(uintptr_t)map;
}

int hf_map_handle_new(const hf_map_type *type, hf_map_node *root, size_t size, hf_map **out)
{
    hf_map *map = hf_alloc(sizeof *map);
    if (map == NULL)
        return HF_NOMEM;
    hf_count_init(&map->count);
    atomic_init(&map->hash, 0);
    map->root = root;
    map->size = size;
    map->type = type;
    *out = map;
    return 0;
}

static bool hf_type_is_whole(const hf_type *type)
{
    return type != NULL && type->name != NULL && (type->keep == NULL) == (type->drop == NULL);
}

/* Equal keys must have equal hashes: the bits are no hash where other bits may be equal. */
static bool hf_map_type_is_whole(const hf_map_type *type)
{
    return type != NULL && hf_type_is_whole(type->key) && hf_type_is_whole(type->value) &&
           hf_type_can_hash(type->key);
}

int hf_map_new(const hf_map_type *type, hf_map **out)
{
    if (!hf_map_type_is_whole(type))
        return HF_INVALID;
    return hf_map_handle_new(type, NULL, 0, out);
}

/* Makes a handle of a result and puts it in *out. If that fails, or a drop had failed, drops the result. */
static int hf_map_publish(const hf_map_type *type, const hf_map_result *result, hf_map **out)
{
    int status = result->dropped;
    if (status == 0)
        status = hf_map_handle_new(type, result->root, result->size, out);
    if (status < 0)
        hf_map_ops_now()->drop(type, result->root);
    return status;
}

int hf_map_from_pairs(const hf_map_type *type, const hf_pair *pairs, size_t count, hf_map **out)
{
    hf_map_result result;
    if (!hf_map_type_is_whole(type))
        return HF_INVALID;
    int status = hf_map_ops_now()->build(type, pairs, count, &result);
    return status < 0 ? status : hf_map_publish(type, &result, out);
}

hf_map *hf_map_keep(const hf_map *map)
{
    if (map != NULL)
        hf_count_keep(&hf_map_mutable(map)->count);
    return hf_map_mutable(map);
}

size_t hf_map_size(const hf_map *map)
{
    return map->size;
}

const hf_map_type *hf_map_types(const hf_map *map)
{
    return map->type;
}

/* -- looking up -- */

int hf_map_get(const hf_map *map, hf_value key, hf_value *out)
{
    return hf_map_ops_now()->get(map->type, map->root, key, out);
}

int hf_map_contains(const hf_map *map, hf_value key)
{
    return hf_map_ops_now()->get(map->type, map->root, key, NULL);
}

/* -- new versions -- */

/* A new handle for what an edit of `map` came to; or `map` again. `answer` is the edit's. */
static int hf_map_edit_publish(const hf_map *map, const hf_map_edit *edit, int answer, size_t size, hf_map **out)
{
    if (!edit->changed) {
        *out = hf_map_keep(map);
        return answer;
    }
    int status = hf_map_handle_new(map->type, edit->root, size, out);
    if (status == 0)
        return answer;
    hf_map_ops_now()->drop(map->type, edit->root);
    return status;
}

int hf_map_with(const hf_map *map, hf_value key, hf_value value, hf_map **out)
{
    hf_map_edit edit = {.type = map->type, .root = map->root};
    int added = hf_map_ops_now()->put(&edit, key, value);
    return added < 0 ? added : hf_map_edit_publish(map, &edit, added, map->size + (size_t)added, out);
}

int hf_map_without(const hf_map *map, hf_value key, hf_map **out)
{
    hf_map_edit edit = {.type = map->type, .root = map->root};
    int removed = hf_map_ops_now()->remove(&edit, key);
    return removed < 0 ? removed : hf_map_edit_publish(map, &edit, removed, map->size - (size_t)removed, out);
}

/*
 * Puts what an edit of *map came to in the place of *map. If the count that the caller gave up was not the last one,
 * the edit has copied all it changed, and what it calls left over still belongs to the old handle.
 */
static int hf_map_edit_take(hf_map **map, hf_map_edit *edit, int answer, size_t size)
{
    hf_map *old = *map;
    int status;
    if (!edit->changed)
        return answer;
    if (hf_count_is_one(&old->count)) {
        old->root = edit->root;
        old->size = size;
        atomic_store_explicit(&old->hash, 0, memory_order_relaxed);
        status = edit->leftover ? hf_map_ops_now()->settle(edit) : 0;
        return status < 0 ? status : answer;
    }
    status = hf_map_handle_new(old->type, edit->root, size, map);
    if (status < 0) {
        hf_map_ops_now()->drop(old->type, edit->root);
        return status;
    }
    status = hf_map_drop(old);
    return status < 0 ? status : answer;
}

int hf_map_with_take(hf_map **map, hf_value key, hf_value value)
{
    hf_map *old = *map;
    hf_map_edit edit = {.type = old->type, .root = old->root, .mine = true, .owner = &old->count};
    int added = hf_map_ops_now()->put(&edit, key, value);
    return added < 0 ? added : hf_map_edit_take(map, &edit, added, old->size + (size_t)added);
}

int hf_map_without_take(hf_map **map, hf_value key)
{
    hf_map *old = *map;
    hf_map_edit edit = {.type = old->type, .root = old->root, .mine = true, .owner = &old->count};
    int removed = hf_map_ops_now()->remove(&edit, key);
    return removed < 0 ? removed : hf_map_edit_take(map, &edit, removed, old->size - (size_t)removed);
}

/* -- two and three maps -- */

/* A result that has an operand's root is that operand. */
static int hf_map_publish_shared(const hf_map *left, const hf_map *right, const hf_map_result *result, hf_map **out)
{
    const hf_map *operand = result->root == left->root ? left : result->root == right->root ? right : NULL;
    if (operand == NULL || result->dropped < 0)
        return hf_map_publish(left->type, result, out);
    /* The operand has a count of the same root, so this drop frees nothing. */
    *out = hf_map_keep(operand);
    return hf_map_ops_now()->drop(left->type, result->root);
}

static int hf_map_combine(hf_map_algebra op, const hf_map *left, const hf_map *right, hf_map_resolver *resolve,
                          void *user, hf_map **out)
{
    hf_map_result result;
    if (!hf_map_same_types(left, right))
        return HF_INVALID;
    int status = hf_map_ops_now()->combine(op, left, right, resolve, user, &result);
    return status < 0 ? status : hf_map_publish_shared(left, right, &result, out);
}

int hf_map_merge(const hf_map *left, const hf_map *right, hf_map_resolver *resolve, void *user, hf_map **out)
{
    return hf_map_combine(HF_MAP_UNION, left, right, resolve, user, out);
}

int hf_map_intersection(const hf_map *left, const hf_map *right, hf_map **out)
{
    return hf_map_combine(HF_MAP_INTERSECTION, left, right, NULL, NULL, out);
}

int hf_map_difference(const hf_map *left, const hf_map *right, hf_map **out)
{
    return hf_map_combine(HF_MAP_DIFFERENCE, left, right, NULL, NULL, out);
}

int hf_map_symmetric_difference(const hf_map *left, const hf_map *right, hf_map **out)
{
    return hf_map_combine(HF_MAP_SYMMETRIC_DIFFERENCE, left, right, NULL, NULL, out);
}

int hf_map_merge3(const hf_map *base, const hf_map *mine, const hf_map *theirs, hf_map_resolver3 *resolve, void *user,
                  hf_map **out)
{
    hf_map_result result;
    if (!hf_map_same_types(base, mine) || !hf_map_same_types(mine, theirs))
        return HF_INVALID;
    int status = hf_map_ops_now()->merge3(base, mine, theirs, resolve, user, &result);
    return status < 0 ? status : hf_map_publish_shared(mine, theirs, &result, out);
}

int hf_map_diff(const hf_map *before, const hf_map *after, hf_map_on_change *on_change, void *user)
{
    if (!hf_map_same_types(before, after))
        return HF_INVALID;
    return hf_map_ops_now()->diff(before, after, on_change, user);
}

/* -- iterating -- */

static trie_cursor *hf_map_iter_cursor(hf_map_iter *iter)
{
    return (trie_cursor *)(void *)iter->state;
}

void hf_map_iter_init(hf_map_iter *iter, const hf_map *map)
{
    iter->map = hf_map_keep(map);
    hf_map_ops_now()->begin(map, hf_map_iter_cursor(iter));
}

int hf_map_iter_next(hf_map_iter *iter, hf_value *key, hf_value *value)
{
    trie_cursor *cursor = hf_map_iter_cursor(iter);
    if (cursor->next == cursor->count) {
        if (iter->map == NULL || !hf_map_ops_now()->climb(iter->map->type, cursor))
            return 0;
    }
    const hf_pair *pair = &trie_entries(cursor->link)[cursor->next++];
    if (key != NULL)
        *key = pair->key;
    if (value != NULL)
        *value = pair->value;
    return 1;
}

int hf_map_iter_clear(hf_map_iter *iter)
{
    hf_map *map = iter->map;
    trie_cursor *cursor = hf_map_iter_cursor(iter);
    iter->map = NULL;
    cursor->next = cursor->count = 0;
    return hf_map_drop(map);
}

/* -- transients -- */

struct hf_map_transient {
    hf_map *origin; /* the map it began with, with a count; NULL once it has changed */
    hf_map_node *root;
    size_t size;
    const hf_map_type *type;
    bool busy;
    bool finished;
};

int hf_map_transient_new(const hf_map *map, hf_map_transient **out)
{
    hf_map_transient *transient = hf_alloc(sizeof *transient);
    if (transient == NULL)
        return HF_NOMEM;
    *transient = (hf_map_transient){
        .origin = hf_map_keep(map),
        .root = map->root,
        .size = map->size,
        .type = map->type,
    };
    if (map->root != NULL)
        hf_count_keep(&map->root->count);
    *out = transient;
    return 0;
}

/* Why the transient cannot be used now, or 0. */
static int hf_map_transient_refuse(const hf_map_transient *transient)
{
    return transient->busy ? HF_BUSY : transient->finished ? HF_INVALID : 0;
}

/* Takes over what an edit came to. The transient stays busy until what is left over is dropped. */
static int hf_map_transient_settle(hf_map_transient *transient, hf_map_edit *edit, int answer, size_t size)
{
    if (!edit->changed)
        return answer;
    transient->root = edit->root;
    transient->size = size;
    int status = edit->leftover ? hf_map_ops_now()->settle(edit) : 0;
    if (transient->origin != NULL) {
        int dropped = hf_map_drop(transient->origin);
        transient->origin = NULL;
        status = status < 0 ? status : dropped;
    }
    return status < 0 ? status : answer;
}

int hf_map_transient_put(hf_map_transient *transient, hf_value key, hf_value value)
{
    int status = hf_map_transient_refuse(transient);
    if (status < 0)
        return status;
    hf_map_edit edit = {.type = transient->type, .root = transient->root, .mine = true};
    transient->busy = true;
    status = hf_map_ops_now()->put(&edit, key, value);
    if (status >= 0)
        status = hf_map_transient_settle(transient, &edit, status, transient->size + (size_t)status);
    transient->busy = false;
    return status;
}

int hf_map_transient_remove(hf_map_transient *transient, hf_value key)
{
    int status = hf_map_transient_refuse(transient);
    if (status < 0)
        return status;
    hf_map_edit edit = {.type = transient->type, .root = transient->root, .mine = true};
    transient->busy = true;
    status = hf_map_ops_now()->remove(&edit, key);
    if (status >= 0)
        status = hf_map_transient_settle(transient, &edit, status, transient->size - (size_t)status);
    transient->busy = false;
    return status;
}

int hf_map_transient_get(hf_map_transient *transient, hf_value key, hf_value *out)
{
    int status = hf_map_transient_refuse(transient);
    if (status < 0)
        return status;
    transient->busy = true;
    status = hf_map_ops_now()->get(transient->type, transient->root, key, out);
    transient->busy = false;
    return status;
}

int hf_map_transient_size(const hf_map_transient *transient, size_t *out)
{
    int status = hf_map_transient_refuse(transient);
    if (status == 0)
        *out = transient->size;
    return status;
}

int hf_map_transient_persist(hf_map_transient *transient, hf_map **out)
{
    int status = hf_map_transient_refuse(transient);
    if (status < 0)
        return status;
    if (transient->origin == NULL) {
        status = hf_map_handle_new(transient->type, transient->root, transient->size, out);
        if (status < 0)
            return status;
        transient->root = NULL;
    } else {
        *out = transient->origin;
        transient->origin = NULL;
    }
    transient->finished = true;
    return 0;
}

int hf_map_transient_free(hf_map_transient *transient)
{
    if (transient == NULL)
        return 0;
    if (transient->busy)
        return HF_BUSY;
    int status = hf_map_drop(transient->origin);
    int dropped = hf_map_ops_now()->drop(transient->type, transient->root);
    hf_free(transient);
    return status < 0 ? status : dropped;
}

/* -- looking inside -- */

int hf_map_check(const hf_map *map, const char **fault)
{
    const char *found = NULL;
    int status = hf_map_ops_now()->check(map, &found);
    if (status < 0 && fault != NULL)
        *fault = found;
    return status;
}

int hf_map_measure(const hf_map *const *maps, size_t count, hf_map_stats *out)
{
    return hf_map_ops_now()->measure(maps, count, out);
}
