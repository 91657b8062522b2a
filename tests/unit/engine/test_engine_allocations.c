/* test_engine_allocations.c: a step allocates nothing and stops for no page fault once the first steps have been. Linked
 * with --wrap, so every call of malloc and its kin, of mmap and munmap from the library's own code is counted here; what
 * OpenBLAS, oneDNN and the C library do inside shows as page faults. */
#include "tests/unit/engine/engine_testing.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

static atomic_uint_fast64_t calls;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t n);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t n);

void *__wrap_malloc(size_t n)
{
    calls++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    calls++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    calls++;
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    calls++;
    return __real_aligned_alloc(alignment, n);
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t n)
{
    calls++;
    return __real_posix_memalign(p, alignment, n);
}

void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    calls++;
    return __real_mmap(at, n, protection, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t n)
{
    calls++;
    return __real_munmap(at, n);
}

static uint64_t minor_faults(void)
{
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return (uint64_t)u.ru_minflt;
}

/* Steps of one run: the allocations of each after the first, and the fewest page faults of those after the second (the
 * system may move a page at any time; what the library does in every step shows in all of them). */
static void check_steps(const char *name, zo2_engine_opts *o, uint32_t rows, uint32_t seq, uint32_t options)
{
    enum { STEPS = 10 };
    char run[600];
    zo2_engine *e;
    static test_batch batch;
    o->max_rows = rows;
    o->max_seq = seq;
    o->threads = 3;
    o->lr = 1e-4;
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/tiles-f16"), scratch_path(run, sizeof run, name), o));
    uint64_t fewest = UINT64_MAX;
    for (int i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&batch, 7, 4201, rows, seq, options); /* the same batch: a longer one may use more of the arena */
        uint64_t before = calls, faults = minor_faults();
        MUST(zo2_step(e, &batch.b, &r));
        uint64_t made = calls - before, stopped = minor_faults() - faults;
        if (i > 0 && made)
            fail_msg("%s: step %d made %d allocations", name, i, (int)made);
        if (i > 1 && stopped < fewest)
            fewest = stopped;
    }
    zo2_engine_close(e);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their shadow memory grows when it likes */
    if (fewest)
        fail_msg("%s: every step had at least %d page faults", name, (int)fewest);
#endif
}

/* The counters count: opening an engine allocates, and fresh memory faults. */
static void counters_count(void **state)
{
    (void)state;
    zo2_engine_opts o;
    char run[600];
    zo2_engine *e;
    zo2_engine_opts_init(&o);
    o.max_rows = 1;
    o.max_seq = 8;
    uint64_t before = calls, faults = minor_faults();
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/tiles-f16"), scratch_path(run, sizeof run, "count"), &o));
    assert_true(calls > before + 10);
    assert_true(minor_faults() > faults);
    zo2_engine_close(e);
}

static void language_model(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    check_steps("lm", &o, 4, 24, 0);
}

/* Products of bf16 values have a library of their own, and memory that its primitives work in. */
static void language_model_bf16(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.compute = ZO2_BF16;
    check_steps("bf16", &o, 4, 24, 0);
}

/* Options, several queries, micro-batches, pending updates: embedding rows are then brought forward on their own. */
static void everything_on(void **state)
{
    (void)state;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.queries = 2;
    o.micro_batch = 1;
    o.max_rows_micro = 4;
    o.pending = 3;
    o.wire = ZO2_WIRE_E4M3;
    check_steps("options", &o, 8, 24, 4);
}

/* The lists that a run keeps of its steps have room from the start: no step allocates, the 257th, 1,025th and 2,049th
 * included, at which lists that grow by doubling would. The run lies in memory where it can: each step syncs a file. */
static void thousands_of_steps(void **state)
{
    enum { STEPS = 2060, ROWS = 1, SEQ = 4 };
    (void)state;
    zo2_engine_opts o;
    zo2_engine *e;
    static test_batch batch;
    char run[128], shm[] = "/dev/shm/zo2-test-XXXXXX";
    char *folder = mkdtemp(shm);
    snprintf(run, sizeof run, "%s/run", folder ? folder : scratch_dir());
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 1;
    random_batch(&batch, 7, 64, ROWS, SEQ, 0);
    MUST(zo2_engine_open(&e, pack_of("opt-fixtures/prenorm-f32"), run, &o));
    for (int i = 0; i < STEPS; i++) {
        uint64_t before = calls;
        MUST(zo2_step(e, &batch.b, NULL));
        if (i > 0 && calls != before)
            fail_msg("step %d made %d allocations", i, (int)(calls - before));
    }
    zo2_engine_close(e);
    remove_tree(folder ? folder : run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_count), cmocka_unit_test(language_model),     cmocka_unit_test(language_model_bf16),
        cmocka_unit_test(everything_on),  cmocka_unit_test(thousands_of_steps),
    };
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
