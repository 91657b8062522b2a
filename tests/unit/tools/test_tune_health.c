/* test_tune_health.c: what counts as an exploded loss, what never does, and which weights were the last good ones. */
#include "tools/tune/health.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t state;

/* Uniform in (0, 1): xorshift64*. */
static double uniform(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((double)(state * UINT64_C(2685821657736338717) >> 11) + 0.5) / 9007199254740992.0;
}

static double right_or_wrong(uint64_t step) /* batches of one line: half of them are answered well */
{
    (void)step;
    return uniform() < 0.5 ? 0.01 * uniform() : 2 + 3 * uniform();
}

static double heavy_tail(uint64_t step)
{
    (void)step;
    return 0.5 / sqrt(uniform());
}

static double language(uint64_t step) /* falls slowly, short lines vary much */
{
    return 4 - 1e-4 * (double)step + 3 * (uniform() + uniform() - 1);
}

static double almost_perfect(uint64_t step)
{
    (void)step;
    return uniform() < 0.97 ? 1e-4 * uniform() : 4;
}

static void noise_is_no_explosion(void **unused)
{
    (void)unused;
    static double (*const kinds[])(uint64_t) = {right_or_wrong, heavy_tail, language, almost_perfect};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t seed = 1; seed <= 50; seed++) {
            tune_health h;
            tune_health_init(&h);
            state = seed * UINT64_C(0x9E3779B97F4A7C15);
            for (uint64_t i = 0; i < 4000; i++)
                if (tune_health_add(&h, kinds[k](i), false))
                    fail_msg("kind %zu, seed %d: an explosion at step %d", k, (int)seed, (int)i);
        }
    }
}

/* Steps until it is noticed, the first of them number `from`: normal ones before, `after` from there on. */
static uint64_t noticed(tune_health *h, uint64_t from, double (*after)(uint64_t))
{
    tune_health_init(h);
    state = 7;
    for (uint64_t i = 0; i < from; i++)
        assert_false(tune_health_add(h, 1.1 + 0.4 * uniform(), false));
    for (uint64_t i = 0; i < 200; i++)
        if (tune_health_add(h, after(i), false))
            return i + 1;
    return 0;
}

static double doubles(uint64_t i)
{
    return ldexp(3, (int)(i < 60 ? i : 60));
}

static double plateau(uint64_t i) /* some lines are still right, by accident */
{
    return i % 5 == 4 ? 0 : 4;
}

static double creeps(uint64_t i)
{
    return 1.2 + 0.02 * (double)i;
}

static void explosions_are_noticed(void **unused)
{
    (void)unused;
    static const uint64_t begins[] = {1, 2, 3, 5, 13, 20, 49, 50, 60, 1000};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        tune_health h;
        uint64_t good = 0, after = noticed(&h, begins[i], doubles);
        assert_true(after >= 7 && after <= 10);
        assert_true(h.exploded);
        assert_true(h.exploded_at == begins[i]);
        assert_true(tune_health_broken(&h) && tune_health_last_good(&h, &good));
        assert_int_equal(good, begins[i] - 1);
    }
    tune_health h;
    assert_in_range(noticed(&h, 100, plateau), 8, 10);
    assert_int_equal(h.exploded_at, 100);
    assert_true(noticed(&h, 100, creeps) > 20);
    assert_true(h.exploded_at > 100);
    /* worse than guessing from the beginning */
    assert_int_equal(noticed(&h, 0, doubles), 10);
    uint64_t good;
    assert_int_equal(h.exploded_at, 2); /* 12, the first above twice the 3 that it began with */
    assert_true(tune_health_last_good(&h, &good));
    assert_int_equal(good, 1);
    tune_health_init(&h);
    for (int i = 0; i < 10; i++)
        tune_health_add(&h, 1e3, false);
    assert_true(h.exploded && h.exploded_at == 0);
    assert_false(tune_health_last_good(&h, &good));
}

static void it_may_come_back(void **unused)
{
    (void)unused;
    tune_health h;
    uint64_t good;
    assert_true(noticed(&h, 100, plateau) > 0);
    for (int i = 0; i < 10; i++)
        assert_false(tune_health_add(&h, 1.2, false));
    assert_false(h.exploded);
    assert_false(tune_health_broken(&h));
    bool again = false; /* a second one is told, too */
    for (int i = 0; i < 10; i++)
        again = tune_health_add(&h, 9, false) || again;
    assert_true(again);
    assert_true(tune_health_last_good(&h, &good));
    assert_int_equal(good, h.exploded_at - 1);
}

static void skipped_steps(void **unused)
{
    (void)unused;
    tune_health h;
    uint64_t good;
    tune_health_init(&h);
    assert_false(tune_health_broken(&h));
    assert_false(tune_health_last_good(&h, &good));
    tune_health_add(&h, NAN, true);
    assert_true(tune_health_broken(&h));
    assert_false(tune_health_last_good(&h, &good));
    for (int i = 1; i < 30; i++)
        tune_health_add(&h, i == 7 ? INFINITY : 1.0, i == 7);
    assert_false(tune_health_broken(&h));
    assert_int_equal(h.skipped, 2);
    for (int i = 30; i < 43; i++)
        assert_false(tune_health_add(&h, NAN, true));
    assert_int_equal(h.steps, 43);
    assert_int_equal(h.skipped, 15);
    assert_int_equal(h.skipped_in_row, 13);
    assert_true(tune_health_broken(&h) && tune_health_last_good(&h, &good));
    assert_int_equal(good, 29); /* step 29's losses were finite: what its update made wasn't */
    /* an explosion that ends in skipped steps: the weights of before it */
    assert_true(noticed(&h, 60, doubles) > 0);
    for (int i = 0; i < 5; i++)
        tune_health_add(&h, INFINITY, true);
    assert_true(tune_health_last_good(&h, &good));
    assert_int_equal(good, 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_no_explosion),
        cmocka_unit_test(explosions_are_noticed),
        cmocka_unit_test(it_may_come_back),
        cmocka_unit_test(skipped_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
