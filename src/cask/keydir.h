/*
 * keydir.h: the region that says where each key's newest record is, as the cask uses it.
 *
 *      tree HF_KEYDIR_PLACES    hash -> place, 16 bytes an entry; several entries of one hash where keys collide
 *      tree HF_KEYDIR_NOTES     "meta" -> hf_keydir_meta; a file's number -> hf_keydir_note
 *
 * Both are of one version: what a view sees of one goes with what it sees of the other.
 *
 * Concurrency, failure: the region's.
 */
#ifndef HF_CASK_KEYDIR_H
#define HF_CASK_KEYDIR_H

#include "cask/format.h"
#include "region/keydir.h"

typedef hf_place_match hf_keydir_match;

/* Of a folder's path. `read_only`: it must be there. One that is new has no meta. HF_CORRUPT: also where it is
 * another kind of region. */
int hf_keydir_open(const char *folder, bool read_only, hf_region **out);

/* In memory that has no name. */
int hf_keydir_open_memory(hf_region **out);

/* Removes what is there: it can be made again. */
int hf_keydir_remove(const char *folder);

static inline int hf_keydir_find(const hf_view *view, uint64_t hash, hf_keydir_match match, void *arg,
                                 uint64_t *place)
{
    return hf_view_find_place(view, HF_KEYDIR_PLACES, hash, match, arg, place);
}

static inline uint64_t hf_keydir_count(const hf_view *view)
{
    return hf_view_count(view, HF_KEYDIR_PLACES);
}

static inline int hf_keydir_walk_begin(hf_region_cursor *cursor, const hf_view *view)
{
    return hf_region_cursor_begin(cursor, view, HF_KEYDIR_PLACES);
}

int hf_keydir_walk_next(hf_region_cursor *cursor, uint64_t *hash, uint64_t *place); /* 1; 0: the end */

/* 1 and what is there; 0: nothing; HF_CORRUPT. */
int hf_keydir_meta_get(const hf_view *view, struct hf_keydir_meta *out);
int hf_keydir_note_get(const hf_view *view, uint32_t number, struct hf_keydir_note *out);

/* Every note: 0 to go on. */
int hf_keydir_notes_each(const hf_view *view,
                         int (*visit)(void *arg, uint32_t number, const struct hf_keydir_note *note), void *arg);

/* 1: it is new; 0 and *old. unset: 1 and *old; 0: it was not there. */
static inline int hf_keydir_set(hf_txn *txn, uint64_t hash, uint64_t place, hf_keydir_match match, void *arg,
                                uint64_t *old)
{
    return hf_txn_set_place(txn, HF_KEYDIR_PLACES, hash, place, match, arg, old);
}

static inline int hf_keydir_unset(hf_txn *txn, uint64_t hash, hf_keydir_match match, void *arg, uint64_t *old)
{
    return hf_txn_unset_place(txn, HF_KEYDIR_PLACES, hash, match, arg, old);
}

int hf_keydir_meta_set(hf_txn *txn, const struct hf_keydir_meta *meta);
int hf_keydir_note_set(hf_txn *txn, uint32_t number, const struct hf_keydir_note *note);
int hf_keydir_note_unset(hf_txn *txn, uint32_t number);

#endif
