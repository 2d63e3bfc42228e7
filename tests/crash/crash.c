/*
 * crash.c: see crash.h.
 */
#include "crash.h"

/* Something that a power cut decides: 0 is what is durable, choices - 1 what is newest. */
enum choice_kind { CHOICE_SECTOR, CHOICE_SIZE, CHOICE_NAMES };

struct choice {
    enum choice_kind kind;
    uint32_t inode;
    size_t index; /* in sectors, or in pending */
    unsigned choices, chosen;
    uint64_t op;
    bool fresh; /* of the last operation */
    bool same;  /* what there is to lose is what is there without it, such as zeros in a new part of a file */
};

/* A block that may be garbled, and whether it is. */
struct garble {
    uint32_t inode;
    size_t block;
    bool fresh, garbled;
};

/* The ways to make the images of a point, in their order. */
enum phase { PHASE_KILLED, PHASE_SUBSETS, PHASE_RANDOM, PHASE_GARBLED, PHASE_TAILS, PHASE_OVER };

struct hf_crash {
    const struct hf_trace *trace;
    struct hf_crash_options options;
    uint64_t seed, number;
    struct hf_state *state; /* after `at` operations */
    size_t at;
    struct hf_expect expect, power, kill; /* before a crash here, and after each kind */

    struct choice *choice;
    size_t choices, choice_capacity, sectors;
    struct garble *garble;
    size_t garbles, garble_capacity;
    bool any_fresh, all_subsets, sector_subsets;
    enum phase phase;
    uint64_t turn; /* of the phase */
    bool killed;
    uint64_t tail; /* bytes of garbage behind each open size */
    struct hf_random random;
};

/* -- points -- */

static void add_choice(struct hf_crash *crash, struct choice choice)
{
    choice.fresh = choice.op == crash->state->ops;
    crash->any_fresh |= choice.fresh;
    HF_LAB_ROOM(crash->choice, crash->choices, crash->choice_capacity);
    crash->choice[crash->choices++] = choice;
}

static bool is_same(const struct hf_file *file, uint64_t sector)
{
    static const uint8_t zeros[HF_SECTOR];
    const size_t b = (size_t)(sector / HF_SECTORS_A_BLOCK), at = (size_t)(sector % HF_SECTORS_A_BLOCK) * HF_SECTOR;
    const uint8_t *now = file->now[b] != NULL ? file->now[b]->bytes + at : zeros;
    const uint8_t *durable = file->durable[b] != NULL ? file->durable[b]->bytes + at : zeros;

    return memcmp(now, durable, HF_SECTOR) == 0;
}

static void add_sectors(struct hf_crash *crash, uint32_t inode)
{
    const struct hf_file *file = &crash->state->files[inode];

    for (size_t i = 0; i < file->sector_count; i++) {
        const struct hf_sector *sector = &file->sectors[i];
        const size_t b = (size_t)(sector->number / HF_SECTORS_A_BLOCK);
        size_t g = crash->garbles;

        add_choice(crash, (struct choice){.kind = CHOICE_SECTOR,
                                          .inode = inode,
                                          .index = i,
                                          .choices = sector->versions + 1,
                                          .op = sector->op,
                                          .same = is_same(file, sector->number)});
        if (!sector->written || file->settled[b])
            continue;
        while (g > 0 && (crash->garble[g - 1].inode != inode || crash->garble[g - 1].block != b))
            g--;
        if (g == 0) {
            HF_LAB_ROOM(crash->garble, crash->garbles, crash->garble_capacity);
            crash->garble[crash->garbles++] = (struct garble){.inode = inode, .block = b};
            g = crash->garbles;
        }
        crash->garble[g - 1].fresh |= sector->op == crash->state->ops;
    }
}

static bool any_mapped(const struct hf_state *state)
{
    for (uint32_t inode = 0; inode < state->inodes; inode++)
        if (state->files[inode].used && state->files[inode].mapped)
            return true;
    return false;
}

/* 2^bits or more is as good as endless. */
static bool product_below(const struct choice *choice, size_t count, unsigned bits)
{
    uint64_t product = 1;

    for (size_t i = 0; i < count; i++) {
        product *= choice[i].choices;
        if (product > (uint64_t)1 << bits)
            return false;
    }
    return true;
}

static void expect_here(const struct hf_crash *crash, bool power, struct hf_expect *out)
{
    hf_expect_clear(out);
    hf_expect_copy(out, &crash->expect);
    hf_expect_crash(out, power);
}

/* Collect what is open after the operation just applied. */
static void begin_point(struct hf_crash *crash)
{
    const struct hf_state *state = crash->state;

    crash->choices = crash->garbles = 0;
    crash->any_fresh = false;
    for (uint32_t inode = 0; inode < state->inodes; inode++)
        if (state->files[inode].used)
            add_sectors(crash, inode);
    crash->sectors = crash->choices;
    for (uint32_t inode = 0; inode < state->inodes; inode++) {
        const struct hf_file *file = &state->files[inode];

        if (file->used && file->size_count > 1)
            add_choice(crash,
                       (struct choice){
                           .kind = CHOICE_SIZE, .inode = inode, .choices = file->size_count, .op = file->size_op});
    }
    for (size_t i = 0; i < state->pending_count; i++)
        add_choice(crash,
                   (struct choice){.kind = CHOICE_NAMES, .index = i, .choices = 2, .op = state->pending[i].op});

    crash->sector_subsets = product_below(crash->choice, crash->sectors, crash->options.exhaustive_bits);
    crash->all_subsets = product_below(crash->choice, crash->choices, crash->options.exhaustive_bits + 2);
    crash->phase = PHASE_KILLED;
    crash->turn = 0;
    for (size_t i = 0; i < crash->choices; i++)
        crash->choice[i].chosen = 0;
}

/*
 * Whether to look at what a crash may leave after this operation. After a flush nothing is possible that was not
 * before; only what the program says of it changes what is allowed, and then all has to be looked at again.
 */
static bool is_point(const struct hf_op *op)
{
    switch (op->kind) {
    case HF_OP_MARK:
        return op->mark != HF_MARK_BEGIN;
    case HF_OP_INODE:
    case HF_OP_SYNC:
    case HF_OP_SYNC_FAILED:
        return false;
    default:
        return true;
    }
}

static bool all_points_needed(const struct hf_crash *crash)
{
    return crash->trace->op[crash->at - 1].kind == HF_OP_MARK || crash->trace->op[crash->at - 1].kind == HF_OP_MAPPED;
}

static bool next_point(struct hf_crash *crash)
{
    while (crash->at < crash->trace->count) {
        const struct hf_op *op = &crash->trace->op[crash->at++];

        hf_state_apply(crash->state, op);
        if (op->kind == HF_OP_MARK)
            hf_expect_mark(&crash->expect, op->mark, op->digest);
        if (is_point(op)) {
            begin_point(crash);
            /* A write of what was there already opens nothing. */
            if (crash->any_fresh || all_points_needed(crash)) {
                expect_here(crash, true, &crash->power);
                expect_here(crash, false, &crash->kill);
                return true;
            }
        }
    }
    return false;
}

/* -- images -- */

static bool has_fresh(const struct hf_crash *crash)
{
    for (size_t i = 0; i < crash->choices; i++)
        if (crash->choice[i].fresh && crash->choice[i].chosen == crash->choice[i].choices - 1)
            return true;
    return false;
}

/* The next combination of the first `count` choices; false when they are through. */
static bool odometer(struct hf_crash *crash, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (++crash->choice[i].chosen < crash->choice[i].choices)
            return true;
        crash->choice[i].chosen = 0;
    }
    return false;
}

static void choose_all(struct hf_crash *crash, bool newest)
{
    for (size_t i = 0; i < crash->choices; i++)
        crash->choice[i].chosen = newest ? crash->choice[i].choices - 1 : 0;
}

static unsigned choose_any(struct hf_crash *crash, const struct choice *choice, unsigned kept_of_8)
{
    /* Kept is mostly the newest version: one in between is rarer in life too. */
    if (!hf_random_chance(&crash->random, kept_of_8, 8))
        return 0;
    if (hf_random_chance(&crash->random, 3, 4))
        return choice->choices - 1;
    return 1 + (unsigned)hf_random_below(&crash->random, choice->choices - 1);
}

/* One of them, and where there are others not one that is the same either way. */
static size_t choose_odd(struct hf_crash *crash, size_t from)
{
    const size_t odd = from + (size_t)hf_random_below(&crash->random, crash->choices - from);

    for (size_t i = 0; i < crash->choices - from; i++) {
        const size_t at = from + (odd - from + i) % (crash->choices - from);

        if (!crash->choice[at].same)
            return at;
    }
    return odd;
}

static void choose_random(struct hf_crash *crash, size_t from)
{
    static const unsigned kept_of_8[] = {4, 4, 1, 7};
    const unsigned way = (unsigned)hf_random_below(&crash->random, 7);
    const size_t odd = choose_odd(crash, from);
    const uint64_t moment = odd < crash->choices ? crash->choice[odd].op : 0;

    for (size_t i = from; i < crash->choices; i++) {
        struct choice *choice = &crash->choice[i];

        if (way < 4)
            choice->chosen = choose_any(crash, choice, kept_of_8[way]);
        else if (way == 4) /* in the order of time */
            choice->chosen = choice->op <= moment ? choice->choices - 1 : 0;
        else /* one alone, or all but one */
            choice->chosen = (i == odd) == (way == 5) ? choice->choices - 1 : 0;
    }
}

/* Something of the last operation must be left of it, or this was an image of the point before. */
static void force_fresh(struct hf_crash *crash)
{
    size_t fresh = 0;

    if (all_points_needed(crash) || has_fresh(crash))
        return;
    for (size_t i = 0; i < crash->choices; i++)
        fresh += crash->choice[i].fresh;
    fresh = (size_t)hf_random_below(&crash->random, fresh);
    for (size_t i = 0; i < crash->choices; i++)
        if (crash->choice[i].fresh && fresh-- == 0)
            crash->choice[i].chosen = crash->choice[i].choices - 1;
}

static bool next_subset(struct hf_crash *crash)
{
    const size_t count = crash->all_subsets ? crash->choices : crash->sectors;

    if (!crash->all_subsets && !crash->sector_subsets)
        return false;
    while (crash->turn++ == 0 || odometer(crash, count)) {
        if (!crash->all_subsets)
            choose_random(crash, count);
        if (all_points_needed(crash) || has_fresh(crash))
            return true;
    }
    return false;
}

static bool next_random(struct hf_crash *crash)
{
    if (crash->all_subsets || crash->turn++ >= crash->options.random)
        return false;
    choose_random(crash, 0);
    force_fresh(crash);
    return true;
}

static bool next_garbled(struct hf_crash *crash)
{
    const size_t most = crash->options.random / 2 + 1;
    const bool each = crash->garbles <= most, others = crash->turn % 4 != 0;
    size_t block = (size_t)(crash->turn / 4);

    if (!crash->options.garble || block >= (each ? crash->garbles : most))
        return false;
    if (!each)
        block = (size_t)hf_random_below(&crash->random, crash->garbles);
    crash->turn++;
    choose_all(crash, true);
    if (others) {
        choose_random(crash, 0);
        for (size_t i = 0; i < crash->garbles; i++)
            crash->garble[i].garbled = hf_random_chance(&crash->random, 1, 4);
    }
    crash->garble[block].garbled = true;
    return true;
}

static bool next_tail(struct hf_crash *crash)
{
    bool open = false;

    for (size_t i = crash->sectors; i < crash->choices; i++)
        open |= crash->choice[i].kind == CHOICE_SIZE;
    if (!crash->options.tails || !open || crash->turn++ >= 2)
        return false;
    choose_all(crash, true);
    if (crash->turn > 1) {
        choose_random(crash, 0);
        force_fresh(crash);
    }
    crash->tail = 1 + hf_random_below(&crash->random, HF_BLOCK);
    return true;
}

static bool next_of_phase(struct hf_crash *crash)
{
    switch (crash->phase) {
    case PHASE_KILLED:
        crash->killed = crash->options.kills && crash->turn++ == 0 && !any_mapped(crash->state);
        return crash->killed;
    case PHASE_SUBSETS:
        return next_subset(crash);
    case PHASE_RANDOM:
        return next_random(crash);
    case PHASE_GARBLED:
        return next_garbled(crash);
    case PHASE_TAILS:
        return next_tail(crash);
    default:
        return false;
    }
}

bool hf_crash_next(struct hf_crash *crash)
{
    for (;;) {
        crash->killed = false;
        crash->tail = 0;
        for (size_t i = 0; i < crash->garbles; i++)
            crash->garble[i].garbled = false;
        crash->random.at = hf_seed_of(crash->seed, crash->number);
        while (crash->phase != PHASE_OVER) {
            if (next_of_phase(crash)) {
                crash->number++;
                return true;
            }
            crash->phase++;
            crash->turn = 0;
            for (size_t i = 0; i < crash->choices; i++)
                crash->choice[i].chosen = 0;
        }
        if (!next_point(crash))
            return false;
    }
}

struct hf_crash *hf_crash_new(const struct hf_state *start, const struct hf_trace *trace,
                              const struct hf_expect *expect, const struct hf_crash_options *options, uint64_t seed)
{
    struct hf_crash *crash = hf_lab_zeroed(sizeof(*crash));

    crash->trace = trace;
    crash->options = *options;
    crash->seed = seed;
    crash->state = hf_state_clone(start);
    hf_expect_copy(&crash->expect, expect);
    hf_expect_init(&crash->power);
    hf_expect_init(&crash->kill);
    crash->phase = PHASE_OVER;
    return crash;
}

void hf_crash_free(struct hf_crash *crash)
{
    if (crash == NULL)
        return;
    hf_state_free(crash->state);
    hf_expect_clear(&crash->expect);
    hf_expect_clear(&crash->power);
    hf_expect_clear(&crash->kill);
    free(crash->choice);
    free(crash->garble);
    free(crash);
}

/* -- building -- */

/* Random bytes, one bits, or what stands in another block: stale data that looks like good data. */
static void garble_block(struct hf_random *random, const struct hf_state *state, uint32_t inode, uint8_t *bytes)
{
    const struct hf_file *file = &state->files[inode];
    const uint64_t way = hf_random_below(random, 4);

    if (way == 0) {
        memset(bytes, 0xff, HF_BLOCK);
        return;
    }
    hf_random_fill(random, bytes, HF_BLOCK);
    if (way == 1)
        return;
    for (size_t tries = 0; tries < 16; tries++) {
        const size_t b = (size_t)hf_random_below(random, file->blocks);
        const struct hf_block *other = hf_random_chance(random, 1, 2) ? file->now[b] : file->durable[b];

        if (other != NULL) {
            memcpy(bytes, other->bytes, HF_BLOCK);
            return;
        }
    }
}

static void build_choice(const struct hf_crash *crash, struct hf_state *image, const struct choice *choice)
{
    const struct hf_file *from = &crash->state->files[choice->inode];
    struct hf_file *to = &image->files[choice->inode];

    if (choice->kind == CHOICE_NAMES) {
        const struct hf_name_change *change = &crash->state->pending[choice->index];

        for (unsigned i = 0; choice->chosen == 1 && i < change->count; i++) {
            hf_names_set(&image->durable, &change->set[i]);
            hf_names_set(&image->now, &change->set[i]);
        }
    } else if (choice->kind == CHOICE_SECTOR && choice->chosen > 0) {
        const struct hf_sector *sector = &from->sectors[choice->index];
        const struct hf_block *version = sector->version[choice->chosen - 1];
        const size_t b = (size_t)(sector->number / HF_SECTORS_A_BLOCK);
        const size_t at = sector->number % HF_SECTORS_A_BLOCK * HF_SECTOR;
        uint8_t *bytes = hf_file_durable_block(to, b);

        if (version != NULL)
            memcpy(bytes + at, version->bytes + at, HF_SECTOR);
        else
            memset(bytes + at, 0, HF_SECTOR);
        to->settled[b] |= sector->written;
    }
}

static void build_sizes(const struct hf_crash *crash, struct hf_state *image, struct hf_random *random)
{
    uint64_t *size = hf_lab_zeroed(image->inodes * sizeof(*size));
    bool *open = hf_lab_zeroed(image->inodes);

    for (uint32_t inode = 0; inode < image->inodes; inode++)
        size[inode] = image->files[inode].sizes[0];
    for (size_t i = crash->sectors; i < crash->choices; i++) {
        const struct choice *choice = &crash->choice[i];

        if (choice->kind == CHOICE_SIZE) {
            size[choice->inode] = crash->state->files[choice->inode].sizes[choice->chosen];
            open[choice->inode] = true;
        }
    }
    for (uint32_t inode = 0; inode < image->inodes; inode++) {
        struct hf_file *file = &image->files[inode];
        const uint64_t tail = open[inode] ? crash->tail : 0;

        if (!file->used)
            continue;
        hf_file_cut(file, size[inode]);
        hf_file_reach(file, size[inode] + tail);
        for (uint64_t at = size[inode]; at < size[inode] + tail; at++)
            hf_file_durable_block(file, (size_t)(at / HF_BLOCK))[at % HF_BLOCK] = (uint8_t)hf_random_next(random);
        file->size = file->sizes[0] = size[inode] + tail;
    }
    free(size);
    free(open);
}

/* What was stored through a mapping: all, nothing or anything of it. */
static void build_mapped(struct hf_state *image, uint32_t inode, struct hf_random *random)
{
    struct hf_file *file = &image->files[inode];
    const uint64_t way = hf_random_below(random, 3);

    for (size_t b = 0; way > 0 && b * HF_BLOCK < file->sizes[0]; b++) {
        uint8_t *bytes = hf_file_durable_block(file, b);

        /* Such files may be large, and are of no interest. */
        for (size_t at = 0; at < HF_BLOCK; at += sizeof(uint64_t)) {
            const uint64_t word = way == 1 ? 0 : hf_random_next(random);

            memcpy(bytes + at, &word, sizeof(word));
        }
    }
}

struct hf_state *hf_crash_image(struct hf_crash *crash)
{
    struct hf_random random = {hf_seed_of(~crash->seed, crash->number)};
    struct hf_state *image;

    if (crash->killed)
        return hf_state_clone(crash->state);
    image = hf_state_durable(crash->state);
    for (size_t i = 0; i < crash->choices; i++)
        build_choice(crash, image, &crash->choice[i]);
    for (size_t i = 0; i < crash->garbles; i++) {
        const struct garble *garble = &crash->garble[i];

        if (garble->garbled) {
            struct hf_file *file = &image->files[garble->inode];

            garble_block(&random, crash->state, garble->inode, hf_file_durable_block(file, garble->block));
            file->settled[garble->block] = true;
        }
    }
    for (uint32_t inode = 0; inode < image->inodes; inode++)
        if (crash->state->files[inode].used && crash->state->files[inode].mapped)
            build_mapped(image, inode, &random);
    build_sizes(crash, image, &random);
    for (uint32_t inode = 0; inode < image->inodes; inode++)
        if (image->files[inode].used)
            hf_file_reload(&image->files[inode]);
    hf_state_prune(image);
    return image;
}

/* -- words -- */

const struct hf_expect *hf_crash_expect(const struct hf_crash *crash)
{
    return crash->killed ? &crash->kill : &crash->power;
}

bool hf_crash_is_kill(const struct hf_crash *crash)
{
    return crash->killed;
}

bool hf_crash_is_plain(const struct hf_crash *crash)
{
    size_t kept = 0, lost = 0;

    for (size_t i = 0; i < crash->choices; i++) {
        kept += crash->choice[i].chosen > 0;
        lost += crash->choice[i].chosen < crash->choice[i].choices - 1;
    }
    return crash->killed || kept <= 1 || lost <= 1;
}

uint64_t hf_crash_number(const struct hf_crash *crash)
{
    return crash->number;
}

size_t hf_crash_point(const struct hf_crash *crash)
{
    return crash->at;
}

static size_t describe_choice(const struct hf_crash *crash, const struct choice *choice, char *text, size_t size)
{
    const struct hf_file *file = &crash->state->files[choice->inode];
    int used = 0;

    if (choice->kind == CHOICE_SECTOR && choice->chosen < choice->choices - 1)
        used = snprintf(text, size, " %u:%llu(%u/%u)", choice->inode,
                        (unsigned long long)file->sectors[choice->index].number, choice->chosen, choice->choices - 1);
    else if (choice->kind == CHOICE_SIZE)
        used = snprintf(text, size, " size %u=%llu", choice->inode, (unsigned long long)file->sizes[choice->chosen]);
    else if (choice->kind == CHOICE_NAMES && choice->chosen == 0)
        used = snprintf(text, size, " %s", crash->state->pending[choice->index].set[0].name);
    return used < 0 || (size_t)used >= size ? 0 : (size_t)used;
}

void hf_crash_describe(const struct hf_crash *crash, char *text, size_t size)
{
    char op[256];
    size_t used;

    hf_op_describe(&crash->trace->op[crash->at - 1], op, sizeof(op));
    used = (size_t)snprintf(text, size, "image %llu after op %zu (%s): ", (unsigned long long)crash->number,
                            crash->at, op);
    if (used >= size)
        return;
    if (crash->killed) {
        snprintf(text + used, size - used, "killed");
        return;
    }
    used += (size_t)snprintf(text + used, size - used, "lost of %zu:", crash->choices);
    for (size_t i = 0; i < crash->choices && used < size; i++)
        used += describe_choice(crash, &crash->choice[i], text + used, size - used);
    for (size_t i = 0; i < crash->garbles && used < size; i++)
        if (crash->garble[i].garbled)
            used += (size_t)snprintf(text + used, size - used, " garbled %u:%zu", crash->garble[i].inode,
                                     crash->garble[i].block);
    if (crash->tail > 0 && used < size)
        snprintf(text + used, size - used, " tail %llu", (unsigned long long)crash->tail);
}
