/* The option parser: syntax, every kind of value, what it refuses. Its messages are tested by tests/cli. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/cli/args.h"

typedef struct values {
    cli_value flag, text, count, size, room, time, real, above0, choice;
    cli_list texts;
} values;

static const cli_option options[] = {
    {"flag", NULL, CLI_FLAG, offsetof(values, flag), "a flag", 0, 0},
    {"text", "T", CLI_TEXT, offsetof(values, text), "a text", 0, 0},
    {"count", "N", CLI_COUNT, offsetof(values, count), "a count", 2, 10},
    {"size", "SIZE", CLI_SIZE, offsetof(values, size), "a size", 1, 0},
    {"room", "SIZE|off", CLI_SIZE, offsetof(values, room), "a size, or none", 1, 0},
    {"time", "TIME", CLI_TIME, offsetof(values, time), "a time", 0, 0},
    {"real", "F", CLI_REAL, offsetof(values, real), "a number", 0, 0},
    {"above0", "F", CLI_ABOVE0, offsetof(values, above0), "a number", 0, 0},
    {"choice", "one|two|twenty", CLI_CHOICE, offsetof(values, choice), "a choice", 0, 0},
    {"texts", "T", CLI_TEXTS, offsetof(values, texts), "texts", 0, 0},
    {0},
};

enum { MAX_ARGS = 2 * CLI_MOST_TEXTS };

/* Parses the arguments up to NULL; usage errors and help go nowhere. Returns -1 for "go on", else the exit status. */
static int parse(values *v, const char *first[2], const char *const *args)
{
    char *argv[MAX_ARGS + 1] = {(char *)"tool"};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = (char *)args[argc - 1];
    const cli_positional positionals[] = {{"FILE", "a file", &first[0], false}, {"MORE", "more", &first[1], true}, {0}};
    const cli_group groups[] = {{"Options", options, v}, {0}};
    const cli_command command = {"tool", "A test.", positionals, groups, NULL};
    int status = 99;
    memset(v, 0, sizeof *v);
    first[0] = first[1] = "poison";

    fflush(stdout);
    fflush(stderr);
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    FILE *nowhere = fopen("/dev/null", "w");
    assert_non_null(nowhere);
    dup2(fileno(nowhere), STDOUT_FILENO);
    dup2(fileno(nowhere), STDERR_FILENO);
    bool go_on = cli_parse(&command, argc, argv, &status);
    fflush(stdout);
    fflush(stderr);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    fclose(nowhere);
    if (go_on)
        assert_int_equal(status, CLI_EXIT_OK);
    return go_on ? -1 : status;
}

#define PARSE(...) parse(&v, first, (const char *const[]){__VA_ARGS__, NULL})

static void test_positionals(void **state)
{
    (void)state;
    values v;
    const char *first[2];
    assert_int_equal(PARSE("file"), -1);
    assert_string_equal(first[0], "file");
    assert_null(first[1]);
    assert_int_equal(PARSE("file", "more"), -1);
    assert_string_equal(first[1], "more");
    assert_int_equal(PARSE("file", "more", "most"), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("--flag"), CLI_EXIT_USAGE); /* FILE is missing */
    assert_int_equal(PARSE("--", "--flag"), -1);
    assert_string_equal(first[0], "--flag");
    assert_false(v.flag.given);
    assert_int_equal(PARSE("-"), -1);            /* a lone dash is a name */
    assert_int_equal(PARSE(""), CLI_EXIT_USAGE); /* FILE is empty: a variable that was not set */
    assert_int_equal(PARSE("file", ""), -1);     /* an optional text may be */
    assert_string_equal(first[1], "");
    assert_int_equal(PARSE("-x"), CLI_EXIT_USAGE);
}

static void test_values(void **state)
{
    (void)state;
    values v;
    const char *first[2];
    assert_int_equal(PARSE("--flag", "file", "--text", "--flag", "--count=3", "--size", "1.5K", "--time=2m", "--real",
                           "0", "--choice"),
                     CLI_EXIT_USAGE);
    assert_int_equal(
        PARSE("--flag", "file", "--text", "--flag", "--count=3", "--size", "1.5K", "--time=2m", "--real=0"), -1);
    assert_true(v.flag.given && v.text.given && v.count.given && v.size.given && v.time.given && v.real.given);
    assert_false(v.choice.given || v.above0.given || v.texts.v.given);
    assert_string_equal(v.text.text, "--flag");
    assert_int_equal(v.count.u, 3);
    assert_int_equal(v.size.u, 1536);
    assert_true(v.time.f == 120);
    assert_true(v.real.f == 0);
    assert_int_equal(PARSE("f", "--room", "off"), -1);
    assert_true(v.room.given && v.room.u == 0);
    assert_int_equal(PARSE("f", "--room", "2K"), -1);
    assert_int_equal(v.room.u, 2048);
    assert_int_equal(PARSE("f", "--room", "0"), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("f", "--room", "of"), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("f", "--size", "off"), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("f", "--choice", "two"), -1);
    assert_string_equal(v.choice.text, "two");
    assert_int_equal(PARSE("f", "--text="), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("f", "--text", ""), CLI_EXIT_USAGE);
    assert_int_equal(PARSE("f", "--text=a=b"), -1);
    assert_string_equal(v.text.text, "a=b");
    assert_int_equal(PARSE("f", "--count", "3", "--count", "4"), -1); /* the last one counts */
    assert_int_equal(v.count.u, 4);
}

static void test_lists(void **state)
{
    (void)state;
    values v;
    const char *first[2], *args[2 * CLI_MOST_TEXTS];
    assert_int_equal(PARSE("f", "--texts", "a", "--text", "b", "--texts=c"), -1);
    assert_int_equal(v.texts.n, 2);
    assert_string_equal(v.texts.texts[0], "a");
    assert_string_equal(v.texts.texts[1], "c");
    assert_true(v.texts.v.given);
    assert_string_equal(v.texts.v.text, "c");
    size_t n = 0;
    args[n++] = "f";
    while (n <= CLI_MOST_TEXTS)
        args[n++] = "--texts=x";
    args[n] = NULL;
    assert_int_equal(parse(&v, first, args), -1);
    assert_int_equal(v.texts.n, CLI_MOST_TEXTS);
    args[n++] = "--texts=one too many";
    args[n] = NULL;
    assert_int_equal(parse(&v, first, args), CLI_EXIT_USAGE);
}

static void test_refused(void **state)
{
    (void)state;
    values v;
    const char *first[2];
    static const char *const bad[] = {
        "--nope",
        "--fla",
        "--flagg",
        "--flag=1",
        "--count",
        "--count=",
        "--count=1",
        "--count=11",
        "--count=x",
        "--count=2.5",
        "--size=0",
        "--size=1X",
        "--time=1w",
        "--real=-1",
        "--real=nan",
        "--real=1e99999",
        "--above0=0",
        "--above0=-1",
        "--choice=three",
        "--choice=tw",
        "--choice=two|twenty",
        "--choice=",
        "--texts",
        "--texts=",
        "--=",
        "--=x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(PARSE("file", bad[i]), CLI_EXIT_USAGE);
}

static void test_help(void **state)
{
    (void)state;
    values v;
    const char *first[2];
    assert_int_equal(PARSE("--help"), CLI_EXIT_OK);
    assert_int_equal(PARSE("--version"), CLI_EXIT_OK);
    assert_int_equal(PARSE("a", "b", "c", "--nope", "--help"), CLI_EXIT_OK);
    assert_int_equal(PARSE("--", "--help"), -1);
    assert_string_equal(first[0], "--help");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positionals), cmocka_unit_test(test_values), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
