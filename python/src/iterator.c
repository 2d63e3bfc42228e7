/*
 * iterator.c: the iterator over keys, values or items of a Map or a TransientMap.
 *
 * Over a Map it walks the Map's nodes. Over a TransientMap it holds a reference of its own to the root it began with, so
 * that an edit during the iteration copies nodes rather than change them under it; like dict's it raises when a key
 * has come or gone, and gives the values of the moment.
 */
#include "trie.h"

typedef struct MapIterator {
    PyObject_HEAD
    PyObject *owner;         /* NULL when exhausted */
    TransientMap *transient; /* the owner, if it is one */
    trie_link root;          /* of a transient: as it was at the start, owned */
    uint64_t edits;          /* of a transient: its count of changes then */
    Py_ssize_t size;         /* of the owner at the start */
    Py_ssize_t remaining;
    PyObject *item; /* the tuple given out last, to be filled again if nobody has kept it; or NULL */
    enum view_kind kind;
    bool tracked; /* whether keys or values may be of interest to the collector */
    trie_cursor cursor;
} MapIterator;

PyObject *hfpy_iterator_new(core_state *state, PyObject *owner, enum view_kind kind)
{
    bool is_transient = TransientMap_Check(state, owner);
    if (is_transient && hfpy_transient_idle((TransientMap *)owner) < 0)
        return NULL;
    trie_link root = NULL;
    if (!is_transient && hfpy_map_root((Map *)owner, &root) < 0)
        return NULL;
    MapIterator *iterator = PyObject_GC_New(MapIterator, state->iterator_type);
    if (iterator == NULL)
        return NULL;
    iterator->owner = Py_NewRef(owner);
    iterator->transient = NULL;
    iterator->root = NULL;
    iterator->edits = 0;
    iterator->item = NULL;
    iterator->kind = kind;
    if (is_transient) {
        TransientMap *transient = (TransientMap *)owner;
        iterator->transient = transient;
        iterator->edits = transient->edits;
        iterator->remaining = transient->draft.count;
        root = transient->draft.root;
        iterator->root = (trie_link)Py_XNewRef(root);
    } else {
        iterator->remaining = ((Map *)owner)->count;
    }
    iterator->size = iterator->remaining;
    iterator->tracked = is_transient || (root != NULL && Py_IS_TYPE((PyObject *)root, state->tracked_node_type));
    trie_cursor_begin(NULL, &iterator->cursor, root, (size_t)iterator->size);
    PyObject_GC_Track(iterator);
    return (PyObject *)iterator;
}

static int iterator_clear(PyObject *self)
{
    MapIterator *iterator = (MapIterator *)self;
    iterator->transient = NULL;
    iterator->cursor = (trie_cursor){.link = NULL};
    Py_CLEAR(iterator->root);
    Py_CLEAR(iterator->item);
    Py_CLEAR(iterator->owner);
    return 0;
}

static void iterator_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)iterator_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int iterator_traverse(PyObject *self, visitproc visit, void *arg)
{
    MapIterator *iterator = (MapIterator *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(iterator->owner);
    Py_VISIT(iterator->root);
    Py_VISIT(iterator->item);
    return 0;
}

/* Lets the collector see the tuple again: it may have found that it held nothing of interest. */
static Py_NO_INLINE void iterator_track_item(PyObject *item)
{
    if (!PyObject_GC_IsTracked(item))
        PyObject_GC_Track(item);
}

/* A new tuple. Takes over key and value, which were held before: a new tuple may mean a collection, whose finalizers may
 * use up this iterator and so let go of its map. */
static Py_NO_INLINE PyObject *iterator_new_item(MapIterator *iterator, PyObject *key, PyObject *value)
{
    PyObject *item = PyTuple_New(2);
    if (item == NULL) {
        Py_DECREF(key);
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(item, 0, key);
    PyTuple_SET_ITEM(item, 1, value);
    if (iterator->item == NULL && iterator->owner != NULL)
        iterator->item = Py_NewRef(item);
    return item;
}

/* (key, value), in the tuple given out last if nobody else has it. */
static inline PyObject *iterator_item(MapIterator *iterator, PyObject *key, PyObject *value)
{
    PyObject *item = iterator->item;
    Py_INCREF(key);
    Py_INCREF(value);
    if (item == NULL || !hfpy_may_refill(item))
        return iterator_new_item(iterator, key, value);
    PyObject *old_key = PyTuple_GET_ITEM(item, 0), *old_value = PyTuple_GET_ITEM(item, 1);
    Py_INCREF(item);
    PyTuple_SET_ITEM(item, 0, key);
    PyTuple_SET_ITEM(item, 1, value);
    hfpy_refilled(item);
    if (iterator->tracked)
        iterator_track_item(item);
    Py_DECREF(old_key);
    Py_DECREF(old_value);
    return item;
}

static inline PyObject *iterator_give(MapIterator *iterator, PyObject *key, PyObject *value)
{
    switch (iterator->kind) {
    case VIEW_KEYS:
        return Py_NewRef(key);
    case VIEW_VALUES:
        return Py_NewRef(value);
    default:
        return iterator_item(iterator, key, value);
    }
}

/* Fails if keys have come or gone since the iteration began. */
static int iterator_check_transient(MapIterator *iterator)
{
    TransientMap *transient = iterator->transient;
    if (hfpy_transient_alive(transient) < 0)
        return -1;
    if (transient->edits != iterator->edits) {
        PyErr_SetString(PyExc_RuntimeError, transient->draft.count != iterator->size
                                                ? "TransientMap changed size during iteration"
                                                : "TransientMap keys changed during iteration");
        return -1;
    }
    return 0;
}

/* The entry of a transient, with the value it has now. */
static PyObject *iterator_give_current(MapIterator *iterator, const trie_entry *entry)
{
    TransientMap *transient = iterator->transient;
    if (iterator->kind == VIEW_KEYS || transient->draft.root == iterator->root)
        return iterator_give(iterator, entry->key, entry->value);
    PyObject *value, *key = Py_NewRef(entry->key), *result = NULL;
    int found = hfpy_transient_lookup(hfpy_state(iterator), transient, key, &value);
    if (found > 0) {
        result = iterator_give(iterator, key, value);
        Py_DECREF(value);
    } else if (found == 0) {
        PyErr_SetString(PyExc_RuntimeError, "TransientMap keys changed during iteration");
    }
    Py_DECREF(key);
    return result;
}

static Py_NO_INLINE PyObject *iterator_next_of_transient(MapIterator *iterator)
{
    if (iterator_check_transient(iterator) < 0)
        return NULL;
    const trie_entry *entry = trie_cursor_next(NULL, &iterator->cursor);
    if (entry == NULL) {
        (void)iterator_clear((PyObject *)iterator);
        return NULL;
    }
    iterator->remaining--;
    return iterator_give_current(iterator, entry);
}

/* An iterator that is used up has an empty cursor and no transient. */
static PyObject *iterator_next(PyObject *self)
{
    MapIterator *iterator = (MapIterator *)self;
    PyObject *result = NULL;
    const trie_entry *entry;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (iterator->transient != NULL) {
        result = iterator_next_of_transient(iterator);
    } else if ((entry = trie_cursor_next(NULL, &iterator->cursor)) != NULL) {
        iterator->remaining--;
        result = iterator_give(iterator, entry->key, entry->value);
    } else {
        (void)iterator_clear(self);
    }
    Py_END_CRITICAL_SECTION();
    return result;
}

static PyObject *iterator_length_hint(PyObject *self, PyObject *unused)
{
    MapIterator *iterator = (MapIterator *)self;
    return PyLong_FromSsize_t(iterator->owner == NULL ? 0 : iterator->remaining);
}

static PyMethodDef iterator_methods[] = {
    {"__length_hint__", iterator_length_hint, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "An iterator over a Map or a TransientMap."},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {Py_tp_methods, iterator_methods},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "holdfast._core.MapIterator",
    .basicsize = sizeof(MapIterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = iterator_slots,
};

int hfpy_iterator_exec(PyObject *module, core_state *state)
{
    state->iterator_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &iterator_spec, NULL);
    return state->iterator_type == NULL ? -1 : 0;
}
