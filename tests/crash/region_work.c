/*
 * region_work.c: see region_work.h.
 */
#include "region_work.h"

#include "base/hash.h"

#include <pthread.h>

/* -- keys and values -- */

hf_key work_key(unsigned number, char text[48])
{
    int size = snprintf(text, 48, "key %u%.*s", number, (int)(number % 23), "----------------------");

    /* Some have the same hash. */
    return (hf_key){hf_hash_u64(number % 16 == 15 ? 15 : number, 1), text, (size_t)size};
}

int work_match(void *number, uint64_t place)
{
    return place % WORK_KEYS == *(const unsigned *)number;
}

static uint64_t draw_place(struct hf_random *random, unsigned number)
{
    return (hf_random_next(random) | WORK_KEYS) / WORK_KEYS * WORK_KEYS + number;
}

static size_t size_of(uint64_t value)
{
    const size_t bits = (size_t)(value >> 8);

    if (value % 64 == 1)
        return 4000 + bits % (WORK_LONGEST - 4000);
    if (value % 64 == 3)
        return 4000 + bits % (WORK_GROWN - 4000);
    return 8 + bits % (value % 8 == 2 ? 2000 : 90);
}

static void fill(uint64_t value, unsigned char *out, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        const uint64_t word = at == 0 ? value : hf_hash_u64(value, at);

        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

const void *work_value(uint64_t value, size_t *size)
{
    static _Thread_local unsigned char bytes[WORK_GROWN];

    *size = size_of(value);
    fill(value, bytes, *size);
    return bytes;
}

uint64_t work_number(const hf_span *span)
{
    uint64_t value = 0;
    size_t size;

    if (span->size < sizeof(value))
        return 0;
    memcpy(&value, span->bytes, sizeof(value));
    if (size_of(value) != span->size)
        return 0;
    return memcmp(work_value(value, &size), span->bytes, span->size) == 0 ? value : 0;
}

uint64_t work_draw(struct hf_random *random, bool large)
{
    const uint64_t value = hf_random_next(random) & ~(uint64_t)63;
    const uint64_t way = hf_random_below(random, 24);

    return value | (way == 0 && large ? 1 : way < 4 ? 2 : 4);
}

uint64_t work_larger(struct hf_random *random, uint64_t value)
{
    const uint64_t span = WORK_GROWN - 4000, size = size_of(value);
    const uint64_t longer = size + size / 5 + hf_random_below(random, 4096);
    const uint64_t bits = longer < 4000 || longer >= WORK_GROWN ? 0 : longer - 4000;

    /* What it is modulo `span` says how long it is; the rest tells it from others. */
    return ((hf_random_next(random) >> 32) * span + bits) << 8 | 3;
}

/* -- the model -- */

static uint64_t hash_of(unsigned tree, unsigned key, uint64_t value)
{
    return value == 0 ? 0 : hf_hash_u64(value, hf_hash_u64(key, tree + 2));
}

void work_set(struct work_state *state, unsigned tree, unsigned key, uint64_t value)
{
    state->sum += hash_of(tree, key, value) - hash_of(tree, key, state->value[tree][key]);
    state->value[tree][key] = value;
}

uint64_t work_digest(const struct work_state *state)
{
    uint64_t digest = hf_hash_u64(state->sum, 5);

    for (unsigned i = 0; i < WORK_KEPT; i++)
        if (state->kept[i])
            digest += hf_hash_u64(state->kept_sum[i], i + 6);
    return digest;
}

static const char *kept_name(unsigned number, char text[16])
{
    snprintf(text, 16, "kept %u", number);
    return text;
}

/* -- reading -- */

static int read_tree(const hf_view *view, unsigned tree, struct work_state *out)
{
    hf_region_cursor cursor;
    hf_key key;
    hf_span span;
    char text[48];
    int more = hf_region_cursor_begin(&cursor, view, tree);

    while (more >= 0 && (more = hf_region_cursor_next(&cursor, &key, &span)) > 0) {
        const uint64_t value = work_number(&span);
        unsigned number = WORK_KEYS;

        if (key.size < sizeof(text)) {
            memcpy(text, key.bytes, key.size);
            text[key.size] = '\0';
            sscanf(text, "key %u", &number);
        }
        if (number >= WORK_KEYS || value == 0 || out->value[tree][number] != 0)
            return HF_INVALID;
        work_set(out, tree, number, value);
    }
    return more;
}

static int read_places(const hf_view *view, struct work_state *out)
{
    hf_region_cursor cursor;
    hf_place_entry entry;
    char text[48];
    int more = hf_region_cursor_begin(&cursor, view, WORK_PLACES);

    while (more >= 0 && (more = hf_region_cursor_next_place(&cursor, &entry)) > 0) {
        const unsigned number = (unsigned)(entry.place % WORK_KEYS);

        if (entry.hash != work_key(number, text).hash || out->value[WORK_PLACES][number] != 0)
            return HF_INVALID;
        work_set(out, WORK_PLACES, number, entry.place);
    }
    return more;
}

int work_read(const hf_view *view, struct work_state *out)
{
    int status = 0;

    memset(out, 0, sizeof(*out));
    for (unsigned tree = 0; status >= 0 && tree < WORK_TREES; tree++)
        status = tree == WORK_PLACES ? read_places(view, out) : read_tree(view, tree, out);
    return status;
}

/* The value of a key, or 0. */
static int look_up(const hf_view *view, unsigned tree, unsigned number, uint64_t *value)
{
    char text[48];
    const hf_key key = work_key(number, text);
    hf_span span;

    *value = 0;
    if (tree == WORK_PLACES)
        return hf_view_find_place(view, tree, key.hash, work_match, &number, value);
    const int found = hf_view_get(view, tree, &key, &span);
    if (found > 0)
        *value = work_number(&span);
    return found;
}

/* A view, read by iteration and, some keys, by look-up. A violation where they differ. */
static int read_view(struct work *work, const hf_view *view, struct work_state *out)
{
    const int status = work_read(view, out);

    if (status < 0)
        return status;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned tree = (unsigned)hf_random_below(&work->random, WORK_TREES);
        const unsigned number = (unsigned)hf_random_below(&work->random, WORK_KEYS);
        uint64_t value;
        const int found = look_up(view, tree, number, &value);

        if (found < 0)
            return found;
        if (value != out->value[tree][number]) {
            hf_run_violation(work->run, "a look-up of key %u of tree %u finds another value than the iteration",
                             number, tree);
            return HF_INVALID;
        }
    }
    return 0;
}

/* What a snapshot has: 0 and its sum. */
static int sum_of(struct work *work, const hf_view *view, uint64_t *sum)
{
    static _Thread_local struct work_state state;
    const int status = read_view(work, view, &state);

    *sum = state.sum;
    return status;
}

static int recover_kept(struct work *work)
{
    for (unsigned i = 0; i < WORK_KEPT; i++) {
        hf_snapshot *snapshot;
        char name[16];
        int status = hf_snapshot_begin_kept(work->region, kept_name(i, name), &snapshot);

        if (status == HF_ABSENT)
            continue;
        if (status < 0)
            return status;
        status = sum_of(work, hf_snapshot_view(snapshot), &work->now.kept_sum[i]);
        hf_snapshot_end(snapshot);
        if (status < 0)
            return status;
        work->now.kept[i] = true;
    }
    return 0;
}

int work_recover(struct work *work)
{
    hf_region_fault fault = {0};
    hf_view view;
    /* What is damaged must be found by those who read, too. */
    const bool check = !work->run->damaged || hf_random_chance(&work->random, 1, 2);
    int status = check ? hf_region_check(work->region, -1, &fault) : 0;

    if (status < 0 && !work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "the check: %s: %s at %#llx", hf_status_message(status),
                         fault.what != NULL ? fault.what : "", (unsigned long long)fault.at);
    if (status == 0)
        status = hf_view_pin(work->region, &view);
    if (status < 0)
        return status;
    status = read_view(work, &view, &work->now);
    hf_view_unpin(&view);
    if (status == 0)
        status = recover_kept(work);
    if (status == HF_INVALID)
        hf_run_violation(work->run, "there is what nobody has put there");
    return status;
}

/* -- changing -- */

static int put_place(struct work *work, hf_txn *txn, struct work_state *next)
{
    unsigned number = (unsigned)hf_random_below(&work->random, WORK_KEYS);
    const uint64_t value = draw_place(&work->random, number), was = next->value[WORK_PLACES][number];
    const bool remove = hf_random_chance(&work->random, 1, 4);
    uint64_t old = 0, found = 0;
    char text[48];
    const uint64_t hash = work_key(number, text).hash;
    int status = remove ? hf_txn_unset_place(txn, WORK_PLACES, hash, work_match, &number, &old)
                        : hf_txn_set_place(txn, WORK_PLACES, hash, value, work_match, &number, &old);

    if (status < 0)
        return status;
    if (status != (remove ? was != 0 : was == 0) || old != was)
        hf_run_violation(work->run, "a %s says %d of the place of key %u, or another place",
                         remove ? "removal" : "put", status, number);
    work_set(next, WORK_PLACES, number, remove ? 0 : value);
    status = hf_txn_find_place(txn, WORK_PLACES, hash, work_match, &number, &found);
    if (status >= 0 && found != next->value[WORK_PLACES][number])
        hf_run_violation(work->run, "a transaction does not see its own change of the place of key %u", number);
    return status < 0 ? status : 0;
}

/* One key of each tree has a value that grows. */
static int put_one(struct work *work, hf_txn *txn, struct work_state *next)
{
    const unsigned tree = (unsigned)hf_random_below(&work->random, WORK_TREES);
    if (tree == WORK_PLACES)
        return put_place(work, txn, next);
    const bool grows = hf_random_chance(&work->random, 1, 16);
    const unsigned number = grows ? 0 : (unsigned)hf_random_below(&work->random, WORK_KEYS);
    const uint64_t value = grows ? work_larger(&work->random, next->value[tree][0]) : work_draw(&work->random, true);
    char text[48];
    const hf_key key = work_key(number, text);
    const bool was = next->value[tree][number] != 0, remove = hf_random_chance(&work->random, 1, 4);
    size_t size;
    const void *bytes = work_value(value, &size);
    hf_span span;
    int status = remove ? hf_txn_remove(txn, tree, &key) : hf_txn_put(txn, tree, &key, bytes, size);

    if (status < 0)
        return status;
    if (status != (remove ? was : !was))
        hf_run_violation(work->run, "a %s says %d of key %u of tree %u", remove ? "removal" : "put", status, number,
                         tree);
    work_set(next, tree, number, remove ? 0 : value);
    if (hf_random_chance(&work->random, 1, 4)) {
        status = hf_txn_get(txn, tree, &key, &span);
        if (status >= 0 && (status ? work_number(&span) : 0) != next->value[tree][number])
            hf_run_violation(work->run, "a transaction does not see its own change of key %u", number);
    }
    return status < 0 ? status : 0;
}

static int clear_one(struct work *work, hf_txn *txn, struct work_state *next)
{
    const unsigned tree = (unsigned)hf_random_below(&work->random, WORK_TREES);
    const int status = hf_txn_clear(txn, tree);

    for (unsigned number = 0; status >= 0 && number < WORK_KEYS; number++)
        work_set(next, tree, number, 0);
    return status;
}

/* Keeps this version, or forgets one; what is kept gets its sum at the end. */
static int keep_one(struct work *work, hf_txn *txn, struct work_state *next)
{
    const unsigned i = (unsigned)hf_random_below(&work->random, WORK_KEPT);
    const bool keep = hf_random_chance(&work->random, 1, 2);
    char name[16];
    const int status = keep ? hf_txn_keep(txn, kept_name(i, name)) : hf_txn_forget(txn, kept_name(i, name));

    if (status == (keep ? HF_EXISTS : HF_ABSENT) && next->kept[i] == keep)
        return 0;
    if (status < 0)
        return status;
    if (next->kept[i] == keep)
        hf_run_violation(work->run, "%s is %s twice", name, keep ? "kept" : "forgotten");
    next->kept[i] = keep;
    next->fresh[i] = keep;
    return 0;
}

static int change_one(struct work *work, hf_txn *txn, struct work_state *next)
{
    const uint64_t way = hf_random_below(&work->random, 64);

    return way == 0 ? clear_one(work, txn, next) : way < 4 ? keep_one(work, txn, next) : put_one(work, txn, next);
}

/* Some changes behind a savepoint, undone or not. */
static int change_some(struct work *work, hf_txn *txn, struct work_state *next)
{
    const struct work_state before = *next;
    const bool undo = hf_random_chance(&work->random, 1, 2);
    unsigned level;
    int status = hf_txn_savepoint(txn, &level);

    for (uint64_t count = hf_random_below(&work->random, 5); status >= 0 && count > 0; count--)
        status = change_one(work, txn, next);
    if (status < 0)
        return status;
    if (!undo)
        return hf_txn_release(txn, level);
    *next = before;
    return hf_txn_rollback(txn, level);
}

static int changes(struct work *work, hf_txn *txn, struct work_state *next)
{
    int status = 0;

    for (uint64_t count = 1 + hf_random_below(&work->random, 8); status >= 0 && count > 0; count--)
        status = hf_random_chance(&work->random, 1, 6) ? change_some(work, txn, next) : change_one(work, txn, next);
    for (unsigned i = 0; i < WORK_KEPT; i++)
        if (next->fresh[i])
            next->kept_sum[i] = next->sum;
    memset(next->fresh, 0, sizeof(next->fresh));
    return status;
}

struct dying {
    hf_region *region;
    uint64_t seed;
};

/* A thread that ends within its transaction is a dead writer. */
static void *die_in_it(void *argument)
{
    const struct dying *dying = argument;
    struct hf_random random = {dying->seed};
    hf_txn *txn;

    if (hf_txn_begin(dying->region, -1, &txn) < 0)
        return NULL;
    for (uint64_t count = 1 + hf_random_below(&random, 6); count > 0; count--) {
        char text[48];
        size_t size;
        const hf_key key = work_key((unsigned)hf_random_below(&random, WORK_KEYS), text);
        const void *bytes = work_value(work_draw(&random, false), &size);

        if (hf_txn_put(txn, (unsigned)hf_random_below(&random, WORK_TREES), &key, bytes, size) < 0)
            break;
    }
    return NULL;
}

static void let_one_die(struct work *work)
{
    struct dying dying = {work->region, hf_random_next(&work->random)};
    pthread_t thread;

    if (pthread_create(&thread, NULL, die_in_it, &dying) == 0)
        pthread_join(thread, NULL);
}

int work_change(struct work *work, hf_txn **out, struct work_state *next)
{
    if (hf_random_chance(&work->random, 1, 24))
        let_one_die(work);
    *next = work->now;
    int status = hf_txn_begin(work->region, -1, out);

    if (status < 0)
        return status;
    status = changes(work, *out, next);
    if (status >= 0 && !hf_random_chance(&work->random, 1, 10))
        return 1;
    const int ended = hf_txn_abort(*out);
    return status < 0 ? status : ended;
}

/* -- looking -- */

/* Whether what failed may have. */
static int failed(struct work *work, int status, const char *what)
{
    if (!work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "%s: %s", what, hf_status_message(status));
    return status;
}

static int look_at(struct work *work, const hf_view *view, uint64_t sum, const char *what)
{
    uint64_t found = 0;
    const int status = sum_of(work, view, &found);

    if (status == HF_INVALID || (status == 0 && found != sum)) {
        hf_run_violation(work->run, "%s of version %llu has other contents", what,
                         (unsigned long long)hf_view_txid(view));
        return HF_INVALID;
    }
    return status < 0 ? failed(work, status, what) : 0;
}

static int look_at_kept(struct work *work)
{
    const unsigned i = (unsigned)hf_random_below(&work->random, WORK_KEPT);
    hf_snapshot *snapshot;
    char name[16];
    int status = hf_snapshot_begin_kept(work->region, kept_name(i, name), &snapshot);

    if (status == HF_ABSENT && !work->now.kept[i])
        return 0;
    if (status < 0)
        return failed(work, status, "a kept snapshot does not open");
    if (!work->now.kept[i])
        hf_run_violation(work->run, "a kept snapshot is there that was forgotten");
    status = look_at(work, hf_snapshot_view(snapshot), work->now.kept_sum[i], "the kept snapshot");
    hf_snapshot_end(snapshot);
    return status;
}

static int let_go(struct work *work, unsigned i)
{
    const int status = look_at(work, hf_snapshot_view(work->held[i].snapshot), work->held[i].sum, "a snapshot");

    hf_snapshot_end(work->held[i].snapshot);
    work->held[i].snapshot = NULL;
    return status;
}

int work_look(struct work *work)
{
    const unsigned i = (unsigned)hf_random_below(&work->random, WORK_HELD);
    hf_view view;
    int status = 0;

    if (hf_random_chance(&work->random, 1, 4)) {
        status = hf_view_pin(work->region, &view);
        if (status < 0)
            return failed(work, status, "a view");
        status = look_at(work, &view, work->now.sum, "the newest version");
        hf_view_unpin(&view);
    }
    if (status == 0 && hf_random_chance(&work->random, 1, 4))
        status = look_at_kept(work);
    if (status < 0 || !hf_random_chance(&work->random, 1, 3))
        return status;
    if (work->held[i].snapshot != NULL)
        return let_go(work, i);
    status = hf_snapshot_begin(work->region, &work->held[i].snapshot);
    if (status < 0)
        work->held[i].snapshot = NULL;
    work->held[i].sum = work->now.sum;
    return status < 0 ? failed(work, status, "a snapshot does not begin") : 0;
}

void work_release(struct work *work)
{
    for (unsigned i = 0; i < WORK_HELD; i++)
        if (work->held[i].snapshot != NULL)
            let_go(work, i);
}
