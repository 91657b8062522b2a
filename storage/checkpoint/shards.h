/* shards.h: the files that the weights of a model's folder are in, by the rules that Hugging Face's formats share: one file, the
 * files that an index names, or else every file that fits. Nothing in them is looked at here. */
#ifndef ZO2_STORAGE_CHECKPOINT_SHARDS_H
#define ZO2_STORAGE_CHECKPOINT_SHARDS_H

#include "storage/instead/instead.h"

#include <stdint.h>

#define ZO2_MAX_SHARDS      99999u     /* five digits in a shard's name */
#define ZO2_MAX_INDEX_BYTES 100000000u /* as of a safetensors header */

/* What differs between formats. */
typedef struct zo2_shard_kind {
    const char *single;            /* "model.safetensors" */
    const char *index;             /* "model.safetensors.index.json" */
    const char *ending;            /* ".safetensors", of a series NAME-00001-of-00003.safetensors */
    zo2_wanted wanted;             /* to tell what is there instead */
    int (*fits)(const char *name); /* 1 for a file that may hold weights, where there is no index */
    /* 1 for one that does as its first bytes say: of files that fit those are taken, if there are any. NULL: the name says it. */
    int (*looks_right)(const char *path);
    int (*has)(const char *path, const char *tensor); /* 1 if that file has such a tensor */
} zo2_shard_kind;

typedef struct zo2_shards {
    const zo2_shard_kind *kind;
    char *path;   /* as opened, for messages */
    char **files; /* [n_files] paths, sorted */
    uint32_t n_files;
    /* Of a folder that was opened by its index. */
    char *index_path;
    struct json_t *index;
    char **missing; /* [n_missing] files that the index names and that aren't there */
    uint32_t n_missing;
} zo2_shards;

/* The files at path, which may be a single one. Of an index only the files' names count, as for Hugging Face: tensors are where they
 * are, whatever the map says. ZO2_ERR_NOTFOUND if nothing fits. On failure, too, it is to be freed. */
zo2_status zo2_shards_find(zo2_shards *out, const zo2_shard_kind *kind, const char *path);
void zo2_shards_free(zo2_shards *s); /* zeroed is fine */

/* s, the outcome of opening the files. A missing one is named before the damage of another: the error then says which. */
zo2_status zo2_shards_blame(const zo2_shards *s, zo2_status status);

/* "FILE is missing (1 of the 3 shards that INDEX names is); download the rest", file being one of s->missing; or that it is a broken
 * link, or an unfinished download. Uses the last error. */
const char *zo2_shards_missing_text(const zo2_shards *s, const char *file, char *text, size_t n);

/* Why no file has the tensor, and what to do, as far as index and names of files tell; "" if they don't. The last error may
 * change. */
const char *zo2_shards_absent(const zo2_shards *s, const char *tensor, char *text, size_t n);

/* Where a model has a tensor, and an index says that it is in `file`. */
typedef enum zo2_shard_place { ZO2_SHARD_NOWHERE, ZO2_SHARD_ELSEWHERE, ZO2_SHARD_THERE } zo2_shard_place;
typedef zo2_shard_place (*zo2_shard_place_fn)(const void *model, const char *tensor, const char *file);

/* What is odd about index and files and does no harm, one text each. */
void zo2_shards_oddities(const zo2_shards *s, zo2_shard_place_fn place, const void *model,
                         void (*say)(void *ud, const char *text), void *ud);

/* ---- shared by the files of this ----------------------------------------------------------------------------------- */

/* The names of the files that an index lists, sorted and unique (malloc'ed, each and all), and the parsed index itself. */
zo2_status zo2_shards_load_index(const char *path, struct json_t **index, char ***names, uint32_t *n);

#endif
