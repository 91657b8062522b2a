/* test_export_run.c: exports of runs. The oracle is a scalar replay written here from the formulas of the design (D4),
 * on journals made by hand with coefficients far larger than any training's, so that every term counts. */
#include "codec/codec.h"
#include "engine/layout.h"
#include "engine/models/arch.h"
#include "hf_dir.h"
#include "storage/journal.h"

#include <math.h>

#define STEPS  9
#define SOURCE FIXTURES "untied-proj-bf16"
#define SEED   UINT64_C(0xFEDCBA9876543210)

typedef struct bench {
    char *dir;
    const char *pack, *run, *out;
    zo2_dist dist;
    uint32_t queries;
    zo2_export_opts o;
} bench;

static zo2_journal_record record(const bench *b, uint64_t step)
{
    zo2_journal_record r = {.step = step, .tokens = 1, .data_position = step + 1, .queries = b->queries};
    r.skipped = step == 0 || step == 5; /* a skipped step changes nothing, whatever its coefficients */
    r.d = 0.01f + 0.003f * (float)step;
    for (uint32_t q = 0; q < b->queries; q++)
        r.query[q] = (zo2_journal_query){1, 2, 3, 3, (step % 2 ? -1.0f : 1.0f) * 0.01f * (float)(step + q + 1)};
    return r;
}

static bench begin(const char *source, zo2_dist dist, uint32_t queries)
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
                          .compute = ZO2_F32,
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

static void end(bench *b)
{
    hf_remove_tree(b->dir);
    free((void *)b->pack);
    free((void *)b->run);
    free((void *)b->out);
}

/* The weight after `steps` steps, one element at a time. */
static float replay(const bench *b, float w, uint32_t id, int decays, uint64_t element, uint64_t steps)
{
    for (uint64_t step = 0; step < steps; step++) {
        zo2_journal_record r = record(b, step);
        if (r.skipped)
            continue;
        volatile float v = (decays ? r.d : 0.0f) * w; /* rounded before it is added to */
        for (uint32_t q = 0; q < r.queries; q++) {
            float z;
            assert_ok(zo2_noise_fill(&z, SEED, step, q, id, element, 1, b->dist));
            v = fmaf(r.query[q].c, z, v);
        }
        w = w - v;
    }
    return w;
}

/* The export at b->out against the replay; types: 0 = the source's. */
static void assert_replayed(const bench *b, const char *source, uint64_t steps, zo2_dtype to)
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
        for (uint64_t k = 0; k < n; k++) {
            float after =
                replay(b, w[k], i, strstr(t->name, "bias") == NULL && strstr(t->name, "norm") == NULL, k, steps);
            changed += after != w[k];
            w[k] = after;
        }
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

static void whole_run(void **state)
{
    static const zo2_dist dists[] = {ZO2_GAUSSIAN, ZO2_RADEMACHER};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        bench b = begin(SOURCE, dists[i], i ? 3 : 1);
        b.o.dtype = ZO2_F32;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, ZO2_F32);
        b.o.dtype = 0; /* rounded to the source's bf16 */
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, 0);
        b.o.dtype = ZO2_F16;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, STEPS, ZO2_F16);
        assert_int_equal(hf_count_entries(b.dir), 3);
        end(&b);
    }
}

static void prefixes(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 2);
    b.o.dtype = ZO2_F32;
    for (int64_t n = 0; n <= STEPS; n++) {
        b.o.at_step = n;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        assert_replayed(&b, SOURCE, (uint64_t)n, ZO2_F32);
    }
    b.o.at_step = STEPS + 1;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "has 9 steps; there is no step 10 to export at");
    b.o.at_step = 3;
    b.o.run_dir = NULL;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "step 3 needs a run directory");
    end(&b);
}

/* A model of several groups and many pieces: the same bits whatever the number of threads and the shards. */
static void threads(void **state)
{
    (void)state;
    bench b = begin(TINY, ZO2_RADEMACHER, 1);
    const char *first = hf_path(b.dir, "first");
    b.o.dtype = ZO2_BF16;
    b.o.threads = 1;
    assert_ok(zo2_pack_export(b.pack, first, &b.o));
    for (uint32_t n = 2; n <= 5; n += 3) {
        b.o.threads = n;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        hf_assert_same_file(hf_path(first, "model.safetensors"), hf_path(b.out, "model.safetensors"));
    }
    hf_model *m = hf_load(first),
             *from = hf_load(TINY); /* samples against the oracle: elements far from a tensor's start */
    const hf_tensor *h = hf_find(m, "model.decoder.embed_tokens.weight"), *f = hf_find(from, h->name);
    for (uint64_t k = 0; k < 4096 * 192; k += 4099) {
        float w;
        uint16_t bits;
        zo2_source_decode(ZO2_F16, f->data + 2 * k, 1, &w);
        w = replay(&b, w, 0, 1, k, STEPS);
        zo2_source_encode(ZO2_BF16, &w, 1, &bits);
        assert_memory_equal(h->data + 2 * k, &bits, 2);
    }
    hf_free(m);
    hf_free(from);
    end(&b);
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    assert_int_equal(level, ZO2_LOG_INFO);
    snprintf(ud, 256, "%s", message);
}

static void refusals(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1), other = begin(FIXTURES "prenorm-f32", ZO2_GAUSSIAN, 1);
    char text[256] = "";
    assert_error(zo2_pack_export(other.pack, b.out, &b.o), ZO2_ERR_MISMATCH, "was made from another model");
    b.o.run_dir = b.dir;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_NOTFOUND, "is not a run directory");
    assert_int_equal(hf_count_entries(b.dir), 2);
    b.o.run_dir = b.run;
    b.o.log = on_log;
    b.o.log_ud = text;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_non_null(strstr(text, "replaying 9 steps over 26968 parameters"));
    end(&b);
    end(&other);
}

/* Weights that a run made infinite aren't exported, whatever the type. */
static void nonfinite_result(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1);
    zo2_journal *j;
    assert_ok(zo2_journal_open(&j, &zo2_io_posix, hf_path(b.run, "journal.zo2j"), 1));
    zo2_journal_record r = record(&b, STEPS);
    r.query[0].c = 3e38f;
    assert_ok(zo2_journal_append(j, &r));
    r.step++;
    assert_ok(zo2_journal_append(j, &r));
    zo2_journal_close(j);
    b.o.dtype = ZO2_F32;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_NONFINITE,
                 "model.decoder.embed_tokens.weight is infinite or not a number after 11 steps");
    b.o.at_step = STEPS;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    end(&b);
}

static void aliased_pack(void **state)
{
    (void)state;
    bench b = begin(SOURCE, ZO2_GAUSSIAN, 1);
    zo2_synth_opts s;
    zo2_synth_opts_init(&s);
    s.alias = 1;
    s.force = 1;
    assert_ok(zo2_pack_synth(FIXTURES "prenorm-f32/config.json", b.pack, &s));
    b.o.run_dir = NULL;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o)); /* without a run: each layer written out */
    hf_model *m = hf_load(b.out);
    assert_memory_equal(hf_find(m, "model.decoder.layers.0.fc1.weight")->data,
                        hf_find(m, "model.decoder.layers.1.fc1.weight")->data, 48 * 32 * 2);
    hf_free(m);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_run), cmocka_unit_test(prefixes),         cmocka_unit_test(threads),
        cmocka_unit_test(refusals),  cmocka_unit_test(nonfinite_result), cmocka_unit_test(aliased_pack),
    };
    return cmocka_run_group_tests_name("export_run", tests, NULL, NULL);
}
