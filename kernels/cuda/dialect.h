/* dialect.h: the four places where a kernel's text differs between nvcc and the CPU simulator of tests/cudasim. All
 * else in kernels/cuda is plain CUDA C++17, within what tests/cudasim/include declares.
 *
 *     template <class T> ZO2_LAUNCH_BOUNDS(256) __global__ void scale(T *x, uint64_t n)
 *     {
 *         ZO2_SHARED(float, row, 256);        // float (&row)[256]
 *         ZO2_DYNAMIC_SHARED(float, all);     // float *all, 16-byte aligned
 *         ...
 *     }
 *     ZO2_LAUNCH((scale<float>), grid, 256, shared_bytes, stream, x, n);
 *     cudaError_t e = cudaGetLastError();
 *
 * Launch bounds are constants and multiples of 32; a kernel that has them is instantiated in one file only. One dynamic array per kernel. Launches take at least one argument;
 * argument structs hold no host address and are initialised whole: the simulator looks. Under nvcc a launch is a
 * statement, so its error is asked for separately on both sides. */
#ifndef ZO2_KERNELS_CUDA_DIALECT_H
#define ZO2_KERNELS_CUDA_DIALECT_H

#include <cuda_runtime.h>

#ifdef __CUDACC__

#define ZO2_LAUNCH_BOUNDS(threads) __launch_bounds__(threads)
#define ZO2_SHARED(type, name, n)  __shared__ type name[n]
#define ZO2_DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char zo2_dynamic_shared[]; \
    type *const name = reinterpret_cast<type *>(zo2_dynamic_shared)
#define ZO2_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

#else

#define ZO2_LAUNCH_BOUNDS(threads)     CUDASIM_LAUNCH_BOUNDS(threads)
#define ZO2_SHARED(type, name, n)      CUDASIM_SHARED(type, name, n)
#define ZO2_DYNAMIC_SHARED(type, name) CUDASIM_DYNAMIC_SHARED(type, name)
#define ZO2_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    CUDASIM_LAUNCH(kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

#endif

#endif
