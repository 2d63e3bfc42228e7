/*
 * region_single.c: the rows that one process is enough for.
 *
 * In each round every contender does every row in turn, in an order that goes round. What live snapshots cost a
 * writer is told beside no snapshot and beside one, over updates of shuffled keys until each has been updated about
 * once: the version that a snapshot holds has to be there twice then, however many hold it, and the memory for that
 * is new.
 */
#include "region_rows.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 1000, UPDATES = 20000, LIVE = 1000, MOST_CONTENDERS = 4 };

enum row { PUT_EACH, PUT_BATCH, GET, PINNED, MEMORY, ROWS };

static const struct {
    const char *name, *unit;
} rows[ROWS] = {
    {"put, a transaction each", "ns"},
    {"put, 1,000 a transaction", "ns"},
    {"get, a pin each", "ns"},
    {"growth, 20,000 updates beside a reader", "MB"},
    {"memory, a part of key and value bytes", "x"},
};

static struct figures measured[ROWS][MOST_CONTENDERS];

static double timed_puts(struct contender *who, size_t batch)
{
    int64_t start = now();
    put_all(who, batch);
    return (double)(now() - start) / (double)key_count;
}

static double grow(struct contender *who)
{
    double before = who->megabytes();
    uint64_t random = 1;
    who->hold();
    for (int i = 0; i < UPDATES; i++) {
        char key[KEY];
        uint64_t number = mixed(random++) % key_count;
        fill_key(number, key);
        who->begin();
        who->put(key, number, 1000000 + (uint64_t)i);
        who->commit();
    }
    double after = who->megabytes();
    who->release();
    return after - before;
}

static void run_round(int which)
{
    struct contender *who = &contenders[which];
    who->open();
    add_figure(&measured[PUT_BATCH][which], timed_puts(who, BATCH));
    who->close();
    who->open();
    add_figure(&measured[PUT_EACH][which], timed_puts(who, 1));
    add_figure(&measured[MEMORY][which], who->megabytes() * 1e6 / ((double)key_count * (KEY + VALUE)));
    for (int i = 0; i < 3; i++)
        add_figure(&measured[GET][which],
                   (double)who->get_all(order[GET_ORDER], keys[GET_ORDER]) / (double)key_count);
    add_figure(&measured[PINNED][which], grow(who));
    who->close();
}

/* How many times the region's figure that of a rival is. */
static double faster(enum row row, int rival)
{
    return ratio(&measured[row][rival], &measured[row][0]);
}

void rows_single(void)
{
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < contender_count; i++)
            run_round((round + i) % contender_count);
    if (contender_count == MOST_CONTENDERS) {
        tell_goal(rows[GET].name, "x faster than lmdb", faster(GET, 1), false, 5);
        tell_goal(rows[PUT_EACH].name, "x faster than lmdb", faster(PUT_EACH, 1), false, 4);
        tell_goal(rows[PUT_EACH].name, "x faster than lmdb-writemap", faster(PUT_EACH, 2), false, 1.5);
        tell_goal(rows[PUT_BATCH].name, "x faster than lmdb", faster(PUT_BATCH, 1), false, 5);
        tell_goal(rows[PUT_BATCH].name, "x faster than lmdb-writemap", faster(PUT_BATCH, 2), false, 2.5);
    }
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < contender_count; i++)
            tell(rows[row].name, contenders[i].name, rows[row].unit, &measured[row][i]);
    tell_goal(rows[GET].name, "ns", quantile(&measured[GET][0], 0.5), true, 170);
    tell_goal(rows[PINNED].name, "MB", quantile(&measured[PINNED][0], 0.5), true, 6);
    tell_goal(rows[MEMORY].name, "x", quantile(&measured[MEMORY][0], 0.5), true, 1.7);
}

/* -- pins and snapshots -- */

static double time_pins(void)
{
    const int times = quick ? 1000 : 10 * 1000 * 1000;
    hf_view view;
    int64_t start = now();
    for (int i = 0; i < times; i++) {
        sure(hf_view_pin(region, &view));
        hf_view_unpin(&view);
    }
    return (double)(now() - start) / times;
}

static double time_snapshots(void)
{
    const int times = quick ? 1000 : 1000 * 1000;
    hf_snapshot *snapshot;
    int64_t start = now();
    for (int i = 0; i < times; i++) {
        sure(hf_snapshot_begin(region, &snapshot));
        hf_snapshot_end(snapshot);
    }
    return (double)(now() - start) / times;
}

/* So many updates of keys in a shuffled order, a transaction each. */
static double time_updates(size_t from, size_t count, uint64_t version)
{
    struct contender *who = &contenders[0];
    int64_t start = now();
    for (size_t i = from; i < from + count; i++) {
        size_t at = i % key_count;
        who->begin();
        who->put(keys[GET_ORDER][at], order[GET_ORDER][at], version + i);
        who->commit();
    }
    return (double)(now() - start) / (double)count;
}

/* With so many live snapshots, of a version each: updates of each key, and then once more. */
static void run_live(int live, struct figures *first, struct figures *again)
{
    struct contender *who = &contenders[0];
    hf_snapshot **held = calloc((size_t)live + 1, sizeof *held);
    if (held == NULL)
        fail("calloc", "no memory");
    who->open();
    put_all(who, BATCH);
    time_updates(0, key_count / 4, 1);
    for (int i = 0; i < live; i++) {
        time_updates((size_t)i, 1, 2);
        sure(hf_snapshot_begin(region, &held[i]));
    }
    add_figure(first, time_updates(0, key_count, 3));
    add_figure(again, time_updates(0, key_count / 2, 1u << 30));
    for (int i = 0; i < live; i++)
        hf_snapshot_end(held[i]);
    who->close();
    free(held);
}

void rows_snapshots(void)
{
    static struct figures pin, snapshot, first[3], again[3];
    static const int live[3] = {0, 1, LIVE};
    static const char *const names[3] = {"no snapshot", "1 snapshot", "1,000 snapshots"};
    contenders[0].open();
    put_all(&contenders[0], BATCH);
    for (int i = 0; i < 2 * rounds + 1; i++) {
        add_figure(&pin, time_pins());
        add_figure(&snapshot, time_snapshots());
    }
    contenders[0].close();
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < 3; i++)
            run_live(live[(round + i) % 3], &first[(round + i) % 3], &again[(round + i) % 3]);
    tell("pin and unpin", "region", "ns", &pin);
    tell("snapshot, begin and end", "region", "ns", &snapshot);
    for (int i = 0; i < 3; i++)
        tell("update, live snapshots, each key's first", names[i], "ns", &first[i]);
    for (int i = 0; i < 3; i++)
        tell("update, live snapshots, later ones", names[i], "ns", &again[i]);
    tell_goal("pin and unpin", "ns", quantile(&pin, 0.5), true, 20);
    tell_goal("update, live snapshots, each key's first", "x of none",
              quantile(&first[2], 0.5) / quantile(&first[0], 0.5), true, 1.1);
    tell_goal("update, live snapshots, each key's first", "x of one snapshot",
              quantile(&first[2], 0.5) / quantile(&first[1], 0.5), true, 1.1);
    tell_goal("update, live snapshots, later ones", "x of none", quantile(&again[2], 0.5) / quantile(&again[0], 0.5),
              true, 1.1);
}
