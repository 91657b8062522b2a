/* packfile_partial.h: what an interrupted writer leaves, and how the next one goes on from there (PACK.md, "Interrupted"). Beside
 * PATH.partial lies PATH.partial-chunks, a record of each chunk that was written there. Both are only believed as far as the
 * hashes of the chunks go. Private to storage/pack. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_PARTIAL_H
#define ZO2_STORAGE_PACK_PACKFILE_PARTIAL_H

#include "storage/io/io.h"
#include "storage/pack/packfile_format.h"

typedef struct zo2_packpartial {
    const zo2_io *io;
    char *path; /* of the records; NULL: there is none of all this */
    int fd;
    uint64_t key;
    zo2_pack_chunk_record *kept; /* [n_kept] as the records have them */
    uint64_t n_kept;
    uint64_t end; /* of the last kept chunk */
} zo2_packpartial;

/* Opens the records that belong to pack path, or begins them: those of another key count for nothing. */
zo2_status zo2_packpartial_open(zo2_packpartial *p, const zo2_io *io, const char *path, uint64_t key);
/* Chunk i is in the file now. */
zo2_status zo2_packpartial_note(const zo2_packpartial *p, uint64_t i, const zo2_pack_chunk_record *chunk);
/* remove: the records go. Zeroed is fine. */
void zo2_packpartial_close(zo2_packpartial *p, int remove);

#endif
