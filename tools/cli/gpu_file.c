/* gpu_file.c: see gpu_file.h. */
#include "tools/cli/gpu_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"

#define MOST_BYTES (1u << 20) /* zo2-bench --all writes about 100 KB */
#define LEAST_RATE 1.0        /* a second */
#define MOST_RATE  1e30
#define NAMES      "memory_bytes, upload_rate, gemm_rate, decode_rate, fold_rate, update_rate, noise_rate, wire and dist"

typedef struct rate_name {
    const char *name;
    size_t at; /* in zo2_device_rates */
    int needed;
} rate_name;

static const rate_name rate_names[] = {
    {"upload_rate", offsetof(zo2_device_rates, upload_rate), 1},
    {"gemm_rate", offsetof(zo2_device_rates, gemm_rate), 1},
    {"decode_rate", offsetof(zo2_device_rates, decode_rate), 1},
    {"fold_rate", offsetof(zo2_device_rates, fold_rate), 0},
    {"update_rate", offsetof(zo2_device_rates, update_rate), 0},
    {"noise_rate", offsetof(zo2_device_rates, noise_rate), 0},
};

#define N_RATES (sizeof rate_names / sizeof *rate_names)

static double *rate_at(zo2_device_rates *r, size_t i)
{
    return (double *)(void *)((char *)r + rate_names[i].at);
}

static zo2_status no_number(const char *path, const char *name)
{
    return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is no number from %g to %g", path, name, LEAST_RATE, MOST_RATE);
}

static zo2_status take_rate(double *out, const char *path, const char *name, const json_t *value)
{
    double v = json_number_value(value);
    if (!json_is_number(value) || !(v >= LEAST_RATE && v <= MOST_RATE))
        return no_number(path, name);
    *out = v;
    return ZO2_OK;
}

static zo2_status take_memory(uint64_t *out, const char *path, const json_t *value)
{
    double v = 0;
    zo2_status s = take_rate(&v, path, "memory_bytes", value);
    if (!s && v > 0x1p60)
        return zo2_error(ZO2_ERR_FORMAT, "%s: \"memory_bytes\" is %g, not a size of memory", path, v);
    if (!s)
        *out = (uint64_t)v;
    return s;
}

static zo2_status take(gpu_file *f, const char *path, const char *name, const json_t *value)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    for (size_t i = 0; i < N_RATES; i++)
        if (!strcmp(name, rate_names[i].name))
            return take_rate(rate_at(&f->rates, i), path, name, value);
    if (!strcmp(name, "memory_bytes"))
        return take_memory(&f->memory_bytes, path, value);
    if (!strcmp(name, "wire"))
        return (f->wire = zo2_wire_parse(text)) ? ZO2_OK
                                                : zo2_error(ZO2_ERR_FORMAT, "%s: \"wire\" is no wire's name", path);
    if (!strcmp(name, "dist"))
        return (f->dist = zo2_dist_parse(text)) ? ZO2_OK
                                                : zo2_error(ZO2_ERR_FORMAT, "%s: \"dist\" is no distribution", path);
    return zo2_error(ZO2_ERR_FORMAT, "%s: unknown name \"%.60s\"; the names are %s", path, name, NAMES);
}

static zo2_status take_all(gpu_file *f, const char *path, json_t *root)
{
    const char *name;
    json_t *value;
    zo2_status s = ZO2_OK;
    if (json_is_array(json_object_get(root, "results"))) { /* zo2-bench's */
        root = json_object_get(root, GPU_FILE_RATES);
        if (!root)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s: zo2-bench wrote no rates of a GPU there; let it measure them: zo2-bench rates --json",
                             path);
    }
    if (!json_is_object(root))
        return zo2_error(ZO2_ERR_FORMAT, "%s: not a JSON object of rates", path);
    json_object_foreach(root, name, value)
    {
        if ((s = take(f, path, name, value)) != ZO2_OK)
            return s;
    }
    for (size_t i = 0; i < N_RATES; i++)
        if (rate_names[i].needed && !(*rate_at(&f->rates, i) > 0))
            return zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is missing", path, rate_names[i].name);
    return s;
}

/* Up to MOST_BYTES of a file, and one more of a longer one. */
static zo2_status read_text(char *text, size_t *n, const char *path)
{
    errno = 0;
    FILE *in = fopen(path, "rbe");
    *n = in ? fread(text, 1, MOST_BYTES + 1, in) : 0;
    int failed = !in || ferror(in), why = errno;
    if (in)
        fclose(in);
    if (failed)
        return zo2_error(why == ENOENT ? ZO2_ERR_NOTFOUND : ZO2_ERR_IO, "cannot read %s: %s", path, strerror(why));
    return *n > MOST_BYTES ? zo2_error(ZO2_ERR_FORMAT, "%s: more than %u bytes: not a file of rates", path, MOST_BYTES)
                           : ZO2_OK;
}

static zo2_status take_text(gpu_file *out, const char *path, const char *text, size_t n)
{
    json_error_t e;
    json_t *root = zo2_json_parse(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return zo2_error(ZO2_ERR_FORMAT, "%s line %d: not JSON: %s", path, e.line, e.text);
    zo2_status s = take_all(out, path, root);
    json_decref(root);
    return s;
}

zo2_status gpu_file_read(gpu_file *out, const char *path)
{
    size_t n;
    char *text = malloc(MOST_BYTES + 1);
    memset(out, 0, sizeof *out);
    out->rates.struct_size = sizeof out->rates;
    if (!text)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to read %s", path);
    zo2_status s = read_text(text, &n, path);
    if (!s)
        s = take_text(out, path, text, n);
    free(text);
    return s;
}

bool gpu_file_of_plan(gpu_file *out, const zo2_plan *p, const zo2_engine_opts *o, uint64_t memory_bytes)
{
    memset(out, 0, sizeof *out);
    if (!(p->gemm_rate > 0) || !p->context_bytes)
        return false;
    out->wire = o->wire ? o->wire : ZO2_WIRE_BF16;
    out->dist = o->dist ? o->dist : ZO2_GAUSSIAN;
    out->memory_bytes = memory_bytes;
    out->rates = (zo2_device_rates){.struct_size = sizeof out->rates,
                                    .upload_rate = p->upload_rate,
                                    .gemm_rate = p->gemm_rate,
                                    .decode_rate = p->decode_rate,
                                    .fold_rate = p->fold_rate,
                                    .update_rate = p->update_rate,
                                    .noise_rate = p->noise_rate};
    return true;
}

uint64_t gpu_file_memory(const zo2_plan *p)
{
    return p->budget_bytes / 9 * 10; /* its budget is 90 % */
}

void gpu_file_json(cli_json *j, const char *name, const gpu_file *f)
{
    zo2_device_rates rates = f->rates;
    cli_json_open(j, name, '{');
    if (f->memory_bytes)
        cli_json_u64(j, "memory_bytes", f->memory_bytes);
    cli_json_text(j, "wire", zo2_wire_name(f->wire));
    cli_json_text(j, "dist", zo2_dist_name(f->dist));
    for (size_t i = 0; i < N_RATES; i++)
        if (*rate_at(&rates, i) > 0)
            cli_json_f64(j, rate_names[i].name, *rate_at(&rates, i));
    cli_json_close(j, '}');
}

zo2_status gpu_file_write(const gpu_file *f, const char *path)
{
    errno = 0;
    FILE *out = fopen(path, "we");
    if (out) {
        cli_json j;
        cli_json_start(&j, out);
        gpu_file_json(&j, NULL, f);
        cli_json_end(&j);
    }
    int failed = !out || ferror(out);
    if (out && fclose(out))
        failed = 1;
    return failed ? zo2_error(ZO2_ERR_IO, "cannot write %s: %s", path, strerror(errno)) : ZO2_OK;
}
