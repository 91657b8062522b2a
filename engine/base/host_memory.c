/* host_memory.c: see host_memory.h. */
#include "engine/base/host_memory.h"

#include <sys/mman.h>

#define PAGE  4096ull
#define HUGE  (2ull << 20)
#define PIECE (8ull << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older ones refuse it */
#endif

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

zo2_status zo2_host_map(void **out, uint64_t bytes, const char *what)
{
    *out = NULL;
    uint64_t slack = bytes >= HUGE ? HUGE : 0, size = whole_pages(bytes);
    void *memory = MAP_FAILED;
    if (bytes && bytes <= SIZE_MAX / 2)
        memory = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return zo2_error(ZO2_ERR_NOMEM, "cannot allocate %llu bytes for %s", (unsigned long long)bytes, what);
    if (slack) { /* keep the part that begins at a huge page */
        uint64_t before = (HUGE - (uint64_t)(uintptr_t)memory % HUGE) % HUGE;
        if (before)
            munmap(memory, before);
        memory = (uint8_t *)memory + before;
        if (slack > before)
            munmap((uint8_t *)memory + size, slack - before);
        (void)madvise(memory, size, MADV_HUGEPAGE); /* a wish: fewer TLB misses while streaming */
    }
    *out = memory;
    return ZO2_OK;
}

void zo2_host_unmap(void *memory, uint64_t bytes)
{
    if (memory)
        munmap(memory, whole_pages(bytes));
}

typedef struct touch_job {
    uint8_t *memory;
    uint64_t bytes;
} touch_job;

static void touch_piece(void *arg, uint64_t i)
{
    const touch_job *job = arg;
    uint64_t at = i * PIECE, n = job->bytes - at < PIECE ? job->bytes - at : PIECE;
    if (!madvise(job->memory + at, n, MADV_POPULATE_WRITE))
        return;
    for (uint64_t k = 0; k < n; k += PAGE) { /* an old kernel */
        volatile uint8_t *byte = job->memory + at + k;
        *byte = *byte;
    }
}

void zo2_host_touch(void *memory, uint64_t bytes, const zo2_parallel *parallel)
{
    touch_job job = {.memory = memory, .bytes = whole_pages(bytes)};
    uint64_t pieces = (bytes + PIECE - 1) / PIECE;
    if (parallel && parallel->run && pieces > 1) {
        parallel->run(parallel->ud, pieces, touch_piece, &job);
        return;
    }
    for (uint64_t i = 0; i < pieces; i++)
        touch_piece(&job, i);
}
