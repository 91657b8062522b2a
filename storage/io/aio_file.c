/* aio_file.c: files for large transfers, and single transfers on the caller's thread. */
#include "engine/base/checked.h"
#include "storage/io/aio.h"
#include "storage/io/aio_internal.h"
#include "storage/io/io.h"
#include "storage/io/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What direct transfers are aligned to if nobody says otherwise, and the most that we keep to. */

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int is_alignment(uint32_t a)
{
    return a > 0 && a <= ZO2_AIO_PAGE && (a & (a - 1)) == 0;
}

/* Asks what direct transfers must be aligned to. 0: there are none. */
static int ask_alignment(zo2_aio_file *f)
{
    f->align = f->memory_align = ZO2_AIO_PAGE;
#ifdef STATX_DIOALIGN /* Linux 6.1 */
    struct statx st = {0};
    if (statx(f->direct, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 && (st.stx_mask & STATX_DIOALIGN)) {
        f->align = st.stx_dio_offset_align;
        f->memory_align = st.stx_dio_mem_align;
    }
#endif
    return is_alignment(f->align) && is_alignment(f->memory_align);
}

static zo2_status open_direct(zo2_aio_file *f, const zo2_io *io, int flags)
{
    f->direct = io->open(io->ud, f->path, (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_DIRECT | O_CLOEXEC, 0);
    if (f->direct >= 0 && !ask_alignment(f)) {
        io->close(io->ud, f->direct);
        f->direct = -1;
    } else if (f->direct < 0 && errno != EINVAL && errno != EOPNOTSUPP) {
        return zo2_io_error("cannot open", f->path);
    }
    if (f->direct < 0)
        f->align = f->memory_align = 1;
    return ZO2_OK;
}

zo2_status zo2_aio_file_open(zo2_aio_file *f, const zo2_io *io, const char *path, int flags, int mode)
{
    *f = (zo2_aio_file){.path = strdup(path), .direct = -1, .buffered = -1};
    if (!f->path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the path %s", path);
    f->buffered = io->open(io->ud, path, flags | O_CLOEXEC, mode);
    zo2_status s = f->buffered < 0 ? zo2_io_error("cannot open", path) : open_direct(f, io, flags);
    if (s)
        zo2_aio_file_close(f, io);
    return s;
}

void zo2_aio_file_close(zo2_aio_file *f, const zo2_io *io)
{
    if (!f->path)
        return;
    if (f->direct >= 0)
        io->close(io->ud, f->direct);
    if (f->buffered >= 0)
        io->close(io->ud, f->buffered);
    free(f->path);
    *f = (zo2_aio_file){0};
}

/* ---- transfers --------------------------------------------------------------------------------------------------- */

static int is_aligned(const zo2_aio_transfer *x)
{
    return ((x->t.bytes | x->t.offset) & (x->file->align - 1)) == 0 &&
           ((uintptr_t)x->t.at & (x->file->memory_align - 1)) == 0;
}

zo2_status zo2_aio_transfer_begin(zo2_aio_transfer *x, const zo2_aio_file *file, zo2_aio_op op, void *buffer,
                                  uint64_t bytes, uint64_t offset)
{
    *x = (zo2_aio_transfer){.file = file};
    x->t = (zo2_transfer){
        .what = file->path, .write = op == ZO2_AIO_WRITE, .at = buffer, .bytes = bytes, .offset = offset};
    x->direct = file->direct >= 0 && is_aligned(x);
    return zo2_transfer_check(&x->t);
}

zo2_status zo2_aio_transfer_step(zo2_aio_transfer *x, int64_t result)
{
    if (x->direct && (result == -EINVAL || result == -EOPNOTSUPP)) {
        x->direct = 0;
        return ZO2_OK;
    }
    zo2_status s = zo2_transfer_step(&x->t, result);
    if (x->direct && !is_aligned(x)) /* behind a short transfer */
        x->direct = 0;
    return s;
}

static zo2_status transfer_now(const zo2_aio_file *f, const zo2_io *io, zo2_aio_op op, void *buffer, uint64_t bytes,
                               uint64_t offset)
{
    zo2_aio_transfer x;
    zo2_status s = zo2_aio_transfer_begin(&x, f, op, buffer, bytes, offset);
    while (!s && x.t.bytes > 0) {
        int fd = zo2_aio_transfer_fd(&x);
        size_t n = (size_t)zo2_min_u64(x.t.bytes, ZO2_TRANSFER_MAX);
        ssize_t moved = x.t.write ? io->pwrite(io->ud, fd, x.t.at, n, (off_t)x.t.offset)
                                  : io->pread(io->ud, fd, x.t.at, n, (off_t)x.t.offset);
        s = zo2_aio_transfer_step(&x, moved < 0 ? -errno : moved);
    }
    return s;
}

zo2_status zo2_aio_file_read(const zo2_aio_file *f, const zo2_io *io, void *buffer, uint64_t bytes, uint64_t offset)
{
    return transfer_now(f, io, ZO2_AIO_READ, buffer, bytes, offset);
}

zo2_status zo2_aio_file_write(const zo2_aio_file *f, const zo2_io *io, const void *buffer, uint64_t bytes,
                              uint64_t offset)
{
    return transfer_now(f, io, ZO2_AIO_WRITE, (void *)buffer, bytes, offset);
}
