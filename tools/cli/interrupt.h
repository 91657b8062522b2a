/* interrupt.h: Ctrl-C and other ends that come from outside. A signal asks: it sets a flag and makes the registered
 * engine's step return at its next chunk. A SIGINT or SIGTERM after that ends the process at once with status 130;
 * everything on disk survives that.
 * SIGHUP (the terminal went away) and SIGPIPE (whoever read the output went away) only ever ask, because both may come
 * more than once without anybody being in a hurry: a shell passes on the kernel's SIGHUP, each line raises a SIGPIPE.
 * Under nohup SIGHUP stays ignored. SIGXFSZ is ignored: writing past the limit is an error with a message like others. */
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
