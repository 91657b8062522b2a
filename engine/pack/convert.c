/* convert.c: a Hugging Face directory to a pack. First everything that can be known without reading weights is checked
 * (every tensor there, shape, type), then the weights stream in canonical order, through pack_weights.c.
 * The source's own bits are kept. */
#include "codec/codec.h"
#include "engine/base/opts.h"
#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/pack_weights.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_zstd.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BUFFER_BYTES      ((uint64_t)4 << 20) /* a multiple of every element size */
#define MAX_CARRIED_BYTES ((uint64_t)128 << 20)

typedef struct job {
    const char *dir, *out;
    zo2_convert_opts o;
    zo2_arch arch;
    char *config; /* text of config.json */
    size_t config_bytes;
    zo2_safetensors *source;
    const zo2_st_tensor **map; /* [n_tensors] where each canonical tensor comes from */
    const zo2_st_tensor *head; /* a tied head that is stored all the same */
    uint64_t total;            /* bytes of weights */
} job;

void zo2_convert_opts_init_sized(zo2_convert_opts *o, size_t size)
{
    zo2_convert_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

static zo2_status report(const job *j, uint64_t done)
{
    if (j->o.progress && j->o.progress(j->o.progress_ud, "convert", done, j->total))
        return zo2_error(ZO2_ERR_CANCELLED, "the conversion of %s was cancelled", j->dir);
    return ZO2_OK;
}

/* ---- what is in the directory -------------------------------------------------------------------------------------
 */

static int ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* A directory without safetensors gets a message that says what to do, according to what is there instead. */
static zo2_status check_formats(const char *dir)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return zo2_io_error("cannot open", dir);
    if (!S_ISDIR(st.st_mode))
        return zo2_error(
            ZO2_ERR_ARG,
            "%s is not a directory: give the Hugging Face directory that holds config.json and the weights", dir);
    DIR *d = opendir(dir);
    if (!d)
        return zo2_io_error("cannot list", dir);
    int safetensors = 0, torch = 0;
    char seen[256] = "";
    for (struct dirent *e; (e = readdir(d));) {
        int is_torch = ends_with(e->d_name, ".bin") || ends_with(e->d_name, ".pt") || ends_with(e->d_name, ".pth");
        safetensors |= ends_with(e->d_name, ".safetensors") || ends_with(e->d_name, ".safetensors.index.json");
        if (is_torch && (!torch || strcmp(e->d_name, seen) < 0)) /* the first by name: the same message on every disk */
            snprintf(seen, sizeof seen, "%s", e->d_name);
        torch |= is_torch;
    }
    closedir(d);
    if (safetensors)
        return ZO2_OK;
    if (torch)
        return zo2_error(
            ZO2_ERR_UNSUPPORTED,
            "%s has its weights as PyTorch files (%s); this version reads safetensors. Convert them with Hugging Face transformers: "
            "AutoModelForCausalLM.from_pretrained(DIR, torch_dtype=\"auto\").save_pretrained(NEW_DIR, safe_serialization=True), "
            "and copy the tokenizer's files",
            dir, seen);
    return zo2_error(ZO2_ERR_NOTFOUND, "%s has no weights: no *.safetensors in it", dir);
}

static zo2_status load_config(job *j)
{
    char *path = zo2_path_join(j->dir, "config.json");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/config.json", j->dir);
    zo2_status s = zo2_io_slurp(path, MAX_CARRIED_BYTES, &j->config, &j->config_bytes);
    if (s == ZO2_ERR_NOTFOUND)
        s = zo2_error(s, "%s has no config.json: it isn't a Hugging Face model directory", j->dir);
    if (!s)
        s = zo2_arch_from_config(&j->arch, j->config, j->config_bytes, path);
    free(path);
    return s;
}

/* ---- which stored tensor is which ---------------------------------------------------------------------------------
 */

static int is_ignored(const char *name)
{
    return ends_with(name, "decoder.version") || strcmp(name, "version") == 0; /* a counter of old checkpoints */
}

/* One warning for all tensors that the model has no place for, naming the first few. */
static void warn_extra(const job *j, uint64_t extra, const char *names)
{
    char text[700];
    if (!extra || !j->o.log)
        return;
    snprintf(text, sizeof text, "%s: ignored %" PRIu64 " tensor%s that config.json has no place for: %s", j->dir, extra,
             extra == 1 ? "" : "s", names);
    j->o.log(j->o.log_ud, ZO2_LOG_WARNING, text);
}

static zo2_status map_names(job *j)
{
    uint64_t extra = 0;
    char names[512] = "";
    size_t at = 0;
    zo2_status s;
    j->map = calloc(j->arch.n_tensors, sizeof *j->map);
    if (!j->map)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->dir);
    for (uint64_t i = 0; i < zo2_safetensors_count(j->source); i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(j->source, i);
        const zo2_tensor *is = zo2_arch_by_name(&j->arch, t->name);
        if (is && j->map[is->id])
            return zo2_error(ZO2_ERR_FORMAT, "%s stores %s twice: as %s and as %s", j->dir, is->name,
                             j->map[is->id]->name, t->name);
        if (is)
            j->map[is->id] = t;
        else if (j->arch.tied && strcmp(t->name, "lm_head.weight") == 0)
            j->head = t;
        else if (!is_ignored(t->name) && extra++ < 8 && at < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", extra == 1 ? "" : ", ", t->name);
    }
    if (extra > 8 && at < sizeof names)
        snprintf(names + at, sizeof names - at, " and %" PRIu64 " more", extra - 8);

    uint32_t embedding = zo2_arch_find(&j->arch, ZO2_ROLE_EMBED_TOKENS, 0);
    if (j->head && !j->map[embedding]) { /* tied and stored as the head only: the same tensor */
        j->map[embedding] = j->head;
        j->head = NULL;
    }
    for (uint32_t i = 0; i < j->arch.n_tensors; i++)
        if (!j->map[i]) {
            const zo2_tensor *t = &j->arch.tensors[i];
            s = zo2_error(ZO2_ERR_NOTFOUND, "%s has no tensor %s, which its config.json asks for%s", j->dir, t->name,
                          t->role == ZO2_ROLE_LM_HEAD ? " (\"tie_word_embeddings\" is false)" : "");
            return s;
        }
    warn_extra(j, extra, names);
    return ZO2_OK;
}

static zo2_status check_tensor(const job *j, const zo2_st_tensor *t, const zo2_tensor *want)
{
    char a[128], b[128];
    uint64_t shape[2] = {want->rows, want->cols};
    const uint64_t *expected = want->rank == 1 ? shape + 1 : shape;
    const char *file = zo2_safetensors_file(j->source, t);
    if (t->rank != want->rank || memcmp(t->shape, expected, want->rank * sizeof *shape) != 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s in %s has shape %s, config.json asks for %s", t->name, file,
                         zo2_shape_text(a, sizeof a, t->rank, t->shape),
                         zo2_shape_text(b, sizeof b, want->rank, expected));
    if (!t->dtype)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s in %s has type %s; this version reads F32, F16 and BF16", t->name,
                         file, t->dtype_name);
    return ZO2_OK;
}

/* A tied head that is stored as well must be the embedding itself; else one of the two would be lost without a word. */
static zo2_status compare_head(const job *j, unsigned char *a, unsigned char *b)
{
    uint32_t id = zo2_arch_find(&j->arch, ZO2_ROLE_EMBED_TOKENS, 0);
    const zo2_st_tensor *head = j->head, *embedding = j->map[id];
    zo2_status s = check_tensor(j, head, &j->arch.tensors[id]);
    const char *advice =
        "config.json ties them (\"tie_word_embeddings\"): set it to false if the model has a head of its own";
    if (s)
        return s;
    if (head->dtype != embedding->dtype)
        return zo2_error(ZO2_ERR_FORMAT, "%s: lm_head.weight is %s, %s is %s, but %s", j->dir, head->dtype_name,
                         embedding->name, embedding->dtype_name, advice);
    for (uint64_t at = 0; at < head->bytes; at += BUFFER_BYTES) {
        uint64_t n = head->bytes - at < BUFFER_BYTES ? head->bytes - at : BUFFER_BYTES;
        if ((s = report(j, 0)) || (s = zo2_safetensors_read(j->source, head, at, n, a)) ||
            (s = zo2_safetensors_read(j->source, embedding, at, n, b)))
            return s;
        if (memcmp(a, b, (size_t)n) == 0)
            continue;
        uint64_t i = 0;
        while (a[i] == b[i])
            i++;
        return zo2_error(ZO2_ERR_FORMAT, "%s: lm_head.weight and %s differ at element %" PRIu64 ", but %s", j->dir,
                         embedding->name, (at + i) / zo2_dtype_bytes(head->dtype), advice);
    }
    return ZO2_OK;
}

static zo2_status check_head(const job *j)
{
    unsigned char *a = malloc(BUFFER_BYTES), *b = malloc(BUFFER_BYTES);
    zo2_status s = a && b
                       ? compare_head(j, a, b)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory to compare the head of %s with its embedding", j->dir);
    free(a);
    free(b);
    return s;
}

static zo2_status check_all(job *j)
{
    zo2_status s;
    for (uint32_t i = 0; i < j->arch.n_tensors; i++) {
        if ((s = check_tensor(j, j->map[i], &j->arch.tensors[i])))
            return s;
        j->total += j->map[i]->bytes;
    }
    if ((s = zo2_require_absent(j->out, j->o.force)) ||
        (s = zo2_require_space(j->out, zo2_pack_bytes_at_most(j->arch.n_tensors, j->total))))
        return s;
    return j->head ? check_head(j) : ZO2_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------
 */

static zo2_status on_bytes(void *arg, uint64_t bytes)
{
    return report(arg, bytes);
}

/* The source bits of a part of a tensor, refused if a value isn't finite. */
static zo2_status read_weights(void *arg, uint32_t tensor, uint64_t first, uint64_t n, void *bits)
{
    const job *j = arg;
    const zo2_st_tensor *from = j->map[tensor];
    uint32_t size = zo2_dtype_bytes(from->dtype);
    zo2_status s = zo2_safetensors_read(j->source, from, first * size, n * size, bits);
    if (s)
        return s;
    uint64_t bad = zo2_first_nonfinite(from->dtype, bits, n);
    if (bad < n)
        return zo2_error(ZO2_ERR_NONFINITE,
                         "element %" PRIu64 " of %s in %s is infinite or not a number: such a model can't be trained",
                         first + bad, from->name, zo2_safetensors_file(j->source, from));
    return ZO2_OK;
}

static zo2_status carry_files(const job *j, zo2_packwriter *w)
{
    zo2_status s = zo2_packwriter_file(w, zo2_carried_files[0], j->config, j->config_bytes);
    for (const char *const *name = zo2_carried_files + 1; *name && !s; name++) {
        char *data = NULL, *path = zo2_path_join(j->dir, *name);
        size_t bytes = 0;
        if (!path)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", j->dir, *name);
        s = zo2_io_slurp(path, MAX_CARRIED_BYTES, &data, &bytes);
        if (!s)
            s = zo2_packwriter_file(w, *name, data, bytes);
        else if (s == ZO2_ERR_NOTFOUND)
            s = ZO2_OK; /* none of them is required */
        free(data);
        free(path);
    }
    return s;
}

static zo2_status write_pack(job *j)
{
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packwriter_open(&w, &zo2_io_posix, j->out, j->arch.name, j->o.force);
    if (!s)
        s = carry_files(j, w);
    if (!s)
        s = report(j, 0);
    zo2_dtype *dtypes = calloc(j->arch.n_tensors, sizeof *dtypes);
    if (!dtypes)
        s = s ? s : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", j->dir);
    for (uint32_t i = 0; dtypes && i < j->arch.n_tensors; i++)
        dtypes[i] = j->map[i]->dtype;
    zo2_pack_weights weights = {.arch = &j->arch,
                                .dtypes = dtypes,
                                .writer = w,
                                .level = j->o.zstd_level,
                                .threads = j->o.threads,
                                .fill = read_weights,
                                .report = on_bytes,
                                .arg = j};
    if (!s)
        s = zo2_pack_weights_write(&weights);
    free(dtypes);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w); /* without the commit nothing is left */
    return s;
}

zo2_status zo2_pack_convert(const char *hf_dir, const char *out, const zo2_convert_opts *o)
{
    zo2_status s;
    job j = {.dir = hf_dir, .out = out};
    if (!hf_dir || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_convert: hf_dir and out are needed");
    zo2_convert_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_convert: struct_size is not set: use zo2_convert_opts_init()");
    if (!(s = zo2_zstd_level_check("zo2_pack_convert", j.o.zstd_level)) && !(s = check_formats(hf_dir)) &&
        !(s = load_config(&j)) && !(s = zo2_safetensors_open(&j.source, hf_dir)) && !(s = map_names(&j)) &&
        !(s = check_all(&j)))
        s = write_pack(&j);
    zo2_safetensors_close(j.source);
    zo2_arch_free(&j.arch);
    free(j.map);
    free(j.config);
    return s;
}
