/* checkpoint.c: the table of formats: which reader fits, and what is said where none does. */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct zo2_checkpoint {
    const zo2_checkpoint_reader *reader;
    void *model;
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
    return zo2_explain_folder(zo2_error(ZO2_ERR_NOTFOUND, "%s has no weights: no *.safetensors in it", p->path),
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

zo2_status zo2_checkpoint_open(zo2_checkpoint **out, const zo2_checkpoint_reader *reader, const char *path)
{
    *out = NULL;
    zo2_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    c->reader = reader;
    zo2_status s = reader->open(&c->model, path);
    if (s)
        free(c);
    else
        *out = c;
    return s;
}

void zo2_checkpoint_close(zo2_checkpoint *c)
{
    if (!c)
        return;
    c->reader->close(c->model);
    free(c);
}

const char *zo2_checkpoint_format(const zo2_checkpoint *c)
{
    return c->reader->name;
}

uint64_t zo2_checkpoint_count(const zo2_checkpoint *c)
{
    return c->reader->count(c->model);
}

zo2_stored zo2_checkpoint_tensor(const zo2_checkpoint *c, uint64_t i)
{
    return c->reader->tensor(c->model, i);
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
    c->reader->oddities(c->model, say, ud);
}

zo2_status zo2_checkpoint_read(const zo2_checkpoint *c, uint64_t i, uint64_t first, uint64_t n, void *dst)
{
    return c->reader->read(c->model, i, first, n, dst);
}
