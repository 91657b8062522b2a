/* test_torch_real.c: pickles that torch.save() wrote, tests/data/torch-pickles (make_fixtures/make_torch_pickles.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/torch_state_testing.h"

static void get(const char *name)
{
    size_t n;
    char *path = in_dir(ZO2_TEST_DATA "/torch-pickles", name);
    unsigned char *b = file_load(path, &n);
    p.n = 0;
    pk_bytes(&p, b, n);
    free(b);
    free(path);
}

static void a_module(void **state)
{
    (void)state;
    static const char *const names[] = {"0.weight", "0.bias", "1.weight", "1.bias"};
    for (int half = 0; half < 2; half++) {
        const char *dtype = half ? "F16" : "F32";
        get(half ? "half.pkl" : "module.pkl"); /* a dict; an OrderedDict with _metadata */
        loaded();
        assert_int_equal(s.n_tensors, 4);
        assert_int_equal(s.n_storages, 4);
        assert_int_equal(s.n_opaques, 0);
        for (int i = 0; i < 4; i++)
            assert_string_equal(s.tensors[i].name, names[i]);
        assert_tensor("0.weight", dtype, 0, LIST(2, 3), LIST(3, 1));
        assert_tensor("0.bias", dtype, 0, LIST(2), LIST(1));
        assert_tensor("1.weight", dtype, 0, LIST(2), LIST(1));
        assert_string_equal(storage_of("0.weight")->key, "0");
        assert_string_equal(storage_of("0.weight")->type_name, half ? "HalfStorage" : "FloatStorage");
        assert_int_equal(storage_of("0.weight")->elements, 6);
        assert_int_equal(storage_of("0.weight")->element_bytes, half ? 2 : 4);
        assert_int_equal(tensor_of("1.bias")->dtype, half ? ZO2_F16 : ZO2_F32);
    }
}

static void a_whole_model_is_told(void **state)
{
    (void)state;
    get("whole-model.pkl");
    refused(ZO2_ERR_UNSUPPORTED,
            "it is torch.nn.modules.container.Sequential, not a state dictionary: if it is a whole "
            "model, save its state_dict()");
}

static void parameters_are_tensors(void **state)
{
    (void)state;
    get("parameter.pkl");
    loaded();
    assert_tensor("w", "F32", 0, LIST(2, 3), LIST(3, 1));
    assert_tensor("b", "BF16", 0, LIST(3), LIST(1));
    assert_int_equal(tensor_of("b")->dtype, ZO2_BF16);
}

static void views_share_a_storage(void **state)
{
    (void)state;
    get("views.pkl");
    loaded();
    assert_int_equal(s.n_tensors, 8);
    assert_int_equal(s.n_storages, 2);
    assert_tensor("whole", "F32", 0, LIST(24), LIST(1));
    assert_tensor("part", "F32", 4, LIST(6), LIST(1));
    assert_tensor("transposed", "F32", 0, LIST(6, 4), LIST(1, 6));
    assert_tensor("step", "F32", 1, LIST(5), LIST(5));
    assert_tensor("expanded", "F32", 3, LIST(7), LIST(0));
    assert_tensor("scalar", "F32", 23, NONE, NONE);
    assert_tensor("empty", "F32", 24, LIST(0), LIST(1));
    assert_tensor("attributed", "F32", 0, LIST(2), LIST(1)); /* _rebuild_from_type_v2 */
    assert_ptr_equal(storage_of("whole"), storage_of("empty"));
    assert_ptr_not_equal(storage_of("whole"), storage_of("attributed"));
    assert_int_equal(storage_of("whole")->elements, 24);
}

static void types_of_data(void **state)
{
    (void)state;
    static const struct {
        const char *name, *dtype;
        uint32_t bytes;
    } types[] = {
        {"float32", "F32", 4},
        {"float16", "F16", 2},
        {"bfloat16", "BF16", 2},
        {"float64", "F64", 8},
        {"int64", "I64", 8},
        {"int32", "I32", 4},
        {"int16", "I16", 2},
        {"int8", "I8", 1},
        {"uint8", "U8", 1},
        {"bool", "BOOL", 1},
        {"uint16", "U16", 2}, /* from here on in untyped storages */
        {"float8_e4m3fn", "F8_E4M3", 1},
        {"float8_e5m2", "F8_E5M2", 1},
    };
    get("types.pkl");
    loaded();
    const uint64_t n = sizeof types / sizeof *types;
    assert_int_equal(s.n_tensors, n);
    for (uint64_t i = 0; i < n; i++) {
        assert_tensor(types[i].name, types[i].dtype, 0, LIST(2), LIST(1));
        assert_int_equal(tensor_of(types[i].name)->element_bytes, types[i].bytes);
        assert_int_equal(tensor_of(types[i].name)->dtype, i < 3 ? i + 1 : 0);
        assert_int_equal(storage_of(types[i].name)->elements * storage_of(types[i].name)->element_bytes,
                         2 * types[i].bytes);
    }
    assert_string_equal(storage_of("uint16")->type_name, "UntypedStorage");
    assert_int_equal(s.n_opaques, 5);
    assert_opaque("complex64", "torch.ComplexFloatStorage");
    assert_opaque("quantized", "torch._utils._rebuild_qtensor");
    assert_opaque("negated", "a tensor with metadata (negated or conjugated)");
    assert_opaque("sparse", "torch._utils._rebuild_sparse_tensor");
    assert_opaque("meta", "torch._utils._rebuild_meta_tensor_no_storage");
}

/* Configurations of somebody's classes, an argparse.Namespace and an optimizer's state lie beside "model". */
static void metaseq(void **state)
{
    (void)state;
    get("metaseq.pkl");
    loaded();
    assert_int_equal(s.n_tensors, 2);
    assert_int_equal(s.n_opaques, 0);
    assert_tensor("decoder.version", "F32", 0, LIST(1), LIST(1));
    assert_tensor("decoder.layers.0.fc1.weight", "F16", 0, LIST(4, 2), LIST(2, 1));
    assert_int_equal(s.n_storages, 3); /* the optimizer's, too */
}

static void protocols(void **state)
{
    (void)state;
    get("protocol3.pkl");
    loaded();
    assert_tensor("w", "F32", 0, LIST(2, 3), LIST(3, 1));
    get("protocol4.pkl");
    refused(ZO2_ERR_UNSUPPORTED, "STACK_GLOBAL");
    get("protocol5.pkl");
    refused(ZO2_ERR_UNSUPPORTED, "save again with the default protocol: torch.save(x, file)");
}

static void the_form_before_torch_1_6(void **state)
{
    (void)state;
    size_t at, used;
    char **keys;
    uint64_t n_keys, elements, bytes = 0;
    get("legacy.bin");
    assert_true(zo2_torch_is_legacy(p.b, p.n));
    OK(zo2_torch_legacy_header(p.b, p.n, &at, "FILE"));
    OK(zo2_torch_state_load(&s, p.b + at, p.n - at, &used, "FILE"));
    at += used;
    assert_tensor("a", "F32", 0, LIST(2, 3), LIST(3, 1));
    assert_tensor("tied", "F32", 2, LIST(2), LIST(1));
    assert_tensor("b", "F32", 0, LIST(2), LIST(1));
    assert_ptr_equal(storage_of("tied"), storage_of("b"));
    OK(zo2_torch_legacy_keys(&keys, &n_keys, p.b + at, p.n - at, &used, "FILE"));
    at += used;
    assert_int_equal(n_keys, 2);
    for (uint64_t i = 0; i < n_keys; i++) { /* the rest is their data */
        const int is_a = strcmp(keys[i], storage_of("a")->key) == 0;
        assert_string_equal(keys[i], is_a ? storage_of("a")->key : storage_of("b")->key);
        memcpy(&elements, p.b + at + bytes, 8);
        assert_int_equal(elements, is_a ? 6 : 24);
        bytes += 8 + 4 * elements;
    }
    assert_int_equal(at + bytes, p.n);
    zo2_torch_legacy_keys_free(keys, n_keys);
}

static void others_are_no_old_files(void **state)
{
    (void)state;
    static const char *const names[] = {"module.pkl", "metaseq.pkl", "protocol4.pkl"};
    size_t used;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        get(names[i]);
        assert_false(zo2_torch_is_legacy(p.b, p.n));
        FAILS(FORMAT, zo2_torch_legacy_header(p.b, p.n < 20 ? p.n : 20, &used, "FILE"));
        assert_int_equal(used, 0);
    }
    assert_false(zo2_torch_is_legacy(NULL, 0));
}

/* Of a legacy file all, of the others the state. */
static zo2_status read_all(const unsigned char *b, size_t n, int old)
{
    size_t at = 0, used;
    char **keys = NULL;
    uint64_t n_keys = 0;
    zo2_torch_state_free(&s);
    zo2_status status = old ? zo2_torch_legacy_header(b, n, &at, "FILE") : ZO2_OK;
    if (status == ZO2_OK)
        status = zo2_torch_state_load(&s, b + at, n - at, &used, "FILE");
    if (status == ZO2_OK && old) {
        at += used;
        status = zo2_torch_legacy_keys(&keys, &n_keys, b + at, n - at, &used, "FILE");
    }
    zo2_torch_legacy_keys_free(keys, n_keys);
    return status;
}

static void every_shorter_length_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"module.pkl", "views.pkl", "types.pkl", "metaseq.pkl", "legacy.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const int old = strstr(names[i], ".bin") != NULL;
        get(names[i]);
        const size_t pickles = old ? p.n - (2 * 8 + 30 * 4) : p.n;
        for (size_t n = 0; n < pickles; n++) {
            unsigned char *exact = malloc(n + 1);
            assert_non_null(exact);
            memcpy(exact + 1, p.b, n);
            if (read_all(exact + 1, n, old) != ZO2_ERR_FORMAT)
                fail_msg("%s, %zu bytes: %s", names[i], n, zo2_last_error());
            free(exact);
        }
        OK(read_all(p.b, pickles, old));
    }
}

/* Each byte, some other values: refused with a message, or tensors that lie in their storages. */
static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {"views.pkl", "types.pkl", "metaseq.pkl", "legacy.bin"};
    static const unsigned char flips[] = {0x01, 0x10, 0x80, 0xFF};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        get(names[i]);
        for (size_t at = 0; at < p.n; at++)
            for (size_t f = 0; f < sizeof flips; f++) {
                p.b[at] ^= flips[f];
                (void)read_all(p.b, p.n, strstr(names[i], ".bin") != NULL);
                for (uint64_t k = 0; k < s.n_tensors; k++) {
                    const zo2_torch_tensor *t = &s.tensors[k];
                    const zo2_torch_storage *in = &s.storages[t->storage];
                    uint64_t last = t->offset;
                    for (uint32_t d = 0; t->elements && d < t->rank; d++)
                        last += (t->shape[d] - 1) * t->stride[d];
                    assert_true((last + (t->elements != 0)) * t->element_bytes <= in->elements * in->element_bytes);
                }
                p.b[at] ^= flips[f];
            }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_module),
        T(a_whole_model_is_told),
        T(parameters_are_tensors),
        T(views_share_a_storage),
        T(types_of_data),
        T(metaseq),
        T(protocols),
        T(the_form_before_torch_1_6),
        T(others_are_no_old_files),
        T(every_shorter_length_is_refused),
        T(changed_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
