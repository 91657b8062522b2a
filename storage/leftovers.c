/* leftovers.c: removes temporary files whose writer is gone. */
#include "storage/leftovers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
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
