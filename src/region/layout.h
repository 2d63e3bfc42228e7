/*
 * layout.h: the bytes of a region, as every process that has it mapped sees them.
 *
 *      offset
 *      0         superblock          what never changes: format, id, seed; checksummed
 *      4096      lock area           the writer's mutex; `published`; how many slots there are; counters
 *      8192      ring                64 commit records, record t at place t mod 64
 *      0x18000   reader slots        up to 16,384 of 64 bytes; pages of it exist once they are needed
 *      0x120000  heap                runs of pages, one behind the other, up to `top` of the commit record
 *
 *      a run     +-----------------+-------+-------+-------+--     --+
 *                | hf_run, 32 B    | block | block | block |   ...   |    blocks of one size class, 64 KiB in all,
 *                +-----------------+-------+-------+-------+--     --+    or one large block and as many pages; or free
 *                                                                         pages, of which nothing is said here
 *
 *      a block   +------------------------------+--------------------------------------------------+
 *                | head: kind, birth, savepoint | node: maps, entries, links   (hf_node)           |
 *                |                              | record: hash, sizes, key, value    (hf_record)   |
 *                |                              | node of free runs, table of kept snapshots       |
 *                +------------------------------+--------------------------------------------------+
 *                or, without a head and aligned to 1 KiB, cells of a free queue  (hf_cells)
 *
 * All integers are in the byte order of the machine, which the superblock names: shared memory does not travel.
 * Offsets count bytes from the start of the region and mean the same in every process. 0 refers to nothing.
 *
 * Invariants
 *  L1  What the published record reaches or counts (trees, tables, cells between head and tail of a queue) is not
 *      written until a later record is published. So a writer that dies has changed nothing that counts.
 *  L2  A run of small blocks keeps its place and its class for ever. One with a large block is there until nobody can see
 *      that any more; then its pages are free, and part of the runs of free pages.
 *  L3  Between the header and `top` every page is free or part of a run with a header, and every block below its class's bump pointer is exactly one of: reachable from the
 *      published record, in a free queue (ready or parked), spare. (A kept or pinned version's blocks that the
 *      published one does not reach are in a queue, waiting.)
 *  L4  The file is at least HF_REGION_PAGE longer than `top`: reading a node header and 64 slots from any offset below
 *      `top` stays inside, whatever the bytes there say.
 */
#ifndef HF_REGION_LAYOUT_H
#define HF_REGION_LAYOUT_H

#include "trie/trie_node.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HF_REGION_PAGE = 4096,
    HF_REGION_RING = 64,          /* commit records */
    HF_REGION_TREES = 4,          /* tries of one region, each with a root of its own */
    HF_REGION_SMALL = 41,         /* size classes within runs of 64 KiB */
    HF_REGION_CELLS_CLASS = 41,   /* the class of blocks of cells */
    HF_REGION_CLASSES = 42,       /* both of the above */
    HF_REGION_CHUNK = 64 << 10,   /* bytes of a run of small blocks */
    HF_REGION_SPARES = 24,        /* blocks of cells kept ready */
    HF_REGION_SLOTS_MAX = 16384,  /* reader slots */
    HF_REGION_SLOTS_VIEWS = 1024, /* of them, those that no snapshot takes */
    HF_REGION_SLOTS_STEP = 64,    /* slots of a page */
    HF_REGION_KEPT_MAX = 64,      /* kept snapshots */
    HF_REGION_NAME_SIZE = 40,     /* of a kept snapshot, with the final NUL */
    HF_RUNS_LEAF = 2048,          /* granules of a leaf of the tree of free runs (runs.h), */
    HF_RUNS_FAN_BITS = 4,
    HF_RUNS_FAN = 1 << HF_RUNS_FAN_BITS, /* children of its other nodes, */
    HF_RUNS_LEVELS = 8,                  /* and most levels */
};

#define HF_REGION_MAGIC UINT64_C(0x0a6e6f6967655248) /* "HRegion\n" where bytes are little-endian */
#define HF_REGION_ENDIAN UINT64_C(0x0102030405060708)
#define HF_REGION_FORMAT 2u

/* Features whose numbers an older program does not know: it may use the region, or it may not. */
#define HF_REGION_COMPATIBLE UINT64_C(0)
#define HF_REGION_INCOMPATIBLE HF_REGION_PLACES

/* Some trees have entries of two words: `place_trees` says which. */
#define HF_REGION_PLACES UINT64_C(1)

#define HF_REGION_LOCK_AT 4096
#define HF_REGION_RING_AT 8192
#define HF_REGION_SLOTS_AT 0x18000
#define HF_REGION_HEAP_AT 0x120000

/* Where in the file locks are taken: far behind every byte. */
#define HF_REGION_LOCK_CREATE (INT64_C(1) << 62)
#define HF_REGION_LOCK_PRESENT (HF_REGION_LOCK_CREATE + 8) /* shared, by every process that has a segment open */
#define HF_REGION_LOCK_SLOTS (HF_REGION_LOCK_CREATE + 4096)

/* Of a region in a file, on the file itself; see control.h. */
#define HF_CONTROL_LOCK_OPENERS (HF_REGION_LOCK_CREATE + 1)
#define HF_CONTROL_LOCK_READERS (HF_REGION_LOCK_CREATE + 2)
#define HF_CONTROL_LOCK_WRITERS (HF_REGION_LOCK_CREATE + 3)
#define HF_CONTROL_LOCK_MAKER (HF_REGION_LOCK_CREATE + 4)
#define HF_CONTROL_LOCK_PRESENCE (HF_REGION_LOCK_CREATE + (INT64_C(1) << 61))
#define HF_CONTROL_LOCK_PRESENCES (INT64_C(1) << 60) /* how many bytes: one for each lock file there ever was */

/* -- page 0 -- */

struct hf_superblock {
    uint64_t magic;
    uint64_t endian; /* HF_REGION_ENDIAN as the creator's machine stores it */
    uint32_t format;
    uint32_t page_size;
    uint64_t compatible;
    uint64_t incompatible;
    uint64_t id[2]; /* random */
    uint64_t seed;  /* random: of the hashes of keys */
    uint32_t mutex_size;
    uint32_t record_size;
    uint64_t ring_at;
    uint64_t slots_at;
    uint64_t heap_at;
    uint64_t limit;       /* the file never has more bytes; 0: as many as the system allows */
    int64_t created;      /* seconds since 1970 */
    uint64_t place_trees; /* of HF_REGION_PLACES: a bit for each such tree */
    uint64_t checksum;    /* of all the above */
};

_Static_assert(offsetof(struct hf_superblock, format) == 16, "layout");
_Static_assert(offsetof(struct hf_superblock, compatible) == 24, "layout");
_Static_assert(offsetof(struct hf_superblock, id) == 40, "layout");
_Static_assert(offsetof(struct hf_superblock, seed) == 56, "layout");
_Static_assert(offsetof(struct hf_superblock, ring_at) == 72, "layout");
_Static_assert(offsetof(struct hf_superblock, place_trees) == 112, "layout");
_Static_assert(offsetof(struct hf_superblock, checksum) == 120, "layout");
_Static_assert(sizeof(struct hf_superblock) == 128, "layout");

/* -- page 1: the lock area -- */

struct hf_lock_area {
    pthread_mutex_t mutex; /* the writer's: robust, error-checking, process-shared */
    char pad0[64 - sizeof(pthread_mutex_t) % 64];
    _Atomic uint64_t published; /* the newest version's txid; its record is in the ring */
    char pad1[56];
    _Atomic uint32_t slots;      /* how many there are; only grows */
    _Atomic uint32_t owner_died; /* how often a writer was found dead */
    _Atomic uint32_t adopted;    /* how many slots of dead readers were taken over */
    _Atomic uint32_t revoked;    /* how many open pins were revoked */
    _Atomic uint32_t moved;      /* how often a fork has copied pins: a scan under way begins again */
    char pad2[4];
    _Atomic uint64_t provided; /* of shared memory: how long the segment is, sealed (pages.c) */
    char pad3[32];
};

_Static_assert(sizeof(pthread_mutex_t) < 64, "the mutex has a cache line of its own");
_Static_assert(offsetof(struct hf_lock_area, published) == 64, "layout");
_Static_assert(offsetof(struct hf_lock_area, slots) == 128, "layout");
_Static_assert(offsetof(struct hf_lock_area, moved) == 144, "layout");
_Static_assert(offsetof(struct hf_lock_area, provided) == 152, "layout");
_Static_assert(sizeof(struct hf_lock_area) == 192, "layout");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "atomics work between processes");

/* -- the ring -- */

/* Positions in a free queue: the offset of a block of cells, whose low 10 bits are 0, plus the number of a cell. */
struct hf_queue {
    uint64_t head; /* the next to take */
    uint64_t tail; /* the next to fill; == head: empty; 0: there is no block yet */
};

struct hf_class {
    uint64_t bump; /* offset of the next block never used, and in the top 16 bits how many there are in its run */
    struct hf_queue ready;
};

struct hf_tree {
    uint64_t root;
    uint64_t count;
};

/* What readers want of a version. */
struct hf_version {
    uint64_t txid;
    uint64_t top; /* behind the last run */
    struct hf_tree trees[HF_REGION_TREES];
    uint64_t kept;   /* the table of kept snapshots, or 0 */
    uint64_t used;   /* bytes in blocks that are not free, as sizes of their classes */
    uint64_t parked; /* entries of the queue of parked ones */
};

/* -- runs of free pages -- */

/* Of a part of the region, in granules: free at its beginning, at its end, and the most in a row. */
struct hf_runs_sum {
    uint64_t first;
    uint64_t last;
    uint64_t most;
};

struct hf_runs_inner {
    struct hf_runs_sum child[HF_RUNS_FAN];
    uint64_t link[HF_RUNS_FAN]; /* 0: all of it is free, or all is taken. In a file there are none */
};

union hf_runs_node {
    uint64_t free[HF_RUNS_LEAF / 64]; /* of a leaf: a bit for each granule */
    struct hf_runs_inner inner;
};

/* A node in shared memory. */
struct hf_runs_block {
    uint64_t head;
    union hf_runs_node node;
};

/* The tree of them, as a record has it. */
struct hf_runs {
    uint64_t root;  /* in a file 0 */
    uint64_t level; /* of the root; 0: that is a leaf */
    struct hf_runs_sum sum;
};

_Static_assert(sizeof(struct hf_runs_inner) == 512 && offsetof(struct hf_runs_inner, link) == 384, "layout");
_Static_assert(sizeof(struct hf_runs_block) == 520 && sizeof(struct hf_runs) == 40, "layout");

/* What only writers look at: the state of every allocator. */
struct hf_heap_state {
    struct hf_runs runs; /* of free pages, and */
    struct hf_queue
        large;      /* large blocks that are no longer needed: when nobody can see one any more, it is such a run */
    uint64_t holes; /* free pages below this offset may have been given back to the system (heap_runs.c) */
    struct hf_queue parked; /* entries that a pin was seen to hold, of all classes */
    uint64_t spare_count;
    uint64_t spares[HF_REGION_SPARES];
    struct hf_class classes[HF_REGION_CLASSES];
};

/* A commit record. The first part as atomics, since readers may look while it is filled; see slots.c for why what they
 * get is whole. */
struct hf_record_seen {
    _Atomic uint64_t txid;
    _Atomic uint64_t top;
    struct {
        _Atomic uint64_t root;
        _Atomic uint64_t count;
    } trees[HF_REGION_TREES];
    _Atomic uint64_t kept;
    _Atomic uint64_t used;
    _Atomic uint64_t parked;
};

struct hf_commit {
    struct hf_record_seen seen;
    struct hf_heap_state heap;
    uint64_t txid_again; /* equals seen.txid, or the record is damaged */
    uint64_t pad[1];
};

_Static_assert(sizeof(struct hf_version) == sizeof(struct hf_record_seen), "one is a copy of the other");
_Static_assert(offsetof(struct hf_commit, heap) == 104, "layout");
_Static_assert(offsetof(struct hf_heap_state, large) == 40, "layout");
_Static_assert(offsetof(struct hf_heap_state, parked) == 64, "layout");
_Static_assert(offsetof(struct hf_heap_state, spares) == 88, "layout");
_Static_assert(offsetof(struct hf_heap_state, classes) == 280, "layout");
_Static_assert(sizeof(struct hf_class) == 24, "layout");
_Static_assert(offsetof(struct hf_commit, txid_again) == 1392, "layout");
_Static_assert(sizeof(struct hf_commit) == 1408, "layout");

#define HF_REGION_RECORD_SIZE 1408 /* whole cache lines */
_Static_assert(sizeof(struct hf_commit) <= HF_REGION_RECORD_SIZE, "layout");
_Static_assert(HF_REGION_RECORD_SIZE % 64 == 0, "layout");
_Static_assert(HF_REGION_RING_AT + HF_REGION_RING * HF_REGION_RECORD_SIZE <= HF_REGION_SLOTS_AT, "layout");

/* -- reader slots -- */

/* What a slot's pin says: a kind in the top two bits and a txid below; 0: nothing. */
#define HF_PIN_KIND (UINT64_C(3) << 62)
#define HF_PIN_OPEN (UINT64_C(1) << 62)    /* this version and all after it, while its reader makes up its mind */
#define HF_PIN_NARROW (UINT64_C(2) << 62)  /* this version */
#define HF_PIN_REVOKED (UINT64_C(3) << 62) /* an open pin that a writer took away: nothing; its reader will see */

struct hf_slot {
    _Atomic uint64_t pin;
    _Atomic uint64_t owner;   /* 0: nobody; else the process's id, as a hint. The lock on its byte is what counts */
    _Atomic uint64_t retries; /* of its readers */
    uint64_t pad[5];
};

_Static_assert(sizeof(struct hf_slot) == 64, "layout");
_Static_assert(sizeof(struct hf_slot) * HF_REGION_SLOTS_STEP == HF_REGION_PAGE, "layout");
_Static_assert(HF_REGION_SLOTS_AT + HF_REGION_SLOTS_MAX * sizeof(struct hf_slot) <= HF_REGION_HEAP_AT, "layout");
_Static_assert(HF_REGION_SLOTS_AT % HF_REGION_PAGE == 0 && HF_REGION_HEAP_AT % HF_REGION_PAGE == 0, "layout");

/* -- the heap -- */

#define HF_RUN_MAGIC UINT64_C(0x48526e55) /* in the top half of hf_run.mark; below it the class */

struct hf_run {
    uint64_t mark;
    uint64_t pages;
    uint64_t at; /* its own offset */
    uint64_t pad;
};

_Static_assert(sizeof(struct hf_run) == 32, "layout");

/* Codes of classes: 0 .. HF_REGION_CLASSES - 1. From here on, large blocks by their pages: fewer than 2,048 as they are,
 * more in steps of a thousandth (heap_runs.c). */
#define HF_LARGE_CODE 64u

/* The first word of a block: what it is, the transaction it was made in, and how many savepoints that had had. */
#define HF_HEAD_KIND_SHIFT 62
#define HF_HEAD_TXID_SHIFT 14
#define HF_HEAD_EPOCH_MAX ((1u << HF_HEAD_TXID_SHIFT) - 1)
#define HF_TXID_MAX ((UINT64_C(1) << 48) - 1)

enum hf_block_kind {
    HF_KIND_FREE = 0,
    HF_KIND_NODE = 1,
    HF_KIND_RECORD = 2,
    HF_KIND_TABLE = 3,
};

static inline uint64_t hf_head(enum hf_block_kind kind, uint64_t txid, unsigned epoch)
{
    return (uint64_t)kind << HF_HEAD_KIND_SHIFT | txid << HF_HEAD_TXID_SHIFT | epoch;
}

static inline unsigned hf_head_kind(uint64_t head)
{
    return (unsigned)(head >> HF_HEAD_KIND_SHIFT);
}

static inline uint64_t hf_head_txid(uint64_t head)
{
    return head >> HF_HEAD_TXID_SHIFT & HF_TXID_MAX;
}

/* A node of the trie (trie/trie_node.h): entries of one word, or of two in a tree of places; then links of one word. */
struct hf_node {
    uint64_t head;
    hf_trie_maps maps;
    uint64_t slots[];
};

_Static_assert(offsetof(struct hf_node, slots) == 16, "layout");

/* An entry: 16 bits of its key's hash, those the trie uses last, and 48 of the offset of its record. */
#define HF_ENTRY_OFFSET ((UINT64_C(1) << 48) - 1)
#define HF_ENTRY_TAG_SHIFT 48

/* A key and a value, 20 bytes before them. The 16 bits of the hash that are in the entry are not repeated here. */
struct hf_record {
    uint64_t head;
    uint64_t hash_and_size; /* 48 bits of the key's hash; above them its size, or HF_KEY_LONG */
    uint32_t value_size;
    unsigned char bytes[]; /* the size of a long key, 4 bytes; the key; the value */
};

#define HF_KEY_LONG 0xffffu
#define HF_RECORD_BYTES 20

_Static_assert(offsetof(struct hf_record, hash_and_size) == 8, "layout");
_Static_assert(offsetof(struct hf_record, value_size) == 16, "layout");
_Static_assert(offsetof(struct hf_record, bytes) == HF_RECORD_BYTES, "layout");

/* What hash_and_size is for such a key. */
static inline uint64_t hf_record_word(uint64_t hash, uint64_t key_size)
{
    return (hash & HF_ENTRY_OFFSET) | (key_size < HF_KEY_LONG ? key_size : HF_KEY_LONG) << HF_ENTRY_TAG_SHIFT;
}

static inline bool hf_record_is_long(const struct hf_record *record)
{
    return record->hash_and_size >> HF_ENTRY_TAG_SHIFT == HF_KEY_LONG;
}

static inline uint32_t hf_record_key_size(const struct hf_record *record)
{
    uint32_t size = (uint32_t)(record->hash_and_size >> HF_ENTRY_TAG_SHIFT);
    if (hf_record_is_long(record))
        memcpy(&size, record->bytes, sizeof size);
    return size;
}

static inline unsigned char *hf_record_key(struct hf_record *record)
{
    return record->bytes + (hf_record_is_long(record) ? sizeof(uint32_t) : 0);
}

/* The bytes that a record takes up, and that one for such a key and value would. */
static inline uint64_t hf_record_size_for(uint64_t key_size, uint64_t value_size)
{
    return HF_RECORD_BYTES + (key_size < HF_KEY_LONG ? 0 : sizeof(uint32_t)) + key_size + value_size;
}

static inline uint64_t hf_record_size(const struct hf_record *record)
{
    return HF_RECORD_BYTES + (hf_record_is_long(record) ? sizeof(uint32_t) : 0) +
           (uint64_t)hf_record_key_size(record) + record->value_size;
}

/* An entry of a free queue: a block, and the versions [birth, unlink) that had it. */
struct hf_cell {
    uint64_t block; /* offset, and the code of its class in the top 16 bits */
    uint64_t birth;
    uint64_t unlink;
};

#define HF_CELL_OFFSET ((UINT64_C(1) << 48) - 1)
#define HF_CELL_CODE_SHIFT 48

enum { HF_CELLS = 42 };

struct hf_cells {
    uint64_t next; /* the block of cells behind this one; means nothing in the last of a queue */
    uint64_t pad;
    struct hf_cell cells[HF_CELLS];
};

#define HF_CELLS_SIZE 1024
_Static_assert(sizeof(struct hf_cells) == HF_CELLS_SIZE, "layout");

struct hf_kept {
    char name[HF_REGION_NAME_SIZE];
    uint64_t txid;
    struct hf_tree trees[HF_REGION_TREES];
};

struct hf_kept_table {
    uint64_t head;
    uint64_t mark; /* in a file: file_layout.h */
    uint64_t count;
    struct hf_kept kept[];
};

_Static_assert(sizeof(struct hf_kept) == 112, "layout");
_Static_assert(offsetof(struct hf_kept_table, kept) == 24, "layout");

#endif
