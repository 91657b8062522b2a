/* families.c: architectures by name or from a file. */
#include "engine/families/opt/opt.h"
#include "engine/model/arch.h"
#include "kernels/backend.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20)

/* The published models: ffn 4 x hidden, vocabulary 50,272, context 2,048, relu, tied, fp16. */
static const struct published {
    const char *name;
    uint32_t layers, hidden, heads, embed_dim;
    int pre_norm;
} published[] = {
    {"opt-125m", 12, 768, 12, 768, 1},   {"opt-350m", 24, 1024, 16, 512, 0},  {"opt-1.3b", 24, 2048, 32, 2048, 1},
    {"opt-2.7b", 32, 2560, 32, 2560, 1}, {"opt-6.7b", 32, 4096, 32, 4096, 1}, {"opt-13b", 40, 5120, 40, 5120, 1},
    {"opt-30b", 48, 7168, 56, 7168, 1},  {"opt-66b", 64, 9216, 72, 9216, 1},  {"opt-175b", 96, 12288, 96, 12288, 1},
};

#define PUBLISHED (sizeof published / sizeof *published)

/* "opt-125m, opt-350m, ..." */
static const char *list_names(char *buf, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < PUBLISHED && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%s", i ? ", " : "", published[i].name);
    return buf;
}

static const struct published *find_published(const char *name)
{
    for (size_t i = 0; i < PUBLISHED; i++)
        if (strcmp(published[i].name, name) == 0)
            return &published[i];
    return NULL;
}

zo2_status zo2_arch_from_name(zo2_arch *out, const char *name)
{
    char names[256];
    const struct published *p = find_published(name);
    memset(out, 0, sizeof *out);
    if (!p)
        return zo2_error(ZO2_ERR_NOTFOUND, "unknown architecture '%s': the names are %s", name,
                         list_names(names, sizeof names));
    *out = (zo2_arch){
        .name = "opt",
        .layers = p->layers,
        .hidden = p->hidden,
        .heads = p->heads,
        .head_dim = p->hidden / p->heads,
        .ffn = 4 * p->hidden,
        .vocab = 50272,
        .embed_dim = p->embed_dim,
        .context = 2048,
        .pre_norm = p->pre_norm,
        .final_norm = p->pre_norm,
        .bias = 1,
        .affine = 1,
        .tied = 1,
        .act = ZO2_ACT_RELU,
        .norm_eps = 1e-5f,
        .bos = 2,
        .eos = 2,
        .pad = 1,
        .dtype = ZO2_F16,
    };
    zo2_status s = zo2_opt_tensors_build(out, name);
    if (s)
        memset(out, 0, sizeof *out);
    return s;
}

/* ---- files ---- */

static zo2_status load_config(zo2_arch *out, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    zo2_status s = zo2_io_slurp(path, MAX_CONFIG_BYTES, &text, &bytes);
    if (!s)
        s = zo2_arch_from_config(out, text, bytes, path);
    free(text);
    return s;
}

static zo2_status load_directory(zo2_arch *out, const char *dir)
{
    char *path = zo2_path_join(dir, "config.json");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/config.json", dir);
    zo2_status s = load_config(out, path);
    free(path);
    return s;
}

static zo2_status load_pack(zo2_arch *out, const char *path, uint64_t *pack_bytes)
{
    zo2_packfile *file = NULL;
    const char *text = NULL;
    size_t bytes = 0;
    zo2_status s = zo2_packfile_open(&file, path);
    if (!s)
        s = zo2_packfile_file(file, "config.json", &text, &bytes);
    if (!s)
        s = zo2_arch_from_config(out, text, bytes, path);
    if (!s && pack_bytes)
        *pack_bytes = zo2_packfile_header(file)->file_bytes;
    zo2_packfile_close(file);
    return s;
}

/* A JSON text starts with white space or a brace, a pack with its magic. */
static int looks_like_json(const char *path)
{
    FILE *f = fopen(path, "rbe");
    int c = f ? fgetc(f) : EOF;
    if (f)
        fclose(f);
    return c == '{' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

zo2_status zo2_arch_load(zo2_arch *out, const char *arch_or_path, uint64_t *pack_bytes)
{
    struct stat st;
    char names[256];
    memset(out, 0, sizeof *out);
    if (pack_bytes)
        *pack_bytes = 0;
    if (find_published(arch_or_path))
        return zo2_arch_from_name(out, arch_or_path);
    if (stat(arch_or_path, &st) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return zo2_io_error("cannot examine", arch_or_path);
        return zo2_error(ZO2_ERR_NOTFOUND, "'%s' is neither a file nor the name of an architecture: %s", arch_or_path,
                         list_names(names, sizeof names));
    }
    if (S_ISDIR(st.st_mode))
        return load_directory(out, arch_or_path);
    return looks_like_json(arch_or_path) ? load_config(out, arch_or_path) : load_pack(out, arch_or_path, pack_bytes);
}
