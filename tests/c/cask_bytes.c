/*
 * cask_bytes.c: prints the bytes of a small log file, its hint, and a manifest, for the example in docs/format/cask.md.
 * tests/python/test_cask_format.py compares the two. What is random in a cask is not: 0x11, 0x11, ...
 */
#include "cask/hint.h"
#include "cask/manifest.h"

#include <holdfast/status.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NUMBER = 3, ROOM = 4096 };

static const uint64_t id[2] = {UINT64_C(0x1111111111111111), UINT64_C(0x1111111111111111)},
                      seed = UINT64_C(0x1111111111111111);
static const int64_t time = INT64_C(1700000000000);

static char path[64];
static int folder;
static unsigned char file[ROOM];

static void check(int status)
{
    if (status < 0) {
        fprintf(stderr, "cask_bytes: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
}

/* Eight bytes a line. */
static void show(uint64_t at, uint64_t size, const char *what)
{
    for (uint64_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            printf(i == 0 ? "%04" PRIx64 " " : "\n%04" PRIx64 " ", at + i);
        printf(" %02x", file[at + i]);
        if (i == (size < 8 ? size : 8) - 1)
            printf("%*s%s", (int)(size < 8 ? 3 * (8 - size) : 0) + 2, "", what);
    }
    printf("\n");
}

static void read_file(const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, file, ROOM) <= 0)
        check(HF_IO);
    close(fd);
    unlinkat(folder, name, 0);
}

/* -- the log -- */

static void append(hf_log_writer *writer, const hf_record_in *record)
{
    unsigned char bytes[256];
    check(hf_log_append(writer, bytes, hf_record_write(record, writer->file->salt, writer->end, 64, bytes)));
}

static uint64_t make(void)
{
    hf_log_writer writer;
    hf_hint_maker maker;
    hf_manifest manifest = {
        .head = {.id = {id[0], id[1]}, .seed = seed, .next = 4, .sequence = 10, .clock = (uint64_t)time}};
    const hf_span one = hf_span_of("one", 3);
    check(hf_log_create(folder, id, NUMBER, HF_LOG_WRITTEN, time, 10, ROOM, 0, &writer));
    append(&writer, &(hf_record_in){.flags = HF_RECORD_PUT,
                                    .sequence = 11,
                                    .time = time,
                                    .expires = time + 60000,
                                    .key = one,
                                    .value = hf_span_of("first", 5)});
    append(&writer,
           &(hf_record_in){
               .flags = HF_RECORD_DELETE, .sequence = 12, .time = time + 1, .expires = INT64_MAX, .key = one});
    atomic_store(&writer.file->end, writer.end);
    uint64_t end = writer.end;
    check(hf_log_seal(&writer));
    check(hf_hint_from_log(writer.file, id, seed, NULL, NULL, &maker));
    check(hf_hint_write(folder, &maker, end, NULL));
    hf_hint_maker_clear(&maker);
    hf_log_writer_close(&writer);
    check(hf_manifest_add(
        &manifest, &(struct hf_listed){
                       .number = NUMBER, .state = HF_LISTED, .size = end, .first = 11, .last = 12, .generation = 1}));
    check(hf_manifest_replace(folder, &manifest, NULL));
    hf_manifest_clear(&manifest);
    return end;
}

#define LOG(member) offsetof(struct hf_log_head, member)
#define RECORD(at, member) ((at) + offsetof(struct hf_log_record, member))
#define HINT(member) offsetof(struct hf_hint_head, member)
#define MANIFEST(member) offsetof(struct hf_cask_manifest, member)

static void show_record(uint64_t at, uint64_t body, const char *what)
{
    show(RECORD(at, head_checksum), 4, what);
    show(RECORD(at, body_checksum), 4, "  checksum of the body");
    show(RECORD(at, sequence), 8, "  sequence number");
    show(RECORD(at, stamp), 8, "  stamp");
    show(RECORD(at, value_size), 4, "  size of the value");
    show(RECORD(at, synced), 4, "  synced");
    show(at + 32, body, "  body");
}

static void show_log(void)
{
    read_file("0000000003.log");
    printf("0000000003.log\n");
    show(LOG(magic), 8, "magic");
    show(LOG(format), 4, "format");
    show(LOG(kind), 4, "kind");
    show(LOG(id), 16, "id");
    show(LOG(number), 8, "number");
    show(LOG(created), 8, "created");
    show(LOG(after), 8, "after");
    show(LOG(checksum), 8, "checksum");
    show_record(64, 16, "put: checksum of the header");
    show_record(112, 8, "deletion: checksum of the header");
}

static void show_hint(void)
{
    read_file("0000000003.hint");
    printf("\n0000000003.hint\n");
    show(HINT(magic), 8, "magic");
    show(HINT(format), 8, "format");
    show(HINT(id), 16, "id");
    show(HINT(number), 8, "number");
    show(HINT(log_size), 8, "size of the log file");
    show(HINT(count), 8, "entries");
    show(HINT(words), 8, "words of the filter");
    show(HINT(first), 8, "lowest sequence number");
    show(HINT(last), 8, "highest");
    show(HINT(clock), 8, "latest stamp");
    show(HINT(soonest), 8, "earliest expiry");
    show(HINT(checksum), 8, "checksum of the head");
    show(104, 24, "entry: hash, place, sequence number");
    show(128, 24, "entry");
    show(152, 64, "filter");
    show(216, 8, "checksum");
}

static void show_manifest(void)
{
    read_file("MANIFEST");
    printf("\nMANIFEST\n");
    show(MANIFEST(magic), 8, "magic");
    show(MANIFEST(format), 4, "format");
    show(MANIFEST(count), 4, "files");
    show(MANIFEST(compatible), 16, "features");
    show(MANIFEST(id), 16, "id");
    show(MANIFEST(seed), 8, "seed");
    show(MANIFEST(generation), 8, "generation");
    show(MANIFEST(next), 8, "next");
    show(MANIFEST(sequence), 8, "sequence number");
    show(MANIFEST(clock), 8, "clock");
    show(MANIFEST(reserved), 16, "nothing");
    show(104, 8, "a file: number, state");
    show(112, 8, "  size");
    show(120, 16, "  sequence numbers");
    show(136, 8, "  generation");
    show(144, 8, "checksum");
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/hf-bytes-XXXXXX");
    if (mkdtemp(path) == NULL || (folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        check(HF_IO);
    if (make() != 152)
        check(HF_CORRUPT);
    show_log();
    show_hint();
    show_manifest();
    close(folder);
    rmdir(path);
    return EXIT_SUCCESS;
}
