/* stored_wire.c: see stored_wire.h. */
#include "engine/masters/stored_wire.h"
#include "codec/codec.h"
#include "engine/masters/pack_window.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/pack/packfile.h"

#include <inttypes.h>
#include <stdlib.h>

int zo2_is_stored_wire(const zo2_packfile *pack, const zo2_arch *a, const zo2_span *span)
{
    const zo2_tensor *t = &a->tensors[span->tensor];
    return t->frozen && !t->exempt && t->stored != ZO2_NO_TENSOR &&
           zo2_packfile_has_wire(pack, t->stored, span->codec->id);
}

/* What a narrow room is laid out for: no window of the wire may say that it needs more. */
static zo2_status check_narrow(const zo2_stored_wire *w, const zo2_packfile *pack, uint32_t stored,
                               const zo2_span *span)
{
    const zo2_codec *full = zo2_codec_get(span->codec->id);
    const zo2_packtensor *t = zo2_packfile_tensor(pack, stored);
    if (span->codec == full ||
        full->sent_bytes(w->bits, w->rows, span->cols) == span->codec->wire_bytes(w->rows, span->cols))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_FORMAT,
                     "%s: the stored %s wire of tensor %s, rows %" PRIu64 " to %" PRIu64
                     ", is shorter than its codes say; %s",
                     zo2_packfile_path(pack), zo2_wire_name(full->id), t->name, w->row, w->row + w->rows - 1,
                     t->dropped_to ? "freeze the pack that this one was made from again"
                                   : "zo2-pack freeze --remove takes it out of the pack");
}

static zo2_status read_own(zo2_stored_wire *w, const zo2_packfile *pack, uint32_t stored, const zo2_packplace *place)
{
    w->own = malloc(place->bytes);
    w->bits = w->own;
    if (!w->own)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to load tensor %s", zo2_packfile_tensor(pack, stored)->name);
    return zo2_packfile_read_place(pack, stored, place, w->own);
}

zo2_status zo2_stored_wire_hold(zo2_stored_wire *out, const zo2_packfile *pack, zo2_pack_window *window,
                                const zo2_arch *a, const zo2_span *span, uint64_t row)
{
    const uint32_t stored = a->tensors[span->tensor].stored;
    zo2_packplace place;
    *out = (zo2_stored_wire){.window = window};
    zo2_status s = zo2_packfile_wire_place(pack, stored, span->codec->id, row, &place);
    if (s)
        return s;
    out->row = place.row;
    out->rows = place.rows;
    if (window) {
        s = zo2_pack_window_hold(window, stored, &place, &out->piece);
        if (s)
            out->piece = NULL; /* nobody's */
        else
            out->bits = out->piece->bits;
    } else {
        s = read_own(out, pack, stored, &place);
    }
    if (!s)
        s = check_narrow(out, pack, stored, span);
    if (s)
        zo2_stored_wire_release(out);
    return s;
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
