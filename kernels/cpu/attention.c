/* attention.c: causal attention with shared prefixes on the cpu. A unit is a block of up to 64 queries of one sequence;
 * one unit and one head need a score matrix [queries][keys], which lives in a workspace slot while its task runs. Keys
 * come in two ranges, the prefix and the sequence's own tokens; their scores stand side by side in a row.
 *
 * Short sequences are many and tiny (two tokens behind a prefix of 25), so a task takes several units and all their
 * heads. How they are grouped depends on shapes only. (Own loops instead of BLAS for tiny units were slower down to 2
 * queries on 27 keys: 0.87 against 0.44 us a head, measured with AVX-512.) Slots are taken by whoever runs; every score
 * that is read was written by the same task, so the slot can't change a bit. A key that is not finite spoils the whole
 * block that sees it or could see it: 0 * NaN is NaN. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "codec/codec.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"

#define BLOCK_QUERIES 64
#define TASK_MACS     ((uint64_t)1 << 19) /* of q k^T in a task, about 50 us with the rest */

typedef struct unit {
    const zo2_seq *seq;
    uint32_t first, queries; /* queries [first, first + queries) of the sequence */
} unit;

typedef struct task {
    uint32_t unit, units;
    uint32_t head, heads;
} task;

typedef struct attention_job {
    const zo2_attention_op *op;
    zo2_cpu *cpu;
    const unit *units;
    const task *tasks;
    uint64_t n_tasks; /* of one stream */
    uint64_t slot_floats;
} attention_job;

static uint64_t round16(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

uint64_t zo2_cpu_attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads)
{
    (void)heads;
    (void)head_dim;
    return (uint64_t)(threads ? threads : 1) * BLOCK_QUERIES * round16(max_keys ? max_keys : 1) * sizeof(float);
}

static uint64_t keys_of(const unit *u)
{
    return (uint64_t)u->seq->n_prefix + u->first + u->queries;
}

/* Scores to exp(score - max) in the first `visible` places, zero in the rest; the sum of the row. NaN and +inf make the
 * sum NaN. */
ZO2_CLONES static float softmax_row(float *score, uint64_t visible, uint64_t keys)
{
    float max = zo2_row_max(score, visible, -INFINITY);
    float ref = max == -INFINITY ? 0.0f : max;
    float lane[ZO2_LANES] = {0};
    uint64_t i = 0;
    for (uint64_t j = 0; j < visible; j++)
        score[j] = zo2_exp_neg(score[j] - ref);
    for (uint64_t j = visible; j < keys; j++)
        score[j] = 0.0f;
    for (; i + ZO2_LANES <= visible; i += ZO2_LANES)
        for (int l = 0; l < ZO2_LANES; l++)
            lane[l] += score[i + l];
    for (int l = 0; i + l < visible; l++)
        lane[l] += score[i + l];
    return zo2_lanes_sum(lane);
}

/* score = q k^T for n keys. */
static void scores(const zo2_attention_op *op, const float *q, const float *k, uint64_t m, uint64_t n, float *score,
                   uint64_t ld)
{
    if (n)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)op->head_dim, 1.0f, q,
                    (blasint)op->ld, k, (blasint)op->ld, 0.0f, score, (blasint)ld);
}

/* out = beta out + p v for n keys. */
static void values(const zo2_attention_op *op, const float *p, uint64_t ld, const float *v, uint64_t m, uint64_t n,
                   float beta, float *out)
{
    if (n)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)op->head_dim, (blasint)n, 1.0f, p,
                    (blasint)ld, v, (blasint)op->ld, beta, out, (blasint)op->ld_out);
}

static void attend(const zo2_attention_op *op, uint64_t stream, const unit *u, uint32_t head, float *score)
{
    uint64_t d = op->head_dim, m = u->queries, prefix = u->seq->n_prefix, own = (uint64_t)u->first + m,
             keys = keys_of(u);
    uint64_t ld_score = round16(keys), column = (uint64_t)head * d, at = stream * op->stride + column;
    const float *q = (const float *)op->q + at + ((uint64_t)u->seq->first + u->first) * op->ld;
    const float *k = (const float *)op->k + at, *v = (const float *)op->v + at;
    uint64_t prefix_at = u->seq->prefix * op->ld, own_at = u->seq->first * op->ld;
    float *out =
        (float *)op->out + stream * op->stride_out + column + ((uint64_t)u->seq->first + u->first) * op->ld_out;

    scores(op, q, k + prefix_at, m, prefix, score, ld_score);
    scores(op, q, k + own_at, m, own, score + prefix, ld_score);
    float sum[BLOCK_QUERIES];
    for (uint64_t i = 0; i < m; i++)
        sum[i] = softmax_row(score + i * ld_score, prefix + u->first + i + 1, keys);
    values(op, score, ld_score, v + prefix_at, m, prefix, 0.0f, out);
    values(op, score + prefix, ld_score, v + own_at, m, own, prefix ? 1.0f : 0.0f, out);
    for (uint64_t i = 0; i < m; i++) {
        for (uint64_t x = 0; x < d; x++)
            out[i * op->ld_out + x] /= sum[i];
        zo2_round_to(op->type, out + i * op->ld_out, d);
    }
}

static void attention_task(void *arg, uint64_t i)
{
    const attention_job *job = arg;
    const task *t = &job->tasks[i % job->n_tasks];
    uint32_t slot = 0;
    /* At most `threads` tasks run at once and there are as many slots, so the search ends. */
    while (atomic_flag_test_and_set_explicit(&job->cpu->slot_taken[slot], memory_order_acquire))
        slot = slot + 1 < job->cpu->parallel.threads ? slot + 1 : 0;
    float *score = (float *)job->op->workspace + slot * job->slot_floats;
    for (uint32_t u = 0; u < t->units; u++)
        for (uint32_t h = 0; h < t->heads; h++)
            attend(job->op, i / job->n_tasks, &job->units[t->unit + u], t->head + h, score);
    atomic_flag_clear_explicit(&job->cpu->slot_taken[slot], memory_order_release);
}

/* Cuts sequences into units and groups (units, heads) into tasks of about TASK_MACS. tasks has room for n_units *
 * heads. */
static uint64_t group(const zo2_attention_op *op, const unit *units, uint64_t n_units, task *tasks)
{
    uint64_t n = 0;
    for (uint64_t u = 0; u < n_units;) {
        uint64_t macs = units[u].queries * keys_of(&units[u]) * op->head_dim;
        if (macs * op->heads > TASK_MACS) { /* several tasks for this unit */
            uint64_t heads = TASK_MACS / macs ? TASK_MACS / macs : 1;
            for (uint64_t h = 0; h < op->heads; h += heads)
                tasks[n++] =
                    (task){(uint32_t)u, 1, (uint32_t)h, (uint32_t)(op->heads - h < heads ? op->heads - h : heads)};
            u++;
            continue;
        }
        uint64_t first = u, sum = 0;
        do { /* several units for this task */
            sum += macs * op->heads;
            u++;
            if (u < n_units)
                macs = units[u].queries * keys_of(&units[u]) * op->head_dim;
        } while (u < n_units && sum + macs * op->heads <= TASK_MACS);
        tasks[n++] = (task){(uint32_t)first, (uint32_t)(u - first), 0, op->heads};
    }
    return n;
}

zo2_status zo2_cpu_attention(zo2_backend *b, const zo2_attention_op *op)
{
    zo2_cpu *c = (zo2_cpu *)b;
    zo2_operands l;
    zo2_status s = zo2_cpu_admit(c, zo2_operands_attention(&l, op, 4), &l);
    if (s || l.empty)
        return s;
    uint64_t max_keys = zo2_attention_max_keys(op);
    uint64_t need = zo2_cpu_attention_workspace(op->heads, op->head_dim, max_keys, c->parallel.threads);
    if (op->workspace_bytes < need)
        return zo2_error(ZO2_ERR_DEVICE, "attention: workspace of %llu bytes, needs %llu for %llu keys",
                         (unsigned long long)op->workspace_bytes, (unsigned long long)need,
                         (unsigned long long)max_keys);

    uint64_t n_units = 0;
    for (uint32_t i = 0; i < op->n_seqs; i++)
        n_units += zo2_ceil_div(op->seqs[i].n, BLOCK_QUERIES);
    unit *units = malloc(n_units * sizeof *units);
    task *tasks = malloc(n_units * op->heads * sizeof *tasks);
    if (!units || !tasks) {
        s = zo2_error(ZO2_ERR_NOMEM, "attention: no memory for %llu blocks", (unsigned long long)n_units);
        goto done;
    }
    uint64_t u = 0;
    for (uint32_t i = 0; i < op->n_seqs; i++)
        for (uint32_t q = 0; q < op->seqs[i].n; q += BLOCK_QUERIES) {
            uint32_t left = op->seqs[i].n - q;
            units[u++] = (unit){&op->seqs[i], q, left < BLOCK_QUERIES ? left : BLOCK_QUERIES};
        }
    attention_job job = {
        .op = op, .cpu = c, .units = units, .tasks = tasks, .slot_floats = (uint64_t)BLOCK_QUERIES * round16(max_keys)};
    job.n_tasks = group(op, units, n_units, tasks);
    zo2_cpu_run(c, op->streams * job.n_tasks, attention_task, &job);

done:
    free(units);
    free(tasks);
    return s;
}
