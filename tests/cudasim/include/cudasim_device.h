/* cudasim_device.h: CUDA's device side for a C++ compiler: qualifiers, built-in variables, vector types, intrinsics,
 * warp operations, and the launch behind ZO2_LAUNCH (kernels/cuda/dialect.h). A kernel is an ordinary function; every
 * CUDA thread is a fiber that calls it (block.cpp). */
#ifndef CUDASIM_DEVICE_H
#define CUDASIM_DEVICE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cstdlib>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cudasim_convert.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    __attribute__((aligned(n)))

/* ---- vector types, aligned as on the device -------------------------------------------------------------------- */

#define CUDASIM_VECTORS(T, name)                      \
    struct alignas(2 * sizeof(T)) name##2             \
    {                                                 \
        T x, y;                                       \
    };                                                \
    struct name##3                                    \
    {                                                 \
        T x, y, z;                                    \
    };                                                \
    struct alignas(4 * sizeof(T)) name##4             \
    {                                                 \
        T x, y, z, w;                                 \
    };                                                \
    inline name##2 make_##name##2(T x, T y)           \
    {                                                 \
        return {x, y};                                \
    }                                                 \
    inline name##3 make_##name##3(T x, T y, T z)      \
    {                                                 \
        return {x, y, z};                             \
    }                                                 \
    inline name##4 make_##name##4(T x, T y, T z, T w) \
    {                                                 \
        return {x, y, z, w};                          \
    }
CUDASIM_VECTORS(float, float)
CUDASIM_VECTORS(int, int)
CUDASIM_VECTORS(unsigned, uint)
CUDASIM_VECTORS(short, short)
CUDASIM_VECTORS(unsigned short, ushort)
CUDASIM_VECTORS(unsigned char, uchar)
#undef CUDASIM_VECTORS

/* Accesses that stay in one piece; a device's caches differ, here there are none. */
inline uint4 __ldcg(const uint4 *from)
{
    return *from;
}
inline void __stwb(uint4 *to, uint4 value)
{
    *to = value;
}
struct alignas(16) double2 {
    double x, y;
};
struct alignas(16) ulonglong2 {
    unsigned long long x, y;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* ---- built-in variables: those of the fiber that runs ---------------------------------------------------------- */

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cudasim
{

/* What a lane of a warp hands in and gets: SHUFFLE gives the value of lane `source`, BALLOT a bit for each lane whose
 * value isn't zero, SYNC nothing, MATRIX takes part in a product (mma.h). Waits for the lanes of `mask`; reports and ends the kernel if one can't come. */
enum class warp_op { shuffle, ballot, sync, matrix };
uint64_t warp(warp_op op, unsigned mask, uint64_t value, unsigned source, const char *file, int line);
void barrier(const char *file, int line);
unsigned lane();

/* Memory of the block that runs: made (0xFF) by the first thread that asks for the array at `site`. */
void *shared(const void *site, size_t bytes, size_t align, const char *name);
void *dynamic_shared(const char *name);

/* One launch: `arguments` is a copy of them, which the simulator releases. */
struct launch {
    const char *name;
    const void *kernel;
    dim3 grid, block;
    size_t shared_bytes;
    void *arguments;
    std::vector<std::pair<const void *, size_t>> parts; /* each of them: where it lies, its bytes */
    void (*call)(void *arguments);                      /* runs the kernel once, as one thread */
    void (*release)(void *arguments);
};
void enqueue_launch(const launch &l, struct CUstream_st *stream);

/* Host addresses in a kernel's arguments are reported: `bytes` at p, which is argument number i. */
void check_argument(const char *kernel, unsigned i, const void *p, size_t bytes);

/* What lies between a struct's members is anything, half of a host address too. */
template <class T> void clear_padding(T &v)
{
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&v);
#endif
#endif
    (void)v;
}

template <class... P, class... A>
void launch_kernel(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                   struct CUstream_st *stream, A &&...a)
{
    struct packed {
        void (*kernel)(P...);
        std::tuple<std::decay_t<P>...> values;
    };
    static_assert((std::is_trivially_copyable_v<std::decay_t<P>> && ...), "kernel arguments are copied as bytes");
    static_assert((sizeof(std::decay_t<P>) + ... + 0) <= 4096, "kernel arguments take at most 4 KiB");
    static_assert((!std::is_reference_v<P> && ...), "a kernel can't take references");
    auto *p = new packed{kernel, {static_cast<P>(a)...}};
    std::apply(
        [&](auto &...v) {
            unsigned i = 0;
            (clear_padding(v), ...);
            (check_argument(name, i++, &v, sizeof v), ...);
        },
        p->values);
    launch l = {};
    std::apply([&](auto &...v) { (l.parts.push_back({&v, sizeof v}), ...); }, p->values);
    l.name = name;
    l.kernel = reinterpret_cast<const void *>(kernel);
    l.grid = grid;
    l.block = block;
    l.shared_bytes = shared_bytes;
    l.arguments = p;
    l.call = [](void *arguments) {
        auto *k = static_cast<packed *>(arguments);
        std::apply(k->kernel, k->values);
    };
    l.release = [](void *arguments) { delete static_cast<packed *>(arguments); };
    enqueue_launch(l, stream);
}

} // namespace cudasim

/* ---- dialect.h's four words ------------------------------------------------------------------------------------ */

/* The bounds are kept in the compiler's table of patchable functions: n/32 no-ops before the kernel's entry, whose
 * first is listed there. Works for templates too, and costs nothing. */
#define CUDASIM_LAUNCH_BOUNDS(n, ...) __attribute__((patchable_function_entry((n) / 32, (n) / 32)))
#define CUDASIM_SHARED(type, name, n)          \
    static const char cudasim_site_##name = 0; \
    type(&name)[n] =                           \
        *static_cast<type(*)[n]>(cudasim::shared(&cudasim_site_##name, sizeof(type[n]), alignof(type), #name))
#define CUDASIM_DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(cudasim::dynamic_shared(#name))
#define CUDASIM_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    cudasim::launch_kernel(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

/* ---- barriers and warps ---------------------------------------------------------------------------------------- */

#define CUDASIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDASIM_HERE)
{
    cudasim::barrier(file, line);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, CUDASIM_HERE)
{
    cudasim::warp(cudasim::warp_op::sync, mask, 0, 0, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDASIM_HERE)
{
    return static_cast<unsigned>(cudasim::warp(cudasim::warp_op::ballot, mask, predicate != 0, 0, file, line));
}
inline int __any_sync(unsigned mask, int predicate, CUDASIM_HERE)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDASIM_HERE)
{
    return __ballot_sync(mask, predicate, file, line) == mask;
}

namespace cudasim
{
template <class T> T shuffle(unsigned mask, T value, unsigned source, const char *file, int line)
{
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = warp(warp_op::shuffle, mask, bits, source, file, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}
/* The lane itself where `source` is outside its part of `width` lanes. */
inline unsigned within(unsigned source, int width)
{
    unsigned w = static_cast<unsigned>(width);
    return source / w == lane() / w ? source : lane();
}
} // namespace cudasim

template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32, CUDASIM_HERE)
{
    unsigned w = static_cast<unsigned>(width), base = cudasim::lane() & ~(w - 1);
    return cudasim::shuffle(mask, v, base | (static_cast<unsigned>(source) & (w - 1)), file, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, CUDASIM_HERE)
{
    /* A lower part may be read, a higher one may not. */
    unsigned w = static_cast<unsigned>(width), s = cudasim::lane() ^ static_cast<unsigned>(lanes);
    return cudasim::shuffle(mask, v, s / w > cudasim::lane() / w ? cudasim::lane() : s, file, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle(mask, v, cudasim::within(cudasim::lane() + delta, width), file, line);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle(mask, v, cudasim::within(cudasim::lane() - delta, width), file, line);
}

#undef CUDASIM_HERE

/* ---- atomics: relaxed, as on the device; they give the old value ----------------------------------------------- */

namespace cudasim
{
template <class T, class F> T atomic_update(T *p, F f)
{
    T old, now;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do
        now = f(old);
    while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
} // namespace cudasim

template <class T> T atomicAdd(T *p, std::common_type_t<T> v)
{
    return cudasim::atomic_update(p, [v](T old) { return static_cast<T>(old + v); });
}
template <class T> T atomicMax(T *p, std::common_type_t<T> v)
{
    static_assert(std::is_integral_v<T>, "atomicMax takes integers");
    return cudasim::atomic_update(p, [v](T old) { return old < v ? v : old; });
}

/* ---- arithmetic with one rounding, bit casts, loads and stores with hints -------------------------------------- */

inline float __fadd_rn(float a, float b)
{
    return a + b;
}
inline float __fsub_rn(float a, float b)
{
    return a - b;
}
inline float __fmul_rn(float a, float b)
{
    return a * b;
}
inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
inline float __fsqrt_rn(float a)
{
    return sqrtf(a);
}
inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}

namespace cudasim
{
template <class To, class From> To bit_cast(From v)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To out;
    memcpy(&out, &v, sizeof out);
    return out;
}
} // namespace cudasim
inline unsigned __float_as_uint(float v)
{
    return cudasim::bit_cast<unsigned>(v);
}
inline int __float_as_int(float v)
{
    return cudasim::bit_cast<int>(v);
}
inline float __uint_as_float(unsigned v)
{
    return cudasim::bit_cast<float>(v);
}
inline float __int_as_float(int v)
{
    return cudasim::bit_cast<float>(v);
}

/* Byte i of the result is the one of the eight bytes of a (0 to 3) and b (4 to 7) that nibble i of the selector names. */
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    uint64_t from = static_cast<uint64_t>(b) << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= static_cast<unsigned>(from >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i;
    return result;
}

inline unsigned __umulhi(unsigned a, unsigned b)
{
    return static_cast<unsigned>((uint64_t{a} * b) >> 32);
}
inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}
inline int __clz(int v)
{
    return v ? __builtin_clz(static_cast<unsigned>(v)) : 32;
}
inline int __ffs(int v)
{
    return __builtin_ffs(v);
}

template <class T> T __ldg(const T *p)
{
    return *p;
}
template <class T> T __ldcs(const T *p)
{
    return *p;
}
template <class T> T __ldcg(const T *p)
{
    return *p;
}
template <class T> void __stcs(T *p, std::common_type_t<T> v)
{
    *p = v;
}
template <class T> void __stcg(T *p, std::common_type_t<T> v)
{
    *p = v;
}

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b)
{
    using T = std::common_type_t<A, B>;
    return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b)
{
    using T = std::common_type_t<A, B>;
    return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

#endif
