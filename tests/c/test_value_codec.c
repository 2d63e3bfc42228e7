/*
 * The codec: random values come back, encodings are unique, damage is found, and a call that fails has done nothing.
 */
#include "test_value_support.h"

#include "value/utf8.h"

/* -- reading into a tree, and comparing -- */

static node *read_node(hf_value_reader *reader)
{
    hf_value_item item;
    uint64_t count;
    ok(hf_value_read(reader, &item));
    assert_int_not_equal(item.kind, HF_VALUE_END);
    if (!hf_item_opens(&item, &count))
        return node_new(&item, 0);
    node *made = node_new(&item, (size_t)count);
    for (size_t i = 0; i < count; i++)
        made->children[i] = read_node(reader);
    ok(hf_value_read(reader, &item));
    assert_int_equal(item.kind, HF_VALUE_END);
    return made;
}

static bool same_moment(const hf_value_moment *a, const hf_value_moment *b)
{
    bool offset = a->zone == HF_ZONE_FIXED || a->has_offset;
    return a->us == b->us && a->zone == b->zone && a->fold == b->fold && a->has_offset == b->has_offset &&
           a->fold_matters == b->fold_matters && a->has_name == b->has_name && same_bytes(a->name, b->name) &&
           (!offset || a->offset_us == b->offset_us);
}

static bool same_item(const hf_value_item *a, const hf_value_item *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case HF_VALUE_NONE:
        return true;
    case HF_VALUE_BOOL:
        return a->truth == b->truth;
    case HF_VALUE_FLOAT:
        return a->bits[0] == b->bits[0];
    case HF_VALUE_COMPLEX:
        return a->bits[0] == b->bits[0] && a->bits[1] == b->bits[1];
    case HF_VALUE_TUPLE:
    case HF_VALUE_FROZENSET:
    case HF_VALUE_LIST:
    case HF_VALUE_DICT:
    case HF_VALUE_SET:
        return a->count == b->count;
    case HF_VALUE_DATE:
        return a->ordinal == b->ordinal;
    case HF_VALUE_TIME:
    case HF_VALUE_DATETIME:
    case HF_VALUE_TIMEZONE:
        return same_moment(&a->moment, &b->moment);
    case HF_VALUE_TIMEDELTA:
        return a->delta.days == b->delta.days && a->delta.seconds == b->delta.seconds && a->delta.us == b->delta.us;
    case HF_VALUE_DECIMAL:
        return a->decimal.kind == b->decimal.kind && a->decimal.negative == b->decimal.negative &&
               a->decimal.exponent == b->decimal.exponent && same_bytes(a->decimal.pairs, b->decimal.pairs);
    case HF_VALUE_FRACTION:
        return same_bytes(a->fraction.numerator, b->fraction.numerator) &&
               same_bytes(a->fraction.denominator, b->fraction.denominator);
    case HF_VALUE_UUID:
        return memcmp(a->uuid.bytes, b->uuid.bytes, 16) == 0 && a->uuid.safety == b->uuid.safety;
    case HF_VALUE_ENUM:
        return same_bytes(a->member.module, b->member.module) &&
               same_bytes(a->member.class_name, b->member.class_name) &&
               same_bytes(a->member.member, b->member.member) && a->member.by_number == b->member.by_number &&
               a->member.has_base == b->member.has_base;
    default:
        return same_bytes(a->span, b->span);
    }
}

static int compare_spans(const void *left, const void *right)
{
    const hf_span *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* The members of `read` are those of `made`, in the order of their encodings. */
static void assert_same_members(const node *made, const node *read)
{
    hf_span *members = arena_take((made->count + 1) * sizeof *members);
    for (size_t i = 0; i < made->count; i++)
        members[i] = encode_node(made->children[i]);
    qsort(members, made->count, sizeof *members, compare_spans);
    for (size_t i = 0; i < made->count; i++)
        assert_true(same_bytes(members[i], encode_node(read->children[i])));
}

static void assert_same(const node *made, const node *read)
{
    assert_true(same_item(&made->item, &read->item));
    assert_int_equal(made->count, read->count);
    if (hf_kind_is_sorted(made->item.kind)) {
        assert_same_members(made, read);
        return;
    }
    for (size_t i = 0; i < made->count; i++)
        assert_same(made->children[i], read->children[i]);
}

static void random_values_come_back(void **state)
{
    random_source random = {1};
    unsigned seen[HF_VALUE_KIND_COUNT] = {0};
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        arena_used = 0;
        hf_value_reader reader;
        node *made = random_value(&random, 3, HF_VALUE_END);
        hf_span bytes = encode_node(made);
        seen[made->item.kind]++;
        ok(hf_value_check(bytes.bytes, bytes.size, NULL));
        hf_value_reader_init(&reader, bytes.bytes, bytes.size);
        node *read = read_node(&reader);
        assert_true(hf_value_reader_at_end(&reader));
        assert_same(made, read);
        assert_true(same_bytes(encode_node(read), bytes));
    }
    for (int kind = 0; kind < HF_VALUE_END; kind++)
        assert_true(seen[kind] > 100);
}

static void values_follow_each_other(void **state)
{
    hf_value_writer writer;
    hf_value_reader reader;
    hf_value_item item;
    uint8_t storage[64];
    hf_value_writer_init(&writer, storage, sizeof storage, SIZE_MAX);
    for (int i = 0; i < 10; i++) {
        ok(hf_value_write_int64(&writer, i));
        ok(hf_value_write_tuple(&writer, 0));
        assert_false(hf_value_writer_is_whole(&writer));
        ok(hf_value_write_end(&writer));
    }
    assert_ptr_equal(writer.out.bytes, storage);
    hf_value_reader_init(&reader, storage, writer.out.size);
    for (int i = 0; i < 10; i++) {
        int64_t number;
        ok(hf_value_read(&reader, &item));
        assert_true(hf_span_int64(item.span, &number) && number == i);
        ok(hf_value_skip(&reader));
    }
    assert_true(hf_value_reader_at_end(&reader));
    assert_int_equal(hf_value_read(&reader, &item), HF_CORRUPT);
    assert_int_equal(hf_value_skip(&reader), HF_CORRUPT);
    hf_value_writer_clear(&writer);
}

/* Bytes in hex, with blanks where they make it easier to read. */
static hf_span from_hex(const char *text)
{
    char *joined = arena_take(strlen(text) + 1);
    size_t size = 0;
    for (; *text != '\0'; text++)
        if (*text != ' ')
            joined[size++] = *text;
    joined[size] = '\0';
    return take_hex(&(notation){.at = joined});
}

/* -- layouts: what docs/format/value.md shows -- */

static const struct {
    const char *value, *bytes;
} layouts[] = {
    {"N", "01"},
    {"F", "02"},
    {"T", "03"},
    {"f1.5", "04000000000000f83f"},
    {"c1,-0.5", "05000000000000f03f000000000000e0bf"},
    {"a0102", "06020102"},
    {"{i2 i1}", "0702 1101 1102"},
    {"D738886", "08 46460b"},
    {"t45296000007", "09 00 071cda8b0a"},
    {"t45296000007@Etc/UTC+0~", "09 0e 071cda8b0a 0000000000 47 4574632f555443"},
    {"m63839664000000000", "0a 00 00e04c0fd6cde200"},
    {"m63839664000000000+3600000000", "0a 01 00e04c0fd6cde200 00a493d600 01"},
    {"m63839664000000000@Europe/Rome!7200000000", "0a 1a 00e04c0fd6cde200 004827ad01 4b 4575726f70652f526f6d65"},
    {"m0%+0:p8004", "0a 0b 0000000000000000 0000000000 20028004"},
    {"x-1,86399,999999", "0b ffffffff 7f5101 3f420f"},
    {"z+-3600000000=X", "0c 005c6c29ff 4158"},
    {"ZEurope/Rome", "0d 4b 4575726f70652f526f6d65"},
    {"d-12.50", "0e 04 03 02 0c32"},
    {"d123", "0e 00 00 02 0117"},
    {"d0E+5", "0e 00 0a 00"},
    {"d-Infinity", "0e 05"},
    {"dsNaN7", "0e 03 01 07"},
    {"r-1/3", "0f 11ff 1103"},
    {"i0", "10"},
    {"i-1", "11ff"},
    {"i127", "117f"},
    {"i128", "128000"},
    {"i12345", "123930"},
    {"i-9223372036854775808", "180000000000000080"},
    {"u000102030405060708090a0b0c0d0e0f", "1a 000102030405060708090a0b0c0d0e0f"},
    {"us000102030405060708090a0b0c0d0e0f", "1b 000102030405060708090a0b0c0d0e0f"},
    {"un000102030405060708090a0b0c0d0e0f", "1c 000102030405060708090a0b0c0d0e0f"},
    {"em.Colour.RED", "1d 416d 46436f6c6f7572 43524544"},
    {"em.Flags#3", "1d 416d 45466c616773 1103"},
    {"em.Size.S=i1", "1e 416d 4453697a65 4153 1101"},
    {"ojson:sx", "1f 446a736f6e 4178"},
    {"p80042e", "20 03 80042e"},
    {"s", "40"},
    {"sabc", "43616263"},
    {"b00ff", "8200ff"},
    {"()", "a0"},
    {"(i1 sx)", "a2 1101 4178"},
    {"[]", "b0"},
    {"[i1 [i2]]", "b2 1101 b1 1102"},
    {"<>", "c0"},
    {"<sb i1 sa N>", "c2 4162 1101 4161 01"},
    {"S{}", "d0"},
    {"S{i2 i1}", "d2 1101 1102"},
};

static void layouts_are_as_documented(void **state)
{
    for (size_t i = 0; i < LENGTH(layouts); i++) {
        char hex[512] = "";
        arena_used = 0;
        hf_span bytes = encoded(layouts[i].value);
        for (size_t j = 0; j < bytes.size; j++)
            snprintf(hex + 2 * j, sizeof hex - 2 * j, "%02x", bytes.bytes[j]);
        if (!same_bytes(bytes, from_hex(layouts[i].bytes)))
            fail_msg("%s is %s, not %s", layouts[i].value, hex, layouts[i].bytes);
    }
}

/* The order of a dict is its own: two orders are two values. */
static void a_dict_keeps_its_order(void **state)
{
    assert_true(same_bytes(encoded("<sb i1 sa i2>"), from_hex("c2 4162 1101 4161 1102")));
    assert_true(same_bytes(encoded("<sa i2 sb i1>"), from_hex("c2 4161 1102 4162 1101")));
    assert_true(same_bytes(encoded("<>"), from_hex("c0")));
}

/* Tags with a length in them, and behind them, on both sides of the border. */
static void lengths_have_their_shortest_form(void **state)
{
    static const struct {
        hf_value_kind kind;
        unsigned tag, tag_long;
    } counted[] = {{HF_VALUE_STR, 0x40, 0x7f}, {HF_VALUE_BYTES, 0x80, 0x9f}, {HF_VALUE_INT, 0x10, 0x19}};
    for (size_t i = 0; i < LENGTH(counted); i++) {
        for (size_t size = 0; size < 300; size++) {
            arena_used = 0;
            uint8_t *bytes = arena_take(size + 1);
            memset(bytes, 'x', size);
            node *made = node_new(&(hf_value_item){.kind = counted[i].kind, .span = {bytes, size}}, 0);
            hf_span found = encode_node(made);
            size_t border = counted[i].tag_long - counted[i].tag;
            assert_int_equal(found.bytes[0], size < border ? counted[i].tag + size : counted[i].tag_long);
            assert_int_equal(found.size, size + (size < border ? 1 : size < 128 ? 2 : 3));
        }
    }
}

static node *small_value(random_source *random, size_t most, hf_span *bytes)
{
    node *made;
    do {
        arena_used = 0;
        made = random_value(random, 3, HF_VALUE_END);
        *bytes = encode_node(made);
    } while (bytes->size > most);
    return made;
}

/* Containers, likewise; a dict's count is its pairs. */
static void counts_have_their_shortest_form(void **state)
{
    static const struct {
        hf_value_kind kind;
        unsigned tag, tag_long;
    } counted[] = {{HF_VALUE_TUPLE, 0xa0, 0xaf},
                   {HF_VALUE_LIST, 0xb0, 0xbf},
                   {HF_VALUE_DICT, 0xc0, 0xcf},
                   {HF_VALUE_SET, 0xd0, 0xdf}};
    for (size_t i = 0; i < LENGTH(counted); i++) {
        for (size_t count = 0; count < 300; count++) {
            arena_used = 0;
            hf_value_item item = {.kind = counted[i].kind, .count = count};
            size_t members = item.kind == HF_VALUE_DICT ? 2 * count : count;
            node *made = node_new(&item, members);
            for (size_t j = 0; j < members; j++)
                made->children[j] = node_new(&(hf_value_item){.kind = HF_VALUE_NONE}, 0);
            hf_span found = encode_node(made);
            size_t border = counted[i].tag_long - counted[i].tag;
            assert_int_equal(found.bytes[0], count < border ? counted[i].tag + count : counted[i].tag_long);
            assert_int_equal(found.size, members + (count < border ? 1 : count < 128 ? 2 : 3));
            ok(hf_value_check(found.bytes, found.size, NULL));
        }
    }
}

/* A reader and a writer for callers who keep account of what is open: the same items, one by one. */
static void items_can_be_taken_and_put_alone(void **state)
{
    random_source random = {11};
    for (uint64_t i = 0, most = rounds(2000); i < most; i++) {
        hf_span bytes;
        hf_buffer out;
        small_value(&random, 400, &bytes);
        hf_buffer_init(&out, NULL, 0, SIZE_MAX);
        for (size_t at = 0, taken; at < bytes.size; at += taken) {
            hf_value_item item;
            const char *reason;
            ok(hf_value_take(bytes.bytes + at, bytes.size - at, &item, &taken, &reason));
            assert_true(taken > 0 && taken <= bytes.size - at);
            ok(hf_value_put(&out, &item));
            for (size_t cut = 0; cut < taken; cut++) {
                size_t untouched = taken;
                hf_value_item same = item;
                assert_int_equal(hf_value_take(bytes.bytes + at, cut, &same, &untouched, &reason), HF_CORRUPT);
                assert_true(untouched == taken && same.kind == item.kind && reason != NULL);
            }
        }
        assert_true(same_bytes(hf_span_of(out.bytes, out.size), bytes));
        out.limit = out.size;
        assert_int_equal(hf_value_put(&out, &(hf_value_item){.kind = HF_VALUE_NONE}), HF_LIMIT);
        assert_int_equal(hf_value_put(&out, &(hf_value_item){.kind = HF_VALUE_END}), HF_INVALID);
        assert_int_equal(out.size, bytes.size);
        hf_buffer_clear(&out);
    }
}

/* -- damage -- */

/* Writes again what is read; the result of the first call that fails. */
static int copy(const uint8_t *bytes, size_t size, hf_value_writer *writer)
{
    hf_value_reader reader;
    hf_value_item item;
    hf_value_reader_init(&reader, bytes, size);
    do {
        int status = hf_value_read(&reader, &item);
        if (status < 0)
            return status;
        ok(hf_value_write(writer, &item));
    } while (reader.depth > 0);
    return hf_value_reader_at_end(&reader) ? 0 : HF_CORRUPT;
}

/* Either they are one value, and its only encoding, or damaged, and there is a reason. Returns which. */
static bool assert_unique_or_corrupt(const uint8_t *bytes, size_t size)
{
    static uint8_t storage[1 << 16];
    hf_value_writer writer;
    const char *reason = NULL;
    char text[64];
    hf_value_writer_init(&writer, storage, sizeof storage, SIZE_MAX);
    int status = copy(bytes, size, &writer);
    assert_int_equal(hf_value_check(bytes, size, &reason), status);
    hf_value_describe(bytes, size, text, sizeof text);
    if (status < 0) {
        assert_int_equal(status, HF_CORRUPT);
        assert_non_null(reason);
    } else {
        assert_int_equal(writer.out.size, size);
        assert_memory_equal(writer.out.bytes, bytes, size);
    }
    hf_value_writer_clear(&writer);
    return status == 0;
}

static void every_truncation_is_damage(void **state)
{
    random_source random = {2};
    for (uint64_t i = 0, most = rounds(3000); i < most; i++) {
        hf_span bytes;
        small_value(&random, 300, &bytes);
        for (size_t size = 0; size < bytes.size; size++) {
            /* In memory of its own, so that a sanitizer sees a read behind it. */
            uint8_t *cut = malloc(size == 0 ? 1 : size);
            assert_non_null(cut);
            memcpy(cut, bytes.bytes, size);
            assert_false(assert_unique_or_corrupt(cut, size));
            free(cut);
        }
    }
}

static void a_changed_byte_is_damage_or_another_value(void **state)
{
    random_source random = {3};
    uint64_t values = 0, damaged = 0;
    for (uint64_t i = 0, most = rounds(150); i < most; i++) {
        hf_span bytes;
        small_value(&random, 60, &bytes);
        uint8_t *changed = arena_take(bytes.size);
        memcpy(changed, bytes.bytes, bytes.size);
        for (size_t at = 0; at < bytes.size; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                changed[at] = (uint8_t)byte;
                if (assert_unique_or_corrupt(changed, bytes.size))
                    values++;
                else
                    damaged++;
            }
            changed[at] = bytes.bytes[at];
        }
    }
    assert_true(values > 1000 && damaged > 1000);
}

/* Bytes that begin like values, inserted, removed, copied about. */
static void a_mangled_value_is_damage_or_another_value(void **state)
{
    random_source random = {4};
    for (uint64_t i = 0, most = rounds(30000); i < most; i++) {
        hf_span bytes;
        small_value(&random, 200, &bytes);
        uint8_t *mangled = arena_take(600);
        size_t size = bytes.size;
        memcpy(mangled, bytes.bytes, size);
        for (uint64_t edits = 1 + random_below(&random, 3); edits > 0 && size > 0; edits--) {
            size_t from = random_below(&random, size), count = 1 + random_below(&random, 8);
            count = count < size - from ? count : size - from;
            size_t to = random_below(&random, size);
            switch (random_below(&random, 3)) {
            case 0: /* remove */
                memmove(mangled + from, mangled + from + count, size - from - count);
                size -= count;
                break;
            case 1: /* insert a copy, of the same or the copied */
                memmove(mangled + to + count, mangled + to, size - to);
                memmove(mangled + to, mangled + from, count);
                size += count;
                break;
            default:
                mangled[from] = (uint8_t)(1 + random_below(&random, 0xe0));
            }
        }
        assert_unique_or_corrupt(mangled, size);
    }
}

/* A few bytes of every kind of wrong. */
static const struct {
    const char *bytes, *reason;
} wrongs[] = {
    {"", "the bytes end before a value"},
    {"00", "an unknown tag"},
    {"21", "an unknown tag"},
    {"30 0000000000000000", "an unknown tag"},
    {"ff", "an unknown tag"},
    {"0101", "bytes behind the value"},
    {"a2 01", "more values than there are bytes"},
    {"a2 1101", "the bytes end before a value"},
    {"43 6162", "the bytes end within a value"},
    {"1100", "an int that is not in its shortest form"},
    {"12ffff", "an int that is not in its shortest form"},
    {"19 08 0000000000000080", "a length that is not in its shortest form"},
    {"7f 8000", "a number that is not in its shortest form"},
    {"7f 05 6162636465", "a length that is not in its shortest form"},
    {"7f ffffffffffffffffff02", "a number of more than 64 bits"},
    {"7f ffffffffffffffffff01", "the bytes end within a value"},
    {"af ffffffffffffffffff01", "more values than there are bytes"},
    {"bf ffffffffffffffffff01", "more values than there are bytes"},
    {"cf ffffffffffffffffff01", "more values than there are bytes"},
    {"cf ffffffffffffffff7f", "more values than there are bytes"},
    {"df ffffffffffffffffff01", "more values than there are bytes"},
    {"b2 01", "more values than there are bytes"},
    {"c1 01", "more values than there are bytes"},
    {"c2 01 01 01", "more values than there are bytes"},
    {"c1 1101", "the bytes end before a value"},
    {"bf 02 01 01", "a length that is not in its shortest form"},
    {"cf 01 01 01", "a length that is not in its shortest form"},
    {"df 01 01", "a length that is not in its shortest form"},
    {"d2 1102 1101", "a set out of order"},
    {"d2 b1 1102 b1 1101", "a set out of order"},
    {"e0", "an unknown tag"},
    {"07 ffffffffffffffffff01", "more values than there are bytes"},
    {"0702 1102 1101", "a set out of order"},
    {"0702 a1 1102 a1 1101", "a set out of order"},
    {"42c080", "a str that is not UTF-8"},
    {"41ff", "a str that is not UTF-8"},
    {"43eda0", "the bytes end within a value"},
    {"44f4908080", "a str that is not UTF-8"},
    {"08 000000", "a date out of range"},
    {"08 dcb937", "a date out of range"},
    {"09 00 0060d71d14", "a time out of range"},
    {"09 20 0000000000", "a time of an unknown form"},
    {"09 08 0000000000 0000000000", "a time of an unknown form"},
    {"09 1a 0000000000 0000000000 4158", "a time out of range"},
    {"0a 00 0000000000f000", "the bytes end within a value"},
    {"0a 00 000000000000f07f", "a time out of range"},
    {"0a 00 00000000000000ff", "a time of an unknown form"},
    {"0a 12 0000000000000000 4158", "a time out of range"},
    {"0a 03 0000000000000000 01", "a tzinfo that is neither an object nor a pickle"},
    {"0b ffffff7f 000000 000000", "a timedelta out of range"},
    {"0b 00000000 805101 000000", "a timedelta out of range"},
    {"0b 00000000 000000 40420f", "a timedelta out of range"},
    {"0c 0060d71d14 01", "a time zone out of range"},
    {"0c 0000000000 02", "a time zone whose name is no str"},
    {"0e 08 00 00", "a Decimal of an unknown form"},
    {"0e 00 00 01 64", "a Decimal with wrong digits"},
    {"0e 00 00 02 0001", "a Decimal with wrong digits"},
    {"0f 1101 10", "a Fraction whose denominator is not positive"},
    {"0f 1101 11ff", "a Fraction whose denominator is not positive"},
    {"0f 01 1101", "an int is missing"},
    {"1d 4158 4158 01", "an Enum's member with neither name nor number"},
    {"1d 01", "a str is missing"},
    {"1f 8158", "a str is missing"},
};

static void damage_has_a_reason(void **state)
{
    for (size_t i = 0; i < LENGTH(wrongs); i++) {
        const char *reason = NULL;
        arena_used = 0;
        hf_span bytes = from_hex(wrongs[i].bytes);
        int status = hf_value_check(bytes.bytes, bytes.size, &reason);
        if (status != HF_CORRUPT || strcmp(reason, wrongs[i].reason) != 0)
            fail_msg("%s: %d, %s, not %s", wrongs[i].bytes, status, reason, wrongs[i].reason);
        /* What can be no key need not be read to its end. */
        hf_canonical key;
        status = hf_canonical_init(&key, bytes.bytes, bytes.size, &reason);
        bool never = bytes.size > 1 && bytes.bytes[0] >= HF_TAG_LIST && bytes.bytes[0] <= HF_TAG_SET_LONG;
        assert_true(status == HF_CORRUPT || (never && status == HF_BAD_TYPE));
    }
}

static void a_reader_that_failed_stands_where_it_stood(void **state)
{
    random_source random = {5};
    for (int i = 0; i < 3000; i++) {
        hf_span bytes;
        hf_value_reader reader, before;
        hf_value_item item;
        memset(&reader, 0, sizeof reader);
        small_value(&random, 200, &bytes);
        uint8_t *changed = arena_take(bytes.size);
        memcpy(changed, bytes.bytes, bytes.size);
        changed[random_below(&random, bytes.size)] ^= (uint8_t)(1 + random_below(&random, 255));
        hf_value_reader_init(&reader, changed, bytes.size);
        int status = 0;
        while (status == 0 && !hf_value_reader_at_end(&reader)) {
            memset(&item, 0x55, sizeof item);
            hf_value_item untouched = item;
            before = reader;
            /* Skipping must fail where reading does, or reach what reading reaches. */
            bool skips = random_below(&random, 4) == 0;
            status = skips ? hf_value_skip(&reader) : hf_value_read(&reader, &item);
            if (skips && status == HF_INVALID)
                status = 0;
            if (status == 0)
                continue;
            assert_int_equal(status, HF_CORRUPT);
            assert_non_null(reader.reason);
            reader.reason = before.reason;
            assert_memory_equal(&item, &untouched, sizeof item);
            assert_int_equal(reader.at, before.at);
            assert_int_equal(reader.depth, before.depth);
            assert_memory_equal(reader.frames, before.frames, reader.depth * sizeof *reader.frames);
        }
    }
}

/* -- limits -- */

static void nesting_has_a_limit(void **state)
{
    hf_value_writer writer;
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    for (int i = 0; i < HF_VALUE_DEPTH_MAX; i++)
        ok(i % 2 ? hf_value_write_tuple(&writer, 1) : hf_value_write_frozenset(&writer, 1));
    size_t size = writer.out.size;
    assert_int_equal(hf_value_write_tuple(&writer, 1), HF_LIMIT);
    assert_int_equal(hf_value_write(&writer, &(hf_value_item){.kind = HF_VALUE_OBJECT}), HF_LIMIT);
    assert_int_equal(writer.out.size, size);
    ok(hf_value_write_none(&writer));
    for (int i = 0; i < HF_VALUE_DEPTH_MAX; i++)
        ok(hf_value_write_end(&writer));
    ok(hf_value_check(writer.out.bytes, writer.out.size, NULL));
    char text[4096];
    hf_value_describe(writer.out.bytes, writer.out.size, text, sizeof text);
    assert_non_null(strstr(text, "frozenset({(None"));
    hf_canonical key;
    ok(hf_canonical_init(&key, writer.out.bytes, writer.out.size, NULL));
    assert_int_equal(key.size, writer.out.size);
    hf_canonical_clear(&key);
    hf_value_writer_clear(&writer);

    static uint8_t deep[100000];
    const char *reason;
    static const uint8_t tags[] = {0xb1, 0xc1, 0xd1, 0xa1};
    for (size_t i = 0; i < LENGTH(tags); i++) {
        memset(deep, tags[i], sizeof deep);
        assert_int_equal(hf_value_check(deep, sizeof deep, &reason), HF_CORRUPT);
        assert_string_equal(reason, "values nested too deep");
    }
    assert_int_equal(hf_canonical_init(&key, deep, sizeof deep, &reason), HF_CORRUPT);
    hf_value_describe(deep, sizeof deep, text, sizeof text);
    assert_non_null(strstr(text, "values nested too deep"));
}

static void a_writer_keeps_its_limit(void **state)
{
    random_source random = {6};
    for (int i = 0; i < 500; i++) {
        hf_span bytes;
        node *made = small_value(&random, 120, &bytes);
        for (size_t limit = 0; limit <= bytes.size; limit++) {
            hf_value_writer writer;
            hf_value_writer_init(&writer, NULL, 0, limit);
            assert_int_equal(write_node(&writer, made), limit < bytes.size ? HF_LIMIT : 0);
            assert_true(writer.out.size <= limit);
            hf_value_writer_clear(&writer);
        }
    }
    /* What is far too long is refused before anybody makes room for it. */
    hf_value_writer writer;
    uint8_t byte = 'x';
    hf_value_writer_init(&writer, NULL, 0, 1000);
    assert_int_equal(hf_value_write_bytes(&writer, &byte, SIZE_MAX / 4), HF_LIMIT);
    hf_value_writer_clear(&writer);
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    assert_int_equal(hf_value_write_bytes(&writer, &byte, SIZE_MAX - 100), HF_NOMEM);
    hf_value_writer_clear(&writer);
}

static void reading_takes_no_memory(void **state)
{
    random_source random = {7};
    for (int i = 0; i < 500; i++) {
        hf_span bytes;
        char text[100];
        small_value(&random, 4000, &bytes);
        hf_fault_arm(HF_FAULT_ALLOC, 0, ENOMEM);
        ok(hf_value_check(bytes.bytes, bytes.size, NULL));
        hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
        assert_int_equal(hf_fault_calls(HF_FAULT_ALLOC), 0);
        hf_fault_disarm();
    }
}

/* -- failing -- */

/* Writes it with each allocation failing once; a call that failed is made again, and must find all as it was. */
static int write_again(hf_value_writer *writer, const hf_value_item *item, uint64_t *failures)
{
    size_t size = writer->out.size;
    unsigned depth = writer->depth;
    hf_value_frame frame = depth > 0 ? writer->frames[depth - 1] : (hf_value_frame){0};
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    int status = hf_value_write(writer, item);
    uint64_t failed = hf_fault_failed(HF_FAULT_ALLOC);
    hf_fault_disarm();
    assert_int_equal(status, failed ? HF_NOMEM : 0);
    if (failed == 0)
        return status;
    *failures += failed;
    assert_int_equal(writer->out.size, size);
    assert_int_equal(writer->depth, depth);
    if (depth > 0)
        assert_int_equal(writer->frames[depth - 1].left, frame.left);
    return hf_value_write(writer, item);
}

static void write_node_again(hf_value_writer *writer, const node *tree, uint64_t *failures)
{
    uint64_t count;
    ok(write_again(writer, &tree->item, failures));
    for (size_t i = 0; i < tree->count; i++)
        write_node_again(writer, tree->children[i], failures);
    if (hf_item_opens(&tree->item, &count))
        ok(write_again(writer, &(hf_value_item){.kind = HF_VALUE_END}, failures));
}

static void a_write_without_memory_can_be_made_again(void **state)
{
    random_source random = {8};
    uint64_t failures = 0;
    for (int i = 0; i < 2000; i++) {
        hf_span bytes;
        hf_value_writer writer;
        node *made = small_value(&random, 2000, &bytes);
        hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
        write_node_again(&writer, made, &failures);
        assert_int_equal(writer.out.size, bytes.size);
        assert_memory_equal(writer.out.bytes, bytes.bytes, bytes.size);
        hf_value_writer_clear(&writer);
    }
    assert_true(failures > 2000);
}

static void what_is_no_value_is_refused(void **state)
{
    static const uint8_t bad[] = {0xff}, hundred[] = {100}, zero[] = {0, 1}, minus[] = {0xff};
    const hf_span text = hf_span_of(bad, 1), none = hf_span_of(NULL, 0);
    const hf_value_item items[] = {
        {.kind = HF_VALUE_STR, .span = text},
        {.kind = HF_VALUE_ZONE, .span = text},
        {.kind = HF_VALUE_OBJECT, .span = text},
        {.kind = HF_VALUE_DATE, .ordinal = 0},
        {.kind = HF_VALUE_DATE, .ordinal = HF_ORDINAL_MAX + 1},
        {.kind = HF_VALUE_TIME, .moment = {.us = -1}},
        {.kind = HF_VALUE_TIME, .moment = {.us = HF_DAY_US}},
        {.kind = HF_VALUE_TIME, .moment = {.zone = HF_ZONE_NAMED, .has_offset = true, .fold_matters = true}},
        {.kind = HF_VALUE_TIME, .moment = {.zone = HF_ZONE_FIXED, .offset_us = HF_DAY_US}},
        {.kind = HF_VALUE_TIME, .moment = {.zone = HF_ZONE_NAMED, .has_offset = true, .offset_us = -HF_DAY_US}},
        {.kind = HF_VALUE_TIME, .moment = {.zone = 4}},
        {.kind = HF_VALUE_DATETIME, .moment = {.us = HF_ORDINAL_MAX * HF_DAY_US}},
        {.kind = HF_VALUE_DATETIME, .moment = {.zone = HF_ZONE_FIXED, .fold_matters = true}},
        {.kind = HF_VALUE_DATETIME, .moment = {.zone = HF_ZONE_NAMED, .fold_matters = true}},
        {.kind = HF_VALUE_DATETIME, .moment = {.zone = HF_ZONE_NAMED, .name = text}},
        {.kind = HF_VALUE_TIMEZONE, .moment = {.zone = HF_ZONE_FIXED, .has_name = true, .name = text}},
        {.kind = HF_VALUE_TIMEZONE, .moment = {.zone = HF_ZONE_NAMED}},
        {.kind = HF_VALUE_TIMEDELTA, .delta = {1000000000, 0, 0}},
        {.kind = HF_VALUE_TIMEDELTA, .delta = {0, -1, 0}},
        {.kind = HF_VALUE_TIMEDELTA, .delta = {0, 0, 1000000}},
        {.kind = HF_VALUE_DECIMAL, .decimal = {.pairs = {hundred, 1}}},
        {.kind = HF_VALUE_DECIMAL, .decimal = {.pairs = {zero, 2}}},
        {.kind = HF_VALUE_DECIMAL, .decimal = {.kind = 4}},
        {.kind = HF_VALUE_DECIMAL, .decimal = {.kind = HF_DECIMAL_INFINITE, .pairs = {zero + 1, 1}}},
        {.kind = HF_VALUE_DECIMAL, .decimal = {.kind = HF_DECIMAL_NAN, .exponent = 1}},
        {.kind = HF_VALUE_FRACTION, .fraction = {none, none}},
        {.kind = HF_VALUE_FRACTION, .fraction = {none, {minus, 1}}},
        {.kind = HF_VALUE_UUID, .uuid = {.safety = 3}},
        {.kind = HF_VALUE_DICT, .count = UINT64_MAX / 2 + 1},
        {.kind = HF_VALUE_ENUM, .member = {.module = text}},
        {.kind = HF_VALUE_ENUM, .member = {.class_name = text}},
        {.kind = HF_VALUE_ENUM, .member = {.member = text}},
        {.kind = HF_VALUE_END},
        {.kind = HF_VALUE_KIND_COUNT},
        {.kind = (hf_value_kind)1000},
    };
    hf_value_writer writer;
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    for (size_t i = 0; i < LENGTH(items); i++)
        if (hf_value_write(&writer, &items[i]) != HF_INVALID)
            fail_msg("item %zu of kind %s was taken", i, hf_value_kind_name(items[i].kind));
    assert_int_equal(writer.out.size, 0);
    hf_value_writer_clear(&writer);
}

static void a_value_holds_what_it_was_said_to(void **state)
{
    hf_value_writer writer;
    hf_value_writer_init(&writer, NULL, 0, SIZE_MAX);
    ok(hf_value_write_tuple(&writer, 1));
    assert_int_equal(hf_value_write_end(&writer), HF_INVALID);
    ok(hf_value_write_none(&writer));
    assert_int_equal(hf_value_write_none(&writer), HF_INVALID);
    ok(hf_value_write_end(&writer));
    assert_int_equal(hf_value_write_end(&writer), HF_INVALID);
    ok(hf_value_check(writer.out.bytes, writer.out.size, NULL));

    hf_value_item other = {.kind = HF_VALUE_DATETIME, .moment = {.zone = HF_ZONE_OTHER}};
    ok(hf_value_write(&writer, &other));
    assert_int_equal(hf_value_write_none(&writer), HF_INVALID);
    assert_int_equal(hf_value_write_tuple(&writer, 0), HF_INVALID);
    ok(hf_value_write(&writer, &(hf_value_item){.kind = HF_VALUE_PICKLE}));
    ok(hf_value_write_end(&writer));
    hf_value_writer_clear(&writer);
}

/* Lists of the same members in any order are one set; equal encodings (two nans) stay two. */
static void a_set_has_one_encoding(void **state)
{
    random_source random = {9};
    for (uint64_t i = 0, most = rounds(1000); i < most; i++) {
        arena_used = 0;
        hf_value_kind kind = i % 2 ? HF_VALUE_FROZENSET : HF_VALUE_SET;
        hf_value_item item = {.kind = kind, .count = random_below(&random, i % 50 ? 12 : 300)};
        node *set = node_new(&item, (size_t)item.count);
        for (size_t j = 0; j < set->count; j++)
            set->children[j] = random_value(&random, 1, random_below(&random, 2) ? HF_VALUE_BOOL : HF_VALUE_END);
        hf_span first = encode_node(set);
        for (size_t j = set->count; j > 1; j--) {
            size_t other = random_below(&random, j);
            node *moved = set->children[j - 1];
            set->children[j - 1] = set->children[other];
            set->children[other] = moved;
        }
        assert_true(same_bytes(encode_node(set), first));
    }
}

/* -- pieces -- */

static void ints_have_their_shortest_form(void **state)
{
    static const int64_t numbers[] = {0,      1,         -1,        127,       128,       -128,
                                      -129,   255,       256,       32767,     32768,     -32768,
                                      -32769, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, INT64_MAX - 1};
    static const size_t sizes[] = {0, 1, 1, 1, 2, 1, 2, 2, 2, 2, 3, 2, 3, 4, 4, 8, 8, 8};
    for (size_t i = 0; i < LENGTH(numbers); i++) {
        arena_used = 0;
        hf_span span = int_span(numbers[i]);
        int64_t back;
        assert_int_equal(hf_int_size(span), sizes[i]);
        assert_true(hf_span_int64(span, &back) && back == numbers[i]);
    }
    /* Longer forms of what fits, and what does not. */
    static const uint8_t fits[] = {5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, not [] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0};
    int64_t number;
    assert_true(hf_span_int64(hf_span_of(fits, sizeof fits), &number) && number == 5);
    assert_false(hf_span_int64(hf_span_of(not, sizeof not ), &number));
}

static void digits_are_packed(void **state)
{
    random_source random = {10};
    for (int i = 0; i < 3000; i++) {
        char digits[40], back[40];
        uint8_t pairs[20];
        size_t count = random_below(&random, 40), zeros = 0;
        for (size_t j = 0; j < count; j++)
            digits[j] = (char)('0' + random_below(&random, random_below(&random, 2) ? 2 : 10));
        while (zeros < count && digits[zeros] == '0')
            zeros++;
        size_t size = hf_decimal_pack(digits, count, pairs);
        assert_true(size <= (count + 1) / 2);
        assert_int_equal(hf_decimal_digits(hf_span_of(pairs, size)), count - zeros);
        hf_decimal_unpack(hf_span_of(pairs, size), back);
        assert_memory_equal(back, digits + zeros, count - zeros);
    }
}

static void every_day_has_its_date(void **state)
{
    hf_date expected = {1, 1, 1};
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int32_t ordinal = 1; ordinal <= HF_ORDINAL_MAX; ordinal++) {
        hf_date date = hf_date_of_ordinal(ordinal);
        if (memcmp(&date, &expected, sizeof date) != 0 || hf_date_ordinal(date) != ordinal)
            fail_msg("day %d", ordinal);
        bool leap = expected.year % 4 == 0 && (expected.year % 100 != 0 || expected.year % 400 == 0);
        if (++expected.day <= lengths[expected.month - 1] + (expected.month == 2 && leap))
            continue;
        expected.day = 1;
        if (++expected.month <= 12)
            continue;
        expected.month = 1;
        expected.year++;
    }
    assert_int_equal(expected.year, 10000);
    static const hf_date wrong[] = {{0, 1, 1},    {10000, 1, 1}, {2023, 2, 29}, {1900, 2, 29},
                                    {2024, 0, 1}, {2024, 13, 1}, {2024, 4, 31}, {2024, 1, 0}};
    for (size_t i = 0; i < LENGTH(wrong); i++)
        assert_int_equal(hf_date_ordinal(wrong[i]), 0);
}

/* Every code point has exactly one encoding, and nothing else is text. */
static void text_is_generalized_utf8(void **state)
{
    uint64_t found = 0, four = 0;
    uint8_t at[4];
    for (uint32_t code = 0; code < 0x110000; code++) {
        size_t size = put_code_point(at, code);
        if (hf_utf8_next(at, size) != size || !hf_utf8_is_text(at, size))
            fail_msg("U+%04x", code);
        four += size == 4;
    }
    assert_int_equal(four, 0x100000);
    /* All of three bytes, by their count: 128 code points of one, 1,920 of two, 63,488 of three. */
    for (uint32_t i = 0; i < 1u << 24; i++) {
        for (int j = 0; j < 3; j++)
            at[j] = (uint8_t)(i >> (8 * j));
        found += hf_utf8_is_text(at, 3);
    }
    assert_int_equal(found, 128 * 128 * 128 + 2 * 128 * 1920 + 63488);
    /* And those of four that begin with a byte for four, where the last one is on an edge. */
    static const uint8_t last[] = {0x7f, 0x80, 0xbf, 0xc0};
    found = 0;
    for (uint32_t i = 0; i < 1u << 24; i++) {
        if ((i & 0xf0) != 0xf0)
            continue;
        for (int j = 0; j < 3; j++)
            at[j] = (uint8_t)(i >> (8 * j));
        for (size_t j = 0; j < LENGTH(last); j++) {
            at[3] = last[j];
            found += hf_utf8_is_text(at, 4);
        }
    }
    assert_int_equal(found, 2 * 0x100000 / 64);
}

/* -- describing -- */

static const struct {
    const char *value, *text;
} descriptions[] = {
    {"N", "None"},
    {"(T F)", "(True, False)"},
    {"(i-12)", "(-12,)"},
    {"()", "()"},
    {"{i1 i2}", "frozenset({1, 2})"},
    {"[i1 sx []]", "[1, 'x', []]"},
    {"<sx i1 i2 <>>", "{'x': 1, 2: {}}"},
    {"S{i1 i2}", "{1, 2}"},
    {"S{}", "set()"},
    {"f1", "1.0"},
    {"f0.1", "0.1"},
    {"f1e300", "1e+300"},
    {"f5e-324", "4.94065645841247e-324"},
    {"finf", "inf"},
    {"c1,-0.5", "complex(1.0, -0.5)"},
    {"sit's", "'it\\'s'"},
    {"b6100ff", "b'a\\x00\\xff'"},
    {"a61", "bytearray(b'a')"},
    {"D738886", "date(2024-01-01)"},
    {"t45296000007", "time(12:34:56.000007)"},
    {"t0@Etc/UTC+0~", "time(00:00:00+00:00:00 Etc/UTC fold=1)"},
    {"m63839664000000000+-3600000000=X", "datetime(2024-01-01 00:00:00-01:00:00 X)"},
    {"m0%:p00", "datetime(0001-01-01 00:00:00 <pickle of 1 bytes>)"},
    {"z+5400000000", "timezone(+01:30:00)"},
    {"ZEurope/Rome", "ZoneInfo('Europe/Rome')"},
    {"x-1,86399,5", "timedelta(-1 days 23:59:59.000005)"},
    {"x3,0,0", "timedelta(3 days)"},
    {"d-12.50", "Decimal('-1250E-2')"},
    {"d0", "Decimal('0')"},
    {"d-Infinity", "Decimal('-Infinity')"},
    {"dsNaN7", "Decimal('sNaN7')"},
    {"r-1/3", "Fraction(-1, 3)"},
    {"u000102030405060708090a0b0c0d0e0f", "UUID('00010203-0405-0607-0809-0a0b0c0d0e0f')"},
    {"em.Colour.RED", "m.Colour.RED"},
    {"em.Flags#3=i3", "m.Flags(3)<3>"},
    {"ojson:sx", "<object of codec 'json': 'x'>"},
};

static void values_are_described(void **state)
{
    for (size_t i = 0; i < LENGTH(descriptions); i++) {
        char text[200], cut[200];
        arena_used = 0;
        hf_span bytes = encoded(descriptions[i].value);
        hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
        assert_string_equal(text, descriptions[i].text);
        size_t whole = strlen(text);
        for (size_t size = 4; size <= whole + 1; size++) {
            memset(cut, 0x7f, sizeof cut);
            hf_value_describe(bytes.bytes, bytes.size, cut, size);
            assert_int_equal(strlen(cut), size - 1);
            assert_int_equal(cut[size], 0x7f);
            if (size == whole + 1) {
                assert_string_equal(cut, text);
            } else {
                assert_memory_equal(cut, text, size - 4);
                assert_string_equal(cut + size - 4, "...");
            }
        }
    }
}

static void odd_values_are_described(void **state)
{
    char text[200];
    static const char beyond[] = "46 c3a9 e282ac 0a";
    hf_span bytes = from_hex(beyond);
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "'\\xe9\\u20ac\\n'");
    bytes = from_hex("19 09 000000000000000080");
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "<negative int of 9 bytes>");
    bytes = from_hex("a2 1101 00");
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "(1, <damaged at byte 3: an unknown tag>");
    bytes = from_hex("1101 01");
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "1<damaged at byte 2: bytes behind the value>");
    bytes = from_hex("c2 1101 00");
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "<damaged at byte 0: more values than there are bytes>");
    bytes = from_hex("c2 1101 1102 00 01 01");
    hf_value_describe(bytes.bytes, bytes.size, text, sizeof text);
    assert_string_equal(text, "{1: 2, <damaged at byte 5: an unknown tag>");
    hf_value_describe(NULL, 0, text, sizeof text);
    assert_string_equal(text, "<damaged at byte 0: the bytes end before a value>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_values_come_back),
        cmocka_unit_test(values_follow_each_other),
        cmocka_unit_test(layouts_are_as_documented),
        cmocka_unit_test(a_dict_keeps_its_order),
        cmocka_unit_test(lengths_have_their_shortest_form),
        cmocka_unit_test(counts_have_their_shortest_form),
        cmocka_unit_test(items_can_be_taken_and_put_alone),
        cmocka_unit_test(every_truncation_is_damage),
        cmocka_unit_test(a_changed_byte_is_damage_or_another_value),
        cmocka_unit_test(a_mangled_value_is_damage_or_another_value),
        cmocka_unit_test(damage_has_a_reason),
        cmocka_unit_test(a_reader_that_failed_stands_where_it_stood),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(a_writer_keeps_its_limit),
        cmocka_unit_test(reading_takes_no_memory),
        cmocka_unit_test(a_write_without_memory_can_be_made_again),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(a_value_holds_what_it_was_said_to),
        cmocka_unit_test(a_set_has_one_encoding),
        cmocka_unit_test(ints_have_their_shortest_form),
        cmocka_unit_test(digits_are_packed),
        cmocka_unit_test(every_day_has_its_date),
        cmocka_unit_test(text_is_generalized_utf8),
        cmocka_unit_test(values_are_described),
        cmocka_unit_test(odd_values_are_described),
    };
    return cmocka_run_group_tests_name("value/codec", tests, NULL, NULL);
}
