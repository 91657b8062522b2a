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

void pack_spills_find(pack_spills *s, const char *run_dir, const cli_list *named)
{
    memset(s, 0, sizeof *s);
    if (named->n) {
        s->dirs = named->texts;
        s->n = named->n;
        return;
    }
    json_t *settings = load_settings(run_dir), *list = json_object_get(settings, "spill_dirs");
    for (size_t i = 0; i < json_array_size(list) && s->n < PACK_MOST_SPILLS; i++) {
        const char *dir = json_string_value(json_array_get(list, i));
        if (dir && (s->remembered[s->n] = strdup(dir)))
            s->n++;
    }
    s->dirs = (const char *const *)s->remembered;
    json_decref(settings);
}

void pack_spills_free(pack_spills *s)
{
    for (uint32_t i = 0; i < PACK_MOST_SPILLS; i++)
        free(s->remembered[i]);
}
