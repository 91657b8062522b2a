/* test_safetensors_folder.c: folders of safetensors files: single, by index, all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/safetensors_testing.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* DIR/file with one byte tensor per name given. */
static void store_file(const char *file, const char *name1, const char *name2)
{
    char header[300], *path = in_dir(dir, file);
    if (name2)
        snprintf(header, sizeof header,
                 "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                 "\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                 name1, name2);
    else
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name1);
    st_text(path, header, name2 ? 2 : 1);
    free(path);
}

static void store_index(const char *text)
{
    char *path = in_dir(dir, "model.safetensors.index.json");
    file_store(path, text, strlen(text));
    free(path);
}

static void assert_names(const char *const *names, uint64_t n)
{
    zo2_safetensors *s;
    OK(zo2_safetensors_open(&s, dir));
    assert_int_equal(zo2_safetensors_count(s), n);
    for (uint64_t i = 0; i < n; i++) {
        unsigned char byte;
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        assert_string_equal(t->name, names[i]);
        assert_ptr_equal(zo2_safetensors_find(s, names[i]), t);
        OK(zo2_safetensors_read(s, t, 0, 1, &byte));
    }
    zo2_safetensors_close(s);
}

static void refused(zo2_status status, const char *says)
{
    zo2_safetensors *s;
    assert_int_equal(zo2_safetensors_open(&s, dir), status);
    assert_null(s);
    SAYS(says);
}

#define INDEX(map) "{\"metadata\":{\"total_size\":3},\"weight_map\":" map "}"

static void a_single_file_comes_first(void **state)
{
    (void)state;
    static const char *const names[] = {"single"};
    store_file("model.safetensors", "single", NULL);
    store_file("other.safetensors", "other", NULL);
    store_index(INDEX("{\"other\":\"other.safetensors\"}"));
    assert_names(names, 1);
}

static void an_index_names_the_shards(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "extra"};
    store_file("m-1.safetensors", "a", NULL);
    store_file("m-2.safetensors", "b", "extra"); /* in the shard, not in the map: fine */
    store_file("unrelated.safetensors", "a", NULL);
    store_index(INDEX("{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}"));
    assert_names(names, 3);
}

static void an_empty_map_is_a_model_without_tensors(void **state)
{
    (void)state;
    store_index(INDEX("{}"));
    assert_names(NULL, 0);
}

/* Named before anything else, even before the damage of a shard that is there. */
static void a_missing_shard_is_named_first(void **state)
{
    (void)state;
    char *present = in_dir(dir, "m-1.safetensors");
    file_store(present, "damaged", 7);
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-3.safetensors\"}"));
    refused(ZO2_ERR_NOTFOUND, "m-2.safetensors is missing (2 of the 3 shards");
    free(present);
}

static void an_entry_that_is_not_in_its_shard_is_refused(void **state)
{
    (void)state;
    store_file("m-1.safetensors", "a", NULL);
    store_file("m-2.safetensors", "b", NULL);
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-2.safetensors\"}"));
    refused(ZO2_ERR_FORMAT, "tensor c should be in m-2.safetensors, but is in none");
    store_index(INDEX("{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}"));
    refused(ZO2_ERR_FORMAT, "tensor a should be in m-2.safetensors, but is in m-1.safetensors");
}

static void duplicates_over_shards_are_refused(void **state)
{
    (void)state;
    store_file("m-1.safetensors", "a", "c");
    store_file("m-2.safetensors", "b", "c");
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}"));
    refused(ZO2_ERR_FORMAT, "tensor c is in two files");
    SAYS("m-1.safetensors");
    SAYS("m-2.safetensors");
}

static void shard_names_that_are_no_plain_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"\"../m.safetensors\"",
                                        "\"/etc/passwd\"",
                                        "\"a/b\"",
                                        "\"..\"",
                                        "\".\"",
                                        "\"\"",
                                        "\"a\\\\b\"",
                                        "3",
                                        "null",
                                        "[]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char index[200];
        snprintf(index, sizeof index, INDEX("{\"a\":\"m-1.safetensors\",\"b\":%s}"), names[i]);
        store_index(index);
        refused(ZO2_ERR_FORMAT, "not a plain file name");
        SAYS("tensor b");
    }
    char longest[300], index[400]; /* one byte more than a file's name can have */
    memset(longest, 'x', 256);
    longest[256] = '\0';
    snprintf(index, sizeof index, INDEX("{\"a\":\"%s\"}"), longest);
    store_index(index);
    refused(ZO2_ERR_FORMAT, "not a plain file name");
    longest[255] = '\0';
    snprintf(index, sizeof index, INDEX("{\"a\":\"%s\"}"), longest);
    store_index(index);
    refused(ZO2_ERR_NOTFOUND, "is missing");
}

static void a_broken_index_is_refused(void **state)
{
    (void)state;
    store_file("m-1.safetensors", "a", NULL);
    store_index("{");
    refused(ZO2_ERR_FORMAT, "index.json is not valid JSON");
    store_index("");
    refused(ZO2_ERR_FORMAT, "index.json is not valid JSON");
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"a\":\"m-1.safetensors\"}"));
    refused(ZO2_ERR_FORMAT, "duplicate");
    store_index("[]");
    refused(ZO2_ERR_FORMAT, "weight_map");
    store_index("{\"weight_map\":[]}");
    refused(ZO2_ERR_FORMAT, "weight_map");
    store_index("{\"metadata\":{}}");
    refused(ZO2_ERR_FORMAT, "weight_map");
}

static void without_an_index_every_file_is_taken(void **state)
{
    (void)state;
    static const char *const names[] = {"b", "a", "c"}; /* by file name */
    store_file("x-1.safetensors", "b", NULL);
    store_file("x-2.safetensors", "a", "c");
    store_file(".hidden.safetensors", "h", NULL);
    store_file("x-3.safetensors.bak", "d", NULL);
    assert_names(names, 3);
    store_file("x-4.safetensors", "a", NULL);
    refused(ZO2_ERR_FORMAT, "tensor a is in two files");
}

static void a_folder_without_safetensors_says_so(void **state)
{
    (void)state;
    zo2_safetensors *s;
    refused(ZO2_ERR_NOTFOUND, "has no *.safetensors file");
    char *none = in_dir(dir, "none");
    FAILS(NOTFOUND, zo2_safetensors_open(&s, none));
    SAYS(none);
    free(none);
}

/* Written by Hugging Face's own library. */
static void a_real_sharded_model_opens(void **state)
{
    (void)state;
    zo2_safetensors *s;
    OK(zo2_safetensors_open(&s, ZO2_TEST_DATA "/opt-fixtures/prenorm-bf16-sharded"));
    uint64_t n = zo2_safetensors_count(s);
    assert_true(n > 10);
    for (uint64_t i = 0; i < n; i++) {
        const zo2_st_tensor *t = zo2_safetensors_at(s, i);
        assert_int_equal(t->dtype, ZO2_BF16);
        unsigned char *data = malloc(t->bytes);
        OK(zo2_safetensors_read(s, t, 0, t->bytes, data));
        free(data);
    }
    zo2_safetensors_close(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_single_file_comes_first),
        T(an_index_names_the_shards),
        T(an_empty_map_is_a_model_without_tensors),
        T(a_missing_shard_is_named_first),
        T(an_entry_that_is_not_in_its_shard_is_refused),
        T(duplicates_over_shards_are_refused),
        T(shard_names_that_are_no_plain_names_are_refused),
        T(a_broken_index_is_refused),
        T(without_an_index_every_file_is_taken),
        T(a_folder_without_safetensors_says_so),
        T(a_real_sharded_model_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
