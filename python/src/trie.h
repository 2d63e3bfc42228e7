/*
 * trie.h: the trie of Python objects, as the rest of the extension uses it.
 *
 * Look-up and iteration are inline (trie_read.h); all else is in trie.c, which instantiates the template. Where a
 * function says that it fails, it has returned a negative status and set an exception, unless the status is
 * HF_NOMEM (see hfpy_raise).
 */
#ifndef HFPY_TRIE_H
#define HFPY_TRIE_H

#include "trie_policy.h"

#include "trie/trie_read.h"

/* trie_put, trie_remove on a root; see trie_edit.h. */
int hfpy_trie_put(trie_ctx *ctx, trie_link *root, bool mine, Py_hash_t hash, const trie_entry *entry,
                  trie_trash *trash);
int hfpy_trie_remove(trie_ctx *ctx, trie_link *root, bool mine, Py_hash_t hash, PyObject *key, trie_trash *trash);
void hfpy_trie_trash_drop(trie_trash *trash);
/* trie_prepare_put, trie_prepare_remove, trie_perform (the caller gives up its count of *root), trie_edit_drop. */
int hfpy_trie_prepare_put(trie_ctx *ctx, trie_link root, Py_hash_t hash, const trie_entry *entry, trie_edit *edit);
int hfpy_trie_prepare_remove(trie_ctx *ctx, trie_link root, Py_hash_t hash, PyObject *key, trie_entry *gone,
                             trie_edit *edit);
int hfpy_trie_perform(trie_ctx *ctx, trie_link *root, bool mine, const trie_edit *edit, trie_trash *trash);
void hfpy_trie_edit_drop(trie_edit *edit);

int hfpy_trie_build(trie_builder *builder, trie_item *items, size_t *count, trie_link *root);
size_t hfpy_trie_count(trie_link root);
int hfpy_trie_equal(trie_ctx *ctx, trie_link a, trie_link b);
int hfpy_trie_digest(trie_ctx *ctx, trie_link root, uint64_t *digest);
int hfpy_trie_combine(trie_ctx *ctx, const trie_algebra *op, void *arg, trie_side reference, trie_link left,
                      size_t left_count, trie_link right, size_t right_count, trie_link *root, size_t *count);
int hfpy_trie_merge3(trie_ctx *ctx, trie_resolver *resolve, void *arg, trie_link base, trie_link mine,
                     trie_link theirs, trie_link *root, ptrdiff_t *delta);
int hfpy_trie_check(trie_ctx *ctx, trie_link root, size_t count, const char **fault);

/* pending.c: the Map that `base`, which is not empty, becomes with this edit; takes the edit over, also when it fails. */
PyObject *hfpy_map_edited(core_state *state, Map *base, Py_ssize_t count, trie_edit *edit);

/* The types of nodes. */
int hfpy_trie_exec(PyObject *module, core_state *state);
/* The bytes that a node takes up. */
size_t hfpy_node_size(trie_link node);

#endif
