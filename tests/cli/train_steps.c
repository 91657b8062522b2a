/* train_steps.c: a few training steps on a pack through the public interface, without a snapshot at the end (a large
 * model's would fill the disk), printing what was measured. For the long tests of memory and speed.
 *
 * usage: train_steps PACK RUN_DIR TOKENS STEPS DEVICE_BYTES gaussian|rademacher
 * One row of TOKENS tokens, loss on all but the first. DEVICE_BYTES 0: the plan's minimum. Prints a line a step and
 * at the end, in bytes:   device_peak N   rss_peak N   parameters N */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zo2.h>

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: train_steps PACK RUN_DIR TOKENS STEPS DEVICE_BYTES gaussian|rademacher\n");
        return 2;
    }
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
    opts.wire = ZO2_WIRE_BF16;
    opts.backend = ZO2_BACKEND_CPU;
    opts.snapshot_seconds = 0;
    if (!id || !loss || tokens < 2 || zo2_engine_open(&engine, argv[1], argv[2], &opts)) {
        fprintf(stderr, "train_steps: %s\n", zo2_last_error());
        goto done;
    }
    memset(loss + 1, 1, tokens - 1);
    zo2_step_result r = {.struct_size = sizeof r};
    for (int i = 0; i < steps; i++) {
        for (uint32_t k = 0; k < tokens; k++)
            id[k] = (int32_t)((k * 7919u + (uint32_t)i * 104729u) % 50000u);
        zo2_batch batch = {.struct_size = sizeof batch, .rows = 1, .seq = tokens, .tokens = id, .loss = loss};
        if (zo2_step(engine, &batch, &r)) {
            fprintf(stderr, "train_steps: %s\n", zo2_last_error());
            goto done;
        }
        printf("step %d: loss %.6f %.6f, %.2f s\n", i, r.loss_plus, r.loss_minus, r.seconds);
        fflush(stdout);
        if (!isfinite(r.loss_plus) || !isfinite(r.loss_minus))
            goto done;
    }
    struct rusage u;
    zo2_plan plan = {.struct_size = sizeof plan};
    zo2_engine_get_plan(engine, &plan);
    if (getrusage(RUSAGE_SELF, &u))
        goto done;
    printf("device_peak %llu\nrss_peak %llu\nparameters %llu\n", (unsigned long long)r.device_peak_bytes,
           (unsigned long long)u.ru_maxrss * 1024, (unsigned long long)plan.parameters);
    status = 0;
done:
    zo2_engine_close(engine);
    free(id);
    free(loss);
    return status;
}
