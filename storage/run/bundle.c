/* bundle.c: bundles written from a journal, and read. A bundle is small (12 bytes a step), so a reader has all of it in
 * memory. */
#include "storage/run/bundle.h"
#include "codec/rn.h"
#include "storage/instead/instead.h"
#include "storage/io/io.h"
#include "storage/run/bundle_format.h"
#include "storage/run/journal_format.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PIECE_STEPS 4096u /* records written at a time */
#define AGAIN       "get it again, or write it again from its run (zo2-pack export --journal-only)"

struct zo2_bundlefile {
    zo2_run_settings settings;
    char *tune; /* settings.tune */
    uint64_t steps;
    size_t record_bytes, header_bytes;
    unsigned char *tail;          /* what follows the 512 bytes that every header has: the choice of tensors, and */
    const unsigned char *records; /* [steps] */
};

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* The coefficients of a skipped step changed nothing and may be anything: zeros stand for them. */
static void encode(unsigned char *raw, const zo2_journal_record *r)
{
    const zo2_bundle_raw head = {.flags = r->skipped ? ZO2_BUNDLE_SKIPPED : 0,
                                 .d = r->skipped ? 0 : zo2_float_bits(r->d)};
    memcpy(raw, &head, sizeof head);
    for (uint32_t q = 0; q < r->queries; q++) {
        const uint32_t c = r->skipped ? 0 : zo2_float_bits(r->query[q].c);
        memcpy(raw + sizeof head + q * sizeof c, &c, sizeof c);
    }
}

void zo2_bundlefile_at(const zo2_bundlefile *b, uint64_t step, zo2_journal_record *r)
{
    assert(step < b->steps);
    const unsigned char *raw = b->records + step * b->record_bytes;
    zo2_bundle_raw head;
    memcpy(&head, raw, sizeof head);
    memset(r, 0, sizeof *r);
    r->step = step;
    r->skipped = (head.flags & ZO2_BUNDLE_SKIPPED) != 0;
    r->d = zo2_bits_float(head.d);
    r->queries = b->settings.queries;
    for (uint32_t q = 0; q < r->queries; q++) {
        uint32_t c;
        memcpy(&c, raw + sizeof head + q * sizeof c, sizeof c);
        r->query[q].c = zo2_bits_float(c);
    }
}

static int all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

/* What contradicts the format in a record, NULL if nothing does. */
static const char *record_fault(const zo2_bundlefile *b, uint64_t step)
{
    const unsigned char *raw = b->records + step * b->record_bytes;
    zo2_bundle_raw head;
    zo2_journal_record r;
    memcpy(&head, raw, sizeof head);
    if (head.flags & ~ZO2_BUNDLE_SKIPPED)
        return "unknown flags";
    if (head.flags && !all_zero(raw + sizeof head.flags, b->record_bytes - sizeof head.flags))
        return "a skipped step has coefficients";
    zo2_bundlefile_at(b, step, &r);
    return zo2_journal_record_fault(&r);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct writing {
    zo2_outfile file;
    const zo2_io *io;
    const char *path;
    const zo2_journal *journal;
    uint64_t steps;
    zo2_progress_fn progress;
    void *ud;
    XXH3_state_t hash; /* of the contents; 64-byte aligned by its own declaration */
} writing;

/* The choice of tensors, behind the header. */
static zo2_status write_tune(writing *w, const zo2_journal_head *h)
{
    const size_t bytes = (size_t)zo2_journal_tune_room(h);
    unsigned char *text = malloc(bytes + 1);
    if (!text)
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", w->path);
    zo2_journal_encode_tune(h, zo2_journal_settings(w->journal), text);
    XXH3_64bits_update(&w->hash, text, bytes);
    zo2_status s = zo2_io_write(w->io, w->file.fd, text, bytes, ZO2_BUNDLE_HEADER_BYTES, w->path);
    free(text);
    return s;
}

static zo2_status write_records(writing *w, uint32_t queries, uint64_t header_bytes)
{
    const size_t bytes = ZO2_BUNDLE_RECORD_BYTES(queries);
    unsigned char *piece = malloc(PIECE_STEPS * bytes);
    zo2_status s = piece ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory to write %s", w->path);
    for (uint64_t step = 0; step < w->steps && !s;) {
        const uint64_t n = w->steps - step < PIECE_STEPS ? w->steps - step : PIECE_STEPS;
        for (uint64_t i = 0; i < n; i++)
            encode(piece + i * bytes, zo2_journal_at(w->journal, step + i));
        XXH3_64bits_update(&w->hash, piece, n * bytes);
        s = zo2_io_write(w->io, w->file.fd, piece, n * bytes, header_bytes + step * bytes, w->path);
        step += n;
        if (!s && w->progress && w->progress(w->ud, "bundle", step, w->steps))
            s = zo2_error(ZO2_ERR_CANCELLED, "the export to %s was cancelled", w->path);
    }
    free(piece);
    return s;
}

/* Records first: their hash is in the header. */
static zo2_status write_all(writing *w)
{
    const zo2_run_settings *set = zo2_journal_settings(w->journal);
    zo2_bundle_head h = {.version = ZO2_BUNDLE_VERSION,
                         .record_bytes = (uint32_t)ZO2_BUNDLE_RECORD_BYTES(set->queries),
                         .steps = w->steps};
    memcpy(h.magic, ZO2_BUNDLE_MAGIC, sizeof h.magic);
    zo2_journal_encode_head(&h.journal, set);
    h.header_bytes = (uint32_t)(ZO2_BUNDLE_HEADER_BYTES + zo2_journal_tune_room(&h.journal));
    XXH3_64bits_reset(&w->hash);
    XXH3_64bits_update(&w->hash, &h.journal, sizeof h.journal);
    zo2_status s = write_tune(w, &h.journal);
    if (!s)
        s = write_records(w, set->queries, h.header_bytes);
    if (s)
        return s;
    h.contents = XXH3_64bits_digest(&w->hash);
    h.hash = XXH3_64bits(&h, offsetof(zo2_bundle_head, hash));
    return zo2_io_write(w->io, w->file.fd, &h, sizeof h, 0, w->path);
}

zo2_status zo2_bundlefile_write(const zo2_io *io, const char *path, const zo2_journal *j, uint64_t steps, int force,
                                zo2_progress_fn progress, void *ud)
{
    assert(steps <= zo2_journal_steps(j));
    writing w = {.io = io, .path = path, .journal = j, .steps = steps, .progress = progress, .ud = ud};
    zo2_status s = zo2_outfile_open(&w.file, io, path, force);
    if (s)
        return s;
    s = write_all(&w);
    if (!s)
        return zo2_outfile_commit(&w.file);
    zo2_outfile_abort(&w.file);
    return s;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static zo2_status check_head(const zo2_bundle_head *h, uint64_t size, const char *path)
{
    /* In every version the first 256 bytes end with their hash, so damage is told from news. */
    if (h->hash != XXH3_64bits(h, offsetof(zo2_bundle_head, hash)))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the header is damaged (checksum); " AGAIN, path);
    if (h->version != ZO2_BUNDLE_VERSION)
        return zo2_error(ZO2_ERR_FORMAT, "%s: bundle version %" PRIu32 ", this program reads version %u", path,
                         h->version, ZO2_BUNDLE_VERSION);
    if (h->required)
        return zo2_error(ZO2_ERR_FORMAT, "%s: needs features 0x%" PRIx64 " that this program doesn't have", path,
                         h->required);
    const uint32_t behind = h->header_bytes - ZO2_BUNDLE_HEADER_BYTES; /* what it should be the contents say */
    if (h->header_bytes < ZO2_BUNDLE_HEADER_BYTES || behind > ZO2_JOURNAL_TUNE_MOST || behind % 8 ||
        h->steps > ZO2_JOURNAL_MAX_STEPS || h->reserved0 || h->record_bytes < ZO2_BUNDLE_RECORD_BYTES(1) ||
        h->record_bytes > ZO2_BUNDLE_MAX_RECORD_BYTES || !all_zero(h->reserved1, sizeof h->reserved1))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the header contradicts itself", path);
    const uint64_t whole = h->header_bytes + h->steps * h->record_bytes;
    if (size != whole)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s has %" PRIu64 " bytes where a bundle of %" PRIu64 " steps has %" PRIu64 ": it %s; " AGAIN,
                         path, size, h->steps, whole, size < whole ? "was cut" : "goes on behind its end");
    return ZO2_OK;
}

static zo2_status read_head(zo2_bundle_head *h, const zo2_io *io, int fd, uint64_t size, const char *path)
{
    const size_t have = size < sizeof *h ? (size_t)size : sizeof *h;
    memset(h, 0, sizeof *h);
    zo2_status s = zo2_io_read(io, fd, h, have, 0, path);
    if (s)
        return s;
    if (have < sizeof h->magic || memcmp(h->magic, ZO2_BUNDLE_MAGIC, sizeof h->magic) != 0)
        return zo2_explain_file(zo2_error(ZO2_ERR_FORMAT, "%s is not a bundle", path), path, ZO2_WANT_BUNDLE);
    if (have < sizeof *h)
        return zo2_error(ZO2_ERR_FORMAT, "%s has %zu bytes, fewer than a bundle's header: it was cut; " AGAIN, path,
                         have);
    return check_head(h, size, path);
}

static zo2_status check_contents(zo2_bundlefile *b, const zo2_bundle_head *h, const char *path)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, &h->journal, sizeof h->journal);
    XXH3_64bits_update(&hash, b->tail, b->header_bytes - sizeof *h + (size_t)(b->steps * b->record_bytes));
    if (XXH3_64bits_digest(&hash) != h->contents)
        return zo2_error(ZO2_ERR_FORMAT, "%s: its steps are damaged (checksum); " AGAIN, path);
    zo2_status s = zo2_journal_decode_head(&h->journal, &b->settings, path);
    if (!s && h->header_bytes != ZO2_BUNDLE_HEADER_BYTES + zo2_journal_tune_room(&h->journal))
        s = zo2_error(ZO2_ERR_FORMAT, "%s: the header contradicts itself", path);
    if (!s)
        s = zo2_journal_decode_tune(&h->journal, b->tail, path, &b->tune);
    if (s)
        return s;
    b->settings.tune = b->tune;
    if (b->record_bytes != ZO2_BUNDLE_RECORD_BYTES(b->settings.queries))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the header contradicts itself", path);
    for (uint64_t step = 0; step < b->steps; step++) {
        const char *fault = record_fault(b, step);
        if (fault)
            return zo2_error(ZO2_ERR_FORMAT, "%s: step %" PRIu64 " can't be used: %s", path, step, fault);
    }
    return ZO2_OK;
}

static zo2_status load(zo2_bundlefile *b, const zo2_io *io, int fd, const char *path)
{
    struct stat st;
    zo2_bundle_head h;
    if (fstat(fd, &st))
        return zo2_io_error("cannot examine", path);
    if (!S_ISREG(st.st_mode))
        return zo2_explain_file(zo2_error(ZO2_ERR_FORMAT, "%s is not a bundle: it is no regular file", path), path,
                                ZO2_WANT_BUNDLE);
    zo2_status s = read_head(&h, io, fd, (uint64_t)st.st_size, path);
    if (s)
        return s;
    b->steps = h.steps;
    b->record_bytes = h.record_bytes;
    b->header_bytes = h.header_bytes;
    const uint64_t bytes = h.header_bytes - sizeof h + h.steps * h.record_bytes; /* which the file has */
    b->tail = bytes < SIZE_MAX ? malloc((size_t)bytes + 1) : NULL;
    if (b->tail)
        b->records = b->tail + (h.header_bytes - sizeof h);
    s = b->tail ? zo2_io_read(io, fd, b->tail, bytes, ZO2_BUNDLE_HEADER_BYTES, path)
                : zo2_error(ZO2_ERR_NOMEM, "out of memory for the %" PRIu64 " bytes of %s", bytes, path);
    if (!s)
        s = check_contents(b, &h, path);
    return s;
}

zo2_status zo2_bundlefile_open(zo2_bundlefile **out, const zo2_io *io, const char *path)
{
    *out = NULL;
    /* O_NONBLOCK: a FIFO under this name must not hang us; it means nothing to a regular file. */
    int fd = io->open(io->ud, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return zo2_explain_file(zo2_io_error("cannot open bundle", path), path, ZO2_WANT_BUNDLE);
    zo2_bundlefile *b = calloc(1, sizeof *b);
    zo2_status s = b ? load(b, io, fd, path) : zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    io->close(io->ud, fd);
    if (s) {
        zo2_bundlefile_close(b);
        return s;
    }
    *out = b;
    return ZO2_OK;
}

void zo2_bundlefile_close(zo2_bundlefile *b)
{
    if (!b)
        return;
    free(b->tune);
    free(b->tail);
    free(b);
}

const zo2_run_settings *zo2_bundlefile_settings(const zo2_bundlefile *b)
{
    return &b->settings;
}

uint64_t zo2_bundlefile_steps(const zo2_bundlefile *b)
{
    return b->steps;
}

uint64_t zo2_bundlefile_bytes(const zo2_bundlefile *b)
{
    return b->header_bytes + b->steps * b->record_bytes;
}
