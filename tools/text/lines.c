/* lines.c: see lines.h. */
#include "tools/text/lines.h"
#include "tools/text/foreign.h"
#include "tools/text/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define BLOCK ((size_t)1 << 18)

struct zo2t_lines {
    int fd, eof; /* fd: non-blocking, but for standard input, whose settings others share: wait_and_read() asks first */
    zo2t_cancelled_fn cancelled;
    char *path; /* as messages have it */
    uint64_t number, bytes;
    XXH3_state_t *hash;
    char *buffer; /* [capacity]: [start, end) is read and not yet returned, [start, scanned) has no line feed */
    size_t start, scanned, end, capacity;
};

const char *zo2t_lines_name(const char *path)
{
    return strcmp(path, "-") ? path : "standard input";
}

/* Whether somebody closed it: cli_fill_closed_streams() puts something there that can't be read. */
static zo2_status take_input(zo2t_lines *l)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    if (flags == -1 || (flags & O_ACCMODE) == O_WRONLY)
        return zo2_error(ZO2_ERR_IO, "%s is closed: nothing can be read from it", l->path);
    l->fd = STDIN_FILENO;
    return ZO2_OK;
}

zo2_status zo2t_lines_open(zo2t_lines **out, const char *path, zo2t_cancelled_fn cancelled)
{
    *out = NULL;
    zo2t_lines *l = calloc(1, sizeof *l);
    if (!l)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", path);
    zo2_status s = ZO2_OK;
    l->fd = -1;
    l->cancelled = cancelled;
    l->path = strdup(zo2t_lines_name(path));
    l->hash = XXH3_createState();
    if (!l->path || !l->hash) {
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for %s", path);
        goto done;
    }
    XXH3_64bits_reset(l->hash);
    if (!strcmp(path, "-")) {
        s = take_input(l);
        goto done;
    }
    l->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->fd < 0)
        s = zo2_error(errno == ENOENT ? ZO2_ERR_NOTFOUND : ZO2_ERR_IO, "%s: %s", path, strerror(errno));
done:
    if (s)
        zo2t_lines_close(l);
    else
        *out = l;
    return s;
}

void zo2t_lines_close(zo2t_lines *l)
{
    if (!l)
        return;
    if (l->fd >= 0 && l->fd != STDIN_FILENO)
        close(l->fd);
    XXH3_freeState(l->hash);
    free(l->path);
    free(l->buffer);
    free(l);
}

/* read(2) that waits for data, or for the first writer of a FIFO (Linux reports no hang-up before one came), no longer
 * than until somebody cancels. A signal may come right before poll(): hence its time limit. */
static zo2_status wait_and_read(zo2t_lines *l, char *to, ssize_t *n)
{
    struct pollfd ready = {.fd = l->fd, .events = POLLIN};
    for (;;) {
        if (l->cancelled && l->cancelled())
            return zo2_error(ZO2_ERR_CANCELLED, "%s: cancelled while reading", l->path);
        int got = poll(&ready, 1, 100);
        if (got > 0) {
            *n = read(l->fd, to, BLOCK);
            if (*n >= 0)
                return ZO2_OK;
        }
        if (got > 0 && errno == EISDIR)
            return zo2_error(ZO2_ERR_IO, "%s: Is a directory; data are one file with a JSON object a line", l->path);
        if (got < 0 ? errno != EINTR : got > 0 && errno != EINTR && errno != EAGAIN)
            return zo2_error(ZO2_ERR_IO, "%s: %s", l->path, strerror(errno));
    }
}

/* Reads one more block behind `end`. */
static zo2_status more(zo2t_lines *l)
{
    if (l->start) {
        memmove(l->buffer, l->buffer + l->start, l->end - l->start);
        l->end -= l->start;
        l->scanned -= l->start;
        l->start = 0;
    }
    void *p = l->buffer;
    zo2_status s = zo2t_grow(&p, &l->capacity, l->end + BLOCK, 1);
    l->buffer = p;
    ssize_t n = 0;
    if (!s)
        s = wait_and_read(l, l->buffer + l->end, &n);
    if (s)
        return s;
    if (!n)
        l->eof = 1;
    XXH3_64bits_update(l->hash, l->buffer + l->end, (size_t)n);
    l->end += (size_t)n;
    l->bytes += (uint64_t)n;
    return ZO2_OK;
}

static zo2_status too_long(const zo2t_lines *l)
{
    const char *found = zo2t_foreign(l->buffer + l->start, l->end - l->start, !l->number);
    return zo2_error(ZO2_ERR_FORMAT, "%s line %llu: longer than %zu bytes, and a line is one JSON object%s%s", l->path,
                     (unsigned long long)l->number + 1, ZO2T_LINE_BYTES, found ? "; " : "", found ? found : "");
}

zo2_status zo2t_lines_next(zo2t_lines *l, const char **line, size_t *bytes)
{
    *line = NULL;
    *bytes = 0;
    const char *feed = NULL;
    for (;;) {
        if (l->scanned < l->end)
            feed = memchr(l->buffer + l->scanned, '\n', l->end - l->scanned);
        l->scanned = feed ? (size_t)(feed - l->buffer) + 1 : l->end;
        if ((feed ? (size_t)(feed - l->buffer) : l->end) - l->start > ZO2T_LINE_BYTES)
            return too_long(l);
        if (feed || l->eof)
            break;
        zo2_status s = more(l);
        if (s)
            return s;
    }
    if (!feed && l->start == l->end)
        return ZO2_OK;
    const char *at = l->buffer + l->start;
    size_t n = (feed ? (size_t)(feed - l->buffer) : l->end) - l->start;
    l->start = l->scanned;
    if (n && at[n - 1] == '\r')
        n--;
    if (!l->number++ && n >= 3 && !memcmp(at, "\xEF\xBB\xBF", 3)) {
        at += 3;
        n -= 3;
    }
    *line = at;
    *bytes = n;
    return ZO2_OK;
}

uint64_t zo2t_lines_number(const zo2t_lines *l)
{
    return l->number;
}

uint64_t zo2t_lines_hash(const zo2t_lines *l)
{
    return XXH3_64bits_digest(l->hash);
}

uint64_t zo2t_lines_bytes(const zo2t_lines *l)
{
    return l->bytes;
}
