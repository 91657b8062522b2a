/* test_plane_cache.c: buffers of spilled planes: who has one keeps it while it is held or dirty, the one let go of longest ago is
 * given away first, what is lost is gone with its last holder, and the busy ones are counted. */
#include "engine/masters/plane_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNKS = 9 };

static zo2_plane_cache make(uint32_t wires, uint32_t rests)
{
    zo2_plane_cache c;
    const zo2_plane_cache_config config = {
        .n_chunks = CHUNKS, .buffers = {wires, rests}, .plane_bytes = {5000, 8192}, .skew = 2048};
    assert_int_equal(zo2_plane_cache_create(&c, &config), ZO2_OK);
    assert_int_equal(c.bytes, zo2_plane_cache_bytes(&config));
    return c;
}

static zo2_buffer *take(zo2_buffer_pool *p, uint32_t chunk)
{
    assert_null(zo2_cache_find(p, chunk));
    zo2_buffer *b = zo2_cache_take(p, chunk);
    if (b) {
        assert_int_equal(b->state, ZO2_BUFFER_LOADING);
        assert_ptr_equal(zo2_cache_find(p, chunk), b);
        b->state = ZO2_BUFFER_READY;
    }
    return b;
}

static void places(void **state)
{
    (void)state;
    zo2_plane_cache c = make(3, 2);
    for (int kind = 0; kind < 2; kind++) {
        const zo2_buffer_pool *p = zo2_plane_pool(&c, kind ? ZO2_PLANE_REST : ZO2_PLANE_WIRE);
        assert_int_equal(p->n, kind ? 2 : 3);
        assert_int_equal(p->bytes, 8192);
        for (uint32_t i = 0; i < p->n; i++) {
            assert_int_equal((uintptr_t)p->buffer[i].at % 4096, kind ? 2048 : 0);
            assert_true(p->buffer[i].at >= c.memory && p->buffer[i].at + p->bytes <= c.memory + c.bytes);
            memset(p->buffer[i].at, 1 + (int)i + 8 * kind, p->bytes);
        }
    }
    for (int kind = 0; kind < 2; kind++) /* none overlaps another */
        for (uint32_t i = 0; i < c.pool[kind].n; i++)
            for (uint64_t k = 0; k < c.pool[kind].bytes; k += 8191)
                assert_int_equal(c.pool[kind].buffer[i].at[k], 1 + (int)i + 8 * kind);
    zo2_plane_cache_free(&c);
}

static void oldest_first(void **state)
{
    (void)state;
    zo2_plane_cache c = make(3, 0);
    zo2_buffer_pool *p = zo2_plane_pool(&c, ZO2_PLANE_WIRE);
    zo2_buffer *b[3];
    for (uint32_t i = 0; i < 3; i++)
        b[i] = take(p, i);
    assert_null(take(p, 3)); /* all are held */
    zo2_cache_drop(p, b[1], 0);
    zo2_cache_drop(p, b[0], 0);
    zo2_cache_drop(p, b[2], 0);
    zo2_cache_touch(p, b[1]);        /* 0, 2, 1 */
    zo2_cache_hold(p, b[0], 0);      /* 2, 1 */
    zo2_cache_set_dirty(p, b[2], 1); /* 1 */
    assert_ptr_equal(take(p, 4), b[1]);
    assert_null(zo2_cache_find(p, 1));
    assert_null(take(p, 5));
    zo2_cache_set_dirty(p, b[2], 0);
    assert_ptr_equal(take(p, 5), b[2]);
    zo2_cache_drop(p, b[0], 0);
    assert_ptr_equal(zo2_cache_find(p, 0), b[0]); /* until somebody needs it */
    zo2_cache_drop(p, b[1], 0);
    zo2_cache_drop(p, b[2], 0);
    zo2_plane_cache_free(&c);
}

static void lost(void **state)
{
    (void)state;
    zo2_plane_cache c = make(2, 0);
    zo2_buffer_pool *p = zo2_plane_pool(&c, ZO2_PLANE_WIRE);
    zo2_buffer *a = take(p, 0), *b = take(p, 1);
    zo2_cache_drop(p, b, 0);
    zo2_cache_hold(p, a, 1);
    zo2_cache_lose(a);
    zo2_cache_drop(p, a, 0);
    assert_ptr_equal(zo2_cache_find(p, 0), a); /* somebody holds what it was */
    zo2_cache_drop(p, a, 1);
    assert_null(zo2_cache_find(p, 0));
    assert_ptr_equal(take(p, 2), a); /* before a plane that is one */
    zo2_cache_drop(p, a, 0);
    zo2_plane_cache_free(&c);
}

static void busy(void **state)
{
    (void)state;
    zo2_plane_cache c = make(2, 0);
    zo2_buffer_pool *p = zo2_plane_pool(&c, ZO2_PLANE_WIRE);
    zo2_buffer *a = take(p, 0), *b = take(p, 1);
    assert_int_equal(p->busy, 0); /* in use, but not for long */
    zo2_cache_hold(p, a, 1);
    zo2_cache_hold(p, a, 1);
    zo2_cache_set_dirty(p, a, 1);
    assert_int_equal(p->busy, 1);
    zo2_cache_set_dirty(p, b, 1);
    assert_int_equal(p->busy, 2);
    zo2_cache_drop(p, a, 1);
    zo2_cache_drop(p, a, 1);
    assert_int_equal(p->busy, 2);
    zo2_cache_set_dirty(p, a, 0);
    zo2_cache_set_dirty(p, b, 0);
    assert_int_equal(p->busy, 0);
    zo2_plane_cache_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(oldest_first),
        cmocka_unit_test(lost),
        cmocka_unit_test(busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
