/* test_backend_attention.c: attention of the cpu backend against softmax in double. Tolerance: a score errs by at most
 * (d + 1) 2^-24 of its sum of magnitudes, a probability relatively by twice that (it is in numerator and denominator)
 * and by the sums' roundings. */
#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS 2

typedef struct problem {
    const char *name;
    uint32_t heads, head_dim, n_seqs;
    uint64_t m;
    const zo2_seq *seqs;
} problem;

static void reference(const problem *p, const float *q, const float *k, const float *v, uint64_t ld, const zo2_seq *s,
                      uint32_t i, uint32_t head, zo2_dtype type, double *out, double *tolerance)
{
    uint64_t d = p->head_dim, keys = (uint64_t)s->n_prefix + i + 1;
    double *score = malloc(keys * sizeof *score), max = -INFINITY, sum = 0, worst = 0;
    const float *qi = q + (s->first + i) * ld + head * d;
    for (uint64_t j = 0; j < keys; j++) {
        uint64_t row = j < s->n_prefix ? s->prefix + j : s->first + (j - s->n_prefix);
        double size = 0;
        score[j] = 0;
        for (uint64_t x = 0; x < d; x++) {
            double term = (double)qi[x] * (double)k[row * ld + head * d + x];
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
            double term = exp(score[j] - max) / sum * (double)v[row * ld + head * d + x];
            out[x] += term;
            size += fabs(term);
        }
        tolerance[x] = 2 * size * TEST_ULP * (2 * (double)(d + 2) * worst + 2 * (double)keys + 8);
        /* A GPU multiplies probabilities in the compute type: each rounded once. */
        if (TEST_BACKEND != ZO2_BACKEND_CPU && type != ZO2_F32)
            tolerance[x] += test_rounding(type, size);
    }
    free(score);
}

/* q, k, v side by side in one matrix, as strided operands. */
static void check(const problem *p, zo2_dtype type, uint64_t poisoned_token)
{
    uint64_t n = (uint64_t)p->heads * p->head_dim, ld = 3 * n + 1, stride = p->m * ld + 9, ld_out = n + 2,
             stride_out = p->m * ld_out;
    float *first = NULL;
    double *want = malloc(p->head_dim * sizeof *want), *tolerance = malloc(p->head_dim * sizeof *tolerance);
    for (unsigned th = 0; th < TEST_THREAD_COUNTS; th++) {
        test_device t;
        test_open(&t, TEST_BACKEND, 4 << 20, test_thread_counts[th]);
        float *qkv = test_floats(&t, STREAMS * stride), *out = test_floats(&t, STREAMS * stride_out);
        test_fill(qkv, STREAMS * stride, 1, 1.5f, type);
        if (poisoned_token < p->m)
            for (uint64_t x = 0; x < n; x++)
                qkv[poisoned_token * ld + n + x] = NAN; /* keys in stream 0 */
        uint64_t keys = 0;
        for (uint32_t i = 0; i < p->n_seqs; i++)
            if (p->seqs[i].n && (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix > keys)
                keys = (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix;
        uint64_t bytes = t.ops->attention_workspace(p->heads, p->head_dim, keys, test_thread_counts[th]);
        zo2_attention_op op = {.streams = STREAMS,
                               .m = p->m,
                               .heads = p->heads,
                               .head_dim = p->head_dim,
                               .q = qkv,
                               .k = qkv + n,
                               .v = qkv + 2 * n,
                               .ld = ld,
                               .stride = stride,
                               .out = out,
                               .ld_out = ld_out,
                               .stride_out = stride_out,
                               .seqs = p->seqs,
                               .n_seqs = p->n_seqs,
                               .workspace = test_take(&t, bytes),
                               .workspace_bytes = bytes,
                               .type = type};
        TEST_OK(t.ops->attention(t.b, &op));
        for (uint32_t s = 0; s < STREAMS && !first; s++)
            for (uint32_t i = 0; i < p->n_seqs; i++)
                for (uint32_t r = 0; r < p->seqs[i].n; r++)
                    for (uint32_t h = 0; h < p->heads; h++) {
                        const zo2_seq *q = &p->seqs[i];
                        const float *base = qkv + s * stride;
                        float *got = out + s * stride_out + (q->first + r) * ld_out + h * p->head_dim;
                        int sees =
                            s == 0 && ((poisoned_token >= q->prefix && poisoned_token - q->prefix < q->n_prefix) ||
                                       (poisoned_token >= q->first && poisoned_token <= q->first + r));
                        if (sees) {
                            for (uint32_t x = 0; x < p->head_dim; x++)
                                assert_true(isnan(got[x]));
                            continue;
                        }
                        if (s == 0 && poisoned_token >= q->first && poisoned_token < q->first + q->n)
                            continue; /* in the same block as a spoilt key: unspecified */
                        reference(p, base, base + n, base + 2 * n, ld, q, r, h, type, want, tolerance);
                        for (uint32_t x = 0; x < p->head_dim; x++)
                            TEST_NEAR((double)got[x], want[x], tolerance[x] + test_rounding(type, want[x]), p->name, x);
                        test_is_rounded(type, got, p->head_dim);
                        assert_true(test_is_poison(out + s * stride_out + (q->first + r) * ld_out + n));
                    }
        float *copy = malloc(STREAMS * stride_out * sizeof *copy);
        memcpy(copy, out, STREAMS * stride_out * sizeof *copy);
        if (first) {
            assert_memory_equal(first, copy, STREAMS * stride_out * sizeof *copy);
            free(copy);
        } else {
            first = copy;
        }
        test_close(&t);
    }
    free(first);
    free(want);
    free(tolerance);
}

static void test_single(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 2, 15, 16, 63, 64, 65, 129, 200};
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        zo2_seq s = {.first = 0, .n = lengths[i]};
        problem p = {.name = "single", .heads = 3, .head_dim = i % 2 ? 8 : 7, .n_seqs = 1, .m = lengths[i], .seqs = &s};
        check(&p, test_product_type(TEST_BACKEND, test_types[i % 3]), UINT64_MAX);
    }
}

static void test_prefixes(void **state)
{
    (void)state;
    /* One prefix for two long sequences, one of them elsewhere; and an empty sequence. */
    static const zo2_seq shared[] = {{0, 70, 0, 0}, {70, 66, 0, 70}, {136, 3, 0, 70}, {139, 0, 0, 5}, {139, 1, 20, 33}};
    problem p = {.name = "shared", .heads = 2, .head_dim = 16, .n_seqs = 5, .m = 140, .seqs = shared};
    check(&p, ZO2_F32, UINT64_MAX);
    check(&p, ZO2_F16, UINT64_MAX);
    check(&p, ZO2_F32, 100); /* a NaN key */
    check(&p, ZO2_F32, 40);
}

static void test_many_short(void **state)
{
    (void)state;
    enum { SEQS = 120, PREFIX = 25 };
    zo2_seq s[SEQS];
    uint32_t at = PREFIX;
    for (uint32_t i = 0; i < SEQS; i++) {
        s[i] = (zo2_seq){.first = at, .n = 1 + i % 3, .prefix = 0, .n_prefix = PREFIX};
        at += s[i].n;
    }
    problem p = {.name = "short", .heads = 4, .head_dim = 8, .n_seqs = SEQS, .m = at, .seqs = s};
    check(&p, ZO2_F32, UINT64_MAX);
    check(&p, ZO2_BF16, UINT64_MAX);
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 2);
    zo2_seq s = {.first = 0, .n = 4};
    float *x = test_floats(&t, 4 * 4 * 8);
    zo2_attention_op good = {.streams = 1,
                             .m = 4,
                             .heads = 1,
                             .head_dim = 8,
                             .q = x,
                             .k = x + 32,
                             .v = x + 64,
                             .ld = 8,
                             .out = x + 96,
                             .ld_out = 8,
                             .seqs = &s,
                             .n_seqs = 1,
                             .workspace_bytes = t.ops->attention_workspace(1, 8, 4, 2),
                             .type = ZO2_F32};
    good.workspace = test_take(&t, good.workspace_bytes);
    memset(x, 0, 4 * 32 * sizeof *x);
    TEST_OK(t.ops->attention(t.b, &good));
    zo2_attention_op bad = good;
    bad.workspace_bytes -= 4;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "workspace");
    bad = good;
    bad.out = x + 32;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "out overlaps k");
    bad = good;
    bad.m = 3;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "sequence 0");
    bad = good;
    bad.ld = 7;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "stride");
    bad = good;
    bad.n_seqs = 0;
    bad.workspace = NULL;
    TEST_OK(t.ops->attention(t.b, &bad));
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_many_short),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
