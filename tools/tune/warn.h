/* warn.h: likely mistakes: what a command may ask for and rarely means. One warning each, with the number of lines where it is
 * lines; never an error. Warnings come with --quiet, too. */
#ifndef ZO2_TOOLS_TUNE_WARN_H
#define ZO2_TOOLS_TUNE_WARN_H

#include "tools/cli/progress.h"
#include "tools/text/dataset.h"
#include "tools/tune/train.h"

/* About a data file. name: as messages have it. */
void tune_warn_data(cli_progress *p, const char *name, const zo2t_dataset_info *data);

/* About a training session: after train_setup(). A run that exists keeps its settings, so nothing is said of them. */
void tune_warn_train(train *t);

/* About a new run's eps, which is measured by the weights: with the engine open. Below 2^-23, fp32's relative precision, the
 * difference of two losses is what rounding leaves of it; and a weight doesn't move at all where eps is less than half a unit
 * in its last place, in the compute type: more than half of a sample of the matrices' weights (the middle 512 of each). */
void tune_warn_eps(train *t);

#endif
