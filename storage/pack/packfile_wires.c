/* packfile_wires.c: stored wires (PACK.md, "Wires"): the table's checks, look-ups, and the writer's part. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_internal.h"
#include "storage/pack/packfile_writer.h"

#include <inttypes.h>
#include <stdlib.h>

#define AGAIN "the file is damaged: copy or convert it again"

/* What the wire of a chunk has: its room, and of that how much at least is in the file; zeros behind it are left off. */
typedef struct length {
    uint64_t room, least;
} length;

/* Of chunk k. room 0: nobody here knows. */
static length length_of(const zo2_pack_tensor_record *t, uint32_t wire, uint64_t k)
{
    const zo2_codec *codec = zo2_codec_get((zo2_wire)wire);
    if (!codec)
        return (length){0, 0};
    const uint64_t rows = zo2_pack_rows_of(t, k), room = codec->wire_bytes(rows, t->cols);
    return (length){room, codec->narrow ? codec->narrow->wire_bytes(rows, t->cols) : room};
}

static int is_length(length l, uint64_t room, uint64_t stored)
{
    if (!room || room > ZO2_PACK_MAX_WIRE_BYTES || stored > room)
        return 0;
    return l.room ? room == l.room && stored >= l.least : stored >= room - room / 2;
}

/* ---- reader ------------------------------------------------------------------------------------------------------ */

static const char *record_fault(const zo2_packfile *p, uint32_t i, uint64_t chunk)
{
    const zo2_pack_wire_record *r = &p->wires[i];
    if (!r->wire || r->wire > ZO2_PACK_MAX_WIRE)
        return "its wire is out of range";
    if (r->tensor >= p->super.tensors)
        return "there is no such tensor";
    if (p->tensors[r->tensor].stored_as != r->tensor || p->tensors[r->tensor].rank != 2)
        return "its tensor is a vector, or has no bytes of its own";
    if (i && !zo2_pack_wire_before(r - 1, r->wire, r->tensor))
        return "it is out of order";
    if (r->first_chunk != chunk)
        return "its first chunk is not the next one";
    if (zo2_pack_chunk_count(&p->tensors[r->tensor]) > p->super.chunks - chunk)
        return "it needs more chunks than there are";
    return NULL;
}

static const char *chunk_fault(const zo2_packfile *p, const zo2_pack_chunk_record *c, length l, uint64_t cursor)
{
    if (c->encoding != ZO2_PACK_ENCODING_RAW || c->reserved)
        return "its encoding or its reserved field is not 0";
    if (c->stored_hash != c->decoded_hash)
        return "stored and decoded bytes differ though it is stored as is";
    if (!is_length(l, c->decoded_bytes, c->stored_bytes))
        return "its length doesn't fit the rows";
    if (c->offset != cursor)
        return "it doesn't follow the chunk before";
    if (cursor > p->super.file_bytes || c->stored_bytes > p->super.file_bytes - cursor)
        return "it reaches past the end of the file";
    return NULL;
}

/* A matrix without source bits is of no use unless one of its wires is known here. Aliases are told what their original is. */
static zo2_status check_dropped(zo2_packfile *p)
{
    for (uint32_t i = 0; i < p->super.tensors && p->header.dropped; i++) {
        if (!(p->tensors[i].flags & ZO2_PACK_DROPPED))
            continue;
        p->views[i].dropped_to = p->views[p->tensors[i].stored_as].dropped_to;
        if (!p->views[i].dropped_to)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: tensor %s has neither source bits nor a wire that this program knows: update it, or "
                             "convert the model again",
                             p->path, p->views[i].name);
    }
    return ZO2_OK;
}

zo2_status zo2_packfile_check_wires(zo2_packfile *p, uint64_t *chunk, uint64_t *cursor)
{
    const uint32_t n = (uint32_t)(p->super.wires.bytes / sizeof *p->wires);
    for (uint32_t i = 0; i < n; i++) {
        const zo2_pack_wire_record *r = &p->wires[i];
        const char *fault = record_fault(p, i, *chunk);
        if (fault)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: record %" PRIu32 " of the wire table (wire %" PRIu32 ", tensor %" PRIu32
                             "): %s; " AGAIN,
                             p->path, i, r->wire, r->tensor, fault);
        const zo2_pack_tensor_record *t = &p->tensors[r->tensor];
        for (uint64_t k = 0; k < zo2_pack_chunk_count(t); k++, ++*chunk) {
            const zo2_pack_chunk_record *c = &p->chunks[*chunk];
            const length l = length_of(t, r->wire, k);
            fault = chunk_fault(p, c, l, *cursor);
            if (fault)
                return zo2_error(ZO2_ERR_FORMAT,
                                 "%s: chunk %" PRIu64 " of wire %" PRIu32 " of tensor %s (offset %" PRIu64 ", %" PRIu64
                                 " bytes): %s; " AGAIN,
                                 p->path, k, r->wire, p->names + t->name_offset, c->offset, c->stored_bytes, fault);
            *cursor = zo2_round_up(*cursor + c->stored_bytes, ZO2_PACK_ALIGN);
            p->header.wire_bytes += c->stored_bytes;
            p->header.largest_chunk = zo2_max_u64(p->header.largest_chunk, l.room);
        }
        if (t->flags & ZO2_PACK_DROPPED && zo2_codec_get((zo2_wire)r->wire) && !p->views[r->tensor].dropped_to)
            p->views[r->tensor].dropped_to = (zo2_wire)r->wire;
    }
    p->header.wires = n;
    return check_dropped(p);
}

const zo2_pack_wire_record *zo2_packfile_wire_of(const zo2_packfile *p, uint64_t c)
{
    uint32_t low = 0, high = p->header.wires; /* chunks of low begin at c or before it */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (p->wires[middle].first_chunk <= c)
            low = middle;
        else
            high = middle;
    }
    return &p->wires[low];
}

zo2_packwire zo2_packfile_wire(const zo2_packfile *p, uint32_t i)
{
    const zo2_pack_wire_record *r = &p->wires[i];
    zo2_packwire out = {.wire = (zo2_wire)r->wire, .tensor = r->tensor};
    for (uint64_t k = 0; k < zo2_pack_chunk_count(&p->tensors[r->tensor]); k++) {
        const zo2_pack_chunk_record *c = &p->chunks[r->first_chunk + k];
        out.bytes += c->stored_bytes;
        out.largest = zo2_max_u64(out.largest, c->decoded_bytes);
    }
    return out;
}

const zo2_pack_wire_record *zo2_packfile_find_wire(const zo2_packfile *p, uint32_t tensor, zo2_wire wire)
{
    uint32_t low = 0, high = p->header.wires;
    if (tensor >= p->header.tensors)
        return NULL;
    tensor = p->tensors[tensor].stored_as;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zo2_pack_wire_before(&p->wires[middle], (uint32_t)wire, tensor))
            low = middle + 1;
        else
            high = middle;
    }
    const zo2_pack_wire_record *r = low < p->header.wires ? &p->wires[low] : NULL;
    return r && r->wire == (uint32_t)wire && r->tensor == tensor ? r : NULL;
}

int zo2_packfile_has_wire(const zo2_packfile *p, uint32_t tensor, zo2_wire wire)
{
    return zo2_packfile_find_wire(p, tensor, wire) != NULL;
}

int zo2_packfile_is_narrow(const zo2_packfile *p, uint32_t tensor, zo2_wire wire)
{
    const zo2_pack_wire_record *r = zo2_packfile_find_wire(p, tensor, wire);
    if (!r || !zo2_codec_get(wire) || !zo2_codec_get(wire)->narrow)
        return 0;
    const zo2_pack_tensor_record *t = &p->tensors[r->tensor];
    for (uint64_t k = 0; k < zo2_pack_chunk_count(t); k++)
        if (p->chunks[r->first_chunk + k].stored_bytes != length_of(t, (uint32_t)wire, k).least)
            return 0;
    return 1;
}

/* ---- writer ------------------------------------------------------------------------------------------------------ */

zo2_status zo2_packwriter_finish_wire(zo2_packwriter *w)
{
    if (!w->missing_chunks)
        return ZO2_OK;
    const zo2_pack_wire_record *r = &w->wires[w->n_wires - 1];
    return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG,
                                            "%s: %" PRIu64 " chunks of wire %" PRIu32 " of tensor %s were not written",
                                            w->path, w->missing_chunks, r->wire, w->tensor_names[r->tensor]));
}

zo2_status zo2_packwriter_check_dropped(zo2_packwriter *w)
{
    if (!(w->features & ZO2_PACK_FEATURE_DROPPED))
        return ZO2_OK;
    uint8_t *has = calloc(w->n_tensors, 1);
    zo2_status s = has ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory while writing %s", w->path);
    for (uint64_t i = 0; i < w->n_wires && !s; i++)
        has[w->wires[i].tensor] |= zo2_codec_get((zo2_wire)w->wires[i].wire) != NULL;
    for (uint32_t i = 0; i < w->n_tensors && !s; i++)
        if (w->tensors[i].flags & ZO2_PACK_DROPPED && !has[w->tensors[i].stored_as])
            s = zo2_error(ZO2_ERR_ARG, "%s: tensor %s has neither source bits nor a wire that is known", w->path,
                          w->tensor_names[i]);
    free(has);
    return s ? zo2_packwriter_fail(w, s) : ZO2_OK;
}

zo2_status zo2_packwriter_wire(zo2_packwriter *w, zo2_wire wire, uint32_t tensor)
{
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing %s failed before; nothing more can be added", w->path);
    zo2_status s = zo2_packwriter_finish_tensor(w);
    if (s == ZO2_OK)
        s = zo2_packwriter_finish_wire(w);
    if (s != ZO2_OK)
        return s;
    if ((uint32_t)wire - 1 >= ZO2_PACK_MAX_WIRE || tensor >= w->n_tensors || w->tensors[tensor].stored_as != tensor ||
        w->tensors[tensor].rank != 2 ||
        (w->n_wires && !zo2_pack_wire_before(&w->wires[w->n_wires - 1], (uint32_t)wire, tensor)))
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG, "%s: wire %d of tensor %" PRIu32 " has no place here",
                                                w->path, (int)wire, tensor));
    if (!zo2_packwriter_reserve(&w->wires, w->n_wires, &w->cap_wires, sizeof *w->wires))
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_NOMEM, "out of memory while writing %s", w->path));
    w->wires[w->n_wires++] =
        (zo2_pack_wire_record){.wire = (uint32_t)wire, .tensor = tensor, .first_chunk = w->n_chunks};
    w->missing_chunks = zo2_pack_chunk_count(&w->tensors[tensor]);
    w->features |= ZO2_PACK_FEATURE_WIRES;
    return ZO2_OK;
}

zo2_status zo2_packwriter_wire_chunk(zo2_packwriter *w, const void *data, uint64_t bytes, uint64_t stored,
                                     uint64_t hash)
{
    if (w->failed != ZO2_OK)
        return zo2_error(w->failed, "writing %s failed before; nothing more can be added", w->path);
    const zo2_pack_wire_record *r = w->n_wires ? &w->wires[w->n_wires - 1] : NULL;
    if (!r || !w->missing_chunks ||
        !is_length(length_of(&w->tensors[r->tensor], r->wire, w->n_chunks - r->first_chunk), bytes, stored))
        return zo2_packwriter_fail(w, zo2_error(ZO2_ERR_ARG,
                                                "%s: a chunk of a wire of %" PRIu64 " bytes, %" PRIu64
                                                " of them in the file, has no place here",
                                                w->path, bytes, stored));
    w->missing_chunks--;
    return zo2_packwriter_put(w, &(zo2_packchunk){.source = data,
                                                  .stored = data,
                                                  .bytes = bytes,
                                                  .stored_bytes = stored,
                                                  .encoding = ZO2_PACK_ENCODING_RAW,
                                                  .stored_hash = hash,
                                                  .source_hash = hash});
}
