/*
 * file_keydir.c: the trie of places in a file (keydir.h).
 *
 *      entry      [ hash | place ]
 *
 * The checksum of a node is over its entries too: what was written is what is read.
 */
#include "region/trie_ctx.h"

typedef struct trie_entry {
    uint64_t hash;
    uint64_t place;
} trie_entry;

#include "region/trie_file.h"

#define HF_REGION_OPS hf_file_place_ops
#include "region/trie_places.h"
