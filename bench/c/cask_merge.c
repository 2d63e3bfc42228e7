/*
 * cask_merge.c: keys written over, drawn evenly, three times as many as there are, beside LevelDB.
 *
 *      speed            from the first put to the last, merges or compactions going on beside them
 *      slowest puts     each put is timed
 *      bytes written    over the bytes of keys and values that were put, until there is nothing left to merge and it
 *                       is closed: by the cask's own account, and by the system's of what this process has written
 *                       (wchar: calls; write_bytes: pages for the disk, those of mapped files among them)
 *      space            of the files at the end, over the bytes of keys and values that count
 *
 * All the keys are looked up afterwards, in what was closed and opened again.
 */
#include "cask_rows.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TIMES = 3 };

struct written {
    bool there;
    uint64_t calls, pages; /* bytes */
};

static struct written written_so_far(void)
{
    struct written written = {.there = false};
    char line[64];
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        written.there |= sscanf(line, "wchar: %" SCNu64, &written.calls) == 1;
        sscanf(line, "write_bytes: %" SCNu64, &written.pages);
    }
    if (file != NULL)
        fclose(file);
    return written;
}

static uint64_t blocks;

static int count_blocks(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    blocks += (uint64_t)found->st_blocks;
    return 0;
}

static double bytes_in(const char *folder)
{
    enum { DESCRIPTORS = 16, BLOCK = 512 };
    blocks = 0;
    if (nftw(folder, count_blocks, DESCRIPTORS, FTW_PHYS) != 0)
        fail(folder, "cannot be walked");
    return (double)blocks * BLOCK;
}

enum row { SPEED, P99, P999, SLOWEST, OWN, CALLS, PAGES, SPACE, ROWS };

static const struct {
    const char *name, *unit;
} rows[ROWS] = {
    {"overwrite, merging: a put", "ns"},
    {"overwrite, merging: p99 of single puts", "us"},
    {"overwrite, merging: p99.9 of single puts", "us"},
    {"overwrite, merging: the slowest put", "us"},
    {"overwrite, merging: written, own account", "x"},
    {"overwrite, merging: written, by calls", "x"},
    {"overwrite, merging: written, to disk", "x"},
    {"overwrite, merging: space", "x"},
};

static struct figures measured[ROWS][CONTENDERS];

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void add_slowest(uint32_t *took, size_t count, int which)
{
    qsort(took, count, sizeof *took, ascending);
    add_figure(&measured[P99][which], took[count * 99 / 100] / 1e3);
    add_figure(&measured[P999][which], took[count * 999 / 1000] / 1e3);
    add_figure(&measured[SLOWEST][which], took[count - 1] / 1e3);
}

/* Puts `count` drawn keys; versions and times are noted. Nanoseconds. */
static int64_t overwrite(const struct contender *who, uint64_t seed, size_t count, uint32_t *versions, uint32_t *took)
{
    int64_t start = spent();
    for (size_t i = 0; i < count; i++) {
        char key[KEY];
        unsigned char value[VALUE];
        uint64_t number = mixed(seed + i) % key_count;
        fill_key(number, key);
        fill_value(number, versions[number] = (uint32_t)i + 1, value);
        int64_t before = now();
        who->put(key, KEY, value);
        int64_t time = now() - before;
        took[i] = time < UINT32_MAX ? (uint32_t)time : UINT32_MAX;
    }
    return spent() - start;
}

/* What the cask says that it has written since it was opened. */
static double own_account(void)
{
    hf_cask_status status;
    sure(hf_cask_status_get(cask, &status, NULL, NULL));
    return (double)(status.written + status.written_keydir);
}

static void run_round(int round, int which)
{
    const struct contender *who = &contenders[which];
    const size_t count = TIMES * key_count;
    const double put = (double)count * (KEY + VALUE), counts = (double)key_count * (KEY + VALUE);
    uint32_t *versions = memory_for(key_count, sizeof *versions), *took = memory_for(count, sizeof *took);
    begin_new(who);
    put_all(who, BATCH);
    reopen(who);
    struct written before = written_so_far();
    int64_t time = overwrite(who, mixed((uint64_t)round + 1), count, versions, took);
    add_figure(&measured[SPEED][which], (double)time / (double)count);
    add_slowest(took, count, which);
    if (which == CASK) {
        who->settle();
        add_figure(&measured[OWN][which], own_account() / put);
    }
    reopen(who);
    struct written after = written_so_far();
    if (before.there) {
        add_figure(&measured[CALLS][which], (double)(after.calls - before.calls) / put);
        add_figure(&measured[PAGES][which], (double)(after.pages - before.pages) / put);
    }
    add_figure(&measured[SPACE][which], bytes_in(folder_of(who)) / counts);
    expect_all(who, versions);
    end_new(who);
    free(versions);
    free(took);
}

void rows_merge(void)
{
    const int turns = rounds < 3 ? rounds : 3;
    const double most_ms = 5, us = 1e3;
    for (int round = 0; round < turns; round++) {
        for (int i = 0; i < 2; i++) {
            int which = (i + round) % 2 == 0 ? CASK : LEVELDB;
            if (contenders[which].there)
                run_round(round, which);
        }
    }
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < CONTENDERS; i++)
            if (measured[row][i].count != 0)
                tell(rows[row].name, contenders[i].name, rows[row].unit, &measured[row][i]);
    if (contenders[LEVELDB].there)
        tell_goal(rows[SPEED].name, "x faster than leveldb", ratio(&measured[SPEED][LEVELDB], &measured[SPEED][CASK]),
                  false, 1.5);
    tell_goal(rows[P999].name, "ms", quantile(&measured[P999][CASK], 0.5) / us, true, most_ms);
    tell_goal(rows[OWN].name, "x", quantile(&measured[OWN][CASK], 0.5), true, 2.5);
    if (measured[CALLS][CASK].count != 0)
        tell_goal(rows[CALLS].name, "x", quantile(&measured[CALLS][CASK], 0.5), true, 2.5);
}
