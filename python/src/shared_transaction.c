/*
 * shared_transaction.c: with m.transaction(): ...
 *
 *      handle.innermost --> Transaction (level 2) --outer--> Transaction (level 1) --> NULL
 *
 * The core knows of a transaction how deep it is (shared/transaction.c); these objects know which `with` is which
 * level, so that one that ends in the wrong order, thread or process is noticed.
 *
 * Where it goes wrong, and what happens then:
 *      ended in another thread          TransactionError; it is under way until its own thread ends it
 *      dropped without an end           aborted: at once in its own thread; from another one, when its own thread
 *      next
 *                                       uses the map (handle.abandoned)
 *      its thread ends                  the next who begins one finds the lock's owner dead, and those objects are
 *      lost fork                             the child's are lost: LostError
 *      an inner one is still open       TransactionError, and both are rolled back
 *
 * Concurrency: the GIL. Failure: a transaction that cannot be committed is aborted, and the exception says why.
 */
#include "shared_impl.h"

#include <unistd.h>

typedef struct Transaction {
    PyObject_HEAD
    SharedMap *map;
    hfpy_handle *handle; /* counted, while it is under way; else NULL */
    struct Transaction *outer;
    unsigned level; /* 1 or more, while it is under way; 0: it is lost */
    pid_t process;
} Transaction;

/* -- the list of those under way -- */

/* Forgets this one and all within it, which are over in the core. */
static void lose(hfpy_handle *handle, const Transaction *last)
{
    Transaction *it;

    do {
        it = handle->innermost;
        handle->innermost = it->outer;
        it->outer = NULL;
        it->level = 0;
    } while (it != last);
}

/* Aborts down to what is around `level`, in the thread whose they are. */
static void abort_to(hfpy_handle *handle, unsigned level)
{
    while (hf_shared_depth(handle->map) >= level) {
        Transaction *it = handle->innermost;
        if (it != NULL && it->level >= hf_shared_depth(handle->map))
            lose(handle, it);
        if (hf_shared_abort(handle->map) < 0)
            break;
    }
}

void hfpy_handle_settle(hfpy_handle *handle)
{
    if (handle->abandoned == 0 || hf_txn_mine(handle->map->region) == NULL)
        return;
    unsigned level = handle->abandoned;
    handle->abandoned = 0;
    abort_to(handle, level);
}

/* -- begin -- */

static int attempt_begin(void *arg, int64_t timeout)
{
    return hf_shared_begin_within(arg, timeout);
}

static int begin(Transaction *self, hfpy_handle *handle)
{
    SharedMap *map = self->map;
    int status = hf_shared_begin_within(hfpy_handle_map(handle), 0);

    if (status == HF_TIMEOUT && map->timeout != 0) {
        hfpy_handle_keep(handle);
        status = hfpy_handle_wait(handle, attempt_begin, handle->map, map->timeout);
        if (status == 0 && map->handle != handle) {
            status = hf_shared_abort(handle->map);
            hfpy_shared_closed(map);
            status = status < 0 ? status : HF_FOREIGN;
        }
        hfpy_handle_drop(handle);
    }
    if (status == HF_LIMIT)
        return hfpy_fail(map->state, status, "too many transactions of SharedMap %R within each other", map->name);
    if (status < 0)
        return hfpy_shared_fail(map, status);
    self->level = hf_shared_depth(handle->map);
    if (self->level == 1) {
        handle->abandoned = 0;
        while (handle->innermost != NULL)
            lose(handle, handle->innermost);
    }
    self->outer = handle->innermost;
    self->handle = hfpy_handle_keep(handle);
    self->process = getpid();
    handle->innermost = self;
    return 0;
}

static PyObject *transaction_enter(PyObject *object, PyObject *unused)
{
    Transaction *self = (Transaction *)object;
    hfpy_handle *handle = hfpy_shared_handle(self->map);

    if (handle == NULL)
        return NULL;
    if (self->handle != NULL) {
        hfpy_throw(self->map->state, HFPY_TRANSACTION, "this transaction of SharedMap %R has begun already",
                   self->map->name);
        return NULL;
    }
    return begin(self, handle) < 0 ? NULL : Py_NewRef((PyObject *)self->map);
}

/* -- end -- */

static void leave(Transaction *self)
{
    hfpy_handle *handle = self->handle;

    self->handle = NULL;
    hfpy_handle_drop(handle);
}

/* Says that it is over, whatever it was. */
static int fail_lost(Transaction *self)
{
    homes_state *state = self->map->state;
    PyObject *name = self->map->name;

    if (self->process != getpid())
        hfpy_throw(state, HFPY_LOST,
                   "this transaction of SharedMap %R is the parent process's: a fork does not copy it", name);
    else
        hfpy_throw(state, HFPY_TRANSACTION, "this transaction of SharedMap %R has been rolled back already", name);
    if (self->level > 0)
        lose(self->handle, self);
    leave(self);
    return -1;
}

/* Whether it can be ended here: 0, or -1 with an exception. */
static int check_end(Transaction *self)
{
    homes_state *state = self->map->state;
    PyObject *name = self->map->name;

    if (self->handle == NULL) {
        hfpy_throw(state, HFPY_TRANSACTION, "this transaction of SharedMap %R has not begun", name);
        return -1;
    }
    if (self->level == 0 || self->process != getpid())
        return fail_lost(self);
    if (hf_txn_mine(self->handle->map->region) != NULL)
        return 0;
    hfpy_throw(state, HFPY_TRANSACTION, "this transaction of SharedMap %R is another thread's: only that can end it",
               name);
    return -1;
}

static int end(Transaction *self, bool commit)
{
    hfpy_handle *handle = self->handle;
    SharedMap *map = self->map;
    int status = HF_INVALID;

    if (commit && handle->innermost == self && map->handle == handle)
        status = hf_shared_commit(handle->map);
    if (status == 0) {
        lose(handle, self);
        leave(self);
        return 0;
    }
    bool closed = map->handle != handle, nested = handle->innermost != self;
    abort_to(handle, self->level);
    if (commit && closed)
        hfpy_shared_closed(map);
    else if (commit && nested)
        hfpy_throw(map->state, HFPY_TRANSACTION, "a transaction of SharedMap %R within this one has not ended",
                   map->name);
    else if (commit)
        hfpy_shared_fail(map, status);
    leave(self);
    return commit ? -1 : 0;
}

static PyObject *transaction_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Transaction *self = (Transaction *)object;

    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "__exit__() takes exactly 3 arguments (%zd given)", count);
        return NULL;
    }
    if (self->handle != NULL)
        hfpy_handle_settle(self->handle);
    if (check_end(self) < 0 || end(self, args[0] == Py_None) < 0)
        return NULL;
    Py_RETURN_FALSE;
}

/* -- the object -- */

PyObject *hfpy_transaction_new(SharedMap *map)
{
    if (hfpy_shared_handle(map) == NULL)
        return NULL;
    Transaction *self = PyObject_GC_New(Transaction, map->state->shared.transaction_type);
    if (self == NULL)
        return NULL;
    self->map = (SharedMap *)Py_NewRef((PyObject *)map);
    self->handle = NULL;
    self->outer = NULL;
    self->level = 0;
    PyObject_GC_Track((PyObject *)self);
    return (PyObject *)self;
}

/* It was never ended. */
static void drop(Transaction *self)
{
    hfpy_handle *handle = self->handle;

    if (self->level > 0 && hf_txn_mine(handle->map->region) != NULL) {
        abort_to(handle, self->level);
    } else if (self->level > 0) {
        handle->abandoned = self->process == getpid() ? self->level : 0;
        lose(handle, self);
    }
    leave(self);
}

static int transaction_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Transaction *)self)->map);
    return 0;
}

static void transaction_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Transaction *self = (Transaction *)object;

    PyObject_GC_UnTrack(object);
    if (self->handle != NULL)
        drop(self);
    Py_DECREF(self->map);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef transaction_methods[] = {
    {"__enter__", transaction_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))transaction_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot transaction_slots[] = {
    {Py_tp_dealloc, transaction_dealloc},
    {Py_tp_traverse, transaction_traverse},
    {Py_tp_methods, transaction_methods},
    {0, NULL},
};

PyType_Spec hfpy_transaction_spec = {
    .name = "holdfast._homes.SharedTransaction",
    .basicsize = sizeof(Transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transaction_slots,
};
