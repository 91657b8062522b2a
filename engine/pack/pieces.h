/* pieces.h: what each of a model's tensors is made of in a checkpoint: a list of pieces, and reads across them. Most have
 * one piece, a stored tensor as it is. Private to engine/. */
#ifndef ZO2_ENGINE_PACK_PIECES_H
#define ZO2_ENGINE_PACK_PIECES_H

#include "engine/model/arch.h"
#include "engine/model/place.h"
#include "storage/checkpoint/checkpoint.h"

typedef struct zo2_piece {
    uint64_t stored; /* number in the checkpoint */
    zo2_place at;
} zo2_piece;

/* Of one tensor. */
typedef struct zo2_piece_list {
    zo2_piece *piece; /* in the order in which they were added */
    uint32_t n, cap;
    uint64_t elements; /* that they have together; they never overlap */
} zo2_piece_list;

/* A stored tensor that holds the same place as an earlier one: its bits must be the same, too (convert_check.c). */
typedef struct zo2_piece_copy {
    uint64_t stored, of; /* numbers in the checkpoint */
    uint32_t tensor;     /* that both are, or ZO2_TIED_HEAD */
} zo2_piece_copy;

/* The shape that a stored tensor must have: as far as pieces of it go. rank 0: nothing is taken of it. */
typedef struct zo2_piece_extent {
    uint32_t rank;
    uint64_t rows, cols;
} zo2_piece_extent;

typedef struct zo2_pieces {
    const char *dir; /* for messages */
    const zo2_arch *arch;
    const zo2_checkpoint *source;
    zo2_piece_list *of;        /* [n_tensors + 1]; the last: a tied head that is stored all the same */
    zo2_piece_extent *extents; /* [stored tensors] */
    zo2_piece_copy *copies;    /* [n_copies] */
    uint64_t n_copies, copies_cap;
} zo2_pieces;

/* arch, source and dir must outlive it; on failure it is to be freed too. */
zo2_status zo2_pieces_create(zo2_pieces *p, const char *dir, const zo2_arch *arch, const zo2_checkpoint *source);
void zo2_pieces_free(zo2_pieces *p); /* zeroed is fine */

/* The pieces of a tensor or, for ZO2_TIED_HEAD, of that head. */
zo2_piece_list *zo2_pieces_of(const zo2_pieces *p, uint32_t tensor);

/* The tensor that pieces of `tensor` make: itself, or the embedding for ZO2_TIED_HEAD. */
const zo2_tensor *zo2_pieces_tensor(const zo2_pieces *p, uint32_t tensor);

/* Adds a piece, or a copy if an earlier one has exactly this place. ZO2_ERR_FORMAT: it overlaps an earlier one ("is stored
 * twice"), or leads out of the tensor. */
zo2_status zo2_pieces_add(zo2_pieces *p, uint64_t stored, const zo2_place *at);

/* Of a tensor with pieces; all are of one type once convert_check.c has seen them. */
zo2_dtype zo2_pieces_dtype(const zo2_pieces *p, uint32_t tensor);

/* Source bits of elements [first, first + n) of a tensor whose pieces are checked. Any thread, several at once. */
zo2_status zo2_pieces_read(const zo2_pieces *p, uint32_t tensor, uint64_t first, uint64_t n, void *bits);

/* Where an element of a tensor lies: the stored tensor's number; *at: element in it. */
uint64_t zo2_pieces_locate(const zo2_pieces *p, uint32_t tensor, uint64_t element, uint64_t *at);

#endif
