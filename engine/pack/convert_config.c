/* convert_config.c: what model a folder holds: what its config.json says or, where checkpoints come without one, what the format
 * itself does, or else the published model whose tensors it has. */
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/pack/convert_job.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the format itself says --------------------------------------------------------------------------------------- */

/* *there: the checkpoint has a configuration within itself, which is taken. */
static zo2_status take_own(zo2_convert_job *j, int *there)
{
    char why[400];
    zo2_status s = zo2_checkpoint_open(&j->source, j->reader, j->dir);
    if (!s)
        s = zo2_checkpoint_file(j->source, "config.json", &j->config, &j->config_bytes, why, sizeof why);
    *there = !s && j->config;
    return *there ? zo2_arch_from_config(&j->arch, j->config, j->config_bytes, j->dir) : s;
}

/* ---- a published model, by its tensors ------------------------------------------------------------------------------- */

/* The type of most of the weights: norms may have another. */
static zo2_dtype main_dtype(const zo2_checkpoint *c)
{
    uint64_t bytes = 0;
    zo2_dtype dtype = ZO2_F16;
    for (uint64_t i = 0; i < zo2_checkpoint_count(c); i++) {
        const zo2_stored t = zo2_checkpoint_tensor(c, i);
        dtype = t.dtype && t.bytes > bytes ? t.dtype : dtype;
        bytes = t.dtype && t.bytes > bytes ? t.bytes : bytes;
    }
    return dtype;
}

/* The configuration is written as the pack will carry it, and read as if it had been there. */
static zo2_status take_published(zo2_convert_job *j, const char *name)
{
    char text[512];
    j->config = zo2_arch_config_json(&j->arch, main_dtype(j->source));
    if (!j->config)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for a config.json of %s", name);
    zo2_arch_free(&j->arch);
    j->config_bytes = strlen(j->config);
    zo2_status s = zo2_arch_from_config(&j->arch, j->config, j->config_bytes, name);
    if (s || !j->o.log)
        return s;
    snprintf(text, sizeof text,
             "%.300s has no config.json, but exactly the tensors of %s: the pack says that it is that model", j->dir,
             name);
    j->o.log(j->o.log_ud, ZO2_LOG_INFO, text);
    return ZO2_OK;
}

static zo2_status derive(zo2_convert_job *j)
{
    const char *name;
    int there;
    zo2_status s = take_own(j, &there);
    if (s || there)
        return s;
    for (uint32_t i = 0; !s && (name = zo2_arch_published(i)); i++) {
        if ((s = zo2_arch_from_name(&j->arch, name)))
            break;
        if (zo2_convert_fits(j))
            return take_published(j, name);
        zo2_arch_free(&j->arch);
    }
    return s ? s
             : zo2_error(
                   ZO2_ERR_NOTFOUND,
                   "%s has no config.json, and its tensors aren't those of a published model: put a config.json "
                   "as Hugging Face has it there (\"model_type\", \"hidden_size\", \"num_hidden_layers\", "
                   "\"num_attention_heads\", \"ffn_dim\", \"vocab_size\", \"max_position_embeddings\" and the like)",
                   j->dir);
}

/* ---- config.json ------------------------------------------------------------------------------------------------------- */

static zo2_status none(zo2_convert_job *j, const char *path)
{
    if (strcmp(zo2_checkpoint_naming(j->reader), ZO2_NAMING_HUGGINGFACE) != 0)
        return derive(j);
    zo2_status s =
        zo2_error(ZO2_ERR_NOTFOUND, "%s has no config.json: it isn't a Hugging Face model directory", j->dir);
    return zo2_explain_file(zo2_explain_folder(s, j->dir, ZO2_WANT_MODEL_FOLDER), path, ZO2_WANT_JSON);
}

zo2_status zo2_convert_config(zo2_convert_job *j)
{
    char *path = zo2_path_join(j->dir, "config.json");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/config.json", j->dir);
    zo2_status s = zo2_io_slurp(path, ZO2_MAX_CONFIG_BYTES, &j->config, &j->config_bytes);
    if (s == ZO2_ERR_NOTFOUND)
        s = none(j, path);
    else if (!s && (s = zo2_arch_from_config(&j->arch, j->config, j->config_bytes, path)) == ZO2_ERR_FORMAT)
        s = zo2_explain_file(s, path, ZO2_WANT_JSON);
    free(path);
    return s;
}
