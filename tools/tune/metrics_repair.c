/* metrics_repair.c: brings metrics.jsonl in step with the journal when a run goes on. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"

/* The whole file; *text is for free(). A missing one is empty. */
static zo2_status read_all(const char *path, char **text, size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno == ENOENT ? ZO2_OK : zo2_error(ZO2_ERR_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    zo2_status s = ZO2_OK;
    if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode)) {
        s = zo2_error(ZO2_ERR_IO, "%s is not a regular file", path);
    } else if (st.st_size > 0) {
        *text = malloc((size_t)st.st_size);
        if (!*text)
            s = zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", path);
        else
            *bytes = fread(*text, 1, (size_t)st.st_size, file);
        if (s == ZO2_OK && ferror(file))
            s = zo2_error(ZO2_ERR_IO, "cannot read %s", path);
    }
    fclose(file);
    return s;
}

typedef struct span {
    const char *line; /* NULL: the step has no line */
    size_t bytes;     /* newline included */
} span;

/* The step of a complete line, UINT64_MAX if it isn't a step's. */
static uint64_t step_of(const char *line, size_t bytes)
{
    json_error_t e;
    json_t *o = zo2_json_parse(line, bytes, 0, &e);
    const json_t *step = json_object_get(o, "step"), *loss = json_object_get(o, "loss");
    uint64_t v = json_is_integer(step) && json_integer_value(step) >= 0 && loss ? (uint64_t)json_integer_value(step)
                                                                                : UINT64_MAX;
    json_decref(o);
    return v;
}

/* Finds the line of each step. Returns true if the file is nothing but the lines of steps 0, 1, ... up to some step:
 * then *have is their number. */
static bool scan(const char *text, size_t bytes, span *lines, uint64_t steps, uint64_t *have)
{
    bool clean = true;
    uint64_t expected = 0;
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        if (!end)
            return *have = expected, false; /* torn */
        size_t n = (size_t)(end - (text + at)) + 1;
        uint64_t step = step_of(text + at, n);
        clean = clean && step == expected && step < steps;
        if (step < steps) {
            lines[step] = (span){text + at, n};
            expected++;
        }
        at += n;
    }
    *have = expected;
    return clean;
}

/* The lines of steps [0, steps): kept ones as they were, others from the journal. */
static zo2_status write_lines(FILE *out, const zo2_run *run, bool spills, const span *lines, uint64_t steps,
                              uint64_t *rebuilt)
{
    for (uint64_t i = 0; i < steps; i++) {
        if (lines[i].line) {
            fwrite(lines[i].line, 1, lines[i].bytes, out);
            continue;
        }
        zo2_run_record record;
        zo2_status s = zo2_run_record_get(run, i, &record);
        if (s != ZO2_OK)
            return s;
        const zo2_step_result r = {
            .struct_size = sizeof r,
            .step = record.step,
            .loss_plus = record.loss_plus,
            .loss_minus = record.loss_minus,
            .projected_grad = record.projected_grad,
            .lr = record.lr,
            .tokens = record.tokens,
            .skipped = record.skipped,
        };
        tune_metrics_write(out, &r, NULL, spills, true);
        ++*rebuilt;
    }
    return ZO2_OK;
}

static zo2_status repair(const char *path, const zo2_run *run, bool spills, uint64_t *rebuilt)
{
    uint64_t steps = run ? zo2_run_steps(run) : 0, have = 0;
    char *text = NULL, *fresh = NULL;
    size_t bytes = 0, fresh_bytes = 0;
    span *lines = calloc((size_t)steps + 1, sizeof *lines);
    zo2_status s = lines ? read_all(path, &text, &bytes) : zo2_error(ZO2_ERR_NOMEM, "out of memory");
    if (s == ZO2_OK && !(scan(text, bytes, lines, steps, &have) && have == steps)) {
        FILE *memory = open_memstream(&fresh, &fresh_bytes);
        s = memory ? write_lines(memory, run, spills, lines, steps, rebuilt) : ZO2_ERR_NOMEM;
        if (memory && fclose(memory) != 0 && s == ZO2_OK)
            s = ZO2_ERR_NOMEM;
        if (s == ZO2_ERR_NOMEM)
            zo2_error(s, "%s: out of memory", path);
        if (s == ZO2_OK)
            s = tune_write_file(path, fresh, fresh_bytes);
    }
    free(fresh);
    free(text);
    free(lines);
    return s;
}

zo2_status tune_metrics_open(tune_metrics_file *m, const char *run_dir, const zo2_run *run, uint64_t *rebuilt)
{
    *rebuilt = 0;
    m->fd = -1;
    m->path = tune_run_path(run_dir, "metrics.jsonl");
    if (!m->path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    zo2_status s = repair(m->path, run, m->spills, rebuilt);
    if (s != ZO2_OK)
        return s;
    m->fd = open(m->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (m->fd < 0)
        return zo2_error(ZO2_ERR_IO, "cannot write %s: %s", m->path, strerror(errno));
    return ZO2_OK;
}
