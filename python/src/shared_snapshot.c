/*
 * shared_snapshot.c: SharedSnapshot, a version of a SharedMap that never changes: looking up, differences.
 *
 *      SharedSnapshot --> pin --> version of the region          iterators count in the pin too
 *
 * holdfast.SharedSnapshot is a subclass in Python with what is seldom called.
 *
 * Concurrency: the GIL. A pin outlives the close() of its SharedMap, and that of the snapshot where something is
 * under way. Failure: after a fork a snapshot that the child could not take over says LostError.
 */
#include "shared_key.h"

typedef struct SharedSnapshot {
    PyObject_HEAD
    homes_state *state;
    hfpy_pin *pin; /* NULL: closed */
    PyObject *name;
    PyObject *weakrefs;
    unsigned flags;
} SharedSnapshot;

PyObject *hfpy_shared_snapshot_new(SharedMap *map, PyObject *type)
{
    PyTypeObject *base = map->state->shared.snapshot_type;

    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, base)) {
        PyErr_SetString(PyExc_TypeError, "_snapshot() needs a class of snapshots");
        return NULL;
    }
    hfpy_pin *pin = hfpy_pin_new(map);
    if (pin == NULL)
        return NULL;
    SharedSnapshot *self = (SharedSnapshot *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (self == NULL) {
        hfpy_pin_drop(pin);
        return NULL;
    }
    self->state = map->state;
    self->pin = pin;
    self->name = Py_NewRef(map->name);
    self->flags = map->flags;
    return (PyObject *)self;
}

static hfpy_pin *pin_of(SharedSnapshot *self)
{
    if (self->pin == NULL)
        hfpy_throw(self->state, HFPY_CLOSED, "operation on closed snapshot of SharedMap %R", self->name);
    return self->pin;
}

static int fail(SharedSnapshot *self, int status)
{
    if (status == HF_LOST)
        return hfpy_fail(self->state, status, "this snapshot of SharedMap %R did not survive a fork", self->name);
    return hfpy_shared_fail_named(self->state, self->name, NULL, -1, status);
}

/* -- looking up -- */

/* 1 and bytes that are there as long as *pin, which is counted; 0; -1 with an exception. */
static int find(SharedSnapshot *self, PyObject *key_object, hfpy_pin **pin, hf_span *value)
{
    hfpy_shared_key key;
    int status = HF_FOREIGN;

    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    *pin = pin_of(self);
    if (*pin != NULL) {
        hfpy_shared_key_hash(&key, (*pin)->handle->map);
        status = hf_view_get(hfpy_pin_view(*pin), HF_SHARED_ENTRIES, &key.shared.key, value);
        if (status > 0)
            hfpy_pin_keep(*pin);
    }
    hfpy_shared_key_clear(&key);
    return status < 0 ? fail(self, status) : status;
}

/* The value, or NULL without an exception. */
static PyObject *lookup(SharedSnapshot *self, PyObject *key)
{
    hfpy_pin *pin = NULL;
    hf_span value = {NULL, 0};

    if (find(self, key, &pin, &value) <= 0)
        return NULL;
    PyObject *object = hfpy_stored_decode(self->state, value, self->flags);
    hfpy_pin_drop(pin);
    return object;
}

static PyObject *snapshot_subscript(PyObject *self, PyObject *key)
{
    PyObject *value = lookup((SharedSnapshot *)self, key);

    return value == NULL && !PyErr_Occurred() ? hfpy_key_error(key) : value;
}

static int snapshot_contains(PyObject *self, PyObject *key)
{
    hfpy_pin *pin = NULL;
    hf_span value = {NULL, 0};
    int found = find((SharedSnapshot *)self, key, &pin, &value);

    if (found > 0)
        hfpy_pin_drop(pin);
    return found;
}

static PyObject *snapshot_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *fallback = Py_None;

    if (hfpy_fast_two("get", args, count, names, "default", &fallback) < 0)
        return NULL;
    PyObject *value = lookup((SharedSnapshot *)self, args[0]);
    return value == NULL && !PyErr_Occurred() ? Py_NewRef(fallback) : value;
}

static Py_ssize_t snapshot_length(PyObject *object)
{
    SharedSnapshot *self = (SharedSnapshot *)object;
    hfpy_pin *pin = pin_of(self);
    uint64_t size = 0;

    if (pin == NULL)
        return -1;
    int status = hf_view_size(hfpy_pin_view(pin), HF_SHARED_ENTRIES, &size);
    return status < 0 ? fail(self, status) : (Py_ssize_t)size;
}

/* -- walking -- */

static PyObject *iterate(PyObject *object, enum hfpy_shared_kind kind)
{
    SharedSnapshot *self = (SharedSnapshot *)object;
    hfpy_pin *pin = pin_of(self);

    return pin == NULL ? NULL : hfpy_shared_iterate(self->state, self->name, self->flags, pin, kind);
}

static PyObject *snapshot_iter(PyObject *self)
{
    return iterate(self, HFPY_KEYS);
}

static PyObject *iter_values(PyObject *self, PyObject *unused)
{
    return iterate(self, HFPY_VALUES);
}

static PyObject *iter_items(PyObject *self, PyObject *unused)
{
    return iterate(self, HFPY_ITEMS);
}

/* -- differences -- */

typedef struct differing {
    SharedSnapshot *self;
    const hf_view *from, *to;
    PyObject *changes;
} differing;

/* The object of bytes, or MISSING. New reference. */
static PyObject *side_of(const SharedSnapshot *self, const hf_span *value)
{
    return value == NULL ? Py_NewRef(self->state->shared.missing)
                         : hfpy_stored_decode(self->state, *value, self->flags);
}

static int differs(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    differing *it = arg;
    homes_state *state = it->self->state;
    hf_span given;
    int status = hf_shared_key_given(from != NULL ? it->from : it->to, key, &given);

    if (status < 0)
        return status;
    PyObject *change = NULL, *name = hfpy_stored_decode(state, given, it->self->flags);
    PyObject *old = name == NULL ? NULL : side_of(it->self, from), *new = old == NULL ? NULL : side_of(it->self, to);
    if (new != NULL)
        change = PyObject_CallFunctionObjArgs(state->shared.change_type, name, old, new, NULL);
    status = change == NULL ? -1 : PyList_Append(it->changes, change);
    Py_XDECREF(name);
    Py_XDECREF(old);
    Py_XDECREF(new);
    Py_XDECREF(change);
    return status < 0 ? HF_FOREIGN : 0;
}

static PyObject *snapshot_diff(PyObject *object, PyObject *other)
{
    SharedSnapshot *self = (SharedSnapshot *)object;

    if (!PyObject_TypeCheck(other, self->state->shared.snapshot_type)) {
        PyErr_Format(PyExc_TypeError, "diff() needs a snapshot of a SharedMap, not '%s'", Py_TYPE(other)->tp_name);
        return NULL;
    }
    hfpy_pin *from = pin_of(self), *to = from == NULL ? NULL : pin_of((SharedSnapshot *)other);
    if (to == NULL)
        return NULL;
    if (memcmp(from->handle->map->inode, to->handle->map->inode, sizeof from->handle->map->inode) != 0) {
        PyErr_Format(PyExc_ValueError, "diff() needs two snapshots of one map, and these are of %R and %R",
                     self->name, ((SharedSnapshot *)other)->name);
        return NULL;
    }
    hfpy_pin_keep(from);
    hfpy_pin_keep(to);
    differing it = {self, hfpy_pin_view(from), hfpy_pin_view(to), PyList_New(0)};
    int status = it.changes == NULL ? HF_FOREIGN : hf_view_diff(it.from, it.to, HF_SHARED_ENTRIES, differs, &it);
    if (status < 0) {
        fail(self, status);
        Py_CLEAR(it.changes);
    }
    hfpy_pin_drop(from);
    hfpy_pin_drop(to);
    return it.changes;
}

/* -- the object -- */

static PyObject *snapshot_close(PyObject *object, PyObject *unused)
{
    SharedSnapshot *self = (SharedSnapshot *)object;
    hfpy_pin *pin = self->pin;

    self->pin = NULL;
    hfpy_pin_drop(pin);
    Py_RETURN_NONE;
}

static PyObject *snapshot_version(PyObject *object, void *unused)
{
    hfpy_pin *pin = pin_of((SharedSnapshot *)object);

    return pin == NULL ? NULL : PyLong_FromUnsignedLongLong(hf_view_txid(hfpy_pin_view(pin)));
}

static PyObject *snapshot_name(PyObject *self, void *unused)
{
    return Py_NewRef(((SharedSnapshot *)self)->name);
}

static PyObject *snapshot_is_closed(PyObject *self, void *unused)
{
    return PyBool_FromLong(((SharedSnapshot *)self)->pin == NULL);
}

static int snapshot_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void snapshot_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    SharedSnapshot *self = (SharedSnapshot *)object;

    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    hfpy_pin_drop(self->pin);
    Py_XDECREF(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *snapshot_repr(PyObject *object)
{
    SharedSnapshot *self = (SharedSnapshot *)object;

    if (self->pin == NULL)
        return PyUnicode_FromFormat("<SharedSnapshot of %R: closed>", self->name);
    Py_ssize_t size = snapshot_length(object);
    if (size < 0)
        return NULL;
    return PyUnicode_FromFormat("<SharedSnapshot of %R: %zd %s>", self->name, size, size == 1 ? "entry" : "entries");
}

static PyMethodDef snapshot_methods[] = {
    {"get", (PyCFunction)(void (*)(void))snapshot_get, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($self, key, /, default=None)\n--\n\nThe value of the key, a fresh object; or the default.")},
    {"diff", snapshot_diff, METH_O,
     PyDoc_STR("diff($self, other, /)\n--\n\n"
               "What changed from this snapshot to the other one of the same map: a list of Change(key, old, new),\n"
               "MISSING where there is nothing. Costs what differs, not what is stored. Values are the same if they\n"
               "are stored as the same bytes.")},
    {"close", snapshot_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nLet go of the version, whose memory can be used again. Twice does nothing.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("See PEP 585.")},
    {"_iter_values", iter_values, METH_NOARGS, NULL},
    {"__holdfast_items__", iter_items, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef snapshot_getset[] = {
    {"version", snapshot_version, NULL, PyDoc_STR("The number of the version: it grows with each change."), NULL},
    {"name", snapshot_name, NULL, PyDoc_STR("The name of the map."), NULL},
    {"closed", snapshot_is_closed, NULL, PyDoc_STR("Whether close() has been called."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef snapshot_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SharedSnapshot, weakrefs), READONLY, NULL},
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
    {Py_tp_methods, snapshot_methods},
    {Py_tp_getset, snapshot_getset},
    {Py_tp_members, snapshot_members},
    {0, NULL},
};

PyType_Spec hfpy_shared_snapshot_spec = {
    .name = "holdfast._homes.SharedSnapshotCore",
    .basicsize = sizeof(SharedSnapshot),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MAPPING |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = snapshot_slots,
};
