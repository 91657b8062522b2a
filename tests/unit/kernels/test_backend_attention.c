/* test_backend_attention.c: attention whose queries, keys and values have as many heads: sequences, prefixes, tiles. */
#include "tests/unit/kernels/attention_problem.h"

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
        {72, 1, 64, 1},  {96, 1, 33, 31},  {120, 1, 1, 63}, {136, 1, 2, 5}, {256, 1, 1, 34},
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
