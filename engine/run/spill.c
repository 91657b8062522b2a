/* spill.c: an engine whose masters spill: the run that the files belong to, and what its journal says of their versions. */
#include "storage/spill/spill.h"
#include "engine/forward/core.h"
#include "engine/run/session.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"

#include <inttypes.h>

/* The journal is longer than any step that a version has: nothing carries a step that isn't in it. */
static uint64_t chain(const void *ud, uint64_t step)
{
    const zo2_engine *e = ud;
    const zo2_journal *j = e->journal ? e->journal : e->known;
    return step ? zo2_journal_chain(j, step) : e->first_chain;
}

zo2_core_spill zo2_engine_spill(zo2_engine *e)
{
    uint64_t steps = e->known ? zo2_journal_steps(e->known) : 0;
    if (e->opts.read_only && e->opts.at_step >= 0 && (uint64_t)e->opts.at_step < steps)
        steps = (uint64_t)e->opts.at_step;
    return (zo2_core_spill){.run = e->first_chain,
                            .dirs = e->opts.spill_dirs,
                            .n_dirs = e->opts.spill_count,
                            .writable = !e->opts.read_only,
                            .io = &zo2_io_posix,
                            .aio = ZO2_AIO_AUTO,
                            .pack = e->pack->file,
                            .most_step = steps,
                            .chain = chain,
                            .chain_ud = e,
                            .log = e->opts.log,
                            .log_ud = e->opts.log_ud};
}

zo2_status zo2_engine_spill_chunks(const zo2_engine *e, uint64_t *chunk_bytes)
{
    const zo2_engine_opts *o = &e->opts;
    uint64_t made;
    if (!o->spill_count || !e->first_chain ||
        zo2_spill_layout_of(&zo2_io_posix, e->first_chain, o->spill_dirs, o->spill_count, &made))
        return ZO2_OK; /* whatever is wrong with them, opening them says it */
    if (*chunk_bytes && *chunk_bytes != made)
        return zo2_error(ZO2_ERR_MISMATCH,
                         "chunk_bytes differs: this run's spill in %s was made for chunks of %" PRIu64
                         " bytes, this call asks for %" PRIu64
                         "; leave it out, or remove the spill: the run goes on from its "
                         "journal",
                         o->spill_dirs[0], made, *chunk_bytes);
    *chunk_bytes = made;
    return ZO2_OK;
}

void zo2_engine_unspill(const zo2_engine *e)
{
    if (e->unfinished && e->made_spill)
        (void)zo2_spill_remove(&zo2_io_posix, e->first_chain, e->opts.spill_dirs, e->opts.spill_count);
}
