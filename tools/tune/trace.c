/* trace.c: see trace.h. */
#include "tools/tune/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, RECORD = 1024, MAX_TRACKS = 16 };

struct tune_trace {
    int fd;
    int error; /* errno of the first write that failed */
    char *path;
    uint64_t origin_ns; /* 0: nothing was written yet */
    uint64_t step;
    const char *track[MAX_TRACKS]; /* lanes seen so far; their place + 1 is the track's number */
    size_t used;
    char buffer[BUFFER];
};

static void flush(tune_trace *t)
{
    for (size_t done = 0; done < t->used && !t->error;) {
        ssize_t n = write(t->fd, t->buffer + done, t->used - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            t->error = n == 0 ? EIO : errno;
    }
    t->used = 0;
}

static void add(tune_trace *t, const char *record, int bytes)
{
    if (bytes <= 0 || bytes >= RECORD || t->error) /* too long: no name of a tensor is */
        return;
    if (t->used + (size_t)bytes > sizeof t->buffer)
        flush(t);
    memcpy(t->buffer + t->used, record, (size_t)bytes);
    t->used += (size_t)bytes;
}

/* Number of a lane's track; names it when it is new. */
static int track_of(tune_trace *t, const char *lane)
{
    int i = 0;
    while (i < MAX_TRACKS - 1 && t->track[i] && strcmp(t->track[i], lane) != 0)
        i++;
    if (!t->track[i]) {
        char record[RECORD];
        t->track[i] = lane;
        add(t, record,
            snprintf(
                record, sizeof record,
                ",\n{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": 1, \"tid\": %d, \"args\": {\"name\": \"%s\"}}",
                i + 1, lane));
    }
    return i + 1;
}

/* Names of tensors come from a model's file: what JSON wants escaped is replaced. */
static const char *plain(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        out[n] = (unsigned char)text[n] < 0x20 || text[n] == '"' || text[n] == '\\' ? '?' : text[n];
    out[n] = '\0';
    return out;
}

static double microseconds(const tune_trace *t, uint64_t ns)
{
    return 1e-3 * (ns > t->origin_ns ? (double)(ns - t->origin_ns) : 0);
}

void tune_trace_event(void *ud, const zo2_trace_event *e)
{
    tune_trace *t = ud;
    char r[RECORD], name[400];
    if (!t->origin_ns)
        t->origin_ns = e->begin_ns;
    if (e->step != t->step)
        flush(t);
    t->step = e->step;
    if (e->kind == ZO2_TRACE_COUNTER) {
        add(t, r,
            snprintf(r, sizeof r,
                     ",\n{\"ph\": \"C\", \"name\": \"%s\", \"pid\": 1, \"ts\": %.3f, \"args\": {\"bytes\": %" PRIu64
                     "}}",
                     e->name, microseconds(t, e->begin_ns), e->bytes));
        return;
    }
    int track = track_of(t, e->lane);
    double from = microseconds(t, e->begin_ns), to = microseconds(t, e->end_ns);
    int n = snprintf(
        r, sizeof r,
        ",\n{\"ph\": \"X\", \"name\": \"%s\", \"cat\": \"%s\", \"pid\": 1, \"tid\": %d, \"ts\": %.3f, \"dur\": "
        "%.3f, \"args\": {\"step\": %" PRIu64,
        e->name, e->lane, track, from, to - from, e->step);
    if (e->chunk >= 0)
        n += snprintf(r + n, sizeof r - (size_t)n, ", \"chunk\": %" PRId64, e->chunk);
    if (e->tile >= 0)
        n += snprintf(r + n, sizeof r - (size_t)n, ", \"tile\": %" PRId64, e->tile);
    if (e->tensor)
        n += snprintf(r + n, sizeof r - (size_t)n, ", \"tensor\": \"%s\"", plain(name, sizeof name, e->tensor));
    if (e->bytes)
        n += snprintf(r + n, sizeof r - (size_t)n, ", \"bytes\": %" PRIu64, e->bytes);
    n += snprintf(r + n, sizeof r - (size_t)n, "}}");
    add(t, r, n);
}

zo2_status tune_trace_open(tune_trace **out, const char *path)
{
    *out = NULL;
    tune_trace *t = calloc(1, sizeof *t);
    if (!t || !(t->path = strdup(path))) {
        free(t);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    }
    t->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (t->fd < 0) {
        zo2_status s = errno == EEXIST
                           ? zo2_error(ZO2_ERR_EXISTS, "%s exists already: choose another name for --trace", path)
                           : zo2_error(ZO2_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        free(t->path);
        free(t);
        return s;
    }
    static const char head[] =
        "[\n{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": 1, \"args\": {\"name\": \"zo2-tune train\"}}";
    add(t, head, (int)sizeof head - 1);
    *out = t;
    return ZO2_OK;
}

zo2_status tune_trace_close(tune_trace *t)
{
    if (!t)
        return ZO2_OK;
    add(t, "\n]\n", 3);
    flush(t);
    if (close(t->fd) != 0 && !t->error)
        t->error = errno;
    zo2_status s = t->error ? zo2_error(t->error == ENOSPC ? ZO2_ERR_NOSPACE : ZO2_ERR_IO, "cannot write %s: %s",
                                        t->path, strerror(t->error))
                            : ZO2_OK;
    free(t->path);
    free(t);
    return s;
}
