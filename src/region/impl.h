/*
 * impl.h: what the files of src/region know of each other.
 *
 *   both homes
 *      open.c      create, attach, close; the registry of this process's regions
 *      pages.c     mapping and growing
 *      lock.c      the writer's lock
 *      slots.c     reader slots and pins
 *      fork.c      what a fork means for them
 *      view.c      views
 *      snapshot.c  snapshots, kept ones too
 *      txn.c       transactions, savepoints, publication
 *      trie_body.h the trie in a region, over trie_ctx.h, with its entries: trie_records.h, trie_places.h; trie.c, keydir.c,
 *                  file_trie.c and file_keydir.c are the four (each once for a CPU level)
 *      copy.c      all versions, written anew: backup, compaction
 *      runs.c      runs of free pages, as a tree (runs.h)
 *   shared memory
 *      shared.c    the home itself
 *      heap.c      blocks: size classes, free queues
 *      heap_runs.c large blocks, runs of free pages
 *      recycle.c   which blocks of the free queues may be used again; the scan of the pins, which both homes use
 *      trie_shared.h  nodes there, for trie.c and keydir.c
 *      check.c     is all this true?; stats, and what of both is the same in a file
 *   a file
 *      control.c   the lock file, and who has the region open (control.h)
 *      place.c     the folder and the name that a path leads to; file systems that will not do
 *      file_*.c    the rest: file.h has the list
 *
 *      hf_region ---> base: [superblock | lock area | ring | slots | heap ............ | reserved, not there yet ...]
 *         |            \____________________ the file, `size` ______________________/
 *         |            \________________________________ `reserved` _________________________________________/
 *         +--> own[]      slots for views: claimed by this process, idle or pinned for a moment
 *         +--> pins       slots for snapshots: each one version, shared by the snapshots of it
 *         +--> txn        the state of the transaction under way: a copy of the commit record, being changed
 *
 * Concurrency: `mutex` guards what slots.c and snapshot.c do slowly. `txn` is guarded by the writer's lock, in the
 * region itself. The order of locks is in docs/locking.md.
 *
 * Homes. hf_region.home is what shared memory (heap.c, recycle.c, pages.c, trie.c, shared.c) and a file (file_*.c) do
 * differently: see struct hf_home below.
 */
#ifndef HF_REGION_IMPL_H
#define HF_REGION_IMPL_H

#include "region/file_layout.h"
#include "region/keydir.h"
#include "region/region.h"
#include "region/sabotage.h"

#include "base/assert.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <string.h>

/* A pin that snapshots share. */
struct hf_shared_pin {
    struct hf_shared_pin *next, *previous; /* newest first */
    struct hf_slot *slot;                  /* NULL: lost in a fork */
    uint64_t txid;
    size_t count;         /* of the snapshots that use it */
    struct hf_slot *twin; /* of the child, while a fork is under way */
};

struct hf_snapshot {
    struct hf_snapshot *next, *previous;
    struct hf_shared_pin *pin;
    hf_view view; /* without a slot: it is the pin's */
};

/* Of the staging area and of what was freed: where it had got to. */
struct hf_stage_mark {
    uint64_t top;
    uint64_t units;
    size_t freed;
};

struct hf_state {
    struct hf_version version;
    union {
        struct hf_heap_state heap; /* of shared memory */
        struct hf_file_state file;
    };
    struct hf_nursery nursery; /* in a file */
};

struct hf_savepoint {
    struct hf_savepoint *outer;
    struct hf_state state;
    unsigned epoch;
    struct hf_stage_mark mark; /* in a file */
};

/* What a writer found pinned. Conservative ever after: see recycle.c. */
struct hf_scan {
    uint64_t txid;      /* the newest version when it began */
    uint64_t open;      /* no version from here on may be touched */
    uint64_t *lists;    /* HF_SCAN_PINS for each of the next two, which change places */
    uint64_t *pins;     /* sorted, each once */
    uint64_t *previous; /* those of the scan before */
    size_t count, previous_count;
    uint64_t at;     /* hf_txn.allocations at the time */
    uint64_t unpark; /* parked entries worth another look, now that a pin is gone */
};

enum {
    HF_SCAN_PINS = HF_REGION_SLOTS_MAX + 2 * HF_REGION_KEPT_MAX,
    HF_CACHE = 16,      /* blocks of each class that a transaction made and no longer needs */
    HF_MADE = 40,       /* most blocks that one operation makes: a record, a path, a chain of single children */
    HF_PUSHES = 19,     /* most blocks of cells that the queues need during one operation */
    HF_SPARES_LOW = 21, /* so many are ready before it begins */
    /* Bytes that a put leaves free behind `top`, for removals and commits: else nothing could be removed from a region
     * that is full, since a removal makes new nodes. */
    HF_RESERVE = 512 << 10,
    HF_RESERVE_ENTRY = 48, /* and for each entry, of what the limit of a segment allows */
};

struct hf_txn {
    hf_region *region;
    _Atomic bool active;
    _Atomic uint64_t owner; /* hf_thread_self */
    int doomed;             /* the status of a commit that failed: it can only be aborted */
    int spoiled;            /* as hf_txn_spoil says: it can be rolled back too */
    struct hf_state state;
    uint64_t loaded; /* `state` is the record of this version, as published; 0: of none */
    bool changed;
    uint64_t changes; /* to anything, ever: a cursor is good for one number */
    bool puts;        /* something was put in it */
    uint32_t reserve; /* HF_RESERVE while a put is under way, else 0 */
    unsigned epoch;   /* savepoints so far; blocks carry it */
    unsigned level;   /* of savepoints */
    struct hf_savepoint *savepoint;
    unsigned made_count;
    uint64_t made[HF_MADE]; /* by the operation under way: offset, and code of the class in the top 16 bits */
    bool runs_busy;         /* the free runs are being changed: heap_runs.c */
    bool flushing;          /* the cache is being emptied: nothing more goes to it */
    unsigned large_count;
    uint64_t large[HF_CACHE]; /* as `cache`, of large blocks: with their codes */
    unsigned char cached[HF_REGION_CLASSES];
    uint64_t cache[HF_REGION_CLASSES][HF_CACHE];
    uint64_t allocations; /* ever, in this process */
    uint64_t adopted_at;  /* `allocations` when dead readers were last looked for */
    struct hf_scan scan;
};

struct hf_region {
    const struct hf_home *home;
    struct hf_file_home *file; /* NULL: shared memory */
    char *base;
    uint64_t heap_at;
    char *mapping;         /* what was mapped for this, `base` and what lies behind it included: */
    uint64_t mapped;       /* so much */
    uint64_t reserved;     /* addresses for the file, from `base` on */
    uint64_t huge_next;    /* where the next huge page is due; 0: nothing has grown */
    uint32_t huge_wait;    /* commits since the last */
    uint64_t huge_pause;   /* chances of a huge page to let go by, since such failed, */
    unsigned huge_failed;  /* so often in a row; both the writer's */
    _Atomic uint64_t size; /* of the file, as last seen */
    uint64_t limit;        /* it may grow so far, in whole pages */
    bool is_told;          /* how long it is: see pages.c */
    struct hf_lock_area *lock;
    struct hf_slot *slots;
    uint64_t slots_at;    /* in the file that has them */
    char *ring;           /* of commit records, */
    uint64_t record_size; /* this far apart */
    const struct hf_region_trie_ops *ops;
    unsigned place_trees; /* those whose entries are places, as bits: the superblock's */
    const struct hf_region_place_ops *place_ops;
    _Atomic unsigned heat; /* how often the writer's lock was found taken of late (lock.c), */
    _Atomic bool is_slow;  /* and for long */
    int fd;                /* mapped */
    int control_fd; /* holds the locks of the slots: of the same segment, or of the lock file; nothing is mapped with it;
                     * negative: nobody else sees the slots (file_follow.c) */
    uint32_t generation;
    uint64_t serial; /* names this region in this process, and never another one */
    uint64_t dev, ino;
    pid_t pid;
    struct hf_region *next; /* in the registry */

    pthread_mutex_t mutex; /* of what follows */
    struct hf_slot **own;
    _Atomic uint32_t own_count;
    unsigned char owned[HF_REGION_SLOTS_MAX / 8]; /* the slots whose lock `fd` holds: a bitmap */
    uint32_t *idle;                               /* owned, and for the next snapshots */
    uint32_t idle_count;
    struct hf_shared_pin *pins;
    struct hf_snapshot *snapshots;
    int twin_fd;      /* of the child, while a fork is under way: of `control_fd`, */
    int twin_file_fd; /* and of `fd`, where that is another */

    struct hf_txn txn;
};

/* The status for a negative result of base/os.h. */
int hf_region_status(int error);

static inline struct hf_superblock *hf_region_super(const hf_region *region)
{
    return (struct hf_superblock *)(void *)region->base;
}

/* The place of a version's record in the ring: of its beginning, which both homes have in common. */
static inline struct hf_record_seen *hf_region_seen(const hf_region *region, uint64_t txid)
{
    return (struct hf_record_seen *)(void *)(region->ring + txid % HF_REGION_RING * region->record_size);
}

static inline struct hf_commit *hf_region_commit(const hf_region *region, uint64_t txid)
{
    return (struct hf_commit *)(void *)hf_region_seen(region, txid);
}

static inline void *hf_region_at(const hf_region *region, uint64_t offset)
{
    return region->base + offset;
}

/*
 * What the homes do differently.
 *
 * The order of calls in a transaction: load; { prepare, an operation, undo if it failed } ...; settle before a savepoint;
 * settle and commit, or not; forget.
 */
struct hf_home {
    /* Makes hf_txn.state the published record. Finds out what a writer who died has left. */
    int (*load)(struct hf_txn *txn, uint64_t txid);
    /* Sees to what an operation may need; and undoes one that failed. */
    int (*prepare)(struct hf_txn *txn);
    void (*undo)(struct hf_txn *txn);
    /* So that the state can be copied and come back. */
    int (*settle)(struct hf_txn *txn);
    void (*mark)(struct hf_txn *txn, struct hf_stage_mark *mark);
    void (*rollback)(struct hf_txn *txn, const struct hf_stage_mark *mark);
    /* Makes the state the newest version, in every way that the region's level asks for. */
    int (*commit)(struct hf_txn *txn);
    void (*forget)(struct hf_txn *txn);
    /* A block for a table; the table of kept snapshots of a version (0, and it or NULL; HF_CORRUPT). */
    int (*table_new)(struct hf_txn *txn, uint64_t size, uint64_t *link, void **out);
    void (*table_free)(struct hf_txn *txn, uint64_t link, uint64_t size, uint64_t head);
    int (*kept_at)(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out);
    int (*flush)(hf_region *region, int64_t timeout);
    int (*check)(struct hf_txn *txn, hf_region_fault *fault);
    void (*stats)(hf_region *region, hf_region_stats *stats);
};

int hf_heap_check(struct hf_txn *txn, hf_region_fault *fault); /* check.c */

extern const struct hf_home hf_home_shared;

static inline int hf_txn_prepare(struct hf_txn *txn)
{
    return txn->region->home->prepare(txn);
}

/* -- pages.c -- */

/* Maps `fd`, of `size` bytes, over as much address space as can be had, up to `wanted` (0: the default). */
int hf_pages_map(hf_region *region, uint64_t wanted, uint64_t size);
int hf_pages_unmap(hf_region *region);

/* So many bytes of addresses, or where this process may not have that many (RLIMIT_AS; of what is private, RLIMIT_DATA too)
 * a part of what it may have: the rest is for the program. */
uint64_t hf_pages_fair(uint64_t wanted, uint64_t part, bool private);

/* May what the lock area says of the segment's length be believed? Once a segment of shared memory is mapped, and filled
 * in if this process `made` it. */
int hf_pages_begin(hf_region *region, bool made);

/* Is the file long enough for a version whose `top` this is? Looks again if it was not. HF_CORRUPT, HF_LIMIT. */
int hf_pages_seen_slowly(hf_region *region, uint64_t top);

static inline int hf_pages_seen(hf_region *region, uint64_t top)
{
    uint64_t size = atomic_load_explicit(&region->size, memory_order_relaxed);
    if (__builtin_expect(top >= region->heap_at && top <= size - HF_REGION_PAGE, 1))
        return 0;
    return hf_pages_seen_slowly(region, top);
}

/* Makes the file long enough for `top`. By the writer. HF_NOSPACE, HF_LIMIT. */
int hf_pages_grow(hf_region *region, uint64_t top);

/* After a commit, before the lock goes: asks for a huge page where one is due. By the writer. */
#define HF_HUGE_PAGE (UINT64_C(2) << 20)
enum { HF_HUGE_EVERY = 64 /* commits */ };
void hf_pages_collapse(hf_region *region);

static inline void hf_pages_settle(hf_region *region)
{
    if (++region->huge_wait >= HF_HUGE_EVERY && region->huge_next != 0 &&
        region->huge_next + HF_HUGE_PAGE <= atomic_load_explicit(&region->size, memory_order_relaxed))
        hf_pages_collapse(region);
}

/* -- heap.c -- */

/* The code of the class for blocks of `size` bytes; negative where that is too large. And the size of its blocks. */
int hf_heap_code(uint64_t size);
uint64_t hf_heap_size(unsigned code);
uint64_t hf_heap_pages(unsigned code); /* of a run of this class */

/* Sees to what an operation may need in the free queues. Before each operation. HF_NOSPACE etc. */
int hf_heap_prepare(struct hf_txn *txn);

/* Makes the file long enough for the top to be here, with what the change under way has to leave. HF_NOSPACE, HF_LIMIT. */
int hf_heap_grow(struct hf_txn *txn, uint64_t end);

/* A block of this many bytes, contents undefined. It is noted, and given back if the operation is undone. */
int hf_heap_alloc(struct hf_txn *txn, uint64_t size, uint64_t *out);
void hf_heap_undo(struct hf_txn *txn);

/* The version being made no longer needs this block, of which `head` is the first word. */
void hf_heap_free(struct hf_txn *txn, uint64_t offset, uint64_t size, uint64_t head);

/* Empties the cache into the queues: before a savepoint or a commit. */
int hf_heap_flush(struct hf_txn *txn);

/* A small block that is no part of an operation, and is not noted; and one of them that was not needed after all. */
int hf_heap_block(struct hf_txn *txn, uint64_t size, uint64_t *out);
void hf_heap_unused(struct hf_txn *txn, uint64_t offset, uint64_t size);

/* -- heap_runs.c -- */

/* The code of a large block, and its pages. */
int hf_large_code(uint64_t size);
uint64_t hf_large_pages(unsigned code);
bool hf_is_large_code(uint64_t code);

/* Pages in a row: 1 and their offset. Without `may_grow`: of what is free already; 0: there is none. */
int hf_runs_alloc(struct hf_txn *txn, uint64_t pages, bool may_grow, uint64_t *at);

/* For hf_region_check: hf_runs_visit of the transaction's state. */
struct hf_runs_visitor;
int hf_heap_runs_visit(struct hf_txn *txn, const struct hf_runs_visitor *visitor);

/* The first head that belongs to the transaction since the innermost savepoint. */
static inline uint64_t hf_txn_ours_from(const struct hf_txn *txn)
{
    unsigned epoch = txn->savepoint == NULL ? 0 : txn->savepoint->epoch;
    return (txn->state.version.txid - HF_SABOTAGE(in_place)) << HF_HEAD_TXID_SHIFT | epoch;
}

/* Whether a block with this head was made since the innermost savepoint. */
static inline bool hf_txn_owns(const struct hf_txn *txn, uint64_t head)
{
    uint64_t stamp = head & ~(UINT64_C(3) << HF_HEAD_KIND_SHIFT);
    return stamp >= hf_txn_ours_from(txn);
}

static inline uint64_t hf_txn_head(const struct hf_txn *txn, enum hf_block_kind kind)
{
    return hf_head(kind, txn->state.version.txid, txn->epoch);
}

/* -- recycle.c: the queues themselves -- */

/* Appends to a queue; false where there was no spare block, and the entry is lost. */
bool hf_queue_push(struct hf_txn *txn, struct hf_queue *queue, const struct hf_cell *cell);

/* Is a version that has this block pinned, as of the last scan? Or can it not be known from that? */
bool hf_scan_pinned(const struct hf_scan *scan, const struct hf_cell *cell);
bool hf_scan_too_fresh(const struct hf_scan *scan, const struct hf_cell *cell);

/* Nothing is known of pins. */
static inline void hf_scan_forget(struct hf_scan *scan)
{
    scan->txid = 0;
    scan->open = UINT64_MAX;
    scan->pins = scan->lists;
    scan->previous = scan->lists + HF_SCAN_PINS;
    scan->count = scan->previous_count = 0;
}

/* Looks at all pins, now. */
void hf_scan_slots(struct hf_txn *txn);

/* A block of this class that nobody can see any more, or 0. The queue is that of the class. */
uint64_t hf_recycle(struct hf_txn *txn, unsigned code, struct hf_queue *queue);

/* Tries harder: before the region grows. */
void hf_recycle_harvest(struct hf_txn *txn);

/* A large block that nobody can see any more, with its code, or 0. */
uint64_t hf_recycle_large(struct hf_txn *txn);

/* The queue of a class; NULL: there is no such class. */
struct hf_queue *hf_heap_queue(struct hf_txn *txn, unsigned code);

/* -- slots.c -- */

/* Claims a slot through `fd`: 0 and its number, HF_SLOTS, HF_NOSPACE, HF_IO. With the mutex. */
int hf_slots_claim(hf_region *region, int fd, uint32_t *out);

/* Gives a slot back. With the mutex. */
void hf_slots_release(hf_region *region, int fd, uint32_t slot);

/* Takes the pins off slots whose owners are dead: how many. By the writer, or for hf_region_oldest_pin. */
uint32_t hf_slots_adopt(hf_region *region);
void hf_slots_own_mark(hf_region *region, uint32_t slot, bool owned);

/* Pins the newest version in this slot, which is the caller's and has no pin. HF_CORRUPT, HF_LIMIT: no pin then. */
int hf_slots_pin(hf_region *region, struct hf_slot *slot, struct hf_version *out);

/* 1 and the newest version, if it is the one that this slot has pinned all along; 0; HF_CORRUPT, HF_LIMIT. */
int hf_slots_same(hf_region *region, struct hf_slot *slot, uint64_t txid, struct hf_version *out);

/* Locks or unlocks the byte of a slot: 0, or -errno: -EAGAIN where somebody else has it. */
int hf_slots_lock(int fd, uint32_t slot, bool lock);

/* -- lock.c -- */

int hf_lock_init(struct hf_lock_area *lock);
int hf_lock_acquire(hf_region *region, int64_t timeout);
/* Of a region that nobody writes to: has the lock an owner all the same, who will never give it back? (Others may ask the same
 * just now.) */
bool hf_lock_can_be_had(hf_region *region);
void hf_lock_release(hf_region *region);

/* Does this thread hold the writer's lock through any region of this process? */
bool hf_region_held_by_me(const hf_region *region);

/* A number for this thread that no other thread of this process ever has: pthread_self is used again, and a thread that
 * ended in a transaction must not be taken for a new one. */
uint64_t hf_thread_self(void);

/* -- snapshot.c -- */

/* The table of kept snapshots of a version: 0 and it, or NULL where there is none; HF_CORRUPT. */
int hf_kept_table_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out);
const struct hf_kept *hf_kept_find(const struct hf_kept_table *table, const char *name);

static inline uint64_t hf_kept_table_size(uint64_t count)
{
    return sizeof(struct hf_kept_table) + count * sizeof(struct hf_kept);
}

/* -- txn.c -- */

/* Fills in a record of the ring, all but what only writers look at. */
void hf_record_fill(struct hf_record_seen *record, const struct hf_version *version);
void hf_record_version(const struct hf_record_seen *record, struct hf_version *out);

/* Gives the snapshots that are kept of the version being made its roots. */
void hf_kept_fill(struct hf_txn *txn, struct hf_kept_table *table);

/* In a child: the transactions of its parent are not its own. */
void hf_txn_forget_all(hf_region *region);

/* -- trie_body.h -- */

/* Of trees of either kind, */
struct hf_region_tree_ops {
    int (*clear)(struct hf_txn *txn, unsigned tree);
    void (*cursor_begin)(hf_region_cursor *cursor, unsigned tree);
    int (*diff)(const hf_region *region, const struct hf_version *from, const struct hf_version *to, unsigned tree,
                hf_view_differ differ, void *arg);
    int (*check)(const hf_region *region, uint64_t top, const struct hf_tree *tree, const char **fault);
};

/* of records, */
struct hf_region_trie_ops {
    struct hf_region_tree_ops tree;
    int (*get)(const hf_region *region, const struct hf_version *version, unsigned tree, const hf_key *key,
               hf_span *value);
    int (*txn_get)(struct hf_txn *txn, unsigned tree, const hf_key *key, hf_span *value);
    int (*put)(struct hf_txn *txn, unsigned tree, const hf_key *key, const void *value, size_t size);
    int (*remove)(struct hf_txn *txn, unsigned tree, const hf_key *key);
    int (*cursor_next)(hf_region_cursor *cursor, hf_key *key, hf_span *value);
};

/* and of places. */
struct hf_region_place_ops {
    struct hf_region_tree_ops tree;
    int (*find)(const hf_region *region, const struct hf_version *version, unsigned tree, uint64_t hash,
                hf_place_match match, void *arg, uint64_t *place);
    int (*txn_find)(struct hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg,
                    uint64_t *place);
    int (*set)(struct hf_txn *txn, unsigned tree, uint64_t hash, uint64_t place, hf_place_match match, void *arg,
               uint64_t *old);
    int (*unset)(struct hf_txn *txn, unsigned tree, uint64_t hash, hf_place_match match, void *arg, uint64_t *old);
    int (*cursor_next)(hf_region_cursor *cursor, hf_place_entry *out);
};

HF_CPU_DECLARE(struct hf_region_trie_ops, hf_region_trie_ops);
HF_CPU_DECLARE(struct hf_region_trie_ops, hf_file_trie_ops);
HF_CPU_DECLARE(struct hf_region_place_ops, hf_region_place_ops);
HF_CPU_DECLARE(struct hf_region_place_ops, hf_file_place_ops);

/* Are this tree's entries places? */
static inline bool hf_has_places(const hf_region *region, unsigned tree)
{
    return region->place_trees >> tree & 1;
}

static inline const struct hf_region_tree_ops *hf_tree_ops(const hf_region *region, bool places)
{
    return places ? &region->place_ops->tree : &region->ops->tree;
}

/* Words of an entry. */
static inline uint64_t hf_entry_words(bool places)
{
    return places ? sizeof(hf_place_entry) / sizeof(uint64_t) : 1;
}

/* The number of the tree in which a file keeps what it knows of its own space. */
#define HF_REGION_SPACE_TREE HF_REGION_TREES

static inline struct hf_tree *hf_txn_tree(struct hf_txn *txn, unsigned tree)
{
    return tree < HF_REGION_TREES ? &txn->state.version.trees[tree] : &txn->state.file.space;
}

/* -- view.c -- */

/* hf_region_cursor_begin, of a view that may have another tree in the place of this one. */
int hf_cursor_begin(hf_region_cursor *cursor, const hf_view *view, unsigned tree, bool places);

/* -- open.c -- */

/* A region of this process, with nothing mapped yet. Takes over `fd`. HF_NOMEM. */
int hf_region_new(int fd, const struct stat *found, hf_region **out);
void hf_region_free(hf_region *region);
/* Makes it known to forks, and to hf_region_held_by_me. */
void hf_region_link(hf_region *region);
uint64_t hf_super_checksum(const struct hf_superblock *super);

/* What a superblock of either home says of its trees: HF_FORMAT where that cannot be. And makes one say it. */
int hf_super_trees(const struct hf_superblock *super, unsigned *place_trees);
void hf_super_set_trees(struct hf_superblock *super, unsigned place_trees);

/* -- file_commit.c -- */

/* May a writer begin, as far as is known without the lock? 0, HF_DENIED: it was opened for reading only. And, with the
 * lock: has somebody left something that the next writer has to see to, whether or not it knows the newest record? */
int hf_file_admit(const hf_region *region);
bool hf_file_is_disturbed(const hf_region *region, uint64_t published);

/* -- file_check.c -- */

/* hf_region_check of a file that was opened for reading only. */
int hf_file_check_reading(hf_region *region, int64_t timeout, hf_region_fault *fault);

/* -- file_close.c -- */

/* What closing a file does before it is unmapped, and then. The first's status is the answer, however it goes on. */
int hf_file_finish(hf_region *region);
void hf_file_stop(hf_region *region);   /* its thread, */
void hf_file_resume(hf_region *region); /* which is needed again after all */
void hf_file_close(hf_region *region);

/* -- file_follow.c -- */

/* Before a pin of the newest version, where `control_fd` is negative: is there a newer one? Not with the mutex. */
void hf_file_follow(hf_region *region);

/* -- file_home.c -- */

/* The table of kept snapshots of the last durable version: 0 and it, or NULL; HF_CORRUPT. By the writer. */
int hf_file_kept_durable(const struct hf_txn *txn, const struct hf_kept_table **out);

/* For hf_region_oldest_pin: the oldest that a power cut may bring back, or that those may look at who have no slots. HF_NOMEM. */
int hf_file_oldest_durable(hf_region *region, uint64_t *txid);

/* -- open.c: the registry -- */

/* Every region of this process, under the registry's lock. */
extern struct hf_region *hf_region_registry;
void hf_region_registry_lock(void);
void hf_region_registry_unlock(void);
uint64_t hf_region_serial_next(void);

/* -- file_fork.c -- */

/* Another description of FILE, present too: 0 or more, or negative. And in the child: that is the one (negative: get
 * one now). */
int hf_file_reopen(hf_region *region);
/* Under the registry's lock, before the region is listed: descriptions that no child has. */
void hf_file_own_descriptions(hf_region *region);
void hf_file_inherit(hf_region *region, int fd);

/* -- fork.c -- */

void hf_fork_watch(void);

/* Another open file description of what is open, by way of /proc/self/fd, since its name may be gone: or -errno. */
int hf_region_reopen(int old);

/* The same for a segment of shared memory, which whoever looks then knows to be open. */
int hf_region_reopen_present(int old);

#endif
