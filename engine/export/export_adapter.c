/* export_adapter.c: see export_adapter.h. Two files: what PEFT calls the configuration, and the tensors of the run's own. Names of
 * tensors are PEFT's already, but for a prefix; layouts are the same: A [rank][inputs], B [outputs][rank]. */
#include "engine/export/export_adapter.h"
#include "codec/codec.h"
#include "engine/base/json.h"
#include "engine/export/export_dir.h"
#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX   "base_model.model."
#define OVERHEAD ((uint64_t)1 << 20) /* headers and configuration, for the disk check */

typedef struct job {
    zo2_export_values *v;
    const zo2_arch *a;
    zo2_export_dir dir;
    zo2_dtype dtype;
    zo2_st_tensor *tensors;   /* [n] */
    const zo2_tensor **which; /* [n] */
    char (*names)[sizeof PREFIX + sizeof((zo2_tensor *)NULL)->name];
    uint32_t n;
    uint64_t done, total;
} job;

static zo2_status report(void *arg, uint64_t group_bytes)
{
    const job *j = arg;
    return zo2_export_progress(j->v, j->done + group_bytes, j->total);
}

/* ---- what can be written ----------------------------------------------------------------------------------------- */

zo2_status zo2_export_adapter_check(const zo2_export_values *v)
{
    const char *what = v->o->bundle ? "the bundle" : "the run in", *name = v->o->bundle ? v->o->bundle : v->o->run_dir;
    if (v->o->form != ZO2_EXPORT_FOLDER)
        return zo2_error(ZO2_ERR_ARG,
                         "%s %s has adapters, and a GGUF file is a whole model: merge them into it (--merge)", what,
                         name);
    for (uint32_t i = 0; i < v->arch.n_tensors; i++) {
        const zo2_tensor *t = &v->arch.tensors[i];
        if (!t->frozen && !zo2_is_lora(t))
            return zo2_error(ZO2_ERR_UNSUPPORTED,
                             "%s %s tunes more than adapters (%s, for one), which a directory of adapters has no place "
                             "for: export the whole model, with the adapters merged into it (--merge)",
                             what, name, t->name);
    }
    return ZO2_OK;
}

static zo2_status list_tensors(job *j)
{
    const uint32_t most = j->a->n_tensors;
    j->tensors = calloc(most, sizeof *j->tensors);
    j->which = calloc(most, sizeof *j->which);
    j->names = calloc(most, sizeof *j->names);
    if (!j->tensors || !j->which || !j->names)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the adapters of %s", j->v->pack_path);
    for (uint32_t i = 0; i < most; i++) {
        const zo2_tensor *t = &j->a->tensors[i];
        if (!zo2_is_lora(t))
            continue;
        snprintf(j->names[j->n], sizeof *j->names, PREFIX "%s", t->name);
        j->which[j->n] = t;
        j->tensors[j->n] =
            (zo2_st_tensor){.name = j->names[j->n], .dtype = j->dtype, .rank = 2, .shape = {t->rows, t->cols}};
        j->total += t->rows * t->cols * zo2_dtype_bytes(j->dtype);
        j->n++;
    }
    return ZO2_OK;
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

/* The last part of the name of an adapter's matrix: "q_proj". */
static json_t *module_name(const zo2_tensor *t)
{
    const char *end = strstr(t->name, ".lora_"), *begin = end;
    while (begin > t->name && begin[-1] != '.')
        begin--;
    return json_stringn(begin, (size_t)(end - begin));
}

static int lists(const json_t *array, const json_t *value)
{
    size_t i;
    const json_t *v;
    json_array_foreach(array, i, v) if (json_equal(v, value)) return 1;
    return 0;
}

static int add_once(json_t *array, json_t *value)
{
    if (!value || !lists(array, value))
        return json_array_append_new(array, value);
    json_decref(value);
    return 0;
}

/* *layers: those that have adapters, where not all do; else null. */
static int list_modules(const job *j, json_t *modules, json_t **layers)
{
    int bad = 0;
    *layers = json_array();
    for (uint32_t i = 0; i < j->n; i++) {
        bad |= add_once(modules, module_name(j->which[i]));
        bad |= add_once(*layers, json_integer(j->which[i]->layer));
    }
    if (json_array_size(*layers) == j->a->layers) {
        json_decref(*layers);
        *layers = json_null();
    }
    return bad;
}

/* Whole where it can be: PEFT's own configurations have an integer. */
static json_t *alpha_of(const zo2_arch *a)
{
    const int whole = a->lora_alpha == floor(a->lora_alpha) && a->lora_alpha < 1e15;
    return whole ? json_integer((json_int_t)a->lora_alpha) : json_real(a->lora_alpha);
}

/* What the model is called, if its configuration says so; null: whoever loads the adapters knows. */
static json_t *base_name(const job *j)
{
    const char *data;
    size_t bytes;
    json_error_t e;
    if (zo2_packfile_file(j->v->pack->file, "config.json", &data, &bytes) != ZO2_OK)
        return json_null();
    json_t *config = zo2_json_parse(data, bytes, 0, &e);
    const char *name = json_string_value(json_object_get(config, "_name_or_path"));
    json_t *out = name && *name ? json_string(name) : json_null();
    json_decref(config);
    return out;
}

static zo2_status write_config(const job *j)
{
    json_t *c = json_object(), *modules = json_array(), *layers = NULL;
    int bad = list_modules(j, modules, &layers);
    bad |= json_object_set_new(c, "base_model_name_or_path", base_name(j));
    bad |= json_object_set_new(c, "bias", json_string("none"));
    bad |= json_object_set_new(c, "fan_in_fan_out", json_false());
    bad |= json_object_set_new(c, "inference_mode", json_true());
    bad |= json_object_set_new(c, "layers_to_transform", layers);
    bad |= json_object_set_new(c, "lora_alpha", alpha_of(j->a));
    bad |= json_object_set_new(c, "lora_dropout", json_real(0));
    bad |= json_object_set_new(c, "modules_to_save", json_null());
    bad |= json_object_set_new(c, "peft_type", json_string("LORA"));
    bad |= json_object_set_new(c, "r", json_integer(j->a->lora_rank));
    bad |= json_object_set_new(c, "target_modules", modules);
    bad |= json_object_set_new(c, "task_type", json_string("CAUSAL_LM"));
    bad |= json_object_set_new(c, "use_rslora", json_false());
    char *text = bad ? NULL : json_dumps(c, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(c);
    zo2_status s =
        text ? zo2_export_dir_file(&j->dir, ZO2_ADAPTER_CONFIG, text, strlen(text))
             : zo2_error(ZO2_ERR_NOMEM, "out of memory for the configuration of the adapters of %s", j->v->pack_path);
    free(text);
    return s;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static zo2_status write_weights(job *j)
{
    zo2_st_writer *w = NULL;
    zo2_status s = report(j, 0);
    if (!s)
        s = zo2_st_writer_open_file(&w, &zo2_io_posix, j->dir.tmp, ZO2_ADAPTER_WEIGHTS, j->tensors, j->n);
    for (uint32_t i = 0; i < j->n && !s; i++) {
        const zo2_tensor *t = j->which[i];
        const uint64_t bytes = t->rows * t->cols * zo2_dtype_bytes(j->dtype);
        const void *bits;
        s = zo2_export_values_group(j->v, t, j->dtype, 0, t->rows, &bits);
        if (!s)
            s = zo2_st_writer_append(w, bits, bytes);
        j->done += bytes;
        if (!s)
            s = report(j, 0);
    }
    if (!s)
        s = zo2_st_writer_commit(w);
    zo2_st_writer_close(w);
    return s;
}

static zo2_status write_dir(job *j, const char *out_dir)
{
    zo2_status s;
    if ((s = list_tensors(j)) || (s = zo2_export_dir_begin(&j->dir, out_dir, j->v->o->force)) ||
        (s = zo2_require_space(j->dir.path, j->total + OVERHEAD)) || (s = write_weights(j)) || (s = write_config(j)))
        return s;
    return zo2_export_dir_commit(&j->dir);
}

zo2_status zo2_export_adapter(zo2_export_values *v, const char *out_dir)
{
    job j = {.v = v, .a = &v->arch, .dtype = v->o->dtype ? v->o->dtype : ZO2_F32};
    v->report = report;
    v->arg = &j;
    if (v->o->log)
        v->o->log(v->o->log_ud, ZO2_LOG_INFO,
                  "the adapters alone, for PEFT to load over the model; --merge writes the whole model");
    zo2_status s = write_dir(&j, out_dir);
    zo2_export_dir_end(&j.dir);
    free(j.tensors);
    free(j.which);
    free(j.names);
    return s;
}
