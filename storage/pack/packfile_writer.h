/* packfile_writer.h: what the writer's files share. */
#ifndef ZO2_STORAGE_PACK_PACKFILE_WRITER_H
#define ZO2_STORAGE_PACK_PACKFILE_WRITER_H

#include "storage/io/io.h"
#include "storage/pack/packfile.h"
#include "storage/pack/packfile_format.h"
#include "storage/pack/packfile_partial.h"

#include <xxhash.h>

typedef struct zo2_carried_file {
    char *name;
    void *data;
    uint64_t bytes;
} zo2_carried_file;

struct zo2_packwriter {
    zo2_outfile file;
    zo2_packpartial partial; /* of one that can be resumed */
    zo2_status failed;       /* first error; everything after it fails too */
    char *path;
    char arch[32];
    uint64_t end; /* where the next chunk goes; aligned */
    uint64_t features;

    zo2_pack_tensor_record *tensors;
    char **tensor_names;
    uint32_t n_tensors, cap_tensors;
    zo2_pack_chunk_record *chunks;
    uint64_t n_chunks, cap_chunks;
    zo2_carried_file files[ZO2_PACK_MAX_FILES];
    uint32_t n_files;
    uint64_t file_bytes; /* of all carried files */
    zo2_pack_wire_record *wires;
    uint64_t n_wires, cap_wires;
    uint64_t missing_chunks; /* of the last of them */

    /* the tensor being written: the last of tensors */
    int open;
    uint64_t missing;     /* bytes still to come */
    uint64_t chunk_bytes; /* of a full chunk */
    XXH3_state_t *hash;
};

/* Remembers the first error and returns s. */
zo2_status zo2_packwriter_fail(zo2_packwriter *w, zo2_status s);
/* Makes room in *array for one more than n elements of `size` bytes; 0: out of memory. */
int zo2_packwriter_reserve(void *array, uint64_t n, uint64_t *cap, size_t size);
/* Checks t and appends its record, with hash, chunks and their rows (this version's) still to be set. In packfile_write.c. */
zo2_status zo2_packwriter_record(zo2_packwriter *w, const zo2_packtensor *t);
/* Appends a chunk; what it belongs to is the caller's to know. */
zo2_status zo2_packwriter_put(zo2_packwriter *w, const zo2_packchunk *c);
/* Refuses if the wire that is being written lacks chunks. In packfile_wires.c. */
zo2_status zo2_packwriter_finish_wire(zo2_packwriter *w);
/* Refuses if a tensor without source bits has no wire. In packfile_wires.c. */
zo2_status zo2_packwriter_check_dropped(zo2_packwriter *w);
/* Ends the tensor that is being written, if any. */
zo2_status zo2_packwriter_finish_tensor(zo2_packwriter *w);

#endif
