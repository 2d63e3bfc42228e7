/*
 * test_region_nursery.c: commits that are not durable, in the nursery (file_nursery.c): who sees them, what outlives whom,
 * what a pin holds there, and where they go when there is no room.
 */
#include "test_region_support.h"

#include <signal.h>
#include <sys/wait.h>

static hf_region *region, *other;
static model now;
static random_source random_one;

static void begin(uint64_t nursery)
{
    the_nursery = nursery;
    region = region_new(64 << 20);
    other = region_again(region);
    model_clear(&now);
    random_one.state = nursery;
}

static void end(void)
{
    ok(hf_region_close(other));
    ok(hf_region_close(region));
    the_nursery = NURSERY_IN_TURN;
}

/* A transaction of a few changes, of small values. */
static void change(hf_region *by, unsigned changes)
{
    hf_txn *txn;
    ok(hf_txn_begin(by, 0, &txn));
    for (unsigned i = 0; i < changes; i++) {
        int tree = (int)random_below(&random_one, TREES), key = (int)random_below(&random_one, KEYS);
        if (random_below(&random_one, 4) == 0)
            assert_true(both_remove(txn, &now, tree, key) >= 0);
        else
            assert_true(both_put(txn, &now, tree, key, (int)random_below(&random_one, 90)) >= 0);
    }
    ok(hf_txn_commit(txn));
}

static const struct hf_nursery *published(void)
{
    uint64_t txid = atomic_load(&region->lock->published);
    return &((const struct hf_file_commit *)(void *)hf_region_seen(region, txid))->nursery;
}

static bool is_used(const struct hf_nursery *nursery)
{
    uint64_t segment = nursery->at / HF_NURSERY_SEGMENT;
    return nursery->first[segment] != 0 && nursery->end[segment] == 0;
}

static uint64_t used_in_file(void)
{
    hf_region_stats stats;
    ok(hf_region_stats_get(region, &stats));
    return stats.used;
}

/* Others see it at once, and FILE knows nothing of it, until a flush. */
static void seen_at_once_and_not_in_the_file(void **state)
{
    begin(0);
    for (int i = 0; i < 200; i++) {
        change(i % 2 == 0 ? region : other, 5);
        assert_true(region_is_model(i % 2 == 0 ? other : region, &now));
        region_check(region);
    }
    assert_true(is_used(published()));
    assert_int_equal(used_in_file(), 0);
    ok(hf_region_flush(other, -1));
    assert_false(is_used(published()));
    assert_int_equal(published()->cells, 0);
    assert_true(used_in_file() > 0);
    assert_true(region_is_model(region, &now));
    region_check(region);
    end();
}

/* Segments that are full after a few commits are left and begun again, and what is pinned stays. */
static void segments_in_turn(void **state)
{
    enum { PINS = 12 };
    hf_snapshot *pins[PINS] = {NULL};
    static model then[PINS];
    unsigned turns = 0, straight = 0;
    begin(6 << 10);
    for (int i = 0; i < 4000; i++) {
        uint64_t segment = published()->at / HF_NURSERY_SEGMENT;
        unsigned pin = random_below(&random_one, 8 * PINS);
        if (pin < PINS && pins[pin] == NULL && i < 3000) {
            ok(hf_snapshot_begin(other, &pins[pin]));
            then[pin] = now;
        } else if (pin < PINS && pins[pin] != NULL) {
            assert_true(view_is_model(hf_snapshot_view(pins[pin]), &then[pin]));
            hf_snapshot_end(pins[pin]);
            pins[pin] = NULL;
        }
        change(i % 2 == 0 ? region : other, 1 + random_below(&random_one, 4));
        turns += published()->at / HF_NURSERY_SEGMENT != segment;
        straight += !is_used(published());
        if (i % 100 == 0)
            region_check(region);
    }
    for (int i = 0; i < PINS; i++)
        if (pins[i] != NULL) {
            assert_true(view_is_model(hf_snapshot_view(pins[i]), &then[i]));
            hf_snapshot_end(pins[i]);
        }
    print_message("%u turns, %u commits to the file\n", turns, straight);
    assert_true(turns > 20 && straight > 20);
    assert_true(region_is_model(region, &now));
    region_check(region);
    end();
}

/* A pin in each segment: there is none left, and commits go to FILE until one has gone. */
static void pins_in_both(void **state)
{
    hf_snapshot *one, *two;
    model first, second;
    begin(6 << 10);
    for (int i = 0; i < 100 || !is_used(published()); i++)
        change(region, 3);
    ok(hf_snapshot_begin(other, &one));
    first = now;
    for (uint64_t segment = published()->at / HF_NURSERY_SEGMENT;
         published()->at / HF_NURSERY_SEGMENT == segment || !is_used(published());)
        change(region, 3);
    ok(hf_snapshot_begin(other, &two));
    second = now;
    unsigned in_file = 0;
    for (int i = 0; i < 300; i++) {
        change(region, 3);
        in_file += !is_used(published());
    }
    assert_true(in_file > 200);
    assert_true(view_is_model(hf_snapshot_view(one), &first));
    assert_true(view_is_model(hf_snapshot_view(two), &second));
    hf_snapshot_end(one);
    hf_snapshot_end(two);
    in_file = 0;
    for (int i = 0; i < 300; i++) {
        change(region, 3);
        in_file += !is_used(published());
    }
    assert_true(in_file < 200);
    region_check(region);
    end();
}

/* What is kept is in FILE, and holds no segment. */
static void what_is_kept_is_in_the_file(void **state)
{
    model then;
    hf_txn *txn;
    hf_snapshot *snapshot;
    begin(6 << 10);
    for (int i = 0; i < 20; i++)
        change(region, 3);
    ok(hf_txn_begin(region, 0, &txn));
    ok(hf_txn_keep(txn, "then"));
    ok(hf_txn_commit(txn));
    assert_false(is_used(published()));
    then = now;
    unsigned in_file = 0;
    for (int i = 0; i < 1000; i++) {
        change(region, 3);
        in_file += !is_used(published());
        if (i % 100 == 0)
            region_check(region);
    }
    assert_true(in_file < 600);
    ok(hf_snapshot_begin_kept(other, "then", &snapshot));
    assert_true(view_is_model(hf_snapshot_view(snapshot), &then));
    hf_snapshot_end(snapshot);
    end();
}

/* Reads all of a version: 1 and it is `now`, 0; or a failure. */
static int try_to_read(hf_region *by)
{
    hf_view view;
    hf_region_cursor cursor;
    uint64_t count = 0;
    int status = hf_view_pin(by, &view), more = 0;
    if (status < 0)
        return status;
    for (unsigned tree = 0; status == 0 && tree < TREES; tree++) {
        status = hf_region_cursor_begin(&cursor, &view, tree);
        while (status == 0 && (more = hf_region_cursor_next(&cursor, NULL, NULL)) > 0)
            count++;
        status = status < 0 ? status : more;
    }
    hf_view_unpin(&view);
    return status < 0 ? status : count == now.count[0] + now.count[1];
}

/* The writer is killed in the middle of a transaction; nobody else has the file open. */
static void survives_a_kill(void **state)
{
    char path[96], lock[128];
    int told[2], way;
    for (way = 0; way < 2; way++) {
        the_nursery = 0;
        file_name(path);
        snprintf(lock, sizeof lock, "%s-lock", path);
        model_clear(&now);
        random_one.state = 1;
        ok(pipe(told));
        pid_t child = fork();
        assert_true(child >= 0);
        hf_region_options options = file_options(HF_REGION_EITHER, 64 << 20);
        if (child == 0) {
            hf_txn *txn;
            if (hf_region_open_file(path, &options, &region) < 0)
                _exit(1);
            for (int i = 0; i < 100; i++)
                change(region, 5);
            if (hf_txn_begin(region, 0, &txn) < 0 || write(told[1], "", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        char byte;
        close(told[1]);
        assert_int_equal(read(told[0], &byte, 1), 1);
        close(told[0]);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        /* The child's changes, once more, of the model alone. */
        random_one.state = 1;
        for (int i = 0; i < 500; i++) {
            int tree = (int)random_below(&random_one, TREES), key = (int)random_below(&random_one, KEYS);
            bool gone = random_below(&random_one, 4) == 0;
            int value = gone ? ABSENT : (int)random_below(&random_one, 90);
            now.count[tree] += (value != ABSENT) - (now.value[tree][key] != ABSENT);
            now.value[tree][key] = value;
        }
        if (way == 1)
            ok(unlink(lock));
        ok(hf_region_open_file(path, &options, &region));
        region_check(region);
        /* As after a power cut: what was never flushed has gone, as a whole. */
        if (way == 1)
            model_clear(&now);
        assert_true(region_is_model(region, &now));
        ok(hf_region_close(region));
        ok(hf_region_open_file(path, &options, &region));
        assert_true(region_is_model(region, &now));
        ok(hf_region_close(region));
    }
    the_nursery = NURSERY_IN_TURN;
}

/* Whatever is in it: an answer, and no address that is not there. */
static void a_damaged_nursery(void **state)
{
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        hf_txn *txn;
        begin(0);
        random_one.state = seed;
        for (int i = 0; i < 60; i++)
            change(region, 5);
        struct hf_nursery nursery = *published();
        uint64_t bytes = nursery.at * HF_UNIT;
        for (int i = 0; i < 200; i++) {
            char *at = region->base - HF_NURSERY_BYTES + random_next(&random_one) % bytes / 8 * 8;
            uint64_t word = random_next(&random_one);
            word = i % 3 == 0   ? word
                   : i % 3 == 1 ? HF_NURSERY_FIRST + word % HF_NURSERY_UNITS
                                : UINT64_C(1) << word % 64;
            memcpy(at, &word, sizeof word);
        }
        hf_region_fault fault;
        int status = try_to_read(other);
        found += status < 0;
        assert_true(status == HF_CORRUPT || status >= 0);
        status = hf_region_check(region, -1, &fault);
        assert_true(status == 0 || status == HF_CORRUPT);
        for (int i = 0; i < 20; i++) {
            char text[64];
            hf_key key = key_of(i, text);
            ok(hf_txn_begin(region, -1, &txn));
            status = hf_txn_put(txn, 0, &key, "new", 3);
            status = status < 0 ? status : hf_txn_commit(txn);
            if (status < 0)
                ok(hf_txn_abort(txn));
            assert_true(status == HF_CORRUPT || status >= 0);
        }
        status = hf_region_flush(region, -1);
        assert_true(status == HF_CORRUPT || status == 0);
        hf_region_close(other);
        hf_region_close(region);
    }
    assert_true(found > 20);
    the_nursery = NURSERY_IN_TURN;
}

/* There is no space for it: commits go to FILE, and to the nursery once there is. */
static void without_space_for_it(void **state)
{
    const struct hf_fault never = {.first = 1, .times = HF_FAULT_FOREVER, .error = ENOSPC};
    begin(0);
    hf_fault_arm_plan(HF_OS_SITE_fallocate, &never);
    for (int i = 0; i < 100; i++) {
        change(region, 3);
        assert_false(is_used(published()));
        assert_true(region_is_model(other, &now));
    }
    hf_fault_disarm();
    for (int i = 0; i < 100; i++)
        change(region, 3);
    assert_true(is_used(published()));
    assert_true(region_is_model(other, &now));
    region_check(region);
    end();
}

/* What is large goes to FILE, and takes with it what waits. */
static void large_ones_go_to_the_file(void **state)
{
    static unsigned char bytes[1 << 20];
    char text[64];
    hf_key key = key_of(7, text);
    hf_txn *txn;
    begin(0);
    for (int i = 0; i < 20; i++) {
        change(region, 3);
        assert_true(is_used(published()));
        ok(hf_txn_begin(region, 0, &txn));
        bytes[0] = (unsigned char)i;
        assert_true(hf_txn_put(txn, 1, &key, bytes, sizeof bytes) >= 0);
        ok(hf_txn_commit(txn));
        assert_false(is_used(published()));
        region_check(region);
        ok(hf_txn_begin(region, 0, &txn));
        assert_true(hf_txn_remove(txn, 1, &key) == 1);
        now.count[1] -= now.value[1][7] != ABSENT;
        now.value[1][7] = ABSENT;
        ok(hf_txn_commit(txn));
        assert_true(region_is_model(other, &now));
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_home(seen_at_once_and_not_in_the_file, HOME_OFF),
        in_home(segments_in_turn, HOME_OFF),
        in_home(pins_in_both, HOME_OFF),
        in_home(what_is_kept_is_in_the_file, HOME_OFF),
        in_home(survives_a_kill, HOME_OFF),
        in_home(a_damaged_nursery, HOME_OFF),
        in_home(without_space_for_it, HOME_OFF),
        in_home(large_ones_go_to_the_file, HOME_OFF),
    };
    return cmocka_run_group_tests_name("region/nursery", tests, NULL, NULL);
}
