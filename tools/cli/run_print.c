/* run_print.c: see run_print.h. */
#include "tools/cli/run_print.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/cli/numbers.h"
#include "tools/cli/tune_text.h"

void cli_run_print(const zo2_engine_opts *o, bool answers)
{
    char text[CLI_TEXT_BYTES], wires[CLI_TUNE_BYTES];
    printf("learning rate  %s %s", cli_double_text(text, o->lr), zo2_schedule_name(o->schedule));
    if (o->warmup && o->warmup != UINT64_MAX)
        printf(", warm-up %" PRIu64 " steps", o->warmup);
    printf("\neps            %s\n", cli_double_text(text, o->eps));
    if (o->weight_decay > 0)
        printf("weight decay   %s\n", cli_double_text(text, o->weight_decay));
    if (o->clip > 0)
        printf("clip           %s\n", cli_double_text(text, o->clip));
    printf("noise          %s, seed %" PRIu64 ", queries %u, pending %d\n", zo2_dist_name(o->dist), o->seed, o->queries,
           (int)o->pending);
    cli_tune_print(o, answers);
    printf("arithmetic     wire %s, compute %s, backend %s\n", cli_wires_text(wires, o), zo2_dtype_name(o->compute),
           zo2_backend_name(o->backend));
}
