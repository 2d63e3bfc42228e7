/*
 * arguments.h: what the arguments of methods are checked by, in SharedMap and Cask alike.
 *
 * Concurrency: the GIL. Failure: -1 with an exception that names the argument; out-parameters stay as they are,
 * unless
 * it is said otherwise.
 */
#ifndef HFPY_ARGUMENTS_H
#define HFPY_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

/* The arguments of a fast call that takes one and an optional second, which may be given by keyword; *second stays
 * as it is if it is not given. TypeError. */
int hfpy_fast_two(const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names, const char *keyword,
                  PyObject **second);

/* Those of dict.pop and dict.setdefault: a key, and perhaps another. TypeError in their words. */
int hfpy_one_or_two(const char *method, Py_ssize_t count);

/* A count of something, None for 0. ValueError beyond 64 bits. */
int hfpy_count_of(PyObject *object, const char *what, uint64_t *out);

#endif
