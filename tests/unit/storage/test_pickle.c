/* test_pickle.c: pickles as trees: every opcode that is read. What is malicious in Python is a node here: there is nothing that
 * could be executed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/pickle_tree_testing.h"

/* ---- values -------------------------------------------------------------------------------------------------------- */

static void assert_integer(const char *ops, size_t n, int64_t value)
{
    const zo2_pickle_node *x = of_bytes(ops, n);
    assert_int_equal(x->kind, ZO2_PICKLE_INT);
    assert_true(x->value == value);
}

#define INTEGER(ops, value) assert_integer(ops, sizeof(ops) - 1, value)

static void integers(void **state)
{
    (void)state;
    INTEGER("K\0", 0);
    INTEGER("K\xff", 255);
    INTEGER("M\xff\xff", 65535);
    INTEGER("J\xff\xff\xff\x7f", INT32_MAX);
    INTEGER("J\0\0\0\x80", INT32_MIN);
    INTEGER("J\xff\xff\xff\xff", -1);
    INTEGER("\x8a\0", 0);
    INTEGER("\x8a\x01\xff", -1);
    INTEGER("\x8a\x02\xff\0", 255);
    INTEGER("\x8a\x07\0\0\0\0\0\0\x80", -(INT64_C(1) << 55));
    INTEGER("\x8a\x08\0\0\0\0\0\0\0\x80", INT64_MIN);
    INTEGER("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", INT64_MAX);
    INTEGER("\x8b\x02\0\0\0\x01\x01", 257);
    assert_int_equal(OF("\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09")->kind, ZO2_PICKLE_LONG);
    assert_int_equal(zo2_pickle_at(&tree, tree.root)->c, 9);
    assert_memory_equal(tree.bytes + zo2_pickle_at(&tree, tree.root)->b, "\x01\x02\x03\x04\x05\x06\x07\x08\x09", 9);
}

static void constants(void **state)
{
    (void)state;
    assert_int_equal(OF("N")->kind, ZO2_PICKLE_NONE);
    assert_int_equal(OF(OP_TRUE)->kind, ZO2_PICKLE_BOOL);
    assert_int_equal(zo2_pickle_at(&tree, tree.root)->value, 1);
    assert_int_equal(OF(OP_FALSE)->kind, ZO2_PICKLE_BOOL);
    assert_int_equal(zo2_pickle_at(&tree, tree.root)->value, 0);
    assert_int_equal(OF("G\x40\x09\x21\xfb\x54\x44\x2d\x18")->kind, ZO2_PICKLE_FLOAT);
}

static void assert_bytes(const char *head, size_t n, zo2_pickle_kind kind)
{
    pk_begin(&p);
    pk_bytes(&p, head, n);
    pk_ops(&p, "abc.");
    const zo2_pickle_node *x = loaded();
    assert_int_equal(x->kind, kind);
    assert_int_equal(x->c, 3);
    assert_memory_equal(tree.bytes + x->b, "abc", 3);
    assert_int_equal(zo2_pickle_is_text(&tree, tree.root, "abc"), kind == ZO2_PICKLE_TEXT);
    assert_false(zo2_pickle_is_text(&tree, tree.root, "abd"));
    assert_false(zo2_pickle_is_text(&tree, tree.root, "ab"));
}

#define COUNTED(head, kind) assert_bytes(head, sizeof(head) - 1, ZO2_PICKLE_##kind)

static void texts_and_bytes(void **state)
{
    (void)state;
    COUNTED("\x8c\x03", TEXT);
    COUNTED("X\x03\0\0\0", TEXT);
    COUNTED("\x8d\x03\0\0\0\0\0\0\0", TEXT);
    COUNTED("U\x03", TEXT);
    COUNTED("T\x03\0\0\0", TEXT);
    COUNTED("C\x03", BYTES);
    COUNTED("B\x03\0\0\0", BYTES);
    COUNTED("\x8e\x03\0\0\0\0\0\0\0", BYTES);
    COUNTED("\x96\x03\0\0\0\0\0\0\0", BYTES);
}

/* ---- containers ---------------------------------------------------------------------------------------------------- */

/* The root's items are the integers of a list that ends with -1. */
static void assert_items(zo2_pickle_kind kind, const int *wanted)
{
    const zo2_pickle_node *x = zo2_pickle_at(&tree, tree.root);
    zo2_pickle_items at = zo2_pickle_items_of(&tree, tree.root);
    uint32_t item, n = 0;
    assert_int_equal(x->kind, kind);
    for (; zo2_pickle_next(&tree, &at, &item); n++) {
        assert_int_equal(zo2_pickle_at(&tree, item)->value, wanted[n]);
        if (kind == ZO2_PICKLE_TUPLE)
            assert_int_equal(zo2_pickle_item(&tree, tree.root, n), item);
    }
    assert_int_equal(wanted[n], -1);
    assert_int_equal(x->c, n);
}

#define ITEMS(ops, kind, ...)                                      \
    do {                                                           \
        OF(ops);                                                   \
        assert_items(ZO2_PICKLE_##kind, (int[]){__VA_ARGS__ - 1}); \
    } while (0)

static void containers(void **state)
{
    (void)state;
    ITEMS("]", LIST, );
    ITEMS(")", TUPLE, );
    ITEMS("}", DICT, );
    ITEMS("\x8f", SET, );
    ITEMS("(t", TUPLE, );
    ITEMS("](e", LIST, );
    ITEMS("K\x01" OP_TUPLE1, TUPLE, 1, );
    ITEMS("K\x01K\x02" OP_TUPLE2, TUPLE, 1, 2, );
    ITEMS("K\x01K\x02K\x03" OP_TUPLE3, TUPLE, 1, 2, 3, );
    ITEMS("(K\x01K\x02K\x03K\x04t", TUPLE, 1, 2, 3, 4, );
    ITEMS("]K\x01"
          "a(K\x02K\x03"
          "eK\x04"
          "a",
          LIST, 1, 2, 3, 4, );
    ITEMS("}K\x01K\x02s(K\x03K\x04K\x05K\x06u", DICT, 1, 2, 3, 4, 5, 6, );
    ITEMS("\x8f(K\x01K\x02" OP_ADDITEMS, SET, 1, 2, );
    ITEMS("(K\x01K\x02\x91", SET, 1, 2, );
    assert_what("a set");
    ITEMS("ccollections\nOrderedDict\n)R(K\x01K\x02u", DICT, 1, 2, );
    ITEMS("ccollections\nOrderedDict\n)" OP_NEWOBJ "K\x01K\x02s}b", DICT, 1, 2, );
}

/* Two lists that grow by turns stay apart. */
static void containers_that_grow_by_turns(void **state)
{
    (void)state;
    ITEMS("]q\1]q\2K\x09"
          "a0K\1ah\2K\x08"
          "a0K\2a",
          LIST, 1, 2, );
}

static void memos(void **state)
{
    (void)state;
    ITEMS("K\5q\3K\6r\4\0\1\0"
          "00h\3j\4\0\1\0h\3" OP_TUPLE3,
          TUPLE, 5, 6, 5, );
    ITEMS("K\5" OP_MEMOIZE "0K\6" OP_MEMOIZE "0h\1h\0" OP_TUPLE2, TUPLE, 6, 5, );
    ITEMS("K\5q\0"
          "0K\6q\0"
          "0h\0" OP_TUPLE1,
          TUPLE, 6, ); /* again */
    ITEMS("K\5q\x07"
          "0K\6" OP_MEMOIZE "0h\7h\1" OP_TUPLE2,
          TUPLE, 5, 6, ); /* by how many there are */
}

/* As pickle.dumps() writes t = ([],); t[0].append(t): what it began of the tuple it takes back. */
static void things_that_contain_themselves(void **state)
{
    (void)state;
    const zo2_pickle_node *x = OF("]q\0h\0a");
    zo2_pickle_items at = zo2_pickle_items_of(&tree, tree.root);
    uint32_t item;
    assert_int_equal(x->kind, ZO2_PICKLE_LIST);
    assert_true(zo2_pickle_next(&tree, &at, &item) && item == tree.root);
    x = OF("]q\0h\0" OP_TUPLE1 "q\1a0h\1");
    assert_int_equal(x->kind, ZO2_PICKLE_TUPLE);
    x = OF("(K\1K\2K\3]q\0(K\1K\2K\3h\0tq\1a1h\1");
    assert_int_equal(x->kind, ZO2_PICKLE_TUPLE);
    assert_int_equal(x->c, 4);
    assert_int_equal(OF("N(0")->kind, ZO2_PICKLE_NONE); /* POP of a mark */
    assert_int_equal(OF("}q\0(Nh\0u")->kind, ZO2_PICKLE_DICT);
}

/* ---- names and objects --------------------------------------------------------------------------------------------- */

static void names(void **state)
{
    (void)state;
    const zo2_pickle_node *x = OF("ccollections\ndeque\n");
    assert_int_equal(x->kind, ZO2_PICKLE_GLOBAL);
    assert_int_equal(x->a, 0);
    assert_what("collections.deque");
    assert_int_equal(OF("cours\nop\n")->a, 5);
    OF("cour\033[2J\rs\nop\n");
    assert_what("our?[2J?s.op");
}

static void objects(void **state)
{
    (void)state;
    const zo2_pickle_node *x = OF("cours\nop\nK\1" OP_TUPLE1 "R");
    assert_int_equal(x->kind, ZO2_PICKLE_CALL);
    assert_int_equal(x->c, 5);
    assert_int_equal(zo2_pickle_at(&tree, x->a)->kind, ZO2_PICKLE_GLOBAL);
    assert_int_equal(zo2_pickle_at(&tree, x->b)->kind, ZO2_PICKLE_TUPLE);
    assert_what("ours.op");
    x = OF("(K\1tQ");
    assert_int_equal(x->kind, ZO2_PICKLE_PERSISTENT);
    assert_int_equal(zo2_pickle_at(&tree, x->a)->kind, ZO2_PICKLE_TUPLE);
}

/* argparse.Namespace, a defaultdict, a deque, a set of protocol 2, a class with named arguments, what an object makes. */
static void unknown_objects_take_whatever_they_are_given(void **state)
{
    (void)state;
    static const struct {
        const char *ops, *what;
    } cases[] = {
        {"cargparse\nNamespace\n)" OP_NEWOBJ "}(U\2lrK\1ub", "argparse.Namespace"},
        {"ccollections\ndefaultdict\nc__builtin__\nint\n" OP_TUPLE1 "RU\1aK\1s(U\1bK\2u", "collections.defaultdict"},
        {"ccollections\ndeque\n)R(K\1K\2eK\3a", "collections.deque"},
        {"c__builtin__\nset\n](K\1e" OP_TUPLE1 "R", "__builtin__.set"},
        {"cm\nSet\n)" OP_NEWOBJ "(K\1" OP_ADDITEMS, "m.Set"},
        {"cm\nC\n)}\x92", "m.C"},
        {"(U\6modulecm\nLayer\nNNtQ)" OP_NEWOBJ "}b", "m.Layer"}, /* classes in whole models of torch before 1.6 */
        {"cm\nmake\n)R)RN" OP_TUPLE1 "R", "m.make"},
        {"ccollections\nOrderedDict\n]" OP_TUPLE1 "RU\1aK\1s", "collections.OrderedDict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(cases[i].ops, strlen(cases[i].ops));
        assert_int_equal(loaded()->kind, ZO2_PICKLE_CALL);
        assert_int_equal(loaded()->c, 0);
        assert_what(cases[i].what);
    }
}

/* What attackers write: a call is a node, with its name. */
static void nothing_is_called(void **state)
{
    (void)state;
    static const char *const cases[] = {"cposix\nsystem\n", "c__builtin__\neval\n", "cbuiltins\nexec\n",
                                        "cos\nexecv\n",     "csubprocess\nPopen\n", "ctorch.hub\nload\n",
                                        "cnumpy\nload\n",   "crunpy\nrun_path\n"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_begin(&p);
        pk_ops(&p, cases[i]);
        pk_text(&p, "touch /tmp/owned");
        pk_ops(&p, OP_TUPLE1 "R.");
        assert_int_equal(loaded()->kind, ZO2_PICKLE_CALL);
    }
    OF("cbuiltins\ngetattr\ncos\nsystem\nU\1x" OP_TUPLE2 "RU\2id" OP_TUPLE1 "R"); /* what a call would give is called */
    assert_what("builtins.getattr");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(integers),
        T(constants),
        T(texts_and_bytes),
        T(containers),
        T(containers_that_grow_by_turns),
        T(memos),
        T(things_that_contain_themselves),
        T(names),
        T(objects),
        T(unknown_objects_take_whatever_they_are_given),
        T(nothing_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
