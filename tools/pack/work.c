/* work.c: see work.h. */
#include "tools/pack/work.h"

#include <stdio.h>
#include <unistd.h>

#include "tools/cli/args.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"

void pack_work_begin(pack_work *w, const char *program, const char *out, bool force)
{
    w->program = program;
    w->out = out;
    w->force = force;
    cli_progress_init(&w->progress, program, false);
    cli_interrupt_install();
}

void pack_work_callbacks(pack_work *w, zo2_log_fn *log, void **log_ud, zo2_progress_fn *progress, void **progress_ud)
{
    if (log) {
        *log = cli_log;
        *log_ud = &w->progress;
    }
    *progress = cli_progress_work;
    *progress_ud = &w->progress;
}

static bool is_partly_there(const char *out)
{
    char partial[4096];
    return snprintf(partial, sizeof partial, "%s.partial", out) < (int)sizeof partial && access(partial, F_OK) == 0;
}

int pack_work_end(pack_work *w, zo2_status s)
{
    cli_progress_clear(&w->progress);
    if (s == ZO2_OK)
        return CLI_EXIT_OK;
    int status = cli_fail(w->program, NULL, s);
    if (s == ZO2_ERR_EXISTS && !w->force)
        fprintf(stderr, "--force replaces it.\n");
    else if (s == ZO2_ERR_CANCELLED || s == ZO2_ERR_NOSPACE)
        fprintf(stderr,
                is_partly_there(w->out)
                    ? "What there is of %s stays in files beside it: the same command goes on from there.\n"
                    : "%s was not written; nothing is left behind.\n",
                w->out);
    return status;
}
