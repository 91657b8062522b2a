/* test_checkpoint.c: the table of checkpoint readers: what is recognised, what is said where nothing fits, and that the
 * common interface shows what the format's own does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/checkpoint/checkpoint.h"
#include "tests/unit/storage/safetensors_testing.h"

#define FIXTURES ZO2_TEST_DATA "/opt-fixtures/"

static zo2_status recognise(const char *path)
{
    const zo2_checkpoint_reader *reader = (const zo2_checkpoint_reader *)path;
    zo2_status s = zo2_checkpoint_recognise(&reader, path);
    assert_int_equal(s == ZO2_OK, reader != NULL);
    return s;
}

static void add(const char *dir, const char *name)
{
    char *path = in_dir(dir, name);
    file_store(path, "x", 1);
    free(path);
}

static void nothing_fits(void **state)
{
    (void)state;
    char *dir = scratch_make(), text[4096];
    assert_int_equal(recognise("/nowhere/at/all"), ZO2_ERR_NOTFOUND);
    assert_string_equal(zo2_last_error(), "cannot open /nowhere/at/all: No such file or directory");
    assert_int_equal(recognise(FIXTURES "prenorm-f32/model.safetensors"), ZO2_ERR_ARG);
    assert_string_equal(zo2_last_error(), FIXTURES
                        "prenorm-f32/model.safetensors is not a directory: give the one that it is in, " FIXTURES
                        "prenorm-f32/");
    char *lone = in_dir(dir, "lone.txt");
    file_store(lone, "x", 1);
    assert_int_equal(recognise(lone), ZO2_ERR_ARG);
    snprintf(text, sizeof text,
             "%s is not a directory: give the Hugging Face directory that holds config.json and the weights", lone);
    assert_string_equal(zo2_last_error(), text);
    free(lone);
    assert_int_equal(recognise(dir), ZO2_ERR_NOTFOUND);
    snprintf(text, sizeof text, "%s has no weights: neither *.safetensors nor pytorch_model*.bin in it", dir);
    assert_string_equal(zo2_last_error(), text);
    add(dir, "model.safetensors.old");
    assert_int_equal(recognise(dir), ZO2_ERR_NOTFOUND);
    add(dir, "optimizer.pt");
    assert_int_equal(recognise(dir), ZO2_ERR_NOTFOUND);
    add(dir, "model.onnx");
    assert_int_equal(recognise(dir), ZO2_ERR_UNSUPPORTED);
    snprintf(
        text, sizeof text,
        "%s has no model that this version reads, but an ONNX model (model.onnx); this version reads safetensors and "
        "PyTorch's files: get the model as one of these, which most have",
        dir);
    assert_string_equal(zo2_last_error(), text);
    add(dir, "model.safetensors.index.json"); /* beside them: its shards may be missing, which the reader says */
    assert_int_equal(recognise(dir), ZO2_OK);
    scratch_remove(dir);
}

static void check_same(const char *path)
{
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c;
    zo2_safetensors *s;
    OK(zo2_checkpoint_recognise(&reader, path));
    OK(zo2_checkpoint_open(&c, reader, path));
    OK(zo2_safetensors_open(&s, path));
    assert_string_equal(zo2_checkpoint_format(c), "safetensors");
    uint64_t n = zo2_checkpoint_count(c);
    assert_int_equal(n, zo2_safetensors_count(s));
    assert_true(n > 0);
    for (uint64_t i = 0; i < n; i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        const zo2_stored have = zo2_checkpoint_tensor(c, i);
        assert_string_equal(have.name, t->name);
        assert_string_equal(have.dtype_name, t->dtype_name);
        assert_string_equal(have.file, zo2_safetensors_file(s, t));
        assert_int_equal(have.dtype, t->dtype);
        assert_int_equal(have.rank, t->rank);
        assert_memory_equal(have.shape, t->shape, t->rank * sizeof *t->shape);
        assert_int_equal(have.bytes, t->bytes);
        assert_int_equal(zo2_checkpoint_find(c, t->name), i);
        unsigned char *a = malloc(t->bytes), *b = malloc(t->bytes);
        memset(a, 0xA5, t->bytes);
        OK(zo2_checkpoint_read(c, i, 0, t->bytes, a));
        OK(zo2_safetensors_read(s, t, 0, t->bytes, b));
        assert_memory_equal(a, b, t->bytes);
        OK(zo2_checkpoint_read(c, i, t->bytes - 3, 2, a));
        assert_memory_equal(a, b + t->bytes - 3, 2);
        assert_int_equal(zo2_checkpoint_read(c, i, t->bytes - 1, 2, a), ZO2_ERR_ARG);
        free(a);
        free(b);
    }
    assert_int_equal(zo2_checkpoint_find(c, "no such tensor"), n);
    zo2_safetensors_close(s);
    zo2_checkpoint_close(c);
}

static void shows_what_the_format_does(void **state)
{
    (void)state;
    check_same(FIXTURES "prenorm-f32");
    check_same(FIXTURES "untied-f32-sharded");
}

/* Tensors of several files are numbered one after the other. */
static void torch_shards(void **state)
{
    (void)state;
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c;
    OK(zo2_checkpoint_recognise(&reader, ZO2_TEST_DATA "/torch-fixtures/bf16/shards"));
    OK(zo2_checkpoint_open(&c, reader, ZO2_TEST_DATA "/torch-fixtures/bf16/shards"));
    assert_string_equal(zo2_checkpoint_format(c), "torch");
    const uint64_t n = zo2_checkpoint_count(c);
    assert_true(n > 20);
    for (uint64_t i = 0; i < n; i++) {
        const zo2_stored t = zo2_checkpoint_tensor(c, i);
        assert_int_equal(zo2_checkpoint_find(c, t.name), i);
        assert_true(i == 0 || strcmp(zo2_checkpoint_tensor(c, i - 1).file, t.file) <= 0);
    }
    assert_int_equal(zo2_checkpoint_find(c, "no such tensor"), n);
    zo2_checkpoint_close(c);
}

static void failed_open(void **state)
{
    (void)state;
    char *dir = scratch_make();
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c = (zo2_checkpoint *)dir;
    add(dir, "model.safetensors");
    OK(zo2_checkpoint_recognise(&reader, dir));
    assert_int_equal(zo2_checkpoint_open(&c, reader, dir), ZO2_ERR_FORMAT);
    assert_null(c);
    zo2_checkpoint_close(c);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_fits),
        cmocka_unit_test(shows_what_the_format_does),
        cmocka_unit_test(torch_shards),
        cmocka_unit_test(failed_open),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
