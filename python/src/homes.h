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
 *      shared_impl.h   SharedMap
 *      cask_impl.h     Cask
 */
#ifndef HFPY_HOMES_H
#define HFPY_HOMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "errors.h"
#include "value.h"

/* What SharedMap needs (shared_module.c). */
typedef struct hfpy_shared_state {
    PyTypeObject *map_type, *snapshot_type, *iterator_type, *transaction_type;
    PyObject *missing;     /* holdfast.MISSING */
    PyObject *change_type; /* holdfast.Change */
    PyObject *str_keys;    /* interned "keys" */
} hfpy_shared_state;

/* What Cask needs (cask_module.c). */
typedef struct hfpy_cask_state {
    PyTypeObject *map_type, *snapshot_type, *iterator_type, *batch_type;
} hfpy_cask_state;

struct homes_state {
    PyObject *base_error;               /* HoldfastError */
    PyObject *errors[HFPY_ERROR_COUNT]; /* by enum hfpy_error */
    hfpy_values values;
    hfpy_shared_state shared;
    hfpy_cask_state cask;
};

static inline homes_state *hfpy_homes_state(PyObject *module)
{
    return (homes_state *)PyModule_GetState(module);
}

/* The module of a type of ours, or of one that derives from it: borrowed. NULL with an exception. */
PyObject *hfpy_homes_module(PyTypeObject *type);

/* shared_module.c */
int hfpy_shared_exec(PyObject *module, homes_state *state);
int hfpy_shared_traverse(hfpy_shared_state *shared, visitproc visit, void *arg);
void hfpy_shared_state_clear(hfpy_shared_state *shared);
PyObject *hfpy_shared_list(PyObject *module, PyObject *unused);
PyObject *hfpy_shared_unlink_name(PyObject *module, PyObject *name);

/* cask_module.c, cask_look.c */
int hfpy_cask_exec(PyObject *module, homes_state *state);
int hfpy_cask_traverse(hfpy_cask_state *cask, visitproc visit, void *arg);
void hfpy_cask_state_clear(hfpy_cask_state *cask);
PyObject *hfpy_cask_salvage(PyObject *module, PyObject *args);

#endif
