/*
 * value_oracle.c: the codec and the keys for tests/python/test_value_oracle.py, which loads this with ctypes and holds
 * them to what Python says about its own objects. Not installed; not a test by itself.
 *
 * Results that are bytes go into the caller's room; *size is how many they are, also where the room is too small for
 * them (HF_LIMIT then).
 */
#include "value/canonical.h"
#include "value/codec.h"

#include <holdfast/status.h>

#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int value_copy(const uint8_t *bytes, size_t count, uint8_t *out, size_t room, size_t *size);
EXPORTED int value_key(const uint8_t *bytes, size_t count, uint8_t *out, size_t room, size_t *size);
EXPORTED uint64_t value_hash(const uint8_t *bytes, size_t count, uint64_t seed);
EXPORTED void value_describe(const uint8_t *bytes, size_t count, char *out, size_t room);
EXPORTED const char *value_status(int status);

static int give(const uint8_t *bytes, size_t count, uint8_t *out, size_t room, size_t *size)
{
    *size = count;
    if (count > room)
        return HF_LIMIT;
    memcpy(out, bytes, count);
    return 0;
}

/* One value, read item by item and written again. */
int value_copy(const uint8_t *bytes, size_t count, uint8_t *out, size_t room, size_t *size)
{
    hf_value_reader reader;
    hf_value_writer writer;
    hf_value_item item;
    int status;
    hf_value_reader_init(&reader, bytes, count);
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    do {
        status = hf_value_read(&reader, &item);
        if (status == 0)
            status = hf_value_write(&writer, &item);
    } while (status == 0 && reader.depth > 0);
    if (status == 0 && !hf_value_reader_at_end(&reader))
        status = HF_CORRUPT;
    if (status == 0)
        status = give(writer.out.bytes, writer.out.size, out, room, size);
    hf_value_writer_clear(&writer);
    return status;
}

/* The canonical form. */
int value_key(const uint8_t *bytes, size_t count, uint8_t *out, size_t room, size_t *size)
{
    hf_canonical key;
    int status = hf_canonical_init(&key, bytes, count, NULL);
    if (status < 0)
        return status;
    status = give(key.bytes, key.size, out, room, size);
    hf_canonical_clear(&key);
    return status;
}

/* Of a canonical form. */
uint64_t value_hash(const uint8_t *bytes, size_t count, uint64_t seed)
{
    return hf_canonical_hash_bytes(bytes, count, seed);
}

void value_describe(const uint8_t *bytes, size_t count, char *out, size_t room)
{
    hf_value_describe(bytes, count, out, room);
}

const char *value_status(int status)
{
    return hf_status_name(status);
}
