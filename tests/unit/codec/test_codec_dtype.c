/* Checkpoint types: every 16-bit pattern both ways, ties and neighbours, against double arithmetic; names and sizes. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/bf16.h"
#include "codec/fp16.h"

/* A 16-bit binary format: fp16 (5, 10) or bf16 (8, 7). */
typedef struct format {
    zo2_dtype dtype;
    int exponent_bits, mantissa_bits;
} format;

static const format formats[] = {{ZO2_F16, 5, 10}, {ZO2_BF16, 8, 7}};

static double reference_value(format f, uint32_t code)
{
    int bias = (1 << (f.exponent_bits - 1)) - 1, m = (int)(code & ((1u << f.mantissa_bits) - 1));
    int e = (int)(code >> f.mantissa_bits) & ((1 << f.exponent_bits) - 1);
    double v;
    if (e == (1 << f.exponent_bits) - 1)
        v = m ? NAN : INFINITY;
    else if (e == 0)
        v = ldexp(m, 1 - bias - f.mantissa_bits);
    else
        v = ldexp(m + (1 << f.mantissa_bits), e - bias - f.mantissa_bits);
    return code & 0x8000 ? -v : v;
}

/* Nearest even on the grid of the value's binade, in double, where it is exact. */
static uint32_t reference_encode(format f, double x)
{
    int bias = (1 << (f.exponent_bits - 1)) - 1, e;
    uint32_t sign = signbit(x) ? 0x8000 : 0, inf = ((1u << f.exponent_bits) - 1) << f.mantissa_bits;
    x = fabs(x);
    if (isinf(x))
        return sign | inf;
    frexp(x, &e); /* x = 0.5...1 * 2^e */
    int grid = (x == 0 || e - 1 < 1 - bias ? 1 - bias : e - 1) - f.mantissa_bits;
    double steps = nearbyint(ldexp(x, -grid)); /* at most 2^(mantissa_bits + 1) */
    /* a carry into the next binade comes out right: codes are consecutive */
    uint32_t code = (uint32_t)steps + ((uint32_t)(grid + f.mantissa_bits - (1 - bias)) << f.mantissa_bits);
    return sign | (code > inf ? inf : code);
}

static void decodes_every_pattern(void **state)
{
    (void)state;
    uint16_t *codes = test_alloc(65536 * sizeof *codes);
    float *got = test_alloc(65536 * sizeof *got);
    for (uint32_t i = 0; i < 65536; i++)
        codes[i] = (uint16_t)i;
    FOR_EACH_ISA(isa)
    {
        for (int k = 0; k < 2; k++) {
            memset(got, POISON, 65536 * sizeof *got);
            zo2_source_decode(formats[k].dtype, codes, 65536, got);
            for (uint32_t i = 0; i < 65536; i++) {
                double want = reference_value(formats[k], i);
                if (isnan(want))
                    assert_true(isnan(got[i]) && test_bits(got[i]) >> 31 == i >> 15);
                else
                    assert_true((double)got[i] == want && test_bits(got[i]) >> 31 == i >> 15);
            }
            for (uint32_t i = 0; i < 65536; i++) /* one by one: the tail's code, same bits, NaN too */
                assert_int_equal(test_bits(got[i]),
                                 test_bits(k == 0 ? zo2_fp16_get((uint16_t)i) : zo2_bf16_get((uint16_t)i)));
        }
    }
    free(codes);
    free(got);
}

static void check_encode(format f, const float *x, uint64_t n)
{
    uint16_t *got = test_alloc((n + 4) * sizeof *got);
    float *rounded = test_alloc(n * sizeof *rounded);
    memcpy(rounded, x, n * sizeof *x);
    zo2_source_encode(f.dtype, x, n, got);
    zo2_round_to(f.dtype, rounded, n);
    assert_poison(got + n, 4 * sizeof *got);
    for (uint64_t i = 0; i < n; i++) {
        uint16_t one = f.dtype == ZO2_F16 ? zo2_fp16_encode(x[i]) : zo2_bf16_encode(x[i]);
        assert_int_equal(got[i], one);
        if (isnan(x[i])) {
            assert_true(isnan(reference_value(f, got[i])) && isnan(rounded[i]));
            assert_int_equal(got[i] >> 15, test_bits(x[i]) >> 31);
            continue;
        }
        assert_int_equal(got[i], reference_encode(f, (double)x[i]));
        assert_true((double)rounded[i] == reference_value(f, got[i]));
        assert_int_equal(test_bits(rounded[i]) >> 31, got[i] >> 15);
    }
    free(got);
    free(rounded);
}

/* Each value, each midpoint of neighbours and what lies beside them. */
static void encodes_every_pattern_and_tie(void **state)
{
    (void)state;
    enum { PER = 6 };
    float *x = test_alloc(65536 * PER * sizeof *x);
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < 65536; i++) {
            double here = reference_value(formats[k], i),
                   next = reference_value(formats[k], (i & 0x7FFF) == 0x7FFF ? i : i + 1);
            float tie = isnan(here) || isnan(next) ? 1.0f
                        : isinf(next)              ? (float)(here * (2 + 0x1p-7)) /* beyond the range */
                                                   : (float)((here + next) / 2);
            float *at = x + PER * i;
            at[0] = (float)here;
            at[1] = tie;
            at[2] = nextafterf(tie, INFINITY);
            at[3] = nextafterf(tie, -INFINITY);
            at[4] = nextafterf((float)here, INFINITY);
            at[5] = nextafterf((float)here, -INFINITY);
        }
        FOR_EACH_ISA(isa)
        check_encode(formats[k], x, 65536 * PER);
    }
    free(x);
}

static void encodes_edges_and_random(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const float edges[] = {65504,
                                  65519.996f,
                                  65520,
                                  65536,
                                  1e30f,
                                  0x1p-24f,
                                  0x1p-25f,
                                  0x1.000002p-25f,
                                  0x1p-26f,
                                  0x1.ffep-15f,
                                  0x1.fffp-15f,
                                  0x1p-14f,
                                  0x1.fep127f,
                                  0x1.fefffep127f,
                                  0x1.ffp127f,
                                  0x1.fffffep127f,
                                  0x1p-149f,
                                  0x1p-133f,
                                  0x1p-134f,
                                  0x1.8p-133f,
                                  0,
                                  -0.0f};
    uint64_t rng = 8;
    float *x = test_alloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = i % 2 ? test_float((uint32_t)test_random(&rng)) : test_weight(&rng);
    FOR_EACH_ISA(isa)
    {
        for (int k = 0; k < 2; k++) {
            check_encode(formats[k], edges, sizeof edges / sizeof edges[0]);
            check_encode(formats[k], x, N);
            for (uint64_t n = 0; n < 40; n++) /* tails */
                check_encode(formats[k], x + 100 + n, n);
        }
    }
    free(x);
}

/* Bytes of a file begin anywhere. */
static void any_alignment(void **state)
{
    (void)state;
    enum { N = 37 };
    unsigned char bytes[4 * N + 4];
    float x[N], want[N], got[N];
    uint64_t rng = 4;
    for (int i = 0; i < N; i++)
        x[i] = test_weight(&rng);
    FOR_EACH_ISA(isa)
    {
        for (zo2_dtype t = ZO2_F32; t <= ZO2_BF16; t++) {
            memcpy(want, x, sizeof x);
            zo2_round_to(t, want, N);
            for (int shift = 0; shift < 4; shift++) {
                memset(bytes, POISON, sizeof bytes);
                zo2_source_encode(t, x, N, bytes + shift);
                assert_poison(bytes, (size_t)shift);
                assert_poison(bytes + shift + N * zo2_dtype_bytes(t),
                              sizeof bytes - (size_t)shift - N * zo2_dtype_bytes(t));
                zo2_source_decode(t, bytes + shift, N, got);
                assert_same_floats(got, want, N, zo2_dtype_name(t));
            }
        }
    }
}

static void fp32_is_untouched(void **state)
{
    (void)state;
    uint32_t bits[] = {0, 0x80000000, 1, 0x7F800001, 0xFFFFFFFF, 0x3F800001}, got[6], back[6];
    zo2_source_decode(ZO2_F32, bits, 6, (float *)(void *)got);
    assert_memory_equal(got, bits, sizeof bits);
    zo2_round_to(ZO2_F32, (float *)(void *)got, 6);
    zo2_source_encode(ZO2_F32, (const float *)(const void *)got, 6, back);
    assert_memory_equal(back, bits, sizeof bits);
}

static void names_and_sizes(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"fp32", "fp16", "bf16"};
    static const char *const dists[] = {"gaussian", "rademacher"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(zo2_dtype_name((zo2_dtype)(i + 1)), dtypes[i]);
        assert_int_equal(zo2_dtype_parse(dtypes[i]), i + 1);
        assert_int_equal(zo2_dtype_bytes((zo2_dtype)(i + 1)), i == 0 ? 4 : 2);
    }
    for (int i = 0; i < 2; i++) {
        assert_string_equal(zo2_dist_name((zo2_dist)(i + 1)), dists[i]);
        assert_int_equal(zo2_dist_parse(dists[i]), i + 1);
    }
    static const char *const wrong[] = {"", "auto", "FP32", "bf16 ", "fp8", "normal", "fp8-e5m3", "gaussia", NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(zo2_dtype_parse(wrong[i]), 0);
        assert_int_equal(zo2_dist_parse(wrong[i]), 0);
    }
    for (int v = -1; v < 8; v += v == 0 ? 6 : 1) {
        assert_null(zo2_dtype_name((zo2_dtype)v));
        assert_int_equal(zo2_dtype_bytes((zo2_dtype)v), 0);
    }
    assert_null(zo2_dist_name((zo2_dist)3));
    assert_null(zo2_dist_name((zo2_dist)0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_every_pattern),    cmocka_unit_test(encodes_every_pattern_and_tie),
        cmocka_unit_test(encodes_edges_and_random), cmocka_unit_test(any_alignment),
        cmocka_unit_test(fp32_is_untouched),        cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
