/*
 * epoch.c: see epoch.h.
 */
#include "cask/epoch.h"

_Thread_local __attribute__((tls_model("initial-exec"))) unsigned hf_epoch_mine;

unsigned hf_epoch_stripe_new(void)
{
    static _Atomic unsigned next;

    hf_epoch_mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % HF_EPOCH_STRIPES + 1;
    return hf_epoch_mine;
}

/* One step, where nobody is left who came in before the last one. */
static bool advance(hf_epoch *epoch, uint64_t tick)
{
    for (unsigned i = 0; i < HF_EPOCH_STRIPES; i++)
        if (atomic_load(&epoch->stripes[i].count[(tick + 1) % 2]) != 0)
            return false;
    atomic_store(&epoch->tick, tick + 1);
    return true;
}

bool hf_epoch_passed(hf_epoch *epoch, uint64_t tag)
{
    uint64_t tick = atomic_load_explicit(&epoch->tick, memory_order_relaxed);

    while (tick < tag + 2 && advance(epoch, tick))
        tick++;
    return tick >= tag + 2;
}
