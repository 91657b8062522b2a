/* config_plain.c: does a config.json say that the weights are quantised? Programs that quantise models leave a key of their own
 * there; which method it is, and with which parameters, is inside. */
#include "engine/families/config_json.h"

#include <stdio.h>

/* One row a key. */
static const char *const keys[] = {
    "quantization_config", /* transformers: GPTQ, AWQ, bitsandbytes, fp8, compressed-tensors, quanto, ... */
    "compression_config",  /* compressed-tensors before that */
    "quantization",        /* MLX */
    "quip_params",         /* QuIP# */
};

/* "quant_method "gptq"", or what else tells one from another: bitsandbytes didn't always write its name. */
static const char *name_method(const json_t *v, char *buf, size_t n)
{
    static const char *const names[] = {"quant_method", "quant_algo", "format", "load_in_4bit", "load_in_8bit", "bits"};
    char text[48];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *is = json_object_get(v, names[i]);
        if (!is || json_is_null(is) || json_is_false(is))
            continue;
        snprintf(buf, n, "\"%s\" %s", names[i], zo2_config_describe(is, text, sizeof text));
        return buf;
    }
    return zo2_config_describe(v, buf, n);
}

zo2_status zo2_config_check_plain(const json_t *config, const char *path)
{
    char method[96];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = zo2_config_get(config, keys[i]);
        if (v && !json_is_false(v))
            return zo2_error(
                ZO2_ERR_UNSUPPORTED,
                "%s: \"%s\" says that the weights are quantised (%s), and this version reads plain ones: get "
                "the model that they were made from, or have transformers dequantize() and save them; if "
                "these weights were dequantised already, remove the key from config.json and convert them",
                path, keys[i], name_method(v, method, sizeof method));
    }
    return ZO2_OK;
}
