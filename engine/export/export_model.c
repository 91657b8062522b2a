/* export_model.c: see export_model.h. */
#include "engine/export/export_model.h"
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/pool.h"
#include "engine/model/arch.h"
#include "engine/model/family.h"
#include "engine/pack/pack_api.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 256u /* of a row whose sums of products are made at a time: they stay in the first-level cache */

static zo2_status need(zo2_export_room *r, uint64_t bytes)
{
    if (bytes <= r->bytes)
        return ZO2_OK;
    free(r->at);
    r->at = malloc(bytes);
    r->bytes = r->at ? bytes : 0;
    return r->at ? ZO2_OK
                 : zo2_error(ZO2_ERR_NOMEM, "out of memory for a part of an export (%" PRIu64 " bytes)", bytes);
}

/* ---- which model ------------------------------------------------------------------------------------------------- */

/* The pack's model with a head of its own. */
static zo2_status untie(zo2_export_model *m)
{
    zo2_arch *a = &m->untied;
    *a = m->v->pack->arch;
    a->tied = 0;
    a->n_tensors = a->n_blocks = 0;
    a->parameters = 0;
    a->tensors = NULL;
    a->block_at = a->by_name = a->row = NULL;
    zo2_status s = a->family->build_tensors(a, m->v->pack_path);
    if (!s)
        s = zo2_arch_index(a);
    return s ? s : zo2_arch_check(a);
}

zo2_status zo2_export_model_open(zo2_export_model *m, zo2_export_values *v)
{
    *m = (zo2_export_model){.v = v, .arch = &v->pack->arch};
    if (!v->arch.n_rows || !v->arch.tied)
        return ZO2_OK;
    m->arch = &m->untied;
    return untie(m);
}

void zo2_export_model_close(zo2_export_model *m)
{
    zo2_arch_free(&m->untied);
    free(m->moved.at);
    free(m->a.at);
    free(m->b.at);
    free(m->sum.at);
    free(m->bits.at);
    free(m->bad.at);
}

/* The run's tensor that one of the model is made of. */
static const zo2_tensor *base_of(const zo2_export_model *m, const zo2_tensor *t)
{
    const zo2_arch *run = &m->v->arch;
    const zo2_tensor *own = zo2_arch_by_name(run, t->name);
    return own ? own : &run->tensors[zo2_arch_find(run, ZO2_ROLE_EMBED_TOKENS, 0)]; /* a head that was tied */
}

zo2_dtype zo2_export_model_source(const zo2_export_model *m, uint32_t id)
{
    return zo2_export_values_source(m->v, base_of(m, &m->arch->tensors[id]));
}

/* ---- rows of the head -------------------------------------------------------------------------------------------- */

/* The next group of the rows that move, copied: the values' buffers are those of the head's own group at the time. */
static zo2_status make_rows(zo2_export_model *m)
{
    const uint64_t rows = zo2_export_values_rows(m->v, m->rows, m->end);
    const uint64_t bytes = rows * m->rows->cols * zo2_dtype_bytes(m->to);
    const void *bits;
    m->v->told = 0;
    zo2_status s = zo2_export_values_group(m->v, m->rows, m->to, m->end, rows, &bits);
    m->v->told = 1;
    if (!s)
        s = need(&m->moved, bytes);
    if (s)
        return s;
    memcpy(m->moved.at, bits, bytes);
    m->moved_at = m->end;
    m->end += rows;
    return ZO2_OK;
}

static zo2_status put_rows(zo2_export_model *m, uint64_t row, uint64_t rows, const void **bits)
{
    const zo2_arch *run = &m->v->arch;
    const uint64_t line = m->base->cols * zo2_dtype_bytes(m->to);
    if (m->next == run->n_rows || run->row[m->next] >= row + rows)
        return ZO2_OK;
    zo2_status s = need(&m->bits, rows * line);
    if (s)
        return s;
    unsigned char *out = memcpy(m->bits.at, *bits, rows * line);
    for (; m->next < run->n_rows && run->row[m->next] < row + rows; m->next++) {
        if (m->next == m->end && (s = make_rows(m)))
            return s;
        const unsigned char *moved = m->moved.at;
        memcpy(out + (run->row[m->next] - row) * line, moved + (m->next - m->moved_at) * line, line);
    }
    *bits = out;
    return ZO2_OK;
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

/* All values of an adapter's tensor. */
static zo2_status load_adapter(zo2_export_model *m, uint32_t tensor, zo2_export_room *out)
{
    const zo2_tensor *t = &m->v->arch.tensors[tensor];
    const uint64_t bytes = t->rows * t->cols * sizeof(float);
    const void *bits;
    m->v->told = 0;
    zo2_status s = zo2_export_values_group(m->v, t, ZO2_F32, 0, t->rows, &bits);
    m->v->told = 1;
    if (!s)
        s = need(out, bytes);
    if (!s)
        memcpy(out->at, bits, bytes);
    return s;
}

/* Those of a matrix, if it has any. */
static zo2_status load_adapters(zo2_export_model *m, const zo2_tensor *t)
{
    const zo2_arch *run = &m->v->arch;
    uint32_t target = 0, a = ZO2_NO_TENSOR;
    while (target < ZO2_LORA_TARGETS && zo2_lora_target[target] != t->role)
        target++;
    if (target < ZO2_LORA_TARGETS)
        a = zo2_arch_find(run, (zo2_role)(ZO2_ROLE_LORA_A + target), t->layer);
    m->adapted = a != ZO2_NO_TENSOR;
    if (!m->adapted)
        return ZO2_OK;
    zo2_status s = load_adapter(m, a, &m->a);
    const uint32_t b = zo2_arch_find(run, (zo2_role)(ZO2_ROLE_LORA_B + target), t->layer);
    return s ? s : load_adapter(m, b, &m->b);
}

/* A row of the group: W + alpha / r B A, each sum in fp32, in the order of the ranks; rounded to the output's type once. */
static void add_row(void *arg, uint64_t i)
{
    const zo2_export_model *m = arg;
    const uint64_t cols = m->base->cols, rank = m->v->arch.lora_rank;
    const float scale = m->v->arch.lora_scale, *a = m->a.at, *b = (const float *)m->b.at + (m->row + i) * rank;
    float *w = (float *)m->sum.at + i * cols, product[COLUMNS];
    unsigned char *out = (unsigned char *)m->bits.at + i * cols * zo2_dtype_bytes(m->to);
    for (uint64_t at = 0; at < cols; at += COLUMNS) {
        const uint64_t n = zo2_min_u64(cols - at, COLUMNS);
        memset(product, 0, sizeof product);
        for (uint64_t k = 0; k < rank; k++)
            for (uint64_t j = 0; j < n; j++)
                product[j] += b[k] * a[k * cols + at + j];
        for (uint64_t j = 0; j < n; j++)
            w[at + j] += scale * product[j];
    }
    zo2_source_encode(m->to, w, cols, out);
    ((uint64_t *)m->bad.at)[i] = zo2_first_nonfinite(m->to, out, cols);
}

/* w: the row as it would be; element: what its type can't hold. */
static zo2_status refuse_sum(const zo2_export_model *m, uint64_t row, const float *w, uint64_t element)
{
    return zo2_error(ZO2_ERR_NONFINITE,
                     "element %" PRIu64 " of %s with its adapters merged is %g, which %s can't hold; export %s",
                     row * m->base->cols + element, m->base->name, (double)w[element], zo2_dtype_name(m->to),
                     isfinite(w[element]) ? "as fp32" : "an earlier step");
}

static zo2_status add_adapters(zo2_export_model *m, uint64_t row, uint64_t rows, const void **bits)
{
    const uint64_t n = rows * m->base->cols;
    const void *w;
    m->v->told = zo2_dtype_bytes(m->to) / 4.0;
    zo2_status s = zo2_export_values_group(m->v, m->base, ZO2_F32, row, rows, &w);
    m->v->told = 1;
    if (s || (s = need(&m->sum, n * sizeof(float))) || (s = need(&m->bits, n * zo2_dtype_bytes(m->to))) ||
        (s = need(&m->bad, rows * sizeof(uint64_t))))
        return s;
    const float *sum = memcpy(m->sum.at, w, n * sizeof *sum);
    const uint64_t *bad = m->bad.at, cols = m->base->cols;
    m->row = row;
    zo2_pool_run(m->v->pool, rows, add_row, m);
    for (uint64_t i = 0; i < rows; i++)
        if (bad[i] < cols)
            return refuse_sum(m, row + i, sum + i * cols, bad[i]);
    *bits = m->bits.at;
    return ZO2_OK;
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

zo2_status zo2_export_model_begin(zo2_export_model *m, uint32_t id, zo2_dtype to)
{
    const zo2_arch *run = &m->v->arch;
    const zo2_tensor *t = &m->arch->tensors[id];
    m->to = to;
    m->base = base_of(m, t);
    m->rows =
        run->n_rows && t->role == ZO2_ROLE_LM_HEAD ? &run->tensors[zo2_arch_find(run, ZO2_ROLE_HEAD_ROWS, 0)] : NULL;
    m->next = m->end = 0;
    m->adapted = 0;
    return run->lora_rank ? load_adapters(m, t) : ZO2_OK;
}

uint64_t zo2_export_model_rows(const zo2_export_model *m, uint64_t row)
{
    return zo2_export_values_rows(m->v, m->base, row);
}

zo2_status zo2_export_model_group(zo2_export_model *m, uint64_t row, uint64_t rows, const void **bits)
{
    if (m->adapted)
        return add_adapters(m, row, rows, bits);
    zo2_status s = zo2_export_values_group(m->v, m->base, m->to, row, rows, bits);
    return s || !m->rows ? s : put_rows(m, row, rows, bits);
}
