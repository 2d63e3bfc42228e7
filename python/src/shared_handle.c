/*
 * shared_handle.c: what SharedMaps, snapshots, iterators and transactions have in common: the handle and who counts
 * in it, waiting for the writer's lock, exceptions. shared_impl.h has the picture.
 *
 * Waiting: the lock is tried with the GIL held, a few microseconds long where another has it. Then the GIL is given
 * up, and the whole change is made without it, in slices: after each, signals are looked at.
 *
 * Concurrency: the GIL. Failure: a handle that cannot be closed (a thread that lives on has a transaction of it that
 * nobody can end any more) stays open.
 */
#include "shared_key.h"

#include "base/os.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* A change takes less than a microsecond, so the lock is often free again before a thread could sleep and wake: it is
 * tried so many times first, with so many pauses in between. */
enum { SLICE = 50 * 1000 * 1000 };

/* -- handles -- */

hfpy_handle *hfpy_handle_new(hf_shared *map)
{
    hfpy_handle *handle = hf_alloc(sizeof *handle);

    if (handle == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *handle = (hfpy_handle){.map = map, .references = 1};
    return handle;
}

static bool is_waited_for(const hfpy_handle *handle)
{
    return handle->waiting > 0 && handle->waiting_in == getpid();
}

static void close_unused(hfpy_handle *handle)
{
    if (handle->references > 0 || is_waited_for(handle))
        return;
    hfpy_handle_settle(handle);
    if (hf_shared_close(handle->map) != HF_BUSY)
        hf_free(handle);
}

void hfpy_handle_drop(hfpy_handle *handle)
{
    handle->references--;
    close_unused(handle);
}

hfpy_handle *hfpy_shared_closed(SharedMap *self)
{
    if (self->name == NULL)
        hfpy_throw(self->state, HFPY_CLOSED, "operation on SharedMap that was not opened");
    else
        hfpy_throw(self->state, HFPY_CLOSED, "operation on closed SharedMap %R", self->name);
    return NULL;
}

/* -- waiting -- */

static int64_t now(void)
{
    struct timespec time;

    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int hfpy_wait(hfpy_attempt attempt, void *arg, int64_t timeout)
{
    int64_t start = now(), left = timeout;
    int status;

    do {
        int64_t slice = timeout < 0 || left > SLICE ? SLICE : left < 0 ? 0 : left;
        Py_BEGIN_ALLOW_THREADS;
        status = attempt(arg, slice);
        Py_END_ALLOW_THREADS;
        if (status != HF_TIMEOUT)
            return status;
        if (PyErr_CheckSignals() < 0)
            return HF_FOREIGN;
        left = timeout - (now() - start);
    } while (timeout < 0 || left > 0);
    return HF_TIMEOUT;
}

int hfpy_handle_wait(hfpy_handle *handle, hfpy_attempt attempt, void *arg, int64_t timeout)
{
    pid_t process = getpid();

    if (handle->waiting_in != process) {
        handle->waiting_in = process;
        handle->waiting = 0;
    }
    handle->waiting++;
    int status = hfpy_wait(attempt, arg, timeout);
    if (handle->waiting_in == getpid()) /* no signal's handler has forked */
        handle->waiting--;
    close_unused(handle);
    return status;
}

typedef struct change {
    hf_shared *map;
    hfpy_step step;
    void *arg;
} change;

static int attempt_change(void *arg, int64_t timeout)
{
    change *it = arg;
    hf_shared_write write;
    int status = hf_shared_write_begin(it->map, timeout, &write);

    return status < 0 ? status : hf_shared_write_end(&write, it->step(&write, it->arg));
}

int hfpy_shared_change_slowly(SharedMap *self, hfpy_handle *handle, hfpy_step step, void *arg)
{
    change it = {hfpy_handle_map(handle), step, arg};

    return hfpy_handle_wait(handle, attempt_change, &it, self->timeout);
}

/* -- exceptions -- */

PyObject *hfpy_key_error(PyObject *key)
{
    PyObject *arguments = PyTuple_Pack(1, key);

    if (arguments != NULL)
        PyErr_SetObject(PyExc_KeyError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

/* What there is no space for, and why. */
static int fail_full(homes_state *state, PyObject *name, hfpy_handle *handle)
{
    hf_shared_stats stats;

    if (handle == NULL || hf_shared_stats_get(handle->map, &stats) < 0 || stats.max_size == 0)
        return hfpy_throw(state, HFPY_NOSPACE, "no shared memory is left for SharedMap %R", name);
    return hfpy_throw(state, HFPY_NOSPACE, "SharedMap %R is full: its max_size is %llu bytes, of which it has %llu",
                      name, (unsigned long long)stats.max_size, (unsigned long long)stats.size);
}

static int fail_timeout(homes_state *state, PyObject *name, int64_t timeout)
{
    PyObject *seconds = PyFloat_FromDouble((double)timeout / 1e9);

    if (seconds != NULL)
        hfpy_throw(state, HFPY_TIMEOUT, "SharedMap %R: others were writing for longer than %R seconds", name,
                   seconds);
    Py_XDECREF(seconds);
    return -1;
}

int hfpy_shared_fail_named(homes_state *state, PyObject *name, hfpy_handle *handle, int64_t timeout, int status)
{
    switch (status) {
    case HF_TIMEOUT:
        return fail_timeout(state, name, timeout);
    case HF_NOSPACE:
        return fail_full(state, name, handle);
    case HF_BUSY:
        return hfpy_fail(state, status, "this thread is in a transaction of %R through another SharedMap", name);
    case HF_FOREIGN:
    case HF_NOMEM:
        return hfpy_fail(state, status, NULL);
    case HF_CORRUPT:
        return hfpy_fail(state, status, "SharedMap %R is damaged", name);
    case HF_SLOTS:
        return hfpy_fail(state, status, "SharedMap %R has too many readers at a time", name);
    default:
        return hfpy_fail(state, status, "SharedMap %R: %s", name, hf_status_message(status));
    }
}

int hfpy_shared_fail(SharedMap *self, int status)
{
    return hfpy_shared_fail_named(self->state, self->name, self->handle, self->timeout, status);
}

/* -- pins -- */

hfpy_pin *hfpy_pin_new(SharedMap *self)
{
    hfpy_handle *handle = hfpy_shared_handle(self);

    if (handle == NULL)
        return NULL;
    hfpy_pin *pin = hf_alloc(sizeof *pin);
    int status = pin == NULL ? HF_NOMEM : hf_shared_snapshot_begin(handle->map, &pin->snapshot);
    if (status < 0) {
        hf_free(pin);
        hfpy_shared_fail(self, status);
        return NULL;
    }
    pin->handle = hfpy_handle_keep(handle);
    pin->references = 1;
    return pin;
}

void hfpy_pin_drop(hfpy_pin *pin)
{
    if (pin == NULL || --pin->references > 0)
        return;
    hf_shared_snapshot_end(pin->snapshot);
    hfpy_handle_drop(pin->handle);
    hf_free(pin);
}

/* -- keys and values (shared_key.h) -- */

int hfpy_shared_key_long(homes_state *state, PyObject *object, unsigned flags, hfpy_shared_key *key)
{
    struct hfpy_key *codec = &key->codec;

    if (hfpy_key(state, object, flags | HFPY_AS_KEY, codec) < 0)
        return -1;
    const hf_buffer *encoded = &codec->encoded;
    const hf_canonical *form = &codec->canonical;
    bool own = form->size == encoded->size && memcmp(form->bytes, encoded->bytes, form->size) == 0;
    key->is_long = true;
    key->shared.key.bytes = form->bytes;
    key->shared.key.size = form->size;
    key->shared.given = own ? hf_span_of(NULL, 0) : hf_span_of(encoded->bytes, encoded->size);
    return 0;
}

PyObject *hfpy_shared_take_copied(homes_state *state, hf_shared_hold *hold, hf_span value, unsigned flags)
{
    uint8_t room[1024], *copy = value.size <= sizeof room ? room : hf_alloc(value.size);

    if (copy != NULL && value.size > 0)
        memcpy(copy, value.bytes, value.size);
    hf_shared_release(hold);
    if (copy == NULL)
        return PyErr_NoMemory();
    PyObject *object = hfpy_decode(state, copy, value.size, flags);
    if (copy != room)
        hf_free(copy);
    return object;
}
