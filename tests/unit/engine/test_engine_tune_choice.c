/* test_engine_tune_choice.c: what a run makes of its choice of what moves: what moves and what doesn't, how it begins, what is kept of the
 * trunk, and which choices are refused. */
#include "tests/unit/engine/engine_tune_testing.h"

#include <math.h>

/* ---- what moves, and what doesn't ---- */

static void read_all(zo2_engine *e, float **out)
{
    const zo2_arch *a = e->core.arch;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        out[i] = malloc(t->rows * t->cols * sizeof(float));
        MUST(zo2_tensor_read(e, t->name, 0, t->rows * t->cols, out[i]));
    }
}

static void frozen_stay(void **state)
{
    (void)state;
    static float *before[64], *after[64];
    const choice c = {.model = opt, .vocab = 120, .tune = "matrices=2+match=*.1.fc2.bias", .wire = ZO2_WIRE_E4M3};
    zo2_engine_opts o = opts_of(&c);
    zo2_engine *e = start(&c, "frozen", &o);
    outcome out;
    read_all(e, before);
    train(e, &c, STEPS, &out);
    read_all(e, after);
    const zo2_arch *a = e->core.arch;
    assert_int_equal(a->fork, 2);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        int same = !memcmp(before[i], after[i], t->rows * t->cols * sizeof(float));
        int moves = (t->layer == 2 && t->rank == 2 && t->block == 3) || strstr(t->name, "layers.1.fc2.bias");
        if (same == !!moves)
            fail_msg("%s %s", t->name, same ? "didn't move" : "moved");
        moved += (uint32_t)!same;
        free(before[i]);
        free(after[i]);
    }
    assert_int_equal(moved, 7);
    zo2_engine_close(e);
}

static double loss_of(const choice *c, const char *run, zo2_weights weights)
{
    zo2_engine_opts o = opts_of(c);
    zo2_engine *e = start(c, run, &o);
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    batch_of(&t, c, 0);
    MUST(zo2_forward(e, &t.b, weights, &scores));
    zo2_engine_close(e);
    return scores.loss;
}

static double first_loss(const choice *c, const char *run)
{
    return loss_of(c, run, ZO2_WEIGHTS_WIRE);
}

/* The wire of frozen matrices is what passes see of them, and nothing else: exact values are the checkpoint's, what moves has its own. */
static void a_frozen_wire_is_seen(void **state)
{
    (void)state;
    choice c = {.model = opt, .vocab = 120, .tune = "layers=2", .wire = ZO2_WIRE_FP32};
    const double exact = loss_of(&c, "seen-exact", ZO2_WEIGHTS_MASTER), all = first_loss(&c, "seen-fp32");
    assert_true(exact == all);
    char run[2][32];
    int differ = 0;
    for (int wire = 1; zo2_wire_name((zo2_wire)wire); wire++) {
        c.frozen_wire = (zo2_wire)wire;
        for (int w = 0; w < 2; w++)
            snprintf(run[w], sizeof run[w], "seen-%d-%d", wire, w);
        assert_true(loss_of(&c, run[0], ZO2_WEIGHTS_MASTER) == exact);
        const int whole = !zo2_codec_get(c.frozen_wire)->rest_bytes(1, 1) || wire == ZO2_WIRE_BF16 ||
                          wire == ZO2_WIRE_BF12; /* the checkpoint's */
        const double loss = first_loss(&c, run[1]);
        if (whole)
            assert_true(loss == exact);
        differ += loss != exact;
        if (!(fabs(loss - exact) < 0.1 * exact))
            fail_msg("frozen %s: the loss is %.9g, with exact weights %.9g", zo2_wire_name(c.frozen_wire), loss, exact);
    }
    assert_true(differ >= 2); /* at least both kinds of fp8 */
}

/* Whatever moves, and whatever a run adds, it begins as the model. */
static void begins_as_the_model(void **state)
{
    (void)state;
    static const char *const tunes[] = {"vectors",
                                        "layers=2",
                                        "rows=0-60",
                                        "rows=5,119+matrices=0",
                                        "lora:r=2,targets=q_proj+o_proj+fc1+fc2",
                                        "lora:r=8+rows=0-119"};
    choice c = {.model = opt, .vocab = 120};
    char run[32];
    const double all = first_loss(&c, "begins-all");
    for (unsigned i = 0; i < sizeof tunes / sizeof *tunes; i++) {
        c.tune = tunes[i];
        snprintf(run, sizeof run, "begins-%u", i);
        const double loss = first_loss(&c, run);
        if (!(fabs(loss - all) <= 1e-6 * all))
            fail_msg("%s: the first loss is %.9g, the model's %.9g", tunes[i], loss, all);
    }
}

/* In each step one block alone moves. */
static void one_group_a_step(void **state)
{
    (void)state;
    static float *before[64], *after[64];
    const choice c = {.model = opt, .vocab = 120, .rotate = 1};
    zo2_engine_opts o = opts_of(&c);
    zo2_engine *e = start(&c, "turns", &o);
    const zo2_arch *a = e->core.arch;
    test_batch batch;
    read_all(e, before);
    assert_int_equal(a->groups, 5); /* embeddings, three layers, the final norm */
    for (uint64_t step = 0; step < 5; step++) {
        take_step(e, &c, step, &batch);
        read_all(e, after);
        for (uint32_t i = 0; i < a->n_tensors; i++) {
            const zo2_tensor *t = &a->tensors[i];
            int same = !memcmp(before[i], after[i], t->rows * t->cols * sizeof(float));
            assert_int_equal(same, t->block != 4 - step);
            free(before[i]);
            before[i] = after[i];
        }
    }
    for (uint32_t i = 0; i < a->n_tensors; i++)
        free(before[i]);
    zo2_engine_close(e);
}

/* ---- what is kept ---- */

typedef struct seen {
    int uploads, gemms; /* in the last step, below the fork */
    const zo2_arch *arch;
    uint64_t step;
} seen;

static void look(void *ud, const zo2_trace_event *ev)
{
    seen *s = ud;
    const zo2_tensor *t = ev->tensor ? zo2_arch_by_name(s->arch, ev->tensor) : NULL;
    if (ev->step != s->step || !t || t->block >= s->arch->fork || zo2_is_head(s->arch, t))
        return;
    s->uploads += !strcmp(ev->name, "upload");
    s->gemms += !strcmp(ev->name, "gemm");
}

static void a_filled_cache_needs_no_trunk(void **state)
{
    (void)state;
    const choice c = {.model = opt, .vocab = 120, .tune = "matrices=2"};
    seen s = {0};
    zo2_engine_opts o = opts_of(&c);
    o.trunk_cache = 1 << 20;
    o.trace = look;
    o.trace_ud = &s;
    static zo2_arch arch;
    zo2_engine_opts quiet = o;
    quiet.trace = NULL;
    zo2_engine *e = start(&c, "filled", &quiet);
    arch = *e->core.arch;
    s.arch = &arch;
    zo2_core_trace(&e->core, look, &s);
    outcome out;
    zo2_engine *cold = start(&c, "cold", &quiet); /* nothing is kept of it: the trunk is uploaded and multiplied */
    zo2_core_trace(&cold->core, look, &s);
    train(cold, &c, 1, &out);
    zo2_engine_close(cold);
    assert_true(s.uploads > 0 && s.gemms > 0);
    for (uint64_t line = 0; line < LINES; line++) {
        test_batch t;
        uint64_t kept = 0;
        batch_of(&t, &c, line);
        MUST(zo2_warm(e, &t.b, &kept));
        assert_int_equal(kept, 2);
    }
    train(e, &c, 2, &out);
    s.uploads = s.gemms = 0;
    s.step = 2;
    train(e, &c, 3, &out);
    assert_int_equal(s.uploads, 0);
    assert_int_equal(s.gemms, 0);
    zo2_trunk_stats stats = zo2_trunk_stats_of(e->core.trunk.store);
    assert_true(stats.entries >= LINES);
    zo2_engine_close(e);
}

static void warm_says_why_not(void **state)
{
    (void)state;
    test_batch t;
    choice c = {.model = opt, .vocab = 120, .tune = "vectors"};
    zo2_engine_opts o = opts_of(&c);
    o.trunk_cache = 1 << 20;
    zo2_engine *e = start(&c, "nothing", &o);
    batch_of(&t, &c, 0);
    assert_int_equal(zo2_warm(e, &t.b, NULL), ZO2_ERR_UNSUPPORTED);
    zo2_engine_close(e);
    c.tune = "layers=2";
    o = opts_of(&c);
    e = start(&c, "no-room", &o);
    assert_int_equal(zo2_warm(e, &t.b, NULL), ZO2_ERR_ARG);
    zo2_engine_close(e);
}

static int cancel(void *ud, const char *what, uint64_t done, uint64_t total)
{
    (void)ud, (void)what, (void)done, (void)total;
    return 1;
}

/* An open that fails leaves no file for what would have been kept. */
static void a_failed_open_leaves_nothing(void **state)
{
    (void)state;
    char dir[512], run[512], command[1100];
    const choice c = {.model = opt, .vocab = 120, .tune = "layers=2"};
    const char *const dirs[] = {scratch_path(dir, sizeof dir, "failed-spill")};
    zo2_engine_opts o = opts_of(&c);
    zo2_engine *e;
    spill(&c, &o, dirs, 1);
    o.trunk_cache = 1 << 20;
    o.progress = cancel;
    assert_int_equal(zo2_engine_open(&e, pack_of(opt), scratch_path(run, sizeof run, "failed"), &o), ZO2_ERR_CANCELLED);
    snprintf(command, sizeof command, "! ls '%s'/*.zo2? '%s' 2>/dev/null | grep .", dir, run);
    assert_int_equal(system(command), 0);
}

static void settings_are_the_runs(void **state)
{
    (void)state;
    const choice c = {.model = opt, .vocab = 120, .tune = "layers=2", .rotate = 3, .trunk_type = ZO2_BF16};
    zo2_engine_opts o = opts_of(&c), got;
    outcome out;
    zo2_engine *e = start(&c, "settings", &o);
    train(e, &c, 1, &out);
    zo2_engine_close(e);
    o.tune = NULL;
    o.tune_rotate = 0;
    o.trunk_type = 0;
    e = start(&c, "settings", &o);
    zo2_engine_get_opts(e, &got);
    assert_string_equal(got.tune, "layers=2");
    assert_int_equal(got.tune_rotate, 3);
    assert_int_equal(got.tune_order, ZO2_ORDER_TOP);
    assert_int_equal(got.trunk_type, ZO2_BF16);
    assert_int_equal(got.frozen_wire, 0); /* as wire: another wire alone that is asked for is what is told */
    zo2_engine_close(e);
    char path[512];
    o.tune = "layers=1";
    assert_int_equal(zo2_engine_open(&e, pack_of(opt), scratch_path(path, sizeof path, "settings"), &o),
                     ZO2_ERR_MISMATCH);
    assert_non_null(strstr(zo2_last_error(), "'tune' differs: the run has layers=2, this call has layers=1"));
    o.tune = NULL;
    o.frozen_wire = ZO2_WIRE_FP16;
    assert_int_equal(zo2_engine_open(&e, pack_of(opt), scratch_path(path, sizeof path, "settings"), &o),
                     ZO2_ERR_MISMATCH);
    assert_non_null(strstr(zo2_last_error(), "'frozen-wire' differs: the run has bf16, this call has fp16"));
    o.frozen_wire = 0;
    o.tune = "layers=3";
    assert_int_equal(zo2_engine_open(&e, pack_of(opt), scratch_path(path, sizeof path, "other"), &o), ZO2_ERR_ARG);
    assert_non_null(strstr(zo2_last_error(), "layers 0 to 2"));
}

/* One that would be of nothing is refused, and leaves nothing; the run's own wire is no other one. */
static void frozen_wires_are_of_something(void **state)
{
    (void)state;
    static const char *const tunes[] = {NULL, "all", "match=*weight"}; /* the last leaves biases alone */
    char path[512];
    zo2_engine *e;
    zo2_plan plan = {.struct_size = sizeof plan};
    for (int i = 0; i < 3; i++) {
        const choice c = {.model = opt, .vocab = 120, .tune = tunes[i], .frozen_wire = ZO2_WIRE_E4M3};
        zo2_engine_opts o = opts_of(&c);
        scratch_path(path, sizeof path, "of-nothing");
        assert_int_equal(zo2_engine_open(&e, pack_of(opt), path, &o), ZO2_ERR_ARG);
        assert_non_null(strstr(zo2_last_error(), "'frozen-wire': fp8-e4m3 is for matrices that don't move"));
        assert_int_equal(access(path, F_OK), -1);
        o.probe_seconds = 0;
        assert_int_equal(zo2_plan_estimate(pack_of(opt), &o, &plan), ZO2_ERR_ARG);
        o.frozen_wire = (zo2_wire)99;
        assert_int_equal(zo2_plan_estimate(pack_of(opt), &o, &plan), ZO2_ERR_ARG);
        o.frozen_wire = ZO2_WIRE_BF16;
        MUST(zo2_plan_estimate(pack_of(opt), &o, &plan));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_stay),           cmocka_unit_test(begins_as_the_model),
        cmocka_unit_test(a_frozen_wire_is_seen), cmocka_unit_test(frozen_wires_are_of_something),
        cmocka_unit_test(one_group_a_step),      cmocka_unit_test(a_filled_cache_needs_no_trunk),
        cmocka_unit_test(warm_says_why_not),     cmocka_unit_test(a_failed_open_leaves_nothing),
        cmocka_unit_test(settings_are_the_runs),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
