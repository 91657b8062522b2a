/* measure.h: what the files behind zo2_measure_*() share. measure.c checks a specification, owns what is common and
 * keeps time; measure_memory.c, measure_host.c, measure_backend.c, measure_attention.c, measure_link.c and measure_storage.c
 * each prepare and do the work of some kinds. */
#ifndef ZO2_ENGINE_MEASURE_MEASURE_H
#define ZO2_ENGINE_MEASURE_MEASURE_H

#include "codec/codec.h"
#include "codec/update.h"
#include "engine/base/job_error.h"
#include "engine/base/pool.h"
#include "kernels/backend.h"
#include "kernels/operations.h"
#include "storage/io/aio.h"

#include <pthread.h>
#include <sys/types.h>

/* Slots of the ring on the device: a plan's comfortable one. */
#define ZO2_MEASURE_SLOTS 3u
/* Spans that are on their way from or to storage at once. */
#define ZO2_MEASURE_SPANS 16u

typedef struct zo2_measure_kernel {
    zo2_measure_kind kind;
    /* Allocates, fills in info, sets `items` and bytes. Cleaning up after a failure is zo2_measure_close()'s. */
    zo2_status (*prepare)(zo2_measure *m);
    zo2_status (*pass)(zo2_measure *m);
} zo2_measure_kernel;

extern const zo2_measure_kernel zo2_measure_memory_kernels[4];
extern const zo2_measure_kernel zo2_measure_host_kernels[5];
extern const zo2_measure_kernel zo2_measure_backend_kernels[4];
extern const zo2_measure_kernel zo2_measure_attention_kernels[1];
extern const zo2_measure_kernel zo2_measure_link_kernels[5];
extern const zo2_measure_kernel zo2_measure_storage_kernels[2]; /* read, write: both work after either one's prepare */

struct zo2_measure {
    zo2_measure_spec spec; /* defaults resolved */
    zo2_measure_info info;
    const zo2_measure_kernel *kernel;
    zo2_pool *pool;
    pid_t process;       /* that has its threads */
    zo2_job_error error; /* of this pass's tasks */

    uint8_t *memory; /* one anonymous mapping, 4 KiB aligned; the addresses below are in it */
    uint64_t memory_bytes;

    /* limits */
    uint8_t *from, *to;
    uint64_t part; /* bytes of a thread */
    _Atomic uint64_t sink;

    /* a matrix in chunks (host kinds, uploads) or in tiles (panels, products) */
    const zo2_codec *codec;
    uint64_t chunk_rows, chunk_stride,
        rest_at;                 /* wire of chunk c at planes + c * stride, its rest plane rest_at behind */
    uint64_t piece_rows, pieces; /* of a task: rows of a chunk, pieces of a chunk */
    uint8_t *planes;
    float *w; /* [rows][cols] */
    zo2_update update;

    /* backend kinds: byte offsets in the arena */
    zo2_device *device; /* to open be on; NULL: it makes its own */
    zo2_backend *be;
    void *registered; /* memory that is, with be; NULL: none */
    uint8_t *arena;
    uint64_t wire_at, panel_at, panel_stride, x_at, y_at, bias_at;
    uint64_t workspace_bytes;         /* of attention, at panel_at */
    zo2_seq seq;                      /* its tokens, all of them */
    zo2_update fold[ZO2_MAX_PENDING]; /* of panels: [pending] */

    /* uploads: the device's ring at wire_at, and its mirror in host memory */
    uint64_t slot_stride;
    uint64_t sent; /* chunks so far */
    void *staging_memory;
    uint8_t *staging;
    uint64_t staging_bytes;
    zo2_event *uploaded[ZO2_MEASURE_SLOTS], *released[ZO2_MEASURE_SLOTS];

    /* storage: spans of a file, and as many buffers in `memory` as are in flight */
    zo2_aio_file file;
    zo2_aio *queue;
    pthread_t queue_owner;
    uint64_t span_bytes, spans;
    uint32_t span_buffers;
};

/* zo2_measure_open() on a device that is ready, see zo2_backend_config; it outlives the measurement. */
zo2_status zo2_measure_open_on(zo2_measure **out, const zo2_measure_spec *spec, zo2_measure_info *info,
                               zo2_device *device);

/* Maps m->memory with huge pages where there are some. */
zo2_status zo2_measure_map(zo2_measure *m, uint64_t bytes);

/* Whole pages. */
static inline uint64_t zo2_measure_align(uint64_t bytes)
{
    return (bytes + 4095) & ~4095ull;
}

/* Reserves `bytes` of an arena behind what is taken, at 4 KiB. */
static inline uint64_t zo2_measure_take(uint64_t *taken, uint64_t bytes)
{
    uint64_t at = *taken;
    *taken += zo2_measure_align(bytes);
    return at;
}

/* The matrix as masters have it, weights encoded: planes, w, chunk_rows, chunk_stride, rest_at, update; and info. */
zo2_status zo2_measure_prepare_masters(zo2_measure *m);

/* The backend that was asked for, and the first byte of its arena that is free. */
zo2_status zo2_measure_find_backend(const zo2_measure *m, const zo2_backend_ops **ops, uint64_t *taken);
zo2_status zo2_measure_open_backend(zo2_measure *m, const zo2_backend_ops *ops, uint64_t arena_bytes);
/* Pins memory of transfers; where that can't be they work all the same, slower. */
void zo2_measure_register(zo2_measure *m, void *at, uint64_t bytes);

/* Operands of products and attention come out of the decoder, so that they have the backend's own types: rows [row, row + rows)
 * of weights with `cols` columns, for two streams `stride` bytes apart, through m->memory and the arena's wire, in which
 * there must be room for them. */
zo2_status zo2_measure_make_operand(zo2_measure *m, uint64_t row, uint64_t rows, uint64_t cols, uint64_t at,
                                    uint64_t stride);

/* Values [first, first + n) of the weights that measurements work on: normal, standard deviation 0.02. */
void zo2_measure_weights(float *w, uint64_t first, uint64_t n);

/* Rows of chunk c (or tile c) of the matrix: all have chunk_rows but the last. */
static inline uint64_t zo2_measure_rows_of(const zo2_measure *m, uint64_t c)
{
    uint64_t left = m->spec.rows - c * m->chunk_rows;
    return left < m->chunk_rows ? left : m->chunk_rows;
}

static inline uint64_t zo2_measure_chunks(const zo2_measure *m)
{
    return (m->spec.rows + m->chunk_rows - 1) / m->chunk_rows;
}

#endif
