/* gguf_rope.c: see gguf_rope.h. Frequencies whose wavelength is below original / high stay, those above original / low are divided by
 * the factor, and between the two a ramp leads from one to the other. */
#include "storage/checkpoint/gguf_rope.h"

#include <math.h>
#include <stddef.h>

#define TOLERANCE 1e-4
#define TWO_PI    6.283185307179586476925286766559

static double wavelength(const zo2_gguf_rope *r, uint32_t i, uint32_t pairs)
{
    return TWO_PI * pow(r->theta, (double)i / pairs);
}

double zo2_gguf_rope_factor(const zo2_gguf_rope *r, uint32_t i, uint32_t pairs)
{
    const double length = wavelength(r, i, pairs), original = (double)r->original;
    if (length < original / r->high)
        return 1;
    if (length > original / r->low)
        return r->factor;
    const double ramp = (original / length - r->low) / (r->high - r->low);
    return 1 / ((1 - ramp) / r->factor + ramp);
}

static int gives(const zo2_gguf_rope *r, const float *factors, uint32_t pairs)
{
    for (uint32_t i = 0; i < pairs; i++)
        if (!(fabs(zo2_gguf_rope_factor(r, i, pairs) - factors[i]) <= TOLERANCE * factors[i]))
            return 0;
    return 1;
}

/* On the ramp, (1 / factor_i - 1 / factor) / (1 - 1 / factor) is a straight line over 1 / wavelength: two points of it, and low 1 (only
 * the ratios of the three numbers matter), say the rest. */
static int fit_ramp(zo2_gguf_rope *r, const float *factors, uint32_t pairs)
{
    uint32_t first = pairs, last = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        if (factors[i] <= 1 * (1 + TOLERANCE) || factors[i] >= r->factor * (1 - TOLERANCE))
            continue;
        first = first == pairs ? i : first;
        last = i;
    }
    if (first >= last)
        return 0;
    const double x0 = 1 / wavelength(r, first, pairs), x1 = 1 / wavelength(r, last, pairs);
    const double whole = 1 - 1 / r->factor;
    const double y0 = (1 / (double)factors[first] - 1 / r->factor) / whole,
                 y1 = (1 / (double)factors[last] - 1 / r->factor) / whole;
    const double slope = (y0 - y1) / (x0 - x1), below = slope * x0 - y0; /* y = slope x - below */
    const double original = slope / below;
    if (!(below > 1e-6) || !(original > 1) || !(original < 1e9))
        return 0;
    r->low = 1;
    r->high = round((1 + 1 / below) * 1000) / 1000;
    r->original = (uint64_t)llround(original);
    return r->high > r->low && gives(r, factors, pairs);
}

int zo2_gguf_rope_fit(zo2_gguf_rope *r, const float *factors, uint32_t pairs)
{
    r->factor = pairs ? factors[pairs - 1] : 0;
    if (!(r->factor >= 1) || !isfinite(r->factor))
        return 0;
    r->low = 1;
    r->high = 4;
    r->original = 8192; /* Llama 3 */
    if (gives(r, factors, pairs))
        return 1;
    for (r->original = 16; r->original <= (1u << 20); r->original *= 2)
        if (gives(r, factors, pairs))
            return 1;
    return fit_ramp(r, factors, pairs);
}
