/* Numbers, sizes and times of command lines: what is read, what is refused, and the way back. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/cli/numbers.h"

static void test_u64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0}, {"7", 7}, {"007", 7}, {"20000", 20000}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",
                                      " ",
                                      "1 ",
                                      " 1",
                                      "+1",
                                      "-1",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "1,0",
                                      "x",
                                      "1x",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 99;
        assert_true(cli_parse_u64(good[i].text, &v));
        assert_int_equal(v, good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 99;
        assert_false(cli_parse_u64(bad[i], &v));
        assert_int_equal(v, 99);
    }
}

static void test_double(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},        {"1e-6", 1e-6}, {"1.5", 1.5}, {".5", .5},   {"5.", 5},
                {"-2e+3", -2e3}, {"1E3", 1000},  {"+1", 1},    {"1e-400", 0}};
    static const char *const bad[] = {"",     ".",  "e3", "1e",  "1e+", "nan",  "inf", "infinity",
                                      "0x10", "1 ", " 1", "1,5", "--1", "1e3x", "-",   "1e999"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double v = 99;
        assert_true(cli_parse_double(good[i].text, &v));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double v = 99;
        assert_false(cli_parse_double(bad[i], &v));
        assert_true(v == 99);
    }
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"1K", 1024},
                {"64k", 65536},
                {"512M", UINT64_C(512) << 20},
                {"18G", UINT64_C(18) << 30},
                {"2T", UINT64_C(2) << 40},
                {"1.5G", UINT64_C(3) << 29},
                {"1.5GiB", UINT64_C(3) << 29},
                {".5K", 512},
                {"0.1K", 102},
                {"2.K", 2048},
                {"0.000001M", 1},
                {"18446744073709551615", UINT64_MAX},
                {"16777215T", UINT64_C(16777215) << 40}};
    static const char *const bad[] = {"",
                                      "G",
                                      "1.5",
                                      "-1",
                                      "1X",
                                      "1GB",
                                      "1Gi",
                                      "1 G",
                                      "1GG",
                                      "1K2",
                                      "1.2.3G",
                                      ".G",
                                      "0x10",
                                      "1e3",
                                      "16777216T",
                                      "nan",
                                      "1,5G",
                                      "18446744073709551616",
                                      "99999999999999999999999G",
                                      "1.0000001G"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 99;
        assert_true(cli_parse_size(good[i].text, &v));
        assert_int_equal(v, good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 99;
        assert_false(cli_parse_size(bad[i], &v));
        assert_int_equal(v, 99);
    }
}

static void test_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0}, {"90", 90}, {"90s", 90}, {"30m", 1800}, {"2h", 7200}, {"1.5h", 5400}, {"1d", 86400}};
    static const char *const bad[] = {"", "m", "-1", "1w", "1mm", "1h30", "1e3", "nan", "5y", " 1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double v = 99;
        assert_true(cli_parse_time(good[i].text, &v));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double v = 99;
        assert_false(cli_parse_time(bad[i], &v));
        assert_true(v == 99);
    }
}

static void test_human(void **state)
{
    (void)state;
    char out[CLI_TEXT_BYTES];
    assert_string_equal(cli_human_size(out, 0), "0 bytes");
    assert_string_equal(cli_human_size(out, 1), "1 byte");
    assert_string_equal(cli_human_size(out, 1023), "1023 bytes");
    assert_string_equal(cli_human_size(out, 1024), "1.00 KiB");
    assert_string_equal(cli_human_size(out, (UINT64_C(1) << 30) - 1), "1.00 GiB"); /* not 1024.00 MiB */
    assert_string_equal(cli_human_size(out, UINT64_MAX), "16.00 EiB");
    assert_string_equal(cli_human_time(out, 0.0016), "1.6 ms");
    assert_string_equal(cli_human_time(out, 0.25), "0.25 s");
    assert_string_equal(cli_human_time(out, 59.4), "59 s");
    assert_string_equal(cli_human_time(out, 59.6), "1 min 00 s");
    assert_string_equal(cli_human_time(out, 3599.6), "1 h 00 min");
    assert_string_equal(cli_human_time(out, 200), "3 min 20 s");
    assert_string_equal(cli_human_time(out, 49 * 3600), "2 days 1 h");
    assert_string_equal(cli_human_time(out, NAN), "?");
    assert_string_equal(cli_human_time(out, INFINITY), "?");
    assert_string_equal(cli_human_time(out, -1), "?");
    assert_string_equal(cli_human_count(out, 0), "0");
    assert_string_equal(cli_human_count(out, 999), "999");
    assert_string_equal(cli_human_count(out, 1000), "1,000");
    assert_string_equal(cli_human_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void test_double_text(void **state)
{
    (void)state;
    char out[CLI_TEXT_BYTES];
    assert_string_equal(cli_double_text(out, 1e-6), "1e-06");
    assert_string_equal(cli_double_text(out, 0.1), "0.1");
    assert_string_equal(cli_double_text(out, 60), "60");
    assert_string_equal(cli_double_text(out, NAN), "null");
    assert_string_equal(cli_double_text(out, -INFINITY), "null");
    /* every bit survives: a walk over the bit patterns of doubles */
    uint64_t bits = UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < 20000; i++) {
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        assert_true(cli_parse_double(cli_double_text(out, v), &back));
        assert_memory_equal(&v, &back, sizeof v);
    }
}

/* A locale with a decimal comma, if the machine has one, changes nothing. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8"};
    const char *set = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !set; i++)
        set = setlocale(LC_ALL, names[i]);
    if (!set)
        skip();
    char out[CLI_TEXT_BYTES];
    double v = 0;
    assert_true(cli_parse_double("1.5", &v));
    assert_true(v == 1.5);
    assert_false(cli_parse_double("1,5", &v));
    assert_true(cli_parse_time("1.5h", &v));
    assert_true(v == 5400);
    assert_string_equal(cli_double_text(out, 0.25), "0.25");
    setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_u64),    cmocka_unit_test(test_double), cmocka_unit_test(test_size),
        cmocka_unit_test(test_time),   cmocka_unit_test(test_human),  cmocka_unit_test(test_double_text),
        cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
