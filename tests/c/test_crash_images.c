/*
 * Crash images and expectations of tests/crash: that every image is one that a power cut may leave, and that none is
 * missing where there are few.
 */
#include "cm.h"

#include "crash.h"

/* -- traces by hand -- */

static struct hf_trace trace;
static struct hf_state *empty;
static struct hf_expect nothing;

static int begin(void **state)
{
    empty = hf_state_new();
    hf_expect_init(&nothing);
    return 0;
}

static int end(void **state)
{
    hf_state_free(empty);
    hf_expect_clear(&nothing);
    hf_trace_clear(&trace);
    return 0;
}

static void add_file(uint32_t inode)
{
    hf_trace_add(&trace, &(struct hf_op){.kind = HF_OP_INODE, .inode = inode, .mode = 0600});
}

static void add_name(const char *name, uint32_t inode)
{
    struct hf_name_change *change = hf_lab_zeroed(sizeof(*change));

    change->count = 1;
    change->set[0] = (struct hf_name){.dir = HF_ROOT_INODE, .inode = inode};
    strcpy(change->set[0].name, name);
    hf_trace_add(&trace, &(struct hf_op){.kind = HF_OP_NAMES, .names = change});
}

static void add_write(uint32_t inode, uint64_t at, const void *bytes, size_t size)
{
    hf_trace_add(
        &trace,
        &(struct hf_op){
            .kind = HF_OP_WRITE, .inode = inode, .at = at, .size = size, .bytes = hf_lab_copied(bytes, size)});
}

static void add_fill(uint32_t inode, uint64_t at, char byte, size_t size)
{
    char bytes[16384];

    assert_true(size <= sizeof(bytes));
    memset(bytes, byte, size);
    add_write(inode, at, bytes, size);
}

static void add_sync(uint32_t inode)
{
    hf_trace_add(&trace, &(struct hf_op){.kind = HF_OP_SYNC, .inode = inode});
}

static void add_mark(int mark, uint64_t digest)
{
    hf_trace_add(&trace, &(struct hf_op){.kind = HF_OP_MARK, .mark = mark, .digest = digest});
}

/* File 2, called "a": `size` bytes 'o', all of it durable. */
static void add_durable_file(size_t size)
{
    add_file(2);
    add_name("a", 2);
    add_sync(HF_ROOT_INODE);
    add_fill(2, 0, 'o', size);
    add_sync(2);
}

static const struct hf_file *only_file(const struct hf_state *image)
{
    const uint32_t inode = hf_names_find(&image->now, HF_ROOT_INODE, "a");

    return inode == HF_NO_INODE ? NULL : &image->files[inode];
}

static uint8_t byte_of(const struct hf_file *file, uint64_t at)
{
    const struct hf_block *block = file->durable[at / HF_BLOCK];

    return block == NULL ? 0 : block->bytes[at % HF_BLOCK];
}

static const struct hf_crash_options plain = {.exhaustive_bits = 12, .random = 8};

/* -- few choices: all of them -- */

/* Images after the last operation, each as a number of one digit a sector: how many times each came. */
static void count_patterns(const struct hf_crash_options *options, const uint64_t *sector, size_t sectors,
                           unsigned *seen, size_t patterns)
{
    struct hf_crash *crash = hf_crash_new(empty, &trace, &nothing, options, 1);

    memset(seen, 0, patterns * sizeof(*seen));
    while (hf_crash_next(crash)) {
        if (hf_crash_point(crash) != trace.count)
            continue;

        struct hf_state *image = hf_crash_image(crash);
        const struct hf_file *file = only_file(image);
        size_t pattern = 0;

        for (size_t i = 0; i < sectors; i++) {
            const uint8_t byte = byte_of(file, sector[i] * HF_SECTOR);

            assert_true(byte == 'o' || (byte >= '1' && byte <= '9'));
            pattern = pattern * (patterns == 9 ? 3 : 2) + (byte == 'o' ? 0 : (size_t)(byte - '0'));
        }
        assert_true(pattern < patterns);
        seen[pattern]++;
        hf_state_free(image);
    }
    hf_crash_free(crash);
}

static void every_subset_of_few_sectors_comes_once(void **state)
{
    const uint64_t sectors[] = {1, 5, 9};
    unsigned seen[8];

    add_durable_file(8192);
    for (size_t i = 0; i < LENGTH(sectors); i++)
        add_fill(2, sectors[i] * HF_SECTOR, '1', HF_SECTOR);
    add_mark(HF_MARK_DURABLE, 0);
    count_patterns(&plain, sectors, LENGTH(sectors), seen, LENGTH(seen));
    for (size_t i = 0; i < LENGTH(seen); i++)
        assert_int_equal(seen[i], 1);
}

static void what_was_seen_at_the_last_point_does_not_come_again(void **state)
{
    const uint64_t sectors[] = {1, 5, 9};
    unsigned seen[8];

    add_durable_file(8192);
    for (size_t i = 0; i < LENGTH(sectors); i++)
        add_fill(2, sectors[i] * HF_SECTOR, '1', HF_SECTOR);
    count_patterns(&plain, sectors, LENGTH(sectors), seen, LENGTH(seen));
    for (size_t i = 0; i < LENGTH(seen); i++)
        assert_int_equal(seen[i], i % 2); /* the last write is in each */
}

static void a_sector_comes_in_each_of_its_versions(void **state)
{
    const uint64_t sectors[] = {0, 1};
    unsigned seen[9];

    add_durable_file(4096);
    add_fill(2, 0, '1', HF_SECTOR);
    add_fill(2, 0, '2', 2 * HF_SECTOR);
    add_fill(2, HF_SECTOR, '1', HF_SECTOR);
    add_mark(HF_MARK_DURABLE, 0);
    count_patterns(&plain, sectors, LENGTH(sectors), seen, LENGTH(seen));
    for (size_t i = 0; i < LENGTH(seen); i++)
        assert_int_equal(seen[i], 1);
}

static void twelve_sectors_come_in_every_subset_and_more_at_random(void **state)
{
    uint64_t sectors[13];
    static unsigned seen[8192];
    unsigned distinct = 0;

    add_durable_file(16384);
    for (size_t i = 0; i < 12; i++) {
        sectors[i] = 2 * i;
        add_fill(2, sectors[i] * HF_SECTOR, '1', HF_SECTOR);
    }
    add_mark(HF_MARK_DURABLE, 0);
    count_patterns(&plain, sectors, 12, seen, 4096);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(seen[i], 1);

    sectors[12] = 31;
    for (size_t i = 12; i < 16; i++)
        add_fill(2, (2 * i - 7) * HF_SECTOR, '1', HF_SECTOR);
    sectors[12] = 17;
    add_mark(HF_MARK_DURABLE, 0);
    count_patterns(&(struct hf_crash_options){.exhaustive_bits = 12, .random = 200}, sectors, 13, seen, 8192);
    for (size_t i = 0; i < 8192; i++)
        distinct += seen[i] > 0;
    assert_in_range(distinct, 60, 200);
}

/* -- sizes, names, garbage -- */

static void a_file_comes_in_each_of_its_sizes(void **state)
{
    unsigned seen[4] = {0};
    struct hf_crash *crash;

    add_durable_file(1024);
    add_fill(2, 1024, 'n', 512);
    add_fill(2, 1536, 'n', 512);
    add_mark(HF_MARK_DURABLE, 0);
    crash = hf_crash_new(empty, &trace, &nothing, &plain, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);
        const struct hf_file *file = only_file(image);

        if (hf_crash_point(crash) == trace.count) {
            assert_true(file->size == 1024 || file->size == 1536 || file->size == 2048);
            seen[file->size / 512 - 2]++;
            /* What the size does not cover is not there. */
            assert_true(file->size > 1024 || byte_of(file, 1024) == 0);
        }
        hf_state_free(image);
    }
    hf_crash_free(crash);
    assert_true(seen[0] == 4 && seen[1] == 4 && seen[2] == 4);
}

static void names_come_and_go_by_themselves(void **state)
{
    unsigned seen[4] = {0};
    struct hf_crash *crash;

    add_durable_file(512);
    add_file(3);
    add_sync(3);
    add_name("b", 3);
    add_name("a", HF_NO_INODE);
    add_mark(HF_MARK_DURABLE, 0);
    crash = hf_crash_new(empty, &trace, &nothing, &plain, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);

        if (hf_crash_point(crash) == trace.count)
            seen[2 * (hf_names_find(&image->now, HF_ROOT_INODE, "a") == 2) +
                 (hf_names_find(&image->now, HF_ROOT_INODE, "b") == 3)]++;
        hf_state_free(image);
    }
    hf_crash_free(crash);
    for (size_t i = 0; i < LENGTH(seen); i++)
        assert_int_equal(seen[i], 1);
}

static void changes_of_one_name_keep_their_order(void **state)
{
    unsigned seen[5] = {0};
    struct hf_crash *crash;

    add_durable_file(512);
    add_file(3);
    add_file(4);
    add_name("b", 3);
    add_name("b", 4);
    add_mark(HF_MARK_DURABLE, 0);
    crash = hf_crash_new(empty, &trace, &nothing, &plain, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);

        if (hf_crash_point(crash) == trace.count)
            seen[hf_names_find(&image->now, HF_ROOT_INODE, "b")]++;
        hf_state_free(image);
    }
    hf_crash_free(crash);
    /* Both kept is as the later one alone. */
    assert_true(seen[HF_NO_INODE] == 1 && seen[3] == 1 && seen[4] == 2);
}

static void only_blocks_of_which_nothing_was_durable_are_garbled(void **state)
{
    const struct hf_crash_options options = {.exhaustive_bits = 12, .random = 64, .garble = true};
    unsigned garbled = 0;
    struct hf_crash *crash;

    add_durable_file(100); /* all of block 0 is safe */
    add_fill(2, 1024, '1', 512);
    add_fill(2, 4096, '1', 4096);
    add_mark(HF_MARK_DURABLE, 0);
    crash = hf_crash_new(empty, &trace, &nothing, &options, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);
        const struct hf_file *file = only_file(image);

        for (uint64_t at = 0; hf_crash_point(crash) == trace.count && at < file->size; at++) {
            const uint8_t byte = byte_of(file, at);

            if (at < 100)
                assert_int_equal(byte, 'o');
            else if (at < 4096)
                assert_true(byte == 0 || (byte == '1' && at >= 1024 && at < 1536));
            else if (byte != 0 && byte != '1') {
                garbled++;
                break;
            }
        }
        hf_state_free(image);
    }
    hf_crash_free(crash);
    assert_in_range(garbled, 2, 4);
}

static void tails_are_behind_sizes_that_are_open(void **state)
{
    const struct hf_crash_options options = {.exhaustive_bits = 12, .tails = true};
    unsigned longer = 0;
    struct hf_crash *crash;

    add_durable_file(1000);
    add_fill(2, 0, '1', 10);
    add_mark(HF_MARK_DURABLE, 0); /* the size is not open here */
    add_fill(2, 1000, '1', 500);
    crash = hf_crash_new(empty, &trace, &nothing, &options, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);
        const struct hf_file *file = only_file(image);

        if (file != NULL && file->size > 1500)
            longer++;
        if (hf_crash_point(crash) == trace.count - 1)
            assert_int_equal(file->size, 1000);
        hf_state_free(image);
    }
    hf_crash_free(crash);
    assert_true(longer > 0);
}

static void a_killed_process_loses_nothing_and_flushes_nothing(void **state)
{
    const struct hf_crash_options options = {.exhaustive_bits = 12, .kills = true};
    unsigned kills = 0;
    struct hf_crash *crash;

    add_durable_file(1024);
    add_fill(2, 0, '1', 512);
    crash = hf_crash_new(empty, &trace, &nothing, &options, 1);
    while (hf_crash_next(crash)) {
        struct hf_state *image = hf_crash_image(crash);

        if (hf_crash_is_kill(crash) && hf_crash_point(crash) == trace.count) {
            const struct hf_file *file = &image->files[2];

            kills++;
            assert_int_equal(file->now[0]->bytes[0], '1');
            assert_int_equal(byte_of(file, 0), 'o');
            assert_true(hf_state_unsynced(image));
        } else if (!hf_crash_is_kill(crash)) {
            assert_false(hf_state_unsynced(image));
        }
        hf_state_free(image);
    }
    hf_crash_free(crash);
    assert_int_equal(kills, 1);
}

/* -- random traces: no image that cannot be -- */

enum { LARGEST = 4 * HF_BLOCK, SECTORS = LARGEST / HF_SECTOR, MOST = 128 };

/* By arrays, and without forgetting any version. */
static struct oracle {
    uint8_t now[LARGEST], durable[LARGEST];
    uint8_t version[SECTORS][MOST][HF_SECTOR];
    unsigned versions[SECTORS];
    bool safe[LARGEST / HF_BLOCK], written[LARGEST / HF_BLOCK];
    uint64_t size, sizes[MOST];
    unsigned size_count;
} oracle;

static void oracle_note(uint64_t at, uint64_t size)
{
    for (uint64_t s = at / HF_SECTOR; s <= (at + size - 1) / HF_SECTOR; s++) {
        assert_true(oracle.versions[s] < MOST);
        memcpy(oracle.version[s][oracle.versions[s]++], oracle.now + s * HF_SECTOR, HF_SECTOR);
    }
}

static void oracle_apply(const struct hf_op *op)
{
    uint64_t size = oracle.size;

    if (op->kind == HF_OP_WRITE) {
        memcpy(oracle.now + op->at, op->bytes, (size_t)op->size);
        oracle_note(op->at, op->size);
        for (uint64_t b = op->at / HF_BLOCK; b <= (op->at + op->size - 1) / HF_BLOCK; b++)
            oracle.written[b] = true;
        size = op->at + op->size > size ? op->at + op->size : size;
    } else if (op->kind == HF_OP_SIZE) {
        if (op->size < size) {
            memset(oracle.now + op->size, 0, (size_t)(size - op->size));
            oracle_note(op->size, size - op->size);
            for (uint64_t b = (op->size + HF_BLOCK - 1) / HF_BLOCK; b < LARGEST / HF_BLOCK; b++)
                oracle.safe[b] = false;
        }
        size = op->size;
    } else if (op->kind == HF_OP_SYNC && op->inode == 2) {
        memcpy(oracle.durable, oracle.now, LARGEST);
        memset(oracle.versions, 0, sizeof(oracle.versions));
        for (uint64_t b = 0; b < LARGEST / HF_BLOCK; b++) {
            oracle.safe[b] |= oracle.written[b];
            oracle.written[b] = false;
        }
        oracle.size_count = 0;
        oracle.sizes[oracle.size_count++] = size;
    }
    if (size != oracle.size)
        oracle.sizes[oracle.size_count++] = size;
    oracle.size = size;
}

static bool sector_may_be(uint64_t s, const uint8_t *bytes, size_t size)
{
    const uint64_t b = s / HF_SECTORS_A_BLOCK;

    if (!oracle.safe[b] && oracle.written[b])
        return true; /* it may be garbled */
    if (memcmp(bytes, oracle.durable + s * HF_SECTOR, size) == 0)
        return true;
    for (unsigned v = 0; v < oracle.versions[s]; v++)
        if (memcmp(bytes, oracle.version[s][v], size) == 0)
            return true;
    return false;
}

static void expect_possible(const struct hf_state *image)
{
    const struct hf_file *file = only_file(image);
    bool size_may_be = false;

    assert_non_null(file);
    for (unsigned i = 0; i < oracle.size_count; i++)
        size_may_be |= oracle.sizes[i] == file->size;
    assert_true(size_may_be);
    for (uint64_t s = 0; s * HF_SECTOR < file->size; s++) {
        const uint64_t left = file->size - s * HF_SECTOR;
        uint8_t bytes[HF_SECTOR];

        for (size_t i = 0; i < HF_SECTOR; i++)
            bytes[i] = byte_of(file, s * HF_SECTOR + i);
        assert_true(sector_may_be(s, bytes, left < HF_SECTOR ? (size_t)left : HF_SECTOR));
    }
}

static void random_trace(struct hf_random *random)
{
    add_durable_file(HF_BLOCK);
    for (unsigned i = 0; i < 40; i++) {
        const uint64_t at = hf_random_below(random, LARGEST);
        const uint64_t most = hf_random_chance(random, 3, 4) ? 600 : LARGEST;
        const uint64_t left = LARGEST - at, size = 1 + hf_random_below(random, most < left ? most : left);
        uint8_t bytes[LARGEST];

        switch (hf_random_below(random, 6)) {
        case 0:
            add_sync(2);
            break;
        case 1:
            if (hf_random_chance(random, 1, 3)) {
                hf_trace_add(&trace, &(struct hf_op){.kind = HF_OP_SIZE, .inode = 2, .size = at});
                break;
            }
            add_mark(HF_MARK_DURABLE, 0);
            break;
        default:
            hf_random_fill(random, bytes, (size_t)size);
            add_write(2, at, bytes, (size_t)size);
            break;
        }
    }
}

static void images_of_random_traces_are_possible(void **state)
{
    const struct hf_crash_options options = {.exhaustive_bits = 6, .random = 20, .garble = true};
    struct hf_random random = {9};
    uint64_t images = 0;

    for (int round = 0; round < 20; round++) {
        struct hf_crash *crash;
        size_t at = 0;

        hf_trace_clear(&trace);
        random_trace(&random);
        memset(&oracle, 0, sizeof(oracle));
        crash = hf_crash_new(empty, &trace, &nothing, &options, (uint64_t)round);
        while (hf_crash_next(crash)) {
            while (at < hf_crash_point(crash))
                oracle_apply(&trace.op[at++]);
            if (at < 5)
                continue; /* the file is just being made */

            struct hf_state *image = hf_crash_image(crash);

            expect_possible(image);
            hf_state_free(image);
            images++;
        }
        hf_crash_free(crash);
    }
    assert_true(images > 5000);
}

static uint64_t image_digest(const struct hf_state *image)
{
    const struct hf_file *file = only_file(image);
    uint64_t digest = file != NULL ? file->size : 1;

    for (uint64_t at = 0; file != NULL && at < file->size; at++)
        digest = (digest ^ byte_of(file, at)) * 0x100000001b3u;
    return digest;
}

/* Whether those before were built or not. */
static void an_image_is_known_by_its_number(void **state)
{
    const struct hf_crash_options options = {
        .exhaustive_bits = 4, .random = 20, .garble = true, .tails = true, .kills = true};
    struct hf_random random = {10};
    static uint64_t digests[100000];

    random_trace(&random);
    for (int pass = 0; pass < 2; pass++) {
        struct hf_crash *crash = hf_crash_new(empty, &trace, &nothing, &options, 5);

        while (hf_crash_next(crash)) {
            const uint64_t number = hf_crash_number(crash);

            assert_true(number < LENGTH(digests));
            if (pass == 1 && number % 3 != 0)
                continue;

            struct hf_state *image = hf_crash_image(crash);

            if (pass == 0)
                digests[number] = image_digest(image);
            else
                assert_int_equal(digests[number], image_digest(image));
            hf_state_free(image);
        }
        hf_crash_free(crash);
    }
}

/* -- expectations -- */

static bool allows(const struct hf_expect *expect, bool power, uint64_t digest)
{
    struct hf_expect after;
    bool answer;

    hf_expect_copy(&after, expect);
    hf_expect_crash(&after, power);
    answer = hf_expect_allows(&after, digest);
    hf_expect_clear(&after);
    return answer;
}

static void expectations_follow_the_marks(void **state)
{
    struct hf_expect expect;

    hf_expect_init(&expect);
    assert_true(allows(&expect, true, HF_NOTHING));
    hf_expect_mark(&expect, HF_MARK_BEGIN, 1);
    assert_true(allows(&expect, true, HF_NOTHING) && allows(&expect, true, 1) && !allows(&expect, true, 2));
    hf_expect_mark(&expect, HF_MARK_DURABLE, 0);
    assert_true(!allows(&expect, true, HF_NOTHING) && allows(&expect, true, 1));
    hf_expect_mark(&expect, HF_MARK_BEGIN, 2);
    hf_expect_mark(&expect, HF_MARK_DONE, 0);
    assert_true(allows(&expect, true, 1) && allows(&expect, true, 2)); /* done, not durable */
    assert_true(!allows(&expect, false, 1) && allows(&expect, false, 2));
    hf_expect_mark(&expect, HF_MARK_BEGIN, 3);
    hf_expect_mark(&expect, HF_MARK_FAILED, 0);
    assert_false(allows(&expect, false, 3));
    hf_expect_mark(&expect, HF_MARK_FAILED, 0); /* what is done does not fail */
    assert_true(allows(&expect, false, 2));
    hf_expect_clear(&expect);
}

static void what_recovery_has_shown_binds(void **state)
{
    struct hf_expect expect;

    hf_expect_init(&expect);
    for (uint64_t digest = 1; digest <= 4; digest++) {
        hf_expect_mark(&expect, HF_MARK_BEGIN, digest);
        if (digest == 1)
            hf_expect_mark(&expect, HF_MARK_DURABLE, 0);
    }
    /* After a kill, it shows 3: a power cut may still take it away, but 4 may never come up. */
    hf_expect_crash(&expect, false);
    assert_true(hf_expect_allows(&expect, 1) && hf_expect_allows(&expect, 4));
    hf_expect_mark(&expect, HF_MARK_RECOVERED, 3);
    assert_true(allows(&expect, true, 1) && allows(&expect, true, 3) && !allows(&expect, true, 4));
    assert_false(allows(&expect, false, 2));
    /* After a power cut, it shows 2: all is on the disk, so it stays. */
    hf_expect_crash(&expect, true);
    hf_expect_mark(&expect, HF_MARK_RECOVERED, 2);
    assert_true(!allows(&expect, true, 1) && allows(&expect, true, 2) && !allows(&expect, true, 3));
    hf_expect_clear(&expect);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_subset_of_few_sectors_comes_once), TEST(what_was_seen_at_the_last_point_does_not_come_again),
        TEST(a_sector_comes_in_each_of_its_versions), TEST(twelve_sectors_come_in_every_subset_and_more_at_random),
        TEST(a_file_comes_in_each_of_its_sizes),      TEST(names_come_and_go_by_themselves),
        TEST(changes_of_one_name_keep_their_order),   TEST(only_blocks_of_which_nothing_was_durable_are_garbled),
        TEST(tails_are_behind_sizes_that_are_open),   TEST(a_killed_process_loses_nothing_and_flushes_nothing),
        TEST(images_of_random_traces_are_possible),   TEST(an_image_is_known_by_its_number),
        TEST(expectations_follow_the_marks),          TEST(what_recovery_has_shown_binds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
