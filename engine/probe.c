/* probe.c: see probe.h. Runs the very operations of a step at a typical shape, each a few times, and keeps the best. */
#include "engine/probe.h"
#include "codec/codec.h"
#include "engine/engine_internal.h"
#include "engine/pool.h"

#include <stdlib.h>

#define M       256u /* tokens */
#define N       768u /* matrix rows and columns */
#define REPEATS 3
#define WEIGHTS ((uint64_t)N * N)

typedef struct probe {
    zo2_backend *be;
    zo2_pool *pool;
    const zo2_codec *codec;
    zo2_dist dist;
    uint8_t *arena;
    uint64_t wire_bytes, panel_at, x_at, y_at;
    float *w;
    uint8_t *wire, *rest;
    zo2_update update;
} probe;

static void update_rows(void *arg, uint64_t i)
{
    probe *p = arg;
    const uint64_t rows = 16;
    float *w = p->w + i * rows * N;
    p->codec->join(p->wire, p->rest, N, N, i * rows, rows, w);
    zo2_update_apply(w, rows * N, i * rows * N, 0, p->dist, 1, &p->update, 1);
    p->codec->split(w, N, N, i * rows, rows, p->wire, p->rest);
}

/* Noise and update alone, of rows that stay in the cache. */
static void noise_rows(void *arg, uint64_t i)
{
    probe *p = arg;
    zo2_update_apply(p->w + i * 16 * N, 16 * N, i * 16 * N, 0, p->dist, 1, &p->update, 1);
}

static zo2_status do_noise(probe *p)
{
    zo2_pool_run(p->pool, N / 16, noise_rows, p);
    return ZO2_OK;
}

static zo2_status do_update(probe *p)
{
    zo2_pool_run(p->pool, N / 16, update_rows, p);
    return ZO2_OK;
}

static zo2_status do_upload(probe *p)
{
    zo2_status s = p->be->ops->upload(p->be, ZO2_LANE_UPLOAD, p->arena, p->wire, p->wire_bytes);
    return s ? s : p->be->ops->drain(p->be);
}

static zo2_status do_decode(probe *p)
{
    zo2_decode_op op = {
        .wire = p->codec->id, .src = p->arena, .rows = N, .cols = N, .dist = p->dist, .key = 1, .eps = 1e-3f};
    op.plus = p->arena + p->panel_at;
    op.minus = p->arena + p->panel_at + WEIGHTS * 4;
    op.ld = N;
    op.type = ZO2_F32;
    zo2_status s = p->be->ops->decode(p->be, &op);
    return s ? s : p->be->ops->drain(p->be);
}

static zo2_status do_gemm(probe *p)
{
    zo2_gemm_op op = {
        .batch = 2, .m = M, .n = N, .k = N, .ldx = N, .ld_panel = N, .ldy = N, .type = ZO2_F32, .y_type = ZO2_F32};
    op.x = p->arena + p->x_at;
    op.panel = p->arena + p->panel_at;
    op.y = p->arena + p->y_at;
    op.stride_x = op.stride_y = (uint64_t)M * N;
    op.stride_panel = WEIGHTS;
    zo2_status s = p->be->ops->gemm(p->be, &op);
    return s ? s : p->be->ops->drain(p->be);
}

static zo2_status best_of(probe *p, zo2_status (*run)(probe *), double *seconds)
{
    zo2_status s = run(p); /* pages, caches, threads */
    *seconds = 1e9;
    for (int i = 0; i < REPEATS && !s; i++) {
        double from = zo2_now();
        s = run(p);
        double took = zo2_now() - from;
        *seconds = took < *seconds ? took : *seconds;
    }
    return s;
}

static zo2_status measure(probe *p, zo2_rates *out)
{
    double update, noise, upload, decode, gemm;
    uint8_t *zero = calloc(2 * (uint64_t)M * N, 4);
    if (!zero)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the probe");
    zo2_status s = p->be->ops->upload(p->be, ZO2_LANE_COMPUTE, p->arena + p->x_at, zero, 2ull * M * N * 4);
    free(zero);
    p->codec->split(p->w, N, N, 0, N, p->wire, p->rest);
    if (!s)
        s = best_of(p, do_update, &update);
    if (!s)
        s = best_of(p, do_noise, &noise);
    if (!s)
        s = best_of(p, do_upload, &upload);
    if (!s)
        s = best_of(p, do_decode, &decode);
    if (!s)
        s = best_of(p, do_gemm, &gemm);
    if (s)
        return s;
    out->update_weights = (double)WEIGHTS / update;
    out->noise_weights = (double)WEIGHTS / noise;
    out->upload_bytes = (double)p->wire_bytes / upload;
    out->decode_weights = (double)WEIGHTS / decode;
    out->flops = 2.0 * 2 * M * (double)WEIGHTS / gemm;
    return ZO2_OK;
}

zo2_status zo2_probe_rates(zo2_rates *out, const zo2_backend_ops *be, uint32_t threads, zo2_dist dist, zo2_wire wire)
{
    probe p = {.codec = zo2_codec_get(wire), .dist = dist, .update = {.key = 1, .queries = 1, .c = {1e-6f}}};
    p.wire_bytes = p.codec->wire_bytes(N, N);
    p.panel_at = (p.wire_bytes + 4095) & ~4095ull;
    p.x_at = p.panel_at + 2 * WEIGHTS * 4;
    p.y_at = p.x_at + 2ull * M * N * 4;
    p.w = calloc(WEIGHTS, 4);
    p.wire = calloc(1, p.wire_bytes);
    p.rest = calloc(1, p.codec->rest_bytes(N, N) + 1);
    zo2_status s = p.w && p.wire && p.rest ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the probe");
    if (!s)
        s = zo2_pool_create(&p.pool, threads);
    if (!s) {
        zo2_backend_config config = {.arena_bytes = p.y_at + 2ull * M * N * 4, .parallel = zo2_pool_parallel(p.pool)};
        s = be->open(&p.be, &config);
    }
    if (!s) {
        p.arena = be->arena(p.be);
        if (be->enter)
            be->enter(p.be);
        s = measure(&p, out);
        if (be->leave)
            be->leave(p.be);
    }
    if (p.be)
        be->close(p.be);
    zo2_pool_destroy(p.pool);
    free(p.w);
    free(p.wire);
    free(p.rest);
    return s;
}
