/* attention.c: causal attention with shared prefixes on the cpu. A block is up to 64 queries of one sequence;
 * one block and one head need a score matrix [queries][keys], which lives in a workspace slot while its task runs. Keys
 * come in two ranges, the prefix and the sequence's own tokens; their scores stand side by side in a row.
 *
 * Short sequences are many and tiny (two tokens behind a prefix of 25), so a task takes several blocks and all their
 * heads. How they are grouped depends on shapes only. (Own loops instead of BLAS for tiny blocks were slower down to 2
 * queries on 27 keys: 0.87 against 0.44 us a head, measured with AVX-512.) Slots are taken by whoever runs; every score
 * that is read was written by the same task, so the slot can't change a bit. A key that is not finite spoils the whole
 * block that sees it or could see it: 0 * NaN is NaN. */
#include <math.h>

#include "codec/codec.h"
#include "engine/base/slots.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/exp_neg.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

#define BLOCK_QUERIES 64
#define TASK_MACS     ((uint64_t)1 << 19) /* of q k^T in a task, about 50 us with the rest */
#define TASKS_AT_ONCE 512u /* of one stream in one run of the pool: a table of fixed size, no allocation */

/* Queries [first, first + queries) of a sequence; `queries` follows from the two others. */
typedef struct query_block {
    const zo2_seq *seq;
    uint32_t first, queries;
} query_block;

typedef struct task {
    uint32_t seq, first; /* of its first block; the others follow it */
    uint32_t blocks;
    uint32_t head, heads;
} task;

typedef struct attention_job {
    const zo2_attention_op *op; /* in full */
    zo2_cpu *cpu;
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

static uint64_t keys_of(const query_block *u)
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
static void scores(const attention_job *job, const float *q, const float *k, uint64_t m, uint64_t n, float *score,
                   uint64_t ld)
{
    const zo2_attention_op *op = job->op;
    if (n)
        job->cpu->blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)op->head_dim,
                              1.0f, q, (blasint)op->ld, k, (blasint)op->ld_kv, 0.0f, score, (blasint)ld);
}

/* out = beta out + p v for n keys. */
static void values(const attention_job *job, const float *p, uint64_t ld, const float *v, uint64_t m, uint64_t n,
                   float beta, float *out)
{
    const zo2_attention_op *op = job->op;
    if (n)
        job->cpu->blas->sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)op->head_dim, (blasint)n,
                              1.0f, p, (blasint)ld, v, (blasint)op->ld_kv, beta, out, (blasint)op->ld_out);
}

static void attend(const attention_job *job, uint64_t stream, const query_block *u, uint32_t head, float *score)
{
    const zo2_attention_op *op = job->op;
    uint64_t d = op->head_dim, m = u->queries, prefix = u->seq->n_prefix, own = (uint64_t)u->first + m,
             keys = keys_of(u);
    uint64_t ld_score = round16(keys), column = (uint64_t)head * d;
    const float *q =
        (const float *)op->q + stream * op->stride + column + ((uint64_t)u->seq->first + u->first) * op->ld;
    uint64_t at_kv = stream * op->stride_kv + head / (op->heads / op->kv_heads) * d;
    const float *k = (const float *)op->k + at_kv, *v = (const float *)op->v + at_kv;
    uint64_t prefix_at = u->seq->prefix * op->ld_kv, own_at = u->seq->first * op->ld_kv;
    float *out =
        (float *)op->out + stream * op->stride_out + column + ((uint64_t)u->seq->first + u->first) * op->ld_out;

    scores(job, q, k + prefix_at, m, prefix, score, ld_score);
    scores(job, q, k + own_at, m, own, score + prefix, ld_score);
    float sum[BLOCK_QUERIES];
    for (uint64_t i = 0; i < m; i++)
        sum[i] = softmax_row(score + i * ld_score, prefix + u->first + i + 1, keys);
    values(job, score, ld_score, v + prefix_at, m, prefix, 0.0f, out);
    values(job, score + prefix, ld_score, v + own_at, m, own, prefix ? 1.0f : 0.0f, out);
    for (uint64_t i = 0; i < m; i++) {
        for (uint64_t x = 0; x < d; x++)
            out[i * op->ld_out + x] /= sum[i];
        zo2_round_to(op->type, out + i * op->ld_out, d);
    }
}

/* The query_block at (sequence, first query), both in range. */
static query_block unit_at(const zo2_attention_op *op, uint32_t seq, uint32_t first)
{
    uint32_t left = op->seqs[seq].n - first;
    return (query_block){&op->seqs[seq], first, left < BLOCK_QUERIES ? left : BLOCK_QUERIES};
}

/* Steps to the next query_block; sequences without queries have none. 0 at the end. */
static int next_unit(const zo2_attention_op *op, uint32_t *seq, uint32_t *first)
{
    *first += BLOCK_QUERIES;
    while (*seq < op->n_seqs && *first >= op->seqs[*seq].n) {
        ++*seq;
        *first = 0;
    }
    return *seq < op->n_seqs;
}

static void attention_task(void *arg, uint64_t i)
{
    const attention_job *job = arg;
    const task *t = &job->tasks[i % job->n_tasks];
    uint32_t slot = zo2_slots_take(&job->cpu->slots), seq = t->seq, first = t->first;
    float *score = (float *)job->op->workspace + slot * job->slot_floats;
    for (uint32_t u = 0; u < t->blocks; u++) {
        query_block at = unit_at(job->op, seq, first);
        for (uint32_t h = 0; h < t->heads; h++)
            attend(job, i / job->n_tasks, &at, t->head + h, score);
        next_unit(job->op, &seq, &first);
    }
    zo2_slots_give(&job->cpu->slots, slot);
}

/* Where the grouping stands: the next query_block and, inside a query_block of several tasks, the next head. */
typedef struct grouping {
    const zo2_attention_op *op;
    uint32_t seq, first, head;
    int more;
} grouping;

static uint64_t macs_at(const grouping *g)
{
    query_block u = unit_at(g->op, g->seq, g->first);
    return u.queries * keys_of(&u) * g->op->head_dim;
}

/* The next task of about TASK_MACS: some heads of one query_block, or all heads of several blocks. g->more says that there is
 * one. */
static task next_task(grouping *g)
{
    const uint32_t all = g->op->heads;
    uint64_t macs = macs_at(g), sum = 0;
    task t = {.seq = g->seq, .first = g->first, .blocks = 1, .head = g->head, .heads = all};
    if (macs * all > TASK_MACS) {
        uint64_t heads = TASK_MACS / macs ? TASK_MACS / macs : 1;
        t.heads = (uint32_t)(all - g->head < heads ? all - g->head : heads);
        g->head += t.heads;
        if (g->head == all) {
            g->head = 0;
            g->more = next_unit(g->op, &g->seq, &g->first);
        }
        return t;
    }
    for (t.blocks = 0; g->more && sum + macs * all <= TASK_MACS; t.blocks++) {
        sum += macs * all;
        g->more = next_unit(g->op, &g->seq, &g->first);
        if (g->more)
            macs = macs_at(g);
    }
    return t;
}

zo2_status zo2_cpu_attention(zo2_cpu *c, const zo2_attention_op *given)
{
    const zo2_attention_op full = zo2_attention_full(given), *op = &full;
    uint64_t max_keys = zo2_attention_max_keys(op);
    task tasks[TASKS_AT_ONCE];
    attention_job job = {
        .op = op, .cpu = c, .tasks = tasks, .slot_floats = (uint64_t)BLOCK_QUERIES * round16(max_keys)};
    grouping g = {.op = op, .more = op->n_seqs > 0};
    if (g.more && !op->seqs[0].n) /* begin at the first query_block there is */
        g.more = next_unit(op, &g.seq, &g.first);
    while (g.more) {
        for (job.n_tasks = 0; g.more && job.n_tasks < TASKS_AT_ONCE; job.n_tasks++)
            tasks[job.n_tasks] = next_task(&g);
        zo2_cpu_run(c, op->streams * job.n_tasks, attention_task, &job);
    }
    return ZO2_OK;
}
