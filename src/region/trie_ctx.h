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
typedef uint64_t trie_key; /* PENDING: that of the context; or an entry, whose key it is */

typedef struct trie_entry {
    uint64_t word;
} trie_entry;

#define TRIE_NONE ((trie_link)0)

typedef struct trie_ctx {
    char *base;
    uint64_t span;   /* of the heap that may be looked at */
    uint64_t budget; /* nodes that may be looked at */
    int fault;       /* HF_CORRUPT once something was wrong */
    const hf_region *region;
    struct hf_txn *txn;
    const hf_key *key; /* of PENDING */
    const void *value;
    size_t value_size;
    uint64_t made; /* the entry that PENDING became; other than 0 also where there is none to be made */
} trie_ctx;

#endif
