/*
 * cask_look.c: looking after a Cask: status, merging, check, backup; and salvage, of one that nobody can open.
 *
 *      check, salvage    without the GIL --a fault, or progress--> with it: report(...) --> without it
 *      merge             the same, to look at signals
 *
 * Concurrency: nothing here has the GIL for long. Ctrl-C ends a check, a merge or a salvage. Failure: cask_impl.h.
 */
#include "cask_impl.h"

#include "base/os.h"

#include <time.h>

/* -- status -- */

typedef struct looking {
    hf_cask_status status;
    hf_buffer files; /* of hf_cask_file */
} looking;

static int visit_file(void *arg, const hf_cask_file *file)
{
    hf_buffer *out = arg;
    int status = hf_buffer_reserve(out, sizeof *file);

    if (status == 0)
        hf_buffer_put(out, file, sizeof *file);
    return status;
}

static int call_status(hf_cask *cask, void *arg)
{
    looking *it = arg;

    return hf_cask_status_get(cask, &it->status, visit_file, &it->files);
}

/* [(number, active, merged, keys, dead keys, bytes, dead bytes, fragmentation)] */
static PyObject *describe_files(const hf_buffer *files)
{
    PyObject *list = PyList_New(0);
    hf_cask_file file;

    for (size_t at = 0; list != NULL && at < files->size; at += sizeof file) {
        memcpy(&file, files->bytes + at, sizeof file);
        PyObject *one =
            Py_BuildValue("(INNKKKKI)", file.number, PyBool_FromLong(file.active), PyBool_FromLong(file.merged),
                          (unsigned long long)file.keys, (unsigned long long)file.dead_keys,
                          (unsigned long long)file.bytes, (unsigned long long)file.dead_bytes, file.fragmentation);
        if (one == NULL || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

PyObject *hfpy_cask_status(PyObject *object, PyObject *unused)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    PyObject *result = NULL;
    looking it;

    if (handle == NULL)
        return NULL;
    hf_buffer_init(&it.files, NULL, 0, SIZE_MAX);
    int status = hfpy_cask_run(handle, call_status, &it);
    if (status < 0) {
        hfpy_cask_fail(self->state, self->path, status);
    } else {
        const hf_cask_status *found = &it.status;
        PyObject *files = describe_files(&it.files);
        if (files != NULL)
            result = Py_BuildValue("(KNKKKKKKKK(KKK)NKKN)", (unsigned long long)found->keys, files,
                                   (unsigned long long)found->bytes, (unsigned long long)found->dead_bytes,
                                   (unsigned long long)found->sequence, (unsigned long long)found->synced,
                                   (unsigned long long)found->keydir_bytes, (unsigned long long)found->tail_bytes,
                                   (unsigned long long)found->written, (unsigned long long)found->written_keydir,
                                   (unsigned long long)found->merged.files, (unsigned long long)found->merged.copied,
                                   (unsigned long long)found->merged.dropped, PyBool_FromLong(found->recovered),
                                   (unsigned long long)found->cut, (unsigned long long)found->lost,
                                   PyBool_FromLong(found->broken));
    }
    hf_buffer_clear(&it.files);
    return result;
}

static int call_needs_merge(hf_cask *cask, void *unused)
{
    return hf_cask_needs_merge(cask);
}

PyObject *hfpy_cask_needs(PyObject *object, PyObject *unused)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if (handle == NULL)
        return NULL;
    int status = hfpy_cask_run(handle, call_needs_merge, NULL);
    if (status < 0) {
        hfpy_cask_fail(self->state, self->path, status);
        return NULL;
    }
    return PyBool_FromLong(status);
}

/* -- check -- */

/* A Python function that is told of faults and of progress, by a call that runs without the GIL. */
typedef struct telling {
    PyObject *report;
    PyThreadState *thread;
    hfpy_cask_handle *handle; /* or NULL */
    unsigned files;           /* of a merge */
    int64_t last;             /* when signals were looked at */
    hf_cask_merged merged;
    const char *to; /* of salvage */
} telling;

static int tell(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of)
{
    telling *it = arg;
    PyObject *answer = NULL;

    PyEval_RestoreThread(it->thread);
    if (it->handle != NULL)
        it->handle->telling = PyThread_get_thread_ident();
    if (PyErr_CheckSignals() == 0)
        answer = PyObject_CallFunction(
            it->report, "zIKKKK", fault == NULL ? NULL : fault->what, fault == NULL ? 0 : fault->file,
            fault == NULL ? 0ULL : (unsigned long long)fault->at,
            fault == NULL ? 0ULL : (unsigned long long)fault->size, (unsigned long long)done, (unsigned long long)of);
    if (it->handle != NULL)
        it->handle->telling = 0;
    Py_XDECREF(answer);
    it->thread = PyEval_SaveThread();
    return answer == NULL ? HF_FOREIGN : 0;
}

/* hfpy_cask_run, for a call that takes the GIL now and then: the call and it know the same thread state. */
static int run_telling(hfpy_cask_handle *handle, telling *it, int (*call)(hf_cask *cask, telling *it))
{
    hf_cask *cask = handle->cask;

    if (cask == NULL || handle->closing) {
        hfpy_throw(handle->state, HFPY_CLOSED, "operation on closed Cask %R", handle->path);
        return HF_FOREIGN;
    }
    hfpy_cask_begin(handle);
    it->handle = handle;
    it->thread = PyEval_SaveThread();
    int status = call(cask, it);
    PyEval_RestoreThread(it->thread);
    hfpy_cask_end(handle);
    return status;
}

static int call_check(hf_cask *cask, telling *it)
{
    return hf_cask_check(cask, tell, it);
}

/* report(what or None, file, at, size, done, of). True: nothing was wrong. */
PyObject *hfpy_cask_check_all(PyObject *object, PyObject *report)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if (handle == NULL)
        return NULL;
    telling it = {.report = report};
    int status = run_telling(handle, &it, call_check);
    if (status == 0 || (status == HF_CORRUPT && !PyErr_Occurred()))
        return PyBool_FromLong(status == 0);
    hfpy_cask_fail(self->state, self->path, status);
    return NULL;
}

/* -- merging -- */

enum { LOOK = 50 * 1000 * 1000 }; /* nanoseconds: so often signals are looked at */

/* What is told of a merge: nothing but that time goes by. */
static int go_on(void *arg)
{
    telling *it = arg;
    struct timespec time;
    int status = 0;

    if (hf_os_clock_gettime(CLOCK_MONOTONIC, &time) < 0)
        return 0;
    int64_t now = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    if (now - it->last < LOOK)
        return 0;
    it->last = now;
    PyEval_RestoreThread(it->thread);
    it->handle->telling = PyThread_get_thread_ident();
    status = PyErr_CheckSignals();
    it->handle->telling = 0;
    it->thread = PyEval_SaveThread();
    return status < 0 ? HF_FOREIGN : 0;
}

static int call_merge(hf_cask *cask, telling *it)
{
    return hf_cask_merge_told(cask, it->files, go_on, it, &it->merged);
}

/* (files, bytes copied, bytes dropped); of at most so many files, 0: of all. */
PyObject *hfpy_cask_merge_files(PyObject *object, PyObject *files)
{
    Cask *self = (Cask *)object;
    unsigned long count = PyLong_AsUnsignedLong(files);
    telling it = {.files = count > UINT32_MAX ? UINT32_MAX : (unsigned)count};
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if ((count == (unsigned long)-1 && PyErr_Occurred()) || handle == NULL)
        return NULL;
    int status = run_telling(handle, &it, call_merge);
    if (status == HF_BUSY)
        hfpy_fail(self->state, status, "Cask %R is being merged already", self->path);
    else if (status < 0)
        hfpy_cask_fail(self->state, self->path, status);
    if (status < 0)
        return NULL;
    return Py_BuildValue("(KKK)", (unsigned long long)it.merged.files, (unsigned long long)it.merged.copied,
                         (unsigned long long)it.merged.dropped);
}

/* -- salvage -- */

/* cask_salvage(from, to, report), of paths as bytes. */
PyObject *hfpy_cask_salvage(PyObject *module, PyObject *args)
{
    homes_state *state = hfpy_homes_state(module);
    const char *from;
    telling it = {.handle = NULL};
    int status;

    if (!PyArg_ParseTuple(args, "yyO:cask_salvage", &from, &it.to, &it.report))
        return NULL;
    it.thread = PyEval_SaveThread();
    status = hf_cask_salvage(from, it.to, tell, &it);
    PyEval_RestoreThread(it.thread);
    if (status == 0)
        Py_RETURN_NONE;
    PyObject *source = PyUnicode_DecodeFSDefault(from), *target = PyUnicode_DecodeFSDefault(it.to);
    if (source != NULL && target != NULL) {
        if (status == HF_EXISTS)
            hfpy_fail(state, status, "there is something called %R already", target);
        else if (status == HF_ABSENT)
            hfpy_fail(state, status, "there is no Cask %R, or no folder for %R", source, target);
        else if (status == HF_NOT_CASK)
            hfpy_fail(state, status, "there are no log files of a Cask in %R", source);
        else if (status == HF_BUSY)
            hfpy_fail(state, status, "Cask %R is open somewhere", source);
        else
            hfpy_cask_fail(state, source, status);
    }
    Py_XDECREF(source);
    Py_XDECREF(target);
    return NULL;
}

/* -- backup -- */

static int call_backup(hf_cask *cask, void *arg)
{
    return hf_cask_backup(cask, arg);
}

/* To a path as bytes. */
PyObject *hfpy_cask_backup_to(PyObject *object, PyObject *path)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    char *to;

    if (handle == NULL || PyBytes_AsStringAndSize(path, &to, NULL) < 0)
        return NULL;
    int status = hfpy_cask_run(handle, call_backup, to);
    if (status == 0)
        Py_RETURN_NONE;
    PyObject *name = PyUnicode_DecodeFSDefault(to);
    if (name != NULL && status == HF_EXISTS)
        hfpy_fail(self->state, status, "there is something called %R already", name);
    else if (name != NULL && status == HF_ABSENT)
        hfpy_fail(self->state, status, "there is no folder for %R", name);
    else if (name != NULL)
        hfpy_cask_fail(self->state, self->path, status);
    Py_XDECREF(name);
    return NULL;
}
