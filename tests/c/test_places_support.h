/*
 * test_places_support.h: trees of places (keydir.h) for tests, and a model of them: an array.
 *
 *      trees      0 and 2 are of places, 1 is of records: one of each kind is what most regions will have
 *      place      the key in the low 16 bits, as if it were what a log has there; above it a number, NONE: there is no such
 *                 key. It may look like a link to anything: nobody may follow it
 */
#ifndef HF_TEST_PLACES_SUPPORT_H
#define HF_TEST_PLACES_SUPPORT_H

#include "test_region_support.h"

enum { PLACE_TREES = 0x5, PLACES = 2 /* such trees */, RECORDS = 1 /* the tree of records */ };

#define NONE UINT64_MAX

static const unsigned place_tree[PLACES] = {0, 2};

typedef struct places {
    uint64_t place[PLACES][KEYS];
    uint64_t count[PLACES];
    int records; /* what key 7 of the tree of records has, or ABSENT */
} places;

/* Whom a look-up is for, and how it went. */
typedef struct asked {
    int key;
    int status; /* to fail with; 0: to answer */
    unsigned times;
    bool wrong; /* it was asked of a key with another hash */
} asked;

static inline int is_key(void *arg, uint64_t place)
{
    asked *a = arg;
    a->times++;
    a->wrong = a->wrong || place % 65536 >= KEYS || hash_of((int)(place % 65536)) != hash_of(a->key);
    return a->status < 0 ? a->status : place % 65536 == (uint64_t)a->key;
}

/* Numbers that are places of blocks, as a file has them: of its own, of the staging area, of the nursery. */
static inline uint64_t place_for(random_source *random, int key)
{
    uint64_t top = random_next(random) << 40, middle = random_next(random) % (1 << 24);
    switch (random_below(random, 4)) {
    case 0:
        middle %= 64;
        break;
    case 1:
        middle = 64 + middle % 8192;
        break;
    case 2:
        middle = (1 << 24) - 1 - middle % 8;
        break;
    default:
        break;
    }
    uint64_t place = top | middle << 16 | (uint64_t)key;
    return place == NONE ? (uint64_t)key : place;
}

static inline void places_clear(places *m)
{
    memset(m, 0, sizeof *m);
    memset(m->place, 0xff, sizeof m->place);
    m->records = ABSENT;
}

/* -- changes to the region, and then to the model: a status, or what was answered -- */

static inline int both_set(hf_txn *txn, places *m, int tree, int key, uint64_t place)
{
    asked a = {.key = key};
    uint64_t old = NONE, was = m->place[tree][key];
    int status = hf_txn_set_place(txn, place_tree[tree], hash_of(key), place, is_key, &a, &old);
    if (status < 0)
        return status;
    if (a.wrong || status != (was == NONE) || old != was)
        return HF_INVALID;
    m->count[tree] += (uint64_t)status;
    m->place[tree][key] = place;
    return status;
}

static inline int both_unset(hf_txn *txn, places *m, int tree, int key)
{
    asked a = {.key = key};
    uint64_t old = NONE, was = m->place[tree][key];
    int status = hf_txn_unset_place(txn, place_tree[tree], hash_of(key), is_key, &a, &old);
    if (status < 0)
        return status;
    if (a.wrong || status != (was != NONE) || old != was)
        return HF_INVALID;
    m->count[tree] -= (uint64_t)status;
    m->place[tree][key] = NONE;
    return status;
}

static inline int both_clear_places(hf_txn *txn, places *m, int tree)
{
    int status = hf_txn_clear(txn, place_tree[tree]);
    if (status < 0)
        return status;
    m->count[tree] = 0;
    memset(m->place[tree], 0xff, sizeof m->place[tree]);
    return 0;
}

static inline int both_put_record(hf_txn *txn, places *m, int number)
{
    char text[64];
    hf_key key = key_of(7, text);
    int status = hf_txn_put(txn, RECORDS, &key, &number, sizeof number);
    if (status >= 0)
        m->records = number;
    return status;
}

/* -- what is there -- */

static inline bool found_is(int found, uint64_t place, const asked *a, uint64_t expected)
{
    return !a->wrong && found == (expected != NONE) && (found != 1 || place == expected);
}

static inline bool walk_is(hf_region_cursor *cursor, const places *m, int tree)
{
    hf_place_entry entry;
    uint64_t seen = 0;
    int more;
    for (; (more = hf_region_cursor_next_place(cursor, &entry)) > 0; seen++) {
        uint64_t key = entry.place % 65536;
        if (key >= KEYS || entry.hash != hash_of((int)key) || m->place[tree][key] != entry.place)
            return false;
    }
    return more == 0 && seen == m->count[tree];
}

static inline bool view_has(const hf_view *view, const places *m, int tree)
{
    hf_region_cursor cursor;
    if (hf_view_count(view, place_tree[tree]) != m->count[tree])
        return false;
    for (int key = 0; key < KEYS; key++) {
        asked a = {.key = key};
        uint64_t place = 0;
        int found = hf_view_find_place(view, place_tree[tree], hash_of(key), is_key, &a, &place);
        if (!found_is(found, place, &a, m->place[tree][key]))
            return false;
    }
    return hf_region_cursor_begin(&cursor, view, place_tree[tree]) == 0 && walk_is(&cursor, m, tree);
}

static inline bool view_is_places(const hf_view *view, const places *m)
{
    char text[64];
    hf_key key = key_of(7, text);
    hf_span value;
    int number = ABSENT;
    if (hf_view_get(view, RECORDS, &key, &value) == 1)
        memcpy(&number, value.bytes, sizeof number);
    return number == m->records && view_has(view, m, 0) && view_has(view, m, 1);
}

static inline bool region_is_places(hf_region *region, const places *m)
{
    hf_view view;
    if (hf_view_pin(region, &view) < 0)
        return false;
    bool is = view_is_places(&view, m);
    hf_view_unpin(&view);
    return is;
}

static inline bool txn_is_places(hf_txn *txn, const places *m)
{
    for (int tree = 0; tree < PLACES; tree++) {
        hf_region_cursor cursor;
        uint64_t count;
        for (int key = 0; key < KEYS; key++) {
            asked a = {.key = key};
            uint64_t place = 0;
            int found = hf_txn_find_place(txn, place_tree[tree], hash_of(key), is_key, &a, &place);
            if (!found_is(found, place, &a, m->place[tree][key]))
                return false;
        }
        if (hf_txn_count(txn, place_tree[tree], &count) < 0 || count != m->count[tree] ||
            hf_txn_cursor_begin(&cursor, txn, place_tree[tree]) < 0 || !walk_is(&cursor, m, tree))
            return false;
    }
    return true;
}

#endif
