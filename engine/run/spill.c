/* spill.c: an engine whose masters spill: its directories and their shares, the run that the files belong to, and what its
 * journal says of their versions. */
#include "storage/spill/spill.h"
#include "engine/forward/core.h"
#include "engine/measure/rates.h"
#include "engine/run/session.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"
#include "storage/trunk/trunk.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEASURE_SECONDS 0.5  /* of each drive */
#define NOISE           1.25 /* rates that so short a time can't tell apart */

/* ---- directories ---- */

zo2_status zo2_engine_copy_spill_dirs(zo2_engine *e)
{
    zo2_engine_opts *o = &e->opts;
    const char *const *given = o->spill_dirs;
    if (!given || !o->spill_count) {
        o->spill_dirs = NULL;
        o->spill_count = 0;
        return ZO2_OK;
    }
    o->spill_dirs = NULL; /* until all are copied */
    e->spill_dirs = calloc(o->spill_count, sizeof *e->spill_dirs);
    int copied = e->spill_dirs != NULL;
    for (uint32_t i = 0; i < o->spill_count && copied; i++) {
        if (!given[i])
            return zo2_error(ZO2_ERR_ARG, "zo2_engine_open: spill_dirs[%" PRIu32 "] is NULL", i);
        e->spill_dirs[i] = strdup(given[i]);
        copied = e->spill_dirs[i] != NULL;
    }
    if (!copied)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the names of the spill's directories");
    o->spill_dirs = (const char *const *)e->spill_dirs;
    return ZO2_OK;
}

void zo2_engine_free_spill_dirs(zo2_engine *e)
{
    for (uint32_t i = 0; i < e->opts.spill_count && e->spill_dirs; i++)
        free(e->spill_dirs[i]);
    free(e->spill_dirs);
    free(e->spill_share);
}

/* The first directory on the same file system, which speaks for the others; `dir` itself if there is none before it. */
static uint32_t first_on_device(const zo2_engine *e, uint32_t dir)
{
    struct stat mine, st;
    uint32_t i = stat(e->opts.spill_dirs[dir], &mine) ? dir : 0;
    while (i < dir && (stat(e->opts.spill_dirs[i], &st) || st.st_dev != mine.st_dev))
        i++;
    return i;
}

/* Bytes a second that each reads. 0: one can't be measured (it isn't there yet, it is full). */
static int measure_rates(const zo2_engine *e, double *rate)
{
    double most = 0;
    for (uint32_t i = 0; i < e->opts.spill_count; i++) {
        zo2_storage_rates r = {0};
        uint32_t first = first_on_device(e, i);
        if (first < i)
            r.read_bytes = rate[first];
        else if (zo2_measure_storage_rates(&r, e->opts.spill_dirs[i], 0, MEASURE_SECONDS) || !(r.read_bytes > 0))
            return 0;
        rate[i] = r.read_bytes;
        most = fmax(most, rate[i]);
    }
    for (uint32_t i = 0; i < e->opts.spill_count; i++)
        if (rate[i] * NOISE > most)
            rate[i] = most;
    return 1;
}

static void say_share(const zo2_engine *e, uint32_t dir, double all)
{
    char text[1200];
    snprintf(text, sizeof text, "%s reads %.3g GB/s: it gets %.0f %% of the masters' files", e->opts.spill_dirs[dir],
             e->spill_share[dir] / 1e9, 100 * e->spill_share[dir] / all);
    zo2_engine_say(e, ZO2_LOG_INFO, text);
}

zo2_status zo2_engine_measure_spill(zo2_engine *e)
{
    const zo2_engine_opts *o = &e->opts;
    uint64_t made;
    uint32_t devices = 0;
    double all = 0;
    for (uint32_t i = 0; i < o->spill_count; i++)
        devices += first_on_device(e, i) == i;
    if (o->read_only || devices < 2 ||
        zo2_spill_layout_of(&zo2_io_posix, e->first_chain, o->spill_dirs, o->spill_count, &made) != ZO2_ERR_NOTFOUND)
        return ZO2_OK; /* existing files keep the shares that they were made with */
    e->spill_share = calloc(o->spill_count, sizeof *e->spill_share);
    if (!e->spill_share)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the rates of the spill's directories");
    if (!measure_rates(e, e->spill_share)) {
        free(e->spill_share);
        e->spill_share = NULL;
        return ZO2_OK;
    }
    for (uint32_t i = 0; i < o->spill_count; i++)
        all += e->spill_share[i];
    for (uint32_t i = 0; i < o->spill_count; i++)
        say_share(e, i, all);
    return ZO2_OK;
}

/* ---- the run ---- */

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
                            .share = e->spill_share,
                            .n_dirs = e->opts.spill_count,
                            .writable = !e->opts.read_only,
                            .io = &zo2_io_posix,
                            .aio = ZO2_AIO_AUTO,
                            .pack = e->pack->file,
                            .most_step = steps,
                            .begins = !e->known && !e->opts.read_only,
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
    if (e->unfinished && e->made_trunk)
        (void)zo2_trunk_remove(&zo2_io_posix, e->first_chain, e->opts.spill_dirs, e->opts.spill_count);
}
