/* settings.c: see settings.h. */
#include "tools/tune/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/args.h"
#include "tools/cli/jsonout.h"

static const char file_name[] = "settings.json";
enum { FORMAT_VERSION = 1 };

char *tune_run_path(const char *run_dir, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", run_dir, name) < 0 ? NULL : path;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static char *copy_string(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? strdup(text) : NULL;
}

/* A whole number in [min, max] at key; false if it isn't there. */
static int get_number(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return 0;
    *out = json_integer_value(v);
    return 1;
}

static int get_hash(const json_t *o, const char *key, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(o, key));
    char *end = NULL;
    if (!text || strncmp(text, "0x", 2) != 0 || strlen(text) != 18)
        return 0;
    *out = strtoull(text + 2, &end, 16);
    return *end == '\0';
}

void tune_remember(char **to, const char *path)
{
    free(*to);
    *to = NULL;
    if (!path)
        return;
    *to = strcmp(path, "-") ? realpath(path, NULL) : NULL;
    if (!*to)
        *to = strdup(path);
}

static void free_spill(tune_settings *s)
{
    for (uint32_t i = 0; i < s->spill_count; i++)
        free(s->spill_dirs[i]);
    free(s->spill_dirs);
    s->spill_dirs = NULL;
    s->spill_count = 0;
}

int tune_settings_set_spill(tune_settings *s, const char *const *dirs, uint32_t n)
{
    char **all = calloc(n ? n : 1, sizeof *all);
    int same = n == s->spill_count;
    for (uint32_t i = 0; i < n && all; i++) {
        tune_remember(&all[i], dirs[i]);
        same = same && all[i] && !strcmp(all[i], s->spill_dirs[i]);
    }
    tune_settings new = {.spill_dirs = all, .spill_count = all ? n : 0};
    if (same || !all) {
        free_spill(&new);
        return 0;
    }
    free_spill(s);
    s->spill_dirs = all;
    s->spill_count = n;
    return 1;
}

/* An array of paths; 0: it is none. */
static int get_spill(tune_settings *s, const json_t *a)
{
    size_t n = json_array_size(a);
    if (!json_is_array(a) || n > CLI_MOST_TEXTS)
        return 0;
    s->spill_dirs = n ? calloc(n, sizeof *s->spill_dirs) : NULL;
    for (size_t i = 0; i < n && s->spill_dirs; i++) {
        const char *text = json_string_value(json_array_get(a, i));
        if (!text || !(s->spill_dirs[i] = strdup(text)))
            return 0;
        s->spill_count++;
    }
    return 1;
}

/* Returns the key that is missing or wrong, NULL if all is well. */
static const char *read_object(tune_settings *s, const json_t *o)
{
    int64_t v;
    if (!get_number(o, "format", FORMAT_VERSION, FORMAT_VERSION, &v))
        return "format";
    if (!get_number(o, "batch", 1, UINT32_MAX, &v))
        return "batch";
    s->batch = (uint64_t)v;
    if (!get_number(o, "seq", 2, UINT32_MAX, &v))
        return "seq";
    s->seq = (uint32_t)v;
    if (!get_number(o, "bos", -1, INT32_MAX, &v))
        return "bos";
    s->bos = (int32_t)v;
    if (!get_number(o, "steps", 1, INT64_MAX, &v))
        return "steps";
    s->steps = (uint64_t)v;
    if (!get_hash(o, "train_hash", &s->train_hash))
        return "train_hash";
    if (json_object_get(o, "train_ids_hash") && !get_hash(o, "train_ids_hash", &s->ids_hash))
        return "train_ids_hash";
    if (!get_hash(o, "model_hash", &s->model_hash))
        return "model_hash";
    if (json_object_get(o, "spill_dirs") && !get_spill(s, json_object_get(o, "spill_dirs")))
        return "spill_dirs";
    if (json_object_get(o, "endurance")) {
        if (!get_number(o, "endurance", 0, INT64_MAX, &v))
            return "endurance";
        s->endurance = (uint64_t)v;
    }
    s->snapshot_dir = copy_string(o, "snapshot_dir");
    s->model = copy_string(o, "model");
    s->train = copy_string(o, "train");
    s->eval = copy_string(o, "eval");
    s->tune = copy_string(o, "tune");
    return NULL;
}

zo2_status tune_settings_load(tune_settings *s, const char *run_dir)
{
    memset(s, 0, sizeof *s);
    char *path = tune_run_path(run_dir, file_name);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    zo2_status status = ZO2_OK;
    json_error_t error;
    FILE *file = fopen(path, "rb");
    if (!file) {
        status = zo2_error(errno == ENOENT ? ZO2_ERR_NOTFOUND : ZO2_ERR_IO, "%s: %s", path, strerror(errno));
    } else {
        json_t *o = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
        const char *bad = o ? read_object(s, o) : NULL;
        if (!o)
            status = zo2_error(ZO2_ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
        else if (bad)
            status = zo2_error(ZO2_ERR_FORMAT, "%s: \"%s\" is missing or has a value that can't be", path, bad);
        json_decref(o);
        fclose(file);
    }
    free(path);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* best effort: the old file or the new one is there in any case */
        close(fd);
    }
    free(folder);
}

zo2_status tune_write_file(const char *path, const char *data, size_t bytes)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int failed = fd < 0;
    for (size_t done = 0; !failed && done < bytes;) {
        ssize_t n = write(fd, data + done, bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            failed = 1;
    }
    failed = failed || fsync(fd) != 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed && rename(temporary, path) != 0) {
        failed = 1;
        why = errno;
    }
    zo2_status status = ZO2_OK;
    if (failed) {
        if (fd >= 0)
            unlink(temporary);
        status = zo2_error(why == ENOSPC ? ZO2_ERR_NOSPACE : ZO2_ERR_IO, "cannot write %s: %s", path, strerror(why));
    } else {
        sync_folder_of(path);
    }
    free(temporary);
    return status;
}

zo2_status tune_settings_save(const tune_settings *s, const char *run_dir)
{
    char *path = tune_run_path(run_dir, file_name), *text = NULL;
    size_t bytes = 0;
    FILE *memory = path ? open_memstream(&text, &bytes) : NULL;
    if (!memory) {
        free(path);
        return zo2_error(ZO2_ERR_NOMEM, "out of memory");
    }
    cli_json j;
    cli_json_start(&j, memory);
    cli_json_open(&j, NULL, '{');
    cli_json_u64(&j, "format", FORMAT_VERSION);
    cli_json_text(&j, "zo2_version", zo2_version());
    cli_json_text(&j, "model", s->model);
    cli_json_hash(&j, "model_hash", s->model_hash);
    cli_json_text(&j, "train", s->train);
    cli_json_hash(&j, "train_hash", s->train_hash);
    cli_json_hash(&j, "train_ids_hash", s->ids_hash);
    cli_json_text(&j, "eval", s->eval);
    cli_json_u64(&j, "batch", s->batch);
    cli_json_u64(&j, "seq", s->seq);
    cli_json_i64(&j, "bos", s->bos);
    cli_json_u64(&j, "steps", s->steps);
    cli_json_text(&j, "snapshot_dir", s->snapshot_dir);
    if (s->tune)
        cli_json_text(&j, "tune", s->tune);
    if (s->spill_count) {
        cli_json_open(&j, "spill_dirs", '[');
        for (uint32_t i = 0; i < s->spill_count; i++)
            cli_json_text(&j, NULL, s->spill_dirs[i]);
        cli_json_close(&j, ']');
        if (s->endurance)
            cli_json_u64(&j, "endurance", s->endurance);
    }
    cli_json_close(&j, '}');
    cli_json_end(&j);
    zo2_status status =
        fclose(memory) == 0 ? tune_write_file(path, text, bytes) : zo2_error(ZO2_ERR_NOMEM, "out of memory");
    free(text);
    free(path);
    return status;
}

void tune_settings_free(tune_settings *s)
{
    free_spill(s);
    free(s->snapshot_dir);
    free(s->model);
    free(s->train);
    free(s->eval);
    free(s->tune);
    memset(s, 0, sizeof *s);
}
