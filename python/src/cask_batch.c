/*
 * cask_batch.c: with cask.batch() as b: ...
 *
 *      CaskBatch --> hf_cask_batch      encoded steps, in memory
 *          \-------> handle             which knows its batches: a close ends them
 *
 * What is put is encoded at once, so what is done to an object later is not in it. Nothing is looked up.
 *
 * Concurrency: the GIL, which is given up to write; a thread that uses a batch meanwhile gets a BusyError. Failure:
 * cask_impl.h; a commit that
 * failed has changed nothing, and the batch is as it was.
 */
#include "cask_impl.h"
#include "source.h"

#define METHOD(function) ((PyCFunction)(void (*)(void))function)

static void unlink_batch(CaskBatch *self)
{
    if (self->next != NULL)
        self->next->previous = self->previous;
    if (self->previous != NULL)
        self->previous->next = self->next;
    else
        self->handle->batches = self->next;
    self->next = self->previous = NULL;
}

static void end(CaskBatch *self)
{
    hf_cask_batch *batch = self->batch;

    if (batch == NULL)
        return;
    self->batch = NULL;
    unlink_batch(self);
    hf_cask_batch_end(batch);
}

void hfpy_cask_batch_lose(CaskBatch *batch)
{
    batch->is_closed = true;
    end(batch);
}

PyObject *hfpy_cask_batch_new(Cask *cask)
{
    CaskBatch *self = PyObject_GC_New(CaskBatch, cask->state->cask.batch_type);
    /* Not before: the collector may close the cask. */
    hfpy_cask_handle *handle = self == NULL ? NULL : hfpy_cask_handle_of(cask);
    int status = handle == NULL ? HF_FOREIGN : hf_cask_batch_begin(handle->cask, &self->batch);

    if (status < 0) {
        if (handle != NULL)
            hfpy_cask_fail(cask->state, cask->path, status);
        if (self != NULL) {
            self->handle = NULL;
            self->batch = NULL;
            Py_DECREF(self);
        }
        return NULL;
    }
    self->handle = hfpy_cask_keep(handle);
    self->size = 0;
    self->is_closed = self->is_busy = false;
    self->previous = NULL;
    self->next = handle->batches;
    if (self->next != NULL)
        self->next->previous = self;
    handle->batches = self;
    PyObject_GC_Track((PyObject *)self);
    return (PyObject *)self;
}

/* 0, or -1 with an exception: it has ended, or is another thread's just now. */
static int check(const CaskBatch *self)
{
    const hfpy_cask_handle *handle = self->handle;

    if (self->is_busy)
        return hfpy_throw(handle->state, HFPY_BUSY, "this batch of Cask %R is being committed by another thread",
                          handle->path);
    if (self->batch != NULL && !handle->closing)
        return 0;
    if (self->is_closed || handle->closing)
        return hfpy_throw(handle->state, HFPY_CLOSED, "operation on a batch of closed Cask %R", handle->path);
    return hfpy_throw(handle->state, HFPY_CLOSED, "this batch of Cask %R has ended", handle->path);
}

static int fail(const CaskBatch *self, int status)
{
    return hfpy_cask_fail(self->handle->state, self->handle->path, status);
}

/* -- filling it -- */

static int put(CaskBatch *self, PyObject *key_object, PyObject *value_object, int64_t ttl)
{
    hfpy_cask_handle *handle = self->handle;
    hfpy_cask_value value;
    hfpy_stored_key key;
    int status = HF_FOREIGN;

    if (hfpy_stored_key_make(handle->state, key_object, handle->flags, &key) < 0)
        return -1;
    if (hfpy_cask_value_make(handle->state, value_object, handle->flags, &value) == 0) {
        if (check(self) == 0) {
            hf_cask_key named = hfpy_cask_key(handle->cask, &key);
            status = hf_cask_batch_put_encoded(self->batch, &named, value.head, value.value, ttl);
        }
        hfpy_cask_value_clear(&value);
    }
    hfpy_stored_key_clear(&key);
    self->size += status == 0;
    return status < 0 ? fail(self, status) : 0;
}

static int discard(CaskBatch *self, PyObject *key_object)
{
    hfpy_cask_handle *handle = self->handle;
    hfpy_stored_key key;
    int status = HF_FOREIGN;

    if (hfpy_stored_key_make(handle->state, key_object, handle->flags, &key) < 0)
        return -1;
    if (check(self) == 0) {
        hf_cask_key named = hfpy_cask_key(handle->cask, &key);
        status = hf_cask_batch_delete_encoded(self->batch, &named);
    }
    hfpy_stored_key_clear(&key);
    self->size += status == 0;
    return status < 0 ? fail(self, status) : 0;
}

static int add_entry(void *arg, PyObject *key, PyObject *value)
{
    return put(arg, key, value, 0);
}

int hfpy_cask_batch_add_all(CaskBatch *self, PyObject *source)
{
    return hfpy_source_each(self->handle->state, source, add_entry, self);
}

static int batch_assign(PyObject *self, PyObject *key, PyObject *value)
{
    return value != NULL ? put((CaskBatch *)self, key, value, 0) : discard((CaskBatch *)self, key);
}

static PyObject *batch_put(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t ttl = 0;

    if ((count != 2 || names != NULL) && hfpy_cask_put_arguments(args, count, names, &ttl) < 0)
        return NULL;
    if (put((CaskBatch *)self, args[0], args[1], ttl) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *batch_delete(PyObject *self, PyObject *key)
{
    if (discard((CaskBatch *)self, key) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *batch_update(PyObject *object, PyObject *args, PyObject *kwargs)
{
    CaskBatch *self = (CaskBatch *)object;
    PyObject *source = NULL;

    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source) ||
        (source != NULL && hfpy_cask_batch_add_all(self, source) < 0) ||
        (kwargs != NULL && hfpy_cask_batch_add_all(self, kwargs) < 0))
        return NULL;
    Py_RETURN_NONE;
}

/* An encoded key and value, and when it expires or None: what _iter_records gave. Private: for `load`. */
static PyObject *batch_put_encoded(PyObject *object, PyObject *args)
{
    CaskBatch *self = (CaskBatch *)object;
    homes_state *state = self->handle->state;
    const char *key, *value, *reason = NULL;
    Py_ssize_t key_size, value_size;
    PyObject *ttl_object;
    hf_canonical form;
    int64_t ttl;

    if (!PyArg_ParseTuple(args, "y#y#O:_put_encoded", &key, &key_size, &value, &value_size, &ttl_object) ||
        hfpy_cask_ttl_of(ttl_object, &ttl) < 0 || check(self) < 0)
        return NULL;
    if (hf_value_check(value, (size_t)value_size, &reason) < 0) {
        hfpy_throw(state, HFPY_CORRUPT, "this is no encoded value: %s", reason == NULL ? "" : reason);
        return NULL;
    }
    int status = hf_canonical_init(&form, key, (size_t)key_size, &reason);
    if (status < 0) {
        hfpy_fail(state, status, "this is no encoded key: %s", reason == NULL ? "" : reason);
        return NULL;
    }
    hf_cask_key named = hf_cask_key_of(self->handle->cask, &form, hf_span_of(key, (size_t)key_size));
    status = hf_cask_batch_put_encoded(self->batch, &named, hf_span_of(NULL, 0),
                                       hf_span_of(value, (size_t)value_size), ttl);
    hf_canonical_clear(&form);
    if (status < 0) {
        fail(self, status);
        return NULL;
    }
    self->size++;
    Py_RETURN_NONE;
}

/* -- its end -- */

static int call_commit(hf_cask *cask, void *arg)
{
    return hf_cask_batch_commit(arg);
}

int hfpy_cask_batch_commit_now(CaskBatch *self)
{
    if (check(self) < 0)
        return -1;
    self->is_busy = true;
    int status = hfpy_cask_run(self->handle, call_commit, self->batch);
    self->is_busy = false;
    if (status < 0)
        return fail(self, status);
    self->size = 0;
    return 0;
}

static PyObject *batch_commit(PyObject *self, PyObject *unused)
{
    if (hfpy_cask_batch_commit_now((CaskBatch *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *batch_enter(PyObject *self, PyObject *unused)
{
    return check((CaskBatch *)self) < 0 ? NULL : Py_NewRef(self);
}

static PyObject *batch_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    CaskBatch *self = (CaskBatch *)object;

    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "__exit__() takes exactly 3 arguments (%zd given)", count);
        return NULL;
    }
    if (args[0] == Py_None && hfpy_cask_batch_commit_now(self) < 0)
        return NULL;
    if (!self->is_busy)
        end(self);
    Py_RETURN_FALSE;
}

/* -- the object -- */

static Py_ssize_t batch_length(PyObject *self)
{
    return ((CaskBatch *)self)->size;
}

static int batch_bool(PyObject *self)
{
    return 1;
}

static int batch_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void batch_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    CaskBatch *self = (CaskBatch *)object;

    PyObject_GC_UnTrack(object);
    end(self);
    if (self->handle != NULL)
        hfpy_cask_drop(self->handle);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *batch_repr(PyObject *object)
{
    CaskBatch *self = (CaskBatch *)object;

    if (self->batch == NULL)
        return PyUnicode_FromFormat("<CaskBatch of %R: ended>", self->handle->path);
    return PyUnicode_FromFormat("<CaskBatch of %R: %zd step%s>", self->handle->path, self->size,
                                self->size == 1 ? "" : "s");
}

static PyMethodDef batch_methods[] = {
    {"put", METHOD(batch_put), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("put($self, key, value, /, ttl=None)\n--\n\n"
               "The same as self[key] = value; with a ttl, as Cask.put; it counts from the commit.")},
    {"delete", batch_delete, METH_O,
     PyDoc_STR("delete($self, key, /)\n--\n\nThe same as del self[key]: whether the key is there or not.")},
    {"update", METHOD(batch_update), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("update($self, source=(), /, **kwargs)\n--\n\n"
               "Put all entries of a mapping, or pairs of an iterable, and the keywords.")},
    {"commit", batch_commit, METH_NOARGS,
     PyDoc_STR("commit($self, /)\n--\n\n"
               "Write what is in it, in one step, and go on with an empty one. If it fails nothing has changed, the "
               "batch is\n"
               "as it was, and can be committed again.")},
    {"__enter__", batch_enter, METH_NOARGS, NULL},
    {"__exit__", METHOD(batch_exit), METH_FASTCALL, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("See PEP 585.")},
    {"_put_encoded", batch_put_encoded, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    batch_doc,
    "What is put into a cask, and deleted from it, in one step: made by Cask.batch().\n\n"
    "b[k] = v, del b[k], b.put(k, v, ttl), b.delete(k) and b.update(...) are remembered, in memory, in their order;\n"
    "nobody sees anything of it, nor does the cask's own get. At the end of its `with`, or by commit(), all of it "
    "is\n"
    "written at once, and seen at once: after a crash all of it is there or nothing. len() says how many steps it\n"
    "has. It belongs to one thread at a time, and is gone with the close of its cask.");

static PyType_Slot batch_slots[] = {
    {Py_tp_dealloc, batch_dealloc}, {Py_tp_traverse, batch_traverse},    {Py_tp_repr, batch_repr},
    {Py_tp_doc, (void *)batch_doc}, {Py_mp_ass_subscript, batch_assign}, {Py_mp_length, batch_length},
    {Py_nb_bool, batch_bool},       {Py_tp_methods, batch_methods},      {0, NULL},
};

PyType_Spec hfpy_cask_batch_spec = {
    .name = "holdfast.CaskBatch",
    .basicsize = sizeof(CaskBatch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};
