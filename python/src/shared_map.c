/*
 * shared_map.c: the type of SharedMaps: opening, closing, [] get set del in len. shared_impl.h has the picture.
 *
 * holdfast.SharedMap is a subclass in Python that adds what is seldom called; it defines none of the slots here, so
 * that m[k] goes straight to map_subscript.
 *
 *      m[k]      key_make (stack) -> hf_shared_find (pin, trie) -> plain (object from bytes) -> unpin
 *      m[k] = v  key_make, value_make (stack) -> begin -> put -> commit
 *
 * Concurrency, failure: shared_impl.h.
 */
#include "shared_key.h"

#include "base/os.h"

#include <math.h>

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* -- opening -- */

typedef struct opening {
    const char *name;
    hf_shared_options options;
    int fd;
    hf_shared *map;
} opening;

static int attempt_open(void *arg, int64_t timeout)
{
    opening *it = arg;

    it->options.timeout = timeout;
    return it->fd >= 0 ? hf_shared_open_fd(it->fd, it->name, &it->options, &it->map)
                       : hf_shared_open(it->name, &it->options, &it->map);
}

static int timeout_of(PyObject *object, int64_t *out)
{
    *out = -1;
    if (object == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "timeout must be None or a number of seconds, not '%.100s'",
                         Py_TYPE(object)->tp_name);
        return -1;
    }
    if (isnan(seconds) || seconds < 0) {
        PyErr_Format(PyExc_ValueError, "timeout must be None or a number of seconds from 0 on, not %R", object);
        return -1;
    }
    *out = seconds < 9e9 ? (int64_t)(seconds * 1e9) : -1;
    return 0;
}

static int create_of(PyObject *object, hf_shared_mode *out)
{
    if (object == Py_None) {
        *out = HF_SHARED_EITHER;
        return 0;
    }
    int create = PyObject_IsTrue(object);
    *out = create ? HF_SHARED_CREATE : HF_SHARED_ATTACH;
    return create < 0 ? -1 : 0;
}

static int mode_of(PyObject *object, unsigned *out)
{
    uint64_t mode;

    if (hfpy_count_of(object, "mode", &mode) < 0)
        return -1;
    if (mode > 0777 || (mode & 0600) != 0600) {
        PyErr_Format(PyExc_ValueError,
                     "mode must be permissions such as 0o600, in which the owner may read and write, "
                     "not %R",
                     object);
        return -1;
    }
    *out = (unsigned)mode;
    return 0;
}

/* The name as the system has it: new reference. */
PyObject *hfpy_shared_name(homes_state *state, PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "the name of a SharedMap must be a str, not '%s'", Py_TYPE(name)->tp_name);
        return NULL;
    }
    PyObject *bytes = PyUnicode_EncodeFSDefault(name);
    if (bytes == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        hfpy_throw_from(state, HFPY_NAME, "%R cannot be the name of a SharedMap: the system cannot write it", name);
    if (bytes == NULL)
        return NULL;
    const char *fault = strlen(PyBytes_AS_STRING(bytes)) != (size_t)PyBytes_GET_SIZE(bytes)
                            ? "there is a NUL in it"
                            : hf_shared_name_fault(PyBytes_AS_STRING(bytes));
    if (fault != NULL) {
        hfpy_throw(state, HFPY_NAME, "%R cannot be the name of a SharedMap: %s", name, fault);
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* Why we may not open it: it is another's, or its permissions say no. */
static int fail_denied(homes_state *state, PyObject *name, const opening *it)
{
    char path[HF_SHARED_NAME_MAX + 2] = "/";
    hf_region_info info;

    memcpy(path + 1, it->name, strlen(it->name) + 1);
    if (!it->options.any_owner && hf_region_look(path, &info) == 0 && info.owner != (uint32_t)geteuid())
        return hfpy_throw(state, HFPY_DENIED,
                          "SharedMap %R belongs to another user (%lu), whose pickles could do anything: open it with "
                          "pickle=False",
                          name, (unsigned long)info.owner);
    return hfpy_throw(state, HFPY_DENIED, "the permissions of SharedMap %R do not let this user read and write it",
                      name);
}

static int fail_open(homes_state *state, PyObject *name, const opening *it, int64_t timeout, int status)
{
    switch (status) {
    case HF_ABSENT:
        return hfpy_fail(state, status, "there is no SharedMap %R", name);
    case HF_EXISTS:
        return hfpy_fail(state, status, "there is a SharedMap %R already", name);
    case HF_DENIED:
        return fail_denied(state, name, it);
    case HF_NOT_REGION:
        return hfpy_fail(state, status, "%R in shared memory is no SharedMap", name);
    case HF_FORMAT:
        return hfpy_fail(state, status, "SharedMap %R was made by another version of holdfast, or on another machine",
                         name);
    case HF_INVALID:
        return hfpy_fail(state, status, "max_size must be at least 4 MiB, not %llu bytes",
                         (unsigned long long)it->options.max_size);
    case HF_LIMIT:
        return hfpy_fail(state, status, "there is no address space for SharedMap %R", name);
    case HF_TIMEOUT:
        return hfpy_fail(state, status, "SharedMap %R is being created by somebody for longer than the timeout",
                         name);
    case HF_NOSPACE:
        return hfpy_fail(state, status,
                         "there is not enough shared memory, or max_size is too small, for SharedMap %R", name);
    default:
        return hfpy_shared_fail_named(state, name, NULL, timeout, status);
    }
}

/* Opens, and puts what was opened in the place of what was open. */
static int open_as(SharedMap *self, PyObject *name, opening *it, int64_t timeout, unsigned flags)
{
    int status = hfpy_wait(attempt_open, it, timeout);

    if (status < 0)
        return fail_open(self->state, name, it, timeout, status);
    it->map->timeout = timeout;
    hfpy_handle *handle = hfpy_handle_new(it->map), *old = self->handle;
    if (handle == NULL) {
        hf_shared_close(it->map);
        return -1;
    }
    PyObject *old_name = self->name;
    memcpy(self->inode, it->map->inode, sizeof self->inode);
    self->handle = handle;
    self->name = Py_NewRef(name);
    self->timeout = timeout;
    self->flags = flags;
    if (old != NULL)
        hfpy_handle_drop(old);
    Py_XDECREF(old_name);
    return 0;
}

static int map_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "create", "capacity", "max_size", "mode", "pickle", "timeout", "fd", NULL};
    SharedMap *self = (SharedMap *)object;
    PyObject *name, *create = Py_None, *capacity = Py_None, *max_size = Py_None, *mode = Py_None, *wait = Py_None;
    opening it = {.fd = -1};
    int64_t timeout;
    int pickle = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOOpOi:SharedMap", keywords, &name, &create, &capacity,
                                     &max_size, &mode, &pickle, &wait, &it.fd) ||
        create_of(create, &it.options.mode) < 0 || hfpy_count_of(capacity, "capacity", &it.options.capacity) < 0 ||
        hfpy_count_of(max_size, "max_size", &it.options.max_size) < 0 || timeout_of(wait, &timeout) < 0 ||
        (mode != Py_None && mode_of(mode, &it.options.permissions) < 0))
        return -1;
    PyObject *bytes = hfpy_shared_name(self->state, name);
    if (bytes == NULL)
        return -1;
    it.options.any_owner = !pickle;
    it.name = PyBytes_AS_STRING(bytes);
    int result = open_as(self, name, &it, timeout, pickle ? HFPY_PICKLE : 0);
    Py_DECREF(bytes);
    return result;
}

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = hfpy_homes_module(type);
    SharedMap *self = module == NULL ? NULL : (SharedMap *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->state = hfpy_homes_state(module);
        self->timeout = -1;
    }
    return (PyObject *)self;
}

static int map_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void map_dealloc(PyObject *object)
{
    SharedMap *self = (SharedMap *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    if (self->handle != NULL)
        hfpy_handle_drop(self->handle);
    Py_XDECREF(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

/* -- closing -- */

static PyObject *map_close(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = self->handle;

    if (handle == NULL)
        Py_RETURN_NONE;
    if (hf_txn_mine(hfpy_handle_map(handle)->region) != NULL) {
        hfpy_throw(self->state, HFPY_BUSY, "SharedMap %R cannot be closed in a transaction", self->name);
        return NULL;
    }
    self->handle = NULL;
    hfpy_handle_drop(handle);
    Py_RETURN_NONE;
}

static PyObject *map_unlink(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    char path[HF_SHARED_NAME_MAX + 2] = "/";

    if (self->name == NULL) {
        hfpy_shared_closed(self);
        return NULL;
    }
    PyObject *bytes = hfpy_shared_name(self->state, self->name);
    if (bytes == NULL)
        return NULL;
    memcpy(path + 1, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes) + 1);
    Py_DECREF(bytes);
    int status = hf_region_unlink_inode(path, self->inode);
    if (status == HF_ABSENT)
        hfpy_fail(self->state, status, "the name %R is not, or no longer, that of this SharedMap", self->name);
    else if (status == HF_DENIED)
        hfpy_fail(self->state, status, "SharedMap %R is another user's to unlink", self->name);
    else if (status < 0)
        hfpy_shared_fail(self, status);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -- looking up -- */

/* Borrowed bytes of what a key has: 1 or 0, or -1 with an exception. The hold is to be released if this is 1. */
static inline int find(SharedMap *self, PyObject *key_object, hf_shared_hold *hold, hf_span *value)
{
    hfpy_shared_key key;

    hold->pinned = false;
    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    hfpy_handle *handle = hfpy_shared_handle(self);
    int status = HF_FOREIGN;
    if (handle != NULL) {
        hf_shared *map = hfpy_handle_map(handle);
        hfpy_shared_key_hash(&key, map);
        status = hf_shared_find(map, &key.shared.key, hold, value);
        if (status <= 0)
            hf_shared_release(hold);
    }
    hfpy_shared_key_clear(&key);
    return status >= 0 ? status : hfpy_shared_fail(self, status);
}

static PyObject *map_subscript(PyObject *object, PyObject *key)
{
    SharedMap *self = (SharedMap *)object;
    hf_shared_hold hold;
    hf_span value = {NULL, 0};
    int found = find(self, key, &hold, &value);

    if (found > 0)
        return hfpy_shared_take(self->state, &hold, value, self->flags);
    return found < 0 ? NULL : hfpy_key_error(key);
}

static int map_contains(PyObject *object, PyObject *key)
{
    hf_shared_hold hold;
    hf_span value = {NULL, 0};
    int found = find((SharedMap *)object, key, &hold, &value);

    if (found > 0)
        hf_shared_release(&hold);
    return found;
}

static PyObject *map_get(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    SharedMap *self = (SharedMap *)object;
    PyObject *fallback = Py_None;
    hf_shared_hold hold;
    hf_span value = {NULL, 0};

    if ((count != 1 || names != NULL) && hfpy_fast_two("get", args, count, names, "default", &fallback) < 0)
        return NULL;
    int found = find(self, args[0], &hold, &value);
    if (found > 0)
        return hfpy_shared_take(self->state, &hold, value, self->flags);
    return found < 0 ? NULL : Py_NewRef(fallback);
}

static Py_ssize_t map_length(PyObject *object)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);
    uint64_t size = 0;

    if (handle == NULL)
        return -1;
    int status = hf_shared_size(hfpy_handle_map(handle), &size);
    if (status < 0)
        return hfpy_shared_fail(self, status);
    return (Py_ssize_t)size;
}

static PyObject *map_size(PyObject *self, PyObject *unused)
{
    Py_ssize_t size = map_length(self);

    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

/* -- changing -- */

enum { LARGE = 256 << 10 }; /* a value that takes so long to copy that others should not wait */

typedef struct put_step {
    const hf_shared_key *key;
    hf_span value;
} put_step;

static int step_put(hf_shared_write *write, void *arg)
{
    const put_step *it = arg;

    return hf_shared_write_put(write, it->key, it->value);
}

static int step_remove(hf_shared_write *write, void *arg)
{
    return hf_shared_write_remove(write, arg);
}

static int put(SharedMap *self, PyObject *key_object, PyObject *value_object)
{
    hfpy_stored_value value;
    hfpy_shared_key key;
    int status = HF_FOREIGN;

    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    if (hfpy_stored_value_make(self->state, value_object, self->flags, &value) == 0) {
        hfpy_handle *handle = hfpy_shared_handle(self);
        if (handle != NULL) {
            hfpy_shared_key_hash(&key, handle->map);
            put_step step = {&key.shared, hfpy_stored_value_span(&value)};
            /* Others may go on while much is copied. */
            status = step.value.size > LARGE ? hfpy_shared_change_slowly(self, handle, step_put, &step)
                                             : hfpy_shared_change(self, handle, step_put, &step);
        }
        hfpy_stored_value_clear(&value);
    }
    hfpy_shared_key_clear(&key);
    return status >= 0 ? 0 : hfpy_shared_fail(self, status);
}

/* 1 it was there, 0 it was not, -1 with an exception. */
static int discard(SharedMap *self, PyObject *key_object)
{
    hfpy_shared_key key;
    int status = HF_FOREIGN;

    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    hfpy_handle *handle = hfpy_shared_handle(self);
    if (handle != NULL) {
        hfpy_shared_key_hash(&key, handle->map);
        status = hfpy_shared_change(self, handle, step_remove, &key.shared.key);
    }
    hfpy_shared_key_clear(&key);
    return status >= 0 ? status : hfpy_shared_fail(self, status);
}

static int map_assign(PyObject *self, PyObject *key, PyObject *value)
{
    if (value != NULL)
        return put((SharedMap *)self, key, value);
    int removed = discard((SharedMap *)self, key);
    if (removed == 0)
        hfpy_key_error(key);
    return removed > 0 ? 0 : -1;
}

static PyObject *map_set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "set() takes exactly 2 arguments (%zd given)", count);
        return NULL;
    }
    if (put((SharedMap *)self, args[0], args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *map_delete(PyObject *self, PyObject *key)
{
    int removed = discard((SharedMap *)self, key);

    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

/* -- looking after -- */

static PyObject *map_iter(PyObject *self)
{
    return hfpy_shared_map_iterate((SharedMap *)self, HFPY_KEYS);
}

static PyObject *iter_values(PyObject *self, PyObject *unused)
{
    return hfpy_shared_map_iterate((SharedMap *)self, HFPY_VALUES);
}

static PyObject *iter_items(PyObject *self, PyObject *unused)
{
    return hfpy_shared_map_iterate((SharedMap *)self, HFPY_ITEMS);
}

static PyObject *map_snapshot(PyObject *self, PyObject *type)
{
    return hfpy_shared_snapshot_new((SharedMap *)self, type);
}

static PyObject *map_transaction(PyObject *self, PyObject *unused)
{
    return hfpy_transaction_new((SharedMap *)self);
}

/* How many transactions this thread is in, one within the other. */
static PyObject *map_depth(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);

    return handle == NULL ? NULL : PyLong_FromUnsignedLong(hf_shared_depth(handle->map));
}

static PyObject *map_stats(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);
    hf_shared_stats stats;

    if (handle == NULL)
        return NULL;
    int status = hf_shared_stats_get(handle->map, &stats);
    if (status < 0) {
        hfpy_shared_fail(self, status);
        return NULL;
    }
    return Py_BuildValue("(KKKKKIII)", (unsigned long long)stats.count, (unsigned long long)stats.version,
                         (unsigned long long)stats.size, (unsigned long long)stats.used,
                         (unsigned long long)stats.max_size, stats.readers, stats.writers_died, stats.readers_died);
}

typedef struct checking {
    hf_shared *map;
    const char *what;
} checking;

static int attempt_check(void *arg, int64_t timeout)
{
    checking *it = arg;
    hf_region_fault fault = {NULL, 0};
    int status = hf_region_check(it->map->region, timeout, &fault);

    it->what = fault.what;
    return status == 0 ? hf_shared_check_trees(it->map, &it->what) : status;
}

static PyObject *map_check(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);

    if (handle == NULL)
        return NULL;
    if (hf_txn_mine(hfpy_handle_map(handle)->region) != NULL) {
        hfpy_throw(self->state, HFPY_BUSY, "SharedMap %R cannot be checked in a transaction", self->name);
        return NULL;
    }
    checking it = {handle->map, NULL};
    int status = hfpy_handle_wait(handle, attempt_check, &it, self->timeout);
    if (status == HF_CORRUPT)
        hfpy_fail(self->state, status, "SharedMap %R is damaged: %s", self->name,
                  it.what == NULL ? "it cannot be read" : it.what);
    else if (status < 0)
        hfpy_shared_fail(self, status);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* For multiprocessing: (descriptor, which is borrowed; id of the region; pickle; timeout). */
static PyObject *map_address(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);
    uint64_t id[2];

    if (handle == NULL)
        return NULL;
    hf_region_id(handle->map->region, id);
    PyObject *seconds = self->timeout < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)self->timeout / 1e9);
    return Py_BuildValue("(iy#NN)", hf_region_fd(handle->map->region), (const char *)id, (Py_ssize_t)sizeof id,
                         PyBool_FromLong(self->flags & HFPY_PICKLE), seconds);
}

static PyObject *map_name(PyObject *object, void *unused)
{
    SharedMap *self = (SharedMap *)object;

    return Py_NewRef(self->name == NULL ? Py_None : self->name);
}

static PyObject *map_is_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(((SharedMap *)object)->handle == NULL);
}

static PyObject *map_repr(PyObject *object)
{
    SharedMap *self = (SharedMap *)object;
    Py_ssize_t size;

    if (self->handle == NULL || self->name == NULL)
        return self->name == NULL ? PyUnicode_FromString("<SharedMap, not opened>")
                                  : PyUnicode_FromFormat("<SharedMap %R: closed>", self->name);
    if ((size = map_length(object)) < 0)
        return NULL;
    return PyUnicode_FromFormat("<SharedMap %R: %zd %s>", self->name, size, size == 1 ? "entry" : "entries");
}

static PyMethodDef map_methods[] = {
    {"get", METHOD(map_get), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($self, key, /, default=None)\n--\n\nThe value of the key, a fresh object; or the default.")},
    {"set", METHOD(map_set), METH_FASTCALL,
     PyDoc_STR("set($self, key, value, /)\n--\n\nThe same as self[key] = value.")},
    {"delete", map_delete, METH_O,
     PyDoc_STR("delete($self, key, /)\n--\n\nRemove the key; say whether it was there.")},
    {"size", map_size, METH_NOARGS, PyDoc_STR("size($self, /)\n--\n\nHow many entries: the same as len(self).")},
    {"close", map_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Let go of the map, which stays for others until it is unlinked and the last has closed it.\n\n"
               "Snapshots and iterators of it go on. Closing twice does nothing. BusyError in a transaction.")},
    {"unlink", map_unlink, METH_NOARGS,
     PyDoc_STR("unlink($self, /)\n--\n\n"
               "Remove the name; the memory goes when the last has closed the map. Also after close().\n\n"
               "AbsentError (a FileNotFoundError) where the name is gone, or another map's by now.")},
    {"transaction", map_transaction, METH_NOARGS,
     PyDoc_STR(
         "transaction($self, /)\n--\n\n"
         "with m.transaction(): all reads and writes of this thread in it are one atomic step.\n\n"
         "An exception undoes them. Transactions nest: the inner one is a savepoint. While it lasts, others who\n"
         "want to write wait, so it should be short; readers see the map as it was before.")},
    {"check", map_check, METH_NOARGS,
     PyDoc_STR("check($self, /)\n--\n\n"
               "Verify everything in the map, with the writer's lock: CorruptError says what is wrong.")},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, PyDoc_STR("See PEP 585.")},
    {"_snapshot", map_snapshot, METH_O, NULL},
    {"_stats", map_stats, METH_NOARGS, NULL},
    {"_depth", map_depth, METH_NOARGS, NULL},
    {"_address", map_address, METH_NOARGS, NULL},
    {"_iter_values", iter_values, METH_NOARGS, NULL},
    {"__holdfast_items__", iter_items, METH_NOARGS, NULL},
    {"pop", METHOD(hfpy_shared_pop), METH_FASTCALL,
     PyDoc_STR("pop($self, key, default=<unrepresentable>, /)\n--\n\n"
               "Remove the key and return its value; or the default, or KeyError.")},
    {"popitem", hfpy_shared_popitem, METH_NOARGS,
     PyDoc_STR("popitem($self, /)\n--\n\nRemove an entry, whichever, and return it as a pair. KeyError if empty.")},
    {"setdefault", METHOD(hfpy_shared_setdefault), METH_FASTCALL,
     PyDoc_STR("setdefault($self, key, default=None, /)\n--\n\n"
               "The value of the key, which is made to be the default if it is not there.")},
    {"clear", hfpy_shared_clear, METH_NOARGS, PyDoc_STR("clear($self, /)\n--\n\nRemove everything.")},
    {"update", METHOD(hfpy_shared_update), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("update($self, source=(), /, **kwargs)\n--\n\n"
               "Put all entries of a mapping, or pairs of an iterable, and the keywords: in one atomic step.")},
    {"incr", METHOD(hfpy_shared_incr), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("incr($self, key, /, n=1)\n--\n\n"
               "Add n to the number that the key has, atomically, and return the sum. A missing key counts as 0.\n\n"
               "Numbers are ints of any size and floats. TypeError where the value, or n, is something else.")},
    {"compare_and_set", METHOD(hfpy_shared_compare_and_set), METH_FASTCALL,
     PyDoc_STR("compare_and_set($self, key, old, new, /)\n--\n\n"
               "If the key's value equals old (==), make it new and return True; else return False. Atomic.\n\n"
               "MISSING for old: only if the key is not there. MISSING for new: remove it.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef map_getset[] = {
    {"name", map_name, NULL, PyDoc_STR("The name, as it was given."), NULL},
    {"closed", map_is_closed, NULL, PyDoc_STR("Whether close() has been called."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef map_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SharedMap, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_new, map_new},
    {Py_tp_init, map_init},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_traverse, map_traverse},
    {Py_tp_repr, map_repr},
    {Py_tp_iter, map_iter},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_mp_subscript, map_subscript},
    {Py_mp_ass_subscript, map_assign},
    {Py_mp_length, map_length},
    {Py_sq_contains, map_contains},
    {Py_tp_methods, map_methods},
    {Py_tp_getset, map_getset},
    {Py_tp_members, map_members},
    {0, NULL},
};

PyType_Spec hfpy_shared_map_spec = {
    .name = "holdfast._homes.SharedMapCore",
    .basicsize = sizeof(SharedMap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MAPPING,
    .slots = map_slots,
};
