/*
 * shared.h: a map in shared memory, as those see it who encode keys and values themselves (Python; datum.c for C).
 *
 *      tree 0   canonical key -> encoded value               the map
 *      tree 1   canonical key -> the key as it was put       only of keys that were put in another form: True, whose
 *                                                            canonical form is 1's
 *
 * So what most maps hold, keys that are their own canonical form, costs nothing more, and iteration gives back the key
 * first put.
 *
 *      hf_shared_hold     a value that was looked up: pinned until it is released
 *      hf_shared_write    a change under way: in a transaction of its own, or in this thread's
 *
 * A change is begin, changes, end. Keys and values are encoded before the begin: nothing foreign runs, and nothing is
 * allocated that need not be, while others wait.
 *
 * Invariants
 *  1. A key in tree 1 is in tree 0.
 *  2. A change is whole or is not: one that touches both trees and cannot be finished is undone, or its transaction is
 *     spoiled (hf_txn_spoil).
 *
 * Concurrency, failure: as the public header says (holdfast/shared.h).
 */
#ifndef HF_SHARED_SHARED_H
#define HF_SHARED_SHARED_H

#include "holdfast/shared.h"
#include "region/region.h"
#include "value/canonical.h"

enum { HF_SHARED_ENTRIES = 0, HF_SHARED_GIVEN = 1, HF_SHARED_NAME_MAX = 250 };

struct hf_shared {
    hf_region *region;
    uint64_t seed; /* of the hashes of keys */
    int64_t timeout;
    uint64_t inode[2];
    char path[HF_SHARED_NAME_MAX + 2]; /* "/NAME" */
};

/* As hf_shared_open, of a segment that the caller has open for reading and writing; the descriptor stays the caller's. */
int hf_shared_open_fd(int fd, const char *name, const hf_shared_options *options, hf_shared **out);

struct hf_shared_snapshot {
    hf_snapshot *pinned;
    uint64_t seed;
};

/*
 * A key, ready to be looked up. Stays where it is, as `canonical` does; to be cleared. `given` is the encoding it was
 * made of, where that is another one than its canonical form, and else has no bytes.
 */
typedef struct hf_shared_key {
    hf_canonical canonical;
    hf_key key;
    hf_span given;
} hf_shared_key;

/* Of a whole encoded value, which is borrowed. HF_BAD_TYPE, HF_BAD_VALUE with *reason, as hf_canonical_init. */
int hf_shared_key_init(hf_shared_key *key, uint64_t seed, hf_span encoded, const char **reason);

/* The same of an encoding that is its own canonical form, as a str's, an int's and bytes' are. */
static inline void hf_shared_key_own(hf_shared_key *key, uint64_t seed, hf_span encoded)
{
    hf_buffer_init(&key->canonical.made, NULL, 0, SIZE_MAX);
    key->canonical.bytes = encoded.bytes;
    key->canonical.size = encoded.size;
    key->given = hf_span_of(NULL, 0);
    key->key = (hf_key){hf_canonical_hash_bytes(encoded.bytes, encoded.size, seed), encoded.bytes, encoded.size};
}

static inline void hf_shared_key_clear(hf_shared_key *key)
{
    hf_canonical_clear(&key->canonical);
}

/* -- looking up -- */

typedef struct hf_shared_hold {
    hf_view view;
    bool pinned;
} hf_shared_hold;

/* 1 and the encoded value, good until the hold is released, which is to be done whatever this returns; or 0. In a
 * transaction of this thread: what it has made, good until its next change. */
int hf_shared_find(hf_shared *map, const hf_key *key, hf_shared_hold *hold, hf_span *value);

static inline void hf_shared_release(hf_shared_hold *hold)
{
    if (hold->pinned)
        hf_view_unpin(&hold->view);
    hold->pinned = false;
}

/* The number of entries: in a transaction of this thread, those that it has. */
int hf_shared_size(hf_shared *map, uint64_t *out);

/* How many transactions this thread is in, one within the other: 0, none. */
unsigned hf_shared_depth(const hf_shared *map);

/* As hf_shared_begin, with another time to wait. */
int hf_shared_begin_within(hf_shared *map, int64_t timeout);

/* -- changing -- */

typedef struct hf_shared_write {
    hf_txn *txn;
    bool own; /* a transaction of this change alone */
} hf_shared_write;

/* HF_TIMEOUT and whatever hf_txn_begin says. Ended by hf_shared_write_end, which publishes the change if `status` is no
 * failure, undoes it otherwise, and returns `status` or why it could not be published. */
int hf_shared_write_begin(hf_shared *map, int64_t timeout, hf_shared_write *out);
int hf_shared_write_end(hf_shared_write *write, int status);

/* As hf_txn_get, hf_txn_put and hf_txn_remove, but the key comes back as it was first put. */
int hf_shared_write_get(hf_shared_write *write, const hf_key *key, hf_span *value);
int hf_shared_write_put(hf_shared_write *write, const hf_shared_key *key, hf_span value);
int hf_shared_write_remove(hf_shared_write *write, const hf_key *key);
int hf_shared_write_clear(hf_shared_write *write);

/* Adds to the int that the key has. HF_BAD_TYPE: it is none; HF_BAD_VALUE: one of the two has more than 64 bits. */
int hf_shared_write_incr(hf_shared_write *write, const hf_shared_key *key, int64_t by, int64_t *out);

/* `old`, `now`: no bytes stand for no value. 1: it was `old`. */
int hf_shared_write_exchange(hf_shared_write *write, const hf_shared_key *key, hf_span old, hf_span now);

/* -- walking -- */

/* Entries of a view (of a snapshot, or of this thread's transaction: then `view` is NULL, and it is good until the next
 * change). *key is the encoded key as it was first put. */
typedef struct hf_shared_walk {
    hf_region_cursor cursor;
    hf_txn *txn;
    const hf_view *view;
    bool given; /* there may be keys in another form */
} hf_shared_walk;

int hf_shared_walk_begin(hf_shared_walk *walk, hf_shared *map, const hf_view *view);

/* 1 and an entry, or 0 at the end. */
int hf_shared_walk_next(hf_shared_walk *walk, hf_span *key, hf_span *value);

/* The key as it was first put, of one that is in the view under this canonical form; `key` itself where that is it. */
int hf_shared_key_given(const hf_view *view, const hf_key *key, hf_span *out);

/* Beyond what the region checks: are keys and values encoded, and is tree 1 what it should be? HF_CORRUPT and what. */
int hf_shared_check_trees(hf_shared *map, const char **what);

#endif
