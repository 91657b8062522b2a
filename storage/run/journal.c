/* journal.c: the journal as a file: creating, loading, appending. The bytes are journal_format.c's.
 *
 * Relies on: one writer per run (zo2_run_lock), and that a record is durable when fdatasync has returned 0. A failed
 * write or sync ends the handle: after a failed fsync the kernel may have dropped the dirty pages, so a second fsync
 * that succeeds would prove nothing. */
#include "storage/run/journal.h"

#include "storage/instead/instead.h"
#include "storage/run/journal_format.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536 /* records are loaded in pieces of about this size */

typedef struct entry {
    zo2_journal_record record;
    uint64_t chain; /* chain value after it */
} entry;

struct zo2_journal {
    const zo2_io *io;
    char *path;
    int fd;
    int writable;
    int failed; /* an append failed: no more of them */
    zo2_run_settings settings;
    char *tune; /* settings.tune */
    size_t record_bytes;
    uint64_t head_hash; /* chain value 0 */
    uint64_t end;       /* bytes of header and valid records */
    uint64_t torn;
    uint64_t steps, capacity;
    entry *entries;
};

static zo2_status out_of_memory(const char *path)
{
    return zo2_error(ZO2_ERR_NOMEM, "%s: out of memory for the journal's records", path);
}

zo2_status zo2_journal_reserve(zo2_journal *j, uint64_t capacity)
{
    if (capacity <= j->capacity)
        return ZO2_OK;
    if (capacity > SIZE_MAX / sizeof(entry))
        return out_of_memory(j->path);
    entry *entries = realloc(j->entries, (size_t)capacity * sizeof(entry));
    if (!entries)
        return out_of_memory(j->path);
    j->entries = entries;
    j->capacity = capacity;
    return ZO2_OK;
}

/* Room for one more record. */
static zo2_status reserve(zo2_journal *j)
{
    return j->steps < j->capacity ? ZO2_OK : zo2_journal_reserve(j, j->capacity ? 2 * j->capacity : 256);
}

static zo2_status file_size(const zo2_journal *j, uint64_t *size)
{
    struct stat st;
    if (fstat(j->fd, &st))
        return zo2_io_error("cannot examine", j->path);
    if (!S_ISREG(st.st_mode))
        return zo2_error(ZO2_ERR_FORMAT, "%s: not a regular file", j->path);
    *size = (uint64_t)st.st_size;
    return ZO2_OK;
}

/* What follows the header. */
static zo2_status load_tune(zo2_journal *j, const zo2_journal_head *h, uint64_t size)
{
    const uint64_t bytes = zo2_journal_tune_room(h);
    if (size < h->header_bytes)
        return zo2_error(
            ZO2_ERR_FORMAT,
            "%s: %llu bytes, where the choice of tensors alone ends at %u: it was cut; restore it from a copy", j->path,
            (unsigned long long)size, h->header_bytes);
    unsigned char *text = malloc(bytes + 1);
    if (!text)
        return out_of_memory(j->path);
    zo2_status s = zo2_io_read(j->io, j->fd, text, bytes, sizeof *h, j->path);
    if (!s)
        s = zo2_journal_decode_tune(h, text, j->path, &j->tune);
    free(text);
    j->settings.tune = j->tune;
    return s;
}

static zo2_status load_head(zo2_journal *j, uint64_t size)
{
    zo2_journal_head h;
    if (size < sizeof h)
        return zo2_explain_file(
            zo2_error(ZO2_ERR_FORMAT,
                      "%s: %llu bytes, shorter than a journal's header: the run holds no steps yet, remove the "
                      "file to start it again",
                      j->path, (unsigned long long)size),
            j->path, ZO2_WANT_JOURNAL);
    zo2_status s = zo2_io_read(j->io, j->fd, &h, sizeof h, 0, j->path);
    if (!s && (s = zo2_journal_decode_head(&h, &j->settings, j->path)))
        s = zo2_explain_file(s, j->path, ZO2_WANT_JOURNAL);
    if (!s)
        s = load_tune(j, &h, size);
    if (s)
        return s;
    j->head_hash = h.hash;
    j->record_bytes = ZO2_JOURNAL_RECORD_BYTES(j->settings.queries);
    j->end = h.header_bytes;
    return ZO2_OK;
}

/* Takes the record at j->end from raw. *torn = 1: its checksum is wrong and nothing follows it. */
static zo2_status load_record(zo2_journal *j, const unsigned char *raw, uint64_t size, int *torn)
{
    const uint64_t step = j->steps, left = size - j->end;
    const uint64_t chain = zo2_journal_checksum(raw, j->record_bytes, zo2_journal_chain(j, step));
    if (chain != zo2_journal_stored_checksum(raw, j->record_bytes)) {
        *torn = left == j->record_bytes;
        if (*torn)
            return ZO2_OK;
        return zo2_error(
            ZO2_ERR_FORMAT,
            "%s: the record of step %llu at byte %llu is damaged (checksum) and %llu bytes follow it. Nothing "
            "was changed. Restore the file from a copy; or keep a copy, cut it with truncate -s %llu and "
            "resume from there",
            j->path, (unsigned long long)step, (unsigned long long)j->end, (unsigned long long)(left - j->record_bytes),
            (unsigned long long)j->end);
    }
    if (step >= ZO2_JOURNAL_MAX_STEPS)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: more than %llu steps", j->path,
                         (unsigned long long)ZO2_JOURNAL_MAX_STEPS);
    zo2_status s = reserve(j);
    if (s)
        return s;
    entry *e = &j->entries[step];
    /* The checksum is right, so this is no torn write: never cut it off, even if it is the last. */
    const char *fault = zo2_journal_decode(&e->record, raw, j->settings.queries, step);
    if (fault)
        return zo2_error(ZO2_ERR_FORMAT, "%s: the record of step %llu at byte %llu can't be used: %s", j->path,
                         (unsigned long long)step, (unsigned long long)j->end, fault);
    e->chain = chain;
    j->steps++;
    j->end += j->record_bytes;
    return ZO2_OK;
}

/* Loads the valid records; what is left behind them is j->torn bytes, at most a record's. */
static zo2_status load_records(zo2_journal *j, uint64_t size)
{
    unsigned char *buffer = malloc(READ_BYTES);
    if (!buffer)
        return out_of_memory(j->path);
    static_assert(READ_BYTES >= ZO2_JOURNAL_MAX_RECORD_BYTES, "a record fits");
    zo2_status s = ZO2_OK;
    int torn = 0;
    while (!torn && size - j->end >= j->record_bytes) {
        uint64_t n = (size - j->end) / j->record_bytes;
        if (n > READ_BYTES / j->record_bytes)
            n = READ_BYTES / j->record_bytes;
        s = zo2_io_read(j->io, j->fd, buffer, n * j->record_bytes, j->end, j->path);
        if (s == ZO2_ERR_FORMAT && !j->writable) { /* a writer beside us may have cut a torn tail in between */
            uint64_t now;
            if (!file_size(j, &now) && now < size && now >= j->end) {
                size = now;
                s = ZO2_OK;
                continue;
            }
        }
        for (uint64_t i = 0; !s && !torn && i < n; i++)
            s = load_record(j, buffer + i * j->record_bytes, size, &torn);
        if (s)
            break;
    }
    free(buffer);
    j->torn = size - j->end;
    return s;
}

/* Makes what was loaded durable before anything builds on it. A writer that was killed may have left its last record in
 * the page cache only; one whose fsync failed may have left it there as if it were clean. So the last record is written
 * again: the same bytes, hence nothing can be lost by it. All before it were acknowledged. */
static zo2_status settle(zo2_journal *j)
{
    const zo2_io *io = j->io;
    if (j->torn && io->ftruncate(io->ud, j->fd, (off_t)j->end))
        return zo2_io_error("cannot cut the torn tail of", j->path);
    if (j->steps) {
        unsigned char raw[ZO2_JOURNAL_MAX_RECORD_BYTES];
        zo2_journal_encode(raw, &j->entries[j->steps - 1].record, zo2_journal_chain(j, j->steps - 1));
        zo2_status s = zo2_io_write(io, j->fd, raw, j->record_bytes, j->end - j->record_bytes, j->path);
        if (s)
            return s;
    }
    if (io->fdatasync(io->ud, j->fd))
        return zo2_io_error("cannot sync", j->path);
    return zo2_io_sync_parent(io, j->path);
}

zo2_status zo2_journal_open(zo2_journal **out, const zo2_io *io, const char *path, int writable)
{
    *out = NULL;
    zo2_journal *j = calloc(1, sizeof *j);
    if (!j)
        return out_of_memory(path);
    j->io = io;
    j->fd = -1;
    j->writable = writable;
    zo2_status s = ZO2_OK;
    uint64_t size = 0;
    j->path = strdup(path);
    if (!j->path)
        s = out_of_memory(path);
    if (!s) {
        /* O_NONBLOCK: a FIFO under this name must not hang us; it means nothing to a regular file. */
        j->fd = io->open(io->ud, path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK, 0);
        if (j->fd < 0)
            s = zo2_io_error("cannot open", path);
    }
    if (!s)
        s = file_size(j, &size);
    if (!s)
        s = load_head(j, size);
    if (!s)
        s = load_records(j, size);
    if (!s && writable)
        s = settle(j);
    if (s) {
        zo2_journal_close(j);
        return s;
    }
    *out = j;
    return ZO2_OK;
}

static zo2_status write_head(const zo2_io *io, int fd, const zo2_journal_head *h, const zo2_run_settings *settings,
                             const char *path)
{
    unsigned char *bytes = malloc(h->header_bytes);
    if (!bytes)
        return out_of_memory(path);
    memcpy(bytes, h, sizeof *h);
    zo2_journal_encode_tune(h, settings, bytes + sizeof *h);
    zo2_status s = zo2_io_write(io, fd, bytes, h->header_bytes, 0, path);
    free(bytes);
    return s;
}

zo2_status zo2_journal_create(zo2_journal **out, const zo2_io *io, const char *path, const zo2_run_settings *settings)
{
    *out = NULL;
    zo2_status s = zo2_journal_check_settings(settings, ZO2_ERR_ARG, "settings of the run");
    if (s)
        return s;
    zo2_journal_head h;
    zo2_journal_encode_head(&h, settings);

    /* Under a temporary name first, so that a journal with half a header never exists. */
    zo2_outfile f = {0};
    s = zo2_outfile_open(&f, io, path, 0);
    if (s)
        return s;
    s = write_head(io, f.fd, &h, settings, path);
    if (s) {
        zo2_outfile_abort(&f);
        return s;
    }
    s = zo2_outfile_commit(&f);
    if (s == ZO2_ERR_EXISTS)
        return s; /* another's */
    if (!s)
        s = zo2_journal_open(out, io, path, 1);
    if (s)
        io->unlink(io->ud, path); /* as if it had not begun: it may have had its name when it failed */
    return s;
}

void zo2_journal_close(zo2_journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        j->io->close(j->io->ud, j->fd);
    free(j->path);
    free(j->tune);
    free(j->entries);
    free(j);
}

const zo2_run_settings *zo2_journal_settings(const zo2_journal *j)
{
    return &j->settings;
}

uint64_t zo2_journal_steps(const zo2_journal *j)
{
    return j->steps;
}

const zo2_journal_record *zo2_journal_at(const zo2_journal *j, uint64_t step)
{
    assert(step < j->steps);
    return &j->entries[step].record;
}

uint64_t zo2_journal_torn_bytes(const zo2_journal *j)
{
    return j->torn;
}

uint64_t zo2_journal_chain(const zo2_journal *j, uint64_t steps)
{
    assert(steps <= j->steps);
    return steps ? j->entries[steps - 1].chain : j->head_hash;
}

uint64_t zo2_journal_first_chain(const zo2_run_settings *s)
{
    zo2_journal_head h;
    zo2_journal_encode_head(&h, s);
    return h.hash;
}

zo2_status zo2_journal_append(zo2_journal *j, const zo2_journal_record *r)
{
    if (!j->writable)
        return zo2_error(ZO2_ERR_ARG, "%s: opened for reading only", j->path);
    if (j->failed)
        return zo2_error(ZO2_ERR_IO, "%s: an earlier append failed; close the run and resume it", j->path);
    if (r->step != j->steps || r->queries != j->settings.queries)
        return zo2_error(ZO2_ERR_ARG, "%s: step %llu with %u queries where step %llu with %u is due", j->path,
                         (unsigned long long)r->step, r->queries, (unsigned long long)j->steps, j->settings.queries);
    if (j->steps >= ZO2_JOURNAL_MAX_STEPS)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "%s: a run ends after %llu steps", j->path,
                         (unsigned long long)ZO2_JOURNAL_MAX_STEPS);
    const char *fault = zo2_journal_record_fault(r);
    if (fault)
        return zo2_error(ZO2_ERR_NONFINITE,
                         "step %llu: %s; nothing was recorded; the learning rate or the weight decay is too high",
                         (unsigned long long)r->step, fault);
    zo2_status s = reserve(j);
    if (s)
        return s;

    unsigned char raw[ZO2_JOURNAL_MAX_RECORD_BYTES];
    const uint64_t chain = zo2_journal_encode(raw, r, zo2_journal_chain(j, j->steps));
    s = zo2_io_write(j->io, j->fd, raw, j->record_bytes, j->end, j->path);
    if (!s && j->io->fdatasync(j->io->ud, j->fd))
        s = zo2_io_error("cannot sync", j->path);
    if (s) {
        j->failed = 1;
        /* If this fails too, or doesn't last, the next writable open cuts a torn record and may find a whole one: a
         * step that was computed and is as good as any, only not acknowledged. */
        j->io->ftruncate(j->io->ud, j->fd, (off_t)j->end);
        return s;
    }
    entry *e = &j->entries[j->steps];
    e->record = *r;
    e->record.skipped = r->skipped != 0;
    e->chain = chain;
    j->steps++;
    j->end += j->record_bytes;
    return ZO2_OK;
}

char *zo2_journal_path(const char *run_dir)
{
    return zo2_path_join(run_dir, "journal.zo2j");
}
