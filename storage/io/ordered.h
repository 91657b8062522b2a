/* ordered.h: a list of tasks on several threads whose results are taken in order. Each task has a part that runs
 * anywhere and at any time (read, decompress, check) and one that runs in the order of the tasks, one at a time (hash of
 * the whole, write). So what comes out doesn't depend on the threads, and memory is a buffer for each of them. */
#ifndef ZO2_STORAGE_IO_ORDERED_H
#define ZO2_STORAGE_IO_ORDERED_H

#include "engine/base/parallel.h"
#include "engine/zo2.h"

typedef struct zo2_ordered {
    zo2_parallel workers;
    uint64_t n;            /* tasks */
    uint64_t buffer_bytes; /* of the buffer that a task has from its work() to its finish(); 64-byte aligned */
    zo2_status (*work)(void *arg, uint64_t i, void *buffer);
    zo2_status (*finish)(void *arg, uint64_t i, void *buffer);
    zo2_status (*report)(void *arg, uint64_t done); /* now and then, on the caller's thread; NULL: none */
    void *arg;
} zo2_ordered;

/* Runs them all. The first failure in the order of the tasks ends it and is raised again on the caller's thread, with
 * its text: it is the same whatever the threads (but for one of report(), which can come at any time). Tasks behind it
 * may have been worked on, but not finished. ZO2_ERR_NOMEM if there is no room for the buffers. */
zo2_status zo2_ordered_run(const zo2_ordered *o);

#endif
