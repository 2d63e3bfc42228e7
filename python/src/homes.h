/*
 * homes.h: what the files of holdfast._homes share: the module's state.
 *
 * The extension holds everything that stands on regions: what is stored as bytes in memory that processes share, or
 * in files. It keeps no global state: exceptions, types and registered codecs live in the module, so that it can be
 * loaded in several interpreters at once. Unlike the core with the trie of Python objects it is compiled once: its
 * trie is the region's.
 *
 *      errors.h    exceptions
 *      value.h     objects as encoded values and back, keys, codecs
 */
#ifndef HFPY_HOMES_H
#define HFPY_HOMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "errors.h"
#include "value.h"

struct homes_state {
    PyObject *base_error;               /* HoldfastError */
    PyObject *errors[HFPY_ERROR_COUNT]; /* by enum hfpy_error */
    hfpy_values values;
};

static inline homes_state *hfpy_homes_state(PyObject *module)
{
    return (homes_state *)PyModule_GetState(module);
}

#endif
