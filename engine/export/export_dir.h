/* export_dir.h: an output directory that appears complete or not at all: built as a temporary sibling, renamed at the
 * end. Private to engine/. */
#ifndef ZO2_ENGINE_EXPORT_EXPORT_DIR_H
#define ZO2_ENGINE_EXPORT_EXPORT_DIR_H

#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"

/* What a directory of adapters has instead of a model's files: PEFT's names. */
#define ZO2_ADAPTER_CONFIG  "adapter_config.json"
#define ZO2_ADAPTER_WEIGHTS "adapter_model.safetensors"

typedef struct zo2_export_dir {
    char *path; /* where it will be, without slashes at the end */
    char *tmp;  /* where it is built; NULL when nothing is to be removed */
    int force;
    int lock; /* on tmp while it is built: tells whoever exports here next that this is no leftover; -1: none */
} zo2_export_dir;

/* Removes the temporary siblings that killed exports left, and makes one. ZO2_ERR_EXISTS if path exists and not force;
 * ZO2_ERR_ARG, with force or without, if it is not a directory or holds anything that an export would not write: a mistyped
 * path must not cost a folder. */
zo2_status zo2_export_dir_begin(zo2_export_dir *d, const char *path, int force);

/* Writes one whole file into it. */
zo2_status zo2_export_dir_file(const zo2_export_dir *d, const char *name, const void *data, size_t bytes);

/* Writes the files that the pack carries. config.json tells of the weights that are beside it: their class, their type
 * (dtype; 0: each has its own), their head (model: as it is written); all else in it stays to the letter. In export_files.c. */
zo2_status zo2_export_files(const zo2_export_dir *d, const zo2_pack *pack, const zo2_arch *model, zo2_dtype dtype);

/* Syncs and renames. What was at path before is removed after that. */
zo2_status zo2_export_dir_commit(zo2_export_dir *d);

/* Removes what was built, unless committed, and frees. Zeroed is fine. */
void zo2_export_dir_end(zo2_export_dir *d);

#endif
