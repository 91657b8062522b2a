/* listing.h: what is at a path, looked up once for all who ask. */
#ifndef ZO2_STORAGE_IO_LISTING_H
#define ZO2_STORAGE_IO_LISTING_H

#include "engine/zo2.h"

#include <stdint.h>

typedef struct zo2_listing {
    const char *path; /* the caller's */
    int is_folder;
    char **names; /* [n] entries of a folder but . and .., sorted: the same on every disk */
    uint64_t n;
} zo2_listing;

/* ZO2_ERR_NOTFOUND and others if there is nothing or it can't be listed; nothing is to be freed then. */
zo2_status zo2_listing_make(zo2_listing *out, const char *path);
void zo2_listing_free(zo2_listing *p); /* zeroed is fine */

/* The first entry whose name ends with one of endings (ended by NULL), else NULL. */
const char *zo2_listing_ending(const zo2_listing *p, const char *const *endings);

#endif
