/*
 * A mixed program on a file, of which the n-th call of anything fails: once or from there on, with one error or another, or
 * cut to half. It goes on as well as it can. Afterwards the file is whole, and what it has is what was committed:
 *
 *      states      0 ... durable ... last      each as it was after a commit
 *                        |           |
 *                        |           '--- this one is there, in general
 *                        '--- this one or a later one, and perhaps that of the commit that failed, where the store broke
 */
#include "test_region_child.h"

enum { SPACE = 64 << 20, STATES = 64, STEPS = 14 };

static struct {
    random_source random;
    char path[96];
    hf_region *regions[2];
    model states[STATES];
    int last, durable;
    bool broken;
    uint64_t nursery;
    model attempt; /* of the commit that broke it */
    uint64_t refused;
} the;

/* -- what is left mapped -- */

/* An munmap that fails leaves some gigabytes of addresses, and thousands of programs are run here. So this notes what was
 * mapped and not unmapped, and does it in the end. */
enum { MAPPINGS = 256 };
static struct {
    char *at;
    size_t length;
} mappings[MAPPINGS];

static int noted_mmap(void *address, size_t length, int protection, int flags, int fd, off_t at, void **out)
{
    int result = hf_os_native.mmap(address, length, protection, flags, fd, at, out);
    int i = 0;
    if (result < 0)
        return result;
    while (i < MAPPINGS && mappings[i].at != NULL)
        i++;
    assert_true(i < MAPPINGS);
    mappings[i].at = *out;
    mappings[i].length = length;
    return result;
}

static int noted_munmap(void *address, size_t length)
{
    for (int i = 0; i < MAPPINGS; i++)
        if (mappings[i].at >= (char *)address && mappings[i].at < (char *)address + length)
            mappings[i].at = NULL;
    return hf_os_native.munmap(address, length);
}

/* When all is closed. */
static void unmap_the_rest(void)
{
    for (int i = 0; i < MAPPINGS; i++)
        if (mappings[i].at != NULL)
            must(hf_os_native.munmap(mappings[i].at, mappings[i].length) == 0);
    memset(mappings, 0, sizeof mappings);
}

/* Notes how a call went. What is read is never damaged, whatever has failed. */
static int noted(int status)
{
    if (status < 0) {
        the.refused++;
        if (status == HF_CORRUPT || status == HF_INVALID || status == HF_ABSENT || status == HF_NOT_REGION)
            fail_msg("%s", hf_status_name(status));
    }
    if (status == HF_BROKEN)
        the.broken = true;
    return status;
}

static void change(hf_txn *txn, model *mine)
{
    unsigned level;
    unsigned many = random_below(&the.random, 6) == 0 ? 120 : random_below(&the.random, 8);
    for (unsigned i = 0; i < many; i++) {
        int tree = (int)random_below(&the.random, TREES), key = (int)random_below(&the.random, KEYS);
        model before = *mine;
        bool inner = random_below(&the.random, 8) == 0 && noted(hf_txn_savepoint(txn, &level)) == 0;
        if (random_below(&the.random, 3) == 0)
            noted(both_remove(txn, mine, tree, key));
        else
            noted(both_put(txn, mine, tree, key, (int)random_below(&the.random, VALUES)));
        if (inner && random_below(&the.random, 2) == 0) {
            ok(hf_txn_rollback(txn, level));
            *mine = before;
        }
        if (inner)
            ok(hf_txn_release(txn, level));
    }
    if (random_below(&the.random, 40) == 0)
        noted(both_clear(txn, mine, 1));
}

static void transaction(hf_region *region)
{
    static model mine;
    hf_txn *txn;
    if (noted(hf_txn_begin(region, 0, &txn)) < 0)
        return;
    mine = the.states[the.last];
    change(txn, &mine);
    unsigned which = random_below(&the.random, 6);
    if (which == 0)
        hf_txn_keep(txn, "kept");
    else if (which == 1)
        hf_txn_forget(txn, "kept");
    int status = noted(hf_txn_commit(txn));
    if (status == 0) {
        the.states[++the.last] = mine;
        if (region->file->level == HF_REGION_FULL)
            the.durable = the.last;
        return;
    }
    if (status == HF_BROKEN)
        the.attempt = mine;
    ok(hf_txn_abort(txn));
}

static void look(hf_region *region)
{
    hf_region_fault fault = {.what = ""};
    hf_snapshot *snapshot;
    hf_view view;
    int status = hf_region_check(region, 0, &fault);
    if (status == HF_CORRUPT)
        fail_msg("check: %s at %#llx", fault.what, (unsigned long long)fault.at);
    if (hf_view_pin(region, &view) == 0) {
        assert_true(view_is(&view, &the.states[the.last], 0));
        hf_view_unpin(&view);
    }
    if (hf_snapshot_begin(region, &snapshot) == 0) {
        assert_true(view_is(hf_snapshot_view(snapshot), &the.states[the.last], 1));
        hf_snapshot_end(snapshot);
    }
}

static void open_both(void)
{
    for (int i = 0; i < 2; i++) {
        hf_region_options options = file_options(HF_REGION_EITHER, SPACE);
        options.timeout = 0;
        options.nursery = the.nursery;
        if (the.regions[i] == NULL && noted(hf_region_open_file(the.path, &options, &the.regions[i])) < 0)
            the.regions[i] = NULL;
    }
}

static void close_both(void)
{
    for (int i = 0; i < 2; i++)
        if (the.regions[i] != NULL) {
            noted(hf_region_close(the.regions[i]));
            the.regions[i] = NULL;
        }
}

static void flush(hf_region *region)
{
    if (noted(hf_region_flush(region, 0)) == 0)
        the.durable = the.last;
}

static void program(uint64_t seed)
{
    the.random.state = seed;
    open_both();
    for (int step = 0; step < STEPS && !the.broken; step++) {
        hf_region *region = the.regions[random_below(&the.random, 2)];
        unsigned what = random_below(&the.random, 12);
        if (region == NULL || what == 0)
            close_both();
        if (region == NULL || what == 0)
            open_both();
        else if (what == 1)
            flush(region);
        else if (what < 4)
            look(region);
        else
            transaction(region);
    }
}

/* Afterwards, when all works again: is it one of those that it may be? */
static void expect_it_is_well(void)
{
    bool right = false;
    close_both();
    hf_region *region;
    hf_region_options options = file_options(HF_REGION_EITHER, SPACE);
    ok(hf_region_open_file(the.path, &options, &region));
    region_check(region);
    for (int i = the.broken ? the.durable : the.last; !right && i <= the.last; i++)
        right = region_is_model(region, &the.states[i]);
    if (!right && the.broken)
        right = region_is_model(region, &the.attempt);
    assert_true(right);
    hf_txn *txn;
    model *mine = &the.states[0];
    ok(hf_txn_begin(region, 0, &txn));
    ok(hf_txn_clear(txn, 0));
    ok(hf_txn_clear(txn, 1));
    model_clear(mine);
    for (int key = 0; key < 40; key++)
        assert_int_equal(both_put(txn, mine, 0, key, key), 1);
    ok(hf_txn_commit(txn));
    assert_true(region_is_model(region, mine));
    region_check(region);
    ok(hf_region_close(region));
}

static uint64_t run(uint64_t seed, unsigned site, const struct hf_fault *plan)
{
    static struct hf_os table;
    table = hf_os_native;
    table.mmap = noted_mmap;
    table.munmap = noted_munmap;
    files_remove();
    file_name(the.path);
    the.last = the.durable = 0;
    the.broken = false;
    the.nursery = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 4096 : HF_REGION_STRAIGHT;
    model_clear(&the.states[0]);
    model_clear(&the.attempt);
    hf_os_replace(&table);
    hf_fault_arm_plan(site, plan);
    program(seed);
    uint64_t failed = hf_fault_failed(site);
    if (seed % 2 == 0)
        hf_fault_disarm();
    close_both();
    hf_fault_disarm();
    expect_it_is_well();
    hf_os_replace(NULL);
    unmap_the_rest();
    return failed;
}

static void every_call_fails(void **state)
{
    static const struct hf_fault plans[] = {
        {.times = 1, .error = EIO},
        {.times = 1, .error = ENOSPC},
        {.times = 1, .error = EINTR},
        {.times = HF_FAULT_FOREVER, .error = ENOSPC},
        {.times = HF_FAULT_FOREVER, .error = EIO},
        {.times = 1, .shorten = true},
        {.times = HF_FAULT_FOREVER, .shorten = true},
    };
    bool all = getenv("TORTURE") != NULL;
    uint64_t runs = 0, failures = 0, breaks = 0;
    int before = count_descriptors();
    the.refused = 0;
    for (size_t i = 0; i < LENGTH(plans); i++) {
        uint64_t step = all ? 1 : 3;
        for (uint64_t n = 1 + i % step; n < 3000; n += step) {
            struct hf_fault plan = plans[i];
            plan.first = n;
            uint64_t failed = run(n * 16 + i, HF_FAULT_ANY, &plan);
            runs++;
            failures += failed > 0;
            breaks += the.broken;
            assert_int_equal(count_descriptors(), before);
            if (failed == 0)
                break;
        }
    }
    print_message("%llu programs, in %llu of them a call failed, %llu stores broken, %llu calls refused\n",
                  (unsigned long long)runs, (unsigned long long)failures, (unsigned long long)breaks,
                  (unsigned long long)the.refused);
    assert_true(failures > 50 && the.refused > 50 && breaks > 0);
}

/* Each call that a file makes, alone: those that are rare among all too. */
static void every_call_fails_by_its_site(void **state)
{
    bool all = getenv("TORTURE") != NULL;
    uint64_t failures = 0;
    for (unsigned site = 0; site < HF_OS_SITES_END; site++) {
        uint64_t most = all ? 3000 : site == HF_OS_SITE_pwrite ? 30 : site == HF_OS_SITE_fdatasync ? 16 : 6;
        for (uint64_t n = 1; n <= most; n++) {
            struct hf_fault plan = {.first = n, .times = 1 + n % 3, .error = n % 2 == 0 ? EIO : ENOMEM};
            uint64_t failed = run(n * 64 + site, site, &plan);
            failures += failed > 0;
            if (failed == 0)
                break;
        }
    }
    assert_true(failures > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_home(every_call_fails, HOME_FULL),
        in_home(every_call_fails, HOME_OFF),
        in_home(every_call_fails_by_its_site, HOME_FULL),
        in_home(every_call_fails_by_its_site, HOME_OFF),
    };
    return cmocka_run_group_tests_name("region/file_faults", tests, NULL, NULL);
}
