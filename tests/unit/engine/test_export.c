/* test_export.c: packs to Hugging Face directories without a run: bits, types, shards, configuration, and what happens
 * to what is there. */
#include "codec/codec.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "tests/unit/engine/hf_dir.h"

#include <fcntl.h>
#include <float.h>
#include <jansson.h>
#include <sys/file.h>

static const char *const fixtures[] = {
    "prenorm-f32",       "prenorm-f16-headdim20", "prenorm-bf16-sharded", "postnorm-proj-f16", "postnorm-gelu-f32",
    "no-final-norm-f32", "no-bias-bf16",          "no-affine-f32",        "bare-postnorm-f16", "untied-f32-sharded",
    "untied-proj-bf16",  "odd-sizes-f32",         "stored-tied-head-f16", "wide-proj-bf16",
};

typedef struct bench {
    char *dir;
    const char *pack, *out;
    zo2_export_opts o;
} bench;

static bench begin(const char *source)
{
    bench b = {.dir = hf_temp()};
    b.pack = strdup(hf_path(b.dir, "model.zo2"));
    b.out = strdup(hf_path(b.dir, "out"));
    zo2_export_opts_init(&b.o);
    assert_ok(zo2_pack_convert(source, b.pack, NULL));
    return b;
}

static void end(bench *b)
{
    hf_remove_tree(b->dir);
    free((void *)b->pack);
    free((void *)b->out);
}

static zo2_dtype dtype_of(const char *name)
{
    return strcmp(name, "F32") == 0 ? ZO2_F32 : strcmp(name, "F16") == 0 ? ZO2_F16 : ZO2_BF16;
}

/* The stored tensor of a canonical name, whatever its prefix. */
static const hf_tensor *stored(const zo2_arch *a, const hf_model *m, const zo2_tensor *t)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (zo2_arch_by_name(a, m->t[i].name) == t)
            return &m->t[i];
    fail_msg("nothing stored for %s", t->name);
    return NULL;
}

/* Every tensor of the architecture under its canonical name and nothing else; values as `source` has them, in type `to`
 * (0: its own). */
static void assert_weights(const char *out, const char *source, zo2_dtype to)
{
    zo2_arch a;
    hf_model *m = hf_load(out), *from = hf_load(source);
    assert_ok(zo2_arch_load(&a, source, NULL));
    assert_int_equal(m->n, a.n_tensors);
    for (uint32_t i = 0; i < a.n_tensors; i++) {
        const hf_tensor *have = hf_find(m, a.tensors[i].name), *want = stored(&a, from, &a.tensors[i]);
        zo2_dtype type = dtype_of(want->dtype), target = to ? to : type;
        uint64_t n = want->bytes / zo2_dtype_bytes(type), bytes = n * zo2_dtype_bytes(target);
        float *w = malloc(n * sizeof *w);
        void *expected = malloc(bytes);
        zo2_source_decode(type, want->data, n, w);
        zo2_source_encode(target, w, n, expected);
        assert_int_equal(dtype_of(have->dtype), target);
        assert_int_equal(have->rank, want->rank);
        assert_memory_equal(have->shape, want->shape, want->rank * sizeof *have->shape);
        assert_int_equal(have->bytes, bytes);
        assert_memory_equal(have->data, target == type ? want->data : expected, bytes);
        free(w);
        free(expected);
    }
    zo2_arch_free(&a);
    hf_free(m);
    hf_free(from);
}

/* There and back again: every tensor's bits, every carried file, and the same pack from the export. */
static void round_trip(const char *folder, const char *name)
{
    const char *source = hf_path(folder, name);
    bench b = begin(source);
    const char *again = hf_path(b.dir, "again.zo2");
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_weights(b.out, source, 0);
    hf_assert_same_file(hf_path(b.out, "config.json"), hf_path(source, "config.json"));
    assert_int_equal(hf_count_entries(b.out), 2);
    assert_ok(zo2_pack_convert(b.out, again, NULL));
    hf_assert_same_file(b.pack, again);
    assert_int_equal(hf_count_entries(b.dir), 3);
    end(&b);
}

static void round_trips(void **state)
{
    static const char *const others[] = {"llama-gqa-tied", "llama-bare", "qwen2-tied", "qwen3-bias", "mistral-window"};
    (void)state;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++)
        round_trip(ZO2_TEST_DATA "/opt-fixtures", fixtures[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        round_trip(ZO2_TEST_DATA "/decoder-fixtures", others[i]);
}

static void tiny_model(void **state)
{
    static const char *const files[] = {"config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json"};
    (void)state;
    bench b = begin(TINY);
    assert_ok(zo2_pack_export(b.pack, hf_path(b.out, ""), NULL)); /* a slash at the end, no options */
    assert_weights(b.out, TINY, 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        hf_assert_same_file(hf_path(b.out, files[i]), hf_path(TINY, files[i]));
    assert_int_equal(hf_count_entries(b.out), 7);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(b.out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0777 & ~mask);
    end(&b);
}

static void types(void **state)
{
    static const zo2_dtype targets[] = {ZO2_F32, ZO2_F16, ZO2_BF16};
    (void)state;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        const char *source = hf_path(ZO2_TEST_DATA "/opt-fixtures", fixtures[i]);
        bench b = begin(source);
        b.o.force = 1;
        for (size_t t = 0; t < 3; t++) {
            b.o.dtype = targets[t];
            b.o.threads = (uint32_t)t + 1;
            assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
            assert_weights(b.out, source, targets[t]);
        }
        end(&b);
    }
}

/* Only the type changes in the configuration, under the key it had; order and numbers stay. */
static void configuration(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *source = i ? FIXTURES "prenorm-bf16-sharded" : FIXTURES "prenorm-f32";
        const char *key = i ? "dtype" : "torch_dtype", *other = i ? "torch_dtype" : "dtype";
        bench b = begin(source);
        b.o.dtype = ZO2_F16;
        assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
        json_t *before = json_load_file(hf_path(source, "config.json"), 0, NULL);
        json_t *after = json_load_file(hf_path(b.out, "config.json"), 0, NULL);
        assert_non_null(before);
        assert_non_null(after);
        assert_string_equal(json_string_value(json_object_get(after, key)), "float16");
        assert_null(json_object_get(after, other));
        void *x = json_object_iter(before), *y = json_object_iter(after);
        for (; x && y; x = json_object_iter_next(before, x), y = json_object_iter_next(after, y)) {
            assert_string_equal(json_object_iter_key(x), json_object_iter_key(y));
            if (strcmp(json_object_iter_key(x), key) != 0)
                assert_true(json_equal(json_object_iter_value(x), json_object_iter_value(y)));
        }
        assert_true(!x && !y);
        size_t n;
        char *text = hf_read(hf_path(b.out, "config.json"), &n);
        assert_non_null(strstr(text, "\"init_std\": 0.02,"));
        free(text);
        json_decref(before);
        json_decref(after);
        end(&b);
    }
}

static void shards(void **state)
{
    (void)state;
    bench b = begin(FIXTURES "prenorm-f32");
    const char *again = hf_path(b.dir, "again.zo2");
    b.o.split_bytes = 20000;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_weights(b.out, FIXTURES "prenorm-f32", 0);
    assert_int_equal(access(hf_path(b.out, "model.safetensors.index.json"), R_OK), 0);
    assert_int_equal(access(hf_path(b.out, "model-00001-of-00004.safetensors"), R_OK), 0);
    assert_int_not_equal(access(hf_path(b.out, "model.safetensors"), R_OK), 0);
    assert_ok(zo2_pack_convert(b.out, again, NULL));
    hf_assert_same_file(b.pack, again);
    b.o.force = 1; /* shards are an export's own files: replaced */
    b.o.split_bytes = 0;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_int_equal(hf_count_entries(b.out), 2);
    assert_int_equal(hf_count_entries(b.dir), 3);
    end(&b);
}

/* Values that the type can't hold are refused by name, and nothing is left. */
static void too_large(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "model.zo2"), *out = hf_path(dir, "out");
    hf_model *m = hf_load(FIXTURES "prenorm-f32");
    zo2_export_opts o;
    zo2_export_opts_init(&o);
    hf_copy(FIXTURES "prenorm-f32/config.json", hf_path(dir, "config.json"), NULL, NULL);
    float *w = (float *)(void *)hf_find(m, "model.decoder.layers.1.fc2.weight")->data;
    w[33] = 65519.99f; /* the largest that rounds to a finite fp16 */
    hf_save(m, dir);
    assert_ok(zo2_pack_convert(dir, pack, NULL));
    o.dtype = ZO2_F16;
    o.force = 1;
    assert_ok(zo2_pack_export(pack, out, &o));
    w[33] = -65520.0f;
    w[34] = 1e30f;
    hf_save(m, dir);
    zo2_convert_opts c;
    zo2_convert_opts_init(&c);
    c.force = 1;
    assert_ok(zo2_pack_convert(dir, pack, &c));
    o.force = 0;
    out = hf_path(dir, "out2");
    assert_error(
        zo2_pack_export(pack, out, &o), ZO2_ERR_NONFINITE,
        "element 33 of model.decoder.layers.1.fc2.weight is -65520, too large for fp16; export as bf16 or fp32");
    o.dtype = ZO2_BF16;
    w[0] = FLT_MAX;
    hf_save(m, dir);
    assert_ok(zo2_pack_convert(dir, pack, &c));
    assert_error(zo2_pack_export(pack, out, &o), ZO2_ERR_NONFINITE, "too large for bf16; export as fp32");
    o.dtype = ZO2_F32;
    assert_int_equal(hf_count_entries(dir), 4); /* config.json, model.safetensors, model.zo2, out */
    assert_ok(zo2_pack_export(pack, out, &o));
    hf_free(m);
    hf_remove_tree(dir);
}

static void existing_outputs(void **state)
{
    (void)state;
    bench b = begin(FIXTURES "prenorm-f32");
    assert_int_equal(mkdir(b.out, 0777), 0);
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_EXISTS, "exists already");
    b.o.force = 1;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o)); /* an empty folder */
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o)); /* an export */
    assert_int_equal(hf_count_entries(b.dir), 2);
    hf_write_text(hf_path(b.out, "thesis.tex"), "all of it");
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "holds thesis.tex, which no export writes");
    assert_int_equal(hf_count_entries(b.out), 3);
    assert_int_equal(hf_count_entries(b.dir), 2);
    assert_int_equal(unlink(hf_path(b.out, "thesis.tex")), 0);
    assert_int_equal(mkdir(hf_path(b.out, "model-00001-of-00002"), 0777), 0);
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "model-00001-of-00002");
    assert_error(zo2_pack_export(b.pack, b.pack, &b.o), ZO2_ERR_ARG, "not a directory");
    b.o.force = 0; /* says the same when force would be no help */
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "model-00001-of-00002");
    assert_error(zo2_pack_export(b.pack, b.pack, &b.o), ZO2_ERR_ARG, "not a directory");
    b.o.force = 1;
    assert_error(zo2_pack_export(b.pack, hf_path(b.dir, "no/such/folder"), &b.o), ZO2_ERR_NOTFOUND, "no/such");
    assert_error(zo2_pack_export(hf_path(b.dir, "none.zo2"), b.out, &b.o), ZO2_ERR_NOTFOUND, "none.zo2");
    assert_error(zo2_pack_export(b.pack, "", &b.o), ZO2_ERR_ARG, "out_dir");
    zo2_export_opts bad = {0};
    assert_error(zo2_pack_export(b.pack, b.out, &bad), ZO2_ERR_ARG, "struct_size");
    b.o.dtype = (zo2_dtype)7;
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_ARG, "dtype 7");
    assert_int_equal(hf_count_entries(b.dir), 2);
    end(&b);
}

/* A folder that a killed export was building goes with the next export to the same place; one that is being built,
 * or has anything else in it, stays. */
static void leftovers(void **state)
{
    (void)state;
    bench b = begin(FIXTURES "prenorm-f32");
    static const char *const names[] = {"out.tmp-1-0", "out.tmp-2-0", "out.tmp-3-0", "out.tmp-4", "cut.tmp-1-0"};
    for (int i = 0; i < 5; i++) {
        char inside[64];
        assert_int_equal(mkdir(hf_path(b.dir, names[i]), 0777), 0);
        snprintf(inside, sizeof inside, "%s/model-00001-of-00002.safetensors.tmp-1", names[i]);
        hf_write_text(hf_path(b.dir, inside), "half");
        snprintf(inside, sizeof inside, "%s/config.json", names[i]);
        hf_write_text(hf_path(b.dir, inside), "{}");
    }
    hf_write_text(hf_path(b.dir, "out.tmp-3-0/thesis.tex"), "all of it");
    int fd = open(hf_path(b.dir, "out.tmp-2-0"), O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_int_not_equal(access(hf_path(b.dir, names[0]), F_OK), 0);
    assert_int_equal(hf_count_entries(hf_path(b.dir, names[1])), 2);
    assert_int_equal(hf_count_entries(hf_path(b.dir, names[2])), 1); /* thesis.tex */
    assert_int_equal(hf_count_entries(hf_path(b.dir, names[3])), 2);
    assert_int_equal(hf_count_entries(hf_path(b.dir, names[4])), 2);
    close(fd);
    end(&b);
}

typedef struct watch {
    uint64_t calls, last, stop_at;
} watch;

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    watch *w = ud;
    assert_string_equal(what, "export");
    assert_true(done <= total && done >= w->last);
    w->last = done;
    return w->calls++ == w->stop_at;
}

static void cancellation(void **state)
{
    (void)state;
    bench b = begin(FIXTURES "prenorm-f32");
    watch w = {.stop_at = UINT64_MAX};
    b.o.progress = on_progress;
    b.o.progress_ud = &w;
    assert_ok(zo2_pack_export(b.pack, b.out, &b.o));
    assert_int_equal(w.last, 4 * 18912);
    uint64_t calls = w.calls;
    b.o.force = 1;
    b.o.dtype = ZO2_BF16;
    for (uint64_t i = 0; i < calls; i++) {
        w = (watch){.stop_at = i};
        assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_CANCELLED, "cancelled");
        assert_int_equal(hf_count_entries(b.dir), 2);
    }
    assert_weights(b.out, FIXTURES "prenorm-f32", 0); /* the old one, whole */
    end(&b);
}

static void damaged_pack(void **state)
{
    (void)state;
    bench b = begin(TINY);
    FILE *f = fopen(b.pack, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 4096 + 100000, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    fputc(c ^ 1, f);
    assert_int_equal(fclose(f), 0);
    assert_error(zo2_pack_export(b.pack, b.out, &b.o), ZO2_ERR_FORMAT, "embed_tokens");
    assert_int_equal(hf_count_entries(b.dir), 1);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),      cmocka_unit_test(tiny_model),   cmocka_unit_test(types),
        cmocka_unit_test(configuration),    cmocka_unit_test(shards),       cmocka_unit_test(too_large),
        cmocka_unit_test(existing_outputs), cmocka_unit_test(cancellation), cmocka_unit_test(damaged_pack),
        cmocka_unit_test(leftovers),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
