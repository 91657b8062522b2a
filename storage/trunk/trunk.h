/* trunk.h: rows of the residual stream at a fixed place in the model, kept by line: what a later epoch reads instead of
 * computing it again. TRUNK.md has the format of the files. An entry's key is a hash of everything that the rows depend on, so an
 * entry is never wrong, at most missing: whatever goes wrong with this cache costs time and nothing else. It says so in the
 * log and goes on with less, down to nothing.
 *
 * One thread at a time may use a handle; handles are independent. The log function is called on that thread, during a call. */
#ifndef ZO2_STORAGE_TRUNK_TRUNK_H
#define ZO2_STORAGE_TRUNK_TRUNK_H

#include "engine/base/checked.h"
#include "storage/io/io.h"

#define ZO2_TRUNK_MAX_FILES 16u
/* Of an entry in a file, beside its payload; one in RAM is counted as if it had them. */
#define ZO2_TRUNK_RECORD_BYTES 48u

typedef struct zo2_trunk zo2_trunk;

typedef struct zo2_trunk_key {
    uint64_t low, high; /* XXH3-128 of whatever the caller says */
} zo2_trunk_key;

typedef struct zo2_trunk_config {
    uint64_t
        bytes; /* most bytes of entries, each counted by zo2_trunk_entry_bytes(); what files have from before stays */
    const char *const *dirs; /* each has DIR/trunk-<run, 16 hex digits>.zo2t; entries are spread by key */
    uint32_t n_dirs;         /* at most ZO2_TRUNK_MAX_FILES; 0: in RAM */
    uint64_t run;            /* names the files */
    zo2_trunk_key identity;  /* what all entries depend on: a file of another one is begun anew */
    int writable;            /* 0: files are read and nothing is changed, none is made; no matter in RAM */
    const zo2_io *io;        /* NULL: zo2_io_posix; outlives the handle */
    zo2_log_fn log;          /* may be NULL */
    void *log_ud;
} zo2_trunk_config;

/* What an entry takes of config.bytes; UINT64_MAX: more than there are. The index is memory besides, of entries in files too: 100
 * to 200 bytes each. */
static inline uint64_t zo2_trunk_entry_bytes(uint64_t bytes)
{
    return bytes <= UINT64_MAX / 2 ? ZO2_TRUNK_RECORD_BYTES + zo2_round_up(bytes, 8) : UINT64_MAX;
}

/* Opens the files that are there and, writable, makes folders and files that are missing. Entries are found by their headers;
 * what a killed writer left half is cut off. A file that another process writes is read here and gets nothing. Errors are what the
 * user can mend before the first step: a folder that can't be made or written, one named twice, something else under a file's
 * name; ZO2_ERR_NOMEM. A full disk, unreadable or damaged files are told in the log, and ZO2_OK. */
zo2_status zo2_trunk_open(zo2_trunk **out, const zo2_trunk_config *c);
/* Tries zo2_trunk_sync(). NULL is fine. */
void zo2_trunk_close(zo2_trunk *t);

/* Whether there is an entry of that many bytes. It may still be damaged. */
int zo2_trunk_has(const zo2_trunk *t, const zo2_trunk_key *key, uint64_t bytes);
/* A hint: the entry is read soon. Several entries hinted at, then read, keep a drive busy. */
void zo2_trunk_expect(const zo2_trunk *t, const zo2_trunk_key *key);
/* 1: dst[bytes] is what was put. 0: it isn't there, or is damaged or unreadable: then it is forgotten (a warning for the first
 * one of a file), may be put again, and dst holds anything. */
int zo2_trunk_get(zo2_trunk *t, const zo2_trunk_key *key, void *dst, uint64_t bytes);
/* Keeps a copy if there is room: 1, also if it was there. Where there is none, or the disk fails, the log says so once; a
 * smaller one may still be kept. One of another length under the same key is replaced. */
int zo2_trunk_put(zo2_trunk *t, const zo2_trunk_key *key, const void *src, uint64_t bytes);
/* What was put so far survives a crash of the machine. A failure is told once, here and in the log; its file gets nothing more. */
zo2_status zo2_trunk_sync(zo2_trunk *t);

typedef struct zo2_trunk_stats {
    uint64_t entries;
    uint64_t bytes;        /* of config.bytes: entries, and records of those that were forgotten or replaced */
    uint64_t hits, misses; /* of get */
    uint64_t damaged;      /* misses of entries that were there */
    int full;              /* something wasn't kept for want of room, or because files failed */
} zo2_trunk_stats;
zo2_trunk_stats zo2_trunk_stats_of(const zo2_trunk *t);

/* Removes a run's files from these folders; those that are missing are fine. ZO2_ERR_BUSY: being written. */
zo2_status zo2_trunk_remove(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs);

#endif
