/*
 * The linearizability checker of tests/crash: histories known to be good and bad, and every small history against a
 * search that tries all orders.
 */
#include "cm.h"

#include "linear.h"

#include <sys/wait.h>
#include <unistd.h>

#define GET(c, from, to, v)                                                                             \
    {                                                                                                   \
        .client = (c), .kind = HF_LIN_GET, .key = 1, .result = (v), .invoked = (from), .returned = (to) \
    }
#define PUT(c, from, to, v)                                                                            \
    {                                                                                                  \
        .client = (c), .kind = HF_LIN_PUT, .key = 1, .value = (v), .invoked = (from), .returned = (to) \
    }
#define REMOVE(c, from, to, r)                                                                             \
    {                                                                                                      \
        .client = (c), .kind = HF_LIN_REMOVE, .key = 1, .result = (r), .invoked = (from), .returned = (to) \
    }
#define CAS(c, from, to, e, v, r)                                                                  \
    {                                                                                              \
        .client = (c), .kind = HF_LIN_CAS, .key = 1, .expected = (e), .value = (v), .result = (r), \
        .invoked = (from), .returned = (to)                                                        \
    }
#define ADD(c, from, to, v, r)                                                                       \
    {                                                                                                \
        .client = (c), .kind = HF_LIN_ADD, .key = 1, .value = (v), .result = (r), .invoked = (from), \
        .returned = (to)                                                                             \
    }
#define ABSENT HF_LIN_ABSENT
#define KILLED HF_LIN_KILLED

static const struct known {
    const char *what;
    int answer;
    struct hf_lin_op ops[8];
} known[] = {
    {"nothing is there at first", 1, {GET(1, 1, 2, ABSENT)}},
    {"what nobody wrote", 0, {GET(1, 1, 2, 7)}},
    {"a put is seen", 1, {PUT(1, 1, 2, 7), GET(2, 3, 4, 7)}},
    {"a put is not seen", 0, {PUT(1, 1, 2, 7), GET(2, 3, 4, ABSENT)}},
    {"a put that is going on is seen or not", 1, {PUT(1, 1, 6, 7), GET(2, 2, 3, ABSENT), GET(2, 4, 5, 7)}},
    {"once seen, not unseen", 0, {PUT(1, 1, 6, 7), GET(2, 2, 3, 7), GET(2, 4, 5, ABSENT)}},
    {"the same for two readers", 0, {PUT(1, 1, 6, 7), GET(2, 2, 3, 7), GET(3, 4, 5, ABSENT)}},
    {"two puts in either order", 1, {PUT(1, 1, 5, 7), PUT(2, 2, 6, 8), GET(3, 7, 8, 7), GET(3, 9, 10, 7)}},
    {"two puts in both orders", 0, {PUT(1, 1, 5, 7), PUT(2, 2, 6, 8), GET(3, 7, 8, 7), GET(3, 9, 10, 8)}},
    {"readers disagree about the order",
     0,
     {PUT(1, 1, 9, 7), PUT(2, 1, 9, 8), GET(3, 2, 3, 7), GET(3, 5, 6, 8), GET(4, 2, 4, 8), GET(4, 5, 7, 7)}},
    {"a read may be old if it began before", 1, {PUT(1, 1, 2, 7), GET(2, 3, 8, 7), PUT(1, 4, 5, 8), GET(3, 6, 7, 8)}},
    {"a read may not be old if it began after", 0, {PUT(1, 1, 2, 7), PUT(1, 3, 4, 8), GET(2, 5, 6, 7)}},
    {"a killed put may have happened", 1, {PUT(1, 1, KILLED, 7), GET(2, 5, 6, 7)}},
    {"a killed put may not have happened", 1, {PUT(1, 1, KILLED, 7), GET(2, 5, 6, ABSENT)}},
    {"a killed put may happen late", 1, {PUT(1, 1, KILLED, 7), GET(2, 5, 6, ABSENT), GET(2, 7, 8, 7)}},
    {"a killed put happens once", 0, {PUT(1, 1, KILLED, 7), GET(2, 5, 6, 7), PUT(2, 7, 8, 9), GET(2, 9, 10, 7)}},
    {"a killed put does not happen before its call", 0, {GET(2, 1, 2, 7), PUT(1, 5, KILLED, 7)}},
    {"a killed get says nothing", 1, {GET(1, 1, KILLED, 99), GET(2, 2, 3, ABSENT)}},
    {"two killed puts, both seen", 1, {PUT(1, 1, KILLED, 7), PUT(2, 2, KILLED, 8), GET(3, 5, 6, 8), GET(3, 7, 8, 7)}},
    {"two killed puts, one seen again",
     0,
     {PUT(1, 1, KILLED, 7), PUT(2, 2, KILLED, 8), GET(3, 5, 6, 8), GET(3, 7, 8, 7), GET(3, 9, 10, 8)}},
    {"a remove removes", 1, {PUT(1, 1, 2, 7), REMOVE(2, 3, 4, 1), GET(1, 5, 6, ABSENT), REMOVE(2, 7, 8, 0)}},
    {"a remove of what is not there", 0, {REMOVE(2, 3, 4, 1)}},
    {"two removes, one thing", 0, {PUT(1, 1, 2, 7), REMOVE(2, 3, 6, 1), REMOVE(3, 4, 5, 1)}},
    {"what a remove removed was a killed put", 1, {PUT(1, 1, KILLED, 7), REMOVE(2, 3, 4, 1)}},
    {"a killed remove may have happened", 1, {PUT(1, 1, 2, 7), REMOVE(2, 3, KILLED, 0), GET(1, 5, 6, ABSENT)}},
    {"a killed remove happens once",
     0,
     {PUT(1, 1, 2, 7), REMOVE(2, 3, KILLED, 0), GET(1, 5, 6, ABSENT), PUT(1, 7, 8, 7), GET(1, 9, 10, ABSENT)}},
    {"an exchange succeeds once", 0, {PUT(1, 1, 2, 7), CAS(2, 3, 6, 7, 8, 1), CAS(3, 4, 5, 7, 9, 1)}},
    {"one of two exchanges fails", 1, {PUT(1, 1, 2, 7), CAS(2, 3, 6, 7, 8, 1), CAS(3, 4, 5, 7, 9, 0)}},
    {"an exchange from nothing", 1, {CAS(1, 1, 2, ABSENT, 7, 1), GET(1, 3, 4, 7)}},
    {"an exchange fails without reason", 0, {PUT(1, 1, 2, 7), CAS(2, 3, 4, 7, 8, 0)}},
    {"a killed exchange that was seen", 1, {PUT(1, 1, 2, 7), CAS(2, 3, KILLED, 7, 8, 0), GET(1, 5, 6, 8)}},
    {"a killed exchange that could not succeed",
     0,
     {PUT(1, 1, 2, 7), PUT(1, 3, 4, 9), CAS(2, 5, KILLED, 7, 8, 0), GET(1, 7, 8, 8)}},
    {"an addition to nothing", 1, {ADD(1, 1, 2, 3, 3), ADD(1, 3, 4, 2, 5), GET(2, 5, 6, 5)}},
    {"an addition that is lost", 0, {ADD(1, 1, 2, 3, 3), ADD(2, 3, 6, 2, 5), ADD(3, 4, 7, 2, 5)}},
    {"a killed addition may have happened", 1, {ADD(1, 1, KILLED, 3, 0), ADD(2, 3, 4, 2, 5)}},
    {"a killed addition may not have happened", 1, {ADD(1, 1, KILLED, 3, 0), ADD(2, 3, 4, 2, 2)}},
    {"a killed addition happens once", 0, {ADD(1, 1, KILLED, 3, 0), ADD(2, 3, 4, 2, 5), ADD(2, 5, 6, 2, 10)}},
    {"an addition to what a killed put has put", 1, {PUT(1, 1, KILLED, 7), ADD(2, 3, 4, 2, 9)}},
    {"a call before the last has returned", -1, {PUT(1, 1, 5, 7), GET(1, 3, 7, 7)}},
    {"a call of one who is dead", -1, {PUT(1, 1, KILLED, 7), GET(1, 3, 7, 7)}},
    {"a return before its call", -1, {PUT(1, 5, 3, 7)}},
};

static size_t count_of(const struct known *history)
{
    size_t count = 0;

    while (count < LENGTH(history->ops) && history->ops[count].key != 0)
        count++;
    return count;
}

static void known_histories_are_judged_right(void **state)
{
    for (size_t i = 0; i < LENGTH(known); i++) {
        struct hf_lin_result why = {0};
        const int answer = hf_lin_check(known[i].ops, count_of(&known[i]), &why);

        if (answer != known[i].answer)
            fail_msg("%s: %d", known[i].what, answer);
        if (answer == 0)
            assert_int_equal(hf_lin_check(why.op, why.count, NULL), 0);
        hf_lin_clear(&why);
    }
    assert_int_equal(hf_lin_check(NULL, 0, NULL), 1);
}

static void keys_are_judged_each_by_itself(void **state)
{
    struct hf_lin_op ops[] = {PUT(1, 1, 2, 7), GET(1, 3, 4, ABSENT), GET(2, 5, 6, 7)};
    struct hf_lin_result why;

    ops[1].key = 2;
    assert_int_equal(hf_lin_check(ops, LENGTH(ops), NULL), 1);
    ops[2].key = 2;
    assert_int_equal(hf_lin_check(ops, LENGTH(ops), &why), 0);
    assert_int_equal(why.key, 2);
    hf_lin_clear(&why);
}

/* -- all orders -- */

enum { SMALL = 6 };

struct search {
    const struct hf_lin_op *ops;
    size_t count;
};

/* Whether those not yet in `done` can follow, from this value. */
static bool can_follow(const struct search *search, unsigned done, uint64_t value)
{
    uint64_t first_return = UINT64_MAX;
    bool all = true;

    for (size_t i = 0; i < search->count; i++)
        if ((done >> i & 1) == 0 && search->ops[i].returned != KILLED) {
            all = false;
            first_return = search->ops[i].returned < first_return ? search->ops[i].returned : first_return;
        }
    if (all)
        return true;
    for (size_t i = 0; i < search->count; i++) {
        const struct hf_lin_op *op = &search->ops[i];
        uint64_t after = value, result = 0;

        if ((done >> i & 1) != 0 || op->invoked > first_return)
            continue;
        if (op->kind == HF_LIN_GET) {
            result = value;
        } else if (op->kind == HF_LIN_PUT) {
            result = op->result;
            after = op->value;
        } else if (op->kind == HF_LIN_REMOVE) {
            result = value != ABSENT;
            after = ABSENT;
        } else if (op->kind == HF_LIN_ADD) {
            result = after = (value == ABSENT ? 0 : value) + op->value;
        } else {
            result = value == op->expected;
            after = result != 0 ? op->value : value;
        }
        if ((op->returned == KILLED || result == op->result) && can_follow(search, done | 1u << i, after))
            return true;
    }
    return false;
}

static uint64_t any_value(struct hf_random *random)
{
    const uint64_t n = hf_random_below(random, 4);

    return n == 0 ? ABSENT : n;
}

/* A few operations of three clients, with results that may or may not be right. */
static size_t random_history(struct hf_random *random, struct hf_lin_op *ops)
{
    const size_t count = 2 + (size_t)hf_random_below(random, SMALL - 1);
    uint64_t free_at[3] = {0}, clock = 0;
    uint32_t client[3] = {1, 2, 3};

    for (size_t i = 0; i < count; i++) {
        const size_t c = (size_t)hf_random_below(random, 3);
        struct hf_lin_op *op = &ops[i];

        clock += 1 + hf_random_below(random, 3);
        if (clock <= free_at[c])
            clock = free_at[c] + 1;
        *op = (struct hf_lin_op){.client = client[c],
                                 .kind = (enum hf_lin_kind)hf_random_below(random, 5),
                                 .key = 1,
                                 .value = 1 + hf_random_below(random, 3),
                                 .expected = any_value(random),
                                 .invoked = clock,
                                 .returned = clock + 1 + hf_random_below(random, 12)};
        op->result = op->kind == HF_LIN_GET   ? any_value(random)
                     : op->kind == HF_LIN_ADD ? 1 + hf_random_below(random, 5)
                                              : hf_random_below(random, 2);
        free_at[c] = op->returned;
        if (hf_random_chance(random, 1, 5)) {
            op->returned = KILLED;
            client[c] += 3; /* another takes its place */
            free_at[c] = op->invoked;
        }
    }
    return count;
}

static void small_histories_agree_with_all_orders(void **state)
{
    struct hf_random random = {3};
    unsigned answers[2] = {0}, shrunk = 0;

    for (int round = 0; round < 60000; round++) {
        struct hf_lin_op ops[SMALL];
        const size_t count = random_history(&random, ops);
        const struct search search = {ops, count};
        struct hf_lin_result why = {0};
        const int answer = hf_lin_check(ops, count, &why);

        assert_int_equal(answer, can_follow(&search, 0, ABSENT));
        if (answer == 0) {
            const struct search less = {why.op, why.count};

            assert_true(why.count > 0 && why.count <= count);
            assert_false(can_follow(&less, 0, ABSENT));
            shrunk += why.count < count;
        }
        hf_lin_clear(&why);
        answers[answer]++;
    }
    assert_true(answers[0] > 5000 && answers[1] > 5000 && shrunk > 5000);
}

/* -- long ones -- */

enum { LONG = 20000, CLIENTS = 8, KEYS = 4 };

/* A history that is right by the way it is made: each operation happens at one moment between its call and its return. */
static size_t long_history(struct hf_random *random, unsigned kinds, struct hf_lin_op *ops)
{
    uint64_t value[KEYS], clock = 0;
    struct hf_lin_op *going[CLIENTS] = {0};
    bool happened[CLIENTS] = {0};
    uint32_t names = CLIENTS, client[CLIENTS];
    size_t count = 0;

    for (size_t k = 0; k < KEYS; k++)
        value[k] = ABSENT;
    for (uint32_t c = 0; c < CLIENTS; c++)
        client[c] = c;
    while (count < LONG) {
        const size_t c = (size_t)hf_random_below(random, CLIENTS);
        struct hf_lin_op *op = going[c];

        if (op == NULL) {
            op = going[c] = &ops[count++];
            *op = (struct hf_lin_op){.client = client[c],
                                     .kind = hf_random_chance(random, 1, 2)
                                                 ? HF_LIN_GET
                                                 : (enum hf_lin_kind)hf_random_below(random, kinds),
                                     .key = hf_random_below(random, KEYS),
                                     .value = count,
                                     .invoked = ++clock,
                                     .returned = KILLED};
            op->expected = hf_random_chance(random, 1, 2) ? value[op->key] : count / 2;
            happened[c] = false;
        } else if (hf_random_chance(random, 1, 400)) { /* killed, before or after it happened */
            going[c] = NULL;
            client[c] = names++;
        } else if (!happened[c]) {
            uint64_t *now = &value[op->key];

            op->result = op->kind == HF_LIN_GET   ? *now
                         : op->kind == HF_LIN_CAS ? *now == op->expected
                         : op->kind == HF_LIN_ADD ? (*now == ABSENT ? 0 : *now) + op->value
                                                  : *now != ABSENT;
            if (op->kind == HF_LIN_PUT || (op->kind == HF_LIN_CAS && op->result != 0))
                *now = op->value;
            if (op->kind == HF_LIN_REMOVE)
                *now = ABSENT;
            if (op->kind == HF_LIN_ADD)
                *now = op->result;
            happened[c] = true;
        } else {
            op->returned = ++clock;
            going[c] = NULL;
        }
    }
    return count;
}

static void long_histories_are_judged_in_time(void **state)
{
    struct hf_lin_op *ops = hf_lab_zeroed(LONG * sizeof(*ops));
    struct hf_lin_result why = {0};
    struct hf_random random = {6};
    size_t count = long_history(&random, 5, ops), broken = LONG / 2;

    assert_int_equal(hf_lin_check(ops, count, NULL), 1);
    /* Of what was added up nothing can be left out, and so an explanation of it is long. */
    count = long_history(&random, HF_LIN_ADD, ops);
    assert_int_equal(hf_lin_check(ops, count, NULL), 1);
    /* One read of what was long gone. */
    while (ops[broken].kind != HF_LIN_GET || ops[broken].returned == KILLED)
        broken++;
    for (size_t i = broken - 4000; ops[broken].result == ABSENT || i < broken; i++)
        if (ops[i].kind == HF_LIN_PUT && ops[i].key == ops[broken].key && ops[i].returned != KILLED) {
            ops[broken].result = ops[i].value;
            break;
        }
    assert_int_equal(hf_lin_check(ops, count, &why), 0);
    assert_int_equal(why.key, ops[broken].key);
    assert_in_range(why.count, 2, 40);
    hf_lin_clear(&why);
    free(ops);
}

static void too_many_open_operations_are_no_answer(void **state)
{
    static struct hf_lin_op ops[HF_LIN_OPEN + 2];

    for (uint32_t i = 0; i <= HF_LIN_OPEN; i++)
        ops[i] = (struct hf_lin_op)PUT(i + 10, i + 1, KILLED, 7);
    ops[HF_LIN_OPEN + 1] = (struct hf_lin_op)GET(1, 1000, 1001, 7);
    assert_int_equal(hf_lin_check(ops, LENGTH(ops), NULL), -2);
    /* If nobody saw them, they are no trouble. */
    ops[HF_LIN_OPEN + 1].result = ABSENT;
    assert_int_equal(hf_lin_check(ops, LENGTH(ops), NULL), 1);
}

static void an_explanation_can_be_read(void **state)
{
    const struct hf_lin_op ops[] = {PUT(1, 1, 2, 7), CAS(2, 3, KILLED, 7, 8, 0), GET(3, 9, 10, ABSENT)};
    struct hf_lin_result why;
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert_int_equal(hf_lin_check(ops, LENGTH(ops), &why), 0);
    hf_lin_print(&why, file);
    fclose(file);
    assert_non_null(strstr(text, "key 1 is not linearizable"));
    assert_non_null(strstr(text, "at 2, as all before that shows, it is 7"));
    assert_non_null(strstr(text, "client 3 [9, 10] get = absent"));
    free(text);
    hf_lin_clear(&why);
}

/* -- recording -- */

static void histories_survive_who_recorded_them(void **state)
{
    struct hf_history *history = hf_history_new(3);
    const struct hf_lin_op put = {.client = 1, .kind = HF_LIN_PUT, .key = 5, .value = 9};
    struct hf_lin_op *ops;
    size_t count;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        hf_history_return(history, hf_history_call(history, &put), 1);
        hf_history_call(history, &(struct hf_lin_op){.client = 1, .kind = HF_LIN_GET, .key = 5});
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    atomic_fetch_add(&history->count, 1); /* as of one who was killed at once */
    assert_true(hf_history_call(history, &put) == UINT64_MAX);
    ops = hf_history_ops(history, &count);
    assert_int_equal(count, 2);
    assert_true(ops[0].value == 9 && ops[0].invoked < ops[0].returned && ops[0].returned < ops[1].invoked);
    assert_true(ops[1].returned == KILLED);
    free(ops);
    hf_history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_histories_are_judged_right),       cmocka_unit_test(keys_are_judged_each_by_itself),
        cmocka_unit_test(small_histories_agree_with_all_orders),  cmocka_unit_test(long_histories_are_judged_in_time),
        cmocka_unit_test(too_many_open_operations_are_no_answer), cmocka_unit_test(an_explanation_can_be_read),
        cmocka_unit_test(histories_survive_who_recorded_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
