/*
 * test_cask_readers.c: other processes that read a cask while it is written, and forks.
 *
 * The writer goes up: value n of a key is only ever followed by n + 1, and all keys of a batch have one number. A
 * reader must never see a number go down, nor a batch in part; what it is told (through a counter in shared memory)
 * was put, it must see.
 */
#include "test_cask_support.h"
#include "test_child.h"

#include <sys/mman.h>

enum { KEYS = 40, READERS = 3 };

typedef struct board {
    _Atomic uint64_t put; /* all keys have this number, or a higher one */
    _Atomic int opened;
    _Atomic int stop;
    _Atomic int reads;
} board;

static board *b;
static hf_cask_options options;

static uint64_t number_in(const void *value, size_t size)
{
    uint64_t number = 0;

    must(size >= sizeof number);
    memcpy(&number, value, sizeof number);
    return number;
}

static void put_all(hf_cask *cask, uint64_t number, bool in_batch)
{
    unsigned char value[120];
    hf_cask_batch *batch = NULL;

    memset(value, (int)number, sizeof value);
    memcpy(value, &number, sizeof number);
    if (in_batch)
        must(hf_cask_batch_begin(cask, &batch) == 0);
    for (int i = 0; i < KEYS; i++)
        must((in_batch ? hf_cask_batch_put(batch, &i, sizeof i, value, sizeof value, 0)
                       : hf_cask_put(cask, &i, sizeof i, value, sizeof value, 0)) == 0);
    if (in_batch)
        must(hf_cask_batch_commit(batch) == 0);
    hf_cask_batch_end(batch);
    atomic_store(&b->put, number);
}

typedef struct sight {
    uint64_t lowest, highest;
    unsigned count;
} sight;

static int visit(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                 const hf_cask_info *info)
{
    sight *s = arg;
    uint64_t number = number_in(value, value_size);

    s->lowest = number < s->lowest ? number : s->lowest;
    s->highest = number > s->highest ? number : s->highest;
    s->count++;
    return 0;
}

/* One look at one key, and now and then at all. */
static void look(hf_cask *cask, hf_cask_room *room, uint64_t seen[KEYS], unsigned turn, bool batches)
{
    const void *value;
    size_t size;
    int key = (int)(turn * 7 % KEYS);
    uint64_t before = atomic_load(&b->put);
    int status = hf_cask_get(cask, &key, sizeof key, room, &value, &size);

    must(status == (before > 0) || (status == 1 && before == 0));
    if (status == 1) {
        uint64_t number = number_in(value, size);
        if (number < before || number < seen[key])
            fprintf(stderr, "key %d: %u after %u, put %u\n", key, (unsigned)number, (unsigned)seen[key],
                    (unsigned)before);
        must(number >= before && number >= seen[key]);
        seen[key] = number;
    }
    if (turn % 64 == 0) {
        sight s = {.lowest = UINT64_MAX};
        must(hf_cask_fold(cask, visit, &s) == 0);
        must(s.count == 0 || s.count == KEYS || !batches);
        must(s.count == 0 ||
             (s.lowest >= before && (s.highest == s.lowest || (!batches && s.highest <= s.lowest + 1))));
    }
}

static void reader(bool batches)
{
    hf_cask_options read = {.mode = HF_CASK_READ};
    hf_cask_room room = {0};
    uint64_t seen[KEYS] = {0};
    hf_cask *cask = NULL;
    unsigned turn = 0;

    while (atomic_load(&b->opened) == 0)
        usleep(100);
    while (atomic_load(&b->stop) == 0) {
        if (cask == NULL)
            must(hf_cask_open(cask_path, &read, &cask) == 0);
        look(cask, &room, seen, turn++, batches);
        if (turn % 3000 == 0) {
            must(hf_cask_close(cask) == 0);
            cask = NULL;
        }
        atomic_fetch_add(&b->reads, 1);
    }
    must(hf_cask_close(cask) == 0);
    hf_cask_room_clear(&room);
    _exit(0);
}

static void run(bool batches, unsigned rounds)
{
    pid_t readers[READERS];

    b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(b != MAP_FAILED);
    /* Before there is a thread of the cask's: AddressSanitizer's allocator does not survive a fork beside one. */
    for (int i = 0; i < READERS; i++) {
        readers[i] = fork();
        assert_true(readers[i] >= 0);
        if (readers[i] == 0) {
            its_own_death();
            reader(batches);
        }
    }
    hf_cask *cask = cask_open(&options);
    atomic_store(&b->opened, 1);
    for (uint64_t n = 1; n <= rounds; n++) {
        put_all(cask, n, batches);
        /* The writer comes and goes; whoever reads stays. */
        if (n % 100 == 0)
            cask = cask_again(cask, &options);
        if (n % 16 == 0)
            usleep(500);
    }
    while (atomic_load(&b->reads) < 2000)
        usleep(1000);
    atomic_store(&b->stop, 1);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(exit_status_of(readers[i]), 0);
    assert_int_equal(hf_cask_close(cask), 0);
    munmap(b, sizeof *b);
}

static void test_single(void **state)
{
    options = (hf_cask_options){.max_file_size = 32768, .checkpoint = 100000};
    run(false, 300);
}

static void test_batches(void **state)
{
    options = (hf_cask_options){.max_file_size = 32768, .checkpoint = 50000, .no_thread = true};
    run(true, 400);
}

static void test_synced(void **state)
{
    options = (hf_cask_options){.max_file_size = 65536, .checkpoint = 50000, .sync = HF_CASK_SYNC_PUT};
    run(true, 150);
}

/* -- several writers, memory's owner -- */

static void test_two_writers(void **state)
{
    hf_cask *cask = cask_open(NULL), *other;
    hf_cask_options memory = {.keydir_in_memory = true}, read = {.mode = HF_CASK_READ};

    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        its_own_death();
        must(hf_cask_open(cask_path, NULL, &other) == HF_BUSY);
        must(hf_cask_open(cask_path, &memory, &other) == HF_BUSY);
        must(hf_cask_open(cask_path, &read, &other) == 0);
        must(hf_cask_close(other) == 0);
        _exit(0);
    }
    assert_int_equal(exit_status_of(pid), 0);
    assert_int_equal(hf_cask_close(cask), 0);
    cask = cask_open(&memory);
    assert_int_equal(hf_cask_open(cask_path, &read, &other), HF_BUSY);
    cask_put(cask, "a", "b");
    assert_int_equal(hf_cask_close(cask), 0);
    assert_int_equal(hf_cask_open(cask_path, &read, &other), 0);
    cask_is(other, "a", "b");
    assert_int_equal(hf_cask_close(other), 0);
}

/* A reader who found no page that could be believed, and then a writer comes. */
static void test_writer_comes(void **state)
{
    hf_cask_options read = {.mode = HF_CASK_READ};
    hf_cask *cask = cask_open(NULL), *other;
    char path[120];

    cask_put(cask, "a", "1");
    assert_int_equal(hf_cask_close(cask), 0);
    /* As of another boot. */
    snprintf(path, sizeof path, "%s/page", cask_path);
    FILE *page = fopen(path, "r+");
    assert_non_null(page);
    assert_int_equal(fseek(page, offsetof(struct hf_cask_page, boot), SEEK_SET), 0);
    assert_int_equal(fwrite("0123456789abcdef", 1, 16, page), 16);
    fclose(page);
    assert_int_equal(hf_cask_open(cask_path, &read, &other), 0);
    cask_is(other, "a", "1");
    cask = cask_open(NULL);
    cask_is(other, "a", "1");
    cask_put(cask, "b", "2");
    cask_is(other, "b", "2");
    assert_int_equal(hf_cask_delete(cask, "a", 1), 1);
    cask_is(other, "a", NULL);
    cask_counts(other, 1);
    assert_int_equal(hf_cask_close(cask), 0);
    /* None at all: the log tells. */
    assert_int_equal(hf_cask_close(other), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hf_cask_open(cask_path, &read, &other), 0);
    cask_is(other, "b", "2");
    cask = cask_open(NULL);
    cask_put(cask, "c", "3");
    assert_int_equal(hf_cask_close(cask), 0);
    /* The keydir has a newer version by now. */
    cask_is(other, "c", "3");
    assert_int_equal(hf_cask_close(other), 0);
}

/* -- forks -- */

static void test_fork(void **state)
{
    hf_cask *cask = cask_open(NULL), *other;
    hf_cask_options read = {.mode = HF_CASK_READ};
    hf_cask_snapshot *snapshot;
    hf_cask_batch *batch;
    uint64_t count;

    cask_put(cask, "a", "1");
    assert_int_equal(hf_cask_snapshot_begin(cask, &snapshot), 0);
    assert_int_equal(hf_cask_batch_begin(cask, &batch), 0);
    assert_int_equal(hf_cask_batch_put(batch, "b", 1, "2", 1, 0), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        its_own_death();
        must(hf_cask_get(cask, "a", 1, NULL, NULL, NULL) == HF_LOST);
        must(hf_cask_put(cask, "a", 1, "x", 1, 0) == HF_LOST);
        must(hf_cask_delete(cask, "a", 1) == HF_LOST);
        must(hf_cask_count(cask, &count) == HF_LOST);
        must(hf_cask_sync_now(cask) == HF_LOST);
        must(hf_cask_batch_commit(batch) == HF_LOST);
        must(hf_cask_snapshot_get(snapshot, "a", 1, NULL, NULL) == HF_LOST);
        must(hf_cask_open(cask_path, NULL, &other) == HF_BUSY);
        must(hf_cask_open(cask_path, &read, &other) == 0);
        must(hf_cask_get(other, "a", 1, NULL, NULL, NULL) == 1);
        must(hf_cask_close(other) == 0);
        must(hf_cask_close(cask) == HF_BUSY);
        hf_cask_snapshot_end(snapshot);
        hf_cask_batch_end(batch);
        must(hf_cask_close(cask) == 0);
        must(hf_cask_open(cask_path, NULL, &other) == HF_BUSY);
        _exit(0);
    }
    assert_int_equal(exit_status_of(pid), 0);
    cask_put(cask, "c", "3");
    assert_int_equal(hf_cask_batch_commit(batch), 0);
    cask_is(cask, "b", "2");
    hf_cask_snapshot_end(snapshot);
    hf_cask_batch_end(batch);
    /* A child that lives on keeps nobody out. */
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pause();
        _exit(0);
    }
    cask = cask_again(cask, NULL);
    cask_is(cask, "c", "3");
    assert_int_equal(hf_cask_close(cask), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    exit_status_of(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_single),      cask_test(test_batches),      cask_test(test_synced),
        cask_test(test_two_writers), cask_test(test_writer_comes), cask_test(test_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
