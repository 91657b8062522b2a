/* export_dir.c: see export_dir.h. */
#include "engine/export/export_dir.h"
#include "storage/io/io.h"

#include "engine/pack/pack_api.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* "model-00001-of-00012.safetensors" */
static int is_shard(const char *name)
{
    static const char pattern[] = "model-#####-of-#####.safetensors";
    size_t n = sizeof pattern - 1;
    if (strlen(name) != n)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (pattern[i] == '#' ? !isdigit((unsigned char)name[i]) : pattern[i] != name[i])
            return 0;
    return 1;
}

static int is_ours(const char *name)
{
    for (const char *const *c = zo2_carried_files; *c; c++)
        if (strcmp(name, *c) == 0)
            return 1;
    return strcmp(name, "model.safetensors") == 0 || strcmp(name, "model.safetensors.index.json") == 0 ||
           strcmp(name, ZO2_ADAPTER_CONFIG) == 0 || strcmp(name, ZO2_ADAPTER_WEIGHTS) == 0 || is_shard(name);
}

/* "config.json.tmp-123": what a killed export was writing. */
static int is_ours_unfinished(const char *name)
{
    const char *end = strstr(name, ".tmp-");
    char whole[64];
    if (!end || (size_t)(end - name) >= sizeof whole)
        return 0;
    memcpy(whole, name, (size_t)(end - name));
    whole[end - name] = '\0';
    return is_ours(whole);
}

static int is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* What is there, if anything, may be replaced if that is wished: no advice to use force where it would be refused. */
static zo2_status check_replaceable(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? ZO2_OK : zo2_io_error("cannot examine", path);
    if (!S_ISDIR(st.st_mode))
        return zo2_error(ZO2_ERR_ARG, "%s exists and is not a directory; choose another name", path);
    DIR *dir = opendir(path);
    if (!dir)
        return zo2_io_error("cannot list", path);
    zo2_status s = ZO2_OK;
    for (struct dirent *e; !s && (e = readdir(dir));)
        if (!is_dot(e->d_name) && !is_ours(e->d_name))
            s = zo2_error(ZO2_ERR_ARG,
                          "%s holds %s, which no export writes, so it isn't replaced; remove it or choose another name",
                          path, e->d_name);
    closedir(dir);
    return s;
}

/* Removes the directory at path with the files of an export in it, unfinished ones included (all: with any files, for
 * what was built here). Anything else makes the last rmdir() fail, and stays. */
static void remove_dir(const char *path, int all)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        if (!is_dot(e->d_name) && (all || is_ours(e->d_name) || is_ours_unfinished(e->d_name)))
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(path);
}

/* "BASE.tmp-PID-I" */
static int is_sibling(const char *base, const char *name)
{
    const size_t n = strlen(base);
    if (strncmp(name, base, n) != 0 || strncmp(name + n, ".tmp-", 5) != 0)
        return 0;
    const char *pid = name + n + 5, *i = pid + strspn(pid, "0123456789");
    return i > pid && *i == '-' && i[1] && i[1 + strspn(i + 1, "0123456789")] == '\0';
}

/* Locks the directory at path: 1 done, 0 somebody else has it or it is gone, -1 this file system can't. *fd is for
 * close(); -1 unless done. */
static int lock_dir(const char *path, int *fd)
{
    struct stat mine, named;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0)
        return 0;
    int locked = flock(*fd, LOCK_EX | LOCK_NB) == 0 ? 1 : errno == EWOULDBLOCK ? 0 : -1;
    if (locked == 1 && (fstat(*fd, &mine) != 0 || lstat(path, &named) != 0 || mine.st_ino != named.st_ino ||
                        mine.st_dev != named.st_dev)) /* removed, or renamed, meanwhile */
        locked = 0;
    if (locked != 1) {
        close(*fd);
        *fd = -1;
    }
    return locked;
}

/* Removes the siblings of path that nobody is building any more. Best effort. */
static void remove_siblings(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        int lock = -1;
        char *name = is_sibling(base, e->d_name) ? zo2_path_join(folder, e->d_name) : NULL;
        if (name && lock_dir(name, &lock) == 1) {
            remove_dir(name, 0);
            close(lock);
        }
        free(name);
    }
    if (dir)
        closedir(dir);
    free(folder);
}

/* A new directory PATH.tmp-PID-I beside path. mkdir() decides which I is free, so two exports never share one. */
static zo2_status make_sibling(const char *path, char **out, int *lock)
{
    size_t n = strlen(path) + 64;
    char *name = malloc(n);
    if (!name)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s", path);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, n, "%s.tmp-%ld-%u", path, (long)getpid(), i);
        if (mkdir(name, 0777) == 0) {
            if (lock_dir(name, lock) == 0) /* another export took it for a leftover before it was locked */
                continue;
            *out = name;
            return ZO2_OK;
        }
        if (errno != EEXIST)
            break;
    }
    zo2_status s = zo2_io_error("cannot make the directory", name);
    free(name);
    return s;
}

zo2_status zo2_export_dir_begin(zo2_export_dir *d, const char *path, int force)
{
    *d = (zo2_export_dir){.force = force, .lock = -1, .path = strdup(path)};
    if (!d->path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s", path);
    for (size_t n = strlen(d->path); n > 1 && d->path[n - 1] == '/'; n--)
        d->path[n - 1] = '\0';
    zo2_status s = check_replaceable(d->path);
    if (!s)
        s = zo2_require_absent(d->path, force);
    if (s)
        return s;
    remove_siblings(d->path);
    return make_sibling(d->path, &d->tmp, &d->lock);
}

zo2_status zo2_export_dir_file(const zo2_export_dir *d, const char *name, const void *data, size_t bytes)
{
    zo2_outfile f = {0};
    char *path = zo2_path_join(d->tmp, name);
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory for the name of %s/%s", d->path, name);
    zo2_status s = zo2_outfile_open(&f, &zo2_io_posix, path, 0);
    if (!s) {
        s = zo2_io_write(&zo2_io_posix, f.fd, data, bytes, 0, path);
        if (!s)
            s = zo2_outfile_commit(&f);
        else
            zo2_outfile_abort(&f);
    }
    free(path);
    return s;
}

/* Swaps the two in one step, so that something complete is at path at every moment; the old one is then at tmp. */
static zo2_status replace(zo2_export_dir *d)
{
    zo2_status s = check_replaceable(d->path);
    if (s)
        return s;
    if (renameat2(AT_FDCWD, d->tmp, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0) {
        remove_dir(d->tmp, 0);
        return ZO2_OK;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != ENOENT)
        return zo2_io_error("cannot replace", d->path);
    /* A file system without the exchange, or nothing to replace. */
    char *old = NULL;
    struct stat st;
    if (lstat(d->path, &st) == 0) {
        int lock = -1;
        if ((s = make_sibling(d->path, &old, &lock)))
            return s;
        if (lock >= 0)
            close(lock);
        if (rename(d->path, old) != 0) { /* onto the empty directory just made */
            s = zo2_io_error("cannot move aside", d->path);
            rmdir(old);
            free(old);
            return s;
        }
    }
    if (rename(d->tmp, d->path) != 0) {
        s = zo2_io_error("cannot rename the finished directory to", d->path);
        if (old && rename(old, d->path) != 0)
            s = zo2_error(s, "%s; the old one is %s", zo2_last_error(), old);
    } else if (old) {
        remove_dir(old, 0);
    }
    free(old);
    return s;
}

zo2_status zo2_export_dir_commit(zo2_export_dir *d)
{
    char *inside = zo2_path_join(d->tmp, "config.json");
    if (!inside)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to finish %s", d->path);
    zo2_status s = zo2_io_sync_parent(&zo2_io_posix, inside); /* the names in it */
    free(inside);
    if (s)
        return s;
    if (d->force)
        s = replace(d);
    else if (!(s = zo2_require_absent(d->path, 0)) && rename(d->tmp, d->path) != 0)
        s = zo2_io_error("cannot rename the finished directory to", d->path);
    if (s)
        return s;
    free(d->tmp);
    d->tmp = NULL;
    return zo2_io_sync_parent(&zo2_io_posix, d->path);
}

void zo2_export_dir_end(zo2_export_dir *d)
{
    if (d->tmp)
        remove_dir(d->tmp, 1);
    if (d->path && d->lock >= 0)
        close(d->lock);
    free(d->tmp);
    free(d->path);
    memset(d, 0, sizeof *d);
}
