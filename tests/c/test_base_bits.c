/* bits.h against a loop, hash.h against published values and simple laws, assert.h in a child. */
#include "base/assert.h"
#include "base/bits.h"
#include "base/hash.h"

#include "cm.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return hf_hash_u64(*state, 0);
}

static void check_bits(uint64_t x)
{
    unsigned count64 = 0, count32 = 0, low = 64, high = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(x >> bit & 1))
            continue;
        count64++;
        count32 += bit < 32;
        low = low < bit ? low : bit;
        high = bit;
    }
    assert_int_equal(hf_popcount64(x), count64);
    assert_int_equal(hf_popcount64_by_hand(x), count64);
    assert_int_equal(hf_popcount32((uint32_t)x), count32);
    assert_int_equal(hf_popcount32_by_hand((uint32_t)x), count32);
    if (x == 0)
        return;
    assert_int_equal(hf_ctz64(x), low);
    assert_int_equal(hf_log2_64(x), high);
    if (low < 32)
        assert_int_equal(hf_ctz32((uint32_t)x), low);
    if (high < 32)
        assert_int_equal(hf_log2_32((uint32_t)x), high);
}

static void bits_agree_with_a_loop(void **state)
{
    uint64_t seed = 1;

    check_bits(0);
    check_bits(UINT32_MAX);
    check_bits(UINT64_MAX);
    for (unsigned a = 0; a < 64; a++)
        for (unsigned b = 0; b < 64; b++) {
            check_bits(UINT64_C(1) << a | UINT64_C(1) << b);
            check_bits(~(UINT64_C(1) << a | UINT64_C(1) << b));
        }
    for (int i = 0; i < 10000; i++) {
        uint64_t x = next_random(&seed);

        check_bits(x);
        check_bits(x >> (x & 63));
    }
}

/* XXH3's own test vectors, of its sanity check (buffer, length, seed, result). */
#define PRIME32 UINT64_C(2654435761)
#define PRIME64 UINT64_C(11400714785074694797)

static void checksums_have_their_published_values(void **state)
{
    static const struct {
        size_t size;
        uint64_t seed;
        uint64_t sum;
    } known[] = {
        {0, 0, 0x2D06800538D394C2},       {0, PRIME64, 0xA8A6B918B2F0364A}, {1, 0, 0xC44BDFF4074EECDB},
        {1, PRIME64, 0x032BE332DD766EF8}, {6, 0, 0x27B56A84CD2D7325},       {12, 0, 0xA713DAF0DFBB77E7},
        {24, 0, 0xA3FE70BF9D3510EB},      {48, 0, 0x397DA259ECBA1F11},      {80, 0, 0xBCDEFBBB2C47C90A},
        {195, 0, 0xCD94217EE362EC3A},     {403, 0, 0xCDEB804D65C6DEA4},     {2048, 0, 0xDD59E2C3A5F038E0},
    };
    unsigned char buffer[2048];
    uint64_t generator = PRIME32;

    for (size_t i = 0; i < sizeof(buffer); i++) {
        buffer[i] = (unsigned char)(generator >> 56);
        generator *= PRIME64;
    }
    for (size_t i = 0; i < LENGTH(known); i++) {
        uint64_t sum = hf_checksum64(buffer, known[i].size, known[i].seed);

        assert_true(sum == known[i].sum);
        assert_true(hf_hash_bytes(buffer, known[i].size, known[i].seed) == sum);
        assert_true(hf_checksum32(buffer, known[i].size, known[i].seed) == (uint32_t)sum);
    }
}

static void a_checksum_notices_every_bit_and_the_place(void **state)
{
    unsigned char bytes[40] = "what is written for one place";
    uint32_t sum = hf_checksum32(bytes, sizeof(bytes), 7);

    assert_true(hf_checksum32(bytes, sizeof(bytes), 8) != sum);
    assert_true(hf_checksum32(bytes, sizeof(bytes) - 1, 7) != sum);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_true(hf_checksum32(bytes, sizeof(bytes), 7) != sum);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(hf_checksum32(bytes, sizeof(bytes), 7) == sum);
}

/* The inverses of the odd multipliers modulo 2^64, by Newton's iteration. */
static uint64_t inverse(uint64_t odd)
{
    uint64_t x = odd;

    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

static void integer_hashes_are_a_bijection(void **state)
{
    uint64_t seed = 2;

    for (int i = 0; i < 10000; i++) {
        uint64_t x = next_random(&seed), key = next_random(&seed);
        uint64_t back = hf_hash_u64(x, key);

        back ^= back >> 33;
        back *= inverse(0xc4ceb9fe1a85ec53u);
        back ^= back >> 33;
        back *= inverse(0xff51afd7ed558ccdu);
        back ^= back >> 33;
        assert_true((back ^ key) == x);
    }
}

/* Every input bit flips each output bit in 40 to 60 of 100 cases. */
static void integer_hashes_mix_every_bit_into_every_other(void **state)
{
    enum { TRIALS = 4000 };
    uint64_t seed = 3;

    for (unsigned in = 0; in < 64; in++) {
        unsigned flips[64] = {0};

        for (int i = 0; i < TRIALS; i++) {
            uint64_t x = next_random(&seed);
            uint64_t change = hf_hash_u64(x, 5) ^ hf_hash_u64(x ^ UINT64_C(1) << in, 5);

            for (unsigned out = 0; out < 64; out++)
                flips[out] += change >> out & 1;
        }
        for (unsigned out = 0; out < 64; out++)
            assert_in_range(flips[out], TRIALS * 2 / 5, TRIALS * 3 / 5);
    }
}

/* Does `condition`, asserted in a child, abort it? */
static bool aborts(bool cheap, volatile int *evaluated, bool condition)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        if (cheap)
            HF_ASSERT_CHEAP(++*evaluated && condition);
        else
            HF_ASSERT(++*evaluated && condition);
        _exit(*evaluated == 1 ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), cheap || HF_ASSERTS ? 0 : 3);
        return false;
    }
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    return true;
}

static void cheap_assertions_are_in_every_build(void **state)
{
    int evaluated = 0;

    assert_false(aborts(true, &evaluated, true));
    assert_true(aborts(true, &evaluated, false));
}

static void other_assertions_are_in_debug_builds(void **state)
{
    int evaluated = 0;

    assert_false(aborts(false, &evaluated, true));
    assert_int_equal(aborts(false, &evaluated, false), HF_ASSERTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_agree_with_a_loop),
        cmocka_unit_test(checksums_have_their_published_values),
        cmocka_unit_test(a_checksum_notices_every_bit_and_the_place),
        cmocka_unit_test(integer_hashes_are_a_bijection),
        cmocka_unit_test(integer_hashes_mix_every_bit_into_every_other),
        cmocka_unit_test(cheap_assertions_are_in_every_build),
        cmocka_unit_test(other_assertions_are_in_debug_builds),
    };

    return cmocka_run_group_tests_name("base/bits, hash, assert", tests, NULL, NULL);
}
