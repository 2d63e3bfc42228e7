/*
 * crash_shared.c: the laboratory's tools on the map in shared memory (tool.h, shared_lab.h).
 */
#include "shared_lab.h"
#include "tool.h"

int main(int argc, char **argv)
{
    static const struct hf_subject *const subjects[] = {&shared_map, &shared_set, &shared_clear, &shared_exchange,
                                                        NULL};
    static const struct hf_clients_subject *const clients[] = {&shared_clients, &shared_writers, NULL};
    static const struct hf_weave_subject *const weaves[] = {NULL};
    static const char *const jobs[] = {
        "clients --subject shared_writers",
        "clients --subject shared_clients",
        "kills --subject shared_map",
        "steps --subject shared_set",
        "steps --subject shared_clear",
        "steps --subject shared_exchange",
        NULL,
    };

    return hf_tool_main(argc, argv, subjects, clients, weaves, jobs);
}
