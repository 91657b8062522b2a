/* torch_internal.h: what the files of torch_file.h share. */
#ifndef ZO2_STORAGE_CHECKPOINT_TORCH_INTERNAL_H
#define ZO2_STORAGE_CHECKPOINT_TORCH_INTERNAL_H

#include "storage/checkpoint/torch_file.h"
#include "storage/checkpoint/torch_state.h"

#include <stdlib.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are little-endian and used in place: big-endian machines are not supported"
#endif

struct zo2_torch_file {
    char *path;
    int fd;
    uint64_t size;
    zo2_torch_state state;
    uint64_t
        *storage_at;  /* [n_storages] where in the file their data begin; those that tensors use are inside the file */
    uint32_t *order;  /* [n_tensors] tensors of state in the order of their data: our numbers */
    uint32_t *number; /* [n_tensors] our number of each tensor of state */
};

/* Fills state and storage_at of an open file; path, fd and size are set. On failure the file is to be closed. */
zo2_status zo2_torch_load_zip(zo2_torch_file *f);
zo2_status zo2_torch_load_legacy(zo2_torch_file *f);

/* Room for storage_at, once there is a state. */
static inline zo2_status zo2_torch_place_storages(zo2_torch_file *f)
{
    f->storage_at = calloc((size_t)f->state.n_storages + 1, sizeof *f->storage_at);
    return f->storage_at ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the tensors of %s", f->path);
}

/* Elements [first, first + n) of a tensor, counted row by row, to dst; size: bytes of an element. at: offset of its first element in
 * the file. Any strides. */
zo2_status zo2_torch_read_elements(const zo2_torch_file *f, const zo2_torch_tensor *t, uint64_t at, uint64_t first,
                                   uint64_t n, void *dst);

#endif
