/* test_sim_engine_spans.c: what a trace of a training step on the cuda backend says of the device: a span for all that
 * was issued, of its lane and name, within the step; the lanes' seconds are these spans' sums; and watching changes no
 * bit. Micro-batches whose residual streams wait in host memory keep the stage lane busy too. */
#include "cudasim.h"
#include "tests/unit/engine/engine_testing.h"

#include "engine/stream/trace.h"

#define MODEL "opt-fixtures/prenorm-f16-headdim20" /* less to do in a step than a lane keeps apart */
#define STEPS 2
#define MAX   30000

typedef struct recorder {
    zo2_trace_event e[MAX];
    uint32_t n;
} recorder;

static void record(void *ud, const zo2_trace_event *e)
{
    recorder *r = ud;
    assert_true(r->n < MAX);
    r->e[r->n] = *e;
    r->e[r->n++].tensor = NULL;
}

typedef struct outcome {
    zo2_step_result step[STEPS];
    uint64_t begin[STEPS], end[STEPS], hash;
} outcome;

enum { WATCHED, TRACED, UNWATCHED };

static void train(outcome *out, unsigned how, unsigned order, recorder *r)
{
    static int runs;
    char path[512], name[32];
    cudasim_config sim = {.device_bytes = 1u << 30, .order = (cudasim_order)order, .seed = 4};
    zo2_engine *e;
    zo2_engine_opts o;
    zo2_plan plan;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CUDA;
    o.lr = 1e-3;
    o.seed = 11;
    o.max_rows = 6;
    o.max_seq = 14;
    o.micro_batch = o.max_rows_micro = 2;
    o.threads = 2;
    o.chunk_bytes = 4000;
    if (how == TRACED) {
        o.trace = record;
        o.trace_ud = r;
    }
    cudasim_reset(&sim);
    snprintf(name, sizeof name, "run-%d", runs++);
    scratch_path(path, sizeof path, name);
    MUST(zo2_engine_open(&e, pack_of(MODEL), path, &o)); /* to ask for the smallest budget, */
    zo2_engine_get_plan(e, &plan);
    zo2_engine_close(e);
    o.resume = 1;
    o.device_bytes = plan.device_min_bytes; /* in which streams have to wait in host memory */
    MUST(zo2_engine_open(&e, pack_of(MODEL), path, &o));
    zo2_engine_get_plan(e, &plan);
    assert_true(plan.staged_bytes > 0);
    if (how == UNWATCHED)
        e->core.ops->observe(e->core.be, NULL, NULL);
    for (uint32_t i = 0; i < STEPS; i++) {
        test_batch t;
        random_batch(&t, i + 1, 100, 6, 14, 0);
        out->step[i] = (zo2_step_result){.struct_size = sizeof out->step[i]};
        out->begin[i] = zo2_clock_ns();
        MUST(zo2_step(e, &t.b, &out->step[i]));
        out->end[i] = zo2_clock_ns();
    }
    MUST(zo2_masters_hash(e, &out->hash));
    zo2_engine_close(e);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
}

/* Spans of a lane in a step, all or those of a name. */
static uint32_t count(const recorder *r, uint64_t step, const char *lane, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *e = &r->e[i];
        n +=
            e->kind == ZO2_TRACE_SPAN && e->step == step && !strcmp(e->lane, lane) && (!name || !strcmp(e->name, name));
    }
    return n;
}

/* Seconds of a device's lane in a step, whose spans must follow one another within [begin, end]. */
static double seconds(const recorder *r, uint64_t step, const char *lane, uint64_t begin, uint64_t end)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *e = &r->e[i];
        if (e->kind != ZO2_TRACE_SPAN || e->step != step || strcmp(e->lane, lane) != 0)
            continue;
        assert_true(e->begin_ns >= begin && e->end_ns >= e->begin_ns);
        begin = e->end_ns;
        sum += e->end_ns - e->begin_ns;
    }
    assert_true(begin <= end);
    return 1e-9 * (double)sum;
}

static void check_names(const recorder *r, uint64_t step)
{
    static const char *const of_device[] = {"upload",   "download", "decode",    "decode_rows",
                                            "gemm",     "bias_act", "layernorm", "convert_rows",
                                            "lse_init", "lse_tile", "attention", "lse_finish"};
    uint32_t named = 0;
    for (size_t i = 0; i < sizeof of_device / sizeof *of_device; i++) {
        uint32_t n = count(r, step, "device compute", of_device[i]);
        if (!n)
            fail_msg("no %s in step %d", of_device[i], (int)step);
        named += n;
    }
    assert_int_equal(named, count(r, step, "device compute", NULL));
    assert_int_equal(count(r, step, "device compute", "gemm"), count(r, step, "compute", "gemm"));
    assert_int_equal(count(r, step, "device compute", "attention"), count(r, step, "compute", "attention"));
    assert_int_equal(count(r, step, "device compute", "decode") + count(r, step, "device compute", "decode_rows"),
                     count(r, step, "compute", "decode"));
    assert_int_equal(count(r, step, "device upload", "upload"), count(r, step, "upload", "upload"));
    assert_int_equal(count(r, step, "device upload", NULL), count(r, step, "upload", "upload"));
    uint32_t out = count(r, step, "device stage", "download"), in = count(r, step, "device stage", "upload");
    assert_true(in > 0 && out > 0);
    assert_int_equal(out, count(r, step, "stage", "download"));
    assert_int_equal(in, count(r, step, "stage", "upload"));
    assert_int_equal(in + out, count(r, step, "device stage", NULL));
}

static void trace_shows_the_device(void **state)
{
    (void)state;
    static recorder r;
#if defined(__SANITIZE_THREAD__)
    const unsigned orders = 1; /* it is slow, and sees as much in any of them */
#else
    const unsigned orders = 3;
#endif
    for (unsigned order = 0; order < orders; order++) {
        outcome watched, traced, unwatched;
        r.n = 0;
        train(&watched, WATCHED, order, NULL);
        train(&traced, TRACED, order, &r);
        train(&unwatched, UNWATCHED, order, NULL);
        assert_int_equal(watched.hash, traced.hash);
        assert_int_equal(watched.hash, unwatched.hash);
        for (uint32_t i = 0; i < STEPS; i++) {
            const zo2_step_result *s = &traced.step[i];
            assert_true(s->loss_plus == watched.step[i].loss_plus && s->loss_plus == unwatched.step[i].loss_plus);
            check_names(&r, i);
            double upload = seconds(&r, i, "device upload", traced.begin[i], traced.end[i]);
            double compute = seconds(&r, i, "device compute", traced.begin[i], traced.end[i]);
            seconds(&r, i, "device stage", traced.begin[i], traced.end[i]);
            assert_float_equal(s->upload.busy, upload, 1e-9);
            assert_float_equal(s->compute.busy, compute, 1e-9);
            assert_true(upload > 0 && compute > 0);
            assert_true(s->upload.busy + s->upload.waiting <= s->seconds);
            assert_true(s->compute.busy + s->compute.waiting <= s->seconds);
            assert_true(watched.step[i].compute.busy > 0 && watched.step[i].upload.busy > 0);
            assert_true(unwatched.step[i].upload.busy == 0); /* they do come from there */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trace_shows_the_device)};
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
