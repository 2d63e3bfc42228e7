/* cpu_module.c: holdfast._cpu, which says which build of the core fits the processor. See base/cpu.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "compat.h"

#include "base/cpu.h"

static int cpu_exec(PyObject *module)
{
    return PyModule_AddStringConstant(module, "level", hf_cpu_level_name(hf_cpu_level()));
}

static PyModuleDef_Slot cpu_slots[] = {
    {Py_mod_exec, cpu_exec},
    HFPY_SLOT_INTERPRETERS HFPY_SLOT_GIL{0, NULL},
};

static PyModuleDef cpu_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._cpu",
    .m_doc = "level: the CPU level of this processor, \"portable\" or \"popcnt\".",
    .m_slots = cpu_slots,
};

PyMODINIT_FUNC PyInit__cpu(void);

PyMODINIT_FUNC PyInit__cpu(void)
{
    return PyModuleDef_Init(&cpu_definition);
}
