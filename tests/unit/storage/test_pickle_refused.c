/* test_pickle_refused.c: what is refused of a pickle: opcodes, changes of what takes none, limits, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/pickle_tree_testing.h"

/* ---- what is refused ----------------------------------------------------------------------------------------------- */

static void other_opcodes_are_refused_by_name_and_place(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *name;
    } cases[] = {
        {0x93, "STACK_GLOBAL"}, {'i', "INST"},         {'o', "OBJ"},
        {0x82, "EXT1"},         {0x83, "EXT2"},        {0x84, "EXT4"},
        {'2', "DUP"},           {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"},
        {'I', "INT"},           {'L', "LONG"},         {'F', "FLOAT"},
        {'S', "STRING"},        {'V', "UNICODE"},      {'P', "PERSID"},
        {'p', "PUT"},           {'g', "GET"},          {'l', "LIST"},
        {'d', "DICT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char says[60];
        snprintf(says, sizeof says, "pickle opcode %s at offset 4: ", cases[i].name);
        pk_ops(&p, "NN");
        pk_number(&p, (uint64_t)cases[i].code, 1);
        pk_ops(&p, "os\nsystem\n.");
        refused(ZO2_ERR_UNSUPPORTED, says);
    }
}

static void stack_global_says_how_to_save_again(void **state)
{
    (void)state;
    pk_ops(&p, "\x8c\2os\x8c\6system\x93");
    refused(ZO2_ERR_UNSUPPORTED, "save again with the default protocol: torch.save(x, file)");
}

/* Every byte is an opcode that is read, one that is refused by its name, or none. */
static void codes_that_are_no_opcodes_are_refused(void **state)
{
    (void)state;
    static const unsigned char none[] = {0, 1, ' ', 'A', 'Z', '\n', 'f', 'm', 'v', 'x', 0x7F, 0x99, 0xA0, 0xFF};
    for (size_t i = 0; i < sizeof none; i++) {
        pk_ops(&p, "N");
        pk_number(&p, none[i], 1);
        pk_ops(&p, ".");
        refused(ZO2_ERR_FORMAT, "no pickle opcode 0x");
        SAYS("at offset 3");
    }
    int there = 0;
    for (int c = 0; c < 256; c++) {
        size_t used;
        pk_number(&p, (uint64_t)c, 1);
        (void)load_bytes(p.n, &used); /* refused, for one reason or other: it has no STOP */
        there += !strstr(zo2_last_error(), "no pickle opcode");
        pk_begin(&p);
    }
    assert_int_equal(there, 68); /* as many as Python's pickletools knows */
}

static void other_things_than_pickles_are_refused(void **state)
{
    (void)state;
    size_t used;
    p.n = 0;
    refused(ZO2_ERR_FORMAT, "there is no pickle, but nothing at all");
    p.n = 0;
    pk_ops(&p, "(dp0\n.");
    refused(ZO2_ERR_FORMAT, "it doesn't begin with a pickle of protocol 2 or later");
    for (int version = 0; version < 256; version++) {
        p.n = 0;
        pk_ops(&p, OP_PROTO);
        pk_number(&p, (uint64_t)version, 1);
        pk_ops(&p, "N.");
        if (version >= 2 && version <= 5)
            OK(load_bytes(p.n, &used));
        else
            refused(ZO2_ERR_FORMAT, "is none of 2 to 5");
    }
    BAD(OP_PROTO "\2N", "PROTO at offset 2");
}

static void frames_are_skipped(void **state)
{
    (void)state;
    assert_int_equal(OF("\x95\2\0\0\0\0\0\0\0N")->kind, ZO2_PICKLE_NONE);
    BAD("\x95\3\0\0\0\0\0\0\0N", "FRAME at offset 2");
    pk_ops(&p, "\x95\3");
    pk_number(&p, 0, 7);
    pk_ops(&p, "N..");
    refused(ZO2_ERR_FORMAT, "STOP at offset 12: the last frame ends behind it, at offset 14");
    BAD("\x95\xff\xff\xff\xff\xff\xff\xff\xffN", "FRAME at offset 2");
}

/* CVE-2026-24747 and its like: what isn't a dictionary (a list, a set) isn't written to as if it were. */
static void only_dictionaries_take_items(void **state)
{
    (void)state;
    BAD("]NNs", "SETITEM at offset 5: it is for a dictionary, not for a list");
    BAD("](NNu", "SETITEMS at offset 6: it is for a dictionary, not for a list");
    BAD(")NNs", "not for a tuple");
    BAD("U\1xNNs", "not for a text");
    BAD("C\1xNNs", "not for bytes");
    BAD("\x8fNNs", "not for a set");
    BAD("K\1NNs", "not for an integer");
    BAD("NNNs", "not for None");
    BAD("NQNNs", "not for a persistent id");
    BAD("cm\nC\nNNs", "not for m.C");
    BAD("cours\nop\n)RK\1K\2s", "not for ours.op");
    BAD("cours\nop\n)R)RK\1K\2s", "not for ours.op");
    BAD("}(NNNu", "a key without a value");
    BAD("}NNa", "APPEND at offset 5: it is for a list, not for None");
    BAD("}Na", "APPEND at offset 4: it is for a list, not for a dictionary");
    BAD(")(NNe", "APPENDS at offset 6: it is for a list, not for a tuple");
    BAD("cours\nop\n)RNa", "not for ours.op");
    BAD("](N" OP_ADDITEMS, "ADDITEMS at offset 5: it is for a set, not for a list");
}

static void only_names_and_objects_are_called(void **state)
{
    (void)state;
    BAD("U\6system)R", "REDUCE at offset 11: it calls a text");
    BAD("K\1)R", "it calls an integer");
    BAD("})R", "it calls a dictionary");
    BAD("cm\nC\n]R", "its arguments are a list, not a tuple");
    BAD("cm\nC\nNR", "its arguments are None, not a tuple");
    BAD("N)" OP_NEWOBJ, "NEWOBJ at offset 4: it calls None");
    BAD("cm\nC\nN" OP_NEWOBJ, "its arguments are None");
    BAD("cm\nC\n)N\x92", "NEWOBJ_EX at offset 9: its named arguments are None");
    BAD("cours\nop\n)" OP_NEWOBJ, "ours.op is not made like this");
    BAD("cours\nop\n)}\x92", "ours.op is not made like this");
}

static void only_objects_have_a_state(void **state)
{
    (void)state;
    BAD("]}b", "BUILD at offset 4: a list has no state");
    BAD("K\1}b", "an integer has no state");
    BAD("cm\nC\n}b", "m.C has no state");
    BAD("NQ}b", "a persistent id has no state");
    BAD("cours\nop\n)R}b", "ours.op has no state");
}

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    char most[ZO2_PICKLE_MAX_GLOBAL + 1];
    BAD("c\nx\n", "GLOBAL at offset 2: its module is no name");
    BAD("cm\n\n", "its name is no name");
    BAD("cm\xff\nx\n", "its module is no name");
    BAD("cm\0\nx\n", "its module is no name");
    BAD("cmx", "its module has no end");
    BAD("cm\nx", "its name has no end");
    memset(most, 'x', sizeof most);
    for (int less = 0; less < 2; less++) {
        pk_begin(&p);
        pk_ops(&p, "cm\n");
        pk_bytes(&p, most, sizeof most - 1 - (size_t)less);
        pk_ops(&p, "\n.");
        if (less)
            assert_int_equal(loaded()->c, 2 + ZO2_PICKLE_MAX_GLOBAL - 1);
        else
            refused(ZO2_ERR_FORMAT, "its name has more than 500 bytes");
    }
}

static void a_stack_that_is_too_short_is_refused(void **state)
{
    (void)state;
    BAD("", "STOP at offset 2: 0 things");
    BAD("NN", "2 things and 0 marks");
    BAD("N(", "1 things and 1 marks");
    BAD("0", "POP at offset 2: it takes 1 from a stack of 0");
    BAD("1", "POP_MARK at offset 2: there is no mark");
    BAD("t", "TUPLE at offset 2: there is no mark");
    BAD("(tN", "2 things and 0 marks"); /* nothing of an empty stack */
    BAD("u", "there is no mark");
    BAD("e", "there is no mark");
    BAD("\x91", "there is no mark");
    BAD("N" OP_TUPLE2, "it takes 2 from a stack of 1");
    BAD("N(N" OP_TUPLE2, "it takes 2 from a stack of 1"); /* none below a mark */
    BAD("(u", "it takes 1 from a stack of 0");
    BAD("(Na", "it takes 1 from a stack of 0");
    BAD("q\0", "BINPUT at offset 2: it takes 1 from a stack of 0");
    BAD("N(q\0", "it takes 1 from a stack of 0");
    BAD("R", "it takes 2");
    BAD("b", "it takes 1");
    BAD("Nb", "it takes 1 from a stack of 0");
    BAD("Q", "it takes 1");
    BAD("NN\x92", "it takes 3 from a stack of 2");
}

static void memos_that_nothing_was_put_under_are_refused(void **state)
{
    (void)state;
    BAD("h\0", "BINGET at offset 2: nothing was put under memo number 0");
    BAD("Nq\1h\2", "memo number 2");
    BAD("Nq\1h\0", "memo number 0");
    BAD("Nq\1j\xff\xff\xff\xff", "memo number 4294967295");
    BAD("Nr\xff\xff\xff\xff", "LONG_BINPUT at offset 3: memo number 4294967295 is beyond");
}

static void lengths_beyond_the_end_are_refused(void **state)
{
    (void)state;
    BAD("X\2\0\0\0", "BINUNICODE at offset 2: its 2 bytes don't fit into the 1");
    BAD("X\xff\xff\xff\xff", "its 4294967295 bytes");
    BAD("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "its 18446744073709551615 bytes");
    BAD("\x8e\xfe\xff\xff\xff\xff\xff\xff\x7f", "BINBYTES8");
    BAD("\x8a\xff", "LONG1");
    BAD("\x8b\xff\xff\xff\xff", "LONG4 at offset 2: its length is negative");
    BAD("\x8b\xff\xff\xff\x7f", "its 2147483647 bytes");
    BAD("G", "its 8 bytes");
}

/* ---- limits -------------------------------------------------------------------------------------------------------- */

/* The same opcodes n times. */
static void repeat(const char *ops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pk_ops(&p, ops);
}

static void depth_is_limited(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        pk_begin(&p);
        pk_ops(&p, "N");
        repeat(OP_TUPLE1, ZO2_PICKLE_MAX_DEPTH + (size_t)more);
        pk_ops(&p, ".");
        if (!more)
            assert_int_equal(loaded()->kind, ZO2_PICKLE_TUPLE);
        else
            refused(ZO2_ERR_FORMAT, "things are nested deeper than 1000");
    }
    pk_ops(&p, "N");
    repeat("Q", ZO2_PICKLE_MAX_DEPTH + 1);
    refused(ZO2_ERR_FORMAT, "nested deeper");
    pk_ops(&p, "cm\nC\n");
    repeat(")R", ZO2_PICKLE_MAX_DEPTH + 1);
    refused(ZO2_ERR_FORMAT, "nested deeper");
    pk_ops(&p, "]q\1");
    repeat("h\1a", ZO2_PICKLE_MAX_DEPTH + 1);
    refused(ZO2_ERR_FORMAT, "nested deeper");
}

static void marks_and_stack_are_limited(void **state)
{
    (void)state;
    repeat("(", ZO2_PICKLE_MAX_MARKS + 1);
    refused(ZO2_ERR_FORMAT, "MARK at offset 1002: more than 1000 marks");
    repeat("N", ZO2_PICKLE_MAX_STACK + 1);
    refused(ZO2_ERR_FORMAT, "more than 1048576 things on the stack");
}

static void values_items_and_memos_are_limited(void **state)
{
    (void)state;
    repeat("N0", ZO2_PICKLE_MAX_NODES + 1);
    refused(ZO2_ERR_FORMAT, "more than 4194304 values");
    pk_ops(&p, "]Nq\1"
               "0");
    for (int i = 0; i < 9; i++) {
        pk_ops(&p, "(");
        repeat("h\1", 1000000);
        pk_ops(&p, "e");
    }
    refused(ZO2_ERR_FORMAT, "more than 8388608 items of containers");
    pk_ops(&p, "Nr");
    pk_number(&p, ZO2_PICKLE_MAX_MEMO - 1, 4);
    pk_ops(&p, ".");
    assert_int_equal(loaded()->kind, ZO2_PICKLE_NONE);
    pk_begin(&p);
    pk_ops(&p, "Nr");
    pk_number(&p, ZO2_PICKLE_MAX_MEMO, 4);
    refused(ZO2_ERR_FORMAT, "is beyond 4194304");
}

/* A pickle of just so many bytes as are looked at, and one more. Most of it are bytes that nobody touches. */
static void the_length_is_limited(void **state)
{
    (void)state;
    unsigned char *b = calloc(1, ZO2_PICKLE_MAX_BYTES + 1);
    assert_non_null(b);
    for (uint32_t more = 0; more < 2; more++) {
        size_t used;
        const uint32_t n = ZO2_PICKLE_MAX_BYTES - 8 + more;
        memcpy(b, OP_PROTO "\2B", 3);
        memcpy(b + 3, &n, 4);
        b[7 + n] = '.';
        zo2_status s = zo2_pickle_load(&tree, b, ZO2_PICKLE_MAX_BYTES + more, &used, "FILE", NULL);
        if (!more) {
            OK(s);
            assert_int_equal(used, ZO2_PICKLE_MAX_BYTES);
            assert_int_equal(zo2_pickle_at(&tree, tree.root)->c, n);
            zo2_pickle_free(&tree);
            b[7 + n] = '\0';
        } else {
            assert_int_equal(s, ZO2_ERR_FORMAT);
            SAYS("more than 67108864 bytes");
        }
    }
    free(b);
}

/* ---- damage -------------------------------------------------------------------------------------------------------- */

/* Something of everything. */
static void sample(void)
{
    pk_ops(&p, "}(");
    pk_entry(&p, "weight", "0");
    pk_text(&p, "list");
    pk_ops(&p, "](K\1M\1\1J\1\1\1\1eNa");
    pk_text(&p, "object");
    pk_ops(&p, "cargparse\nNamespace\n)" OP_NEWOBJ "}U\1aG\1\2\3\4\5\6\7\x08sbq\1");
    pk_text(&p, "set");
    pk_ops(&p, "\x8f(h\1" OP_ADDITEMS);
    pk_text(&p, "odds");
    pk_ops(&p, "\x8c\1xC\2yz\x8b\1\1\1\1");
    p.n -= 4;
    pk_number(&p, 1, 4);
    pk_ops(&p, "\x7f" OP_TUPLE3);
    pk_ops(&p, "u.");
}

static void every_shorter_length_is_refused(void **state)
{
    (void)state;
    size_t used;
    sample();
    const size_t n = p.n;
    assert_int_equal(loaded()->kind, ZO2_PICKLE_DICT);
    for (size_t less = 0; less < n; less++) {
        unsigned char *exact = malloc(less + 1); /* nothing readable behind it, under ASan */
        assert_non_null(exact);
        unsigned char *end = exact + 1;
        memcpy(end, p.b, less);
        zo2_pickle_free(&tree);
        assert_int_equal(zo2_pickle_load(&tree, end, less, &used, "FILE", known), ZO2_ERR_FORMAT);
        free(exact);
    }
}

/* Each byte, all values: refused with a message, or a tree. */
static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    sample();
    for (size_t i = 0; i < p.n; i++) {
        const unsigned char was = p.b[i];
        for (int v = 0; v < 256; v++) {
            size_t used = 0;
            p.b[i] = (unsigned char)v;
            if (load_bytes(p.n, &used) == ZO2_OK)
                assert_true(used > 0 && used <= p.n && tree.root < tree.n_nodes);
            else
                assert_int_equal(used, 0);
        }
        p.b[i] = was;
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(other_opcodes_are_refused_by_name_and_place),
        T(stack_global_says_how_to_save_again),
        T(codes_that_are_no_opcodes_are_refused),
        T(other_things_than_pickles_are_refused),
        T(frames_are_skipped),
        T(only_dictionaries_take_items),
        T(only_names_and_objects_are_called),
        T(only_objects_have_a_state),
        T(names_that_are_none_are_refused),
        T(a_stack_that_is_too_short_is_refused),
        T(memos_that_nothing_was_put_under_are_refused),
        T(lengths_beyond_the_end_are_refused),
        T(depth_is_limited),
        T(marks_and_stack_are_limited),
        T(values_items_and_memos_are_limited),
        T(the_length_is_limited),
        T(every_shorter_length_is_refused),
        T(changed_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
