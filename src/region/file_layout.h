/*
 * file_layout.h: the bytes of a region in a file.
 *
 *      offset
 *      0         superblock          what never changes: format, id, seed; checksummed   (hf_superblock)
 *      4096      root slot 0         a page: root record, manifest                         (hf_root)
 *      8192      root slot 1         the same; durable commits use them in turn
 *      12288     clean mark          a sector: which root was the newest when all had closed it   (hf_clean)
 *      16384     heap                blocks, up to `top` of the commit record
 *
 *      a block   +------+------+--------------------------------------------+
 *                | head | mark | node: maps, entries, links  (hf_file_node) |     16 bytes of head and mark, then what
 *                |      |      | record: key, value        (hf_file_record) |     it is; a multiple of 16 bytes (a unit),
 *                |      |      | table: bytes               (hf_file_table) |     the rest zeros
 *                +------+------+--------------------------------------------+
 *
 *      head      [ kind: 2 | birth txid: 48 | 6: zeros | 8: of the block's own place, in units, above 32 bits ]
 *      mark      [ checksum of all of the block but these bits: 32 | the rest of its place: 32 ]
 *      link      [ the checksum's upper bits: 24 | place, in units: 40 ]       of a node, of a record (an entry), of a table
 *
 * So a block that is read is the one that was linked to, as it was written, for this place: what is stale, misdirected or
 * rotten does not match. Integers have the order of bytes that the superblock names.
 *
 * A block of up to 4 KiB lies anywhere; a larger one has an extent of its own: a multiple of 1 KiB (file_runs.c). The lock
 * file has lock area, ring and slots at the same places as a segment of shared memory has (layout.h); behind them the log
 * of what was written since the last durable commit, and the nursery.
 *
 * Invariants
 *  L5  What the published version, the last durable one, a pinned or a kept one reaches is not written over.
 *  L6  Every unit between header and `top` is exactly one of: part of a block that the published version or its space
 *      tree reaches, of the manifest or of the spill; in a cell, wherever that is; free in an offer or an open page; part
 *      of a free run; kept for pages of small blocks.
 */
#ifndef HF_REGION_FILE_LAYOUT_H
#define HF_REGION_FILE_LAYOUT_H

#include "region/layout.h"

#define HF_FILE_MAGIC UINT64_C(0x0a656c6946724648) /* "HFrFile\n" where bytes are little-endian */
#define HF_FILE_ROOT_MAGIC UINT64_C(0x746f6f5272464800)
#define HF_FILE_CLEAN_MAGIC UINT64_C(0x6e61656c43724648)
#define HF_FILE_FORMAT 2u

/* Features, by their bits: an older program may use a file with such of the first kind, and not of the second. */
#define HF_FILE_COMPATIBLE UINT64_C(0)
#define HF_FILE_INCOMPATIBLE HF_REGION_PLACES

enum {
    HF_UNIT = 16,
    HF_PAGE_UNITS = HF_REGION_PAGE / HF_UNIT,
    HF_FILE_SLOTS = 2,
    HF_FILE_OPEN = 16,   /* pages being filled */
    HF_FILE_RECENT = 48, /* cells that the record holds itself */
    HF_FILE_QUEUES = 4,
    HF_FILE_STEP_BITS = 24, /* recovery begins at the next multiple of 2^24 */
};

#define HF_FILE_ROOT_AT 4096
#define HF_FILE_CLEAN_AT 12288
#define HF_FILE_HEAP_AT 16384
#define HF_FILE_UNITS ((UINT64_C(1) << 40) - 1)

/* -- the lock file: places other than those of shared memory -- */

#define HF_FILE_CONTROL_AT (HF_REGION_LOCK_AT + 512)
#define HF_FILE_CONTROL_SLOTS_AT 0x30000
#define HF_FILE_CONTROL_LOG_AT 0x130000
#define HF_FILE_CONTROL_SIZE 0x1b0000

enum { HF_FILE_LOG = (HF_FILE_CONTROL_SIZE - HF_FILE_CONTROL_LOG_AT) / 8 };

/* Behind them, once there has been a commit that was not durable: the nursery (file_nursery.c). */
enum { HF_NURSERY_SEGMENTS = 2 };

#define HF_NURSERY_SEGMENT ((UINT64_C(2) << 20) / HF_UNIT) /* units */
#define HF_NURSERY_UNITS (HF_NURSERY_SEGMENTS * HF_NURSERY_SEGMENT)
#define HF_NURSERY_BYTES (HF_NURSERY_UNITS * HF_UNIT)
#define HF_NURSERY_FIRST (HF_FILE_UNITS + 1 - HF_NURSERY_UNITS) /* as the place of a block: the last there are */

/* Behind the lock area. */
struct hf_file_control {
    _Atomic uint64_t durable;      /* the last version that is on the disk */
    _Atomic uint64_t handed;       /* the version whose root is being handed to the disk, or 0 */
    _Atomic uint32_t broken;       /* a flush has failed: an errno */
    _Atomic uint32_t clean;        /* the file has a clean mark */
    _Atomic uint32_t stepped_back; /* recovery did not find the newest root whole */
    _Atomic uint32_t recovered;    /* and it had to be, at all */
    _Atomic uint32_t renumbered;   /* the newest version has a number that no root on the disk has */
    uint32_t pad;
    _Atomic uint64_t root_checksum; /* of the last durable version's */
    _Atomic int64_t flushed_at;     /* when, by the clock that only goes forward */
};

_Static_assert(offsetof(struct hf_file_control, broken) == 16, "layout");
_Static_assert(offsetof(struct hf_file_control, renumbered) == 32, "layout");
_Static_assert(offsetof(struct hf_file_control, root_checksum) == 40, "layout");
_Static_assert(sizeof(struct hf_file_control) == 56, "layout");
_Static_assert(HF_FILE_CONTROL_AT + sizeof(struct hf_file_control) <= HF_REGION_RING_AT, "layout");

/* -- blocks -- */

struct hf_file_node {
    uint64_t head;
    uint64_t mark;
    hf_trie_maps maps;
    uint64_t slots[];
};

struct hf_file_record {
    uint64_t head;
    uint64_t mark;
    uint64_t hash;
    uint32_t key_size;
    uint32_t value_size;
    unsigned char bytes[]; /* the key, the value */
};

struct hf_file_table {
    uint64_t head;
    uint64_t mark;
    uint64_t count;
    unsigned char bytes[];
};

_Static_assert(sizeof(struct hf_file_node) == 24 && offsetof(struct hf_file_node, slots) == 24, "layout");
_Static_assert(sizeof(struct hf_file_record) == 32 && offsetof(struct hf_file_record, bytes) == 32, "layout");
_Static_assert(offsetof(struct hf_file_record, key_size) == 24, "layout");
_Static_assert(offsetof(struct hf_file_table, count) == offsetof(struct hf_kept_table, count), "layout");

static inline uint64_t hf_link(uint64_t units, uint64_t mark)
{
    return mark >> 40 << 40 | units;
}

static inline uint64_t hf_link_units(uint64_t link)
{
    return link & HF_FILE_UNITS;
}

static inline uint64_t hf_units(uint64_t size)
{
    return (size + HF_UNIT - 1) / HF_UNIT;
}

/* -- what is known of space -- */

/* A free piece, and the versions [birth, unlink) that had it. */
struct hf_file_cell {
    uint64_t piece;  /* place in units; above 40 bits its length in units, or one of the below */
    uint64_t birth;  /* HF_CELL_INTERNAL: of the space tree, which no reader reads */
    uint64_t unlink; /* 0: free for all */
};

#define HF_PIECE_EXTENT UINT64_C(0x800000) /* and its length in KiB, less 1 */
#define HF_PIECE_BITS \
    UINT64_C(0x400000) /* of 128 units from there on those are free for all whose bits are set: the
                                              lower ones in `birth`, the upper ones in `unlink` */
#define HF_CELL_INTERNAL (UINT64_C(1) << 63)

/* Units of a page that are free and taken by nobody but the record that has this. */
struct hf_file_offer {
    uint64_t page;
    uint64_t free[HF_PAGE_UNITS / 64];
};

/* A queue: entries head .. tail - 1 of the space tree. */
struct hf_file_queue {
    uint64_t head;
    uint64_t tail;
};

enum hf_file_queue_name {
    HF_QUEUE_WAITING, /* cells: not looked at yet, or held by the last durable version */
    HF_QUEUE_PARKED,  /* cells: held by a pin */
    HF_QUEUE_OFFERS,  /* pages with room, in pieces, */
    HF_QUEUE_ROOMY,   /* and such with a piece for the larger blocks */
};

/* What only writers look at. */
struct hf_file_state {
    struct hf_tree space;
    struct hf_file_queue queues[HF_FILE_QUEUES];
    uint64_t offer_index[2];           /* pages taken of the first entry of either queue of them */
    uint64_t offers[2];                /* pages in them */
    uint64_t waiting;                  /* cells in the queue of those */
    uint64_t fold_at;                  /* so many of them make it time to look at them */
    uint64_t parked_pins;              /* a digest of the pins that the parked ones were last held against */
    uint64_t durable;                  /* the last durable version: this one, if it is */
    uint64_t flushes;                  /* durable commits so far: which root slot */
    uint64_t written;                  /* pieces in the log since then */
    uint64_t written_size;             /* and bytes */
    struct hf_runs runs;               /* of free granules: of 1 KiB */
    uint64_t pages_at, pages_end;      /* of one that was: pages for small blocks, in units */
    uint64_t manifest, manifest_units; /* what of the last durable one's manifest did not go into its page */
    uint64_t spill, spill_count;       /* a table of cells, to be looked at by the next commit */
    uint64_t spill_checksum;
    uint32_t open_count;
    uint32_t recent_count;
    struct hf_file_offer open[HF_FILE_OPEN];
    struct hf_file_cell recent[HF_FILE_RECENT];
};

_Static_assert(sizeof(struct hf_file_cell) == 24 && sizeof(struct hf_file_offer) == 40, "layout");
_Static_assert(offsetof(struct hf_file_state, queues) == 16, "layout");
_Static_assert(offsetof(struct hf_file_state, offer_index) == 80, "layout");
_Static_assert(offsetof(struct hf_file_state, open_count) == 264, "layout");
_Static_assert(offsetof(struct hf_file_state, open) == 272, "layout");
_Static_assert(offsetof(struct hf_file_state, recent) == 912, "layout");
_Static_assert(sizeof(struct hf_file_state) == 2064, "layout");

/* How far the nursery is filled. */
struct hf_nursery {
    uint64_t at;    /* the next free unit of it, never the last one of a segment */
    uint64_t cells; /* at the end of that segment: pieces of FILE that nobody needs who has what is in the nursery */
    /* Of each segment: versions [first, end) have blocks in it; an end of 0: those from first on. */
    uint64_t first[HF_NURSERY_SEGMENTS];
    uint64_t end[HF_NURSERY_SEGMENTS];
    uint64_t checksum; /* of the cells: of each, added up */
};

/* A commit record: in the ring of the lock file, and without atomics, and the nursery, in a root slot. */
struct hf_file_commit {
    struct hf_record_seen seen;
    struct hf_file_state state;
    struct hf_nursery nursery;
    uint64_t txid_again;
};

#define HF_FILE_RECORD_SIZE 2304 /* whole cache lines */
_Static_assert(sizeof(struct hf_nursery) == 56 && offsetof(struct hf_file_commit, nursery) == 2168, "layout");
_Static_assert(HF_FILE_CONTROL_SLOTS_AT + HF_REGION_SLOTS_MAX * sizeof(struct hf_slot) <= HF_FILE_CONTROL_LOG_AT,
               "layout");
_Static_assert(sizeof(struct hf_lock_area) <= 512, "layout");
_Static_assert(sizeof(struct hf_file_commit) <= HF_FILE_RECORD_SIZE, "layout");
_Static_assert(HF_FILE_RECORD_SIZE % 64 == 0, "layout");
_Static_assert(HF_REGION_RING_AT + HF_REGION_RING * HF_FILE_RECORD_SIZE <= HF_FILE_CONTROL_SLOTS_AT, "layout");

/* -- the root slots -- */

/* A piece of the heap that was written since the durable commit before, and is part of this version. */
struct hf_manifest_entry {
    uint64_t piece; /* place and length in units, as in a cell */
    uint64_t checksum;
};

struct hf_root {
    uint64_t magic;
    uint64_t id[2];
    uint64_t pieces;        /* of the manifest */
    uint64_t more_checksum; /* of those that are not here, but at state.manifest */
    uint64_t reserved[2];   /* 0 */
    struct hf_version version;
    struct hf_file_state state;
    uint64_t checksum; /* of the page, but for this */
    struct hf_manifest_entry manifest[];
};

enum { HF_ROOT_PIECES = (HF_REGION_PAGE - sizeof(struct hf_root)) / sizeof(struct hf_manifest_entry) };

_Static_assert(offsetof(struct hf_root, version) == 56, "layout");
_Static_assert(offsetof(struct hf_root, state) == 160, "layout");
_Static_assert(offsetof(struct hf_root, checksum) == 2224, "layout");
_Static_assert(offsetof(struct hf_root, manifest) == 2232, "layout");
_Static_assert(HF_ROOT_PIECES == 116, "layout");

struct hf_clean {
    uint64_t magic;
    uint64_t id[2];
    uint64_t txid;
    uint64_t root_checksum;
    uint64_t checksum;
};

_Static_assert(sizeof(struct hf_clean) == 48, "layout");

#endif
