/* pack_window.c: see pack_window.h. Who wants a chunk that isn't there takes the piece that was let go of longest ago and reads;
 * others that want it meanwhile wait. A task holds one piece at a time, so somebody always goes on. */
#include "engine/masters/pack_window.h"
#include "engine/base/checked.h"
#include "storage/io/aio.h"
#include "storage/pack/packfile.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define NO_CHUNK UINT64_MAX

/* The whole chunk, checked and decompressed, into a piece that the caller alone has. */
static zo2_status read_chunk(const zo2_pack_window *w, uint32_t tensor, const zo2_packplace *place, zo2_pack_piece *p)
{
    const char *name = zo2_packfile_tensor(w->pack, tensor)->name;
    if (!p->bits)
        p->bits = aligned_alloc(ZO2_AIO_PAGE, zo2_round_up(zo2_packfile_header(w->pack)->largest_chunk, ZO2_AIO_PAGE));
    void *scratch = place->compressed ? malloc(place->bytes) : NULL;
    zo2_status s = ZO2_OK;
    if (!p->bits || (place->compressed && !scratch))
        s = zo2_error(ZO2_ERR_NOMEM, "no memory to read tensor %s from its pack", name);
    if (!s)
        s = zo2_aio_file_read(&w->file, w->io, p->bits, zo2_round_up(place->stored_bytes, ZO2_AIO_PAGE), place->offset);
    if (!s)
        s = zo2_packfile_restore(w->pack, tensor, place->chunk, p->bits, scratch);
    free(scratch);
    return s;
}

static zo2_pack_piece *find(const zo2_pack_window *w, uint64_t chunk)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->piece[i].chunk == chunk)
            return &w->piece[i];
    return NULL;
}

static zo2_pack_piece *oldest_free(const zo2_pack_window *w)
{
    zo2_pack_piece *oldest = NULL;
    for (uint32_t i = 0; i < w->n; i++)
        if (!w->piece[i].holders && (!oldest || w->piece[i].used < oldest->used))
            oldest = &w->piece[i];
    return oldest;
}

zo2_status zo2_pack_window_hold(zo2_pack_window *w, uint32_t tensor, const zo2_packplace *place, zo2_pack_piece **out)
{
    zo2_status s = ZO2_OK;
    pthread_mutex_lock(&w->mutex);
    zo2_pack_piece *p = find(w, place->chunk), *mine = NULL;
    while (!(p && p->ready) && (p || !(mine = oldest_free(w)))) {
        pthread_cond_wait(&w->changed, &w->mutex);
        p = find(w, place->chunk);
    }
    p = p ? p : mine;
    p->holders++;
    if (mine) {
        p->chunk = place->chunk;
        p->ready = 0;
        pthread_mutex_unlock(&w->mutex);
        s = read_chunk(w, tensor, place, p);
        pthread_mutex_lock(&w->mutex);
        p->ready = !s;
        p->holders -= s != ZO2_OK;
        if (s)
            p->chunk = NO_CHUNK;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->mutex);
    *out = p;
    return s;
}

void zo2_pack_window_release(zo2_pack_window *w, zo2_pack_piece *p)
{
    pthread_mutex_lock(&w->mutex);
    p->holders--;
    p->used = ++w->clock;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

zo2_status zo2_pack_window_rows(zo2_pack_window *w, uint32_t tensor, uint64_t row, uint64_t n, void *dst)
{
    zo2_status s = ZO2_OK;
    uint8_t *to = dst;
    while (n && !s) {
        zo2_packplace place;
        zo2_pack_piece *p;
        s = zo2_packfile_place(w->pack, tensor, row, &place);
        if (!s)
            s = zo2_pack_window_hold(w, tensor, &place, &p);
        if (s)
            break;
        uint64_t here = zo2_min_u64(place.row + place.rows - row, n), row_bytes = place.bytes / place.rows;
        memcpy(to, p->bits + (row - place.row) * row_bytes, here * row_bytes);
        zo2_pack_window_release(w, p);
        to += here * row_bytes;
        row += here;
        n -= here;
    }
    return s;
}

/* ---- life ---- */

zo2_status zo2_pack_window_create(zo2_pack_window *w, const zo2_packfile *pack, const zo2_io *io, uint32_t n)
{
    *w = (zo2_pack_window){.pack = pack, .io = io, .n = n, .piece = calloc(n, sizeof *w->piece)};
    if (!w->piece)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for a window of %u chunks of a pack", n);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    for (uint32_t i = 0; i < n; i++)
        w->piece[i].chunk = NO_CHUNK;
    zo2_status s = zo2_aio_file_open(&w->file, io, zo2_packfile_path(pack), O_RDONLY, 0);
    if (s)
        zo2_pack_window_free(w);
    return s;
}

void zo2_pack_window_free(zo2_pack_window *w)
{
    if (!w->piece)
        return;
    zo2_aio_file_close(&w->file, w->io);
    for (uint32_t i = 0; i < w->n; i++)
        free(w->piece[i].bits);
    free(w->piece);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    *w = (zo2_pack_window){0};
}
