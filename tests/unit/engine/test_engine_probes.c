/* test_engine_probes.c: a pass evaluates the streams of any probe plan, not those of SPSA alone. What a stream gives depends on
 * its probe only: not on its place in the plan, nor on the stream it shares a decoding with. */
#include "engine/method/method.h"
#include "engine/method/probe.h"
#include "tests/unit/engine/engine_testing.h"

enum { ROWS = 6, SEQ = 14, MOST_LOSSES = ROWS * SEQ };

static zo2_engine *open_engine(const char *model, const char *run, zo2_wire wire, uint32_t micro_rows)
{
    zo2_engine *e;
    zo2_engine_opts o;
    char path[300];
    zo2_engine_opts_init(&o);
    o.seed = 3;
    o.eps = 1e-2;
    o.queries = 2;
    o.wire = wire;
    o.backend = TEST_BACKEND;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    if (micro_rows) {
        o.max_rows_micro = micro_rows;
        o.micro_batch = micro_rows;
    }
    MUST(zo2_engine_open(&e, pack_of(model), scratch_path(path, sizeof path, run), &o));
    return e;
}

static zo2_probe_plan plan_of(uint32_t n, const zo2_probe *stream)
{
    zo2_probe_plan p = {.streams = n};
    memcpy(p.stream, stream, n * sizeof *stream);
    return p;
}

/* Log-probabilities of the plan's streams: out[streams][losses]; returns losses. */
static uint64_t evaluate(zo2_engine *e, const zo2_batch *batch, const zo2_probe_plan *plan, float *out)
{
    MUST(zo2_core_pack(&e->core, batch));
    MUST(zo2_core_train_pass(&e->core, plan));
    uint64_t n = e->core.packed.losses;
    assert_true(n <= MOST_LOSSES);
    memcpy(out, e->core.logprob, plan->streams * n * sizeof *out);
    return n;
}

static void groups_need_one_querys_noise(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        zo2_probe stream[5];
        uint32_t groups, panels;
    } cases[] = {
        {1, {{0, 0}}, 1, 1},
        {2, {{0, 1}, {0, -1}}, 1, 2},
        {2, {{0, 1}, {1, -1}}, 2, 1},
        {4, {{0, 1}, {0, -1}, {1, 1}, {1, -1}}, 2, 2},
        {3, {{0, 0}, {0, 1}, {1, 1}}, 2, 2},
        {3, {{0, 1}, {0, 0}, {1, 1}}, 2, 2},
        {5, {{0, 0}, {0, 0}, {1, 1}, {0, 1}, {0, -1}}, 3, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2_probe_plan p = plan_of(cases[i].n, cases[i].stream);
        assert_int_equal(zo2_probe_groups(&p), cases[i].groups);
        assert_int_equal(zo2_probe_panels(&p), cases[i].panels);
        for (uint32_t at = 0; at < p.streams;) {
            zo2_probe_group g = zo2_probe_group_at(&p, at);
            assert_int_equal(g.first, at);
            for (uint32_t k = 0; k < g.n; k++) {
                assert_int_equal(g.sign[k], p.stream[at + k].sign);
                assert_true(!g.sign[k] || g.query == p.stream[at + k].query);
            }
            at += g.n;
        }
    }
}

static void spsa_probes_both_signs_of_each_query(void **state)
{
    (void)state;
    zo2_probe_plan p;
    zo2_method_get()->probes(ZO2_MAX_QUERIES, 7, &p);
    assert_int_equal(p.streams, 2 * ZO2_MAX_QUERIES);
    assert_null(p.moves);
    for (uint32_t i = 0; i < p.streams; i++) {
        assert_int_equal(p.stream[i].query, i / 2);
        assert_int_equal(p.stream[i].sign, i % 2 ? -1 : 1);
    }
}

static void check_places(const char *model, zo2_wire wire, uint32_t micro_rows, const char *run)
{
    static float spsa[4 * MOST_LOSSES], got[4 * MOST_LOSSES], at_w[MOST_LOSSES]; /* [streams][losses] */
    static const zo2_probe mixed[] = {{0, 0}, {1, -1}, {0, -1}, {0, 1}}, turned[] = {{0, -1}, {0, 0}, {1, 1}};
    zo2_engine *e = open_engine(model, run, wire, micro_rows);
    test_batch batch;
    random_batch(&batch, 9, 90, ROWS, SEQ, 0);
    zo2_probe_plan p;
    zo2_method_get()->probes(2, 0, &p);
    uint64_t n = evaluate(e, &batch.b, &p, spsa);
    size_t bytes = n * sizeof(float);
    zo2_scores scores;
    zo2_scores_init(&scores);
    scores.logprobs = at_w;
    MUST(zo2_forward(e, &batch.b, ZO2_WEIGHTS_WIRE, &scores));

    p = plan_of(4, mixed);
    evaluate(e, &batch.b, &p, got);
    const float *want[] = {at_w, spsa + 3 * n, spsa + n, spsa};
    for (uint32_t i = 0; i < 4; i++)
        assert_memory_equal(got + i * n, want[i], bytes);

    p = plan_of(3, turned);
    evaluate(e, &batch.b, &p, got);
    assert_memory_equal(got, spsa + n, bytes);
    assert_memory_equal(got + n, at_w, bytes);
    assert_memory_equal(got + 2 * n, spsa + 2 * n, bytes);

    assert_memory_not_equal(spsa, at_w, bytes);
    assert_memory_not_equal(spsa, spsa + n, bytes);
    assert_memory_not_equal(spsa, spsa + 2 * n, bytes);
    zo2_engine_close(e);
}

static void a_streams_bits_depend_on_its_probe_alone(void **state)
{
    (void)state;
    check_places("opt-fixtures/prenorm-f32", ZO2_WIRE_FP32, 0, "places");
    check_places("opt-fixtures/prenorm-f32", ZO2_WIRE_E4M3, 2, "places-micro");
}

/* A frozen model has no streams but W's, and a plan that memory wasn't planned for is refused before anything runs. */
static void plans_are_checked_and_frozen_tensors_stay(void **state)
{
    (void)state;
    static float got[4 * MOST_LOSSES], at_w[MOST_LOSSES];
    static const uint8_t none[512];
    zo2_engine *e = open_engine("opt-fixtures/untied-f32-sharded", "frozen", ZO2_WIRE_BF16, 0);
    test_batch batch;
    random_batch(&batch, 9, 90, ROWS, SEQ, 0);
    zo2_scores scores;
    zo2_scores_init(&scores);
    scores.logprobs = at_w;
    MUST(zo2_forward(e, &batch.b, ZO2_WEIGHTS_WIRE, &scores));
    assert_true(e->core.arch->n_tensors <= sizeof none);

    zo2_probe_plan p;
    zo2_method_get()->probes(2, 0, &p);
    p.moves = none;
    uint64_t n = evaluate(e, &batch.b, &p, got);
    for (uint32_t i = 0; i < p.streams; i++)
        assert_memory_equal(got + i * n, at_w, n * sizeof *got);

    static const zo2_probe five[5] = {{0, 1}, {0, -1}, {1, 1}, {1, -1}, {0, 0}}, apart[3] = {{0, 1}, {1, 1}, {0, 1}};
    p = plan_of(5, five);
    assert_int_equal(zo2_core_train_pass(&e->core, &p), ZO2_ERR_INTERNAL);
    p = plan_of(3, apart); /* few streams, but each needs a decoding of its own */
    assert_int_equal(zo2_core_train_pass(&e->core, &p), ZO2_ERR_INTERNAL);
    p.streams = 0;
    assert_int_equal(zo2_core_train_pass(&e->core, &p), ZO2_ERR_INTERNAL);
    zo2_step_result r = {.struct_size = sizeof r};
    MUST(zo2_step(e, &batch.b, &r)); /* none of that is left */
    zo2_engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_need_one_querys_noise),
        cmocka_unit_test(spsa_probes_both_signs_of_each_query),
        cmocka_unit_test(a_streams_bits_depend_on_its_probe_alone),
        cmocka_unit_test(plans_are_checked_and_frozen_tensors_stay),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
