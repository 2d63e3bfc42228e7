/*
 * trie_ctx.h: what a file that instantiates the trie for a region begins with (trie_body.h).
 */
#ifndef HF_REGION_TRIE_CTX_H
#define HF_REGION_TRIE_CTX_H

#include "region/impl.h"

enum {
    PENDING = 1,        /* no link to a record */
    UNCHANGED = -10000, /* not statuses: how a put ends early */
    DONE_IN_PLACE = -10001,
};

typedef uint64_t trie_link;

#define TRIE_NONE ((trie_link)0)

typedef struct trie_ctx {
    char *base;
    uint64_t span;   /* of the heap that may be looked at */
    uint64_t budget; /* nodes that may be looked at */
    int fault;       /* HF_CORRUPT once something was wrong */
    const hf_region *region;
    struct hf_txn *txn;
    /* Of records: what PENDING stands for, and */
    const hf_key *key;
    const void *value;
    size_t value_size;
    uint64_t made; /* the entry that it became; other than 0 also where there is none to be made */
    /* Of places: */
    hf_place_match match; /* NULL: two entries have the same key if they have the same place */
    void *arg;
    uint64_t old; /* the place of the entry that went */
} trie_ctx;

typedef struct diff_run {
    hf_view_differ differ;
    void *arg;
} diff_run;

#endif
