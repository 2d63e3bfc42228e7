/*
 * test_region_golden.c: region files that earlier programs have made (tests/c/golden, by region_golden.c) are opened
 * and have what they had; so have files that are made now. And what is not for this program to open is refused.
 *
 *      golden/KIND.golden --- restore ---> folder/file ---> changed, perhaps ---> opened
 *
 * The files are little-endian: elsewhere only those made now are looked at.
 */
#include "region_golden.h"

#include "cm.h"

static char folder[64], path[128], lock_path[140];

#define ok(status) assert_int_equal((status), 0)

static bool little_endian(void)
{
    return *(const unsigned char *)&(const uint16_t){1} == 1;
}

static int a_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/hf-golden-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    return 0;
}

static int no_folder(void **state)
{
    unlink(path);
    unlink(lock_path);
    return rmdir(folder);
}

static const struct golden_kind *kind_of(const char *name)
{
    for (int i = 0; i < GOLDEN_KINDS; i++)
        if (strcmp(golden_kinds[i].name, name) == 0)
            return &golden_kinds[i];
    fail_msg("no golden file is called %s", name);
    return NULL;
}

/* What a kind should have: what the program gets when it makes one now. And that file's bytes. */
static unsigned char *make_now(const char *name, struct golden *out)
{
    return golden_make(kind_of(name), path, out);
}

static unsigned char *stored(const char *name)
{
    char golden[512];

    snprintf(golden, sizeof golden, "%s/%s.golden", HF_TEST_GOLDEN, name);
    return golden_restore(golden);
}

/* A file of these bytes, which nobody has open. */
static void put_file(const unsigned char *bytes)
{
    unlink(lock_path);
    unlink(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, GOLDEN_SIZE, file), GOLDEN_SIZE);
    assert_int_equal(fclose(file), 0);
}

/* Commits need not be durable for what is tried here. */
static int open_file(bool read_only, hf_region **out)
{
    const hf_region_options options = {.mode = HF_REGION_ATTACH, .read_only = read_only, .level = HF_REGION_OFF};
    return hf_region_open_file(path, &options, out);
}

static int open_status(const unsigned char *bytes)
{
    hf_region *region = NULL;

    put_file(bytes);
    int status = open_file(false, &region);
    if (status == 0)
        ok(hf_region_close(region));
    return status;
}

/* -- contents -- */

static void view_has(const hf_view *view, const struct golden_model *model)
{
    static unsigned char bytes[GOLDEN_VALUE_MOST];
    char text[160];

    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++) {
        uint64_t count = 0;
        for (unsigned key = 0; key < GOLDEN_KEYS; key++) {
            uint32_t value = model->value[tree][key];
            hf_key name = golden_key(tree, key, text);
            uint64_t place = 0;
            hf_span found;
            count += value != 0;
            if (golden_has_places(tree)) {
                int there = hf_view_find_place(view, tree, name.hash, golden_match, &key, &place);
                assert_int_equal(there, value != 0);
                assert_int_equal(place, value != 0 ? golden_place(key, value) : 0);
                continue;
            }
            assert_int_equal(hf_view_get(view, tree, &name, &found), value != 0);
            if (value == 0)
                continue;
            golden_fill(value, bytes);
            assert_int_equal(found.size, golden_size(value));
            assert_memory_equal(found.bytes, bytes, found.size);
        }
        assert_int_equal(hf_view_count(view, tree), count);
    }
}

static void region_has(hf_region *region, const struct golden_model *model)
{
    hf_view view;

    ok(hf_view_pin(region, &view));
    view_has(&view, model);
    hf_view_unpin(&view);
}

static void snapshot_has(hf_region *region, const char *name, const struct golden_model *model)
{
    hf_snapshot *snapshot;

    ok(hf_snapshot_begin_kept(region, name, &snapshot));
    view_has(hf_snapshot_view(snapshot), model);
    hf_snapshot_end(snapshot);
}

static void region_is_whole(hf_region *region)
{
    hf_region_fault fault = {0};
    int status = hf_region_check(region, -1, &fault);

    if (status < 0)
        fail_msg("%s: %s at %#llx", hf_status_name(status), fault.what, (unsigned long long)fault.at);
}

/* Everything that a kind has: for a reader, then for a writer, who goes on with it; and is it there once more? */
static void file_has(const char *name, const unsigned char *bytes, const struct golden *golden)
{
    struct golden_model model = golden->now;
    hf_region_stats stats;
    hf_region *region;
    bool rich = kind_of(name)->make == golden_make_rich, space = strcmp(name, "space") == 0,
         closed = kind_of(name)->closed;

    put_file(bytes);
    ok(open_file(true, &region));
    region_has(region, &golden->now);
    ok(hf_region_close(region));
    assert_int_equal(access(lock_path, F_OK), -1);
    unsigned char *after = golden_read(path);
    assert_memory_equal(after, bytes, GOLDEN_SIZE);
    free(after);

    ok(open_file(false, &region));
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.recovered, !closed);
    assert_false(stats.stepped_back);
    assert_int_equal(stats.txid, stats.durable);
    assert_int_equal(stats.txid % (1 << HF_FILE_STEP_BITS) == 0, !closed);
    assert_int_equal(stats.kept, rich ? 2 : space ? 1 : 0);
    assert_int_equal(hf_region_place_trees(region), kind_of(name)->place_trees);
    region_has(region, &golden->now);
    region_is_whole(region);
    if (rich || space)
        snapshot_has(region, "first", &golden->first);
    if (rich)
        snapshot_has(region, "third", &golden->third);
    for (uint32_t step = 1000; step < 1300; step++)
        golden_step(region, &model, step);
    region_has(region, &model);
    region_is_whole(region);
    ok(hf_region_close(region));

    ok(open_file(false, &region));
    ok(hf_region_stats_get(region, &stats));
    assert_false(stats.recovered);
    region_has(region, &model);
    if (rich || space)
        snapshot_has(region, "first", &golden->first);
    region_is_whole(region);
    ok(hf_region_close(region));
}

static void check_kind(const char *name)
{
    static struct golden golden;
    unsigned char *now = make_now(name, &golden);

    file_has(name, now, &golden);
    free(now);
    if (!little_endian())
        return;
    unsigned char *then = stored(name);
    file_has(name, then, &golden);
    free(then);
}

static void test_closed(void **state)
{
    check_kind("clean");
}

static void test_not_closed(void **state)
{
    check_kind("open");
}

static void test_with_commits_that_were_not_durable(void **state)
{
    check_kind("volatile");
}

static void test_rich(void **state)
{
    check_kind("rich");
}

static void test_places(void **state)
{
    check_kind("places");
}

static void test_free_space(void **state)
{
    check_kind("space");
}

static bool has_value(const struct golden_model *model, uint32_t value)
{
    for (unsigned tree = 0; tree < HF_REGION_TREES; tree++)
        for (unsigned key = 0; key < GOLDEN_KEYS; key++)
            if (model->value[tree][key] == value)
                return true;
    return false;
}

/* The files are worth something only if they have what they are for. */
static void test_what_they_have(void **state)
{
    static struct golden golden;
    const struct hf_file_commit *commit;
    hf_region *region;

    if (!little_endian())
        skip();
    free(make_now("rich", &golden));
    assert_true(has_value(&golden.first, 1001) && has_value(&golden.first, 1002));
    assert_true(has_value(&golden.third, 1001) && !has_value(&golden.third, 1002));
    unsigned char *bytes = stored("space");
    put_file(bytes);
    ok(open_file(false, &region));
    commit =
        (const struct hf_file_commit *)(const void *)hf_region_seen(region, atomic_load(&region->lock->published));
    assert_true(commit->state.space.root != 0 && commit->state.recent_count > 0 && commit->state.open_count > 0);
    assert_true(commit->state.queues[HF_QUEUE_WAITING].tail > commit->state.queues[HF_QUEUE_WAITING].head);
    assert_true(commit->seen.parked > 0 && commit->state.offers[1] > 0 && commit->state.runs.sum.most > 0);
    ok(hf_region_close(region));
    free(bytes);
}

/* -- damage, and the newest root -- */

static struct hf_root *newest_root(unsigned char *bytes)
{
    struct hf_root *first = (struct hf_root *)(void *)(bytes + HF_FILE_ROOT_AT), *second = first;

    second = (struct hf_root *)(void *)(bytes + HF_FILE_ROOT_AT + HF_REGION_PAGE);
    return second->version.txid > first->version.txid ? second : first;
}

/* The newest root of a file that was not closed is torn: the one before is there. Of one that was: damage. */
static void check_torn_root(unsigned char *open, unsigned char *clean, const struct golden *golden)
{
    hf_region_stats stats;
    hf_region *region;

    assert_memory_not_equal(&golden->now, &golden->before, sizeof golden->now);
    memset((unsigned char *)newest_root(open) + 512, 0, HF_REGION_PAGE - 512);
    put_file(open);
    ok(open_file(true, &region));
    region_has(region, &golden->before);
    ok(hf_region_close(region));
    ok(open_file(false, &region));
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.recovered && stats.stepped_back);
    region_has(region, &golden->before);
    region_is_whole(region);
    ok(hf_region_close(region));

    memset((unsigned char *)newest_root(clean) + 512, 0, HF_REGION_PAGE - 512);
    assert_int_equal(open_status(clean), HF_CORRUPT);
    memset(clean + HF_FILE_CLEAN_AT, 0, sizeof(struct hf_clean));
    assert_int_equal(open_status(clean), 0);
}

static void test_a_torn_root(void **state)
{
    static struct golden golden;

    unsigned char *clean = make_now("clean", &golden), *open = make_now("open", &golden);
    check_torn_root(open, clean, &golden);
    free(open);
    free(clean);
    if (!little_endian())
        return;
    open = stored("open");
    clean = stored("clean");
    check_torn_root(open, clean, &golden);
    free(open);
    free(clean);
}

/* One byte of a piece that the newest root says was written is another. */
static void test_half_written_data(void **state)
{
    static struct golden golden;
    hf_region_stats stats;
    hf_region *region;

    free(make_now("open", &golden));
    if (!little_endian())
        skip();
    unsigned char *bytes = stored("open");
    struct hf_root *root = newest_root(bytes);
    assert_true(root->pieces > 0);
    bytes[hf_link_units(root->manifest[0].piece) * HF_UNIT + 40] ^= 1;
    put_file(bytes);
    ok(open_file(false, &region));
    ok(hf_region_stats_get(region, &stats));
    assert_true(stats.stepped_back);
    region_has(region, &golden.before);
    region_is_whole(region);
    ok(hf_region_close(region));
    free(bytes);
}

/* -- other formats -- */

struct change {
    const char *what;
    void (*make)(struct hf_superblock *super);
    bool sealed; /* with the right checksum */
    int status;
};

static void next_format(struct hf_superblock *super)
{
    super->format++;
}

static void incompatible(struct hf_superblock *super)
{
    super->incompatible |= UINT64_C(1) << 40;
}

static void compatible(struct hf_superblock *super)
{
    super->compatible |= UINT64_C(1) << 40;
}

static void all_swapped(struct hf_superblock *super)
{
    super->magic = __builtin_bswap64(super->magic);
    super->endian = __builtin_bswap64(super->endian);
    super->format = __builtin_bswap32(super->format);
}

static void endian_swapped(struct hf_superblock *super)
{
    super->endian = __builtin_bswap64(super->endian);
}

static void another_page(struct hf_superblock *super)
{
    super->page_size = 8192;
}

static void another_root(struct hf_superblock *super)
{
    super->record_size += 8;
}

static void another_id(struct hf_superblock *super)
{
    super->id[0] ^= 1;
}

static void of_shared_memory(struct hf_superblock *super)
{
    super->magic = HF_REGION_MAGIC;
}

static void nothing(struct hf_superblock *super)
{
}

static void a_bit(struct hf_superblock *super)
{
    super->seed ^= 1;
}

static const struct change changes[] = {
    {"nothing", nothing, true, 0},
    {"a later format", next_format, true, HF_FORMAT},
    {"a later format, with a checksum of its own", next_format, false, HF_FORMAT},
    {"a feature that must be known", incompatible, true, HF_FORMAT},
    {"a feature that need not be known", compatible, true, 0},
    {"the other order of bytes", all_swapped, true, HF_FORMAT},
    {"the other order of bytes in one word", endian_swapped, true, HF_FORMAT},
    {"larger pages", another_page, true, HF_FORMAT},
    {"larger roots", another_root, true, HF_FORMAT},
    {"another id than the roots have", another_id, true, HF_CORRUPT},
    {"a segment of shared memory", of_shared_memory, true, HF_NOT_REGION},
    {"a bit", a_bit, false, HF_CORRUPT},
};

static void test_other_formats(void **state)
{
    static struct golden golden;
    unsigned char *bytes = make_now("clean", &golden);
    unsigned char *changed = malloc(GOLDEN_SIZE);

    assert_non_null(changed);
    for (size_t i = 0; i < LENGTH(changes); i++) {
        memcpy(changed, bytes, GOLDEN_SIZE);
        struct hf_superblock *super = (struct hf_superblock *)(void *)changed;
        changes[i].make(super);
        if (changes[i].sealed)
            super->checksum = hf_super_checksum(super);
        int status = open_status(changed);
        if (status != changes[i].status)
            fail_msg("%s: %s", changes[i].what, hf_status_name(status));
        if (status == 0)
            continue;
        /* Refused, and not touched. */
        unsigned char *after = golden_read(path);
        assert_memory_equal(after, changed, GOLDEN_SIZE);
        free(after);
    }
    free(changed);
    free(bytes);
}

/* A bit that means something to somebody else is still there when this program has written to the file. */
static void test_an_unknown_feature_stays(void **state)
{
    static struct golden golden;
    unsigned char *bytes = make_now("clean", &golden);
    struct hf_superblock *super = (struct hf_superblock *)(void *)bytes;
    struct golden_model model = golden.now;
    hf_region *region;

    compatible(super);
    super->checksum = hf_super_checksum(super);
    put_file(bytes);
    ok(open_file(false, &region));
    region_has(region, &golden.now);
    for (uint32_t step = 1000; step < 1010; step++)
        golden_step(region, &model, step);
    ok(hf_region_close(region));
    unsigned char *after = golden_read(path);
    assert_memory_equal(after, bytes, HF_FILE_ROOT_AT);
    ok(open_file(false, &region));
    region_has(region, &model);
    region_is_whole(region);
    ok(hf_region_close(region));
    free(after);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_closed, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_not_closed, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_with_commits_that_were_not_durable, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_rich, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_free_space, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_places, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_what_they_have, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_a_torn_root, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_half_written_data, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_other_formats, a_folder, no_folder),
        cmocka_unit_test_setup_teardown(test_an_unknown_feature_stays, a_folder, no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
