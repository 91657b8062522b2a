/* section_storage.c: the queue that spilled masters go through, on a file in a folder of the user's, against fio on the same
 * file. It is measured only where it is named: it writes the file some 25 times. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/bench/fio.h"
#include "tools/cli/numbers.h"
#include "tools/cli/report.h"

#define DEFAULT_BYTES (2ull << 30)
#define SPAN_BYTES    (4ull << 20)

/* Sides in the order in which they are added; those that aren't there are left out. */
enum { URING, THREADS, FIO_2M, FIO_4M, SIDES };

typedef struct storage {
    int fd;        /* of the file, which has no name: whatever ends us, it is gone */
    char file[64]; /* the way to it */
    uint64_t bytes;
    bench_fio fio;
    bool uring; /* it is not refused */
    char io[sizeof((zo2_measure_info *)0)->io];
} storage;

/* ---- sides of the library ---------------------------------------------------------------------------------------- */

typedef struct own {
    zo2_measure *m;
    double bytes;
    bench_cpu_log *log;
} own;

/* Of all threads of this process, those of the kernel that work for it among them. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool own_run(void *ud, uint64_t passes, double *seconds)
{
    own *o = ud;
    double before = cpu_seconds();
    zo2_status s = zo2_measure_run(o->m, passes, seconds);
    bench_cpu_add(o->log, (cpu_seconds() - before) / (o->bytes * (double)passes));
    if (s)
        cli_fail("zo2-bench", "storage", s);
    return !s;
}

static void own_close(void *ud)
{
    own *o = ud;
    zo2_measure_close(o->m);
    free(o);
}

static zo2_measure_spec spec_of(const storage *st, bool write, bool threads)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = write ? ZO2_MEASURE_STORAGE_WRITE : ZO2_MEASURE_STORAGE_READ;
    spec.threads = 1;
    spec.file = st->file;
    spec.bytes = st->bytes;
    spec.chunk_bytes = SPAN_BYTES;
    spec.no_io_uring = threads;
    return spec;
}

static bool add_own(bench *b, const storage *st, bench_row *row, bool write, bool threads, bench_cpu_log *log)
{
    zo2_measure_spec spec = spec_of(st, write, threads);
    own *o = calloc(1, sizeof *o);
    zo2_status s = o ? zo2_measure_open(&o->m, &spec, NULL) : ZO2_ERR_NOMEM;
    if (s) {
        cli_fail(b->program, row->name, s);
        free(o);
        return false;
    }
    o->bytes = (double)st->bytes;
    o->log = log;
    bench_side *side = bench_add_side(row, threads ? "threads" : "zo2", threads ? "zo2, pread threads" : "zo2");
    side->items = o->bytes;
    side->run = own_run;
    side->close = own_close;
    side->ud = o;
    return true;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* The fallback beside fio: figures that are there already. */
static bool keep_threads(bench *b, const bench_row *all, const char *what)
{
    bench_row row = bench_row_start("storage", "GB/s", 1e-9, false, "%s by pread threads", what);
    for (unsigned i = 1; i < all->n; i++)
        row.sides[row.n++] = all->sides[i];
    row.sides[0].key = "zo2";
    for (unsigned i = 0; i < row.n; i++)
        row.sides[i].close = NULL;
    return row.n < 2 || bench_keep(b, &row);
}

/* Of each side's calls the last ones are those that were counted. */
static bool keep_cpu(bench *b, const bench_row *all, const char *what, const bench_cpu_log logs[SIDES])
{
    bench_row row = bench_row_start("storage", "ms/GB", 1e12, true, "CPU time of a %s", what);
    for (unsigned i = 0; i < all->n; i++) {
        const bench_cpu_log *log = &logs[i];
        double figures[BENCH_MAX_REPEATS];
        for (unsigned r = 0; r < b->repeats; r++)
            figures[r] = row.scale * log->seconds[log->n - b->repeats + r];
        bench_add_side(&row, all->sides[i].key, all->sides[i].name)->stat = bench_stat_of(figures, b->repeats);
    }
    return bench_keep(b, &row);
}

static bool one_way(bench *b, const storage *st, bool write)
{
    const char *what = write ? "write" : "read";
    bench_cpu_log logs[SIDES] = {0};
    bench_row row = bench_row_start("storage", "GB/s", 1e-9, false, "%s, spans of %u MiB%s", what,
                                    (unsigned)(SPAN_BYTES >> 20), st->uring ? "" : ", no io_uring");
    bool ok = true;
    if (st->uring)
        ok = add_own(b, st, &row, write, false, &logs[row.n]);
    ok = ok && add_own(b, st, &row, write, true, &logs[row.n]);
    for (unsigned mib = 2; mib <= 4 && ok; mib += 2)
        ok = bench_fio_add(&st->fio, &row, write, mib, &logs[row.n]);
    ok = bench_compare(b, &row) && ok;
    if (ok && st->uring)
        ok = keep_threads(b, &row, what);
    return ok && keep_cpu(b, &row, what, logs);
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static bool has_room(const bench *b, const char *dir, uint64_t bytes)
{
    struct statvfs v;
    char is[CLI_TEXT_BYTES], takes[CLI_TEXT_BYTES];
    if (statvfs(dir, &v)) {
        cli_error(b->program, "cannot ask for the free space of %s: %s", dir, strerror(errno));
        return false;
    }
    uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (room >= bytes)
        return true;
    cli_error(b->program, "%s has room for %s, and the file takes %s: name a smaller one with --bytes or another --dir",
              dir, cli_human_size(is, room), cli_human_size(takes, bytes));
    return false;
}

static bool make_file(const bench *b, storage *st)
{
    const char *dir = b->options.dir.given ? b->options.dir.text : ".";
    char path[4096];
    st->bytes = b->options.bytes.given ? b->options.bytes.u : DEFAULT_BYTES;
    st->bytes = st->bytes < SPAN_BYTES ? SPAN_BYTES : st->bytes / SPAN_BYTES * SPAN_BYTES;
    if (!has_room(b, dir, st->bytes))
        return false;
    st->fd = (size_t)snprintf(path, sizeof path, "%s/zo2-bench-XXXXXX", dir) < sizeof path ? mkstemp(path) : -1;
    if (st->fd < 0 || unlink(path)) {
        cli_error(b->program, "cannot make a file in %s: %s; --dir says where", dir, strerror(errno));
        return false;
    }
    snprintf(st->file, sizeof st->file, "/proc/%ld/fd/%d", (long)getpid(), st->fd);
    return true;
}

/* Fills the file, and finds out how it is moved. */
static bool fill(bench *b, storage *st)
{
    zo2_measure_spec spec = spec_of(st, true, false);
    zo2_measure_info info;
    zo2_measure *m;
    zo2_status s = zo2_measure_open(&m, &spec, &info);
    zo2_measure_close(m);
    if (s) {
        cli_fail(b->program, "storage", s);
        return false;
    }
    memcpy(st->io, info.io, sizeof st->io);
    st->uring = strncmp(st->io, "io_uring", 8) == 0;
    return true;
}

bool bench_storage(bench *b)
{
    storage st = {.fd = -1};
    char title[192], size[CLI_TEXT_BYTES];
    bool ok = make_file(b, &st) && fill(b, &st);
    if (ok) {
        bench_fio_start(b, &st.fio, st.file, st.bytes);
        snprintf(title, sizeof title, "a file of %s, from begin to end: %s", cli_human_size(size, st.bytes), st.io);
        bench_print_section(b, "storage", title);
    }
    ok = ok && one_way(b, &st, false) && one_way(b, &st, true);
    if (st.fd >= 0)
        close(st.fd);
    return ok;
}
