/* numbers.c: see numbers.h. strtod and snprintf follow LC_NUMERIC, so both are kept to the C locale here. */
#include "tools/cli/numbers.h"

#include <ctype.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cli_parse_u64(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    if (!*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

/* Digits with at most one point, at least one digit: returns where it ends, or NULL. */
static const char *decimal_end(const char *p)
{
    int digits = 0;
    while (*p >= '0' && *p <= '9')
        p++, digits++;
    if (*p == '.') {
        p++;
        while (*p >= '0' && *p <= '9')
            p++, digits++;
    }
    return digits ? p : NULL;
}

/* strtod in the C locale, whatever the program's is. */
static double to_double(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0)
        return strtod(text, NULL);
    double v = strtod_l(text, NULL, c);
    freelocale(c);
    return v;
}

bool cli_parse_double(const char *text, double *out)
{
    const char *p = text + (*text == '-' || *text == '+');
    p = decimal_end(p);
    if (!p)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (*p < '0' || *p > '9')
            return false;
        while (*p >= '0' && *p <= '9')
            p++;
    }
    if (*p)
        return false;
    double v = to_double(text);
    if (!isfinite(v))
        return false;
    *out = v;
    return true;
}

bool cli_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    const char *end = decimal_end(text);
    if (!end)
        return false;
    unsigned shift = 0;
    const char *p = end;
    if (*p) {
        const char *unit = strchr(units, toupper((unsigned char)*p));
        if (!unit)
            return false;
        shift = 10 * (unsigned)(unit - units + 1);
        p++;
        if (p[0] == 'i' && p[1] == 'B')
            p += 2;
        if (*p)
            return false;
    }

    uint64_t whole = 0, fraction = 0, places = 1;
    for (p = text; p < end && *p != '.'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (whole > (UINT64_MAX - digit) / 10)
            return false;
        whole = whole * 10 + digit;
    }
    if (p < end) { /* the point */
        if (!shift)
            return false;
        for (p++; p < end; p++) {
            if (places == 1000000)
                return false;
            fraction = fraction * 10 + (uint64_t)(*p - '0');
            places *= 10;
        }
    }
    if (whole > UINT64_MAX >> shift)
        return false;
    uint64_t part = (fraction << shift) / places; /* below 2^20 * 2^40 */
    whole <<= shift;
    if (whole > UINT64_MAX - part)
        return false;
    *out = whole + part;
    return true;
}

bool cli_parse_time(const char *text, double *out)
{
    const char *end = decimal_end(text);
    if (!end || end - text > 30)
        return false;
    double unit = 1;
    switch (*end) {
    case '\0':
    case 's': unit = 1; break;
    case 'm': unit = 60; break;
    case 'h': unit = 3600; break;
    case 'd': unit = 86400; break;
    default: return false;
    }
    if (*end && end[1])
        return false;
    char number[32];
    snprintf(number, sizeof number, "%.*s", (int)(end - text), text);
    *out = to_double(number) * unit;
    return true;
}

const char *cli_human_size(char out[CLI_TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " byte%s", bytes, bytes == 1 ? "" : "s");
        return out;
    }
    double v = (double)bytes / 1024;
    size_t unit = 0;
    while (v >= 1023.995 && unit + 1 < sizeof units / sizeof *units)
        v /= 1024, unit++;
    snprintf(out, CLI_TEXT_BYTES, "%.2f %s", v, units[unit]);
    return out;
}

const char *cli_human_time(char out[CLI_TEXT_BYTES], double seconds)
{
    if (!isfinite(seconds) || seconds < 0 || seconds >= 1e12) {
        snprintf(out, CLI_TEXT_BYTES, "?");
    } else if (seconds < 0.0995) {
        snprintf(out, CLI_TEXT_BYTES, "%.3g ms", 1000 * seconds);
    } else if (seconds < 9.95) {
        snprintf(out, CLI_TEXT_BYTES, "%.2f s", seconds);
    } else {
        uint64_t s = (uint64_t)(seconds + 0.5);
        if (s < 60)
            snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " s", s);
        else if (s < 3600)
            snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " min %02" PRIu64 " s", s / 60, s % 60);
        else if (s < 48 * 3600)
            snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " h %02" PRIu64 " min", s / 3600, s % 3600 / 60);
        else
            snprintf(out, CLI_TEXT_BYTES, "%" PRIu64 " days %" PRIu64 " h", s / 86400, s % 86400 / 3600);
    }
    return out;
}

const char *cli_human_count(char out[CLI_TEXT_BYTES], uint64_t n)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *to = out;
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

const char *cli_double_text(char out[CLI_TEXT_BYTES], double v)
{
    if (!isfinite(v)) {
        snprintf(out, CLI_TEXT_BYTES, "null");
        return out;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(out, CLI_TEXT_BYTES, "%.*g", precision, v);
        for (char *p = out; *p; p++) /* a locale's decimal comma */
            if (!strchr("0123456789.-+e", *p))
                *p = '.';
        if (to_double(out) == v)
            break;
    }
    return out;
}
