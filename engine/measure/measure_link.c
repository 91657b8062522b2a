/* measure_link.c: the way between host memory and a backend's device, as the upload and the stage lane of a run use it:
 * wires of masters, chunk by chunk through a ring of slots, and residual streams. */
#include "engine/base/host_memory.h"
#include "engine/measure/measure.h"
#include "engine/model/wire_size.h"
#include "kernels/backend.h"

#include <string.h>

#define LATENCY_BYTES 4096u

static uint64_t sent_of(const zo2_measure *m, uint64_t chunk)
{
    return zo2_wire_sent(m->codec, m->planes + chunk * m->chunk_stride, zo2_measure_rows_of(m, chunk), m->spec.cols);
}

/* ---- passes ---- */

/* Slot of the next chunk. They go round from pass to pass: the last ones of a pass may still be on their way when the
 * next begins. */
static uint64_t next_slot(const zo2_measure *m)
{
    return m->sent % ZO2_MEASURE_SLOTS;
}

static int slot_was_used(const zo2_measure *m)
{
    return m->sent >= ZO2_MEASURE_SLOTS;
}

/* One chunk to its slot, as the upload lane does it: the slot must be free, the compute lane waits for the wire. There
 * is nobody to decode it: the slot is free again at once. */
static zo2_status send(zo2_measure *m, uint64_t chunk, const uint8_t *from)
{
    const zo2_backend_ops *ops = m->be->ops;
    uint64_t slot = next_slot(m);
    uint8_t *to = m->arena + m->wire_at + slot * m->slot_stride;
    zo2_status s = ZO2_OK;
    if (slot_was_used(m))
        s = ops->wait(m->be, ZO2_LANE_UPLOAD, m->released[slot]);
    if (!s)
        s = ops->upload(m->be, ZO2_LANE_UPLOAD, to, from, sent_of(m, chunk));
    if (!s)
        s = ops->record(m->be, ZO2_LANE_UPLOAD, m->uploaded[slot]);
    if (!s)
        s = ops->wait(m->be, ZO2_LANE_COMPUTE, m->uploaded[slot]);
    m->sent += !s;
    return s ? s : ops->record(m->be, ZO2_LANE_COMPUTE, m->released[slot]);
}

static zo2_status pass_upload(zo2_measure *m)
{
    zo2_status s = ZO2_OK;
    for (uint64_t c = 0; c < zo2_measure_chunks(m) && !s; c++)
        s = send(m, c, m->planes + c * m->chunk_stride);
    return s;
}

/* Through a slot of registered memory, which must have been uploaded before it is written again. */
static zo2_status pass_bounced(zo2_measure *m)
{
    zo2_status s = ZO2_OK;
    for (uint64_t c = 0; c < zo2_measure_chunks(m) && !s; c++) {
        uint8_t *staging = m->staging + next_slot(m) * m->slot_stride;
        if (slot_was_used(m))
            s = m->be->ops->sync(m->be, m->released[next_slot(m)]);
        if (s)
            break;
        memcpy(staging, m->planes + c * m->chunk_stride, sent_of(m, c));
        s = send(m, c, staging);
    }
    return s;
}

static zo2_status pass_whole(zo2_measure *m)
{
    return m->be->ops->upload(m->be, ZO2_LANE_UPLOAD, m->arena + m->wire_at, m->memory, m->info.bytes_read);
}

static zo2_status pass_download(zo2_measure *m)
{
    return m->be->ops->download(m->be, ZO2_LANE_STAGE, m->memory, m->arena + m->wire_at, m->info.bytes_written);
}

static zo2_status pass_latency(zo2_measure *m)
{
    const zo2_backend_ops *ops = m->be->ops;
    zo2_status s = ops->upload(m->be, ZO2_LANE_UPLOAD, m->arena + m->wire_at, m->memory, LATENCY_BYTES);
    if (!s)
        s = ops->record(m->be, ZO2_LANE_UPLOAD, m->uploaded[0]);
    return s ? s : ops->sync(m->be, m->uploaded[0]);
}

/* ---- preparation ---- */

static zo2_status create_events(zo2_measure *m)
{
    zo2_status s = ZO2_OK;
    for (unsigned i = 0; i < ZO2_MEASURE_SLOTS && !s; i++) {
        s = m->be->ops->event_create(m->be, &m->uploaded[i]);
        if (!s)
            s = m->be->ops->event_create(m->be, &m->released[i]);
    }
    return s;
}

/* Opens the backend with room for `bytes` at wire_at, and pins [at, at + pinned) of the memory if that may be. */
static zo2_status open_link(zo2_measure *m, uint64_t bytes, uint8_t *at, uint64_t pinned)
{
    const zo2_backend_ops *ops;
    uint64_t taken = 0;
    zo2_status s = zo2_measure_find_backend(m, &ops, &taken);
    if (s)
        return s;
    m->wire_at = zo2_measure_take(&taken, bytes);
    s = zo2_measure_open_backend(m, ops, taken);
    if (!s)
        s = create_events(m);
    if (!s)
        zo2_measure_register(m, at, pinned);
    return s;
}

/* Masters of a matrix; bounced: with the staging behind them, which alone is pinned. */
static zo2_status prepare_chunks(zo2_measure *m)
{
    zo2_status s = zo2_measure_prepare_masters(m);
    if (s)
        return s;
    m->slot_stride = zo2_measure_align(zo2_wire_room(m->codec, m->chunk_rows, m->spec.cols));
    uint64_t ring = ZO2_MEASURE_SLOTS * m->slot_stride, planes = zo2_measure_chunks(m) * m->chunk_stride;
    m->info.bytes_read = m->info.bytes_written = 0;
    for (uint64_t c = 0; c < zo2_measure_chunks(m); c++)
        m->info.bytes_read += sent_of(m, c);
    m->info.items = (double)m->info.bytes_read;
    if (m->spec.kind == ZO2_MEASURE_UPLOAD)
        return open_link(m, ring, m->planes, planes);
    m->info.bytes_written = m->info.bytes_read;
    s = zo2_host_map(&m->staging_memory, ring, "a pinned buffer");
    if (s)
        return s;
    m->staging = m->staging_memory;
    m->staging_bytes = zo2_measure_align(ring);
    zo2_host_touch(m->staging, ring, NULL);
    return open_link(m, ring, m->staging, m->staging_bytes);
}

/* Touched memory of `bytes` bytes, all of it pinned if that may be, and as much on the device. */
static zo2_status prepare_block(zo2_measure *m, uint64_t bytes)
{
    uint64_t whole = zo2_measure_align(bytes);
    zo2_status s = zo2_measure_map(m, whole);
    if (s)
        return s;
    memset(m->memory, 0x3C, whole);
    s = open_link(m, bytes, m->memory, whole);
    if (!s) /* so that what comes down was sent up */
        s = m->be->ops->upload(m->be, ZO2_LANE_UPLOAD, m->arena + m->wire_at, m->memory, bytes);
    return s ? s : m->be->ops->drain(m->be);
}

static zo2_status prepare_whole(zo2_measure *m)
{
    m->info.bytes_read = zo2_wire_room(m->codec, m->spec.rows, m->spec.cols);
    m->info.items = (double)m->info.bytes_read;
    return prepare_block(m, m->info.bytes_read);
}

static zo2_status prepare_download(zo2_measure *m)
{
    m->info.bytes_written = 2 * m->spec.tokens * m->spec.cols * 4;
    m->info.items = (double)m->info.bytes_written;
    return prepare_block(m, m->info.bytes_written);
}

static zo2_status prepare_latency(zo2_measure *m)
{
    m->info.bytes_read = LATENCY_BYTES;
    m->info.items = 1;
    return prepare_block(m, LATENCY_BYTES);
}

const zo2_measure_kernel zo2_measure_link_kernels[5] = {
    {ZO2_MEASURE_UPLOAD, prepare_chunks, pass_upload},    {ZO2_MEASURE_BOUNCED, prepare_chunks, pass_bounced},
    {ZO2_MEASURE_WHOLE, prepare_whole, pass_whole},       {ZO2_MEASURE_DOWNLOAD, prepare_download, pass_download},
    {ZO2_MEASURE_LATENCY, prepare_latency, pass_latency},
};
