/* codec.c: the table of wire codecs. */
#include "codec/codec.h"

#include <assert.h>
#include <limits.h>

#include "codec/codec_table.h"
#include "codec/simd.h"
#include "codec/wires.h"

/* What the formats take for granted of the machine. */
static_assert(CHAR_BIT == 8 && sizeof(float) == 4, "fp32 master weights");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "planes are little-endian");
/* Stored in packs and runs. */
#define CHECK_NUMBER(wire, number, ...) static_assert((int)wire == number, "numbers never change");
ZO2_WIRE_MAP(CHECK_NUMBER)
static_assert(ZO2_F32 == 1 && ZO2_F16 == 2 && ZO2_BF16 == 3, "numbers never change");

const zo2_codec *zo2_codec_get(zo2_wire id)
{
    switch (id) {
#define CODEC(wire, number, text, codec, ...) \
    case wire: return &zo2_codec_##codec;
        ZO2_WIRE_MAP(CODEC)
    }
    return NULL;
}

int zo2_codec_representable(const zo2_codec *codec, const float *w, uint64_t n)
{
    return zo2_simd_get()->max_bits(w, n) < codec->limit_bits;
}

int zo2_update_chunk(const zo2_codec *codec, void *wire, void *rest, uint64_t rows, uint64_t cols, uint64_t row,
                     uint64_t n, uint64_t first, const zo2_updates *a)
{
    return codec->update(wire, rest, rows, cols, row, n, first, a) < codec->limit_bits;
}
