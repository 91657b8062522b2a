/* probe.c: see probe.h. The planner's rates are zo2_measure_*() results at a shape that is typical and quick. */
#include "engine/probe.h"
#include "engine/engine_internal.h"

/* Enough weights that a core's caches don't hold them; a pass of the slowest kind takes about 10 ms on one core. */
#define ROWS    1536u
#define COLS    1024u
#define TOKENS  128u
#define REPEATS 3     /* at least */
#define SECONDS 0.015 /* more repeats until then: short passes are the most easily disturbed */

/* Items per second of one kind: the best of a few passes, because the others were disturbed. */
static zo2_status rate_of(double *out, const zo2_measure_spec *like, zo2_measure_kind kind)
{
    zo2_measure_spec spec = *like;
    zo2_measure_info info;
    zo2_measure *m;
    double warm_up, best = 0;
    spec.kind = kind;
    zo2_status s = zo2_measure_open(&m, &spec, &info);
    if (!s)
        s = zo2_measure_run(m, 1, &warm_up);
    double from = zo2_now();
    for (int i = 0; !s && (i < REPEATS || zo2_now() - from < SECONDS); i++) {
        double took;
        s = zo2_measure_run(m, 1, &took);
        if (!s && took > 0 && info.items / took > best)
            best = info.items / took;
    }
    zo2_measure_close(m);
    *out = best > 0 ? best : 1; /* a clock too coarse to see a pass: any rate is a guess */
    return s;
}

zo2_status zo2_probe_rates(zo2_rates *out, const zo2_backend_ops *be, uint32_t threads, zo2_dist dist, zo2_wire wire)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.threads = threads;
    spec.rows = ROWS;
    spec.cols = COLS;
    spec.tokens = TOKENS;
    spec.wire = wire;
    spec.dist = dist;
    spec.backend = be->kind;
    const struct {
        zo2_measure_kind kind;
        double *rate;
    } rates[] = {
        {ZO2_MEASURE_UPDATE, &out->update_weights},
        {ZO2_MEASURE_NOISE, &out->noise_weights},
        {ZO2_MEASURE_UPLOAD, &out->upload_bytes},
        {ZO2_MEASURE_PANELS, &out->decode_weights},
        {ZO2_MEASURE_GEMM, &out->flops},
    };
    zo2_status s = ZO2_OK;
    for (unsigned i = 0; i < sizeof rates / sizeof *rates && !s; i++)
        s = rate_of(rates[i].rate, &spec, rates[i].kind);
    return s;
}
