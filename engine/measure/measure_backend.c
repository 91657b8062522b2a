/* measure_backend.c: what a backend computes in a step: panels and products. The matrix is cut in the panel tiles of a
 * run (zo2_tile_rows), one chunk each. And what they are compared with: products without tiles, copies on the device. */
#include "codec/update.h"
#include "engine/base/checked.h"
#include "engine/base/pool.h"
#include "engine/measure/measure.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

#include <stdlib.h>
#include <string.h>

/* ---- passes ---- */

static uint64_t sent_of(const zo2_measure *m, uint64_t tile)
{
    return zo2_wire_sent(m->codec, m->planes + tile * m->chunk_stride, zo2_measure_rows_of(m, tile), m->spec.cols);
}

/* A chunk of `rows` rows from `row` on, of whose wire `bytes` bytes are at `wire`, to two panels. */
static zo2_status decode_rows(zo2_measure *m, const uint8_t *wire, uint64_t bytes, uint64_t row, uint64_t rows,
                              uint64_t cols, uint8_t *plus, uint8_t *minus)
{
    zo2_decode_op op = {.wire = m->spec.wire,
                        .src = wire,
                        .src_bytes = bytes,
                        .rows = rows,
                        .cols = cols,
                        .first_row = row,
                        .dist = m->spec.dist,
                        .fold = m->fold,
                        .folds = m->spec.kind == ZO2_MEASURE_PANELS ? m->spec.pending : 0,
                        .key = 1,
                        .panels = 2,
                        .eps = {1e-3f, -1e-3f},
                        .panel = {plus, minus},
                        .ld = cols,
                        .type = m->spec.compute};
    return m->be->ops->decode(m->be, &op);
}

static zo2_status pass_panels(zo2_measure *m)
{
    uint8_t *plus = m->arena + m->panel_at, *minus = plus + m->panel_stride;
    zo2_status s = ZO2_OK;
    for (uint64_t t = 0; t < zo2_measure_chunks(m) && !s; t++)
        s = decode_rows(m, m->arena + m->wire_at + t * m->chunk_stride, sent_of(m, t), t * m->chunk_rows,
                        zo2_measure_rows_of(m, t), m->spec.cols, plus, minus);
    return s;
}

/* Tiles of `rows` rows, the operands of all of them at one place. */
static zo2_status multiply(zo2_measure *m, uint64_t rows)
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
                      .ldy = rows,
                      .stride_y = spec->tokens * rows,
                      .type = spec->compute,
                      .y_type = ZO2_F32,
                      .bias = spec->bias ? (const float *)(const void *)(m->arena + m->bias_at) : NULL,
                      .stride_bias = rows};
    zo2_status s = ZO2_OK;
    for (uint64_t row = 0; row < spec->rows && !s; row += rows) {
        op.n = spec->rows - row < rows ? spec->rows - row : rows;
        s = m->be->ops->gemm(m->be, &op);
    }
    return s;
}

static zo2_status pass_gemm(zo2_measure *m)
{
    return multiply(m, m->chunk_rows);
}

static zo2_status pass_gemm_whole(zo2_measure *m)
{
    return multiply(m, m->spec.rows);
}

static zo2_status pass_copy(zo2_measure *m)
{
    uint8_t *from = m->arena + m->x_at, *to = m->arena + m->y_at;
    if (m->be->ops->copy)
        return m->be->ops->copy(m->be, to, from, m->spec.bytes);
    memcpy(to, from, m->spec.bytes);
    return ZO2_OK;
}

/* ---- preparation ---- */

/* The wire of rows [row, row + rows) of the matrix as one chunk, to host memory at dst. */
static zo2_status encode_rows(zo2_measure *m, uint64_t row, uint64_t rows, uint64_t cols, uint8_t *dst)
{
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

zo2_status zo2_measure_find_backend(const zo2_measure *m, const zo2_backend_ops **ops, uint64_t *taken)
{
    *ops = zo2_backend_get(m->spec.backend);
    if (!*ops || (*ops)->kind == ZO2_BACKEND_NULL)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "the %s backend %s", zo2_backend_name(m->spec.backend),
                         *ops ? "computes nothing, there is nothing to measure" : "is not part of this build");
    *taken = zo2_measure_align((*ops)->reserved_bytes);
    return ZO2_OK;
}

zo2_status zo2_measure_open_backend(zo2_measure *m, const zo2_backend_ops *ops, uint64_t arena_bytes)
{
    zo2_backend_config config = {
        .arena_bytes = arena_bytes, .parallel = zo2_pool_parallel(m->pool), .device = m->device};
    zo2_status s = ops->open(&m->be, &config);
    if (s)
        return s;
    m->info.backend = ops->kind;
    m->arena = ops->arena(m->be);
    return ZO2_OK;
}

void zo2_measure_register(zo2_measure *m, void *at, uint64_t bytes)
{
    if (m->be->ops->host_register && !m->be->ops->host_register(m->be, at, bytes))
        m->registered = at;
    m->info.pinned = m->registered || !m->be->ops->host_register;
}

/* A panel has a tile's rows, or all. */
static void cut_in_tiles(zo2_measure *m, const zo2_backend_ops *ops)
{
    uint64_t rows = zo2_tile_rows(ZO2_TILE_RULE, m->spec.rows, m->spec.cols, m->spec.compute);
    m->chunk_rows = rows < m->spec.rows ? rows : m->spec.rows;
    m->chunk_stride = zo2_measure_align(zo2_wire_room(m->codec, m->chunk_rows, m->spec.cols));
    rows = m->spec.kind == ZO2_MEASURE_GEMM_WHOLE ? m->spec.rows : m->chunk_rows;
    m->panel_stride = zo2_measure_align(rows * m->spec.cols * ops->element_bytes(m->spec.compute));
}

static zo2_status prepare_panels(zo2_measure *m)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0;
    zo2_status s = zo2_measure_find_backend(m, &ops, &taken);
    if (s)
        return s;
    cut_in_tiles(m, ops);
    uint64_t tiles = zo2_measure_chunks(m);
    m->wire_at = zo2_measure_take(&taken, tiles * m->chunk_stride);
    m->panel_at = zo2_measure_take(&taken, 2 * m->panel_stride);
    s = zo2_measure_open_backend(m, ops, taken);
    if (!s)
        s = zo2_measure_map(m, tiles * m->chunk_stride);
    if (!s)
        zo2_measure_register(m, m->memory, m->memory_bytes);
    m->planes = m->memory;
    for (uint64_t t = 0; t < tiles && !s; t++) {
        uint8_t *wire = m->planes + t * m->chunk_stride;
        s = encode_rows(m, t * m->chunk_rows, zo2_measure_rows_of(m, t), m->spec.cols, wire);
        m->info.bytes_read += sent_of(m, t);
        if (!s)
            s = ops->upload(m->be, ZO2_LANE_COMPUTE, m->arena + m->wire_at + t * m->chunk_stride, wire, sent_of(m, t));
    }
    for (uint32_t i = 0; i < m->spec.pending; i++) {
        m->fold[i] = (zo2_update){.key = 2 + i, .queries = m->spec.queries};
        for (uint32_t q = 0; q < m->spec.queries; q++)
            m->fold[i].c[q] = 1e-6f;
    }
    if (!s)
        s = ops->drain(m->be);
    m->info.items = (double)(m->spec.rows * m->spec.cols);
    return s;
}

zo2_status zo2_measure_make_operand(zo2_measure *m, uint64_t row, uint64_t rows, uint64_t cols, uint64_t at,
                                    uint64_t stride)
{
    uint8_t *plus = m->arena + at;
    zo2_status s = encode_rows(m, row, rows, cols, m->memory);
    uint64_t bytes = s ? 0 : zo2_wire_sent(m->codec, m->memory, rows, cols);
    if (!s)
        s = m->be->ops->upload(m->be, ZO2_LANE_COMPUTE, m->arena + m->wire_at, m->memory, bytes);
    if (!s)
        s = decode_rows(m, m->arena + m->wire_at, bytes, row, rows, cols, plus, plus + stride);
    zo2_status drained = m->be->ops->drain(m->be); /* before the memory is used again */
    return s ? s : drained;
}

/* One tile serves as all of them; whole: panels as large as the matrix. */
static zo2_status make_panels(zo2_measure *m)
{
    uint64_t tiles = m->spec.kind == ZO2_MEASURE_GEMM_WHOLE ? zo2_measure_chunks(m) : 1;
    uint64_t tile_bytes = m->chunk_rows * m->spec.cols * m->be->ops->element_bytes(m->spec.compute);
    zo2_status s = ZO2_OK;
    for (uint64_t t = 0; t < tiles && !s; t++)
        s = zo2_measure_make_operand(m, t * m->chunk_rows, zo2_measure_rows_of(m, t), m->spec.cols,
                                     m->panel_at + t * tile_bytes, m->panel_stride);
    return s;
}

/* Zeros: they take as long. */
static zo2_status make_bias(zo2_measure *m, uint64_t bytes)
{
    if (!m->spec.bias)
        return ZO2_OK;
    memset(m->memory, 0, bytes);
    zo2_status s = m->be->ops->upload(m->be, ZO2_LANE_COMPUTE, m->arena + m->bias_at, m->memory, bytes);
    zo2_status drained = m->be->ops->drain(m->be); /* before the memory is used again */
    return s ? s : drained;
}

static zo2_status prepare_gemm(zo2_measure *m)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0, cols = m->spec.cols, tokens = m->spec.tokens;
    zo2_status s = zo2_measure_find_backend(m, &ops, &taken);
    if (s)
        return s;
    cut_in_tiles(m, ops);
    uint64_t x_bytes = tokens * cols * ops->element_bytes(m->spec.compute);
    uint64_t y_rows = m->spec.kind == ZO2_MEASURE_GEMM_WHOLE ? m->spec.rows : m->chunk_rows;
    uint64_t wire = zo2_wire_room(m->codec, m->chunk_rows > tokens ? m->chunk_rows : tokens, cols);
    m->wire_at = zo2_measure_take(&taken, wire);
    m->panel_at = zo2_measure_take(&taken, 2 * m->panel_stride);
    m->x_at = zo2_measure_take(&taken, 2 * x_bytes);
    m->y_at = zo2_measure_take(&taken, 2 * tokens * y_rows * 4);
    m->bias_at = zo2_measure_take(&taken, m->spec.bias ? 2 * y_rows * 4 : 0);
    m->info.items = 2.0 * 2.0 * (double)tokens * (double)m->spec.rows * (double)cols;
    s = zo2_measure_open_backend(m, ops, taken);
    if (!s)
        s = zo2_measure_map(m, zo2_measure_align(zo2_max_u64(wire, 2 * y_rows * 4)));
    if (!s) {
        zo2_measure_register(m, m->memory, m->memory_bytes);
        s = make_bias(m, 2 * y_rows * 4);
    }
    if (!s)
        s = make_panels(m);
    return s ? s : zo2_measure_make_operand(m, 0, tokens, cols, m->x_at, x_bytes);
}

/* What is copied was sent up, so that both ends are memory in use. */
static zo2_status prepare_copy(zo2_measure *m)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0, bytes = m->spec.bytes;
    zo2_status s = zo2_measure_find_backend(m, &ops, &taken);
    if (s)
        return s;
    m->x_at = zo2_measure_take(&taken, bytes);
    m->y_at = zo2_measure_take(&taken, bytes);
    m->info.items = 2.0 * (double)bytes;
    s = zo2_measure_open_backend(m, ops, taken);
    if (!s)
        s = zo2_measure_map(m, zo2_measure_align(bytes));
    if (s)
        return s;
    memset(m->memory, 0x3C, bytes);
    zo2_measure_register(m, m->memory, m->memory_bytes);
    s = ops->upload(m->be, ZO2_LANE_COMPUTE, m->arena + m->x_at, m->memory, bytes);
    return s ? s : ops->drain(m->be);
}

const zo2_measure_kernel zo2_measure_backend_kernels[4] = {
    {ZO2_MEASURE_PANELS, prepare_panels, pass_panels},
    {ZO2_MEASURE_GEMM, prepare_gemm, pass_gemm},
    {ZO2_MEASURE_GEMM_WHOLE, prepare_gemm, pass_gemm_whole},
    {ZO2_MEASURE_DEVICE_COPY, prepare_copy, pass_copy},
};
