/* test_engine_zstd.c: a run on a compressed pack is a run on the model: the same masters, step by step, and damage is
 * found when they are loaded. */
#include "tests/unit/engine/hf_dir.h"

#define MODEL FIXTURES "tiles-f16"

static const int32_t tokens[] = {2, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22};
static const uint8_t loss[] = {0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1};

static zo2_status open_engine(zo2_engine **e, const char *pack, const char *run, uint32_t threads)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.lr = 1e-3;
    o.seed = 5;
    o.threads = threads;
    o.max_rows = 2;
    o.max_seq = 6;
    o.resume = 1;
    return zo2_engine_open(e, pack, run, &o);
}

static void step(zo2_engine *e)
{
    zo2_batch b = {.struct_size = sizeof b, .rows = 2, .seq = 6, .tokens = tokens, .loss = loss};
    assert_ok(zo2_step(e, &b, NULL));
}

/* Hashes of the masters at the start, after two steps, and after a resume that loads from the pack. */
static void run(const char *pack, const char *dir, uint32_t threads, uint64_t hash[3])
{
    zo2_engine *e;
    assert_ok(open_engine(&e, pack, dir, threads));
    assert_ok(zo2_masters_hash(e, &hash[0]));
    step(e);
    step(e);
    assert_ok(zo2_masters_hash(e, &hash[1]));
    zo2_engine_close(e);
    assert_ok(open_engine(&e, pack, dir, threads));
    assert_ok(zo2_masters_hash(e, &hash[2]));
    zo2_engine_close(e);
}

static void the_same_masters(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *raw = hf_path(dir, "raw.zo2"), *small = hf_path(dir, "small.zo2");
    zo2_convert_opts c;
    zo2_convert_opts_init(&c);
    assert_ok(zo2_pack_convert(MODEL, raw, &c));
    c.zstd_level = 1;
    assert_ok(zo2_pack_convert(MODEL, small, &c));
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_open(&p, small));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    assert_true(info.compressed && info.stored_bytes < info.source_bytes);
    uint64_t a[3], b[3];
    run(raw, hf_path(dir, "a"), 1, a);
    run(small, hf_path(dir, "b"), 3, b);
    assert_memory_equal(a, b, sizeof a);
    assert_true(a[0] != a[1] && a[1] == a[2]);

    /* A run that was begun on one goes on on the other. */
    zo2_engine *e;
    uint64_t hash;
    assert_ok(open_engine(&e, small, hf_path(dir, "a"), 2));
    assert_ok(zo2_masters_hash(e, &hash));
    assert_true(hash == a[1]);
    zo2_engine_close(e);
    hf_remove_tree(dir);
}

static void damage_is_named(void **state)
{
    (void)state;
    char *dir = hf_temp();
    const char *pack = hf_path(dir, "small.zo2");
    zo2_convert_opts c;
    zo2_convert_opts_init(&c);
    c.zstd_level = 1;
    assert_ok(zo2_pack_convert(MODEL, pack, &c));
    size_t n;
    char *bytes = hf_read(pack, &n);
    bytes[4096 + 1000] ^= 1; /* the embedding is the first tensor */
    hf_write(pack, bytes, n);
    free(bytes);
    zo2_engine *e;
    assert_error(open_engine(&e, pack, hf_path(dir, "run"), 2), ZO2_ERR_FORMAT, "embed_tokens.weight");
    assert_int_equal(hf_count_entries(dir), 1);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_masters),
        cmocka_unit_test(damage_is_named),
    };
    return cmocka_run_group_tests_name("engine_zstd", tests, NULL, NULL);
}
