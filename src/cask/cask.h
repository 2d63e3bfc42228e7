/*
 * cask.h: the cask itself, as its own files and those see it who encode keys and values themselves (Python; face.c
 * for C).
 *
 *      the log:     0000000005.log   0000000006.log   0000000007.log                    what is true
 *                  [ sealed         ][ sealed, perhaps not yet flushed ][ active ... |      appended: the log's end
 *                                                              ^ durable: before it all survives a power cut
 *
 *      the index:   hf_index, constant once published; cask->index is the newest
 *                     logs     the files, mapped
 *                     active   tail: {hash, place} of what was put last. Its first `visible` entries count
 *                     frozen   tail that is being folded into the keydir, or NULL
 *                     base     the version of the keydir that `frozen` is folded into
 *                   keydir     a region: {hash, place} of all before
 *
 *      get:         active, newest first -> frozen -> keydir: the first entry whose record has the key decides
 *      put:         record to the log's end, entry to `active`, `visible` moves
 *      checkpoint:  freeze (active becomes frozen, a new one is published) -> flush the log -> fold frozen into
 *                   the keydir, one transaction, durable -> publish an index without it. Writers go on meanwhile
 *
 * Files: page.c (folder, lock, page), index.c (looking up), snapshot.c (snapshots, walks, counts), write.c (put,
 * delete, rolling), batch.c, sync.c (flushing together, sealing), checkpoint.c, thread.c, notes.c (what is known of
 * each file), recover.c and replay.c (opening), merge*.c, open.c (opening, closing, forks), follow.c (other
 * processes' readers), status.c, face.c (the public functions that take C's bytes).
 *
 * Invariants
 *  C1  An index is right with the version of the keydir that it was made for, `base`, and with the next one: that is
 *      base with `frozen` folded in, which is what the index says anyway. In the writer's process the newest version
 *      is never older than the newest index's base; one that is two ahead of an index that a reader still holds
 *      gives an answer that was right after the reader had begun.
 *  C2  What is visible can be read: a file is in the published index, and its `end` moved, before an entry that
 *      leads there is visible.
 *  C3  In the writer's process entries are in the order of sequence numbers, and the log is too: files of kind
 *      WRITTEN in the order of their numbers have numbers that follow each other, but for gaps before which all was
 *      synced and listed (recover.c).
 *  C4  The keydir's meta never stands for more of the log than is on the disk: a fold is committed after the flush
 *      of what it holds.
 *  C5  With HF_CASK_SYNC_PUT nothing is visible before it is on the disk.
 *  C6  In a process that reads, an index is used with exactly the version `base` of the keydir (follow.c).
 *
 * Locks, in this order; none is held while the disk is waited for but the first, for what a put writes itself:
 *      registry (open.c; all casks of the process, for forks)
 *      hf_cask.mutex      all that is under "with the mutex" below. It orders the writers
 *      hf_cask.counting   what counts remember
 *      the region's own
 *  Two duties are one's at a time, without a lock being held: `flushing` (who flushes the log) and `folding` (who
 *  makes a checkpoint). They are taken with the mutex, waited for with `changed`; who folds may flush, not the other
 *  way round. Readers take no lock (epoch.h), except those of other processes when there is something new
 *  (follow.c).
 *
 * Failure. A put, delete or commit that fails before its record is whole in the log has changed nothing. A flush
 * that fails breaks the cask: `broken` is its errno, nothing is written from then on. A checkpoint that fails leaves
 * `frozen` where it is, is tried again later, and once the active tail is much too long writers get what it failed
 * with. Damage that a look-up meets is HF_CORRUPT, and counted.
 */
#ifndef HF_CASK_CASK_H
#define HF_CASK_CASK_H

#include "cask/epoch.h"
#include "cask/hint.h"
#include "cask/keydir.h"
#include "cask/log.h"
#include "cask/manifest.h"
#include "cask/tail.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/os.h"
#include "value/canonical.h"

#include <holdfast/cask.h>

#include <pthread.h>
#include <string.h>

/* -- keys and values, encoded -- */

/* A key, ready to be looked up: its canonical form, and as it was given where that is another (else no bytes). */
typedef struct hf_cask_key {
    hf_span canonical;
    hf_span given;
    uint64_t hash;
} hf_cask_key;

/* Of an encoded value and the canonical form made of it, which are both borrowed. */
hf_cask_key hf_cask_key_of(const hf_cask *cask, const hf_canonical *form, hf_span encoded);

/* -- the index -- */

/* What goes with a tail as long as it grows: it is copied to a larger one then, and its entries keep their
 * numbers. */
typedef struct hf_facts {
    _Atomic unsigned count;    /* of owners */
    _Atomic uint32_t expiring; /* records in it that expire, or more */
    uint32_t resolved;         /* with `counting`: the first so many entries make */
    int64_t keys;              /* so many keys more than there were before the tail */
} hf_facts;

typedef struct hf_index {
    _Atomic unsigned count; /* of owners: its being published, snapshots */
    hf_log_set *logs;
    hf_tail *active, *frozen;
    hf_facts *active_facts, *frozen_facts;
    uint64_t base;         /* txid, */
    hf_region *keydir;     /* of this: noted when the index is published */
    _Atomic uint64_t end;  /* of a process that reads: position up to which `active` was filled */
    struct hf_index *next; /* among those that were replaced, */
    uint64_t tag;          /* then */
} hf_index;

/* -- what is known of a file -- */

typedef struct hf_note {
    uint32_t number;
    uint32_t kind;
    struct hf_keydir_note now;      /* as hf_keydir_note, of all that is appended; dead ones as of the last fold */
    bool changed;                   /* since it was written to the keydir */
    bool gone;                      /* the file is: the next fold takes the note from the keydir, and this goes */
    uint64_t died_keys, died_bytes; /* in the fold under way */
} hf_note;

typedef struct hf_notes {
    hf_note *note; /* by number */
    size_t count, room;
} hf_notes;

hf_note *hf_notes_find(const hf_notes *notes, uint32_t number);                   /* or NULL */
int hf_notes_add(hf_notes *notes, uint32_t number, uint32_t kind, hf_note **out); /* or what is there */
/* One more record, of so many bytes. A deletion is dead from the beginning: it is no key's. */
void hf_note_record(hf_note *note, const hf_record_in *record, uint64_t size);
int hf_notes_copy(const hf_notes *from, hf_notes *out);
void hf_notes_remove(hf_notes *notes, uint32_t number);
void hf_notes_clear(hf_notes *notes);

/* -- the cask -- */

/* A log file that this process writes, or has written and not yet seen to for good. */
typedef struct hf_segment {
    struct hf_segment *next; /* younger */
    hf_log_writer writer;
    bool flushed; /* all of it; only of one that is sealed */
} hf_segment;

struct hf_cask {
    /* Constant once it is open. */
    char *path;
    int folder; /* descriptor; holds the writer's lock */
    uint64_t id[2];
    uint64_t seed;       /* of the hashes of keys */
    hf_cask_options how; /* no member is 0 that has a default */
    bool writable;
    _Atomic(hf_region *) keydir; /* of a process that reads: another one once a writer has made it anew (follow.c) */
    struct hf_cask_page *_Atomic page;    /* mapped; or `own_page`, where nobody else looks or there is none */
    struct hf_cask_page *_Atomic watched; /* one that is not believed, but may be set up by a writer; NULL */
    bool page_writable;
    pthread_t thread;
    bool has_thread;
    struct hf_cask *next, *previous; /* in the registry */

    _Atomic bool lost; /* in a fork */
    _Atomic(hf_index *) index;
    _Atomic int64_t stamp;               /* the latest of any record seen, in milliseconds */
    _Atomic uint64_t damaged;            /* bytes of records that look-ups found damaged */
    _Atomic uint64_t snapshots, batches; /* that are not ended */
    hf_epoch epoch;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* something that is waited for: a duty is given back, `durable` moved, a fold is done */
    pthread_cond_t work;    /* there is something for the thread */

    /* Who waits for a flush that another leads (sync.c): */
    _Atomic uint32_t flushes; /* so many have ended */
    uint64_t asked, answered,
        last_group; /* with the mutex: who asked for a flush, ever; before the last; in the last */

    /* With the mutex: */
    hf_index *replaced; /* oldest first; freed once nobody can look */
    hf_index **replaced_end;
    hf_segment *active; /* NULL: the next write makes one */
    hf_segment *sealed; /* oldest first: to be flushed, and to have their hints written */
    hf_segment **sealed_end;
    hf_manifest manifest;
    hf_notes notes;
    uint32_t next_number;    /* of a log file */
    uint64_t sequence;       /* of the last record appended */
    uint64_t logged;         /* the number of the last record that is in the log, which may be lower */
    uint64_t appended;       /* position behind it */
    uint64_t durable;        /* position: all before it is on the disk */
    uint64_t since_fold;     /* bytes that `active` tail stands for, about */
    uint64_t unsynced_since; /* monotonic clock, nanoseconds: when the first came that is not durable; 0: none */
    bool folder_dirty;       /* a name in the folder is not durable yet */
    int broken;              /* errno of the flush that failed; 0 */
    bool flushing, folding;  /* duties */
    bool freezing;           /* nobody appends: what is not visible yet is to become so */
    bool stopping;           /* the thread is to end */
    bool sealing;            /* duty */
    uint64_t fold_at;        /* the next checkpoint is due when `since_fold` is here, */
    uint32_t fold_entries;   /* or the active tail has so many; */
    uint64_t fold_retry;     /* after one that failed, not before `since_fold` is here */
    int fold_failed;         /* what the last fold failed with, 0: it did not */
    unsigned waiting;        /* for `changed` */
    unsigned char *room;     /* records are made here; as long as ROOM in write.c */
    uint64_t written;        /* bytes, for hf_cask_status */

    /* The fold under way; of who has the duty, but for position: */
    uint64_t frozen_end; /* position that `frozen` reaches up to, */
    uint64_t frozen_sequence, frozen_clock, frozen_generation;
    hf_notes frozen_notes; /* the notes as they were there */

    /* The keydir's meta as of the newest version; of who has the duty `folding`. */
    struct hf_keydir_meta meta;

    /* What opening found. */
    bool recovered;
    bool unordered; /* the keydir has to be written before others may read */
    uint64_t cut, lost_bytes;

    /* merge.c's. */
    hf_cask_merged merged; /* with the mutex */
    bool merging;          /* duty, taken with the mutex */
    struct hf_merge *merge;
    /* with the mutex: there is something to be looked at again after so long, in nanoseconds; 0: nothing */
    int64_t merge_nap;
    int64_t
        merge_credit; /* of the thread: nanoseconds that merging may take before the thread's other work is looked at */
    /* With the mutex: all that the merged files of this generation of the manifest hold is in the tail, or the
     * keydir. */
    uint64_t settled;
    /* What the thread calls between its own work, without the mutex; NULL: nothing. 1: there is more; 0; a status. */
    int (*merge_step)(hf_cask *cask);

    pthread_mutex_t counting;
    struct hf_cask_page *own_page;
    struct hf_follow *follow; /* of a process that reads: follow.c's */
};

/* -- page.c -- */

/* Opens the folder, makes it where that is asked for. */
int hf_cask_folder_open(const char *path, hf_cask_mode mode, int *folder);

/* The name of the folder is on the disk when this returns. */
int hf_cask_parent_sync(const char *path);

/* The lock that keeps writers out while this one is there. HF_BUSY. */
int hf_cask_folder_lock(int folder);

/* 1: nobody writes; 0: somebody does. */
int hf_cask_is_quiet(int folder);
int hf_cask_folder_sync(hf_cask *cask);

/* A writer's page: the one that is there, if this boot's writers made it, or a new one. *credible: what it says is
 * true. */
int hf_cask_page_open(hf_cask *cask, bool *credible);
/* In place of it one that no reader has, and none believes; the clock stays. */
int hf_cask_page_hide(hf_cask *cask);
/* From now on readers go by it; unless the keydir is in memory. */
void hf_cask_page_begin(hf_cask *cask);
/* A reader's. 1; 0: there is none that can be believed. */
int hf_cask_page_attach(hf_cask *cask);
void hf_cask_page_close(hf_cask *cask);

/* The cask's clock, in milliseconds since 1970; and has a record that expires then expired? Who is told so, tells
 * the others. */
int64_t hf_cask_now(hf_cask *cask);
bool hf_cask_has_expired(hf_cask *cask, int64_t expires);

/* -- index.c -- */

int hf_facts_new(hf_facts **out);
void hf_facts_drop(hf_facts *facts);

/* A new one, with counts of its own of what it is made of. */
int hf_index_new(hf_log_set *logs, hf_tail *active, hf_facts *active_facts, hf_tail *frozen, hf_facts *frozen_facts,
                 uint64_t base, hf_index **out);
void hf_index_init(hf_index *index, hf_log_set *logs, hf_tail *active, hf_facts *active_facts, hf_tail *frozen,
                   hf_facts *frozen_facts, uint64_t base);
static inline void hf_index_keep(hf_index *index)
{
    atomic_fetch_add_explicit(&index->count, 1, memory_order_relaxed);
}
void hf_index_drop(hf_index *index);

/* With the mutex: takes the index over, readers go by it from now on; the old one goes when nobody can look at it. */
void hf_index_publish(hf_cask *cask, hf_index *index);
/* With the mutex: frees what can be. */
void hf_index_reclaim(hf_cask *cask);

static inline hf_index *hf_index_now(hf_cask *cask)
{
    return atomic_load_explicit(&cask->index, memory_order_acquire);
}

/* What is looked for, and what was found. */
typedef struct hf_probe {
    const hf_cask_key *key;
    const hf_log_set *logs;
    bool whole;           /* verify the record's body too */
    bool missing;         /* a file was not among the index's */
    hf_record_out record; /* of the last candidate that had the key */
} hf_probe;

/*
 * Where the newest record of the key is, a deletion's too: 1 and *place, and probe->record; 0. `below`: so many
 * entries of the active tail count. `view`: of the keydir; NULL: the newest. HF_CORRUPT: also where probe->missing.
 */
int hf_index_find(hf_cask *cask, const hf_index *index, uint32_t below, const hf_view *view, hf_probe *probe,
                  uint64_t *place);

/* A value that was looked up stays where it is until the hold is released. Short: the memory of what is replaced
 * meanwhile is kept. */
typedef struct hf_cask_hold {
    hf_epoch_place place;
} hf_cask_hold;

/* 1 and the record; 0. The hold is to be released whatever this returns. `whole`: its value is wanted. */
int hf_cask_find(hf_cask *cask, const hf_cask_key *key, bool whole, hf_cask_hold *hold, hf_record_out *record,
                 uint64_t *place);

static inline void hf_cask_release(hf_cask_hold *hold)
{
    if (hold->place != NULL)
        hf_epoch_leave(hold->place);
    hold->place = NULL;
}

void hf_cask_info_of(uint64_t place, const hf_record_out *record, hf_cask_info *out);

/* -- snapshot.c -- */

struct hf_cask_snapshot {
    hf_cask *cask;
    hf_index *index;
    hf_snapshot *pinned;
    uint32_t visible;
    _Atomic uint64_t counted; /* keys + 1; 0: not known yet */
};

/* 1 and the record, good until the snapshot's end; 0. */
int hf_cask_snapshot_find(hf_cask_snapshot *snapshot, const hf_cask_key *key, bool whole, hf_record_out *record,
                          uint64_t *place);

/* Every entry once: 1 and it, then 0. `whole`: verify bodies too, as is to be done where values are wanted. */
typedef struct hf_cask_walk {
    hf_cask_snapshot *snapshot;
    hf_region_cursor cursor;
    bool whole;
    unsigned stage; /* the active tail, the frozen one, the keydir */
    uint32_t at;
} hf_cask_walk;

void hf_cask_walk_begin(hf_cask_walk *walk, hf_cask_snapshot *snapshot, bool whole);
int hf_cask_walk_next(hf_cask_walk *walk, hf_record_out *record, uint64_t *place);

/* The key as it was put. */
static inline hf_span hf_cask_given(const hf_record_out *record)
{
    return record->in.given.size > 0 ? record->in.given : record->in.key;
}

/* -- write.c -- */

/* `head` goes in front of the value's bytes: what they have to be encoded with. ttl as in hf_cask_put. */
int hf_cask_put_encoded(hf_cask *cask, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl);
int hf_cask_delete_encoded(hf_cask *cask, const hf_cask_key *key);

/* On what terms something is written. */
typedef struct hf_cask_terms {
    bool at_once; /* HF_TIMEOUT instead of waiting for others (that it is durable, is waited for) */
    bool only_if; /* the newest record of the key has this number; 0: it has no value. Else nothing is written: */
    uint64_t sequence;
} hf_cask_terms;

/* 1: it is done; 0: the terms were not met; of a deletion also: the key was not there. */
int hf_cask_put_on(hf_cask *cask, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl,
                   hf_cask_terms terms);
int hf_cask_delete_on(hf_cask *cask, const hf_cask_key *key, hf_cask_terms terms);

/* What a record of now would expire at. HF_INVALID. */
int hf_cask_expiry(const hf_cask *cask, int64_t ttl, int64_t now, int64_t *out);

/*
 * Takes the mutex, and sees to it that so many bytes, of so many records, can be appended: the cask is as it should
 * be, the active file has room, the tail too. On failure the mutex is not held. To be followed by hf_write_end or
 * hf_write_undo, which give the mutex back.
 */
int hf_write_begin(hf_cask *cask, uint64_t bytes, uint32_t entries);

/* Where the next record goes in the active file. */
static inline uint64_t hf_write_at(const hf_cask *cask)
{
    return cask->active->writer.end;
}

/* Appends bytes that were made for there: so many records, with the sequence numbers from cask->sequence + 1 on,
 * which are used up in any case. The caller then tells of each of them by hf_write_entry. */
int hf_write_append(hf_cask *cask, const void *bytes, uint64_t size, uint32_t records);
void hf_write_entry(hf_cask *cask, uint64_t hash, const hf_record_in *record, uint64_t at, uint64_t size);

/* Shows what was appended, at once or when it is durable, as the cask is told; gives the mutex back. The status is
 * that of all. */
int hf_write_end(hf_cask *cask);
void hf_write_undo(hf_cask *cask);

/* The salt of the active file's records, and what they are to say of what is synced. With the mutex, after
 * hf_write_begin. */
hf_log_salt hf_write_salt(const hf_cask *cask);
uint64_t hf_write_synced(const hf_cask *cask);

/* Without the mutex: a record that says how late it is, where somebody was told that something has expired and no
 * record is as late. */
int hf_write_clock(hf_cask *cask);

/* With the mutex: so many entries of the active tail are visible, and the log up to there, to other processes too. */
void hf_write_show(hf_cask *cask, uint32_t visible, uint64_t end, uint64_t sequence);

/* With the mutex: an entry of the active tail without a record in the log: a merge has moved one. The tail has room
 * for it: hf_write_room. */
int hf_write_room(hf_cask *cask, uint32_t entries);
void hf_write_moved(hf_cask *cask, uint64_t hash, uint64_t place, bool expires);

/* With the mutex: publishes an index with other files. */
int hf_write_files(hf_cask *cask, uint32_t without, hf_log_file *with);

/* -- batch.c -- */

hf_cask *hf_cask_batch_of(const hf_cask_batch *batch);

int hf_cask_batch_put_encoded(hf_cask_batch *batch, const hf_cask_key *key, hf_span head, hf_span value, int64_t ttl);
int hf_cask_batch_delete_encoded(hf_cask_batch *batch, const hf_cask_key *key);

/* -- sync.c -- */

/* With the mutex, which is given back meanwhile: all before this position is on the disk when it returns 0.
 * HF_BROKEN and others. */
int hf_sync_upto(hf_cask *cask, uint64_t position);

/* The same, and the mutex is not held when it returns: for many at once, who have nothing else to do with it. */
int hf_sync_put(hf_cask *cask, uint64_t position);

/* Without the mutex: flushes the oldest sealed file and writes its hint. 1: there was one; 0; a status. */
int hf_sync_seal(hf_cask *cask);

/* With the mutex: a flush has failed. */
int hf_sync_broken(hf_cask *cask, int status);

/* -- checkpoint.c -- */

/* Without the mutex: all that is visible when it begins is in the keydir, durably, when it returns 0. */
int hf_checkpoint(hf_cask *cask);

/* With the mutex: when the next one is due. */
void hf_checkpoint_plan(hf_cask *cask, uint64_t keys);

/* So many entries a tail is made for. */
uint32_t hf_checkpoint_room(const hf_cask *cask);

/* With the mutex: is it time for one? */
bool hf_checkpoint_is_due(const hf_cask *cask);

/* Folds the first `count` entries of a tail into the keydir: one transaction, with `meta` (of which `expiring` is
 * kept up) and `notes` (to which the dead are added). *txid: the new version. On failure `meta` and `notes` are as
 * they were. */
int hf_fold(hf_cask *cask, const hf_log_set *logs, const hf_tail *tail, uint32_t count, bool expires,
            struct hf_keydir_meta *meta, hf_notes *notes, uint64_t *txid);

/* -- thread.c -- */

int hf_thread_start(hf_cask *cask);
void hf_thread_stop(hf_cask *cask);

/* What has become due, where there is no thread to do it. Without the mutex. */
void hf_thread_inline(hf_cask *cask);

/* -- replay.c -- */

enum { HF_REPLAY_AHEAD = 16 };

typedef struct hf_replayed {
    uint64_t hash, place;
} hf_replayed;

/* Records of the log, in their order, on the way to a tail. */
typedef struct hf_replay {
    hf_cask *cask;
    hf_log_set *logs; /* that the tail's places lead to; borrowed */
    hf_tail *tail;    /* owned until they are taken: set to NULL then */
    hf_facts *facts;
    hf_notes *notes;                    /* of files; NULL: not needed */
    uint64_t last;                      /* sequence number of the last record; the next one's is higher */
    int64_t clock;                      /* the latest stamp */
    uint64_t bytes;                     /* of records */
    uint32_t fold_at;                   /* entries at which the tail is folded; 0: never */
    hf_replayed ahead[HF_REPLAY_AHEAD]; /* the last ones, on their way to the tail: their buckets are being fetched */
    unsigned ahead_count;
    hf_replayed *batch; /* of a batch that is not whole yet */
    size_t batch_count, batch_room;
} hf_replay;

int hf_replay_begin(hf_replay *replay, hf_cask *cask, hf_log_set *logs, hf_notes *notes, uint32_t fold_at);
void hf_replay_clear(hf_replay *replay);

/* Records of a file from `from` on, of which all before `end` may be read, up to the first that is not whole:
 * *stopped is behind the last one that counts. */
int hf_replay_log(hf_replay *replay, const hf_log_file *file, uint64_t from, uint64_t end, uint64_t *stopped);

/* What is left of a batch counts: it was whole once. */
int hf_replay_settle(hf_replay *replay);
int hf_replay_hint(hf_replay *replay, const hf_hint *hint, uint64_t from);
int hf_replay_entry(hf_replay *replay, uint64_t hash, uint64_t place);

/* All that was taken is in the tail, and shows. Before that is looked at. */
int hf_replay_end(hf_replay *replay);

/* -- recover.c -- */

/* Which files count, what they hold, what has to be mended: makes the first index, `active`, the notes. `credible`:
 * the page is. */
int hf_recover(hf_cask *cask, bool credible);

/* -- merge.c -- */

/* After recovery, before the thread: what a crash has interrupted is finished, if it can be. */
int hf_merge_begin(hf_cask *cask);

/* Before the last checkpoint, without the thread: a merge that can be taken back is. And once more behind it: what
 * can go, goes. */
void hf_merge_stop(hf_cask *cask);
void hf_merge_end(hf_cask *cask);

/* Nothing is merged, and no file is removed, until it is released. HF_BUSY: hf_cask_merge is at it. HF_BROKEN. */
int hf_merge_hold(hf_cask *cask);
void hf_merge_release(hf_cask *cask);

/* -- merge.c: more of it in merge.h -- */

/* hf_cask_merge, which asks now and then: 0 to go on; anything else ends it in good order, and is what this returns.
 * What was begun is then
 * gone on with by the thread, or by the next call. */
int hf_cask_merge_told(hf_cask *cask, unsigned files, int (*go_on)(void *arg), void *arg, hf_cask_merged *out);

/* -- follow.c -- */

/* In a process that reads: an index that goes with the newest version of the keydir and has all that the writer has
 * shown. */
int hf_follow_open(hf_cask *cask);
int hf_follow(hf_cask *cask);
void hf_follow_close(hf_cask *cask);

/* Has the writer shown something that the index does not have? */
bool hf_follow_is_behind(const hf_cask *cask, const hf_index *index);

#endif
