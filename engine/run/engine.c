/* engine.c: opening and closing: pack, run directory, settings, core, masters. */
#include "engine/base/fpenv.h"
#include "engine/masters/snapshot_find.h"
#include "engine/run/session.h"
#include "engine/run/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SNAPSHOT_SECONDS 1800.0
#define RESERVED_STEPS           131072u

double zo2_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t zo2_host_peak(const zo2_engine *e)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    uint64_t rss = (uint64_t)u.ru_maxrss * 1024, arena = 0;
    if (e->core.ops->kind == ZO2_BACKEND_CPU)
        arena = e->core.ops->peak_bytes(e->core.be);
    return rss > arena ? rss - arena : 0;
}

static void say(const zo2_engine *e, zo2_log_level level, const char *text)
{
    if (e->opts.log)
        e->opts.log(e->opts.log_ud, level, text);
}

/* ---- run directory ---- */

static zo2_status claim_run_dir(zo2_engine *e, const char *run_dir)
{
    e->run_dir = strdup(run_dir);
    if (!e->run_dir)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the run directory");
    if (e->opts.read_only)
        return ZO2_OK;
    if (!mkdir(run_dir, 0777))
        e->made_run_dir = 1;
    else if (errno != EEXIST)
        return zo2_io_error("cannot create the run directory", run_dir);
    return zo2_run_lock(run_dir, &e->lock_fd);
}

static zo2_status open_journal(zo2_engine *e, zo2_journal **journal)
{
    char *path = zo2_path_join(e->run_dir, "journal.zo2j");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the journal");
    zo2_status s = ZO2_OK;
    if (!access(path, F_OK))
        s = zo2_journal_open(journal, &zo2_io_posix, path, !e->opts.read_only);
    else if (errno != ENOENT)
        s = zo2_io_error("cannot look at the journal", path);
    else if (e->opts.read_only)
        s = zo2_error(ZO2_ERR_NOTFOUND, "%s is not a run directory: it has no journal.zo2j", e->run_dir);
    free(path);
    if (!s && *journal && !e->opts.read_only && !e->opts.resume)
        s = zo2_error(ZO2_ERR_EXISTS,
                      "%s already holds a run of %" PRIu64
                      " steps: continue it with --resume, or choose another directory",
                      e->run_dir, zo2_journal_steps(*journal));
    if (!s && *journal && zo2_journal_torn_bytes(*journal)) {
        char text[160];
        snprintf(text, sizeof text,
                 "the journal ended with %" PRIu64 " torn bytes, the rest of an interrupted write: cut off",
                 zo2_journal_torn_bytes(*journal));
        say(e, ZO2_LOG_INFO, text);
    }
    return s;
}

static zo2_status create_journal(zo2_engine *e)
{
    char *path = zo2_path_join(e->run_dir, "journal.zo2j");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the journal");
    zo2_status s = zo2_journal_create(&e->journal, &zo2_io_posix, path, &e->settings);
    free(path);
    return s;
}

/* Room for the steps that the run is to have, so that taking one allocates nothing. Untouched memory costs nothing
 * either, but a number of steps that means "until I stop it" must not reserve all there is: beyond RESERVED_STEPS, or
 * where memory is short now, the lists grow by doubling when it comes to that. */
static void reserve_steps(zo2_engine *e)
{
    uint64_t steps = e->opts.total_steps ? e->opts.total_steps : ZO2_DEFAULT_STEPS;
    if (steps > RESERVED_STEPS)
        steps = RESERVED_STEPS;
    if (!zo2_journal_reserve(e->journal, steps))
        (void)zo2_history_reserve(&e->core.history, steps); /* a step that finds no room fails and says so */
}

/* ---- options ---- */

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
            say(e, ZO2_LOG_INFO, text);
        }
    } else {
        *ops = zo2_backend_get(kind);
    }
    if (!*ops)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend is not part of this build",
                         kind == ZO2_BACKEND_CUDA ? "cuda" : "chosen");
    return ZO2_OK;
}

uint64_t zo2_host_budget_bytes(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024 / 10 * 9;
}

/* Options as they are in force: what zo2_engine_get_opts() shows. */
static void resolve_opts(zo2_engine *e, const zo2_backend_ops *ops)
{
    zo2_engine_opts *o = &e->opts;
    const zo2_run_settings *s = &e->settings;
    o->seed = s->seed;
    o->seed_set = 1;
    o->lr = s->lr;
    o->eps = s->eps;
    o->weight_decay = s->weight_decay;
    o->clip = s->clip;
    o->warmup = s->warmup;
    if (s->schedule != ZO2_CONSTANT)
        o->total_steps = s->total_steps;
    o->schedule = s->schedule;
    o->dist = s->dist;
    o->queries = s->queries;
    o->pending = (int32_t)s->pending;
    o->micro_batch = s->micro_batch;
    o->wire = s->wire;
    o->compute = s->compute;
    o->backend = ops->kind;
    if (isnan(o->snapshot_seconds))
        o->snapshot_seconds = DEFAULT_SNAPSHOT_SECONDS;
    if (!o->host_bytes)
        o->host_bytes = zo2_host_budget_bytes();
}

/* ---- masters ---- */

/* Weights per second that one thread can bring forward by one step; measured on a piece that stays in the cache. */
static double replay_rate(const zo2_history *h)
{
    enum { N = 1 << 16 };
    float *w = calloc(N, sizeof *w);
    uint32_t count;
    const zo2_update *u = zo2_history_range(h, h->steps - 1, h->steps, &count);
    if (!w || !count) {
        free(w);
        return 1e9;
    }
    double from = zo2_now();
    zo2_update_apply(w, N, 0, 0, h->dist, 1, u, 1);
    double seconds = zo2_now() - from;
    free(w);
    return N / (seconds > 1e-9 ? seconds : 1e-9);
}

static zo2_status load_masters(zo2_engine *e, const zo2_journal *j)
{
    zo2_core *c = &e->core;
    uint64_t steps = j ? zo2_journal_steps(j) : 0;
    if (j && e->opts.read_only && e->opts.at_step >= 0) {
        if ((uint64_t)e->opts.at_step > steps)
            return zo2_error(ZO2_ERR_ARG, "the run in %s has %" PRIu64 " steps: there is no step %" PRId64, e->run_dir,
                             steps, e->opts.at_step);
        steps = (uint64_t)e->opts.at_step;
    }
    zo2_status s = j ? zo2_history_load(&c->history, j, steps) : ZO2_OK;
    if (s)
        return s;
    zo2_snapfile *snapshot =
        steps ? zo2_snapshot_find(e->snapshot_dir, j, &c->layout, steps, e->opts.log, e->opts.log_ud) : NULL;
    uint64_t from = snapshot ? zo2_snapfile_get_header(snapshot)->step : 0;
    if (steps > from) {
        char text[ZO2_REPLAY_TEXT_BYTES];
        double seconds = (double)c->arch->parameters * (double)(steps - from) * c->shape.queries /
                         (replay_rate(&c->history) * zo2_pool_threads(c->pool));
        zo2_replay_text(text, from, steps, snapshot != NULL, seconds);
        say(e, ZO2_LOG_INFO, text);
    }
    zo2_masters_load how = {.pack = e->pack->file,
                            .snapshot = snapshot,
                            .history = &c->history,
                            .pool = c->pool,
                            .steps = steps,
                            .pending = c->pending,
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

/* Which tensors share storage; NULL if none does (then *s says whether that is an error). */
static uint32_t *aliases(const zo2_engine *e, zo2_status *s)
{
    const zo2_packheader *h = zo2_packfile_header(e->pack->file);
    *s = ZO2_OK;
    if (!h->aliased)
        return NULL;
    uint32_t *stored_as = malloc(h->tensors * sizeof *stored_as);
    if (!stored_as)
        *s = zo2_error(ZO2_ERR_NOMEM, "no memory for the table of aliased tensors");
    for (uint32_t i = 0; stored_as && i < h->tensors; i++)
        stored_as[i] = zo2_packfile_tensor(e->pack->file, i)->stored_as;
    return stored_as;
}

static zo2_status open_core(zo2_engine *e, const zo2_backend_ops *ops)
{
    zo2_status s;
    uint32_t *stored_as = aliases(e, &s);
    zo2_core_config config = {
        .arch = &e->pack->arch, .ops = ops, .stored_as = stored_as, .settings = &e->settings, .with_masters = 1};
    if (!s)
        s = zo2_shape_from_opts(&config.shape, &e->pack->arch, ops, &e->opts);
    if (!s)
        s = zo2_core_create(&e->core, &config);
    free(stored_as);
    return s;
}

/* ---- life ---- */

static zo2_status open_all(zo2_engine *e, const char *pack, const char *run_dir)
{
    const zo2_backend_ops *ops = NULL;
    zo2_journal *journal = NULL;
    zo2_status s = zo2_pack_open(&e->pack, pack);
    if (!s && run_dir)
        s = claim_run_dir(e, run_dir);
    if (!s && run_dir)
        s = open_journal(e, &journal);
    const zo2_run_settings *run = journal ? zo2_journal_settings(journal) : NULL;
    if (!s)
        s = choose_backend(e, run, &ops);
    if (!s)
        s = zo2_settings_resolve(&e->settings, &e->opts, run, &e->pack->arch,
                                 zo2_packfile_header(e->pack->file)->model_hash, ops);
    if (!s)
        resolve_opts(e, ops);
    if (!s && run_dir) {
        e->snapshot_dir = e->opts.snapshot_dir ? strdup(e->opts.snapshot_dir) : zo2_path_join(run_dir, "snapshots");
        if (!e->snapshot_dir)
            s = zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the snapshot directory");
    }
    if (!s)
        s = open_core(e, ops);
    if (!s)
        s = load_masters(e, journal);
    if (!s && !zo2_core_register_masters(&e->core)) {
        char text[1200];
        snprintf(text, sizeof text, "wires are copied once more on their way to the device: %s", zo2_last_error());
        say(e, ZO2_LOG_INFO, text);
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
        s = create_journal(e);
    if (!s && !e->opts.read_only && journal) {
        e->journal = journal;
        journal = NULL;
        zo2_snapshot_clean(&zo2_io_posix, e->snapshot_dir);
    }
    if (!s && e->journal)
        reserve_steps(e);
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
    e->lock_fd = -1;
    zo2_engine_opts_init(&e->opts);
    zo2_status s = ZO2_OK;
    if (!zo2_opts_take(&e->opts, sizeof e->opts, o))
        s = zo2_error(ZO2_ERR_ARG, "zo2_engine_open: struct_size is not set; call zo2_engine_opts_init() first");
    else if (!run_dir && !e->opts.read_only)
        s = zo2_error(ZO2_ERR_ARG, "zo2_engine_open: training needs a run directory");
    if (!s) {
        fenv_t fenv;
        zo2_fpenv_pin(&fenv); /* the journal is replayed here */
        s = open_all(e, pack, run_dir);
        zo2_fpenv_restore(&fenv);
    }
    if (s) {
        int made = e->made_run_dir;
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
    return ZO2_OK;
}

void zo2_engine_close(zo2_engine *e)
{
    if (!e)
        return;
    if (e->core.arch)
        zo2_core_destroy(&e->core);
    zo2_journal_close(e->journal);
    if (e->lock_fd >= 0)
        close(e->lock_fd);
    zo2_pack_close(e->pack);
    free(e->snapshot_dir);
    free(e->run_dir);
    free(e);
}
