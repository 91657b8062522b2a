/* engine_tune_testing.h: runs that tune a part of the model: a choice of one, its options, batches and sessions. Header-only. */
#ifndef ZO2_TESTS_UNIT_ENGINE_ENGINE_TUNE_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_ENGINE_TUNE_TESTING_H

#include "tests/unit/engine/engine_testing.h"

#if defined(ZO2_TEST_CUDASIM) || defined(__SANITIZE_THREAD__) /* these take their time */
enum { STEPS = 4 };
#else
enum { STEPS = 8 };
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

static inline zo2_engine_opts opts_of(const choice *c)
{
    zo2_engine_opts o = small_run(7, ROWS, SEQ);
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
static inline void batch_of(test_batch *t, const choice *c, uint64_t step)
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

/* The run's next step, which is `step`, on its batch. */
static inline zo2_step_result take_step(zo2_engine *e, const choice *c, uint64_t step, test_batch *t)
{
    zo2_step_result r = {.struct_size = sizeof r};
    batch_of(t, c, step);
    MUST(zo2_step(e, &t->b, &r));
    assert_int_equal(r.step, step);
    assert_true(r.loss_plus != r.loss_minus);
    return r;
}

/* To at most STEPS. */
static inline void train(zo2_engine *e, const choice *c, uint64_t to, outcome *out)
{
    zo2_engine_state st;
    test_batch t;
    for (zo2_engine_get_state(e, &st); st.step < to; zo2_engine_get_state(e, &st)) {
        const zo2_step_result r = take_step(e, c, st.step, &t);
        out->loss[r.step] = r.loss_plus;
        for (int w = 0; w < 2 && r.step % 2; w++) {
            zo2_scores scores;
            zo2_scores_init(&scores);
            MUST(zo2_forward(e, &t.b, w ? ZO2_WEIGHTS_MASTER : ZO2_WEIGHTS_WIRE, &scores));
            out->eval[r.step][w] = scores.loss;
        }
    }
}

static inline zo2_engine *start(const choice *c, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    zo2_engine *e;
    MUST(zo2_engine_open(&e, pack_of(c->model), scratch_path(path, sizeof path, run), o));
    return e;
}

/* As little host memory as works, or half of what all takes. */
static inline void spill(const choice *c, zo2_engine_opts *o, const char *const *dirs, int half)
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

#endif
