/* masters_save.c: writing snapshots of the masters. */
#include "engine/base/pool.h"
#include "engine/masters/history.h"
#include "engine/masters/home.h"
#include "engine/masters/masters.h"
#include "engine/model/arch.h"
#include "engine/model/layout.h"
#include "storage/io/io.h"
#include "storage/run/snapshot.h"

#include <stdlib.h>

static uint64_t settle(zo2_masters *m, const zo2_history *h, zo2_pool *pool, const zo2_unit *u, zo2_status *status)
{
    uint64_t step = 0;
    for (uint32_t c = 0; c < u->n_chunks; c++)
        if (m->step[u->first_chunk + c] > step)
            step = m->step[u->first_chunk + c];
    for (uint32_t c = 0; c < u->n_chunks && !*status; c++)
        *status = zo2_masters_update(m, h, pool, u->first_chunk + c, step);
    return step;
}

/* The values of one span of a chunk whose planes are held. */
static zo2_status write_span(zo2_snapwriter *w, const zo2_arch *a, const zo2_span *s, const zo2_planes *p)
{
    float *values = malloc(s->rows * s->cols * sizeof *values);
    if (!values)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to write tensor %s to a snapshot", a->tensors[s->tensor].name);
    s->codec->join(zo2_planes_wire(p, s), zo2_planes_rest(p, s), s->rows, s->cols, 0, s->rows, values);
    zo2_status status = zo2_snapwriter_values(w, values, s->rows * s->cols);
    free(values);
    return status;
}

static zo2_status write_unit(zo2_masters *m, zo2_snapwriter *w, const zo2_unit *u)
{
    const zo2_layout *l = m->layout;
    zo2_status status = ZO2_OK;
    for (uint32_t c = u->first_chunk; c < u->first_chunk + u->n_chunks && !status; c++) {
        const zo2_chunk *chunk = &l->chunks[c];
        zo2_planes p;
        status = zo2_masters_acquire(m, c, ZO2_PLANE_WIRE | ZO2_PLANE_REST, ZO2_ACCESS_READ, &p);
        for (uint32_t i = 0; i < chunk->n_spans && !status; i++)
            status = write_span(w, l->arch, &l->spans[chunk->first_span + i], &p);
        zo2_masters_release(&p);
    }
    return status;
}

zo2_status zo2_masters_snapshot(zo2_masters *m, const zo2_history *h, zo2_pool *pool, const zo2_io *io, const char *dir,
                                uint64_t model_hash, uint64_t chain, zo2_progress_fn progress, void *progress_ud)
{
    const zo2_layout *l = m->layout;
    zo2_snapshot_header header = {.model_hash = model_hash, .step = h->steps, .chain = chain, .units = l->n_units};
    uint64_t *elements = malloc(l->n_units * sizeof *elements);
    zo2_snapwriter *w = NULL;
    zo2_status s = elements ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "no memory for a snapshot's table");
    for (uint32_t i = 0; i < l->n_units && !s; i++)
        elements[i] = zo2_masters_is_alias(m, &l->units[i]) || l->units[i].frozen ? 0 : l->units[i].elements;
    if (!s)
        s = zo2_snapwriter_open(&w, io, dir, &header, elements);
    for (uint32_t i = 0; i < l->n_units && !s; i++) {
        uint64_t step = settle(m, h, pool, &l->units[i], &s);
        if (!s)
            s = zo2_snapwriter_unit(w, step);
        if (!s && elements[i])
            s = write_unit(m, w, &l->units[i]);
        if (!s && progress && progress(progress_ud, "snapshot", i + 1, l->n_units))
            s = zo2_error(ZO2_ERR_CANCELLED, "cancelled while writing a snapshot");
    }
    if (!s)
        s = zo2_snapwriter_commit(w);
    zo2_snapwriter_close(w);
    free(elements);
    return s;
}
