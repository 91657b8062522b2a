/* test_backend_host_memory.c: blocks of host memory: alignment, zeros, pages taken by touching, and slots. */
#include "engine/base/host_memory.h"
#include "engine/base/slots.h"
#include "tests/unit/kernels/test_backend_util.h"

#include <sys/mman.h>

#define HUGE (2ull << 20)

/* Pages of [p, p + bytes) that the system has given. */
static uint64_t resident(const void *p, uint64_t bytes)
{
    uint64_t pages = (bytes + 4095) / 4096, n = 0;
    unsigned char *in = malloc(pages);
    assert_non_null(in);
    assert_int_equal(mincore((void *)(uintptr_t)p, bytes, in), 0);
    for (uint64_t i = 0; i < pages; i++)
        n += in[i] & 1;
    free(in);
    return n;
}

static void blocks(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 4095, 4096, 4097, HUGE - 1, HUGE, HUGE + 1, 3 * HUGE + 12345, 20 * HUGE + 1};
    test_pool pool = {.threads = 3};
    zo2_parallel parallel = {.ud = &pool, .threads = 3, .run = test_pool_run};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int threads = 0; threads < 2; threads++) {
            void *memory;
            uint64_t bytes = sizes[i];
            TEST_OK(zo2_host_map(&memory, bytes, "a test"));
            assert_int_equal((uintptr_t)memory % (bytes >= HUGE ? HUGE : 4096), 0);
            uint8_t *byte = memory;
            assert_int_equal(byte[0] | byte[bytes / 2] | byte[bytes - 1], 0);
            byte[bytes - 1] = 17;
            zo2_host_touch(memory, bytes, threads ? &parallel : NULL);
            assert_int_equal(resident(memory, bytes), (bytes + 4095) / 4096);
            assert_int_equal(byte[bytes - 1], 17); /* contents stay */
            zo2_host_unmap(memory, bytes);
        }
    }
    zo2_host_unmap(NULL, 0);
}

/* Nothing is taken before it is touched: a block may be larger than what is used of it. */
static void untouched(void **state)
{
    (void)state;
    void *memory;
    TEST_OK(zo2_host_map(&memory, 64 * HUGE, "a test"));
    assert_int_equal(resident(memory, 64 * HUGE), 0);
    zo2_host_touch(memory, HUGE, NULL);
    assert_true(resident(memory, 64 * HUGE) >= HUGE / 4096);
    assert_true(resident(memory, 64 * HUGE) <= 2 * HUGE / 4096);
    zo2_host_unmap(memory, 64 * HUGE);
}

static void refused(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, UINT64_MAX, UINT64_MAX / 2, 1ull << 60};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *memory = &memory;
        TEST_REFUSED(zo2_host_map(&memory, sizes[i], "the test's block"), ZO2_ERR_NOMEM, "the test's block");
        assert_null(memory);
    }
}

/* No two tasks hold one slot at the same time. */
typedef struct slots_job {
    zo2_slots slots;
    atomic_int inside[3], doubled;
} slots_job;

static void use_slot(void *arg, uint64_t i)
{
    slots_job *job = arg;
    uint32_t slot = zo2_slots_take(&job->slots);
    if (slot >= 3 || atomic_fetch_add(&job->inside[slot], 1))
        atomic_fetch_add(&job->doubled, 1);
    for (volatile uint64_t k = 0; k < 100 + i % 7; k++)
        ;
    atomic_fetch_sub(&job->inside[slot], 1);
    zo2_slots_give(&job->slots, slot);
}

static void slots(void **state)
{
    (void)state;
    slots_job job = {.doubled = 0};
    test_pool pool = {.threads = 3};
    assert_true(zo2_slots_create(&job.slots, 3));
    test_pool_run(&pool, 20000, use_slot, &job);
    assert_int_equal(job.doubled, 0);
    uint32_t a = zo2_slots_take(&job.slots), b = zo2_slots_take(&job.slots), c = zo2_slots_take(&job.slots);
    assert_int_equal((1u << a) | (1u << b) | (1u << c), 7);
    zo2_slots_give(&job.slots, b);
    assert_int_equal(zo2_slots_take(&job.slots), b);
    zo2_slots_free(&job.slots);
    zo2_slots_free(&job.slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks),
        cmocka_unit_test(untouched),
        cmocka_unit_test(refused),
        cmocka_unit_test(slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
