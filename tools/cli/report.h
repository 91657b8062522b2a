/* report.h: how tools say what went wrong, and the process's exit status. */
#ifndef ZO2_TOOLS_CLI_REPORT_H
#define ZO2_TOOLS_CLI_REPORT_H

#include <stdbool.h>

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/progress.h"

/* The first call of a program. Where standard input, output or error is closed, the next file that is opened, such as a
 * run's journal, would take its place and what is printed would go there: this puts something in the place that can be
 * neither read nor written. */
void cli_fill_closed_streams(void);

/* "PROGRAM: text" on stderr. Returns CLI_EXIT_FAILED. */
int cli_error(const char *program, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "PROGRAM: warning: text" on stderr, before there is a progress bar. */
void cli_warning(const char *program, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The last library call returned s: "PROGRAM: what: particulars" on stderr; what may be NULL. Returns the exit status:
 * 130 if it was cancelled by Ctrl-C, else 1. */
int cli_fail(const char *program, const char *what, zo2_status s);

/* Flushes stdout. A result that could not be written (full disk) turns status 0 into 1, with a message. */
int cli_finish(const char *program, int status);

/* A zo2_log_fn with a cli_progress as ud. Quiet ones show warnings only. */
void cli_log(void *ud, zo2_log_level level, const char *message);

#endif
