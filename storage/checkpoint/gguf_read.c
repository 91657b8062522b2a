/* gguf_read.c: tensors of a GGUF model by name, and their elements: as they are stored, decoded from blocks, or as the type that a
 * vector had before. */
#include "codec/bf16.h"
#include "codec/fp16.h"
#include "engine/base/checked.h"
#include "storage/checkpoint/gguf.h"
#include "storage/checkpoint/gguf_blocks.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 256u /* that are read at once: at most 34 bytes each */
#define FLOATS 2048u

const zo2_gguf_tensor *zo2_gguf_find(const zo2_gguf *m, const char *name)
{
    uint64_t low = 0, high = m->n;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        if (strcmp(m->by_name[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->n && strcmp(m->by_name[low]->name, name) == 0 ? m->by_name[low] : NULL;
}

/* Bytes [first, first + n) as they are stored. */
static zo2_status read_stored(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n, void *dst)
{
    const zo2_gguf_file *f = &m->files[t->file];
    zo2_status s = zo2_io_read_along(&zo2_io_posix, f->fd, dst, n, t->offset + first, f->path);
    return s ? zo2_error(s, "%s (tensor %s)", zo2_last_error(), t->name) : ZO2_OK;
}

static zo2_status read_blocks(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n,
                              unsigned char *dst)
{
    unsigned char stored[BLOCKS * 34];
    float values[ZO2_GGUF_BLOCK];
    const zo2_gguf_block *type = t->type;
    for (uint64_t block = first / ZO2_GGUF_BLOCK, end = (first + n + ZO2_GGUF_BLOCK - 1) / ZO2_GGUF_BLOCK;
         block < end;) {
        const uint64_t now = zo2_min_u64(end - block, BLOCKS);
        zo2_status s = read_stored(m, t, block * type->bytes, now * type->bytes, stored);
        if (s)
            return s;
        for (uint64_t i = 0; i < now; i++, block++) {
            const uint64_t start = block * ZO2_GGUF_BLOCK, from = zo2_max_u64(start, first);
            const uint64_t to = zo2_min_u64(start + ZO2_GGUF_BLOCK, first + n);
            type->decode(stored + i * type->bytes, values);
            memcpy(dst + (from - first) * sizeof *values, values + (from - start), (to - from) * sizeof *values);
        }
    }
    return ZO2_OK;
}

/* F32 as the 16-bit type that holds all of it. */
static zo2_status read_narrow(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n,
                              unsigned char *dst)
{
    float values[FLOATS];
    for (uint64_t at = 0, now; at < n; at += now) {
        now = zo2_min_u64(n - at, FLOATS);
        zo2_status s = read_stored(m, t, (first + at) * sizeof *values, now * sizeof *values, values);
        if (s)
            return s;
        for (uint64_t i = 0; i < now; i++) {
            const uint16_t bits = t->dtype == ZO2_F16 ? zo2_fp16_encode(values[i]) : zo2_bf16_encode(values[i]);
            memcpy(dst + (at + i) * sizeof bits, &bits, sizeof bits);
        }
    }
    return ZO2_OK;
}

static zo2_status check_range(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n)
{
    return first > t->elements || n > t->elements - first
               ? zo2_error(ZO2_ERR_ARG,
                           "tensor %s of %s has %" PRIu64 " elements; %" PRIu64 " from %" PRIu64 " were asked for",
                           t->name, m->files[t->file].path, t->elements, n, first)
               : ZO2_OK;
}

zo2_status zo2_gguf_read(const zo2_gguf *m, const zo2_gguf_tensor *t, uint64_t first, uint64_t n, void *dst)
{
    zo2_status s = check_range(m, t, first, n);
    if (s || n == 0)
        return s;
    if (t->type->decode)
        return read_blocks(m, t, first, n, dst);
    if (t->dtype != t->type->dtype)
        return read_narrow(m, t, first, n, dst);
    return read_stored(m, t, first * t->type->bytes, n * t->type->bytes, dst);
}
