/*
 * cask_work.c: a cask in use, and whether it has what it should; see cask_lab.h.
 *
 *      begin(next) -> the call -> done | durable | failed | broken          every change of the model goes this way
 *
 * A key that has expired is a change too, once somebody has been told so (cask_settle). As long as nobody was, the model has it
 * still, and only writes are made: then a clock that goes back may show it again.
 */
#include "cask_lab.h"

#include <inttypes.h>

/* Whether what failed may have. */
static bool may_fail(const struct cask_work *work)
{
    return work->run->faulty || work->run->damaged;
}

static int failed(struct cask_work *work, int status, const char *what)
{
    if (!may_fail(work))
        hf_run_violation(work->run, "%s: %s", what, hf_status_message(status));
    return status;
}

/* -- reading -- */

struct reading {
    struct cask_work *work;
    struct cask_state *out;
    int64_t clock;
    const char *what;
    uint64_t count;
};

static int wrong(struct reading *reading, const char *what, unsigned key)
{
    hf_run_violation(reading->work->run, "%s: %s: key %u", reading->what, what, key);
    return HF_INVALID;
}

static int visit(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                 const hf_cask_info *info)
{
    struct reading *reading = arg;
    const unsigned number = cask_key_number(key, key_size);
    const uint64_t found = cask_value_number(value, value_size);

    if (number == CASK_KEYS || found == 0)
        return wrong(reading, "what nobody has put", number);
    if (reading->out->value[number] != 0)
        return wrong(reading, "twice in one walk", number);
    if (info->expires != cask_value_expires(found) || info->value_size != value_size)
        return wrong(reading, "what is known of its record is wrong", number);
    if (info->expires <= reading->clock)
        return wrong(reading, "has expired and is there", number);
    reading->out->value[number] = found;
    reading->count++;
    return 0;
}

/* One key of the cask, or of a snapshot: 0 and its value, or 0. */
static int get(struct cask_work *work, hf_cask_snapshot *snapshot, unsigned key, uint64_t *out)
{
    char bytes[CASK_KEY_LONGEST];
    const size_t size = cask_key(key, bytes);
    hf_cask_room room = {0};
    const void *value = NULL;
    size_t value_size = 0;
    const int found = snapshot != NULL ? hf_cask_snapshot_get(snapshot, bytes, size, &value, &value_size)
                                       : hf_cask_get(work->cask, bytes, size, &room, &value, &value_size);

    *out = found > 0 ? cask_value_number(value, value_size) : 0;
    hf_cask_room_clear(&room);
    if (found > 0 && *out == 0) {
        hf_run_violation(work->run, "a value that nobody has put, of key %u", key);
        return HF_INVALID;
    }
    return found < 0 ? found : 0;
}

static int read_from(struct cask_work *work, hf_cask_snapshot *snapshot, struct cask_state *out, const char *what)
{
    struct reading reading = {.work = work, .out = out, .clock = hf_cask_now(work->cask), .what = what};
    uint64_t value, count = 0;
    int status;

    *out = (struct cask_state){.high = reading.clock};
    status = snapshot != NULL ? hf_cask_snapshot_walk(snapshot, visit, &reading)
                              : hf_cask_fold(work->cask, visit, &reading);
    for (unsigned i = 0; status == 0 && i < CASK_KEYS; i++) {
        status = get(work, snapshot, i, &value);
        if (status == 0 && value != out->value[i])
            return wrong(&reading, "a look-up finds another value than the walk", i);
    }
    if (status == 0)
        status = snapshot != NULL ? hf_cask_snapshot_count(snapshot, &count) : hf_cask_count(work->cask, &count);
    if (status == 0 && count != reading.count) {
        hf_run_violation(work->run, "%s: %" PRIu64 " keys are counted, %" PRIu64 " are there", what, count,
                         reading.count);
        return HF_INVALID;
    }
    return status;
}

int cask_read(struct cask_work *work, struct cask_state *out, int64_t *clock)
{
    const int status = read_from(work, NULL, out, "the cask");

    *clock = out->high;
    return status == 0 || status == HF_INVALID ? status : failed(work, status, "the cask cannot be read");
}

/* -- what was recovered -- */

struct checking {
    char text[128];
    bool in_memory;
};

static int on_fault(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of)
{
    struct checking *checking = arg;

    /* An open fault, of statistics: of a keydir in memory, after a merge was cut off, dead keys are counted twice. */
    if (fault != NULL && checking->in_memory && strstr(fault->what, "noted") != NULL)
        return 0;
    if (fault != NULL && checking->text[0] == '\0')
        snprintf(checking->text, sizeof(checking->text), "%s, file %u at %" PRIu64 ", %" PRIu64 " bytes", fault->what,
                 fault->file, fault->at, fault->size);
    return 0;
}

static int check(struct cask_work *work)
{
    struct checking checking = {.in_memory = work->how.keydir_in_memory};
    hf_cask_status found;
    int status = hf_cask_check(work->cask, on_fault, &checking);

    if (status == HF_CORRUPT && work->run->faulty && checking.text[0] == '\0')
        return status;
    if (status == HF_CORRUPT && checking.in_memory && checking.text[0] == '\0')
        status = 0;
    if (status == HF_CORRUPT) {
        hf_run_violation(work->run, "the check: %s", checking.text);
        return HF_INVALID;
    }
    if (status == 0)
        status = hf_cask_status_get(work->cask, &found, NULL, NULL);
    if (status == 0 && found.lost > 0) {
        hf_run_violation(work->run, "%" PRIu64 " bytes are said to be damaged, and none are", found.lost);
        return HF_INVALID;
    }
    return status < 0 ? failed(work, status, "the check") : 0;
}

/* The states that may be there: the newest first, by turns. */
static const struct cask_state *candidate(const struct cask_work *work, size_t turn)
{
    const struct hf_expect *expect = work->run->expect;
    static const struct cask_state nothing;

    if (expect == NULL)
        return turn == 0 && work->known ? &work->now : NULL;
    if (turn >= expect->count - expect->done)
        return NULL;

    const uint64_t digest = expect->digest[expect->count - 1 - turn];

    if (digest == HF_NOTHING)
        return &nothing;

    const struct cask_state *state = cask_kept(digest);

    HF_LAB_REQUIRE(state != NULL); /* kept too long ago */
    return state;
}

/* What two states that may both be the one have in common. */
static void merge_states(struct cask_state *into, const struct cask_state *other)
{
    for (unsigned i = 0; i < CASK_KEYS; i++)
        if (into->value[i] != other->value[i])
            into->any |= UINT64_C(1) << i;
    into->any |= other->any;
    into->high = into->high > other->high ? into->high : other->high;
}

static void begin_done(struct cask_work *work, const struct cask_state *state)
{
    hf_run_begin(work->run, cask_keep(state));
    hf_run_done(work->run);
}

/* Which of the states it is. What has expired in it and is not there is gone from now on. */
static int judge(struct cask_work *work, const struct cask_state *seen, int64_t clock)
{
    struct cask_state newest = {.any = 0}, both = {.any = 0};
    const struct cask_state *state;
    bool any = false;
    char text[256];

    for (size_t turn = 0; (state = candidate(work, turn)) != NULL; turn++) {
        if (!cask_may_be(state, seen, clock))
            continue;
        if (any)
            merge_states(&both, state);
        else
            newest = both = *state;
        any = true;
    }
    if (!any && (work->run->expect != NULL || work->known)) {
        cask_difference(candidate(work, 0), seen, clock, text, sizeof(text));
        hf_run_violation(work->run, "it has another state than it may have; from the newest of those %s", text);
        return HF_INVALID;
    }
    if (!any)
        newest = both = *seen;
    hf_run_recovered(work->run, cask_keep(&newest), false);
    for (unsigned i = 0; i < CASK_KEYS; i++)
        if (seen->value[i] != 0) {
            both.value[i] = seen->value[i];
            both.any &= ~(UINT64_C(1) << i);
        }
    if (cask_digest(&both) != cask_digest(&newest))
        begin_done(work, &both);
    work->now = *seen;
    work->now.high = both.high > clock ? both.high : clock;
    if (cask_digest(&work->now) != cask_digest(&both))
        begin_done(work, &work->now);
    cask_shown(cask_digest(&work->now), work->now.high);
    work->known = true;
    return 0;
}

int cask_recover(struct cask_work *work)
{
    struct cask_state seen;
    int64_t clock;
    int status = cask_read(work, &seen, &clock);

    if (status == 0 && !work->run->faulty && clock < cask_clock()) {
        hf_run_violation(work->run, "the cask's clock is behind the system's");
        status = HF_INVALID;
    }
    if (status == 0)
        status = judge(work, &seen, clock);
    return status < 0 ? status : check(work);
}

/* -- changing -- */

bool cask_finish(struct cask_work *work, int status, const struct cask_state *next, const char *what)
{
    if (status >= 0) {
        work->now = *next;
        if (work->how.sync == HF_CASK_SYNC_PUT)
            hf_run_durable(work->run);
        else
            hf_run_done(work->run);
        return true;
    }
    failed(work, status, what);
    if (status == HF_BROKEN) {
        hf_run_broken(work->run);
        return false;
    }
    hf_run_failed(work->run);
    return hf_random_chance(&work->random, 1, 2);
}

static struct cask_state next_of(const struct cask_work *work)
{
    struct cask_state next = work->now;
    const int64_t clock = hf_cask_now(work->cask);

    next.high = next.high > clock ? next.high : clock;
    return next;
}

static void begin(struct cask_work *work, const struct cask_state *next)
{
    hf_run_begin(work->run, cask_keep(next));
}

/* Where calls of the clock fail, nobody can say when what is put expires. */
static bool may_expire(struct cask_work *work, uint64_t of)
{
    return hf_random_chance(&work->random, 1, of) && hf_fault_calls(HF_OS_SITE_clock_gettime) == 0;
}

static int64_t ttl_of(uint64_t value, int64_t clock)
{
    const int64_t expires = cask_value_expires(value);

    return expires == INT64_MAX ? HF_CASK_FOR_EVER : expires - clock;
}

void cask_settle(struct cask_work *work)
{
    const int64_t clock = hf_cask_now(work->cask);
    const struct cask_state before = work->now;
    struct cask_state next = cask_alive(&work->now, clock);
    uint64_t value = 0;
    int status = 0;

    if (cask_digest(&next) == cask_digest(&before))
        return;
    next.high = clock;
    begin(work, &next);
    for (unsigned i = 0; status == 0 && i < CASK_KEYS; i++)
        if (before.value[i] != next.value[i]) {
            status = get(work, NULL, i, &value);
            if (value != 0)
                hf_run_violation(work->run, "key %u has expired and is there", i);
        }
    if (status == 0) {
        hf_run_done(work->run);
        work->now = next;
    } else {
        hf_run_failed(work->run);
        failed(work, status, "a look at what has expired");
    }
}

bool cask_put_one(struct cask_work *work)
{
    struct cask_state next = next_of(work);
    const unsigned key = (unsigned)hf_random_below(&work->random, CASK_KEYS);
    const uint64_t value = cask_draw(&work->random, next.high, may_expire(work, 3));
    const int64_t clock = hf_cask_now(work->cask);
    char bytes[CASK_KEY_LONGEST];
    const size_t key_size = cask_key(key, bytes);
    size_t size;
    const void *data = cask_value(value, &size);
    int status;

    next.value[key] = value;
    begin(work, &next);
    hf_run_enter(work->run);
    status = hf_cask_put(work->cask, bytes, key_size, data, size, ttl_of(value, clock));
    hf_run_leave(work->run);
    return cask_finish(work, status, &next, "a put");
}

bool cask_delete_one(struct cask_work *work)
{
    struct cask_state next = next_of(work);
    const unsigned key = (unsigned)hf_random_below(&work->random, CASK_KEYS);
    const bool there = next.value[key] != 0;
    char bytes[CASK_KEY_LONGEST];
    const size_t size = cask_key(key, bytes);
    int status;

    next.value[key] = 0;
    if (there)
        begin(work, &next);
    status = hf_cask_delete(work->cask, bytes, size);
    if (status >= 0 && status != there)
        hf_run_violation(work->run, "a delete says %d of key %u", status, key);
    if (there)
        return cask_finish(work, status, &next, "a delete");
    if (status < 0)
        failed(work, status, "a delete");
    if (status == HF_BROKEN)
        hf_run_broken(work->run);
    return status != HF_BROKEN;
}

/* One more change in it. */
static int batch_add(struct cask_work *work, hf_cask_batch *batch, struct cask_state *next)
{
    const int64_t clock = hf_cask_now(work->cask);
    const unsigned key = (unsigned)hf_random_below(&work->random, CASK_KEYS);
    const uint64_t value = cask_draw(&work->random, next->high, may_expire(work, 4));
    const bool deletes = hf_random_chance(&work->random, 1, 3);
    char bytes[CASK_KEY_LONGEST];
    const size_t key_size = cask_key(key, bytes);
    size_t size;
    const void *data = cask_value(value, &size);
    const int status = deletes ? hf_cask_batch_delete(batch, bytes, key_size)
                               : hf_cask_batch_put(batch, bytes, key_size, data, size, ttl_of(value, clock));

    if (status == 0)
        next->value[key] = deletes ? 0 : value;
    return status;
}

bool cask_batch_one(struct cask_work *work)
{
    struct cask_state next = next_of(work);
    hf_cask_batch *batch;
    bool goes_on = true;
    int status = hf_cask_batch_begin(work->cask, &batch);

    if (status < 0) {
        failed(work, status, "a batch begins");
        return true;
    }
    for (uint64_t count = 1 + hf_random_below(&work->random, 8); status == 0 && count > 0; count--)
        status = batch_add(work, batch, &next);
    if (status < 0)
        failed(work, status, "a change in a batch");
    else if (work->run->traced || !hf_random_chance(&work->random, 1, 10)) {
        begin(work, &next);
        hf_run_enter(work->run);
        status = hf_cask_batch_commit(batch);
        hf_run_leave(work->run);
        goes_on = cask_finish(work, status, &next, "a commit");
    }
    hf_cask_batch_end(batch);
    return goes_on;
}

/* What changes nothing that can be seen. */
static bool unchanged(struct cask_work *work, int status, const char *what)
{
    if (status < 0)
        failed(work, status, what);
    if (status == HF_BROKEN)
        hf_run_broken(work->run);
    return status != HF_BROKEN;
}

bool cask_merge_some(struct cask_work *work)
{
    const unsigned files = (unsigned)hf_random_below(&work->random, 3);
    int status = hf_cask_needs_merge(work->cask);

    if (status < 0)
        return unchanged(work, status, "whether to merge");
    hf_run_enter(work->run);
    status = hf_cask_merge(work->cask, work->run->traced ? 1 : files, NULL);
    hf_run_leave(work->run);
    return unchanged(work, status == HF_BUSY && !work->how.no_thread ? 0 : status, "a merge");
}

bool cask_sync(struct cask_work *work)
{
    const int status = hf_cask_sync_now(work->cask);

    if (status == 0)
        hf_run_durable(work->run);
    return unchanged(work, status, "a sync");
}

void cask_jump(struct cask_work *work)
{
    int64_t clock;

    cask_clock_jump(&work->random);
    clock = hf_cask_now(work->cask);
    if (clock > work->now.high)
        work->now.high = clock;
    cask_shown(cask_digest(&work->now), work->now.high);
}

/* -- looking -- */

static bool is_state(struct cask_work *work, hf_cask_snapshot *snapshot, const struct cask_state *should,
                     const char *what)
{
    struct cask_state seen;
    const int status = read_from(work, snapshot, &seen, what);
    const struct cask_state alive = cask_alive(should, seen.high);
    char text[256];

    if (status == HF_INVALID)
        return false;
    if (status < 0) {
        failed(work, status, what);
        return may_fail(work);
    }
    if (cask_digest(&seen) == cask_digest(&alive))
        return true;
    cask_difference(&alive, &seen, 0, text, sizeof(text));
    hf_run_violation(work->run, "%s has another state: %s", what, text);
    return false;
}

static bool look_at_one(struct cask_work *work)
{
    const unsigned key = (unsigned)hf_random_below(&work->random, CASK_KEYS);
    char bytes[CASK_KEY_LONGEST];
    const size_t size = cask_key(key, bytes);
    hf_cask_info info;
    uint64_t value;
    int status = get(work, NULL, key, &value);

    if (status == 0 && value != work->now.value[key])
        hf_run_violation(work->run, "key %u has %08llx, not %08llx", key, (unsigned long long)(value >> 32),
                         (unsigned long long)(work->now.value[key] >> 32));
    if (status == 0) {
        status = hf_cask_info_get(work->cask, bytes, size, &info);
        if (status >= 0 && (status != (value != 0) || (value != 0 && info.expires != cask_value_expires(value))))
            hf_run_violation(work->run, "what is known of key %u is wrong", key);
    }
    if (status < 0 && status != HF_INVALID)
        failed(work, status, "a get");
    return !work->run->violated;
}

static bool let_go(struct cask_work *work, unsigned i)
{
    const bool right = is_state(work, work->held[i].snapshot, &work->held[i].state, "a snapshot");

    hf_cask_snapshot_end(work->held[i].snapshot);
    work->held[i].snapshot = NULL;
    return right;
}

static bool look_at_snapshots(struct cask_work *work)
{
    const unsigned i = (unsigned)hf_random_below(&work->random, CASK_HELD);

    if (work->held[i].snapshot != NULL)
        return hf_random_chance(&work->random, 1, 2)
                   ? let_go(work, i)
                   : is_state(work, work->held[i].snapshot, &work->held[i].state, "a snapshot");

    const int status = hf_cask_snapshot_begin(work->cask, &work->held[i].snapshot);

    if (status < 0) {
        work->held[i].snapshot = NULL;
        failed(work, status, "a snapshot begins");
    }
    work->held[i].state = work->now;
    return true;
}

bool cask_look(struct cask_work *work)
{
    bool right = true;

    cask_settle(work);
    if (hf_random_chance(&work->random, 1, 2))
        right = look_at_one(work);
    if (right && hf_random_chance(&work->random, 1, 8))
        right = is_state(work, NULL, &work->now, "the cask");
    if (right && hf_random_chance(&work->random, 1, 3))
        right = look_at_snapshots(work);
    return right && !work->run->violated;
}

void cask_release(struct cask_work *work)
{
    for (unsigned i = 0; i < CASK_HELD; i++)
        if (work->held[i].snapshot != NULL)
            let_go(work, i);
}
