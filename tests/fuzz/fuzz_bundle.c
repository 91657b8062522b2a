/* fuzz_bundle.c: bundles: opened, read as updates, written again from a journal of the same steps.
 *
 * Input: mode, then the file. SEALED makes the hashes right, of the header, of the journal's header, of its choice of tensors and of the contents;
 * COUNTED sets the number of steps to what there is room for.
 *
 * Properties: what was read writes the very bytes of the file; it is whole or refused: a byte more, one less, or one changed is
 * noticed; opening it as a program does agrees. */
#include "engine/masters/history.h"
#include "storage/run/bundle.h"
#include "storage/run/bundle_format.h"
#include "tests/fuzz/fuzzing.h"

#include <math.h>
#include <xxhash.h>

enum { SEALED = 1, COUNTED = 2 };

#define HEAD ZO2_BUNDLE_HEADER_BYTES

static void seal(unsigned char *b, size_t n, int mode)
{
    zo2_bundle_head *h = (zo2_bundle_head *)(void *)b;
    const size_t head = h->header_bytes > HEAD && h->header_bytes <= n ? h->header_bytes : HEAD;
    if (mode & COUNTED && h->record_bytes)
        h->steps = (n - head) / h->record_bytes;
    if (h->journal.tune_bytes && h->journal.tune_bytes <= n - HEAD)
        h->journal.tune_hash = XXH3_64bits(b + HEAD, h->journal.tune_bytes);
    h->journal.hash = XXH3_64bits(&h->journal, offsetof(zo2_journal_head, hash));
    h->contents = XXH3_64bits(&h->journal, n - offsetof(zo2_bundle_head, journal));
    h->hash = XXH3_64bits(h, offsetof(zo2_bundle_head, hash));
}

/* A journal of the same settings and steps gives the same bundle. */
static void check_bytes(const zo2_bundlefile *f, const unsigned char *b, size_t n)
{
    zo2_journal *j;
    char *journal = fuzz_dir_file("bundle.zo2j", NULL, 0);
    char *again = fuzz_dir_file("again.zo2b", NULL, 0);
    remove(journal);
    FUZZ_CHECK(FUZZ_OK(zo2_journal_create(&j, &fuzz_io, journal, zo2_bundlefile_settings(f))));
    for (uint64_t i = 0; i < zo2_bundlefile_steps(f); i++) {
        zo2_journal_record r;
        zo2_bundlefile_at(f, i, &r);
        if (r.skipped) /* whatever the run had there */
            r.d = r.query[0].c = NAN;
        FUZZ_CHECK(r.step == i && FUZZ_OK(zo2_journal_append(j, &r)));
    }
    FUZZ_CHECK(FUZZ_OK(zo2_bundlefile_write(&fuzz_io, again, j, zo2_bundlefile_steps(f), 1, NULL, NULL)));
    zo2_journal_close(j);
    char *bytes;
    size_t have;
    FUZZ_CHECK(FUZZ_OK(zo2_io_slurp(again, n + 1, &bytes, &have)));
    FUZZ_CHECK(have == n && memcmp(bytes, b, n) == 0);
    free(bytes);
    remove(journal);
    remove(again);
    free(journal);
    free(again);
}

/* Steps become updates, skipped ones none. */
static void check_updates(const zo2_bundlefile *f)
{
    zo2_history h;
    uint32_t count;
    uint64_t updates = 0;
    const uint64_t steps = zo2_bundlefile_steps(f);
    zo2_history_init(&h, zo2_bundlefile_settings(f), NULL);
    for (uint64_t i = 0; i < steps; i++) {
        zo2_journal_record r;
        zo2_bundlefile_at(f, i, &r);
        FUZZ_CHECK(!zo2_journal_record_fault(&r));
        FUZZ_CHECK(zo2_history_push(&h, &r) == ZO2_OK);
        updates += !r.skipped;
    }
    zo2_history_range(&h, 0, 0, steps, &count);
    FUZZ_CHECK(count == updates);
    zo2_history_free(&h);
}

static void check_refused(const unsigned char *b, size_t n)
{
    zo2_bundlefile *f;
    FUZZ_CHECK(!FUZZ_OK(zo2_bundlefile_open(&f, &fuzz_io, fuzz_file(0, b, n))) && !f);
}

static void check_damage(unsigned char *b, size_t n, uint64_t digest)
{
    const size_t at = (size_t)(digest % n);
    unsigned char *more = fuzz_alloc(n + 1);
    memcpy(more, b, n);
    more[n] = (unsigned char)(digest >> 40);
    check_refused(more, n + 1);
    free(more);
    check_refused(b, n - 1);
    check_refused(b, at);
    b[at] ^= (unsigned char)(1 + (digest >> 32) % 255);
    check_refused(b, n);
}

/* As a program opens it: the same, or of a version that isn't replayed. */
static void check_public(const unsigned char *b, size_t n, const zo2_bundlefile *f)
{
    zo2_bundle *p;
    zo2_bundle_info info;
    zo2_engine_opts o;
    if (!FUZZ_OK(zo2_bundle_open(&p, fuzz_file(0, b, n))))
        return;
    FUZZ_CHECK(FUZZ_OK(zo2_bundle_get_info(p, &info)));
    FUZZ_CHECK(info.file_bytes == n && info.steps == zo2_bundlefile_steps(f) && info.skipped <= info.steps);
    zo2_bundle_get_opts(p, &o);
    FUZZ_CHECK(o.queries == zo2_bundlefile_settings(f)->queries && o.seed == zo2_bundlefile_settings(f)->seed);
    zo2_bundle_close(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    const size_t n = in.left;
    unsigned char *b = fuzz_alloc(n);
    if (n)
        memcpy(b, in.at, n);
    if (mode & SEALED && n >= HEAD)
        seal(b, n, mode);
    zo2_bundlefile *f;
    if (FUZZ_OK(zo2_bundlefile_open(&f, &fuzz_io, fuzz_file(0, b, n)))) {
        FUZZ_CHECK(zo2_bundlefile_bytes(f) == n);
        check_bytes(f, b, n);
        check_updates(f);
        check_public(b, n, f);
        check_damage(b, n, fuzz_digest(data, size));
    } else {
        FUZZ_CHECK(!f);
    }
    zo2_bundlefile_close(f);
    free(b);
    return 0;
}
