/* masters_rows.c: rows of the masters, and updates of chunks. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/pool.h"
#include "engine/base/slots.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/masters/rebuild.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "engine/model/wire_size.h"

#define BOTH (ZO2_PLANE_WIRE | ZO2_PLANE_REST)

zo2_status zo2_masters_store(zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, const float *w)
{
    while (n) {
        const zo2_span *s;
        zo2_planes p;
        uint32_t chunk = zo2_layout_chunk(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_acquire(m, chunk, BOTH, ZO2_ACCESS_WRITE, &p);
        if (status)
            return status;
        s->codec->split(w, s->rows, s->cols, row - s->row, here, zo2_planes_wire(&p, s), zo2_planes_rest(&p, s));
        zo2_masters_release(&p);
        w += here * s->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

zo2_status zo2_masters_fetch(const zo2_masters *m, uint32_t tensor, uint64_t row, uint64_t n, float *w)
{
    const int wire = zo2_masters_are_wire(m, tensor);
    if (!wire && zo2_masters_lack_rest(m, tensor))
        return zo2_rebuild_rows(&m->exact, tensor, row, n, w);
    while (n) {
        const zo2_span *s;
        zo2_planes p;
        uint32_t chunk = zo2_layout_chunk(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_acquire(m, chunk, wire ? ZO2_PLANE_WIRE : BOTH, ZO2_ACCESS_READ, &p);
        if (status)
            return status;
        if (wire)
            s->codec->decode(zo2_planes_wire(&p, s), s->rows, s->cols, row - s->row, here, w);
        else
            s->codec->join(zo2_planes_wire(&p, s), zo2_planes_rest(&p, s), s->rows, s->cols, row - s->row, here, w);
        zo2_masters_release(&p);
        w += here * s->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

uint32_t zo2_masters_row_chunk(const zo2_masters *m, uint32_t tensor, uint64_t row)
{
    const zo2_span *s;
    return zo2_layout_chunk(m->layout, tensor, row, &s);
}

zo2_status zo2_masters_read(const zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t n,
                            uint64_t t, float *w)
{
    const zo2_tensor *info = &m->layout->arch->tensors[tensor];
    while (n) {
        const zo2_span *s;
        uint32_t chunk = zo2_layout_chunk(m->layout, tensor, row, &s);
        uint64_t here = s->row + s->rows - row < n ? s->row + s->rows - row : n;
        zo2_status status = zo2_masters_fetch(m, tensor, row, here, w);
        if (status)
            return status;
        zo2_history_apply(h, tensor, info->decays, row * info->cols, here * info->cols, m->step[chunk], t, w);
        w += here * info->cols;
        row += here;
        n -= here;
    }
    return ZO2_OK;
}

zo2_status zo2_masters_gather(zo2_masters *m, const zo2_history *h, uint32_t tensor, uint64_t row, uint64_t to,
                              void *dst, uint64_t dst_rows, uint64_t dst_row)
{
    const zo2_span *s;
    const zo2_tensor *t = &m->layout->arch->tensors[tensor];
    uint32_t chunk = zo2_layout_chunk(m->layout, tensor, row, &s);
    if (m->step[chunk] >= to) {
        zo2_planes p;
        zo2_status status = zo2_masters_acquire(m, chunk, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, &p);
        if (status)
            return status;
        s->codec->copy_row(zo2_planes_wire(&p, s), s->rows, row - s->row, s->cols, dst, dst_rows, dst_row);
        zo2_masters_release(&p);
        return ZO2_OK;
    }
    /* Codecs work row by row, so a row that is updated and encoded on its own has the bits it will have in its chunk.
     */
    uint32_t slot = zo2_slots_take(&m->slots);
    float *w = zo2_masters_scratch(m, slot);
    uint8_t *planes = (uint8_t *)w + zo2_round_up(s->cols * sizeof *w, 16);
    zo2_status status = zo2_masters_read(m, h, tensor, row, 1, to, w);
    if (!status && !zo2_codec_representable(s->codec, w, s->cols))
        status = zo2_rebuild_unrepresentable(t, s->codec, to);
    if (!status) {
        s->codec->split(w, 1, s->cols, 0, 1, planes, planes + zo2_wire_room(s->codec, 1, s->cols));
        s->codec->copy_row(planes, 1, 0, s->cols, dst, dst_rows, dst_row);
    }
    zo2_slots_give(&m->slots, slot);
    return status;
}

/* ---- updates ---- */

zo2_status zo2_masters_update(zo2_masters *m, const zo2_history *h, zo2_pool *pool, uint32_t chunk, uint64_t to)
{
    zo2_planes planes;
    if (m->step[chunk] >= to)
        return ZO2_OK;
    zo2_status status = zo2_masters_acquire(m, chunk, BOTH, ZO2_ACCESS_WRITE, &planes);
    if (status)
        return status;
    status = zo2_rebuild_update(m->layout, h, chunk, pool, planes.wire, planes.rest, m->step[chunk], to);
    if (status)
        planes.access = ZO2_ACCESS_SPOILT;
    else
        m->step[chunk] = to;
    zo2_masters_release(&planes);
    return status;
}
