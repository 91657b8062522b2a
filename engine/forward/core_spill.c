/* core_spill.c: see core_spill.h. */
#include "engine/forward/core_spill.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/spill_files.h"
#include "engine/masters/spill_home.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/tiers.h"
#include "storage/spill/spill.h"

#include <stdlib.h>

zo2_status zo2_core_create_spilled(zo2_core *c, const zo2_core_config *config)
{
    const zo2_core_spill *how = config->spill;
    const zo2_spill_plan *plan = zo2_plan_spill(&c->plan, c->shape.pending);
    uint8_t *tier = malloc(c->layout.n_chunks);
    if (!tier)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tiers of %u chunks", c->layout.n_chunks);
    zo2_placement_choose(&c->layout, config->stored_as, plan->plane_bytes, plan->wires_first, tier, NULL);
    const zo2_placement placement = {
        .tier = tier, .wire_buffers = plan->wire_buffers, .rest_buffers = plan->rest_buffers};
    const zo2_spill_config files = {.run = how->run,
                                    .dirs = how->dirs,
                                    .share = how->share,
                                    .n_dirs = how->n_dirs,
                                    .writable = how->writable,
                                    .log = how->log,
                                    .log_ud = how->log_ud,
                                    .most_step = how->most_step,
                                    .history = how->chain,
                                    .history_ud = how->chain_ud,
                                    .begins = how->begins};
    zo2_status s =
        how->run ? zo2_spill_files_open(&c->spill, how->io, &files, &c->layout, c->plan.chunk_bytes, config->stored_as)
                 : ZO2_OK;
    const zo2_masters_spill masters = {.placement = &placement,
                                       .spill = c->spill,
                                       .writable = how->writable,
                                       .io = how->io,
                                       .aio = how->aio,
                                       .pack = how->pack,
                                       .history = &c->history,
                                       .chain = how->chain,
                                       .chain_ud = how->chain_ud,
                                       .log = how->log,
                                       .log_ud = how->log_ud};
    if (!s)
        s = zo2_masters_create(&c->masters, &c->layout, config->stored_as, c->pool, &masters);
    free(tier);
    return s;
}
