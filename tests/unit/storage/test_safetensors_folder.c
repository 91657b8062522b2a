/* test_safetensors_folder.c: folders of safetensors files: single, by index, all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/safetensors_testing.h"
#include "tests/unit/storage/scratch_dir_testing.h"

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

/* Why a tensor isn't there, in a folder that opens, and what is odd about it: "" for nothing, NULL for anything. */
static char odd[2000];

static void on_oddity(void *ud, const char *text)
{
    assert_ptr_equal(ud, odd);
    snprintf(odd + strlen(odd), sizeof odd - strlen(odd), "%s\n", text);
}

static void says_of(const char *tensor, const char *why, const char *oddity)
{
    zo2_safetensors *s;
    char text[600];
    odd[0] = '\0';
    OK(zo2_safetensors_open(&s, dir));
    assert_string_equal(zo2_safetensors_absent(s, tensor, text, sizeof text), text);
    if (why[0] ? !strstr(text, why) : text[0])
        fail_msg("%s: not '%s' but '%s'", tensor, why, text);
    zo2_safetensors_oddities(s, on_oddity, odd);
    if (oddity && (oddity[0] ? !strstr(odd, oddity) : odd[0]))
        fail_msg("not '%s' but '%s'", oddity, odd);
    zo2_safetensors_close(s);
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

/* Named before the damage of a shard that is there; where the others are fine, it matters to who needs something of it. */
static void a_missing_shard_is_named_first(void **state)
{
    (void)state;
    static const char *const names[] = {"a"};
    char *present = in_dir(dir, "m-1.safetensors");
    file_store(present, "damaged", 7);
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-3.safetensors\"}"));
    refused(ZO2_ERR_NOTFOUND, "m-2.safetensors is missing (2 of the 3 shards");
    assert_int_equal(remove(present), 0);
    refused(ZO2_ERR_NOTFOUND, "m-1.safetensors is missing (3 of the 3 shards");
    store_file("m-1.safetensors", "a", NULL);
    assert_names(names, 1);
    says_of(
        "b",
        "m-2.safetensors is missing (2 of the 3 shards that model.safetensors.index.json names are); download the rest",
        "names 2 files that are missing (the first is m-2.safetensors); nothing of them is needed");
    says_of("c", "m-3.safetensors is missing (2 of the 3 shards", NULL);
    says_of("d", "m-2.safetensors is missing (2 of the 3 shards", NULL); /* perhaps it is there */
    free(present);
}

/* Copied out of a hub's cache without what its links lead to; or still on its way. */
static void a_missing_shard_says_why(void **state)
{
    (void)state;
    char *link = in_dir(dir, "m-1.safetensors"), *part = in_dir(dir, "m-2.safetensors.part");
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}"));
    assert_int_equal(symlink("../../blobs/0123", link), 0);
    refused(ZO2_ERR_NOTFOUND, "m-1.safetensors is a symbolic link to ../../blobs/0123, which isn't there");
    assert_int_equal(remove(link), 0);
    store_file("m-1.safetensors", "a", NULL);
    file_store(part, "x", 1);
    says_of("b", "m-2.safetensors isn't there yet: ", NULL);
    free(link);
    free(part);
}

/* As Hugging Face does it: tensors are where they are. */
static void the_map_may_be_wrong(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    store_file("m-1.safetensors", "a", NULL);
    store_file("m-2.safetensors", "b", NULL);
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-2.safetensors\"}"));
    assert_names(names, 2);
    says_of("c", "model.safetensors.index.json says that it is in m-2.safetensors, but it is in none of the files", "");
    says_of("d", "", "");
    store_index(INDEX("{\"a\":\"m-2.safetensors\",\"b\":\"m-2.safetensors\"}")); /* m-1 isn't opened */
    assert_names(names + 1, 1);
    says_of("a", "it is in m-1.safetensors, which model.safetensors.index.json doesn't name", "");
    store_index(INDEX("{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}"));
    assert_names(names, 2);
    says_of("d", "", "is out of date: 2 of its tensors (the first is a) lie in other files than it says");
    store_index("{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    assert_names(names, 2);
    store_index("{\"metadata\":null,\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    assert_names(names, 2);
    store_index(
        "{\"metadata\":{\"total_size\":\"x\"},\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    assert_names(names, 2);
}

/* Both are listed: who takes one of them compares. */
static void a_name_in_two_files_is_listed_twice(void **state)
{
    (void)state;
    zo2_safetensors *s;
    store_file("m-1.safetensors", "a", "c");
    store_file("m-2.safetensors", "c", "b");
    store_index(INDEX("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-2.safetensors\"}"));
    OK(zo2_safetensors_open(&s, dir));
    assert_int_equal(zo2_safetensors_count(s), 4);
    const zo2_st_tensor *first = zo2_safetensors_find(s, "c");
    assert_ptr_equal(first, zo2_safetensors_at(s, 1));
    assert_string_equal(zo2_safetensors_at(s, 2)->name, "c");
    assert_non_null(strstr(zo2_safetensors_file(s, first), "m-1.safetensors"));
    assert_non_null(strstr(zo2_safetensors_file(s, zo2_safetensors_at(s, 2)), "m-2.safetensors"));
    zo2_safetensors_close(s);
    says_of("d", "", ""); /* c is where the map says, too */
}

static void a_gap_in_a_series_is_named(void **state)
{
    (void)state;
    store_file("model-00001-of-00004.safetensors", "a", NULL);
    store_file("model-00003-of-00004.safetensors", "b", NULL);
    store_file("other-00001-of-00009.safetensors", "c", NULL);
    says_of(
        "d",
        "of the 4 files *-of-00004.safetensors there are only 2 (*-00002-of-00004.safetensors is the first that is missing)",
        "");
    store_file("model-00002-of-00004.safetensors", "d", NULL);
    store_file("model-00004-of-00004.safetensors", "e", NULL);
    store_file("-of-00009.safetensors", "f", NULL);
    store_file("x-00000-of-00003.safetensors", "g", NULL);
    store_file("y-00007-of-00003.safetensors", "h", NULL);
    says_of("z", "", "");
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
    refused(ZO2_ERR_FORMAT, "index.json is an empty file");
    store_index("version https://git-lfs.github.com/spec/v1\n");
    refused(ZO2_ERR_FORMAT, "index.json is a git-lfs pointer");
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
    says_of("d", "", "");
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
        T(a_missing_shard_says_why),
        T(the_map_may_be_wrong),
        T(a_name_in_two_files_is_listed_twice),
        T(a_gap_in_a_series_is_named),
        T(shard_names_that_are_no_plain_names_are_refused),
        T(a_broken_index_is_refused),
        T(without_an_index_every_file_is_taken),
        T(a_folder_without_safetensors_says_so),
        T(a_real_sharded_model_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
