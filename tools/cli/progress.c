/* progress.c: see progress.h. */
#include "tools/cli/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli/interrupt.h"
#include "tools/cli/numbers.h"

enum { BAR_MAX = 30, LINE_BYTES = 512 };

double cli_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void cli_progress_init(cli_progress *p, const char *program, bool quiet)
{
    memset(p, 0, sizeof *p);
    p->program = program;
    p->quiet = quiet;
    p->tty = isatty(STDERR_FILENO) == 1;
    p->interval = p->tty ? 0.1 : 10;
    p->last = p->began = cli_clock();
    pthread_mutex_init(&p->lock, NULL);
}

void cli_progress_begin(cli_progress *p, const char *what, uint64_t done)
{
    cli_progress_clear(p);
    snprintf(p->what, sizeof p->what, "%s", what);
    p->began = p->last = cli_clock();
    p->began_at = done;
}

bool cli_progress_due(const cli_progress *p)
{
    return !p->quiet && cli_clock() - p->last >= p->interval;
}

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

void cli_progress_show(cli_progress *p, uint64_t done, uint64_t total, const char *details)
{
    double elapsed = cli_clock() - p->began, left = NAN;
    if (done > p->began_at && done < total && elapsed >= 1)
        left = (double)(total - done) * elapsed / (double)(done - p->began_at);
    cli_progress_show_left(p, done, total, details, left);
}

void cli_progress_show_left(cli_progress *p, uint64_t done, uint64_t total, const char *details, double seconds_left)
{
    if (p->quiet)
        return;
    char left[CLI_TEXT_BYTES + 8] = "", line[LINE_BYTES];
    if (done < total && !isnan(seconds_left)) {
        char time[CLI_TEXT_BYTES];
        snprintf(left, sizeof left, "%s left", cli_human_time(time, seconds_left));
    }
    double fraction = total ? (double)done / (double)total : 0;
    if (fraction > 1)
        fraction = 1;
    int percent = (int)(fraction * 100);
    p->last = cli_clock();
    const char *comma = details[0] ? ", " : "", *comma2 = left[0] ? ", " : "";
    if (!p->tty) {
        fprintf(stderr, "%s: %d %%%s%s%s%s\n", p->what, percent, comma, details, comma2, left);
        return;
    }

    int columns = terminal_columns();
    int bar = columns - 1 - (int)(strlen(p->what) + strlen(details) + strlen(left)) - 14;
    if (bar > BAR_MAX)
        bar = BAR_MAX;
    if (bar >= 5) {
        char cells[BAR_MAX + 1];
        int full = (int)(fraction * bar);
        memset(cells, '.', (size_t)bar);
        memset(cells, '#', (size_t)full);
        cells[bar] = '\0';
        snprintf(line, sizeof line, "%s [%s] %3d %%%s%s%s%s", p->what, cells, percent, comma, details, comma2, left);
    } else {
        snprintf(line, sizeof line, "%s %3d %%%s%s%s%s", p->what, percent, comma, details, comma2, left);
    }
    pthread_mutex_lock(&p->lock);
    fprintf(stderr, "\r%.*s\033[K", columns - 1, line);
    fflush(stderr);
    p->shown = true;
    pthread_mutex_unlock(&p->lock);
}

static void clear_locked(cli_progress *p)
{
    if (!p->shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->shown = false;
}

void cli_progress_clear(cli_progress *p)
{
    pthread_mutex_lock(&p->lock);
    clear_locked(p);
    pthread_mutex_unlock(&p->lock);
}

void cli_progress_message(cli_progress *p, const char *fmt, ...)
{
    va_list args;
    pthread_mutex_lock(&p->lock);
    clear_locked(p);
    fprintf(stderr, "%s: ", p->program);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    putc('\n', stderr);
    pthread_mutex_unlock(&p->lock);
}

int cli_progress_work(void *ud, const char *what, uint64_t done, uint64_t total)
{
    cli_progress *p = ud;
    if (p->silent)
        return cli_interrupted() && !p->detached;
    if (strncmp(p->what, what, sizeof p->what - 1) != 0)
        cli_progress_begin(p, what, done);
    if (done >= total)
        cli_progress_clear(p);
    else if (cli_progress_due(p))
        cli_progress_show(p, done, total, "");
    return cli_interrupted() && !p->detached;
}
