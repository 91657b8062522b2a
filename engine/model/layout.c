/* layout.c: see layout.h. */
#include "engine/model/layout.h"
#include "engine/base/checked.h"
#include "engine/model/wire_size.h"

#include <stdlib.h>
#include <string.h>

#define PANEL_AIM   (64ull << 20)
#define PANEL_MAX   (128ull << 20)
#define ROWS_AIM    1024ull
#define ROWS_MAX    4096ull
#define ROWS_STEP   128ull
#define PLANE_ALIGN 256ull

static uint64_t rows_that_fit(uint64_t bytes, uint64_t row_bytes)
{
    return bytes / row_bytes / ROWS_STEP * ROWS_STEP;
}

uint64_t zo2_tile_rows(uint32_t rule, uint64_t rows, uint64_t cols, zo2_dtype compute)
{
    uint64_t row_bytes = cols * zo2_dtype_bytes(compute);
    uint64_t tn = rows_that_fit(PANEL_AIM, row_bytes);
    if (tn > ROWS_MAX)
        tn = ROWS_MAX;
    if (tn < ROWS_AIM) {
        tn = rows_that_fit(PANEL_MAX, row_bytes);
        if (tn > ROWS_AIM)
            tn = ROWS_AIM;
    }
    if (tn < ROWS_STEP)
        tn = ROWS_STEP;
    if (rule >= 2 && rows > tn && tn >= ROWS_AIM)
        return tn / ROWS_AIM * ROWS_AIM;
    uint64_t tiles = (rows + tn - 1) / tn;
    return zo2_round_up((rows + tiles - 1) / tiles, ROWS_STEP);
}

const zo2_codec *zo2_tensor_codec(const zo2_tensor *t, zo2_wires wires)
{
    const zo2_codec *codec = zo2_codec_get(t->exempt ? ZO2_WIRE_FP32 : t->frozen ? wires.frozen : wires.moving);
    return t->frozen && codec->narrow && t->narrow_wires >> codec->id & 1 ? codec->narrow : codec;
}

uint64_t zo2_chunk_rows(const zo2_tensor *t, zo2_wires wires, uint64_t chunk_bytes)
{
    uint64_t rows = chunk_bytes / zo2_wire_room(zo2_tensor_codec(t, wires), 1, t->cols);
    return rows ? rows : 1;
}

static uint64_t vector_floats(const zo2_tensor *t)
{
    return zo2_round_up(t->rows * t->cols, 4);
}

uint64_t zo2_block_vector_floats(const zo2_arch *a, uint32_t block)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (a->tensors[i].block == block && zo2_is_vector(&a->tensors[i]))
            n += vector_floats(&a->tensors[i]);
    return n;
}

uint64_t zo2_block_vector_wire(const zo2_arch *a, uint32_t block)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (t->block == block && zo2_is_vector(t))
            bytes += zo2_wire_room(zo2_codec_get(ZO2_WIRE_FP32), t->rows, t->cols);
    }
    return bytes;
}

uint32_t zo2_layout_unit(const zo2_layout *l, uint32_t tensor, uint64_t row)
{
    uint32_t unit = l->tensor_unit[tensor];
    if (l->units[unit].tensor == ZO2_NO_TENSOR)
        return unit;
    return unit + (uint32_t)(row / l->units[unit].rows); /* all tiles but the last have the first one's rows */
}

uint64_t zo2_unit_due_step(const zo2_unit *u, uint64_t t, uint32_t pending)
{
    if (u->frozen)
        return 0;
    if (u->tensor == ZO2_NO_TENSOR || !pending)
        return t;
    uint64_t over = (t + u->tile) % ((uint64_t)pending + 1);
    return over > t ? 0 : t - over;
}

int zo2_wire_is_type(zo2_wire wire, zo2_dtype type)
{
    switch (type) {
    case ZO2_F32: return wire == ZO2_WIRE_FP32;
    case ZO2_F16: return wire == ZO2_WIRE_FP16;
    case ZO2_BF16: return wire == ZO2_WIRE_BF16;
    }
    return 0;
}

int zo2_chunk_in_pack(const zo2_layout *l, uint32_t chunk)
{
    const zo2_chunk *c = &l->chunks[chunk];
    int is = l->units[c->unit].frozen;
    for (uint32_t i = 0; i < c->n_spans; i++) {
        const zo2_span *s = &l->spans[c->first_span + i];
        const zo2_tensor *t = &l->arch->tensors[s->tensor];
        is = is && t->stored != ZO2_NO_TENSOR &&
             (zo2_wire_is_type(s->codec->id, l->arch->dtype) || (!t->exempt && t->stored_wires >> s->codec->id & 1));
    }
    return is;
}

/* Counts with NULL arrays, then fills: one walk, so that the two can't differ. */
typedef struct cut {
    zo2_layout *l;
    zo2_wires wires;
    zo2_dtype compute;
    uint32_t tile_rule;
    uint64_t chunk_bytes;
    uint32_t units, chunks, spans, tiles;
    int fill;
} cut;

static void add_span(cut *c, zo2_chunk *chunk, uint64_t *element_at, const zo2_tensor *t, uint64_t row, uint64_t rows)
{
    const zo2_codec *codec = zo2_tensor_codec(t, c->wires);
    if (c->fill)
        c->l->spans[c->spans] = (zo2_span){.tensor = t->id,
                                           .row = row,
                                           .rows = rows,
                                           .cols = t->cols,
                                           .codec = codec,
                                           .wire_at = chunk->wire_bytes,
                                           .rest_at = chunk->rest_bytes,
                                           .element_at = *element_at};
    chunk->wire_bytes += zo2_wire_room(codec, rows, t->cols);
    chunk->rest_bytes += t->frozen ? 0 : codec->rest_bytes(rows, t->cols); /* its wire is all that anybody needs */
    chunk->n_spans++;
    *element_at += rows * t->cols;
    c->spans++;
}

static void add_chunk(cut *c, zo2_chunk chunk)
{
    chunk.wire_bytes = zo2_round_up(chunk.wire_bytes, PLANE_ALIGN);
    chunk.rest_bytes = zo2_round_up(chunk.rest_bytes, PLANE_ALIGN);
    if (chunk.wire_bytes > c->l->max_chunk_wire)
        c->l->max_chunk_wire = chunk.wire_bytes;
    if (c->fill)
        c->l->chunks[c->chunks] = chunk;
    c->chunks++;
}

static void add_vectors(cut *c, uint32_t block)
{
    const zo2_arch *a = c->l->arch;
    zo2_unit unit = {.block = block, .tensor = ZO2_NO_TENSOR, .frozen = 1, .first_chunk = c->chunks, .n_chunks = 1};
    zo2_chunk chunk = {.unit = c->units, .first_span = c->spans};
    uint64_t at = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (t->block != block || !zo2_is_vector(t))
            continue;
        add_span(c, &chunk, &unit.elements, t, 0, t->rows);
        unit.frozen = unit.frozen && t->frozen;
        unit.group = t->frozen ? unit.group : t->group;
        if (c->fill) {
            c->l->tensor_unit[i] = c->units;
            c->l->vector_at[i] = (uint32_t)at;
        }
        at += vector_floats(t);
    }
    if (c->fill)
        c->l->vector_unit[block] = chunk.n_spans ? c->units : ZO2_NO_TENSOR;
    if (!chunk.n_spans)
        return;
    add_chunk(c, chunk);
    if (c->fill)
        c->l->units[c->units] = unit;
    c->units++;
}

static void add_matrix(cut *c, const zo2_tensor *t)
{
    uint64_t tn = zo2_tile_rows(c->tile_rule, t->rows, t->cols, c->compute);
    uint64_t step = zo2_chunk_rows(t, c->wires, c->chunk_bytes);
    if (c->fill)
        c->l->tensor_unit[t->id] = c->units;
    for (uint64_t row = 0; row < t->rows; row += tn) {
        zo2_unit unit = {.block = t->block, .tensor = t->id, .tile = c->tiles++, .row = row, .first_chunk = c->chunks};
        unit.frozen = t->frozen;
        unit.group = t->group;
        unit.rows = t->rows - row < tn ? t->rows - row : tn;
        for (uint64_t r = 0; r < unit.rows; r += step) {
            zo2_chunk chunk = {.unit = c->units, .first_span = c->spans};
            add_span(c, &chunk, &unit.elements, t, row + r, unit.rows - r < step ? unit.rows - r : step);
            add_chunk(c, chunk);
            unit.n_chunks++;
        }
        if (c->fill)
            c->l->units[c->units] = unit;
        c->units++;
    }
}

static void walk(cut *c)
{
    const zo2_arch *a = c->l->arch;
    uint32_t i = 0;
    for (uint32_t block = 0; block < a->n_blocks; block++) {
        add_vectors(c, block);
        for (; i < a->n_tensors && a->tensors[i].block == block; i++)
            if (!zo2_is_vector(&a->tensors[i]))
                add_matrix(c, &a->tensors[i]);
    }
}

zo2_status zo2_layout_create(zo2_layout *out, const zo2_arch *arch, zo2_wires wires, zo2_dtype compute,
                             uint32_t tile_rule, uint64_t chunk_bytes)
{
    memset(out, 0, sizeof *out);
    out->arch = arch;
    cut c = {.l = out, .wires = wires, .compute = compute, .tile_rule = tile_rule, .chunk_bytes = chunk_bytes};
    walk(&c);
    out->units = calloc(c.units, sizeof *out->units);
    out->chunks = calloc(c.chunks, sizeof *out->chunks);
    out->spans = calloc(c.spans, sizeof *out->spans);
    out->tensor_unit = calloc(arch->n_tensors, sizeof *out->tensor_unit);
    out->vector_at = calloc(arch->n_tensors, sizeof *out->vector_at);
    out->vector_unit = calloc(arch->n_blocks, sizeof *out->vector_unit);
    if (!out->units || !out->chunks || !out->spans || !out->tensor_unit || !out->vector_at || !out->vector_unit) {
        zo2_layout_free(out);
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u chunks", c.chunks);
    }
    c = (cut){
        .l = out, .wires = wires, .compute = compute, .tile_rule = tile_rule, .chunk_bytes = chunk_bytes, .fill = 1};
    walk(&c);
    out->n_units = c.units;
    out->n_chunks = c.chunks;
    out->n_spans = c.spans;
    return ZO2_OK;
}

void zo2_layout_free(zo2_layout *l)
{
    free(l->units);
    free(l->chunks);
    free(l->spans);
    free(l->tensor_unit);
    free(l->vector_unit);
    free(l->vector_at);
    memset(l, 0, sizeof *l);
}

uint32_t zo2_layout_chunk(const zo2_layout *l, uint32_t tensor, uint64_t row, const zo2_span **span)
{
    const zo2_unit *u = &l->units[zo2_layout_unit(l, tensor, row)];
    if (u->tensor == ZO2_NO_TENSOR) {
        const zo2_chunk *c = &l->chunks[u->first_chunk];
        const zo2_span *s = &l->spans[c->first_span];
        while (s->tensor != tensor)
            s++;
        *span = s;
        return u->first_chunk;
    }
    uint64_t step = l->spans[l->chunks[u->first_chunk].first_span].rows;
    uint32_t chunk = u->first_chunk + (uint32_t)((row - u->row) / step);
    *span = &l->spans[l->chunks[chunk].first_span];
    return chunk;
}
