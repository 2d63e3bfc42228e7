/*
 * map.c: looking up, changing and walking, with encoded keys and values. shared.h has the picture.
 *
 * A thread that has a transaction sees and changes what that has made; every other goes by what is published. Which it
 * is costs two loads, and is asked at each call.
 *
 * Concurrency: as the region's. Failure: a change of one tree undoes itself; of a change of both, see put_given.
 */
#include "shared/shared.h"

#include "region/sabotage.h"
#include "value/format.h"

int hf_shared_key_init(hf_shared_key *key, uint64_t seed, hf_span encoded, const char **reason)
{
    int status = hf_canonical_init(&key->canonical, encoded.bytes, encoded.size, reason);

    if (status < 0)
        return status;
    const hf_canonical *form = &key->canonical;
    bool own = form->bytes == encoded.bytes ||
               (form->size == encoded.size && memcmp(form->bytes, encoded.bytes, form->size) == 0);
    key->given = own ? hf_span_of(NULL, 0) : encoded;
    key->key = (hf_key){hf_canonical_hash(form, seed), form->bytes, form->size};
    return 0;
}

/* -- looking up -- */

unsigned hf_shared_depth(const hf_shared *map)
{
    hf_txn *txn = hf_txn_mine(map->region);

    return txn == NULL ? 0 : 1 + hf_txn_level(txn);
}

int hf_shared_find(hf_shared *map, const hf_key *key, hf_shared_hold *hold, hf_span *value)
{
    hf_txn *txn = hf_txn_mine(map->region);

    hold->pinned = false;
    if (__builtin_expect(txn != NULL, 0))
        return hf_txn_get(txn, HF_SHARED_ENTRIES, key, value);
    int status = hf_view_pin(map->region, &hold->view);
    if (status < 0)
        return status;
    hold->pinned = true;
    return hf_view_get(&hold->view, HF_SHARED_ENTRIES, key, value);
}

int hf_shared_size(hf_shared *map, uint64_t *out)
{
    hf_txn *txn = hf_txn_mine(map->region);
    hf_view view;

    if (txn != NULL) {
        int counted = hf_txn_count(txn, HF_SHARED_ENTRIES, out);
        return counted == 0 && *out > INT64_MAX ? HF_CORRUPT : counted;
    }
    int status = hf_view_pin(map->region, &view);
    if (status < 0)
        return status;
    status = hf_view_size(&view, HF_SHARED_ENTRIES, out);
    hf_view_unpin(&view);
    return status;
}

/* -- changing -- */

int hf_shared_write_begin(hf_shared *map, int64_t timeout, hf_shared_write *out)
{
    hf_txn *txn = hf_txn_mine(map->region);

    if (txn != NULL) {
        *out = (hf_shared_write){.txn = txn};
        return 0;
    }
    int status = hf_txn_begin(map->region, timeout, &txn);
    if (status < 0)
        return status;
    *out = (hf_shared_write){.txn = txn, .own = true};
    return 0;
}

int hf_shared_write_end(hf_shared_write *write, int status)
{
    if (!write->own)
        return status;
    if (status >= 0) {
        int committed = hf_txn_commit(write->txn);
        if (committed >= 0)
            return status;
        status = committed;
    }
    hf_txn_abort(write->txn);
    return status;
}

int hf_shared_write_get(hf_shared_write *write, const hf_key *key, hf_span *value)
{
    return hf_txn_get(write->txn, HF_SHARED_ENTRIES, key, value);
}

/*
 * A change of both trees makes the one in tree 0 first. Where the other then fails, the first is undone, if the transaction
 * is the caller's: by its opposite, for which a put leaves room. Where even that fails, the transaction is spoiled: it can
 * only be rolled back or aborted. (Not a savepoint for each: a transaction has no more than 16,383 of them.)
 */

static int put_given(hf_shared_write *write, const hf_shared_key *key, hf_span value)
{
    int status = hf_txn_put(write->txn, HF_SHARED_ENTRIES, &key->key, value.bytes, value.size);

    if (status != 1)
        return status;
    int put = hf_txn_put(write->txn, HF_SHARED_GIVEN, &key->key, key->given.bytes, key->given.size);
    if (put >= 0)
        return status;
    if (!write->own && hf_txn_remove(write->txn, HF_SHARED_ENTRIES, &key->key) < 0)
        hf_txn_spoil(write->txn, put);
    return put;
}

int hf_shared_write_put(hf_shared_write *write, const hf_shared_key *key, hf_span value)
{
    if (key->given.size > 0)
        return put_given(write, key, value);
    return hf_txn_put(write->txn, HF_SHARED_ENTRIES, &key->key, value.bytes, value.size);
}

int hf_shared_write_remove(hf_shared_write *write, const hf_key *key)
{
    uint64_t count = 0;
    int given, status = hf_txn_count(write->txn, HF_SHARED_GIVEN, &count);

    if (status < 0)
        return status;
    given = count == 0 ? 0 : hf_txn_get(write->txn, HF_SHARED_GIVEN, key, &(hf_span){0});
    if (given < 0)
        return given;
    status = hf_txn_remove(write->txn, HF_SHARED_ENTRIES, key);
    if (status != 1 || given == 0 || HF_SABOTAGE(lost_form))
        return status;
    int removed = hf_txn_remove(write->txn, HF_SHARED_GIVEN, key);
    if (removed >= 0)
        return status;
    /* Its value is gone, and cannot be put back. */
    if (!write->own)
        hf_txn_spoil(write->txn, removed);
    return removed;
}

int hf_shared_write_clear(hf_shared_write *write)
{
    uint64_t count = 0;
    unsigned level;
    int status = hf_txn_count(write->txn, HF_SHARED_GIVEN, &count);

    if (status < 0)
        return status;
    if (count == 0)
        return hf_txn_clear(write->txn, HF_SHARED_ENTRIES);
    status = hf_txn_savepoint(write->txn, &level);
    if (status < 0)
        return status;
    status = hf_txn_clear(write->txn, HF_SHARED_ENTRIES);
    if (status == 0)
        status = hf_txn_clear(write->txn, HF_SHARED_GIVEN);
    if (status < 0)
        hf_txn_rollback(write->txn, level);
    hf_txn_release(write->txn, level);
    return status;
}

/* The int that is encoded here. */
static int int_of(hf_span encoded, int64_t *out)
{
    hf_value_reader reader;
    hf_value_item item;

    hf_value_reader_init(&reader, encoded.bytes, encoded.size);
    int status = hf_value_read(&reader, &item);
    if (status < 0)
        return status;
    if (item.kind != HF_VALUE_INT)
        return HF_BAD_TYPE;
    return hf_span_int64(item.span, out) ? 0 : HF_BAD_VALUE;
}

int hf_shared_write_incr(hf_shared_write *write, const hf_shared_key *key, int64_t by, int64_t *out)
{
    enum { INT_ROOM = 16 };
    uint8_t room[INT_ROOM];
    hf_buffer encoded;
    hf_span value;
    int64_t sum = 0;
    int status = hf_shared_write_get(write, &key->key, &value);

    if (status > 0)
        status = int_of(value, &sum);
    if (status < 0)
        return status;
    if (__builtin_add_overflow(sum, by, &sum))
        return HF_BAD_VALUE;
    hf_buffer_init(&encoded, room, sizeof room, sizeof room);
    hf_put_int64(&encoded, sum);
    status = hf_shared_write_put(write, key, hf_span_of(encoded.bytes, encoded.size));
    if (status < 0)
        return status;
    *out = sum;
    return 0;
}

int hf_shared_write_exchange(hf_shared_write *write, const hf_shared_key *key, hf_span old, hf_span now)
{
    hf_span value;
    int status = hf_shared_write_get(write, &key->key, &value);

    if (status < 0)
        return status;
    bool same = status == 0 ? old.size == 0 : value.size == old.size && memcmp(value.bytes, old.bytes, old.size) == 0;
    if (!same && !HF_SABOTAGE(blind_exchange))
        return 0;
    if (now.size > 0)
        status = hf_shared_write_put(write, key, now);
    else
        status = old.size == 0 ? 0 : hf_shared_write_remove(write, &key->key);
    return status < 0 ? status : 1;
}

/* -- walking -- */

int hf_shared_walk_begin(hf_shared_walk *walk, hf_shared *map, const hf_view *view)
{
    uint64_t given = 0;
    int status;

    walk->view = view;
    walk->txn = NULL;
    if (view != NULL) {
        given = hf_view_count(view, HF_SHARED_GIVEN);
        status = hf_region_cursor_begin(&walk->cursor, view, HF_SHARED_ENTRIES);
    } else {
        walk->txn = hf_txn_mine(map->region);
        if (walk->txn == NULL)
            return HF_INVALID;
        status = hf_txn_count(walk->txn, HF_SHARED_GIVEN, &given);
        if (status == 0)
            status = hf_txn_cursor_begin(&walk->cursor, walk->txn, HF_SHARED_ENTRIES);
    }
    walk->given = given > 0;
    return status;
}

int hf_shared_walk_next(hf_shared_walk *walk, hf_span *key, hf_span *value)
{
    hf_key found;
    int status = hf_region_cursor_next(&walk->cursor, &found, value);

    if (status <= 0)
        return status;
    *key = hf_span_of(found.bytes, found.size);
    if (!walk->given)
        return 1;
    status = walk->txn != NULL ? hf_txn_get(walk->txn, HF_SHARED_GIVEN, &found, key)
                               : hf_view_get(walk->view, HF_SHARED_GIVEN, &found, key);
    return status < 0 ? status : 1;
}

int hf_shared_key_given(const hf_view *view, const hf_key *key, hf_span *out)
{
    *out = hf_span_of(key->bytes, key->size);
    if (hf_view_count(view, HF_SHARED_GIVEN) == 0)
        return 0;
    int status = hf_view_get(view, HF_SHARED_GIVEN, key, out);
    return status < 0 ? status : 0;
}

/* -- checking -- */

static int damaged(const char **what, const char *why)
{
    *what = why;
    return HF_CORRUPT;
}

/* One entry: is the key what it would be if it were made of `given`, and is that hashed as it should be? */
static int check_key(const hf_shared *map, const hf_key *key, hf_span given, const char **what)
{
    hf_shared_key again;
    int status = hf_shared_key_init(&again, map->seed, given, NULL);

    if (status == HF_NOMEM)
        return status;
    if (status < 0)
        return damaged(what, "a key that cannot be one");
    bool same = again.key.hash == key->hash && again.key.size == key->size &&
                memcmp(again.key.bytes, key->bytes, key->size) == 0;
    hf_shared_key_clear(&again);
    return same ? 0 : damaged(what, "a key under another form or hash than its own");
}

static int check_tree(const hf_shared *map, const hf_view *view, unsigned tree, const char **what)
{
    hf_region_cursor cursor;
    hf_span value, given;
    hf_key key;
    int status = hf_region_cursor_begin(&cursor, view, tree);

    while (status == 0 && (status = hf_region_cursor_next(&cursor, &key, &value)) > 0) {
        status = hf_view_get(view, HF_SHARED_GIVEN, &key, &given);
        if (status == 0)
            given = hf_span_of(key.bytes, key.size);
        if (status >= 0)
            status = check_key(map, &key, given, what);
        if (status == 0 && tree == HF_SHARED_GIVEN && hf_view_get(view, HF_SHARED_ENTRIES, &key, NULL) != 1)
            status = damaged(what, "the form of a key that is not there");
        if (status == 0 && hf_value_check(value.bytes, value.size, NULL) < 0)
            status = damaged(what, "a value that is no encoding");
    }
    return status;
}

int hf_shared_check_trees(hf_shared *map, const char **what)
{
    hf_view view;
    int status = hf_view_pin(map->region, &view);

    if (status < 0)
        return status;
    *what = NULL;
    status = check_tree(map, &view, HF_SHARED_ENTRIES, what);
    if (status == 0)
        status = check_tree(map, &view, HF_SHARED_GIVEN, what);
    if (status == HF_CORRUPT && *what == NULL)
        *what = "a tree that cannot be walked";
    hf_view_unpin(&view);
    return status;
}
