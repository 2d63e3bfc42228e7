/*
 * cpu.h: which of several builds of the same code to run on this processor.
 *
 * Counting the bits of a bitmap decides how fast a trie look-up is. x86-64 as
 * such has no instruction for it; every processor since about 2013 does, but a
 * library for all of x86-64 may not assume so, and the default build flags are
 * what users get. Hence CPU levels: the build compiles a performance critical
 * file once for each level, with
 *
 *     -DHF_CPU_LEVEL=<level>      and, for popcnt, -mpopcnt -mbmi -mbmi2
 *
 *     level       built on        needs at run time
 *     portable    everything      nothing
 *     popcnt      x86-64          POPCNT, BMI1, BMI2
 *
 * How to use it: put the file in `hf_level_sources` in src/<layer>/meson.build
 * (the Python extension loops over `cpu_levels` itself). The file makes
 * everything static except one constant table of functions, named by the level:
 *
 *     const struct hf_map_ops HF_CPU_NAME(hf_map_ops) = { ... };
 *
 * The code that uses it, compiled once, declares all of them and picks one:
 *
 *     HF_CPU_DECLARE(struct hf_map_ops, hf_map_ops);
 *     const struct hf_map_ops *ops = HF_CPU_SELECT(hf_map_ops);
 *
 * A file that is compiled for a level must not define an `inline` function with
 * external linkage, nor anything else the linker could merge: code with BMI2 in
 * it would then run on a processor without.
 *
 * Concurrency: hf_cpu_level may be called from any thread at any time; the first
 * calls may compute the same answer twice. Failure: none.
 */
#ifndef HF_BASE_CPU_H
#define HF_BASE_CPU_H

#include <stddef.h>

#ifndef HF_CPU_HAS_POPCNT
#define HF_CPU_HAS_POPCNT 0
#endif

enum hf_cpu_level {
    HF_CPU_PORTABLE,
    HF_CPU_POPCNT,
};

#define HF_CPU_PASTE_(name, level) name##_##level
#define HF_CPU_PASTE(name, level) HF_CPU_PASTE_(name, level)

/* In a file compiled for a level: the name with the level appended. */
#define HF_CPU_NAME(name) HF_CPU_PASTE(name, HF_CPU_LEVEL)

#if HF_CPU_HAS_POPCNT
#define HF_CPU_DECLARE(type, name) extern const type name##_portable, name##_popcnt
#define HF_CPU_SELECT(name) (hf_cpu_level() == HF_CPU_POPCNT ? &name##_popcnt : &name##_portable)
#else
#define HF_CPU_DECLARE(type, name) extern const type name##_portable
#define HF_CPU_SELECT(name) (&name##_portable)
#endif

/*
 * The best level that is built in and that this processor can run. The
 * environment variable HOLDFAST_CPU=portable asks for less, for tests; any other
 * value, and in a set-user-id program every value, is as if it were not set.
 * The answer is the same for the life of the process.
 */
enum hf_cpu_level hf_cpu_level(void);

/* "portable" or "popcnt". */
const char *hf_cpu_level_name(enum hf_cpu_level level);

/* The decision itself, for tests: `asked` is the variable's value or NULL. */
enum hf_cpu_level hf_cpu_choose(const char *asked);

#endif
