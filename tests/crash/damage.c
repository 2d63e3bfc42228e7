/*
 * damage.c: see damage.h.
 */
#include "damage.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* -- mutators -- */

/* A place for `size` bytes, at a multiple of it. */
static size_t place(struct hf_random *random, size_t total, size_t size)
{
    return (size_t)hf_random_below(random, (total + size - 1) / size) * size;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Mostly a sector or a block; now and then any few bytes. */
static size_t unit(struct hf_random *random)
{
    const uint64_t way = hf_random_below(random, 8);

    return way < 3 ? HF_SECTOR : way < 7 ? HF_BLOCK : 16;
}

static void damage_bits(struct hf_random *random, struct hf_bytes *file, char *what, size_t size)
{
    const uint64_t count = hf_random_chance(random, 1, 2) ? 1 : 2 + hf_random_below(random, 7);
    size_t at = 0;

    for (uint64_t i = 0; i < count; i++) {
        at = (size_t)hf_random_below(random, file->size);
        file->at[at] ^= (uint8_t)(1u << hf_random_below(random, 8));
    }
    snprintf(what, size, "%llu bits flipped, the last at %zu", (unsigned long long)count, at);
}

static void damage_bytes(struct hf_random *random, struct hf_bytes *file, char *what, size_t size)
{
    const size_t at = (size_t)hf_random_below(random, file->size);
    const size_t count = least(1 + (size_t)hf_random_below(random, 64), file->size - at);

    hf_random_fill(random, file->at + at, count);
    snprintf(what, size, "%zu bytes overwritten at %zu", count, at);
}

static void damage_zeroed(struct hf_random *random, struct hf_bytes *file, char *what, size_t size)
{
    const size_t at = place(random, file->size, HF_SECTOR);
    const size_t count = least(HF_SECTOR * (1 + (size_t)hf_random_below(random, 8)), file->size - at);

    memset(file->at + at, 0, count);
    snprintf(what, size, "%zu bytes zeroed at %zu", count, at);
}

static void damage_cut(struct hf_random *random, struct hf_bytes *file, char *what, size_t size)
{
    const bool near = hf_random_chance(random, 1, 2);

    file->size -= 1 + (size_t)hf_random_below(random, near ? least(file->size, HF_BLOCK) : file->size);
    snprintf(what, size, "cut to %zu", file->size);
}

static void damage_tail(struct hf_random *random, struct hf_bytes *file, char *what, size_t size)
{
    const size_t more = 1 + (size_t)hf_random_below(random, 2 * HF_BLOCK);

    file->at = hf_lab_resized(file->at, file->size + more);
    hf_random_fill(random, file->at + file->size, more);
    file->size += more;
    snprintf(what, size, "%zu bytes of garbage at the end", more);
}

static void damage_moved(struct hf_random *random, struct hf_bytes *file, bool swap, char *what, size_t size)
{
    const size_t count = unit(random), from = place(random, file->size, count), to = place(random, file->size, count);
    const size_t both = least(count, file->size - (from > to ? from : to));

    for (size_t i = 0; i < both; i++) {
        const uint8_t moved = file->at[from + i];

        if (swap)
            file->at[from + i] = file->at[to + i];
        file->at[to + i] = moved;
    }
    snprintf(what, size, "%zu bytes at %zu %s those at %zu", both, from, swap ? "exchanged with" : "written over",
             to);
}

/* A place where the versions differ, if there is one: elsewhere a stale block is not to be seen. */
static void damage_stale(struct hf_random *random, struct hf_bytes *file, const struct hf_bytes *old, char *what,
                         size_t size)
{
    const size_t count = unit(random), common = least(file->size, old->size);
    size_t at = 0, bytes = 0;

    for (unsigned tries = 0; tries < 64 && common > 0; tries++) {
        at = place(random, common, count);
        bytes = least(count, common - at);
        if (memcmp(file->at + at, old->at + at, bytes) != 0)
            break;
    }
    if (bytes > 0)
        memcpy(file->at + at, old->at + at, bytes);
    snprintf(what, size, "%zu bytes of the old version at %zu", bytes, at);
}

bool hf_damage(struct hf_random *random, const struct hf_bytes *now, const struct hf_bytes *old, struct hf_bytes *out,
               char *what, size_t size)
{
    const enum hf_damage_kind kind = now->size > 0 ? hf_random_below(random, HF_DAMAGE_KINDS) : HF_DAMAGE_TAIL;

    *out = (struct hf_bytes){hf_lab_copied(now->at, now->size), now->size};
    switch (kind) {
    case HF_DAMAGE_BITS:
        damage_bits(random, out, what, size);
        break;
    case HF_DAMAGE_BYTES:
        damage_bytes(random, out, what, size);
        break;
    case HF_DAMAGE_ZEROED:
        damage_zeroed(random, out, what, size);
        break;
    case HF_DAMAGE_CUT:
        damage_cut(random, out, what, size);
        break;
    case HF_DAMAGE_TAIL:
        damage_tail(random, out, what, size);
        break;
    case HF_DAMAGE_SWAPPED:
    case HF_DAMAGE_MISPLACED:
        damage_moved(random, out, kind == HF_DAMAGE_SWAPPED, what, size);
        break;
    default:
        damage_stale(random, out, old, what, size);
        break;
    }
    return out->size != now->size || memcmp(out->at, now->at, now->size) != 0;
}

/* -- a store's files -- */

enum { FILES = 64 };

struct version {
    size_t count;
    char path[FILES][512];
    struct hf_bytes bytes[FILES];
};

static struct version *version_read; /* nftw passes nothing along */

static int read_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    struct version *version = version_read;

    if (type != FTW_F)
        return 0;
    HF_LAB_REQUIRE(version->count < FILES && strlen(path) < sizeof(version->path[0]));

    struct hf_bytes *bytes = &version->bytes[version->count];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    strcpy(version->path[version->count++], path);
    bytes->size = (size_t)info->st_size;
    bytes->at = hf_lab_zeroed(bytes->size);
    HF_LAB_REQUIRE(fd >= 0 && pread(fd, bytes->at, bytes->size, 0) == (ssize_t)bytes->size);
    close(fd);
    return 0;
}

static void version_take(struct version *version, const char *folder)
{
    memset(version, 0, sizeof(*version));
    version_read = version;
    HF_LAB_REQUIRE(nftw(folder, read_entry, 16, FTW_PHYS) == 0);
}

static void version_clear(struct version *version)
{
    for (size_t i = 0; i < version->count; i++)
        free(version->bytes[i].at);
    version->count = 0;
}

static void file_write(const char *path, const struct hf_bytes *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    HF_LAB_REQUIRE(fd >= 0 && pwrite(fd, bytes->at, bytes->size, 0) == (ssize_t)bytes->size);
    close(fd);
}

static const struct hf_bytes *version_find(const struct version *version, const char *path)
{
    static const struct hf_bytes nothing;

    for (size_t i = 0; i < version->count; i++)
        if (strcmp(version->path[i], path) == 0)
            return &version->bytes[i];
    return &nothing;
}

/* -- tries -- */

struct verdict {
    bool recovered, refused, stepped_back, violated;
    uint64_t digest;
    char text[512];
};

struct damage {
    const struct hf_subject *subject;
    const struct hf_damage_options *options;
    struct hf_report *report;
    struct hf_damage_counts *counts;
    char folder[256];
    struct version old, now;
    struct hf_shared_marks *marks;
    uint64_t newest;         /* the digest of the new version */
    struct verdict *verdict; /* shared with the process that tries */
};

static void work(struct damage *damage, uint64_t seed)
{
    struct hf_lab_run run = {
        .folder = damage->folder, .seed = seed, .steps = damage->options->steps, .shared = damage->marks};

    hf_run_session(damage->subject, &run);
    if (run.violated)
        hf_report_violation(damage->report, run.text);
}

static bool was_committed(const struct damage *damage, uint64_t digest)
{
    const uint64_t count = atomic_load(&damage->marks->count);

    for (uint64_t i = 0; i < count; i++)
        if (damage->marks->mark[i].mark == HF_MARK_BEGIN && damage->marks->mark[i].digest == digest)
            return true;
    return false;
}

/* In a process of its own: what the store makes of the folder. Its wait status. */
static int look(struct damage *damage, uint64_t seed)
{
    int status;
    pid_t child;

    memset(damage->verdict, 0, sizeof(*damage->verdict));
    child = fork();
    HF_LAB_REQUIRE(child >= 0);
    if (child == 0) {
        static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
        struct hf_lab_run run = {.folder = damage->folder, .seed = seed, .damaged = true};

        for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
            signal(fatal[i], SIG_DFL);
        alarm(120);
        hf_run_session(damage->subject, &run);
        *damage->verdict =
            (struct verdict){run.recovered, run.refused, run.stepped_back, run.violated, run.digest, ""};
        memcpy(damage->verdict->text, run.text, sizeof(run.text));
        _exit(0);
    }
    HF_LAB_REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

static void judge(struct damage *damage, int status, bool changed)
{
    const struct verdict *verdict = damage->verdict;
    struct hf_damage_counts *counts = damage->counts;
    char text[256];

    damage->report->count += changed;
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof(text), "the process ends by signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        hf_report_violation(damage->report, text);
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof(text), "the process exits with %d", WEXITSTATUS(status));
        hf_report_violation(damage->report, text);
    } else if (verdict->violated) {
        hf_report_violation(damage->report, verdict->text);
    } else if (verdict->refused) {
        counts->refused++;
        if (!changed)
            hf_report_violation(damage->report, "a file that is whole is refused");
    } else if (verdict->digest == damage->newest) {
        counts->unharmed += changed;
        counts->unchanged += !changed;
    } else if (verdict->stepped_back && was_committed(damage, verdict->digest)) {
        counts->stepped_back++;
    } else {
        snprintf(text, sizeof(text), "silently wrong: contents %08llx", (unsigned long long)(verdict->digest >> 32));
        hf_report_violation(damage->report, text);
    }
}

static bool is_named(const char *path, const char *name)
{
    return name != NULL && strcmp(strrchr(path, '/') + 1, name) == 0;
}

static size_t victim_of(const struct damage *damage, struct hf_random *random)
{
    const char *only = damage->subject->damaged;
    size_t victim = (size_t)hf_random_below(random, damage->now.count);

    for (size_t i = 0; only != NULL && i < damage->now.count; i++)
        if (is_named(damage->now.path[i], only))
            victim = i;
    return victim;
}

/* With `harm` one file damaged; without, none: a store that refuses what is whole is no better. */
static void try_one(struct damage *damage, struct hf_random *random, uint64_t number, bool harm)
{
    const size_t victim = victim_of(damage, random);
    const struct hf_bytes *now = &damage->now.bytes[victim];
    const bool take_away = hf_random_chance(random, 1, 2);
    struct hf_bytes damaged = {0};
    char what[256] = "nothing";
    bool changed = false;

    /* Zeroing what is zero is no damage. */
    for (unsigned tries = 0; harm && !changed && tries < 64; tries++) {
        free(damaged.at);
        changed = hf_damage(random, now, version_find(&damage->old, damage->now.path[victim]), &damaged, what,
                            sizeof(what));
    }
    hf_report_where(damage->report, "file %llu, %s: %s", (unsigned long long)number,
                    strrchr(damage->now.path[victim], '/') + 1, what);
    for (size_t i = 0; i < damage->now.count; i++)
        if (take_away && is_named(damage->now.path[i], damage->subject->without))
            unlink(damage->now.path[i]);
        else
            file_write(damage->now.path[i], i == victim && changed ? &damaged : &damage->now.bytes[i]);
    judge(damage, look(damage, hf_random_next(random)), changed);
    free(damaged.at);
}

static void store_of(struct damage *damage, uint64_t seed)
{
    struct hf_random random = {seed};
    struct hf_expect expect;

    hf_scratch_make(NULL, damage->folder, sizeof(damage->folder));
    atomic_store(&damage->marks->count, 0);
    work(damage, seed);
    version_take(&damage->old, damage->folder);
    work(damage, seed + 1);
    version_take(&damage->now, damage->folder);
    hf_expect_init(&expect);
    for (uint64_t i = 0; i < atomic_load(&damage->marks->count); i++)
        hf_expect_mark(&expect, damage->marks->mark[i].mark, damage->marks->mark[i].digest);
    damage->newest = expect.digest[expect.count - 1];
    hf_expect_clear(&expect);
    HF_LAB_REQUIRE(damage->now.count > 0);
    for (unsigned i = 0; i < damage->options->a_store && hf_report_more(damage->report); i++)
        try_one(damage, &random, i, i > 0);
    version_clear(&damage->old);
    version_clear(&damage->now);
    hf_scratch_remove(damage->folder);
}

void hf_damage_run(const struct hf_subject *subject, const struct hf_damage_options *options,
                   struct hf_damage_counts *counts, struct hf_report *report)
{
    struct hf_damage_counts own = {0};
    struct damage *damage = hf_lab_zeroed(sizeof(*damage));

    damage->subject = subject;
    damage->options = options;
    damage->report = report;
    damage->counts = counts != NULL ? counts : &own;
    damage->marks = hf_shared_marks_new();
    damage->verdict = mmap(NULL, sizeof(*damage->verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HF_LAB_REQUIRE(damage->verdict != MAP_FAILED);
    for (uint64_t store = 0; hf_report_more(report); store++)
        store_of(damage, hf_seed_of(options->seed, store));
    munmap(damage->verdict, sizeof(*damage->verdict));
    hf_shared_marks_free(damage->marks);
    free(damage);
}
