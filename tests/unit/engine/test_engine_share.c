/* test_engine_share.c: engines that share a run's work: journal, masters and evaluations have the bits of one engine's. */
#include "engine/run/share.h"
#include "tests/unit/engine/share_testing.h"

#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__) /* these take their time */
enum { STEPS = 3 };
#else
enum { STEPS = 5 };
#endif
enum { ROWS = 7, SEQ = 12 };

/* The head of this one has a layer before the embedding, which multiplies the loss rows of all micro-batches at once. */
static const char projections[] = "opt-fixtures/wide-proj-bf16";
static const char opt[] = "opt-fixtures/prenorm-bf16-sharded";
static const char llama[] = "decoder-fixtures/llama-mqa";

typedef struct run_case {
    const char *model;
    uint32_t vocab, queries, micro_batch, options;
    int32_t pending;
    const char *tune;
    int custom, spill, pieces, alone;
} run_case;

typedef struct outcome {
    uint64_t hash, chain;
    double loss[STEPS], eval[STEPS][2];
    float logprob[STEPS][ROWS * SEQ];
    double row_score[STEPS][ROWS];
    char error[200];
} outcome;

/* Depends on every token, and on their order. */
static zo2_status weighted(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    (void)ud;
    *loss = 0;
    for (uint64_t i = 0; i < n; i++)
        *loss -= (double)logprobs[i] * (double)(1 + i % 3) / (double)n;
    return ZO2_OK;
}

static zo2_engine_opts opts_of(const run_case *c, const char *pack, const char *const *dirs)
{
    zo2_engine_opts o = small_run(7, ROWS + 1, SEQ);
    o.queries = c->queries;
    o.pending = c->pending;
    o.micro_batch = c->micro_batch ? c->micro_batch : UINT32_MAX;
    o.tune = c->tune;
    o.trunk_cache = c->tune ? 1 << 20 : 0;
    o.loss = c->custom ? weighted : NULL;
    o.chunk_bytes = 2000;
    o.probe_seconds = 0;
    if (c->spill) {
        zo2_plan least;
        o.spill_dirs = dirs;
        o.spill_count = 1;
        o.host_bytes = 1;
        (void)zo2_plan_estimate(pack, &o, &least);
        o.host_bytes = least.host_min_bytes;
    }
    return o;
}

/* Batches of several sizes; the second and every third after it begins with a row that carries no loss, as long as rows needn't. */
static void batch_of(test_batch *t, const run_case *c, uint64_t step)
{
    const uint32_t rows = c->options ? 6 : ROWS - (uint32_t)step % 3;
    random_batch(t, 11 + (uint32_t)step, c->vocab, rows, SEQ, c->options);
    if (!c->options && step % 3 == 1)
        memset(t->loss, 0, SEQ);
    t->b.data_position = step + 1;
}

/* What one engine does, alone or as a rank. No assertions: it may have a thread of its own. */
typedef struct job {
    const run_case *c;
    char run[512], spill[512], pack[512];
    rank *r; /* NULL: alone */
    outcome out;
} job;

static zo2_status evaluate(zo2_engine *e, const test_batch *t, uint64_t step, outcome *out)
{
    zo2_status s = ZO2_OK;
    for (int w = 0; w < 2 && !s; w++) {
        zo2_scores scores;
        zo2_scores_init(&scores);
        if (w) {
            scores.logprobs = out->logprob[step];
            scores.row_scores = out->row_score[step];
        }
        s = zo2_forward(e, &t->b, w ? ZO2_WEIGHTS_MASTER : ZO2_WEIGHTS_WIRE, &scores);
        out->eval[step][w] = scores.loss;
    }
    return s;
}

static zo2_status session(job *j, uint64_t to)
{
    const char *const dirs[] = {j->spill};
    zo2_engine_opts o = opts_of(j->c, j->pack, dirs);
    zo2_engine *e;
    zo2_engine_state st;
    static _Thread_local test_batch t;
    if (j->r) {
        o.split = split;
        o.exchange = exchange;
        o.exchange_ud = j->r;
        j->r->alone = j->c->alone;
    }
    zo2_status s = zo2_engine_open(&e, j->pack, j->run, &o);
    while (!s) {
        zo2_step_result r = {.struct_size = sizeof r};
        zo2_engine_get_state(e, &st);
        if (st.step >= to)
            break;
        batch_of(&t, j->c, st.step);
        s = zo2_step(e, &t.b, &r);
        if (s == ZO2_ERR_IO && strstr(zo2_last_error(), "cable")) { /* as if it had not begun */
            zo2_engine_state after;
            zo2_engine_get_state(e, &after);
            s = after.step == st.step ? zo2_step(e, &t.b, &r) : zo2_error(ZO2_ERR_INTERNAL, "a step was made");
        }
        if (s)
            break;
        j->out.loss[r.step] = r.loss_plus;
        if (!j->r == (r.exchange_seconds > 0))
            s = zo2_error(ZO2_ERR_INTERNAL, "the exchange took %g s", r.exchange_seconds);
        if (!s && r.step % 2)
            s = evaluate(e, &t, r.step, &j->out);
        if (!s && j->c->pieces && r.step == 1)
            s = zo2_snapshot(e);
    }
    if (!s)
        s = zo2_masters_hash(e, &j->out.hash);
    if (!s)
        j->out.chain = zo2_journal_chain(e->journal, zo2_journal_steps(e->journal));
    if (s)
        snprintf(j->out.error, sizeof j->out.error, "%s", zo2_last_error());
    zo2_engine_close(e);
    return s;
}

static void *work(void *arg)
{
    job *j = arg;
    for (uint64_t to = j->c->pieces ? 1 : STEPS; to <= STEPS; to++)
        if (session(j, to))
            break;
    return NULL;
}

static unsigned runs;

static void prepare(job *j, const run_case *c, rank *r)
{
    char name[32];
    memset(j, 0, sizeof *j);
    j->c = c;
    j->r = r;
    snprintf(name, sizeof name, "run%u", runs);
    scratch_path(j->run, sizeof j->run, name);
    snprintf(name, sizeof name, "spill%u", runs++);
    scratch_path(j->spill, sizeof j->spill, name);
    snprintf(j->pack, sizeof j->pack, "%s", pack_of(c->model));
}

static void run_alone(job *j, const run_case *c)
{
    prepare(j, c, NULL);
    work(j);
    if (j->out.error[0])
        fail_msg("alone: %s", j->out.error);
}

static void run_ranks(job *jobs, const run_case *c, rank *ranks)
{
    pthread_t thread[MAX_RANKS];
    const uint32_t n = ranks->g.by_query * ranks->g.by_batch;
    for (uint32_t i = 0; i < n; i++)
        prepare(&jobs[i], c, &ranks[i]);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &jobs[i]), 0);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char command[1200];
    snprintf(command, sizeof command, "cmp '%s/%s' '%s/%s'", a, name, b, name);
    assert_int_equal(system(command), 0);
}

static void assert_same(const job *a, const job *b)
{
    if (b->out.error[0])
        fail_msg("rank %u of %ux%u: %s", b->r->me, b->r->g.by_query, b->r->g.by_batch, b->out.error);
    if (memcmp(&a->out, &b->out, sizeof a->out) != 0)
        fail_msg("rank %u of %ux%u has other %s", b->r->me, b->r->g.by_query, b->r->g.by_batch,
                 a->out.chain != b->out.chain ? "losses"
                 : a->out.hash != b->out.hash ? "masters"
                                              : "evaluations");
    assert_same_file(a->run, b->run, "journal.zo2j");
}

/* Pairs of query and micro-batch that a run has, so that each is computed once and nowhere else. */
static uint64_t pairs(const run_case *c)
{
    uint64_t n = 0;
    static test_batch t;
    for (uint64_t step = 0; step < STEPS; step++) {
        zo2_packed p = {0};
        batch_of(&t, c, step);
        MUST(zo2_batch_pack(&p, &t.b, c->vocab, SEQ, c->micro_batch));
        n += (uint64_t)p.micros * c->queries;
        zo2_packed_free(&p);
    }
    return n;
}

static void shared(const run_case *c, const grid *grids, size_t n)
{
    static job alone, jobs[MAX_RANKS];
    rank ranks[MAX_RANKS];
    test_device_end();
    test_device_begin(runs);
    run_alone(&alone, c);
    for (size_t i = 0; i < n; i++) {
        uint64_t computed = 0;
        connect_ranks(ranks, grids[i]);
        run_ranks(jobs, c, ranks);
        for (uint32_t r = 0; r < grids[i].by_query * grids[i].by_batch; r++) {
            assert_same(&alone, &jobs[r]);
            computed += ranks[r].computed[0];
            assert_true(c->alone ? ranks[r].alone_calls > 0 : !ranks[r].alone_calls);
        }
        assert_int_equal(computed, pairs(c));
        disconnect_ranks(ranks);
    }
}

#define SHARED(c, ...)                                             \
    do {                                                           \
        const grid grids[] = {__VA_ARGS__};                        \
        shared(&(run_case)c, grids, sizeof grids / sizeof *grids); \
    } while (0)
#define CASE(...)   \
    {               \
        __VA_ARGS__ \
    }

/* One rank has all; three share two queries, or five three. */
static void queries(void **state)
{
    (void)state;
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 3, .pending = 2), {1, 1}, {2, 1}, {5, 1});
    SHARED(CASE(.model = llama, .vocab = 32, .queries = 2, .options = 2, .pieces = 1), {3, 1});
}

static void batches(void **state)
{
    (void)state;
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 1, .micro_batch = 2, .pending = 1), {1, 2}, {1, 5});
    SHARED(CASE(.model = projections, .vocab = 101, .queries = 2, .micro_batch = 1), {1, 3});
    SHARED(CASE(.model = llama, .vocab = 32, .queries = 1, .options = 2, .micro_batch = 1, .alone = 1), {1, 2});
}

static void both(void **state)
{
    (void)state;
    SHARED(CASE(.model = projections, .vocab = 101, .queries = 3, .micro_batch = 3, .pending = 3), {2, 2});
    SHARED(CASE(.model = llama, .vocab = 32, .queries = 2, .micro_batch = 2, .pieces = 1), {2, 2});
}

static void custom_losses(void **state)
{
    (void)state;
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 2, .custom = 1, .pending = 1), {2, 1});
    SHARED(CASE(.model = llama, .vocab = 32, .queries = 2, .micro_batch = 2, .custom = 1), {2, 2}, {1, 3});
}

/* What stays as it is, and adapters, are multiplied in all streams at once: how many those are is a rank's own affair. */
static void parts_of_layers(void **state)
{
    (void)state;
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 3, .tune = "vectors"), {2, 1}, {3, 1});
    SHARED(
        CASE(.model = opt, .vocab = 120, .queries = 2, .micro_batch = 3, .tune = "lora:r=4,alpha=8,targets=q_proj+fc2"),
        {2, 2});
}

/* Each rank has a trunk's cache, and files, of its own. */
static void parts_and_spills(void **state)
{
    (void)state;
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 2, .micro_batch = 2, .tune = "layers=2", .pending = 1), {1, 2},
           {2, 1});
    SHARED(CASE(.model = opt, .vocab = 120, .queries = 2, .micro_batch = 2, .spill = 1, .pieces = 1), {2, 2});
}

/* An exchange that fails leaves everything as it was: the step can be tried again. */
static void tried_again(void **state)
{
    (void)state;
    static job alone, jobs[MAX_RANKS];
    rank ranks[MAX_RANKS];
    const run_case c = {.model = opt, .vocab = 120, .queries = 2, .micro_batch = 2, .pending = 1};
    run_alone(&alone, &c);
    connect_ranks(ranks, (grid){2, 1});
    ranks[0].fails_at = ranks[1].fails_at = 1;
    run_ranks(jobs, &c, ranks);
    for (uint32_t r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].fails_at, NEVER);
        assert_same(&alone, &jobs[r]);
    }
    disconnect_ranks(ranks);
}

/* A rank that goes ends the step of the others, and all can resume: here both, with another split. */
static void lost(void **state)
{
    (void)state;
    static job alone, jobs[MAX_RANKS];
    rank ranks[MAX_RANKS];
    run_case c = {.model = opt, .vocab = 120, .queries = 2, .micro_batch = 2, .pending = 1};
    run_alone(&alone, &c);
    connect_ranks(ranks, (grid){2, 1});
    ranks[1].hangs_up_at = 2;
    run_ranks(jobs, &c, ranks);
    disconnect_ranks(ranks);
    for (uint32_t r = 0; r < 2; r++) {
        zo2_run *run;
        assert_non_null(strstr(jobs[r].out.error, "lost another"));
        MUST(zo2_run_open(&run, jobs[r].run));
        assert_int_equal(zo2_run_steps(run), 2);
        zo2_run_close(run);
    }
    connect_ranks(ranks, (grid){1, 2});
    pthread_t thread[2];
    for (uint32_t r = 0; r < 2; r++) {
        jobs[r].r = &ranks[r];
        memset(jobs[r].out.error, 0, sizeof jobs[r].out.error);
        assert_int_equal(pthread_create(&thread[r], NULL, work, &jobs[r]), 0);
    }
    for (uint32_t r = 0; r < 2; r++)
        pthread_join(thread[r], NULL);
    for (uint32_t r = 0; r < 2; r++)
        assert_same(&alone, &jobs[r]);
    disconnect_ranks(ranks);
}

/* ---- callbacks that are wrong ---- */

static zo2_status too_much(void *ud, zo2_pass_work *w)
{
    (void)ud;
    w->micro = 1;
    return ZO2_OK;
}

static zo2_status half_alone(void *ud, zo2_pass_work *w)
{
    (void)ud;
    w->own_queries = 1;
    w->alone = !w->evaluation;
    return ZO2_OK;
}

static zo2_status all_of_it(void *ud, zo2_pass_work *w)
{
    (void)ud, (void)w;
    return ZO2_OK;
}

static zo2_status positive(void *ud, const zo2_pass_work *w, double *values)
{
    (void)ud, (void)w, (void)values;
    return (zo2_status)3;
}

static zo2_status silent(void *ud, const zo2_pass_work *w, double *values)
{
    (void)ud, (void)w, (void)values;
    return ZO2_ERR_DEVICE;
}

static void wrong_callbacks(void **state)
{
    (void)state;
    const struct {
        zo2_split_fn split;
        zo2_exchange_fn exchange;
        zo2_status status;
        const char *text;
    } wrong[] = {{too_much, silent, ZO2_ERR_ARG, "ends behind query 2 and micro-batch 2: there are 2 and 1"},
                 {half_alone, silent, ZO2_ERR_ARG, "alone, but not all"},
                 {all_of_it, positive, ZO2_ERR_ARG, "exchange function returned 3, which is no zo2_status"},
                 {all_of_it, silent, ZO2_ERR_DEVICE, "exchange function failed: device error"}};
    const run_case c = {.model = opt, .vocab = 120, .queries = 2};
    static test_batch t;
    char path[512], name[32];
    batch_of(&t, &c, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        zo2_engine_opts o = opts_of(&c, NULL, NULL);
        zo2_engine *e;
        zo2_engine_state st;
        o.split = wrong[i].split;
        o.exchange = wrong[i].exchange;
        snprintf(name, sizeof name, "wrong%zu", i);
        MUST(zo2_engine_open(&e, pack_of(c.model), scratch_path(path, sizeof path, name), &o));
        assert_int_equal(zo2_step(e, &t.b, NULL), wrong[i].status);
        if (!strstr(zo2_last_error(), wrong[i].text))
            fail_msg("'%s' does not say '%s'", zo2_last_error(), wrong[i].text);
        zo2_engine_get_state(e, &st);
        assert_int_equal(st.step, 0);
        zo2_engine_close(e);
    }
    for (int i = 0; i < 2; i++) {
        zo2_engine_opts o = opts_of(&c, NULL, NULL);
        zo2_engine *e;
        o.split = i ? all_of_it : NULL;
        o.exchange = i ? NULL : silent;
        assert_int_equal(zo2_engine_open(&e, pack_of(c.model), scratch_path(path, sizeof path, "neither"), &o),
                         ZO2_ERR_ARG);
        assert_non_null(strstr(zo2_last_error(), "with both split and exchange, or with neither"));
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries),
        cmocka_unit_test(batches),
        cmocka_unit_test(both),
        cmocka_unit_test(custom_losses),
        cmocka_unit_test(parts_of_layers),
        cmocka_unit_test(parts_and_spills),
        cmocka_unit_test(tried_again),
        cmocka_unit_test(lost),
        cmocka_unit_test(wrong_callbacks),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
