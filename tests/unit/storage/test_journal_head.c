/* A journal's header as version 1 of the format writes it, in text: every later program must read these bytes as these
 * settings, and write them again as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/run/journal_format.h"

#include <stdio.h>
#include <string.h>

static const char golden[] = "5a4f324a524e4c0a0100000000010000d0000000000000000000000000000000"
                             "1032547698badcfe2a0000000000000048afbc9af2d78a3efca9f1d24d62403f"
                             "7b14ae47e17a843f00000000000029402c010000000000003930000000000000"
                             "0300000002000000050000000700000008000000040000000300000002000000"
                             "090000000a0000000b0000000000000000000000000000000000000000000000"
                             "0000000000000000000000000000000000000000000000000000000000000000"
                             "0000000000000000000000000000000000000000000000000000000000000000"
                             "000000000000000000000000000000000000000000000000c7b930fcf898f6bd";

static void golden_head(zo2_journal_head *h)
{
    unsigned char bytes[ZO2_JOURNAL_HEADER_BYTES];
    assert_int_equal(strlen(golden), 2 * sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(sscanf(golden + 2 * i, "%2hhx", &bytes[i]), 1);
    memcpy(h, bytes, sizeof bytes);
}

static void decodes(void **state)
{
    (void)state;
    zo2_journal_head h;
    zo2_run_settings s;
    golden_head(&h);
    assert_int_equal(zo2_journal_decode_head(&h, &s, "golden"), ZO2_OK);
    assert_true(s.model_hash == UINT64_C(0xFEDCBA9876543210));
    assert_int_equal(s.seed, 42);
    assert_true(s.lr == 2e-7);
    assert_true(s.eps == 5e-4);
    assert_true(s.weight_decay == 0.01);
    assert_true(s.clip == 12.5);
    assert_int_equal(s.warmup, 300);
    assert_int_equal(s.total_steps, 12345);
    assert_int_equal(s.schedule, ZO2_COSINE);
    assert_int_equal(s.dist, ZO2_RADEMACHER);
    assert_int_equal(s.queries, 5);
    assert_int_equal(s.pending, 7);
    assert_int_equal(s.micro_batch, 8);
    assert_int_equal(s.wire, ZO2_WIRE_E5M2);
    assert_int_equal(s.compute, ZO2_BF16);
    assert_int_equal(s.backend, ZO2_BACKEND_CUDA);
    assert_int_equal(s.noise_version, 9);
    assert_int_equal(s.tile_rule, 10);
    assert_int_equal(s.decay_set, 11);
}

static void encodes_to_itself(void **state)
{
    (void)state;
    zo2_journal_head h, again;
    zo2_run_settings s;
    golden_head(&h);
    assert_int_equal(zo2_journal_decode_head(&h, &s, "golden"), ZO2_OK);
    zo2_journal_encode_head(&again, &s);
    assert_memory_equal(&again, &h, sizeof h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes),
        cmocka_unit_test(encodes_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
