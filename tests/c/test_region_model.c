/*
 * Random programs on a region, against arrays: transactions, savepoints, snapshots, kept snapshots, through two mappings of
 * one segment or file; children that commit, or that die in the middle; and files are closed and opened again. After each
 * step the contents are compared, and after each transaction the whole region is checked.
 */
#include "test_region_support.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { SNAPSHOTS = 6, KEPT = 3, LEVELS = 4, SPACE = 64 << 20 };

typedef struct program {
    random_source random;
    hf_region *regions[2]; /* two mappings */
    model now;             /* as published */
    struct {
        hf_snapshot *snapshot;
        model model;
    } snapshots[SNAPSHOTS];
    struct {
        bool is_kept;
        model model;
    } kept[KEPT];
} program;

static program the;

static void name_of(int i, char name[16])
{
    snprintf(name, 16, "kept %d", i);
}

static void change(program *p, hf_txn *txn, model *m)
{
    int tree = (int)random_below(&p->random, TREES), key = (int)random_below(&p->random, KEYS);
    switch (random_below(&p->random, 60)) {
    case 0:
        ok(both_clear(txn, m, tree));
        break;
    case 1:
        for (int i = 0; i < 60; i++)
            assert_true(both_put(txn, m, tree, (key + i) % KEYS, (int)random_below(&p->random, VALUES)) >= 0);
        break;
    default:
        if (random_below(&p->random, 3) == 0)
            assert_true(both_remove(txn, m, tree, key) >= 0);
        else
            assert_true(both_put(txn, m, tree, key, (int)random_below(&p->random, VALUES)) >= 0);
    }
}

/* The walk over a transaction finds what it has made so far. */
static void walk_is(hf_txn *txn, const model *m, int tree)
{
    hf_region_cursor cursor;
    hf_key key;
    hf_span value;
    uint64_t seen = 0;
    ok(hf_txn_cursor_begin(&cursor, txn, (unsigned)tree));
    for (;; seen++) {
        int more = hf_region_cursor_next(&cursor, &key, &value);
        assert_true(more >= 0);
        if (more == 0)
            break;
        int number = number_of(&key);
        assert_in_range(number, 0, KEYS - 1);
        assert_true(value_is(m->value[tree][number], number, &value));
    }
    assert_int_equal(seen, m->count[tree]);
}

/* -- what is different in two versions -- */

typedef struct difference {
    const model *from, *to;
    int tree;
    uint64_t seen;
} difference;

static bool is_value(const hf_span *found, int value, int key)
{
    return found == NULL ? value == ABSENT : value != ABSENT && value_is(value, key, found);
}

static int differs(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    difference *d = arg;
    int number = number_of(key);
    if (number < 0 || number >= KEYS)
        return HF_FOREIGN;
    int was = d->from->value[d->tree][number], is = d->to->value[d->tree][number];
    if (was == is || !is_value(from, was, number) || !is_value(to, is, number))
        return HF_FOREIGN;
    d->seen++;
    return 0;
}

/* Two numbers may stand for the same bytes: that is no difference. */
static bool look_alike(int a, int b, int key)
{
    static unsigned char left[LONGEST], right[LONGEST];
    if (a == ABSENT || b == ABSENT || value_size(a) != value_size(b))
        return a == b;
    value_fill(a, key, left);
    value_fill(b, key, right);
    return memcmp(left, right, value_size(a)) == 0;
}

static int refuses(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    return HF_FOREIGN;
}

static void diff_is(const hf_view *from, const hf_view *to, const model *was, const model *is, int tree)
{
    difference d = {was, is, tree, 0};
    uint64_t differences = 0;
    ok(hf_view_diff(from, to, (unsigned)tree, differs, &d));
    for (int key = 0; key < KEYS; key++)
        differences += !look_alike(was->value[tree][key], is->value[tree][key], key);
    assert_int_equal(d.seen, differences);
    assert_int_equal(hf_view_diff(from, to, (unsigned)tree, refuses, NULL), differences > 0 ? HF_FOREIGN : 0);
}

static void expect_in_txn(hf_txn *txn, const model *m, int tree, int key)
{
    char text[64];
    hf_key k = key_of(key, text);
    hf_span value;
    int found = hf_txn_get(txn, (unsigned)tree, &k, &value);
    assert_int_equal(found, m->value[tree][key] != ABSENT);
    if (found)
        assert_true(value_is(m->value[tree][key], key, &value));
}

static void transaction(program *p)
{
    static model levels[LEVELS + 1];
    hf_region *region = p->regions[random_below(&p->random, 2)];
    hf_txn *txn, *second;
    unsigned level = 0;
    model mine = p->now;
    int forgotten = -1, kept = -1;
    char name[16];
    ok(hf_txn_begin(region, -1, &txn));
    assert_int_equal(hf_txn_begin(p->regions[0], -1, &second), HF_BUSY);
    unsigned steps = random_below(&p->random, 30);
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = random_below(&p->random, 20), which;
        if (what == 0 && level < LEVELS) {
            ok(hf_txn_savepoint(txn, &which));
            assert_int_equal(which, ++level);
            levels[level] = mine;
        } else if (what == 1 && level > 0) {
            level = 1 + random_below(&p->random, level);
            ok(hf_txn_rollback(txn, level));
            mine = levels[level];
        } else if (what == 2 && level > 0) {
            level = random_below(&p->random, level);
            ok(hf_txn_release(txn, level + 1));
        } else {
            change(p, txn, &mine);
        }
        for (int tree = 0; tree < TREES; tree++)
            expect_in_txn(txn, &mine, tree, (int)random_below(&p->random, KEYS));
    }
    for (int tree = 0; tree < TREES; tree++)
        walk_is(txn, &mine, tree);
    int slot = (int)random_below(&p->random, KEPT);
    name_of(slot, name);
    if (level == 0 && random_below(&p->random, 4) == 0) {
        if (p->kept[slot].is_kept) {
            ok(hf_txn_forget(txn, name));
            assert_int_equal(hf_txn_forget(txn, name), HF_ABSENT);
            forgotten = slot;
        } else {
            ok(hf_txn_keep(txn, name));
            assert_int_equal(hf_txn_keep(txn, name), HF_EXISTS);
            kept = slot;
        }
    }
    /* What readers see has not changed. */
    assert_true(region_is_model(p->regions[0], &p->now));
    if (random_below(&p->random, 4) == 0) {
        ok(hf_txn_abort(txn));
    } else {
        ok(hf_txn_commit(txn));
        p->now = mine;
        if (forgotten >= 0)
            p->kept[forgotten].is_kept = false;
        if (kept >= 0) {
            p->kept[kept].is_kept = true;
            p->kept[kept].model = mine;
        }
    }
    assert_int_equal(hf_txn_abort(txn), HF_INVALID);
    assert_true(region_is_model(p->regions[1], &p->now));
}

static void snapshots(program *p)
{
    unsigned i = random_below(&p->random, SNAPSHOTS);
    hf_region *region = p->regions[i % 2];
    if (p->snapshots[i].snapshot != NULL) {
        assert_true(view_is_model(hf_snapshot_view(p->snapshots[i].snapshot), &p->snapshots[i].model));
        hf_snapshot_end(p->snapshots[i].snapshot);
        p->snapshots[i].snapshot = NULL;
        return;
    }
    if (random_below(&p->random, 3) > 0) {
        ok(hf_snapshot_begin(region, &p->snapshots[i].snapshot));
        p->snapshots[i].model = p->now;
        return;
    }
    int slot = (int)random_below(&p->random, KEPT);
    char name[16];
    name_of(slot, name);
    int status = hf_snapshot_begin_kept(region, name, &p->snapshots[i].snapshot);
    assert_int_equal(status, p->kept[slot].is_kept ? 0 : HF_ABSENT);
    p->snapshots[i].model = p->kept[slot].model;
}

/* Every pair of versions that are held, the same one twice among them. */
static void compare_snapshots(program *p, int tree)
{
    for (int i = 0; i < SNAPSHOTS; i++)
        for (int j = 0; j < SNAPSHOTS; j++)
            if (p->snapshots[i].snapshot != NULL && p->snapshots[j].snapshot != NULL)
                diff_is(hf_snapshot_view(p->snapshots[i].snapshot), hf_snapshot_view(p->snapshots[j].snapshot),
                        &p->snapshots[i].model, &p->snapshots[j].model, tree);
}

static void end_snapshots(program *p)
{
    for (int i = 0; i < SNAPSHOTS; i++)
        if (p->snapshots[i].snapshot != NULL) {
            assert_true(view_is_model(hf_snapshot_view(p->snapshots[i].snapshot), &p->snapshots[i].model));
            hf_snapshot_end(p->snapshots[i].snapshot);
            p->snapshots[i].snapshot = NULL;
        }
}

/* What a child does to the region and to the model, which the parent has too: a few changes, and it ends with the lock in
 * its hand, or it commits. No assertions: those would go on with the parent's tests. */
static int child_changes(hf_region *region, random_source *random, model *m)
{
    hf_txn *txn;
    model mine = *m;
    if (hf_txn_begin(region, INT64_C(10000000000), &txn) < 0)
        return 1;
    for (unsigned i = 0; i < 8; i++) {
        int tree = (int)random_below(random, TREES), key = (int)random_below(random, KEYS);
        int value = (int)random_below(random, VALUES);
        if ((random_below(random, 3) == 0 ? both_remove(txn, &mine, tree, key)
                                          : both_put(txn, &mine, tree, key, value)) < 0)
            return 2;
    }
    if (random_below(random, 3) == 0)
        return 0;
    if (hf_txn_commit(txn) < 0)
        return 3;
    *m = mine;
    return region_is_model(region, m) ? 0 : 4;
}

/* A child that uses what it inherits; or, with `path`, what it opens by that name, and does not close. */
static void child(program *p, const char *path)
{
#ifdef __SANITIZE_THREAD__
    return; /* it believes that the child has its parent's locks */
#endif
    int status;
    unsigned which = random_below(&p->random, 2);
    random_source random = {random_next(&p->random)};
    model *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    *m = p->now;
    pid_t pid = fork();
    if (pid == 0) {
        hf_region *region = p->regions[which];
        hf_region_options options = file_options(HF_REGION_ATTACH, 0);
        if (path != NULL && hf_region_open_file(path, &options, &region) < 0)
            _exit(10);
        _exit(child_changes(region, &random, m));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    p->now = *m;
    munmap(m, sizeof *m);
}

/* Closes a file, and opens it again: perhaps without what the lock file says; perhaps after somebody else, who did not close
 * it. What was not made durable is there for as long as the lock file is. */
static void reopen(program *p)
{
    char path[96], beside[112];
    hf_region_stats stats;
    snprintf(path, sizeof path, "%s", p->regions[0]->file->path);
    snprintf(beside, sizeof beside, "%s-lock", path);
    end_snapshots(p);
    bool closed = random_below(&p->random, 2) == 0;
    if (!closed && random_below(&p->random, 2) == 0)
        child(p, path);
    ok(hf_region_close(p->regions[0]));
    ok(hf_region_close(p->regions[1]));
    if (!closed)
        child(p, path);
    if ((closed || the_home == HOME_FULL) && random_below(&p->random, 2) == 0)
        unlink(beside);
    p->regions[0] = file_again(path);
    p->regions[1] = file_again(path);
    ok(hf_region_stats_get(p->regions[0], &stats));
    assert_false(stats.stepped_back);
    assert_false(stats.broken);
    if (closed) {
        assert_false(stats.recovered);
        assert_int_equal(stats.durable, stats.txid);
    }
    assert_true(region_is_model(p->regions[1], &p->now));
}

static void run_program(uint64_t seed, int steps)
{
    program *p = &the;
    memset(p, 0, sizeof *p);
    p->random.state = seed;
    p->regions[0] = region_new(SPACE);
    p->regions[1] = region_again(p->regions[0]);
    model_clear(&p->now);
    for (int step = 0; step < steps; step++) {
        if (random_below(&p->random, 25) == 0)
            child(p, NULL);
        else if (the_home != HOME_SHARED && random_below(&p->random, 15) == 0)
            reopen(p);
        else if (the_home != HOME_SHARED && random_below(&p->random, 15) == 0)
            ok(hf_region_flush(p->regions[random_below(&p->random, 2)], -1));
        else if (random_below(&p->random, 3) == 0)
            snapshots(p);
        else
            transaction(p);
        region_check(p->regions[step % 2]);
        for (int i = 0; i < SNAPSHOTS; i++)
            if (p->snapshots[i].snapshot != NULL)
                assert_true(view_is(hf_snapshot_view(p->snapshots[i].snapshot), &p->snapshots[i].model, step % 2));
        if (step % 8 == 0)
            compare_snapshots(p, step / 8 % TREES);
    }
    end_snapshots(p);
    ok(hf_region_close(p->regions[0]));
    ok(hf_region_close(p->regions[1]));
    files_remove();
}

static void random_programs(void **state)
{
    int programs = getenv("TORTURE") != NULL ? 400 : the_home == HOME_SHARED ? 4 : 2;
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++)
        for (int i = 0; i < programs; i++)
            run_program((uint64_t)(i * 10 + (int)the_mode), 120);
    the_mode = HASH_MIXED;
}

static void an_empty_region_has_nothing(void **state)
{
    hf_region *region = region_new(SPACE);
    static model m;
    model_clear(&m);
    assert_true(region_is_model(region, &m));
    region_check(region);
    ok(hf_region_close(region));
}

static void a_put_of_what_is_there_changes_nothing(void **state)
{
    hf_region *region = region_new(SPACE);
    static model m;
    hf_txn *txn;
    hf_view view;
    model_clear(&m);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_put(txn, &m, 0, 5, 40), 1);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    uint64_t txid = hf_view_txid(&view);
    hf_view_unpin(&view);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_put(txn, &m, 0, 5, 40), 0);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_txid(&view), txid);
    hf_view_unpin(&view);
    assert_true(region_is_model(region, &m));
    ok(hf_region_close(region));
}

/* Whatever changes what a walk over a transaction is under way in ends it. */
static void a_walk_ends_with_a_change(void **state)
{
    hf_region *region = region_new(SPACE);
    hf_region_cursor cursor;
    hf_txn *txn;
    unsigned level;
    model m;
    model_clear(&m);
    ok(hf_txn_begin(region, -1, &txn));
    for (int key = 0; key < 10; key++)
        assert_int_equal(both_put(txn, &m, 0, key, key), 1);
    ok(hf_txn_savepoint(txn, &level));
    for (int way = 0; way < 5; way++) {
        ok(hf_txn_cursor_begin(&cursor, txn, 0));
        assert_int_equal(hf_region_cursor_next(&cursor, NULL, NULL), 1);
        if (way == 0)
            assert_int_equal(both_put(txn, &m, 0, 5, 6), 0);
        else if (way == 1)
            assert_int_equal(both_remove(txn, &m, 0, 5), 1);
        else if (way == 2)
            ok(both_clear(txn, &m, 0));
        else if (way == 3)
            ok(hf_txn_rollback(txn, level));
        else
            ok(hf_txn_commit(txn));
        if (way == 2)
            assert_int_equal(both_put(txn, &m, 0, 5, 6), 1);
        assert_int_equal(hf_region_cursor_next(&cursor, NULL, NULL), HF_INVALID);
    }
    region_check(region);
    ok(hf_region_close(region));
}

static void regions_in_use_are_not_closed(void **state)
{
    hf_region *region = region_new(SPACE);
    hf_snapshot *snapshot;
    hf_txn *txn;
    ok(hf_snapshot_begin(region, &snapshot));
    assert_int_equal(hf_region_close(region), HF_BUSY);
    hf_snapshot_end(snapshot);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(hf_region_close(region), HF_BUSY);
    ok(hf_txn_abort(txn));
    ok(hf_region_close(region));
}

static void a_transaction_has_as_many_savepoints_as_it_may(void **state)
{
    hf_region *region = region_new(SPACE);
    static model m;
    hf_txn *txn;
    unsigned level, made = 0;
    int status;
    model_clear(&m);
    ok(hf_txn_begin(region, 0, &txn));
    while ((status = hf_txn_savepoint(txn, &level)) == 0) {
        made++;
        assert_true(both_put(txn, &m, 0, (int)(made % KEYS), (int)(made % VALUES)) >= 0);
        ok(hf_txn_release(txn, level));
    }
    assert_int_equal(status, HF_LIMIT);
    assert_int_equal(made, HF_HEAD_EPOCH_MAX);
    ok(hf_txn_commit(txn));
    assert_true(region_is_model(region, &m));
    region_check(region);
    ok(hf_region_close(region));
}

/* Sizes around the one from which a key's own size is kept elsewhere. */
static void keys_of_all_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 65533, 65534, 65535, 65536, 300000};
    static unsigned char bytes[300000];
    hf_region *region = region_new(SPACE);
    hf_span found;
    hf_txn *txn;
    for (hash_mode mode = HASH_MIXED; mode <= HASH_CONSTANT; mode = mode == HASH_MIXED ? HASH_CONSTANT : mode + 1) {
        the_mode = mode;
        for (int removes = 0; removes < 2; removes++) {
            ok(hf_txn_begin(region, 0, &txn));
            for (size_t i = 0; i < LENGTH(sizes); i++) {
                hf_key key = {hash_of((int)i), bytes, sizes[i]};
                if (removes)
                    assert_int_equal(hf_txn_remove(txn, 3, &key), 1);
                else
                    assert_int_equal(hf_txn_put(txn, 3, &key, &sizes[i], sizeof sizes[i]), 1);
                for (size_t j = 0; j < LENGTH(sizes); j++) {
                    hf_key other = {hash_of((int)j), bytes, sizes[j]};
                    int there = hf_txn_get(txn, 3, &other, &found);
                    assert_int_equal(there, (j <= i) != (removes == 1));
                    if (there) {
                        assert_int_equal(found.size, sizeof sizes[j]);
                        assert_memory_equal(found.bytes, &sizes[j], sizeof sizes[j]);
                    }
                }
            }
            ok(hf_txn_commit(txn));
            region_check(region);
        }
    }
    the_mode = HASH_MIXED;
    ok(hf_region_close(region));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_all_homes(an_empty_region_has_nothing),
        in_all_homes(a_put_of_what_is_there_changes_nothing),
        in_both_homes(regions_in_use_are_not_closed),
        in_both_homes(a_walk_ends_with_a_change),
        in_both_homes(keys_of_all_sizes),
        in_all_homes(random_programs),
        in_both_homes(a_transaction_has_as_many_savepoints_as_it_may),
    };
    return cmocka_run_group_tests_name("region/model", tests, NULL, NULL);
}
