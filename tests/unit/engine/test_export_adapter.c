/* test_export_adapter.c: adapters of a run as the directory that PEFT loads: names, values and configuration; what isn't written, and
 * exports of runs that tune a part, stopped at every place. */
#include "tests/unit/engine/export_tune_testing.h"

static const char opt[] = "opt-fixtures/prenorm-bf16-sharded"; /* tied */
static const char llama[] = "decoder-fixtures/llama-gqa-tied";

/* ---- adapters alone ---- */

static void assert_adapters(const tuned *r, uint64_t step, zo2_dtype type)
{
    static const char prefix[] = "base_model.model.";
    zo2_safetensors *s;
    uint32_t found = 0;
    MUST(zo2_safetensors_open(&s, hf_path(r->out, "adapter_model.safetensors")));
    for (uint32_t i = 0; i < r->arch.n_tensors; i++) {
        const zo2_tensor *t = &r->arch.tensors[i];
        const uint64_t n = t->rows * t->cols;
        char name[128], got[4096 * 4], want[4096 * 4];
        if (!zo2_is_lora(t))
            continue;
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        const zo2_st_tensor *is = zo2_safetensors_find(s, name);
        assert_non_null(is);
        assert_int_equal(is->dtype, type);
        assert_int_equal(is->rank, 2);
        assert_int_equal(is->shape[0], t->rows);
        assert_int_equal(is->shape[1], t->cols);
        assert_true(is->bytes <= sizeof got);
        MUST(zo2_safetensors_read(s, is, 0, is->bytes, got));
        zo2_source_encode(type, r->w[step][i], n, want);
        assert_memory_equal(got, want, is->bytes);
        found++;
    }
    assert_int_equal(found, zo2_safetensors_count(s));
    assert_true(found > 0);
    zo2_safetensors_close(s);
}

static void assert_config(const tuned *r, const char *want)
{
    size_t n;
    char *text = hf_read(hf_path(r->out, "adapter_config.json"), &n);
    if (n != strlen(want) || memcmp(text, want, n) != 0)
        fail_msg("adapter_config.json is %.*s", (int)n, text);
    free(text);
}

static void a_directory_for_peft(void **state)
{
    (void)state;
    static const struct {
        choice c;
        const char *config;
    } cases[] = {{{.model = opt, .vocab = 120, .tune = "lora:r=4,alpha=8,targets=q_proj+v_proj"},
                  "{\n  \"base_model_name_or_path\": null,\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
                  "  \"inference_mode\": true,\n  \"layers_to_transform\": null,\n  \"lora_alpha\": 8,\n"
                  "  \"lora_dropout\": 0.0,\n  \"modules_to_save\": null,\n  \"peft_type\": \"LORA\",\n  \"r\": 4,\n"
                  "  \"target_modules\": [\n    \"q_proj\",\n    \"v_proj\"\n  ],\n  \"task_type\": \"CAUSAL_LM\",\n"
                  "  \"use_rslora\": false\n}"},
                 {{.model = llama, .vocab = 32, .tune = "lora:r=3,alpha=2.5,targets=o_proj+up_proj,layers=1"},
                  "{\n  \"base_model_name_or_path\": null,\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
                  "  \"inference_mode\": true,\n  \"layers_to_transform\": [\n    1\n  ],\n  \"lora_alpha\": 2.5,\n"
                  "  \"lora_dropout\": 0.0,\n  \"modules_to_save\": null,\n  \"peft_type\": \"LORA\",\n  \"r\": 3,\n"
                  "  \"target_modules\": [\n    \"o_proj\",\n    \"up_proj\"\n  ],\n  \"task_type\": \"CAUSAL_LM\",\n"
                  "  \"use_rslora\": false\n}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int spills = 0; spills < 2; spills++) {
            tuned *r = begin(&cases[i].c, spills);
            r->x.merge = 0;
            for (int64_t step = 0; step <= STEPS; step++) {
                r->x.at_step = step;
                r->x.replay = step == 1;
                r->x.dtype = step == 2 ? ZO2_BF16 : 0;
                MUST(zo2_pack_export(r->pack, r->out, &r->x));
                assert_adapters(r, (uint64_t)step, step == 2 ? ZO2_BF16 : ZO2_F32);
                assert_config(r, cases[i].config);
                assert_int_equal(hf_count_entries(r->out), 2);
            }
            zo2_export_opts b = {.struct_size = sizeof b, .bundle = r->bundle, .force = 1};
            MUST(zo2_pack_export(r->pack, r->out, &b));
            assert_adapters(r, STEPS, ZO2_F32);
            /* a model where adapters were, and the other way round */
            r->x.merge = 1;
            r->x.dtype = 0;
            MUST(zo2_pack_export(r->pack, r->out, &r->x));
            assert_model(r, STEPS, 0);
            end(r);
        }
}

/* Whatever a call writes, it can be stopped, and leaves nothing then; what it tells never goes beyond what there is. */
static int cancel_at(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    (void)what;
    assert_true(done <= total);
    return !(*left)--;
}

static void cancelled(void **state)
{
    (void)state;
    static const choice choices[] = {{.model = opt, .vocab = 120, .tune = "rows=3,7-40,119"},
                                     {.model = opt, .vocab = 120, .tune = "lora:r=2"}};
    for (size_t i = 0; i < 3; i++) {
        tuned *r = begin(&choices[i > 0], 0);
        uint64_t left, n = 0;
        r->x.merge = i < 2;
        r->x.dtype = ZO2_F16;
        r->x.progress = cancel_at;
        r->x.progress_ud = &left;
        zo2_status s;
        for (left = 0; (s = zo2_pack_export(r->pack, r->out, &r->x)) != ZO2_OK; left = ++n) {
            assert_int_equal(s, ZO2_ERR_CANCELLED);
            assert_int_not_equal(access(r->out, F_OK), 0);
        }
        assert_true(n > 10);
        end(r);
    }
}

/* ---- refusals ---- */

static void refusals(void **state)
{
    (void)state;
    static const choice more = {.model = opt, .vocab = 120, .tune = "lora:r=2+vectors"},
                        only = {.model = llama, .vocab = 32, .tune = "lora:r=2"};
    tuned *r = begin(&more, 0);
    r->x.merge = 0;
    assert_error(zo2_pack_export(r->pack, r->out, &r->x), ZO2_ERR_UNSUPPORTED,
                 "tunes more than adapters (model.decoder.layers.0.self_attn_layer_norm.weight, for one)");
    assert_non_null(strstr(zo2_last_error(), "(--merge)"));
    assert_int_not_equal(access(r->out, F_OK), 0);
    end(r);
    r = begin(&only, 0);
    r->x.merge = 0;
    r->x.form = ZO2_EXPORT_GGUF_BF16;
    assert_error(zo2_pack_export(r->pack, r->out, &r->x), ZO2_ERR_ARG, "merge them into it (--merge)");
    assert_int_not_equal(access(r->out, F_OK), 0);
    end(r);
}

/* A sum that the type doesn't hold is refused by name. */
static void a_sum_too_large(void **state)
{
    (void)state;
    const choice c = {.model = opt, .vocab = 120, .tune = "lora:r=1,alpha=1e6,targets=fc2,layers=1"};
    tuned *r = begin(&c, 0);
    r->x.dtype = ZO2_F16;
    assert_error(zo2_pack_export(r->pack, r->out, &r->x), ZO2_ERR_NONFINITE,
                 "of model.decoder.layers.1.fc2.weight with its adapters merged is ");
    assert_non_null(strstr(zo2_last_error(), "which fp16 can't hold; export as fp32"));
    end(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_for_peft),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_sum_too_large),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, exports_clean);
}
