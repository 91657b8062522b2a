/* test_engine_spill.c: a run whose masters spill to files has the journal and the masters of one that has them in RAM: for every
 * tier, wire and noise, after a resume with and without a snapshot, with the files gone, damaged or full, with as few buffers as there
 * may be. */
#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

enum { ROWS = 4, SEQ = 10, STEPS = 6, THREADS = 2 };

static const char *aliased_pack(void)
{
    static char path[512];
    char config[600];
    zo2_synth_opts o;
    scratch_path(path, sizeof path, "aliased.zo2");
    zo2_synth_opts_init(&o);
    o.alias = 1;
    snprintf(config, sizeof config, "%s/opt-fixtures/prenorm-f32/config.json", ZO2_TEST_DATA);
    if (access(path, F_OK))
        MUST(zo2_pack_synth(config, path, &o));
    return path;
}

static zo2_engine_opts usual(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.weight_decay = 0.1;
    o.seed = 5;
    o.pending = 0;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = THREADS;
    o.chunk_bytes = 1000;
    o.resume = 1;
    return o;
}

static const char *pack_for(int aliased)
{
    return aliased ? aliased_pack() : pack_of("opt-fixtures/prenorm-f32");
}

/* How much of the planes lives in RAM: none, half, all. */
typedef enum room { LEAST, HALF, ALL } room;

/* A run of its own, with files of its own if it spills. */
typedef struct session {
    zo2_engine_opts o;
    const char *pack;
    char run[512], dir[2][540];
    const char *dirs[2];
} session;

static void set_room(session *s, room r)
{
    zo2_plan least, all;
    zo2_engine_opts o = s->o;
    o.host_bytes = 1; /* too little, but the plan says what the least is */
    (void)zo2_plan_estimate(s->pack, &o, &least);
    o.host_bytes = UINT64_MAX / 4;
    MUST(zo2_plan_estimate(s->pack, &o, &all));
    uint64_t planes = all.host_peak_bytes > least.host_min_bytes ? all.host_peak_bytes - least.host_min_bytes : 0;
    s->o.host_bytes = r == ALL ? all.host_peak_bytes : least.host_min_bytes + (r == HALF ? planes / 2 : 0);
}

static session spilled(zo2_engine_opts o, int aliased, const char *name)
{
    session s = {.o = o, .pack = pack_for(aliased)};
    scratch_path(s.run, sizeof s.run, name);
    return s;
}

static void spill_to(session *s, room r)
{
    for (int i = 0; i < 2; i++)
        snprintf(s->dir[i], sizeof s->dir[i], "%s.spill%d", s->run, i);
    s->dirs[0] = s->dir[0];
    s->dirs[1] = s->dir[1];
    s->o.spill_dirs = s->dirs;
    s->o.spill_count = 2;
    set_room(s, r);
}

static zo2_engine *start(session *s)
{
    zo2_engine *e;
    s->dirs[0] = s->dir[0]; /* it may have been copied */
    s->dirs[1] = s->dir[1];
    if (s->o.spill_dirs)
        s->o.spill_dirs = s->dirs;
    MUST(zo2_engine_open(&e, s->pack, s->run, &s->o));
    return e;
}

static zo2_status step(zo2_engine *e, zo2_step_result *r)
{
    test_batch t;
    zo2_engine_state state;
    zo2_engine_get_state(e, &state);
    random_batch(&t, (uint32_t)state.step + 1, 90, ROWS, SEQ, 0);
    return zo2_step(e, &t.b, r);
}

static double evaluate(zo2_engine *e, zo2_weights weights)
{
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    random_batch(&t, 77, 90, ROWS, SEQ, 0);
    MUST(zo2_forward(e, &t.b, weights, &scores));
    return scores.loss;
}

typedef struct outcome {
    double loss[STEPS], eval[2];
    uint64_t hash;
} outcome;

static void train(zo2_engine *e, outcome *out, uint32_t to)
{
    zo2_engine_state state;
    for (zo2_engine_get_state(e, &state); state.step < to; zo2_engine_get_state(e, &state)) {
        zo2_step_result r = {.struct_size = sizeof r};
        MUST(step(e, &r));
        out->loss[state.step] = r.loss_plus;
    }
}

static void finish(zo2_engine *e, outcome *out)
{
    train(e, out, STEPS);
    out->eval[0] = evaluate(e, ZO2_WEIGHTS_WIRE);
    out->eval[1] = evaluate(e, ZO2_WEIGHTS_MASTER);
    MUST(zo2_masters_hash(e, &out->hash));
}

static char *journal_of(const session *s, size_t *bytes)
{
    char *data, *path = zo2_journal_path(s->run);
    MUST(zo2_io_slurp(path, 1 << 20, &data, bytes));
    free(path);
    return data;
}

static void assert_same_journal(const session *a, const session *b)
{
    size_t n, m;
    char *x = journal_of(a, &n), *y = journal_of(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* Where planes of an engine live. */
static void count_tiers(const zo2_engine *e, uint32_t tiers[3])
{
    const zo2_masters *m = &e->core.masters;
    memset(tiers, 0, 3 * sizeof *tiers);
    for (uint32_t c = 0; c < e->core.layout.n_chunks; c++)
        tiers[m->tier[c]] += m->owner[c] == c;
}

/* ---- the same bits ---- */

static outcome in_ram(const zo2_engine_opts *o, int aliased, session *s)
{
    static int runs;
    char name[32];
    outcome out;
    memset(&out, 0, sizeof out);
    snprintf(name, sizeof name, "ram-%d", runs++);
    *s = spilled(*o, aliased, name);
    zo2_engine *e = start(s);
    train(e, &out, STEPS / 2);
    (void)evaluate(e, ZO2_WEIGHTS_WIRE);
    finish(e, &out);
    zo2_engine_close(e);
    return out;
}

/* Evaluations between steps, a snapshot, an engine closed and opened again: all as without. */
static void compare(zo2_engine_opts o, int aliased, room r)
{
    static int runs;
    char name[32];
    session ram, s;
    outcome want = in_ram(&o, aliased, &ram), got;
    uint32_t tiers[3];
    memset(&got, 0, sizeof got);
    snprintf(name, sizeof name, "spilled-%d", runs++);
    s = spilled(o, aliased, name);
    spill_to(&s, r);
    zo2_engine *e = start(&s);
    count_tiers(e, tiers);
    assert_int_equal(tiers[ZO2_TIER_SPILL] + tiers[ZO2_TIER_WIRE] > 0, r != ALL);
    train(e, &got, STEPS / 2);
    (void)evaluate(e, ZO2_WEIGHTS_WIRE);
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    e = start(&s);
    finish(e, &got);
    zo2_engine_close(e);
    assert_memory_equal(&got, &want, sizeof want);
    assert_same_journal(&ram, &s);
}

static void any_wire(void **state)
{
    (void)state;
    static const zo2_wire wires[] = {ZO2_WIRE_BF16, ZO2_WIRE_FP32, ZO2_WIRE_E4M3};
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++)
        for (room r = LEAST; r <= ALL; r++) {
            zo2_engine_opts o = usual();
            o.wire = wires[i];
            o.pending = (int)i;
            o.dist = i % 2 ? ZO2_RADEMACHER : ZO2_GAUSSIAN;
            compare(o, 0, r);
        }
}

static void pending_updates(void **state)
{
    (void)state;
    for (room r = LEAST; r < ALL; r++) {
        zo2_engine_opts o = usual();
        o.pending = 3;
        o.queries = 2;
        o.micro_batch = o.max_rows_micro = 1;
        compare(o, 0, r);
    }
}

static void layers_share_planes(void **state)
{
    (void)state;
    for (room r = LEAST; r < ALL; r++)
        compare(usual(), 1, r);
}

static int begin(void **state)
{
    (void)state;
    test_device_begin(2);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    test_device_end();
    remove_tree(scratch_dir());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_wire),
        cmocka_unit_test(pending_updates),
        cmocka_unit_test(layers_share_planes),
    };
    return cmocka_run_group_tests(tests, begin, clean);
}
