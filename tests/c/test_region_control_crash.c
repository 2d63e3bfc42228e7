/*
 * The lock file of a region in a file, when things go wrong: openers killed before and after each of their calls to
 * the system, each of those calls failing, and a crowd of openers that are killed at random while somebody tampers
 * with the lock file.
 */
#include "test_region_control.h"

#include <sched.h>
#include <time.h>

static opener a, b;

/* -- what an opener does, step by step -- */

enum { WRITTEN = 77 };

/* Opens, sets up, uses and leaves. A status. */
static int run(opener *o, bool read_only, bool leaves)
{
    int status = read_only ? try_read(o) : try_open(o);

    if (status < 0)
        return status;
    if (o->control.exclusive)
        *word(o) = WRITTEN;
    status = hf_control_ready(o->fd, &o->control);
    if (status < 0) {
        abandon(o);
        return status;
    }
    if (leaves) {
        status = hf_control_leave(o->fd, &o->control, SECOND);
        if (status == 1)
            status = hf_control_retire(o->fd, &o->control);
    } else if (!read_only) {
        status = hf_control_alone(o->fd, &o->control, SECOND);
        if (status == 1)
            status = hf_control_not_alone(o->fd, &o->control);
    }
    close_opener(o);
    return status < 0 ? status : 0;
}

/* What it finds. */
typedef enum before_kind { NOTHING, LEFT, DAMAGED, OTHERS, ONLY_READERS, BEFORES } before_kind;

static void prepare(before_kind what)
{
    unlink(lock_file);
    if (what == NOTHING)
        return;
    open_ready(&a, HF_CONTROL_FRESH);
    *word(&a) = WRITTEN;
    if (what == DAMAGED)
        a.control.base[8] ^= 1;
    if (what == ONLY_READERS) {
        ok(try_read(&b));
        ok(hf_control_ready(b.fd, &b.control));
    }
    if (what != OTHERS)
        close_opener(&a);
    if (what == ONLY_READERS)
        a = b;
}

/* Whatever became of the opener: the next one finds what is whole. Then those who were there go. */
static void expect_whole(before_kind what)
{
    opener next;
    ok(try_path(&next, file, O_RDWR, false, SECOND));
    if (next.control.state == HF_CONTROL_FRESH)
        assert_true(is_zero(&next));
    else
        assert_int_equal(*word(&next), WRITTEN);
    if (what == OTHERS || what == ONLY_READERS) {
        assert_int_equal(next.control.state, HF_CONTROL_JOINED);
        close_opener(&a);
    } else {
        assert_true(next.control.exclusive);
    }
    ok(hf_control_ready(next.fd, &next.control));
    close_opener(&next);
    expect_next(HF_CONTROL_TRUSTED);
}

/* -- killed -- */

/* A double that kills this process before or after its n-th call. */

static unsigned calls_left;
static bool kill_after;

static void count_call(bool after)
{
    if (after == kill_after && calls_left > 0 && --calls_left == 0)
        kill(getpid(), SIGKILL);
}

#define ROW(kind, result, name, parameters, arguments) \
    static result deadly_##name parameters             \
    {                                                  \
        count_call(false);                             \
        result done = hf_os_native.name arguments;     \
        count_call(true);                              \
        return done;                                   \
    }
HF_OS_LIST(ROW)
#undef ROW

static const struct hf_os deadly = {
#define ROW(kind, result, name, parameters, arguments) .name = deadly_##name,
    HF_OS_LIST(ROW)
#undef ROW
};

/* true: it lived. */
static bool run_to_death(unsigned call, bool after, bool read_only, bool leaves)
{
    pid_t child = fork();
    if (child == 0) {
        calls_left = call;
        kill_after = after;
        hf_os_replace(&deadly);
        _exit(run(&b, read_only, leaves) == 0 ? 0 : 1);
    }
    int status = exit_status_of(child);
    assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    return status == 0;
}

static void killed_at_every_call(void **state)
{
    unsigned kills = 0, step = 1;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    step = 5; /* a fork is slow there */
#endif
    for (int what = 0; what < BEFORES; what++) {
        for (int how = 0; how < 8; how++) {
            bool after = how & 1, leaves = how & 2, read_only = how & 4;
            bool lived = false;
            if (read_only && leaves)
                continue;
            for (unsigned call = 1 + (unsigned)(what + how) % step; !lived; call += step) {
                prepare((before_kind)what);
                lived = run_to_death(call, after, read_only, leaves);
                expect_whole((before_kind)what);
                kills += !lived;
            }
        }
    }
    assert_true(kills > 300 / step);
}

/* -- calls that fail -- */

static void expect_failures(before_kind what, bool read_only, bool leaves, const struct hf_fault *how)
{
    uint64_t failed = 1;
    for (uint64_t n = 1; failed > 0; n++) {
        struct hf_fault plan = *how;
        opener o;
        prepare(what);
        int descriptors = count_descriptors();
        plan.first = n;
        hf_fault_arm_plan(HF_FAULT_ANY, &plan);
        int status = run(&o, read_only, leaves);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_int_equal(count_descriptors(), descriptors);
        if (failed == 0 || how->shorten || how->error == EINTR)
            ok(status);
        else if (status < 0)
            assert_true(status == HF_IO || status == HF_NOMEM || status == HF_LIMIT || status == HF_NOSPACE ||
                        status == HF_DENIED || status == HF_BUSY || status == HF_ABSENT);
        expect_whole(what);
        assert_true(n < 200);
    }
}

static void every_call_fails(void **state)
{
    static const struct hf_fault hows[] = {
        {.times = 1, .error = EIO},    {.times = 1, .error = ENOMEM},
        {.times = 1, .error = ENOSPC}, {.times = 1, .error = EMFILE},
        {.times = 1, .error = EINTR},  {.times = 1, .shorten = true},
        {.times = 3, .error = EIO},    {.times = HF_FAULT_FOREVER, .error = EIO},
    };
    for (size_t how = 0; how < LENGTH(hows); how++)
        for (int what = 0; what < BEFORES; what++)
            for (int role = 0; role < 3; role++)
                expect_failures((before_kind)what, role == 2, role == 1, &hows[how]);
}

/* Where the failure is that of the call under test, it is said as such. */
static void failures_have_their_status(void **state)
{
    static const struct {
        unsigned site;
        int error;
        int status;
    } failures[] = {
        {HF_OS_SITE_fallocate, ENOSPC, HF_NOSPACE}, {HF_OS_SITE_fallocate, EDQUOT, HF_NOSPACE},
        {HF_OS_SITE_mmap, ENOMEM, HF_LIMIT},        {HF_OS_SITE_unlinkat, EACCES, HF_DENIED},
        {HF_OS_SITE_unlinkat, EROFS, HF_DENIED},    {HF_OS_SITE_fstatfs, EIO, HF_IO},
        {HF_OS_SITE_lock, ENOLCK, HF_IO},           {HF_OS_SITE_getrandom, EIO, HF_IO},
        {HF_OS_SITE_openat, EMFILE, HF_IO},
    };
    opener o;
    for (size_t i = 0; i < LENGTH(failures); i++) {
        hf_fault_arm(failures[i].site, 1, failures[i].error);
        assert_int_equal(try_open(&o), failures[i].status);
        hf_fault_disarm();
        expect_next(HF_CONTROL_FRESH);
    }
}

static void making_it_afresh_fails(void **state)
{
    uint64_t failed = 1;
    for (uint64_t n = 1; failed > 0; n++) {
        opener o;
        unlink(lock_file);
        open_ready(&a, HF_CONTROL_FRESH);
        *word(&a) = WRITTEN;
        close_opener(&a);
        int descriptors = count_descriptors();
        open_as(&o, HF_CONTROL_TRUSTED);
        hf_fault_arm(HF_FAULT_ANY, n, EIO);
        int status = hf_control_afresh(o.fd, file, SIZE, &o.control);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_true(status == 0 || (status == HF_IO && failed > 0));
        if (n % 2 == 0)
            abandon(&o);
        else
            close_opener(&o); /* as if it were killed */
        assert_int_equal(count_descriptors(), descriptors);
        expect_next(HF_CONTROL_FRESH); /* never again what did not hold */
    }
}

/* Who cannot say that it is ready leaves what is to be made again; unless others may have come already. */
static void becoming_ready_fails(void **state)
{
    for (uint64_t n = 1; n <= 4; n++) {
        unlink(lock_file);
        open_as(&a, HF_CONTROL_FRESH);
        *word(&a) = WRITTEN;
        hf_fault_arm(HF_OS_SITE_lock, n, ENOLCK);
        assert_int_equal(hf_control_ready(a.fd, &a.control), HF_IO);
        hf_fault_disarm();
        assert_int_equal(a.control.exclusive, n < 4);
        abandon(&a);
        expect_next(n < 4 ? HF_CONTROL_FRESH : HF_CONTROL_TRUSTED);
    }
}

/* The caller may keep its descriptor: no lock is left on it. */
static void expect_no_locks(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(file, O_RDWR | O_CLOEXEC);
    ok(fcntl(fd, F_OFD_GETLK, &all));
    assert_int_equal(all.l_type, F_UNLCK);
    close(fd);
}

static void who_gives_up_gives_its_locks_back(void **state)
{
    static const unsigned sites[] = {HF_OS_SITE_fstat, HF_OS_SITE_mmap, HF_OS_SITE_pread};
    for (size_t i = 0; i < LENGTH(sites) * 2; i++) {
        int fd = open(file, O_RDWR | O_CLOEXEC);
        bool read_only = i % 2;
        unlink(lock_file);
        open_ready(&a, HF_CONTROL_FRESH);
        hf_fault_arm(sites[i / 2], 1, EIO);
        assert_int_equal(hf_control_open(fd, file, SIZE, read_only, 0, &b.control), HF_IO);
        hf_fault_disarm();
        close_opener(&a);
        expect_no_locks();
        /* A reader with a lock file, one without, a writer. */
        for (int role = 0; role < 3; role++) {
            if (role == 1)
                unlink(lock_file);
            ok(hf_control_open(fd, file, SIZE, role < 2, 0, &b.control));
            hf_control_abandon(fd, &b.control);
            expect_no_locks();
        }
        close(fd);
    }
}

/* Somebody puts a file there each time that the name has just become free. */

static int put_back;

static int contested_unlinkat(int dir, const char *path, int flags)
{
    int done = hf_os_native.unlinkat(dir, path, flags);
    if (put_back-- > 0)
        write_file(lock_file, "what is this", 12, 0600);
    return done;
}

static void a_name_that_is_taken_again_and_again(void **state)
{
    struct hf_os table = hf_os_native;
    table.unlinkat = contested_unlinkat;
    hf_os_replace(&table);
    put_back = 3;
    open_as(&a, HF_CONTROL_FRESH);
    assert_true(is_zero(&a));
    abandon(&a);
    put_back = 1000;
    assert_int_equal(try_open(&a), HF_BUSY);
    hf_os_replace(NULL);
    expect_next(HF_CONTROL_FRESH);
}

/* The name is lost between the two times that the lock file is opened. */

static int openings, lost_at;
static bool replaced;

static int losing_openat(int dir, const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "file-lock") == 0 && ++openings == lost_at) {
        unlink(lock_file);
        if (replaced)
            write_file(lock_file, "something else", 14, 0600);
    }
    return hf_os_native.openat(dir, path, flags, mode);
}

/* What is mapped is what is open. */
static void expect_usable(opener *o)
{
    if (o->control.writable) {
        unsigned through = 0;
        *word(o) = WRITTEN;
        assert_int_equal(pread(o->control.fd, &through, sizeof through, HF_REGION_LOCK_AT), sizeof through);
        assert_int_equal(through, WRITTEN);
    }
    ok(hf_control_ready(o->fd, &o->control));
}

static void a_name_lost_while_it_is_opened(void **state)
{
    struct hf_os table = hf_os_native;
    table.openat = losing_openat;
    for (int what = 0; what < BEFORES; what++) {
        for (int role = 0; role < 2; role++) {
            /* Whether it is opened once or twice before that, or made. */
            for (int turn = 0; turn < 6; turn++) {
                lost_at = turn / 2 + 1;
                replaced = turn % 2;
                int before = count_descriptors();
                opener o;
                prepare((before_kind)what);
                openings = 0;
                hf_os_replace(&table);
                int status = role == 0 ? try_open(&o) : try_read(&o);
                hf_os_replace(NULL);
                assert_true(status == 0 || (status == HF_BUSY && role == 0));
                if (status == 0)
                    expect_usable(&o);
                if (what == OTHERS || what == ONLY_READERS)
                    close_opener(&a);
                opener next;
                ok(try_open(&next)); /* a reader without a lock file is not in the way */
                assert_true(next.control.exclusive || (status == 0 && o.control.writable));
                abandon(&next);
                if (status == 0)
                    close_opener(&o);
                assert_int_equal(count_descriptors(), before);
                ok(try_open(&o));
                assert_true(o.control.exclusive);
                assert_true(o.control.state == HF_CONTROL_TRUSTED || is_zero(&o));
                abandon(&o);
            }
        }
    }
}

/* The last of the others goes just after the opener has seen that somebody is there. */

static opener leaving;

static int lock_while_leaving(int fd, int command, struct flock *how)
{
    if (command == F_OFD_GETLK && leaving.fd >= 0) {
        close_opener(&leaving);
        leaving.fd = -1;
    }
    return hf_os_native.lock(fd, command, how);
}

static void others_who_are_gone_are_not_in_the_way(void **state)
{
    struct hf_os table = hf_os_native;
    table.lock = lock_while_leaving;
    for (int deleted = 0; deleted < 2; deleted++) {
        open_ready(&leaving, HF_CONTROL_FRESH);
        if (deleted)
            ok(unlink(lock_file));
        hf_os_replace(&table);
        open_as(&a, deleted ? HF_CONTROL_FRESH : HF_CONTROL_TRUSTED);
        hf_os_replace(NULL);
        assert_int_equal(leaving.fd, -1);
        abandon(&a);
        unlink(lock_file);
    }
}

static void waiting_fails(void **state)
{
    open_as(&a, HF_CONTROL_FRESH);
    for (uint64_t n = 1; n <= 8; n++) {
        hf_fault_arm(HF_FAULT_ANY_OS, n, EIO);
        int status = try_path(&b, file, O_RDWR, false, SECOND);
        assert_true(hf_fault_failed(HF_FAULT_ANY_OS) == 1 && status == HF_IO);
        hf_fault_disarm();
    }
    abandon(&a);
    expect_next(HF_CONTROL_FRESH);
}

/* -- many at once -- */

/* What the children of a test say; shared with them. */
struct board {
    _Atomic uint64_t inode; /* of the lock file in use */
    _Atomic unsigned go, there, last;
    _Atomic unsigned found[3], busy, looked;
};

static struct board *board;

static int a_board(void **state)
{
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : a_folder(state);
}

static int no_board(void **state)
{
    munmap(board, sizeof *board);
    return no_folder(state);
}

static void leave_at_once(void)
{
    opener o;
    must(try_path(&o, file, O_RDWR, false, -1) == 0 && hf_control_ready(o.fd, &o.control) == 0);
    atomic_fetch_add(&board->there, 1);
    while (atomic_load(&board->go) == 0)
        sched_yield();
    int last = hf_control_leave(o.fd, &o.control, -1);
    must(last >= 0);
    atomic_fetch_add(&board->last, (unsigned)last);
    close_opener(&o);
}

static void of_those_who_leave_at_once_one_is_the_last(void **state)
{
    enum { ROUNDS = 30, CROWD = 6 };
    pid_t children[CROWD];
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&board->go, 0);
        atomic_store(&board->there, 0);
        atomic_store(&board->last, 0);
        for (int i = 0; i < CROWD; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                leave_at_once();
                _exit(0);
            }
        }
        while (atomic_load(&board->there) < CROWD)
            sched_yield();
        atomic_store(&board->go, 1);
        for (int i = 0; i < CROWD; i++)
            ok(exit_status_of(children[i]));
        assert_int_equal(atomic_load(&board->last), 1);
    }
}

/*
 * The crowd. Who uses FILE-lock has a shared lock on another file besides, taken between open and ready, and who is
 * told that nobody else is there an exclusive one: so there is a witness. And all who are there use the same inode.
 */

static int witness_lock(int fd, short type)
{
    struct flock how = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    /* The locks of who was killed go one after the other: wait a little. */
    for (int i = 0; i < 5000; i++) {
        if (fcntl(fd, F_OFD_SETLK, &how) == 0)
            return 0;
        usleep(1000);
    }
    return -1;
}

static uint64_t inode_of(int fd)
{
    struct stat found;
    must(fstat(fd, &found) == 0);
    return found.st_ino;
}

static void be_one_of_the_crowd(const char *witness, uint64_t random, int turns)
{
    for (int turn = 0; turn < turns; turn++) {
        opener o;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        bool read_only = random >> 60 == 0;
        int status = try_path(&o, file, O_RDWR, read_only, -1);
        if (status == HF_BUSY) {
            atomic_fetch_add(&board->busy, 1);
            usleep(1000);
            continue;
        }
        must(status == 0);
        if (!o.control.writable) {
            atomic_fetch_add(&board->looked, 1);
            must(read_only && hf_control_ready(o.fd, &o.control) == 0);
            close_opener(&o);
            continue;
        }
        int fd = open(witness, O_RDWR | O_CLOEXEC);
        must(fd >= 0 && witness_lock(fd, o.control.exclusive ? F_WRLCK : F_RDLCK) == 0);
        uint64_t inode = inode_of(o.control.fd);
        if (o.control.exclusive || o.control.state == HF_CONTROL_TRUSTED)
            atomic_store(&board->inode, inode);
        else if (!read_only)
            must(atomic_load(&board->inode) == inode);
        if (o.control.state == HF_CONTROL_FRESH)
            must(is_zero(&o));
        else
            must(*word(&o) == WRITTEN);
        if (o.control.exclusive)
            *word(&o) = WRITTEN;
        must(witness_lock(fd, F_RDLCK) == 0);
        atomic_fetch_add(&board->found[o.control.state], 1);
        must(hf_control_ready(o.fd, &o.control) == 0);
        if (random >> 32 & 1)
            usleep((unsigned)(random >> 40 & 511));
        if (!read_only && (random >> 33 & 3) == 0 && hf_control_leave(o.fd, &o.control, -1) == 1)
            must(hf_control_retire(o.fd, &o.control) >= 0);
        close(fd);
        close_opener(&o);
    }
}

static void tamper(unsigned how)
{
    char aside[192];
    snprintf(aside, sizeof aside, "%s/aside", folder);
    if (how % 3 == 0)
        unlink(lock_file);
    else if (how % 3 == 1)
        rename(lock_file, aside);
    else
        rename(aside, lock_file);
}

static void a_crowd_with_deaths_and_tampering(void **state)
{
    enum { ROUNDS = 12, CROWD = 5, TURNS = 60 };
    pid_t children[CROWD];
    char witness[192];
    snprintf(witness, sizeof witness, "%s/witness", folder);
    write_file(witness, "w", 1, 0600);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CROWD; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                be_one_of_the_crowd(witness, round * 1000003u + i * 7919u + 1, TURNS);
                _exit(0);
            }
        }
        for (unsigned i = 0; i < CROWD - 1; i++) {
            usleep(3000);
            kill(children[i], SIGKILL);
            usleep(1000);
            if (round % 2 == 1)
                tamper(round / 2 + i);
        }
        for (int i = 0; i < CROWD; i++) {
            int status = exit_status_of(children[i]);
            assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        }
    }
    opener o;
    ok(try_open(&o));
    assert_true(o.control.exclusive);
    abandon(&o);
    for (int i = 0; i < 3; i++)
        assert_true(atomic_load(&board->found[i]) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, a_folder, no_folder)
#define TEST_OF_MANY(name) cmocka_unit_test_setup_teardown(name, a_board, no_board)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(killed_at_every_call),
        TEST(every_call_fails),
        TEST(failures_have_their_status),
        TEST(making_it_afresh_fails),
        TEST(becoming_ready_fails),
        TEST(who_gives_up_gives_its_locks_back),
        TEST(a_name_that_is_taken_again_and_again),
        TEST(a_name_lost_while_it_is_opened),
        TEST(others_who_are_gone_are_not_in_the_way),
        TEST(waiting_fails),
        TEST_OF_MANY(of_those_who_leave_at_once_one_is_the_last),
        TEST_OF_MANY(a_crowd_with_deaths_and_tampering),
    };
    return cmocka_run_group_tests_name("region/control/crash", tests, NULL, NULL);
}
