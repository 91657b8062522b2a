/* cpu_backend.h: what the files of the cpu backend share. Operations run on the calling thread and the engine's pool
 * and are finished when they return. All work is cut into tasks by shapes alone, each output element is computed within
 * one task, and so results don't depend on the number of threads. */
#ifndef ZO2_KERNELS_CPU_CPU_BACKEND_H
#define ZO2_KERNELS_CPU_CPU_BACKEND_H

#include <stdatomic.h>

#include "engine/base/parallel.h"
#include "engine/base/slots.h"
#include "kernels/backend.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

typedef struct zo2_cpu {
    zo2_backend base;
    zo2_parallel parallel; /* threads >= 1 */
    void *arena;
    uint64_t arena_bytes;
    _Atomic uint64_t peak; /* end of the highest byte that was an operand; both lanes' threads raise it */
    zo2_slots slots;       /* [threads]: of the tasks of one operation of the compute lane */
    float *row_panels;   /* [threads][ZO2_MAX_PANELS][row_floats], by slot: rows on their way to be added (decode.c) */
    uint64_t row_floats; /* of the longest row so far */
    zo2_gemm_bf16 *bf16; /* NULL: BLAS multiplies bf16 values too */
    const zo2_blas *blas;
    zo2_blas_room room; /* until the first step */
} zo2_cpu;

/* After zo2_operands_<op>() (its status is s): checks the operands against the arena and raises the peak. */
zo2_status zo2_cpu_admit(zo2_cpu *c, zo2_status s, const zo2_operands *l);

/* fn(arg, i) for i < n through the pool; on the spot when there is one task or no pool. */
void zo2_cpu_run(const zo2_cpu *c, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg);

/* Rows of `cols` elements per task for about `elements` elements a task; at least 1. */
uint64_t zo2_cpu_rows_per_task(uint64_t cols, uint64_t elements);

/* row(op, stream, r) for each row r < m of each stream, which writes that row alone: tasks of about `elements` elements of rows of
 * `cols`. */
typedef void (*zo2_cpu_row_fn)(const void *op, uint64_t stream, uint64_t r);
void zo2_cpu_run_rows(const zo2_cpu *c, uint64_t streams, uint64_t m, uint64_t cols, uint64_t elements,
                      zo2_cpu_row_fn row, const void *op);

static inline uint64_t zo2_ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* zo2_cpu_gemm(c, op) and so on: an operation whose operands were let in and that has something to do. */
#define ZO2_CPU_OPERATION(op, type) zo2_status zo2_cpu_##op(zo2_cpu *c, const type *operands);
ZO2_BACKEND_OPERATIONS(ZO2_CPU_OPERATION)
#undef ZO2_CPU_OPERATION
uint64_t zo2_cpu_attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads);
uint64_t zo2_cpu_gemm_host_bytes(zo2_dtype compute, uint64_t cols, uint32_t threads);

#endif
