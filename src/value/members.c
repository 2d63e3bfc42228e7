/*
 * members.c: see members.h. The sort is a heap sort: no memory, no bad case, and sets are small.
 */
#include "value/members.h"

#include <string.h>

int hf_members_compare(const uint8_t *bytes, hf_member a, hf_member b)
{
    int order = memcmp(bytes + a.at, bytes + b.at, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* Lets the member at `at` sink below those that belong behind it. */
static void sink(const uint8_t *bytes, hf_member *members, size_t count, size_t at)
{
    hf_member sinking = members[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && hf_members_compare(bytes, members[child], members[child + 1]) < 0)
            child++;
        if (hf_members_compare(bytes, sinking, members[child]) >= 0)
            break;
        members[at] = members[child];
    }
    members[at] = sinking;
}

static bool are_sorted(const uint8_t *bytes, const hf_member *members, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (hf_members_compare(bytes, members[i - 1], members[i]) > 0)
            return false;
    return true;
}

void hf_members_sort(const uint8_t *bytes, hf_member *members, size_t count)
{
    if (are_sorted(bytes, members, count))
        return;
    for (size_t at = count / 2; at-- > 0;)
        sink(bytes, members, count, at);
    for (size_t left = count; left-- > 1;) {
        hf_member last = members[left];
        members[left] = members[0];
        members[0] = last;
        sink(bytes, members, left, 0);
    }
}

size_t hf_members_unique(const uint8_t *bytes, hf_member *members, size_t count)
{
    size_t kept = count > 0;
    for (size_t i = 1; i < count; i++)
        if (hf_members_compare(bytes, members[kept - 1], members[i]) != 0)
            members[kept++] = members[i];
    return kept;
}

size_t hf_members_gather(const uint8_t *bytes, const hf_member *members, size_t count, uint8_t *out)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(out + size, bytes + members[i].at, members[i].size);
        size += members[i].size;
    }
    return size;
}
