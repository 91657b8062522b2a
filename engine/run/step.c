/* step.c: one step of the run's method, and evaluation. */
#include "engine/base/clock.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/opts.h"
#include "engine/forward/batch.h"
#include "engine/forward/core.h"
#include "engine/masters/history.h"
#include "engine/masters/masters.h"
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "engine/run/run_api.h"
#include "engine/run/session.h"
#include "engine/run/share.h"
#include "engine/stream/pipeline.h"
#include "engine/stream/trace.h"
#include "storage/run/journal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Snapshots may cost at most a twentieth of the time. */
#define SNAPSHOT_SHARE 19.0

static zo2_status usable(const zo2_engine *e)
{
    if (e->failed)
        return zo2_error(e->failed, "the engine stopped after an earlier error; close it and resume the run");
    return ZO2_OK;
}

/* The caller's own loss of a stream. Its status becomes the call's, so it must be one that says what went wrong. */
static zo2_status custom_loss(const zo2_engine *e, const float *logprob, double *loss)
{
    zo2_error(ZO2_OK, "%s", "");
    zo2_status s = e->opts.loss(e->opts.loss_ud, logprob, e->core.packed.losses, loss);
    if (s > ZO2_OK)
        return zo2_error(ZO2_ERR_ARG, "the loss function returned %d, which is no zo2_status: errors are negative",
                         (int)s);
    if (s && !*zo2_last_error())
        return zo2_error(s, "the loss function failed: %s", zo2_strerror(s));
    return s;
}

/* Losses of all streams, in the order of the probe plan. row_nll: [streams][rows]; NULL: from the log-probabilities. */
static zo2_status stream_losses(zo2_engine *e, uint32_t streams, const double *row_nll, zo2_loss *losses)
{
    zo2_core *c = &e->core;
    for (uint32_t i = 0; i < streams; i++) {
        const float *logprob = c->logprob + i * c->packed.losses;
        if (row_nll)
            zo2_loss_of_rows(&losses[i], &c->packed, row_nll + (uint64_t)i * c->packed.rows);
        else
            zo2_loss_compute(&losses[i], &c->packed, logprob);
        if (!e->opts.loss)
            continue;
        zo2_status s = custom_loss(e, logprob, &losses[i].loss);
        if (s)
            return s;
    }
    return ZO2_OK;
}

/* The step's record: everything that its update depends on, as bits (storage/RUN.md). */
static void fill_record(const zo2_engine *e, const zo2_probe_plan *probes, const zo2_loss *losses,
                        uint64_t data_position, zo2_journal_record *r)
{
    const zo2_run_settings *set = &e->settings;
    double lr = zo2_lr_at(&e->opts, r->step), values[ZO2_MAX_STREAMS];
    r->tokens = e->core.packed.real_tokens;
    r->data_position = data_position;
    r->queries = set->queries;
    r->d = (float)(lr * set->weight_decay);
    for (uint32_t i = 0; i < probes->streams; i++)
        values[i] = losses[i].loss;
    zo2_method_get()->coefficients(set, lr, probes, values, r);
}

static const char *busiest(const zo2_step_result *r)
{
    const struct {
        double busy;
        zo2_track track;
    } lanes[] = {{r->compute.busy, ZO2_TRACK_COMPUTE},
                 {r->update.busy, ZO2_TRACK_UPDATE},
                 {r->upload.busy, ZO2_TRACK_UPLOAD},
                 {r->read.busy, ZO2_TRACK_READ},
                 {r->write.busy, ZO2_TRACK_WRITE}};
    size_t most = 0;
    for (size_t i = 1; i < sizeof lanes / sizeof lanes[0]; i++)
        most = lanes[i].busy > lanes[most].busy ? i : most;
    return zo2_track_name(lanes[most].track);
}

static void fill_result(const zo2_engine *e, const zo2_journal_record *r, double seconds, zo2_step_result *out)
{
    size_t size = out->struct_size;
    const zo2_record_means means = zo2_record_means_of(r);
    zo2_step_result result = {.struct_size = size,
                              .step = r->step,
                              .tokens = r->tokens,
                              .skipped = r->skipped,
                              .seconds = seconds,
                              .loss_plus = means.loss_plus,
                              .loss_minus = means.loss_minus,
                              .projected_grad = means.projected_grad};
    result.lr = zo2_lr_at(&e->opts, r->step);
    result.device_peak_bytes = e->core.ops->peak_bytes(e->core.be);
    result.host_peak_bytes = zo2_host_peak(e);
    result.update = e->core.update;
    result.upload = e->core.upload;
    result.compute = e->core.compute;
    result.read = e->core.read;
    result.write = e->core.write;
    result.read_bytes = e->core.read_bytes;
    result.written_bytes = e->core.written_bytes;
    const zo2_masters_bytes where = zo2_masters_where(&e->core.masters);
    result.ram_master_bytes = where.ram;
    result.spilled_bytes = where.spill;
    result.pack_master_bytes = where.pack;
    result.ram_wire_bytes = where.ram_wires;
    result.exchange_seconds = e->exchange_seconds;
    result.bottleneck = busiest(&result);
    memcpy(out, &result, size < sizeof result ? size : sizeof result);
}

static void snapshot_when_due(zo2_engine *e)
{
    double every = e->opts.snapshot_seconds;
    if (every <= 0)
        return;
    if (every < SNAPSHOT_SHARE * e->snapshot_cost)
        every = SNAPSHOT_SHARE * e->snapshot_cost;
    if (zo2_now() - e->last_snapshot < every || !zo2_engine_snapshot(e))
        return;
    e->last_snapshot = zo2_now(); /* try again after the interval, not after the next step */
    char text[1200];
    snprintf(text, sizeof text, "no snapshot was written, training goes on: %s", zo2_last_error());
    if (e->opts.log)
        e->opts.log(e->opts.log_ud, ZO2_LOG_WARNING, text);
}

static zo2_status take_step(zo2_engine *e, const zo2_batch *batch, zo2_step_result *result)
{
    double from = zo2_now();
    zo2_loss losses[ZO2_MAX_STREAMS];
    zo2_probe_plan probes;
    zo2_share share;
    const double *row_nll = NULL;
    zo2_journal_record record = {.step = e->core.history.steps};
    zo2_method_get()->probes(e->settings.queries, record.step, &probes);
    zo2_status s = usable(e);
    if (!s && probes.moves)
        s = zo2_error(ZO2_ERR_UNSUPPORTED,
                      "%s: a step that moves some of the tensors only has no record in this version",
                      zo2_method_get()->name);
    if (!s)
        s = zo2_core_pack(&e->core, batch);
    if (!s)
        s = zo2_share_begin(&share, e, &probes, e->opts.loss != NULL);
    if (!s) {
        s = zo2_core_train_pass(&e->core, &share.own);
        /* An update that failed half-way leaves a chunk undefined in memory; pack and journal still have the truth. */
        if (s && s != ZO2_ERR_CANCELLED)
            e->failed = s;
    }
    if (!s)
        s = zo2_share_exchange(&share, e, &row_nll);
    if (!s)
        s = stream_losses(e, probes.streams, row_nll, losses);
    if (s)
        return s;
    fill_record(e, &probes, losses, batch->data_position, &record);
    s = zo2_journal_append(e->journal, &record);
    if (!s)
        s = zo2_history_push(&e->core.history, &record);
    if (s) {
        e->failed = s;
        return s;
    }
    e->tokens += record.tokens;
    e->data_position = record.data_position;
    e->skipped_in_row = record.skipped ? e->skipped_in_row + 1 : 0;
    if (result)
        fill_result(e, &record, zo2_now() - from, result);
    snapshot_when_due(e);
    return ZO2_OK;
}

zo2_status zo2_step(zo2_engine *e, const zo2_batch *batch, zo2_step_result *result)
{
    if (!e || !batch)
        return zo2_error(ZO2_ERR_ARG, "zo2_step: engine and batch must not be NULL");
    if (result && result->struct_size < sizeof result->struct_size)
        return zo2_error(ZO2_ERR_ARG, "zo2_step: the result's struct_size is not set");
    if (!e->journal)
        return zo2_error(ZO2_ERR_ARG, "zo2_step: the engine was opened read-only");
    zo2_status s = zo2_engine_enter(e, "zo2_step");
    if (s)
        return s;
    fenv_t fenv;
    zo2_fpenv_pin(&fenv); /* g and the coefficients too are rounded to nearest */
    s = take_step(e, batch, result);
    zo2_fpenv_restore(&fenv);
    zo2_engine_leave(e);
    return zo2_finish(s);
}

void zo2_step_abort(zo2_engine *e)
{
    if (e)
        atomic_store(&e->core.abort, 1);
}

void zo2_scores_init_sized(zo2_scores *s, size_t size)
{
    zo2_scores own = {.struct_size = sizeof own};
    zo2_opts_give(s, size, &own, sizeof own);
}

static zo2_status score(zo2_engine *e, const zo2_batch *batch, zo2_weights weights, zo2_scores *scores)
{
    zo2_core *c = &e->core;
    zo2_loss loss;
    zo2_share share;
    const double *row_nll = NULL;
    zo2_status s = usable(e);
    if (!s)
        s = zo2_core_pack(c, batch);
    if (!s)
        s = zo2_share_begin(&share, e, NULL, e->opts.loss || scores->logprobs);
    if (!s)
        s = zo2_core_eval_pass(c, weights == ZO2_WEIGHTS_MASTER ? ZO2_PASS_EXACT : ZO2_PASS_WIRE);
    if (!s)
        s = zo2_share_exchange(&share, e, &row_nll);
    if (!s)
        s = stream_losses(e, 1, row_nll, &loss);
    if (s)
        return s;
    scores->loss = loss.loss;
    scores->sum_nll = loss.sum_nll;
    scores->sum_loss = loss.sum_loss;
    scores->correct = loss.correct;
    scores->nonfinite = loss.nonfinite;
    scores->examples = c->packed.examples;
    scores->loss_tokens = c->packed.losses;
    scores->tokens = c->packed.real_tokens;
    if (scores->logprobs)
        memcpy(scores->logprobs, c->logprob, c->packed.losses * sizeof *scores->logprobs);
    if (scores->row_scores)
        memcpy(scores->row_scores, c->packed.row_score, c->packed.rows * sizeof *scores->row_scores);
    return ZO2_OK;
}

zo2_status zo2_forward(zo2_engine *e, const zo2_batch *batch, zo2_weights weights, zo2_scores *scores)
{
    zo2_scores own = {0};
    if (!e || !batch || !scores || !zo2_opts_take(&own, sizeof own, scores))
        return zo2_error(ZO2_ERR_ARG, "zo2_forward: engine, batch and scores (with its struct_size) are needed");
    if (weights != ZO2_WEIGHTS_WIRE && weights != ZO2_WEIGHTS_MASTER)
        return zo2_error(ZO2_ERR_ARG, "zo2_forward: %d is no kind of weights", (int)weights);
    zo2_status s = zo2_engine_enter(e, "zo2_forward");
    if (s)
        return s;
    fenv_t fenv;
    zo2_fpenv_pin(&fenv);
    s = score(e, batch, weights, &own);
    zo2_fpenv_restore(&fenv);
    zo2_engine_leave(e);
    own.struct_size = scores->struct_size;
    if (!s)
        memcpy(scores, &own, own.struct_size < sizeof own ? own.struct_size : sizeof own);
    return zo2_finish(s);
}
