/* codec_table.h: the codecs of codec.c's table, private to codec/. */
#ifndef ZO2_CODEC_TABLE_H
#define ZO2_CODEC_TABLE_H

#include "codec/codec.h"

extern const zo2_codec zo2_codec_fp32; /* codec_fp32.c */
extern const zo2_codec zo2_codec_bf16; /* codec_bf16.c */
extern const zo2_codec zo2_codec_e4m3; /* codec_fp8.c */
extern const zo2_codec zo2_codec_e5m2; /* codec_fp8.c */
extern const zo2_codec zo2_codec_fp16; /* codec_fp16.c */

#endif
