/* test_arch.c: configurations: names, defaults, what is refused and how, and the way back to a config.json. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "tests/unit/engine/hf_dir.h"

static zo2_status parse(zo2_arch *a, const char *json)
{
    return zo2_arch_from_config(a, json, strlen(json), "some/config.json");
}

/* A configuration with one key changed or added; must be refused with these words. */
static void assert_refused(const char *fields, zo2_status status, const char *words)
{
    zo2_arch a;
    char json[1024];
    memset(&a, 0xA5, sizeof a);
    snprintf(json, sizeof json, "{\"model_type\": \"opt\", %s}", fields);
    assert_error(parse(&a, json), status, words);
    assert_non_null(strstr(zo2_last_error(), "some/config.json"));
    assert_null(a.tensors);
    zo2_arch_free(&a);
}

static void published_counts(void **state)
{
    static const struct {
        const char *name;
        uint64_t parameters;
    } known[] = {
        {"opt-125m", 125239296},  {"opt-350m", 331196416},  {"opt-1.3b", 1315758080},
        {"opt-2.7b", 2651596800}, {"opt-6.7b", 6658473984}, {"opt-13b", 12853473280},
        {"opt-30b", 29974540288}, {"opt-66b", 65719701504}, {"opt-175b", 174604468224},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        zo2_arch a;
        assert_ok(zo2_arch_from_name(&a, known[i].name));
        assert_int_equal(a.parameters, known[i].parameters);
        assert_int_equal(a.n_blocks, a.layers + 2);
        if (strcmp(known[i].name, "opt-175b") == 0) {
            uint64_t layer = 0;
            for (uint32_t t = 0; t < a.n_tensors; t++)
                layer += a.tensors[t].block == 96 ? a.tensors[t].rows * a.tensors[t].cols : 0;
            assert_int_equal(layer, 1812099072);
        }
        zo2_arch_free(&a);
        zo2_arch_free(&a);
    }
}

static void unknown_names(void **state)
{
    zo2_arch a;
    (void)state;
    assert_error(zo2_arch_from_name(&a, "opt-1b"), ZO2_ERR_NOTFOUND, "opt-125m, opt-350m, opt-1.3b");
    assert_non_null(strstr(zo2_last_error(), "opt-175b"));
    assert_error(zo2_arch_load(&a, "/nowhere/opt-1b", NULL), ZO2_ERR_NOTFOUND,
                 "neither a file nor the name of an architecture");
}

/* Everything missing: OPTConfig's defaults, which are those of opt-125m. */
static void defaults(void **state)
{
    zo2_arch a, b;
    (void)state;
    assert_ok(parse(&a, "{\"model_type\": \"opt\"}"));
    assert_ok(zo2_arch_from_name(&b, "opt-125m"));
    assert_int_equal(a.n_tensors, b.n_tensors);
    assert_memory_equal(a.tensors, b.tensors, a.n_tensors * sizeof *a.tensors);
    assert_string_equal(a.name, "opt");
    assert_int_equal(a.layers, 12);
    assert_int_equal(a.heads, 12);
    assert_int_equal(a.head_dim, 64);
    assert_int_equal(a.ffn, 3072);
    assert_int_equal(a.context, 2048);
    assert_int_equal(a.embed_dim, 768);
    assert_true(a.pre_norm && a.final_norm && a.bias && a.affine && a.tied);
    assert_int_equal(a.act, ZO2_ACT_RELU);
    assert_true(a.norm_eps == 1e-5f);
    assert_int_equal(a.bos, 2);
    assert_int_equal(a.eos, 2);
    assert_int_equal(a.pad, 1);
    assert_int_equal(a.dtype, 0);
    zo2_arch_free(&a);
    zo2_arch_free(&b);
}

static void keys(void **state)
{
    zo2_arch a;
    (void)state;
    assert_ok(parse(
        &a,
        "{\"model_type\": \"opt\", \"hidden_size\": 20, \"num_attention_heads\": 4, \"num_hidden_layers\": 1, \"ffn_dim\": 7,"
        "\"vocab_size\": 9, \"max_position_embeddings\": 5, \"word_embed_proj_dim\": 6, \"do_layer_norm_before\": true,"
        "\"_remove_final_layer_norm\": true, \"enable_bias\": false, \"layer_norm_elementwise_affine\": false,"
        "\"tie_word_embeddings\": false, \"activation_function\": \"gelu\", \"bos_token_id\": null, \"eos_token_id\": [4, 5],"
        "\"pad_token_id\": -1, \"torch_dtype\": \"float16\", \"unknown\": {\"a\": [1]}}"));
    assert_int_equal(a.head_dim, 5);
    assert_int_equal(a.embed_dim, 6);
    assert_int_equal(a.vocab, 9);
    assert_int_equal(a.act, ZO2_ACT_GELU);
    assert_true(a.pre_norm && !a.final_norm && !a.bias && !a.affine && !a.tied);
    assert_int_equal(a.bos, -1);
    assert_int_equal(a.eos, 4);
    assert_int_equal(a.pad, -1);
    assert_int_equal(a.dtype, ZO2_F16);
    /* embeddings 3, layer 6 matrices, project_out, head */
    assert_int_equal(a.n_tensors, 11);
    assert_int_equal(a.parameters, 9 * 6 + 7 * 20 + 20 * 6 + 4 * 400 + 2 * 140 + 6 * 20 + 9 * 6);
    zo2_arch_free(&a);
    /* post-norm has no decoder-level norm; the newer key for the type */
    assert_ok(parse(
        &a,
        "{\"model_type\": \"opt\", \"do_layer_norm_before\": false, \"dtype\": \"bfloat16\", \"word_embed_proj_dim\": null}"));
    assert_false(a.final_norm);
    assert_int_equal(a.embed_dim, 768);
    assert_int_equal(a.dtype, ZO2_BF16);
    zo2_arch_free(&a);
    assert_ok(parse(&a, "{\"model_type\": \"opt\", \"torch_dtype\": \"torch.float32\"}"));
    assert_int_equal(a.dtype, ZO2_F32);
    zo2_arch_free(&a);
    assert_ok(parse(&a, "{\"model_type\": \"opt\", \"torch_dtype\": \"float8_e4m3fn\"}")); /* a hint only */
    assert_int_equal(a.dtype, 0);
    zo2_arch_free(&a);
}

static void refusals(void **state)
{
    zo2_arch a;
    (void)state;
    assert_error(
        parse(&a, "{\"model_type\": \"gemma\"}"), ZO2_ERR_UNSUPPORTED,
        "unsupported architecture 'gemma' in some/config.json: this version knows opt, llama, qwen2, qwen3, mistral");
    assert_error(parse(&a, "{}"), ZO2_ERR_FORMAT, "model_type");
    assert_error(parse(&a, "{\"architectures\": [\"OPTForCausalLM\"]}"), ZO2_ERR_FORMAT,
                 "\"architectures\" is OPTForCausalLM: add \"model_type\": \"opt\"");
    assert_error(parse(&a, "{\"model_type\": 3}"), ZO2_ERR_FORMAT, "\"model_type\" is 3");
    assert_error(parse(&a, "[]"), ZO2_ERR_FORMAT, "a JSON object is needed");
    assert_error(parse(&a, ""), ZO2_ERR_FORMAT, "not valid JSON");
    assert_error(parse(&a, "{\"model_type\": \"opt\","), ZO2_ERR_FORMAT, "line 1");
    assert_error(parse(&a, "{\"model_type\": \"opt\"} x"), ZO2_ERR_FORMAT, "not valid JSON");
    assert_refused("\"hidden_size\": 8, \"hidden_size\": 16", ZO2_ERR_FORMAT, "duplicate");

    assert_refused("\"hidden_size\": 65537", ZO2_ERR_FORMAT,
                   "\"hidden_size\" is 65537; a whole number from 1 to 65536");
    assert_refused("\"hidden_size\": 0", ZO2_ERR_FORMAT, "hidden_size");
    assert_refused("\"hidden_size\": -768", ZO2_ERR_FORMAT, "\"hidden_size\" is -768");
    assert_refused("\"hidden_size\": 768.0", ZO2_ERR_FORMAT, "hidden_size");
    assert_refused("\"hidden_size\": \"768\"", ZO2_ERR_FORMAT, "\"hidden_size\" is \"768\"");
    assert_refused("\"hidden_size\": 99999999999999999999", ZO2_ERR_FORMAT, "\"hidden_size\" is 9.99");
    assert_refused("\"num_hidden_layers\": 1025", ZO2_ERR_FORMAT, "num_hidden_layers");
    assert_refused("\"vocab_size\": 16777217", ZO2_ERR_FORMAT, "vocab_size");
    assert_refused("\"ffn_dim\": 1048577", ZO2_ERR_FORMAT, "ffn_dim");
    assert_refused("\"max_position_embeddings\": 1048577", ZO2_ERR_FORMAT, "max_position_embeddings");
    assert_refused("\"word_embed_proj_dim\": 65537", ZO2_ERR_FORMAT, "word_embed_proj_dim");
    assert_refused("\"num_attention_heads\": 7", ZO2_ERR_FORMAT,
                   "\"num_attention_heads\" is 7, which doesn't divide \"hidden_size\", 768");
    assert_refused("\"enable_bias\": 1", ZO2_ERR_FORMAT, "\"enable_bias\" is 1; true or false");
    assert_refused("\"activation_function\": \"silu\"", ZO2_ERR_UNSUPPORTED,
                   "\"silu\": this version knows \"relu\" and \"gelu\"");
    assert_refused("\"activation_function\": 1", ZO2_ERR_UNSUPPORTED, "activation_function");
    assert_refused("\"pad_token_id\": \"x\"", ZO2_ERR_FORMAT,
                   "\"pad_token_id\" is \"x\"; a token id below vocab_size, 50272, or null is needed");
    assert_refused("\"bos_token_id\": 2.5", ZO2_ERR_FORMAT, "\"bos_token_id\" is 2.5");
    assert_refused("\"bos_token_id\": true", ZO2_ERR_FORMAT, "\"bos_token_id\" is true");
    assert_refused("\"eos_token_id\": [2, \"x\"]", ZO2_ERR_FORMAT, "\"eos_token_id\" is [2,\"x\"]");
    assert_refused("\"vocab_size\": 16777216, \"hidden_size\": 65536, \"num_attention_heads\": 64", ZO2_ERR_FORMAT,
                   "2^40");
    /* a very long value is cut in the message */
    char fields[900];
    snprintf(fields, sizeof fields, "\"ffn_dim\": \"%0800d\"", 0);
    assert_refused(fields, ZO2_ERR_FORMAT, "0...");
}

/* Token ids that no row of the embedding belongs to are none. Hugging Face loads all of these but pads beyond the vocabulary
 * (tests/make_fixtures/check_exports.py asks it); it never looks them up either. */
static void token_ids(void **state)
{
    static const struct {
        const char *value;
        int id, beyond;
    } known[] = {
        {"4095", 4095, 0},    {"4096", -1, 1},      {"50265", -1, 1},
        {"-1", -1, 0},        {"-4097", -1, 0},     {"null", -1, 0},
        {"2.0", 2, 0},        {"1e30", -1, 1},      {"[]", -1, 0},
        {"[3, 50118]", 3, 0}, {"[50118, 3]", 3, 0}, {"[-1, 7]", 7, 0},
        {"[4096]", -1, 1},    {"[-1]", -1, 0},      {"1000000000000000019884624838656", -1, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        zo2_arch a;
        char json[512];
        const char *v = known[i].value;
        snprintf(
            json, sizeof json,
            "{\"model_type\": \"opt\", \"vocab_size\": 4096, \"bos_token_id\": %s, \"eos_token_id\": %s, \"pad_token_id\": %s}",
            v, v, v);
        assert_ok(parse(&a, json));
        assert_int_equal(a.bos, known[i].id);
        assert_int_equal(a.eos, known[i].id);
        assert_int_equal(a.pad, known[i].id);
        assert_int_equal(a.bos_beyond, known[i].beyond);
        assert_int_equal(a.pad_beyond, known[i].beyond);
        zo2_arch_free(&a);
    }
}

/* Weights that need their scales are refused by the key that says so, whatever it says. */
static void quantised(void **state)
{
    zo2_arch a;
    (void)state;
    assert_refused("\"quantization_config\": {\"bits\": 4, \"quant_method\": \"gptq\"}", ZO2_ERR_UNSUPPORTED,
                   "\"quantization_config\" says that the weights are quantised (\"quant_method\" \"gptq\")");
    assert_non_null(strstr(zo2_last_error(), "dequantize()"));
    assert_non_null(strstr(zo2_last_error(), "remove the key from config.json and convert them"));
    assert_refused("\"quantization_config\": {\"load_in_4bit\": false, \"load_in_8bit\": true}", ZO2_ERR_UNSUPPORTED,
                   "(\"load_in_8bit\" true)");
    assert_refused("\"quantization_config\": {\"quant_method\": \"of the year 2030\"}", ZO2_ERR_UNSUPPORTED, "2030");
    assert_refused("\"quantization_config\": {}", ZO2_ERR_UNSUPPORTED, "\"quantization_config\"");
    assert_refused("\"quantization_config\": \"awq\"", ZO2_ERR_UNSUPPORTED, "awq");
    assert_refused("\"compression_config\": {\"format\": \"float-quantized\"}", ZO2_ERR_UNSUPPORTED,
                   "\"compression_config\" says that the weights are quantised (\"format\" \"float-quantized\")");
    assert_refused("\"quantization\": {\"group_size\": 64, \"bits\": 4}", ZO2_ERR_UNSUPPORTED, "(\"bits\" 4)");
    assert_refused("\"quip_params\": {\"codebook\": \"E8P12\"}", ZO2_ERR_UNSUPPORTED, "\"quip_params\"");
    assert_ok(parse(&a, "{\"model_type\": \"opt\", \"quantization_config\": null, \"compression_config\": false}"));
    zo2_arch_free(&a);
}

/* Largest accepted sizes: the list is built and nothing overflows. */
static void largest(void **state)
{
    zo2_arch a;
    (void)state;
    assert_ok(parse(
        &a,
        "{\"model_type\": \"opt\", \"hidden_size\": 65536, \"num_attention_heads\": 64, \"num_hidden_layers\": 1024,"
        "\"ffn_dim\": 1048576, \"vocab_size\": 16777215, \"max_position_embeddings\": 1048576}"));
    assert_int_equal(a.n_tensors, 2 + 1024 * 16 + 2);
    zo2_arch_free(&a);
}

static void truncations(void **state)
{
    zo2_arch a;
    size_t n;
    char *text = hf_read(TINY "/config.json", &n);
    (void)state;
    for (size_t cut = 0; cut + 1 < n; cut++) {
        char *copy = malloc(cut + 1); /* exactly as long as it says, for the sanitizer */
        memcpy(copy, text, cut);
        zo2_status s = zo2_arch_from_config(&a, copy, cut, "cut");
        if (s == ZO2_OK && text[cut - 1] != '}')
            fail_msg("accepted when cut at %zu", cut);
        zo2_arch_free(&a);
        free(copy);
    }
    free(text);
}

static void config_round_trip(void **state)
{
    static const char *const names[] = {"prenorm-f32",    "postnorm-proj-f16", "postnorm-gelu-f32", "no-final-norm-f32",
                                        "no-bias-bf16",   "no-affine-f32",     "bare-postnorm-f16", "untied-proj-bf16",
                                        "wide-proj-bf16", "odd-sizes-f32"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        zo2_arch a, b;
        char path[512];
        snprintf(path, sizeof path, FIXTURES "%s/config.json", names[i]);
        assert_ok(zo2_arch_load(&a, path, NULL));
        char *text = zo2_arch_config_json(&a, ZO2_BF16);
        assert_non_null(text);
        assert_ok(parse(&b, text));
        assert_int_equal(b.dtype, ZO2_BF16);
        assert_int_equal(a.n_tensors, b.n_tensors);
        assert_memory_equal(a.tensors, b.tensors, a.n_tensors * sizeof *a.tensors);
        assert_memory_equal(a.block_at, b.block_at, (a.n_blocks + 1) * sizeof *a.block_at);
        assert_memory_equal(a.by_name, b.by_name, a.n_tensors * sizeof *a.by_name);
        zo2_arch same = b; /* everything else too, but for the type and the lists' addresses */
        same.dtype = a.dtype;
        same.tensors = a.tensors;
        same.block_at = a.block_at;
        same.by_name = a.by_name;
        assert_memory_equal(&a, &same, sizeof a);
        zo2_arch_free(&a);
        zo2_arch_free(&b);
        free(text);
    }
}

static void loading(void **state)
{
    zo2_arch a;
    uint64_t pack_bytes = 7;
    (void)state;
    assert_ok(zo2_arch_load(&a, "opt-1.3b", &pack_bytes));
    assert_int_equal(pack_bytes, 0);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, TINY "/config.json", NULL));
    assert_int_equal(a.parameters, 3505536);
    zo2_arch_free(&a);
    assert_ok(zo2_arch_load(&a, TINY, NULL));
    assert_int_equal(a.n_tensors, 100);
    zo2_arch_free(&a);
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "tiny.zo2");
    assert_ok(zo2_pack_convert(TINY, pack, NULL));
    assert_ok(zo2_arch_load(&a, pack, &pack_bytes));
    struct stat st;
    assert_int_equal(stat(pack, &st), 0);
    assert_int_equal(pack_bytes, st.st_size);
    assert_int_equal(a.parameters, 3505536);
    zo2_arch_free(&a);
    assert_error(zo2_arch_load(&a, TINY "/merges.txt", NULL), ZO2_ERR_FORMAT, "merges.txt");
    assert_error(zo2_arch_load(&a, FIXTURES, NULL), ZO2_ERR_NOTFOUND, "config.json");
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_counts), cmocka_unit_test(unknown_names),
        cmocka_unit_test(defaults),         cmocka_unit_test(keys),
        cmocka_unit_test(refusals),         cmocka_unit_test(token_ids),
        cmocka_unit_test(quantised),        cmocka_unit_test(largest),
        cmocka_unit_test(truncations),      cmocka_unit_test(config_round_trip),
        cmocka_unit_test(loading),
    };
    return cmocka_run_group_tests_name("arch", tests, NULL, NULL);
}
