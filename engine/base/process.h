/* process.h: whose threads these are. A child that is forked has a copy of everything but the threads: who would wait for one
 * there, or for a lock that one held, waits for ever. So what has threads remembers its process, and a child only frees. */
#ifndef ZO2_ENGINE_BASE_PROCESS_H
#define ZO2_ENGINE_BASE_PROCESS_H

#include "engine/zo2.h"

#include <sys/types.h>
#include <unistd.h>

/* ZO2_ERR_UNSUPPORTED in a child of the process that made `what`. */
static inline zo2_status zo2_process_check(pid_t maker, const char *function, const char *what)
{
    if (maker == getpid())
        return ZO2_OK;
    return zo2_error(
        ZO2_ERR_UNSUPPORTED,
        "%s: process %ld made this %s and forked: its threads are not in the child, which can only close it and "
        "open its own",
        function, (long)maker, what);
}

#endif
