/*
 * test_region_file_edges.c: where a file could lose data, one test for each way that was found by reading.
 */
#include "test_region_support.h"

#include "region/file.h"

#include <fcntl.h>
#include <sys/wait.h>

static char folder[64], path[96], lock_path[112];

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hf-edges-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/region", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hf_fault_disarm();
    unlink(lock_path);
    unlink(path);
    rmdir(folder);
    return 0;
}

static hf_region *open_at(enum hf_region_level level)
{
    hf_region_options options = {.mode = HF_REGION_EITHER, .timeout = -1, .reserve = 64 << 20, .level = level};
    hf_region *region;
    ok(hf_region_open_file(path, &options, &region));
    return region;
}

static int put(hf_txn *txn, int key, int value)
{
    static unsigned char bytes[LONGEST];
    char text[64];
    hf_key name = key_of(key, text);
    value_fill(value, key, bytes);
    return hf_txn_put(txn, 0, &name, bytes, value_size(value));
}

static int put_one(hf_region *region, int key, int value)
{
    hf_txn *txn;
    int status = hf_txn_begin(region, -1, &txn);
    if (status < 0)
        return status;
    status = put(txn, key, value);
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0)
        hf_txn_abort(txn);
    return status < 0 ? status : 0;
}

static bool has(hf_region *region, int key, int value)
{
    char text[64];
    hf_key name = key_of(key, text);
    hf_view view;
    hf_span found;
    ok(hf_view_pin(region, &view));
    int got = hf_view_get(&view, 0, &name, &found);
    bool same = got == 1 && value_is(value, key, &found);
    hf_view_unpin(&view);
    return same;
}

/* The lock file is not believed after a power cut. What was not flushed is there all the same. */
static void forget_lock_file(void)
{
    unlink(lock_path);
}

/* Runs in a child that ends without closing anything. */
#define KILLED(...)                                    \
    do {                                               \
        pid_t child = fork();                          \
        assert_true(child >= 0);                       \
        if (child == 0) {                              \
            __VA_ARGS__;                               \
            _exit(0);                                  \
        }                                              \
        int how;                                       \
        assert_int_equal(waitpid(child, &how, 0), child); \
        assert_int_equal(how, 0);                      \
    } while (0)

static const struct hf_root *durable_root(const hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    const struct hf_file_commit *record = (const void *)hf_region_seen(region, published);
    return (const void *)(region->base + HF_FILE_ROOT_AT + (record->state.flushes - 1) % HF_FILE_SLOTS * HF_REGION_PAGE);
}

/* -- the manifest -- */

static bool in_manifest(const hf_region *region, const struct hf_root *root, uint64_t units)
{
    const struct hf_manifest_entry *more = hf_unit_at(region, root->state.manifest);
    for (uint64_t i = 0; i < root->pieces; i++) {
        uint64_t piece = i < HF_ROOT_PIECES ? root->manifest[i].piece : more[i - HF_ROOT_PIECES].piece;
        if (units >= hf_link_units(piece) && units < hf_link_units(piece) + (piece >> 40))
            return true;
    }
    return false;
}

static uint64_t count_missing(const hf_region *region, const struct hf_root *root, uint64_t link, uint64_t durable)
{
    const struct hf_file_node *node = hf_unit_at(region, hf_link_units(link));
    uint64_t entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps), missing = 0;
    if (hf_head_txid(node->head) <= durable)
        return 0;
    missing += !in_manifest(region, root, hf_link_units(link));
    for (uint64_t i = 0; i < entries; i++) {
        const struct hf_file_record *record = hf_unit_at(region, hf_link_units(node->slots[i]));
        missing += hf_head_txid(record->head) > durable && !in_manifest(region, root, hf_link_units(node->slots[i]));
    }
    for (uint64_t i = entries; i < entries + children; i++)
        missing += count_missing(region, root, node->slots[i], durable);
    return missing;
}

/* Places that were written, freed and written again between two flushes are several times in the log, in pieces that
 * overlap. All that is live of them is in the manifest all the same. */
static void test_manifest_of_pieces_written_twice(void **state)
{
    (void)state;
    random_source random = {5};
    hf_region *region = open_at(HF_REGION_OFF);
    for (int round = 0; round < 6; round++) {
        uint64_t durable = durable_root(region)->version.txid;
        for (int i = 0; i < 300; i++) {
            hf_txn *txn;
            ok(hf_txn_begin(region, -1, &txn));
            for (int j = 0; j < 20; j++)
                assert_true(put(txn, (int)random_below(&random, KEYS), (int)random_below(&random, 90)) >= 0);
            ok(hf_txn_commit(txn));
        }
        ok(hf_region_flush(region, -1));
        const struct hf_root *root = durable_root(region);
        assert_true(root->version.txid > durable);
        assert_int_equal(count_missing(region, root, root->version.trees[0].root, durable), 0);
        assert_int_equal(count_missing(region, root, root->state.space.root, durable), 0);
    }
    region_check(region);
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_manifest_of_pieces_written_twice, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
