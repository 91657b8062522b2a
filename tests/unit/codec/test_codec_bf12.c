/* The bf12 wire: the values of the bf16 wire, whatever they are, in the bytes that CODECS.md says; what is sent; sizes of weights
 * that look like a model's. For every instruction set. */
#include "tests/unit/codec/codec_test.h"

#include <math.h>

#include "codec/wire_inline.h"
#include "storage/checkpoint/checkpoint.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const zo2_codec *bf12(void)
{
    return zo2_codec_get(ZO2_WIRE_BF12);
}

/* ---- a second encoder, of one value at a time, in words of the specification ---- */

static uint64_t pad16(uint64_t x)
{
    return (x + 15) / 16 * 16;
}

typedef struct reference {
    uint64_t a, b, heads, c, bytes; /* where planes begin */
    uint64_t windows, room;
    unsigned char *wire;
} reference;

static reference reference_for(uint64_t rows, uint64_t cols)
{
    reference f = {.windows = (cols + 255) / 256};
    f.room = f.windows + 1 < 256 ? f.windows + 1 : 256;
    f.b = rows * pad16(cols);
    f.heads = f.b + rows * pad16((cols + 1) / 2);
    f.c = f.heads + pad16(rows * (f.windows + 2 * f.room));
    f.bytes = f.c + rows * pad16((cols + 1) / 2);
    f.wire = calloc(1, f.bytes);
    assert_non_null(f.wire);
    return f;
}

static void put_nibble(unsigned char *row, uint64_t col, uint32_t value)
{
    row[col / 32 * 16 + col % 16] |= (unsigned char)(value << (col / 16 % 2 * 4));
}

static int in_window(uint32_t exponent, uint32_t base)
{
    return exponent >= base && exponent < base + 15;
}

/* values: bf16 bits. */
static void reference_row(const reference *f, const uint16_t *values, uint64_t cols, uint64_t r)
{
    unsigned char *a = f->wire + r * pad16(cols), *b = f->wire + f->b + r * pad16((cols + 1) / 2);
    unsigned char *head = f->wire + f->heads + r * (f->windows + 2 * f->room), *escapes = head + f->windows;
    unsigned char *c = f->wire + f->c + r * pad16((cols + 1) / 2);
    uint64_t used = 0;
    for (uint64_t from = 0; from < cols; from += 256) {
        uint64_t to = from + 256 < cols ? from + 256 : cols, fewest = 257;
        uint32_t base = 0;
        for (uint32_t candidate = 0; candidate <= 240; candidate++) {
            uint64_t outside = 0;
            for (uint64_t j = from; j < to; j++)
                outside += !in_window(values[j] >> 7 & 255, candidate);
            if (outside < fewest) {
                fewest = outside;
                base = candidate;
            }
        }
        int wide = fewest > f->room - used;
        head[from / 256] = (unsigned char)(wide ? 255 : base);
        for (uint64_t j = from; j < to; j++) {
            uint32_t exponent = values[j] >> 7 & 255;
            a[j] = (unsigned char)((values[j] & 127) << 1 | values[j] >> 15);
            if (wide) {
                put_nibble(b, j, exponent & 15);
                put_nibble(c, j, exponent >> 4);
            } else if (in_window(exponent, base)) {
                put_nibble(b, j, exponent - base);
            } else {
                escapes[2 * used] = a[j];
                escapes[2 * used + 1] = (unsigned char)exponent;
                a[j] = (unsigned char)used++;
                put_nibble(b, j, 15);
            }
        }
    }
}

/* What is sent: up to the last row of the last plane that isn't empty because a window is wide. */
static uint64_t reference_sent(const reference *f, uint64_t rows, uint64_t cols)
{
    uint64_t sent = f->c;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t w = 0; w < f->windows; w++)
            if (f->wire[f->heads + r * (f->windows + 2 * f->room) + w] == 255)
                sent = f->c + (r + 1) * pad16((cols + 1) / 2);
    return sent;
}

/* ---- bytes and values ---- */

/* Rows of a wire without a wide window, in another order, in a chunk that has no room for one. Who reads them reads nothing else, even if
 * a head says so. */
static void check_narrow(const unsigned char *wire, const float *w, uint64_t rows, uint64_t cols)
{
    const zo2_codec *narrow = bf12()->narrow;
    const uint64_t bytes = narrow->wire_bytes(rows, cols), stride = zo2_windows(cols);
    unsigned char *own = test_alloc(bytes); /* no byte more: for the sanitizers */
    float *got = test_alloc(cols * sizeof *got);
    assert_int_equal(bytes, bf12()->sent_bytes(wire, rows, cols));
    assert_true(narrow->id == ZO2_WIRE_BF12 && narrow->limit_bits == bf12()->limit_bits && !narrow->sent_bytes);
    memset(own, POISON, bytes);
    for (uint64_t r = 0; r < rows; r++)
        narrow->copy_row(wire, rows, rows - 1 - r, cols, own, rows, r);
    for (uint64_t r = 0; r < rows; r++) {
        narrow->decode(own, rows, cols, r, 1, got);
        assert_same_floats(got, w + (rows - 1 - r) * cols, cols, "narrow");
    }
    memset(own + zo2_scales_at(zo2_wire_shape_of(ZO2_WIRE_BF12), rows, cols, 0), ZO2_BF12_WIDE, stride);
    narrow->decode(own, rows, cols, 0, 1, got);
    free(own);
    free(got);
}

/* A chunk of such bf16 values: bytes and length as the second encoder has them, every way of decoding from what is sent alone. */
static uint64_t check_chunk(const uint16_t *values, uint64_t rows, uint64_t cols)
{
    reference f = reference_for(rows, cols);
    float *w = test_alloc(rows * cols * sizeof *w), *got = test_alloc(rows * cols * sizeof *w);
    unsigned char *wire = test_alloc(f.bytes);
    for (uint64_t i = 0; i < rows * cols; i++)
        w[i] = test_float((uint32_t)values[i] << 16);
    for (uint64_t r = 0; r < rows; r++)
        reference_row(&f, values + r * cols, cols, r);
    uint64_t sent = reference_sent(&f, rows, cols);
    assert_int_equal(bf12()->wire_bytes(rows, cols), f.bytes);
    FOR_EACH_ISA(isa)
    {
        memset(wire, POISON, f.bytes);
        bf12()->split(w, rows, cols, 0, rows, wire, NULL);
        for (uint64_t i = 0; i < f.bytes; i++)
            if (wire[i] != f.wire[i])
                fail_msg("%s, %llu x %llu, byte %llu: %02x, not %02x", isa, (unsigned long long)rows,
                         (unsigned long long)cols, (unsigned long long)i, wire[i], f.wire[i]);
        assert_int_equal(bf12()->sent_bytes(wire, rows, cols), sent);
        memset(wire + sent, POISON, f.bytes - sent);
        bf12()->decode(wire, rows, cols, 0, rows, got);
        assert_same_floats(got, w, rows * cols, "bf12");
    }
    for (uint64_t i = 0; i < rows * cols; i++)
        assert_int_equal(test_bits(zo2_wire_get(ZO2_WIRE_BF12, wire, rows, cols, i / cols, i % cols)), test_bits(w[i]));
    if (sent == bf12()->narrow->wire_bytes(rows, cols))
        check_narrow(wire, w, rows, cols);
    free(f.wire);
    free(w);
    free(got);
    free(wire);
    return sent;
}

/* Every finite value: neighbours of one exponent, and in an order that mixes all of them. */
static void every_value(void **state)
{
    (void)state;
    enum { ROWS = 255, COLS = 256 };
    uint16_t *values = test_alloc(ROWS * COLS * 2);
    for (uint32_t order = 0; order < 2; order++) {
        for (uint32_t i = 0; i < ROWS * COLS; i++) {
            uint32_t k = order ? i * 7919u % (ROWS * COLS) : i;
            values[i] = (uint16_t)(k % 2 << 15 | k / 2);
        }
        uint64_t sent = check_chunk(values, ROWS, COLS);
        assert_true(order ? sent == bf12()->wire_bytes(ROWS, COLS) : sent < ROWS * COLS * 13 / 8);
    }
    free(values);
}

/* Exponents of a row's weight j of `cols`. */
static uint32_t pattern(uint32_t kind, uint64_t j, uint64_t cols, uint64_t *rng)
{
    uint64_t at = j % 256, last = cols - 1;
    switch (kind) {
    case 0: return 120;                                /* no escape */
    case 1: return j == 0 || j == last ? 0 : 120;      /* the row's ends */
    case 2: return at == 0 || at == 255 ? 254 : 120;   /* every window's ends: more than have room from some row on */
    case 3: return j % 2 ? 1 : 200;                    /* half are escapes, whatever the base */
    case 4: return (uint32_t)(at % 17 * 15);           /* nearly all are */
    case 5: return (uint32_t)(test_random(rng) % 255); /* anything */
    case 6: return test_random(rng) % 200 ? 110 + j % 16 : 3; /* one too many for a window */
    case 7: return 106 + (uint32_t)(test_random(rng) % 15);   /* just enough */
    case 8:
        return (uint32_t)(test_random(rng) % 15) + (at > 127 ? 100 : 0); /* from 0 on, and two heaps of equal size */
    case 9: return 240 + (uint32_t)(test_random(rng) % 15);              /* up to the largest */
    default: return at == j ? 0 : 254 - (uint32_t)(j % 3);               /* zeros and subnormals, then the largest */
    }
}

static void adversarial_windows(void **state)
{
    (void)state;
    static const uint64_t all_cols[] = {1,   2,   15,  16,  17,  31,  33,  127,  128,
                                        129, 192, 255, 256, 257, 511, 576, 1025, 4544};
    enum { KINDS = 11, ROWS = 2 * KINDS };
    uint64_t rng = 3;
    for (size_t c = 0; c < COUNT(all_cols); c++) {
        uint64_t cols = all_cols[c];
        uint16_t *values = test_alloc(ROWS * cols * 2);
        for (uint64_t i = 0; i < ROWS * cols; i++) {
            uint32_t exponent = pattern((uint32_t)(i / cols) % KINDS, i % cols, cols, &rng);
            values[i] = (uint16_t)(exponent << 7 | (test_random(&rng) & 0x807F));
        }
        check_chunk(values, ROWS, cols);
        free(values);
    }
}

/* More escapes than a byte can number: of 70,000 columns 256 have room. */
static void long_rows(void **state)
{
    (void)state;
    enum { COLS = 70000 };
    uint16_t *values = test_alloc(COLS * 2);
    for (uint64_t every = 256; every < 300; every += 40) { /* all 256 are used, or 237 */
        for (uint64_t j = 0; j < COLS; j++)
            values[j] = j % every == 7 ? 0 : 0x3C00;
        uint64_t sent = check_chunk(values, 1, COLS);
        assert_int_equal(sent == bf12()->wire_bytes(1, COLS), every == 256);
    }
    free(values);
}

/* Infinities and NaN, which are refused, come through if they get here. */
static void refused_values(void **state)
{
    (void)state;
    static const uint16_t values[] = {0x3F80, 0x7F80, 0xFF80, 0x7F81, 0xFFFF, 0x0000};
    assert_int_equal(bf12()->limit_bits, 0x7F7F8000);
    check_chunk(values, 1, 6);
    check_chunk(values + 1, 1, 4); /* all exponents are 255: no window has them */
}

/* Golden bytes: CODECS.md. */
static void golden_row(void **state)
{
    (void)state;
    static const float w[] = {1, -0.5f, 0.015625f, 0, 1.9921875f};
    static const unsigned char want[] = {
        0x00, 0x01, 0x00, 0x00, 0xFE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  /* mantissa, sign */
        0x0E, 0x0D, 0x08, 0x0F, 0x0E, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  /* exponents */
        0x71, 0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; /* head */
    unsigned char wire[64];
    bf12()->split(w, 1, 5, 0, 1, wire, NULL);
    assert_memory_equal(wire, want, sizeof want);
    assert_int_equal(bf12()->sent_bytes(wire, 1, 5), 48);
}

/* Bytes of somebody else's file: no decoding reads beside the row's places. What follows them is poison, so as to be seen. */
static void numbers_without_a_place(void **state)
{
    (void)state;
    static const float w[] = {1, 0x1p-40f};
    unsigned char wire[64];
    bf12()->split(w, 1, 2, 0, 1, wire, NULL);
    for (uint32_t k = 0; k < 256; k++) {
        float want[] = {k == 1 ? 0 : w[0], w[1]}, got[2];
        assert_int_equal(wire[16], 15); /* of two bases that serve one of them the smaller */
        wire[0] = (unsigned char)k;
        memset(wire + 37, POISON, sizeof wire - 37);
        FOR_EACH_ISA(isa)
        {
            bf12()->decode(wire, 1, 2, 0, 1, got);
            assert_same_floats(got, want, 2, "a place of two");
        }
        assert_int_equal(test_bits(zo2_wire_get(ZO2_WIRE_BF12, wire, 1, 2, 0, 0)), test_bits(want[0]));
    }
}

/* ---- masters that aren't bf16 ---- */

/* The values of the bf16 wire, bit for bit, and updates that are join, update and split: with few escapes a row, whose places
 * change while the row is updated. */
static void masters(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 5000, N = ROWS * COLS };
    uint64_t rng = 11;
    float *w = test_alloc(N * sizeof *w), *got = test_alloc(N * sizeof *w), *want = test_alloc(N * sizeof *w);
    const zo2_codec *bf16 = zo2_codec_get(ZO2_WIRE_BF16);
    uint64_t bytes = bf12()->wire_bytes(ROWS, COLS), rest_bytes = bf12()->rest_bytes(ROWS, COLS);
    unsigned char *wire = test_alloc(bytes), *rest = test_alloc(rest_bytes), *plain = test_alloc(rest_bytes);
    unsigned char *wire2 = test_alloc(bytes), *rest2 = test_alloc(rest_bytes);
    zo2_update u = {.key = 5, .d = 1e-4f, .queries = 1, .c = {1e-6f}}; /* much, for those at a window's edge */
    zo2_updates a = {.tensor_id = 1, .dist = ZO2_GAUSSIAN, .decays = 1, .u = &u, .count = 1};
    for (int i = 0; i < N; i++) {
        double uniform = (double)(int64_t)test_random(&rng) * 0x1p-63;
        w[i] = (float)(test_random(&rng) % 400 ? copysign(0.001 + fabs(uniform) * 0.03, uniform) : uniform * 4e-6);
    }
    FOR_EACH_ISA(isa)
    {
        bf16->split(w, ROWS, COLS, 0, ROWS, plain, rest2);
        bf16->decode(plain, ROWS, COLS, 0, ROWS, want);
        bf12()->split(w, ROWS, COLS, 0, ROWS, wire, rest);
        bf12()->decode(wire, ROWS, COLS, 0, ROWS, got);
        assert_same_floats(got, want, N, "as the bf16 wire");
        assert_memory_equal(rest, rest2, rest_bytes);
        bf12()->join(wire, rest, ROWS, COLS, 0, ROWS, got);
        assert_same_floats(got, w, N, "join");
        for (uint64_t step = 0; step < 3; step++) {
            u.key = step;
            zo2_update_apply(got, N, 0, 1, ZO2_GAUSSIAN, 1, &u, 1);
            bf12()->split(got, ROWS, COLS, 0, ROWS, wire2, rest2);
            assert_int_equal(zo2_update_chunk(bf12(), wire, rest, ROWS, COLS, 0, ROWS, 0, &a), 1);
            assert_memory_equal(wire, wire2, bytes);
            assert_memory_equal(rest, rest2, rest_bytes);
        }
    }
    free(w);
    free(got);
    free(want);
    free(wire);
    free(rest);
    free(plain);
    free(wire2);
    free(rest2);
}

/* ---- sizes ---- */

/* Bytes sent of weights rounded to bf16, which come back. */
static uint64_t sent_of(float *w, uint64_t rows, uint64_t cols)
{
    unsigned char *wire = test_alloc(bf12()->wire_bytes(rows, cols));
    float *got = test_alloc(rows * cols * sizeof *got);
    zo2_round_to(ZO2_BF16, w, rows * cols);
    bf12()->split(w, rows, cols, 0, rows, wire, NULL);
    bf12()->decode(wire, rows, cols, 0, rows, got);
    assert_same_floats(got, w, rows * cols, "a model's");
    uint64_t sent = bf12()->sent_bytes(wire, rows, cols);
    free(wire);
    free(got);
    return sent;
}

static void normal_weights(void **state)
{
    (void)state;
    static const struct {
        uint64_t cols;
        double bits;
    } cases[] = {{128, 12.33}, {192, 12.25}, {384, 12.2}, {768, 12.13}, {4096, 12.1}, {16384, 12.1}};
    enum { N = 1 << 20 };
    float *w = test_alloc(N * sizeof *w);
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t cols = cases[i].cols, rows = N / cols;
        assert_int_equal(zo2_noise_fill(w, 1, 0, 0, 0, 0, N, ZO2_GAUSSIAN), ZO2_OK);
        for (uint64_t j = 0; j < N; j++)
            w[j] *= 0.02f;
        double bits = 8.0 * (double)sent_of(w, rows, cols) / (double)(rows * cols);
        print_message("N(0, 0.02), rows of %llu: %.3f bits a weight sent\n", (unsigned long long)cols, bits);
        assert_true(bits < cases[i].bits);
        double room = 8.0 * (double)bf12()->wire_bytes(rows, cols) / (double)(rows * cols);
        assert_true(room < 16 * (cols < 384 ? 1.021 : 1.011));
    }
    free(w);
}

static void model(void **state)
{
    (void)state;
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c;
    assert_int_equal(zo2_checkpoint_recognise(&reader, ZO2_TEST_DATA "/tiny-opt/model"), ZO2_OK);
    assert_int_equal(zo2_checkpoint_open(&c, reader, ZO2_TEST_DATA "/tiny-opt/model"), ZO2_OK);
    uint64_t sent = 0, weights = 0;
    for (uint64_t i = 0; i < zo2_checkpoint_count(c); i++) {
        zo2_stored t = zo2_checkpoint_tensor(c, i);
        uint64_t n = t.shape[0] * t.shape[1];
        if (t.rank != 2)
            continue;
        void *bits = test_alloc(t.bytes);
        float *w = test_alloc(n * sizeof *w);
        assert_int_equal(zo2_checkpoint_read(c, i, 0, t.bytes, bits), ZO2_OK);
        zo2_source_decode(t.dtype, bits, n, w);
        sent += sent_of(w, t.shape[0], t.shape[1]);
        weights += n;
        free(bits);
        free(w);
    }
    zo2_checkpoint_close(c);
    print_message("tiny-opt: %.3f bits a weight sent\n", 8.0 * (double)sent / (double)weights);
    assert_true(weights > 3000000 && 8 * sent <= 12.2 * (double)weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value),
        cmocka_unit_test(adversarial_windows),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(refused_values),
        cmocka_unit_test(golden_row),
        cmocka_unit_test(masters),
        cmocka_unit_test(numbers_without_a_place),
        cmocka_unit_test(normal_weights),
        cmocka_unit_test(model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
