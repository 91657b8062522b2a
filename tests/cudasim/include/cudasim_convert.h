/* cudasim_convert.h: the conversions that kernels/cuda/dialect.h takes from the hardware, as the PTX ISA describes them ("cvt"):
 * to nearest even, subnormals kept, overflow to infinity, and any NaN becomes the one canonical NaN of the type, without sign.
 * Written by value, in doubles, so that the codec headers' integer arithmetic has something independent to agree with
 * (test_sim_backend_convert.cpp). */
#ifndef CUDASIM_CONVERT_H
#define CUDASIM_CONVERT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The compute capability, times 100 as in __CUDA_ARCH__, whose instructions kernels are compiled with. */
#ifndef CUDASIM_ARCH
#define CUDASIM_ARCH 900
#endif

namespace cudasim
{

/* 2^n as a double, -1022 <= n <= 1023. */
inline double power_of_two(int n)
{
    uint64_t bits = static_cast<uint64_t>(n + 1023) << 52;
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* A float rounded to a type of MANTISSA bits whose least normal value is 2^LEAST and whose infinity is INFINITY_CODE. */
template <int MANTISSA, int LEAST, uint32_t INFINITY_CODE> uint32_t narrow(float x)
{
    if (x != x)
        return 0x7FFF;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = static_cast<int>(bits >> 23 & 255) - 127;
    exponent = exponent < LEAST ? LEAST : exponent;
    /* in steps of the type at this exponent: at most 2^(MANTISSA + 1) of them, and adding 2^52 rounds them to even */
    double steps = fabs(static_cast<double>(x)) * power_of_two(MANTISSA - exponent);
    uint32_t code = INFINITY_CODE;
    if (steps < power_of_two(MANTISSA + 2)) /* not infinite */
        code = static_cast<uint32_t>(steps + 0x1p52 - 0x1p52) + (static_cast<uint32_t>(exponent - LEAST) << MANTISSA);
    return (code < INFINITY_CODE ? code : INFINITY_CODE) | (bits >> 16 & 0x8000u);
}

/* Its inverse for a type of EXPONENT bits and a bias, without infinities and NaN. */
template <int EXPONENT, int MANTISSA> double widen(uint32_t code)
{
    constexpr uint32_t sign = 1u << (EXPONENT + MANTISSA), least = 1u << MANTISSA;
    constexpr int bias = (1 << (EXPONENT - 1)) - 1;
    uint32_t exponent = (code & (sign - 1)) >> MANTISSA, fraction = code & (least - 1);
    double m = exponent ? fraction + least : fraction;
    double v = m * power_of_two(static_cast<int>(exponent ? exponent : 1) - bias - MANTISSA);
    return code & sign ? -v : v;
}

/* cvt.rn.f16x2.f32, cvt.rn.bf16x2.f32 */
inline uint32_t cvt_f16x2(float low, float high)
{
    return narrow<10, -14, 0x7C00>(low) | narrow<10, -14, 0x7C00>(high) << 16;
}
inline uint32_t cvt_bf16x2(float low, float high)
{
    return narrow<7, -126, 0x7F80>(low) | narrow<7, -126, 0x7F80>(high) << 16;
}

/* cvt.f32.f16 */
inline float cvt_f32(uint32_t half)
{
    uint32_t mag = half & 0x7FFF;
    float v = mag > 0x7C00 ? nanf("") : mag == 0x7C00 ? INFINITY : static_cast<float>(widen<5, 10>(mag));
    return half & 0x8000 && mag <= 0x7C00 ? -v : v;
}

/* cvt.rn.f16x2.e4m3x2, cvt.rn.f16x2.e5m2x2 of the two codes in the lower half */
inline uint32_t cvt_e4m3(uint32_t code)
{
    return (code & 0x7F) == 0x7F ? 0x7FFF : narrow<10, -14, 0x7C00>(static_cast<float>(widen<4, 3>(code & 0xFF)));
}
inline uint32_t cvt_e5m2(uint32_t code)
{
    return (code & 0x7F) > 0x7C ? 0x7FFF : (code & 0xFF) << 8; /* the upper half of an f16 */
}
inline uint32_t cvt_f16x2_e4m3x2(uint32_t codes)
{
    return cvt_e4m3(codes) | cvt_e4m3(codes >> 8) << 16;
}
inline uint32_t cvt_f16x2_e5m2x2(uint32_t codes)
{
    return cvt_e5m2(codes) | cvt_e5m2(codes >> 8) << 16;
}

} // namespace cudasim

#endif
