/* test_engine_tune.c: runs that tune a part of the model: the same bits whatever threads, chunks, budgets, tiers, what is kept of the
 * trunk, and interruptions; and what doesn't move is what it was. */
#include "tests/unit/engine/engine_testing.h"

#include <math.h>
#include <sys/wait.h>

#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__) /* these take their time */
enum { STEPS = 4, EACH = 0 };
#else
enum { STEPS = 8, EACH = 1 }; /* EACH: also variants that others cover together */
#endif
enum { LINES = 4, ROWS = 8, SEQ = 14 };

/* Three layers each, and a vocabulary no smaller than the batches'. */
static const char opt[] = "opt-fixtures/prenorm-bf16-sharded";
static const char projections[] = "opt-fixtures/wide-proj-bf16";
static const char llama[] = "decoder-fixtures/llama-mqa";

typedef struct outcome {
    uint64_t hash, chain;
    double loss[STEPS], eval[STEPS][2];
} outcome;

typedef struct choice {
    const char *model;
    uint32_t vocab;
    const char *tune;
    uint32_t rotate, queries, micro_batch;
    zo2_tune_order order;
    int32_t pending;
    zo2_wire wire, frozen_wire;
    zo2_dtype trunk_type;
} choice;

static zo2_engine_opts opts_of(const choice *c)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.weight_decay = 0.1;
    o.seed = 7;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 1;
    o.resume = 1;
    o.wire = c->wire ? c->wire : ZO2_WIRE_BF16;
    o.frozen_wire = c->frozen_wire;
    o.queries = c->queries ? c->queries : 1;
    o.pending = c->pending;
    o.micro_batch = c->micro_batch ? c->micro_batch : UINT32_MAX;
    o.tune = c->tune;
    o.tune_rotate = c->rotate;
    o.tune_order = c->order;
    o.trunk_type = c->trunk_type;
    return o;
}

/* Lines come back, in other company: batch `step` holds two of four examples of four rows each. */
static void batch_of(test_batch *t, const choice *c, uint64_t step)
{
    static test_batch all;
    random_batch(&all, 5, c->vocab, 4 * LINES, SEQ, 4);
    memset(t, 0, sizeof *t);
    t->b = (zo2_batch){.struct_size = sizeof t->b,
                       .rows = ROWS,
                       .seq = SEQ,
                       .tokens = t->tokens,
                       .mask = t->mask,
                       .loss = t->loss,
                       .examples = 2,
                       .example = t->example,
                       .label = t->label};
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t line = (uint32_t)(step * (i + 1) + i) % LINES;
        memcpy(t->tokens + i * 4 * SEQ, all.tokens + line * 4 * SEQ, 4 * SEQ * sizeof *t->tokens);
        memcpy(t->mask + i * 4 * SEQ, all.mask + line * 4 * SEQ, 4 * SEQ);
        memcpy(t->loss + i * 4 * SEQ, all.loss + line * 4 * SEQ, 4 * SEQ);
        t->label[i] = all.label[line];
        for (uint32_t r = 0; r < 4; r++)
            t->example[4 * i + r] = i;
    }
    t->b.data_position = step + 1;
}

static void train(zo2_engine *e, const choice *c, uint64_t to, outcome *out)
{
    zo2_engine_state st;
    test_batch t;
    for (zo2_engine_get_state(e, &st); st.step < to; zo2_engine_get_state(e, &st)) {
        zo2_step_result r = {.struct_size = sizeof r};
        batch_of(&t, c, st.step);
        MUST(zo2_step(e, &t.b, &r));
        assert_true(r.loss_plus != r.loss_minus);
        out->loss[r.step] = r.loss_plus;
        for (int w = 0; w < 2 && r.step % 2; w++) {
            zo2_scores scores;
            zo2_scores_init(&scores);
            MUST(zo2_forward(e, &t.b, w ? ZO2_WEIGHTS_MASTER : ZO2_WEIGHTS_WIRE, &scores));
            out->eval[r.step][w] = scores.loss;
        }
    }
}

static zo2_engine *start(const choice *c, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    zo2_engine *e;
    MUST(zo2_engine_open(&e, pack_of(c->model), scratch_path(path, sizeof path, run), o));
    return e;
}

static void finish(zo2_engine *e, outcome *out)
{
    MUST(zo2_masters_hash(e, &out->hash));
    out->chain = zo2_journal_chain(e->journal, zo2_journal_steps(e->journal));
    zo2_engine_close(e);
}

/* A run of its own; pieces: closed and resumed after every step, now and then with a snapshot. */
static outcome run_of(const choice *c, const zo2_engine_opts *o, int pieces)
{
    static unsigned runs;
    char run[32];
    outcome out = {0};
    test_device_end();
    test_device_begin(runs++);
    snprintf(run, sizeof run, "run%u", runs);
    for (uint64_t to = pieces ? 1 : STEPS; to <= STEPS; to++) {
        zo2_engine *e = start(c, run, o);
        train(e, c, to, &out);
        if (pieces && to % 3 == 1)
            MUST(zo2_snapshot(e));
        if (to == STEPS)
            finish(e, &out);
        else
            zo2_engine_close(e);
    }
    return out;
}

static void assert_same(const outcome *a, const outcome *b, const char *what)
{
    if (a->hash != b->hash || a->chain != b->chain || memcmp(a->loss, b->loss, sizeof a->loss) != 0 ||
        memcmp(a->eval, b->eval, sizeof a->eval) != 0)
        fail_msg("%s: %s changes bits (loss of step %d: %.9g, %.9g)", what, a->hash != b->hash ? "masters" : "losses",
                 STEPS - 1, a->loss[STEPS - 1], b->loss[STEPS - 1]);
}

/* As little host memory as works, or half of what all takes. */
static void spill(const choice *c, zo2_engine_opts *o, const char *const *dirs, int half)
{
    zo2_plan least, all;
    o->spill_dirs = dirs;
    o->spill_count = 1;
    o->chunk_bytes = 2000;
    o->probe_seconds = 0;
    o->host_bytes = 1;
    (void)zo2_plan_estimate(pack_of(c->model), o, &least);
    o->host_bytes = UINT64_MAX / 4;
    MUST(zo2_plan_estimate(pack_of(c->model), o, &all));
    o->host_bytes = half ? (least.host_min_bytes + all.host_peak_bytes) / 2 : least.host_min_bytes;
}

static void each_way(const choice *c)
{
    char dir[2][512];
    const zo2_engine_opts base_opts = opts_of(c);
    const outcome base = run_of(c, &base_opts, 0);
    outcome other;
    zo2_engine_opts o = base_opts;

    o.threads = 2;
    o.chunk_bytes = 700;
    other = run_of(c, &o, 0);
    assert_same(&base, &other, "chunks and threads");

    o = base_opts;
    o.device_bytes = 4ull << 30; /* a context on a large GPU takes most of one GiB */
    if (EACH) {
        other = run_of(c, &o, 0);
        assert_same(&base, &other, "residency");
    }
    o.trunk_cache = 1 << 20;
    other = run_of(c, &o, 0);
    assert_same(&base, &other, "residency and the trunk kept in RAM");

    o = base_opts;
    o.trunk_cache = 4000;
    other = run_of(c, &o, 0);
    assert_same(&base, &other, "half of the trunk kept in RAM");
    if (EACH) {
        o.trunk_cache = 1 << 20;
        other = run_of(c, &o, 0);
        assert_same(&base, &other, "the trunk kept in RAM");
        o.trunk_cache = 0;
        other = run_of(c, &o, 1);
        assert_same(&base, &other, "resuming at every step");
    }

    static unsigned spills;
    for (int half = !EACH; half < 2; half++) {
        const char *const dirs[] = {scratch_path(dir[half], sizeof dir[half], "spill")};
        snprintf(dir[half] + strlen(dir[half]), 20, "%u", spills++);
        o = base_opts;
        spill(c, &o, dirs, half);
        o.trunk_cache = half ? 1 << 20 : 0;
        other = run_of(c, &o, half);
        assert_same(&base, &other, half ? "half spilled, the trunk kept there, resumed" : "spilled");
    }
}

static void layers(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "layers=2"});
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "layers=1-2", .queries = 3, .wire = ZO2_WIRE_F10});
}

static void matrices(void **state)
{
    (void)state;
    each_way(&(choice){.model = projections, .vocab = 101, .tune = "matrices=2", .pending = 2, .micro_batch = 1});
    each_way(&(choice){.model = llama, .vocab = 32, .tune = "matrices=1,2", .wire = ZO2_WIRE_FP16});
}

static void vectors(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "vectors", .queries = 2});
    each_way(&(choice){.model = llama, .vocab = 32, .tune = "vectors", .micro_batch = 1});
}

static void patterns(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "match=*.1.fc1.*+match=*embed_positions*"});
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "match=*final_layer_norm*+layers=2"});
}

static void rows(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "rows=3,7-40,119"});
    each_way(&(choice){
        .model = projections, .vocab = 101, .tune = "matrices=2+rows=0-9", .queries = 2, .wire = ZO2_WIRE_E4M3});
    each_way(&(choice){.model = llama, .vocab = 32, .tune = "rows=1-31+layers=2", .micro_batch = 1, .pending = 2});
}

static void adapters(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "lora:r=4,alpha=8,targets=q_proj+v_proj"});
    each_way(&(choice){.model = projections,
                       .vocab = 101,
                       .tune = "lora:r=3,alpha=5,targets=q_proj+k_proj+v_proj+o_proj+fc1+fc2,layers=2",
                       .queries = 2,
                       .micro_batch = 1});
    each_way(&(choice){.model = llama,
                       .vocab = 32,
                       .tune = "lora:targets=gate_proj+up_proj+down_proj,layers=1-2+rows=4-7+vectors",
                       .pending = 2,
                       .rotate = 2});
}

static void bf16_trunk(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "layers=2", .trunk_type = ZO2_BF16, .micro_batch = 1});
}

/* Wires of frozen matrices: smaller, larger and exact ones beside those that move; the head is frozen and the table's rows are gathered. */
static void frozen_wires(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .tune = "layers=2", .frozen_wire = ZO2_WIRE_F6, .micro_batch = 1});
    each_way(&(choice){.model = projections,
                       .vocab = 101,
                       .tune = "matrices=1+rows=0-9",
                       .wire = ZO2_WIRE_E4M3,
                       .frozen_wire = ZO2_WIRE_BF16, /* the checkpoint's own bits: the pack has them */
                       .pending = 2});
    each_way(&(choice){.model = projections, .vocab = 101, .tune = "layers=1", .frozen_wire = ZO2_WIRE_I4});
}

static void turns(void **state)
{
    (void)state;
    each_way(&(choice){.model = opt, .vocab = 120, .rotate = 1});
    each_way(&(choice){
        .model = opt, .vocab = 120, .tune = "layers=1-2", .rotate = 2, .order = ZO2_ORDER_RANDOM, .pending = 2});
    each_way(&(choice){.model = llama,
                       .vocab = 32,
                       .tune = "layers=1-2+vectors",
                       .rotate = 1,
                       .order = ZO2_ORDER_BOTTOM,
                       .queries = 2});
}

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
    outcome out;
    read_all(e, before);
    assert_int_equal(a->groups, 5); /* embeddings, three layers, the final norm */
    for (uint64_t step = 0; step < 5; step++) {
        train(e, &c, step + 1, &out);
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

/* Killed while the trunk's file is being filled, and once its file is gone. */
static void killed_while_filling(void **state)
{
    (void)state;
    if (TEST_BACKEND != ZO2_BACKEND_CPU) /* a device doesn't survive fork() */
        skip();
    char dir[512], file[1024];
    const choice c = {.model = opt, .vocab = 120, .tune = "layers=2"};
    zo2_engine_opts o = opts_of(&c);
    const outcome base = run_of(&c, &o, 0);
    const char *const dirs[] = {scratch_path(dir, sizeof dir, "killed-spill")};
    spill(&c, &o, dirs, 1);
    o.trunk_cache = 1 << 20;
    outcome out = {0};
    for (uint64_t to = 1; to < STEPS; to++) {
        pid_t child = fork();
        if (!child) {
            zo2_engine *e = start(&c, "killed", &o);
            train(e, &c, to, &out);
            kill(getpid(), SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        if (to == STEPS / 2) {
            snprintf(file, sizeof file, "rm '%s'/trunk-*.zo2t", dir);
            assert_int_equal(system(file), 0);
        }
    }
    zo2_engine *e = start(&c, "killed", &o);
    memcpy(&out, &base, sizeof out); /* of the steps that children took the journal's chain tells */
    train(e, &c, STEPS, &out);
    finish(e, &out);
    assert_same(&base, &out, "being killed while the trunk's file is filled");
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
        cmocka_unit_test(layers),
        cmocka_unit_test(matrices),
        cmocka_unit_test(vectors),
        cmocka_unit_test(patterns),
        cmocka_unit_test(rows),
        cmocka_unit_test(adapters),
        cmocka_unit_test(bf16_trunk),
        cmocka_unit_test(frozen_wires),
        cmocka_unit_test(turns),
        cmocka_unit_test(frozen_stay),
        cmocka_unit_test(begins_as_the_model),
        cmocka_unit_test(a_frozen_wire_is_seen),
        cmocka_unit_test(frozen_wires_are_of_something),
        cmocka_unit_test(one_group_a_step),
        cmocka_unit_test(a_filled_cache_needs_no_trunk),
        cmocka_unit_test(warm_says_why_not),
        cmocka_unit_test(killed_while_filling),
        cmocka_unit_test(a_failed_open_leaves_nothing),
        cmocka_unit_test(settings_are_the_runs),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
