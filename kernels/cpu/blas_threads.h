/* blas_threads.h: OpenBLAS runs single-threaded while any step is in progress, because the engine's own pool does the
 * threading. */
#ifndef ZO2_KERNELS_CPU_BLAS_THREADS_H
#define ZO2_KERNELS_CPU_BLAS_THREADS_H

/* The number of OpenBLAS threads is a setting of the process. The first enter saves it and sets 1, the last leave
 * restores it; any number of engines may be inside at once. Thread-safe. Every enter needs its leave. */
void zo2_blas_enter(void);
void zo2_blas_leave(void);

/* 1 if the address space has room for the buffer that OpenBLAS maps for each thread that calls it. Where a limit
 * (RLIMIT_AS, strict overcommit) refuses the mapping it tries again for ever, so one asks before. Asking uses no memory
 * up. */
int zo2_blas_has_room(unsigned threads);

#endif
