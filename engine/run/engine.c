/* engine.c: opening and closing: pack, run directory, settings, core, masters. */
#include "engine/base/clock.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/one_log.h"
#include "engine/base/pool.h"
#include "engine/base/process.h"
#include "engine/forward/core.h"
#include "engine/forward/trunk_rows.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/masters/replay.h"
#include "engine/masters/snapshot_find.h"
#include "engine/model/arch.h"
#include "engine/pack/dropped.h"
#include "engine/plan/plan.h"
#include "engine/run/session.h"
#include "engine/run/settings.h"
#include "engine/run/share.h"
#include "kernels/backend.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/run/journal.h"
#include "storage/run/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t zo2_host_peak(const zo2_engine *e)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    uint64_t rss = (uint64_t)u.ru_maxrss * 1024, arena = 0;
    if (e->core.ops->kind == ZO2_BACKEND_CPU)
        arena = e->core.ops->peak_bytes(e->core.be);
    return rss > arena ? rss - arena : 0;
}

static zo2_status choose_backend(zo2_engine *e, const zo2_run_settings *run, const zo2_backend_ops **ops)
{
    zo2_backend_kind kind = e->opts.backend;
    if (kind == ZO2_BACKEND_AUTO && run)
        kind = run->backend;
    if (kind == ZO2_BACKEND_NULL)
        return zo2_error(ZO2_ERR_ARG, "the null backend computes nothing: it cannot train or evaluate");
    if (kind == ZO2_BACKEND_AUTO) {
        char why[400], text[500];
        *ops = zo2_backend_auto(why, sizeof why);
        if (why[0]) {
            snprintf(text, sizeof text, "using the CPU: %s", why);
            zo2_engine_say(e, ZO2_LOG_INFO, text);
        }
    } else {
        *ops = zo2_backend_get(kind);
    }
    if (!*ops)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend is not part of this build",
                         kind == ZO2_BACKEND_CUDA ? "cuda" : "chosen");
    return ZO2_OK;
}

/* Are all source bits there that this session needs? Evaluations may do without. */
static zo2_status check_source(const zo2_engine *e)
{
    const uint32_t n = zo2_packfile_header(e->pack->file)->dropped;
    zo2_status s = zo2_dropped_check_run(e->pack->file, &e->arch, zo2_settings_wires(&e->settings));
    if (s || !n)
        return s;
    char text[300];
    snprintf(text, sizeof text,
             "the pack has nothing but the wire of %" PRIu32
             " matrices (zo2-pack freeze --drop-source): evaluations at the exact weights take what it says of them",
             n);
    zo2_engine_say(e, ZO2_LOG_INFO, text);
    return ZO2_OK;
}

/* Where replays begin is said; chunks that spill say it when they are asked for. */
static zo2_snapfile *find_snapshot(zo2_engine *e, const zo2_journal *j, uint64_t steps)
{
    zo2_core *c = &e->core;
    if (zo2_masters_are_spilled(&c->masters))
        return NULL;
    zo2_snapfile *snapshot =
        steps ? zo2_snapshot_find(e->snapshot_dir, j, &c->layout, steps, e->opts.log, e->opts.log_ud) : NULL;
    uint64_t from = snapshot ? zo2_snapfile_get_header(snapshot)->step : 0;
    zo2_replay_announce(&c->history, from, steps, snapshot != NULL, c->arch->moving, zo2_pool_threads(c->pool),
                        e->opts.log, e->opts.log_ud);
    return snapshot;
}

static zo2_status load_masters(zo2_engine *e, const zo2_journal *j)
{
    zo2_core *c = &e->core;
    uint64_t steps = j ? zo2_journal_steps(j) : 0, all = steps;
    if (j && e->opts.read_only && e->opts.at_step >= 0) {
        if ((uint64_t)e->opts.at_step > steps)
            return zo2_error(ZO2_ERR_ARG, "the run in %s has %" PRIu64 " steps: there is no step %" PRId64, e->run_dir,
                             steps, e->opts.at_step);
        steps = (uint64_t)e->opts.at_step;
    }
    zo2_status s = j ? zo2_history_load(&c->history, j, steps) : ZO2_OK;
    if (s)
        return s;
    zo2_snapfile *snapshot = find_snapshot(e, j, steps);
    zo2_masters_load how = {.pack = e->pack->file,
                            .snapshot = snapshot,
                            .history = &c->history,
                            .pool = c->pool,
                            .steps = steps,
                            .pending = c->pending,
                            .read_only = e->opts.read_only,
                            .older = steps < all,
                            .log = e->opts.log,
                            .log_ud = e->opts.log_ud,
                            .progress = e->opts.progress,
                            .progress_ud = e->opts.progress_ud};
    s = zo2_masters_fill(&c->masters, &how);
    zo2_snapfile_close(snapshot);
    for (uint64_t i = 0; i < steps && !s; i++) {
        const zo2_journal_record *r = zo2_journal_at(j, i);
        e->tokens += r->tokens;
        e->data_position = r->data_position;
        e->skipped_in_row = r->skipped ? e->skipped_in_row + 1 : 0;
    }
    return s;
}

static zo2_status open_core(zo2_engine *e, const zo2_backend_ops *ops)
{
    uint32_t *stored_as = NULL;
    zo2_status s = zo2_engine_aliases(e, &stored_as);
    zo2_core_config config = {
        .arch = &e->arch, .ops = ops, .stored_as = stored_as, .settings = &e->settings, .with_masters = 1};
    if (!s)
        s = zo2_engine_measure_spill(e);
    zo2_core_spill spill = zo2_engine_spill(e);
    const zo2_core_trunk trunk = {.bytes = e->opts.trunk_cache,
                                  .dirs = e->opts.spill_dirs,
                                  .n_dirs = e->first_chain ? e->opts.spill_count : 0,
                                  .run = e->first_chain,
                                  .writable = !e->opts.read_only,
                                  .log = e->opts.log,
                                  .log_ud = e->opts.log_ud};
    config.trunk = &trunk;
    e->made_trunk = trunk.bytes && trunk.n_dirs && trunk.writable && !e->known;
    if (e->opts.spill_count)
        config.spill = &spill;
    if (!s)
        s = zo2_shape_from_opts(&config.shape, &e->arch, ops, &e->opts);
    if (!s)
        s = zo2_engine_spill_chunks(e, &config.shape.chunk_bytes);
    if (!s) {
        config.shape.host_limit = e->host_limit[0] ? e->host_limit : NULL;
        config.device = zo2_shape_ask_device(&config.shape, ops);
        s = zo2_core_create(&e->core, &config);
    }
    free(stored_as);
    e->made_spill = !s && e->core.spill && !e->known && !e->opts.read_only;
    return s;
}

/* ---- life ---- */

static zo2_status open_all(zo2_engine *e, const char *pack, const char *run_dir)
{
    const zo2_backend_ops *ops = NULL;
    zo2_journal *journal = NULL;
    zo2_status s = zo2_pack_open(&e->pack, pack);
    if (!s && run_dir)
        s = zo2_run_dir_claim(e, run_dir);
    if (!s && run_dir)
        s = zo2_run_dir_open_journal(e, &journal);
    const zo2_run_settings *run = journal ? zo2_journal_settings(journal) : NULL;
    if (!s)
        s = choose_backend(e, run, &ops);
    if (!s)
        s = zo2_engine_tune(e, run);
    if (!s && !run)
        s = zo2_engine_budget_pending(e, ops);
    if (!s)
        s = zo2_settings_resolve(&e->settings, &e->opts, run, &e->arch, zo2_packfile_header(e->pack->file)->model_hash,
                                 ops);
    if (!s)
        zo2_engine_resolve_opts(e);
    if (!s)
        s = check_source(e);
    if (!s && run_dir)
        s = zo2_run_dir_find_snapshots(e, journal);
    e->known = journal;
    if (!s && run_dir)
        e->first_chain = journal ? zo2_journal_chain(journal, 0) : zo2_journal_first_chain(&e->settings);
    if (!s)
        s = open_core(e, ops);
    if (!s)
        s = zo2_share_open(e);
    if (!s)
        s = load_masters(e, journal);
    if (!s && !zo2_core_register_masters(&e->core)) {
        char text[1200];
        snprintf(text, sizeof text, "wires are copied once more on their way to the device: %s", zo2_last_error());
        zo2_engine_say(e, ZO2_LOG_INFO, text);
    }
    if (!s) {
        e->core.progress = e->opts.progress;
        e->core.progress_ud = e->opts.progress_ud;
        zo2_core_trace(&e->core, e->opts.trace, e->opts.trace_ud);
        e->opts.snapshot_dir = e->snapshot_dir;
        e->resumed = journal != NULL;
        e->last_snapshot = zo2_now();
    }
    /* Last of all: a failed open must leave no run behind. */
    if (!s && run_dir && !e->opts.read_only && !journal)
        s = zo2_run_dir_create_journal(e);
    if (!s && !e->opts.read_only && journal) {
        e->journal = journal;
        journal = NULL;
        zo2_snapshot_clean(&zo2_io_posix, e->snapshot_dir);
    }
    if (!s && e->journal)
        zo2_run_dir_reserve(e);
    e->known = NULL; /* whatever is written from now on has e->journal */
    zo2_journal_close(journal);
    return s;
}

zo2_status zo2_engine_open(zo2_engine **out, const char *pack, const char *run_dir, const zo2_engine_opts *o)
{
    if (out)
        *out = NULL;
    if (!out || !pack)
        return zo2_error(ZO2_ERR_ARG, "zo2_engine_open: out and pack must not be NULL");
    zo2_engine *e = calloc(1, sizeof *e);
    if (!e)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for an engine");
    pthread_mutex_init(&e->log.mutex, NULL);
    e->lock_fd = -1;
    e->process = getpid();
    zo2_status s = ZO2_OK;
    if (!zo2_engine_opts_take(&e->opts, o))
        s = zo2_error(ZO2_ERR_ARG, "zo2_engine_open: struct_size is not set; call zo2_engine_opts_init() first");
    else if (!e->opts.split != !e->opts.exchange)
        s = zo2_error(ZO2_ERR_ARG, "zo2_engine_open: work is shared with both split and exchange, or with neither");
    else if (!run_dir && !e->opts.read_only)
        s = zo2_error(ZO2_ERR_ARG, "zo2_engine_open: training needs a run directory");
    e->log.log = e->opts.log;
    e->log.ud = e->opts.log_ud;
    if (e->opts.log) { /* lanes and tasks have something to say, too */
        e->opts.log = zo2_one_log_say;
        e->opts.log_ud = &e->log;
    }
    if (!s)
        s = zo2_engine_copy_spill_dirs(e);
    if (!s) {
        fenv_t fenv;
        zo2_fpenv_pin(&fenv); /* the journal is replayed here */
        s = open_all(e, pack, run_dir);
        zo2_fpenv_restore(&fenv);
    }
    if (s) {
        int made = e->made_run_dir;
        e->unfinished = 1;
        zo2_engine_close(e);
        if (made) { /* as it was: not there; the lock is the only thing in it */
            char *lock = zo2_path_join(run_dir, "lock");
            if (lock)
                unlink(lock);
            free(lock);
            rmdir(run_dir);
        }
        return s;
    }
    *out = e;
    return zo2_finish(ZO2_OK);
}

void zo2_engine_close(zo2_engine *e)
{
    if (!e)
        return;
    if (e->core.arch)
        zo2_core_destroy(&e->core);
    zo2_engine_unspill(e);
    zo2_share_close(e);
    zo2_journal_close(e->journal);
    if (e->lock_fd >= 0)
        close(e->lock_fd);
    zo2_arch_free(&e->arch);
    zo2_pack_close(e->pack);
    free(e->tune);
    zo2_engine_free_spill_dirs(e);
    free(e->snapshot_dir);
    free(e->run_dir);
    pthread_mutex_destroy(&e->log.mutex);
    free(e);
}

zo2_status zo2_engine_enter(zo2_engine *e, const char *function)
{
    int idle = 0;
    zo2_status s = zo2_process_check(e->process, function, "engine");
    if (s)
        return s;
    return atomic_compare_exchange_strong(&e->busy, &idle, 1)
               ? ZO2_OK
               : zo2_error(
                     ZO2_ERR_BUSY,
                     "%s: another call with this engine is in progress, on another thread or from a callback of it",
                     function);
}

void zo2_engine_leave(zo2_engine *e)
{
    atomic_store(&e->busy, 0);
}
