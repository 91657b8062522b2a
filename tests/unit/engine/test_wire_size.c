/* test_wire_size.c: a wire's room and what is sent of it: the sizes of a chunk add up to the layout's, for every wire, and a
 * codec whose wires differ in length sends what it needs and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codec/wires.h"
#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"

#define WIRE(wire, ...) wire,
static const zo2_wire wires[] = {ZO2_WIRE_MAP(WIRE)};

static void check_chunk(const zo2_layout *l, uint32_t chunk)
{
    const zo2_chunk *c = &l->chunks[chunk];
    uint64_t sent = zo2_chunk_sent(l, chunk, NULL), at = 0;
    for (uint32_t i = 0; i < c->n_spans; i++) {
        const zo2_span *s = &l->spans[c->first_span + i];
        uint64_t room = zo2_wire_room(s->codec, s->rows, s->cols);
        assert_int_equal(s->wire_at, at);
        assert_int_equal(zo2_span_sent(s, sent), room);
        assert_int_equal(zo2_span_sent(s, at), 0);
        assert_int_equal(zo2_span_sent(s, at + 1), 1);
        at += room;
    }
    assert_int_equal(sent, at);
    assert_in_range(c->wire_bytes, sent, sent + 255);
    assert_true(c->wire_bytes <= l->max_chunk_wire);
}

static void chunks_add_up(void **state)
{
    (void)state;
    zo2_arch a;
    assert_int_equal(zo2_arch_from_name(&a, "opt-350m"), ZO2_OK);
    for (size_t w = 0; w < sizeof wires / sizeof wires[0]; w++) {
        zo2_layout l;
        assert_int_equal(zo2_layout_create(&l, &a, zo2_one_wire(wires[w]), ZO2_F16, ZO2_TILE_RULE, 1 << 20), ZO2_OK);
        uint64_t sent = 0, rooms = 0;
        for (uint32_t c = 0; c < l.n_chunks; c++) {
            check_chunk(&l, c);
            sent += zo2_chunk_sent(&l, c, NULL);
        }
        for (uint32_t i = 0; i < a.n_tensors; i++)
            rooms += zo2_tensor_wire_room(&a.tensors[i], zo2_one_wire(wires[w]), a.tensors[i].rows);
        /* chunks pad their planes: the last scales of fp8 to 16 bytes */
        assert_in_range(sent, rooms, rooms + 16 * l.n_spans);
        zo2_layout_free(&l);
    }
    zo2_arch_free(&a);
}

/* ---- wires of different lengths ---- */

enum { ROOM = 64, HEAD = 32 };

static uint64_t room_of(uint64_t rows, uint64_t cols)
{
    (void)rows;
    (void)cols;
    return ROOM;
}

/* The first byte of such a wire is its length. */
static uint64_t length_of(const void *wire, uint64_t rows, uint64_t cols)
{
    (void)rows;
    (void)cols;
    return *(const uint8_t *)wire;
}

static void sends_what_it_needs(void **state)
{
    (void)state;
    static const zo2_codec codec = {.wire_bytes = room_of, .sent_bytes = length_of};
    uint8_t plane[HEAD + ROOM] = {0};
    zo2_span spans[2] = {{.rows = 1, .cols = 8, .codec = zo2_codec_get(ZO2_WIRE_FP32)},
                         {.rows = 2, .cols = 3, .codec = &codec, .wire_at = HEAD}};
    zo2_chunk chunks[2] = {{.n_spans = 2}, {.first_span = 1, .n_spans = 1}};
    const zo2_layout l = {.chunks = chunks, .spans = spans};
    plane[HEAD] = 17;
    assert_int_equal(zo2_wire_sent(&codec, plane + HEAD, 2, 3), 17);
    assert_int_equal(zo2_wire_sent(&codec, NULL, 2, 3), ROOM);
    assert_int_equal(zo2_chunk_sent(&l, 0, plane), HEAD + 17);
    assert_int_equal(zo2_chunk_sent(&l, 0, NULL), HEAD + ROOM);
    assert_int_equal(zo2_span_sent(&spans[0], HEAD + 17), HEAD);
    assert_int_equal(zo2_span_sent(&spans[1], HEAD + 17), 17);
    plane[HEAD] = ROOM; /* the worst case takes all of it */
    assert_int_equal(zo2_chunk_sent(&l, 0, plane), HEAD + ROOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_add_up), cmocka_unit_test(sends_what_it_needs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
