/*
 * tool.c: see tool.h.
 */
#include "tool.h"

#include <getopt.h>
#include <time.h>

struct settings {
    const char *tool, *subject;
    uint64_t count, seed;
    double seconds;
    unsigned stride, steps, reopened, before;
    bool torture, count_given;
};

/* What each tool counts, and how many of it by default: in `make test`, in `make torture`. */
static const struct {
    const char *tool, *unit;
    uint64_t test, torture;
} tools[] = {
    {"power", "images", 10000, 10000000}, {"lost", "images", 2000, 1000000}, {"faults", "tries", 0, 1000000},
    {"kills", "kills", 200, 100000},      {"steps", "kills", 200, 0},        {"damage", "files", 2000, 1000000},
    {"clients", "kills", 100, 100000},    {"weave", "stops", 0, 0},
};

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s power|lost|faults|kills|steps|damage|clients|weave [--subject NAME] [--count N] [--seconds S] "
            "[--seed N] [--stride N] [--steps N] [--reopened N] [--before N]\n",
            program);
    return 2;
}

static bool parse(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"subject", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 'r'},
        {"stride", required_argument, NULL, 'd'},
        {"steps", required_argument, NULL, 'n'},
        {"reopened", required_argument, NULL, 'o'},
        {"before", required_argument, NULL, 'b'},
        {0},
    };
    const char *torture = getenv("TORTURE"), *time_given = getenv("TIME");
    int option;

    settings->torture = torture != NULL && torture[0] != '\0' && strcmp(torture, "0") != 0;
    settings->seed = settings->torture ? (uint64_t)time(NULL) : 1;
    settings->seconds = time_given != NULL ? strtod(time_given, NULL) : 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 's':
            settings->subject = optarg;
            break;
        case 'c':
            settings->count = strtoull(optarg, NULL, 10);
            settings->count_given = true;
            break;
        case 't':
            settings->seconds = strtod(optarg, NULL);
            break;
        case 'r':
            settings->seed = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            settings->stride = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            settings->steps = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            settings->reopened = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            settings->before = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    if (optind != argc - 1)
        return false;
    settings->tool = argv[optind];
    return true;
}

static const struct hf_subject *find_subject(const struct hf_subject *const *subjects, const char *name)
{
    for (; *subjects != NULL; subjects++)
        if (name == NULL || strcmp((*subjects)->name, name) == 0)
            return *subjects;
    return NULL;
}

static const struct hf_clients_subject *find_clients(const struct hf_clients_subject *const *clients,
                                                     const char *name)
{
    for (; *clients != NULL; clients++)
        if (name == NULL || strcmp((*clients)->name, name) == 0)
            return *clients;
    return NULL;
}

static const struct hf_weave_subject *find_weave(const struct hf_weave_subject *const *weaves, const char *name)
{
    for (; *weaves != NULL; weaves++)
        if (name == NULL || strcmp((*weaves)->name, name) == 0)
            return *weaves;
    return NULL;
}

static void run_power(const struct settings *settings, const struct hf_subject *subject, struct hf_report *report)
{
    struct hf_power_options options = HF_POWER_DEFAULTS;

    options.seed = settings->seed;
    options.steps = settings->steps > 0 ? settings->steps : options.steps;
    options.reopened = settings->reopened > 0 ? settings->reopened : options.reopened;
    options.before = settings->before;
    if (strcmp(report->tool, "power") == 0)
        hf_power_run(subject, &options, report);
    else if (strcmp(report->tool, "lost") == 0)
        hf_lost_run(subject, &options, report);
    else
        do
            hf_faults_run(subject, &options, report);
        while (settings->torture && options.seed++ < UINT64_MAX && hf_report_more(report));
}

static void run_kills(const struct settings *settings, const struct hf_subject *subject, struct hf_report *report)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;

    options.seed = settings->seed;
    if (strcmp(report->tool, "kills") == 0) {
        hf_kill_run(subject, &options, report);
        return;
    }
    /* Few: all over the section. Endless: every instruction of it. */
    options.stride = settings->stride > 0 ? settings->stride : settings->torture ? 1 : 4;
    hf_steps_run(subject, &options, report);
}

static void run_damage(const struct settings *settings, const struct hf_subject *subject, struct hf_report *report)
{
    struct hf_damage_options options = HF_DAMAGE_DEFAULTS;
    struct hf_damage_counts counts = {0};

    options.seed = settings->seed;
    options.steps = settings->steps > 0 ? settings->steps : options.steps;
    hf_damage_run(subject, &options, &counts, report);
    printf("damage %s: %llu refused, %llu without effect, %llu stepped back and said so, %llu not changed\n",
           subject->name, (unsigned long long)counts.refused, (unsigned long long)counts.unharmed,
           (unsigned long long)counts.stepped_back, (unsigned long long)counts.unchanged);
}

static void run_clients(const struct settings *settings, const struct hf_clients_subject *subject,
                        struct hf_report *report)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;

    options.seed = settings->seed;
    options.longest = 3000;
    hf_clients_run(subject, &options, report);
}

static void run_weave(const struct settings *settings, const struct hf_weave_subject *subject,
                      struct hf_report *report)
{
    struct hf_kill_options options = HF_KILL_DEFAULTS;

    options.seed = settings->seed;
    options.stride = settings->stride > 0 ? settings->stride : settings->torture ? 1 : 8;
    do
        hf_weave_run(subject, &options, report);
    while (settings->torture && options.seed++ < UINT64_MAX && report->until > 0 && report->skipped == NULL &&
           hf_report_more(report));
}

int hf_tool_main(int argc, char **argv, const struct hf_subject *const *subjects,
                 const struct hf_clients_subject *const *clients, const struct hf_weave_subject *const *weaves,
                 const char *const *jobs)
{
    struct settings settings = {0};
    struct hf_report report = {0};
    const struct hf_subject *subject;
    const struct hf_clients_subject *crowd;
    const struct hf_weave_subject *weave;
    const char *name = NULL;

    if (argc == 2 && strcmp(argv[1], "--jobs") == 0) {
        for (; *jobs != NULL; jobs++)
            puts(*jobs);
        return 0;
    }
    if (!parse(argc, argv, &settings))
        return usage(argv[0]);
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        if (strcmp(tools[i].tool, settings.tool) == 0) {
            report.tool = tools[i].tool;
            report.unit = tools[i].unit;
            report.most = settings.count_given ? settings.count : settings.torture ? tools[i].torture : tools[i].test;
        }
    subject = find_subject(subjects, settings.subject);
    crowd = find_clients(clients, settings.subject);
    weave = find_weave(weaves, settings.subject);
    if (report.tool != NULL && strcmp(report.tool, "clients") == 0)
        name = crowd != NULL ? crowd->name : NULL;
    else if (report.tool != NULL && strcmp(report.tool, "weave") == 0)
        name = weave != NULL ? weave->name : NULL;
    else if (report.tool != NULL)
        name =
            subject != NULL && (strcmp(report.tool, "lost") != 0 || subject->believe != NULL) ? subject->name : NULL;
    if (name == NULL)
        return usage(argv[0]);
    report.subject = name;
    report.until = settings.seconds > 0 ? hf_report_now() + settings.seconds : 0;
    if (settings.torture)
        printf("%s %s: seed %llu\n", report.tool, report.subject, (unsigned long long)settings.seed);
    hf_report_guard(&report);
    if (strcmp(report.tool, "power") == 0 || strcmp(report.tool, "lost") == 0 || strcmp(report.tool, "faults") == 0)
        run_power(&settings, subject, &report);
    else if (strcmp(report.tool, "damage") == 0)
        run_damage(&settings, subject, &report);
    else if (strcmp(report.tool, "clients") == 0)
        run_clients(&settings, crowd, &report);
    else if (strcmp(report.tool, "weave") == 0)
        run_weave(&settings, weave, &report);
    else
        run_kills(&settings, subject, &report);
    return hf_report_close(&report);
}
