/* norm.c: layer normalisation on the cpu: two passes (mean, then variance about it), sums over 32 lanes in a fixed
 * order. */
#include <math.h>

#include "codec/codec.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"

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

typedef struct norm_job {
    const zo2_layernorm_op *op;
    uint64_t rows_per_task, tasks; /* of one stream */
} norm_job;

static void norm_task(void *arg, uint64_t i)
{
    const norm_job *job = arg;
    const zo2_layernorm_op *op = job->op;
    uint64_t s = i / job->tasks, r = i % job->tasks * job->rows_per_task;
    uint64_t end = r + job->rows_per_task < op->m ? r + job->rows_per_task : op->m;
    for (; r < end; r++) {
        float *y = (float *)op->y + s * op->stride_y + r * op->n;
        normalise_row(op->x + s * op->stride_x + r * op->n, op->n, op->eps,
                      op->gamma ? op->gamma + s * op->stride_vec : NULL,
                      op->beta ? op->beta + s * op->stride_vec : NULL, y);
        zo2_round_to(op->type, y, op->n);
    }
}

zo2_status zo2_cpu_layernorm(zo2_cpu *c, const zo2_layernorm_op *op)
{
    norm_job job = {.op = op, .rows_per_task = zo2_cpu_rows_per_task(op->n, TASK_ELEMENTS)};
    job.tasks = zo2_ceil_div(op->m, job.rows_per_task);
    zo2_cpu_run(c, op->streams * job.tasks, norm_task, &job);
    return ZO2_OK;
}
