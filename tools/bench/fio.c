/* fio.c: see fio.h. fio's own timer leaves its start out, as ours leaves out opening the file. */
#include "tools/bench/fio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "tools/bench/peer.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/report.h"

/* The fastest that a file can be had with fio: io_uring, past the page cache, buffers and file registered, the buffers on huge
 * pages and left as they are. (On pages of 4 KiB a request of 4 MiB has more segments than many drives take at once: half the
 * speed.) */
#define COMMAND                                                                                   \
    "GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "                                                      \
    "fio --name=zo2-bench --filename=%s --allow_file_create=0 --rw=%s --direct=1 "                \
    "--ioengine=io_uring --bs=%um --iodepth=16 --fixedbufs=1 --registerfiles=1 --nonvectored=1 "  \
    "--scramble_buffers=0 --thread --size=%llu --loops=%llu --invalidate=1 --output-format=json " \
    "2>/dev/null"

#define MOST_OUTPUT ((size_t)1 << 20)

typedef struct job {
    bench_fio fio;
    bool write;
    unsigned mib;
    bench_cpu_log *log;
} job;

void bench_cpu_add(bench_cpu_log *log, double seconds)
{
    if (log->n < sizeof log->seconds / sizeof *log->seconds)
        log->seconds[log->n++] = seconds;
}

void bench_fio_start(bench *b, bench_fio *f, const char *file, uint64_t bytes)
{
    char line[64] = "", version[16];
    memset(f, 0, sizeof *f);
    FILE *out = b->options.no_peers.given ? NULL : popen("fio --version 2>/dev/null", "re");
    bool there = out && fgets(line, sizeof line, out) && sscanf(line, "fio-%15[0-9.]", version) == 1;
    if (out)
        pclose(out);
    if (!there) {
        bench_note_missing(b, "fio");
        return;
    }
    snprintf(f->name, sizeof f->name, "fio %s", version);
    snprintf(f->file, sizeof f->file, "%s", file);
    f->bytes = bytes;
}

/* What the command prints, malloc'ed; NULL: nothing, or it failed. */
static char *output_of(const char *command, size_t *n)
{
    char *text = malloc(MOST_OUTPUT);
    FILE *out = text ? popen(command, "re") : NULL;
    *n = out ? fread(text, 1, MOST_OUTPUT, out) : 0;
    if (out && pclose(out) == 0 && *n > 0)
        return text;
    free(text);
    return NULL;
}

/* Bytes a second, and the CPU's seconds a byte. */
static bool figures_of(const char *text, size_t n, bool write, double *speed, double *cpu)
{
    json_error_t error;
    json_t *root = zo2_json_parse(text, n, 0, &error);
    const json_t *one = json_array_get(json_object_get(root, "jobs"), 0);
    const json_t *way = json_object_get(one, write ? "write" : "read");
    double bytes = json_number_value(json_object_get(way, "io_bytes"));
    double busy =
        json_number_value(json_object_get(one, "usr_cpu")) + json_number_value(json_object_get(one, "sys_cpu"));
    *speed = json_number_value(json_object_get(way, "bw_bytes"));
    *cpu = bytes > 0 ? busy / 100 * json_number_value(json_object_get(one, "job_runtime")) / 1000 / bytes : 0;
    json_decref(root);
    return *speed > 0 && bytes > 0;
}

static bool run(void *ud, uint64_t passes, double *seconds)
{
    const job *j = ud;
    char command[512];
    double speed, cpu;
    size_t n;
    snprintf(command, sizeof command, COMMAND, j->fio.file, j->write ? "write" : "read --readonly", j->mib,
             (unsigned long long)j->fio.bytes, (unsigned long long)passes);
    char *text = output_of(command, &n);
    bool ok = text && figures_of(text, n, j->write, &speed, &cpu);
    free(text);
    if (!ok) {
        if (!cli_interrupted())
            cli_error("zo2-bench", "cannot read what this printed: %s", command);
        return false;
    }
    bench_cpu_add(j->log, cpu);
    *seconds = (double)j->fio.bytes / speed;
    return true;
}

bool bench_fio_add(const bench_fio *f, bench_row *row, bool write, unsigned mib, bench_cpu_log *log)
{
    if (!f->name[0])
        return true;
    job *j = malloc(sizeof *j);
    if (!j)
        return false;
    *j = (job){.fio = *f, .write = write, .mib = mib, .log = log};
    char name[sizeof f->name + 16];
    snprintf(name, sizeof name, "%s, %u MiB", f->name, mib);
    bench_side *side = bench_add_side(row, mib == 2 ? "fio_2m" : "fio_4m", name);
    side->items = (double)f->bytes;
    side->run = run;
    side->close = free;
    side->ud = j;
    return true;
}
