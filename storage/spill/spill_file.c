/* spill_file.c: see spill_file.h. Files may be anybody's: every number is checked before it is used. */
#include "storage/spill/spill_file.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/spill/spill_format.h"
#include "storage/spill/spill_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define AGAIN "; remove it: the run goes on from its journal, and a new one is made"

char *zo2_spill_path(const char *dir, uint64_t run)
{
    char name[40];
    snprintf(name, sizeof name, "spill-%016" PRIx64 ".zo2x", run);
    return zo2_path_join(dir, name);
}

static void *pages(uint64_t bytes)
{
    void *p = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&p, ZO2_SPILL_ALIGN, bytes ? (size_t)bytes : ZO2_SPILL_ALIGN))
        return NULL;
    return p;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static void seal(zo2_spill_front *f)
{
    zo2_spill_head *h = &f->head;
    memcpy(h->magic, ZO2_SPILL_MAGIC, sizeof h->magic);
    h->version = ZO2_SPILL_VERSION;
    h->head_bytes = ZO2_SPILL_HEAD_BYTES;
    h->alignment = ZO2_SPILL_ALIGN;
    h->classes_hash = XXH3_64bits(f->classes, h->classes * sizeof *f->classes);
    h->hash = XXH3_64bits(h, offsetof(zo2_spill_head, hash));
}

zo2_status zo2_spill_file_make(const zo2_io *io, const char *path, zo2_spill_front *front)
{
    zo2_outfile out;
    zo2_status s = zo2_outfile_open(&out, io, path, 0);
    if (s)
        return s;
    seal(front);
    s = zo2_io_set_aside(io, out.fd, path, front->head.file_bytes);
    if (!s)
        s = zo2_io_write(io, out.fd, front, sizeof *front, 0, out.tmp);
    if (!s)
        s = zo2_outfile_commit(&out);
    zo2_outfile_abort(&out);
    return s;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static zo2_status damaged(const zo2_spill_file *f, const char *what)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s: %s" AGAIN, f->at->path, what);
}

/* On a descriptor of its own: an io_uring that knows the others keeps them open a while after its process is gone. */
static zo2_status lock(zo2_spill_file *f, const zo2_io *io, int writable)
{
    f->lock = io->open(io->ud, f->at->path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0);
    if (f->lock < 0)
        return zo2_io_error("cannot open", f->at->path);
    int rc;
    do
        rc = flock(f->lock, (writable ? LOCK_EX : LOCK_SH) | LOCK_NB);
    while (rc && errno == EINTR);
    if (!rc)
        return ZO2_OK;
    if (errno == EWOULDBLOCK)
        return zo2_error(ZO2_ERR_BUSY, "%s is in use by another process; wait for it or end it", f->at->path);
    return zo2_io_error("cannot lock", f->at->path);
}

/* In this order, so that damage is told from news. */
static zo2_status check_head(const zo2_spill_file *f, uint64_t run)
{
    const zo2_spill_head *h = &f->front->head;
    if (memcmp(h->magic, ZO2_SPILL_MAGIC, sizeof h->magic) != 0)
        return damaged(f, "it doesn't begin as a spill file does");
    if (h->hash != XXH3_64bits(h, offsetof(zo2_spill_head, hash)))
        return damaged(f, "the superblock is damaged (checksum)");
    if (h->version != ZO2_SPILL_VERSION)
        return zo2_error(ZO2_ERR_FORMAT, "%s has spill version %" PRIu32 ", this program reads version %u" AGAIN,
                         f->at->path, h->version, ZO2_SPILL_VERSION);
    if (h->required)
        return zo2_error(ZO2_ERR_FORMAT, "%s needs spill feature %d, which this program doesn't know: update it",
                         f->at->path, __builtin_ctzll(h->required));
    for (size_t i = 0; i < sizeof h->reserved; i++)
        if (h->reserved[i])
            return damaged(f, "a reserved byte of the superblock is not 0");
    for (uint32_t i = 0; i < ZO2_SPILL_MAX_FILES; i++)
        if (i < h->files ? h->weight[i] - 1 >= ZO2_SPILL_WEIGHT : h->weight[i] != 0)
            return damaged(f, "a weight of the superblock is out of range");
    if (h->head_bytes != ZO2_SPILL_HEAD_BYTES || h->alignment != ZO2_SPILL_ALIGN || h->chunks > ZO2_SPILL_MAX_CHUNKS ||
        h->files == 0 || h->files > ZO2_SPILL_MAX_FILES || h->index >= h->files || h->classes > ZO2_SPILL_MAX_CLASSES)
        return damaged(f, "a number of the superblock is out of range");
    if (h->run != run)
        return zo2_error(ZO2_ERR_MISMATCH, "%s is of another run than its name says" AGAIN, f->at->path);
    return ZO2_OK;
}

/* The table of classes is the one layout that its sizes and counts have. */
static zo2_status check_classes(const zo2_spill_file *f, uint64_t file_bytes)
{
    const zo2_spill_head *h = &f->front->head;
    if (h->classes_hash != XXH3_64bits(f->front->classes, h->classes * sizeof *f->front->classes))
        return damaged(f, "the table of slot sizes is damaged (checksum)");
    static const zo2_spill_class none;
    zo2_spill_front expected = *f->front;
    int right = zo2_spill_place(&expected);
    for (uint32_t k = 0; right && k < ZO2_SPILL_MAX_CLASSES; k++)
        right = k < h->classes ? expected.classes[k].slots > 0 && expected.classes[k].reserved == 0
                               : memcmp(&expected.classes[k], &none, sizeof none) == 0;
    for (uint32_t k = 1; right && k < h->classes; k++)
        right = expected.classes[k].slot_bytes < expected.classes[k - 1].slot_bytes;
    if (!right || memcmp(&expected, f->front, sizeof expected) != 0)
        return damaged(f, "the table of slot sizes contradicts the format");
    if (h->file_bytes != file_bytes)
        return zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " bytes, its superblock says %" PRIu64 AGAIN, f->at->path,
                         file_bytes, h->file_bytes);
    return ZO2_OK;
}

static zo2_status load(zo2_spill_file *f, const zo2_io *io, uint64_t run)
{
    struct stat st;
    if (fstat(f->at->buffered, &st))
        return zo2_io_error("cannot examine", f->at->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof *f->front)
        return damaged(f, S_ISREG(st.st_mode) ? "it is shorter than a superblock" : "not a regular file");
    if (!(f->front = pages(sizeof *f->front)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", f->at->path);
    zo2_status s = zo2_aio_file_read(f->at, io, f->front, sizeof *f->front, 0);
    if (!s)
        s = check_head(f, run);
    if (!s)
        s = check_classes(f, (uint64_t)st.st_size);
    if (s)
        return s;
    const uint64_t bytes = zo2_spill_table_bytes(f->front->head.slots);
    f->table = pages(bytes);
    f->changed = calloc((size_t)(bytes / ZO2_SPILL_ALIGN) + 1, 1);
    if (!f->table || !f->changed)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the %" PRIu32 " slot headers of %s", f->front->head.slots,
                         f->at->path);
    return bytes ? zo2_aio_file_read(f->at, io, f->table, bytes, ZO2_SPILL_ALIGN) : ZO2_OK;
}

zo2_status zo2_spill_file_open(zo2_spill_file *f, const zo2_io *io, const char *path, uint64_t run, int writable)
{
    f->lock = -1;
    /* O_NONBLOCK: no hanging on a FIFO. */
    zo2_status s = zo2_aio_file_open(f->at, io, path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0);
    if (!s)
        s = lock(f, io, writable);
    if (!s)
        s = load(f, io, run);
    if (s)
        zo2_spill_file_close(f, io);
    return s;
}

void zo2_spill_file_close(zo2_spill_file *f, const zo2_io *io)
{
    if (f->at && f->at->path) {
        zo2_aio_file_close(f->at, io);
        if (f->lock >= 0)
            io->close(io->ud, f->lock);
    }
    free(f->front);
    free(f->table);
    free(f->changed);
    *f = (zo2_spill_file){.at = f->at};
}

/* ---- slot headers ------------------------------------------------------------------------------------------------ */

const zo2_spill_class *zo2_spill_slot_class(const zo2_spill_file *f, uint32_t slot)
{
    const zo2_spill_class *c = f->front->classes;
    while (slot - c->first >= c->slots)
        c++;
    return c;
}

const char *zo2_spill_slot_fault(const zo2_spill_file *f, uint32_t slot, int *empty)
{
    static const zo2_spill_slot none;
    const zo2_spill_slot *h = &f->table[slot];
    *empty = memcmp(h, &none, sizeof none) == 0;
    if (*empty)
        return NULL;
    if (h->hash != zo2_spill_slot_hash(h, f->front->head.run))
        return "wrong checksum";
    if (h->slot != slot || h->chunk >= f->front->head.chunks)
        return "it is of another slot or of no chunk";
    if (h->generation == 0 || h->generation > ZO2_SPILL_MAX_COUNTER || h->step > ZO2_SPILL_MAX_COUNTER)
        return "a number is out of range";
    if (zo2_spill_pages(h->wire_bytes) + zo2_spill_pages(h->rest_bytes) > zo2_spill_slot_class(f, slot)->slot_bytes)
        return "its planes don't fit its slot";
    return NULL;
}

#define SLOTS_PER_PAGE (ZO2_SPILL_ALIGN / sizeof(zo2_spill_slot))

void zo2_spill_slot_set(zo2_spill_file *f, const zo2_spill_slot *h)
{
    f->table[h->slot] = *h;
    f->table[h->slot].hash = zo2_spill_slot_hash(h, f->front->head.run);
    f->changed[h->slot / SLOTS_PER_PAGE] = 1;
}

void zo2_spill_table_touch(zo2_spill_file *f)
{
    static const zo2_spill_slot none;
    for (uint32_t k = 0; k < f->front->head.slots; k++)
        if (memcmp(&f->table[k], &none, sizeof none) != 0)
            f->changed[k / SLOTS_PER_PAGE] = 1;
}

zo2_status zo2_spill_table_write(zo2_spill_file *f, const zo2_io *io)
{
    const uint64_t n = zo2_spill_table_bytes(f->front->head.slots) / ZO2_SPILL_ALIGN;
    for (uint64_t from = 0, to; from < n; from = to + 1) {
        for (to = from; to < n && f->changed[to]; to++)
            f->changed[to] = 0;
        if (to == from)
            continue;
        zo2_status s = zo2_aio_file_write(f->at, io, &f->table[from * SLOTS_PER_PAGE], (to - from) * ZO2_SPILL_ALIGN,
                                          ZO2_SPILL_ALIGN * (1 + from));
        if (s)
            return s;
    }
    return ZO2_OK;
}
