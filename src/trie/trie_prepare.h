/* trie_prepare.h - edits worked out now and made later. Included after trie_algo.h, by instantiations that want it.
 *
 *      prepare ---------> trie_edit ---------> perform, drop
 *      all the foreign code                    none
 *
 * In between the caller keeps the root, counted, so that nobody changes its nodes in place. To wait pays where the
 * caller's count may be the last one by then: nothing needs to be copied.
 *
 * For memories that count: what goes out is not reported to trie_superseded.
 */

/* Works out a put into the whole trie `root`, which is not empty. Returns as trie_put does; for TRIE_ADDED and
 * TRIE_REPLACED *edit is what to hand to trie_perform or trie_edit_drop. Runs foreign code. */
static int trie_prepare_put(trie_ctx *ctx, trie_link root, uint64_t hash, const trie_entry *entry, trie_put_mode mode,
                            trie_edit *edit)
{
    trie_path path;
    trie_entry replaced;
    trie_path_begin(&path, root, 0, hash);
    int outcome = trie_plan_put(ctx, &path, entry, mode, &edit->change, &replaced);
    edit->hash = hash;
    edit->depth = path.depth;
    return outcome;
}

/* Works out a removal from the whole trie `root`, which has more than one entry. Returns 1 (see trie_prepare_put) and
 * in *gone the entry that goes, not counted; 0 when the key is not there; or a failure. Runs foreign code. */
static int trie_prepare_remove(trie_ctx *ctx, trie_link root, uint64_t hash, trie_key key, trie_entry *gone,
                               trie_edit *edit)
{
    trie_path path;
    trie_remainder rest;
    trie_path_begin(&path, root, 0, hash);
    int outcome = trie_plan_remove(ctx, &path, key, &edit->depth, &edit->change, gone, &rest);
    edit->hash = hash;
    HF_ASSERT(outcome <= TRIE_CHANGES);
    return outcome;
}

/* Makes an edit that was worked out on *root. `mine` and *trash as in trie_apply. Counts what comes in once more, so
 * that the edit is still good after a failure, and is to be dropped after a success. Runs no foreign code but that of
 * trie_fresh. */
static int trie_perform(trie_ctx *ctx, trie_link *root, bool mine, const trie_edit *edit, trie_trash *trash)
{
    trie_path path;
    trie_change change = edit->change;
    *trash = (trie_trash){.link = TRIE_NONE};
    trie_path_begin(&path, *root, 0, edit->hash);
    for (; path.depth < edit->depth; path.depth++) {
        uint32_t index = trie_path_index(ctx, &path, path.depth);
        path.at[path.depth + 1] = trie_slot_links(trie_at(ctx, path.at[path.depth]))[index];
    }
    if (change.entry_in) {
        int status = trie_keep_entries(ctx, &change.entry, 1);
        if (status < 0)
            return status;
    }
    if (change.child_in)
        trie_keep_link(ctx, change.child);
    return trie_apply(ctx, root, mine, &path, edit->depth, &change, trash);
}

/* Drops what an edit holds. Runs foreign code, unless the edit was performed. */
static inline void trie_edit_drop(trie_ctx *ctx, trie_edit *edit)
{
    trie_change_drop(ctx, &edit->change);
}
