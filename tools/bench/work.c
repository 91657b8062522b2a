/* work.c: temporary folders. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/cli/report.h"

bool bench_make_folder(const bench *b, const char *parent, const char *flag, char *path, size_t size)
{
    if (snprintf(path, size, "%s/zo2-bench-XXXXXX", parent) < (int)size && mkdtemp(path))
        return true;
    cli_error(b->program, "cannot make a temporary folder in %s: %s; %s says where", parent, strerror(errno), flag);
    path[0] = 0;
    return false;
}

bool bench_work_folder(bench *b)
{
    const char *parent = getenv("TMPDIR");
    return b->work[0] || bench_make_folder(b, parent && *parent ? parent : "/tmp", "TMPDIR", b->work, sizeof b->work);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void bench_remove_folder(const bench *b, const char *path)
{
    if (path[0] && nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS))
        cli_error(b->program, "cannot remove %s: %s", path, strerror(errno));
}

void bench_work_remove(bench *b)
{
    bench_remove_folder(b, b->work);
    b->work[0] = 0;
}
