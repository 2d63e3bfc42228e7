/*
 * expect.c: see expect.h.
 */
#include "expect.h"

void hf_expect_init(struct hf_expect *expect)
{
    *expect = (struct hf_expect){.rebooted = true};
    hf_expect_mark(expect, HF_MARK_BEGIN, HF_NOTHING);
}

void hf_expect_clear(struct hf_expect *expect)
{
    free(expect->digest);
    *expect = (struct hf_expect){0};
}

void hf_expect_copy(struct hf_expect *to, const struct hf_expect *from)
{
    *to = *from;
    to->digest = hf_lab_copied(from->digest, from->count * sizeof(*from->digest));
    to->capacity = from->count;
}

/* Where it is, the last of several: `count` if it is not there. Nothing before the last one done may come up. */
static size_t expect_find(const struct hf_expect *expect, uint64_t digest)
{
    for (size_t i = expect->count; i-- > expect->done;)
        if (expect->digest[i] == digest)
            return i;
    return expect->count;
}

static void expect_recovered(struct hf_expect *expect, uint64_t digest)
{
    size_t at = expect_find(expect, digest);

    /* What was not allowed is reported by whoever asked; from here on it is what there is. */
    if (at == expect->count)
        expect->digest[--at] = digest;
    expect->count = at + 1;
    expect->done = at;
    if (expect->rebooted)
        expect->durable = at;
}

void hf_expect_mark(struct hf_expect *expect, int mark, uint64_t digest)
{
    switch ((enum hf_mark)mark) {
    case HF_MARK_BEGIN:
        HF_LAB_ROOM(expect->digest, expect->count, expect->capacity);
        expect->digest[expect->count++] = digest;
        break;
    case HF_MARK_DONE:
        expect->done = expect->count - 1;
        break;
    case HF_MARK_DURABLE:
        expect->durable = expect->done = expect->count - 1;
        break;
    case HF_MARK_FAILED:
        if (expect->count > expect->done + 1)
            expect->count--;
        break;
    case HF_MARK_BROKEN:
        expect->done = expect->durable;
        break;
    case HF_MARK_RECOVERED:
        expect_recovered(expect, digest);
        expect->rebooted = false;
        break;
    }
}

void hf_expect_crash(struct hf_expect *expect, bool power)
{
    const size_t gone = expect->durable;

    if (power)
        expect->done = expect->durable;
    expect->rebooted = power;
    /* What is before the durable one can never come up: keep the list short. */
    memmove(expect->digest, expect->digest + gone, (expect->count - gone) * sizeof(*expect->digest));
    expect->count -= gone;
    expect->done -= gone;
    expect->durable = 0;
}

bool hf_expect_allows(const struct hf_expect *expect, uint64_t digest)
{
    return expect_find(expect, digest) < expect->count;
}

void hf_expect_describe(const struct hf_expect *expect, char *text, size_t size)
{
    int used = snprintf(text, size, "one of");

    for (size_t i = expect->done; i < expect->count && used >= 0 && (size_t)used < size; i++)
        used += snprintf(text + used, size - (size_t)used, " %08llx", (unsigned long long)(expect->digest[i] >> 32));
}
