/* test_backend_attention.c: attention of the cpu backend against softmax in double. Tolerance: a score errs by at most
 * (d + 1) 2^-24 of its sum of magnitudes, a probability relatively by twice that (it is in numerator and denominator)
 * and by the sums' roundings. */
#include "tests/unit/kernels/test_backend_util.h"

#define STREAMS      2
#define MAX_HEAD_DIM 136
#define MAX_PROBLEMS 28

#define NOWHERE UINT64_MAX

typedef struct problem {
    const char *name;
    zo2_dtype type;
    uint64_t poisoned; /* the token whose keys are NaN in stream 0, or NOWHERE */
    uint32_t heads, head_dim, n_seqs;
    uint64_t m;
    const zo2_seq *seqs;
    int wide; /* rows, streams and operands begin at multiples of 8 elements, as tensor cores need them */
} problem;

/* q, k, v side by side in one matrix, as strided operands; strides in elements. */
typedef struct layout {
    uint64_t n, ld, stride, ld_out, stride_out;
} layout;

static layout layout_of(const problem *p)
{
    layout l = {.n = (uint64_t)p->heads * p->head_dim};
    l.ld = 3 * l.n + (p->wide ? 8 : 1);
    l.stride = p->m * l.ld + (p->wide ? 16 : 9);
    l.ld_out = l.n + (p->wide ? 8 : 2);
    l.stride_out = p->m * l.ld_out;
    return l;
}

static uint64_t most_keys(const problem *p)
{
    uint64_t keys = 0;
    for (uint32_t i = 0; i < p->n_seqs; i++)
        if (p->seqs[i].n && (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix > keys)
            keys = (uint64_t)p->seqs[i].n + p->seqs[i].n_prefix;
    return keys;
}

static void attend(test_device *t, const problem *p, const layout *l, const float *qkv, float *out)
{
    uint64_t bytes = t->ops->attention_workspace(p->heads, p->head_dim, most_keys(p), t->b->threads);
    zo2_attention_op op = {.streams = STREAMS,
                           .m = p->m,
                           .heads = p->heads,
                           .head_dim = p->head_dim,
                           .q = qkv,
                           .k = qkv + l->n,
                           .v = qkv + 2 * l->n,
                           .ld = l->ld,
                           .stride = l->stride,
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

static void reference(const problem *p, const float *q, const float *k, const float *v, uint64_t ld, const zo2_seq *s,
                      uint32_t i, uint32_t head, double *out, double *tolerance)
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
        if (TEST_BACKEND != ZO2_BACKEND_CPU && p->type != ZO2_F32)
            tolerance[x] += test_rounding(p->type, size);
    }
    free(score);
}

/* Whether a query of stream 0 sees the poisoned token. */
static int is_poisoned(const problem *p, const zo2_seq *q, uint32_t query)
{
    return (p->poisoned >= q->prefix && p->poisoned - q->prefix < q->n_prefix) ||
           (p->poisoned >= q->first && p->poisoned <= q->first + query);
}

static void verify_query(const problem *p, const layout *l, const float *qkv, const float *out, const zo2_seq *q,
                         uint32_t query, int poisonable)
{
    double want[MAX_HEAD_DIM], tolerance[MAX_HEAD_DIM];
    for (uint32_t h = 0; h < p->heads; h++) {
        const float *got = out + (q->first + query) * l->ld_out + h * p->head_dim;
        if (poisonable && is_poisoned(p, q, query)) {
            for (uint32_t x = 0; x < p->head_dim; x++)
                assert_true(isnan(got[x]));
            continue;
        }
        if (poisonable && p->poisoned >= q->first && p->poisoned < q->first + q->n)
            continue; /* in the same block as a spoilt key: unspecified */
        reference(p, qkv, qkv + l->n, qkv + 2 * l->n, l->ld, q, query, h, want, tolerance);
        for (uint32_t x = 0; x < p->head_dim; x++)
            TEST_NEAR((double)got[x], want[x], tolerance[x] + test_rounding(p->type, want[x]), p->name, x);
        test_is_rounded(p->type, got, p->head_dim);
    }
    assert_true(test_is_poison(out + (q->first + query) * l->ld_out + l->n));
}

static void verify(const problem *p, const layout *l, const float *qkv, const float *out)
{
    for (uint32_t s = 0; s < STREAMS; s++)
        for (uint32_t i = 0; i < p->n_seqs; i++)
            for (uint32_t r = 0; r < p->seqs[i].n; r++)
                verify_query(p, l, qkv + s * l->stride, out + s * l->stride_out, &p->seqs[i], r, s == 0);
}

static uint64_t bytes_of(const layout *l)
{
    return (STREAMS * (l->stride + l->stride_out)) * sizeof(float) + 512;
}

/* Values in the first order of threads, the same bits in others. A device runs all problems: opening one is what takes long. */
static void check(const problem *p, unsigned n)
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
            float *qkv = test_floats(&t, STREAMS * l.stride), *out = test_floats(&t, STREAMS * l.stride_out);
            test_fill(qkv, STREAMS * l.stride, 1, 1.5f, p[i].type);
            for (uint64_t x = 0; x < l.n && p[i].poisoned != NOWHERE; x++)
                qkv[p[i].poisoned * l.ld + l.n + x] = NAN;
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

static void test_single(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 2, 15, 16, 63, 64, 65, 129, 200};
    enum { N = sizeof lengths / sizeof lengths[0] };
    const zo2_dtype types[] = {ZO2_F32, ZO2_F16, test_product_type(TEST_BACKEND, ZO2_BF16)};
    zo2_seq s[N];
    problem p[N];
    for (unsigned i = 0; i < N; i++) {
        s[i] = (zo2_seq){.n = lengths[i]};
        p[i] = (problem){.name = "single",
                         .type = types[i % 3],
                         .poisoned = NOWHERE,
                         .heads = 3,
                         .head_dim = i % 2 ? 8 : 7,
                         .n_seqs = 1,
                         .m = lengths[i],
                         .seqs = &s[i]};
    }
    check(p, N);
}

static void test_prefixes(void **state)
{
    (void)state;
    /* One prefix for two long sequences, one of them elsewhere; and an empty sequence. */
    static const zo2_seq shared[] = {{0, 70, 0, 0}, {70, 66, 0, 70}, {136, 3, 0, 70}, {139, 0, 0, 5}, {139, 1, 20, 33}};
    static const struct {
        zo2_dtype type;
        uint64_t poisoned;
        int wide;
    } kinds[] = {{ZO2_F32, NOWHERE, 0}, {ZO2_F32, 100, 0}, {ZO2_F32, 40, 1}, {ZO2_F16, NOWHERE, 0},
                 {ZO2_F16, NOWHERE, 1}, {ZO2_F16, 100, 1}, {ZO2_F16, 40, 1}};
    enum { N = sizeof kinds / sizeof kinds[0] };
    problem p[N];
    for (unsigned i = 0; i < N; i++)
        p[i] = (problem){.name = "shared",
                         .type = kinds[i].type,
                         .poisoned = kinds[i].poisoned,
                         .heads = 2,
                         .head_dim = 16,
                         .n_seqs = 5,
                         .m = 140,
                         .seqs = shared,
                         .wide = kinds[i].wide};
    check(p, N);
}

/* Edges of the tiles of tensor cores (16 and 64 queries, 32 keys), OPT's head sizes and others, in both 16-bit types. */
static void test_tiles(void **state)
{
    (void)state;
    static const struct {
        uint32_t head_dim, heads, prefix, n;
    } shapes[] = {
        {64, 2, 0, 1},   {64, 1, 0, 16},   {64, 1, 0, 65},  {80, 2, 0, 17}, {80, 1, 7, 33},
        {128, 1, 0, 64}, {128, 2, 15, 18}, {128, 1, 0, 97}, {8, 3, 0, 32},  {24, 1, 31, 2},
        {72, 1, 64, 1},  {96, 1, 33, 31},  {120, 1, 1, 63}, {136, 1, 2, 5},
    };
    enum { N = sizeof shapes / sizeof shapes[0] };
    zo2_dtype bf16 = test_product_type(TEST_BACKEND, ZO2_BF16);
    zo2_seq s[N];
    problem p[2 * N];
    for (unsigned i = 0; i < N; i++) {
        s[i] = (zo2_seq){.first = shapes[i].prefix, .n = shapes[i].n, .n_prefix = shapes[i].prefix};
        p[2 * i] = (problem){.name = "tiles",
                             .type = ZO2_F16,
                             .poisoned = NOWHERE,
                             .heads = shapes[i].heads,
                             .head_dim = shapes[i].head_dim,
                             .n_seqs = 1,
                             .m = shapes[i].prefix + shapes[i].n,
                             .seqs = &s[i],
                             .wide = 1};
        p[2 * i + 1] = p[2 * i];
        p[2 * i + 1].type = bf16;
    }
    check(p, 2 * N);
}

/* Streams with the same values get the same bits. On a GPU a query's bits depend on its keys alone, so it doesn't matter how much of
 * them is prefix. */
static void test_alike(void **state)
{
    (void)state;
    enum { TOKENS = 75, CUT = 41 };
    static const zo2_seq whole = {0, TOKENS, 0, 0}, parts[] = {{0, CUT, 0, 0}, {CUT, TOKENS - CUT, 0, CUT}};
    problem p = {.name = "alike",
                 .type = ZO2_F16,
                 .poisoned = NOWHERE,
                 .heads = 2,
                 .head_dim = 16,
                 .n_seqs = 1,
                 .m = TOKENS,
                 .seqs = &whole,
                 .wide = 1};
    problem cut = p;
    cut.n_seqs = 2;
    cut.seqs = parts;
    const layout l = layout_of(&p);
    test_device t;
    test_open(&t, TEST_BACKEND, 4 << 20, 1);
    float *qkv = test_floats(&t, STREAMS * l.stride), *out = test_floats(&t, STREAMS * l.stride_out),
          *other = test_floats(&t, STREAMS * l.stride_out);
    test_fill(qkv, l.stride, 1, 1.5f, ZO2_F16);
    memcpy(qkv + l.stride, qkv, l.stride * sizeof *qkv);
    attend(&t, &p, &l, qkv, out);
    assert_memory_equal(out, out + l.stride_out, l.stride_out * sizeof *out);
    attend(&t, &cut, &l, qkv, other);
    if (TEST_BACKEND == ZO2_BACKEND_CUDA)
        assert_memory_equal(out, other, STREAMS * l.stride_out * sizeof *out);
    test_close(&t);
}

static void test_many_short(void **state)
{
    (void)state;
    enum { SEQS = 140, PREFIX = 25 }; /* more than one launch takes */
    zo2_seq s[SEQS];
    uint32_t at = PREFIX;
    for (uint32_t i = 0; i < SEQS; i++) {
        s[i] = (zo2_seq){.first = at, .n = 1 + i % 3, .prefix = 0, .n_prefix = PREFIX};
        at += s[i].n;
    }
    problem p[3];
    for (unsigned i = 0; i < 3; i++)
        p[i] = (problem){.name = "short",
                         .type = test_types[i],
                         .poisoned = NOWHERE,
                         .heads = 2,
                         .head_dim = 8,
                         .n_seqs = SEQS,
                         .m = at,
                         .seqs = s,
                         .wide = i == 1};
    check(p, 3);
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
    if (good.workspace_bytes) {
        bad.workspace_bytes -= 4;
        TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "workspace");
    }
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
        cmocka_unit_test(test_single), cmocka_unit_test(test_prefixes),   cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_alike),  cmocka_unit_test(test_many_short), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
