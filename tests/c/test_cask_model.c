/*
 * test_cask_model.c: random programs on a cask and on a plain array, compared after each step.
 *
 *      parent   model, in memory that children share ------------------------------------------------+
 *        |                                                                                            |
 *        +-- child: opens, puts, deletes, batches, snapshots, walks, steps the clock ... compares ----+
 *        |          closes, or is killed
 *        +-- takes away page, keydir, hints; copies the folder
 *        +-- child ...
 *
 * Files are as small as can be, and so are checkpoints, so that all that happens seldom happens often. The clock is
 * the test's own.
 */
#include "test_cask_support.h"
#include "test_child.h"
#include "test_common.h"

#include <sys/mman.h>

enum { KEYS = 60, SNAPSHOTS = 3, VALUE_MOST = 700 };

typedef struct entry {
    bool there;
    uint32_t version;
    int64_t expires;
} entry;

typedef struct model {
    entry keys[KEYS];
    uint32_t versions;
    _Atomic int64_t clock; /* the system's, in milliseconds */
    int64_t floor; /* what the cask's never goes behind */
    uint64_t random;
    uint64_t steps;
} model;

static model *m;

/* -- random numbers, the clock -- */

static uint64_t next(void)
{
    m->random += 0x9e3779b97f4a7c15u;
    return mixed(m->random);
}

static unsigned below(unsigned n)
{
    return (unsigned)(next() % n);
}

static struct hf_os table;

static int stepped(clockid_t clock, struct timespec *out)
{
    if (clock != CLOCK_REALTIME)
        return hf_os_native.clock_gettime(clock, out);
    *out = (struct timespec){.tv_sec = m->clock / 1000, .tv_nsec = m->clock % 1000 * 1000000};
    return 0;
}

static int64_t now_of(void)
{
    return m->clock > m->floor ? m->clock : m->floor;
}

/* -- keys and values -- */

static size_t key_of(unsigned i, char out[64])
{
    /* Some are long. */
    int size = i % 7 == 0 ? snprintf(out, 64, "a rather long key, of fifty bytes or so: number %u", i)
                          : snprintf(out, 64, "k%u", i);
    return (size_t)size;
}

static size_t value_of(unsigned i, uint32_t version, unsigned char out[VALUE_MOST])
{
    size_t size = mixed(version * 1000003u + i) % (version % 5 == 0 ? VALUE_MOST : 60);
    for (size_t k = 0; k < size; k++)
        out[k] = (unsigned char)(version + i + k);
    return size;
}

static bool is_live(const entry *e)
{
    return e->there && now_of() < e->expires;
}

/* Whoever is shown one that has expired, is told so. */
static bool told(const entry *e)
{
    bool live = is_live(e);
    if (e->there && !live)
        m->floor = now_of();
    return live;
}

static bool is_value(unsigned i, uint32_t version, const void *bytes, size_t size)
{
    unsigned char expected[VALUE_MOST];
    return value_of(i, version, expected) == size && (size == 0 || memcmp(bytes, expected, size) == 0);
}

/* -- steps -- */

typedef struct kept {
    hf_cask_snapshot *snapshot;
    entry keys[KEYS];
} kept;

typedef struct session {
    hf_cask *cask, *reader;
    hf_cask_room room;
    kept kept[SNAPSHOTS];
} session;

static void look_at(session *s, hf_cask *cask, unsigned i)
{
    char key[64];
    const void *value;
    size_t size, key_size = key_of(i, key);
    bool live = told(&m->keys[i]);
    int status = hf_cask_get(cask, key, key_size, &s->room, &value, &size);
    if (status != live)
        fprintf(stderr, "key %u: %s, should be %d; version %u\n", i, hf_status_name(status), live,
                m->keys[i].version);
    must(status == live);
    must(!live || is_value(i, m->keys[i].version, value, size));
}

static void look_at_info(session *s, unsigned i)
{
    hf_cask_info info;
    char key[64];
    size_t key_size = key_of(i, key);
    bool live = told(&m->keys[i]);
    must(hf_cask_info_get(s->cask, key, key_size, &info) == live);
    must(!live || (info.expires == m->keys[i].expires && info.sequence > 0));
}

typedef struct walk {
    const entry *keys;
    bool seen[KEYS];
    unsigned count;
} walk;

static int visit(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                 const hf_cask_info *info)
{
    walk *w = arg;
    char expected[64];
    for (unsigned i = 0; i < KEYS; i++)
        if (key_of(i, expected) == key_size && memcmp(key, expected, key_size) == 0) {
            must(!w->seen[i] && is_live(&w->keys[i]) && is_value(i, w->keys[i].version, value, value_size));
            w->seen[i] = true;
            w->count++;
            return 0;
        }
    must(false);
    return 0;
}

static unsigned count_live(const entry *keys)
{
    unsigned count = 0;
    for (unsigned i = 0; i < KEYS; i++)
        count += told(&keys[i]);
    return count;
}

static void look_at_all(session *s, hf_cask *cask)
{
    walk w = {.keys = m->keys};
    uint64_t count;
    unsigned live = count_live(m->keys);
    int folded = hf_cask_fold(cask, visit, &w);
    if (folded != 0)
        fprintf(stderr, "fold: %s, of %s\n", hf_status_name(folded), cask == s->cask ? "the writer" : "a reader");
    must(folded == 0);
    must(w.count == live);
    must(hf_cask_count(cask, &count) == 0);
    if (count != live)
        fprintf(stderr, "count %u, should be %u\n", (unsigned)count, live);
    must(count == live);
    for (unsigned i = 0; i < KEYS; i++)
        look_at(s, cask, i);
}

static int64_t some_ttl(void)
{
    static const int64_t ttls[] = {0, 0, 0, HF_CASK_FOR_EVER, 1, 20, 500};
    return ttls[below(LENGTH(ttls))];
}

static void is_put(unsigned i, int64_t ttl)
{
    m->floor = now_of();
    m->keys[i] = (entry){true, m->versions, ttl <= 0 ? INT64_MAX : m->floor + ttl};
}

static void put(session *s)
{
    unsigned char value[VALUE_MOST];
    unsigned i = below(KEYS);
    int64_t ttl = some_ttl();
    char key[64];
    size_t key_size = key_of(i, key), size = value_of(i, ++m->versions, value);
    must(hf_cask_put(s->cask, key, key_size, value, size, ttl) == 0);
    is_put(i, ttl);
}

static void delete_one(session *s)
{
    unsigned i = below(KEYS);
    char key[64];
    size_t key_size = key_of(i, key);
    bool live = told(&m->keys[i]);
    must(hf_cask_delete(s->cask, key, key_size) == live);
    if (live) {
        m->floor = now_of();
        m->keys[i].there = false;
    }
}

static void batch(session *s)
{
    unsigned char value[VALUE_MOST];
    hf_cask_batch *b;
    char key[64];
    model before = *m, after;
    unsigned count = below(12);
    must(hf_cask_batch_begin(s->cask, &b) == 0);
    for (unsigned k = 0; k < count; k++) {
        unsigned i = below(KEYS);
        size_t key_size = key_of(i, key);
        if (below(3) == 0) {
            must(hf_cask_batch_delete(b, key, key_size) == 0);
            m->keys[i].there = false;
            continue;
        }
        int64_t ttl = some_ttl();
        size_t size = value_of(i, ++m->versions, value);
        must(hf_cask_batch_put(b, key, key_size, value, size, ttl) == 0);
        is_put(i, ttl);
    }
    bool commit = below(5) > 0;
    after = *m;
    if (commit && count > 0)
        after.floor = now_of();
    memcpy(m->keys, before.keys, sizeof m->keys);
    m->floor = before.floor;
    look_at(s, s->cask, below(KEYS));
    if (commit) {
        after.floor = after.floor > m->floor ? after.floor : m->floor;
        /* If we are killed here both are right; but nobody kills us. */
        must(hf_cask_batch_commit(b) == 0);
        memcpy(m->keys, after.keys, sizeof m->keys);
        m->floor = after.floor;
    }
    hf_cask_batch_end(b);
}

static void snapshot_step(session *s)
{
    kept *k = &s->kept[below(SNAPSHOTS)];
    char key[64];
    const void *value;
    size_t size;
    if (k->snapshot == NULL) {
        must(hf_cask_snapshot_begin(s->cask, &k->snapshot) == 0);
        memcpy(k->keys, m->keys, sizeof k->keys);
        return;
    }
    unsigned i = below(KEYS), action = below(8);
    if (action == 0) {
        hf_cask_snapshot_end(k->snapshot);
        k->snapshot = NULL;
    } else if (action == 1) {
        walk w = {.keys = k->keys};
        uint64_t count;
        unsigned live = count_live(k->keys);
        must(hf_cask_snapshot_walk(k->snapshot, visit, &w) == 0);
        must(w.count == live);
        must(hf_cask_snapshot_count(k->snapshot, &count) == 0);
        must(count == live);
    } else {
        size_t key_size = key_of(i, key);
        bool live = told(&k->keys[i]);
        must(hf_cask_snapshot_get(k->snapshot, key, key_size, &value, &size) == live);
        must(!live || is_value(i, k->keys[i].version, value, size));
    }
}

/* A merge sees what time it is too, whenever it looks, and the cask's clock never goes behind that: so before it is
 * set back, it is written down. */
static void step_clock(session *s)
{
    unsigned how = below(10);
    if (how == 0)
        put(s);
    if (how == 0)
        m->clock -= below(2000);
    else if (how == 1)
        m->clock += below(1000);
    else
        m->clock += below(5);
}

static void read_step(session *s)
{
    hf_cask_options options = {.mode = HF_CASK_READ};
    if (s->reader == NULL)
        must(hf_cask_open(cask_path, &options, &s->reader) == 0);
    if (below(4) == 0)
        look_at_all(s, s->reader);
    else
        look_at(s, s->reader, below(KEYS));
    if (below(20) == 0) {
        must(hf_cask_close(s->reader) == 0);
        s->reader = NULL;
    }
}

static void merge_step(session *s)
{
    hf_cask_merged merged;
    must(hf_cask_needs_merge(s->cask) >= 0);
    must(hf_cask_merge(s->cask, below(3), &merged) == 0);
}

static void step(session *s, const hf_cask_options *options)
{
    unsigned what = below(100);
    m->steps++;
    if (what < 35)
        put(s);
    else if (what < 47)
        delete_one(s);
    else if (what < 57)
        batch(s);
    else if (what < 67)
        snapshot_step(s);
    else if (what < 72)
        step_clock(s);
    else if (what < 84)
        look_at(s, s->cask, below(KEYS));
    else if (what < 86)
        look_at_info(s, below(KEYS));
    else if (what < 89)
        look_at_all(s, s->cask);
    else if (what < 91)
        must(hf_cask_sync_now(s->cask) == 0);
    else if (what < 97 && !options->keydir_in_memory)
        read_step(s);
    else if (what < 99)
        merge_step(s);
}

/* -- sessions -- */

static hf_cask_options options;
static unsigned steps;
static bool kill_it;

static void session_of(void)
{
    session s = {0};
    table = hf_os_native;
    table.clock_gettime = stepped;
    hf_os_replace(&table);
    must(hf_cask_open(cask_path, &options, &s.cask) == 0);
    look_at_all(&s, s.cask);
    hf_cask_status status;
    must(hf_cask_status_get(s.cask, &status, NULL, NULL) == 0);
    if (status.lost > 0 || status.cut > 0)
        fprintf(stderr, "lost %u, cut %u\n", (unsigned)status.lost, (unsigned)status.cut);
    must(status.lost == 0 && status.cut == 0);
    for (unsigned i = 0; i < steps; i++)
        step(&s, &options);
    if (kill_it)
        kill(getpid(), SIGKILL);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        hf_cask_snapshot_end(s.kept[i].snapshot);
    must(hf_cask_close(s.reader) == 0);
    must(hf_cask_close(s.cask) == 0);
    hf_cask_room_clear(&s.room);
}

static void run_session(void)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        its_own_death();
        session_of();
        _exit(0);
    }
    int status = exit_status_of(child);
    if (kill_it && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void take_away(const char *what)
{
    char command[300];
    snprintf(command, sizeof command, "rm -f %s/%s", cask_path, what);
    assert_int_equal(system(command), 0);
}

/* What the folder was, in another one with other inodes: as after a reboot, with all that was written. */
static void copy_folder(void)
{
    char command[600];
    snprintf(command, sizeof command, "cp -r %s %s.copy && rm -rf %s && mv %s.copy %s", cask_path, cask_path,
             cask_path, cask_path, cask_path);
    assert_int_equal(system(command), 0);
}

/* In which a moment that was told may be forgotten: the system's clock has to be as late. */
static void forget_clock(void)
{
    if (m->clock < m->floor)
        m->clock = m->floor;
}

static void disturb(void)
{
    switch (below(8)) {
    case 0:
        take_away("keydir*");
        break;
    case 1:
        take_away("*.hint");
        break;
    case 2:
        take_away("keydir* *.hint");
        break;
    case 3:
        forget_clock();
        take_away("page");
        break;
    case 4:
        forget_clock();
        copy_folder();
        break;
    default:
        break;
    }
}

static void run_programs(uint64_t seed, unsigned sessions)
{
    memset(m, 0, sizeof *m);
    m->random = seed;
    m->clock = 1000000000;
    cask_remove(cask_path);
    for (unsigned i = 0; i < sessions; i++) {
        static const hf_cask_sync syncs[] = {HF_CASK_SYNC_NONE, HF_CASK_SYNC_NONE, HF_CASK_SYNC_PUT,
                                             HF_CASK_SYNC_INTERVAL};
        options = (hf_cask_options){
            .max_file_size = 4096 << below(3),
            .checkpoint = 1000 + below(20000),
            .keydir_in_memory = below(4) == 0,
            .no_thread = below(2) == 0,
            .sync = syncs[below(LENGTH(syncs))],
            .interval = 1000000,
            .merging = {.by_call = below(2) == 0,
                        .fragmentation_trigger = 1 + below(60),
                        .fragmentation_threshold = 1 + below(40)},
        };
        steps = below(300);
        kill_it = below(3) > 0;
        if (options.keydir_in_memory)
            forget_clock();
        run_session();
        if (options.keydir_in_memory && kill_it)
            forget_clock();
        if (getenv("CASK_TEST_VERBOSE") != NULL)
            fprintf(stderr, "seed %u session %u: %u steps, killed %d\n", (unsigned)seed, i, steps, kill_it);
        disturb();
    }
}

static void test_programs(void **state)
{
    const char *only = getenv("CASK_TEST_SEED"), *torture = getenv("TORTURE");
    uint64_t count = only != NULL ? 1 : torture != NULL ? 400 : 6;

    m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    for (uint64_t i = 0; i < count; i++)
        run_programs(only != NULL ? strtoull(only, NULL, 10) : i + 1, 12);
    munmap(m, sizeof *m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cask_test(test_programs)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
