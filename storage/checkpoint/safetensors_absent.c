/* safetensors_absent.c: what index and names of files tell about a tensor that isn't there, and what is odd about them. */
#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/safetensors_internal.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *indexed(const zo2_safetensors *s, const char *tensor)
{
    return json_string_value(json_object_get(json_object_get(s->index, "weight_map"), tensor));
}

static int is_missing(const zo2_safetensors *s, const char *file)
{
    for (uint32_t i = 0; i < s->n_missing; i++)
        if (strcmp(s->missing[i], file) == 0)
            return 1;
    return 0;
}

/* ---- files that the index doesn't name ---------------------------------------------------------------------------- */

static int file_has(const char *path, const char *tensor)
{
    zo2_safetensors *s;
    if (zo2_safetensors_open(&s, path) != ZO2_OK)
        return 0;
    int has = zo2_safetensors_find(s, tensor) != NULL;
    zo2_safetensors_close(s);
    return has;
}

/* The name of a *.safetensors beside the index that it doesn't name and that has the tensor; "" if none does. */
static void find_unnamed(const zo2_safetensors *s, const char *tensor, char *name, size_t n)
{
    zo2_listing list;
    name[0] = '\0';
    if (zo2_listing_make(&list, s->path) != ZO2_OK)
        return;
    for (uint64_t i = 0; i < list.n && !name[0]; i++) {
        const char *ending = strstr(list.names[i], ".safetensors");
        char *path = ending && strcmp(ending, ".safetensors") == 0 ? zo2_path_join(s->path, list.names[i]) : NULL;
        int opened = 0;
        for (uint32_t k = 0; path && k < s->n_files && !opened; k++)
            opened = strcmp(path, s->files[k].path) == 0;
        if (path && !opened && file_has(path, tensor))
            snprintf(name, n, "%s", list.names[i]);
        free(path);
    }
    zo2_listing_free(&list);
}

/* ---- files of a series, NAME-00001-of-00003.safetensors -------------------------------------------------------------- */

/* 1 and number and count if a file is one of a series. */
static int series_of(const char *path, uint32_t *number, uint32_t *of)
{
    const char *name = zo2_path_name(path), *dash = strstr(name, "-of-");
    char end[16];
    return dash && dash - name >= 6 && dash[-6] == '-' &&
           sscanf(dash - 5, "%5" SCNu32 "-of-%5" SCNu32 "%15s", number, of, end) == 3 &&
           strcmp(end, ".safetensors") == 0 && *of > 0 && *number > 0 && *number <= *of;
}

/* The first number that no file of the first series has, 0 if it is whole or there is none. */
static uint32_t series_gap(const zo2_safetensors *s, uint32_t *have, uint32_t *of)
{
    uint32_t number, count, gap = 0;
    *of = *have = 0;
    unsigned char *seen = calloc(ZO2_ST_MAX_SHARDS + 1, 1);
    for (uint32_t i = 0; seen && i < s->n_files; i++) {
        if (!series_of(s->files[i].path, &number, &count) || (*of && count != *of))
            continue;
        *of = count;
        *have += !seen[number];
        seen[number] = 1;
    }
    for (uint32_t k = 1; seen && k <= *of && !gap; k++)
        gap = seen[k] ? 0 : k;
    free(seen);
    return gap;
}

/* ---- what is said -------------------------------------------------------------------------------------------------- */

const char *zo2_safetensors_absent(const zo2_safetensors *s, const char *name, char *text, size_t n)
{
    char unnamed[256];
    uint32_t have, of, gap;
    const char *file = indexed(s, name);
    text[0] = '\0';
    if (file && is_missing(s, file))
        return zo2_st_missing_text(s, file, text, n);
    if (s->index)
        find_unnamed(s, name, unnamed, sizeof unnamed);
    if (s->index && unnamed[0])
        snprintf(
            text, n,
            "it is in %s, which %s doesn't name: write the index again, or remove it so that every *.safetensors is read",
            unnamed, ZO2_ST_INDEX_NAME);
    else if (file)
        snprintf(text, n, "%s says that it is in %.255s, but it is in none of the files; get both again",
                 ZO2_ST_INDEX_NAME, file);
    else if (s->n_missing)
        zo2_st_missing_text(s, s->missing[0], text, n);
    else if ((gap = series_gap(s, &have, &of)) > 0)
        snprintf(text, n,
                 "of the %" PRIu32 " files *-of-%05" PRIu32 ".safetensors there are only %" PRIu32 " (*-%05" PRIu32
                 "-of-%05" PRIu32 ".safetensors is the first that is missing); download the rest",
                 of, of, have, gap, of);
    return text;
}

/* Entries of the index whose tensors are in other files. */
static void say_moved(const zo2_safetensors *s, void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    const char *tensor, *first = NULL;
    json_t *file;
    uint64_t n = 0;
    json_object_foreach(json_object_get(s->index, "weight_map"), tensor, file)
    {
        if (!zo2_safetensors_find(s, tensor) || zo2_st_is_in(s, tensor, json_string_value(file)))
            continue;
        first = n++ ? first : tensor;
    }
    if (!n)
        return;
    snprintf(text, sizeof text,
             "%s is out of date: %" PRIu64
             " of its tensors (the first is %.200s) lie in other files than it says, and are taken from there",
             s->index_path, n, first);
    say(ud, text);
}

void zo2_safetensors_oddities(const zo2_safetensors *s, void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    if (s->index)
        say_moved(s, say, ud);
    if (!s->n_missing)
        return;
    snprintf(text, sizeof text, "%s names %" PRIu32 " file%s missing (the first is %s); nothing of %s is needed",
             s->index_path, s->n_missing, s->n_missing == 1 ? " that is" : "s that are", s->missing[0],
             s->n_missing == 1 ? "it" : "them");
    say(ud, text);
}
