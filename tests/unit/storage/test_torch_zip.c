/* test_torch_zip.c: archives as PyTorch writes them are listed with the places of their data; everything that could lead a reader
 * astray is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/checkpoint/torch_file.h"
#include "storage/checkpoint/torch_zip.h"
#include "tests/unit/storage/zip_testing.h"

#include <fcntl.h>

#define FIXTURES ZO2_TEST_DATA "/torch-fixtures/"

typedef struct bench {
    char *dir, *path;
    zip_bytes z;
} bench;

static bench *begin(void)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->dir = scratch_make();
    b->path = in_dir(b->dir, "pytorch_model.bin");
    return b;
}

static void end(bench *b)
{
    free(b->path);
    scratch_remove(b->dir);
    free(b);
}

static zo2_status list(zo2_zip *out, const char *path)
{
    size_t n;
    free(file_load(path, &n));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    zo2_status s = zo2_zip_list(out, fd, n, path);
    close(fd);
    if (!s && (s = zo2_zip_check_stored(out, path)) != ZO2_OK)
        zo2_zip_free(out);
    return s;
}

static zo2_status list_parts(bench *b, zo2_zip *out, const zip_part *parts, size_t n, int zip64)
{
    zip_make(&b->z, parts, n, zip64);
    file_store(b->path, b->z.b, b->z.n);
    return list(out, b->path);
}

/* ---- sound ones ------------------------------------------------------------------------------------------------------ */

static const zip_part sound[] = {
    {.name = "m/data.pkl", .data = "pickle", .n = 6, .descriptor = 1, .padding = 20},
    {.name = "m/data/0", .data = "0123456789", .n = 10, .descriptor = 1, .padding = 40, .zip64 = 1},
    {.name = "m/data/1", .data = "ABC", .n = 3, .zip64 = 1},
    {.name = "m/data/2", .data = "", .n = 0},
    {.name = "m/far", .data = "xy", .n = 2, .padding = 3000},
    {.name = "m/version", .data = "3\n", .n = 2, .padding = 260, .descriptor = 1},
};
#define SOUND (sizeof sound / sizeof *sound)

static void data_are_found(void **state)
{
    (void)state;
    bench *b = begin();
    for (int zip64 = 0; zip64 < 2; zip64++) {
        zo2_zip zip;
        OK(list_parts(b, &zip, sound, SOUND, zip64));
        assert_int_equal(zip.n, SOUND);
        for (size_t i = 0; i < SOUND; i++) {
            const zo2_zip_entry *e = zo2_zip_find(&zip, sound[i].name);
            assert_non_null(e);
            assert_int_equal(e->bytes, sound[i].n);
            assert_memory_equal(b->z.b + e->at, sound[i].data, sound[i].n);
            if (e->bytes)
                assert_memory_equal(b->z.b + e->header, "PK\3\4", 4);
        }
        assert_null(zo2_zip_find(&zip, "m/data"));
        assert_null(zo2_zip_find(&zip, ""));
        zo2_zip_free(&zip);
    }
    zo2_zip none;
    OK(list_parts(b, &none, NULL, 0, 0));
    assert_int_equal(none.n, 0);
    assert_null(zo2_zip_find(&none, "m/data.pkl"));
    zo2_zip_free(&none);
    end(b);
}

/* ---- others ---------------------------------------------------------------------------------------------------------- */

static void refused(bench *b, const zip_part *parts, size_t n, zo2_status status, const char *words)
{
    zo2_zip zip;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        zo2_status s = list_parts(b, &zip, parts, n, zip64);
        if (s != status || !strstr(zo2_last_error(), words) || !strstr(zo2_last_error(), b->path))
            fail_msg("\"%s\" expected, not %d: %s", words, (int)s, s ? zo2_last_error() : "success");
        assert_null(zip.entries);
    }
}

static void one_is_spoilt(void **state)
{
    (void)state;
    static const struct {
        zip_part part;
        zo2_status status;
        const char *words;
    } cases[] = {
        {{.method = 8}, ZO2_ERR_UNSUPPORTED, "entry m/data/0 of the archive is compressed"},
        {{.method = 14, .descriptor = 1}, ZO2_ERR_UNSUPPORTED, "entry m/data/0 of the archive is compressed"},
        {{.flags = 1}, ZO2_ERR_UNSUPPORTED, "entry m/data/0 of the archive is encrypted"},
        {{.flags = 0x41}, ZO2_ERR_UNSUPPORTED, "entry m/data/0 of the archive is encrypted"},
        {{.more_stored = -3, .descriptor = 1},
         ZO2_ERR_FORMAT,
         "entry m/data/0 of the archive is stored with another size"},
        {{.more_stored = 3, .descriptor = 1},
         ZO2_ERR_FORMAT,
         "entry m/data/0 of the archive is stored with another size"},
        {{.more_size = 1 << 20, .descriptor = 1}, ZO2_ERR_FORMAT, "the zip archive is damaged or cut short"},
        {{.more_size = (int64_t)1 << 40, .descriptor = 1, .zip64 = 1}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.more_size = INT64_MAX - 20, .descriptor = 1, .zip64 = 1}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.moved = 1}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.moved = -1}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.moved = (int64_t)1 << 40, .zip64 = 1}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.local_name = "m/data/1"}, ZO2_ERR_FORMAT, "damaged or cut short"},
        {{.local_name = "m/data/longer"}, ZO2_ERR_FORMAT, "damaged or cut short"},
    };
    bench *b = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zip_part parts[3] = {sound[0], cases[i].part, sound[5]};
        parts[1].name = "m/data/0";
        parts[1].data = "0123456789";
        parts[1].n = 10;
        refused(b, parts, 3, cases[i].status, cases[i].words);
    }
    end(b);
}

static void names_and_places(void **state)
{
    (void)state;
    bench *b = begin();
    const zip_part twice[] = {sound[0], sound[2], sound[0]};
    refused(b, twice, 3, ZO2_ERR_FORMAT, "entry m/data.pkl of the archive is there twice");
    /* both say that they begin at one header */
    zip_part same[] = {sound[0], sound[2], sound[2]};
    same[2].same_place = 1;
    refused(b, same, 3, ZO2_ERR_FORMAT, "entries m/data/1 and m/data/1 of the archive overlap");

    /* One that reaches into the next: an entry whose data are whole other entries, "quoted" as zip bombs have it. */
    zip_bytes *inner = calloc(1, sizeof *inner);
    assert_non_null(inner);
    zip_local(inner, &sound[2]);
    zip_part outer[] = {sound[0],
                        {.name = "m/data/0", .data = inner->b, .n = inner->n, .descriptor = 1},
                        {.name = "m/data/1", .same_place = 1, .n = 3, .data = "ABC"}};
    outer[2].moved = 30 + (int64_t)strlen("m/data/0");
    refused(b, outer, 3, ZO2_ERR_FORMAT, "entries m/data/0 and m/data/1 of the archive overlap");
    free(inner);
    end(b);
}

/* Cut anywhere, or with a byte changed: refused, or the same as before, and never beyond the file. */
static void damage(void **state)
{
    (void)state;
    bench *b = begin();
    zip_make(&b->z, sound, SOUND, 1);
    for (size_t cut = 0; cut < b->z.n; cut += cut < 3700 && cut > 400 ? 97 : 1) {
        zo2_zip zip;
        file_store(b->path, b->z.b, cut);
        FAILS(FORMAT, list(&zip, b->path));
        assert_null(zip.entries);
    }
    for (size_t at = 0; at < b->z.n; at += at < 3700 && at > 400 ? 97 : 1) {
        zo2_zip zip;
        const unsigned char kept = b->z.b[at];
        b->z.b[at] = (unsigned char)(kept ^ (1u << at % 8));
        file_store(b->path, b->z.b, b->z.n);
        zo2_status s = list(&zip, b->path);
        b->z.b[at] = kept;
        assert_true(s == ZO2_OK || s == ZO2_ERR_FORMAT || s == ZO2_ERR_UNSUPPORTED);
        for (uint64_t i = 0; !s && i < zip.n; i++)
            assert_true(zip.entries[i].at <= b->z.n && zip.entries[i].bytes <= b->z.n - zip.entries[i].at);
        zo2_zip_free(&zip);
    }
    end(b);
}

/* Shorter than it is said to be: cut by somebody else in the meantime. */
static void cut_while_read(void **state)
{
    (void)state;
    bench *b = begin();
    zo2_zip zip;
    zip_make(&b->z, sound, SOUND, 1);
    file_store(b->path, b->z.b, b->z.n);
    int fd = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    FAILS(FORMAT, zo2_zip_list(&zip, fd, b->z.n + 100, b->path));
    SAYS(b->path);
    assert_null(zip.entries);
    close(fd);
    end(b);
}

/* ---- what is in a good archive of PyTorch's is changed ------------------------------------------------------------------ */

enum { PKL, D0, ORDER, KINDS };

/* A model of one tensor w = [[0, 1, 2], [3, 4, 5]] of floats. */
static const char pickle[] =
    "\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\n"
    "X\1\0\0\0"
    "0X\3\0\0\0cpuK\6tQK\0K\2K\3\x86K\3K\1\x86\x89"
    "ccollections\nOrderedDict\n)RtRu.";
static const float values[] = {0, 1, 2, 3, 4, 5};

static void good(zip_part *parts)
{
    parts[PKL] =
        (zip_part){.name = "a/data.pkl", .data = pickle, .n = sizeof pickle - 1, .descriptor = 1, .padding = 30};
    parts[D0] = (zip_part){.name = "a/data/0", .data = values, .n = sizeof values, .descriptor = 1};
    parts[ORDER] = (zip_part){.name = "a/byteorder", .data = "little", .n = 6};
}

static zo2_status open_parts(bench *b, const zip_part *parts, size_t n, zo2_torch_file **f)
{
    zip_make(&b->z, parts, n, 1);
    file_store(b->path, b->z.b, b->z.n);
    return zo2_torch_file_open(f, b->path);
}

static void opened(bench *b, const zip_part *parts, size_t n)
{
    zo2_torch_file *f;
    float got[6];
    OK(open_parts(b, parts, n, &f));
    assert_int_equal(zo2_torch_file_count(f), 1);
    const zo2_stored t = zo2_torch_file_tensor(f, zo2_torch_file_find(f, "w"));
    assert_string_equal(t.name, "w");
    assert_string_equal(t.file, b->path);
    assert_true(t.dtype == ZO2_F32 && t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 3 && t.bytes == sizeof got);
    OK(zo2_torch_file_read(f, 0, 0, sizeof got, got));
    assert_memory_equal(got, values, sizeof got);
    OK(zo2_torch_file_read(f, 0, 8, 12, got));
    assert_memory_equal(got, values + 2, 12);
    FAILS(ARG, zo2_torch_file_read(f, 0, 20, 8, got));
    FAILS(ARG, zo2_torch_file_read(f, 0, 2, 4, got));
    zo2_torch_file_close(f);
}

static void not_opened(bench *b, const zip_part *parts, size_t n, zo2_status status, const char *words)
{
    zo2_torch_file *f;
    zo2_status s = open_parts(b, parts, n, &f);
    if (s != status || !strstr(zo2_last_error(), words) || !strstr(zo2_last_error(), b->path))
        fail_msg("\"%s\" expected, not %d: %s", words, (int)s, s ? zo2_last_error() : "success");
    assert_null(f);
}

static void archives(void **state)
{
    (void)state;
    bench *b = begin();
    zip_part p[KINDS + 1];
    good(p);
    opened(b, p, KINDS);
    opened(b, p, ORDER); /* older ones don't say it */
    p[KINDS] = (zip_part){.name = "a/anything/else", .data = "x", .n = 1};
    opened(b, p, KINDS + 1);

    p[ORDER].data = "big";
    p[ORDER].n = 3;
    not_opened(b, p, KINDS, ZO2_ERR_UNSUPPORTED, "is of a big-endian machine");
    p[ORDER].data = "middle";
    p[ORDER].n = 6;
    not_opened(b, p, KINDS, ZO2_ERR_FORMAT, "byteorder is neither");
    p[ORDER].data = pickle;
    p[ORDER].n = sizeof pickle;
    not_opened(b, p, KINDS, ZO2_ERR_FORMAT, "byteorder is neither");

    good(p);
    p[KINDS].name = "a/constants.pkl";
    not_opened(b, p, KINDS + 1, ZO2_ERR_UNSUPPORTED, "is a TorchScript program");
    p[KINDS].name = "a/code/model.py";
    not_opened(b, p, KINDS + 1, ZO2_ERR_UNSUPPORTED, "is a TorchScript program");
    p[KINDS].name = "b/code/model.py";
    opened(b, p, KINDS + 1);
    p[KINDS].name = "b/data.pkl";
    not_opened(b, p, KINDS + 1, ZO2_ERR_FORMAT, "holds two models, a/data.pkl and b/data.pkl");
    p[KINDS].name = "b/c/data.pkl";
    opened(b, p, KINDS + 1);

    good(p);
    p[PKL].name = "data.pkl";
    not_opened(b, p, KINDS, ZO2_ERR_UNSUPPORTED, "there is no data.pkl in it");
    good(p);
    p[PKL].n--;
    not_opened(b, p, KINDS, ZO2_ERR_FORMAT, "data.pkl");
    good(p);
    p[D0].n -= 1;
    not_opened(b, p, KINDS, ZO2_ERR_FORMAT,
               "the entry a/data/0 has 23 bytes, but data.pkl asks for 6 elements of 4 bytes");
    p[D0].name = "a/data/1";
    not_opened(b, p, KINDS, ZO2_ERR_FORMAT, "lacks the entry a/data/0, which data.pkl names");
    good(p);
    p[D0].method = 8;
    not_opened(b, p, KINDS, ZO2_ERR_UNSUPPORTED, "entry a/data/0 of the archive is compressed");
    end(b);
}

/* Something else under a tensor's name: not listed, never called, and who looks for it is told what it is. */
static void no_tensor(void **state)
{
    static const char object[] = "\x80\x02}(X\1\0\0\0wcos\nsystem\n(X\x11\0\0\0touch executed-itt\x52X\1\0\0\0vK\3u.";
    (void)state;
    bench *b = begin();
    zip_part p[KINDS];
    zo2_torch_file *f;
    char text[300];
    good(p);
    p[PKL].data = object;
    p[PKL].n = sizeof object - 1;
    OK(open_parts(b, p, KINDS, &f));
    assert_int_equal(zo2_torch_file_count(f), 0);
    assert_int_equal(zo2_torch_file_find(f, "w"), 0);
    assert_non_null(strstr(zo2_torch_file_absent(f, "w", text, sizeof text),
                           "pytorch_model.bin has that name for os.system, which is no plain tensor; save the "));
    assert_non_null(strstr(zo2_torch_file_absent(f, "v", text, sizeof text), "has that name for an integer, which is"));
    assert_string_equal(zo2_torch_file_absent(f, "x", text, sizeof text), "");
    assert_int_equal(access("executed-it", F_OK), -1);
    zo2_torch_file_close(f);
    end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_are_found), cmocka_unit_test(one_is_spoilt),  cmocka_unit_test(names_and_places),
        cmocka_unit_test(damage),         cmocka_unit_test(cut_while_read), cmocka_unit_test(archives),
        cmocka_unit_test(no_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
