/* inspect.c: looking at an engine: state, options, plan, exact weights. */
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/opts.h"
#include "engine/forward/core.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/run/session.h"
#include "storage/pack/packfile.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PIECE (1u << 16)

void zo2_engine_get_state(const zo2_engine *e, zo2_engine_state *out)
{
    *out = (zo2_engine_state){.step = e->core.history.steps,
                              .data_position = e->data_position,
                              .tokens = e->tokens,
                              .skipped_in_row = e->skipped_in_row,
                              .device_peak_bytes = e->core.ops->peak_bytes(e->core.be),
                              .host_peak_bytes = zo2_host_peak(e),
                              .resumed = e->resumed};
}

void zo2_engine_get_opts_sized(const zo2_engine *e, zo2_engine_opts *out, size_t size)
{
    zo2_engine_opts opts = e->opts;
    opts.log = e->log.log;
    opts.log_ud = e->log.ud;
    zo2_opts_give(out, size, &opts, sizeof opts);
}

void zo2_engine_get_plan_sized(const zo2_engine *e, zo2_plan *out, size_t size)
{
    zo2_opts_give(out, size, &e->core.plan.pub, sizeof e->core.plan.pub);
}

/* Exact values of elements [first, first + n) of a tensor: whole rows into scratch[], then the part that is wanted. */
static zo2_status read_elements(zo2_engine *e, const zo2_tensor *t, uint64_t first, uint64_t n, float *out)
{
    zo2_core *c = &e->core;
    uint64_t step = PIECE / t->cols ? PIECE / t->cols : 1, end = first + n;
    zo2_status s =
        zo2_masters_are_wire(&c->masters, t->id) ? zo2_packfile_check_source(e->pack->file, t->stored) : ZO2_OK;
    if (s)
        return s;
    float *rows = malloc(step * t->cols * sizeof *rows);
    if (!rows)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to read tensor %s", t->name);
    fenv_t fenv;
    zo2_fpenv_pin(&fenv); /* updates are folded in on this thread */
    while (first < end && !s) {
        uint64_t row = first / t->cols, count = step < t->rows - row ? step : t->rows - row;
        uint64_t skip = first - row * t->cols, have = count * t->cols - skip;
        have = have < end - first ? have : end - first;
        s = zo2_masters_read(&c->masters, &c->history, t->id, row, count, c->history.steps, rows);
        if (!s)
            memcpy(out, rows + skip, have * sizeof *out);
        out += have;
        first += have;
    }
    zo2_fpenv_restore(&fenv);
    free(rows);
    return s;
}

zo2_status zo2_tensor_read(zo2_engine *e, const char *name, uint64_t first, uint64_t n, float *out)
{
    if (!e || !name || (n && !out))
        return zo2_error(ZO2_ERR_ARG, "zo2_tensor_read: engine, name and out are needed");
    const zo2_tensor *t = zo2_arch_by_name(e->core.arch, name);
    if (!t)
        return zo2_error(ZO2_ERR_NOTFOUND, "the model has no tensor named %s", name);
    uint64_t size = t->rows * t->cols;
    if (first > size || n > size - first)
        return zo2_error(ZO2_ERR_ARG, "tensor %s has %llu elements: %llu from number %llu on are out of range", name,
                         (unsigned long long)size, (unsigned long long)n, (unsigned long long)first);
    zo2_status s = zo2_engine_enter(e, "zo2_tensor_read");
    if (s)
        return s;
    s = n ? read_elements(e, t, first, n, out) : ZO2_OK;
    zo2_engine_leave(e);
    return zo2_finish(s);
}

/* What a part has no values of: the pack says what doesn't move, and may have no more than its wire (freeze --drop-source). */
static uint64_t values_of(const zo2_tensor *t, int moving)
{
    return moving && t->frozen ? 0 : t->rows * t->cols;
}

/* Values [from, to) of all tensors', or of those that move, in canonical order. */
static zo2_status hash_masters(zo2_engine *e, uint64_t from, uint64_t to, int moving, uint64_t *out)
{
    XXH3_state_t *state = XXH3_createState();
    float *values = malloc(PIECE * sizeof *values);
    zo2_status s = state && values ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory to hash the weights");
    uint64_t before = 0; /* values of earlier tensors */
    if (!s)
        XXH3_64bits_reset(state);
    for (uint32_t i = 0; i < e->core.arch->n_tensors && !s; i++) {
        const zo2_tensor *t = &e->core.arch->tensors[i];
        uint64_t size = values_of(t, moving), at = from > before ? from - before : 0;
        uint64_t end = to > before ? to - before : 0;
        end = end < size ? end : size;
        while (at < end && !s) {
            uint64_t n = end - at < PIECE ? end - at : PIECE;
            s = read_elements(e, t, at, n, values);
            if (!s)
                XXH3_64bits_update(state, values, n * sizeof *values);
            at += n;
        }
        before += size;
    }
    if (!s)
        *out = XXH3_64bits_digest(state);
    free(values);
    XXH3_freeState(state);
    return s;
}

static zo2_status hash_part(zo2_engine *e, uint64_t part, uint64_t parts, int moving, uint64_t *out)
{
    if (!e || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_masters_hash: engine and out must not be NULL");
    if (part >= parts)
        return zo2_error(ZO2_ERR_ARG, "zo2_masters_hash_part: there is no part %llu of %llu", (unsigned long long)part,
                         (unsigned long long)parts);
    uint64_t all = 0;
    for (uint32_t i = 0; i < e->core.arch->n_tensors; i++)
        all += values_of(&e->core.arch->tensors[i], moving);
    const uint64_t each = all / parts, more = all % parts; /* the first `more` parts have one value more */
    const uint64_t from = part * each + (part < more ? part : more), to = from + each + (part < more);
    zo2_status s = zo2_engine_enter(e, "zo2_masters_hash");
    if (s)
        return s;
    s = hash_masters(e, from, to, moving, out);
    zo2_engine_leave(e);
    return zo2_finish(s);
}

zo2_status zo2_masters_hash_part(zo2_engine *e, uint64_t part, uint64_t parts, uint64_t *out)
{
    return hash_part(e, part, parts, 1, out);
}

zo2_status zo2_masters_hash(zo2_engine *e, uint64_t *out)
{
    return hash_part(e, 0, 1, 0, out);
}
