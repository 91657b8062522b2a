/* test_convert_quantised.c: folders whose weights are quantised are refused by what says so, before anything is
 * written; and token ids of config.json that no model can have are a warning at most. */
#include "tests/unit/engine/hf_dir.h"

/* A folder to be spoilt, beside it the place of its pack. */
typedef struct bench {
    char *dir, *out;
    hf_model *m;
} bench;

static bench begin(const char *from, const char *to)
{
    bench b = {hf_temp(), hf_temp(), hf_load(FIXTURES "prenorm-f16-headdim20")};
    hf_copy(FIXTURES "prenorm-f16-headdim20/config.json", hf_path(b.dir, "config.json"), from, to);
    return b;
}

static void end(bench *b)
{
    hf_free(b->m);
    hf_remove_tree(b->dir);
    hf_remove_tree(b->out);
}

static zo2_status convert(const bench *b, const zo2_convert_opts *o)
{
    hf_save(b->m, b->dir);
    zo2_status s = zo2_pack_convert(b->dir, hf_path(b->out, "out.zo2"), o);
    assert_int_equal(hf_count_entries(b->out), s == ZO2_OK);
    return s;
}

/* fp16 weights of the right shapes, and scales beside them: nothing else would keep this from being converted unscaled. */
static void a_key(void **state)
{
    (void)state;
    bench b = begin("\"model_type\": \"opt\"",
                    "\"model_type\": \"opt\", \"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4}");
    assert_error(convert(&b, NULL), ZO2_ERR_UNSUPPORTED, "config.json: \"quantization_config\" says");
    assert_non_null(strstr(zo2_last_error(), "\"quant_method\" \"awq\""));
    end(&b);
    b = begin("\"model_type\": \"opt\"", "\"model_type\": \"opt\", \"quantization_config\": null");
    assert_ok(convert(&b, NULL));
    end(&b);
}

static void a_file(void **state)
{
    static const char *const names[] = {"quantize_config.json", "quant_config.json", "hf_quant_config.json",
                                        "quanto_qmap.json"};
    (void)state;
    bench b = begin(NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        hf_write_text(hf_path(b.dir, names[i]), "{\"bits\": 4}");
        assert_error(convert(&b, NULL), ZO2_ERR_UNSUPPORTED, names[i]);
        assert_non_null(strstr(zo2_last_error(), "says that the weights are quantised"));
        assert_int_equal(unlink(hf_path(b.dir, names[i])), 0);
    }
    assert_ok(convert(&b, NULL));
    end(&b);
}

static void a_tensor(void **state)
{
    static const char *const suffixes[] = {"weight_scale",  "weight_scale_inv", "weight._scale", "weight.absmax",
                                           "weight_packed", "scales",           "qzeros",        "SCB"};
    (void)state;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[128];
        bench b = begin(NULL, NULL);
        snprintf(name, sizeof name, "decoder.layers.0.fc1.%s", suffixes[i]);
        hf_add(b.m, name, "F16", 1, 1, 4, 8, NULL);
        assert_error(convert(&b, NULL), ZO2_ERR_UNSUPPORTED, name);
        assert_non_null(strstr(zo2_last_error(),
                               "stands beside a weight that means nothing without it: these are quantised weights"));
        end(&b);
    }
    bench b = begin(NULL, NULL); /* of a key-value cache: the weights are plain */
    hf_add(b.m, "decoder.layers.0.self_attn.k_scale", "F32", 1, 1, 1, 4, NULL);
    assert_ok(convert(&b, NULL));
    end(&b);
}

static void on_log(void *ud, zo2_log_level level, const char *message)
{
    char *log = ud;
    assert_int_equal(level, ZO2_LOG_WARNING);
    strncat(log, message, 2047 - strlen(log));
}

static void ids_beyond_the_vocabulary(void **state)
{
    (void)state;
    char log[2048] = "";
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.log = on_log;
    o.log_ud = log;
    o.force = 1;
    bench b = begin("\"eos_token_id\": 2", "\"eos_token_id\": 50265");
    assert_ok(convert(&b, &o));
    assert_string_equal(log, ""); /* nothing here ever looks it up */
    end(&b);
    b = begin("\"bos_token_id\": 2", "\"bos_token_id\": 50265");
    assert_ok(convert(&b, &o));
    assert_non_null(strstr(log, "config.json: \"bos_token_id\" is beyond the vocabulary of "));
    assert_non_null(strstr(log, "texts get no such token in front"));
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_open(&p, hf_path(b.out, "out.zo2")));
    assert_ok(zo2_pack_get_info(p, &info));
    assert_int_equal(info.bos_token_id, -1);
    zo2_pack_close(p);
    end(&b);
    log[0] = '\0';
    b = begin("\"pad_token_id\": 1", "\"pad_token_id\": 50265");
    assert_ok(convert(&b, &o));
    assert_non_null(strstr(log, "\"pad_token_id\" is beyond the vocabulary of "));
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key),
        cmocka_unit_test(a_file),
        cmocka_unit_test(a_tensor),
        cmocka_unit_test(ids_beyond_the_vocabulary),
    };
    return cmocka_run_group_tests_name("convert_quantised", tests, NULL, NULL);
}
