/*
 * Trees of places whose bytes are not what they were. In a file each answer is right, or HF_CORRUPT. In shared memory, and
 * in the nursery, which is shared memory too, answers may be wrong; but nothing crashes, hangs or reads outside: each
 * damaged region is used in a child, which a crash or an alarm would kill.
 */
#include "test_places_support.h"

#include "test_child.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { SPACE = 64 << 20, BATCH = 20 };

static places contents, kept;
static char *image;
static size_t image_size;

/* Some history, and a kept version. */
static hf_region *made(uint64_t seed)
{
    random_source random = {seed};
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(SPACE);
    hf_txn *txn;
    places_clear(&contents);
    for (int i = 0; i < 20; i++) {
        ok(hf_txn_begin(region, -1, &txn));
        for (int j = 0; j < 40; j++) {
            int tree = (int)random_below(&random, PLACES), key = (int)random_below(&random, KEYS);
            if (random_below(&random, 4) == 0)
                assert_true(both_unset(txn, &contents, tree, key) >= 0);
            else
                assert_true(both_set(txn, &contents, tree, key, place_for(&random, key)) >= 0);
        }
        if (i == 10) {
            ok(hf_txn_keep(txn, "kept"));
            kept = contents;
        }
        ok(hf_txn_commit(txn));
    }
    return region;
}

static void make_image(uint64_t seed)
{
    char path[96];
    struct stat found;
    hf_region *region = made(seed);
    snprintf(path, sizeof path, "%s", region->file->path);
    region_check(region);
    ok(hf_region_close(region));
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &found) == 0);
    image_size = (size_t)found.st_size;
    free(image);
    image = malloc(image_size);
    assert_non_null(image);
    assert_int_equal(read(fd, image, image_size), image_size);
    close(fd);
    files_remove();
}

/* How many answers were right; the others are HF_CORRUPT. */
static unsigned view_is_right(const hf_view *view, const places *m)
{
    hf_region_cursor cursor;
    hf_place_entry entry;
    unsigned right = 0;
    for (int tree = 0; tree < PLACES; tree++) {
        for (int key = 0; key < KEYS; key++) {
            asked a = {.key = key};
            uint64_t place = 0;
            int found = hf_view_find_place(view, place_tree[tree], hash_of(key), is_key, &a, &place);
            if (found < 0)
                assert_int_equal(found, HF_CORRUPT);
            else
                assert_true(found_is(found, place, &a, m->place[tree][key]));
            right += found >= 0;
        }
        int more = hf_region_cursor_begin(&cursor, view, place_tree[tree]);
        for (; more >= 0 && (more = hf_region_cursor_next_place(&cursor, &entry)) > 0;)
            assert_true(entry.place % 65536 < KEYS && m->place[tree][entry.place % 65536] == entry.place);
        if (more < 0)
            assert_int_equal(more, HF_CORRUPT);
    }
    return right;
}

/* What a writer makes of it: it fails, or what it has put is there. */
static void change_it(hf_region *region, random_source *random)
{
    hf_txn *txn;
    places before = contents;
    int status = hf_txn_begin(region, -1, &txn);
    if (status < 0) {
        assert_true(status == HF_CORRUPT || status == HF_BROKEN);
        return;
    }
    for (int i = 0; status >= 0 && i < 30; i++) {
        int tree = (int)random_below(random, PLACES), key = (int)random_below(random, KEYS);
        status = random_below(random, 3) == 0 ? both_unset(txn, &contents, tree, key)
                                              : both_set(txn, &contents, tree, key, place_for(random, key));
    }
    if (status >= 0)
        status = hf_txn_commit(txn);
    if (status < 0) {
        assert_int_equal(status, HF_CORRUPT);
        hf_txn_abort(txn);
        contents = before;
    }
}

static void a_damaged_file(random_source *random, unsigned *right, unsigned *refused)
{
    const hf_region_options options = {.timeout = -1, .reserve = SPACE, .level = HF_REGION_OFF};
    unsigned flips = 1 + random_below(random, 6);
    char path[96];
    hf_region *region;
    hf_region_fault fault;
    hf_snapshot *snapshot;
    places sound = contents;
    file_name(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    char *damaged = malloc(image_size);
    assert_non_null(damaged);
    memcpy(damaged, image, image_size);
    for (unsigned i = 0; i < flips; i++) {
        size_t at = random_below(random, 8) == 0
                        ? random_below(random, HF_FILE_HEAP_AT)
                        : HF_FILE_HEAP_AT + random_next(random) % (image_size - HF_FILE_HEAP_AT);
        damaged[at] ^= (char)(1 << random_below(random, 8));
    }
    assert_int_equal(fwrite(damaged, 1, image_size, file), image_size);
    free(damaged);
    fclose(file);
    int status = hf_region_open_file(path, &options, &region);
    if (status < 0) {
        assert_true(status == HF_CORRUPT || status == HF_FORMAT || status == HF_NOT_REGION);
        ++*refused;
        return;
    }
    hf_view view;
    ok(hf_view_pin(region, &view));
    *right += view_is_right(&view, &contents);
    hf_view_unpin(&view);
    status = hf_snapshot_begin_kept(region, "kept", &snapshot);
    if (status == 0) {
        view_is_right(hf_snapshot_view(snapshot), &kept);
        hf_snapshot_end(snapshot);
    } else {
        assert_int_equal(status, HF_CORRUPT);
    }
    status = hf_region_check(region, -1, &fault);
    assert_true(status == 0 || status == HF_CORRUPT);
    if (status == 0)
        assert_true(region_is_places(region, &contents));
    for (int i = 0; i < 3; i++)
        change_it(region, random);
    contents = sound;
    status = hf_region_close(region);
    assert_true(status == 0 || status == HF_CORRUPT || status == HF_BROKEN);
}

static void files_with_flipped_bits(void **state)
{
    random_source random = {11};
    unsigned right = 0, refused = 0, files = getenv("TORTURE") != NULL ? 20000 : 300;
    for (the_mode = HASH_MIXED; the_mode < HASH_MODES; the_mode++) {
        make_image(the_mode + 1);
        for (unsigned i = 0; i < files / HASH_MODES; i++) {
            a_damaged_file(&random, &right, &refused);
            files_remove();
        }
    }
    assert_true(right > files * KEYS / 4);
    assert_true(refused < files);
    free(image);
    image = NULL;
}

/* -- shared memory -- */

/* Whatever it says. */
static void use(hf_region *region, random_source *random)
{
    places m;
    hf_region_cursor cursor;
    hf_place_entry entry;
    hf_region_fault fault;
    uint64_t place, sum = 0;
    hf_view view;
    hf_txn *txn;
    places_clear(&m);
    if (hf_view_pin(region, &view) == 0) {
        for (int tree = 0; tree < PLACES; tree++) {
            for (int key = 0; key < KEYS; key++) {
                asked a = {.key = key};
                if (hf_view_find_place(&view, place_tree[tree], hash_of(key), is_key, &a, &place) > 0)
                    sum += place;
            }
            if (hf_region_cursor_begin(&cursor, &view, place_tree[tree]) == 0)
                while (hf_region_cursor_next_place(&cursor, &entry) > 0)
                    sum += entry.place;
        }
        hf_view_unpin(&view);
    }
    hf_region_check(region, 0, &fault);
    if (hf_txn_begin(region, 0, &txn) < 0)
        return;
    for (int i = 0; i < 60; i++) {
        asked a = {.key = (int)random_below(random, KEYS)};
        unsigned tree = place_tree[random_below(random, PLACES)];
        if (random_below(random, 3) == 0)
            hf_txn_unset_place(txn, tree, hash_of(a.key), is_key, &a, &place);
        else
            hf_txn_set_place(txn, tree, hash_of(a.key), place_for(random, a.key), is_key, &a, &place);
    }
    if (random_below(random, 4) == 0)
        hf_txn_clear(txn, 2);
    if (hf_txn_commit(txn) < 0)
        hf_txn_abort(txn);
    hf_region_check(region, 0, &fault);
    (void)sum;
}

/* Words between `from` and `from + size` become others: those that may lead somewhere, mostly. */
static void damage_words(char *from, size_t size, random_source *random, const uint64_t *tempting, size_t count)
{
    unsigned times = 1 + random_below(random, 12);
    for (unsigned i = 0; i < times; i++) {
        size_t at = random_next(random) % (size / 8) * 8;
        uint64_t word = tempting[random_below(random, (unsigned)count)];
        switch (random_below(random, 3)) {
        case 0:
            from[at + random_below(random, 8)] ^= (char)(1 << random_below(random, 8));
            break;
        case 1:
            word |= random_next(random) << 40;
            memcpy(from + at, &word, sizeof word);
            break;
        default:
            memcpy(from + at, &word, sizeof word);
        }
    }
}

/* In shared memory the heap and the record; in a file the nursery, and the record. */
static void damage_and_use(uint64_t seed)
{
    random_source random = {seed};
    hf_region *region = made(seed % 4 + 1);
    uint64_t txid = atomic_load(&region->lock->published);
    struct hf_record_seen *seen = hf_region_seen(region, txid);
    const uint64_t tempting[] = {0,
                                 UINT64_MAX,
                                 atomic_load(&seen->trees[0].root),
                                 atomic_load(&seen->trees[2].root),
                                 atomic_load(&seen->trees[1].root),
                                 atomic_load(&seen->top) - 8,
                                 HF_NURSERY_FIRST,
                                 HF_FILE_UNITS,
                                 UINT64_C(0x0000000700000007)};
    char *from = region->base + HF_REGION_HEAP_AT;
    size_t size = (size_t)(atomic_load(&seen->top) - HF_REGION_HEAP_AT);
    if (region->file != NULL) {
        if (atomic_load(&region->file->nursery) == 0)
            return;
        from = region->base - HF_NURSERY_BYTES;
        size = 32 << 10;
    }
    damage_words(from, size, &random, tempting, LENGTH(tempting));
    if (random_below(&random, 3) == 0)
        damage_words((char *)seen + 16, sizeof(struct hf_tree) * HF_REGION_TREES, &random, tempting,
                     LENGTH(tempting));
    for (int i = 0; i < 3; i++)
        use(region, &random);
}

static uint64_t batch;

static void run_batch(void)
{
    alarm(60);
    files_in[0] = '\0'; /* a folder of its own */
    for (uint64_t i = 0; i < BATCH; i++)
        damage_and_use(batch * BATCH + i);
    files_end();
}

static void damage_does_not_crash(void **state)
{
    uint64_t batches = getenv("TORTURE") != NULL ? 1000 : 12;
    the_nursery = 0;
    for (batch = 0; batch < batches; batch++) {
        the_mode = (hash_mode)(batch % HASH_MODES);
        in_a_child(run_batch);
    }
    the_nursery = NURSERY_IN_TURN;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_home(files_with_flipped_bits, HOME_OFF),
        in_home(files_with_flipped_bits, HOME_FULL),
        in_both_homes(damage_does_not_crash),
    };
    return cmocka_run_group_tests_name("region/places, damaged", tests, NULL, NULL);
}
