/* A program of a user: plans, makes noise, converts nothing. Compiled as C and as C++ against an installed copy. */
#include <stdio.h>
#include <zo2.h>

int main(void)
{
    zo2_engine_opts opts;
    zo2_plan plan, none;
    float z[5];
    zo2_engine_opts_init(&opts);
    opts.max_rows = 1;
    opts.max_seq = 128;
    opts.probe_seconds = 0; /* sizes only */
    if (zo2_plan_estimate("opt-125m", &opts, &plan) || zo2_noise_fill(z, 1, 2, 0, 3, 0, 5, ZO2_GAUSSIAN)) {
        fprintf(stderr, "%s\n", zo2_last_error());
        return 1;
    }
    if (zo2_plan_estimate("opt-nonsense", &opts, &none) == ZO2_OK || !zo2_last_error()[0])
        return 1;
    printf("zo2 %s: %.0f parameters, z %.6f\n", zo2_version(), (double)plan.parameters, (double)z[4]);
    return 0;
}
