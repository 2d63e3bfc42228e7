/*
 * shared_module.c: what SharedMap adds to the module: its types, and what is said of maps that nobody has open.
 *
 * Concurrency: the GIL, which is given up while /dev/shm is looked through. Failure: as shared_impl.h says.
 */
#include "shared_impl.h"

/* clang-format off */
#define SHARED_OBJECTS(X) \
    X(map_type) X(snapshot_type) X(iterator_type) X(transaction_type) X(missing) X(change_type) X(str_keys)
/* clang-format on */

int hfpy_shared_traverse(hfpy_shared_state *shared, visitproc visit, void *arg)
{
#define VISIT(member) Py_VISIT(shared->member);
    SHARED_OBJECTS(VISIT)
#undef VISIT
    return 0;
}

void hfpy_shared_state_clear(hfpy_shared_state *shared)
{
#define CLEAR(member) Py_CLEAR(shared->member);
    SHARED_OBJECTS(CLEAR)
#undef CLEAR
}

/* Under a name of the module's: the type itself has that of the class in Python which users see, since it is in what
 * CPython says of wrong arguments. */
static int add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out == NULL ? -1 : PyModule_AddObjectRef(module, name, (PyObject *)*out);
}

int hfpy_shared_exec(PyObject *module, homes_state *state)
{
    hfpy_shared_state *shared = &state->shared;
    PyObject *core = PyImport_ImportModule("holdfast._core");

    if (core == NULL)
        return -1;
    shared->missing = PyObject_GetAttrString(core, "MISSING");
    shared->change_type = PyObject_GetAttrString(core, "Change");
    shared->str_keys = PyUnicode_InternFromString("keys");
    Py_DECREF(core);
    if (shared->missing == NULL || shared->change_type == NULL || shared->str_keys == NULL)
        return -1;
    if (add_type(module, "SharedMapCore", &hfpy_shared_map_spec, &shared->map_type) < 0 ||
        add_type(module, "SharedSnapshotCore", &hfpy_shared_snapshot_spec, &shared->snapshot_type) < 0 ||
        add_type(module, "SharedIterator", &hfpy_shared_iterator_spec, &shared->iterator_type) < 0 ||
        add_type(module, "SharedTransaction", &hfpy_transaction_spec, &shared->transaction_type) < 0)
        return -1;
    return 0;
}

/* -- maps by their names -- */

/* Keeps it until the GIL is there again: its info, and the name with its NUL. */
static int visit_one(void *arg, const hf_shared_info *info)
{
    hf_buffer *out = arg;
    size_t size = strlen(info->name) + 1;
    int status = hf_buffer_reserve(out, sizeof *info + size);

    if (status == 0) {
        hf_buffer_put(out, info, sizeof *info);
        hf_buffer_put(out, info->name, size);
    }
    return status;
}

/* (name, size, owner, permissions, created, whether it is open). */
static PyObject *describe(const hf_shared_info *info, const char *name)
{
    PyObject *text = PyUnicode_DecodeFSDefault(name);

    return text == NULL ? NULL
                        : Py_BuildValue("(NKIILN)", text, (unsigned long long)info->size, info->owner,
                                        info->permissions, (long long)info->created, PyBool_FromLong(info->is_open));
}

static PyObject *describe_all(const hf_buffer *entries)
{
    PyObject *list = PyList_New(0);
    hf_shared_info info;

    for (size_t at = 0; list != NULL && at < entries->size;) {
        const char *name = (const char *)entries->bytes + at + sizeof info;
        memcpy(&info, entries->bytes + at, sizeof info);
        at += sizeof info + strlen(name) + 1;
        PyObject *one = describe(&info, name);
        if (one == NULL || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

PyObject *hfpy_shared_list(PyObject *module, PyObject *unused)
{
    PyObject *list = NULL;
    hf_buffer entries;
    int status;

    hf_buffer_init(&entries, NULL, 0, SIZE_MAX);
    Py_BEGIN_ALLOW_THREADS;
    status = hf_shared_list(visit_one, &entries);
    Py_END_ALLOW_THREADS;
    if (status < 0)
        hfpy_fail(hfpy_homes_state(module), status, NULL);
    else
        list = describe_all(&entries);
    hf_buffer_clear(&entries);
    return list;
}

PyObject *hfpy_shared_unlink_name(PyObject *module, PyObject *name)
{
    homes_state *state = hfpy_homes_state(module);
    PyObject *bytes = hfpy_shared_name(state, name);

    if (bytes == NULL)
        return NULL;
    int status = hf_shared_unlink(PyBytes_AS_STRING(bytes));
    Py_DECREF(bytes);
    if (status == HF_ABSENT)
        hfpy_fail(state, status, "there is no SharedMap %R", name);
    else if (status == HF_DENIED)
        hfpy_fail(state, status, "SharedMap %R is another user's to unlink", name);
    else if (status < 0)
        hfpy_shared_fail_named(state, name, NULL, -1, status);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}
