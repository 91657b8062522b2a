/* run_folder.c: see run_folder.h. */
#include "tools/pack/run_folder.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run made by another program has none. */
static json_t *load_settings(const char *run_dir)
{
    char *path = NULL;
    if (asprintf(&path, "%s/settings.json", run_dir) < 0)
        return NULL;
    json_t *settings = json_load_file(path, 0, NULL);
    free(path);
    return settings;
}

char *pack_run_snapshots(const char *run_dir)
{
    json_t *settings = load_settings(run_dir);
    const char *dir = json_string_value(json_object_get(settings, "snapshot_dir"));
    char *copy = dir ? strdup(dir) : NULL;
    json_decref(settings);
    return copy;
}

uint32_t pack_run_spills(const char *run_dir, char *dirs[PACK_MOST_SPILLS])
{
    json_t *settings = load_settings(run_dir), *list = json_object_get(settings, "spill_dirs");
    uint32_t n = 0;
    for (size_t i = 0; i < json_array_size(list) && n < PACK_MOST_SPILLS; i++) {
        const char *dir = json_string_value(json_array_get(list, i));
        if (dir && (dirs[n] = strdup(dir)))
            n++;
    }
    json_decref(settings);
    return n;
}
