/* set_tokenizer.c: a pack with other tokenizer files: a new file takes its place, with the same weights as they are
 * stored. The model hash covers weights alone, so runs made from the pack stay runs of it. */
#include "engine/base/opts.h"
#include "engine/pack/pack_api.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A carried file of the new pack. */
typedef struct carried {
    const char *name, *data; /* data NULL: there is none */
    size_t bytes;
    char *own; /* what data is to be freed by; NULL: it is the old pack's */
} carried;

typedef struct job {
    const char *dir;
    char *path; /* of the pack itself, whatever links lead to it */
    zo2_tokenizer_opts o;
    zo2_pack *pack;
    carried *files;
    size_t n;
} job;

void zo2_tokenizer_opts_init_sized(zo2_tokenizer_opts *o, size_t size)
{
    zo2_tokenizer_opts own = {.struct_size = sizeof own};
    zo2_opts_give(o, size, &own, sizeof own);
}

static int is_one_of(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return 1;
    return 0;
}

/* Files of the model, not of its tokenizer: never taken from the folder. */
static int stays(const char *name)
{
    static const char *const names[] = {"config.json", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", NULL};
    return is_one_of(names, name);
}

/* The model's, too, but a folder that has one means it. */
static int stays_unless_given(const char *name)
{
    return stays(name) || strcmp(name, "generation_config.json") == 0;
}

static zo2_status choose(job *j, carried *f)
{
    zo2_status s =
        stays(f->name) ? ZO2_OK : zo2_carried_read(j->dir, f->name, j->o.log, j->o.log_ud, &f->own, &f->bytes);
    f->data = f->own;
    if (!s && !f->data && stays_unless_given(f->name) &&
        zo2_packfile_file(j->pack->file, f->name, &f->data, &f->bytes) != ZO2_OK)
        f->data = NULL;
    return s;
}

/* The new pack's files in the order of a conversion's; those that this version knows nothing of come last. */
static zo2_status choose_all(job *j)
{
    size_t most = zo2_packfile_header(j->pack->file)->files;
    for (const char *const *name = zo2_carried_files; *name; name++)
        most++;
    j->files = calloc(most, sizeof *j->files);
    if (!j->files)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the files of %s", j->path);
    zo2_status s = ZO2_OK;
    for (const char *const *name = zo2_carried_files; *name && !s; name++) {
        j->files[j->n].name = *name;
        s = choose(j, &j->files[j->n++]);
    }
    const char *name;
    for (size_t i = 0; !s && (name = zo2_packfile_file_name(j->pack->file, i)); i++) {
        carried *f = &j->files[j->n];
        if (is_one_of(zo2_carried_files, name))
            continue;
        f->name = name;
        s = zo2_packfile_file(j->pack->file, name, &f->data, &f->bytes);
        j->n++;
    }
    return s;
}

static int has(const job *j, const char *name)
{
    for (size_t i = 0; i < j->n; i++)
        if (strcmp(j->files[i].name, name) == 0)
            return j->files[i].data != NULL;
    return 0;
}

/* Is every file there already, and no other? */
static int is_same(const job *j)
{
    uint32_t there = 0;
    for (size_t i = 0; i < j->n; i++) {
        const carried *f = &j->files[i];
        const char *data;
        size_t bytes;
        if (!f->data)
            continue;
        if (zo2_packfile_file(j->pack->file, f->name, &data, &bytes) != ZO2_OK || bytes != f->bytes ||
            memcmp(data, f->data, bytes) != 0)
            return 0;
        there++;
    }
    return there == zo2_packfile_header(j->pack->file)->files;
}

static zo2_status write_pack(job *j)
{
    zo2_packwriter *w = NULL;
    zo2_status s = zo2_packwriter_open(&w, &zo2_io_posix, j->path, j->pack->arch.name, 1);
    for (size_t i = 0; i < j->n && !s; i++)
        if (j->files[i].data)
            s = zo2_packwriter_file(w, j->files[i].name, j->files[i].data, j->files[i].bytes);
    if (!s)
        s = zo2_packwriter_copy(w, j->pack->file, 1, 0, j->o.progress, j->o.progress_ud);
    if (!s)
        s = zo2_packwriter_commit(w, NULL);
    zo2_packwriter_close(w);
    return s;
}

static zo2_status set_tokenizer(job *j, const char *pack)
{
    j->path = realpath(pack, NULL);
    if (!j->path)
        return zo2_io_error("cannot open pack", pack);
    zo2_status s = zo2_pack_open(&j->pack, j->path);
    if (!s)
        s = choose_all(j);
    if (s)
        return s;
    if (!has(j, "tokenizer.json") && !has(j, "vocab.json"))
        return zo2_error(ZO2_ERR_NOTFOUND,
                         "%s has no tokenizer: a folder with tokenizer.json, or vocab.json and merges.txt, is needed",
                         j->dir);
    if (!is_same(j))
        return write_pack(j);
    if (j->o.log)
        j->o.log(j->o.log_ud, ZO2_LOG_INFO, "the pack carries these files already");
    return ZO2_OK;
}

zo2_status zo2_pack_set_tokenizer(const char *pack, const char *dir, const zo2_tokenizer_opts *o)
{
    job j = {.dir = dir};
    if (!pack || !dir)
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_set_tokenizer: pack and dir are needed");
    zo2_tokenizer_opts_init(&j.o);
    if (!zo2_opts_take(&j.o, sizeof j.o, o))
        return zo2_error(ZO2_ERR_ARG, "zo2_pack_set_tokenizer: struct_size is not set: use zo2_tokenizer_opts_init()");
    zo2_status s = set_tokenizer(&j, pack);
    for (size_t i = 0; i < j.n; i++)
        free(j.files[i].own);
    free(j.files);
    zo2_pack_close(j.pack);
    free(j.path);
    return s;
}
