/* test_export_tune.c: exports of runs that tune a part of the model: the masters, put together as the model they make, at every step, from every
 * source; what never moved has the source's own bits; and the model that is written computes what the run computes. */
#include "tests/unit/engine/export_tune_testing.h"

static const char opt[] = "opt-fixtures/prenorm-bf16-sharded";   /* tied */
static const char projections[] = "opt-fixtures/wide-proj-bf16"; /* tied, an embedding of another width */
static const char untied[] = "opt-fixtures/untied-proj-bf16";
static const char tiles[] = "opt-fixtures/tiles-f16"; /* its head has several panel tiles */
static const char llama[] = "decoder-fixtures/llama-gqa-tied";
static const char qwen[] = "decoder-fixtures/qwen2-tied";

/* ---- every choice, step and source ---- */

static void from_every_source(tuned *r, zo2_dtype dtype)
{
    zo2_export_opts x = r->x;
    x.dtype = dtype;
    for (int64_t step = 0; step <= STEPS; step++) {
        x.at_step = step;
        for (x.replay = 0; x.replay < 2; x.replay++) {
            MUST(zo2_pack_export(r->pack, r->out, &x));
            assert_model(r, (uint64_t)step, dtype);
        }
        zo2_export_opts b = {.struct_size = sizeof b,
                             .bundle = r->bundle,
                             .at_step = step,
                             .initialised = 1,
                             .dtype = dtype,
                             .merge = 1,
                             .force = 1};
        MUST(zo2_pack_export(r->pack, r->out, &b));
        assert_model(r, (uint64_t)step, dtype);
    }
}

static void each(const choice *c)
{
    for (int spills = 0; spills < 2; spills++) {
        tuned *r = begin(c, spills);
        from_every_source(r, ZO2_F32);
        r->x.at_step = -1;
        r->x.dtype = 0;
        MUST(zo2_pack_export(r->pack, r->out, &r->x));
        assert_model(r, STEPS, 0);
        if (spills && !strstr(r->log, "from the spill"))
            fail_msg("%s: nothing came from the spill: %s", c->tune, r->log);
        if (!spills && !strstr(r->log, "(from a snapshot)"))
            fail_msg("%s: nothing came from a snapshot: %s", c->tune, r->log);
        end(r);
    }
}

static void parts(void **state)
{
    (void)state;
    each(&(choice){.model = opt, .vocab = 120, .tune = "layers=2"});
    each(&(choice){.model = opt, .vocab = 120, .tune = "matrices=0,2", .pending = 2, .wire = ZO2_WIRE_E4M3});
    each(
        &(choice){.model = opt, .vocab = 120, .tune = "layers=1", .wire = ZO2_WIRE_FP16, .frozen_wire = ZO2_WIRE_E5M2});
    each(&(choice){.model = llama, .vocab = 32, .tune = "vectors"});
    each(&(choice){.model = opt, .vocab = 120, .tune = "match=*.1.fc2.*+match=*embed_positions*"});
}

static void turns(void **state)
{
    (void)state;
    each(&(choice){.model = opt, .vocab = 120, .rotate = 1});
    each(&(choice){.model = opt, .vocab = 120, .tune = "layers=1-2", .rotate = 2});
}

static void rows(void **state)
{
    (void)state;
    each(&(choice){.model = opt, .vocab = 120, .tune = "rows=3,7-40,119"});
    each(&(choice){.model = projections, .vocab = 101, .tune = "matrices=2+rows=0-9", .wire = ZO2_WIRE_E4M3});
    each(&(choice){.model = untied, .vocab = 109, .tune = "rows=0,5,100-108+vectors", .pending = 1});
    each(&(choice){.model = llama, .vocab = 32, .tune = "rows=0-31"});
    each(&(choice){.model = qwen, .vocab = 32, .tune = "rows=30+layers=1", .rotate = 2});
    each(&(choice){.model = tiles, .vocab = 4201, .tune = "rows=0-5,1000-4149,4200"});
}

static void adapters(void **state)
{
    (void)state;
    each(&(choice){.model = opt, .vocab = 120, .tune = "lora:r=4,alpha=8,targets=q_proj+v_proj"});
    each(&(choice){.model = projections,
                   .vocab = 101,
                   .tune = "lora:r=3,alpha=5,targets=q_proj+k_proj+v_proj+o_proj+fc1+fc2,layers=2+vectors"});
    each(&(choice){.model = llama,
                   .vocab = 32,
                   .tune = "all+lora:targets=gate_proj+up_proj+down_proj,layers=1",
                   .pending = 2,
                   .rotate = 2});
    each(&(choice){.model = llama, .vocab = 32, .tune = "lora:r=2+rows=4-7"});
}

/* ---- a snapshot without its journal ---- */

/* The one that all parts of the snapshot stand at: the last update may not be in it yet. */
static uint64_t told_step(const tuned *r)
{
    const char *at = strstr(r->log, "the weights after ");
    unsigned long long step = 0;
    if (!at || sscanf(at, "the weights after %llu steps", &step) != 1 || step < 1 || step > STEPS)
        fail_msg("the log is: %s", r->log);
    return step;
}

static void a_snapshot_alone(void **state)
{
    (void)state;
    static const struct {
        const char *tune;
        zo2_status status;
    } cases[] = {{"layers=1-2", ZO2_OK},
                 {"match=*.1.fc2.bias+matrices=0", ZO2_OK},
                 {"vectors", ZO2_OK},
                 {"rows=4", ZO2_ERR_NOTFOUND},
                 {"lora:r=2", ZO2_ERR_NOTFOUND}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const choice c = {.model = opt, .vocab = 120, .tune = cases[i].tune};
        tuned *r = begin(&c, 0);
        char dir[540];
        zo2_export_opts x = r->x;
        snprintf(dir, sizeof dir, "%s/snapshots", r->run);
        x.run_dir = NULL;
        x.snapshot_dir = dir;
        for (x.dtype = 0; x.dtype <= ZO2_F32; x.dtype += ZO2_F32) {
            assert_int_equal(zo2_pack_export(r->pack, r->out, &x), cases[i].status);
            if (!cases[i].status)
                assert_model(r, told_step(r), x.dtype);
            else if (!strstr(r->log, "tensors of its own (rows=, lora:), which only its journal tells of"))
                fail_msg("%s: the log is: %s", c.tune, r->log);
        }
        end(r);
    }
}

/* ---- what is written is the run's model ---- */

static void scores_of(const char *pack, const char *run, const zo2_engine_opts *o, const test_batch *t, int masters,
                      float *logprobs, double *loss)
{
    zo2_engine *e;
    zo2_scores s;
    zo2_scores_init(&s);
    s.logprobs = logprobs;
    MUST(zo2_engine_open(&e, pack, run, o));
    MUST(zo2_forward(e, &t->b, masters ? ZO2_WEIGHTS_MASTER : ZO2_WEIGHTS_WIRE, &s));
    *loss = s.loss;
    zo2_engine_close(e);
}

static void computes_the_same(void **state)
{
    (void)state;
    static const choice choices[] = {
        {.model = opt, .vocab = 120, .tune = "rows=3,7-40,119"},
        {.model = projections, .vocab = 101, .tune = "rows=0-50+matrices=2"},
        {.model = untied, .vocab = 109, .tune = "rows=100-108"},
        {.model = llama, .vocab = 32, .tune = "rows=1-31+layers=1"},
        {.model = opt, .vocab = 120, .tune = "lora:r=4,alpha=8,targets=q_proj+fc2+rows=7"},
        {.model = llama, .vocab = 32, .tune = "lora:targets=k_proj+o_proj+down_proj"},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        tuned *r = begin(&choices[i], 0);
        static float a[ROWS * SEQ], b[ROWS * SEQ];
        double run, model;
        test_batch t;
        char other[580];
        zo2_convert_opts co;
        zo2_engine_opts plain = r->o;
        zo2_convert_opts_init(&co);
        r->x.dtype = ZO2_F32;
        MUST(zo2_pack_export(r->pack, r->out, &r->x));
        MUST(zo2_pack_convert(r->out, r->again, &co));
        batch_of(&t, r->c, 99);
        plain.tune = NULL;
        plain.wire = ZO2_WIRE_FP32;
        snprintf(other, sizeof other, "%s.run", r->again);
        scores_of(r->pack, r->run, &r->o, &t, 1, a, &run);
        scores_of(r->again, other, &plain, &t, 0, b, &model);
        double most = fabs(run - model), largest = fabs(run);
        for (uint32_t k = 0; k < ROWS * SEQ; k++) {
            most = fmax(most, fabs((double)a[k] - (double)b[k]));
            largest = fmax(largest, fabs((double)a[k]));
        }
        /* Sums differ in their last bits: rows that move are summed first there, and adapters multiply what the matrix gets. */
        if (!(most <= 1e-6 * largest))
            fail_msg("%s: what was exported is %.3g away (loss %.9g, %.9g)", r->c->tune, most, run, model);
        end(r);
    }
}

/* ---- GGUF ---- */

/* A file for llama.cpp, read again, has the directory's weights, in fp16 here. */
static void as_gguf(void **state)
{
    (void)state;
    static const choice choices[] = {{.model = llama, .vocab = 32, .tune = "rows=1,9-30"},
                                     {.model = llama, .vocab = 32, .tune = "lora:targets=q_proj+k_proj+fc2"}};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        tuned *r = begin(&choices[i], 0);
        char file[600], back[600];
        snprintf(file, sizeof file, "%s.gguf", r->out);
        snprintf(back, sizeof back, "%s.back", r->out);
        zo2_export_opts x = r->x, whole = {.struct_size = sizeof whole, .dtype = ZO2_F16, .force = 1};
        x.form = ZO2_EXPORT_GGUF_F16;
        MUST(zo2_pack_export(r->pack, file, &x));
        MUST(zo2_pack_convert(file, r->again, NULL));
        MUST(zo2_pack_export(r->again, back, &whole));
        x = r->x;
        x.dtype = ZO2_F16;
        MUST(zo2_pack_export(r->pack, r->out, &x));
        hf_model *a = hf_load(r->out), *b = hf_load(back);
        assert_int_equal(a->n, b->n);
        for (uint32_t k = 0; k < a->n; k++)
            assert_memory_equal(a->t[k].data, hf_find(b, a->t[k].name)->data, a->t[k].bytes);
        hf_free(a);
        hf_free(b);
        end(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts),
        cmocka_unit_test(turns),
        cmocka_unit_test(rows),
        cmocka_unit_test(adapters),
        cmocka_unit_test(a_snapshot_alone),
        cmocka_unit_test(computes_the_same),
        cmocka_unit_test(as_gguf),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, exports_clean);
}
