/* measure_storage.c: how fast chunks come from a file and go to one, through the queue that a run's lanes have. */
#include "engine/base/checked.h"
#include "engine/measure/measure.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the queue --------------------------------------------------------------------------------------------------- */

/* A queue belongs to a thread: one for whoever runs. */
static zo2_status need_queue(zo2_measure *m)
{
    if (m->queue && pthread_equal(m->queue_owner, pthread_self()))
        return ZO2_OK;
    zo2_aio_close(m->queue); /* nothing is in flight between passes */
    zo2_aio_config c = {.choice = m->spec.no_io_uring ? ZO2_AIO_THREADS : ZO2_AIO_AUTO,
                        .files = &m->file,
                        .n_files = 1,
                        .arena = m->memory,
                        .arena_bytes = m->memory_bytes,
                        .depth = ZO2_MEASURE_SPANS};
    m->queue_owner = pthread_self();
    return zo2_aio_open(&m->queue, &c);
}

/* To or from the buffer of that number, which the tag gives back. */
static zo2_status submit_span(zo2_measure *m, zo2_aio_op op, uint64_t span, uint32_t buffer)
{
    zo2_aio_request r = {.op = op,
                         .buffer = m->memory + buffer * m->span_bytes,
                         .bytes = m->span_bytes,
                         .offset = span * m->span_bytes,
                         .tag = buffer};
    return zo2_aio_submit(m->queue, &r);
}

/* All spans in order, as many in flight as there are buffers. After a failure what is in flight is waited for. */
static zo2_status move_all(zo2_measure *m, zo2_aio_op op)
{
    uint32_t idle[ZO2_MEASURE_SPANS], n_idle = 0;
    zo2_status s = need_queue(m);
    if (s)
        return s;
    for (uint32_t i = 0; i < m->span_buffers; i++)
        idle[n_idle++] = m->span_buffers - 1 - i;
    for (uint64_t next = 0; (next < m->spans && !s) || zo2_aio_in_flight(m->queue) > 0;) {
        if (next < m->spans && n_idle > 0 && !s) {
            s = submit_span(m, op, next++, idle[--n_idle]);
            continue;
        }
        zo2_aio_done done[ZO2_MEASURE_SPANS];
        uint32_t n = zo2_aio_reap(m->queue, done, ZO2_MEASURE_SPANS, 1);
        for (uint32_t i = 0; i < n; i++) {
            idle[n_idle++] = (uint32_t)done[i].tag;
            if (done[i].status && !s)
                s = zo2_error(done[i].status, "%s", zo2_aio_last_error(m->queue));
        }
    }
    return s;
}

static zo2_status pass_read(zo2_measure *m)
{
    return move_all(m, ZO2_AIO_READ);
}

/* What only went to the page cache isn't written yet. */
static zo2_status pass_write(zo2_measure *m)
{
    zo2_status s = move_all(m, ZO2_AIO_WRITE);
    if (!s && m->file.direct < 0 && zo2_io_posix.fdatasync(zo2_io_posix.ud, m->file.buffered))
        s = zo2_io_error("cannot sync", m->file.path);
    return s;
}

/* ---- preparation ------------------------------------------------------------------------------------------------- */

/* A file in a folder, which loses its name at once: it goes with the process, whatever ends that. */
static zo2_status make_file(zo2_measure *m, uint64_t bytes)
{
    char name[64];
    snprintf(name, sizeof name, "zo2-measure.tmp-%ld-%p", (long)getpid(), (void *)m);
    char *path = zo2_path_join(m->spec.dir, name);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to measure with");
    zo2_status s = zo2_require_space(path, bytes);
    if (!s)
        s = zo2_aio_file_open(&m->file, &zo2_io_posix, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!s)
        zo2_io_posix.unlink(zo2_io_posix.ud, path);
    free(path);
    return s;
}

/* Nothing that a file system or a drive could make smaller (splitmix64). */
static void fill_buffers(zo2_measure *m)
{
    uint64_t *p = (uint64_t *)(void *)m->memory;
    for (uint64_t i = 0; i < m->memory_bytes / 8; i++) {
        uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        p[i] = z ^ (z >> 31);
    }
}

static zo2_status prepare(zo2_measure *m)
{
    if (!m->spec.dir == !m->spec.file)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: storage is measured in a folder or a file: set one of them");
    m->span_bytes = zo2_measure_align(zo2_min_u64(m->spec.chunk_bytes, m->spec.bytes));
    m->spans = zo2_max_u64(m->spec.bytes / m->span_bytes, 1);
    m->span_buffers = (uint32_t)zo2_min_u64(m->spans, ZO2_MEASURE_SPANS);
    uint64_t bytes = m->spans * m->span_bytes;
    struct stat st;
    zo2_status s =
        m->spec.dir ? make_file(m, bytes) : zo2_aio_file_open(&m->file, &zo2_io_posix, m->spec.file, O_RDWR, 0);
    if (!s)
        s = zo2_measure_map(m, m->span_buffers * m->span_bytes);
    if (s)
        return s;
    fill_buffers(m);
    if (fstat(m->file.buffered, &st))
        return zo2_io_error("cannot examine", m->file.path);
    if ((uint64_t)st.st_size < bytes)
        s = pass_write(m);
    if (!s)
        s = need_queue(m);
    if (s)
        return s;
    snprintf(m->info.io, sizeof m->info.io, "%s", zo2_aio_describe(m->queue));
    m->info.items = (double)bytes;
    m->info.bytes_written = m->spec.kind == ZO2_MEASURE_STORAGE_READ ? bytes : 0;
    m->info.bytes_read = bytes - m->info.bytes_written;
    return ZO2_OK;
}

const zo2_measure_kernel zo2_measure_storage_kernels[2] = {
    {ZO2_MEASURE_STORAGE_READ, prepare, pass_read},
    {ZO2_MEASURE_STORAGE_WRITE, prepare, pass_write},
};
