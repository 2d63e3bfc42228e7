/*
 * hint.h: what a sealed file's records say, without their keys and values: for opening, and for merges.
 *
 *      [ hf_hint_head | hf_hint_entry ... | filter | checksum ]      0000000001.hint
 *
 *      filter      | 512 bits | 512 bits | ...      of each hash seven bits, all in one block: one line of cache
 *
 * The filter answers whether a file may have a record of a key (by its hash): a blocked Bloom filter, after Putze,
 * Sanders and Singler (2007), with ten bits a record; of hashes that are not there it says yes to about one in a
 * hundred. It speaks of all records, also of those that no longer count: a merge asks it whether a deletion may go.
 *
 * A hint can always be made again from the log; one that does not verify is as one that is not there.
 *
 * Invariant: what hf_hint_open has accepted: every entry is of this file and lies, as far as its place says, within
 * log_size; its sequence number is one from `first` to `last`; the filter has as many words as go with the entries.
 *
 * Concurrency: constant once made. Failure: HF_NOMEM, HF_IO, HF_NOSPACE; HF_ABSENT, HF_CORRUPT: read the log.
 */
#ifndef HF_CASK_HINT_H
#define HF_CASK_HINT_H

#include "cask/log.h"

/* Collects the entries of a file in the order of its records. */
typedef struct hf_hint_maker {
    struct hf_hint_head head; /* number, count, first, last, clock, soonest are right at any time */
    struct hf_hint_entry *entries;
    size_t room;
} hf_hint_maker;

void hf_hint_maker_init(hf_hint_maker *maker, const uint64_t id[2], uint32_t number);

/* `hash`: of the key; not looked at for a CLOCK. HF_NOMEM. */
int hf_hint_maker_add(hf_hint_maker *maker, uint64_t hash, const hf_record_out *record);
void hf_hint_maker_clear(hf_hint_maker *maker);

/*
 * Writes it under a temporary name, syncs it, gives it its name in place of what had it (durable after the next sync
 * of the folder). *bytes, which may be NULL: how many. HF_DENIED, HF_READ_ONLY. Where it fails, what was there is
 * there.
 */
int hf_hint_write(int folder, hf_hint_maker *maker, uint64_t log_size, uint64_t *bytes);

typedef struct hf_hint {
    const struct hf_hint_head *head;
    const struct hf_hint_entry *entries; /* head->count of them */
    const uint64_t *filter;
    void *mapped;
    size_t size;
} hf_hint;

/* Maps it and verifies all of it. HF_CORRUPT: also where it is of another cask, file or format, or of a log file with
 * another size. */
int hf_hint_open(int folder, const uint64_t id[2], uint32_t number, uint64_t log_size, hf_hint *out);
void hf_hint_close(hf_hint *hint); /* closed, or all 0, already: nothing */

/* false: the file has no record of a key with that hash. */
bool hf_hint_may_have(const hf_hint *hint, uint64_t hash);

/*
 * Makes a hint in memory from the log (of a sealed file: up to its `end`); `seed` is of the hashes of keys. Damage is
 * skipped, and `lost`, which may be NULL, told of the bytes in which there is no record; it returns 0, or a failure
 * that ends this.
 */
int hf_hint_from_log(const hf_log_file *file, const uint64_t id[2], uint64_t seed,
                     int (*lost)(void *arg, uint64_t at, uint64_t size), void *arg, hf_hint_maker *out);

#endif
