/* test_engine_trace.c: what a trace says is what happened: spans of a lane don't overlap, every chunk goes through its
 * lanes in order, seconds add up, the ring never holds more than it has, and the bits are those of a run without. */
#include "tests/unit/engine/engine_testing.h"

#define STEPS 4
#define MAX   20000

typedef struct recorder {
    zo2_trace_event e[MAX];
    uint32_t n;
} recorder;

static void record(void *ud, const zo2_trace_event *e)
{
    recorder *r = ud;
    assert_int_equal(e->struct_size, sizeof *e);
    assert_true(r->n < MAX);
    r->e[r->n++] = *e; /* tensor names stay valid as long as the pack is open */
}

static zo2_engine_opts base_opts(void)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CPU;
    o.lr = 1e-3;
    o.seed = 3;
    o.max_rows = 8;
    o.max_seq = 14;
    o.threads = 2;
    o.chunk_bytes = 900;
    o.resume = 1;
    return o;
}

static uint64_t train(const char *run, const zo2_engine_opts *o, zo2_step_result *results, uint64_t *ring_bytes)
{
    char path[512];
    zo2_engine *e;
    uint64_t hash;
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/tiles-f16"), scratch_path(path, sizeof path, run), o));
    for (uint32_t i = 0; i < STEPS; i++) {
        test_batch t;
        random_batch(&t, i, 100, 8, 14, 0);
        results[i] = (zo2_step_result){.struct_size = sizeof results[i]};
        MUST(zo2_step(e, &t.b, &results[i]));
    }
    *ring_bytes = e->core.plan.device.ring_bytes;
    MUST(zo2_masters_hash(e, &hash));
    zo2_engine_close(e);
    return hash;
}

static void assert_no_overlap(const recorder *r, const char *lane)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *e = &r->e[i];
        if (e->kind != ZO2_TRACE_SPAN || strcmp(e->lane, lane) != 0)
            continue;
        assert_true(e->begin_ns >= end && e->end_ns >= e->begin_ns);
        end = e->end_ns;
    }
    assert_true(end > 0);
}

static const zo2_trace_event *find(const recorder *r, uint64_t step, int64_t chunk, const char *lane, const char *name)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *e = &r->e[i];
        if (e->kind == ZO2_TRACE_SPAN && e->step == step && e->chunk == chunk && !strcmp(e->lane, lane) &&
            !strcmp(e->name, name))
            return e;
    }
    return NULL;
}

static void check_chunks(const recorder *r, uint64_t step)
{
    uint32_t updates = 0, uploads = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *up = &r->e[i];
        if (up->kind != ZO2_TRACE_SPAN || up->step != step)
            continue;
        updates += !strcmp(up->name, "update");
        if (strcmp(up->name, "upload") != 0)
            continue;
        uploads++;
        assert_true(up->bytes > 0);
        const zo2_trace_event *update = find(r, step, up->chunk, "update", "update");
        const zo2_trace_event *decode = find(r, step, up->chunk, "compute", "decode");
        assert_non_null(update);
        assert_non_null(decode);
        assert_true(update->end_ns <= up->begin_ns);
        assert_true(up->end_ns <= decode->begin_ns);
        assert_int_equal(up->tile, decode->tile);
        if (up->tile >= 0)
            assert_int_equal(up->bytes,
                             decode->bytes); /* what was sent is what is decoded, not its place in the ring */
        assert_true(step == 0 ? update->bytes == 0 : update->bytes > 0); /* nothing to apply before the first step */
    }
    assert_true(uploads > 20);
    assert_true(updates > uploads); /* tables that are gathered from are updated and never uploaded */
}

static double busy(const recorder *r, uint64_t step, const char *lane)
{
    double ns = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const zo2_trace_event *e = &r->e[i];
        if (e->kind == ZO2_TRACE_SPAN && e->step == step && !strcmp(e->lane, lane) && strcmp(e->name, "wait") != 0)
            ns += (double)(e->end_ns - e->begin_ns);
    }
    return 1e-9 * ns;
}

static void trace(void **state)
{
    (void)state;
    static recorder r;
    zo2_engine_opts o = base_opts();
    zo2_step_result plain[STEPS], traced[STEPS];
    uint64_t ring;
    uint64_t hash = train("plain", &o, plain, &ring);
    o.trace = record;
    o.trace_ud = &r;
    assert_int_equal(train("traced", &o, traced, &ring), hash);

    assert_no_overlap(&r, "update");
    assert_no_overlap(&r, "upload");
    assert_no_overlap(&r, "compute");
    int full = 0;
    for (uint32_t i = 0; i < r.n; i++)
        if (r.e[i].kind == ZO2_TRACE_COUNTER) {
            assert_string_equal(r.e[i].name, "ring");
            assert_true(r.e[i].bytes <= ring);
            full |= r.e[i].bytes > ring / 2;
        }
    assert_true(full);
    for (uint32_t i = 0; i < STEPS; i++) {
        const zo2_step_result *t = &traced[i];
        assert_true(plain[i].loss_plus == t->loss_plus);
        check_chunks(&r, i);
        const zo2_lane_seconds *lane[] = {&t->update, &t->upload, &t->compute};
        static const char *const name[] = {"update", "upload", "compute"};
        double most = 0;
        for (int l = 0; l < 3; l++) {
            assert_true(lane[l]->busy > 0 && lane[l]->waiting >= 0);
            assert_true(lane[l]->busy + lane[l]->waiting <= t->seconds);
            /* the trace's spans are the lane's seconds; the compute lane does a little between them */
            double spans = busy(&r, i, name[l]);
            assert_true(spans <= lane[l]->busy * 1.0001);
            if (l < 2)
                assert_true(spans >= lane[l]->busy * 0.9999);
            most = lane[l]->busy > most ? lane[l]->busy : most;
        }
        for (int l = 0; l < 3; l++)
            if (!strcmp(t->bottleneck, name[l]))
                assert_true(lane[l]->busy == most);
    }
}

static uint64_t bytes_of(const recorder *r, int64_t step, const char *lane)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->e[i].kind == ZO2_TRACE_SPAN && !strcmp(r->e[i].lane, lane) &&
            (step < 0 || r->e[i].step == (uint64_t)step))
            bytes += r->e[i].bytes;
    return bytes;
}

/* The two lanes of a run whose masters spill. */
static void trace_of_a_spill(void **state)
{
    (void)state;
    static recorder r;
    zo2_engine_opts o = base_opts();
    zo2_step_result plain[STEPS], spilled[STEPS];
    zo2_plan least;
    uint64_t ring, hash, written = 0;
    char path[512];
    const char *dir = scratch_path(path, sizeof path, "files");
    memset(&r, 0, sizeof r);
    hash = train("in-ram", &o, plain, &ring);
    o.spill_dirs = &dir;
    o.spill_count = 1;
    o.probe_seconds = 0;
    o.host_bytes = 1; /* too little, but the plan says what the least is */
    (void)zo2_plan_estimate(pack_of("opt-fixtures/tiles-f16"), &o, &least);
    o.host_bytes = least.host_min_bytes;
    o.trace = record;
    o.trace_ud = &r;
    assert_int_equal(train("spilled", &o, spilled, &ring), hash);
    assert_no_overlap(&r, "read");
    assert_no_overlap(&r, "write");
    for (uint32_t i = 0; i < STEPS; i++) {
        const zo2_step_result *t = &spilled[i];
        assert_true(plain[i].loss_plus == t->loss_plus);
        assert_true(t->read_bytes > 0 && t->read.busy > 0);
        assert_int_equal(bytes_of(&r, i, "read"), t->read_bytes);
        assert_true(t->read.busy + t->read.waiting <= t->seconds);
        assert_true(busy(&r, i, "read") <= t->read.busy * 1.0001 && busy(&r, i, "read") >= t->read.busy * 0.9999);
        written += t->written_bytes;
    }
    assert_true(written > 0 && bytes_of(&r, -1, "write") >= written); /* closing writes the rest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trace), cmocka_unit_test(trace_of_a_spill)};
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
