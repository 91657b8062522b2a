/* work.c: the temporary folder of a run. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/report.h"

bool bench_work_folder(bench *b)
{
    if (b->work[0])
        return true;
    const char *parent = getenv("TMPDIR");
    char path[sizeof b->work];
    if (snprintf(path, sizeof path, "%s/zo2-bench-XXXXXX", parent && *parent ? parent : "/tmp") >= (int)sizeof path ||
        !mkdtemp(path)) {
        cli_error(b->program, "cannot make a temporary folder %s: %s; TMPDIR says where", path, strerror(errno));
        return false;
    }
    memcpy(b->work, path, sizeof path);
    return true;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void bench_work_remove(bench *b)
{
    if (b->work[0] && nftw(b->work, remove_one, 16, FTW_DEPTH | FTW_PHYS))
        cli_error(b->program, "cannot remove %s: %s", b->work, strerror(errno));
    b->work[0] = 0;
}
