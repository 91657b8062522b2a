/* test_engine_tune.c: runs that tune a part of the model: the same bits whatever threads, chunks, budgets, tiers, what is kept of the
 * trunk, and interruptions. test_engine_tune_choice.c: what a choice is. */
#include "tests/unit/engine/engine_tune_testing.h"

#include <sys/wait.h>

/* Also variants that others cover together? */
#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__)
enum { EACH = 0 };
#else
enum { EACH = 1 };
#endif

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers),     cmocka_unit_test(matrices),
        cmocka_unit_test(vectors),    cmocka_unit_test(patterns),
        cmocka_unit_test(rows),       cmocka_unit_test(adapters),
        cmocka_unit_test(bf16_trunk), cmocka_unit_test(frozen_wires),
        cmocka_unit_test(turns),      cmocka_unit_test(killed_while_filling),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
