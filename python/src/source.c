/* source.c: see source.h. */
#include "source.h"

#include <stdbool.h>

typedef struct sink {
    hfpy_entry entry;
    void *arg;
} sink;

/* One element of an iterable of pairs, with dict's complaints. */
static int add_pair(const sink *it, PyObject *element, Py_ssize_t index)
{
    PyObject *pair = PySequence_Fast(element, "");
    int status = -1;

    if (pair == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "cannot convert dictionary update sequence element #%zd to a sequence",
                         index);
        return -1;
    }
    if (PySequence_Fast_GET_SIZE(pair) == 2) {
        PyObject *key = Py_NewRef(PySequence_Fast_GET_ITEM(pair, 0));
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(pair, 1));
        status = it->entry(it->arg, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
    } else {
        PyErr_Format(PyExc_ValueError, "dictionary update sequence element #%zd has length %zd; 2 is required", index,
                     PySequence_Fast_GET_SIZE(pair));
    }
    Py_DECREF(pair);
    return status;
}

static int add_pairs(const sink *it, PyObject *source)
{
    PyObject *element, *iterator = PyObject_GetIter(source);
    int status = iterator == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; status == 0 && (element = PyIter_Next(iterator)) != NULL; i++) {
        status = add_pair(it, element, i);
        Py_DECREF(element);
    }
    Py_XDECREF(iterator);
    return status == 0 && PyErr_Occurred() ? -1 : status;
}

/* Something with keys() and []. */
static int add_mapping(const sink *it, PyObject *source)
{
    PyObject *key, *keys = PyObject_CallMethod(source, "keys", NULL);
    PyObject *iterator = keys == NULL ? NULL : PyObject_GetIter(keys);
    int status = iterator == NULL ? -1 : 0;

    while (status == 0 && (key = PyIter_Next(iterator)) != NULL) {
        PyObject *value = PyObject_GetItem(source, key);
        status = value == NULL ? -1 : it->entry(it->arg, key, value);
        Py_XDECREF(value);
        Py_DECREF(key);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(keys);
    return status == 0 && PyErr_Occurred() ? -1 : status;
}

/* Of one of ours: the pairs of one version. Looked up one by one, an entry that others delete meanwhile would be a
 * KeyError. */
static int add_version(const sink *it, PyObject *source)
{
    PyObject *items = PyObject_CallMethod(source, "__holdfast_items__", NULL);
    int status = items == NULL ? -1 : add_pairs(it, items);

    Py_XDECREF(items);
    return status;
}

/* Whether it is one of ours, or of a class that derives from one. Types that derive inherit tp_iter, and those of
 * ours
 * that may be derived from have it in C. */
static bool is_ours(const homes_state *state, PyObject *source)
{
    const PyTypeObject *const types[] = {state->shared.map_type, state->shared.snapshot_type, state->cask.map_type,
                                         state->cask.snapshot_type};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (Py_TYPE(source)->tp_iter == types[i]->tp_iter)
            return true;
    return false;
}

int hfpy_source_each(homes_state *state, PyObject *source, hfpy_entry entry, void *arg)
{
    const sink it = {entry, arg};
    int status;

    if (is_ours(state, source))
        return add_version(&it, source);
    if (PyDict_CheckExact(source)) {
        /* A list of its own: encoding runs foreign code, which may change the dict. */
        PyObject *items = PyDict_Items(source);
        status = items == NULL ? -1 : add_pairs(&it, items);
        Py_XDECREF(items);
        return status;
    }
    PyObject *keys = PyObject_GetAttr(source, state->shared.str_keys);
    if (keys == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    status = keys != NULL;
    Py_XDECREF(keys);
    if (status)
        return add_mapping(&it, source);
    PyErr_Clear();
    return add_pairs(&it, source);
}
