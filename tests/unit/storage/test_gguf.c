/* test_gguf.c: GGUF files: values by name, damage by name, split models, blocks both ways, and llama3's table of frequencies. Whole
 * models: tests/unit/engine/test_convert_gguf.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/checkpoint/gguf.h"
#include "storage/checkpoint/gguf_config.h"
#include "storage/checkpoint/gguf_names.h"
#include "storage/checkpoint/gguf_rope.h"
#include "storage/checkpoint/gguf_write.h"
#define ONE_FILE "m.gguf"
#include "tests/unit/storage/one_file_testing.h"

#include <math.h>

/* ---- a small file that is changed ------------------------------------------------------------------------------------- */

static zo2_gguf_out tensors[2];

static void write_small(const char *to, uint32_t type, const char *key, uint32_t value)
{
    static const unsigned char zeros[4096];
    zo2_gguf_keys k = {0};
    zo2_gguf_writer *w;
    tensors[0] = (zo2_gguf_out){.name = "token_embd.weight", .type = type, .rank = 2, .shape = {4, 32}};
    tensors[1] = (zo2_gguf_out){.name = "output_norm.weight", .type = ZO2_GGUF_F32_DATA, .rank = 1, .shape = {32}};
    zo2_gguf_put_text(&k, "general.architecture", "llama");
    zo2_gguf_put_u32(&k, key, value);
    OK(zo2_gguf_writer_open(&w, &zo2_io_posix, to, 1, &k, tensors, 2));
    OK(zo2_gguf_writer_put(w, 1, 0, zeros, tensors[1].bytes));
    FAILS(INTERNAL, zo2_gguf_writer_commit(w)); /* a tensor is missing */
    OK(zo2_gguf_writer_put(w, 0, 0, zeros, tensors[0].bytes));
    FAILS(INTERNAL, zo2_gguf_writer_put(w, 0, 0, zeros, 1));
    OK(zo2_gguf_writer_commit(w));
    zo2_gguf_writer_close(w);
    zo2_gguf_keys_free(&k);
}

static zo2_status try_open(void)
{
    zo2_gguf *m;
    zo2_status s = zo2_gguf_open(&m, path);
    assert_int_equal(s == ZO2_OK, m != NULL);
    zo2_gguf_close(m);
    return s;
}

/* The file with `n` bytes at `at` replaced. */
static zo2_status try_patched(size_t at, const void *bytes, size_t n)
{
    size_t size;
    unsigned char *data = file_load(path, &size), *copy = malloc(size);
    assert_true(copy && at + n <= size);
    memcpy(copy, data, size);
    memcpy(copy + at, bytes, n);
    file_store(path, copy, size);
    zo2_status s = try_open();
    file_store(path, data, size);
    free(copy);
    free(data);
    return s;
}

/* Where a text is in the file. */
static size_t find_text(const char *text)
{
    size_t size;
    unsigned char *data = file_load(path, &size), *at = memmem(data, size, text, strlen(text));
    assert_non_null(at);
    const size_t where = (size_t)(at - data);
    free(data);
    return where;
}

static void damage(void **state)
{
    (void)state;
    static const unsigned char one[] = {1, 0, 0, 0}, big_endian[] = {0, 0, 0, 3}, seven[] = {7, 0, 0, 0},
                               huge[8] = {[6] = 1}, k[] = {12, 0, 0, 0}, none[] = {99, 0, 0, 0}, zero[8] = {0},
                               odd[8] = {1}, far[8] = {0, 0, 1};
    write_small(path, ZO2_GGUF_F16_DATA, "x.y", 1);
    OK(try_open());
    FAILS(UNSUPPORTED, try_patched(4, one, 4));
    SAYS("m.gguf is a GGUF file of version 1; versions 2 and 3 are read");
    FAILS(UNSUPPORTED, try_patched(4, big_endian, 4));
    SAYS("is a big-endian GGUF file");
    FAILS(UNSUPPORTED, try_patched(4, seven, 4));
    SAYS("of version 7");
    FAILS(FORMAT, try_patched(0, "GGML", 4));
    SAYS("isn't a GGUF file");
    FAILS(FORMAT, try_patched(8, huge, 8));
    SAYS("tensors, more than fit into it");
    FAILS(FORMAT, try_patched(16, huge, 8));
    SAYS("keys, more than fit into it");
    FAILS(FORMAT, try_patched(find_text("x.y") + 3, none, 4));
    SAYS("x.y has type 99, which doesn't exist");
    FAILS(FORMAT, try_patched(find_text("x.y"), "\1\2\3", 3));
    SAYS("key 2 isn't a name");
    const size_t embedding = find_text("token_embd.weight") + 17; /* dimensions, two sizes, type, offset */
    FAILS(FORMAT, try_patched(embedding, none, 4));
    SAYS("token_embd.weight has 99 dimensions");
    FAILS(FORMAT, try_patched(embedding + 4, zero, 8));
    SAYS("token_embd.weight has an impossible shape");
    FAILS(FORMAT, try_patched(embedding + 4, huge, 8));
    SAYS("too few for its tensor token_embd.weight: download it again");
    FAILS(UNSUPPORTED, try_patched(embedding + 20, k, 4));
    SAYS(
        "token_embd.weight is Q4_K; this version reads F32, F16, BF16, Q8_0, Q4_0 and Q4_1: get the model as one of these");
    FAILS(FORMAT, try_patched(embedding + 20, none, 4));
    SAYS("token_embd.weight has type 99, which is none of GGUF's");
    FAILS(FORMAT, try_patched(embedding + 24, odd, 8));
    SAYS("isn't a multiple of 32");
    FAILS(FORMAT, try_patched(embedding + 24, far, 8));
    SAYS("too few for its tensor token_embd.weight");
    FAILS(FORMAT, try_patched(find_text("output_norm.weight") + 18 + 4 + 8 + 4, zero, 8));
    SAYS("overlap");
}

static void cut_anywhere(void **state)
{
    (void)state;
    size_t size;
    write_small(path, ZO2_GGUF_Q8_0_DATA, "x.y", 1);
    unsigned char *data = file_load(path, &size);
    for (size_t n = 0; n < size; n += n < 300 ? 1 : 37) {
        file_store(path, data, n);
        FAILS(FORMAT, try_open());
    }
    free(data);
}

static void alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 24, 1u << 21};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_small(path, ZO2_GGUF_F16_DATA, "general.alignment", bad[i]);
        FAILS(FORMAT, try_open());
        SAYS("general.alignment isn't a power of two");
    }
    write_small(path, ZO2_GGUF_F16_DATA, "general.alignment", 16);
    OK(try_open());
}

/* ---- files of a split model ------------------------------------------------------------------------------------------- */

static zo2_status open_folder(void)
{
    zo2_gguf *m;
    zo2_status s = zo2_gguf_open(&m, dir);
    zo2_gguf_close(m);
    return s;
}

static void files(void **state)
{
    (void)state;
    char *first = in_dir(dir, "a-00001-of-00002.gguf"), *second = in_dir(dir, "a-00002-of-00002.gguf");
    char *other = in_dir(dir, "b.gguf"), *eye = in_dir(dir, "mmproj-b.gguf");
    FAILS(NOTFOUND, open_folder());
    SAYS("has 0 GGUF models");
    write_small(first, ZO2_GGUF_F16_DATA, "split.count", 2);
    FAILS(NOTFOUND, open_folder());
    SAYS("a-00002-of-00002.gguf is missing, one of the 2 files of the model");
    write_small(second, ZO2_GGUF_F16_DATA, "split.no", 1);
    FAILS(FORMAT, open_folder());
    SAYS("a-00002-of-00002.gguf is file 2 of 2 by its name, but 2 of 1 by its metadata");
    write_small(other, ZO2_GGUF_F16_DATA, "x", 1);
    write_small(eye, ZO2_GGUF_F16_DATA, "x", 1);
    FAILS(ARG, open_folder());
    SAYS("has 2 GGUF models (a-00001-of-00002.gguf, b.gguf): give the file of one");
    assert_int_equal(unlink(first) | unlink(second), 0);
    OK(open_folder()); /* what a picture goes through is no model */
    write_small(other, ZO2_GGUF_F16_DATA, "split.count", 3);
    FAILS(FORMAT, open_folder());
    SAYS("b.gguf is file 1 of 3 of a model that was split: give the files back the names");
    free(first);
    free(second);
    free(other);
    free(eye);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------------- */

static void blocks(void **state)
{
    (void)state;
    float values[64], again[32];
    unsigned char codes[68], twice[34];
    for (int i = 0; i < 64; i++)
        values[i] = (float)(i - 32) * 0.37f / (float)(1 + i % 5);
    assert_int_equal(zo2_gguf_q8_0(values, 64, codes), 64);
    for (int block = 0; block < 2; block++) {
        float most = 0;
        for (int i = 0; i < 32; i++)
            most = fmaxf(most, fabsf(values[32 * block + i]));
        zo2_gguf_block_of(ZO2_GGUF_Q8_0_DATA)->decode(codes + 34 * block, again);
        for (int i = 0; i < 32; i++) /* half a step, and the scale's own rounding of 2^-11 */
            assert_true(fabsf(again[i] - values[32 * block + i]) <= most / 127 * 0.5f + most * 0x1p-11f);
        zo2_gguf_q8_0(again, 32, twice); /* what was decoded is the same again */
        assert_memory_equal(twice, codes + 34 * block, 34);
    }
    memset(values, 0, sizeof values);
    assert_int_equal(zo2_gguf_q8_0(values, 32, codes), 32);
    for (int i = 0; i < 34; i++)
        assert_int_equal(codes[i], 0);
    values[33] = 1e8f;
    assert_int_equal(zo2_gguf_q8_0(values, 64, codes), 32); /* its scale is beyond fp16 */
    assert_null(zo2_gguf_block_of(12));
    assert_string_equal(zo2_gguf_data_name(14), "Q6_K");
    assert_null(zo2_gguf_data_name(4));
}

/* ---- names and positions ------------------------------------------------------------------------------------------------ */

static void names(void **state)
{
    (void)state;
    static const char *const both[][2] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                          {"output.weight", "lm_head.weight"},
                                          {"blk.12.attn_q.bias", "model.layers.12.self_attn.q_proj.bias"},
                                          {"blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight"}};
    char text[80];
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        assert_string_equal(zo2_gguf_to_huggingface(both[i][0], text, sizeof text), both[i][1]);
        assert_string_equal(zo2_gguf_from_huggingface(both[i][1], text, sizeof text), both[i][0]);
    }
    static const char *const bad[] = {"",
                                      "blk.",
                                      "blk.x.attn_q.weight",
                                      "blk.0attn_q.weight",
                                      "blk.0.attn_q",
                                      "blk.0.weight",
                                      "weights",
                                      "blk.0.output.weight",
                                      ZO2_GGUF_ROPE_FREQS};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(zo2_gguf_to_huggingface(bad[i], text, sizeof text));
    assert_null(zo2_gguf_to_huggingface("output.weight", text, 5));
}

static void table(void **state)
{
    (void)state;
    /* Llama 3's; one that only fits a ramp; and one that is nobody's */
    const zo2_gguf_rope all[] = {{500000, 32, 1, 4, 8192}, {10000, 8, 1, 3, 1000}};
    float factors[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        zo2_gguf_rope r = {.theta = all[i].theta};
        for (uint32_t k = 0; k < 64; k++)
            factors[k] = (float)zo2_gguf_rope_factor(&all[i], k, 64);
        assert_true(zo2_gguf_rope_fit(&r, factors, 64));
        assert_true(r.factor == all[i].factor && r.original == all[i].original && r.low == 1 && r.high == all[i].high);
    }
    zo2_gguf_rope r = {.theta = 10000};
    factors[20] *= 1.5f;
    assert_false(zo2_gguf_rope_fit(&r, factors, 64));
    factors[63] = NAN;
    assert_false(zo2_gguf_rope_fit(&r, factors, 64));
    assert_false(zo2_gguf_rope_fit(&r, factors, 0));
}

static void configuration(void **state)
{
    (void)state;
    zo2_gguf *m;
    char *text;
    size_t n;
    write_small(path, ZO2_GGUF_F16_DATA, "llama.expert_count", 8);
    OK(zo2_gguf_open(&m, path));
    FAILS(UNSUPPORTED, zo2_gguf_config(m, &text, &n));
    SAYS("m.gguf: llama.expert_count is 8, which this version doesn't know");
    zo2_gguf_close(m);
    write_small(path, ZO2_GGUF_F16_DATA, "llama.block_count", 8);
    OK(zo2_gguf_open(&m, path));
    FAILS(FORMAT, zo2_gguf_config(m, &text, &n));
    SAYS("the key llama.context_length is missing");
    assert_null(text);
    zo2_gguf_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(files, setup, teardown),
        cmocka_unit_test(blocks),
        cmocka_unit_test(names),
        cmocka_unit_test(table),
        cmocka_unit_test_setup_teardown(configuration, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
