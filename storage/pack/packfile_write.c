/* packfile_write.c: writes a pack as a stream: chunks as they come; packfile_commit.c does the rest. Holds the
 * tables only. */
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_partial.h"
#include "storage/pack/packfile_writer.h"
#include "storage/pack/packfile_zstd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Grows by doubling. */
int zo2_packwriter_reserve(void *array, uint64_t n, uint64_t *cap, size_t size)
{
    void *old, *grown;
    if (n < *cap)
        return 1;
    uint64_t want = *cap ? 2 * *cap : 64;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, (size_t)want * size);
    if (!grown)
        return 0;
    memcpy(array, &grown, sizeof grown);
    *cap = want;
    return 1;
}

zo2_status zo2_packwriter_fail(zo2_packwriter *w, zo2_status s)
{
    if (w->failed == ZO2_OK)
        w->failed = s;
    return s;
}

static zo2_status out_of_memory(zo2_packwriter *w)
{
    return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_NOMEM, "out of memory while writing %s", w->path));
}

static zo2_status refuse_failed(const zo2_packwriter *w)
{
    return zo2_error(w->failed, "writing %s failed before; nothing more can be added", w->path);
}

/* key NULL: one that is whole or nothing. */
static zo2_status open_writer(zo2_packwriter **out, const zo2_io *io, const char *path, const char *arch, int force,
                              const uint64_t *key)
{
    *out = NULL;
    char padded[32] = {0};
    memcpy(padded, arch, strnlen(arch, sizeof padded));
    const char *fault = zo2_pack_arch_fault(padded);
    if (fault)
        return zo2_error(ZO2_ERR_ARG, "cannot write %s: %s", path, fault);
    zo2_packwriter *w = calloc(1, sizeof *w);
    if (!w)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", path);
    memcpy(w->arch, padded, sizeof w->arch);
    w->end = sizeof(zo2_pack_superblock);
    w->path = strdup(path);
    w->hash = XXH3_createState();
    zo2_status s;
    if (!w->path || !w->hash)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", path);
    else
        s = key ? zo2_outfile_reopen(&w->file, io, path, force) : zo2_outfile_open(&w->file, io, path, force);
    if (s == ZO2_OK && key) {
        s = zo2_packpartial_open(&w->partial, io, path, *key);
        /* Tables that were begun behind the chunks would be where zeros belong. */
        if (s == ZO2_OK && io->ftruncate(io->ud, w->file.fd, (off_t)w->partial.end) != 0)
            s = zo2_io_error("cannot cut", w->file.tmp);
    }
    if (s != ZO2_OK) {
        zo2_packwriter_close(w);
        return s;
    }
    *out = w;
    return ZO2_OK;
}

zo2_status zo2_packwriter_open(zo2_packwriter **out, const zo2_io *io, const char *path, const char *arch, int force)
{
    return open_writer(out, io, path, arch, force, NULL);
}

zo2_status zo2_packwriter_resume(zo2_packwriter **out, const zo2_io *io, const char *path, const char *arch, int force,
                                 uint64_t key)
{
    return open_writer(out, io, path, arch, force, &key);
}

void zo2_packwriter_leave(zo2_packwriter *w)
{
    if (w && w->partial.path && (w->n_chunks || w->partial.n_kept)) {
        zo2_packpartial_close(&w->partial, 0);
        zo2_outfile_leave(&w->file);
    }
    zo2_packwriter_close(w);
}

void zo2_packwriter_close(zo2_packwriter *w)
{
    if (!w)
        return;
    zo2_packpartial_close(&w->partial, 1); /* before the lock goes with the file */
    zo2_outfile_abort(&w->file);
    for (uint32_t i = 0; i < w->n_tensors; i++)
        free(w->tensor_names[i]);
    for (uint32_t i = 0; i < w->n_files; i++) {
        free(w->files[i].name);
        free(w->files[i].data);
    }
    free(w->tensor_names);
    free(w->tensors);
    free(w->chunks);
    free(w->wires);
    XXH3_freeState(w->hash);
    free(w->path);
    free(w);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static const char *current_name(const zo2_packwriter *w)
{
    return w->tensor_names[w->n_tensors - 1];
}

zo2_status zo2_packwriter_finish_tensor(zo2_packwriter *w)
{
    if (!w->open)
        return ZO2_OK;
    if (w->missing)
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG, "%s: %" PRIu64 " bytes of tensor %s were not written",
                                                w->path, w->missing, current_name(w)));
    w->tensors[w->n_tensors - 1].hash = XXH3_64bits_digest(w->hash);
    w->open = 0;
    return ZO2_OK;
}

zo2_status zo2_packwriter_record(zo2_packwriter *w, const zo2_packtensor *t)
{
    if (w->failed != ZO2_OK)
        return refuse_failed(w);
    zo2_status s = zo2_packwriter_finish_tensor(w);
    if (s != ZO2_OK)
        return s;
    const char *name = t->name ? t->name : "";
    const char *fault = zo2_pack_name_fault(name, strlen(name));
    if (!fault)
        fault = zo2_pack_shape_fault((uint32_t)t->dtype, t->rank, t->rows, t->cols);
    if (!fault && w->n_wires)
        fault = "tensors come before wires";
    if (!fault && w->n_tensors == ZO2_PACK_MAX_TENSORS)
        fault = "there are too many tensors";
    if (!fault && (t->block > ZO2_PACK_MAX_BLOCK || (w->n_tensors && t->block < w->tensors[w->n_tensors - 1].block)))
        fault = "its block number is too large or smaller than the one before";
    if (fault)
        return zo2_packwriter_fail(
            w, zo2_error(ZO2_ERR_ARG, "cannot write tensor %.600s to %s: %s", name, w->path, fault));

    uint64_t cap = w->cap_tensors, cap_names = w->cap_tensors;
    char *copy = strdup(name);
    if (!copy || !zo2_packwriter_reserve(&w->tensors, w->n_tensors, &cap, sizeof *w->tensors) ||
        !zo2_packwriter_reserve(&w->tensor_names, w->n_tensors, &cap_names, sizeof *w->tensor_names)) {
        free(copy);
        return out_of_memory(w); /* cap_tensors is unchanged: a table that did grow just has room to spare */
    }
    w->cap_tensors = (uint32_t)cap;
    w->tensor_names[w->n_tensors] = copy;
    w->tensors[w->n_tensors] = (zo2_pack_tensor_record){
        .rows = t->rows,
        .cols = t->cols,
        .first_chunk = w->n_chunks,
        .chunk_rows = zo2_pack_chunk_rows((uint32_t)t->dtype, t->rows, t->cols),
        .name_bytes = (uint32_t)strlen(copy),
        .block = t->block,
        .stored_as = w->n_tensors,
        .dtype = (uint8_t)t->dtype,
        .rank = (uint8_t)t->rank,
        .flags = t->decays ? ZO2_PACK_DECAYS : 0,
    };
    w->n_tensors++;
    return ZO2_OK;
}

zo2_status zo2_packwriter_tensor(zo2_packwriter *w, const zo2_packtensor *t)
{
    zo2_status s = zo2_packwriter_record(w, t);
    if (s != ZO2_OK)
        return s;
    const zo2_pack_tensor_record *r = &w->tensors[w->n_tensors - 1];
    uint64_t row_bytes = r->cols * zo2_pack_dtype_bytes(r->dtype);
    w->open = 1;
    w->missing = r->rows * row_bytes;
    w->chunk_bytes = r->chunk_rows * row_bytes;
    XXH3_64bits_reset(w->hash);
    return ZO2_OK;
}

zo2_status zo2_packchunk_make(zo2_packchunk *c, zo2_dtype dtype, const void *source, uint64_t bytes, int level,
                              void *scratch)
{
    uint64_t smaller = 0;
    unsigned char *planes = scratch;
    *c = (zo2_packchunk){
        .source = source,
        .stored = source,
        .bytes = bytes,
        .stored_bytes = bytes,
        .encoding = ZO2_PACK_ENCODING_RAW,
        .source_hash = XXH3_64bits(source, (size_t)bytes),
    };
    c->stored_hash = c->source_hash;
    if (level > 0) {
        zo2_status s = zo2_pack_zstd_encode(source, bytes, (uint32_t)zo2_pack_dtype_bytes((uint32_t)dtype), level,
                                            planes, planes + bytes, &smaller);
        if (s != ZO2_OK)
            return s;
    }
    if (smaller) {
        c->stored = planes + bytes;
        c->stored_bytes = smaller;
        c->encoding = ZO2_PACK_ENCODING_ZSTD;
        c->stored_hash = XXH3_64bits(c->stored, (size_t)smaller);
    }
    return ZO2_OK;
}

static zo2_status write_chunk(const zo2_packwriter *w, const zo2_packchunk *c)
{
    static const unsigned char zeros[ZO2_PACK_ALIGN];
    const uint64_t end = w->end + c->stored_bytes;
    zo2_status s = ZO2_OK;
    if (c->kept_at != w->end)
        s = zo2_io_write(w->file.io, w->file.fd, c->stored, c->stored_bytes, w->end, w->file.tmp);
    if (s == ZO2_OK && w->n_chunks < w->partial.n_kept) /* no hash covers the gaps of what was there */
        s = zo2_io_write(w->file.io, w->file.fd, zeros, zo2_round_up(end, ZO2_PACK_ALIGN) - end, end, w->file.tmp);
    zo2_io_start_writing(w->file.fd, w->end, c->stored_bytes);
    return s;
}

zo2_status zo2_packwriter_put(zo2_packwriter *w, const zo2_packchunk *c)
{
    if (w->n_chunks == ZO2_PACK_MAX_CHUNKS)
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_UNSUPPORTED,
                                                "%s: tensor %s makes more chunks than a pack may have", w->path,
                                                current_name(w)));
    if (!zo2_packwriter_reserve(&w->chunks, w->n_chunks, &w->cap_chunks, sizeof *w->chunks))
        return out_of_memory(w);
    zo2_status s = write_chunk(w, c);
    if (s != ZO2_OK)
        return zo2_packwriter_fail(w, s);
    if (c->encoding == ZO2_PACK_ENCODING_ZSTD)
        w->features |= ZO2_PACK_FEATURE_ZSTD;
    w->chunks[w->n_chunks++] = (zo2_pack_chunk_record){
        .offset = w->end,
        .stored_bytes = c->stored_bytes,
        .decoded_bytes = c->bytes,
        .encoding = c->encoding,
        .stored_hash = c->stored_hash,
        .decoded_hash = c->source_hash,
    };
    if (w->partial.path && c->kept_at != w->end) {
        s = zo2_packpartial_note(&w->partial, w->n_chunks - 1, &w->chunks[w->n_chunks - 1]);
        if (s != ZO2_OK)
            return zo2_packwriter_fail(w, s);
    }
    w->end = zo2_round_up(w->end + c->stored_bytes, ZO2_PACK_ALIGN); /* the gap is a hole of the file: zeros */
    return ZO2_OK;
}

/* Bytes of the chunk that comes next: of a full one, or of the tensor's last. */
static uint64_t next_bytes(const zo2_packwriter *w)
{
    return w->missing < w->chunk_bytes ? w->missing : w->chunk_bytes;
}

zo2_status zo2_packwriter_chunk(zo2_packwriter *w, const zo2_packchunk *c)
{
    if (w->failed != ZO2_OK)
        return refuse_failed(w);
    if (!w->open || !w->missing || c->bytes != next_bytes(w))
        return zo2_packwriter_fail(
            w, zo2_error(ZO2_ERR_ARG, "%s: a chunk of %" PRIu64 " bytes has no place here", w->path, c->bytes));
    XXH3_64bits_update(w->hash, c->source, (size_t)c->bytes);
    w->missing -= c->bytes;
    return zo2_packwriter_put(w, c);
}

zo2_status zo2_packwriter_alias(zo2_packwriter *w, const zo2_packtensor *t, uint32_t stored_as)
{
    zo2_status s = zo2_packwriter_record(w, t);
    if (s != ZO2_OK)
        return s;
    zo2_pack_tensor_record *r = &w->tensors[w->n_tensors - 1];
    if (stored_as >= w->n_tensors - 1)
        return zo2_packwriter_fail(
            w, zo2_error(ZO2_ERR_ARG, "%s: tensor %s cannot be stored as tensor %" PRIu32 ", which isn't before it",
                         w->path, current_name(w), stored_as));
    const zo2_pack_tensor_record *o = &w->tensors[w->tensors[stored_as].stored_as]; /* the one with bytes */
    if (o->rows != r->rows || o->cols != r->cols || o->dtype != r->dtype)
        return zo2_packwriter_fail(w,
                                   zo2_error(ZO2_ERR_ARG, "%s: tensor %s cannot be stored as %s: shape or type differ",
                                             w->path, current_name(w), w->tensor_names[stored_as]));
    r->stored_as = o->stored_as;
    r->first_chunk = o->first_chunk;
    r->hash = o->hash;
    r->flags |= o->flags & ZO2_PACK_DROPPED;
    return ZO2_OK;
}

zo2_status zo2_packwriter_dropped(zo2_packwriter *w, const zo2_packtensor *t)
{
    zo2_status s = zo2_packwriter_record(w, t);
    if (s != ZO2_OK)
        return s;
    zo2_pack_tensor_record *r = &w->tensors[w->n_tensors - 1];
    if (r->rank != 2)
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG,
                                                "%s: tensor %s is a vector: only matrices can be there as a wire alone",
                                                w->path, current_name(w)));
    r->hash = t->hash;
    r->flags |= ZO2_PACK_DROPPED;
    w->features |= ZO2_PACK_FEATURE_DROPPED;
    return ZO2_OK;
}
