/* dialect.h: the places where a kernel's text differs between nvcc and the CPU simulator of tests/cudasim: five words, and
 * five conversions and a look-up of bytes, which are PTX. All else in kernels/cuda is plain CUDA C++17, within what
 * tests/cudasim/include declares.
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
 * Launch bounds are constants: threads, a multiple of 32, and, if need be, the blocks that a multiprocessor shall hold; a kernel that has them is instantiated in one file only. One dynamic array per kernel. Launches take at least one argument;
 * argument structs hold no host address and are initialised whole: the simulator looks. Under nvcc a launch is a
 * statement, so its error is asked for separately on both sides. */
#ifndef ZO2_KERNELS_CUDA_DIALECT_H
#define ZO2_KERNELS_CUDA_DIALECT_H

#include <cuda_runtime.h>

/* The compute capability that device code is compiled for, times 100. On the host side of nvcc's compilation: 0. */
#if !defined(__CUDACC__)
#define ZO2_ARCH CUDASIM_ARCH
#elif defined(__CUDA_ARCH__)
#define ZO2_ARCH __CUDA_ARCH__
#else
#define ZO2_ARCH 0
#endif
#define ZO2_HAS_CVT_BF16 (ZO2_ARCH >= 800) /* cvt.rn.bf16x2.f32 */
#define ZO2_HAS_CVT_FP8  (ZO2_ARCH >= 890) /* cvt.rn.f16x2.e4m3x2 and .e5m2x2 */

#ifdef __CUDACC__

#define ZO2_CALLED                __noinline__ /* a function that isn't inlined: what is rare */
#define ZO2_LAUNCH_BOUNDS(...)    __launch_bounds__(__VA_ARGS__)
#define ZO2_SHARED(type, name, n) __shared__ type name[n]
#define ZO2_DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char zo2_dynamic_shared[]; \
    type *const name = reinterpret_cast<type *>(zo2_dynamic_shared)
#define ZO2_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

#else

#define ZO2_CALLED                     __attribute__((noinline))
#define ZO2_LAUNCH_BOUNDS(...)         CUDASIM_LAUNCH_BOUNDS(__VA_ARGS__, 0)
#define ZO2_SHARED(type, name, n)      CUDASIM_SHARED(type, name, n)
#define ZO2_DYNAMIC_SHARED(type, name) CUDASIM_DYNAMIC_SHARED(type, name)
#define ZO2_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    CUDASIM_LAUNCH(kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

#endif

/* ---- conversions ----
 * To nearest even, subnormals kept, too large becomes infinite: what the codec headers' functions do, in one instruction.
 * Only a NaN differs: the hardware's result is the type's canonical NaN (0x7FFF, 0x7FFFFFFF), without sign and payload.
 * Pairs lie in a word, `low` in its lower half. convert.cuh says what takes their place where a device has none. */

/* sm_75 has one value at a time, and ptxas makes what there is of both. */
__device__ static inline uint32_t zo2_cvt_f16x2(float low, float high)
{
#ifdef __CUDACC__
    uint32_t pair;
#if ZO2_ARCH >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#else
    asm("{.reg .b16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h};}"
        : "=r"(pair)
        : "f"(low), "f"(high));
#endif
    return pair;
#else
    return cudasim::cvt_f16x2(low, high);
#endif
}

/* Both halves of a word, exactly. */
__device__ static inline void zo2_cvt_f32x2(uint32_t pair, float *low, float *high)
{
#ifdef __CUDACC__
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}"
        : "=f"(*low), "=f"(*high)
        : "r"(pair));
#else
    *low = cudasim::cvt_f32(pair & 0xFFFF);
    *high = cudasim::cvt_f32(pair >> 16);
#endif
}

#if ZO2_HAS_CVT_BF16
__device__ static inline uint32_t zo2_cvt_bf16x2(float low, float high)
{
#ifdef __CUDACC__
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return cudasim::cvt_bf16x2(low, high);
#endif
}
#endif

/* Byte i of the result is the one of the eight of a (0 to 3) and b (4 to 7) that bits [4 i, 4 i + 3) of the selector say; bit 4 i + 3 is 0.
 * __byte_perm() without the masks that nvcc makes of it where it doesn't know that. */
__device__ static inline uint32_t zo2_prmt(uint32_t a, uint32_t b, uint32_t selector)
{
#ifdef __CUDACC__
    uint32_t bytes;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(a), "r"(b), "r"(selector));
    return bytes;
#else
    return __byte_perm(a, b, selector);
#endif
}

/* The f16 values, exact, of the two codes in the lower half of a word. */
#if ZO2_HAS_CVT_FP8
__device__ static inline uint32_t zo2_cvt_e4m3x2(uint32_t codes)
{
#ifdef __CUDACC__
    uint32_t pair;
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e4m3x2 %0, l;}" : "=r"(pair) : "r"(codes));
    return pair;
#else
    return cudasim::cvt_f16x2_e4m3x2(codes);
#endif
}
__device__ static inline uint32_t zo2_cvt_e5m2x2(uint32_t codes)
{
#ifdef __CUDACC__
    uint32_t pair;
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rn.f16x2.e5m2x2 %0, l;}" : "=r"(pair) : "r"(codes));
    return pair;
#else
    return cudasim::cvt_f16x2_e5m2x2(codes);
#endif
}
#endif

#endif
