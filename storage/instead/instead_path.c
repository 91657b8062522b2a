/* instead_path.c: a path at which a file was wanted: what is there, or why nothing is. */
#include "storage/instead/instead.h"
#include "storage/io/io.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES 4096

/* ---- nothing is there ------------------------------------------------------------------------------------------------- */

static int is_url(const char *path)
{
    return strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0 || strncmp(path, "hf://", 5) == 0;
}

static int ends_like_a_file(const char *name)
{
    static const char *const endings[] = {".zo2", ".safetensors", ".json", ".jsonl", ".bin", ".pt", ".txt"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (n >= strlen(endings[i]) && strcmp(name + n - strlen(endings[i]), endings[i]) == 0)
            return 1;
    return 0;
}

/* ORG/NAME, and no folder ORG here: as models of the hub are called. */
static int is_hub_id(const char *path)
{
    struct stat st;
    char org[128];
    const char *slash = strchr(path, '/');
    if (!slash || !isalnum((unsigned char)path[0]) || !isalnum((unsigned char)slash[1]) ||
        (size_t)(slash - path) >= sizeof org)
        return 0;
    for (const char *c = path; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c) && c != slash)
            return 0;
    snprintf(org, sizeof org, "%.*s", (int)(slash - path), path);
    return !ends_like_a_file(slash + 1) && stat(org, &st) != 0;
}

static zo2_status explain_missing(zo2_status s, const char *path, zo2_wanted wanted)
{
    char target[256];
    ssize_t n = readlink(path, target, sizeof target - 1);
    const char *then = wanted == ZO2_WANT_PACK ? "; then zo2-pack convert makes a pack of it" : "";
    if (n >= 0)
        return zo2_error(
            s,
            "%s is a symbolic link to %.*s, which isn't there: copy what it should lead to, too (cp -L follows links), or "
            "download it again",
            path, (int)n, target);
    if (is_url(path))
        return zo2_error(
            s, "%s is an address, not a path: download the model first (hf download ORG/NAME --local-dir DIR)%s", path,
            then);
    if (path[0] == '~')
        return zo2_error(s, "there is no %s: the shell left the ~ as it is; write $HOME for it", path);
    if (is_hub_id(path))
        return zo2_error(
            s,
            "there is no folder %s here. If a model of the Hugging Face hub is meant, download it first: hf download %s "
            "--local-dir %s%s",
            path, path, strchr(path, '/') + 1, then);
    return s;
}

/* ---- a file ----------------------------------------------------------------------------------------------------------- */

/* Browsers and programs leave a file of this name beside a download that isn't finished. */
static const char *unfinished_beside(const char *path, char *beside, size_t n)
{
    static const char *const endings[] = {".aria2", ".incomplete", ".part", ".partial", ".crdownload", ".download"};
    struct stat st;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (snprintf(beside, n, "%s%s", path, endings[i]) < (int)n && stat(beside, &st) == 0)
            return beside;
    return NULL;
}

static const zo2_origin *look_at_bytes(const char *path, uint64_t size)
{
    unsigned char first[FIRST_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : pread(fd, first, sizeof first, 0);
    if (fd >= 0)
        close(fd);
    return n < 0 ? NULL : zo2_origin_of_bytes(first, (size_t)n, n ? size : 0);
}

zo2_status zo2_explain_file(zo2_status s, const char *path, zo2_wanted wanted)
{
    char beside[1024];
    struct stat st;
    unsigned rank;
    if (stat(path, &st) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return s;
        if (unfinished_beside(path, beside, sizeof beside))
            return zo2_error(s, "%s isn't there yet: %s is an unfinished download; let it finish, or begin it again",
                             path, beside);
        return explain_missing(s, path, wanted);
    }
    if (S_ISDIR(st.st_mode))
        return zo2_explain_folder(s, path, wanted);
    if (!S_ISREG(st.st_mode))
        return s;
    if (unfinished_beside(path, beside, sizeof beside))
        return zo2_error(
            s,
            "%s isn't complete: %s, which is beside it, belongs to an unfinished download; let it finish, or begin it again",
            path, beside);
    const zo2_origin *is = look_at_bytes(path, (uint64_t)st.st_size);
    if (!is || (is->fits & (unsigned)wanted)) {
        const zo2_origin *named = zo2_origin_of_name(zo2_path_name(path), &rank);
        is = named && !(named->fits & (unsigned)wanted) ? named : NULL;
    }
    return is ? zo2_error(s, "%s is %s; %s", path, is->what, is->advice) : s;
}
