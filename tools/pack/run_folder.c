/* run_folder.c: see run_folder.h. */
#include "tools/pack/run_folder.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *pack_run_snapshots(const char *run_dir)
{
    char *path = NULL;
    if (asprintf(&path, "%s/settings.json", run_dir) < 0)
        return NULL;
    json_t *settings = json_load_file(path, 0, NULL); /* a run made by another program has none */
    const char *dir = json_string_value(json_object_get(settings, "snapshot_dir"));
    char *copy = dir ? strdup(dir) : NULL;
    json_decref(settings);
    free(path);
    return copy;
}
