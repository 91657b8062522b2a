/* checkpoint.c: the table of formats: which reader fits, and what is said where none does; and what is the same for all of them: doubles
 * are read as floats. */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DOUBLES ((uint64_t)1 << 17) /* that are read at a time: 1 MiB */

struct zo2_checkpoint {
    const zo2_checkpoint_reader *reader;
    void *model;
    char *path;
    const char *also; /* the next format that the same place has a model in; NULL */
};

static const zo2_checkpoint_reader *const readers[] = {
#define X(name) &zo2_reader_##name,
    ZO2_CHECKPOINT_READERS(X)
#undef X
};

/* A file was given: perhaps one of a model's folder. */
static zo2_status refuse_file(const char *path)
{
    struct stat st;
    size_t n = (size_t)(zo2_path_name(path) - path);
    char *dir = n ? strndup(path, n) : strdup("."), *config = dir ? zo2_path_join(dir, "config.json") : NULL;
    zo2_status s =
        config && stat(config, &st) == 0
            ? zo2_error(ZO2_ERR_ARG, "%s is not a directory: give the one that it is in, %s", path, dir)
            : zo2_error(ZO2_ERR_ARG,
                        "%s is not a directory: give the Hugging Face directory that holds config.json and the weights",
                        path);
    free(config);
    free(dir);
    return zo2_explain_file(s, path, ZO2_WANT_MODEL_FOLDER);
}

/* What to do about a place that no reader fits, according to what is there instead. */
static zo2_status refuse(const zo2_listing *p)
{
    if (!p->is_folder)
        return refuse_file(p->path);
    return zo2_explain_folder(
        zo2_error(ZO2_ERR_NOTFOUND, "%s has no weights: neither *.safetensors nor pytorch_model*.bin in it", p->path),
        p->path, ZO2_WANT_MODEL_FOLDER);
}

zo2_status zo2_checkpoint_recognise(const zo2_checkpoint_reader **out, const char *path)
{
    zo2_listing place;
    *out = NULL;
    zo2_status s = zo2_listing_make(&place, path);
    if (s)
        return zo2_explain_file(s, path, ZO2_WANT_MODEL_FOLDER);
    for (size_t i = 0; i < sizeof readers / sizeof *readers && !*out; i++)
        if (readers[i]->recognise(&place))
            *out = readers[i];
    if (!*out)
        s = refuse(&place);
    zo2_listing_free(&place);
    return s;
}

/* What is there besides what is read. */
static const char *also_there(const zo2_checkpoint_reader *reader, const char *path)
{
    zo2_listing place;
    const char *also = NULL;
    if (zo2_listing_make(&place, path) != ZO2_OK)
        return NULL;
    for (size_t i = sizeof readers / sizeof *readers; i-- > 0 && readers[i] != reader;)
        if (readers[i]->recognise(&place))
            also = readers[i]->name;
    zo2_listing_free(&place);
    return also;
}

zo2_status zo2_checkpoint_open(zo2_checkpoint **out, const zo2_checkpoint_reader *reader, const char *path)
{
    *out = NULL;
    zo2_checkpoint *c = calloc(1, sizeof *c);
    if (!c || !(c->path = strdup(path))) {
        free(c);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    }
    c->reader = reader;
    c->also = also_there(reader, path);
    zo2_status s = reader->open(&c->model, path);
    if (s)
        zo2_checkpoint_close(c);
    else
        *out = c;
    return s;
}

void zo2_checkpoint_close(zo2_checkpoint *c)
{
    if (!c)
        return;
    c->reader->close(c->model);
    free(c->path);
    free(c);
}

const char *zo2_checkpoint_format(const zo2_checkpoint *c)
{
    return c->reader->name;
}

const char *zo2_checkpoint_naming(const zo2_checkpoint_reader *reader)
{
    return reader->naming ? reader->naming : ZO2_NAMING_HUGGINGFACE;
}

uint64_t zo2_checkpoint_count(const zo2_checkpoint *c)
{
    return c->reader->count(c->model);
}

/* ---- doubles: no backend computes with them, so they are floats to all who read ------------------------------------------ */

static int is_double(const zo2_stored *t)
{
    return !t->dtype && strcmp(t->dtype_name, "F64") == 0;
}

zo2_stored zo2_checkpoint_tensor(const zo2_checkpoint *c, uint64_t i)
{
    zo2_stored t = c->reader->tensor(c->model, i);
    if (is_double(&t)) {
        t.dtype = ZO2_F32;
        t.bytes /= 2;
        t.rounded = 1;
    }
    t.parts = t.parts ? t.parts : 1;
    return t;
}

/* Rounds to nearest; what is too large becomes infinite. */
static zo2_status read_doubles(const zo2_checkpoint *c, uint64_t i, uint64_t first, uint64_t n, float *dst)
{
    double *doubles = malloc(DOUBLES * sizeof *doubles);
    zo2_status s = doubles ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory to read %s", c->path);
    for (uint64_t at = 0; at < n && !s; at += DOUBLES) {
        const uint64_t now = n - at < DOUBLES ? n - at : DOUBLES;
        s = c->reader->read(c->model, i, (first + at) * sizeof *doubles, now * sizeof *doubles, doubles);
        for (uint64_t k = 0; k < now && !s; k++)
            dst[at + k] = (float)doubles[k];
    }
    free(doubles);
    return s;
}

uint64_t zo2_checkpoint_find(const zo2_checkpoint *c, const char *name)
{
    return c->reader->find(c->model, name);
}

const char *zo2_checkpoint_absent(const zo2_checkpoint *c, const char *name, char *text, size_t n)
{
    return c->reader->absent(c->model, name, text, n);
}

void zo2_checkpoint_oddities(const zo2_checkpoint *c, void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    if (c->also) {
        snprintf(text, sizeof text, "%.300s has files of the format %s, too: those of the format %s are read", c->path,
                 c->also, c->reader->name);
        say(ud, text);
    }
    c->reader->oddities(c->model, say, ud);
}

zo2_status zo2_checkpoint_read(const zo2_checkpoint *c, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    const zo2_stored t = c->reader->tensor(c->model, i);
    if (!is_double(&t))
        return c->reader->read(c->model, i, first, n, dst);
    if (first % sizeof(float) || n % sizeof(float))
        return zo2_error(ZO2_ERR_ARG, "%s: %" PRIu64 " bytes from %" PRIu64 " of %s are no whole elements", c->path, n,
                         first, t.name);
    return read_doubles(c, i, first / sizeof(float), n / sizeof(float), dst);
}

zo2_status zo2_checkpoint_file(const zo2_checkpoint *c, const char *name, char **data, size_t *bytes, char *why,
                               size_t n)
{
    *data = NULL;
    *bytes = 0;
    why[0] = '\0';
    return c->reader->file ? c->reader->file(c->model, name, data, bytes, why, n) : ZO2_OK;
}
