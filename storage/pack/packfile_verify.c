/* packfile_verify.c: reads a whole pack, from the first byte to the last, and checks everything that is checked nowhere
 * else: chunk and tensor hashes, that the tables are still those that were opened, and that padding is zero. */
#include "engine/base/parallel.h"
#include "storage/io/io.h"
#include "storage/io/ordered.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define PIECE_BYTES (UINT64_C(1) << 20)
#define AGAIN       "the file is damaged: copy or convert it again"

typedef struct walk {
    const zo2_packfile *p;
    uint64_t cursor; /* bytes of the file that have been checked */
    unsigned char *piece;
    uint32_t *owner; /* [chunks]: tensor of a chunk */
    XXH3_state_t *hash;
    zo2_progress_fn progress;
    void *ud;
} walk;

static zo2_status report(const walk *w, uint64_t bytes)
{
    if (w->progress && w->progress(w->ud, "verify", bytes, w->p->header.file_bytes) != 0)
        return zo2_error(ZO2_ERR_CANCELLED, "verification of %s was cancelled", w->p->path);
    return ZO2_OK;
}

/* Bytes from one offset to another must be zero; fewer than 4096 by the canonical layout. Thread-safe. */
static zo2_status check_padding(const zo2_packfile *p, uint64_t from, uint64_t to)
{
    unsigned char bytes[ZO2_PACK_ALIGN];
    zo2_status s = zo2_io_read(&zo2_io_posix, p->fd, bytes, to - from, from, p->path);
    if (s != ZO2_OK)
        return s;
    for (uint64_t i = 0; i < to - from; i++)
        if (bytes[i])
            return zo2_error(ZO2_ERR_FORMAT, "%s: the padding byte at offset %" PRIu64 " is not 0; " AGAIN, p->path,
                             from + i);
    return ZO2_OK;
}

/* A part of the file that is not a chunk. */
static zo2_status check_part(walk *w, uint64_t off, uint64_t n, uint64_t hash, const char *label)
{
    zo2_status s = check_padding(w->p, w->cursor, off);
    w->cursor = off;
    XXH3_64bits_reset(w->hash);
    for (uint64_t left = n; s == ZO2_OK && left > 0;) {
        uint64_t now = left < PIECE_BYTES ? left : PIECE_BYTES;
        s = zo2_io_read(&zo2_io_posix, w->p->fd, w->piece, now, w->cursor, w->p->path);
        XXH3_64bits_update(w->hash, w->piece, (size_t)now);
        w->cursor += now;
        left -= now;
        if (s == ZO2_OK)
            s = report(w, w->cursor);
    }
    if (s == ZO2_OK && XXH3_64bits_digest(w->hash) != hash)
        s = zo2_error(ZO2_ERR_FORMAT, "%s: the checksum of %s (offset %" PRIu64 ", %" PRIu64 " bytes) is wrong; " AGAIN,
                      w->p->path, label, off, n);
    return s;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

static uint64_t chunk_end(const zo2_packfile *p, uint64_t c)
{
    return p->chunks[c].offset + p->chunks[c].stored_bytes;
}

static zo2_status read_chunk(void *arg, uint64_t c, void *decoded)
{
    const walk *w = arg;
    const zo2_packfile *p = w->p;
    zo2_status s = check_padding(p, c ? chunk_end(p, c - 1) : sizeof p->super, p->chunks[c].offset);
    return s == ZO2_OK ? zo2_packfile_read_chunk(p, w->owner[c], c, decoded) : s;
}

static zo2_status hash_chunk(void *arg, uint64_t c, void *decoded)
{
    const walk *w = arg;
    const zo2_packfile *p = w->p;
    uint32_t i = w->owner[c];
    const zo2_pack_tensor_record *t = &p->tensors[i];
    if (c >= p->source_chunks) /* a wire's: the chunk's own hash is all there is */
        return ZO2_OK;
    if (c == t->first_chunk)
        XXH3_64bits_reset(w->hash);
    XXH3_64bits_update(w->hash, decoded, (size_t)p->chunks[c].decoded_bytes);
    if (c + 1 == t->first_chunk + zo2_pack_chunk_count(t) && XXH3_64bits_digest(w->hash) != t->hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: tensor %s (from offset %" PRIu64 "): its bits don't have its hash; " AGAIN, p->path,
                         p->views[i].name, p->chunks[t->first_chunk].offset);
    return ZO2_OK;
}

static zo2_status report_chunks(void *arg, uint64_t done)
{
    const walk *w = arg;
    return done ? report(w, chunk_end(w->p, done - 1)) : ZO2_OK;
}

static zo2_status check_chunks(walk *w, const zo2_parallel *workers)
{
    const zo2_packfile *p = w->p;
    zo2_ordered o = {.n = p->super.chunks, .work = read_chunk, .finish = hash_chunk, .report = report_chunks, .arg = w};
    if (workers)
        o.workers = *workers;
    for (uint32_t i = 0; i < p->super.tensors; i++)
        for (uint64_t k = 0; p->tensors[i].stored_as == i && k < zo2_pack_source_chunks(&p->tensors[i]); k++)
            w->owner[p->tensors[i].first_chunk + k] = i;
    for (uint64_t c = p->source_chunks; c < p->super.chunks; c++)
        w->owner[c] = zo2_packfile_wire_of(p, c)->tensor;
    for (uint64_t c = 0; c < p->super.chunks; c++)
        if (p->chunks[c].decoded_bytes > o.buffer_bytes)
            o.buffer_bytes = p->chunks[c].decoded_bytes;
    zo2_status s = zo2_ordered_run(&o);
    if (s == ZO2_OK && o.n)
        w->cursor = chunk_end(p, o.n - 1);
    return s;
}

zo2_status zo2_packfile_verify(const zo2_packfile *p, const zo2_parallel *workers, zo2_progress_fn progress, void *ud)
{
    static const char *const label[ZO2_PACK_TABLES] = {"the tensor table", "the chunk table", "the file table",
                                                       "the names table"};
    walk w = {.p = p, .progress = progress, .ud = ud};
    zo2_status s = ZO2_OK;
    w.piece = malloc((size_t)PIECE_BYTES);
    w.owner = calloc((size_t)p->super.chunks + 1, sizeof *w.owner);
    w.hash = XXH3_createState();
    if (!w.piece || !w.owner || !w.hash)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory to verify %s", p->path);

    if (s == ZO2_OK)
        s = check_part(&w, 0, sizeof p->super, XXH3_64bits(&p->super, sizeof p->super), "the superblock");
    if (s == ZO2_OK)
        s = check_chunks(&w, workers);
    for (uint32_t i = 0; s == ZO2_OK && i < p->super.files; i++)
        s = check_part(&w, p->files[i].offset, p->files[i].bytes, p->files[i].hash, p->names + p->files[i].name_offset);
    for (int i = 0; s == ZO2_OK && i < ZO2_PACK_TABLES; i++)
        s = check_part(&w, p->super.table[i].offset, p->super.table[i].bytes, p->super.table[i].hash, label[i]);
    if (s == ZO2_OK && p->header.wires)
        s = check_part(&w, p->super.wires.offset, p->super.wires.bytes, p->super.wires.hash, "the wire table");
    if (s == ZO2_OK) /* the model hash was checked against the tensors' hashes at opening */
        s = check_padding(p, w.cursor, p->super.file_bytes);
    if (s == ZO2_OK)
        s = report(&w, p->super.file_bytes);
    XXH3_freeState(w.hash);
    free(w.owner);
    free(w.piece);
    return s;
}
