/* test_plan_for_device.c: plans for a GPU that isn't here: sizes of one in every build, the rates that were given, those of the
 * host measured where they were not. */
#include "engine/zo2.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.max_rows = 2;
    o.max_seq = 128;
    o.threads = 2;
    o.probe_seconds = 0;
    return o;
}

static zo2_device_rates base_rates(void)
{
    return (zo2_device_rates){.struct_size = sizeof(zo2_device_rates),
                              .upload_rate = 1e9,
                              .gemm_rate = 1e13,
                              .decode_rate = 1e11,
                              .fold_rate = 5e10,
                              .update_rate = 2e9,
                              .noise_rate = 3e9};
}

static zo2_plan plan_of(const zo2_engine_opts *o, const zo2_device_rates *r)
{
    zo2_plan p;
    if (zo2_plan_for_device("opt-125m", o, r, &p))
        fail_msg("%s", zo2_last_error());
    return p;
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void times_come_from_the_rates(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_device_rates r = base_rates();
    zo2_plan p = plan_of(&o, &r);
    assert_near(p.update_seconds, (double)p.parameters / 2e9);
    assert_near(p.upload_seconds, (double)p.wire_bytes_per_step / 1e9);
    assert_string_equal(p.bottleneck, "upload");
    assert_near(p.seconds_per_step, p.upload_seconds);
    assert_true(p.upload_rate == r.upload_rate && p.gemm_rate == r.gemm_rate && p.decode_rate == r.decode_rate);
    assert_true(p.fold_rate == r.fold_rate && p.update_rate == r.update_rate && p.noise_rate == r.noise_rate);
    assert_true(p.probe_seconds == 0);
    r.gemm_rate = 1e9;
    p = plan_of(&o, &r);
    assert_string_equal(p.bottleneck, "compute");
}

/* Whatever backend is asked for, and whatever this build has. */
static void sizes_are_a_gpus(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_device_rates r = base_rates();
    const zo2_backend_kind kinds[] = {ZO2_BACKEND_AUTO, ZO2_BACKEND_CPU, ZO2_BACKEND_CUDA, ZO2_BACKEND_NULL};
    zo2_plan estimated;
    o.backend = ZO2_BACKEND_NULL;
    assert_int_equal(zo2_plan_estimate("opt-125m", &o, &estimated), ZO2_OK);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        o.backend = kinds[i];
        zo2_plan p = plan_of(&o, &r);
        assert_true(p.device_peak_bytes == estimated.device_peak_bytes && p.context_bytes > 0);
        assert_true(p.budget_bytes == 0);
    }
    o.device_bytes = (uint64_t)2 << 30;
    zo2_plan p = plan_of(&o, &r);
    assert_true(p.budget_bytes == o.device_bytes && p.device_peak_bytes <= o.device_bytes && p.resident_bytes > 0);
    o.device_bytes = 1;
    assert_int_equal(zo2_plan_for_device("opt-125m", &o, &r, &p), ZO2_ERR_NOMEM);
    assert_true(p.parameters > 0 && p.device_min_bytes > 1 && p.budget_bytes == 1);
}

static void the_host_is_measured(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_device_rates r = base_rates();
    r.update_rate = r.noise_rate = 0;
    zo2_plan p = plan_of(&o, &r); /* not to be measured */
    assert_true(p.seconds_per_step == 0 && p.gemm_rate == 0 && p.device_peak_bytes > 0);
    o.probe_seconds = 1e-9;
    p = plan_of(&o, &r);
    assert_true(p.update_rate > 0 && p.noise_rate > 0 && p.probe_seconds > 0 && p.gemm_rate == r.gemm_rate);
    assert_near(p.upload_seconds, (double)p.wire_bytes_per_step / 1e9);
}

static void what_is_no_speed_is_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        size_t at;
        int needed;
    } fields[] = {
        {"upload_rate", offsetof(zo2_device_rates, upload_rate), 1},
        {"gemm_rate", offsetof(zo2_device_rates, gemm_rate), 1},
        {"decode_rate", offsetof(zo2_device_rates, decode_rate), 1},
        {"fold_rate", offsetof(zo2_device_rates, fold_rate), 0},
        {"update_rate", offsetof(zo2_device_rates, update_rate), 0},
        {"noise_rate", offsetof(zo2_device_rates, noise_rate), 0},
    };
    const double bad[] = {-1, NAN, INFINITY, 0};
    zo2_engine_opts o = base_opts();
    zo2_plan p;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
            zo2_device_rates r = base_rates();
            memcpy((char *)&r + fields[i].at, &bad[b], sizeof bad[b]);
            zo2_status want = bad[b] != 0 || fields[i].needed ? ZO2_ERR_ARG : ZO2_OK;
            assert_int_equal(zo2_plan_for_device("opt-125m", &o, &r, &p), want);
            if (want)
                assert_non_null(strstr(zo2_last_error(), fields[i].name));
        }
    zo2_device_rates r = base_rates();
    assert_int_equal(zo2_plan_for_device(NULL, &o, &r, &p), ZO2_ERR_ARG);
    assert_int_equal(zo2_plan_for_device("opt-125m", &o, NULL, &p), ZO2_ERR_ARG);
    assert_int_equal(zo2_plan_for_device("opt-125m", &o, &r, NULL), ZO2_ERR_ARG);
    r.struct_size = 0;
    assert_int_equal(zo2_plan_for_device("opt-125m", &o, &r, &p), ZO2_ERR_ARG);
}

/* A program compiled before the last field was there. */
static void shorter_rates_are_taken(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    zo2_device_rates r = base_rates();
    r.struct_size = offsetof(zo2_device_rates, noise_rate);
    r.noise_rate = NAN;
    zo2_plan p = plan_of(&o, &r);
    assert_true(p.noise_rate == 0 && p.update_rate == r.update_rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_come_from_the_rates), cmocka_unit_test(sizes_are_a_gpus),
        cmocka_unit_test(the_host_is_measured),      cmocka_unit_test(what_is_no_speed_is_refused),
        cmocka_unit_test(shorter_rates_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
