/*
 * toy_shared.c: a small map in memory that processes share, for the tools that kill, with the fault TOY_FAULT, as the
 * subjects TOY_SUBJECT and TOY_CLIENTS.
 *
 *     +-------+------+---------+--------+-----------+-----------+
 *     | magic | lock | current | staged | version 0 | version 1 |
 *     +-------+------+---------+--------+-----------+-----------+
 *
 * A writer takes the lock (robust: the next one is told that its owner has died), stages
 * its changes, fills the version that is not current from the one that is, and publishes
 * it by one store. What a dead writer had staged is dropped. Readers take the lock too.
 */
#include "toy.h"

#include "base/hash.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEYS = 8, STAGED = 4 };

struct version {
    uint64_t value[KEYS]; /* 0: absent */
    uint64_t sum;
};

struct shared {
    _Atomic uint64_t magic;
    pthread_mutex_t lock;
    _Atomic unsigned current;
    _Atomic unsigned staged_count;
    struct {
        uint64_t key, value;
    } staged[STAGED];
    struct version version[2];
};

static uint64_t sum_of(const struct version *version)
{
    return hf_checksum64(version->value, sizeof(version->value), 1);
}

static void init(struct shared *shared)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    shared->version[0].sum = sum_of(&shared->version[0]);
    atomic_store(&shared->magic, 1);
}

/* NULL if there is none and `make` is false. A store that is made has its name when it is whole. */
static struct shared *attach(const char *folder, bool make)
{
    char path[512], other[512];
    void *mapped = NULL;
    int fd;

    snprintf(path, sizeof(path), "%s/shared", folder);
    snprintf(other, sizeof(other), "%s/shared.new", folder);
    fd = hf_os_open(make ? other : path, make ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, 0600);
    if (fd == -ENOENT)
        return NULL;
    HF_LAB_REQUIRE(fd >= 0 && (!make || hf_os_ftruncate(fd, sizeof(struct shared)) == 0));
    HF_LAB_REQUIRE(hf_os_mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &mapped) == 0);
    if (make) {
        init(mapped);
        HF_LAB_REQUIRE(hf_os_rename(other, path) == 0);
    }
    hf_os_close(fd);
    return mapped;
}

static void detach(struct shared *shared)
{
    hf_os_munmap(shared, sizeof(*shared));
}

static void lock(struct shared *shared)
{
    if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD) {
        if (TOY_FAULT != toy_shared_no_rollback_fault)
            atomic_store(&shared->staged_count, 0);
        pthread_mutex_consistent(&shared->lock);
    }
}

static void unlock(struct shared *shared)
{
    pthread_mutex_unlock(&shared->lock);
}

static void stage(struct shared *shared, uint64_t key, uint64_t value)
{
    const unsigned count = atomic_load(&shared->staged_count);

    if (count == STAGED)
        return; /* with the fault only */
    shared->staged[count].key = key;
    shared->staged[count].value = value;
    atomic_store(&shared->staged_count, count + 1);
}

static void publish(struct shared *shared)
{
    const unsigned now = atomic_load(&shared->current);
    const unsigned next = TOY_FAULT == toy_shared_in_place_fault ? now : !now;
    struct version *to = &shared->version[next];

    if (TOY_FAULT == toy_shared_early_fault)
        atomic_store(&shared->current, next);
    *to = shared->version[now];
    atomic_signal_fence(memory_order_seq_cst); /* a process that is killed has its stores in this order */
    for (unsigned i = 0; i < atomic_load(&shared->staged_count); i++)
        to->value[shared->staged[i].key] = shared->staged[i].value;
    atomic_signal_fence(memory_order_seq_cst);
    if (TOY_FAULT == toy_shared_no_lock_fault)
        sched_yield(); /* so that another can come in between */
    to->sum = sum_of(to);
    atomic_store(&shared->current, next);
    atomic_store(&shared->staged_count, 0);
}

/* -- as a subject -- */

static uint64_t digest_of(const struct version *version)
{
    return hf_hash_bytes(version->value, sizeof(version->value), 2);
}

static void session(struct hf_lab_run *run)
{
    struct hf_random random = {run->seed};
    struct shared *shared = attach(run->folder, false);
    struct version found;

    if (shared == NULL) {
        hf_run_recovered(run, HF_NOTHING, false);
        memset(&found, 0, sizeof(found));
        hf_run_begin(run, digest_of(&found));
        shared = attach(run->folder, true);
        hf_run_done(run);
    }
    lock(shared);
    found = shared->version[atomic_load(&shared->current)];
    unlock(shared);
    if (found.sum != sum_of(&found))
        hf_run_violation(run, "the checksum of the current version is wrong");
    hf_run_recovered(run, digest_of(&found), false);
    for (unsigned i = 0; i < run->steps; i++) {
        const uint64_t key = hf_random_below(&random, KEYS), other = (key + 1) % KEYS;
        const uint64_t value = hf_random_next(&random) | 1;

        found.value[key] = value;
        found.value[other] = ~value | 1;
        hf_run_begin(run, digest_of(&found));
        hf_run_enter(run);
        lock(shared);
        stage(shared, key, value);
        stage(shared, other, ~value | 1);
        publish(shared);
        unlock(shared);
        hf_run_leave(run);
        hf_run_done(run);
    }
    detach(shared);
}

/* -- as clients -- */

static void create(const char *folder)
{
    detach(attach(folder, true));
}

static uint64_t client_op(struct shared *shared, const struct hf_lin_op *op)
{
    const bool locked = TOY_FAULT != toy_shared_no_lock_fault || op->kind == HF_LIN_GET;
    uint64_t found, result = 0;

    if (locked)
        lock(shared);
    found = shared->version[atomic_load(&shared->current)].value[op->key];
    if (op->kind == HF_LIN_GET) {
        result = found != 0 ? found : HF_LIN_ABSENT;
    } else if (op->kind == HF_LIN_CAS) {
        result = (found != 0 ? found : HF_LIN_ABSENT) == op->expected;
    } else {
        result = found != 0;
    }
    if (op->kind != HF_LIN_GET && (op->kind != HF_LIN_CAS || result != 0)) {
        stage(shared, op->key, op->kind == HF_LIN_REMOVE ? 0 : op->value);
        publish(shared);
    }
    if (locked)
        unlock(shared);
    return result;
}

static void work(struct hf_client *client)
{
    struct hf_random random = {client->seed};
    struct shared *shared = attach(client->folder, false);
    uint64_t last = HF_LIN_ABSENT, serial = 0;

    while (!atomic_load(client->stop)) {
        const uint64_t way = hf_random_below(&random, 8);
        struct hf_lin_op op = {.client = client->number,
                               .kind = way < 4   ? HF_LIN_GET
                                       : way < 6 ? HF_LIN_PUT
                                       : way < 7 ? HF_LIN_CAS
                                                 : HF_LIN_REMOVE,
                               .key = hf_random_below(&random, KEYS),
                               .value = (uint64_t)client->number << 32 | ++serial,
                               .expected = last};
        const uint64_t at = hf_history_call(client->history, &op);
        uint64_t result;

        if (at == UINT64_MAX)
            break;
        result = client_op(shared, &op);
        hf_history_return(client->history, at, result);
        if (op.kind == HF_LIN_GET)
            last = result;
        /* Not flat out, so that the history is of many kills, not of many calls. */
        if (hf_random_chance(&random, 1, 16))
            usleep(20);
    }
    detach(shared);
}

#define TOY_STRING_(name) #name
#define TOY_STRING(name) TOY_STRING_(name)
const struct hf_subject TOY_SUBJECT = {.name = TOY_STRING(TOY_SUBJECT), .session = session};
const struct hf_clients_subject TOY_CLIENTS = {.name = TOY_STRING(TOY_SUBJECT), .create = create, .work = work};
