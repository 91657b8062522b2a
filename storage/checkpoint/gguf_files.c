/* gguf_files.c: which files a GGUF model is in. llama-gguf-split cuts one into NAME-00001-of-00003.gguf and so on, of which the first
 * has the metadata; a folder of the hub has a model in many types, of which somebody must choose. */
#include "storage/checkpoint/gguf.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX       ".gguf"
#define SPLIT_SUFFIX "-00000-of-00000" SUFFIX
#define NAMED_MODELS 4 /* that a message names */

static int ends_with(const char *s, const char *ending)
{
    size_t n = strlen(s), m = strlen(ending);
    return n > m && strcmp(s + n - m, ending) == 0;
}

/* 1 for weights of a language model: "mmproj-..." are those of an eye or ear that goes with it. */
static int is_model(const char *name)
{
    return name[0] != '.' && ends_with(name, SUFFIX) && strncmp(name, "mmproj", 6) != 0;
}

/* 1 for NAME-0000i-of-0000n.gguf; *stem: length of NAME. */
static int is_split(const char *name, size_t *stem, uint32_t *i, uint32_t *n)
{
    static const char pattern[] = SPLIT_SUFFIX;
    size_t length = strlen(name);
    if (length < sizeof pattern)
        return 0;
    *stem = length - (sizeof pattern - 1);
    for (size_t k = 0; k < sizeof pattern - 1; k++) {
        const char c = name[*stem + k];
        if (pattern[k] == '0' ? !isdigit((unsigned char)c) : c != pattern[k])
            return 0;
    }
    *i = (uint32_t)strtoul(name + *stem + 1, NULL, 10);
    *n = (uint32_t)strtoul(name + *stem + 10, NULL, 10);
    return *i > 0 && *i <= *n;
}

int zo2_gguf_is_there(const zo2_listing *place)
{
    char magic[4];
    if (!place->is_folder) {
        int fd = open(place->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), is;
        is = fd >= 0 && pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic && memcmp(magic, "GGUF", 4) == 0;
        if (fd >= 0)
            close(fd);
        return is;
    }
    for (uint64_t i = 0; i < place->n; i++)
        if (is_model(place->names[i]))
            return 1;
    return 0;
}

void zo2_gguf_free_paths(char **paths, uint32_t n)
{
    for (uint32_t i = 0; paths && i < n; i++)
        free(paths[i]);
    free(paths);
}

/* ---- one model -------------------------------------------------------------------------------------------------------- */

/* Path number i of n, beside another one of them. */
static char *sibling(const char *path, size_t stem, uint32_t i, uint32_t n)
{
    char *out = NULL;
    if (asprintf(&out, "%.*s-%05" PRIu32 "-of-%05" PRIu32 SUFFIX, (int)stem, path, i, n) < 0)
        return NULL;
    return out;
}

static zo2_status files_of(const char *path, char ***paths, uint32_t *n)
{
    const char *name = zo2_path_name(path);
    size_t stem;
    uint32_t number, count = 1;
    const int split = is_split(name, &stem, &number, &count);
    zo2_status s = ZO2_OK;
    count = split ? count : 1;
    *n = 0;
    *paths = calloc(count, sizeof **paths);
    for (uint32_t i = 0; *paths && i < count && !s; i++) {
        (*paths)[i] = split ? sibling(path, (size_t)(name - path) + stem, i + 1, count) : strdup(path);
        if (!(*paths)[i])
            break;
        *n = i + 1;
        if (access((*paths)[i], F_OK) != 0)
            s = zo2_error(ZO2_ERR_NOTFOUND, "%s is missing, one of the %" PRIu32 " files of the model: download it",
                          (*paths)[i], count);
    }
    if (!s && *n != count)
        s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the files of %s", path);
    if (s) {
        zo2_gguf_free_paths(*paths, *n);
        *paths = NULL;
    }
    return s;
}

/* ---- a folder --------------------------------------------------------------------------------------------------------- */

/* 1 if both are files of one split model. */
static int same_model(const char *a, const char *b)
{
    size_t x, y;
    uint32_t i, n, m;
    return is_split(a, &x, &i, &n) && is_split(b, &y, &i, &m) && x == y && n == m && strncmp(a, b, x) == 0;
}

/* The first file of each model in the folder; returns how many there are. names: the first few, for the message. */
static uint32_t models_in(const zo2_listing *place, const char **only, char *names, size_t bytes)
{
    const char *last = NULL;
    uint32_t n = 0;
    size_t at = 0;
    for (uint64_t i = 0; i < place->n; i++) {
        const char *name = place->names[i];
        if (!is_model(name) || (last && same_model(last, name))) /* they are sorted: one behind the other */
            continue;
        last = *only = name;
        if (n++ < NAMED_MODELS && at < bytes)
            at += (size_t)snprintf(names + at, bytes - at, "%s%s", n > 1 ? ", " : "", name);
    }
    return n;
}

zo2_status zo2_gguf_find_files(const char *path, char ***paths, uint32_t *n)
{
    zo2_listing place;
    char names[1200] = "";
    const char *only = NULL;
    *paths = NULL;
    *n = 0;
    zo2_status s = zo2_listing_make(&place, path);
    if (s)
        return s;
    if (!place.is_folder) {
        s = files_of(path, paths, n);
    } else {
        const uint32_t models = models_in(&place, &only, names, sizeof names);
        if (models != 1) {
            s = zo2_error(models ? ZO2_ERR_ARG : ZO2_ERR_NOTFOUND,
                          "%s has %" PRIu32 " GGUF models%s%s%s: give the file of one", path, models,
                          models ? " (" : "", names,
                          models > NAMED_MODELS ? ", ...)"
                          : models              ? ")"
                                                : "");
        } else {
            char *file = zo2_path_join(path, only);
            s = file ? files_of(file, paths, n) : zo2_error(ZO2_ERR_NOMEM, "out of memory for the files of %s", path);
            free(file);
        }
    }
    zo2_listing_free(&place);
    return s;
}
