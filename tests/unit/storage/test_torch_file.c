/* test_torch_file.c: files that torch.save() wrote, of both forms: tensors of all strides and types, and that a file which is cut or
 * changed anywhere is refused or read within its bounds. tests/make_fixtures/make_torch_fixtures.py made them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/checkpoint/torch_file.h"
#include "tests/unit/files_testing.h"

#define FIXTURES ZO2_TEST_DATA "/torch-fixtures/"

static unsigned char *read_all(const zo2_torch_file *f, uint64_t i, uint64_t bytes)
{
    unsigned char *data = malloc((size_t)bytes + 1);
    assert_non_null(data);
    OK(zo2_torch_file_read(f, i, 0, bytes, data));
    return data;
}

/* NAME.view has strides of its own, NAME.copy the same elements row by row. */
static void check_pair(const zo2_torch_file *f, uint64_t view, uint64_t copy)
{
    const zo2_stored a = zo2_torch_file_tensor(f, view), b = zo2_torch_file_tensor(f, copy);
    assert_int_equal(a.rank, b.rank);
    assert_int_equal(a.bytes, b.bytes);
    assert_string_equal(a.dtype_name, b.dtype_name);
    assert_memory_equal(a.shape, b.shape, sizeof a.shape);
    unsigned char *x = read_all(f, view, a.bytes), *y = read_all(f, copy, b.bytes);
    if (memcmp(x, y, (size_t)a.bytes) != 0)
        fail_msg("%s isn't what it is a view of", a.name);
    free(x);
    free(y);
}

static void views(void **state)
{
    static const char *const files[] = {FIXTURES "views.bin", FIXTURES "views-legacy.bin"};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        zo2_torch_file *f;
        uint64_t pairs = 0;
        OK(zo2_torch_file_open(&f, files[k]));
        const uint64_t n = zo2_torch_file_count(f);
        for (uint64_t i = 0; i < n; i++) {
            char name[256];
            const zo2_stored t = zo2_torch_file_tensor(f, i);
            assert_int_equal(zo2_torch_file_find(f, t.name), i);
            assert_string_equal(t.file, files[k]);
            snprintf(name, sizeof name, "%s", t.name);
            char *ending = strstr(name, ".view");
            if (!ending)
                continue;
            memcpy(ending, ".copy", 5);
            check_pair(f, i, zo2_torch_file_find(f, name));
            pairs++;
        }
        assert_true(pairs == 23 && n == 2 * pairs);
        assert_int_equal(zo2_torch_file_find(f, "no.view"), n);
        zo2_torch_file_close(f);
    }
}

static void types_and_places(void **state)
{
    (void)state;
    zo2_torch_file *f;
    OK(zo2_torch_file_open(&f, FIXTURES "views.bin"));
    static const struct {
        const char *name, *dtype_name;
        zo2_dtype dtype;
        uint32_t rank;
        uint64_t shape[3], bytes;
    } cases[] = {
        {"float32.sliced.view", "F32", ZO2_F32, 3, {2, 2, 2}, 32},
        {"float16.permuted.view", "F16", ZO2_F16, 3, {5, 4, 7}, 280},
        {"float64.transposed.view", "F64", 0, 2, {5, 7}, 280},
        {"bool.expanded.view", "BOOL", 0, 2, {7, 3}, 21},
        {"row.view", "I64", 0, 1, {5}, 40},
        {"scalar.view", "I64", 0, 0, {0}, 8},
        {"empty.view", "I64", 0, 3, {4, 0, 5}, 0},
        {"overlapping.copy", "I64", 0, 2, {9, 7}, 504},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const zo2_stored t = zo2_torch_file_tensor(f, zo2_torch_file_find(f, cases[i].name));
        assert_string_equal(t.name, cases[i].name);
        assert_string_equal(t.dtype_name, cases[i].dtype_name);
        assert_int_equal(t.dtype, cases[i].dtype);
        assert_int_equal(t.rank, cases[i].rank);
        assert_memory_equal(t.shape, cases[i].shape, cases[i].rank * sizeof *t.shape);
        assert_int_equal(t.bytes, cases[i].bytes);
    }
    zo2_torch_file_close(f);
    zo2_torch_file_close(NULL);
}

/* Tied weights are one storage; both names give it. */
static void aliases(void **state)
{
    static const char *const files[] = {FIXTURES "f16/tied.bin", FIXTURES "f16/tied-legacy.bin"};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        zo2_torch_file *f;
        OK(zo2_torch_file_open(&f, files[k]));
        const uint64_t a = zo2_torch_file_find(f, "lm_head.weight"),
                       b = zo2_torch_file_find(f, "model.decoder.embed_tokens.weight");
        assert_true(a != b && a < zo2_torch_file_count(f) && b < zo2_torch_file_count(f));
        check_pair(f, a, b);
        zo2_torch_file_close(f);
    }
}

/* ---- what isn't read ------------------------------------------------------------------------------------------------- */

static void not_read(void **state)
{
    (void)state;
    size_t n;
    char *lines = (char *)file_load(FIXTURES "refused/expected.txt", &n), *rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        zo2_torch_file *f;
        char *words = strchr(line, '\t'), path[512];
        *words++ = '\0';
        snprintf(path, sizeof path, "%s%s", FIXTURES "refused/", line);
        zo2_status s = zo2_torch_file_open(&f, path);
        assert_null(f);
        if ((s != ZO2_ERR_FORMAT && s != ZO2_ERR_UNSUPPORTED) || !strstr(zo2_last_error(), words))
            fail_msg("%s: %d, %s", line, (int)s, zo2_last_error());
        SAYS(path);
    }
    free(lines);
}

static void refused(const char *path, const void *data, size_t n, zo2_status status, const char *words)
{
    zo2_torch_file *f;
    file_store(path, data, n);
    zo2_status s = zo2_torch_file_open(&f, path);
    assert_null(f);
    if (s != status || !strstr(zo2_last_error(), words) || !strstr(zo2_last_error(), path))
        fail_msg("%d, %s", (int)s, zo2_last_error());
}

static void other_forms(void **state)
{
    (void)state;
    char *dir = scratch_make(), *path = in_dir(dir, "pytorch_model.bin");
    unsigned char tar[1024] = "sys_info";
    memcpy(tar + 257, "ustar\0", 6);
    refused(path, tar, sizeof tar, ZO2_ERR_UNSUPPORTED,
            "is a tar archive, which PyTorch 0.1 wrote and this version doesn't read; save it again");
    refused(path, "\x80\x02}.", 4, ZO2_ERR_UNSUPPORTED, "is a Python pickle, but not of torch.save()");
    refused(path, "", 0, ZO2_ERR_FORMAT, "is an empty file; download");
    refused(path, "version https://git-lfs.github.com/spec/v1\n", 43, ZO2_ERR_FORMAT, "is a git-lfs pointer");
    refused(path, "something else", 14, ZO2_ERR_FORMAT, "is no file of torch.save()");
    refused(path, "PK\3\4", 4, ZO2_ERR_FORMAT, "cut short");
    zo2_torch_file *f;
    FAILS(FORMAT, zo2_torch_file_open(&f, dir));
    FAILS(NOTFOUND, zo2_torch_file_open(&f, "/nowhere/at/all.bin"));
    assert_null(f);
    free(path);
    scratch_remove(dir);
}

/* ---- damage ---------------------------------------------------------------------------------------------------------- */

/* Everything that is listed can be read, or the file says why not. */
static void read_everything(const zo2_torch_file *f)
{
    for (uint64_t i = 0; i < zo2_torch_file_count(f); i++) {
        const zo2_stored t = zo2_torch_file_tensor(f, i);
        if (t.bytes <= 1 << 20) /* expanded ones may be any size */
            free(read_all(f, i, t.bytes));
    }
}

static void damaged(const char *fixture, size_t step)
{
    char *dir = scratch_make(), *path = in_dir(dir, "pytorch_model.bin");
    size_t n;
    unsigned char *data = file_load(fixture, &n);
    zo2_torch_file *f;
    for (size_t cut = 0; cut < n; cut += step) {
        file_store(path, data, cut);
        zo2_status s = zo2_torch_file_open(&f, path);
        if (s != ZO2_ERR_FORMAT && (s != ZO2_ERR_UNSUPPORTED || cut > 16)) /* a pickle of something else */
            fail_msg("%s cut to %zu bytes: %d", fixture, cut, (int)s);
        SAYS(path);
        assert_null(f);
    }
    for (size_t at = 0; at < n; at += step) {
        const unsigned char kept = data[at];
        data[at] = (unsigned char)(kept ^ (1u << at % 8));
        file_store(path, data, n);
        data[at] = kept;
        zo2_status s = zo2_torch_file_open(&f, path);
        if (!s)
            read_everything(f);
        else if (s != ZO2_ERR_FORMAT && s != ZO2_ERR_UNSUPPORTED)
            fail_msg("%s with byte %zu changed: %d, %s", fixture, at, (int)s, zo2_last_error());
        zo2_torch_file_close(f);
    }
    free(data);
    free(path);
    scratch_remove(dir);
}

static void damage(void **state)
{
    (void)state;
    damaged(FIXTURES "f16/tied.bin", 53);
    damaged(FIXTURES "f16/tied-legacy.bin", 17);
    damaged(FIXTURES "views.bin", 97);
    damaged(FIXTURES "views-legacy.bin", 61);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views),    cmocka_unit_test(types_and_places), cmocka_unit_test(aliases),
        cmocka_unit_test(not_read), cmocka_unit_test(other_forms),      cmocka_unit_test(damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
