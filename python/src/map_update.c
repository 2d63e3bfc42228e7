/*
 * map_update.c: Maps from, and over, whole containers: dicts, other mappings, iterables of pairs, other Maps.
 *
 * A source is read to its end first, into an array that owns what it found, with all the hashes; then the trie is
 * made. So a source that raises, or changes while it is read, leaves nothing half done. An empty trie is built in
 * bulk (trie_build.h). Over a trie that is there, a few entries are put one by one; of many, a second trie is built
 * and the two are united.
 */
#include "trie.h"

enum { GATHER_FEW = 8 };

/* The entries of a source, in order. */
typedef struct gathering {
    trie_item *items; /* own references */
    size_t count;
    size_t room;
    bool distinct;             /* they come from one dict: no two keys are equal */
    trie_item few[GATHER_FEW]; /* `items`, while there is room */
} gathering;

static inline void gathering_begin(gathering *gathered)
{
    gathered->items = gathered->few;
    gathered->count = 0;
    gathered->room = GATHER_FEW;
    gathered->distinct = false;
}

static void gathering_clear(gathering *gathered)
{
    for (size_t i = 0; i < gathered->count; i++) {
        Py_DECREF(gathered->items[i].entry.key);
        Py_DECREF(gathered->items[i].entry.value);
    }
    if (gathered->items != gathered->few)
        hf_free(gathered->items);
    gathering_begin(gathered);
}

static int gathering_reserve(gathering *gathered, size_t more)
{
    size_t room = gathered->room;
    if (more <= room - gathered->count)
        return 0;
    if (more > PTRDIFF_MAX / sizeof(trie_item) / 2 - gathered->count) {
        PyErr_NoMemory();
        return -1;
    }
    bool few = gathered->items == gathered->few;
    room = 2 * room > gathered->count + more ? 2 * room : gathered->count + more;
    trie_item *items = hf_realloc(few ? NULL : gathered->items, room * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (few)
        memcpy(items, gathered->few, gathered->count * sizeof *items);
    gathered->items = items;
    gathered->room = room;
    return 0;
}

/* Hashes the key. Runs foreign code. */
static int gathering_add(gathering *gathered, PyObject *key, PyObject *value)
{
    if (gathering_reserve(gathered, 1) < 0)
        return -1;
    Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1)
        return -1;
    gathered->items[gathered->count++] =
        (trie_item){.hash = (uint64_t)hash, .entry = {Py_NewRef(key), Py_NewRef(value)}};
    return 0;
}

enum { GATHER_AHEAD = 16 };

/* A dict itself. No foreign code runs while it is being walked: first everything in it is taken hold of, then the keys
 * are hashed. Keys and values lie anywhere in memory, so they are asked for some entries in advance. */
static int gather_dict(gathering *gathered, PyObject *dict)
{
    size_t first = gathered->count;
    Py_ssize_t size = PyDict_GET_SIZE(dict);
    if (gathering_reserve(gathered, (size_t)size) < 0)
        return -1;
    trie_item *items = gathered->items + first;
    Py_ssize_t found = 0;
    Py_BEGIN_CRITICAL_SECTION(dict);
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (found < size && PyDict_Next(dict, &position, &key, &value)) {
        __builtin_prefetch(key, 1);
        __builtin_prefetch(value, 1);
        items[found++].entry = (trie_entry){key, value};
        if (found > GATHER_AHEAD) {
            Py_INCREF(items[found - 1 - GATHER_AHEAD].entry.key);
            Py_INCREF(items[found - 1 - GATHER_AHEAD].entry.value);
        }
    }
    for (Py_ssize_t i = found > GATHER_AHEAD ? found - GATHER_AHEAD : 0; i < found; i++) {
        Py_INCREF(items[i].entry.key);
        Py_INCREF(items[i].entry.value);
    }
    Py_END_CRITICAL_SECTION();
    gathered->count += (size_t)found;
    gathered->distinct = first == 0;
    for (Py_ssize_t i = 0; i < found; i++) {
        if (i + GATHER_AHEAD < found)
            __builtin_prefetch(items[i + GATHER_AHEAD].entry.key);
        Py_hash_t hash = PyObject_Hash(items[i].entry.key);
        if (hash == -1)
            return -1;
        items[i].hash = (uint64_t)hash;
    }
    return 0;
}

/* Anything with keys() and []. */
static int gather_mapping(gathering *gathered, PyObject *mapping)
{
    PyObject *keys = PyMapping_Keys(mapping);
    PyObject *iterator = keys == NULL ? NULL : PyObject_GetIter(keys);
    Py_XDECREF(keys);
    if (iterator == NULL)
        return -1;
    PyObject *key;
    int status = 0;
    while (status == 0 && (key = PyIter_Next(iterator)) != NULL) {
        PyObject *value = PyObject_GetItem(mapping, key);
        status = value == NULL ? -1 : gathering_add(gathered, key, value);
        Py_XDECREF(value);
        Py_DECREF(key);
    }
    Py_DECREF(iterator);
    return status < 0 || PyErr_Occurred() ? -1 : 0;
}

/* One element of an iterable of pairs. `index` is for the message. */
static int gather_pair(gathering *gathered, PyObject *pair, Py_ssize_t index, const char *who)
{
    if (PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2)
        return gathering_add(gathered, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    PyObject *sequence = PySequence_Fast(pair, "");
    if (sequence == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "cannot convert %s sequence element #%zd to a sequence", who, index);
        return -1;
    }
    Py_ssize_t length = PySequence_Fast_GET_SIZE(sequence);
    int status = -1;
    if (length != 2) {
        PyErr_Format(PyExc_ValueError, "%s sequence element #%zd has length %zd; 2 is required", who, index, length);
    } else {
        /* A list may be changed by the key's __hash__. */
        PyObject *key = Py_NewRef(PySequence_Fast_GET_ITEM(sequence, 0));
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(sequence, 1));
        status = gathering_add(gathered, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_DECREF(sequence);
    return status;
}

static bool is_iterable(PyObject *object)
{
    return Py_TYPE(object)->tp_iter != NULL || PySequence_Check(object);
}

/* A list or tuple itself. A list may be changed by what runs meanwhile, as under an iterator. */
static int gather_sequence(gathering *gathered, PyObject *pairs, const char *who)
{
    if (gathering_reserve(gathered, (size_t)PySequence_Fast_GET_SIZE(pairs)) < 0)
        return -1;
    for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(pairs); index++) {
        PyObject *pair = Py_NewRef(PySequence_Fast_GET_ITEM(pairs, index));
        int status = gather_pair(gathered, pair, index, who);
        Py_DECREF(pair);
        if (status < 0)
            return -1;
    }
    return 0;
}

static int gather_pairs(gathering *gathered, PyObject *pairs, const char *who)
{
    if (PyList_CheckExact(pairs) || PyTuple_CheckExact(pairs))
        return gather_sequence(gathered, pairs, who);
    if (!is_iterable(pairs)) {
        PyErr_Format(PyExc_TypeError, "%s() argument must be a mapping or an iterable of pairs, not '%.200s'", who,
                     Py_TYPE(pairs)->tp_name);
        return -1;
    }
    PyObject *iterator = PyObject_GetIter(pairs);
    if (iterator == NULL)
        return -1;
    Py_ssize_t hint = PyObject_LengthHint(pairs, 8);
    int status = hint < 0 ? -1 : gathering_reserve(gathered, (size_t)(hint < 1 << 20 ? hint : 1 << 20));
    PyObject *pair;
    for (Py_ssize_t index = 0; status == 0 && (pair = PyIter_Next(iterator)) != NULL; index++) {
        status = gather_pair(gathered, pair, index, who);
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    return status < 0 || PyErr_Occurred() ? -1 : 0;
}

int hfpy_has_keys(core_state *state, PyObject *object)
{
    if (PyDict_CheckExact(object) || Map_Check(state, object))
        return 1;
    /* The usual pairs: an AttributeError raised and cleared takes longer than a small map. */
    if (PyList_CheckExact(object) || PyTuple_CheckExact(object))
        return 0;
    PyObject *keys = PyObject_GetAttr(object, state->str_keys);
    if (keys == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(keys);
    return 1;
}

/* A mapping that others may change meanwhile: its pairs, of one version. (A key's value, asked for by itself, may be gone.) */
static int gather_version(core_state *state, gathering *gathered, PyObject *mapping, const char *who)
{
    PyObject *items = PyObject_CallMethodNoArgs(mapping, state->str_versioned);
    int status = items == NULL ? -1 : gather_pairs(gathered, items, who);
    Py_XDECREF(items);
    return status;
}

/* Whether it is one of those, which are types of holdfast._homes: 1, 0 or -1. */
static int has_versions(core_state *state, PyObject *mapping)
{
    if (!PyType_HasFeature(Py_TYPE(mapping), Py_TPFLAGS_MAPPING))
        return 0;
    PyObject *found = PyObject_GetAttr(mapping, state->str_versioned);
    if (found == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    Py_XDECREF(found);
    return found != NULL;
}

static int gather(core_state *state, gathering *gathered, PyObject *source, const char *who)
{
    if (PyDict_CheckExact(source))
        return gather_dict(gathered, source);
    int mapping = hfpy_has_keys(state, source);
    int versions = mapping > 0 ? has_versions(state, source) : 0;
    if (mapping < 0 || versions < 0)
        return -1;
    if (versions)
        return gather_version(state, gathered, source, who);
    return mapping ? gather_mapping(gathered, source) : gather_pairs(gathered, source, who);
}

/* Builds a trie of what was gathered, and empties the gathering. */
static int gathering_build(core_state *state, gathering *gathered, trie_link *root, Py_ssize_t *count)
{
    trie_ctx ctx = {.state = state};
    trie_builder builder = {.ctx = &ctx, .distinct = gathered->distinct};
    int status = hfpy_trie_build(&builder, gathered->items, &gathered->count, root);
    if (status == 0)
        gathered->count = 0;
    *count = (Py_ssize_t)builder.added;
    for (size_t i = 0; i < builder.spare_count; i++) {
        Py_DECREF(builder.spare[i].key);
        Py_DECREF(builder.spare[i].value);
    }
    hf_free(builder.spare);
    gathering_clear(gathered);
    return status < 0 ? hfpy_raise(status) : 0;
}

/* -- union -- */

static int take_right(trie_ctx *ctx, void *arg, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    if (left->value == right->value)
        return TRIE_TAKE_LEFT;
    if (left->key == right->key)
        return TRIE_TAKE_RIGHT;
    *made = (trie_entry){Py_NewRef(left->key), Py_NewRef(right->value)};
    return TRIE_TAKE_NEW;
}

static int take_settled(trie_ctx *ctx, void *settle, const trie_entry *left, const trie_entry *right,
                        trie_entry *made)
{
    PyObject *value = PyObject_CallFunctionObjArgs(settle, left->value, right->value, NULL);
    if (value == NULL)
        return HF_FOREIGN;
    if (value == left->value) {
        Py_DECREF(value);
        return TRIE_TAKE_LEFT;
    }
    *made = (trie_entry){Py_NewRef(left->key), value};
    return TRIE_TAKE_NEW;
}

static const trie_algebra union_right = {
    .keep = {true, true}, .shared = TRIE_SHARED_TAKE, .counted = true, .both = take_right};

static const trie_algebra union_settled = {
    .keep = {true, true}, .shared = TRIE_SHARED_ENTER, .counted = true, .both = take_settled};

static int unite(core_state *state, trie_link left, Py_ssize_t left_count, trie_link right, Py_ssize_t right_count,
                 PyObject *settle, trie_link *root, Py_ssize_t *count)
{
    trie_ctx ctx = {.state = state};
    size_t size = 0;
    int status = hfpy_trie_combine(&ctx, settle == NULL ? &union_right : &union_settled, settle, left,
                                   (size_t)left_count, right, (size_t)right_count, root, &size);
    *count = (Py_ssize_t)size;
    return status < 0 ? hfpy_raise(status) : 0;
}

PyObject *hfpy_map_union(core_state *state, Map *map, Map *other, PyObject *settle)
{
    trie_link left, right, root;
    Py_ssize_t count;
    if (hfpy_map_root(map, &left) < 0 || hfpy_map_root(other, &right) < 0 ||
        unite(state, left, map->count, right, other->count, settle, &root, &count) < 0)
        return NULL;
    if (root != left && root != right)
        return hfpy_map_wrap(state, root, count);
    Py_XDECREF(root);
    return Py_NewRef(root == left ? map : other);
}

/* -- update -- */

/* A trie put over the draft. */
static int draft_put_trie(core_state *state, hfpy_draft *draft, trie_link other, Py_ssize_t other_count)
{
    trie_link root;
    Py_ssize_t count;
    if (unite(state, draft->root, draft->count, other, other_count, NULL, &root, &count) < 0)
        return -1;
    trie_link old = draft->root;
    bool owned = draft->owned;
    *draft = (hfpy_draft){.root = root, .count = count, .owned = 1};
    if (owned)
        Py_XDECREF(old);
    return 0;
}

/* Puts what was gathered over the draft: few one by one, many at once. */
static int draft_put_gathered(core_state *state, hfpy_draft *draft, gathering *gathered)
{
    if (draft->root == NULL) {
        draft->owned = 1;
        return gathering_build(state, gathered, &draft->root, &draft->count);
    }
    if (gathered->count > 8 && gathered->count > (size_t)draft->count / 8) {
        trie_link built;
        Py_ssize_t count;
        if (gathering_build(state, gathered, &built, &count) < 0)
            return -1;
        int status = draft_put_trie(state, draft, built, count);
        Py_XDECREF(built);
        return status;
    }
    for (size_t i = 0; i < gathered->count; i++) {
        trie_item *item = &gathered->items[i];
        if (hfpy_draft_put_hashed(state, draft, (Py_hash_t)item->hash, item->entry.key, item->entry.value) < 0)
            return -1;
    }
    return 0;
}

int hfpy_draft_update(core_state *state, hfpy_draft *draft, PyObject *source, PyObject *kwargs, const char *who)
{
    int status = 0;
    if (source != NULL && Map_Check(state, source)) {
        trie_link root;
        status = hfpy_map_root((Map *)source, &root);
        if (status == 0)
            status = draft_put_trie(state, draft, root, ((Map *)source)->count);
    } else if (source != NULL) {
        gathering gathered;
        gathering_begin(&gathered);
        status = gather(state, &gathered, source, who);
        if (status == 0)
            status = draft_put_gathered(state, draft, &gathered);
        gathering_clear(&gathered);
    }
    if (status == 0 && kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        gathering gathered;
        gathering_begin(&gathered);
        status = gather_dict(&gathered, kwargs);
        if (status == 0)
            status = draft_put_gathered(state, draft, &gathered);
        gathering_clear(&gathered);
    }
    return status;
}

PyObject *hfpy_map_updated(core_state *state, Map *map, PyObject *source, PyObject *kwargs, const char *who)
{
    if (source != NULL && Map_Check(state, source) && (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0))
        return hfpy_map_union(state, map, (Map *)source, NULL);
    hfpy_draft draft;
    if (hfpy_draft_begin(&draft, map) < 0)
        return NULL;
    if (hfpy_draft_update(state, &draft, source, kwargs, who) < 0) {
        hfpy_draft_abandon(&draft);
        return NULL;
    }
    return hfpy_draft_finish(state, &draft, map);
}

PyObject *hfpy_map_from(core_state *state, PyObject *source, PyObject *kwargs, const char *who)
{
    if (source != NULL && Map_Check(state, source) && (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0))
        return Py_NewRef(source);
    return hfpy_map_updated(state, (Map *)state->empty_map, source, kwargs, who);
}

PyObject *hfpy_map_fromkeys(core_state *state, PyObject *keys, PyObject *value)
{
    if (!is_iterable(keys)) {
        PyErr_Format(PyExc_TypeError, "fromkeys() argument 'keys' must be iterable, not '%.200s'",
                     Py_TYPE(keys)->tp_name);
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(keys);
    if (iterator == NULL)
        return NULL;
    gathering gathered;
    gathering_begin(&gathered);
    PyObject *key;
    trie_link root;
    Py_ssize_t count;
    int status = 0;
    while (status == 0 && (key = PyIter_Next(iterator)) != NULL) {
        status = gathering_add(&gathered, key, value);
        Py_DECREF(key);
    }
    Py_DECREF(iterator);
    if (status < 0 || PyErr_Occurred()) {
        gathering_clear(&gathered);
        return NULL;
    }
    return gathering_build(state, &gathered, &root, &count) < 0 ? NULL : hfpy_map_wrap(state, root, count);
}
