/* json.c: see json.h. A text that jansson refuses is parsed once more with the numbers rewritten that it can't hold: in place, at the
 * same width, so that lines and columns in messages stay true. (NaN alone grows, to null, by a byte.) */
#include "engine/base/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INT64_DIGITS  19  /* integers of fewer digits fit */
#define DOUBLE_DIGITS 15  /* what a double surely keeps */
#define MAX_EXPONENT  308 /* below 1e308 everything fits */

static size_t count_digits(const char *text, size_t at, size_t end)
{
    size_t n = 0;
    while (at + n < end && text[at + n] >= '0' && text[at + n] <= '9')
        n++;
    return n;
}

/* A number as JSON writes it: -digits.digits e+digits. Lengths of its parts. */
typedef struct number {
    size_t bytes;
    size_t sign, whole, fraction; /* digits, without '.' */
    bool real;
    long exponent; /* as written, cut at +-100,000 */
} number;

static number read_number(const char *text, size_t at, size_t end)
{
    number n = {.sign = text[at] == '-'};
    size_t i = at + n.sign;
    n.whole = count_digits(text, i, end);
    i += n.whole;
    if (i < end && text[i] == '.') {
        n.fraction = count_digits(text, i + 1, end);
        n.real = true;
        i += 1 + n.fraction;
    }
    if (i < end && (text[i] == 'e' || text[i] == 'E')) {
        bool minus = i + 1 < end && text[i + 1] == '-';
        i += 1 + (minus || (i + 1 < end && text[i + 1] == '+'));
        size_t digits = count_digits(text, i, end);
        for (size_t d = 0; d < digits && n.exponent < 100000; d++)
            n.exponent = 10 * n.exponent + (text[i + d] - '0');
        if (minus)
            n.exponent = -n.exponent;
        n.real = true;
        i += digits;
    }
    n.bytes = i - at;
    return n;
}

/* Is |value| 1e308 or more? Decided by the digits: the C library's conversions depend on the locale. */
static bool beyond_double(const char *text, const number *n)
{
    size_t digits = n->whole + n->fraction + (n->fraction > 0), zeros = 0; /* with the '.' */
    while (zeros < digits && (text[n->sign + zeros] == '0' || text[n->sign + zeros] == '.'))
        zeros++;
    if (zeros == digits)
        return false;
    /* the first digit that is not 0 counts 10^place */
    long long place = zeros < n->whole ? (long long)(n->whole - zeros) - 1 : (long long)n->whole - (long long)zeros;
    return place + n->exponent >= MAX_EXPONENT;
}

static bool beyond_int64(const char *digits, size_t n)
{
    return n > INT64_DIGITS || (n == INT64_DIGITS && memcmp(digits, "9223372036854775807", INT64_DIGITS) > 0);
}

/* Copies a number, or what stands for it, to out; both have n->bytes. */
static void rewrite_number(char *out, const char *text, const number *n)
{
    char exponent[24];
    size_t written = 0;
    memset(out, ' ', n->bytes);
    if (n->sign)
        out[written++] = '-';
    if (beyond_double(text, n)) {
        memcpy(out + written, "1e308", 5); /* nothing shorter is beyond it */
    } else if (!n->real && beyond_int64(text + n->sign, n->whole)) {
        int e = snprintf(exponent, sizeof exponent, "e%zu", n->whole - DOUBLE_DIGITS);
        memcpy(out + written, text + n->sign, DOUBLE_DIGITS);
        memcpy(out + written + DOUBLE_DIGITS, exponent, (size_t)e);
    } else {
        memcpy(out, text, n->bytes);
    }
}

/* Length of the string that begins at text[at], both quotes included. */
static size_t string_bytes(const char *text, size_t at, size_t end)
{
    size_t i = at + 1;
    while (i < end && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    return (i < end ? i + 1 : end) - at;
}

/* Python's words for what no JSON number is. Length of the word at text[at], 0: none. */
static size_t not_a_number(const char *text, size_t at, size_t end)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
        size_t bytes = strlen(words[w]);
        if (end - at >= bytes && memcmp(text + at, words[w], bytes) == 0)
            return bytes;
    }
    return 0;
}

/* The text with every number that jansson can't hold rewritten; *out_bytes of it, the caller's to free(). NULL: out of memory. */
static char *rewrite(const char *text, size_t bytes, size_t *out_bytes)
{
    char *out = malloc(bytes + bytes / 3 + 1); /* three bytes may become four */
    size_t w = 0;
    for (size_t at = 0, n; out && at < bytes; at += n) {
        if ((n = not_a_number(text, at, bytes))) {
            size_t padded = n > 4 ? n : 4;
            memset(out + w, ' ', padded);
            memcpy(out + w, "null", 4);
            w += padded;
            continue;
        }
        if (text[at] == '-' || (text[at] >= '0' && text[at] <= '9')) {
            number is = read_number(text, at, bytes);
            n = is.bytes;
            rewrite_number(out + w, text + at, &is);
        } else {
            n = text[at] == '"' ? string_bytes(text, at, bytes) : 1;
            memcpy(out + w, text + at, n);
        }
        w += n;
    }
    *out_bytes = w;
    return out;
}

/* jansson overlooks a byte 0 behind a word or a number, where it has just put a character back. NULL if there is one. */
static json_t *without_nul(json_t *root, const char *text, size_t bytes, json_error_t *error)
{
    const char *at = root ? memchr(text, '\0', bytes) : NULL, *line = text;
    if (!at)
        return root;
    error->line = 1;
    for (const char *c = text; c < at; c++)
        if (*c == '\n') {
            error->line++;
            line = c + 1;
        }
    error->column = (int)(at - line) + 1;
    error->position = (int)(at - text);
    memset(error->text, 0, sizeof error->text);
    snprintf(error->text, sizeof error->text - 1, "a byte 0 in the text");
    error->text[sizeof error->text - 1] = json_error_invalid_syntax; /* where json_error_code() looks */
    json_decref(root);
    return NULL;
}

json_t *zo2_json_parse(const char *text, size_t bytes, size_t flags, json_error_t *error)
{
    json_t *root = json_loadb(text, bytes, flags, error);
    enum json_error_code why = root ? json_error_unknown : json_error_code(error);
    if (root || (why != json_error_numeric_overflow && why != json_error_invalid_syntax))
        return without_nul(root, text, bytes, error);
    size_t n;
    char *again = rewrite(text, bytes, &n);
    if (!again)
        return NULL; /* *error is the first attempt's */
    root = json_loadb(again, n, flags, error);
    free(again);
    return without_nul(root, text, bytes, error);
}
