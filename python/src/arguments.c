/* arguments.c: see arguments.h. */
#include "arguments.h"

int hfpy_fast_two(const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names, const char *keyword,
                  PyObject **second)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    if (count < 1 || count + named > 2) {
        PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments, %zd given", method, count + named);
        return -1;
    }
    if (named == 1) {
        PyObject *name = PyTuple_GET_ITEM(names, 0);
        if (PyUnicode_CompareWithASCIIString(name, keyword) != 0) {
            PyErr_Format(PyExc_TypeError, "%s() has no keyword argument %R", method, name);
            return -1;
        }
    }
    if (count + named == 2)
        *second = args[1];
    return 0;
}

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
