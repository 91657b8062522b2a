/* listing.c: see listing.h. */
#include "storage/io/listing.h"
#include "storage/io/io.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static zo2_status list(zo2_listing *p, DIR *d)
{
    uint64_t cap = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e)
            return errno ? zo2_io_error("cannot list", p->path) : ZO2_OK;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (p->n == cap) {
            cap = cap ? 2 * cap : 64;
            char **grown = realloc(p->names, (size_t)cap * sizeof *grown);
            if (!grown)
                break;
            p->names = grown;
        }
        if (!(p->names[p->n] = strdup(e->d_name)))
            break;
        p->n++;
    }
    return zo2_error(ZO2_ERR_NOMEM, "out of memory for the list of %s", p->path);
}

zo2_status zo2_listing_make(zo2_listing *out, const char *path)
{
    struct stat st;
    *out = (zo2_listing){.path = path};
    if (stat(path, &st) != 0)
        return zo2_io_error("cannot open", path);
    out->is_folder = S_ISDIR(st.st_mode);
    if (!out->is_folder)
        return ZO2_OK;
    DIR *d = opendir(path);
    if (!d)
        return zo2_io_error("cannot list", path);
    zo2_status s = list(out, d);
    closedir(d);
    if (s)
        zo2_listing_free(out);
    else if (out->n > 0) /* there is no array before the first entry */
        qsort(out->names, (size_t)out->n, sizeof *out->names, by_text);
    return s;
}

void zo2_listing_free(zo2_listing *p)
{
    for (uint64_t i = 0; i < p->n; i++)
        free(p->names[i]);
    free(p->names);
    *p = (zo2_listing){0};
}

static int ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

const char *zo2_listing_ending(const zo2_listing *p, const char *const *endings)
{
    for (uint64_t i = 0; i < p->n; i++)
        for (const char *const *e = endings; *e; e++)
            if (ends_with(p->names[i], *e))
                return p->names[i];
    return NULL;
}
