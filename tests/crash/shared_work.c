/*
 * shared_work.c: keys, values and the model of shared_lab.h.
 */
#include "shared_lab.h"

#include "base/hash.h"
#include "base/os.h"
#include "value/codec.h"

/* -- keys -- */

enum key_kind { KEY_INT, KEY_STR, KEY_BYTES, KEY_NUMBER, KEY_TUPLE, KEY_FLOAT, KEY_KINDS };

unsigned lab_form(unsigned number, unsigned form)
{
    const unsigned kind = number % KEY_KINDS;

    return kind == KEY_NUMBER || kind == KEY_TUPLE ? form : 0;
}

/* (number, 'x'), the number an int or a float. */
static hf_datum tuple_key(unsigned number, unsigned form, struct lab_text *text)
{
    hf_datum datum = {.kind = HF_DATUM_OTHER, .data = text->bytes};
    hf_value_writer writer;

    hf_value_writer_init(&writer, text->bytes, sizeof(text->bytes), sizeof(text->bytes));
    hf_value_write_tuple(&writer, 2);
    if (form == 0)
        hf_value_write_int64(&writer, number);
    else
        hf_value_write_double(&writer, number);
    hf_value_write_str(&writer, "x", 1);
    hf_value_write_end(&writer);
    HF_LAB_REQUIRE(hf_value_writer_is_whole(&writer) && writer.out.bytes == text->bytes);
    datum.size = writer.out.size;
    return datum;
}

hf_datum lab_key(unsigned number, unsigned form, struct lab_text *text)
{
    int size;

    switch ((enum key_kind)(number % KEY_KINDS)) {
    case KEY_INT:
        return hf_datum_int(number);
    case KEY_NUMBER:
        return form == 0 ? hf_datum_int(number) : hf_datum_float(number);
    case KEY_FLOAT:
        return hf_datum_float(number + 0.5);
    case KEY_TUPLE:
        return tuple_key(number, form, text);
    default:
        size = snprintf((char *)text->bytes, sizeof(text->bytes), "key %u", number);
        return number % KEY_KINDS == KEY_STR ? hf_datum_text((const char *)text->bytes, (size_t)size)
                                             : hf_datum_bytes(text->bytes, (size_t)size);
    }
}

static bool same_datum(const hf_datum *a, const hf_datum *b)
{
    return a->kind == b->kind && a->truth == b->truth && a->integer == b->integer && a->real == b->real &&
           a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

bool lab_key_number(const hf_datum *key, unsigned *number, unsigned *form)
{
    for (unsigned i = 0; i < 2 * LAB_KEYS; i++) {
        struct lab_text text;
        const hf_datum one = lab_key(i / 2, i % 2, &text);

        if (same_datum(key, &one)) {
            *number = i / 2;
            *form = i % 2;
            return true;
        }
    }
    return false;
}

/* -- values -- */

enum value_kind { VALUE_BYTES, VALUE_STR = 3, VALUE_INT = 4, VALUE_TUPLE = 5 };

static size_t size_of(uint64_t value)
{
    const size_t bits = (size_t)(value >> 8);

    if (value % 64 == 1)
        return 4000 + bits % (LAB_LONGEST - 4000);
    return 8 + bits % (value % 8 == 2 ? 2000 : 90);
}

static hf_datum bytes_value(uint64_t value)
{
    static _Thread_local uint8_t bytes[LAB_LONGEST];
    const size_t size = size_of(value);

    for (size_t at = 0; at < size; at += 8) {
        const uint64_t word = at == 0 ? value : hf_hash_u64(value, at);

        memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
    }
    return hf_datum_bytes(bytes, size);
}

static hf_datum tuple_value(uint64_t value)
{
    static _Thread_local uint8_t bytes[64];
    hf_datum datum = {.kind = HF_DATUM_OTHER, .data = bytes};
    hf_value_writer writer;

    hf_value_writer_init(&writer, bytes, sizeof(bytes), sizeof(bytes));
    hf_value_write_tuple(&writer, 2);
    hf_value_write_int64(&writer, (int64_t)value);
    hf_value_write_none(&writer);
    hf_value_write_end(&writer);
    datum.size = writer.out.size;
    return datum;
}

hf_datum lab_value(uint64_t value)
{
    static _Thread_local char text[32];

    switch (value % 8) {
    case VALUE_INT:
        return hf_datum_int((int64_t)value);
    case VALUE_STR:
        snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
        return hf_datum_str(text);
    case VALUE_TUPLE:
        return tuple_value(value);
    default:
        return bytes_value(value);
    }
}

uint64_t lab_value_number(const hf_datum *datum)
{
    uint64_t value = 0;

    if (datum->kind == HF_DATUM_INT) {
        value = (uint64_t)datum->integer;
    } else if (datum->kind == HF_DATUM_STR && datum->size < 32) {
        char text[32] = "";

        memcpy(text, datum->data, datum->size);
        value = strtoull(text, NULL, 10);
    } else if (datum->kind == HF_DATUM_BYTES && datum->size >= sizeof(value)) {
        memcpy(&value, datum->data, sizeof(value));
    } else if (datum->kind == HF_DATUM_OTHER) {
        hf_value_reader reader;
        hf_value_item item;
        int64_t number = 0;

        hf_value_reader_init(&reader, datum->data, datum->size);
        if (hf_value_read(&reader, &item) == 0 && item.kind == HF_VALUE_TUPLE && hf_value_read(&reader, &item) == 0 &&
            item.kind == HF_VALUE_INT && hf_span_int64(item.span, &number))
            value = (uint64_t)number;
    }
    if (value == 0)
        return 0;
    const hf_datum again = lab_value(value);

    return same_datum(datum, &again) ? value : 0;
}

uint64_t lab_draw(struct hf_random *random, bool large)
{
    const uint64_t value = hf_random_next(random) & ~(uint64_t)63;
    const uint64_t way = hf_random_below(random, 24);

    if (way == 0 && large)
        return value | 1;
    if (way < 3)
        return value | 2;
    if (way < 10)
        return (value >> 20 & ~(uint64_t)63) | VALUE_INT; /* so that it can be added to for a while */
    return value | (way < 14 ? VALUE_STR : way < 18 ? VALUE_TUPLE : 6);
}

/* -- the model -- */

uint64_t lab_digest(const struct lab_state *state)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < LAB_KEYS; i++)
        if (state->value[i] != 0)
            sum += hf_hash_u64(state->value[i], hf_hash_u64(i, state->form[i] + 2));
    return hf_hash_u64(sum, 5);
}

void lab_state_set(struct lab_state *state, unsigned key, unsigned form, uint64_t value)
{
    if (state->value[key] == 0)
        state->form[key] = (unsigned char)lab_form(key, form);
    state->value[key] = value;
}

static int read_one(void *arg, const hf_datum *key, const hf_datum *value)
{
    struct lab_state *state = arg;
    unsigned number, form;
    const uint64_t found = lab_value_number(value);

    if (found == 0 || !lab_key_number(key, &number, &form) || state->value[number] != 0)
        return HF_INVALID;
    lab_state_set(state, number, form, found);
    return 0;
}

int lab_read(const hf_shared_snapshot *snapshot, struct lab_state *out)
{
    uint64_t count = 0;

    memset(out, 0, sizeof(*out));
    const int status = hf_shared_snapshot_walk(snapshot, read_one, out);

    for (unsigned i = 0; i < LAB_KEYS; i++)
        count += out->value[i] != 0;
    return status < 0 ? status : count == hf_shared_snapshot_count(snapshot) ? 0 : HF_INVALID;
}

int lab_open(const char *folder, bool make, hf_shared **out)
{
    const hf_shared_options options = {
        .mode = make ? HF_SHARED_EITHER : HF_SHARED_ATTACH, .timeout = -1, .max_size = LAB_MEMORY};
    char path[512];
    int fd, status;

    snprintf(path, sizeof(path), "%s/map", folder);
    fd = hf_os_open(path, make ? O_RDWR | O_CREAT : O_RDWR, 0600);
    if (fd < 0)
        return fd == -ENOENT ? HF_ABSENT : hf_os_status(fd);
    status = hf_shared_open_fd(fd, "map", &options, out);
    hf_os_close(fd);
    /* Whoever made it was killed before it was one. */
    return status == HF_NOT_REGION && !make ? HF_ABSENT : status;
}
