/*
 * Trees of places (keydir.h) in both homes: random programs against an array, with savepoints, aborts, snapshots, kept
 * ones, copies, closing and opening again, children that die; after each transaction the whole region is checked. Then
 * kinds of trees, the callback, failures of every call, and many places at once.
 */
#include "test_places_support.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { SNAPSHOTS = 4, KEPT = 3, LEVELS = 4, SPACE = 64 << 20 };

typedef struct program {
    random_source random;
    hf_region *regions[2]; /* two mappings */
    places now;            /* as published */
    struct {
        hf_snapshot *snapshot;
        places model;
    } snapshots[SNAPSHOTS];
    struct {
        bool is_kept;
        places model;
    } kept[KEPT];
} program;

static program the;

static void name_of(int i, char name[24])
{
    snprintf(name, 24, "kept %d", i);
}

static void change(random_source *random, hf_txn *txn, places *m)
{
    int tree = (int)random_below(random, PLACES), key = (int)random_below(random, KEYS);
    switch (random_below(random, 60)) {
    case 0:
        ok(both_clear_places(txn, m, tree));
        break;
    case 1:
        for (int i = 0; i < 100; i++)
            assert_true(both_set(txn, m, tree, (key + i) % KEYS, place_for(random, (key + i) % KEYS)) >= 0);
        break;
    case 2:
        assert_true(both_put_record(txn, m, key) >= 0);
        break;
    case 3: /* the place that it has */
        if (m->place[tree][key] != NONE)
            assert_int_equal(both_set(txn, m, tree, key, m->place[tree][key]), 0);
        break;
    default:
        if (random_below(random, 3) == 0)
            assert_true(both_unset(txn, m, tree, key) >= 0);
        else
            assert_true(both_set(txn, m, tree, key, place_for(random, key)) >= 0);
    }
}

/* -- what is different in two versions -- */

typedef struct difference {
    const places *from, *to;
    int tree;
    uint64_t seen;
} difference;

static bool is_entry(const places *m, int tree, const hf_key *key, const hf_span *span)
{
    uint64_t place;
    if (span->size != sizeof place || key->size != 0)
        return false;
    memcpy(&place, span->bytes, sizeof place);
    return place % 65536 < KEYS && key->hash == hash_of((int)(place % 65536)) &&
           m->place[tree][place % 65536] == place;
}

static int differs(void *arg, const hf_key *key, const hf_span *from, const hf_span *to)
{
    difference *d = arg;
    if ((from == NULL) == (to == NULL) || !is_entry(from != NULL ? d->from : d->to, d->tree, key, from ? from : to) ||
        is_entry(from != NULL ? d->to : d->from, d->tree, key, from ? from : to))
        return HF_FOREIGN;
    d->seen++;
    return 0;
}

static void diff_is(const hf_view *from, const hf_view *to, const places *was, const places *is, int tree)
{
    difference d = {was, is, tree, 0};
    uint64_t expected = 0;
    for (int key = 0; key < KEYS; key++) {
        uint64_t a = was->place[tree][key], b = is->place[tree][key];
        expected += a == b ? 0 : (uint64_t)(a != NONE) + (b != NONE);
    }
    ok(hf_view_diff(from, to, place_tree[tree], differs, &d));
    assert_int_equal(d.seen, expected);
}

static void compare_snapshots(program *p, int tree)
{
    for (int i = 0; i < SNAPSHOTS; i++)
        for (int j = 0; j < SNAPSHOTS; j++)
            if (p->snapshots[i].snapshot != NULL && p->snapshots[j].snapshot != NULL)
                diff_is(hf_snapshot_view(p->snapshots[i].snapshot), hf_snapshot_view(p->snapshots[j].snapshot),
                        &p->snapshots[i].model, &p->snapshots[j].model, tree);
}

/* -- a transaction -- */

static void changes_with_savepoints(program *p, hf_txn *txn, places *mine, unsigned *level)
{
    static places levels[LEVELS + 1];
    unsigned steps = random_below(&p->random, 30), which;
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = random_below(&p->random, 16);
        if (what == 0 && *level < LEVELS) {
            ok(hf_txn_savepoint(txn, &which));
            levels[++*level] = *mine;
        } else if (what == 1 && *level > 0) {
            *level = 1 + random_below(&p->random, *level);
            ok(hf_txn_rollback(txn, *level));
            *mine = levels[*level];
        } else if (what == 2 && *level > 0) {
            *level = random_below(&p->random, *level);
            ok(hf_txn_release(txn, *level + 1));
        } else {
            change(&p->random, txn, mine);
        }
        if (what < 4)
            assert_true(txn_is_places(txn, mine));
    }
}

static void transaction(program *p)
{
    hf_region *region = p->regions[random_below(&p->random, 2)];
    places mine = p->now;
    unsigned level = 0;
    int which = (int)random_below(&p->random, KEPT), keeps = 0;
    char name[24];
    hf_txn *txn;
    ok(hf_txn_begin(region, -1, &txn));
    changes_with_savepoints(p, txn, &mine, &level);
    assert_true(txn_is_places(txn, &mine));
    name_of(which, name);
    if (level == 0 && random_below(&p->random, 4) == 0) {
        keeps = p->kept[which].is_kept ? -1 : 1;
        ok(keeps < 0 ? hf_txn_forget(txn, name) : hf_txn_keep(txn, name));
    }
    assert_true(region_is_places(p->regions[0], &p->now));
    if (random_below(&p->random, 4) == 0) {
        ok(hf_txn_abort(txn));
        return;
    }
    ok(hf_txn_commit(txn));
    p->now = mine;
    if (keeps != 0)
        p->kept[which].is_kept = keeps > 0;
    if (keeps > 0)
        p->kept[which].model = mine;
    assert_true(region_is_places(p->regions[1], &p->now));
}

static void end_snapshots(program *p)
{
    for (int i = 0; i < SNAPSHOTS; i++)
        if (p->snapshots[i].snapshot != NULL) {
            assert_true(view_is_places(hf_snapshot_view(p->snapshots[i].snapshot), &p->snapshots[i].model));
            hf_snapshot_end(p->snapshots[i].snapshot);
            p->snapshots[i].snapshot = NULL;
        }
}

static void snapshots(program *p)
{
    unsigned i = random_below(&p->random, SNAPSHOTS);
    hf_region *region = p->regions[i % 2];
    char name[24];
    if (p->snapshots[i].snapshot != NULL) {
        assert_true(view_is_places(hf_snapshot_view(p->snapshots[i].snapshot), &p->snapshots[i].model));
        hf_snapshot_end(p->snapshots[i].snapshot);
        p->snapshots[i].snapshot = NULL;
    } else if (random_below(&p->random, 3) > 0) {
        ok(hf_snapshot_begin(region, &p->snapshots[i].snapshot));
        p->snapshots[i].model = p->now;
    } else {
        int which = (int)random_below(&p->random, KEPT);
        name_of(which, name);
        int status = hf_snapshot_begin_kept(region, name, &p->snapshots[i].snapshot);
        assert_int_equal(status, p->kept[which].is_kept ? 0 : HF_ABSENT);
        p->snapshots[i].model = p->kept[which].model;
    }
}

/* -- copies -- */

static void copy_is(program *p, hf_region *copy)
{
    region_check(copy);
    assert_int_equal(hf_region_place_trees(copy), PLACE_TREES);
    assert_true(region_is_places(copy, &p->now));
    for (int i = 0; i < KEPT; i++) {
        hf_snapshot *snapshot;
        char name[24];
        name_of(i, name);
        int status = hf_snapshot_begin_kept(copy, name, &snapshot);
        assert_int_equal(status, p->kept[i].is_kept ? 0 : HF_ABSENT);
        if (status < 0)
            continue;
        assert_true(view_is_places(hf_snapshot_view(snapshot), &p->kept[i].model));
        hf_snapshot_end(snapshot);
    }
}

static void backup(program *p)
{
    const hf_region_options options = {.timeout = -1, .reserve = SPACE};
    char path[96];
    hf_region *copy;
    file_name(path);
    ok(hf_region_backup(p->regions[0], path));
    ok(hf_region_open_file(path, &options, &copy));
    copy_is(p, copy);
    ok(hf_region_close(copy));
    unlink(path);
}

/* -- children -- */

/* A few changes, and the child ends with the lock in its hand, or it commits. No assertions: those would go on with the
 * parent's tests. */
static int child_changes(hf_region *region, random_source *random, places *m)
{
    hf_txn *txn;
    places mine = *m;
    if (hf_txn_begin(region, INT64_C(10000000000), &txn) < 0)
        return 1;
    for (unsigned i = 0; i < 8; i++) {
        int tree = (int)random_below(random, PLACES), key = (int)random_below(random, KEYS);
        if ((random_below(random, 3) == 0 ? both_unset(txn, &mine, tree, key)
                                          : both_set(txn, &mine, tree, key, place_for(random, key))) < 0)
            return 2;
    }
    if (random_below(random, 3) == 0)
        return 0;
    if (hf_txn_commit(txn) < 0)
        return 3;
    *m = mine;
    return region_is_places(region, m) ? 0 : 4;
}

/* A child that uses what it inherits; or, with `path`, what it opens by that name. It does not close it. */
static void child(program *p, const char *path)
{
#ifdef __SANITIZE_THREAD__
    return; /* it believes that the child has its parent's locks */
#endif
    int status;
    unsigned which = random_below(&p->random, 2);
    random_source random = {random_next(&p->random)};
    places *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
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

/* Closes a file, and opens it again: perhaps compacted, or without its lock file; perhaps after somebody else, who did not
 * close it. */
static void reopen(program *p)
{
    char path[96], beside[112];
    snprintf(path, sizeof path, "%s", p->regions[0]->file->path);
    snprintf(beside, sizeof beside, "%s-lock", path);
    end_snapshots(p);
    bool closed = random_below(&p->random, 2) == 0;
    ok(hf_region_close(p->regions[0]));
    ok(hf_region_close(p->regions[1]));
    if (!closed)
        child(p, path);
    if (closed && random_below(&p->random, 2) == 0)
        ok(hf_region_compact(path, -1));
    if ((closed || the_home == HOME_FULL) && random_below(&p->random, 2) == 0)
        unlink(beside);
    p->regions[0] = file_again(path);
    p->regions[1] = file_again(path);
    copy_is(p, p->regions[1]);
}

static void run_program(uint64_t seed, int steps)
{
    program *p = &the;
    memset(p, 0, sizeof *p);
    p->random.state = seed;
    p->regions[0] = region_new(SPACE);
    p->regions[1] = region_again(p->regions[0]);
    places_clear(&p->now);
    for (int step = 0; step < steps; step++) {
        unsigned what = random_below(&p->random, 24);
        if (what == 0)
            child(p, NULL);
        else if (what == 1 && the_home != HOME_SHARED)
            reopen(p);
        else if (what == 2 && the_home != HOME_SHARED)
            ok(hf_region_flush(p->regions[random_below(&p->random, 2)], -1));
        else if (what == 3)
            backup(p);
        else if (what < 10)
            snapshots(p);
        else
            transaction(p);
        region_check(p->regions[step % 2]);
        if (step % 8 == 0)
            compare_snapshots(p, step / 8 % PLACES);
    }
    end_snapshots(p);
    ok(hf_region_close(p->regions[0]));
    ok(hf_region_close(p->regions[1]));
    files_remove();
}

static void random_programs(void **state)
{
    int programs = getenv("TORTURE") != NULL ? 400 : the_home == HOME_SHARED ? 3 : 2;
    the_place_trees = PLACE_TREES;
    for (the_mode = 0; the_mode < HASH_MODES; the_mode++)
        for (int i = 0; i < programs; i++)
            run_program((uint64_t)(i * 10 + (int)the_mode), 100);
    the_mode = HASH_MIXED;
}

/* -- kinds of trees -- */

static void each_kind_has_its_calls(void **state)
{
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(SPACE);
    hf_region_cursor cursor;
    hf_place_entry entry;
    uint64_t place = 77;
    char text[64];
    hf_key key = key_of(7, text), at;
    hf_span value;
    hf_view view;
    hf_txn *txn;
    asked a = {.key = 3};
    places m;
    places_clear(&m);
    assert_int_equal(hf_region_place_trees(region), PLACE_TREES);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_set(txn, &m, 0, 3, 3), 1);
    assert_int_equal(both_put_record(txn, &m, 5), 1);
    assert_int_equal(hf_txn_put(txn, 0, &key, "", 0), HF_INVALID);
    assert_int_equal(hf_txn_remove(txn, 0, &key), HF_INVALID);
    assert_int_equal(hf_txn_get(txn, 0, &key, &value), HF_INVALID);
    for (unsigned tree = 1; tree < 64; tree += tree == 1 ? 2 : 1) {
        assert_int_equal(hf_txn_set_place(txn, tree, 1, 2, is_key, &a, &place), HF_INVALID);
        assert_int_equal(hf_txn_unset_place(txn, tree, 1, is_key, &a, &place), HF_INVALID);
        assert_int_equal(hf_txn_find_place(txn, tree, 1, is_key, &a, &place), HF_INVALID);
    }
    ok(hf_txn_cursor_begin(&cursor, txn, 0));
    assert_int_equal(hf_region_cursor_next(&cursor, &at, &value), HF_INVALID);
    assert_int_equal(hf_region_cursor_next_place(&cursor, &entry), 1);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_get(&view, 0, &key, &value), HF_INVALID);
    for (unsigned tree = 1; tree < 64; tree += tree == 1 ? 2 : 1)
        assert_int_equal(hf_view_find_place(&view, tree, 1, is_key, &a, &place), HF_INVALID);
    ok(hf_region_cursor_begin(&cursor, &view, RECORDS));
    assert_int_equal(hf_region_cursor_next_place(&cursor, &entry), HF_INVALID);
    assert_int_equal(hf_region_cursor_next(&cursor, &at, &value), 1);
    hf_view_unpin(&view);
    assert_int_equal(place, 77);
    assert_int_equal(a.times, 0);
    assert_int_equal(hf_txn_find_place(txn, 0, 1, is_key, &a, &place), HF_INVALID);
    assert_true(region_is_places(region, &m));
    ok(hf_region_close(region));
}

/* What there is stays as it was made, whatever the next one asks for. */
static void the_kinds_are_the_creators(void **state)
{
    hf_region_options options = {.mode = HF_REGION_EITHER, .timeout = -1, .place_trees = 1u << HF_REGION_TREES};
    hf_region *region, *again;
    char name[96];
    bool file = the_home != HOME_SHARED;
    if (file)
        file_name(name);
    else
        region_name(name);
    for (int i = 0; i < 3; i++) {
        static const unsigned asked_for[] = {1u << HF_REGION_TREES, 0x80000001u, UINT32_MAX};
        options.place_trees = asked_for[i];
        assert_int_equal(file ? hf_region_open_file(name, &options, &region)
                              : hf_region_open(name, &options, &region),
                         HF_INVALID);
    }
    for (unsigned trees = 0; trees < 1u << HF_REGION_TREES; trees++) {
        options.place_trees = trees;
        ok(file ? hf_region_open_file(name, &options, &region) : hf_region_open(name, &options, &region));
        assert_int_equal(hf_region_place_trees(region), trees);
        assert_int_equal(hf_region_super(region)->incompatible, trees == 0 ? 0 : HF_REGION_PLACES);
        assert_int_equal(hf_region_super(region)->place_trees, trees);
        options.place_trees = ~trees % (1u << HF_REGION_TREES);
        ok(file ? hf_region_open_file(name, &options, &again) : hf_region_open(name, &options, &again));
        assert_int_equal(hf_region_place_trees(again), trees);
        region_check(again);
        ok(hf_region_close(again));
        ok(hf_region_close(region));
        if (file)
            files_remove();
        else
            ok(hf_region_unlink(name));
    }
}

/* What a superblock must not say. */
static void kinds_that_cannot_be(void **state)
{
    static const struct {
        uint64_t incompatible, trees;
        int status;
    } cases[] = {
        {HF_REGION_PLACES, 0, HF_FORMAT},
        {HF_REGION_PLACES, 1u << HF_REGION_TREES, HF_FORMAT},
        {HF_REGION_PLACES, UINT64_C(1) << 40 | 1, HF_FORMAT},
        {HF_REGION_PLACES | 2, 1, HF_FORMAT},
        {0, 5, 0},
        {HF_REGION_PLACES, 15, 0},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        the_place_trees = PLACE_TREES;
        hf_region *region = region_new(SPACE), *again = NULL;
        int fd = dup(hf_region_fd(region));
        struct hf_superblock super = *hf_region_super(region);
        super.incompatible = cases[i].incompatible;
        super.place_trees = cases[i].trees;
        super.checksum = hf_super_checksum(&super);
        char path[96] = "";
        if (region->file != NULL)
            snprintf(path, sizeof path, "%s", region->file->path);
        ok(hf_region_close(region));
        assert_int_equal(pwrite(fd, &super, sizeof super, 0), sizeof super);
        const hf_region_options options = {.timeout = -1};
        int status =
            path[0] != '\0' ? hf_region_open_file(path, &options, &again) : hf_region_open_fd(fd, NULL, &again);
        assert_int_equal(status, cases[i].status);
        if (status == 0) {
            assert_int_equal(hf_region_place_trees(again), cases[i].incompatible == 0 ? 0 : cases[i].trees);
            ok(hf_region_close(again));
        }
        close(fd);
    }
}

/* A copy is of the same kinds. */
static void copies_are_of_the_same_kinds(void **state)
{
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(SPACE), *other;
    the_place_trees = 1;
    other = region_new(SPACE);
    /* Only the seed is in the way of a copy to a segment; so this one gets it. */
    hf_region_super(other)->seed = hf_region_super(region)->seed;
    assert_int_equal(hf_region_copy(region, other), HF_INVALID);
    other->place_trees = PLACE_TREES;
    ok(hf_region_copy(region, other));
    ok(hf_region_close(other));
    ok(hf_region_close(region));
}

/* -- the callback -- */

static void a_callback_that_fails_changes_nothing(void **state)
{
    the_place_trees = PLACE_TREES;
    for (the_mode = HASH_MIXED; the_mode < HASH_MODES; the_mode++) {
        hf_region *region = region_new(SPACE);
        random_source random = {5};
        uint64_t place = 0;
        hf_view view;
        hf_txn *txn;
        places m;
        places_clear(&m);
        ok(hf_txn_begin(region, 0, &txn));
        for (int key = 0; key < 100; key++)
            assert_int_equal(both_set(txn, &m, 0, key, place_for(&random, key)), 1);
        for (int key = 0; key < 100; key++) {
            asked a = {.key = key, .status = HF_FOREIGN};
            uint64_t hash = hash_of(key);
            assert_int_equal(hf_txn_set_place(txn, 0, hash, 1, is_key, &a, &place), HF_FOREIGN);
            assert_int_equal(hf_txn_unset_place(txn, 0, hash, is_key, &a, &place), HF_FOREIGN);
            assert_int_equal(hf_txn_find_place(txn, 0, hash, is_key, &a, &place), HF_FOREIGN);
            assert_int_equal(a.times, 3);
        }
        assert_int_equal(place, 0);
        assert_true(txn_is_places(txn, &m));
        ok(hf_txn_commit(txn));
        region_check(region);
        ok(hf_view_pin(region, &view));
        asked a = {.key = 5, .status = HF_FOREIGN};
        assert_int_equal(hf_view_find_place(&view, 0, hash_of(5), is_key, &a, &place), HF_FOREIGN);
        assert_true(view_is_places(&view, &m));
        hf_view_unpin(&view);
        ok(hf_region_close(region));
    }
}

/* A key whose hash nobody has is not asked about, though its slot is taken. */
static void only_equal_hashes_are_asked_about(void **state)
{
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(SPACE);
    asked a = {.key = 3, .status = HF_FOREIGN};
    uint64_t place = 9;
    hf_view view;
    hf_txn *txn;
    places m;
    places_clear(&m);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_set(txn, &m, 0, 3, 3), 1);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t hash = hash_of(3) ^ UINT64_C(1) << bit;
        assert_int_equal(hf_txn_find_place(txn, 0, hash, is_key, &a, &place), 0);
        assert_int_equal(hf_txn_unset_place(txn, 0, hash, is_key, &a, &place), 0);
        assert_int_equal(hf_txn_set_place(txn, 0, hash, 1, is_key, &a, NULL), 1);
    }
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    for (int bit = 0; bit < 64; bit++)
        for (int other = 0; other < bit; other++) {
            uint64_t hash = hash_of(3) ^ UINT64_C(1) << bit ^ UINT64_C(1) << other;
            assert_int_equal(hf_view_find_place(&view, 0, hash, is_key, &a, &place), 0);
        }
    assert_int_equal(hf_view_count(&view, 0), 65);
    hf_view_unpin(&view);
    assert_int_equal(a.times, 0);
    assert_int_equal(place, 9);
    region_check(region);
    ok(hf_region_close(region));
}

static void a_place_that_is_there_changes_nothing(void **state)
{
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(SPACE);
    hf_view view;
    hf_txn *txn;
    places m;
    places_clear(&m);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_set(txn, &m, 0, 5, 5), 1);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    uint64_t txid = hf_view_txid(&view);
    hf_view_unpin(&view);
    ok(hf_txn_begin(region, 0, &txn));
    assert_int_equal(both_set(txn, &m, 0, 5, 5), 0);
    assert_int_equal(both_unset(txn, &m, 0, 6), 0);
    ok(hf_txn_commit(txn));
    ok(hf_view_pin(region, &view));
    assert_int_equal(hf_view_txid(&view), txid);
    hf_view_unpin(&view);
    ok(hf_region_close(region));
}

/* -- many -- */

enum { MANY = 40000 };

static uint64_t many_hash(uint64_t i)
{
    random_source random = {i};
    return random_next(&random);
}

static int is_number(void *arg, uint64_t place)
{
    return place % MANY == *(const uint64_t *)arg;
}

static uint64_t place_in(hf_region *region, uint64_t number)
{
    uint64_t place = NONE;
    hf_view view;
    ok(hf_view_pin(region, &view));
    assert_true(hf_view_find_place(&view, 2, many_hash(number), is_number, &number, &place) >= 0);
    hf_view_unpin(&view);
    return place;
}

/* Loaded in a few transactions, changed by every other one, removed: what is there, and that the region is sound. */
static void many_at_once(void **state)
{
    the_place_trees = PLACE_TREES;
    hf_region *region = region_new(UINT64_C(1) << 30);
    hf_region_stats stats;
    hf_txn *txn;
    for (uint64_t begin = 0; begin < MANY; begin += MANY / 4) {
        ok(hf_txn_begin(region, -1, &txn));
        for (uint64_t i = begin; i < begin + MANY / 4; i++)
            assert_int_equal(hf_txn_set_place(txn, 2, many_hash(i), i, is_number, &i, NULL), 1);
        ok(hf_txn_commit(txn));
    }
    region_check(region);
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < MANY; i += 2) {
        uint64_t old = NONE;
        assert_int_equal(hf_txn_set_place(txn, 2, many_hash(i), i + MANY, is_number, &i, &old), 0);
        assert_int_equal(old, i);
    }
    ok(hf_txn_commit(txn));
    region_check(region);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(place_in(region, i), i % 2 == 0 ? i + MANY : i);
    ok(hf_txn_begin(region, -1, &txn));
    for (uint64_t i = 0; i < MANY; i += 4)
        assert_int_equal(hf_txn_unset_place(txn, 2, many_hash(i), is_number, &i, NULL), 1);
    ok(hf_txn_commit(txn));
    region_check(region);
    assert_int_equal(place_in(region, 4), NONE);
    ok(hf_region_stats_get(region, &stats));
    assert_int_equal(stats.counts[2], MANY / 4 * 3);
    ok(hf_txn_begin(region, -1, &txn));
    ok(hf_txn_clear(txn, 2));
    ok(hf_txn_commit(txn));
    region_check(region);
    ok(hf_region_close(region));
}

/* -- failures -- */

static int fails_here(hf_region **region, hf_txn *txn, const places *m, int what)
{
    static places mine;
    unsigned level;
    int status = 0;
    mine = *m;
    random_source random = {3};
    for (int key = 0; status >= 0 && key < KEYS; key++) {
        if (what == 0)
            status = both_set(txn, &mine, key % 2, key, place_for(&random, key));
        else if (what == 1)
            status = both_unset(txn, &mine, key % 2, key);
        else if (what == 2)
            status = key == 0 ? both_clear_places(txn, &mine, 0) : both_set(txn, &mine, 0, key, (uint64_t)key);
        else
            status = key % 50 == 0 ? hf_txn_savepoint(txn, &level)
                                   : both_set(txn, &mine, key % 2, key, place_for(&random, key));
    }
    return status;
}

/* Every call of anything fails in turn. The transaction is given up: then there is what was there before. */
static void every_call_fails(void **state)
{
    static places before;
    unsigned failures = 0;
    the_place_trees = PLACE_TREES;
    for (int what = 0; what < 4; what++) {
        for (uint64_t n = 1;; n = n < 40 ? n + 1 : n + n / 8) {
            hf_region *region = region_new(256 << 20);
            hf_txn *txn;
            places_clear(&before);
            random_source random = {9};
            ok(hf_txn_begin(region, 0, &txn));
            for (int key = 0; key < KEYS; key += 3)
                assert_int_equal(both_set(txn, &before, key % 2, key, place_for(&random, key)), 1);
            ok(hf_txn_commit(txn));
            ok(hf_txn_begin(region, 0, &txn));
            hf_fault_arm(HF_FAULT_ANY, n, ENOSPC);
            int status = fails_here(&region, txn, &before, what);
            if (status >= 0)
                status = hf_txn_commit(txn);
            uint64_t failed = hf_fault_failed(HF_FAULT_ANY);
            hf_fault_disarm();
            if (status < 0 && status != HF_BROKEN) {
                failures++;
                assert_true(status == HF_NOSPACE || status == HF_NOMEM || status == HF_IO);
                ok(hf_txn_abort(txn));
                region_check(region);
                assert_true(region_is_places(region, &before));
            } else if (status < 0) {
                ok(hf_txn_abort(txn));
            }
            int closed = hf_region_close(region);
            assert_true(closed == 0 || status == HF_BROKEN);
            files_remove();
            if (failed == 0)
                break;
        }
    }
    assert_true(failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_both_homes(each_kind_has_its_calls),
        in_both_homes(the_kinds_are_the_creators),
        in_both_homes(kinds_that_cannot_be),
        in_home(copies_are_of_the_same_kinds, HOME_SHARED),
        in_both_homes(a_callback_that_fails_changes_nothing),
        in_both_homes(only_equal_hashes_are_asked_about),
        in_all_homes(a_place_that_is_there_changes_nothing),
        in_all_homes(random_programs),
        in_all_homes(many_at_once),
        in_all_homes(every_call_fails),
    };
    return cmocka_run_group_tests_name("region/places", tests, NULL, NULL);
}
