/* rates.c: see rates.h. The rates are zo2_measure_*() results. What a pass works on grows until it takes a while: a pass
 * over a million weights is enough for one core, and nothing to a GPU. */
#include "engine/measure/rates.h"
#include "engine/base/checked.h"
#include "engine/base/clock.h"
#include "engine/measure/measure.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/plan/plan_types.h"
#include "kernels/backend.h"

#include <math.h>

#define LEAST_WEIGHTS (1u << 20)
#define MOST_WEIGHTS  (1u << 26) /* 256 MiB of masters: more than caches hold */
#define SAMPLE        0.004      /* seconds: shorter ones are the most easily disturbed */
#define STEADY        4          /* samples that are no better than the best one: it is good enough */
#define LEAST_SECONDS 0.08       /* of sampling: who disturbs comes and goes */
#define BETTER        1.01
#define MOST_TOKENS   4096u /* of a product: larger ones are as fast */
#define LEAST_ROWS    256u  /* of a product: narrower ones are slower than the ones of a run */
#define FOLDS         4u

typedef struct sampling {
    const zo2_arch *arch;
    const zo2_shape *shape;
    zo2_backend_kind backend;
    zo2_device *device;
    double opening; /* seconds that the backend takes to open, whatever the size of the work */
    double until;   /* this rate's time is up */
} sampling;

/* One rate, and where it goes. */
typedef struct wanted {
    zo2_measure_kind kind;
    uint32_t pending;
    zo2_wire wire;
    double *rate;
} wanted;

/* A matrix of about that many weights as the model has them. What is computed goes matrix by matrix: no more rows than
 * the largest one of a layer has. */
static zo2_measure_spec spec_of(const sampling *p, const wanted *what, uint64_t weights)
{
    const zo2_measure_kind kind = what->kind;
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = kind;
    spec.threads = p->shape->threads;
    spec.cols = p->arch->hidden;
    spec.rows = zo2_max_u64(weights / spec.cols, LEAST_ROWS);
    if (kind == ZO2_MEASURE_PANELS || kind == ZO2_MEASURE_GEMM)
        spec.rows = zo2_min_u64(spec.rows, zo2_max_u64(p->arch->ffn, p->arch->hidden));
    spec.tokens = zo2_min_u64(p->shape->tokens, MOST_TOKENS);
    /* On a CPU more tokens make no faster products, only longer ones. */
    if (p->backend == ZO2_BACKEND_CPU)
        spec.tokens = zo2_min_u64(spec.tokens, 128);
    spec.wire = what->wire;
    spec.dist = p->shape->dist;
    spec.compute = p->shape->compute;
    spec.backend = p->backend;
    spec.chunk_bytes = p->shape->chunk_bytes ? p->shape->chunk_bytes : zo2_backend_get(p->backend)->chunk_bytes;
    spec.pending = what->pending;
    return spec;
}

/* Seconds of a pass that is not the first. */
static zo2_status warm_pass(zo2_measure *m, double *pass)
{
    zo2_status s = zo2_measure_run(m, 1, pass);
    return s ? s : zo2_measure_run(m, 1, pass);
}

/* Seconds an item: the best of samples, because the others were disturbed. *pass is one sample already. */
static zo2_status best_time(const sampling *p, zo2_measure *m, double *pass)
{
    uint64_t passes = (uint64_t)fmin(fmax(ceil(SAMPLE / fmax(*pass, 1e-7)), 1), 65536);
    double least = zo2_now() + LEAST_SECONDS;
    zo2_status s = ZO2_OK;
    for (int steady = 0; !s; steady++) {
        double took, now = zo2_now();
        if (now + (double)passes * *pass >= p->until || (steady >= STEADY && now >= least))
            break;
        s = zo2_measure_run(m, passes, &took);
        if (!s && took * BETTER < *pass)
            steady = -1;
        if (!s && took < *pass)
            *pass = took;
    }
    return s;
}

/* Items per second of one kind. */
static zo2_status rate_of(const sampling *p, const wanted *what)
{
    zo2_measure_spec spec = spec_of(p, what, LEAST_WEIGHTS);
    zo2_measure_info info;
    zo2_measure *m;
    double pass, from = zo2_now();
    zo2_status s = zo2_measure_open_on(&m, &spec, &info, p->device);
    if (!s)
        s = warm_pass(m, &pass);
    double spent = zo2_now() - from - p->opening, room = p->until - zo2_now() - p->opening;
    double factor = s ? 1 : fmin(SAMPLE / fmax(pass, 1e-7), (double)MOST_WEIGHTS / LEAST_WEIGHTS);
    factor = fmin(factor, room / (2 * fmax(spent, 1e-7))); /* preparing takes its time, too */
    zo2_measure_spec larger = spec_of(p, what, (uint64_t)(fmax(factor, 1) * LEAST_WEIGHTS));
    if (!s && factor > 2 && larger.rows > spec.rows) {
        zo2_measure_close(m);                                   /* a device serves one at a time */
        if (zo2_measure_open_on(&m, &larger, &info, p->device)) /* no memory for it: what there was will do */
            s = zo2_measure_open_on(&m, &spec, &info, p->device);
        if (!s)
            s = warm_pass(m, &pass);
    }
    if (!s)
        s = best_time(p, m, &pass);
    zo2_measure_close(m);
    if (!s)
        *what->rate = info.items / fmax(pass, 1e-9); /* a clock too coarse to see a pass: any rate is a guess */
    return s;
}

static zo2_status time_opening(sampling *p)
{
    const wanted latency = {.kind = ZO2_MEASURE_LATENCY, .wire = p->shape->wires.moving};
    zo2_measure_spec spec = spec_of(p, &latency, LEAST_WEIGHTS);
    zo2_measure *m;
    double from = zo2_now();
    zo2_status s = zo2_measure_open_on(&m, &spec, NULL, p->device);
    p->opening = zo2_now() - from;
    zo2_measure_close(m);
    return s;
}

/* One after the other; what one leaves of its share is the next ones'. */
static zo2_status measure_all(sampling *p, const wanted *list, size_t n, double until)
{
    zo2_status s = ZO2_OK;
    for (size_t i = 0; i < n && !s; i++) {
        double now = zo2_now();
        p->until = now + fmax(until - now, 0) / (double)(n - i);
        s = rate_of(p, &list[i]);
    }
    return s;
}

zo2_status zo2_measure_rates(zo2_rates *out, const zo2_arch *a, const zo2_backend_ops *be, zo2_device *device,
                             const zo2_shape *shape, double seconds)
{
    double folded = 0, from = zo2_now();
    const zo2_wires wires = shape->wires;
    const wanted list[] = {
        {ZO2_MEASURE_UPDATE, 0, wires.moving, &out->update_weights},
        {ZO2_MEASURE_NOISE, 0, wires.moving, &out->noise_weights},
        {ZO2_MEASURE_UPLOAD, 0, wires.moving, &out->upload_bytes},
        {ZO2_MEASURE_PANELS, 0, wires.moving, &out->decode_weights},
        {ZO2_MEASURE_PANELS, FOLDS, wires.moving, &folded},
        {ZO2_MEASURE_GEMM, 0, wires.moving, &out->flops},
        {ZO2_MEASURE_PANELS, 0, wires.frozen, &out->frozen_decode_weights},
    };
    const size_t n = sizeof list / sizeof *list - (wires.frozen == wires.moving); /* the last one is known then */
    sampling p = {.arch = a, .shape = shape, .backend = be->kind, .device = device};
    zo2_status s = time_opening(&p);
    *out = (zo2_rates){.shared = be->kind == ZO2_BACKEND_CPU};
    if (!s)
        s = measure_all(&p, list, n, from + seconds);
    /* What a folded update adds to a decode; no more than can be told from it. */
    double fold = s ? 0 : (1 / folded - 1 / out->decode_weights) / FOLDS;
    out->fold_weights = fold > 0 ? 1 / fold : 0;
    out->seconds = zo2_now() - from;
    return s;
}

zo2_status zo2_measure_host_rates(zo2_rates *out, const zo2_arch *a, const zo2_shape *shape, double seconds)
{
    double from = zo2_now();
    const wanted list[] = {
        {ZO2_MEASURE_UPDATE, 0, shape->wires.moving, &out->update_weights},
        {ZO2_MEASURE_NOISE, 0, shape->wires.moving, &out->noise_weights},
    };
    sampling p = {.arch = a, .shape = shape, .backend = ZO2_BACKEND_CPU};
    *out = (zo2_rates){0};
    zo2_status s = measure_all(&p, list, sizeof list / sizeof *list, from + seconds);
    out->seconds = zo2_now() - from;
    return s;
}
