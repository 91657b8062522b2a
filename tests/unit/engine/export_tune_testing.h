/* export_tune_testing.h: runs that tune a part of the model, for tests of their exports: masters as the engine had them after each step, and
 * what has to come out of them. Header-only. */
#ifndef ZO2_TESTS_UNIT_ENGINE_EXPORT_TUNE_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_EXPORT_TUNE_TESTING_H

#include "engine/families/families.h"
#include "engine/model/tune.h"
#include "tests/unit/engine/engine_testing.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

enum { ROWS = 4, SEQ = 10, STEPS = 5, MOST = 128 };

typedef struct choice {
    const char *model;
    uint32_t vocab;
    const char *tune;
    uint32_t rotate;
    int32_t pending;
    zo2_wire wire, frozen_wire;
} choice;

typedef struct tuned {
    const choice *c;
    const char *pack;
    char run[512], spill[540], out[540], bundle[560], again[560];
    const char *dirs[1];
    zo2_engine_opts o;
    zo2_export_opts x;
    zo2_arch arch;             /* the run's */
    float *w[STEPS + 1][MOST]; /* masters after so many steps */
    char log[4096];
} tuned;

/* ---- runs ---- */

static inline void remember(void *ud, zo2_log_level level, const char *text)
{
    tuned *r = ud;
    (void)level;
    strncat(r->log, text, sizeof r->log - strlen(r->log) - 1);
}

static inline void read_masters(tuned *r, zo2_engine *e, uint64_t step)
{
    for (uint32_t i = 0; i < r->arch.n_tensors; i++) {
        const zo2_tensor *t = &r->arch.tensors[i];
        const uint64_t n = t->rows * t->cols;
        assert_non_null(r->w[step][i] = malloc(n * sizeof(float)));
        MUST(zo2_tensor_read(e, t->name, 0, n, r->w[step][i]));
    }
}

static inline void batch_of(test_batch *t, const choice *c, uint64_t step)
{
    random_batch(t, (uint32_t)step + 1, c->vocab, ROWS, SEQ, 0);
}

static inline void options(tuned *r, int spills)
{
    zo2_plan plan;
    const choice *c = r->c;
    r->o = small_run(11, ROWS, SEQ);
    r->o.wire = c->wire ? c->wire : ZO2_WIRE_BF16;
    r->o.frozen_wire = c->frozen_wire;
    r->o.pending = c->pending;
    r->o.threads = 2;
    r->o.chunk_bytes = 2000;
    r->o.tune = c->tune;
    r->o.tune_rotate = c->rotate;
    if (!spills)
        return;
    r->dirs[0] = r->spill;
    r->o.spill_dirs = r->dirs;
    r->o.spill_count = 1;
    r->o.probe_seconds = 0;
    r->o.host_bytes = 1; /* too little, but the plan says what the least is */
    (void)zo2_plan_estimate(r->pack, &r->o, &plan);
    r->o.host_bytes = plan.host_min_bytes;
}

/* Every export syncs its files: where memory is a folder, they go there. */
static inline const char *exports_dir(void)
{
    static char dir[64];
    if (!dir[0]) {
        snprintf(dir, sizeof dir, "%s/zo2-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        assert_non_null(mkdtemp(dir));
    }
    return dir;
}

static inline int exports_clean(void **state)
{
    remove_tree(exports_dir());
    return test_clean(state);
}

static inline tuned *begin(const choice *c, int spills)
{
    static unsigned n;
    tuned *r = calloc(1, sizeof *r);
    zo2_arch model;
    zo2_engine *e;
    test_batch t;
    assert_non_null(r);
    r->c = c;
    r->pack = pack_of(c->model);
    snprintf(r->run, sizeof r->run, "%s/run%u", scratch_dir(), n);
    snprintf(r->spill, sizeof r->spill, "%s.spill", r->run);
    snprintf(r->out, sizeof r->out, "%s/out%u", exports_dir(), n);
    snprintf(r->bundle, sizeof r->bundle, "%s.zo2b", r->out);
    snprintf(r->again, sizeof r->again, "%s.again", r->out);
    n++;
    MUST(zo2_arch_load(&model, r->pack, NULL));
    MUST(zo2_arch_tune(&r->arch, &model, c->tune, c->rotate != 0));
    assert_true(r->arch.n_tensors <= MOST);
    zo2_arch_free(&model);
    options(r, spills);
    MUST(zo2_engine_open(&e, r->pack, r->run, &r->o));
    for (uint64_t step = 0; step <= STEPS; step++) {
        read_masters(r, e, step);
        if (step == 2)
            MUST(zo2_snapshot(e));
        batch_of(&t, c, step);
        if (step < STEPS)
            MUST(zo2_step(e, &t.b, NULL));
    }
    zo2_engine_close(e);
    zo2_export_opts_init(&r->x);
    r->x.run_dir = r->run;
    r->x.spill_dirs = r->o.spill_dirs;
    r->x.spill_count = r->o.spill_count;
    r->x.merge = 1;
    r->x.force = 1;
    r->x.threads = 3;
    r->x.log = remember;
    r->x.log_ud = r;
    zo2_export_opts b = r->x;
    MUST(zo2_pack_bundle(r->pack, r->bundle, &b));
    return r;
}

static inline void end(tuned *r)
{
    for (uint64_t step = 0; step <= STEPS; step++)
        for (uint32_t i = 0; i < r->arch.n_tensors; i++)
            free(r->w[step][i]);
    zo2_arch_free(&r->arch);
    free(r);
}

/* ---- what is to come out ---- */

static inline const float *master(const tuned *r, uint64_t step, const char *name)
{
    const zo2_tensor *t = zo2_arch_by_name(&r->arch, name);
    return t ? r->w[step][t->id] : NULL;
}

/* The head with the run's rows, from the table if there is no other. */
static inline void put_rows(const tuned *r, uint64_t step, float *w)
{
    const float *rows = master(r, step, "lm_head.rows");
    for (uint32_t i = 0; rows && i < r->arch.n_rows; i++)
        memcpy(w + (uint64_t)r->arch.row[i] * r->arch.embed_dim, rows + (uint64_t)i * r->arch.embed_dim,
               r->arch.embed_dim * sizeof *w);
}

static inline void add_adapters(const tuned *r, uint64_t step, const zo2_tensor *t, float *w)
{
    char name[96];
    const int stem = (int)(strrchr(t->name, '.') - t->name);
    const uint32_t rank = r->arch.lora_rank;
    snprintf(name, sizeof name, "%.*s.lora_A.weight", stem, t->name);
    const float *a = master(r, step, name);
    snprintf(name, sizeof name, "%.*s.lora_B.weight", stem, t->name);
    const float *b = master(r, step, name);
    for (uint64_t i = 0; t->rank == 2 && a && i < t->rows; i++)
        for (uint64_t j = 0; j < t->cols; j++) {
            float sum = 0;
            for (uint32_t k = 0; k < rank; k++)
                sum += b[i * rank + k] * a[k * t->cols + j];
            w[i * t->cols + j] += r->arch.lora_scale * sum;
        }
}

static inline float *expected(const tuned *r, uint64_t step, const hf_tensor *h, uint64_t *n)
{
    const zo2_tensor *t = zo2_arch_by_name(&r->arch, h->name);
    const int head = !strcmp(h->name, "lm_head.weight");
    if (!t && head)
        t = &r->arch.tensors[zo2_arch_find(&r->arch, ZO2_ROLE_EMBED_TOKENS, 0)];
    if (!t)
        fail_msg("nothing of the run is named %s", h->name);
    assert_true(t->stored != ZO2_NO_TENSOR);
    *n = t->rows * t->cols;
    float *w = malloc(*n * sizeof *w);
    memcpy(w, r->w[step][t->id], *n * sizeof *w);
    if (head)
        put_rows(r, step, w);
    add_adapters(r, step, t, w);
    return w;
}

static inline zo2_dtype type_of(const hf_tensor *h)
{
    return !strcmp(h->dtype, "F32") ? ZO2_F32 : !strcmp(h->dtype, "F16") ? ZO2_F16 : ZO2_BF16;
}

static inline void assert_model(const tuned *r, uint64_t step, zo2_dtype dtype)
{
    hf_model *m = hf_load(r->out);
    zo2_arch model;
    size_t bytes;
    MUST(zo2_arch_load(&model, r->pack, NULL));
    const int parted = model.tied && r->arch.n_rows;
    assert_int_equal(m->n, model.n_tensors + (uint32_t)parted);
    for (uint32_t i = 0; i < m->n; i++) {
        uint64_t n;
        const hf_tensor *h = &m->t[i];
        float *w = expected(r, step, h, &n);
        unsigned char *bits = malloc(4 * n);
        if (dtype)
            assert_int_equal(type_of(h), dtype);
        zo2_source_encode(type_of(h), w, n, bits);
        assert_int_equal(h->bytes, n * zo2_dtype_bytes(type_of(h)));
        if (memcmp(h->data, bits, h->bytes) != 0)
            fail_msg("%s, step %d: %s isn't the run's; %s", r->c->tune, (int)step, h->name, r->log);
        free(w);
        free(bits);
    }
    char *config = hf_read(hf_path(r->out, "config.json"), &bytes);
    assert_int_equal(strstr(config, "\"tie_word_embeddings\": true") != NULL, model.tied && !parted);
    free(config);
    zo2_arch_free(&model);
    hf_free(m);
}

#endif
