/* aio_internal.h: what a queue (aio.c) and its kinds (aio_uring.c, aio_threads.c, aio_table.c) share. The queue cuts requests in
 * pieces, knows what a result means and when a request is done; a kind makes system calls, one for a piece at a time, and says
 * what they returned. */
#ifndef ZO2_STORAGE_IO_AIO_INTERNAL_H
#define ZO2_STORAGE_IO_AIO_INTERNAL_H

#include "storage/io/aio.h"
#include "storage/io/transfer.h"

/* ---- a transfer from or to a zo2_aio_file (aio_file.c) ----------------------------------------------------------- */

typedef struct zo2_aio_transfer {
    zo2_transfer t;
    const zo2_aio_file *file;
    int direct; /* the next call's descriptor is file->direct, else file->buffered */
} zo2_aio_transfer;

/* Direct if the file can and everything is aligned. */
zo2_status zo2_aio_transfer_begin(zo2_aio_transfer *x, const zo2_aio_file *file, zo2_aio_op op, void *buffer,
                                  uint64_t bytes, uint64_t offset);
/* As zo2_transfer_step(); goes on through the page cache where a direct transfer is refused or has become unaligned. */
zo2_status zo2_aio_transfer_step(zo2_aio_transfer *x, int64_t result);

static inline int zo2_aio_transfer_fd(const zo2_aio_transfer *x)
{
    return x->direct ? x->file->direct : x->file->buffered;
}

/* ---- kinds ------------------------------------------------------------------------------------------------------- */

typedef struct zo2_aio_piece {
    struct zo2_aio_piece *next; /* in whatever list has it */
    zo2_aio_transfer x;
    uint32_t file, request; /* indices */
    int64_t result;         /* of the last call: bytes moved, or -errno */
} zo2_aio_piece;

/* Functions of a kind are called by the queue's thread alone, but for open and close. */
typedef struct zo2_aio_kind {
    /* c->depth is set. describe: a text for zo2_aio_describe(). ZO2_ERR_UNSUPPORTED: the system refuses it. */
    zo2_status (*open)(void **impl, const zo2_aio_config *c, char *describe, size_t describe_bytes);
    /* Nothing is in flight. forked: this is a child of the process that opened it (engine/base/process.h), and only frees. */
    void (*close)(void *impl, int forked);
    /* Begins the next call for a piece: at most c->depth are in flight. May be put off until flush or collect. */
    void (*issue)(void *impl, zo2_aio_piece *piece);
    void (*flush)(void *impl); /* NULL: issue begins them */
    /* Pieces whose call has returned, as a list; wait: at least one. */
    zo2_aio_piece *(*collect)(void *impl, int wait);
} zo2_aio_kind;

extern const zo2_aio_kind zo2_aio_uring;   /* aio_uring.c */
extern const zo2_aio_kind zo2_aio_threads; /* aio_threads.c */
extern const zo2_aio_kind zo2_aio_table;   /* aio_table.c */

#endif
