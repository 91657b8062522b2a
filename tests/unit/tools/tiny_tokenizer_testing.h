/* tiny_tokenizer_testing.h: setup() and teardown() of programs whose tests all use the tiny model's tokenizer. */
#ifndef ZO2_TESTS_UNIT_TOOLS_TINY_TOKENIZER_TESTING_H
#define ZO2_TESTS_UNIT_TOOLS_TINY_TOKENIZER_TESTING_H

#include "tests/unit/tools/test_tokenizer_files.h"

static zo2t_tokenizer *tokenizer;

static int setup(void **state)
{
    (void)state;
    tokenizer = test_tiny_tokenizer();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    zo2t_tokenizer_close(tokenizer);
    return 0;
}

#endif
