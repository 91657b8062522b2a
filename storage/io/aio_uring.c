/* aio_uring.c: the kind of queue that makes its calls through io_uring. What a kernel lacks it does without: flags, registered
 * files, registered buffers. */
#include "engine/base/checked.h"
#include "storage/io/aio.h"
#include "storage/io/aio_internal.h"
#include "storage/io/transfer.h"

#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The kernel registers at most this much with one iovec. */
#define BUFFER_BITS 30

typedef struct uring {
    struct io_uring ring;
    int have_ring, enabled;
    int broken; /* errno of a ring that takes nothing more: whatever is in flight fails with it */
    const zo2_aio_file *files;
    int fixed_files;
    unsigned char *arena; /* NULL: not registered */
    uint64_t arena_bytes;
    uint32_t depth;
    zo2_aio_piece **flying; /* [depth]: NULL, or by the user data of its request */
    uint32_t *idle, n_idle; /* indices that are free */
} uring;

/* ---- setting it up ----------------------------------------------------------------------------------------------- */

/* Completions are only worked on when the owner asks for them, which costs least. A ring of a single issuer belongs to the
 * thread that enables it, which is why it begins disabled. The newest flags are the first that a kernel doesn't know. */
static int make_ring(uring *u)
{
    static const unsigned flags[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
        IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER,                              /* 6.0 */
        0,
    };
    int failed = -EINVAL;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && failed == -EINVAL; i++) {
        struct io_uring_params p = {.flags = flags[i]};
        failed = io_uring_queue_init_params(u->depth, &u->ring, &p);
        u->enabled = flags[i] == 0;
        if (!failed &&
            !(p.features & IORING_FEAT_RW_CUR_POS)) { /* 5.6, the first that reads and writes without iovecs */
            io_uring_queue_exit(&u->ring);
            failed = -ENOSYS;
        }
    }
    u->have_ring = !failed;
    return -failed;
}

/* Of each file the direct descriptor, then the other. Without room for them the ring goes by descriptors. */
static zo2_status register_files(uring *u, uint32_t n)
{
    int *fds = malloc(2 * (size_t)n * sizeof *fds + 1);
    if (!fds)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    for (uint32_t i = 0; i < n; i++) {
        fds[2 * i] = u->files[i].direct;
        fds[2 * i + 1] = u->files[i].buffered;
    }
    u->fixed_files = n > 0 && io_uring_register_files(&u->ring, fds, 2 * n) == 0;
    free(fds);
    return ZO2_OK;
}

/* Gives the kernel the arena's pages for good, or *refused its reason. */
static zo2_status register_arena(uring *u, void *arena, uint64_t bytes, int *refused)
{
    uint64_t n = zo2_round_up(bytes, (uint64_t)1 << BUFFER_BITS) >> BUFFER_BITS;
    struct iovec *parts = malloc((size_t)n * sizeof *parts);
    if (!parts)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t begin = i << BUFFER_BITS;
        parts[i].iov_base = (unsigned char *)arena + begin;
        parts[i].iov_len = (size_t)zo2_min_u64(bytes - begin, (uint64_t)1 << BUFFER_BITS);
    }
    *refused = -io_uring_register_buffers(&u->ring, parts, (unsigned)n);
    free(parts);
    if (!*refused) {
        u->arena = arena;
        u->arena_bytes = bytes;
    }
    return ZO2_OK;
}

static void uring_close(void *impl, int forked)
{
    uring *u = impl;
    (void)forked;
    if (u->have_ring)
        io_uring_queue_exit(&u->ring);
    free(u->flying);
    free(u->idle);
    free(u);
}

static zo2_status set_up(uring *u, const zo2_aio_config *c, char *describe, size_t describe_bytes)
{
    int err = make_ring(u), refused = 0;
    if (err)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "io_uring: %s", strerror(err));
    zo2_status s = register_files(u, c->n_files);
    if (!s && c->arena && c->arena_bytes > 0)
        s = register_arena(u, c->arena, c->arena_bytes, &refused);
    if (u->arena)
        snprintf(describe, describe_bytes, "io_uring, registered buffers");
    else if (refused)
        snprintf(describe, describe_bytes, "io_uring, buffers not registered (%s%s)", strerror(refused),
                 refused == ENOMEM ? ", see ulimit -l" : "");
    else
        snprintf(describe, describe_bytes, "io_uring");
    return s;
}

static zo2_status uring_open(void **impl, const zo2_aio_config *c, char *describe, size_t describe_bytes)
{
    uring *u = calloc(1, sizeof *u);
    if (!u)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    u->files = c->files;
    u->depth = c->depth;
    u->flying = calloc(c->depth, sizeof(zo2_aio_piece *));
    u->idle = malloc(c->depth * sizeof *u->idle);
    zo2_status s = u->flying && u->idle ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for an I/O queue");
    for (; !s && u->n_idle < u->depth; u->n_idle++)
        u->idle[u->n_idle] = u->n_idle;
    if (!s)
        s = set_up(u, c, describe, describe_bytes);
    if (s)
        uring_close(u, 0);
    else
        *impl = u;
    return s;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Index of the registered buffer that has the whole of a transfer; -1: none. */
static int fixed_buffer(const uring *u, const zo2_transfer *x)
{
    uintptr_t at = (uintptr_t)x->at, arena = (uintptr_t)u->arena;
    if (!u->arena || at < arena || at - arena >= u->arena_bytes || x->bytes > u->arena_bytes - (at - arena))
        return -1;
    uint64_t first = (uint64_t)(at - arena) >> BUFFER_BITS, last = ((at - arena) + x->bytes - 1) >> BUFFER_BITS;
    return first == last ? (int)first : -1;
}

static void prepare(const uring *u, struct io_uring_sqe *sqe, const zo2_aio_piece *piece)
{
    const zo2_transfer *x = &piece->x.t;
    int fd = u->fixed_files ? (int)(2 * piece->file) + !piece->x.direct : zo2_aio_transfer_fd(&piece->x);
    int buffer = fixed_buffer(u, x);
    unsigned n = (unsigned)x->bytes;
    if (buffer >= 0 && x->write)
        io_uring_prep_write_fixed(sqe, fd, x->at, n, x->offset, buffer);
    else if (buffer >= 0)
        io_uring_prep_read_fixed(sqe, fd, x->at, n, x->offset, buffer);
    else if (x->write)
        io_uring_prep_write(sqe, fd, x->at, n, x->offset);
    else
        io_uring_prep_read(sqe, fd, x->at, n, x->offset);
    if (u->fixed_files)
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

/* The ring has an entry for each piece that may be in flight. */
static void uring_issue(void *impl, zo2_aio_piece *piece)
{
    uring *u = impl;
    uint32_t i = u->idle[--u->n_idle];
    u->flying[i] = piece;
    struct io_uring_sqe *sqe = u->broken ? NULL : io_uring_get_sqe(&u->ring);
    if (!sqe) {
        u->broken = u->broken ? u->broken : EBUSY;
        return;
    }
    prepare(u, sqe, piece);
    io_uring_sqe_set_data64(sqe, i);
}

static int submit_and_wait(struct io_uring *ring)
{
    return io_uring_submit_and_wait(ring, 1);
}

static void enter(uring *u, int (*how)(struct io_uring *ring))
{
    int r = 0;
    if (u->broken)
        return;
    if (!u->enabled) {
        /* Not io_uring_enable_rings(), which the shared library of liburing 2.3 doesn't export. */
        r = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        u->enabled = r >= 0;
    }
    if (r >= 0)
        r = how(&u->ring);
    if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
        u->broken = -r;
}

static void uring_flush(void *impl)
{
    enter(impl, io_uring_submit);
}

static void land(uring *u, uint32_t i, int64_t result, zo2_aio_piece **done)
{
    zo2_aio_piece *piece = u->flying[i];
    u->flying[i] = NULL;
    u->idle[u->n_idle++] = i;
    piece->result = result;
    piece->next = *done;
    *done = piece;
}

static void take_completions(uring *u, zo2_aio_piece **done)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        land(u, (uint32_t)cqe->user_data, cqe->res, done);
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
}

static zo2_aio_piece *uring_collect(void *impl, int wait)
{
    uring *u = impl;
    zo2_aio_piece *done = NULL;
    do {
        enter(u, wait ? submit_and_wait : io_uring_submit_and_get_events);
        take_completions(u, &done);
        for (uint32_t i = 0; u->broken && i < u->depth; i++)
            if (u->flying[i])
                land(u, i, -u->broken, &done);
    } while (wait && !done && u->n_idle < u->depth);
    return done;
}

const zo2_aio_kind zo2_aio_uring = {
    .open = uring_open, .close = uring_close, .issue = uring_issue, .flush = uring_flush, .collect = uring_collect};
