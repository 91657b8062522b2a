/* safetensors_internal.h: what the reader's and writer's files share. */
#ifndef ZO2_STORAGE_CHECKPOINT_SAFETENSORS_INTERNAL_H
#define ZO2_STORAGE_CHECKPOINT_SAFETENSORS_INTERNAL_H

#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/shards.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data are little-endian and used in place: big-endian machines are not supported"
#endif

#define ZO2_ST_MAX_HEADER 100000000u /* the reference implementation's limit */
#define ZO2_ST_INDEX_NAME "model.safetensors.index.json"

typedef struct zo2_st_file {
    const char *path;
    int fd;
} zo2_st_file;

struct zo2_safetensors {
    zo2_shards shards;
    zo2_st_file *files; /* those of shards, opened */
    uint32_t n_files;
    zo2_st_tensor *tensors; /* by file, then offset: reading in this order is sequential. Names are malloc'ed */
    uint64_t n, cap;
    zo2_st_tensor **by_name; /* of two with one name the one in the earlier file first */
};

/* What is known of a data type of the format; NULL for unknown names. */
typedef struct zo2_st_dtype {
    char name[16];
    uint32_t bits;
    zo2_dtype dtype; /* 0: not a weight */
} zo2_st_dtype;

const zo2_st_dtype *zo2_st_dtype_find(const char *name);
const zo2_st_dtype *zo2_st_dtype_of(zo2_dtype dtype);

/* Elements and bytes of a shape; 0 if a product overflows (the bits' too, as in the reference implementation), or if the
 * elements don't end with a byte. */
int zo2_st_size(const uint64_t *shape, uint32_t rank, uint32_t element_bits, uint64_t *elements, uint64_t *bytes);

/* Checks file number `file` (path and fd are set) and appends its tensors, in the order of their offsets. */
zo2_status zo2_st_load_file(zo2_safetensors *s, uint32_t file);

/* Makes by_name. */
zo2_status zo2_st_sort_names(zo2_safetensors *s);

/* 1 if the file of this name (no path) has a tensor `name`. */
int zo2_st_is_in(const zo2_safetensors *s, const char *name, const char *file);

#endif
