/* The list of wires (codec/wires.h) against the enumeration of the public header, which is written by hand because its numbers
 * are stored in files, and what is made from the list: names, and the tools' choices. */
#include "tests/unit/codec/codec_test.h"

#include "tools/cli/args_help.h"
#include "tools/cli/engine_flags.h"

/* The enumerators of engine/zo2.h in its order, each with its number as written, are the rows of the list. */
static void list_and_enumeration_agree(void **state)
{
    (void)state;
#define ENUMERATOR(wire, number, ...) {#wire, #number},
    static const char *const rows[][2] = {ZO2_WIRE_MAP(ENUMERATOR)};
    char line[512];
    size_t n = 0, inside = 0;
    FILE *f = fopen(ZO2_TEST_DATA "/../../engine/zo2.h", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char name[64], number[16];
        if (!strcmp(line, "typedef enum zo2_wire {\n"))
            inside = 1;
        else if (line[0] == '}')
            inside = 0;
        else if (inside) {
            assert_int_equal(sscanf(line, " %63[A-Z0-9_] = %15[0-9],", name, number), 2);
            if (n == TEST_WIRES)
                fail_msg("%s is not in codec/wires.h", name);
            assert_string_equal(name, rows[n][0]);
            assert_string_equal(number, rows[n][1]);
            n++;
        }
    }
    fclose(f);
    assert_int_equal(n, TEST_WIRES);
}

/* Who walks them (tools, tests) begins at 1 and ends at the first number without a name. */
static void numbers_have_no_gaps(void **state)
{
    (void)state;
    for (int i = 0; i < TEST_WIRES; i++) {
        assert_int_equal(test_wires[i].number, i + 1);
        assert_int_equal(test_wires[i].wire, i + 1);
    }
}

static void names(void **state)
{
    (void)state;
    static const char *const stored[] = {"bf16", "fp32", "fp8-e4m3", "fp8-e5m2", "fp16",
                                         "f10",  "f8",   "f6",       "bf12",     "i4"}; /* in scripts: they stay */
    static const char *const wrong[] = {"", "auto", "FP32", "bf16 ", "fp8", "fp8-e5m3", NULL};
    for (int i = 0; i < (int)(sizeof stored / sizeof *stored); i++)
        assert_string_equal(test_wires[i].text, stored[i]);
    for (int i = 0; i < TEST_WIRES; i++) {
        assert_string_equal(zo2_wire_name(test_wires[i].wire), test_wires[i].text);
        assert_int_equal(zo2_wire_parse(test_wires[i].text), test_wires[i].wire);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(zo2_wire_parse(wrong[i]), 0);
    assert_null(zo2_wire_name((zo2_wire)0));
    assert_null(zo2_wire_name((zo2_wire)-1));
    assert_null(zo2_wire_name((zo2_wire)(TEST_WIRES + 1)));
}

/* All of them, in the order of their numbers. */
static void tools_offer_them(void **state)
{
    (void)state;
    char want[CLI_PLACEHOLDER_BYTES] = "", made[CLI_PLACEHOLDER_BYTES];
    for (int i = 0; i < TEST_WIRES; i++) {
        assert_true(strlen(want) + strlen(test_wires[i].text) + 2 < sizeof want);
        strcat(strcat(want, i ? "|" : ""), test_wires[i].text);
    }
    const cli_option *o = cli_compute_options;
    while (strcmp(o->name, "wire") != 0)
        o++;
    assert_int_equal(o->kind, CLI_WIRE);
    assert_string_equal(cli_placeholder(o, made), want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_and_enumeration_agree),
        cmocka_unit_test(numbers_have_no_gaps),
        cmocka_unit_test(names),
        cmocka_unit_test(tools_offer_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
