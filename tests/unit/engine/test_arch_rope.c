/* test_arch_rope.c: the ways in which configurations write rotary positions and windows of attention. What comes of them:
 * test_engine_reference.c. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/rope.h"
#include "tests/unit/engine/config_testing.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

static zo2_rope rope_of(const char *fields)
{
    zo2_arch a;
    assert_ok(parse_with(&a, "llama", fields));
    zo2_rope r = a.rope;
    zo2_arch_free(&a);
    return r;
}

static void rope_keys(void **state)
{
    (void)state;
    zo2_rope r = rope_of("\"rope_theta\": 500000");
    assert_true(r.kind == ZO2_ROPE_DEFAULT && r.theta == 500000);
    r = rope_of(
        "\"rope_theta\": 5, \"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"default\"}");
    assert_true(r.kind == ZO2_ROPE_DEFAULT && r.theta == 7);
    r = rope_of("\"rope_theta\": 5, \"rope_scaling\": {}, \"rope_parameters\": {\"type\": \"linear\", \"factor\": 2}");
    assert_true(r.kind == ZO2_ROPE_LINEAR && r.theta == 5 && r.factor == 2);
    /* the older object wins where both are there */
    r = rope_of(
        "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}, \"rope_parameters\": {\"rope_type\": \"default\"}");
    assert_true(r.kind == ZO2_ROPE_LINEAR && r.factor == 3);
    r = rope_of(
        "\"rope_scaling\": {\"rope_type\": \"llama3\", \"type\": \"linear\", \"factor\": 8, \"low_freq_factor\": 1,"
        "\"high_freq_factor\": 4}");
    assert_true(r.kind == ZO2_ROPE_LLAMA3 && r.original == 2048);
    r = rope_of("\"original_max_position_embeddings\": 512, \"rope_scaling\": {\"type\": \"yarn\","
                "\"original_max_position_embeddings\": 256, \"factor\": null}");
    assert_true(r.kind == ZO2_ROPE_YARN && r.original == 512 && r.factor == 4 && r.truncate);
    assert_true(fabs(r.attention - (0.1 * log(4) + 1)) < 1e-15 && r.beta_fast == 32 && r.beta_slow == 1);
    r = rope_of("\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40, \"mscale\": 1, \"mscale_all_dim\": 0.5}");
    assert_true(fabs(r.attention - (0.1 * log(40) + 1) / (0.05 * log(40) + 1)) < 1e-15);
}

static void rope_refusals(void **state)
{
    (void)state;
    assert_refused("llama", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}", ZO2_ERR_UNSUPPORTED,
                   "\"dynamic\"");
    assert_refused("llama", "\"rope_scaling\": {\"rope_type\": \"longrope\"}", ZO2_ERR_UNSUPPORTED, "\"longrope\"");
    assert_refused("llama", "\"rope_scaling\": {\"rope_type\": 3}", ZO2_ERR_UNSUPPORTED, "positions 3");
    assert_refused("llama", "\"rope_scaling\": [1]", ZO2_ERR_FORMAT, "\"rope_scaling\" is [1]");
    assert_refused("llama", "\"rope_scaling\": {\"type\": \"linear\"}", ZO2_ERR_FORMAT, "needs \"factor\"");
    assert_refused("llama", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": \"2\"}", ZO2_ERR_FORMAT,
                   "\"factor\" is \"2\"");
    assert_refused("llama", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": -2}", ZO2_ERR_FORMAT,
                   "\"factor\" is -2");
    assert_refused("llama", "\"rope_theta\": 0", ZO2_ERR_FORMAT, "\"rope_theta\" is 0");
    assert_refused("llama", "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}", ZO2_ERR_FORMAT,
                   "low_freq_factor");
    assert_refused(
        "llama",
        "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
        ZO2_ERR_FORMAT, "\"high_freq_factor\" is 4; more than");
    assert_refused("llama", "\"rope_theta\": 1, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 8}", ZO2_ERR_FORMAT,
                   "\"rope_theta\" is 1");
    assert_refused("qwen3", "\"partial_rotary_factor\": 0.5", ZO2_ERR_UNSUPPORTED, "\"partial_rotary_factor\" is 0.5");
    assert_refused("qwen3", "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}",
                   ZO2_ERR_UNSUPPORTED, "\"full_attention\"");
}

static void assert_window(const char *family, const char *fields, uint32_t context, uint32_t window)
{
    zo2_arch a;
    assert_ok(parse_with(&a, family, fields));
    assert_int_equal(a.context, context);
    assert_int_equal(a.window, window);
    zo2_arch_free(&a);
}

/* A window is in force in sequences that are longer than it, so the context ends there. */
static void windows(void **state)
{
    (void)state;
    assert_window("mistral", "\"sliding_window\": null", 131072, 0);
    assert_window("mistral", "\"sliding_window\": 5, \"layer_types\": [\"full_attention\"]", 5, 5); /* not its key */
    assert_window("mistral", "\"sliding_window\": 200000", 131072, 200000);
    assert_window("llama", "\"sliding_window\": 5, \"use_sliding_window\": true", 2048, 0); /* not its keys */
    assert_window("qwen2", "\"sliding_window\": 5", 32768, 0);
    assert_window("qwen2", "\"use_sliding_window\": true", 4096, 4096); /* layers 28 ... 31 */
    assert_window("qwen3", "\"use_sliding_window\": true, \"sliding_window\": null", 32768, 0);
    assert_window("qwen3", "\"use_sliding_window\": true, \"max_window_layers\": 32", 32768, 0);
    assert_window("qwen3", "\"use_sliding_window\": true, \"max_window_layers\": 0, \"sliding_window\": 7", 7, 7);
    static const char two[] = "\"num_hidden_layers\": 2, \"use_sliding_window\": true, \"sliding_window\": 7, "
                              "\"layer_types\": [\"full_attention\", \"%s\"]";
    char fields[300];
    snprintf(fields, sizeof fields, two, "full_attention");
    assert_window("qwen3", fields, 32768, 0);
    snprintf(fields, sizeof fields, two, "sliding_attention");
    assert_window("qwen3", fields, 7, 7);
    snprintf(fields, sizeof fields, two, "chunked_attention");
    assert_refused("qwen3", fields, ZO2_ERR_UNSUPPORTED, "\"layer_types\" has \"chunked_attention\"");
    assert_refused("qwen3", "\"layer_types\": [\"full_attention\"]", ZO2_ERR_FORMAT, "a string for each layer");
    assert_refused("qwen3", "\"num_hidden_layers\": 1, \"layer_types\": [\"sliding_attention\"]", ZO2_ERR_FORMAT,
                   "\"sliding_window\" is not in use");
    assert_refused("qwen3", "\"use_sliding_window\": true, \"sliding_window\": 0", ZO2_ERR_FORMAT, "sliding_window");
    zo2_engine_opts o;
    zo2_plan plan;
    zo2_engine_opts_init(&o);
    o.max_seq = 11;
    assert_error(zo2_plan_estimate(ZO2_TEST_DATA "/decoder-fixtures/mistral-window", &o, &plan), ZO2_ERR_ARG,
                 "sequences of 11 tokens are longer than the model's context of 10, which is the window");
}

/* Frequencies by arithmetic in double: a stretched one is where its kind says. */
static void frequencies(void **state)
{
    enum { DIM = 64 };
    float f[DIM / 2], g[DIM / 2];
    (void)state;
    zo2_rope plain = {.kind = ZO2_ROPE_DEFAULT, .theta = 500000}, llama3 = plain, yarn = plain;
    zo2_rope_frequencies(&plain, DIM, f);
    for (int j = 0; j < DIM / 2; j++)
        assert_true(fabs(f[j] * pow(500000, 2.0 * j / DIM) - 1) < 1e-6);
    llama3.kind = ZO2_ROPE_LLAMA3, llama3.factor = 32, llama3.original = 8192, llama3.low = 1, llama3.high = 4;
    yarn.kind = ZO2_ROPE_YARN, yarn.factor = 4, yarn.original = 4096, yarn.beta_fast = 32, yarn.beta_slow = 1;
    yarn.attention = 1.25;
    int kept = 0, stretched = 0;
    zo2_rope_frequencies(&llama3, DIM, g);
    for (int j = 0; j < DIM / 2; j++) {
        const double wave = 6.283185307179586 / f[j];
        kept += wave < 8192 / 4.0 && g[j] == f[j];
        stretched += wave > 8192 && fabs(g[j] * 32.0 / f[j] - 1) < 1e-6;
        if (wave >= 8192 / 4.0 && wave <= 8192)
            assert_true(g[j] <= f[j] && g[j] >= f[j] / 33);
    }
    assert_true(kept > 10 && stretched > 5 && kept + stretched >= DIM / 2 - 5);
    zo2_rope_frequencies(&yarn, DIM, g);
    assert_true(g[0] == f[0] && fabs(g[DIM / 2 - 1] * 4.0 / f[DIM / 2 - 1] - 1) < 1e-6);
    float row[DIM];
    zo2_rope_row(&yarn, DIM, g, 0, row);
    for (int j = 0; j < DIM / 2; j++)
        assert_true(row[j] == 1.25f && row[DIM / 2 + j] == 0);
    zo2_rope_row(&plain, DIM, f, 3, row);
    assert_true(fabs(row[0] - cos(3)) < 1e-7 && fabs(row[DIM / 2] - sin(3)) < 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_keys),
        cmocka_unit_test(rope_refusals),
        cmocka_unit_test(windows),
        cmocka_unit_test(frequencies),
    };
    return cmocka_run_group_tests_name("arch_rope", tests, NULL, NULL);
}
