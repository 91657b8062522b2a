/* core_spill.c: see core_spill.h. */
#include "engine/forward/core_spill.h"
#include "engine/masters/masters.h"
#include "engine/masters/placement.h"
#include "engine/masters/spill_home.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "engine/plan/tiers.h"
#include "storage/spill/spill.h"

#include <stdio.h>
#include <stdlib.h>

/* Files that only a reader asks for may be missing, or in use by the session that trains: pack and journal say the same. */
static zo2_status do_without(const zo2_core_spill *how, zo2_status s)
{
    char text[1200];
    if (how->writable || (s != ZO2_ERR_NOTFOUND && s != ZO2_ERR_BUSY))
        return s;
    snprintf(text, sizeof text, "master weights are made from the pack and the journal: %s", zo2_last_error());
    if (how->log)
        how->log(how->log_ud, ZO2_LOG_INFO, text);
    return ZO2_OK;
}

static zo2_status open_spill(zo2_core *c, const zo2_core_spill *how, const uint32_t *stored_as)
{
    const zo2_layout *l = &c->layout;
    zo2_spill_chunk *chunks = zo2_tiers_spill_chunks(l, stored_as);
    if (!chunks)
        return ZO2_ERR_NOMEM;
    /* What a chunk is follows from the run's settings and the size that chunks are cut for. */
    const zo2_spill_config config = {.run = how->run,
                                     .layout = c->plan.chunk_bytes,
                                     .chunks = chunks,
                                     .n_chunks = l->n_chunks,
                                     .dirs = how->dirs,
                                     .n_dirs = how->n_dirs,
                                     .writable = how->writable,
                                     .log = how->log,
                                     .log_ud = how->log_ud,
                                     .most_step = how->most_step,
                                     .history = how->chain,
                                     .history_ud = how->chain_ud};
    zo2_status s = zo2_spill_open(&c->spill, how->io, &config);
    free(chunks);
    return s ? do_without(how, s) : ZO2_OK;
}

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
    zo2_status s = how->run ? open_spill(c, how, config->stored_as) : ZO2_OK;
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
