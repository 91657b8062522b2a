/* torch_zip.h: the zip archives that torch.save() writes: which entries there are, and where in the file the data of each lie.
 * Entries are stored, not compressed, so that they can be read at any place by plain reads. */
#ifndef ZO2_STORAGE_CHECKPOINT_TORCH_ZIP_H
#define ZO2_STORAGE_CHECKPOINT_TORCH_ZIP_H

#include "engine/zo2.h"

#include <stdint.h>

typedef struct zo2_zip_entry {
    char *name;
    uint64_t header;    /* offset of its local header */
    uint64_t at, bytes; /* of its data, as they are in the file */
    const char *packed; /* "compressed", "encrypted": its data aren't what it holds; else NULL */
} zo2_zip_entry;

typedef struct zo2_zip {
    zo2_zip_entry *entries; /* [n] by name */
    uint64_t n;
} zo2_zip;

/* Lists the archive that the open file fd of `size` bytes is, and checks all that is said of its entries: data inside the file, none
 * over another's, no name twice. path: for messages. fd isn't needed afterwards. CRCs aren't looked
 * at: PyTorch can be told not to compute them. ZO2_ERR_FORMAT, ZO2_ERR_UNSUPPORTED. On failure nothing is to be freed. */
zo2_status zo2_zip_list(zo2_zip *out, int fd, uint64_t size, const char *path);
void zo2_zip_free(zo2_zip *z); /* zeroed is fine */

/* ZO2_ERR_UNSUPPORTED, naming it, if an entry is compressed or encrypted. */
zo2_status zo2_zip_check_stored(const zo2_zip *z, const char *path);

const zo2_zip_entry *zo2_zip_find(const zo2_zip *z, const char *name); /* NULL if absent */

/* ---- shared by the files of this ----------------------------------------------------------------------------------- */

/* A file as libzip reads it, through storage/io, remembering where it last read. */
typedef struct zo2_zip_file {
    const char *path;
    int fd;
    uint64_t size, position;
    uint64_t last_read; /* offset of the last read */
    zo2_status failed;  /* of a read; the last error says more */
} zo2_zip_file;

struct zip_source;
struct zip_error;
/* f must outlive the source. NULL: *error says why. */
struct zip_source *zo2_zip_source(zo2_zip_file *f, struct zip_error *error);

#endif
