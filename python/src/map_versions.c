/*
 * map_versions.c: what lies between two versions, and how two of them become one: diff and merge3.
 *
 * Both are walks of trie_algebra.h and trie_merge3.h, with callbacks that speak Python: Change, MISSING, Conflict.
 */
#include "trie.h"

/* -- diff -- */

/* tuple.__new__(Change, (key, old, new)): what Change._make does, without a call into Python. */
static PyObject *change_new(core_state *state, PyObject *key, PyObject *old, PyObject *new)
{
    PyObject *args = PyTuple_New(1), *fields = args == NULL ? NULL : PyTuple_Pack(3, key, old, new);
    PyObject *change = NULL;
    if (fields != NULL) {
        PyTuple_SET_ITEM(args, 0, fields);
        change = PyTuple_Type.tp_new(state->change_type, args, NULL);
    }
    Py_XDECREF(args);
    return change;
}

static int append_change(trie_ctx *ctx, PyObject *list, PyObject *key, PyObject *old, PyObject *new)
{
    PyObject *change = change_new(ctx->state, key, old, new);
    int status = change == NULL ? -1 : PyList_Append(list, change);
    Py_XDECREF(change);
    return status < 0 ? HF_FOREIGN : 0;
}

static int diff_both(trie_ctx *ctx, void *list, const trie_entry *left, const trie_entry *right, trie_entry *made)
{
    int same = PyObject_RichCompareBool(left->value, right->value, Py_EQ);
    int status = same < 0 ? HF_FOREIGN : same ? 0 : append_change(ctx, list, left->key, left->value, right->value);
    return status < 0 ? status : TRIE_TAKE_NONE;
}

static int diff_one(trie_ctx *ctx, void *list, trie_side side, const trie_entry *entry)
{
    PyObject *missing = ctx->state->missing;
    return side == TRIE_LEFT ? append_change(ctx, list, entry->key, entry->value, missing)
                             : append_change(ctx, list, entry->key, missing, entry->value);
}

static const trie_algebra diff_algebra = {
    .keep = {false, false}, .shared = TRIE_SHARED_OMIT, .counted = false, .both = diff_both, .one = diff_one};

PyObject *hfpy_map_diff(core_state *state, Map *from, Map *to)
{
    trie_ctx ctx = {.state = state};
    trie_link before, after, root;
    size_t count;
    if (hfpy_map_root(from, &before) < 0 || hfpy_map_root(to, &after) < 0)
        return NULL;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    int status = hfpy_trie_combine(&ctx, &diff_algebra, list, TRIE_NEITHER, before, (size_t)from->count, after,
                                   (size_t)to->count, &root, &count);
    if (status < 0) {
        hfpy_raise(status);
        Py_CLEAR(list);
    }
    return list;
}

/* -- merge3 -- */

typedef struct settlement {
    PyObject *resolve;   /* or NULL: */
    PyObject *conflicts; /* then a list of the keys in conflict */
} settlement;

static int settle(trie_ctx *ctx, void *arg, const trie_entry *base, const trie_entry *mine, const trie_entry *theirs,
                  trie_entry *made)
{
    settlement *how = arg;
    PyObject *missing = ctx->state->missing;
    PyObject *key = mine != NULL ? mine->key : theirs != NULL ? theirs->key : base->key;
    if (how->resolve == NULL)
        return PyList_Append(how->conflicts, key) < 0 ? HF_FOREIGN : TRIE_RESOLVE_MINE;
    PyObject *args[] = {key, base != NULL ? base->value : missing, mine != NULL ? mine->value : missing,
                        theirs != NULL ? theirs->value : missing};
    PyObject *value = PyObject_Vectorcall(how->resolve, args, 4, NULL);
    if (value == NULL)
        return HF_FOREIGN;
    if (value == missing || (mine != NULL && value == mine->value)) {
        int resolution = value == missing ? TRIE_RESOLVE_NONE : TRIE_RESOLVE_MINE;
        Py_DECREF(value);
        return resolution;
    }
    *made = (trie_entry){Py_NewRef(key), value};
    return TRIE_RESOLVE_NEW;
}

PyObject *hfpy_map_merge3(core_state *state, Map *base, Map *mine, Map *theirs, PyObject *resolve)
{
    trie_ctx ctx = {.state = state};
    Map *maps[] = {mine, theirs, base};
    trie_link roots[3], root;
    for (int i = 0; i < 3; i++)
        if (hfpy_map_root(maps[i], &roots[i]) < 0)
            return NULL;
    settlement how = {.resolve = resolve, .conflicts = PyList_New(0)};
    PyObject *result = NULL;
    ptrdiff_t delta;
    if (how.conflicts == NULL)
        return NULL;
    int status = hfpy_trie_merge3(&ctx, settle, &how, roots[2], roots[0], roots[1], &root, &delta);
    if (status < 0) {
        hfpy_raise(status);
    } else if (PyList_GET_SIZE(how.conflicts) > 0) {
        PyObject *keys = PyList_AsTuple(how.conflicts);
        if (keys != NULL) {
            PyObject *error = PyObject_CallOneArg(state->conflict, keys);
            if (error != NULL)
                PyErr_SetObject(state->conflict, error);
            Py_XDECREF(error);
            Py_DECREF(keys);
        }
        Py_XDECREF(root);
    } else {
        int same = 0;
        while (same < 3 && root != roots[same])
            same++;
        if (same == 3) {
            result = hfpy_map_wrap(state, root, mine->count + delta);
        } else {
            result = Py_NewRef((PyObject *)maps[same]);
            Py_XDECREF(root);
        }
    }
    Py_DECREF(how.conflicts);
    return result;
}

/* -- MISSING -- */

static PyObject *missing_repr(PyObject *self)
{
    return PyUnicode_FromString("holdfast.MISSING");
}

static PyObject *missing_self(PyObject *self, PyObject *unused)
{
    return Py_NewRef(self);
}

/* A string says: the global of this name. */
static PyObject *missing_reduce(PyObject *self, PyObject *unused)
{
    return PyUnicode_FromString("MISSING");
}

/* The collector has to see it: it is part of a cycle, with its type, the module and the state. */
static int missing_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void missing_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef missing_methods[] = {
    {"__copy__", missing_self, METH_NOARGS, NULL},
    {"__deepcopy__", missing_self, METH_O, NULL},
    {"__reduce__", missing_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot missing_slots[] = {
    {Py_tp_doc, "The class of MISSING, which stands for a value that is not there."},
    {Py_tp_repr, missing_repr},
    {Py_tp_dealloc, missing_dealloc},
    {Py_tp_traverse, missing_traverse},
    {Py_tp_methods, missing_methods},
    {0, NULL},
};

static PyType_Spec missing_spec = {
    .name = "holdfast.MissingType",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = missing_slots,
};

/* -- Conflict -- */

static PyObject *conflict_keys(PyObject *self, void *unused)
{
    PyObject *args = PyObject_GetAttrString(self, "args"), *keys = NULL;
    if (args != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0)
        keys = PySequence_Tuple(PyTuple_GET_ITEM(args, 0));
    else if (args != NULL)
        keys = PyTuple_New(0);
    Py_XDECREF(args);
    return keys;
}

enum { CONFLICT_SHOWN = 5 }; /* keys in the message */

static PyObject *conflict_str(PyObject *self)
{
    PyObject *keys = conflict_keys(self, NULL), *text = NULL;
    Py_ssize_t count = keys == NULL ? 0 : PyTuple_GET_SIZE(keys);
    PyObject *shown = keys == NULL ? NULL : PyTuple_GetSlice(keys, 0, CONFLICT_SHOWN);
    if (shown != NULL && count <= CONFLICT_SHOWN)
        text =
            PyUnicode_FromFormat("both sides changed %zd key%s differently: %R", count, count == 1 ? "" : "s", shown);
    else if (shown != NULL)
        text = PyUnicode_FromFormat("both sides changed %zd keys differently, %R and %zd more", count, shown,
                                    count - CONFLICT_SHOWN);
    Py_XDECREF(shown);
    Py_XDECREF(keys);
    return text;
}

static PyGetSetDef conflict_getset[] = {
    {"keys", conflict_keys, NULL, PyDoc_STR("A tuple of the keys in conflict."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot conflict_slots[] = {
    {Py_tp_doc, "Both sides of a merge changed a key, and not alike. `keys` has all such keys."},
    {Py_tp_str, conflict_str},
    {Py_tp_getset, conflict_getset},
    {0, NULL},
};

static PyType_Spec conflict_spec = {
    .name = "holdfast.Conflict",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = conflict_slots,
};

/* collections.namedtuple("Change", "key old new") */
static PyObject *make_change_type(void)
{
    PyObject *collections = PyImport_ImportModule("collections"), *type = NULL;
    if (collections != NULL)
        type = PyObject_CallMethod(collections, "namedtuple", "ss", "Change", "key old new");
    Py_XDECREF(collections);
    PyObject *module = type == NULL ? NULL : PyUnicode_FromString("holdfast");
    PyObject *doc = module == NULL
                        ? NULL
                        : PyUnicode_FromString("One difference between two Maps: key, old value, new value; "
                                               "MISSING for a value that is not there.");
    if (doc == NULL || PyObject_SetAttrString(type, "__module__", module) < 0 ||
        PyObject_SetAttrString(type, "__doc__", doc) < 0)
        Py_CLEAR(type);
    Py_XDECREF(module);
    Py_XDECREF(doc);
    return type;
}

int hfpy_versions_exec(PyObject *module, core_state *state)
{
    state->missing_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &missing_spec, NULL);
    if (state->missing_type == NULL)
        return -1;
    state->missing = state->missing_type->tp_alloc(state->missing_type, 0);
    state->conflict = PyType_FromModuleAndSpec(module, &conflict_spec, PyExc_ValueError);
    state->change_type = (PyTypeObject *)make_change_type();
    if (state->missing == NULL || state->conflict == NULL || state->change_type == NULL)
        return -1;
    if (PyModule_AddType(module, state->missing_type) < 0 ||
        PyModule_AddObjectRef(module, "MISSING", state->missing) < 0 ||
        PyModule_AddObjectRef(module, "Conflict", state->conflict) < 0 ||
        PyModule_AddObjectRef(module, "Change", (PyObject *)state->change_type) < 0)
        return -1;
    return 0;
}
