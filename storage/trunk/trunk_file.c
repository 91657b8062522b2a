/* trunk_file.c: see trunk_file.h. Records are only added, each one's payload before its header: what a process that was killed
 * leaves behind the last whole record has no header, and who reads while another process writes sees whole records only. */
#include "storage/trunk/trunk_file.h"
#include "storage/io/io.h"
#include "storage/trunk/trunk_format.h"
#include "storage/trunk/trunk_index.h"
#include "storage/trunk/trunk_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define START_WRITING (UINT64_C(4) << 20) /* bytes added before the drive is told to begin */

void zo2_trunk_say(const zo2_trunk_config *c, zo2_log_level level, const char *format, ...)
{
    char text[1024];
    va_list args;
    if (!c->log)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->log(c->log_ud, level, text);
}

char *zo2_trunk_path(const char *dir, uint64_t run)
{
    char name[40];
    snprintf(name, sizeof name, "trunk-%016" PRIx64 ".zo2t", run);
    return zo2_path_join(dir, name);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* An empty file with a header. Failing to write it is what a full disk does: the run goes on without this file. */
static void begin(zo2_trunk_file *f, const zo2_trunk_config *c, uint64_t size)
{
    zo2_trunk_head h = {
        .version = ZO2_TRUNK_VERSION, .head_bytes = ZO2_TRUNK_HEAD_BYTES, .run = c->run, .identity = c->identity};
    memcpy(h.magic, ZO2_TRUNK_MAGIC, sizeof h.magic);
    h.hash = zo2_trunk_head_hash(&h);
    zo2_status s = ZO2_OK;
    if (size && f->io->ftruncate(f->io->ud, f->fd, 0))
        s = zo2_io_error("cannot empty", f->path);
    if (!s)
        s = zo2_io_write(f->io, f->fd, &h, sizeof h, 0, f->path);
    f->takes = !s;
    f->seed = h.hash;
    f->end = sizeof h;
    if (s)
        zo2_trunk_say(c, ZO2_LOG_WARNING, "%s; no rows are kept there", zo2_last_error());
}

/* Behind the last whole record is what a killed writer or a damaged header leaves. It goes, because the next record comes there. */
static void cut(zo2_trunk_file *f, const zo2_trunk_config *c, uint64_t size)
{
    if (!f->takes || size <= f->end)
        return;
    if (f->io->ftruncate(f->io->ud, f->fd, (off_t)f->end)) {
        f->takes = 0;
        (void)zo2_io_error("cannot cut", f->path);
        zo2_trunk_say(c, ZO2_LOG_WARNING, "%s; no more rows are kept there", zo2_last_error());
        return;
    }
    zo2_trunk_say(c, ZO2_LOG_INFO, "%s: its last %" PRIu64 " bytes are no whole entry and were cut off", f->path,
                  size - f->end);
}

static void load(zo2_trunk_file *f, const zo2_trunk_config *c, uint64_t size, uint32_t part, zo2_trunk_index *index)
{
    zo2_trunk_head h;
    const char *fault = size < sizeof h ? "it is shorter than its header" : NULL;
    zo2_status s = fault ? ZO2_OK : zo2_io_read(f->io, f->fd, &h, sizeof h, 0, f->path);
    if (!s && !fault)
        fault = zo2_trunk_head_fault(&h, c);
    if (fault) {
        if (size)
            zo2_trunk_say(c, ZO2_LOG_INFO, "%s: %s; it is %s", f->path, fault, f->takes ? "begun anew" : "left out");
        if (f->takes)
            begin(f, c, size);
        return;
    }
    if (!s) {
        f->seed = h.hash;
        s = zo2_trunk_scan(f, size, part, index);
    }
    if (s) { /* what can't be read now may be readable later: it stays as it is */
        f->takes = 0;
        zo2_trunk_say(c, ZO2_LOG_WARNING,
                      "%s; rows that were kept there are computed again, and no more are kept there", zo2_last_error());
        return;
    }
    cut(f, c, size);
}

/* Readers take no lock: records are only added, and their checksums tell if the file is begun anew meanwhile. */
static void lock(zo2_trunk_file *f, const zo2_trunk_config *c)
{
    int rc;
    do
        rc = flock(f->fd, LOCK_EX | LOCK_NB);
    while (rc && errno == EINTR);
    f->takes = !rc;
    if (rc && errno == EWOULDBLOCK)
        zo2_trunk_say(c, ZO2_LOG_WARNING, "%s is in use by another process: rows are read from it and none are added",
                      f->path);
    else if (rc)
        zo2_trunk_say(c, ZO2_LOG_WARNING, "cannot lock %s: %s; rows are read from it and none are added", f->path,
                      strerror(errno));
}

/* A file that can't be opened is an error for who would write; who reads does without. */
static zo2_status open_path(zo2_trunk_file *f, const zo2_trunk_config *c, const char *dir)
{
    const int flags = (c->writable ? O_RDWR | O_CREAT : O_RDONLY) | O_NONBLOCK; /* no hanging on a FIFO */
    zo2_status s = c->writable ? zo2_make_folder(f->io, dir) : ZO2_OK;
    if (s)
        return s;
    f->fd = f->io->open(f->io->ud, f->path, flags, 0666);
    if (f->fd >= 0)
        return ZO2_OK;
    if (c->writable)
        return zo2_io_error("cannot open the trunk cache", f->path);
    if (errno != ENOENT && errno != ENOTDIR) {
        (void)zo2_io_error("cannot open the trunk cache", f->path);
        zo2_trunk_say(c, ZO2_LOG_WARNING, "%s; its rows are computed again", zo2_last_error());
    }
    return ZO2_OK;
}

zo2_status zo2_trunk_file_open(zo2_trunk_file *f, const zo2_trunk_config *c, uint32_t part, zo2_trunk_index *index)
{
    *f = (zo2_trunk_file){.io = c->io, .fd = -1, .path = zo2_trunk_path(c->dirs[part], c->run)};
    if (!f->path)
        return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory to open a trunk cache", c->dirs[part]);
    zo2_status s = open_path(f, c, c->dirs[part]);
    if (s == ZO2_ERR_NOSPACE) { /* no room for a new file: full before it began */
        zo2_trunk_say(c, ZO2_LOG_WARNING, "%s; no rows are kept there", zo2_last_error());
        return ZO2_OK;
    }
    if (s || f->fd < 0)
        return s;
    struct stat st;
    if (fstat(f->fd, &st))
        return zo2_io_error("cannot examine", f->path);
    if (!S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_EXISTS, "%s is in the way of a trunk cache and not a regular file; remove it",
                         f->path);
    f->device = (uint64_t)st.st_dev;
    f->inode = (uint64_t)st.st_ino;
    if (c->writable) {
        lock(f, c);
        if (fstat(f->fd, &st)) /* its length before the lock was another writer's affair */
            return zo2_io_error("cannot examine", f->path);
        f->unnamed = f->takes;
    }
    load(f, c, (uint64_t)st.st_size, part, index);
    f->started = f->end;
    return ZO2_OK;
}

void zo2_trunk_file_close(zo2_trunk_file *f)
{
    if (f->path && f->fd >= 0)
        f->io->close(f->io->ud, f->fd);
    free(f->path);
    *f = (zo2_trunk_file){.fd = -1};
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* Little by little, so that a sync has little left to do. */
static void start_writing(zo2_trunk_file *f)
{
    if (f->end - f->started < START_WRITING)
        return;
    zo2_io_start_writing(f->fd, f->started, f->end - f->started);
    f->started = f->end;
}

zo2_status zo2_trunk_file_add(zo2_trunk_file *f, zo2_trunk_entry *e, const void *src)
{
    e->at = f->end + ZO2_TRUNK_RECORD_BYTES;
    e->hash = XXH3_64bits(src, (size_t)e->bytes);
    zo2_trunk_record r = {.magic = ZO2_TRUNK_RECORD_MAGIC, .key = e->key, .bytes = e->bytes, .payload_hash = e->hash};
    r.hash = zo2_trunk_record_hash(&r, f->seed);
    zo2_status s = e->bytes ? zo2_io_write(f->io, f->fd, src, e->bytes, e->at, f->path) : ZO2_OK;
    if (!s)
        s = zo2_io_write(f->io, f->fd, &r, sizeof r, f->end, f->path);
    if (s) {
        f->takes = 0;
        (void)f->io->ftruncate(f->io->ud, f->fd, (off_t)f->end); /* room for others; else the next open cuts it */
        return s;
    }
    f->end += zo2_trunk_entry_bytes(e->bytes);
    f->bytes += zo2_trunk_entry_bytes(e->bytes);
    f->unsynced = 1;
    start_writing(f);
    return ZO2_OK;
}

zo2_status zo2_trunk_file_read(const zo2_trunk_file *f, const zo2_trunk_entry *e, void *dst)
{
    return e->bytes ? zo2_io_read(f->io, f->fd, dst, e->bytes, e->at, f->path) : ZO2_OK;
}

/* A failed sync is never repeated: what it should have written may be gone from memory. */
zo2_status zo2_trunk_file_sync(zo2_trunk_file *f)
{
    if (f->fd < 0 || !f->unsynced)
        return ZO2_OK;
    zo2_status s = ZO2_OK;
    if (f->io->fdatasync(f->io->ud, f->fd))
        s = zo2_io_error("cannot sync", f->path);
    if (!s && f->unnamed)
        s = zo2_io_sync_parent(f->io, f->path);
    f->unsynced = f->unnamed = 0;
    f->takes = f->takes && !s;
    return s;
}
