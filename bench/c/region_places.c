/*
 * region_places.c: a region's trees of places (src/region/keydir.h): puts in transactions of several sizes, their commits,
 * look-ups, and what an entry takes up.
 *
 *      region_places shared|file N SIZE [random|order|sorted] [ROUNDS] [PATH]
 *
 * N places are put, SIZE a transaction; then there are ROUNDS rounds in which SIZE of them a transaction get another place:
 * 'order': in the order of the trie, as a fold does it; 'random': as they come; 'sorted': as 'order', and what is loaded is
 * all in order, as after a rebuild. One line a phase.
 */
#include "region/keydir.h"

#include <holdfast/status.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t mixed(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void must(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "region_places: %s: %s\n", what, hf_status_message(status));
    exit(EXIT_FAILURE);
}

static int is_number(void *arg, uint64_t place)
{
    return (place & 0xffffffff) == *(const uint64_t *)arg;
}

/* A hash with its groups of five bits the other way round: what sorts like the trie. */
static uint64_t trie_order(uint64_t hash)
{
    uint64_t order = 0;
    for (int i = 0; i < 12; i++, hash >>= 5)
        order = order << 5 | (hash & 31);
    return order << 4 | hash;
}

static int by_order(const void *a, const void *b)
{
    uint64_t left = trie_order(mixed(*(const uint64_t *)a)), right = trie_order(mixed(*(const uint64_t *)b));
    return (left > right) - (left < right);
}

static double put_time, commit_time;

static void put_batch(hf_region *region, const uint64_t *numbers, uint64_t count, uint64_t turn)
{
    hf_txn *txn;
    double begun = now();
    must(hf_txn_begin(region, -1, &txn), "begin");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = numbers[i];
        must(hf_txn_set_place(txn, 0, mixed(number), turn << 32 | number, is_number, &number, NULL), "set");
    }
    double put = now();
    must(hf_txn_commit(txn), "commit");
    double end = now();
    put_time += put - begun;
    commit_time += end - put;
}

static void tell(const char *phase, hf_region *region, uint64_t puts, uint64_t n)
{
    hf_region_stats stats;
    must(hf_region_stats_get(region, &stats), "stats");
    printf("%-8s %8.1f ns a put, %8.1f ns a put of commit; used %5.2f, top %5.2f, size %5.2f bytes a key\n", phase,
           put_time / (double)puts, commit_time / (double)puts, (double)stats.used / (double)n,
           (double)stats.top / (double)n, (double)stats.size / (double)n);
    put_time = commit_time = 0;
}

static void look_up(hf_region *region, uint64_t n)
{
    enum { LOOKS = 2000000 };
    hf_view view;
    uint64_t place, sum = 0;
    must(hf_view_pin(region, &view), "pin");
    for (int present = 1; present >= 0; present--) {
        double best = 1e18;
        for (int round = 0; round < 3; round++) {
            double begun = now();
            for (uint64_t i = 0; i < LOOKS; i++) {
                uint64_t number = mixed(i + (uint64_t)round) % n + (present ? 0 : n);
                int found = hf_view_find_place(&view, 0, mixed(number), is_number, &number, &place);
                must(found == present ? 0 : HF_CORRUPT, "find");
                sum += place;
            }
            double time = (now() - begun) / LOOKS;
            best = time < best ? time : best;
        }
        printf("find     %8.1f ns, %s%s\n", best, present ? "there" : "not there", sum == 1 ? "!" : "");
    }
    double begun = now();
    hf_region_cursor cursor;
    hf_place_entry entry;
    must(hf_region_cursor_begin(&cursor, &view, 0), "walk");
    while (hf_region_cursor_next_place(&cursor, &entry) > 0)
        sum += entry.place;
    printf("walk     %8.1f ns an entry%s\n", (now() - begun) / (double)n, sum == 1 ? "!" : "");
    hf_view_unpin(&view);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "region_places shared|file N SIZE [random|order|sorted] [ROUNDS] [PATH]\n");
        return EXIT_FAILURE;
    }
    bool file = strcmp(argv[1], "file") == 0, sorted = argc > 4 && strcmp(argv[4], "sorted") == 0;
    bool order = sorted || (argc > 4 && strcmp(argv[4], "order") == 0);
    uint64_t n = strtoull(argv[2], NULL, 0), size = strtoull(argv[3], NULL, 0);
    uint64_t rounds = argc > 5 ? strtoull(argv[5], NULL, 0) : 20, *numbers = malloc(n * sizeof *numbers);
    char name[64];
    hf_region *region;
    const hf_region_options options = {
        .mode = HF_REGION_CREATE, .place_trees = 1, .level = HF_REGION_OFF, .reserve = UINT64_C(4) << 30};
    snprintf(name, sizeof name, "%s-%d", file ? argc > 6 ? argv[6] : "/tmp/hf-places" : "/hf-places", (int)getpid());
    must(file ? hf_region_open_file(name, &options, &region) : hf_region_open(name, &options, &region), "open");
    if (!file)
        hf_region_unlink(name);
    for (uint64_t i = 0; i < n; i++)
        numbers[i] = i;
    if (sorted)
        qsort(numbers, n, sizeof *numbers, by_order);
    for (uint64_t i = 0; i < n; i += size) {
        uint64_t count = n - i < size ? n - i : size;
        if (order)
            qsort(numbers + i, count, sizeof *numbers, by_order);
        put_batch(region, numbers + i, count, 0);
    }
    tell("load", region, n, n);
    for (uint64_t turn = 1; turn <= rounds; turn++) {
        uint64_t count = size < n ? size : n;
        for (uint64_t i = 0; i < count; i++)
            numbers[i] = mixed(turn * n + i) % n;
        if (order)
            qsort(numbers, count, sizeof *numbers, by_order);
        put_batch(region, numbers, count, turn);
    }
    tell("change", region, rounds * size, n);
    look_up(region, n);
    double begun = now();
    must(hf_region_close(region), "close");
    printf("close    %8.1f ms\n", (now() - begun) / 1e6);
    if (file) {
        strcat(name, "-lock");
        unlink(name);
        name[strlen(name) - 5] = '\0';
        unlink(name);
    }
    return EXIT_SUCCESS;
}
