/* blas.h: OpenBLAS, loaded when the first cpu backend is opened: a program that never multiplies never has it. Loaded with
 * the program it would start a thread for each core, and where memory for those threads is refused they try again for ever:
 * the program could neither work nor end. Here it gets no threads, because the engine's own pool does the threading. */
#ifndef ZO2_KERNELS_CPU_BLAS_H
#define ZO2_KERNELS_CPU_BLAS_H

#include <cblas.h>
#include <stddef.h>

#include "engine/zo2.h"

typedef struct zo2_blas {
    __typeof__(cblas_sgemm) *sgemm;
    __typeof__(openblas_get_num_threads) *get_num_threads;
    __typeof__(openblas_set_num_threads) *set_num_threads;
} zo2_blas;

/* Room in the address space for the buffer that OpenBLAS maps for each thread that calls it. Where a limit (RLIMIT_AS,
 * strict overcommit) refuses the mapping it tries again for ever, so as much is reserved, untouched, from before it is
 * loaded until just before it is first called. */
typedef struct zo2_blas_room {
    void *memory; /* NULL: nothing reserved */
    size_t bytes;
} zo2_blas_room;

/* ZO2_ERR_NOMEM: there is no such room. */
zo2_status zo2_blas_reserve(zo2_blas_room *room, unsigned threads);
void zo2_blas_release(zo2_blas_room *room); /* OpenBLAS may be called from here on. Nothing reserved is fine */

/* Loads it, once, with no threads of its own, or takes what the program has loaded itself; it stays for ever. With a room
 * reserved. Thread-safe. ZO2_ERR_NOTFOUND, ZO2_ERR_NOMEM: it can't be loaded, *out is NULL. */
zo2_status zo2_blas_load(const zo2_blas **out);

/* OpenBLAS runs single-threaded while any step is in progress. The number of its threads is a setting of the process: the
 * first enter saves it and sets 1, the last leave restores it; any number of engines may be inside at once. Thread-safe.
 * Every enter needs its leave. */
void zo2_blas_enter(const zo2_blas *blas);
void zo2_blas_leave(const zo2_blas *blas);

#endif
