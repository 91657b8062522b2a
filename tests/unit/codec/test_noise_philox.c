/* Philox4x32-10 words: Random123's known answers, and cuRAND's header where there is a CUDA toolkit. */
#include "tests/unit/codec/codec_test.h"

#include "codec/noise_inline.h"

#ifdef ZO2_HAVE_CURAND_HEADER
/* The parts of the CUDA headers that curand_philox4x32_x.h expects. It is C++ in one place: two functions have one
 * name. */
typedef struct uint2 {
    unsigned int x, y;
} uint2;
typedef struct uint4 {
    unsigned int x, y, z, w;
} uint4;
#define QUALIFIERS                static inline
#define PICK(one, two, name, ...) name
#define Philox_State_Incr(...)    PICK(__VA_ARGS__, philox_state_add, philox_state_increment, )(__VA_ARGS__)
#include <curand_philox4x32_x.h>
#endif

static void known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const uint32_t *c = vectors[i].counter, *k = vectors[i].key;
        uint32_t w[4];
        memset(w, POISON, sizeof w);
        zo2_philox(c[0], c[1], c[2], c[3], k[0], k[1], w);
        assert_memory_equal(w, vectors[i].want, sizeof w);
        memset(w, POISON, sizeof w);
        zo2_philox_keys keys = zo2_philox_round_keys(k[0], k[1]);
        zo2_philox_keyed(c[0], c[1], c[2], c[3], &keys, w);
        assert_memory_equal(w, vectors[i].want, sizeof w);
    }
}

/* Counter and key of an element, as CODECS.md words it. */
static void counter_order(void **state)
{
    (void)state;
    uint32_t got[4], want[4];
    zo2_noise_words(0x299f31d0a4093822u, 0x03707344, 0x13198a2e, 0x85a308d3243f6a88u, got);
    zo2_philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, want);
    assert_memory_equal(got, want, sizeof got);
    assert_int_equal(got[0], 0xd16cfe09);
}

static void agrees_with_curand(void **state)
{
    (void)state;
#ifdef ZO2_HAVE_CURAND_HEADER
    uint64_t rng = 7;
    for (int i = 0; i < 100000; i++) {
        uint64_t a = test_random(&rng), b = test_random(&rng), key = test_random(&rng);
        uint32_t got[4];
        uint4 c = {(unsigned)a, (unsigned)(a >> 32), (unsigned)b, (unsigned)(b >> 32)};
        uint2 k = {(unsigned)key, (unsigned)(key >> 32)};
        uint4 want = curand_Philox4x32_10(c, k);
        zo2_philox(c.x, c.y, c.z, c.w, k.x, k.y, got);
        assert_int_equal(got[0], want.x);
        assert_int_equal(got[1], want.y);
        assert_int_equal(got[2], want.z);
        assert_int_equal(got[3], want.w);
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(counter_order),
        cmocka_unit_test(agrees_with_curand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
