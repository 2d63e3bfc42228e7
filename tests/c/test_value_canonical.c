/*
 * Canonical keys: groups of equal values have one form, values of different groups have different ones; numbers
 * against exact arithmetic; what cannot be a key. tests/python/test_value_oracle.py asks Python itself.
 */
#include "test_value_support.h"

#include "value/bignum.h"
#include "value/number.h"

/* The canonical form, in the arena. */
static hf_span form_of(hf_span value)
{
    hf_canonical key;
    const char *reason = "";
    int status = hf_canonical_init(&key, value.bytes, value.size, &reason);
    if (status < 0)
        fail_msg("%s: %s", hf_status_name(status), reason);
    uint8_t *bytes = arena_take(key.size);
    memcpy(bytes, key.bytes, key.size);
    hf_span form = hf_span_of(bytes, key.size);
    hf_canonical_clear(&key);
    return form;
}

/* One line, one key. */
static const char *const groups[] = {
    "N",
    "i0 f0 f-0 F c0,0 c-0,-0 d0 d-0 d0E+999999999999 d-0.000 r0/1 r0/7 eM.C.Z=i0 eM.C.Z=F",
    "i1 f1 T c1,0 c1,-0 d1 d1.0 d1.000 d100E-2 d0.1E+1 r1/1 r7/7 eM.C.A=i1 eM.D.B=T eM.F#1=i1",
    "i-1 f-1 d-1 r-1/1 c-1,0 d-10E-1",
    "i2 f2 d2 r4/2",
    "i10 f10 d10 d1E+1 d1E1",
    "i100 d1E+2 d100 d10.0E+1 f100",
    "f0.5 d0.5 d0.50 r1/2 r2/4 c0.5,0 d5E-1",
    "f-0.5 d-0.5 r-1/2 r-3/6",
    "f0.1",
    "d0.1 r1/10 r3/30 d0.10",
    "r1/3 r5/15",
    "d0.3333",
    "f1.5 d1.5 r3/2 r6/4",
    "f0.375 d0.375 r3/8",
    "d0.2 r1/5",
    "i9007199254740992 f9007199254740992 d9007199254740992",
    "i9007199254740993 d9007199254740993 r9007199254740993/1",
    "i9223372036854775807 d9223372036854775807",
    "f9223372036854775808 d9223372036854775808",
    "i-9223372036854775808 f-9223372036854775808 d-9223372036854775808",
    "f1e22 d1E22 d1E+22 d10000000000000000000000",
    "f1e23",
    "d1E+23",
    "f5e-324",
    "d5E-324",
    "f2.2250738585072014e-308",
    "finf dInfinity cinf,0",
    "f-inf d-Infinity",
    "c1,2",
    "c-0,2 c0,2",
    "c0,-2",
    "s",
    "s1 eM.S.A=s1",
    "sa",
    "b",
    "b31",
    "b61",
    "()",
    "{}",
    "(i1) (f1) (T) (d1.0)",
    "((i1)) ((r2/2))",
    "(i1 i2) (f1 d2)",
    "(i2 i1)",
    "{i1} {T} {f1} {d1.00}",
    /* Equal members count once; Python does not make the last two. */
    "{i1 i2} {f2 T} {d2 d1} {i1 f1 i2 d2 T} {i2 i1 c1,0}",
    "{(i1) sa} {sa (d1)}",
    "D739000",
    "D739001",
    "m63849513600000000 m63849513600000000~", /* the datetime of that date is another key */
    "m7+0 m7+0=UTC m3600000007+3600000000 m9@A/B+2 m9@C/D+2~ m2%+-5:p00",
    "m63849513600000000+0 m63849517200000000@A/B+3600000000",
    "m63849513600000000@A/B!3600000000 m63849513600000000@A/B!7200000000~",
    "m63849513600000000@C/D!3600000000",
    "m63849513600000001@A/B!3600000000",
    "m1 m1@A/B m1%:p00", /* no offset: naive */
    "m1+2",
    "t0 t0~ t0@A/B t0%:ox:N",
    "t0+0 t0+0=UTC t0@A/B+0 t3600000000+3600000000 t3600000000%+3600000000:p00",
    "t0+3600000000", /* 23:00 the day before, not of that day */
    "t82800000000+0",
    "t0+1 t0@A/B+1",
    "t1+1",
    "t1+0",
    "x0,0,0",
    "x-1,86399,999999",
    "z+0 z+0=UTC z+0=X",
    "z+3600000000",
    "ZUTC",
    "u000102030405060708090a0b0c0d0e0f us000102030405060708090a0b0c0d0e0f un000102030405060708090a0b0c0d0e0f",
    "eM.C.A",
    "eM.C.B",
    "eM.D.A",
    "eN.C.A",
    "eM.C#1",
    "eM.C#2",
    "eM.C.A=eM.C.X eM.C.X",
};

enum { MEMBERS_MAX = 256 };

typedef struct member {
    size_t group;
    char text[200];
    hf_span form;
    uint64_t hash;
} member;

/* Splits a group at the blanks outside of brackets. */
static size_t members_of(const char *text, size_t group, member *members)
{
    size_t count = 0;
    while (*text != '\0') {
        size_t size = 0;
        for (int depth = 0; text[size] != '\0' && (text[size] != ' ' || depth > 0); size++)
            depth += (text[size] == '(' || text[size] == '{') - (text[size] == ')' || text[size] == '}');
        members[count] = (member){.group = group};
        memcpy(members[count].text, text, size);
        count++;
        text += size + (text[size] == ' ');
    }
    return count;
}

static void equal_keys_have_one_form(void **state)
{
    static member members[MEMBERS_MAX];
    size_t count = 0;
    arena_used = 0;
    for (size_t i = 0; i < LENGTH(groups); i++)
        count += members_of(groups[i], i, members + count);
    for (size_t i = 0; i < count; i++) {
        hf_canonical key;
        hf_span value = encoded(members[i].text);
        members[i].form = form_of(value);
        ok(hf_canonical_init(&key, value.bytes, value.size, NULL));
        members[i].hash = hf_canonical_hash(&key, 42);
        assert_int_equal(members[i].hash, hf_canonical_hash_bytes(members[i].form.bytes, members[i].form.size, 42));
        assert_int_not_equal(members[i].hash, hf_canonical_hash(&key, 43));
        hf_canonical_clear(&key);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            bool equal = members[i].group == members[j].group;
            if (same_bytes(members[i].form, members[j].form) != equal)
                fail_msg("%s and %s", members[i].text, members[j].text);
            assert_int_equal(members[i].hash == members[j].hash, equal);
        }
    }
}

/* In a tuple and in a frozenset the same holds. */
static void equal_keys_make_equal_containers(void **state)
{
    static member members[MEMBERS_MAX];
    random_source random = {1};
    arena_used = 0;
    size_t count = 0;
    for (size_t i = 0; i < LENGTH(groups); i++)
        count += members_of(groups[i], i, members + count);
    for (uint64_t i = 0, most = rounds(3000); i < most; i++) {
        arena_used = 0;
        const member *a[4], *b[4];
        bool equal = true;
        for (int j = 0; j < 4; j++) {
            a[j] = &members[random_below(&random, count)];
            b[j] = &members[random_below(&random, count)];
            while (random_below(&random, 10) && b[j]->group != a[j]->group)
                b[j] = &members[random_below(&random, count)];
            equal &= a[j]->group == b[j]->group;
        }
        char text[2][1000];
        snprintf(text[0], sizeof text[0], "(%s (%s %s) {%s})", a[0]->text, a[1]->text, a[2]->text, a[3]->text);
        snprintf(text[1], sizeof text[1], "(%s (%s %s) {%s})", b[0]->text, b[1]->text, b[2]->text, b[3]->text);
        if (same_bytes(form_of(encoded(text[0])), form_of(encoded(text[1]))) != equal)
            fail_msg("%s and %s", text[0], text[1]);
        /* Order counts in a tuple only. */
        snprintf(text[0], sizeof text[0], "{%s %s %s}", a[0]->text, a[1]->text, a[2]->text);
        snprintf(text[1], sizeof text[1], "{%s %s %s %s}", a[2]->text, a[0]->text, a[1]->text, a[0]->text);
        if (!same_bytes(form_of(encoded(text[0])), form_of(encoded(text[1]))))
            fail_msg("%s and %s", text[0], text[1]);
    }
}

/* The form of a form is that form, where it is a value. */
static void forms_are_their_own_forms(void **state)
{
    random_source random = {2};
    uint64_t keys = 0;
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        arena_used = 0;
        hf_canonical key, again;
        hf_span value = encode_node(random_value(&random, 3, HF_VALUE_END));
        int status = hf_canonical_init(&key, value.bytes, value.size, NULL);
        assert_true(status == 0 || status == HF_BAD_TYPE || status == HF_BAD_VALUE);
        if (status < 0)
            continue;
        if (hf_value_check(key.bytes, key.size, NULL) == 0) {
            keys++;
            ok(hf_canonical_init(&again, key.bytes, key.size, NULL));
            assert_true(hf_canonical_equal(&again, &key));
            hf_canonical_clear(&again);
        }
        hf_canonical_clear(&key);
    }
    assert_true(keys > 5000);
}

/* -- numbers -- */

/* p / q as one of the types that have it; false if there is none of that kind. */
static bool number_text(int64_t p, int64_t q, unsigned kind, uint64_t factor, char *text, size_t size)
{
    int64_t tens = 1;
    int places = 0;
    while (places < 9 && tens % q != 0) {
        tens *= 10;
        places++;
    }
    switch (kind) {
    case 0:
        snprintf(text, size, "r%" PRId64 "/%" PRId64, p * (int64_t)factor, q * (int64_t)factor);
        return true;
    case 1:
        snprintf(text, size, "d%" PRId64 "E-%d", p * (tens / q), places);
        return tens % q == 0;
    case 2:
        snprintf(text, size, "f%.17g", (double)p / (double)q);
        return (q & (q - 1)) == 0;
    case 3:
        snprintf(text, size, "c%.17g,-0", (double)p / (double)q);
        return (q & (q - 1)) == 0;
    default:
        snprintf(text, size, "i%" PRId64, q == 0 ? 0 : p / q);
        return p % q == 0;
    }
}

static void numbers_are_equal_if_they_are(void **state)
{
    random_source random = {3};
    static const int64_t denominators[] = {1, 1, 2, 4, 5, 8, 10, 20, 64, 100, 125, 3, 7, 1000};
    uint64_t equal = 0;
    for (uint64_t i = 0, most = rounds(50000); i < most; i++) {
        arena_used = 0;
        int64_t p[2], q[2];
        hf_span forms[2];
        for (int j = 0; j < 2; j++) {
            char text[100];
            do {
                q[j] = denominators[random_below(&random, LENGTH(denominators))];
                p[j] = (int64_t)random_below(&random, 41) - 20;
                if (j == 1 && random_below(&random, 2)) {
                    p[1] = p[0];
                    q[1] = q[0];
                }
            } while (!number_text(p[j], q[j], (unsigned)random_below(&random, 5), 1 + random_below(&random, 12), text,
                                  sizeof text));
            forms[j] = form_of(encoded(text));
        }
        bool same = p[0] * q[1] == p[1] * q[0];
        equal += same;
        assert_int_equal(same_bytes(forms[0], forms[1]), same);
    }
    assert_true(equal > 1000);
}

/* Every double, as a double and as a Decimal with all its digits, has one form. */
static void doubles_equal_their_decimals(void **state)
{
    random_source random = {4};
    for (uint64_t i = 0, most = rounds(2000); i < most; i++) {
        arena_used = 0;
        static char text[2000];
        uint64_t bits = random_next(&random);
        if (random_below(&random, 4) == 0)
            bits &= UINT64_C(0x800fffffffffffff); /* subnormal */
        if (random_below(&random, 4) == 0)
            bits &= ~UINT64_C(0) << random_below(&random, 53); /* few bits */
        double real = hf_double_of_bits(bits);
        if (real - real != 0)
            continue; /* inf, nan */
        hf_span form = form_of(encode_node(node_new(&(hf_value_item){.kind = HF_VALUE_FLOAT, .bits = {bits}}, 0)));
        snprintf(text, sizeof text, "d%.1100f", real);
        assert_true(same_bytes(form_of(encoded(text)), form));
        /* A digit more, and it is another number. */
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "1");
        assert_false(same_bytes(form_of(encoded(text)), form));
    }
}

/* -- what cannot be a key -- */

static const struct {
    const char *value;
    int status;
} refused[] = {
    {"fnan", HF_BAD_VALUE},
    {"f-nan", HF_BAD_VALUE},
    {"cnan,0", HF_BAD_VALUE},
    {"c0,nan", HF_BAD_VALUE},
    {"c1,nan", HF_BAD_VALUE},
    {"dNaN", HF_BAD_VALUE},
    {"d-NaN12", HF_BAD_VALUE},
    {"dsNaN", HF_BAD_VALUE},
    {"d1E+10000", HF_BAD_VALUE},
    {"d1E-10001", HF_BAD_VALUE},
    {"d1E+9000000000000000000", HF_BAD_VALUE},
    {"d10E+9223372036854775807", HF_BAD_VALUE},
    {"d1E-9000000000000000000", HF_BAD_VALUE},
    {"a00", HF_BAD_TYPE},
    {"[i1]", HF_BAD_TYPE},
    {"<i1 i2>", HF_BAD_TYPE},
    {"S{i1}", HF_BAD_TYPE},
    {"(i1 [])", HF_BAD_TYPE},
    {"{<>}", HF_BAD_TYPE},
    {"eM.C.A=[i1]", HF_BAD_TYPE},
    {"p00", HF_BAD_TYPE},
    {"ox:i1", HF_BAD_TYPE},
    {"eM.C.A=a00", HF_BAD_TYPE},
    {"eM.C.A=fnan", HF_BAD_VALUE},
    {"m1%!2:p00", HF_BAD_TYPE},
    {"(i1 (s a00))", HF_BAD_TYPE},
    {"(i1 {fnan})", HF_BAD_VALUE},
    {"{i1 i2 p00}", HF_BAD_TYPE},
};

static void what_is_no_key_is_refused(void **state)
{
    for (size_t i = 0; i < LENGTH(refused); i++) {
        arena_used = 0;
        hf_canonical key;
        const char *reason = NULL;
        hf_span value = encoded(refused[i].value);
        int status = hf_canonical_init(&key, value.bytes, value.size, &reason);
        if (status != refused[i].status)
            fail_msg("%s: %s", refused[i].value, hf_status_name(status));
        assert_non_null(reason);
        assert_int_equal(hf_canonical_init(&key, value.bytes, value.size, NULL), status);
    }
}

/* Of `digits` digits, the first and the last of them 1. */
static hf_span long_decimal(size_t digits, size_t zeros, int64_t exponent)
{
    char *text = arena_take(digits + zeros + 1);
    uint8_t *pairs = arena_take((digits + zeros) / 2 + 1);
    memset(text, '0', digits + zeros);
    text[0] = text[digits - 1] = '1';
    hf_value_item item = {.kind = HF_VALUE_DECIMAL};
    item.decimal.pairs = hf_span_of(pairs, hf_decimal_pack(text, digits + zeros, pairs));
    item.decimal.exponent = exponent;
    return encode_node(node_new(&item, 0));
}

static int key_status(hf_span value)
{
    hf_canonical key;
    int status = hf_canonical_init(&key, value.bytes, value.size, NULL);
    if (status == 0)
        hf_canonical_clear(&key);
    return status;
}

static void decimals_have_a_largest(void **state)
{
    arena_used = 0;
    ok(key_status(encoded("d1E+9999")));
    ok(key_status(encoded("d1E-10000")));
    ok(key_status(encoded("d9E-10000")));
    ok(key_status(long_decimal(10000, 0, 0)));
    ok(key_status(long_decimal(10000, 0, -10000)));
    ok(key_status(long_decimal(10000, 0, -5000)));
    assert_int_equal(key_status(long_decimal(10001, 0, 0)), HF_BAD_VALUE);
    assert_int_equal(key_status(long_decimal(10000, 0, 1)), HF_BAD_VALUE);
    assert_int_equal(key_status(long_decimal(10000, 0, -10001)), HF_BAD_VALUE);
    /* Zeros at the end do not count, be they many. */
    assert_true(same_bytes(form_of(long_decimal(3, 100001, -100001)), form_of(encoded("i101"))));
    assert_true(same_bytes(form_of(long_decimal(3, 20002, -20004)), form_of(encoded("d1.01"))));
    assert_true(same_bytes(form_of(long_decimal(3, 20003, -20005)), form_of(encoded("d1.01"))));
}

static void fractions_have_a_largest(void **state)
{
    static uint8_t bytes[HF_BIG_BITS / 8 + 3];
    arena_used = 0;
    hf_value_item item = {.kind = HF_VALUE_FRACTION};
    bytes[0] = 1;
    bytes[HF_BIG_BITS / 8 - 1] = 0x80;
    item.fraction.numerator = hf_span_of(bytes, HF_BIG_BITS / 8 + 1);
    item.fraction.denominator = int_span(3);
    ok(key_status(encode_node(node_new(&item, 0))));
    item.fraction.denominator = item.fraction.numerator;
    assert_true(same_bytes(form_of(encode_node(node_new(&item, 0))), form_of(encoded("i1"))));
    item.fraction.numerator = int_span(-5);
    ok(key_status(encode_node(node_new(&item, 0))));
    bytes[HF_BIG_BITS / 8 + 1] = 1;
    item.fraction.denominator = hf_span_of(bytes, HF_BIG_BITS / 8 + 3);
    assert_int_equal(key_status(encode_node(node_new(&item, 0))), HF_BAD_VALUE);
    item.fraction.numerator = item.fraction.denominator;
    item.fraction.denominator = int_span(2);
    assert_int_equal(key_status(encode_node(node_new(&item, 0))), HF_BAD_VALUE);
    /* With 1 below, it is an int, and those have no limit. */
    item.fraction.denominator = int_span(1);
    hf_value_item integer = {.kind = HF_VALUE_INT, .span = item.fraction.numerator};
    assert_true(same_bytes(form_of(encode_node(node_new(&item, 0))), encode_node(node_new(&integer, 0))));
}

/* -- memory -- */

static void short_keys_take_no_memory(void **state)
{
    static const char *const values[] = {"N",       "i12345", "sabcdefghijkl", "b00ff",     "f1",    "f0.1",
                                         "d12.50",  "r1/3",   "(i1 sab)",      "eM.C.A=i1", "t0+0",  "m1+1",
                                         "z+5=UTC", "T",      "c1,2",          "x1,2,3",    "eM.C.A"};
    for (size_t i = 0; i < LENGTH(values); i++) {
        arena_used = 0;
        hf_span value = encoded(values[i]);
        hf_canonical key;
        hf_fault_arm(HF_FAULT_ALLOC, 0, ENOMEM);
        ok(hf_canonical_init(&key, value.bytes, value.size, NULL));
        hf_canonical_hash(&key, 1);
        if (hf_fault_calls(HF_FAULT_ALLOC) != 0)
            fail_msg("%s", values[i]);
        hf_fault_disarm();
        hf_canonical_clear(&key);
    }
}

static void ints_and_strs_have_a_short_way(void **state)
{
    random_source random = {5};
    for (uint64_t i = 0, most = rounds(20000); i < most; i++) {
        arena_used = 0;
        hf_canonical fast, slow;
        int64_t number = (int64_t)random_next(&random) >> random_below(&random, 64);
        hf_span value =
            encode_node(node_new(&(hf_value_item){.kind = HF_VALUE_INT, .span = {int_span(number).bytes, 8}}, 0));
        hf_canonical_init_int64(&fast, number);
        ok(hf_canonical_init(&slow, value.bytes, value.size, NULL));
        assert_true(hf_canonical_equal(&fast, &slow));
        assert_ptr_equal(slow.bytes, value.bytes);
        hf_canonical_clear(&fast);
        hf_canonical_clear(&slow);

        hf_span text = random_text(&random);
        value = encode_node(node_new(&(hf_value_item){.kind = HF_VALUE_STR, .span = text}, 0));
        ok(hf_canonical_init_str(&fast, text.bytes, text.size, NULL));
        ok(hf_canonical_init(&slow, value.bytes, value.size, NULL));
        assert_true(hf_canonical_equal(&fast, &slow));
        assert_int_equal(hf_canonical_hash(&fast, 7), hf_canonical_hash(&slow, 7));
        hf_canonical_clear(&fast);
        hf_canonical_clear(&slow);
    }
    hf_canonical key;
    const char *reason = NULL;
    assert_int_equal(hf_canonical_init_str(&key, "\xff", 1, &reason), HF_INVALID);
    assert_non_null(reason);
}

static void without_memory_a_key_fails(void **state)
{
    random_source random = {6};
    uint64_t failures = 0;
    for (uint64_t i = 0, most = rounds(2000); i < most; i++) {
        arena_used = 0;
        hf_span value =
            encode_node(random_value(&random, 3, random_below(&random, 2) ? HF_VALUE_FROZENSET : HF_VALUE_TUPLE));
        hf_canonical key;
        int expected = key_status(value);
        for (uint64_t n = 1;; n++) {
            const char *reason = NULL;
            hf_fault_arm(HF_FAULT_ALLOC, n, ENOMEM);
            int status = hf_canonical_init(&key, value.bytes, value.size, &reason);
            uint64_t failed = hf_fault_failed(HF_FAULT_ALLOC);
            hf_fault_disarm();
            failures += failed;
            if (status == 0)
                hf_canonical_clear(&key);
            assert_int_equal(status, failed ? HF_NOMEM : expected);
            if (failed == 0)
                break;
            assert_non_null(reason);
        }
    }
    assert_true(failures > 1000);
    char text[300];
    hf_canonical key;
    memset(text, 'x', sizeof text);
    hf_fault_arm(HF_FAULT_ALLOC, 1, ENOMEM);
    assert_int_equal(hf_canonical_init_str(&key, text, sizeof text, NULL), HF_NOMEM);
    hf_fault_disarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_keys_have_one_form),     cmocka_unit_test(equal_keys_make_equal_containers),
        cmocka_unit_test(forms_are_their_own_forms),    cmocka_unit_test(numbers_are_equal_if_they_are),
        cmocka_unit_test(doubles_equal_their_decimals), cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(decimals_have_a_largest),      cmocka_unit_test(fractions_have_a_largest),
        cmocka_unit_test(short_keys_take_no_memory),    cmocka_unit_test(ints_and_strs_have_a_short_way),
        cmocka_unit_test(without_memory_a_key_fails),
    };
    return cmocka_run_group_tests_name("value/canonical", tests, NULL, NULL);
}
