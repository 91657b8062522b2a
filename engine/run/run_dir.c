/* run_dir.c: the run directory of an engine: made or found, locked, its journal opened or begun. */
#include "engine/masters/history.h"
#include "engine/run/session.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"
#include "storage/run/remains.h"
#include "storage/run/settings_list.h"
#include "storage/run/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESERVED_STEPS 131072u /* zo2.h, total_steps */

zo2_status zo2_run_dir_claim(zo2_engine *e, const char *run_dir)
{
    e->run_dir = strdup(run_dir);
    if (!e->run_dir)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the run directory");
    zo2_status s = zo2_run_check_remains(run_dir); /* before the lock is written */
    if (s || e->opts.read_only)
        return s;
    if (!mkdir(run_dir, 0777))
        e->made_run_dir = 1;
    else if (errno != EEXIST)
        return zo2_io_error("cannot create the run directory", run_dir);
    return zo2_run_lock(run_dir, &e->lock_fd);
}

zo2_status zo2_run_dir_open_journal(zo2_engine *e, zo2_journal **journal)
{
    char *path = zo2_journal_path(e->run_dir);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the journal");
    zo2_status s = ZO2_OK;
    if (!access(path, F_OK))
        s = zo2_journal_open(journal, &zo2_io_posix, path, !e->opts.read_only);
    else if (errno != ENOENT)
        s = zo2_explain_file(zo2_io_error("cannot look at the journal", path), e->run_dir, ZO2_WANT_RUN);
    else if (e->opts.read_only)
        s = zo2_explain_file(
            zo2_error(ZO2_ERR_NOTFOUND, "%s is not a run directory: it has no journal.zo2j", e->run_dir), e->run_dir,
            ZO2_WANT_RUN);
    free(path);
    if (!s && *journal && !e->opts.read_only && !e->opts.resume)
        s = zo2_error(ZO2_ERR_EXISTS,
                      "%s already holds a run of %" PRIu64 " steps: resume it, or choose another directory", e->run_dir,
                      zo2_journal_steps(*journal));
    if (!s && *journal && zo2_journal_torn_bytes(*journal)) {
        char text[160];
        snprintf(text, sizeof text,
                 "the journal ended with %" PRIu64 " torn bytes, the rest of an interrupted write: cut off",
                 zo2_journal_torn_bytes(*journal));
        zo2_engine_say(e, ZO2_LOG_INFO, text);
    }
    return s;
}

static void warn_ahead(const zo2_engine *e, uint64_t steps)
{
    uint64_t newest;
    char text[1200];
    if (!zo2_snapshot_list(e->snapshot_dir, &newest, 1) || newest <= steps)
        return;
    snprintf(text, sizeof text,
             "%s has a snapshot after %" PRIu64 " steps, the journal only %" PRIu64
             ": it was cut, or is an old copy. The steps behind are taken again, and the snapshots replaced",
             e->snapshot_dir, newest, steps);
    zo2_engine_say(e, ZO2_LOG_WARNING, text);
}

zo2_status zo2_run_dir_find_snapshots(zo2_engine *e, const zo2_journal *journal)
{
    e->snapshot_dir = zo2_snapshot_folder(e->run_dir, e->opts.snapshot_dir);
    if (!e->snapshot_dir)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the snapshot directory");
    if (!journal)
        return zo2_run_check_new_snapshots(e->snapshot_dir);
    if (!e->opts.read_only)
        warn_ahead(e, zo2_journal_steps(journal));
    return ZO2_OK;
}

zo2_status zo2_run_dir_create_journal(zo2_engine *e)
{
    char *path = zo2_journal_path(e->run_dir);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the name of the journal");
    zo2_status s = zo2_journal_create(&e->journal, &zo2_io_posix, path, &e->settings);
    free(path);
    return s;
}

void zo2_run_dir_reserve(zo2_engine *e)
{
    uint64_t steps = e->opts.total_steps ? e->opts.total_steps : ZO2_DEFAULT_STEPS;
    if (steps > RESERVED_STEPS)
        steps = RESERVED_STEPS;
    if (!zo2_journal_reserve(e->journal, steps))
        (void)zo2_history_reserve(&e->core.history, steps); /* a step that finds no room fails and says so */
}
