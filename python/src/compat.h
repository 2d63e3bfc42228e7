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
