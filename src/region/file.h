/*
 * file.h: what the files of a region in a file know of each other.
 *
 *      file_stage.c    the staging area: what a transaction makes, before it has a place
 *      trie_file.h     nodes of both, staged ones and those of the file
 *      file_trie.c     the trie of records over them (compiled once for each CPU level)
 *      file_keydir.c   and that of places
 *      file_verify.c   is a block of the file what it should be?
 *      file_nursery.c  where those of a commit that is not durable wait
 *      file_place.c    where blocks go: pages with room, fresh pages, extents
 *      file_runs.c     extents, and the runs of free space that they are made of
 *      file_space.c    what is free: queues, the page map, offers, in a tree of the region itself
 *      file_commit.c   a commit: settle, place, seal, write, flush, publish
 *      file_manifest.c what a durable commit has written, and recovery's look at it
 *      file_flusher.c  the thread that flushes now and then
 *      file_make.c     a new file, which gets its name when it is whole
 *      file_open.c     opening: mapping, the lock file
 *      file_follow.c   readers who may not write to the lock file, or have none
 *      file_recover.c  the newest version that is whole
 *      file_close.c    closing, and the clean mark
 *      file_fork.c     descriptions of FILE for a child
 *      file_home.c     the table of what is a file's own; kept snapshots
 *      file_check.c    is all this true?
 *
 *      [ nursery, shared ] [ FILE, read-only ........... | reserved ] [ staging area, this process's own ]
 *       the last of the     ^units from 0                             units from file->stage.at
 *       2^40 units          hf_region.base
 *
 * A link to a staged block is its place in units, as if the area were behind the file, and one to the nursery as if
 * that were before it; so one address computation does for all. No link to a staged block is left when a block is
 * sealed, none to the nursery in a block of FILE.
 */
#ifndef HF_REGION_FILE_H
#define HF_REGION_FILE_H

#include "region/control.h"
#include "region/impl.h"

#include "base/hash.h"

enum {
    HF_STAGE_SMALL = HF_PAGE_UNITS, /* units of the largest block that is no extent */
    HF_STAGE_LARGE = 96,            /* sizes of larger ones */
    HF_STAGE_BINS = HF_STAGE_SMALL + 1 + HF_STAGE_LARGE,
    HF_OFFER_LEAST = 96,         /* free units that make a page worth writing: docs/adr/0004, */
    HF_OFFER_LEAST_OF_MANY = 64, /* and where commits are mostly not durable, and placed in batches */
    HF_CELLS_AN_ENTRY = 20,      /* of a queue of cells */
    HF_CELLS_LARGE = 210,        /* of an entry that is an extent */
    HF_OFFERS_LARGE = 126,
    HF_ZONE_PAGES = 1024,
    HF_ZONE_UNITS = HF_ZONE_PAGES * HF_PAGE_UNITS,
};

/* Units of one piece of the log or of a manifest: 16 MiB. */
#define HF_PIECE_LONGEST (UINT64_C(1) << 20)

/* Bytes that are written between two flushes, at most. */
#define HF_FILE_UNFLUSHED (UINT64_C(64) << 20)

/* The staging area. */
struct hf_stage {
    uint64_t at;                  /* its first unit */
    uint64_t limit;               /* units in it */
    uint64_t top;                 /* of them, in use once or still */
    uint64_t units;               /* of blocks that are in use */
    uint64_t bins[HF_STAGE_BINS]; /* blocks that are not, by size: the first of a list */
    struct hf_file_cell *freed;   /* pieces of the file that the version being made does without */
    size_t freed_count, freed_room;
    bool internal;           /* what is made and freed is the space tree's: */
    uint64_t internal_units; /* so much of it, */
    uint64_t entries;        /* and so many large entries */
};

struct hf_flusher;

struct hf_file_home {
    struct hf_control control;
    struct hf_file_control *shared; /* NULL: read-only, without a lock file */
    uint64_t *log;
    enum hf_region_level level;
    bool read_only;
    uint64_t nursery_most; /* units of a segment of the nursery that are filled; 0: it is not used */
    int64_t interval;
    int64_t patience;  /* of the close */
    uint64_t writable; /* up to here this process may write to FILE: RLIMIT_FSIZE, as last seen */
    bool starved; /* the last commit found no space: the next one first looks at all that waits to be used again */
    uint64_t large_freed; /* units of extents that this process freed since it last looked at what waits */
    uint64_t looked_at;   /* the version for which extents in the record were looked at, before the file grew */
    bool flush_wanted;    /* by the transaction under way, whatever the level */
    struct hf_stage stage;
    _Atomic uint64_t *verified; /* blocks that were found to be right: file_verify.c */
    uint64_t verified_room;
    _Atomic uint64_t verified_mask;
    struct hf_flusher *flusher;
    _Atomic uint64_t written;    /* bytes, by commits of this process: growth, blocks, roots */
    struct hf_placer *placer;    /* of the last commit: its memory, and the pages that are being filled */
    _Atomic uint64_t nursery;    /* units of it that are there, as far as is known */
    uint64_t seen_from, seen_to; /* versions that a reader which follows has found there */
    bool nursery_lost;           /* that of the lock file that is followed is not mapped */
    uint64_t nursery_later;      /* the version from which on it is worth asking for it again */
    char *path;                  /* of FILE, as it was opened */
    void *alone;                 /* what stands for a lock file where there is none, or none to write to */
};

/* -- file_stage.c -- */

/* The bin of a block, in the staging area. HF_LIMIT. */
int hf_stage_bin(uint64_t size);

static inline bool hf_is_staged(const struct hf_file_home *file, uint64_t link)
{
    return hf_link_units(link) - file->stage.at < file->stage.limit;
}

static inline bool hf_is_in_nursery(uint64_t link)
{
    return hf_link_units(link) >= HF_NURSERY_FIRST;
}

/* The address of a place (or of what a link leads to): the nursery's, which are the last ones, are before `base`. */
static inline void *hf_place_at(char *base, uint64_t units)
{
    return base + ((int64_t)(units << 24) >> 24) * HF_UNIT;
}

static inline void *hf_unit_at(const hf_region *region, uint64_t units)
{
    return hf_place_at(region->base, units);
}

int hf_stage_alloc(hf_txn *txn, uint64_t size, uint64_t *link);
void hf_stage_free(hf_txn *txn, uint64_t link, uint64_t size, uint64_t head);
int hf_stage_prepare(hf_txn *txn);
void hf_stage_undo(hf_txn *txn);
int hf_stage_settle(hf_txn *txn);
void hf_stage_mark(hf_txn *txn, struct hf_stage_mark *mark);
void hf_stage_rollback(hf_txn *txn, const struct hf_stage_mark *mark);
void hf_stage_forget(hf_txn *txn);

/* A piece is free. HF_NOMEM. */
int hf_stage_freed(hf_txn *txn, uint64_t piece, uint64_t birth, uint64_t unlink);

static inline uint64_t hf_piece(uint64_t units, uint64_t count)
{
    return units | count << 40;
}

/* -- file_verify.c -- */

int hf_verify_map(struct hf_file_home *file);
void hf_verify_unmap(struct hf_file_home *file);
void hf_verify_room(struct hf_file_home *file, uint64_t top);

/* The checksum and the place of a block, as it is to be written. */
void hf_block_seal(void *staged, uint64_t size, uint64_t units);

/* Is it a block that says it is at this place, and has the checksum that the link says? (The rest of it may be wrong.) */
bool hf_block_is_linked(const hf_region *region, uint64_t link);

/* Is the block at this place, of this size, what was written there? `link`: what led to it. 0 or HF_CORRUPT. */
int hf_block_verify(const hf_region *region, uint64_t link, uint64_t size);

/* Does all that a record has lie within its version's `top`? What it has may then be looked at; it can still be wrong. */
/* `nursery`: NULL, of a root, which has nothing there. */
bool hf_record_is_sound(const struct hf_version *version, const struct hf_file_state *state,
                        const struct hf_nursery *nursery);

static inline uint64_t hf_verified_key(uint64_t units, uint64_t head)
{
    return units << 24 | (hf_head_txid(head) & 0xffffff);
}

static inline _Atomic uint64_t *hf_verified_at(const struct hf_file_home *file, uint64_t units)
{
    uint64_t mask = atomic_load_explicit(&file->verified_mask, memory_order_relaxed);
    return &file->verified[units / 2 & mask];
}

static inline bool hf_is_verified(const struct hf_file_home *file, uint64_t units, uint64_t head)
{
    return atomic_load_explicit(hf_verified_at(file, units), memory_order_relaxed) == hf_verified_key(units, head);
}

static inline void hf_set_verified(const struct hf_file_home *file, uint64_t units, uint64_t head)
{
    atomic_store_explicit(hf_verified_at(file, units), hf_verified_key(units, head), memory_order_relaxed);
}

/* What a node takes up. */
static inline uint64_t hf_file_node_size(const struct hf_file_node *node, bool places)
{
    return sizeof *node +
           (hf_trie_entry_count(node->maps) * hf_entry_words(places) + hf_trie_child_count(node->maps)) *
               sizeof(uint64_t);
}

/* The links of a node of this size, which are the last of its words: all, or those behind entries that are places. */
static inline const uint64_t *hf_file_node_links(const struct hf_file_node *node, uint64_t size, uint64_t *count)
{
    bool places = size != hf_file_node_size(node, false);
    uint64_t words = (size - sizeof *node) / sizeof(uint64_t);

    *count = places ? hf_trie_child_count(node->maps) : words;
    return node->slots + (words - *count);
}

/* -- file_place.c -- */

/* A staged block on its way into the file. */
struct hf_block {
    uint64_t staged; /* its unit in the staging area */
    uint64_t place;  /* its unit in the file, once it has one */
    uint32_t size;   /* bytes */
    int bin;
};

struct hf_blocks {
    struct hf_block *block;
    size_t count, room;
};

/* A page that is being filled. */
struct hf_open_page {
    struct hf_file_offer offer;
    unsigned free; /* units */
    unsigned room; /* of them, in runs that take any block of the space tree */
};

struct hf_placer {
    hf_txn *txn;
    struct hf_blocks blocks;   /* in an order in which each comes after those it links to */
    size_t placed;             /* so many of them have a place */
    struct hf_open_page *open; /* pages that are being filled */
    size_t open_count, open_room;
    uint64_t *extents; /* for the space tree's large entries */
    size_t extent_count, extent_room;
    struct hf_file_cell *spill; /* what is left over at the end */
    size_t spill_count, spill_room;
    char *buffer; /* of one write */
    size_t buffer_room;
    uint64_t known; /* `open` is that of this version's record; 0: of none */
};

/* For a commit; after it: gives back what was needed for a large one only; and for good. */
int hf_placer_begin(struct hf_placer *placer, hf_txn *txn);
void hf_placer_end(struct hf_placer *placer);
void hf_placer_free(struct hf_placer *placer);

/* Adds a trie's (or a table's) staged blocks. HF_NOMEM. */
int hf_placer_collect(struct hf_placer *placer, uint64_t link, bool places);
int hf_placer_add(struct hf_placer *placer, uint64_t link, uint64_t size);

/* Gives places to the blocks that have none. `offers`: taking all that it needs of them, whatever that changes. */
int hf_placer_place(struct hf_placer *placer, bool last);

/* Leaves pages that are nearly full, or too many. */
int hf_placer_trim(struct hf_placer *placer);

/* Pieces of pages that nobody fills any more, and the record's list of those that somebody does. */
int hf_placer_finish(struct hf_placer *placer);

int hf_placer_add_open(struct hf_placer *placer, const struct hf_file_offer *offer);
unsigned hf_offer_free(const struct hf_file_offer *offer);

/* What is free of a page, as cells: how many. */
unsigned hf_offer_cells(const struct hf_file_offer *offer, struct hf_file_cell out[2]);

/* Free units in runs that take any block of the space tree. */
unsigned hf_offer_room(const struct hf_file_offer *offer);

/* Whole pages behind the top, in units. HF_NOSPACE, HF_LIMIT. */
int hf_file_fresh(hf_txn *txn, uint64_t units, uint64_t *out);
int hf_file_grow(hf_region *region, uint64_t top);

/* -- file_runs.c -- */

/* What a block of this size takes up in the file, in units: a multiple of 1 KiB where it is an extent. */
uint64_t hf_block_units(uint64_t size);

/* Of an extent: what stands in a cell for its units; and back. */
uint64_t hf_extent_count(uint64_t units);
uint64_t hf_extent_units(uint64_t count);

/* A place for an extent of so many units. And one that nobody can see any more is free; so may be other whole KiB. */
int hf_space_extent(hf_txn *txn, uint64_t count, uint64_t *units);
int hf_file_runs_free(hf_txn *txn, uint64_t units, uint64_t count);

/* Whole pages in a row, for small blocks. `last`: the space tree is not to change any more. HF_NOSPACE, HF_LIMIT. */
int hf_file_pages(hf_txn *txn, uint64_t units, bool last, uint64_t *out);

/* So many units of them are ready, as long as the space tree may change: 1, that has done it; 0, nothing has changed. */
int hf_file_pages_ready(hf_txn *txn, uint64_t units);

/* For hf_region_check: hf_runs_visit of a version, which is pinned or the writer's. */
struct hf_runs_visitor;
int hf_file_runs_visit(hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                       const struct hf_runs_visitor *visitor);

/* As hf_space_get, in a version whose space tree is in place of its first. */
int hf_space_look_up(const hf_view *view, uint64_t number, hf_span *value);

/* -- file_nursery.c -- */

/* Maps it where links to it lead. HF_LIMIT. */
int hf_nursery_map(hf_region *region);

/* Are these units of the nursery there? */
bool hf_nursery_has_slowly(const hf_region *region, uint64_t units, uint64_t count);

static inline bool hf_nursery_has(const hf_region *region, uint64_t units, uint64_t count)
{
    uint64_t there = atomic_load_explicit(&region->file->nursery, memory_order_relaxed);

    return __builtin_expect(units - HF_NURSERY_FIRST < there && count <= there - (units - HF_NURSERY_FIRST), 1) ||
           hf_nursery_has_slowly(region, units, count);
}

/* Puts what the transaction has made there. 1; 0: that cannot be; HF_NOMEM. */
int hf_nursery_commit(struct hf_placer *placer);

/* Takes back from it, to be placed in FILE, all that the transaction's version has there. */
int hf_nursery_leave(hf_txn *txn);

/* The cells that it has. */
const struct hf_file_cell *hf_nursery_cells(const hf_region *region, const struct hf_nursery *nursery);

bool hf_nursery_is_sound(const struct hf_nursery *nursery);

/* Of a reader that follows a lock file: can a version that is there be read? And: it follows another one from now on. */
bool hf_nursery_follow(hf_region *region, uint64_t txid);
void hf_nursery_changed(hf_region *region);

/* Has it the cells that were noted? */
bool hf_nursery_has_cells(const hf_region *region, const struct hf_nursery *nursery);

/* Has there been a commit to it since it was last left? */
bool hf_nursery_is_used(const struct hf_nursery *nursery);

/* -- file_space.c -- */

/* The space tree: look-ups and changes by a commit. HF_CORRUPT where there is nothing to remove. */
int hf_space_get(hf_txn *txn, uint64_t number, hf_span *value);
int hf_space_put(hf_txn *txn, uint64_t number, const void *value, size_t size);
int hf_space_remove(hf_txn *txn, uint64_t number);

/* Frees those extents that the record itself has and nobody can see. */
int hf_space_look_at_recent(hf_txn *txn);

/* A page of one queue: 1, or 0: there is none. */
int hf_space_take_offer(hf_txn *txn, enum hf_file_queue_name name, struct hf_file_offer *out);
int hf_space_settle(struct hf_placer *placer);

/* Looks at everything that waits to be used again. (hf_space_settle does when there is much of it.) */
int hf_space_look(hf_txn *txn);

/* Everything that the record of the last commit left to this one. */
int hf_space_begin(hf_txn *txn);

/* For hf_region_check: an entry of the space tree. */
enum hf_space_kind {
    HF_SPACE_WAITING = HF_QUEUE_WAITING,
    HF_SPACE_PARKED = HF_QUEUE_PARKED,
    HF_SPACE_OFFERS = HF_QUEUE_OFFERS,
    HF_SPACE_ROOMY = HF_QUEUE_ROOMY,
    HF_SPACE_ZONE,
    HF_SPACE_CELLS,
    HF_SPACE_RUNS,
};

/* An entry of a queue, or of a zone. */
union hf_space_entry {
    struct hf_file_cell cells[HF_CELLS_LARGE];
    struct hf_file_offer pages[HF_OFFERS_LARGE];
    unsigned char bytes[HF_CELLS_LARGE * sizeof(struct hf_file_cell)];
};

_Static_assert(sizeof(union hf_space_entry) == 5040, "with head and key, the smallest extent");

/* The record of such an entry where it is filled up. */
#define HF_SPACE_LARGE (sizeof(struct hf_file_record) + sizeof(uint64_t) + sizeof(union hf_space_entry))

struct hf_zone {
    uint64_t head, tail; /* its entries of cells */
    uint64_t fresh;      /* cells in them that came since the last fold */
};

static inline uint64_t hf_space_key(enum hf_space_kind kind, uint64_t number)
{
    return (uint64_t)kind << 56 | number;
}

/* -- file_manifest.c -- */

struct hf_pieces {
    uint64_t *piece;
    size_t count, room;
};

int hf_pieces_add(struct hf_pieces *pieces, uint64_t units, uint64_t count);
void hf_pieces_merge(struct hf_pieces *pieces);

/* What of the log is part of the version being made. */
int hf_manifest_live(struct hf_placer *placer, struct hf_pieces *out);

/* The checksum of the pieces, each in what it will be, and in all. */
uint64_t hf_piece_checksum(const hf_region *region, uint64_t piece);
uint64_t hf_root_checksum(const struct hf_root *root);

/* Is all of this version in the file that was written since the last durable one? 0, HF_CORRUPT, HF_NOMEM. */
int hf_version_verify(const hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                      const struct hf_nursery *nursery);

/* Is this a root of this file, and all that it says was written there? 0, HF_CORRUPT, HF_NOMEM, HF_IO. */
int hf_root_verify(const hf_region *region, const struct hf_root *root);

/* -- file_commit.c -- */

int hf_file_commit(hf_txn *txn);
int hf_file_load(hf_txn *txn, uint64_t txid);
int hf_file_flush(hf_region *region, int64_t timeout);
void hf_file_publish(hf_region *region, const struct hf_version *version, const struct hf_file_state *state,
                     const struct hf_nursery *nursery);

/* What a link to a staged block becomes, when that is sealed. */
void hf_seal_links(const hf_region *region, struct hf_file_table *staged, uint64_t size);
void hf_seal_root(const hf_region *region, uint64_t *root);

/* How long RLIMIT_FSIZE lets a file be. What is behind that must not be tried, since the system sends a signal that kills.
 * And is that at least `end` for FILE? HF_NOSPACE. (A limit that is lowered while FILE is open is not seen.) */
int hf_file_limit(uint64_t *out);
int hf_file_may_write(hf_region *region, uint64_t end);

/* Flushes FILE: if that fails, the store is broken. HF_BROKEN. */
int hf_file_sync(hf_region *region);

/* Removes a root from its slot, and flushes. */
int hf_file_invalidate(hf_region *region, unsigned slot);

/* -- file_flusher.c -- */

/* A version is published that is not durable. By the holder of the writer's lock. HF_NOMEM, HF_LIMIT. */
int hf_flusher_want(hf_region *region);
/* Before the region is closed; in a child. */
void hf_flusher_stop(hf_region *region);
void hf_flusher_forget(hf_region *region);

/* -- file_check.c -- */

int hf_file_check(hf_txn *txn, hf_region_fault *fault);
void hf_file_stats(hf_region *region, hf_region_stats *stats);

/* -- file_make.c -- */

/* Gives a file its name, if nothing has that, and makes it durable. HF_EXISTS. */
int hf_file_name(const char *from, const char *to);
int hf_file_flush_folder(const char *path);

/* A file that is being made, under another name than it is to have. What is left of one whose maker was killed is known by
 * the lock that `fd` has: nothing may be mapped with it. */
struct hf_making {
    char *name;
    int fd;
};

/* Makes one, an empty region with the seed of another one, or NULL. HF_NOSPACE, ... Then `name` can be opened as a region. */
int hf_making_begin(const char *path, const uint64_t *seed, unsigned place_trees, struct hf_making *out);
/* It has its own name now, or it has not and goes. */
void hf_making_end(struct hf_making *making, bool named);

/* Removes what was left of FILE's makers. */
void hf_file_sweep(const char *path);

/* Makes a file, which has no name like that yet. The seed of another one, or NULL. HF_EXISTS, HF_NOSPACE, ... */
int hf_file_make(const char *path, const uint64_t *seed, unsigned place_trees);
/* The same where symbolic links lead nowhere: what they lead to is made, as open does it with O_CREAT. */
int hf_file_make_behind(const char *path, unsigned place_trees);

/* -- file_recover.c -- */

uint64_t hf_clean_checksum(const struct hf_clean *clean);

/* Where the root is that this record counts as the last durable one. Is it a root of this file, whatever it says of the
 * heap? */
const struct hf_root *hf_root_of(const hf_region *region, const struct hf_file_state *state);
bool hf_root_is_ours(const hf_region *region, const struct hf_root *root);

/* Finds the newest version, makes sure of it, and publishes it in a lock file of zeros. HF_CORRUPT, HF_IO, ... */
int hf_file_recover(hf_region *region);

/* Does FILE have the root of which the lock file says that it is the last durable one? */
bool hf_file_agrees(hf_region *region);

/* And is what a lock file says that nobody uses still true of FILE, all of it? 1, 0, HF_NOMEM. */
int hf_file_is_credible(hf_region *region);

/* -- file_open.c -- */

/* Where what is shared between processes is, for this one. */
void hf_file_place_control(hf_region *region, char *base);

/* What hf_region.file has; nothing if that is NULL. */
void hf_file_free(hf_region *region);

/* -- file_follow.c -- */

/* Without FILE's lock file, but for looking where hf_control has one. HF_CORRUPT, HF_LIMIT, ... */
int hf_file_stand_alone(hf_region *region);

/* -- file_home.c -- */

int hf_file_kept_at(const hf_region *region, const struct hf_version *version, const struct hf_kept_table **out);

extern const struct hf_home hf_home_file;

#endif
