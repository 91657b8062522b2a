/* trunk_file.h: one file of a trunk cache: opened or begun, scanned, added to, read. Private to storage/trunk. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_FILE_H
#define ZO2_STORAGE_TRUNK_TRUNK_FILE_H

#include "storage/io/io.h"
#include "storage/trunk/trunk.h"
#include "storage/trunk/trunk_index.h"

typedef struct zo2_trunk_file {
    const zo2_io *io;
    char *path;
    int fd;         /* -1: there is none */
    int takes;      /* entries may be added */
    int unsynced;   /* a record was added since the last sync */
    int unnamed;    /* its folder wasn't synced yet */
    int complained; /* the log has a warning of a damaged entry */
    uint64_t device, inode;
    uint64_t seed;    /* of its records' hashes */
    uint64_t end;     /* where the next record goes */
    uint64_t started; /* up to there the drive was told to write */
    uint64_t bytes;   /* of records, by zo2_trunk_entry_bytes() */
} zo2_trunk_file;

/* To config.log, formatted. */
void zo2_trunk_say(const zo2_trunk_config *c, zo2_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "DIR/trunk-<run>.zo2t", malloc'ed; NULL when out of memory. */
char *zo2_trunk_path(const char *dir, uint64_t run);

/* Opens file number `part` of c, or begins it, and tells the index what it has. Errors and the log as of zo2_trunk_open(); close
 * it after an error, too. */
zo2_status zo2_trunk_file_open(zo2_trunk_file *f, const zo2_trunk_config *c, uint32_t part, zo2_trunk_index *index);
void zo2_trunk_file_close(zo2_trunk_file *f);

/* Adds a record; e has key and bytes, and gets at and hash. After an error the file takes nothing more. */
zo2_status zo2_trunk_file_add(zo2_trunk_file *f, zo2_trunk_entry *e, const void *src);
/* The payload, unchecked. */
zo2_status zo2_trunk_file_read(const zo2_trunk_file *f, const zo2_trunk_entry *e, void *dst);
/* After an error the file takes nothing more. */
zo2_status zo2_trunk_file_sync(zo2_trunk_file *f);

#endif
