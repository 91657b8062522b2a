/* train_steps.c: a few training steps on a pack through the public interface, without a snapshot at the end (a large
 * model's would fill the disk), printing what was measured. For the tests of memory and speed.
 *
 * usage: train_steps PACK RUN_DIR TOKENS STEPS DEVICE_BYTES gaussian|rademacher [HOST_BYTES PENDING [SPILL_DIR...]]
 * One row of TOKENS tokens, loss on all but the first. DEVICE_BYTES 0: the plan's minimum. Of the environment: TUNE, what moves; WIRE and FROZEN_WIRE, their names;
 * TRUNK_CACHE, in bytes, which makes every step's row the same one. Prints a line a step and
 * at the end, in bytes:   device_peak N   rss_peak N   rss_start N (before anything was opened)   parameters N   masters N   start_written N (before the first step)   written N
 * and of the steps but the first two: worst_ratio R, the largest of seconds to those of the busiest lane. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <zo2.h>

/* Bytes resident now. At the start: 200 MB with the CUDA libraries, which no budget counts. */
static unsigned long long resident(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return 1024 * kib;
}

static void say(void *ud, zo2_log_level level, const char *text)
{
    (void)ud, (void)level;
    printf("%s\n", text);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes that this process has written so far: by calls (which those of io_uring aren't among), or to the disk. */
static unsigned long long written(void)
{
    unsigned long long n, most = 0;
    char line[100];
    FILE *f = fopen("/proc/self/io", "r");
    while (f && fgets(line, sizeof line, f))
        if ((sscanf(line, "wchar: %llu", &n) == 1 || sscanf(line, "write_bytes: %llu", &n) == 1) && n > most)
            most = n;
    if (f)
        fclose(f);
    return most;
}

/* Prints a step; returns its seconds to those of the busiest lane. */
static double report(int i, const zo2_step_result *r)
{
    const struct {
        const char *name;
        double busy;
    } lanes[] = {{"read", r->read.busy},
                 {"update", r->update.busy},
                 {"upload", r->upload.busy},
                 {"compute", r->compute.busy},
                 {"write", r->write.busy}};
    double most = 0;
    printf("step %d: loss %.6f %.6f, %.2f s, busy", i, r->loss_plus, r->loss_minus, r->seconds);
    for (size_t k = 0; k < sizeof lanes / sizeof *lanes; k++) {
        printf(" %s %.2f", lanes[k].name, lanes[k].busy);
        most = lanes[k].busy > most ? lanes[k].busy : most;
    }
    printf(", read %.0f MB, written %.0f MB, x %.3f\n", 1e-6 * (double)r->read_bytes, 1e-6 * (double)r->written_bytes,
           r->seconds / most);
    fflush(stdout);
    return r->seconds / most;
}

int main(int argc, char **argv)
{
    const unsigned long long rss_start = resident();
    if (argc < 7 || argc == 8) {
        fprintf(stderr, "usage: train_steps PACK RUN_DIR TOKENS STEPS DEVICE_BYTES gaussian|rademacher [HOST_BYTES "
                        "PENDING [SPILL_DIR...]]\n");
        return 2;
    }
    double from = now(), worst = 0;
    uint32_t tokens = (uint32_t)atoi(argv[3]);
    int steps = atoi(argv[4]), status = 1;
    int32_t *id = calloc(tokens, sizeof *id);
    uint8_t *loss = calloc(tokens, 1);
    zo2_engine *engine = NULL;
    zo2_engine_opts opts;
    zo2_engine_opts_init(&opts);
    opts.max_rows = 1;
    opts.max_seq = tokens;
    opts.device_bytes = strtoull(argv[5], NULL, 10);
    opts.dist = strcmp(argv[6], "rademacher") ? ZO2_GAUSSIAN : ZO2_RADEMACHER;
    opts.wire = getenv("WIRE") ? zo2_wire_parse(getenv("WIRE")) : ZO2_WIRE_BF16;
    opts.frozen_wire = getenv("FROZEN_WIRE") ? zo2_wire_parse(getenv("FROZEN_WIRE")) : (zo2_wire)0;
    opts.tune = getenv("TUNE");
    opts.trunk_cache = getenv("TRUNK_CACHE") ? strtoull(getenv("TRUNK_CACHE"), NULL, 10) : 0;
    opts.backend = ZO2_BACKEND_CPU;
    opts.snapshot_seconds = 0;
    if (argc > 8) {
        opts.host_bytes = strtoull(argv[7], NULL, 10);
        opts.pending = atoi(argv[8]);
        opts.spill_dirs = argc > 9 ? (const char *const *)argv + 9 : NULL;
        opts.spill_count = (uint32_t)(argc - 9);
        opts.log = say;
    }
    if (!id || !loss || tokens < 2 || zo2_engine_open(&engine, argv[1], argv[2], &opts)) {
        fprintf(stderr, "train_steps: %s\n", zo2_last_error());
        goto done;
    }
    memset(loss + 1, 1, tokens - 1);
    unsigned long long start_written = written();
    printf("opened after %.2f s\n", now() - from);
    zo2_step_result r = {.struct_size = sizeof r};
    for (int i = 0; i < steps; i++) {
        for (uint32_t k = 0; k < tokens; k++)
            id[k] = (int32_t)((k * 7919u + (opts.trunk_cache ? 0 : (uint32_t)i * 104729u)) % 50000u);
        zo2_batch batch = {.struct_size = sizeof batch, .rows = 1, .seq = tokens, .tokens = id, .loss = loss};
        if (zo2_step(engine, &batch, &r)) {
            fprintf(stderr, "train_steps: %s\n", zo2_last_error());
            goto done;
        }
        double ratio = report(i, &r);
        worst = i > 1 && ratio > worst ? ratio : worst;
        if (!isfinite(r.loss_plus) || !isfinite(r.loss_minus))
            goto done;
    }
    struct rusage u;
    zo2_plan plan = {.struct_size = sizeof plan};
    zo2_engine_get_plan(engine, &plan);
    if (getrusage(RUSAGE_SELF, &u))
        goto done;
    printf(
        "device_peak %llu\nrss_peak %llu\nrss_start %llu\nparameters %llu\nmasters %llu\nstart_written %llu\nwritten %llu\nworst_ratio %.3f\n",
        (unsigned long long)r.device_peak_bytes, (unsigned long long)u.ru_maxrss * 1024, rss_start,
        (unsigned long long)plan.parameters, (unsigned long long)plan.master_bytes, start_written, written(), worst);
    status = 0;
done:
    zo2_engine_close(engine);
    free(id);
    free(loss);
    return status;
}
