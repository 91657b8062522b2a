/* run_print.h: what fixes a run's bits, as people read it. */
#ifndef ZO2_TOOLS_CLI_RUN_PRINT_H
#define ZO2_TOOLS_CLI_RUN_PRINT_H

#include <stdbool.h>

#include "engine/zo2.h"

/* Lines of a table, label and value, of options as a run or a bundle has them. answers: as for cli_tune_text(). */
void cli_run_print(const zo2_engine_opts *o, bool answers);

#endif
