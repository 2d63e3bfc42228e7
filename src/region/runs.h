/*
 * runs.h: which granules of a region are free, in runs: what large blocks are made of, in both homes.
 *
 *      granules   ####......####..............##########.....        4 KiB each in shared memory, 1 KiB in a file
 *
 *      level 2                  [ 16 sums ]                          a sum: free granules at the beginning of a part,
 *                              /           \                         at its end, and the most in a row
 *      level 1           [ 16 sums ]  ...  [ 16 sums ]
 *                       /     |     \
 *      level 0      bits    bits    bits                             2,048 granules: a bit is set where one is free
 *
 * To find room for a request is one way down, always to the lowest run that is long enough; a run that lies across parts
 * is seen in the sums, without going further. To take and to free is to change the bits at both ends of a run and the sums
 * above them: a part that is free, or taken, as a whole has a sum, and no node. So both cost the height of the tree, whatever
 * the length of the run. Runs are split and merged by that alone: nothing is kept of a run but its bits, and two that are
 * neighbours are one.
 *
 * First fit, from the lowest address: what is free gathers at the end of the region.
 *
 * Invariants
 *  U1  A sum says what the bits below it say. A part whose sum is all free or all taken has no node.
 *  U2  No granule behind `top` is free.
 *
 * Where nodes are, and how they are changed without changing what any version has, is the home's affair: hf_runs_store.
 * Nodes are told apart by level and index (of the part, from the left), and by a link, where the home wants one.
 *
 * Concurrency: by the holder of the writer's lock. Failure: HF_CORRUPT where something is freed twice or taken twice, or the
 * sums are wrong; what a store's functions return. Bytes of a damaged region lead to no more than HF_RUNS_LEVELS steps.
 */
#ifndef HF_REGION_RUNS_H
#define HF_REGION_RUNS_H

#include "region/layout.h"

struct hf_runs_store {
    /* Copies a node out. */
    int (*load)(void *arg, unsigned level, uint64_t index, uint64_t link, union hf_runs_node *out);
    /* Puts one in the place of *link, or a new one where there is none (`is_new`). */
    int (*store)(void *arg, unsigned level, uint64_t index, bool is_new, uint64_t *link,
                 const union hf_runs_node *node);
    /* One that is no longer needed. */
    int (*drop)(void *arg, unsigned level, uint64_t index, uint64_t link);
};

struct hf_runs_home {
    const struct hf_runs_store *store;
    void *arg;
};

/* The lowest run of so many free granules: 1 and where it begins; 0: there is none. */
int hf_runs_find(const struct hf_runs_home *home, const struct hf_runs *runs, uint64_t count, uint64_t *at);

/* How many granules before this one are free, in a row. */
int hf_runs_before(const struct hf_runs_home *home, const struct hf_runs *runs, uint64_t at, uint64_t *count);

/* Takes granules, all of which must be free; frees some, none of which may be. */
int hf_runs_take(const struct hf_runs_home *home, struct hf_runs *runs, uint64_t at, uint64_t count);
int hf_runs_free(const struct hf_runs_home *home, struct hf_runs *runs, uint64_t at, uint64_t count);

/* How many nodes either of them stores, at most. */
unsigned hf_runs_nodes(const struct hf_runs *runs, uint64_t end);

/* Is the state in a record one that can be looked at? */
bool hf_runs_are_sound(const struct hf_runs *runs);

/* Everything there is, from the left: nodes, each before what is below it, and free granules (pieces of runs, in order). */
struct hf_runs_visitor {
    int (*node)(void *arg, unsigned level, uint64_t index, uint64_t link);
    int (*free)(void *arg, uint64_t at, uint64_t count);
    void *arg;
};

/* HF_CORRUPT where a sum is wrong. */
int hf_runs_visit(const struct hf_runs_home *home, const struct hf_runs *runs, const struct hf_runs_visitor *visitor);

#endif
