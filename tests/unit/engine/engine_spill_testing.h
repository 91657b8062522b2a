/* engine_spill_testing.h: what the tests of runs that spill share: runs in RAM and with files, and what must be the same of them. */
#ifndef ZO2_TESTS_UNIT_ENGINE_ENGINE_SPILL_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_ENGINE_SPILL_TESTING_H

#include "engine/plan/plan.h"
#include "tests/unit/engine/engine_testing.h"

enum { ROWS = 4, SEQ = 10, STEPS = 6, THREADS = 2, CHUNK = 2000, VOCAB = 20 };

static inline zo2_engine_opts usual(void)
{
    zo2_engine_opts o = small_run(5, ROWS, SEQ);
    o.pending = 0;
    o.threads = THREADS;
    o.chunk_bytes = CHUNK;
    o.probe_seconds = 0;
    return o;
}

/* What is trained: an OPT, one whose layers are stored once, or one of another family. */
typedef enum model_kind { PLAIN, ALIASED, LLAMA, QWEN2, QWEN3, MISTRAL, KINDS } model_kind;

static inline const char *pack_for(model_kind k)
{
    static const char *const model[KINDS] = {"opt-fixtures/prenorm-f32",     NULL,
                                             "decoder-fixtures/llama-plain", "decoder-fixtures/qwen2",
                                             "decoder-fixtures/qwen3",       "decoder-fixtures/mistral"};
    return k == ALIASED ? alias_pack() : pack_of(model[k]);
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

static inline void set_room(session *s, room r)
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

static inline session spilled(zo2_engine_opts o, model_kind k, const char *name)
{
    session s = {.o = o, .pack = pack_for(k)};
    scratch_path(s.run, sizeof s.run, name);
    return s;
}

static inline void spill_to(session *s, room r)
{
    for (int i = 0; i < 2; i++)
        snprintf(s->dir[i], sizeof s->dir[i], "%s.spill%d", s->run, i);
    s->dirs[0] = s->dir[0];
    s->dirs[1] = s->dir[1];
    s->o.spill_dirs = s->dirs;
    s->o.spill_count = 2;
    set_room(s, r);
}

/* It may have been copied. */
static inline void use_own_dirs(session *s)
{
    s->dirs[0] = s->dir[0];
    s->dirs[1] = s->dir[1];
    if (s->o.spill_dirs)
        s->o.spill_dirs = s->dirs;
}

static inline zo2_engine *start(session *s)
{
    zo2_engine *e;
    use_own_dirs(s);
    MUST(zo2_engine_open(&e, s->pack, s->run, &s->o));
    return e;
}

static inline zo2_status step(zo2_engine *e, zo2_step_result *r)
{
    test_batch t;
    zo2_engine_state state;
    zo2_engine_get_state(e, &state);
    random_batch(&t, (uint32_t)state.step + 1, VOCAB, ROWS, SEQ, 0);
    return zo2_step(e, &t.b, r);
}

static inline double evaluate(zo2_engine *e, zo2_weights weights)
{
    test_batch t;
    zo2_scores scores;
    zo2_scores_init(&scores);
    random_batch(&t, 77, VOCAB, ROWS, SEQ, 0);
    MUST(zo2_forward(e, &t.b, weights, &scores));
    return scores.loss;
}

typedef struct outcome {
    double loss[STEPS], eval[2];
    uint64_t hash;
} outcome;

static inline void train(zo2_engine *e, outcome *out, uint32_t to)
{
    zo2_engine_state state;
    for (zo2_engine_get_state(e, &state); state.step < to; zo2_engine_get_state(e, &state)) {
        zo2_step_result r = {.struct_size = sizeof r};
        MUST(step(e, &r));
        out->loss[state.step] = r.loss_plus;
    }
}

static inline void finish(zo2_engine *e, outcome *out)
{
    train(e, out, STEPS);
    out->eval[0] = evaluate(e, ZO2_WEIGHTS_WIRE);
    out->eval[1] = evaluate(e, ZO2_WEIGHTS_MASTER);
    MUST(zo2_masters_hash(e, &out->hash));
}

static inline char *journal_of(const session *s, size_t *bytes)
{
    char *data, *path = zo2_journal_path(s->run);
    MUST(zo2_io_slurp(path, 1 << 20, &data, bytes));
    free(path);
    return data;
}

static inline void assert_same_journal(const session *a, const session *b)
{
    size_t n, m;
    char *x = journal_of(a, &n), *y = journal_of(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static inline outcome in_ram(const zo2_engine_opts *o, model_kind k, session *s)
{
    static int runs;
    char name[32];
    outcome out;
    memset(&out, 0, sizeof out);
    snprintf(name, sizeof name, "ram-%d", runs++);
    *s = spilled(*o, k, name);
    zo2_engine *e = start(s);
    train(e, &out, STEPS / 2);
    (void)evaluate(e, ZO2_WEIGHTS_WIRE);
    finish(e, &out);
    zo2_engine_close(e);
    return out;
}

#endif
