/* pack_tensor.h: a whole tensor written to a pack, as tests and fuzz targets want it. */
#ifndef ZO2_TESTS_PACK_TENSOR_H
#define ZO2_TESTS_PACK_TENSOR_H

#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"

#include <stdlib.h>

/* Tensor t with its source bits, compressed with zstd at `level`, 1 to 19, where that saves room; 0: not. */
static inline zo2_status pack_tensor(zo2_packwriter *w, const zo2_packtensor *t, const void *bits, int level)
{
    zo2_status s = zo2_packwriter_tensor(w, t);
    if (s != ZO2_OK)
        return s;
    const uint64_t row_bytes = t->cols * zo2_pack_dtype_bytes((uint32_t)t->dtype), bytes = t->rows * row_bytes;
    const uint64_t full = zo2_pack_chunk_rows((uint32_t)t->dtype, t->rows, t->cols) * row_bytes;
    void *scratch = level ? malloc(2 * (size_t)full) : NULL;
    if (level && !scratch)
        return ZO2_ERR_NOMEM;
    for (uint64_t at = 0; at < bytes && s == ZO2_OK; at += full) {
        zo2_packchunk c;
        uint64_t n = bytes - at < full ? bytes - at : full;
        s = zo2_packchunk_make(&c, t->dtype, (const char *)bits + at, n, level, scratch);
        if (s == ZO2_OK)
            s = zo2_packwriter_chunk(w, &c);
    }
    free(scratch);
    return s;
}

#endif
