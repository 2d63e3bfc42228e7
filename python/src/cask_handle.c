/*
 * cask_handle.c: what Casks, snapshots, iterators and batches have in common: the handle and who counts in it, calls
 * without the
 * GIL, closing, exceptions. cask_impl.h has the picture.
 *
 *      close():    closing = true -> wait until nothing is running -> end all pins and batches -> hf_cask_close
 *
 * Concurrency: the GIL. Who closes polls for what is running: that is somebody's write or merge, and close is seldom
 * called.
 *
 * Failure: a cask whose last owner just forgets it is closed too; what goes wrong then is shown as what goes wrong
 * in a
 * destructor (sys.unraisablehook).
 */
#include "cask_impl.h"

#include "base/os.h"

#include <errno.h>
#include <unistd.h>

enum { POLL = 500 * 1000 }; /* nanoseconds */

/* -- handles -- */

hfpy_cask_handle *hfpy_cask_handle_new(homes_state *state, PyObject *path, hf_cask *cask, unsigned flags)
{
    hfpy_cask_handle *handle = hf_alloc(sizeof *handle);

    if (handle == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *handle = (hfpy_cask_handle){
        .cask = cask,
        .state = state,
        .path = Py_NewRef(path),
        .references = 1,
        .flags = flags,
        .slow = cask->how.sync == HF_CASK_SYNC_PUT || cask->how.no_thread,
    };
    return handle;
}

hfpy_cask_handle *hfpy_cask_closed(const Cask *self)
{
    if (self->path == NULL)
        hfpy_throw(self->state, HFPY_CLOSED, "operation on Cask that was not opened");
    else
        hfpy_throw(self->state, HFPY_CLOSED, "operation on closed Cask %R", self->path);
    return NULL;
}

/* -- calls without the GIL -- */

static bool is_running(const hfpy_cask_handle *handle)
{
    return handle->running > 0 && handle->running_in == getpid();
}

void hfpy_cask_begin(hfpy_cask_handle *handle)
{
    pid_t process = getpid();

    if (handle->running_in != process) {
        handle->running_in = process;
        handle->running = 0;
    }
    hfpy_cask_keep(handle);
    handle->running++;
}

void hfpy_cask_end(hfpy_cask_handle *handle)
{
    /* Foreign code in the middle of it (of a check) may have forked. */
    if (handle->running_in == getpid())
        handle->running--;
    hfpy_cask_drop(handle);
}

int hfpy_cask_run(hfpy_cask_handle *handle, hfpy_cask_call call, void *arg)
{
    hf_cask *cask = handle->cask;
    int status;

    if (cask == NULL || handle->closing) {
        hfpy_throw(handle->state, HFPY_CLOSED, "operation on closed Cask %R", handle->path);
        return HF_FOREIGN;
    }
    hfpy_cask_begin(handle);
    Py_BEGIN_ALLOW_THREADS;
    status = call(cask, arg);
    Py_END_ALLOW_THREADS;
    hfpy_cask_end(handle);
    return status;
}

/* -- closing -- */

static void end_all(hfpy_cask_handle *handle)
{
    for (hfpy_cask_pin *pin = handle->pins; pin != NULL; pin = pin->next) {
        hf_cask_snapshot_end(pin->snapshot);
        pin->snapshot = NULL;
    }
    handle->pins = NULL;
    while (handle->batches != NULL)
        hfpy_cask_batch_lose(handle->batches);
}

/* Nothing is under way any more. */
static int close_now(hfpy_cask_handle *handle)
{
    hf_cask *cask = handle->cask;
    int status = 0;

    if (cask == NULL)
        return 0;
    end_all(handle);
    handle->cask = NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = hf_cask_close(cask);
    Py_END_ALLOW_THREADS;
    return status;
}

int hfpy_cask_handle_close(hfpy_cask_handle *handle)
{
    handle->closing = true;
    while (is_running(handle)) {
        Py_BEGIN_ALLOW_THREADS;
        hf_os_sleep(POLL);
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return HF_FOREIGN;
    }
    return close_now(handle);
}

void hfpy_cask_drop(hfpy_cask_handle *handle)
{
    if (--handle->references > 0)
        return;
    PyObject *raised = hfpy_exception_take();
    int status = close_now(handle);
    if (status < 0) {
        hfpy_cask_fail(handle->state, handle->path, status);
        PyErr_WriteUnraisable(handle->path);
    }
    hfpy_exception_give(raised);
    Py_DECREF(handle->path);
    hf_free(handle);
}

/* -- exceptions -- */

int hfpy_cask_fail(homes_state *state, PyObject *path, int status)
{
    switch (status) {
    case HF_FOREIGN:
    case HF_NOMEM:
        return hfpy_fail(state, status, NULL);
    case HF_IO:
        errno = hf_os_errno();
        return hfpy_fail(state, status, "Cask %R: %s", path, errno == 0 ? "a system call failed" : strerror(errno));
    case HF_NOSPACE:
        return hfpy_throw(state, HFPY_DISK_FULL, "there is no space left for Cask %R; nothing has changed", path);
    case HF_DENIED:
        return hfpy_fail(state, status, "Cask %R is open for reading only", path);
    case HF_CORRUPT:
        return hfpy_fail(state, status, "Cask %R is damaged: check() says where", path);
    case HF_LIMIT:
        return hfpy_fail(
            state, status,
            "too large for Cask %R: as bytes, a key has less than 16 MiB, a value less than 4 GiB, a batch "
            "less than 8 GiB",
            path);
    case HF_LOST:
        return hfpy_fail(state, status,
                         "Cask %R is open in the parent process, not here: open it again, with mode='r'", path);
    case HF_BROKEN:
        return hfpy_fail(state, status,
                         "a flush of Cask %R has failed, so what was written last may be lost: close it and open it "
                         "again",
                         path);
    default:
        return hfpy_fail(state, status, "Cask %R: %s", path, hf_status_message(status));
    }
}

/* -- pins -- */

hfpy_cask_pin *hfpy_cask_pin_new(hfpy_cask_handle *handle)
{
    hfpy_cask_pin *pin = hf_alloc(sizeof *pin);
    int status = pin == NULL ? HF_NOMEM : hf_cask_snapshot_begin(handle->cask, &pin->snapshot);

    if (status < 0) {
        if (pin != NULL)
            hf_free(pin);
        hfpy_cask_fail(handle->state, handle->path, status);
        return NULL;
    }
    pin->handle = hfpy_cask_keep(handle);
    pin->references = 1;
    pin->previous = NULL;
    pin->next = handle->pins;
    if (pin->next != NULL)
        pin->next->previous = pin;
    handle->pins = pin;
    return pin;
}

void hfpy_cask_pin_drop(hfpy_cask_pin *pin)
{
    if (pin == NULL || --pin->references > 0)
        return;
    hfpy_cask_handle *handle = pin->handle;
    if (pin->snapshot != NULL) {
        hf_cask_snapshot_end(pin->snapshot);
        if (pin->next != NULL)
            pin->next->previous = pin->previous;
        if (pin->previous != NULL)
            pin->previous->next = pin->next;
        else
            handle->pins = pin->next;
    }
    hf_free(pin);
    hfpy_cask_drop(handle);
}

/* -- keys and values (cask_impl.h) -- */

PyObject *hfpy_cask_decode_copy(homes_state *state, hf_span bytes, unsigned flags, hf_cask_hold *hold)
{
    uint8_t room[1024], *copy = bytes.size <= sizeof room ? room : hf_alloc(bytes.size);

    if (copy != NULL && bytes.size > 0)
        memcpy(copy, bytes.bytes, bytes.size);
    if (hold != NULL)
        hf_cask_release(hold);
    if (copy == NULL)
        return PyErr_NoMemory();
    PyObject *object = hfpy_decode(state, copy, bytes.size, flags);
    if (copy != room)
        hf_free(copy);
    return object;
}

/* Seconds of a number or a timedelta. */
static int seconds_of(PyObject *object, double *out)
{
    PyObject *seconds = NULL;

    if (!PyFloat_Check(object) && !PyLong_Check(object)) {
        seconds = PyObject_CallMethod(object, "total_seconds", NULL);
        if (seconds == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Format(PyExc_TypeError, "a time to live is a number of seconds or a timedelta, not '%.100s'",
                         Py_TYPE(object)->tp_name);
        if (seconds == NULL)
            return -1;
        object = seconds;
    }
    *out = PyFloat_AsDouble(object);
    Py_XDECREF(seconds);
    if (*out != -1.0 || !PyErr_Occurred())
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    PyErr_Clear();
    *out = 1e300;
    return 0;
}

int hfpy_cask_ttl_of(PyObject *object, int64_t *out)
{
    double seconds;

    if (object == Py_None) {
        *out = 0;
        return 0;
    }
    if (seconds_of(object, &seconds) < 0)
        return -1;
    if (!(seconds > 0)) {
        PyErr_Format(PyExc_ValueError, "a time to live must be more than 0 seconds, not %R", object);
        return -1;
    }
    /* What is longer than the numbers of a file go, is for ever. */
    if (seconds >= 1e15) {
        *out = HF_CASK_FOR_EVER;
        return 0;
    }
    int64_t milliseconds = (int64_t)(seconds * 1000 + 0.5);
    *out = milliseconds < 1 ? 1 : milliseconds;
    return 0;
}

int hfpy_cask_put_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *ttl)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    if (count < 2 || count + named > 3) {
        PyErr_Format(PyExc_TypeError, "put() takes 2 or 3 arguments, %zd given", count + named);
        return -1;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "ttl") != 0) {
        PyErr_Format(PyExc_TypeError, "put() has no keyword argument %R", PyTuple_GET_ITEM(names, 0));
        return -1;
    }
    return count + named == 3 ? hfpy_cask_ttl_of(args[2], ttl) : 0;
}
