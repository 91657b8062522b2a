/* test_convert.c: Hugging Face directories to packs: every fixture, bit for bit; carried files; determinism;
 * cancellation. */
#include "codec/codec.h"
#include "engine/pack/pack_api.h"
#include "tests/unit/engine/hf_dir.h"

#include <xxhash.h>

static const char *const fixtures[] = {
    "prenorm-f32",       "prenorm-f16-headdim20", "prenorm-bf16-sharded", "postnorm-proj-f16", "postnorm-gelu-f32",
    "no-final-norm-f32", "no-bias-bf16",          "no-affine-f32",        "bare-postnorm-f16", "untied-f32-sharded",
    "untied-proj-bf16",  "odd-sizes-f32",         "stored-tied-head-f16", "wide-proj-bf16",
};

#define N_FIXTURES (sizeof fixtures / sizeof *fixtures)

/* The stored tensor that is a canonical one, whatever its prefix. */
static const hf_tensor *stored(hf_model *m, const char *canonical)
{
    const char *bare = strncmp(canonical, "model.decoder.", 14) == 0 ? canonical + 14 : canonical;
    for (uint32_t i = 0; i < m->n; i++) {
        const char *name = m->t[i].name;
        size_t n = strlen(name), k = strlen(bare);
        if (n >= k && strcmp(name + n - k, bare) == 0 &&
            (n == k || strcmp(name, canonical) == 0 || (n == k + 8 && strncmp(name, "decoder.", 8) == 0)))
            return &m->t[i];
    }
    fail_msg("nothing stored for %s", canonical);
    return NULL;
}

static void assert_same_weights(const char *pack, const char *dir)
{
    zo2_pack *p;
    hf_model *m = hf_load(dir);
    assert_ok(zo2_pack_open(&p, pack));
    for (uint32_t i = 0; i < p->arch.n_tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(p->file, i);
        const hf_tensor *h = stored(m, t->name);
        uint64_t bytes = zo2_pack_tensor_bytes(t);
        assert_int_equal(bytes, h->bytes);
        unsigned char *bits = malloc(bytes);
        memset(bits, 0xA5, bytes);
        assert_ok(zo2_packfile_read_rows(p->file, i, 0, t->rows, bits));
        assert_memory_equal(bits, h->data, bytes);
        free(bits);
    }
    zo2_pack_close(p);
    hf_free(m);
}

static void all_fixtures(void **state)
{
    (void)state;
    char *dir = hf_temp();
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const char *source = hf_path(ZO2_TEST_DATA "/opt-fixtures", fixtures[i]), *pack = hf_path(dir, "out.zo2");
        zo2_convert_opts o;
        zo2_convert_opts_init(&o);
        o.force = 1;
        assert_ok(zo2_pack_convert(source, pack, &o));
        assert_same_weights(pack, source);
        zo2_pack *p;
        const char *config;
        size_t n, m;
        assert_ok(zo2_pack_open(&p, pack));
        assert_ok(zo2_pack_verify(p, NULL, NULL));
        assert_ok(zo2_pack_file(p, "config.json", &config, &n));
        char *original = hf_read(hf_path(source, "config.json"), &m);
        assert_int_equal(n, m);
        assert_memory_equal(config, original, n + 1); /* with the NUL */
        free(original);
        zo2_pack_close(p);
    }
    assert_int_equal(hf_count_entries(dir), 1);
    hf_remove_tree(dir);
}

/* The model hash as PACK.md defines it, from the safetensors alone. */
static uint64_t hash_by_hand(const char *pack, const char *dir)
{
    zo2_pack *p;
    hf_model *m = hf_load(dir);
    XXH3_state_t *x = XXH3_createState();
    XXH3_64bits_reset(x);
    assert_ok(zo2_pack_open(&p, pack));
    for (uint32_t i = 0; i < p->arch.n_tensors; i++) {
        const zo2_tensor *t = &p->arch.tensors[i];
        const hf_tensor *h = stored(m, t->name);
        uint64_t record[4] = {XXH3_64bits(h->data, h->bytes), t->rows, t->cols,
                              strcmp(h->dtype, "F32") == 0   ? 1
                              : strcmp(h->dtype, "F16") == 0 ? 2
                                                             : 3};
        XXH3_64bits_update(x, record, sizeof record);
    }
    uint64_t hash = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    zo2_pack_close(p);
    hf_free(m);
    return hash;
}

static void tiny_model(void **state)
{
    static const char *const carried[] = {"config.json",
                                          "vocab.json",
                                          "merges.txt",
                                          "tokenizer.json",
                                          "tokenizer_config.json",
                                          "special_tokens_map.json"};
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "tiny.zo2"), *data;
    zo2_pack *p;
    zo2_pack_info info;
    size_t n, m;
    assert_ok(zo2_pack_convert(TINY, pack, NULL));
    assert_ok(zo2_pack_open(&p, pack));
    assert_ok(zo2_pack_get_info(p, &info));
    assert_int_equal(info.parameters, 3505536);
    assert_int_equal(info.tensors, 100);
    assert_int_equal(info.dtype, ZO2_F16);
    assert_int_equal(info.aliased, 0);
    assert_string_equal(info.arch, "opt");
    assert_int_equal(info.layers, 6);
    assert_int_equal(info.hidden, 192);
    assert_int_equal(info.heads, 6);
    assert_int_equal(info.ffn, 768);
    assert_int_equal(info.vocab, 4096);
    assert_int_equal(info.context, 256);
    assert_int_equal(info.bos_token_id, 2);
    assert_int_equal(info.pad_token_id, 1);
    assert_true(info.model_hash == hash_by_hand(pack, TINY));
    if (info.model_hash != UINT64_C(0x18b52a2a72d607aa)) /* golden: runs are bound to their pack by it */
        fail_msg("model hash %016llx", (unsigned long long)info.model_hash);
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) {
        assert_string_equal(zo2_pack_file_name(p, i), carried[i]);
        assert_ok(zo2_pack_file(p, carried[i], &data, &n));
        char *original = hf_read(hf_path(TINY, carried[i]), &m);
        assert_int_equal(n, m);
        assert_memory_equal(data, original, n);
        free(original);
    }
    assert_null(zo2_pack_file_name(p, sizeof carried / sizeof *carried));
    assert_error(zo2_pack_file(p, "nothing.json", &data, &n), ZO2_ERR_NOTFOUND, "nothing.json");

    zo2_tensor_info t;
    assert_ok(zo2_pack_tensor(p, 0, &t));
    assert_string_equal(t.name, "model.decoder.embed_tokens.weight");
    assert_int_equal(t.rows, 4096);
    assert_int_equal(t.cols, 192);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.dtype, ZO2_F16);
    assert_int_equal(t.decays, 1);
    assert_ok(zo2_pack_tensor(p, 99, &t));
    assert_string_equal(t.name, "model.decoder.final_layer_norm.bias");
    assert_int_equal(t.id, 99);
    assert_int_equal(t.block, 7);
    assert_int_equal(t.rank, 1);
    assert_int_equal(t.rows, 1);
    assert_int_equal(t.decays, 0);
    assert_error(zo2_pack_tensor(p, 100, &t), ZO2_ERR_NOTFOUND, "100 tensors");
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

static void deterministic(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *a = hf_path(dir, "a.zo2"), *b = hf_path(dir, "b.zo2");
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    assert_ok(zo2_pack_convert(TINY, a, &o));
    o.threads = 3;
    assert_ok(zo2_pack_convert(TINY "/", b, &o));
    hf_assert_same_file(a, b);
    hf_remove_tree(dir);
}

/* Prefix, sharding and file order don't reach the pack: only its carried files may differ. */
static void layout_independent(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *a = hf_path(dir, "a.zo2"), *b = hf_path(dir, "b.zo2");
    hf_model *m = hf_load(FIXTURES "prenorm-bf16-sharded"), *reversed = calloc(1, sizeof *m);
    for (uint32_t i = m->n; i-- > 0;) {
        const hf_tensor *t = &m->t[i];
        hf_add(reversed,
               t->name + (i % 3 == 0   ? 14
                          : i % 3 == 1 ? 6
                                       : 0),
               t->dtype, t->rank, t->shape[0], t->shape[t->rank - 1], t->bytes, t->data);
    }
    hf_save(reversed, dir);
    hf_copy(FIXTURES "prenorm-bf16-sharded/config.json", hf_path(dir, "config.json"), NULL, NULL);
    assert_ok(zo2_pack_convert(FIXTURES "prenorm-bf16-sharded", a, NULL));
    assert_ok(zo2_pack_convert(dir, b, NULL));
    hf_assert_same_file(a, b);
    hf_free(m);
    hf_free(reversed);
    hf_remove_tree(dir);
}

typedef struct watch {
    uint64_t calls, last, total, stop_at; /* stop_at: cancel at the call with this number */
    char log[2048];
} watch;

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    watch *w = ud;
    assert_string_equal(what, "convert");
    assert_true(done <= total && done >= w->last);
    w->last = done;
    w->total = total;
    return w->calls++ == w->stop_at;
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    watch *w = ud;
    assert_int_equal(level, ZO2_LOG_WARNING);
    strncat(w->log, message, sizeof w->log - strlen(w->log) - 1);
}

/* Cancelled at every progress call: nothing is left, and an existing output stays as it was. */
static void cancellation(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "out.zo2");
    watch w = {.stop_at = UINT64_MAX};
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.progress = on_progress;
    o.progress_ud = &w;
    o.threads = 1; /* with more it depends on them how often the caller comes to report */
    assert_ok(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o));
    assert_int_equal(w.last, 2 * 32920);
    assert_int_equal(w.total, 2 * 32920);
    uint64_t calls = w.calls;
    assert_true(calls > 30);
    assert_int_equal(unlink(pack), 0);
    for (uint64_t i = 0; i < calls; i++) {
        w = (watch){.stop_at = i};
        assert_error(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o), ZO2_ERR_CANCELLED, "cancelled");
        assert_int_equal(hf_count_entries(dir), 0);
    }
    o.threads = 3;
    for (uint64_t i = 0; i < 3; i++) { /* while heads are compared, at the start, and at the end or before */
        w = (watch){.stop_at = i};
        assert_error(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o), ZO2_ERR_CANCELLED, "cancelled");
        assert_int_equal(hf_count_entries(dir), 0);
    }
    o.threads = 1;
    hf_write_text(pack, "mine");
    w = (watch){.stop_at = calls - 1};
    o.force = 1;
    assert_error(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o), ZO2_ERR_CANCELLED, "cancelled");
    size_t n;
    char *text = hf_read(pack, &n);
    assert_string_equal(text, "mine");
    free(text);
    w = (watch){.stop_at = UINT64_MAX};
    assert_ok(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o));
    o.force = 0;
    w = (watch){.stop_at = UINT64_MAX};
    assert_error(zo2_pack_convert(FIXTURES "stored-tied-head-f16", pack, &o), ZO2_ERR_EXISTS, "exists already");
    assert_int_equal(hf_count_entries(dir), 1);
    hf_remove_tree(dir);
}

/* What a model has no place for is named and ignored; the counter of old checkpoints isn't worth a word. */
static void extra_tensors(void **state)
{
    (void)state;
    char *dir = hf_temp(), *out = hf_temp();
    const char *pack = hf_path(out, "out.zo2");
    watch w = {0};
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.log = on_log;
    o.log_ud = &w;
    o.force = 1;
    assert_ok(zo2_pack_convert(FIXTURES "prenorm-f16-headdim20", pack, &o));
    assert_string_equal(w.log, "");
    hf_model *m = hf_load(FIXTURES "prenorm-f32");
    hf_add(m, "model.decoder.version", "F32", 1, 1, 1, 4, NULL);
    hf_add(m, "model.decoder.layers.2.fc1.bias", "F32", 1, 1, 48, 192, NULL);
    hf_save(m, dir);
    hf_copy(FIXTURES "prenorm-f32/config.json", hf_path(dir, "config.json"), NULL, NULL);
    assert_ok(zo2_pack_convert(dir, pack, &o));
    assert_non_null(
        strstr(w.log, "ignored 1 tensor that config.json has no place for: model.decoder.layers.2.fc1.bias"));
    assert_same_weights(pack, FIXTURES "prenorm-f32");
    for (int i = 0; i < 40; i++) {
        char name[96];
        snprintf(name, sizeof name, "a.tensor.of.some.other.model.with.a.rather.long.name.%d", i);
        hf_add(m, name, "I64", 1, 1, 1, 8, NULL);
    }
    hf_save(m, dir);
    w.log[0] = '\0';
    assert_ok(zo2_pack_convert(dir, pack, &o));
    assert_non_null(strstr(w.log, "ignored 41 tensors"));
    assert_non_null(strstr(w.log, " and 33 more"));
    hf_free(m);
    hf_remove_tree(dir);
    hf_remove_tree(out);
}

/* Tied and stored under the head's name only: the same tensor. */
static void only_the_head_stored(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *a = hf_path(dir, "a.zo2"), *b = hf_path(dir, "b.zo2");
    hf_model *m = hf_load(FIXTURES "prenorm-f32");
    snprintf(hf_find(m, "model.decoder.embed_tokens.weight")->name, 128, "lm_head.weight");
    hf_save(m, dir);
    hf_copy(FIXTURES "prenorm-f32/config.json", hf_path(dir, "config.json"), NULL, NULL);
    assert_ok(zo2_pack_convert(FIXTURES "prenorm-f32", a, NULL));
    assert_ok(zo2_pack_convert(dir, b, NULL));
    hf_assert_same_file(a, b);
    hf_free(m);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fixtures),         cmocka_unit_test(tiny_model),   cmocka_unit_test(deterministic),
        cmocka_unit_test(layout_independent),   cmocka_unit_test(cancellation), cmocka_unit_test(extra_tensors),
        cmocka_unit_test(only_the_head_stored),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
