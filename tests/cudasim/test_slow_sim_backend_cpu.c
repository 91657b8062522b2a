/* test_slow_sim_backend_cpu.c: the cuda backend against the cpu backend, the whole engine: losses of a run of the tiny model,
 * log-probabilities of the reference models in 16-bit compute types; and which operations have the very same bits. */
#include "cudasim.h"
#include "tests/unit/engine/engine_testing.h"

#include <dirent.h>
#include <math.h>

/* ---- the tiny model, 20 steps ---- */

#define STEPS 20

static void run_tiny(zo2_backend_kind backend, zo2_dtype compute, double loss[STEPS])
{
    zo2_engine_opts o;
    zo2_engine *e;
    char path[512], name[64];
    zo2_engine_opts_init(&o);
    o.backend = backend;
    o.compute = compute;
    o.wire = ZO2_WIRE_BF16;
    o.lr = 1e-6; /* MeZO's: rounding errors do not grow from step to step */
    o.seed = 5;
    o.max_rows = 4;
    o.max_seq = 12;
    o.threads = 2;
    snprintf(name, sizeof name, "tiny-%d-%d", (int)backend, (int)compute);
    cudasim_config sim = {.device_bytes = 2ull << 30, .order = CUDASIM_LIFO};
    cudasim_reset(&sim);
    MUST(zo2_engine_open(&e, pack_of("tiny-opt/model"), scratch_path(path, sizeof path, name), &o));
    for (uint32_t i = 0; i < STEPS; i++) {
        test_batch t;
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&t, i + 1, 4096, 4, 12, 0);
        MUST(zo2_step(e, &t.b, &r));
        loss[i] = (r.loss_plus + r.loss_minus) / 2;
    }
    zo2_engine_close(e);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
}

static void tiny_model(void **state)
{
    (void)state;
    static const zo2_dtype types[] = {ZO2_F32, ZO2_F16};
    for (int k = 0; k < 2; k++) {
        double cpu[STEPS], cuda[STEPS], worst = 0;
        run_tiny(ZO2_BACKEND_CPU, types[k], cpu);
        run_tiny(ZO2_BACKEND_CUDA, types[k], cuda);
        for (int i = 0; i < STEPS; i++)
            worst = fmax(worst, fabs(cpu[i] - cuda[i]));
        print_message("compute type %d: losses differ by at most %.2g\n", (int)types[k], worst);
        assert_true(worst <= 1e-3);
    }
}

/* ---- reference models in 16 bits ---- */

/* Both backends round activations and panels to the compute type at the same places; where fp32 sums in another order
 * round to the neighbouring 16-bit value, a log-probability moves by some of the type's roundings. Each of the at most
 * 6 layers' 6 rounded activations may err by u = 2^-11 (fp16) or 2^-8 (bf16) of its own size, and probabilities of
 * attention are rounded on a GPU only; logits of these models are below 8. So the distance is below 36 * 8 u = 0.14 and
 * 1.1 if every error had its largest value and one sign. With random signs it is about sqrt(36) * u times 8: 0.024 and
 * 0.19; asked for is that. */
static void reference_models(void **state)
{
    (void)state;
    static const struct {
        zo2_dtype type;
        double bound;
    } v[] = {{ZO2_F16, 0.024}, {ZO2_BF16, 0.19}};
    const char *root = ZO2_TEST_DATA "/opt-fixtures";
    DIR *d = opendir(root);
    double worst[2] = {0, 0};
    int models = 0;
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        char config[600], name[300];
        snprintf(config, sizeof config, "%s/%s/reference.json", root, entry->d_name);
        if (access(config, F_OK))
            continue;
        snprintf(name, sizeof name, "opt-fixtures/%s", entry->d_name);
        for (int k = 0; k < 2; k++) {
            float logprobs[2][512];
            uint64_t tokens = 0;
            for (int gpu = 0; gpu < 2; gpu++) {
                zo2_engine_opts o;
                zo2_engine *e;
                zo2_scores s;
                test_batch t;
                cudasim_config sim = {.order = CUDASIM_SEEDED, .seed = (uint64_t)models};
                cudasim_reset(&sim);
                zo2_engine_opts_init(&o);
                o.read_only = 1;
                o.wire = ZO2_WIRE_FP32;
                o.compute = v[k].type;
                o.backend = gpu ? ZO2_BACKEND_CUDA : ZO2_BACKEND_CPU;
                o.max_rows = 6;
                o.max_seq = 12;
                random_batch(&t, 9, 40, 6, 12, models % 2 ? 3 : 0);
                MUST(zo2_engine_open(&e, pack_of(name), NULL, &o));
                zo2_scores_init(&s);
                s.logprobs = logprobs[gpu];
                MUST(zo2_forward(e, &t.b, ZO2_WEIGHTS_WIRE, &s));
                tokens = s.loss_tokens;
                zo2_engine_close(e);
            }
            assert_true(tokens > 10 && tokens <= 512);
            for (uint64_t i = 0; i < tokens; i++) {
                assert_true(isfinite(logprobs[1][i]));
                worst[k] = fmax(worst[k], fabs((double)logprobs[0][i] - (double)logprobs[1][i]));
            }
        }
        models++;
    }
    closedir(d);
    assert_true(models >= 15);
    print_message("log-probabilities differ by at most %.2g (fp16), %.2g (bf16) over %d models\n", worst[0], worst[1],
                  models);
    for (int k = 0; k < 2; k++)
        assert_true(worst[k] <= v[k].bound);
}

static int clean(void **state)
{
    (void)state;
    remove_tree(scratch_dir());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_model), cmocka_unit_test(reference_models)};
    return cmocka_run_group_tests(tests, NULL, clean);
}
