/* The noise as a function of its arguments: golden values, independence of cuts and instruction sets, bit order, keys.
 */
#include "tests/unit/codec/codec_test.h"

#include "codec/noise_inline.h"

enum { GAUSSIAN_BLOCK = 256, RADEMACHER_BLOCK = 2048 }; /* noise_loops.inc; only where to look for trouble */

/* Noise version 1. These change only together with ZO2_NOISE_VERSION, which makes every existing run unreadable. */
static void golden(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, step, key;
        uint32_t query, tensor_id;
        uint64_t first;
        float z[8];
    } gaussian[] = {
        {0x0,
         0x0,
         0x48218226ff3cd4bf,
         0,
         0,
         0x0,
         {0x1.bacdecp-4f, 0x1.280ee8p-1f, 0x1.40379ap-2f, -0x1.918dccp+0f, -0x1.26cb18p+0f, 0x1.0a26a6p-1f,
          -0x1.404bc8p+0f, 0x1.c40cbep-3f}},
        {0x0,
         0x1,
         0x9e0160293a33aaf7,
         0,
         0,
         0x0,
         {-0x1.597854p+0f, 0x1.6477acp-2f, 0x1.38641ep+0f, 0x1.5647a4p-5f, -0x1.bf864cp+0f, 0x1.019bf4p-2f,
          0x1.1ce4bap-6f, 0x1.707a76p-1f}},
        {0x1,
         0x0,
         0xdce423fc82c0d5b8,
         0,
         0,
         0x0,
         {-0x1.720d6cp-2f, 0x1.585448p+0f, -0x1.3808f8p+0f, -0x1.4a34e2p+0f, 0x1.da10f2p+0f, -0x1.160f58p+1f,
          -0x1.7d7cdap-4f, 0x1.229dcep+0f}},
        {0x0,
         0x0,
         0x48218226ff3cd4bf,
         1,
         0,
         0x0,
         {-0x1.8445b4p+0f, -0x1.e37e38p-1f, 0x1.2398acp-1f, 0x1.38a6fcp-1f, 0x1.e7177p-1f, 0x1.109dfap-1f,
          0x1.2a19c4p+0f, 0x1.89e2fp-4f}},
        {0x0,
         0x0,
         0x48218226ff3cd4bf,
         0,
         1,
         0x0,
         {0x1.48febep+0f, 0x1.f4caf8p-1f, 0x1.8fd82p+0f, 0x1.012c68p-4f, -0x1.c08f72p-1f, 0x1.995d24p-5f,
          0x1.870cdcp+0f, 0x1.3a86a6p+0f}},
        {0x2a,
         0x4e1f,
         0xaef818ab450ff1aa,
         3,
         17,
         0xfffffffe,
         {-0x1.053fb2p+0f, -0x1.2d0d3ap+1f, -0x1.8191ep-1f, 0x1.3923b4p+0f, 0x1.4f3e76p-1f, 0x1.f6f3a8p+0f,
          -0x1.b873b8p-3f, 0x1.e92932p+0f}},
        {0xffffffffffffffff,
         0xffffffffffffffff,
         0x4650bc0eb3312e23,
         15,
         4000000000,
         0xfffffffffd,
         {0x1.729ab2p+0f, 0x1.1dfcdcp+0f, -0x1.a99caap+0f, -0x1.d160eap-3f, 0x1.2298cep-2f, -0x1.ea873ep-2f,
          0x1.afb2eap-3f, -0x1.27499p+1f}},
    };
    static const struct {
        uint64_t seed, step;
        uint32_t query, tensor_id;
        uint64_t first;
        uint32_t minus[4]; /* bit i of word j: z of first + 32 j + i is -1 */
    } rademacher[] = {
        {0x0, 0x0, 0, 0, 0x0, {0xd7537fc8, 0x4787ca68, 0x473ddb06, 0xc80480ec}},
        {0x0, 0x0, 0, 1, 0x0, {0x457ade75, 0x1a81a0de, 0x4b72e1ce, 0x01a310b3}},
        {0x2a, 0x4e1f, 3, 17, 0xffffff80, {0xf6a864e9, 0xd6126fba, 0x0f26912e, 0x8b259bad}},
        {0xffffffffffffffff,
         0xffffffffffffffff,
         15,
         4000000000,
         0xffffffff80,
         {0x14dc4c9f, 0x2fca0d6d, 0x82795964, 0x5a8c7a4d}},
    };
    assert_int_equal(ZO2_NOISE_VERSION, 1);
    FOR_EACH_ISA(isa)
    {
        for (size_t i = 0; i < sizeof gaussian / sizeof gaussian[0]; i++) {
            float z[8];
            assert_true(zo2_noise_key(gaussian[i].seed, gaussian[i].step) == gaussian[i].key);
            assert_int_equal(zo2_noise_fill(z, gaussian[i].seed, gaussian[i].step, gaussian[i].query,
                                            gaussian[i].tensor_id, gaussian[i].first, 8, ZO2_GAUSSIAN),
                             ZO2_OK);
            assert_same_floats(z, gaussian[i].z, 8, "golden");
        }
        for (size_t i = 0; i < sizeof rademacher / sizeof rademacher[0]; i++) {
            float z[128];
            assert_int_equal(zo2_noise_fill(z, rademacher[i].seed, rademacher[i].step, rademacher[i].query,
                                            rademacher[i].tensor_id, rademacher[i].first, 128, ZO2_RADEMACHER),
                             ZO2_OK);
            for (int k = 0; k < 128; k++)
                assert_true(z[k] == (rademacher[i].minus[k / 32] >> k % 32 & 1 ? -1.0f : 1.0f));
        }
    }
}

/* noise_at() is the definition: compare a range with it element by element, and see that nothing else was written. */
static void check_range(uint64_t key, uint32_t query, uint32_t tensor_id, uint64_t first, uint64_t n, zo2_dist dist)
{
    enum { GUARD = 16 };
    static float out[3 * RADEMACHER_BLOCK + 2 * GUARD], want[3 * RADEMACHER_BLOCK];
    memset(out, POISON, sizeof out);
    zo2_noise_values(out + GUARD, key, query, tensor_id, first, n, dist);
    for (uint64_t i = 0; i < n; i++)
        want[i] = zo2_noise_at(key, query, tensor_id, first + i, dist);
    assert_same_floats(out + GUARD, want, n, "range");
    assert_poison(out, GUARD * sizeof *out);
    assert_poison(out + GUARD + n, sizeof out - (GUARD + n) * sizeof *out);
}

static void any_range(void **state)
{
    (void)state;
    static const uint64_t bases[] = {0, 1ull << 32, (1ull << 34), 1ull << 39, (1ull << 62) + (1ull << 41)};
    static const int offsets[] = {-257, -5, -3, -2, -1, 0, 1, 2, 3, 4, 7, 63, 255, 256, 257};
    static const int sizes[] = {0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 511, 512, 513, 777};
    FOR_EACH_ISA(isa)
    {
        for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++) {
            for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
                if (bases[b] == 0 && offsets[o] < 0)
                    continue;
                for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                    uint64_t first = bases[b] + (uint64_t)(int64_t)offsets[o];
                    check_range(0x123456789ABCDEF0u, 3, 77, first, (uint64_t)sizes[s], ZO2_GAUSSIAN);
                    if (s % 3 == o % 3)
                        check_range(0x123456789ABCDEF0u, 3, 77, first * 8 - (uint64_t)sizes[s] / 2 * (bases[b] != 0),
                                    (uint64_t)sizes[s] * 5 + s, ZO2_RADEMACHER);
                }
            }
        }
        check_range(1, 0xFFFFFFFF, 0xFFFFFFFF, UINT64_MAX - 300, 301, ZO2_GAUSSIAN); /* the last element there is */
        check_range(1, 0xFFFFFFFF, 0xFFFFFFFF, UINT64_MAX - 3000, 3001, ZO2_RADEMACHER);
    }
}

/* Long runs, bit for bit between instruction sets. */
static void same_on_every_isa(void **state)
{
    (void)state;
    enum { N = 1 << 17 };
    float *want = test_alloc(N * sizeof *want), *got = test_alloc(N * sizeof *got);
    for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
        int first = 1;
        FOR_EACH_ISA(isa)
        {
            memset(got, POISON, N * sizeof *got);
            zo2_noise_values(got, zo2_noise_key(5, 6), 7, 8, 1234567, N, dist);
            if (first)
                memcpy(want, got, N * sizeof *got);
            first = 0;
            assert_same_floats(got, want, N, isa);
        }
    }
    free(want);
    free(got);
}

static void rademacher_bits(void **state)
{
    (void)state;
    enum { N = 1024 };
    float z[N];
    FOR_EACH_ISA(isa)
    {
        zo2_noise_values(z, 42, 1, 2, 0, N, ZO2_RADEMACHER);
        for (uint64_t i = 0; i < N; i++) {
            uint32_t w[4];
            zo2_philox((uint32_t)(i / 128), 0, 2, 1, 42, 0, w);
            assert_true(z[i] == ((w[i / 32 % 4] >> (i % 32)) & 1 ? -1.0f : 1.0f));
        }
    }
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The mix undone: constants are the inverses of its multipliers modulo 2^64. */
static uint64_t unmix64(uint64_t x)
{
    x = (x ^ (x >> 31) ^ (x >> 62)) * 0x319642B2D24D8EC3u;
    x = (x ^ (x >> 27) ^ (x >> 54)) * 0x96DE1B173F119089u;
    return x ^ (x >> 30) ^ (x >> 60);
}

static void key_is_bijective(void **state)
{
    (void)state;
    uint64_t rng = 3;
    for (int i = 0; i < 100000; i++) { /* an inverse is the proof of a bijection; and the key is made of two of them */
        uint64_t x = test_random(&rng), seed = test_random(&rng) >> (i % 64), step = test_random(&rng) >> (i % 61);
        assert_true(unmix64(zo2_mix64(x)) == x);
        uint64_t inner = unmix64(zo2_noise_key(seed, step)) ^ step;
        assert_true(unmix64(inner) - 0x9E3779B97F4A7C15u == seed);
    }
    enum { SEEDS = 256, STEPS = 1024 }; /* small seeds and steps share no key */
    uint64_t *keys = test_alloc(SEEDS * STEPS * sizeof *keys);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (uint64_t step = 0; step < STEPS; step++)
            keys[seed * STEPS + step] = zo2_noise_key(seed, step);
    }
    qsort(keys, SEEDS * STEPS, sizeof *keys, compare_u64);
    for (size_t i = 1; i < SEEDS * STEPS; i++)
        assert_true(keys[i] != keys[i - 1]);
    free(keys);
}

static void fill_checks_arguments(void **state)
{
    (void)state;
    float z[4] = {9, 9, 9, 9};
    assert_int_equal(zo2_noise_fill(z, 0, 0, 0, 0, 0, 4, (zo2_dist)0), ZO2_ERR_ARG);
    assert_int_equal(zo2_noise_fill(z, 0, 0, 0, 0, 0, 4, (zo2_dist)3), ZO2_ERR_ARG);
    assert_int_equal(zo2_noise_fill(NULL, 0, 0, 0, 0, 0, 4, ZO2_GAUSSIAN), ZO2_ERR_ARG);
    assert_true(z[0] == 9 && z[3] == 9);
    assert_int_equal(zo2_noise_fill(NULL, 0, 0, 0, 0, 0, 0, ZO2_GAUSSIAN), ZO2_OK);
    assert_int_equal(zo2_noise_fill(z, 0, 0, 0, 0, 0, 3, ZO2_GAUSSIAN), ZO2_OK);
    assert_true(z[0] != 9 && z[1] != 9 && z[2] != 9 && z[3] == 9);
}

static void isa_selection(void **state)
{
    (void)state;
    assert_int_equal(zo2_simd_select("scalar"), 1);
    assert_string_equal(zo2_simd_current(), "scalar");
    assert_int_equal(zo2_simd_select("sse9"), 0);
    assert_string_equal(zo2_simd_current(), "scalar");
    assert_int_equal(zo2_simd_select(NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),          cmocka_unit_test(any_range),        cmocka_unit_test(same_on_every_isa),
        cmocka_unit_test(rademacher_bits), cmocka_unit_test(key_is_bijective), cmocka_unit_test(fill_checks_arguments),
        cmocka_unit_test(isa_selection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
