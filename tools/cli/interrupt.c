/* interrupt.c: see interrupt.h. Signal handlers have no argument, hence the two statics. */
#include "tools/cli/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/args.h"

static volatile sig_atomic_t interrupts;
static _Atomic(zo2_engine *) running;

static void ask(int signal_number)
{
    (void)signal_number;
    interrupts = 1;
    zo2_engine *e = atomic_load(&running);
    if (e)
        zo2_step_abort(e);
}

static void ask_or_quit(int signal_number)
{
    if (interrupts)
        _exit(CLI_EXIT_INTERRUPTED);
    ask(signal_number);
}

static void handle(int signal_number, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART; /* system calls in progress go on: work stops where the flag is looked at */
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL);
}

void cli_interrupt_install(void)
{
    struct sigaction hangup;
    handle(SIGINT, ask_or_quit);
    handle(SIGTERM, ask_or_quit);
    handle(SIGPIPE, ask);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        handle(SIGHUP, ask);
    handle(SIGXFSZ, SIG_IGN);
}

void cli_interrupt_engine(zo2_engine *e)
{
    atomic_store(&running, e);
    if (e && interrupts) /* came before the engine was known */
        zo2_step_abort(e);
}

bool cli_interrupted(void)
{
    return interrupts != 0;
}
