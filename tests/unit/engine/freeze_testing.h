/* freeze_testing.h: packs that get wires of their matrices, and runs made from them, for tests. Header-only. */
#ifndef ZO2_TESTS_UNIT_ENGINE_FREEZE_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_FREEZE_TESTING_H

#include "tests/unit/engine/engine_testing.h"

#include <sys/stat.h>

enum { ROWS = 4, SEQ = 12, STEPS = 3 };

static const char opt[] = "opt-fixtures/prenorm-bf16-sharded"; /* three layers */

static inline char *copy_of(const char *pack, const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char command[1200];
    char *to = scratch_path(path[turn++ % 4], sizeof path[0], name);
    snprintf(command, sizeof command, "cp '%s' '%s'", pack, to);
    assert_int_equal(system(command), 0);
    return to;
}

static inline zo2_status freeze(const char *pack, zo2_wire wire, const char *tune)
{
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = wire;
    o.tune = tune;
    o.threads = 2;
    return zo2_pack_freeze(pack, &o);
}

static inline void verify(const char *pack)
{
    zo2_pack *p;
    MUST(zo2_pack_open(&p, pack));
    MUST(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
}

static inline uint64_t bytes_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static inline void info_is(const char *pack, size_t i, zo2_wire wire, uint64_t matrices)
{
    zo2_pack *p;
    zo2_frozen_wire_info w = {.struct_size = sizeof w};
    MUST(zo2_pack_open(&p, pack));
    const zo2_status s = zo2_pack_frozen_wire(p, i, &w);
    zo2_pack_close(p);
    if (!matrices) {
        assert_int_equal(s, ZO2_ERR_NOTFOUND);
        return;
    }
    assert_int_equal(s, ZO2_OK);
    assert_int_equal(w.wire, wire);
    assert_int_equal(w.matrices, matrices);
    assert_true(w.parameters > 0 && w.bytes > w.parameters);
}

static inline char *whole(const char *path, uint64_t *n)
{
    *n = bytes_of(path);
    char *data = malloc(*n);
    FILE *f = fopen(path, "rb");
    assert_true(f && data && fread(data, *n, 1, f) == 1);
    fclose(f);
    return data;
}

static inline zo2_engine_opts opts_of(const char *tune, zo2_wire frozen)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = TEST_BACKEND;
    o.lr = 1e-3;
    o.seed = 3;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    o.resume = 1;
    o.tune = tune;
    o.frozen_wire = frozen;
    return o;
}

static inline zo2_engine *start(const char *pack, const char *run, const zo2_engine_opts *o)
{
    char path[512];
    zo2_engine *e;
    MUST(zo2_engine_open(&e, pack, scratch_path(path, sizeof path, run), o));
    return e;
}

static inline char *run_name(void)
{
    static char name[24];
    static unsigned n;
    snprintf(name, sizeof name, "run%u", n++);
    return name;
}

typedef struct outcome {
    uint64_t chain;
    double loss[STEPS], eval;
} outcome;

static inline outcome train(const char *pack, const zo2_engine_opts *o)
{
    outcome out = {0};
    zo2_engine *e = start(pack, run_name(), o);
    test_batch t;
    for (uint64_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&t, (uint32_t)i, 120, ROWS, SEQ, 0);
        MUST(zo2_step(e, &t.b, &r));
        out.loss[i] = r.loss_plus;
    }
    zo2_scores s;
    zo2_scores_init(&s);
    MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_MASTER, &s));
    out.eval = s.loss;
    out.chain = zo2_journal_chain(e->journal, STEPS);
    zo2_engine_close(e);
    return out;
}

static inline void same_run(const outcome *a, const outcome *b, const char *what)
{
    if (a->chain != b->chain || a->eval != b->eval || memcmp(a->loss, b->loss, sizeof a->loss) != 0)
        fail_msg("%s: losses %.9g and %.9g", what, a->loss[STEPS - 1], b->loss[STEPS - 1]);
}

#endif
