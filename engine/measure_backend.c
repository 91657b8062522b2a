/* measure_backend.c: a backend's share of a step: uploads, panels, products. The matrix is cut in the panel tiles of a
 * run (zo2_tile_rows), one chunk each. */
#include "engine/layout.h"
#include "engine/measure.h"

#include <stdlib.h>

static uint64_t align(uint64_t bytes)
{
    return (bytes + 4095) & ~4095ull;
}

/* ---- passes ---- */

static uint64_t wire_of(const zo2_measure *m, uint64_t tile)
{
    return m->codec->wire_bytes(zo2_measure_rows_of(m, tile), m->spec.cols);
}

static zo2_status pass_upload(zo2_measure *m)
{
    zo2_status s = ZO2_OK;
    for (uint64_t t = 0; t < zo2_measure_chunks(m) && !s; t++)
        s = m->be->ops->upload(m->be, ZO2_LANE_UPLOAD, m->arena + m->wire_at + t * m->chunk_stride,
                               m->planes + t * m->chunk_stride, wire_of(m, t));
    return s;
}

/* A chunk of `rows` rows from `row` on, whose wire is at `wire`, to two panels. */
static zo2_status decode_rows(zo2_measure *m, const uint8_t *wire, uint64_t row, uint64_t rows, uint8_t *plus,
                              uint8_t *minus)
{
    zo2_decode_op op = {.wire = m->spec.wire,
                        .src = wire,
                        .rows = rows,
                        .cols = m->spec.cols,
                        .first_row = row,
                        .dist = m->spec.dist,
                        .key = 1,
                        .eps = 1e-3f,
                        .plus = plus,
                        .minus = minus,
                        .ld = m->spec.cols,
                        .type = m->spec.compute};
    return m->be->ops->decode(m->be, &op);
}

static zo2_status pass_panels(zo2_measure *m)
{
    uint8_t *plus = m->arena + m->panel_at, *minus = plus + m->panel_stride;
    zo2_status s = ZO2_OK;
    for (uint64_t t = 0; t < zo2_measure_chunks(m) && !s; t++)
        s = decode_rows(m, m->arena + m->wire_at + t * m->chunk_stride, t * m->chunk_rows, zo2_measure_rows_of(m, t),
                        plus, minus);
    return s;
}

static zo2_status pass_gemm(zo2_measure *m)
{
    const zo2_measure_spec *spec = &m->spec;
    zo2_gemm_op op = {.batch = 2,
                      .m = spec->tokens,
                      .k = spec->cols,
                      .x = m->arena + m->x_at,
                      .ldx = spec->cols,
                      .stride_x = spec->tokens * spec->cols,
                      .panel = m->arena + m->panel_at,
                      .ld_panel = spec->cols,
                      .stride_panel = m->panel_stride / m->be->ops->element_bytes(spec->compute),
                      .y = m->arena + m->y_at,
                      .ldy = m->chunk_rows,
                      .stride_y = spec->tokens * m->chunk_rows,
                      .type = spec->compute,
                      .y_type = ZO2_F32};
    zo2_status s = ZO2_OK;
    for (uint64_t t = 0; t < zo2_measure_chunks(m) && !s; t++) {
        op.n = zo2_measure_rows_of(m, t);
        s = m->be->ops->gemm(m->be, &op);
    }
    return s;
}

/* ---- preparation ---- */

/* The wire of rows [row, row + rows) of the matrix as one chunk, to host memory at dst. */
static zo2_status encode_rows(zo2_measure *m, uint64_t row, uint64_t rows, uint8_t *dst)
{
    uint64_t cols = m->spec.cols;
    float *w = malloc(cols * sizeof *w);
    uint8_t *rest = malloc(m->codec->rest_bytes(rows, cols) + 1); /* must be given, isn't kept */
    zo2_status s = ZO2_OK;
    if (!w || !rest)
        s = zo2_error(ZO2_ERR_NOMEM, "no memory to encode rows of %llu weights", (unsigned long long)cols);
    for (uint64_t r = 0; r < rows && !s; r++) {
        zo2_measure_weights(w, (row + r) * cols, cols);
        m->codec->split(w, rows, cols, r, 1, dst, rest);
    }
    free(w);
    free(rest);
    return s;
}

/* The backend that was asked for, and the first byte of its arena that is free. */
static zo2_status find_backend(const zo2_measure *m, const zo2_backend_ops **ops, uint64_t *taken)
{
    *ops = zo2_backend_get(m->spec.backend);
    if (!*ops || (*ops)->kind == ZO2_BACKEND_NULL)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend %s", zo2_backend_name(m->spec.backend),
                         *ops ? "computes nothing, there is nothing to measure" : "is not part of this build");
    *taken = align((*ops)->reserved_bytes);
    return ZO2_OK;
}

static zo2_status open_backend(zo2_measure *m, const zo2_backend_ops *ops, uint64_t arena_bytes)
{
    zo2_backend_config config = {.arena_bytes = arena_bytes, .parallel = zo2_pool_parallel(m->pool)};
    zo2_status s = ops->open(&m->be, &config);
    if (!s)
        m->arena = ops->arena(m->be);
    return s;
}

/* Reserves `bytes` of the arena behind what is taken, at 4 KiB. */
static uint64_t take(uint64_t *taken, uint64_t bytes)
{
    uint64_t at = *taken;
    *taken += align(bytes);
    return at;
}

static void cut_in_tiles(zo2_measure *m)
{
    uint64_t rows = zo2_tile_rows(m->spec.rows, m->spec.cols, m->spec.compute);
    m->chunk_rows = rows < m->spec.rows ? rows : m->spec.rows;
    m->chunk_stride = align(m->codec->wire_bytes(m->chunk_rows, m->spec.cols));
    m->panel_stride = align(m->chunk_rows * m->spec.cols * 4); /* no element is larger */
}

static zo2_status prepare_wires(zo2_measure *m)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0;
    zo2_status s = find_backend(m, &ops, &taken);
    if (s)
        return s;
    cut_in_tiles(m);
    uint64_t tiles = zo2_measure_chunks(m);
    m->wire_at = take(&taken, tiles * m->chunk_stride);
    if (m->spec.kind == ZO2_MEASURE_PANELS)
        m->panel_at = take(&taken, 2 * m->panel_stride);
    s = open_backend(m, ops, taken);
    if (!s)
        s = zo2_measure_map(m, tiles * m->chunk_stride);
    m->registered = !s && ops->host_register && !ops->host_register(m->be, m->memory, m->memory_bytes); /* or slower */
    m->planes = m->memory;
    for (uint64_t t = 0; t < tiles && !s; t++) {
        s = encode_rows(m, t * m->chunk_rows, zo2_measure_rows_of(m, t), m->planes + t * m->chunk_stride);
        m->info.bytes_read += wire_of(m, t);
    }
    if (!s)
        s = pass_upload(m);
    if (!s)
        s = m->be->ops->drain(m->be);
    m->info.items =
        m->spec.kind == ZO2_MEASURE_UPLOAD ? (double)m->info.bytes_read : (double)(m->spec.rows * m->spec.cols);
    return s;
}

/* Operands of a product come out of the decoder, so that they have the backend's own types: rows [0, rows) of the
 * matrix through the arena's wire. */
static zo2_status make_operand(zo2_measure *m, uint64_t rows, uint64_t plus_at, uint64_t stride)
{
    uint64_t bytes = m->codec->wire_bytes(rows, m->spec.cols);
    uint8_t *wire = malloc(bytes), *plus = m->arena + plus_at;
    if (!wire)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the operands of a product");
    zo2_status s = encode_rows(m, 0, rows, wire);
    if (!s)
        s = m->be->ops->upload(m->be, ZO2_LANE_COMPUTE, m->arena + m->wire_at, wire, bytes);
    if (!s)
        s = decode_rows(m, m->arena + m->wire_at, 0, rows, plus, plus + stride);
    zo2_status drained = m->be->ops->drain(m->be); /* before the wire goes away */
    free(wire);
    return s ? s : drained;
}

static zo2_status prepare_gemm(zo2_measure *m)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0, cols = m->spec.cols, tokens = m->spec.tokens;
    zo2_status s = find_backend(m, &ops, &taken);
    if (s)
        return s;
    cut_in_tiles(m);
    m->wire_at = take(&taken, m->codec->wire_bytes(m->chunk_rows > tokens ? m->chunk_rows : tokens, cols));
    m->panel_at = take(&taken, 2 * m->panel_stride);
    m->x_at = take(&taken, 2 * tokens * cols * 4);
    m->y_at = take(&taken, 2 * tokens * m->chunk_rows * 4);
    m->info.items = 2.0 * 2.0 * (double)tokens * (double)m->spec.rows * (double)cols;
    s = open_backend(m, ops, taken);
    if (!s)
        s = make_operand(m, m->chunk_rows, m->panel_at, m->panel_stride);
    if (!s)
        s = make_operand(m, tokens, m->x_at, tokens * cols * ops->element_bytes(m->spec.compute));
    return s;
}

const zo2_measure_kernel zo2_measure_backend_kernels[3] = {
    {ZO2_MEASURE_UPLOAD, prepare_wires, pass_upload},
    {ZO2_MEASURE_PANELS, prepare_wires, pass_panels},
    {ZO2_MEASURE_GEMM, prepare_gemm, pass_gemm},
};
