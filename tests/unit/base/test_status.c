/* test_status.c: status texts and the last error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/zo2.h"

#include <string.h>

static const zo2_status all[] = {
#define X(name, value, text) ZO2_##name,
    ZO2_STATUS_MAP(X)
#undef X
};

static void every_status_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_true(*zo2_strerror(all[i]));
        assert_string_not_equal(zo2_strerror(all[i]), "unknown status");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(zo2_strerror(all[i]), zo2_strerror(all[k]));
    }
    assert_string_equal(zo2_strerror((zo2_status)12345), "unknown status");
}

static void the_last_error_is_kept_and_may_be_quoted(void **state)
{
    (void)state;
    assert_int_equal(zo2_error(ZO2_ERR_FORMAT, "inner %d", 7), ZO2_ERR_FORMAT);
    assert_int_equal(zo2_error(ZO2_ERR_IO, "outer: %s", zo2_last_error()), ZO2_ERR_IO);
    assert_string_equal(zo2_last_error(), "outer: inner 7");
    zo2_error(ZO2_OK, "%s", "");
    assert_string_equal(zo2_last_error(), "");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    zo2_error(ZO2_ERR_IO, "%s", text);
    assert_int_equal(strlen(zo2_last_error()), 1023);
}

/* Names from files end up in messages, and messages on terminals and in logs. */
static void control_characters_do_not_get_through(void **state)
{
    (void)state;
    zo2_error(ZO2_ERR_FORMAT, "tensor %s", "\x1b[31m\n\r\t\x7f\x01 \xC3\xA9");
    assert_string_equal(zo2_last_error(), "tensor ?[31m????? \xC3\xA9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_text_of_its_own),
        cmocka_unit_test(the_last_error_is_kept_and_may_be_quoted),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(control_characters_do_not_get_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
