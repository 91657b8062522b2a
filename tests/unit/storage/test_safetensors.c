/* test_safetensors.c: one safetensors file, taken as hostile: every rule of the reader, with its message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/safetensors_testing.h"

#include <fcntl.h>
#include <sys/stat.h>

#define ONE_FILE "m.safetensors"
#include "tests/unit/storage/one_file_testing.h"

static void refused(const char *says)
{
    zo2_safetensors *s = (zo2_safetensors *)(uintptr_t)1;
    FAILS(FORMAT, zo2_safetensors_open(&s, path));
    assert_null(s);
    SAYS(path);
    SAYS(says);
}

/* ---- what is accepted -------------------------------------------------------------------------------------------- */

static void tensors_are_listed_found_and_read(void **state)
{
    (void)state;
    zo2_safetensors *s;
    st_text(path,
            "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
            "\"__metadata__\":{\"format\":\"pt\"},"
            "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
            "\"c\":{\"dtype\":\"F16\",\"shape\":[1,1,2],\"data_offsets\":[28,32],\"more\":[]}}",
            32);
    OK(zo2_safetensors_open(&s, path));
    assert_int_equal(zo2_safetensors_count(s), 3);
    static const char *const order[] = {"a", "b", "c"}; /* of the data */
    for (uint64_t i = 0; i < 3; i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        assert_string_equal(t->name, order[i]);
        assert_ptr_equal(zo2_safetensors_find(s, order[i]), t);
        assert_string_equal(zo2_safetensors_file(s, t), path);
    }
    assert_null(zo2_safetensors_at(s, 3));
    assert_null(zo2_safetensors_find(s, "d"));
    assert_null(zo2_safetensors_find(s, "__metadata__"));
    const zo2_st_tensor *b = zo2_safetensors_find(s, "b"), *c = zo2_safetensors_find(s, "c");
    assert_int_equal(b->dtype, ZO2_F32);
    assert_string_equal(b->dtype_name, "F32");
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->elements, 6);
    assert_int_equal(b->bytes, 24);
    assert_int_equal(c->rank, 3);
    unsigned char got[25];
    memset(got, 0xEE, sizeof got);
    OK(zo2_safetensors_read(s, b, 0, 24, got));
    for (int i = 0; i < 24; i++)
        assert_int_equal(got[i], 4 + i);
    assert_int_equal(got[24], 0xEE);
    OK(zo2_safetensors_read(s, b, 5, 2, got));
    assert_int_equal(got[0], 9);
    assert_int_equal(got[1], 10);
    assert_int_equal(got[2], 6);
    OK(zo2_safetensors_read(s, b, 24, 0, got));
    FAILS(ARG, zo2_safetensors_read(s, b, 24, 1, got));
    FAILS(ARG, zo2_safetensors_read(s, b, 25, 0, got));
    FAILS(ARG, zo2_safetensors_read(s, b, 1, UINT64_MAX, got));
    SAYS("tensor b");
    assert_int_equal(truncate(path, 100), 0); /* cut behind our back */
    FAILS(FORMAT, zo2_safetensors_read(s, c, 0, 4, got));
    SAYS("truncated");
    SAYS("tensor c");
    zo2_safetensors_close(s);
    zo2_safetensors_close(NULL);
}

static void every_known_type_is_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int bits;
        zo2_dtype dtype;
    } types[] = {{"BOOL", 8, 0},         {"U8", 8, 0},         {"I8", 8, 0},      {"F8_E5M2", 8, 0},
                 {"F8_E4M3", 8, 0},      {"I16", 16, 0},       {"U16", 16, 0},    {"F16", 16, ZO2_F16},
                 {"BF16", 16, ZO2_BF16}, {"I32", 32, 0},       {"U32", 32, 0},    {"F32", 32, ZO2_F32},
                 {"F64", 64, 0},         {"I64", 64, 0},       {"U64", 64, 0},    {"C64", 64, 0},
                 {"F8_E8M0", 8, 0},      {"F4", 4, 0},         {"F6_E2M3", 6, 0}, {"F6_E3M2", 6, 0},
                 {"F8_E4M3FNUZ", 8, 0},  {"F8_E5M2FNUZ", 8, 0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[200];
        int bytes = 12 * types[i].bits / 8;
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[3,4],\"data_offsets\":[0,%d]}}",
                 types[i].name, bytes);
        st_text(path, header, (size_t)bytes);
        zo2_safetensors *s;
        OK(zo2_safetensors_open(&s, path));
        const zo2_st_tensor *t = zo2_safetensors_find(s, "t");
        assert_int_equal(t->dtype, types[i].dtype);
        assert_string_equal(t->dtype_name, types[i].name);
        assert_int_equal(t->elements, 12);
        assert_int_equal(t->bytes, bytes);
        zo2_safetensors_close(s);
    }
}

/* The size of its data is believed: the format has new types now and then, and what nobody needs harms nobody. */
static void unknown_types_are_no_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"F12", "f32", "F32 ", "", "FLOAT", "a very long name of a data type"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char header[200];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,3]},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[3,7]}}",
                 names[i]);
        st_text(path, header, 7);
        zo2_safetensors *s;
        OK(zo2_safetensors_open(&s, path));
        const zo2_st_tensor *t = zo2_safetensors_find(s, "a");
        assert_int_equal(t->dtype, 0);
        assert_int_equal(strncmp(t->dtype_name, names[i], sizeof t->dtype_name - 1), 0);
        assert_int_equal(t->bytes, 3);
        assert_int_equal(zo2_safetensors_find(s, "b")->offset, t->offset + 3);
        zo2_safetensors_close(s);
    }
}

static void odd_but_valid_files_are_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        uint64_t count;
    } files[] = {
        {"{}", 0, 0}, /* no tensors */
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"__metadata__\":null}", 0, 0}, /* accepted by the safetensors library, too */
        {"{\"r8\":{\"dtype\":\"U8\",\"shape\":[1,2,1,2,1,1,1,1],\"data_offsets\":[0,4]}}", 4, 1},
        {" \t\n\r{ } \t\n\r  ", 0, 0},                                                 /* white space around */
        {"{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}    ", 4, 1}, /* rank 0 */
        {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, 1},    /* no elements */
        {"{\"z\":{\"dtype\":\"F32\",\"shape\":[5,0,7],\"data_offsets\":[0,0]},"
         "\"y\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]},"
         "\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
         3, 4},
        {"{\"r4\":{\"dtype\":\"U8\",\"shape\":[1,2,1,2],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"\xC3\xA9\\u00e8\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        zo2_safetensors *s;
        st_text(path, files[i].header, files[i].data);
        OK(zo2_safetensors_open(&s, path));
        assert_int_equal(zo2_safetensors_count(s), files[i].count);
        zo2_safetensors_close(s);
    }
}

/* ---- what is refused: the frame ---------------------------------------------------------------------------------- */

static void a_header_under_8_bytes_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < 8; n++) {
        file_store(path, "\2\0\0\0\0\0\0\0", n);
        refused("less than the 8");
    }
}

static void a_header_over_100_million_bytes_is_refused(void **state)
{
    (void)state;
    st_store(path, 100000001, "{}", 2, 0);
    refused("100,000,000");
    st_store(path, UINT64_MAX, "{}", 2, 0);
    refused("100,000,000");
    st_store(path, 100000000, "{}", 2, 0);
    refused("truncated");
}

static void a_header_past_the_end_is_refused(void **state)
{
    (void)state;
    st_store(path, 3, "{}", 2, 0);
    refused("truncated");
    st_store(path, 2, "", 0, 0);
    refused("truncated");
}

static void a_header_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    st_text(path, "{\"\xFF\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    refused("not UTF-8 at offset 10");
    st_text(path, "{}\x80", 0);
    refused("not UTF-8 at offset 10");
    st_text(path, "{\"\xED\xA0\x80\":{}}", 0);
    refused("not UTF-8");
}

static void a_header_that_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {"",
                                          " ",
                                          "{",
                                          "}",
                                          "{} {}",
                                          "{}x",
                                          "nonsense",
                                          "{\"a\":}",
                                          "{'a':{}}",
                                          "{\"a\"}",
                                          "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},}"};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        st_text(path, headers[i], 1);
        refused("not valid JSON");
    }
    st_store(path, 4, "{}\0\0", 4, 0);
    refused("not valid JSON");
    st_store(path, 6, "{\"\0\":1}", 7, 0);
    refused("not valid JSON");
    st_text(path, "{\"a\\u0000b\":{}}", 0);
    refused("not valid JSON");
    st_text(path, "[]", 0);
    refused("not a JSON object");
    char deep[5001]; /* the parser must not run out of stack */
    memset(deep, '[', 5000);
    deep[5000] = '\0';
    st_text(path, deep, 0);
    refused("not valid JSON");
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    st_text(path,
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
            2);
    refused("duplicate");
    st_text(path, "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    refused("duplicate");
    st_text(path, "{\"__metadata__\":{},\"__metadata__\":{}}", 0);
    refused("duplicate");
}

/* ---- what is refused: descriptions ------------------------------------------------------------------------------- */

/* One tensor "a.weight" of this description, n bytes of data. */
static void refused_tensor(const char *description, size_t n, const char *says)
{
    char header[1000];
    snprintf(header, sizeof header, "{\"a.weight\":%s}", description);
    st_text(path, header, n);
    refused(says);
    SAYS("a.weight");
}

static void incomplete_descriptions_are_refused(void **state)
{
    (void)state;
    refused_tensor("3", 0, "not a JSON object");
    refused_tensor("null", 0, "not a JSON object");
    refused_tensor("[]", 0, "not a JSON object");
    refused_tensor("{}", 0, "dtype");
    refused_tensor("{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}", 1, "dtype");
    refused_tensor("{\"dtype\":\"U8\",\"data_offsets\":[0,1]}", 1, "shape");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}", 1, "shape");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1]}", 1, "data_offsets");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}", 1, "data_offsets");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}", 1, "data_offsets");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}", 1, "data_offsets");
}

static void negative_and_fractional_numbers_are_refused(void **state)
{
    (void)state;
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}", 1, "shape has the negative number -1");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}", 1,
                   "data_offsets has the negative number -1");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,-9223372036854775808]}", 1, "negative");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}", 1,
                   "shape has the number 1.5, which is not");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}", 1, "not an integer");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1e0]}", 1,
                   "data_offsets has the number 1, which is not");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}", 1, "not a number");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,null]}", 1, "not a number");
    st_text(path, "{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}", 1);
    refused("not an integer"); /* beyond 64 bits */
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    static const char *const shapes[] = {
        "\"U8\",\"shape\":[4294967296,4294967296]", /* the product */
        "\"U8\",\"shape\":[9223372036854775807,3]",
        "\"U8\",\"shape\":[4294967296,4294967296,0]", /* on the way to 0 */
        "\"F32\",\"shape\":[4611686018427387904]",    /* the bytes */
        "\"U8\",\"shape\":[2305843009213693952]",     /* the bits */
        "\"U64\",\"shape\":[65536,65536,65536,65536]",
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char description[200];
        snprintf(description, sizeof description, "{\"dtype\":%s,\"data_offsets\":[0,0]}", shapes[i]);
        refused_tensor(description, 0, "overflows");
    }
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[2305843009213693951],\"data_offsets\":[0,1]}", 1, "span 1 bytes");
}

static void high_ranks_are_refused(void **state)
{
    (void)state;
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}", 1, "9 dimensions");
}

static void offsets_that_differ_from_the_shape_are_refused(void **state)
{
    (void)state;
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,7]}", 7,
                   "span 7 bytes, shape and dtype F32 make 8");
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}", 9, "span 9 bytes");
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}", 0, "span 0 bytes");
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]}", 4, "span 4 bytes");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}", 1, "before they begin");
    refused_tensor("{\"dtype\":\"F12\",\"shape\":[1],\"data_offsets\":[1,0]}", 1, "before they begin");
    refused_tensor("{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}", 2, "whole bytes");
}

/* ---- what is refused: coverage of the data ----------------------------------------------------------------------- */

static void missing_bytes_are_refused(void **state)
{
    (void)state;
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", 7, "truncated");
    refused_tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", 0, "truncated");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[5,5]}", 0, "truncated");
    refused_tensor("{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9223372036854775806,9223372036854775807]}", 1,
                   "truncated");
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    st_text(path, "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3);
    refused("1 bytes behind the last tensor");
    st_text(path, "{}", 1);
    refused("1 bytes behind the last tensor");
}

/* Tensors "first" and "second", bytes, with these offsets. */
static void refused_pair(int a, int b, int c, int d, size_t n, const char *says)
{
    char header[300];
    snprintf(header, sizeof header,
             "{\"first\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]},"
             "\"second\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
             b - a, a, b, d - c, c, d);
    st_text(path, header, n);
    refused(says);
}

static void overlapping_and_shared_data_are_refused(void **state)
{
    (void)state;
    refused_pair(0, 4, 3, 6, 6, "second: its data (from offset 3) overlap those of tensor first");
    refused_pair(3, 6, 0, 4, 6, "first: its data (from offset 3) overlap those of tensor second");
    refused_pair(0, 4, 0, 4, 4, "overlap"); /* shared */
    refused_pair(0, 4, 1, 2, 4, "overlap"); /* inside */
    refused_pair(0, 4, 2, 2, 4, "overlap"); /* nothing, but inside */
}

static void holes_are_refused(void **state)
{
    (void)state;
    refused_pair(0, 2, 3, 6, 6, "second: there is a hole of 1 bytes before its data (at offset 2)");
    refused_pair(1, 2, 2, 6, 6, "first: there is a hole of 1 bytes before its data (at offset 0)");
}

static void bad_metadata_are_refused(void **state)
{
    (void)state;
    st_text(path, "{\"__metadata__\":3}", 0);
    refused("__metadata__ is not");
    st_text(path, "{\"__metadata__\":{\"format\":1}}", 0);
    refused("format is not a string");
}

/* ---- the whole file at once -------------------------------------------------------------------------------------- */

static const char small[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                            "\"b\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[8,12]}}";

static void every_shorter_length_is_refused(void **state)
{
    (void)state;
    zo2_safetensors *s;
    st_text(path, small, 12);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t n = st.st_size; n-- > 0;) {
        assert_int_equal(truncate(path, n), 0);
        FAILS(FORMAT, zo2_safetensors_open(&s, path));
        SAYS(path);
    }
}

/* All values of every byte of the header: a status, and if OK then tensors that can be read. */
static void changed_headers_do_not_crash(void **state)
{
    (void)state;
    size_t n;
    st_text(path, small, 12);
    unsigned char *good = file_load(path, &n);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (size_t i = 0; i < n - 12; i++) {
        for (int v = 0; v < 256; v++) {
            unsigned char bad = (unsigned char)v, got[12];
            zo2_safetensors *s;
            assert_int_equal(pwrite(fd, &bad, 1, (off_t)i), 1);
            zo2_status status = zo2_safetensors_open(&s, path);
            if (status == ZO2_OK) {
                for (uint64_t k = 0; k < zo2_safetensors_count(s); k++) {
                    const zo2_st_tensor *t = zo2_safetensors_at(s, k);
                    assert_true(t->bytes <= sizeof got);
                    OK(zo2_safetensors_read(s, t, 0, t->bytes, got));
                }
            } else {
                assert_int_equal(status, ZO2_ERR_FORMAT);
                SAYS(path);
            }
            zo2_safetensors_close(s);
        }
        assert_int_equal(pwrite(fd, &good[i], 1, (off_t)i), 1);
    }
    close(fd);
    free(good);
}

static void other_things_are_told_what_they_are(void **state)
{
    (void)state;
    zo2_safetensors *s;
    FAILS(NOTFOUND, zo2_safetensors_open(&s, path));
    SAYS(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    FAILS(FORMAT, zo2_safetensors_open(&s, path)); /* and doesn't hang */
    SAYS("not a regular file");
}

static void thousands_of_tensors_are_quick(void **state)
{
    (void)state;
    enum { N = 50000 };
    char *header = malloc(N * 80 + 10), *p = header;
    assert_non_null(header);
    *p++ = '{';
    for (int i = 0; i < N; i++)
        p += sprintf(p, "%s\"t.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i,
                     N - 1 - i, N - i);
    *p++ = '}';
    st_store(path, (uint64_t)(p - header), header, (size_t)(p - header), N);
    zo2_safetensors *s;
    OK(zo2_safetensors_open(&s, path));
    assert_int_equal(zo2_safetensors_count(s), N);
    for (int i = 0; i < N; i++) {
        char name[20];
        snprintf(name, sizeof name, "t.%d", i);
        const zo2_st_tensor *t = zo2_safetensors_find(s, name);
        assert_ptr_equal(t, zo2_safetensors_at(s, (uint64_t)(N - 1 - i)));
    }
    zo2_safetensors_close(s);
    free(header);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(tensors_are_listed_found_and_read),
        T(every_known_type_is_accepted),
        T(unknown_types_are_no_weights),
        T(odd_but_valid_files_are_accepted),
        T(a_header_under_8_bytes_is_refused),
        T(a_header_over_100_million_bytes_is_refused),
        T(a_header_past_the_end_is_refused),
        T(a_header_that_is_not_utf8_is_refused),
        T(a_header_that_is_not_json_is_refused),
        T(duplicate_keys_are_refused),
        T(incomplete_descriptions_are_refused),
        T(negative_and_fractional_numbers_are_refused),
        T(sizes_that_overflow_are_refused),
        T(high_ranks_are_refused),
        T(offsets_that_differ_from_the_shape_are_refused),
        T(missing_bytes_are_refused),
        T(trailing_bytes_are_refused),
        T(overlapping_and_shared_data_are_refused),
        T(holes_are_refused),
        T(bad_metadata_are_refused),
        T(every_shorter_length_is_refused),
        T(changed_headers_do_not_crash),
        T(other_things_are_told_what_they_are),
        T(thousands_of_tensors_are_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
