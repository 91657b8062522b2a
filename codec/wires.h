/* wires.h: the list of wires, C and CUDA. One row for each; it feeds the names, the table of codecs, the inline decode and the
 * kernels of kernels/cuda, and through zo2_wire_name() the tools' --wire and their lists. A new wire is its row here, its
 * number in engine/zo2.h, its file in this folder and its section in CODECS.md.
 *
 *     X(enumerator, number, text, codec, bits, more, shared, group, value)
 *
 * number    as in zo2_wire: stored in files, never changes; without gaps from 1 on
 * text      on the command line, in logs and messages
 * codec     zo2_codec_<codec> is its table (codec.h)
 * bits      of a code in the first plane: 32, 16, 8 or 4; rows of codes are as plane_layout.h says
 * more      further bits of a code, in a second plane behind the first: 4, 2, or 0 without one
 * shared    what codes share (plane_layout.h), in a plane behind the codes. ZO2_SHARED_WINDOW: and some codes are elsewhere (bf12.h)
 * group     how many neighbours of a row share it: a scale's divide 256
 * value     of uint32_t code, the second plane's bits above the first's, and uint16_t scale: what the forward passes see, one
 *           element. ZO2_SHARED_WINDOW: of the 16 bits that zo2_bf12_code() finds */
#ifndef ZO2_CODEC_WIRES_H
#define ZO2_CODEC_WIRES_H

#include "codec/bf12.h"
#include "codec/bf16.h"
#include "codec/e2m.h"
#include "codec/fp16.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/hd.h"
#include "codec/i4.h"
#include "codec/plane_layout.h"
#include "codec/rn.h"
#include "engine/zo2.h"

#define ZO2_WIRE_MAP(X)                                                                                                \
    X(ZO2_WIRE_BF16, 1, "bf16", bf16, 16, 0, ZO2_SHARED_NOTHING, 0, zo2_bf16_get((uint16_t)code))                      \
    X(ZO2_WIRE_FP32, 2, "fp32", fp32, 32, 0, ZO2_SHARED_NOTHING, 0, zo2_bits_float(code))                              \
    X(ZO2_WIRE_E4M3, 3, "fp8-e4m3", e4m3, 8, 0, ZO2_SHARED_SCALE, ZO2_SCALE_GROUP, zo2_e4m3_get((uint8_t)code, scale)) \
    X(ZO2_WIRE_E5M2, 4, "fp8-e5m2", e5m2, 8, 0, ZO2_SHARED_SCALE, ZO2_SCALE_GROUP, zo2_e5m2_get((uint8_t)code, scale)) \
    X(ZO2_WIRE_FP16, 5, "fp16", fp16, 16, 0, ZO2_SHARED_NOTHING, 0, zo2_fp16_get((uint16_t)code))                      \
    X(ZO2_WIRE_F10, 6, "f10", f10, 8, 2, ZO2_SHARED_SCALE, ZO2_SCALE_GROUP, zo2_f10_get(code, scale))                  \
    X(ZO2_WIRE_F8, 7, "f8", f8, 8, 0, ZO2_SHARED_SCALE, ZO2_SCALE_GROUP, zo2_f8_get(code, scale))                      \
    X(ZO2_WIRE_F6, 8, "f6", f6, 4, 2, ZO2_SHARED_SCALE, ZO2_SCALE_GROUP, zo2_f6_get(code, scale))                      \
    X(ZO2_WIRE_BF12, 9, "bf12", bf12, 8, 4, ZO2_SHARED_WINDOW, ZO2_WINDOW, zo2_bf12_get(code))                         \
    X(ZO2_WIRE_I4, 10, "i4", i4, 4, 0, ZO2_SHARED_SCALE, ZO2_I4_GROUP, zo2_i4_get(code, scale))

/* Constant for a constant. Zeros for a wire that doesn't exist. */
ZO2_HD zo2_wire_shape zo2_wire_shape_of(zo2_wire wire)
{
    zo2_wire_shape none = {0, 0, ZO2_SHARED_NOTHING, 0};
    switch (wire) {
#define ZO2_WIRE_SHAPE(wire, number, text, codec, bits, more, shared, group, value) \
    case wire: {                                                                    \
        zo2_wire_shape shape = {bits, more, shared, group};                         \
        return shape;                                                               \
    }
        ZO2_WIRE_MAP(ZO2_WIRE_SHAPE)
#undef ZO2_WIRE_SHAPE
    }
    return none;
}

#endif
