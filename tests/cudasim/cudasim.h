/* cudasim.h: how a test sets up the simulated device and asks what happened. See README.md for what is simulated.
 *
 * There is one device per process, as with CUDA. Functions may be called from any thread. */
#ifndef CUDASIM_CUDASIM_H
#define CUDASIM_CUDASIM_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which of the operations that could run next runs: the one enqueued first, last, or drawn from the seed. Operations of
 * one stream keep their order always. */
typedef enum cudasim_order { CUDASIM_FIFO, CUDASIM_LIFO, CUDASIM_SEEDED } cudasim_order;

/* In which order the threads of a block run between barriers, and the blocks of a grid. */
typedef enum cudasim_threads { CUDASIM_FORWARD, CUDASIM_REVERSE, CUDASIM_SHUFFLED } cudasim_threads;

typedef struct cudasim_config { /* zero in a field = the default in brackets */
    uint64_t device_bytes;      /* of the whole card [256 MiB] */
    uint64_t context_bytes;     /* that the context takes [16 MiB] */
    uint64_t pinned_bytes;      /* that can be registered [no limit] */
    int major, minor;           /* compute capability [8.0] */
    cudaError_t start_error;    /* what every call that needs a device gives: cudaErrorInsufficientDriver, NoDevice */
    cudasim_order order;        /* [FIFO] */
    cudasim_threads threads;    /* [FORWARD] */
    uint64_t seed;              /* of SEEDED and SHUFFLED */
    uint64_t operation_ns;      /* the device's clock is the host's, and this much later after every operation [0] */

    /* The fail_call-th call of the function fail_name (NULL: of any), counted from 1, gives fail_error. Likewise the
     * fail_operation-th operation that the device runs; that shows at the next call that waits for it. Errors that cost
     * the context (cudaErrorIllegalAddress, ECCUncorrectable, ...) are sticky: every later call gives them. */
    uint64_t fail_call, fail_operation;
    const char *fail_name;
    cudaError_t fail_error;
    int lt_refuses; /* cublasLtMatmul() supports nothing, whatever its heuristics named */

    /* Mutants: what the program does is left out, as if its author had forgotten it. Tests show that this is caught. */
    const char *drop_file; /* the barrier or __syncwarp() at this line of this file (no folder) is none */
    int drop_line;
    unsigned drop_waits;  /* cudaStreamWaitEvent() of this stream does nothing: 1 for the oldest there is, ... */
    int drop_event_syncs; /* cudaEventSynchronize() returns at once */

    int quiet; /* reports aren't printed on stderr */
} cudasim_config;

typedef struct cudasim_stats {
    uint64_t calls;                                /* of the runtime and of cuBLAS */
    uint64_t operations, kernels;                  /* that ran */
    uint64_t copied_to_device, copied_from_device; /* bytes */
    uint64_t device_bytes, peak_device_bytes;      /* context included */
    uint64_t pinned_bytes;                         /* registered */
    uint64_t allocations;                          /* calls of cudaMalloc that succeeded */
    uint64_t library_allocations;                  /* cuBLAS took a workspace of its own */
    uint64_t handles;                              /* of cuBLAS that were made */
    uint64_t lazy_kernels;    /* first launches of kernels that cudaFuncGetAttributes had not loaded */
    uint64_t pageable_copies; /* refused ones: the host side was not registered */
    uint64_t live_allocations, live_streams, live_events, live_handles, live_registrations;
    uint64_t reports;
    uint64_t dropped; /* waits that a mutant forgot */
} cudasim_stats;

/* A new device. Whatever was left of the old one is gone: nothing of it may be used any more. Not while another thread
 * is in the runtime. NULL: all defaults. */
void cudasim_reset(const cudasim_config *c);

void cudasim_get_stats(cudasim_stats *s);

/* The text of the first rule that was broken since the reset: what, kernel, block, thread, source line. "" if none;
 * valid until the next reset. */
const char *cudasim_report(void);

/* Barriers and __syncwarp() calls that kernels have passed since the reset: the i-th one's file (no folder) and line,
 * in the order of their names. NULL past the last one; valid until the next reset. */
const char *cudasim_barrier_place(unsigned i, int *line);

/* For tests only: device memory the host may look at until the next call of the runtime. Waits for nothing. */
void cudasim_open_memory(void);

/* Under AddressSanitizer an access of a kernel or a copy to these device bytes is an error until they are unpoisoned.
 * Serves to put red zones between the parts of an arena. Elsewhere does nothing. */
void cudasim_poison(void *p, uint64_t bytes);
void cudasim_unpoison(void *p, uint64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
