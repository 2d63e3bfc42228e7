/*
 * crash_cask.c: the laboratory's tools on the cask (tool.h, cask_lab.h).
 */
#include "cask_lab.h"
#include "tool.h"

int main(int argc, char **argv)
{
    static const struct hf_subject *const subjects[] = {&cask_mixed, &cask_put, &cask_batch, &cask_merge, NULL};
    static const struct hf_clients_subject *const clients[] = {&cask_clients, NULL};
    static const struct hf_weave_subject *const weaves[] = {NULL};
    static const char *const jobs[] = {
        "power --subject cask --before 60",
        "power --subject cask --steps 60",
        "lost --subject cask --before 20",
        "faults --subject cask",
        "kills --subject cask",
        "clients --subject cask",
        "steps --subject cask_put",
        "steps --subject cask_batch",
        "steps --subject cask_merge --stride 10",
        NULL,
    };

    return hf_tool_main(argc, argv, subjects, clients, weaves, jobs);
}
