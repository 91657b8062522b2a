/* report.c: see report.h. */
#include "tools/cli/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/interrupt.h"

void cli_fill_closed_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) /* open() takes the lowest number that is free: this one */
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int cli_error(const char *program, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "%s: ", program);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    putc('\n', stderr);
    return CLI_EXIT_FAILED;
}

void cli_warning(const char *program, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "%s: warning: ", program);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    putc('\n', stderr);
}

int cli_fail(const char *program, const char *what, zo2_status s)
{
    if (s == ZO2_ERR_CANCELLED && cli_interrupted()) {
        fprintf(stderr, "%s: interrupted\n", program);
        return CLI_EXIT_INTERRUPTED;
    }
    const char *text = zo2_last_error();
    fprintf(stderr, "%s: %s%s%s\n", program, what ? what : "", what ? ": " : "", text[0] ? text : zo2_strerror(s));
    return CLI_EXIT_FAILED;
}

int cli_finish(const char *program, int status)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output: %s\n", program, strerror(errno ? errno : EIO));
        if (status == CLI_EXIT_OK)
            status = CLI_EXIT_FAILED;
    }
    return status;
}

void cli_log(void *ud, zo2_log_level level, const char *message)
{
    cli_progress *p = ud;
    if (level == ZO2_LOG_WARNING)
        cli_progress_message(p, "warning: %s", message);
    else if (!p->quiet)
        cli_progress_message(p, "%s", message);
}
