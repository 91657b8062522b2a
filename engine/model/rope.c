/* rope.c: see rope.h. */
#include "engine/model/rope.h"

#include <math.h>

#define PI 3.14159265358979323846

/* ---- llama3 ---- */

static float llama3(const zo2_rope *r, float f)
{
    const float original = (float)r->original, wavelength = (float)(2 * PI) / f;
    if (wavelength > (float)(r->original / r->low))
        return f / (float)r->factor;
    if (wavelength < (float)(r->original / r->high))
        return f;
    const float s = (original / wavelength - (float)r->low) / (float)(r->high - r->low);
    return (1.0f - s) * f / (float)r->factor + s * f;
}

/* ---- yarn ---- */

/* The pair, not a whole number, that makes so many turns within the original context. */
static double pair_of(const zo2_rope *r, uint32_t head_dim, double turns)
{
    return head_dim * log(r->original / (turns * 2 * PI)) / (2 * log(r->theta));
}

/* Where the blend begins and ends. */
static void yarn_range(const zo2_rope *r, uint32_t head_dim, double *low, double *high)
{
    *low = pair_of(r, head_dim, r->beta_fast);
    *high = pair_of(r, head_dim, r->beta_slow);
    if (r->truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0);
    *high = fmin(*high, head_dim - 1.0);
    if (*low == *high)
        *high += 0.001;
}

/* power: theta^(2 j / head_dim) */
static float yarn(const zo2_rope *r, float power, uint32_t j, double low, double high)
{
    float ramp = ((float)j - (float)low) / (float)(high - low);
    ramp = fminf(fmaxf(ramp, 0.0f), 1.0f);
    const float keep = 1.0f - ramp;
    return 1.0f / ((float)r->factor * power) * (1.0f - keep) + 1.0f / power * keep;
}

void zo2_rope_frequencies(const zo2_rope *r, uint32_t head_dim, float *frequency)
{
    double low = 0, high = 1;
    if (r->kind == ZO2_ROPE_YARN)
        yarn_range(r, head_dim, &low, &high);
    for (uint32_t j = 0; j < head_dim / 2; j++) {
        const float exponent = (float)(2 * j) / (float)head_dim;
        const float power = (float)pow((float)r->theta, exponent), f = 1.0f / power;
        switch (r->kind) {
        case ZO2_ROPE_NONE:
        case ZO2_ROPE_DEFAULT: frequency[j] = f; break;
        case ZO2_ROPE_LINEAR: frequency[j] = f / (float)r->factor; break;
        case ZO2_ROPE_LLAMA3: frequency[j] = llama3(r, f); break;
        case ZO2_ROPE_YARN: frequency[j] = yarn(r, power, j, low, high); break;
        }
    }
}

void zo2_rope_row(const zo2_rope *r, uint32_t head_dim, const float *frequency, uint32_t position, float *row)
{
    const uint32_t half = head_dim / 2;
    const float scale = r->kind == ZO2_ROPE_YARN ? (float)r->attention : 1.0f;
    for (uint32_t j = 0; j < half; j++) {
        const float angle = (float)position * frequency[j];
        row[j] = (float)cos(angle) * scale;
        row[half + j] = (float)sin(angle) * scale;
    }
}
