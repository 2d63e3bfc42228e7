/*
 * shared_clients.c: several processes on one map, some of them killed (kill.h).
 *
 *   clients    get, set, delete, compare and set, add, on a few keys: each call is recorded, and all must be linearizable
 *
 *   writers    each has keys of its own, and counts its transactions in the map, and on the board, which outlives it:
 *
 *                  board     begun 42, done 41            transaction n of a writer is a function of its slot and n:
 *                  map       "writer 2" -> 41             so whoever looks can tell what must be there after 41 of them
 *
 *              A look, after each kill and while the others go on, takes a snapshot: each writer's count in it is at
 *              least what was done before, and at most what was begun after; its keys are those of just so many
 *              transactions; and what all of them have counted together is the sum.
 */
#include "shared_lab.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CLIENT_FAILED = 5 };

static int require(int status, const char *what)
{
    if (status >= 0)
        return status;
    fprintf(stderr, "client %d: %s: %s\n", (int)getpid(), what, hf_status_message(status));
    _exit(CLIENT_FAILED);
}

static void require_true(bool right, const char *what)
{
    require(right ? 0 : HF_CORRUPT, what);
}

static void create_map(const char *folder)
{
    hf_shared *map;

    require(lab_open(folder, true, &map), "create");
    require(hf_shared_close(map), "close");
}

/* -- whose history must be linearizable -- */

enum { CLIENT_KEYS = 8 };

/* Each key in the one form or the other, which are equal. */
static hf_datum client_key(uint64_t number, struct hf_random *random)
{
    return hf_random_chance(random, 1, 2) ? hf_datum_int((int64_t)number) : hf_datum_float((double)number);
}

static uint64_t number_found(int found, const hf_datum *datum)
{
    if (require(found, "get") == 0)
        return HF_LIN_ABSENT;
    require_true(datum->kind == HF_DATUM_INT, "a value that nobody has put");
    return (uint64_t)datum->integer;
}

static uint64_t client_get(hf_shared *map, const hf_datum *key)
{
    hf_shared_room room = {0};
    hf_datum value;
    const uint64_t number = number_found(hf_shared_get(map, key, &room, &value), &value);

    hf_shared_room_clear(&room);
    return number;
}

/* The same as the call does, in a transaction of many calls. */
static uint64_t exchange_in_steps(hf_shared *map, const hf_datum *key, const hf_datum *old, const hf_datum *now)
{
    require(hf_shared_begin(map), "begin");
    const uint64_t is = client_get(map, key), was = old == NULL ? HF_LIN_ABSENT : (uint64_t)old->integer;

    if (is == was && now != NULL)
        require(hf_shared_set(map, key, now), "set");
    else if (is == was)
        require(hf_shared_delete(map, key), "delete");
    require(hf_shared_commit(map), "commit");
    return is == was;
}

static uint64_t client_change(hf_shared *map, const struct hf_lin_op *op, const hf_datum *key,
                              struct hf_random *random)
{
    const hf_datum now = hf_datum_int((int64_t)op->value), old = hf_datum_int((int64_t)op->expected);
    const hf_datum *from = op->expected == HF_LIN_ABSENT ? NULL : &old,
                   *to = op->value == HF_LIN_ABSENT ? NULL : &now;
    int64_t sum = 0;

    switch (op->kind) {
    case HF_LIN_GET:
        return client_get(map, key);
    case HF_LIN_PUT:
        require(hf_shared_set(map, key, &now), "set");
        return 1;
    case HF_LIN_REMOVE:
        return (uint64_t)require(hf_shared_delete(map, key), "delete");
    case HF_LIN_ADD:
        require(hf_shared_incr(map, key, (int64_t)op->value, &sum), "incr");
        return (uint64_t)sum;
    default:
        return hf_random_chance(random, 1, 2)
                   ? (uint64_t)require(hf_shared_compare_and_set(map, key, from, to), "compare and set")
                   : exchange_in_steps(map, key, from, to);
    }
}

/* What a snapshot has, as one number. */
static uint64_t sum_of(const hf_shared_snapshot *snapshot)
{
    uint64_t sum = hf_shared_snapshot_count(snapshot);

    for (int64_t i = 0; i < CLIENT_KEYS; i++) {
        const hf_datum key = hf_datum_int(i);
        hf_datum value;

        sum = sum * 31 + number_found(hf_shared_snapshot_get(snapshot, &key, &value), &value);
    }
    return sum;
}

/* Begins to hold a version, or looks whether it is as it was and lets it go. */
static void client_hold(hf_shared *map, hf_shared_snapshot **held, uint64_t *sum)
{
    if (*held == NULL) {
        require(hf_shared_snapshot_begin(map, held), "snapshot");
        *sum = sum_of(*held);
        return;
    }
    require_true(sum_of(*held) == *sum, "a snapshot has changed");
    hf_shared_snapshot_end(*held);
    *held = NULL;
}

static struct hf_lin_op next_op(struct hf_client *client, struct hf_random *random, uint64_t last, uint64_t serial)
{
    static const enum hf_lin_kind kinds[] = {HF_LIN_GET, HF_LIN_GET, HF_LIN_GET, HF_LIN_GET,    HF_LIN_PUT,
                                             HF_LIN_CAS, HF_LIN_CAS, HF_LIN_ADD, HF_LIN_REMOVE, HF_LIN_PUT};
    struct hf_lin_op op = {.client = client->number,
                           .kind = kinds[hf_random_below(random, sizeof(kinds) / sizeof(kinds[0]))],
                           .key = hf_random_below(random, CLIENT_KEYS),
                           .value = (uint64_t)client->number << 32 | serial,
                           .expected = last};

    if (op.kind == HF_LIN_ADD)
        op.value = 1 + hf_random_below(random, 1000);
    if (op.kind == HF_LIN_CAS && hf_random_chance(random, 1, 4))
        op.value = HF_LIN_ABSENT;
    return op;
}

static void client_work(struct hf_client *client)
{
    struct hf_random random = {client->seed};
    uint64_t last = HF_LIN_ABSENT, serial = 0, sum = 0;
    hf_shared_snapshot *held = NULL;
    hf_shared *map;

    require(lab_open(client->folder, false, &map), "open");
    while (!atomic_load(client->stop)) {
        const struct hf_lin_op op = next_op(client, &random, last, ++serial);
        const hf_datum key = client_key(op.key, &random);
        const uint64_t at = hf_history_call(client->history, &op);

        if (at == UINT64_MAX)
            break;
        const uint64_t result = client_change(map, &op, &key, &random);
        hf_history_return(client->history, at, result);
        if (op.kind == HF_LIN_GET || op.kind == HF_LIN_ADD)
            last = result;
        if (hf_random_chance(&random, 1, 16))
            client_hold(map, &held, &sum);
        /* Not flat out, so that the history is of many kills, not of many calls. */
        if (hf_random_chance(&random, 1, 16))
            usleep(20);
    }
    if (held != NULL)
        client_hold(map, &held, &sum);
    require(hf_shared_close(map), "close");
}

const struct hf_clients_subject shared_clients = {
    .name = "shared_clients", .create = create_map, .work = client_work};

/* -- writers -- */

enum { WRITERS = 4, EACH = LAB_KEYS / WRITERS };

struct board {
    struct {
        _Atomic uint64_t begun, done;
    } writer[WRITERS];
};

static struct board *board_of(const char *folder)
{
    char path[512];
    struct board *board;

    snprintf(path, sizeof(path), "%s/board", folder);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    HF_LAB_REQUIRE(fd >= 0 && ftruncate(fd, sizeof(*board)) == 0);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    HF_LAB_REQUIRE(board != MAP_FAILED);
    close(fd);
    return board;
}

static hf_datum counter_name(unsigned slot)
{
    static const char *const names[WRITERS] = {"writer 0", "writer 1", "writer 2", "writer 3"};

    return hf_datum_str(names[slot]);
}

/* One change of a transaction: to the model, and, if there is one, to the map, which must say the same. */
static void writer_change(struct lab_state *state, unsigned slot, struct hf_random *random, hf_shared *map)
{
    const unsigned number = slot * EACH + (unsigned)hf_random_below(random, EACH);
    const unsigned form = (unsigned)hf_random_below(random, 2);
    const bool remove = hf_random_chance(random, 1, 3);
    const uint64_t drawn = lab_draw(random, true), value = remove ? 0 : drawn, was = state->value[number];
    struct lab_text text;

    if (map != NULL) {
        const hf_datum key = lab_key(number, form, &text), datum = lab_value(drawn);
        const int status = remove ? hf_shared_delete(map, &key) : hf_shared_set(map, &key, &datum);

        require(status, "a change");
        require_true(status == (remove ? was != 0 : was == 0), "a change says what is not so");
    }
    lab_state_set(state, number, form, value);
}

/* Transaction n of a writer. With a map: but for the commit. */
static void writer_transaction(struct lab_state *state, unsigned slot, uint64_t n, hf_shared *map)
{
    struct hf_random random = {n * WRITERS + slot};
    struct lab_state before;

    for (uint64_t count = 1 + hf_random_below(&random, 5); count > 0; count--)
        writer_change(state, slot, &random, map);
    if (!hf_random_chance(&random, 1, 3))
        return;
    /* Some that come to nothing. */
    before = *state;
    if (map != NULL)
        require(hf_shared_begin(map), "begin within");
    for (uint64_t count = 1 + hf_random_below(&random, 3); count > 0; count--)
        writer_change(state, slot, &random, map);
    if (map != NULL)
        require(hf_shared_abort(map), "abort within");
    *state = before;
}

static void writer_work(struct hf_client *client)
{
    static struct lab_state state;
    struct board *board = board_of(client->folder);
    const unsigned slot = client->slot % WRITERS;
    const hf_datum name = counter_name(slot), all = hf_datum_str("all");
    struct hf_random random = {client->seed};
    hf_shared *map;
    uint64_t n = 0, there;

    require(lab_open(client->folder, false, &map), "open");
    there = client_get(map, &name);
    memset(&state, 0, sizeof(state));
    for (there = there == HF_LIN_ABSENT ? 0 : there; n < there; n++)
        writer_transaction(&state, slot, n + 1, NULL);
    while (!atomic_load(client->stop)) {
        int64_t counted = 0;

        require(hf_shared_begin(map), "begin");
        atomic_store(&board->writer[slot].begun, n + 1);
        writer_transaction(&state, slot, n + 1, map);
        require(hf_shared_incr(map, &name, 1, &counted), "count");
        require(hf_shared_incr(map, &all, 1, NULL), "count");
        require_true(counted == (int64_t)n + 1, "a count is another than that of what is committed");
        require(hf_shared_commit(map), "commit");
        atomic_store(&board->writer[slot].done, ++n);
        if (hf_random_chance(&random, 1, 8))
            usleep(20);
    }
    require(hf_shared_close(map), "close");
}

/* What a look finds, and what it must be. */
struct looking {
    struct lab_state found;
    uint64_t counts[WRITERS], all;
};

/* What must be there after so many transactions of each: carried on from look to look. */
static struct {
    struct lab_state state[WRITERS];
    uint64_t n[WRITERS];
} known;

static int look_at_entry(void *arg, const hf_datum *key, const hf_datum *value)
{
    struct looking *looking = arg;
    const uint64_t found = lab_value_number(value);
    unsigned number, form;

    if (key->kind == HF_DATUM_STR && value->kind == HF_DATUM_INT && !lab_key_number(key, &number, &form)) {
        for (unsigned slot = 0; slot < WRITERS; slot++)
            if (hf_datum_is_str(key, (const char *)counter_name(slot).data))
                looking->counts[slot] = (uint64_t)value->integer;
        if (hf_datum_is_str(key, "all"))
            looking->all = (uint64_t)value->integer;
        return 0;
    }
    if (found == 0 || !lab_key_number(key, &number, &form) || looking->found.value[number] != 0)
        return HF_INVALID;
    lab_state_set(&looking->found, number, form, found);
    return 0;
}

/* Why what the snapshot has cannot be; or NULL. */
static const char *judge(const struct looking *looking, const uint64_t *done, const uint64_t *begun)
{
    uint64_t sum = 0;

    for (unsigned slot = 0; slot < WRITERS; slot++) {
        const uint64_t count = looking->counts[slot];

        if (count < done[slot] || count < known.n[slot])
            return "what was committed is not there";
        if (count > begun[slot])
            return "there is what was not begun";
        sum += count;
        for (; known.n[slot] < count; known.n[slot]++)
            writer_transaction(&known.state[slot], slot, known.n[slot] + 1, NULL);
        for (unsigned i = slot * EACH; i < (slot + 1) * EACH; i++)
            if (looking->found.value[i] != known.state[slot].value[i] ||
                (looking->found.value[i] != 0 && looking->found.form[i] != known.state[slot].form[i]))
                return "a writer's keys are not those of what it has committed";
    }
    return looking->all == sum ? NULL : "half of a transaction is there";
}

static void writers_create(const char *folder)
{
    memset(&known, 0, sizeof(known));
    create_map(folder);
}

/* The check, and how much memory it takes by now. */
static const char *look_after(hf_shared *map)
{
    hf_shared_stats stats;
    const char *what = NULL;
    const int status = hf_shared_check(map, &what);

    if (status < 0)
        return what != NULL ? what : hf_status_message(status);
    if (hf_shared_stats_get(map, &stats) < 0)
        return "its stats cannot be had";
    return stats.size > LAB_MEMORY || stats.used > LAB_MEMORY / 2 ? "it has grown without bound" : NULL;
}

static void writers_look(const char *folder, char *text, size_t size)
{
    static struct looking looking;
    struct board *board = board_of(folder);
    uint64_t done[WRITERS], begun[WRITERS];
    hf_shared_snapshot *snapshot = NULL;
    const char *wrong = NULL;
    hf_shared *map;
    int status = lab_open(folder, false, &map);

    memset(&looking, 0, sizeof(looking));
    for (unsigned slot = 0; slot < WRITERS; slot++)
        done[slot] = atomic_load(&board->writer[slot].done);
    if (status < 0) {
        snprintf(text, size, "it does not open: %s", hf_status_message(status));
        munmap(board, sizeof(*board));
        return;
    }
    status = hf_shared_snapshot_begin(map, &snapshot);
    for (unsigned slot = 0; slot < WRITERS; slot++)
        begun[slot] = atomic_load(&board->writer[slot].begun);
    if (status == 0)
        status = hf_shared_snapshot_walk(snapshot, look_at_entry, &looking);
    if (status < 0)
        wrong = hf_status_message(status);
    if (wrong == NULL)
        wrong = judge(&looking, done, begun);
    if (wrong == NULL)
        wrong = look_after(map);
    hf_shared_snapshot_end(snapshot);
    status = hf_shared_close(map);
    if (wrong == NULL && status < 0)
        wrong = "it does not close";
    if (wrong != NULL)
        snprintf(text, size, "%s", wrong);
    munmap(board, sizeof(*board));
}

const struct hf_clients_subject shared_writers = {
    .name = "shared_writers", .create = writers_create, .work = writer_work, .look = writers_look};
