/* stored_wire.c: see stored_wire.h. */
#include "engine/masters/stored_wire.h"
#include "engine/masters/pack_window.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

#include <stdlib.h>

int zo2_is_stored_wire(const zo2_packfile *pack, const zo2_arch *a, const zo2_span *span)
{
    const zo2_tensor *t = &a->tensors[span->tensor];
    return t->frozen && !t->exempt && t->stored != ZO2_NO_TENSOR &&
           zo2_packfile_has_wire(pack, t->stored, span->codec->id);
}

zo2_status zo2_stored_wire_hold(zo2_stored_wire *out, const zo2_packfile *pack, zo2_pack_window *window,
                                const zo2_arch *a, const zo2_span *span, uint64_t row)
{
    const uint32_t stored = a->tensors[span->tensor].stored;
    zo2_packplace place;
    *out = (zo2_stored_wire){.window = window};
    zo2_status status = zo2_packfile_wire_place(pack, stored, span->codec->id, row, &place);
    if (status)
        return status;
    out->row = place.row;
    out->rows = place.rows;
    if (window) {
        status = zo2_pack_window_hold(window, stored, &place, &out->piece);
        out->bits = status ? NULL : out->piece->bits;
        return status;
    }
    out->own = malloc(place.bytes);
    if (!out->own)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to load tensor %s", zo2_packfile_tensor(pack, stored)->name);
    out->bits = out->own;
    status = zo2_packfile_read_place(pack, stored, &place, out->own);
    if (status)
        zo2_stored_wire_release(out);
    return status;
}

void zo2_stored_wire_copy(const zo2_stored_wire *w, const zo2_span *span, uint64_t row, uint64_t n, uint8_t *wire)
{
    for (uint64_t r = row; r < row + n; r++)
        span->codec->copy_row(w->bits, w->rows, r - w->row, span->cols, wire, span->rows, r - span->row);
}

void zo2_stored_wire_release(zo2_stored_wire *w)
{
    if (w->piece)
        zo2_pack_window_release(w->window, w->piece);
    free(w->own);
    *w = (zo2_stored_wire){0};
}
