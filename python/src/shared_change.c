/*
 * shared_change.c: changes of a SharedMap that look at what is there first, and those of many entries.
 *
 *      peek (a copy of the bytes) --> decode, compare, add: foreign code --> exchange, if the bytes are still those
 *        ^                                                                      |
 *        '------------------------------- they are not: again ------------------'
 *
 * So no foreign code runs while this process has the writer's lock, and nothing is taken out that cannot be decoded.
 *
 *      update    encode everything into one block -> begin -> put all -> commit
 *
 * Concurrency: a retry means that another has made progress. Failure: shared_impl.h; an update is whole or is not.
 */
#include "shared_key.h"
#include "source.h"

/* More entries than these are put without the GIL. */
enum { BATCH_WITH_GIL = 64, PEEK_ROOM = 512 };

/* -- looking, then changing -- */

/* A copy of what a key has. */
typedef struct peeked {
    hf_buffer bytes;
    bool is_there;
    uint8_t room[PEEK_ROOM];
} peeked;

static void peeked_clear(peeked *it)
{
    hf_buffer_clear(&it->bytes);
}

static hf_span peeked_span(const peeked *it)
{
    return it->is_there ? hf_span_of(it->bytes.bytes, it->bytes.size) : hf_span_of(NULL, 0);
}

static int copy_to(hf_buffer *out, hf_span bytes)
{
    int status = hf_buffer_reserve(out, bytes.size);

    if (status == 0)
        hf_buffer_put(out, bytes.bytes, bytes.size);
    return status;
}

/* 1 or 0, and what is there, to be cleared; or a status, and nothing. */
static int peek(hfpy_handle *handle, const hf_key *key, peeked *out)
{
    hf_shared_hold hold;
    hf_span value = {NULL, 0};

    hold.pinned = false;
    hf_buffer_init(&out->bytes, out->room, sizeof out->room, SIZE_MAX);
    int status = hf_shared_find(hfpy_handle_map(handle), key, &hold, &value);
    if (status > 0) {
        int copied = copy_to(&out->bytes, value);
        status = copied < 0 ? copied : status;
    }
    hf_shared_release(&hold);
    out->is_there = status > 0;
    return status;
}

typedef struct exchange_step {
    const hf_shared_key *key;
    hf_span old, now;
} exchange_step;

static int step_exchange(hf_shared_write *write, void *arg)
{
    const exchange_step *it = arg;

    return hf_shared_write_exchange(write, it->key, it->old, it->now);
}

/* 1: it was still what was seen; 0: look again. A status. The map may be closed by now: HF_FOREIGN. */
static int exchange(SharedMap *self, const hf_shared_key *key, const peeked *seen, hf_span now)
{
    hfpy_handle *handle = hfpy_shared_handle(self);
    exchange_step step = {key, peeked_span(seen), now};

    return handle == NULL ? HF_FOREIGN : hfpy_shared_change(self, handle, step_exchange, &step);
}

/* Hashes the key and looks: as peek, but sets the exception. */
static int look(SharedMap *self, hfpy_shared_key *key, peeked *out)
{
    hfpy_handle *handle = hfpy_shared_handle(self);

    if (handle == NULL)
        return -1;
    hfpy_shared_key_hash(key, handle->map);
    int status = peek(handle, &key->shared.key, out);
    return status < 0 ? hfpy_shared_fail(self, status) : status;
}

/* Whether to look again. Where others are always faster that may go on for long, so Ctrl-C ends it: 0 with an exception. */
static bool is_to_be_repeated(int status)
{
    return status == 0 && PyErr_CheckSignals() == 0;
}

/* -- pop, popitem, setdefault, clear -- */

/* The value, new reference, of a key that had one and has none now; NULL without an exception if it had none. */
static PyObject *take_out(SharedMap *self, hfpy_shared_key *key)
{
    PyObject *value = NULL;
    peeked seen;
    int status;

    do {
        int found = look(self, key, &seen);
        if (found <= 0)
            return NULL;
        status = HF_FOREIGN;
        value = hfpy_stored_decode(self->state, peeked_span(&seen), self->flags);
        if (value != NULL)
            status = exchange(self, &key->shared, &seen, hf_span_of(NULL, 0));
        peeked_clear(&seen);
        if (status <= 0)
            Py_CLEAR(value);
        if (status < 0)
            hfpy_shared_fail(self, status);
    } while (is_to_be_repeated(status));
    return value;
}

PyObject *hfpy_shared_pop(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_shared_key key;

    if (hfpy_one_or_two("pop", count) < 0 || hfpy_shared_key_make(self->state, args[0], self->flags, &key) < 0)
        return NULL;
    PyObject *value = take_out(self, &key);
    hfpy_shared_key_clear(&key);
    if (value == NULL && !PyErr_Occurred())
        return count == 2 ? Py_NewRef(args[1]) : hfpy_key_error(args[0]);
    return value;
}

/* An entry's key and value. */
typedef struct entry {
    peeked key, value;
} entry;

/* The first entry that there is: 1 or 0; a status. */
static int first(hf_shared *map, entry *out)
{
    hf_shared_walk walk;
    hf_span key = {NULL, 0}, value = {NULL, 0};
    hf_view view;
    bool inside = hf_txn_mine(map->region) != NULL;
    int status = inside ? 0 : hf_view_pin(map->region, &view);

    if (status < 0)
        return status;
    hf_buffer_init(&out->key.bytes, out->key.room, sizeof out->key.room, SIZE_MAX);
    hf_buffer_init(&out->value.bytes, out->value.room, sizeof out->value.room, SIZE_MAX);
    out->key.is_there = out->value.is_there = true;
    status = hf_shared_walk_begin(&walk, map, inside ? NULL : &view);
    if (status == 0)
        status = hf_shared_walk_next(&walk, &key, &value);
    if (status > 0) {
        int copied = copy_to(&out->key.bytes, key);
        if (copied == 0)
            copied = copy_to(&out->value.bytes, value);
        status = copied < 0 ? copied : 1;
    }
    if (!inside)
        hf_view_unpin(&view);
    if (status <= 0) {
        peeked_clear(&out->key);
        peeked_clear(&out->value);
    }
    return status;
}

/* Takes out an entry if it is what it was. As exchange. */
static int take_entry(SharedMap *self, const entry *it)
{
    hfpy_handle *handle = hfpy_shared_handle(self);
    hf_shared_key key;

    if (handle == NULL)
        return HF_FOREIGN;
    int status = hf_shared_key_init(&key, handle->map->seed, peeked_span(&it->key), NULL);
    if (status < 0)
        return status == HF_NOMEM ? status : HF_CORRUPT;
    status = exchange(self, &key, &it->value, hf_span_of(NULL, 0));
    hf_shared_key_clear(&key);
    return status;
}

/* The pair of an entry that was looked at, taken out: NULL, and *status 0 if it has to be looked for again. */
static PyObject *pop_entry(SharedMap *self, const entry *it, int *status)
{
    PyObject *value = NULL, *pair = NULL;
    PyObject *key = hfpy_stored_decode(self->state, peeked_span(&it->key), self->flags);

    *status = HF_FOREIGN;
    if (key != NULL)
        value = hfpy_stored_decode(self->state, peeked_span(&it->value), self->flags);
    if (value != NULL)
        pair = PyTuple_Pack(2, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    if (pair != NULL)
        *status = take_entry(self, it);
    if (*status <= 0)
        Py_CLEAR(pair);
    return pair;
}

PyObject *hfpy_shared_popitem(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    PyObject *pair = NULL;
    entry it;
    int status;

    do {
        hfpy_handle *handle = hfpy_shared_handle(self);
        if (handle == NULL)
            return NULL;
        int found = first(hfpy_handle_map(handle), &it);
        if (found == 0)
            PyErr_SetString(PyExc_KeyError, "popitem(): dictionary is empty");
        else if (found < 0)
            hfpy_shared_fail(self, found);
        if (found <= 0)
            return NULL;
        pair = pop_entry(self, &it, &status);
        peeked_clear(&it.key);
        peeked_clear(&it.value);
    } while (is_to_be_repeated(status));
    if (status < 0)
        hfpy_shared_fail(self, status);
    return pair;
}

typedef struct default_step {
    const hf_shared_key *key;
    hf_span value;
    peeked *found;
} default_step;

/* 1: there was something, which is in `found` now. */
static int step_default(hf_shared_write *write, void *arg)
{
    default_step *it = arg;
    hf_span value;
    int status = hf_shared_write_get(write, &it->key->key, &value);

    if (status > 0) {
        int copied = copy_to(&it->found->bytes, value);
        it->found->is_there = copied == 0;
        return copied < 0 ? copied : 1;
    }
    if (status == 0)
        status = hf_shared_write_put(write, it->key, it->value);
    return status < 0 ? status : 0;
}

static PyObject *set_default(SharedMap *self, hfpy_shared_key *key, PyObject *fallback)
{
    hfpy_stored_value value;
    PyObject *result = NULL;
    peeked seen;
    int found = look(self, key, &seen);

    if (found < 0)
        return NULL;
    if (found == 0) {
        if (hfpy_stored_value_make(self->state, fallback, self->flags, &value) < 0)
            goto done;
        hfpy_handle *handle = hfpy_shared_handle(self);
        default_step step = {&key->shared, hfpy_stored_value_span(&value), &seen};
        found = handle == NULL ? HF_FOREIGN : hfpy_shared_change(self, handle, step_default, &step);
        hfpy_stored_value_clear(&value);
    }
    if (found < 0)
        hfpy_shared_fail(self, found);
    else
        result = found == 0 ? Py_NewRef(fallback) : hfpy_stored_decode(self->state, peeked_span(&seen), self->flags);
done:
    peeked_clear(&seen);
    return result;
}

PyObject *hfpy_shared_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_shared_key key;

    if (hfpy_one_or_two("setdefault", count) < 0 || hfpy_shared_key_make(self->state, args[0], self->flags, &key) < 0)
        return NULL;
    PyObject *result = set_default(self, &key, count == 2 ? args[1] : Py_None);
    hfpy_shared_key_clear(&key);
    return result;
}

static int step_clear(hf_shared_write *write, void *arg)
{
    return hf_shared_write_clear(write);
}

PyObject *hfpy_shared_clear(PyObject *object, PyObject *unused)
{
    SharedMap *self = (SharedMap *)object;
    hfpy_handle *handle = hfpy_shared_handle(self);

    if (handle == NULL)
        return NULL;
    int status = hfpy_shared_change_slowly(self, handle, step_clear, NULL);
    if (status < 0) {
        hfpy_shared_fail(self, status);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- update -- */

/* Entries that are ready to be put, one after the other: a head, then the bytes that it counts. */
typedef struct batch {
    hf_buffer bytes;
    size_t count;
    uint64_t seed;
} batch;

typedef struct batch_head {
    uint64_t hash;
    size_t key, given, value;
} batch_head;

static int put_all(hf_shared_write *write, const batch *it)
{
    const uint8_t *at = it->bytes.bytes;
    hf_shared_key key;
    batch_head head;

    for (size_t i = 0; i < it->count; i++) {
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        key.key = (hf_key){head.hash, at, head.key};
        key.given = hf_span_of(at + head.key, head.given);
        at += head.key + head.given;
        int status = hf_shared_write_put(write, &key, hf_span_of(at, head.value));
        if (status < 0)
            return status;
        at += head.value;
    }
    return 0;
}

/* In a transaction of the user's a savepoint makes it one step. (A single put is one; and savepoints are not without
 * number.) */
static int step_batch(hf_shared_write *write, void *arg)
{
    const batch *it = arg;
    unsigned level;

    if (write->own || it->count == 1)
        return put_all(write, it);
    int status = hf_txn_savepoint(write->txn, &level);
    if (status < 0)
        return status;
    status = put_all(write, it);
    if (status < 0)
        hf_txn_rollback(write->txn, level);
    int released = hf_txn_release(write->txn, level);
    return status < 0 ? status : released;
}

static int batch_append(batch *it, const hf_shared_key *key, hf_span value)
{
    batch_head head = {hf_canonical_hash_bytes(key->key.bytes, key->key.size, it->seed), key->key.size,
                       key->given.size, value.size};
    size_t size = sizeof head + head.key + head.given + head.value;

    if (hf_buffer_reserve(&it->bytes, size) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    hf_buffer_put(&it->bytes, &head, sizeof head);
    hf_buffer_put(&it->bytes, key->key.bytes, head.key);
    hf_buffer_put(&it->bytes, key->given.bytes, head.given);
    hf_buffer_put(&it->bytes, value.bytes, head.value);
    it->count++;
    return 0;
}

typedef struct adding {
    SharedMap *self;
    batch *batch;
} adding;

static int batch_add(void *arg, PyObject *key_object, PyObject *value_object)
{
    SharedMap *self = ((adding *)arg)->self;
    batch *it = ((adding *)arg)->batch;
    hfpy_stored_value value;
    hfpy_shared_key key;

    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return -1;
    int status = hfpy_stored_value_make(self->state, value_object, self->flags, &value);
    if (status == 0) {
        status = batch_append(it, &key.shared, hfpy_stored_value_span(&value));
        hfpy_stored_value_clear(&value);
    }
    hfpy_shared_key_clear(&key);
    return status;
}

PyObject *hfpy_shared_update(PyObject *object, PyObject *args, PyObject *kwargs)
{
    SharedMap *self = (SharedMap *)object;
    PyObject *source = NULL;
    int status = HF_FOREIGN;

    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source))
        return NULL;
    hfpy_handle *handle = hfpy_shared_handle(self);
    if (handle == NULL)
        return NULL;
    batch it = {.seed = handle->map->seed};
    adding to = {self, &it};
    hf_buffer_init(&it.bytes, NULL, 0, SIZE_MAX);
    if ((source == NULL || hfpy_source_each(self->state, source, batch_add, &to) == 0) &&
        (kwargs == NULL || hfpy_source_each(self->state, kwargs, batch_add, &to) == 0) &&
        (handle = hfpy_shared_handle(self)) != NULL) {
        if (it.count == 0)
            status = 0;
        else if (handle->map->seed != it.seed) /* another map was opened meanwhile */
            status = HF_INVALID;
        else
            status = it.count > BATCH_WITH_GIL ? hfpy_shared_change_slowly(self, handle, step_batch, &it)
                                               : hfpy_shared_change(self, handle, step_batch, &it);
    }
    hf_buffer_clear(&it.bytes);
    if (status < 0) {
        hfpy_shared_fail(self, status);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- incr -- */

typedef struct incr_step {
    const hf_shared_key *key;
    int64_t by, sum;
} incr_step;

static int step_incr(hf_shared_write *write, void *arg)
{
    incr_step *it = arg;

    return hf_shared_write_incr(write, it->key, it->by, &it->sum);
}

/* The number that is added, of an exact type: new reference. */
static PyObject *number_of(PyObject *object)
{
    if (PyFloat_Check(object))
        return PyFloat_FromDouble(PyFloat_AS_DOUBLE(object));
    if (PyIndex_Check(object))
        return PyNumber_Index(object);
    PyErr_Format(PyExc_TypeError, "incr() adds ints and floats, not '%s'", Py_TYPE(object)->tp_name);
    return NULL;
}

/* What the key has, plus n: new reference. */
static PyObject *sum_of(SharedMap *self, PyObject *key_object, const peeked *seen, PyObject *n)
{
    PyObject *old =
        seen->is_there ? hfpy_stored_decode(self->state, peeked_span(seen), self->flags) : PyLong_FromLong(0);
    PyObject *sum = NULL;

    if (old != NULL && !PyLong_CheckExact(old) && !PyFloat_CheckExact(old))
        PyErr_Format(PyExc_TypeError, "incr() adds to ints and floats, and the value of %R is of type '%s'",
                     key_object, Py_TYPE(old)->tp_name);
    else if (old != NULL)
        sum = PyNumber_Add(old, n);
    Py_XDECREF(old);
    return sum;
}

/* For sums that have more than 64 bits, and floats. */
static PyObject *incr_any(SharedMap *self, PyObject *key_object, hfpy_shared_key *key, PyObject *n)
{
    hfpy_stored_value value;
    PyObject *sum;
    peeked seen;
    int status;

    do {
        if (look(self, key, &seen) < 0)
            return NULL;
        status = HF_FOREIGN;
        sum = sum_of(self, key_object, &seen, n);
        if (sum != NULL && hfpy_stored_value_make(self->state, sum, self->flags, &value) == 0) {
            status = exchange(self, &key->shared, &seen, hfpy_stored_value_span(&value));
            hfpy_stored_value_clear(&value);
        }
        peeked_clear(&seen);
        if (status <= 0)
            Py_CLEAR(sum);
        if (status < 0)
            hfpy_shared_fail(self, status);
    } while (is_to_be_repeated(status));
    return sum;
}

static PyObject *incr(SharedMap *self, PyObject *key_object, PyObject *n)
{
    hfpy_shared_key key;
    incr_step step = {&key.shared, 0, 0};
    PyObject *result = NULL;
    int overflow = 0, status = HF_BAD_VALUE;

    if (hfpy_shared_key_make(self->state, key_object, self->flags, &key) < 0)
        return NULL;
    step.by = PyLong_CheckExact(n) ? PyLong_AsLongLongAndOverflow(n, &overflow) : 0;
    if (PyLong_CheckExact(n) && overflow == 0) {
        hfpy_handle *handle = hfpy_shared_handle(self);
        status = HF_FOREIGN;
        if (handle != NULL) {
            hfpy_shared_key_hash(&key, handle->map);
            status = hfpy_shared_change(self, handle, step_incr, &step);
        }
    }
    if (status == HF_BAD_VALUE || status == HF_BAD_TYPE)
        result = incr_any(self, key_object, &key, n);
    else if (status < 0)
        hfpy_shared_fail(self, status);
    else
        result = PyLong_FromLongLong(step.sum);
    hfpy_shared_key_clear(&key);
    return result;
}

PyObject *hfpy_shared_incr(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const hfpy_signature signature = {"incr", {"key", "n"}, .least = 1, .most = 2};
    PyObject *given[2];

    if (hfpy_fast_arguments(&signature, args, count, names, given) < 0)
        return NULL;
    PyObject *n = given[1] == NULL ? PyLong_FromLong(1) : number_of(given[1]);
    PyObject *result = n == NULL ? NULL : incr((SharedMap *)self, given[0], n);
    Py_XDECREF(n);
    return result;
}

/* -- compare_and_set -- */

/* 1, 0 or -1: is what was seen what `old` says? Foreign code. */
static int is_old(SharedMap *self, const peeked *seen, PyObject *old)
{
    if (!seen->is_there || old == self->state->shared.missing)
        return !seen->is_there && old == self->state->shared.missing;
    PyObject *value = hfpy_stored_decode(self->state, peeked_span(seen), self->flags);
    int same = value == NULL ? -1 : PyObject_RichCompareBool(value, old, Py_EQ);
    Py_XDECREF(value);
    return same;
}

/* 1, 0 or -1. `now`: no bytes to remove it. */
static int compare_and_set(SharedMap *self, hfpy_shared_key *key, PyObject *old, hf_span now)
{
    peeked seen;
    int status;

    do {
        if (look(self, key, &seen) < 0)
            return -1;
        int same = is_old(self, &seen, old);
        status = same < 0 ? HF_FOREIGN : 0;
        if (same > 0)
            status = exchange(self, &key->shared, &seen, now);
        peeked_clear(&seen);
        if (status < 0)
            return hfpy_shared_fail(self, status);
        if (same == 0)
            return 0;
    } while (is_to_be_repeated(status));
    return status > 0 ? 1 : -1;
}

PyObject *hfpy_shared_compare_and_set(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const hfpy_signature signature = {"compare_and_set", {"key", "old", "new"}, .least = 3, .most = 3};
    SharedMap *self = (SharedMap *)object;
    PyObject *given[3];
    hfpy_stored_value value;
    hfpy_shared_key key;
    int result = -1;

    if (hfpy_fast_arguments(&signature, args, count, names, given) < 0 ||
        hfpy_shared_key_make(self->state, given[0], self->flags, &key) < 0)
        return NULL;
    PyObject *old = given[1], *now = given[2];
    if (now == self->state->shared.missing) {
        result = compare_and_set(self, &key, old, hf_span_of(NULL, 0));
    } else if (hfpy_stored_value_make(self->state, now, self->flags, &value) == 0) {
        result = compare_and_set(self, &key, old, hfpy_stored_value_span(&value));
        hfpy_stored_value_clear(&value);
    }
    hfpy_shared_key_clear(&key);
    return result < 0 ? NULL : PyBool_FromLong(result);
}
