/*
 * cask_change.c: changes of a Cask that look at what is there first, and those of many entries.
 *
 *      find (a copy of the bytes, and the record's sequence number) --> decode: foreign code --> delete, if that
 * record
 *        ^                                                                   is still the newest of its key
 *        '------------------------------- it is not: again ------------------'
 *
 * So one pop gets what one put has put, whoever else is at it, and nothing is taken out that cannot be decoded.
 *
 *      update    encode everything into a batch -> commit
 *      clear     snapshot -> a deletion of each key into a batch -> commit
 *
 * Concurrency: a retry means that another has made progress. Failure: cask_impl.h; an update or clear is whole or is
 * not.
 */
#include "cask_impl.h"
#include "source.h"

enum { PEEK_ROOM = 512 };

/* What a key has: its record, and a copy of the value. */
typedef struct peeked {
    uint64_t sequence; /* 0: nothing */
    hf_buffer bytes;
    uint8_t room[PEEK_ROOM];
} peeked;

static void peeked_clear(peeked *it)
{
    hf_buffer_clear(&it->bytes);
}

/* 1 or 0, and what is there, to be cleared; -1 with an exception, and nothing. */
static int peek(Cask *self, const hfpy_stored_key *key, peeked *out)
{
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    hf_record_out record;
    hf_cask_hold hold;
    uint64_t place;

    if (handle == NULL)
        return -1;
    hf_cask_key sought = hfpy_cask_key(handle->cask, key);
    out->sequence = 0;
    hf_buffer_init(&out->bytes, out->room, sizeof out->room, SIZE_MAX);
    int status = hf_cask_find(handle->cask, &sought, true, &hold, &record, &place);
    if (status > 0) {
        int copied = hf_buffer_reserve(&out->bytes, record.in.value.size);
        if (copied == 0)
            hf_buffer_put(&out->bytes, record.in.value.bytes, record.in.value.size);
        out->sequence = record.in.sequence;
        status = copied < 0 ? copied : 1;
    }
    hf_cask_release(&hold);
    return status < 0 ? hfpy_cask_fail(self->state, self->path, status) : status;
}

static PyObject *decode(const Cask *self, const peeked *it)
{
    return hfpy_stored_decode(self->state, hf_span_of(it->bytes.bytes, it->bytes.size), self->flags);
}

/* Whether to look again. Where others are always faster that may go on for long, so Ctrl-C ends it: 0 with an
 * exception. */
static bool is_to_be_repeated(int status)
{
    return status == 0 && PyErr_CheckSignals() == 0;
}

typedef struct exchange {
    const hf_cask_key *key;
    hf_cask_terms terms;
    hf_span head, value; /* of what is put */
} exchange;

static int call_take(hf_cask *cask, void *arg)
{
    const exchange *it = arg;

    return hf_cask_delete_on(cask, it->key, it->terms);
}

static int call_add(hf_cask *cask, void *arg)
{
    const exchange *it = arg;

    return hf_cask_put_on(cask, it->key, it->head, it->value, 0, it->terms);
}

/* If the key's newest record is still the one that was seen: 1, 0; a status. The cask may be closed by now:
 * HF_FOREIGN. */
static int change(Cask *self, const hfpy_stored_key *key, const peeked *seen, hfpy_cask_call call, exchange *it)
{
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);
    int status = HF_TIMEOUT;

    if (handle == NULL)
        return HF_FOREIGN;
    hf_cask_key sought = hfpy_cask_key(handle->cask, key);
    it->key = &sought;
    it->terms = (hf_cask_terms){.at_once = true, .only_if = true, .sequence = seen->sequence};
    if (!handle->slow && it->value.size <= HFPY_CASK_LARGE)
        status = call(handle->cask, it);
    if (status != HF_TIMEOUT)
        return status;
    it->terms.at_once = false;
    return hfpy_cask_run(handle, call, it);
}

/* -- pop, setdefault -- */

/* The value, new reference, of a key that had one and has none now; NULL without an exception if it had none. */
static PyObject *take_out(Cask *self, const hfpy_stored_key *key)
{
    PyObject *value = NULL;
    peeked seen;
    int status;

    do {
        if (peek(self, key, &seen) <= 0)
            return NULL;
        exchange step = {.key = NULL};
        value = decode(self, &seen);
        status = value == NULL ? HF_FOREIGN : change(self, key, &seen, call_take, &step);
        peeked_clear(&seen);
        if (status <= 0)
            Py_CLEAR(value);
        if (status < 0)
            hfpy_cask_fail(self->state, self->path, status);
    } while (is_to_be_repeated(status));
    return value;
}

PyObject *hfpy_cask_pop(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Cask *self = (Cask *)object;
    hfpy_stored_key key;

    if (hfpy_one_or_two("pop", count) < 0 || hfpy_stored_key_make(self->state, args[0], self->flags, &key) < 0)
        return NULL;
    PyObject *value = take_out(self, &key);
    hfpy_stored_key_clear(&key);
    if (value == NULL && !PyErr_Occurred())
        return count == 2 ? Py_NewRef(args[1]) : hfpy_key_error(args[0]);
    return value;
}

static PyObject *set_default(Cask *self, const hfpy_stored_key *key, PyObject *fallback)
{
    PyObject *result = NULL;
    hfpy_cask_value value;
    peeked seen;
    int status;

    do {
        int found = peek(self, key, &seen);
        if (found < 0)
            return NULL;
        status = HF_FOREIGN;
        if (found > 0) {
            result = decode(self, &seen);
            status = result == NULL ? HF_FOREIGN : 1;
        } else if (hfpy_cask_value_make(self->state, fallback, self->flags, &value) == 0) {
            exchange step = {.head = value.head, .value = value.value};
            status = change(self, key, &seen, call_add, &step);
            hfpy_cask_value_clear(&value);
            if (status > 0)
                result = Py_NewRef(fallback);
        }
        peeked_clear(&seen);
        if (status < 0)
            hfpy_cask_fail(self->state, self->path, status);
    } while (is_to_be_repeated(status));
    return result;
}

PyObject *hfpy_cask_setdefault(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Cask *self = (Cask *)object;
    hfpy_stored_key key;

    if (hfpy_one_or_two("setdefault", count) < 0 || hfpy_stored_key_make(self->state, args[0], self->flags, &key) < 0)
        return NULL;
    PyObject *result = set_default(self, &key, count == 2 ? args[1] : Py_None);
    hfpy_stored_key_clear(&key);
    return result;
}

/* -- many at once -- */

static int call_clear(hf_cask *cask, void *unused)
{
    hf_cask_snapshot *snapshot = NULL;
    hf_cask_batch *batch = NULL;
    hf_record_out record;
    hf_cask_walk walk;
    uint64_t place;
    int status = hf_cask_batch_begin(cask, &batch);

    if (status == 0)
        status = hf_cask_snapshot_begin(cask, &snapshot);
    if (status < 0)
        goto done;
    hf_cask_walk_begin(&walk, snapshot, false);
    while ((status = hf_cask_walk_next(&walk, &record, &place)) > 0) {
        hf_span key = record.in.key;
        status = hf_cask_batch_delete_encoded(
            batch,
            &(hf_cask_key){.canonical = key, .hash = hf_canonical_hash_bytes(key.bytes, key.size, cask->seed)});
        if (status < 0)
            break;
    }
    if (status == 0)
        status = hf_cask_batch_commit(batch);
done:
    if (snapshot != NULL)
        hf_cask_snapshot_end(snapshot);
    hf_cask_batch_end(batch);
    return status;
}

PyObject *hfpy_cask_clear(PyObject *object, PyObject *unused)
{
    Cask *self = (Cask *)object;
    hfpy_cask_handle *handle = hfpy_cask_handle_of(self);

    if (handle == NULL)
        return NULL;
    int status = hfpy_cask_run(handle, call_clear, NULL);
    if (status < 0) {
        hfpy_cask_fail(self->state, self->path, status);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *hfpy_cask_update(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Cask *self = (Cask *)object;
    PyObject *source = NULL;

    if (!PyArg_UnpackTuple(args, "update", 0, 1, &source))
        return NULL;
    CaskBatch *batch = (CaskBatch *)hfpy_cask_batch_new(self);
    if (batch == NULL)
        return NULL;
    PyObject *done = NULL;
    if ((source == NULL || hfpy_cask_batch_add_all(batch, source) == 0) &&
        (kwargs == NULL || hfpy_cask_batch_add_all(batch, kwargs) == 0) && hfpy_cask_batch_commit_now(batch) == 0)
        done = Py_NewRef(Py_None);
    Py_DECREF(batch);
    return done;
}
