/* moving_home.h: a home that planes move into and out of, as they would on a disk: acquire() copies a plane into one of two
 * buffers, the last release() copies it back if it was written, spoils the buffer and takes the other one next time. So
 * whoever keeps a pointer reads or writes rubbish. It counts what was asked for, and fails when it is told to. */
#ifndef ZO2_TESTS_UNIT_ENGINE_MOVING_HOME_H
#define ZO2_TESTS_UNIT_ENGINE_MOVING_HOME_H

#include "tests/unit/engine/engine_testing.h"

#include <pthread.h>

typedef struct moving_plane {
    uint64_t bytes;
    uint8_t *truth;     /* where it is while nobody holds it */
    uint8_t *buffer[2]; /* NULL: it isn't here */
    unsigned turn, holders;
    int written;
} moving_plane;

typedef struct moving_home {
    zo2_home home;
    pthread_mutex_t mutex;
    uint32_t chunks;
    moving_plane *plane; /* [chunks][2]: wire, rest */
    uint8_t *memory;     /* of all buffers, registered with the backend */
    uint64_t bytes;
    unsigned acquired[2][2]; /* by plane (wire, rest) and access */
    uint32_t held, most_held;
    unsigned fail_in; /* the so many-th acquire() from now on fails; 0: none */
} moving_home;

static inline moving_plane *moving_plane_of(moving_home *h, uint32_t chunk, zo2_plane plane)
{
    return &h->plane[2 * chunk + (plane == ZO2_PLANE_REST)];
}

static inline zo2_status moving_acquire(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access,
                                        uint8_t **at)
{
    moving_home *h = (moving_home *)(void *)home;
    moving_plane *p = moving_plane_of(h, chunk, plane);
    zo2_status s = ZO2_OK;
    pthread_mutex_lock(&h->mutex);
    if (h->fail_in && !--h->fail_in) {
        s = zo2_error(ZO2_ERR_IO, "told to fail");
    } else {
        h->acquired[plane == ZO2_PLANE_REST][access]++;
        if (!p->holders++) {
            memcpy(p->buffer[p->turn], p->truth, p->bytes);
            h->most_held = ++h->held > h->most_held ? h->held : h->most_held;
        }
        *at = p->buffer[p->turn];
    }
    pthread_mutex_unlock(&h->mutex);
    return s;
}

static inline void moving_release(zo2_home *home, uint32_t chunk, zo2_plane plane, zo2_access access)
{
    moving_home *h = (moving_home *)(void *)home;
    moving_plane *p = moving_plane_of(h, chunk, plane);
    pthread_mutex_lock(&h->mutex);
    if (!p->holders)
        abort(); /* nobody held it */
    p->written |= access == ZO2_ACCESS_WRITE;
    if (!--p->holders) {
        if (p->written)
            memcpy(p->truth, p->buffer[p->turn], p->bytes);
        memset(p->buffer[p->turn], 0xFF, p->bytes);
        p->written = 0;
        p->turn ^= 1;
        h->held--;
    }
    pthread_mutex_unlock(&h->mutex);
}

static inline uint64_t moving_room(uint64_t bytes)
{
    return 2 * ((bytes + 255) & ~255ull);
}

static inline uint8_t *moving_place(moving_plane *p, const uint8_t *value, uint64_t bytes, uint8_t *at)
{
    p->bytes = bytes;
    p->truth = malloc(bytes);
    assert_non_null(p->truth);
    memcpy(p->truth, value, bytes);
    p->buffer[0] = at;
    p->buffer[1] = at + moving_room(bytes) / 2;
    return at + moving_room(bytes);
}

/* Moves all of an engine's planes into a new home and spoils what they leave behind. */
static inline void moving_home_enter(moving_home *h, zo2_engine *e)
{
    static const zo2_home_kind kind = {.name = "a moving home", .acquire = moving_acquire, .release = moving_release};
    zo2_core *c = &e->core;
    zo2_masters *m = &c->masters;
    memset(h, 0, sizeof *h);
    h->home.kind = &kind;
    h->chunks = c->layout.n_chunks;
    pthread_mutex_init(&h->mutex, NULL);
    h->plane = calloc(2 * h->chunks, sizeof *h->plane);
    assert_non_null(h->plane);
    for (uint32_t i = 0; i < h->chunks; i++)
        h->bytes += moving_room(c->layout.chunks[i].wire_bytes) + moving_room(c->layout.chunks[i].rest_bytes);
    h->bytes = (h->bytes + 4095) & ~4095ull;
    h->memory = aligned_alloc(4096, h->bytes);
    assert_non_null(h->memory);
    memset(h->memory, 0xFF, h->bytes);
    uint8_t *at = h->memory;
    for (uint32_t i = 0; i < h->chunks; i++) {
        const zo2_chunk *chunk = &c->layout.chunks[i];
        zo2_planes p;
        if (m->owner[i] != i)
            continue;
        MUST(zo2_masters_acquire(m, i, ZO2_PLANE_WIRE | ZO2_PLANE_REST, ZO2_ACCESS_READ, &p));
        at = moving_place(moving_plane_of(h, i, ZO2_PLANE_WIRE), p.wire, chunk->wire_bytes, at);
        if (p.rest)
            at = moving_place(moving_plane_of(h, i, ZO2_PLANE_REST), p.rest, chunk->rest_bytes, at);
        zo2_masters_release(&p);
        zo2_masters_set_home(m, i, ZO2_PLANE_WIRE, &h->home);
        zo2_masters_set_home(m, i, ZO2_PLANE_REST, &h->home);
    }
    memset(m->ram.memory, 0xFF, m->ram.bytes);
    if (c->ops->host_register)
        MUST(c->ops->host_register(c->be, h->memory, h->bytes));
}

/* Before the engine is closed. */
static inline void moving_home_leave(moving_home *h, zo2_engine *e)
{
    MUST(zo2_pipeline_rest(e->core.pipe));
    if (h->held)
        fail_msg("%d planes were never released", (int)h->held);
    if (e->core.ops->host_unregister)
        e->core.ops->host_unregister(e->core.be, h->memory);
}

/* After it was. */
static inline void moving_home_free(moving_home *h)
{
    for (uint32_t i = 0; i < 2 * h->chunks; i++)
        free(h->plane[i].truth);
    free(h->plane);
    free(h->memory);
    pthread_mutex_destroy(&h->mutex);
}

#endif
