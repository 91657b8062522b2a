/* snapshot.c: snapshots of an engine's masters, asked for and due. */
#include "engine/base/clock.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/forward/core.h"
#include "engine/masters/masters.h"
#include "engine/masters/spill_home.h"
#include "engine/run/session.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"

zo2_status zo2_snapshot(zo2_engine *e)
{
    if (!e || !e->journal)
        return zo2_error(ZO2_ERR_ARG, e ? "zo2_snapshot: the engine was opened read-only"
                                        : "zo2_snapshot: the engine must not be NULL");
    zo2_status s = zo2_engine_enter(e, "zo2_snapshot");
    if (s)
        return s;
    s = zo2_engine_snapshot(e);
    zo2_engine_leave(e);
    return zo2_finish(s);
}

zo2_status zo2_engine_snapshot(zo2_engine *e)
{
    if (e->failed)
        return zo2_error(e->failed, "no snapshot of an engine that stopped after an error");
    double from = zo2_now();
    zo2_core *c = &e->core;
    fenv_t fenv;
    zo2_fpenv_pin(&fenv);
    zo2_status s = zo2_masters_are_spilled(&c->masters)
                       ? zo2_spill_home_flush(&c->masters.spill, e->opts.progress, e->opts.progress_ud)
                       : zo2_masters_snapshot(&c->masters, &c->history, c->pool, &zo2_io_posix, e->snapshot_dir,
                                              e->settings.model_hash, zo2_journal_chain(e->journal, c->history.steps),
                                              e->opts.progress, e->opts.progress_ud);
    zo2_fpenv_restore(&fenv);
    if (s == ZO2_ERR_NONFINITE || (s && s != ZO2_ERR_CANCELLED && zo2_masters_are_spilled(&c->masters)))
        e->failed = s; /* a spill that can't be written isn't tried again */
    if (!s) {
        e->last_snapshot = zo2_now();
        e->snapshot_cost = e->last_snapshot - from;
    }
    return s;
}
