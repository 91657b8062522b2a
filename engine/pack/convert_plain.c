/* convert_plain.c: files beside config.json that say that the weights are quantised (its own keys are refused where it is read, scales
 * beside the weights in convert_missing.c). */
#include "engine/pack/convert_job.h"
#include "storage/io/io.h"

#include <stdlib.h>
#include <unistd.h>

#define ADVICE                                                                                                              \
    "this version reads plain weights: get the model that they were made from, or have transformers dequantize() and save " \
    "them"

/* Files in which programs note how they quantised what is beside them. */
zo2_status zo2_convert_check_plain(const zo2_convert_job *j)
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
