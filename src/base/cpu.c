/*
 * cpu.c: see cpu.h.
 *
 * The answer is kept in one atomic, as level + 1 so that 0 means "not yet".
 * Threads that race to fill it store the same value, so relaxed order is enough.
 */
#include "base/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int hf_cpu_known;

enum hf_cpu_level hf_cpu_choose(const char *asked)
{
    if (asked != NULL && strcmp(asked, "portable") == 0)
        return HF_CPU_PORTABLE;
#if HF_CPU_HAS_POPCNT
    __builtin_cpu_init();
    if (__builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return HF_CPU_POPCNT;
#endif
    return HF_CPU_PORTABLE;
}

enum hf_cpu_level hf_cpu_level(void)
{
    int known = atomic_load_explicit(&hf_cpu_known, memory_order_relaxed);

    if (known == 0) {
        known = (int)hf_cpu_choose(secure_getenv("HOLDFAST_CPU")) + 1;
        atomic_store_explicit(&hf_cpu_known, known, memory_order_relaxed);
    }
    return (enum hf_cpu_level)(known - 1);
}

const char *hf_cpu_level_name(enum hf_cpu_level level)
{
    return level == HF_CPU_POPCNT ? "popcnt" : "portable";
}
