/* pack_api.c: the public readers of packs, and the helpers of pack_api.h. */
#include "engine/pack/pack_api.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/opts.h"
#include "engine/base/parallel.h"
#include "engine/base/pool.h"
#include "engine/families/families.h"
#include "engine/pack/wire_chunk.h"

#include "codec/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const zo2_carried_files[] = {
    "config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    NULL,
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static const char *shape_text(char *buf, size_t n, uint32_t rank, uint64_t rows, uint64_t cols)
{
    const uint64_t shape[2] = {rows, cols};
    return zo2_shape_text(buf, n, rank, rank == 1 ? shape + 1 : shape);
}

static zo2_status check_tensor(const char *path, const zo2_packtensor *have, const zo2_tensor *want)
{
    char a[64], b[64];
    if (strcmp(have->name, want->name) != 0 || have->rank != want->rank || have->rows != want->rows ||
        have->cols != want->cols)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: tensor %" PRIu32
                         " is %s %s, but the config.json it carries asks for %s %s there; convert the model again",
                         path, want->id, have->name, shape_text(a, sizeof a, have->rank, have->rows, have->cols),
                         want->name, shape_text(b, sizeof b, want->rank, want->rows, want->cols));
    if (have->block != want->block || !have->decays != !want->decays)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: tensor %s is in block %" PRIu32 " %s weight decay, expected block %" PRIu32
                         " %s it; convert the model again",
                         path, have->name, have->block, have->decays ? "with" : "without", want->block,
                         want->decays ? "with" : "without");
    return ZO2_OK;
}

static zo2_status check_tensors(const zo2_packfile *file, const zo2_arch *arch)
{
    const zo2_packheader *h = zo2_packfile_header(file);
    const char *path = zo2_packfile_path(file);
    if (strcmp(h->arch, arch->name) != 0)
        return zo2_error(
            ZO2_ERR_FORMAT,
            "%s says it holds a model of architecture '%s', its config.json says '%s'; convert the model again", path,
            h->arch, arch->name);
    uint32_t n = h->tensors < arch->n_tensors ? h->tensors : arch->n_tensors;
    for (uint32_t i = 0; i < n; i++) {
        zo2_status s = check_tensor(path, zo2_packfile_tensor(file, i), &arch->tensors[i]);
        if (s)
            return s;
    }
    if (h->tensors != arch->n_tensors)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s has %" PRIu32 " tensors, the config.json it carries asks for %" PRIu32
                         "; convert the model again",
                         path, h->tensors, arch->n_tensors);
    return ZO2_OK;
}

/* A pack that isn't there under the name of an architecture. */
static zo2_status explain_name(zo2_status s, const char *path)
{
    zo2_arch a;
    char before[1024];
    snprintf(before, sizeof before, "%s", zo2_last_error());
    if (zo2_arch_from_name(&a, path) != ZO2_OK)
        return zo2_error(s, "%s", before);
    zo2_arch_free(&a);
    return zo2_error(
        s,
        "%s is the name of an architecture, which has no weights: give a pack, which zo2-pack convert makes of a model (and "
        "zo2-pack synth %s OUT.zo2 of random weights)",
        path, path);
}

zo2_status zo2_pack_open(zo2_pack **out, const char *path)
{
    const char *config;
    size_t bytes;
    zo2_status s;
    if (!out || !path)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_open: out and path are needed");
    *out = NULL;
    zo2_pack *p = calloc(1, sizeof *p);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    if (!(s = zo2_packfile_open(&p->file, path)) && !(s = zo2_packfile_file(p->file, "config.json", &config, &bytes)) &&
        !(s = zo2_arch_from_config(&p->arch, config, bytes, path)))
        s = check_tensors(p->file, &p->arch);
    if (!s)
        zo2_arch_find_wires(&p->arch, p->file);
    if (s)
        zo2_pack_close(p);
    else
        *out = p;
    return zo2_finish(s == ZO2_ERR_NOTFOUND ? explain_name(s, path) : s);
}

zo2_status zo2_pack_open_arch(zo2_pack **out, const char *arch)
{
    if (!out || !arch)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_open_arch: out and arch are needed");
    *out = NULL;
    zo2_pack *p = calloc(1, sizeof *p);
    if (!p)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", arch);
    zo2_status s = zo2_arch_load(&p->arch, arch, NULL);
    if (s)
        zo2_pack_close(p);
    else
        *out = p;
    return zo2_finish(s);
}

void zo2_pack_close(zo2_pack *p)
{
    if (!p)
        return;
    zo2_arch_free(&p->arch);
    zo2_packfile_close(p->file);
    free(p);
}

/* ---- what is in it ----------------------------------------------------------------------------------------------- */

static void file_info(const zo2_packfile *file, zo2_pack_info *out)
{
    const zo2_packheader *h = zo2_packfile_header(file);
    const zo2_packtensor *largest = zo2_packfile_tensor(file, 0);
    for (uint32_t i = 1; i < h->tensors; i++) {
        const zo2_packtensor *t = zo2_packfile_tensor(file, i);
        if (t->rows * t->cols > largest->rows * largest->cols)
            largest = t;
    }
    out->version = h->version;
    out->file_bytes = h->file_bytes;
    out->model_hash = h->model_hash;
    out->dtype = largest->dtype;
    out->aliased = h->aliased;
    out->source_bytes = h->source_bytes;
    out->stored_bytes = h->stored_bytes;
    out->compressed = h->compressed;
}

zo2_status zo2_pack_get_info(const zo2_pack *p, zo2_pack_info *out)
{
    if (!p || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_get_info: pack and out are needed");
    const zo2_arch *a = &p->arch;
    *out = (zo2_pack_info){
        .dtype = a->dtype,
        .parameters = a->parameters,
        .tensors = a->n_tensors,
        .layers = a->layers,
        .hidden = a->hidden,
        .heads = a->heads,
        .kv_heads = a->kv_heads,
        .head_dim = a->head_dim,
        .ffn = a->ffn,
        .vocab = a->vocab,
        .context = a->context,
        .bos_token_id = a->bos,
        .pad_token_id = a->pad,
    };
    snprintf(out->arch, sizeof out->arch, "%s", a->name);
    if (p->file)
        file_info(p->file, out);
    return zo2_finish(ZO2_OK);
}

zo2_status zo2_pack_tensor(const zo2_pack *p, uint64_t i, zo2_tensor_info *out)
{
    if (!p || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_tensor: pack and out are needed");
    if (i >= p->arch.n_tensors)
        return zo2_error(ZO2_ERR_NOTFOUND, "%s has %" PRIu32 " tensors, there is no number %" PRIu64,
                         p->file ? zo2_packfile_path(p->file) : p->arch.name, p->arch.n_tensors, i);
    const zo2_tensor *t = &p->arch.tensors[i];
    *out = (zo2_tensor_info){
        .name = t->name,
        .id = t->id,
        .block = t->block,
        .dtype = p->file ? zo2_packfile_tensor(p->file, (uint32_t)i)->dtype : p->arch.dtype,
        .rank = t->rank,
        .rows = t->rows,
        .cols = t->cols,
        .decays = t->decays,
    };
    return zo2_finish(ZO2_OK);
}

zo2_status zo2_pack_frozen_wire_sized(const zo2_pack *p, size_t i, zo2_frozen_wire_info *out, size_t size)
{
    zo2_frozen_wire_info own = {.struct_size = sizeof own};
    if (!p || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_frozen_wire: pack and out are needed");
    const uint32_t n = p->file ? zo2_packfile_header(p->file)->wires : 0;
    size_t kinds = 0; /* those of one wire follow each other */
    for (uint32_t k = 0; k < n && kinds <= i + 1; k++) {
        const zo2_packwire w = zo2_packfile_wire(p->file, k);
        const zo2_packtensor *t = zo2_packfile_tensor(p->file, w.tensor);
        kinds += !kinds || w.wire != own.wire;
        if (kinds > i + 1)
            break;
        if (w.wire != own.wire)
            own = (zo2_frozen_wire_info){.struct_size = sizeof own, .wire = w.wire};
        own.matrices++;
        own.parameters += t->rows * t->cols;
        own.bytes += w.bytes;
        own.dropped += t->dropped_to != 0;
    }
    if (kinds <= i)
        return zo2_error(ZO2_ERR_NOTFOUND, "the pack has %zu stored wires, there is no number %zu", kinds, i);
    zo2_opts_give(out, size, &own, sizeof own);
    return zo2_finish(ZO2_OK);
}

int zo2_pack_has_source(const zo2_pack *p, uint64_t i)
{
    const zo2_packtensor *t = p && p->file && i < UINT32_MAX ? zo2_packfile_tensor(p->file, (uint32_t)i) : NULL;
    return t && !t->dropped_to;
}

zo2_status zo2_pack_file(const zo2_pack *p, const char *name, const char **data, size_t *bytes)
{
    if (!p || !name || !data || !bytes)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_file: pack, name, data and bytes are needed");
    if (!p->file)
        return zo2_error(ZO2_ERR_NOTFOUND, "an architecture without a pack carries no file '%s'", name);
    return zo2_finish(zo2_packfile_file(p->file, name, data, bytes));
}

const char *zo2_pack_file_name(const zo2_pack *p, size_t i)
{
    return p && p->file ? zo2_packfile_file_name(p->file, i) : NULL;
}

zo2_status zo2_pack_verify(const zo2_pack *p, zo2_progress_fn progress, void *ud)
{
    if (!p)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_verify: a pack is needed");
    if (!p->file)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "an architecture without a pack has nothing to verify");
    zo2_pool *pool;
    fenv_t fenv;
    zo2_fpenv_pin(&fenv); /* wires are encoded again */
    zo2_status s = zo2_pool_create(&pool, 0);
    if (!s) {
        zo2_parallel workers = zo2_pool_parallel(pool);
        s = zo2_packfile_verify(p->file, &workers, progress, ud);
        if (!s)
            s = zo2_wire_chunks_verify(p, &workers, progress, ud);
        zo2_pool_destroy(pool);
    }
    zo2_fpenv_restore(&fenv);
    return zo2_finish(s);
}

/* ---- shared helpers ---------------------------------------------------------------------------------------------- */

const char *zo2_shape_text(char *buf, size_t n, uint32_t rank, const uint64_t *shape)
{
    size_t at = (size_t)snprintf(buf, n, "[");
    for (uint32_t i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
    return buf;
}

uint64_t zo2_pack_tensor_bytes(const zo2_packtensor *t)
{
    return t->rows * t->cols * zo2_dtype_bytes(t->dtype);
}

zo2_packtensor zo2_pack_record(const zo2_tensor *t, zo2_dtype dtype)
{
    return (zo2_packtensor){
        .name = t->name,
        .dtype = dtype,
        .rank = t->rank,
        .rows = t->rows,
        .cols = t->cols,
        .block = t->block,
        .decays = t->decays,
    };
}
