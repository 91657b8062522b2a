/* io_outfile.c: files that appear complete or not at all. A crash at any point leaves the old file or the new one, and
 * perhaps a PATH.tmp-PID, which nothing reads and the next writer of PATH removes. */
#include "storage/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Signals while room is set aside, before it is given up. */
#define MAX_INTERRUPTS 1000

/* "a/b" -> "a", "/b" -> "/", "b" -> "."; malloc'ed. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    if (slash == path)
        return strdup("/");
    return strndup(path, (size_t)(slash - path));
}

zo2_status zo2_io_remove_unheld(const zo2_io *io, const char *path)
{
    const int fd = io->open(io->ud, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? ZO2_OK : zo2_io_error("cannot open", path);
    zo2_status s = ZO2_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        s = zo2_error(ZO2_ERR_BUSY, "%s is in use by another process; wait for it or end it", path);
    else if (io->unlink(io->ud, path))
        s = zo2_io_error("cannot remove", path);
    io->close(io->ud, fd);
    return s ? s : zo2_io_sync_parent(io, path);
}

zo2_status zo2_io_sync_parent(const zo2_io *io, const char *path)
{
    zo2_status s = ZO2_OK;
    char *dir = parent_of(path);
    if (!dir)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of the folder of %s", path);
    int fd = io->open(io->ud, dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        s = zo2_io_error("cannot open folder", dir);
    } else {
        /* Some file systems (FUSE, CIFS) have no fsync for folders and say EINVAL: nothing better can be done there. */
        if (io->fsync(io->ud, fd) != 0 && errno != EINVAL && errno != EOPNOTSUPP)
            s = zo2_io_error("cannot sync folder", dir);
        io->close(io->ud, fd);
    }
    free(dir);
    return s;
}

/* 1: path exists (a dangling link counts), 0: it does not, -1: errno. */
static int exists(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return 1;
    return errno == ENOENT ? 0 : -1;
}

static zo2_status refuse_existing(const char *path)
{
    int e = exists(path);
    if (e < 0)
        return zo2_io_error("cannot examine", path);
    if (e)
        return zo2_error(ZO2_ERR_EXISTS, "%s exists already; remove it or choose another name", path);
    return ZO2_OK;
}

/* Takes the temporary name for this writer. A file that a crash left there is reused; one that another thread (or a
 * process of another container with the same PID) is writing has its lock. Whoever renames keeps the lock until it
 * closes, so a locked file that still has the name is ours alone. */
static zo2_status claim(zo2_outfile *f)
{
    struct stat mine, named;
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return zo2_error(ZO2_ERR_BUSY, "%s is being written by someone else (%s is locked)", f->path, f->tmp);
    if (fstat(f->fd, &mine) != 0)
        return zo2_io_error("cannot examine", f->tmp);
    if (lstat(f->tmp, &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev)
        return zo2_error(ZO2_ERR_BUSY, "%s is being written by someone else (%s was renamed)", f->path, f->tmp);
    if (!S_ISREG(mine.st_mode))
        return zo2_error(ZO2_ERR_EXISTS, "%s is in the way and not a regular file; remove it", f->tmp);
    if (!f->keep && mine.st_size != 0 && f->io->ftruncate(f->io->ud, f->fd, 0) != 0)
        return zo2_io_error("cannot empty", f->tmp);
    return ZO2_OK;
}

static void forget(zo2_outfile *f)
{
    free(f->path);
    free(f->tmp);
    memset(f, 0, sizeof *f);
    f->fd = -1;
}

static zo2_status open_as(zo2_outfile *f, const zo2_io *io, const char *path, const char *suffix, int force, int keep)
{
    memset(f, 0, sizeof *f);
    f->fd = -1;
    f->force = force;
    f->keep = keep;
    zo2_status s = zo2_require_replaceable(path);
    if (s || (!force && (s = refuse_existing(path)) != ZO2_OK))
        return s;

    zo2_outfile_clean(io, path);
    size_t n = strlen(path) + strlen(suffix) + 1;
    f->path = strdup(path);
    f->tmp = malloc(n);
    if (!f->path || !f->tmp) {
        forget(f);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s", path);
    }
    snprintf(f->tmp, n, "%s%s", path, suffix);
    f->fd = io->open(io->ud, f->tmp, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (f->fd < 0) {
        s = zo2_io_error("cannot create", f->tmp);
        forget(f);
        return s;
    }
    f->io = io;
    s = claim(f);
    if (s == ZO2_ERR_BUSY || s == ZO2_ERR_EXISTS) { /* not ours: leave it */
        io->close(io->ud, f->fd);
        forget(f);
    } else if (s != ZO2_OK) {
        zo2_outfile_abort(f);
    }
    return s;
}

zo2_status zo2_outfile_open(zo2_outfile *f, const zo2_io *io, const char *path, int force)
{
    char suffix[32];
    snprintf(suffix, sizeof suffix, ".tmp-%ld", (long)getpid());
    return open_as(f, io, path, suffix, force, 0);
}

zo2_status zo2_outfile_reopen(zo2_outfile *f, const zo2_io *io, const char *path, int force)
{
    return open_as(f, io, path, ZO2_PARTIAL, force, 1);
}

zo2_status zo2_outfile_commit(zo2_outfile *f)
{
    const zo2_io *io = f->io;
    zo2_status s = ZO2_OK;
    if (!io)
        return zo2_error(ZO2_ERR_ARG, "commit of an output file that is not open");
    if (io->fsync(io->ud, f->fd) != 0) {
        s = zo2_io_error("cannot sync", f->tmp); /* final: what was dirty may be gone from the page cache */
        goto fail;
    }
    if (!f->force && (s = refuse_existing(f->path)) != ZO2_OK) /* it may have come meanwhile */
        goto fail;
    if (io->rename(io->ud, f->tmp, f->path) != 0) {
        s = zo2_io_error("cannot rename the finished file to", f->path);
        goto fail;
    }
    s = zo2_io_sync_parent(io, f->path);
    if (s != ZO2_OK && !f->force)
        io->unlink(io->ud,
                   f->path); /* an error leaves nothing; with force the old file is gone, so the new one stays */
    if (io->close(io->ud, f->fd) != 0 && s == ZO2_OK && errno != EINTR)
        s = zo2_io_error("cannot close", f->path);
    forget(f);
    return s;
fail:
    zo2_outfile_abort(f);
    return s;
}

void zo2_outfile_leave(zo2_outfile *f)
{
    if (!f || !f->io)
        return;
    f->io->close(f->io->ud, f->fd);
    forget(f);
}

void zo2_outfile_abort(zo2_outfile *f)
{
    if (!f || !f->io)
        return;
    f->io->unlink(f->io->ud, f->tmp); /* before the lock goes with the close */
    f->io->close(f->io->ud, f->fd);
    forget(f);
}

zo2_status zo2_require_space(const char *path, uint64_t bytes)
{
    uint64_t available;
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    if (!dir)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the folder of %s", path);
    struct stat st;
    zo2_outfile_clean(&zo2_io_posix, path);
    zo2_status s = stat(dir, &st) != 0 && errno == ENOENT
                       ? zo2_error(ZO2_ERR_NOTFOUND, "there is no folder %s to write %s in; make it first", dir, path)
                       : zo2_io_free_bytes(dir, &available);
    if (!s && available < bytes)
        s = zo2_error(ZO2_ERR_NOSPACE,
                      "%s needs %" PRIu64 " bytes (%.1f GiB), but only %" PRIu64
                      " (%.1f GiB) are free in %s; free space there or write to another disk",
                      path, bytes, (double)bytes / 0x1p30, available, (double)available / 0x1p30, dir);
    free(dir);
    return s;
}

zo2_status zo2_io_set_aside(const zo2_io *io, int fd, const char *path, uint64_t bytes)
{
    int rc = -1;
    for (int i = 0; i < MAX_INTERRUPTS && rc != 0 && (i == 0 || errno == EINTR); i++)
        rc = io->allocate(io->ud, fd, (off_t)bytes);
    if (rc == 0)
        return ZO2_OK;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return zo2_error(ZO2_ERR_NOSPACE,
                         "cannot set %" PRIu64 " bytes (%.1f GiB) aside for %s: %s; free space there or "
                         "write to another disk",
                         bytes, (double)bytes / 0x1p30, path, strerror(errno));
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return zo2_io_error("cannot set room aside for", path);
    zo2_status s = zo2_require_space(path, bytes);
    if (!s && io->ftruncate(io->ud, fd, (off_t)bytes) != 0)
        s = zo2_io_error("cannot size", path);
    return s;
}

zo2_status zo2_make_folder(const zo2_io *io, const char *dir)
{
    if (mkdir(dir, 0777) == 0)
        return zo2_io_sync_parent(io, dir);
    return errno == EEXIST ? ZO2_OK : zo2_io_error("cannot make folder", dir);
}

zo2_status zo2_require_replaceable(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_ARG, "%s exists and is not a regular file; choose another name", path);
    return ZO2_OK;
}

zo2_status zo2_require_absent(const char *path, int force)
{
    struct stat st;
    if (force)
        return ZO2_OK;
    if (lstat(path, &st) == 0)
        return zo2_error(ZO2_ERR_EXISTS, "%s exists already; remove it or choose another name", path);
    return errno == ENOENT ? ZO2_OK : zo2_io_error("cannot examine", path);
}
