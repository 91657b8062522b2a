/* test_json_edit.c: a member of a JSON text set, every other byte as it was. */
#include "engine/base/json.h"
#include "engine/export/json_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, const char *key, const char *value, const char *expected)
{
    size_t n = strlen(text);
    char *exact = malloc(n ? n : 1); /* nothing behind it, so that sanitizers see what is read there */
    assert_non_null(exact);
    memcpy(exact, text, n);
    char *out = zo2_json_edit(exact, n, key, value);
    assert_non_null(out);
    assert_string_equal(out, expected);
    free(out);
    free(exact);
}

static void a_value_is_replaced(void **state)
{
    (void)state;
    check("{\"a\": 1}", "a", "22", "{\"a\": 22}");
    check("{\"a\":1,\"b\":2}", "a", "\"x\"", "{\"a\":\"x\",\"b\":2}");
    check("{\"a\":1,\"b\":2}", "b", "null", "{\"a\":1,\"b\":null}");
    check(" {\n  \"a\" :\t[1, {\"b\": \"]}\\\"\"}] ,\n  \"b\": -1.50e+3\n}\n", "a", "[]",
          " {\n  \"a\" :\t[] ,\n  \"b\": -1.50e+3\n}\n");
    check(" {\n  \"a\" :\t[1, {\"b\": \"]}\\\"\"}] ,\n  \"b\": -1.50e+3\n}\n", "b", "[]",
          " {\n  \"a\" :\t[1, {\"b\": \"]}\\\"\"}] ,\n  \"b\": []\n}\n");
    check("{\"a\": {\"b\": 1}, \"b\": true}", "b", "2", "{\"a\": {\"b\": 1}, \"b\": 2}"); /* the outermost one */
    check("{\"x\": \"\\\\\", \"b\": \"\\\"b\\\": 1\"}", "b", "2", "{\"x\": \"\\\\\", \"b\": 2}");
    check("{\"\\u0061b\": 1, \"z\": 2}", "ab", "3", "{\"\\u0061b\": 3, \"z\": 2}"); /* a key written with escapes */
}

static void a_member_is_appended(void **state)
{
    (void)state;
    check("{}", "a", "1", "{\"a\": 1}");
    check("{ }", "a", "1", "{\"a\": 1 }");
    check("{\"b\":2}", "a", "1", "{\"b\":2,\"a\": 1}");
    check("{\n  \"b\": 2,\n  \"c\": [\n    3\n  ]\n}\n", "a", "1",
          "{\n  \"b\": 2,\n  \"c\": [\n    3\n  ],\n  \"a\": 1\n}\n");
    check("{\"b\": {\"a\": 2}}", "a", "1", "{\"b\": {\"a\": 2},\"a\": 1}");
}

/* What no type here holds, and layout that nobody else would choose, stay to the letter. */
static void everything_else_stays(void **state)
{
    (void)state;
    check(
        "{\"n\":1000000000000000019884624838656 ,\"eps\":0.10,\"big\":1e999,\"nan\":NaN,\"a\":\"\\u00e9\\/\"}", "n2",
        "0",
        "{\"n\":1000000000000000019884624838656 ,\"eps\":0.10,\"big\":1e999,\"nan\":NaN,\"a\":\"\\u00e9\\/\",\"n2\": 0}");
    check("{\"n\":1000000000000000019884624838656 ,\"eps\":0.10,\"big\":-Infinity,\"nan\":NaN}", "eps", "1",
          "{\"n\":1000000000000000019884624838656 ,\"eps\":1,\"big\":-Infinity,\"nan\":NaN}");
}

/* It asks for well-formed text, but reads and writes nothing outside of whatever it gets. */
static void damage_is_survived(void **state)
{
    static const char text[] = "{\"a\": [1, {\"b\": \"x\\\"\"}], \"c\": -1.5, \"d\": {\"e\": null}, \"f\": \"\\\\\"}";
    (void)state;
    for (size_t n = 0; n < sizeof text; n++)
        for (int key = 0; key < 4; key++) {
            static const char *const keys[] = {"a", "d", "f", "none"};
            char *cut = malloc(n ? n : 1);
            assert_non_null(cut);
            memcpy(cut, text, n);
            char *out = zo2_json_edit(cut, n, keys[key], "7");
            assert_non_null(out);
            json_error_t e;
            json_t *before = zo2_json_parse(text, n, 0, &e), *after = zo2_json_parse(out, strlen(out), 0, &e);
            assert_true(!before || json_integer_value(json_object_get(after, keys[key])) == 7);
            json_decref(before);
            json_decref(after);
            free(out);
            free(cut);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_replaced),
        cmocka_unit_test(a_member_is_appended),
        cmocka_unit_test(everything_else_stays),
        cmocka_unit_test(damage_is_survived),
    };
    return cmocka_run_group_tests_name("json_edit", tests, NULL, NULL);
}
