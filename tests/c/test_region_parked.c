/*
 * test_region_parked.c: what a long pin holds is put aside once, however many short ones come and go beside it.
 *
 * Counted are the entries that the queue PARKED of a file (file_space.c, S2) got, by its tail, and the
 * bytes that are written.
 */
#include "test_region_plain.h"

enum { MANY = 20000, UPDATES = 20000 };

static uint64_t written;

static ssize_t counting_pwrite(int fd, const void *buffer, size_t size, off_t at)
{
    written += size;
    return hf_os_native.pwrite(fd, buffer, size, at);
}

static const struct hf_file_state *newest_of(const hf_region *region)
{
    uint64_t published = atomic_load(&region->lock->published);
    return &((const struct hf_file_commit *)(const void *)hf_region_seen(region, published))->state;
}

static uint64_t entries_of(const struct hf_file_queue *queue)
{
    return queue->tail - queue->head;
}

struct figures {
    uint64_t parked;  /* cells, in the end */
    uint64_t entries; /* of PARKED, in the end, */
    uint64_t pushed;  /* and ever */
    uint64_t written; /* bytes */
    uint64_t grown;
};

/* UPDATES commits of one put each. `held`: one snapshot is there all the time. A short one, for `each` commits; 0: none. */
static struct figures run(bool held, int each)
{
    static struct hf_os table;
    hf_region *region = filled(MANY);
    hf_snapshot *lasting = NULL, *brief = NULL;
    random_source random = {11};
    hf_region_stats stats;
    hf_txn *txn;

    uint64_t top = top_of(region);
    if (held)
        ok(hf_snapshot_begin(region, &lasting));
    table = hf_os_native;
    table.pwrite = counting_pwrite;
    written = 0;
    hf_os_replace(&table);
    for (int i = 0; i < UPDATES; i++) {
        if (each > 0 && i % each == 0) {
            if (brief != NULL)
                hf_snapshot_end(brief);
            ok(hf_snapshot_begin(region, &brief));
        }
        ok(hf_txn_begin(region, -1, &txn));
        plain_put(txn, random_next(&random) % MANY, (uint64_t)i + 1);
        ok(hf_txn_commit(txn));
        if (i % 1000 == 999)
            region_check(region);
    }
    hf_os_replace(NULL);
    ok(hf_region_stats_get(region, &stats));
    const struct hf_file_queue *queue = &newest_of(region)->queues[HF_QUEUE_PARKED];
    struct figures figures = {stats.parked, entries_of(queue), queue->tail, written, stats.top - top};
    if (brief != NULL)
        hf_snapshot_end(brief);
    if (lasting != NULL)
        hf_snapshot_end(lasting);
    region_check(region);
    ok(hf_region_close(region));
    return figures;
}

static void print(const char *what, const struct figures *figures)
{
    print_message("%s: %llu cells parked in %llu entries, %llu pushed, %.1f MB written, grown by %.1f MB\n", what,
                  (unsigned long long)figures->parked, (unsigned long long)figures->entries,
                  (unsigned long long)figures->pushed, (double)figures->written / 1e6, (double)figures->grown / 1e6);
}

static void what_a_long_pin_holds_is_parked_once(void **state)
{
    (void)state;
    /* Each commit to the file itself: what waits in the nursery is parked by the segment, and less often. */
    the_nursery = HF_REGION_STRAIGHT;
    struct figures none = run(false, 0), lasting = run(true, 0), brief = run(false, 50), both = run(true, 50);
    the_nursery = NURSERY_IN_TURN;
    print("no pin", &none);
    print("a long one", &lasting);
    print("short ones", &brief);
    print("both", &both);
    assert_int_equal(none.pushed, 0);
    /* The long one's cells are all there, in entries that are full but for a few. */
    assert_true(lasting.parked > 10000 && both.parked > 10000);
    assert_true(lasting.entries <= lasting.parked / HF_CELLS_LARGE + 3);
    assert_true(both.entries <= both.parked / HF_CELLS_LARGE + 3);
    /* Each look may begin an entry for what short ones hold, and one for the long one: not one for each that is parked. There
     * are some 600 looks; it was 18,892. */
    assert_true(both.pushed <= 1000);
    assert_true(both.written <= lasting.written + lasting.written / 8);
    assert_true(both.written <= brief.written + brief.written / 8);
    assert_true(none.grown <= 6000000 && lasting.grown <= 6000000 && brief.grown <= 6000000 && both.grown <= 6000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {in_home(what_a_long_pin_holds_is_parked_once, HOME_OFF)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
