/* test_engine_bounds.c: what changes bits but must not change results: micro-batches, prompt sharing, queries, compute
 * types, wires.
 *
 * Bound for losses computed along different cuts: a loss is a mean of log-probabilities; each is a function of sums of
 * at most max(ffn, hidden, vocab) = 160 products of fp32 values in this model, through 2 layers. The rounding errors of
 * a sum of n products are at most n 2^-24 of the sum of magnitudes; with about 10 such sums in a row and logits up to
 * 30 the bound is 10 * 160 * 6e-8 * 30 = 3e-3. Errors of random sign stay far below; 1e-4 is asked for. The coefficient
 * c = lr g / Q divides a difference of losses by 2 eps. */
#include "tests/unit/engine/engine_testing.h"

#include <math.h>

#define MODEL      "opt-fixtures/prenorm-f16-headdim20"
#define LOSS_BOUND 1e-4

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.seed = 11;
    o.max_rows = 12;
    o.max_seq = 14;
    o.threads = 2;
    o.wire = ZO2_WIRE_FP32;
    o.compute = ZO2_F32;
    return o;
}

static zo2_run_record one_step(const char *name, const zo2_engine_opts *o, const zo2_batch *b)
{
    char run[512];
    zo2_engine *e;
    zo2_run *r;
    zo2_run_record record;
    MUST(zo2_engine_open(&e, pack_of(MODEL), scratch_path(run, sizeof run, name), o));
    MUST(zo2_step(e, b, NULL));
    zo2_engine_close(e);
    MUST(zo2_run_open(&r, run));
    assert_int_equal(zo2_run_steps(r), 1);
    MUST(zo2_run_record_get(r, 0, &record));
    zo2_run_close(r);
    return record;
}

static void assert_near(double a, double b, double bound)
{
    if (!(fabs(a - b) <= bound))
        fail_msg("%.9g and %.9g differ by more than %g", a, b, bound);
}

static void micro_batches(void **state)
{
    (void)state;
    for (int labelled = 0; labelled < 2; labelled++) {
        test_batch t;
        char name[64];
        random_batch(&t, 3, 100, 12, 14, labelled ? 3 : 0);
        zo2_engine_opts o = base_opts();
        snprintf(name, sizeof name, "whole-%d", labelled);
        zo2_run_record whole = one_step(name, &o, &t.b);
        for (uint32_t micro = 1; micro <= 5; micro++) {
            o.micro_batch = micro;
            snprintf(name, sizeof name, "micro-%d-%u", labelled, micro);
            zo2_run_record r = one_step(name, &o, &t.b);
            assert_near(r.loss_plus, whole.loss_plus, LOSS_BOUND);
            assert_near(r.loss_minus, whole.loss_minus, LOSS_BOUND);
            assert_int_equal(r.tokens, whole.tokens);
        }
    }
}

/* Rows of one example share their prompt; as examples of their own they don't. The log-probabilities are the same. */
static void shared_prompts(void **state)
{
    (void)state;
    test_batch t;
    zo2_engine_opts o = base_opts();
    zo2_engine *e;
    zo2_scores shared, apart;
    float a[256], b[256];
    o.read_only = 1;
    random_batch(&t, 8, 100, 12, 14, 4);
    MUST(zo2_engine_open(&e, pack_of(MODEL), NULL, &o));
    zo2_scores_init(&shared);
    zo2_scores_init(&apart);
    shared.logprobs = a;
    apart.logprobs = b;
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_WIRE, &shared));
    uint64_t packed = e->core.packed.tokens;
    t.b.examples = 0;
    t.b.example = t.b.label = NULL;
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_WIRE, &apart));
    assert_true(packed < e->core.packed.tokens);
    assert_int_equal(shared.loss_tokens, apart.loss_tokens);
    for (uint64_t i = 0; i < apart.loss_tokens; i++)
        assert_near(a[i], b[i], LOSS_BOUND);
    zo2_engine_close(e);
}

/* Query q of a two-query step is the same experiment as a one-query step with that query's z: losses agree, so g does
 * within the bound, and the two-query step's coefficients are half the single ones'. Query 0 is the single run's own.
 */
static void queries(void **state)
{
    (void)state;
    test_batch t;
    random_batch(&t, 21, 100, 12, 14, 0);
    zo2_engine_opts o = base_opts();
    zo2_run_record single = one_step("single", &o, &t.b);
    o.queries = 2;
    zo2_run_record both = one_step("both", &o, &t.b);
    assert_int_equal(both.queries, 2);
    assert_near(both.query[0].loss_plus, single.loss_plus, LOSS_BOUND);
    assert_near(both.query[0].loss_minus, single.loss_minus, LOSS_BOUND);
    double g_bound = LOSS_BOUND / 1e-3; /* two losses, each within the bound, over 2 eps */
    assert_near(both.query[0].c, single.query[0].c / 2, 1e-3 * g_bound / 2);
    assert_true(both.query[1].loss_plus != both.query[0].loss_plus);
    for (int q = 0; q < 2; q++)
        assert_true(both.query[q].c == (float)(1e-3 * (double)both.query[q].g_clipped / 2));
    assert_near(both.projected_grad, ((double)both.query[0].g_raw + both.query[1].g_raw) / 2,
                1e-6 * fabs(both.projected_grad));
}

/* The second query alone: a custom loss that sees streams in the documented order gives both queries' losses by hand.
 */
typedef struct custom {
    int calls;
    double loss[4];
} custom;

static zo2_status mean_loss(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    custom *c = ud;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum -= logprobs[i];
    c->loss[c->calls++] = *loss = sum / (double)n;
    return ZO2_OK;
}

static zo2_status failing_loss(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)ud;
    (void)logprobs;
    (void)n;
    (void)loss;
    return zo2_error(ZO2_ERR_ARG, "the judge is out");
}

static void custom_loss(void **state)
{
    (void)state;
    test_batch t;
    custom c = {0};
    char run[512];
    zo2_engine *e;
    random_batch(&t, 21, 100, 12, 14, 0);
    zo2_engine_opts o = base_opts();
    o.queries = 2;
    zo2_run_record plain = one_step("plain", &o, &t.b);
    o.loss = mean_loss;
    o.loss_ud = &c;
    zo2_run_record own = one_step("custom", &o, &t.b);
    assert_int_equal(c.calls, 4);
    for (int q = 0; q < 2; q++) {
        assert_true(own.query[q].loss_plus == c.loss[2 * q] && own.query[q].loss_minus == c.loss[2 * q + 1]);
        assert_true(own.query[q].loss_plus == plain.query[q].loss_plus); /* the same mean in the same order */
    }
    o.loss = failing_loss;
    MUST(zo2_engine_open(&e, pack_of(MODEL), scratch_path(run, sizeof run, "failing"), &o));
    assert_int_equal(zo2_step(e, &t.b, NULL), ZO2_ERR_ARG);
    assert_string_equal(zo2_last_error(), "the judge is out");
    assert_int_equal(zo2_journal_steps(e->journal), 0);
    zo2_engine_close(e);
}

/* A loss that is not finite is recorded and skipped: masters stay, step and data position advance. */
static zo2_status nan_loss(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)logprobs;
    (void)n;
    *loss = (*(int *)ud)++ == 1 ? NAN : 1.0;
    return ZO2_OK;
}

static void skipped_steps(void **state)
{
    (void)state;
    test_batch t;
    char run[512];
    int calls = 0;
    uint64_t before, after;
    zo2_engine *e;
    zo2_engine_state st;
    zo2_engine_opts o = base_opts();
    o.loss = nan_loss;
    o.loss_ud = &calls;
    random_batch(&t, 2, 100, 4, 14, 0);
    t.b.data_position = 4;
    MUST(zo2_engine_open(&e, pack_of(MODEL), scratch_path(run, sizeof run, "skipped"), &o));
    MUST(zo2_masters_hash(e, &before));
    zo2_step_result r = {.struct_size = sizeof r};
    MUST(zo2_step(e, &t.b, &r));
    assert_true(r.skipped);
    zo2_engine_get_state(e, &st);
    assert_int_equal(st.step, 1);
    assert_int_equal(st.data_position, 4);
    assert_int_equal(st.skipped_in_row, 1);
    MUST(zo2_masters_hash(e, &after));
    assert_int_equal(before, after);
    MUST(zo2_step(e, &t.b, &r));
    assert_false(r.skipped);
    zo2_engine_get_state(e, &st);
    assert_int_equal(st.skipped_in_row, 0);
    zo2_engine_close(e);
}

/* Other compute types and wires: near the fp32 loss by the type's own rounding, 2^-8 relative for bf16 2^-4 for
 * e4m3 and 2^-3 for e5m2 weights, on losses near 4.6 (log of the vocabulary). */
static void types_and_wires(void **state)
{
    (void)state;
    static const struct {
        zo2_dtype compute;
        zo2_wire wire;
        double bound;
    } v[] = {{ZO2_F32, ZO2_WIRE_BF16, 0.05}, {ZO2_F16, ZO2_WIRE_FP32, 0.01}, {ZO2_BF16, ZO2_WIRE_BF16, 0.08},
             {ZO2_F32, ZO2_WIRE_E4M3, 0.4},  {ZO2_F32, ZO2_WIRE_E5M2, 0.8},  {ZO2_F32, ZO2_WIRE_FP16, 0}};
    test_batch t;
    random_batch(&t, 4, 100, 12, 14, 0);
    zo2_engine_opts o = base_opts();
    zo2_run_record exact = one_step("types-exact", &o, &t.b);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        char name[64];
        snprintf(name, sizeof name, "types-%zu", i);
        o.compute = test_product_type(TEST_BACKEND, v[i].compute);
        o.wire = v[i].wire;
        zo2_run_record r = one_step(name, &o, &t.b);
        assert_near(r.loss_plus, exact.loss_plus, v[i].bound);
        /* the checkpoint's own type loses nothing in the first step */
        assert_int_equal(r.loss_plus == exact.loss_plus, v[i].wire == ZO2_WIRE_FP16);
    }
}

/* What evaluation at the masters sees is what an export writes: the same weights in an fp32 wire. */
static void master_evaluation(void **state)
{
    (void)state;
    test_batch t;
    char run[512], out[512], pack[512];
    zo2_engine *e;
    zo2_scores a, b;
    random_batch(&t, 31, 100, 12, 14, 4);
    zo2_engine_opts o = base_opts();
    o.wire = ZO2_WIRE_E4M3;
    o.pending = 3;
    MUST(zo2_engine_open(&e, pack_of(MODEL), scratch_path(run, sizeof run, "master"), &o));
    for (int i = 0; i < 6; i++)
        MUST(zo2_step(e, &t.b, NULL));
    zo2_scores_init(&a);
    zo2_scores_init(&b);
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_MASTER, &a));
    zo2_engine_close(e);
    zo2_export_opts x;
    zo2_convert_opts c;
    zo2_export_opts_init(&x);
    zo2_convert_opts_init(&c);
    x.run_dir = run;
    x.dtype = ZO2_F32;
    MUST(zo2_pack_export(pack_of(MODEL), scratch_path(out, sizeof out, "exported"), &x));
    MUST(zo2_pack_convert(out, scratch_path(pack, sizeof pack, "exported.zo2"), &c));
    o = base_opts();
    o.read_only = 1;
    MUST(zo2_engine_open(&e, pack, NULL, &o));
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_WIRE, &b));
    assert_true(a.loss == b.loss);
    assert_int_equal(a.correct, b.correct);
    zo2_engine_close(e);
}

int main(void)
{
    test_device_begin(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_batches),     cmocka_unit_test(shared_prompts), cmocka_unit_test(queries),
        cmocka_unit_test(custom_loss),       cmocka_unit_test(skipped_steps),  cmocka_unit_test(types_and_wires),
        cmocka_unit_test(master_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
