/* aio.h: large aligned transfers, many at once. A queue belongs to one thread, which submits requests and takes what is
 * done; there are three kinds of queue behind one table:
 *
 *     io_uring   liburing; O_DIRECT, registered buffers and files where the system lets us; one system call for many
 *     threads    pread and pwrite on threads of its own, where io_uring is refused (containers, old kernels, sysctl)
 *     table      every request at once through a zo2_io table: for tests, which fail, tear and cut them there
 *
 * Every result is checked: a short transfer is continued, EINTR and EAGAIN are tried again, EINVAL and EOPNOTSUPP of a direct
 * transfer go on through the page cache, an end of file inside a read is ZO2_ERR_FORMAT; any other error is final and names
 * file and offset. A failed sync is never repeated. */
#ifndef ZO2_STORAGE_IO_AIO_H
#define ZO2_STORAGE_IO_AIO_H

#include "storage/io/io.h"

/* Offsets and lengths of requests are multiples of it: no file's alignment is larger. */
#define ZO2_AIO_PAGE 4096u

/* A file for large transfers: opened with O_DIRECT if its file system can, and a second time without. */
typedef struct zo2_aio_file {
    char *path;
    int direct;     /* descriptor with O_DIRECT; -1: the file system has none (tmpfs) */
    int buffered;   /* descriptor without */
    uint32_t align; /* of direct transfers' offsets and lengths: what statx says, else 4096; 1 without O_DIRECT */
    uint32_t memory_align; /* of their addresses; both are powers of two, at most 4096 */
} zo2_aio_file;

/* flags: O_RDONLY or O_RDWR, O_CREAT, O_EXCL; opened with O_CLOEXEC. Errors as of zo2_io_error(). */
zo2_status zo2_aio_file_open(zo2_aio_file *f, const zo2_io *io, const char *path, int flags, int mode);
void zo2_aio_file_close(zo2_aio_file *f, const zo2_io *io); /* zeroed is fine: it has no path */

/* A whole transfer now, on the caller's thread: direct if everything is aligned, else through the page cache. Any thread. */
zo2_status zo2_aio_file_read(const zo2_aio_file *f, const zo2_io *io, void *buffer, uint64_t bytes, uint64_t offset);
zo2_status zo2_aio_file_write(const zo2_aio_file *f, const zo2_io *io, const void *buffer, uint64_t bytes,
                              uint64_t offset);

typedef enum zo2_aio_op {
    ZO2_AIO_READ,
    ZO2_AIO_WRITE,
    ZO2_AIO_SYNC, /* fdatasync of what was written by requests that were done before; made by zo2_aio_submit() itself */
} zo2_aio_op;

typedef struct zo2_aio_request {
    zo2_aio_op op;
    uint32_t file;          /* index of the queue's files */
    void *buffer;           /* one that isn't aligned to the file's memory_align goes through the page cache */
    uint64_t bytes, offset; /* multiples of ZO2_AIO_PAGE */
    uint64_t tag;           /* the caller's */
} zo2_aio_request;

typedef struct zo2_aio_done {
    uint64_t tag;
    zo2_status status;
} zo2_aio_done;

typedef struct zo2_aio zo2_aio;

typedef enum zo2_aio_choice { ZO2_AIO_AUTO, ZO2_AIO_URING, ZO2_AIO_THREADS, ZO2_AIO_TABLE } zo2_aio_choice;

typedef struct zo2_aio_config {
    zo2_aio_choice choice;     /* AUTO: io_uring, and threads where it is refused */
    const zo2_io *io;          /* TABLE's calls, and everyone's syncs; NULL: zo2_io_posix */
    const zo2_aio_file *files; /* [n_files] */
    uint32_t n_files;
    /* Where most buffers lie, aligned to 4096; NULL: nowhere in particular. Registered where RLIMIT_MEMLOCK allows: its pages
     * are resident from then on. Huge ones (zo2_host_map()) can double the speed: of pages of 4 KiB a piece has more segments
     * than many drives take in one request. */
    void *arena;
    uint64_t arena_bytes;
    /* Requests in flight, at most 4096; 0: 32. Large ones are cut in pieces of 2 to 4 MiB, and as many pieces, too, are with
     * the system at once. */
    uint32_t depth;
} zo2_aio_config;

/* The thread that submits first owns the queue from then on. Files, arena and io outlive it. ZO2_ERR_UNSUPPORTED if `choice` names
 * a kind that the system refuses, with its reason. */
zo2_status zo2_aio_open(zo2_aio **out, const zo2_aio_config *c);
/* Waits for what is with the system; what isn't yet is dropped. By the owner, or when nothing is in flight. In
 * a forked child it frees only. NULL is fine. */
void zo2_aio_close(zo2_aio *q);

/* "io_uring, registered buffers", "pread threads (io_uring: Operation not permitted)": for people. */
const char *zo2_aio_describe(const zo2_aio *q);

/* Requests that may be submitted before the next reap. */
uint32_t zo2_aio_room(const zo2_aio *q);
/* Requests are done in any order; what fails on the way is told by reap. Errors are the caller's: no room (ZO2_ERR_BUSY), no such
 * file, sizes that aren't multiples of 4096 (ZO2_ERR_ARG). */
zo2_status zo2_aio_submit(zo2_aio *q, const zo2_aio_request *r);
/* Requests submitted and not reaped yet. */
uint32_t zo2_aio_in_flight(const zo2_aio *q);
/* Takes up to max that are done; wait: at least one, if any is in flight. */
uint32_t zo2_aio_reap(zo2_aio *q, zo2_aio_done *done, uint32_t max, int wait);
/* Of the first failure that the last reap took; "" if it took none. */
const char *zo2_aio_last_error(const zo2_aio *q);

#endif
