/* io.c: the zo2_io table of the operating system, whole transfers, and error texts. Relies on nothing but POSIX. */
#include "storage/io/io.h"

#include "engine/base/checked.h"
#include "storage/io/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB: off_t must have 64 bits");

/* ---- the system's own calls -------------------------------------------------------------------------------------- */

static int sys_open(void *ud, const char *path, int flags, int mode)
{
    (void)ud;
    return open(path, flags | O_CLOEXEC, mode);
}

static int sys_close(void *ud, int fd)
{
    (void)ud;
    return close(fd);
}

static ssize_t sys_pread(void *ud, int fd, void *buf, size_t n, off_t off)
{
    (void)ud;
    return pread(fd, buf, n, off);
}

static ssize_t sys_pwrite(void *ud, int fd, const void *buf, size_t n, off_t off)
{
    (void)ud;
    return pwrite(fd, buf, n, off);
}

static int sys_fdatasync(void *ud, int fd)
{
    (void)ud;
    return fdatasync(fd);
}

static int sys_fsync(void *ud, int fd)
{
    (void)ud;
    return fsync(fd);
}

static int sys_ftruncate(void *ud, int fd, off_t size)
{
    (void)ud;
    return ftruncate(fd, size);
}

static int sys_rename(void *ud, const char *from, const char *to)
{
    (void)ud;
    return rename(from, to);
}

static int sys_unlink(void *ud, const char *path)
{
    (void)ud;
    return unlink(path);
}

static int sys_clone(void *ud, int from, int to)
{
    (void)ud;
    return ioctl(to, FICLONE, from);
}

/* Not posix_fallocate(): where the file system can't, that writes to every block. */
static int sys_allocate(void *ud, int fd, off_t size)
{
    (void)ud;
    return fallocate(fd, 0, 0, size);
}

const zo2_io zo2_io_posix = {
    .open = sys_open,
    .close = sys_close,
    .pread = sys_pread,
    .pwrite = sys_pwrite,
    .fdatasync = sys_fdatasync,
    .fsync = sys_fsync,
    .ftruncate = sys_ftruncate,
    .rename = sys_rename,
    .unlink = sys_unlink,
    .clone = sys_clone,
    .allocate = sys_allocate,
};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static zo2_status status_of_errno(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR: return ZO2_ERR_NOTFOUND;
    case EEXIST: return ZO2_ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ZO2_ERR_NOSPACE;
    case ENOMEM: return ZO2_ERR_NOMEM;
    case EBUSY:
    case ETXTBSY: return ZO2_ERR_BUSY;
    default: return ZO2_ERR_IO;
    }
}

/* strerror() is thread-safe in glibc (2.32 and later) and musl. */
zo2_status zo2_io_error(const char *what, const char *path)
{
    int err = errno;
    return zo2_error(status_of_errno(err), "%s %s: %s", what, path, strerror(err));
}

/* ---- whole transfers --------------------------------------------------------------------------------------------- */

static zo2_status transfer(const zo2_io *io, int fd, zo2_transfer t)
{
    zo2_status s = zo2_transfer_check(&t);
    while (!s && t.bytes > 0) {
        size_t n = (size_t)zo2_min_u64(t.bytes, ZO2_TRANSFER_MAX);
        ssize_t moved = t.write ? io->pwrite(io->ud, fd, t.at, n, (off_t)t.offset)
                                : io->pread(io->ud, fd, t.at, n, (off_t)t.offset);
        s = zo2_transfer_step(&t, moved < 0 ? -errno : moved);
    }
    return s;
}

zo2_status zo2_io_read(const zo2_io *io, int fd, void *buf, uint64_t n, uint64_t off, const char *what)
{
    return transfer(io, fd, (zo2_transfer){.what = what, .at = buf, .bytes = n, .offset = off});
}

zo2_status zo2_io_write(const zo2_io *io, int fd, const void *buf, uint64_t n, uint64_t off, const char *what)
{
    return transfer(io, fd, (zo2_transfer){.what = what, .write = 1, .at = (void *)buf, .bytes = n, .offset = off});
}

zo2_status zo2_io_read_along(const zo2_io *io, int fd, void *buf, uint64_t n, uint64_t off, const char *what)
{
    (void)posix_fadvise(fd, (off_t)off, (off_t)(2 * n), POSIX_FADV_WILLNEED);
    return zo2_io_read(io, fd, buf, n, off, what);
}

void zo2_io_start_writing(int fd, uint64_t off, uint64_t n)
{
    (void)sync_file_range(fd, (off64_t)off, (off64_t)n, SYNC_FILE_RANGE_WRITE);
}

/* ---- small helpers ----------------------------------------------------------------------------------------------- */

zo2_status zo2_io_free_bytes(const char *path, uint64_t *bytes)
{
    struct statvfs v;
    int rc;
    do
        rc = statvfs(path, &v);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return zo2_io_error("cannot ask for the free space of", path);
    uint64_t unit = v.f_frsize ? v.f_frsize : v.f_bsize;
    if (__builtin_mul_overflow((uint64_t)v.f_bavail, unit, bytes))
        *bytes = UINT64_MAX;
    return ZO2_OK;
}

/* Reads to the end of the file instead of trusting its size: files in /proc and /sys say 0. */
zo2_status zo2_io_slurp(const char *path, uint64_t max, char **data, size_t *bytes)
{
    zo2_status s = ZO2_OK;
    char *buf = NULL;
    uint64_t cap = 0, have = 0;
    *data = NULL;
    *bytes = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: opening a FIFO must not hang */
    if (fd < 0)
        return zo2_io_error("cannot open", path);
    struct stat st;
    if (fstat(fd, &st) != 0) {
        s = zo2_io_error("cannot examine", path);
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        s = zo2_error(ZO2_ERR_FORMAT, "%s is not a regular file", path);
        goto done;
    }
    if (max > SIZE_MAX / 4)
        max = SIZE_MAX / 4;
    if ((uint64_t)st.st_size > max) {
        s = zo2_error(ZO2_ERR_FORMAT, "%s has %" PRIu64 " bytes, more than the %" PRIu64 " that are accepted here",
                      path, (uint64_t)st.st_size, max);
        goto done;
    }
    for (int idle = 0;;) {
        if (have + 1 >= cap) { /* one byte stays for the NUL */
            cap = cap ? 2 * cap : (uint64_t)st.st_size + 2;
            cap = cap > 4096 ? cap : 4096;
            char *grown = realloc(buf, (size_t)cap);
            if (!grown) {
                s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the %" PRIu64 " bytes of %s", cap, path);
                goto done;
            }
            buf = grown;
        }
        ssize_t got = read(fd, buf + have, (size_t)(cap - have - 1));
        if (got < 0) {
            if (zo2_transfer_is_transient(errno) && ++idle < ZO2_TRANSFER_MAX_IDLE)
                continue;
            s = zo2_io_error("cannot read", path);
            goto done;
        }
        if (got == 0)
            break;
        idle = 0;
        have += (uint64_t)got;
        if (have > max) {
            s = zo2_error(ZO2_ERR_FORMAT, "%s has more than the %" PRIu64 " bytes that are accepted here", path, max);
            goto done;
        }
    }
    buf[have] = '\0';
    *data = buf;
    *bytes = (size_t)have;
    buf = NULL;
done:
    free(buf);
    close(fd);
    return s;
}

char *zo2_path_join(const char *dir, const char *name)
{
    size_t nd = strlen(dir), nn = strlen(name);
    int slash = nd > 0 && dir[nd - 1] != '/'; /* "" + "a" is "a", "/" + "a" is "/a" */
    char *path = malloc(nd + (size_t)slash + nn + 1);
    if (!path)
        return NULL;
    memcpy(path, dir, nd);
    if (slash)
        path[nd] = '/';
    memcpy(path + nd + (size_t)slash, name, nn + 1);
    return path;
}

const char *zo2_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
