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

/* A file for large transfers: opened with O_DIRECT if its file system can, and a second time without. */
typedef struct zo2_aio_file {
    char *path;
    int direct;   /* descriptor with O_DIRECT; -1: the file system has none (tmpfs) */
    int buffered; /* descriptor without */
    uint32_t
        align; /* of offsets and lengths of direct transfers: what statx says, else 4096. A power of two, at most 4096 */
    uint32_t memory_align; /* of their addresses */
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
    ZO2_AIO_SYNC, /* fdatasync of what was written by requests that were done before this one was submitted */
} zo2_aio_op;

typedef struct zo2_aio_request {
    zo2_aio_op op;
    uint32_t file; /* index of the queue's files */
    void *
        buffer; /* aligned to the file's memory_align; in the queue's arena it may be registered, elsewhere it works too */
    uint64_t bytes, offset; /* multiples of 4096 */
    uint64_t tag;           /* the caller's */
} zo2_aio_request;

typedef struct zo2_aio_done {
    uint64_t tag;
    zo2_status status; /* on an error: zo2_aio_last_error() of the queue, until the next reap */
} zo2_aio_done;

typedef struct zo2_aio zo2_aio;

typedef enum zo2_aio_choice { ZO2_AIO_AUTO, ZO2_AIO_URING, ZO2_AIO_THREADS, ZO2_AIO_TABLE } zo2_aio_choice;

typedef struct zo2_aio_config {
    zo2_aio_choice choice; /* AUTO: io_uring, and threads where it is refused */
    const zo2_io *io;      /* TABLE, and syncs of the other kinds */
    const zo2_aio_file *files;
    uint32_t n_files;
    void *
        arena; /* where most buffers lie, aligned to 4096; NULL: nowhere in particular. Registered where RLIMIT_MEMLOCK allows */
    uint64_t arena_bytes;
    uint32_t
        depth; /* requests in flight; 0: 32. Large ones are cut in pieces of a few MiB, which count one each inside */
} zo2_aio_config;

/* The thread that submits first owns the queue from then on. Files and arena outlive it. ZO2_ERR_UNSUPPORTED if `choice` names a
 * kind that the system refuses, with its reason. */
zo2_status zo2_aio_open(zo2_aio **out, const zo2_aio_config *c);
/* Waits for what is in flight. NULL is fine. */
void zo2_aio_close(zo2_aio *q);

/* "io_uring, registered buffers", "io_uring", "pread threads (io_uring: Operation not permitted)": for people. */
const char *zo2_aio_describe(const zo2_aio *q);

/* Requests that may be submitted before the next reap. */
uint32_t zo2_aio_room(const zo2_aio *q);
/* room > 0. Requests are done in any order. */
zo2_status zo2_aio_submit(zo2_aio *q, const zo2_aio_request *r);
/* Requests submitted and not reaped yet. */
uint32_t zo2_aio_in_flight(const zo2_aio *q);
/* Takes up to max that are done; wait: at least one, if any is in flight. */
uint32_t zo2_aio_reap(zo2_aio *q, zo2_aio_done *done, uint32_t max, int wait);
const char *zo2_aio_last_error(const zo2_aio *q);

#endif
