/* pace.c: see pace.h. */
#include "tools/cli/pace.h"

#include <math.h>

#define WINDOW         50.0
#define SNAPSHOT_SHARE 19.0 /* steps take at least so many times as long as snapshots (engine/run/step.c) */

void cli_pace_step(cli_pace *p, double clock_seconds, double step_seconds, uint64_t tokens)
{
    double between = clock_seconds - step_seconds, own = clock_seconds;
    if (between > CLI_PACE_SNAPSHOT) {
        p->snapshot_seconds = between;
        own = step_seconds;
    }
    double weight = 1 / fmin((double)++p->steps, WINDOW);
    p->step_seconds += weight * (own - p->step_seconds);
    p->step_tokens += weight * ((double)tokens - p->step_tokens);
}

void cli_pace_evaluation(cli_pace *p, double seconds)
{
    p->evaluation_seconds = seconds;
}

static double evaluation_seconds(const cli_pace *p)
{
    if (p->evaluation_seconds > 0)
        return p->evaluation_seconds;
    double step_pass_tokens = p->step_tokens * p->passes_per_step;
    return step_pass_tokens > 0 ? p->step_seconds * p->evaluation_pass_tokens / step_pass_tokens : 0;
}

double cli_pace_left(const cli_pace *p, uint64_t steps, uint64_t evaluations)
{
    if (!p->steps)
        return NAN;
    double left = (double)steps * p->step_seconds;
    if (evaluations)
        left += (double)evaluations * evaluation_seconds(p);
    double every = p->snapshot_every > 0 ? fmax(p->snapshot_every, SNAPSHOT_SHARE * p->snapshot_seconds) : 0;
    double snapshots = 1 + (every > 0 ? floor(left / every) : 0);
    return left + snapshots * p->snapshot_seconds;
}

uint64_t cli_pace_evaluations(uint64_t done, uint64_t target, uint64_t every)
{
    if (done >= target)
        return 0;
    return 1 + (every ? (target - 1) / every - done / every : 0);
}
