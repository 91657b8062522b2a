/* interrupt.h: Ctrl-C. The first SIGINT or SIGTERM asks: it sets a flag and makes the registered engine's step return
 * at its next chunk. The second one ends the process at once with status 130; everything on disk survives that. */
#ifndef ZO2_TOOLS_CLI_INTERRUPT_H
#define ZO2_TOOLS_CLI_INTERRUPT_H

#include <stdbool.h>

#include "engine/zo2.h"

void cli_interrupt_install(void);

/* The engine whose steps a signal aborts; NULL before it is closed. */
void cli_interrupt_engine(zo2_engine *e);

/* True once a signal came. */
bool cli_interrupted(void);

#endif
