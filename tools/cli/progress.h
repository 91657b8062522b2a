/* progress.h: how far long work is, on stderr: a bar that redraws itself on a terminal, else a plain line now and then.
 * Short work shows nothing in the plain form. Messages may come from any thread, the rest from one. */
#ifndef ZO2_TOOLS_CLI_PROGRESS_H
#define ZO2_TOOLS_CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    const char *program; /* begins messages; set by cli_progress_init() */
    bool quiet;          /* shows nothing but messages */
    bool tty;
    bool shown; /* a bar is on the screen; under lock, as all writing is */
    pthread_mutex_t lock;
    bool detached;     /* work goes on after Ctrl-C: cli_progress_work() doesn't cancel it */
    bool silent;       /* cli_progress_work() shows nothing, it only looks for Ctrl-C */
    double interval;   /* seconds between two updates */
    double last;       /* when the last one was shown, or the work began */
    double began;      /* when this work began */
    uint64_t began_at; /* its `done` then */
    char what[48];
} cli_progress;

void cli_progress_init(cli_progress *p, const char *program, bool quiet);

/* Seconds of a monotonic clock. */
double cli_clock(void);

/* New work: times start again, the old bar goes away. */
void cli_progress_begin(cli_progress *p, const char *what, uint64_t done);

/* Is it time to show something? */
bool cli_progress_due(const cli_progress *p);

/* Shows done of total now, whenever the last time was. details: "loss 1.23, 900 tokens/s" or "". */
void cli_progress_show(cli_progress *p, uint64_t done, uint64_t total, const char *details);

/* The same where the caller knows better than by the rate so far how many seconds are left; NAN: nobody knows yet. */
void cli_progress_show_left(cli_progress *p, uint64_t done, uint64_t total, const char *details, double seconds_left);

/* Takes the bar off the screen. */
void cli_progress_clear(cli_progress *p);

/* A line "PROGRAM: text" on stderr, with the bar out of the way. */
void cli_progress_message(cli_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A zo2_progress_fn with a cli_progress as ud: shows the work and cancels it after Ctrl-C unless p->detached. */
int cli_progress_work(void *ud, const char *what, uint64_t done, uint64_t total);

#endif
