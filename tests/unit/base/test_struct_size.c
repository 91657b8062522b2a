/* test_struct_size.c: programs compiled with another header: nothing is written past the size that they name, what they
 * lack keeps its default, what only they have is zero. */
#include "tests/unit/engine/engine_testing.h"

#include <math.h>

#define POISON 0xA5

typedef union memory {
    size_t struct_size;
    double align;
    uint8_t bytes[4096];
} memory;

/* The caller knows `have` bytes of a struct of which this library knows `size`; full: the library's own. */
static void check_filled(const memory *m, size_t have, const void *full, size_t size)
{
    size_t shared = have < size ? have : size;
    assert_true(have < sizeof m->bytes);
    assert_true(m->struct_size == have);
    assert_memory_equal(m->bytes + sizeof(size_t), (const uint8_t *)full + sizeof(size_t), shared - sizeof(size_t));
    for (size_t i = shared; i < have; i++)
        assert_int_equal(m->bytes[i], 0);
    for (size_t i = have; i < sizeof m->bytes; i++)
        assert_int_equal(m->bytes[i], POISON);
}

static void poison(memory *m)
{
    memset(m->bytes, POISON, sizeof m->bytes);
}

/* Sizes around this library's, and none at all. */
#define CHECK_INIT(type, init)                                                        \
    do {                                                                              \
        type full;                                                                    \
        const size_t sizes[] = {sizeof(size_t), 2 * sizeof(size_t), sizeof full - 8,  \
                                sizeof full,    sizeof full + 8,    2 * sizeof full}; \
        memory m;                                                                     \
        init(&full);                                                                  \
        assert_true(full.struct_size == sizeof full);                                 \
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {                   \
            poison(&m);                                                               \
            init##_sized((type *)(void *)&m, sizes[i]);                               \
            check_filled(&m, sizes[i], &full, sizeof full);                           \
        }                                                                             \
        poison(&m);                                                                   \
        init##_sized((type *)(void *)&m, sizeof(size_t) - 1);                         \
        for (size_t i = 0; i < sizeof m.bytes; i++)                                   \
            assert_int_equal(m.bytes[i], POISON);                                     \
        init##_sized(NULL, sizeof full);                                              \
    } while (0)

static void options_are_set(void **state)
{
    (void)state;
    CHECK_INIT(zo2_engine_opts, zo2_engine_opts_init);
    CHECK_INIT(zo2_convert_opts, zo2_convert_opts_init);
    CHECK_INIT(zo2_synth_opts, zo2_synth_opts_init);
    CHECK_INIT(zo2_tokenizer_opts, zo2_tokenizer_opts_init);
    CHECK_INIT(zo2_export_opts, zo2_export_opts_init);
    CHECK_INIT(zo2_measure_spec, zo2_measure_spec_init);
    CHECK_INIT(zo2_scores, zo2_scores_init);
    zo2_engine_opts o;
    zo2_export_opts x;
    zo2_engine_opts_init(&o);
    zo2_export_opts_init(&x);
    assert_true(isnan(o.lr) && isnan(o.probe_seconds) && o.pending == -1 && o.warmup == UINT64_MAX && o.at_step == -1);
    assert_int_equal(x.at_step, -1);
}

/* Options that end before the last fields mean those fields' defaults. */
static void short_options_are_taken(void **state)
{
    (void)state;
    zo2_measure_spec spec;
    zo2_measure *m;
    double seconds;
    zo2_measure_spec_init_sized(&spec, offsetof(zo2_measure_spec, chunk_bytes));
    spec.kind = ZO2_MEASURE_UPDATE;
    spec.rows = spec.cols = 64;
    spec.chunk_bytes = UINT64_MAX; /* would be refused, but is not the caller's */
    spec.pending = UINT32_MAX;
    MUST(zo2_measure_open(&m, &spec, NULL));
    MUST(zo2_measure_run(m, 1, &seconds));
    zo2_measure_close(m);
    spec.struct_size = sizeof spec;
    assert_int_equal(zo2_measure_open(&m, &spec, NULL), ZO2_ERR_ARG);
}

static void plans_are_filled(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_plan full;
    memory m;
    zo2_engine_opts_init(&o);
    o.probe_seconds = 0;
    MUST(zo2_plan_estimate("opt-125m", &o, &full));
    assert_true(full.struct_size == sizeof full && full.parameters > 0);
    const size_t sizes[] = {offsetof(zo2_plan, proposed_batch), sizeof full, sizeof full + 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        poison(&m);
        MUST(zo2_plan_estimate_sized("opt-125m", &o, (zo2_plan *)(void *)&m, sizes[i]));
        check_filled(&m, sizes[i], &full, sizeof full);
    }
    poison(&m); /* a refusal leaves zeros */
    assert_int_equal(zo2_plan_estimate_sized("opt-1x", &o, (zo2_plan *)(void *)&m, 64), ZO2_ERR_NOTFOUND);
    memset(&full, 0, sizeof full);
    check_filled(&m, 64, &full, sizeof full);
}

static void choices_are_counted(void **state)
{
    (void)state;
    zo2_tune_info full;
    memory m;
    MUST(zo2_tune_count("opt-125m", "layers=10-11", &full));
    assert_true(full.struct_size == sizeof full && full.moving > 0);
    const size_t sizes[] = {offsetof(zo2_tune_info, rows), sizeof full, sizeof full + 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        poison(&m);
        MUST(zo2_tune_count_sized("opt-125m", "layers=10-11", (zo2_tune_info *)(void *)&m, sizes[i]));
        check_filled(&m, sizes[i], &full, sizeof full);
    }
}

static void an_engine_fills(void **state)
{
    (void)state;
    char path[512];
    zo2_engine *e;
    zo2_engine_opts o, opts;
    zo2_plan plan;
    zo2_run *run;
    memory m;
    zo2_engine_opts_init(&o);
    o.max_rows = 2;
    o.max_seq = 8;
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/prenorm-f32"), scratch_path(path, sizeof path, "run"), &o));
    zo2_engine_get_opts(e, &opts);
    zo2_engine_get_plan(e, &plan);
    assert_true(opts.struct_size == sizeof opts && plan.struct_size == sizeof plan && plan.parameters > 0);
    poison(&m);
    zo2_engine_get_opts_sized(e, (zo2_engine_opts *)(void *)&m, offsetof(zo2_engine_opts, probe_seconds));
    check_filled(&m, offsetof(zo2_engine_opts, probe_seconds), &opts, sizeof opts);
    poison(&m);
    zo2_engine_get_plan_sized(e, (zo2_plan *)(void *)&m, offsetof(zo2_plan, proposed_batch));
    check_filled(&m, offsetof(zo2_plan, proposed_batch), &plan, sizeof plan);

    /* a newer caller's batch and scores: what this library doesn't know is left alone */
    test_batch t;
    struct {
        zo2_batch known;
        uint64_t more;
    } batch;
    struct {
        zo2_scores known;
        uint64_t more;
    } scores = {.more = 7};
    random_batch(&t, 1, 100, 2, 8, 0);
    batch.known = t.b;
    batch.known.struct_size = sizeof batch;
    batch.more = 9;
    scores.known.struct_size = sizeof scores;
    MUST(zo2_forward(e, &batch.known, ZO2_WEIGHTS_WIRE, &scores.known));
    assert_true(scores.known.loss_tokens > 0 && scores.known.loss > 0 && scores.more == 7);
    assert_true(scores.known.struct_size == sizeof scores);
    scores.known.struct_size = 0;
    assert_int_equal(zo2_forward(e, &batch.known, ZO2_WEIGHTS_WIRE, &scores.known), ZO2_ERR_ARG);
    /* an older one's */
    poison(&m);
    memset(m.bytes, 0, offsetof(zo2_scores, logprobs));
    m.struct_size = offsetof(zo2_scores, logprobs);
    MUST(zo2_forward(e, &batch.known, ZO2_WEIGHTS_WIRE, (zo2_scores *)(void *)&m));
    scores.known.struct_size = 0;
    check_filled(&m, offsetof(zo2_scores, logprobs), &scores.known, sizeof scores.known);
    zo2_engine_close(e);

    MUST(zo2_run_open(&run, path));
    zo2_run_get_opts(run, &opts);
    poison(&m);
    zo2_run_get_opts_sized(run, (zo2_engine_opts *)(void *)&m, sizeof opts + 8);
    check_filled(&m, sizeof opts + 8, &opts, sizeof opts);
    zo2_run_close(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_set),  cmocka_unit_test(short_options_are_taken),
        cmocka_unit_test(plans_are_filled), cmocka_unit_test(choices_are_counted),
        cmocka_unit_test(an_engine_fills),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
