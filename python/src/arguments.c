/* arguments.c: see arguments.h. */
#include "arguments.h"

static int place_of(const hfpy_signature *it, PyObject *name)
{
    for (Py_ssize_t i = it->by_position; i < it->most; i++)
        if (PyUnicode_CompareWithASCIIString(name, it->names[i]) == 0)
            return (int)i;
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", it->method, name);
    return -1;
}

int hfpy_fast_arguments(const hfpy_signature *it, PyObject *const *args, Py_ssize_t count, PyObject *names,
                        PyObject **out)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    if (count + named > it->most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", it->method, it->most,
                     count + named);
        return -1;
    }
    for (Py_ssize_t i = 0; i < it->most; i++)
        out[i] = i < count ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < named; i++) {
        int place = place_of(it, PyTuple_GET_ITEM(names, i));
        if (place < 0)
            return -1;
        if (out[place] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", it->method, it->names[place]);
            return -1;
        }
        out[place] = args[count + i];
    }
    for (Py_ssize_t i = 0; i < it->least; i++)
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s' (pos %zd)", it->method, it->names[i],
                         i + 1);
            return -1;
        }
    return 0;
}

const hfpy_signature hfpy_signature_get = {"get", {"key", "default"}, .by_position = 1, .least = 1, .most = 2};

int hfpy_one_or_two(const char *method, Py_ssize_t count)
{
    if (count >= 1 && count <= 2)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s expected at %s argument%s, got %zd", method, count < 1 ? "least 1" : "most 2",
                 count < 1 ? "" : "s", count);
    return -1;
}

int hfpy_count_of(PyObject *object, const char *what, uint64_t *out)
{
    if (object == Py_None) {
        *out = 0;
        return 0;
    }
    PyObject *number = PyNumber_Index(object);
    if (number == NULL)
        return -1;
    unsigned long long count = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (count == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s must be a number from 0 to 2**64 - 1, not %R", what, object);
        return -1;
    }
    *out = count;
    return 0;
}
