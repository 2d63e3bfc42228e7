/*
 * merge.h: what the files of merging share: merge.c (its stages, who does them, the public calls), merge_choose.c
 * (which files), merge_copy.c (what counts in them, to another file), merge_settle.c (from one to the other, and
 * away with what is left).
 *
 *      victims   0000000003.log   0000000004.log       sealed files; what counts in them is copied, in order, to
 *                          \        /
 *      output            0000000009.log                a file of kind MERGED, not longer than a log file gets
 *
 *      MERGE_IDLE       nothing is being merged; files that nobody can look at any more go
 *      MERGE_COPY       victims are read, the output is written. A failure or a crash: the output goes, nothing has
 *                       changed
 *      MERGE_COMMIT     all that is needed is on the disk; the manifest lists the output, and the victims as such
 *      MERGE_MOVE       keys that lead to victims are made to lead to the output
 *      MERGE_SWEEP      only after a crash: what still leads to a victim had expired, and was not copied
 *      MERGE_SETTLE     a checkpoint: the keydir does not lead to the victims any more
 *      MERGE_IDLE       later, when no pinned version is older than that: the victims go
 *
 * Invariants
 *  G1  A record is left out because another one of its key counts, or because it has expired or is a deletion and
 *      hides nothing. Before the manifest says so, whatever made it so is durable: the whole log up to then, and
 *      the clock.
 *  G2  A deletion, or what has expired, is left out only if no file that stays may have an older record of its key;
 *      an expired record that hides one is copied as a deletion with its number. Files that stay are all but the
 *      victims up to the one that is being read: since they are read in the order of their numbers, and go
 *      together, in one edit of the manifest.
 *  G3  From MERGE_COMMIT on output and victims are both there, listed and in the index, until MERGE_SETTLE is done:
 *      it does not matter which of the two copies of a record a key leads to, nor how many of them were moved when
 *      a crash comes; moving goes on after it.
 *  G4  A key is moved with the cask's mutex, and only if it leads to the record that was copied (file and sequence
 *      number), so a put or delete that came meanwhile is not hidden.
 *  G5  A victim is taken from the manifest, durably, before it is removed; and before that no version of the keydir
 *      that anybody can look at, or that can come back, leads to it. `next` of the manifest is above its number
 *      then, so that a file of which only the name comes back does not count.
 *  G6  A file in which anything is damaged is not merged: what is left of it, and what is wrong with it, stays as
 *      it is.
 *
 * Crashes. Before the manifest is there: the output is of kind MERGED and not listed: a leftover. After it, before
 * the checkpoint (meta.generation is less than the victims'): hf_merge_begin moves what was not moved, and goes on
 * from there. After the checkpoint: the victims are listed as such with a generation that the keydir has: they go.
 * After the manifest without them: leftovers, below `next`. A keydir that is made again reads output and victims,
 * and takes the output's copy; what else it takes from victims has expired, and is swept.
 *
 * Concurrency: the duty `merging`, of who does a step; what others may read is the cask's, with the mutex. A step
 * is short, but for flushes and the checkpoint, which hold no lock. Failure: see merge.c.
 */
#ifndef HF_CASK_MERGE_H
#define HF_CASK_MERGE_H

#include "cask/cask.h"

enum { HF_MERGE_VICTIMS = 64 }; /* of one output */

enum hf_merge_stage { MERGE_IDLE, MERGE_COPY, MERGE_COMMIT, MERGE_MOVE, MERGE_SWEEP, MERGE_SETTLE };

/* A key that leads to an expired record that is left out. */
typedef struct hf_merge_gone {
    uint64_t hash;
    uint64_t place;
} hf_merge_gone;

/* A file that may have records older than what is left out. */
typedef struct hf_merge_other {
    uint32_t number;
    int asked; /* 0: not yet; 1: its hint is there; -1: it has none */
    uint64_t first;
    hf_hint hint;
} hf_merge_other;

/* A victim that is to go. */
typedef struct hf_merge_leaving {
    uint32_t number;
    bool unlisted;       /* it is in no manifest any more */
    uint64_t generation; /* that made it a victim */
    uint64_t txid;       /* the keydir's version from which on nothing leads to it; 0: not known yet */
} hf_merge_leaving;

/* What is known of a sealed file for good. */
typedef struct hf_merge_age {
    uint32_t number;
    bool damaged;
    bool dated;     /* `latest` is known */
    int64_t latest; /* expiry of any of its records; INT64_MAX: not all expire */
} hf_merge_age;

struct hf_merge {
    enum hf_merge_stage stage;
    bool calling; /* with the mutex: hf_cask_merge is at it */

    hf_log_file *victims[HF_MERGE_VICTIMS]; /* counted; by number */
    size_t count;
    size_t at;      /* the victim that is being read, */
    uint64_t read;  /* up to here */
    uint64_t total; /* bytes of victims that are read through */

    bool has_output;
    uint32_t number;
    hf_log_writer output;
    hf_hint_maker maker;   /* its records */
    unsigned char *buffer; /* records that are not written yet */
    size_t used, room;
    uint64_t begin; /* where in the output the victim that is being read begins, and as things were then: */
    struct hf_hint_head begin_head;
    size_t begin_gone;
    hf_merge_gone *gone;
    size_t gone_count, gone_room;
    hf_merge_other *others;
    size_t others_count, others_room;

    uint64_t generation; /* of the manifest that has the output */
    uint64_t moved;      /* so many of maker.entries, then of `gone`, are seen to */
    hf_log_file *file;   /* the output, sealed; NULL: there is none */

    hf_merge_leaving *leaving;
    size_t leaving_count, leaving_room;
    hf_merge_age *ages;
    size_t ages_count, ages_room;

    uint64_t due;      /* by the rate, not before (monotonic clock) */
    uint64_t retry;    /* after a failure, not before */
    uint64_t patience; /* how long that was */
    size_t limit;      /* victims of one output; 0: as many as can be */
    bool refused;      /* a victim was found to be damaged since hf_cask_merge began */
    bool uncertain;    /* which manifest there is */
    bool idle;         /* with the mutex: there was nothing to do, as long as these are what they are: */
    uint64_t idle_base;
    uint32_t idle_next;
};

/* -- merge_choose.c -- */

/* Chooses, among files with numbers below `upto`: 1 and m->victims, m->count; 0: none is worth it. Without the
   mutex. `keep` false: only whether there are
 * some. */
int hf_merge_choose(hf_cask *cask, struct hf_merge *m, uint64_t upto, bool keep);

/* What is known of it; or it is made. NULL: no memory. */
hf_merge_age *hf_merge_age_of(struct hf_merge *m, uint32_t number);

/* With the mutex: is it written to no more, and on the disk? */
bool hf_merge_is_sealed(const hf_cask *cask, uint32_t number);

/* -- merge_copy.c -- */

/* Of the victims: all is ready for hf_merge_copy. */
int hf_merge_prepare(hf_cask *cask, struct hf_merge *m);

/* Reads on. 1: there is more; 0: all is read. HF_CORRUPT where no victim is left. */
int hf_merge_copy(hf_cask *cask, struct hf_merge *m);

/* Where the newest record of a key is: as hf_index_find, by the newest index, of what is visible, or, `all`, with
   the mutex, of all. */
int hf_merge_newest(hf_cask *cask, const hf_cask_key *key, bool all, hf_record_out *record, uint64_t *place);

/* -- merge_settle.c -- */

int hf_merge_commit(hf_cask *cask, struct hf_merge *m);
int hf_merge_move(hf_cask *cask, struct hf_merge *m);  /* 1: there is more; 0 */
int hf_merge_sweep(hf_cask *cask, struct hf_merge *m); /* 1: there is more; 0 */
int hf_merge_settle(hf_cask *cask, struct hf_merge *m);

/* Removes what nobody can look at: 1: something has gone; 0. */
int hf_merge_leave(hf_cask *cask, struct hf_merge *m);

/* The victims that the manifest lists are to leave: what a crash, or a reader, has left there. */
int hf_merge_remember(hf_cask *cask, struct hf_merge *m);

/* Goes on with the oldest merge of which the keydir does not have all. */
int hf_merge_resume(hf_cask *cask, struct hf_merge *m);

/* -- merge.c -- */

/* Forgets the merge that is in m; removes the output, if it is not listed. */
void hf_merge_drop(hf_cask *cask, struct hf_merge *m);

#endif
