/* share.c: see share.h. */
#include "engine/run/share.h"
#include "engine/base/clock.h"
#include "engine/forward/batch.h"
#include "engine/forward/core.h"
#include "engine/plan/plan_types.h"
#include "engine/stream/trace.h"

#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

zo2_status zo2_share_open(zo2_engine *e)
{
    const zo2_shape *shape = &e->core.shape;
    const uint64_t rows = shape->batch_tokens / shape->max_keys, streams = shape->streams;
    uint64_t values = streams * (e->opts.loss && shape->loss_tokens > rows ? shape->loss_tokens : rows);
    if (!e->opts.exchange)
        return ZO2_OK;
    if (values < shape->loss_tokens) /* an evaluation may ask for those of one stream */
        values = shape->loss_tokens;
    e->values = calloc(values, sizeof *e->values);
    e->first = calloc(rows + 1, sizeof *e->first);
    return e->values && e->first ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the values that are exchanged");
}

void zo2_share_close(zo2_engine *e)
{
    free(e->values);
    free(e->first);
}

/* ---- the part ---- */

/* A callback's status becomes the call's, so it must be one that says what went wrong. */
static zo2_status checked(zo2_status s, const char *what)
{
    if (s > ZO2_OK)
        return zo2_error(ZO2_ERR_ARG, "the %s function returned %d, which is no zo2_status: errors are negative", what,
                         (int)s);
    if (s && !*zo2_last_error())
        return zo2_error(s, "the %s function failed: %s", what, zo2_strerror(s));
    return s;
}

/* Queries one after the other, with as many streams each. What else a method may evaluate belongs to no query. */
static int is_by_query(const zo2_probe_plan *p, uint32_t queries)
{
    if (p->streams % queries)
        return 0;
    for (uint32_t i = 0; i < p->streams; i++)
        if (!p->stream[i].sign || p->stream[i].query != i / (p->streams / queries))
            return 0;
    return 1;
}

static void count_values(zo2_engine *e, const zo2_share *s)
{
    const zo2_packed *p = &e->core.packed;
    for (uint32_t m = 0; m < p->micros; m++)
        e->first[m] = s->by_token ? p->micro[m].loss_at : p->micro[m].row_at;
    e->first[p->micros] = s->by_token ? p->losses : p->rows;
}

static zo2_status check_part(const zo2_pass_work *w)
{
    const uint64_t queries = (uint64_t)w->query + w->own_queries, micros = (uint64_t)w->micro + w->own_micros;
    if (queries > w->queries || micros > w->micros)
        return zo2_error(ZO2_ERR_ARG,
                         "the split function's part ends behind query %llu and micro-batch %llu: there are %u and %u",
                         (unsigned long long)queries, (unsigned long long)micros, w->queries, w->micros);
    if (w->alone && (w->own_queries < w->queries || w->own_micros < w->micros))
        return zo2_error(ZO2_ERR_ARG, "the split function's part is alone, but not all there is");
    return ZO2_OK;
}

static int is_empty(const zo2_pass_work *w)
{
    return !w->own_queries || !w->own_micros;
}

/* What the core computes. A step whose part is empty computes the first query in the first micro-batch all the same, for nobody: its
 * pass brings the masters' updates along. */
static void tell_core(zo2_share *s, zo2_engine *e, const zo2_probe_plan *probes)
{
    zo2_core *c = &e->core;
    zo2_pass_work part = s->work;
    if (probes && is_empty(&part))
        part = (zo2_pass_work){.own_queries = 1, .own_micros = 1};
    c->micro_from = part.micro;
    c->micro_to = is_empty(&part) ? part.micro : part.micro + part.own_micros;
    if (!probes)
        return;
    s->own.streams = part.own_queries * s->work.streams;
    memmove(s->own.stream, s->own.stream + part.query * s->work.streams, s->own.streams * sizeof *s->own.stream);
}

zo2_status zo2_share_begin(zo2_share *s, zo2_engine *e, const zo2_probe_plan *probes, int by_token)
{
    const uint32_t queries = probes ? e->settings.queries : 1, streams = probes ? probes->streams : 1;
    e->exchange_seconds = 0;
    s->shared = 0;
    s->by_token = by_token;
    if (probes)
        s->own = *probes;
    if (!e->opts.exchange)
        return ZO2_OK;
    if (probes && !is_by_query(probes, queries))
        return zo2_error(ZO2_ERR_UNSUPPORTED, "a step whose streams aren't those of its queries can't be shared");
    count_values(e, s);
    s->work = (zo2_pass_work){.struct_size = sizeof s->work,
                              .step = e->core.history.steps,
                              .evaluation = !probes,
                              .queries = queries,
                              .streams = streams / queries,
                              .micros = e->core.packed.micros,
                              .first = e->first,
                              .own_queries = queries,
                              .own_micros = e->core.packed.micros};
    zo2_error(ZO2_OK, "%s", "");
    zo2_status status = checked(e->opts.split(e->opts.exchange_ud, &s->work), "split");
    if (!status)
        status = check_part(&s->work);
    if (status)
        return status;
    s->shared = !s->work.alone;
    tell_core(s, e, probes);
    return ZO2_OK;
}

/* ---- the values ---- */

/* This process's, from the log-probabilities of its streams, to their places among all; zero elsewhere. */
static void give_values(const zo2_share *s, zo2_engine *e)
{
    const zo2_core *c = &e->core;
    const zo2_packed *p = &c->packed;
    const zo2_pass_work *w = &s->work;
    const uint64_t n = w->first[w->micros];
    memset(e->values, 0, w->queries * w->streams * n * sizeof *e->values);
    if (is_empty(w))
        return;
    const uint64_t from = w->first[w->micro], to = w->first[w->micro + w->own_micros];
    for (uint32_t i = 0; i < w->own_queries * w->streams; i++) {
        const float *logprob = c->logprob + i * p->losses;
        double *values = e->values + ((uint64_t)w->query * w->streams + i) * n;
        if (s->by_token)
            for (uint64_t k = from; k < to; k++)
                values[k] = (double)logprob[k];
        else
            zo2_row_sums(values, p, (uint32_t)from, (uint32_t)to, logprob + p->micro[w->micro].loss_at);
    }
}

static void span(zo2_engine *e, uint64_t bytes, uint64_t begin, uint64_t end)
{
    zo2_core *c = &e->core;
    zo2_trace_what what = {.lane = zo2_track_name(ZO2_TRACK_COMPUTE),
                           .name = "exchange",
                           .step = c->history.steps,
                           .chunk = -1,
                           .tile = -1,
                           .bytes = bytes};
    if (c->tracer.fn)
        zo2_trace_span(&c->tracer, &what, begin, end);
}

zo2_status zo2_share_exchange(zo2_share *s, zo2_engine *e, const double **row_nll)
{
    zo2_core *c = &e->core;
    *row_nll = NULL;
    if (!s->shared)
        return ZO2_OK;
    const uint64_t n = (uint64_t)s->work.queries * s->work.streams * s->work.first[s->work.micros];
    const uint64_t begin = zo2_clock_ns();
    give_values(s, e);
    zo2_error(ZO2_OK, "%s", "");
    zo2_status status = checked(e->opts.exchange(e->opts.exchange_ud, &s->work, e->values), "exchange");
    const uint64_t end = zo2_clock_ns();
    e->exchange_seconds = 1e-9 * (double)(end - begin);
    span(e, n * sizeof *e->values, begin, end);
    if (!s->by_token)
        *row_nll = e->values;
    else if (!status)
        for (uint64_t i = 0; i < n; i++)
            c->logprob[i] = (float)e->values[i];
    return status;
}
