/* Update and perturbation against plain loops, for every instruction set, cut and number of queries. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/noise_inline.h"
#include "codec/update_inline.h"

enum { MOST = 5000, GUARD = 16 };

static zo2_update make_update(uint64_t *rng, uint32_t queries)
{
    zo2_update u;
    memset(&u, 0, sizeof u);
    u.key = test_random(rng);
    u.d = (float)((double)(test_random(rng) >> 40) * 0x1p-44); /* up to 2^-20 */
    u.queries = queries;
    for (uint32_t q = 0; q < queries; q++)
        u.c[q] = (float)((double)(int64_t)test_random(rng) * 0x1p-63 * 1e-3);
    return u;
}

/* update.h word by word. fmaf of the C library rounds once. */
static void reference_update(float *w, uint64_t n, uint64_t first, uint32_t tensor_id, zo2_dist dist, int decays,
                             const zo2_update *u, uint32_t count)
{
    for (uint64_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < count; k++) {
            float v = (decays ? u[k].d : 0.0f) * w[i];
            for (uint32_t q = 0; q < u[k].queries; q++)
                v = fmaf(u[k].c[q], zo2_noise_at(u[k].key, q, tensor_id, first + i, dist), v);
            w[i] = w[i] - v;
        }
    }
}

static void fill_weights(float *w, uint64_t n, uint64_t seed)
{
    uint64_t rng = seed * 2 + 1;
    for (uint64_t i = 0; i < n; i++)
        w[i] = test_weight(&rng);
}

static void check_update(uint64_t first, uint64_t n, zo2_dist dist, int decays, const zo2_update *u, uint32_t count)
{
    static float got[MOST + 2 * GUARD], want[MOST];
    memset(got, POISON, sizeof got);
    fill_weights(got + GUARD, n, first + n);
    memcpy(want, got + GUARD, n * sizeof *want);
    reference_update(want, n, first, 9, dist, decays, u, count);
    zo2_update_apply(got + GUARD, n, first, 9, dist, decays, u, count);
    assert_same_floats(got + GUARD, want, n, "update");
    assert_poison(got, GUARD * sizeof *got);
    assert_poison(got + GUARD + n, sizeof got - (GUARD + n) * sizeof *got);
}

static void update_matches_reference(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 3, 17, 255, 256, 257, 700};
    static const uint64_t firsts[] = {0, 1, 3, 200, 255, 256, 2047, (1ull << 34) - 77};
    uint64_t rng = 1;
    zo2_update u[4] = {make_update(&rng, 1), make_update(&rng, 4), make_update(&rng, 2), make_update(&rng, 1)};
    zo2_update many = make_update(&rng, ZO2_MAX_QUERIES), none = make_update(&rng, 0);
    FOR_EACH_ISA(isa)
    {
        for (zo2_dist dist = ZO2_GAUSSIAN; dist <= ZO2_RADEMACHER; dist++) {
            for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
                for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
                    check_update(firsts[f], sizes[s], dist, (f + s) % 2, u, (uint32_t)((f + s) % 5));
            }
            check_update(5, 300, dist, 1, &many, 1);
            check_update(5, 300, dist, 1, &none, 1);
        }
        check_update(2000, MOST, ZO2_RADEMACHER, 1, u, 2); /* several blocks, ragged ends */
    }
}

/* Whatever the pieces, applied together or one by one: the same bits. Chunks, threads and replay rely on it. */
static void cuts_change_nothing(void **state)
{
    (void)state;
    static float whole[MOST], pieces[MOST];
    uint64_t rng = 17;
    zo2_update u[3] = {make_update(&rng, 1), make_update(&rng, 3), make_update(&rng, 1)};
    for (int trial = 0; trial < 40; trial++) {
        zo2_dist dist = trial % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER;
        uint64_t first = test_random(&rng) >> (20 + trial);
        fill_weights(whole, MOST, (uint64_t)trial);
        memcpy(pieces, whole, sizeof whole);
        zo2_simd_select(NULL);
        zo2_update_apply(whole, MOST, first, 3, dist, 1, u, 3);
        for (uint64_t at = 0; at < MOST;) {
            uint64_t n = 1 + test_random(&rng) % 900;
            n = n < MOST - at ? n : MOST - at;
            zo2_simd_select(test_isa((int)(test_random(&rng) % 3))); /* where it isn't there the old one stays */
            if (n % 2) {
                zo2_update_apply(pieces + at, n, first + at, 3, dist, 1, u, 3);
            } else {
                for (int k = 0; k < 3; k++)
                    zo2_update_apply(pieces + at, n, first + at, 3, dist, 1, u + k, 1);
            }
            at += n;
        }
        assert_same_floats(pieces, whole, MOST, "pieces");
    }
    zo2_simd_select(NULL);
}

/* One rounding into w: against long double, which has room for the exact product and sum of these magnitudes. */
static void rounds_once(void **state)
{
    (void)state;
    uint64_t rng = 23;
    zo2_update u = make_update(&rng, 1);
    float w[256], before[256];
    fill_weights(w, 256, 5);
    for (int i = 0; i < 256; i++)
        before[i] = w[i] = fabsf(w[i]) < 1e-3f || fabsf(w[i]) > 1 ? 0.01f : w[i];
    zo2_update_apply(w, 256, 0, 0, ZO2_GAUSSIAN, 0, &u, 1);
    for (uint64_t i = 0; i < 256; i++) {
        long double v = (long double)u.c[0] * (long double)zo2_noise_at(u.key, 0, 0, i, ZO2_GAUSSIAN);
        assert_true(w[i] == (float)((long double)before[i] - (long double)(float)v));
    }
}

static void small_updates_survive(void **state)
{
    (void)state;
    /* lr * wd = 1e-8: 1 - d is 1 in fp32, d * w is not 0 */
    zo2_update u;
    memset(&u, 0, sizeof u);
    u.queries = 1;
    u.d = 1e-8f;
    float w = 0x1p-120f, n = w;
    for (int i = 0; i < 1000; i++)
        zo2_update_apply(&w, 1, 0, 0, ZO2_GAUSSIAN, 1, &u, 1);
    assert_true(w == n); /* below half an ulp: rounded once, away */
    u.d = 0x1p-24f * 1.5f;
    zo2_update_apply(&w, 1, 0, 0, ZO2_GAUSSIAN, 1, &u, 1);
    assert_true(w < n);
    w = n;
    zo2_update_apply(&w, 1, 0, 0, ZO2_GAUSSIAN, 0, &u, 1); /* does not decay */
    assert_true(w == n);
}

static void perturb_matches_reference(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 5, 64, 255, 256, 257, 1000, 4500};
    static const uint64_t firsts[] = {0, 2, 255, 2047, 1ull << 35};
    static float w[MOST], plus[MOST + 2 * GUARD], minus[MOST + 2 * GUARD], want_plus[MOST], want_minus[MOST];
    fill_weights(w, MOST, 3);
    FOR_EACH_ISA(isa)
    {
        for (size_t c = 0; c < sizeof sizes / sizeof sizes[0] * (sizeof firsts / sizeof firsts[0]) * 2; c++) {
            uint64_t n = sizes[c / 2 % 9], first = firsts[c / 18];
            zo2_dist dist = c % 2 ? ZO2_GAUSSIAN : ZO2_RADEMACHER;
            float eps = c % 3 ? 1e-3f : 0.7f;
            for (uint64_t i = 0; i < n; i++) {
                float z = zo2_noise_at(99, 2, 4, first + i, dist);
                want_plus[i] = fmaf(eps, z, w[i]);
                want_minus[i] = fmaf(-eps, z, w[i]);
            }
            for (int in_place = 0; in_place < 2; in_place++) {
                memset(plus, POISON, sizeof plus);
                memset(minus, POISON, sizeof minus);
                if (in_place)
                    memcpy(plus + GUARD, w, n * sizeof *w);
                zo2_perturb(in_place ? plus + GUARD : w, n, first, 4, dist, 99, 2, eps, plus + GUARD, minus + GUARD);
                assert_same_floats(plus + GUARD, want_plus, n, "plus");
                assert_same_floats(minus + GUARD, want_minus, n, "minus");
                assert_poison(plus, GUARD * sizeof *plus);
                assert_poison(minus, GUARD * sizeof *minus);
                assert_poison(plus + GUARD + n, sizeof plus - (GUARD + n) * sizeof *plus);
                assert_poison(minus + GUARD + n, sizeof minus - (GUARD + n) * sizeof *minus);
                memcpy(plus + GUARD, w, n * sizeof *w); /* one way only, the other sign */
                zo2_perturb(in_place ? plus + GUARD : w, n, first, 4, dist, 99, 2, -eps, plus + GUARD, NULL);
                assert_same_floats(plus + GUARD, want_minus, n, "one way");
                assert_poison(plus, GUARD * sizeof *plus);
                assert_poison(plus + GUARD + n, sizeof plus - (GUARD + n) * sizeof *plus);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_matches_reference),
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(rounds_once),
        cmocka_unit_test(small_updates_survive),
        cmocka_unit_test(perturb_matches_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
