/* measure.c: zo2_measure_open(), run() and close(): checks, defaults, clock. */
#include "engine/measure/measure.h"
#include "codec/update.h"
#include "engine/base/clock.h"
#include "engine/base/finish.h"
#include "engine/base/fpenv.h"
#include "engine/base/host_memory.h"
#include "engine/base/opts.h"
#include "engine/base/process.h"
#include "storage/io/aio.h"
#include "storage/io/io.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_SIZE (1ull << 40)

void zo2_measure_spec_init_sized(zo2_measure_spec *spec, size_t size)
{
    zo2_measure_spec own = {.struct_size = sizeof own};
    zo2_opts_give(spec, size, &own, sizeof own);
}

static const zo2_measure_kernel *find_kernel(zo2_measure_kind kind)
{
    static const struct {
        const zo2_measure_kernel *list;
        size_t n;
    } families[] = {
        {zo2_measure_memory_kernels, sizeof zo2_measure_memory_kernels / sizeof(zo2_measure_kernel)},
        {zo2_measure_host_kernels, sizeof zo2_measure_host_kernels / sizeof(zo2_measure_kernel)},
        {zo2_measure_backend_kernels, sizeof zo2_measure_backend_kernels / sizeof(zo2_measure_kernel)},
        {zo2_measure_attention_kernels, sizeof zo2_measure_attention_kernels / sizeof(zo2_measure_kernel)},
        {zo2_measure_link_kernels, sizeof zo2_measure_link_kernels / sizeof(zo2_measure_kernel)},
        {zo2_measure_storage_kernels, sizeof zo2_measure_storage_kernels / sizeof(zo2_measure_kernel)},
    };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (size_t i = 0; i < families[f].n; i++)
            if (families[f].list[i].kind == kind)
                return &families[f].list[i];
    return NULL;
}

/* Fills defaults in and refuses what makes no sense. */
static zo2_status resolve(zo2_measure *m)
{
    zo2_measure_spec *s = &m->spec;
    m->kernel = find_kernel(s->kind);
    if (!m->kernel)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: there is no kind %d", (int)s->kind);
    s->bytes = s->bytes ? s->bytes : 256ull << 20;
    s->rows = s->rows ? s->rows : 4096;
    s->cols = s->cols ? s->cols : 1024;
    s->tokens = s->tokens ? s->tokens : 512;
    s->wire = s->wire ? s->wire : ZO2_WIRE_BF16;
    s->dist = s->dist ? s->dist : ZO2_GAUSSIAN;
    s->queries = s->queries ? s->queries : 1;
    s->heads = s->heads ? s->heads : 1;
    s->compute = s->compute ? s->compute : ZO2_F32;
    s->chunk_bytes = s->chunk_bytes ? s->chunk_bytes : 4ull << 20;
    if (s->bytes > MAX_SIZE || s->rows > MAX_SIZE || s->cols > MAX_SIZE / s->rows || s->tokens > MAX_SIZE ||
        s->cols > MAX_SIZE / s->tokens || s->rows > MAX_SIZE / s->tokens || s->chunk_bytes > MAX_SIZE)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: sizes above 2^40 make no sense");
    m->codec = zo2_codec_get(s->wire);
    if (!m->codec || !zo2_dist_name(s->dist) || !zo2_dtype_bytes(s->compute))
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: there is no wire %d, distribution %d or compute type %d",
                         (int)s->wire, (int)s->dist, (int)s->compute);
    if (s->queries > ZO2_MAX_QUERIES)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: %u queries, but a step has at most %d", s->queries,
                         ZO2_MAX_QUERIES);
    if (s->cols % s->heads)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: %u heads don't share %llu columns evenly", s->heads,
                         (unsigned long long)s->cols);
    if (s->pending > ZO2_MAX_PENDING)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: %u pending updates, but there are at most %d", s->pending,
                         ZO2_MAX_PENDING);
    return ZO2_OK;
}

/* The table in force decides where no set is named. A named one is tried, and the old one put back. */
static zo2_status resolve_simd(zo2_measure *m)
{
    const char *before = zo2_simd_current(), *name = m->spec.simd ? m->spec.simd : before;
    if (m->spec.simd && !zo2_simd_select(name))
        return zo2_error(ZO2_ERR_UNSUPPORTED, "this CPU or build has no instruction set '%s'", name);
    strncpy(m->info.simd, zo2_simd_current(), sizeof m->info.simd - 1);
    zo2_simd_select(before);
    return ZO2_OK;
}

zo2_status zo2_measure_open(zo2_measure **out, const zo2_measure_spec *spec, zo2_measure_info *info)
{
    return zo2_measure_open_on(out, spec, info, NULL);
}

zo2_status zo2_measure_open_on(zo2_measure **out, const zo2_measure_spec *spec, zo2_measure_info *info,
                               zo2_device *device)
{
    if (!out || !spec)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_open: out and spec are needed");
    *out = NULL;
    zo2_measure *m = calloc(1, sizeof *m);
    if (!m)
        return zo2_error(ZO2_ERR_NOMEM, "no memory to measure with");
    m->error = (zo2_job_error)ZO2_JOB_ERROR_INIT;
    m->process = getpid();
    m->device = device;
    fenv_t saved;
    zo2_fpenv_pin(&saved);
    zo2_status s =
        zo2_opts_take(&m->spec, sizeof m->spec, spec)
            ? resolve(m)
            : zo2_error(ZO2_ERR_ARG, "zo2_measure_open: struct_size is not set; call zo2_measure_spec_init()");
    if (!s)
        s = resolve_simd(m);
    if (!s)
        s = zo2_pool_create(&m->pool, m->spec.threads);
    if (!s) {
        m->info.threads = zo2_pool_threads(m->pool);
        s = m->kernel->prepare(m);
    }
    zo2_fpenv_restore(&saved);
    if (s) {
        zo2_measure_close(m);
        return s;
    }
    if (info)
        *info = m->info;
    *out = m;
    return zo2_finish(ZO2_OK);
}

zo2_status zo2_measure_run(zo2_measure *m, uint64_t passes, double *seconds)
{
    if (!m || !seconds)
        return zo2_error(ZO2_ERR_ARG, "zo2_measure_run: a measurement and seconds are needed");
    zo2_status s = zo2_process_check(m->process, "zo2_measure_run", "measurement");
    if (s)
        return s;
    passes = passes ? passes : 1;
    const zo2_backend_ops *ops = m->be ? m->be->ops : NULL;
    const char *before = zo2_simd_current();
    fenv_t saved;
    zo2_fpenv_pin(&saved);
    if (m->spec.simd)
        zo2_simd_select(m->info.simd);
    if (ops && ops->enter)
        ops->enter(m->be);
    double from = zo2_now();
    for (uint64_t i = 0; i < passes && !s; i++)
        s = m->kernel->pass(m);
    if (ops && !s)
        s = ops->drain(m->be);
    *seconds = (zo2_now() - from) / (double)passes;
    if (ops && ops->leave)
        ops->leave(m->be);
    if (m->spec.simd)
        zo2_simd_select(before);
    zo2_fpenv_restore(&saved);
    return zo2_finish(s);
}

void zo2_measure_close(zo2_measure *m)
{
    if (!m)
        return;
    if (m->be) {
        if (m->registered)
            m->be->ops->host_unregister(m->be, m->registered);
        for (unsigned i = 0; i < ZO2_MEASURE_SLOTS; i++) {
            m->be->ops->event_destroy(m->be, m->uploaded[i]);
            m->be->ops->event_destroy(m->be, m->released[i]);
        }
        m->be->ops->close(m->be);
    }
    zo2_aio_close(m->queue);
    zo2_aio_file_close(&m->file, &zo2_io_posix);
    zo2_host_unmap(m->staging_memory, m->staging_bytes);
    zo2_pool_destroy(m->pool);
    if (m->memory)
        munmap(m->memory, m->memory_bytes);
    free(m);
}
