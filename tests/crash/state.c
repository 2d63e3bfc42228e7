/*
 * state.c: see state.h.
 */
#include "state.h"

/* -- blocks -- */

static struct hf_block *block_keep(struct hf_block *block)
{
    if (block != NULL)
        block->refs++;
    return block;
}

static void block_drop(struct hf_block *block)
{
    if (block != NULL && --block->refs == 0)
        free(block);
}

/* A copy that nobody else has; the caller's count of the old one is given up. */
static struct hf_block *block_own(struct hf_block *block)
{
    struct hf_block *own = hf_lab_zeroed(sizeof(*own));

    if (block != NULL)
        memcpy(own->bytes, block->bytes, HF_BLOCK);
    own->refs = 1;
    block_drop(block);
    return own;
}

static void block_set(struct hf_block **place, struct hf_block *block)
{
    block_keep(block);
    block_drop(*place);
    *place = block;
}

static const uint8_t *sector_bytes(const struct hf_block *block, uint64_t sector)
{
    static const uint8_t zeros[HF_SECTOR];

    return block == NULL ? zeros : block->bytes + sector % HF_SECTORS_A_BLOCK * HF_SECTOR;
}

static bool sector_equal(const struct hf_block *a, const struct hf_block *b, uint64_t sector)
{
    return a == b || memcmp(sector_bytes(a, sector), sector_bytes(b, sector), HF_SECTOR) == 0;
}

/* -- files -- */

void hf_file_reach(struct hf_file *file, uint64_t size)
{
    size_t needed = (size_t)((size + HF_BLOCK - 1) / HF_BLOCK), had = file->blocks, sectors = HF_SECTORS_A_BLOCK;

    if (needed <= had)
        return;
    needed = needed > 2 * had ? needed : 2 * had;
    file->now = hf_lab_resized(file->now, needed * sizeof(struct hf_block *));
    file->durable = hf_lab_resized(file->durable, needed * sizeof(struct hf_block *));
    file->settled = hf_lab_resized(file->settled, needed * sizeof(*file->settled));
    file->sector_of = hf_lab_resized(file->sector_of, needed * sectors * sizeof(*file->sector_of));
    for (size_t i = had; i < needed; i++) {
        file->now[i] = file->durable[i] = NULL;
        file->settled[i] = false;
    }
    memset(file->sector_of + had * sectors, 0, (needed - had) * sectors * sizeof(*file->sector_of));
    file->blocks = needed;
}

static void file_sectors_clear(struct hf_file *file)
{
    for (size_t i = 0; i < file->sector_count; i++) {
        struct hf_sector *sector = &file->sectors[i];

        file->sector_of[sector->number] = 0;
        for (uint32_t v = 0; v < sector->versions; v++)
            block_drop(sector->version[v]);
    }
    file->sector_count = 0;
}

static void file_clear(struct hf_file *file)
{
    file_sectors_clear(file);
    for (size_t i = 0; i < file->blocks; i++) {
        block_drop(file->now[i]);
        block_drop(file->durable[i]);
    }
    free(file->now);
    free(file->durable);
    free(file->settled);
    free(file->sector_of);
    free(file->sectors);
    memset(file, 0, sizeof(*file));
}

/* `to` is a file without contents. */
static void file_copy(struct hf_file *to, const struct hf_file *from, bool durable_only)
{
    const size_t blocks = from->blocks;

    *to = *from;
    to->now = hf_lab_zeroed(blocks * sizeof(struct hf_block *));
    to->durable = hf_lab_zeroed(blocks * sizeof(struct hf_block *));
    to->settled = hf_lab_copied(from->settled, blocks * sizeof(*from->settled));
    for (size_t i = 0; i < blocks; i++) {
        to->now[i] = block_keep(durable_only ? from->durable[i] : from->now[i]);
        to->durable[i] = block_keep(from->durable[i]);
    }
    to->sectors = NULL;
    to->sector_count = to->sector_capacity = 0;
    if (durable_only) {
        to->sector_of = hf_lab_zeroed(blocks * HF_SECTORS_A_BLOCK * sizeof(*to->sector_of));
        to->size = from->sizes[0];
        to->size_count = 1;
        to->sizes_adrift = to->mapped = false;
        return;
    }
    to->sector_of = hf_lab_copied(from->sector_of, blocks * HF_SECTORS_A_BLOCK * sizeof(*to->sector_of));
    to->sectors = hf_lab_copied(from->sectors, from->sector_count * sizeof(*to->sectors));
    to->sector_count = to->sector_capacity = from->sector_count;
    for (size_t i = 0; i < to->sector_count; i++)
        for (uint32_t v = 0; v < to->sectors[i].versions; v++)
            block_keep(to->sectors[i].version[v]);
}

/* The sector has, or may have, new bytes in now: one more version of it. */
static void file_note_sector(struct hf_file *file, uint64_t number, uint64_t op, bool written)
{
    const size_t b = (size_t)(number / HF_SECTORS_A_BLOCK);
    uint32_t at = file->sector_of[number];
    struct hf_sector *sector;

    if (at == 0) {
        /* Rewriting what is there changes nothing, where powersafe overwrite holds. */
        if ((file->settled[b] || !written) && sector_equal(file->now[b], file->durable[b], number))
            return;
        HF_LAB_ROOM(file->sectors, file->sector_count, file->sector_capacity);
        file->sectors[file->sector_count++] = (struct hf_sector){.number = number};
        at = file->sector_of[number] = (uint32_t)file->sector_count;
    }
    sector = &file->sectors[at - 1];
    sector->written |= written;
    sector->adrift = false; /* the page is dirty again */
    if (sector->versions > 0 && sector_equal(file->now[b], sector->version[sector->versions - 1], number))
        return;
    sector->op = op;
    if (sector->versions == HF_VERSIONS) {
        block_drop(sector->version[0]);
        memmove(sector->version, sector->version + 1, sizeof(sector->version) - sizeof(sector->version[0]));
        sector->versions--;
    }
    sector->version[sector->versions++] = block_keep(file->now[b]);
}

static void file_note_size(struct hf_file *file, uint64_t size, uint64_t op)
{
    if (size == file->size)
        return;
    file->size = size;
    file->size_op = op;
    file->sizes_adrift = false;
    if (file->size_count == HF_SIZES) { /* the durable one stays */
        memmove(file->sizes + 1, file->sizes + 2, sizeof(file->sizes) - 2 * sizeof(file->sizes[0]));
        file->size_count--;
    }
    file->sizes[file->size_count++] = size;
}

/* Bytes at .. at + size of now: from `bytes`, or zeros. */
static void file_change(struct hf_file *file, uint64_t at, uint64_t size, const uint8_t *bytes, uint64_t op)
{
    const uint64_t end = at + size;

    if (size == 0)
        return;
    hf_file_reach(file, end);
    for (uint64_t from = at; from < end;) {
        const size_t b = (size_t)(from / HF_BLOCK);
        const uint64_t next = (b + 1) * (uint64_t)HF_BLOCK, to = next < end ? next : end;
        const bool whole = to - from == HF_BLOCK;

        if (bytes == NULL && whole) {
            block_set(&file->now[b], NULL);
            file->settled[b] = false; /* the file system gives the block back */
        } else if (bytes != NULL || file->now[b] != NULL) {
            struct hf_block *own = block_own(file->now[b]);

            if (bytes != NULL)
                memcpy(own->bytes + from % HF_BLOCK, bytes + (from - at), (size_t)(to - from));
            else
                memset(own->bytes + from % HF_BLOCK, 0, (size_t)(to - from));
            file->now[b] = own;
        }
        for (uint64_t sector = from / HF_SECTOR; sector <= (to - 1) / HF_SECTOR; sector++)
            file_note_sector(file, sector, op, bytes != NULL);
        from = to;
    }
}

static void file_set_size(struct hf_file *file, uint64_t size, uint64_t op)
{
    hf_file_reach(file, size);
    if (size < file->size) {
        const uint64_t reach = (uint64_t)file->blocks * HF_BLOCK;

        file_change(file, size, reach - size, NULL, op);
    }
    file_note_size(file, size, op);
}

static void file_sync(struct hf_file *file)
{
    size_t kept = 0;

    for (size_t i = 0; i < file->sector_count; i++) {
        struct hf_sector sector = file->sectors[i];
        const size_t b = (size_t)(sector.number / HF_SECTORS_A_BLOCK);

        if (sector.adrift) {
            file->sectors[kept++] = sector;
            file->sector_of[sector.number] = (uint32_t)kept;
            continue;
        }
        memcpy(hf_file_durable_block(file, b) + sector.number % HF_SECTORS_A_BLOCK * HF_SECTOR,
               sector_bytes(sector.version[sector.versions - 1], sector.number), HF_SECTOR);
        if (sector.written)
            file->settled[b] = true;
        for (uint32_t v = 0; v < sector.versions; v++)
            block_drop(sector.version[v]);
        file->sector_of[sector.number] = 0;
    }
    file->sector_count = kept;
    if (!file->sizes_adrift) {
        file->sizes[0] = file->size;
        file->size_count = 1;
    }
    /* Most blocks now have the same bytes twice: share them. */
    for (size_t b = 0; kept == 0 && b < file->blocks; b++)
        if (file->now[b] != file->durable[b])
            block_set(&file->durable[b], file->now[b]);
}

static void file_sync_failed(struct hf_file *file)
{
    for (size_t i = 0; i < file->sector_count; i++)
        file->sectors[i].adrift = true;
    file->sizes_adrift = file->size_count > 1;
}

uint8_t *hf_file_durable_block(struct hf_file *file, size_t block)
{
    if (file->durable[block] == NULL || file->durable[block]->refs > 1)
        file->durable[block] = block_own(file->durable[block]);
    return file->durable[block]->bytes;
}

void hf_file_cut(struct hf_file *file, uint64_t size)
{
    size_t whole = (size_t)((size + HF_BLOCK - 1) / HF_BLOCK);

    hf_file_reach(file, size);
    if (size % HF_BLOCK != 0 && file->durable[whole - 1] != NULL)
        memset(hf_file_durable_block(file, whole - 1) + size % HF_BLOCK, 0, HF_BLOCK - size % HF_BLOCK);
    for (size_t b = whole; b < file->blocks; b++) {
        block_set(&file->durable[b], NULL);
        file->settled[b] = false;
    }
    file->size = file->sizes[0] = size;
    file->size_count = 1;
}

void hf_file_reload(struct hf_file *file)
{
    for (size_t b = 0; b < file->blocks; b++)
        block_set(&file->now[b], file->durable[b]);
}

/* -- names -- */

static size_t names_index(const struct hf_names *names, uint32_t dir, const char *name)
{
    size_t i = 0;

    while (i < names->count && (names->name[i].dir != dir || strcmp(names->name[i].name, name) != 0))
        i++;
    return i;
}

uint32_t hf_names_find(const struct hf_names *names, uint32_t dir, const char *name)
{
    size_t i = names_index(names, dir, name);

    return i < names->count ? names->name[i].inode : HF_NO_INODE;
}

void hf_names_set(struct hf_names *names, const struct hf_name *name)
{
    size_t i = names_index(names, name->dir, name->name);

    if (name->inode == HF_NO_INODE) {
        if (i < names->count)
            names->name[i] = names->name[--names->count];
        return;
    }
    if (i == names->count) {
        HF_LAB_ROOM(names->name, names->count, names->capacity);
        names->count++;
    }
    names->name[i] = *name;
}

bool hf_names_equal(const struct hf_names *a, const struct hf_names *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (hf_names_find(b, a->name[i].dir, a->name[i].name) != a->name[i].inode)
            return false;
    return true;
}

static void names_copy(struct hf_names *to, const struct hf_names *from)
{
    to->name = hf_lab_copied(from->name, from->count * sizeof(*from->name));
    to->count = to->capacity = from->count;
}

static bool changes_meet(const struct hf_name_change *a, const struct hf_name_change *b)
{
    for (unsigned i = 0; i < a->count; i++)
        for (unsigned j = 0; j < b->count; j++)
            if (a->set[i].dir == b->set[j].dir && strcmp(a->set[i].name, b->set[j].name) == 0)
                return true;
    return false;
}

static bool change_is_in(const struct hf_name_change *change, uint32_t dir)
{
    return change->set[0].dir == dir || (change->count > 1 && change->set[1].dir == dir);
}

/* All changes in the folder become durable, and earlier ones of names that they change too. */
static void state_sync_names(struct hf_state *state, uint32_t dir)
{
    const size_t count = state->pending_count;
    bool *goes = hf_lab_zeroed(count);
    size_t kept = 0;

    for (size_t i = count; i-- > 0;) {
        goes[i] = change_is_in(&state->pending[i], dir);
        for (size_t later = i + 1; later < count && !goes[i]; later++)
            goes[i] = goes[later] && changes_meet(&state->pending[i], &state->pending[later]);
    }
    for (size_t i = 0; i < count; i++) {
        if (!goes[i]) {
            state->pending[kept++] = state->pending[i];
            continue;
        }
        for (unsigned k = 0; k < state->pending[i].count; k++)
            hf_names_set(&state->durable, &state->pending[i].set[k]);
    }
    state->pending_count = kept;
    free(goes);
}

/* -- states -- */

static struct hf_file *state_inode(struct hf_state *state, uint32_t inode)
{
    if (inode >= state->inodes) {
        state->files = hf_lab_resized(state->files, (inode + 1) * sizeof(*state->files));
        memset(state->files + state->inodes, 0, (inode + 1 - state->inodes) * sizeof(*state->files));
        state->inodes = inode + 1;
    }
    return &state->files[inode];
}

struct hf_state *hf_state_new(void)
{
    struct hf_state *state = hf_lab_zeroed(sizeof(*state));
    struct hf_op root = {.kind = HF_OP_INODE, .inode = HF_ROOT_INODE, .is_dir = true, .mode = 0700};

    hf_state_apply(state, &root);
    state->ops = 0;
    return state;
}

static struct hf_state *state_copy(const struct hf_state *from, bool durable_only)
{
    struct hf_state *to = hf_lab_zeroed(sizeof(*to));

    to->files = hf_lab_zeroed(from->inodes * sizeof(*to->files));
    to->inodes = from->inodes;
    for (uint32_t inode = 0; inode < from->inodes; inode++)
        if (from->files[inode].used)
            file_copy(&to->files[inode], &from->files[inode], durable_only);
    names_copy(&to->now, durable_only ? &from->durable : &from->now);
    names_copy(&to->durable, &from->durable);
    if (!durable_only) {
        to->pending = hf_lab_copied(from->pending, from->pending_count * sizeof(*from->pending));
        to->pending_count = to->pending_capacity = from->pending_count;
        to->ops = from->ops;
    }
    return to;
}

struct hf_state *hf_state_clone(const struct hf_state *state)
{
    return state_copy(state, false);
}

struct hf_state *hf_state_durable(const struct hf_state *state)
{
    return state_copy(state, true);
}

void hf_state_free(struct hf_state *state)
{
    if (state == NULL)
        return;
    for (uint32_t inode = 0; inode < state->inodes; inode++)
        if (state->files[inode].used)
            file_clear(&state->files[inode]);
    free(state->files);
    free(state->now.name);
    free(state->durable.name);
    free(state->pending);
    free(state);
}

static void state_names(struct hf_state *state, const struct hf_name_change *change)
{
    HF_LAB_ROOM(state->pending, state->pending_count, state->pending_capacity);
    state->pending[state->pending_count] = *change;
    state->pending[state->pending_count++].op = state->ops;
    for (unsigned i = 0; i < change->count; i++)
        hf_names_set(&state->now, &change->set[i]);
}

void hf_state_apply(struct hf_state *state, const struct hf_op *op)
{
    struct hf_file *file = state_inode(state, op->inode);

    state->ops++;
    switch (op->kind) {
    case HF_OP_INODE:
        if (file->used)
            file_clear(file);
        *file = (struct hf_file){.used = true, .is_dir = op->is_dir, .mode = op->mode, .size_count = 1};
        break;
    case HF_OP_WRITE:
        file_change(file, op->at, op->size, op->bytes, state->ops);
        /* Writing the end again makes a size that is adrift due again, with the page. */
        if (op->at + op->size >= file->size)
            file->sizes_adrift = false;
        if (op->at + op->size > file->size)
            file_note_size(file, op->at + op->size, state->ops);
        break;
    case HF_OP_SIZE:
        file_set_size(file, op->size, state->ops);
        break;
    case HF_OP_ZERO:
        file_change(file, op->at, op->size, NULL, state->ops);
        break;
    case HF_OP_SYNC:
        file_sync(file);
        if (file->is_dir)
            state_sync_names(state, op->inode);
        break;
    case HF_OP_SYNC_FAILED:
        file_sync_failed(file);
        break;
    case HF_OP_NAMES:
        state_names(state, op->names);
        break;
    case HF_OP_MAPPED:
        file->mapped = true;
        break;
    case HF_OP_MARK:
        break;
    }
}

void hf_state_prune(struct hf_state *state)
{
    bool *reached = hf_lab_zeroed(state->inodes), more = true;
    size_t kept = 0;

    reached[HF_ROOT_INODE] = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < state->now.count; i++) {
            const struct hf_name *name = &state->now.name[i];

            more |= reached[name->dir] && !reached[name->inode];
            reached[name->inode] |= reached[name->dir];
        }
    }
    for (size_t i = 0; i < state->now.count; i++)
        if (reached[state->now.name[i].dir])
            state->now.name[kept++] = state->now.name[i];
    state->now.count = kept;
    for (uint32_t inode = 0; inode < state->inodes; inode++)
        if (state->files[inode].used && !reached[inode])
            file_clear(&state->files[inode]);
    free(state->durable.name);
    names_copy(&state->durable, &state->now);
    free(reached);
}

bool hf_state_unsynced(const struct hf_state *state)
{
    bool unsynced = state->pending_count > 0;

    for (uint32_t inode = 0; inode < state->inodes && !unsynced; inode++) {
        const struct hf_file *file = &state->files[inode];

        unsynced = file->used && (file->sector_count > 0 || file->size_count > 1 || file->mapped);
    }
    return unsynced;
}

/* -- traces -- */

void hf_trace_add(struct hf_trace *trace, const struct hf_op *op)
{
    HF_LAB_ROOM(trace->op, trace->count, trace->capacity);
    trace->op[trace->count++] = *op;
}

void hf_trace_clear(struct hf_trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        free(trace->op[i].bytes);
        free(trace->op[i].names);
    }
    free(trace->op);
    *trace = (struct hf_trace){0};
}

static void names_describe(const struct hf_name_change *names, char *text, size_t size)
{
    int used = snprintf(text, size, "names");

    for (unsigned i = 0; i < names->count && used >= 0 && (size_t)used < size; i++)
        used += snprintf(text + used, size - (size_t)used, " %u/%s=%u", names->set[i].dir, names->set[i].name,
                         names->set[i].inode);
}

void hf_op_describe(const struct hf_op *op, char *text, size_t size)
{
    const unsigned long long at = op->at, length = op->size;

    switch (op->kind) {
    case HF_OP_INODE:
        snprintf(text, size, "%s %u is made", op->is_dir ? "folder" : "file", op->inode);
        break;
    case HF_OP_WRITE:
        snprintf(text, size, "write %u at %llu, %llu bytes", op->inode, at, length);
        break;
    case HF_OP_SIZE:
        snprintf(text, size, "size of %u to %llu", op->inode, length);
        break;
    case HF_OP_ZERO:
        snprintf(text, size, "zeros in %u at %llu, %llu bytes", op->inode, at, length);
        break;
    case HF_OP_SYNC:
        snprintf(text, size, "flush of %u", op->inode);
        break;
    case HF_OP_SYNC_FAILED:
        snprintf(text, size, "failed flush of %u", op->inode);
        break;
    case HF_OP_NAMES:
        names_describe(op->names, text, size);
        break;
    case HF_OP_MAPPED:
        snprintf(text, size, "%u is mapped for writing", op->inode);
        break;
    case HF_OP_MARK:
        snprintf(text, size, "mark %d of %016llx", op->mark, (unsigned long long)op->digest);
        break;
    }
}
