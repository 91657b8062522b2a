/* torch_state_testing.h: one state dictionary for a test each. Include after cmocka.h. */
#ifndef ZO2_TESTS_UNIT_STORAGE_TORCH_STATE_TESTING_H
#define ZO2_TESTS_UNIT_STORAGE_TORCH_STATE_TESTING_H

#include "storage/checkpoint/torch_state.h"
#include "tests/unit/storage/pickle_testing.h"

static pk p;
static zo2_torch_state s;

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
    zo2_torch_state_free(&s);
    return 0;
}

/* Reads what was put together. */
static inline void loaded(void)
{
    size_t used;
    zo2_torch_state_free(&s);
    OK(zo2_torch_state_load(&s, p.b, p.n, &used, "FILE"));
    assert_int_equal(used, p.n);
    pk_begin(&p);
}

/* Refused, and the state is empty. */
static inline void refused(zo2_status status, const char *says)
{
    size_t used;
    zo2_torch_state_free(&s);
    assert_int_equal(zo2_torch_state_load(&s, p.b, p.n, &used, "FILE"), status);
    assert_null(s.tensors);
    assert_null(s.storages);
    assert_null(s.opaques);
    SAYS("FILE: ");
    SAYS(says);
    pk_begin(&p);
}

/* A dictionary of one tensor "w". */
static inline void put_one(pk_tensor_parts t)
{
    pk_ops(&p, "}");
    pk_text(&p, "w");
    pk_tensor(&p, t);
    pk_ops(&p, "s.");
}

static inline const zo2_torch_tensor *tensor_of(const char *name)
{
    uint64_t i = zo2_torch_state_find(&s, name);
    if (i == s.n_tensors)
        fail_msg("there is no tensor %s", name);
    return &s.tensors[i];
}

static inline const zo2_torch_storage *storage_of(const char *name)
{
    return &s.storages[tensor_of(name)->storage];
}

/* Shape and strides end with a negative number. */
static inline void assert_tensor(const char *name, const char *dtype, uint64_t offset, const int *shape,
                                 const int *stride)
{
    const zo2_torch_tensor *t = tensor_of(name);
    uint64_t elements = 1;
    uint32_t rank = 0;
    assert_string_equal(t->dtype_name, dtype);
    assert_int_equal(t->offset, offset);
    for (; shape[rank] >= 0; rank++) {
        assert_true(rank < t->rank);
        assert_int_equal(t->shape[rank], shape[rank]);
        assert_int_equal(t->stride[rank], stride[rank]);
        elements *= (uint64_t)shape[rank];
    }
    assert_int_equal(t->rank, rank);
    assert_int_equal(t->elements, elements);
}

#define LIST(...) ((int[]){__VA_ARGS__, -1})
#define NONE      ((int[]){-1})

static inline void assert_opaque(const char *name, const char *what)
{
    const char *is = zo2_torch_state_opaque(&s, name);
    assert_int_equal(zo2_torch_state_find(&s, name), s.n_tensors);
    if (!is || strcmp(is, what) != 0)
        fail_msg("%s is %s, not %s", name, is ? is : "nothing", what);
}

#endif
