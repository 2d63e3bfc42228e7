/*
 * region_bytes.c: prints the bytes of a small region, for the example in docs/format/region.md. tests/python/
 * test_region_format.py compares the two.
 */
#include "region/impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static hf_region *region;

static void check(int status)
{
    if (status < 0) {
        fprintf(stderr, "region_bytes: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
}

/* Eight bytes a line. */
static void show(uint64_t at, uint64_t size, const char *what)
{
    const unsigned char *bytes = hf_region_at(region, at);
    for (uint64_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            printf(i == 0 ? "%06" PRIx64 " " : "\n%06" PRIx64 " ", at + i);
        printf(" %02x", bytes[i]);
        if (i == (size < 8 ? size : 8) - 1)
            printf("%*s%s", (int)(size < 8 ? 3 * (8 - size) : 0) + 2, "", what);
    }
    printf("\n");
}

static void put(const char *value)
{
    const hf_key key = {UINT64_C(0x0123456789abcdef), "one", 3};
    hf_txn *txn;
    check(hf_txn_begin(region, 0, &txn));
    check(hf_txn_put(txn, 0, &key, value, strlen(value)));
    check(hf_txn_commit(txn));
}

int main(void)
{
    char name[64];
    snprintf(name, sizeof name, "/hf-bytes-%d", (int)getpid());
    check(hf_region_open(name, &(hf_region_options){.mode = HF_REGION_CREATE, .reserve = 64 << 20}, &region));
    check(hf_region_unlink(name));
    put("first");
    put("second");

    const uint64_t lock = HF_REGION_LOCK_AT, ring = HF_REGION_RING_AT + 3 * HF_REGION_RECORD_SIZE;
    const struct hf_commit *commit = hf_region_commit(region, 3);
    uint64_t root = commit->seen.trees[0].root;
    const struct hf_node *node = hf_region_at(region, root);
    uint64_t entry = node->slots[0], record = entry & HF_ENTRY_OFFSET;
    const uint64_t code = (uint64_t)hf_heap_code(root == 0 ? 0 : 24);
    const struct hf_queue *queue = &commit->heap.classes[code].ready;
    uint64_t run = (uint64_t)((const struct hf_run *)hf_region_at(region, root & ~UINT64_C(0xfff)))->at;

    show(lock + offsetof(struct hf_lock_area, published), 8, "published: version 3");
    show(lock + offsetof(struct hf_lock_area, slots), 4, "slots: 64");
    show(ring, 8, "record 3: its txid");
    show(ring + 8, 8, "  top");
    show(ring + 16, 8, "  root of tree 0");
    show(ring + 24, 8, "  entries in tree 0");
    show(ring + offsetof(struct hf_record_seen, used), 8, "  bytes in use");
    show(ring + offsetof(struct hf_commit, heap.classes) + code * sizeof(struct hf_class), sizeof(struct hf_class),
         "  class of 24 bytes: bump, ready queue");
    show(ring + offsetof(struct hf_commit, txid_again), 8, "  its txid, again");
    show(run, sizeof(struct hf_run), "run: mark, pages, its offset, 0");
    show(root, 24, "node: head, maps, an entry");
    show(record, hf_record_size(hf_region_at(region, record)), "record: head, hash and sizes, \"one\", \"second\"");
    show(queue->head, sizeof(struct hf_cell) + 16, "cells: next, pad, then a cell");
    check(hf_region_close(region));
    return EXIT_SUCCESS;
}
