/* pack_weights.h: the weights of a whole model into a pack that is being written, on several threads. Where they come
 * from, a checkpoint (convert.c) or the noise generator (synth.c), is the caller's. Private to engine/. */
#ifndef ZO2_ENGINE_PACK_PACK_WEIGHTS_H
#define ZO2_ENGINE_PACK_PACK_WEIGHTS_H

#include "engine/model/arch.h"
#include "storage/pack/packfile.h"

typedef struct zo2_pack_weights {
    const zo2_arch *arch;
    const zo2_dtype *dtypes; /* [n_tensors] */
    const uint32_t
        *stored_as; /* [n_tensors] an earlier tensor whose bytes a tensor shares, or itself; NULL: none does */
    zo2_packwriter *writer;
    int level;        /* of zstd, 0: stored as they are */
    uint32_t threads; /* 0 = usable CPUs */
    /* Source bits of elements [first, first + n) of a tensor into bits (64-byte aligned). Any thread, several at once.
     */
    zo2_status (*fill)(void *arg, uint32_t tensor, uint64_t first, uint64_t n, void *bits);
    zo2_status (*report)(void *arg, uint64_t bytes); /* of weights written; caller's thread; an error ends the work */
    void *arg;
} zo2_pack_weights;

/* All tensors in canonical order, into the writer. The first failure of fill() in that order is the one returned.
 * Memory: a chunk of the pack a thread, three with zstd. What is written doesn't depend on the threads. */
zo2_status zo2_pack_weights_write(const zo2_pack_weights *w);

#endif
