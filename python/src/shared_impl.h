/*
 * shared_impl.h: what the files of holdfast.SharedMap share.
 *
 *      SharedMap ----------\
 *      SharedSnapshot --> pin --> handle --> hf_shared        (shared/shared.h)
 *      iterator ----------/ /
 *      Transaction --------'      a thread that waits for the writer's lock counts too
 *
 *      shared_key.h           keys and values on their way in and out: the short ones without an allocation
 *      shared_handle.c        handles, pins, waiting, exceptions
 *      shared_map.c           the type: opening and closing, [] get set del in len
 *      shared_change.c        pop, setdefault, update, incr, compare_and_set, ...
 *      shared_transaction.c   transactions
 *      shared_snapshot.c      snapshots, differences
 *      shared_iter.c          iterators
 *
 * What is not called often, and what only combines the above, is Python (holdfast/shared.py).
 *
 * Invariants.
 *   1. No foreign code, and no allocation of Python's, between the beginning and the end of a change, unless the user
 *      has begun a transaction: what is put is encoded before it, what is taken is decoded after it.
 *   2. Whatever needs the hf_shared counts in its handle: a close() by another thread takes nothing from under it. A
 *      closed SharedMap has no handle.
 *   3. A step (hfpy_step) may run without the GIL: it touches no Python object.
 *
 * Concurrency: everything under the GIL but waiting. fork: threads that waited are not in the child, so those that a
 * handle counts are counted with the process they are of.
 *
 * Failure: as CPython's functions do, an exception and NULL or -1; functions that say they return a status have set
 * none but with HF_FOREIGN.
 */
#ifndef HFPY_SHARED_IMPL_H
#define HFPY_SHARED_IMPL_H

#include "homes.h"

#include "compat.h"

#include "base/memory.h"
#include "shared/shared.h"

#include <stdbool.h>
#include <structmember.h>
#include <sys/types.h>

struct Transaction;

typedef struct hfpy_handle {
    hf_shared *map;
    Py_ssize_t references; /* of objects */
    Py_ssize_t waiting;    /* threads of process `waiting_in` */
    pid_t waiting_in;
    struct Transaction *innermost; /* of those under way, the last begun; borrowed */
    unsigned
        abandoned; /* 0, or the level of one that was dropped by another thread than its own, which is to abort it */
} hfpy_handle;

typedef struct SharedMap {
    PyObject_HEAD
    homes_state *state;
    hfpy_handle *handle; /* NULL: closed */
    PyObject *name;      /* a str; NULL before it was opened */
    PyObject *weakrefs;
    int64_t timeout; /* nanoseconds; -1: for ever */
    unsigned flags;  /* HFPY_PICKLE */
    uint64_t inode[2];
} SharedMap;

/* A version that is pinned for whoever counts in it. */
typedef struct hfpy_pin {
    hf_shared_snapshot *snapshot;
    hfpy_handle *handle;
    Py_ssize_t references;
} hfpy_pin;

/* -- handles (shared_handle.c) -- */

static inline hfpy_handle *hfpy_handle_keep(hfpy_handle *handle)
{
    handle->references++;
    return handle;
}

/* A handle that is counted once, of a map that it takes over if this succeeds; NULL and MemoryError. */
hfpy_handle *hfpy_handle_new(hf_shared *map);
void hfpy_handle_drop(hfpy_handle *handle);

/* ClosedError; returns NULL. */
hfpy_handle *hfpy_shared_closed(SharedMap *self);

/* Borrowed; NULL and ClosedError. */
static inline hfpy_handle *hfpy_shared_handle(SharedMap *self)
{
    return self->handle != NULL ? self->handle : hfpy_shared_closed(self);
}

/* Aborts what this thread was left with by a Transaction that died elsewhere. */
void hfpy_handle_settle(hfpy_handle *handle);

static inline hf_shared *hfpy_handle_map(hfpy_handle *handle)
{
    if (__builtin_expect(handle->abandoned, 0))
        hfpy_handle_settle(handle);
    return handle->map;
}

/* The exception of a status, which names the map. Returns -1. */
int hfpy_shared_fail(SharedMap *self, int status);
/* The same for what is not, or no longer, a SharedMap's: by its name, of which there may be none. */
int hfpy_shared_fail_named(homes_state *state, PyObject *name, hfpy_handle *handle, int64_t timeout, int status);

PyObject *hfpy_key_error(PyObject *key);

/* -- waiting -- */

/* Tries something for at most so long, without the GIL; HF_TIMEOUT where that was not long enough. */
typedef int (*hfpy_attempt)(void *arg, int64_t timeout);

/* Until it has done or `timeout` is over, with an eye on signals. A status. */
int hfpy_wait(hfpy_attempt attempt, void *arg, int64_t timeout);

/* The same of a handle, which is alive until this returns. */
int hfpy_handle_wait(hfpy_handle *handle, hfpy_attempt attempt, void *arg, int64_t timeout);

/* -- changing -- */

/* What is done to the map between the beginning and the end of a change. A status. */
typedef int (*hfpy_step)(hf_shared_write *write, void *arg);

/* When another has the lock: waits, without the GIL; the step is done without it too. */
int hfpy_shared_change_slowly(SharedMap *self, hfpy_handle *handle, hfpy_step step, void *arg);

/* The step, as a change of its own or in the transaction of this thread. The handle is borrowed, and may be gone
 * afterwards. What the step said, or why the change was not possible: a status. */
static inline int hfpy_shared_change(SharedMap *self, hfpy_handle *handle, hfpy_step step, void *arg)
{
    hf_shared_write write;
    int status = hf_shared_write_begin(hfpy_handle_map(handle), 0, &write);

    if (__builtin_expect(status == 0, 1))
        return hf_shared_write_end(&write, step(&write, arg));
    return status == HF_TIMEOUT ? hfpy_shared_change_slowly(self, handle, step, arg) : status;
}

/* -- pins -- */

/* One of the version of now, counted once; NULL with an exception. */
hfpy_pin *hfpy_pin_new(SharedMap *self);
void hfpy_pin_drop(hfpy_pin *pin);

static inline hfpy_pin *hfpy_pin_keep(hfpy_pin *pin)
{
    pin->references++;
    return pin;
}

static inline const hf_view *hfpy_pin_view(const hfpy_pin *pin)
{
    return hf_snapshot_view(pin->snapshot->pinned);
}

/* -- iterators (shared_iter.c) -- */

enum hfpy_shared_kind { HFPY_KEYS, HFPY_VALUES, HFPY_ITEMS };

/* Over a pin, which it counts in. */
PyObject *hfpy_shared_iterate(homes_state *state, PyObject *name, unsigned flags, hfpy_pin *pin,
                              enum hfpy_shared_kind kind);
/* Over the map as this thread sees it now. */
PyObject *hfpy_shared_map_iterate(SharedMap *map, enum hfpy_shared_kind kind);

/* -- the rest -- */

/* The name of a map as the system has it, new reference; NameFormatError. */
PyObject *hfpy_shared_name(homes_state *state, PyObject *name);

/* Of a class that derives from SharedSnapshotCore. */
PyObject *hfpy_shared_snapshot_new(SharedMap *map, PyObject *type);
PyObject *hfpy_transaction_new(SharedMap *map);

/* The arguments of a fast call that takes one and an optional second, which may be given by keyword; *second stays
 * as it is if it is not given. -1 and TypeError. */
int hfpy_fast_two(const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names, const char *keyword,
                  PyObject **second);

/* shared_change.c: methods. */
PyObject *hfpy_shared_pop(PyObject *object, PyObject *const *args, Py_ssize_t count);
PyObject *hfpy_shared_popitem(PyObject *object, PyObject *unused);
PyObject *hfpy_shared_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t count);
PyObject *hfpy_shared_clear(PyObject *object, PyObject *unused);
PyObject *hfpy_shared_update(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *hfpy_shared_incr(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *hfpy_shared_compare_and_set(PyObject *object, PyObject *const *args, Py_ssize_t count);

extern PyType_Spec hfpy_shared_map_spec, hfpy_shared_snapshot_spec, hfpy_shared_iterator_spec, hfpy_transaction_spec;

#endif
