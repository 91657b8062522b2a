/* test_engine_batch.c: packing of batches, losses, layout and the pending schedule. */
#include "engine/forward/batch.h"
#include "tests/unit/engine/engine_testing.h"

#include <math.h>

static zo2_batch batch4(const int32_t *tokens, const uint8_t *mask, const uint8_t *loss, uint32_t rows)
{
    return (zo2_batch){
        .struct_size = sizeof(zo2_batch), .rows = rows, .seq = 4, .tokens = tokens, .mask = mask, .loss = loss};
}

static void padding_and_trimming(void **state)
{
    (void)state;
    /* left-padded, right-padded; row 2's last token predicts nothing that counts */
    static const int32_t tokens[] = {99, 1, 2, 3, 4, 5, 99, 99, 6, 7, 8, 9};
    static const uint8_t mask[] = {0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1}, loss[] = {0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0};
    zo2_batch b = batch4(tokens, mask, loss, 3);
    zo2_packed p = {0};
    MUST(zo2_batch_pack(&p, &b, 10, 8, UINT32_MAX));
    assert_int_equal(p.real_tokens, 9);
    assert_int_equal(p.longest, 4);
    static const uint32_t ids[] = {1, 2, 4, 6}, positions[] = {0, 1, 0, 0}, index[] = {1, 2, 3}, target[] = {3, 5, 7};
    assert_int_equal(p.tokens, 4);
    assert_memory_equal(p.id, ids, sizeof ids);
    assert_memory_equal(p.position, positions, sizeof positions);
    assert_int_equal(p.losses, 3);
    assert_memory_equal(p.index, index, sizeof index);
    assert_memory_equal(p.target, target, sizeof target);
    zo2_packed_free(&p);
}

static void shared_prompts_and_micro_batches(void **state)
{
    (void)state;
    /* example 0: rows 1 2 | 3 and 1 2 | 4; example 1: one row; example 2 has no common beginning */
    static const int32_t tokens[] = {1, 2, 3, 0, 1, 2, 4, 0, 5, 6, 7, 8, 1, 2, 0, 0, 3, 4, 0, 0};
    static const uint8_t mask[] = {1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0};
    static const uint8_t loss[] = {0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0};
    static const uint32_t example[] = {0, 0, 1, 2, 2}, label[] = {1, 0, 0};
    zo2_batch b = batch4(tokens, mask, loss, 5);
    b.examples = 3;
    b.example = example;
    b.label = label;
    zo2_packed p = {0};
    MUST(zo2_batch_pack(&p, &b, 10, 8, 1));
    assert_int_equal(p.micros, 3);
    assert_int_equal(p.micro[0].tokens, 2); /* the prompt once; both rows' own token predicts nothing */
    assert_int_equal(p.micro[0].losses, 2);
    assert_int_equal(p.index[0], 1);
    assert_int_equal(p.index[1], 1);
    assert_int_equal(p.target[0], 3);
    assert_int_equal(p.target[1], 4);
    assert_int_equal(p.micro[1].tokens, 3);
    assert_int_equal(p.micro[2].tokens, 2);
    assert_int_equal(p.micro[2].seqs, 2);
    zo2_packed whole = {0};
    MUST(zo2_batch_pack(&whole, &b, 10, 8, UINT32_MAX));
    assert_int_equal(whole.micros, 1);
    assert_int_equal(whole.tokens, p.tokens);

    /* scores: rows' means; cross-entropy by hand */
    const float logprob[] = {-1.0f, -2.0f, -0.5f, -1.5f, -1.0f, -0.25f, -3.0f};
    zo2_loss l;
    zo2_loss_compute(&l, &p, logprob);
    double want = (log(exp(-1) + exp(-2)) + 2) + 0 + (log(exp(-0.25) + exp(-3)) + 0.25);
    assert_true(fabs(l.sum_loss - want) < 1e-12);
    assert_true(fabs(l.loss - want / 3) < 1e-12);
    assert_true(fabs(l.sum_nll - 9.25) < 1e-12);
    assert_int_equal(l.correct, 2);
    assert_true(fabs(p.row_score[2] + 1.0) < 1e-12);
    p.label = NULL;
    zo2_loss_compute(&l, &p, logprob);
    assert_true(fabs(l.loss - 9.25 / 7) < 1e-12);
    const float bad[] = {-1.0f, NAN, -0.5f, -1.5f, -1.0f, -0.25f, -3.0f};
    zo2_loss_compute(&l, &p, bad);
    assert_true(isnan(l.loss));
    assert_int_equal(l.nonfinite, 1);
    /* of scores that aren't finite none is the best, wherever they are: not the first, not one that looks like a winner */
    p.label = label;
    zo2_loss_compute(&l, &p, bad);
    assert_true(isnan(l.loss) && isnan(l.sum_loss));
    assert_int_equal(l.nonfinite, 1);
    assert_int_equal(l.correct, 2); /* the other two */
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t v = 0; v < 3; v++) {
        float all[7], first[7], last[7];
        for (int i = 0; i < 7; i++) {
            all[i] = values[v];
            first[i] = i == 5 ? values[v] : logprob[i];
            last[i] = i == 6 ? values[v] : logprob[i];
        }
        zo2_loss_compute(&l, &p, all);
        assert_int_equal(l.correct, 0);
        assert_int_equal(l.nonfinite, 3);
        zo2_loss_compute(&l, &p, first); /* of example 2, whose label it is */
        assert_int_equal(l.correct, 1);
        assert_int_equal(l.nonfinite, 1);
        zo2_loss_compute(&l, &p, last);
        assert_int_equal(l.correct, 1);
        assert_int_equal(l.nonfinite, 1);
    }
    zo2_loss_compute(&l, &p, logprob);
    assert_int_equal(l.nonfinite, 0);
    zo2_packed_free(&p);
    zo2_packed_free(&whole);
}

static void expect(const zo2_batch *b, const char *text)
{
    zo2_packed p = {0};
    zo2_status s = zo2_batch_pack(&p, b, 10, 3, UINT32_MAX);
    zo2_packed_free(&p);
    assert_int_equal(s, ZO2_ERR_ARG);
    if (!strstr(zo2_last_error(), text))
        fail_msg("'%s' does not say '%s'", zo2_last_error(), text);
}

static void refusals(void **state)
{
    (void)state;
    static const int32_t good[] = {1, 2, 3, 4, 1, 2, 3, 4}, outside[] = {1, 10, 3, 4}, negative[] = {1, -1, 3, 4};
    static const uint8_t mask[] = {1, 1, 1, 0, 1, 1, 0, 0}, none[8] = {0}, loss[] = {0, 1, 0, 0, 0, 1, 0, 0},
                         first[] = {1, 0, 0, 0};
    static const uint8_t masked[] = {0, 0, 0, 1};
    static const uint32_t backwards[] = {1, 0}, zero[] = {0, 0}, label[] = {2, 0};
    zo2_batch b = batch4(outside, mask, loss, 1);
    expect(&b, "row 0, place 1: token 10 is outside the vocabulary of 10");
    b.tokens = negative;
    expect(&b, "token -1 is outside");
    b = batch4(good, NULL, loss, 1);
    expect(&b, "row 0 has 4 tokens, the model's context is 3");
    b = batch4(good, none, none, 1);
    expect(&b, "row 0 has no real token");
    b = batch4(good, mask, first, 1);
    expect(&b, "row 0, place 0: a row's first token");
    b = batch4(good, mask, masked, 1);
    expect(&b, "place 3: a masked place");
    b = batch4(good, mask, none, 2);
    expect(&b, "no loss token");
    b = batch4(good, mask, loss, 2);
    b.examples = 2;
    b.example = backwards;
    expect(&b, "example numbers must not decrease");
    b.example = zero;
    expect(&b, "example 1 has no row");
    b.examples = 1;
    b.label = label;
    expect(&b, "label 2, but it has 2 rows");
    b = batch4(good, mask, loss, 2);
    b.examples = 3;
    expect(&b, "cannot have 3 examples");
    b.struct_size = 4;
    expect(&b, "struct_size");
    b = batch4(good, mask, loss, UINT32_MAX);
    expect(&b, "absurd");
}

static void every_shape(uint32_t rule)
{
    for (uint64_t rows = 1; rows < 60000; rows = rows * 3 + 1)
        for (uint64_t cols = 1; cols < 60000; cols = cols * 3 + 1) {
            uint64_t tn = zo2_tile_rows(rule, rows, cols, ZO2_F16);
            assert_true(tn % 128 == 0 && tn >= 128 && tn <= 4096);
            assert_true(tn == 128 || tn * cols * 2 <= 128ull << 20);
        }
}

/* TN of the table in layout.h: multiples of 128, panels within 64 MiB (or 128 for few rows), tiles of equal size. */
static void tiles(void **state)
{
    (void)state;
    assert_int_equal(zo2_tile_rows(1, 192, 192, ZO2_F32), 256);
    assert_int_equal(zo2_tile_rows(1, 768, 768, ZO2_F32), 768);
    assert_int_equal(zo2_tile_rows(1, 12288, 12288, ZO2_F16), 2560); /* 2,730 rows fit 64 MiB: five tiles */
    assert_int_equal(zo2_tile_rows(1, 12288, 49152, ZO2_F16), 1024); /* 640 fit 64 MiB, 1,024 fit 128 */
    assert_int_equal(zo2_tile_rows(1, 12288, 49152, ZO2_F32), 640);  /* 640 fit 128 MiB */
    assert_int_equal(zo2_tile_rows(2, 768, 768, ZO2_F32), 768);      /* by rule 2: one tile is one tile */
    assert_int_equal(zo2_tile_rows(2, 5120, 5120, ZO2_F16), 4096);
    assert_int_equal(zo2_tile_rows(2, 5120, 20480, ZO2_F16), 1024);
    assert_int_equal(zo2_tile_rows(2, 20480, 5120, ZO2_F16), 4096);
    assert_int_equal(zo2_tile_rows(2, 12288, 12288, ZO2_F16), 2048);
    assert_int_equal(zo2_tile_rows(2, 12288, 49152, ZO2_F16), 1024);
    assert_int_equal(zo2_tile_rows(2, 12288, 49152, ZO2_F32), 640); /* below 1,024 as by rule 1 */
    for (uint32_t rule = 1; rule <= ZO2_TILE_RULE; rule++)
        every_shape(rule);
}

static void pending_schedule(void **state)
{
    (void)state;
    zo2_unit u = {.tensor = 0, .tile = 5};
    for (uint32_t k = 0; k < 9; k++) {
        for (uint64_t t = 0; t < 40; t++) {
            uint64_t due = zo2_unit_due_step(&u, t, k);
            assert_true(due <= t && t - due <= (t < k ? t : k));
            assert_true(due == 0 || (due + 5) % (k + 1) == 0);
            if ((t + 5) % (k + 1) == 0)
                assert_int_equal(due, t);
        }
    }
    zo2_unit vectors = {.tensor = ZO2_NO_TENSOR};
    assert_int_equal(zo2_unit_due_step(&vectors, 17, 7), 17); /* always eager */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_and_trimming),
        cmocka_unit_test(shared_prompts_and_micro_batches),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tiles),
        cmocka_unit_test(pending_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
