/* packfile_internal.h: what the reader's files share. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_INTERNAL_H
#define ZO2_STORAGE_PACK_PACKFILE_INTERNAL_H

#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"

/* Everything but the weights is in memory; immutable after opening, hence thread-safe. */
struct zo2_packfile {
    char *path;
    int fd;
    zo2_packheader header;
    zo2_pack_superblock super;
    zo2_pack_tensor_record *tensors;
    zo2_pack_chunk_record *chunks;
    zo2_pack_file_record *files;
    zo2_pack_wire_record *wires; /* [header.wires] */
    uint64_t source_chunks;      /* of the chunk table: those of wires follow them */
    char *names;
    zo2_packtensor *views; /* tensors as the interface shows them */
    char **file_data;      /* contents, NUL behind each */
};

/* Chunks that a tensor is cut into, its own or its original's: those of its source bits, and those of each stored wire. */
static inline uint64_t zo2_pack_chunk_count(const zo2_pack_tensor_record *t)
{
    return (t->rows + t->chunk_rows - 1) / t->chunk_rows;
}

/* Those of its source bits that there are. */
static inline uint64_t zo2_pack_source_chunks(const zo2_pack_tensor_record *t)
{
    return t->flags & ZO2_PACK_DROPPED ? 0 : zo2_pack_chunk_count(t);
}

/* Checks superblock and tables; p's path, fd and nothing else are set. In packfile_tables.c. */
zo2_status zo2_packfile_load(zo2_packfile *p);

/* Checks the wire table: its chunks begin at *chunk of the chunk table and *cursor of the file. In packfile_wires.c. */
zo2_status zo2_packfile_check_wires(zo2_packfile *p, uint64_t *chunk, uint64_t *cursor);
/* The one of a tensor, or of what it is stored as; NULL: there is none. */
const zo2_pack_wire_record *zo2_packfile_find_wire(const zo2_packfile *p, uint32_t tensor, zo2_wire wire);
/* The record that chunk c, one of a wire's, belongs to. */
const zo2_pack_wire_record *zo2_packfile_wire_of(const zo2_packfile *p, uint64_t c);

/* Chunk c (absolute index) of tensor t as it is stored, into dst (its stored bytes), their hash checked. */
zo2_status zo2_packfile_read_stored(const zo2_packfile *p, uint32_t t, uint64_t c, void *dst);

/* Source bits of chunk c (absolute index) of tensor t into dst (its decoded bytes), hashes checked. */
zo2_status zo2_packfile_read_chunk(const zo2_packfile *p, uint32_t t, uint64_t c, void *dst);

#endif
