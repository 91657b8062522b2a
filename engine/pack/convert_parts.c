/* convert_parts.c: what only checkpoints in the shards of tensor parallelism need: is each shard there once, and are they of one
 * model? What isn't cut is in every shard, and the first one's is taken. Programs that merge shards take one of them, too, whatever
 * the others say: replicas that drifted apart while training are no reason to refuse a model that nobody has in another form, but
 * those of another model are. */
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/io/io.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define BUFFER_VALUES ((uint64_t)1 << 18)

/* The most that replicas of one model may differ by: the sum of what they differ by, of the sum of their absolute values. Those of
 * two models differ by about as much as they are large; rounding in fp16 makes 2^-11. */
#define MOST_DRIFT 0.125

int zo2_convert_is_replica(const zo2_convert_job *j, const zo2_piece_copy *c)
{
    const zo2_stored a = zo2_checkpoint_tensor(j->source, c->of), b = zo2_checkpoint_tensor(j->source, c->stored);
    return a.parts > 1 && a.parts == b.parts && a.part != b.part;
}

/* ---- replicas ---------------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    void *bits[2];
    float *values[2];
} buffers;

static zo2_status buffers_make(buffers *b, const zo2_convert_job *j)
{
    for (int k = 0; k < 2; k++) {
        b->bits[k] = malloc(BUFFER_VALUES * sizeof(float));
        b->values[k] = malloc(BUFFER_VALUES * sizeof(float));
        if (!b->bits[k] || !b->values[k])
            return zo2_error(ZO2_ERR_NOMEM, "out of memory to compare the parts of %s", j->dir);
    }
    return ZO2_OK;
}

static void buffers_free(buffers *b)
{
    for (int k = 0; k < 2; k++) {
        free(b->bits[k]);
        free(b->values[k]);
    }
}

/* *drift: what two tensors of n values differ by, of what they are; 0 if they have the same bits. */
static zo2_status measure(const zo2_convert_job *j, const uint64_t stored[2], zo2_dtype dtype, uint64_t n, buffers *b,
                          double *drift)
{
    uint64_t size = zo2_dtype_bytes(dtype);
    double sum = 0, difference = 0;
    *drift = 0;
    for (uint64_t at = 0; at < n; at += BUFFER_VALUES) {
        uint64_t now = zo2_min_u64(n - at, BUFFER_VALUES);
        zo2_status s = zo2_convert_report(j, 0);
        for (int k = 0; k < 2 && !s; k++) {
            s = zo2_checkpoint_read(j->source, stored[k], at * size, now * size, b->bits[k]);
            if (!s)
                zo2_source_decode(dtype, b->bits[k], now, b->values[k]);
        }
        if (s)
            return s;
        for (uint64_t i = 0; i < now; i++)
            sum += fabs((double)b->values[0][i]);
        if (memcmp(b->bits[0], b->bits[1], (size_t)(now * size)) == 0)
            continue;
        for (uint64_t i = 0; i < now; i++)
            difference += fabs((double)b->values[0][i] - (double)b->values[1][i]);
    }
    if (difference != 0) /* or not a number */
        *drift = difference / sum;
    return ZO2_OK;
}

/* Replicas that aren't the same. */
typedef struct drifted {
    uint64_t n, of, stored; /* how many, and the two of the first one */
    double most;
} drifted;

static zo2_status compare(const zo2_convert_job *j, const zo2_piece_copy *c, buffers *b, drifted *d)
{
    const zo2_stored first = zo2_checkpoint_tensor(j->source, c->of),
                     other = zo2_checkpoint_tensor(j->source, c->stored);
    const uint64_t stored[2] = {c->of, c->stored};
    double drift;
    if (first.dtype != other.dtype)
        return zo2_error(ZO2_ERR_FORMAT, "%s: %s is %s in %s and %s in %s: these parts are of two models", j->dir,
                         first.name, first.dtype_name, zo2_path_name(first.file), other.dtype_name,
                         zo2_path_name(other.file));
    zo2_status s = measure(j, stored, first.dtype, first.bytes / zo2_dtype_bytes(first.dtype), b, &drift);
    if (s || drift == 0)
        return s;
    if (!(drift <= MOST_DRIFT))
        return zo2_error(
            ZO2_ERR_FORMAT,
            "%s: every part has its own %s, but that in %s is another than that in %s (they differ by %.0f %%): "
            "these parts are of two models",
            j->dir, first.name, zo2_path_name(other.file), zo2_path_name(first.file), 100 * drift);
    if (d->n++ == 0)
        d->of = c->of, d->stored = c->stored;
    d->most = drift > d->most ? drift : d->most;
    return ZO2_OK;
}

static zo2_status check_replicas(const zo2_convert_job *j)
{
    buffers b = {0};
    drifted d = {0};
    zo2_status s = buffers_make(&b, j);
    for (uint64_t i = 0; i < j->pieces.n_copies && !s; i++) {
        const zo2_piece_copy *c = &j->pieces.copies[i];
        if (zo2_convert_is_replica(j, c))
            s = compare(j, c, &b, &d);
    }
    buffers_free(&b);
    if (s || !d.n)
        return s;
    const zo2_stored first = zo2_checkpoint_tensor(j->source, d.of), other = zo2_checkpoint_tensor(j->source, d.stored);
    zo2_convert_warn(j,
                     "%s: %" PRIu64 " of the tensors that every part has for itself differ a little from part %" PRIu32
                     "'s (the first is %s in %s; by %.2g %% at most): part %" PRIu32 "'s are taken",
                     j->dir, d.n, first.part, first.name, zo2_path_name(other.file), 100 * d.most, first.part);
    return ZO2_OK;
}

/* ---- shards ------------------------------------------------------------------------------------------------------------- */

#define LOOK_BYTES 4096u /* of each shard; no two parts of a model begin alike in all of them */

/* One part: what its shards begin with. */
typedef struct part {
    XXH3_state_t *hash;
    uint64_t digest, any; /* one of its shards */
    int there;
} part;

static zo2_status look_at(const zo2_convert_job *j, uint64_t stored, part *parts, uint32_t n)
{
    unsigned char first[LOOK_BYTES];
    const zo2_stored t = zo2_checkpoint_tensor(j->source, stored);
    uint64_t bytes = zo2_min_u64(t.bytes, LOOK_BYTES);
    if (t.parts != n || t.part >= n)
        return ZO2_OK;
    zo2_status s = zo2_checkpoint_read(j->source, stored, 0, bytes, first);
    if (s)
        return s;
    XXH3_64bits_update(parts[t.part].hash, first, (size_t)bytes);
    parts[t.part].any = stored;
    parts[t.part].there = 1;
    return ZO2_OK;
}

static zo2_status refuse_twins(const zo2_convert_job *j, part *parts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        parts[i].digest = XXH3_64bits_digest(parts[i].hash);
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (parts[i].there && parts[k].there && parts[i].digest == parts[k].digest)
                return zo2_error(
                    ZO2_ERR_FORMAT,
                    "%s: %s and %s have the same weights: one is a copy of the other in its place; get it again",
                    j->dir, zo2_path_name(zo2_checkpoint_tensor(j->source, parts[k].any).file),
                    zo2_path_name(zo2_checkpoint_tensor(j->source, parts[i].any).file));
    return ZO2_OK;
}

/* A part under another's name makes a tensor that is cut right and wrong all the same. */
static zo2_status check_shards(const zo2_convert_job *j, uint32_t n)
{
    part *parts = calloc(n, sizeof *parts);
    zo2_status s = parts ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "out of memory for the parts of %s", j->dir);
    for (uint32_t i = 0; i < n && !s; i++) {
        parts[i].hash = XXH3_createState();
        if (!parts[i].hash)
            s = zo2_error(ZO2_ERR_NOMEM, "out of memory for the parts of %s", j->dir);
        else
            XXH3_64bits_reset(parts[i].hash);
    }
    for (uint32_t i = 0; i < j->arch.n_tensors && !s; i++) {
        const zo2_piece_list *list = zo2_pieces_of(&j->pieces, i);
        for (uint32_t k = 0; list->n > 1 && k < list->n && !s; k++)
            s = look_at(j, list->piece[k].stored, parts, n);
    }
    if (!s)
        s = refuse_twins(j, parts, n);
    for (uint32_t i = 0; parts && i < n; i++)
        XXH3_freeState(parts[i].hash);
    free(parts);
    return s;
}

zo2_status zo2_convert_check_parts(const zo2_convert_job *j)
{
    uint32_t n = 1;
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        const zo2_stored t = zo2_checkpoint_tensor(j->source, i);
        n = t.parts > n ? t.parts : n;
    }
    if (n == 1)
        return ZO2_OK;
    zo2_status s = check_shards(j, n);
    return s ? s : check_replicas(j);
}
