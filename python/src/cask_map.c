/*
 * cask_map.c: the type of Casks: opening, closing, [] get put del in len info. cask_impl.h has the picture.
 *
 * holdfast.Cask is a subclass in Python that adds what is seldom called; it defines none of the slots here, so that
 * c[k] goes
 * straight to cask_subscript.
 *
 *      c[k]        key_make (stack) -> hf_cask_find (the log, under a hold) -> plain (object from bytes) -> release
 *      c[k] = v    key_make (stack), the value where it is -> hf_cask_put_encoded
 *
 * Concurrency: a look-up and a short put that nothing is waited for keep the GIL: they take less time than to give
 * it up and get it
 * back. Failure: cask_impl.h.
 */
#include "cask_impl.h"

#define METHOD(function) ((PyCFunction)(void (*)(void))function)

/* -- opening -- */

/* What holdfast/cask.py has made of the arguments: numbers as the core has them. */
static int options_of(PyObject *args, PyObject **path, PyObject **ttl, hf_cask_options *how, int *pickle)
{
    int mode, sync, in_memory, no_thread, by_call;
    long long interval;
    unsigned long long most, checkpoint;
    unsigned long long merging[7];

    if (!PyArg_ParseTuple(args, "O!iiLKOpppK(KKKKKKK)p:Cask", &PyBytes_Type, path, &mode, &sync, &interval, &most,
                          ttl, &in_memory, pickle, &no_thread, &checkpoint, &merging[0], &merging[1], &merging[2],
                          &merging[3], &merging[4], &merging[5], &merging[6], &by_call))
        return -1;
    *how = (hf_cask_options){
        .mode = (hf_cask_mode)mode,
        .sync = (hf_cask_sync)sync,
        .interval = interval,
        .max_file_size = most,
        .keydir_in_memory = in_memory != 0,
        .checkpoint = checkpoint,
        .no_thread = no_thread != 0,
        .merging =
            {
                .fragmentation_trigger = merging[0],
                .dead_bytes_trigger = merging[1],
                .fragmentation_threshold = merging[2],
                .dead_bytes_threshold = merging[3],
                .small_file_threshold = merging[4],
                .expiry_grace = merging[5],
                .rate = merging[6],
                .by_call = by_call != 0,
            },
    };
    if (hfpy_cask_ttl_of(*ttl, &how->ttl) < 0)
        return -1;
    if (how->ttl < 0)
        how->ttl = 0;
    return 0;
}

static int fail_open(homes_state *state, PyObject *path, hf_cask_mode mode, int status)
{
    /* Whoever has it open was here before. */
    if (status == HF_BUSY && mode == HF_CASK_CREATE)
        status = HF_EXISTS;
    switch (status) {
    case HF_ABSENT:
        return hfpy_fail(state, status,
                         mode == HF_CASK_READ ? "there is no Cask %R" : "there is no folder for Cask %R", path);
    case HF_EXISTS:
        return hfpy_fail(state, status, "there is a Cask %R already", path);
    case HF_BUSY:
        return hfpy_fail(state, status,
                         mode == HF_CASK_READ
                             ? "Cask %R is open where nobody else can read it: its keydir is in memory"
                             : "Cask %R is open to write, and only one can: mode='r' reads it meanwhile",
                         path);
    case HF_DENIED:
        return hfpy_fail(state, status, "the permissions of %R do not let this user open it as a Cask", path);
    case HF_NOT_CASK:
        return hfpy_fail(state, status, "what is in %R is no Cask", path);
    case HF_FORMAT:
        return hfpy_fail(state, status, "Cask %R was made by another version of holdfast", path);
    case HF_READ_ONLY:
        return hfpy_fail(state, status, "Cask %R is where nothing can be written: mode='r' reads it", path);
    case HF_CORRUPT:
        return hfpy_fail(state, status, "Cask %R is damaged: salvage() makes another of what is whole", path);
    case HF_INVALID:
        return hfpy_fail(state, status, "an option of Cask %R is out of its range", path);
    default:
        return hfpy_cask_fail(state, path, status);
    }
}

/* Opens, and puts what was opened in the place of what was open. */
static int open_as(Cask *self, const char *path, const hf_cask_options *how, unsigned flags)
{
    PyObject *name = PyUnicode_DecodeFSDefault(path);
    hfpy_cask_handle *handle, *old = self->handle;
    hf_cask *cask = NULL;
    int status;

    if (name == NULL)
        return -1;
    Py_BEGIN_ALLOW_THREADS;
    status = hf_cask_open(path, how, &cask);
    Py_END_ALLOW_THREADS;
    if (status < 0) {
        fail_open(self->state, name, how->mode, status);
        Py_DECREF(name);
        return -1;
    }
    handle = hfpy_cask_handle_new(self->state, name, cask, flags);
    if (handle == NULL) {
        hf_cask_close(cask);
        Py_DECREF(name);
        return -1;
    }
    old = self->handle; /* now that the GIL is here again */
    self->handle = handle;
    Py_XSETREF(self->path, name);
    self->flags = flags;
    self->read_only = how->mode == HF_CASK_READ;
    if (old != NULL)
        hfpy_cask_drop(old);
    return 0;
}

static int cask_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Cask *self = (Cask *)object;
    PyObject *path, *ttl;
    hf_cask_options how;
    int pickle;

    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "CaskCore() takes no keyword arguments");
        return -1;
    }
    if (options_of(args, &path, &ttl, &how, &pickle) < 0)
        return -1;
    if (strlen(PyBytes_AS_STRING(path)) != (size_t)PyBytes_GET_SIZE(path)) {
        PyErr_SetString(PyExc_ValueError, "there is a NUL in the path of a Cask");
        return -1;
    }
    Py_INCREF(path);
    int status = open_as(self, PyBytes_AS_STRING(path), &how, pickle ? HFPY_PICKLE : 0);
    Py_DECREF(path);
    return status;
}

static PyObject *cask_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = hfpy_homes_module(type);
    Cask *self = module == NULL ? NULL : (Cask *)type->tp_alloc(type, 0);

    if (self != NULL)
        self->state = hfpy_homes_state(module);
    return (PyObject *)self;
}

static int cask_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void cask_dealloc(PyObject *object)
{
    Cask *self = (Cask *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    if (self->handle != NULL)
        hfpy_cask_drop(self->handle);
    Py_XDECREF(self->path);
    type->tp_free(object);
    Py_DECREF(type);
}

/* -- closing -- */

static PyObject *cask_close(PyObject *object, PyObject *unused)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = self->handle;

    if (handle == NULL)
        Py_RETURN_NONE;
    if (handle->telling == PyThread_get_thread_ident()) {
        hfpy_throw(self->state, HFPY_BUSY, "Cask %R cannot be closed in the middle of its check or merge",
                   self->path);
        return NULL;
    }
    self->handle = NULL;
    int status = hfpy_cask_handle_close(handle);
    if (status == HF_NOSPACE)
        hfpy_throw(
            self->state, HFPY_DISK_FULL,
            "there was no space left to write the index of Cask %R: it is closed, and its log will be read when "
            "it is opened again",
            self->path);
    else if (status < 0)
        hfpy_cask_fail(self->state, self->path, status);
    hfpy_cask_drop(handle);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- looking up -- */

/* The record that a key has: 1 or 0, or -1 with an exception. The hold is to be released if this is 1. */
static inline int find(Cask *self, PyObject *key_object, bool whole, hf_cask_hold *hold, hf_record_out *record,
                       uint64_t *place)
{
    hfpy_stored_key key;

    hold->place = NULL;
    if (hfpy_stored_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    int status = HF_FOREIGN;
    if (handle != NULL) {
        hf_cask_key sought = hfpy_cask_key(handle->cask, &key);
        status = hf_cask_find(handle->cask, &sought, whole, hold, record, place);
        if (status <= 0)
            hf_cask_release(hold);
    }
    hfpy_stored_key_clear(&key);
    return status >= 0 ? status : hfpy_cask_fail(self->state, self->path, status);
}

static PyObject *cask_subscript(PyObject *object, PyObject *key)
{
    Cask *self = (Cask *)object;
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;
    int found = find(self, key, true, &hold, &record, &place);

    if (found > 0)
        return hfpy_cask_take(self->state, record.in.value, self->flags, &hold);
    return found < 0 ? NULL : hfpy_key_error(key);
}

static int cask_contains(PyObject *object, PyObject *key)
{
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;
    int found = find((Cask *)object, key, false, &hold, &record, &place);

    if (found > 0)
        hf_cask_release(&hold);
    return found;
}

static PyObject *cask_get(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Cask *self = (Cask *)object;
    PyObject *given[2] = {NULL, NULL};
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;

    if (count == 1 && names == NULL)
        given[0] = args[0];
    else if (hfpy_fast_arguments(&hfpy_signature_get, args, count, names, given) < 0)
        return NULL;
    int found = find(self, given[0], true, &hold, &record, &place);
    if (found > 0)
        return hfpy_cask_take(self->state, record.in.value, self->flags, &hold);
    return found < 0 ? NULL : Py_NewRef(given[1] == NULL ? Py_None : given[1]);
}

/* (sequence, inserted, expires or None, file, offset, size, size of the value), times in milliseconds. */
static PyObject *cask_info(PyObject *object, PyObject *key)
{
    hf_record_out record;
    hf_cask_hold hold;
    hf_cask_info info;
    uint64_t place;
    int found = find((Cask *)object, key, false, &hold, &record, &place);

    if (found <= 0)
        return found < 0 ? NULL : hfpy_key_error(key);
    hf_cask_info_of(place, &record, &info);
    hf_cask_release(&hold);
    PyObject *expires = info.expires == INT64_MAX ? Py_NewRef(Py_None) : PyLong_FromLongLong((long long)info.expires);
    return Py_BuildValue("(KLNIKKK)", (unsigned long long)info.sequence, (long long)info.inserted, expires, info.file,
                         (unsigned long long)info.offset, (unsigned long long)info.size,
                         (unsigned long long)info.value_size);
}

static int call_count(hf_cask *cask, void *arg)
{
    return hf_cask_count(cask, arg);
}

static Py_ssize_t cask_length(PyObject *object)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    uint64_t count = 0;

    if (handle == NULL)
        return -1;
    int status = hfpy_cask_run(handle, call_count, &count);
    return status < 0 ? hfpy_cask_fail(self->state, self->path, status) : (Py_ssize_t)count;
}

static int stop(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                const hf_cask_info *info)
{
    return 1;
}

static int call_has_any(hf_cask *cask, void *arg)
{
    return hf_cask_fold(cask, stop, arg);
}

static int cask_bool(PyObject *object)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if (handle == NULL)
        return -1;
    int status = hfpy_cask_run(handle, call_has_any, NULL);
    return status < 0 ? hfpy_cask_fail(self->state, self->path, status) : status;
}

static PyObject *cask_is_empty(PyObject *self, PyObject *unused)
{
    int any = cask_bool(self);

    return any < 0 ? NULL : PyBool_FromLong(!any);
}

/* -- changing -- */

typedef struct putting {
    const hf_cask_key *key;
    hf_span head, value;
    int64_t ttl;
} putting;

static int call_put(hf_cask *cask, void *arg)
{
    const putting *it = arg;

    return hf_cask_put_encoded(cask, it->key, it->head, it->value, it->ttl);
}

static const hf_cask_terms at_once = {.at_once = true};

static int put(Cask *self, PyObject *key_object, PyObject *value_object, int64_t ttl)
{
    hfpy_cask_value value;
    hfpy_stored_key key;
    int status = HF_FOREIGN;

    if (hfpy_stored_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    if (hfpy_cask_value_make(self->state, value_object, self->flags, &value) == 0) {
        hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
        if (handle != NULL) {
            hf_cask_key sought = hfpy_cask_key(handle->cask, &key);
            status = handle->slow || value.value.size > HFPY_CASK_LARGE
                         ? HF_TIMEOUT
                         : hf_cask_put_on(handle->cask, &sought, value.head, value.value, ttl, at_once);
            if (status == HF_TIMEOUT)
                status = hfpy_cask_run(handle, call_put, &(putting){&sought, value.head, value.value, ttl});
        }
        hfpy_cask_value_clear(&value);
    }
    hfpy_stored_key_clear(&key);
    return status >= 0 ? 0 : hfpy_cask_fail(self->state, self->path, status);
}

static int call_delete(hf_cask *cask, void *arg)
{
    return hf_cask_delete_encoded(cask, arg);
}

/* 1 it was there, 0 it was not, -1 with an exception. */
static int discard(Cask *self, PyObject *key_object)
{
    hfpy_stored_key key;
    int status = HF_FOREIGN;

    if (hfpy_stored_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    if (handle != NULL) {
        hf_cask_key sought = hfpy_cask_key(handle->cask, &key);
        status = handle->slow ? HF_TIMEOUT : hf_cask_delete_on(handle->cask, &sought, at_once);
        if (status == HF_TIMEOUT)
            status = hfpy_cask_run(handle, call_delete, &sought);
    }
    hfpy_stored_key_clear(&key);
    return status >= 0 ? status : hfpy_cask_fail(self->state, self->path, status);
}

static int cask_assign(PyObject *self, PyObject *key, PyObject *value)
{
    if (value != NULL)
        return put((Cask *)self, key, value, 0);
    int removed = discard((Cask *)self, key);
    if (removed == 0)
        hfpy_key_error(key);
    return removed > 0 ? 0 : -1;
}

static PyObject *cask_put(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t ttl = 0;

    if ((count != 2 || names != NULL) && hfpy_cask_put_arguments(args, count, names, &ttl) < 0)
        return NULL;
    if (put((Cask *)self, args[0], args[1], ttl) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *cask_delete(PyObject *self, PyObject *key)
{
    int removed = discard((Cask *)self, key);

    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

static int call_sync(hf_cask *cask, void *arg)
{
    return hf_cask_sync_now(cask);
}

static PyObject *cask_sync(PyObject *object, PyObject *unused)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if (handle == NULL)
        return NULL;
    int status = hfpy_cask_run(handle, call_sync, NULL);
    if (status < 0) {
        hfpy_cask_fail(self->state, self->path, status);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- the object -- */

static PyObject *cask_iter(PyObject *self)
{
    return hfpy_cask_iterate((Cask *)self, HFPY_CASK_KEYS);
}

static PyObject *iter_values(PyObject *self, PyObject *unused)
{
    return hfpy_cask_iterate((Cask *)self, HFPY_CASK_VALUES);
}

static PyObject *iter_items(PyObject *self, PyObject *unused)
{
    return hfpy_cask_iterate((Cask *)self, HFPY_CASK_ITEMS);
}

static PyObject *iter_records(PyObject *self, PyObject *unused)
{
    return hfpy_cask_iterate((Cask *)self, HFPY_CASK_RECORDS);
}

static PyObject *cask_snapshot(PyObject *self, PyObject *type)
{
    return hfpy_cask_snapshot_new((Cask *)self, type);
}

static PyObject *cask_batch(PyObject *self, PyObject *unused)
{
    return hfpy_cask_batch_new((Cask *)self);
}

static PyObject *cask_path(PyObject *object, void *unused)
{
    Cask *self = (Cask *)object;

    return Py_NewRef(self->path == NULL ? Py_None : self->path);
}

static PyObject *cask_is_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(((Cask *)object)->handle == NULL);
}

static PyObject *cask_is_read_only(PyObject *object, void *unused)
{
    return PyBool_FromLong(((Cask *)object)->read_only);
}

/* Whether values may be pickles: for those who open it again. */
static PyObject *cask_pickles(PyObject *object, PyObject *unused)
{
    hfpy_cask_handle *handle = hfpy_cask_handle_of((Cask *)object);

    return handle == NULL ? NULL : PyBool_FromLong(handle->flags & HFPY_PICKLE);
}

/* Not how many keys: where some expire, they would all be looked at. */
static PyObject *cask_repr(PyObject *object)
{
    Cask *self = (Cask *)object;

    if (self->path == NULL)
        return PyUnicode_FromString("<Cask, not opened>");
    return PyUnicode_FromFormat("<Cask %R%s>", self->path,
                                self->handle == NULL ? ": closed"
                                : self->read_only    ? ", to read"
                                                     : "");
}

static PyMethodDef cask_methods[] = {
    {"get", METHOD(cask_get), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "get($self, key, /, default=None)\n--\n\n"
         "The value of the key, a fresh object; or the default. Read from the log where it is: no system call, no\n"
         "wait for anybody.")},
    {"put", METHOD(cask_put), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "put($self, key, value, /, ttl=None)\n--\n\n"
         "The same as self[key] = value; with a ttl, the key expires so many seconds (or a timedelta) later.\n\n"
         "ttl=None: as the cask was opened; math.inf: never. The key is then as it is given here, also where an "
         "equal\n"
         "one was there (1 and 1.0). Costs one write to the end of the log, and a flush with sync='put'.")},
    {"delete", cask_delete, METH_O,
     PyDoc_STR("delete($self, key, /)\n--\n\n"
               "Remove the key; say whether it was there. If it was not, nothing is written.")},
    {"is_empty", cask_is_empty, METH_NOARGS,
     PyDoc_STR(
         "is_empty($self, /)\n--\n\n"
         "Whether there is no key: the same as not self. Looks for one, and does not count them as len() does.")},
    {"sync", cask_sync, METH_NOARGS,
     PyDoc_STR("sync($self, /)\n--\n\n"
               "Return when all that was put before is durable: it survives a power cut. Costs a flush, if there is\n"
               "anything; several threads that sync at once share it.")},
    {"batch", cask_batch, METH_NOARGS,
     PyDoc_STR("batch($self, /)\n--\n\n"
               "with cask.batch() as b: what is put into b and deleted by it is done at the end of the block, all of "
               "it or\n"
               "nothing, whatever happens. An exception drops it. See CaskBatch.")},
    {"close", cask_close, METH_NOARGS,
     PyDoc_STR(
         "close($self, /)\n--\n\n"
         "Make everything durable, and let others write. Closing twice does nothing.\n\n"
         "Waits for calls of other threads. Snapshots and iterators of the cask end (ClosedError), and batches that\n"
         "were not committed are dropped. An exception says what may not be durable; it is closed all the same.")},
    {"pop", METHOD(hfpy_cask_pop), METH_FASTCALL,
     PyDoc_STR("pop($self, key, default=<unrepresentable>, /)\n--\n\n"
               "Remove the key and return its value; or the default, or KeyError. One step for all threads.")},
    {"setdefault", METHOD(hfpy_cask_setdefault), METH_FASTCALL,
     PyDoc_STR(
         "setdefault($self, key, default=None, /)\n--\n\n"
         "The value of the key, which is made to be the default if it is not there. One step for all threads.")},
    {"clear", hfpy_cask_clear, METH_NOARGS,
     PyDoc_STR("clear($self, /)\n--\n\n"
               "Remove every key, as one batch. Costs a record for each; their space comes back when it is merged.")},
    {"update", METHOD(hfpy_cask_update), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "update($self, source=(), /, **kwargs)\n--\n\n"
         "Put all entries of a mapping, or pairs of an iterable, and the keywords, as one batch: all or nothing.")},
    {"needs_merge", hfpy_cask_needs, METH_NOARGS,
     PyDoc_STR("needs_merge($self, /)\n--\n\n"
               "Whether there is a log file that the cask's options say is worth merging.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("See PEP 585.")},
    {"_backup", hfpy_cask_backup_to, METH_O, NULL},
    {"_check", hfpy_cask_check_all, METH_O, NULL},
    {"_info", cask_info, METH_O, NULL},
    {"__holdfast_items__", iter_items, METH_NOARGS, NULL},
    {"_iter_records", iter_records, METH_NOARGS, NULL},
    {"_iter_values", iter_values, METH_NOARGS, NULL},
    {"_merge", hfpy_cask_merge_files, METH_O, NULL},
    {"_pickles", cask_pickles, METH_NOARGS, NULL},
    {"_snapshot", cask_snapshot, METH_O, NULL},
    {"_status", hfpy_cask_status, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef cask_getset[] = {
    {"path", cask_path, NULL, PyDoc_STR("The path of the folder, as it was given."), NULL},
    {"closed", cask_is_closed, NULL, PyDoc_STR("Whether close() has been called."), NULL},
    {"read_only", cask_is_read_only, NULL, PyDoc_STR("Whether it was opened with mode='r'."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef cask_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Cask, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot cask_slots[] = {
    {Py_tp_new, cask_new},
    {Py_tp_init, cask_init},
    {Py_tp_dealloc, cask_dealloc},
    {Py_tp_traverse, cask_traverse},
    {Py_tp_repr, cask_repr},
    {Py_tp_iter, cask_iter},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_mp_subscript, cask_subscript},
    {Py_mp_ass_subscript, cask_assign},
    {Py_mp_length, cask_length},
    {Py_sq_contains, cask_contains},
    {Py_nb_bool, cask_bool},
    {Py_tp_methods, cask_methods},
    {Py_tp_getset, cask_getset},
    {Py_tp_members, cask_members},
    {0, NULL},
};

PyType_Spec hfpy_cask_spec = {
    .name = "holdfast._homes.CaskCore",
    .basicsize = sizeof(Cask),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MAPPING,
    .slots = cask_slots,
};
