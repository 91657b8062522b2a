/* test_synth.c: synthetic packs: values from the noise generator, aliasing, determinism, refusals. */
#include "codec/codec.h"
#include "engine/families/families.h"
#include "engine/pack/pack_api.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

#define CONFIG FIXTURES "untied-proj-bf16/config.json"

static zo2_synth_opts opts(zo2_dtype dtype, int alias, uint64_t seed)
{
    zo2_synth_opts o;
    zo2_synth_opts_init(&o);
    o.dtype = dtype;
    o.alias = alias;
    o.seed = seed;
    return o;
}

static void assert_values(const char *pack, zo2_dtype dtype, uint64_t seed)
{
    zo2_pack *p;
    assert_ok(zo2_pack_open(&p, pack));
    assert_ok(zo2_pack_verify(p, NULL, NULL));
    for (uint32_t i = 0; i < p->arch.n_tensors; i++) {
        const zo2_tensor *t = &p->arch.tensors[i];
        const zo2_packtensor *r = zo2_packfile_tensor(p->file, i);
        uint64_t n = t->rows * t->cols, bytes = n * zo2_dtype_bytes(dtype);
        float *w = malloc(n * sizeof *w);
        void *expected = malloc(bytes), *got = malloc(bytes);
        uint32_t source = r->stored_as; /* an aliased tensor has the values of the one it is stored as */
        if (t->rank == 2)
            assert_ok(zo2_noise_fill(w, seed, 0, 0, source, 0, n, ZO2_GAUSSIAN));
        for (uint64_t k = 0; k < n; k++)
            w[k] = t->rank == 2 ? w[k] * 0.02f : strstr(t->name, "norm.weight") ? 1.0f : 0.0f;
        zo2_source_encode(dtype, w, n, expected);
        assert_int_equal(r->dtype, dtype);
        assert_ok(zo2_packfile_read_rows(p->file, i, 0, t->rows, got));
        assert_memory_equal(got, expected, bytes);
        free(w);
        free(expected);
        free(got);
    }
    zo2_pack_close(p);
}

static void values(void **state)
{
    static const zo2_dtype types[] = {ZO2_F32, ZO2_F16, ZO2_BF16};
    (void)state;
    char *dir = hf_temp();
    for (size_t i = 0; i < 3; i++) {
        const char *pack = hf_path(dir, zo2_dtype_name(types[i]));
        zo2_synth_opts o = opts(types[i], 0, 7 + i);
        assert_ok(zo2_pack_synth(CONFIG, pack, &o));
        assert_values(pack, types[i], 7 + i);
        zo2_arch a;
        uint64_t bytes;
        assert_ok(zo2_arch_load(&a, pack, &bytes)); /* it carries a configuration with the new type */
        assert_int_equal(a.dtype, types[i]);
        assert_true(bytes > 0);
        zo2_arch_free(&a);
    }
    hf_remove_tree(dir);
}

static void aliased(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *plain = hf_path(dir, "plain.zo2"), *alias = hf_path(dir, "alias.zo2"),
               *config = FIXTURES "prenorm-bf16-sharded/config.json";
    zo2_synth_opts o = opts(0, 0, 0);
    zo2_pack_info a, b;
    zo2_pack *p;
    assert_ok(zo2_pack_synth(config, plain, &o));
    o.alias = 1;
    assert_ok(zo2_pack_synth(config, alias, &o));
    assert_values(plain, ZO2_F16, 0);
    assert_values(alias, ZO2_F16, 0);
    assert_ok(zo2_pack_open(&p, plain));
    assert_ok(zo2_pack_get_info(p, &a));
    zo2_pack_close(p);
    assert_ok(zo2_pack_open(&p, alias));
    assert_ok(zo2_pack_get_info(p, &b));
    for (uint32_t i = 0; i < p->arch.n_tensors; i++) {
        const zo2_tensor *t = &p->arch.tensors[i];
        int layer = t->block > 0 && t->block <= p->arch.layers;
        assert_int_equal(zo2_packfile_tensor(p->file, i)->stored_as, layer ? zo2_arch_find(&p->arch, t->role, 0) : i);
    }
    zo2_pack_close(p);
    assert_int_equal(a.parameters, b.parameters);
    assert_int_equal(a.tensors, b.tensors);
    assert_false(a.aliased);
    assert_true(b.aliased);
    assert_true(b.file_bytes < a.file_bytes);
    assert_true(a.model_hash != b.model_hash);
    hf_remove_tree(dir);
}

/* The same arguments, the same file; another seed, another model. */
static void deterministic(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *a = hf_path(dir, "a"), *b = hf_path(dir, "b"), *c = hf_path(dir, "c");
    zo2_synth_opts o = opts(ZO2_BF16, 0, 3);
    assert_ok(zo2_pack_synth(CONFIG, a, &o));
    assert_ok(zo2_pack_synth(a, b, &o)); /* a pack is as good as its configuration */
    hf_assert_same_file(a, b);
    o.seed = 4;
    assert_ok(zo2_pack_synth(CONFIG, c, &o));
    zo2_pack *p, *q;
    zo2_pack_info x, y;
    assert_ok(zo2_pack_open(&p, a));
    assert_ok(zo2_pack_open(&q, c));
    assert_ok(zo2_pack_get_info(p, &x));
    assert_ok(zo2_pack_get_info(q, &y));
    assert_true(x.model_hash != y.model_hash);
    zo2_pack_close(p);
    zo2_pack_close(q);
    hf_remove_tree(dir);
}

/* The file doesn't depend on the threads, compressed or not, aliased or not: matrices of several chunks among others. */
static void threads(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *one = hf_path(dir, "one"), *many = hf_path(dir, "many");
    zo2_pack *p;
    for (int i = 0; i < 3; i++) {
        zo2_synth_opts o = opts(i == 1 ? ZO2_F32 : ZO2_F16, i > 0, 5);
        const char *arch = i == 0 ? CONFIG : "opt-125m";
        o.zstd_level = i == 2;
        o.force = 1;
        o.threads = 1;
        assert_ok(zo2_pack_synth(arch, one, &o));
        o.threads = 5;
        assert_ok(zo2_pack_synth(arch, many, &o));
        hf_assert_same_file(one, many);
    }
    assert_ok(zo2_pack_open(&p, many));
    assert_ok(zo2_pack_verify(p, NULL, NULL));
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

/* A published architecture by name; tensors larger than a piece; the statistics of its values. */
static void published(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "125m.zo2");
    zo2_synth_opts o = opts(0, 1, 0);
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_synth("opt-125m", pack, &o));
    assert_ok(zo2_pack_open(&p, pack));
    assert_ok(zo2_pack_get_info(p, &info));
    assert_int_equal(info.parameters, 125239296);
    assert_int_equal(info.dtype, ZO2_F16);
    assert_int_equal(info.context, 2048);
    uint64_t n = 100 * 768;
    uint16_t *bits = malloc(n * 2);
    float *w = malloc(n * sizeof *w);
    double sum = 0, squares = 0;
    assert_ok(zo2_packfile_read_rows(p->file, 0, 50000, 100, bits));
    zo2_source_decode(ZO2_F16, bits, n, w);
    for (uint64_t i = 0; i < n; i++) {
        sum += w[i];
        squares += (double)w[i] * w[i];
    }
    assert_true(fabs(sum / (double)n) < 5 * 0.02 / sqrt((double)n));
    assert_true(fabs(sqrt(squares / (double)n) / 0.02 - 1) < 5 / sqrt(2 * (double)n));
    free(bits);
    free(w);
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

static uint64_t stop_at;

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *calls = ud;
    assert_string_equal(what, "synth");
    assert_true(done <= total);
    return (*calls)++ == stop_at;
}

static void refusals(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "out.zo2");
    uint64_t calls = 0;
    zo2_synth_opts o = opts(0, 0, 0);
    assert_error(zo2_pack_synth("opt-1b", pack, &o), ZO2_ERR_NOTFOUND, "opt-125m");
    assert_error(zo2_pack_synth("opt-175b", pack, &o), ZO2_ERR_NOSPACE,
                 "free"); /* 350 GB: said before a byte is written */
    assert_error(zo2_pack_synth(NULL, pack, &o), ZO2_ERR_ARG, "arch");
    o.dtype = (zo2_dtype)9;
    assert_error(zo2_pack_synth(CONFIG, pack, &o), ZO2_ERR_ARG, "dtype 9");
    o = (zo2_synth_opts){0};
    assert_error(zo2_pack_synth(CONFIG, pack, &o), ZO2_ERR_ARG, "struct_size");
    o = opts(0, 0, 0);
    o.threads = 1; /* every tensor is then reported */
    o.progress = on_progress;
    o.progress_ud = &calls;
    for (stop_at = 0; stop_at < 20; stop_at++) {
        calls = 0;
        assert_error(zo2_pack_synth(CONFIG, pack, &o), ZO2_ERR_CANCELLED, "cancelled");
        assert_int_equal(hf_count_entries(dir), 0);
    }
    /* 350 GB don't fit: said before a byte is written. Where they would, the first report cancels. */
    uint64_t available;
    calls = stop_at = 0;
    assert_ok(zo2_io_free_bytes(dir, &available));
    if (available < UINT64_C(349000000000))
        assert_error(zo2_pack_synth("opt-175b", pack, &o), ZO2_ERR_NOSPACE, "GiB) are free in ");
    else
        assert_error(zo2_pack_synth("opt-175b", pack, &o), ZO2_ERR_CANCELLED, "cancelled");
    assert_int_equal(hf_count_entries(dir), 0);
    o.progress = NULL;
    assert_ok(zo2_pack_synth(CONFIG, pack, &o));
    assert_error(zo2_pack_synth(CONFIG, pack, &o), ZO2_ERR_EXISTS, "out.zo2");
    o.force = 1;
    assert_ok(zo2_pack_synth(CONFIG, pack, &o));
    assert_int_equal(hf_count_entries(dir), 1);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),  cmocka_unit_test(aliased),   cmocka_unit_test(deterministic),
        cmocka_unit_test(threads), cmocka_unit_test(published), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("synth", tests, NULL, NULL);
}
