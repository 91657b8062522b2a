/* snapshot_write.c: writes a snapshot, reads it back, and only then gives it its name.
 *
 * Data comes first and the header with the table last, because a unit's hash is known only when it is complete. Hashes
 * are taken from the caller's memory before the bytes go down, so what comes back is compared with what was meant. */
#include "storage/io/io.h"
#include "storage/run/snapshot.h"
#include "storage/run/snapshot_format.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct zo2_snapwriter {
    const zo2_io *io;
    char *dir;
    zo2_outfile file;
    zo2_status failed; /* the first failure; nothing goes on after it */
    zo2_snapshot_header header;
    zo2_snap_unit *table;
    uint64_t file_bytes;
    uint32_t begun;     /* units that unit() has begun; the last of them is open while `done` lacks values */
    uint64_t done;      /* values of the last begun unit written so far */
    XXH3_state_t *hash; /* of the last begun unit */
};

static zo2_status fail(zo2_snapwriter *w, zo2_status s)
{
    w->failed = s;
    return s;
}

zo2_status zo2_snapwriter_open(zo2_snapwriter **out, const zo2_io *io, const char *dir, const zo2_snapshot_header *h,
                               const uint64_t *elements)
{
    *out = NULL;
    const uint64_t file_bytes = zo2_snap_layout(NULL, elements, h->units);
    if (!file_bytes || h->step > ZO2_SNAPSHOT_MAX_STEP)
        return zo2_error(ZO2_ERR_ARG, "snapshot of step %llu with %u units: out of range", (unsigned long long)h->step,
                         h->units);
    zo2_status s = ZO2_OK;
    char *path = NULL;
    zo2_snapwriter *w = calloc(1, sizeof *w);
    if (w) {
        w->io = io;
        w->header = *h;
        w->file_bytes = file_bytes;
        w->dir = strdup(dir);
        w->table = calloc(h->units, sizeof *w->table);
        w->hash = XXH3_createState();
        path = zo2_snap_path(dir, h->step);
    }
    if (!w || !w->dir || !w->table || !w->hash || !path) {
        s = zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for a snapshot's table", dir);
        goto done;
    }
    zo2_snap_layout(w->table, elements, h->units);
    s = zo2_make_folder(io, dir);
    /* force: a snapshot of the same step is replaced, once this one has been verified */
    if (!s)
        s = zo2_outfile_open(&w->file, io, path, 1);
done:
    free(path);
    if (s)
        zo2_snapwriter_close(w);
    else
        *out = w;
    return s;
}

static int unit_is_open(const zo2_snapwriter *w)
{
    return w->begun > 0 && w->done < w->table[w->begun - 1].elements;
}

zo2_status zo2_snapwriter_unit(zo2_snapwriter *w, uint64_t step)
{
    if (w->failed)
        return w->failed;
    if (unit_is_open(w) || w->begun == w->header.units || step > w->header.step)
        return fail(w, zo2_error(ZO2_ERR_ARG, "%s: unit %u of %u at step %llu begun out of order or ahead of step %llu",
                                 w->file.path, w->begun, w->header.units, (unsigned long long)step,
                                 (unsigned long long)w->header.step));
    zo2_snap_unit *u = &w->table[w->begun++];
    u->step = step;
    u->hash = XXH3_64bits(NULL, 0); /* right for a unit without values */
    w->done = 0;
    XXH3_64bits_reset(w->hash);
    return ZO2_OK;
}

zo2_status zo2_snapwriter_values(zo2_snapwriter *w, const float *values, uint64_t n)
{
    if (w->failed)
        return w->failed;
    if (n == 0)
        return ZO2_OK;
    if (w->begun == 0 || n > w->table[w->begun - 1].elements - w->done)
        return fail(w, zo2_error(ZO2_ERR_ARG, "%s: more values than unit %u has", w->file.path, w->begun));
    zo2_snap_unit *u = &w->table[w->begun - 1];
    const unsigned char *from = (const unsigned char *)values;
    uint64_t at = u->offset + w->done * sizeof(float), left = n * sizeof(float);
    while (left > 0) {
        const size_t piece = left < ZO2_SNAPSHOT_PIECE ? (size_t)left : ZO2_SNAPSHOT_PIECE;
        XXH3_64bits_update(w->hash, from, piece);
        zo2_status s = zo2_io_write(w->io, w->file.fd, from, piece, at, w->file.tmp);
        if (s)
            return fail(w, s);
        from += piece;
        at += piece;
        left -= piece;
    }
    w->done += n;
    if (w->done == u->elements)
        u->hash = XXH3_64bits_digest(w->hash);
    return ZO2_OK;
}

static zo2_status write_head(zo2_snapwriter *w)
{
    const size_t table_bytes = (size_t)w->header.units * sizeof *w->table;
    zo2_snap_head h = {
        .version = ZO2_SNAPSHOT_VERSION,
        .header_bytes = ZO2_SNAPSHOT_HEADER_BYTES,
        .model_hash = w->header.model_hash,
        .step = w->header.step,
        .chain = w->header.chain,
        .units = w->header.units,
        .alignment = ZO2_SNAPSHOT_ALIGN,
        .file_bytes = w->file_bytes,
        .table_hash = XXH3_64bits(w->table, table_bytes),
    };
    memcpy(h.magic, ZO2_SNAPSHOT_MAGIC, sizeof h.magic);
    h.hash = XXH3_64bits(&h, offsetof(zo2_snap_head, hash));
    zo2_status s = zo2_io_write(w->io, w->file.fd, w->table, table_bytes, sizeof h, w->file.tmp);
    if (!s)
        s = zo2_io_write(w->io, w->file.fd, &h, sizeof h, 0, w->file.tmp);
    return s;
}

/* Reads the temporary file back: header and table are the ones meant, every unit has its hash. */
static zo2_status verify(const zo2_snapwriter *w)
{
    /* From the device, not from the page cache, where the system can do that. */
    (void)posix_fadvise(w->file.fd, 0, 0, POSIX_FADV_DONTNEED);
    zo2_snapfile *f = NULL;
    zo2_status s = zo2_snapfile_open_path(&f, w->io, w->file.tmp);
    if (!s) {
        const zo2_snapshot_header *h = zo2_snapfile_get_header(f);
        if (h->model_hash != w->header.model_hash || h->step != w->header.step || h->chain != w->header.chain ||
            h->units != w->header.units || memcmp(zo2_snapfile_table(f), w->table, (size_t)h->units * sizeof *w->table))
            s = zo2_error(ZO2_ERR_FORMAT, "%s: reads back another header than was written", w->file.tmp);
        for (uint32_t i = 0; !s && i < h->units; i++)
            s = zo2_snapfile_check_unit(f, i, NULL);
    }
    zo2_snapfile_close(f);
    if (s == ZO2_ERR_FORMAT)
        s = zo2_error(ZO2_ERR_IO, "a snapshot doesn't read back as it was written, the device may be failing: %s",
                      zo2_last_error());
    return s;
}

zo2_status zo2_snapwriter_commit(zo2_snapwriter *w)
{
    if (w->failed)
        return w->failed;
    if (!w->file.io)
        return zo2_error(ZO2_ERR_ARG, "a snapshot is committed once");
    if (w->begun < w->header.units || unit_is_open(w))
        return fail(w, zo2_error(ZO2_ERR_ARG, "%s: the snapshot isn't complete", w->file.path));
    zo2_status s = ZO2_OK;
    if (w->io->ftruncate(w->io->ud, w->file.fd, (off_t)w->file_bytes))
        s = zo2_io_error("cannot size", w->file.tmp);
    if (!s)
        s = write_head(w);
    if (!s && w->io->fsync(w->io->ud, w->file.fd))
        s = zo2_io_error("cannot sync", w->file.tmp);
    if (!s)
        s = verify(w);
    if (!s)
        s = zo2_outfile_commit(&w->file);
    if (s) {
        zo2_outfile_abort(&w->file);
        return fail(w, s);
    }
    zo2_snapshot_prune(w->io, w->dir, w->header.step);
    return ZO2_OK;
}

void zo2_snapwriter_close(zo2_snapwriter *w)
{
    if (!w)
        return;
    zo2_outfile_abort(&w->file);
    XXH3_freeState(w->hash);
    free(w->dir);
    free(w->table);
    free(w);
}
