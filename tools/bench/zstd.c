/* zstd.c: see zstd.h. zstd measures itself (-b); its own timer leaves reading the file out. */
#include "tools/bench/zstd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/peer.h"
#include "tools/cli/report.h"

#define MOST_WEIGHTS (4ull << 20)

/* Weights as models have them: normal, standard deviation 0.02. */
static bool write_weights(const bench *b, const char *path, uint64_t n)
{
    float *w = malloc(n * sizeof *w);
    FILE *f = fopen(path, "wb");
    bool ok = w && f && !zo2_noise_fill(w, 0, 0, 0, 0, 0, n, ZO2_GAUSSIAN);
    for (uint64_t i = 0; i < n && ok; i++)
        w[i] *= 0.02f;
    ok = ok && fwrite(w, sizeof *w, n, f) == n;
    if (f && fclose(f))
        ok = false;
    free(w);
    if (!ok)
        cli_error(b->program, "cannot write %s: %s", path, strerror(errno));
    return ok;
}

bool bench_zstd_start(bench *b, bench_zstd *z)
{
    char line[256] = "", version[16];
    memset(z, 0, sizeof *z);
    FILE *f = b->options.no_peers.given ? NULL : popen("zstd --version 2>/dev/null", "re");
    bool there = f && fgets(line, sizeof line, f) && strstr(line, " v");
    if (f)
        pclose(f);
    if (!there || sscanf(strstr(line, " v") + 2, "%15[0-9.]", version) != 1) {
        bench_note_missing(b, "zstd");
        return true;
    }
    if (!bench_work_folder(b))
        return false;
    char path[sizeof b->work + 16];
    snprintf(path, sizeof path, "%s/weights", b->work);
    z->weights = b->bytes / 4 < MOST_WEIGHTS ? b->bytes / 4 : MOST_WEIGHTS;
    if (!write_weights(b, path, z->weights))
        return false;
    snprintf(z->command, sizeof z->command, "zstd -q -b1 -i0 -T1 '%s' 2>&1", path);
    snprintf(z->name, sizeof z->name, "zstd -1 %s", version);
    return true;
}

/* "-1  15578841 (1.077)  480.12 MB/s 1200.3 MB/s  weights" */
static bool run(const bench_zstd *z, bool decompress, double *seconds)
{
    char line[512];
    double up = 0, down = 0;
    FILE *f = popen(z->command, "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strrchr(line, ')');
        if (line[0] == '-' && at && sscanf(at + 1, "%lf MB/s %lf MB/s", &up, &down) != 2)
            up = down = 0;
    }
    if (f)
        pclose(f);
    double speed = 1e6 * (decompress ? down : up);
    *seconds = (double)z->weights * 4 / speed;
    if (speed > 0)
        return true;
    cli_error("zo2-bench", "cannot read what this printed: %s", z->command);
    return false;
}

static bool run_compress(void *ud, uint64_t passes, double *seconds)
{
    (void)passes; /* zstd repeats as it likes */
    return run(ud, false, seconds);
}

static bool run_decompress(void *ud, uint64_t passes, double *seconds)
{
    (void)passes;
    return run(ud, true, seconds);
}

bool bench_zstd_add(const bench_zstd *z, bench_row *row, bool decompress)
{
    if (!z->name[0])
        return true;
    bench_zstd *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = *z;
    bench_side *side = bench_add_side(row, "zstd", z->name);
    side->items = (double)z->weights;
    side->run = decompress ? run_decompress : run_compress;
    side->close = free;
    side->ud = copy;
    return true;
}
