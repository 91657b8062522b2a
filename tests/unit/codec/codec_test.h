/* codec_test.h: what the tests of noise and codecs share. */
#ifndef ZO2_TESTS_UNIT_CODEC_CODEC_TEST_H
#define ZO2_TESTS_UNIT_CODEC_CODEC_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/codec.h"
#include "codec/update.h"
#include "codec/wires.h"

/* The rows of wires.h. */
typedef struct test_wire {
    zo2_wire wire;
    int number;
    const char *text;
    zo2_wire_shape shape;
} test_wire;
#define TEST_WIRE(wire, number, text, codec, bits, more, shared, group, ...) \
    {wire, number, text, {bits, more, shared, group}},
static const test_wire test_wires[] = {ZO2_WIRE_MAP(TEST_WIRE)};
enum { TEST_WIRES = sizeof test_wires / sizeof test_wires[0] };

/* The name of instruction set i, NULL past the end. */
static inline const char *test_isa(int i)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    return i < 3 ? names[i] : NULL;
}

/* Runs the block for each instruction set this machine has, in force and in `isa`. Ends with the best one in force: no
 * break. */
#define FOR_EACH_ISA(isa)                         \
    for (int isa##_i = 0; isa##_i < 4; isa##_i++) \
        for (const char *isa = test_isa(isa##_i); zo2_simd_select(isa) && isa != NULL; isa = NULL)

enum { POISON = 0xA5 };

/* A generator of test data that shares nothing with the library (xorshift64*). */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

static inline uint32_t test_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float test_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Weights as they come: normal-looking magnitudes around 0.02, some zeros, subnormals and large ones. Finite, below
 * 2^127. */
static inline float test_weight(uint64_t *state)
{
    uint64_t r = test_random(state);
    if (r % 16 == 0)
        return test_float((uint32_t)(r >> 32) % 0x7F000000u | ((uint32_t)(r >> 20) & 0x80000000u)); /* any magnitude */
    if (r % 64 == 1)
        return r & 64 ? 0.0f : -0.0f;
    return (float)((double)(int64_t)r * 0x1p-63 * 0.05);
}

/* The same for a wire: fp16's range is smaller. */
static inline float test_weight_for(const zo2_codec *k, uint64_t *state)
{
    float w = test_weight(state);
    return (test_bits(w) & 0x7FFFFFFFu) < k->limit_bits ? w : w * 0x1p-126f;
}

static inline void *test_alloc(size_t bytes)
{
    void *p = malloc(bytes + !bytes);
    assert_non_null(p);
    memset(p, POISON, bytes);
    return p;
}

static inline void assert_poison(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const unsigned char *)p)[i], POISON);
}

/* The same bits, telling where they first differ. */
static inline void assert_same_floats(const float *got, const float *want, uint64_t n, const char *what)
{
    for (uint64_t i = 0; i < n; i++) {
        if (test_bits(got[i]) != test_bits(want[i]))
            fail_msg("%s, %s, element %llu of %llu: got %a, want %a", zo2_simd_current(), what, (unsigned long long)i,
                     (unsigned long long)n, (double)got[i], (double)want[i]);
    }
}

#endif
