/* simd_includes.h: what the three simd_*.c need before simd_loops.inc. */
#ifndef ZO2_CODEC_SIMD_INCLUDES_H
#define ZO2_CODEC_SIMD_INCLUDES_H

#include <stdint.h>
#include <string.h>

#include "codec/bf12.h"
#include "codec/bf16.h"
#include "codec/e2m.h"
#include "codec/fp16.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/noise_inline.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update_inline.h"
#include "codec/wires.h"

#endif
