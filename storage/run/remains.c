/* remains.c: see remains.h. */
#include "storage/run/remains.h"

#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/run/journal.h"
#include "storage/run/journal_format.h"
#include "storage/run/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int there(const char *dir, const char *name)
{
    struct stat st;
    char *path = zo2_path_join(dir, name);
    int found = path && !lstat(path, &st);
    free(path);
    return found;
}

/* "settings.json, metrics.jsonl, snapshots (the newest after 6 steps)"; 0: none of them is there. */
static int list_remains(const char *run_dir, char *out, size_t size)
{
    static const char *const names[] = {"settings.json", "metrics.jsonl"};
    size_t n = 0;
    uint64_t newest;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (there(run_dir, names[i]))
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", names[i]);
    char *snapshots = zo2_snapshot_folder(run_dir, NULL);
    if (snapshots && zo2_snapshot_list(snapshots, &newest, 1))
        n += (size_t)snprintf(out + n, size - n, "%ssnapshots (the newest after %" PRIu64 " steps)", n ? ", " : "",
                              newest);
    free(snapshots);
    return n > 0;
}

/* What is wrong with the journal, NULL if nothing is that would be seen here. */
static const char *journal_fault(const char *run_dir)
{
    struct stat st;
    char *path = zo2_journal_path(run_dir);
    const char *fault = NULL;
    if (path && stat(path, &st))
        fault = errno == ENOENT ? "is missing" : NULL;
    else if (path && S_ISREG(st.st_mode) && st.st_size < (off_t)sizeof(zo2_journal_head))
        fault = "is cut short";
    free(path);
    return fault;
}

zo2_status zo2_run_check_remains(const char *run_dir)
{
    struct stat st;
    char remains[160], export[PATH_MAX + 160] = "";
    if (!stat(run_dir, &st) && !S_ISDIR(st.st_mode))
        return zo2_explain_file(zo2_error(ZO2_ERR_FORMAT, "%s is a file; a run is a directory", run_dir), run_dir,
                                ZO2_WANT_RUN);
    /* In this order: beside a session that begins a run here, what it wrote after the journal must not be seen without it. */
    if (!list_remains(run_dir, remains, sizeof remains))
        return ZO2_OK;
    const char *fault = journal_fault(run_dir);
    if (!fault)
        return ZO2_OK;
    if (strstr(remains, "snapshots"))
        snprintf(export, sizeof export,
                 "; or export what is in the newest snapshot: zo2-pack export PACK OUT --snapshot %s/snapshots",
                 run_dir);
    return zo2_error(
        ZO2_ERR_FORMAT,
        "%s has %s of a run, but journal.zo2j, the record of its steps, %s: the run can't go on without it. "
        "Nothing was changed. Put journal.zo2j back from a copy%s; or, to begin anew, remove %s or choose "
        "another directory",
        run_dir, remains, fault, export, run_dir);
}

zo2_status zo2_run_check_new_snapshots(const char *snapshot_dir)
{
    uint64_t newest;
    if (!zo2_snapshot_list(snapshot_dir, &newest, 1))
        return ZO2_OK;
    return zo2_error(ZO2_ERR_EXISTS,
                     "%s has snapshots of another run, the newest after %" PRIu64
                     " steps, which those of this one would replace: choose another folder, or remove them",
                     snapshot_dir, newest);
}
