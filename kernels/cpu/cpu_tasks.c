/* cpu_tasks.c: how an operation is let in and spread over threads. */
#include "kernels/cpu/cpu_backend.h"
#include "kernels/operands.h"

zo2_status zo2_cpu_admit(zo2_cpu *c, zo2_status s, const zo2_operands *l)
{
    uint64_t end;
    if (s || (s = zo2_operands_check(l, c->arena, c->arena_bytes, &end)))
        return s;
    uint64_t peak = atomic_load_explicit(&c->peak, memory_order_relaxed);
    while (peak < end &&
           !atomic_compare_exchange_weak_explicit(&c->peak, &peak, end, memory_order_relaxed, memory_order_relaxed))
        ;
    return ZO2_OK;
}

void zo2_cpu_run(const zo2_cpu *c, uint64_t n, void (*fn)(void *arg, uint64_t i), void *arg)
{
    if (n > 1 && c->parallel.run) {
        c->parallel.run(c->parallel.ud, n, fn, arg);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        fn(arg, i);
}

uint64_t zo2_cpu_rows_per_task(uint64_t cols, uint64_t elements)
{
    return cols < elements ? elements / cols : 1;
}

typedef struct rows_job {
    zo2_cpu_row_fn row;
    const void *op;
    uint64_t m, rows_per_task, tasks; /* of one stream */
} rows_job;

static void rows_task(void *arg, uint64_t i)
{
    const rows_job *job = arg;
    const uint64_t stream = i / job->tasks, from = i % job->tasks * job->rows_per_task;
    const uint64_t to = from + job->rows_per_task < job->m ? from + job->rows_per_task : job->m;
    for (uint64_t r = from; r < to; r++)
        job->row(job->op, stream, r);
}

void zo2_cpu_run_rows(const zo2_cpu *c, uint64_t streams, uint64_t m, uint64_t cols, uint64_t elements,
                      zo2_cpu_row_fn row, const void *op)
{
    rows_job job = {.row = row, .op = op, .m = m, .rows_per_task = zo2_cpu_rows_per_task(cols, elements)};
    job.tasks = zo2_ceil_div(m, job.rows_per_task);
    zo2_cpu_run(c, streams * job.tasks, rows_task, &job);
}
