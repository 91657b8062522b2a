/* lse.c: streaming log-sum-exp on the cpu. A NaN logit is passed over by the maximum but makes the sum NaN; +inf makes
 * inf - inf = NaN: neither can end in a finite log-probability. -inf counts as probability zero. Sums are fp32 over 32
 * lanes within 1,024 logits and double across, so the error hardly grows with the vocabulary. */
#include <math.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/exp_neg.h"
#include "kernels/operations.h"

#define TASK_ELEMENTS 16384
#define BLOCK         1024

/* Sum of exp(x[i] - ref) over BLOCK logits at most, all x[i] <= ref or not finite. */
ZO2_CLONES static float sum_exp(const float *x, uint64_t n, float ref)
{
    float e[BLOCK], lane[ZO2_LANES] = {0};
    uint64_t j = 0;
    for (uint64_t l = 0; l < n; l++)
        e[l] = zo2_exp_neg(x[l] - ref);
    for (; j + ZO2_LANES <= n; j += ZO2_LANES)
        for (int l = 0; l < ZO2_LANES; l++)
            lane[l] += e[j + l];
    for (int l = 0; j + l < n; l++)
        lane[l] += e[j + l];
    return zo2_lanes_sum(lane);
}

ZO2_CLONES static float row_max(const float *x, uint64_t n, float floor)
{
    return zo2_row_max(x, n, floor);
}

/* Logits of the n rows from `row` on, BLOCK at most, as they count: x itself, or a copy in which skipped ones are -inf. */
static const float *counted(const zo2_lse_op *op, const float *x, uint64_t row, uint64_t n, float copy[BLOCK])
{
    const float *from = x;
    if (!op->skip)
        return x;
    for (uint64_t word = row / 32; word <= (row + n - 1) / 32; word++)
        for (uint32_t bits = op->skip[word]; bits; bits &= bits - 1) {
            uint64_t at = 32 * word + (uint64_t)__builtin_ctz(bits) - row; /* before the first row: wraps around */
            if (at >= n)
                continue;
            if (from == x)
                from = memcpy(copy, x, n * sizeof *x);
            copy[at] = -INFINITY;
        }
    return from;
}

static int skips(const zo2_lse_op *op, uint64_t row)
{
    return op->skip && op->skip[row / 32] >> row % 32 & 1;
}

static void take_row(const zo2_lse_op *op, const float *x, uint32_t target, zo2_lse *state)
{
    float copy[BLOCK], max = state->max;
    double sum = 0;
    for (uint64_t i = 0, m; i < op->n; i += m) {
        m = op->n - i < BLOCK ? op->n - i : BLOCK;
        max = row_max(counted(op, x + i, op->first + i, m, copy), m, max);
    }
    float ref = max == -INFINITY ? 0.0f : max; /* nothing but -inf so far: exp(-inf - 0) = 0, not NaN */
    for (uint64_t i = 0, m; i < op->n; i += m) {
        m = op->n - i < BLOCK ? op->n - i : BLOCK;
        sum += (double)sum_exp(counted(op, x + i, op->first + i, m, copy), m, ref);
    }
    state->sum = (float)((double)state->sum * (double)zo2_exp_neg(state->max - ref) + sum);
    state->max = max;
    if (target >= op->first && target - op->first < op->n && !skips(op, target))
        state->target = x[target - op->first];
}

static void lse_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_lse_op *op = operands;
    take_row(op, op->logits + s * op->stride + r * op->ld, op->target[r], op->state + s * op->stride_state + r);
}

zo2_status zo2_cpu_lse_tile(zo2_cpu *c, const zo2_lse_op *op)
{
    zo2_cpu_run_rows(c, op->streams, op->m, op->n, TASK_ELEMENTS, lse_row, op);
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
