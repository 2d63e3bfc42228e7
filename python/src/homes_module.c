/* homes_module.c: holdfast._homes: its state, its initialisation, its functions. See homes.h. */
#include "compat.h"
#include "homes.h"

#include "base/fault.h"

/* -- values, for tests -- */

static int flags_of(int pickle, int key)
{
    return (pickle ? HFPY_PICKLE : 0) | (key ? HFPY_AS_KEY : 0);
}

PyDoc_STRVAR(encode_doc, "encode(obj, /, *, pickle=False, key=False)\n--\n\n"
                         "The bytes that an object is stored as. Private: for tests.");

static PyObject *homes_encode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "pickle", "key", NULL};
    PyObject *object, *made = NULL;
    int pickle = 0, key = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pp:encode", keywords, &object, &pickle, &key))
        return NULL;
    hf_buffer out;
    uint8_t room[256];
    hf_buffer_init(&out, room, sizeof room, SIZE_MAX);
    if (hfpy_encode(hfpy_homes_state(module), object, (unsigned)flags_of(pickle, key), &out) == 0)
        made = PyBytes_FromStringAndSize((const char *)out.bytes, (Py_ssize_t)out.size);
    hf_buffer_clear(&out);
    return made;
}

PyDoc_STRVAR(decode_doc, "decode(data, /, *, pickle=False)\n--\n\n"
                         "The object that encode() made the bytes of. Private: for tests.");

static PyObject *homes_decode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "pickle", NULL};
    Py_buffer data;
    int pickle = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|$p:decode", keywords, &data, &pickle))
        return NULL;
    PyObject *made = hfpy_decode(hfpy_homes_state(module), data.buf, (size_t)data.len, (unsigned)flags_of(pickle, 0));
    PyBuffer_Release(&data);
    return made;
}

PyDoc_STRVAR(canonical_doc, "canonical(key, /, *, pickle=False)\n--\n\n"
                            "The bytes that are equal where keys are. Private: for tests.");

static PyObject *homes_canonical(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "pickle", NULL};
    PyObject *object;
    int pickle = 0;
    struct hfpy_key key;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p:canonical", keywords, &object, &pickle) ||
        hfpy_key(hfpy_homes_state(module), object, (unsigned)flags_of(pickle, 0), &key) < 0)
        return NULL;
    PyObject *made = PyBytes_FromStringAndSize((const char *)key.canonical.bytes, (Py_ssize_t)key.canonical.size);
    hfpy_key_clear(&key);
    return made;
}

PyDoc_STRVAR(fail_doc,
             "fail(n, /)\n--\n\n"
             "Let the n-th allocation or OS call of the core from now on fail; 0: none. Returns how many have\n"
             "failed since the last call. Private: for tests.");

static PyObject *homes_fail(PyObject *module, PyObject *number)
{
    unsigned long long n = PyLong_AsUnsignedLongLong(number);
    if (n == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
    hf_fault_disarm();
    if (n > 0)
        hf_fault_arm(HF_FAULT_ANY, n, ENOMEM);
    return PyLong_FromUnsignedLongLong(failed);
}

/* -- the module -- */

#define WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"encode", WITH_KEYWORDS(homes_encode), METH_VARARGS | METH_KEYWORDS, encode_doc},
    {"decode", WITH_KEYWORDS(homes_decode), METH_VARARGS | METH_KEYWORDS, decode_doc},
    {"canonical", WITH_KEYWORDS(homes_canonical), METH_VARARGS | METH_KEYWORDS, canonical_doc},
    {"fail", homes_fail, METH_O, fail_doc},
    {"cask_salvage", hfpy_cask_salvage, METH_VARARGS, NULL},
    {"shared_list", hfpy_shared_list, METH_NOARGS, NULL},
    {"shared_unlink", hfpy_shared_unlink_name, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* register_codec is the package's: it says so. */
static PyMethodDef register_codec = {"register_codec", WITH_KEYWORDS(hfpy_register_codec),
                                     METH_VARARGS | METH_KEYWORDS, hfpy_register_codec_doc};

static int add_function(PyObject *module, PyMethodDef *definition)
{
    PyObject *home = PyUnicode_FromString("holdfast");
    PyObject *function = home == NULL ? NULL : PyCFunction_NewEx(definition, module, home);
    int status = function == NULL ? -1 : PyModule_AddObjectRef(module, definition->ml_name, function);
    Py_XDECREF(home);
    Py_XDECREF(function);
    return status;
}

static int module_exec(PyObject *module)
{
    homes_state *state = hfpy_homes_state(module);
    if (hfpy_errors_exec(module, state) < 0 || hfpy_values_exec(module, state) < 0 ||
        hfpy_shared_exec(module, state) < 0 || hfpy_cask_exec(module, state) < 0)
        return -1;
    return add_function(module, &register_codec);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    homes_state *state = hfpy_homes_state(module);
    Py_VISIT(state->base_error);
    for (size_t i = 0; i < HFPY_ERROR_COUNT; i++)
        Py_VISIT(state->errors[i]);
    int status = hfpy_values_traverse(&state->values, visit, arg);
    if (status == 0)
        status = hfpy_shared_traverse(&state->shared, visit, arg);
    return status != 0 ? status : hfpy_cask_traverse(&state->cask, visit, arg);
}

static int module_clear(PyObject *module)
{
    hfpy_values_clear(&hfpy_homes_state(module)->values);
    hfpy_shared_state_clear(&hfpy_homes_state(module)->shared);
    hfpy_cask_state_clear(&hfpy_homes_state(module)->cask);
    return 0;
}

static void module_free(void *module)
{
    homes_state *state = hfpy_homes_state(module);
    Py_CLEAR(state->base_error);
    for (size_t i = 0; i < HFPY_ERROR_COUNT; i++)
        Py_CLEAR(state->errors[i]);
    hfpy_values_free(&state->values);
    hfpy_shared_state_clear(&state->shared);
    hfpy_cask_state_clear(&state->cask);
}

/* clang-format off */
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    HFPY_SLOT_INTERPRETERS
    HFPY_SLOT_GIL
    {0, NULL},
};
/* clang-format on */

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._homes",
    .m_doc = "What holdfast stores in memory that processes share, and in files. Import holdfast instead.",
    .m_size = sizeof(homes_state),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyObject *hfpy_homes_module(PyTypeObject *type)
{
    return PyType_GetModuleByDef(type, &module_definition);
}

PyMODINIT_FUNC PyInit__homes(void);

PyMODINIT_FUNC PyInit__homes(void)
{
    return PyModuleDef_Init(&module_definition);
}
