/* carried.c: the files that a pack carries beside the weights, from the folder of a model. */
#include "engine/pack/pack_api.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

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

zo2_status zo2_carried_read(const char *dir, const char *name, zo2_log_fn log, void *log_ud, char **data, size_t *bytes)
{
    char text[512], *path = zo2_path_join(dir, name);
    *data = NULL;
    *bytes = 0;
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", dir, name);
    zo2_status s = zo2_io_slurp(path, is_text(name) ? MAX_TEXT_BYTES : MAX_DATA_BYTES, data, bytes);
    if (!s && (s = check_origin(path, *data, *bytes)) != ZO2_OK) {
        free(*data);
        *data = NULL;
    }
    free(path);
    if (s == ZO2_ERR_FORMAT && is_text(name)) {
        snprintf(text, sizeof text, "%.400s: it isn't carried", zo2_last_error());
        if (log)
            log(log_ud, ZO2_LOG_WARNING, text);
        return ZO2_OK;
    }
    return s == ZO2_ERR_NOTFOUND ? ZO2_OK : s;
}
