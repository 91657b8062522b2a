/* attention_problem.h: attention against softmax in double. Tolerance: a score errs by at most
 * (d + 1) 2^-24 of its sum of magnitudes, a probability relatively by twice that (it is in numerator and denominator)
 * and by the sums' roundings. */
#ifndef ZO2_TESTS_UNIT_KERNELS_ATTENTION_PROBLEM_H
#define ZO2_TESTS_UNIT_KERNELS_ATTENTION_PROBLEM_H

#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS      2
#define MAX_HEAD_DIM 256
#define MAX_PROBLEMS 40

#define NOWHERE UINT64_MAX

typedef struct problem {
    const char *name;
    zo2_dtype type;
    uint64_t poisoned; /* the token whose keys are NaN in stream 0, or NOWHERE */
    uint32_t heads, head_dim, n_seqs;
    uint64_t m;
    const zo2_seq *seqs;
    int wide;          /* rows, streams and operands begin at multiples of 8 elements, as tensor cores need them */
    uint32_t kv_heads; /* as the operation has them: 0 is `heads` */
    int apart;         /* keys and values in a matrix of their own */
} problem;

/* q, k, v side by side in one matrix, or k and v in another behind it, as strided operands; all in elements. */
typedef struct layout {
    uint64_t n, n_kv, k, v; /* widths of rows; where keys and values begin, from q */
    uint64_t ld, stride, ld_kv, stride_kv, ld_out, stride_out;
    uint64_t all; /* of q, k and v */
} layout;

static inline layout layout_of(const problem *p)
{
    layout l = {.n = (uint64_t)p->heads * p->head_dim,
                .n_kv = (uint64_t)(p->kv_heads ? p->kv_heads : p->heads) * p->head_dim};
    l.ld = l.n + (p->apart ? 0 : 2 * l.n_kv) + (p->wide ? 8 : 1);
    l.stride = p->m * l.ld + (p->wide ? 16 : 9);
    l.ld_kv = p->apart ? 2 * l.n_kv + (p->wide ? 16 : 3) : l.ld;
    l.stride_kv = p->apart ? p->m * l.ld_kv + (p->wide ? 8 : 5) : l.stride;
    l.k = p->apart ? STREAMS * l.stride : l.n;
    l.v = l.k + l.n_kv;
    l.ld_out = l.n + (p->wide ? 8 : 2);
    l.stride_out = p->m * l.ld_out;
    l.all = STREAMS * (l.stride + (p->apart ? l.stride_kv : 0));
    return l;
}

static inline uint64_t most_keys(const problem *p)
{
    uint64_t keys = 0;
    for (uint32_t i = 0; i < p->n_seqs; i++)
        if (p->seqs[i].n && (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix > keys)
            keys = (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix;
    return keys;
}

static inline void attend(test_device *t, const problem *p, const layout *l, const float *qkv, float *out)
{
    uint64_t bytes = t->ops->attention_workspace(p->heads, p->head_dim, most_keys(p), t->b->threads);
    zo2_attention_op op = {.streams = STREAMS,
                           .m = p->m,
                           .heads = p->heads,
                           .head_dim = p->head_dim,
                           .kv_heads = p->kv_heads,
                           .q = qkv,
                           .k = qkv + l->k,
                           .v = qkv + l->v,
                           .ld = l->ld,
                           .stride = l->stride,
                           .ld_kv = p->apart ? l->ld_kv : 0,
                           .stride_kv = p->apart ? l->stride_kv : 0,
                           .out = out,
                           .ld_out = l->ld_out,
                           .stride_out = l->stride_out,
                           .seqs = p->seqs,
                           .n_seqs = p->n_seqs,
                           .workspace = bytes ? test_take(t, bytes) : NULL,
                           .workspace_bytes = bytes,
                           .type = p->type};
    TEST_OK(t->ops->attention(t->b, &op));
}

/* q, k and v: of the stream; k and v: from the head's first column on. */
static inline void reference(const problem *p, const layout *l, const float *q, const float *k, const float *v,
                             const zo2_seq *s, uint32_t i, double *out, double *tolerance)
{
    uint64_t d = p->head_dim, keys = (uint64_t)s->n_prefix + i + 1;
    double *score = malloc(keys * sizeof *score), max = -INFINITY, sum = 0, worst = 0;
    const float *qi = q + (s->first + i) * l->ld;
    for (uint64_t j = 0; j < keys; j++) {
        uint64_t row = j < s->n_prefix ? s->prefix + j : s->first + (j - s->n_prefix);
        double size = 0;
        score[j] = 0;
        for (uint64_t x = 0; x < d; x++) {
            double term = (double)qi[x] * (double)k[row * l->ld_kv + x];
            score[j] += term;
            size += fabs(term);
        }
        if (size > worst)
            worst = size;
        if (score[j] > max)
            max = score[j];
    }
    for (uint64_t j = 0; j < keys; j++)
        sum += exp(score[j] - max);
    for (uint64_t x = 0; x < d; x++) {
        double size = 0;
        out[x] = 0;
        for (uint64_t j = 0; j < keys; j++) {
            uint64_t row = j < s->n_prefix ? s->prefix + j : s->first + (j - s->n_prefix);
            double term = exp(score[j] - max) / sum * (double)v[row * l->ld_kv + x];
            out[x] += term;
            size += fabs(term);
        }
        tolerance[x] = 2 * size * TEST_ULP * (2 * (double)(d + 2) * worst + 2 * (double)keys + 8);
        /* A GPU multiplies probabilities in the compute type: each rounded once. */
        if (TEST_BACKEND != ZO2_BACKEND_CPU && p->type != ZO2_F32)
            tolerance[x] += test_rounding(p->type, size);
    }
    free(score);
}

/* Whether a query of stream 0 sees the poisoned token. */
static inline int is_poisoned(const problem *p, const zo2_seq *q, uint32_t query)
{
    return (p->poisoned >= q->prefix && p->poisoned - q->prefix < q->n_prefix) ||
           (p->poisoned >= q->first && p->poisoned <= q->first + query);
}

static inline void verify_query(const problem *p, const layout *l, const float *qkv, uint64_t stream, const float *out,
                                const zo2_seq *q, uint32_t query)
{
    double want[MAX_HEAD_DIM], tolerance[MAX_HEAD_DIM];
    int poisonable = stream == 0;
    for (uint32_t h = 0; h < p->heads; h++) {
        const float *got = out + (q->first + query) * l->ld_out + h * p->head_dim;
        if (poisonable && is_poisoned(p, q, query)) {
            for (uint32_t x = 0; x < p->head_dim; x++)
                assert_true(isnan(got[x]));
            continue;
        }
        if (poisonable && p->poisoned >= q->first && p->poisoned < q->first + q->n)
            continue; /* in the same block as a spoilt key: unspecified */
        uint64_t kv = stream * l->stride_kv + h * l->n_kv / l->n * p->head_dim; /* n / n_kv heads share theirs */
        reference(p, l, qkv + stream * l->stride + h * p->head_dim, qkv + l->k + kv, qkv + l->v + kv, q, query, want,
                  tolerance);
        for (uint32_t x = 0; x < p->head_dim; x++)
            TEST_NEAR((double)got[x], want[x], tolerance[x] + test_rounding(p->type, want[x]), p->name, x);
        test_is_rounded(p->type, got, p->head_dim);
    }
    assert_true(test_is_poison(out + (q->first + query) * l->ld_out + l->n));
}

static inline void verify(const problem *p, const layout *l, const float *qkv, const float *out)
{
    for (uint32_t s = 0; s < STREAMS; s++)
        for (uint32_t i = 0; i < p->n_seqs; i++)
            for (uint32_t r = 0; r < p->seqs[i].n; r++)
                verify_query(p, l, qkv, s, out + s * l->stride_out, &p->seqs[i], r);
}

static inline uint64_t bytes_of(const layout *l)
{
    return (l->all + STREAMS * l->stride_out) * sizeof(float) + 512;
}

/* Values in the first order of threads, the same bits in others. A device runs all problems: opening one is what takes long. */
static inline void check(const problem *p, unsigned n)
{
    float *first[MAX_PROBLEMS] = {NULL};
    uint64_t room = (uint64_t)1 << 20; /* for the workspaces */
    assert_true(n <= MAX_PROBLEMS);
    for (unsigned i = 0; i < n; i++) {
        layout l = layout_of(&p[i]);
        room += bytes_of(&l) +
                zo2_backend_get(TEST_BACKEND)->attention_workspace(p[i].heads, p[i].head_dim, most_keys(&p[i]), 8);
    }
    for (unsigned th = 0; th < TEST_THREAD_COUNTS; th++) {
        test_device t;
        test_open(&t, TEST_BACKEND, room, test_thread_counts[th]);
        for (unsigned i = 0; i < n; i++) {
            const layout l = layout_of(&p[i]);
            uint64_t bytes = STREAMS * l.stride_out * sizeof(float);
            float *qkv = test_floats(&t, l.all), *out = test_floats(&t, STREAMS * l.stride_out);
            test_fill(qkv, l.all, 1, 1.5f, p[i].type);
            for (uint64_t x = 0; x < l.n_kv && p[i].poisoned != NOWHERE; x++)
                qkv[l.k + p[i].poisoned * l.ld_kv + x] = NAN;
            attend(&t, &p[i], &l, qkv, out);
            if (th) {
                assert_memory_equal(first[i], out, bytes);
                continue;
            }
            verify(&p[i], &l, qkv, out);
            first[i] = malloc(bytes);
            assert_non_null(first[i]);
            memcpy(first[i], out, bytes);
        }
        test_close(&t);
    }
    for (unsigned i = 0; i < n; i++)
        free(first[i]);
}

#endif
