/* test_pack_wire.c: zo2_pack_wire_error() against sums that are put together here; what it refuses. */
#include "codec/codec.h"
#include "engine/families/families.h"
#include "engine/pack/pack_api.h"
#include "tests/unit/engine/hf_dir.h"

#include <math.h>

#define CONFIG FIXTURES "untied-proj-bf16/config.json"

static const char *make_pack(char *dir, zo2_dtype dtype)
{
    zo2_synth_opts o;
    zo2_synth_opts_init(&o);
    o.dtype = dtype;
    const char *path = hf_path(dir, "model.zo2");
    assert_ok(zo2_pack_synth(CONFIG, path, &o));
    return path;
}

static float *values_of(const zo2_pack *p, uint32_t id)
{
    const zo2_packtensor *t = zo2_packfile_tensor(p->file, id);
    const uint64_t n = t->rows * t->cols;
    float *w = malloc(n * sizeof *w);
    void *bits = malloc(n * zo2_dtype_bytes(t->dtype));
    assert_ok(zo2_packfile_read_rows(p->file, id, 0, t->rows, bits));
    zo2_source_decode(t->dtype, bits, n, w);
    free(bits);
    return w;
}

/* One tensor through one wire, encoded here as a whole. */
static void check(const zo2_pack *p, uint32_t id, zo2_wire wire)
{
    const zo2_tensor *t = &p->arch.tensors[id];
    const zo2_codec *codec = zo2_codec_get(t->exempt ? ZO2_WIRE_FP32 : wire);
    const uint64_t n = t->rows * t->cols, room = codec->wire_bytes(t->rows, t->cols);
    float *w = values_of(p, id), *said = malloc(n * sizeof *said);
    void *plane = aligned_alloc(64, (room + 63) / 64 * 64);
    double squares = 0, errors = 0;
    zo2_wire_error e, again;
    codec->split(w, t->rows, t->cols, 0, t->rows, plane, NULL);
    codec->decode(plane, t->rows, t->cols, 0, t->rows, said);
    for (uint64_t i = 0; i < n; i++) {
        squares += (double)w[i] * w[i];
        errors += ((double)said[i] - w[i]) * ((double)said[i] - w[i]);
    }
    memset(&e, 0xA5, sizeof e);
    assert_ok(zo2_pack_wire_error(p, id, wire, 1, &e));
    assert_int_equal(e.struct_size, sizeof e);
    assert_int_equal(e.wire, codec->id);
    assert_int_equal(e.weights, n);
    assert_true(e.wire_bytes > 0 && e.wire_bytes <= room);
    assert_true(codec->sent_bytes || e.wire_bytes == room); /* of codes that all have one length */
    assert_true(fabs(e.squares - squares) <= 1e-12 * squares);
    assert_true(fabs(e.error_squares - errors) <= 1e-12 * errors);
    assert_ok(zo2_pack_wire_error(p, id, wire, 3, &again));
    assert_memory_equal(&e, &again, sizeof e);
    free(w);
    free(said);
    free(plane);
}

static void sums(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *path = make_pack(dir, ZO2_F32);
    zo2_pack *p;
    assert_ok(zo2_pack_open(&p, path));
    for (int wire = 1; zo2_wire_name((zo2_wire)wire); wire++)
        for (uint32_t i = 0; i < p->arch.n_tensors; i++)
            check(p, i, (zo2_wire)wire);
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

static void known(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *path = make_pack(dir, ZO2_F32);
    zo2_pack *p;
    zo2_wire_error e;
    assert_ok(zo2_pack_open(&p, path));
    assert_ok(zo2_pack_wire_error(p, 0, ZO2_WIRE_FP32, 0, &e));
    assert_true(e.error_squares == 0 && e.wire_bytes == 4 * e.weights && e.squares > 0);
    assert_ok(zo2_pack_wire_error(p, 0, ZO2_WIRE_BF16, 0, &e));
    const double bf16 = sqrt(e.error_squares / e.squares); /* normal weights: 0.166 % */
    assert_true(bf16 > 0.0015 && bf16 < 0.0018);
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

static void refusals(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *path = make_pack(dir, ZO2_F16);
    zo2_pack *p, *arch;
    zo2_wire_error e;
    assert_ok(zo2_pack_open(&p, path));
    assert_ok(zo2_pack_open_arch(&arch, path));
    assert_int_equal(zo2_pack_wire_error(NULL, 0, ZO2_WIRE_BF16, 1, &e), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_wire_error(p, 0, ZO2_WIRE_BF16, 1, NULL), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_wire_error_sized(p, 0, ZO2_WIRE_BF16, 1, &e, 4), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_wire_error(p, 0, (zo2_wire)0, 1, &e), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_wire_error(p, 0, (zo2_wire)10000, 1, &e), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_wire_error(p, p->arch.n_tensors, ZO2_WIRE_BF16, 1, &e), ZO2_ERR_NOTFOUND);
    assert_int_equal(zo2_pack_wire_error(arch, 0, ZO2_WIRE_BF16, 1, &e), ZO2_ERR_UNSUPPORTED);
    zo2_pack_close(arch);

    /* a bit of the first chunk of weights */
    zo2_packplace place;
    assert_ok(zo2_packfile_place(p->file, 0, 0, &place));
    FILE *f = fopen(path, "r+b");
    assert_int_equal(fseek(f, (long)place.offset, SEEK_SET), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, (long)place.offset, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, f), byte ^ 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(zo2_pack_wire_error(p, 0, ZO2_WIRE_BF16, 2, &e), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), p->arch.tensors[0].name));
    zo2_pack_close(p);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),
        cmocka_unit_test(known),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
