/* io_utf8.h: is a byte string well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF)? */
#ifndef ZO2_STORAGE_IO_IO_UTF8_H
#define ZO2_STORAGE_IO_IO_UTF8_H

#include <stddef.h>

/* Index of the first byte that is not part of a well-formed sequence; n if all are. */
static inline size_t zo2_utf8_valid_bytes(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        unsigned c = s[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t more = c >= 0xC2 && c <= 0xDF ? 1 : c >= 0xE0 && c <= 0xEF ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
        if (more == 0 || n - i <= more)
            return i;
        /* The second byte's range is narrower for these four: overlong forms, surrogates, beyond U+10FFFF. */
        unsigned low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        unsigned high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (s[i + 1] < low || s[i + 1] > high)
            return i;
        for (size_t k = 2; k <= more; k++)
            if (s[i + k] < 0x80 || s[i + k] > 0xBF)
                return i;
        i += more + 1;
    }
    return n;
}

#endif
