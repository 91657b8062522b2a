/* measure_common.c: what all kinds of measurements work on. */
#include "codec/update.h"
#include "engine/measure/measure.h"

#include <sys/mman.h>

zo2_status zo2_measure_map(zo2_measure *m, uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return zo2_error(ZO2_ERR_NOMEM, "cannot allocate %llu bytes to measure with", (unsigned long long)bytes);
    madvise(p, bytes, MADV_HUGEPAGE); /* as the masters have them */
    m->memory = p;
    m->memory_bytes = bytes;
    return ZO2_OK;
}

void zo2_measure_weights(float *w, uint64_t first, uint64_t n)
{
    zo2_noise_values(w, zo2_noise_key(0, 0), 0, 0, first, n, ZO2_GAUSSIAN);
    for (uint64_t i = 0; i < n; i++)
        w[i] *= 0.02f;
}
