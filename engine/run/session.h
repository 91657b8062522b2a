/* session.h: what an engine is: a core, its pack and its run directory. Private to this folder; tests reach the head-tile
 * observer through it. */
#ifndef ZO2_ENGINE_RUN_SESSION_H
#define ZO2_ENGINE_RUN_SESSION_H

#include "engine/base/one_log.h"
#include "engine/forward/core.h"
#include "engine/model/arch.h"
#include "engine/pack/pack_api.h"
#include "kernels/backend.h"
#include "storage/run/journal.h"

#include <stdatomic.h>
#include <sys/types.h>

struct zo2_engine {
    zo2_pack *pack;
    zo2_arch arch; /* the pack's, as the run tunes it (engine/model/tune.h) */
    char *tune;    /* settings.tune */
    zo2_core core;
    zo2_engine_opts opts; /* resolved; log and log_ud are those of `log` */
    zo2_one_log log;      /* what the caller gave */
    char host_limit[256]; /* where opts.host_bytes comes from; "": it was given */
    zo2_run_settings settings;
    char *run_dir; /* NULL: the pack's own weights */
    char *snapshot_dir;
    char **spill_dirs;        /* [opts.spill_count] */
    double *spill_share;      /* [opts.spill_count]: of the chunks, in new files; NULL: equal */
    int lock_fd;              /* -1: read-only */
    int made_run_dir;         /* by this open */
    zo2_journal *journal;     /* NULL when read-only */
    const zo2_journal *known; /* while the engine is opened: the run's, NULL: it has no steps */
    uint64_t first_chain;     /* of the run; 0: there is none */
    int made_spill;           /* by this open, which begins the run */
    int made_trunk;           /* the same, of files for what is kept of the trunk, as far as it came to that */
    int unfinished;           /* the open failed: what it made goes */
    int resumed;
    pid_t process;     /* that has the threads */
    atomic_int busy;   /* a call is in progress */
    zo2_status failed; /* sticky: masters or journal are no longer what they should be */
    uint64_t tokens, data_position, skipped_in_row;
    /* of an engine that shares its work (share.h) */
    double *values;          /* [streams][rows or loss tokens] of the largest batch */
    uint64_t *first;         /* [rows of the largest batch + 1] */
    double exchange_seconds; /* of the last step */
    double last_snapshot;    /* monotonic seconds */
    double snapshot_cost;    /* seconds of the last one */
};

/* Around a call that changes or reads what steps change. ZO2_ERR_BUSY: one is in progress, on another thread or further
 * up on this one, which is in a callback. ZO2_ERR_UNSUPPORTED: this process is a forked child of the engine's. */
zo2_status zo2_engine_enter(zo2_engine *e, const char *function);
void zo2_engine_leave(zo2_engine *e);

/* zo2_snapshot() within a call. */
zo2_status zo2_engine_snapshot(zo2_engine *e);

/* Peak resident bytes of this process outside the cpu backend's device arena. */
uint64_t zo2_host_peak(const zo2_engine *e);

static inline void zo2_engine_say(const zo2_engine *e, zo2_log_level level, const char *text)
{
    if (e->opts.log)
        e->opts.log(e->opts.log_ud, level, text);
}

/* ---- run_dir.c ---- */

/* Makes or finds the directory and, unless the engine is read-only, locks it: e->run_dir, e->lock_fd, e->made_run_dir. */
zo2_status zo2_run_dir_claim(zo2_engine *e, const char *run_dir);

/* *journal: that of an existing run, NULL if there is none and the engine may begin one. */
zo2_status zo2_run_dir_open_journal(zo2_engine *e, zo2_journal **journal);

/* e->snapshot_dir. Looks at what is there before the next snapshot replaces it: a run that only begins (journal NULL) is
 * refused where another has snapshots, and of those ahead of the journal there is a warning. */
zo2_status zo2_run_dir_find_snapshots(zo2_engine *e, const zo2_journal *journal);

/* Begins the run: e->journal, with e->settings. */
zo2_status zo2_run_dir_create_journal(zo2_engine *e);

/* Room for the steps that the run is to have, so that taking one allocates nothing. Untouched memory costs nothing
 * either, but a number of steps that means "until I stop it" must not reserve all there is: beyond 131,072, or
 * where memory is short now, the lists grow by doubling when it comes to that. */
void zo2_run_dir_reserve(zo2_engine *e);

/* ---- spill.c ---- */

/* The caller's list of directories becomes the engine's own. */
zo2_status zo2_engine_copy_spill_dirs(zo2_engine *e);
void zo2_engine_free_spill_dirs(zo2_engine *e);
/* Before files are made in several directories: measures how fast each reads, for chunks to go by that. */
zo2_status zo2_engine_measure_spill(zo2_engine *e);
/* What a core needs to know of an engine whose masters spill. */
zo2_core_spill zo2_engine_spill(zo2_engine *e);
/* Chunks are cut as they were when the files were made: *chunk_bytes (0: as the planner likes) becomes that, if there are any.
 * ZO2_ERR_MISMATCH if another size was asked for. */
zo2_status zo2_engine_spill_chunks(const zo2_engine *e, uint64_t *chunk_bytes);
/* Removes what the open of a new run made, if it failed. */
void zo2_engine_unspill(const zo2_engine *e);

/* ---- options.c ---- */

/* What the run moves, from the options of a new one, or as an old one has it: e->arch and e->tune. */
zo2_status zo2_engine_tune(zo2_engine *e, const zo2_run_settings *run);
/* Tensors of the pack that share storage, as tensors of the run; NULL: there are none. *out: malloc'ed. */
zo2_status zo2_engine_aliases(const zo2_engine *e, uint32_t **out);

/* Options as they are in force, what zo2_engine_get_opts() shows: e->settings and defaults filled in. */
void zo2_engine_resolve_opts(zo2_engine *e);

/* Of a new run: `pending`, if it is left to the write budget (zo2.h). */
zo2_status zo2_engine_budget_pending(zo2_engine *e, const zo2_backend_ops *ops);

#endif
