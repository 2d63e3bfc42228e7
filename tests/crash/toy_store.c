/*
 * toy_store.c: sessions with the small store, with the fault TOY_FAULT, as the subject TOY_SUBJECT.
 *
 * The n-th commit of a store always begins with the same pairs, and the session decides
 * how many they are. So a session after a crash begins as the one before it did, as a
 * program that tries again does; and what that one has left is most like something good.
 */
#include "toy.h"

#include "toy_store.h"

struct paths {
    char store[512], other[512];
};

static size_t pairs_of(uint64_t txid, struct hf_random *random, struct toy_pair *pairs)
{
    const size_t count = 1 + (size_t)hf_random_below(random, hf_random_chance(random, 1, 8) ? TOY_PAIRS : 40);
    struct hf_random same = {txid};

    for (size_t i = 0; i < count; i++)
        pairs[i] = (struct toy_pair){hf_random_below(&same, TOY_KEYS), hf_random_next(&same) | 1};
    return count;
}

/* What the store says it has; false if it does not open. */
static bool reopen(struct hf_lab_run *run, const struct paths *paths, struct toy *toy)
{
    int status = toy_open(run->folder, paths->store, toy);

    if (status == TOY_ABSENT) {
        const uint64_t nothing[TOY_KEYS] = {0};

        hf_run_recovered(run, HF_NOTHING, false);
        hf_run_begin(run, toy_digest(nothing));
        status = toy_create(run->folder, paths->store, paths->other);
        if (status == 0)
            hf_run_durable(run);
        if (status == 0)
            status = toy_open(run->folder, paths->store, toy);
    }
    if (status < 0) {
        hf_run_refused(run, status, hf_status_message(status));
        return false;
    }
    hf_run_recovered(run, toy_digest(toy->values), toy->stepped_back);
    if (!toy->clean || TOY_FAULT == toy_no_reflush_fault)
        hf_run_durable(run); /* it has flushed what it found */
    return true;
}

/* One commit; false if the session cannot go on. */
static bool commit(struct hf_lab_run *run, const struct paths *paths, struct toy *toy, struct hf_random *random)
{
    struct toy_pair pairs[TOY_PAIRS];
    const size_t count = pairs_of(toy->root.txid + 1, random, pairs);
    const uint64_t before = toy_digest(toy->values);
    uint64_t after[TOY_KEYS];
    int status;

    memcpy(after, toy->values, sizeof(after));
    toy_apply(after, pairs, count);
    hf_run_begin(run, toy_digest(after));
    hf_run_enter(run);
    status = toy_commit(toy, pairs, count);
    hf_run_leave(run);
    if (status == 0) {
        hf_run_durable(run);
        if (toy_digest(toy->values) != toy_digest(after))
            hf_run_violation(run, "a commit has not the contents that it was given");
        return true;
    }
    if (!run->faulty)
        hf_run_violation(run, "a commit fails: %s", hf_status_message(status));
    if (!toy->broken) {
        hf_run_failed(run);
        if (toy_digest(toy->values) != before)
            hf_run_violation(run, "a commit that failed has left something");
        return true;
    }
    toy_close(toy);
    return reopen(run, paths, toy);
}

static void close_store(struct hf_lab_run *run, struct toy *toy)
{
    if (toy_close(toy) < 0 && !run->faulty)
        hf_run_violation(run, "it does not close");
}

static void session(struct hf_lab_run *run)
{
    struct hf_random random = {run->seed};
    struct paths paths;
    struct toy toy;

    snprintf(paths.store, sizeof(paths.store), "%s/toy", run->folder);
    snprintf(paths.other, sizeof(paths.other), "%s/toy.new", run->folder);
    if (!reopen(run, &paths, &toy))
        return;
    for (unsigned i = 0; i < run->steps && toy.root.tail < TOY_LARGEST - TOY_PAIRS * sizeof(struct toy_record); i++) {
        /* Now and then the store is closed in between, so that it is clean. */
        if (hf_random_chance(&random, 1, 4)) {
            close_store(run, &toy);
            if (!reopen(run, &paths, &toy))
                return;
        }
        if (!commit(run, &paths, &toy, &random))
            return;
    }
    close_store(run, &toy);
}

#define TOY_STRING_(name) #name
#define TOY_STRING(name) TOY_STRING_(name)
const struct hf_subject TOY_SUBJECT = {.name = TOY_STRING(TOY_SUBJECT), .session = session};
