/* test_engine_resident.c: what the device budget decides never changes a bit: wires that stay on the device or come
 * anew, residual streams that stay or wait in host memory, wires that are uploaded directly or through the staging. And it
 * decides what it should: a wire that stays is uploaded only when it was encoded anew. */
#include "tests/unit/engine/engine_testing.h"

#define STEPS 4

/* Sanitizers get one combination with one micro-batch and one with several, both wires, one query and two; pending updates they
 * see in sends_what_is_new() and aliased_layers(). */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif

typedef struct uploads {
    uint64_t wires, bytes, kept; /* of wires; kept: fetches of wires that were there */
    uint64_t staged;             /* transfers of the stage lane */
} uploads;

static void count(void *ud, const zo2_trace_event *e)
{
    uploads *u = ud;
    if (e->kind != ZO2_TRACE_SPAN)
        return;
    u->staged += !strcmp(e->lane, "stage");
    if (strcmp(e->lane, "upload") != 0)
        return;
    u->kept += !strcmp(e->name, "resident");
    u->wires += !strcmp(e->name, "upload");
    u->bytes += e->bytes;
}

static zo2_engine_opts base_opts(uploads *u)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CPU;
    o.lr = 1e-3;
    o.weight_decay = 0.1;
    o.seed = 11;
    o.max_rows = 8;
    o.max_rows_micro = 8;
    o.max_seq = 14;
    o.threads = 2;
    o.chunk_bytes = 1500;
    o.trace = count;
    o.trace_ud = u;
    return o;
}

static zo2_engine *start(const zo2_engine_opts *o)
{
    static int runs;
    char path[512], name[32];
    zo2_engine *e;
    snprintf(name, sizeof name, "run-%d", runs++);
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/tiles-f16"), scratch_path(path, sizeof path, name), o));
    return e;
}

static void step(zo2_engine *e, uint32_t i, double *loss)
{
    test_batch t;
    zo2_step_result r = {.struct_size = sizeof r};
    random_batch(&t, 3 * i + 1, 100, 8, 14, 0);
    MUST(zo2_step(e, &t.b, &r));
    *loss = r.loss_plus;
}

static double evaluate(zo2_engine *e, zo2_weights weights)
{
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    random_batch(&t, 77, 100, 8, 14, 0);
    MUST(zo2_forward(e, &t.b, weights, &scores));
    return scores.loss;
}

/* What was counted, once nothing runs ahead. */
static uploads counted(const zo2_engine *e, const uploads *u)
{
    MUST(zo2_pipeline_rest(e->core.pipe));
    return *u;
}

typedef struct outcome {
    double loss[STEPS], eval[STEPS][2];
    uint64_t hash, wires; /* wires: bytes of all */
    zo2_plan plan;
    zo2_engine_state state;
    uploads training; /* without evaluations; with what came ahead and was dropped for them */
} outcome;

static outcome run(zo2_engine_opts o, int bounce)
{
    outcome out;
    uploads u = {0}, before;
    memset(&out, 0, sizeof out);
    o.trace_ud = &u;
    zo2_engine *e = start(&o);
    zo2_pipeline_set_bounce(e->core.pipe, bounce);
    zo2_engine_get_plan(e, &out.plan);
    for (uint32_t i = 0; i < e->core.wire.n; i++)
        out.wires += e->core.layout.chunks[e->core.wire.fetch[i].chunk].wire_bytes;
    before = u;
    for (uint32_t i = 0; i < STEPS; i++) {
        step(e, i, &out.loss[i]);
        if (i % 2 && i + 1 < STEPS)
            continue; /* the next step follows at once */
        uploads now = counted(e, &u);
        out.training.wires += now.wires - before.wires;
        out.training.bytes += now.bytes - before.bytes;
        out.training.kept += now.kept - before.kept;
        out.training.staged += now.staged - before.staged;
        out.eval[i][0] = evaluate(e, ZO2_WEIGHTS_MASTER);
        before = u;
        out.eval[i][1] = evaluate(e, ZO2_WEIGHTS_WIRE);
        if (out.plan.resident_bytes >= o.device_bytes / 2 && o.device_bytes == 1u << 30)
            assert_int_equal(u.wires, before.wires);
        before = u;
    }
    zo2_engine_get_state(e, &out.state);
    MUST(zo2_masters_hash(e, &out.hash));
    zo2_engine_close(e);
    return out;
}

static void assert_same(const outcome *a, const outcome *b)
{
    assert_int_equal(a->hash, b->hash);
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->eval, b->eval, sizeof a->eval);
}

static void over_budgets(zo2_wire wire, uint32_t queries, int32_t pending, uint32_t micro)
{
    zo2_engine_opts o = base_opts(NULL);
    o.wire = wire;
    o.queries = queries;
    o.pending = pending;
    o.micro_batch = micro ? micro : UINT32_MAX;
    o.max_rows_micro = micro ? micro : 8;
    outcome base = run(o, 0);
    assert_int_equal(base.plan.resident_bytes, 0);
    assert_int_equal(base.training.kept + base.training.staged, 0);
    int stages = micro && micro < 4; /* three micro-batches or more */
    assert_int_equal(base.plan.device_min_bytes < base.plan.device_peak_bytes, stages);

    o.device_bytes = base.plan.device_min_bytes;
    outcome least = run(o, 0);
    assert_same(&base, &least);
    assert_int_equal(least.plan.staged_bytes != 0, stages);
    assert_int_equal(least.training.staged != 0, stages);
    assert_in_range(least.state.device_peak_bytes, o.device_bytes - 255, o.device_bytes);

    uint64_t comfortable = base.plan.device_peak_bytes + (64 << 10), wires = base.plan.wire_bytes_per_step;
    if (pending)
        wires = base.wires;
    uint64_t kept = 0;
    for (uint64_t third = 2; third <= 3; third++) {
        o.device_bytes = third == 3 ? 1u << 30 : comfortable + wires * third / 3;
        outcome other = run(o, third == 2);
        assert_same(&base, &other);
        assert_true(other.plan.device_peak_bytes <= o.device_bytes);
        assert_true(other.plan.resident_bytes > kept);
        assert_in_range(other.state.device_peak_bytes, other.plan.device_peak_bytes - 255,
                        other.plan.device_peak_bytes);
        kept = other.plan.resident_bytes;
        if (pending) { /* otherwise every wire is new in every step */
            assert_true(other.training.kept > 0);
            assert_true(other.training.bytes < base.training.bytes);
        }
        if (third == 3)
            assert_true(kept >= base.wires); /* all of them */
    }
    outcome bounced = run(o, 1);
    assert_same(&base, &bounced);
}

static void one_micro_batch(void **state)
{
    (void)state;
    over_budgets(ZO2_WIRE_BF16, 1, 0, 0);
#ifndef SANITIZED
    over_budgets(ZO2_WIRE_E4M3, 2, 2, 0);
#endif
}

static void micro_batches(void **state)
{
    (void)state;
#ifndef SANITIZED
    over_budgets(ZO2_WIRE_BF16, 1, 1, 1);
#endif
    over_budgets(ZO2_WIRE_E4M3, 2, 0, 3);
}

/* The whole model on the device: with K pending a step sends the vectors and about a (K + 1)-th of the tiles. */
static void sends_what_is_new(void **state)
{
    (void)state;
    uploads u = {0};
    zo2_engine_opts o = base_opts(&u);
    double loss;
    o.pending = 2;
    o.device_bytes = 1u << 30;
    zo2_engine *e = start(&o);
    step(e, 0, &loss);
    counted(e, &u);
    uint64_t all = u.wires, bytes = u.bytes;
    assert_true(all > 20);
    assert_true(u.kept < all); /* of the next step's, as far as the lane got; nothing is sent again */
    evaluate(e, ZO2_WEIGHTS_WIRE);
    evaluate(e, ZO2_WEIGHTS_WIRE);
    assert_int_equal(u.wires, all); /* as they are: nothing is uploaded */
    evaluate(e, ZO2_WEIGHTS_MASTER);
    assert_true(u.wires > all); /* exact values are never kept */
    u = (uploads){0};
    for (uint32_t i = 1; i <= 3; i++)
        step(e, i, &loss);
    counted(e, &u);
    assert_in_range(u.wires + u.kept, 3 * all, 4 * all); /* once, whether ahead or in the step */
    assert_in_range(u.bytes, bytes, bytes * 5 / 4);      /* every tile once in three steps, the vectors thrice */
    u = (uploads){0};
    MUST(zo2_snapshot(e)); /* may bring chunks forward */
    evaluate(e, ZO2_WEIGHTS_WIRE);
    double there = evaluate(e, ZO2_WEIGHTS_WIRE);
    zo2_engine_close(e);

    o.device_bytes = 0; /* the same weights through the ring */
    e = start(&o);
    for (uint32_t i = 0; i <= 3; i++)
        step(e, i, &loss);
    assert_true(evaluate(e, ZO2_WEIGHTS_WIRE) == there);
    zo2_engine_close(e);
}

/* Chunks that stay are spread along the pass and never take more than they may. */
static void choice(void **state)
{
    (void)state;
    uploads u = {0};
    zo2_engine_opts o = base_opts(&u);
    zo2_engine *e = start(&o);
    const zo2_layout *l = &e->core.layout;
    uint64_t *at = calloc(l->n_chunks, sizeof *at), total = zo2_resident_choose(l, UINT64_MAX / 2, at), last = 0;
    for (uint64_t spare = 0; spare <= total + 4096; spare += 777) {
        uint64_t bytes = zo2_resident_choose(l, spare, at), end = 0;
        assert_true(bytes <= spare && bytes <= total);
        assert_true(bytes + 4 * l->max_chunk_wire >= (spare < total ? spare : total));
        assert_int_equal(zo2_resident_choose(l, spare, NULL), bytes);
        uint32_t half = 0, chunks = 0;
        for (uint32_t c = 0; c < l->n_chunks; c++)
            if (at[c] != ZO2_NOT_RESIDENT) {
                assert_int_equal(at[c], end);
                assert_int_equal(at[c] % 256, 0);
                end += l->chunks[c].wire_bytes;
                chunks++;
                half += c < l->n_chunks / 2;
            }
        assert_int_equal(end, bytes);
        if (chunks > 16)
            assert_in_range(half, chunks / 4, chunks - chunks / 4);
        last = bytes;
    }
    assert_int_equal(last, total);
    free(at);
    zo2_engine_close(e);
}

/* Layers that share their memory: results mean nothing, but are the same whatever stays where and however many threads
 * there are. */
static void aliased_layers(void **state)
{
    (void)state;
    char pack[512], config[600];
    zo2_synth_opts synth;
    zo2_synth_opts_init(&synth);
    synth.alias = 1;
    snprintf(config, sizeof config, "%s/opt-fixtures/tiles-f16/config.json", ZO2_TEST_DATA);
    MUST(zo2_pack_synth(config, scratch_path(pack, sizeof pack, "aliased.zo2"), &synth));
    outcome first;
    memset(&first, 0, sizeof first);
    for (int variant = 0; variant < 4; variant++) {
        char run_dir[512], name[32];
        uploads u = {0};
        outcome out;
        memset(&out, 0, sizeof out);
        zo2_engine_opts o = base_opts(&u);
        zo2_engine *e;
        o.threads = variant == 1 ? 1 : 3;
        o.device_bytes = variant >= 2 ? 1u << 30 : 0;
        o.pending = 1;
        snprintf(name, sizeof name, "aliased-%d", variant);
        MUST(zo2_engine_open(&e, pack, scratch_path(run_dir, sizeof run_dir, name), &o));
        zo2_pipeline_set_bounce(e->core.pipe, variant == 3);
        for (uint32_t i = 0; i < STEPS; i++) {
            step(e, i, &out.loss[i]);
            out.eval[i][1] = evaluate(e, ZO2_WEIGHTS_WIRE);
        }
        MUST(zo2_masters_hash(e, &out.hash));
        zo2_engine_close(e);
        if (!variant)
            first = out;
        assert_same(&first, &out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choice),        cmocka_unit_test(sends_what_is_new), cmocka_unit_test(one_micro_batch),
        cmocka_unit_test(micro_batches), cmocka_unit_test(aliased_layers),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
