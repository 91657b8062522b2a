/* faulty_io.h: a zo2_io table for tests that counts, logs and spoils operations on real files. Header-only.
 *
 *     faulty_io f;
 *     faulty_init(&f);
 *     faulty_arm(&f, FAULTY_WRITES, 3, FAULTY_FAIL, ENOSPC, 0);   // 4th write operation and all later ones: ENOSPC
 *     zo2_journal_create(&j, &f.io, path, &settings);
 *     faulty_free(&f);
 *
 * "Every N" loops: run once unarmed, take faulty_count(&f, mask), then arm N = 0 .. count - 1. Unlink is not in
 * FAULTY_WRITES, so that cleaning up can be tested; FAULTY_ALL with repeat 0 is a process that died at operation N.
 * Closing really closes, even when it is made to fail. Thread-safe. */
#ifndef ZO2_TESTS_UNIT_STORAGE_FAULTY_IO_H
#define ZO2_TESTS_UNIT_STORAGE_FAULTY_IO_H

#include "storage/io/io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { /* operations, a mask */
       FAULTY_OPEN = 1,
       FAULTY_CLOSE = 2,
       FAULTY_PREAD = 4,
       FAULTY_PWRITE = 8,
       FAULTY_FDATASYNC = 16,
       FAULTY_FSYNC = 32,
       FAULTY_FTRUNCATE = 64,
       FAULTY_RENAME = 128,
       FAULTY_UNLINK = 256,
       FAULTY_CLONE = 512,
       FAULTY_ALLOCATE = 1024,
       FAULTY_SYNCS = FAULTY_FDATASYNC | FAULTY_FSYNC,
       FAULTY_WRITES = FAULTY_OPEN | FAULTY_PWRITE | FAULTY_SYNCS | FAULTY_FTRUNCATE | FAULTY_RENAME | FAULTY_ALLOCATE,
       FAULTY_ALL = 2047
};

typedef enum faulty_kind {
    FAULTY_NONE,
    FAULTY_FAIL,  /* -1 and errno, nothing happens; EINTR and EAGAIN with repeat = 1 are the transient ones */
    FAULTY_SHORT, /* transfers: the first half only (at least a byte), no error; other operations: not spoilt */
    FAULTY_TORN,  /* writes: half of the bytes reach the file, then -1 and errno; other operations: as FAULTY_FAIL */
    FAULTY_FLIP,  /* transfers: one bit flipped (middle byte, bit 3), no error; other operations: not spoilt */
    FAULTY_EOF,   /* reads return 0; other operations: not spoilt */
} faulty_kind;

typedef struct faulty_entry {
    int op;
    int fd;       /* -1 where there is none */
    char *path;   /* of fd too, as it was opened; rename: from */
    char *path2;  /* rename: to */
    uint64_t off; /* ftruncate, allocate: the size */
    uint64_t n;
    int64_t result;
    int err;    /* errno if result is -1 */
    void *data; /* with keep_data: the n bytes given to pwrite */
} faulty_entry;

typedef struct faulty_io {
    zo2_io io;          /* hand &f.io to the code under test */
    const zo2_io *base; /* where operations go; zo2_io_posix */
    int keep_data;
    int clones; /* the file system can clone; else EOPNOTSUPP */
    /* armed fault */
    int mask;
    faulty_kind kind;
    int err;
    uint64_t first,
        repeat;       /* matching operations first .. first + repeat - 1 are spoilt; repeat 0: all from first on */
    uint64_t matched; /* since faulty_arm() */
    uint64_t spoilt;  /* the same, those that were spoilt */
    /* log since faulty_init() */
    faulty_entry *log;
    size_t entries, cap;
    char *paths[4096]; /* of open descriptors */
    /* Called after every operation, in order, under the lock (it must not use this table); may be NULL. */
    void (*hook)(void *ud, const faulty_entry *e);
    void *hook_ud;
    pthread_mutex_t lock;
} faulty_io;

/* ---- operations -------------------------------------------------------------------------------------------------- */

static inline faulty_kind faulty_begin(faulty_io *f, int op)
{
    pthread_mutex_lock(&f->lock);
    if (!(op & f->mask))
        return FAULTY_NONE;
    uint64_t i = f->matched++;
    if (f->kind == FAULTY_NONE || i < f->first || (f->repeat && i >= f->first + f->repeat))
        return FAULTY_NONE;
    int transfer = op & (FAULTY_PREAD | FAULTY_PWRITE);
    if ((f->kind == FAULTY_SHORT || f->kind == FAULTY_FLIP) && !transfer)
        return FAULTY_NONE;
    if (f->kind == FAULTY_EOF && op != FAULTY_PREAD)
        return FAULTY_NONE;
    f->spoilt++;
    return f->kind == FAULTY_TORN && op != FAULTY_PWRITE ? FAULTY_FAIL : f->kind;
}

static inline int64_t faulty_end(faulty_io *f, int op, int fd, const char *path, const char *path2, uint64_t off,
                                 uint64_t n, const void *data, int64_t result)
{
    int err = errno;
    if (f->entries == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 256;
        f->log = realloc(f->log, f->cap * sizeof *f->log);
        if (!f->log)
            abort();
    }
    if (!path && fd >= 0 && fd < 4096)
        path = f->paths[fd];
    faulty_entry *e = &f->log[f->entries++];
    *e = (faulty_entry){.op = op, .fd = fd, .off = off, .n = n, .result = result, .err = result < 0 ? err : 0};
    e->path = path ? strdup(path) : NULL;
    e->path2 = path2 ? strdup(path2) : NULL;
    if (data && f->keep_data && n > 0) {
        e->data = malloc(n);
        if (!e->data)
            abort();
        memcpy(e->data, data, n);
    }
    if (f->hook)
        f->hook(f->hook_ud, e);
    pthread_mutex_unlock(&f->lock);
    errno = err;
    return result;
}

static inline int faulty_op_open(void *ud, const char *path, int flags, int mode)
{
    faulty_io *f = ud;
    int fd = -1;
    if (faulty_begin(f, FAULTY_OPEN) == FAULTY_FAIL)
        errno = f->err;
    else
        fd = f->base->open(f->base->ud, path, flags, mode);
    if (fd >= 0 && fd < 4096) {
        free(f->paths[fd]);
        f->paths[fd] = strdup(path);
    }
    return (int)faulty_end(f, FAULTY_OPEN, fd, path, NULL, 0, 0, NULL, fd);
}

static inline int faulty_op_close(void *ud, int fd)
{
    faulty_io *f = ud;
    int spoilt = faulty_begin(f, FAULTY_CLOSE) == FAULTY_FAIL;
    int rc = f->base->close(f->base->ud, fd);
    if (spoilt) {
        errno = f->err;
        rc = -1;
    }
    rc = (int)faulty_end(f, FAULTY_CLOSE, fd, NULL, NULL, 0, 0, NULL, rc);
    return rc;
}

static inline ssize_t faulty_op_pread(void *ud, int fd, void *buf, size_t n, off_t off)
{
    faulty_io *f = ud;
    ssize_t r = -1;
    switch (faulty_begin(f, FAULTY_PREAD)) {
    case FAULTY_FAIL: errno = f->err; break;
    case FAULTY_EOF: r = 0; break;
    case FAULTY_SHORT: r = f->base->pread(f->base->ud, fd, buf, n > 1 ? n / 2 : n, off); break;
    case FAULTY_FLIP:
        r = f->base->pread(f->base->ud, fd, buf, n, off);
        if (r > 0)
            ((unsigned char *)buf)[r / 2] ^= 8;
        break;
    default: r = f->base->pread(f->base->ud, fd, buf, n, off); break;
    }
    return (ssize_t)faulty_end(f, FAULTY_PREAD, fd, NULL, NULL, (uint64_t)off, n, NULL, r);
}

static inline ssize_t faulty_op_pwrite(void *ud, int fd, const void *buf, size_t n, off_t off)
{
    faulty_io *f = ud;
    ssize_t r = -1;
    switch (faulty_begin(f, FAULTY_PWRITE)) {
    case FAULTY_FAIL: errno = f->err; break;
    case FAULTY_SHORT: r = f->base->pwrite(f->base->ud, fd, buf, n > 1 ? n / 2 : n, off); break;
    case FAULTY_TORN:
        if (n / 2 > 0 && f->base->pwrite(f->base->ud, fd, buf, n / 2, off) < 0)
            break;
        errno = f->err;
        break;
    case FAULTY_FLIP: {
        unsigned char *copy = malloc(n ? n : 1);
        if (!copy)
            abort();
        memcpy(copy, buf, n);
        if (n > 0)
            copy[n / 2] ^= 8;
        r = f->base->pwrite(f->base->ud, fd, copy, n, off);
        free(copy);
        break;
    }
    default: r = f->base->pwrite(f->base->ud, fd, buf, n, off); break;
    }
    return (ssize_t)faulty_end(f, FAULTY_PWRITE, fd, NULL, NULL, (uint64_t)off, n, buf, r);
}

static inline int faulty_op_fdatasync(void *ud, int fd)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_FDATASYNC) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->fdatasync(f->base->ud, fd);
    return (int)faulty_end(f, FAULTY_FDATASYNC, fd, NULL, NULL, 0, 0, NULL, rc);
}

static inline int faulty_op_fsync(void *ud, int fd)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_FSYNC) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->fsync(f->base->ud, fd);
    return (int)faulty_end(f, FAULTY_FSYNC, fd, NULL, NULL, 0, 0, NULL, rc);
}

static inline int faulty_op_ftruncate(void *ud, int fd, off_t size)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_FTRUNCATE) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->ftruncate(f->base->ud, fd, size);
    return (int)faulty_end(f, FAULTY_FTRUNCATE, fd, NULL, NULL, (uint64_t)size, 0, NULL, rc);
}

static inline int faulty_op_rename(void *ud, const char *from, const char *to)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_RENAME) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->rename(f->base->ud, from, to);
    return (int)faulty_end(f, FAULTY_RENAME, -1, from, to, 0, 0, NULL, rc);
}

static inline int faulty_op_unlink(void *ud, const char *path)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_UNLINK) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->unlink(f->base->ud, path);
    return (int)faulty_end(f, FAULTY_UNLINK, -1, path, NULL, 0, 0, NULL, rc);
}

/* Copies: what the file system would share. */
static inline int faulty_op_clone(void *ud, int from, int to)
{
    faulty_io *f = ud;
    char page[4096];
    ssize_t n = 0;
    int rc = f->clones ? 0 : -1;
    if (faulty_begin(f, FAULTY_CLONE) == FAULTY_FAIL) {
        errno = f->err;
        rc = -1;
    } else if (!f->clones) {
        errno = EOPNOTSUPP;
    }
    for (off_t at = 0; rc == 0 && (n = f->base->pread(f->base->ud, from, page, sizeof page, at)) > 0; at += n)
        rc = f->base->pwrite(f->base->ud, to, page, (size_t)n, at) == n ? 0 : -1;
    return (int)faulty_end(f, FAULTY_CLONE, to, NULL, NULL, 0, 0, NULL, rc);
}

static inline int faulty_op_allocate(void *ud, int fd, off_t size)
{
    faulty_io *f = ud;
    int rc = -1;
    if (faulty_begin(f, FAULTY_ALLOCATE) == FAULTY_FAIL)
        errno = f->err;
    else
        rc = f->base->allocate(f->base->ud, fd, size);
    return (int)faulty_end(f, FAULTY_ALLOCATE, fd, NULL, NULL, (uint64_t)size, 0, NULL, rc);
}

/* ---- for tests --------------------------------------------------------------------------------------------------- */

static inline void faulty_init(faulty_io *f)
{
    memset(f, 0, sizeof *f);
    f->base = &zo2_io_posix;
    pthread_mutex_init(&f->lock, NULL);
    f->io = (zo2_io){
        .ud = f,
        .open = faulty_op_open,
        .close = faulty_op_close,
        .pread = faulty_op_pread,
        .pwrite = faulty_op_pwrite,
        .fdatasync = faulty_op_fdatasync,
        .fsync = faulty_op_fsync,
        .ftruncate = faulty_op_ftruncate,
        .rename = faulty_op_rename,
        .unlink = faulty_op_unlink,
        .clone = faulty_op_clone,
        .allocate = faulty_op_allocate,
    };
}

static inline void faulty_clear_log(faulty_io *f)
{
    for (size_t i = 0; i < f->entries; i++) {
        free(f->log[i].path);
        free(f->log[i].path2);
        free(f->log[i].data);
    }
    f->entries = 0;
}

static inline void faulty_free(faulty_io *f)
{
    faulty_clear_log(f);
    free(f->log);
    for (int i = 0; i < 4096; i++)
        free(f->paths[i]);
    pthread_mutex_destroy(&f->lock);
}

/* Of the operations in mask that come from now on, spoils number `first` (from 0) and the repeat - 1 after it; repeat
 * 0: every one from then on. FAULTY_NONE disarms. */
static inline void faulty_arm(faulty_io *f, int mask, uint64_t first, faulty_kind kind, int err, uint64_t repeat)
{
    f->mask = mask;
    f->kind = kind;
    f->err = err;
    f->first = first;
    f->repeat = repeat;
    f->matched = 0;
    f->spoilt = 0;
}

/* Operations of mask in the log. */
static inline uint64_t faulty_count(const faulty_io *f, int mask)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->entries; i++)
        n += (f->log[i].op & mask) != 0;
    return n;
}

/* Index of the first entry at or after `from` that is in mask and, unless NULL, whose path ends with suffix; -1: none.
 */
static inline long faulty_find(const faulty_io *f, size_t from, int mask, const char *suffix)
{
    size_t ns = suffix ? strlen(suffix) : 0;
    for (size_t i = from; i < f->entries; i++) {
        const faulty_entry *e = &f->log[i];
        size_t np = e->path ? strlen(e->path) : 0;
        if ((e->op & mask) && (!suffix || (np >= ns && strcmp(e->path + np - ns, suffix) == 0)))
            return (long)i;
    }
    return -1;
}

#endif
