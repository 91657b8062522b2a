/* export_run_testing.h: runs made by hand for tests of exports. The oracle is a scalar replay written here from the
 * formulas of the design (D4), on journals with coefficients far larger than any training's, so that every term counts.
 * Header-only. */
#ifndef ZO2_TESTS_UNIT_ENGINE_EXPORT_RUN_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_EXPORT_RUN_TESTING_H

#include "codec/codec.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/run/journal.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

#define STEPS 9
#define SEED  UINT64_C(0xFEDCBA9876543210)

typedef struct bench {
    char *dir;
    const char *pack, *run, *out;
    zo2_dist dist;
    uint32_t queries;
    zo2_export_opts o;
} bench;

static inline zo2_journal_record record(const bench *b, uint64_t step)
{
    zo2_journal_record r = {.step = step, .tokens = 1, .data_position = step + 1, .queries = b->queries};
    r.skipped = step == 0 || step == 5; /* a skipped step changes nothing, whatever its coefficients */
    r.d = 0.01f + 0.003f * (float)step;
    for (uint32_t q = 0; q < b->queries; q++)
        r.query[q] = (zo2_journal_query){1, 2, 3, 3, (step % 2 ? -1.0f : 1.0f) * 0.01f * (float)(step + q + 1)};
    return r;
}

static inline bench begin(const char *source, zo2_dist dist, uint32_t queries)
{
    bench b = {.dir = hf_temp(), .dist = dist, .queries = queries};
    zo2_pack *p;
    zo2_pack_info info;
    zo2_journal *j;
    b.pack = strdup(hf_path(b.dir, "model.zo2"));
    b.run = strdup(hf_path(b.dir, "run"));
    b.out = strdup(hf_path(b.dir, "out"));
    zo2_export_opts_init(&b.o);
    b.o.run_dir = b.run;
    b.o.force = 1;
    assert_ok(zo2_pack_convert(source, b.pack, NULL));
    assert_ok(zo2_pack_open(&p, b.pack));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    zo2_run_settings s = {.model_hash = info.model_hash,
                          .seed = SEED,
                          .lr = 1e-6,
                          .eps = 1e-3,
                          .schedule = ZO2_CONSTANT,
                          .dist = dist,
                          .queries = queries,
                          .micro_batch = UINT32_MAX,
                          .wire = ZO2_WIRE_BF16,
                          .frozen_wire = ZO2_WIRE_BF16,
                          .compute = ZO2_F32,
                          .tune_order = ZO2_ORDER_TOP,
                          .trunk_type = ZO2_F32,
                          .backend = ZO2_BACKEND_CPU,
                          .noise_version = ZO2_NOISE_VERSION,
                          .tile_rule = ZO2_TILE_RULE,
                          .decay_set = ZO2_DECAY_SET};
    assert_int_equal(mkdir(b.run, 0777), 0);
    assert_ok(zo2_journal_create(&j, &zo2_io_posix, hf_path(b.run, "journal.zo2j"), &s));
    for (uint64_t i = 0; i < STEPS; i++) {
        zo2_journal_record r = record(&b, i);
        assert_ok(zo2_journal_append(j, &r));
    }
    zo2_journal_close(j);
    return b;
}

static inline void end(bench *b)
{
    hf_remove_tree(b->dir);
    free((void *)b->pack);
    free((void *)b->run);
    free((void *)b->out);
}

/* Weights w[n], elements from `first` on, after `steps` steps. */
static inline void replay(const bench *b, float *w, uint64_t n, uint32_t id, int decays, uint64_t first, uint64_t steps)
{
    float *v = malloc(n * sizeof *v), *z = malloc(n * sizeof *z);
    assert_true(v && z);
    for (uint64_t step = 0; step < steps; step++) {
        zo2_journal_record r = record(b, step);
        if (r.skipped)
            continue;
        for (uint64_t k = 0; k < n; k++) {
            volatile float rounded = (decays ? r.d : 0.0f) * w[k]; /* before it is added to */
            v[k] = rounded;
        }
        for (uint32_t q = 0; q < r.queries; q++) {
            assert_ok(zo2_noise_fill(z, SEED, step, q, id, first, n, b->dist));
            for (uint64_t k = 0; k < n; k++)
                v[k] = fmaf(r.query[q].c, z[k], v[k]);
        }
        for (uint64_t k = 0; k < n; k++)
            w[k] = w[k] - v[k];
    }
    free(v);
    free(z);
}

/* The export at b->out against the replay; types: 0 = the source's. */
static inline void assert_replayed(const bench *b, const char *source, uint64_t steps, zo2_dtype to)
{
    zo2_arch a;
    hf_model *m = hf_load(b->out), *from = hf_load(source);
    uint64_t changed = 0;
    assert_ok(zo2_arch_load(&a, source, NULL));
    assert_int_equal(m->n, a.n_tensors);
    for (uint32_t i = 0; i < a.n_tensors; i++) {
        const zo2_tensor *t = &a.tensors[i];
        const hf_tensor *h = hf_find(m, t->name), *f = hf_find(from, t->name);
        zo2_dtype type = strcmp(f->dtype, "F32") == 0 ? ZO2_F32 : strcmp(f->dtype, "F16") == 0 ? ZO2_F16 : ZO2_BF16;
        zo2_dtype target = to ? to : type;
        uint64_t n = t->rows * t->cols, bytes = n * zo2_dtype_bytes(target);
        float *w = malloc(n * sizeof *w);
        void *expected = malloc(bytes);
        zo2_source_decode(type, f->data, n, w);
        float *before = malloc(n * sizeof *before);
        memcpy(before, w, n * sizeof *w);
        replay(b, w, n, i, strstr(t->name, "bias") == NULL && strstr(t->name, "norm") == NULL, 0, steps);
        for (uint64_t k = 0; k < n; k++)
            changed += w[k] != before[k];
        free(before);
        zo2_source_encode(target, w, n, expected);
        assert_int_equal(h->bytes, bytes);
        assert_memory_equal(h->data, expected, bytes);
        free(w);
        free(expected);
    }
    assert_true(steps < 2 ? changed == 0 : changed > a.parameters * 9 / 10);
    zo2_arch_free(&a);
    hf_free(m);
    hf_free(from);
}

#endif
