/*
 * transaction.c: steps of many calls: a transaction of the region, and savepoints within it.
 *
 *      begin              hf_txn_begin                 depth 1
 *        begin            hf_txn_savepoint, level 1          2
 *        commit, abort    release; roll back and release
 *      commit, abort      hf_txn_commit; hf_txn_abort
 *
 * The region knows how deep a transaction is; nothing is kept here. So nothing goes wrong in a child, which has none.
 *
 * Changes make savepoints too (map.c), but release them before they return: levels here are those of the caller.
 *
 * Concurrency: a transaction is its thread's. Failure: a commit that fails leaves the transaction under way.
 */
#include "shared/shared.h"

int hf_shared_begin_within(hf_shared *map, int64_t timeout)
{
    hf_txn *txn = hf_txn_mine(map->region);
    unsigned level;

    return txn == NULL ? hf_txn_begin(map->region, timeout, &txn) : hf_txn_savepoint(txn, &level);
}

int hf_shared_begin(hf_shared *map)
{
    return hf_shared_begin_within(map, map->timeout);
}

int hf_shared_commit(hf_shared *map)
{
    hf_txn *txn = hf_txn_mine(map->region);

    if (txn == NULL)
        return HF_INVALID;
    unsigned level = hf_txn_level(txn);
    return level == 0 ? hf_txn_commit(txn) : hf_txn_release(txn, level);
}

int hf_shared_abort(hf_shared *map)
{
    hf_txn *txn = hf_txn_mine(map->region);

    if (txn == NULL)
        return HF_INVALID;
    unsigned level = hf_txn_level(txn);
    if (level == 0)
        return hf_txn_abort(txn);
    int status = hf_txn_rollback(txn, level);
    return status < 0 ? status : hf_txn_release(txn, level);
}
