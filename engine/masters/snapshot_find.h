/* snapshot_find.h: which snapshot of a folder can stand in for a part of the replay. Private to engine/. */
#ifndef ZO2_ENGINE_MASTERS_SNAPSHOT_FIND_H
#define ZO2_ENGINE_MASTERS_SNAPSHOT_FIND_H

#include "engine/model/layout.h"
#include "storage/run/journal.h"
#include "storage/run/snapshot.h"

/* Are units and their sizes the layout's? Those without values don't count: they are aliases of others, or were left as they were. */
int zo2_snapshot_fits(const zo2_layout *l, const zo2_snapfile *s);

/* The newest snapshot of at most `steps` steps that belongs to the journal's history and fits the layout; NULL if there
 * is none. The caller closes it. One that can't be read gets a warning through log, which may be NULL. */
zo2_snapfile *zo2_snapshot_find(const char *dir, const zo2_journal *j, const zo2_layout *l, uint64_t steps,
                                zo2_log_fn log, void *log_ud);

/* Values of a unit, read into values[elements of the unit], if they are whole and at most at step `to`: 1 and *step, or
 * 0: the unit is to be rebuilt from the pack (a damaged one with a warning through log). */
int zo2_snapshot_unit(const zo2_snapfile *s, uint32_t unit, uint64_t to, float *values, uint64_t *step, zo2_log_fn log,
                      void *log_ud);

#endif
