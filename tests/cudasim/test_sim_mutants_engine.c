/* test_sim_mutants_engine.c: mutants of the scheduler. A lane's waits for events of other lanes are forgotten for a whole
 * run, in which a small device budget makes slots be used again, or all of the host's waits for events, in runs that
 * need them. That has to be caught by ThreadSanitizer, or because the outcome is different in some order of the queues. */
#include "tests/unit/engine/moving_home.h"

#include <sys/mman.h>

#include "mutants.h"

#define STEPS 2
static const char model[] = "opt-fixtures/prenorm-f16-headdim20";
static const char two_layers[] = "opt-fixtures/prenorm-f32/config.json";

typedef enum setting {
    USUAL,
    STAGED,  /* residual streams wait in host memory; the areas for gathered rows are used again */
    BOUNCED, /* wires are uploaded through the staging, whose slots are used again */
    EXACT,   /* an evaluation at the masters' values, which are uploaded through the staging, too */
    ALIASED, /* layers share memory: one is updated when the one before it has been uploaded */
    MOVING,  /* wires are only there while they are held */
    SETTINGS
} setting;

typedef struct trial {
    const char *name;
    setting setting;
    unsigned drop_waits; /* 1 + lane */
    int drop_event_syncs;
    cudasim_order order;
    struct shared {
        uint64_t want[SETTINGS];   /* hash of masters and losses; 0: to be set */
        uint64_t budget[SETTINGS]; /* the smallest; 0: to be asked for */
    } * shared;                    /* with the child process */
} trial;

static const char *pack_for(setting which)
{
    static char path[512];
    char config[600];
    zo2_synth_opts o;
    if (which != ALIASED)
        return pack_of(model);
    scratch_path(path, sizeof path, "aliased.zo2");
    zo2_synth_opts_init(&o);
    o.alias = 1;
    snprintf(config, sizeof config, "%s/%s", ZO2_TEST_DATA, two_layers);
    if (access(path, F_OK))
        MUST(zo2_pack_synth(config, path, &o));
    return path;
}

static zo2_engine *open_small(const trial *t, const char *run)
{
    cudasim_config sim = {
        .order = t->order, .seed = 3, .quiet = 1, .drop_waits = t->drop_waits, .drop_event_syncs = t->drop_event_syncs};
    zo2_engine *e;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CUDA;
    o.lr = 1e-3;
    o.seed = 7;
    o.max_rows = 8;
    o.max_seq = 8;
    o.threads = 2;
    o.wire = ZO2_WIRE_BF16;
    o.chunk_bytes = 1000;
    o.resume = 1;
    if (t->setting == STAGED)
        o.micro_batch = o.max_rows_micro = 1;
    cudasim_reset(&sim);
    o.device_bytes = t->shared->budget[t->setting];
    if (!o.device_bytes) { /* the smallest that works: wires don't stay on the device */
        MUST(zo2_engine_open(&e, pack_for(t->setting), run, &o));
        o.device_bytes = t->shared->budget[t->setting] = e->core.plan.pub.device_min_bytes;
        zo2_engine_close(e);
        cudasim_reset(&sim); /* lanes are streams 0, 1, ... of a new device */
    }
    MUST(zo2_engine_open(&e, pack_for(t->setting), run, &o));
    assert_int_equal(e->core.plan.device.staged, t->setting == STAGED);
    assert_int_equal(e->core.plan.pub.resident_bytes, 0);
    zo2_pipeline_set_bounce(e->core.pipe, t->setting == BOUNCED);
    return e;
}

/* 0 if the outcome is what it was first. */
static int train(void *argument)
{
    const trial *t = argument;
    char run[512], name[64];
    uint64_t hash = 0;
    test_batch b;
    snprintf(name, sizeof name, "run-%d", (int)getpid());
    moving_home home;
    zo2_engine *e = open_small(t, scratch_path(run, sizeof run, name));
    if (t->setting == MOVING)
        moving_home_enter(&home, e);
    for (uint32_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&b, i + 1, 100, 8, 8, 0);
        b.b.data_position = i + 1;
        MUST(zo2_step(e, &b.b, &r));
        if (r.skipped)
            return 1;
    }
    MUST(zo2_masters_hash(e, &hash));
    if (t->setting == EXACT) {
        zo2_scores scores;
        uint64_t bits;
        zo2_scores_init(&scores);
        MUST(zo2_forward(e, &b.b, ZO2_WEIGHTS_MASTER, &scores));
        memcpy(&bits, &scores.loss, sizeof bits);
        hash ^= bits;
    }
    if (t->setting == MOVING)
        moving_home_leave(&home, e);
    zo2_engine_close(e);
    if (t->setting == MOVING)
        moving_home_free(&home);
    if (!t->shared->want[t->setting])
        t->shared->want[t->setting] = hash;
    return hash != t->shared->want[t->setting];
}

static void forgotten_waits_are_caught(void **state)
{
    (void)state;
    static const trial trials[] = {
        {.setting = USUAL},
        {"the upload lane's waits", USUAL, .drop_waits = 1 + ZO2_LANE_UPLOAD},
        {"the compute lane's waits", USUAL, .drop_waits = 1 + ZO2_LANE_COMPUTE},
        {.setting = STAGED},
        {"the stage lane's waits", STAGED, .drop_waits = 1 + ZO2_LANE_STAGE},
        {"waits for gathered rows to have been uploaded", STAGED, .drop_event_syncs = 1},
        {.setting = BOUNCED},
        {"waits for staged wires to have been uploaded", BOUNCED, .drop_event_syncs = 1},
        {.setting = EXACT},
        {"waits for staged values to have been uploaded", EXACT, .drop_event_syncs = 1},
        {.setting = ALIASED},
        {"waits for a shared layer to have been uploaded", ALIASED, .drop_event_syncs = 1},
        {.setting = MOVING},
        {"waits for wires to have been uploaded before they are let go", MOVING, .drop_event_syncs = 1},
    };
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    for (int i = 0; i < SETTINGS; i++)
        pack_for((setting)i); /* now, so that no child does */
    int missed = 0;
    const int orders = THIS_BUILD == BY_TSAN ? 1 : 3; /* ThreadSanitizer needs no luck with the order */
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        int caught = 0, tried = 0;
        for (; tried < orders && !caught; tried++) {
            trial t = trials[i];
            t.order = (cudasim_order)((tried + 1) % 3); /* last first is most likely to find something */
            t.shared = shared;
            fate f = call_in_child(train, &t);
            if (!t.name && f != FINE)
                fail_msg("setting %d: the engine as it is fails, order %d: fate %d", (int)t.setting, (int)t.order, f);
            caught += f != FINE;
        }
        if (!trials[i].name)
            continue;
        print_message("%s: %s, order %d of %d\n", trials[i].name, caught ? "caught" : "missed", tried, orders);
        missed += !caught;
    }
    assert_int_equal(missed, 0);
    munmap(shared, sizeof *shared);
}

static pid_t parent;

/* A child whose assertion fails gets here, too: what others still need is the parent's to remove. */
static int clean_up(void **state)
{
    (void)state;
    if (getpid() == parent)
        remove_tree(scratch_dir());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forgotten_waits_are_caught)};
    parent = getpid();
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
