/* test_json.c: numbers beyond jansson's types cost their precision only; everything else is as jansson has it. Values are those of
 * Python's json module, to the digits that json.h promises. */
#include "engine/base/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    json_error_t e;
    json_t *root = zo2_json_parse(text, strlen(text), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!root)
        fail_msg("%s: %s", text, e.text);
    return root;
}

static void check_real(const char *text, double expected)
{
    json_t *v = parse(text);
    assert_true(json_is_real(v));
    double is = json_real_value(v);
    if (fabs(is - expected) > 1e-14 * fabs(expected))
        fail_msg("%s became %.17g, not %.17g", text, is, expected);
    json_decref(v);
}

static void check_integer(const char *text, json_int_t expected)
{
    json_t *v = parse(text);
    assert_true(json_is_integer(v));
    assert_true(json_integer_value(v) == expected);
    json_decref(v);
}

static void integers(void **state)
{
    (void)state;
    char digits[401];
    check_integer("9223372036854775807", INT64_MAX);
    check_integer("-9223372036854775807", -INT64_MAX);
    check_integer(" 0 ", 0);
    check_real("9223372036854775808", 9223372036854775808.0);
    check_real("-9223372036854775809", -9223372036854775809.0);
    check_real("18446744073709551615", 18446744073709551615.0);
    check_real("1000000000000000019884624838656", 1000000000000000019884624838656.0);
    check_real("-1000000000000000019884624838656", -1000000000000000019884624838656.0);
    for (size_t n = 20; n <= 400; n++) { /* to the edge of double and beyond */
        memset(digits, '9', n);
        digits[n] = '\0';
        check_real(digits, n > 308 ? 1e308 : pow(10, (double)n));
    }
}

static void reals(void **state)
{
    (void)state;
    check_real("1e400", 1e308);
    check_real("-1e400", -1e308);
    check_real("1E+999999999999999999999", 1e308);
    check_real("0.0001e400", 1e308);
    check_real("123456.789e304", 1e308);
    /* nothing is wrong with these, whatever stands beside them */
    json_t *v = parse("[1e999, 1.5e307, 0.1, 1e-400, 0e999, 0.0e999, 1e-999999999999999999999, 3, \"1e999\"]");
    assert_true(json_real_value(json_array_get(v, 0)) == 1e308);
    assert_true(json_real_value(json_array_get(v, 1)) == 1.5e307);
    assert_true(json_real_value(json_array_get(v, 2)) == 0.1);
    assert_true(json_real_value(json_array_get(v, 3)) == 0);
    assert_true(json_real_value(json_array_get(v, 4)) == 0);
    assert_true(json_real_value(json_array_get(v, 5)) == 0);
    assert_true(json_real_value(json_array_get(v, 6)) == 0);
    assert_true(json_integer_value(json_array_get(v, 7)) == 3);
    assert_string_equal(json_string_value(json_array_get(v, 8)), "1e999");
    json_decref(v);
}

static void words(void **state)
{
    (void)state;
    json_t *v = parse("{\"a\":NaN,\"b\":[Infinity,-Infinity,NaN,NaN],\"NaN\":\"-Infinity \\\" NaN\"}");
    assert_true(json_is_null(json_object_get(v, "a")));
    assert_int_equal(json_array_size(json_object_get(v, "b")), 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(json_is_null(json_array_get(json_object_get(v, "b"), i)));
    assert_string_equal(json_string_value(json_object_get(v, "NaN")), "-Infinity \" NaN");
    json_decref(v);
}

/* What was wrong before is wrong still, and the message still says where. */
static void errors(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[1e]",
        "[-]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "NaN1",
        "[nan]",
        "\"\\",
        "[1 2",
        "[1e999",
        "--1e9",
        "[1,]2",
        "{\"a\":1e999,",
        "\"a\\q",
        "[-99999999999999999999",
        "[\"\xff\", 1e999]",
        "Infinit",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_error_t e;
        json_t *v = zo2_json_parse(bad[i], strlen(bad[i]), JSON_DECODE_ANY, &e);
        if (v)
            fail_msg("%s was taken", bad[i]);
        assert_true(e.text[0] != '\0');
    }
    const char *text = "{\"a\": 1e999,\n \"b\": 100000000000000000000000000,\n \"c\": x}";
    json_error_t e;
    assert_null(zo2_json_parse(text, strlen(text), 0, &e));
    assert_int_equal(e.line, 3);
    assert_int_equal(e.column, 7);
    static const char *const nul[] = {"{\"a\": true\0, \"b\":\n1e999}", "{\"a\": \n1\0, \"b\": 2222222}"};
    for (int i = 0; i < 2; i++) {
        assert_null(zo2_json_parse(nul[i], 24, 0, &e));
        assert_int_equal(e.line, 1 + i);
        assert_int_equal(e.column, i ? 2 : 11);
        assert_non_null(strstr(e.text, "a byte 0"));
        assert_int_equal(json_error_code(&e), json_error_invalid_syntax);
    }
    text = "{\"a\": 1e999, \"a\": 2}";
    assert_null(zo2_json_parse(text, strlen(text), JSON_REJECT_DUPLICATES, &e));
    assert_int_equal(json_error_code(&e), json_error_duplicate_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(reals),
        cmocka_unit_test(words),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
