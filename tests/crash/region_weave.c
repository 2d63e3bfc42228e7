/*
 * region_weave.c: a reader that is stopped while a writer works, and a writer that is stopped while a reader begins;
 * see weave.h.
 *
 * All keys of both trees have the same number in one version, and each transaction gives all of them the next: so
 * whoever reads can tell whether it is one version that he has, and what he holds is used again soon if nothing holds it.
 */
#include "region_lab.h"

#include <string.h>

enum { WEAVE_KEYS = 6, WEAVE_TREES = 2, WEAVE_FIRST = 80, WEAVE_LATER = 100 };

/* What the tool's own process has in hand, from one phase to the next. */
static struct {
    hf_region *region;
    hf_snapshot *snapshot;
    uint64_t number;
} meanwhile;

static void require(struct hf_lab_run *run, int status, const char *what)
{
    if (status < 0)
        hf_run_violation(run, "%s: %s", what, hf_status_message(status));
}

/* The number that all have, or 0: they have several, or none at all. */
static uint64_t number_of(const hf_view *view)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < WEAVE_KEYS * WEAVE_TREES; i++) {
        char text[48];
        const hf_key key = work_key(i / WEAVE_TREES, text);
        hf_span span;
        uint64_t found;

        if (hf_view_get(view, i % WEAVE_TREES, &key, &span) != 1 || span.size != sizeof(found))
            return 0;
        memcpy(&found, span.bytes, sizeof(found));
        if (i > 0 && found != number)
            return 0;
        number = found;
    }
    return number;
}

static int put_number(hf_txn *txn, unsigned i, uint64_t number)
{
    char text[48];
    const hf_key key = work_key(i / WEAVE_TREES, text);

    return hf_txn_put(txn, i % WEAVE_TREES, &key, &number, sizeof(number));
}

/* The transaction that gives all of them this number, but for the last `but` keys. */
static int begin_number(hf_region *region, uint64_t number, unsigned but, hf_txn **out)
{
    int status = hf_txn_begin(region, -1, out);

    for (unsigned i = 0; status >= 0 && i < WEAVE_KEYS * WEAVE_TREES - but; i++)
        status = put_number(*out, i, number);
    return status;
}

/* So many versions more, each of the next number. */
static void more_versions(struct hf_lab_run *run, hf_region *region, unsigned count)
{
    hf_view view;
    hf_txn *txn;

    for (int status = 0; status >= 0 && count > 0; count--) {
        status = hf_view_pin(region, &view);
        if (status == 0) {
            const uint64_t number = number_of(&view);

            hf_view_unpin(&view);
            status = begin_number(region, number + 1, 0, &txn);
        }
        if (status >= 0)
            status = hf_txn_commit(txn);
        require(run, status, "a version more");
    }
}

static hf_region *open_region(struct hf_lab_run *run, const struct region_home *home)
{
    hf_region *region = NULL;

    require(run, home->open(run->folder, false, run->seed, &region), "open");
    return region;
}

void region_weave_create(const struct region_home *home, const char *folder)
{
    struct hf_lab_run run = {.folder = folder};
    hf_region *region;

    HF_LAB_REQUIRE(home->open(folder, true, 0, &region) == 0);
    more_versions(&run, region, WEAVE_FIRST);
    HF_LAB_REQUIRE(!run.violated && hf_region_close(region) == 0);
}

/* -- a reader that is stopped -- */

void region_weave_reads(const struct region_home *home, struct hf_lab_run *run)
{
    hf_region *region = open_region(run, home);
    char text[48];
    const hf_key key = work_key(1, text);
    hf_view view;
    hf_span span;
    int found;

    if (region == NULL)
        return;
    hf_run_enter(run);
    int status = hf_view_pin(region, &view);
    found = status < 0 ? status : hf_view_get(&view, 0, &key, &span);
    hf_run_leave(run);
    require(run, status, "a pin");
    if (status == 0) {
        if (found != 1 || number_of(&view) == 0)
            hf_run_violation(run, "a reader that was stopped has a version that never was (%llu)",
                             (unsigned long long)hf_view_txid(&view));
        hf_view_unpin(&view);
    }
    require(run, hf_region_close(region), "close");
}

static void check_and_close(struct hf_lab_run *run)
{
    hf_region_fault fault = {0};
    const int status = hf_region_check(meanwhile.region, -1, &fault);

    if (status < 0)
        hf_run_violation(run, "the check: %s: %s", hf_status_message(status), fault.what != NULL ? fault.what : "");
    require(run, hf_region_close(meanwhile.region), "close");
    meanwhile.region = NULL;
}

void region_weave_writes_meanwhile(const struct region_home *home, struct hf_lab_run *run, unsigned phase)
{
    /* About the length of the ring, where a record is written over; and few. */
    static const unsigned counts[] = {1, 2, 62, 63, 64, 64, 65, 66, 67, 130};
    struct hf_random random = {run->seed};

    if (phase == 0)
        meanwhile.region = open_region(run, home);
    if (meanwhile.region == NULL)
        return;
    if (phase == 0)
        more_versions(run, meanwhile.region, counts[hf_random_below(&random, sizeof(counts) / sizeof(counts[0]))]);
    else if (phase == 1)
        more_versions(run, meanwhile.region, WEAVE_LATER);
    else
        check_and_close(run);
}

/* -- a writer that is stopped -- */

void region_weave_writes(const struct region_home *home, struct hf_lab_run *run)
{
    enum { LAST = WEAVE_KEYS * WEAVE_TREES - 1 };
    hf_region *region = open_region(run, home);
    hf_view view;
    hf_txn *txn;

    if (region == NULL)
        return;
    int status = hf_view_pin(region, &view);
    require(run, status, "a pin");
    if (status < 0)
        return;
    const uint64_t number = number_of(&view) + 1;
    hf_view_unpin(&view);
    status = begin_number(region, number, 1, &txn);
    hf_run_enter(run);
    if (status >= 0)
        status = put_number(txn, LAST, number);
    if (status >= 0)
        status = hf_txn_commit(txn);
    hf_run_leave(run);
    require(run, status, "a version");
    more_versions(run, region, 12);
    require(run, hf_region_close(region), "close");
}

void region_weave_reads_meanwhile(const struct region_home *home, struct hf_lab_run *run, unsigned phase)
{
    if (phase == 0) {
        meanwhile.snapshot = NULL;
        meanwhile.region = open_region(run, home);
        if (meanwhile.region == NULL)
            return;
        require(run, hf_snapshot_begin(meanwhile.region, &meanwhile.snapshot), "a snapshot");
        if (meanwhile.snapshot == NULL)
            return;
        meanwhile.number = number_of(hf_snapshot_view(meanwhile.snapshot));
        if (meanwhile.number == 0)
            hf_run_violation(run, "a reader finds a version that never was, beside a writer that was stopped");
    } else if (meanwhile.snapshot != NULL && number_of(hf_snapshot_view(meanwhile.snapshot)) != meanwhile.number) {
        hf_run_violation(run, "a snapshot that was begun beside a writer that was stopped has changed");
    }
    if (phase == 2 && meanwhile.region != NULL) {
        if (meanwhile.snapshot != NULL)
            hf_snapshot_end(meanwhile.snapshot);
        check_and_close(run);
    }
}
