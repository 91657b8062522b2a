/* norm.c: layer normalisation on the cpu (two passes: mean, then variance about it), and normalisation by the root of the mean
 * square. Sums are over 32 lanes in a fixed order. */
#include <math.h>

#include "codec/codec.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/operations.h"

#define TASK_ELEMENTS 32768

ZO2_CLONES static void normalise_row(const float *x, uint64_t n, float eps, const float *gamma, const float *beta,
                                     float *y)
{
    float lane[ZO2_LANES] = {0};
    uint64_t i = 0;
    for (; i + ZO2_LANES <= n; i += ZO2_LANES)
        for (int j = 0; j < ZO2_LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j];
    float mean = zo2_lanes_sum(lane) / (float)n;

    for (int j = 0; j < ZO2_LANES; j++)
        lane[j] = 0;
    for (i = 0; i + ZO2_LANES <= n; i += ZO2_LANES)
        for (int j = 0; j < ZO2_LANES; j++)
            lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (int j = 0; i + j < n; j++)
        lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    float inverse = 1.0f / sqrtf(zo2_lanes_sum(lane) / (float)n + eps);

    /* y may be x: each element is read before it is written. */
    for (i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse;
    if (gamma)
        for (i = 0; i < n; i++)
            y[i] *= gamma[i];
    if (beta)
        for (i = 0; i < n; i++)
            y[i] += beta[i];
}

ZO2_CLONES static void rms_normalise(const float *x, uint64_t n, float eps, const float *gamma, float *y)
{
    float lane[ZO2_LANES] = {0};
    uint64_t i = 0;
    for (; i + ZO2_LANES <= n; i += ZO2_LANES)
        for (int j = 0; j < ZO2_LANES; j++)
            lane[j] += x[i + j] * x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j] * x[i + j];
    float inverse = 1.0f / sqrtf(zo2_lanes_sum(lane) / (float)n + eps);
    if (gamma)
        for (i = 0; i < n; i++) /* y may be x: each element is read before it is written */
            y[i] = x[i] * inverse * gamma[i];
    else
        for (i = 0; i < n; i++)
            y[i] = x[i] * inverse;
}

static void norm_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_layernorm_op *op = operands;
    float *y = (float *)op->y + s * op->stride_y + r * op->n;
    normalise_row(op->x + s * op->stride_x + r * op->n, op->n, op->eps,
                  op->gamma ? op->gamma + s * op->stride_vec : NULL, op->beta ? op->beta + s * op->stride_vec : NULL,
                  y);
    zo2_round_to(op->type, y, op->n);
}

zo2_status zo2_cpu_layernorm(zo2_cpu *c, const zo2_layernorm_op *op)
{
    zo2_cpu_run_rows(c, op->streams, op->m, op->n, TASK_ELEMENTS, norm_row, op);
    return ZO2_OK;
}

static void rmsnorm_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_rmsnorm_op *op = operands;
    const float *gamma = op->gamma ? op->gamma + s * op->stride_vec : NULL;
    const float *x = (const float *)op->x + s * op->stride_x + r * op->ldx;
    float *y = (float *)op->y + s * op->stride_y + r * op->ldy;
    for (uint64_t g = 0; g < op->groups; g++)
        rms_normalise(x + g * op->n, op->n, op->eps, gamma, y + g * op->n);
    zo2_round_to(op->type, y, op->groups * op->n);
}

zo2_status zo2_cpu_rmsnorm(zo2_cpu *c, const zo2_rmsnorm_op *op)
{
    zo2_cpu_run_rows(c, op->streams, op->m, op->groups * op->n, TASK_ELEMENTS, rmsnorm_row, op);
    return ZO2_OK;
}
