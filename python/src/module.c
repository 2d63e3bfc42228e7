/* module.c: the extension module: its state, its initialisation, its functions. See core.h. */
#include "trie.h"

#include "base/cpu.h"
#include "holdfast/version.h"

/* Everything in the state, for traverse and clear. */
/* clang-format off */
#define STATE_OBJECTS(X) \
    X(node_type) X(tracked_node_type) X(map_type) X(transient_type) X(view_types[0]) X(view_types[1]) \
    X(view_types[2]) X(iterator_type) X(missing_type) X(pickled_type) X(change_type) X(conflict) X(missing) \
    X(empty_map) X(load_map) X(load_node) X(mapping_abc) X(set_abc) X(empty_tuple) X(str_keys) X(str_versioned)
/* clang-format on */

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *state = PyModule_GetState(module);
#define VISIT(member) Py_VISIT(state->member);
    STATE_OBJECTS(VISIT)
#undef VISIT
    return 0;
}

static int module_clear(PyObject *module)
{
    core_state *state = PyModule_GetState(module);
#define CLEAR(member) Py_CLEAR(state->member);
    STATE_OBJECTS(CLEAR)
#undef CLEAR
    hfpy_pending_clear_spare(state);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

/* Makes issubclass(type, collections.abc.<name>) true. */
static int register_abc(PyObject *abc, const char *name, PyTypeObject *type)
{
    PyObject *class = PyObject_GetAttrString(abc, name);
    PyObject *result = class == NULL ? NULL : PyObject_CallMethod(class, "register", "O", type);
    Py_XDECREF(class);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int register_abcs(core_state *state)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    if (abc == NULL)
        return -1;
    state->mapping_abc = PyObject_GetAttrString(abc, "Mapping");
    state->set_abc = PyObject_GetAttrString(abc, "Set");
    int status = state->mapping_abc == NULL || state->set_abc == NULL ||
                         register_abc(abc, "Mapping", state->map_type) < 0 ||
                         register_abc(abc, "MutableMapping", state->transient_type) < 0 ||
                         register_abc(abc, "KeysView", state->view_types[VIEW_KEYS]) < 0 ||
                         register_abc(abc, "ValuesView", state->view_types[VIEW_VALUES]) < 0 ||
                         register_abc(abc, "ItemsView", state->view_types[VIEW_ITEMS]) < 0 ||
                         register_abc(abc, "Iterator", state->iterator_type) < 0
                     ? -1
                     : 0;
    Py_DECREF(abc);
    return status;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

PyObject *hfpy_add_function(PyObject *module, PyMethodDef *definition, const char *home)
{
    PyObject *name = PyUnicode_FromString(home);
    PyObject *function = name == NULL ? NULL : PyCFunction_NewEx(definition, module, name);
    Py_XDECREF(name);
    if (function != NULL && PyModule_AddObjectRef(module, definition->ml_name, function) < 0)
        Py_CLEAR(function);
    return function;
}

static PyMethodDef footprint_definition = {
    "footprint", (PyCFunction)(void (*)(void))hfpy_footprint, METH_FASTCALL,
    PyDoc_STR("footprint(*maps)\n--\n\n"
              "Bytes of these Maps and of all their nodes, a shared node counted once; keys and values are not\n"
              "counted.")};

static int module_exec(PyObject *module)
{
    core_state *state = PyModule_GetState(module);
    state->empty_tuple = PyTuple_New(0);
    state->str_keys = PyUnicode_InternFromString("keys");
    state->str_versioned = PyUnicode_InternFromString("__holdfast_items__");
    if (state->empty_tuple == NULL || state->str_keys == NULL || state->str_versioned == NULL)
        return -1;
    if (hfpy_trie_exec(module, state) < 0 || add_type(module, &hfpy_map_spec, &state->map_type) < 0 ||
        add_type(module, &hfpy_transient_spec, &state->transient_type) < 0 || hfpy_views_exec(module, state) < 0 ||
        hfpy_iterator_exec(module, state) < 0 || hfpy_versions_exec(module, state) < 0 ||
        hfpy_pickle_exec(module, state) < 0 || register_abcs(state) < 0)
        return -1;
    state->empty_map = hfpy_map_wrap(state, NULL, 0);
    if (state->empty_map != NULL)
        PyObject_GC_Track(state->empty_map); /* it is part of a cycle: its type, the module, the state */
    PyObject *footprint = hfpy_add_function(module, &footprint_definition, "holdfast");
    Py_XDECREF(footprint);
    if (state->empty_map == NULL || footprint == NULL ||
        PyModule_AddStringConstant(module, "__version__", HF_VERSION) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "cpu_level", hf_cpu_level_name(hf_cpu_level()));
}

/* clang-format off */
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    HFPY_SLOT_INTERPRETERS
    HFPY_SLOT_GIL
    {0, NULL},
};
/* clang-format on */

/* The name that the CPU level gives to the module and its initialiser: _core_portable, _core_popcnt. */
#define LEVEL_STRING_(level) #level
#define LEVEL_STRING(level) LEVEL_STRING_(level)

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._core_" LEVEL_STRING(HF_CPU_LEVEL),
    .m_doc = "The C core of holdfast, compiled for one CPU level. Import holdfast instead.",
    .m_size = sizeof(core_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC HF_CPU_NAME(PyInit__core)(void);

PyMODINIT_FUNC HF_CPU_NAME(PyInit__core)(void)
{
    return PyModuleDef_Init(&module_definition);
}
