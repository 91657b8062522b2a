/* test_torch_state.c: state dictionaries put together by hand: names, which dictionary it is, limits. Those that torch writes are in
 * test_torch_real.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/torch_state_testing.h"

#define SMALL .elements = 6, .rank = 2, .shape = {2, 3}, .stride = {3, 1}

/* ---- names --------------------------------------------------------------------------------------------------------- */

static void nested_names_are_joined(void **state)
{
    (void)state;
    pk_ops(&p, "}(");
    pk_text(&p, "a");
    pk_ops(&p, "}(");
    pk_entry(&p, "x", "0");
    pk_text(&p, "b");
    pk_ops(&p, "ccollections\nOrderedDict\n)R");
    pk_entry(&p, "y.z", "1");
    pk_ops(&p, "suU\1c}");
    pk_entry(&p, "d", "2");
    pk_ops(&p, "u.");
    loaded();
    assert_int_equal(s.n_tensors, 3);
    assert_string_equal(s.tensors[0].name, "a.x");
    assert_string_equal(s.tensors[1].name, "a.b.y.z");
    assert_string_equal(s.tensors[2].name, "d");
    assert_int_equal(zo2_torch_state_find(&s, "a.b.y.z"), 1);
    assert_int_equal(zo2_torch_state_find(&s, "a"), 3);
    assert_null(zo2_torch_state_opaque(&s, "a"));
}

static void what_is_no_tensor_is_remembered(void **state)
{
    (void)state;
    pk_ops(&p, "}(");
    pk_entry(&p, "w", "0");
    pk_ops(&p, "U\1qcmy.quant\nPacked\n)R");
    pk_ops(&p, "U\1cc__main__\nmake\n)R)R");
    pk_ops(&p, "U\1iK\1U\1l]U\1nNU\1tctorch\nfloat16\nU\1sU\1x");
    pk_ops(&p, "U\1d}U\1kK\5s"); /* a dictionary of something else */
    pk_ops(&p, "K\7N");          /* under no name */
    pk_ops(&p, "u.");
    loaded();
    assert_int_equal(s.n_tensors, 1);
    assert_int_equal(s.n_opaques, 8);
    assert_opaque("q", "my.quant.Packed");
    assert_opaque("c", "__main__.make");
    assert_opaque("i", "an integer");
    assert_opaque("l", "a list");
    assert_opaque("n", "None");
    assert_opaque("t", "torch.float16");
    assert_opaque("s", "a text");
    assert_opaque("d.k", "an integer");
    assert_null(zo2_torch_state_opaque(&s, "w"));
    assert_null(zo2_torch_state_opaque(&s, "z"));
}

static void an_empty_dictionary_is_fine(void **state)
{
    (void)state;
    pk_ops(&p, "}.");
    loaded();
    assert_int_equal(s.n_tensors, 0);
    assert_int_equal(zo2_torch_state_find(&s, "w"), 0);
    assert_null(zo2_torch_state_opaque(&s, "w"));
}

static void two_of_one_name(const char *first, const char *second)
{
    pk_ops(&p, "}(");
    pk_ops(&p, first);
    pk_entry(&p, "x", "0");
    pk_ops(&p, second);
    pk_ops(&p, "u.");
}

static void a_name_that_comes_twice_is_refused(void **state)
{
    (void)state;
    pk_ops(&p, "}(");
    pk_entry(&p, "x", "0");
    pk_entry(&p, "x", "1");
    pk_ops(&p, "u.");
    refused(ZO2_ERR_FORMAT, "there is more than one x");
    two_of_one_name("", "U\1xK\1");
    refused(ZO2_ERR_FORMAT, "there is more than one x");
    two_of_one_name("U\1xcm\nC\n)R", "");
    refused(ZO2_ERR_FORMAT, "there is more than one x");
    pk_ops(&p, "}(");
    pk_entry(&p, "a.b", "0");
    pk_ops(&p, "U\1a}");
    pk_entry(&p, "b", "1");
    pk_ops(&p, "su.");
    refused(ZO2_ERR_FORMAT, "there is more than one a.b");
    pk_ops(&p, "}(U\5modelNU\5model}");
    pk_entry(&p, "b", "1");
    pk_ops(&p, "su.");
    refused(ZO2_ERR_FORMAT, "its dictionary has the key \"model\" twice");
}

static void put_named(const char *key, size_t n)
{
    pk_ops(&p, "}");
    pk_bytes(&p, key, n);
    pk_tensor(&p, (pk_tensor_parts){SMALL});
    pk_ops(&p, "s.");
}

static void tensors_under_what_is_no_name_are_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {"K\1", "N", "U\1\xff", "U", "C\1x", ")"};
    static const size_t sizes[] = {2, 1, 3, 2, 3, 1};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        put_named(keys[i][0] == 'U' && sizes[i] == 2 ? "U\0" : keys[i], sizes[i]);
        refused(ZO2_ERR_FORMAT, "has tensors under a key that is no name");
    }
    put_named("U\3a\0b", 5);
    refused(ZO2_ERR_FORMAT, "no name (a text)");
    pk_ops(&p, "}U\3opt}K\1}"); /* an optimizer's state, say */
    pk_entry(&p, "x", "0");
    pk_ops(&p, "sss.");
    refused(ZO2_ERR_FORMAT, "the dictionary \"opt\" has tensors under a key that is no name (an integer)");
    pk_ops(&p, "}U\5model}U\1a}K\1}"); /* found once when "model" was looked into, and again */
    pk_entry(&p, "x", "0");
    pk_ops(&p, "ssss.");
    refused(ZO2_ERR_FORMAT, "the dictionary \"a\" has tensors under a key that is no name");
}

static void long_names_are_refused(void **state)
{
    (void)state;
    char name[1002];
    memset(name, 'n', sizeof name);
    for (size_t n = 999; n <= 1001; n++) {
        name[n] = '\0';
        pk_ops(&p, "}");
        pk_entry(&p, name, "0");
        pk_ops(&p, "s.");
        if (n <= 1000)
            loaded();
        else
            refused(ZO2_ERR_FORMAT, "at most 1000 bytes");
        name[n] = 'n';
    }
    for (size_t n = 997; n <= 999; n++) { /* below "a." */
        name[n] = '\0';
        pk_ops(&p, "}U\1a}");
        pk_entry(&p, name, "0");
        pk_ops(&p, "ss.");
        if (n <= 998)
            loaded();
        else
            refused(ZO2_ERR_FORMAT, "at most 1000 bytes");
        name[n] = 'n';
    }
}

static void put_nested(int depth)
{
    for (int i = 0; i < depth; i++)
        pk_ops(&p, "}U\1a");
    pk_ops(&p, "}");
    pk_entry(&p, "x", "0");
    pk_ops(&p, "s");
    for (int i = 0; i < depth; i++)
        pk_ops(&p, "s");
    pk_ops(&p, ".");
}

/* Circles and sharing cost nothing, and lead to no name twice. */
static void dictionaries_in_dictionaries_are_bounded(void **state)
{
    (void)state;
    put_nested(31);
    loaded();
    assert_int_equal(strlen(s.tensors[0].name), 2 * 31 + 1);
    put_nested(32);
    refused(ZO2_ERR_FORMAT, "nested deeper than 32");
    pk_ops(&p, "}q\1(U\1ah\1");
    pk_entry(&p, "x", "0");
    pk_ops(&p, "u.");
    refused(ZO2_ERR_FORMAT, "the dictionary \"a\" is one that is somewhere else in it, too");
    pk_ops(&p, "}(U\1a}q\1");
    pk_entry(&p, "x", "0");
    pk_ops(&p, "sU\1bh\1u.");
    refused(ZO2_ERR_FORMAT, "the dictionary \"b\" is one that is somewhere else");
    pk_ops(&p, "}q\1(U\1ah\1U\1b}q\2U\1ch\2u."); /* without tensors */
    loaded();
    assert_int_equal(s.n_opaques, 0);
    /* Each holds the one before it twice: 2^30 ways to the innermost. */
    pk_ops(&p, "}q\1"
               "0");
    for (unsigned i = 1; i <= 30; i++) {
        pk_ops(&p, "}(U\1ah");
        pk_number(&p, i, 1);
        pk_ops(&p, "U\1bh");
        pk_number(&p, i, 1);
        pk_ops(&p, "uq");
        pk_number(&p, i + 1, 1);
        pk_ops(&p, "0");
    }
    pk_ops(&p, "h\x1f.");
    loaded();
    assert_int_equal(s.n_tensors, 0);
}

/* ---- which dictionary ---------------------------------------------------------------------------------------------- */

static void the_state_may_be_under_a_key(void **state)
{
    (void)state;
    static const char *const keys[] = {"model", "state_dict", "module"};
    for (size_t i = 0; i < 3; i++) {
        pk_ops(&p, "}(");
        pk_entry(&p, "beside", "9"); /* not looked at */
        pk_ops(&p, "U\4argscargparse\nNamespace\n)" OP_NEWOBJ "}U\1aK\1sb");
        pk_text(&p, "optimizer");
        pk_ops(&p, "}K\1]s");
        pk_text(&p, keys[i]);
        pk_ops(&p, "}");
        pk_entry(&p, "w", "0");
        pk_ops(&p, "su.");
        loaded();
        assert_int_equal(s.n_tensors, 1);
        assert_int_equal(s.n_opaques, 0);
        assert_string_equal(s.tensors[0].name, "w");
    }
}

static void the_first_key_with_tensors_counts(void **state)
{
    (void)state;
    pk_ops(&p, "}(");
    pk_text(&p, "module");
    pk_ops(&p, "}");
    pk_entry(&p, "c", "0");
    pk_ops(&p, "s");
    pk_text(&p, "state_dict");
    pk_ops(&p, "}");
    pk_entry(&p, "b", "1");
    pk_ops(&p, "s");
    pk_text(&p, "model");
    pk_ops(&p, "}U\4nameU\3opts"); /* no tensors */
    pk_ops(&p, "u.");
    loaded();
    assert_int_equal(s.n_tensors, 1);
    assert_string_equal(s.tensors[0].name, "b");
    pk_ops(&p, "}(U\5modelK\1"); /* a text, and tensors elsewhere */
    pk_entry(&p, "w", "0");
    pk_ops(&p, "u.");
    loaded();
    assert_string_equal(s.tensors[0].name, "w");
    assert_opaque("model", "an integer");
    pk_ops(&p, "}U\5model}U\1a}"); /* deeper in it */
    pk_entry(&p, "w", "0");
    pk_ops(&p, "sss.");
    loaded();
    assert_string_equal(s.tensors[0].name, "a.w");
}

static void other_things_than_dictionaries_are_told(void **state)
{
    (void)state;
    pk_ops(&p, "].");
    refused(ZO2_ERR_UNSUPPORTED, "it is a list, not a state dictionary");
    pk_ops(&p, "N.");
    refused(ZO2_ERR_UNSUPPORTED, "it is None, not a state dictionary");
    pk_ops(&p, "ctransformers\nTrainingArguments\n)" OP_NEWOBJ "}b.");
    refused(ZO2_ERR_UNSUPPORTED, "it is transformers.TrainingArguments, not a state dictionary");
    pk_tensor(&p, (pk_tensor_parts){SMALL});
    pk_ops(&p, ".");
    refused(ZO2_ERR_FORMAT, "it is one tensor, not a state dictionary");
    pk_ops(&p, "}U\5modelcfairseq.models\nLM\n)" OP_NEWOBJ "}bs.");
    refused(ZO2_ERR_UNSUPPORTED, "what it has under \"model\" is fairseq.models.LM, not a state dictionary");
}

/* A tensor that nobody asks for may be anything. */
static void what_is_beside_is_not_looked_at(void **state)
{
    (void)state;
    pk_ops(&p, "}(U\3bad");
    pk_tensor(&p, (pk_tensor_parts){SMALL, .offset = 1});
    pk_ops(&p, "U\4evilcposix\nsystem\nU\2id" OP_TUPLE1 "R");
    pk_ops(&p, "U\5model}");
    pk_entry(&p, "w", "0");
    pk_ops(&p, "su.");
    loaded();
    assert_int_equal(s.n_tensors, 1);
}

/* ---- limits -------------------------------------------------------------------------------------------------------- */

/* A tensor takes four bytes of a pickle once it is known, and its name nothing. */
static void many_tensors_are_refused(void **state)
{
    (void)state;
    const int n = 1 << 18;
    pk_tensor(&p, (pk_tensor_parts){SMALL});
    pk_ops(&p, "q\1"
               "0");
    pk_ops(&p, "}");
    for (int i = 0; i <= n; i++) {
        char name[12];
        snprintf(name, sizeof name, "%06x", (unsigned)i);
        if (i % 1000 == 0)
            pk_ops(&p, i ? "u(" : "(");
        pk_text(&p, name);
        pk_ops(&p, "h\1");
    }
    pk_ops(&p, "u.");
    refused(ZO2_ERR_FORMAT, "more than 262144 tensors");
}

/* Names of 1,000 bytes that cost four. */
static void long_lists_of_names_are_refused(void **state)
{
    (void)state;
    char name[801];
    memset(name, 'n', sizeof name);
    name[800] = '\0';
    pk_ops(&p, "U\1kq\1"
               "0}");
    pk_text(&p, name);
    pk_ops(&p, "}");
    for (int i = 0; i < 100; i++) {
        pk_ops(&p, "(");
        for (int k = 0; k < 1000; k++)
            pk_ops(&p, "h\1N");
        pk_ops(&p, "u");
    }
    pk_ops(&p, "s.");
    refused(ZO2_ERR_FORMAT, "the names of its tensors have more than 64 MB");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(nested_names_are_joined),
        T(what_is_no_tensor_is_remembered),
        T(an_empty_dictionary_is_fine),
        T(a_name_that_comes_twice_is_refused),
        T(tensors_under_what_is_no_name_are_refused),
        T(long_names_are_refused),
        T(dictionaries_in_dictionaries_are_bounded),
        T(the_state_may_be_under_a_key),
        T(the_first_key_with_tensors_counts),
        T(other_things_than_dictionaries_are_told),
        T(what_is_beside_is_not_looked_at),
        T(many_tensors_are_refused),
        T(long_lists_of_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
