/*
 * map.c: holdfast.Map, the immutable map: look-up, single edits, comparison, and the type.
 *
 * A Map is a root and a count. It is not tracked by the garbage collector when its root is not, for then it cannot be
 * part of a cycle. That is decided once: nothing changes a Map but the making of an edit that was put off (pending.c),
 * and what that edit brings in was looked at when the Map was made. All methods own what they walk over: the
 * caller holds the Map, the Map its nodes.
 */
#include "trie.h"

#include "map_pairs.h"

void hfpy_set_error(int status)
{
    if (PyErr_Occurred())
        return;
    if (status == HF_NOMEM)
        PyErr_NoMemory();
    else if (status == HF_BAD_TYPE)
        PyErr_SetString(PyExc_TypeError, hf_status_message(status));
    else if (status == HF_BAD_VALUE)
        PyErr_SetString(PyExc_ValueError, hf_status_message(status));
    else
        PyErr_Format(PyExc_SystemError, "holdfast: %s (%s)", hf_status_message(status), hf_status_name(status));
}

/* -- making and unmaking -- */

Map *hfpy_map_alloc(core_state *state)
{
    Map *map = PyObject_GC_New(Map, state->map_type);
    if (map == NULL)
        return NULL;
    map->root = NULL;
    map->count = 0;
    map->pending = NULL;
    map->weakrefs = NULL;
    return map;
}

PyObject *hfpy_map_wrap(core_state *state, trie_link root, Py_ssize_t count)
{
    if (root == NULL && state->empty_map != NULL)
        return Py_NewRef(state->empty_map);
    Map *map = hfpy_map_alloc(state);
    if (map == NULL) {
        Py_XDECREF(root);
        return NULL;
    }
    map->root = root;
    map->count = count;
    if (root != NULL && Py_IS_TYPE((PyObject *)root, state->tracked_node_type))
        PyObject_GC_Track(map);
    return (PyObject *)map;
}

static void map_dealloc(PyObject *self)
{
    Map *map = (Map *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, map_dealloc)
    if (map->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    if (map->pending != NULL)
        hfpy_pending_part(map);
    Py_XDECREF(map->root);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static int map_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Map *)self)->root);
    return hfpy_pending_traverse((Map *)self, visit, arg);
}

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *source = NULL;
    if (!PyArg_UnpackTuple(args, "Map", 0, 1, &source))
        return NULL;
    return hfpy_map_from(hfpy_state_of(type), source, kwargs, "Map");
}

/* -- look-up -- */

/* 1 and the value (borrowed from the map), 0 if the key is not there, -1 with an exception. */
static inline int map_find(core_state *state, Map *map, PyObject *key, PyObject **value)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry;
    trie_link root;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || hfpy_map_root(map, &root) < 0)
        return -1;
    int found = trie_find(&ctx, root, 0, (uint64_t)hash, key, &entry);
    if (found < 0)
        return hfpy_raise(found);
    if (found)
        *value = entry.value;
    return found;
}

PyObject *hfpy_map_lookup(core_state *state, Map *map, PyObject *key)
{
    PyObject *value;
    return map_find(state, map, key, &value) > 0 ? Py_NewRef(value) : NULL;
}

int hfpy_map_has_item(core_state *state, Map *map, PyObject *key, PyObject *value)
{
    PyObject *stored;
    int found = map_find(state, map, key, &stored);
    if (found <= 0)
        return found;
    Py_INCREF(stored);
    int same = PyObject_RichCompareBool(stored, value, Py_EQ);
    Py_DECREF(stored);
    return same;
}

/* As a tuple, lest a tuple that is the key be taken for the exception's arguments. */
void hfpy_raise_key_error(PyObject *key)
{
    PyObject *args = PyTuple_Pack(1, key);
    if (args != NULL) {
        PyErr_SetObject(PyExc_KeyError, args);
        Py_DECREF(args);
    }
}

static PyObject *map_subscript(PyObject *self, PyObject *key)
{
    PyObject *value;
    int found = map_find(NULL, (Map *)self, key, &value);
    if (found > 0)
        return Py_NewRef(value);
    if (found == 0)
        hfpy_raise_key_error(key);
    return NULL;
}

static int map_contains(PyObject *self, PyObject *key)
{
    PyObject *value;
    return map_find(NULL, (Map *)self, key, &value);
}

static Py_ssize_t map_length(PyObject *self)
{
    return ((Map *)self)->count;
}

static PyObject *map_contains_method(PyObject *self, PyObject *key)
{
    int found = map_contains(self, key);
    return found < 0 ? NULL : PyBool_FromLong(found);
}

int hfpy_parse_one_or_two(const char *method, const char *keyword, PyObject *const *args, Py_ssize_t count,
                          PyObject *names, PyObject **second)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    *second = NULL;
    if (count < 1 || count + named > 2) {
        PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments (%zd given)", method, count + named);
        return -1;
    }
    if (count == 2)
        *second = args[1];
    if (named == 1) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), keyword) != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method,
                         PyTuple_GET_ITEM(names, 0));
            return -1;
        }
        *second = args[count];
    }
    return 0;
}

static PyObject *map_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *fallback, *value;
    if (hfpy_parse_one_or_two("get", "default", args, count, names, &fallback) < 0)
        return NULL;
    int found = map_find(NULL, (Map *)self, args[0], &value);
    if (found < 0)
        return NULL;
    return Py_NewRef(found ? value : fallback != NULL ? fallback : Py_None);
}

/* -- edits -- */

int hfpy_draft_begin(hfpy_draft *draft, Map *map)
{
    trie_link root;
    if (hfpy_map_root(map, &root) < 0)
        return -1;
    *draft = (hfpy_draft){.root = root, .count = map->count, .owned = root == NULL};
    return 0;
}

void hfpy_draft_abandon(hfpy_draft *draft)
{
    if (draft->owned)
        Py_CLEAR(draft->root);
}

int hfpy_draft_put_hashed(core_state *state, hfpy_draft *draft, Py_hash_t hash, PyObject *key, PyObject *value)
{
    trie_ctx ctx = {.state = state};
    trie_entry entry = {key, value};
    trie_trash trash;
    int outcome = hfpy_trie_put(&ctx, &draft->root, draft->owned, hash, &entry, &trash);
    if (outcome < 0)
        return hfpy_raise(outcome);
    draft->owned |= outcome != TRIE_SAME;
    draft->count += outcome == TRIE_ADDED;
    hfpy_trie_trash_drop(&trash);
    return outcome;
}

int hfpy_draft_put(core_state *state, hfpy_draft *draft, PyObject *key, PyObject *value)
{
    Py_hash_t hash = PyObject_Hash(key);
    return hash == -1 ? -1 : hfpy_draft_put_hashed(state, draft, hash, key, value);
}

int hfpy_draft_discard(core_state *state, hfpy_draft *draft, PyObject *key)
{
    trie_ctx ctx = {.state = state};
    trie_trash trash;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1)
        return -1;
    int removed = hfpy_trie_remove(&ctx, &draft->root, draft->owned, hash, key, &trash);
    if (removed < 0)
        return hfpy_raise(removed);
    draft->owned |= removed;
    draft->count -= removed;
    hfpy_trie_trash_drop(&trash);
    return removed;
}

PyObject *hfpy_draft_finish(core_state *state, hfpy_draft *draft, Map *map)
{
    if (draft->root == map->root) {
        hfpy_draft_abandon(draft);
        return Py_NewRef(map);
    }
    trie_link root = draft->root;
    draft->root = NULL;
    return hfpy_map_wrap(state, root, draft->count);
}

static PyObject *map_of_one(core_state *state, Py_hash_t hash, const trie_entry *entry)
{
    trie_ctx ctx = {.state = state};
    trie_link root = NULL;
    trie_trash trash;
    int status = hfpy_trie_put(&ctx, &root, false, hash, entry, &trash);
    if (status < 0) {
        hfpy_raise(status);
        return NULL;
    }
    return hfpy_map_wrap(state, root, 1);
}

PyObject *hfpy_map_with(core_state *state, Map *map, PyObject *key, PyObject *value)
{
    trie_ctx ctx = {.state = state};
    trie_link root;
    trie_entry entry = {key, value};
    trie_edit edit;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || hfpy_map_root(map, &root) < 0)
        return NULL;
    if (root == NULL)
        return map_of_one(state, hash, &entry);
    int outcome = hfpy_trie_prepare_put(&ctx, root, hash, &entry, &edit);
    if (outcome < 0) {
        hfpy_raise(outcome);
        return NULL;
    }
    if (outcome == TRIE_SAME)
        return Py_NewRef(map);
    return hfpy_map_edited(state, map, map->count + (outcome == TRIE_ADDED), &edit);
}

PyObject *hfpy_map_without(core_state *state, Map *map, PyObject *key, PyObject **taken)
{
    trie_ctx ctx = {.state = state};
    trie_link root;
    trie_entry gone;
    trie_edit edit;
    if (taken != NULL)
        *taken = NULL;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1 || hfpy_map_root(map, &root) < 0)
        return NULL;
    /* Nothing is left of a map of one: there is no edit to prepare. */
    int removed = map->count > 1 ? hfpy_trie_prepare_remove(&ctx, root, hash, key, &gone, &edit)
                                 : trie_find(&ctx, root, 0, (uint64_t)hash, key, &gone);
    if (removed < 0) {
        hfpy_raise(removed);
        return NULL;
    }
    if (!removed)
        return Py_NewRef(map);
    PyObject *value = Py_NewRef(gone.value);
    PyObject *rest =
        map->count > 1 ? hfpy_map_edited(state, map, map->count - 1, &edit) : Py_NewRef(state->empty_map);
    if (taken != NULL && rest != NULL)
        *taken = value;
    else
        Py_DECREF(value);
    return rest;
}

static PyObject *map_set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "set() takes exactly 2 arguments, key and value (%zd given)", count);
        return NULL;
    }
    return hfpy_map_with(hfpy_state(self), (Map *)self, args[0], args[1]);
}

static PyObject *map_assoc(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = hfpy_state(self);
    if (count < 2 || count % 2 != 0) {
        PyErr_Format(PyExc_TypeError, "assoc() takes a value for every key (%zd arguments given)", count);
        return NULL;
    }
    if (count == 2)
        return hfpy_map_with(state, (Map *)self, args[0], args[1]);
    hfpy_draft draft;
    if (hfpy_draft_begin(&draft, (Map *)self) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i += 2) {
        if (hfpy_draft_put(state, &draft, args[i], args[i + 1]) < 0) {
            hfpy_draft_abandon(&draft);
            return NULL;
        }
    }
    return hfpy_draft_finish(state, &draft, (Map *)self);
}

static PyObject *map_dissoc(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    core_state *state = hfpy_state(self);
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "dissoc() takes at least 1 argument, a key (0 given)");
        return NULL;
    }
    if (count == 1)
        return hfpy_map_without(state, (Map *)self, args[0], NULL);
    hfpy_draft draft;
    if (hfpy_draft_begin(&draft, (Map *)self) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (hfpy_draft_discard(state, &draft, args[i]) < 0) {
            hfpy_draft_abandon(&draft);
            return NULL;
        }
    }
    return hfpy_draft_finish(state, &draft, (Map *)self);
}

static PyObject *map_discard(PyObject *self, PyObject *key)
{
    return hfpy_map_without(hfpy_state(self), (Map *)self, key, NULL);
}

static PyObject *map_remove(PyObject *self, PyObject *key)
{
    PyObject *value, *map = hfpy_map_without(hfpy_state(self), (Map *)self, key, &value);
    if (map != NULL && value == NULL) {
        hfpy_raise_key_error(key);
        Py_CLEAR(map);
    }
    Py_XDECREF(value);
    return map;
}

static PyObject *map_pop(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *value, *result = NULL;
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "pop() takes 1 or 2 arguments, key and default (%zd given)", count);
        return NULL;
    }
    PyObject *rest = hfpy_map_without(hfpy_state(self), (Map *)self, args[0], &value);
    if (rest != NULL && value == NULL && count == 1)
        hfpy_raise_key_error(args[0]);
    else if (rest != NULL)
        result = PyTuple_Pack(2, value != NULL ? value : args[1], rest);
    Py_XDECREF(value);
    Py_XDECREF(rest);
    return result;
}

/* -- comparison -- */

int map_pairs_push(map_pairs *pairs, Map *a, Map *b)
{
    if (pairs->count == pairs->room) {
        size_t room = pairs->room ? 2 * pairs->room : 8;
        void *grown = PyMem_Realloc(pairs->pairs, room * sizeof *pairs->pairs);
        if (grown == NULL)
            return HF_NOMEM;
        pairs->pairs = grown;
        pairs->room = room;
    }
    pairs->pairs[pairs->count][0] = (Map *)Py_NewRef(a);
    pairs->pairs[pairs->count++][1] = (Map *)Py_NewRef(b);
    return 1;
}

static int map_equal_one(trie_ctx *ctx, Map *a, Map *b)
{
    trie_link left, right;
    if (a->count != b->count)
        return 0;
    if (hfpy_map_root(a, &left) < 0 || hfpy_map_root(b, &right) < 0)
        return HF_FOREIGN;
    return hfpy_trie_equal(ctx, left, right);
}

/* Whether two Maps are equal. Where both have a Map as the value of a key, the two are compared later, from a list,
 * so that Maps may be nested in Maps deeper than the C stack. */
static int map_equal(core_state *state, Map *a, Map *b)
{
    map_pairs pairs = {NULL, 0, 0};
    trie_ctx ctx = {.state = state, .deferred = &pairs};
    int equal = map_equal_one(&ctx, a, b);
    while (pairs.count > 0) {
        Map *left = pairs.pairs[--pairs.count][0], *right = pairs.pairs[pairs.count][1];
        if (equal > 0)
            equal = map_equal_one(&ctx, left, right);
        Py_DECREF(left);
        Py_DECREF(right);
    }
    PyMem_Free(pairs.pairs);
    return equal < 0 ? hfpy_raise(equal) : equal;
}

/* A dict itself: each of our items is looked up in it. It may be changed while we do: by __eq__. */
static int map_equals_dict(Map *map, PyObject *dict)
{
    trie_link root;
    trie_cursor cursor;
    if (hfpy_map_root(map, &root) < 0)
        return -1;
    trie_cursor_begin(NULL, &cursor, root, (size_t)map->count);
    for (const trie_entry *entry; (entry = trie_cursor_next(NULL, &cursor)) != NULL;) {
        PyObject *theirs = PyDict_GetItemWithError(dict, entry->key);
        if (theirs == NULL)
            return PyErr_Occurred() ? -1 : 0;
        Py_INCREF(theirs);
        int same = PyObject_RichCompareBool(entry->value, theirs, Py_EQ);
        Py_DECREF(theirs);
        if (same <= 0)
            return same;
    }
    return PyDict_GET_SIZE(dict) == map->count;
}

/* Any other Mapping: each of its items is looked up in us, because m[k] of a stranger may have side effects. */
static int map_equals_mapping(core_state *state, Map *map, PyObject *mapping)
{
    Py_ssize_t size = PyObject_Size(mapping);
    if (size != map->count)
        return size < 0 ? -1 : 0;
    PyObject *items = PyMapping_Items(mapping);
    if (items == NULL)
        return -1;
    int equal = PyList_GET_SIZE(items) == map->count;
    for (Py_ssize_t i = 0; equal > 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2)
            equal = 0;
        else
            equal = hfpy_map_has_item(state, map, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
    }
    Py_DECREF(items);
    return equal;
}

static PyObject *map_richcompare(PyObject *self, PyObject *other, int op)
{
    core_state *state = hfpy_state(self);
    Map *map = (Map *)self;
    int equal;
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (Map_Check(state, other)) {
        equal = map_equal(state, map, (Map *)other);
    } else if (PyDict_CheckExact(other)) {
        equal = PyDict_GET_SIZE(other) == map->count ? map_equals_dict(map, other) : 0;
    } else {
        equal = PyDict_Check(other) ? 1 : PyObject_IsInstance(other, state->mapping_abc);
        if (equal == 0)
            Py_RETURN_NOTIMPLEMENTED;
        if (equal > 0)
            equal = map_equals_mapping(state, map, other);
    }
    return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
}

/* -- as an object -- */

/* "key: value" for every item, joined; `name` in front. */
PyObject *hfpy_repr(core_state *state, PyObject *self, const char *name)
{
    int nested = Py_ReprEnter(self);
    if (nested != 0)
        return nested < 0 ? NULL : PyUnicode_FromFormat("holdfast.%s(...)", name);
    PyObject *result = NULL, *item, *joined, *comma = NULL;
    PyObject *parts = PyList_New(0);
    PyObject *iterator = parts == NULL ? NULL : hfpy_iterator_new(state, self, VIEW_ITEMS);
    if (iterator == NULL)
        goto done;
    while ((item = PyIter_Next(iterator)) != NULL) {
        PyObject *part = PyUnicode_FromFormat("%R: %R", PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
        Py_DECREF(item);
        int status = part == NULL ? -1 : PyList_Append(parts, part);
        Py_XDECREF(part);
        if (status < 0)
            goto done;
    }
    if (PyErr_Occurred())
        goto done;
    if (PyList_GET_SIZE(parts) == 0) {
        result = PyUnicode_FromFormat("holdfast.%s()", name);
        goto done;
    }
    comma = PyUnicode_FromString(", ");
    joined = comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    result = joined == NULL ? NULL : PyUnicode_FromFormat("holdfast.%s({%U})", name, joined);
    Py_XDECREF(joined);
done:
    Py_XDECREF(comma);
    Py_XDECREF(iterator);
    Py_XDECREF(parts);
    Py_ReprLeave(self);
    return result;
}

static PyObject *map_repr(PyObject *self)
{
    return hfpy_repr(hfpy_state(self), self, "Map");
}

static PyObject *map_iter(PyObject *self)
{
    return hfpy_iterator_new(hfpy_state(self), self, VIEW_KEYS);
}

static PyObject *map_keys(PyObject *self, PyObject *unused)
{
    return hfpy_view_new(hfpy_state(self), self, VIEW_KEYS);
}

static PyObject *map_values(PyObject *self, PyObject *unused)
{
    return hfpy_view_new(hfpy_state(self), self, VIEW_VALUES);
}

static PyObject *map_items(PyObject *self, PyObject *unused)
{
    return hfpy_view_new(hfpy_state(self), self, VIEW_ITEMS);
}

static PyObject *map_self(PyObject *self, PyObject *unused)
{
    return Py_NewRef(self);
}

static PyObject *map_clear(PyObject *self, PyObject *unused)
{
    return Py_NewRef(hfpy_state(self)->empty_map);
}

static PyObject *map_mutate(PyObject *self, PyObject *unused)
{
    return hfpy_transient_new(hfpy_state(self), (Map *)self);
}

static PyObject *map_reduce(PyObject *self, PyObject *unused)
{
    return hfpy_map_reduce(hfpy_state(self), (Map *)self);
}

/* Puts deep copies of all items in the draft. 1 if each is the original, 0 if not, or -1. */
static int deepcopy_items(core_state *state, PyObject *self, PyObject *memo, hfpy_draft *draft)
{
    PyObject *module = PyImport_ImportModule("copy"), *item;
    PyObject *deepcopy = module == NULL ? NULL : PyObject_GetAttrString(module, "deepcopy");
    PyObject *iterator = deepcopy == NULL ? NULL : hfpy_iterator_new(state, self, VIEW_ITEMS);
    int same = iterator == NULL ? -1 : 1;
    while (same >= 0 && (item = PyIter_Next(iterator)) != NULL) {
        PyObject *key = PyObject_CallFunctionObjArgs(deepcopy, PyTuple_GET_ITEM(item, 0), memo, NULL);
        PyObject *value =
            key == NULL ? NULL : PyObject_CallFunctionObjArgs(deepcopy, PyTuple_GET_ITEM(item, 1), memo, NULL);
        if (value == NULL || hfpy_draft_put(state, draft, key, value) < 0)
            same = -1;
        else if (key != PyTuple_GET_ITEM(item, 0) || value != PyTuple_GET_ITEM(item, 1))
            same = 0;
        Py_XDECREF(key);
        Py_XDECREF(value);
        Py_DECREF(item);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(deepcopy);
    Py_XDECREF(module);
    return PyErr_Occurred() ? -1 : same;
}

/* As copy.deepcopy does a tuple: the same object if the copies of all that is in it are the originals; and, where a
 * copy was made meanwhile because something in it leads back here, that copy. */
static PyObject *map_deepcopy(PyObject *self, PyObject *memo)
{
    core_state *state = hfpy_state(self);
    hfpy_draft draft = {NULL, 0, 1};
    PyObject *result = NULL, *known = NULL;
    int same = deepcopy_items(state, self, memo, &draft);
    if (same == 0 && PyDict_Check(memo)) {
        PyObject *id = PyLong_FromVoidPtr(self);
        known = id == NULL ? NULL : PyDict_GetItemWithError(memo, id);
        Py_XDECREF(id);
        if (known == NULL && PyErr_Occurred())
            same = -1;
    }
    if (same > 0 || known != NULL) {
        result = Py_NewRef(known != NULL ? known : self);
    } else if (same == 0) {
        trie_link root = draft.root;
        draft.root = NULL;
        result = hfpy_map_wrap(state, root, draft.count);
    }
    hfpy_draft_abandon(&draft);
    return result;
}

/* For tests: verifies the invariants of the trie. */
static PyObject *map_check(PyObject *self, PyObject *unused)
{
    trie_ctx ctx = {.state = hfpy_state(self)};
    trie_link root;
    const char *fault;
    if (hfpy_map_root((Map *)self, &root) < 0)
        return NULL;
    int status = hfpy_trie_check(&ctx, root, (size_t)((Map *)self)->count, &fault);
    if (status == HF_CORRUPT) {
        PyErr_SetString(PyExc_AssertionError, fault);
        return NULL;
    }
    if (status < 0) {
        hfpy_raise(status);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- many entries -- */

static PyObject *map_create(PyObject *type, PyObject *args, PyObject *kwargs)
{
    if (!PyArg_UnpackTuple(args, "create", 0, 0))
        return NULL;
    return hfpy_map_from(hfpy_state_of((PyTypeObject *)type), NULL, kwargs, "create");
}

static PyObject *map_from_dict(PyObject *type, PyObject *source)
{
    core_state *state = hfpy_state_of((PyTypeObject *)type);
    int mapping = hfpy_has_keys(state, source);
    if (mapping < 0)
        return NULL;
    if (!mapping) {
        PyErr_Format(PyExc_TypeError, "from_dict() argument must be a mapping, not '%.200s'",
                     Py_TYPE(source)->tp_name);
        return NULL;
    }
    return hfpy_map_from(state, source, NULL, "from_dict");
}

static PyObject *map_fromkeys(PyObject *type, PyObject *const *args, Py_ssize_t count)
{
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "fromkeys() takes 1 or 2 arguments, keys and value (%zd given)", count);
        return NULL;
    }
    return hfpy_map_fromkeys(hfpy_state_of((PyTypeObject *)type), args[0], count == 2 ? args[1] : Py_None);
}

static PyObject *map_update(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *source = NULL;
    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source))
        return NULL;
    return hfpy_map_updated(hfpy_state(self), (Map *)self, source, kwargs, "update");
}

static PyObject *map_merge(PyObject *self, PyObject *args, PyObject *kwargs)
{
    core_state *state = hfpy_state(self);
    PyObject *settle = NULL;
    static char *names[] = {"with_", NULL};
    if (!PyArg_ParseTupleAndKeywords(state->empty_tuple, kwargs, "|$O:merge", names, &settle))
        return NULL;
    if (settle != NULL && settle != Py_None && !PyCallable_Check(settle)) {
        PyErr_Format(PyExc_TypeError, "merge() argument 'with_' must be callable, not '%.200s'",
                     Py_TYPE(settle)->tp_name);
        return NULL;
    }
    PyObject *map = Py_NewRef(self);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args) && map != NULL; i++) {
        PyObject *other = PyTuple_GET_ITEM(args, i);
        int mapping = hfpy_has_keys(state, other);
        if (mapping == 0)
            PyErr_Format(PyExc_TypeError, "merge() argument %zd must be a mapping, not '%.200s'", i + 1,
                         Py_TYPE(other)->tp_name);
        PyObject *right = mapping <= 0 ? NULL : hfpy_map_from(state, other, NULL, "merge");
        PyObject *merged =
            right == NULL ? NULL : hfpy_map_union(state, (Map *)map, (Map *)right, settle == Py_None ? NULL : settle);
        Py_XDECREF(right);
        Py_SETREF(map, merged);
    }
    return map;
}

/* left | right, where one is a Map and the other any Mapping. */
static PyObject *map_or(PyObject *left, PyObject *right)
{
    core_state *state =
        PyType_GetSlot(Py_TYPE(left), Py_nb_or) == (void *)map_or ? hfpy_state(left) : hfpy_state(right);
    PyObject *other = Map_Check(state, left) ? right : left;
    if (!Map_Check(state, other) && !PyDict_Check(other)) {
        int mapping = PyObject_IsInstance(other, state->mapping_abc);
        if (mapping < 0)
            return NULL;
        if (!mapping)
            Py_RETURN_NOTIMPLEMENTED;
    }
    if (Map_Check(state, left))
        return hfpy_map_updated(state, (Map *)left, right, NULL, "|");
    PyObject *map = hfpy_map_from(state, left, NULL, "|");
    if (map != NULL)
        Py_SETREF(map, hfpy_map_updated(state, (Map *)map, right, NULL, "|"));
    return map;
}

/* -- paths -- */

static PyObject *map_get_in(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *fallback;
    if (hfpy_parse_one_or_two("get_in", "default", args, count, names, &fallback) < 0)
        return NULL;
    return hfpy_map_get_in(hfpy_state(self), self, args[0], fallback != NULL ? fallback : Py_None);
}

static PyObject *map_assoc_in(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "assoc_in() takes exactly 2 arguments, path and value (%zd given)", count);
        return NULL;
    }
    return hfpy_map_assoc_in(hfpy_state(self), (Map *)self, args[0], args[1]);
}

static PyObject *map_update_in(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count < 2) {
        PyErr_Format(PyExc_TypeError, "update_in() takes at least 2 arguments, path and fn (%zd given)", count);
        return NULL;
    }
    if (!PyCallable_Check(args[1])) {
        PyErr_Format(PyExc_TypeError, "update_in() argument 'fn' must be callable, not '%.200s'",
                     Py_TYPE(args[1])->tp_name);
        return NULL;
    }
    return hfpy_map_update_in(hfpy_state(self), (Map *)self, args[0], args[1], args + 2, count - 2);
}

static PyObject *map_dissoc_in(PyObject *self, PyObject *path)
{
    return hfpy_map_dissoc_in(hfpy_state(self), (Map *)self, path);
}

/* -- versions -- */

static int require_map(core_state *state, PyObject *object, const char *method, const char *argument)
{
    if (Map_Check(state, object))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() argument '%s' must be a Map, not '%.200s'", method, argument,
                 Py_TYPE(object)->tp_name);
    return -1;
}

static PyObject *map_diff(PyObject *self, PyObject *other)
{
    core_state *state = hfpy_state(self);
    if (require_map(state, other, "diff", "other") < 0)
        return NULL;
    return hfpy_map_diff(state, (Map *)self, (Map *)other);
}

static PyObject *map_merge3(PyObject *type, PyObject *args, PyObject *kwargs)
{
    core_state *state = hfpy_state_of((PyTypeObject *)type);
    PyObject *base, *mine, *theirs, *resolve = Py_None;
    static char *names[] = {"base", "mine", "theirs", "resolve", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|O:merge3", names, &base, &mine, &theirs, &resolve))
        return NULL;
    if (require_map(state, base, "merge3", "base") < 0 || require_map(state, mine, "merge3", "mine") < 0 ||
        require_map(state, theirs, "merge3", "theirs") < 0)
        return NULL;
    if (resolve != Py_None && !PyCallable_Check(resolve)) {
        PyErr_Format(PyExc_TypeError, "merge3() argument 'resolve' must be callable, not '%.200s'",
                     Py_TYPE(resolve)->tp_name);
        return NULL;
    }
    return hfpy_map_merge3(state, (Map *)base, (Map *)mine, (Map *)theirs, resolve == Py_None ? NULL : resolve);
}

/* -- the type -- */

#define FAST (METH_FASTCALL)
#define FAST_NAMED (METH_FASTCALL | METH_KEYWORDS)
#define NAMED (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef map_methods[] = {
    {"create", (PyCFunction)(void (*)(void))map_create, NAMED | METH_CLASS,
     PyDoc_STR("create(**entries)\n--\n\nThe Map of the keyword arguments.")},
    {"from_dict", map_from_dict, METH_O | METH_CLASS,
     PyDoc_STR("from_dict(d, /)\n--\n\nThe Map with the items of a mapping. Built in bulk, in O(n).")},
    {"fromkeys", (PyCFunction)(void (*)(void))map_fromkeys, FAST | METH_CLASS,
     PyDoc_STR("fromkeys(keys, value=None, /)\n--\n\nThe Map with these keys, all with one value.")},
    {"get", (PyCFunction)(void (*)(void))map_get, FAST_NAMED,
     PyDoc_STR("get($self, key, default=None)\n--\n\nThe value of key, or default.")},
    {"contains", map_contains_method, METH_O,
     PyDoc_STR("contains($self, key, /)\n--\n\nWhether the key is in the map; the same as `key in m`.")},
    {"set", (PyCFunction)(void (*)(void))map_set, FAST,
     PyDoc_STR("set($self, key, value, /)\n--\n\n"
               "The Map with this value for key. The same object if the key has that very value already.\n"
               "Costs one path of the trie; all else is shared with this Map.")},
    {"assoc", (PyCFunction)(void (*)(void))map_assoc, FAST,
     PyDoc_STR("assoc($self, key, value, /, *more)\n--\n\n"
               "The Map with these values for these keys: assoc(k1, v1, k2, v2, ...).")},
    {"delete", (PyCFunction)(void (*)(void))map_dissoc, FAST,
     PyDoc_STR("delete($self, key, /, *more)\n--\n\nThe Map without these keys; the same as dissoc.")},
    {"dissoc", (PyCFunction)(void (*)(void))map_dissoc, FAST,
     PyDoc_STR("dissoc($self, key, /, *more)\n--\n\n"
               "The Map without these keys. A key that is not there is no error; the same object if none is.")},
    {"discard", map_discard, METH_O,
     PyDoc_STR("discard($self, key, /)\n--\n\nThe Map without the key; the same object if it is not there.")},
    {"remove", map_remove, METH_O,
     PyDoc_STR("remove($self, key, /)\n--\n\nThe Map without the key. KeyError if it is not there.")},
    {"pop", (PyCFunction)(void (*)(void))map_pop, FAST,
     PyDoc_STR("pop($self, key, default=<unrepresentable>, /)\n--\n\n"
               "The value of key and the Map without it: (value, map). If the key is not there, (default, this\n"
               "map), or KeyError if no default is given.")},
    {"assoc_in", (PyCFunction)(void (*)(void))map_assoc_in, FAST,
     PyDoc_STR("assoc_in($self, path, value, /)\n--\n\n"
               "The Map with the value at the end of a path of keys through nested Maps. Levels that are not\n"
               "there are made.")},
    {"update_in", (PyCFunction)(void (*)(void))map_update_in, FAST,
     PyDoc_STR("update_in($self, path, fn, /, *args)\n--\n\n"
               "The Map with fn(value, *args) in the place of the value at the end of a path. fn gets None for a\n"
               "value that is not there.")},
    {"get_in", (PyCFunction)(void (*)(void))map_get_in, FAST_NAMED,
     PyDoc_STR("get_in($self, path, default=None)\n--\n\n"
               "The value at the end of a path of keys through nested mappings, or default.")},
    {"dissoc_in", map_dissoc_in, METH_O,
     PyDoc_STR("dissoc_in($self, path, /)\n--\n\n"
               "The Map without the last key of a path in the Map that the rest of it leads to; the same object\n"
               "if there is nothing there.")},
    {"update", (PyCFunction)(void (*)(void))map_update, NAMED,
     PyDoc_STR("update($self, mapping_or_pairs=(), /, **entries)\n--\n\n"
               "The Map with these entries put over it. Of another Map, only what differs is visited.")},
    {"merge", (PyCFunction)(void (*)(void))map_merge, NAMED,
     PyDoc_STR("merge($self, /, *maps, with_=None)\n--\n\n"
               "The Map with the entries of all. A key in several has with_(left, right) as its value, or, without\n"
               "with_, the rightmost.")},
    {"diff", map_diff, METH_O,
     PyDoc_STR(
         "diff($self, other, /)\n--\n\n"
         "The changes that turn this Map into the other: a list of Change(key, old, new), where MISSING stands\n"
         "for a value that is not there. Costs what differs, not what is stored.")},
    {"merge3", (PyCFunction)(void (*)(void))map_merge3, NAMED | METH_CLASS,
     PyDoc_STR(
         "merge3(base, mine, theirs, resolve=None)\n--\n\n"
         "The Map with the changes from base to mine and those from base to theirs. A key that both changed,\n"
         "differently, gets resolve(key, base, mine, theirs), which is given MISSING for absent and may return\n"
         "it; without resolve, Conflict is raised and lists such keys. Costs what differs.")},
    {"mutate", map_mutate, METH_NOARGS,
     PyDoc_STR("mutate($self, /)\n--\n\n"
               "A TransientMap with the contents of this Map, in O(1). It can be changed in place; this Map is not.\n"
               "\n"
               ">>> import holdfast\n"
               ">>> m = holdfast.Map(a=1)\n"
               ">>> with m.mutate() as t:\n"
               "...     t['b'] = 2\n"
               ">>> sorted(t.finish().items()), m\n"
               "([('a', 1), ('b', 2)], holdfast.Map({'a': 1}))")},
    {"transient", map_mutate, METH_NOARGS, PyDoc_STR("transient($self, /)\n--\n\nThe same as mutate().")},
    {"keys", map_keys, METH_NOARGS, PyDoc_STR("keys($self, /)\n--\n\nA set-like view of the keys.")},
    {"values", map_values, METH_NOARGS, PyDoc_STR("values($self, /)\n--\n\nA view of the values.")},
    {"items", map_items, METH_NOARGS, PyDoc_STR("items($self, /)\n--\n\nA set-like view of the items.")},
    {"clear", map_clear, METH_NOARGS, PyDoc_STR("clear($self, /)\n--\n\nThe empty Map.")},
    {"copy", map_self, METH_NOARGS, PyDoc_STR("copy($self, /)\n--\n\nThe Map itself: it never changes.")},
    {"__copy__", map_self, METH_NOARGS, NULL},
    {"__deepcopy__", map_deepcopy, METH_O, NULL},
    {"__reduce__", map_reduce, METH_NOARGS, NULL},
    {"__sizeof__", hfpy_map_sizeof, METH_NOARGS,
     PyDoc_STR("__sizeof__($self, /)\n--\n\nBytes of the Map and all its nodes, shared ones included.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {"_check", map_check, METH_NOARGS,
     PyDoc_STR("_check($self, /)\n--\n\nFor tests: AssertionError if the trie breaks one of its invariants.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef map_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Map, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    map_doc,
    "Map(mapping_or_pairs=(), /, **entries)\n--\n\n"
    "An immutable mapping. What would change it gives a new Map, which shares all but the change with the\n"
    "old one: a version costs about a kilobyte, in a map of a million, and a microsecond.\n"
    "\n"
    "Hashable if its values are; equal to any Mapping with equal items; thread-safe; in no particular order\n"
    "(the same in every iteration of one Map). A persistent hash trie: CHAMP, of Steindorfer and Vinju,\n"
    "OOPSLA 2015.\n"
    "\n"
    ">>> from holdfast import Map\n"
    ">>> m = Map({'a': 1})\n"
    ">>> n = m.set('b', 2)\n"
    ">>> len(m), len(n), n['b']\n"
    "(1, 2, 2)\n"
    ">>> m.diff(n)\n"
    "[Change(key='b', old=holdfast.MISSING, new=2)]");

static PyType_Slot map_slots[] = {
    {Py_tp_doc, (void *)map_doc},
    {Py_tp_new, map_new},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_traverse, map_traverse},
    {Py_tp_repr, map_repr},
    {Py_tp_hash, hfpy_map_hash},
    {Py_tp_richcompare, map_richcompare},
    {Py_tp_iter, map_iter},
    {Py_tp_methods, map_methods},
    {Py_tp_members, map_members},
    {Py_mp_subscript, map_subscript},
    {Py_mp_length, map_length},
    {Py_sq_contains, map_contains},
    {Py_nb_or, map_or},
    {0, NULL},
};

PyType_Spec hfpy_map_spec = {
    .name = "holdfast.Map",
    .basicsize = sizeof(Map),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_MAPPING,
    .slots = map_slots,
};
