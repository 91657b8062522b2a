/* wear.c: see wear.h. */
#include "tools/cli/wear.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tools/cli/args.h"
#include "tools/cli/numbers.h"

/* What makers promise for drives that people have: 600 full overwrites. */
#define OVERWRITES 600

/* Bytes of the file systems of directories that are there. */
static double capacity_of(const zo2_engine_opts *o)
{
    dev_t seen[CLI_MOST_TEXTS];
    uint32_t n = 0;
    double bytes = 0;
    for (uint32_t i = 0; i < o->spill_count && n < CLI_MOST_TEXTS; i++) {
        struct stat st;
        struct statvfs v;
        if (stat(o->spill_dirs[i], &st) != 0 || statvfs(o->spill_dirs[i], &v) != 0)
            continue;
        uint32_t same = 0;
        while (same < n && seen[same] != st.st_dev)
            same++;
        if (same < n)
            continue;
        seen[n++] = st.st_dev;
        bytes += (double)v.f_blocks * (double)v.f_frsize;
    }
    return bytes;
}

static uint64_t whole(double bytes)
{
    return bytes < 0x1p63 ? (uint64_t)bytes : UINT64_C(1) << 63;
}

cli_wear cli_wear_of(const zo2_plan *plan, const zo2_engine_opts *o, uint64_t steps, uint64_t endurance)
{
    cli_wear w = {.steps = steps, .rated = endurance, .assumed = !endurance};
    w.written = whole((double)plan->written_bytes_per_step * (double)steps);
    if (!endurance)
        w.rated = whole(OVERWRITES * capacity_of(o));
    return w;
}

const char *cli_wear_text(char *out, size_t size, const cli_wear *w)
{
    char steps[CLI_TEXT_BYTES], written[CLI_TEXT_BYTES], rated[CLI_TEXT_BYTES];
    snprintf(out, size,
             "%s steps would write %s to the --spill directories, and their drives are %s for %s; try a larger "
             "--pending, a --write-budget, more --host-mem or fewer --steps, or say with --endurance what they endure",
             cli_human_count(steps, w->steps), cli_human_size(written, w->written),
             w->assumed ? "taken to be good" : "rated", cli_human_size(rated, w->rated));
    return out;
}
