/*
 * cask_snapshot.c: CaskSnapshot, a Cask as it was: looking up, and iterators over it. And over the Cask itself, each
 * of which
 * runs over a snapshot of its own.
 *
 *      CaskSnapshot --> pin --> hf_cask_snapshot          iterators count in the pin too
 *
 * holdfast.CaskSnapshot is a subclass in Python with what is seldom called.
 *
 * Concurrency: the GIL; two threads may share an iterator, and each entry is given to one of them. A pin outlives
 * the close()
 * of the CaskSnapshot, not that of the Cask: then ClosedError. Failure: an entry that cannot be decoded raises, and
 * the next call goes on
 * behind it; damage ends the iteration.
 */
#include "cask_impl.h"

typedef struct CaskSnapshot {
    PyObject_HEAD
    homes_state *state;
    hfpy_cask_pin *pin; /* NULL: closed */
    PyObject *path;
    PyObject *weakrefs;
    unsigned flags;
} CaskSnapshot;

typedef struct CaskIterator {
    PyObject_HEAD
    homes_state *state;
    hfpy_cask_pin *pin; /* NULL: it is over */
    hf_cask_walk walk;
    enum hfpy_cask_kind kind;
} CaskIterator;

/* NULL and ClosedError, where the cask has been closed. */
static hf_cask_snapshot *alive(const hfpy_cask_pin *pin)
{
    const hfpy_cask_handle *handle = pin->handle;

    if (pin->snapshot != NULL && !handle->closing)
        return pin->snapshot;
    hfpy_throw(handle->state, HFPY_CLOSED, "operation on a snapshot of closed Cask %R", handle->path);
    return NULL;
}

static int fail(const hfpy_cask_pin *pin, int status)
{
    const hfpy_cask_handle *handle = pin->handle;

    if (status == HF_LOST)
        return hfpy_fail(handle->state, status, "this snapshot of Cask %R is the parent process's", handle->path);
    return hfpy_cask_fail(handle->state, handle->path, status);
}

/* -- iterators -- */

static PyObject *iterate(hfpy_cask_pin *pin, enum hfpy_cask_kind kind)
{
    homes_state *state = pin->handle->state;
    hf_cask_snapshot *snapshot = alive(pin);
    CaskIterator *self = snapshot == NULL ? NULL : PyObject_GC_New(CaskIterator, state->cask.iterator_type);

    if (self == NULL)
        return NULL;
    self->state = state;
    self->kind = kind;
    self->pin = hfpy_cask_pin_keep(pin);
    PyObject_GC_Track((PyObject *)self);
    /* What the collector has run may have closed the cask. */
    if ((snapshot = alive(pin)) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    hf_cask_walk_begin(&self->walk, snapshot, kind != HFPY_CASK_KEYS);
    return (PyObject *)self;
}

PyObject *hfpy_cask_iterate(Cask *cask, enum hfpy_cask_kind kind)
{
    hfpy_cask_handle *handle = hfpy_cask_handle_of(cask);
    hfpy_cask_pin *pin = handle == NULL ? NULL : hfpy_cask_pin_new(handle);
    PyObject *made = pin == NULL ? NULL : iterate(pin, kind);

    hfpy_cask_pin_drop(pin);
    return made;
}

/* Nothing comes any more: what was held is let go. */
static void finish(CaskIterator *self)
{
    hfpy_cask_pin *pin = self->pin;

    self->pin = NULL;
    hfpy_cask_pin_drop(pin);
}

/* (encoded key, encoded value, when it expires in milliseconds or None) */
static PyObject *make_record(const hf_record_out *record)
{
    hf_span key = hf_cask_given(record), value = record->in.value;
    PyObject *expires =
        record->in.expires == INT64_MAX ? Py_NewRef(Py_None) : PyLong_FromLongLong((long long)record->in.expires);

    return Py_BuildValue("(y#y#N)", (const char *)key.bytes, (Py_ssize_t)key.size,
                         value.size == 0 ? "" : (const char *)value.bytes, (Py_ssize_t)value.size, expires);
}

/* Both objects: what is not plain of the two is copied before foreign code runs. */
static PyObject *make_item(homes_state *state, const hf_record_out *record, unsigned flags)
{
    hf_span key = hf_cask_given(record), value = record->in.value;
    PyObject *first, *pair = NULL;

    if (hfpy_plain(key, &first)) {
        PyObject *second = first == NULL ? NULL : hfpy_cask_take(state, value, flags, NULL);
        if (second != NULL)
            pair = PyTuple_New(2);
        if (pair == NULL) {
            Py_XDECREF(first);
            Py_XDECREF(second);
            return NULL;
        }
        PyTuple_SET_ITEM(pair, 0, first);
        PyTuple_SET_ITEM(pair, 1, second);
        return pair;
    }
    hf_buffer copy;
    hf_buffer_init(&copy, NULL, 0, SIZE_MAX);
    if (hf_buffer_reserve(&copy, key.size + value.size) < 0)
        return PyErr_NoMemory();
    hf_buffer_put(&copy, key.bytes, key.size);
    hf_buffer_put(&copy, value.bytes, value.size);
    pair = hfpy_stored_item(state, hf_span_of(copy.bytes, key.size), hf_span_of(copy.bytes + key.size, value.size),
                            flags);
    hf_buffer_clear(&copy);
    return pair;
}

static PyObject *make(CaskIterator *self, const hf_record_out *record, unsigned flags)
{
    switch (self->kind) {
    case HFPY_CASK_KEYS:
        return hfpy_cask_take(self->state, hf_cask_given(record), flags, NULL);
    case HFPY_CASK_VALUES:
        return hfpy_cask_take(self->state, record->in.value, flags, NULL);
    case HFPY_CASK_ITEMS:
        return make_item(self->state, record, flags);
    default:
        return make_record(record);
    }
}

static PyObject *iterator_next(PyObject *object)
{
    CaskIterator *self = (CaskIterator *)object;
    hf_record_out record;
    uint64_t place;

    if (self->pin == NULL)
        return NULL;
    if (alive(self->pin) == NULL) {
        finish(self);
        return NULL;
    }
    int status = hf_cask_walk_next(&self->walk, &record, &place);
    if (status > 0)
        return make(self, &record, self->pin->handle->flags);
    if (status < 0)
        fail(self->pin, status);
    finish(self);
    return NULL;
}

static int iterator_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void iterator_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    finish((CaskIterator *)object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {0, NULL},
};

PyType_Spec hfpy_cask_iterator_spec = {
    .name = "holdfast._homes.CaskIterator",
    .basicsize = sizeof(CaskIterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

/* -- snapshots: looking up -- */

PyObject *hfpy_cask_snapshot_new(Cask *cask, PyObject *type)
{
    PyTypeObject *base = cask->state->cask.snapshot_type;

    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, base)) {
        PyErr_SetString(PyExc_TypeError, "_snapshot() needs a class of snapshots");
        return NULL;
    }
    hfpy_cask_handle *handle = hfpy_cask_handle_of(cask);
    hfpy_cask_pin *pin = handle == NULL ? NULL : hfpy_cask_pin_new(handle);
    if (pin == NULL)
        return NULL;
    CaskSnapshot *self = (CaskSnapshot *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self == NULL) {
        hfpy_cask_pin_drop(pin);
        return NULL;
    }
    self->state = cask->state;
    self->pin = pin;
    self->path = Py_NewRef(cask->path);
    self->flags = cask->flags;
    return (PyObject *)self;
}

static hfpy_cask_pin *pin_of(const CaskSnapshot *self)
{
    if (self->pin == NULL)
        hfpy_throw(self->state, HFPY_CLOSED, "operation on closed snapshot of Cask %R", self->path);
    return self->pin;
}

/* 1 and the record, which is there until foreign code runs; 0; -1 with an exception. */
static int find(CaskSnapshot *self, PyObject *key_object, bool whole, hf_record_out *record)
{
    hfpy_stored_key key;
    int status = HF_FOREIGN;
    uint64_t place;

    if (hfpy_stored_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    hfpy_cask_pin *pin = pin_of(self);
    hf_cask_snapshot *snapshot = pin == NULL ? NULL : alive(pin);
    if (snapshot != NULL) {
        hf_cask_key sought = hfpy_cask_key(pin->handle->cask, &key);
        status = hf_cask_snapshot_find(snapshot, &sought, whole, record, &place);
        if (status < 0)
            fail(pin, status);
    }
    hfpy_stored_key_clear(&key);
    return status < 0 ? -1 : status;
}

/* The value, or NULL without an exception. */
static PyObject *lookup(CaskSnapshot *self, PyObject *key)
{
    hf_record_out record;

    if (find(self, key, true, &record) <= 0)
        return NULL;
    return hfpy_cask_take(self->state, record.in.value, self->flags, NULL);
}

static PyObject *snapshot_subscript(PyObject *self, PyObject *key)
{
    PyObject *value = lookup((CaskSnapshot *)self, key);

    return value == NULL && !PyErr_Occurred() ? hfpy_key_error(key) : value;
}

static int snapshot_contains(PyObject *self, PyObject *key)
{
    hf_record_out record;

    return find((CaskSnapshot *)self, key, false, &record);
}

static PyObject *snapshot_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *given[2];

    if (hfpy_fast_arguments(&hfpy_signature_get, args, count, names, given) < 0)
        return NULL;
    PyObject *value = lookup((CaskSnapshot *)self, given[0]);
    return value == NULL && !PyErr_Occurred() ? Py_NewRef(given[1] == NULL ? Py_None : given[1]) : value;
}

typedef struct counting {
    hf_cask_snapshot *snapshot;
    uint64_t count;
} counting;

static int call_count(hf_cask *cask, void *arg)
{
    counting *it = arg;

    return hf_cask_snapshot_count(it->snapshot, &it->count);
}

static Py_ssize_t snapshot_length(PyObject *object)
{
    CaskSnapshot *self = (CaskSnapshot *)object;
    hfpy_cask_pin *pin = pin_of(self);
    counting it = {pin == NULL ? NULL : alive(pin), 0};

    if (it.snapshot == NULL)
        return -1;
    hfpy_cask_pin_keep(pin);
    int status = hfpy_cask_run(pin->handle, call_count, &it);
    if (status < 0)
        fail(pin, status);
    hfpy_cask_pin_drop(pin);
    return status < 0 ? -1 : (Py_ssize_t)it.count;
}

/* Not how many keys: where some expire, they would all be looked at. */
static int snapshot_bool(PyObject *object)
{
    CaskSnapshot *self = (CaskSnapshot *)object;
    hfpy_cask_pin *pin = pin_of(self);
    hf_cask_snapshot *snapshot = pin == NULL ? NULL : alive(pin);
    hf_record_out record;
    hf_cask_walk walk;
    uint64_t place;

    if (snapshot == NULL)
        return -1;
    hf_cask_walk_begin(&walk, snapshot, false);
    int status = hf_cask_walk_next(&walk, &record, &place);
    return status < 0 ? fail(pin, status) : status;
}

static PyObject *iterate_snapshot(PyObject *object, enum hfpy_cask_kind kind)
{
    hfpy_cask_pin *pin = pin_of((CaskSnapshot *)object);

    return pin == NULL ? NULL : iterate(pin, kind);
}

static PyObject *snapshot_iter(PyObject *self)
{
    return iterate_snapshot(self, HFPY_CASK_KEYS);
}

static PyObject *iter_values(PyObject *self, PyObject *unused)
{
    return iterate_snapshot(self, HFPY_CASK_VALUES);
}

static PyObject *iter_items(PyObject *self, PyObject *unused)
{
    return iterate_snapshot(self, HFPY_CASK_ITEMS);
}

static PyObject *iter_records(PyObject *self, PyObject *unused)
{
    return iterate_snapshot(self, HFPY_CASK_RECORDS);
}

/* -- the object -- */

static PyObject *snapshot_close(PyObject *object, PyObject *unused)
{
    CaskSnapshot *self = (CaskSnapshot *)object;
    hfpy_cask_pin *pin = self->pin;

    self->pin = NULL;
    hfpy_cask_pin_drop(pin);
    Py_RETURN_NONE;
}

static PyObject *snapshot_path(PyObject *self, void *unused)
{
    return Py_NewRef(((CaskSnapshot *)self)->path);
}

static PyObject *snapshot_is_closed(PyObject *object, void *unused)
{
    const hfpy_cask_pin *pin = ((CaskSnapshot *)object)->pin;

    return PyBool_FromLong(pin == NULL || pin->snapshot == NULL || pin->handle->closing);
}

static int snapshot_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void snapshot_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    CaskSnapshot *self = (CaskSnapshot *)object;

    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    hfpy_cask_pin_drop(self->pin);
    Py_XDECREF(self->path);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *snapshot_repr(PyObject *object)
{
    CaskSnapshot *self = (CaskSnapshot *)object;
    const hfpy_cask_pin *pin = self->pin;

    return PyUnicode_FromFormat("<CaskSnapshot of %R%s>", self->path,
                                pin == NULL || pin->snapshot == NULL || pin->handle->closing ? ": closed" : "");
}

static PyMethodDef snapshot_methods[] = {
    {"get", (PyCFunction)(void (*)(void))snapshot_get, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($self, key, /, default=None)\n--\n\nThe value of the key, a fresh object; or the default.")},
    {"close", snapshot_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Let go of it: log files that it alone needs can be removed. Twice does nothing.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("See PEP 585.")},
    {"__holdfast_items__", iter_items, METH_NOARGS, NULL},
    {"_iter_records", iter_records, METH_NOARGS, NULL},
    {"_iter_values", iter_values, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef snapshot_getset[] = {
    {"path", snapshot_path, NULL, PyDoc_STR("The path of the cask's folder, as it was given."), NULL},
    {"closed", snapshot_is_closed, NULL, PyDoc_STR("Whether it, or its cask, has been closed."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef snapshot_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CaskSnapshot, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot snapshot_slots[] = {
    {Py_tp_dealloc, snapshot_dealloc},
    {Py_tp_traverse, snapshot_traverse},
    {Py_tp_repr, snapshot_repr},
    {Py_tp_iter, snapshot_iter},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_mp_subscript, snapshot_subscript},
    {Py_mp_length, snapshot_length},
    {Py_sq_contains, snapshot_contains},
    {Py_nb_bool, snapshot_bool},
    {Py_tp_methods, snapshot_methods},
    {Py_tp_getset, snapshot_getset},
    {Py_tp_members, snapshot_members},
    {0, NULL},
};

PyType_Spec hfpy_cask_snapshot_spec = {
    .name = "holdfast._homes.CaskSnapshotCore",
    .basicsize = sizeof(CaskSnapshot),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MAPPING |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = snapshot_slots,
};
