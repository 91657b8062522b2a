/* schedule.c: learning-rate schedules and their names. The rate only enters through the coefficients that a step
 * journals as bits, so libm's cos() may differ between machines without harm to a replay. */

#include "engine/run/settings.h"
#include "engine/zo2.h"
#include "storage/run/settings_list.h"

#include <math.h>
#include <string.h>

static const struct {
    zo2_schedule value;
    const char *name;
} schedules[] = {{ZO2_CONSTANT, "constant"}, {ZO2_LINEAR, "linear"}, {ZO2_COSINE, "cosine"}};

#define SCHEDULES (sizeof schedules / sizeof *schedules)

const char *zo2_schedule_name(zo2_schedule v)
{
    for (size_t i = 0; i < SCHEDULES; i++)
        if (schedules[i].value == v)
            return schedules[i].name;
    return NULL;
}

zo2_schedule zo2_schedule_parse(const char *name)
{
    for (size_t i = 0; name && i < SCHEDULES; i++)
        if (strcmp(schedules[i].name, name) == 0)
            return schedules[i].value;
    return (zo2_schedule)0;
}

double zo2_lr_at(const zo2_engine_opts *options, uint64_t step)
{
    zo2_engine_opts taken, *o = &taken;
    if (!zo2_engine_opts_take(o, options))
        return NAN;
    double lr = isnan(o->lr) ? ZO2_DEFAULT_LR : o->lr;
    uint64_t warmup = o->warmup == UINT64_MAX ? 0 : o->warmup;
    uint64_t total = o->total_steps ? o->total_steps : ZO2_DEFAULT_STEPS;
    if (step < warmup)
        return lr * ((double)step + 1.0) / (double)warmup;
    if (o->schedule != ZO2_LINEAR && o->schedule != ZO2_COSINE)
        return lr;
    if (step >= total) /* also when the warm-up is as long as the whole run: nothing is divided by zero below */
        return 0.0;
    double length = (double)(total - warmup);
    if (o->schedule == ZO2_LINEAR)
        return lr * (double)(total - step) / length;
    return lr * 0.5 * (1.0 + cos(3.14159265358979323846 * (double)(step - warmup) / length));
}
