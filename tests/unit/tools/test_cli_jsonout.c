/* The JSON writer: what it writes, jansson reads back the same. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/cli/jsonout.h"

static void test_text(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    cli_json j;
    cli_json_start(&j, out);
    cli_json_open(&j, NULL, '{');
    cli_json_u64(&j, "u", UINT64_MAX);
    cli_json_i64(&j, "i", INT64_MIN);
    cli_json_f64(&j, "f", 1e-6);
    cli_json_f64(&j, "nan", NAN);
    cli_json_open(&j, "list", '[');
    cli_json_close(&j, ']');
    cli_json_open(&j, "more", '[');
    cli_json_bool(&j, NULL, true);
    cli_json_null(&j, NULL);
    cli_json_open(&j, NULL, '{');
    cli_json_close(&j, '}');
    cli_json_close(&j, ']');
    cli_json_hash(&j, "hash", 0xABC);
    cli_json_text(&j, "none", NULL);
    cli_json_close(&j, '}');
    cli_json_end(&j);
    cli_json_open(&j, NULL, '[');
    cli_json_close(&j, ']');
    cli_json_end(&j);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "{\"u\": 18446744073709551615, \"i\": -9223372036854775808, \"f\": 1e-06, \"nan\": null, "
                              "\"list\": [], \"more\": [true, null, {}], \"hash\": \"0x0000000000000abc\", "
                              "\"none\": null}\n[]\n");
    free(text);
}

/* Writes {"k": s} and reads it back with jansson. */
static void round_trip(const char *s, const char *expected)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    cli_json j;
    cli_json_start(&j, out);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "k", s);
    cli_json_close(&j, '}');
    cli_json_end(&j);
    assert_int_equal(fclose(out), 0);
    assert_null(memchr(text, '\n', bytes - 1)); /* one line */
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "k")), expected);
    json_decref(o);
    free(text);
}

static void test_strings(void **state)
{
    (void)state;
    static const char *const same[] = {"",
                                       "plain",
                                       "\"quoted\" \\ /",
                                       "tab\t newline\n return\r bell\a",
                                       "\x7f\x01\x1f",
                                       "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        round_trip(same[i], same[i]);
    round_trip("bad \xFF\xC3 bytes", "bad ?? bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_strings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
