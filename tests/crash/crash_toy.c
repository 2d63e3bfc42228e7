/*
 * crash_toy.c: the laboratory's tools on its own small stores (tool.h, toy.h). The names of the subjects are those of
 * the lists in toy.h; all but toy_right and toy_shared_right have a fault that a tool finds.
 */
#include "tool.h"
#include "toy.h"

int main(int argc, char **argv)
{
#define TOY_SUBJECT(name, fault) &name,
    static const struct hf_subject *const subjects[] = {
        TOY_STORE_LIST(TOY_SUBJECT) TOY_SHARED_LIST(TOY_SUBJECT) NULL,
    };
#undef TOY_SUBJECT
#define TOY_SUBJECT(name, fault) &name##_clients,
    static const struct hf_clients_subject *const clients[] = {TOY_SHARED_LIST(TOY_SUBJECT) NULL};
#undef TOY_SUBJECT
    static const struct hf_weave_subject *const weaves[] = {NULL};
    static const char *const jobs[] = {
        "power --subject toy_right",  "faults --subject toy_right",         "kills --subject toy_right",
        "steps --subject toy_right",  "kills --subject toy_shared_right",   "steps --subject toy_shared_right",
        "damage --subject toy_right", "clients --subject toy_shared_right", NULL,
    };

    return hf_tool_main(argc, argv, subjects, clients, weaves, jobs);
}
