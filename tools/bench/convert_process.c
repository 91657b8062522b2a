/* convert_process.c: see convert_process.h. */
#include "tools/bench/convert_process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/zo2.h"
#include "tools/bench/memory.h"
#include "tools/cli/args.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

void bench_forget_pages(char *const *files)
{
    for (; *files; files++) {
        int fd = open(*files, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue; /* whoever reads it says so */
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

static int on_progress(void *ud, const char *what, uint64_t done, uint64_t total)
{
    (void)ud, (void)what, (void)done, (void)total;
    return cli_interrupted();
}

static zo2_status convert(const bench_convert_process *how, double *seconds)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.threads = how->threads;
    o.progress = on_progress;
    unlink(how->out);
    bench_forget_pages(how->files);
    double from = cli_clock();
    zo2_status s = zo2_pack_convert(how->dir, how->out, &o);
    *seconds += cli_clock() - from;
    unlink(how->out);
    return s;
}

int bench_convert_serve(void *ud, FILE *in, FILE *out)
{
    const bench_convert_process *how = ud;
    char line[64];
    bench_reset_peak();
    fprintf(out, "ready %s\n", zo2_version());
    fflush(out);
    while (fgets(line, sizeof line, in)) {
        unsigned long passes = 0;
        double seconds = 0;
        if (sscanf(line, "convert %lu", &passes) != 1 || !passes)
            return CLI_EXIT_FAILED;
        for (unsigned long i = 0; i < passes; i++) {
            zo2_status s = convert(how, &seconds);
            if (s)
                return cli_fail("zo2-bench", how->dir, s);
        }
        fprintf(out, "%.9f %.0f\n", seconds / (double)passes, bench_peak_resident_bytes());
        fflush(out);
    }
    return CLI_EXIT_OK;
}
