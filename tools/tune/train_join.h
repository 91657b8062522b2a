/* train_join.h: before ranks resume a run: they may stand at different steps, or be other ones than before. */
#ifndef ZO2_TOOLS_TUNE_TRAIN_JOIN_H
#define ZO2_TOOLS_TUNE_TRAIN_JOIN_H

#include "tools/cli/args.h"
#include "tools/tune/train.h"
#include "tools/tune/train_dist.h"

/* All ranks get the longest journal that one of them has, of which the others' must be the beginning; and the settings.json that goes with
 * it, but for what is a rank's own. Nothing if no rank has a run. Masters follow when the engine is opened. A call that all ranks make; 0 or
 * the exit status, the same on all. */
int train_join_run(const train_rank *r, const cli_command *c, const char *run_dir);

#endif
