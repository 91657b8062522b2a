/* codec_table.h: the codecs of codec.c's table, one for each row of wires.h, private to codec/. */
#ifndef ZO2_CODEC_TABLE_H
#define ZO2_CODEC_TABLE_H

#include "codec/codec.h"
#include "codec/wires.h"

#define ZO2_DECLARE_CODEC(wire, number, text, codec, ...) extern const zo2_codec zo2_codec_##codec;
ZO2_WIRE_MAP(ZO2_DECLARE_CODEC)
#undef ZO2_DECLARE_CODEC

#endif
