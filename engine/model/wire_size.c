/* wire_size.c: see wire_size.h. */
#include "engine/model/wire_size.h"

uint64_t zo2_tensor_wire_room(const zo2_tensor *t, zo2_wires wires, uint64_t rows)
{
    return zo2_wire_room(zo2_tensor_codec(t, wires), rows, t->cols);
}

uint64_t zo2_wire_sent(const zo2_codec *codec, const void *wire, uint64_t rows, uint64_t cols)
{
    return wire && codec->sent_bytes ? codec->sent_bytes(wire, rows, cols) : zo2_wire_room(codec, rows, cols);
}

uint64_t zo2_chunk_sent(const zo2_layout *l, uint32_t chunk, const void *wire)
{
    const zo2_chunk *c = &l->chunks[chunk];
    const zo2_span *s = &l->spans[c->first_span + c->n_spans - 1];
    const uint8_t *at = wire ? (const uint8_t *)wire + s->wire_at : NULL;
    return s->wire_at + zo2_wire_sent(s->codec, at, s->rows, s->cols);
}

uint64_t zo2_span_sent(const zo2_span *s, uint64_t sent)
{
    uint64_t room = zo2_wire_room(s->codec, s->rows, s->cols), here = sent > s->wire_at ? sent - s->wire_at : 0;
    return here < room ? here : room;
}
