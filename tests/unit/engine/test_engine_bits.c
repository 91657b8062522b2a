/* test_engine_bits.c: what README promises: under equal settings the journal and the masters have the same bits
 * whatever the device budget, threads, chunk size, snapshots, evaluations and interruptions; with an fp32 wire,
 * whatever K. */
#include "tests/unit/engine/engine_testing.h"

#include <sys/wait.h>

#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__) /* these take their time */
#define STEPS 5
#else
#define STEPS 9
#endif
static const char one_tile[] = "opt-fixtures/prenorm-f16-headdim20";
static const char several_tiles[] = "opt-fixtures/tiles-f16"; /* embedding, head and fc1 in two panel tiles each */

/* One model of each other family, in vocabulary and context no smaller than the batches. */
static const char *const others[] = {"decoder-fixtures/llama-llama3-parameters", "decoder-fixtures/qwen2",
                                     "decoder-fixtures/qwen3-bias", "decoder-fixtures/mistral"};

static const char *model = one_tile;
static uint32_t vocab = 100;

typedef struct outcome {
    uint64_t hash;  /* of the masters */
    uint64_t chain; /* of the journal */
    double loss[STEPS];
} outcome;

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o = small_run(7, 8, 14);
    o.wire = ZO2_WIRE_BF16;
    return o;
}

static void batch_of(test_batch *t, uint64_t step)
{
    random_batch(t, (uint32_t)step * 77 + 5, vocab, 8, 14, step % 2 ? 4 : 0);
    t->b.data_position = step + 1;
}

static void finish(zo2_engine *e, outcome *out)
{
    MUST(zo2_masters_hash(e, &out->hash));
    out->chain = zo2_journal_chain(e->journal, zo2_journal_steps(e->journal));
    zo2_engine_close(e);
}

/* Steps up to `to`, optionally evaluating before and after every one. */
static void train(zo2_engine *e, uint64_t to, int evaluate, outcome *out)
{
    zo2_engine_state st;
    test_batch t;
    for (zo2_engine_get_state(e, &st); st.step < to; zo2_engine_get_state(e, &st)) {
        zo2_scores scores;
        zo2_step_result r = {.struct_size = sizeof r};
        assert_int_equal(st.data_position, st.step);
        batch_of(&t, st.step);
        zo2_scores_init(&scores);
        if (evaluate) {
            MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_WIRE, &scores));
            MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_MASTER, &scores));
        }
        MUST(zo2_step(e, &t.b, &r));
        assert_int_equal(r.step, st.step);
        assert_false(r.skipped);
        assert_true(r.loss_plus != r.loss_minus);
        out->loss[r.step] = r.loss_plus;
    }
}

static zo2_engine *start(const char *run, const zo2_engine_opts *o)
{
    char path[512], name[200];
    zo2_engine *e;
    snprintf(name, sizeof name, "%s-%s", strchr(model, '/') + 1, run);
    MUST(zo2_engine_open(&e, pack_of(model), scratch_path(path, sizeof path, name), o));
    return e;
}

static outcome whole_run(const char *run, const zo2_engine_opts *o, int evaluate)
{
    static unsigned runs;
    outcome out = {0};
    test_device_end();
    test_device_begin(runs++); /* the next order of streams and threads: the same bits */
    zo2_engine *e = start(run, o);
    train(e, STEPS, evaluate, &out);
    finish(e, &out);
    return out;
}

static void assert_same(const outcome *a, const outcome *b)
{
    assert_int_equal(a->chain, b->chain);
    assert_int_equal(a->hash, b->hash);
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
}

/* compute 0: the backend's own. */
static void each_way(zo2_wire wire, uint32_t queries, int32_t pending, uint32_t micro, zo2_dtype compute)
{
    char run[64];
    zo2_engine_opts o = base_opts();
    o.compute = test_product_type(TEST_BACKEND, compute);
    o.wire = wire;
    o.queries = queries;
    o.pending = pending;
    o.micro_batch = micro;
    o.dist = queries > 1 ? ZO2_RADEMACHER : ZO2_GAUSSIAN;
    o.clip = 5.0;
    snprintf(run, sizeof run, "base-%d-%u-%d-%u", wire, queries, pending, micro);
    outcome base = whole_run(run, &o, 0);

    zo2_engine_opts v = o;
    v.threads = 2;
    snprintf(run, sizeof run, "threads-%d-%u-%d-%u", wire, queries, pending, micro);
    outcome other = whole_run(run, &v, 0);
    assert_same(&base, &other);

    static const uint64_t chunks[] = {700, 100000, 1};
    for (int i = 0; i < (STEPS < 9 ? 1 : 3); i++) {
        v = o;
        v.chunk_bytes = chunks[i];
        v.threads = 2;
        snprintf(run, sizeof run, "chunks-%d-%u-%d-%u-%d", wire, queries, pending, micro, i);
        other = whole_run(run, &v, 0);
        assert_same(&base, &other);
    }
    v = o;
    v.device_bytes = 4ull << 30; /* a context on a large GPU takes most of one GiB */
    snprintf(run, sizeof run, "ample-%d-%u-%d-%u", wire, queries, pending, micro);
    other = whole_run(run, &v, 0);
    assert_same(&base, &other);

    snprintf(run, sizeof run, "eval-%d-%u-%d-%u", wire, queries, pending, micro);
    other = whole_run(run, &o, 1);
    assert_same(&base, &other);

    /* closed and resumed at every step, with and without a snapshot, settings left out on resume */
    for (int snapshots = 0; snapshots < 2; snapshots++) {
        outcome pieces = {0};
        snprintf(run, sizeof run, "pieces-%d-%u-%d-%u-%d", wire, queries, pending, micro, snapshots);
        for (uint64_t to = 1; to <= STEPS; to++) {
            zo2_engine *e = start(run, &o);
            train(e, to, 0, &pieces);
            if (snapshots && to % 2)
                MUST(zo2_snapshot(e));
            if (to == STEPS)
                finish(e, &pieces);
            else
                zo2_engine_close(e);
        }
        assert_same(&base, &pieces);
    }
    /* snapshots at every step, in one session */
    v = o;
    v.snapshot_seconds = 1e-9;
    snprintf(run, sizeof run, "often-%d-%u-%d-%u", wire, queries, pending, micro);
    other = whole_run(run, &v, 0);
    assert_same(&base, &other);
}

static void each_wire(zo2_wire wire, uint32_t queries, int32_t pending, uint32_t micro)
{
    each_way(wire, queries, pending, micro, 0);
}

static void bf16(void **state)
{
    (void)state;
    each_wire(ZO2_WIRE_BF16, 1, 0, UINT32_MAX);
}

static void bf16_pending_micro_batches(void **state)
{
    (void)state;
    each_wire(ZO2_WIRE_BF16, 1, 2, 1);
}

static void e4m3_queries(void **state)
{
    (void)state;
    each_wire(ZO2_WIRE_E4M3, 3, 0, UINT32_MAX);
}

static void f6_queries_pending_micro_batches(void **state)
{
    (void)state;
    each_wire(ZO2_WIRE_F6, 2, 3, 2);
}

static void e5m2_fp16_and_i4(void **state)
{
    (void)state;
    each_wire(ZO2_WIRE_E5M2, 1, 1, UINT32_MAX);
    each_wire(ZO2_WIRE_FP16, 1, 0, UINT32_MAX);
    each_wire(ZO2_WIRE_I4, 2, 2, UINT32_MAX);
}

/* On the cpu a library of its own multiplies these. */
static void bf16_products(void **state)
{
    (void)state;
    each_way(ZO2_WIRE_E4M3, 1, 1, UINT32_MAX, ZO2_BF16);
    model = several_tiles;
    each_way(ZO2_WIRE_FP32, 1, 0, 3, ZO2_BF16);
    model = one_tile;
}

/* The same with matrices in several tiles, which are at different steps when updates are pending. */
static void tiles_pending(void **state)
{
    (void)state;
    model = several_tiles;
    each_wire(ZO2_WIRE_BF16, 1, 1, UINT32_MAX);
    each_wire(ZO2_WIRE_F8, 2, 2, 2);
    model = one_tile;
}

/* The same for what other families are made of: rotations, shared heads of keys, gates, norms of heads. */
static void families(void **state)
{
    (void)state;
    vocab = 20;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        model = others[i];
        if (i % 2)
            each_wire(ZO2_WIRE_F10, 2, 1, UINT32_MAX);
        else
            each_wire(i ? ZO2_WIRE_BF16 : ZO2_WIRE_BF12, 1, 2, 2);
    }
    vocab = 100;
    model = one_tile;
}

/* With an fp32 wire a folded update and an applied one are the same arithmetic, so K changes nothing. */
static void pending_is_exact_with_fp32_wire(void **state)
{
    (void)state;
    static const int32_t pending[] = {0, 1, 7};
    outcome first = {0};
    model = several_tiles;
    for (int i = 0; i < 3; i++) {
        char run[64];
        zo2_engine_opts o = base_opts();
        o.wire = ZO2_WIRE_FP32;
        o.pending = pending[i];
        snprintf(run, sizeof run, "fp32-%d", i);
        outcome out = whole_run(run, &o, i == 1);
        if (!i)
            first = out;
        assert_int_equal(first.hash, out.hash);
        assert_memory_equal(first.loss, out.loss, sizeof first.loss); /* the journals' headers differ in K */
    }
    model = one_tile;
}

/* A step cancelled between any two chunks leaves no trace; neither does one that is killed. */
typedef struct canceller {
    uint64_t at, calls;
} canceller;

static int cancel_at(void *ud, const char *what, uint64_t done, uint64_t total)
{
    canceller *c = ud;
    (void)done;
    (void)total;
    return !strcmp(what, "chunks") && c->calls++ == c->at;
}

static void cancelled(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    o.pending = 1;
    o.chunk_bytes = 700;
    outcome base = whole_run("cancel-base", &o, 0), other = {0};
    canceller c = {.at = 3};
    o.progress = cancel_at;
    o.progress_ud = &c;
    uint64_t cancellations = 0;
    for (int attempt = 0; attempt < 400; attempt++) {
        zo2_engine *e = start("cancel", &o);
        zo2_engine_state st;
        test_batch t;
        zo2_status s = ZO2_OK;
        for (zo2_engine_get_state(e, &st); st.step < STEPS && !s; zo2_engine_get_state(e, &st)) {
            zo2_step_result r = {.struct_size = sizeof r};
            batch_of(&t, st.step);
            s = zo2_step(e, &t.b, &r);
            if (!s)
                other.loss[r.step] = r.loss_plus;
        }
        if (!s) {
            finish(e, &other);
            break;
        }
        assert_int_equal(s, ZO2_ERR_CANCELLED);
        cancellations++;
        c.calls = 0;
        c.at += 7;
        if (cancellations % 2)
            MUST(zo2_snapshot(e));
        zo2_engine_close(e);
    }
    assert_true(cancellations > 5);
    assert_same(&base, &other);
}

static void aborted_by_signal(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts();
    outcome base = whole_run("abort-base", &o, 0), other = {0};
    zo2_engine *e = start("abort", &o);
    test_batch t;
    batch_of(&t, 0);
    zo2_step_abort(e);
    assert_int_equal(zo2_step(e, &t.b, NULL), ZO2_ERR_CANCELLED);
    train(e, STEPS, 0, &other);
    finish(e, &other);
    assert_same(&base, &other);
}

static void killed(void **state)
{
    (void)state;
    if (TEST_BACKEND != ZO2_BACKEND_CPU) /* a device doesn't survive fork() */
        skip();
    zo2_engine_opts o = base_opts();
    o.wire = ZO2_WIRE_E4M3;
    o.pending = 2;
    outcome base = whole_run("kill-base", &o, 0), other = {0};
    uint32_t seed = 99;
    for (int i = 0; i < 12; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            outcome ignored = {0};
            zo2_engine_opts mine = o;
            mine.snapshot_seconds = 1e-9;
            train(start("kill", &mine), STEPS - 1, 0, &ignored);
            _exit(0);
        }
        usleep(test_random(&seed) % 30000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    zo2_engine *e = start("kill", &o);
    for (uint64_t i = 0; i < zo2_journal_steps(e->journal); i++)
        other.loss[i] = zo2_journal_at(e->journal, i)->query[0].loss_plus;
    train(e, STEPS, 0, &other);
    finish(e, &other);
    assert_same(&base, &other);
}

/* A run keeps the rule that it began with, asked or not; rules differ where K pending updates go by tile. */
static void tile_rules(void **state)
{
    (void)state;
    zo2_engine_opts o = base_opts(), was;
    outcome whole, parts = {0};
    if (STEPS < 9) /* the same rule whatever the device */
        skip();
    model = several_tiles;
    o.pending = 2;
    outcome newest = whole_run("rule-newest", &o, 0);
    o.tile_rule = 1;
    whole = whole_run("rule-1", &o, 0);
    assert_true(whole.chain != newest.chain);
    zo2_engine *e = start("rule-1-parts", &o);
    train(e, STEPS / 2, 0, &parts);
    zo2_engine_close(e);
    o.tile_rule = 0;
    e = start("rule-1-parts", &o);
    zo2_engine_get_opts(e, &was);
    assert_int_equal(was.tile_rule, 1);
    train(e, STEPS, 0, &parts);
    finish(e, &parts);
    assert_same(&whole, &parts);
    o.tile_rule = 2;
    char path[512];
    assert_int_equal(zo2_engine_open(&e, pack_of(model), scratch_path(path, sizeof path, "tiles-f16-rule-1-parts"), &o),
                     ZO2_ERR_MISMATCH);
    assert_non_null(strstr(zo2_last_error(), "setting 'tile_rule' differs: the run has 1, this call has 2"));
    model = one_tile;
}

int main(void)
{
    test_device_begin(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16),          cmocka_unit_test(bf16_pending_micro_batches),
        cmocka_unit_test(e4m3_queries),  cmocka_unit_test(f6_queries_pending_micro_batches),
        cmocka_unit_test(tiles_pending), cmocka_unit_test(pending_is_exact_with_fp32_wire),
        cmocka_unit_test(cancelled),     cmocka_unit_test(aborted_by_signal),
        cmocka_unit_test(killed),        cmocka_unit_test(e5m2_fp16_and_i4),
        cmocka_unit_test(bf16_products), cmocka_unit_test(tile_rules),
        cmocka_unit_test(families),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
