/*
 * power.c: see power.h.
 */
#include "power.h"

#include "stores.h"

#include "base/fault.h"
#include "base/os.h"

enum { DEPTHS = 4 };

struct power {
    const struct hf_subject *subject;
    const struct hf_power_options *options;
    struct hf_report *report;
    struct hf_disk *disk[DEPTHS];
    uint64_t seed; /* of the first session */
    bool lost;     /* the page cache, and nothing else */
};

/*
 * A sample gives each point of the trace the same share: otherwise it would be of the few points at which much is
 * unsynced, and hardly ever of the one sector that clears a mark. And at each point the plain images, few but telling,
 * have the same share as all others.
 */
struct sample {
    uint64_t *images; /* of each point, plain ones and others */
    uint64_t shares, wanted;
};

static uint64_t *sample_share(const struct sample *sample, const struct hf_crash *crash)
{
    return &sample->images[2 * hf_crash_point(crash) + hf_crash_is_plain(crash)];
}

static void sample_init(struct sample *sample, const struct hf_disk *disk, struct hf_crash *crash, uint64_t wanted)
{
    *sample = (struct sample){.wanted = wanted};
    if (wanted == 0)
        return;
    sample->images = hf_lab_zeroed(2 * (hf_disk_trace(disk)->count + 1) * sizeof(*sample->images));
    while (hf_crash_next(crash))
        sample->shares += (*sample_share(sample, crash))++ == 0;
}

static bool sample_takes(const struct sample *sample, const struct hf_crash *crash, struct hf_random *random)
{
    return sample->wanted == 0 ||
           hf_random_chance(random, sample->wanted, sample->shares * *sample_share(sample, crash));
}

static void images_of(struct power *power, struct hf_disk *traced, const struct hf_expect *expect, unsigned depth);

/* The files of this folder say so. What is in it is then not what was loaded. */
static void believe(const struct power *power, struct hf_disk *disk)
{
    struct hf_disk *before = hf_disk_use(disk);

    power->subject->believe(hf_disk_root(disk));
    hf_disk_use(before);
    hf_disk_forget(disk);
}

/* With HOLDFAST_CRASH_TRACE in the environment: what led to a violation, call by call. */
static void show_trace(const struct hf_disk *disk, size_t ops, const char *what)
{
    const struct hf_trace *trace = hf_disk_trace(disk);
    char text[600];

    if (getenv("HOLDFAST_CRASH_TRACE") == NULL)
        return;
    fprintf(stderr, "trace, %s:\n", what);
    for (size_t i = 0; i < ops && i < trace->count; i++) {
        hf_op_describe(&trace->op[i], text, sizeof(text));
        fprintf(stderr, "  %4zu %s\n", i + 1, text);
    }
}

/* One image: what a session finds there, and then the images of that session. */
static void try_image(struct power *power, struct hf_crash *crash, const struct hf_state *image, unsigned depth)
{
    const struct hf_power_options *options = power->options;
    char was[sizeof(power->report->where)], what[700];
    struct hf_expect expect;
    struct hf_lab_run run = {.disk = power->disk[depth],
                             .expect = &expect,
                             .seed = hf_seed_of(power->seed, depth * 0x100000000u + hf_crash_number(crash)),
                             .steps = depth < options->depth ? options->reopened : 0};

    /* The first commit after a recovery is the most telling: often only that. */
    if (run.steps > 1)
        run.steps = 1 + (unsigned)(run.seed % run.steps);

    /* Though all of it is durable, what the store makes of it need not be: it may be from a file that has no such promise. */
    hf_expect_copy(&expect, hf_crash_expect(crash));
    if (power->lost && depth == 1)
        expect.rebooted = false;
    memcpy(was, power->report->where, sizeof(was));
    hf_crash_describe(crash, what, sizeof(what));
    hf_report_where(power->report, "%.300s > %s", was, what);
    hf_disk_load(power->disk[depth], image, !hf_crash_is_kill(crash));
    if (power->lost && depth == 1)
        believe(power, power->disk[depth]);
    hf_run_session(power->subject, &run);
    hf_report_run(power->report, &run);
    if (run.violated) {
        show_trace(power->disk[depth - 1], hf_crash_point(crash), "of the session that was cut off");
        show_trace(power->disk[depth], SIZE_MAX, "of the session after it");
    }
    if (depth < options->depth && !run.violated)
        images_of(power, power->disk[depth], &expect, depth + 1);
    hf_expect_clear(&expect);
    memcpy(power->report->where, was, sizeof(was));
}

static struct hf_crash *crash_of(const struct power *power, const struct hf_disk *traced,
                                 const struct hf_expect *expect, unsigned depth)
{
    struct hf_crash_options options = power->options->crash;

    /* To take a few of very many is to count very many first. */
    if (depth > 1 && power->options->nested > 0) {
        options.exhaustive_bits = options.exhaustive_bits < 6 ? options.exhaustive_bits : 6;
        options.random = options.random < 32 ? options.random : 32;
    }
    return hf_crash_new(hf_disk_start(traced), hf_disk_trace(traced), expect, &options,
                        hf_seed_of(power->seed, depth));
}

static void images_of(struct power *power, struct hf_disk *traced, const struct hf_expect *expect, unsigned depth)
{
    struct hf_random random = {hf_seed_of(power->seed + depth, power->report->count)};
    struct hf_crash *crash = crash_of(power, traced, expect, depth);
    struct sample sample;

    sample_init(&sample, traced, crash, depth == 1 ? power->options->images : power->options->nested);
    if (sample.wanted > 0) {
        hf_crash_free(crash);
        crash = crash_of(power, traced, expect, depth);
    }
    while (hf_report_more(power->report) && hf_crash_next(crash))
        if (sample_takes(&sample, crash, &random)) {
            struct hf_state *image = hf_crash_image(crash);

            if (power->lost && depth == 1)
                hf_stores_put(hf_disk_stores(traced), image, hf_crash_point(crash), &random);
            try_image(power, crash, image, depth);
            hf_state_free(image);
        }
    free(sample.images);
    hf_crash_free(crash);
}

static void power_init(struct power *power, const struct hf_subject *subject, const struct hf_power_options *options,
                       struct hf_report *report)
{
    HF_LAB_REQUIRE(options->depth < DEPTHS);
    *power = (struct power){.subject = subject, .options = options, .report = report, .seed = options->seed};
    for (unsigned depth = 0; depth <= options->depth; depth++)
        power->disk[depth] = hf_disk_new(NULL);
}

static void power_clear(struct power *power)
{
    for (unsigned depth = 0; depth < DEPTHS; depth++)
        hf_disk_free(power->disk[depth]);
}

static void load_empty(struct hf_disk *disk)
{
    struct hf_state *empty = hf_state_new();

    hf_disk_load(disk, empty, true);
    hf_state_free(empty);
}

void hf_power_images(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_disk *traced,
                     struct hf_report *report)
{
    struct power power;
    struct hf_expect nothing;

    hf_expect_init(&nothing);
    power_init(&power, subject, options, report);
    images_of(&power, traced, &nothing, 1);
    power_clear(&power);
    hf_expect_clear(&nothing);
}

/* A store with a history, on a disk of which all is durable; and what it has. */
static void prepare(struct power *power, struct hf_expect *expect)
{
    const unsigned most = power->options->before;
    struct hf_lab_run run = {.disk = power->disk[0],
                             .live = expect,
                             .expect = expect,
                             .seed = hf_seed_of(power->seed, UINT32_MAX),
                             .steps = (unsigned)(hf_seed_of(power->seed, UINT32_MAX - 1) % (most + 1))};
    struct hf_state *durable;

    load_empty(power->disk[0]);
    hf_expect_init(expect);
    if (run.steps == 0)
        return;
    hf_run_session(power->subject, &run);
    if (run.violated) {
        hf_report_violation(power->report, run.text);
        show_trace(power->disk[0], SIZE_MAX, "of the history");
    }
    durable = hf_state_durable(hf_disk_state(power->disk[0]));
    hf_disk_load(power->disk[0], durable, true);
    hf_state_free(durable);
    hf_expect_crash(expect, true);
}

static void run(const struct hf_subject *subject, const struct hf_power_options *options, bool lost,
                struct hf_report *report)
{
    struct power power;
    struct hf_expect there;

    power_init(&power, subject, options, report);
    power.lost = lost;
    if (lost)
        hf_disk_watch(power.disk[0]);
    for (; hf_report_more(report); power.seed++) {
        struct hf_lab_run run = {
            .disk = power.disk[0], .expect = &there, .seed = power.seed, .steps = options->steps};

        hf_report_where(report, "seed %llu", (unsigned long long)power.seed);
        prepare(&power, &there);
        hf_run_session(subject, &run);
        if (run.violated)
            hf_report_violation(report, run.text);
        images_of(&power, power.disk[0], &there, 1);
        hf_expect_clear(&there);
    }
    power_clear(&power);
}

void hf_power_run(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_report *report)
{
    run(subject, options, false, report);
}

void hf_lost_run(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_report *report)
{
    struct hf_power_options own = *options;

    HF_LAB_REQUIRE(subject->believe != NULL);
    own.crash.kills = own.crash.tails = own.crash.garble = false;
    run(subject, &own, true, report);
}

/* -- failing calls -- */

/* What a process finds that comes after this one, in the same page cache; and then, of all that, power cuts. */
static void try_after_fault(struct power *power, struct hf_expect *live, const struct hf_expect *nothing)
{
    struct hf_lab_run again = {
        .disk = power->disk[0], .live = live, .expect = live, .seed = power->seed + 1, .steps = 1};

    hf_expect_crash(live, false);
    hf_run_session(power->subject, &again);
    if (again.violated)
        hf_report_violation(power->report, again.text);
    else
        images_of(power, power->disk[0], nothing, 2);
}

/* A session with this plan, or this failing flush; whether the failure came about. */
static bool try_fault(struct power *power, unsigned site, const struct hf_fault *plan)
{
    struct hf_expect nothing, live;
    struct hf_lab_run run = {.disk = power->disk[0],
                             .live = &live,
                             .expect = &live,
                             .seed = power->seed,
                             .steps = power->options->steps,
                             .faulty = true};
    bool hit;

    hf_expect_init(&nothing);
    hf_expect_init(&live);
    load_empty(power->disk[0]);
    if (site == HF_FAULT_COUNTERS) {
        hf_disk_fail_flush(power->disk[0], plan->first, plan->error);
        hf_run_session(power->subject, &run);
        hit = hf_disk_flush_failed(power->disk[0]);
        hf_disk_fail_flush(power->disk[0], 0, 0);
    } else {
        hf_fault_arm_plan(site, plan);
        hf_run_session(power->subject, &run);
        hit = hf_fault_failed(site) > 0;
        hf_fault_disarm();
    }
    if (hit || run.violated)
        hf_report_run(power->report, &run);
    if (hit && !run.violated)
        try_after_fault(power, &live, &nothing);
    hf_expect_clear(&live);
    hf_expect_clear(&nothing);
    return hit;
}

static void try_site(struct power *power, unsigned site, const char *name, struct hf_fault plan)
{
    bool hit = true;

    for (plan.first = 1; hit && hf_report_more(power->report); plan.first++) {
        hf_report_where(power->report, "%s number %llu %s, %llu times", name, (unsigned long long)plan.first,
                        plan.shorten ? "is cut to half" : strerror(plan.error), (unsigned long long)plan.times);
        hit = try_fault(power, site, &plan);
    }
}

void hf_faults_run(const struct hf_subject *subject, const struct hf_power_options *options, struct hf_report *report)
{
    static const int errors[] = {ENOSPC, EIO, EINTR};
    struct power power;

    HF_LAB_REQUIRE(options->depth >= 2); /* disks for what comes after */
    power_init(&power, subject, options, report);
    for (unsigned often = 0; often < 2; often++) {
        const uint64_t times = often == 0 ? 1 : HF_FAULT_FOREVER;

        try_site(&power, HF_FAULT_ALLOC, "alloc", (struct hf_fault){.times = times, .error = ENOMEM});
        for (unsigned site = HF_FAULT_FIRST_OS; site < HF_OS_SITES_END; site++) {
            const char *name = hf_os_site_name(site);

            for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
                /* What is interrupted for ever may be tried for ever. */
                try_site(&power, site, name,
                         (struct hf_fault){.times = errors[e] == EINTR && often > 0 ? 3 : times, .error = errors[e]});
            try_site(&power, site, name, (struct hf_fault){.times = times, .shorten = true});
        }
    }
    try_site(&power, HF_FAULT_COUNTERS, "flush", (struct hf_fault){.times = 1, .error = EIO});
    try_site(&power, HF_FAULT_COUNTERS, "flush", (struct hf_fault){.times = 1, .error = ENOSPC});
    power_clear(&power);
}
