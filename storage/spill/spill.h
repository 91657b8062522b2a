/* spill.h: a run's chunks on disk, in slots that are never written in place. SPILL.md has the format. One file a directory;
 * a chunk lives in one of the files, its planes (wire, rest) in one slot, with the step it is at and a hash of each plane.
 *
 * Who writes a chunk takes a free slot, writes both planes there, and says so; from then on readers find the new version. A
 * commit makes all versions since the last one durable: fdatasync of the data, then their headers, fdatasync, and only then
 * are the slots of the old versions free. After a crash each chunk has its last committed version, or a later one. */
#ifndef ZO2_STORAGE_SPILL_SPILL_H
#define ZO2_STORAGE_SPILL_SPILL_H

#include "storage/io/aio.h"
#include "storage/io/io.h"

typedef struct zo2_spill zo2_spill;

typedef struct zo2_spill_chunk {
    uint64_t wire_bytes, rest_bytes; /* of its planes; both 0: it isn't kept here (it shares another's planes) */
} zo2_spill_chunk;

/* Names what a run had done after that many steps: its journal's chain value. Called while a spill is opened or verified, on the caller's thread. */
typedef uint64_t (*zo2_spill_history_fn)(const void *ud, uint64_t step);

typedef struct zo2_spill_config {
    uint64_t run;    /* names the run: its journal's chain value after 0 steps */
    uint64_t layout; /* whatever the cut depends on: a spill of another one is refused (ZO2_ERR_MISMATCH) */
    const zo2_spill_chunk *chunks;
    uint32_t n_chunks;
    const char *const *dirs; /* each gets DIR/spill-<run, 16 hex digits>.zo2x */
    const double
        *share; /* [n_dirs]: relative rates of new files, chunks go by them; NULL: equal. Existing files keep theirs */
    uint32_t n_dirs;
    double spare; /* free slots beyond one a chunk, as a share of them; 0: 0.02. At least two of each size */
    int writable; /* 0: existing files only, nothing is changed */
    zo2_log_fn log;
    void *log_ud;
    /* Versions of later steps, or of other histories, are of a journal that was cut back: they don't count. NULL: any history. */
    uint64_t most_step;
    zo2_spill_history_fn history;
    const void *history_ud;
    int begins; /* a run that only begins: files with versions belong to another one of its settings, ZO2_ERR_EXISTS */
} zo2_spill_config;

/* Opens what is there and makes what is missing, folders too (room is set aside at once, nothing is written: ZO2_ERR_NOSPACE
 * before the first step, not in the middle, and then nothing is left). Files are locked while they are open: ZO2_ERR_BUSY for
 * others, but several may read. Existing files keep their shares and spare slots and may be given in another order; how many
 * folders there are stays. Damaged headers cost their chunks only, with a warning. Not writable: files may be missing, not all
 * (ZO2_ERR_NOTFOUND). */
zo2_status zo2_spill_open(zo2_spill **out, const zo2_io *io, const zo2_spill_config *c);
/* The `layout` that the files of a run were made for. ZO2_ERR_NOTFOUND: there are none; other errors are open()'s as well. */
zo2_status zo2_spill_layout_of(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs,
                               uint64_t *layout);
/* What wasn't committed is lost. NULL is fine. */
void zo2_spill_close(zo2_spill *s);
/* Removes the files of a run from these directories; those that are missing are fine. ZO2_ERR_BUSY: in use. */
zo2_status zo2_spill_remove(const zo2_io *io, uint64_t run, const char *const *dirs, uint32_t n_dirs);
/* Bytes that new files of these chunks take, all together; 0: see zo2_last_error(). */
uint64_t zo2_spill_bytes(const zo2_spill_config *c);

/* The files, for a queue: requests name them by their index. One that is missing (not writable) has no path. */
const zo2_aio_file *zo2_spill_files(const zo2_spill *s, uint32_t *n);

/* A version of a chunk. Planes begin at multiples of 4096 and have room up to the next one. */
typedef struct zo2_spill_version {
    uint32_t chunk, slot, file;
    uint64_t wire_at, rest_at; /* byte offsets in the file */
    uint64_t step;
    uint64_t wire_hash, rest_hash; /* XXH3-64 of the plane's bytes, without the room behind them */
    uint64_t history;              /* what zo2_spill_history_fn says of the step */
} zo2_spill_version;

/* The newest version of a chunk, written or committed: 1, or 0 if there is none. Its slot isn't written before a newer version
 * is. Thread-safe, as everything below but commit(), which one thread at a time may call. */
int zo2_spill_find(zo2_spill *s, uint32_t chunk, zo2_spill_version *v);
/* Nobody may use this version any more: it is damaged. The one committed before it, if this one wasn't yet, is then the newest. */
void zo2_spill_forget(zo2_spill *s, const zo2_spill_version *v);

/* A free slot for a new version of a chunk: 1; 0: there is none until the next commit. */
int zo2_spill_take(zo2_spill *s, uint32_t chunk, zo2_spill_version *v);
/* The planes of a taken slot are written (by whatever means), v->step, history and the hashes are filled in. */
void zo2_spill_written(zo2_spill *s, const zo2_spill_version *v);
/* A slot that was taken and won't be written. */
void zo2_spill_give_back(zo2_spill *s, const zo2_spill_version *v);
/* Versions written and not committed. */
uint32_t zo2_spill_uncommitted(zo2_spill *s);
/* Any error is final: the caller stops, and what was committed before is still there. It comes back from every later commit,
 * and there are no more slots. */
zo2_status zo2_spill_commit(zo2_spill *s);

/* Whether the bytes of a plane that somebody has read are its version's: ZO2_ERR_FORMAT names file, offset and chunk. */
zo2_status zo2_spill_check(const zo2_spill *s, const zo2_spill_version *v, int is_rest, const void *plane);
/* Reads the planes that aren't NULL, hashes checked: ZO2_ERR_FORMAT names file, offset and chunk of a damaged one. The buffers
 * have room up to the next multiple of 4096 bytes. */
zo2_status zo2_spill_read(zo2_spill *s, const zo2_spill_version *v, void *wire, void *rest);

typedef struct zo2_spill_report {
    uint32_t files, versions; /* of chunks */
    uint64_t bytes;           /* of their planes */
    uint64_t oldest_step, newest_step;
    uint32_t damaged, damaged_headers;
    char first[512]; /* what is wrong with the first damaged one */
} zo2_spill_report;

/* Reads the version of each chunk that a resume would find in a run's files and checks every hash (progress: "verify", chunks
 * of a file). c: run, dirs, most_step and history count, the rest isn't needed. ZO2_ERR_FORMAT says what is damaged, after
 * everything was read; ZO2_ERR_NOTFOUND: a folder has no spill of this run. */
zo2_status zo2_spill_verify(const zo2_io *io, const zo2_spill_config *c, zo2_progress_fn progress, void *ud,
                            zo2_spill_report *report);

#endif
