/* metrics.c: writing metrics and reading evaluations back; repair is in metrics_repair.c. */
#include "tools/tune/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "tools/tune/settings.h"

/* ---- writing ----------------------------------------------------------------------------------------------------- */

#define INITIAL "initial_" /* the evaluation before step 0 */

enum { KEY_BYTES = 64 };

static const char *eval_key(char out[KEY_BYTES], const char *prefix, const char *name)
{
    snprintf(out, KEY_BYTES, "%seval_%s", prefix, name);
    return out;
}

void tune_metrics_evaluation(cli_json *j, const char *prefix, const tune_evaluation *e)
{
    char key[KEY_BYTES];
    if (!e || !e->done)
        return;
    cli_json_f64(j, eval_key(key, prefix, "loss"), e->loss);
    cli_json_f64(j, eval_key(key, prefix, "loss_fp32"), e->loss_fp32);
    cli_json_u64(j, eval_key(key, prefix, "nonfinite"), e->nonfinite);
    cli_json_u64(j, eval_key(key, prefix, "nonfinite_fp32"), e->nonfinite_fp32);
    if (!e->options)
        return;
    cli_json_f64(j, eval_key(key, prefix, "accuracy"), e->accuracy);
    cli_json_f64(j, eval_key(key, prefix, "accuracy_fp32"), e->accuracy_fp32);
}

static void number(cli_json *j, const char *key, double value, bool known)
{
    if (known)
        cli_json_f64(j, key, value);
    else
        cli_json_null(j, key);
}

static void spilled(cli_json *j, const zo2_step_result *r, bool rebuilt)
{
    number(j, "read_busy_seconds", r->read.busy, !rebuilt);
    number(j, "read_wait_seconds", r->read.waiting, !rebuilt);
    number(j, "write_busy_seconds", r->write.busy, !rebuilt);
    number(j, "write_wait_seconds", r->write.waiting, !rebuilt);
    const struct {
        const char *key;
        uint64_t bytes;
    } figures[] = {
        {"read_bytes", r->read_bytes},
        {"written_bytes", r->written_bytes},
        {"ram_master_bytes", r->ram_master_bytes},
        {"ram_wire_bytes", r->ram_wire_bytes},
        {"spilled_bytes", r->spilled_bytes},
        {"pack_master_bytes", r->pack_master_bytes},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (rebuilt)
            cli_json_null(j, figures[i].key);
        else
            cli_json_u64(j, figures[i].key, figures[i].bytes);
}

static void lanes(cli_json *j, const zo2_step_result *r, bool rebuilt)
{
    const struct {
        const char *key;
        double seconds;
    } figures[] = {
        {"update_busy_seconds", r->update.busy},   {"update_wait_seconds", r->update.waiting},
        {"upload_busy_seconds", r->upload.busy},   {"upload_wait_seconds", r->upload.waiting},
        {"compute_busy_seconds", r->compute.busy}, {"compute_wait_seconds", r->compute.waiting},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        number(j, figures[i].key, figures[i].seconds, !rebuilt);
    cli_json_text(j, "bottleneck", rebuilt ? NULL : r->bottleneck);
}

/* Who was waited for. */
static void ranks(cli_json *j, const zo2_step_result *r, const tune_metrics_evals *e)
{
    uint32_t slowest = 0;
    cli_json_f64(j, "exchange_seconds", r->exchange_seconds);
    cli_json_open(j, "rank_work_seconds", '[');
    for (uint32_t i = 0; i < e->ranks; i++) {
        cli_json_f64(j, NULL, e->work[i]);
        slowest = e->work[i] > e->work[slowest] ? i : slowest;
    }
    cli_json_close(j, ']');
    cli_json_u64(j, "slowest_rank", slowest);
}

void tune_metrics_write(FILE *out, const zo2_step_result *r, const tune_metrics_evals *e, bool spills, bool rebuilt)
{
    cli_json j;
    cli_json_start(&j, out);
    cli_json_open(&j, NULL, '{');
    cli_json_u64(&j, "step", r->step);
    cli_json_f64(&j, "loss", (r->loss_plus + r->loss_minus) / 2);
    cli_json_f64(&j, "loss_plus", r->loss_plus);
    cli_json_f64(&j, "loss_minus", r->loss_minus);
    cli_json_f64(&j, "projected_grad", r->projected_grad);
    cli_json_f64(&j, "lr", r->lr);
    cli_json_u64(&j, "tokens", r->tokens);
    if (rebuilt) {
        cli_json_null(&j, "seconds");
        cli_json_null(&j, "device_peak_bytes");
        cli_json_null(&j, "host_peak_bytes");
    } else {
        cli_json_f64(&j, "seconds", r->seconds);
        cli_json_u64(&j, "device_peak_bytes", r->device_peak_bytes);
        cli_json_u64(&j, "host_peak_bytes", r->host_peak_bytes);
    }
    lanes(&j, r, rebuilt);
    if (e && e->ranks)
        ranks(&j, r, e);
    if (spills)
        spilled(&j, r, rebuilt);
    if (r->skipped)
        cli_json_bool(&j, "skipped", true);
    if (e) {
        tune_metrics_evaluation(&j, INITIAL, e->before);
        tune_metrics_evaluation(&j, "", e->after);
    }
    cli_json_close(&j, '}');
    cli_json_end(&j);
}

zo2_status tune_metrics_append(tune_metrics_file *m, const zo2_step_result *r, const tune_metrics_evals *e)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    if (!memory)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    tune_metrics_write(memory, r, e, m->spills, false);
    zo2_status s = fclose(memory) == 0 ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory");
    for (size_t done = 0; s == ZO2_OK && done < bytes;) {
        ssize_t n = write(m->fd, text + done, bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            s = zo2_error(errno == ENOSPC ? ZO2_ERR_NOSPACE : ZO2_ERR_IO, "cannot write %s: %s", m->path,
                          strerror(errno));
    }
    free(text);
    return s;
}

void tune_metrics_close(tune_metrics_file *m)
{
    if (m->path && m->fd >= 0)
        close(m->fd);
    free(m->path);
    m->path = NULL;
    m->fd = -1;
}

/* ---- reading evaluations ----------------------------------------------------------------------------------------- */

static double number_at(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Appends the evaluation with that prefix, if the object has it. */
static void read_evaluation(const json_t *o, const char *prefix, uint64_t steps, tune_metrics_eval *out, size_t *n)
{
    char key[KEY_BYTES];
    if (!json_object_get(o, eval_key(key, prefix, "loss_fp32")))
        return;
    out[*n].steps = steps;
    out[*n].loss = number_at(o, key);
    out[(*n)++].accuracy = number_at(o, eval_key(key, prefix, "accuracy_fp32"));
}

/* The evaluations in a line, at most two; returns how many. */
static size_t read_evaluations(const char *line, size_t bytes, tune_metrics_eval out[2])
{
    if (!memmem(line, bytes, "eval_loss", 9)) /* most lines have none */
        return 0;
    size_t n = 0;
    json_error_t e;
    json_t *o = zo2_json_parse(line, bytes, 0, &e);
    const json_t *step = json_object_get(o, "step");
    if (json_is_integer(step) && json_integer_value(step) >= 0) {
        uint64_t number = (uint64_t)json_integer_value(step);
        read_evaluation(o, INITIAL, number, out, &n);
        read_evaluation(o, "", number + 1, out, &n);
    }
    json_decref(o);
    return n;
}

zo2_status tune_metrics_evaluations(const char *run_dir, tune_metrics_eval **out, size_t *n)
{
    zo2_status s = ZO2_OK;
    size_t capacity = 0, size = 0;
    char *line = NULL, *path = tune_run_path(run_dir, "metrics.jsonl");
    *out = NULL;
    *n = 0;
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    FILE *file = fopen(path, "rb");
    if (!file && errno != ENOENT)
        s = zo2_error(ZO2_ERR_IO, "%s: %s", path, strerror(errno));
    ssize_t bytes;
    while (file && s == ZO2_OK && (bytes = getline(&line, &size, file)) > 0) {
        tune_metrics_eval here[2];
        size_t found = read_evaluations(line, (size_t)bytes, here);
        if (*n + found > capacity) {
            capacity = capacity ? 2 * capacity : 16;
            tune_metrics_eval *more = realloc(*out, capacity * sizeof *more);
            if (!more) {
                s = zo2_error(ZO2_ERR_NOMEM, "out of memory");
                break;
            }
            *out = more;
        }
        for (size_t i = 0; i < found; i++)
            (*out)[(*n)++] = here[i];
    }
    if (file && s == ZO2_OK && ferror(file))
        s = zo2_error(ZO2_ERR_IO, "%s: %s", path, strerror(errno));
    if (file)
        fclose(file);
    free(line);
    free(path);
    if (s != ZO2_OK) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return s;
}

/* Of two that are finite. An accuracy is NaN where lines have none. */
static bool better(const tune_metrics_eval *a, const tune_metrics_eval *b)
{
    if (a->accuracy > b->accuracy || (!isnan(a->accuracy) && isnan(b->accuracy)))
        return true;
    if (a->accuracy < b->accuracy || (isnan(a->accuracy) && !isnan(b->accuracy)))
        return false;
    return a->loss < b->loss;
}

const tune_metrics_eval *tune_metrics_best(const tune_metrics_eval *e, size_t n)
{
    const tune_metrics_eval *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (isfinite(e[i].loss) && (!best || better(&e[i], best)))
            best = &e[i];
    return best;
}
