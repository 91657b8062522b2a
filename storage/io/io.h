/* io.h: the one door to the file system. Everything that storage writes goes through a zo2_io table, so that tests can
 * fail the Nth operation, tear writes and cut the power. Functions return what the system calls return (-1 and errno).
 */
#ifndef ZO2_STORAGE_IO_IO_H
#define ZO2_STORAGE_IO_IO_H

#include "engine/zo2.h"

#include <sys/types.h>

typedef struct zo2_io {
    void *ud;
    int (*open)(void *ud, const char *path, int flags, int mode);
    int (*close)(void *ud, int fd);
    ssize_t (*pread)(void *ud, int fd, void *buf, size_t n, off_t off);
    ssize_t (*pwrite)(void *ud, int fd, const void *buf, size_t n, off_t off);
    int (*fdatasync)(void *ud, int fd);
    int (*fsync)(void *ud, int fd);
    int (*ftruncate)(void *ud, int fd, off_t size);
    int (*rename)(void *ud, const char *from, const char *to);
    int (*unlink)(void *ud, const char *path);
    int (*clone)(void *ud, int from,
                 int to); /* `to` gets the contents of `from`, sharing its blocks: few file systems can */
    int (*allocate)(void *ud, int fd,
                    off_t size); /* blocks up to there, which read as zeros where nothing was written */
} zo2_io;

extern const zo2_io zo2_io_posix;

/* Whole transfers: short transfers and EINTR/EAGAIN are continued. what: the file's name for messages. Errors:
 * ZO2_ERR_IO (with file, offset and the system's reason), ZO2_ERR_NOSPACE (ENOSPC, EDQUOT, EFBIG), ZO2_ERR_FORMAT for
 * an end of file inside a read. */
zo2_status zo2_io_read(const zo2_io *io, int fd, void *buf, uint64_t n, uint64_t off, const char *what);
zo2_status zo2_io_write(const zo2_io *io, int fd, const void *buf, uint64_t n, uint64_t off, const char *what);

/* The same for who reads a file from front to end in large pieces, on several threads perhaps: asks the system for this piece and the next
 * one at once, which keeps a drive busy where the system's own reading ahead doesn't. */
zo2_status zo2_io_read_along(const zo2_io *io, int fd, void *buf, uint64_t n, uint64_t off, const char *what);

/* What was written there may go to the drive now, while more is written, rather than all of it in the fsync at the end. A hint. */
void zo2_io_start_writing(int fd, uint64_t off, uint64_t n);

/* zo2_error() with "WHAT PATH: strerror(errno)" and the status that fits errno (ENOENT -> NOTFOUND, EEXIST -> EXISTS,
 * ...). */
zo2_status zo2_io_error(const char *what, const char *path);

/* A new file that appears complete or not at all: written as PATH.tmp-PID, then commit = fsync, rename, fsync of the
 * folder. */
typedef struct zo2_outfile {
    const zo2_io *io;
    int fd;
    int force, keep;
    char *path, *tmp;
} zo2_outfile;

#define ZO2_PARTIAL ".partial"

/* As zo2_outfile_open() with the temporary name PATH.partial, whose contents are kept: what an earlier writer left there is for
 * the caller to judge. */
zo2_status zo2_outfile_reopen(zo2_outfile *f, const zo2_io *io, const char *path, int force);
/* Closes it and leaves the temporary file; a no-op on a committed or zeroed one. */
void zo2_outfile_leave(zo2_outfile *f);
/* ZO2_ERR_EXISTS if path exists and not force; ZO2_ERR_ARG as of zo2_require_replaceable(). The folder must exist. */
zo2_status zo2_outfile_open(zo2_outfile *f, const zo2_io *io, const char *path, int force);
zo2_status zo2_outfile_commit(zo2_outfile *f);
/* Removes the temporary file; a no-op on a committed or zeroed one. */
void zo2_outfile_abort(zo2_outfile *f);
/* Removes what writers of path left that were killed. zo2_outfile_open() does it; one who asks for free space first
 * calls it before that. Best effort. */
void zo2_outfile_clean(const zo2_io *io, const char *path);

/* Removes a file that writers of it hold a lock (flock) on; one that isn't there is fine. ZO2_ERR_BUSY: somebody does. */
zo2_status zo2_io_remove_unheld(const zo2_io *io, const char *path);

/* fsync of the folder that holds path. */
zo2_status zo2_io_sync_parent(const zo2_io *io, const char *path);

/* Bytes an unprivileged writer may still write to the file system of path (an existing file or folder). */
zo2_status zo2_io_free_bytes(const char *path, uint64_t *bytes);

/* ZO2_ERR_NOSPACE if the file system that will hold `path` (which needn't exist, its folder must) can't take that many
 * bytes more. */
zo2_status zo2_require_space(const char *path, uint64_t bytes);

/* Room for a file of that many bytes, which it then has: zeros. Where the file system can't set it aside (NFS and FUSE, often) it
 * is only asked for what is free. path: the file's, or of one in the same folder. ZO2_ERR_NOSPACE. */
zo2_status zo2_io_set_aside(const zo2_io *io, int fd, const char *path, uint64_t bytes);

/* Makes a folder unless there is one; its parent exists. */
zo2_status zo2_make_folder(const zo2_io *io, const char *dir);

/* ZO2_ERR_ARG if something is at path that a file doesn't replace whatever the force: a folder, a device. */
zo2_status zo2_require_replaceable(const char *path);

/* ZO2_ERR_EXISTS if something is at path, unless force. */
zo2_status zo2_require_absent(const char *path, int force);

/* Whole small file into *data (malloc, NUL behind it); ZO2_ERR_FORMAT if larger than max. */
zo2_status zo2_io_slurp(const char *path, uint64_t max, char **data, size_t *bytes);

/* "DIR/NAME" in a malloc'ed string; NULL when out of memory. */
char *zo2_path_join(const char *dir, const char *name);

/* The part of a path behind its last slash. */
const char *zo2_path_name(const char *path);

#endif
