/* What zo2.h promises programs that use it oddly: structs that were zeroed or not sized, callbacks that return nonsense, the
 * last error, children that are forked, and messages about a batch that name its numbers. */
#include "tests/unit/engine/engine_testing.h"

#include <math.h>
#include <sys/wait.h>

enum { ROWS = 4, SEQ = 8, VOCAB = 90 };

static char pack[512];

static zo2_engine *open_run(const char *run, zo2_engine_opts *o)
{
    zo2_engine *e;
    char path[300];
    o->max_rows = ROWS;
    o->max_seq = SEQ;
    o->threads = 2;
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), o));
    return e;
}

static void says(const char *text)
{
    if (!strstr(zo2_last_error(), text))
        fail_msg("'%s' is not in: %s", text, zo2_last_error());
}

/* ---- structs that were not sized ---- */

static void test_struct_size(void **state)
{
    (void)state;
    zo2_engine_opts o;
    test_batch batch;
    zo2_engine_state before, after;
    struct {
        zo2_step_result r;
        uint8_t beyond[64];
    } result;
    zo2_engine_opts_init(&o);
    random_batch(&batch, 1, VOCAB, ROWS, SEQ, 0);
    zo2_engine *e = open_run("unsized", &o);
    zo2_engine_get_state(e, &before);
    memset(&result, 0, sizeof result);
    assert_int_equal(zo2_step(e, &batch.b, &result.r), ZO2_ERR_ARG);
    says("struct_size");
    zo2_engine_get_state(e, &after);
    assert_int_equal(after.step, before.step); /* refused before it is made */
    /* an older and a newer program's */
    memset(&result, 0xA5, sizeof result);
    result.r.struct_size = offsetof(zo2_step_result, seconds);
    MUST(zo2_step(e, &batch.b, &result.r));
    assert_int_equal(result.r.tokens > 0, 1);
    for (size_t i = offsetof(zo2_step_result, seconds); i < sizeof result; i++)
        assert_int_equal(((uint8_t *)&result)[i], 0xA5);
    result.r.struct_size = sizeof result;
    MUST(zo2_step(e, &batch.b, &result.r));
    assert_int_equal(result.r.step, 1);
    assert_int_equal(result.beyond[0], 0xA5);
    zo2_engine_close(e);

    zo2_convert_opts convert = {0};
    zo2_synth_opts synth = {0};
    zo2_export_opts export = {0};
    zo2_measure_spec spec = {0};
    zo2_engine_opts opts = {0};
    zo2_plan plan;
    zo2_measure *m;
    assert_int_equal(zo2_pack_convert("a", "b", &convert), ZO2_ERR_ARG);
    says("struct_size");
    assert_int_equal(zo2_pack_synth("opt-125m", "b", &synth), ZO2_ERR_ARG);
    says("struct_size");
    assert_int_equal(zo2_pack_export(pack, "b", &export), ZO2_ERR_ARG);
    says("struct_size");
    assert_int_equal(zo2_measure_open(&m, &spec, NULL), ZO2_ERR_ARG);
    says("struct_size");
    assert_int_equal(zo2_plan_estimate("opt-125m", &opts, &plan), ZO2_ERR_ARG);
    says("struct_size");
    assert_int_equal(zo2_engine_open(&e, pack, "b", &opts), ZO2_ERR_ARG);
    says("struct_size");
    assert_true(isnan(zo2_lr_at(&opts, 0)));
}

/* ---- options that were only zeroed ---- */

/* Sets a value and looks whether it arrives: fields of a zeroed struct are its own, all others get the defaults. */
static void test_zeroed_options(void **state)
{
    (void)state;
    zo2_engine_opts init, zeroed = {.struct_size = sizeof zeroed}, a, b;
    zo2_engine_opts_init(&init);
    zo2_engine *e = open_run("initialised", &init), *z = open_run("zeroed", &zeroed);
    zo2_engine_get_opts(e, &a);
    zo2_engine_get_opts(z, &b);
    a.snapshot_dir = b.snapshot_dir = NULL; /* each run's own */
    a.host_bytes = b.host_bytes = 0;        /* what is available at that time */
    assert_memory_equal(&a, &b, sizeof a);  /* every field */
    test_batch batch;
    random_batch(&batch, 1, VOCAB, ROWS, SEQ, 0);
    MUST(zo2_step(z, &batch.b, NULL));
    MUST(zo2_step(z, &batch.b, NULL));
    uint64_t trained, all, start;
    MUST(zo2_masters_hash(z, &trained));
    zo2_engine_close(e);
    zo2_engine_close(z);
    assert_true(zo2_lr_at(&zeroed, 3) == 1e-6 && zo2_lr_at(NULL, 3) == 1e-6);

    /* at_step 0 is all steps where it was only zeroed, and none where it is meant */
    char run[300];
    zo2_engine_opts reader = {.struct_size = sizeof reader, .read_only = 1};
    MUST(zo2_engine_open(&e, pack, scratch_path(run, sizeof run, "zeroed"), &reader));
    MUST(zo2_masters_hash(e, &all));
    zo2_engine_close(e);
    assert_true(all == trained);
    zo2_engine_opts_init(&reader);
    reader.read_only = 1;
    reader.at_step = 0;
    MUST(zo2_engine_open(&e, pack, run, &reader));
    MUST(zo2_masters_hash(e, &start));
    zo2_engine_close(e);
    assert_true(start != trained);

    zo2_plan plan;
    zo2_engine_opts sizes = {.struct_size = sizeof sizes};
    MUST(zo2_plan_estimate("opt-125m", &sizes, &plan));
    assert_true(plan.gemm_rate > 0); /* measured, as by default */
    zo2_engine_opts_init(&sizes);
    sizes.probe_seconds = 0;
    MUST(zo2_plan_estimate("opt-125m", &sizes, &plan));
    assert_true(plan.gemm_rate == 0);
}

static uint64_t file_bytes_differ(const char *a, const char *b)
{
    char command[1400];
    snprintf(command, sizeof command, "cmp -s '%s/model.safetensors' '%s/model.safetensors'", a, b);
    return system(command) != 0;
}

static void test_zeroed_export(void **state)
{
    (void)state;
    char run[300], all[300], zeroed[300], none[300];
    zo2_engine_opts o;
    test_batch batch;
    zo2_engine_opts_init(&o);
    o.lr = 0.1; /* fp32 weights: any change shows */
    random_batch(&batch, 1, VOCAB, ROWS, SEQ, 0);
    zo2_engine *e = open_run("to-export", &o);
    MUST(zo2_step(e, &batch.b, NULL));
    zo2_engine_close(e);
    zo2_export_opts x, z = {.struct_size = sizeof z};
    zo2_export_opts_init(&x);
    x.run_dir = z.run_dir = scratch_path(run, sizeof run, "to-export");
    MUST(zo2_pack_export(pack, scratch_path(all, sizeof all, "all"), &x));
    MUST(zo2_pack_export(pack, scratch_path(zeroed, sizeof zeroed, "zeroed-export"), &z));
    x.at_step = 0;
    MUST(zo2_pack_export(pack, scratch_path(none, sizeof none, "none"), &x));
    assert_false(file_bytes_differ(all, zeroed));
    assert_true(file_bytes_differ(all, none));
}

/* ---- callbacks ---- */

static zo2_status return_it(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)logprobs, (void)n;
    *loss = 1;
    return *(zo2_status *)ud;
}

static zo2_status say_why(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)ud, (void)logprobs, (void)n, (void)loss;
    return zo2_error(ZO2_ERR_IO, "the reward model is gone");
}

static void test_callback_statuses(void **state)
{
    (void)state;
    static const int returned[] = {1, 7, INT32_MAX, ZO2_ERR_NOTFOUND};
    test_batch batch;
    zo2_scores scores;
    zo2_engine_opts o;
    zo2_engine_state now;
    zo2_status give = ZO2_OK;
    random_batch(&batch, 1, VOCAB, ROWS, SEQ, 0);
    zo2_engine_opts_init(&o);
    o.loss = return_it;
    o.loss_ud = &give;
    zo2_engine *e = open_run("statuses", &o);
    for (size_t i = 0; i < sizeof returned / sizeof returned[0]; i++) {
        zo2_scores_init(&scores);
        give = (zo2_status)returned[i];
        zo2_error(ZO2_ERR_IO, "stale");
        assert_int_equal(zo2_step(e, &batch.b, NULL), give > 0 ? ZO2_ERR_ARG : give);
        says(give > 0 ? "is no zo2_status" : "the loss function failed: not found");
        zo2_error(ZO2_ERR_IO, "stale");
        assert_int_equal(zo2_forward(e, &batch.b, ZO2_WEIGHTS_WIRE, &scores), give > 0 ? ZO2_ERR_ARG : give);
        assert_null(strstr(zo2_last_error(), "stale"));
        zo2_engine_get_state(e, &now);
        assert_int_equal(now.step, 0);
    }
    give = ZO2_OK;
    MUST(zo2_step(e, &batch.b, NULL));
    zo2_engine_close(e);
    o.loss = say_why;
    e = open_run("reasons", &o);
    assert_int_equal(zo2_step(e, &batch.b, NULL), ZO2_ERR_IO);
    assert_string_equal(zo2_last_error(), "the reward model is gone");
    zo2_engine_close(e);
}

/* ---- the last error ---- */

#define REFUSED(call)                                       \
    do {                                                    \
        zo2_error(ZO2_ERR_IO, "stale");                     \
        assert_true((call) < 0);                            \
        assert_string_not_equal(zo2_last_error(), "stale"); \
        assert_true(zo2_last_error()[0] != '\0');           \
    } while (0)

#define DONE(call)                                 \
    do {                                           \
        zo2_error(ZO2_ERR_IO, "stale");            \
        MUST(call);                                \
        assert_string_equal(zo2_last_error(), ""); \
    } while (0)

static void test_last_error(void **state)
{
    (void)state;
    char path[300], other[300];
    zo2_engine *e;
    zo2_pack *p;
    zo2_run *r;
    zo2_measure *m;
    zo2_engine_opts o;
    zo2_plan plan;
    zo2_scores scores;
    zo2_pack_info info;
    zo2_tensor_info tensor;
    zo2_wire_error wire_error;
    zo2_run_record record;
    zo2_measure_spec spec;
    test_batch batch;
    uint64_t hash;
    double seconds;
    float value;
    const char *data;
    size_t bytes;
    zo2_engine_opts_init(&o);
    zo2_scores_init(&scores);
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_UPDATE;
    spec.rows = spec.cols = 64;
    o.probe_seconds = 0;
    random_batch(&batch, 1, VOCAB, ROWS, SEQ, 0);

    DONE(zo2_pack_open(&p, pack));
    DONE(zo2_pack_get_info(p, &info));
    DONE(zo2_pack_tensor(p, 0, &tensor));
    DONE(zo2_pack_file(p, "config.json", &data, &bytes));
    DONE(zo2_pack_verify(p, NULL, NULL));
    DONE(zo2_pack_wire_error(p, 0, ZO2_WIRE_BF16, 1, &wire_error));
    DONE(zo2_pack_export(pack, scratch_path(path, sizeof path, "last-export"), NULL));
    DONE(zo2_pack_convert(path, scratch_path(other, sizeof other, "last.zo2"), NULL));
    DONE(zo2_plan_estimate("opt-125m", &o, &plan));
    DONE(zo2_measure_open(&m, &spec, NULL));
    DONE(zo2_measure_run(m, 1, &seconds));
    DONE(zo2_noise_fill(&value, 1, 2, 3, 4, 5, 1, ZO2_GAUSSIAN));
    e = open_run("last", &o);
    assert_string_equal(zo2_last_error(), "");
    DONE(zo2_step(e, &batch.b, NULL));
    DONE(zo2_forward(e, &batch.b, ZO2_WEIGHTS_WIRE, &scores));
    DONE(zo2_snapshot(e));
    DONE(zo2_masters_hash(e, &hash));
    DONE(zo2_tensor_read(e, tensor.name, 0, 1, &value));
    scratch_path(path, sizeof path, "last");
    DONE(zo2_run_open(&r, path));
    DONE(zo2_run_record_get(r, 0, &record));
    DONE(zo2_run_verify(path, pack, NULL, NULL));
    zo2_run_close(r);
    zo2_engine_close(e);
    zo2_measure_close(m);
    zo2_pack_close(p);

    REFUSED(zo2_pack_open(&p, NULL));
    REFUSED(zo2_pack_open_arch(&p, NULL));
    REFUSED(zo2_pack_get_info(NULL, &info));
    REFUSED(zo2_pack_tensor(NULL, 0, &tensor));
    REFUSED(zo2_pack_file(NULL, "a", &data, &bytes));
    REFUSED(zo2_pack_verify(NULL, NULL, NULL));
    REFUSED(zo2_pack_wire_error(NULL, 0, ZO2_WIRE_BF16, 1, &wire_error));
    REFUSED(zo2_pack_export(NULL, "a", NULL));
    REFUSED(zo2_pack_convert(NULL, "a", NULL));
    REFUSED(zo2_pack_synth(NULL, "a", NULL));
    REFUSED(zo2_plan_estimate(NULL, &o, &plan));
    REFUSED(zo2_measure_open(&m, NULL, NULL));
    REFUSED(zo2_measure_run(NULL, 1, &seconds));
    REFUSED(zo2_noise_fill(NULL, 1, 2, 3, 4, 5, 1, ZO2_GAUSSIAN));
    REFUSED(zo2_engine_open(&e, NULL, "a", &o));
    REFUSED(zo2_run_open(&r, NULL));
    REFUSED(zo2_run_record_get(NULL, 0, &record));
    REFUSED(zo2_run_verify(NULL, NULL, NULL, NULL));
    assert_int_equal(zo2_run_steps(NULL), 0);
    assert_int_equal(zo2_run_model_hash(NULL), 0);

    /* an abort has a text as well */
    zo2_engine_opts again;
    zo2_engine_opts_init(&again);
    e = open_run("aborted", &again);
    zo2_step_abort(e);
    REFUSED(zo2_step(e, &batch.b, NULL));
    says("cancelled");
    zo2_engine_close(e);
}

/* ---- batches ---- */

static void test_batch_numbers(void **state)
{
    (void)state;
    zo2_engine *e;
    zo2_engine_opts o;
    test_batch batch;
    char path[300];
    zo2_engine_opts_init(&o);
    o.max_rows = 6;
    o.max_rows_micro = 2;
    o.micro_batch = 2;
    o.max_seq = 8;
    o.max_loss_tokens = 20;
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, "numbers"), &o));
    random_batch(&batch, 1, VOCAB, 8, 8, 0); /* full rows: 7 tokens to compute each */
    memset(batch.mask, 1, sizeof batch.mask);
    for (uint32_t i = 0; i < 64; i++) {
        batch.tokens[i] = 5;
        batch.loss[i] = i % 8 == 7;
    }
    assert_int_equal(zo2_step(e, &batch.b, NULL), ZO2_ERR_ARG);
    says("the batch has 56 tokens to compute, more than the 42 that the engine was opened for (max_rows, max_seq)");
    batch.b.rows = 6;
    MUST(zo2_step(e, &batch.b, NULL));
    for (uint32_t i = 0; i < 48; i++)
        batch.loss[i] = i % 8 > 3;
    assert_int_equal(zo2_step(e, &batch.b, NULL), ZO2_ERR_ARG);
    says("the batch has 24 loss tokens, more than the 20 that the engine was opened for (max_loss_tokens)");
    /* three rows of one example in one micro-batch, which the whole batch has room for; no common prompt */
    for (uint32_t i = 0; i < 48; i++) {
        batch.loss[i] = i % 8 == 7;
        batch.tokens[i] = (int32_t)(i / 8);
    }
    for (uint32_t r = 0; r < 6; r++)
        batch.example[r] = r / 3;
    batch.b.example = batch.example;
    batch.b.examples = 2;
    assert_int_equal(zo2_step(e, &batch.b, NULL), ZO2_ERR_ARG);
    says(
        "a micro-batch has 42 tokens to compute, more than the 14 that the engine was opened for (max_rows_micro, max_seq)");
    batch.b.seq = 9;
    batch.b.rows = 1;
    batch.b.examples = 0;
    batch.b.example = NULL;
    memset(batch.tokens, 0, 9 * sizeof *batch.tokens);
    assert_int_equal(zo2_step(e, &batch.b, NULL), ZO2_ERR_ARG);
    says("a row of 9 tokens is longer than the 8 ");
    zo2_engine_close(e);
}

/* ---- forks ---- */

/* Exit status of a child that does it; a child that hangs is killed. */
static int in_child(int (*run)(void *), void *arg)
{
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(20);
        _exit(run(arg));
    }
    int status = 0;
    assert_true(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

typedef struct parent {
    zo2_engine *e;
    zo2_measure *m;
    test_batch batch;
    uint64_t hash;
} parent;

static int use_and_close(void *arg)
{
    parent *p = arg;
    double seconds;
    uint64_t hash;
    zo2_scores scores;
    zo2_engine_state now;
    zo2_scores_init(&scores);
    if (zo2_step(p->e, &p->batch.b, NULL) != ZO2_ERR_UNSUPPORTED || !strstr(zo2_last_error(), "forked"))
        return 1;
    if (zo2_forward(p->e, &p->batch.b, ZO2_WEIGHTS_WIRE, &scores) != ZO2_ERR_UNSUPPORTED ||
        zo2_snapshot(p->e) != ZO2_ERR_UNSUPPORTED || zo2_masters_hash(p->e, &hash) != ZO2_ERR_UNSUPPORTED)
        return 2;
    if (zo2_measure_run(p->m, 1, &seconds) != ZO2_ERR_UNSUPPORTED)
        return 3;
    zo2_step_abort(p->e);
    zo2_engine_get_state(p->e, &now);
    zo2_measure_close(p->m);
    zo2_engine_close(p->e);
    return now.step == 1 ? 0 : 4;
}

static inline int use_own(void *arg)
{
    parent *p = arg;
    zo2_engine *e;
    zo2_engine_opts o;
    uint64_t hash;
    char path[300];
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    int bad = zo2_engine_open(&e, pack, scratch_path(path, sizeof path, "child"), &o) ||
              zo2_step(e, &p->batch.b, NULL) || zo2_masters_hash(e, &hash) || hash != p->hash;
    if (bad)
        return 1;
    zo2_engine_close(e);
    return 0;
}

static void test_forks(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_measure_spec spec;
    parent p = {.e = NULL};
    zo2_engine_opts_init(&o);
    zo2_measure_spec_init(&spec);
    spec.kind = ZO2_MEASURE_GEMM;
    spec.rows = spec.cols = spec.tokens = 64;
    random_batch(&p.batch, 1, VOCAB, ROWS, SEQ, 0);
    p.e = open_run("forks", &o);
    MUST(zo2_measure_open(&p.m, &spec, NULL));
    MUST(zo2_step(p.e, &p.batch.b, NULL));
    MUST(zo2_masters_hash(p.e, &p.hash));
    assert_int_equal(in_child(use_and_close, &p), 0);
#ifndef __SANITIZE_THREAD__ /* which doesn't start threads in a child */
    assert_int_equal(in_child(use_own, &p), 0);
#endif
    MUST(zo2_step(p.e, &p.batch.b, NULL)); /* and the parent goes on, with its lock */
    char path[300];
    zo2_engine *second;
    o.resume = 1;
    assert_int_equal(zo2_engine_open(&second, pack, scratch_path(path, sizeof path, "forks"), &o), ZO2_ERR_BUSY);
    zo2_measure_close(p.m);
    zo2_engine_close(p.e);
}

static int make_pack(void **state)
{
    (void)state;
    snprintf(pack, sizeof pack, "%s", pack_of("opt-fixtures/prenorm-f32"));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_struct_size),   cmocka_unit_test(test_zeroed_options),
        cmocka_unit_test(test_zeroed_export), cmocka_unit_test(test_callback_statuses),
        cmocka_unit_test(test_last_error),    cmocka_unit_test(test_batch_numbers),
        cmocka_unit_test(test_forks),
    };
    return cmocka_run_group_tests(tests, make_pack, test_clean);
}
