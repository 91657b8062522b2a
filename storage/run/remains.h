/* remains.h: what is left of a run whose journal is gone. */
#ifndef ZO2_STORAGE_RUN_REMAINS_H
#define ZO2_STORAGE_RUN_REMAINS_H

#include "engine/zo2.h"

/* Is run_dir what it can be: not there, a folder without a run, or a run with its journal? A run's journal comes before all
 * its other files, so a folder with settings, metrics or snapshots and without a journal (or with one that is shorter than
 * its header) has lost it; it must not be taken for a folder without a run, in which one may begin. ZO2_ERR_FORMAT then,
 * saying what is there, what is missing and what can be done, or if run_dir is a file. Reads only; works beside a writer. */
zo2_status zo2_run_check_remains(const char *run_dir);

/* ZO2_ERR_EXISTS if the folder has snapshots: they aren't those of a run that only begins, which would remove them. */
zo2_status zo2_run_check_new_snapshots(const char *snapshot_dir);

#endif
