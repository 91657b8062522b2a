/* instead_folder.c: a folder in which something was looked for in vain: what it is, and where the thing may be. */
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/io/listing.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 3   /* models--ORG--NAME/snapshots/REVISION below a folder of them */
#define MAX_LOOKS 500 /* folders */

static int has(const zo2_listing *list, const char *name)
{
    for (uint64_t i = 0; i < list->n; i++)
        if (strcmp(list->names[i], name) == 0)
            return 1;
    return 0;
}

/* By its name alone, of a model in a format that is read. */
static int is_of_a_model(const char *name)
{
    unsigned rank;
    const zo2_origin *is = zo2_origin_of_name(name, &rank);
    return name[0] != '.' && is && (is->fits & ZO2_WANT_MODEL_FOLDER);
}

static int has_weights(const zo2_listing *list)
{
    static const char *const endings[] = {".safetensors", ".safetensors.index.json", NULL};
    if (zo2_listing_ending(list, endings))
        return 1;
    for (uint64_t i = 0; i < list->n; i++)
        if (is_of_a_model(list->names[i]))
            return 1;
    return 0;
}

/* ---- a model in a folder below ---------------------------------------------------------------------------------------- */

/* N of checkpoint-N, -1 for other names. */
static long long checkpoint_number(const char *name)
{
    char *end;
    long long n;
    if (strncmp(name, "checkpoint-", 11) != 0 || name[11] < '0' || name[11] > '9')
        return -1;
    n = strtoll(name + 11, &end, 10);
    return *end ? -1 : n;
}

static int best_first(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    long long nx = checkpoint_number(x), ny = checkpoint_number(y);
    return nx != ny ? (nx < ny) - (nx > ny) : strcmp(x, y);
}

/* The revision that a hub cache's main branch is at, in text; "" if dir isn't one's snapshots. */
static void main_revision(const char *dir, char *text, size_t n)
{
    char path[PATH_MAX], *data = NULL;
    size_t bytes = 0;
    text[0] = '\0';
    if (snprintf(path, sizeof path, "%s/../refs/main", dir) < (int)sizeof path &&
        zo2_io_slurp(path, 128, &data, &bytes) == ZO2_OK)
        snprintf(text, n, "%.*s", (int)strcspn(data, "\r\n \t/"), data);
    free(data);
}

static char *look_below(const char *dir, int depth, int *looks)
{
    zo2_listing list;
    struct stat st;
    char revision[128], *found = NULL;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || ++*looks > MAX_LOOKS || zo2_listing_make(&list, dir) != ZO2_OK)
        return NULL;
    if (has(&list, "config.json") && has_weights(&list)) {
        found = strdup(dir);
    } else if (depth > 0) {
        if (list.n)
            qsort(list.names, (size_t)list.n, sizeof *list.names, best_first);
        main_revision(dir, revision, sizeof revision);
        for (uint64_t i = 0; i <= list.n && !found; i++) { /* first that revision */
            const char *name = i ? list.names[i - 1] : revision;
            char *path = name[0] && name[0] != '.' ? zo2_path_join(dir, name) : NULL;
            found = path ? look_below(path, depth - 1, looks) : NULL;
            free(path);
        }
    }
    zo2_listing_free(&list);
    return found;
}

char *zo2_find_model_folder(const char *dir)
{
    int looks = 0;
    return look_below(dir, MAX_DEPTH, &looks);
}

/* ---- other things ----------------------------------------------------------------------------------------------------- */

/* The entry that tells most, and what it is of. */
static const zo2_origin *most_telling(const zo2_listing *list, const char **name, unsigned *rank)
{
    const zo2_origin *best = NULL;
    for (uint64_t i = 0; i < list->n; i++) {
        unsigned at;
        const zo2_origin *is = zo2_origin_of_name(list->names[i], &at);
        if (!is || (best && at >= *rank))
            continue;
        best = is;
        *rank = at;
        *name = list->names[i];
    }
    return best;
}

/* A download into a folder of one's own (hf download --local-dir) keeps what isn't complete here. */
static int has_unfinished_download(const char *dir)
{
    static const char *const endings[] = {".incomplete", NULL};
    zo2_listing list;
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/.cache/huggingface/download", dir) >= (int)sizeof path ||
        stat(path, &st) != 0 || zo2_listing_make(&list, path) != ZO2_OK)
        return 0;
    int has_one = zo2_listing_ending(&list, endings) != NULL;
    zo2_listing_free(&list);
    return has_one;
}

/* ---- what is said ----------------------------------------------------------------------------------------------------- */

static zo2_status explain_as_pack(zo2_status s, const zo2_listing *list, const char *model)
{
    static const char *const packs[] = {".zo2", NULL};
    const char *pack = zo2_listing_ending(list, packs);
    if (has(list, "journal.zo2j"))
        return zo2_error(
            s, "%s is a run directory: the model is the pack that the run was begun with; give the run as --run",
            list->path);
    if (pack)
        return zo2_error(s, "%s is a folder: give the pack in it, %s/%s", list->path, list->path, pack);
    if (model)
        return zo2_error(
            s, "%s is a folder, not a pack: make one of the model in it (zo2-pack convert %s OUT.zo2) and give that",
            list->path, model);
    return zo2_error(s, "%s is a folder, not a pack: give the *.zo2 file that zo2-pack convert made", list->path);
}

/* zo2_find_model_folder() was asked before: below is another folder with the model, or NULL. */
static zo2_status explain_as_model(zo2_status s, const zo2_listing *list, const char *below)
{
    const char *name = NULL;
    unsigned rank = 0;
    if (has(list, "journal.zo2j"))
        return zo2_error(
            s, "%s is a run directory, not a model's: zo2-pack export PACK OUT_DIR --run %s makes a model of it",
            list->path, list->path);
    if (below && strcmp(below, list->path) != 0)
        return zo2_error(s, "%s lacks config.json or weights: give the model's folder in it, %s", list->path, below);
    const zo2_origin *is = most_telling(list, &name, &rank);
    if (has_weights(list) && (!is || strncmp(name, "adapter_", 8) != 0)) /* what is missing is something else */
        return s;
    if (is)
        return zo2_error(rank < ZO2_ORIGIN_FOREIGN ? ZO2_ERR_UNSUPPORTED : s,
                         "%s has no model that this version reads, but %s (%s); %s", list->path, is->what, name,
                         is->advice);
    if (has_unfinished_download(list->path))
        return zo2_error(s, "%s is an unfinished download: run hf download again", list->path);
    return s;
}

/* The first entry of a folder that is a run directory, as a path; NULL. */
static char *run_below(const zo2_listing *list)
{
    char journal[PATH_MAX];
    struct stat st;
    for (uint64_t i = 0; i < list->n && i < MAX_LOOKS; i++)
        if (snprintf(journal, sizeof journal, "%s/%s/journal.zo2j", list->path, list->names[i]) < (int)sizeof journal &&
            stat(journal, &st) == 0)
            return zo2_path_join(list->path, list->names[i]);
    return NULL;
}

static zo2_status explain_as_run(zo2_status s, const zo2_listing *list)
{
    if (has(list, "journal.zo2j"))
        return s;
    if (has(list, "config.json"))
        return zo2_error(
            s, "%s is a model's folder, not a run directory: give the one that zo2-tune train wrote to (--run)",
            list->path);
    char *run = run_below(list);
    if (run)
        s = zo2_error(s, "%s is not a run directory itself: give the one in it, %s", list->path, run);
    free(run);
    return s;
}

static zo2_status explain_as_bundle(zo2_status s, const zo2_listing *list)
{
    if (has(list, "journal.zo2j"))
        return zo2_error(
            s, "%s is a run directory, not a bundle: zo2-pack export FILE OUT_DIR --run %s makes a model of it",
            list->path, list->path);
    return zo2_error(s, "%s is a folder, not a bundle: give the file that zo2-pack export --journal-only wrote",
                     list->path);
}

zo2_status zo2_explain_folder(zo2_status s, const char *path, zo2_wanted wanted)
{
    zo2_listing list;
    char before[1024];
    snprintf(before, sizeof before, "%s", zo2_last_error()); /* looking may fail, and leave an error of its own */
    char *model = wanted == ZO2_WANT_RUN || wanted == ZO2_WANT_BUNDLE ? NULL : zo2_find_model_folder(path);
    if (zo2_listing_make(&list, path) != ZO2_OK) {
        free(model);
        return zo2_error(s, "%s", before);
    }
    (void)zo2_error(s, "%s", before);
    s = wanted == ZO2_WANT_PACK     ? explain_as_pack(s, &list, model)
        : wanted == ZO2_WANT_RUN    ? explain_as_run(s, &list)
        : wanted == ZO2_WANT_BUNDLE ? explain_as_bundle(s, &list)
                                    : explain_as_model(s, &list, model);
    zo2_listing_free(&list);
    free(model);
    return s;
}
