/* warm.c: the trunk of lines, computed before the first step that needs them. */
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/forward/core.h"
#include "engine/forward/trunk_rows.h"
#include "engine/model/arch.h"
#include "engine/run/session.h"

static zo2_status warm(zo2_engine *e, const zo2_batch *batch, uint64_t *kept)
{
    zo2_core *c = &e->core;
    if (!zo2_has_trunk(c->arch))
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "the choice of tensors leaves no layers that are computed once (tune): there is nothing to keep");
    if (!c->trunk.store)
        return zo2_error(ZO2_ERR_ARG, "nothing is kept of the trunk: give it room (trunk_cache)");
    zo2_status s = zo2_core_pack(c, batch);
    if (!s)
        s = zo2_core_warm_pass(c);
    if (!s && kept)
        *kept = zo2_trunk_rows_count(c);
    return s;
}

zo2_status zo2_warm(zo2_engine *e, const zo2_batch *batch, uint64_t *kept)
{
    if (!e || !batch)
        return zo2_error(ZO2_ERR_ARG, "zo2_warm: engine and batch are needed");
    zo2_status s = zo2_engine_enter(e, "zo2_warm");
    if (s)
        return s;
    fenv_t fenv;
    zo2_fpenv_pin(&fenv);
    s = warm(e, batch, kept);
    zo2_fpenv_restore(&fenv);
    zo2_engine_leave(e);
    return zo2_finish(s);
}
