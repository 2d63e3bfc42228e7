/*
 * cask_clients.c: clients of one cask, which are killed and replaced (kill.h); see cask_lab.h.
 *
 *      slot 0    writes: puts, deletes, merges, closes and opens again. Each change is a batch of two keys, k and its twin, which have the
 *                same value always
 *      slot 1    follows: opens to read, gets
 *      slot 2    holds snapshots: what one had, it has for ever; and k and its twin are the same in it
 *
 * The history of each k, gets of all three, must be linearizable: a reader sees what was put as soon as the put has returned, and
 * never sees it go again.
 */
#include "cask_lab.h"

#include <unistd.h>

enum { KEYS = 8, FAILED = 5, TRIES = 20000 };

static void require(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "client %d: %s: %s\n", (int)getpid(), what, hf_status_message(status));
    _exit(FAILED);
}

static void wrong(const char *what, unsigned key)
{
    fprintf(stderr, "client %d: %s: key %u\n", (int)getpid(), what, key);
    _exit(FAILED);
}

static hf_cask *open_as(const char *folder, hf_cask_mode mode, struct hf_random *random)
{
    hf_cask_options how = {
        .mode = mode,
        .sync = hf_random_chance(random, 1, 4) ? HF_CASK_SYNC_PUT : HF_CASK_SYNC_NONE,
        .max_file_size = 4096,
        .checkpoint = 500 << hf_random_below(random, 6),
        .no_thread = hf_random_chance(random, 1, 2),
        .merging = {.fragmentation_trigger = 20, .by_call = hf_random_chance(random, 1, 2)},
    };
    char path[300];
    hf_cask *cask = NULL;
    int status = HF_BUSY;

    snprintf(path, sizeof(path), "%s/cask", folder);
    /* Who looks whether anybody writes has the lock for a moment, and a writer that begins has no page yet. */
    for (unsigned i = 0; i < TRIES && status == HF_BUSY; i++) {
        status = hf_cask_open(path, &how, &cask);
        if (status == HF_BUSY)
            usleep(100);
    }
    require(status, mode == HF_CASK_READ ? "open to read" : "open to write");
    return cask;
}

static void create(const char *folder)
{
    struct hf_random random = {1};

    require(hf_cask_close(open_as(folder, HF_CASK_WRITE, &random)), "close");
}

static uint64_t number_of(int found, const void *value, size_t size, unsigned key)
{
    require(found, "get");
    if (found == 0)
        return HF_LIN_ABSENT;
    const uint64_t number = cask_value_number(value, size);

    if (number == 0)
        wrong("a value that nobody has put", key);
    return number;
}

static uint64_t get(hf_cask *cask, unsigned key, hf_cask_room *room)
{
    char bytes[CASK_KEY_LONGEST];
    const size_t key_size = cask_key(key, bytes);
    const void *value = NULL;
    size_t size = 0;
    const int found = hf_cask_get(cask, bytes, key_size, room, &value, &size);

    return number_of(found, value, size, key);
}

static void record_get(struct hf_client *client, hf_cask *cask, unsigned key, hf_cask_room *room)
{
    const struct hf_lin_op op = {.client = client->number, .kind = HF_LIN_GET, .key = key};
    const uint64_t at = hf_history_call(client->history, &op);

    if (at != UINT64_MAX)
        hf_history_return(client->history, at, get(cask, key, room));
}

/* -- one who writes -- */

static uint64_t change(hf_cask *cask, const struct hf_lin_op *op)
{
    const unsigned key = (unsigned)op->key;
    const bool there = op->kind == HF_LIN_REMOVE && get(cask, key, &(hf_cask_room){0}) != HF_LIN_ABSENT;
    char bytes[CASK_KEY_LONGEST];
    hf_cask_batch *batch;

    require(hf_cask_batch_begin(cask, &batch), "begin");
    for (unsigned twin = 0; twin < 2; twin++) {
        const size_t key_size = cask_key(key + twin * KEYS, bytes);
        size_t size;
        const void *value = cask_value(op->value, &size);

        require(op->kind == HF_LIN_PUT ? hf_cask_batch_put(batch, bytes, key_size, value, size, HF_CASK_FOR_EVER)
                                       : hf_cask_batch_delete(batch, bytes, key_size),
                "a change");
    }
    require(hf_cask_batch_commit(batch), "commit");
    hf_cask_batch_end(batch);
    return there;
}

static void write_once(struct hf_client *client, hf_cask *cask, struct hf_random *random)
{
    const bool removes = hf_random_chance(random, 1, 4);
    struct hf_lin_op op = {.client = client->number, .kind = removes ? HF_LIN_REMOVE : HF_LIN_PUT};

    op.key = hf_random_below(random, KEYS);
    op.value = removes ? 0 : cask_draw(random, CASK_EPOCH_BASE, false);
    const uint64_t at = hf_history_call(client->history, &op);

    if (at != UINT64_MAX)
        hf_history_return(client->history, at, change(cask, &op));
}

static void writer(struct hf_client *client, struct hf_random *random)
{
    hf_cask *cask = open_as(client->folder, HF_CASK_WRITE, random);
    hf_cask_room room = {0};

    while (!atomic_load(client->stop)) {
        const uint64_t way = hf_random_below(random, 64);

        if (way == 0) {
            require(hf_cask_close(cask), "close");
            cask = open_as(client->folder, HF_CASK_WRITE, random);
        } else if (way < 4) {
            const int status = hf_cask_merge(cask, 1, NULL);
            require(status == HF_BUSY ? 0 : status, "merge");
        } else if (way < 6) {
            require(hf_cask_sync_now(cask), "sync");
        } else if (way < 20) {
            record_get(client, cask, (unsigned)hf_random_below(random, KEYS), &room);
        } else {
            write_once(client, cask, random);
        }
    }
    hf_cask_room_clear(&room);
    require(hf_cask_close(cask), "close");
}

/* -- those who read -- */

static void follower(struct hf_client *client, struct hf_random *random)
{
    hf_cask *cask = open_as(client->folder, HF_CASK_READ, random);
    hf_cask_room room = {0};

    while (!atomic_load(client->stop)) {
        record_get(client, cask, (unsigned)hf_random_below(random, KEYS), &room);
        if (hf_random_chance(random, 1, 200)) {
            require(hf_cask_close(cask), "close");
            cask = open_as(client->folder, HF_CASK_READ, random);
        }
    }
    hf_cask_room_clear(&room);
    require(hf_cask_close(cask), "close");
}

static void read_snapshot(hf_cask_snapshot *snapshot, uint64_t out[2 * KEYS])
{
    for (unsigned key = 0; key < 2 * KEYS; key++) {
        char bytes[CASK_KEY_LONGEST];
        const size_t key_size = cask_key(key, bytes);
        const void *value = NULL;
        size_t size = 0;
        const int found = hf_cask_snapshot_get(snapshot, bytes, key_size, &value, &size);

        out[key] = number_of(found, value, size, key);
    }
}

static int visit(void *arg, const void *key, size_t key_size, const void *value, size_t value_size,
                 const hf_cask_info *info)
{
    uint64_t *there = arg;
    const unsigned number = cask_key_number(key, key_size);

    if (number >= 2 * KEYS || there[number] != HF_LIN_ABSENT)
        wrong("twice in a walk, or nobody's", number);
    there[number] = cask_value_number(value, value_size);
    return 0;
}

/* What it has, by each of the two ways; it must not change. */
static void look(hf_cask_snapshot *snapshot, struct hf_random *random, uint64_t had[2 * KEYS], bool first)
{
    uint64_t now[2 * KEYS];

    memset(now, 0xff, sizeof(now)); /* absent */
    if (hf_random_chance(random, 1, 2))
        require(hf_cask_snapshot_walk(snapshot, visit, now), "a walk");
    else
        read_snapshot(snapshot, now);
    for (unsigned key = 0; key < 2 * KEYS; key++) {
        if (!first && now[key] != had[key])
            wrong("a snapshot has changed", key);
        if (now[key] != now[key % KEYS])
            wrong("half of a batch is in a snapshot", key);
        had[key] = now[key];
    }
}

static void holder(struct hf_client *client, struct hf_random *random)
{
    hf_cask *cask = open_as(client->folder, HF_CASK_READ, random);
    hf_cask_room room = {0};

    while (!atomic_load(client->stop)) {
        hf_cask_snapshot *snapshot;
        uint64_t had[2 * KEYS];

        require(hf_cask_snapshot_begin(cask, &snapshot), "a snapshot");
        look(snapshot, random, had, true);
        for (uint64_t i = hf_random_below(random, 8); i > 0 && !atomic_load(client->stop); i--) {
            usleep((useconds_t)hf_random_below(random, 1000));
            record_get(client, cask, (unsigned)hf_random_below(random, KEYS), &room);
            look(snapshot, random, had, false);
        }
        hf_cask_snapshot_end(snapshot);
    }
    hf_cask_room_clear(&room);
    require(hf_cask_close(cask), "close");
}

static void work(struct hf_client *client)
{
    struct hf_random random = {client->seed};

    if (client->slot == 0)
        writer(client, &random);
    else if (client->slot == 1)
        follower(client, &random);
    else
        holder(client, &random);
}

const struct hf_clients_subject cask_clients = {.name = "cask", .create = create, .work = work};
