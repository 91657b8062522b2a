/* bytes.c: see bytes.h. */
#include "tools/text/bytes.h"

#include <stdio.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s[0..bytes), 0 if there is none. RFC 3629, section 4. */
static size_t sequence(const unsigned char *s, size_t bytes)
{
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    size_t n;
    unsigned char low = 0x80, high = 0xBF; /* of the second byte */
    if (c >= 0xC2 && c <= 0xDF) {
        n = 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
        n = 3;
        if (c == 0xE0)
            low = 0xA0; /* overlong */
        if (c == 0xED)
            high = 0x9F; /* surrogates */
    } else if (c >= 0xF0 && c <= 0xF4) {
        n = 4;
        if (c == 0xF0)
            low = 0x90;
        if (c == 0xF4)
            high = 0x8F; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (bytes < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}

size_t zo2t_utf8_check(const char *s, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        size_t n = sequence((const unsigned char *)s + at, bytes - at);
        if (!n)
            break;
        at += n;
    }
    return at;
}

uint32_t zo2t_utf8_next(const char *s, size_t *at)
{
    const unsigned char *p = (const unsigned char *)s + *at;
    uint32_t c = p[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n > 1)
        c &= 0xFFu >> (n + 1);
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    *at += n;
    return c;
}

size_t zo2t_utf8_put2(uint32_t cp, char out[2])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    out[0] = (char)(0xC0 | cp >> 6);
    out[1] = (char)(0x80 | (cp & 0x3F));
    return 2;
}

uint32_t zo2t_byte_char(uint8_t byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + (byte - 0x7Fu);
    if (byte == 0xAD)
        return 0x143u;
    return byte;
}

int zo2t_char_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xAC) || (cp >= 0xAE && cp <= 0xFF))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142)
        return (int)(cp - 0x121 + 0x7F);
    if (cp == 0x143)
        return 0xAD;
    return -1;
}

const char *zo2t_quote(char out[ZO2T_QUOTE_BYTES], const char *s, size_t bytes)
{
    size_t at = 0, o = 0;
    out[o++] = '"';
    while (at < bytes) {
        size_t n = sequence((const unsigned char *)s + at, bytes - at);
        unsigned char c = (unsigned char)s[at];
        /* C1 controls (C2 80 - C2 9F) move cursors too. */
        int plain = n && c >= 0x20 && c != 0x7F && !(c == 0xC2 && (unsigned char)s[at + 1] < 0xA0);
        size_t need = plain ? n : 4;
        if (o + need + 5 > ZO2T_QUOTE_BYTES) { /* dots, quote, NUL */
            memcpy(out + o, "...", 3);
            o += 3;
            break;
        }
        if (plain) {
            memcpy(out + o, s + at, n);
            at += n;
        } else {
            char hex[5];
            snprintf(hex, sizeof hex, "\\x%02X", c);
            memcpy(out + o, hex, 4);
            at++;
        }
        o += need;
    }
    out[o++] = '"';
    out[o] = '\0';
    return out;
}
