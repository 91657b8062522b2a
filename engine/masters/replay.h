/* replay.h: what is said before a replay: which steps, from where, and for how long. */
#ifndef ZO2_ENGINE_MASTERS_REPLAY_H
#define ZO2_ENGINE_MASTERS_REPLAY_H

#include "engine/masters/history.h"

/* Logs "replaying steps 20 to 60 (from a snapshot): about 3 min" for a model of so many parameters on so many threads; the
 * time is that of some of the steps on a piece of weights, measured now. Nothing if there is nothing to replay, or log is
 * NULL. */
void zo2_replay_announce(const zo2_history *h, uint64_t from, uint64_t to, int from_snapshot, uint64_t parameters,
                         uint32_t threads, zo2_log_fn log, void *log_ud);

#endif
