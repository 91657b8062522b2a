/* test_cli_tune_text.c: choices of tensors as people read them: short ones as they are, rows counted, nothing longer than its buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/cli/tune_text.h"

#define LIST "1,3,5,7,9,11,13,15,17,19,21,23,100-122" /* 35 rows */

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *tune;
        bool answers;
        const char *want;
    } cases[] = {
        {NULL, false, "all"},
        {"all", true, "all"},
        {"matrices=4-5", false, "matrices=4-5"},
        {"rows=12,98-103", false, "rows=12,98-103"},
        {"rows=12,98-103", true, "rows=answers (7 rows)"},
        {"rows=7", true, "rows=answers (1 row)"},
        {"rows=" LIST, false, "rows=(35 rows)"},
        {"rows=1000-99999,100001-100002,100005-100007", false, "rows=(99,005 rows)"},
        {"matrices=4-5+rows=" LIST "+vectors", false, "matrices=4-5+rows=(35 rows)+vectors"},
        {"matrices=4-5+rows=" LIST "+vectors", true, "matrices=4-5+rows=answers (35 rows)+vectors"},
        {"lora:r=8,alpha=16,targets=q_proj+v_proj,layers=4-5+vectors", false,
         "lora:r=8,alpha=16,targets=q_proj+v_proj,layers=4-5+vectors"},
        {"match=*rows=" LIST, false, "match=*rows=" LIST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[CLI_TUNE_BYTES];
        memset(out, 0x5A, sizeof out);
        assert_string_equal(cli_tune_text(out, cases[i].tune, cases[i].answers), cases[i].want);
    }
}

static void long_ones_are_cut(void **state)
{
    (void)state;
    struct {
        char out[CLI_TUNE_BYTES], behind[16];
    } m;
    for (size_t n = 1; n < 3 * CLI_TUNE_BYTES; n++)
        for (int joined = 0; joined <= 1; joined++) {
            char text[3 * CLI_TUNE_BYTES + 1];
            memset(text, 'm', n);
            for (size_t i = 7; joined && i < n; i += 8)
                text[i] = '+';
            text[n] = '\0';
            memset(&m, 0x5A, sizeof m);
            cli_tune_text(m.out, text, false);
            assert_int_equal(m.behind[0], 0x5A);
            const size_t have = strlen(m.out);
            if (n + 1 < CLI_TUNE_BYTES) {
                assert_string_equal(m.out, text);
            } else {
                assert_int_equal(have, CLI_TUNE_BYTES - 1);
                assert_string_equal(m.out + have - 3, "...");
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(long_ones_are_cut),
    };
    return cmocka_run_group_tests_name("choices as text", tests, NULL, NULL);
}
