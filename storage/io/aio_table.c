/* aio_table.c: the kind of queue that makes each call at once, through a zo2_io table: what tests spoil there, a run meets. */
#include "storage/io/aio.h"
#include "storage/io/aio_internal.h"
#include "storage/io/io.h"
#include "storage/io/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct table {
    const zo2_io *io;
    zo2_aio_piece *done, **last; /* in order */
} table;

static zo2_status table_open(void **impl, const zo2_aio_config *c, char *describe, size_t describe_bytes)
{
    table *t = calloc(1, sizeof *t);
    if (!t)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    t->io = c->io;
    t->last = &t->done;
    snprintf(describe, describe_bytes, "one call at a time");
    *impl = t;
    return ZO2_OK;
}

static void table_issue(void *impl, zo2_aio_piece *piece)
{
    table *t = impl;
    const zo2_transfer *x = &piece->x.t;
    int fd = zo2_aio_transfer_fd(&piece->x);
    ssize_t moved = x->write ? t->io->pwrite(t->io->ud, fd, x->at, (size_t)x->bytes, (off_t)x->offset)
                             : t->io->pread(t->io->ud, fd, x->at, (size_t)x->bytes, (off_t)x->offset);
    piece->result = moved < 0 ? -errno : moved;
    piece->next = NULL;
    *t->last = piece;
    t->last = &piece->next;
}

static zo2_aio_piece *table_collect(void *impl, int wait)
{
    table *t = impl;
    zo2_aio_piece *done = t->done;
    (void)wait;
    t->done = NULL;
    t->last = &t->done;
    return done;
}

static void table_close(void *impl, int forked)
{
    (void)forked;
    free(impl);
}

const zo2_aio_kind zo2_aio_table = {
    .open = table_open, .close = table_close, .issue = table_issue, .collect = table_collect};
