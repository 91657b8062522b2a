/* plane_cache.h: buffers for planes that live elsewhere, and which of them holds what. Two pools, one a kind of plane, in one piece of
 * memory. It knows no files and no threads: spill_home.c calls everything here under its mutex.
 *
 * A buffer is given to another plane when nobody holds it and nothing in it is unwritten: the one that was let go of longest ago
 * first. The read lane holds planes ahead of their use; those and the unwritten ones are the busy ones, whose number the home
 * limits, so that others always find a buffer. */
#ifndef ZO2_ENGINE_MASTERS_PLANE_CACHE_H
#define ZO2_ENGINE_MASTERS_PLANE_CACHE_H

#include "engine/masters/home.h"

#define ZO2_NO_BUFFER UINT32_MAX
#define ZO2_NO_CHUNK  UINT32_MAX

typedef enum zo2_buffer_state {
    ZO2_BUFFER_EMPTY,
    ZO2_BUFFER_LOADING, /* somebody reads its plane */
    ZO2_BUFFER_READY,
    ZO2_BUFFER_LOST, /* what it holds is no plane; empty when the last holder drops it */
} zo2_buffer_state;

typedef struct zo2_buffer {
    uint8_t *at;
    uint32_t chunk; /* ZO2_NO_CHUNK: none */
    zo2_buffer_state state;
    uint32_t holders;
    uint32_t ahead; /* of them the read lane's */
    int dirty;      /* has what the disk hasn't */
    uint32_t newer, older;
} zo2_buffer;

typedef struct zo2_buffer_pool {
    uint32_t n, busy;
    uint64_t bytes; /* of a buffer */
    zo2_buffer *buffer;
    uint32_t *of;            /* [n_chunks]: the buffer that has a chunk's plane, ZO2_NO_BUFFER: none */
    uint32_t newest, oldest; /* of those that may be given away */
} zo2_buffer_pool;

typedef struct zo2_plane_cache {
    uint8_t *memory; /* one anonymous mapping */
    uint64_t bytes;
    zo2_buffer_pool pool[2]; /* wire, rest: zo2_plane_pool() */
} zo2_plane_cache;

/* Buffers begin at a multiple of 4096 and are whole multiples of it: those of rests at `skew` more, so that the planes of a chunk
 * don't lie at one address modulo 4096 (ram_home.h). ZO2_ERR_NOMEM. */
typedef struct zo2_plane_cache_config {
    uint32_t n_chunks;
    uint32_t buffers[2];     /* by pool; those of planes without bytes may be 0 */
    uint64_t plane_bytes[2]; /* of the largest */
    uint32_t skew;
} zo2_plane_cache_config;
zo2_status zo2_plane_cache_create(zo2_plane_cache *c, const zo2_plane_cache_config *config);
void zo2_plane_cache_free(zo2_plane_cache *c); /* zeroed is fine */
/* Bytes that create() maps. */
uint64_t zo2_plane_cache_bytes(const zo2_plane_cache_config *config);

static inline zo2_buffer_pool *zo2_plane_pool(zo2_plane_cache *c, zo2_plane plane)
{
    return &c->pool[plane == ZO2_PLANE_REST];
}

/* The buffer that has or is getting a chunk's plane; NULL: none. */
static inline zo2_buffer *zo2_cache_find(const zo2_buffer_pool *p, uint32_t chunk)
{
    return p->of[chunk] == ZO2_NO_BUFFER ? NULL : &p->buffer[p->of[chunk]];
}

/* Gives the plane, which has none, the buffer that was let go of longest ago: loading, held by the caller. NULL: none may be
 * given away. */
zo2_buffer *zo2_cache_take(zo2_buffer_pool *p, uint32_t chunk);
void zo2_cache_hold(zo2_buffer_pool *p, zo2_buffer *b, int ahead);
void zo2_cache_drop(zo2_buffer_pool *p, zo2_buffer *b, int ahead);
/* The next to be given away last: for what will be used soon. */
void zo2_cache_touch(zo2_buffer_pool *p, zo2_buffer *b);
void zo2_cache_set_dirty(zo2_buffer_pool *p, zo2_buffer *b, int dirty);
/* Of one that is held, by the caller at least, and not dirty. */
void zo2_cache_lose(zo2_buffer *b);

/* Counts as busy, now or once it is held ahead. */
static inline int zo2_buffer_busy(const zo2_buffer *b)
{
    return b->dirty || b->ahead;
}

#endif
