/* Every function of every instruction set's table against the scalar one: the same bits, over ragged sizes, unaligned
 * pointers, all bit patterns that matter, both distributions and several queries. */
#include "tests/unit/codec/codec_test.h"

#include "codec/e2m.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/i4.h"
#include "codec/simd.h"

enum { MOST = 5000, GUARD = 64, BYTES = 4 * MOST + 4 * GUARD };

static const uint64_t sizes[] = {0,  1,   2,   3,   7,   8,   15,  16,  17,   31,   32,   33,   63,  64,
                                 65, 127, 128, 129, 255, 256, 257, 700, 1024, 1153, 2048, 2049, MOST};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static uint64_t rng = 12;
static const zo2_simd *scalar, *other;

/* Arenas of two runs; every output goes to the same offset of both and the whole arenas are compared, so bytes that should
 * not have been written count too. */
static unsigned char want[BYTES], got[BYTES];

static void poison(void)
{
    memset(want, POISON, BYTES);
    memset(got, POISON, BYTES);
}

static void assert_same(const char *what, uint64_t n)
{
    for (size_t i = 0; i < BYTES; i++) {
        if (want[i] != got[i])
            fail_msg("%s, %s of %llu: byte %zu is %02x, scalar has %02x", other->name, what, (unsigned long long)n, i,
                     got[i], want[i]);
    }
}

/* Any bits at all, NaNs and infinities among them; or finite weights. */
static void fill(float *w, uint64_t n, int any_bits)
{
    for (uint64_t i = 0; i < n; i++)
        w[i] = any_bits ? test_float((uint32_t)test_random(&rng)) : test_weight(&rng);
}

static void conversions(void **state)
{
    (void)state;
    static unsigned char input[BYTES];
    for (size_t s = 0; s < COUNT(sizes) * 4; s++) {
        uint64_t n = sizes[s / 4], from = test_random(&rng) % 64, to = test_random(&rng) % 64;
        uint64_t aligned = to & ~3ull; /* of floats */
        float *w = (float *)(input + (from & ~3ull));
        fill(w, n, s % 2);
        const struct {
            const char *name;
            void (*call)(const float *, uint64_t, void *), (*same)(const float *, uint64_t, void *);
        } encoders[] = {{"bf16_encode", scalar->bf16_encode, other->bf16_encode},
                        {"f16_encode", scalar->f16_encode, other->f16_encode}};
        for (size_t e = 0; e < COUNT(encoders); e++) {
            poison();
            encoders[e].call(w, n, want + to);
            encoders[e].same(w, n, got + to);
            assert_same(encoders[e].name, n);
        }
        const struct {
            const char *name;
            void (*call)(float *, uint64_t), (*same)(float *, uint64_t);
        } rounders[] = {{"bf16_round", scalar->bf16_round, other->bf16_round},
                        {"f16_round", scalar->f16_round, other->f16_round}};
        for (size_t e = 0; e < COUNT(rounders); e++) {
            poison();
            memcpy(want + aligned, w, 4 * n);
            memcpy(got + aligned, w, 4 * n);
            rounders[e].call((float *)(want + aligned), n);
            rounders[e].same((float *)(got + aligned), n);
            assert_same(rounders[e].name, n);
        }
        poison();
        scalar->stream(want + to, w, 4 * n);
        other->stream(got + to, w, 4 * n);
        other->stream_end();
        assert_same("stream", n);
        poison();
        scalar->bf16_split(w, n, want + to, want + 2 * MOST + GUARD + from);
        other->bf16_split(w, n, got + to, got + 2 * MOST + GUARD + from);
        assert_same("bf16_split", n);
        assert_int_equal(scalar->max_bits(w, n), other->max_bits(w, n));

        for (uint64_t i = 0; i < BYTES; i++) /* 16-bit codes of any kind, anywhere */
            input[i] = (unsigned char)test_random(&rng);
        poison();
        scalar->bf16_join(input + from, input + 2 * MOST + from, n, (float *)(want + aligned));
        other->bf16_join(input + from, input + 2 * MOST + from, n, (float *)(got + aligned));
        assert_same("bf16_join", n);
        poison();
        scalar->bf16_decode(input + from, n, (float *)(want + aligned));
        other->bf16_decode(input + from, n, (float *)(got + aligned));
        assert_same("bf16_decode", n);
        poison();
        scalar->f16_decode(input + from, n, (float *)(want + aligned));
        other->f16_decode(input + from, n, (float *)(got + aligned));
        assert_same("f16_decode", n);
    }
}

/* Rows of wires whose codes share scales: codes, further bits and scales at places of their own. */
static void scaled_rows(void **state)
{
    (void)state;
    static unsigned char input[BYTES];
    const struct {
        const char *name;
        zo2_scaled_rows scalar, other;
        uint16_t (*scale)(uint32_t amax_bits);
    } wires[] = {{"fp8-e4m3", scalar->e4m3, other->e4m3, zo2_e4m3_scale},
                 {"fp8-e5m2", scalar->e5m2, other->e5m2, zo2_e5m2_scale},
                 {"f10", scalar->f10, other->f10, NULL},
                 {"f8", scalar->f8, other->f8, NULL},
                 {"f6", scalar->f6, other->f6, NULL},
                 {"i4", scalar->i4, other->i4, NULL}};
    for (size_t s = 0; s < COUNT(sizes) * 18; s++) {
        uint64_t n = sizes[s / 18], from = test_random(&rng) % 64, to = test_random(&rng) % 64;
        uint64_t more = MOST + GUARD, scales = 2 * more + from;
        float *w = (float *)(input + (from & ~3ull));
        fill(w, n, s / 6 % 3 == 2);
        poison();
        wires[s % 6].scalar.encode(w, n, want + to, want + more + to, want + scales);
        wires[s % 6].other.encode(w, n, got + to, got + more + to, got + scales);
        assert_same(wires[s % 6].name, n);
        for (uint64_t i = 0; i < BYTES; i++)
            input[i] = (unsigned char)test_random(&rng);
        for (uint64_t g = 0; g < n / 32 + 1; g++) { /* scales that an encoder could have written */
            uint32_t amax = (uint32_t)test_random(&rng) % (s % 6 < 2 ? 0x7F7F8000u : ZO2_E2M_LIMIT_BITS);
            uint16_t scale = s % 6 < 2 ? wires[s % 6].scale(amax) : zo2_e2m_scale(3, amax);
            if (s % 6 == 5)
                scale = (uint16_t)(zo2_i4_scale(g % ZO2_I4_SCALES, amax) | (g % 2) << 15);
            memcpy(input + scales + 2 * g, &scale, 2);
        }
        poison();
        wires[s % 6].scalar.decode(input + from, input + more + from, input + scales, n,
                                   (float *)(want + (to & ~3ull)));
        wires[s % 6].other.decode(input + from, input + more + from, input + scales, n, (float *)(got + (to & ~3ull)));
        assert_same(wires[s % 6].name, n);
    }
}

static uint64_t any_first(uint64_t n)
{
    uint64_t first = test_random(&rng) >> (test_random(&rng) % 64);
    return first > UINT64_MAX - n ? UINT64_MAX - n : first;
}

static void noise_and_perturbation(void **state)
{
    (void)state;
    static float w[MOST];
    static unsigned char want_minus[BYTES], got_minus[BYTES];
    for (size_t s = 0; s < COUNT(sizes) * 6; s++) {
        uint64_t n = sizes[s / 6], to = test_random(&rng) % 64 & ~3ull, key = test_random(&rng), first = any_first(n);
        uint32_t query = (uint32_t)test_random(&rng) % 16, tensor = (uint32_t)test_random(&rng);
        zo2_dist dist = s % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER;
        poison();
        scalar->noise_values((float *)(want + to), key, query, tensor, first, n, dist);
        other->noise_values((float *)(got + to), key, query, tensor, first, n, dist);
        assert_same("noise_values", n);
        fill(w, n, 0);
        poison();
        memset(want_minus, POISON, BYTES);
        memset(got_minus, POISON, BYTES);
        scalar->perturb(w, n, first, tensor, dist, key, query, 1e-3f, (float *)(want + to), (float *)(want_minus + to));
        other->perturb(w, n, first, tensor, dist, key, query, 1e-3f, (float *)(got + to), (float *)(got_minus + to));
        assert_same("perturb", n);
        assert_memory_equal(want_minus, got_minus, BYTES);
    }
}

static void updates(void **state)
{
    (void)state;
    static float w[MOST];
    for (size_t s = 0; s < COUNT(sizes) * 8; s++) {
        uint64_t n = sizes[s / 8], to = test_random(&rng) % 64, first = any_first(n);
        zo2_update u[3];
        memset(u, 0, sizeof u);
        for (int k = 0; k < 3; k++) {
            u[k].key = test_random(&rng);
            u[k].d = (float)((double)(test_random(&rng) >> 40) * 0x1p-44);
            u[k].queries = s % 4 < 2 ? 1 : (uint32_t)(test_random(&rng) % 4);
            for (uint32_t q = 0; q < u[k].queries; q++)
                u[k].c[q] = (float)((double)(int64_t)test_random(&rng) * 0x1p-63 * 1e-2);
        }
        zo2_updates a = {.tensor_id = (uint32_t)s,
                         .dist = s % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER,
                         .decays = s / 2 % 2,
                         .u = u,
                         .count = s % 8 < 4 ? 1 : (uint32_t)(test_random(&rng) % 4)};
        fill(w, n, 0);
        poison();
        uint64_t aligned = to & ~3ull;
        memcpy(want + aligned, w, 4 * n);
        memcpy(got + aligned, w, 4 * n);
        assert_int_equal(scalar->update_fp32((float *)(want + aligned), n, first, &a),
                         other->update_fp32((float *)(got + aligned), n, first, &a));
        assert_same("update_fp32", n);
        poison();
        unsigned char *planes[] = {want, got};
        uint32_t most[2];
        for (int i = 0; i < 2; i++) { /* the planes at unrelated odd addresses */
            const zo2_simd *t = i ? other : scalar;
            unsigned char *hi = planes[i] + to, *lo = planes[i] + 2 * MOST + GUARD + to / 2;
            scalar->bf16_split(w, n, hi, lo);
            most[i] = t->update_bf16(hi, lo, n, first, &a);
        }
        assert_int_equal(most[0], most[1]);
        assert_same("update_bf16", n);
    }
}

int main(void)
{
    static const char *const names[] = {"avx2", "avx512"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions),
        cmocka_unit_test(scaled_rows),
        cmocka_unit_test(noise_and_perturbation),
        cmocka_unit_test(updates),
    };
    int compared = 0, failed = 0;
    scalar = zo2_simd_table("scalar");
    for (size_t i = 0; i < COUNT(names); i++) {
        other = zo2_simd_table(names[i]);
        if (other == NULL) {
            printf("%s can't run here\n", names[i]);
            continue;
        }
        compared++;
        failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL);
    }
    return compared > 0 ? failed : 77;
}
