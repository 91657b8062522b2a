/* test_convert_names.c: checkpoints whose tensors have the names of a wrapped model, or that aren't (all of) the model: the pack is
 * that of the plain model, bit for bit, or the message says what is there instead. What Hugging Face does with each:
 * tests/make_fixtures/check_checkpoints.py. */
#include "engine/zo2.h"
#include "tests/unit/engine/hf_dir.h"

#include <inttypes.h>

typedef struct bench {
    char *dir, *out;
    const char *fixture;
    hf_model *m;
    zo2_convert_opts o;
    char log[4096];
} bench;

static void on_log(void *ud, zo2_log_level level, const char *text)
{
    bench *b = ud;
    assert_int_equal(level, ZO2_LOG_WARNING);
    snprintf(b->log + strlen(b->log), sizeof b->log - strlen(b->log), "%s\n", text);
}

static bench *begin(const char *fixture)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->fixture = hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture);
    b->dir = hf_temp();
    b->out = hf_temp();
    b->m = hf_load(b->fixture);
    hf_copy(hf_path(b->fixture, "config.json"), hf_path(b->dir, "config.json"), NULL, NULL);
    zo2_convert_opts_init(&b->o);
    b->o.force = 1;
    b->o.log = on_log;
    b->o.log_ud = b;
    assert_ok(zo2_pack_convert(b->fixture, hf_path(b->out, "plain.zo2"), &b->o));
    assert_string_equal(b->log, "");
    b->fixture = fixture;
    return b;
}

static void end(bench *b)
{
    hf_free(b->m);
    hf_remove_tree(b->dir);
    hf_remove_tree(b->out);
    free(b);
}

static zo2_status convert(bench *b)
{
    b->log[0] = '\0';
    return zo2_pack_convert(b->dir, hf_path(b->out, "out.zo2"), &b->o);
}

/* The folder converts to the plain model's pack, with this in the log ("": with an empty one). */
static void same_pack(bench *b, const char *warning)
{
    assert_ok(convert(b));
    hf_assert_same_file(hf_path(b->out, "plain.zo2"), hf_path(b->out, "out.zo2"));
    if (warning[0] ? !strstr(b->log, warning) : b->log[0])
        fail_msg("not '%s' but '%s'", warning, b->log);
}

static void refused(bench *b, zo2_status status, const char *words)
{
    (void)unlink(hf_path(b->out, "out.zo2"));
    assert_error(convert(b), status, words);
    assert_int_equal(hf_count_entries(b->out), 1);
}

/* Every name of the model (of which `only` is a part, if it isn't NULL) with something in front of it, and `part` in the middle. */
static void wrap(hf_model *m, const char *prefix, const char *part, const char *only)
{
    for (uint32_t i = 0; i < m->n; i++) {
        char name[200];
        const char *old = m->t[i].name, *middle = strstr(old, ".fc");
        if (only && !strstr(old, only))
            continue;
        if (part && middle)
            snprintf(name, sizeof name, "%s%.*s.%s%s", prefix, (int)(middle - old), old, part, middle);
        else
            snprintf(name, sizeof name, "%s%s", prefix, old);
        snprintf(m->t[i].name, sizeof m->t[i].name, "%.127s", name);
    }
}

static void wrappers(void **state)
{
    static const char *const prefixes[] = {"module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module.",
                                           "_forward_module."};
    static const char *const others[] = {"transformer.", "base_model.model.", "model.", "language_model.",
                                         "actor.net."};
    static const char *const fixtures[] = {"untied-f32-sharded", "stored-tied-head-f16"};
    (void)state;
    for (size_t f = 0; f < sizeof fixtures / sizeof *fixtures; f++) {
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
            bench *b = begin(fixtures[f]);
            wrap(b->m, prefixes[i], NULL, NULL);
            hf_save(b->m, b->dir);
            same_pack(
                b, "names of a wrapped model: taken without the wrapper's parts (module., _orig_mod. and the like)\n");
            wrap(b->m, "model.", "_orig_mod", NULL);
            hf_save(b->m, b->dir);
            same_pack(b, "(module., _orig_mod. and the like) and the prefix model.\n");
            end(b);
        }
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            char words[200];
            bench *b = begin(fixtures[f]);
            wrap(b->m, others[i], NULL, NULL);
            hf_save(b->m, b->dir);
            snprintf(words, sizeof words, "names of a wrapped model: taken without the prefix %s\n", others[i]);
            same_pack(b, words);
            end(b);
        }
    }
}

/* Compiled or wrapped in parts only; the head outside. */
static void wrapped_in_parts(void **state)
{
    (void)state;
    bench *b = begin("untied-f32-sharded");
    wrap(b->m, "", "_orig_mod", "layers.1.");
    wrap(b->m, "", "_fsdp_wrapped_module._checkpoint_wrapped_module", "layers.0.");
    hf_save(b->m, b->dir);
    same_pack(b, "without the wrapper's parts");
    wrap(b->m, "transformer.", NULL, "decoder.");
    hf_save(b->m, b->dir);
    same_pack(b, " and the prefix transformer.\n");
    end(b);
}

/* A name that the model has itself goes first: what is left over is told. */
static void plain_names_first(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    hf_tensor *t = hf_find(b->m, "model.decoder.layers.0.fc1.bias");
    hf_add(b->m, "ema.model.decoder.layers.0.fc1.bias", "F32", 1, 1, 48, 192, NULL);
    hf_add(b->m, "module.decoder.layers.0.fc1.bias", "F32", 1, 1, 48, 192, t->data);
    hf_save(b->m, b->dir);
    same_pack(
        b, "ignored 2 tensors that config.json has no place for: ema.model.decoder.layers.0.fc1.bias, module.decoder");
    end(b);
}

static void two_models(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    hf_model *twin = hf_load(FIXTURES "prenorm-f32");
    wrap(b->m, "actor.", NULL, NULL);
    wrap(twin, "critic.", NULL, NULL);
    for (uint32_t i = 0; i < twin->n; i++) {
        const hf_tensor *t = &twin->t[i];
        hf_add(b->m, t->name, t->dtype, t->rank, t->shape[0], t->rank == 1 ? t->shape[0] : t->shape[1], t->bytes,
               t->data);
    }
    hf_save(b->m, b->dir);
    refused(b, ZO2_ERR_FORMAT,
            "has two models, one under the prefix \"actor.\", one under \"critic.\": keep the one to convert");
    hf_drop(b->m, "critic.model.decoder.layers.1.fc2.bias"); /* then it is none */
    hf_save(b->m, b->dir);
    same_pack(b, "without the prefix actor.\n");
    hf_free(twin);
    end(b);
}

/* What is told of a tensor that isn't there. */
static void missing(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    hf_drop(b->m, "model.decoder.layers.1.self_attn.k_proj.bias");
    hf_save(b->m, b->dir);
    refused(
        b, ZO2_ERR_NOTFOUND,
        "has no tensor model.decoder.layers.1.self_attn.k_proj.bias, which its config.json asks for. It has 35 tensors: "
        "model.decoder.layers.0.self_attn.k_proj.bias, model.decoder.embed_positions.weight, ");
    wrap(b->m, "module.", NULL, NULL); /* the one, not all of them */
    hf_save(b->m, b->dir);
    refused(b, ZO2_ERR_NOTFOUND,
            "has no tensor model.decoder.layers.1.self_attn.k_proj.bias, which its config.json asks for. It has 35");
    hf_drop(b->m, "module.model.decoder.layers.0.self_attn.k_proj.bias");
    hf_drop(b->m, "module.model.decoder.embed_tokens.weight");
    hf_save(b->m, b->dir);
    refused(
        b, ZO2_ERR_NOTFOUND,
        "has no tensor model.decoder.embed_tokens.weight, which its config.json asks for, and lacks 2 more. It has");
    hf_model none = {0};
    hf_save(&none, b->dir);
    refused(b, ZO2_ERR_NOTFOUND, "and lacks 35 more. It has no tensors at all");
    end(b);
    b = begin("untied-f32-sharded");
    hf_drop(b->m, "lm_head.weight");
    hf_save(b->m, b->dir);
    refused(
        b, ZO2_ERR_NOTFOUND,
        "(\"tie_word_embeddings\" is false): if the embedding is its head, set \"tie_word_embeddings\" to true. It has");
    end(b);
}

/* q_proj's weight and bias of layer 0 are under other names, or stand beside what changes their meaning. */
static void marks(void **state)
{
    static const struct {
        const char *name, *words;
    } cases[] = {
        {"self_attn.q_proj.lora_A.weight", " is of a LoRA adapter: merge it into its base model first"},
        {"self_attn.q_proj.lora_B.default.weight", " is of a LoRA adapter: merge it into its base model first"},
        {"self_attn.q_proj.base_layer.weight", " is of a model with an adapter beside its weights: merge it"},
        {"self_attn.q_proj.qweight",
         " is of quantised weights (GPTQ or AWQ): convert the model that it was quantised from"},
        {"self_attn.q_proj.qzeros", " is of quantised weights (GPTQ or AWQ)"},
        {"self_attn.q_proj.scales", " is of quantised weights (GPTQ or AWQ)"},
        {"self_attn.q_proj.g_idx", " is of quantised weights (GPTQ)"},
        {"self_attn.q_proj.SCB", " is of quantised weights (bitsandbytes)"},
        {"self_attn.q_proj.weight.absmax", " is of quantised weights (bitsandbytes)"},
        {"self_attn.q_proj.weight.quant_map", " is of quantised weights (bitsandbytes)"},
        {"self_attn.q_proj.weight.quant_state.bitsandbytes__nf4", " is of quantised weights (bitsandbytes)"},
        {"self_attn.q_proj.weight_packed", " is of quantised weights (compressed-tensors)"},
        {"self_attn.q_proj.weight_scale_inv", " is of quantised weights (weights with a separate scale)"},
        {"self_attn.qkv_proj.weight",
         " is of q, k and v in one tensor: this version reads models that store q, k and v apart"},
        {"attention.query_key_value.weight", " is of q, k and v in one tensor"},
        {"attn.c_attn.weight", " is of q, k and v in one tensor"},
        {"self_attn.in_proj_weight", " is of q, k and v in one tensor"},
        {"_flat_param", "_flat_param is of an FSDP shard: save the model with a full state dict"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench *b = begin("prenorm-f32");
        hf_tensor *t = hf_find(b->m, "model.decoder.layers.0.self_attn.q_proj.weight");
        snprintf(t->name, sizeof t->name, "model.decoder.layers.0.%s", cases[i].name);
        hf_save(b->m, b->dir);
        refused(b, ZO2_ERR_NOTFOUND, cases[i].words);
        assert_non_null(strstr(zo2_last_error(), "has no tensor model.decoder.layers.0.self_attn.q_proj.weight"));
        end(b);
    }
}

/* All weights are there, and more that they mean nothing without; or something that they may lack. */
static void leftovers(void **state)
{
    static const char *const scales[] = {"weight_scale", "SCB", "scales", "weight.absmax",
                                         "weight.quant_state.bitsandbytes__fp4"};
    (void)state;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        char name[128];
        bench *b = begin("prenorm-f32");
        snprintf(name, sizeof name, "model.decoder.layers.0.fc1.%s", scales[i]);
        hf_add(b->m, name, "F32", 1, 1, 48, 192, NULL);
        hf_save(b->m, b->dir);
        refused(b, ZO2_ERR_UNSUPPORTED,
                " stands beside a weight that means nothing without it: these are quantised weights (");
        hf_drop(b->m, name);
        snprintf(name, sizeof name, "vision.fc9.%s", scales[i]); /* of nothing of ours */
        hf_add(b->m, name, "F32", 1, 1, 48, 192, NULL);
        hf_save(b->m, b->dir);
        same_pack(b, "ignored 1 tensor that config.json has no place for: vision.fc9.");
        end(b);
    }
    bench *b = begin("prenorm-f32"); /* Hugging Face loads it, without the adapter */
    hf_add(b->m, "model.decoder.layers.0.fc1.lora_A.weight", "F32", 2, 8, 32, 1024, NULL);
    hf_add(b->m, "model.decoder.layers.0.fc1.lora_B.weight", "F32", 2, 48, 8, 1536, NULL);
    hf_save(b->m, b->dir);
    same_pack(
        b,
        "fc1.lora_A.weight is of a LoRA adapter, which isn't in the pack's weights; if it should be, merge it into its base model");
    assert_null(strstr(b->log, "lora_B.weight is of")); /* one warning */
    wrap(b->m, "base_model.model.", NULL, NULL);        /* PEFT's own: the adapter is the point */
    hf_save(b->m, b->dir);
    refused(b, ZO2_ERR_UNSUPPORTED, "fc1.lora_A.weight is of a LoRA adapter, which the model's weights lack: merge it");
    end(b);
}

/* ---- shards ---------------------------------------------------------------------------------------------------------- */

/* Tensors [first, end) of the model in a file of this name. */
static void save_as(const bench *b, const char *name, uint32_t first, uint32_t end)
{
    hf_model *part = calloc(1, sizeof *part);
    assert_non_null(part);
    part->n = end - first;
    memcpy(part->t, b->m->t + first, part->n * sizeof *part->t);
    hf_save(part, b->dir);
    assert_int_equal(rename(hf_path(b->dir, "model.safetensors"), hf_path(b->dir, name)), 0);
    free(part);
}

/* m-1 with the first 18 tensors, m-2 with the rest, and the index with one entry more, or another one. */
static void save_shards(const bench *b, const char *more, const char *moved)
{
    FILE *f = fopen(hf_path(b->dir, "model.safetensors.index.json"), "w");
    assert_non_null(f);
    fprintf(f, "{\"weight_map\": {%s", more);
    for (uint32_t i = 0; i < b->m->n; i++)
        fprintf(f, "%s\"%s\": \"m-%d.safetensors\"", i || more[0] ? ", " : "", b->m->t[i].name,
                (i >= 18) + 1 - (moved && strcmp(moved, b->m->t[i].name) == 0 && i >= 18));
    fprintf(f, "}}");
    assert_int_equal(fclose(f), 0);
    save_as(b, "m-1.safetensors", 0, 18);
    save_as(b, "m-2.safetensors", 18, b->m->n);
}

static void shards(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    const char *last = b->m->t[b->m->n - 1].name;
    save_shards(b, "", NULL);
    same_pack(b, "");
    save_shards(b, "\"lm_head.weight\": \"m-2.safetensors\"", NULL); /* tied, and saved nowhere */
    same_pack(b, "");
    save_shards(b, "\"optimizer.x\": \"m-3.safetensors\"", NULL);
    same_pack(b, "names 1 file that is missing (the first is m-3.safetensors); nothing of it is needed");
    save_shards(b, "", last);
    same_pack(b, "is out of date: 1 of its tensors (the first is ");
    save_as(b, "consolidated.safetensors", 0, 1); /* not in the index: not read */
    save_shards(b, "", NULL);
    same_pack(b, "");
    assert_int_equal(unlink(hf_path(b->dir, "m-2.safetensors")), 0);
    refused(
        b, ZO2_ERR_NOTFOUND,
        "m-2.safetensors is missing (1 of the 2 shards that model.safetensors.index.json names is); download the rest");
    assert_non_null(strstr(zo2_last_error(), "and lacks "));
    assert_int_equal(unlink(hf_path(b->dir, "model.safetensors.index.json")), 0);
    save_as(b, "model-00001-of-00002.safetensors", 0, 18);
    assert_int_equal(unlink(hf_path(b->dir, "m-1.safetensors")), 0);
    refused(b, ZO2_ERR_NOTFOUND, "of the 2 files *-of-00002.safetensors there are only 1");
    save_as(b, "model-00002-of-00002.safetensors", 18, b->m->n); /* without an index all are read */
    same_pack(b, "");
    end(b);
}

static void duplicates(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    save_shards(b, "", NULL);
    save_as(b, "m-1.safetensors", 0, 22); /* four of them in both */
    same_pack(b, "");
    b->m->t[20].data[5] ^= 1;
    save_as(b, "m-2.safetensors", 18, b->m->n);
    refused(b, ZO2_ERR_FORMAT,
            " differ at element 1 (in m-1.safetensors and m-2.safetensors), but both are model.decoder.");
    end(b);
}

/* Types that no weight has, in what the model doesn't need; and in what it does. */
static void foreign_types(void **state)
{
    static const struct {
        const char *name;
        uint64_t bytes; /* of 8 */
    } types[] = {{"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4}, {"F6_E2M3", 6},
                 {"C64", 64},    {"I64", 64},    {"BOOL", 8},    {"U8", 8}, {"F12", 12}};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char words[128];
        bench *b = begin("prenorm-f32");
        hf_add(b->m, "some.buffer", types[i].name, 1, 1, 8, types[i].bytes, NULL);
        hf_add(b->m, "empty", types[i].name, 1, 1, 0, 0, NULL);
        hf_save(b->m, b->dir);
        same_pack(b, "ignored 2 tensors that config.json has no place for: some.buffer, empty");
        hf_drop(b->m, "model.decoder.layers.0.self_attn.q_proj.bias");
        hf_add(b->m, "model.decoder.layers.0.self_attn.q_proj.bias", types[i].name, 1, 1, 32, 4 * types[i].bytes, NULL);
        hf_save(b->m, b->dir);
        snprintf(words, sizeof words, "has type %s; this version reads F32, F16, BF16 and F64", types[i].name);
        refused(b, ZO2_ERR_UNSUPPORTED, words);
        end(b);
    }
}

/* Doubles are taken as floats; a tensor that nothing is taken of may have any type. */
static void doubles(void **state)
{
    (void)state;
    bench *b = begin("prenorm-f32");
    hf_tensor *t = hf_find(b->m, "model.decoder.layers.0.fc1.weight");
    const uint64_t n = t->bytes / sizeof(float);
    double *wide = malloc((size_t)n * sizeof *wide);
    assert_non_null(wide);
    for (uint64_t i = 0; i < n; i++) {
        float value;
        memcpy(&value, (const char *)t->data + i * sizeof value, sizeof value);
        wide[i] = (double)value * (1 + 0x1p-26); /* rounds to it */
    }
    free(t->data);
    t->data = (void *)wide;
    t->bytes = n * sizeof *wide;
    snprintf(t->dtype, sizeof t->dtype, "F64");
    hf_add(b->m, "some.buffer", "F64", 1, 1, 8, 64, NULL);
    hf_save(b->m, b->dir);
    same_pack(b, ": 1 tensor is of type F64 (model.decoder.layers.0.fc1.weight), taken as F32, rounded to nearest");
    wide[5] = 3.5e38; /* just beyond the largest float */
    hf_save(b->m, b->dir);
    refused(b, ZO2_ERR_NONFINITE, "element 5 of model.decoder.layers.0.fc1.weight in ");
    assert_non_null(strstr(zo2_last_error(), "or too large for the F32 that F64 is read as"));
    end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrappers),      cmocka_unit_test(wrapped_in_parts), cmocka_unit_test(plain_names_first),
        cmocka_unit_test(two_models),    cmocka_unit_test(missing),          cmocka_unit_test(marks),
        cmocka_unit_test(leftovers),     cmocka_unit_test(shards),           cmocka_unit_test(duplicates),
        cmocka_unit_test(foreign_types), cmocka_unit_test(doubles),
    };
    return cmocka_run_group_tests_name("convert_names", tests, NULL, NULL);
}
