/* trunk_index.h: which entries there are, and where: a hash table with linear probing, at most half full. Private to
 * storage/trunk. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_INDEX_H
#define ZO2_STORAGE_TRUNK_TRUNK_INDEX_H

#include "storage/trunk/trunk.h"

#define ZO2_TRUNK_MAX_ENTRIES (UINT64_C(1) << 24)
/* Keys are hashes, whose longest way to a place is far shorter; keys that somebody chose would make it endless. */
#define ZO2_TRUNK_MAX_PROBES 1024u

typedef struct zo2_trunk_entry {
    zo2_trunk_key key;
    uint64_t at; /* of the payload, in its file or block */
    uint64_t bytes;
    uint64_t hash; /* XXH3-64 of the payload */
    uint32_t part; /* number of the file, or of the block in RAM */
    uint32_t used; /* 0: an empty place */
} zo2_trunk_entry;

typedef struct zo2_trunk_index {
    zo2_trunk_entry *place; /* [places], a power of two; NULL: none yet */
    uint64_t places;
    uint64_t n;    /* entries */
} zo2_trunk_index; /* zeroed: empty */

void zo2_trunk_index_free(zo2_trunk_index *x);

/* NULL: none. Valid until the next call that changes the index. */
const zo2_trunk_entry *zo2_trunk_index_find(const zo2_trunk_index *x, const zo2_trunk_key *key);
/* Room for one more: 1; 0: the index has as many as it may, or there is no memory. */
int zo2_trunk_index_reserve(zo2_trunk_index *x);
/* Puts e there, in place of one with its key: 1; 0: no room. e->used is set here. */
int zo2_trunk_index_set(zo2_trunk_index *x, const zo2_trunk_entry *e);
void zo2_trunk_index_remove(zo2_trunk_index *x, const zo2_trunk_key *key); /* a missing one is fine */

#endif
