/*
 * Any bytes are one encoded value or damage, never a crash. If they are one: written again item by item they are the
 * same bytes; skipped, described, put into a word and made a key they hold together.
 *
 * The first byte says how the rest is used: as it is, or as the members of a container, which the writer has to put
 * in order (of a set or frozenset) and a key makes unique.
 */
#include "value/canonical.h"
#include "value/codec.h"
#include "value/word.h"

#include <holdfast/status.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* Copies items until no value is open. */
static int copy_value(hf_value_reader *reader, hf_value_writer *writer)
{
    hf_value_item item;
    unsigned depth = reader->depth;
    do {
        int status = hf_value_read(reader, &item);
        if (status < 0)
            return status;
        status = hf_value_write(writer, &item);
        REQUIRE(status == 0 || (status == HF_LIMIT && writer->depth == HF_VALUE_DEPTH_MAX));
        if (status < 0)
            return status;
    } while (reader->depth > depth);
    return 0;
}

/* Whatever the bytes are. */
static void describe(const uint8_t *bytes, size_t size)
{
    char text[300];
    for (size_t room = 4; room <= sizeof text; room += 74) {
        memset(text, 0x7f, sizeof text);
        hf_value_describe(bytes, size, text, room);
        REQUIRE(strlen(text) < room);
        REQUIRE(room == sizeof text || text[room] == 0x7f);
        for (const char *at = text; *at != '\0'; at++)
            REQUIRE(*at >= 0x20 && *at < 0x7f);
    }
}

static void make_key(const uint8_t *bytes, size_t size, bool is_value)
{
    hf_canonical key, again;
    const char *reason = NULL;
    int status = hf_canonical_init(&key, bytes, size, &reason);
    if (status < 0) {
        REQUIRE(reason != NULL);
        REQUIRE(is_value ? status == HF_BAD_TYPE || status == HF_BAD_VALUE : status != HF_NOMEM);
        return;
    }
    REQUIRE(is_value);
    if (hf_value_check(key.bytes, key.size, NULL) == 0) {
        REQUIRE(hf_canonical_init(&again, key.bytes, key.size, NULL) == 0);
        REQUIRE(hf_canonical_equal(&key, &again) && hf_canonical_hash(&key, 1) == hf_canonical_hash(&again, 1));
        hf_canonical_clear(&again);
    }
    hf_canonical_clear(&key);
}

static void make_word(const uint8_t *bytes, size_t size, bool is_value)
{
    hf_word word;
    hf_value_writer writer;
    int status = hf_word_from_encoded(bytes, size, &word);
    REQUIRE(is_value ? status >= 0 : status == HF_CORRUPT);
    if (status != 1)
        return;
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    REQUIRE(hf_word_check(word) == 0 && hf_word_write(word, &writer) == 0);
    REQUIRE(writer.out.size == size && memcmp(writer.out.bytes, bytes, size) == 0);
    hf_value_writer_clear(&writer);
}

static void as_it_is(const uint8_t *bytes, size_t size)
{
    hf_value_reader reader;
    hf_value_writer writer;
    hf_value_reader_init(&reader, bytes, size);
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    int status = copy_value(&reader, &writer);
    bool is_value = status == 0 && hf_value_reader_at_end(&reader);
    const char *reason = NULL;
    REQUIRE((hf_value_check(bytes, size, &reason) == 0) == is_value);
    REQUIRE(is_value || reason != NULL);
    if (status == 0)
        REQUIRE(writer.out.size == reader.at && memcmp(writer.out.bytes, bytes, reader.at) == 0);
    hf_value_writer_clear(&writer);
    describe(bytes, size);
    make_word(bytes, size, is_value);
    make_key(bytes, size, is_value);
}

/* The values that the bytes begin with, as members. */
static void as_members(const uint8_t *bytes, size_t size, hf_value_kind kind)
{
    hf_value_reader reader;
    hf_value_writer writer;
    uint64_t count = 0;
    hf_value_reader_init(&reader, bytes, size);
    while (hf_value_skip(&reader) == 0)
        count++;
    hf_value_reader_init(&reader, bytes, size);
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    uint64_t pairs = count / 2;
    count = kind == HF_VALUE_DICT ? 2 * pairs : count;
    hf_value_item container = {.kind = kind, .count = kind == HF_VALUE_DICT ? pairs : count};
    REQUIRE(hf_value_write(&writer, &container) == 0);
    for (uint64_t i = 0; i < count; i++) {
        if (copy_value(&reader, &writer) < 0) {
            hf_value_writer_clear(&writer); /* too deep, with one level more */
            return;
        }
    }
    REQUIRE(hf_value_write_end(&writer) == 0);
    as_it_is(writer.out.bytes, writer.out.size);
    hf_value_writer_clear(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hf_value_kind containers[] = {HF_VALUE_FROZENSET, HF_VALUE_TUPLE, HF_VALUE_SET, HF_VALUE_DICT,
                                               HF_VALUE_LIST};
    if (size == 0)
        return 0;
    size_t use = data[0] % 8;
    if (use < sizeof containers / sizeof *containers)
        as_members(data + 1, size - 1, containers[use]);
    else
        as_it_is(data + 1, size - 1);
    return 0;
}
