/* decode.cu: decode() and decode_rows() of the cuda backend: launches of decode_kernel.cuh. */
#include <string.h>

#include "codec/philox.h"
#include "codec/plane_layout.h"
#include "codec/update.h"
#include "codec/wires.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/decode_kernel.cuh"
#include "kernels/cuda/dialect.h"
#include "kernels/cuda/element.cuh"
#include "kernels/operations.h"

/* ---- pending updates ---- */

/* Kernel parameters may take 4 KiB; they carry the updates to the device in order with everything else on the stream,
 * without pinned memory. */
#define FOLDS_A_LAUNCH 32
typedef struct fold_part {
    zo2_update u[FOLDS_A_LAUNCH];
} fold_part;
static_assert(sizeof(fold_part) <= 4000, "a kernel's parameters take at most 4 KiB");

ZO2_LAUNCH_BOUNDS(FOLDS_A_LAUNCH) __global__ void zo2_store_folds_kernel(fold_part part, uint32_t n, zo2_update *to)
{
    uint32_t i = threadIdx.x;
    if (i < n)
        to[i] = part.u[i];
}

/* The updates as a device array, valid for what is enqueued next. Tiles of a step need tails of one list, so the table
 * is rewritten only when a longer or a newer one comes. */
static zo2_status fold_table(zo2_cuda *c, const zo2_update *fold, uint32_t folds, const zo2_update **device)
{
    if (folds > ZO2_MAX_PENDING)
        return zo2_error(ZO2_ERR_DEVICE, "decode: %u pending updates, at most %d", folds, ZO2_MAX_PENDING);
    *device = c->fold_table;
    if (folds <= c->n_folded && !memcmp(c->folded + (c->n_folded - folds), fold, folds * sizeof *fold)) {
        *device += c->n_folded - folds;
        return ZO2_OK;
    }
    for (uint32_t i = 0; i < folds; i += FOLDS_A_LAUNCH) {
        fold_part part;
        uint32_t n = folds - i < FOLDS_A_LAUNCH ? folds - i : FOLDS_A_LAUNCH;
        memset(&part, 0, sizeof part);
        memcpy(part.u, fold + i, n * sizeof *fold);
        ZO2_LAUNCH(zo2_store_folds_kernel, 1, FOLDS_A_LAUNCH, 0, c->stream[ZO2_LANE_COMPUTE], part, n,
                   c->fold_table + i);
        zo2_status s = zo2_cuda_launched(c, "zo2_store_folds_kernel");
        if (s)
            return s;
    }
    memcpy(c->folded, fold, folds * sizeof *fold);
    c->n_folded = folds;
    return ZO2_OK;
}

/* ---- launches ---- */

/* Blocks for pieces of `columns` columns, 32 to a block, and rows, four to a block. */
static dim3 grid_of(const zo2_cuda *c, const zo2_decode_args *a, uint32_t columns)
{
    uint64_t across = zo2_cuda_ceil_div(a->cols, columns), down = zo2_cuda_ceil_div(a->rows, ZO2_CUDA_WARPS);
    return dim3(zo2_cuda_blocks(c, across), down < ZO2_CUDA_MAX_GRID_YZ ? (uint32_t)down : ZO2_CUDA_MAX_GRID_YZ);
}

template <zo2_wire W, zo2_dist D> static zo2_status launch_any(zo2_cuda *c, const zo2_decode_args *a)
{
    ZO2_LAUNCH((zo2_decode_kernel<W, D>), grid_of(c, a, ZO2_DECODE_STEP), dim3(ZO2_CUDA_WARP, ZO2_CUDA_WARPS), 0,
               c->stream[ZO2_LANE_COMPUTE], *a);
    return zo2_cuda_launched(c, "zo2_decode_kernel");
}

template <zo2_wire W, class E, int D> static zo2_status launch_panels(zo2_cuda *c, const zo2_decode_args *a)
{
    zo2_panels_args p;
    memset(&p, 0, sizeof p);
    p.src = a->src;
    zo2_wire_shape shape = zo2_wire_shape_of(W);
    if (shape.more)
        p.more = a->src + zo2_more_at(shape, a->rows, a->cols);
    if (shape.shared)
        p.scales = a->src + zo2_scales_at(shape, a->rows, a->cols, 0);
    if (shape.shared == ZO2_SHARED_WINDOW) {
        p.escapes = p.scales + zo2_windows(a->cols);
        p.escape_room = zo2_escape_room(a->cols);
        p.high = zo2_high_at(shape, a->rows, a->cols) - zo2_more_at(shape, a->rows, a->cols);
    }
    p.first = a->first_row * a->cols;
    memcpy(p.panel, a->panel, sizeof p.panel);
    p.keys = zo2_philox_round_keys((uint32_t)a->key, (uint32_t)(a->key >> 32));
    memcpy(p.eps, a->eps, sizeof p.eps);
    p.rows = (uint32_t)a->rows;
    p.cols = (uint32_t)a->cols;
    p.src_stride = (uint32_t)zo2_code_stride(a->cols, shape.bits);
    p.more_stride = (uint32_t)zo2_code_stride(a->cols, shape.more);
    p.scale_stride = (uint32_t)zo2_shared_stride(shape, a->cols);
    p.ld = (uint32_t)a->ld;
    p.tensor_id = a->tensor_id;
    p.query = a->query;
    p.panels = a->panels;
    ZO2_LAUNCH((zo2_panels_kernel<W, E, D>), grid_of(c, a, 2 * ZO2_DECODE_STEP), dim3(ZO2_CUDA_WARP, ZO2_CUDA_WARPS), 0,
               c->stream[ZO2_LANE_COMPUTE], p);
    return zo2_cuda_launched(c, "zo2_panels_kernel");
}

/* Whether zo2_panels_kernel can do it, and with which noise: 0 none, else `dist`; -1 if it can't. */
static int panels_noise(const zo2_decode_args *a, zo2_dist dist)
{
    uint32_t still = 0;
    for (uint32_t p = 0; p < a->panels; p++)
        still += a->eps[p] == 0.0f;
    if (a->folds || a->refs || a->accumulate || !a->wide || a->cols % ZO2_DECODE_RUN || still % a->panels ||
        a->rows >> 31 || a->cols >> 28 || a->ld >> 31) /* a row of the wire has up to four bytes a column */
        return -1;
    return still ? 0 : (int)dist;
}

template <zo2_wire W> static zo2_status launch_wire(zo2_cuda *c, zo2_dist dist, const zo2_decode_args *a)
{
    int noise = panels_noise(a, dist);
    if (noise < 0)
        return dist == ZO2_RADEMACHER ? launch_any<W, ZO2_RADEMACHER>(c, a) : launch_any<W, ZO2_GAUSSIAN>(c, a);
    ZO2_BY_TYPE(a->type, return noise == 0                ? launch_panels<W, E, 0>(c, a)
                                : noise == ZO2_RADEMACHER ? launch_panels<W, E, ZO2_RADEMACHER>(c, a)
                                                          : launch_panels<W, E, ZO2_GAUSSIAN>(c, a));
    return zo2_error(ZO2_ERR_DEVICE, "decode: the cuda backend has no compute type %d", (int)a->type);
}

/* What decode() and decode_rows() say in the same words. */
template <class Op> static zo2_decode_args args_of(const Op *op)
{
    zo2_decode_args a;
    memset(&a, 0, sizeof a);
    a.src = (const unsigned char *)op->src;
    a.rows = op->rows;
    a.cols = op->cols;
    a.tensor_id = op->tensor_id;
    a.query = op->query;
    a.folds = op->folds;
    a.decays = op->decays;
    a.key = op->key;
    a.panels = op->panels;
    uintptr_t places = 0;
    for (uint32_t p = 0; p < op->panels; p++) {
        a.eps[p] = op->eps[p];
        a.panel[p] = (unsigned char *)op->panel[p];
        places |= (uintptr_t)op->panel[p];
    }
    a.ld = op->rows == 1 ? op->cols : op->ld;
    a.type = op->type;
    a.wide = (places | a.ld * zo2_cuda_element_bytes(a.type)) % 16 == 0;
    return a;
}

static zo2_status decode_args(zo2_cuda *c, zo2_wire wire, zo2_dist dist, zo2_decode_args *a, const zo2_update *fold)
{
    if (a->folds) {
        zo2_status s = fold_table(c, fold, a->folds, &a->fold);
        if (s)
            return s;
    }
    switch (wire) {
#define LAUNCH_WIRE(wire, ...) \
    case wire: return launch_wire<wire>(c, dist, a);
        ZO2_WIRE_MAP(LAUNCH_WIRE)
    }
    return zo2_error(ZO2_ERR_DEVICE, "decode: the cuda backend has no wire %d", (int)wire);
}

zo2_status zo2_cuda_decode(zo2_cuda *c, const zo2_decode_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "decode", op->tensor_id, op->first_row, op->rows);
    zo2_decode_args a = args_of(op);
    a.first_row = op->first_row;
    return work.done(decode_args(c, op->wire, op->dist, &a, op->fold));
}

zo2_status zo2_cuda_decode_rows(zo2_cuda *c, const zo2_decode_rows_op *op)
{
    zo2_cuda_work work(c, ZO2_LANE_COMPUTE, "decode_rows", op->tensor_id, 0, op->rows);
    zo2_decode_args a = args_of(op);
    a.refs = op->refs;
    a.accumulate = op->accumulate;
    return work.done(decode_args(c, op->wire, op->dist, &a, op->fold));
}

template <zo2_wire W, class E> static zo2_status load_panels(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_panels_kernel<W, E, 0>));
    ZO2_CUDA_LOAD(c, (zo2_panels_kernel<W, E, ZO2_GAUSSIAN>));
    ZO2_CUDA_LOAD(c, (zo2_panels_kernel<W, E, ZO2_RADEMACHER>));
    return ZO2_OK;
}

template <zo2_wire W> static zo2_status load_wire(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, (zo2_decode_kernel<W, ZO2_GAUSSIAN>));
    ZO2_CUDA_LOAD(c, (zo2_decode_kernel<W, ZO2_RADEMACHER>));
    zo2_status s = load_panels<W, float>(c);
    if (!s)
        s = load_panels<W, zo2_f16_element>(c);
    return s ? s : load_panels<W, zo2_bf16_element>(c);
}

zo2_status zo2_cuda_decode_load(zo2_cuda *c)
{
    ZO2_CUDA_LOAD(c, zo2_store_folds_kernel);
    zo2_status s = ZO2_OK;
#define LOAD_WIRE(wire, ...) \
    if (!s)                  \
        s = load_wire<wire>(c);
    ZO2_WIRE_MAP(LOAD_WIRE)
    return s;
}
