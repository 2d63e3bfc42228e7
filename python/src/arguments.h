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

/* What a fast call takes: its first `by_position` arguments have no keyword, those behind the first `least` are optional. */
typedef struct hfpy_signature {
    const char *method, *names[3];
    Py_ssize_t by_position, least, most;
} hfpy_signature;

/* The arguments of such a call in their order, borrowed; NULL for one that was not given. -1 and TypeError. */
int hfpy_fast_arguments(const hfpy_signature *signature, PyObject *const *args, Py_ssize_t count, PyObject *names,
                        PyObject **out);

extern const hfpy_signature hfpy_signature_get;

/* Those of dict.pop and dict.setdefault: a key, and perhaps another. TypeError in their words. */
int hfpy_one_or_two(const char *method, Py_ssize_t count);

/* A count of something, None for 0. ValueError beyond 64 bits. */
int hfpy_count_of(PyObject *object, const char *what, uint64_t *out);

#endif
