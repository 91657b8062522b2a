/* operands.h: what an operation reads and writes, said once for all backends. Each zo2_operands_<op>() checks an op
 * struct's shape and lists its device operands; zo2_operands_check() then checks the list against an arena. Refusals
 * are ZO2_ERR_DEVICE and name the operation and the operand.
 *
 * An operation with no rows (m, rows or n_seqs of 0) does nothing and is allowed: `empty` is set. Matrices without
 * columns and calls without streams are refused. */
#ifndef ZO2_KERNELS_OPERANDS_H
#define ZO2_KERNELS_OPERANDS_H

#include "kernels/backend.h"
#include "kernels/operations.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ZO2_OPERAND_READ = 1, ZO2_OPERAND_WRITE = 2, ZO2_OPERAND_UPDATE = 3 }; /* update: both */

/* [batch][rows] runs of `row` bytes; strides in bytes. */
typedef struct zo2_operand {
    const char *name;
    const void *at;
    uint64_t batch, stride;
    uint64_t rows, ld, row;
    uint64_t extent; /* (rows - 1) * ld + row: bytes from the first to the last of one batch entry */
    uint32_t align;  /* of `at` */
    int access;
    int uploaded; /* comes straight from the host: the null backend wants it uploaded, not computed */
} zo2_operand;

#define ZO2_MAX_OPERANDS 6

typedef struct zo2_operands {
    const char *op; /* name of the operation */
    zo2_operand v[ZO2_MAX_OPERANDS];
    uint32_t n;
    int empty; /* nothing to do; the list is empty too */
} zo2_operands;

/* zo2_operands_gemm(l, b, op) and so on: fills *l from scratch. b: whose operation it is; its table says how large elements and
 * workspaces are. */
#define ZO2_OPERANDS_OF(op, type) \
    zo2_status zo2_operands_##op(zo2_operands *l, const zo2_backend *b, const type *operands);
ZO2_BACKEND_OPERATIONS(ZO2_OPERANDS_OF)
#undef ZO2_OPERANDS_OF

/* One end of a transfer: `bytes` bytes at `at`. */
zo2_status zo2_operands_transfer(zo2_operands *l, const char *op, const void *at, uint64_t bytes, int access);
zo2_status zo2_operands_copy(zo2_operands *l, const void *dst, const void *src, uint64_t bytes);

/* Every operand lies in the arena and is aligned; what is written overlaps neither itself nor any other operand (but y
 * of a norm, which may be x). *high_water: end of the highest byte, from the arena's start. */
zo2_status zo2_operands_check(const zo2_operands *l, const void *arena, uint64_t arena_bytes, uint64_t *high_water);

/* The operation with what its zeros stand for: kv_heads, ld_kv and stride_kv. */
static inline zo2_attention_op zo2_attention_full(const zo2_attention_op *op)
{
    zo2_attention_op full = *op;
    if (!full.kv_heads)
        full.kv_heads = full.heads;
    if (!full.ld_kv) {
        full.ld_kv = full.ld;
        full.stride_kv = full.stride;
    }
    return full;
}

/* Most keys a query of the op sees, 0 without sequences. */
uint64_t zo2_attention_max_keys(const zo2_attention_op *op);

#ifdef __cplusplus
}
#endif

#endif
