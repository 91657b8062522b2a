/* test_freeze_narrow.c: bf12 wires in the pack, whose length is known: planes and plans have no room for what no weight needs. Those of weights that
 * do need it. Packs that say less than their codes. */
#include "tests/unit/engine/freeze_testing.h"
#include "tests/unit/engine/hf_dir.h"

#include "codec/wires.h"

#include <xxhash.h>

static const char wide[] = "model.decoder.layers.0.fc1.weight", other[] = "model.decoder.layers.0.fc2.weight";

/* The model with a matrix whose exponents differ more than a row has room for, in its last row. */
static const char *wide_pack(void)
{
    char *dir = hf_temp();
    static char path[512];
    hf_model *m = hf_load(FIXTURES "prenorm-bf16-sharded");
    hf_tensor *t = hf_find(m, wide);
    const uint64_t cols = t->shape[1];
    assert_string_equal(t->dtype, "BF16");
    for (uint64_t i = 0; i < cols; i++) {
        const uint16_t bits = (uint16_t)((i % 2 ? 60 : 120) << 7 | (i & 127));
        memcpy(t->data + t->bytes - 2 * cols + 2 * i, &bits, 2);
    }
    hf_save(m, dir);
    hf_free(m);
    hf_copy(FIXTURES "prenorm-bf16-sharded/config.json", hf_path(dir, "config.json"), NULL, NULL);
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    MUST(zo2_pack_convert(dir, scratch_path(path, sizeof path, "wide.zo2"), &o));
    hf_remove_tree(dir);
    return path;
}

static int is_narrow(const char *pack, const char *tensor)
{
    zo2_pack *p;
    MUST(zo2_pack_open(&p, pack));
    const int is = zo2_arch_by_name(&p->arch, tensor)->narrow_wires == 1u << ZO2_WIRE_BF12;
    zo2_pack_close(p);
    return is;
}

static zo2_plan plan_of(const char *pack, zo2_engine_opts o)
{
    zo2_plan plan;
    o.probe_seconds = 0;
    MUST(zo2_plan_estimate(pack, &o, &plan));
    return plan;
}

/* What planes take is what is sent, and plans say so. */
static void memory_is_what_is_sent(void **state)
{
    (void)state;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", pack_of(opt));
    const char *pack = copy_of(plain, "narrow.zo2");
    MUST(freeze(pack, ZO2_WIRE_BF12, "layers=2"));
    verify(pack);
    assert_true(is_narrow(pack, wide) && !is_narrow(plain, wide));
    const zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_BF12);
    const zo2_plan before = plan_of(plain, o), after = plan_of(pack, o);
    assert_true(after.frozen_bytes < before.frozen_bytes && after.host_peak_bytes <= before.host_peak_bytes);
    zo2_engine *e = start(pack, run_name(), &o);
    const zo2_layout *l = e->core.masters.layout;
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < l->n_chunks; c++) {
        const zo2_unit *u = &l->units[l->chunks[c].unit];
        const zo2_span *s = &l->spans[l->chunks[c].first_span];
        zo2_planes p;
        if (!u->frozen || u->tensor == ZO2_NO_TENSOR || s->codec->id != ZO2_WIRE_BF12)
            continue;
        const zo2_codec *codec = zo2_codec_get(ZO2_WIRE_BF12);
        uint8_t *whole_wire = calloc(1, codec->wire_bytes(s->rows, s->cols));
        MUST(zo2_masters_acquire(&e->core.masters, c, ZO2_PLANE_WIRE, ZO2_ACCESS_READ, &p));
        memcpy(whole_wire, p.wire, s->codec->wire_bytes(s->rows, s->cols));
        zo2_masters_release(&p);
        const uint64_t sent = codec->sent_bytes(whole_wire, s->rows, s->cols);
        assert_int_equal(s->codec->wire_bytes(s->rows, s->cols), sent);
        assert_in_range(l->chunks[c].wire_bytes, sent, sent + 255);
        bytes += sent;
        free(whole_wire);
    }
    assert_true(bytes > 0 && bytes <= after.frozen_bytes);
    zo2_engine_close(e);
}

static void wide_ones_keep_their_room(void **state)
{
    (void)state;
    char plain[512];
    snprintf(plain, sizeof plain, "%s", wide_pack());
    const char *pack = copy_of(plain, "wide-frozen.zo2");
    MUST(freeze(pack, ZO2_WIRE_BF12, "layers=2"));
    verify(pack);
    assert_true(!is_narrow(pack, wide) && is_narrow(pack, other));
    const uint64_t bytes = bytes_of(pack);
    MUST(freeze(pack, ZO2_WIRE_F8, "layers=2")); /* a new file: they come again */
    verify(pack);
    assert_true(bytes_of(pack) > bytes && !is_narrow(pack, wide) && is_narrow(pack, other));
    zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_BF12);
    const outcome want = train(plain, &o);
    for (int i = 0; i < 2; i++) {
        const outcome got = train(pack, &o);
        same_run(&want, &got, i ? "small chunks" : "large chunks");
        o.chunk_bytes = 700;
    }
}

/* Another pack, whose first wire says that its first window is wide, with right checksums. */
static const char *liar(const char *pack)
{
    static char path[512];
    zo2_packfile *from;
    zo2_packwriter *w;
    const char *name, *data;
    size_t bytes;
    MUST(zo2_packfile_open(&from, pack));
    MUST(zo2_packwriter_open(&w, &zo2_io_posix, scratch_path(path, sizeof path, "liar.zo2"), "opt", 1));
    for (size_t i = 0; (name = zo2_packfile_file_name(from, i)); i++) {
        MUST(zo2_packfile_file(from, name, &data, &bytes));
        MUST(zo2_packwriter_file(w, name, data, bytes));
    }
    MUST(zo2_packwriter_copy(w, from, 0, 0, NULL, NULL));
    for (uint32_t i = 0; i < zo2_packfile_header(from)->wires; i++) {
        const zo2_packwire wire = zo2_packfile_wire(from, i);
        const zo2_packtensor *t = zo2_packfile_tensor(from, wire.tensor);
        uint8_t *bits = malloc(wire.largest);
        MUST(zo2_packwriter_wire(w, wire.wire, wire.tensor));
        for (uint64_t row = 0; row < t->rows;) {
            zo2_packplace place;
            MUST(zo2_packfile_wire_place(from, wire.tensor, wire.wire, row, &place));
            MUST(zo2_packfile_read_place(from, wire.tensor, &place, bits));
            if (!strcmp(t->name, wide))
                bits[zo2_scales_at(zo2_wire_shape_of(ZO2_WIRE_BF12), place.rows, t->cols, 0)] = ZO2_BF12_WIDE;
            MUST(zo2_packwriter_wire_chunk(w, bits, place.bytes, place.stored_bytes,
                                           XXH3_64bits(bits, place.stored_bytes)));
            row += place.rows;
        }
        free(bits);
    }
    MUST(zo2_packwriter_commit(w, NULL));
    zo2_packwriter_close(w);
    zo2_packfile_close(from);
    return path;
}

static void who_says_less_than_its_codes_is_refused(void **state)
{
    (void)state;
    char run[512], spill[512];
    const char *pack = copy_of(pack_of(opt), "honest.zo2");
    MUST(freeze(pack, ZO2_WIRE_BF12, "layers=2"));
    const char *bad = liar(pack);
    zo2_engine *e;
    zo2_pack *p;
    zo2_engine_opts o = opts_of("layers=2", ZO2_WIRE_BF12);
    assert_error(zo2_engine_open(&e, bad, scratch_path(run, sizeof run, "liar"), &o), ZO2_ERR_FORMAT,
                 "is shorter than its codes say");
    assert_non_null(strstr(zo2_last_error(), wide));
    const char *const dirs[] = {scratch_path(spill, sizeof spill, "liar-spill")};
    zo2_plan plan;
    o.spill_dirs = dirs;
    o.spill_count = 1;
    o.probe_seconds = 0;
    o.host_bytes = 1;
    (void)zo2_plan_estimate(bad, &o, &plan);
    o.host_bytes = plan.host_min_bytes;
    zo2_status s = zo2_engine_open(&e, bad, scratch_path(run, sizeof run, "liar-spilled"), &o);
    if (!s) { /* who reads when it is needed says so then */
        test_batch t;
        random_batch(&t, 0, 120, ROWS, SEQ, 0);
        s = zo2_step(e, &t.b, NULL);
        zo2_engine_close(e);
    }
    assert_int_equal(s, ZO2_ERR_FORMAT);
    MUST(zo2_pack_open(&p, bad));
    assert_error(zo2_pack_verify(p, NULL, NULL), ZO2_ERR_FORMAT, "isn't what its own bits encode to");
    zo2_pack_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_is_sent),
        cmocka_unit_test(wide_ones_keep_their_room),
        cmocka_unit_test(who_says_less_than_its_codes_is_refused),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
