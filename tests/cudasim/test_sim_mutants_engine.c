/* test_sim_mutants_engine.c: mutants of the scheduler. A lane's waits for events of other lanes are forgotten for a whole
 * run, in which a small device budget makes slots be used again: caught by ThreadSanitizer, or because the masters come
 * out different in some order of the queues. */
#include "tests/unit/engine_testing.h"

#include <sys/mman.h>

#include "mutants.h"

#define STEPS 2
static const char model[] = "opt-fixtures/prenorm-f16-headdim20";

typedef struct trial {
    const char *name;
    unsigned drop_waits; /* 1 + lane */
    unsigned caught_by;
    cudasim_order order;
    struct shared {
        uint64_t want;   /* hash of the masters; 0: to be set */
        uint64_t budget; /* what turned out to be enough */
    } * shared;          /* with the child process */
} trial;

static zo2_engine *open_small(const char *run, const cudasim_config *sim, uint64_t *budget)
{
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CUDA;
    o.lr = 1e-3;
    o.seed = 7;
    o.max_rows = 8;
    o.max_seq = 14;
    o.threads = 2;
    o.wire = ZO2_WIRE_BF16;
    o.chunk_bytes = 1000;
    /* the smallest budget that does: wires don't stay on the device */
    for (o.device_bytes = *budget; o.device_bytes < (uint64_t)256 << 20; o.device_bytes += 256 << 10) {
        zo2_engine *e;
        cudasim_reset(sim); /* lanes are streams 0, 1, ... of a new device */
        if (!zo2_engine_open(&e, pack_of(model), run, &o)) {
            *budget = o.device_bytes;
            return e;
        }
    }
    fail_msg("no budget is enough: %s", zo2_last_error());
    return NULL;
}

static int train(void *argument)
{
    const trial *t = argument;
    cudasim_config sim = {.order = t->order, .seed = 3, .quiet = 1, .drop_waits = t->drop_waits};
    char run[512], name[64];
    uint64_t hash = 0;
    snprintf(name, sizeof name, "run-%d", (int)getpid());
    zo2_engine *e = open_small(scratch_path(run, sizeof run, name), &sim, &t->shared->budget);
    for (uint32_t i = 0; i < STEPS; i++) {
        test_batch b;
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&b, i + 1, 100, 8, 14, 0);
        b.b.data_position = i + 1;
        MUST(zo2_step(e, &b.b, &r));
        if (r.skipped)
            return 1;
    }
    MUST(zo2_masters_hash(e, &hash));
    zo2_engine_close(e);
    if (!t->shared->want)
        t->shared->want = hash;
    return hash != t->shared->want;
}

static void forgotten_waits_are_caught(void **state)
{
    (void)state;
    static const trial trials[] = {
        {"nothing is forgotten", 0, 0, 0, NULL},
        {"the upload lane's waits", 1 + ZO2_LANE_UPLOAD, ALWAYS, 0, NULL},
        {"the compute lane's waits", 1 + ZO2_LANE_COMPUTE, ALWAYS, 0, NULL},
    };
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    shared->budget = (uint64_t)16 << 20;
    pack_of(model);
    int failed = 0;
    const int orders = THIS_BUILD == BY_TSAN ? 1 : 3; /* ThreadSanitizer needs no luck with the order */
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        int caught = 0;
        for (int order = 0; order < orders; order++) {
            trial t = trials[i];
            t.order = (cudasim_order)order;
            t.shared = shared;
            fate f = call_in_child(train, &t);
            if (i == 0 && f != FINE)
                fail_msg("the engine as it is fails, order %d: fate %d", order, f);
            caught += f != FINE;
        }
        print_message("%s: caught in %d of %d orders\n", trials[i].name, caught, orders);
        failed += (trials[i].caught_by & THIS_BUILD) && !caught;
    }
    assert_int_equal(failed, 0);
    munmap(shared, sizeof *shared);
}

static int clean_up(void **state)
{
    (void)state;
    remove_tree(scratch_dir());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forgotten_waits_are_caught)};
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
