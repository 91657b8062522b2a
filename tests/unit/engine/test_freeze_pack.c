/* test_freeze_pack.c: packs that get wires of matrices, or lose them: what is in them, whatever came first; one that is interrupted is as it
 * was; and what is refused. */
#include "storage/pack/packfile_format.h"
#include "tests/unit/engine/freeze_testing.h"

#include <fenv.h>
#include <xxhash.h>

/* The same contents make the same file, in whatever order and pieces they came; other tokenizer files leave the wires. */
static void a_pack_is_its_contents(void **state)
{
    (void)state;
    uint64_t n[2];
    char *a = copy_of(pack_of(opt), "a.zo2"), *b = copy_of(pack_of(opt), "b.zo2");
    info_is(a, 0, 0, 0);
    MUST(freeze(a, ZO2_WIRE_E5M2, NULL));
    MUST(freeze(a, ZO2_WIRE_FP16, "layers=2"));
    MUST(freeze(a, ZO2_WIRE_FP16, "layers=0"));
    info_is(a, 0, ZO2_WIRE_E5M2, 19);
    info_is(a, 1, ZO2_WIRE_FP16, 19); /* six matrices a layer, and the embedding */
    info_is(a, 2, 0, 0);
    MUST(freeze(b, ZO2_WIRE_FP16, NULL));
    const uint64_t before = bytes_of(b);
    MUST(freeze(b, ZO2_WIRE_FP16, "layers=1")); /* all there */
    assert_int_equal(bytes_of(b), before);
    MUST(freeze(b, ZO2_WIRE_E5M2, NULL));
    char *bytes[2] = {whole(a, &n[0]), whole(b, &n[1])};
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    char folder[512], file[560];
    assert_int_equal(mkdir(scratch_path(folder, sizeof folder, "tokenizer"), 0777), 0);
    snprintf(file, sizeof file, "%s/tokenizer.json", folder);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("{}", f);
    fclose(f);
    MUST(zo2_pack_set_tokenizer(a, folder, NULL));
    info_is(a, 1, ZO2_WIRE_FP16, 19);
    verify(a);
    free(bytes[0]);
    free(bytes[1]);
}

/* A wire of a newer version, of chunks larger than any that are known here: nobody uses it, and it is kept. */
static void unknown_wires_are_kept(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "unknown.zo2");
    const uint32_t unknown = 77;
    uint64_t n;
    MUST(freeze(pack, ZO2_WIRE_FP32, NULL));
    char *b = whole(pack, &n);
    zo2_pack_superblock *super = (zo2_pack_superblock *)(void *)b;
    for (uint64_t i = 0; i < super->wires.bytes; i += sizeof(zo2_pack_wire_record))
        memcpy(b + super->wires.offset + i, &unknown, sizeof unknown);
    super->wires.hash = XXH3_64bits(b + super->wires.offset, super->wires.bytes);
    super->hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
    FILE *f = fopen(pack, "wb");
    assert_true(f && fwrite(b, n, 1, f) == 1 && !fclose(f));
    free(b);
    info_is(pack, 0, (zo2_wire)77, 19);
    zo2_engine_opts o = opts_of("layers=1", ZO2_WIRE_FP32); /* which it hasn't any more */
    zo2_engine_close(start(pack, run_name(), &o));
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    info_is(pack, 0, ZO2_WIRE_E4M3, 19);
    info_is(pack, 1, (zo2_wire)77, 19);
    verify(pack);
}

/* Without its wires a pack is what it was. */
static void wires_are_taken_out(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "removed.zo2");
    uint64_t n, now;
    char *was = whole(pack, &n);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.remove = 1;
    o.wire = ZO2_WIRE_E4M3;
    MUST(zo2_pack_freeze(pack, &o)); /* there is none */
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    MUST(freeze(pack, ZO2_WIRE_FP32, "layers=1"));
    o.tune = "layers=2"; /* those of layers 0 and 1 and of the embedding */
    MUST(zo2_pack_freeze(pack, &o));
    info_is(pack, 0, ZO2_WIRE_FP32, 13);
    info_is(pack, 1, ZO2_WIRE_E4M3, 6);
    verify(pack);
    o.tune = NULL;
    MUST(zo2_pack_freeze(pack, &o));
    info_is(pack, 0, ZO2_WIRE_FP32, 13);
    info_is(pack, 1, 0, 0);
    o.wire = ZO2_WIRE_FP32;
    MUST(zo2_pack_freeze(pack, &o));
    char *is = whole(pack, &now);
    assert_int_equal(now, n);
    assert_memory_equal(is, was, n);
    free(was);
    free(is);
}

/* The caller's rounding changes no bit, and is his again. */
static void the_callers_arithmetic_is_his_own(void **state)
{
    (void)state;
    uint64_t n[2];
    char *a = copy_of(pack_of(opt), "nearest.zo2"), *b = copy_of(pack_of(opt), "upward.zo2");
    MUST(freeze(a, ZO2_WIRE_E4M3, NULL));
    assert_int_equal(fesetround(FE_UPWARD), 0);
    const zo2_status s = freeze(b, ZO2_WIRE_E4M3, NULL);
    const int rounding = fegetround();
    verify(b);
    fesetround(FE_TONEAREST);
    MUST(s);
    assert_int_equal(rounding, FE_UPWARD);
    char *bytes[2] = {whole(a, &n[0]), whole(b, &n[1])};
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

/* All hashes are right, and it is the wire of other weights: a run would compute with them. */
static void a_wire_of_other_weights_is_found(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "other-weights.zo2");
    uint64_t n;
    MUST(freeze(pack, ZO2_WIRE_E4M3, NULL));
    verify(pack);
    char *b = whole(pack, &n);
    zo2_pack_superblock *super = (zo2_pack_superblock *)(void *)b;
    zo2_pack_section *table = &super->table[ZO2_PACK_CHUNKS];
    zo2_pack_chunk_record *c = (zo2_pack_chunk_record *)(void *)(b + table->offset) + super->chunks - 1;
    b[c->offset + 3] ^= 1;
    c->stored_hash = c->decoded_hash = XXH3_64bits(b + c->offset, c->stored_bytes);
    table->hash = XXH3_64bits(b + table->offset, table->bytes);
    super->hash = XXH3_64bits(b, offsetof(zo2_pack_superblock, hash));
    FILE *f = fopen(pack, "wb");
    assert_true(f && fwrite(b, n, 1, f) == 1 && !fclose(f));
    free(b);
    zo2_pack *p;
    MUST(zo2_pack_open(&p, pack));
    assert_int_equal(zo2_pack_verify(p, NULL, NULL), ZO2_ERR_FORMAT);
    assert_non_null(
        strstr(zo2_last_error(), "the stored fp8-e4m3 wire of tensor model.decoder.layers.2.fc2.weight, rows 0 to "));
    zo2_pack_close(p);
}

static int cancel(void *ud, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *left = ud;
    assert_true(done <= total && (!strcmp(what, "copy") || !strcmp(what, "freeze")));
    return !(*left)--;
}

static void interrupted_it_is_as_it_was(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "cancelled.zo2");
    char command[600];
    uint64_t n, calls = 0;
    char *was = whole(pack, &n);
    zo2_freeze_opts o;
    zo2_freeze_opts_init(&o);
    o.wire = ZO2_WIRE_E4M3;
    o.progress = cancel;
    zo2_status s;
    do {
        uint64_t left = calls, now;
        o.progress_ud = &left;
        s = zo2_pack_freeze(pack, &o);
        if (!s)
            break;
        assert_int_equal(s, ZO2_ERR_CANCELLED);
        char *is = whole(pack, &now);
        assert_int_equal(now, n);
        assert_memory_equal(is, was, n);
        free(is);
        calls += 13;
    } while (calls < 1000);
    assert_true(!s && calls);
    snprintf(command, sizeof command, "! ls '%s'/cancelled.zo2.* 2>/dev/null | grep .", scratch_dir());
    assert_int_equal(system(command), 0);
    free(was);
}

static void refusals(void **state)
{
    (void)state;
    const char *pack = copy_of(pack_of(opt), "refused.zo2");
    const uint64_t bytes = bytes_of(pack);
    static const struct {
        zo2_wire wire;
        const char *tune, *says;
    } list[] = {
        {0, NULL, "there is no wire 0"},
        {(zo2_wire)99, NULL, "there is no wire 99"},
        {ZO2_WIRE_BF16, NULL, "own bits"},
        {ZO2_WIRE_FP16, "all", "tune all: no matrix of the model stays as it is"},
        {ZO2_WIRE_FP16, "layers=3", "layers 0 to 2"},
        {ZO2_WIRE_FP16, "layer=1", "tune"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        assert_int_equal(freeze(pack, list[i].wire, list[i].tune), ZO2_ERR_ARG);
        if (!strstr(zo2_last_error(), list[i].says))
            fail_msg("%s: %s", list[i].says, zo2_last_error());
    }
    zo2_freeze_opts bad = {.wire = ZO2_WIRE_FP16};
    assert_int_equal(zo2_pack_freeze(pack, &bad), ZO2_ERR_ARG);
    assert_int_equal(zo2_pack_freeze(pack, NULL), ZO2_ERR_ARG);
    assert_int_equal(freeze("/nowhere/at/all.zo2", ZO2_WIRE_FP16, NULL), ZO2_ERR_NOTFOUND);
    assert_int_equal(bytes_of(pack), bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pack_is_its_contents),
        cmocka_unit_test(interrupted_it_is_as_it_was),
        cmocka_unit_test(unknown_wires_are_kept),
        cmocka_unit_test(wires_are_taken_out),
        cmocka_unit_test(the_callers_arithmetic_is_his_own),
        cmocka_unit_test(a_wire_of_other_weights_is_found),
        cmocka_unit_test(refusals),
    };
    test_device_begin(0);
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
