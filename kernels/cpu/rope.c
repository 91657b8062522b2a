/* rope.c: rotary positions on the cpu, the half-split form: in a head of 2 h elements j and j + h are a pair. */
#include "codec/codec.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/operations.h"

#define TASK_ELEMENTS 32768

/* cosine: h of them, the sines behind. */
ZO2_CLONES static void turn(float *restrict first, float *restrict second, const float *restrict cosine, uint64_t h,
                            float scale)
{
    const float *sine = cosine + h;
    for (uint64_t j = 0; j < h; j++) {
        float a = first[j], b = second[j];
        first[j] = (a * cosine[j] - b * sine[j]) * scale;
        second[j] = (b * cosine[j] + a * sine[j]) * scale;
    }
}

static void rope_row(const void *operands, uint64_t s, uint64_t r)
{
    const zo2_rope_op *op = operands;
    const uint64_t d = op->head_dim;
    float *x = (float *)op->x + s * op->stride + r * op->ld;
    for (uint64_t head = 0; head < op->heads; head++)
        turn(x + head * d, x + head * d + d / 2, op->table + op->position[r] * d, d / 2, op->scale);
    zo2_round_to(op->type, x, op->heads * d);
}

zo2_status zo2_cpu_rope(zo2_cpu *c, const zo2_rope_op *op)
{
    for (uint64_t i = 0; i < op->m; i++) /* here they can be read */
        if (op->position[i] >= op->positions)
            return zo2_error(ZO2_ERR_DEVICE, "rope: position %u of token %llu, the table has %llu", op->position[i],
                             (unsigned long long)i, (unsigned long long)op->positions);
    zo2_cpu_run_rows(c, op->streams, op->m, (uint64_t)op->heads * op->head_dim, TASK_ELEMENTS, rope_row, op);
    return ZO2_OK;
}
