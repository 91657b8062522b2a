/* lse.c: streaming log-sum-exp on the cpu. A NaN logit is passed over by the maximum but makes the sum NaN; +inf makes
 * inf - inf = NaN: neither can end in a finite log-probability. -inf counts as probability zero. Sums are fp32 over 32
 * lanes within 1,024 logits and double across, so the error hardly grows with the vocabulary. */
#include <math.h>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/exp_neg.h"

#define TASK_ELEMENTS 16384
#define BLOCK         1024

/* Sum of exp(x[i] - ref), all x[i] <= ref or not finite. */
ZO2_CLONES static double sum_exp(const float *x, uint64_t n, float ref)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i += BLOCK) {
        float e[BLOCK], lane[ZO2_LANES] = {0};
        uint64_t m = n - i < BLOCK ? n - i : BLOCK, j = 0;
        for (uint64_t l = 0; l < m; l++)
            e[l] = zo2_exp_neg(x[i + l] - ref);
        for (; j + ZO2_LANES <= m; j += ZO2_LANES)
            for (int l = 0; l < ZO2_LANES; l++)
                lane[l] += e[j + l];
        for (int l = 0; j + l < m; l++)
            lane[l] += e[j + l];
        sum += (double)zo2_lanes_sum(lane);
    }
    return sum;
}

ZO2_CLONES static float row_max(const float *x, uint64_t n, float floor)
{
    return zo2_row_max(x, n, floor);
}

typedef struct lse_job {
    const zo2_lse_op *op;
    uint64_t rows_per_task, tasks; /* of one stream */
} lse_job;

static void lse_task(void *arg, uint64_t i)
{
    const lse_job *job = arg;
    const zo2_lse_op *op = job->op;
    uint64_t s = i / job->tasks, r = i % job->tasks * job->rows_per_task;
    uint64_t end = r + job->rows_per_task < op->m ? r + job->rows_per_task : op->m;
    for (; r < end; r++) {
        const float *x = op->logits + s * op->stride + r * op->ld;
        zo2_lse *state = op->state + s * op->stride_state + r;
        float max = row_max(x, op->n, state->max);
        float ref = max == -INFINITY ? 0.0f : max; /* nothing but -inf so far: exp(-inf - 0) = 0, not NaN */
        double sum = sum_exp(x, op->n, ref);
        state->sum = (float)((double)state->sum * (double)zo2_exp_neg(state->max - ref) + sum);
        state->max = max;
        if (op->target[r] >= op->first && op->target[r] - op->first < op->n)
            state->target = x[op->target[r] - op->first];
    }
}

zo2_status zo2_cpu_lse_tile(zo2_cpu *c, const zo2_lse_op *op)
{
    lse_job job = {.op = op, .rows_per_task = zo2_cpu_rows_per_task(op->n, TASK_ELEMENTS)};
    job.tasks = zo2_ceil_div(op->m, job.rows_per_task);
    zo2_cpu_run(c, op->streams * job.tasks, lse_task, &job);
    return ZO2_OK;
}

zo2_status zo2_cpu_lse_init(zo2_cpu *c, const zo2_lse_init_op *op)
{
    (void)c;
    for (uint64_t i = 0; i < op->n; i++)
        op->state[i] = (zo2_lse){.max = -INFINITY, .sum = 0.0f, .target = NAN, .reserved = 0.0f};
    return ZO2_OK;
}

zo2_status zo2_cpu_lse_finish(zo2_cpu *c, const zo2_lse_finish_op *op)
{
    (void)c;
    const zo2_lse *state = op->state;
    for (uint64_t i = 0; i < op->n; i++) /* a target that no tile held is still NaN */
        op->logprob[i] = (float)(((double)state[i].target - (double)state[i].max) - log((double)state[i].sum));
    return ZO2_OK;
}
