/* convert_plain.c: signs of quantised weights outside of config.json (whose own are refused where it is read). Some
 * methods leave weights of a type and shape that fit, and the scales that make them the model's beside them: read alone
 * they would be another model's, without a word. */
#include "engine/pack/convert_job.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ADVICE                                                                                                              \
    "this version reads plain weights: get the model that they were made from, or have transformers dequantize() and save " \
    "them"

/* Files in which programs note how they quantised what is beside them. */
static zo2_status check_files(const zo2_convert_job *j)
{
    static const char *const names[] = {"quantize_config.json", "quant_config.json", "hf_quant_config.json",
                                        "quanto_qmap.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = zo2_path_join(j->dir, names[i]);
        if (!path)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", j->dir, names[i]);
        int there = access(path, F_OK) == 0;
        free(path);
        if (there)
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s/%s says that the weights are quantised, and " ADVICE
                             "; if these weights were dequantised already, remove the file",
                             j->dir, names[i]);
    }
    return ZO2_OK;
}

static int ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

/* A scale, a zero point or packed values of a weight. (k_scale and v_scale are not: they are a key-value cache's.) */
static int is_of_quantised(const char *name)
{
    // clang-format off
    static const char *const suffixes[] = {
        ".weight_scale", ".weight_scales", ".weight_scale_inv", ".weight_scale_2", ".weight_packed", /* fp8, EETQ, compressed-tensors */
        ".qweight", ".qzeros", ".scales",                                                            /* GPTQ, AWQ */
        ".weight.absmax", ".weight.quant_map", ".SCB", ".weight_format",                             /* bitsandbytes */
        ".weight._scale", ".weight._data", ".W_q",                                                   /* quanto, HQQ */
    };
    // clang-format on
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_in(name, suffixes[i]))
            return 1;
    return 0;
}

zo2_status zo2_convert_check_plain(const zo2_convert_job *j)
{
    zo2_status s = check_files(j);
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source) && !s; i++) {
        const zo2_stored t = zo2_checkpoint_tensor(j->source, i);
        if (is_of_quantised(t.name))
            s = zo2_error(ZO2_ERR_UNSUPPORTED, "%s in %s belongs to quantised weights, and " ADVICE, t.name, t.file);
    }
    return s;
}
