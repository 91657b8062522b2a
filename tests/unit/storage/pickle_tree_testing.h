/* pickle_tree_testing.h: one pickle and its tree, for a test each: what is put together between PROTO and STOP is loaded, or refused.
 * Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_PICKLE_TREE_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_PICKLE_TREE_TESTING_H

#include "storage/checkpoint/pickle.h"
#include "tests/unit/storage/pickle_testing.h"

static pk p;
static zo2_pickle tree;

static inline int setup(void **state)
{
    (void)state;
    pk_begin(&p);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    pk_free(&p);
    zo2_pickle_free(&tree);
    return 0;
}

/* One global is known here. */
static inline uint32_t known(const char *text, size_t n)
{
    return n == 7 && memcmp(text, "ours\nop", 7) == 0 ? 5 : 0;
}

static inline zo2_status load_bytes(size_t n, size_t *used)
{
    zo2_pickle_free(&tree);
    return zo2_pickle_load(&tree, p.b, n, used, "FILE", known);
}

/* Reads what was put together; the root's node. */
static inline const zo2_pickle_node *loaded(void)
{
    size_t used;
    OK(load_bytes(p.n, &used));
    assert_int_equal(used, p.n);
    return zo2_pickle_at(&tree, tree.root);
}

/* Refused, and the tree is empty. */
static inline void refused(zo2_status status, const char *says)
{
    size_t used;
    assert_int_equal(load_bytes(p.n, &used), status);
    assert_int_equal(used, 0);
    assert_null(tree.nodes);
    SAYS("FILE: ");
    SAYS(says);
    pk_begin(&p);
}

/* A text of opcodes, zeros and all, between PROTO and STOP. */
static inline void put(const char *ops, size_t n)
{
    pk_begin(&p);
    pk_bytes(&p, ops, n);
    pk_ops(&p, ".");
}

static inline const zo2_pickle_node *of_bytes(const char *ops, size_t n)
{
    put(ops, n);
    return loaded();
}

static inline void bad_bytes(const char *ops, size_t n, const char *says)
{
    put(ops, n);
    refused(ZO2_ERR_FORMAT, says);
}

#define OF(ops)        of_bytes(ops, sizeof(ops) - 1)
#define BAD(ops, says) bad_bytes(ops, sizeof(ops) - 1, says)

static inline void assert_what(const char *what)
{
    char text[1100];
    assert_string_equal(zo2_pickle_what(&tree, tree.root, text, sizeof text), what);
}

#endif
