/* test_arch_decoder.c: LLaMA, Qwen2, Qwen3, Mistral: sizes that were published, the canonical order of tensors (which seeds noise: if
 * a list here has to change, every existing run breaks), defaults, what is refused and how, and the way back to a
 * config.json. Rotary positions and windows: test_arch_rope.c. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/rope.h"
#include "tests/unit/engine/config_testing.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

#define DECODERS ZO2_TEST_DATA "/decoder-fixtures/"

static void published_counts(void **state)
{
    static const struct {
        const char *name;
        uint64_t parameters;
    } known[] = {
        {"llama-3.2-1b", 1235814400},     {"llama-3.1-8b", 8030261248}, {"llama-3.1-70b", 70553706496},
        {"llama-3.1-405b", 405853388800}, {"qwen2.5-0.5b", 494032768},  {"qwen2.5-7b", 7615616512},
        {"qwen3-0.6b", 596049920},        {"qwen3-1.7b", 1720574976},   {"qwen3-4b", 4022468096},
        {"qwen3-8b", 8190735360},         {"qwen3-14b", 14768307200},   {"qwen3-32b", 32762123264},
        {"mistral-7b", 7248023552},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        zo2_arch a, b;
        assert_ok(zo2_arch_from_name(&a, known[i].name));
        assert_int_equal(a.parameters, known[i].parameters);
        assert_int_equal(a.n_blocks, a.layers + 2);
        char *text = zo2_arch_config_json(&a, ZO2_BF16);
        assert_ok(parse(&b, text)); /* what synth writes is the same model */
        assert_int_equal(b.n_tensors, a.n_tensors);
        assert_memory_equal(b.tensors, a.tensors, a.n_tensors * sizeof *a.tensors);
        assert_memory_equal(&b.rope, &a.rope, sizeof a.rope);
        assert_int_equal(b.context, a.context);
        assert_true(b.norm_eps == a.norm_eps);
        free(text);
        zo2_arch_free(&a);
        zo2_arch_free(&b);
    }
}

/* ---- tensors ---- */

typedef struct golden {
    const char *name;
    uint32_t block;
    uint64_t rows, cols; /* rows 0: a vector */
} golden;

static void assert_list(const char *fixture, const golden *g, uint32_t n)
{
    zo2_arch a;
    uint64_t parameters = 0;
    char path[512];
    snprintf(path, sizeof path, DECODERS "%s", fixture);
    assert_ok(zo2_arch_load(&a, path, NULL));
    for (uint32_t i = 0; i < n && i < a.n_tensors; i++) {
        const zo2_tensor *t = &a.tensors[i];
        assert_string_equal(t->name, g[i].name);
        assert_int_equal(t->id, i);
        assert_int_equal(t->block, g[i].block);
        assert_int_equal(t->rank, g[i].rows ? 2 : 1);
        assert_int_equal(t->rows, g[i].rows ? g[i].rows : 1);
        assert_int_equal(t->cols, g[i].cols);
        assert_int_equal(t->decays, g[i].rows != 0);
        assert_int_equal(t->exempt, !g[i].rows);
        assert_int_equal(t->ones, strstr(t->name, "norm") != NULL);
        parameters += t->rows * t->cols;
        assert_int_equal(zo2_arch_find(&a, t->role, t->layer), i);
        assert_ptr_equal(zo2_arch_by_name(&a, t->name), t);
        if (strncmp(t->name, "model.", 6) == 0)
            assert_ptr_equal(zo2_arch_by_name(&a, t->name + 6), t);
    }
    assert_int_equal(a.n_tensors, n);
    assert_int_equal(a.parameters, parameters);
    assert_null(zo2_arch_by_name(&a, "model.lm_head.weight"));
    zo2_arch_free(&a);
}

#define LAYER(n) "model.layers." #n "."

/* Biases and norms of heads: everything that a layer can have but biases of the feed-forward. */
static void all_of_attention(void **state)
{
    static const golden g[] = {
        {"model.embed_tokens.weight", 0, 32, 16},
        {LAYER(0) "input_layernorm.weight", 1, 0, 16},
        {LAYER(0) "self_attn.q_proj.weight", 1, 16, 16},
        {LAYER(0) "self_attn.q_proj.bias", 1, 0, 16},
        {LAYER(0) "self_attn.q_norm.weight", 1, 0, 4},
        {LAYER(0) "self_attn.k_proj.weight", 1, 8, 16},
        {LAYER(0) "self_attn.k_proj.bias", 1, 0, 8},
        {LAYER(0) "self_attn.k_norm.weight", 1, 0, 4},
        {LAYER(0) "self_attn.v_proj.weight", 1, 8, 16},
        {LAYER(0) "self_attn.v_proj.bias", 1, 0, 8},
        {LAYER(0) "self_attn.o_proj.weight", 1, 16, 16},
        {LAYER(0) "self_attn.o_proj.bias", 1, 0, 16},
        {LAYER(0) "post_attention_layernorm.weight", 1, 0, 16},
        {LAYER(0) "mlp.gate_proj.weight", 1, 24, 16},
        {LAYER(0) "mlp.up_proj.weight", 1, 24, 16},
        {LAYER(0) "mlp.down_proj.weight", 1, 16, 24},
        {LAYER(1) "input_layernorm.weight", 2, 0, 16},
        {LAYER(1) "self_attn.q_proj.weight", 2, 16, 16},
        {LAYER(1) "self_attn.q_proj.bias", 2, 0, 16},
        {LAYER(1) "self_attn.q_norm.weight", 2, 0, 4},
        {LAYER(1) "self_attn.k_proj.weight", 2, 8, 16},
        {LAYER(1) "self_attn.k_proj.bias", 2, 0, 8},
        {LAYER(1) "self_attn.k_norm.weight", 2, 0, 4},
        {LAYER(1) "self_attn.v_proj.weight", 2, 8, 16},
        {LAYER(1) "self_attn.v_proj.bias", 2, 0, 8},
        {LAYER(1) "self_attn.o_proj.weight", 2, 16, 16},
        {LAYER(1) "self_attn.o_proj.bias", 2, 0, 16},
        {LAYER(1) "post_attention_layernorm.weight", 2, 0, 16},
        {LAYER(1) "mlp.gate_proj.weight", 2, 24, 16},
        {LAYER(1) "mlp.up_proj.weight", 2, 24, 16},
        {LAYER(1) "mlp.down_proj.weight", 2, 16, 24},
        {"model.norm.weight", 3, 0, 16},
        {"lm_head.weight", 3, 32, 16},
    };
    (void)state;
    assert_list("qwen3-bias", g, sizeof g / sizeof *g);
}

/* Attention wider than the model, and nothing that is optional. */
static void bare(void **state)
{
    static const golden g[] = {
        {"model.embed_tokens.weight", 0, 32, 20},
        {LAYER(0) "input_layernorm.weight", 1, 0, 20},
        {LAYER(0) "self_attn.q_proj.weight", 1, 40, 20},
        {LAYER(0) "self_attn.k_proj.weight", 1, 20, 20},
        {LAYER(0) "self_attn.v_proj.weight", 1, 20, 20},
        {LAYER(0) "self_attn.o_proj.weight", 1, 20, 40},
        {LAYER(0) "post_attention_layernorm.weight", 1, 0, 20},
        {LAYER(0) "mlp.gate_proj.weight", 1, 24, 20},
        {LAYER(0) "mlp.up_proj.weight", 1, 24, 20},
        {LAYER(0) "mlp.down_proj.weight", 1, 20, 24},
        {"model.norm.weight", 2, 0, 20},
        {"lm_head.weight", 2, 32, 20},
    };
    (void)state;
    assert_list("llama-headdim", g, sizeof g / sizeof *g);
}

static int count(const char *family, const char *fields, const char *part)
{
    zo2_arch a;
    int n = 0;
    assert_ok(parse_with(&a, family, fields));
    for (uint32_t i = 0; i < a.n_tensors; i++)
        n += a.tensors[i].block <= 1 && strstr(a.tensors[i].name, part) != NULL;
    zo2_arch_free(&a);
    return n;
}

static void switches(void **state)
{
    (void)state;
    assert_int_equal(count("llama", "", "bias"), 0);
    assert_int_equal(count("llama", "\"attention_bias\": true", "_proj.bias"), 4);
    assert_int_equal(count("llama", "\"mlp_bias\": true", "mlp."), 6);
    assert_int_equal(count("qwen2", "\"attention_bias\": false", "_proj.bias"), 3); /* no key of its */
    assert_int_equal(count("qwen2", "", "o_proj.bias"), 0);
    assert_int_equal(count("qwen2", "", "q_norm"), 0);
    assert_int_equal(count("qwen3", "", "q_norm"), 1);
    assert_int_equal(count("qwen3", "\"attention_bias\": true, \"mlp_bias\": true", "bias"), 4);
    assert_int_equal(count("mistral", "\"attention_bias\": true, \"mlp_bias\": true", "bias"), 0);
}

/* ---- configurations ---- */

static void defaults(void **state)
{
    static const struct {
        const char *family;
        uint32_t vocab, ffn, kv_heads, head_dim, positions, context;
        int bos, eos;
    } known[] = {
        {"llama", 32000, 11008, 32, 128, 2048, 2048, 1, 2},
        {"qwen2", 151936, 22016, 32, 128, 32768, 32768, -1, -1},
        {"qwen3", 151936, 22016, 32, 128, 32768, 32768, -1, -1},
        {"mistral", 32000, 14336, 8, 128, 131072, 4096, 1, 2}, /* its window is 4,096 unless it says null */
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        zo2_arch a;
        assert_ok(parse_with(&a, known[i].family, ""));
        assert_string_equal(a.name, known[i].family);
        assert_true(a.hidden == 4096 && a.layers == 32 && a.heads == 32 && !a.tied && a.embed_dim == 4096);
        assert_int_equal(a.vocab, known[i].vocab);
        assert_int_equal(a.ffn, known[i].ffn);
        assert_int_equal(a.kv_heads, known[i].kv_heads);
        assert_int_equal(a.head_dim, known[i].head_dim);
        assert_int_equal(a.positions, known[i].positions);
        assert_int_equal(a.context, known[i].context);
        assert_int_equal(a.bos, known[i].bos);
        assert_int_equal(a.eos, known[i].eos);
        assert_int_equal(a.pad, -1);
        assert_true(a.norm_eps == 1e-6f && a.rope.kind == ZO2_ROPE_DEFAULT && a.rope.theta == 10000);
        assert_int_equal(a.wide, 2 * a.ffn);
        zo2_arch_free(&a);
    }
}

static void heads(void **state)
{
    zo2_arch a;
    (void)state;
    assert_ok(
        parse_with(&a, "qwen2", "\"num_attention_heads\": 16, \"num_key_value_heads\": null")); /* not the default */
    assert_int_equal(a.kv_heads, 16);
    assert_int_equal(a.head_dim, 256);
    zo2_arch_free(&a);
    assert_ok(
        parse_with(&a, "qwen3", "\"num_attention_heads\": 40, \"num_key_value_heads\": 8, \"hidden_size\": 5121"));
    assert_int_equal(a.head_dim, 128);
    assert_int_equal(zo2_attention_columns(&a), 5120);
    assert_int_equal(zo2_kv_columns(&a), 1024);
    zo2_arch_free(&a);
    assert_refused("llama", "\"num_key_value_heads\": 12", ZO2_ERR_FORMAT,
                   "\"num_key_value_heads\" is 12, which doesn't divide \"num_attention_heads\", 32");
    assert_refused("llama", "\"num_attention_heads\": 33, \"head_dim\": 128", ZO2_ERR_FORMAT, "divide \"hidden_size\"");
    assert_refused("mistral", "\"num_attention_heads\": 24", ZO2_ERR_FORMAT, "divide \"hidden_size\"");
    assert_refused("llama", "\"head_dim\": 7", ZO2_ERR_FORMAT, "heads have 7 elements");
    assert_refused("llama", "\"head_dim\": 65536", ZO2_ERR_FORMAT, "absurd");
    assert_refused("llama", "\"num_attention_heads\": 4096, \"num_key_value_heads\": 1", ZO2_ERR_FORMAT, "1 elements");
    assert_refused("llama", "\"hidden_act\": \"gelu\"", ZO2_ERR_UNSUPPORTED, "\"hidden_act\" \"gelu\"");
    assert_refused("llama", "\"rms_norm_eps\": 0", ZO2_ERR_FORMAT, "\"rms_norm_eps\" is 0; a number from 1e-15 to 1");
    assert_refused("qwen3", "\"quantization_config\": {\"quant_method\": \"awq\"}", ZO2_ERR_UNSUPPORTED, "awq");
    assert_refused("llama", "\"vocab_size\": 16777216, \"hidden_size\": 65536, \"num_attention_heads\": 64",
                   ZO2_ERR_FORMAT, "2^40");
}

static void config_round_trip(void **state)
{
    int models = 0;
    (void)state;
    DIR *d = opendir(DECODERS);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        zo2_arch a, b;
        char path[600];
        snprintf(path, sizeof path, DECODERS "%s/config.json", entry->d_name);
        if (access(path, F_OK))
            continue;
        assert_ok(zo2_arch_load(&a, path, NULL));
        char *text = zo2_arch_config_json(&a, ZO2_BF16);
        assert_non_null(text);
        assert_ok(parse(&b, text));
        assert_int_equal(b.dtype, ZO2_BF16);
        assert_int_equal(a.n_tensors, b.n_tensors);
        assert_memory_equal(a.tensors, b.tensors, a.n_tensors * sizeof *a.tensors);
        assert_true(fabs(a.rope.attention - b.rope.attention) < 1e-14);
        zo2_arch same =
            b; /* everything else too, but for the type, a number with many digits, and the lists' addresses */
        same.dtype = a.dtype;
        same.rope.attention = a.rope.attention;
        same.tensors = a.tensors;
        same.block_at = a.block_at;
        same.by_name = a.by_name;
        assert_memory_equal(&a, &same, sizeof a);
        zo2_arch_free(&a);
        zo2_arch_free(&b);
        free(text);
        models++;
    }
    closedir(d);
    assert_int_equal(models, 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_counts),  cmocka_unit_test(all_of_attention), cmocka_unit_test(bare),
        cmocka_unit_test(switches),          cmocka_unit_test(defaults),         cmocka_unit_test(heads),

        cmocka_unit_test(config_round_trip),
    };
    return cmocka_run_group_tests_name("arch_decoder", tests, NULL, NULL);
}
