/* rates_storage.c: zo2_measure_storage_rates(). A file that is small shows how large one may be in the time there is; larger ones
 * are less of a drive's own memory. */
#include "engine/base/clock.h"
#include "engine/measure/measure.h"
#include "engine/measure/rates.h"

#include <math.h>

#define LEAST_BYTES ((uint64_t)16 << 20)
#define MOST_BYTES  ((uint64_t)1 << 30)

typedef struct drive {
    zo2_measure_spec spec;
    zo2_measure *m;
    double bytes;       /* of a pass */
    double open;        /* seconds that making the file took */
    double seconds[2];  /* of the passes so far: read, write */
    uint64_t passes[2]; /* as many */
} drive;

static zo2_status make(drive *d, uint64_t bytes)
{
    double from = zo2_now();
    zo2_measure_info info;
    d->spec.bytes = bytes;
    zo2_status s = zo2_measure_open(&d->m, &d->spec, &info);
    d->open = zo2_now() - from;
    if (!s)
        d->bytes = info.items;
    return s;
}

/* Reads the file, and writes it. */
static zo2_status both(drive *d)
{
    zo2_status s = ZO2_OK;
    for (int way = 0; way < 2 && !s; way++) {
        double seconds;
        d->m->kernel = &zo2_measure_storage_kernels[way];
        s = zo2_measure_run(d->m, 1, &seconds);
        if (!s) {
            d->seconds[way] += seconds;
            d->passes[way]++;
        }
    }
    return s;
}

static double seconds_of_both(const drive *d)
{
    return d->seconds[0] / (double)d->passes[0] + d->seconds[1] / (double)d->passes[1];
}

/* Goes over to a file that takes half of the time that is left, if that is much larger and there is room for it. */
static void enlarge(drive *d, double left)
{
    double factor = left / (2 * fmax(d->open + seconds_of_both(d), 1e-6));
    uint64_t bytes = (uint64_t)fmin(factor * d->bytes, (double)MOST_BYTES);
    drive larger = {.spec = d->spec};
    if ((double)bytes < 2 * d->bytes || make(&larger, bytes) || both(&larger)) {
        zo2_measure_close(larger.m);
        return;
    }
    zo2_measure_close(d->m);
    *d = larger;
}

zo2_status zo2_measure_storage_rates(zo2_storage_rates *out, const char *dir, uint64_t span_bytes, double seconds)
{
    double until = zo2_now() + seconds;
    drive d = {0};
    *out = (zo2_storage_rates){0};
    zo2_measure_spec_init(&d.spec);
    d.spec.kind = ZO2_MEASURE_STORAGE_READ;
    d.spec.dir = dir;
    d.spec.threads = 1;
    d.spec.chunk_bytes = span_bytes;
    zo2_status s = make(&d, LEAST_BYTES);
    if (!s)
        s = both(&d);
    if (!s)
        enlarge(&d, until - zo2_now());
    while (!s && zo2_now() + seconds_of_both(&d) < until)
        s = both(&d);
    if (!s)
        *out = (zo2_storage_rates){.read_bytes = d.bytes * (double)d.passes[0] / fmax(d.seconds[0], 1e-9),
                                   .write_bytes = d.bytes * (double)d.passes[1] / fmax(d.seconds[1], 1e-9)};
    zo2_measure_close(d.m);
    return s;
}
