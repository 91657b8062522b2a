/* pieces.c: see pieces.h. */
#include "engine/pack/pieces.h"
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/pack_api.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

zo2_status zo2_pieces_create(zo2_pieces *p, const char *dir, const zo2_arch *arch, const zo2_checkpoint *source)
{
    *p = (zo2_pieces){.dir = dir, .arch = arch, .source = source};
    p->of = calloc((size_t)arch->n_tensors + 1, sizeof *p->of);
    p->extents = calloc((size_t)zo2_checkpoint_count(source) + 1, sizeof *p->extents);
    return p->of && p->extents ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", dir);
}

void zo2_pieces_free(zo2_pieces *p)
{
    for (uint32_t i = 0; p->of && i <= p->arch->n_tensors; i++)
        free(p->of[i].piece);
    free(p->of);
    free(p->extents);
    free(p->copies);
    *p = (zo2_pieces){0};
}

zo2_piece_list *zo2_pieces_of(const zo2_pieces *p, uint32_t tensor)
{
    return &p->of[tensor == ZO2_TIED_HEAD ? p->arch->n_tensors : tensor];
}

const zo2_tensor *zo2_pieces_tensor(const zo2_pieces *p, uint32_t tensor)
{
    return &p->arch->tensors[tensor == ZO2_TIED_HEAD ? zo2_arch_find(p->arch, ZO2_ROLE_EMBED_TOKENS, 0) : tensor];
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

static int is_inside(uint64_t first, uint64_t n, uint64_t size)
{
    return n > 0 && first < size && n <= size - first;
}

static uint64_t step_of(const zo2_place *at)
{
    return at->from_step ? at->from_step : 1;
}

static int overlap(const zo2_place *a, const zo2_place *b)
{
    return a->row < b->row + b->rows && b->row < a->row + a->rows && a->col < b->col + b->cols &&
           b->col < a->col + a->cols;
}

static zo2_status append(zo2_pieces *p, zo2_piece_list *list, uint64_t stored, const zo2_place *at)
{
    if (list->n == list->cap) {
        uint32_t cap = list->cap ? 2 * list->cap : 1;
        zo2_piece *grown = realloc(list->piece, cap * sizeof *grown);
        if (!grown)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", p->dir);
        list->piece = grown;
        list->cap = cap;
    }
    list->piece[list->n++] = (zo2_piece){.stored = stored, .at = *at};
    list->elements += at->rows * at->cols;
    return ZO2_OK;
}

static int same_place(const zo2_place *a, const zo2_place *b)
{
    return a->rows == b->rows && a->cols == b->cols && a->from_row == b->from_row && a->from_col == b->from_col &&
           a->row == b->row && a->col == b->col && step_of(a) == step_of(b);
}

static zo2_status append_copy(zo2_pieces *p, uint64_t stored, uint64_t of, uint32_t tensor)
{
    if (p->n_copies == p->copies_cap) {
        uint64_t cap = p->copies_cap ? 2 * p->copies_cap : 16;
        zo2_piece_copy *grown = realloc(p->copies, (size_t)cap * sizeof *grown);
        if (!grown)
            return zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", p->dir);
        p->copies = grown;
        p->copies_cap = cap;
    }
    p->copies[p->n_copies++] = (zo2_piece_copy){.stored = stored, .of = of, .tensor = tensor};
    return ZO2_OK;
}

static void extend(zo2_pieces *p, uint64_t stored, uint32_t rank, uint64_t end_row, uint64_t end_col)
{
    zo2_piece_extent *extent = &p->extents[stored];
    extent->rank = extent->rank > rank ? extent->rank : rank;
    extent->rows = zo2_max_u64(extent->rows, end_row);
    extent->cols = zo2_max_u64(extent->cols, end_col);
}

zo2_status zo2_pieces_add(zo2_pieces *p, uint64_t stored, const zo2_place *at)
{
    zo2_piece_list *list = zo2_pieces_of(p, at->tensor);
    const zo2_tensor *t = zo2_pieces_tensor(p, at->tensor);
    uint64_t span, end_row, end_col;
    if (!is_inside(at->row, at->rows, t->rows) || !is_inside(at->col, at->cols, t->cols) ||
        !zo2_mul_u64(at->rows - 1, step_of(at), &span) || !zo2_add_u64(at->from_row, span + 1, &end_row) ||
        span == UINT64_MAX || !zo2_add_u64(at->from_col, at->cols, &end_col)) {
        char text[64];
        const uint64_t shape[2] = {t->rows, t->cols};
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: %s has no place in %s %s: [%" PRIu64 ", %" PRIu64 "] at row %" PRIu64 ", column %" PRIu64,
                         p->dir, zo2_checkpoint_tensor(p->source, stored).name, t->name,
                         zo2_shape_text(text, sizeof text, 2, shape), at->rows, at->cols, at->row, at->col);
    }
    extend(p, stored, t->rank, end_row, end_col);
    for (uint32_t i = 0; i < list->n; i++) {
        const zo2_piece *other = &list->piece[i];
        if (!overlap(&other->at, at))
            continue;
        if (same_place(&other->at, at))
            return append_copy(p, stored, other->stored, at->tensor);
        const zo2_stored a = zo2_checkpoint_tensor(p->source, other->stored),
                         b = zo2_checkpoint_tensor(p->source, stored);
        return zo2_error(ZO2_ERR_FORMAT, "%s stores %s twice: as %s and as %s (in %s and %s)", p->dir, t->name, a.name,
                         b.name, zo2_path_name(a.file), zo2_path_name(b.file));
    }
    return append(p, list, stored, at);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

zo2_dtype zo2_pieces_dtype(const zo2_pieces *p, uint32_t tensor)
{
    return zo2_checkpoint_tensor(p->source, zo2_pieces_of(p, tensor)->piece[0].stored).dtype;
}

/* A run of elements: [begin, end) of ours, and where in the stored tensor the first one is. */
typedef struct run {
    uint64_t begin, end, from;
} run;

/* The part of [first, first + n) that row number `row` of a piece has; cols: of ours and of the stored tensor. */
static run run_of_row(const zo2_place *at, uint64_t row, uint64_t our_cols, uint64_t stored_cols, uint64_t first,
                      uint64_t n)
{
    uint64_t start = (at->row + row) * our_cols + at->col;
    run r = {.begin = zo2_max_u64(start, first), .end = zo2_min_u64(start + at->cols, first + n)};
    r.from = (at->from_row + row * step_of(at)) * stored_cols + at->from_col + (r.begin - start);
    return r;
}

#define SCRATCH_BYTES ((uint64_t)1 << 20)

/* Rows [row, rows) of a piece that has whole rows of the stored tensor and parts of rows of ours: they lie one behind the other
 * there, so many are read at once, and copied one by one. *scratch: room for SCRATCH_BYTES, made when it is first needed. */
static zo2_status read_columns(const zo2_pieces *p, const zo2_piece *piece, uint64_t row, uint64_t rows,
                               uint64_t our_cols, uint64_t first, uint64_t n, unsigned char *bits,
                               unsigned char **scratch)
{
    const zo2_place *at = &piece->at;
    uint64_t size = zo2_dtype_bytes(zo2_checkpoint_tensor(p->source, piece->stored).dtype), bytes = at->cols * size;
    uint64_t step = SCRATCH_BYTES / bytes;
    if (!*scratch && !(*scratch = malloc(SCRATCH_BYTES)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to read the tensors of %s", p->dir);
    for (; row < rows; row += step) {
        uint64_t now = zo2_min_u64(rows - row, step);
        zo2_status s =
            zo2_checkpoint_read(p->source, piece->stored, (at->from_row + row) * bytes, now * bytes, *scratch);
        if (s)
            return s;
        for (uint64_t i = 0; i < now; i++) {
            run r = run_of_row(at, row + i, our_cols, at->cols, first, n);
            if (r.begin < r.end)
                memcpy(bits + (r.begin - first) * size, *scratch + (r.from - (at->from_row + row) * at->cols) * size,
                       (r.end - r.begin) * size);
        }
    }
    return ZO2_OK;
}

static zo2_status read_piece(const zo2_pieces *p, const zo2_piece *piece, uint64_t our_cols, uint64_t first, uint64_t n,
                             unsigned char *bits, unsigned char **scratch)
{
    const zo2_place *at = &piece->at;
    uint64_t stored_cols = p->extents[piece->stored].cols, begin_row = first / our_cols,
             end_row = (first + n - 1) / our_cols + 1;
    uint64_t size = zo2_dtype_bytes(zo2_checkpoint_tensor(p->source, piece->stored).dtype);
    if (end_row <= at->row || begin_row >= at->row + at->rows)
        return ZO2_OK;
    uint64_t row = begin_row > at->row ? begin_row - at->row : 0, rows = zo2_min_u64(end_row - at->row, at->rows);
    const int in_line = step_of(at) == 1;
    int whole_rows =
        in_line && at->cols == our_cols && at->cols == stored_cols; /* one stretch of bytes on both sides */
    if (in_line && !whole_rows && at->cols == stored_cols && rows - row > 1 && 2 * at->cols * size <= SCRATCH_BYTES)
        return read_columns(p, piece, row, rows, our_cols, first, n, bits, scratch);
    while (row < rows) {
        run r = run_of_row(at, row, our_cols, stored_cols, first, n);
        if (whole_rows)
            r.end = zo2_min_u64((at->row + rows) * our_cols, first + n);
        row = whole_rows ? rows : row + 1;
        if (r.begin >= r.end)
            continue;
        zo2_status s = zo2_checkpoint_read(p->source, piece->stored, r.from * size, (r.end - r.begin) * size,
                                           bits + (r.begin - first) * size);
        if (s)
            return s;
    }
    return ZO2_OK;
}

zo2_status zo2_pieces_read(const zo2_pieces *p, uint32_t tensor, uint64_t first, uint64_t n, void *bits)
{
    const zo2_piece_list *list = zo2_pieces_of(p, tensor);
    uint64_t cols = zo2_pieces_tensor(p, tensor)->cols;
    unsigned char *scratch = NULL;
    zo2_status s = ZO2_OK;
    for (uint32_t i = 0; n > 0 && i < list->n && !s; i++)
        s = read_piece(p, &list->piece[i], cols, first, n, bits, &scratch);
    free(scratch);
    return s;
}

uint64_t zo2_pieces_locate(const zo2_pieces *p, uint32_t tensor, uint64_t element, uint64_t *at)
{
    const zo2_piece_list *list = zo2_pieces_of(p, tensor);
    uint64_t cols = zo2_pieces_tensor(p, tensor)->cols, row = element / cols, col = element % cols;
    uint32_t i = 0;
    while (row - list->piece[i].at.row >= list->piece[i].at.rows ||
           col - list->piece[i].at.col >= list->piece[i].at.cols) /* the pieces cover the tensor */
        i++;
    const zo2_place *in = &list->piece[i].at;
    *at = (in->from_row + (row - in->row) * step_of(in)) * p->extents[list->piece[i].stored].cols + in->from_col + col -
          in->col;
    return list->piece[i].stored;
}
