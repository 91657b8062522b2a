/* gemm.c: y = x panel^T on the cpu: single-threaded OpenBLAS calls on fixed tiles, one tile a task; products of few rows
 * by gemm_few.h, those of bf16 values by gemm_bf16.h where there is oneDNN and a CPU for it. */
#include "codec/codec.h"
#include "engine/base/slots.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/gemm_few.h"
#include "kernels/operations.h"

typedef struct gemm_job {
    const zo2_gemm_op *op;
    zo2_cpu *cpu;
    zo2_gemm_few few;                /* NULL: by BLAS or oneDNN */
    zo2_gemm_bf16_shape *bf16[2][2]; /* of tiles that are [the last of m][the last of n]; NULL: by BLAS */
    atomic_int *refused;
    uint64_t m_tile, n_tile;
    uint64_t m_tiles, n_tiles;
} gemm_job;

/* The tiling rule. A sum's order inside OpenBLAS may depend on the tile's shape, so the rule sees the shapes alone,
 * never the number of threads, nor how many streams there are beyond two: a panel that all share may be multiplied by any
 * number of them in a call. OpenBLAS packs the panel again for every tile of m, which costs more than packing x
 * again for every tile of n: m is cut late. The table's first line that gives enough tiles is taken, but none that
 * would leave less than MIN_MACS multiplications to a tile (about 50 us) after the second. Parts are equal up to
 * rounding to 16 elements (a cache line). */
static const struct {
    uint64_t m, n, enough; /* largest part of m and n; number of tiles, those of two streams counted */
} tilings[] = {
    {ZO2_GEMM_TILE_M, ZO2_GEMM_TILE_N, 64}, {768, 256, 8}, {768, 192, 8}, {768, 128, 8}, {384, 128, 8}, {192, 128, 8}};

#define MIN_MACS ((uint64_t)2 << 20)

static uint64_t part(uint64_t total, uint64_t limit)
{
    uint64_t p = zo2_ceil_div(total, zo2_ceil_div(total, limit));
    return zo2_ceil_div(p, 16) * 16;
}

static void tiles(gemm_job *job, uint64_t m_limit, uint64_t n_limit)
{
    job->m_tile = part(job->op->m, m_limit);
    job->n_tile = part(job->op->n, n_limit);
    job->m_tiles = zo2_ceil_div(job->op->m, job->m_tile);
    job->n_tiles = zo2_ceil_div(job->op->n, job->n_tile);
}

static void choose_tiles(gemm_job *job)
{
    uint64_t streams = job->op->batch < 2 ? 1 : 2;
    for (unsigned i = 0; i < sizeof tilings / sizeof tilings[0]; i++) {
        gemm_job finer = *job;
        tiles(&finer, tilings[i].m, tilings[i].n);
        if (i > 1 && finer.m_tile * finer.n_tile < MIN_MACS / job->op->k)
            return;
        *job = finer;
        if (streams * job->m_tiles * job->n_tiles >= tilings[i].enough)
            return;
    }
}

/* Few rows: each task reads about half a megabyte of the panel (some 40 us). No element's bits depend on this. */
static void cut_panel(gemm_job *job)
{
    uint64_t n = ((uint64_t)1 << 17) / job->op->k;
    n = zo2_ceil_div(n + 1, ZO2_FEW_STRIP) * ZO2_FEW_STRIP;
    job->m_tile = job->op->m;
    job->n_tile = n < job->op->n ? n : job->op->n;
    job->m_tiles = 1;
    job->n_tiles = zo2_ceil_div(job->op->n, job->n_tile);
}

/* The shapes of the tiles: whole ones and what is left at the ends. */
static zo2_status prepare_onednn(gemm_job *job)
{
    const zo2_gemm_op *op = job->op;
    zo2_gemm_bf16 *g = job->cpu->bf16;
    if (!g || op->type != ZO2_BF16)
        return ZO2_OK;
    if (job->m_tile > op->m)
        job->m_tile = op->m;
    if (job->n_tile > op->n)
        job->n_tile = op->n;
    uint64_t m[2] = {job->m_tile, op->m % job->m_tile}, n[2] = {job->n_tile, op->n % job->n_tile};
    zo2_gemm_bf16_begin(g);
    for (unsigned i = 0; i < 4; i++) {
        zo2_status s = ZO2_OK;
        if (m[i / 2] && n[i % 2])
            s = zo2_gemm_bf16_prepare(g, m[i / 2], n[i % 2], op->k, &job->bf16[i / 2][i % 2]);
        if (s)
            return s;
    }
    return ZO2_OK;
}

static void by_onednn(const gemm_job *job, zo2_gemm_bf16_shape *shape, const float *x, const float *panel, float *y)
{
    zo2_cpu *c = job->cpu;
    uint32_t slot = zo2_slots_take(&c->slots);
    if (!zo2_gemm_bf16_run(c->bf16, shape, slot, x, job->op->ldx, panel, job->op->ld_panel, y, job->op->ldy,
                           job->op->accumulate))
        atomic_store(job->refused, 1);
    zo2_slots_give(&c->slots, slot);
}

ZO2_CLONES static void add_bias(float *y, uint64_t ldy, uint64_t m, uint64_t n, const float *bias)
{
    for (uint64_t r = 0; r < m; r++)
        for (uint64_t j = 0; j < n; j++)
            y[r * ldy + j] += bias[j];
}

static void gemm_task(void *arg, uint64_t i)
{
    const gemm_job *job = arg;
    const zo2_gemm_op *op = job->op;
    uint64_t n0 = i % job->n_tiles * job->n_tile, m0 = i / job->n_tiles % job->m_tiles * job->m_tile;
    uint64_t b = i / job->n_tiles / job->m_tiles;
    uint64_t n = op->n - n0 < job->n_tile ? op->n - n0 : job->n_tile,
             m = op->m - m0 < job->m_tile ? op->m - m0 : job->m_tile;
    const float *x = (const float *)op->x + b * op->stride_x + m0 * op->ldx;
    const float *panel = (const float *)op->panel + b * op->stride_panel + n0 * op->ld_panel;
    float *y = (float *)op->y + b * op->stride_y + m0 * op->ldy + n0;
    if (job->few)
        job->few(x, op->ldx, m, panel, op->ld_panel, n, op->k, y, op->ldy, op->accumulate);
    else if (job->bf16[0][0])
        by_onednn(job, job->bf16[m < job->m_tile][n < job->n_tile], x, panel, y);
    else
        job->cpu->blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)op->k, 1.0f, x,
                              (blasint)op->ldx, panel, (blasint)op->ld_panel, op->accumulate ? 1.0f : 0.0f, y,
                              (blasint)op->ldy);
    if (op->bias)
        add_bias(y, op->ldy, m, n, op->bias + b * op->stride_bias + n0);
    if (op->y_type != ZO2_F32)
        for (uint64_t r = 0; r < m; r++)
            zo2_round_to(op->y_type, y + r * op->ldy, n);
}

uint64_t zo2_cpu_gemm_host_bytes(zo2_dtype compute, uint64_t cols, uint32_t threads)
{
    return compute == ZO2_BF16 ? threads * zo2_gemm_bf16_most_bytes(cols) : 0;
}

zo2_status zo2_cpu_gemm(zo2_cpu *c, const zo2_gemm_op *op)
{
    atomic_int refused = 0;
    gemm_job job = {
        .op = op, .cpu = c, .refused = &refused, .few = op->m <= ZO2_FEW_ROWS ? zo2_gemm_few_get(NULL) : NULL};
    if (job.few)
        cut_panel(&job);
    else
        choose_tiles(&job);
    zo2_status s = job.few ? ZO2_OK : prepare_onednn(&job);
    if (s)
        return s;
    zo2_cpu_run(c, op->batch * job.m_tiles * job.n_tiles, gemm_task, &job);
    return atomic_load(&refused) ? zo2_error(ZO2_ERR_INTERNAL, "cpu backend: oneDNN failed in a bf16 product") : ZO2_OK;
}
