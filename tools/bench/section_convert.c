/* section_convert.c: a checkpoint to a pack, against cp of its files of weights, both from a drive to a drive: nothing of the files
 * is in the page cache before, and everything is synced after. It is measured only where it is named: it writes the weights
 * some dozen times. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/bench.h"
#include "tools/bench/convert_process.h"
#include "tools/bench/peer.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

enum { MOST_FILES = 256, MOST_PATH = 1024 };

typedef struct checkpoint {
    const bench *b;
    char folder[MOST_PATH]; /* of our own, for what is written */
    char dir[MOST_PATH];    /* the model's */
    char *files[MOST_FILES + 1];
    unsigned n;
    uint64_t bytes;
} checkpoint;

/* ---- the files ---------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

/* Its files that end so: those of one format, or a copy would have more to do. */
static bool list_files(checkpoint *c, const char *ending)
{
    DIR *d = opendir(c->dir);
    struct dirent *entry;
    struct stat st;
    bool ok = d != NULL;
    while (ok && (entry = readdir(d)) != NULL && c->n < MOST_FILES) {
        char path[2 * MOST_PATH];
        if (!ends_with(entry->d_name, ending))
            continue;
        ok = snprintf(path, sizeof path, "%s/%s", c->dir, entry->d_name) < (int)sizeof path && !stat(path, &st) &&
             (c->files[c->n] = strdup(path)) != NULL;
        c->bytes += ok ? (uint64_t)st.st_size : 0;
        c->n += ok;
    }
    if (!ok)
        cli_error(c->b->program, "cannot list %s: %s", c->dir, strerror(errno));
    if (d)
        closedir(d);
    return ok;
}

/* Random weights, as the model's publisher would have stored them. */
static bool make_checkpoint(checkpoint *c)
{
    char pack[MOST_PATH + 16];
    zo2_synth_opts synth;
    zo2_export_opts export;
    zo2_synth_opts_init(&synth);
    zo2_export_opts_init(&export);
    snprintf(pack, sizeof pack, "%s/synth.zo2", c->folder);
    zo2_status s = zo2_pack_synth(bench_model(c->b), pack, &synth);
    if (!s)
        s = zo2_pack_export(pack, c->dir, &export);
    unlink(pack);
    if (s)
        cli_fail(c->b->program, "cannot make a checkpoint", s);
    return !s;
}

static bool find_checkpoint(bench *b, checkpoint *c)
{
    static const char *const endings[] = {".safetensors", ".bin", ".pt", ".pth"};
    const bench_options *o = &b->options;
    c->b = b;
    if (!bench_make_folder(b, o->dir.given ? o->dir.text : ".", "--dir", c->folder, sizeof c->folder))
        return false;
    int n = o->checkpoint.given ? snprintf(c->dir, sizeof c->dir, "%s", o->checkpoint.text)
                                : snprintf(c->dir, sizeof c->dir, "%s/hf", c->folder);
    if (n >= (int)sizeof c->dir) {
        cli_error(b->program, "%s: the path is too long", o->checkpoint.text);
        return false;
    }
    bool ok = o->checkpoint.given || make_checkpoint(c);
    for (unsigned i = 0; i < sizeof endings / sizeof *endings && ok && !c->n; i++)
        ok = list_files(c, endings[i]);
    if (ok && !c->n) {
        cli_error(b->program, "%s has no files of weights", c->dir);
        ok = false;
    }
    return ok;
}

static void forget_checkpoint(bench *b, checkpoint *c)
{
    for (unsigned i = 0; i < c->n; i++)
        free(c->files[i]);
    bench_remove_folder(b, c->folder);
}

/* ---- cp ----------------------------------------------------------------------------------------------------------- */

static bool run_cp(const checkpoint *c, const char *to)
{
    const char *argv[MOST_FILES + 4] = {"cp"};
    unsigned n = 1;
    for (unsigned i = 0; i < c->n; i++)
        argv[n++] = c->files[i];
    argv[n] = to;
    pid_t pid = fork();
    if (pid == 0) {
        execvp("cp", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool sync_copies(const checkpoint *c, const char *to)
{
    bool ok = true;
    for (unsigned i = 0; i < c->n && ok; i++) {
        char path[2 * MOST_PATH];
        snprintf(path, sizeof path, "%s%s", to, strrchr(c->files[i], '/'));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ok = fd >= 0 && !fsync(fd);
        if (fd >= 0)
            close(fd);
    }
    return ok;
}

static bool cp_run(void *ud, uint64_t passes, double *seconds)
{
    const checkpoint *c = ud;
    char to[MOST_PATH + 16];
    *seconds = 0;
    snprintf(to, sizeof to, "%s/copy", c->folder);
    for (uint64_t i = 0; i < passes; i++) {
        bool ok = !mkdir(to, 0700);
        bench_forget_pages(c->files);
        double from = cli_clock();
        ok = ok && run_cp(c, to) && sync_copies(c, to);
        *seconds += (cli_clock() - from) / (double)passes;
        bench_remove_folder(c->b, to);
        if (!ok) {
            if (!cli_interrupted())
                cli_error(c->b->program, "cp of %s to %s failed", c->dir, to);
            return false;
        }
    }
    return true;
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

static bool compare(bench *b, checkpoint *c, bench_peer *ours)
{
    bench_row row = bench_row_start("convert", "GB/s", 1e-9, false, "checkpoint to pack, %u thread%s", b->threads,
                                    b->threads == 1 ? "" : "s");
    bool ok = bench_add_peer(&row, ours, "zo2", (double)c->bytes, "convert");
    bench_side *cp = bench_add_side(&row, "cp", "cp and fsync");
    cp->items = (double)c->bytes;
    cp->run = cp_run;
    cp->ud = c;
    return ok && bench_compare(b, &row);
}

static bool peak(bench *b, bench_peer *ours)
{
    bench_row row = bench_row_start("convert", "MiB", 1, true, "peak resident memory");
    double seconds, bytes;
    bool ok = bench_peer_ask(ours, &seconds, &bytes, "convert 1");
    bytes /= 1 << 20;
    bench_add_side(&row, "zo2", "zo2")->stat = (bench_stat){bytes, bytes, bytes};
    return ok && bench_keep(b, &row);
}

bool bench_convert(bench *b)
{
    checkpoint c = {.n = 0};
    char title[MOST_PATH + 64], size[CLI_TEXT_BYTES];
    bench_peer *ours = NULL;
    bool ok = find_checkpoint(b, &c);
    if (ok) {
        bench_convert_process how = {.dir = c.dir, .files = c.files, .threads = b->threads};
        snprintf(how.out, sizeof how.out, "%s/out.zo2", c.folder);
        ours = bench_peer_fork("zo2", bench_convert_serve, &how);
        snprintf(title, sizeof title, "%s, %s of weights in %u file%s",
                 b->options.checkpoint.given ? c.dir : bench_model(b), cli_human_size(size, c.bytes), c.n,
                 c.n == 1 ? "" : "s");
        bench_print_section(b, "convert", title);
        ok = ours && compare(b, &c, ours) && peak(b, ours);
    }
    bench_peer_stop(ours);
    forget_checkpoint(b, &c);
    return ok;
}
