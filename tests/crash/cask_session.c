/*
 * cask_session.c: sessions with a cask (lab.h, cask_lab.h).
 *
 *      now and then its keydir or its hints are taken away -> open -> is it what it may be? -> changes, looks, merges, jumps of the
 *      clock, closing and opening again ... -> close
 *
 * Each open draws anew how: how long files are, when the keydir is written, what is merged when, whether puts are synced. On the
 * simulated disk the cask has no thread, so that the same seed makes the same calls.
 */
#include "cask_lab.h"

#include "believe.h"

#include "base/hash.h"
#include "base/os.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

struct session {
    struct cask_work work;
    char path[300];
    bool lazy; /* seldom syncs and closes */
};

/* -- how -- */

static uint64_t one_of(struct hf_random *random, const uint64_t *from, size_t count)
{
    return from[hf_random_below(random, count)];
}

static hf_cask_options draw_how(struct session *session)
{
    static const uint64_t sizes[] = {4096, 4096, 6000, 16384}, checkpoints[] = {600, 3000, 10000, 0},
                          percents[] = {1, 20, 50}, bytes[] = {1, 800, 2000, HF_CASK_NEVER},
                          small[] = {1, 1500, HF_CASK_NEVER};
    struct cask_work *work = &session->work;
    struct hf_random *random = &work->random;
    const bool traced = work->run->traced;

    return (hf_cask_options){
        .mode = HF_CASK_WRITE,
        .sync = hf_random_chance(random, 1, 4) ? HF_CASK_SYNC_PUT : HF_CASK_SYNC_NONE,
        .max_file_size = one_of(random, sizes, 4),
        .checkpoint = traced ? 0 : one_of(random, checkpoints, 4),
        .keydir_in_memory = !traced && hf_random_chance(random, 1, 10),
        .no_thread = work->run->disk != NULL || traced || hf_random_chance(random, 1, 2),
        .merging =
            {
                .fragmentation_trigger = one_of(random, percents, 3),
                .fragmentation_threshold = one_of(random, percents, 3),
                .dead_bytes_trigger = one_of(random, bytes, 4),
                .dead_bytes_threshold = one_of(random, bytes, 4),
                .small_file_threshold = one_of(random, small, 3),
                .by_call = traced || hf_random_chance(random, 2, 3),
            },
    };
}

/* -- files that may go -- */

static void take_away(struct session *session, const char *suffix)
{
    const size_t length = strlen(suffix);
    DIR *folder = opendir(session->path);
    struct dirent *entry;
    char path[600];

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const size_t size = strlen(entry->d_name);

        if (size < length || strcmp(entry->d_name + size - length, suffix) != 0 ||
            hf_random_chance(&session->work.random, 1, 3))
            continue;
        snprintf(path, sizeof(path), "%s/%s", session->path, entry->d_name);
        hf_os_unlink(path);
    }
    if (folder != NULL)
        closedir(folder);
}

static void take_some_away(struct session *session)
{
    struct hf_random *random = &session->work.random;

    if (hf_random_chance(random, 1, 8))
        take_away(session, "keydir");
    if (hf_random_chance(random, 1, 16))
        take_away(session, "keydir-lock");
    if (hf_random_chance(random, 1, 8))
        take_away(session, ".hint");
}

/* -- opening and closing -- */

static bool is_made(const struct session *session)
{
    char path[320];

    snprintf(path, sizeof(path), "%s/MANIFEST", session->path);
    return access(path, F_OK) == 0;
}

static int open_or_make(struct session *session)
{
    struct cask_work *work = &session->work;
    struct hf_lab_run *run = work->run;
    const bool made = is_made(session);
    const struct cask_state nothing = {.high = cask_clock()};
    int status;

    work->how = draw_how(session);
    work->cask = NULL;
    if (!made) {
        hf_run_recovered(run, HF_NOTHING, false);
        hf_run_begin(run, cask_keep(&nothing));
        work->now = nothing;
    } else if (!run->traced) {
        take_some_away(session);
    }
    status = hf_cask_open(session->path, &work->how, &work->cask);
    if (status == 0 && !made)
        hf_run_durable(run);
    return status;
}

/* Its snapshots too. After this there is nothing to close any more. */
static void close_cask(struct session *session)
{
    struct cask_work *work = &session->work;
    int status;

    cask_settle(work);
    cask_release(work);
    status = hf_cask_close(work->cask);
    work->cask = NULL;
    if (status < 0 && !work->run->faulty && !work->run->damaged)
        hf_run_violation(work->run, "it does not close: %s", hf_status_message(status));
    else if (status == 0)
        hf_run_durable(work->run);
    else if (status == HF_BROKEN)
        hf_run_broken(work->run);
}

/* Opens it and says what is there; false if that cannot be. */
static bool reopen(struct session *session)
{
    struct cask_work *work = &session->work;
    int status;

    cask_clock_jump(&work->random);
    status = open_or_make(session);
    if (status == 0) {
        status = cask_recover(work);
        if (status < 0)
            hf_cask_close(work->cask);
    }
    if (status < 0) {
        work->cask = NULL;
        hf_run_refused(work->run, status, hf_status_message(status));
    }
    return status == 0;
}

/* -- a session -- */

static bool change(struct session *session)
{
    struct cask_work *work = &session->work;
    const uint64_t way = hf_random_below(&work->random, 16);

    /* Else what has expired is not looked at yet, and a clock that goes back shows it again. */
    if (hf_random_chance(&work->random, 1, 2))
        cask_settle(work);
    if (way < 9)
        return cask_put_one(work);
    if (way < 12)
        return cask_batch_one(work);
    cask_settle(work);
    return cask_delete_one(work);
}

/* Now and then something else in between. */
static bool other_things(struct session *session)
{
    struct cask_work *work = &session->work;
    struct hf_random *random = &work->random;

    if (hf_random_chance(random, 1, session->lazy ? 60 : 6)) {
        close_cask(session);
        if (!reopen(session))
            return false;
    }
    if (hf_random_chance(random, 1, 6))
        cask_jump(work);
    if (hf_random_chance(random, 1, session->lazy ? 40 : 6) && !cask_sync(work))
        return false;
    if (hf_random_chance(random, 1, session->lazy ? 12 : 5) && !cask_merge_some(work))
        return false;
    return cask_look(work);
}

/* What the cask says no to is answered by closing, and opening again. */
static bool step(struct session *session)
{
    if (other_things(session) && change(session))
        return true;
    if (session->work.cask == NULL || session->work.run->violated)
        return false;
    close_cask(session);
    return reopen(session);
}

static void session_of(struct hf_lab_run *run, bool (*section)(struct cask_work *work), unsigned before)
{
    static struct session session; /* large; one thread at a time */
    struct cask_work *work = &session.work;

    session = (struct session){.work = {.run = run, .random = {run->seed}}};
    snprintf(session.path, sizeof(session.path), "%s/cask", run->folder);
    session.lazy = hf_random_chance(&work->random, 1, 2);
    cask_clock_use(run->disk != NULL ? run->seed | 1 : 0);
    if (reopen(&session)) {
        const bool traced = run->traced;

        run->traced = false;
        for (unsigned i = 0; traced && i < before && !run->violated; i++)
            change(&session);
        run->traced = traced;
        for (unsigned i = 0; i < run->steps && !run->violated; i++)
            if (traced ? !section(work) : !step(&session))
                break;
    }
    if (work->cask != NULL)
        close_cask(&session);
    cask_clock_end();
}

static void mixed(struct hf_lab_run *run)
{
    session_of(run, NULL, 0);
}

static void put(struct hf_lab_run *run)
{
    session_of(run, cask_put_one, 0);
}

static void batch(struct hf_lab_run *run)
{
    session_of(run, cask_batch_one, 0);
}

/* With files to merge. */
static void merge(struct hf_lab_run *run)
{
    session_of(run, cask_merge_some, 40);
}

/* -- files that say what is true -- */

/* The boot's 16 bytes, of its name. */
static void boot_of(unsigned char boot[16])
{
    char text[64];
    unsigned digits = 0;

    hf_believe_boot(text, sizeof(text));
    memset(boot, 0, 16);
    for (size_t i = 0; text[i] != '\0' && digits < 32; i++) {
        const char *digit = strchr("0123456789abcdef", text[i]);

        if (digit == NULL)
            continue;
        boot[digits / 2] = (unsigned char)(boot[digits / 2] << 4 | (digit - "0123456789abcdef"));
        digits++;
    }
}

static void believe_page(const char *folder)
{
    struct hf_cask_page page;
    struct stat own;
    char path[600];
    int fd;

    snprintf(path, sizeof(path), "%s/page", folder);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &own) == 0 && pread(fd, &page, sizeof(page), 0) == sizeof(page) &&
        page.magic == HF_CASK_PAGE_MAGIC) {
        boot_of(page.boot);
        page.device = own.st_dev;
        page.inode = own.st_ino;
        HF_LAB_REQUIRE(pwrite(fd, &page, sizeof(page), 0) == sizeof(page));
    }
    if (fd >= 0)
        close(fd);
}

static void believe(const char *folder)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/cask", folder);
    hf_believe_lock(path, "keydir");
    believe_page(path);
}

const struct hf_subject cask_mixed = {.name = "cask", .session = mixed, .believe = believe};
const struct hf_subject cask_put = {.name = "cask_put", .session = put};
const struct hf_subject cask_batch = {.name = "cask_batch", .session = batch};
const struct hf_subject cask_merge = {.name = "cask_merge", .session = merge};
