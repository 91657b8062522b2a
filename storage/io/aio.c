/* aio.c: the queue. Requests are cut in pieces, in order; as many pieces as the depth are in flight, and each that lands makes
 * room for the next. The thread of the queue is in here when it submits and reaps, so nothing is locked. */
#include "storage/io/aio.h"

#include "engine/base/checked.h"
#include "storage/io/aio_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_DEPTH 32
#define MAX_DEPTH     4096
/* Drives are fastest with requests of a few MiB, and ends are rarer the larger they are. */
#define PIECE_BYTES ((uint64_t)4 << 20)
#define ERROR_BYTES 1024

typedef struct request {
    zo2_aio_request r;
    uint64_t piece_bytes, issued; /* bytes: of a piece but the last; that pieces have been made for */
    uint32_t flying;              /* pieces */
    zo2_status status;
    char error[ERROR_BYTES]; /* of status */
} request;

/* Indices of requests, first in, first out. */
typedef struct fifo {
    uint32_t *at, begin, n;
} fifo;

struct zo2_aio {
    const zo2_aio_kind *kind;
    void *impl;
    const zo2_io *io;
    const zo2_aio_file *files;
    uint32_t n_files, depth;
    request *requests;          /* [depth] */
    zo2_aio_piece *pieces;      /* [depth] */
    zo2_aio_piece *free;        /* of them */
    fifo idle, waiting, done;   /* free; not all of it issued; to be reaped */
    pid_t process;              /* that has its threads */
    uint32_t in_flight, flying; /* requests, pieces */
    int unflushed;              /* pieces were issued since the last flush */
    char error[ERROR_BYTES], describe[256];
};

static void push(const zo2_aio *q, fifo *f, uint32_t i)
{
    f->at[(f->begin + f->n++) % q->depth] = i;
}

static uint32_t pop(const zo2_aio *q, fifo *f)
{
    uint32_t i = f->at[f->begin];
    f->begin = (f->begin + 1) % q->depth;
    f->n--;
    return i;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static zo2_status open_kind(zo2_aio *q, const zo2_aio_kind *kind, const zo2_aio_config *c)
{
    q->kind = kind;
    return kind->open(&q->impl, c, q->describe, sizeof q->describe);
}

static zo2_status open_any(zo2_aio *q, const zo2_aio_config *c)
{
    zo2_status s = open_kind(q, &zo2_aio_uring, c);
    if (s != ZO2_ERR_UNSUPPORTED)
        return s;
    char reason[128];
    snprintf(reason, sizeof reason, "%s", zo2_last_error());
    s = open_kind(q, &zo2_aio_threads, c);
    size_t n = strlen(q->describe);
    snprintf(q->describe + n, sizeof q->describe - n, " (%s)", reason);
    return s;
}

static zo2_status open_chosen(zo2_aio *q, const zo2_aio_config *c)
{
    switch (c->choice) {
    case ZO2_AIO_AUTO: return open_any(q, c);
    case ZO2_AIO_URING: return open_kind(q, &zo2_aio_uring, c);
    case ZO2_AIO_THREADS: return open_kind(q, &zo2_aio_threads, c);
    case ZO2_AIO_TABLE: return open_kind(q, &zo2_aio_table, c);
    }
    return zo2_error(ZO2_ERR_ARG, "an I/O queue of unknown kind %d", (int)c->choice);
}

/* For people: not every file system has direct transfers. */
static void describe_files(zo2_aio *q)
{
    uint32_t direct = 0;
    for (uint32_t i = 0; i < q->n_files; i++)
        direct += q->files[i].direct >= 0;
    size_t n = strlen(q->describe);
    if (direct < q->n_files)
        snprintf(q->describe + n, sizeof q->describe - n, ", through the page cache");
}

static zo2_status allocate(zo2_aio *q)
{
    fifo *fifos[] = {&q->idle, &q->waiting, &q->done};
    q->requests = calloc(q->depth, sizeof *q->requests);
    q->pieces = calloc(q->depth, sizeof *q->pieces);
    int fine = q->requests && q->pieces;
    for (int i = 0; i < 3; i++) {
        fifos[i]->at = calloc(q->depth, sizeof *fifos[i]->at);
        fine = fine && fifos[i]->at;
    }
    if (!fine)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue of %" PRIu32 " requests", q->depth);
    for (uint32_t i = 0; i < q->depth; i++) {
        push(q, &q->idle, i);
        q->pieces[i].next = q->free;
        q->free = &q->pieces[i];
    }
    return ZO2_OK;
}

zo2_status zo2_aio_open(zo2_aio **out, const zo2_aio_config *config)
{
    zo2_aio_config c = *config;
    *out = NULL;
    c.depth = c.depth ? c.depth : DEFAULT_DEPTH;
    if (c.depth > MAX_DEPTH)
        return zo2_error(ZO2_ERR_ARG, "an I/O queue of %" PRIu32 " requests: at most %d", c.depth, MAX_DEPTH);
    zo2_aio *q = calloc(1, sizeof *q);
    if (!q)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    q->io = c.io ? c.io : &zo2_io_posix;
    c.io = q->io;
    q->files = c.files;
    q->n_files = c.n_files;
    q->depth = c.depth;
    q->process = getpid();
    zo2_status s = allocate(q);
    if (!s)
        s = open_chosen(q, &c);
    if (s) {
        zo2_aio_close(q);
        return s;
    }
    describe_files(q);
    *out = q;
    return ZO2_OK;
}

void zo2_aio_close(zo2_aio *q)
{
    if (!q)
        return;
    int forked = q->process != getpid();
    while (q->flying > 0 && !forked)
        for (zo2_aio_piece *p = q->kind->collect(q->impl, 1); p; p = p->next)
            q->flying--;
    if (q->impl)
        q->kind->close(q->impl, forked);
    free(q->done.at);
    free(q->waiting.at);
    free(q->idle.at);
    free(q->pieces);
    free(q->requests);
    free(q);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* The failure is this thread's last error; what isn't issued of the request never will be. */
static void fail(zo2_aio *q, uint32_t i, zo2_status s)
{
    request *r = &q->requests[i];
    if (r->status)
        return;
    r->status = s;
    snprintf(r->error, sizeof r->error, "%s", zo2_last_error());
    r->issued = r->r.bytes;
    if (q->waiting.n > 0 && q->waiting.at[q->waiting.begin] == i)
        pop(q, &q->waiting);
}

static void finish_if_done(zo2_aio *q, uint32_t i)
{
    const request *r = &q->requests[i];
    if (r->flying == 0 && r->issued == r->r.bytes)
        push(q, &q->done, i);
}

static void issue(zo2_aio *q, zo2_aio_piece *p)
{
    q->kind->issue(q->impl, p);
    q->unflushed = 1;
}

/* The next piece of a request that isn't all issued. */
static void issue_next(zo2_aio *q, uint32_t i)
{
    request *r = &q->requests[i];
    zo2_aio_piece *p = q->free;
    uint64_t at = r->issued, n = zo2_min_u64(r->piece_bytes, r->r.bytes - at);
    q->free = p->next;
    p->file = r->r.file;
    p->request = i;
    zo2_aio_transfer_begin(&p->x, &q->files[p->file], r->r.op, (unsigned char *)r->r.buffer + at, n, r->r.offset + at);
    r->issued += n;
    r->flying++;
    q->flying++;
    issue(q, p);
}

static void issue_waiting(zo2_aio *q)
{
    while (q->waiting.n > 0 && q->free) {
        uint32_t i = q->waiting.at[q->waiting.begin];
        issue_next(q, i);
        if (q->requests[i].issued == q->requests[i].r.bytes)
            pop(q, &q->waiting);
    }
    if (q->unflushed && q->kind->flush)
        q->kind->flush(q->impl);
    q->unflushed = 0;
}

/* What a call's result means for its piece, which goes on or is over. */
static void settle(zo2_aio *q, zo2_aio_piece *p)
{
    request *r = &q->requests[p->request];
    zo2_status s = zo2_aio_transfer_step(&p->x, p->result);
    if (s)
        fail(q, p->request, s);
    if (!r->status && p->x.t.bytes > 0) {
        issue(q, p);
        return;
    }
    q->flying--;
    p->next = q->free;
    q->free = p;
    r->flying--;
    finish_if_done(q, p->request);
}

static void turn(zo2_aio *q, int wait)
{
    zo2_aio_piece *next;
    for (zo2_aio_piece *p = q->kind->collect(q->impl, wait); p; p = next) {
        next = p->next;
        settle(q, p);
    }
    issue_waiting(q);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static zo2_status sync_file(const zo2_aio *q, const zo2_aio_file *f)
{
    return q->io->fdatasync(q->io->ud, f->buffered) ? zo2_io_error("cannot sync", f->path) : ZO2_OK;
}

static zo2_status check(const zo2_aio *q, const zo2_aio_request *r)
{
    if (q->in_flight == q->depth)
        return zo2_error(ZO2_ERR_BUSY, "the I/O queue has all its %" PRIu32 " requests in flight", q->depth);
    if (r->file >= q->n_files)
        return zo2_error(ZO2_ERR_ARG, "the I/O queue has no file %" PRIu32, r->file);
    if (r->op == ZO2_AIO_SYNC)
        return ZO2_OK;
    if ((r->bytes | r->offset) % ZO2_AIO_PAGE != 0)
        return zo2_error(ZO2_ERR_ARG, "%" PRIu64 " bytes at offset %" PRIu64 " of %s are no multiples of %u", r->bytes,
                         r->offset, q->files[r->file].path, ZO2_AIO_PAGE);
    zo2_aio_transfer x;
    return zo2_aio_transfer_begin(&x, &q->files[r->file], r->op, r->buffer, r->bytes, r->offset);
}

/* Equal pieces, so that the last one isn't a crumb. */
static uint64_t piece_bytes(uint64_t bytes)
{
    uint64_t n = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;
    return n ? zo2_round_up((bytes + n - 1) / n, ZO2_AIO_PAGE) : 0;
}

zo2_status zo2_aio_submit(zo2_aio *q, const zo2_aio_request *r)
{
    zo2_status s = check(q, r);
    if (s)
        return s;
    uint32_t i = pop(q, &q->idle);
    request *mine = &q->requests[i];
    mine->r = *r;
    mine->issued = mine->flying = 0;
    mine->status = ZO2_OK;
    q->in_flight++;
    if (r->op == ZO2_AIO_SYNC) {
        mine->r.bytes = 0;
        s = sync_file(q, &q->files[r->file]);
        if (s)
            fail(q, i, s);
    }
    mine->piece_bytes = piece_bytes(mine->r.bytes);
    if (mine->r.bytes > 0)
        push(q, &q->waiting, i);
    finish_if_done(q, i);
    issue_waiting(q);
    return ZO2_OK;
}

uint32_t zo2_aio_reap(zo2_aio *q, zo2_aio_done *done, uint32_t max, int wait)
{
    uint32_t n = 0;
    q->error[0] = '\0';
    if (q->flying > 0)
        turn(q, wait && q->done.n == 0);
    while (wait && q->done.n == 0 && q->flying > 0)
        turn(q, 1);
    for (; n < max && q->done.n > 0; n++) {
        uint32_t i = pop(q, &q->done);
        const request *r = &q->requests[i];
        done[n] = (zo2_aio_done){.tag = r->r.tag, .status = r->status};
        if (r->status && !q->error[0])
            memcpy(q->error, r->error, sizeof q->error);
        q->in_flight--;
        push(q, &q->idle, i);
    }
    return n;
}

uint32_t zo2_aio_room(const zo2_aio *q)
{
    return q->depth - q->in_flight;
}

uint32_t zo2_aio_in_flight(const zo2_aio *q)
{
    return q->in_flight;
}

const char *zo2_aio_last_error(const zo2_aio *q)
{
    return q->error;
}

const char *zo2_aio_describe(const zo2_aio *q)
{
    return q->describe;
}
