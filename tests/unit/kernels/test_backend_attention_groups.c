/* test_backend_attention_groups.c: attention whose keys and values have fewer heads than its queries. */
#include "tests/unit/kernels/attention_problem.h"

/* Heads that share keys and values, all of them or some, beside the queries and in a matrix of their own, on tensor cores and without;
 * as many as there are heads, said and unsaid. */
static void test_groups(void **state)
{
    (void)state;
    static const zo2_seq seqs[] = {{0, 40, 0, 0}, {40, 21, 0, 33}, {61, 3, 0, 33}};
    static const struct {
        uint32_t heads, kv_heads, head_dim;
        int apart, wide;
        zo2_dtype type;
    } shapes[] = {
        {4, 1, 7, 1, 0, ZO2_F32},  {6, 2, 8, 0, 1, ZO2_F32},   {4, 4, 16, 1, 1, ZO2_F32},  {3, 0, 16, 1, 1, ZO2_F16},
        {4, 2, 16, 1, 1, ZO2_F16}, {6, 2, 64, 0, 1, ZO2_F16},  {8, 1, 24, 1, 1, ZO2_BF16}, {4, 2, 128, 1, 1, ZO2_BF16},
        {5, 1, 9, 1, 0, ZO2_F16},  {2, 1, 192, 1, 1, ZO2_F16}, {9, 3, 10, 0, 0, ZO2_BF16},
    };
    enum { N = sizeof shapes / sizeof shapes[0], POISONED = 5 }; /* the first ones once more, with a bad key */
    problem p[N + POISONED];
    for (unsigned i = 0; i < N + POISONED; i++)
        p[i] = (problem){.name = "groups",
                         .type = test_product_type(TEST_BACKEND, shapes[i % N].type),
                         .poisoned = i < N ? NOWHERE : 50,
                         .heads = shapes[i % N].heads,
                         .kv_heads = shapes[i % N].kv_heads,
                         .head_dim = shapes[i % N].head_dim,
                         .n_seqs = 3,
                         .m = 64,
                         .seqs = seqs,
                         .wide = shapes[i % N].wide,
                         .apart = shapes[i % N].apart};
    check(p, N + POISONED);
}

/* Heads that share keys and values have the bits of heads with copies of them. */
static void test_shared_or_copied(void **state)
{
    (void)state;
    enum { TOKENS = 70, HEADS = 6, KV = 2 };
    static const zo2_seq seqs[] = {{0, 41, 0, 0}, {41, TOKENS - 41, 0, 41}};
    for (int kind = 0; kind < 4; kind++) {
        problem shared = {.name = "shared or copied",
                          .type = kind % 2 ? ZO2_F16 : ZO2_F32,
                          .poisoned = NOWHERE,
                          .heads = HEADS,
                          .kv_heads = KV,
                          .head_dim = 16,
                          .n_seqs = 2,
                          .m = TOKENS,
                          .seqs = seqs,
                          .wide = kind / 2,
                          .apart = 1};
        problem copied = shared;
        copied.kv_heads = 0;
        const layout l = layout_of(&shared), lc = layout_of(&copied);
        const uint64_t d = shared.head_dim;
        test_device t;
        test_open(&t, TEST_BACKEND, 4 << 20, 1);
        float *qkv = test_floats(&t, l.all), *out = test_floats(&t, STREAMS * l.stride_out),
              *copies = test_floats(&t, lc.all), *other = test_floats(&t, STREAMS * l.stride_out);
        test_fill(qkv, l.all, 1, 1.5f, shared.type);
        for (uint64_t i = 0; i < STREAMS * TOKENS * HEADS; i++) {
            uint64_t s = i / HEADS / TOKENS, token = i / HEADS % TOKENS, head = i % HEADS, from = head / (HEADS / KV);
            uint64_t q = s * l.stride + token * l.ld + head * d;
            uint64_t kv = s * l.stride_kv + token * l.ld_kv + from * d,
                     copy = s * lc.stride_kv + token * lc.ld_kv + head * d;
            memcpy(copies + q, qkv + q, d * sizeof *copies);
            memcpy(copies + lc.k + copy, qkv + l.k + kv, d * sizeof *copies);
            memcpy(copies + lc.v + copy, qkv + l.v + kv, d * sizeof *copies);
        }
        attend(&t, &shared, &l, qkv, out);
        attend(&t, &copied, &lc, copies, other);
        assert_memory_equal(out, other, STREAMS * l.stride_out * sizeof *out);
        test_close(&t);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    test_device t;
    test_open(&t, TEST_BACKEND, 1 << 20, 1);
    zo2_seq s = {.first = 0, .n = 4};
    float *x = test_floats(&t, 128);
    uint64_t bytes = t.ops->attention_workspace(4, 2, 4, 1);
    const zo2_attention_op good = {.streams = 1,
                                   .m = 4,
                                   .heads = 4,
                                   .head_dim = 2,
                                   .kv_heads = 2,
                                   .q = x,
                                   .k = x + 32,
                                   .v = x + 64,
                                   .ld = 8,
                                   .out = x + 96,
                                   .ld_out = 8,
                                   .seqs = &s,
                                   .n_seqs = 1,
                                   .workspace = test_take(&t, bytes),
                                   .workspace_bytes = bytes,
                                   .type = ZO2_F32};
    memset(x, 0, 128 * sizeof *x);
    TEST_OK(t.ops->attention(t.b, &good));
    zo2_attention_op bad = good;
    bad.kv_heads = 3;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "4 heads on 3 of keys and values");
    bad.kv_heads = 8;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "4 heads on 8 of keys and values");
    bad.kv_heads = 2;
    bad.ld_kv = 3;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "row stride 3 for keys and values in rows of 4");
    bad.ld_kv = 4;
    bad.out = x + 80; /* behind the 16 values, which would reach into it as the operation was */
    TEST_OK(t.ops->attention(t.b, &bad));
    bad.ld_kv = 8;
    TEST_REFUSED(t.ops->attention(t.b, &bad), ZO2_ERR_DEVICE, "out overlaps v");
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_shared_or_copied),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
