/*
 * A region in a file with any bytes of it changed: to open it, to read, check and write it gives an answer or a status,
 * never a crash, and ends.
 *
 * Nearly all that a fuzzer does to a file is found by the first checksum. So an input here is not a file but a list of
 * edits to a good one, after which the checksums are made right again, if the input says so: then what is behind
 * them is tested, the bounds.
 *
 *      input     [ flags | edit | edit | ... ]
 *      edit      [ target: 2 | offset: 2 | how: 1 | value: 8 ]         target: a page at the front, or the n-th block
 *      mend      of each block that the newest root reaches, bottom-up: its checksum, and the links to it. Then manifests,
 *                roots, clean mark, superblock
 *
 * The good file is made once, and is the same each time.
 */
#include "region/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum {
    MEND_BLOCKS = 1, /* flags */
    MEND_ROOTS = 2,  /* manifests too */
    NOT_CLEAN = 4,   /* no clean mark, so that it is recovered */
    READ_ONLY = 8,
    CUT = 16,       /* the file ends early */
    UNCHECKED = 32, /* hf_region_check is not asked first */
    LARGEST = 4 << 20,
    BLOCKS = 4096,
    PAGES = 4, /* in front of the heap */
    EDITS = 64,
    DEPTH = 20,
};

#pragma pack(push, 1)
struct edit {
    uint16_t target, offset;
    uint8_t how;
    uint64_t value;
};
#pragma pack(pop)

static char folder[64], path[80], lock_path[88];
static char *good, *image;
static size_t good_size;
static struct {
    uint64_t at, size;
} blocks[BLOCKS];
static size_t block_count;

/* -- the good file -- */

static uint64_t serial;

static ssize_t same_random(void *buffer, size_t size, unsigned flags)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)(hf_hash_u64(++serial, 0) >> 8);
    return (ssize_t)size;
}

static hf_key key_of(unsigned number, char text[64])
{
    int size = snprintf(text, 64, "key %u%.*s", number, (int)(number % 29), "-----------------------------");

    return (hf_key){hf_hash_u64(number % 16 == 15 ? 15 : number, 1), text, (size_t)size};
}

static int change(hf_txn *txn, unsigned round)
{
    static char value[30000];
    int status = 0;

    for (unsigned i = 0; status >= 0 && i < 30; i++) {
        unsigned number = (round * 37 + i * 11) % 150, tree = (round + i) % 3;
        char text[64];
        hf_key key = key_of(number, text);
        size_t size = i == 3 ? 5000 + round * 1000 : (number * 7 + round) % 120;
        memset(value, (int)(round + i), size);
        status = i % 5 == 4 ? hf_txn_remove(txn, tree, &key) : hf_txn_put(txn, tree, &key, value, size);
    }
    return status < 0 ? status : 0;
}

static void make_good(void)
{
    hf_region_options options = {.mode = HF_REGION_CREATE, .reserve = LARGEST * 4, .timeout = -1};
    hf_region *region;
    hf_txn *txn;

    REQUIRE(hf_region_open_file(path, &options, &region) == 0);
    for (unsigned round = 0; round < 20; round++) {
        char name[16];
        REQUIRE(hf_txn_begin(region, -1, &txn) == 0 && change(txn, round) == 0);
        snprintf(name, sizeof name, "kept %u", round);
        if (round % 6 == 2)
            REQUIRE(hf_txn_keep(txn, name) == 0);
        REQUIRE(hf_txn_commit(txn) == 0);
    }
    REQUIRE(hf_region_close(region) == 0);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    good = malloc(LARGEST);
    image = malloc(LARGEST);
    REQUIRE(good != NULL && image != NULL);
    good_size = fread(good, 1, LARGEST, file);
    REQUIRE(good_size > HF_FILE_HEAP_AT && good_size < LARGEST);
    fclose(file);
}

/* -- mending -- */

static size_t image_size;
static uint64_t budget;

/* The size of the block that is there, or 0: it cannot be one, or is not all in the file. */
static uint64_t size_of_block(uint64_t at)
{
    if (at < HF_FILE_HEAP_AT || at % HF_UNIT != 0 || at + sizeof(struct hf_file_record) > image_size)
        return 0;
    const struct hf_file_table *block = (const void *)(image + at);
    uint64_t size = 0;
    if (hf_head_kind(block->head) == HF_KIND_NODE) {
        const struct hf_file_node *node = (const void *)block;
        size = sizeof *node +
               8 * ((uint64_t)hf_trie_entry_count(node->maps) + (uint64_t)hf_trie_child_count(node->maps));
    } else if (hf_head_kind(block->head) == HF_KIND_RECORD) {
        const struct hf_file_record *record = (const void *)block;
        size = sizeof *record + (uint64_t)record->key_size + record->value_size;
    } else if (hf_head_kind(block->head) == HF_KIND_TABLE) {
        size = block->count > HF_REGION_KEPT_MAX ? 0 : hf_kept_table_size(block->count);
    }
    return size <= image_size - at && hf_units(size) * HF_UNIT <= image_size - at ? size : 0;
}

static void mend_link(uint64_t *link, unsigned depth);

static void mend_trees(struct hf_tree *trees)
{
    for (unsigned i = 0; i < HF_REGION_TREES; i++)
        mend_link(&trees[i].root, 0);
}

/* Makes the block and all below it right, and the link to it. */
static void mend_link(uint64_t *link, unsigned depth)
{
    uint64_t at = hf_link_units(*link) * HF_UNIT, size = size_of_block(at);

    if (*link == 0 || size == 0 || depth > DEPTH || budget == 0)
        return;
    budget--;
    struct hf_file_table *block = (void *)(image + at);
    if (hf_head_kind(block->head) == HF_KIND_NODE) {
        struct hf_file_node *node = (void *)block;
        uint64_t slots = (uint64_t)hf_trie_entry_count(node->maps) + hf_trie_child_count(node->maps);
        for (uint64_t i = 0; i < slots; i++)
            mend_link(&node->slots[i], depth + 1);
    } else if (hf_head_kind(block->head) == HF_KIND_TABLE && depth == 0) {
        struct hf_kept_table *table = (void *)block;
        for (uint64_t i = 0; i < table->count; i++)
            mend_trees(table->kept[i].trees);
    }
    hf_block_seal(block, size, at / HF_UNIT);
    *link = hf_link(at / HF_UNIT, block->mark);
    if (block_count < BLOCKS && image_size == good_size) {
        blocks[block_count].at = at;
        blocks[block_count].size = size;
        block_count++;
    }
}

static void mend_manifest(struct hf_root *root)
{
    for (uint64_t i = 0; i < root->pieces && i < HF_ROOT_PIECES; i++) {
        struct hf_manifest_entry *entry = &root->manifest[i];
        uint64_t units = hf_link_units(entry->piece), size = (entry->piece >> 40) * HF_UNIT;
        if (units * HF_UNIT < image_size && size <= image_size - units * HF_UNIT)
            entry->checksum = hf_checksum64(image + units * HF_UNIT, size, units);
    }
}

/* Older roots first: what both reach is then as the newest wants it. */
static void mend(uint8_t flags)
{
    struct hf_superblock *super = (void *)image;
    struct hf_clean *clean = (void *)(image + HF_FILE_CLEAN_AT);
    struct hf_root *roots[HF_FILE_SLOTS] = {(void *)(image + HF_FILE_ROOT_AT),
                                            (void *)(image + HF_FILE_ROOT_AT + HF_REGION_PAGE)};
    unsigned newest = roots[1]->version.txid > roots[0]->version.txid;

    block_count = 0;
    for (unsigned i = 0; i < HF_FILE_SLOTS; i++) {
        struct hf_root *root = roots[i == 1 ? newest : !newest];
        budget = 50000;
        if (flags & MEND_BLOCKS && root->magic == HF_FILE_ROOT_MAGIC) {
            block_count = 0;
            mend_trees(root->version.trees);
            mend_link(&root->version.kept, 0);
            mend_link(&root->state.space.root, 0);
        }
        if (flags & MEND_ROOTS) {
            mend_manifest(root);
            root->checksum = hf_root_checksum(root);
        }
    }
    if (flags & MEND_ROOTS) {
        super->checksum = hf_super_checksum(super);
        clean->root_checksum = roots[newest]->checksum;
        clean->txid = roots[newest]->version.txid;
        clean->checksum = hf_checksum64(clean, offsetof(struct hf_clean, checksum), HF_FILE_CLEAN_MAGIC);
    }
    if (flags & NOT_CLEAN)
        memset(clean, 0, sizeof *clean);
}

/* -- an input -- */

static void apply(const struct edit *edit)
{
    uint64_t at, size, old = 0;
    static const unsigned widths[] = {1, 2, 4, 8};
    unsigned width = widths[edit->how % 4];

    if (edit->target % 8 < PAGES || block_count == 0) {
        at = edit->target % PAGES * (uint64_t)HF_REGION_PAGE;
        size = HF_REGION_PAGE;
    } else {
        at = blocks[edit->target / 8 % block_count].at;
        size = blocks[edit->target / 8 % block_count].size;
    }
    at += edit->offset % size;
    if (at + width > image_size)
        return;
    memcpy(&old, image + at, width);
    uint64_t value = edit->how / 4 % 4 == 0   ? edit->value
                     : edit->how / 4 % 4 == 1 ? old + edit->value
                     : edit->how / 4 % 4 == 2 ? old ^ edit->value
                                              : UINT64_C(1) << edit->value % 64;
    memcpy(image + at, &value, width);
}

static void read_all(const hf_view *view)
{
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++) {
        hf_region_cursor cursor;
        hf_key key;
        hf_span value;
        uint64_t sum = 0;
        int more = hf_region_cursor_begin(&cursor, view, tree);
        while (more >= 0 && (more = hf_region_cursor_next(&cursor, &key, &value)) > 0)
            sum += hf_hash_bytes(key.bytes, key.size, 0) + hf_hash_bytes(value.bytes, value.size, 0);
        __asm__ volatile("" : : "r"(sum));
        for (unsigned number = 0; number < 150; number += 7) {
            char text[64];
            key = key_of(number, text);
            if (hf_view_get(view, tree, &key, &value) > 0)
                sum += hf_hash_bytes(value.bytes, value.size, 0);
        }
        __asm__ volatile("" : : "r"(sum));
    }
}

static void read_versions(hf_region *region)
{
    hf_view view;
    hf_snapshot *snapshot;

    if (hf_view_pin(region, &view) == 0) {
        read_all(&view);
        hf_view_unpin(&view);
    }
    if (hf_snapshot_begin_kept(region, "kept 8", &snapshot) == 0) {
        read_all(hf_snapshot_view(snapshot));
        hf_snapshot_end(snapshot);
    }
}

static void write_some(hf_region *region)
{
    for (unsigned round = 20; round < 24; round++) {
        hf_txn *txn;
        if (hf_txn_begin(region, 0, &txn) < 0)
            return;
        int status = change(txn, round);
        if (round == 22)
            hf_txn_clear(txn, 1);
        if (round == 21)
            hf_txn_forget(txn, "kept 2");
        if (status < 0 || hf_txn_commit(txn) < 0)
            hf_txn_abort(txn);
    }
}

static void use(uint8_t flags)
{
    hf_region_options options = {.reserve = LARGEST * 4, .timeout = 0, .read_only = (flags & READ_ONLY) != 0};
    hf_region *region;
    hf_region_fault fault;

    if (hf_region_open_file(path, &options, &region) < 0)
        return;
    if (!(flags & UNCHECKED))
        hf_region_check(region, 0, &fault);
    read_versions(region);
    if (!(flags & READ_ONLY)) {
        write_some(region);
        read_versions(region);
        hf_region_check(region, 0, &fault);
    }
    hf_region_stats stats;
    hf_region_stats_get(region, &stats);
    int status = hf_region_close(region);
    REQUIRE(status != HF_BUSY);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(lock_path);
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct hf_os table;

    table = hf_os_native;
    table.getrandom = same_random;
    hf_os_replace(&table);
    snprintf(folder, sizeof folder, "/dev/shm/hf-fuzz-XXXXXX");
    REQUIRE(mkdtemp(folder) != NULL);
    atexit(remove_folder);
    snprintf(path, sizeof path, "%s/region", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    make_good();
    return 0;
}

static void write_image(void)
{
    FILE *file = fopen(path, "wb");

    REQUIRE(file != NULL && fwrite(image, 1, image_size, file) == image_size);
    fclose(file);
    unlink(lock_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct edit edits[EDITS];
    uint8_t flags = size > 0 ? data[0] : 0;
    size_t count = size > 0 ? (size - 1) / sizeof *edits : 0;

    count = count > EDITS ? EDITS : count;
    memcpy(image, good, good_size);
    image_size = good_size;
    mend(MEND_BLOCKS); /* changes nothing, and finds the blocks */
    if (count > 0)
        memcpy(edits, data + 1, count * sizeof *edits);
    for (size_t i = 0; i < count; i++)
        apply(&edits[i]);
    if (flags & CUT && count > 0)
        image_size = HF_FILE_HEAP_AT + edits[0].value % (good_size - HF_FILE_HEAP_AT);
    mend(flags);
    write_image();
    use(flags);
    unlink(path);
    unlink(lock_path);
    return 0;
}
