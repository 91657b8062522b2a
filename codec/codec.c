/* codec.c: the table of wire codecs. */
#include "codec/codec.h"

#include <assert.h>
#include <limits.h>

#include "codec/codec_table.h"
#include "codec/simd.h"

/* What the formats take for granted of the machine. */
static_assert(CHAR_BIT == 8 && sizeof(float) == 4, "fp32 master weights");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "planes are little-endian");
/* Stored in packs and runs. */
static_assert(ZO2_WIRE_BF16 == 1 && ZO2_WIRE_FP32 == 2 && ZO2_WIRE_E4M3 == 3 && ZO2_WIRE_E5M2 == 4 &&
                  ZO2_WIRE_FP16 == 5,
              "numbers never change");
static_assert(ZO2_F32 == 1 && ZO2_F16 == 2 && ZO2_BF16 == 3, "numbers never change");

const zo2_codec *zo2_codec_get(zo2_wire id)
{
    static const zo2_codec *const codecs[] = {&zo2_codec_bf16, &zo2_codec_fp32, &zo2_codec_e4m3, &zo2_codec_e5m2,
                                              &zo2_codec_fp16};
    for (unsigned i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        if (codecs[i]->id == id)
            return codecs[i];
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
