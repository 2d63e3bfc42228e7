/*
 * cask_single.c: the rows that one thread is enough for.
 *
 *      put        a new cask, every key once. Another process, forked beforehand, opens it to read at the end and
 *                 finds them: the puts that are measured are such as others see
 *      batch      the same, 1,000 keys at a time
 *      get        of what was closed and opened again (LevelDB: compacted), so that all of it is in the index on the
 *                 disk; and of what was put a moment ago, as it lies
 *      snapshot   begin and end of one
 *      sizes      gets of few keys and of many
 *
 * The contenders take turns, in an order that goes round; a ratio is that of two turns of one round.
 */
#include "cask_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SPOT = 1000 };

static double per_op(int64_t start, size_t count)
{
    return (double)(spent() - start) / (double)count;
}

/* Each contender that has what it takes does a turn. */
static void take_turns(int round, bool (*able)(const struct contender *who), void (*turn)(enum who who))
{
    for (int i = 0; i < CONTENDERS; i++) {
        enum who who = (enum who)((i + round) % CONTENDERS);
        if (contenders[who].there && able(&contenders[who]))
            turn(who);
    }
}

static void tell_all(const char *row, const char *unit, const struct figures figures[CONTENDERS])
{
    for (int i = 0; i < CONTENDERS; i++)
        if (figures[i].count != 0)
            tell(row, contenders[i].name, unit, &figures[i]);
}

/* -- put -- */

static struct figures each[CONTENDERS], batched[CONTENDERS];

static bool can_put(const struct contender *who)
{
    return who->put != NULL;
}

static bool can_batch(const struct contender *who)
{
    return who->put != NULL && who->add != NULL;
}

static bool can_get(const struct contender *who)
{
    return who->get != NULL;
}

/* In another process: what this one has put is there. */
static void expect_visible(void)
{
    fflush(NULL);
    pid_t reader = fork();
    if (reader < 0)
        fail("fork", "failed");
    if (reader == 0) {
        const hf_cask_options options = {.mode = HF_CASK_READ};
        sure(hf_cask_open(folder_of(&contenders[CASK]), &options, &cask));
        get_some(&contenders[CASK], order[PUT_ORDER], keys[PUT_ORDER], key_count, key_count - SPOT, SPOT);
        get_some(&contenders[CASK], order[GET_ORDER], keys[GET_ORDER], key_count, 0, SPOT);
        sure(hf_cask_close(cask));
        _exit(EXIT_SUCCESS);
    }
    int status;
    if (waitpid(reader, &status, 0) != reader || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
        fail("another process", "does not see what was put");
}

static void put_turn(enum who which, size_t batch, struct figures *figures)
{
    const struct contender *who = &contenders[which];
    begin_new(who);
    int64_t start = spent();
    put_all(who, batch);
    add_figure(figures, per_op(start, key_count));
    if (which == CASK)
        expect_visible();
    if (who->get != NULL)
        expect_all(who, NULL);
    end_new(who);
}

static void turn_of_puts(enum who who)
{
    put_turn(who, 1, &each[who]);
}

static void turn_of_batches(enum who who)
{
    put_turn(who, BATCH, &batched[who]);
}

void rows_put(void)
{
    for (int round = 0; round < rounds; round++) {
        take_turns(round, can_put, turn_of_puts);
        take_turns(round, can_batch, turn_of_batches);
    }
    tell_all("put", "ns", each);
    tell_goal("put", "x one write() a record", ratio(&each[CASK], &each[RAW]), true, 2.5);
    if (contenders[LEVELDB].there)
        tell_goal("put", "x faster than leveldb", ratio(&each[LEVELDB], &each[CASK]), false, 2.5);
    tell_all("put, a batch of 1,000", "ns", batched);
    tell_goal("put, a batch of 1,000", "ns", quantile(&batched[CASK], 0.5), true, 300);
    if (contenders[LEVELDB].there)
        tell_goal("put, a batch of 1,000", "x faster than leveldb", ratio(&batched[LEVELDB], &batched[CASK]), false,
                  4);
}

/* -- get -- */

static struct figures fresh[CONTENDERS], warm[CONTENDERS];

static void turn_of_gets(enum who who, struct figures *figures)
{
    int64_t start = spent();
    get_some(&contenders[who], order[GET_ORDER], keys[GET_ORDER], key_count, 0, key_count);
    add_figure(figures, per_op(start, key_count));
}

static void turn_fresh(enum who who)
{
    turn_of_gets(who, &fresh[who]);
}

static void turn_warm(enum who who)
{
    turn_of_gets(who, &warm[who]);
}

static void measure_snapshots(void)
{
    static struct figures both, looks;
    const int times = quick ? 1000 : 100 * 1000;
    for (int round = 0; round < 2 * rounds + 1; round++) {
        hf_cask_snapshot *snapshot;
        int64_t start = spent();
        for (int i = 0; i < times; i++) {
            sure(hf_cask_snapshot_begin(cask, &snapshot));
            hf_cask_snapshot_end(snapshot);
        }
        add_figure(&both, per_op(start, (size_t)times));
        sure(hf_cask_snapshot_begin(cask, &snapshot));
        start = spent();
        for (size_t i = 0; i < key_count; i++) {
            const void *value;
            size_t size;
            if (sure(hf_cask_snapshot_get(snapshot, keys[GET_ORDER][i], KEY, &value, &size)) != 1)
                fail("a snapshot", "lost a key");
            expect(order[GET_ORDER][i], 0, value, size);
        }
        add_figure(&looks, per_op(start, key_count));
        hf_cask_snapshot_end(snapshot);
    }
    tell("snapshot, begin and end", "cask", "ns", &both);
    tell_goal("snapshot, begin and end", "ns", quantile(&both, 0.5), true, 1000);
    tell("get from a snapshot", "cask", "ns", &looks);
}

void rows_get(void)
{
    for (int i = 0; i < CONTENDERS; i++) {
        if (!contenders[i].there || contenders[i].add == NULL)
            continue;
        begin_new(&contenders[i]);
        put_all(&contenders[i], contenders[i].put != NULL ? 1 : BATCH);
        expect_all(&contenders[i], NULL);
    }
    for (int round = 0; round < rounds; round++)
        take_turns(round, can_get, turn_fresh);
    for (int i = 0; i < CONTENDERS; i++) {
        if (!contenders[i].there || contenders[i].add == NULL)
            continue;
        contenders[i].settle();
        reopen(&contenders[i]);
        expect_all(&contenders[i], NULL);
    }
    for (int round = 0; round < 2 * rounds + 1; round++)
        take_turns(round, can_get, turn_warm);
    measure_snapshots();
    for (int i = 0; i < CONTENDERS; i++)
        if (contenders[i].there && contenders[i].add != NULL)
            end_new(&contenders[i]);
    tell_all("get, of what was just put", "ns", fresh);
    tell_all("get, warm", "ns", warm);
    tell_goal("get, warm", "ns", quantile(&warm[CASK], 0.5), true, 300);
    if (contenders[LEVELDB].there)
        tell_goal("get, warm", "x faster than leveldb", ratio(&warm[LEVELDB], &warm[CASK]), false, 6);
    if (contenders[LMDB].there)
        tell_goal("get, warm", "x faster than lmdb", ratio(&warm[LMDB], &warm[CASK]), false, 3);
}

/* -- gets by the number of keys -- */

enum { FEWEST = 10, GETS = 200 * 1000, QUICK_GETS = 1000 };

static struct {
    uint32_t *numbers;
    char (*of)[KEY];
    size_t length, count, first; /* keys to go through, gets of a turn, and where it begins */
    struct figures figures[CONTENDERS];
} few;

static void turn_few(enum who who)
{
    int64_t start = spent();
    get_some(&contenders[who], few.numbers, few.of, few.length, few.first, few.count);
    add_figure(&few.figures[who], per_op(start, few.count));
}

/* A new one with the first `size` keys, put in another order than they are looked up in. */
static void fill_first(const struct contender *who, size_t size)
{
    uint32_t *numbers = shuffled(size, 0);
    begin_new(who);
    for (size_t i = 0; i < size; i++) {
        char key[KEY];
        unsigned char value[VALUE];
        fill_key(numbers[i], key);
        fill_value(numbers[i], 0, value);
        who->add(key, KEY, value);
        if ((i + 1) % BATCH == 0 || i + 1 == size)
            who->commit();
    }
    who->settle();
    reopen(who);
    free(numbers);
}

/* They are gone through in an order that repeats itself no sooner than it must. */
static void measure_size(size_t size)
{
    few.length = size < GETS ? GETS / size * size : size;
    few.count = quick ? QUICK_GETS : GETS;
    few.numbers = memory_for(few.length, sizeof *few.numbers);
    few.of = memory_for(few.length, sizeof *few.of);
    for (size_t done = 0; done < few.length; done += size) {
        uint32_t *once = shuffled(size, done + 1);
        memcpy(few.numbers + done, once, size * sizeof *once);
        free(once);
    }
    for (size_t i = 0; i < few.length; i++)
        fill_key(few.numbers[i], few.of[i]);
    for (int i = 0; i < CONTENDERS; i++) {
        const struct contender *who = &contenders[i];
        few.figures[i].count = 0;
        if (!who->there || who->add == NULL)
            continue;
        fill_first(who, size);
        get_some(who, few.numbers, few.of, few.length, 0, size);
    }
    for (int round = 0; round < 2 * rounds + 1; round++) {
        few.first = (size_t)round * few.count;
        take_turns(round, can_get, turn_few);
    }
    for (int i = 0; i < CONTENDERS; i++) {
        if (contenders[i].there && contenders[i].add != NULL)
            end_new(&contenders[i]);
        if (few.figures[i].count != 0)
            tell_at("get, by the number of keys", size, contenders[i].name, "ns", &few.figures[i]);
    }
    free(few.numbers);
    free(few.of);
}

void rows_sizes(void)
{
    static struct figures growth[CONTENDERS];
    double base[CONTENDERS] = {0};
    const size_t from = 1000;
    for (size_t size = FEWEST; size <= key_count; size *= 10) {
        measure_size(size);
        for (int i = 0; i < CONTENDERS; i++)
            if (few.figures[i].count != 0 && size == from)
                base[i] = quantile(&few.figures[i], 0.5);
    }
    for (int i = 0; i < CONTENDERS; i++)
        for (int j = 0; j < few.figures[i].count; j++)
            add_figure(&growth[i], few.figures[i].all[j] / base[i]);
    tell_all("get, all keys beside 1,000", "x", growth);
    tell_goal("get, all keys beside 1,000", "x", quantile(&growth[CASK], 0.5), true, 2);
}
