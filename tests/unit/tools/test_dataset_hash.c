/* test_dataset_hash.c: the hash of what was made of a data file: equal for equal batches, whatever the file looks like,
 * and known to the byte, because runs remember it. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/dataset.h"

#include <xxhash.h>

static zo2t_dataset_info load(const char *lines, zo2t_tokenizer *t, uint32_t seq)
{
    char path[64];
    zo2t_dataset *d;
    zo2t_dataset_info info;
    test_write(path, lines, strlen(lines));
    zo2_status s = zo2t_dataset_load(&d, path, t, &(zo2t_dataset_opts){seq, 4096, -1, NULL, 0, NULL, NULL});
    unlink(path);
    if (s)
        fail_msg("%s", zo2_last_error());
    zo2t_dataset_get_info(d, &info);
    zo2t_dataset_close(d);
    return info;
}

static uint64_t hash_of(const char *lines)
{
    return load(lines, NULL, 256).ids_hash;
}

/* Two examples of one row each. */
static void known(void **state)
{
    static const unsigned char bytes[] = {
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, /* tokens, rows, prompt, label */
        3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* the second one */
        5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* the end */
        1, 0, 0, 0, 1, 0, 0, 0,                                                 /* suffixes */
        7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 7, 0, 0, 0,             /* ids */
    };
    (void)state;
    assert_int_equal(hash_of("{\"tokens\": [7, 8, 9], \"loss_from\": 2}\n{\"tokens\": [256, 7]}\n"),
                     XXH3_64bits(bytes, sizeof bytes));
}

static void it_tells_what_matters(void **state)
{
    static const char base[] = "{\"tokens\": [7, 8, 9], \"loss_from\": 2}\n{\"tokens\": [6, 7]}\n";
    static const char *const others[] = {
        "{\"tokens\": [7, 8, 5], \"loss_from\": 2}\n{\"tokens\": [6, 7]}\n",
        "{\"tokens\": [7, 8, 9], \"loss_from\": 1}\n{\"tokens\": [6, 7]}\n",
        "{\"tokens\": [7, 8, 9, 6], \"loss_from\": 2}\n{\"tokens\": [6, 7]}\n",
        "{\"tokens\": [6, 7]}\n{\"tokens\": [7, 8, 9], \"loss_from\": 2}\n",
        "{\"tokens\": [7, 8, 9], \"loss_from\": 2}\n",
    };
    (void)state;
    assert_int_equal(
        hash_of(base),
        hash_of("\n{\"loss_from\":2,\"id\":1,\"tokens\":[7,8,9]}\r\n\n{\"tokens\": [6, 7], \"loss_from\": 1}"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_not_equal(hash_of(base), hash_of(others[i]));
}

/* Texts: the ids count, and the label. */
static void of_texts(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tiny_tokenizer();
    zo2t_ids ids = {0};
    char tokens[512];
    int n = 0;
    assert_int_equal(zo2t_encode(t, "In the beginning", 16, -1, &ids), ZO2_OK);
    for (size_t i = 0; i < ids.n; i++)
        n += sprintf(tokens + n, "%s%d", i ? ", " : "{\"tokens\": [", (int)ids.id[i]);
    sprintf(tokens + n, "]}");
    zo2t_ids_free(&ids);
    assert_int_equal(load("{\"text\": \"In the beginning\"}", t, 256).ids_hash, hash_of(tokens));
    assert_int_not_equal(load("{\"prompt\": \"It is\", \"options\": [\" a\", \" b\"], \"label\": 0}", t, 256).ids_hash,
                         load("{\"prompt\": \"It is\", \"options\": [\" a\", \" b\"], \"label\": 1}", t, 256).ids_hash);
    assert_int_not_equal(load("{\"text\": \"In the beginning\"}", t, 256).ids_hash,
                         load("{\"text\": \"In the beginning\"}", t, 2).ids_hash);
    zo2t_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known),
        cmocka_unit_test(it_tells_what_matters),
        cmocka_unit_test(of_texts),
    };
    return cmocka_run_group_tests_name("dataset_hash", tests, NULL, NULL);
}
