/* convert_check.c: what is checked once it is known which stored tensor is which, before anything is written. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pack_api.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES ((uint64_t)4 << 20) /* a multiple of every element size */

/* A stored tensor as far as pieces are taken of it: with less, bytes would be missing; with more, some would be lost without
 * a word. */
static zo2_status check_stored(const zo2_convert_job *j, uint64_t stored)
{
    char a[128], b[128];
    const zo2_stored t = zo2_checkpoint_tensor(j->source, stored);
    const zo2_piece_extent *want = &j->pieces.extents[stored];
    uint64_t shape[2] = {want->rows, want->cols};
    const uint64_t *expected = want->rank == 1 ? shape + 1 : shape;
    if (t.rank != want->rank || memcmp(t.shape, expected, want->rank * sizeof *shape) != 0)
        return zo2_error(ZO2_ERR_FORMAT, "%s in %s has shape %s, config.json asks for %s", t.name, t.file,
                         zo2_shape_text(a, sizeof a, t.rank, t.shape),
                         zo2_shape_text(b, sizeof b, want->rank, expected));
    if (!t.dtype)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s in %s has type %s; this version reads F32, F16, BF16 and F64", t.name,
                         t.file, t.dtype_name);
    return ZO2_OK;
}

zo2_status zo2_convert_check_tensor(const zo2_convert_job *j, uint32_t tensor)
{
    const zo2_piece_list *list = zo2_pieces_of(&j->pieces, tensor);
    const zo2_stored first = zo2_checkpoint_tensor(j->source, list->piece[0].stored);
    for (uint32_t i = 0; i < list->n; i++) {
        const zo2_stored t = zo2_checkpoint_tensor(j->source, list->piece[i].stored);
        zo2_status s = check_stored(j, list->piece[i].stored);
        if (s)
            return s;
        if (t.dtype != first.dtype)
            return zo2_error(ZO2_ERR_FORMAT, "%s: %s is %s, %s is %s, but both are parts of %s", j->dir, first.name,
                             first.dtype_name, t.name, t.dtype_name, zo2_pieces_tensor(&j->pieces, tensor)->name);
    }
    return ZO2_OK;
}

/* ---- what is stored twice ------------------------------------------------------------------------------------------- */

/* Something that is read for a comparison: all pieces of a tensor, or a stored one as it is. */
typedef struct side {
    uint32_t tensor; /* ZO2_NO_TENSOR: `stored` */
    uint64_t stored;
} side;

static zo2_status read_side(const zo2_convert_job *j, const side *from, uint64_t first, uint64_t n, uint64_t size,
                            void *bits)
{
    return from->tensor == ZO2_NO_TENSOR ? zo2_checkpoint_read(j->source, from->stored, first * size, n * size, bits)
                                         : zo2_pieces_read(&j->pieces, from->tensor, first, n, bits);
}

/* *at: the first of n elements of `size` bytes that differs, n if none does. a, b: room for BUFFER_BYTES each. */
static zo2_status first_difference(const zo2_convert_job *j, const side *x, const side *y, uint64_t n, uint64_t size,
                                   unsigned char *a, unsigned char *b, uint64_t *at)
{
    zo2_status s;
    uint64_t step = BUFFER_BYTES / size;
    for (*at = 0; *at < n; *at += step) {
        uint64_t now = zo2_min_u64(n - *at, step), i = 0;
        if ((s = zo2_convert_report(j, 0)) || (s = read_side(j, x, *at, now, size, a)) ||
            (s = read_side(j, y, *at, now, size, b)))
            return s;
        if (memcmp(a, b, (size_t)(now * size)) == 0)
            continue;
        while (a[i] == b[i])
            i++;
        *at += i / size;
        return ZO2_OK;
    }
    *at = n;
    return ZO2_OK;
}

/* " (in FILE and FILE)", or nothing if both are in one. */
static const char *files_text(char *buf, size_t n, const zo2_stored *a, const zo2_stored *b)
{
    buf[0] = '\0';
    if (strcmp(a->file, b->file) != 0)
        snprintf(buf, n, " (in %.255s and %.255s)", zo2_path_name(a->file), zo2_path_name(b->file));
    return buf;
}

/* Two that must be the same: else one of them would be lost without a word. `stored` of each: for type and messages; of: the
 * tensor of ours that both are. */
static zo2_status check_same(const zo2_convert_job *j, const side *x, const side *y, const zo2_tensor *of,
                             const char *advice)
{
    char files[540];
    const zo2_stored first = zo2_checkpoint_tensor(j->source, x->stored),
                     second = zo2_checkpoint_tensor(j->source, y->stored);
    files_text(files, sizeof files, &first, &second);
    if (first.dtype != second.dtype)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s is %s, %s is %s%s, but %s", j->dir, first.name, first.dtype_name,
                         second.name, second.dtype_name, files, advice);
    unsigned char *a = malloc(BUFFER_BYTES), *b = malloc(BUFFER_BYTES);
    uint64_t size = zo2_dtype_bytes(first.dtype), at = 0;
    uint64_t n = x->tensor == ZO2_NO_TENSOR ? first.bytes / size : of->rows * of->cols;
    zo2_status s =
        a && b ? first_difference(j, x, y, n, size, a, b, &at)
               : zo2_error(ZO2_ERR_NOMEM, "out of memory to compare %s of %s with %s", first.name, j->dir, second.name);
    free(a);
    free(b);
    if (!s && at < n)
        s = zo2_error(ZO2_ERR_FORMAT, "%s: %s and %s differ at element %" PRIu64 "%s, but %s", j->dir, first.name,
                      second.name, at, files, advice);
    return s;
}

static zo2_status check_copies(const zo2_convert_job *j)
{
    char advice[256];
    zo2_status s = ZO2_OK;
    for (uint64_t i = 0; i < j->pieces.n_copies && !s; i++) {
        const zo2_piece_copy *c = &j->pieces.copies[i];
        const zo2_tensor *of = zo2_pieces_tensor(&j->pieces, c->tensor);
        const side x = {ZO2_NO_TENSOR, c->of}, y = {ZO2_NO_TENSOR, c->stored};
        snprintf(advice, sizeof advice, "both are %s: remove the one that doesn't belong", of->name);
        s = check_stored(j, c->stored);
        if (!s && !zo2_convert_is_replica(j, c)) /* those are compared in another way */
            s = check_same(j, &x, &y, of, advice);
    }
    return s;
}

/* A tied head that is stored as well must be the embedding itself. */
static zo2_status check_head(const zo2_convert_job *j)
{
    const zo2_tensor *t = zo2_pieces_tensor(&j->pieces, ZO2_TIED_HEAD);
    const zo2_piece_list *head = zo2_pieces_of(&j->pieces, ZO2_TIED_HEAD);
    if (!head->n)
        return ZO2_OK;
    zo2_status s = zo2_convert_check_tensor(j, ZO2_TIED_HEAD);
    if (s)
        return s;
    const side x = {ZO2_TIED_HEAD, head->piece[0].stored},
               y = {t->id, zo2_pieces_of(&j->pieces, t->id)->piece[0].stored};
    return check_same(
        j, &x, &y, t,
        "config.json ties them (\"tie_word_embeddings\"): set it to false if the model has a head of its own");
}

/* What an interrupted conversion left is there already, or makes room by going. */
static uint64_t bytes_to_come(const zo2_convert_job *j)
{
    const uint64_t all = zo2_pack_bytes_at_most(j->arch.n_tensors, j->total);
    const uint64_t held = j->o.resume ? zo2_pack_partial_bytes(j->out) : 0;
    return held < all ? all - held : 0;
}

zo2_status zo2_convert_check(zo2_convert_job *j)
{
    zo2_status s;
    for (uint32_t i = 0; i < j->arch.n_tensors; i++) {
        const zo2_tensor *t = &j->arch.tensors[i];
        if ((s = zo2_convert_check_tensor(j, i)))
            return s;
        j->total += t->rows * t->cols * zo2_dtype_bytes(zo2_pieces_dtype(&j->pieces, i));
    }
    if ((s = zo2_require_replaceable(j->out)) || (s = zo2_require_absent(j->out, j->o.force)) ||
        (s = zo2_require_space(j->out, bytes_to_come(j))))
        return s;
    return (s = check_copies(j)) || (s = zo2_convert_check_parts(j)) ? s : check_head(j);
}
