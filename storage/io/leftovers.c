/* leftovers.c: removes temporary files whose writer is gone. */
#include "storage/io/leftovers.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

void zo2_leftovers_remove(const zo2_io *io, const char *dir, int (*ours)(void *ud, const char *name), void *ud)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (!ours(ud, e->d_name))
            continue;
        const int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        if (fd < 0)
            continue;
        char *path = zo2_path_join(dir, e->d_name);
        if (path && flock(fd, LOCK_EX | LOCK_NB) == 0)
            io->unlink(io->ud, path);
        free(path);
        close(fd);
    }
    closedir(d);
}

static int is_writer_of(void *ud, const char *name)
{
    const char *base = ud;
    const size_t n = strlen(base);
    if (strncmp(name, base, n) != 0 || strncmp(name + n, ".tmp-", 5) != 0 || !name[n + 5])
        return 0;
    for (const char *p = name + n + 5; *p; p++)
        if (!isdigit((unsigned char)*p))
            return 0;
    return 1;
}

void zo2_outfile_clean(const zo2_io *io, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!dir)
        return;
    zo2_leftovers_remove(io, dir, is_writer_of, (void *)(slash ? slash + 1 : path));
    free(dir);
}
