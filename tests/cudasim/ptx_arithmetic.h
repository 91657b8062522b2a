/* ptx_arithmetic.h: what operations of PTX compute, as functions of values. Where a device approximates, the nearest result stands here: what
 * depends on more than PTX promises of it (rsqrt.approx: test_rn_sqrt.c) has tests of its own. */
#ifndef CUDASIM_PTX_ARITHMETIC_H
#define CUDASIM_PTX_ARITHMETIC_H

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cuda_runtime.h"

namespace cudasim
{
namespace ptx
{

template <class T> T same(T a)
{
    return a;
}
template <class T> T negated(T a)
{
    if constexpr (std::is_floating_point_v<T>)
        return -a;
    else
        return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
}
template <class T> T inverted(T a)
{
    return static_cast<T>(~a);
}
inline uint8_t opposite(uint8_t a)
{
    return !a;
}
template <class T> T magnitude(T a)
{
    return std::fabs(a);
}
template <class T> T root(T a)
{
    return std::sqrt(a);
}
inline float reciprocal_root(float a)
{
    return static_cast<float>(1 / std::sqrt(static_cast<double>(a)));
}
inline float reciprocal(float a)
{
    return 1 / a;
}
/* Only the upper word of the result is promised. */
inline double rough_reciprocal(double a)
{
    return bit_cast<double>(bit_cast<uint64_t>(1 / a) & 0xFFFFFFFF00000000u);
}
inline float power_of_2(float a)
{
    return std::exp2(a);
}
inline float flushed(float a)
{
    return std::fabs(a) < std::numeric_limits<float>::min() ? std::copysign(0.f, a) : a;
}
inline float flushed_power_of_2(float a)
{
    return flushed(std::exp2(flushed(a)));
}

/* Unsigned alike for integers: the low bits are the same. */
template <class T> T sum(T a, T b)
{
    return static_cast<T>(a + b);
}
template <class T> T difference(T a, T b)
{
    return static_cast<T>(a - b);
}
template <class T> T product(T a, T b)
{
    if constexpr (sizeof(T) == 2) /* no int in between, that could overflow */
        return static_cast<T>(uint32_t{a} * b);
    else
        return a * b;
}
template <class T> T quotient(T a, T b)
{
    return std::is_integral_v<T> && b == 0 ? static_cast<T>(-1) : a / b;
}
template <class T> T remainder_of(T a, T b)
{
    return b ? a % b : a;
}
template <class T> T both(T a, T b)
{
    return a & b;
}
template <class T> T either(T a, T b)
{
    return a | b;
}
template <class T> T differing(T a, T b)
{
    return a ^ b;
}
template <class T> T least(T a, T b)
{
    return b < a ? b : a;
}
template <class T> T greatest(T a, T b)
{
    return a < b ? b : a;
}
/* A NaN gives way to a number, and -0 is less than 0. */
inline float least_float(float a, float b)
{
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
}
inline float greatest_float(float a, float b)
{
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a < b ? b : a;
}
inline float with_sign_of(float sign, float of)
{
    return std::copysign(of, sign);
}
template <class T> T shifted_left(T a, uint32_t by)
{
    return by < 8 * sizeof(T) ? static_cast<T>(a << by) : T{0};
}
template <class T> T shifted_right(T a, uint32_t by)
{
    return static_cast<T>(a >> std::min<uint32_t>(by, 8 * sizeof(T) - 1)) *
           T{std::is_signed_v<T> || by < 8 * sizeof(T)};
}
template <class W, class T> W wide_product(T a, T b)
{
    return static_cast<W>(static_cast<W>(a) * static_cast<W>(b));
}
inline uint32_t upper_product(uint32_t a, uint32_t b)
{
    return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}

template <class T> T multiplied_and_added(T a, T b, T c)
{
    return a * b + c; /* integers */
}
template <class T> T fused(T a, T b, T c)
{
    return std::fma(a, b, c);
}
inline uint32_t funnel_left(uint32_t low, uint32_t high, uint32_t by)
{
    return static_cast<uint32_t>(((uint64_t{high} << 32 | low) << (by & 31)) >> 32);
}
inline uint32_t funnel_right(uint32_t low, uint32_t high, uint32_t by)
{
    return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> (by & 31));
}
/* With the highest bit of its nibble, a byte is only its sign. */
inline uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector)
{
    uint32_t bytes = __byte_perm(a, b, selector & 0x7777);
    for (unsigned k = 0; k < 4; k++)
        if (selector >> (4 * k) & 8)
            bytes = (bytes & ~(0xFFu << 8 * k)) | (bytes >> (8 * k) & 0x80 ? 0xFFu << 8 * k : 0);
    return bytes;
}
template <class T> T chosen(T a, T b, uint8_t first)
{
    return first ? a : b;
}

/* ---- comparisons ------------------------------------------------------------------------------------------------- */

enum class relation { eq, ne, lt, le, gt, ge };

/* Unordered: true of NaN. */
template <class T, relation R, bool UNORDERED> uint8_t compared(T a, T b)
{
    if (a != a || b != b)
        return UNORDERED;
    switch (R) {
    case relation::eq: return a == b;
    case relation::ne: return a != b;
    case relation::lt: return a < b;
    case relation::le: return a <= b;
    case relation::gt: return a > b;
    case relation::ge: return a >= b;
    }
    return 0;
}

/* ---- conversions ------------------------------------------------------------------------------------------------- */

template <class T, class A> T converted(A a)
{
    return static_cast<T>(a);
}
inline uint32_t to_f16x2(float high, float low)
{
    return cvt_f16x2(low, high);
}
inline uint32_t to_bf16x2(float high, float low)
{
    return cvt_bf16x2(low, high);
}
inline uint16_t to_f16(float a)
{
    return static_cast<uint16_t>(cvt_f16x2(a, 0));
}
inline float from_f16(uint16_t a)
{
    return cvt_f32(a);
}
inline uint32_t from_e4m3x2(uint16_t a)
{
    return cvt_f16x2_e4m3x2(a);
}
inline uint32_t from_e5m2x2(uint16_t a)
{
    return cvt_f16x2_e5m2x2(a);
}

} // namespace ptx
} // namespace cudasim

#endif
