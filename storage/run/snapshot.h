/* snapshot.h: snapshot files: a cache of masters that shortens replay. RUN.md has the format. A snapshot consists of
 * units (the engine's panel tiles and vector chunks), each with its own step, its fp32 values and its hash. */
#ifndef ZO2_STORAGE_RUN_SNAPSHOT_H
#define ZO2_STORAGE_RUN_SNAPSHOT_H

#include "storage/io/io.h"

typedef struct zo2_snapshot_header {
    uint64_t model_hash;
    uint64_t step;  /* steps in the journal when it was taken: no unit is ahead of it */
    uint64_t chain; /* zo2_journal_chain(j, step) */
    uint32_t units;
} zo2_snapshot_header;

typedef struct zo2_snapwriter zo2_snapwriter;

/* Writes DIR/snapshot-<step, 12 digits>.zo2s (DIR is made if missing; its parent exists). elements[i]: fp32 values of
 * unit i, fixed for all. */
zo2_status zo2_snapwriter_open(zo2_snapwriter **out, const zo2_io *io, const char *dir, const zo2_snapshot_header *h,
                               const uint64_t *elements);
/* Unit by unit in order: its step, then its values in any number of pieces. */
zo2_status zo2_snapwriter_unit(zo2_snapwriter *w, uint64_t step);
zo2_status zo2_snapwriter_values(zo2_snapwriter *w, const float *values, uint64_t n);
/* Checks completeness, fsync; reads the file back and verifies it before it gets its name; rename, fsync of the folder.
 * Then removes all snapshots but this one and the newest below it: those of later steps belong to a history that the
 * journal no longer has. A folder of snapshots belongs to one run. */
zo2_status zo2_snapwriter_commit(zo2_snapwriter *w);
void zo2_snapwriter_close(zo2_snapwriter *w); /* without commit: the temporary file is removed */

typedef struct zo2_snapfile zo2_snapfile;

/* Steps of the snapshots of a folder, newest first, at most max; returns how many (0 if the folder is missing). By file
 * name only. */
uint32_t zo2_snapshot_list(const char *dir, uint64_t *steps, uint32_t max);
/* Opens one and checks header and table. */
zo2_status zo2_snapfile_open(zo2_snapfile **out, const char *dir, uint64_t step);
void zo2_snapfile_close(zo2_snapfile *s);
const zo2_snapshot_header *zo2_snapfile_get_header(const zo2_snapfile *s);
uint64_t zo2_snapfile_unit_step(const zo2_snapfile *s, uint32_t unit);
uint64_t zo2_snapfile_unit_elements(const zo2_snapfile *s, uint32_t unit);
/* All values of a unit, hash checked; ZO2_ERR_FORMAT if it is damaged (the caller rebuilds that unit from the pack).
 * Thread-safe. */
zo2_status zo2_snapfile_read_unit(const zo2_snapfile *s, uint32_t unit, float *values);
/* Bytes a snapshot of these units takes. */
uint64_t zo2_snapshot_bytes(const uint64_t *elements, uint32_t units);
/* Removes temporary files a crash left in the folder. */
void zo2_snapshot_clean(const zo2_io *io, const char *dir);

/* The folder of a run's snapshots: `elsewhere` if a caller names one, else RUN_DIR/snapshots; malloc'ed, NULL when out of memory. */
char *zo2_snapshot_folder(const char *run_dir, const char *elsewhere);

#endif
