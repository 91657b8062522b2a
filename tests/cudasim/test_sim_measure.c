/* test_sim_measure.c: zo2_measure_*() on the simulated device: the work arrives there in whatever order the streams run,
 * nothing is left behind, and memory that can't be pinned is told. */
#include "cudasim.h"
#include "engine/measure/measure.h"
#include "engine/measure/rates.h"
#include "tools/cli/gpu_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 37u
#define COLS 200u

static void simulate(cudasim_order order, uint64_t pinned_bytes)
{
    cudasim_config sim = {.order = order, .seed = 7, .pinned_bytes = pinned_bytes};
    cudasim_reset(&sim);
}

static zo2_measure_spec small(zo2_measure_kind kind)
{
    zo2_measure_spec spec;
    zo2_measure_spec_init(&spec);
    spec.kind = kind;
    spec.backend = ZO2_BACKEND_CUDA;
    spec.threads = 2;
    spec.bytes = 10000;
    spec.rows = ROWS;
    spec.cols = COLS;
    spec.tokens = 5;
    spec.chunk_bytes = (uint64_t)5 * COLS * 2;
    return spec;
}

static zo2_measure *opened(const zo2_measure_spec *spec, zo2_measure_info *info)
{
    zo2_measure *m = NULL;
    if (zo2_measure_open(&m, spec, info))
        fail_msg("kind %d: %s", (int)spec->kind, zo2_last_error());
    assert_non_null(m);
    assert_int_equal(info->backend, ZO2_BACKEND_CUDA);
    return m;
}

static void run_passes(zo2_measure *m, uint64_t passes)
{
    double seconds = -1;
    if (zo2_measure_run(m, passes, &seconds))
        fail_msg("kind %d: %s", (int)m->spec.kind, zo2_last_error());
    assert_true(isfinite(seconds) && seconds >= 0);
}

static void assert_clean(void)
{
    cudasim_stats s;
    cudasim_get_stats(&s);
    if (cudasim_report()[0])
        fail_msg("the simulator reports: %s", cudasim_report());
    assert_int_equal(s.pageable_copies, 0);
    assert_int_equal(s.live_allocations, 0);
    assert_int_equal(s.live_streams, 0);
    assert_int_equal(s.live_events, 0);
    assert_int_equal(s.live_handles, 0);
    assert_int_equal(s.live_registrations, 0);
}

static void every_kind_runs(void **state)
{
    (void)state;
    static const zo2_measure_kind kinds[] = {
        ZO2_MEASURE_PANELS,  ZO2_MEASURE_GEMM,  ZO2_MEASURE_GEMM_WHOLE, ZO2_MEASURE_DEVICE_COPY, ZO2_MEASURE_UPLOAD,
        ZO2_MEASURE_BOUNCED, ZO2_MEASURE_WHOLE, ZO2_MEASURE_DOWNLOAD,   ZO2_MEASURE_LATENCY,     ZO2_MEASURE_ATTENTION};
    static const zo2_dtype types[] = {ZO2_F32, ZO2_F16, ZO2_BF16};
    for (cudasim_order order = CUDASIM_FIFO; order <= CUDASIM_SEEDED; order++)
        for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
            for (unsigned t = 0; t < sizeof types / sizeof *types; t++) {
                zo2_measure_spec spec = small(kinds[k]);
                zo2_measure_info info;
                spec.compute = types[t];
                spec.pending = 2;
                spec.heads = 10;
                simulate(order, 0);
                zo2_measure *m = opened(&spec, &info);
                assert_true(info.items > 0);
                assert_int_equal(info.pinned, 1);
                run_passes(m, 2);
                zo2_measure_close(m);
                assert_clean();
            }
}

/* A slot holds the last chunk that went there, whatever ran first. */
static void uploads_arrive(void **state)
{
    (void)state;
    static const zo2_measure_kind kinds[] = {ZO2_MEASURE_UPLOAD, ZO2_MEASURE_BOUNCED};
    for (cudasim_order order = CUDASIM_FIFO; order <= CUDASIM_SEEDED; order++)
        for (unsigned k = 0; k < 2; k++) {
            zo2_measure_spec spec = small(kinds[k]);
            zo2_measure_info info;
            simulate(order, 0);
            zo2_measure *m = opened(&spec, &info);
            uint64_t chunks = zo2_measure_chunks(m);
            assert_int_equal(chunks, 8);
            run_passes(m, 1);
            cudasim_open_memory();
            for (uint64_t c = chunks - ZO2_MEASURE_SLOTS; c < chunks; c++)
                assert_memory_equal(m->arena + m->wire_at + c % ZO2_MEASURE_SLOTS * m->slot_stride,
                                    m->planes + c * m->chunk_stride,
                                    m->codec->wire_bytes(zo2_measure_rows_of(m, c), COLS));
            zo2_measure_close(m);
            assert_clean();
        }
}

static void panels_have_the_cpus_bits(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_PANELS);
    zo2_measure_info info;
    spec.pending = 3;
    spec.queries = 2;
    simulate(CUDASIM_LIFO, 0);
    zo2_measure *on_device = opened(&spec, &info);
    run_passes(on_device, 1);
    spec.backend = ZO2_BACKEND_CPU;
    zo2_measure *on_cpu = NULL;
    assert_int_equal(zo2_measure_open(&on_cpu, &spec, &info), ZO2_OK);
    run_passes(on_cpu, 1);
    cudasim_open_memory();
    for (int p = 0; p < 2; p++)
        assert_memory_equal(on_device->arena + on_device->panel_at + p * on_device->panel_stride,
                            on_cpu->arena + on_cpu->panel_at + p * on_cpu->panel_stride, ROWS * COLS * sizeof(float));
    zo2_measure_close(on_device);
    zo2_measure_close(on_cpu);
    assert_clean();
}

/* A matrix of one tile: whole or not, the device multiplies the same operands. */
static void whole_products_are_the_tiles(void **state)
{
    (void)state;
    float y[2][2 * 5 * ROWS];
    for (int whole = 0; whole < 2; whole++) {
        zo2_measure_spec spec = small(whole ? ZO2_MEASURE_GEMM_WHOLE : ZO2_MEASURE_GEMM);
        zo2_measure_info info;
        spec.compute = ZO2_F16;
        simulate(CUDASIM_SEEDED, 0);
        zo2_measure *m = opened(&spec, &info);
        run_passes(m, 1);
        cudasim_open_memory();
        memcpy(y[whole], m->arena + m->y_at, sizeof y[whole]);
        zo2_measure_close(m);
        assert_clean();
    }
    for (unsigned i = 0; i < 2 * 5 * ROWS; i++)
        assert_true(isfinite(y[0][i]) && y[0][i] != 0);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
}

static void copies_stay_on_the_device(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_DEVICE_COPY);
    zo2_measure_info info;
    simulate(CUDASIM_LIFO, 0);
    zo2_measure *m = opened(&spec, &info);
    run_passes(m, 2);
    cudasim_open_memory();
    for (uint64_t at = 0; at < spec.bytes; at++)
        assert_int_equal(m->arena[m->y_at + at], 0x3C);
    uint8_t *at = m->arena + m->x_at;
    assert_int_equal(m->be->ops->copy(m->be, at, at, 0), ZO2_OK);
    assert_int_equal(m->be->ops->copy(m->be, at + 8, at, 16), ZO2_ERR_DEVICE); /* they overlap */
    assert_non_null(strstr(zo2_last_error(), "copy"));
    assert_int_equal(m->be->ops->copy(m->be, at, &spec, 16), ZO2_ERR_DEVICE);
    assert_non_null(strstr(zo2_last_error(), "copy: src"));
    zo2_measure_close(m);
    assert_clean();
}

static void what_cannot_be_pinned_is_told(void **state)
{
    (void)state;
    zo2_measure_spec spec = small(ZO2_MEASURE_UPLOAD);
    zo2_measure_info info;
    simulate(CUDASIM_FIFO, 4 * 4096); /* the ring's mirror, but not the masters */
    zo2_measure_close(opened(&spec, &info));
    assert_int_equal(info.pinned, 0);
    spec.kind = ZO2_MEASURE_BOUNCED;
    zo2_measure *m = opened(&spec, &info);
    assert_int_equal(info.pinned, 1);
    run_passes(m, 1);
    zo2_measure_close(m);
    assert_clean();
}

/* What zo2-bench --json says of this device is what zo2-plan --gpu reads. */
static void rates_travel(const zo2_plan *p, const zo2_engine_opts *o)
{
    gpu_file out, in;
    cli_json j;
    char path[] = "/tmp/zo2-rates-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    assert_true(gpu_file_of_plan(&out, p, o, gpu_file_memory(p)));
    cli_json_start(&j, file);
    cli_json_open(&j, NULL, '{');
    cli_json_open(&j, "results", '[');
    cli_json_close(&j, ']');
    gpu_file_json(&j, GPU_FILE_RATES, &out);
    cli_json_close(&j, '}');
    cli_json_end(&j);
    assert_int_equal(fclose(file), 0);
    if (gpu_file_read(&in, path))
        fail_msg("%s", zo2_last_error());
    remove(path);
    assert_true(in.memory_bytes > (900u << 20) && in.memory_bytes <= (1u << 30));
    assert_true(in.wire == ZO2_WIRE_BF16 && in.dist == ZO2_GAUSSIAN);
    assert_true(in.rates.upload_rate == p->upload_rate && in.rates.gemm_rate == p->gemm_rate &&
                in.rates.decode_rate == p->decode_rate && in.rates.fold_rate == p->fold_rate &&
                in.rates.update_rate == p->update_rate && in.rates.noise_rate == p->noise_rate);
    zo2_plan on_cpu = *p;
    on_cpu.context_bytes = 0;
    assert_false(gpu_file_of_plan(&out, &on_cpu, o, 0));
}

/* A plan for the device: what it says is free, rates measured there. */
static void a_plan_measures_the_device(void **state)
{
    (void)state;
    cudasim_config sim = {.device_bytes = 1ull << 30};
    zo2_engine_opts o;
    zo2_plan p;
    zo2_engine_opts_init(&o);
    o.backend = ZO2_BACKEND_CUDA;
    o.threads = 2;
    o.max_rows = 1;
    o.max_seq = 8;
    o.probe_seconds = 1e-9; /* one pass each */
    cudasim_reset(&sim);
    if (zo2_plan_estimate(ZO2_TEST_DATA "/opt-fixtures/prenorm-f16-headdim20/config.json", &o, &p))
        fail_msg("%s", zo2_last_error());
    assert_true(p.update_rate > 0 && p.noise_rate > 0 && p.upload_rate > 0 && p.decode_rate > 0 && p.gemm_rate > 0);
    assert_true(p.seconds_per_step > 0 && p.bottleneck[0]);
    assert_in_range(p.context_bytes, 80u << 20,
                    84u << 20); /* the simulated one, cuBLAS included, and 64 MiB of slack */
    assert_true(p.resident_bytes > 0);
    cudasim_stats s;
    cudasim_get_stats(&s);
    assert_int_equal(s.handles, 1); /* asked and measured on one device */
    assert_clean();
    rates_travel(&p, &o);
    sim.start_error = cudaErrorNoDevice; /* sizes all the same */
    cudasim_reset(&sim);
    if (zo2_plan_estimate("opt-125m", &o, &p))
        fail_msg("%s", zo2_last_error());
    assert_true(p.device_peak_bytes > 0 && p.gemm_rate == 0 && p.seconds_per_step == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_runs),
        cmocka_unit_test(uploads_arrive),
        cmocka_unit_test(panels_have_the_cpus_bits),
        cmocka_unit_test(whole_products_are_the_tiles),
        cmocka_unit_test(copies_stay_on_the_device),
        cmocka_unit_test(what_cannot_be_pinned_is_told),
        cmocka_unit_test(a_plan_measures_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
