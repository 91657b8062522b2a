/* decode.c: wire rows to perturbed panels on the cpu, row by row through the codec's own loops. */
#include <stdlib.h>

#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/slots.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"

/* About 15 us of Gaussian noise: enough to hide what starting a task costs. */
#define TASK_ELEMENTS 16384

/* What the two operations share for a row; elements [first, first + cols) of the tensor. */
typedef struct row_noise {
    uint64_t cols, first;
    uint32_t tensor_id;
    int decays;
    zo2_dist dist;
    uint64_t key;
    uint32_t query;
    float eps;
    zo2_dtype type;
} row_noise;

/* plus holds the decoded row; minus may be NULL. */
static void fold_and_perturb(const row_noise *n, const zo2_update *fold, uint32_t folds, float *plus, float *minus)
{
    if (folds)
        zo2_update_apply(plus, n->cols, n->first, n->tensor_id, n->dist, n->decays, fold, folds);
    if (minus) {
        zo2_perturb(plus, n->cols, n->first, n->tensor_id, n->dist, n->key, n->query, n->eps, plus, minus);
        zo2_round_to(n->type, minus, n->cols);
    }
    zo2_round_to(n->type, plus, n->cols);
}

typedef struct decode_job {
    const zo2_decode_op *op;
    const zo2_codec *codec;
    uint64_t rows_per_task;
} decode_job;

static void decode_task(void *arg, uint64_t i)
{
    const decode_job *job = arg;
    const zo2_decode_op *op = job->op;
    uint64_t r = i * job->rows_per_task, end = r + job->rows_per_task < op->rows ? r + job->rows_per_task : op->rows;
    for (; r < end; r++) {
        row_noise n = {.cols = op->cols,
                       .first = (op->first_row + r) * op->cols,
                       .tensor_id = op->tensor_id,
                       .decays = op->decays,
                       .dist = op->dist,
                       .key = op->key,
                       .query = op->query,
                       .eps = op->eps,
                       .type = op->type};
        float *plus = (float *)op->plus + r * op->ld;
        job->codec->decode(op->src, op->rows, op->cols, r, 1, plus);
        fold_and_perturb(&n, op->fold, op->folds, plus, op->minus ? (float *)op->minus + r * op->ld : NULL);
    }
}

zo2_status zo2_cpu_decode(zo2_cpu *c, const zo2_decode_op *op)
{
    decode_job job = {
        .op = op, .codec = zo2_codec_get(op->wire), .rows_per_task = zo2_cpu_rows_per_task(op->cols, TASK_ELEMENTS)};
    zo2_cpu_run(c, zo2_ceil_div(op->rows, job.rows_per_task), decode_task, &job);
    return ZO2_OK;
}

typedef struct decode_rows_job {
    const zo2_decode_rows_op *op;
    zo2_cpu *cpu;
    const zo2_codec *codec;
    uint64_t rows_per_task;
} decode_rows_job;

static void decode_rows_task(void *arg, uint64_t i)
{
    const decode_rows_job *job = arg;
    const zo2_decode_rows_op *op = job->op;
    zo2_cpu *c = job->cpu;
    uint64_t r = i * job->rows_per_task, end = r + job->rows_per_task < op->rows ? r + job->rows_per_task : op->rows;
    uint32_t slot = op->accumulate ? zo2_slots_take(&c->slots) : 0;
    float *sum = op->accumulate ? c->row_pairs + slot * 2 * c->row_floats : NULL; /* what is to be added */
    for (; r < end; r++) {
        const zo2_row_ref *ref = &op->refs[r];
        row_noise n = {.cols = op->cols,
                       .first = ref->row * op->cols,
                       .tensor_id = op->tensor_id,
                       .decays = op->decays,
                       .dist = op->dist,
                       .key = op->key,
                       .query = op->query,
                       .eps = op->eps,
                       .type = op->type};
        uint32_t done = ref->folds_done < op->folds ? ref->folds_done : op->folds;
        float *plus = (float *)op->plus + r * op->ld, *minus = op->minus ? (float *)op->minus + r * op->ld : NULL;
        float *w = sum ? sum : plus, *w_minus = sum && minus ? sum + op->cols : minus;
        job->codec->decode(op->src, op->rows, op->cols, r, 1, w);
        fold_and_perturb(&n, op->folds > done ? op->fold + done : NULL, op->folds - done, w, w_minus);
        if (sum) {
            for (uint64_t j = 0; j < op->cols; j++)
                plus[j] += w[j];
            for (uint64_t j = 0; minus && j < op->cols; j++)
                minus[j] += w_minus[j];
        }
    }
    if (sum)
        zo2_slots_give(&c->slots, slot);
}

/* Two rows for each task that runs at once. A model's rows that are added have one length, so this allocates in the
 * first step only. */
static zo2_status reserve_rows(zo2_cpu *c, uint64_t cols)
{
    if (cols <= c->row_floats)
        return ZO2_OK;
    free(c->row_pairs);
    c->row_floats = 0;
    c->row_pairs = calloc(c->slots.n, 2 * cols * sizeof *c->row_pairs);
    if (!c->row_pairs)
        return zo2_error(ZO2_ERR_NOMEM, "decode_rows: no memory for rows of %llu columns", (unsigned long long)cols);
    c->row_floats = cols;
    return ZO2_OK;
}

zo2_status zo2_cpu_decode_rows(zo2_cpu *c, const zo2_decode_rows_op *op)
{
    zo2_status s = op->accumulate ? reserve_rows(c, op->cols) : ZO2_OK;
    if (s)
        return s;
    decode_rows_job job = {.op = op,
                           .cpu = c,
                           .codec = zo2_codec_get(op->wire),
                           .rows_per_task = zo2_cpu_rows_per_task(op->cols, TASK_ELEMENTS)};
    zo2_cpu_run(c, zo2_ceil_div(op->rows, job.rows_per_task), decode_rows_task, &job);
    return ZO2_OK;
}
