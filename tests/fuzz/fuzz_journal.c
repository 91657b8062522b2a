/* fuzz_journal.c: journals: opened by a reader and by a writer, replayed into updates, read as a run.
 *
 * Input: mode, then the file. SEALED makes the hashes of the choice of tensors and of the header and the chain of checksums right, but for the
 * last record with TORN.
 *
 * Properties: what was loaded encodes to the very bytes of the file; a reader changes nothing; a writer leaves the
 * valid records and can go on; one changed byte costs at most the last record or is refused. */
#include "engine/masters/history.h"
#include "storage/run/journal_format.h"
#include "tests/fuzz/fuzzing.h"

#include <math.h>
#include <xxhash.h>

enum { SEALED = 1, TORN = 2 };

#define HEAD ZO2_JOURNAL_HEADER_BYTES

static void seal(unsigned char *b, size_t n, int mode)
{
    zo2_journal_head *h = (zo2_journal_head *)(void *)b;
    if (h->tune_bytes && h->tune_bytes <= n - HEAD)
        h->tune_hash = XXH3_64bits(b + HEAD, h->tune_bytes);
    h->hash = XXH3_64bits(h, offsetof(zo2_journal_head, hash));
    const size_t record = h->record_bytes;
    if (h->header_bytes < HEAD || record < 16 || record > ZO2_JOURNAL_MAX_RECORD_BYTES)
        return;
    uint64_t chain = h->hash;
    for (size_t at = h->header_bytes; at + record <= n; at += record) {
        if (mode & TORN && at + 2 * record > n)
            break;
        chain = zo2_journal_checksum(b + at, record, chain);
        memcpy(b + at + record - 8, &chain, 8);
    }
}

/* Every record encodes to its bytes, and so does the header. */
static void check_records(const zo2_journal *j, const unsigned char *b, size_t n)
{
    const zo2_run_settings *s = zo2_journal_settings(j);
    const size_t record = ZO2_JOURNAL_RECORD_BYTES(s->queries);
    const uint64_t steps = zo2_journal_steps(j), torn = zo2_journal_torn_bytes(j);
    zo2_journal_head h;
    zo2_journal_encode_head(&h, s);
    FUZZ_CHECK(h.header_bytes + steps * record + torn == n && torn <= record);
    FUZZ_CHECK(memcmp(&h, b, sizeof h) == 0);
    FUZZ_CHECK(h.tune_bytes == (s->tune ? strlen(s->tune) : 0) && h.tune_bytes <= h.header_bytes - HEAD);
    FUZZ_CHECK(!s->tune || memcmp(s->tune, b + HEAD, h.tune_bytes) == 0);
    FUZZ_CHECK(zo2_journal_chain(j, 0) == h.hash);
    for (uint64_t i = 0; i < steps; i++) {
        unsigned char raw[ZO2_JOURNAL_MAX_RECORD_BYTES];
        const zo2_journal_record *r = zo2_journal_at(j, i);
        FUZZ_CHECK(r->step == i && r->queries == s->queries);
        FUZZ_CHECK(zo2_journal_encode(raw, r, zo2_journal_chain(j, i)) == zo2_journal_chain(j, i + 1));
        FUZZ_CHECK(memcmp(raw, b + h.header_bytes + i * record, record) == 0);
    }
}

/* Replay: in one go and cut in two it is the same weights, and steps that were skipped have no update. */
static void check_replay(const zo2_journal *j)
{
    enum { N = 5 };
    const uint64_t steps = zo2_journal_steps(j), half = steps / 2;
    float once[N] = {0, 1, -1, 1e-3f, 3e4f}, twice[N];
    memcpy(twice, once, sizeof once);
    zo2_history h;
    zo2_history_init(&h, zo2_journal_settings(j), NULL);
    FUZZ_CHECK(zo2_history_load(&h, j, half) == ZO2_OK && zo2_history_load(&h, j, steps) == ZO2_OK);
    uint64_t updates = 0;
    uint32_t count;
    for (uint64_t i = 0; i < steps; i++)
        updates += !zo2_journal_at(j, i)->skipped;
    zo2_history_range(&h, 0, 0, steps, &count);
    FUZZ_CHECK(count == updates);
    zo2_history_apply(&h, 3, 1, 7, N, 0, steps, once);
    zo2_history_apply(&h, 3, 1, 7, N, 0, half, twice);
    zo2_history_apply(&h, 3, 1, 7, N, half, steps, twice);
    for (int i = 0; i < N; i++) /* coefficients near the largest float overflow: the sign of a NaN is nobody's */
        FUZZ_CHECK(memcmp(&once[i], &twice[i], sizeof once[i]) == 0 || (isnan(once[i]) && isnan(twice[i])));
    zo2_history_free(&h);
}

static void check_content(int slot, const unsigned char *want, size_t n)
{
    size_t have;
    unsigned char *b = fuzz_file_content(slot, &have);
    FUZZ_CHECK(have == n && memcmp(b, want, n) == 0);
    free(b);
}

/* A writer cuts what is torn, appends a step, and everything is there when it is opened again. */
static void check_writer(const unsigned char *b, size_t n, uint64_t steps, uint64_t torn)
{
    zo2_journal *j;
    const char *path = fuzz_file(0, b, n);
    FUZZ_CHECK(FUZZ_OK(zo2_journal_open(&j, &fuzz_io, path, 1)));
    FUZZ_CHECK(zo2_journal_steps(j) == steps && zo2_journal_torn_bytes(j) == torn);
    check_content(0, b, n - torn);
    zo2_journal_record r = {.step = steps, .queries = zo2_journal_settings(j)->queries, .tokens = 3, .d = 1e-9f};
    FUZZ_CHECK(FUZZ_OK(zo2_journal_append(j, &r)));
    r.step = steps + 1;
    r.d = INFINITY;
    FUZZ_CHECK(zo2_journal_append(j, &r) == ZO2_ERR_NONFINITE);
    const uint64_t chain = zo2_journal_chain(j, steps + 1);
    zo2_journal_close(j);
    FUZZ_CHECK(FUZZ_OK(zo2_journal_open(&j, &fuzz_io, path, 0)));
    FUZZ_CHECK(zo2_journal_steps(j) == steps + 1 && zo2_journal_torn_bytes(j) == 0);
    FUZZ_CHECK(zo2_journal_chain(j, steps + 1) == chain && zo2_journal_at(j, steps)->d == 1e-9f);
    zo2_journal_close(j);
}

/* One changed byte: refused, or only the last record is gone. */
static void check_damage(unsigned char *b, size_t n, uint64_t steps, uint64_t torn, uint64_t digest)
{
    const size_t at = (size_t)(digest % (n - torn));
    b[at] ^= (unsigned char)(1 + (digest >> 32) % 255);
    zo2_journal *j;
    if (FUZZ_OK(zo2_journal_open(&j, &fuzz_io, fuzz_file(0, b, n), 0)))
        FUZZ_CHECK(at >= HEAD && steps > 0 && torn == 0 && zo2_journal_steps(j) == steps - 1);
    zo2_journal_close(j);
}

/* The same file as a run's. */
static void check_run(const unsigned char *b, size_t n, uint64_t steps)
{
    free(fuzz_dir_file("journal.zo2j", b, n));
    zo2_run *r;
    if (!FUZZ_OK(zo2_run_open(&r, fuzz_dir()))) /* other versions of noise and decay set are refused here */
        return;
    FUZZ_CHECK(zo2_run_steps(r) == steps);
    zo2_run_record record;
    for (uint64_t i = 0; i < steps; i++)
        FUZZ_CHECK(FUZZ_OK(zo2_run_record_get(r, i, &record)) && record.step == i);
    FUZZ_CHECK(zo2_run_record_get(r, steps, &record) == ZO2_ERR_NOTFOUND);
    zo2_run_close(r);
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
    zo2_journal *j;
    const char *path = fuzz_file(0, b, n);
    if (FUZZ_OK(zo2_journal_open(&j, &fuzz_io, path, 0))) {
        const uint64_t steps = zo2_journal_steps(j), torn = zo2_journal_torn_bytes(j);
        check_content(0, b, n);
        check_records(j, b, n);
        check_replay(j);
        check_run(b, n, steps);
        check_writer(b, n, steps, torn);
        check_damage(b, n, steps, torn, fuzz_digest(data, size));
    } else {
        FUZZ_CHECK(!j && !FUZZ_OK(zo2_journal_open(&j, &fuzz_io, path, 1)));
        check_content(0, b, n);
    }
    zo2_journal_close(j);
    free(b);
    return 0;
}
