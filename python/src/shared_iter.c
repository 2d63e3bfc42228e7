/*
 * shared_iter.c: iterators over keys, values or items.
 *
 *      of a snapshot           walk -----> pinned version
 *      of the map              the same, of a version that is pinned for this iterator alone
 *      in a transaction        at -------> a copy of what it sees, made when the iteration begins
 *
 * So what is iterated over never changes, whatever is done to the map meanwhile.
 *
 * Concurrency: the GIL; two threads may share an iterator, and each entry is given to one of them. Failure: an
 * entry that cannot be decoded raises, and the next call goes on behind it; damage ends the iteration.
 */
#include "shared_key.h"

typedef struct SharedIterator {
    PyObject_HEAD
    homes_state *state;
    PyObject *name;
    hfpy_pin *pin;    /* NULL: the iterator is over, or has a copy */
    hf_buffer copied; /* sizes of key and value, key, value; and again */
    size_t at;        /* in the copy */
    hf_shared_walk walk;
    uint64_t left;
    unsigned flags;
    enum hfpy_shared_kind kind;
} SharedIterator;

typedef struct copied_head {
    size_t key, value;
} copied_head;

static SharedIterator *iterator_new(homes_state *state, PyObject *name, unsigned flags, enum hfpy_shared_kind kind)
{
    SharedIterator *self = PyObject_GC_New(SharedIterator, state->shared.iterator_type);

    if (self == NULL)
        return NULL;
    self->state = state;
    self->name = Py_NewRef(name);
    self->pin = NULL;
    hf_buffer_init(&self->copied, NULL, 0, SIZE_MAX);
    self->at = 0;
    self->left = 0;
    self->flags = flags;
    self->kind = kind;
    PyObject_GC_Track((PyObject *)self);
    return self;
}

static PyObject *fail(SharedIterator *self, int status)
{
    hfpy_shared_fail_named(self->state, self->name, NULL, -1, status);
    return NULL;
}

PyObject *hfpy_shared_iterate(homes_state *state, PyObject *name, unsigned flags, hfpy_pin *pin,
                              enum hfpy_shared_kind kind)
{
    SharedIterator *self = iterator_new(state, name, flags, kind);

    if (self == NULL)
        return NULL;
    int status = hf_shared_walk_begin(&self->walk, NULL, hfpy_pin_view(pin));
    if (status < 0) {
        fail(self, status);
        Py_DECREF(self);
        return NULL;
    }
    self->pin = hfpy_pin_keep(pin);
    self->left = hf_view_count(hfpy_pin_view(pin), HF_SHARED_ENTRIES);
    return (PyObject *)self;
}

/* What this thread's transaction has. */
static int copy_entries(SharedIterator *self, hf_shared *map)
{
    hf_span key, value;
    int status = hf_shared_walk_begin(&self->walk, map, NULL);

    while (status >= 0 && (status = hf_shared_walk_next(&self->walk, &key, &value)) > 0) {
        copied_head head = {self->kind == HFPY_VALUES ? 0 : key.size, self->kind == HFPY_KEYS ? 0 : value.size};
        status = hf_buffer_reserve(&self->copied, sizeof head + head.key + head.value);
        if (status < 0)
            break;
        hf_buffer_put(&self->copied, &head, sizeof head);
        hf_buffer_put(&self->copied, key.bytes, head.key);
        hf_buffer_put(&self->copied, value.bytes, head.value);
        self->left++;
    }
    return status;
}

PyObject *hfpy_shared_map_iterate(SharedMap *map, enum hfpy_shared_kind kind)
{
    hfpy_handle *handle = hfpy_shared_handle(map);

    if (handle == NULL)
        return NULL;
    if (hf_txn_mine(hfpy_handle_map(handle)->region) == NULL) {
        hfpy_pin *pin = hfpy_pin_new(map);
        PyObject *made = pin == NULL ? NULL : hfpy_shared_iterate(map->state, map->name, map->flags, pin, kind);
        hfpy_pin_drop(pin);
        return made;
    }
    SharedIterator *self = iterator_new(map->state, map->name, map->flags, kind);
    if (self == NULL)
        return NULL;
    int status = copy_entries(self, handle->map);
    if (status < 0) {
        fail(self, status);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* Nothing comes any more: what was held is let go. */
static void finish(SharedIterator *self)
{
    hfpy_pin *pin = self->pin;

    self->left = 0;
    self->pin = NULL;
    self->at = self->copied.size;
    hfpy_pin_drop(pin);
}

/* 1 and an entry, or 0; a status. */
static int advance(SharedIterator *self, hf_span *key, hf_span *value)
{
    copied_head head;

    if (self->pin != NULL)
        return hf_shared_walk_next(&self->walk, key, value);
    if (self->at == self->copied.size)
        return 0;
    memcpy(&head, self->copied.bytes + self->at, sizeof head);
    self->at += sizeof head;
    *key = hf_span_of(self->copied.bytes + self->at, head.key);
    *value = hf_span_of(self->copied.bytes + self->at + head.key, head.value);
    self->at += head.key + head.value;
    return 1;
}

/* Foreign code may run while an entry is decoded, and may finish this very iterator: hence what holds the bytes is
 * kept. */
static PyObject *iterator_next(PyObject *object)
{
    SharedIterator *self = (SharedIterator *)object;
    hf_span key, value;
    int status = advance(self, &key, &value);

    if (status <= 0) {
        finish(self);
        return status < 0 ? fail(self, status) : NULL;
    }
    self->left -= self->left > 0;
    hfpy_pin *pin = self->pin == NULL ? NULL : hfpy_pin_keep(self->pin);
    PyObject *made = self->kind == HFPY_ITEMS
                         ? hfpy_stored_item(self->state, key, value, self->flags)
                         : hfpy_stored_decode(self->state, self->kind == HFPY_KEYS ? key : value, self->flags);
    hfpy_pin_drop(pin);
    return made;
}

static PyObject *iterator_hint(PyObject *self, PyObject *unused)
{
    return PyLong_FromUnsignedLongLong(((SharedIterator *)self)->left);
}

static int iterator_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void iterator_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    SharedIterator *self = (SharedIterator *)object;

    PyObject_GC_UnTrack(object);
    finish(self);
    hf_buffer_clear(&self->copied);
    Py_DECREF(self->name);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef iterator_methods[] = {
    {"__length_hint__", iterator_hint, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc}, {Py_tp_traverse, iterator_traverse}, {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},   {Py_tp_methods, iterator_methods},   {0, NULL},
};

PyType_Spec hfpy_shared_iterator_spec = {
    .name = "holdfast._homes.SharedIterator",
    .basicsize = sizeof(SharedIterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};
