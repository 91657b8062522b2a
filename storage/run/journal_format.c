/* journal_format.c: journal bytes to structs and back, with every check a reader owes (RUN.md, "Journal"). No I/O. */
#include "storage/run/journal_format.h"
#include "codec/rn.h"
#include "storage/run/settings_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t double_bits(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* ---- settings, by their kind in settings_list.h ------------------------------------------------------------------ */

static uint64_t encode_U64(uint64_t v)
{
    return v;
}

static uint32_t encode_U32(uint32_t v)
{
    return v;
}

static uint64_t encode_F64(double v)
{
    return double_bits(v);
}

static uint32_t encode_ENUM(int v)
{
    return (uint32_t)v;
}

static uint64_t decode_U64(uint64_t v)
{
    return v;
}

static uint32_t decode_U32(uint32_t v)
{
    return v;
}

static double decode_F64(uint64_t v)
{
    return bits_double(v);
}

/* A value out of range must not become one that happens to be in range; no setting allows a negative one. */
static int decode_ENUM(uint32_t v)
{
    return v <= INT8_MAX ? (int)v : -1;
}

/* What runs did before there was the setting is stored as zero. */
static uint32_t encode_FIRST(int v)
{
    return (uint32_t)(v - 1);
}

static int decode_FIRST(uint32_t v)
{
    return v < INT8_MAX ? (int)v + 1 : -1;
}

/* ---- header ------------------------------------------------------------------------------------------------------ */

/* The first setting that is out of range, NULL if there is none. */
static const char *settings_fault(const zo2_run_settings *s)
{
#define CHECK(field, type, kind, name, valid, fault, ...) \
    if (!(valid))                                         \
        return fault;
    ZO2_RUN_SETTINGS(CHECK)
#undef CHECK
    return NULL;
}

zo2_status zo2_journal_check_settings(const zo2_run_settings *s, zo2_status status, const char *where)
{
    const char *fault = settings_fault(s);
    return fault ? zo2_error(status, "%s: %s", where, fault) : ZO2_OK;
}

void zo2_journal_encode_head(zo2_journal_head *h, const zo2_run_settings *s)
{
    memset(h, 0, sizeof *h);
    memcpy(h->magic, ZO2_JOURNAL_MAGIC, sizeof h->magic);
    h->version = ZO2_JOURNAL_VERSION;
    h->header_bytes = ZO2_JOURNAL_HEADER_BYTES;
    h->record_bytes = (uint32_t)ZO2_JOURNAL_RECORD_BYTES(s->queries);
    h->model_hash = s->model_hash;
#define ENCODE(field, type, kind, ...) h->field = encode_##kind(s->field);
    ZO2_RUN_SETTINGS(ENCODE)
#undef ENCODE
    if (s->frozen_wire == s->wire) /* as all runs did before there was a choice */
        h->frozen_wire = 0;
    else
        h->required |= ZO2_JOURNAL_FROZEN_WIRE;
    h->noise_version = s->noise_version;
    h->tile_rule = s->tile_rule;
    h->decay_set = s->decay_set;
    if (s->tune || s->tune_rotate)
        h->required |= ZO2_JOURNAL_TUNES;
    h->tune_bytes = (uint32_t)(s->tune ? strlen(s->tune) : 0);
    h->tune_hash = h->tune_bytes ? XXH3_64bits(s->tune, h->tune_bytes) : 0;
    h->header_bytes = (uint32_t)(ZO2_JOURNAL_HEADER_BYTES + zo2_journal_tune_room(h));
    h->hash = XXH3_64bits(h, offsetof(zo2_journal_head, hash));
}

static int all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

zo2_status zo2_journal_decode_head(const zo2_journal_head *h, zo2_run_settings *s, const char *path)
{
    if (memcmp(h->magic, ZO2_JOURNAL_MAGIC, sizeof h->magic))
        return zo2_error(ZO2_ERR_FORMAT, "%s: not a zo2 journal", path);
    /* In every version the first 256 bytes end with their hash, so damage is told from news. */
    if (h->hash != XXH3_64bits(h, offsetof(zo2_journal_head, hash)))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the header is damaged (checksum); restore the file from a copy", path);
    if (h->version != ZO2_JOURNAL_VERSION)
        return zo2_error(ZO2_ERR_FORMAT, "%s: journal version %u, this program reads version %u", path, h->version,
                         ZO2_JOURNAL_VERSION);
    const uint64_t unknown = h->required & ~(ZO2_JOURNAL_TUNES | ZO2_JOURNAL_FROZEN_WIRE);
    if (unknown)
        return zo2_error(ZO2_ERR_FORMAT, "%s: needs features 0x%llx that this program doesn't have", path,
                         (unsigned long long)unknown);

    memset(s, 0, sizeof *s);
    s->model_hash = h->model_hash;
#define DECODE(field, type, kind, ...) s->field = (type)decode_##kind(h->field);
    ZO2_RUN_SETTINGS(DECODE)
#undef DECODE
    if (!h->frozen_wire)
        s->frozen_wire = s->wire;
    s->noise_version = h->noise_version;
    s->tile_rule = h->tile_rule;
    s->decay_set = h->decay_set;
    zo2_status status = zo2_journal_check_settings(s, ZO2_ERR_FORMAT, path);
    if (status)
        return status;

    int tunes = h->tune_bytes || s->tune_rotate;
    int own_wire = h->frozen_wire != 0;
    if (h->tune_bytes > ZO2_JOURNAL_TUNE_MOST || !h->tune_bytes > !h->tune_hash ||
        tunes != ((h->required & ZO2_JOURNAL_TUNES) != 0) ||
        own_wire != ((h->required & ZO2_JOURNAL_FROZEN_WIRE) != 0) || h->frozen_wire == h->wire ||
        h->header_bytes != ZO2_JOURNAL_HEADER_BYTES + zo2_journal_tune_room(h) ||
        h->record_bytes != ZO2_JOURNAL_RECORD_BYTES(s->queries) || h->reserved0 || h->reserved1 ||
        !all_zero(h->reserved2, sizeof h->reserved2))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the header contradicts itself", path);
    return ZO2_OK;
}

/* ---- the choice of tensors ---------------------------------------------------------------------------------------- */

zo2_status zo2_journal_decode_tune(const zo2_journal_head *h, const unsigned char *bytes, const char *path, char **out)
{
    *out = NULL;
    if (!h->tune_bytes)
        return ZO2_OK;
    if (XXH3_64bits(bytes, h->tune_bytes) != h->tune_hash)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s: the choice of tensors behind the header is damaged (checksum); restore the file "
                         "from a copy",
                         path);
    if (memchr(bytes, 0, h->tune_bytes) || !all_zero(bytes + h->tune_bytes, zo2_journal_tune_room(h) - h->tune_bytes))
        return zo2_error(ZO2_ERR_FORMAT, "%s: the choice of tensors behind the header contradicts itself", path);
    *out = strndup((const char *)bytes, h->tune_bytes);
    return *out ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for the choice of tensors of %s", path);
}

void zo2_journal_encode_tune(const zo2_journal_head *h, const zo2_run_settings *s, unsigned char *bytes)
{
    memset(bytes, 0, zo2_journal_tune_room(h));
    if (h->tune_bytes)
        memcpy(bytes, s->tune, h->tune_bytes);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

const char *zo2_journal_record_fault(const zo2_journal_record *r)
{
    if (r->queries < 1 || r->queries > ZO2_MAX_QUERIES)
        return "number of queries out of range";
    if (r->skipped)
        return NULL;
    if (!isfinite(r->d))
        return "the decay coefficient is not finite";
    for (uint32_t q = 0; q < r->queries; q++)
        if (!isfinite(r->query[q].c))
            return "an update coefficient is not finite";
    return NULL;
}

uint64_t zo2_journal_stored_checksum(const unsigned char *raw, size_t bytes)
{
    uint64_t checksum;
    memcpy(&checksum, raw + bytes - sizeof checksum, sizeof checksum);
    return checksum;
}

uint64_t zo2_journal_checksum(const unsigned char *raw, size_t bytes, uint64_t chain)
{
    return XXH3_64bits_withSeed(raw, bytes - sizeof(uint64_t), chain);
}

uint64_t zo2_journal_encode(unsigned char *raw, const zo2_journal_record *r, uint64_t chain)
{
    const size_t bytes = ZO2_JOURNAL_RECORD_BYTES(r->queries);
    const zo2_journal_raw head = {
        .magic = ZO2_JOURNAL_RECORD_MAGIC,
        .flags = r->skipped ? ZO2_JOURNAL_SKIPPED : 0,
        .step = r->step,
        .tokens = r->tokens,
        .data_position = r->data_position,
        .d = zo2_float_bits(r->d),
        .queries = r->queries,
    };
    memcpy(raw, &head, sizeof head);
    for (uint32_t q = 0; q < r->queries; q++) {
        const zo2_journal_query *from = &r->query[q];
        const zo2_journal_raw_query to = {
            .loss_plus = double_bits(from->loss_plus),
            .loss_minus = double_bits(from->loss_minus),
            .g_raw = zo2_float_bits(from->g_raw),
            .g_clipped = zo2_float_bits(from->g_clipped),
            .c = zo2_float_bits(from->c),
        };
        memcpy(raw + sizeof head + q * sizeof to, &to, sizeof to);
    }
    const uint64_t checksum = zo2_journal_checksum(raw, bytes, chain);
    memcpy(raw + bytes - sizeof checksum, &checksum, sizeof checksum);
    return checksum;
}

const char *zo2_journal_decode(zo2_journal_record *r, const unsigned char *raw, uint32_t queries, uint64_t step)
{
    zo2_journal_raw head;
    memcpy(&head, raw, sizeof head);
    if (head.magic != ZO2_JOURNAL_RECORD_MAGIC)
        return "no record begins here";
    if (head.flags & ~ZO2_JOURNAL_SKIPPED)
        return "unknown flags";
    if (head.step != step)
        return "steps are not consecutive";
    if (head.queries != queries)
        return "another number of queries than the header says";

    memset(r, 0, sizeof *r);
    r->step = head.step;
    r->tokens = head.tokens;
    r->data_position = head.data_position;
    r->skipped = (head.flags & ZO2_JOURNAL_SKIPPED) != 0;
    r->d = zo2_bits_float(head.d);
    r->queries = head.queries;
    for (uint32_t q = 0; q < queries; q++) {
        zo2_journal_raw_query from;
        memcpy(&from, raw + sizeof head + q * sizeof from, sizeof from);
        if (from.reserved)
            return "reserved bytes are in use";
        r->query[q].loss_plus = bits_double(from.loss_plus);
        r->query[q].loss_minus = bits_double(from.loss_minus);
        r->query[q].g_raw = zo2_bits_float(from.g_raw);
        r->query[q].g_clipped = zo2_bits_float(from.g_clipped);
        r->query[q].c = zo2_bits_float(from.c);
    }
    return zo2_journal_record_fault(r);
}
