/*
 * test_cask_salvage.c: what is whole of a cask that is damaged is in the new one, what is lost is told, what was
 * deleted or has expired stays away.
 */
#include "test_cask_support.h"
#include "test_child.h"
#include "test_common.h"

static char to_path[100];

static const hf_cask_options tiny = {
    .max_file_size = 4096, .checkpoint = 5000, .no_thread = true, .merging = {.by_call = true}};

enum { KEYS = 60 };

static unsigned versions[KEYS]; /* 0: it is not there */

static void key_and_value(unsigned i, unsigned version, char key[32], char value[100])
{
    snprintf(key, 32, "key %u", i);
    snprintf(value, 100, "value %u of key %u, and %.*s", version, i, (int)(version % 50),
             "some more, so that they are not all of one length, which would be too simple");
}

static void put_number(hf_cask *cask, unsigned i, unsigned version)
{
    char key[32], value[100];
    key_and_value(i, version, key, value);
    cask_put(cask, key, value);
    versions[i] = version;
}

static void fill(hf_cask *cask, unsigned seed, unsigned steps)
{
    for (unsigned step = 1; step <= steps; step++) {
        uint64_t random = mixed(seed * 100000 + step);
        unsigned i = (unsigned)(random % KEYS);
        char key[32];
        snprintf(key, sizeof key, "key %u", i);
        if (random / KEYS % 3 == 0) {
            assert_int_equal(hf_cask_delete(cask, key, strlen(key)), versions[i] != 0);
            versions[i] = 0;
        } else {
            put_number(cask, i, seed * 1000 + step);
        }
    }
}

static hf_cask *filled(void)
{
    memset(versions, 0, sizeof versions);
    snprintf(to_path, sizeof to_path, "%s/to", cask_scratch);
    hf_cask *cask = cask_open(&tiny);
    fill(cask, 1, 400);
    return cask;
}

typedef struct told {
    hf_cask_fault faults[32];
    unsigned count;
} told;

static int tell(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of)
{
    told *t = arg;
    assert_true(done <= of);
    if (fault != NULL && t->count < LENGTH(t->faults))
        t->faults[t->count++] = *fault;
    return 0;
}

static bool was_told(const told *t, const char *what, uint32_t file, uint64_t at, uint64_t size)
{
    for (unsigned i = 0; i < t->count; i++)
        if (strstr(t->faults[i].what, what) != NULL && t->faults[i].file == file && t->faults[i].at == at &&
            t->faults[i].size == size)
            return true;
    for (unsigned i = 0; i < t->count; i++)
        fprintf(stderr, "told: %s, file %u, at %u, %u bytes\n", t->faults[i].what, t->faults[i].file,
                (unsigned)t->faults[i].at, (unsigned)t->faults[i].size);
    return false;
}

/* The new cask has what the old one had; but of key `but`, if it is one, the version `instead`. */
static void is_all_there(unsigned but, unsigned instead)
{
    hf_cask_options reading = {.mode = HF_CASK_READ};
    hf_cask *cask;
    unsigned count = 0;
    assert_int_equal(hf_cask_open(to_path, &reading, &cask), 0);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned version = i == but ? instead : versions[i];
        char key[32], value[100];
        key_and_value(i, version, key, value);
        cask_is(cask, key, version == 0 ? NULL : value);
        count += version != 0;
    }
    cask_counts(cask, count);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(cask), 0);
    cask_remove(to_path);
}

static void salvage(told *t)
{
    *t = (told){0};
    assert_int_equal(hf_cask_salvage(cask_path, to_path, tell, t), 0);
}

static void shell(const char *what)
{
    char command[300];
    snprintf(command, sizeof command, "cd %s && %s", cask_path, what);
    assert_int_equal(system(command), 0);
}

static void damage(uint32_t number, uint64_t at)
{
    char path[140];
    unsigned char byte;
    snprintf(path, sizeof path, "%s/%010u.log", cask_path, number);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* Whatever is taken away but the records. */
static void test_whole(void **state)
{
    static const char *const taken[] = {"true", "rm keydir*", "rm MANIFEST", "rm -f *.hint page", "echo x > keydir"};
    hf_cask *cask = filled();
    told t;
    assert_int_equal(hf_cask_salvage(cask_path, to_path, NULL, NULL), HF_BUSY);
    assert_int_equal(hf_cask_close(cask), 0);
    for (unsigned i = 0; i < LENGTH(taken); i++) {
        shell(taken[i]);
        salvage(&t);
        assert_int_equal(t.count, i < 2 ? 0 : 1);
        assert_true(i < 2 || was_told(&t, "the manifest is damaged", 0, 0, 0));
        is_all_there(KEYS, 0);
    }
    /* Heads too: one is enough. */
    shell("for f in 000000000[2-9].log; do dd if=/dev/zero of=$f bs=64 count=1 conv=notrunc status=none; done");
    salvage(&t);
    assert_true(was_told(&t, "the head of a log file is damaged", 2, 0, 64));
    is_all_there(KEYS, 0);
    shell("dd if=/dev/zero of=0000000001.log bs=64 count=1 conv=notrunc status=none");
    shell("for f in 00000000[1-9]*.log; do dd if=/dev/zero of=$f bs=64 count=1 conv=notrunc status=none 2>&-; done; "
          "true");
    assert_int_equal(hf_cask_salvage(cask_path, to_path, NULL, NULL), HF_NOT_CASK);
    assert_int_equal(access(to_path, F_OK), -1);
}

/* After merges: by the manifest, and without it. */
static void test_merged(void **state)
{
    hf_cask *cask = filled();
    told t;
    for (unsigned round = 2; round < 5; round++) {
        cask = cask_again(cask, &tiny);
        assert_int_equal(hf_cask_merge(cask, round, NULL), 0);
        fill(cask, round, 100);
    }
    assert_int_equal(hf_cask_close(cask), 0);
    salvage(&t);
    assert_int_equal(t.count, 0);
    is_all_there(KEYS, 0);
    shell("rm MANIFEST *.hint keydir*");
    salvage(&t);
    is_all_there(KEYS, 0);
}

/* The newest record of a key is damaged: the one before it is there, and the damage is told exactly. */
static void test_damage(void **state)
{
    hf_cask_info info;
    told t;
    hf_cask *cask = filled();
    put_number(cask, 5, 7001);
    put_number(cask, 6, 7002);
    put_number(cask, 5, 7003);
    put_number(cask, 6, 7004);
    assert_int_equal(hf_cask_info_get(cask, "key 5", 5, &info), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    for (unsigned at = 0; at < info.size; at += 9) {
        damage(info.file, info.offset + at);
        salvage(&t);
        assert_int_equal(t.count, 1);
        assert_true(was_told(&t, "bytes of a log file are damaged", info.file, info.offset, info.size));
        is_all_there(5, 7001);
        damage(info.file, info.offset + at);
    }
    shell("rm 0000000002.log");
    salvage(&t);
    assert_int_equal(hf_cask_salvage(cask_path, to_path, NULL, NULL), HF_EXISTS);
    cask_remove(to_path);
}

/* What had expired does not come back, and what will, will. */
static void test_expiry(void **state)
{
    hf_cask *cask = cask_open(&tiny);
    hf_cask_options reading = {.mode = HF_CASK_READ};
    hf_cask_info before, after;
    told t;
    snprintf(to_path, sizeof to_path, "%s/to", cask_scratch);
    assert_int_equal(hf_cask_put(cask, "a", 1, "old", 3, 0), 0);
    assert_int_equal(hf_cask_put(cask, "a", 1, "new", 3, 1), 0);
    assert_int_equal(hf_cask_put(cask, "b", 1, "kept", 4, 1000000), 0);
    assert_int_equal(hf_cask_put(cask, "c", 1, "for ever", 8, 0), 0);
    assert_int_equal(hf_cask_info_get(cask, "b", 1, &before), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    usleep(5000);
    salvage(&t);
    assert_int_equal(hf_cask_open(to_path, &reading, &cask), 0);
    cask_is(cask, "a", NULL);
    cask_is(cask, "b", "kept");
    cask_is(cask, "c", "for ever");
    assert_int_equal(hf_cask_info_get(cask, "b", 1, &after), 1);
    assert_true(after.expires >= before.expires && after.expires < before.expires + 1000);
    assert_int_equal(hf_cask_info_get(cask, "c", 1, &after), 1);
    assert_true(after.expires == INT64_MAX);
    assert_int_equal(hf_cask_close(cask), 0);
}

/* A batch of which the end never got to the disk is none; the rest of the log is. */
static void test_batch(void **state)
{
    hf_cask_batch *batch;
    hf_cask_info first, last;
    told t;
    hf_cask *cask = filled();
    assert_int_equal(hf_cask_batch_begin(cask, &batch), 0);
    for (unsigned i = 0; i < 3; i++) {
        char key[32];
        snprintf(key, sizeof key, "batch %u", i);
        assert_int_equal(hf_cask_batch_put(batch, key, strlen(key), "value", 5, 0), 0);
    }
    assert_int_equal(hf_cask_batch_commit(batch), 0);
    hf_cask_batch_end(batch);
    assert_int_equal(hf_cask_info_get(cask, "batch 0", 7, &first), 1);
    assert_int_equal(hf_cask_info_get(cask, "batch 2", 7, &last), 1);
    assert_int_equal(hf_cask_close(cask), 0);
    char path[140];
    snprintf(path, sizeof path, "%s/%010u.log", cask_path, last.file);
    assert_int_equal(truncate(path, (off_t)last.offset), 0);
    salvage(&t);
    assert_true(was_told(&t, "a batch that was not whole", first.file, first.offset, last.offset - first.offset));
    is_all_there(KEYS, 0);
}

static void test_failures(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EMFILE};
    hf_cask *cask = filled();
    told t;
    assert_int_equal(hf_cask_close(cask), 0);
    for (uint64_t n = 1, failed = 1; failed > 0; n += n < 60 ? 1 : 7) {
        hf_fault_arm(HF_FAULT_ANY, n, errors[n % LENGTH(errors)]);
        int status = hf_cask_salvage(cask_path, to_path, NULL, NULL);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_true(failed > 0 || status == 0);
        assert_true(status == 0 || access(to_path, F_OK) < 0 || failed > 0);
        cask_remove(to_path);
    }
    salvage(&t);
    is_all_there(KEYS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cask_test(test_whole),  cask_test(test_merged), cask_test(test_damage),
                                       cask_test(test_expiry), cask_test(test_batch),  cask_test(test_failures)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
