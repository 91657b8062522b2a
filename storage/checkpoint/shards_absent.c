/* shards_absent.c: what index and names of files tell about a tensor that isn't there, and what is odd about them. */
#include "storage/checkpoint/shards.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *indexed(const zo2_shards *s, const char *tensor)
{
    return json_string_value(json_object_get(json_object_get(s->index, "weight_map"), tensor));
}

static int is_missing(const zo2_shards *s, const char *file)
{
    for (uint32_t i = 0; i < s->n_missing; i++)
        if (strcmp(s->missing[i], file) == 0)
            return 1;
    return 0;
}

/* ---- files that the index doesn't name ---------------------------------------------------------------------------- */

/* The name of a file beside the index that it doesn't name and that has the tensor; "" if none does. */
static void find_unnamed(const zo2_shards *s, const char *tensor, char *name, size_t n)
{
    zo2_listing list;
    name[0] = '\0';
    if (zo2_listing_make(&list, s->path) != ZO2_OK)
        return;
    for (uint64_t i = 0; i < list.n && !name[0]; i++) {
        char *path = s->kind->fits(list.names[i]) ? zo2_path_join(s->path, list.names[i]) : NULL;
        int opened = 0;
        for (uint32_t k = 0; path && k < s->n_files && !opened; k++)
            opened = strcmp(path, s->files[k]) == 0;
        if (path && !opened && s->kind->has(path, tensor))
            snprintf(name, n, "%s", list.names[i]);
        free(path);
    }
    zo2_listing_free(&list);
}

/* ---- files of a series, NAME-00001-of-00003.safetensors -------------------------------------------------------------- */

/* 1 and number and count if a file is one of a series. */
static int series_of(const zo2_shards *s, const char *path, uint32_t *number, uint32_t *of)
{
    const char *name = zo2_path_name(path), *dash = strstr(name, "-of-");
    char end[16];
    return dash && dash - name >= 6 && dash[-6] == '-' &&
           sscanf(dash - 5, "%5" SCNu32 "-of-%5" SCNu32 "%15s", number, of, end) == 3 &&
           strcmp(end, s->kind->ending) == 0 && *of > 0 && *number > 0 && *number <= *of;
}

/* The first number that no file of the first series has, 0 if it is whole or there is none. */
static uint32_t series_gap(const zo2_shards *s, uint32_t *have, uint32_t *of)
{
    uint32_t number, count, gap = 0;
    *of = *have = 0;
    unsigned char *seen = calloc(ZO2_MAX_SHARDS + 1, 1);
    for (uint32_t i = 0; seen && i < s->n_files; i++) {
        if (!series_of(s, s->files[i], &number, &count) || (*of && count != *of))
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

const char *zo2_shards_missing_text(const zo2_shards *s, const char *file, char *text, size_t n)
{
    char *path = zo2_path_join(s->path, file);
    zo2_status missing = zo2_error(
        ZO2_ERR_NOTFOUND,
        "%s/%.255s is missing (%" PRIu32 " of the %" PRIu32 " shards that %s names %s); download the rest", s->path,
        file, s->n_missing, s->n_files + s->n_missing, zo2_path_name(s->index_path), s->n_missing == 1 ? "is" : "are");
    if (path)
        (void)zo2_explain_file(missing, path, s->kind->wanted);
    free(path);
    snprintf(text, n, "%s", zo2_last_error());
    return text;
}

const char *zo2_shards_absent(const zo2_shards *s, const char *tensor, char *text, size_t n)
{
    char unnamed[256];
    uint32_t have, of, gap;
    const char *file = indexed(s, tensor);
    text[0] = '\0';
    if (file && is_missing(s, file))
        return zo2_shards_missing_text(s, file, text, n);
    if (s->index)
        find_unnamed(s, tensor, unnamed, sizeof unnamed);
    if (s->index && unnamed[0])
        snprintf(text, n,
                 "it is in %s, which %s doesn't name: write the index again, or remove it so that every *%s is read",
                 unnamed, s->kind->index, s->kind->ending);
    else if (file)
        snprintf(text, n, "%s says that it is in %.255s, but it is in none of the files; get both again",
                 s->kind->index, file);
    else if (s->n_missing)
        zo2_shards_missing_text(s, s->missing[0], text, n);
    else if ((gap = series_gap(s, &have, &of)) > 0)
        snprintf(text, n,
                 "of the %" PRIu32 " files *-of-%05" PRIu32 "%s there are only %" PRIu32 " (*-%05" PRIu32
                 "-of-%05" PRIu32 "%s is the first that is missing); download the rest",
                 of, of, s->kind->ending, have, gap, of, s->kind->ending);
    return text;
}

/* Entries of the index whose tensors are in other files. */
static void say_moved(const zo2_shards *s, zo2_shard_place_fn place, const void *model,
                      void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    const char *tensor, *first = NULL;
    json_t *file;
    uint64_t n = 0;
    json_object_foreach(json_object_get(s->index, "weight_map"), tensor, file)
    {
        if (place(model, tensor, json_string_value(file)) != ZO2_SHARD_ELSEWHERE)
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

void zo2_shards_oddities(const zo2_shards *s, zo2_shard_place_fn place, const void *model,
                         void (*say)(void *ud, const char *text), void *ud)
{
    char text[800];
    if (s->index)
        say_moved(s, place, model, say, ud);
    if (!s->n_missing)
        return;
    snprintf(text, sizeof text, "%s names %" PRIu32 " file%s missing (the first is %s); nothing of %s is needed",
             s->index_path, s->n_missing, s->n_missing == 1 ? " that is" : "s that are", s->missing[0],
             s->n_missing == 1 ? "it" : "them");
    say(ud, text);
}
