/* weights_copy.h: the weights of a Hugging Face directory into a pack that is being written, on several threads. Private
 * to engine/. */
#ifndef ZO2_ENGINE_WEIGHTS_COPY_H
#define ZO2_ENGINE_WEIGHTS_COPY_H

#include "engine/models/arch.h"
#include "storage/packfile.h"
#include "storage/safetensors.h"

typedef struct zo2_weights_copy {
    const zo2_arch *arch;
    const zo2_safetensors *source;
    const zo2_st_tensor **map; /* [n_tensors] where each comes from; shapes and types were checked */
    zo2_packwriter *writer;
    int level;                                       /* of zstd, 0: stored as they are */
    uint32_t threads;                                /* 0 = usable CPUs */
    zo2_status (*report)(void *arg, uint64_t bytes); /* of weights written; caller's thread; an error ends the copy */
    void *arg;
} zo2_weights_copy;

/* All tensors in canonical order, into the writer. ZO2_ERR_NONFINITE names the first value that isn't finite. Memory: a
 * chunk of the pack a thread, three with zstd. What is written doesn't depend on the threads. */
zo2_status zo2_weights_copy_run(const zo2_weights_copy *c);

#endif
