/* test_convert_errors.c: every input that a conversion refuses, with the words it says, and that nothing is left
 * behind. */
#include "engine/families/families.h"
#include "engine/pack/pack_api.h"
#include "tests/pack_tensor.h"
#include "tests/unit/engine/hf_dir.h"

typedef struct bench {
    char *dir, *out;
    hf_model *m;
} bench;

/* A copy of a fixture (its configuration with one replacement) to be spoilt. */
static bench begin(const char *fixture, const char *from, const char *to)
{
    bench b = {hf_temp(), hf_temp(), hf_load(hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture))};
    hf_copy(hf_path(hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture), "config.json"), hf_path(b.dir, "config.json"),
            from, to);
    return b;
}

static zo2_status convert(const bench *b)
{
    hf_save(b->m, b->dir);
    zo2_status s = zo2_pack_convert(b->dir, hf_path(b->out, "out.zo2"), NULL);
    assert_int_equal(hf_count_entries(b->out), s == ZO2_OK);
    return s;
}

static void end(bench *b)
{
    hf_free(b->m);
    hf_remove_tree(b->dir);
    hf_remove_tree(b->out);
}

static void missing_tensor(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    hf_drop(b.m, "model.decoder.layers.1.self_attn.k_proj.bias");
    assert_error(convert(&b), ZO2_ERR_NOTFOUND, "has no tensor model.decoder.layers.1.self_attn.k_proj.bias");
    assert_non_null(strstr(zo2_last_error(), b.dir));
    end(&b);
}

static void wrong_shape(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", "\"ffn_dim\": 48", "\"ffn_dim\": 47");
    assert_error(convert(&b), ZO2_ERR_FORMAT, "has shape [48, 32], config.json asks for [47, 32]");
    assert_non_null(strstr(zo2_last_error(), "model.decoder.layers.0.fc1.weight in "));
    end(&b);
    b = begin("prenorm-f32", NULL, NULL);
    hf_tensor *t = hf_find(b.m, "model.decoder.layers.0.fc1.bias"); /* the right size in the wrong rank */
    t->rank = 2;
    t->shape[0] = 1;
    t->shape[1] = 48;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "model.decoder.layers.0.fc1.bias in ");
    assert_non_null(strstr(zo2_last_error(), "has shape [1, 48], config.json asks for [48]"));
    end(&b);
    b = begin("prenorm-f32", NULL, NULL);
    t = hf_find(b.m, "model.decoder.layers.0.fc1.bias");
    t->rank = 0;
    t->bytes = 4;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "has shape [], config.json asks for [48]");
    end(&b);
    b = begin("prenorm-f32", NULL, NULL);
    t = hf_find(b.m, "model.decoder.layers.0.fc2.weight"); /* transposed */
    t->shape[0] = 48;
    t->shape[1] = 32;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "has shape [48, 32], config.json asks for [32, 48]");
    end(&b);
}

static void unsupported_type(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    snprintf(hf_find(b.m, "model.decoder.layers.1.fc2.weight")->dtype, 12, "I32");
    assert_error(convert(&b), ZO2_ERR_UNSUPPORTED, "has type I32; this version reads F32, F16, BF16 and F64");
    assert_non_null(strstr(zo2_last_error(), "model.decoder.layers.1.fc2.weight in "));
    end(&b);
}

static void poke(hf_tensor *t, uint64_t element, uint32_t bits)
{
    uint64_t size = strcmp(t->dtype, "F32") == 0 ? 4 : 2;
    memcpy(t->data + element * size, &bits, size); /* little-endian */
}

static void non_finite(void **state)
{
    static const struct {
        const char *fixture, *tensor;
        uint64_t element;
        uint32_t bits;
    } cases[] = {
        {"prenorm-f32", "model.decoder.layers.1.fc2.weight", 32 * 48 - 1, 0x7F800000},
        {"prenorm-f32", "model.decoder.layers.0.fc2.weight", 0, 0xFF800000},
        {"prenorm-f32", "model.decoder.embed_tokens.weight", 1000, 0x7FC00000},
        {"prenorm-f32", "model.decoder.final_layer_norm.bias", 31, 0xFF800001},
        {"postnorm-proj-f16", "model.decoder.project_in.weight", 77, 0x7C00},
        {"postnorm-proj-f16", "model.decoder.project_out.weight", 78, 0xFE00},
        {"no-bias-bf16", "model.decoder.layers.0.fc1.weight", 3, 0x7F80},
        {"no-bias-bf16", "model.decoder.layers.0.fc1.weight", 4, 0xFFFF},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[128];
        bench b = begin(cases[i].fixture, NULL, NULL);
        poke(hf_find(b.m, cases[i].tensor), cases[i].element, cases[i].bits);
        snprintf(words, sizeof words, "element %llu of %s in ", (unsigned long long)cases[i].element, cases[i].tensor);
        assert_error(convert(&b), ZO2_ERR_NONFINITE, words);
        end(&b);
    }
    /* the largest finite values, subnormals and -0 are weights like any other */
    bench b = begin("no-bias-bf16", NULL, NULL);
    poke(hf_find(b.m, "model.decoder.layers.0.fc1.weight"), 0, 0x7F7F);
    poke(hf_find(b.m, "model.decoder.layers.0.fc1.weight"), 1, 0x8000);
    poke(hf_find(b.m, "model.decoder.layers.0.fc1.weight"), 2, 0x0001);
    assert_ok(convert(&b));
    end(&b);
}

static void heads(void **state)
{
    (void)state;
    bench b = begin("stored-tied-head-f16", NULL, NULL);
    poke(hf_find(b.m, "lm_head.weight"), 4321, 0x3C00);
    assert_error(convert(&b), ZO2_ERR_FORMAT,
                 "lm_head.weight and model.decoder.embed_tokens.weight differ at element 4321");
    assert_non_null(strstr(zo2_last_error(), "tie_word_embeddings"));
    end(&b);
    b = begin("stored-tied-head-f16", NULL, NULL);
    snprintf(hf_find(b.m, "lm_head.weight")->dtype, 12, "BF16");
    assert_error(convert(&b), ZO2_ERR_FORMAT, "lm_head.weight is BF16, model.decoder.embed_tokens.weight is F16");
    end(&b);
    b = begin("stored-tied-head-f16", NULL, NULL);
    hf_tensor *head = hf_find(b.m, "lm_head.weight");
    head->shape[0] = 40;
    head->shape[1] = 125;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "lm_head.weight in ");
    end(&b);
    b = begin("stored-tied-head-f16", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_ok(convert(&b)); /* then both are kept */
    hf_drop(b.m, "lm_head.weight");
    assert_int_equal(unlink(hf_path(b.out, "out.zo2")), 0);
    assert_error(convert(&b), ZO2_ERR_NOTFOUND,
                 "has no tensor lm_head.weight, which its config.json asks for (\"tie_word_embeddings\" is false)");
    end(&b);
    b = begin("prenorm-f32", NULL, NULL);
    hf_drop(b.m, "model.decoder.embed_tokens.weight");
    assert_error(convert(&b), ZO2_ERR_NOTFOUND, "has no tensor model.decoder.embed_tokens.weight");
    end(&b);
}

static void stored_twice(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    hf_tensor *t = hf_find(b.m, "model.decoder.layers.0.fc1.bias");
    t = hf_add(b.m, "decoder.layers.0.fc1.bias", "F32", 1, 1, 48, 192, t->data);
    assert_ok(convert(&b)); /* the same bits: nothing is lost */
    assert_int_equal(unlink(hf_path(b.out, "out.zo2")), 0);
    poke(t, 47, 0x3F800000);
    assert_error(convert(&b), ZO2_ERR_FORMAT,
                 ": model.decoder.layers.0.fc1.bias and decoder.layers.0.fc1.bias differ at element 47, but "
                 "both are model.decoder.layers.0.fc1.bias: remove the one");
    snprintf(t->dtype, sizeof t->dtype, "F16");
    t->bytes = 96;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "fc1.bias is F32, decoder.layers.0.fc1.bias is F16");
    t->shape[0] = 24;
    t->bytes = 48;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "has shape [24], config.json asks for [48]");
    end(&b);
}

static void architectures(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", "\"model_type\": \"opt\"", "\"model_type\": \"gemma\"");
    assert_error(convert(&b), ZO2_ERR_UNSUPPORTED, "unsupported architecture 'gemma' in ");
    assert_non_null(strstr(zo2_last_error(), "/config.json: this version knows opt"));
    end(&b);
    b = begin("prenorm-f32", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5");
    assert_error(convert(&b), ZO2_ERR_FORMAT, "num_attention_heads");
    end(&b);
}

static void directories(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    const char *out = hf_path(b.out, "out.zo2");
    assert_error(zo2_pack_convert(b.dir, out, NULL), ZO2_ERR_NOTFOUND,
                 "has no weights: neither *.safetensors nor pytorch_model*.bin in it");
    hf_write_text(hf_path(b.dir, "pytorch_model-00002-of-00002.bin"), "x");
    hf_write_text(hf_path(b.dir, "pytorch_model-00001-of-00002.bin"), "x");
    assert_error(zo2_pack_convert(b.dir, out, NULL), ZO2_ERR_FORMAT,
                 "pytorch_model-00001-of-00002.bin is no file of torch.save()");
    assert_error(zo2_pack_convert("/nowhere/at/all", out, NULL), ZO2_ERR_NOTFOUND, "/nowhere/at/all");
    assert_error(zo2_pack_convert(hf_path(b.dir, "config.json"), out, NULL), ZO2_ERR_ARG, "is not a directory");
    hf_save(b.m, b.dir); /* safetensors beside .bin: the safetensors are read */
    assert_error(zo2_pack_convert(b.dir, hf_path(b.out, "missing/out.zo2"), NULL), ZO2_ERR_NOTFOUND, "missing");
    assert_int_equal(unlink(hf_path(b.dir, "config.json")), 0);
    assert_error(zo2_pack_convert(b.dir, out, NULL), ZO2_ERR_NOTFOUND, "has no config.json");
    assert_int_equal(symlink("../../blobs/0123", hf_path(b.dir, "config.json")), 0); /* copied out of a hub cache */
    assert_error(zo2_pack_convert(b.dir, out, NULL), ZO2_ERR_NOTFOUND,
                 "config.json is a symbolic link to ../../blobs/0123, which isn't there");
    assert_int_equal(unlink(hf_path(b.dir, "config.json")), 0);
    hf_write_text(hf_path(b.dir, "adapter_config.json"), "{}");
    assert_int_equal(rename(hf_path(b.dir, "model.safetensors"), hf_path(b.dir, "adapter_model.safetensors")), 0);
    assert_error(zo2_pack_convert(b.dir, out, NULL), ZO2_ERR_UNSUPPORTED,
                 "but an adapter (PEFT), which isn't a model of its own");
    assert_error(zo2_pack_convert(NULL, out, NULL), ZO2_ERR_ARG, "hf_dir");
    zo2_convert_opts o = {0};
    assert_error(zo2_pack_convert(b.dir, out, &o), ZO2_ERR_ARG, "struct_size");
    assert_int_equal(hf_count_entries(b.out), 0);
    end(&b);
}

static void missing_shard(void **state)
{
    static const char *const files[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"};
    (void)state;
    char *dir = hf_temp(), *out = hf_temp();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        hf_copy(hf_path(FIXTURES "prenorm-bf16-sharded", files[i]), hf_path(dir, files[i]), NULL, NULL);
    assert_error(zo2_pack_convert(dir, hf_path(out, "out.zo2"), NULL), ZO2_ERR_NOTFOUND,
                 "model-00002-of-00003.safetensors");
    assert_int_equal(hf_count_entries(out), 0);
    hf_remove_tree(dir);
    hf_remove_tree(out);
}

/* A file that ends too early is told before anything is written. */
static void truncated_file(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32", NULL, NULL);
    hf_save(b.m, b.dir);
    struct stat st;
    assert_int_equal(stat(hf_path(b.dir, "model.safetensors"), &st), 0);
    assert_int_equal(truncate(hf_path(b.dir, "model.safetensors"), st.st_size - 1), 0);
    assert_error(zo2_pack_convert(b.dir, hf_path(b.out, "out.zo2"), NULL), ZO2_ERR_FORMAT, "model.safetensors");
    assert_int_equal(hf_count_entries(b.out), 0);
    end(&b);
}

/* What stands for a file: told by its name, wherever it is. */
static void placeholders(void **state)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json", "added_tokens.json",
                                        "generation_config.json"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char words[128];
        bench b = begin("prenorm-f32", NULL, NULL);
        hf_save(b.m, b.dir);
        hf_write_text(hf_path(b.dir, files[i]), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
        snprintf(words, sizeof words, "/%s is a git-lfs pointer, not the file itself; ", files[i]);
        assert_error(zo2_pack_convert(b.dir, hf_path(b.out, "out.zo2"), NULL), ZO2_ERR_FORMAT, words);
        hf_write_text(hf_path(b.dir, files[i]), "{\"error\":\"Invalid username or password.\"}");
        snprintf(words, sizeof words, "/%s is a server's answer about an error; ", files[i]);
        assert_error(zo2_pack_convert(b.dir, hf_path(b.out, "out.zo2"), NULL), ZO2_ERR_FORMAT, words);
        assert_int_equal(hf_count_entries(b.out), 0);
        end(&b);
    }
    bench b = begin("prenorm-f32", NULL, NULL); /* odd, but a file of its own */
    hf_save(b.m, b.dir);
    hf_write_text(hf_path(b.dir, "vocab.json"), "{\"error\": 0}");
    hf_write_text(hf_path(b.dir, "merges.txt"), "");
    assert_ok(zo2_pack_convert(b.dir, hf_path(b.out, "out.zo2"), NULL));
    end(&b);
}

/* A pack of one tensor more or less, or of a changed one, than the configuration (from -> to in it) that it carries. */
static void make_pack(const char *path, const char *from, const char *to, const char *arch, int drop, int flip_decay)
{
    zo2_packwriter *w;
    zo2_arch a;
    size_t n;
    char *dir = hf_temp();
    const char *config = hf_path(dir, "config.json");
    hf_copy(FIXTURES "prenorm-f32/config.json", config, from, to);
    char *text = hf_read(config, &n);
    assert_ok(zo2_arch_load(&a, FIXTURES "prenorm-f32", NULL));
    assert_ok(zo2_packwriter_open(&w, &zo2_io_posix, path, arch, 1));
    assert_ok(zo2_packwriter_file(w, "config.json", text, n));
    for (uint32_t i = 0; i < a.n_tensors - (uint32_t)drop; i++) {
        zo2_packtensor t = zo2_pack_record(&a.tensors[i], ZO2_F32);
        void *zeros = calloc(t.rows * t.cols, 4);
        t.decays ^= flip_decay;
        assert_ok(pack_tensor(w, &t, zeros, 0));
        free(zeros);
    }
    assert_ok(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    zo2_arch_free(&a);
    free(text);
    hf_remove_tree(dir);
}

/* What isn't a pack, or one whose tensors aren't those of its config.json, is refused when opened. */
static void foreign_packs(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *path = hf_path(dir, "x.zo2");
    zo2_pack *p = (zo2_pack *)dir;
    assert_error(zo2_pack_open(&p, "opt-1.3b"), ZO2_ERR_NOTFOUND,
                 "opt-1.3b is the name of an architecture, which has no weights");
    assert_error(zo2_pack_open(&p, "opt-1.4b"), ZO2_ERR_NOTFOUND, "cannot open pack opt-1.4b: No such file");
    assert_error(zo2_pack_open(&p, FIXTURES "prenorm-f32"), ZO2_ERR_FORMAT,
                 "is a folder, not a pack: make one of the model in it");
    hf_write_text(path, "not a pack");
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT, "x.zo2");
    assert_null(p);
    assert_error(zo2_pack_open(&p, hf_path(dir, "none.zo2")), ZO2_ERR_NOTFOUND, "none.zo2");
    make_pack(path, NULL, NULL, "opt", 0, 0);
    assert_ok(zo2_pack_open(&p, path));
    zo2_pack_close(p);
    make_pack(path, "\"ffn_dim\": 48", "\"ffn_dim\": 47", "opt", 0, 0);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT,
                 "tensor 14 is model.decoder.layers.0.fc1.weight [48, 32], but the config.json it carries asks for "
                 "model.decoder.layers.0.fc1.weight [47, 32] there");
    make_pack(path, "\"enable_bias\": true", "\"enable_bias\": false", "opt", 0, 0);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT,
                 "tensor 5 is model.decoder.layers.0.self_attn.q_proj.bias [32]");
    make_pack(path, NULL, NULL, "opt", 1, 0);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT, "has 35 tensors, the config.json it carries asks for 36");
    make_pack(path, NULL, NULL, "opt", 0, 1);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT,
                 "model.decoder.embed_tokens.weight is in block 0 without weight decay");
    make_pack(path, NULL, NULL, "llama", 0, 0);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_FORMAT, "architecture 'llama'");
    make_pack(path, "\"model_type\": \"opt\"", "\"model_type\": \"gemma\"", "gemma", 0, 0);
    assert_error(zo2_pack_open(&p, path), ZO2_ERR_UNSUPPORTED, "unsupported architecture 'gemma' in ");
    assert_null(p);
    zo2_pack_close(NULL);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_tensor), cmocka_unit_test(wrong_shape),   cmocka_unit_test(unsupported_type),
        cmocka_unit_test(non_finite),     cmocka_unit_test(heads),         cmocka_unit_test(stored_twice),
        cmocka_unit_test(architectures),  cmocka_unit_test(directories),   cmocka_unit_test(missing_shard),
        cmocka_unit_test(truncated_file), cmocka_unit_test(foreign_packs), cmocka_unit_test(placeholders),
    };
    return cmocka_run_group_tests_name("convert_errors", tests, NULL, NULL);
}
