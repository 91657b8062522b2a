/* snapshot_read.c: opens snapshots and reads their units. A snapshot is a cache: whatever is wrong with one is an error
 * here and a longer replay for the caller. Sizes are checked against the file's own length before anything is
 * allocated. */
#include "storage/io/io.h"
#include "storage/run/snapshot.h"
#include "storage/run/snapshot_format.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct zo2_snapfile {
    const zo2_io *io;
    char *path;
    int fd;
    zo2_snapshot_header header;
    zo2_snap_unit *table;
};

static zo2_status damaged(const zo2_snapfile *s, const char *why)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s: %s; the file may be removed, it only shortens replay", s->path, why);
}

/* Header and length; *h is as read. */
static zo2_status load_head(zo2_snapfile *s, zo2_snap_head *h, uint64_t size)
{
    if (size < sizeof *h)
        return damaged(s, "shorter than a snapshot's header");
    zo2_status status = zo2_io_read(s->io, s->fd, h, sizeof *h, 0, s->path);
    if (status)
        return status;
    if (memcmp(h->magic, ZO2_SNAPSHOT_MAGIC, sizeof h->magic))
        return damaged(s, "not a zo2 snapshot");
    /* In every version the first 256 bytes end with their hash, so damage is told from news. */
    if (h->hash != XXH3_64bits(h, offsetof(zo2_snap_head, hash)))
        return damaged(s, "the header is damaged (checksum)");
    if (h->version != ZO2_SNAPSHOT_VERSION)
        return zo2_error(ZO2_ERR_FORMAT, "%s: snapshot version %u, this program reads version %u", s->path, h->version,
                         ZO2_SNAPSHOT_VERSION);
    if (h->required)
        return zo2_error(ZO2_ERR_FORMAT, "%s: needs features 0x%llx that this program doesn't have", s->path,
                         (unsigned long long)h->required);
    if (h->header_bytes != sizeof *h || h->alignment != ZO2_SNAPSHOT_ALIGN || h->step > ZO2_SNAPSHOT_MAX_STEP)
        return damaged(s, "the header contradicts itself");
    for (size_t i = 0; i < sizeof h->reserved; i++)
        if (h->reserved[i])
            return damaged(s, "the header contradicts itself");
    if (h->file_bytes != size)
        return damaged(s, "its length isn't the one in its header");
    if (h->units < 1 || h->units > ZO2_SNAPSHOT_MAX_UNITS ||
        (uint64_t)h->units * sizeof(zo2_snap_unit) > size - sizeof *h)
        return damaged(s, "the number of units is out of range");
    return ZO2_OK;
}

/* The table, and that its places are exactly the layout's: no overlaps, no holes, nothing past the end. */
static zo2_status load_table(zo2_snapfile *s, const zo2_snap_head *h)
{
    const size_t bytes = (size_t)h->units * sizeof *s->table;
    s->table = malloc(bytes);
    uint64_t *elements = malloc((size_t)h->units * sizeof *elements);
    zo2_snap_unit *expected = malloc(bytes);
    zo2_status status = ZO2_OK;
    if (!s->table || !elements || !expected) {
        status = zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for the table of %u units", s->path, h->units);
        goto done;
    }
    status = zo2_io_read(s->io, s->fd, s->table, bytes, sizeof *h, s->path);
    if (status)
        goto done;
    if (h->table_hash != XXH3_64bits(s->table, bytes)) {
        status = damaged(s, "the table is damaged (checksum)");
        goto done;
    }
    for (uint32_t i = 0; i < h->units; i++)
        elements[i] = s->table[i].elements;
    int right = zo2_snap_layout(expected, elements, h->units) == h->file_bytes;
    for (uint32_t i = 0; right && i < h->units; i++)
        right = s->table[i].offset == expected[i].offset && s->table[i].step <= h->step;
    if (!right)
        status = damaged(s, "the table contradicts the format");
done:
    free(elements);
    free(expected);
    return status;
}

zo2_status zo2_snapfile_open_path(zo2_snapfile **out, const zo2_io *io, const char *path)
{
    *out = NULL;
    zo2_snapfile *s = calloc(1, sizeof *s);
    if (!s)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", path);
    s->io = io;
    s->fd = -1;
    s->path = strdup(path);
    zo2_status status = s->path ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", path);
    zo2_snap_head h;
    struct stat st = {0};
    if (!status) {
        s->fd = io->open(io->ud, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0); /* no hanging on a FIFO */
        if (s->fd < 0)
            status = zo2_io_error("cannot open", path);
    }
    if (!status && fstat(s->fd, &st))
        status = zo2_io_error("cannot examine", path);
    if (!status && !S_ISREG(st.st_mode))
        status = damaged(s, "not a regular file");
    if (!status)
        status = load_head(s, &h, (uint64_t)st.st_size);
    if (!status)
        status = load_table(s, &h);
    if (status) {
        zo2_snapfile_close(s);
        return status;
    }
    s->header = (zo2_snapshot_header){.model_hash = h.model_hash, .step = h.step, .chain = h.chain, .units = h.units};
    *out = s;
    return ZO2_OK;
}

zo2_status zo2_snapfile_open(zo2_snapfile **out, const char *dir, uint64_t step)
{
    *out = NULL;
    char *path = zo2_snap_path(dir, step);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dir);
    zo2_status status = zo2_snapfile_open_path(out, &zo2_io_posix, path);
    if (!status && (*out)->header.step != step) {
        status = damaged(*out, "holds another step than its name says");
        zo2_snapfile_close(*out);
        *out = NULL;
    }
    free(path);
    return status;
}

void zo2_snapfile_close(zo2_snapfile *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        s->io->close(s->io->ud, s->fd);
    free(s->path);
    free(s->table);
    free(s);
}

const zo2_snapshot_header *zo2_snapfile_get_header(const zo2_snapfile *s)
{
    return &s->header;
}

const zo2_snap_unit *zo2_snapfile_table(const zo2_snapfile *s)
{
    return s->table;
}

uint64_t zo2_snapfile_unit_step(const zo2_snapfile *s, uint32_t unit)
{
    assert(unit < s->header.units);
    return s->table[unit].step;
}

uint64_t zo2_snapfile_unit_elements(const zo2_snapfile *s, uint32_t unit)
{
    assert(unit < s->header.units);
    return s->table[unit].elements;
}

zo2_status zo2_snapfile_check_unit(const zo2_snapfile *s, uint32_t unit, float *values)
{
    if (unit >= s->header.units)
        return zo2_error(ZO2_ERR_ARG, "%s: there is no unit %u", s->path, unit);
    const zo2_snap_unit *u = &s->table[unit];
    unsigned char *to = (unsigned char *)values;
    unsigned char *scratch = NULL;
    uint64_t at = u->offset, left = u->elements * sizeof(float);
    if (!to && left) {
        to = scratch = malloc(left < ZO2_SNAPSHOT_PIECE ? (size_t)left : ZO2_SNAPSHOT_PIECE);
        if (!to)
            return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", s->path);
    }
    XXH3_state_t hash; /* 64-byte aligned by its own declaration */
    XXH3_64bits_reset(&hash);
    zo2_status status = ZO2_OK;
    while (!status && left > 0) {
        const size_t piece = left < ZO2_SNAPSHOT_PIECE ? (size_t)left : ZO2_SNAPSHOT_PIECE;
        status = zo2_io_read(s->io, s->fd, to, piece, at, s->path);
        if (status)
            break;
        XXH3_64bits_update(&hash, to, piece);
        if (!scratch)
            to += piece;
        at += piece;
        left -= piece;
    }
    if (!status && XXH3_64bits_digest(&hash) != u->hash)
        status = zo2_error(ZO2_ERR_FORMAT, "%s: unit %u at byte %llu is damaged (checksum)", s->path, unit,
                           (unsigned long long)u->offset);
    free(scratch);
    return status;
}

zo2_status zo2_snapfile_read_unit(const zo2_snapfile *s, uint32_t unit, float *values)
{
    if (!values)
        return zo2_error(ZO2_ERR_ARG, "%s: nowhere to put the values of unit %u", s->path, unit);
    return zo2_snapfile_check_unit(s, unit, values);
}
