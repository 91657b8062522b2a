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
#include "storage/pack/packfile_format.h"

#include <inttypes.h>
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
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s in %s has type %s; this version reads F32, F16 and BF16", t.name,
                         t.file, t.dtype_name);
    return ZO2_OK;
}

static zo2_status check_tensor(const zo2_convert_job *j, uint32_t tensor)
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

/* A tied head that is stored as well must be the embedding itself; else one of the two would be lost without a word. */
static zo2_status compare_head(const zo2_convert_job *j, unsigned char *a, unsigned char *b)
{
    const char *advice =
        "config.json ties them (\"tie_word_embeddings\"): set it to false if the model has a head of its own";
    const zo2_tensor *t = zo2_pieces_tensor(&j->pieces, ZO2_TIED_HEAD);
    zo2_status s = check_tensor(j, ZO2_TIED_HEAD);
    if (s)
        return s;
    const zo2_stored head = zo2_checkpoint_tensor(j->source, zo2_pieces_of(&j->pieces, ZO2_TIED_HEAD)->piece[0].stored);
    const zo2_stored embedding = zo2_checkpoint_tensor(j->source, zo2_pieces_of(&j->pieces, t->id)->piece[0].stored);
    if (head.dtype != embedding.dtype)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s is %s, %s is %s, but %s", j->dir, head.name, head.dtype_name,
                         embedding.name, embedding.dtype_name, advice);
    uint64_t size = zo2_dtype_bytes(head.dtype), elements = t->rows * t->cols, step = BUFFER_BYTES / size;
    for (uint64_t at = 0; at < elements; at += step) {
        uint64_t n = zo2_min_u64(elements - at, step);
        if ((s = zo2_convert_report(j, 0)) || (s = zo2_pieces_read(&j->pieces, ZO2_TIED_HEAD, at, n, a)) ||
            (s = zo2_pieces_read(&j->pieces, t->id, at, n, b)))
            return s;
        if (memcmp(a, b, (size_t)(n * size)) == 0)
            continue;
        uint64_t i = 0;
        while (a[i] == b[i])
            i++;
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s and %s differ at element %" PRIu64 ", but %s", j->dir, head.name,
                         embedding.name, at + i / size, advice);
    }
    return ZO2_OK;
}

static zo2_status check_head(const zo2_convert_job *j)
{
    unsigned char *a = malloc(BUFFER_BYTES), *b = malloc(BUFFER_BYTES);
    zo2_status s = a && b
                       ? compare_head(j, a, b)
                       : zo2_error(ZO2_ERR_NOMEM, "out of memory to compare the head of %s with its embedding", j->dir);
    free(a);
    free(b);
    return s;
}

zo2_status zo2_convert_check(zo2_convert_job *j)
{
    zo2_status s;
    for (uint32_t i = 0; i < j->arch.n_tensors; i++) {
        const zo2_tensor *t = &j->arch.tensors[i];
        if ((s = check_tensor(j, i)))
            return s;
        j->total += t->rows * t->cols * zo2_dtype_bytes(zo2_pieces_dtype(&j->pieces, i));
    }
    if ((s = zo2_require_replaceable(j->out)) || (s = zo2_require_absent(j->out, j->o.force)) ||
        (s = zo2_require_space(j->out, zo2_pack_bytes_at_most(j->arch.n_tensors, j->total))))
        return s;
    return zo2_pieces_of(&j->pieces, ZO2_TIED_HEAD)->n ? check_head(j) : ZO2_OK;
}
