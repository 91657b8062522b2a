/* metaseq_files.c: see metaseq_files.h. A model that was cut for tensor parallelism is in files STEM-model_part-0.pt, -1.pt, ...;
 * one that never was or is merged again, in restored.pt or reshard.pt. Files STEM-model_part-N-shardM.pt are what the parts
 * were made of (FSDP's flat shards) and are no part themselves: storage/instead says what to do with them. */
#include "storage/checkpoint/metaseq_files.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK       "-model_part-"
#define MAX_NUMBER 999u

/* The whole model in one file. The first is what metaseq's own script makes of the parts beside it. */
static const char *const whole[] = {"restored.pt", "reshard.pt"};

/* ---- names ------------------------------------------------------------------------------------------------------------- */

/* 1 and number and length of the stem if it is a part's name. */
static int parse_part(const char *name, uint32_t *number, size_t *stem)
{
    char canonical[16];
    const char *mark = strstr(name, MARK);
    if (!mark)
        return 0;
    const char *digits = mark + sizeof MARK - 1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 3 || strcmp(digits + n, ".pt") != 0)
        return 0;
    *number = (uint32_t)strtoul(digits, NULL, 10);
    *stem = (size_t)(mark - name);
    snprintf(canonical, sizeof canonical, "%" PRIu32 ".pt", *number);
    return strcmp(canonical, digits) == 0;
}

static const char *find_whole(const zo2_listing *place, const char *but)
{
    for (size_t w = 0; w < sizeof whole / sizeof *whole; w++)
        for (uint64_t i = 0; i < place->n; i++)
            if (strcmp(place->names[i], whole[w]) == 0 && whole[w] != but)
                return whole[w];
    return NULL;
}

static const char *find_part(const zo2_listing *place)
{
    uint32_t number;
    size_t stem;
    for (uint64_t i = 0; i < place->n; i++)
        if (parse_part(place->names[i], &number, &stem))
            return place->names[i];
    return NULL;
}

int zo2_metaseq_is_there(const zo2_listing *place)
{
    return find_whole(place, NULL) || find_part(place);
}

/* ---- the parts of a folder ----------------------------------------------------------------------------------------------- */

static zo2_status no_memory(const char *dir)
{
    return zo2_error(ZO2_ERR_NOMEM, "out of memory for the names of the parts in %s", dir);
}

static zo2_status add(zo2_metaseq_files *f, uint32_t number, const char *dir, const char *name)
{
    f->paths[number] = zo2_path_join(dir, name);
    return f->paths[number] ? ZO2_OK : no_memory(dir);
}

zo2_status zo2_metaseq_missing_part(const char *path, uint32_t number, const char *why)
{
    char missing[4096];
    const char *mark = strstr(zo2_path_name(path), MARK);
    int n = mark ? (int)(mark - path) : 0;
    if (!mark ||
        snprintf(missing, sizeof missing, "%.*s" MARK "%" PRIu32 ".pt", n, path, number) >= (int)sizeof missing)
        return zo2_error(ZO2_ERR_NOTFOUND, "%s is one part of several: %s; get the others, too", path, why);
    return zo2_explain_file(zo2_error(ZO2_ERR_NOTFOUND, "there is no %s: %s; get it, too", missing, why), missing,
                            ZO2_WANT_MODEL_FOLDER);
}

/* paths[number] of all parts; *end: behind the greatest number. */
static zo2_status list_parts(zo2_metaseq_files *f, const zo2_listing *place, uint32_t *end)
{
    const char *first = NULL;
    size_t first_stem = 0, stem;
    uint32_t number;
    *end = 0;
    for (uint64_t i = 0; i < place->n; i++) {
        const char *name = place->names[i];
        if (!parse_part(name, &number, &stem))
            continue;
        if (!first) {
            first = name;
            first_stem = stem;
        }
        if (stem != first_stem || memcmp(name, first, stem) != 0)
            return zo2_error(ZO2_ERR_FORMAT,
                             "%s has parts of two checkpoints (%s, %s): keep those of the one to convert", place->path,
                             first, name);
        zo2_status s = add(f, number, place->path, name);
        if (s)
            return s;
        f->n++;
        *end = number + 1 > *end ? number + 1 : *end;
    }
    return ZO2_OK;
}

static zo2_status find_parts(zo2_metaseq_files *f, const zo2_listing *place)
{
    char why[128];
    uint32_t end, gap = 0;
    zo2_status s = list_parts(f, place, &end);
    if (s || f->n == end)
        return s;
    while (f->paths[gap])
        gap++;
    snprintf(why, sizeof why, "of the parts 0 to %" PRIu32 " there %s %" PRIu32, end - 1,
             f->n == 1 ? "is only" : "are only", f->n);
    return zo2_metaseq_missing_part(f->paths[end - 1], gap, why);
}

static zo2_status find_all(zo2_metaseq_files *f, const zo2_listing *place)
{
    const char *one = find_whole(place, NULL), *other = one ? find_whole(place, one) : NULL;
    other = one && !other ? find_part(place) : other;
    f->paths = calloc(MAX_NUMBER + 1, sizeof *f->paths);
    f->unread = other ? strdup(other) : NULL;
    if (!f->paths || (other && !f->unread))
        return no_memory(place->path);
    if (!one)
        return find_parts(f, place);
    f->n = 1;
    return add(f, 0, place->path, one);
}

zo2_status zo2_metaseq_files_find(zo2_metaseq_files *out, const char *dir)
{
    zo2_listing place;
    *out = (zo2_metaseq_files){0};
    zo2_status s = zo2_listing_make(&place, dir);
    if (s)
        return s;
    s = find_all(out, &place);
    zo2_listing_free(&place);
    if (s)
        zo2_metaseq_files_free(out);
    return s;
}

void zo2_metaseq_files_free(zo2_metaseq_files *f)
{
    for (uint32_t i = 0; f->paths && i <= MAX_NUMBER; i++)
        free(f->paths[i]);
    free(f->paths);
    free(f->unread);
    *f = (zo2_metaseq_files){0};
}
