/* packfile_copy.c: the weights of a pack into another one, as they are stored: what follows them (carried files,
 * tables) is then written anew. Chunks keep their offsets, so a file system that shares blocks between files need not
 * move a byte. */
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_internal.h"
#include "storage/pack/packfile_writer.h"

#include "engine/base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Stored wires as the other pack has them. */
static zo2_status copy_wires(zo2_packwriter *w, const zo2_packfile *from)
{
    const uint64_t n = from->header.wires;
    w->wires = malloc((n + 1) * sizeof *w->wires);
    if (!w->wires)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", w->path);
    memcpy(w->wires, from->wires, n * sizeof *w->wires);
    w->n_wires = n;
    w->cap_wires = n + 1;
    return ZO2_OK;
}

/* Tensors and chunks as the other pack has them. What was allocated is the writer's on every way out. */
static zo2_status copy_tables(zo2_packwriter *w, const zo2_packfile *from, int wires)
{
    const uint32_t n = from->super.tensors;
    const uint64_t chunks = wires ? from->super.chunks : from->source_chunks;
    w->tensors = malloc(((size_t)n + 1) * sizeof *w->tensors);
    w->tensor_names = malloc(((size_t)n + 1) * sizeof *w->tensor_names);
    w->chunks = malloc(((size_t)chunks + 1) * sizeof *w->chunks);
    if (!w->tensors || !w->tensor_names || !w->chunks)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", w->path);
    w->cap_tensors = n + 1;
    w->cap_chunks = chunks + 1;
    memcpy(w->tensors, from->tensors, n * sizeof *w->tensors);
    memcpy(w->chunks, from->chunks, (size_t)chunks * sizeof *w->chunks);
    w->n_chunks = chunks;
    for (; w->n_tensors < n; w->n_tensors++)
        if (!(w->tensor_names[w->n_tensors] = strdup(from->views[w->n_tensors].name)))
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tables of %s", w->path);
    if (chunks)
        w->end = zo2_round_up(from->chunks[chunks - 1].offset + from->chunks[chunks - 1].stored_bytes, ZO2_PACK_ALIGN);
    w->features = from->super.features;
    if (wires && from->header.wires)
        return copy_wires(w, from);
    w->features &= ~ZO2_PACK_FEATURE_WIRES;
    return ZO2_OK;
}

/* The whole file at once, then all behind the weights is cut off. *done 0: this file system can't. */
static zo2_status clone_weights(zo2_packwriter *w, const zo2_packfile *from, int *done)
{
    const zo2_io *io = w->file.io;
    *done = io->clone(io->ud, from->fd, w->file.fd) == 0;
    return io->ftruncate(io->ud, w->file.fd, *done ? (off_t)w->end : 0) == 0
               ? ZO2_OK
               : zo2_io_error("cannot set the length of", w->file.tmp);
}

/* Chunk by chunk. What isn't what was once written ends it: a copy would outlive the original. */
static zo2_status copy_weights(zo2_packwriter *w, const zo2_packfile *from, uint64_t more, zo2_progress_fn progress,
                               void *ud)
{
    uint64_t largest = 1, done = 0, total = 0;
    for (uint64_t c = 0; c < w->n_chunks; c++) {
        largest = zo2_max_u64(largest, w->chunks[c].stored_bytes);
        total += w->chunks[c].stored_bytes;
    }
    zo2_status s = zo2_require_space(w->path, w->end + more);
    void *stored = s ? NULL : malloc((size_t)largest);
    uint32_t *owner = s ? NULL : calloc((size_t)from->source_chunks + 1, sizeof *owner); /* tensor of each chunk */
    if (!s && (!stored || !owner))
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory to copy a chunk of %" PRIu64 " bytes", largest);
    for (uint32_t i = 0; i < w->n_tensors; i++)
        for (uint64_t k = 0; w->tensors[i].stored_as == i && k < zo2_pack_source_chunks(&w->tensors[i]); k++)
            owner[w->tensors[i].first_chunk + k] = i;
    for (uint64_t i = 0; i < w->n_chunks && !s; i++) {
        const zo2_pack_chunk_record *c = &w->chunks[i];
        const uint32_t tensor = i < from->source_chunks ? owner[i] : zo2_packfile_wire_of(from, i)->tensor;
        if (progress && progress(ud, "copy", done, total))
            s = zo2_error(ZO2_ERR_CANCELLED, "writing %s was cancelled", w->path);
        if (!s)
            s = zo2_packfile_read_stored(from, tensor, i, stored);
        if (!s)
            s = zo2_io_write(w->file.io, w->file.fd, stored, c->stored_bytes, c->offset, w->file.tmp);
        done += c->stored_bytes;
    }
    free(owner);
    free(stored);
    return s;
}

/* Whoever could read the other pack can read this one. The owner stays where the system lets us. */
static zo2_status copy_mode(zo2_packwriter *w, const zo2_packfile *from)
{
    struct stat st, mine;
    if (fstat(from->fd, &st) != 0 || fstat(w->file.fd, &mine) != 0)
        return zo2_io_error("cannot examine", from->path);
    if ((st.st_uid != mine.st_uid || st.st_gid != mine.st_gid) && fchown(w->file.fd, st.st_uid, st.st_gid) != 0)
        return ZO2_OK; /* somebody else's now: with the mode of a new file of his */
    return fchmod(w->file.fd, st.st_mode & 07777) == 0 ? ZO2_OK : zo2_io_error("cannot set the mode of", w->file.tmp);
}

zo2_status zo2_packwriter_copy(zo2_packwriter *w, const zo2_packfile *from, int wires, uint64_t more,
                               zo2_progress_fn progress, void *ud)
{
    if (w->failed || w->n_tensors)
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG, "weights can't be copied into %s any more", w->path));
    int cloned = 0;
    zo2_status s = copy_tables(w, from, wires);
    if (!s)
        s = copy_mode(w, from);
    if (!s && more)
        s = zo2_require_space(w->path, more);
    if (!s)
        s = clone_weights(w, from, &cloned);
    if (!s && !cloned)
        s = copy_weights(w, from, more, progress, ud);
    return s ? zo2_packwriter_fail(w, s) : ZO2_OK;
}

/* ---- without the source bits of some ---- */

/* The chunks of tensor i as they are stored, at new places. */
static zo2_status copy_chunks(zo2_packwriter *w, const zo2_packfile *from, uint32_t i, void *stored)
{
    const zo2_pack_tensor_record *t = &from->tensors[i];
    zo2_status s = ZO2_OK;
    for (uint64_t k = 0; k < zo2_pack_source_chunks(t) && !s; k++) {
        const zo2_pack_chunk_record *c = &from->chunks[t->first_chunk + k];
        s = zo2_packfile_read_stored(from, i, t->first_chunk + k, stored);
        if (!s)
            s = zo2_packwriter_put(w, &(zo2_packchunk){.stored = stored,
                                                       .bytes = c->decoded_bytes,
                                                       .stored_bytes = c->stored_bytes,
                                                       .encoding = c->encoding,
                                                       .stored_hash = c->stored_hash,
                                                       .source_hash = c->decoded_hash});
    }
    return s;
}

/* Rows of a chunk stay the other pack's, whose wires are cut there. */
static zo2_status copy_tensor(zo2_packwriter *w, const zo2_packfile *from, uint32_t i, int drop, void *stored)
{
    const zo2_packtensor *t = &from->views[i];
    zo2_status s = t->stored_as != i ? zo2_packwriter_alias(w, t, t->stored_as)
                   : drop            ? zo2_packwriter_dropped(w, t)
                                     : zo2_packwriter_record(w, t);
    if (s)
        return s;
    w->tensors[i].chunk_rows = from->tensors[i].chunk_rows;
    w->tensors[i].hash = t->hash;
    return t->stored_as == i && !drop ? copy_chunks(w, from, i, stored) : ZO2_OK;
}

zo2_status zo2_packwriter_copy_without(zo2_packwriter *w, const zo2_packfile *from, const uint8_t *drop, uint64_t more,
                                       zo2_progress_fn progress, void *ud)
{
    uint64_t largest = 1, total = 0, done = 0;
    if (w->failed || w->n_tensors)
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG, "weights can't be copied into %s any more", w->path));
    for (uint32_t i = 0; i < from->super.tensors; i++)
        for (uint64_t k = 0; from->views[i].stored_as == i && !drop[i] && k < zo2_pack_source_chunks(&from->tensors[i]);
             k++) {
            const uint64_t bytes = from->chunks[from->tensors[i].first_chunk + k].stored_bytes;
            largest = zo2_max_u64(largest, bytes);
            total += zo2_round_up(bytes, ZO2_PACK_ALIGN);
        }
    zo2_status s = copy_mode(w, from);
    if (!s)
        s = zo2_require_space(w->path, total + more);
    void *stored = s ? NULL : malloc((size_t)largest);
    if (!s && !stored)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory to copy a chunk of %" PRIu64 " bytes", largest);
    for (uint32_t i = 0; i < from->super.tensors && !s; i++) {
        done = w->end - sizeof(zo2_pack_superblock);
        if (progress && progress(ud, "copy", done, total))
            s = zo2_error(ZO2_ERR_CANCELLED, "writing %s was cancelled", w->path);
        if (!s)
            s = copy_tensor(w, from, i, drop[i] || from->views[i].dropped_to, stored);
    }
    free(stored);
    return s ? zo2_packwriter_fail(w, s) : ZO2_OK;
}
