/* trunk_rows.c: see trunk_rows.h. */
#include "engine/forward/trunk_rows.h"
#include "codec/codec.h"
#include "engine/forward/batch.h"
#include "engine/forward/core.h"
#include "engine/forward/forward.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/stream/trace.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- names ---- */

static zo2_trunk_key key_of(XXH128_hash_t h)
{
    return (zo2_trunk_key){.low = h.low64, .high = h.high64};
}

/* What every entry depends on beside its example. Nothing in the trunk moves, so its wire is that of frozen matrices. */
static zo2_trunk_key identity_of(const zo2_core *c, const zo2_run_settings *s)
{
    const uint64_t all[] = {s->model_hash,        c->arch->fork, (uint64_t)s->frozen_wire, (uint64_t)s->compute,
                            (uint64_t)s->backend, s->tile_rule,  (uint64_t)s->trunk_type};
    return key_of(XXH3_128bits(all, sizeof all));
}

/* Tokens, positions and who sees whom, as if the example stood at the beginning of its micro-batch. exact: 0, or whose exact values they are
 * (zo2_masters_exact_kind()). */
static zo2_trunk_key name_example(const zo2_packed *p, const zo2_micro *mb, const zo2_packed_example *e, uint32_t exact)
{
    XXH3_state_t state; /* aligned by its own declaration */
    const uint32_t head[] = {e->tokens, e->seqs, exact};
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, head, sizeof head);
    XXH3_128bits_update(&state, p->id + mb->token_at + e->first, e->tokens * sizeof *p->id);
    XXH3_128bits_update(&state, p->position + mb->token_at + e->first, e->tokens * sizeof *p->position);
    for (uint32_t i = 0; i < e->seqs; i++) {
        const zo2_seq *s = &p->seq[e->seq_at + i];
        const uint32_t own[] = {s->first - e->first, s->n, s->n_prefix ? s->prefix - e->first : 0, s->n_prefix};
        XXH3_128bits_update(&state, own, sizeof own);
    }
    return key_of(XXH3_128bits_digest(&state));
}

/* ---- life ---- */

static zo2_status create_programs(zo2_core *c)
{
    zo2_trunk_rows *t = &c->trunk;
    const uint32_t fork = c->arch->fork, end = c->arch->n_blocks;
    zo2_status s = zo2_program_create(&t->train, &c->layout, fork, end, 1);
    if (!s)
        s = zo2_program_create(&t->wire, &c->layout, fork, end, 0);
    if (!s)
        s = zo2_program_create(&t->exact, &c->exact, fork, end, 0);
    return s ? s : zo2_program_create(&t->below, &c->layout, 0, fork, 0);
}

static zo2_status create_tables(zo2_core *c)
{
    zo2_trunk_rows *t = &c->trunk;
    const uint64_t rows = c->shape.batch_tokens / c->shape.max_keys;
    t->key = calloc(rows, sizeof *t->key);
    t->kept = calloc(rows, 1);
    t->bits = t->type == ZO2_F32 ? NULL : malloc(zo2_dtype_bytes(t->type) * c->shape.batch_tokens * c->arch->hidden);
    if (!t->key || !t->kept || (t->type != ZO2_F32 && !t->bits))
        return zo2_error(ZO2_ERR_NOMEM, "no memory for what is kept of the trunk");
    return ZO2_OK;
}

zo2_status zo2_trunk_rows_open(zo2_core *c, const zo2_core_trunk *config, const zo2_run_settings *s)
{
    zo2_trunk_rows *t = &c->trunk;
    t->type = s->trunk_type ? s->trunk_type : ZO2_F32;
    if (!config || !config->bytes || !zo2_has_trunk(c->arch))
        return ZO2_OK;
    const zo2_trunk_config store = {.bytes = config->bytes,
                                    .dirs = config->dirs,
                                    .n_dirs = config->n_dirs,
                                    .run = config->run,
                                    .identity = identity_of(c, s),
                                    .writable = config->writable,
                                    .log = config->log,
                                    .log_ud = config->log_ud};
    zo2_status status = create_tables(c);
    if (!status)
        status = create_programs(c);
    return status ? status : zo2_trunk_open(&t->store, &store);
}

void zo2_trunk_rows_close(zo2_trunk_rows *t)
{
    zo2_trunk_close(t->store);
    zo2_program_free(&t->train);
    zo2_program_free(&t->wire);
    zo2_program_free(&t->exact);
    zo2_program_free(&t->below);
    free(t->key);
    free(t->kept);
    free(t->bits);
    memset(t, 0, sizeof *t);
}

/* ---- between passes ---- */

/* The rows of an example in host memory, fp32. */
static float *rows_at(const zo2_core *c, const zo2_micro *mb, const zo2_packed_example *e)
{
    uint64_t at = (mb->token_at + e->first) * c->arch->hidden;
    return (float *)(void *)(c->staging + c->plan.host.trunk) + at;
}

static int fetch(zo2_core *c, const zo2_trunk_key *key, float *rows, uint64_t n)
{
    zo2_trunk_rows *t = &c->trunk;
    uint64_t bytes = n * zo2_dtype_bytes(t->type);
    if (t->type == ZO2_F32)
        return zo2_trunk_get(t->store, key, rows, bytes);
    if (!zo2_trunk_get(t->store, key, t->bits, bytes))
        return 0;
    zo2_source_decode(t->type, t->bits, n, rows);
    return 1;
}

static void keep(zo2_core *c, const zo2_trunk_key *key, const float *rows, uint64_t n)
{
    zo2_trunk_rows *t = &c->trunk;
    const void *bits = rows;
    if (t->type != ZO2_F32) {
        zo2_source_encode(t->type, rows, n, t->bits); /* exact: they are rounded already */
        bits = t->bits;
    }
    zo2_trunk_put(t->store, key, bits, n * zo2_dtype_bytes(t->type));
}

int zo2_trunk_rows_find(zo2_core *c, int exact)
{
    zo2_trunk_rows *t = &c->trunk;
    const zo2_packed *p = &c->packed;
    int all = 1;
    if (!t->store)
        return 0;
    const uint32_t kind = exact ? zo2_masters_exact_kind(&c->masters) : 0;
    for (uint32_t m = c->micro_from; m < c->micro_to; m++)
        for (uint32_t i = 0; i < p->micro[m].examples; i++) {
            const uint32_t e = p->micro[m].example_at + i;
            t->key[e] = name_example(p, &p->micro[m], &p->example[e], kind);
            zo2_trunk_expect(t->store, &t->key[e]);
        }
    for (uint32_t m = c->micro_from; m < c->micro_to; m++) {
        const zo2_micro *mb = &p->micro[m];
        t->kept[m] = 1;
        for (uint32_t i = 0; i < mb->examples && t->kept[m]; i++) {
            const zo2_packed_example *e = &p->example[mb->example_at + i];
            t->kept[m] = (uint8_t)fetch(c, &t->key[mb->example_at + i], rows_at(c, mb, e),
                                        (uint64_t)e->tokens * c->arch->hidden);
        }
        all = all && t->kept[m];
    }
    return all;
}

uint64_t zo2_trunk_rows_count(const zo2_core *c)
{
    const zo2_trunk_rows *t = &c->trunk;
    const zo2_packed *p = &c->packed;
    uint64_t n = 0;
    for (uint32_t m = 0; m < p->micros && t->store; m++)
        for (uint32_t i = 0; i < p->micro[m].examples; i++) {
            const uint32_t e = p->micro[m].example_at + i;
            n += (uint64_t)zo2_trunk_has(t->store, &t->key[e],
                                         (uint64_t)p->example[e].tokens * c->arch->hidden * zo2_dtype_bytes(t->type));
        }
    return n;
}

void zo2_trunk_rows_keep(zo2_core *c, uint32_t from, uint32_t to)
{
    zo2_trunk_rows *t = &c->trunk;
    const zo2_packed *p = &c->packed;
    for (uint32_t m = from; m < to && t->store; m++)
        for (uint32_t i = 0; i < p->micro[m].examples && !t->kept[m]; i++) {
            const zo2_packed_example *e = &p->example[p->micro[m].example_at + i];
            keep(c, &t->key[p->micro[m].example_at + i], rows_at(c, &p->micro[m], e),
                 (uint64_t)e->tokens * c->arch->hidden);
        }
}

/* ---- in a pass ---- */

int zo2_trunk_is_kept(const zo2_forward_pass *f, const zo2_micro *mb)
{
    return f->trunk->store && f->trunk->kept[mb - f->batch->micro];
}

/* Values as they come back from what is kept. */
static zo2_status round_rows(zo2_forward_pass *f, const zo2_micro *mb, uint8_t *h)
{
    zo2_convert_rows_op op = {.streams = 1,
                              .m = mb->tokens,
                              .n = f->arch->hidden,
                              .x = (const float *)(const void *)h,
                              .y = h,
                              .type = ZO2_F32,
                              .through = f->trunk->type};
    return f->trunk->type == ZO2_F32 ? ZO2_OK : f->be->ops->convert_rows(f->be, &op);
}

zo2_status zo2_trunk_cross(zo2_forward_pass *f, const zo2_micro *mb, uint8_t *h)
{
    if (!zo2_has_trunk(f->arch))
        return ZO2_OK;
    const int kept = zo2_trunk_is_kept(f, mb);
    const uint64_t bytes = mb->tokens * (uint64_t)f->arch->hidden * 4;
    uint8_t *rows = f->trunk_rows + mb->token_at * f->arch->hidden * 4;
    uint64_t begin = zo2_trace_begin(f->trace);
    zo2_status s = kept ? f->be->ops->upload(f->be, ZO2_LANE_COMPUTE, h, rows, bytes) : round_rows(f, mb, h);
    if (!s && !kept && f->trunk->store)
        s = f->be->ops->download(f->be, ZO2_LANE_COMPUTE, rows, h, bytes);
    if (kept || f->trunk->store)
        zo2_forward_span(f, begin, kept ? "trunk rows" : "keep trunk rows", ZO2_NO_TENSOR, ZO2_NO_TENSOR, -1, bytes);
    return s;
}
