/*
 * test_cask_check.c: each fault of a cask is found, and found where it is.
 */
#include "test_cask_support.h"
#include "test_child.h"

typedef struct told {
    hf_cask_fault faults[64];
    unsigned count;
    uint64_t done, of;
    int answer;
} told;

static int tell(void *arg, const hf_cask_fault *fault, uint64_t done, uint64_t of)
{
    told *t = arg;
    assert_true(done <= of);
    assert_true(done >= t->done);
    t->done = done;
    t->of = of;
    if (fault != NULL && t->count < LENGTH(t->faults))
        t->faults[t->count++] = *fault;
    return t->answer;
}

static bool was_told(const told *t, const char *what, uint32_t file, uint64_t at, uint64_t size)
{
    for (unsigned i = 0; i < t->count; i++)
        if (strstr(t->faults[i].what, what) != NULL && t->faults[i].file == file && t->faults[i].at == at &&
            (size == 0 || t->faults[i].size == size))
            return true;
    for (unsigned i = 0; i < t->count; i++)
        fprintf(stderr, "told: %s, file %u, at %u, %u bytes\n", t->faults[i].what, t->faults[i].file,
                (unsigned)t->faults[i].at, (unsigned)t->faults[i].size);
    return false;
}

static const hf_cask_options tiny = {
    .max_file_size = 4096, .checkpoint = 5000, .no_thread = true, .merging = {.by_call = true}};

/* A hundred keys in several files; of key i: where its record is. */
static hf_cask_info infos[100];

static hf_cask *filled(void)
{
    hf_cask *cask = cask_open(&tiny);
    char key[32];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key %u", i);
        cask_put(cask, key, "a value that is not very long, but not short either; it fills the files");
    }
    cask_put(cask, "gone", "x");
    assert_int_equal(hf_cask_delete(cask, "gone", 4), 1);
    cask = cask_again(cask, &tiny);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key %u", i);
        assert_int_equal(hf_cask_info_get(cask, key, strlen(key), &infos[i]), 1);
    }
    return cask;
}

static void damage(const char *name, off_t at)
{
    char path[140];
    unsigned char byte;
    snprintf(path, sizeof path, "%s/%s", cask_path, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void test_right(void **state)
{
    hf_cask *cask = filled();
    hf_cask_options reading = {.mode = HF_CASK_READ};
    hf_cask *reader;
    told t = {0};
    assert_int_equal(hf_cask_check(cask, tell, &t), 0);
    assert_int_equal(t.count, 0);
    assert_true(t.of > 10000 && t.done == t.of);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_open(cask_path, &reading, &reader), 0);
    assert_int_equal(hf_cask_check(reader, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(reader), 0);
    t = (told){.answer = 7};
    assert_int_equal(hf_cask_check(cask, tell, &t), 7);
    assert_int_equal(hf_cask_close(cask), 0);
}

/* Every record's bytes in turn, header and body. */
static void test_records(void **state)
{
    hf_cask *cask = filled();
    for (unsigned i = 3; i < 100; i += 13) {
        char name[32];
        told t = {0};
        snprintf(name, sizeof name, "%010u.log", infos[i].file);
        off_t at = (off_t)(infos[i].offset + (i % 2 == 0 ? 1 : 50));
        damage(name, at);
        assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
        assert_true(was_told(&t, "bytes of a log file are damaged", infos[i].file, infos[i].offset, infos[i].size));
        if (i % 2 == 0)
            assert_true(
                was_told(&t, "the index leads to a record that is damaged", infos[i].file, infos[i].offset, 0));
        damage(name, at);
        assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    }
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_hints(void **state)
{
    hf_cask *cask = filled();
    char path[140];
    for (off_t at = 8; at < 400; at += 57) {
        told t = {0};
        damage("0000000002.hint", at);
        assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
        assert_true(was_told(&t, "a hint is damaged", 2, 0, 0));
        damage("0000000002.hint", at);
    }
    /* One that is right in itself, but says something else. */
    hf_hint_maker maker;
    const hf_log_file *file = hf_log_set_find(hf_index_now(cask)->logs, 2);
    assert_non_null(file);
    assert_int_equal(hf_hint_from_log(file, cask->id, cask->seed, NULL, NULL, &maker), 0);
    uint64_t at = hf_place_offset(maker.entries[3].place);
    maker.entries[3].hash ^= 1;
    assert_int_equal(hf_hint_write(cask->folder, &maker, atomic_load(&file->end), NULL), 0);
    told t = {0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "a hint does not say what a record says", 2, at, 0));
    maker.entries[3].hash ^= 1;
    uint64_t last = hf_place_offset(maker.entries[maker.head.count - 1].place);
    maker.head.count--;
    t = (told){0};
    assert_int_equal(hf_hint_write(cask->folder, &maker, atomic_load(&file->end), NULL), 0);
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "a hint does not say what a record says", 2, last, 0));
    maker.head.count++;
    hf_hint_maker_clear(&maker);
    /* None is no fault. */
    snprintf(path, sizeof path, "%s/0000000002.hint", cask_path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

static void test_folder(void **state)
{
    hf_cask *cask = filled();
    char from[140], to[140];
    told t = {0};
    damage("MANIFEST", 20);
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "the manifest is damaged", 0, 0, 0));
    damage("MANIFEST", 20);
    /* So that files are listed. */
    for (unsigned i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %u", i);
        cask_put(cask, key, "another");
    }
    cask = cask_again(cask, &tiny);
    assert_int_equal(hf_cask_merge(cask, 1, NULL), 0);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_true(cask->manifest.head.count > 0);
    const struct hf_listed listed = cask->manifest.files[0];
    snprintf(from, sizeof from, "%s/%010u.log", cask_path, listed.number);
    snprintf(to, sizeof to, "%s/elsewhere", cask_scratch);
    assert_int_equal(rename(from, to), 0);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "is not there", listed.number, 0, listed.size));
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(truncate(from, (off_t)listed.size + 8), 0);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "not as long as", listed.number, listed.size, 8));
    assert_int_equal(truncate(from, (off_t)listed.size), 0);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

typedef struct match {
    hf_cask *cask;
    uint64_t place;
} match;

static int is_place(void *arg, uint64_t place)
{
    return ((match *)arg)->place == place;
}

/* The keydir says something else than the log. */
static void test_keydir(void **state)
{
    hf_cask *cask = filled();
    const hf_cask_info *info = &infos[40];
    uint64_t hash = hf_canonical_hash_bytes("", 0, 0), place = 0, old, found;
    hf_region_cursor cursor;
    hf_view view;
    hf_txn *txn;
    /* The entry of key 40. */
    assert_int_equal(hf_view_pin(cask->keydir, &view), 0);
    assert_int_equal(hf_keydir_walk_begin(&cursor, &view), 0);
    while (hf_keydir_walk_next(&cursor, &hash, &found) > 0 && place == 0)
        if (hf_place_file(found) == info->file && hf_place_offset(found) == info->offset) {
            place = found;
            break;
        }
    hf_view_unpin(&view);
    assert_true(place != 0);
    match m = {cask, place};
    /* It is not there. */
    assert_int_equal(hf_txn_begin(cask->keydir, -1, &txn), 0);
    assert_int_equal(hf_keydir_unset(txn, hash, is_place, &m, &old), 1);
    assert_int_equal(hf_txn_commit(txn), 0);
    told t = {0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "the index has no record of the key", info->file, info->offset, info->size));
    assert_true(was_told(&t, "what is noted", info->file, 0, 0) || hf_place_file(cask->meta.position) == info->file);
    /* It leads to another key's record. */
    uint64_t other = hf_cask_place(infos[41].file, infos[41].offset, infos[41].size, false) + 0;
    assert_int_equal(hf_txn_begin(cask->keydir, -1, &txn), 0);
    assert_int_equal(hf_keydir_set(txn, hash, other, is_place, &m, &old), 1);
    assert_int_equal(hf_txn_commit(txn), 0);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "the index leads to another record", infos[41].file, infos[41].offset, 0));
    /* It leads to a file that is not there. */
    match wrong = {cask, other};
    uint64_t nowhere = hf_cask_place(77777, 64, info->size, false);
    assert_int_equal(hf_txn_begin(cask->keydir, -1, &txn), 0);
    assert_int_equal(hf_keydir_set(txn, hash, nowhere, is_place, &wrong, &old), 0);
    assert_int_equal(hf_txn_commit(txn), 0);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "a log file that is not there", 77777, 64, 0));
    assert_int_equal(hf_cask_close(cask), 0);
}

/* An older record, and one that was deleted. */
static void test_order(void **state)
{
    hf_cask *cask = filled();
    hf_cask_info newer;
    cask_put(cask, "key 40", "newer");
    assert_int_equal(hf_cask_info_get(cask, "key 40", 6, &newer), 1);
    hf_index *index = hf_index_now(cask);
    uint32_t visible = hf_tail_visible(index->active);
    told t = {0};
    assert_int_equal(hf_cask_check(cask, tell, &t), 0);
    /* As though it had not been told of. */
    atomic_store(&index->active->visible, visible - 1);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "the index leads to an older record", newer.file, newer.offset, newer.size));
    atomic_store(&index->active->visible, visible);
    assert_int_equal(hf_cask_delete(cask, "key 41", 6), 1);
    atomic_store(&index->active->visible, visible);
    t = (told){0};
    assert_int_equal(hf_cask_check(cask, tell, &t), HF_CORRUPT);
    assert_true(was_told(&t, "a record that was deleted", newer.file, newer.offset + newer.size, 0));
    atomic_store(&index->active->visible, visible + 1);
    assert_int_equal(hf_cask_check(cask, NULL, NULL), 0);
    assert_int_equal(hf_cask_close(cask), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cask_test(test_right),  cask_test(test_records), cask_test(test_hints),
                                       cask_test(test_folder), cask_test(test_keydir),  cask_test(test_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
