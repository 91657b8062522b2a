/* elementwise.c: bias with activation, gates, and conversions of rows, on the cpu. */
#include <math.h>
#include <string.h>

#include "codec/codec.h"
#include "kernels/activation.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

#define TASK_ELEMENTS 32768

ZO2_CLONES static void bias_scale(float *y, uint64_t n, const float *bias, float scale)
{
    if (bias)
        for (uint64_t i = 0; i < n; i++)
            y[i] += bias[i];
    if (scale != 1.0f)
        for (uint64_t i = 0; i < n; i++)
            y[i] *= scale;
}

ZO2_CLONES static void activate(zo2_activation act, float *y, uint64_t n)
{
    if (act == ZO2_ACT_RELU)
        for (uint64_t i = 0; i < n; i++)
            y[i] = y[i] < 0.0f ? 0.0f : y[i]; /* in this order a NaN stays */
    else if (act == ZO2_ACT_GELU)
        for (uint64_t i = 0; i < n; i++)
            y[i] = 0.5f * y[i] * (1.0f + erff(y[i] * 0.70710678118654752f));
    else if (act == ZO2_ACT_SILU)
        for (uint64_t i = 0; i < n; i++)
            y[i] = zo2_silu(y[i]);
    else if (act == ZO2_ACT_GELU_TANH)
        for (uint64_t i = 0; i < n; i++)
            y[i] = zo2_gelu_tanh(y[i]);
}

ZO2_CLONES static void times(float *restrict y, uint64_t n, const float *up, const float *bias)
{
    if (bias)
        for (uint64_t i = 0; i < n; i++)
            y[i] *= up[i] + bias[i];
    else
        for (uint64_t i = 0; i < n; i++)
            y[i] *= up[i];
}

static void bias_act_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_bias_act_op *op = operands;
    float *y = (float *)op->y + s * op->stride_y + r * op->ldy;
    bias_scale(y, op->n, op->bias ? op->bias + s * op->stride_bias : NULL, op->scale);
    activate(op->act, y, op->n);
    zo2_round_to(op->type, y, op->n);
}

zo2_status zo2_cpu_bias_act(zo2_cpu *c, const zo2_bias_act_op *op)
{
    zo2_cpu_run_rows(c, op->streams, op->m, op->n, TASK_ELEMENTS, bias_act_row, op);
    return ZO2_OK;
}

static void gate_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_gate_op *op = operands;
    float *y = (float *)op->y + s * op->stride + r * op->ld;
    bias_scale(y, op->n, op->bias_gate ? op->bias_gate + s * op->stride_bias : NULL, 1.0f);
    activate(op->act, y, op->n);
    times(y, op->n, (const float *)op->up + s * op->stride + r * op->ld,
          op->bias_up ? op->bias_up + s * op->stride_bias : NULL);
    zo2_round_to(op->type, y, op->n);
}

zo2_status zo2_cpu_gate(zo2_cpu *c, const zo2_gate_op *op)
{
    zo2_cpu_run_rows(c, op->streams, op->m, op->n, TASK_ELEMENTS, gate_row, op);
    return ZO2_OK;
}

static void convert_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_convert_rows_op *op = operands;
    float *y = (float *)op->y + s * op->stride_y + r * op->n;
    uint64_t from = op->index ? op->index[r] : r;
    const float *x = op->x + s * op->stride_x + from * op->n;
    if (x != y)
        memcpy(y, x, op->n * sizeof *y);
    if (op->through)
        zo2_round_to(op->through, y, op->n);
    zo2_round_to(op->type, y, op->n);
}

zo2_status zo2_cpu_convert_rows(zo2_cpu *c, const zo2_convert_rows_op *op)
{
    if (op->index) {
        /* Here the index can be read, so x gets the height that it is used with. */
        zo2_operands l;
        zo2_status s = zo2_operands_convert_rows(&l, &c->base, op);
        if (s)
            return s;
        uint64_t height = 0;
        for (uint64_t i = 0; i < op->m; i++)
            if (op->index[i] >= height)
                height = (uint64_t)op->index[i] + 1;
        l.v[0].rows = height;
        l.v[0].ld = l.v[0].row;
        if (__builtin_mul_overflow(height, l.v[0].row, &l.v[0].extent))
            return zo2_error(ZO2_ERR_DEVICE, "convert_rows: index overflows");
        if ((s = zo2_cpu_admit(c, ZO2_OK, &l)))
            return s;
    }
    zo2_cpu_run_rows(c, op->streams, op->m, op->n, TASK_ELEMENTS, convert_row, op);
    return ZO2_OK;
}
