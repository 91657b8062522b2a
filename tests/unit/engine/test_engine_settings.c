/* test_engine_settings.c: from options to a run's settings: defaults, a run's own values, and what refusals say, word for
 * word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/run/settings.h"
#include "tests/unit/files_testing.h"

#include <math.h>

#define HASH 0xABCDu

static const zo2_arch arch = {.dtype = ZO2_F16};

static zo2_status resolve(zo2_run_settings *out, const zo2_engine_opts *o, const zo2_run_settings *run)
{
    return zo2_settings_resolve(out, o, run, &arch, HASH, zo2_backend_get(ZO2_BACKEND_CPU));
}

static zo2_engine_opts unset(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    return o;
}

static void is_default(const zo2_run_settings *s)
{
    assert_true(s->model_hash == HASH && s->seed == 0 && s->lr == 1e-6 && s->eps == 1e-3);
    assert_true(s->weight_decay == 0 && s->clip == 0 && s->warmup == 0 && s->total_steps == 0);
    assert_true(s->schedule == ZO2_CONSTANT && s->dist == ZO2_GAUSSIAN && s->queries == 1 && s->pending == 0);
    assert_true(s->micro_batch == UINT32_MAX && s->wire == ZO2_WIRE_BF16 && s->compute == ZO2_F32);
    assert_true(s->backend == ZO2_BACKEND_CPU);
}

static zo2_run_settings default_run(void)
{
    zo2_run_settings s;
    zo2_engine_opts o = unset();
    OK(resolve(&s, &o, NULL));
    is_default(&s);
    return s;
}

static void defaults(void **state)
{
    (void)state;
    zo2_run_settings run = default_run(), s;
    zo2_engine_opts o = unset();
    assert_true(isnan(o.lr) && isnan(o.eps) && isnan(o.weight_decay) && isnan(o.clip));
    assert_true(o.warmup == UINT64_MAX && o.pending == -1 && !o.seed_set);
    OK(resolve(&s, &o, &run));
    is_default(&s);
    o.total_steps = 7; /* of a constant schedule: not part of the run */
    OK(resolve(&s, &o, &run));
    assert_int_equal(s.total_steps, 0);
    o = unset();
    o.schedule = ZO2_COSINE;
    OK(resolve(&s, &o, NULL));
    assert_int_equal(s.total_steps, 20000);
}

/* What is given is the run's, and leaving it out takes it from there. */
static void given(void **state)
{
    (void)state;
    zo2_engine_opts o = unset();
    o.seed = 0;
    o.seed_set = 1;
    o.lr = 0;
    o.eps = 0.25;
    o.weight_decay = 0.5;
    o.clip = 2;
    o.warmup = 0;
    o.total_steps = 9;
    o.schedule = ZO2_LINEAR;
    o.dist = ZO2_RADEMACHER;
    o.queries = 16;
    o.pending = 64;
    o.micro_batch = 3;
    o.wire = ZO2_WIRE_FP32;
    o.compute = ZO2_BF16;
    o.backend = ZO2_BACKEND_CPU;
    zo2_run_settings run, s;
    OK(resolve(&run, &o, NULL));
    zo2_engine_opts none = unset();
    const zo2_engine_opts *const both[] = {&o, &none};
    for (int i = 0; i < 2; i++) {
        OK(resolve(&s, both[i], &run));
        assert_true(s.seed == 0 && s.lr == 0 && s.eps == 0.25 && s.weight_decay == 0.5 && s.clip == 2);
        assert_true(s.warmup == 0 && s.total_steps == 9 && s.schedule == ZO2_LINEAR && s.dist == ZO2_RADEMACHER);
        assert_true(s.queries == 16 && s.pending == 64 && s.micro_batch == 3 && s.wire == ZO2_WIRE_FP32);
        assert_true(s.compute == ZO2_BF16 && s.backend == ZO2_BACKEND_CPU);
    }
}

static void says(const char *text)
{
    assert_string_equal(zo2_last_error(), text);
}

#define DIFFERS(field, value, name, has, gives)                                      \
    do {                                                                             \
        zo2_engine_opts differs_o = unset();                                         \
        differs_o.field = (value);                                                   \
        FAILS(MISMATCH, resolve(&s, &differs_o, &run));                              \
        says("setting '" name "' differs: the run has " has ", this call has " gives \
             "; leave it out to go on with the run's value, or start a new run");    \
    } while (0)

static void differences(void **state)
{
    (void)state;
    zo2_run_settings run = default_run(), s;
    DIFFERS(lr, 1e-5, "lr", "1e-06", "1e-05");
    DIFFERS(eps, 0.1, "eps", "0.001", "0.1");
    DIFFERS(weight_decay, 0.30000000000000004, "weight-decay", "0", "0.30000000000000004");
    DIFFERS(clip, 5, "clip", "0", "5");
    DIFFERS(seed, 5, "seed", "0", "5");
    DIFFERS(warmup, 3, "warmup", "0", "3");
    DIFFERS(queries, 2, "queries", "1", "2");
    DIFFERS(pending, 1, "pending", "0", "1");
    DIFFERS(micro_batch, 4, "micro-batch", "4294967295", "4");
    DIFFERS(schedule, ZO2_LINEAR, "lr-schedule", "constant", "linear");
    DIFFERS(dist, ZO2_RADEMACHER, "dist", "gaussian", "rademacher");
    DIFFERS(dist, (zo2_dist)9, "dist", "gaussian", "an unknown value");
    DIFFERS(wire, ZO2_WIRE_E4M3, "wire", "bf16", "fp8-e4m3");
    DIFFERS(compute, ZO2_BF16, "compute", "fp32", "bf16");
    run.backend = ZO2_BACKEND_CUDA;
    DIFFERS(threads, 0, "backend", "cuda", "cpu");
    run = default_run();
    run.schedule = ZO2_COSINE;
    run.total_steps = 100;
    DIFFERS(total_steps, 50, "steps", "100", "50");
    run = default_run();
    run.seed = 5;
    DIFFERS(seed_set, 1, "seed", "5", "0");
}

#define REFUSED(field, value, text)                \
    do {                                           \
        zo2_engine_opts refused_o = unset();       \
        refused_o.field = (value);                 \
        FAILS(ARG, resolve(&s, &refused_o, NULL)); \
        says(text);                                \
    } while (0)

static void out_of_range(void **state)
{
    (void)state;
    zo2_run_settings s;
    REFUSED(lr, -1, "setting 'lr': lr is not a finite number >= 0");
    REFUSED(weight_decay, (double)INFINITY, "setting 'weight-decay': weight decay is not a finite number >= 0");
    REFUSED(clip, -0.5, "setting 'clip': clip is not a finite number >= 0");
    REFUSED(eps, 0, "eps is 0: as an fp32 number it must be finite and above 0");
    REFUSED(eps, 1e-60, "eps is 1e-60: as an fp32 number it must be finite and above 0");
    REFUSED(queries, 17, "17 queries a step: at most 16");
    REFUSED(pending, 65, "65 pending updates: at most 64");
    REFUSED(schedule, (zo2_schedule)4, "unknown value 4 of setting 'lr-schedule'");
    REFUSED(dist, (zo2_dist)3, "unknown value 3 of setting 'dist'");
    REFUSED(wire, (zo2_wire)77, "unknown value 77 of setting 'wire'");
    REFUSED(compute, (zo2_dtype)4, "unknown value 4 of setting 'compute'");
}

static void other_models_and_versions(void **state)
{
    (void)state;
    zo2_run_settings run = default_run(), s;
    zo2_engine_opts o = unset();
    run.model_hash = 1;
    FAILS(MISMATCH, resolve(&s, &o, &run));
    says("the run was made from another model: its model hash is 0x0000000000000001, the pack's 0x000000000000abcd");
    run = default_run();
    run.noise_version = 7;
    run.tile_rule = 8;
    run.decay_set = 9;
    FAILS(UNSUPPORTED, resolve(&s, &o, &run));
    says("the run was made by another version of zo2 (noise 7, tiles 8, decay set 9)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(given),
        cmocka_unit_test(differences),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(other_models_and_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
