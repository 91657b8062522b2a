/* measure_memory.c: the limits: how fast memory (or a cache, for small sizes) can be written, read, copied and
 * rewritten by all threads. Each thread has one contiguous part, so that memcpy() and memset() may use their
 * non-temporal stores. */
#include "engine/base/pool.h"
#include "engine/measure/measure.h"

#include <stdatomic.h>
#include <string.h>

#define LINE 256u /* bytes of a turn of the loops: parts are multiples of it */

/* The two loops, inlined into one function per instruction set. */

static inline __attribute__((always_inline)) uint64_t scan_loop(const uint64_t *p, uint64_t n)
{
    uint64_t sum[LINE / 8] = {0}; /* independent sums: loads don't wait for each other */
    for (uint64_t i = 0; i < n; i += LINE / 8)
        for (unsigned j = 0; j < LINE / 8; j++)
            sum[j] ^= p[i + j];
    for (unsigned j = 1; j < LINE / 8; j++)
        sum[0] ^= sum[j];
    return sum[0];
}

static inline __attribute__((always_inline)) void rewrite_loop(uint64_t *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        p[i] ^= 1;
}

typedef struct loops {
    const char *simd;
    uint64_t (*scan)(const uint64_t *p, uint64_t n);
    void (*rewrite)(uint64_t *p, uint64_t n);
} loops;

static uint64_t scan_any(const uint64_t *p, uint64_t n)
{
    return scan_loop(p, n);
}

static void rewrite_any(uint64_t *p, uint64_t n)
{
    rewrite_loop(p, n);
}

#if defined(__x86_64__) && !defined(ZO2_NO_X86_SIMD)
#define AVX2   __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,prefer-vector-width=512")))

AVX2 static uint64_t scan_avx2(const uint64_t *p, uint64_t n)
{
    return scan_loop(p, n);
}

AVX2 static void rewrite_avx2(uint64_t *p, uint64_t n)
{
    rewrite_loop(p, n);
}

AVX512 static uint64_t scan_avx512(const uint64_t *p, uint64_t n)
{
    return scan_loop(p, n);
}

AVX512 static void rewrite_avx512(uint64_t *p, uint64_t n)
{
    rewrite_loop(p, n);
}
#endif

static const loops *loops_of(const zo2_measure *m)
{
    static const loops all[] = {
#if defined(__x86_64__) && !defined(ZO2_NO_X86_SIMD)
        {"avx512", scan_avx512, rewrite_avx512},
        {"avx2", scan_avx2, rewrite_avx2},
#endif
        {"scalar", scan_any, rewrite_any},
    };
    const loops *l = all;
    while (strcmp(l->simd, m->info.simd) != 0 && strcmp(l->simd, "scalar") != 0)
        l++;
    return l;
}

/* ---- tasks: one part each ---- */

static void fill_part(void *arg, uint64_t i)
{
    zo2_measure *m = arg;
    memset(m->from + i * m->part, 0x3C, m->part);
}

static void copy_part(void *arg, uint64_t i)
{
    zo2_measure *m = arg;
    memcpy(m->to + i * m->part, m->from + i * m->part, m->part);
}

static void scan_part(void *arg, uint64_t i)
{
    zo2_measure *m = arg;
    uint64_t sum = loops_of(m)->scan((const uint64_t *)(const void *)(m->from + i * m->part), m->part / 8);
    atomic_fetch_xor_explicit(&m->sink, sum, memory_order_relaxed); /* or the compiler drops the reads */
}

static void rewrite_part(void *arg, uint64_t i)
{
    zo2_measure *m = arg;
    loops_of(m)->rewrite((uint64_t *)(void *)(m->from + i * m->part), m->part / 8);
}

static zo2_status run_parts(zo2_measure *m, void (*part)(void *arg, uint64_t i))
{
    zo2_pool_run(m->pool, m->info.threads, part, m);
    return ZO2_OK;
}

static zo2_status pass_fill(zo2_measure *m)
{
    return run_parts(m, fill_part);
}

static zo2_status pass_scan(zo2_measure *m)
{
    return run_parts(m, scan_part);
}

static zo2_status pass_copy(zo2_measure *m)
{
    return run_parts(m, copy_part);
}

static zo2_status pass_rewrite(zo2_measure *m)
{
    return run_parts(m, rewrite_part);
}

static zo2_status prepare(zo2_measure *m)
{
    zo2_measure_kind kind = m->spec.kind;
    m->part = (m->spec.bytes / m->info.threads + LINE - 1) / LINE * LINE;
    uint64_t bytes = m->part * m->info.threads, apart = ((bytes + 4095) & ~4095ull) + 1344; /* masters.h says why */
    zo2_status s = zo2_measure_map(m, kind == ZO2_MEASURE_COPY ? apart + bytes : bytes);
    if (s)
        return s;
    m->from = m->memory;
    run_parts(m, fill_part);
    if (kind == ZO2_MEASURE_COPY) {
        m->to = m->memory + apart;
        run_parts(m, copy_part);
    }
    m->info.items = (double)bytes;
    m->info.bytes_read = kind == ZO2_MEASURE_FILL ? 0 : bytes;
    m->info.bytes_written = kind == ZO2_MEASURE_SCAN ? 0 : bytes;
    if (kind == ZO2_MEASURE_COPY || kind == ZO2_MEASURE_REWRITE)
        m->info.items *= 2;
    return ZO2_OK;
}

const zo2_measure_kernel zo2_measure_memory_kernels[4] = {
    {ZO2_MEASURE_FILL, prepare, pass_fill},
    {ZO2_MEASURE_SCAN, prepare, pass_scan},
    {ZO2_MEASURE_COPY, prepare, pass_copy},
    {ZO2_MEASURE_REWRITE, prepare, pass_rewrite},
};
