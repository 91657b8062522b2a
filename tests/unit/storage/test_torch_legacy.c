/* test_torch_legacy.c: the pickles around the state in files of torch before 1.6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/torch_state_testing.h"

/* ---- before torch 1.6 ---------------------------------------------------------------------------------------------- */

#define MAGIC   OP_PROTO "\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION OP_PROTO "\2M\xe9\3."

#define SYSTEM(version, little) \
    OP_PROTO "\2}(U\x10protocol_version" version "U\x0dlittle_endian" little "U\x0atype_sizes}u."

static void header(zo2_status status, const char *says, const char *magic, const char *version, const char *system)
{
    size_t used;
    p.n = 0;
    pk_ops(&p, magic);
    pk_ops(&p, version);
    pk_ops(&p, system);
    const size_t n = p.n;
    pk_ops(&p, "more");
    assert_int_equal(zo2_torch_is_legacy(p.b, p.n), strcmp(magic, MAGIC) == 0);
    assert_int_equal(zo2_torch_legacy_header(p.b, p.n, &used, "FILE"), status);
    assert_int_equal(used, status == ZO2_OK ? n : 0);
    if (status != ZO2_OK)
        SAYS(says);
}

static void headers_of_older_files(void **state)
{
    (void)state;
    const char *system = SYSTEM("M\xe9\3", OP_TRUE);
    header(ZO2_OK, NULL, MAGIC, VERSION, system);
    header(ZO2_ERR_FORMAT, "doesn't begin with torch's magic number", VERSION, VERSION, system);
    header(ZO2_ERR_FORMAT, "protocol 2 or later", "", "x", system);
    header(ZO2_ERR_UNSUPPORTED, "its second pickle isn't the version 1001", MAGIC, OP_PROTO "\2M\xea\3.", system);
    header(ZO2_ERR_UNSUPPORTED, "its second pickle", MAGIC, OP_PROTO "\2N.", system);
    header(ZO2_ERR_UNSUPPORTED, "isn't 1001", MAGIC, VERSION, SYSTEM("M\xea\3", OP_TRUE));
    header(ZO2_ERR_UNSUPPORTED, "saved on a big-endian machine", MAGIC, VERSION, SYSTEM("M\xe9\3", OP_FALSE));
    header(ZO2_ERR_FORMAT, "nothing of the byte order", MAGIC, VERSION, SYSTEM("M\xe9\3", "N"));
    header(ZO2_ERR_FORMAT, "nothing of the system", MAGIC, VERSION, OP_PROTO "\2].");
    header(ZO2_ERR_FORMAT, "doesn't begin with a pickle", MAGIC, VERSION, "");
}

/* torch.save(pickle_protocol=4) of that time. */
static void older_files_of_later_protocols(void **state)
{
    (void)state;
    p.n = 0;
    pk_ops(&p, OP_PROTO "\4\x95\x0d");
    pk_number(&p, 0, 7);
    pk_ops(&p, "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    assert_true(zo2_torch_is_legacy(p.b, p.n));
    for (size_t n = 0; n < p.n; n++)
        assert_false(zo2_torch_is_legacy(p.b, n));
}

static void key_list(zo2_status status, const char *says, const char *ops, uint64_t n_keys)
{
    char **keys;
    uint64_t n;
    size_t used;
    pk_begin(&p);
    pk_ops(&p, ops);
    assert_int_equal(zo2_torch_legacy_keys(&keys, &n, p.b, p.n, &used, "FILE"), status);
    assert_int_equal(n, n_keys);
    assert_int_equal(used, status == ZO2_OK ? p.n : 0);
    if (status != ZO2_OK) {
        assert_null(keys);
        SAYS(says);
    }
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(strlen(keys[i]), i + 1);
    zo2_torch_legacy_keys_free(keys, n);
}

static void keys_of_older_files(void **state)
{
    (void)state;
    key_list(ZO2_OK, NULL, "].", 0);
    key_list(ZO2_OK, NULL, "](U\1aU\2bcU\3aaae.", 3);
    key_list(ZO2_ERR_FORMAT, "there is no list", "}.", 0);
    key_list(ZO2_ERR_FORMAT, "there is no list", "N.", 0);
    key_list(ZO2_ERR_FORMAT, "there is no list", "K\1.", 0);
    key_list(ZO2_ERR_FORMAT, "key 1 of its list is no text", "](U\1aK\1e.", 0);
    key_list(ZO2_ERR_FORMAT, "key 0 of its list is no text",
             "]U\1\xff"
             "a.",
             0);
    key_list(ZO2_ERR_FORMAT, "key ab is in its list twice", "](U\2abU\1xU\2abe.", 0);
    key_list(ZO2_ERR_FORMAT, "truncated", "](U\2abU\1x", 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(headers_of_older_files),
        T(older_files_of_later_protocols),
        T(keys_of_older_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
