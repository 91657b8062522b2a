/* facts.c: see facts.h. */
#include "tools/dist/facts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char unset[] = "unset";

void dist_fact_text(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s\t", name);
    for (const char *c = value ? value : unset; *c; c++)
        putc(*c == '\n' ? ' ' : *c, out);
    putc('\n', out);
}

void dist_fact_u64(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, "%s\t%" PRIu64 "\n", name, value);
}

void dist_fact_hash(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, "%s\t0x%016" PRIx64 "\n", name, value);
}

void dist_fact_f64(FILE *out, const char *name, double value)
{
    if (isnan(value))
        dist_fact_text(out, name, NULL);
    else
        fprintf(out, "%s\t%.17g\n", name, value);
}

/* The line that begins there, without what ends it. */
static size_t line(const char *at)
{
    return strcspn(at, "\n");
}

static void copy(char *to, size_t size, const char *from, size_t n)
{
    snprintf(to, size, "%.*s", (int)(n < size ? n : size - 1), from);
}

static void value_of(char *to, size_t size, const char *at)
{
    size_t n = line(at), name = strcspn(at, "\t");
    if (name >= n)
        copy(to, size, "nothing", 7);
    else
        copy(to, size, at + name + 1, n - name - 1);
}

int dist_facts_differ(dist_difference *out, const char *a, const char *b)
{
    while (*a && line(a) == line(b) && !memcmp(a, b, line(a))) {
        a += line(a) + 1;
        b += line(b) + 1;
    }
    if (!*a && !*b)
        return 0;
    const char *names = *a ? a : b;
    copy(out->name, sizeof out->name, names, strcspn(names, "\t"));
    value_of(out->a, sizeof out->a, a);
    value_of(out->b, sizeof out->b, b);
    return 1;
}
