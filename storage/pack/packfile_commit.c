/* packfile_commit.c: what follows the chunks of a pack: carried files, tables and, last, the superblock. */
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- carried files ----------------------------------------------------------------------------------------------- */

zo2_status zo2_packwriter_file(zo2_packwriter *w, const char *name, const void *data, size_t bytes)
{
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing %s failed before; nothing more can be added", w->path);
    const char *fault = zo2_pack_file_name_fault(name, strlen(name));
    if (!fault && w->n_files == ZO2_PACK_MAX_FILES)
        fault = "there are more than 1,024 files";
    if (!fault && bytes > ZO2_PACK_MAX_FILE_BYTES - w->file_bytes)
        fault = "the files have more than 256 MiB together";
    if (fault)
        return zo2_packwriter_fail(w,
                                   zo2_error(ZO2_ERR_ARG, "cannot carry file %.600s in %s: %s", name, w->path, fault));
    zo2_carried_file *f = &w->files[w->n_files];
    f->name = strdup(name);
    f->data = malloc(bytes ? bytes : 1);
    f->bytes = bytes;
    if (!f->name || !f->data) {
        free(f->name);
        free(f->data);
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_NOMEM, "out of memory while writing %s", w->path));
    }
    if (bytes)
        memcpy(f->data, data, bytes);
    w->n_files++;
    w->file_bytes += bytes;
    return ZO2_OK;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

static zo2_status check_unique(zo2_packwriter *w, const char **names)
{
    const char *twice;
    for (uint32_t i = 0; i < w->n_tensors; i++)
        names[i] = w->tensor_names[i];
    if (zo2_pack_sorted_duplicate(names, w->n_tensors, &twice))
        return zo2_error(ZO2_ERR_ARG, "cannot write %s: two tensors are named %s", w->path, twice);
    for (uint32_t i = 0; i < w->n_files; i++)
        names[i] = w->files[i].name;
    if (zo2_pack_sorted_duplicate(names, w->n_files, &twice))
        return zo2_error(ZO2_ERR_ARG, "cannot write %s: two carried files are named %s", w->path, twice);
    return ZO2_OK;
}

/* Appends n bytes at the next aligned offset. */
static zo2_status put_part(zo2_packwriter *w, const void *data, uint64_t n, zo2_pack_section *out)
{
    zo2_status s = zo2_io_write(w->file.io, w->file.fd, data, n, w->end, w->file.tmp);
    *out = (zo2_pack_section){.offset = w->end, .bytes = n, .hash = XXH3_64bits(data, (size_t)n)};
    w->end = zo2_round_up(w->end + n, ZO2_PACK_ALIGN);
    return s;
}

static zo2_status write_all(zo2_packwriter *w, zo2_pack_file_record *files, char *names, zo2_pack_superblock *b)
{
    zo2_status s = ZO2_OK;
    uint64_t name = 0;
    for (uint32_t i = 0; i < w->n_tensors; i++) {
        zo2_pack_tensor_record *t = &w->tensors[i];
        t->name_offset = (uint32_t)name; /* at most (2^20 + 2^10) * 513 */
        memcpy(names + name, w->tensor_names[i], (size_t)t->name_bytes + 1);
        name += (uint64_t)t->name_bytes + 1;
        b->parameters += t->rows * t->cols;
        b->blocks = t->block + 1;
    }
    if (!zo2_pack_model_hash(w->tensors, w->n_tensors, &b->model_hash))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", w->path);
    for (uint32_t i = 0; s == ZO2_OK && i < w->n_files; i++) {
        zo2_pack_section where;
        size_t n = strlen(w->files[i].name);
        s = put_part(w, w->files[i].data, w->files[i].bytes, &where);
        files[i] = (zo2_pack_file_record){where.offset, where.bytes, where.hash, (uint32_t)name, (uint32_t)n};
        memcpy(names + name, w->files[i].name, n + 1);
        name += n + 1;
    }
    const struct {
        const void *data;
        uint64_t bytes;
    } table[ZO2_PACK_TABLES] = {
        {w->tensors, w->n_tensors * sizeof *w->tensors},
        {w->chunks, w->n_chunks * sizeof *w->chunks},
        {files, w->n_files * sizeof *files},
        {names, name},
    };
    for (int i = 0; s == ZO2_OK && i < ZO2_PACK_TABLES; i++)
        s = put_part(w, table[i].data, table[i].bytes, &b->table[i]);
    if (s == ZO2_OK && w->n_wires)
        s = put_part(w, w->wires, w->n_wires * sizeof *w->wires, &b->wires);
    if (s == ZO2_OK && w->file.io->ftruncate(w->file.io->ud, w->file.fd, (off_t)w->end) != 0)
        s = zo2_io_error("cannot set the length of", w->file.tmp); /* the last part's padding */
    if (s != ZO2_OK)
        return s;
    memcpy(b->magic, ZO2_PACK_MAGIC, ZO2_PACK_MAGIC_BYTES);
    memcpy(b->arch, w->arch, sizeof b->arch);
    b->version = ZO2_PACK_VERSION;
    b->superblock_bytes = sizeof *b;
    b->features = w->features;
    b->file_bytes = w->end;
    b->chunks = w->n_chunks;
    b->tensors = w->n_tensors;
    b->files = w->n_files;
    b->hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
    return zo2_io_write(w->file.io, w->file.fd, b, sizeof *b, 0, w->file.tmp);
}

zo2_status zo2_packwriter_commit(zo2_packwriter *w, uint64_t *model_hash)
{
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing %s failed before; nothing more can be added", w->path);
    if (!w->file.io)
        return zo2_error(ZO2_ERR_ARG, "%s was committed before", w->path);
    zo2_status s = zo2_packwriter_finish_tensor(w);
    if (s == ZO2_OK)
        s = zo2_packwriter_finish_wire(w);
    if (s == ZO2_OK)
        s = zo2_packwriter_check_dropped(w);
    if (s != ZO2_OK)
        return s;
    size_t most = (size_t)w->n_tensors + w->n_files + 1, name_bytes = 1;
    for (uint32_t i = 0; i < w->n_tensors; i++)
        name_bytes += (size_t)w->tensors[i].name_bytes + 1;
    for (uint32_t i = 0; i < w->n_files; i++)
        name_bytes += strlen(w->files[i].name) + 1;
    const char **sorted = malloc(most * sizeof *sorted);
    char *names = malloc(name_bytes);
    zo2_pack_file_record *files = calloc((size_t)w->n_files + 1, sizeof *files);
    zo2_pack_superblock *b = calloc(1, sizeof *b);
    if (!sorted || !names || !files || !b)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", w->path);
    if (s == ZO2_OK)
        s = check_unique(w, sorted);
    if (s == ZO2_OK)
        s = write_all(w, files, names, b);
    if (s == ZO2_OK)
        s = zo2_outfile_commit(&w->file);
    if (s != ZO2_OK)
        zo2_packwriter_fail(w, s);
    else if (model_hash)
        *model_hash = b->model_hash;
    free(b);
    free(files);
    free(names);
    free(sorted);
    return s;
}
