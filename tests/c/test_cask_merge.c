/*
 * test_cask_merge.c: merging, against a model.
 *
 *      model    an array of keys: what each has, and when it expires
 *      cask     files of 4 KiB, so a few hundred steps make dozens of them
 *
 * After each merge the whole cask is checked (hf_cask_check), and each key compared. What was deleted must stay
 * away: whatever files were merged in whatever order, whatever call of a merge was the last before the process
 * died, whatever call failed, with the keydir and without it.
 */
#include "test_cask_support.h"
#include "test_child.h"
#include "test_common.h"

#include <sys/mman.h>
#include <time.h>

enum { KEYS = 40, VALUE_MOST = 300 };

typedef struct entry {
    bool there;
    uint32_t version;
    int64_t expires;
} entry;

typedef struct model {
    entry keys[KEYS];
    uint32_t versions;
    int64_t clock;
    uint64_t random;
} model;

static model *m;
static struct hf_os table;

static uint64_t next(void)
{
    m->random += 0x9e3779b97f4a7c15u;
    return mixed(m->random);
}

static unsigned below(unsigned n)
{
    return (unsigned)(next() % n);
}

static int stepped(clockid_t clock, struct timespec *out)
{
    if (clock != CLOCK_REALTIME)
        return hf_os_native.clock_gettime(clock, out);
    *out = (struct timespec){.tv_sec = m->clock / 1000, .tv_nsec = m->clock % 1000 * 1000000};
    return 0;
}

static void use_clock(void)
{
    table = hf_os_native;
    table.clock_gettime = stepped;
    hf_os_replace(&table);
}

static void model_new(uint64_t seed)
{
    if (m == NULL)
        m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(m != MAP_FAILED);
    *m = (model){.clock = 1000000, .random = seed};
    use_clock();
}

static size_t key_of(unsigned i, char out[32])
{
    return (size_t)snprintf(out, 32, "key %u", i);
}

static size_t value_of(unsigned i, uint32_t version, unsigned char out[VALUE_MOST])
{
    size_t size = mixed(version * 1000003u + i) % VALUE_MOST;
    memset(out, (int)(version + i), size);
    return size;
}

static const hf_cask_options tiny = {
    .max_file_size = 4096,
    .checkpoint = 6000,
    .no_thread = true,
    .merging = {.by_call = true, .fragmentation_trigger = 1, .fragmentation_threshold = 1},
};

/* -- looking -- */

static int tell(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of)
{
    if (fault != NULL)
        fprintf(stderr, "%s: file %u, at %u, %u bytes\n", fault->what, fault->file, (unsigned)fault->at,
                (unsigned)fault->size);
    return 0;
}

static bool is_live(const entry *e)
{
    return e->there && m->clock < e->expires;
}

static void look_at_all(hf_cask *cask)
{
    hf_cask_room room = {0};
    unsigned char expected[VALUE_MOST];
    uint64_t count, live = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        const entry *e = &m->keys[i];
        char key[32];
        const void *value;
        size_t size, key_size = key_of(i, key);
        int found = hf_cask_get(cask, key, key_size, &room, &value, &size);
        if (found != is_live(e))
            fprintf(stderr, "key %u: %d, should be %d, version %u\n", i, found, is_live(e), e->version);
        must(found == is_live(e));
        live += (uint64_t)found;
        must(!found ||
             (size == value_of(i, e->version, expected) && (size == 0 || memcmp(value, expected, size) == 0)));
    }
    must(hf_cask_count(cask, &count) == 0 && count == live);
    hf_cask_room_clear(&room);
}

static void check(hf_cask *cask)
{
    int status = hf_cask_check(cask, tell, NULL);
    if (status != 0)
        fprintf(stderr, "check: %s\n", hf_status_name(status));
    must(status == 0);
    look_at_all(cask);
}

/* -- steps -- */

static void put(hf_cask *cask, unsigned i, int64_t ttl)
{
    unsigned char value[VALUE_MOST];
    char key[32];
    size_t key_size = key_of(i, key), size = value_of(i, ++m->versions, value);
    must(hf_cask_put(cask, key, key_size, value, size, ttl) == 0);
    m->keys[i] = (entry){true, m->versions, ttl > 0 ? m->clock + ttl : INT64_MAX};
}

static void delete_one(hf_cask *cask, unsigned i)
{
    char key[32];
    size_t key_size = key_of(i, key);
    must(hf_cask_delete(cask, key, key_size) == is_live(&m->keys[i]));
    m->keys[i].there = false;
}

static void batch(hf_cask *cask)
{
    unsigned char value[VALUE_MOST];
    hf_cask_batch *b;
    char key[32];
    must(hf_cask_batch_begin(cask, &b) == 0);
    for (unsigned k = 1 + below(6); k > 0; k--) {
        unsigned i = below(KEYS);
        size_t key_size = key_of(i, key);
        if (below(2) == 0) {
            must(hf_cask_batch_delete(b, key, key_size) == 0);
            m->keys[i].there = false;
        } else {
            size_t size = value_of(i, ++m->versions, value);
            must(hf_cask_batch_put(b, key, key_size, value, size, 0) == 0);
            m->keys[i] = (entry){true, m->versions, INT64_MAX};
        }
    }
    must(hf_cask_batch_commit(b) == 0);
    hf_cask_batch_end(b);
}

static void write_some(hf_cask *cask, unsigned steps)
{
    for (; steps > 0; steps--) {
        unsigned what = below(20);
        if (what < 9)
            put(cask, below(KEYS), below(4) == 0 ? 1 + below(200) : 0);
        else if (what < 15)
            delete_one(cask, below(KEYS));
        else if (what < 17)
            batch(cask);
        else
            m->clock += below(40);
    }
}

static hf_cask *again(hf_cask *cask, const hf_cask_options *options)
{
    must(hf_cask_close(cask) == 0);
    must(hf_cask_open(cask_path, options, &cask) == 0);
    return cask;
}

static void take_away(const char *what)
{
    char command[200];
    snprintf(command, sizeof command, "rm -f %s/%s", cask_path, what);
    must(system(command) == 0);
}

static unsigned logs(void)
{
    unsigned count = 0;
    DIR *listing = opendir(cask_path);
    must(listing != NULL);
    for (struct dirent *d; (d = readdir(listing)) != NULL;)
        count += strstr(d->d_name, ".log") != NULL;
    closedir(listing);
    return count;
}

/* -- a model, one process -- */

static void run_model(uint64_t seed)
{
    hf_cask_options options = tiny;
    hf_cask_snapshot *snapshot = NULL;
    hf_cask *cask;
    model_new(seed);
    cask_remove(cask_path);
    options.sync = below(4) == 0 ? HF_CASK_SYNC_PUT : HF_CASK_SYNC_NONE;
    options.keydir_in_memory = below(5) == 0;
    options.no_thread = below(3) > 0;
    options.merging.by_call = below(3) > 0;
    options.max_file_size = 4096 << below(2);
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    for (unsigned round = 0; round < 12; round++) {
        write_some(cask, 20 + below(100));
        if (below(3) == 0 && snapshot == NULL)
            must(hf_cask_snapshot_begin(cask, &snapshot) == 0);
        hf_cask_merged merged;
        int status = hf_cask_merge(cask, below(3), &merged);
        must(status == 0);
        check(cask);
        if (below(3) > 0) {
            hf_cask_snapshot_end(snapshot);
            snapshot = NULL;
        }
        if (below(3) > 0 || snapshot != NULL)
            continue;
        must(hf_cask_close(cask) == 0);
        if (below(2) == 0)
            take_away("keydir*");
        if (below(3) == 0)
            take_away("*.hint");
        must(hf_cask_open(cask_path, &options, &cask) == 0);
        check(cask);
    }
    hf_cask_snapshot_end(snapshot);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    cask = again(cask, &options);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

static void test_model(void **state)
{
    const char *only = getenv("CASK_TEST_SEED"), *torture = getenv("TORTURE");
    uint64_t count = torture != NULL ? 1000 : 25;
    for (uint64_t seed = only != NULL ? strtoull(only, NULL, 10) : 1; seed <= count; seed++) {
        if (only != NULL)
            count = seed;
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            its_own_death();
            run_model(seed);
            _exit(0);
        }
        int status = exit_status_of(child);
        if (status != 0)
            fprintf(stderr, "seed %u\n", (unsigned)seed);
        assert_int_equal(status, 0);
    }
}

/* -- death at every call of a merge -- */

static uint64_t calls, last_call;

static void count_call(void)
{
    if (++calls == last_call)
        _exit(9);
}

static int dying_fdatasync(int fd)
{
    count_call();
    return hf_os_native.fdatasync(fd);
}

static int dying_fsync(int fd)
{
    count_call();
    return hf_os_native.fsync(fd);
}

static ssize_t dying_pwrite(int fd, const void *buffer, size_t size, off_t at)
{
    count_call();
    return hf_os_native.pwrite(fd, buffer, size, at);
}

static int dying_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    count_call();
    return hf_os_native.renameat2(from_dir, from, to_dir, to, flags);
}

static int dying_unlinkat(int dir, const char *path, int flags)
{
    count_call();
    return hf_os_native.unlinkat(dir, path, flags);
}

static int dying_openat(int dir, const char *path, int flags, mode_t mode)
{
    count_call();
    return hf_os_native.openat(dir, path, flags, mode);
}

static int dying_ftruncate(int fd, off_t length)
{
    count_call();
    return hf_os_native.ftruncate(fd, length);
}

static void die_at(uint64_t n)
{
    calls = 0;
    last_call = n;
    table.fdatasync = dying_fdatasync;
    table.fsync = dying_fsync;
    table.pwrite = dying_pwrite;
    table.renameat2 = dying_renameat2;
    table.unlinkat = dying_unlinkat;
    table.openat = dying_openat;
    table.ftruncate = dying_ftruncate;
}

static void copy_folder(const char *from, const char *to)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", to, from, to);
    must(system(command) == 0);
}

/* A folder with a lot to merge, and the model of it. */
static void make_base(const char *base, uint64_t seed)
{
    hf_cask *cask;
    model_new(seed);
    cask_remove(cask_path);
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    write_some(cask, 250);
    must(hf_cask_close(cask) == 0);
    copy_folder(cask_path, base);
}

/* What survived is merged on, with and without the keydir. */
static void after_death(unsigned how)
{
    hf_cask *cask;
    if (how == 1)
        take_away("keydir*");
    if (how == 2)
        take_away("keydir* *.hint");
    if (how == 3)
        take_away("page");
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    check(cask);
    must(hf_cask_merge(cask, how % 3, NULL) == 0);
    check(cask);
    if (how % 2 == 0)
        m->clock += 300;
    must(hf_cask_close(cask) == 0);
    take_away("keydir*");
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    check(cask);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

/* 1: it died; 0: the merge made fewer calls. */
static int die_once(const char *base, uint64_t n, unsigned how)
{
    model before = *m;
    copy_folder(base, cask_path);
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        hf_cask *cask;
        its_own_death();
        must(hf_cask_open(cask_path, &tiny, &cask) == 0);
        die_at(n);
        must(hf_cask_merge(cask, 0, NULL) == 0);
        _exit(0);
    }
    int status, died;
    must(waitpid(child, &status, 0) == child && WIFEXITED(status));
    died = WEXITSTATUS(status) == 9;
    must(died || WEXITSTATUS(status) == 0);
    after_death(how);
    *m = before;
    return died;
}

static void run_deaths(void)
{
    const char *torture = getenv("TORTURE");
    char base[100];
    snprintf(base, sizeof base, "%s/base", cask_scratch);
    for (uint64_t seed = 1; seed <= (torture != NULL ? 20 : 1); seed++) {
        make_base(base, seed);
        /* Every call at least once, with what else may be lost in turn. */
        for (uint64_t n = 1, step = torture != NULL ? 1 : 5; die_once(base, n, (unsigned)(n / step % 4)); n += step)
            ;
    }
}

static void test_deaths(void **state)
{
    in_a_child(run_deaths);
}

/* -- failure of every call -- */

static void run_failures(void)
{
    static const int errors[] = {EIO, ENOSPC, ENOMEM};
    const char *torture = getenv("TORTURE");
    char base[100];
    snprintf(base, sizeof base, "%s/base", cask_scratch);
    make_base(base, 77);
    model before = *m;
    uint64_t step = torture != NULL ? 1 : 11;
    for (uint64_t n = 1, failed = 1; failed > 0; n += step) {
        hf_cask *cask;
        *m = before;
        copy_folder(base, cask_path);
        must(hf_cask_open(cask_path, &tiny, &cask) == 0);
        hf_fault_arm(HF_FAULT_ANY, n, errors[n % LENGTH(errors)]);
        int status = hf_cask_merge(cask, 0, NULL);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        must(failed > 0 || status == 0);
        look_at_all(cask);
        if (status != HF_BROKEN) {
            check(cask);
            must(hf_cask_merge(cask, 0, NULL) == 0);
            put(cask, 0, 0);
        }
        check(cask);
        int closed = hf_cask_close(cask);
        must(closed == (status == HF_BROKEN ? HF_BROKEN : 0));
        must(hf_cask_open(cask_path, &tiny, &cask) == 0);
        must(hf_cask_merge(cask, 0, NULL) == 0);
        check(cask);
        must(hf_cask_close(cask) == 0);
    }
}

static void test_failures(void **state)
{
    in_a_child(run_failures);
}

/* -- snapshots -- */

static void run_snapshots(void)
{
    hf_cask_snapshot *snapshot;
    hf_cask_status status;
    hf_cask *cask;
    const void *value;
    uint64_t count;
    size_t size;
    model_new(5);
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    for (unsigned i = 0; i < KEYS; i++)
        put(cask, i, 0);
    must(hf_cask_snapshot_begin(cask, &snapshot) == 0);
    model then = *m;
    for (unsigned round = 0; round < 5; round++)
        for (unsigned i = 0; i < KEYS; i++)
            put(cask, i, 0);
    for (unsigned i = 0; i < KEYS; i++)
        delete_one(cask, i);
    must(hf_cask_sync_now(cask) == 0);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    unsigned held = logs();
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned char expected[VALUE_MOST];
        char key[32];
        size_t key_size = key_of(i, key);
        must(hf_cask_snapshot_get(snapshot, key, key_size, &value, &size) == 1);
        must(size == value_of(i, then.keys[i].version, expected) &&
             (size == 0 || memcmp(value, expected, size) == 0));
    }
    must(hf_cask_snapshot_count(snapshot, &count) == 0 && count == KEYS);
    hf_cask_snapshot_end(snapshot);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    must(logs() < held);
    must(hf_cask_status_get(cask, &status, NULL, NULL) == 0);
    must(status.keys == 0 && status.merged.files > 0 && status.merged.dropped > 0);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

static void test_snapshots(void **state)
{
    in_a_child(run_snapshots);
}

/* -- readers in other processes -- */

static void read_for_ever(int until)
{
    hf_cask_options options = {.mode = HF_CASK_READ};
    hf_cask_room room = {0};
    hf_cask *cask;
    char byte;
    unsigned rounds = 0;
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    fcntl(until, F_SETFL, O_NONBLOCK);
    while (read(until, &byte, 1) < 0 || rounds < 10) {
        for (unsigned i = 0; i < KEYS; i++) {
            char key[32];
            const void *value;
            size_t size, key_size = key_of(i, key);
            /* The first ten are always there, the last ten never any more. */
            int found = hf_cask_get(cask, key, key_size, &room, &value, &size);
            if (found < 0)
                fprintf(stderr, "a reader: %s\n", hf_status_name(found));
            must(found >= 0);
            must(i >= 10 || found == 1);
            must(i < KEYS - 10 || found == 0);
        }
        rounds++;
    }
    hf_cask_room_clear(&room);
    must(hf_cask_close(cask) == 0);
}

static void run_readers(void)
{
    hf_cask_options options = tiny;
    hf_cask *cask;
    int pipes[2];
    pid_t readers[3];
    model_new(9);
    options.no_thread = options.merging.by_call = false;
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    for (unsigned i = 0; i < KEYS; i++)
        put(cask, i, 0);
    for (unsigned i = KEYS - 10; i < KEYS; i++)
        delete_one(cask, i);
    must(pipe(pipes) == 0);
    for (unsigned i = 0; i < LENGTH(readers); i++) {
        readers[i] = fork();
        if (readers[i] == 0) {
            close(pipes[1]);
            read_for_ever(pipes[0]);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < 6000; i++) {
        unsigned k = below(KEYS - 10);
        if (k >= 10 && below(3) == 0)
            delete_one(cask, k);
        else
            put(cask, k, 0);
        if (i % 500 == 0)
            must(hf_cask_merge(cask, 0, NULL) == 0);
    }
    close(pipes[1]);
    for (unsigned i = 0; i < LENGTH(readers); i++) {
        int status;
        must(waitpid(readers[i], &status, 0) == readers[i] && status == 0);
    }
    must(hf_cask_merge(cask, 0, NULL) == 0);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

static void test_readers(void **state)
{
    in_a_child(run_readers);
}

/* -- the rate, and what is asked for -- */

static int64_t monotonic(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void run_rate(void)
{
    hf_cask_options options = tiny;
    hf_cask_merged merged;
    hf_cask *cask;
    model_new(3);
    options.merging.rate = 100000;
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    for (unsigned i = 0; i < 300; i++)
        put(cask, i % KEYS, 0);
    must(hf_cask_sync_now(cask) == 0);
    /* What is dead is known as of the last checkpoint. */
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 1);
    int64_t begin = monotonic();
    must(hf_cask_merge(cask, 0, &merged) == 0);
    int64_t took = monotonic() - begin, least = (int64_t)(merged.copied + merged.dropped) * 1000 / 100000;
    must(merged.files > 3 && merged.dropped > 10000);
    must(took >= least / 2 && took < 4 * least + 30000);
    must(hf_cask_needs_merge(cask) == 0);
    must(hf_cask_merge(cask, 0, &merged) == 0 && merged.files == 0);
    check(cask);
    must(hf_cask_close(cask) == 0);
    options.mode = HF_CASK_READ;
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    must(hf_cask_merge(cask, 0, NULL) == HF_DENIED && hf_cask_needs_merge(cask) == HF_DENIED);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

static void test_rate(void **state)
{
    in_a_child(run_rate);
}

/* By the defaults: six of ten records dead begin it; never, where that is said. All that has expired goes. */
static void run_options(void)
{
    hf_cask_options options = {.max_file_size = 4096, .no_thread = true, .merging = {.by_call = true}};
    hf_cask *cask;
    model_new(4);
    must(hf_cask_open(cask_path, &options, &cask) == 0);
    for (unsigned i = 0; i < KEYS; i++)
        put(cask, i, 0);
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 0);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < KEYS; i++)
            put(cask, i, 0);
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 1);
    options.merging.fragmentation_trigger = options.merging.dead_bytes_trigger = HF_CASK_NEVER;
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 0);
    options.merging.dead_bytes_trigger = 1;
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 1);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    options.merging.dead_bytes_trigger = HF_CASK_NEVER;
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 0);
    for (unsigned i = 0; i < 4 * KEYS; i++)
        put(cask, i % KEYS, 100);
    m->clock += 50;
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 0);
    m->clock += 100;
    must(hf_cask_needs_merge(cask) == 1);
    options.merging.expiry_grace = 1000;
    cask = again(cask, &options);
    must(hf_cask_needs_merge(cask) == 0);
    m->clock += 1000;
    must(hf_cask_needs_merge(cask) == 1);
    hf_cask_merged merged;
    must(hf_cask_merge(cask, 1, &merged) == 0 && merged.files == 1);
    check(cask);
    must(hf_cask_merge(cask, 0, &merged) == 0 && merged.files > 1);
    check(cask);
    must(hf_cask_close(cask) == 0);
}

static void test_options(void **state)
{
    in_a_child(run_options);
}

/* -- a damaged file stays as it is -- */

static void run_damage(void)
{
    hf_cask *cask;
    char name[120];
    unsigned char byte;
    model_new(6);
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    for (unsigned i = 0; i < 200; i++)
        put(cask, i % KEYS, 0);
    must(hf_cask_close(cask) == 0);
    snprintf(name, sizeof name, "%s/0000000002.log", cask_path);
    int fd = open(name, O_RDWR);
    must(fd >= 0 && pread(fd, &byte, 1, 200) == 1);
    byte ^= 1;
    must(pwrite(fd, &byte, 1, 200) == 1);
    must(hf_cask_open(cask_path, &tiny, &cask) == 0);
    must(hf_cask_merge(cask, 0, NULL) == HF_CORRUPT);
    must(hf_cask_merge(cask, 0, NULL) == 0);
    must(access(name, F_OK) == 0);
    must(hf_cask_check(cask, NULL, NULL) == HF_CORRUPT);
    must(hf_cask_close(cask) == 0);
    close(fd);
}

static void test_damage(void **state)
{
    in_a_child(run_damage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cask_test(test_model),   cask_test(test_options), cask_test(test_snapshots), cask_test(test_rate),
        cask_test(test_readers), cask_test(test_damage),  cask_test(test_failures),  cask_test(test_deaths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
