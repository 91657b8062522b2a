/* packfile_verify.c: reads a whole pack, from the first byte to the last, and checks everything that is checked nowhere
 * else: chunk and tensor hashes, that the tables are still those that were opened, and that padding is zero. */
#include "storage/packfile_internal.h"

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
    unsigned char *chunk;
    XXH3_state_t *hash;
    zo2_progress_fn progress;
    void *ud;
} walk;

static zo2_status report(const walk *w)
{
    if (w->progress && w->progress(w->ud, "verify", w->cursor, w->p->header.file_bytes) != 0)
        return zo2_error(ZO2_ERR_CANCELLED, "verification of %s was cancelled", w->p->path);
    return ZO2_OK;
}

/* Bytes from the cursor to off must be zero; fewer than 4096 by the canonical layout. */
static zo2_status check_padding(walk *w, uint64_t off)
{
    uint64_t n = off - w->cursor;
    zo2_status s = zo2_io_read(&zo2_io_posix, w->p->fd, w->piece, n, w->cursor, w->p->path);
    if (s != ZO2_OK)
        return s;
    for (uint64_t i = 0; i < n; i++)
        if (w->piece[i])
            return zo2_error(ZO2_ERR_FORMAT, "%s: the padding byte at offset %" PRIu64 " is not 0; " AGAIN, w->p->path,
                             w->cursor + i);
    w->cursor = off;
    return ZO2_OK;
}

/* A part of the file that is not a chunk. */
static zo2_status check_part(walk *w, uint64_t off, uint64_t n, uint64_t hash, const char *label)
{
    zo2_status s = check_padding(w, off);
    XXH3_64bits_reset(w->hash);
    for (uint64_t left = n; s == ZO2_OK && left > 0;) {
        uint64_t now = left < PIECE_BYTES ? left : PIECE_BYTES;
        s = zo2_io_read(&zo2_io_posix, w->p->fd, w->piece, now, w->cursor, w->p->path);
        XXH3_64bits_update(w->hash, w->piece, (size_t)now);
        w->cursor += now;
        left -= now;
        if (s == ZO2_OK)
            s = report(w);
    }
    if (s == ZO2_OK && XXH3_64bits_digest(w->hash) != hash)
        s = zo2_error(ZO2_ERR_FORMAT, "%s: the checksum of %s (offset %" PRIu64 ", %" PRIu64 " bytes) is wrong; " AGAIN,
                      w->p->path, label, off, n);
    return s;
}

static zo2_status check_tensor(walk *w, uint32_t i)
{
    const zo2_packfile *p = w->p;
    const zo2_pack_tensor_record *t = &p->tensors[i];
    XXH3_64bits_reset(w->hash);
    uint64_t end = t->first_chunk + zo2_pack_chunk_count(t);
    for (uint64_t c = t->first_chunk; c < end; c++) {
        const zo2_pack_chunk_record *r = &p->chunks[c];
        zo2_status s = check_padding(w, r->offset);
        if (s == ZO2_OK)
            s = zo2_packfile_read_chunk(p, i, c, w->chunk);
        if (s != ZO2_OK)
            return s;
        XXH3_64bits_update(w->hash, w->chunk, (size_t)r->decoded_bytes);
        w->cursor = r->offset + r->stored_bytes;
        if ((s = report(w)) != ZO2_OK)
            return s;
    }
    if (XXH3_64bits_digest(w->hash) != t->hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: tensor %s (from offset %" PRIu64 "): its bits don't have its hash; " AGAIN, p->path,
                         p->views[i].name, p->chunks[t->first_chunk].offset);
    return ZO2_OK;
}

zo2_status zo2_packfile_verify(const zo2_packfile *p, zo2_progress_fn progress, void *ud)
{
    static const char *const label[ZO2_PACK_TABLES] = {"the tensor table", "the chunk table", "the file table",
                                                       "the names table"};
    walk w = {.p = p, .progress = progress, .ud = ud};
    zo2_status s = ZO2_OK;
    uint64_t largest = 1;
    for (uint64_t c = 0; c < p->super.chunks; c++)
        if (p->chunks[c].decoded_bytes > largest)
            largest = p->chunks[c].decoded_bytes;
    w.piece = malloc((size_t)PIECE_BYTES);
    w.chunk = malloc((size_t)largest);
    w.hash = XXH3_createState();
    if (!w.piece || !w.chunk || !w.hash)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory to verify %s (%" PRIu64 " bytes)", p->path, PIECE_BYTES + largest);

    if (s == ZO2_OK)
        s = check_part(&w, 0, sizeof p->super, XXH3_64bits(&p->super, sizeof p->super), "the superblock");
    for (uint32_t i = 0; s == ZO2_OK && i < p->super.tensors; i++)
        if (p->tensors[i].stored_as == i)
            s = check_tensor(&w, i);
    for (uint32_t i = 0; s == ZO2_OK && i < p->super.files; i++)
        s = check_part(&w, p->files[i].offset, p->files[i].bytes, p->files[i].hash, p->names + p->files[i].name_offset);
    for (int i = 0; s == ZO2_OK && i < ZO2_PACK_TABLES; i++)
        s = check_part(&w, p->super.table[i].offset, p->super.table[i].bytes, p->super.table[i].hash, label[i]);
    if (s == ZO2_OK) /* the model hash was checked against the tensors' hashes at opening */
        s = check_padding(&w, p->super.file_bytes);
    if (s == ZO2_OK)
        s = report(&w);
    XXH3_freeState(w.hash);
    free(w.chunk);
    free(w.piece);
    return s;
}
