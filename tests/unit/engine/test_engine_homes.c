/* test_engine_homes.c: a chunk's planes are where their home says, as long as they are held. With a home that moves them
 * (moving_home.h) runs have the bits that they have in RAM: nobody keeps a pointer past the release, and a wire stays until
 * its copy is over. Rest planes aren't asked for where wires are enough; what a home says when it fails is what the
 * call says. */
#include "engine/families/families.h"
#include "tests/unit/engine/moving_home.h"

#include <sys/stat.h>

enum { ROWS = 4, SEQ = 10, STEPS = 3, THREADS = 2 };

static zo2_engine_opts usual(void)
{
    zo2_engine_opts o = small_run(5, ROWS, SEQ);
    o.threads = THREADS;
    o.chunk_bytes = 1000;
    return o;
}

static zo2_engine *start(zo2_engine_opts o, int aliased, const char *run)
{
    zo2_engine *e;
    char path[512];
    const char *pack = aliased ? alias_pack() : pack_of("opt-fixtures/prenorm-f32");
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), &o));
    return e;
}

/* The smallest device: no wire stays there, and slots are used again. */
static uint64_t smallest(zo2_engine_opts o, int aliased)
{
    static int runs;
    char name[32];
    snprintf(name, sizeof name, "smallest-%d", runs++);
    zo2_engine *e = start(o, aliased, name);
    uint64_t bytes = e->core.plan.pub.device_min_bytes;
    zo2_engine_close(e);
    return bytes;
}

static zo2_status step(zo2_engine *e, uint32_t i, zo2_step_result *r)
{
    test_batch t;
    random_batch(&t, i + 1, 90, ROWS, SEQ, 0);
    return zo2_step(e, &t.b, r);
}

static zo2_status evaluate(zo2_engine *e, zo2_weights weights, double *loss)
{
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    random_batch(&t, 77, 90, ROWS, SEQ, 0);
    zo2_status s = zo2_forward(e, &t.b, weights, &scores);
    *loss = scores.loss;
    return s;
}

/* ---- the same bits ---- */

typedef struct outcome {
    double loss[STEPS], eval[2];
    uint64_t hash, resumed;
} outcome;

static outcome run(const zo2_engine_opts *o, int aliased, int bounce, int moving)
{
    static int runs;
    outcome out;
    moving_home home;
    char name[32];
    snprintf(name, sizeof name, "bits-%d", runs++);
    memset(&out, 0, sizeof out);
    zo2_engine *e = start(*o, aliased, name);
    if (moving)
        moving_home_enter(&home, e);
    if (bounce)
        zo2_pipeline_set_bounce(e->core.pipe, 1);
    for (uint32_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        MUST(step(e, i, &r));
        out.loss[i] = r.loss_plus;
    }
    MUST(evaluate(e, ZO2_WEIGHTS_WIRE, &out.eval[0]));
    MUST(evaluate(e, ZO2_WEIGHTS_MASTER, &out.eval[1]));
    MUST(zo2_masters_hash(e, &out.hash));
    MUST(zo2_snapshot(e));
    if (moving) {
        assert_true(home.most_held > 0);
        assert_in_range(home.most_held, 1, zo2_masters_held(THREADS));
        moving_home_leave(&home, e);
    }
    zo2_engine_close(e);
    if (moving)
        moving_home_free(&home);
    e = start(*o, aliased, name);
    MUST(zo2_masters_hash(e, &out.resumed));
    zo2_engine_close(e);
    return out;
}

static void compare(zo2_engine_opts o, int aliased)
{
    outcome want = run(&o, aliased, 0, 0);
    assert_int_equal(want.hash, want.resumed);
    for (int bounce = 0; bounce < 2; bounce++) {
        outcome got = run(&o, aliased, bounce, 1);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static void wires_come_anew(void **state)
{
    (void)state;
#if defined(ZO2_TEST_CUDASIM) && (defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__))
    static const zo2_wire wires[] = {
        ZO2_WIRE_BF16}; /* the home's planes are the host's: the CPU's test has the others */
#else
    static const zo2_wire wires[] = {ZO2_WIRE_BF16, ZO2_WIRE_FP32, ZO2_WIRE_E4M3};
#endif
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        zo2_engine_opts o = usual();
        o.wire = wires[i];
        o.device_bytes = smallest(o, 0);
        compare(o, 0);
    }
}

static void wires_stay(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    o.wire = ZO2_WIRE_BF16;
    o.pending = 2;
    o.queries = 2;
    o.micro_batch = o.max_rows_micro = 1;
    compare(o, 0);
}

/* Of the file, after STEPS steps. */
static uint64_t snapshot_bytes(const zo2_engine_opts *o, int aliased)
{
    char run[32], path[512], file[600];
    struct stat st;
    snprintf(run, sizeof run, "stored-%d", aliased);
    zo2_engine *e = start(*o, aliased, run);
    for (uint32_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        MUST(step(e, i, &r));
    }
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    snprintf(file, sizeof file, "%s/snapshots/snapshot-%012d.zo2s", scratch_path(path, sizeof path, run), STEPS);
    assert_int_equal(stat(file, &st), 0);
    return (uint64_t)st.st_size;
}

static void layers_share_planes(void **state)
{
    (void)state;
    zo2_engine_opts o = usual();
    o.device_bytes = smallest(o, 1);
    compare(o, 1);
    /* what they share is stored once, and the plan says so */
    zo2_arch arch;
    zo2_plan plain, aliased;
    char name[600];
    snprintf(name, sizeof name, "%s/opt-fixtures/prenorm-f32/config.json", ZO2_TEST_DATA);
    MUST(zo2_arch_load(&arch, name, NULL));
    uint64_t layer = 0;
    for (uint32_t i = 0; i < arch.n_tensors; i++)
        if (arch.tensors[i].layer == 1)
            layer += 4 * arch.tensors[i].rows * arch.tensors[i].cols;
    zo2_arch_free(&arch);
    MUST(zo2_plan_estimate(name, &o, &plain));
    MUST(zo2_plan_estimate(alias_pack(), &o, &aliased));
    assert_true(layer > 10000);
    assert_int_equal(plain.snapshot_bytes - aliased.snapshot_bytes, layer);
    assert_true(snapshot_bytes(&o, 0) - snapshot_bytes(&o, 1) >= layer);
}

/* ---- what is asked for ---- */

static void only_what_is_needed(void **state)
{
    (void)state;
    double loss;
    moving_home home;
    zo2_engine_opts o = usual();
    o.wire = ZO2_WIRE_BF16;
    o.device_bytes = smallest(o, 0);
    zo2_engine *e = start(o, 0, "needed");
    const zo2_layout *l = &e->core.layout;
    unsigned rests = 0;
    for (uint32_t i = 0; i < l->n_chunks; i++)
        rests += l->chunks[i].rest_bytes > 0;
    assert_in_range(rests, 1, l->n_chunks - 1); /* vectors have none */
    moving_home_enter(&home, e);
    MUST(step(e, 0, NULL)); /* nothing to update yet: wires alone */
    assert_int_equal(home.acquired[0][ZO2_ACCESS_WRITE], 0);
    assert_true(home.acquired[0][ZO2_ACCESS_READ] > 0);
    assert_int_equal(home.acquired[1][ZO2_ACCESS_READ] + home.acquired[1][ZO2_ACCESS_WRITE], 0);
    memset(home.acquired, 0, sizeof home.acquired);
    MUST(step(e, 1, NULL)); /* every chunk is updated, once */
    assert_int_equal(home.acquired[0][ZO2_ACCESS_WRITE], l->n_chunks);
    assert_int_equal(home.acquired[1][ZO2_ACCESS_WRITE], rests);
    memset(home.acquired, 0, sizeof home.acquired);
    MUST(evaluate(e, ZO2_WEIGHTS_WIRE, &loss));
    assert_true(home.acquired[0][ZO2_ACCESS_READ] > 0);
    assert_int_equal(home.acquired[0][ZO2_ACCESS_WRITE], 0);
    assert_int_equal(home.acquired[1][ZO2_ACCESS_READ] + home.acquired[1][ZO2_ACCESS_WRITE], 0);
    moving_home_leave(&home, e);
    zo2_engine_close(e);
    moving_home_free(&home);
}

/* ---- a home that fails ---- */

static zo2_status fill(zo2_engine *e)
{
    zo2_core *c = &e->core;
    zo2_masters_load how = {.pack = e->pack->file,
                            .history = &c->history,
                            .pool = c->pool,
                            .steps = c->history.steps,
                            .pending = c->pending};
    return zo2_masters_fill(&c->masters, &how);
}

enum { STEP, WIRE, MASTER, HASH, SNAPSHOT, FILL, CALLS };

/* *value: what must not depend on failures before. */
static zo2_status call(zo2_engine *e, int which, double *value)
{
    zo2_step_result r = {.struct_size = sizeof r};
    uint64_t hash = 0;
    zo2_status s = ZO2_ERR_INTERNAL;
    *value = 0;
    switch (which) {
    case STEP:
        s = step(e, 1, &r);
        *value = r.loss_plus;
        break;
    case WIRE: return evaluate(e, ZO2_WEIGHTS_WIRE, value);
    case MASTER: return evaluate(e, ZO2_WEIGHTS_MASTER, value);
    case HASH:
        s = zo2_masters_hash(e, &hash);
        *value = (double)hash;
        break;
    case SNAPSHOT: return zo2_snapshot(e);
    case FILL: return fill(e);
    }
    return s;
}

/* At the first, second, third, fifth, ... plane that a call asks for; then it works as if nothing had been. */
static void failing(zo2_engine *e, moving_home *home, int which, double want)
{
    double got;
    unsigned failures = 0;
    for (unsigned at = 1, next = 2;; next += at, at = next - at) {
        home->fail_in = at;
        zo2_status s = call(e, which, &got);
        if (home->fail_in) {
            home->fail_in = 0;
            assert_int_equal(s, ZO2_OK);
            break;
        }
        failures++;
        assert_int_equal(s, ZO2_ERR_IO);
        assert_int_equal(home->held, 0);
        const char *text = zo2_last_error();
        assert_non_null(strstr(text, "tensor model.decoder."));
        assert_non_null(strstr(text, " plane of the master weights from their home (a moving home): told to fail. "));
        assert_non_null(strstr(text, "open the run again"));
        if (which == STEP) {
            assert_int_equal(step(e, 1, NULL), ZO2_ERR_IO); /* the engine keeps saying so */
            e->failed = ZO2_OK;                             /* no update had begun when this home failed */
        }
    }
    assert_true(failures > 3);
    assert_true(got == want);
}

static void an_error_is_the_call_s(void **state)
{
    (void)state;
    moving_home home;
    double want[CALLS];
    uint64_t hash, same;
    zo2_engine_opts o = usual();
    o.wire = ZO2_WIRE_BF16;
    o.device_bytes = smallest(o, 0);
    zo2_engine *e = start(o, 0, "smooth");
    MUST(step(e, 0, NULL));
    for (int i = 0; i < CALLS; i++)
        MUST(call(e, i, &want[i]));
    MUST(zo2_masters_hash(e, &hash));
    zo2_engine_close(e);
    e = start(o, 0, "rough");
    moving_home_enter(&home, e);
    MUST(step(e, 0, NULL));
    for (int i = 0; i < CALLS; i++)
        failing(e, &home, i, want[i]);
    MUST(zo2_masters_hash(e, &same));
    assert_int_equal(same, hash);
    moving_home_leave(&home, e);
    zo2_engine_close(e);
    moving_home_free(&home);
}

static int begin(void **state)
{
    (void)state;
    test_device_begin(2);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wires_come_anew),        cmocka_unit_test(wires_stay),
        cmocka_unit_test(layers_share_planes),    cmocka_unit_test(only_what_is_needed),
        cmocka_unit_test(an_error_is_the_call_s),
    };
    return cmocka_run_group_tests(tests, begin, test_clean);
}
