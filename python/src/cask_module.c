/*
 * cask_module.c: what Cask adds to the module: its types.
 *
 * Concurrency: the GIL. Failure: as cask_impl.h says.
 */
#include "cask_impl.h"

/* clang-format off */
#define CASK_TYPES(X) \
    X(map_type, hfpy_cask_spec) X(snapshot_type, hfpy_cask_snapshot_spec) \
    X(iterator_type, hfpy_cask_iterator_spec) X(batch_type, hfpy_cask_batch_spec)
/* clang-format on */

int hfpy_cask_traverse(hfpy_cask_state *cask, visitproc visit, void *arg)
{
#define VISIT(member, spec) Py_VISIT(cask->member);
    CASK_TYPES(VISIT)
#undef VISIT
    return 0;
}

void hfpy_cask_state_clear(hfpy_cask_state *cask)
{
#define CLEAR(member, spec) Py_CLEAR(cask->member);
    CASK_TYPES(CLEAR)
#undef CLEAR
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out == NULL ? -1 : PyModule_AddType(module, *out);
}

int hfpy_cask_exec(PyObject *module, homes_state *state)
{
#define ADD(member, spec)                                   \
    if (add_type(module, &(spec), &state->cask.member) < 0) \
        return -1;
    CASK_TYPES(ADD)
#undef ADD
    return 0;
}
