/* rope.c: rotary positions on the cpu, the half-split form: in a head of 2 h elements j and j + h are a pair. */
#include "codec/codec.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"

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

typedef struct rope_job {
    const zo2_rope_op *op;
    uint64_t rows_per_task, tasks; /* of one stream */
} rope_job;

static void rope_task(void *arg, uint64_t i)
{
    const rope_job *job = arg;
    const zo2_rope_op *op = job->op;
    uint64_t s = i / job->tasks, r = i % job->tasks * job->rows_per_task;
    uint64_t end = r + job->rows_per_task < op->m ? r + job->rows_per_task : op->m, d = op->head_dim;
    for (; r < end; r++) {
        float *x = (float *)op->x + s * op->stride + r * op->ld;
        for (uint64_t head = 0; head < op->heads; head++)
            turn(x + head * d, x + head * d + d / 2, op->table + op->position[r] * d, d / 2, op->scale);
        zo2_round_to(op->type, x, op->heads * d);
    }
}

zo2_status zo2_cpu_rope(zo2_cpu *c, const zo2_rope_op *op)
{
    for (uint64_t i = 0; i < op->m; i++) /* here they can be read */
        if (op->position[i] >= op->positions)
            return zo2_error(ZO2_ERR_DEVICE, "rope: position %u of token %llu, the table has %llu", op->position[i],
                             (unsigned long long)i, (unsigned long long)op->positions);
    rope_job job = {.op = op,
                    .rows_per_task = zo2_cpu_rows_per_task((uint64_t)op->heads * op->head_dim, TASK_ELEMENTS)};
    job.tasks = zo2_ceil_div(op->m, job.rows_per_task);
    zo2_cpu_run(c, op->streams * job.tasks, rope_task, &job);
    return ZO2_OK;
}
