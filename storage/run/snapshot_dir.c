/* snapshot_dir.c: the folder of a run's snapshots: names, layout of a file, listing, removing. */
#include "engine/base/checked.h"
#include "storage/io/io.h"
#include "storage/io/leftovers.h"
#include "storage/run/snapshot.h"
#include "storage/run/snapshot_format.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PREFIX "snapshot-"
#define NAME_SUFFIX ".zo2s"
#define NAME_DIGITS 12

uint64_t zo2_snap_layout(zo2_snap_unit *table, const uint64_t *elements, uint32_t units)
{
    if (units < 1 || units > ZO2_SNAPSHOT_MAX_UNITS)
        return 0;
    uint64_t end =
        zo2_round_up(ZO2_SNAPSHOT_HEADER_BYTES + (uint64_t)units * sizeof(zo2_snap_unit), ZO2_SNAPSHOT_ALIGN);
    for (uint32_t i = 0; i < units; i++) {
        if (elements[i] > ZO2_SNAPSHOT_MAX_ELEMENTS)
            return 0;
        if (table) {
            table[i].offset = end;
            table[i].elements = elements[i];
        }
        /* 2^22 units of 2^42 bytes overflow; files end at 2^63 - 1 */
        if (!zo2_add_u64(end, zo2_round_up(elements[i] * sizeof(float), ZO2_SNAPSHOT_ALIGN), &end) || end > INT64_MAX)
            return 0;
    }
    return end;
}

uint64_t zo2_snapshot_bytes(const uint64_t *elements, uint32_t units)
{
    const uint64_t bytes = zo2_snap_layout(NULL, elements, units);
    return bytes ? bytes : UINT64_MAX;
}

char *zo2_snap_path(const char *dir, uint64_t step)
{
    char name[64];
    snprintf(name, sizeof name, NAME_PREFIX "%0*" PRIu64 NAME_SUFFIX, NAME_DIGITS, step);
    return zo2_path_join(dir, name);
}

int zo2_snap_name(const char *name, uint64_t *step, const char **rest)
{
    if (strncmp(name, NAME_PREFIX, sizeof NAME_PREFIX - 1))
        return 0;
    name += sizeof NAME_PREFIX - 1;
    *step = 0;
    for (int i = 0; i < NAME_DIGITS; i++, name++) {
        if (*name < '0' || *name > '9')
            return 0;
        *step = *step * 10 + (uint64_t)(*name - '0');
    }
    if (strncmp(name, NAME_SUFFIX, sizeof NAME_SUFFIX - 1))
        return 0;
    *rest = name + sizeof NAME_SUFFIX - 1;
    return 1;
}

uint32_t zo2_snapshot_list(const char *dir, uint64_t *steps, uint32_t max)
{
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    uint32_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t step;
        const char *rest;
        if (!zo2_snap_name(e->d_name, &step, &rest) || *rest)
            continue;
        uint32_t at = n;
        while (at > 0 && steps[at - 1] < step)
            at--;
        if (at >= max)
            continue;
        if (n < max)
            n++;
        memmove(steps + at + 1, steps + at, (n - 1 - at) * sizeof *steps);
        steps[at] = step;
    }
    closedir(d);
    return n;
}

void zo2_snapshot_prune(const zo2_io *io, const char *dir, uint64_t step)
{
    uint64_t steps[64]; /* there are rarely more than three; the next snapshot removes what is left */
    const uint32_t n = zo2_snapshot_list(dir, steps, sizeof steps / sizeof *steps);
    int older = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i] == step || (steps[i] < step && older++ == 0))
            continue;
        char *path = zo2_snap_path(dir, steps[i]);
        if (path)
            io->unlink(io->ud, path);
        free(path);
    }
}

static int is_temporary(void *ud, const char *name)
{
    (void)ud;
    uint64_t step;
    const char *rest;
    return zo2_snap_name(name, &step, &rest) && !strncmp(rest, ".tmp-", 5);
}

void zo2_snapshot_clean(const zo2_io *io, const char *dir)
{
    zo2_leftovers_remove(io, dir, is_temporary, NULL);
}

char *zo2_snapshot_folder(const char *run_dir, const char *elsewhere)
{
    return elsewhere ? strdup(elsewhere) : zo2_path_join(run_dir, "snapshots");
}
