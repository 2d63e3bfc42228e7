/*
 * The manifest: against an array; written and read; every bit of it flipped, every cut, hostile contents; each call
 * that replaces it failing.
 */
#include "cask/manifest.h"

#include "test_cask_parts.h"
#include "test_child.h"

#include <sys/resource.h>

enum { NUMBERS = 60 };

static hf_manifest manifest;

static int manifest_new(void **state)
{
    manifest = (hf_manifest){.files = NULL};
    manifest.head.id[0] = the_id[0];
    manifest.head.id[1] = the_id[1];
    manifest.head.seed = 0x3333;
    manifest.head.next = 5;
    manifest.head.sequence = 1000;
    manifest.head.clock = 1700000000000;
    return folder_new(state);
}

static int manifest_end(void **state)
{
    hf_manifest_clear(&manifest);
    return folder_end(state);
}

static struct hf_listed listed(uint32_t number, uint64_t size)
{
    return (struct hf_listed){.number = number, .state = HF_LISTED, .size = size, .first = 1, .last = 2};
}

static void add(uint32_t number, uint64_t size)
{
    struct hf_listed file = listed(number, size);
    ok(hf_manifest_add(&manifest, &file));
}

static void expect_same(const hf_manifest *a, const hf_manifest *b)
{
    assert_memory_equal(&a->head, &b->head, sizeof a->head);
    if (a->head.count > 0)
        assert_memory_equal(a->files, b->files, a->head.count * sizeof *a->files);
}

static void it_is_what_a_model_says(void **state)
{
    uint64_t model[NUMBERS + 1] = {0}; /* sizes, by number */
    for (unsigned round = 0; round < 3000; round++) {
        uint32_t number = 1 + (uint32_t)random_below(NUMBERS), count = 0, before = 0;
        if (random_below(2) == 0) {
            model[number] = 1 + random_below(1000);
            add(number, model[number]);
        } else {
            model[number] = 0;
            hf_manifest_remove(&manifest, number);
        }
        for (uint32_t i = 1; i <= NUMBERS; i++) {
            struct hf_listed *file = hf_manifest_find(&manifest, i);
            assert_true(model[i] == 0 ? file == NULL : file != NULL && file->number == i && file->size == model[i]);
            count += model[i] != 0;
        }
        assert_int_equal(manifest.head.count, count);
        for (uint32_t i = 0; i < count; before = manifest.files[i++].number)
            assert_true(manifest.files[i].number > before);
        if (round % 100 == 0) {
            hf_manifest again, copy;
            uint64_t bytes, generation = manifest.head.generation;
            ok(hf_manifest_replace(folder, &manifest, &bytes));
            assert_true(bytes == 104 + 40 * count + 8 && manifest.head.generation == generation + 1);
            ok(hf_manifest_read(folder, &again));
            expect_same(&again, &manifest);
            ok(hf_manifest_copy(&again, &copy));
            expect_same(&copy, &manifest);
            hf_manifest_clear(&again);
            /* It has memory of its own, and grows. */
            struct hf_listed more = listed(NUMBERS + 7, 1);
            ok(hf_manifest_add(&copy, &more));
            assert_int_equal(copy.head.count, count + 1);
            hf_manifest_clear(&copy);
            assert_int_equal(folder_count(), 1);
        }
    }
    struct stat found;
    ok(fstatat(folder, "MANIFEST", &found, 0));
    assert_int_equal(found.st_mode & 07777, 0600);
}

static void expect_read(int expected)
{
    hf_manifest out = {.room = 77};
    assert_int_equal(hf_manifest_read(folder, &out), expected);
    assert_int_equal(out.room, 77);
}

enum { ROOM = 4096 };

static unsigned char bytes[ROOM];

static size_t a_manifest(void)
{
    add(1, 4096);
    add(4, 1024);
    hf_manifest_find(&manifest, 4)->state = HF_LISTED_VICTIM;
    manifest.head.generation = 8;
    ok(hf_manifest_replace(folder, &manifest, NULL));
    return read_file("MANIFEST", bytes, ROOM);
}

static void damage_is_noticed(void **state)
{
    expect_read(HF_ABSENT);
    size_t size = a_manifest();
    assert_int_equal(size, 104 + 80 + 8);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_file("MANIFEST", bytes, size);
        expect_read(bit < 64 ? HF_NOT_CASK : bit < 96 ? HF_FORMAT : HF_CORRUPT);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        write_file("MANIFEST", bytes, cut);
        expect_read(cut < 8 ? HF_NOT_CASK : HF_CORRUPT);
    }
    write_file("MANIFEST", bytes, size + 1);
    expect_read(HF_CORRUPT);
    write_file("MANIFEST", "#!/bin/sh\necho make\n", 20);
    expect_read(HF_NOT_CASK);
    for (size_t i = 0; i < 4; i++) {
        unsigned char other = bytes[i];
        bytes[i] = bytes[7 - i];
        bytes[7 - i] = other;
    }
    write_file("MANIFEST", bytes, size);
    expect_read(HF_FORMAT);
    ok(unlinkat(folder, "MANIFEST", 0));
    ok(mkdirat(folder, "MANIFEST", 0700));
    expect_read(HF_NOT_CASK);
    ok(unlinkat(folder, "MANIFEST", AT_REMOVEDIR));
    ok(mkfifoat(folder, "MANIFEST", 0600));
    alarm(10);
    expect_read(HF_NOT_CASK);
    alarm(0);
}

/* Bytes with a checksum that is right, and contents that are not. */
static void expect_refused(const struct hf_cask_manifest *head, const struct hf_listed files[2], int expected)
{
    unsigned char made[104 + 80 + 8];
    uint64_t checksum;
    memcpy(made, head, 104);
    memcpy(made + 104, files, 80);
    checksum = hf_checksum64(made, 184, HF_CASK_MANIFEST_MAGIC);
    memcpy(made + 184, &checksum, 8);
    write_file("MANIFEST", made, sizeof made);
    hf_manifest out = {.files = NULL};
    assert_int_equal(hf_manifest_read(folder, &out), expected);
    hf_manifest_clear(&out);
}

static void what_cannot_be_is_refused(void **state)
{
    a_manifest();
    struct hf_cask_manifest head;
    struct hf_listed files[2], bad[2];
    memcpy(&head, bytes, sizeof head);
    memcpy(files, bytes + 104, sizeof files);
    expect_refused(&head, files, 0);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(bad, files, sizeof bad);
        switch (i) {
        case 0:
            bad[1].number = 1;
            break;
        case 1:
            bad[0].number = 5;
            break;
        case 2:
            bad[0].number = 0;
            break;
        case 3:
            bad[1].number = HF_CASK_FILES;
            break;
        case 4:
            bad[1].state = 0;
            break;
        case 5:
            bad[1].state = 3;
            break;
        case 6:
            bad[1].size = HF_CASK_FILE_MAX + 1;
            break;
        default:
            bad[1].generation = head.generation + 1;
        }
        expect_refused(&head, bad, HF_CORRUPT);
    }
    struct hf_cask_manifest other = head;
    other.incompatible = 1;
    expect_refused(&other, files, HF_FORMAT);
    other = head;
    other.compatible = 1;
    expect_refused(&other, files, 0);
    static const uint32_t counts[] = {0, 1, 3, 1u << 24, UINT32_MAX};
    for (size_t i = 0; i < LENGTH(counts); i++) {
        other = head;
        other.count = counts[i];
        expect_refused(&other, files, HF_CORRUPT);
    }
    other = head;
    other.next = HF_CASK_FILES + 1;
    expect_refused(&other, files, HF_CORRUPT);
    other = head;
    other.clock = UINT64_MAX;
    expect_refused(&other, files, HF_CORRUPT);
}

static void it_is_durable_before_it_has_its_name(void **state)
{
    note_calls();
    a_manifest();
    expect_calls("write sync rename sync-folder");
}

static void a_leftover_is_no_hindrance(void **state)
{
    write_file("MANIFEST.new", "half of one", 11);
    a_manifest();
    assert_false(is_there("MANIFEST.new"));
    assert_int_equal(folder_count(), 1);
}

/* Each call fails in turn: the old one or the new one is there; all but HF_BROKEN say that it is the old one. */
static void a_failed_replace_changes_nothing(void **state)
{
    static const int errors[] = {ENOMEM, EIO, ENOSPC, EROFS};
    unsigned broken = 0, before = descriptors();
    a_manifest();
    for (size_t e = 0; e < LENGTH(errors); e++)
        for (uint64_t n = 1, failed = 1; failed > 0; n++) {
            hf_manifest old, mine, there;
            ok(hf_manifest_read(folder, &old));
            ok(hf_manifest_copy(&old, &mine));
            hf_manifest_remove(&mine, 4);
            struct hf_listed more = listed(9, n);
            ok(hf_manifest_add(&mine, &more));
            hf_fault_arm(HF_FAULT_ANY, n, errors[e]);
            int status = hf_manifest_replace(folder, &mine, NULL);
            failed = hf_fault_failed(HF_FAULT_ANY);
            hf_fault_disarm();
            assert_true(status < 0 || failed == 0);
            assert_int_equal(mine.head.generation, old.head.generation + (status == 0));
            ok(hf_manifest_read(folder, &there));
            if (status == HF_BROKEN) {
                broken++;
                assert_int_equal(there.head.generation, old.head.generation + 1);
            } else {
                expect_same(&there, status == 0 ? &mine : &old);
            }
            assert_int_equal(descriptors(), before);
            hf_manifest_clear(&old);
            hf_manifest_clear(&mine);
            hf_manifest_clear(&there);
        }
    assert_int_equal(broken, LENGTH(errors));
}

static void failures_to_read_leave_nothing(void **state)
{
    unsigned before = descriptors();
    a_manifest();
    for (uint64_t n = 1, failed = 1; failed > 0; n++) {
        hf_manifest out, copy;
        hf_fault_arm(HF_FAULT_ANY, n, EIO);
        int status = hf_manifest_read(folder, &out);
        failed = hf_fault_failed(HF_FAULT_ANY);
        hf_fault_disarm();
        assert_true(status == 0 || status == HF_IO || status == HF_NOMEM);
        if (status == 0) {
            hf_fault_arm(HF_FAULT_ANY, 1, EIO);
            assert_int_equal(hf_manifest_copy(&out, &copy), HF_NOMEM);
            hf_fault_disarm();
            hf_manifest_clear(&out);
        }
        assert_int_equal(descriptors(), before);
    }
    while (manifest.head.count < manifest.room)
        add(10 + manifest.head.count, 1);
    struct hf_listed one_more = listed(3, 1);
    hf_manifest old;
    ok(hf_manifest_copy(&manifest, &old));
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(hf_manifest_add(&manifest, &one_more), HF_NOMEM);
    hf_fault_disarm();
    expect_same(&manifest, &old);
    hf_manifest_clear(&old);
}

static void in_a_small_limit(void)
{
    struct rlimit limit = {150, RLIM_INFINITY};
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    add(1, 1);
    must(hf_manifest_replace(folder, &manifest, NULL) == 0 || hf_os_errno() == EFBIG);
    add(2, 1);
    must(hf_manifest_replace(folder, &manifest, NULL) == HF_NOSPACE);
}

static void a_limit_on_files_is_no_death(void **state)
{
    in_a_child(in_a_small_limit);
}

static void the_bytes_are_these(void **state)
{
    size_t size = a_manifest();
    assert_hex(bytes, size,
               "4861734b6d616e0a01000000020000000000000000000000000000000000000011111111111111112222222222222222"
               "333300000000000009000000000000000500000000000000e8030000000000000068e5cf8b0100000000000000000000"
               "000000000000000001000000010000000010000000000000010000000000000002000000000000000000000000000000"
               "040000000200000000040000000000000100000000000000020000000000000000000000000000003c787beeadde11ce");
}

#define with_manifest(test) cmocka_unit_test_setup_teardown(test, manifest_new, manifest_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_manifest(it_is_what_a_model_says),
        with_manifest(damage_is_noticed),
        with_manifest(what_cannot_be_is_refused),
        with_manifest(it_is_durable_before_it_has_its_name),
        with_manifest(a_leftover_is_no_hindrance),
        with_manifest(a_failed_replace_changes_nothing),
        with_manifest(failures_to_read_leave_nothing),
        with_manifest(a_limit_on_files_is_no_death),
        with_manifest(the_bytes_are_these),
    };

    return cmocka_run_group_tests_name("cask/manifest", tests, NULL, NULL);
}
