/* test_torch_tensor.c: one tensor of a state dictionary: places in storages, overflows, wrong arguments, what is not read, wrappers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/torch_state_testing.h"

#define SMALL .elements = 6, .rank = 2, .shape = {2, 3}, .stride = {3, 1}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static void one(zo2_status status, const char *says, pk_tensor_parts t)
{
    put_one(t);
    if (status == ZO2_OK) {
        loaded();
        if (says)
            assert_opaque("w", says);
        else
            assert_int_equal(s.n_tensors, 1);
        return;
    }
    refused(status, says);
    SAYS("tensor w: ");
    SAYS("damaged or malicious");
}

#define FITS(...)         one(ZO2_OK, NULL, (pk_tensor_parts){__VA_ARGS__})
#define OPAQUE(what, ...) one(ZO2_OK, what, (pk_tensor_parts){__VA_ARGS__})
#define BAD(says, ...)    one(ZO2_ERR_FORMAT, says, (pk_tensor_parts){__VA_ARGS__})
#define BIG               INT64_MAX

static void every_element_is_inside_of_its_storage(void **state)
{
    (void)state;
    FITS(SMALL);
    BAD("its last element is number 6, its storage 0 ends after 6", SMALL, .offset = 1);
    FITS(.elements = 7, .offset = 1, .rank = 2, .shape = {2, 3}, .stride = {3, 1});
    BAD("its last element", .elements = 5, .rank = 2, .shape = {2, 3}, .stride = {3, 1});
    FITS(.elements = 9, .rank = 2, .shape = {2, 3}, .stride = {6, 1});
    BAD("its last element is number 8", .elements = 8, .rank = 2, .shape = {2, 3}, .stride = {6, 1});
    FITS(.elements = 1, .rank = 0);
    BAD("its last element", .elements = 0, .rank = 0);
    BAD("its last element", .elements = 1, .offset = 1, .rank = 0);
    FITS(.elements = 1, .rank = 1, .shape = {1000}, .stride = {0});
    FITS(.elements = 3, .offset = 3, .rank = 2, .shape = {0, 9},
         .stride = {BIG, BIG}); /* nothing, and nowhere beyond */
    BAD("its last element", .elements = 3, .offset = 4, .rank = 2, .shape = {0, 9}, .stride = {9, 1});
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    BAD("its size overflows", .elements = 1, .rank = 2, .shape = {BIG, 3}, .stride = {0, 0});
    BAD("its size overflows", .elements = 1, .rank = 1, .shape = {BIG}, .stride = {0}); /* in bytes */
    BAD("its size overflows", .elements = 1, .offset = BIG, .rank = 1, .shape = {1}, .stride = {0});
    BAD("overflows 64 bits", .elements = 9, .rank = 2, .shape = {5, 2}, .stride = {BIG, 1});
    BAD("overflows 64 bits", .elements = 9, .rank = 3, .shape = {2, 2, 2}, .stride = {BIG, BIG, BIG});
    BAD("its last element", .elements = 9, .rank = 1, .shape = {2}, .stride = {BIG});
    BAD("its storage's number of elements isn't one", .elements = BIG, .rank = 1, .shape = {1}, .stride = {1});
    FITS(.type = "ByteStorage", .elements = BIG, .rank = 1, .shape = {BIG}, .stride = {1});
}

static void negative_numbers_are_refused(void **state)
{
    (void)state;
    BAD("its offset isn't a number of elements", SMALL, .offset = -1);
    BAD("its shape or its strides", .elements = 6, .rank = 2, .shape = {2, -3}, .stride = {3, 1});
    BAD("its shape or its strides", .elements = 6, .rank = 2, .shape = {2, 3}, .stride = {-3, 1});
    BAD("its storage's number of elements", .elements = -1, .rank = 1, .shape = {0}, .stride = {1});
}

static void what_is_not_read_has_a_name(void **state)
{
    (void)state;
    OPAQUE("torch.ComplexFloatStorage", SMALL, .type = "ComplexFloatStorage");
    assert_int_equal(s.n_storages, 0);
    OPAQUE("torch._utils._rebuild_sparse_tensor", SMALL, .function = "_rebuild_sparse_tensor");
    assert_int_equal(s.n_storages, 1); /* known all the same */
    assert_string_equal(s.storages[0].key, "0");
    OPAQUE("a tensor of 9 dimensions", .elements = 1, .rank = 9, .shape = {1, 1, 1, 1, 1, 1, 1, 1, 1});
    OPAQUE("a tensor with metadata (negated or conjugated)", SMALL, .more = "}U\3neg" OP_TRUE "s");
    FITS(SMALL, .more = "}");
    FITS(SMALL, .more = "N");
    OPAQUE("torch.float4", SMALL, .function = "_rebuild_tensor_v3", .more = "ctorch\nfloat4\n");
}

static void other_arguments_are_refused(void **state)
{
    (void)state;
    BAD("not of the 6 arguments", SMALL, .more = "NN");
    BAD("not of the 7 arguments", SMALL, .function = "_rebuild_tensor_v3");
    BAD("its type of data isn't a name", SMALL, .function = "_rebuild_tensor_v3", .more = "U\7float32");
    BAD("its storage has no type of data", .type = "UntypedStorage", .elements = 24, .rank = 1, .shape = {6},
        .stride = {1});
    static const struct {
        const char *arguments, *says;
    } cases[] = {
        {")", "not of the 6 arguments"},
        {"(NK\1))NNt", "its storage isn't one ('storage'"},
        {"(NQK\1))NNt", "its storage isn't one ('storage'"},
        {"()QK\1))NNt", "its storage isn't one ('storage'"},
        {"((U\6modulectorch\nFloatStorage\nU\1kU\3cpuK\6tQK\1))NNt", "its storage isn't one ('storage'"},
        {"((U\7storageU\5FloatU\1kU\3cpuK\6tQK\1))NNt", "its storage's type is a text, not a name"},
        {"((U\7storagectorch\nFloatStorage\nK\1U\3cpuK\6tQK\1))NNt", "its storage's key is no text"},
        {"((U\7storagectorch\nFloatStorage\nU\1\xffU\3cpuK\6tQK\1))NNt", "its storage's key is no text"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuU\1ntQK\1))NNt", "its storage's number of elements isn't one"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\6tQN))NNt", "its offset isn't a number"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\6tQK\1]]NNt", "its shape and strides aren't tuples"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\6tQK\1K\1" OP_TUPLE1 ")NNt", "tuples of one length"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\6tQK\1N" OP_TUPLE1 "N" OP_TUPLE1 "NNt",
         "its shape or its strides"},
        {"((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\6K\1tQK\1))NNt", "the part of its storage is no key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_ops(&p, "}U\1w");
        pk_global(&p, "torch._utils", "_rebuild_tensor_v2");
        pk_ops(&p, cases[i].arguments);
        pk_ops(&p, "Rs.");
        refused(ZO2_ERR_FORMAT, cases[i].says);
    }
}

static void untyped_storages_have_bytes(void **state)
{
    (void)state;
    FITS(.function = "_rebuild_tensor_v3", .more = "ctorch\nfloat32\n", .type = "UntypedStorage", .elements = 24,
         .rank = 1, .shape = {6}, .stride = {1});
    assert_string_equal(tensor_of("w")->dtype_name, "F32");
    assert_int_equal(tensor_of("w")->element_bytes, 4);
    assert_int_equal(storage_of("w")->element_bytes, 1);
    BAD("its last element", .function = "_rebuild_tensor_v3", .more = "ctorch\nfloat32\n", .type = "UntypedStorage",
        .elements = 23, .rank = 1, .shape = {6}, .stride = {1});
    BAD("its last element", .function = "_rebuild_tensor_v3", .more = "ctorch\nfloat32\n", .type = "UntypedStorage",
        .elements = 24, .offset = 1, .rank = 1, .shape = {6}, .stride = {1});
}

/* A part of a storage under a key of its own, as files before torch 0.4 have it. */
static void parts_of_storages(void **state)
{
    (void)state;
    static const struct {
        const char *part, *says;
    } cases[] = {
        {"N", "its last element is number 6"},
        {"(U\1vK\2K\6t", NULL},
        {"(U\1vK\4K\6t", NULL},
        {"(U\1vK\2K\5t", "its last element is number 5, its storage k ends after 5"},
        {"(U\1vK\5K\6t", "its part of storage k (6 elements from 5) ends beyond its 10"},
        {"(U\1vK\2K\6Nt", "the part of its storage is no key"},
        {"(U\1vJ\xff\xff\xff\xffK\6t", "the part of its storage is no key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_ops(&p, "}U\1w");
        pk_global(&p, "torch._utils", "_rebuild_tensor_v2");
        pk_ops(&p, "((U\7storagectorch\nFloatStorage\nU\1kU\3cpuK\x0a");
        pk_ops(&p, cases[i].part);
        pk_ops(&p, i == 0 ? "tQK\6K\6" : "tQK\1K\5"); /* offset and length: to 12 of 10, to 6 */
        pk_ops(&p, OP_TUPLE1 "K\1" OP_TUPLE1 "NNtRs.");
        if (!cases[i].says) {
            loaded();
            assert_int_equal(tensor_of("w")->offset, i == 1 ? 3 : 5);
            assert_string_equal(storage_of("w")->key, "k");
            assert_int_equal(storage_of("w")->elements, 10);
        } else {
            refused(ZO2_ERR_FORMAT, i == 0 ? "its last element is number 11" : cases[i].says);
        }
    }
    for (int begin = 4; begin <= 5; begin++) { /* bytes that are read as numbers */
        pk_ops(&p, "}U\1w");
        pk_global(&p, "torch._utils", "_rebuild_tensor_v3");
        pk_ops(&p, "((U\7storagectorch\nByteStorage\nU\1kU\3cpuK\x0a(U\1vK");
        pk_number(&p, (uint64_t)begin, 1);
        pk_ops(&p, "K\4ttQ");
        pk_int(&p, 0);
        pk_ops(&p, "))NNctorch\nfloat32\ntRs.");
        if (begin == 4) {
            loaded();
            assert_tensor("w", "F32", 1, NONE, NONE);
        } else {
            refused(ZO2_ERR_FORMAT, "its part of storage k begins inside of an element");
        }
    }
}

static void storages_of_one_key_are_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        pk_ops(&p, "}(");
        pk_entry(&p, "a", "7");
        pk_text(&p, "b");
        pk_tensor(&p, (pk_tensor_parts){.key = i == 3 ? "77" : "7",
                                        .elements = i == 1 ? 7 : 6,
                                        .type = i == 2 ? "IntStorage" : NULL,
                                        .rank = 1,
                                        .shape = {2},
                                        .stride = {1}});
        pk_ops(&p, "u.");
        if (i == 0 || i == 3) {
            loaded();
            assert_int_equal(s.n_storages, i == 0 ? 1 : 2);
            assert_string_equal(storage_of("a")->key, "7");
            assert_string_equal(storage_of("b")->key, i == 0 ? "7" : "77");
        } else {
            refused(ZO2_ERR_FORMAT, "tensors a and b differ in what storage 7 is");
        }
    }
}

/* ---- wrappers ------------------------------------------------------------------------------------------------------ */

static void put_wrapped(const char *module, const char *name, const char *before, const char *after)
{
    pk_ops(&p, "}U\1w");
    pk_global(&p, module, name);
    pk_ops(&p, before);
    pk_tensor(&p, (pk_tensor_parts){SMALL});
    pk_ops(&p, after);
    pk_ops(&p, "s.");
}

static void wrapped_tensors(void **state)
{
    (void)state;
    put_wrapped("torch._utils", "_rebuild_parameter", "(", OP_TRUE "}tR");
    loaded();
    assert_tensor("w", "F32", 0, LIST(2, 3), LIST(3, 1));
    put_wrapped("torch._utils", "_rebuild_parameter_with_state", "(", OP_TRUE "}}tR");
    loaded();
    assert_int_equal(s.n_tensors, 1);
    put_wrapped("torch._utils", "_rebuild_parameter", "(ctorch._utils\n_rebuild_parameter\n(", "NNtRNNtR");
    loaded();
    assert_int_equal(s.n_tensors, 1);
    put_wrapped("torch._utils", "_rebuild_parameter", "(NNNN", "tR");
    refused(ZO2_ERR_FORMAT, "a parameter isn't made of a tensor");
    put_wrapped("my.quant", "wrap", "(", "tR");
    loaded();
    assert_opaque("w", "my.quant.wrap");
    put_wrapped("torch._tensor", "_rebuild_from_type_v2", "(", "NNNtR");
    loaded();
    assert_opaque("w", "None"); /* the type */
    put_wrapped("torch._tensor", "_rebuild_from_type_v2", "(", "tR");
    refused(ZO2_ERR_FORMAT, "_rebuild_from_type_v2 has other arguments");
    pk_ops(&p, "}U\1wctorch._utils\n_rebuild_parameter\n(cm\nQ\n)RNNtRs.");
    loaded();
    assert_opaque("w", "m.Q");
    pk_ops(&p, "}U\1w");
    for (int i = 0; i < 9; i++)
        pk_ops(&p, "ctorch._utils\n_rebuild_parameter\n(");
    pk_tensor(&p, (pk_tensor_parts){SMALL});
    for (int i = 0; i < 9; i++)
        pk_ops(&p, "NNtR");
    pk_ops(&p, "s.");
    refused(ZO2_ERR_FORMAT, "it is a parameter of a parameter");
}

static void tensors_of_classes(void **state)
{
    (void)state;
    static const struct {
        const char *function, *class_name, *what;
    } cases[] = {
        {"ctorch._utils\n_rebuild_tensor_v2\n", "ctorch\nTensor\n", NULL},
        {"ctorch._utils\n_rebuild_tensor_v2\n", "ctorch.nn.parameter\nParameter\n", NULL},
        {"ctorch._utils\n_rebuild_tensor_v2\n", "cmy\nSubclass\n", "my.Subclass"},
        {"cmy\nfunction\n", "ctorch\nTensor\n", "my.function"},
        {"ctorch\nFloatStorage\n", "ctorch\nTensor\n", "torch.FloatStorage"},
        {"N", "ctorch\nTensor\n", "None"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_ops(&p, "}U\1wctorch._tensor\n_rebuild_from_type_v2\n(");
        pk_ops(&p, cases[i].function);
        pk_ops(&p, cases[i].class_name);
        pk_ops(&p, "(");
        pk_storage(&p, &(pk_tensor_parts){.elements = 6});
        pk_ops(&p, "K\1K\5" OP_TUPLE1 "K\1" OP_TUPLE1 OP_FALSE "}t}tRs.");
        loaded();
        if (cases[i].what)
            assert_opaque("w", cases[i].what);
        else
            assert_tensor("w", "F32", 1, LIST(5), LIST(1));
    }
}

/* A changed tensor isn't the one that was made. */
static void tensors_are_not_changed_afterwards(void **state)
{
    (void)state;
    static const char *const changes[] = {"}b", "NNs", "(NNu", "Na", "(Ne"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        pk_ops(&p, "}U\1w");
        pk_tensor(&p, (pk_tensor_parts){SMALL});
        pk_ops(&p, changes[i]);
        pk_ops(&p, "s.");
        refused(ZO2_ERR_FORMAT, "torch._utils._rebuild_tensor_v2");
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_element_is_inside_of_its_storage),
        T(sizes_that_overflow_are_refused),
        T(negative_numbers_are_refused),
        T(what_is_not_read_has_a_name),
        T(other_arguments_are_refused),
        T(untyped_storages_have_bytes),
        T(parts_of_storages),
        T(storages_of_one_key_are_the_same),
        T(wrapped_tensors),
        T(tensors_of_classes),
        T(tensors_are_not_changed_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
