/*
 * test_region_check_reading.c: hf_region_check by readers: with a slot, with a lock file that they only look at, with none;
 * beside writers and without.
 */
#include "test_region_support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[96];

static int begin(void **state)
{
    file_name(path);
    return home_begin(state);
}

static hf_region *writer_new(void)
{
    hf_region *region;
    hf_region_options options = file_options(HF_REGION_EITHER, 64 << 20);
    ok(hf_region_open_file(path, &options, &region));
    return region;
}

typedef enum kind { WITH_A_SLOT, LOOKING, KINDS } kind;

static hf_region *reader_new(kind how)
{
    const hf_region_options options = {.timeout = -1, .reserve = 64 << 20, .read_only = true};
    hf_region *region;
    ok(how == LOOKING ? open_looking(path, &region) : hf_region_open_file(path, &options, &region));
    return region;
}

/* A few transactions of mixed work; the last of them now and then kept, or one forgotten. */
static void work(hf_region *region, model *m, random_source *random, int transactions)
{
    for (int i = 0; i < transactions; i++) {
        char name[16];
        hf_txn *txn;
        ok(hf_txn_begin(region, -1, &txn));
        for (unsigned j = random_below(random, 30); j > 0; j--) {
            int tree = (int)random_below(random, TREES), key = (int)random_below(random, KEYS);
            if (random_below(random, 3) > 0)
                assert_true(both_put(txn, m, tree, key, (int)random_below(random, VALUES)) >= 0);
            else
                assert_true(both_remove(txn, m, tree, key) >= 0);
        }
        snprintf(name, sizeof name, "kept %u", random_below(random, 4));
        if (random_below(random, 5) == 0 && hf_txn_keep(txn, name) == HF_EXISTS)
            ok(hf_txn_forget(txn, name));
        ok(hf_txn_commit(txn));
    }
}

static void test_all_is_well(void **state)
{
    random_source random = {17};
    static model m;
    (void)state;
    model_clear(&m);
    hf_region *reader[KINDS], *alone, *writer = writer_new();
    work(writer, &m, &random, 20);
    for (int i = 0; i < KINDS; i++)
        reader[i] = reader_new((kind)i);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < KINDS; i++)
            region_check(reader[i]);
        work(writer, &m, &random, 20);
        for (int i = 0; i < KINDS; i++)
            region_check(reader[i]);
        /* The slot of one keeps the lock file as it is: without it, that is retired. */
        if (round % 2 == 0)
            ok(hf_region_close(reader[WITH_A_SLOT]));
        ok(hf_region_close(writer));
        if (round % 2 == 0)
            reader[WITH_A_SLOT] = reader_new(WITH_A_SLOT);
        for (int i = 0; i < KINDS; i++) {
            region_check(reader[i]);
            assert_true(region_is_model(reader[i], &m));
        }
        alone = reader_new(WITH_A_SLOT);
        region_check(alone);
        ok(hf_region_close(alone));
        writer = writer_new();
    }
    for (int i = 0; i < KINDS; i++)
        ok(hf_region_close(reader[i]));
    ok(hf_region_close(writer));
}

/* After a kill: with what was left, and with nothing to go by. */
static void test_after_a_kill(void **state)
{
    static model m;
    (void)state;
    for (int round = 0; round < 4; round++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            random_source random = {(uint64_t)round};
            model_clear(&m);
            hf_region *region = writer_new();
            hf_txn *txn;
            ok(hf_txn_begin(region, -1, &txn));
            for (int tree = 0; tree < TREES; tree++)
                ok(hf_txn_clear(txn, (unsigned)tree));
            ok(hf_txn_commit(txn));
            work(region, &m, &random, 30);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        if (round % 2 == 1) {
            char name[112];
            snprintf(name, sizeof name, "%s-lock", path);
            assert_int_equal(unlink(name), 0);
        }
        for (int i = 0; i < KINDS; i++) {
            hf_region *reader = reader_new((kind)i);
            region_check(reader);
            ok(hf_region_close(reader));
        }
    }
}

/* Beside a process that commits all the time. */
static void test_beside_a_writer(void **state)
{
    static model m;
    int status;
    (void)state;
    ok(hf_region_close(writer_new()));
    pid_t child = fork();
    if (child == 0) {
        random_source random = {5};
        model_clear(&m);
        hf_region *region = writer_new();
        for (;;)
            work(region, &m, &random, 1);
    }
    hf_region *reader[KINDS];
    usleep(20000);
    for (int i = 0; i < KINDS; i++)
        reader[i] = reader_new((kind)i);
    for (int round = 0; round < 60; round++)
        for (int i = 0; i < KINDS; i++)
            region_check(reader[i]);
    assert_true(waitpid(child, &status, WNOHANG) == 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    for (int i = 0; i < KINDS; i++) {
        region_check(reader[i]);
        ok(hf_region_close(reader[i]));
    }
}

static void flip(int fd, off_t at, unsigned char bits)
{
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= bits;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static int check_of(int opened, hf_region *region)
{
    if (opened < 0)
        return opened;
    hf_region_fault fault;
    int status = hf_region_check(region, -1, &fault);
    assert_true(status == 0 || (status == HF_CORRUPT && fault.what != NULL));
    return status;
}

/* Where nobody writes, a reader finds what the holder of the writer's lock finds; beside a writer, what is in the tries. */
static void test_damage(void **state)
{
    enum { FLIPS = 400 };
    random_source random = {23};
    static model m;
    int found = 0, beside = 0, missed = 0;
    struct stat file;
    (void)state;
    model_clear(&m);
    hf_region *writer = writer_new(), *reader;
    work(writer, &m, &random, 60);
    ok(hf_region_close(writer));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &file), 0);
    hf_region_stats stats;
    reader = reader_new(WITH_A_SLOT);
    ok(hf_region_stats_get(reader, &stats));
    ok(hf_region_close(reader));
    for (int i = 0; i < FLIPS; i++) {
        off_t at = HF_FILE_HEAP_AT + (off_t)(random_next(&random) % (stats.top - HF_FILE_HEAP_AT));
        unsigned char bits = (unsigned char)(1u << random_below(&random, 8));
        writer = writer_new();
        hf_region *beside_it = reader_new(WITH_A_SLOT);
        flip(fd, at, bits);
        int by_writer = check_of(0, writer), by_reader = check_of(0, beside_it);
        flip(fd, at, bits);
        ok(hf_region_close(beside_it));
        ok(hf_region_close(writer));
        /* Nobody else has it open: the file is as it was, and clean. */
        reader = reader_new(i % 2 ? WITH_A_SLOT : LOOKING);
        flip(fd, at, bits);
        assert_int_equal(check_of(0, reader), by_writer);
        flip(fd, at, bits);
        ok(hf_region_close(reader));
        assert_true(by_reader == 0 || by_writer < 0);
        found += by_writer < 0;
        beside += by_reader < 0;
        missed += by_writer < 0 && by_reader == 0;
    }
    assert_true(found > FLIPS / 4);
    assert_true(beside > missed);
    close(fd);
}

/* While a reader checks all, nobody opens the file to write; and where somebody has it open, nobody is kept out. */
static void test_writers_are_kept_out(void **state)
{
    (void)state;
    hf_region *writer = writer_new();
    hf_region_options options = file_options(HF_REGION_ATTACH, 64 << 20);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(hf_control_hold(fd, 0), 0);
    options.timeout = 0;
    hf_region *second;
    ok(hf_region_open_file(path, &options, &second));
    ok(hf_region_close(second));
    ok(hf_region_close(writer));
    assert_int_equal(hf_control_hold(fd, 0), 1);
    assert_int_equal(hf_region_open_file(path, &options, &second), HF_TIMEOUT);
    hf_region *reader = reader_new(WITH_A_SLOT);
    region_check(reader);
    ok(hf_region_close(reader));
    close(fd);
    ok(hf_region_open_file(path, &options, &second));
    ok(hf_region_close(second));
}

/* Every allocation and call that fails is a status; what was opened is closed again. */
static void test_failures(void **state)
{
    static const unsigned sites[] = {HF_FAULT_ALLOC, HF_OS_SITE_open, HF_OS_SITE_lock, HF_OS_SITE_fstat};
    random_source random = {2};
    static model m;
    int failed = 0;
    (void)state;
    model_clear(&m);
    hf_region *writer = writer_new();
    work(writer, &m, &random, 40);
    ok(hf_region_close(writer));
    hf_region *reader = reader_new(WITH_A_SLOT);
    int next = dup(0);
    close(next);
    for (size_t i = 0; i < LENGTH(sites); i++) {
        for (unsigned nth = 1; nth < 12; nth++) {
            struct hf_fault plan = {.first = nth, .times = 1, .error = sites[i] == HF_FAULT_ALLOC ? ENOMEM : EIO};
            hf_region_fault fault;
            hf_fault_arm_plan(sites[i], &plan);
            int status = hf_region_check(reader, 0, &fault);
            failed += hf_fault_failed(sites[i]) > 0;
            hf_fault_disarm();
            /* A call that fails on the way to all of it leaves less to look at. */
            assert_true(status == 0 || status == HF_NOMEM || status == HF_IO);
            region_check(reader);
        }
    }
    assert_true(failed > 6);
    int after = dup(0);
    close(after);
    assert_int_equal(after, next);
    ok(hf_region_close(reader));
}

#define in_file(test, which)                                                          \
    {                                                                                 \
#test "@" #which, test, begin, home_end, (void *)(uintptr_t)&all_homes[which] \
    }
#define in_each_file(test) in_file(test, HOME_FULL), in_file(test, HOME_INTERVAL), in_file(test, HOME_OFF)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_each_file(test_all_is_well),
        in_each_file(test_after_a_kill),
        in_each_file(test_beside_a_writer),
        in_file(test_damage, HOME_FULL),
        in_file(test_writers_are_kept_out, HOME_FULL),
        in_file(test_failures, HOME_FULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
