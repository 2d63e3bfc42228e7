/*
 * runs.c: runs of free granules: see runs.h.
 *
 * Every function that goes down has a part in hand: its level, its index from the left, its link and its sum, and works on
 * granules counted from the part's beginning. A part without a node is looked at, and made a node of, by its sum.
 */
#include "region/runs.h"

#include <holdfast/status.h>

#include <string.h>

struct part {
    unsigned level;
    uint64_t index;
    uint64_t link;
    struct hf_runs_sum sum;
};

/* Granules of a part. */
static uint64_t span_of(unsigned level)
{
    return (uint64_t)HF_RUNS_LEAF << HF_RUNS_FAN_BITS * level;
}

/* All free, or all taken: then there is no node. */
static bool is_whole(const struct part *part)
{
    return part->sum.most == 0 || part->sum.most == span_of(part->level);
}

static struct part root_of(const struct hf_runs *runs)
{
    return (struct part){.level = (unsigned)runs->level, .link = runs->root, .sum = runs->sum};
}

static struct part child_of(const struct part *part, const union hf_runs_node *node, unsigned i)
{
    return (struct part){
        .level = part->level - 1,
        .index = part->index << HF_RUNS_FAN_BITS | i,
        .link = node->inner.link[i],
        .sum = node->inner.child[i],
    };
}

bool hf_runs_are_sound(const struct hf_runs *runs)
{
    return runs->level < HF_RUNS_LEVELS && runs->sum.most <= span_of((unsigned)runs->level);
}

/* Two nodes a level, below a root that may be new. */
unsigned hf_runs_nodes(const struct hf_runs *runs, uint64_t end)
{
    unsigned level = (unsigned)runs->level;

    while (level + 1 < HF_RUNS_LEVELS && span_of(level) < end)
        level++;
    return 2 * (level + 1) + (level - (unsigned)runs->level);
}

/* -- sums -- */

static struct hf_runs_sum whole(unsigned level, bool free)
{
    uint64_t count = free ? span_of(level) : 0;

    return (struct hf_runs_sum){count, count, count};
}

static void add_to_sum(struct hf_runs_sum *sum, uint64_t *before, const struct hf_runs_sum *next, uint64_t span)
{
    /* `before`: granules of what has been added so far. `last` is 'free at the end of that'. */
    if (sum->first == *before)
        sum->first += next->first;
    if (sum->last + next->first > sum->most)
        sum->most = sum->last + next->first;
    if (next->most > sum->most)
        sum->most = next->most;
    sum->last = next->last == span ? sum->last + span : next->last;
    *before += span;
}

static struct hf_runs_sum sum_of_word(uint64_t word)
{
    struct hf_runs_sum sum = {64, 64, 64};

    if (word == UINT64_MAX)
        return sum;
    sum.first = (uint64_t)__builtin_ctzll(~word);
    sum.last = (uint64_t)__builtin_clzll(~word);
    /* Each turn takes one off every run. */
    for (sum.most = 0; word != 0; word &= word << 1)
        sum.most++;
    return sum;
}

static struct hf_runs_sum sum_of(unsigned level, const union hf_runs_node *node)
{
    struct hf_runs_sum sum = {0, 0, 0};
    uint64_t before = 0;

    if (level == 0) {
        for (unsigned i = 0; i < HF_RUNS_LEAF / 64; i++) {
            struct hf_runs_sum next = sum_of_word(node->free[i]);
            add_to_sum(&sum, &before, &next, 64);
        }
        return sum;
    }
    for (unsigned i = 0; i < HF_RUNS_FAN; i++)
        add_to_sum(&sum, &before, &node->inner.child[i], span_of(level - 1));
    return sum;
}

/* -- looking -- */

/* The node of a part; where it has none, what it would be. */
static int load(const struct hf_runs_home *home, const struct part *part, union hf_runs_node *out)
{
    if (!is_whole(part))
        return home->store->load(home->arg, part->level, part->index, part->link, out);
    memset(out, 0, sizeof *out);
    if (part->sum.most == 0)
        return 0;
    if (part->level == 0)
        memset(out->free, 0xff, sizeof out->free);
    for (unsigned i = 0; part->level > 0 && i < HF_RUNS_FAN; i++)
        out->inner.child[i] = whole(part->level - 1, true);
    return 0;
}

static bool is_free(const union hf_runs_node *leaf, uint64_t at)
{
    return leaf->free[at / 64] >> at % 64 & 1;
}

/* The first run of a leaf that is long enough: 1, or HF_CORRUPT: its sum says that there is one. */
static int find_in_leaf(const union hf_runs_node *leaf, uint64_t count, uint64_t *at)
{
    uint64_t run = 0;

    for (uint64_t i = 0; i < HF_RUNS_LEAF; i++) {
        if (i % 64 == 0 && leaf->free[i / 64] == 0) {
            run = 0;
            i += 63;
            continue;
        }
        run = is_free(leaf, i) ? run + 1 : 0;
        if (run == count) {
            *at += i + 1 - run;
            return 1;
        }
    }
    return HF_CORRUPT;
}

/* One step down: 1: *at is it. 0: it is in *part, which is now a child. */
static int find_in_inner(const union hf_runs_node *node, uint64_t count, struct part *part, uint64_t *at)
{
    uint64_t run = 0, span = span_of(part->level - 1);

    for (unsigned i = 0; i < HF_RUNS_FAN; i++) {
        const struct hf_runs_sum *sum = &node->inner.child[i];
        if (sum->first > span || sum->last > span || sum->most > span)
            return HF_CORRUPT;
        if (run + sum->first >= count) {
            *at += i * span - run;
            return 1;
        }
        if (sum->most >= count) {
            *at += i * span;
            *part = child_of(part, node, i);
            return 0;
        }
        run = sum->last == span ? run + span : sum->last;
    }
    return HF_CORRUPT;
}

int hf_runs_find(const struct hf_runs_home *home, const struct hf_runs *runs, uint64_t count, uint64_t *at)
{
    struct part part = root_of(runs);
    union hf_runs_node node;

    *at = 0;
    if (!hf_runs_are_sound(runs))
        return HF_CORRUPT;
    if (count == 0 || part.sum.most < count)
        return 0;
    for (;;) {
        if (is_whole(&part))
            return 1;
        int status = load(home, &part, &node);
        if (status < 0)
            return status;
        if (part.level == 0)
            return find_in_leaf(&node, count, at);
        status = find_in_inner(&node, count, &part, at);
        if (status != 0)
            return status;
    }
}

static int count_before(const struct hf_runs_home *home, const struct part *part, uint64_t end, uint64_t *count)
{
    union hf_runs_node node;

    *count = 0;
    if (end == span_of(part->level) || is_whole(part)) {
        *count = is_whole(part) ? (part->sum.most == 0 ? 0 : end) : part->sum.last;
        return *count <= end ? 0 : HF_CORRUPT;
    }
    int status = load(home, part, &node);
    if (status < 0)
        return status;
    if (part->level == 0) {
        while (*count < end && is_free(&node, end - 1 - *count))
            ++*count;
        return 0;
    }
    uint64_t span = span_of(part->level - 1), rest = end % span;
    unsigned i = (unsigned)(end / span);
    if (rest > 0) {
        struct part child = child_of(part, &node, i);
        status = count_before(home, &child, rest, count);
        if (status < 0 || *count < rest)
            return status;
    }
    while (i-- > 0) {
        uint64_t last = node.inner.child[i].last;
        if (last > span)
            return HF_CORRUPT;
        *count += last;
        if (last < span)
            break;
    }
    return 0;
}

int hf_runs_before(const struct hf_runs_home *home, const struct hf_runs *runs, uint64_t at, uint64_t *count)
{
    struct part root = root_of(runs);

    *count = 0;
    if (!hf_runs_are_sound(runs))
        return HF_CORRUPT;
    /* What is behind the tree is taken. */
    return at > span_of(root.level) ? 0 : count_before(home, &root, at, count);
}

/* -- changing -- */

static int set_bits(union hf_runs_node *leaf, uint64_t from, uint64_t to, bool free)
{
    for (uint64_t part; from < to; from += part) {
        part = 64 - from % 64 < to - from ? 64 - from % 64 : to - from;
        uint64_t mask = UINT64_MAX >> (64 - part) << from % 64, *word = &leaf->free[from / 64];
        if ((*word & mask) != (free ? 0 : mask))
            return HF_CORRUPT;
        *word ^= mask;
    }
    return 0;
}

static int set(const struct hf_runs_home *home, struct part *part, uint64_t from, uint64_t to, bool free);

static int set_children(const struct hf_runs_home *home, const struct part *part, union hf_runs_node *node,
                        uint64_t from, uint64_t to, bool free)
{
    uint64_t span = span_of(part->level - 1);
    int status = 0;

    for (unsigned i = (unsigned)(from / span); status == 0 && i <= (to - 1) / span; i++) {
        uint64_t begin = i * span, low = from > begin ? from - begin : 0,
                 high = to - begin < span ? to - begin : span;
        struct part child = child_of(part, node, i);
        status = set(home, &child, low, high, free);
        node->inner.child[i] = child.sum;
        node->inner.link[i] = child.link;
    }
    return status;
}

/* What becomes free was taken before, and the other way round: so a part that changes as a whole has no node. */
static int set(const struct hf_runs_home *home, struct part *part, uint64_t from, uint64_t to, bool free)
{
    union hf_runs_node node;
    bool was_whole = is_whole(part);

    if (from == 0 && to == span_of(part->level)) {
        if (part->sum.most != (free ? 0 : to))
            return HF_CORRUPT;
        part->sum = whole(part->level, free);
        return 0;
    }
    int status = load(home, part, &node);
    if (status == 0)
        status = part->level == 0 ? set_bits(&node, from, to, free) : set_children(home, part, &node, from, to, free);
    if (status < 0)
        return status;
    part->sum = sum_of(part->level, &node);
    if (!is_whole(part))
        return home->store->store(home->arg, part->level, part->index, was_whole, &part->link, &node);
    uint64_t link = part->link;
    part->link = 0;
    return was_whole ? 0 : home->store->drop(home->arg, part->level, part->index, link);
}

/* Makes the tree higher, until it reaches this far. */
static int reach(const struct hf_runs_home *home, struct part *root, uint64_t end)
{
    while (span_of(root->level) < end) {
        struct part higher = {.level = root->level + 1};
        union hf_runs_node node;
        if (higher.level == HF_RUNS_LEVELS)
            return HF_LIMIT;
        memset(&node, 0, sizeof node);
        node.inner.child[0] = root->sum;
        node.inner.link[0] = root->link;
        higher.sum = sum_of(higher.level, &node);
        if (higher.sum.most > 0) {
            int status = home->store->store(home->arg, higher.level, 0, true, &higher.link, &node);
            if (status < 0)
                return status;
        }
        *root = higher;
    }
    return 0;
}

static int change(const struct hf_runs_home *home, struct hf_runs *runs, uint64_t at, uint64_t count, bool free)
{
    struct part root = root_of(runs);

    if (!hf_runs_are_sound(runs) || count == 0 || count > UINT64_MAX - at)
        return HF_CORRUPT;
    int status = reach(home, &root, at + count);
    if (status == 0)
        status = set(home, &root, at, at + count, free);
    if (status < 0)
        return status;
    *runs = (struct hf_runs){.root = root.link, .level = root.level, .sum = root.sum};
    return 0;
}

int hf_runs_take(const struct hf_runs_home *home, struct hf_runs *runs, uint64_t at, uint64_t count)
{
    return change(home, runs, at, count, false);
}

int hf_runs_free(const struct hf_runs_home *home, struct hf_runs *runs, uint64_t at, uint64_t count)
{
    return change(home, runs, at, count, true);
}

/* -- visiting -- */

static int visit_leaf(const union hf_runs_node *leaf, uint64_t base, const struct hf_runs_visitor *visitor)
{
    uint64_t run = 0;
    int status = 0;

    for (uint64_t i = 0; status == 0 && i <= HF_RUNS_LEAF; i++) {
        if (i < HF_RUNS_LEAF && is_free(leaf, i)) {
            run++;
            continue;
        }
        if (run > 0)
            status = visitor->free(visitor->arg, base + i - run, run);
        run = 0;
    }
    return status;
}

static int visit(const struct hf_runs_home *home, const struct part *part, const struct hf_runs_visitor *visitor)
{
    union hf_runs_node node;
    uint64_t span = span_of(part->level);

    if (is_whole(part)) {
        if (part->sum.first != part->sum.most || part->sum.last != part->sum.most)
            return HF_CORRUPT;
        return part->sum.most == 0 ? 0 : visitor->free(visitor->arg, part->index * span, span);
    }
    int status = visitor->node(visitor->arg, part->level, part->index, part->link);
    if (status == 0)
        status = load(home, part, &node);
    if (status < 0)
        return status;
    struct hf_runs_sum sum = sum_of(part->level, &node);
    if (memcmp(&sum, &part->sum, sizeof sum) != 0)
        return HF_CORRUPT;
    if (part->level == 0)
        return visit_leaf(&node, part->index * span, visitor);
    for (unsigned i = 0; status == 0 && i < HF_RUNS_FAN; i++) {
        struct part child = child_of(part, &node, i);
        if (child.sum.most > span_of(child.level))
            return HF_CORRUPT;
        status = visit(home, &child, visitor);
    }
    return status;
}

int hf_runs_visit(const struct hf_runs_home *home, const struct hf_runs *runs, const struct hf_runs_visitor *visitor)
{
    struct part root = root_of(runs);

    return hf_runs_are_sound(runs) ? visit(home, &root, visitor) : HF_CORRUPT;
}
