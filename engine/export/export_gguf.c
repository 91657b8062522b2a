/* export_gguf.c: a model as the one file that llama.cpp loads. Where a row of ours lies there is asked of the function that says where
 * a stored row is in ours when such a file is read (the family's naming "gguf"): there is no second knowledge of it. */
#include "engine/export/export_gguf.h"
#include "engine/base/checked.h"
#include "engine/base/json.h"
#include "engine/export/export_model.h"
#include "engine/export/export_values.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "engine/model/place.h"
#include "engine/pack/pack_api.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/gguf_blocks.h"
#include "storage/checkpoint/gguf_names.h"
#include "storage/checkpoint/gguf_write.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PAIRS 4096u /* of a head's elements */

typedef struct job {
    zo2_export_values *v;
    zo2_export_model model;
    const zo2_arch *a; /* the model's */
    const char *out;
    zo2_place_fn place;
    zo2_gguf_keys keys;
    zo2_gguf_out *tensors; /* [n]: those of the model in canonical order, then perhaps a table of frequencies */
    uint64_t n;
    float table[MAX_PAIRS];
    zo2_gguf_writer *writer;
    unsigned char *codes; /* of a group */
    uint64_t codes_bytes;
    uint64_t done, total;
} job;

/* What a type of file is: of its matrices, and in general.file_type. Vectors are F32, as llama.cpp wants them. */
static const struct form {
    uint32_t data, file_type;
    zo2_dtype values; /* that it is made of */
} forms[] = {
    [ZO2_EXPORT_GGUF_F16] = {ZO2_GGUF_F16_DATA, 1, ZO2_F16},
    [ZO2_EXPORT_GGUF_BF16] = {ZO2_GGUF_BF16_DATA, 32, ZO2_BF16},
    [ZO2_EXPORT_GGUF_Q8_0] = {ZO2_GGUF_Q8_0_DATA, 7, ZO2_F32},
};

static zo2_status report(void *arg, uint64_t group_bytes)
{
    const job *j = arg;
    return zo2_export_progress(j->v, j->done + group_bytes, j->total);
}

/* ---- metadata --------------------------------------------------------------------------------------------------------- */

/* A carried JSON file; *out NULL: there is none. */
static zo2_status carried_json(const job *j, const char *name, json_t **out)
{
    const char *data;
    size_t bytes;
    json_error_t e;
    *out = NULL;
    zo2_status s = zo2_packfile_file(j->v->pack->file, name, &data, &bytes);
    if (s == ZO2_ERR_NOTFOUND)
        return ZO2_OK;
    if (!s && !(*out = zo2_json_parse(data, bytes, 0, &e)))
        s = zo2_error(ZO2_ERR_FORMAT, "%s carries a %s that isn't JSON: %s", j->v->pack_path, name, e.text);
    return s;
}

/* A template in a file of its own, malloc'ed; NULL. */
static char *carried_template(const job *j)
{
    const char *data;
    size_t bytes;
    return zo2_packfile_file(j->v->pack->file, "chat_template.jinja", &data, &bytes) == ZO2_OK ? strndup(data, bytes)
                                                                                               : NULL;
}

static void warn(const job *j, const char *why)
{
    char text[600];
    snprintf(text, sizeof text, "%.200s %s", j->v->pack_path, why);
    if (j->v->o->log)
        j->v->o->log(j->v->o->log_ud, ZO2_LOG_WARNING, text);
}

static void warn_otherwise(const job *j, unsigned otherwise)
{
    if (otherwise & ZO2_GGUF_NO_END)
        warn(j, "names no token that ends a text, as \"eos_token\" of tokenizer_config.json does: llama.cpp will take "
                "token 11 for it, if --override-kv tokenizer.ggml.eos_token_id=int:ID doesn't tell it another");
    if (otherwise & ZO2_GGUF_MORE_SPACES)
        warn(j,
             "has a tokenizer that puts a space in front of a text only, where llama.cpp puts one behind each special "
             "token, too: for conversations start it with --override-kv tokenizer.ggml.add_space_prefix=bool:false");
}

static zo2_status put_tokenizer(job *j)
{
    json_t *tokenizer, *config = NULL;
    unsigned otherwise = 0;
    zo2_status s = carried_json(j, "tokenizer.json", &tokenizer);
    if (!s)
        s = carried_json(j, "tokenizer_config.json", &config);
    if (!s && !tokenizer)
        warn(j, "carries no tokenizer.json: the file has no tokenizer, and llama.cpp takes ids only");
    char *chat = s ? NULL : carried_template(j);
    const zo2_gguf_texts texts = {
        .tokenizer = tokenizer, .config = config, .chat = chat, .n = j->a->vocab, .bos = j->a->bos, .eos = j->a->eos};
    if (!s)
        s = zo2_gguf_put_tokenizer(&j->keys, &texts, &otherwise, j->v->pack_path);
    if (!s)
        warn_otherwise(j, otherwise);
    free(chat);
    json_decref(tokenizer);
    json_decref(config);
    return s;
}

/* The name of the model is the file's, without what says its type. */
static void put_name(job *j)
{
    char name[256];
    snprintf(name, sizeof name, "%s", zo2_path_name(j->out));
    char *ending = strrchr(name, '.');
    if (ending && strcmp(ending, ".gguf") == 0)
        *ending = '\0';
    zo2_gguf_put_text(&j->keys, "general.name", name);
}

/* *table: j->table is to be written, too. */
static zo2_status put_metadata(job *j, int *table)
{
    json_error_t e;
    char *text = zo2_arch_config_json(j->a, ZO2_F32);
    json_t *config = text ? zo2_json_parse(text, strlen(text), 0, &e) : NULL;
    zo2_status s = config ? zo2_gguf_put_config(&j->keys, config, j->v->pack_path)
                          : zo2_error(ZO2_ERR_NOMEM, "out of memory for the configuration of %s", j->v->pack_path);
    const uint32_t pairs = j->a->head_dim / 2;
    *table = !s && pairs <= MAX_PAIRS && zo2_gguf_rope_table(config, j->table, pairs);
    free(text);
    json_decref(config);
    if (s)
        return s;
    put_name(j);
    zo2_gguf_put_u32(&j->keys, "general.file_type", forms[j->v->o->form].file_type);
    zo2_gguf_put_u32(&j->keys, "general.quantization_version", 2);
    return put_tokenizer(j);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------------- */

static zo2_place_fn find_places(const zo2_arch *a)
{
    for (const zo2_naming *n = a->family->namings; n && n->name; n++)
        if (strcmp(n->name, ZO2_NAMING_GGUF) == 0)
            return n->place;
    return NULL;
}

/* Rows that blocks don't divide stay F16, as llama.cpp's quantiser has it. */
static uint32_t type_of(const job *j, const zo2_tensor *t)
{
    const uint32_t type = forms[j->v->o->form].data;
    if (t->rank == 1)
        return ZO2_GGUF_F32_DATA;
    return t->cols % zo2_gguf_block_of(type)->elements == 0 ? type : ZO2_GGUF_F16_DATA;
}

static zo2_status list_tensors(job *j, int table)
{
    const zo2_arch *a = j->a;
    j->tensors = calloc((size_t)a->n_tensors + 1, sizeof *j->tensors);
    if (!j->tensors)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->v->pack_path);
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        zo2_gguf_out *out = &j->tensors[j->n++];
        *out = (zo2_gguf_out){
            .type = type_of(j, t), .rank = t->rank, .shape = {t->rank == 1 ? t->cols : t->rows, t->cols}};
        if (!zo2_gguf_from_huggingface(t->name, out->name, sizeof out->name))
            return zo2_error(ZO2_ERR_INTERNAL, "llama.cpp has no name for %s", t->name);
        j->total += zo2_gguf_out_bytes(out);
    }
    if (table) {
        zo2_gguf_out *out = &j->tensors[j->n++];
        *out = (zo2_gguf_out){
            .name = ZO2_GGUF_ROPE_FREQS, .type = ZO2_GGUF_F32_DATA, .rank = 1, .shape = {a->head_dim / 2}};
        j->total += zo2_gguf_out_bytes(out);
    }
    return ZO2_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* A group of rows of a tensor as they are to be written. */
typedef struct group {
    const zo2_tensor *t;
    uint64_t row, rows, element, blocks; /* bytes of a block, and its elements */
    const unsigned char *data;
} group;

static zo2_status write_part(job *j, const group *g, const zo2_place *at)
{
    const uint64_t step = at->from_step ? at->from_step : 1;
    const uint64_t begin = zo2_max_u64(g->row, at->row), end = zo2_min_u64(g->row + g->rows, at->row + at->rows);
    const int whole = step == 1 && at->cols == g->t->cols;
    const uint64_t line = at->cols / g->blocks * g->element, full = g->t->cols / g->blocks * g->element;
    const uint64_t together = whole ? end - begin : 1;
    zo2_status s = ZO2_OK;
    for (uint64_t row = begin; row < end && !s; row += together) {
        const uint64_t to = (at->from_row + (row - at->row) * step) * full + at->from_col / g->blocks * g->element;
        const unsigned char *from = g->data + (row - g->row) * full + at->col / g->blocks * g->element;
        s = zo2_gguf_writer_put(j->writer, g->t->id, to, from, together * line);
    }
    return s;
}

static zo2_status write_group(job *j, const group *g)
{
    zo2_place at;
    zo2_status s = ZO2_OK;
    const zo2_gguf_out *out = &j->tensors[g->t->id];
    const zo2_stored stored = {.name = out->name, .rank = out->rank, .shape = {out->shape[0], out->shape[1]}};
    for (uint32_t i = 0; !s && j->place(j->a, &stored, i, &at); i++)
        if (at.tensor == g->t->id && at.row < g->row + g->rows && g->row < at.row + at.rows)
            s = write_part(j, g, &at);
    return s;
}

static zo2_status quantise(job *j, const zo2_tensor *t, uint64_t row, uint64_t n, const void *values)
{
    const uint64_t bytes = n / ZO2_GGUF_BLOCK * zo2_gguf_block_of(ZO2_GGUF_Q8_0_DATA)->bytes;
    if (bytes > j->codes_bytes) {
        unsigned char *grown = realloc(j->codes, bytes);
        if (!grown)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory to quantise %s", t->name);
        j->codes = grown;
        j->codes_bytes = bytes;
    }
    const uint64_t bad = zo2_gguf_q8_0(values, n, j->codes);
    return bad == n ? ZO2_OK
                    : zo2_error(ZO2_ERR_NONFINITE, "%s has weights beyond what Q8_0 holds, from element %" PRIu64 " on",
                                t->name, row * t->cols + bad);
}

static zo2_status write_tensor(job *j, uint32_t id)
{
    const zo2_tensor *t = &j->a->tensors[id];
    const zo2_gguf_block *type = zo2_gguf_block_of(j->tensors[id].type);
    zo2_status s = zo2_export_model_begin(&j->model, id, type->dtype);
    for (uint64_t row = 0, rows; row < t->rows && !s; row += rows) {
        const void *bits;
        rows = zo2_export_model_rows(&j->model, row);
        s = zo2_export_model_group(&j->model, row, rows, &bits);
        if (!s && type->decode) {
            s = quantise(j, t, row, rows * t->cols, bits);
            bits = j->codes;
        }
        const group g = {t, row, rows, type->bytes, type->elements, bits};
        if (!s)
            s = write_group(j, &g);
        j->done += rows * t->cols / type->elements * type->bytes;
        if (!s)
            s = report(j, 0);
    }
    return s;
}

static zo2_status write_file(job *j, int table)
{
    const zo2_export_opts *o = j->v->o;
    zo2_status s;
    if ((s = zo2_require_replaceable(j->out)) || (s = zo2_require_absent(j->out, o->force)) ||
        (s = zo2_require_space(j->out, j->total + j->keys.n)) || (s = report(j, 0)) ||
        (s = zo2_gguf_writer_open(&j->writer, &zo2_io_posix, j->out, o->force, &j->keys, j->tensors, j->n)))
        return s;
    for (uint32_t i = 0; i < j->a->n_tensors && !s; i++)
        s = write_tensor(j, i);
    if (!s && table)
        s = zo2_gguf_writer_put(j->writer, j->n - 1, 0, j->table, j->tensors[j->n - 1].bytes);
    return s ? s : zo2_gguf_writer_commit(j->writer);
}

zo2_status zo2_export_gguf(zo2_export_values *v, const char *out)
{
    job *j = calloc(1, sizeof *j);
    int table = 0;
    if (!j)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", out);
    j->v = v;
    j->out = out;
    v->report = report;
    v->arg = j;
    zo2_status s = zo2_export_model_open(&j->model, v);
    j->a = j->model.arch;
    j->place = find_places(j->a);
    if (!s)
        s = put_metadata(j, &table);
    if (!s && !j->place)
        s = zo2_error(ZO2_ERR_INTERNAL, "no places of GGUF's tensors in %s models", j->a->name);
    if (!s)
        s = list_tensors(j, table);
    if (!s)
        s = write_file(j, table);
    zo2_gguf_writer_close(j->writer);
    zo2_gguf_keys_free(&j->keys);
    zo2_export_model_close(&j->model);
    free(j->tensors);
    free(j->codes);
    free(j);
    return s;
}
