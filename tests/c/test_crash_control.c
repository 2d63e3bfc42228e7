/*
 * The lock file of a region in a file after a power cut, in the crash laboratory: whatever is left of it, even garbage,
 * it is made again, and is in nobody's way.
 */
#include "cm.h"

#include "base/os.h"
#include "crash.h"
#include "disk.h"
#include "region/control.h"

#include <holdfast/status.h>

#include <string.h>

enum { SIZE = HF_REGION_SLOTS_AT + HF_REGION_PAGE };

static struct hf_disk *disk;

static int begin(void **state)
{
    disk = hf_disk_new(NULL);
    hf_disk_use(disk);
    return 0;
}

static int end(void **state)
{
    hf_disk_use(NULL);
    hf_disk_free(disk);
    return 0;
}

static const char *file_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/file", hf_disk_root(disk));
    return path;
}

/* A session: FILE is opened, made if need be, and its lock file used. What it found. */
static enum hf_control_state session(bool made_durable)
{
    struct hf_control control;
    int fd = hf_os_open(file_path(), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    if (made_durable) {
        int root = hf_os_open(hf_disk_root(disk), O_RDONLY | O_DIRECTORY, 0);
        assert_int_equal(hf_os_fsync(fd) | hf_os_fsync(root), 0);
        hf_os_close(root);
    }
    assert_int_equal(hf_control_open(fd, file_path(), SIZE, false, 0, &control), 0);
    enum hf_control_state found = control.state;
    if (found == HF_CONTROL_FRESH)
        for (size_t i = HF_REGION_PAGE; i < SIZE; i++)
            assert_int_equal(control.base[i], 0);
    memset(control.base + HF_REGION_PAGE, 'x', SIZE - HF_REGION_PAGE);
    assert_int_equal(hf_control_ready(fd, &control), 0);
    /* The disk does not see stores through a mapping: the same once more, as the kernel might write it back. */
    assert_int_equal(hf_os_pwrite_all(control.fd, control.base, sizeof(struct hf_control_page), 0), 0);
    hf_control_close(&control);
    hf_os_close(fd);
    assert_int_equal(hf_disk_open_count(disk), 0);
    return found;
}

static void a_power_cut_leaves_nothing_to_be_believed(void **state)
{
    enum { MOST = 4000 };
    static struct hf_state *images[MOST];
    static bool kills[MOST];
    struct hf_crash_options options = {
        .exhaustive_bits = 8, .random = 64, .garble = true, .tails = true, .kills = true};
    struct hf_expect expect;
    unsigned count = 0, fresh = 0;
    assert_int_equal(session(true), HF_CONTROL_FRESH);
    assert_int_equal(session(false), HF_CONTROL_TRUSTED);
    /* Another boot, in which the lock file is made again. */
    struct hf_state *left = hf_state_clone(hf_disk_state(disk));
    hf_disk_load(disk, left, true);
    hf_state_free(left);
    assert_int_equal(session(false), HF_CONTROL_FRESH);
    hf_expect_init(&expect);
    struct hf_crash *crash = hf_crash_new(hf_disk_start(disk), hf_disk_trace(disk), &expect, &options, 1);
    while (count < MOST && hf_crash_next(crash)) {
        kills[count] = hf_crash_is_kill(crash);
        images[count++] = hf_crash_image(crash);
    }
    hf_crash_free(crash);
    hf_expect_clear(&expect);
    /* On the same disk, so that the inodes are the same: what tells the boots apart is nothing else. */
    for (unsigned i = 0; i < count; i++) {
        hf_disk_load(disk, images[i], !kills[i]);
        enum hf_control_state found = session(false);
        fresh += found == HF_CONTROL_FRESH;
        if (!kills[i])
            assert_int_equal(found, HF_CONTROL_FRESH);
        assert_int_equal(session(false), HF_CONTROL_TRUSTED);
        hf_state_free(images[i]);
    }

    print_message("%u images\n", count);
    assert_true(count > 100 && fresh > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_power_cut_leaves_nothing_to_be_believed, begin, end),
    };
    return cmocka_run_group_tests_name("crash/control", tests, NULL, NULL);
}
