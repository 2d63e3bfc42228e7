/*
 * region_golden.h: small region files, and what is in them: for the program that made tests/c/golden
 * (region_golden.c), and for the test that opens those files ever after (test_region_golden.c).
 *
 *      clean      closed; values put, replaced, removed, over several commits
 *      open       copied while it was open: the newest version is durable, and there is no clean mark
 *      volatile   the same, after commits that were not durable: the file has their blocks, and no root for them
 *      rich       closed; all trees, kept snapshots, extents, large values, keys of one hash, a savepoint rolled back
 *
 *      space      closed; kept snapshots, and free space in every form that the space tree has of it
 *      places     as rich, where two trees are of places (src/region/keydir.h)
 *
 * A file is stored without its zeros, in pieces: { place, count, both in units of 16 bytes; so many units } ...
 *
 * What is made here must not change: the stored files have it. Another kind of file gets a function of its own.
 */
#ifndef HF_TEST_REGION_GOLDEN_H
#define HF_TEST_REGION_GOLDEN_H

#include "region/impl.h"
#include "region/keydir.h"
#include "region/region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GOLDEN_KEYS = 64, GOLDEN_SIZE = 1 << 20, GOLDEN_VALUE_MOST = 8 << 10, GOLDEN_SAME_HASH = 6 };

/* A value is a number: its size, and what bytes it has. 0: the key is absent. */
struct golden_model {
    uint32_t value[HF_REGION_TREES][GOLDEN_KEYS];
};

/* What a file has: its newest version, the one before, and what it keeps. */
struct golden {
    struct golden_model now, before, first, third;
};

static void golden_must(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "region_golden: %s: %s\n", what, hf_status_message(status));
    exit(EXIT_FAILURE);
}

#define golden_do(call) golden_must((call), #call)

static inline size_t golden_size(uint32_t value)
{
    static const size_t large[] = {4096 - 32 - 4, 4200, 5000, 6000};

    return value >= 1000 ? large[value % 4] : value % 90;
}

static inline void golden_fill(uint32_t value, unsigned char *out)
{
    for (size_t i = 0; i < golden_size(value); i++)
        out[i] = (unsigned char)(value * 31 + i * 13 + (i >> 8));
}

/* The last keys of the last tree have one hash. */
static inline hf_key golden_key(unsigned tree, unsigned key, char text[160])
{
    uint64_t hash = (key + 1) * UINT64_C(0x9e3779b97f4a7c15) + tree;
    int size = snprintf(text, 160, "%u/%u", tree, key);

    if (key % 16 == 15) { /* and some are long */
        memset(text + size, 'x', 100);
        size += 100;
    }
    if (tree == 3 && key >= GOLDEN_KEYS - GOLDEN_SAME_HASH)
        hash = UINT64_C(0x0123456789abcdef);
    return (hf_key){hash, text, (size_t)size};
}

/* Of the files that are made and looked at now. */
static unsigned golden_place_trees;

static inline bool golden_has_places(unsigned tree)
{
    return golden_place_trees >> tree & 1;
}

/* Where a value is a place. */
static inline uint64_t golden_place(unsigned key, uint32_t value)
{
    return (uint64_t)value << 40 | key;
}

static inline int golden_match(void *key, uint64_t place)
{
    return place % 65536 == *(unsigned *)key;
}

static inline void golden_put(hf_txn *txn, struct golden_model *model, unsigned tree, unsigned key, uint32_t value)
{
    static unsigned char bytes[GOLDEN_VALUE_MOST];
    char text[160];
    hf_key name = golden_key(tree, key, text);

    golden_fill(value, bytes);
    if (golden_has_places(tree) && value == 0)
        golden_do(hf_txn_unset_place(txn, tree, name.hash, golden_match, &key, NULL));
    else if (golden_has_places(tree))
        golden_do(hf_txn_set_place(txn, tree, name.hash, golden_place(key, value), golden_match, &key, NULL));
    else if (value == 0)
        golden_do(hf_txn_remove(txn, tree, &name));
    else
        golden_do(hf_txn_put(txn, tree, &name, bytes, golden_size(value)));
    model->value[tree][key] = value;
}

static inline hf_txn *golden_begin(hf_region *region)
{
    hf_txn *txn;

    golden_do(hf_txn_begin(region, 0, &txn));
    return txn;
}

/* One put or removal, in a transaction of its own; `step` says which. */
static inline void golden_step(hf_region *region, struct golden_model *model, uint32_t step)
{
    hf_txn *txn = golden_begin(region);
    uint32_t mixed = (step + 1) * UINT32_C(2654435761) >> 8;

    golden_put(txn, model, mixed % HF_REGION_TREES, mixed / 4 % GOLDEN_KEYS, mixed % 5 == 0 ? 0 : 1 + step % 900);
    golden_do(hf_txn_commit(txn));
}

/* Tree 0 gets some keys, and then come changes. What there was before the last of them is known too. */
static inline void golden_make_plain(hf_region *region, struct golden *out)
{
    hf_txn *txn = golden_begin(region);

    for (unsigned key = 0; key < 40; key++)
        golden_put(txn, &out->now, 0, key, key + 1);
    golden_do(hf_txn_commit(txn));
    for (uint32_t step = 0; step < 8; step++) {
        out->before = out->now;
        golden_step(region, &out->now, step);
    }
}

/* As plain, then more of which nothing is durable. */
static inline void golden_make_volatile(hf_region *region, struct golden *out)
{
    struct golden_model lost;

    golden_make_plain(region, out);
    golden_do(hf_region_flush(region, 0));
    lost = out->now;
    for (uint32_t step = 8; step < 40; step++)
        golden_step(region, &lost, step);
}

static inline void golden_make_rich(hf_region *region, struct golden *out)
{
    hf_txn *txn = golden_begin(region);
    struct golden_model undone;
    unsigned level;

    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++)
        for (unsigned key = 0; key < GOLDEN_KEYS; key += tree == 3 ? 1 : 8)
            golden_put(txn, &out->now, tree, key, 100 * tree + key + 1);
    golden_put(txn, &out->now, 1, 0, 1000);
    golden_put(txn, &out->now, 1, 8, 1001);
    golden_put(txn, &out->now, 1, 16, 1002);
    golden_do(hf_txn_keep(txn, "first"));
    golden_do(hf_txn_commit(txn));
    out->first = out->now;

    for (uint32_t step = 0; step < 10; step++)
        golden_step(region, &out->now, step);
    txn = golden_begin(region);
    golden_put(txn, &out->now, 2, 0, 1003);
    golden_put(txn, &out->now, 1, 16, 0);
    undone = out->now;
    golden_do(hf_txn_savepoint(txn, &level));
    golden_put(txn, &undone, 2, 8, 1005);
    golden_put(txn, &undone, 0, 0, 77);
    golden_do(hf_txn_rollback(txn, level));
    golden_do(hf_txn_keep(txn, "second"));
    golden_do(hf_txn_commit(txn));

    txn = golden_begin(region);
    golden_do(hf_txn_forget(txn, "second"));
    golden_do(hf_txn_keep(txn, "third"));
    golden_put(txn, &out->now, 2, 0, 0);
    golden_do(hf_txn_commit(txn));
    out->third = out->now;
    for (uint32_t step = 10; step < 20; step++)
        golden_step(region, &out->now, step);
}

/* All keys of a tree, in one transaction. */
static inline void golden_burst(hf_region *region, struct golden_model *model, unsigned tree, uint32_t value)
{
    hf_txn *txn = golden_begin(region);

    for (unsigned key = 0; key < GOLDEN_KEYS; key++)
        golden_put(txn, model, tree, key, key % 8 == 7 && model->value[tree][key] != 0 ? 0 : value + key % 8);
    golden_do(hf_txn_commit(txn));
}

/* Enough is freed for the space tree to have all there is: cells that wait and that a kept version holds, pages with
 * room, free extents. */
static inline void golden_make_space(hf_region *region, struct golden *out)
{
    hf_txn *txn;

    for (uint32_t turn = 0; turn < 11; turn++) {
        golden_burst(region, &out->now, 3, 90 * turn + 1);
        if (turn != 0)
            continue;
        txn = golden_begin(region);
        golden_do(hf_txn_keep(txn, "first"));
        golden_do(hf_txn_commit(txn));
        out->first = out->now;
    }
}

struct golden_kind {
    const char *name;
    void (*make)(hf_region *region, struct golden *out);
    enum hf_region_level level;
    bool closed;
    unsigned place_trees;
};

static const struct golden_kind golden_kinds[] = {
    {"clean", golden_make_plain, HF_REGION_FULL, true, 0},
    {"open", golden_make_plain, HF_REGION_FULL, false, 0},
    {"volatile", golden_make_volatile, HF_REGION_OFF, false, 0},
    {"rich", golden_make_rich, HF_REGION_OFF, true, 0},
    {"space", golden_make_space, HF_REGION_FULL, true, 0},
    {"places", golden_make_rich, HF_REGION_OFF, true, 0x9},
};

enum { GOLDEN_KINDS = sizeof golden_kinds / sizeof *golden_kinds };

static inline void golden_io(bool good, const char *path)
{
    if (good)
        return;
    fprintf(stderr, "region_golden: %s cannot be read or written, or is too long\n", path);
    exit(EXIT_FAILURE);
}

/* The bytes of a region file: GOLDEN_SIZE of them, zeros behind its end. */
static inline unsigned char *golden_read(const char *path)
{
    unsigned char *bytes = calloc(1, GOLDEN_SIZE);
    FILE *file = fopen(path, "rb");

    golden_io(bytes != NULL && file != NULL, path);
    (void)!fread(bytes, 1, GOLDEN_SIZE, file);
    golden_io(!ferror(file) && getc(file) == EOF, path);
    fclose(file);
    return bytes;
}

struct golden_piece {
    uint32_t at, count; /* in units of 16 bytes */
};

/* Writes what is not zero. */
static inline void golden_store(const char *path, const unsigned char *bytes)
{
    static const unsigned char zeros[HF_UNIT];
    FILE *file = fopen(path, "wb");

    golden_io(file != NULL, path);
    for (uint32_t at = 0, end; at < GOLDEN_SIZE / HF_UNIT; at = end + 1) {
        for (end = at; end < GOLDEN_SIZE / HF_UNIT && memcmp(bytes + end * HF_UNIT, zeros, HF_UNIT) != 0; end++)
            ;
        struct golden_piece piece = {at, end - at};
        if (piece.count > 0)
            golden_io(fwrite(&piece, sizeof piece, 1, file) == 1 &&
                          fwrite(bytes + at * HF_UNIT, HF_UNIT, piece.count, file) == piece.count,
                      path);
    }
    golden_io(fclose(file) == 0, path);
}

/* And reads it. */
static inline unsigned char *golden_restore(const char *path)
{
    unsigned char *bytes = calloc(1, GOLDEN_SIZE);
    FILE *file = fopen(path, "rb");
    struct golden_piece piece;

    golden_io(bytes != NULL && file != NULL, path);
    while (fread(&piece, sizeof piece, 1, file) == 1) {
        golden_io(piece.at < GOLDEN_SIZE / HF_UNIT && piece.count <= GOLDEN_SIZE / HF_UNIT - piece.at, path);
        golden_io(fread(bytes + piece.at * HF_UNIT, HF_UNIT, piece.count, file) == piece.count, path);
    }
    golden_io(feof(file) && !ferror(file), path);
    fclose(file);
    return bytes;
}

/* Makes one, by way of a region of the name `path` with ".work" behind it: its bytes. *out: what it should have. */
static inline unsigned char *golden_make(const struct golden_kind *kind, const char *path, struct golden *out)
{
    const hf_region_options options = {
        .mode = HF_REGION_CREATE, .level = kind->level, .place_trees = kind->place_trees};
    char work[512], lock[520];
    hf_region *region;

    snprintf(work, sizeof work, "%s.work", path);
    snprintf(lock, sizeof lock, "%s-lock", work);
    memset(out, 0, sizeof *out);
    golden_place_trees = kind->place_trees;
    golden_do(hf_region_open_file(work, &options, &region));
    kind->make(region, out);
    if (kind->closed)
        golden_do(hf_region_close(region));
    unsigned char *bytes = golden_read(work);
    if (!kind->closed)
        golden_do(hf_region_close(region));
    unlink(work);
    unlink(lock);
    return bytes;
}

#endif
