/* compat.h: where CPython versions differ. The only file with conditions on them. */
#ifndef HFPY_COMPAT_H
#define HFPY_COMPAT_H

#include <Python.h>

_Static_assert(sizeof(Py_hash_t) == 8 && sizeof(void *) == 8, "holdfast needs a 64-bit Python");

/* Locks an object for the block on free-threaded builds; elsewhere the GIL has done so already. */
#ifndef Py_BEGIN_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#if defined(Py_mod_multiple_interpreters)
#define HFPY_SLOT_INTERPRETERS {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#else
#define HFPY_SLOT_INTERPRETERS
#endif

#if defined(Py_mod_gil)
/* The locks are in place where iterators and dicts are walked; TransientMap.busy is none. Until that is made and run without
 * the GIL, such interpreters switch it on. */
#define HFPY_SLOT_GIL {Py_mod_gil, Py_MOD_GIL_USED},
#else
#define HFPY_SLOT_GIL
#endif

/* The exception that is set, which it is not any more; NULL if there is none. And back, reference and all. */
static inline PyObject *hfpy_exception_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value != NULL && traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

static inline void hfpy_exception_give(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception != NULL)
        PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

/* Before 3.12 a str may not be in its final form yet. 0, or -1 with an exception. */
static inline int hfpy_str_ready(PyObject *text)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyUnicode_READY(text);
#else
    (void)text;
    return 0;
#endif
}

/* An element of a list, new reference; NULL without an exception if the list has become shorter. */
static inline PyObject *hfpy_list_item(PyObject *list, Py_ssize_t i)
{
    PyObject *item = NULL;
    Py_BEGIN_CRITICAL_SECTION(list);
    if (i < PyList_GET_SIZE(list)) {
        item = PyList_GET_ITEM(list, i);
        Py_INCREF(item);
    }
    Py_END_CRITICAL_SECTION();
    return item;
}

/*
 * An int as bytes, two's complement, lowest first, perhaps more of them than needed: a bytes object. And back. Public
 * functions for this there are from 3.13 on; before, it is int's own methods, found under these names.
 */
static inline PyObject *hfpy_bytes_of_int(PyObject *number, PyObject *bit_length, PyObject *to_bytes)
{
#if PY_VERSION_HEX >= 0x030D0000
    (void)bit_length, (void)to_bytes;
    int flags = Py_ASNATIVEBYTES_LITTLE_ENDIAN;
    Py_ssize_t size = PyLong_AsNativeBytes(number, NULL, 0, flags);
    PyObject *bytes = size < 0 ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL && PyLong_AsNativeBytes(number, PyBytes_AS_STRING(bytes), size, flags) < 0)
        Py_CLEAR(bytes);
    return bytes;
#else
    PyObject *function = PyObject_GetAttr((PyObject *)&PyLong_Type, bit_length);
    PyObject *bits = function == NULL ? NULL : PyObject_CallOneArg(function, number);
    Py_XDECREF(function);
    size_t size = bits == NULL ? (size_t)-1 : PyLong_AsSize_t(bits);
    Py_XDECREF(bits);
    if (size == (size_t)-1)
        return NULL;
    function = PyObject_GetAttr((PyObject *)&PyLong_Type, to_bytes);
    PyObject *arguments =
        function == NULL ? NULL : Py_BuildValue("(Ons)", number, (Py_ssize_t)(size / 8 + 1), "little");
    PyObject *keywords = arguments == NULL ? NULL : Py_BuildValue("{s:O}", "signed", Py_True);
    PyObject *bytes = keywords == NULL ? NULL : PyObject_Call(function, arguments, keywords);
    Py_XDECREF(function);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return bytes;
#endif
}

static inline PyObject *hfpy_int_of_bytes(const unsigned char *bytes, size_t size, PyObject *from_bytes)
{
#if PY_VERSION_HEX >= 0x030D0000
    (void)from_bytes;
    return PyLong_FromNativeBytes(bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    PyObject *function = PyObject_GetAttr((PyObject *)&PyLong_Type, from_bytes);
    PyObject *data = function == NULL ? NULL : PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    PyObject *arguments = data == NULL ? NULL : Py_BuildValue("(Ns)", data, "little");
    PyObject *keywords = arguments == NULL ? NULL : Py_BuildValue("{s:O}", "signed", Py_True);
    PyObject *number = keywords == NULL ? NULL : PyObject_Call(function, arguments, keywords);
    Py_XDECREF(function);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return number;
#endif
}

/* Told of an object whose memory is about to be given back without its deallocator. */
static inline void hfpy_forget(PyObject *object)
{
#ifdef Py_TRACE_REFS
    _Py_ForgetReference(object);
#else
    (void)object;
#endif
}

/* Whether the caller holds the only reference to an object that nobody else can reach just now. */
static inline int hfpy_is_only_reference(PyObject *object)
{
    return Py_REFCNT(object) == 1;
}

/* Whether edits may be put off (pending.c): two Maps that know each other change under one lock. */
#ifdef Py_GIL_DISABLED
enum { HFPY_PUTS_OFF_EDITS = 0 };
#else
enum { HFPY_PUTS_OFF_EDITS = 1 };
#endif

/* Whether the tuple that an iterator gave out last time has come back, so that it may be filled again. Where threads
 * run at once, a count of one read here says nothing about another thread's borrowed reference. */
static inline int hfpy_may_refill(PyObject *tuple)
{
#ifdef Py_GIL_DISABLED
    (void)tuple;
    return 0;
#else
    return Py_REFCNT(tuple) == 1;
#endif
}

/* It has been filled again: from 3.14 on a tuple remembers its hash. */
static inline void hfpy_refilled(PyObject *tuple)
{
#if PY_VERSION_HEX >= 0x030E0000
    ((PyTupleObject *)tuple)->ob_hash = -1;
#else
    (void)tuple;
#endif
}

#endif
