/* pack_window.h: rows of a pack for tasks that make planes of chunks, side by side and one after the other. A pack's own chunks are
 * cut otherwise than masters', so most of them are wanted twice, by neighbours: the last few stay here, and each is read,
 * checked and decompressed once. Read past the page cache, which a pack larger than memory only sweeps out. */
#ifndef ZO2_ENGINE_MASTERS_PACK_WINDOW_H
#define ZO2_ENGINE_MASTERS_PACK_WINDOW_H

#include "storage/io/aio.h"
#include "storage/io/io.h"
#include "storage/pack/packfile.h"

#include <pthread.h>

typedef struct zo2_pack_piece {
    uint64_t chunk; /* of the pack; UINT64_MAX: none */
    int ready;      /* 0: somebody reads it */
    uint32_t holders;
    uint64_t used; /* larger: let go of later */
    uint8_t *bits; /* NULL until it is used first */
} zo2_pack_piece;

typedef struct zo2_pack_window {
    const zo2_packfile *pack;
    zo2_aio_file file;
    const zo2_io *io;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    zo2_pack_piece *piece;
    uint32_t n;
    uint64_t clock;
} zo2_pack_window;

/* n: chunks that are kept; more than the tasks that read at once lets neighbours in time share, too. Pack and io outlive it.
 * ZO2_ERR_NOMEM, or why the pack's file can't be opened. */
zo2_status zo2_pack_window_create(zo2_pack_window *w, const zo2_packfile *pack, const zo2_io *io, uint32_t n);
void zo2_pack_window_free(zo2_pack_window *w); /* zeroed is fine */

/* A chunk of the pack, of a tensor's source bits or of a stored wire (storage/pack/packfile.h), whole and checked: its bytes are at
 * (*out)->bits until it is released. Who holds one asks for no other. Thread-safe. */
zo2_status zo2_pack_window_hold(zo2_pack_window *w, uint32_t tensor, const zo2_packplace *place, zo2_pack_piece **out);
void zo2_pack_window_release(zo2_pack_window *w, zo2_pack_piece *p);

/* As zo2_packfile_read_rows(). Thread-safe. */
zo2_status zo2_pack_window_rows(zo2_pack_window *w, uint32_t tensor, uint64_t row, uint64_t n, void *dst);

#endif
