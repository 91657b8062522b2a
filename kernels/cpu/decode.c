/* decode.c: wire rows to perturbed panels on the cpu, row by row through the codec's own loops. */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/slots.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/operations.h"

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
    uint32_t panels;
    const float *eps;
    zo2_dtype type;
} row_noise;

/* The panels' rows; row[0] holds the decoded one. */
static void fold_and_perturb(const row_noise *n, const zo2_update *fold, uint32_t folds, float *const *row)
{
    float *w = row[0];
    if (folds)
        zo2_update_apply(w, n->cols, n->first, n->tensor_id, n->dist, n->decays, fold, folds);
    if (n->panels == 2 && n->eps[0] != 0 && n->eps[1] == -n->eps[0]) { /* the usual pair: its noise is made once */
        zo2_perturb(w, n->cols, n->first, n->tensor_id, n->dist, n->key, n->query, n->eps[0], w, row[1]);
    } else {
        for (uint32_t p = n->panels; p-- > 0;) { /* the first one last: it holds w */
            if (n->eps[p] != 0)
                zo2_perturb(w, n->cols, n->first, n->tensor_id, n->dist, n->key, n->query, n->eps[p], row[p], NULL);
            else if (row[p] != w)
                memcpy(row[p], w, n->cols * sizeof *w);
        }
    }
    for (uint32_t p = 0; p < n->panels; p++)
        zo2_round_to(n->type, row[p], n->cols);
}

static void decode_row(const void *operands, uint64_t stream, uint64_t r)
{
    const zo2_decode_op *op = operands;
    const row_noise n = {.cols = op->cols,
                         .first = (op->first_row + r) * op->cols,
                         .tensor_id = op->tensor_id,
                         .decays = op->decays,
                         .dist = op->dist,
                         .key = op->key,
                         .query = op->query,
                         .panels = op->panels,
                         .eps = op->eps,
                         .type = op->type};
    float *row[ZO2_MAX_PANELS] = {NULL};
    (void)stream; /* one: panels are the streams */
    for (uint32_t p = 0; p < op->panels; p++)
        row[p] = (float *)op->panel[p] + r * op->ld;
    zo2_codec_get(op->wire)->decode(op->src, op->rows, op->cols, r, 1, row[0]);
    fold_and_perturb(&n, op->fold, op->folds, row);
}

zo2_status zo2_cpu_decode(zo2_cpu *c, const zo2_decode_op *op)
{
    zo2_cpu_run_rows(c, 1, op->rows, op->cols, TASK_ELEMENTS, decode_row, op);
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
    float *sum =
        op->accumulate ? c->row_panels + slot * ZO2_MAX_PANELS * c->row_floats : NULL; /* what is to be added */
    for (; r < end; r++) {
        const zo2_row_ref *ref = &op->refs[r];
        row_noise n = {.cols = op->cols,
                       .first = ref->row * op->cols,
                       .tensor_id = op->tensor_id,
                       .decays = op->decays,
                       .dist = op->dist,
                       .key = op->key,
                       .query = op->query,
                       .panels = op->panels,
                       .eps = op->eps,
                       .type = op->type};
        uint32_t done = ref->folds_done < op->folds ? ref->folds_done : op->folds;
        float *row[ZO2_MAX_PANELS] = {NULL};
        for (uint32_t p = 0; p < op->panels; p++)
            row[p] = sum ? sum + p * op->cols : (float *)op->panel[p] + r * op->ld;
        job->codec->decode(op->src, op->rows, op->cols, r, 1, row[0]);
        fold_and_perturb(&n, op->folds > done ? op->fold + done : NULL, op->folds - done, row);
        for (uint32_t p = 0; sum && p < op->panels; p++) {
            float *to = (float *)op->panel[p] + r * op->ld;
            for (uint64_t j = 0; j < op->cols; j++)
                to[j] += row[p][j];
        }
    }
    if (sum)
        zo2_slots_give(&c->slots, slot);
}

/* A row of each panel for each task that runs at once. A model's rows that are added have one length, so this allocates in the
 * first step only. */
static zo2_status reserve_rows(zo2_cpu *c, uint64_t cols)
{
    if (cols <= c->row_floats)
        return ZO2_OK;
    free(c->row_panels);
    c->row_floats = 0;
    c->row_panels = calloc(c->slots.n, ZO2_MAX_PANELS * cols * sizeof *c->row_panels);
    if (!c->row_panels)
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
