/* checkpoint_place.h: what is at a path, looked up once for all readers. */
#ifndef ZO2_STORAGE_CHECKPOINT_CHECKPOINT_PLACE_H
#define ZO2_STORAGE_CHECKPOINT_CHECKPOINT_PLACE_H

#include "engine/zo2.h"

typedef struct zo2_checkpoint_place {
    const char *path; /* the caller's */
    int is_folder;
    char **names; /* [n] entries of a folder, sorted: the same on every disk */
    uint64_t n;
} zo2_checkpoint_place;

/* ZO2_ERR_NOTFOUND and others if there is nothing or it can't be listed; nothing is to be freed then. */
zo2_status zo2_checkpoint_place_look(zo2_checkpoint_place *out, const char *path);
void zo2_checkpoint_place_free(zo2_checkpoint_place *p); /* zeroed is fine */

/* The first entry whose name ends with one of endings (ended by NULL), else NULL. */
const char *zo2_checkpoint_place_ending(const zo2_checkpoint_place *p, const char *const *endings);

#endif
