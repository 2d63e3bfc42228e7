/*
 * Regions whose bytes are not what they were: readers, writers and the check may find nothing, or say HF_CORRUPT, or
 * give wrong values; they never crash, never hang, and never read outside. (In shared memory there are no checksums: what
 * the check calls sound is compared with what was put, to count what goes unnoticed.)
 *
 * Each damaged segment is used in a child, which a crash or an alarm would kill.
 */
#include "test_region_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { SPACE = 64 << 20, USED_KEYS = 120, BATCH = 25 };

static char *image; /* of the whole segment, sound */
static size_t image_size;
static uint64_t image_top;
static model contents;

/* A region with history: several versions, two snapshots' worth of queues, kept snapshots, large values. */
static void make_image(hash_mode mode)
{
    hf_region *region = region_new(SPACE);
    random_source random = {77};
    hf_snapshot *snapshot = NULL;
    hf_region_stats stats;
    hf_txn *txn;
    the_mode = mode;
    model_clear(&contents);
    for (int i = 0; i < 40; i++) {
        ok(hf_txn_begin(region, 0, &txn));
        for (int j = 0; j < 30; j++) {
            int key = (int)random_below(&random, USED_KEYS), tree = (int)random_below(&random, TREES);
            int value = j == 7 ? 96 : (int)random_below(&random, 90);
            if (random_below(&random, 4) == 0)
                assert_true(both_remove(txn, &contents, tree, key) >= 0);
            else
                assert_true(both_put(txn, &contents, tree, key, value) >= 0);
        }
        if (i == 10)
            ok(hf_txn_keep(txn, "ten"));
        ok(hf_txn_commit(txn));
        if (i == 20)
            ok(hf_snapshot_begin(region, &snapshot));
    }
    hf_snapshot_end(snapshot);
    region_check(region);
    ok(hf_region_stats_get(region, &stats));
    image_top = stats.top;
    image_size = (size_t)stats.top + HF_REGION_PAGE;
    free(image);
    image = malloc(image_size);
    assert_non_null(image);
    memcpy(image, region->base, image_size);
    /* As it is when nobody has it open. */
    memset(image + HF_REGION_SLOTS_AT, 0, HF_REGION_PAGE);
    ok(hf_region_close(region));
}

/* Where the damage is worth doing: the record, the heap; seldom elsewhere. Never the mutex, which is the C library's. */
static size_t somewhere(random_source *random)
{
    const struct hf_lock_area *lock = (const void *)(image + HF_REGION_LOCK_AT);
    uint64_t published = atomic_load(&lock->published);
    switch (random_below(random, 12)) {
    case 0:
        return random_below(random, sizeof(struct hf_superblock));
    case 1:
        return HF_REGION_LOCK_AT + 64 + random_below(random, 128);
    case 2:
    case 3:
    case 4:
        return HF_REGION_RING_AT + published % HF_REGION_RING * HF_REGION_RECORD_SIZE +
               random_below(random, sizeof(struct hf_commit));
    case 5:
        return HF_REGION_RING_AT + random_below(random, HF_REGION_RING * HF_REGION_RECORD_SIZE);
    default:
        return HF_REGION_HEAP_AT + random_next(random) % (image_top - HF_REGION_HEAP_AT);
    }
}

/* Words that are likely to lead somewhere. */
static uint64_t tempting(random_source *random)
{
    uint64_t at = HF_REGION_HEAP_AT + (random_next(random) % (image_top - HF_REGION_HEAP_AT)) / 8 * 8;
    switch (random_below(random, 6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return at;
    case 3:
        return image_top - random_below(random, 64);
    case 4:
        return at | random_next(random) << 48;
    default:
        return random_next(random);
    }
}

static void damage(char *base, random_source *random)
{
    unsigned times = 1 + random_below(random, 20);
    for (unsigned i = 0; i < times; i++) {
        size_t at = somewhere(random);
        uint64_t word = tempting(random);
        switch (random_below(random, 4)) {
        case 0:
            base[at] ^= (char)(1u << random_below(random, 8));
            break;
        case 1:
            base[at] = (char)random_next(random);
            break;
        case 2:
            memcpy(base + at / 8 * 8, &word, sizeof word);
            break;
        default: {
            /* A stretch of zeros, or of something else from the same region. */
            size_t size = 8 * (size_t)random_below(random, 64), from = somewhere(random);
            size_t limit = image_size - (at > from ? at : from);
            size = size < limit ? size : limit;
            if (at < HF_REGION_LOCK_AT + 64 && at + size > HF_REGION_LOCK_AT)
                break;
            if (random_below(random, 2) == 0)
                memset(base + at, 0, size);
            else
                memmove(base + at, base + from, size);
        }
        }
    }
}

static void touch(const hf_span *span, volatile unsigned *sum)
{
    for (size_t i = 0; i < span->size; i++)
        *sum += ((const unsigned char *)span->bytes)[i];
}

static void read_all(const hf_view *view, volatile unsigned *sum)
{
    hf_region_cursor cursor;
    hf_span value;
    hf_key key;
    char text[64];
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++) {
        for (int i = 0; i < USED_KEYS; i++) {
            key = key_of(i, text);
            if (hf_view_get(view, tree, &key, &value) == 1)
                touch(&value, sum);
        }
        if (hf_region_cursor_begin(&cursor, view, tree) < 0)
            continue;
        while (hf_region_cursor_next(&cursor, &key, &value) == 1) {
            touch(&value, sum);
            value = (hf_span){key.bytes, key.size};
            touch(&value, sum);
        }
    }
}

static void write_some(hf_region *region, random_source *random)
{
    static unsigned char bytes[20000];
    char text[64];
    hf_txn *txn;
    unsigned level;
    for (int turn = 0; turn < 6; turn++) {
        if (hf_txn_begin(region, 0, &txn) < 0)
            return;
        for (int i = 0; i < 30; i++) {
            hf_key key = key_of((int)random_below(random, USED_KEYS), text);
            if (random_below(random, 3) == 0)
                hf_txn_remove(txn, i % 2, &key);
            else
                hf_txn_put(txn, i % 2, &key, bytes, i == 3 ? sizeof bytes : random_below(random, 200));
            if (i == 10 && hf_txn_savepoint(txn, &level) == 0 && turn == 2)
                hf_txn_rollback(txn, level);
        }
        if (turn == 3)
            hf_txn_forget(txn, "ten");
        if (turn == 5)
            hf_txn_clear(txn, 0);
        if (hf_txn_commit(txn) < 0)
            hf_txn_abort(txn);
    }
}

/* Uses one damaged region: 0 refused, 1 found by the check, 2 sound, 3 sound and yet wrong. */
static int use(uint64_t seed)
{
    random_source random = {seed};
    volatile unsigned sum = 0;
    char name[64];
    hf_region *region;
    hf_snapshot *snapshot;
    hf_view view;
    int outcome = 0;
    region_name(name);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    shm_unlink(name);
    if (ftruncate(fd, (off_t)image_size) < 0)
        return -1;
    char *base = mmap(NULL, image_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    memcpy(base, image, image_size);
    /* Half of them after it was opened: then the superblock has been believed. */
    bool late = seed % 2 == 0;
    if (!late)
        damage(base, &random);
    hf_region_options options = {.mode = HF_REGION_ATTACH, .reserve = SPACE};
    if (hf_region_open_fd(fd, &options, &region) == 0) {
        if (late)
            damage(base, &random);
        int status = hf_region_check(region, 0, NULL);
        outcome = status < 0 ? 1 : region_is_model(region, &contents) ? 2 : 3;
        if (hf_view_pin(region, &view) == 0) {
            read_all(&view, &sum);
            hf_view_unpin(&view);
        }
        if (hf_snapshot_begin_kept(region, "ten", &snapshot) == 0) {
            read_all(hf_snapshot_view(snapshot), &sum);
            hf_snapshot_end(snapshot);
        }
        write_some(region, &random);
        hf_region_check(region, 0, NULL);
        if (hf_view_pin(region, &view) == 0) {
            read_all(&view, &sum);
            hf_view_unpin(&view);
        }
        hf_region_close(region);
    }
    munmap(base, image_size);
    close(fd);
    return outcome;
}

struct tally {
    int outcomes[4];
};

static void run_batch(uint64_t first, int count, struct tally *tally)
{
    int pipes[2], status, outcome;
    ok(pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]);
        for (int i = 0; i < count; i++) {
            alarm(60);
            outcome = use(first + (uint64_t)i);
            if (outcome < 0 || write(pipes[1], &outcome, sizeof outcome) != sizeof outcome)
                _exit(1);
        }
        _exit(0);
    }
    close(pipes[1]);
    int done = 0;
    while (read(pipes[0], &outcome, sizeof outcome) == sizeof outcome) {
        tally->outcomes[outcome]++;
        done++;
    }
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("seed %llu: status %#x", (unsigned long long)first + (unsigned long long)done, (unsigned)status);
    assert_int_equal(done, count);
}

static void damaged_regions_do_no_harm(void **state)
{
    int count = getenv("TORTURE") != NULL ? 200000 : 300;
    const char *from = getenv("SEED");
    uint64_t first = from != NULL ? strtoull(from, NULL, 10) : 0;
    struct tally tally = {{0}};
    static const hash_mode modes[] = {HASH_MIXED, HASH_GROUPS};
    for (size_t m = 0; m < LENGTH(modes); m++) {
        make_image(modes[m]);
        for (int i = 0; i < count; i += BATCH)
            run_batch(first + (uint64_t)i, from != NULL ? 1 : BATCH, &tally);
    }
    the_mode = HASH_MIXED;
    print_message("%d refused, %d found by the check, %d sound, %d wrong without the check's knowing\n",
                  tally.outcomes[0], tally.outcomes[1], tally.outcomes[2], tally.outcomes[3]);
    assert_true(from != NULL || tally.outcomes[1] > count / 4);
    free(image);
}

/* -- damage by hand, of the kind that random bytes hardly ever are -- */

static struct hf_node *node_at(hf_region *region, uint64_t at)
{
    return hf_region_at(region, at);
}

/* Everything that walks, on a region with this damage done to tree 0: ends, and says that it is damaged. `seen_by_clear`:
 * so does a walk that does not count. */
static void expect_corrupt(hf_region *region, bool seen_by_clear)
{
    hf_region_cursor cursor;
    hf_view view;
    hf_txn *txn;
    hf_key key;
    hf_span value;
    int status;
    ok(hf_view_pin(region, &view));
    status = hf_region_cursor_begin(&cursor, &view, 0);
    while (status >= 0 && (status = hf_region_cursor_next(&cursor, &key, &value)) > 0)
        ;
    assert_int_equal(status, HF_CORRUPT);
    hf_view_unpin(&view);
    assert_int_equal(hf_region_check(region, 0, NULL), HF_CORRUPT);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_txn_clear(txn, 0), seen_by_clear ? HF_CORRUPT : 0);
    ok(hf_txn_abort(txn));
}

static hf_region *small_region(hash_mode mode, uint64_t *root)
{
    hf_region *region = region_new(SPACE);
    hf_txn *txn;
    hf_view view;
    the_mode = mode;
    model_clear(&contents);
    ok(hf_txn_begin(region, 0, &txn));
    for (int key = 0; key < 100; key++)
        assert_int_equal(both_put(txn, &contents, 0, key, key), 1);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    *root = view.version.trees[0].root;
    hf_view_unpin(&view);
    return region;
}

/* The trie is a ring: each of the root's children is the root. */
static void a_ring_of_nodes(void **state)
{
    uint64_t root;
    char text[64];
    hf_region *region = small_region(HASH_MIXED, &root);
    struct hf_node *node = node_at(region, root);
    unsigned entries = hf_trie_entry_count(node->maps), children = hf_trie_child_count(node->maps);
    unsigned lost = 0;
    assert_true(children > 2);
    for (unsigned i = 0; i < children; i++)
        node->slots[entries + i] = root;
    expect_corrupt(region, true);
    hf_view view;
    ok(hf_view_pin(region, &view));
    for (int i = 0; i < 100; i++) {
        hf_key key = key_of(i, text);
        int found = hf_view_get(&view, 0, &key, NULL);
        assert_true(found >= 0 || found == HF_CORRUPT);
        /* Its slot in the root is a child's: a path without an end. */
        if ((node->maps.child_map & hf_trie_slot(key.hash, 0)) != 0)
            lost += found == HF_CORRUPT;
    }
    assert_true(lost > 0);
    hf_view_unpin(&view);
    hf_txn *txn;
    ok(hf_txn_begin(region, 0, &txn));
    for (int i = 0; i < 200; i++) {
        hf_key key = key_of(i, text);
        int put = hf_txn_put(txn, 0, &key, "v", 1), removed = hf_txn_remove(txn, 0, &key);
        assert_true((put >= 0 || put == HF_CORRUPT) && (removed >= 0 || removed == HF_CORRUPT));
    }
    ok(hf_txn_abort(txn));
    ok(hf_region_close(region));
    the_mode = HASH_MIXED;
}

/* A node of keys that have the same hash says that it has more of them than the region is long. */
static void a_collision_node_of_any_length(void **state)
{
    static const uint32_t counts[] = {1u << 30, UINT32_MAX, 1u << 20, 1};
    uint64_t at;
    char text[64];
    hf_region *region = small_region(HASH_CONSTANT, &at);
    for (int depth = 0; depth < HF_TRIE_LEVELS; depth++)
        at = node_at(region, at)->slots[0];
    struct hf_node *node = node_at(region, at);
    assert_int_equal(node->maps.entry_map, 100);
    for (size_t i = 0; i < LENGTH(counts); i++) {
        node->maps = hf_trie_collision_maps(counts[i]);
        expect_corrupt(region, counts[i] > 1);
        hf_view view;
        hf_txn *txn;
        /* Not there, so all of the node is looked at; and of another hash in the bits that an entry has. */
        hf_key key = key_of(200, text);
        ok(hf_view_pin(region, &view));
        int found = hf_view_get(&view, 0, &key, NULL);
        hf_view_unpin(&view);
        ok(hf_txn_begin(region, 0, &txn));
        int put = hf_txn_put(txn, 0, &key, "v", 1);
        ok(hf_txn_abort(txn));
        assert_true(counts[i] == 1 || (found == HF_CORRUPT && put == HF_CORRUPT));
    }
    ok(hf_region_close(region));
    the_mode = HASH_MIXED;
}

/* In a file: a block that says it is of a version to come would be taken for the transaction's own, and changed where
 * it is, which is mapped for reading. All else of it is right. */
static void a_block_of_a_version_to_come(void **state)
{
    static union {
        struct hf_file_node node;
        uint64_t words[HF_REGION_PAGE / 8];
    } copy;
    hf_region *region = region_new(64 << 20), *other;
    hf_txn *txn;
    hf_view view;
    char text[64];
    hf_key key = key_of(1, text);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_txn_put(txn, 0, &key, "one", 3), 1);
    ok(hf_txn_commit(txn));
    struct hf_record_seen *seen = hf_region_seen(region, atomic_load(&region->lock->published));
    uint64_t units = hf_link_units(seen->trees[0].root), size = sizeof copy.node + sizeof(uint64_t);
    memcpy(&copy, hf_unit_at(region, units), size);
    assert_int_equal(hf_trie_entry_count(copy.node.maps), 1);
    copy.node.head = hf_head(HF_KIND_NODE, HF_TXID_MAX - 1, 0);
    hf_block_seal(&copy, size, units);
    assert_int_equal(pwrite(region->fd, &copy, size, (off_t)(units * HF_UNIT)), size);
    seen->trees[0].root = hf_link(units, copy.node.mark);
    other = region_again(region);
    ok(hf_view_pin(other, &view));
    assert_int_equal(hf_view_get(&view, 0, &key, NULL), HF_CORRUPT);
    hf_view_unpin(&view);
    ok(hf_txn_begin(other, 0, &txn));
    assert_int_equal(hf_txn_put(txn, 0, &key, "two", 3), HF_CORRUPT);
    ok(hf_txn_abort(txn));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_nodes),
        cmocka_unit_test(a_collision_node_of_any_length),
        cmocka_unit_test(damaged_regions_do_no_harm),
        in_home(a_block_of_a_version_to_come, HOME_FULL),
    };
    return cmocka_run_group_tests_name("region/hostile", tests, NULL, NULL);
}
