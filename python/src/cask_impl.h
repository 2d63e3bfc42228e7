/*
 * cask_impl.h: what the files of holdfast.Cask share.
 *
 *      Cask -----------\
 *      CaskSnapshot --> pin --> handle --> hf_cask        (cask/cask.h)
 *      iterator -------/ /
 *      CaskBatch -------'       a call that runs without the GIL counts too
 *
 *      stored_key.h     keys and values on their way in and out: the short ones without an allocation
 *      cask_handle.c    handles, pins, calls without the GIL, closing, exceptions
 *      cask_map.c       the type: opening and closing, [] get put del in len info
 *      cask_change.c    pop, setdefault, update, clear: what looks first, or changes much at once
 *      cask_batch.c     batches
 *      cask_snapshot.c  snapshots and iterators
 *      cask_look.c      status, merge, check, backup, salvage: looking after a cask
 *
 * What is not called often, and what only combines the above, is Python (holdfast/cask.py).
 *
 * Invariants.
 *   1. No foreign code runs while bytes of the log are looked at: what is plain is made into an object at once,
 * anything else is
 *      copied first. So close() may come from anywhere.
 *   2. hf_cask_close is called when no call is under way: those that run without the GIL are counted (`running`),
 * the others have it.
 *      Whatever else has a handle finds it without a cask then: ClosedError.
 *   3. What runs without the GIL touches no Python object; the bytes of one that the caller holds, it may read.
 *
 * Concurrency: everything under the GIL but what waits for the disk. fork: threads that were in a call are not in
 * the child, so those
 * that a handle counts are counted with the process they are of.
 *
 * Failure: as CPython's functions do, an exception and NULL or -1; functions that say they return a status have set
 * none
 * but with HF_FOREIGN.
 */
#ifndef HFPY_CASK_IMPL_H
#define HFPY_CASK_IMPL_H

#include "arguments.h"
#include "compat.h"
#include "homes.h"
#include "stored_key.h"

#include "base/memory.h"
#include "cask/cask.h"
#include "value/codec.h"

#include <stdbool.h>
#include <structmember.h>
#include <sys/types.h>

struct hfpy_cask_pin;
struct CaskBatch;

typedef struct hfpy_cask_handle {
    hf_cask *cask; /* NULL: closed */
    homes_state *state;
    PyObject *path;        /* a str */
    Py_ssize_t references; /* of objects, and of calls without the GIL */
    Py_ssize_t running;    /* calls without the GIL, of process `running_in` */
    pid_t running_in;
    unsigned flags;             /* HFPY_PICKLE */
    bool slow;                  /* a put waits for the disk */
    bool closing;               /* nothing begins any more */
    unsigned long telling;      /* the thread that runs foreign code in the middle of a call; 0: none */
    struct hfpy_cask_pin *pins; /* that are not ended; borrowed */
    struct CaskBatch *batches;  /* likewise */
} hfpy_cask_handle;

typedef struct Cask {
    PyObject_HEAD
    homes_state *state;
    hfpy_cask_handle *handle; /* NULL: closed */
    PyObject *path;           /* a str; NULL before it was opened */
    PyObject *weakrefs;
    unsigned flags; /* the handle's */
    bool read_only;
} Cask;

/* A snapshot for whoever counts in it. */
typedef struct hfpy_cask_pin {
    hf_cask_snapshot *snapshot; /* NULL: ended, by the close of the cask */
    hfpy_cask_handle *handle;
    Py_ssize_t references;
    struct hfpy_cask_pin *next, *previous; /* in handle->pins */
} hfpy_cask_pin;

/* A batch: see cask_batch.c. */
typedef struct CaskBatch {
    PyObject_HEAD
    hfpy_cask_handle *handle;
    hf_cask_batch *batch;              /* NULL: it has ended */
    bool is_closed;                    /* it has, with its cask */
    bool is_busy;                      /* a thread commits it, without the GIL */
    Py_ssize_t size;                   /* steps in it */
    struct CaskBatch *next, *previous; /* in handle->batches */
} CaskBatch;

/* -- handles (cask_handle.c) -- */

static inline hfpy_cask_handle *hfpy_cask_keep(hfpy_cask_handle *handle)
{
    handle->references++;
    return handle;
}

/* A handle that is counted once, of a cask that it takes over if this succeeds; NULL and MemoryError. */
hfpy_cask_handle *hfpy_cask_handle_new(homes_state *state, PyObject *path, hf_cask *cask, unsigned flags);

/* The last one closes the cask; what that fails with nobody can catch. May give up the GIL. */
void hfpy_cask_drop(hfpy_cask_handle *handle);

/* Waits for what is under way, ends snapshots and batches, closes. A status. */
int hfpy_cask_handle_close(hfpy_cask_handle *handle);

/* ClosedError; returns NULL. */
hfpy_cask_handle *hfpy_cask_closed(const Cask *self);

/* Borrowed; NULL and ClosedError. */
static inline hfpy_cask_handle *hfpy_cask_handle_of(const Cask *self)
{
    return __builtin_expect(self->handle != NULL, 1) ? self->handle : hfpy_cask_closed(self);
}

/* A call that runs without the GIL, and the cask is not closed meanwhile. A status. */
typedef int (*hfpy_cask_call)(hf_cask *cask, void *arg);

/* Counts a call that is about to give up the GIL; and, with the GIL again, that it is over. The handle need not be
 * there any more
 * then, unless the caller counts in it. */
void hfpy_cask_begin(hfpy_cask_handle *handle);
void hfpy_cask_end(hfpy_cask_handle *handle);

/* Both, and the call between them. */
int hfpy_cask_run(hfpy_cask_handle *handle, hfpy_cask_call call, void *arg);

/* The exception of a status, which names the cask. Returns -1. */
int hfpy_cask_fail(homes_state *state, PyObject *path, int status);

/* -- pins -- */

/* One of the cask as it is now, counted once; NULL with an exception. */
hfpy_cask_pin *hfpy_cask_pin_new(hfpy_cask_handle *handle);
void hfpy_cask_pin_drop(hfpy_cask_pin *pin);

static inline hfpy_cask_pin *hfpy_cask_pin_keep(hfpy_cask_pin *pin)
{
    pin->references++;
    return pin;
}

/* -- keys and values -- */

static inline hf_cask_key hfpy_cask_key(const hf_cask *cask, const hfpy_stored_key *key)
{
    return (hf_cask_key){
        .canonical = key->canonical,
        .given = key->given,
        .hash = hf_canonical_hash_bytes(key->canonical.bytes, key->canonical.size, cask->seed),
    };
}

/*
 * A value on its way to the log: `head`, then `value`. That of a str or of bytes is the object's own memory: of
 * whatever
 * length, it is copied into the record and nowhere else. So the object has to stay.
 */
typedef struct hfpy_cask_value {
    hf_span head, value;
    bool is_encoded;
    uint8_t room[HF_VALUE_HEAD_SIMPLE];
    hfpy_stored_value stored; /* if is_encoded */
} hfpy_cask_value;

static inline void hfpy_cask_value_clear(hfpy_cask_value *value)
{
    if (value->is_encoded)
        hfpy_stored_value_clear(&value->stored);
}

static inline void hfpy_cask_value_raw(hfpy_cask_value *value, unsigned tag, unsigned tag_long, const void *bytes,
                                       Py_ssize_t size)
{
    hf_buffer head;

    hf_buffer_init(&head, value->room, sizeof value->room, sizeof value->room);
    hf_put_counted(&head, tag, tag_long, (uint64_t)size);
    value->head = hf_span_of(value->room, head.size);
    value->value = hf_span_of(bytes, (size_t)size);
    value->is_encoded = false;
}

/* To be cleared if this succeeds. Foreign code may run. */
static inline int hfpy_cask_value_make(homes_state *state, PyObject *object, unsigned flags, hfpy_cask_value *value)
{
    if (PyBytes_CheckExact(object)) {
        hfpy_cask_value_raw(value, HF_TAG_BYTES, HF_TAG_BYTES_LONG, PyBytes_AS_STRING(object),
                            PyBytes_GET_SIZE(object));
        return 0;
    }
    if (PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object)) {
        hfpy_cask_value_raw(value, HF_TAG_STR, HF_TAG_STR_LONG, PyUnicode_1BYTE_DATA(object),
                            PyUnicode_GET_LENGTH(object));
        return 0;
    }
    if (hfpy_stored_value_make(state, object, flags, &value->stored) < 0)
        return -1;
    value->is_encoded = true;
    value->head = hf_span_of(NULL, 0);
    value->value = hfpy_stored_value_span(&value->stored);
    return 0;
}

/* The object of bytes that are not the log's. */
PyObject *hfpy_cask_decode_copy(homes_state *state, hf_span bytes, unsigned flags, hf_cask_hold *hold);

/* The object of bytes in the log: under a hold, which is released; or of a snapshot (then `hold` is NULL). */
static inline PyObject *hfpy_cask_take(homes_state *state, hf_span bytes, unsigned flags, hf_cask_hold *hold)
{
    PyObject *object;

    if (!hfpy_plain(bytes, &object))
        return hfpy_cask_decode_copy(state, bytes, flags, hold);
    if (hold != NULL)
        hf_cask_release(hold);
    return object;
}

/* A time to live: None, 0: the cask's own; seconds, or a timedelta; math.inf: for ever. In milliseconds as the core
 * has it. ValueError, TypeError. */
int hfpy_cask_ttl_of(PyObject *object, int64_t *out);

/* The arguments of put(key, value, ttl=None): of a Cask, and of a batch. */
int hfpy_cask_put_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *ttl);

/* What is so long that others should not wait for it to be copied. */
enum { HFPY_CASK_LARGE = 64 << 10 };

/* -- iterators and snapshots (cask_snapshot.c) -- */

enum hfpy_cask_kind { HFPY_CASK_KEYS, HFPY_CASK_VALUES, HFPY_CASK_ITEMS, HFPY_CASK_RECORDS };

/* Over the cask as it is now. */
PyObject *hfpy_cask_iterate(Cask *self, enum hfpy_cask_kind kind);
PyObject *hfpy_cask_snapshot_new(Cask *cask, PyObject *type);

/* -- batches (cask_batch.c) -- */

PyObject *hfpy_cask_batch_new(Cask *self);
void hfpy_cask_batch_lose(CaskBatch *batch); /* the cask is being closed */
/* -1 with an exception. What dict.update takes. */
int hfpy_cask_batch_add_all(CaskBatch *batch, PyObject *source);
int hfpy_cask_batch_commit_now(CaskBatch *batch);

/* -- methods -- */

PyObject *hfpy_cask_pop(PyObject *object, PyObject *const *args, Py_ssize_t count);
PyObject *hfpy_cask_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t count);
PyObject *hfpy_cask_update(PyObject *object, PyObject *args, PyObject *kwargs);
PyObject *hfpy_cask_clear(PyObject *object, PyObject *unused);
PyObject *hfpy_cask_status(PyObject *object, PyObject *unused);
PyObject *hfpy_cask_merge_files(PyObject *object, PyObject *files);
PyObject *hfpy_cask_needs(PyObject *object, PyObject *unused);
PyObject *hfpy_cask_check_all(PyObject *object, PyObject *report);
PyObject *hfpy_cask_backup_to(PyObject *object, PyObject *path);

extern PyType_Spec hfpy_cask_spec, hfpy_cask_snapshot_spec, hfpy_cask_iterator_spec, hfpy_cask_batch_spec;

#endif
