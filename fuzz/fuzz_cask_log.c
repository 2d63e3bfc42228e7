/*
 * What a cask reads from its folder, with any bytes of it changed: log files, hints, manifests. Each gives an answer
 * or a status, never a crash, and what it gives is as its header says, however hostile the bytes are.
 *
 * Nearly all that a fuzzer does to them is found by the first checksum. So an input is not a file but a list of edits
 * to a good one, after which checksums are made right again, if the input says so: then what is behind them is
 * tested, the bounds.
 *
 *      input     [ kind: 1 | flags: 1 | edit | edit | ... ]        kind: of the file
 *      edit      [ place: 4 | how: 1 | value: 8 ]                  how: width, and what becomes of what was there
 *      mend      of a log: its head, and each record that is where a good one was, as far as its header makes it;
 *                of hint and manifest: all their checksums
 *
 * The good files are made once, and are the same each time.
 */
#include "cask/hint.h"
#include "cask/manifest.h"

#include "base/hash.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum kind { LOG, HINT, MANIFEST, KINDS };

enum {
    MEND_HEADS = 1, /* flags */
    MEND_BODIES = 2,
    CUT = 4, /* the file ends early */
    NUMBER = 7,
    SEED = 3,
    RECORDS = 60,
    LARGEST = 1 << 18,
    EDITS = 64,
    HEAD = sizeof(struct hf_log_record),
};

#pragma pack(push, 1)
struct edit {
    uint32_t place;
    uint8_t how;
    uint64_t value;
};
#pragma pack(pop)

static const uint64_t id[2] = {0x1111, 0x2222};
static const char *const names[KINDS] = {"0000000007.log", "0000000007.hint", "MANIFEST"};

static char path[64];
static int folder;
static unsigned char *good[KINDS], *image;
static size_t good_size[KINDS], image_size;
static uint64_t places[RECORDS]; /* of the log's records */
static hf_log_salt salt;

/* -- the good files -- */

static size_t make_record(unsigned n, uint64_t at, unsigned char *out)
{
    static unsigned char bytes[70000];
    hf_record_in record = {.flags = HF_RECORD_PUT, .sequence = n + 1, .time = 1000 + n, .expires = INT64_MAX};

    memset(bytes, (int)n, sizeof bytes);
    snprintf((char *)bytes, sizeof bytes, "key %u", n % 20);
    record.key = hf_span_of(bytes, n == 30 ? sizeof bytes : 7 + n % 5);
    if (n % 7 == 3)
        record.flags = HF_RECORD_DELETE;
    else if (n % 11 == 5)
        record.flags = HF_RECORD_CLOCK, record.key.size = 0;
    else {
        record.value = hf_span_of(bytes, n * 13 % 300);
        record.given = hf_span_of(bytes + 50, n % 3 == 0 ? 1 + n % 40 : 0);
        record.expires = n % 4 == 0 ? 2000 + n : INT64_MAX;
    }
    record.flags |= n % 5 == 0 ? HF_RECORD_MORE : 0;
    REQUIRE(hf_record_size_in(&record) > 0);
    return hf_record_write(&record, salt, at, at / 16 * 8, out);
}

static void make_files(void)
{
    static unsigned char bytes[100000];
    hf_log_writer writer;
    hf_hint_maker maker;
    hf_manifest manifest = {.head = {.id = {id[0], id[1]}, .seed = SEED, .next = 9}};

    REQUIRE(hf_log_create(folder, id, NUMBER, HF_LOG_WRITTEN, 1, 0, LARGEST, 0, &writer) == 0);
    salt = writer.file->salt;
    for (unsigned n = 0; n < RECORDS; n++) {
        places[n] = writer.end;
        REQUIRE(hf_log_append(&writer, bytes, make_record(n, writer.end, bytes)) == 0);
    }
    atomic_store(&writer.file->end, writer.end);
    REQUIRE(hf_hint_from_log(writer.file, id, SEED, NULL, NULL, &maker) == 0);
    REQUIRE(hf_hint_write(folder, &maker, writer.end, NULL) == 0);
    hf_hint_maker_clear(&maker);
    hf_log_writer_close(&writer);
    for (uint32_t i = 1; i < 20; i++) {
        struct hf_listed file = {.number = i * i, .state = 1 + i % 2, .size = 64 + 8 * i, .first = i, .last = i + 1};
        REQUIRE(hf_manifest_add(&manifest, &file) == 0);
    }
    REQUIRE(hf_manifest_replace(folder, &manifest, NULL) == 0);
    hf_manifest_clear(&manifest);
}

static void read_good(enum kind kind)
{
    int fd = openat(folder, names[kind], O_RDONLY | O_CLOEXEC);

    good[kind] = malloc(LARGEST);
    REQUIRE(fd >= 0 && good[kind] != NULL);
    int64_t got = hf_os_pread_all(fd, good[kind], LARGEST, 0);
    REQUIRE(got > 0 && got < LARGEST);
    good_size[kind] = (size_t)got;
    close(fd);
}

static void remove_folder(void)
{
    for (unsigned i = 0; i < KINDS; i++)
        unlinkat(folder, names[i], 0);
    rmdir(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    snprintf(path, sizeof path, "/dev/shm/hf-fuzz-XXXXXX");
    REQUIRE(mkdtemp(path) != NULL);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(folder >= 0);
    atexit(remove_folder);
    make_files();
    for (unsigned i = 0; i < KINDS; i++)
        read_good(i);
    image = malloc(LARGEST);
    REQUIRE(image != NULL);
    return 0;
}

/* -- edits -- */

static void apply(const struct edit *edit)
{
    static const unsigned widths[] = {1, 2, 4, 8};
    unsigned width = widths[edit->how % 4];
    uint64_t at = edit->place % image_size, old = 0;

    /* Half of them go to where a record has its numbers. */
    if (edit->how / 16 % 2 == 0 && image_size == good_size[LOG])
        at = places[edit->place / 64 % RECORDS] + edit->place % 64;
    if (at + width > image_size)
        return;
    memcpy(&old, image + at, width);
    uint64_t value = edit->how / 4 % 4 == 0   ? edit->value
                     : edit->how / 4 % 4 == 1 ? old + edit->value
                     : edit->how / 4 % 4 == 2 ? old ^ edit->value
                                              : UINT64_C(1) << edit->value % 64;
    memcpy(image + at, &value, width);
}

/* The size of the body that a header would have, if it fits. */
static uint64_t size_of_body(const struct hf_log_record *head, uint64_t at)
{
    uint64_t left = image_size - at - HEAD, size = 0;
    unsigned flags = (unsigned)(head->stamp >> 16) & 63;
    uint32_t key = head->stamp & 0xffff, given = 0;
    const unsigned char *body = image + at + HEAD;

    if (flags & HF_RECORD_EXPIRES)
        size += 8;
    if (key == HF_KEY_SIZE_LONG) {
        if (size + 4 <= left)
            memcpy(&key, body + size, 4);
        size += 4;
    }
    if (flags & HF_RECORD_GIVEN) {
        if (size + 4 <= left)
            memcpy(&given, body + size, 4);
        size += 4;
    }
    size += (uint64_t)key + given + head->value_size;
    return size <= left ? size : 0;
}

static void mend_log(uint8_t flags)
{
    if (image_size >= sizeof(struct hf_log_head) && flags & MEND_HEADS) {
        struct hf_log_head *head = (void *)image;
        head->checksum = hf_checksum64(head, offsetof(struct hf_log_head, checksum), HF_CASK_LOG_MAGIC);
    }
    for (unsigned n = 0; n < RECORDS; n++) {
        struct hf_log_record head;
        uint64_t at = places[n];
        if (at + HEAD > image_size)
            continue;
        memcpy(&head, image + at, HEAD);
        if (flags & MEND_BODIES)
            head.body_checksum = hf_checksum32(image + at + HEAD, size_of_body(&head, at), salt.body + head.sequence);
        if (flags & MEND_HEADS)
            head.head_checksum = hf_checksum32(&head.body_checksum, HEAD - 4, salt.head + at);
        memcpy(image + at, &head, HEAD);
    }
}

static void mend(enum kind kind, uint8_t flags)
{
    uint64_t magic = kind == HINT ? HF_CASK_HINT_MAGIC : HF_CASK_MANIFEST_MAGIC, checksum;

    if (kind == LOG) {
        mend_log(flags);
        return;
    }
    if (kind == HINT && flags & MEND_HEADS && image_size >= sizeof(struct hf_hint_head)) {
        checksum = hf_checksum64(image, offsetof(struct hf_hint_head, checksum), magic);
        memcpy(image + offsetof(struct hf_hint_head, checksum), &checksum, sizeof checksum);
    }
    if (flags & MEND_BODIES && image_size >= sizeof checksum) {
        checksum = hf_checksum64(image, image_size - sizeof checksum, magic);
        memcpy(image + image_size - sizeof checksum, &checksum, sizeof checksum);
    }
}

/* -- reading -- */

static void use_record(const unsigned char *bytes, uint64_t end, const hf_record_out *out)
{
    static unsigned char again[LARGEST + 64];
    const hf_span *spans[] = {&out->in.key, &out->in.given, &out->in.value};

    REQUIRE(out->at >= HF_CASK_DATA_AT && out->at % 8 == 0 && out->size >= HEAD && out->size % 8 == 0);
    REQUIRE(out->at <= end && out->size <= end - out->at && out->synced <= out->at && out->in.sequence > 0);
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(spans[i]->size == 0 || (spans[i]->bytes >= bytes + out->at + HEAD &&
                                        spans[i]->bytes + spans[i]->size <= bytes + out->at + out->size));
    /* It is what would be written for what it says. */
    REQUIRE(hf_record_size_in(&out->in) == (int64_t)out->size);
    REQUIRE(hf_record_write(&out->in, salt, out->at, out->synced, again) == out->size);
    REQUIRE(memcmp(again, bytes + out->at, out->size) == 0);
}

static int note_lost(void *arg, uint64_t at, uint64_t size)
{
    uint64_t *lost = arg;

    REQUIRE(size > 0);
    *lost += size;
    return 0;
}

static void use_log(void)
{
    /* A block of just these bytes: what looks behind them is seen. */
    unsigned char *bytes = malloc(image_size + 1);
    hf_record_out out;
    hf_log_file *file;
    hf_hint_maker maker;
    uint64_t at = 0, whole = 0, lost = 0;

    REQUIRE(bytes != NULL);
    bytes = realloc(bytes, image_size == 0 ? 1 : image_size);
    memcpy(bytes, image, image_size);
    while (hf_record_resync(bytes, image_size, at, salt, &out) == 1) {
        REQUIRE(out.at >= at);
        use_record(bytes, image_size, &out);
        at = out.at + out.size;
        whole += out.size;
    }
    for (unsigned n = 0; n < RECORDS; n++) {
        if (hf_record_look(bytes, image_size, places[n], salt, &out) == 1)
            REQUIRE(out.size <= image_size - out.at);
        if (hf_record_read(bytes, image_size, places[n], salt, &out) == 1)
            use_record(bytes, image_size, &out);
    }
    free(bytes);
    if (hf_log_open(folder, id, NUMBER, 0, &file) == 0)
        hf_log_drop(file);
    REQUIRE(hf_log_open_damaged(folder, id, NUMBER, HF_LOG_WRITTEN, 0, &file) == 0);
    if (file->end >= HF_CASK_DATA_AT) {
        REQUIRE(hf_hint_from_log(file, id, SEED, note_lost, &lost, &maker) == 0);
        REQUIRE(HF_CASK_DATA_AT + lost + whole == file->end);
        hf_hint_maker_clear(&maker);
    }
    hf_log_drop(file);
}

static void use_hint(void)
{
    hf_hint hint;

    if (hf_hint_open(folder, id, NUMBER, good_size[LOG], &hint) < 0)
        return;
    for (uint64_t i = 0; i < hint.head->count; i++) {
        uint64_t at = hf_place_offset(hint.entries[i].place);
        REQUIRE(hf_place_file(hint.entries[i].place) == NUMBER && at >= HF_CASK_DATA_AT && at < good_size[LOG]);
        hf_hint_may_have(&hint, hint.entries[i].hash);
    }
    hf_hint_close(&hint);
}

static void use_manifest(void)
{
    hf_manifest manifest, again;

    if (hf_manifest_read(folder, &manifest) < 0)
        return;
    for (uint32_t i = 0; i < manifest.head.count; i++)
        REQUIRE(hf_manifest_find(&manifest, manifest.files[i].number) == &manifest.files[i]);
    REQUIRE(hf_manifest_replace(folder, &manifest, NULL) == 0);
    REQUIRE(hf_manifest_read(folder, &again) == 0);
    REQUIRE(memcmp(&again.head, &manifest.head, sizeof again.head) == 0);
    hf_manifest_clear(&again);
    hf_manifest_clear(&manifest);
}

static void write_image(enum kind kind)
{
    int fd = openat(folder, names[kind], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    REQUIRE(fd >= 0 && pwrite(fd, image, image_size, 0) == (ssize_t)image_size);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct edit edits[EDITS];
    enum kind kind = size > 0 ? data[0] % KINDS : LOG;
    uint8_t flags = size > 1 ? data[1] : 0;
    size_t count = size > 2 ? (size - 2) / sizeof *edits : 0;

    count = count > EDITS ? EDITS : count;
    image_size = good_size[kind];
    memcpy(image, good[kind], image_size);
    if (count > 0)
        memcpy(edits, data + 2, count * sizeof *edits);
    for (size_t i = 0; i < count; i++)
        apply(&edits[i]);
    if (flags & CUT && count > 0)
        image_size = edits[0].value % (image_size + 1);
    mend(kind, flags);
    write_image(kind);
    if (kind == LOG)
        use_log();
    else if (kind == HINT)
        use_hint();
    else
        use_manifest();
    return 0;
}
