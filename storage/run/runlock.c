/* runlock.c: one process per run directory. flock is the kernel's: it goes with its holder, however that ends. The
 * holder's process id is written into the file for the message only. */
#include "storage/io/io.h"
#include "storage/run/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static zo2_status busy(const char *dir, int fd)
{
    char text[24];
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    const unsigned long pid = strtoul(text, NULL, 10);
    if (pid)
        return zo2_error(ZO2_ERR_BUSY, "%s: in use by process %lu; wait for it or end it", dir, pid);
    return zo2_error(ZO2_ERR_BUSY, "%s: in use by another process; wait for it or end it", dir);
}

static void sign(int fd)
{
    char text[24];
    const int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
        return; /* a full disk doesn't matter here */
}

static int flock_now(int fd)
{
    int r;
    do
        r = flock(fd, LOCK_EX | LOCK_NB);
    while (r && errno == EINTR);
    return r;
}

zo2_status zo2_run_lock(const char *dir, int *fd)
{
    *fd = -1;
    char *path = zo2_path_join(dir, "lock");
    if (!path)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory", dir);
    zo2_status s = ZO2_OK;
    const int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (lock < 0) {
        s = zo2_io_error("cannot open", path);
    } else if (flock_now(lock)) {
        s = errno == EWOULDBLOCK ? busy(dir, lock) : zo2_io_error("cannot lock", path);
    }
    if (s) {
        if (lock >= 0)
            close(lock);
    } else {
        sign(lock);
        *fd = lock;
    }
    free(path);
    return s;
}
