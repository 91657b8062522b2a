/* work.h: what the commands that write share: progress on stderr, Ctrl-C, and what a failure says. */
#ifndef ZO2_TOOLS_PACK_WORK_H
#define ZO2_TOOLS_PACK_WORK_H

#include "engine/zo2.h"
#include "tools/cli/progress.h"

typedef struct pack_work {
    const char *program;
    const char *out; /* what is being written */
    bool force;      /* and may replace what is there */
    cli_progress progress;
} pack_work;

/* Ctrl-C cancels from here on. program and out must outlive the work. */
void pack_work_begin(pack_work *w, const char *program, const char *out, bool force);

/* Sets the callbacks of an option struct (log may be NULL: it has none). w must stay where it is. */
void pack_work_callbacks(pack_work *w, zo2_log_fn *log, void **log_ud, zo2_progress_fn *progress, void **progress_ud);

/* Clears the progress line. A failure is printed, with the way out of the commonest ones. Returns the exit status. */
int pack_work_end(pack_work *w, zo2_status s);

#endif
