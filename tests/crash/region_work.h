/*
 * region_work.h: what the laboratory does with a region, in either home: a mixed workload, and a model of it.
 *
 *      work_state    the model: the value of each key of each tree, and what each kept snapshot has. Its digest is that of
 *                    the region's contents, the sum of a hash of each entry: the order does not matter
 *      work          a region in use, with snapshots that are held and what they must have
 *
 *      work_recover  what is there: checked, read into the model
 *      work_change   a transaction, up to its commit: puts, removals, values of all sizes, keys whose hashes are the same,
 *                    savepoints, kept snapshots; and now and then one that is given up, or whose thread ends in it
 *      work_look     the newest version and the snapshots held are what the model says
 *
 * A value is a number: its first 8 bytes, which say how long it is and what the rest has to be. In the tree of places it is
 * the place, which says whose it is.
 *
 * Concurrency: a work belongs to one thread. Failure: what is not as it should be is a violation of the run; the
 * functions then give a negative number, or the status of what failed.
 */
#ifndef HF_CRASH_REGION_WORK_H
#define HF_CRASH_REGION_WORK_H

#include "lab.h"

#include "region/keydir.h"
#include "region/region.h"

#include <holdfast/status.h>

enum {
    WORK_KEYS = 64,
    WORK_TREES = 4,
    WORK_PLACES = 3, /* the tree of places; the others are of records */
    WORK_HELD = 3,
    WORK_KEPT = 4,
    WORK_LONGEST = 24 << 10, /* bytes of a new value, and */
    WORK_GROWN = 160 << 10,  /* of one that has grown */
};

struct work_state {
    uint64_t value[WORK_TREES][WORK_KEYS];  /* 0: absent */
    uint64_t sum;                           /* of the entries' hashes */
    bool kept[WORK_KEPT], fresh[WORK_KEPT]; /* fresh: by the transaction under way, at whose end its sum is known */
    uint64_t kept_sum[WORK_KEPT];           /* of the version that was kept */
};

struct work {
    struct hf_lab_run *run;
    hf_region *region;
    struct hf_random random;
    struct work_state now;
    struct {
        hf_snapshot *snapshot;
        uint64_t sum;
    } held[WORK_HELD];
};

uint64_t work_digest(const struct work_state *state);
void work_set(struct work_state *state, unsigned tree, unsigned key, uint64_t value);

/* A key's bytes go to `text`. */
hf_key work_key(unsigned number, char text[48]);

/* Whose place is this? For hf_place_match. */
int work_match(void *number, uint64_t place);

/* The bytes of a value, which stay until the next call: and how many. */
const void *work_value(uint64_t value, size_t *size);
/* The number, or 0: these bytes are no value. */
uint64_t work_number(const hf_span *span);
/* A new one. `large`: it may be of several pages. And one that is longer than this one: by a fifth or more, up to
 * WORK_GROWN; then short again. */
uint64_t work_draw(struct hf_random *random, bool large);
uint64_t work_larger(struct hf_random *random, uint64_t value);

/* The check, and what is there: 0 and `now`; HF_CORRUPT is no violation, others are unless the run is faulty. */
int work_recover(struct work *work);

/* What this view has, of its trees alone: 0 and the state, or a status. HF_INVALID: what nobody put there. */
int work_read(const hf_view *view, struct work_state *out);

/* Begins a transaction and makes changes: *out, and what there will be once it is committed. 1; 0: there is none, it
 * came to nothing; negative: something failed, nothing was changed. */
int work_change(struct work *work, hf_txn **out, struct work_state *next);

/* Looks at the newest version, and at snapshots; begins and ends some. Negative: something failed. */
int work_look(struct work *work);

/* Ends the snapshots, each of which must have what it had. */
void work_release(struct work *work);

#endif
