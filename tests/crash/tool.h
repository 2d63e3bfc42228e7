/*
 * tool.h: the command line of a program that runs the laboratory's tools on some subjects. A layer's own program is
 * a list of its subjects and a main of one line (crash_toy.c).
 *
 *     crash_toy TOOL [--subject NAME] [--count N] [--seconds S] [--seed N] [--stride N] [--steps N] [--reopened N]
 *               [--before N]
 *     crash_toy --jobs
 *
 * TOOL is power, faults, kills, steps, damage, clients or weave. The counts are small, for `make test`; with TORTURE=1 in the
 * environment large, and the seed is the clock's, and said. TIME=S in it is as --seconds S. --steps N sets how many
 * commits a first session makes, --reopened N how many one on a crash image makes at most, --before N how
 * many a session makes before the first, at most.
 *
 * The last line says how many of what were tried, and the violations; the exit status is 1 where there is any, or
 * where nothing was tried, 2 where the laboratory could not work, 77 where the system does not let it.
 *
 * HOLDFAST_CRASH_TRACE=1 in the environment shows, with each violation after a power cut, the calls that led to it.
 *
 * --jobs prints what tools/run_torture is to run, a line each.
 */
#ifndef HF_CRASH_TOOL_H
#define HF_CRASH_TOOL_H

#include "damage.h"
#include "kill.h"
#include "power.h"
#include "weave.h"

/* All lists end with NULL; the first subject of each is the one that is taken if none is named. */
int hf_tool_main(int argc, char **argv, const struct hf_subject *const *subjects,
                 const struct hf_clients_subject *const *clients, const struct hf_weave_subject *const *weaves,
                 const char *const *jobs);

#endif
