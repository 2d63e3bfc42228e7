/* The choice of a CPU level. Run once with HOLDFAST_CPU set to each level. */
#include "base/cpu.h"

#include "cm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4

static void portable_can_always_be_asked_for(void **state)
{
    assert_int_equal(hf_cpu_choose("portable"), HF_CPU_PORTABLE);
}

static void other_values_are_as_if_not_set(void **state)
{
    enum hf_cpu_level best = hf_cpu_choose(NULL);

    assert_int_equal(hf_cpu_choose(""), best);
    assert_int_equal(hf_cpu_choose("PORTABLE"), best);
    assert_int_equal(hf_cpu_choose("popcnt"), best);
    assert_int_equal(hf_cpu_choose("no such level"), best);
}

static void the_best_level_is_what_the_processor_says(void **state)
{
#if HF_CPU_HAS_POPCNT
    unsigned ecx1, ebx7;
    unsigned eax = 1, ebx, ecx, edx;

    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    ecx1 = ecx;
    eax = 7, ecx = 0;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    ebx7 = ebx;

    int can = (ecx1 >> 23 & 1) && (ebx7 >> 3 & 1) && (ebx7 >> 8 & 1);
    assert_int_equal(hf_cpu_choose(NULL), can ? HF_CPU_POPCNT : HF_CPU_PORTABLE);
#else
    assert_int_equal(hf_cpu_choose(NULL), HF_CPU_PORTABLE);
#endif
}

static void *read_level(void *out)
{
    *(enum hf_cpu_level *)out = hf_cpu_level();
    return NULL;
}

/* First, so that the threads race for the very first answer. */
static void every_thread_sees_what_the_environment_asks(void **state)
{
    pthread_t threads[THREADS];
    enum hf_cpu_level seen[THREADS];
    const char *asked = getenv("HOLDFAST_CPU");

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_level, &seen[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(seen[i], hf_cpu_choose(asked));
    }
    /* The answer stays, whatever becomes of the variable. */
    assert_int_equal(setenv("HOLDFAST_CPU", "portable", 1), 0);
    assert_int_equal(hf_cpu_level(), seen[0]);
    assert_int_equal(unsetenv("HOLDFAST_CPU"), 0);
    assert_int_equal(hf_cpu_level(), seen[0]);
}

static const int table_portable = HF_CPU_PORTABLE;
#if HF_CPU_HAS_POPCNT
static const int table_popcnt = HF_CPU_POPCNT;
#endif

static void select_takes_the_table_of_the_level(void **state)
{
    assert_int_equal(*HF_CPU_SELECT(table), hf_cpu_level());
}

static void levels_have_names(void **state)
{
    assert_string_equal(hf_cpu_level_name(HF_CPU_PORTABLE), "portable");
    assert_string_equal(hf_cpu_level_name(HF_CPU_POPCNT), "popcnt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_sees_what_the_environment_asks),
        cmocka_unit_test(portable_can_always_be_asked_for),
        cmocka_unit_test(other_values_are_as_if_not_set),
        cmocka_unit_test(the_best_level_is_what_the_processor_says),
        cmocka_unit_test(select_takes_the_table_of_the_level),
        cmocka_unit_test(levels_have_names),
    };

    return cmocka_run_group_tests_name("base/cpu", tests, NULL, NULL);
}
