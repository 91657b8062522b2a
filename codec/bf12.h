/* bf12.h: bf16 values in 12 bits and a little, C and CUDA: sign and mantissa as they are, of the exponent 4 bits, counted from a base that
 * ZO2_WINDOW weights of a row share. What lies outside of that window of exponents is an escape: it is in the head of its row, and the
 * byte of sign and mantissa says where. A window whose escapes have no room is wide: its exponents are whole, in two planes of 4
 * bits. CODECS.md, "bf12". */
#ifndef ZO2_CODEC_BF12_H
#define ZO2_CODEC_BF12_H

#include "codec/bf16.h"
#include "codec/hd.h"
#include "codec/plane_layout.h"

#define ZO2_BF12_ESCAPE 15u /* 4 bits of exponent that say so */
#define ZO2_BF12_MOST   240u /* bases end here: base + 15 is a byte, and the window reaches the largest finite exponent */
#define ZO2_BF12_WIDE   255u /* instead of a base */

/* Codes are bf16 bits, rotated by one: exponent, mantissa, sign, so that the lower byte is all that isn't exponent. */
ZO2_HD uint16_t zo2_bf12_rotate(uint16_t bf16)
{
    return (uint16_t)(bf16 << 1 | bf16 >> 15);
}
ZO2_HD float zo2_bf12_get(uint32_t code)
{
    return zo2_bf16_get((uint16_t)(code >> 1 | code << 15));
}

/* Escape k of a row that has room for so many. Bytes that no encoder wrote may say any k: none reads elsewhere. */
ZO2_HD uint32_t zo2_bf12_escape(const uint8_t *escapes, uint32_t room, uint32_t k)
{
    k = k < room ? k : 0;
    return escapes[2 * k] | (uint32_t)escapes[2 * k + 1] << 8;
}

/* The whole code of column `col` whose 12 bits are `short_code`: `head` of its row, `high` the row of the last plane. */
ZO2_HD uint32_t zo2_bf12_code(const uint8_t *head, const uint8_t *high, uint64_t cols, uint64_t col,
                              uint32_t short_code)
{
    uint32_t base = head[col / ZO2_WINDOW], low = short_code & 0xFF, exponent = short_code >> 8;
    if (base == ZO2_BF12_WIDE)
        return low | exponent << 8 | (uint32_t)(high[zo2_code_byte(col, 4)] >> zo2_code_shift(col, 4) & 15) << 12;
    if (exponent == ZO2_BF12_ESCAPE)
        return zo2_bf12_escape(head + zo2_windows(cols), (uint32_t)zo2_escape_room(cols), low);
    return low | (base + exponent) << 8;
}

#endif
