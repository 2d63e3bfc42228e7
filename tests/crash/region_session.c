/*
 * region_session.c: a session with a region (lab.h), and clients of one; see region_lab.h.
 *
 * A region that is not there is made, and is then an empty one. Failures that were put in are answered by closing, and
 * opening again.
 */
#include "region_lab.h"

#include <pthread.h>
#include <unistd.h>

struct session {
    struct work work;
    const struct region_home *home;
    uint64_t how;
    bool lazy; /* seldom closes and flushes, so that there are many commits in between */
};

static void after_commit(struct session *session)
{
    if (session->home->durable != NULL && session->home->durable(session->how))
        hf_run_durable(session->work.run);
    else
        hf_run_done(session->work.run);
}

static int open_or_make(struct session *session)
{
    struct hf_lab_run *run = session->work.run;
    int status;

    session->work.region = NULL;
    session->how = hf_random_next(&session->work.random);
    status = session->home->open(run->folder, false, session->how, &session->work.region);
    if (status != HF_ABSENT)
        return status;

    const struct work_state nothing = {0};

    hf_run_recovered(run, HF_NOTHING, false);
    hf_run_begin(run, work_digest(&nothing));
    status = session->home->open(run->folder, true, session->how, &session->work.region);
    /* That it is there is durable in any home that has something durable. */
    if (status == 0 && session->home->durable != NULL)
        hf_run_durable(run);
    else if (status == 0)
        hf_run_done(run);
    return status;
}

static void close_region(struct session *session)
{
    struct work *work = &session->work;
    int status;

    work_release(work);
    status = hf_region_close(work->region);
    work->region = NULL;
    if (status < 0 && !work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "it does not close: %s", hf_status_message(status));
    else if (status == 0 && session->home->durable != NULL)
        hf_run_durable(work->run);
    else if (status == HF_BROKEN)
        hf_run_broken(work->run);
}

/* Opens it and says what is there; false if that cannot be. */
static bool reopen(struct session *session)
{
    struct work *work = &session->work;
    int status = open_or_make(session);

    if (status < 0) {
        hf_run_refused(work->run, status, hf_status_message(status));
        return false;
    }
    status = work_recover(work);
    if (status < 0) {
        hf_run_refused(work->run, status, hf_status_message(status));
        hf_region_close(work->region);
        work->region = NULL;
        return false;
    }
    hf_run_recovered(work->run, work_digest(&work->now),
                     session->home->stepped_back != NULL && session->home->stepped_back(work->region));
    return true;
}

/* A transaction that did not commit; false if the session cannot go on. */
static bool recommence(struct session *session, hf_txn *txn, int status)
{
    struct work *work = &session->work;

    if (!work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "a commit fails: %s", hf_status_message(status));
    hf_txn_abort(txn);
    /* Of a broken store nothing is known until it is opened again. */
    if (status == HF_BROKEN)
        hf_run_broken(work->run);
    else
        hf_run_failed(work->run);
    close_region(session);
    return reopen(session);
}

/* What a process under ThreadSanitizer or LeakSanitizer may not do: end threads that have something. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { THREADS_END = 0 };
#else
enum { THREADS_END = 1 };
#endif

struct ending {
    struct work *work;
    bool committed;
};

static void *commit_to_the_end(void *argument)
{
    struct ending *ending = argument;
    struct work_state next;
    hf_txn *txn;

    if (work_change(ending->work, &txn, &next) != 1)
        return NULL;
    hf_run_begin(ending->work->run, work_digest(&next));
    ending->committed = hf_txn_commit(txn) == 0;
    if (!ending->committed)
        hf_txn_abort(txn);
    return NULL;
}

/* A writer that dies in its commit, between two calls. What it leaves is looked at, and then it is what there is. */
static bool commit_and_die(struct session *session)
{
    struct work *work = &session->work;
    struct ending ending = {.work = work};
    pthread_t thread;
    int status;

    hf_disk_end_thread(work->run->disk, 1 + hf_random_below(&work->random, 8));
    HF_LAB_REQUIRE(pthread_create(&thread, NULL, commit_to_the_end, &ending) == 0);
    pthread_join(thread, NULL);
    hf_disk_end_thread(work->run->disk, 0);
    memset(&work->now, 0, sizeof(work->now));
    status = work_recover(work);
    if (status < 0) {
        hf_run_violation(work->run, "after the death of a writer: %s", hf_status_message(status));
        return false;
    }
    hf_run_recovered(work->run, work_digest(&work->now), false);
    if (ending.committed)
        after_commit(session);
    return true;
}

/* One commit of many changes; false if the session cannot go on. */
static bool commit(struct session *session)
{
    struct work *work = &session->work;
    struct work_state next;
    hf_txn *txn;

    if (THREADS_END && work->run->disk != NULL && !work->run->faulty && hf_random_chance(&work->random, 1, 12))
        return commit_and_die(session);
    int status = work_change(work, &txn, &next);

    if (status < 0 && !work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "a change fails: %s", hf_status_message(status));
    if (status < 0 && !work->run->faulty)
        return false;
    if (status <= 0)
        return true;
    hf_run_begin(work->run, work_digest(&next));
    status = hf_txn_commit(txn);
    if (status < 0)
        return recommence(session, txn, status);
    /* A transaction that changes nothing makes no version, and what others have left that is not durable stays so. */
    const bool same = work_digest(&next) == work_digest(&work->now);
    work->now = next;
    if (same)
        hf_run_done(work->run);
    else
        after_commit(session);
    return true;
}

/* One transaction of one put: what a tracer steps through. All else is done before. */
static bool commit_one(struct session *session)
{
    struct work *work = &session->work;
    const unsigned tree = 0, number = (unsigned)hf_random_below(&work->random, WORK_KEYS);
    const uint64_t value = hf_random_next(&work->random) << 16 | 0x1004;
    struct work_state next = work->now;
    char text[48];
    const hf_key key = work_key(number, text);
    size_t size;
    const void *bytes = work_value(value, &size);
    hf_txn *txn;
    int status;

    work_set(&next, tree, number, value);
    hf_run_begin(work->run, work_digest(&next));
    hf_run_enter(work->run);
    status = hf_txn_begin(work->region, -1, &txn);
    if (status == 0)
        status = hf_txn_put(txn, tree, &key, bytes, size);
    if (status >= 0)
        status = hf_txn_commit(txn);
    hf_run_leave(work->run);
    if (status < 0) {
        hf_run_violation(work->run, "a put and its commit: %s", hf_status_message(status));
        return false;
    }
    work->now = next;
    after_commit(session);
    return true;
}

/* Now and then something else in between. */
static bool other_things(struct session *session)
{
    struct work *work = &session->work;

    if (hf_random_chance(&work->random, 1, session->lazy ? 60 : 5)) {
        close_region(session);
        return reopen(session);
    }
    if (session->home->flush != NULL && hf_random_chance(&work->random, 1, session->lazy ? 40 : 8)) {
        const int status = session->home->flush(work->region);

        if (status == 0)
            hf_run_durable(work->run);
        else if (!work->run->faulty && !work->run->damaged)
            hf_run_violation(work->run, "a flush fails: %s", hf_status_message(status));
        if (status < 0) {
            close_region(session);
            return reopen(session);
        }
    }
    return work_look(work) == 0 || work->run->faulty;
}

void region_session(struct hf_lab_run *run, const struct region_home *home)
{
    static struct session session; /* large; one thread at a time */

    session = (struct session){.home = home, .work = {.run = run, .random = {run->seed}}};
    session.lazy = hf_random_chance(&session.work.random, 1, 2);
    if (!reopen(&session))
        return;
    for (unsigned i = 0; i < run->steps && !run->violated; i++) {
        if (run->traced ? !commit_one(&session) : !other_things(&session) || !commit(&session))
            break;
    }
    if (session.work.region != NULL)
        close_region(&session);
}

/* -- clients -- */

enum { CLIENT_KEYS = 8, CLIENT_FAILED = 5 };

static void require(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "client %d: %s: %s\n", (int)getpid(), what, hf_status_message(status));
    _exit(CLIENT_FAILED);
}

void region_client_create(const struct region_home *home, const char *folder)
{
    hf_region *region;

    require(home->open(folder, true, 0, &region), "create");
    require(hf_region_close(region), "close");
}

static uint64_t number_found(int found, const hf_span *span)
{
    require(found, "get");
    if (found == 0)
        return HF_LIN_ABSENT;
    const uint64_t value = work_number(span);

    require(value == 0 ? HF_CORRUPT : 0, "a value that nobody has put");
    return value;
}

static uint64_t client_get(hf_region *region, const hf_key *key)
{
    hf_view view;
    hf_span span;
    uint64_t value;

    require(hf_view_pin(region, &view), "pin");
    value = number_found(hf_view_get(&view, 0, key, &span), &span);
    hf_view_unpin(&view);
    return value;
}

static uint64_t client_change(hf_region *region, const struct hf_lin_op *op, const hf_key *key)
{
    hf_txn *txn;
    hf_span span;
    uint64_t found, result;
    size_t size;
    const void *bytes;

    require(hf_txn_begin(region, -1, &txn), "begin");
    found = number_found(hf_txn_get(txn, 0, key, &span), &span);
    result = op->kind == HF_LIN_CAS ? found == op->expected : found != HF_LIN_ABSENT;
    if (op->kind == HF_LIN_REMOVE)
        require(hf_txn_remove(txn, 0, key), "remove");
    bytes = work_value(op->value, &size);
    if (op->kind == HF_LIN_PUT || (op->kind == HF_LIN_CAS && result != 0))
        require(hf_txn_put(txn, 0, key, bytes, size), "put");
    require(hf_txn_commit(txn), "commit");
    return result;
}

/* What a snapshot has, as one number. */
static uint64_t sum_of(const hf_view *view)
{
    uint64_t sum = hf_view_count(view, 0);

    for (unsigned i = 0; i < CLIENT_KEYS; i++) {
        char text[48];
        const hf_key key = work_key(i, text);
        hf_span span;

        sum = sum * 31 + number_found(hf_view_get(view, 0, &key, &span), &span);
    }
    return sum;
}

/* Begins to hold a version, or looks whether it is as it was and lets it go. */
static void client_hold(hf_region *region, hf_snapshot **held, uint64_t *sum)
{
    if (*held == NULL) {
        require(hf_snapshot_begin(region, held), "snapshot");
        *sum = sum_of(hf_snapshot_view(*held));
        return;
    }
    require(sum_of(hf_snapshot_view(*held)) == *sum ? 0 : HF_CORRUPT, "a snapshot has changed");
    hf_snapshot_end(*held);
    *held = NULL;
}

void region_client_work(const struct region_home *home, struct hf_client *client)
{
    struct hf_random random = {client->seed};
    uint64_t last = HF_LIN_ABSENT, serial = 0, sum = 0;
    hf_snapshot *held = NULL;
    hf_region *region;

    require(home->open(client->folder, false, client->seed, &region), "open");
    while (!atomic_load(client->stop)) {
        const uint64_t way = hf_random_below(&random, 8);
        struct hf_lin_op op = {.client = client->number,
                               .kind = way < 4   ? HF_LIN_GET
                                       : way < 6 ? HF_LIN_PUT
                                       : way < 7 ? HF_LIN_CAS
                                                 : HF_LIN_REMOVE,
                               .key = hf_random_below(&random, CLIENT_KEYS),
                               .value = (uint64_t)client->number << 32 | ++serial,
                               .expected = last};
        char text[48];
        const hf_key key = work_key((unsigned)op.key, text);
        const uint64_t at = hf_history_call(client->history, &op);
        uint64_t result;

        if (at == UINT64_MAX)
            break;
        result = op.kind == HF_LIN_GET ? client_get(region, &key) : client_change(region, &op, &key);
        hf_history_return(client->history, at, result);
        if (op.kind == HF_LIN_GET)
            last = result;
        if (hf_random_chance(&random, 1, 16))
            client_hold(region, &held, &sum);
        /* Not flat out, so that the history is of many kills, not of many calls. */
        if (hf_random_chance(&random, 1, 16))
            usleep(20);
    }
    if (held != NULL)
        client_hold(region, &held, &sum);
    require(hf_region_close(region), "close");
}
