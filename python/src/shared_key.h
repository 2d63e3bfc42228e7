/*
 * shared_key.h: keys and values of a SharedMap, on their way in and out: those of stored_key.h, for hf_shared.
 *
 * Concurrency: under the GIL. Failure: an exception.
 */
#ifndef HFPY_SHARED_KEY_H
#define HFPY_SHARED_KEY_H

#include "shared_impl.h"

#include "stored_key.h"

/* A key on its way to the map. Stays where it is until it is cleared. */
typedef struct hfpy_shared_key {
    hf_shared_key shared; /* `canonical` is not used */
    hfpy_stored_key stored;
} hfpy_shared_key;

static inline void hfpy_shared_key_clear(hfpy_shared_key *key)
{
    hfpy_stored_key_clear(&key->stored);
}

/* The key without its hash. To be cleared if this succeeds. Foreign code may run. */
static inline int hfpy_shared_key_make(homes_state *state, PyObject *object, unsigned flags, hfpy_shared_key *key)
{
    if (hfpy_stored_key_make(state, object, flags, &key->stored) < 0)
        return -1;
    key->shared.key.bytes = key->stored.canonical.bytes;
    key->shared.key.size = key->stored.canonical.size;
    key->shared.given = key->stored.given;
    return 0;
}

static inline void hfpy_shared_key_hash(hfpy_shared_key *key, const hf_shared *map)
{
    key->shared.key.hash = hf_canonical_hash_bytes(key->shared.key.bytes, key->shared.key.size, map->seed);
}

PyObject *hfpy_shared_take_copied(homes_state *state, hf_shared_hold *hold, hf_span value, unsigned flags);

/* The object of what was found, with the hold released. */
static inline PyObject *hfpy_shared_take(homes_state *state, hf_shared_hold *hold, hf_span value, unsigned flags)
{
    PyObject *object;

    if (!hfpy_plain(value, &object))
        return hfpy_shared_take_copied(state, hold, value, flags);
    hf_shared_release(hold);
    return object;
}

#endif
