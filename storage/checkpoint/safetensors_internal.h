/* safetensors_internal.h: what the reader's and writer's files share. */
#ifndef ZO2_STORAGE_CHECKPOINT_SAFETENSORS_INTERNAL_H
#define ZO2_STORAGE_CHECKPOINT_SAFETENSORS_INTERNAL_H

#include "storage/checkpoint/safetensors.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data are little-endian and used in place: big-endian machines are not supported"
#endif

#define ZO2_ST_MAX_HEADER 100000000u /* the reference implementation's limit */
#define ZO2_ST_MAX_SHARDS 99999u     /* five digits in a shard's name */
#define ZO2_ST_INDEX_NAME "model.safetensors.index.json"

typedef struct zo2_st_file {
    char *path;
    int fd;
} zo2_st_file;

struct zo2_safetensors {
    char *path; /* as opened, for messages */
    zo2_st_file *files;
    uint32_t n_files;
    zo2_st_tensor *tensors; /* by file, then offset: reading in this order is sequential. Names are malloc'ed */
    uint64_t n, cap;
    zo2_st_tensor **by_name; /* of two with one name the one in the earlier file first */
    /* Of a folder that was opened by its index. */
    char *index_path;
    struct json_t *index;
    char **missing; /* [n_missing] files that the index names and that aren't there */
    uint32_t n_missing;
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

/* The names of the shards that an index lists, sorted and unique (malloc'ed, each and all), and the parsed index
 * itself. */
struct json_t;
zo2_status zo2_st_load_index(const char *path, struct json_t **index, char ***shards, uint32_t *n);

/* Makes by_name. */
zo2_status zo2_st_sort_names(zo2_safetensors *s);

/* 1 if the file of this name (no path) has a tensor `name`. */
int zo2_st_is_in(const zo2_safetensors *s, const char *name, const char *file);

/* "FILE is missing (1 of the 3 shards that INDEX names is); download the rest", file being one of s->missing; or that it is a broken
 * link, or an unfinished download. Uses the last error. */
const char *zo2_st_missing_text(const zo2_safetensors *s, const char *file, char *text, size_t n);

#endif
