/* carried.c: the files that a pack carries beside the weights, from the folder of a model. */
#include "engine/pack/pack_api.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DATA_BYTES ((uint64_t)128 << 20) /* vocabularies */
#define MAX_TEXT_BYTES ((uint64_t)1 << 20)   /* what people read and write */

/* Nobody can use the model's texts without a vocabulary; a template or a licence may stay behind. */
static int is_text(const char *name)
{
    return strncmp(name, "LICENSE", 7) == 0 || strncmp(name, "NOTICE", 6) == 0 ||
           strncmp(name, "chat_template", 13) == 0;
}

/* What stands for a file that wasn't downloaded would be carried along, and found when a run begins. */
static zo2_status check_origin(const char *path, const char *data, size_t bytes)
{
    const zo2_origin *is = zo2_origin_of_bytes(data, bytes, bytes);
    return is && is->placeholder ? zo2_error(ZO2_ERR_FORMAT, "%s is %s; %s", path, is->what, is->advice) : ZO2_OK;
}

static zo2_status read_file(const char *dir, const char *file, uint64_t most, char **data, size_t *bytes)
{
    char *path = zo2_path_join(dir, file);
    *data = NULL;
    *bytes = 0;
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", dir, file);
    zo2_status s = zo2_io_slurp(path, most, data, bytes);
    if (!s && (s = check_origin(path, *data, *bytes)) != ZO2_OK) {
        free(*data);
        *data = NULL;
    }
    free(path);
    return s;
}

__attribute__((format(printf, 4, 5))) static void say(zo2_log_fn log, void *log_ud, zo2_log_level level,
                                                      const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (log)
        log(log_ud, level, text);
}

/* metaseq gives these files other names. GPT-2's own vocabulary goes by the same one, and has other ids. */
static zo2_status read_renamed(const char *dir, const char *name, zo2_log_fn log, void *log_ud, char **data,
                               size_t *bytes)
{
    static const char *const names[][2] = {{"vocab.json", "gpt2-vocab.json"}, {"merges.txt", "gpt2-merges.txt"}};
    size_t i = 0, n = sizeof names / sizeof *names;
    while (i < n && strcmp(names[i][0], name) != 0)
        i++;
    zo2_status s = i < n ? read_file(dir, names[i][1], MAX_DATA_BYTES, data, bytes) : ZO2_ERR_NOTFOUND;
    if (s)
        return s;
    if (i == 0 && !memmem(*data, *bytes, "\"<s>\"", 5)) {
        free(*data);
        *data = NULL;
        say(log, log_ud, ZO2_LOG_WARNING,
            "%.300s/%s isn't carried: it has no <s>, so it is GPT-2's own and not this model's", dir, names[i][1]);
        return ZO2_OK;
    }
    say(log, log_ud, ZO2_LOG_INFO, "%.300s: %s is carried as %s", dir, names[i][1], name);
    return ZO2_OK;
}

zo2_status zo2_carried_read(const char *dir, const char *name, zo2_log_fn log, void *log_ud, char **data, size_t *bytes)
{
    zo2_status s = read_file(dir, name, is_text(name) ? MAX_TEXT_BYTES : MAX_DATA_BYTES, data, bytes);
    if (s == ZO2_ERR_NOTFOUND)
        s = read_renamed(dir, name, log, log_ud, data, bytes);
    if (s == ZO2_ERR_FORMAT && is_text(name)) {
        say(log, log_ud, ZO2_LOG_WARNING, "%.400s: it isn't carried", zo2_last_error());
        return ZO2_OK;
    }
    return s == ZO2_ERR_NOTFOUND ? ZO2_OK : s;
}
