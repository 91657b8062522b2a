/* metaseq_files.h: which files of a folder are a metaseq checkpoint. Private to this folder. */
#ifndef ZO2_STORAGE_CHECKPOINT_METASEQ_FILES_H
#define ZO2_STORAGE_CHECKPOINT_METASEQ_FILES_H

#include "storage/io/listing.h"

/* In the order of the parts; one file that has the whole model is one part. */
typedef struct zo2_metaseq_files {
    char **paths; /* [n] */
    uint32_t n;
    char *unread; /* the name of a file beside them that holds the same model and isn't read; NULL */
} zo2_metaseq_files;

/* 1 if any of a folder's names is such a file's. */
int zo2_metaseq_is_there(const zo2_listing *place);

/* ZO2_ERR_NOTFOUND: a part is missing, by name; ZO2_ERR_FORMAT: parts of two checkpoints. Nothing is to be freed then. */
zo2_status zo2_metaseq_files_find(zo2_metaseq_files *out, const char *dir);
void zo2_metaseq_files_free(zo2_metaseq_files *f); /* zeroed is fine */

/* s = ZO2_ERR_NOTFOUND for part `number` of a checkpoint of which path is a part; `why` says how it is known. */
zo2_status zo2_metaseq_missing_part(const char *path, uint32_t number, const char *why);

#endif
