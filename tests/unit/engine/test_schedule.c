/* test_schedule.c: learning rates by the formulas of zo2.h, and the schedules' names. */
#include "engine/zo2.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

static zo2_engine_opts opts(double lr, zo2_schedule schedule, uint64_t warmup, uint64_t total)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.lr = lr;
    o.schedule = schedule;
    o.warmup = warmup;
    o.total_steps = total;
    return o;
}

static void assert_lr(const zo2_engine_opts *o, uint64_t step, double expected)
{
    double got = zo2_lr_at(o, step);
    if (!(fabs(got - expected) <= 1e-15 * fabs(expected)))
        fail_msg("step %llu: %.17g, expected %.17g", (unsigned long long)step, got, expected);
}

static void defaults(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    assert_lr(&o, 0, 1e-6);
    assert_lr(&o, UINT64_MAX, 1e-6);
    o.schedule = ZO2_LINEAR; /* 20,000 steps */
    assert_lr(&o, 0, 1e-6);
    assert_lr(&o, 5000, 0.75e-6);
    assert_lr(&o, 19999, 1e-6 / 20000);
    assert_lr(&o, 20000, 0);
}

static void constant(void **state)
{
    (void)state;
    zo2_engine_opts o = opts(0.5, ZO2_CONSTANT, 4, 10);
    assert_lr(&o, 0, 0.125);
    assert_lr(&o, 1, 0.25);
    assert_lr(&o, 3, 0.5); /* the last step of the warm-up has the full rate */
    assert_lr(&o, 4, 0.5);
    assert_lr(&o, 1000, 0.5); /* total_steps means nothing here */
}

static void linear(void **state)
{
    (void)state;
    zo2_engine_opts o = opts(2, ZO2_LINEAR, 2, 10);
    assert_lr(&o, 0, 1);
    assert_lr(&o, 1, 2);
    assert_lr(&o, 2, 2);
    assert_lr(&o, 6, 1);
    assert_lr(&o, 9, 0.25);
    assert_lr(&o, 10, 0);
    assert_lr(&o, UINT64_MAX, 0);
}

static void cosine(void **state)
{
    (void)state;
    zo2_engine_opts o = opts(2, ZO2_COSINE, 2, 10);
    assert_lr(&o, 1, 2);
    assert_lr(&o, 2, 2);
    assert_lr(&o, 4, 1 + sqrt(0.5));
    assert_lr(&o, 6, 1);
    assert_lr(&o, 10, 0);
    assert_lr(&o, 11, 0);
    for (uint64_t s = 3; s < 10; s++)
        assert_true(zo2_lr_at(&o, s) < zo2_lr_at(&o, s - 1) && zo2_lr_at(&o, s) > 0);
}

/* Warm-up as long as the run or longer: no division by zero, nothing but the ramp and then 0. */
static void long_warmup(void **state)
{
    static const zo2_schedule decaying[] = {ZO2_LINEAR, ZO2_COSINE};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        zo2_engine_opts o = opts(1, decaying[i], 10, 10);
        assert_lr(&o, 9, 1);
        assert_lr(&o, 10, 0);
        o.warmup = 20;
        assert_lr(&o, 9, 0.5);
        assert_lr(&o, 19, 1);
        assert_lr(&o, 20, 0);
        o.warmup = 0;
        o.total_steps = 1;
        assert_lr(&o, 0, 1);
        assert_lr(&o, 1, 0);
    }
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(zo2_schedule_name(ZO2_CONSTANT), "constant");
    assert_string_equal(zo2_schedule_name(ZO2_LINEAR), "linear");
    assert_string_equal(zo2_schedule_name(ZO2_COSINE), "cosine");
    assert_null(zo2_schedule_name((zo2_schedule)0));
    assert_null(zo2_schedule_name((zo2_schedule)4));
    for (int v = 1; v <= 3; v++)
        assert_int_equal(zo2_schedule_parse(zo2_schedule_name((zo2_schedule)v)), v);
    assert_int_equal(zo2_schedule_parse("Linear"), 0);
    assert_int_equal(zo2_schedule_parse(""), 0);
    assert_int_equal(zo2_schedule_parse(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults), cmocka_unit_test(constant),    cmocka_unit_test(linear),
        cmocka_unit_test(cosine),   cmocka_unit_test(long_warmup), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
