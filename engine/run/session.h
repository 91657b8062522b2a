/* engine_internal.h: what an engine is: a core, its pack and its run directory. Private to engine.c, step.c and
 * state.c; tests reach the head-tile observer through it. */
#ifndef ZO2_ENGINE_RUN_SESSION_H
#define ZO2_ENGINE_RUN_SESSION_H

#include "engine/forward/core.h"
#include "engine/pack/pack_api.h"
#include "storage/run/snapshot.h"

#include <stdatomic.h>

struct zo2_engine {
    zo2_pack *pack;
    zo2_core core;
    zo2_engine_opts opts; /* resolved */
    zo2_run_settings settings;
    char *run_dir; /* NULL: the pack's own weights */
    char *snapshot_dir;
    int lock_fd;          /* -1: read-only */
    int made_run_dir;     /* by this open */
    zo2_journal *journal; /* NULL when read-only */
    int resumed;
    atomic_int busy;   /* a call is in progress */
    zo2_status failed; /* sticky: masters or journal are no longer what they should be */
    uint64_t tokens, data_position, skipped_in_row;
    double last_snapshot; /* monotonic seconds */
    double snapshot_cost; /* seconds of the last one */
};

/* Around a call that changes or reads what steps change. ZO2_ERR_BUSY: one is in progress, on another thread or further
 * up on this one, which is in a callback. */
zo2_status zo2_engine_enter(zo2_engine *e, const char *function);
void zo2_engine_leave(zo2_engine *e);

/* zo2_snapshot() within a call. */
zo2_status zo2_engine_snapshot(zo2_engine *e);

/* Monotonic seconds. */
double zo2_now(void);
/* Peak resident bytes of this process outside the cpu backend's device arena. */
uint64_t zo2_host_peak(const zo2_engine *e);

#endif
