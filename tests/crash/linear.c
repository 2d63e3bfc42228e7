/*
 * linear.c: see linear.h.
 */
#include "linear.h"

#include <sys/mman.h>

enum { WORDS = HF_LIN_OPEN / 64 };

/* One way things may stand: the register, and which open operations, by slot, have taken effect. */
struct config {
    uint64_t value;
    uint64_t done[WORDS];
};

struct configs {
    struct config *at;
    size_t count, capacity;
    uint32_t *slot; /* open addressing: index + 1 */
    size_t slots;
};

/*
 * A moment at which no operation was going on but those of the killed, and the register could have one value only:
 * for what comes after, this is all there is to know of what was before.
 */
struct cut {
    bool there;
    uint64_t time, value;
    size_t open[HF_LIN_OPEN]; /* killed operations that may yet happen */
    size_t opens;
};

/* One key. */
struct check {
    const struct hf_lin_op *ops; /* by call */
    size_t count;
    size_t open[HF_LIN_OPEN]; /* the operation in each slot */
    uint64_t used[WORDS], killed[WORDS];
    struct configs now, next, seen;
};

/* -- sets of configurations -- */

static bool bit(const uint64_t *bits, size_t i)
{
    return (bits[i / 64] >> i % 64 & 1) != 0;
}

static void bit_set(uint64_t *bits, size_t i, bool to)
{
    bits[i / 64] = (bits[i / 64] & ~((uint64_t)1 << i % 64)) | (uint64_t)to << i % 64;
}

static bool config_equal(const struct config *a, const struct config *b)
{
    return a->value == b->value && memcmp(a->done, b->done, sizeof(a->done)) == 0;
}

static uint64_t config_hash(const struct config *config)
{
    uint64_t hash = hf_seed_of(config->value, 0);

    for (size_t w = 0; w < WORDS; w++)
        hash = hf_seed_of(hash, config->done[w]);
    return hash;
}

static void configs_clear(struct configs *set)
{
    set->count = 0;
    if (set->slot != NULL)
        memset(set->slot, 0, set->slots * sizeof(*set->slot));
}

static void configs_free(struct configs *set)
{
    free(set->at);
    free(set->slot);
    *set = (struct configs){0};
}

static uint32_t *configs_slot(struct configs *set, const struct config *config)
{
    size_t i = (size_t)config_hash(config) & (set->slots - 1);

    while (set->slot[i] != 0 && !config_equal(&set->at[set->slot[i] - 1], config))
        i = (i + 1) & (set->slots - 1);
    return &set->slot[i];
}

/* Whether it is new. */
static bool configs_add(struct configs *set, const struct config *config)
{
    uint32_t *slot;

    if (2 * set->count >= set->slots) {
        set->slots = set->slots > 0 ? 2 * set->slots : 64;
        set->slot = hf_lab_resized(set->slot, set->slots * sizeof(*set->slot));
        memset(set->slot, 0, set->slots * sizeof(*set->slot));
        for (size_t i = 0; i < set->count; i++)
            *configs_slot(set, &set->at[i]) = (uint32_t)i + 1;
    }
    slot = configs_slot(set, config);
    if (*slot != 0)
        return false;
    HF_LAB_ROOM(set->at, set->count, set->capacity);
    set->at[set->count++] = *config;
    *slot = (uint32_t)set->count;
    return true;
}

/* -- one key -- */

/* What the operation does to the register: false if its result says otherwise. */
static bool apply(const struct hf_lin_op *op, uint64_t *value)
{
    const bool known = op->returned != HF_LIN_KILLED;
    const uint64_t before = *value;
    uint64_t result = 1;

    switch (op->kind) {
    case HF_LIN_GET:
        result = before;
        break;
    case HF_LIN_PUT:
        *value = op->value;
        return true;
    case HF_LIN_REMOVE:
        result = before != HF_LIN_ABSENT;
        *value = HF_LIN_ABSENT;
        break;
    case HF_LIN_CAS:
        result = before == op->expected;
        *value = result != 0 ? op->value : before;
        break;
    case HF_LIN_ADD:
        result = (before == HF_LIN_ABSENT ? 0 : before) + op->value;
        *value = result;
        break;
    }
    return !known || op->result == result;
}

/*
 * Let every open operation take effect that sees what is there and changes nothing: with its result, it never could.
 * Not a put: of the value that is there, it changes nothing now, but may later.
 */
static void settle(const struct check *check, struct config *config)
{
    for (size_t s = 0; s < HF_LIN_OPEN; s++) {
        if (check->used[s / 64] == 0) {
            s |= 63;
            continue;
        }

        uint64_t value = config->value;

        if (bit(check->used, s) && !bit(check->killed, s) && !bit(config->done, s) &&
            check->ops[check->open[s]].kind != HF_LIN_PUT && apply(&check->ops[check->open[s]], &value) &&
            value == config->value)
            bit_set(config->done, s, true);
    }
}

/* All configurations that follow from this one by operations of which the one in `slot` is the last. */
static void reach(struct check *check, const struct config *from, size_t slot)
{
    configs_clear(&check->seen);
    configs_add(&check->seen, from);
    for (size_t i = 0; i < check->seen.count; i++) {
        const struct config config = check->seen.at[i];

        if (bit(config.done, slot)) {
            struct config ended = config;

            bit_set(ended.done, slot, false);
            configs_add(&check->next, &ended);
            continue;
        }
        for (size_t s = 0; s < HF_LIN_OPEN; s++) {
            struct config then = config;

            if (!bit(check->used, s) || bit(config.done, s) || !apply(&check->ops[check->open[s]], &then.value))
                continue;
            /* Killed and without effect: as if it had not been. */
            if (bit(check->killed, s) && then.value == config.value)
                continue;
            bit_set(then.done, s, true);
            settle(check, &then);
            configs_add(&check->seen, &then);
        }
    }
}

/* Whether b allows nothing that a does not. */
static bool dominates(const struct check *check, const struct config *a, const struct config *b)
{
    if (a->value != b->value)
        return false;
    for (size_t w = 0; w < WORDS; w++)
        if (((a->done[w] ^ b->done[w]) & ~check->killed[w]) != 0 ||
            (a->done[w] & ~b->done[w] & check->killed[w]) != 0)
            return false;
    return true;
}

/* From next to now, without what another makes needless. */
static void prune(struct check *check)
{
    enum { WORTH = 4096 }; /* it is quadratic */
    struct configs *next = &check->next;

    configs_clear(&check->now);
    for (size_t i = 0; i < next->count; i++) {
        bool needless = false;

        for (size_t j = 0; j < next->count && next->count <= WORTH && !needless; j++)
            needless = i != j && dominates(check, &next->at[j], &next->at[i]);
        if (!needless)
            configs_add(&check->now, &next->at[i]);
    }
}

/* A killed operation that has happened whichever way things stand needs no slot any more. */
static void forget_killed(struct check *check)
{
    uint64_t over[WORDS];
    bool any = false;

    for (size_t w = 0; w < WORDS; w++) {
        over[w] = check->killed[w] & check->used[w];
        for (size_t i = 0; i < check->now.count; i++)
            over[w] &= check->now.at[i].done[w];
        any |= over[w] != 0;
    }
    if (!any || check->now.count == 0)
        return;
    configs_clear(&check->next);
    for (size_t i = 0; i < check->now.count; i++) {
        struct config config = check->now.at[i];

        for (size_t w = 0; w < WORDS; w++)
            config.done[w] &= ~over[w];
        configs_add(&check->next, &config);
    }
    for (size_t w = 0; w < WORDS; w++)
        check->used[w] &= ~over[w];
    prune(check);
}

static void take_cut(const struct check *check, uint64_t time, struct cut *cut)
{
    const struct config *only = check->now.at;

    for (size_t w = 0; w < WORDS; w++)
        if ((check->used[w] & ~check->killed[w]) != 0 || check->now.count != 1)
            return;
    *cut = (struct cut){.there = true, .time = time, .value = only->value};
    for (size_t s = 0; s < HF_LIN_OPEN; s++)
        if (bit(check->used, s) && !bit(only->done, s))
            cut->open[cut->opens++] = check->open[s];
}

static int begin_op(struct check *check, size_t op)
{
    size_t s = 0;
    struct configs *next = &check->next;

    while (s < HF_LIN_OPEN && bit(check->used, s))
        s++;
    if (s == HF_LIN_OPEN)
        return -2;
    check->open[s] = op;
    bit_set(check->used, s, true);
    bit_set(check->killed, s, check->ops[op].returned == HF_LIN_KILLED);
    configs_clear(next);
    for (size_t i = 0; i < check->now.count; i++) {
        struct config config = check->now.at[i];

        settle(check, &config);
        configs_add(next, &config);
    }
    prune(check);
    return 1;
}

static int end_op(struct check *check, size_t op)
{
    size_t s = 0;

    while (!bit(check->used, s) || check->open[s] != op)
        s++;
    configs_clear(&check->next);
    for (size_t i = 0; i < check->now.count; i++)
        reach(check, &check->now.at[i], s);
    bit_set(check->used, s, false);
    prune(check);
    return check->now.count > 0;
}

struct event {
    uint64_t time;
    size_t op;
    bool is_return;
};

static int event_order(const void *left, const void *right)
{
    const struct event *a = left, *b = right;

    if (a->time != b->time)
        return a->time < b->time ? -1 : 1;
    if (a->is_return != b->is_return)
        return a->is_return ? 1 : -1;
    return a->op < b->op ? -1 : a->op > b->op;
}

static bool is_pointless(const struct hf_lin_op *op, const struct hf_lin_op *ops, size_t count)
{
    if (op->returned != HF_LIN_KILLED || op->kind == HF_LIN_REMOVE || op->kind == HF_LIN_ADD)
        return false;
    if (op->kind == HF_LIN_GET)
        return true;
    for (size_t i = 0; i < count; i++) {
        const bool by_presence =
            ops[i].kind == HF_LIN_REMOVE || ops[i].kind == HF_LIN_CAS || ops[i].kind == HF_LIN_ADD;

        if (by_presence ||
            (ops[i].kind == HF_LIN_GET && ops[i].returned != HF_LIN_KILLED && ops[i].result == op->value))
            return false;
    }
    return true;
}

/*
 * As hf_lin_check, for operations of one key. The index of the return that cannot be explained goes to *failed, and
 * the last cut before it to *cut; they may be NULL.
 */
static int check_key(const struct hf_lin_op *ops, size_t count, size_t *failed, struct cut *cut)
{
    struct check check = {.ops = ops, .count = count};
    struct event *events = hf_lab_zeroed(2 * count * sizeof(*events));
    struct config start = {.value = HF_LIN_ABSENT};
    size_t used = 0;
    int answer = 1;

    for (size_t i = 0; i < count; i++) {
        if (ops[i].returned == HF_LIN_KILLED && is_pointless(&ops[i], ops, count))
            continue;
        events[used++] = (struct event){.time = ops[i].invoked, .op = i};
        if (ops[i].returned != HF_LIN_KILLED)
            events[used++] = (struct event){.time = ops[i].returned, .op = i, .is_return = true};
    }
    qsort(events, used, sizeof(*events), event_order);
    configs_add(&check.now, &start);
    for (size_t i = 0; i < used && answer == 1; i++) {
        answer = events[i].is_return ? end_op(&check, events[i].op) : begin_op(&check, events[i].op);
        if (failed != NULL)
            *failed = events[i].op;
        if (answer == 1)
            forget_killed(&check);
        if (answer == 1 && events[i].is_return && cut != NULL)
            take_cut(&check, events[i].time, cut);
    }
    configs_free(&check.now);
    configs_free(&check.next);
    configs_free(&check.seen);
    free(events);
    return answer;
}

/* -- counterexamples -- */

/* Whether what is left still has, for each value that somebody saw, the operation that wrote it. */
static bool is_whole(const struct hf_lin_op *ops, size_t count, const struct hf_lin_op *left_out, size_t outs)
{
    for (size_t o = 0; o < outs; o++) {
        const struct hf_lin_op *out = &left_out[o];
        const bool writes = out->kind == HF_LIN_PUT || out->kind == HF_LIN_CAS || out->kind == HF_LIN_REMOVE;
        const uint64_t value = out->kind == HF_LIN_REMOVE ? HF_LIN_ABSENT : out->value;

        if (out->kind == HF_LIN_ADD)
            return false; /* what comes after it has it in its sums */
        for (size_t i = 0; i < count && writes; i++) {
            const bool saw_presence =
                ops[i].kind == HF_LIN_REMOVE || ops[i].kind == HF_LIN_CAS || ops[i].kind == HF_LIN_ADD;

            if (saw_presence ||
                (ops[i].kind == HF_LIN_GET && ops[i].returned != HF_LIN_KILLED && ops[i].result == value))
                return false;
        }
    }
    return true;
}

/* Leave out, in ever smaller pieces, what is not needed for the contradiction. */
static size_t shrink(struct hf_lin_op *ops, size_t count)
{
    struct hf_lin_op *fewer = hf_lab_zeroed(count * sizeof(*fewer));

    for (size_t piece = count / 2; piece > 0; piece = piece > 1 ? piece / 2 : 0)
        for (size_t at = 0; at + piece <= count;) {
            const size_t rest = count - at - piece;

            memcpy(fewer, ops, at * sizeof(*ops));
            memcpy(fewer + at, ops + at + piece, rest * sizeof(*ops));
            if (is_whole(fewer, count - piece, ops + at, piece) && check_key(fewer, count - piece, NULL, NULL) == 0) {
                count -= piece;
                memcpy(ops, fewer, count * sizeof(*ops));
            } else {
                at += piece;
            }
        }
    free(fewer);
    return count;
}

static bool is_seen(uint64_t value, const struct hf_lin_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((ops[i].kind == HF_LIN_GET && ops[i].result == value) ||
            (ops[i].kind == HF_LIN_CAS && ops[i].expected == value))
            return true;
    return false;
}

/*
 * What is needed of what was before the cut: the killed that may yet happen, a word on the value, and, so that one can
 * see where a value came from that was long gone, who wrote it.
 */
static size_t explain_before(const struct hf_lin_op *ops, size_t count, const struct cut *cut, struct hf_lin_op *out)
{
    struct hf_lin_op *at = out;
    size_t later = count;

    while (later > 0 && ops[later - 1].invoked > cut->time)
        later--;
    for (size_t i = 0; i < later; i++) {
        const bool writes = ops[i].kind == HF_LIN_PUT || (ops[i].kind == HF_LIN_CAS && ops[i].result == 1);

        if (writes && ops[i].returned <= cut->time && ops[i].value != cut->value &&
            is_seen(ops[i].value, ops + later, count - later)) {
            *at = ops[i];
            /* Before the word on the value, not beside it. */
            if (at->returned == cut->time)
                at->returned = at->invoked < cut->time ? cut->time - 1 : at->invoked;
            at->kind = HF_LIN_PUT; /* whatever it was exchanged for, it was this from then on */
            at++;
        }
    }
    for (size_t i = 0; i < cut->opens; i++)
        *at++ = ops[cut->open[i]];
    *at++ = (struct hf_lin_op){.client = HF_LIN_STATE,
                               .kind = HF_LIN_PUT,
                               .key = ops[0].key,
                               .value = cut->value,
                               .invoked = cut->time,
                               .returned = cut->time};
    return (size_t)(at - out);
}

static void explain(const struct hf_lin_op *ops, size_t count, size_t failed, const struct cut *cut,
                    struct hf_lin_result *out)
{
    enum { WORTH = 1000 }; /* shrinking takes the square of it */
    const uint64_t end = ops[failed].returned, from = cut->there ? cut->time : 0;

    while (count > 0 && ops[count - 1].invoked > end)
        count--;
    *out = (struct hf_lin_result){.key = ops[0].key, .op = hf_lab_zeroed((count + 1) * sizeof(*ops))};
    if (cut->there)
        out->count = explain_before(ops, count, cut, out->op);
    /* Also what returned later, with its result: by that, it cannot have helped. */
    for (size_t i = 0; i < count; i++)
        if (ops[i].invoked > from)
            out->op[out->count++] = ops[i];
    if (out->count <= WORTH)
        out->count = shrink(out->op, out->count);
}

/* -- histories -- */

static int by_client(const void *left, const void *right)
{
    const struct hf_lin_op *a = left, *b = right;

    if (a->client != b->client)
        return a->client < b->client ? -1 : 1;
    return a->invoked < b->invoked ? -1 : a->invoked > b->invoked;
}

static int by_key(const void *left, const void *right)
{
    const struct hf_lin_op *a = left, *b = right;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->invoked < b->invoked ? -1 : a->invoked > b->invoked;
}

/* `ops` are sorted by client and call. */
static bool is_history(const struct hf_lin_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i].returned < ops[i].invoked)
            return false;
        if (i > 0 && ops[i].client == ops[i - 1].client && ops[i].invoked < ops[i - 1].returned)
            return false;
    }
    return true;
}

int hf_lin_check(const struct hf_lin_op *ops, size_t count, struct hf_lin_result *out)
{
    struct hf_lin_op *sorted = hf_lab_copied(ops, count * sizeof(*ops));
    int answer = 1;

    qsort(sorted, count, sizeof(*sorted), by_client);
    if (!is_history(sorted, count))
        answer = -1;
    qsort(sorted, count, sizeof(*sorted), by_key);
    for (size_t from = 0, to; from < count && answer == 1; from = to) {
        struct cut cut = {0};
        size_t failed;

        for (to = from; to < count && sorted[to].key == sorted[from].key;)
            to++;
        answer = check_key(sorted + from, to - from, &failed, &cut);
        if (answer == 0 && out != NULL)
            explain(sorted + from, to - from, failed, &cut, out);
    }
    free(sorted);
    return answer;
}

void hf_lin_clear(struct hf_lin_result *result)
{
    free(result->op);
    *result = (struct hf_lin_result){0};
}

static void print_value(uint64_t value, FILE *file)
{
    if (value == HF_LIN_ABSENT)
        fputs("absent", file);
    else
        fprintf(file, "%llu", (unsigned long long)value);
}

void hf_lin_print(const struct hf_lin_result *result, FILE *file)
{
    static const char *const names[] = {"get", "put", "remove", "cas", "add"};

    fprintf(file, "key %llu is not linearizable:\n", (unsigned long long)result->key);
    for (size_t i = 0; i < result->count; i++) {
        const struct hf_lin_op *op = &result->op[i];
        const bool open = op->returned == HF_LIN_KILLED;

        if (op->client == HF_LIN_STATE) {
            fprintf(file, "    at %llu, as all before that shows, it is ", (unsigned long long)op->invoked);
            print_value(op->value, file);
            fputc('\n', file);
            continue;
        }
        fprintf(file, "    client %u [%llu, ", op->client, (unsigned long long)op->invoked);
        if (open)
            fprintf(file, "open] %s", names[op->kind]);
        else
            fprintf(file, "%llu] %s", (unsigned long long)op->returned, names[op->kind]);
        if (op->kind != HF_LIN_GET && op->kind != HF_LIN_REMOVE)
            fputc(' ', file);
        if (op->kind == HF_LIN_CAS) {
            print_value(op->expected, file);
            fputs(" to ", file);
        }
        if (op->kind != HF_LIN_GET && op->kind != HF_LIN_REMOVE)
            print_value(op->value, file);
        if (!open && op->kind != HF_LIN_PUT) {
            fputs(" = ", file);
            print_value(op->result, file);
        }
        fputc('\n', file);
    }
}

/* -- recording -- */

static size_t history_size(uint64_t capacity)
{
    return sizeof(struct hf_history) + (size_t)capacity * sizeof(struct hf_history_op);
}

struct hf_history *hf_history_new(uint64_t capacity)
{
    struct hf_history *history =
        mmap(NULL, history_size(capacity), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    HF_LAB_REQUIRE(history != MAP_FAILED);
    history->capacity = capacity;
    return history;
}

void hf_history_free(struct hf_history *history)
{
    munmap(history, history_size(history->capacity));
}

uint64_t hf_history_call(struct hf_history *history, const struct hf_lin_op *op)
{
    const uint64_t at = atomic_fetch_add(&history->count, 1);

    if (at >= history->capacity)
        return UINT64_MAX;
    history->op[at].op = *op;
    /* From here on it counts; whoever is killed before has called nothing. */
    atomic_store(&history->op[at].invoked, atomic_fetch_add(&history->clock, 1) + 1);
    return at;
}

void hf_history_return(struct hf_history *history, uint64_t at, uint64_t result)
{
    history->op[at].op.result = result;
    atomic_store(&history->op[at].returned, atomic_fetch_add(&history->clock, 1) + 1);
}

struct hf_lin_op *hf_history_ops(const struct hf_history *history, size_t *count)
{
    const uint64_t made = atomic_load(&history->count), most = made < history->capacity ? made : history->capacity;
    struct hf_lin_op *ops = hf_lab_zeroed((size_t)most * sizeof(*ops));

    *count = 0;
    for (uint64_t i = 0; i < most; i++) {
        struct hf_lin_op *op = &ops[*count];

        *op = history->op[i].op;
        op->invoked = atomic_load(&history->op[i].invoked);
        op->returned = atomic_load(&history->op[i].returned);
        if (op->returned == 0)
            op->returned = HF_LIN_KILLED;
        *count += op->invoked != 0;
    }
    return ops;
}
