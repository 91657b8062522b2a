/* test_convert_pieces.c: checkpoints that store tensors in shards or several in one: the pack is that of the plain
 * model, whatever it was cut into; and what is said where the parts don't make a model. */
#include "engine/families/families.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "tests/unit/engine/hf_dir.h"

/* A rectangle of a stored tensor and its place in ours. */
typedef struct part {
    char stored[64], ours[80];
    zo2_place at; /* but for the tensor */
} part;

static struct {
    uint32_t n;
    part p[128];
} parts; /* a mapping has no argument of its own */

static int place(const zo2_arch *a, const zo2_stored *t, uint32_t i, zo2_place *out)
{
    const zo2_tensor *same = zo2_arch_by_name(a, t->name);
    uint32_t seen = 0;
    for (uint32_t k = 0; k < parts.n; k++)
        if (strcmp(parts.p[k].stored, t->name) == 0 && seen++ == i) {
            const zo2_tensor *ours = zo2_arch_by_name(a, parts.p[k].ours);
            *out = parts.p[k].at;
            out->tensor = ours ? ours->id : ZO2_TIED_HEAD;
            return 1;
        }
    if (seen || i || !same)
        return 0;
    *out = (zo2_place){.tensor = same->id, .rows = same->rows, .cols = same->cols};
    return 1;
}

static uint64_t rows_of(const hf_tensor *t)
{
    return t->rank == 1 ? 1 : t->shape[0];
}

/* Adds a part of tensor `ours` to the stored tensor, which is made with this shape if it isn't there. */
static void put(hf_model *m, const char *stored, uint64_t rows, uint64_t cols, const char *ours, const zo2_place *at)
{
    hf_tensor *from = hf_find(m, ours), *to = NULL;
    char dtype[sizeof from->dtype];
    memcpy(dtype, from->dtype, sizeof dtype);
    uint64_t from_cols = from->shape[from->rank - 1], size = from->bytes / (rows_of(from) * from_cols);
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->t[i].name, stored) == 0)
            to = &m->t[i];
    if (!to)
        to = hf_add(m, stored, dtype, from->rank, rows, cols, rows * cols * size, NULL);
    for (uint64_t r = 0; r < at->rows; r++)
        memcpy(to->data + ((at->from_row + r) * cols + at->from_col) * size,
               from->data + ((at->row + r) * from_cols + at->col) * size, at->cols * size);
    part *p = &parts.p[parts.n++];
    assert_true(parts.n <= 128);
    snprintf(p->stored, sizeof p->stored, "%s", stored);
    snprintf(p->ours, sizeof p->ours, "%s", ours);
    p->at = *at;
}

#define PUT(m, stored, rows, cols, ours, ...) put(m, stored, rows, cols, ours, &(zo2_place){__VA_ARGS__})
#define LAYER0                                "model.decoder.layers.0."
#define LAYER1                                "model.decoder.layers.1."

typedef struct bench {
    char *dir, *out;
    hf_model *m;
} bench;

static bench begin(const char *fixture)
{
    bench b = {hf_temp(), hf_temp(), hf_load(hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture))};
    hf_copy(hf_path(hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture), "config.json"), hf_path(b.dir, "config.json"),
            NULL, NULL);
    parts.n = 0;
    return b;
}

static zo2_status convert(const bench *b)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.force = 1;
    o.threads = 2;
    hf_save(b->m, b->dir);
    return zo2_convert_with(b->dir, hf_path(b->out, "out.zo2"), &o, place);
}

static void end(bench *b)
{
    hf_free(b->m);
    hf_remove_tree(b->dir);
    hf_remove_tree(b->out);
}

static void assert_plain_pack(const bench *b, const char *fixture)
{
    const char *plain = hf_path(b->out, "plain.zo2");
    assert_ok(zo2_pack_convert(hf_path(ZO2_TEST_DATA "/opt-fixtures", fixture), plain, NULL));
    hf_assert_same_file(plain, hf_path(b->out, "out.zo2"));
}

/* fc1 [48, 32] in two row shards, its bias with it. */
static void shard_rows(hf_model *m)
{
    PUT(m, "shard.0.fc1.weight", 20, 32, LAYER0 "fc1.weight", .rows = 20, .cols = 32);
    PUT(m, "shard.1.fc1.weight", 28, 32, LAYER0 "fc1.weight", .rows = 28, .cols = 32, .row = 20);
    hf_drop(m, LAYER0 "fc1.weight");
    PUT(m, "shard.0.fc1.bias", 1, 20, LAYER0 "fc1.bias", .rows = 1, .cols = 20);
    PUT(m, "shard.1.fc1.bias", 1, 28, LAYER0 "fc1.bias", .rows = 1, .cols = 28, .col = 20);
    hf_drop(m, LAYER0 "fc1.bias");
}

/* fc2 [32, 48] in three column shards, the last one first. */
static void shard_columns(hf_model *m)
{
    PUT(m, "shard.2.fc2.weight", 32, 27, LAYER0 "fc2.weight", .rows = 32, .cols = 27, .col = 21);
    PUT(m, "shard.0.fc2.weight", 32, 20, LAYER0 "fc2.weight", .rows = 32, .cols = 20);
    PUT(m, "shard.1.fc2.weight", 32, 1, LAYER0 "fc2.weight", .rows = 32, .cols = 1, .col = 20);
    hf_drop(m, LAYER0 "fc2.weight");
}

/* q and k [32, 32] below one another; their biases head by head (4 heads of 8), as some models have them. */
static void fuse(hf_model *m)
{
    PUT(m, "fused.qk.weight", 64, 32, LAYER1 "self_attn.q_proj.weight", .rows = 32, .cols = 32);
    PUT(m, "fused.qk.weight", 64, 32, LAYER1 "self_attn.k_proj.weight", .rows = 32, .cols = 32, .from_row = 32);
    for (uint64_t h = 0; h < 4; h++) {
        PUT(m, "fused.qk.bias", 1, 64, LAYER1 "self_attn.q_proj.bias", .rows = 1, .cols = 8, .from_col = 16 * h,
            .col = 8 * h);
        PUT(m, "fused.qk.bias", 1, 64, LAYER1 "self_attn.k_proj.bias", .rows = 1, .cols = 8, .from_col = 16 * h + 8,
            .col = 8 * h);
    }
    hf_drop(m, LAYER1 "self_attn.q_proj.weight");
    hf_drop(m, LAYER1 "self_attn.k_proj.weight");
    hf_drop(m, LAYER1 "self_attn.q_proj.bias");
    hf_drop(m, LAYER1 "self_attn.k_proj.bias");
}

static void same_pack(void **state)
{
    static void (*const cuts[])(hf_model * m) = {shard_rows, shard_columns, fuse};
    (void)state;
    for (unsigned which = 0; which < 8; which++) { /* none, each, all together */
        bench b = begin("prenorm-f32");
        for (unsigned c = 0; c < 3; c++)
            if (which >> c & 1)
                cuts[c](b.m);
        assert_ok(convert(&b));
        assert_plain_pack(&b, "prenorm-f32");
        end(&b);
    }
}

/* q and k side by side: rows are whole in ours, not in the stored tensor. */
static void side_by_side(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32");
    PUT(b.m, "qk", 32, 64, LAYER1 "self_attn.q_proj.weight", .rows = 32, .cols = 32);
    PUT(b.m, "qk", 32, 64, LAYER1 "self_attn.k_proj.weight", .rows = 32, .cols = 32, .from_col = 32);
    hf_drop(b.m, LAYER1 "self_attn.q_proj.weight");
    hf_drop(b.m, LAYER1 "self_attn.k_proj.weight");
    assert_ok(convert(&b));
    assert_plain_pack(&b, "prenorm-f32");
    end(&b);
}

/* A fused tensor that is sharded by columns: neither side of a piece is a stretch of whole rows. */
static void both_at_once(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32");
    const char *q = LAYER1 "self_attn.q_proj.weight", *k = LAYER1 "self_attn.k_proj.weight";
    PUT(b.m, "left", 64, 11, q, .rows = 32, .cols = 11);
    PUT(b.m, "left", 64, 11, k, .rows = 32, .cols = 11, .from_row = 32);
    PUT(b.m, "right", 64, 21, q, .rows = 32, .cols = 21, .col = 11);
    PUT(b.m, "right", 64, 21, k, .rows = 32, .cols = 21, .from_row = 32, .col = 11);
    hf_drop(b.m, q);
    hf_drop(b.m, k);
    assert_ok(convert(&b));
    assert_plain_pack(&b, "prenorm-f32");
    end(&b);
}

/* Chunks of a pack begin and end anywhere: every range of elements, across pieces. */
static void any_range(void **state)
{
    static const uint64_t lengths[] = {0, 1, 2, 19, 20, 21, 47, 48, 49, 97, 700, 1536};
    (void)state;
    bench b = begin("prenorm-f32");
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c;
    zo2_arch a;
    zo2_pieces pieces;
    zo2_place at;
    const hf_tensor *t = hf_find(b.m, LAYER0 "fc2.weight");
    unsigned char *plain = malloc(t->bytes), *bits = malloc(t->bytes + 8), poison[8];
    memcpy(plain, t->data, t->bytes);
    memset(poison, 0xA5, sizeof poison);
    shard_columns(b.m);
    hf_save(b.m, b.dir);
    assert_ok(zo2_arch_load(&a, b.dir, NULL));
    assert_ok(zo2_checkpoint_recognise(&reader, b.dir));
    assert_ok(zo2_checkpoint_open(&c, reader, b.dir));
    assert_ok(zo2_pieces_create(&pieces, b.dir, &a, c));
    for (uint64_t i = 0; i < zo2_checkpoint_count(c); i++) {
        const zo2_stored stored = zo2_checkpoint_tensor(c, i);
        for (uint32_t n = 0; place(&a, &stored, n, &at); n++)
            assert_ok(zo2_pieces_add(&pieces, i, &at));
    }
    uint32_t id = zo2_arch_by_name(&a, LAYER0 "fc2.weight")->id;
    assert_int_equal(zo2_pieces_of(&pieces, id)->n, 3);
    assert_int_equal(zo2_pieces_dtype(&pieces, id), ZO2_F32);
    for (uint64_t first = 0; first < 1536; first++) {
        uint64_t in, stored = zo2_pieces_locate(&pieces, id, first, &in);
        assert_ok(zo2_checkpoint_read(c, stored, 4 * in, 4, bits));
        assert_memory_equal(bits, plain + 4 * first, 4);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            uint64_t n = lengths[l] < 1536 - first ? lengths[l] : 1536 - first;
            memset(bits, 0xA5, 4 * n + 8);
            assert_ok(zo2_pieces_read(&pieces, id, first, n, bits));
            assert_memory_equal(bits, plain + 4 * first, 4 * n);
            assert_memory_equal(bits + 4 * n, poison, 8);
        }
    }
    zo2_pieces_free(&pieces);
    zo2_checkpoint_close(c);
    zo2_arch_free(&a);
    free(plain);
    free(bits);
    end(&b);
}

/* A tied head that is stored in shards is compared all the same, and serves where there is no embedding. */
static void tied_head(void **state)
{
    (void)state;
    for (int only = 0; only < 2; only++) {
        bench b = begin("stored-tied-head-f16");
        const hf_tensor *head = hf_find(b.m, "lm_head.weight");
        uint64_t rows = head->shape[0], cols = head->shape[1];
        PUT(b.m, "shard.0.head", 40, cols, "lm_head.weight", .rows = 40, .cols = cols);
        PUT(b.m, "shard.1.head", rows - 40, cols, "lm_head.weight", .rows = rows - 40, .cols = cols, .row = 40);
        hf_drop(b.m, "lm_head.weight");
        if (only)
            hf_drop(b.m, "model.decoder.embed_tokens.weight");
        assert_ok(convert(&b));
        assert_plain_pack(&b, "stored-tied-head-f16");
        if (!only) {
            hf_find(b.m, "shard.1.head")->data[2 * (3 * cols + 5)] ^= 1;
            char words[160];
            snprintf(words, sizeof words, "model.decoder.embed_tokens.weight differ at element %llu",
                     (unsigned long long)(43 * cols + 5));
            assert_error(convert(&b), ZO2_ERR_FORMAT, words);
        }
        hf_drop(b.m, "shard.1.head");
        assert_error(convert(&b), ZO2_ERR_NOTFOUND, " elements of model.decoder.embed_tokens.weight (shard.0.head");
        end(&b);
    }
}

static void retype(hf_model *m, const char *name, const char *dtype, uint64_t bytes)
{
    hf_tensor *t = hf_find(m, name);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->bytes = bytes;
}

static void parts_that_make_no_model(void **state)
{
    (void)state;
    bench b = begin("prenorm-f32");
    shard_rows(b.m);
    hf_drop(b.m, "shard.1.fc1.weight");
    assert_error(convert(&b), ZO2_ERR_NOTFOUND, "has 640 of the 1536 elements of " LAYER0 "fc1.weight");
    hf_drop(b.m, "shard.0.fc1.weight");
    assert_error(convert(&b), ZO2_ERR_NOTFOUND, "has no tensor " LAYER0 "fc1.weight, which its config.json asks for");
    end(&b);

    b = begin("prenorm-f32"); /* one column too many */
    PUT(b.m, "left", 32, 20, LAYER0 "fc2.weight", .rows = 32, .cols = 20);
    PUT(b.m, "right", 32, 29, LAYER0 "fc2.weight", .rows = 32, .cols = 29, .col = 19);
    hf_drop(b.m, LAYER0 "fc2.weight");
    assert_error(convert(&b), ZO2_ERR_FORMAT, "stores " LAYER0 "fc2.weight twice: as left and as right");
    parts.p[1].at.col = 20;
    assert_error(convert(&b), ZO2_ERR_FORMAT,
                 "right has no place in " LAYER0 "fc2.weight [32, 48]: [32, 29] at row 0, column 20");
    parts.p[1].at.cols = 28; /* and what isn't taken is not lost without a word */
    assert_error(convert(&b), ZO2_ERR_FORMAT, "has shape [32, 29], config.json asks for [32, 28]");
    parts.p[1].at.from_col = UINT64_MAX;
    assert_error(convert(&b), ZO2_ERR_FORMAT, "right has no place in ");
    parts.p[1].at.from_col = 1;
    assert_ok(convert(&b));
    assert_plain_pack(&b, "prenorm-f32");
    end(&b);

    b = begin("prenorm-f32");
    shard_columns(b.m);
    retype(b.m, "shard.1.fc2.weight", "BF16", 2 * 32);
    assert_error(convert(&b), ZO2_ERR_FORMAT, " is BF16, but both are parts of " LAYER0 "fc2.weight");
    retype(b.m, "shard.1.fc2.weight", "I16", 2 * 32);
    assert_error(convert(&b), ZO2_ERR_UNSUPPORTED, "shard.1.fc2.weight in ");
    end(&b);

    b = begin("prenorm-f32"); /* told where the user can look for it */
    fuse(b.m);
    memset(hf_find(b.m, "fused.qk.weight")->data + (size_t)4 * (40 * 32 + 3), 0xFF, 4);
    assert_error(convert(&b), ZO2_ERR_NONFINITE, "element 1283 of fused.qk.weight in ");
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_pack), cmocka_unit_test(side_by_side), cmocka_unit_test(both_at_once),
        cmocka_unit_test(any_range), cmocka_unit_test(tied_head),    cmocka_unit_test(parts_that_make_no_model),
    };
    return cmocka_run_group_tests_name("convert_pieces", tests, NULL, NULL);
}
