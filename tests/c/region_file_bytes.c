/*
 * region_file_bytes.c: prints the bytes of a small region in a file, for the second example in docs/format/region.md.
 * tests/python/test_region_format.py compares the two. What is random in a file is not: 0x11, 0x11, ...
 */
#include "region/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned char file[1 << 20];

static void check(int status)
{
    if (status < 0) {
        fprintf(stderr, "region_file_bytes: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
}

static ssize_t no_chance(void *buffer, size_t size, unsigned flags)
{
    memset(buffer, 0x11, size);
    return (ssize_t)size;
}

/* Eight bytes a line. */
static void show(uint64_t at, uint64_t size, const char *what)
{
    for (uint64_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            printf(i == 0 ? "%06" PRIx64 " " : "\n%06" PRIx64 " ", at + i);
        printf(" %02x", file[at + i]);
        if (i == (size < 8 ? size : 8) - 1)
            printf("%*s%s", (int)(size < 8 ? 3 * (8 - size) : 0) + 2, "", what);
    }
    printf("\n");
}

static void put(hf_region *region, const char *value)
{
    const hf_key key = {UINT64_C(0x0123456789abcdef), "one", 3};
    hf_txn *txn;
    check(hf_txn_begin(region, 0, &txn));
    check(hf_txn_put(txn, 0, &key, value, strlen(value)));
    check(hf_txn_commit(txn));
}

/* Makes the file, closes it, reads it. */
static void make(void)
{
    char path[64], lock[80];
    struct hf_os os = hf_os_native;
    hf_region *region;

    os.getrandom = no_chance;
    const struct hf_os *before = hf_os_replace(&os);
    snprintf(path, sizeof path, "/tmp/hf-bytes-%d", (int)getpid());
    snprintf(lock, sizeof lock, "%s-lock", path);
    check(hf_region_open_file(path, &(hf_region_options){.mode = HF_REGION_CREATE, .reserve = 64 << 20}, &region));
    put(region, "first");
    put(region, "second");
    check(hf_region_close(region));
    hf_os_replace(before);
    FILE *made = fopen(path, "rb");
    if (made == NULL || fread(file, 1, sizeof file, made) == 0)
        check(HF_IO);
    fclose(made);
    unlink(path);
    unlink(lock);
}

#define SUPER(member) offsetof(struct hf_superblock, member)
#define ROOT(member) (HF_FILE_ROOT_AT + offsetof(struct hf_root, member))
#define CLEAN(member) (HF_FILE_CLEAN_AT + offsetof(struct hf_clean, member))

static void show_fixed(void)
{
    show(SUPER(magic), 8, "superblock: magic");
    show(SUPER(endian), 8, "  order of bytes");
    show(SUPER(format), 4, "  format");
    show(SUPER(page_size), 4, "  page");
    show(SUPER(id), 16, "  id");
    show(SUPER(seed), 8, "  seed");
    show(SUPER(record_size), 4, "  size of a root's head");
    show(SUPER(heap_at), 8, "  heap");
    show(SUPER(checksum), 8, "  checksum");
    show(CLEAN(magic), 8, "clean mark: magic");
    show(CLEAN(id), 16, "  id");
    show(CLEAN(txid), 8, "  version");
    show(CLEAN(root_checksum), 8, "  checksum of its root");
    show(CLEAN(checksum), 8, "  checksum");
}

static void show_root(const struct hf_root *root)
{
    show(ROOT(magic), 8, "root in slot 0: magic");
    show(ROOT(id), 16, "  id");
    show(ROOT(pieces), 8, "  pieces in the manifest");
    show(ROOT(version.txid), 8, "  version");
    show(ROOT(version.top), 8, "  top");
    show(ROOT(version.trees[0].root), 8, "  root of tree 0: a link");
    show(ROOT(version.trees[0].count), 8, "  entries in tree 0");
    show(ROOT(version.used), 8, "  bytes in use");
    show(ROOT(state.durable), 8, "  durable");
    show(ROOT(state.flushes), 8, "  durable commits so far");
    show(ROOT(state.open_count), 4, "  open pages");
    show(ROOT(state.recent_count), 4, "  cells");
    show(ROOT(state.open[0]), sizeof(struct hf_file_offer), "  an open page, and what is free of it");
    show(ROOT(state.recent[0]), root->state.recent_count * sizeof(struct hf_file_cell), "  the cells");
    show(ROOT(checksum), 8, "  checksum");
    show(ROOT(manifest[0]), root->pieces * sizeof *root->manifest, "  the manifest");
}

int main(void)
{
    make();
    const struct hf_root *root = (const struct hf_root *)(const void *)(file + HF_FILE_ROOT_AT);
    uint64_t at = hf_link_units(root->version.trees[0].root) * HF_UNIT;
    const struct hf_file_node *node = (const struct hf_file_node *)(const void *)(file + at);
    uint64_t record = hf_link_units(node->slots[0]) * HF_UNIT;

    show_fixed();
    show_root(root);
    show(record, 48, "record: head, mark, hash, sizes, \"one\", \"second\"");
    show(at, 32, "node: head, mark, maps, an entry");
    return EXIT_SUCCESS;
}
